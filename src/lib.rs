//! flyball: a reverse proxy in front of LLM traffic. It sends each request to the cheapest model, at the lowest
//! reasoning effort, that will answer it well enough, and never lets anybody outspend a cap.
//!
//! # Map of the code
//! One request, top to bottom, is [`exchange`]: read that file first. Modules depend downwards only, and no two folders
//! lean on each other (`tests/layers` checks both).
//!
//! | layer | modules |
//! |---|---|
//! | process | `main`, [`cli`], [`process`] (composes everything, reloads), [`server`] (sockets in), [`admin`], [`config`] |
//! | path | [`exchange`]: accept → authenticate → read → decode → grade → decide → reserve → send → relay → settle, the same for every kind of call; each kind (a completion, embeddings, what is passed through, files and batches, a count) is one file that makes an `exchange::work::Work`; batches that are kept here are `exchange::batches`, whose lines are such work, and `process::batches` sees to it that somebody does it; single requests that wait are lines of such batches (`exchange::batches::pool`), of whose ends `process::later` tells webhooks; answers that are made when their client is not there are `exchange::background` |
//! | effects | [`upstream`] (sockets out; which channels of a provider answer, and how loaded they are), [`relay`], [`settle`], [`ledger`] (reserve, post, void), [`affinity`], [`response_cache`] (answers that equal requests share), [`telemetry`] (log, metrics, traces), [`simulate`], [`counting`] (of tokens, on threads of its own) |
//! | deciders | [`dialect`], [`batch`] (batches that are kept here: their lines, which go together, and what is due next with each), [`provider`] (vendors, and `provider::channel`: the credentials and deployments of one, and which of them a request takes), [`fleet`] (models and arms), [`caller`], [`classify`] (measure and grade), [`learn`] (makes the grader from outcomes), [`judge`] (whether an answer is good), [`probe`] (what an answer shows of itself is worth), [`hardware`] (what traffic would cost on a machine of one's own), [`private`] (whether a request holds what must not leave), [`route`], [`tokens`], `ledger::{record, judged, cap, balance, window, replay, rollup, report, pace, exhaustion, forecast, tree, keyring, prune, stopped, audit, store}` |
//! | words | [`chat`], [`arm`] (effort, tier, objective), [`effort`] (an effort in a vendor's words), [`takes`] (what a vendor takes and another refuses), [`capability`] (what a request may ask of a model), [`price`], [`money`], [`pattern`], [`error`], [`json`], [`limits`], [`reader`], [`tls`] (whom it trusts, and what clients are shown), [`unix`] (sockets as addresses) |
//!
//! A new dialect, provider or signal is one new file and one line in its registry (`dialect::ALL`, `provider::ALL`,
//! a file under `classify/signals`); a new OpenAI-compatible vendor is configuration alone; a new rule is an entry in `rules/*.toml`.
//! Nothing outside `dialect`, `provider` and `simulate` names a dialect (a test checks it): what its paths, headers and lists of models
//! are is the dialect's own data (`dialect::envelope`, `dialect::directory`).

pub mod admin;
pub mod affinity;
pub mod arm;
pub mod batch;
pub mod caller;
pub mod capability;
pub mod chat;
pub mod classify;
pub mod cli;
pub mod config;
pub mod counting;
pub mod dialect;
pub mod effort;
pub mod error;
pub mod exchange;
pub mod fleet;
pub mod hardware;
pub mod json;
pub mod judge;
pub mod learn;
pub mod ledger;
pub mod limits;
pub mod money;
pub mod pattern;
pub mod price;
pub mod private;
pub mod probe;
pub mod process;
pub mod provider;
pub mod reader;
pub mod relay;
pub mod response_cache;
pub mod route;
pub mod server;
pub mod settle;
pub mod simulate;
pub mod takes;
pub mod telemetry;
pub mod tls;
pub mod tokens;
pub mod unix;
pub mod upstream;

#[cfg(test)]
#[path = "../tests/until/mod.rs"]
#[allow(dead_code, reason = "the integration tests use the rest")]
mod until;
