//! xAI.

use super::{Auth, Kind, OnCancel, Side};
use crate::arm::Tier;
use crate::dialect::UsageRule;
use crate::effort::Family;

/// xAI, Chat Completions.
pub static KIND: Kind = Kind {
    name: "xai",
    gen_ai: "x_ai",
    key_env: Some("XAI_API_KEY"),
    base_url: Some("https://api.x.ai"),
    auth: Auth::Bearer,
    speaks: &[
        ("openai_chat", "/v1/chat/completions"),
        ("openai_responses", "/v1/responses"),
    ],
    // Kept for 30 days (https://docs.x.ai/developers/model-capabilities/text/generate-text).
    sides: &[
        (Side::Answers("openai_responses"), "/v1/responses"),
        (Side::OwnBatches("xai_batches"), "/v1/batches"),
    ],
    family: Family::Xai,
    usage: UsageRule::ReasoningOnTop,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    tier_by_project: false,
    free: false,
    closes_early: false,
    starters: &[("grok-4.3", Tier::Standard), ("grok-4.7", Tier::Reasoning)],
    signature: None,
};
