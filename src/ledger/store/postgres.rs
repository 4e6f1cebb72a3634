//! The shared store: PostgreSQL, for several replicas that lease parts of caps from it.
//!
//! Plain SQL, every commit one transaction that is tried again when engines refuse it for another's sake (40001, 40P01). Each process is an
//! *owner* with a heartbeat. One whose heartbeat has stopped is swept by the others: its leases are charged in full and it
//! begins again as a new owner, in a new epoch; what it still had to say about the old one is charged already.

mod batches;
mod keys;
mod learning;
mod read;
mod schema;
mod stopped;
mod tls;
mod write;

use super::doubt::Doubt;
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
use postgres::Client;
use postgres::error::SqlState;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(in crate::ledger) use batches::open as open_batches;

/// How often the schema is looked at where others make it in the same moment, and how long it waits in between.
const SCHEMA_TRIES: u32 = 20;
const SCHEMA_PAUSE: Duration = Duration::from_millis(100);
/// How often a transaction is tried that others keep from its end.
const TRIES: u32 = 20;
/// How long it is still asked, once the process ends, whether a commit took place whose answer was lost. What is open then is charged at
/// its bound by whoever sweeps this process.
const UNSURE_MAX: Duration = Duration::from_secs(10);
/// How long it waits in between.
const UNSURE_LOOK: Duration = Duration::from_millis(100);
/// The statements of one transaction may take so long.
const STATEMENT_MAX_MS: u32 = 10_000;

/// A connection to the shared ledger, made when it is needed and made again when it broke.
pub struct Postgres {
    url: SecretString,
    client: Option<Client>,
    /// This process as an owner of leases; nothing for those that only look at the books.
    owner: Option<Owner>,
    /// A process whose heartbeat is older is dead, or as good as dead.
    dead_after: Duration,
    /// Everything is read in one transaction, so a new connection would not do.
    held: bool,
    /// The rows of groups, for writing.
    groups: Groups,
    /// The same the other way round, for reading.
    named: BTreeMap<i64, Group<'static>>,
    /// Whether it is asked at the moment if a commit took place.
    doubt: Arc<Doubt>,
}

/// A life of a process, as the store sees it.
struct Owner {
    id: String,
    epoch: u32,
    /// Counts commits, so that one whose answer was lost can be found again.
    seq: i64,
}

/// How a commit failed.
enum Failed {
    /// Nothing was written.
    Clean(postgres::Error),
    /// Nobody knows. If it was, these are the answers.
    Unsure(postgres::Error, Vec<StoreAnswer>),
}

impl Postgres {
    /// The ledger at this address (`postgres://user@host/database?sslmode=require`).
    ///
    /// # Errors
    /// It cannot be reached, or its schema is newer than this flyball.
    pub fn open(url: &SecretString, dead_after: Duration) -> Result<Postgres, Error> {
        let mut store = Postgres {
            url: url.clone(),
            client: None,
            owner: None,
            dead_after,
            held: false,
            groups: Groups::default(),
            named: BTreeMap::new(),
            doubt: Arc::default(),
        };
        for left in (0..SCHEMA_TRIES).rev() {
            let migrated = store.client().and_then(schema::migrate);
            match migrated {
                // Of several that begin in an empty database at the same moment, one makes the first table.
                Err(e) if left > 0 && schema::made_by_another(&e) => {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "the books are opened on threads that may wait"
                    )]
                    std::thread::sleep(SCHEMA_PAUSE);
                }
                migrated => {
                    migrated.map_err(told)??;
                    break;
                }
            }
        }
        Ok(store)
    }

    fn client(&mut self) -> Result<&mut Client, postgres::Error> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            let mut client = tls::connect(self.url.expose_secret())?;
            client.batch_execute(&format!(
                "SET statement_timeout = {STATEMENT_MAX_MS}; SET lock_timeout = {STATEMENT_MAX_MS}; SET synchronous_commit = on"
            ))?;
            self.client = Some(client);
        }
        Ok(self.client.as_mut().expect("just made"))
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut Client) -> Result<T, postgres::Error>,
    ) -> Result<T, Error> {
        if self.held && self.client.as_ref().is_none_or(Client::is_closed) {
            return Err(failed(
                "PostgreSQL: the connection was lost, and with it the moment that was read; try again",
            ));
        }
        let outcome = self.client().and_then(read);
        outcome.map_err(|e| {
            self.client = None;
            told(e)
        })
    }

    /// One transaction, tried again while others are in its way.
    fn commit_once(&mut self, works: &[&StoreWork]) -> Result<Vec<StoreAnswer>, Failed> {
        let mut last = None;
        for attempt in 0..TRIES {
            let dead_after = self.dead_after;
            let Postgres {
                client,
                owner,
                groups,
                ..
            } = self;
            let (Some(client), Some(owner)) = (client.as_mut(), owner.as_mut()) else {
                break;
            };
            match write::transaction(client, owner, groups, works, dead_after) {
                Err(Failed::Clean(e)) if in_the_way(&e) => {
                    std::thread::park_timeout(Duration::from_millis(u64::from(attempt) * 5));
                    last = Some(e);
                }
                other => return other,
            }
        }
        match last {
            Some(e) => Err(Failed::Clean(e)),
            None => unreachable_store(self),
        }
    }

    /// Whether the commit with the next number took place; asked until somebody knows.
    fn took_place(&mut self, why: &postgres::Error) -> bool {
        let doubt = Arc::clone(&self.doubt);
        let _asking = doubt.begin();
        tracing::warn!(%why, "the answer to a commit was lost; asking whether it took place");
        let mut left_at = None;
        loop {
            let (id, seq) = match &self.owner {
                Some(owner) => (owner.id.clone(), owner.seq + 1),
                None => return false,
            };
            self.client = None;
            let found = self.client().and_then(|c| {
                let rows = c.query("SELECT seq FROM fb_owner WHERE id = $1", &[&id])?;
                Ok(rows.first().is_some_and(|r| r.get::<_, i64>(0) >= seq))
            });
            match found {
                Ok(found) => return found,
                Err(_) if !doubt.is_leaving() => std::thread::park_timeout(UNSURE_LOOK),
                Err(e) => {
                    let left_at = *left_at.get_or_insert_with(Instant::now);
                    assert!(
                        left_at.elapsed() < UNSURE_MAX,
                        "nobody can say whether a commit of the ledger took place: {e}"
                    );
                    std::thread::park_timeout(UNSURE_LOOK);
                }
            }
        }
    }
}

/// There is no connection although there was one before the loop: reported as any lost connection.
fn unreachable_store(store: &mut Postgres) -> Result<Vec<StoreAnswer>, Failed> {
    match store.client().and_then(|c| c.batch_execute("SELECT 1")) {
        Err(e) => Err(Failed::Clean(e)),
        Ok(()) => Ok(Vec::new()),
    }
}

fn in_the_way(e: &postgres::Error) -> bool {
    let code = e.code();
    code == Some(&SqlState::T_R_SERIALIZATION_FAILURE)
        || code == Some(&SqlState::T_R_DEADLOCK_DETECTED)
}

fn failed(detail: impl Into<String>) -> Error {
    Error::new(Kind::Overloaded, "the ledger is not available").detail(detail)
}

fn told(e: postgres::Error) -> Error {
    failed(format!("PostgreSQL: {}", text(&e)))
}

/// The driver's own text leaves out what the server said.
fn text(e: &postgres::Error) -> String {
    match e.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => e.to_string(),
    }
}

impl Store for Postgres {
    fn doubt(&self) -> Arc<Doubt> {
        Arc::clone(&self.doubt)
    }

    fn begin(&mut self, _now_ms: i64) -> Result<Vec<Swept>, Error> {
        let owner = Owner {
            id: uuid::Uuid::now_v7().to_string(),
            epoch: 0,
            seq: 0,
        };
        self.client().map_err(told)?;
        self.owner = Some(owner);
        let dead_after = self.dead_after;
        let Postgres { client, owner, .. } = self;
        let (client, owner) = (
            client.as_mut().expect("connected"),
            owner.as_mut().expect("made"),
        );
        write::register(client, owner).map_err(told)?;
        write::sweep_alone(client, &owner.id, dead_after).map_err(told)
    }

    fn hold(&mut self) -> Result<(), Error> {
        // Reading everything may take longer than a statement otherwise should.
        self.read(|c| {
            c.batch_execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; SELECT 1 FROM fb_schema",
            )
        })?;
        self.held = true;
        Ok(())
    }

    fn release(&mut self) -> Result<(), Error> {
        self.read(|c| c.batch_execute("COMMIT"))?;
        self.held = false;
        Ok(())
    }

    fn rollups(
        &mut self,
        grain: Grain,
        between: Range<i64>,
        whole: bool,
        each: &mut dyn FnMut(i64, &Group<'_>, &Amounts),
    ) -> Result<(), Error> {
        let mut named = std::mem::take(&mut self.named);
        let numbers = grain.of(grain.ceil(between.start))..grain.of(grain.ceil(between.end));
        let read = self.read(|c| {
            read::groups(c, &mut named)?;
            read::rollups(c, grain, numbers, whole, &mut |at, id, amounts| {
                if let Some(group) = named.get(&id) {
                    each(at * grain.ms(), group, amounts);
                }
            })
        });
        self.named = named;
        read
    }

    fn carried(&mut self) -> Result<Vec<Sum>, Error> {
        self.read(read::carried)
    }

    fn kept(&mut self) -> Result<Kept, Error> {
        self.read(read::kept)
    }

    fn commit(&mut self, works: &[&StoreWork]) -> Result<Vec<StoreAnswer>, String> {
        if let Err(e) = self.client() {
            return Err(text(&e));
        }
        match self.commit_once(works) {
            Ok(answers) => Ok(answers),
            Err(Failed::Clean(e)) => {
                if e.code().is_none() {
                    self.client = None;
                }
                Err(text(&e))
            }
            Err(Failed::Unsure(e, answers)) => {
                if !self.took_place(&e) {
                    return Err(text(&e));
                }
                if let Some(owner) = &mut self.owner {
                    owner.seq += 1;
                }
                Ok(answers)
            }
        }
    }

    fn defined(&mut self) -> Result<Vec<Counter>, Error> {
        self.read(read::defined)
    }

    fn sums(&mut self) -> Result<Vec<Sum>, Error> {
        self.read(read::sums)
    }

    fn attempts(
        &mut self,
        between: Range<i64>,
        each: &mut dyn FnMut(Attempt) -> bool,
    ) -> Result<(), Error> {
        let (from, to) = (between.start, between.end);
        self.read(|c| read::walk(c, "a.at_ms >= $1 AND a.at_ms < $2", &[&from, &to], each))
    }

    fn request(&mut self, request: &str) -> Result<Vec<Attempt>, Error> {
        let mut found = Vec::new();
        self.read(|c| {
            read::walk(c, "a.request = $1", &[&request], &mut |a| {
                found.push(a);
                true
            })
        })?;
        Ok(found)
    }

    fn true_up(&mut self, correction: &Correction) -> Result<TrueUp, Error> {
        self.read(|c| write::true_up(c, correction))
    }

    fn forfeits(&mut self) -> Result<Vec<Forfeit>, Error> {
        self.read(read::forfeits)
    }

    fn learned(&mut self) -> Result<Vec<(String, String)>, Error> {
        self.read(|c| {
            let rows = c.query("SELECT name, value FROM fb_learned ORDER BY name", &[])?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        })
    }

    fn forget_learned(&mut self) -> Result<u64, Error> {
        self.read(|c| c.execute("DELETE FROM fb_learned", &[]))
    }

    fn outcomes(&mut self, each: &mut dyn FnMut(JudgedAnswer)) -> Result<(), Error> {
        self.read(|c| read::outcomes(c, each))
    }

    fn keep_outcomes(&mut self, outcomes: &[JudgedAnswer]) -> Result<(), Error> {
        self.read(|c| write::keep_outcomes(c, outcomes))
    }

    fn asks(&mut self, each: &mut dyn FnMut(MeasuredAsk)) -> Result<(), Error> {
        self.read(|c| learning::asks(c, each))
    }

    fn keep_asks(&mut self, asks: &[MeasuredAsk]) -> Result<(), Error> {
        self.read(|c| learning::measure(c, asks))
    }

    fn learned_as(&mut self, name: &str) -> Result<Option<String>, Error> {
        self.read(|c| learning::learned_as(c, name))
    }

    fn learn(
        &mut self,
        entries: &[(String, String)],
        expected: Option<&str>,
    ) -> Result<bool, Error> {
        self.read(|c| learning::learn(c, entries, expected))
    }

    fn forget_outcomes(&mut self) -> Result<u64, Error> {
        self.read(|c| c.execute("DELETE FROM fb_ask", &[]))?;
        self.read(|c| c.execute("DELETE FROM fb_outcome", &[]))
    }

    fn frozen(&mut self) -> Result<Vec<Frozen>, Error> {
        self.read(read::frozen)
    }

    fn unfreeze(&mut self, provider: &str, model: &str) -> Result<bool, Error> {
        let text = "DELETE FROM fb_frozen WHERE provider = $1 AND model = $2";
        self.read(|c| Ok(c.execute(text, &[&provider, &model])? > 0))
    }

    fn keys(&mut self) -> Result<Vec<Key>, Error> {
        self.read(read::keys)
    }

    fn act(&mut self, who: &str, at_ms: i64, act: &KeyAct) -> Result<Key, Error> {
        let acted = self.client().and_then(|c| keys::act(c, who, at_ms, act));
        match acted {
            Ok(acted) => acted.map_err(failed),
            Err(e) if e.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                Err(failed("another key has this name or this secret already"))
            }
            Err(e) => {
                self.client = None;
                Err(told(e))
            }
        }
    }

    fn stopped(&mut self) -> Result<Vec<StoppedSession>, Error> {
        self.read(stopped::all)
    }

    fn stop_session(
        &mut self,
        who: &str,
        at_ms: i64,
        session: &StoppedSession,
        stops: bool,
    ) -> Result<bool, Error> {
        self.read(|c| stopped::stop(c, (who, at_ms), session, stops))
    }

    fn note(&mut self, deed: &Deed) -> Result<(i64, [u8; 32]), Error> {
        self.read(|c| keys::note(c, deed))
    }

    fn audit(&mut self, after: i64, each: &mut dyn FnMut(Entry) -> bool) -> Result<(), Error> {
        self.read(|c| keys::walk(c, after, each))
    }

    fn last_deed(&mut self, what: &str) -> Result<Option<Entry>, Error> {
        self.read(|c| keys::last(c, what))
    }
}
