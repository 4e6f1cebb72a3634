//! The books: reserve, then post or void, then close. A request is sent only on a reservation that is on the disk.
//!
//! Balances live in memory and are the gate; the store is the record. One process owns a data folder at a time.
#![deny(clippy::float_arithmetic)]

pub mod balance;
pub mod price;
pub mod store;
pub mod verify;
pub mod window;

use crate::error::{Error, Kind, Retry};
use crate::money::PicoUsd;
use balance::{Ask, Balances, Full, Grant, Node, Standing};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::sqlite::{self, Op, Writer};
use store::{Closing, Facts, Key};
use tokio::sync::oneshot;
use window::Window;

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
/// How a cost is known.
pub const BASES: [&str; 4] = ["reported", "counted", "bound", "void"];

pub(crate) fn known_outcome(text: &str) -> &'static str {
    OUTCOMES
        .into_iter()
        .find(|o| *o == text)
        .unwrap_or("upstream_error")
}

pub(crate) fn known_basis(text: &str) -> &'static str {
    BASES.into_iter().find(|b| *b == text).unwrap_or("bound")
}

/// The caps that configuration sets.
#[derive(Clone, Debug, Default)]
pub struct Caps {
    /// For everybody together.
    pub global: Vec<(Window, PicoUsd)>,
    /// For each key that has no cap of its own on that window.
    pub each_key: Vec<(Window, PicoUsd)>,
}

/// The open ledger of one process.
#[derive(Debug)]
pub struct Ledger {
    data_dir: PathBuf,
    balances: Mutex<Balances>,
    writer: Writer,
    // Held for as long as this process lives: whoever finds it free knows that the last owner is gone.
    _owner: File,
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
    /// Opens the ledger in `data_dir`, charges what a dead owner left open, and takes over the balances.
    ///
    /// # Errors
    /// Another flyball owns the folder, or the file cannot be used.
    pub fn open(data_dir: &Path) -> Result<Arc<Ledger>, Error> {
        let mut db = sqlite::open(data_dir)?;
        let owner = own(data_dir)?;
        let swept = sqlite::sweep(&mut db, data_dir)?;
        if swept > 0 {
            tracing::warn!(
                attempts = swept,
                "the last run left attempts open; they are charged at their bound"
            );
        }
        let mut balances = Balances::default();
        let at = now();
        for (place, posted) in sqlite::spent(&db)? {
            if place.id == place.window.id(at) {
                balances.restore(place, posted);
            }
        }
        let writer = Writer::start(db)?;
        Ok(Arc::new(Ledger {
            data_dir: data_dir.to_owned(),
            balances: Mutex::new(balances),
            writer,
            _owner: owner,
        }))
    }

    /// Where the books are.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Takes over the caps of configuration and keys; open reservations stay as they are.
    pub fn set_caps(&self, caps: &Caps, keys: &[Key]) {
        let mut balances = self.balances();
        for window in Window::ALL {
            let of = |list: &[(Window, PicoUsd)]| {
                list.iter()
                    .filter(|(w, _)| *w == window)
                    .map(|(_, a)| *a)
                    .min()
            };
            balances.limit(Node::Global, window, of(&caps.global));
            for key in keys {
                balances.limit(
                    Node::Key(key.id),
                    window,
                    of(&key.caps).or_else(|| of(&caps.each_key)),
                );
            }
        }
    }

    /// Whether any of these nodes has a cap.
    #[must_use]
    pub fn capped(&self, nodes: &[Node]) -> bool {
        self.balances().capped(nodes)
    }

    /// Every node's standing now.
    #[must_use]
    pub fn standings(&self) -> Vec<(Node, Window, Standing)> {
        self.balances().standings(now())
    }

    /// The store takes rows.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.writer.healthy()
    }

    /// Reserves `ask` on all nodes. With a cap among them it returns when the reservation is on the disk; without one nothing waits.
    ///
    /// # Errors
    /// `Refused::Full`: no room. `Refused::Store`: the ledger cannot write.
    pub async fn reserve(
        self: &Arc<Ledger>,
        nodes: &[Node],
        ask: Ask,
        mut facts: Facts,
    ) -> Result<Reservation, Refused> {
        if !self.healthy() {
            return Err(Refused::Store(
                "the last write failed or too much waits to be written".into(),
            ));
        }
        let (grant, capped) = {
            let mut balances = self.balances();
            let grant = balances
                .reserve(nodes, ask, facts.at_ms.div_euclid(1_000))
                .map_err(Refused::Full)?;
            (grant, balances.capped(nodes))
        };
        facts.bound = grant.amount;
        let attempt = facts.attempt.clone();
        let mut reservation = Reservation {
            ledger: self.clone(),
            attempt,
            grant,
            dispatched: false,
            closed: false,
        };
        if capped {
            let (done, durable) = oneshot::channel();
            self.writer.send(Op::Open(Box::new(facts), Some(done)));
            match durable.await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => {
                    // The row was never written, so there is nothing to close but the balance.
                    reservation.forget();
                    return Err(Refused::Store(why));
                }
                Err(_) => {
                    reservation.forget();
                    return Err(Refused::Store("the ledger thread has ended".into()));
                }
            }
        } else {
            self.writer.send(Op::Open(Box::new(facts), None));
        }
        reservation.dispatched = true;
        Ok(reservation)
    }

    /// Waits until everything that was handed over is on the disk.
    pub async fn flush(&self) {
        let (done, durable) = oneshot::channel();
        self.writer.send(Op::Flush(done));
        // The thread ends only with the process; then there is nothing to wait for.
        let _ = durable.await;
    }

    /// For tests: lets every write fail as on a full disk (SQLite's own error, by its page limit), or not any more.
    #[doc(hidden)]
    pub async fn pretend_full_disk(&self, full: bool) {
        let (done, told) = oneshot::channel();
        self.writer.send(Op::PagesMax(full, done));
        let _ = told.await;
    }

    fn balances(&self) -> MutexGuard<'_, Balances> {
        // Every change of the balances is a whole one, so a panic elsewhere cannot have left them half-done.
        self.balances.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// Why a reservation was not made.
#[derive(Clone, Debug)]
pub enum Refused {
    /// A cap has no room.
    Full(Full),
    /// The ledger cannot write, so nothing is admitted.
    Store(String),
}

impl Refused {
    /// The refusal as the caller reads it. `own` tells whether the cap is the caller's own, whose figures it may see.
    #[must_use]
    pub fn error(&self) -> Error {
        match self {
            Refused::Store(why) => Error::new(
                Kind::Overloaded,
                "flyball's ledger cannot write, so no request is admitted; try again soon",
            )
            .retry(Retry::After(Duration::from_secs(5)))
            .detail(format!("the ledger cannot write: {why}")),
            Refused::Full(full) => refusal(full),
        }
    }
}

fn refusal(full: &Full) -> Error {
    let Full { place, limit, .. } = full;
    let window = place.window.name();
    let reset = match place.window.resets_at(place.id) {
        Some(at) => format!(
            "resets at {}",
            jiff::Timestamp::from_second(at).unwrap_or_default()
        ),
        None => "does not reset".to_owned(),
    };
    let retry = if full.only_reserved() {
        Retry::After(Duration::from_secs(2))
    } else {
        Retry::Never
    };
    let public = match place.node {
        Node::Global => format!(
            "The {window} spend cap of this flyball has no room for this request; it {reset}."
        ),
        Node::Key(_) => format!(
            "The {window} spend cap of this key ({limit}) has no room for this request, which needs up to {}: {} is left; it {reset}.",
            full.needed,
            full.left()
        ),
    };
    let detail = format!(
        "cap {:?} {window}: limit {limit}, posted {}, reserved {}, needed {}",
        place.node, full.posted, full.reserved, full.needed
    );
    Error::new(Kind::CapReached, public)
        .code("flyball_cap")
        .retry(retry)
        .detail(detail)
}

/// Room held for one attempt. It is closed by value, by `post` or `void`.
#[derive(Debug)]
pub struct Reservation {
    ledger: Arc<Ledger>,
    attempt: String,
    grant: Grant,
    dispatched: bool,
    closed: bool,
}

impl Reservation {
    /// The upper bound of the attempt's cost.
    #[must_use]
    pub fn amount(&self) -> PicoUsd {
        self.grant.amount
    }

    /// The answer tokens that the bound covers.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.grant.tokens
    }

    /// Books what the attempt cost.
    pub fn post(mut self, closing: Closing) {
        self.close(closing);
    }

    /// No work was done: nothing is charged.
    pub fn void(mut self, outcome: &'static str) {
        self.close_empty(outcome, PicoUsd::ZERO, "void");
    }

    fn close_empty(&mut self, outcome: &'static str, cost: PicoUsd, basis: &'static str) {
        let usage = crate::chat::Usage::default();
        self.close(Closing {
            attempt: String::new(),
            cost,
            baseline: cost,
            usage,
            basis,
            outcome,
            excess: cost,
        });
    }

    fn close(&mut self, mut closing: Closing) {
        closing.attempt.clone_from(&self.attempt);
        self.closed = true;
        self.ledger.balances().close(&self.grant, closing.cost);
        self.ledger
            .writer
            .send(Op::Close(Box::new(closing), self.grant.places.clone()));
    }

    fn forget(&mut self) {
        self.closed = true;
        self.ledger.balances().close(&self.grant, PicoUsd::ZERO);
    }
}

impl Drop for Reservation {
    /// Nobody closed it. If nothing can have been sent it is void; else it is charged in full, loudly, since that is a defect.
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        if self.dispatched {
            tracing::error!(attempt = %self.attempt, "a reservation was dropped without an end; it is charged at its bound");
            self.close_empty("upstream_error", self.grant.amount, "bound");
        } else {
            self.close_empty("not_sent", PicoUsd::ZERO, "void");
        }
    }
}
