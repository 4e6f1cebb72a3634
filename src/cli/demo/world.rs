//! What there is in the month of `flyball demo --days`: its models and what they cost, and what an app and its tasks are ([`super::apps`] has them).

use crate::arm::{Effort, Tier};
use crate::chat::ServiceTier;
use crate::money::PicoUsd;
use crate::price::{Price, Rates, TierRates, Tiers};

/// One simulated model.
pub(super) struct PlayedModel {
    pub(super) name: &'static str,
    pub(super) provider: &'static str,
    pub(super) tier: Tier,
    /// It runs on the firm's own machine.
    pub(super) local: bool,
    /// Milliseconds to the first token of a short prompt.
    pub(super) first_ms: u64,
    /// Tokens a second after it; it thinks four times as fast.
    pub(super) rate: u64,
    /// What it costs, in pico-dollars a token: input, cached input, output. `None`: as the price catalogue says.
    rates: Option<[i128; 3]>,
    /// Its batches cost half.
    has_batches: bool,
    pub(super) efforts: &'static [Effort],
}

/// The three that `[simulate]` serves, and two more that only this month has: one on a machine of the firm's own and one at another provider, which was
/// down one afternoon.
pub(super) const MODELS: [PlayedModel; 5] = [
    PlayedModel {
        name: LOCAL,
        provider: "sim-house",
        tier: Tier::Local,
        local: true,
        first_ms: 420,
        rate: 38,
        rates: Some([0, 0, 0]),
        has_batches: false,
        efforts: &[Effort::None],
    },
    PlayedModel {
        name: SMALL,
        provider: "simulated",
        tier: Tier::Small,
        local: false,
        first_ms: 160,
        rate: 180,
        rates: None,
        has_batches: false,
        efforts: &[Effort::None],
    },
    PlayedModel {
        name: STANDARD,
        provider: "simulated",
        tier: Tier::Standard,
        local: false,
        first_ms: 380,
        rate: 90,
        rates: None,
        has_batches: false,
        efforts: &[Effort::None, Effort::Low, Effort::Medium, Effort::High],
    },
    PlayedModel {
        name: REASONING,
        provider: "simulated",
        tier: Tier::Reasoning,
        local: false,
        first_ms: 700,
        rate: 60,
        rates: None,
        has_batches: false,
        efforts: &[Effort::Low, Effort::Medium, Effort::High, Effort::Xhigh],
    },
    PlayedModel {
        name: LARGE,
        provider: AWAY,
        tier: Tier::Reasoning,
        local: false,
        first_ms: 540,
        rate: 75,
        rates: Some([2_500_000, 250_000, 15_000_000]),
        has_batches: true,
        efforts: &[Effort::Low, Effort::Medium, Effort::High],
    },
];

pub(super) const LOCAL: &str = "sim-local";
pub(super) const SMALL: &str = "sim-small";
pub(super) const STANDARD: &str = "sim-standard";
pub(super) const REASONING: &str = "sim-reasoning";
pub(super) const LARGE: &str = "sim-large";
/// The provider that is down one afternoon.
pub(super) const AWAY: &str = "sim-cloud";

impl PlayedModel {
    pub(super) fn named(name: &str) -> &'static PlayedModel {
        let mut models = MODELS.iter();
        models
            .find(|m| m.name == name)
            .expect("apps name models of this list")
    }

    /// What it costs, where the price catalogue says this of its name.
    pub(super) fn price(&self, catalogue: Option<Price>) -> Price {
        let Some([input, cached, output]) = self.rates.map(|rates| rates.map(PicoUsd)) else {
            return catalogue.unwrap_or_default();
        };
        let rates = Rates {
            cached,
            cached_audio: cached,
            ..Rates::plain(input, output)
        };
        let halves = Rates {
            cached: PicoUsd(cached.0 / 2),
            cached_audio: PicoUsd(cached.0 / 2),
            ..Rates::plain(PicoUsd(input.0 / 2), PicoUsd(output.0 / 2))
        };
        let batch = self.has_batches.then_some(TierRates {
            rates: halves,
            long: None,
        });
        Price {
            rates,
            tiers: Tiers {
                batch,
                ..Tiers::default()
            },
            ..Price::default()
        }
    }
}

/// A virtual key, and the app that has it.
pub(super) struct App {
    /// The key's name.
    pub(super) key: &'static str,
    pub(super) team: &'static str,
    pub(super) tags: &'static [(&'static str, &'static str)],
    /// Of a thousand requests of an ordinary working day.
    pub(super) share: u64,
    pub(super) rhythm: Rhythm,
    /// By so many percent it is larger at the end of the month than at its beginning.
    pub(super) growth: i64,
    /// Turns of its longest conversations.
    pub(super) turns: u64,
    /// Of a hundred answers.
    pub(super) streamed: u64,
    pub(super) manner: AppManner,
    pub(super) jobs: &'static [Job],
}

/// How an app asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AppManner {
    /// For `auto`.
    Routed,
    /// For a model by its name, which it gets.
    ByName,
    /// In batches.
    Batches,
}

/// When an app is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rhythm {
    /// When people work.
    Office,
    /// When customers are awake, at weekends too.
    Customers,
    /// Before dawn, each night.
    Night,
    /// At all times, more when people work.
    Experiments,
}

impl Rhythm {
    /// The weights of a day's hours (UTC); they add up to 1,000.
    pub(super) fn hours(self) -> [u64; 24] {
        match self {
            Rhythm::Office => [
                2, 2, 2, 2, 3, 6, 18, 52, 92, 108, 110, 96, 62, 84, 104, 100, 80, 44, 16, 8, 4, 2,
                2, 1,
            ],
            Rhythm::Customers => [
                12, 8, 6, 5, 6, 10, 22, 38, 52, 60, 62, 60, 58, 56, 56, 58, 62, 68, 76, 80, 68, 44,
                22, 11,
            ],
            Rhythm::Experiments => [
                22, 22, 22, 22, 22, 22, 22, 36, 60, 82, 88, 78, 52, 66, 80, 76, 58, 38, 22, 22, 22,
                22, 22, 22,
            ],
            Rhythm::Night => [
                40, 210, 280, 260, 150, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20,
            ],
        }
    }

    /// What a weekend's day has of a working day's requests, in percent.
    pub(super) fn weekend(self) -> u64 {
        match self {
            Rhythm::Office => 11,
            Rhythm::Customers => 78,
            Rhythm::Night => 100,
            Rhythm::Experiments => 52,
        }
    }
}

/// A kind of request that an app makes.
pub(super) struct Job {
    pub(super) task: &'static str,
    pub(super) weight: u64,
    pub(super) rule: &'static str,
    /// In thousandths, from and to.
    pub(super) difficulty: (u64, u64),
    /// Tokens, from and to.
    pub(super) input: (u64, u64),
    pub(super) answer: (u64, u64),
    /// What `medium` thinks about it.
    pub(super) thinking: u64,
    pub(super) arms: &'static [(&'static str, Effort, u64)],
    /// Of a hundred, those on which the smallest model is asked first.
    pub(super) asked_first: u64,
}

/// The rules that decide in this month: those that flyball starts with.
pub(super) const RULES: [&str; 4] = [
    "private stays local",
    "unknown is not easy",
    "default",
    "asked",
];

/// The tokens that an effort thinks, in percent of `medium`.
pub(super) fn thinks(effort: Effort) -> u64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal => 15,
        Effort::Low => 38,
        Effort::Medium => 100,
        Effort::High => 210,
        Effort::Xhigh => 400,
        Effort::Max => 700,
    }
}

/// The service tier that an app's requests are made in.
pub(super) fn service_tier(manner: AppManner, model: &PlayedModel) -> Option<ServiceTier> {
    (manner == AppManner::Batches && model.has_batches).then_some(ServiceTier::Batch)
}
