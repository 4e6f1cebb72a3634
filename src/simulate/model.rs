//! The simulated models: their names, tiers and pace. Knows no wire format.

use crate::arm::{Effort, Tier};
use std::time::Duration;

/// One simulated model.
#[derive(Clone, Copy, Debug)]
pub struct SimModel {
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
pub static MODELS: [SimModel; 3] = [
    SimModel {
        name: "sim-small",
        title: "Simulated small",
        tier: Tier::Small,
        effort: Effort::None,
        first: Duration::from_millis(30),
        rate: 180,
    },
    SimModel {
        name: "sim-standard",
        title: "Simulated standard",
        tier: Tier::Standard,
        effort: Effort::None,
        first: Duration::from_millis(120),
        rate: 90,
    },
    SimModel {
        name: "sim-reasoning",
        title: "Simulated reasoning",
        tier: Tier::Reasoning,
        effort: Effort::Medium,
        first: Duration::from_millis(250),
        rate: 60,
    },
];

impl SimModel {
    /// The model of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static SimModel> {
        MODELS.iter().find(|m| m.name == name)
    }

    /// How long this many tokens take at speed 1.
    #[must_use]
    pub fn time(&self, tokens: u64) -> Duration {
        Duration::from_nanos((1_000_000_000 / u64::from(self.rate)).saturating_mul(tokens))
    }
}
