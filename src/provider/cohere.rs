//! Cohere.

use super::{Auth, Kind, OnCancel};
use crate::dialect::UsageRule;
use crate::effort::Family;

/// Cohere, Chat v2. Its models and their prices must be listed: the catalogue has none of them.
pub static KIND: Kind = Kind {
    name: "cohere",
    gen_ai: "cohere",
    key_env: Some("CO_API_KEY"),
    base_url: Some("https://api.cohere.com"),
    auth: Auth::Bearer,
    speaks: &[("cohere_chat", "/v2/chat")],
    sides: &[],
    // Its own words for effort are the dialect's.
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
