//! LM Studio, a local server.

use super::{Auth, Kind, OnCancel, Side, Signature};
use crate::dialect::UsageRule;
use crate::dialect::embed::Shape;
use crate::effort::Family;

/// LM Studio, Chat Completions and (from 0.4.1) Messages.
pub static KIND: Kind = Kind {
    name: "lmstudio",
    gen_ai: "lmstudio",
    key_env: None,
    base_url: Some("http://127.0.0.1:1234"),
    auth: Auth::Bearer,
    speaks: &[
        ("openai_chat", "/v1/chat/completions"),
        ("openai_responses", "/v1/responses"),
        ("anthropic_messages", "/v1/messages"),
    ],
    sides: &[(Side::Embed(Shape::OpenAi), "/v1/embeddings")],
    family: Family::LmStudio,
    usage: UsageRule::Dialect,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    tier_by_project: false,
    free: true,
    closes_early: false,
    starters: &[],
    signature: Some(Signature {
        base_url: "http://127.0.0.1:1234",
        path: "/api/v1/models",
        proof: "\"models\"",
        models: "/v1/models",
    }),
};
