//! llama.cpp, a local server.

use super::{Auth, Kind, OnCancel, Side, Signature};
use crate::dialect::UsageRule;
use crate::dialect::embed::Shape;
use crate::effort::Family;

/// llama.cpp, Chat Completions and Messages.
pub static KIND: Kind = Kind {
    name: "llamacpp",
    gen_ai: "llamacpp",
    key_env: Some("LLAMA_API_KEY"),
    base_url: Some("http://127.0.0.1:8080"),
    auth: Auth::Bearer,
    // Its own /v1/responses leaves `output_index` out of its events, on which OpenAI's SDK breaks (b10434): translated instead.
    speaks: &[
        ("openai_chat", "/v1/chat/completions"),
        ("anthropic_messages", "/v1/messages"),
    ],
    sides: &[
        (Side::Embed(Shape::OpenAi), "/v1/embeddings"),
        (
            Side::Count("anthropic_messages"),
            "/v1/messages/count_tokens",
        ),
    ],
    family: Family::LlamaCpp,
    usage: UsageRule::Dialect,
    // Measured: generation stops on disconnect (6 tokens made, 6 events received; llama.cpp b10434, /metrics).
    on_cancel: OnCancel::Stops,
    tier_by_project: false,
    free: true,
    // Its HTTP server closes a connection after a stream, a moment later: what is sent in that moment is lost.
    closes_early: true,
    starters: &[],
    signature: Some(Signature {
        base_url: "http://127.0.0.1:8080",
        path: "/props",
        proof: "\"default_generation_settings\"",
        models: "/v1/models",
    }),
};
