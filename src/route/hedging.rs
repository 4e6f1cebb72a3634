//! When a request that waits long for its answer is sent a second time, to somebody else.

use crate::pattern::like;
use std::time::Duration;

/// What the operator says of hedging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hedging {
    /// A second request goes out once the first one has waited for longer than so many percent of the model's answers of the last five
    /// minutes have taken to begin.
    pub after_percent: u32,
    /// And never before this.
    pub not_before: Duration,
    /// So many thousandths of all requests are sent twice at most.
    pub share_permille: u32,
    /// Where the second one goes.
    pub to: HedgeTo,
    /// Patterns of the models whose requests may be sent twice; none stand for all.
    pub models: Vec<String>,
}

/// Where the second request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeTo {
    /// To the same model on another channel of its provider.
    Channel,
    /// To the next arm of the decision.
    Arm,
    /// To another channel where there is one, else to the next arm.
    Any,
}

impl HedgeTo {
    /// All of them, by the names that configuration uses.
    pub const ALL: [(&'static str, HedgeTo); 3] = [
        ("channel", HedgeTo::Channel),
        ("arm", HedgeTo::Arm),
        ("any", HedgeTo::Any),
    ];
}

impl Hedging {
    /// Whether requests for this model may be sent twice.
    #[must_use]
    pub fn is_for(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| like(pattern, model))
    }
}

/// What became of a request that might have been sent twice. A closed set: a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeEnd {
    /// The second request has answered first.
    Won,
    /// The first request has answered first.
    Lost,
    /// The second request has failed, or a cap had no room for it.
    Failed,
    /// Nobody else could be asked.
    Nobody,
    /// The share of requests that may be sent twice is used up.
    OverBudget,
}

impl HedgeEnd {
    /// All of them.
    pub const ALL: [HedgeEnd; 5] = [
        HedgeEnd::Won,
        HedgeEnd::Lost,
        HedgeEnd::Failed,
        HedgeEnd::Nobody,
        HedgeEnd::OverBudget,
    ];

    /// The name in metrics and in the header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            HedgeEnd::Won => "won",
            HedgeEnd::Lost => "lost",
            HedgeEnd::Failed => "failed",
            HedgeEnd::Nobody => "nobody",
            HedgeEnd::OverBudget => "over_budget",
        }
    }
}
