//! Replays the attempts from nothing and compares every sum with what the store says.

use super::cap::{Counter, covered};
use super::prune::is_forgotten;
use super::replay::Replay;
use super::rollup::{self, Amounts, Grain};
use super::store::{EVER, Kept, Store};
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
    /// Of the sums by group, those that differ from what their attempts add up to: over which hour or day, which group, what.
    pub groups: Vec<String>,
}

impl Findings {
    /// Everything is as it should be.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.differences.is_empty() && self.groups.is_empty()
    }
}

/// Replays everything in `store`.
///
/// # Errors
/// The store cannot be read.
pub fn verify(store: &mut dyn Store) -> Result<Findings, Error> {
    verify_at(store, super::now())
}

/// As [`verify`], at this second since 1970: sums that may be forgotten by then are not compared, since what is booked late into one of
/// them stands alone there. The sums of their days and months are.
///
/// # Errors
/// The store cannot be read.
pub fn verify_at(store: &mut dyn Store, now: i64) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    let counters = store.defined()?;
    let mut replay = Replay::of(counters.clone());
    let kept = store.kept()?;
    let mut sums = GroupSums::new();
    store.attempts(EVER, &mut |attempt| {
        findings.attempts += 1;
        findings.open += u64::from(attempt.closing.is_none());
        replay.add(&attempt);
        if let Some(closed) = attempt.closed().filter(|c| c.opening.at_ms >= kept.from_ms) {
            let (group, amounts) = rollup::of(&closed);
            let at_ms = Grain::Hour.floor(closed.opening.at_ms);
            sums.entry((at_ms, group.text())).or_default().add(&amounts);
        }
        true
    })?;
    findings.groups = compare(store, sums, &kept)?;
    // What was deleted has added this.
    for sum in store.carried()? {
        replay.add_sum(&sum);
    }
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
        if found != sum.posted && covered(&at.0, &counters) && !is_forgotten(&at.0, at.1, now) {
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

/// Sums by the beginning of their hour or day and by their group's text.
type GroupSums = BTreeMap<(i64, String), Amounts>;

/// Compares the sums by group with these, which attempts add up to by the hour.
fn compare(store: &mut dyn Store, hours: GroupSums, kept: &Kept) -> Result<Vec<String>, Error> {
    let mut days = GroupSums::new();
    for ((at_ms, group), amounts) in &hours {
        let at = (Grain::Day.floor(*at_ms), group.clone());
        days.entry(at).or_default().add(amounts);
    }
    let mut found = Vec::new();
    for (grain, mut expected) in [(Grain::Hour, hours), (Grain::Day, days)] {
        store.rollups(
            grain,
            kept.from_ms..i64::MAX,
            false,
            &mut |at_ms, group, amounts| {
                let replayed = expected.remove(&(at_ms, group.text())).unwrap_or_default();
                if replayed != *amounts {
                    found.push(difference(grain, at_ms, &group.text(), amounts, &replayed));
                }
            },
        )?;
        let missing = expected
            .into_iter()
            .filter(|(_, amounts)| !amounts.is_nothing());
        found.extend(missing.map(|((at_ms, group), amounts)| {
            difference(grain, at_ms, &group, &Amounts::default(), &amounts)
        }));
    }
    Ok(found)
}

fn difference(
    grain: Grain,
    at_ms: i64,
    group: &str,
    stored: &Amounts,
    replayed: &Amounts,
) -> String {
    let time = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    let both = stored.values().into_iter().zip(replayed.values());
    let which = Amounts::NAMES.iter().zip(both).filter(|(_, (s, r))| s != r);
    let which: Vec<String> = which
        .map(|(name, (s, r))| format!("{name}: stored {s}, attempts add up to {r}"))
        .collect();
    format!("{grain:?} {time} {group}: {}", which.join("; "))
}
