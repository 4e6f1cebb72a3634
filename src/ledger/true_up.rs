//! What a provider's bill says of attempts that were charged at their bound. Each is corrected once, by a row of its own: the attempt
//! stays as it was closed.

use super::record::{Attempt, Basis, Correction, TrueUp};
use super::store::Store;
use super::{Settings, books, now_ms};
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

/// Books a bill. The embedded ledger must be nobody's meanwhile: whoever serves has its balances in memory.
///
/// # Errors
/// A flyball owns the folder, or the store fails; then nothing, or a part of the bill, is booked, and it may be booked again.
pub fn book(
    settings: &Settings,
    bill: &[Billed],
    source: &str,
) -> Result<Vec<(Billed, TrueUp)>, Error> {
    let mut store = books::open(settings)?;
    let _owner = books::own(settings)?.granted()?;
    if settings.shared.is_none() {
        // What a crash has left is charged first. Replicas do that for each other.
        store.begin(now_ms())?;
    }
    let mut told = Vec::with_capacity(bill.len());
    for line in bill {
        let outcome = match attempt_of(store.as_mut(), &line.id)? {
            None => TrueUp::Unclear,
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
    let at_bound = |a: &Attempt| a.closing.as_ref().is_some_and(|c| c.basis == Basis::Bound);
    let mut found = of_request.into_iter().filter(at_bound);
    Ok(found
        .next()
        .filter(|_| found.next().is_none())
        .map(|a| a.opening.attempt))
}
