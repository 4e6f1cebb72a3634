//! What the books say of one attempt: what is known when it opens, and what when it closes. Ledger, stores, log, metrics and export
//! all read these two.
//!
//! Pure: it reads no clock and no store.

use super::balance::Spend;
use super::cap::{self, Dims};
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
    /// The end user, as the books name it, or nothing.
    pub user: String,
    /// The same as the request has named it; never written down.
    pub user_name: String,
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
            key: cap::row_text(self.key),
            session: &self.session,
            user: &self.user,
            user_name: &self.user_name,
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
    /// What it may have cost beyond that: had it thought as much as is expected of it, where that was not seen.
    pub baseline_extra: PicoUsd,
    /// The baseline's model; nothing where nothing was held against it, or it is from before these were kept.
    pub baseline_model: String,
    /// The baseline's effort.
    pub baseline_effort: Effort,
    /// Why it cost less or more than the baseline would have; none where it cost the same.
    pub cause: Option<Cause>,
    /// What the provider's prompt cache took off: below zero where writing to it cost more than reading from it has saved.
    pub cache_discount: PicoUsd,
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
    /// Its answer went to nobody: another one's went in its place, or it was held against another one.
    #[must_use]
    pub fn is_aside(&self) -> bool {
        let of_another = [Cause::Escalated, Cause::Check, Cause::Shadow, Cause::Hedge].map(Some);
        self.outcome == Outcome::Escalated || of_another.contains(&self.cause)
    }

    /// The end of an attempt for which no work was done: nothing was used, nothing is charged.
    #[must_use]
    pub fn void(attempt: &str, outcome: Outcome) -> Closing {
        Closing {
            attempt: attempt.to_owned(),
            cost: PicoUsd::ZERO,
            baseline: PicoUsd::ZERO,
            baseline_extra: PicoUsd::ZERO,
            baseline_model: String::new(),
            baseline_effort: Effort::None,
            cause: None,
            cache_discount: PicoUsd::ZERO,
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

/// An attempt whose process died, with how it was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Where it was sent.
    pub opening: Opening,
    /// As [`crashed`] closes it.
    pub closing: Closing,
}

impl From<Opening> for Swept {
    fn from(opening: Opening) -> Swept {
        Swept {
            closing: crashed(&opening),
            opening,
        }
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// Why an attempt cost less than its baseline would have, or more: one cause for each attempt. A closed set too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Saved: another model has answered.
    Route,
    /// Saved: the baseline's model has answered at another effort.
    Effort,
    /// Saved: a model on the operator's own machines has answered.
    Local,
    /// Saved: it was made in a batch or in a slower service tier, and the baseline has none.
    Batch,
    /// Saved: the baseline's own arm has answered, and found more in its provider's cache than the baseline is taken to find.
    PromptCache,
    /// Saved: it was given the answer to an equal request of before.
    ResponseCache,
    /// Lost: its own evidence was against it, and another arm has answered.
    Escalated,
    /// Lost: it was asked about another answer.
    Check,
    /// Lost: it was made off the path, to learn how good its arm is.
    Shadow,
    /// Lost: another one was sent as well, and has answered first.
    Hedge,
    /// Lost: it found less of the conversation in its provider's cache than the baseline would have.
    Cold,
    /// Lost: its arm is dearer.
    Dearer,
    /// Lost: the client went away, and nobody knows how much was made by then.
    ClientGone,
}

impl Cause {
    /// Why something is saved.
    pub const SAVINGS: [Cause; 6] = [
        Cause::Route,
        Cause::Effort,
        Cause::Local,
        Cause::Batch,
        Cause::PromptCache,
        Cause::ResponseCache,
    ];
    /// Why something is lost.
    pub const LOSSES: [Cause; 7] = [
        Cause::Escalated,
        Cause::Check,
        Cause::Cold,
        Cause::Dearer,
        Cause::ClientGone,
        Cause::Shadow,
        Cause::Hedge,
    ];

    /// The name in the books, the export and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Cause::Route => "route",
            Cause::Effort => "effort",
            Cause::Local => "local",
            Cause::Batch => "batch",
            Cause::PromptCache => "prompt_cache",
            Cause::ResponseCache => "response_cache",
            Cause::Escalated => "escalated",
            Cause::Check => "check",
            Cause::Shadow => "shadow",
            Cause::Hedge => "hedge",
            Cause::Cold => "cold",
            Cause::Dearer => "dearer",
            Cause::ClientGone => "client_gone",
        }
    }

    /// The cause of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Cause> {
        let mut all = Cause::SAVINGS.into_iter().chain(Cause::LOSSES);
        all.find(|c| c.name() == name)
    }

    /// It is one of a loss.
    #[must_use]
    pub fn is_loss(self) -> bool {
        Cause::LOSSES.contains(&self)
    }

    /// The cause as far as the row itself tells it, of an attempt at this effort that saved so much (below zero: lost).
    #[must_use]
    pub fn told(
        opening: &Opening,
        closing: &Closing,
        effort: Effort,
        saved: PicoUsd,
    ) -> Option<Cause> {
        let model = &closing.baseline_model;
        Some(match closing.outcome {
            Outcome::Escalated => Cause::Escalated,
            _ if saved == PicoUsd::ZERO => return None,
            Outcome::ClientGone if saved < PicoUsd::ZERO => Cause::ClientGone,
            _ if saved < PicoUsd::ZERO => Cause::Dearer,
            _ if opening.tier == Tier::Local => Cause::Local,
            _ if model.is_empty() || *model != opening.model => Cause::Route,
            _ if closing.baseline_effort != effort => Cause::Effort,
            _ => Cause::PromptCache,
        })
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
    /// Another attempt of its request has come after it and has ended, because this one was not good enough or has failed. What was
    /// only held against its answer does not count.
    pub followed: bool,
}

/// An attempt that has ended, and what became known of it since.
#[derive(Clone, Copy, Debug)]
pub struct Closed<'a> {
    /// Why and where.
    pub opening: &'a Opening,
    /// How it ended.
    pub closing: &'a Closing,
    /// What the provider's bill says that it cost.
    pub trued_up: Option<PicoUsd>,
    /// Another attempt of its request has come after it and has ended.
    pub followed: bool,
}

impl Closed<'_> {
    /// What is booked: as it was closed or, where a bill has corrected that, as the bill says.
    #[must_use]
    pub fn booked(&self) -> PicoUsd {
        self.trued_up.unwrap_or(self.closing.cost)
    }

    /// What the baseline would have cost. Where nobody knows what was used, and a bill says what that cost, the baseline is taken to
    /// have cost the same: a bound is no measure of what was saved.
    #[must_use]
    pub fn baseline(&self) -> PicoUsd {
        let closing = self.closing;
        let unknown = closing.usage == Usage::default() && closing.baseline == closing.cost;
        match self.trued_up {
            Some(billed) if unknown => billed,
            _ => closing.baseline,
        }
    }

    /// What is booked at the bound because nobody knows what it was.
    #[must_use]
    pub fn provisional(&self) -> PicoUsd {
        match (self.closing.basis, self.trued_up) {
            (Basis::Bound, None) => self.closing.cost,
            _ => PicoUsd::ZERO,
        }
    }

    /// Why it saved or lost what it did. A bill that turns a loss into a saving leaves what the row itself tells.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        let saved = self.baseline() - self.booked();
        match self.closing.cause {
            Some(cause) if saved == PicoUsd::ZERO || cause.is_loss() == (saved < PicoUsd::ZERO) => {
                Some(cause)
            }
            _ => Cause::told(self.opening, self.closing, self.opening.effort, saved),
        }
    }

    /// Its answer is the one that the client got, or the last failure that it was told of: a request has one such attempt. What was
    /// asked about another answer, or for a comparison, has none of its own.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !self.followed && !self.closing.is_aside()
    }
}

impl Attempt {
    /// The attempt once it has ended.
    #[must_use]
    pub fn closed(&self) -> Option<Closed<'_>> {
        self.closing.as_ref().map(|closing| Closed {
            opening: &self.opening,
            closing,
            trued_up: self.trued_up,
            followed: self.followed,
        })
    }

    /// What is booked, once it has ended.
    #[must_use]
    pub fn booked(&self) -> Option<PicoUsd> {
        self.closed().map(|closed| closed.booked())
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
