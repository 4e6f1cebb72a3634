//! The integration tests: one binary, a scripted upstream, and a flyball under test, all on loopback.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is a failure, which is what is wanted"
)]

mod admin;
mod bad_input;
mod batches;
mod boards;
mod caching;
mod calibrating;
mod caps;
mod channels;
mod client;
mod commands;
mod dialects;
mod endpoints;
mod failures;
mod flyball;
mod front;
mod goldens;
mod grading;
mod hedging;
mod interleavings;
mod layers;
mod learning;
mod logged;
mod metrics;
mod money;
mod otel;
mod outward;
mod paths;
mod pressure;
mod private;
mod probing;
mod protocol;
mod relaying;
mod replay;
mod routing;
mod scripted;
mod shadowing;
mod stopping;
mod stores;
mod traces;
mod translating;
mod until;
mod waiting;
