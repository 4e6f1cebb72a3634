//! What caps' counters have counted in some time: from the books, so that the pace of each is known after a restart too.

use super::cap::Counter;
use super::report::plan::{Cuts, Source};
use super::rollup::{self, Amounts, Group};
use super::store::Store;
use super::window::Zone;
use crate::error::Error;

/// What each counter has counted from each of these instants (milliseconds since 1970) on, whatever its window is: a row for each
/// instant, with a number for each counter, in pico-dollars, tokens or requests. None for a counter of a session, which sums do not
/// tell. A counter that stands for many (`key`) has what all of them have.
///
/// # Errors
/// The store cannot be read.
pub fn spent_since(
    store: &mut dyn Store,
    counters: &[Counter],
    since_ms: &[i64],
) -> Result<Vec<Vec<Option<i128>>>, Error> {
    store.hold()?;
    let told: Result<Vec<_>, Error> = since_ms
        .iter()
        .map(|since| one(store, counters, *since))
        .collect();
    let told = told?;
    store.release()?;
    Ok(told)
}

fn one(
    store: &mut dyn Store,
    counters: &[Counter],
    since_ms: i64,
) -> Result<Vec<Option<i128>>, Error> {
    let kept = store.kept()?;
    let mut sums: Vec<Option<i128>> = counters
        .iter()
        .map(|c| rollup::tells(c).then_some(0))
        .collect();
    let mut add = |group: &Group<'_>, amounts: &Amounts| {
        let dims = group.dims();
        for (counter, sum) in counters.iter().zip(&mut sums) {
            if let Some(sum) = sum.as_mut().filter(|_| counter.scope.holds(&dims)) {
                *sum += amounts.of(counter.measure);
            }
        }
    };
    let cuts = Cuts {
        between: since_ms..i64::MAX,
        window: None,
        zone: &Zone::utc(),
        by_attempt: false,
    };
    for piece in cuts.plan(&kept) {
        match piece.source {
            Source::Sums(grain) => {
                store.rollups(grain, piece.between, true, &mut |_, g, a| add(g, a))?
            }
            Source::Attempts => store.attempts(piece.between, &mut |attempt| {
                if let Some(closed) = attempt.closed() {
                    let (group, amounts) = rollup::of(&closed);
                    add(&group, &amounts);
                }
                true
            })?,
        }
    }
    Ok(sums)
}
