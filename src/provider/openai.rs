//! OpenAI.

use super::{Auth, Kind, OnCancel, Side};
use crate::arm::Tier;
use crate::dialect::UsageRule;
use crate::dialect::embed::Shape;
use crate::effort::Family;

/// OpenAI, Chat Completions.
pub static KIND: Kind = Kind {
    name: "openai",
    gen_ai: "openai",
    key_env: Some("OPENAI_API_KEY"),
    base_url: Some("https://api.openai.com"),
    auth: Auth::Bearer,
    speaks: &[
        ("openai_chat", "/v1/chat/completions"),
        ("openai_responses", "/v1/responses"),
    ],
    sides: &[
        (Side::Embed(Shape::OpenAi), "/v1/embeddings"),
        (Side::Files("openai_chat"), "/v1/files"),
        (Side::Batches("openai_chat"), "/v1/batches"),
        (Side::Answers("openai_responses"), "/v1/responses"),
    ],
    family: Family::OpenAi,
    usage: UsageRule::Dialect,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    // "auto" is what the project is set to (https://platform.openai.com/docs/api-reference/chat/create).
    tier_by_project: true,
    free: false,
    closes_early: false,
    starters: &[
        ("gpt-6-luna", Tier::Small),
        ("gpt-6.1-terra", Tier::Standard),
        ("gpt-6.1-sol", Tier::Reasoning),
    ],
    signature: None,
};
