//! The books: reserve, then post or void, then close. A request under a cap is sent only on a reservation that is durable, or
//! that comes out of a durable lease.
//!
//! Balances live in memory and are the gate; the store is the record. One process owns a data folder at a time.
#![deny(clippy::float_arithmetic)]

pub mod balance;
pub mod cap;
pub mod price;
mod queue;
mod refuse;
pub mod replay;
mod reservation;
pub mod store;
pub mod tree;
pub mod true_up;
pub mod verify;
pub mod window;
mod writer;

pub use refuse::Refused;
pub use reservation::Reservation;

use crate::error::{Error, Kind};
use balance::{Ask, Balances, Capped, Crossing, Denied, Full, Grant, Standing, Want};
use cap::{Cap, Counter, Dims};
use secrecy::{ExposeSecret, SecretString};
use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::postgres::Postgres;
use store::sqlite::Sqlite;
use store::{Answer, Facts, Frozen, Store, Work};
use tokio::sync::Notify;
use writer::Writer;

/// How an attempt may end. A closed set: metric labels and the export rely on it.
pub const OUTCOMES: [&str; 9] = [
    "ok",
    "length",
    "client_gone",
    "stream_cut",
    "upstream_error",
    "upstream_timeout",
    "refused_upstream",
    "not_sent",
    "crash",
];
/// How a provider's own figure of a cost may compare with the computed one. A closed set too.
pub const COMPARED: [&str; 3] = ["equal", "above", "below"];
/// The service tiers whose rates price an attempt.
const SERVICE_TIERS: [&str; 5] = ["standard", "batch", "flex", "priority", "other"];
/// How a cost is known.
pub const BASES: [&str; 4] = ["reported", "counted", "bound", "void"];
/// How long a request waits for a lease before the store counts as away.
const LEASE_WAIT: Duration = Duration::from_secs(2);
/// How long a request waits for parts of a cap that other replicas hold and may not need.
const OTHERS_WAIT: Duration = Duration::from_millis(1_500);
/// How often it looks meanwhile.
const OTHERS_LOOK: Duration = Duration::from_millis(100);
/// How often a lease is asked for again because this process was taken for dead meanwhile.
const LIVES_MAX: usize = 3;
/// Requests that may wait for room at once; more are refused at once.
const WAITING_MAX: usize = 1_024;
/// Overruns of one model within this time freeze it when there are as many as [`OVERRUNS_MAX`].
const OVERRUNS_WITHIN: i64 = 3_600;
const OVERRUNS_MAX: usize = 3;

pub(crate) fn known_outcome(text: &str) -> &'static str {
    OUTCOMES
        .into_iter()
        .find(|o| *o == text)
        .unwrap_or("upstream_error")
}

pub(crate) fn known_service_tier(text: &str) -> &'static str {
    SERVICE_TIERS.into_iter().find(|t| *t == text).unwrap_or("")
}

pub(crate) fn known_basis(text: &str) -> &'static str {
    BASES.into_iter().find(|b| *b == text).unwrap_or("bound")
}

/// How the books are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder of the embedded ledger.
    pub data_dir: PathBuf,
    /// Thousandths of a cap that are leased at a time; 0 makes each reservation durable by itself.
    pub lease_permille: u32,
    /// Sessions that a key may have in one window of a cap on sessions.
    pub sessions_max: u32,
    /// The shared ledger, where several replicas have one.
    pub shared: Option<Address>,
    /// A replica from which the shared ledger hears nothing for so long is taken for dead.
    pub replica_timeout: Duration,
}

/// The address of a PostgreSQL ledger. It may hold a password, so it shows nowhere.
#[derive(Clone)]
pub struct Address(pub SecretString);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address(…)")
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Address) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}
impl Eq for Address {}

impl Settings {
    /// An embedded ledger in this folder, without leases.
    #[must_use]
    pub fn embedded(data_dir: &Path) -> Settings {
        Settings {
            data_dir: data_dir.to_owned(),
            lease_permille: 0,
            sessions_max: 1_000,
            shared: None,
            replica_timeout: Duration::from_secs(15),
        }
    }

    /// Capped counters spend from leases.
    #[must_use]
    pub fn leases(&self) -> bool {
        self.lease_permille > 0 || self.shared.is_some()
    }

    /// Thousandths of a cap that are leased at a time.
    fn slice_permille(&self) -> u32 {
        if self.lease_permille == 0 {
            10
        } else {
            self.lease_permille
        }
    }

    /// Opens the books to look at them or to administrate keys; any number of processes may.
    ///
    /// # Errors
    /// There are none yet, or they cannot be read.
    pub fn books(&self) -> Result<Box<dyn Store>, Error> {
        match &self.shared {
            Some(address) => Ok(Box::new(Postgres::open(&address.0, self.replica_timeout)?)),
            None => Ok(Box::new(Sqlite::open_existing(&self.data_dir)?)),
        }
    }

    /// As [`Settings::books`], but makes or migrates them first.
    ///
    /// # Errors
    /// They cannot be made or read.
    pub fn make_books(&self) -> Result<Box<dyn Store>, Error> {
        match &self.shared {
            Some(address) => Ok(Box::new(Postgres::open(&address.0, self.replica_timeout)?)),
            None => Ok(Box::new(Sqlite::open(&self.data_dir)?)),
        }
    }
}

/// The open ledger of one process.
#[derive(Debug)]
pub struct Ledger {
    settings: Settings,
    balances: Mutex<Balances>,
    writer: Writer,
    /// The counters that the store keeps for us.
    defined: Mutex<Vec<Counter>>,
    frozen: Mutex<HashSet<(String, String)>>,
    overruns: Mutex<HashMap<(String, String), Vec<i64>>>,
    /// Held by whoever changes the caps.
    setting: tokio::sync::Mutex<()>,
    /// Held by whoever asks the store for leases.
    leasing: tokio::sync::Mutex<()>,
    /// Told when a reservation has closed.
    room: Notify,
    waiting: std::sync::atomic::AtomicUsize,
    /// The latest second that was ever counted in: a clock that is set back reopens no window.
    latest: std::sync::atomic::AtomicI64,
    /// The store's clock minus ours, in milliseconds: one clock counts for all replicas.
    ahead_ms: std::sync::atomic::AtomicI64,
    // Held for as long as this process lives: whoever finds it free knows that the last owner is gone.
    _owner: Option<File>,
}

/// What came of asking for leases.
enum Leased {
    /// What there was; whether others hold parts of what was not.
    Given { others: bool },
    /// Nothing: the store begins a new life of this process. It may ask again.
    InAnotherLife,
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
        let mut store = settings.make_books()?;
        let owner = match &settings.shared {
            Some(_) => None,
            None => Some(own(&settings.data_dir)?),
        };
        let swept = store.begin(now_ms())?;
        if swept > 0 {
            tracing::warn!(
                attempts = swept,
                "the last run left attempts open; they are charged at their bound"
            );
        }
        let mut balances = Balances::new(settings.leases(), settings.sessions_max);
        let kept = store.defined()?;
        for sum in store.sums()? {
            if replay::covered(&sum.counter, &kept) {
                balances.restore(&sum.counter, sum.id, sum.posted, now());
            }
        }
        let frozen = store.frozen()?;
        let ledger = Ledger {
            settings,
            balances: Mutex::new(balances),
            writer: Writer::start(store)?,
            defined: Mutex::new(kept),
            frozen: Mutex::default(),
            overruns: Mutex::default(),
            setting: tokio::sync::Mutex::default(),
            leasing: tokio::sync::Mutex::default(),
            room: Notify::new(),
            waiting: 0.into(),
            latest: now().into(),
            ahead_ms: 0.into(),
            _owner: owner,
        };
        ledger.take_frozen(frozen);
        Ok(Arc::new(ledger))
    }

    /// Where the books are.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes over the `latest` caps; open reservations stay as they are. A cap whose counter is new holds from when the store has added
    /// up what its window has spent already, which this waits for.
    ///
    /// # Errors
    /// The store cannot say; the new caps do not hold yet.
    pub async fn set_caps(&self, latest: impl FnOnce() -> Vec<Cap>) -> Result<(), String> {
        // One change after the other, each with what is in force when its turn comes.
        let _turn = self.setting.lock().await;
        let caps = &latest();
        let counters: Vec<Counter> = Counter::always()
            .into_iter()
            .chain(caps.iter().map(|c| c.counter.clone()))
            .collect();
        let told = {
            let mut balances = self.balances();
            let defined = lock(&self.defined);
            let known = |c: &Counter| replay::covered(&c.to_string(), &defined);
            let (old, new): (Vec<Cap>, Vec<Cap>) =
                caps.iter().cloned().partition(|c| known(&c.counter));
            let new: Vec<Counter> = new.into_iter().map(|c| c.counter).collect();
            balances.set_caps(&old, &new, now());
            // Under the lock: what closes from now on counts in the new counters, what closed before is in the attempts.
            let now = self.latest(now());
            self.writer.ask(Work::Define {
                counters: counters.clone(),
                now,
            })
        };
        let sums = match told.await {
            Ok(Ok(Answer::Sums(sums))) => sums,
            Ok(Ok(_)) => Vec::new(),
            Ok(Err(why)) => return Err(why),
            Err(_) => return Err("the ledger thread has ended".into()),
        };
        let mut balances = self.balances();
        for sum in sums {
            balances.restore(&sum.counter, sum.id, sum.posted, now());
        }
        balances.set_caps(caps, &[], now());
        *lock(&self.defined) = counters;
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

    /// The share, in percent, of the fullest cap that counts such a request whatever arm it goes to.
    #[must_use]
    pub fn fullest(&self, dims: &Dims<'_>) -> u64 {
        self.balances().fullest(dims, self.latest(now()))
    }

    /// Every counter's standing now.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.balances().standings(self.latest(now()))
    }

    /// The caps that have just passed their soft share.
    #[must_use]
    pub fn take_crossings(&self) -> Vec<Crossing> {
        self.balances().take_crossings()
    }

    /// The store takes rows.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.writer.healthy()
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

    /// Reserves `ask` in all counters. Under a cap it returns when the reservation is durable; without one nothing waits.
    /// Where only open reservations are in the way it waits up to `patience` for room.
    ///
    /// # Errors
    /// `Refused::Full`: no room. `Refused::Store`: the ledger cannot write.
    pub async fn reserve(
        self: &Arc<Ledger>,
        ask: Ask,
        mut facts: Facts,
        patience: Duration,
    ) -> Result<Reservation, Refused> {
        if !self.admits() {
            return Err(Refused::Store(
                "the last write failed or too much waits to be written".into(),
            ));
        }
        let grant = match self.grant(ask, &facts).await {
            Err(Refused::Full(full)) if full.only_reserved() && !patience.is_zero() => {
                self.grant_within(ask, &facts, patience, full).await?
            }
            other => other?,
        };
        facts.counted_ms = facts.at_ms.max(grant.at.saturating_mul(1_000));
        facts.bound = grant.amount;
        facts.bound_tokens = grant.tokens_bound;
        let mut reservation = Reservation::new(self.clone(), Arc::new(facts), grant);
        if reservation.must_be_durable() {
            let told = self.writer.ask(Work::Open(reservation.facts()));
            let outcome = told
                .await
                .unwrap_or_else(|_| Err("the ledger thread has ended".into()));
            if let Err(why) = outcome {
                // The row was never written, so there is nothing to close but the balance.
                reservation.forget();
                return Err(Refused::Store(why));
            }
        } else {
            self.writer.send(Work::Open(reservation.facts()));
        }
        reservation.dispatch();
        Ok(reservation)
    }

    /// Looks and reserves; asks the store for leases where they are too small, for a while also for parts that others hold and may
    /// not need.
    async fn grant(self: &Arc<Ledger>, ask: Ask, facts: &Facts) -> Result<Grant, Refused> {
        let look = |last| {
            let at = self.latest(facts.at_ms.div_euclid(1_000));
            self.balances().reserve(&facts.dims(), ask, at, last)
        };
        let deadline = tokio::time::Instant::now() + OTHERS_WAIT;
        loop {
            let (denied, others) = match look(false) {
                Ok(grant) => return Ok(grant),
                Err(Denied::Full(full)) => return Err(Refused::Full(full)),
                Err(Denied::Short(_)) => self.look_and_lease(&look).await?,
            };
            match denied {
                Ok(grant) => return Ok(grant),
                Err(Denied::Full(full)) => {
                    let may_come = others && full.only_reserved();
                    if !may_come || tokio::time::Instant::now() >= deadline {
                        return Err(Refused::Full(full));
                    }
                    tokio::time::sleep(OTHERS_LOOK).await;
                }
                Err(Denied::Short(_)) => {
                    return Err(Refused::Store("the store gave no lease".into()));
                }
            }
        }
    }

    /// One at a time: what the one before got may do for the next, and nobody is refused while a lease is on its way. Tells too
    /// whether others hold parts of what was not given.
    async fn look_and_lease(
        self: &Arc<Ledger>,
        look: &impl Fn(bool) -> Result<Grant, Denied>,
    ) -> Result<(Result<Grant, Denied>, bool), Refused> {
        let _turn = self.leasing.lock().await;
        for _ in 0..LIVES_MAX {
            let wants = match look(false) {
                Err(Denied::Short(wants)) => wants,
                other => return Ok((other, false)),
            };
            if let Leased::Given { others } = self.lease(wants).await? {
                return Ok((look(true), others));
            }
        }
        Err(Refused::Store(
            "the shared ledger takes this replica for dead again and again".into(),
        ))
    }

    /// Takes leases from the store.
    async fn lease(self: &Arc<Ledger>, mut wants: Vec<Want>) -> Result<Leased, Refused> {
        let asked_in = wants.first().map_or(0, |want| want.epoch);
        for want in &mut wants {
            let slice = want.limit * i128::from(self.settings.slice_permille()) / 1_000;
            want.want = want.want.max(slice);
        }
        let told = self.writer.ask(Work::Lease(wants));
        let ledger = self.clone();
        // By itself: a lease that comes late, or whose request has gone away, must not be lost.
        let taking = tokio::spawn(async move {
            let (epoch, given) = match told.await {
                Ok(Ok(Answer::Leases(epoch, given))) => (epoch, given),
                Ok(Err(why)) => return Err(why),
                _ => return Err("the ledger thread has ended".into()),
            };
            let mut balances = ledger.balances();
            balances.begin_epoch(epoch);
            if epoch < balances.epoch() {
                // It was given to an earlier life of this process, and is charged already.
                return Ok(Leased::InAnotherLife);
            }
            if epoch != asked_in {
                // Nothing was given: not because there is no room, but because whoever asked has been taken for dead.
                return Ok(Leased::InAnotherLife);
            }
            let others = given.iter().any(|g| g.given == 0 && g.others > 0);
            for g in given {
                balances.leased(&g.counter, g.id, g.given, g.posted);
            }
            Ok(Leased::Given { others })
        });
        match tokio::time::timeout(LEASE_WAIT, taking).await {
            Ok(Ok(taken)) => taken.map_err(Refused::Store),
            _ => Err(Refused::Store("the store does not answer".into())),
        }
    }

    /// Waits for room, first come first tried at every close.
    async fn grant_within(
        self: &Arc<Ledger>,
        ask: Ask,
        facts: &Facts,
        patience: Duration,
        mut full: Box<Full>,
    ) -> Result<Grant, Refused> {
        use std::sync::atomic::Ordering::Relaxed;
        struct Leaving<'a>(&'a std::sync::atomic::AtomicUsize);
        impl Drop for Leaving<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Relaxed);
        let _leaving = Leaving(&self.waiting);
        if before >= WAITING_MAX {
            return Err(Refused::Full(full));
        }
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let mut told = std::pin::pin!(self.room.notified());
            // Armed before the look, so that room which comes in between is not missed.
            told.as_mut().enable();
            match self.grant(ask, facts).await {
                Err(Refused::Full(f)) if f.only_reserved() => full = f,
                other => return other,
            }
            if tokio::time::timeout_at(deadline, told).await.is_err() {
                return Err(Refused::Full(full));
            }
        }
    }

    /// Waits until everything that was handed over is durable.
    pub async fn flush(&self) {
        // The thread ends only with the process; then there is nothing to wait for.
        let _ = self.writer.ask(Work::Flush).await;
    }

    /// What has to be done every second or so: gives back what leases do not need.
    pub fn tick(&self) {
        if self.settings.shared.is_some() {
            self.beat();
        }
        let shared = self.settings.shared.is_some();
        let mut balances = self.balances();
        let back = match shared {
            true => balances.idle_leases(false, self.latest(now())),
            false => balances.take_returns(),
        };
        if !back.is_empty() {
            self.writer.send(Work::Return(back));
        }
    }

    /// Shows the other replicas that this one lives, and hears what they look for. Waits for the store, so not on a busy thread.
    fn beat(&self) {
        let told = self.writer.ask(Work::Beat);
        let Ok(Ok(Answer::Beat {
            epoch,
            now_ms: theirs,
            wanted,
        })) = told.blocking_recv()
        else {
            return;
        };
        self.ahead_ms
            .store(theirs - now_ms(), std::sync::atomic::Ordering::Relaxed);
        let mut balances = self.balances();
        if epoch > balances.epoch() {
            tracing::warn!(
                "the shared ledger took this replica for dead and charged its leases; it goes on with new ones"
            );
            balances.begin_epoch(epoch);
        }
        let back = balances.give_up(&wanted);
        if !back.is_empty() {
            self.writer.send(Work::Return(back));
        }
    }

    /// Gives every lease back and waits until all is durable: nothing is admitted after this.
    pub async fn drain(&self) {
        let back = self.balances().idle_leases(true, self.latest(now()));
        if !back.is_empty() {
            self.writer.send(Work::Return(back));
        }
        self.flush().await;
    }

    /// Whether a model is frozen, so that it is not used on capped keys.
    #[must_use]
    pub fn is_frozen(&self, provider: &str, model: &str) -> bool {
        let frozen = lock(&self.frozen);
        !frozen.is_empty() && frozen.contains(&(provider.to_owned(), model.to_owned()))
    }

    /// Takes over which models are frozen.
    pub fn take_frozen(&self, list: Vec<Frozen>) {
        let list = list.into_iter().map(|f| (f.provider, f.model));
        *lock(&self.frozen) = list.collect();
    }

    /// An answer under a cap cost more than its bound: its model is frozen if that was no trifle or happens often. Tells
    /// whether it is frozen now.
    pub fn overrun(&self, facts: &Facts, excess: i128) -> bool {
        let at = (facts.provider.clone(), facts.model.clone());
        let (now, bound) = (now(), facts.bound.0);
        let often = {
            let mut overruns = lock(&self.overruns);
            let times = overruns.entry(at.clone()).or_default();
            times.retain(|t| now - t < OVERRUNS_WITHIN);
            times.push(now);
            times.len() >= OVERRUNS_MAX
        };
        let large =
            excess.saturating_mul(100) > bound && excess > crate::money::PICO_PER_USD / 1_000;
        if !(often || large) {
            return false;
        }
        let why = format!(
            "attempt {} cost {} more than its bound of {}",
            facts.attempt,
            crate::money::PicoUsd(excess),
            facts.bound
        );
        if lock(&self.frozen).insert(at.clone()) {
            let (provider, model) = at;
            self.writer.send(Work::Freeze(Frozen {
                provider,
                model,
                since: now,
                why,
            }));
        }
        true
    }

    /// For tests: lets every write fail as on a full disk (SQLite's own error, by its page limit), or not any more.
    #[doc(hidden)]
    pub async fn pretend_full_disk(&self, full: bool) {
        let _ = self.writer.ask(Work::PagesMax(full)).await;
    }

    fn balances(&self) -> MutexGuard<'_, Balances> {
        // Every change of the balances is a whole one, so a panic elsewhere cannot have left them half-done.
        lock(&self.balances)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn own(data_dir: &Path) -> Result<File, Error> {
    let path = data_dir.join("owner.lock");
    let unusable = |e: std::io::Error| {
        Error::new(Kind::Internal, "the data folder cannot be used")
            .detail(format!("{}: {e}", path.display()))
    };
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(
                Error::new(Kind::Internal, "the data folder is in use").detail(format!(
                    "another flyball owns {}; stop it, or give this one another --data-dir",
                    data_dir.display()
                )),
            )
        }
        Err(TryLockError::Error(e)) => Err(unusable(e)),
    }
}
