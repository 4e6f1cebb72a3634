//! What a provider's bill says of attempts that were charged at their bound. Each is corrected once, by a row of its own: the attempt
//! stays as it was closed.

use super::settings::own;
use super::store::{Attempt, Store};
use super::{Settings, now_ms};
use crate::error::Error;
use crate::money::PicoUsd;

/// A line of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Billed {
    /// The attempt's id, or that of a request of which one attempt was charged at its bound.
    pub id: String,
    /// What the provider charged for it.
    pub cost: PicoUsd,
}

/// What a bill did to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
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

/// The row that corrects an attempt.
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

/// What the bill's cost changes, or why it changes nothing.
pub(super) fn change(attempt: &Attempt, cost: PicoUsd) -> Result<PicoUsd, Outcome> {
    match (&attempt.closing, attempt.trued_up) {
        (None, _) => Err(Outcome::Open),
        (_, Some(_)) => Err(Outcome::Again),
        (Some(closing), None) if closing.basis == "bound" => Ok(cost - closing.cost),
        _ => Err(Outcome::Known),
    }
}

/// Books a bill. The embedded ledger must be nobody's meanwhile: whoever serves has its balances in memory.
///
/// # Errors
/// A flyball owns the folder, or the store fails; then nothing, or a part of the bill, is booked, and it may be booked again.
pub fn book(
    settings: &Settings,
    bill: &[Billed],
    source: &str,
) -> Result<Vec<(Billed, Outcome)>, Error> {
    let _owner = match &settings.shared {
        Some(_) => None,
        None => Some(own(&settings.data_dir)?),
    };
    let mut store = settings.books()?;
    if settings.shared.is_none() {
        // What a crash has left is charged first. Replicas do that for each other.
        store.begin(now_ms())?;
    }
    let mut told = Vec::with_capacity(bill.len());
    for line in bill {
        let outcome = match attempt_of(store.as_mut(), &line.id)? {
            None => Outcome::Unclear,
            Some(attempt) => store.true_up(&Correction {
                attempt,
                cost: line.cost,
                at_ms: now_ms(),
                source: source.to_owned(),
            })?,
        };
        told.push((line.clone(), outcome));
    }
    Ok(told)
}

/// The attempt that is meant by an id: its own, or the one of this request that was charged at its bound.
fn attempt_of(store: &mut dyn Store, id: &str) -> Result<Option<String>, Error> {
    let of_request = store.request(id)?;
    if of_request.is_empty() {
        return Ok(Some(id.to_owned()));
    }
    let at_bound = |a: &Attempt| a.closing.as_ref().is_some_and(|c| c.basis == "bound");
    let mut found = of_request.into_iter().filter(at_bound);
    Ok(found
        .next()
        .filter(|_| found.next().is_none())
        .map(|a| a.facts.attempt))
}
