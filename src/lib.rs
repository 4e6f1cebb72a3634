//! flyball: a reverse proxy in front of LLM traffic.

pub mod chat;
pub mod classify;
pub mod dialect;
pub mod error;
pub mod json;
pub mod ledger;
pub mod money;
pub mod route;
pub mod simulate;
