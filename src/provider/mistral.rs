//! Mistral.

use super::{Auth, Kind, OnCancel, Side};
use crate::arm::Tier;
use crate::dialect::UsageRule;
use crate::dialect::embed::Shape;
use crate::effort::Family;

/// Mistral, Chat Completions.
pub static KIND: Kind = Kind {
    name: "mistral",
    gen_ai: "mistral_ai",
    key_env: Some("MISTRAL_API_KEY"),
    base_url: Some("https://api.mistral.ai"),
    auth: Auth::Bearer,
    speaks: &[("openai_chat", "/v1/chat/completions")],
    sides: &[
        (Side::Embed(Shape::OpenAi), "/v1/embeddings"),
        (Side::OwnBatches("mistral_jobs"), "/v1/batch/jobs"),
    ],
    family: Family::Mistral,
    usage: UsageRule::Dialect,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    tier_by_project: false,
    free: false,
    closes_early: false,
    starters: &[
        ("mistral-small-latest", Tier::Small),
        ("mistral-large-latest", Tier::Standard),
    ],
    signature: None,
};
