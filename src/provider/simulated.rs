//! The simulated models that are built in for tries and tests.

use super::{Auth, Kind, OnCancel, Side};
use crate::arm::Tier;
use crate::dialect::UsageRule;
use crate::dialect::embed::Shape;
use crate::effort::Family;

/// The one that makes embeddings; never routed to.
pub const EMBEDDER: &str = "sim-embed";

/// Simulated models, on loopback.
pub static KIND: Kind = Kind {
    name: "simulated",
    gen_ai: "simulated",
    key_env: None,
    base_url: None,
    auth: Auth::Bearer,
    speaks: &[
        ("openai_chat", "/v1/chat/completions"),
        ("anthropic_messages", "/v1/messages"),
    ],
    sides: &[(Side::Embed(Shape::OpenAi), "/v1/embeddings")],
    family: Family::Simulated,
    usage: UsageRule::Dialect,
    // Our own: the generator is dropped with its connection.
    on_cancel: OnCancel::Stops,
    tier_by_project: false,
    free: false,
    closes_early: false,
    starters: &[
        ("sim-small", Tier::Small),
        ("sim-standard", Tier::Standard),
        ("sim-reasoning", Tier::Reasoning),
    ],
    signature: None,
};
