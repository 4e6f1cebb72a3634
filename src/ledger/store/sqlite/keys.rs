//! Virtual keys in the store.

use super::super::Key;
use super::{failed, integer};
use crate::error::Error;
use crate::ledger::window::Window;
use crate::money::PicoUsd;
use rusqlite::{Connection, Row, params};

/// A key to be made.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// Its name; unique.
    pub name: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// Now, seconds since 1970.
    pub created: i64,
    /// When it stops working, seconds since 1970.
    pub expires: Option<i64>,
    /// Its traffic stays on local models.
    pub private: bool,
    /// Caps by window.
    pub caps: Vec<(Window, PicoUsd)>,
    /// Models it may use, with `*`; empty means all.
    pub models: Vec<String>,
    /// Tags fixed on it.
    pub tags: Vec<(String, String)>,
}

/// Stores a key.
///
/// # Errors
/// The name is taken, a cap does not fit, or the store fails.
pub fn create(db: &Connection, key: &NewKey) -> Result<i64, Error> {
    let cap = |window| {
        let amount = key.caps.iter().find(|(w, _)| *w == window).map(|(_, a)| *a);
        amount
            .map(integer)
            .transpose()
            .map_err(|e| failed(e.to_string()))
    };
    db.execute(
        "INSERT INTO key (name, hash, created, expires, private, cap_day, cap_month, cap_total, models, tags)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            key.name, key.hash, key.created, key.expires, key.private,
            cap(Window::Day)?, cap(Window::Month)?, cap(Window::Total)?, json(&key.models), json(&key.tags)
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

/// Revokes a key by name; it stays in the books. The revoked key frees its name.
///
/// # Errors
/// No such key, or the store fails.
pub fn revoke(db: &Connection, name: &str) -> Result<(), Error> {
    let changed = db
        .execute("UPDATE key SET revoked = 1, name = name || ' (revoked ' || id || ')' WHERE name = ?1 AND revoked = 0", [name])
        .map_err(|e| failed(e.to_string()))?;
    if changed == 0 {
        return Err(failed(format!(
            "there is no key named \"{name}\"; `flyball key list` shows them"
        )));
    }
    Ok(())
}

/// Every key, oldest first.
///
/// # Errors
/// The store fails.
pub fn all(db: &Connection) -> Result<Vec<Key>, Error> {
    let read = || -> rusqlite::Result<Vec<Key>> {
        db.prepare_cached("SELECT id, name, hash, created, expires, revoked, private, cap_day, cap_month, cap_total, models, tags FROM key ORDER BY id")?
            .query_map([], key)?
            .collect()
    };
    read().map_err(|e| failed(e.to_string()))
}

fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let mut caps = Vec::new();
    for (column, window) in [(7, Window::Day), (8, Window::Month), (9, Window::Total)] {
        if let Some(pico) = row.get::<_, Option<i64>>(column)? {
            caps.push((window, PicoUsd(i128::from(pico))));
        }
    }
    Ok(Key {
        id: row.get(0)?,
        name: row.get(1)?,
        hash: row.get(2)?,
        created: row.get(3)?,
        expires: row.get(4)?,
        revoked: row.get(5)?,
        private: row.get(6)?,
        caps,
        models: list(row, 10)?,
        tags: list(row, 11)?,
    })
}

fn list<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<T>> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, e.into())
    })
}
