//! Ollama, a local server.

use super::{Auth, Kind, OnCancel, Side, Signature};
use crate::dialect::UsageRule;
use crate::dialect::embed::Shape;
use crate::effort::Family;

/// Ollama, at its own and at its OpenAI- and Anthropic-compatible endpoints.
pub static KIND: Kind = Kind {
    name: "ollama",
    gen_ai: "ollama",
    key_env: None,
    base_url: Some("http://127.0.0.1:11434"),
    auth: Auth::Bearer,
    speaks: &[
        ("openai_chat", "/v1/chat/completions"),
        ("openai_responses", "/v1/responses"),
        ("anthropic_messages", "/v1/messages"),
        ("ollama_chat", "/api/chat"),
        ("ollama_generate", "/api/generate"),
    ],
    sides: &[
        (Side::Embed(Shape::Ollama), "/api/{call}"),
        (Side::Embed(Shape::OpenAi), "/v1/embeddings"),
    ],
    family: Family::Ollama,
    usage: UsageRule::Dialect,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    tier_by_project: false,
    free: true,
    closes_early: false,
    starters: &[],
    signature: Some(Signature {
        base_url: "http://127.0.0.1:11434",
        path: "/api/version",
        proof: "\"version\"",
        models: "/api/tags",
    }),
};
