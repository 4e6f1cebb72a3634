//! Google Gemini, at its own and at its OpenAI-compatible endpoint.

use super::{Auth, Kind, OnCancel, Side};
use crate::arm::Tier;
use crate::dialect::UsageRule;
use crate::dialect::embed::Shape;
use crate::effort::Family;

/// Where everything is OpenAI's, the way of giving the key too.
pub(super) const OPENAI: &str = "/v1beta/openai/";

/// Gemini, generateContent and Chat Completions.
pub static KIND: Kind = Kind {
    name: "gemini",
    gen_ai: "gcp.gemini",
    key_env: Some("GEMINI_API_KEY"),
    base_url: Some("https://generativelanguage.googleapis.com"),
    auth: Auth::Google,
    speaks: &[
        ("gemini", "/v1beta/models/{model}:{call}"),
        ("openai_chat", "/v1beta/openai/chat/completions"),
    ],
    sides: &[
        (Side::Embed(Shape::Gemini), "/v1beta/models/{model}:{call}"),
        (Side::Embed(Shape::OpenAi), "/v1beta/openai/embeddings"),
        (Side::Count("gemini"), "/v1beta/models/{model}:countTokens"),
        (Side::Batches("gemini"), "/v1beta/batches"),
    ],
    family: Family::Gemini,
    usage: UsageRule::TotalMinusPrompt,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    tier_by_project: false,
    free: false,
    closes_early: false,
    starters: &[
        ("gemini-2.5-flash-lite", Tier::Small),
        ("gemini-3.8-flash", Tier::Standard),
        ("gemini-4-argon", Tier::Reasoning),
    ],
    signature: None,
};
