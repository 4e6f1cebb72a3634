//! The schema and its forward migrations: each in one transaction, after a backup copy.

use super::super::caps_text;
use super::{failed, learning, sql, write};
use crate::error::Error;
use crate::ledger::cap::Cap;
use crate::ledger::window::Window;
use crate::money::PicoUsd;
use rusqlite::{Connection, params};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What this flyball writes.
pub const SCHEMA_VERSION: i64 = 15;

/// `MIGRATIONS[n]` leads from version n to n + 1.
const MIGRATIONS: [&str; 15] = [
    // 1: attempts, what they add up to, and keys.
    "CREATE TABLE key (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, hash BLOB NOT NULL UNIQUE, created INTEGER NOT NULL,
        expires INTEGER, revoked INTEGER NOT NULL DEFAULT 0,
        cap_day INTEGER, cap_month INTEGER, cap_total INTEGER,
        models TEXT NOT NULL DEFAULT '[]', tags TEXT NOT NULL DEFAULT '[]') STRICT;
    CREATE TABLE attempt (
        attempt TEXT PRIMARY KEY, request TEXT NOT NULL, at_ms INTEGER NOT NULL, key INTEGER REFERENCES key(id),
        provider TEXT NOT NULL, model TEXT NOT NULL, effort TEXT NOT NULL, tier TEXT NOT NULL, task TEXT NOT NULL,
        rule TEXT NOT NULL, difficulty_milli INTEGER NOT NULL, dialect TEXT NOT NULL, simulated INTEGER NOT NULL,
        bound INTEGER NOT NULL, catalogue TEXT NOT NULL,
        outcome TEXT, basis TEXT, cost INTEGER, baseline INTEGER, reported_cost INTEGER, excess INTEGER,
        input INTEGER, cached INTEGER, cache_write INTEGER, cache_write_long INTEGER, output INTEGER, reasoning INTEGER
        ) STRICT;
    CREATE INDEX attempt_request ON attempt(request);
    CREATE INDEX attempt_at ON attempt(at_ms);
    CREATE INDEX attempt_open ON attempt(attempt) WHERE outcome IS NULL;
    CREATE TABLE spent (node INTEGER NOT NULL, window TEXT NOT NULL, id INTEGER NOT NULL, posted INTEGER NOT NULL,
        PRIMARY KEY (node, window, id)) STRICT;",
    // 2: keys whose traffic stays on local models.
    "ALTER TABLE key ADD COLUMN private INTEGER NOT NULL DEFAULT 0;",
    // 3: caps of any scope, measure and window; teams; leases; frozen models.
    "ALTER TABLE attempt ADD COLUMN counted_ms INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE attempt ADD COLUMN organisation TEXT NOT NULL DEFAULT '';
    ALTER TABLE attempt ADD COLUMN team TEXT NOT NULL DEFAULT '';
    ALTER TABLE attempt ADD COLUMN session TEXT NOT NULL DEFAULT '';
    ALTER TABLE attempt ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE attempt ADD COLUMN bound_tokens INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE attempt ADD COLUMN tokens INTEGER;
    UPDATE attempt SET counted_ms = at_ms;
    UPDATE attempt SET tokens = input + cached + cache_write + cache_write_long + output WHERE outcome IS NOT NULL;
    ALTER TABLE key ADD COLUMN team TEXT NOT NULL DEFAULT '';
    ALTER TABLE key ADD COLUMN caps TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE key ADD COLUMN required_tags TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE key ADD COLUMN old_hash BLOB;
    ALTER TABLE key ADD COLUMN old_until INTEGER;
    CREATE TABLE counter (name TEXT NOT NULL, id INTEGER NOT NULL, posted INTEGER NOT NULL, PRIMARY KEY (name, id)) STRICT;
    INSERT INTO counter SELECT CASE node WHEN 0 THEN '' ELSE 'key=' || node END || '|usd|' || window || '|UTC', id, posted FROM spent;
    DROP TABLE spent;
    CREATE TABLE defined (name TEXT PRIMARY KEY) STRICT;
    INSERT INTO defined VALUES ('|usd|day|UTC'), ('|usd|month|UTC'), ('|usd|total|UTC'), ('key|usd|day|UTC'), ('key|usd|month|UTC'), ('key|usd|total|UTC');
    CREATE TABLE lease (owner TEXT NOT NULL, counter TEXT NOT NULL, id INTEGER NOT NULL, amount INTEGER NOT NULL, PRIMARY KEY (owner, counter, id)) STRICT;
    CREATE TABLE forfeit (counter TEXT NOT NULL, id INTEGER NOT NULL, amount INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE frozen (provider TEXT NOT NULL, model TEXT NOT NULL, since INTEGER NOT NULL, why TEXT NOT NULL, PRIMARY KEY (provider, model)) STRICT;",
    // 4: the service tier that priced an attempt.
    "ALTER TABLE attempt ADD COLUMN service_tier TEXT;",
    // 5: what bills say of attempts that were charged at their bound.
    "CREATE TABLE correction (attempt TEXT PRIMARY KEY REFERENCES attempt(attempt), cost INTEGER NOT NULL, at_ms INTEGER NOT NULL,
        source TEXT NOT NULL) STRICT;",
    // 6: what an answer has shown of itself, and the attempt that was gone on from; what was learned.
    "ALTER TABLE attempt ADD COLUMN escalated_from TEXT NOT NULL DEFAULT '';
    ALTER TABLE attempt ADD COLUMN evidence TEXT;
    ALTER TABLE attempt ADD COLUMN evidence_ppm INTEGER;
    ALTER TABLE attempt ADD COLUMN chance_milli INTEGER;
    CREATE TABLE learned (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;",
    // 7: what an attempt was held against, why it saved or lost, what a prompt cache took off.
    "ALTER TABLE attempt ADD COLUMN baseline_model TEXT;
    ALTER TABLE attempt ADD COLUMN baseline_effort TEXT;
    ALTER TABLE attempt ADD COLUMN cause TEXT;
    ALTER TABLE attempt ADD COLUMN cache_discount INTEGER;
    CREATE INDEX attempt_from ON attempt(escalated_from) WHERE escalated_from <> '';",
    // 8: what attempts add up to by group, over hours and days; from when on attempts are kept, and what those that were deleted had
    // added to counters.
    "CREATE TABLE rollup_group (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE rollup_hour (at INTEGER NOT NULL, grp INTEGER NOT NULL, requests INTEGER NOT NULL, attempts INTEGER NOT NULL, input INTEGER NOT NULL, cached INTEGER NOT NULL, cache_write INTEGER NOT NULL, output INTEGER NOT NULL,
        reasoning INTEGER NOT NULL, cost INTEGER NOT NULL, baseline INTEGER NOT NULL, cache_discount INTEGER NOT NULL, provisional INTEGER NOT NULL, cap_tokens INTEGER NOT NULL, cap_requests INTEGER NOT NULL, PRIMARY KEY (at, grp)) STRICT, WITHOUT ROWID;
    CREATE TABLE rollup_day (at INTEGER NOT NULL, grp INTEGER NOT NULL, requests INTEGER NOT NULL, attempts INTEGER NOT NULL, input INTEGER NOT NULL, cached INTEGER NOT NULL, cache_write INTEGER NOT NULL, output INTEGER NOT NULL,
        reasoning INTEGER NOT NULL, cost INTEGER NOT NULL, baseline INTEGER NOT NULL, cache_discount INTEGER NOT NULL, provisional INTEGER NOT NULL, cap_tokens INTEGER NOT NULL, cap_requests INTEGER NOT NULL, PRIMARY KEY (at, grp)) STRICT, WITHOUT ROWID;
    CREATE TABLE kept (one INTEGER PRIMARY KEY, from_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE carried (name TEXT NOT NULL, id INTEGER NOT NULL, amount INTEGER NOT NULL, PRIMARY KEY (name, id)) STRICT;",
    // 9: keys that are paused; who did what to keys and configuration.
    "ALTER TABLE key ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE audit (number INTEGER PRIMARY KEY, what TEXT NOT NULL, line TEXT NOT NULL, seal BLOB NOT NULL) STRICT;
    CREATE INDEX audit_what ON audit(what);",
    // 10: how good answers were, and who says so.
    "CREATE TABLE outcome (id INTEGER PRIMARY KEY, request TEXT NOT NULL, model TEXT NOT NULL, effort TEXT NOT NULL, judged_by TEXT NOT NULL, task TEXT NOT NULL, difficulty_milli INTEGER NOT NULL,
        score_ppm INTEGER NOT NULL, cost INTEGER, seen_ppm INTEGER NOT NULL, at_ms INTEGER NOT NULL, key INTEGER) STRICT;
    CREATE UNIQUE INDEX outcome_once ON outcome(request, judged_by, model, effort);",
    // 11: the end user whom a request names.
    "ALTER TABLE attempt ADD COLUMN end_user TEXT NOT NULL DEFAULT '';",
    // 12: sessions that are stopped.
    "CREATE TABLE stopped (session TEXT NOT NULL, key INTEGER NOT NULL, since INTEGER NOT NULL, UNIQUE (session, key)) STRICT;",
    // 13: every secret of a key from before a rotation, each with its own time. The columns of the last one stay, unread.
    "ALTER TABLE key ADD COLUMN old TEXT NOT NULL DEFAULT '[]';
    UPDATE key SET old = '[[\"' || lower(hex(old_hash)) || '\",' || old_until || ']]' WHERE old_hash IS NOT NULL AND old_until IS NOT NULL;",
    // 14: what was measured of requests whose answers may be judged.
    learning::SCHEMA,
    // 15: what baselines may have cost beyond what they are taken to have cost.
    "ALTER TABLE attempt ADD COLUMN baseline_extra INTEGER;
    ALTER TABLE rollup_hour ADD COLUMN baseline_extra INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE rollup_day ADD COLUMN baseline_extra INTEGER NOT NULL DEFAULT 0;",
];

/// Pages of 4 KiB that gather in the write-ahead log before they are copied into the file.
const CHECKPOINT_PAGES: i64 = 8_000;

/// The ledger's file in `data_dir`.
#[must_use]
pub fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("ledger.sqlite")
}

pub(super) fn open(data_dir: &Path) -> Result<Connection, Error> {
    make_private_dir(data_dir)?;
    let path = file(data_dir);
    let mut db = Connection::open(&path).map_err(sql(&path))?;
    prepare(&db).map_err(sql(&path))?;
    migrate(&mut db, &path)?;
    Ok(db)
}

pub(super) fn make_private_dir(dir: &Path) -> Result<(), Error> {
    let made = fs::create_dir_all(dir).map_err(|e| {
        failed(format!(
            "cannot make the data folder {}: {e}",
            dir.display()
        ))
    });
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        made.and_then(|()| {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
                .map_err(|e| failed(format!("cannot make {} private: {e}", dir.display())))
        })
    }
    #[cfg(not(unix))]
    made
}

fn prepare(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(Duration::from_secs(5))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // A commit is on the disk when it returns: the caps depend on it.
    db.pragma_update(None, "synchronous", "FULL")?;
    // Each checkpoint costs up to three syncs more, for which every waiting request waits; with SQLite's 1,000 pages a busy ledger
    // has ten a second.
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    db.pragma_update(None, "foreign_keys", true)
}

fn version(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("PRAGMA user_version", [], |row| row.get(0))
}

pub(super) fn check_current(db: &Connection, path: &Path) -> Result<(), Error> {
    match version(db).map_err(sql(path))? {
        SCHEMA_VERSION => Ok(()),
        found => Err(other_version(path, found)),
    }
}

fn other_version(path: &Path, found: i64) -> Error {
    let advice = if found > SCHEMA_VERSION {
        "use the newer flyball that wrote it, or another --data-dir"
    } else {
        "start `flyball serve` once: it migrates the file"
    };
    failed(format!(
        "{}: ledger schema {found}, this flyball writes {SCHEMA_VERSION}; {advice}",
        path.display()
    ))
}

fn migrate(db: &mut Connection, path: &Path) -> Result<(), Error> {
    let found = version(db).map_err(sql(path))?;
    if found == SCHEMA_VERSION {
        return Ok(());
    }
    let from = usize::try_from(found)
        .ok()
        .filter(|n| *n < MIGRATIONS.len())
        .ok_or_else(|| other_version(path, found))?;
    if from > 0 {
        backup(db, path, found)?;
    }
    let tx = db
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(sql(path))?;
    // Another process may have migrated while this one waited for the lock.
    if version(&tx).map_err(sql(path))? == found {
        for step in &MIGRATIONS[from..] {
            tx.execute_batch(step).map_err(sql(path))?;
        }
        if found < 3 {
            carry_caps_over(&tx).map_err(sql(path))?;
        }
        if found < 8 {
            write::fill_sums(&tx).map_err(sql(path))?;
        }
        tx.pragma_update(None, "user_version", SCHEMA_VERSION)
            .map_err(sql(path))?;
    }
    tx.commit().map_err(sql(path))
}

/// Until version 3 a key had one column for each of three windows. They stay, unread, as the old file had them.
fn carry_caps_over(db: &Connection) -> rusqlite::Result<()> {
    let mut keys = db.prepare("SELECT id, cap_day, cap_month, cap_total FROM key")?;
    let mut rows = keys.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let mut caps = Vec::new();
        for (column, window) in [(1, Window::Day), (2, Window::Month), (3, Window::Total)] {
            if let Some(pico) = row.get::<_, Option<i64>>(column)? {
                caps.push(Cap::of_key(id, window, PicoUsd(i128::from(pico))));
            }
        }
        db.execute(
            "UPDATE key SET caps = ?2 WHERE id = ?1",
            params![id, caps_text(&caps)],
        )?;
    }
    Ok(())
}

fn backup(db: &Connection, path: &Path, version: i64) -> Result<(), Error> {
    let copy = path.with_extension(format!("v{version}.backup.sqlite"));
    let failed_copy = |e: rusqlite::Error| {
        failed(format!(
            "cannot back up the ledger to {}: {e}",
            copy.display()
        ))
    };
    if copy.exists() {
        return Ok(());
    }
    let mut to = Connection::open(&copy).map_err(failed_copy)?;
    rusqlite::backup::Backup::new(db, &mut to)
        .and_then(|b| b.run_to_completion(1_000, Duration::ZERO, None))
        .map_err(failed_copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_older_schema_migrates_after_a_backup_and_keeps_its_rows() {
        for old in 1..SCHEMA_VERSION {
            let dir = tempfile::tempdir().expect("a folder");
            let db = Connection::open(file(dir.path())).expect("a file");
            for step in &MIGRATIONS[..usize::try_from(old).expect("small")] {
                db.execute_batch(step).expect("the old schema");
            }
            db.pragma_update(None, "user_version", old)
                .expect("a version");
            let row = match old {
                1 | 2 => "INSERT INTO spent VALUES (0, 'day', 1, 42)",
                _ => "INSERT INTO counter VALUES ('|usd|day|UTC', 1, 42)",
            };
            db.execute(row, []).expect("a row");
            db.execute(
                "INSERT INTO attempt (attempt, request, at_ms, provider, model, effort, tier, task, rule, difficulty_milli, dialect, simulated, bound, catalogue, outcome, basis, cost, baseline, excess, input, cached, cache_write, cache_write_long, output, reasoning)
                 VALUES ('a', 'r', 86400001, 'p', 'm', 'low', 'small', 'code', 'plain', 0, 'd', 0, 9, 'c', 'ok', 'reported', 7, 12, 0, 1, 2, 3, 4, 5, 0)",
                [],
            )
            .expect("an attempt");
            if old >= 3 {
                db.execute("UPDATE attempt SET tokens = 15", [])
                    .expect("its tokens");
            }
            drop(db);
            let db = open(dir.path()).expect("migrates");
            assert_eq!(version(&db).expect("a version"), SCHEMA_VERSION);
            let posted: i64 = db
                .query_row(
                    "SELECT posted FROM counter WHERE name = '|usd|day|UTC' AND id = 1",
                    [],
                    |r| r.get(0),
                )
                .expect("the row");
            assert_eq!(posted, 42);
            // From version 8 on whoever closes an attempt adds it up, which nobody has done here.
            let added_up = [("rollup_hour", 24), ("rollup_day", 1)];
            for (table, at) in added_up.into_iter().filter(|_| old < 8) {
                let sums: (i64, i64, i64, i64) = db
                    .query_row(
                        &format!("SELECT at, requests, cost, baseline FROM {table}"),
                        [],
                        |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)),
                    )
                    .expect("the sums");
                assert_eq!(sums, (at, 1, 7, 12), "{table} of version {old}");
            }
            let copy =
                Connection::open(file(dir.path()).with_extension(format!("v{old}.backup.sqlite")))
                    .expect("a backup");
            assert_eq!(version(&copy).expect("a version"), old);
        }
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let db = Connection::open(file(dir.path())).expect("a file");
        db.pragma_update(None, "user_version", SCHEMA_VERSION + 1)
            .expect("a version");
        let error = open(dir.path()).expect_err("refused");
        assert!(error.detail.contains("newer flyball"), "{}", error.detail);
        assert_eq!(version(&db).expect("a version"), SCHEMA_VERSION + 1);
    }
}
