//! The one thread that writes: takes everything that waits, commits it at once, then answers.

use super::queue::{Awaited, Crowd, Queue, Taker};
use super::store::doubt::Doubt;
use super::store::{Store, StoreAnswer, StoreWork};
use crate::error::{Error, Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Rows that may wait for the disk before new requests are refused (about 1 KB each).
const BACKLOG_MAX: usize = 50_000;
/// Rows in one commit: about 80 ms of work. With a fifth of that a thread that is seldom given the processor could not keep up
/// with 20,000 requests a second, and the backlog filled.
const BATCH_MAX: usize = 10_000;
/// How long to wait before a failed commit is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// Those who were answered together are waited for by this part of the time that their commit took, at most: an eighth of it can save
/// those who come a little late a whole commit.
const CROWD_PART: u32 = 8;
/// However long it took.
const CROWD_WAIT_MAX: Duration = Duration::from_millis(5);
/// How long rows that nobody waits for are gathered before they are committed together: a commit costs about as much as a hundred rows
/// do, and what a crash may lose of uncapped traffic is the rows of this time.
const GATHER: Duration = Duration::from_millis(50);

/// Who waits for a work, if anybody does.
pub type Waiting = oneshot::Sender<Result<StoreAnswer, String>>;

/// A work and who waits for it.
struct Item {
    work: StoreWork,
    done: Option<Waiting>,
}

/// A handle to the writer thread.
#[derive(Debug)]
pub struct Writer {
    queue: Arc<Queue<Item>>,
    waiting: Arc<AtomicUsize>,
    failing: Arc<AtomicBool>,
    began: Instant,
    /// Since when something waits, in milliseconds after `began`.
    since: Arc<AtomicU64>,
    doubt: Arc<Doubt>,
    thread: Option<JoinHandle<()>>,
}

impl Awaited for Item {
    fn is_awaited(&self) -> bool {
        self.done.is_some()
    }
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.work.fmt(f)
    }
}

impl Writer {
    /// Starts the thread on its own store.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(store: Box<dyn Store>) -> Result<Writer, Error> {
        let (queue, taker) = Queue::new(GATHER);
        let (waiting, failing) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (began, since) = (Instant::now(), Arc::<AtomicU64>::default());
        let doubt = store.doubt();
        let state = WriterState {
            store,
            waiting: waiting.clone(),
            failing: failing.clone(),
            began,
            since: since.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || state.run(&taker))
            .map_err(|e| {
                Error::new(Kind::Internal, "the ledger is not available")
                    .detail(format!("cannot start the ledger thread: {e}"))
            })?;
        Ok(Writer {
            queue,
            waiting,
            failing,
            began,
            since,
            doubt,
            thread: Some(thread),
        })
    }

    /// Hands a work over; never blocks. Nobody waits for it.
    pub fn send(&self, work: StoreWork) {
        self.put(Item { work, done: None });
    }

    /// Hands a work over and gives what tells that it is durable, or that it never will be.
    pub fn ask(&self, work: StoreWork) -> oneshot::Receiver<Result<StoreAnswer, String>> {
        let (done, told) = oneshot::channel();
        self.put(Item {
            work,
            done: Some(done),
        });
        told
    }

    fn put(&self, item: Item) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) == 0 {
            self.since
                .store(ms(self.began.elapsed()), Ordering::Relaxed);
        }
        if !self.queue.send(item) {
            self.failing.store(true, Ordering::Relaxed);
        }
    }

    /// How old the oldest write is that is not durable yet.
    #[must_use]
    pub fn lag(&self) -> Duration {
        let since = Duration::from_millis(self.since.load(Ordering::Relaxed));
        match self.waiting.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            _ => self.began.elapsed().saturating_sub(since),
        }
    }

    /// Nobody knows at the moment whether a commit took place, and nothing is written before somebody does.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        self.doubt.is_open()
    }

    /// The backlog is short.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < BACKLOG_MAX
    }

    /// New work may be admitted: the last commit went well and the backlog is short.
    #[must_use]
    pub fn healthy(&self) -> bool {
        !self.failing.load(Ordering::Relaxed) && self.waiting.load(Ordering::Relaxed) < BACKLOG_MAX
    }
}

impl Drop for Writer {
    /// Ends the thread after everything that was handed over is written.
    fn drop(&mut self) {
        self.queue.close();
        self.doubt.leave();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has shown itself already; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

struct WriterState {
    store: Box<dyn Store>,
    waiting: Arc<AtomicUsize>,
    failing: Arc<AtomicBool>,
    began: Instant,
    since: Arc<AtomicU64>,
}

impl WriterState {
    fn run(mut self, taker: &Taker<Item>) {
        let mut kept: Vec<Item> = Vec::new();
        let mut crowd = Crowd::default();
        loop {
            let patience = (!kept.is_empty()).then_some(RETRY);
            let going = taker.take(&mut kept, BATCH_MAX, patience, crowd);
            let began = Instant::now();
            let taken = ms(began.saturating_duration_since(self.began));
            let awaited = |kept: &[Item]| kept.iter().filter(|item| item.is_awaited()).count();
            let before = awaited(&kept);
            self.commit(&mut kept);
            if kept.is_empty() {
                // What waits now has come since.
                self.since.fetch_max(taken, Ordering::Relaxed);
            }
            // Those who still wait are here already.
            let expected = before - awaited(&kept);
            if expected > 0 {
                let within = (began.elapsed() / CROWD_PART).min(CROWD_WAIT_MAX);
                crowd = Crowd { expected, within };
            }
            if !going {
                // One more try was just made; what the store still refuses is charged at the bound by the next sweep.
                if !kept.is_empty() {
                    tracing::error!(
                        rows = kept.len(),
                        "the ledger could not write its last rows"
                    );
                }
                return;
            }
        }
    }

    /// Writes `items` in one transaction. On failure whoever waits is told, and what must not be lost stays in `items`.
    fn commit(&mut self, items: &mut Vec<Item>) {
        if items.is_empty() {
            return;
        }
        let works: Vec<&StoreWork> = items.iter().map(|i| &i.work).collect();
        let outcome = self.store.commit(&works);
        let before = items.len();
        match outcome {
            Ok(answers) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the ledger can write again");
                }
                for (item, answer) in items.drain(..).zip(answers) {
                    if let Some(done) = item.done {
                        // Nobody may be waiting any more; then a reservation closes itself and a lease comes back when idle.
                        drop(done.send(Ok(answer)));
                    }
                }
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "the ledger cannot write; no new request is admitted until it can");
                }
                *items = items
                    .drain(..)
                    .filter_map(|item| refuse_or_keep(item, &error))
                    .collect();
            }
        }
        self.waiting
            .fetch_sub(before - items.len(), Ordering::Relaxed);
    }
}

/// Saturates after 584 million years.
fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What can be asked for again is refused and forgotten: an attempt that waits to be dispatched, a lease, counters, what users have spent, feedback, which old sums
/// may go. What has happened already is kept.
fn refuse_or_keep(item: Item, why: &str) -> Option<Item> {
    match (item.work, item.done) {
        (
            StoreWork::Open(_)
            | StoreWork::Lease(_)
            | StoreWork::Define { .. }
            | StoreWork::Recall(_)
            | StoreWork::Judge(_),
            Some(done),
        ) => {
            drop(done.send(Err(why.to_owned())));
            None
        }
        (StoreWork::Beat, done) => {
            drop(done.map(|done| done.send(Err(why.to_owned()))));
            None
        }
        // The next one looks at the same sums.
        (StoreWork::Prune { .. }, _) => None,
        (work, done) => Some(Item { work, done }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn while_the_store_is_away_steps_through_old_sums_do_not_pile_up() {
        let prune = StoreWork::Prune {
            pass: Arc::default(),
            now: 0,
        };
        let kept = |work| refuse_or_keep(Item { work, done: None }, "away").is_some();
        assert!(!kept(prune) && kept(StoreWork::Learn(Vec::new())));
    }
}
