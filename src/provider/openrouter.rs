//! OpenRouter.

use super::{Auth, Kind, OnCancel, Side};
use crate::dialect::UsageRule;
use crate::dialect::embed::Shape;
use crate::effort::Family;

/// OpenRouter, Chat Completions. Its models are named in configuration.
pub static KIND: Kind = Kind {
    name: "openrouter",
    gen_ai: "openrouter",
    key_env: Some("OPENROUTER_API_KEY"),
    base_url: Some("https://openrouter.ai/api"),
    auth: Auth::Bearer,
    speaks: &[
        ("openai_chat", "/v1/chat/completions"),
        ("openai_responses", "/v1/responses"),
    ],
    sides: &[(Side::Embed(Shape::OpenAi), "/v1/embeddings")],
    family: Family::OpenRouter,
    usage: UsageRule::Dialect,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    tier_by_project: false,
    free: false,
    closes_early: false,
    starters: &[],
    signature: None,
};
