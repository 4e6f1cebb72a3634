//! Reading the books: for the start, for export, for verification.

use super::super::{Attempt, Closing, Facts, Spent};
use super::failed;
use super::writer::node_number;
use crate::chat::Usage;
use crate::error::Error;
use crate::ledger::balance::{Node, Place};
use crate::ledger::window::Window;
use crate::money::PicoUsd;
use rusqlite::{Connection, Row};

const COLUMNS: &str = "a.attempt, a.request, a.at_ms, a.key, a.provider, a.model, a.effort, a.tier, a.task, a.rule, a.difficulty_milli,
    a.dialect, a.simulated, a.bound, a.catalogue, k.name, a.outcome, a.basis, a.cost, a.baseline, a.reported_cost, a.excess,
    a.input, a.cached, a.cache_write, a.cache_write_long, a.output, a.reasoning";

/// The windows in which an attempt counts.
#[must_use]
pub fn places(key: Option<i64>, at_ms: i64) -> Vec<Place> {
    let nodes = [Some(Node::Global), key.map(Node::Key)];
    nodes
        .into_iter()
        .flatten()
        .flat_map(|node| {
            Window::ALL.map(|window| Place {
                node,
                window,
                id: window.id(at_ms.div_euclid(1_000)),
            })
        })
        .collect()
}

/// Attempts without an end: id, bound, and the windows in which they count.
pub(super) fn open_attempts(
    db: &Connection,
) -> rusqlite::Result<Vec<(String, PicoUsd, Vec<Place>)>> {
    db.prepare("SELECT attempt, bound, key, at_ms FROM attempt WHERE outcome IS NULL")?
        .query_map([], |row| {
            Ok((
                row.get(0)?,
                money(row, 1)?,
                places(row.get(2)?, row.get(3)?),
            ))
        })?
        .collect()
}

/// Everything that is posted, by window.
///
/// # Errors
/// The store fails.
pub fn spent(db: &Connection) -> Result<Vec<Spent>, Error> {
    let read = || -> rusqlite::Result<Vec<Spent>> {
        db.prepare("SELECT node, window, id, posted FROM spent ORDER BY node, window, id")?
            .query_map([], |row| {
                let number: i64 = row.get(0)?;
                let node = if number == node_number(Node::Global) {
                    Node::Global
                } else {
                    Node::Key(number)
                };
                let name: String = row.get(1)?;
                let window = Window::parse(&name).ok_or_else(|| {
                    rusqlite::Error::InvalidColumnType(1, name, rusqlite::types::Type::Text)
                })?;
                Ok((
                    Place {
                        node,
                        window,
                        id: row.get(2)?,
                    },
                    money(row, 3)?,
                ))
            })?
            .collect()
    };
    read().map_err(|e| failed(e.to_string()))
}

/// Calls `each` with every attempt from `since_ms` on, oldest first; stops at the first `false`.
///
/// # Errors
/// The store fails.
pub fn attempts(
    db: &Connection,
    since_ms: i64,
    each: &mut dyn FnMut(Attempt) -> bool,
) -> Result<(), Error> {
    walk(
        db,
        &format!(
            "SELECT {COLUMNS} FROM attempt a LEFT JOIN key k ON k.id = a.key WHERE a.at_ms >= ?1 ORDER BY a.at_ms, a.attempt"
        ),
        &since_ms,
        each,
    )
}

/// The attempts of one request.
///
/// # Errors
/// The store fails.
pub fn request(db: &Connection, request: &str) -> Result<Vec<Attempt>, Error> {
    let mut found = Vec::new();
    walk(
        db,
        &format!(
            "SELECT {COLUMNS} FROM attempt a LEFT JOIN key k ON k.id = a.key WHERE a.request = ?1 ORDER BY a.at_ms, a.attempt"
        ),
        &request,
        &mut |a| {
            found.push(a);
            true
        },
    )?;
    Ok(found)
}

fn walk(
    db: &Connection,
    query: &str,
    parameter: &dyn rusqlite::ToSql,
    each: &mut dyn FnMut(Attempt) -> bool,
) -> Result<(), Error> {
    let mut read = || -> rusqlite::Result<()> {
        let mut statement = db.prepare_cached(query)?;
        let mut rows = statement.query([parameter])?;
        while let Some(row) = rows.next()? {
            if !each(attempt(row)?) {
                break;
            }
        }
        Ok(())
    };
    read().map_err(|e| failed(e.to_string()))
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let facts = Facts {
        attempt: row.get(0)?,
        request: row.get(1)?,
        at_ms: row.get(2)?,
        key: row.get(3)?,
        provider: row.get(4)?,
        model: row.get(5)?,
        effort: row.get(6)?,
        tier: row.get(7)?,
        task: row.get(8)?,
        rule: row.get(9)?,
        difficulty_milli: row.get(10)?,
        dialect: row.get(11)?,
        simulated: row.get(12)?,
        bound: money(row, 13)?,
        catalogue: row.get(14)?,
    };
    let outcome: Option<String> = row.get(16)?;
    let closing = outcome
        .map(|outcome| closing(row, &facts.attempt, &outcome))
        .transpose()?;
    Ok(Attempt {
        key_name: row
            .get::<_, Option<String>>(15)?
            .unwrap_or_else(|| "local".into()),
        facts,
        closing,
    })
}

fn closing(row: &Row<'_>, attempt: &str, outcome: &str) -> rusqlite::Result<Closing> {
    let count = |column| {
        row.get::<_, i64>(column)
            .map(|n| u64::try_from(n).unwrap_or(0))
    };
    let basis: String = row.get(17)?;
    Ok(Closing {
        attempt: attempt.to_owned(),
        outcome: crate::ledger::known_outcome(outcome),
        basis: crate::ledger::known_basis(&basis),
        cost: money(row, 18)?,
        baseline: money(row, 19)?,
        excess: money(row, 21)?,
        usage: Usage {
            reported_cost: row
                .get::<_, Option<i64>>(20)?
                .map(|n| PicoUsd(i128::from(n))),
            input: count(22)?,
            cached: count(23)?,
            cache_write: count(24)?,
            cache_write_long: count(25)?,
            output: count(26)?,
            reasoning: count(27)?,
            anomaly: false,
        },
    })
}

fn money(row: &Row<'_>, column: usize) -> rusqlite::Result<PicoUsd> {
    row.get::<_, i64>(column).map(|n| PicoUsd(i128::from(n)))
}
