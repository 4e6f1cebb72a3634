//! What the books say of one attempt: what is known when it opens, and what when it closes. Ledger, stores, log, metrics and export
//! all read these two.
//!
//! Pure: it reads no clock and no store.

use super::balance::Spend;
use super::cap::Dims;
use crate::arm::{Effort, Tier};
use crate::chat::{ServiceTier, Usage};
use crate::money::PicoUsd;
use crate::probe::evidence::Sign;

/// An attempt as it opens: where it was sent, and why there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// The request id; the same on all attempts of one exchange.
    pub request: String,
    /// The attempt's own id.
    pub attempt: String,
    /// When it was admitted, milliseconds since 1970.
    pub at_ms: i64,
    /// The instant whose windows it counts in: `at_ms`, unless the clock was set back.
    pub counted_ms: i64,
    /// The virtual key's row, or none in open mode.
    pub key: Option<i64>,
    /// The organisation of the key's team, or nothing.
    pub organisation: String,
    /// The key's team, or nothing.
    pub team: String,
    /// The caller's session, or nothing.
    pub session: String,
    /// The tags that count: fixed on the key or demanded by it.
    pub tags: Vec<(String, String)>,
    /// The provider's name.
    pub provider: String,
    /// The model asked of it.
    pub model: String,
    /// The effort asked of it.
    pub effort: Effort,
    /// The model's tier.
    pub tier: Tier,
    /// The task that the prompt was graded as.
    pub task: String,
    /// The rule that decided.
    pub rule: String,
    /// The difficulty in thousandths.
    pub difficulty_milli: i64,
    /// The dialect spoken.
    pub dialect: String,
    /// The model is simulated: no money was spent.
    pub simulated: bool,
    /// The attempt whose answer was gone on from to this one, or nothing.
    pub escalated_from: String,
    /// The upper bound of its cost.
    pub bound: PicoUsd,
    /// The upper bound of its tokens.
    pub bound_tokens: u64,
    /// The price catalogue that prices it.
    pub catalogue: String,
}

impl Opening {
    /// The attempt as caps see it.
    #[must_use]
    pub fn dims(&self) -> Dims<'_> {
        Dims {
            organisation: &self.organisation,
            team: &self.team,
            key: self.key.unwrap_or(0).to_string(),
            session: &self.session,
            provider: &self.provider,
            model: &self.model,
            tier: self.tier.name(),
            tags: &self.tags,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The attempt's id.
    pub attempt: String,
    /// What it cost.
    pub cost: PicoUsd,
    /// What the baseline would have cost.
    pub baseline: PicoUsd,
    /// What it used.
    pub usage: Usage,
    /// How the cost is known.
    pub basis: Basis,
    /// What happened.
    pub outcome: Outcome,
    /// The part of `cost` above what was counted, where the outcome is unknown.
    pub excess: PicoUsd,
    /// The service tier whose rates priced it; none where nothing was priced or it is from before these were kept.
    pub service_tier: Option<ServiceTier>,
    /// Tokens that count in token caps: those used, or the bound where nobody knows.
    pub tokens: u64,
    /// What its answer has shown of itself, where that was looked at.
    pub shown: Option<Shown>,
}

/// What an answer has shown of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// What was looked at.
    pub sign: Sign,
    /// The probability that was found there, in millionths; `None` where the sign is none of a probability.
    pub probability_ppm: Option<u64>,
    /// The chance that the answer is good, in thousandths.
    pub chance_milli: u64,
}

impl Shown {
    /// A sign of which no more is known.
    #[must_use]
    pub fn of(sign: Sign) -> Shown {
        Shown {
            sign,
            probability_ppm: None,
            chance_milli: 0,
        }
    }
}

impl Closing {
    /// The end of an attempt for which no work was done: nothing was used, nothing is charged.
    #[must_use]
    pub fn void(attempt: &str, outcome: Outcome) -> Closing {
        Closing {
            attempt: attempt.to_owned(),
            cost: PicoUsd::ZERO,
            baseline: PicoUsd::ZERO,
            usage: Usage::default(),
            basis: Basis::Void,
            outcome,
            excess: PicoUsd::ZERO,
            service_tier: None,
            tokens: 0,
            shown: None,
        }
    }

    /// The end of an attempt of which nobody knows what it cost: charged at its bound.
    #[must_use]
    pub fn at_bound(opening: &Opening, outcome: Outcome) -> Closing {
        Closing {
            cost: opening.bound,
            baseline: opening.bound,
            basis: Basis::Bound,
            excess: opening.bound,
            tokens: opening.bound_tokens,
            ..Closing::void(&opening.attempt, outcome)
        }
    }

    /// What it takes from caps.
    #[must_use]
    pub fn spend(&self) -> Spend {
        Spend {
            usd: self.cost,
            tokens: self.tokens,
            requests: u64::from(self.basis != Basis::Void),
        }
    }
}

/// How an attempt is closed whose process died: its outcome is unknown, so it is charged at its bound.
#[must_use]
pub fn crashed(opening: &Opening) -> Closing {
    Closing::at_bound(opening, Outcome::Crash)
}

/// How a cost is known. A closed set: metric labels and the export rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The answer told what it used.
    Reported,
    /// flyball counted what arrived.
    Counted,
    /// Nobody knows, so the bound is charged; what was counted is only the least of it.
    Bound,
    /// No work was done.
    Void,
}

impl Basis {
    /// Every basis.
    pub const ALL: [Basis; 4] = [Basis::Reported, Basis::Counted, Basis::Bound, Basis::Void];

    /// The name in the books, the export and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Basis::Reported => "reported",
            Basis::Counted => "counted",
            Basis::Bound => "bound",
            Basis::Void => "void",
        }
    }

    /// The basis of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Basis> {
        Basis::ALL.into_iter().find(|b| b.name() == name)
    }
}

/// How an attempt may end. A closed set too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer is complete.
    Ok,
    /// The answer ended at its token limit.
    Length,
    /// The client went away before the end.
    ClientGone,
    /// The provider broke off.
    StreamCut,
    /// The provider failed, or its answer cannot be read.
    UpstreamError,
    /// The provider took too long.
    UpstreamTimeout,
    /// The provider refused the request.
    RefusedUpstream,
    /// Its own evidence was against it, and another arm answered; or it was asked for a comparison alone.
    Escalated,
    /// It never reached a provider.
    NotSent,
    /// The process died while it was open.
    Crash,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 10] = [
        Outcome::Ok,
        Outcome::Length,
        Outcome::ClientGone,
        Outcome::StreamCut,
        Outcome::UpstreamError,
        Outcome::UpstreamTimeout,
        Outcome::RefusedUpstream,
        Outcome::Escalated,
        Outcome::NotSent,
        Outcome::Crash,
    ];

    /// The name in the books, the export and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Length => "length",
            Outcome::ClientGone => "client_gone",
            Outcome::StreamCut => "stream_cut",
            Outcome::UpstreamError => "upstream_error",
            Outcome::UpstreamTimeout => "upstream_timeout",
            Outcome::RefusedUpstream => "refused_upstream",
            Outcome::Escalated => "escalated",
            Outcome::NotSent => "not_sent",
            Outcome::Crash => "crash",
        }
    }

    /// The outcome of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|o| o.name() == name)
    }
}

/// How a provider's own figure of a cost compares with the computed one. A closed set too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The same, but for rounding.
    Equal,
    /// The provider's is larger.
    Above,
    /// The provider's is smaller.
    Below,
}

impl Compared {
    /// Every way.
    pub const ALL: [Compared; 3] = [Compared::Equal, Compared::Above, Compared::Below];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Compared::Equal => "equal",
            Compared::Above => "above",
            Compared::Below => "below",
        }
    }
}

/// One row of the ledger, open or closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Why and where.
    pub opening: Opening,
    /// The key's name, `local` in open mode.
    pub key_name: String,
    /// How it ended; `None` while it is open.
    pub closing: Option<Closing>,
    /// What the provider's bill says that it cost, where a bill has corrected it.
    pub trued_up: Option<PicoUsd>,
}

impl Attempt {
    /// What is booked: as it was closed or, where a bill has corrected that, as the bill says.
    #[must_use]
    pub fn booked(&self) -> Option<PicoUsd> {
        let closing = self.closing.as_ref()?;
        Some(self.trued_up.unwrap_or(closing.cost))
    }

    /// What a bill's cost changes in what is booked.
    ///
    /// # Errors
    /// Why it changes nothing.
    pub fn change_to(&self, cost: PicoUsd) -> Result<PicoUsd, TrueUp> {
        match (&self.closing, self.trued_up) {
            (None, _) => Err(TrueUp::Open),
            (_, Some(_)) => Err(TrueUp::Again),
            (Some(closing), None) if closing.basis == Basis::Bound => Ok(cost - closing.cost),
            _ => Err(TrueUp::Known),
        }
    }
}

/// The row that corrects an attempt which was charged at its bound. The attempt stays as it was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The attempt's id.
    pub attempt: String,
    /// What the bill says.
    pub cost: PicoUsd,
    /// When it was booked, milliseconds since 1970.
    pub at_ms: i64,
    /// Where the bill came from.
    pub source: String,
}

/// What a bill did to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrueUp {
    /// It is booked at the bill's cost now, which is so much more (or, below zero, less) than before.
    Corrected(PicoUsd),
    /// It was corrected before: nothing changed.
    Again,
    /// Its cost is known from its answer: nothing changed.
    Known,
    /// It has not ended: nothing changed.
    Open,
    /// No attempt has this id, or several of the request's were charged at their bound.
    Unclear,
}

/// What is posted in one window of a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// The counter's name.
    pub counter: String,
    /// Which window of it.
    pub id: i64,
    /// Spent for good.
    pub posted: i128,
    /// Set aside for processes that lease.
    pub leased: i128,
}

/// A lease that a dead process left, charged in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forfeit {
    /// The counter's name.
    pub counter: String,
    /// Which window of it.
    pub id: i64,
    /// How much.
    pub amount: i128,
    /// When it was charged, milliseconds since 1970.
    pub at_ms: i64,
}
