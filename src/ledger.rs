//! The books: reserve, then post or void, then close. A request under a cap is sent only on a reservation that is durable, or
//! that comes out of a durable lease.
//!
//! Balances live in memory and are the gate; the store is the record. One process owns a data folder at a time.
#![deny(clippy::float_arithmetic)]

pub mod audit;
pub mod balance;
pub mod books;
pub mod cap;
mod compact;
pub mod exhaustion;
pub mod forecast;
mod grant;
pub mod judged;
pub mod keyring;
mod lookup;
mod overrun;
pub mod pace;
pub mod prune;
mod queue;
pub mod record;
mod refuse;
pub mod replay;
pub mod report;
mod reservation;
pub mod rollup;
mod settings;
pub mod stopped;
pub mod store;
pub mod tree;
pub mod true_up;
pub mod verify;
pub mod window;
mod writer;

pub use compact::{CommonOpenings, CompactReservation};
pub use lookup::ActedOn;
pub use refuse::Refused;
pub use reservation::{HeldRoom, Reservation};
pub use settings::{Address, Settings};

use crate::error::{Error, Kind};
use balance::{Balances, Capped, CounterStanding, Crossing, Grant, Requirement};
use books::Owner;
use cap::{Cap, Counter, Dims};
use judged::{JudgedAnswer, MeasuredAsk};
use lookup::Lookup;
use record::{Correction, Opening, Swept, TrueUp};
use rollup::Grain;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::{StoreAnswer, StoreWork};
use tokio::sync::Notify;
use writer::Writer;

/// Old attempts that are deleted in one commit: a few milliseconds for whoever waits for it. With two a second it is far more than
/// come in.
const EXPIRED_AT_ONCE: i64 = 200;

/// The open ledger of one process.
#[derive(Debug)]
pub struct Ledger {
    settings: Settings,
    balances: Mutex<Balances>,
    writer: Writer,
    lookup: Lookup,
    /// A connection of its own for what may take long, so that looks at single requests do not wait for it.
    reports: Lookup,
    /// Another for learning, which takes longer still.
    learning: Lookup,
    /// The counters that the store keeps for us.
    defined: Mutex<Vec<Counter>>,
    frozen: Mutex<HashSet<(String, String)>>,
    /// What was learned before this process began, until somebody takes it.
    learned: Mutex<Vec<(String, String)>>,
    overruns: Mutex<HashMap<(String, String), Vec<i64>>>,
    /// What was charged of processes that have died, until somebody is told.
    swept: Mutex<Vec<Swept>>,
    /// The caps in force. Held by whoever changes them.
    setting: tokio::sync::Mutex<Vec<Cap>>,
    /// Held by whoever asks the store what users have spent.
    recalling: Arc<tokio::sync::Mutex<()>>,
    /// Held by whoever asks the store for leases.
    leasing: tokio::sync::Mutex<()>,
    /// Told when a reservation has closed.
    room: Notify,
    waiting: std::sync::atomic::AtomicUsize,
    /// How far sums of windows that have long passed were looked for.
    pruning: Arc<prune::Pass>,
    /// The latest second that was ever counted in: a clock that is set back reopens no window.
    latest: std::sync::atomic::AtomicI64,
    /// The store's clock minus ours, in milliseconds: one clock counts for all replicas.
    ahead_ms: std::sync::atomic::AtomicI64,
    /// When this process opened the ledger, by the clock that counts, and by one that nobody sets.
    opened: (i64, Instant),
    // Held for as long as this process lives: whoever finds it free knows that the last owner is gone.
    owner: Owner,
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> i64 {
    now_ms().div_euclid(1_000)
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

impl Ledger {
    /// Opens the ledger, charges what a dead owner left open, and takes over the balances.
    ///
    /// # Errors
    /// Another flyball owns the folder, or the store cannot be used.
    pub fn open(settings: Settings) -> Result<Arc<Ledger>, Error> {
        let owner = books::own(&settings)?.granted()?;
        Ledger::open_as(owner, settings)
    }

    /// As [`Ledger::open`], for who owns the folder already.
    ///
    /// # Errors
    /// The store cannot be used.
    pub fn open_as(owner: Owner, settings: Settings) -> Result<Arc<Ledger>, Error> {
        let mut store = books::make(&settings)?;
        let mut swept = store.begin(now_ms())?;
        // A clock of ours that is ahead would count in windows that have not begun, and never come back from them.
        let ahead_ms = match settings.shared {
            Some(_) => ahead_of_us(store.as_mut(), &mut swept)?,
            None => 0,
        };
        let opened_at = now() + ahead_ms.div_euclid(1_000);
        let mut balances = Balances::new(settings.leases(), settings.sessions_max);
        let kept = store.defined()?;
        for sum in store.sums()? {
            if cap::covered(&sum.counter, &kept) {
                balances.restore(&sum.counter, sum.id, sum.posted, opened_at);
            }
        }
        let frozen = store.frozen()?;
        let learned = store.learned()?;
        let ledger = Ledger {
            settings,
            balances: Mutex::new(balances),
            writer: Writer::start(store)?,
            lookup: Lookup::default(),
            reports: Lookup::default(),
            learning: Lookup::default(),
            defined: Mutex::new(kept),
            frozen: Mutex::default(),
            learned: Mutex::new(learned),
            overruns: Mutex::default(),
            swept: Mutex::new(swept),
            setting: tokio::sync::Mutex::default(),
            recalling: Arc::default(),
            leasing: tokio::sync::Mutex::default(),
            room: Notify::new(),
            waiting: 0.into(),
            pruning: Arc::default(),
            latest: opened_at.into(),
            ahead_ms: ahead_ms.into(),
            opened: (opened_at, Instant::now()),
            owner,
        };
        ledger.take_frozen(frozen);
        Ok(Arc::new(ledger))
    }

    /// Says to whoever waits for the folder that this process is about to stop.
    pub fn leaves(&self) {
        self.owner.leaves();
    }

    /// Where the books are.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes over the `latest` caps; open reservations stay as they are. A cap whose counter is new holds from when the store has added
    /// up what its window has spent already, which this waits for; until then the caps of before hold as well.
    ///
    /// # Errors
    /// The store cannot say; the caps of before hold.
    pub async fn set_caps(&self, latest: impl FnOnce() -> Vec<Cap>) -> Result<(), String> {
        // One change after the other, each with what is in force when its turn comes.
        let mut in_force = self.setting.lock().await;
        let caps = latest();
        let counters: Vec<Counter> = Counter::always()
            .into_iter()
            .chain(caps.iter().map(|c| c.counter.clone()))
            .collect();
        let told = {
            let mut balances = self.balances();
            let defined = lock(&self.defined);
            let known = |c: &Counter| cap::covered(&c.to_string(), &defined);
            let (old, new): (Vec<Cap>, Vec<Cap>) =
                caps.iter().cloned().partition(|c| known(&c.counter));
            let new: Vec<Counter> = new.into_iter().map(|c| c.counter).collect();
            let both: Vec<Cap> = old.into_iter().chain(in_force.iter().cloned()).collect();
            balances.set_caps(&both, &new, now());
            // Under the lock: what closes from now on counts in the new counters, what closed before is in the attempts.
            let now = self.latest(now());
            self.writer.ask(StoreWork::Define {
                counters: counters.clone(),
                now,
            })
        };
        let sums = match told.await {
            Ok(Ok(StoreAnswer::Sums(sums))) => sums,
            Ok(Ok(_)) => Vec::new(),
            Ok(Err(why)) => return Err(why),
            Err(_) => return Err("the ledger thread has ended".into()),
        };
        let mut balances = self.balances();
        for sum in sums {
            balances.restore(&sum.counter, sum.id, sum.posted, now());
        }
        balances.set_caps(&caps, &[], now());
        *lock(&self.defined) = counters;
        *in_force = caps;
        Ok(())
    }

    /// Which measures of such an attempt are capped.
    #[must_use]
    pub fn capped(&self, dims: &Dims<'_>) -> Capped {
        self.balances().capped(dims)
    }

    /// Which measures are capped for some model that such an attempt may mean, beside those that are anyhow.
    #[must_use]
    pub fn perhaps_capped(&self, dims: &Dims<'_>) -> Capped {
        self.balances().perhaps_capped(dims)
    }

    /// A cap counts what each end user spends.
    #[must_use]
    pub fn counts_users(&self) -> bool {
        self.balances().counts_users()
    }

    /// How many counters of end users are in memory.
    #[must_use]
    pub fn users_kept(&self) -> usize {
        self.balances().users_kept()
    }

    /// The share, in percent, of the fullest cap that counts such a request whatever arm it goes to.
    #[must_use]
    pub fn fullest(&self, dims: &Dims<'_>) -> u64 {
        self.balances().fullest(dims, self.latest(now()))
    }

    /// Every counter's standing now.
    #[must_use]
    pub fn standings(&self) -> Vec<CounterStanding> {
        self.balances().standings(self.latest(now()))
    }

    /// The caps that have just passed a share at which they are told.
    #[must_use]
    pub fn take_crossings(&self) -> Vec<Crossing> {
        self.balances().take_crossings()
    }

    /// The store takes rows.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.writer.healthy()
    }

    /// How old the oldest write is that is not durable yet.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.writer.lag()
    }

    /// Requests may be admitted. While a shared store is away, what is leased may still be spent.
    fn admits(&self) -> bool {
        self.writer.healthy() || (self.settings.shared.is_some() && self.writer.has_room())
    }

    /// The second to count in: never earlier than one before.
    fn latest(&self, now: i64) -> i64 {
        use std::sync::atomic::Ordering::Relaxed;
        let now = now + self.ahead_ms.load(Relaxed).div_euclid(1_000);
        self.latest.fetch_max(now, Relaxed).max(now)
    }

    /// The second up to which windows have passed for everybody: a clock that is set ahead forgets nothing.
    fn passed(&self) -> i64 {
        let ahead_ms = self.ahead_ms.load(std::sync::atomic::Ordering::Relaxed);
        let (at, since) = self.opened;
        prune::passed(now() + ahead_ms.div_euclid(1_000), (at, since.elapsed()))
    }

    /// Reserves `ask` in all counters. Under a cap it returns when the reservation is durable; without one nothing waits.
    /// Where only open reservations are in the way it waits up to `patience` for room.
    ///
    /// # Errors
    /// `Refused::Full`: no room. `Refused::Store`: the ledger cannot write.
    pub async fn reserve(
        self: &Arc<Ledger>,
        ask: Requirement,
        opening: Opening,
        patience: Duration,
    ) -> Result<Reservation, Refused> {
        self.hold(ask, opening, patience).await?.open().await
    }

    /// Keeps room for `ask` in all counters, for an attempt that may not be made: nothing is written until it is opened.
    ///
    /// # Errors
    /// As of [`Ledger::reserve`].
    pub async fn hold(
        self: &Arc<Ledger>,
        ask: Requirement,
        mut opening: Opening,
        patience: Duration,
    ) -> Result<HeldRoom, Refused> {
        if !self.admits() {
            return Err(Refused::Store(
                "the last write failed or too much waits to be written".into(),
            ));
        }
        let grant = match self.grant(ask, &opening).await {
            Err(Refused::Full(full)) if full.only_reserved() && !patience.is_zero() => {
                self.grant_within(ask, &opening, patience, full).await?
            }
            other => other?,
        };
        opening.counted_ms = opening.at_ms.max(grant.at.saturating_mul(1_000));
        opening.bound = grant.amount;
        opening.bound_tokens = grant.tokens_bound;
        Ok(HeldRoom::new(Reservation::new(
            self.clone(),
            Arc::new(opening),
            grant,
        )))
    }

    /// Room for an attempt that was made elsewhere and is paid already: no cap keeps it out of the books, and each cap counts what it has cost.
    #[must_use]
    pub fn hold_beyond_caps(self: &Arc<Ledger>, mut opening: Opening) -> HeldRoom {
        let at = self.latest(opening.at_ms.div_euclid(1_000));
        opening.counted_ms = opening.at_ms.max(at.saturating_mul(1_000));
        let grant = Grant::beyond_caps(at);
        HeldRoom::new(Reservation::new(self.clone(), Arc::new(opening), grant))
    }

    /// Waits until everything that was handed over is durable.
    pub async fn flush(&self) {
        // The thread ends only with the process; then there is nothing to wait for.
        let _ = self.writer.ask(StoreWork::Flush).await;
    }

    /// What was learned before this process began; nothing when it is asked again.
    #[must_use]
    pub fn take_learned(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *lock(&self.learned))
    }

    /// Keeps what was learned, by name.
    pub fn keep_learned(&self, entries: Vec<(String, String)>) {
        if !entries.is_empty() {
            self.writer.send(StoreWork::Learn(entries));
        }
    }

    /// Keeps outcomes; nobody waits for that.
    pub fn keep_outcomes(&self, outcomes: Vec<JudgedAnswer>) {
        if !outcomes.is_empty() {
            self.writer.send(StoreWork::Judge(outcomes));
        }
    }

    /// Keeps what was measured of a request whose answers may be judged; nobody waits for that.
    pub fn keep_ask(&self, request: &str, features: Vec<u8>) {
        let ask = MeasuredAsk {
            request: request.to_owned(),
            at_ms: now_ms(),
            features,
        };
        self.writer.send(StoreWork::Measure(vec![ask]));
    }

    /// Keeps an outcome, and returns when it is durable.
    ///
    /// # Errors
    /// The ledger cannot write.
    pub async fn keep_outcome(&self, outcome: JudgedAnswer) -> Result<(), Error> {
        let told = self.writer.ask(StoreWork::Judge(vec![outcome])).await;
        let failed =
            |why: String| Error::new(Kind::Overloaded, "the ledger is not available").detail(why);
        match told {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(why)) => Err(failed(why)),
            Err(_) => Err(failed("the ledger thread has ended".into())),
        }
    }

    /// Books what has become known of the cost of an attempt of this request that was charged at its bound, once.
    ///
    /// # Errors
    /// The books cannot be written.
    pub async fn correct(&self, request: &str, correction: Correction) -> Result<TrueUp, Error> {
        let (outcome, opening) = self.true_up(request.to_owned(), correction).await?;
        if let (TrueUp::Corrected(change), Some(opening)) = (outcome, opening) {
            let at = opening.counted_ms.div_euclid(1_000);
            let now = self.latest(now());
            self.balances().correct(&opening.dims(), (at, now), change);
            self.room.notify_waiters();
        }
        Ok(outcome)
    }

    /// What has to be done every second or so: gives back what leases do not need, deletes what is too old. Tells what was charged of
    /// processes that have died since it was told last.
    pub fn tick(&self) -> Vec<Swept> {
        if self.settings.shared.is_some() {
            self.beat();
        }
        if let Some(keep) = self.settings.keep {
            let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
            // Whole days, so that what is kept of them is whole too.
            let before_ms = Grain::Day.floor(now_ms().saturating_sub(keep_ms));
            let most = EXPIRED_AT_ONCE;
            self.writer.send(StoreWork::Expire { before_ms, most });
        }
        let passed = self.passed();
        if self.pruning.is_due(passed) {
            self.writer.send(StoreWork::Prune {
                pass: Arc::clone(&self.pruning),
                now: passed,
            });
        }
        let shared = self.settings.shared.is_some();
        let mut balances = self.balances();
        let back = match shared {
            true => balances.idle_leases(false, self.latest(now())),
            false => balances.take_returns(),
        };
        if !back.is_empty() {
            self.writer.send(StoreWork::Return(back));
        }
        std::mem::take(&mut lock(&self.swept))
    }

    /// Shows the other replicas that this one lives, and hears what they look for. Waits for the store, so not on a busy thread.
    fn beat(&self) {
        let told = self.writer.ask(StoreWork::Beat);
        let Ok(Ok(StoreAnswer::Beat {
            epoch,
            now_ms: theirs,
            wanted,
            swept,
        })) = told.blocking_recv()
        else {
            return;
        };
        self.ahead_ms
            .store(theirs - now_ms(), std::sync::atomic::Ordering::Relaxed);
        lock(&self.swept).extend(swept);
        let mut balances = self.balances();
        if epoch > balances.epoch() {
            tracing::warn!(
                "the shared ledger took this replica for dead and charged its leases; it goes on with new ones"
            );
            balances.begin_epoch(epoch);
        }
        let back = balances.give_up(&wanted);
        if !back.is_empty() {
            self.writer.send(StoreWork::Return(back));
        }
    }

    /// Gives every lease back and waits until all is durable: nothing is admitted after this.
    pub async fn drain(&self) {
        let back = self.balances().idle_leases(true, self.latest(now()));
        if !back.is_empty() {
            self.writer.send(StoreWork::Return(back));
        }
        self.flush().await;
    }

    /// For tests: lets every write fail as on a full disk (SQLite's own error, by its page limit), or not any more.
    #[doc(hidden)]
    pub async fn pretend_full_disk(&self, full: bool) {
        let _ = self.writer.ask(StoreWork::PagesMax(full)).await;
    }

    fn balances(&self) -> MutexGuard<'_, Balances> {
        // Every change of the balances is a whole one, so a panic elsewhere cannot have left them half-done.
        lock(&self.balances)
    }
}

/// How far the store's clock is ahead of ours, in milliseconds. The question is a beat, which may sweep.
fn ahead_of_us(store: &mut dyn store::Store, swept: &mut Vec<Swept>) -> Result<i64, Error> {
    let told = store
        .commit(&[&StoreWork::Beat])
        .map_err(|why| Error::new(Kind::Overloaded, "the ledger is not available").detail(why))?;
    Ok(match told.into_iter().next() {
        Some(StoreAnswer::Beat {
            now_ms: theirs,
            swept: more,
            ..
        }) => {
            swept.extend(more);
            theirs - now_ms()
        }
        _ => 0,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
