//! Where batches that are worked on are known: the room that is kept for their lines, who works on which, and the way to what is kept.

use crate::batch::collecting::Pool;
use crate::batch::{BatchRow, FileRow, LineState, Settings};
use crate::dialect::batch::BatchState;
use crate::error::{Error, Kind};
use crate::ledger::record::crashed;
use crate::ledger::store::batches::{Batches as Store, Claim};
use crate::ledger::{CommonOpenings, CompactReservation};
use crate::ledger::{HeldRoom, Reservation, Settings as Books, books, now, now_ms};
use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};

/// A claim holds for so many seconds at least, which is how the clock of claims counts.
const CLAIM_MIN: u64 = 2;
/// What is under way when the process ends is waited for so long.
const STOP: Duration = Duration::from_secs(3);
/// Batches whose lines are read at once: each holds a page of them.
const READ_AT_ONCE: usize = 2;

/// An upload takes no longer, in milliseconds.
const UPLOAD_MS: i64 = 24 * 3_600_000;

/// The room for one line.
pub(super) enum Room {
    /// Kept in memory: nothing of it has gone out.
    Held(HeldRoom),
    /// In the books: it has gone out, or may have.
    Open(Reservation),
}

/// The room of one batch's lines, in few bytes each: a batch has a hundred thousand of them, for as long as its vendors take.
#[derive(Default)]
struct Rooms {
    known: CommonOpenings,
    lines: BTreeMap<i64, CompactReservation>,
}

/// How far the process is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::exchange) enum Stopping {
    /// It goes on.
    No,
    /// Nothing new is begun.
    Soon,
    /// What is under way is broken off.
    Now,
}

impl Stopping {
    /// What is under way is broken off.
    pub(in crate::exchange) fn is_now(self) -> bool {
        self == Stopping::Now
    }
}

/// Everything about batches that this process knows.
pub struct Batches {
    /// How they are kept.
    pub settings: ArcSwap<Settings>,
    books: Books,
    store: Arc<tokio::sync::Mutex<Option<Store>>>,
    rooms: Mutex<HashMap<String, Rooms>>,
    /// Bytes of files that are being taken, by key.
    uploading: Mutex<HashMap<i64, i64>>,
    worked_on: Mutex<HashMap<String, Arc<Notify>>>,
    telemetry: Arc<Telemetry>,
    /// Alive as long as somebody works on a batch.
    pub(in crate::exchange) alive: Arc<()>,
    stopping: watch::Sender<Stopping>,
    /// Whose lines are read.
    pub(super) reading: Semaphore,
    /// The batches that collect requests which wait.
    pub(super) pools: tokio::sync::Mutex<HashMap<String, Pool>>,
    /// Told when requests that wait may have come to their end.
    pub moved: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Batches {
    /// Those that are kept beside these books.
    #[must_use]
    pub fn new(settings: Settings, books: Books, telemetry: Arc<Telemetry>) -> Batches {
        Batches {
            settings: ArcSwap::from_pointee(settings),
            store: Arc::default(),
            rooms: Mutex::default(),
            uploading: Mutex::default(),
            worked_on: Mutex::default(),
            telemetry,
            books,
            alive: Arc::new(()),
            stopping: watch::channel(Stopping::No).0,
            reading: Semaphore::new(READ_AT_ONCE),
            pools: tokio::sync::Mutex::default(),
            moved: Notify::new(),
        }
    }

    /// Does something with what is kept, on a thread that may wait.
    ///
    /// # Errors
    /// It cannot be opened, or the work fails.
    pub async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut kept = Arc::clone(&self.store).lock_owned().await;
        let books = self.books.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut store = match kept.take() {
                Some(store) => store,
                None => books::batches(&books)?,
            };
            let outcome = work(&mut store);
            *kept = Some(store);
            outcome
        });
        done.await.map_err(|e| {
            Error::new(Kind::Internal, "batches cannot be kept").detail(e.to_string())
        })?
    }

    /// Takes a batch for a worker, or lets it go on having it.
    pub(super) async fn claim(&self, claim: &Claim) -> Result<bool, Error> {
        let (claim, until) = (claim.clone(), self.claimed_until());
        // An embedded ledger has one process at a time, in which nobody else works on a batch: whoever had it before is gone.
        let over = match self.books.shared {
            Some(_) => now(),
            None => i64::MAX,
        };
        self.with(move |store| store.claim(&claim, over, until))
            .await
    }

    /// Lets a worker go on having a batch, if it has it.
    pub(super) async fn keep_claim(&self, claim: &Claim) -> Result<bool, Error> {
        let (claim, until) = (claim.clone(), self.claimed_until());
        self.with(move |store| store.claim(&claim, i64::MIN, until))
            .await
    }

    /// Until when a claim holds that is made now.
    pub(super) fn claimed_until(&self) -> i64 {
        now() + i64::try_from(self.claim_time().as_secs()).unwrap_or(60)
    }

    /// So many bytes more of a file of this key's are being taken. Gives how many are on their way now, those of its other files among them.
    pub(super) fn takes(&self, key: i64, bytes: i64) -> i64 {
        let mut uploading = lock(&self.uploading);
        let sum = uploading.entry(key).or_default();
        *sum = sum.saturating_add(bytes);
        let now = *sum;
        if now <= 0 {
            uploading.remove(&key);
        }
        now
    }

    /// A process that has a batch and says nothing for so long has died.
    pub(in crate::exchange) fn claim_time(&self) -> Duration {
        self.books
            .replica_timeout
            .max(Duration::from_secs(CLAIM_MIN))
    }

    /// A line has ended.
    pub(super) fn note(&self, state: LineState) {
        self.telemetry.batch_line(state);
    }

    /// Somebody begins to work on a batch, unless somebody here does already. Gives what wakes them.
    pub(super) fn begins(&self, id: &str) -> Option<Arc<Notify>> {
        let mut all = lock(&self.worked_on);
        if all.contains_key(id) {
            return None;
        }
        let wake = Arc::new(Notify::new());
        all.insert(id.to_owned(), Arc::clone(&wake));
        Some(wake)
    }

    /// Nobody works on it any more.
    pub(super) fn ends(&self, id: &str) {
        lock(&self.worked_on).remove(id);
        let rooms = lock(&self.rooms).remove(id).unwrap_or_default();
        if rooms.lines.values().any(CompactReservation::is_dispatched) {
            tracing::error!(
                batch = id,
                "a line is still reserved although its batch is over"
            );
        }
    }

    /// Nobody works on it for a moment, and what is reserved for it stays so: somebody else begins.
    pub(super) fn hands_over(&self, id: &str) {
        lock(&self.worked_on).remove(id);
    }

    /// Whoever works on it looks at it now.
    pub(super) fn wake(&self, id: &str) {
        if let Some(wake) = lock(&self.worked_on).get(id) {
            wake.notify_one();
        }
    }

    pub(super) fn keep_room(&self, batch: &str, n: i64, room: Room) {
        let mut rooms = lock(&self.rooms);
        if !rooms.contains_key(batch) {
            rooms.insert(batch.to_owned(), Rooms::default());
        }
        let Some(Rooms { known, lines }) = rooms.get_mut(batch) else {
            return;
        };
        let compact = match room {
            Room::Held(room) => room.compact(known),
            Room::Open(reservation) => reservation.compact(known),
        };
        let before = lines.insert(n, compact);
        drop(rooms);
        // Its end takes a lock of its own.
        drop(before);
    }

    pub(super) fn take_room(&self, batch: &str, n: i64) -> Option<Room> {
        let compact = lock(&self.rooms).get_mut(batch)?.lines.remove(&n)?;
        Some(match compact.is_dispatched() {
            true => Room::Open(compact.reservation()),
            false => Room::Held(compact.held()),
        })
    }

    pub(super) fn has_room(&self, batch: &str, n: i64) -> bool {
        let rooms = lock(&self.rooms);
        rooms
            .get(batch)
            .is_some_and(|rooms| rooms.lines.contains_key(&n))
    }

    /// The attempt for which the room of a line is kept.
    pub(super) fn attempt(&self, batch: &str, n: i64) -> Option<String> {
        let rooms = lock(&self.rooms);
        let room = rooms.get(batch)?.lines.get(&n)?;
        Some(room.attempt())
    }

    /// The answer tokens that the room of a line covers, before anything of it has gone out.
    pub(super) fn tokens(&self, batch: &str, n: i64) -> u64 {
        let rooms = lock(&self.rooms);
        let room = rooms.get(batch).and_then(|rooms| rooms.lines.get(&n));
        room.filter(|room| !room.is_dispatched())
            .map_or(0, CompactReservation::tokens)
    }

    /// Another process has the batch, or this one has lost its way in it: what has gone out is charged at its bound, as after a crash, and
    /// corrected by whoever hears what came of it.
    pub(super) fn lose(&self, id: &str) {
        let rooms = lock(&self.rooms).remove(id).unwrap_or_default();
        for room in rooms.lines.into_values() {
            if room.is_dispatched() {
                let reservation = room.reservation();
                let closing = crashed(reservation.opening());
                reservation.post(closing);
            }
        }
    }

    /// Gives the room of a batch back of which nothing has gone out.
    pub(super) fn give_back(&self, batch: &str) {
        let mut rooms = lock(&self.rooms);
        let Some(of_batch) = rooms.get_mut(batch) else {
            return;
        };
        let lines = std::mem::take(&mut of_batch.lines);
        let (open, held): (BTreeMap<_, _>, BTreeMap<_, _>) = lines
            .into_iter()
            .partition(|(_, room)| room.is_dispatched());
        of_batch.lines = open;
        drop(rooms);
        drop(held);
    }

    /// Nothing new is begun: the process is about to end.
    pub fn stop_soon(&self) {
        self.stopping.send_replace(Stopping::Soon);
    }

    pub(in crate::exchange) fn stopping(&self) -> watch::Receiver<Stopping> {
        self.stopping.subscribe()
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stopping.borrow() != Stopping::No
    }

    async fn all_left(&self) {
        while Arc::strong_count(&self.alive) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The process ends: what has gone out stays open in the books, for whoever hears what came of it.
    pub async fn stop(&self) {
        self.stop_soon();
        if tokio::time::timeout(STOP, self.all_left()).await.is_err() {
            self.stopping.send_replace(Stopping::Now);
            let _ = tokio::time::timeout(STOP, self.all_left()).await;
        }
        self.leave();
    }

    fn leave(&self) {
        let all: Vec<Rooms> = lock(&self.rooms).drain().map(|(_, rooms)| rooms).collect();
        for room in all.into_iter().flat_map(|rooms| rooms.lines.into_values()) {
            if room.is_dispatched() {
                room.reservation().leave();
            }
        }
    }

    /// A batch of this key.
    pub(super) async fn own(&self, key: i64, id: &str) -> Result<Option<BatchRow>, Error> {
        let id = id.to_owned();
        let found = self.with(move |store| store.batch(&id)).await?;
        Ok(found.filter(|batch| batch.key == key))
    }

    /// A file of this key.
    pub(super) async fn own_file(&self, key: i64, id: &str) -> Result<Option<FileRow>, Error> {
        let id = id.to_owned();
        self.with(move |store| store.file(key, &id)).await
    }

    /// A batch stands otherwise from now on, unless it has changed meanwhile. Gives whether it does.
    pub(super) async fn change(
        &self,
        claim: Option<&Claim>,
        batch: &BatchRow,
        was: BatchState,
    ) -> Result<bool, Error> {
        let (claim, row) = (claim.cloned(), batch.clone());
        let changed = self
            .with(move |store| store.change(claim.as_ref(), &row, was))
            .await?;
        if changed && batch.state != was {
            tracing::info!(
                batch = batch.id,
                from = was.name(),
                to = batch.state.name(),
                "a batch has changed"
            );
            if !batch.is_passed() {
                self.telemetry.batch(batch.state);
            }
        }
        Ok(changed)
    }

    /// The lines of a batch whose askers want no answer any more.
    pub(super) async fn gone(&self, batch: &BatchRow) -> Result<Vec<i64>, Error> {
        if batch.doc.collects_until.is_none() {
            return Ok(Vec::new());
        }
        let id = batch.id.clone();
        self.with(move |store| store.gone(&id)).await
    }

    /// Another process has this batch: nobody joins it here, and no room is kept here for who has.
    pub(super) async fn is_anothers(&self, id: &str) {
        self.pools.lock().await.retain(|_, pool| pool.id != id);
        self.give_back(id);
    }

    /// Forgets what has been kept long enough, and pieces of files that never became whole.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn tidy(&self) -> Result<(), Error> {
        let keep = self.settings.load().keep_for.as_secs();
        let before = now() - i64::try_from(keep).unwrap_or(i64::MAX / 2);
        // The ids of files begin with the time at which they were made.
        let broken = now_ms().saturating_sub(UPLOAD_MS);
        let broken = format!("{}{broken:012x}", super::FILE_PREFIX);
        self.with(move |store| {
            store.delete_broken(super::FILE_PREFIX, &broken)?;
            let (files, batches) = store.outdated(now(), before)?;
            for id in files {
                store.delete_file(&id)?;
            }
            for id in batches {
                store.delete(&id)?;
            }
            Ok(())
        })
        .await
    }

    /// The batches that are not over, to be worked on.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn live(&self) -> Result<Vec<String>, Error> {
        self.with(Store::live).await
    }
}

impl Drop for Batches {
    /// PostgreSQL's driver waits while it closes a connection, which no thread may do that drives asynchronous tasks.
    fn drop(&mut self) {
        let Ok(mut kept) = self.store.try_lock() else {
            return;
        };
        if let Some(store) = kept.take() {
            let thread = std::thread::Builder::new().name("batches-close".into());
            if let Err(error) = thread.spawn(move || drop(store)) {
                tracing::warn!(%error, "no thread can be started to close what is kept of batches");
            }
        }
    }
}
