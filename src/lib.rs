//! flyball: a reverse proxy in front of LLM traffic.

pub mod admin;
pub mod affinity;
pub mod caller;
pub mod chat;
pub mod classify;
pub mod cli;
pub mod config;
pub mod dialect;
pub mod error;
pub mod exchange;
pub mod json;
pub mod ledger;
pub mod limits;
pub mod money;
pub mod process;
pub mod provider;
pub mod reader;
pub mod relay;
pub mod route;
pub mod server;
pub mod settle;
pub mod simulate;
pub mod telemetry;
pub mod tokens;
pub mod upstream;
