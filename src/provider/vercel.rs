//! The Vercel AI gateway.

use super::{Auth, Kind, OnCancel, Side};
use crate::dialect::UsageRule;
use crate::dialect::embed::Shape;
use crate::effort::Family;

/// The Vercel AI gateway, Chat Completions. Its models are named in configuration.
pub static KIND: Kind = Kind {
    name: "vercel",
    gen_ai: "vercel",
    key_env: Some("AI_GATEWAY_API_KEY"),
    base_url: Some("https://ai-gateway.vercel.sh"),
    auth: Auth::Bearer,
    speaks: &[("openai_chat", "/v1/chat/completions")],
    sides: &[(Side::Embed(Shape::OpenAi), "/v1/embeddings")],
    family: Family::Compatible,
    usage: UsageRule::ReasoningMayExceed,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    tier_by_project: false,
    free: false,
    closes_early: false,
    starters: &[],
    signature: None,
};
