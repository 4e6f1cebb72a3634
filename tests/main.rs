//! The integration tests: one binary, a scripted upstream, and a flyball under test, all on loopback.

mod bad_input;
mod boards;
mod caps;
mod client;
mod commands;
mod dialects;
mod flyball;
mod layers;
mod relaying;
mod routing;
mod scripted;
