//! The simulated models that are built in for tries and tests.

use super::{Auth, Kind, OnCancel};
use crate::dialect::UsageRule;
use crate::route::arm::Tier;
use crate::route::effort::Family;

/// Simulated models, on loopback.
pub static KIND: Kind = Kind {
    name: "simulated",
    key_env: None,
    base_url: None,
    auth: Auth::Bearer,
    speaks: &[
        ("openai_chat", "/v1/chat/completions"),
        ("anthropic_messages", "/v1/messages"),
    ],
    family: Family::Simulated,
    usage: UsageRule::Dialect,
    // Our own: the generator is dropped with its connection.
    on_cancel: OnCancel::Stops,
    limit_field: "max_tokens",
    free: false,
    closes_early: false,
    starters: &[
        ("sim-small", Tier::Small),
        ("sim-standard", Tier::Standard),
        ("sim-reasoning", Tier::Reasoning),
    ],
    signature: None,
};
