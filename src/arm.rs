//! The words of routing: effort, tier, objective, and the arm (model, effort).

use std::fmt;

/// How hard a model is asked to think, weakest first. `None` is thinking switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effort {
    /// No thinking.
    #[default]
    None,
    /// As little as the model can.
    Minimal,
    /// A little.
    Low,
    /// The middle.
    Medium,
    /// Much.
    High,
    /// Very much.
    Xhigh,
    /// All it has.
    Max,
}

impl Effort {
    /// Every effort, weakest first.
    pub const ALL: [Effort; 7] = [
        Effort::None,
        Effort::Minimal,
        Effort::Low,
        Effort::Medium,
        Effort::High,
        Effort::Xhigh,
        Effort::Max,
    ];

    /// The name used in configuration, headers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::Xhigh => "xhigh",
            Effort::Max => "max",
        }
    }

    /// The effort of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Effort> {
        Effort::ALL.into_iter().find(|e| e.name() == name)
    }
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The class of a model, cheapest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Runs on the operator's own machines: private and free per token.
    Local,
    /// Small and cheap; does not think unless told.
    Small,
    /// The everyday model.
    #[default]
    Standard,
    /// Thinks; dear.
    Reasoning,
}

impl Tier {
    /// Every tier, cheapest first.
    pub const ALL: [Tier; 4] = [Tier::Local, Tier::Small, Tier::Standard, Tier::Reasoning];

    /// The name used in configuration, headers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tier::Local => "local",
            Tier::Small => "small",
            Tier::Standard => "standard",
            Tier::Reasoning => "reasoning",
        }
    }

    /// The tier of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Tier> {
        Tier::ALL.into_iter().find(|t| t.name() == name)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What the caller wants most. Speed, quality, cost: pick two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Objective {
    /// Least cost.
    Cheap,
    /// Good enough at a fair price.
    #[default]
    Balanced,
    /// Best answer under the cap.
    Best,
    /// First word soonest.
    Fast,
}

impl Objective {
    /// Every objective.
    pub const ALL: [Objective; 4] = [
        Objective::Cheap,
        Objective::Balanced,
        Objective::Best,
        Objective::Fast,
    ];

    /// The name used in configuration and headers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Objective::Cheap => "cheap",
            Objective::Balanced => "balanced",
            Objective::Best => "best",
            Objective::Fast => "fast",
        }
    }

    /// The objective of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Objective> {
        Objective::ALL.into_iter().find(|o| o.name() == name)
    }
}
