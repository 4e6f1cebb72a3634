//! The simulated models: their names, tiers and pace. Knows no wire format.

use crate::arm::{Effort, Tier};
use std::time::Duration;

/// One simulated model.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// The name that a request asks for; begins `sim-`.
    pub name: &'static str,
    /// The name for people.
    pub title: &'static str,
    /// The tier that it plays.
    pub tier: Tier,
    /// The effort when a request names none.
    pub effort: Effort,
    /// Time to the first token.
    pub first: Duration,
    /// Tokens per second after that, reasoning included.
    pub rate: u32,
}

/// Every simulated model, cheapest first.
pub static MODELS: [Model; 3] = [
    Model {
        name: "sim-small",
        title: "Simulated small",
        tier: Tier::Small,
        effort: Effort::None,
        first: Duration::from_millis(30),
        rate: 180,
    },
    Model {
        name: "sim-standard",
        title: "Simulated standard",
        tier: Tier::Standard,
        effort: Effort::None,
        first: Duration::from_millis(120),
        rate: 90,
    },
    Model {
        name: "sim-reasoning",
        title: "Simulated reasoning",
        tier: Tier::Reasoning,
        effort: Effort::Medium,
        first: Duration::from_millis(250),
        rate: 60,
    },
];

impl Model {
    /// The model of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Model> {
        MODELS.iter().find(|m| m.name == name)
    }

    /// How long this many tokens take at speed 1.
    #[must_use]
    pub fn time(&self, tokens: u64) -> Duration {
        Duration::from_nanos((1_000_000_000 / u64::from(self.rate)).saturating_mul(tokens))
    }
}
