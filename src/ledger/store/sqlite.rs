//! The embedded store: SQLite in WAL mode, one writer thread, many rows a commit.
//!
//! Money is INTEGER pico-dollars; sums are made in Rust, never by SQL. `PRAGMA user_version` is the schema version.

pub mod keys;
mod queue;
mod read;
mod schema;
mod writer;

pub use read::{attempts, places, request, spent};
pub use schema::{SCHEMA_VERSION, file};
pub use writer::{Op, Writer};

use crate::error::{Error, Kind};
use crate::money::PicoUsd;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// Opens the ledger in `data_dir` for reading and for key administration; any number of processes may.
///
/// # Errors
/// The folder or file cannot be used, or its schema is newer than this flyball.
pub fn open(data_dir: &Path) -> Result<Connection, Error> {
    schema::open(data_dir)
}

/// Opens the ledger for reading only; the file must exist.
///
/// # Errors
/// The file is missing, unreadable, or of another schema version.
pub fn open_read_only(data_dir: &Path) -> Result<Connection, Error> {
    let path = file(data_dir);
    if !path.exists() {
        return Err(failed(format!(
            "there is no ledger in {}; start `flyball serve` there first, or name its folder with --data-dir",
            data_dir.display()
        )));
    }
    let db = Connection::open_with_flags(
        &path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(sql(&path))?;
    db.busy_timeout(Duration::from_secs(5))
        .map_err(sql(&path))?;
    schema::check_current(&db, &path)?;
    Ok(db)
}

/// Charges every attempt that a dead owner left open at its bound; returns how many.
///
/// # Errors
/// The store fails.
pub fn sweep(db: &mut Connection, data_dir: &Path) -> Result<usize, Error> {
    writer::sweep(db, &file(data_dir))
}

fn failed(detail: impl Into<String>) -> Error {
    Error::new(Kind::Overloaded, "the ledger is not available").detail(detail)
}

fn sql(path: &Path) -> impl Fn(rusqlite::Error) -> Error {
    let path = path.display().to_string();
    move |e| failed(format!("{path}: {e}"))
}

/// Pico-dollars as SQLite's INTEGER.
///
/// # Errors
/// Past $9.2 million.
fn integer(amount: PicoUsd) -> rusqlite::Result<i64> {
    amount.to_i64().ok_or_else(|| {
        rusqlite::Error::ToSqlConversionFailure(
            format!("{amount} does not fit an SQLite ledger (about $9.2 million); use PostgreSQL")
                .into(),
        )
    })
}
