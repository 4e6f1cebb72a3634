//! Stopped sessions in the store.

use super::audit;
use crate::ledger::stopped::{STOPPED_MAX, StoppedSession};
use rusqlite::{Connection, TransactionBehavior, params};

pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<StoppedSession>> {
    db.prepare_cached("SELECT session, key, since FROM stopped ORDER BY since, session, key")?
        .query_map([], |row| {
            Ok(StoppedSession {
                session: row.get(0)?,
                key: StoppedSession::key_of(row.get(1)?),
                since: row.get(2)?,
            })
        })?
        .collect()
}

/// Does it and notes it, or neither.
pub(super) fn stop(
    db: &mut Connection,
    (who, at_ms): (&str, i64),
    session: &StoppedSession,
    stops: bool,
) -> rusqlite::Result<bool> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (name, key) = (&session.session, session.key_number());
    let changed = match stops {
        true => tx.execute(
            "INSERT INTO stopped (session, key, since) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![name, key, session.since],
        )?,
        false => tx.execute(
            "DELETE FROM stopped WHERE session = ?1 AND key = ?2",
            params![name, key],
        )?,
    };
    if changed == 0 {
        return Ok(false);
    }
    tx.execute(
        "DELETE FROM stopped WHERE rowid IN (SELECT rowid FROM stopped ORDER BY since DESC, rowid DESC LIMIT -1 OFFSET ?1)",
        [STOPPED_MAX],
    )?;
    audit::append(&tx, &session.deed(who, at_ms, stops))?;
    tx.commit()?;
    Ok(true)
}
