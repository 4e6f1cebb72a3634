//! Virtual keys in the store.

use super::super::{Key, caps_read, caps_text};
use super::failed;
use crate::error::Error;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

pub(super) fn create(db: &Connection, key: &Key) -> Result<i64, Error> {
    db.execute(
        "INSERT INTO key (name, hash, created, expires, private, team, caps, models, tags, required_tags)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            key.name, key.hash, key.created, key.expires, key.private, key.team,
            caps_text(&key.caps), json(&key.models), json(&key.tags), json(&key.required_tags)
        ],
    )
    .map_err(|e| match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation) => failed(format!("there is a key named \"{}\" already; choose another name, or revoke it first", key.name)),
        _ => failed(e.to_string()),
    })?;
    Ok(db.last_insert_rowid())
}

fn json<T: serde::Serialize>(list: &[T]) -> String {
    serde_json::to_string(list).expect("names are JSON")
}

fn missing(name: &str) -> Error {
    failed(format!(
        "there is no key named \"{name}\"; `flyball key list` shows them"
    ))
}

pub(super) fn revoke(db: &Connection, name: &str) -> Result<(), Error> {
    let changed = db
        .execute("UPDATE key SET revoked = 1, name = name || ' (revoked ' || id || ')' WHERE name = ?1 AND revoked = 0", [name])
        .map_err(|e| failed(e.to_string()))?;
    if changed == 0 {
        return Err(missing(name));
    }
    Ok(())
}

pub(super) fn rotate(
    db: &Connection,
    name: &str,
    hash: &[u8; 32],
    old_until: i64,
) -> Result<(), Error> {
    let changed = db
        .execute(
            "UPDATE key SET old_hash = hash, old_until = ?2, hash = ?3 WHERE name = ?1 AND revoked = 0",
            params![name, old_until, hash],
        )
        .map_err(|e| failed(e.to_string()))?;
    if changed == 0 {
        return Err(missing(name));
    }
    Ok(())
}

pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<Key>> {
    db.prepare_cached(
        "SELECT id, name, hash, created, expires, revoked, private, team, caps, models, tags, required_tags, old_hash, old_until
         FROM key ORDER BY id",
    )?
    .query_map([], key)?
    .collect()
}

fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let id = row.get(0)?;
    let caps: String = row.get(8)?;
    let old: Option<[u8; 32]> = row.get(12)?;
    Ok(Key {
        id,
        name: row.get(1)?,
        hash: row.get(2)?,
        old: old.zip(row.get::<_, Option<i64>>(13)?),
        created: row.get(3)?,
        expires: row.get(4)?,
        revoked: row.get(5)?,
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
