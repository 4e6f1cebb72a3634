//! The embedded store: SQLite in WAL mode, one writer thread, many rows a commit.
//!
//! Money is INTEGER pico-dollars; sums are made in Rust, never by SQL. `PRAGMA user_version` is the schema version.

mod audit;
mod batches;
mod keys;
mod learning;
mod read;
mod schema;
mod stopped;
mod write;

pub(in crate::ledger) use batches::open as open_batches;
pub use schema::{SCHEMA_VERSION, file};

use super::sums::Groups;
use super::{Frozen, Kept, Key, Store, StoreAnswer, StoreWork};
use crate::error::{Error, Kind};
use crate::ledger::audit::{Deed, Entry};
use crate::ledger::cap::Counter;
use crate::ledger::judged::{JudgedAnswer, MeasuredAsk};
use crate::ledger::keyring::KeyAct;
use crate::ledger::record::{Attempt, Correction, Forfeit, Sum, Swept, TrueUp};
use crate::ledger::rollup::{Amounts, Grain, Group};
use crate::ledger::stopped::StoppedSession;
use foldhash::{HashMap, HashMapExt};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whose leases these are: one process owns the file at a time, so there is one name.
const OWNER: &str = "";

/// The ledger in a file.
#[derive(Debug)]
pub struct Sqlite {
    db: Connection,
    path: PathBuf,
    /// The rows of groups, for writing.
    groups: Groups,
    /// The same the other way round, for reading.
    named: BTreeMap<i64, Group<'static>>,
}

impl Sqlite {
    /// Opens the ledger in `data_dir`, made or migrated where needed; any number of processes may read and administrate keys.
    ///
    /// # Errors
    /// The folder or file cannot be used, or its schema is newer than this flyball.
    pub fn open(data_dir: &Path) -> Result<Sqlite, Error> {
        Ok(Sqlite::of(open(data_dir)?, file(data_dir)))
    }

    /// Makes the folder, private to this user.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_folder(data_dir: &Path) -> Result<(), Error> {
        schema::make_private_dir(data_dir)
    }

    /// Opens the ledger as it is; the file must exist and be of this flyball's schema.
    ///
    /// # Errors
    /// The file is missing, unreadable, or of another schema version.
    pub fn open_existing(data_dir: &Path) -> Result<Sqlite, Error> {
        let path = file(data_dir);
        if !path.exists() {
            return Err(failed(format!(
                "there is no ledger in {}; start `flyball serve` there first, or name its folder with --data-dir",
                data_dir.display()
            )));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags).map_err(sql(&path))?;
        db.busy_timeout(Duration::from_secs(5))
            .map_err(sql(&path))?;
        schema::check_current(&db, &path)?;
        Ok(Sqlite::of(db, path))
    }

    fn of(db: Connection, path: PathBuf) -> Sqlite {
        Sqlite {
            db,
            path,
            groups: Groups::default(),
            named: BTreeMap::new(),
        }
    }

    fn tell<T>(&self, outcome: rusqlite::Result<T>) -> Result<T, Error> {
        outcome.map_err(sql(&self.path))
    }
}

/// Opens the ledger's file with its schema up to date, as a plain connection.
///
/// # Errors
/// As [`Sqlite::open`].
pub fn open(data_dir: &Path) -> Result<Connection, Error> {
    schema::open(data_dir)
}

impl Store for Sqlite {
    fn begin(&mut self, now_ms: i64) -> Result<Vec<Swept>, Error> {
        let swept = write::sweep(&mut self.db, &mut self.groups, now_ms);
        self.tell(swept)
    }

    fn commit(&mut self, works: &[&StoreWork]) -> Result<Vec<StoreAnswer>, String> {
        write::write(&mut self.db, &mut self.groups, works).map_err(|e| e.to_string())
    }

    fn defined(&mut self) -> Result<Vec<Counter>, Error> {
        self.tell(read::defined(&self.db))
    }

    fn sums(&mut self) -> Result<Vec<Sum>, Error> {
        self.tell(read::sums(&self.db))
    }

    fn hold(&mut self) -> Result<(), Error> {
        let held = self.db.execute_batch("BEGIN");
        self.tell(held)
    }

    fn release(&mut self) -> Result<(), Error> {
        let released = self.db.execute_batch("COMMIT");
        self.tell(released)
    }

    fn rollups(
        &mut self,
        grain: Grain,
        between: Range<i64>,
        whole: bool,
        each: &mut dyn FnMut(i64, &Group<'_>, &Amounts),
    ) -> Result<(), Error> {
        let last = self.named.last_key_value().map_or(0, |(id, _)| *id);
        let new = self.tell(read::groups_after(&self.db, last))?;
        self.named.extend(new);
        let numbers = grain.of(grain.ceil(between.start))..grain.of(grain.ceil(between.end));
        let mut all: HashMap<i64, (i64, Amounts)> = HashMap::new();
        let (named, ms) = (&self.named, grain.ms());
        let read = read::rollups(&self.db, grain, numbers, &mut |at, id, amounts| {
            if whole {
                all.entry(id)
                    .or_insert((at * ms, Amounts::default()))
                    .1
                    .add(amounts);
            } else if let Some(group) = named.get(&id) {
                each(at * ms, group, amounts);
            }
        });
        self.tell(read)?;
        for (id, (at_ms, amounts)) in all {
            if let Some(group) = self.named.get(&id) {
                each(at_ms, group, &amounts);
            }
        }
        Ok(())
    }

    fn carried(&mut self) -> Result<Vec<Sum>, Error> {
        self.tell(read::carried(&self.db))
    }

    fn kept(&mut self) -> Result<Kept, Error> {
        let log = self.path.with_extension("sqlite-wal");
        let files = [&self.path, &log];
        let sizes = files.map(|f| std::fs::metadata(f).map_or(0, |m| m.len()));
        self.tell(read::kept(&self.db, sizes.iter().sum()))
    }

    fn true_up(&mut self, correction: &Correction) -> Result<TrueUp, Error> {
        let outcome = write::true_up(&mut self.db, &mut self.groups, correction);
        self.tell(outcome)
    }

    fn attempts(
        &mut self,
        between: Range<i64>,
        each: &mut dyn FnMut(Attempt) -> bool,
    ) -> Result<(), Error> {
        self.tell(read::walk_between(&self.db, between, each))
    }

    fn request(&mut self, request: &str) -> Result<Vec<Attempt>, Error> {
        self.tell(read::request(&self.db, request))
    }

    fn forfeits(&mut self) -> Result<Vec<Forfeit>, Error> {
        self.tell(read::forfeits(&self.db))
    }

    fn learned(&mut self) -> Result<Vec<(String, String)>, Error> {
        self.tell(read::learned(&self.db))
    }

    fn forget_learned(&mut self) -> Result<u64, Error> {
        let gone = self.db.execute("DELETE FROM learned", []);
        Ok(u64::try_from(self.tell(gone)?).unwrap_or(u64::MAX))
    }

    fn outcomes(&mut self, each: &mut dyn FnMut(JudgedAnswer)) -> Result<(), Error> {
        self.tell(read::outcomes(&self.db, each))
    }

    fn keep_outcomes(&mut self, outcomes: &[JudgedAnswer]) -> Result<(), Error> {
        let kept = write::keep_outcomes(&mut self.db, outcomes);
        self.tell(kept)
    }

    fn asks(&mut self, each: &mut dyn FnMut(MeasuredAsk)) -> Result<(), Error> {
        self.tell(learning::asks(&self.db, each))
    }

    fn keep_asks(&mut self, asks: &[MeasuredAsk]) -> Result<(), Error> {
        let kept = learning::measure(&self.db, asks);
        self.tell(kept)
    }

    fn learned_as(&mut self, name: &str) -> Result<Option<String>, Error> {
        self.tell(learning::learned_as(&self.db, name))
    }

    fn learn(
        &mut self,
        entries: &[(String, String)],
        expected: Option<&str>,
    ) -> Result<bool, Error> {
        let learned = learning::learn(&mut self.db, entries, expected);
        self.tell(learned)
    }

    fn forget_outcomes(&mut self) -> Result<u64, Error> {
        let forgotten = self.db.execute("DELETE FROM ask", []);
        self.tell(forgotten)?;
        let gone = self.db.execute("DELETE FROM outcome", []);
        Ok(u64::try_from(self.tell(gone)?).unwrap_or(u64::MAX))
    }

    fn frozen(&mut self) -> Result<Vec<Frozen>, Error> {
        self.tell(read::frozen(&self.db))
    }

    fn unfreeze(&mut self, provider: &str, model: &str) -> Result<bool, Error> {
        let gone = self.db.execute(
            "DELETE FROM frozen WHERE provider = ?1 AND model = ?2",
            [provider, model],
        );
        Ok(self.tell(gone)? > 0)
    }

    fn keys(&mut self) -> Result<Vec<Key>, Error> {
        self.tell(keys::all(&self.db))
    }

    fn act(&mut self, who: &str, at_ms: i64, act: &KeyAct) -> Result<Key, Error> {
        keys::act(&mut self.db, who, at_ms, act)
    }

    fn stopped(&mut self) -> Result<Vec<StoppedSession>, Error> {
        self.tell(stopped::all(&self.db))
    }

    fn stop_session(
        &mut self,
        who: &str,
        at_ms: i64,
        session: &StoppedSession,
        stops: bool,
    ) -> Result<bool, Error> {
        let done = stopped::stop(&mut self.db, (who, at_ms), session, stops);
        self.tell(done)
    }

    fn note(&mut self, deed: &Deed) -> Result<(i64, [u8; 32]), Error> {
        let noted = audit::note(&mut self.db, deed);
        self.tell(noted)
    }

    fn audit(&mut self, after: i64, each: &mut dyn FnMut(Entry) -> bool) -> Result<(), Error> {
        self.tell(audit::walk(&self.db, after, each))
    }

    fn last_deed(&mut self, what: &str) -> Result<Option<Entry>, Error> {
        self.tell(audit::last(&self.db, what))
    }
}

fn failed(detail: impl Into<String>) -> Error {
    Error::new(Kind::Overloaded, "the ledger is not available").detail(detail)
}

fn sql(path: &Path) -> impl Fn(rusqlite::Error) -> Error {
    let path = path.display().to_string();
    move |e| failed(format!("{path}: {e}"))
}

/// An amount as SQLite's INTEGER.
///
/// # Errors
/// Past $9.2 million.
fn integer(amount: i128) -> rusqlite::Result<i64> {
    i64::try_from(amount).map_err(|_| {
        rusqlite::Error::ToSqlConversionFailure(
            format!("{amount} does not fit an SQLite ledger (about $9.2 million); use PostgreSQL")
                .into(),
        )
    })
}
