//! Any server that speaks Chat Completions: configuration says where it is and what it costs.

use super::{Auth, Kind, OnCancel, Side};
use crate::dialect::UsageRule;
use crate::dialect::embed::Shape;
use crate::effort::Family;

/// An OpenAI-compatible server.
pub static KIND: Kind = Kind {
    name: "openai-compatible",
    gen_ai: "openai-compatible",
    key_env: None,
    base_url: None,
    auth: Auth::Bearer,
    speaks: &[("openai_chat", "/v1/chat/completions")],
    sides: &[(Side::Embed(Shape::OpenAi), "/v1/embeddings")],
    family: Family::Compatible,
    usage: UsageRule::Dialect,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    tier_by_project: false,
    free: false,
    closes_early: false,
    starters: &[],
    signature: None,
};
