//! What is asked of the balances and what they answer: asks and grants, spends and postings, what is full and what is short.

use crate::ledger::cap::{AtCap, Cap, Counter, Measure};
use crate::money::PicoUsd;
use std::sync::Arc;

/// What an attempt needs: a fixed part (its input at the bound) and so much per answer token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requirement {
    /// Upper bound of what the input costs.
    pub fixed: PicoUsd,
    /// Upper bound of one answer token, times the number of answers.
    pub per_token: PicoUsd,
    /// StoreAnswer tokens wanted.
    pub tokens: u64,
    /// The least number of answer tokens that is still worth an answer; equal to `tokens` where the limit must not be lowered.
    pub tokens_min: u64,
    /// Upper bound of the input's tokens.
    pub input_tokens: u64,
    /// Answers asked for, each of so many tokens.
    pub choices: u64,
    /// It is granted only where what is left would do for the input of so many like it, and its answer; 0 and 1: for this one. A rough
    /// bound of the input that takes much of what is left keeps others out who would have room.
    pub times: u8,
}

impl Requirement {
    /// What an answer of so many tokens needs in this measure, at most.
    #[must_use]
    pub fn amount(&self, measure: Measure, tokens: u64) -> i128 {
        match measure {
            Measure::Usd => (self.fixed + self.per_token.times(tokens)).0,
            Measure::Tokens => {
                i128::from(self.input_tokens) + i128::from(tokens) * i128::from(self.choices)
            }
            Measure::Requests => 1,
        }
    }

    /// What of it is the input's, whose bound may be rough: that of an answer is its limit, which nothing else could be.
    pub(super) fn input(&self, measure: Measure) -> i128 {
        match measure {
            Measure::Usd | Measure::Tokens => self.amount(measure, 0),
            Measure::Requests => 0,
        }
    }

    /// The most answer tokens for which `left` is enough.
    pub(super) fn tokens_for(&self, measure: Measure, left: i128) -> u64 {
        let (room, each) = match measure {
            Measure::Usd => (left - self.fixed.0, self.per_token.0),
            Measure::Tokens => (
                left - i128::from(self.input_tokens),
                i128::from(self.choices),
            ),
            Measure::Requests => return u64::MAX,
        };
        if each <= 0 {
            return u64::MAX;
        }
        u64::try_from(room.max(0) / each).unwrap_or(u64::MAX)
    }
}

/// What an attempt used in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spend {
    /// Its cost.
    pub usd: PicoUsd,
    /// Its tokens, in and out.
    pub tokens: u64,
    /// 1, or 0 where no work was done.
    pub requests: u64,
}

impl Spend {
    /// So much of this measure.
    #[must_use]
    pub fn of(&self, measure: Measure) -> i128 {
        match measure {
            Measure::Usd => self.usd.0,
            Measure::Tokens => i128::from(self.tokens),
            Measure::Requests => i128::from(self.requests),
        }
    }
}

/// What was reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The bound of the attempt's cost.
    pub amount: PicoUsd,
    /// StoreAnswer tokens that the bound covers.
    pub tokens: u64,
    /// The bound of its tokens, in and out.
    pub tokens_bound: u64,
    /// The instant whose windows it counts in, seconds since 1970.
    pub at: i64,
    /// A cap counts it.
    pub capped: bool,
    pub(super) version: u64,
    pub(super) held: Vec<Held>,
}

impl Grant {
    /// That of an attempt which was made already: nothing was reserved, and what it has cost is posted to every counter that counts it, as to
    /// one that came into being later.
    pub(in crate::ledger) fn beyond_caps(at: i64) -> Grant {
        Grant {
            amount: PicoUsd::ZERO,
            tokens: 0,
            tokens_bound: 0,
            at,
            capped: false,
            version: u64::MAX,
            held: Vec::new(),
        }
    }

    /// Needs no more memory than it has to.
    pub(in crate::ledger) fn shrink(&mut self) {
        self.held.shrink_to_fit();
    }

    /// The grant, of which nothing stays here.
    pub(in crate::ledger) fn take(&mut self) -> Grant {
        Grant {
            held: std::mem::take(&mut self.held),
            ..self.clone()
        }
    }
}

/// One counter's part of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) counter: Arc<str>,
    pub(super) id: i64,
    pub(super) amount: i128,
    pub(super) measure: Measure,
    pub(super) leased: bool,
    pub(super) epoch: u32,
}

/// A change of one counter in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The counter's name.
    pub counter: Arc<str>,
    /// Which window of it.
    pub id: i64,
    /// So much is spent for good.
    pub posted: i128,
    /// So much of this process's lease is used up or given back.
    pub unleased: i128,
    /// A lease stands behind it, of this epoch.
    pub leased: bool,
    /// The life of this process, as the store counts them, in which the lease was taken.
    pub epoch: u32,
}

/// A lease that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The counter's name.
    pub counter: Arc<str>,
    /// Which window of it.
    pub id: i64,
    /// The least that helps.
    pub need: i128,
    /// What this attempt would take.
    pub want: i128,
    /// The cap.
    pub limit: i128,
    /// The life of this process for which it is asked.
    pub epoch: u32,
}

/// Why a cap does not admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is too little room.
    Room,
    /// The key has as many sessions in this window as it may have.
    Sessions,
}

/// A cap that has no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full {
    /// The counter.
    pub counter: Counter,
    /// When its window ends; never for `Total`.
    pub ends_at: Option<i64>,
    /// The limit.
    pub limit: i128,
    /// What is spent for good.
    pub posted: i128,
    /// What open reservations hold.
    pub reserved: i128,
    /// The least that this attempt would have needed.
    pub needed: i128,
    /// What the cap says of such requests.
    pub at_cap: AtCap,
    /// Why.
    pub reason: Reason,
    /// The cap, with its name.
    pub cap: Option<Arc<Cap>>,
}

impl Full {
    /// There would be room if no reservation were open: trying again soon can help.
    #[must_use]
    pub fn only_reserved(&self) -> bool {
        self.reason == Reason::Room && self.limit > 0 && self.posted + self.needed <= self.limit
    }

    /// What is neither spent nor reserved.
    #[must_use]
    pub fn left(&self) -> i128 {
        (self.limit - self.posted - self.reserved).max(0)
    }
}

/// Why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A cap has no room.
    Full(Box<Full>),
    /// Leases are too small; the store may have more.
    Short(Vec<Want>),
    /// What an end user has spent is not known here; the store knows.
    Unknown,
}

/// One counter's standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterStanding {
    /// What is counted.
    pub counter: Counter,
    /// Which window the figures are of.
    pub id: i64,
    /// When it ends; never for `Total`.
    pub ends_at: Option<i64>,
    /// The cap, if there is one.
    pub limit: Option<i128>,
    /// Spent for good.
    pub posted: i128,
    /// Held by open reservations.
    pub reserved: i128,
    /// What this process may still spend without asking the store, where it leases.
    pub lease: i128,
    /// The cap that holds, with its name; the one of the lowest limit where there are several.
    pub cap: Option<Arc<Cap>>,
}

/// A cap that has just passed the share at which it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The counter's name.
    pub counter: Arc<str>,
    /// Its standing.
    pub standing: CounterStanding,
    /// The share in percent that was passed.
    pub percent: u8,
}

/// Which measures of an attempt are capped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capped {
    /// Its dollars.
    pub usd: bool,
    /// Its tokens.
    pub tokens: bool,
    /// Its number.
    pub requests: bool,
}

impl Capped {
    /// A cap counts it.
    #[must_use]
    pub fn any(&self) -> bool {
        self.usd || self.tokens || self.requests
    }
}
