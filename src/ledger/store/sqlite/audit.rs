//! The audit log in the store.

use crate::ledger::audit::{BEGINNING, Deed, Entry, seal};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

/// Seals a deed and adds it, within a transaction that nobody else writes in.
pub(super) fn append(db: &Connection, deed: &Deed) -> rusqlite::Result<(i64, [u8; 32])> {
    let last = db
        .query_row(
            "SELECT number, seal FROM audit ORDER BY number DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let (number, before): (i64, Vec<u8>) = last.unwrap_or((0, BEGINNING.to_vec()));
    let number = number + 1;
    let line = deed.line(number);
    let sealed = seal(&before, &line);
    db.execute(
        "INSERT INTO audit (number, what, line, seal) VALUES (?1, ?2, ?3, ?4)",
        params![number, deed.what, line, sealed],
    )?;
    Ok((number, sealed))
}

pub(super) fn note(db: &mut Connection, deed: &Deed) -> rusqlite::Result<(i64, [u8; 32])> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let noted = append(&tx, deed)?;
    tx.commit()?;
    Ok(noted)
}

pub(super) fn walk(
    db: &Connection,
    after: i64,
    each: &mut dyn FnMut(Entry) -> bool,
) -> rusqlite::Result<()> {
    let mut entries =
        db.prepare("SELECT number, line, seal FROM audit WHERE number > ?1 ORDER BY number")?;
    let mut rows = entries.query([after])?;
    while let Some(row) = rows.next()? {
        if !each(entry(row)?) {
            break;
        }
    }
    Ok(())
}

pub(super) fn last(db: &Connection, what: &str) -> rusqlite::Result<Option<Entry>> {
    db.query_row(
        "SELECT number, line, seal FROM audit WHERE what = ?1 ORDER BY number DESC LIMIT 1",
        [what],
        entry,
    )
    .optional()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        number: row.get(0)?,
        line: row.get(1)?,
        seal: row.get(2)?,
    })
}
