//! What the grader learns from, and what it has learned.

use crate::ledger::judged::{ASKS_MAX, MeasuredAsk};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

/// The schema: what was measured of requests whose answers may be judged.
pub(super) const SCHEMA: &str = "CREATE TABLE ask (id INTEGER PRIMARY KEY, request TEXT NOT NULL UNIQUE, at_ms INTEGER NOT NULL, features BLOB NOT NULL) STRICT;";

pub(super) fn measure(db: &Connection, asks: &[MeasuredAsk]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(
        "INSERT INTO ask (request, at_ms, features) VALUES (?1, ?2, ?3) ON CONFLICT (request) DO NOTHING",
    )?;
    for ask in asks {
        statement.execute(params![ask.request, ask.at_ms, ask.features])?;
    }
    let text = "DELETE FROM ask WHERE id <= (SELECT MAX(id) FROM ask) - ?1";
    db.prepare_cached(text)?.execute([ASKS_MAX]).map(drop)
}

pub(super) fn asks(db: &Connection, each: &mut dyn FnMut(MeasuredAsk)) -> rusqlite::Result<()> {
    let text = "SELECT request, at_ms, features FROM ask ORDER BY id";
    let mut statement = db.prepare_cached(text)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        each(MeasuredAsk {
            request: row.get(0)?,
            at_ms: row.get(1)?,
            features: row.get(2)?,
        });
    }
    Ok(())
}

pub(super) fn learned_as(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT value FROM learned WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// Whoever finds another value than it expects has come too late, and changes nothing.
pub(super) fn learn(
    db: &mut Connection,
    entries: &[(String, String)],
    expected: Option<&str>,
) -> rusqlite::Result<bool> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some((first, _)) = entries.first()
        && learned_as(&tx, first)?.as_deref() != expected
    {
        return Ok(false);
    }
    for (name, value) in entries {
        let text = "INSERT INTO learned (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        tx.execute(text, [name, value])?;
    }
    tx.commit()?;
    Ok(true)
}
