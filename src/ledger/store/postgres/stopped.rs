//! Stopped sessions in the shared store.

use super::keys::{ALONE, append};
use crate::ledger::stopped::{STOPPED_MAX, StoppedSession};
use postgres::Client;

pub(super) fn all(c: &mut Client) -> Result<Vec<StoppedSession>, postgres::Error> {
    let text = "SELECT session, key, since FROM fb_stopped ORDER BY since, session, key";
    let rows = c.query(text, &[])?;
    let read = rows.iter().map(|row| StoppedSession {
        session: row.get(0),
        key: StoppedSession::key_of(row.get(1)),
        since: row.get(2),
    });
    Ok(read.collect())
}

/// Does it and notes it, or neither.
pub(super) fn stop(
    client: &mut Client,
    (who, at_ms): (&str, i64),
    session: &StoppedSession,
    stops: bool,
) -> Result<bool, postgres::Error> {
    let mut tx = client.transaction()?;
    tx.batch_execute(ALONE)?;
    let (name, key) = (&session.session, session.key_number());
    let changed = match stops {
        true => tx.execute(
            "INSERT INTO fb_stopped (session, key, since) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            &[name, &key, &session.since],
        )?,
        false => tx.execute(
            "DELETE FROM fb_stopped WHERE session = $1 AND key = $2",
            &[name, &key],
        )?,
    };
    if changed == 0 {
        return Ok(false);
    }
    tx.execute(
        "DELETE FROM fb_stopped WHERE (session, key) IN (SELECT session, key FROM fb_stopped ORDER BY since DESC, session, key OFFSET $1)",
        &[&STOPPED_MAX],
    )?;
    append(&mut tx, &session.deed(who, at_ms, stops))?;
    tx.commit()?;
    Ok(true)
}
