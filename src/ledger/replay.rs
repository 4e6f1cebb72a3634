//! What counters must hold, worked out from attempts alone. Pure: the check on the balances and the beginning of new ones.

use super::cap::Counter;
use super::record::{Attempt, Basis, Closing, Forfeit, Opening, Sum, crashed};
use super::window::Window;
use crate::money::PicoUsd;
use std::collections::BTreeMap;

/// The counters in which an attempt counts: name, window, amount; each once.
#[must_use]
pub fn counts(
    counters: &[Counter],
    opening: &Opening,
    closing: &Closing,
) -> Vec<(String, i64, i128)> {
    let (dims, spend) = (opening.dims(), closing.spend());
    let at = opening.counted_ms.div_euclid(1_000);
    let mut found: Vec<(String, i64, i128)> = Vec::new();
    for counter in counters.iter().filter(|c| c.scope.holds(&dims)) {
        let name = counter.instance(&dims).to_string();
        if found.iter().all(|(n, ..)| *n != name) {
            let id = counter.window.id(&counter.zone, at);
            found.push((name, id, spend.of(counter.measure)));
        }
    }
    found
}

/// The counters in which a correction of an attempt's cost counts.
#[must_use]
pub fn corrections(
    counters: &[Counter],
    opening: &Opening,
    change: PicoUsd,
) -> Vec<(String, i64, i128)> {
    let change = Closing {
        cost: change,
        // Tokens stay at their bound, and the request has been counted: a bill is about money.
        tokens: 0,
        basis: Basis::Void,
        ..crashed(opening)
    };
    let mut found = counts(counters, opening, &change);
    found.retain(|(.., amount)| *amount != 0);
    found
}

/// A replay of attempts.
#[derive(Debug)]
pub struct Replay {
    counters: Vec<Counter>,
    /// Only windows that still run at this instant count.
    running_at: Option<i64>,
    sums: BTreeMap<(String, i64), i128>,
}

impl Replay {
    /// Of every window of these counters.
    #[must_use]
    pub fn of(counters: Vec<Counter>) -> Replay {
        Replay {
            counters,
            running_at: None,
            sums: BTreeMap::new(),
        }
    }

    /// Only of the windows that run at `now`, seconds since 1970.
    #[must_use]
    pub fn running(counters: Vec<Counter>, now: i64) -> Replay {
        Replay {
            running_at: Some(now),
            ..Replay::of(counters)
        }
    }

    /// Older attempts count in no window that is wanted; milliseconds since 1970.
    #[must_use]
    pub fn from_ms(&self) -> i64 {
        let Some(now) = self.running_at else {
            return i64::MIN;
        };
        let begins = |c: &Counter| match c.window {
            Window::Total => i64::MIN,
            Window::Minute | Window::Hour => now - 7_200,
            window => window
                .ends_at(&c.zone, window.id(&c.zone, now) - 1)
                .unwrap_or(i64::MIN),
        };
        let first = self.counters.iter().map(begins).min().unwrap_or(now);
        // An attempt made while the clock was set back counts later than it says: by a day at most, or it is a new window.
        first.saturating_sub(86_400).saturating_mul(1_000)
    }

    /// Adds an attempt; one without an end has spent nothing yet.
    pub fn add(&mut self, attempt: &Attempt) {
        let Some(closing) = &attempt.closing else {
            return;
        };
        let booked = attempt.trued_up.map(|cost| Closing {
            cost,
            ..closing.clone()
        });
        let closing = booked.as_ref().unwrap_or(closing);
        for (name, id, amount) in counts(&self.counters, &attempt.opening, closing) {
            if amount != 0 && self.wanted(&name, id) {
                *self.sums.entry((name, id)).or_default() += amount;
            }
        }
    }

    fn wanted(&self, name: &str, id: i64) -> bool {
        let Some(now) = self.running_at else {
            return true;
        };
        Counter::read(name).is_some_and(|c| c.window.id(&c.zone, now) == id)
    }

    /// Adds a lease that a dead process left.
    pub fn add_forfeit(&mut self, forfeit: &Forfeit) {
        let at = (forfeit.counter.clone(), forfeit.id);
        *self.sums.entry(at).or_default() += forfeit.amount;
    }

    /// Adds what attempts had added that are not there any more.
    pub fn add_sum(&mut self, sum: &Sum) {
        let at = (sum.counter.clone(), sum.id);
        *self.sums.entry(at).or_default() += sum.posted;
    }

    /// What everything adds up to.
    #[must_use]
    pub fn sums(self) -> Vec<Sum> {
        let sum = |((counter, id), posted)| Sum {
            counter,
            id,
            posted,
            leased: 0,
        };
        self.sums.into_iter().map(sum).collect()
    }
}
