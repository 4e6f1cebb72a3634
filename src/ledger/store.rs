//! Where the books are kept: what a store must do, and the rows it keeps.
//!
//! A new store is one file beside `sqlite` and one line in [`super::books`], and passes the same contract tests.

pub mod batches;
mod columns;
pub mod doubt;
pub mod jobs;
pub mod postgres;
pub mod sqlite;
mod sums;
pub mod waiting;

use super::audit::{Deed, Entry};
use super::balance::{Posting, Want};
use super::cap::{Cap, Counter};
use super::judged::{JudgedAnswer, MeasuredAsk};
pub use super::keyring::Key;
use super::keyring::KeyAct;
use super::now_ms;
use super::prune::Pass;
use super::record::{Attempt, Closing, Correction, Forfeit, Opening, Sum, Swept, TrueUp};
use super::rollup::{Amounts, Grain, Group};
use super::stopped::StoppedSession;
use crate::error::Error;
use doubt::Doubt;
use std::ops::Range;
use std::sync::Arc;

/// From the first attempt to the last, for [`Store::attempts`].
pub const EVER: Range<i64> = i64::MIN..i64::MAX;

/// A model that cost more than its bound and is not used on capped keys until somebody allows it again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frozen {
    /// The provider's name.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Since when, seconds since 1970.
    pub since: i64,
    /// What happened.
    pub why: String,
}

/// What a store did with a lease that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The counter's name.
    pub counter: Arc<str>,
    /// Which window of it.
    pub id: i64,
    /// How much was set aside; nothing if less than the need was left.
    pub given: i128,
    /// What everybody has posted.
    pub posted: i128,
    /// What others have set aside.
    pub others: i128,
}

/// What is kept of the attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Of those that were admitted before this (milliseconds since 1970, the beginning of a day in UTC) only the sums by day are kept:
    /// they have been deleted, or are about to be. The least number there is where nothing was deleted.
    pub from_ms: i64,
    /// When the last attempt was admitted, milliseconds since 1970.
    pub last_ms: Option<i64>,
    /// When the first was of which sums are kept.
    pub first_ms: Option<i64>,
    /// How many there are: an estimate, near enough for a graph.
    pub attempts: u64,
    /// What all of the books take on the disk, in bytes.
    pub bytes: u64,
}

/// Something to write.
#[derive(Debug)]
pub enum StoreWork {
    /// An attempt is about to be dispatched.
    Open(Arc<Opening>),
    /// An attempt, which has opened so, has ended.
    Close(Arc<Opening>, Box<Closing>, Vec<Posting>),
    /// Parts of caps to set aside.
    Lease(Vec<Want>),
    /// What is posted in these counters, each in one window, with everything that was handed over before.
    Recall(Vec<(Arc<str>, i64)>),
    /// Leases that are not needed.
    Return(Vec<Posting>),
    /// The counters that are kept from now on. Those that are new begin with what the attempts of their window add up to.
    Define {
        /// All of them.
        counters: Vec<Counter>,
        /// Whose windows run; seconds since 1970.
        now: i64,
    },
    /// Attempts that were admitted before this (milliseconds since 1970, the beginning of a day in UTC) are deleted, the oldest first
    /// and a few at a time, and the sums of their hours. Those of their days stay.
    Expire {
        /// Before when.
        before_ms: i64,
        /// So many attempts at most.
        most: i64,
    },
    /// A few of the sums of windows that have long passed are forgotten ([`super::prune`]).
    Prune {
        /// How far they were looked through.
        pass: Arc<Pass>,
        /// Seconds since 1970.
        now: i64,
    },
    /// A model not to be used on capped keys.
    Freeze(Frozen),
    /// What was learned: names with what is known of them now.
    Learn(Vec<(String, String)>),
    /// Outcomes: each takes the place of an earlier one of the same request, arm and judge.
    Judge(Vec<JudgedAnswer>),
    /// What was measured of requests whose answers may be judged; what is known of one already stays.
    Measure(Vec<MeasuredAsk>),
    /// This process is alive; others that are not any more are swept.
    Beat,
    /// Nothing: everything before it is durable.
    Flush,
    /// For tests: the file may not grow any more (true), or may again.
    PagesMax(bool),
}

/// What came of it.
#[derive(Debug)]
pub enum StoreAnswer {
    /// It is durable.
    Done,
    /// Leases, in this epoch of this process. One that is later than that of the wants has given none.
    Leases(u32, Vec<Given>),
    /// Where new counters begin, or what was asked of some: those that are nothing may be left out.
    Sums(Vec<Sum>),
    /// The store has heard that this process lives.
    Beat {
        /// Its life, as the store counts them: a new one begins when it was taken for dead.
        epoch: u32,
        /// The store's time, milliseconds since 1970.
        now_ms: i64,
        /// Counters of which other processes look for a part.
        wanted: Vec<String>,
        /// What it has charged of what dead processes left open.
        swept: Vec<Swept>,
    },
}

/// The books.
pub trait Store: Send {
    /// Tells whether a commit is in doubt at the moment; a store that is a file of this machine never is.
    fn doubt(&self) -> Arc<Doubt> {
        Arc::default()
    }
    /// Takes the books over for this process at `now_ms`: charges what dead processes left open, and tells what that was.
    ///
    /// # Errors
    /// The store fails.
    fn begin(&mut self, now_ms: i64) -> Result<Vec<Swept>, Error>;
    /// What is read after this is of one moment, whatever others write meanwhile, until it is released. Only for reading.
    ///
    /// # Errors
    /// The store fails.
    fn hold(&mut self) -> Result<(), Error>;
    /// Ends what [`Store::hold`] has begun.
    ///
    /// # Errors
    /// The store fails.
    fn release(&mut self) -> Result<(), Error>;
    /// Writes everything or nothing; durable on return. One answer for each work, in order.
    ///
    /// # Errors
    /// Nothing was written, or nobody knows: then [`Store::commit`] of the same works later changes nothing twice.
    fn commit(&mut self, works: &[&StoreWork]) -> Result<Vec<StoreAnswer>, String>;
    /// The counters that are kept, each or by value.
    ///
    /// # Errors
    /// The store fails.
    fn defined(&mut self) -> Result<Vec<Counter>, Error>;
    /// Every sum that is kept.
    ///
    /// # Errors
    /// The store fails.
    fn sums(&mut self) -> Result<Vec<Sum>, Error>;
    /// Calls `each` with every attempt that was admitted in this time (milliseconds since 1970), oldest first; stops at the first
    /// `false`.
    ///
    /// # Errors
    /// The store fails.
    fn attempts(
        &mut self,
        between: Range<i64>,
        each: &mut dyn FnMut(Attempt) -> bool,
    ) -> Result<(), Error>;
    /// Calls `each` with what the attempts of each group add up to in each of these hours or days that have begun since the first of
    /// these instants and before the second (milliseconds since 1970), with the instant of its beginning. `whole`: the sums of all of
    /// them together will do, with the beginning of any.
    ///
    /// # Errors
    /// The store fails.
    fn rollups(
        &mut self,
        grain: Grain,
        between: Range<i64>,
        whole: bool,
        each: &mut dyn FnMut(i64, &Group<'_>, &Amounts),
    ) -> Result<(), Error>;
    /// What attempts that were deleted had added to counters.
    ///
    /// # Errors
    /// The store fails.
    fn carried(&mut self) -> Result<Vec<Sum>, Error>;
    /// What is kept of the attempts and of their sums.
    ///
    /// # Errors
    /// The store fails.
    fn kept(&mut self) -> Result<Kept, Error>;
    /// The attempts of one request.
    ///
    /// # Errors
    /// The store fails.
    fn request(&mut self, request: &str) -> Result<Vec<Attempt>, Error>;
    /// Leases charged after a crash.
    ///
    /// # Errors
    /// The store fails.
    fn forfeits(&mut self) -> Result<Vec<Forfeit>, Error>;
    /// Books what a bill says of an attempt that was charged at its bound, once.
    ///
    /// # Errors
    /// The store fails.
    fn true_up(&mut self, correction: &Correction) -> Result<TrueUp, Error>;
    /// What was learned, by name.
    ///
    /// # Errors
    /// The store fails.
    fn learned(&mut self) -> Result<Vec<(String, String)>, Error>;
    /// Forgets what was learned; gives how many entries there were.
    ///
    /// # Errors
    /// The store fails.
    fn forget_learned(&mut self) -> Result<u64, Error>;
    /// Calls `each` with every outcome, in the order in which they came.
    ///
    /// # Errors
    /// The store fails.
    fn outcomes(&mut self, each: &mut dyn FnMut(JudgedAnswer)) -> Result<(), Error>;
    /// Keeps outcomes, all or none, as [`StoreWork::Judge`] does: for commands, which own no books.
    ///
    /// # Errors
    /// The store fails.
    fn keep_outcomes(&mut self, outcomes: &[JudgedAnswer]) -> Result<(), Error>;
    /// Calls `each` with what was measured of each request, in the order in which they came.
    ///
    /// # Errors
    /// The store fails.
    fn asks(&mut self, each: &mut dyn FnMut(MeasuredAsk)) -> Result<(), Error>;
    /// Keeps what was measured of requests, as [`StoreWork::Measure`] does: for commands.
    ///
    /// # Errors
    /// The store fails.
    fn keep_asks(&mut self, asks: &[MeasuredAsk]) -> Result<(), Error>;
    /// What was learned under this name.
    ///
    /// # Errors
    /// The store fails.
    fn learned_as(&mut self, name: &str) -> Result<Option<String>, Error>;
    /// Keeps what was learned under these names, all or none, as [`StoreWork::Learn`] does; what is under the first of them must be `expected` still.
    /// Gives whether it was.
    ///
    /// # Errors
    /// The store fails.
    fn learn(
        &mut self,
        entries: &[(String, String)],
        expected: Option<&str>,
    ) -> Result<bool, Error>;
    /// Forgets all outcomes, and what was measured for them; gives how many there were.
    ///
    /// # Errors
    /// The store fails.
    fn forget_outcomes(&mut self) -> Result<u64, Error>;
    /// The models that are frozen.
    ///
    /// # Errors
    /// The store fails.
    fn frozen(&mut self) -> Result<Vec<Frozen>, Error>;
    /// Allows a frozen model again; false if it was not frozen.
    ///
    /// # Errors
    /// The store fails.
    fn unfreeze(&mut self, provider: &str, model: &str) -> Result<bool, Error>;
    /// Every key, oldest first.
    ///
    /// # Errors
    /// The store fails.
    fn keys(&mut self) -> Result<Vec<Key>, Error>;
    /// Does something with a key, and notes it in the audit log as the deed of `who` at `at_ms` (milliseconds since 1970): both or
    /// neither. Gives the key as it is now.
    ///
    /// # Errors
    /// As [`KeyAct::applied`], or the store fails.
    fn act(&mut self, who: &str, at_ms: i64, act: &KeyAct) -> Result<Key, Error>;
    /// Notes a deed in the audit log, and gives its number and seal.
    ///
    /// # Errors
    /// The store fails.
    fn note(&mut self, deed: &Deed) -> Result<(i64, [u8; 32]), Error>;
    /// Calls `each` with every entry of the audit log after the one with this number, oldest first; stops at the first `false`.
    ///
    /// # Errors
    /// The store fails.
    fn audit(&mut self, after: i64, each: &mut dyn FnMut(Entry) -> bool) -> Result<(), Error>;
    /// The last entry of the audit log that says `what` was done.
    ///
    /// # Errors
    /// The store fails.
    fn last_deed(&mut self, what: &str) -> Result<Option<Entry>, Error>;
    /// The sessions that are stopped.
    ///
    /// # Errors
    /// The store fails.
    fn stopped(&mut self) -> Result<Vec<StoppedSession>, Error>;
    /// Stops a session, or resumes it, and notes it in the audit log as the deed of `who` at `at_ms`: both or neither. False where it is so
    /// already.
    ///
    /// # Errors
    /// The store fails.
    fn stop_session(
        &mut self,
        who: &str,
        at_ms: i64,
        session: &StoppedSession,
        stops: bool,
    ) -> Result<bool, Error>;
    /// Stores a new key; its `id` is ignored and the real one returned.
    ///
    /// # Errors
    /// The name is taken, or the store fails.
    fn create_key(&mut self, key: &Key) -> Result<i64, Error> {
        let act = KeyAct::Create(Box::new(key.clone()));
        Ok(self.act(HERE, now_ms(), &act)?.id)
    }
    /// Revokes a key by name; it stays in the books and frees its name.
    ///
    /// # Errors
    /// No such key, or the store fails.
    fn revoke_key(&mut self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.act(HERE, now_ms(), &KeyAct::Revoke { name })?;
        Ok(())
    }
    /// Gives a key a new secret; the old one works until `old_until`, seconds since 1970.
    ///
    /// # Errors
    /// No such key, or the store fails.
    fn rotate_key(&mut self, name: &str, hash: &[u8; 32], old_until: i64) -> Result<(), Error> {
        let (name, hash) = (name.to_owned(), *hash);
        let act = KeyAct::Rotate {
            name,
            hash,
            old_until,
        };
        self.act(HERE, now_ms(), &act)?;
        Ok(())
    }
}

/// Whose deed it is where nobody says.
const HERE: &str = "this process";

/// The secrets of a key from before rotations as they are stored: pairs of a hash in hexadecimal digits and an instant.
pub(crate) fn old_text(old: &[([u8; 32], i64)]) -> String {
    let hex = |hash: &[u8; 32]| {
        hash.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let pairs: Vec<(String, i64)> = old
        .iter()
        .map(|(hash, until)| (hex(hash), *until))
        .collect();
    serde_json::to_string(&pairs).expect("texts and numbers are JSON")
}

/// Those of their stored text; what cannot be read is no secret.
pub(crate) fn old_read(text: &str) -> Vec<([u8; 32], i64)> {
    let pairs: Vec<(String, i64)> = serde_json::from_str(text).unwrap_or_default();
    let read = |(hex, until): (String, i64)| Some((hash_read(&hex)?, until));
    pairs.into_iter().filter_map(read).collect()
}

/// A hash from its 64 hexadecimal digits.
pub(crate) fn hash_read(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
    }
    Some(hash)
}

/// The caps of a key as they are stored: each as [`Cap::text`] writes it.
pub(crate) fn caps_text(caps: &[Cap]) -> String {
    let texts: Vec<String> = caps.iter().map(Cap::text).collect();
    serde_json::to_string(&texts).expect("texts are JSON")
}

/// The caps of key `id` from their stored texts.
pub(crate) fn caps_read(id: i64, text: &str) -> Result<Vec<Cap>, String> {
    let texts: Vec<String> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    texts
        .iter()
        .map(|t| Cap::parse(t).map(|c| c.for_key(id)))
        .collect()
}
