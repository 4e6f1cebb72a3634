//! Groq.

use super::{Auth, Kind, OnCancel, Side};
use crate::arm::Tier;
use crate::dialect::UsageRule;
use crate::effort::Family;

/// Groq, Chat Completions.
pub static KIND: Kind = Kind {
    name: "groq",
    gen_ai: "groq",
    key_env: Some("GROQ_API_KEY"),
    base_url: Some("https://api.groq.com/openai"),
    auth: Auth::Bearer,
    speaks: &[("openai_chat", "/v1/chat/completions")],
    sides: &[
        (Side::Files("openai_chat"), "/v1/files"),
        (Side::Batches("openai_chat"), "/v1/batches"),
    ],
    family: Family::Groq,
    usage: UsageRule::Dialect,
    // How a cancelled stream is billed is not documented.
    on_cancel: OnCancel::Unknown,
    tier_by_project: false,
    free: false,
    closes_early: false,
    starters: &[
        ("openai/gpt-oss-20b", Tier::Small),
        ("openai/gpt-oss-120b", Tier::Standard),
    ],
    signature: None,
};
