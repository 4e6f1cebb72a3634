//! Replays the attempts from nothing and compares every sum with what the store says.

use super::balance::Place;
use super::store::sqlite;
use crate::error::Error;
use crate::money::PicoUsd;
use rusqlite::Connection;
use std::collections::BTreeMap;

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Attempts read.
    pub attempts: u64,
    /// Attempts without an end (in flight, or left by a crash).
    pub open: u64,
    /// Windows whose stored sum differs: the place, what is stored, what the attempts add up to.
    pub differences: Vec<(Place, PicoUsd, PicoUsd)>,
}

/// Replays every attempt in `db`.
///
/// # Errors
/// The store cannot be read.
pub fn verify(db: &Connection) -> Result<Findings, Error> {
    let mut findings = Findings::default();
    let mut sums: BTreeMap<Place, PicoUsd> = BTreeMap::new();
    sqlite::attempts(db, i64::MIN, &mut |attempt| {
        findings.attempts += 1;
        match attempt.closing {
            None => findings.open += 1,
            Some(closing) => {
                for place in sqlite::places(attempt.facts.key, attempt.facts.at_ms) {
                    *sums.entry(place).or_default() += closing.cost;
                }
            }
        }
        true
    })?;
    let mut stored: BTreeMap<Place, PicoUsd> = sqlite::spent(db)?.into_iter().collect();
    for (place, sum) in sums {
        let posted = stored.remove(&place).unwrap_or_default();
        if posted != sum {
            findings.differences.push((place, posted, sum));
        }
    }
    findings.differences.extend(
        stored
            .into_iter()
            .filter(|(_, p)| *p != PicoUsd::ZERO)
            .map(|(place, p)| (place, p, PicoUsd::ZERO)),
    );
    Ok(findings)
}
