//! Virtual keys in the store.

use super::super::{Key, caps_read, caps_text, old_read, old_text};
use super::{audit, failed};
use crate::error::Error;
use crate::ledger::keyring::{Acted, KeyAct};
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, Row, TransactionBehavior, params};

/// Does it and notes it, or neither.
pub(super) fn act(db: &mut Connection, who: &str, at_ms: i64, act: &KeyAct) -> Result<Key, Error> {
    let told = |e: rusqlite::Error| match e.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => {
            failed("another key has this name or this secret already")
        }
        _ => failed(e.to_string()),
    };
    let tx = db
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(told)?;
    let Acted { before, after } = act.applied(&all(&tx).map_err(told)?).map_err(failed)?;
    if act.is_done(before.as_ref(), &after) {
        return Ok(after);
    }
    let key = write(&tx, after).map_err(told)?;
    let deed = act.deed(who, at_ms, (before.as_ref(), &key));
    audit::append(&tx, &deed).map_err(told)?;
    tx.commit().map_err(told)?;
    Ok(key)
}

/// A new row where it has none yet.
fn write(db: &Connection, key: Key) -> rusqlite::Result<Key> {
    let id = (key.id != 0).then_some(key.id);
    db.execute(
        "INSERT INTO key (id, name, hash, created, expires, private, team, caps, models, tags, required_tags, revoked, paused, old)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (id) DO UPDATE SET name = ?2, hash = ?3, created = ?4, expires = ?5, private = ?6, team = ?7, caps = ?8, models = ?9, tags = ?10,
         required_tags = ?11, revoked = ?12, paused = ?13, old = ?14",
        params![
            id, key.name, key.hash, key.created, key.expires, key.private, key.team,
            caps_text(&key.caps), json(&key.models), json(&key.tags), json(&key.required_tags),
            key.revoked, key.paused, old_text(&key.old)
        ],
    )?;
    let id = id.unwrap_or_else(|| db.last_insert_rowid());
    let caps = key.caps.into_iter().map(|cap| cap.for_key(id)).collect();
    Ok(Key { id, caps, ..key })
}

fn json<T: serde::Serialize>(list: &[T]) -> String {
    serde_json::to_string(list).expect("names are JSON")
}

pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<Key>> {
    db.prepare_cached(
        "SELECT id, name, hash, created, expires, revoked, private, team, caps, models, tags, required_tags, old, paused
         FROM key ORDER BY id",
    )?
    .query_map([], key)?
    .collect()
}

fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let id = row.get(0)?;
    let caps: String = row.get(8)?;
    let old: String = row.get(12)?;
    Ok(Key {
        id,
        name: row.get(1)?,
        hash: row.get(2)?,
        old: old_read(&old),
        created: row.get(3)?,
        expires: row.get(4)?,
        revoked: row.get(5)?,
        paused: row.get(13)?,
        private: row.get(6)?,
        team: row.get(7)?,
        caps: caps_read(id, &caps)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(8, Type::Text, e.into()))?,
        models: list(row, 9)?,
        tags: list(row, 10)?,
        required_tags: list(row, 11)?,
    })
}

fn list<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<T>> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, e.into()))
}
