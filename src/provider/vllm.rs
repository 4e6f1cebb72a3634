//! vLLM, a local server.

use super::{Auth, Kind, OnCancel, Side};
use crate::dialect::UsageRule;
use crate::dialect::embed::Shape;
use crate::effort::Family;

/// vLLM, Chat Completions.
pub static KIND: Kind = Kind {
    name: "vllm",
    gen_ai: "vllm",
    key_env: None,
    base_url: None,
    auth: Auth::Bearer,
    speaks: &[("openai_chat", "/v1/chat/completions")],
    sides: &[(Side::Embed(Shape::OpenAi), "/v1/embeddings")],
    family: Family::Vllm,
    usage: UsageRule::Dialect,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    tier_by_project: false,
    free: true,
    closes_early: false,
    starters: &[],
    signature: None,
};
