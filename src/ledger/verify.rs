//! Replays the attempts from nothing and compares every sum with what the store says.

use super::cap::{Counter, covered};
use super::replay::Replay;
use super::store::{EVER, Store};
use crate::error::Error;
use std::collections::BTreeMap;

/// A sum that is not what the attempts add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The counter's name.
    pub counter: String,
    /// Which window of it.
    pub id: i64,
    /// What the store says.
    pub stored: i128,
    /// What the attempts add up to.
    pub replayed: i128,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Attempts read.
    pub attempts: u64,
    /// Attempts without an end (in flight, or left by a crash).
    pub open: u64,
    /// Leases of dead processes that were charged.
    pub forfeits: u64,
    /// The sums that differ.
    pub differences: Vec<Difference>,
}

/// Replays everything in `store`.
///
/// # Errors
/// The store cannot be read.
pub fn verify(store: &mut dyn Store) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    let counters = store.defined()?;
    let mut replay = Replay::of(counters.clone());
    store.attempts(EVER, &mut |attempt| {
        findings.attempts += 1;
        findings.open += u64::from(attempt.closing.is_none());
        replay.add(&attempt);
        true
    })?;
    for forfeit in store.forfeits()? {
        findings.forfeits += 1;
        replay.add_forfeit(&forfeit);
    }
    let mut replayed: BTreeMap<(String, i64), i128> = replay
        .sums()
        .into_iter()
        .map(|s| ((s.counter, s.id), s.posted))
        .collect();
    for sum in store.sums()? {
        let at = (sum.counter, sum.id);
        let found = replayed.remove(&at).unwrap_or(0);
        if found != sum.posted && covered(&at.0, &counters) {
            findings.differences.push(Difference {
                counter: at.0,
                id: at.1,
                stored: sum.posted,
                replayed: found,
            });
        }
    }
    // A cap that is newer than its attempts, or whose minutes were cleared away, has no sum of its past. These always have one.
    let always = Counter::always();
    let lost = replayed
        .into_iter()
        .filter(|((name, _), sum)| *sum != 0 && covered(name, &always));
    findings
        .differences
        .extend(lost.map(|((counter, id), sum)| Difference {
            counter,
            id,
            stored: 0,
            replayed: sum,
        }));
    Ok(findings)
}
