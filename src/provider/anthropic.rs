//! Anthropic.

use super::{Auth, Kind, OnCancel, Side};
use crate::arm::Tier;
use crate::dialect::UsageRule;
use crate::effort::Family;

/// Anthropic, Messages.
pub static KIND: Kind = Kind {
    name: "anthropic",
    gen_ai: "anthropic",
    key_env: Some("ANTHROPIC_API_KEY"),
    base_url: Some("https://api.anthropic.com"),
    auth: Auth::XApiKey,
    speaks: &[("anthropic_messages", "/v1/messages")],
    sides: &[
        (
            Side::Count("anthropic_messages"),
            "/v1/messages/count_tokens",
        ),
        (Side::Files("anthropic_messages"), "/v1/files"),
        (Side::Batches("anthropic_messages"), "/v1/messages/batches"),
    ],
    family: Family::Anthropic,
    usage: UsageRule::Dialect,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    tier_by_project: false,
    free: false,
    closes_early: false,
    starters: &[
        ("claude-haiku-5-5", Tier::Small),
        ("claude-sonnet-5-5", Tier::Standard),
        ("claude-opus-5-5", Tier::Reasoning),
    ],
    signature: None,
};
