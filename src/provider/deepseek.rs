//! DeepSeek.

use super::{Auth, Kind, OnCancel};
use crate::arm::Tier;
use crate::dialect::UsageRule;
use crate::effort::Family;

/// DeepSeek, Chat Completions and Messages.
pub static KIND: Kind = Kind {
    name: "deepseek",
    gen_ai: "deepseek",
    key_env: Some("DEEPSEEK_API_KEY"),
    base_url: Some("https://api.deepseek.com"),
    auth: Auth::Bearer,
    speaks: &[
        ("openai_chat", "/chat/completions"),
        ("openai_responses", "/responses"),
        ("anthropic_messages", "/anthropic/v1/messages"),
    ],
    sides: &[],
    family: Family::DeepSeek,
    usage: UsageRule::Dialect,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    tier_by_project: false,
    free: false,
    closes_early: false,
    starters: &[
        ("deepseek-flash", Tier::Standard),
        ("deepseek-v4-pro", Tier::Reasoning),
    ],
    signature: None,
};
