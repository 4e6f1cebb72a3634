//! `[guard]`: when a conversation is stopped that runs away.

use crate::classify::runaway::Guard;
use crate::reader::Table;

/// Fewer are no sign of anything: people's tools are called twice with the same words all the time.
const LEAST: usize = 3;
/// No conversation has as many turns.
const MOST: usize = 10_000;

pub(super) fn guard(top: &Table<'_>) -> Guard {
    let Some(mut table) = top.table("guard") else {
        return Guard::default();
    };
    table.call("[guard]".to_owned());
    let guard = Guard {
        repeats: times(&table, "repeats"),
        failures: times(&table, "failures"),
    };
    table.finish();
    guard
}

fn times(table: &Table<'_>, key: &'static str) -> Option<usize> {
    let written = table.count(key)?;
    let times = usize::try_from(written)
        .ok()
        .filter(|n| (LEAST..=MOST).contains(n));
    if times.is_none() {
        let text = format_args!("{key} ({written}) is not from {LEAST} to {MOST}");
        let help = format!("write {key} = 20, say, or leave it out to stop nothing");
        table.complain(key, text, Some(help));
    }
    times
}
