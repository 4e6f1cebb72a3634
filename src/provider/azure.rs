//! Azure OpenAI: the v1 API, in which the deployment stands in the body like a model.

use super::{Auth, Kind, OnCancel, Side};
use crate::dialect::UsageRule;
use crate::dialect::embed::Shape;
use crate::effort::Family;

/// Azure OpenAI, Chat Completions and Responses. Configuration says where the resource is
/// (`https://NAME.openai.azure.com`), and names the deployments as models. A deployment's name hides the real
/// model, so its efforts and price must be listed.
pub static KIND: Kind = Kind {
    name: "azure",
    gen_ai: "azure.ai.openai",
    key_env: None,
    base_url: None,
    auth: Auth::ApiKey,
    speaks: &[
        ("openai_chat", "/openai/v1/chat/completions"),
        ("openai_responses", "/openai/v1/responses"),
    ],
    sides: &[
        (Side::Embed(Shape::OpenAi), "/openai/v1/embeddings"),
        (Side::Files("openai_chat"), "/openai/v1/files"),
        (Side::Batches("openai_chat"), "/openai/v1/batches"),
        (Side::Answers("openai_responses"), "/openai/v1/responses"),
    ],
    family: Family::OpenAi,
    usage: UsageRule::Dialect,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    closes_early: false,
    tier_by_project: false,
    free: false,
    starters: &[],
    signature: None,
};
