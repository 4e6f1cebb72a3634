//! The one thread that writes: takes everything that waits, commits it at once, then answers.

use super::super::{Closing, Facts};
use super::queue::{Queue, Taker};
use super::{integer, sql};
use crate::error::Error;
use crate::ledger::balance::{Node, Place};
use crate::money::PicoUsd;
use rusqlite::{Connection, Transaction, params};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Rows that may wait for the disk before new requests are refused (about 1 KB each).
const BACKLOG_MAX: usize = 50_000;
/// Rows in one commit: about 80 ms of work. With a fifth of that a thread that is seldom given the processor could not keep up
/// with 20,000 requests a second, and the backlog filled.
const BATCH_MAX: usize = 10_000;
/// How long to wait before a failed commit is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// How long rows that nobody waits for are gathered before they are committed together.
const GATHER: Duration = Duration::from_millis(10);

/// Something to write.
#[derive(Debug)]
pub enum Op {
    /// An attempt is about to be dispatched. The answer comes when it is durable; without a channel nobody waits.
    Open(Box<Facts>, Option<oneshot::Sender<Result<(), String>>>),
    /// An attempt has ended; its cost counts in these windows.
    Close(Box<Closing>, Vec<Place>),
    /// Answers when everything before it is durable.
    Flush(oneshot::Sender<()>),
    /// For tests: the file may not grow any more (true), or may again.
    PagesMax(bool, oneshot::Sender<()>),
}

impl Op {
    /// Somebody waits until it is done.
    pub(super) fn is_awaited(&self) -> bool {
        !matches!(self, Op::Open(_, None) | Op::Close(..))
    }
}

/// A handle to the writer thread.
#[derive(Debug)]
pub struct Writer {
    queue: Arc<Queue>,
    waiting: Arc<AtomicUsize>,
    failing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread on its own connection.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(db: Connection) -> Result<Writer, Error> {
        let (queue, taker) = Queue::new(GATHER);
        let (waiting, failing) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let state = State {
            db,
            waiting: waiting.clone(),
            failing: failing.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || state.run(&taker))
            .map_err(|e| super::failed(format!("cannot start the ledger thread: {e}")))?;
        Ok(Writer {
            queue,
            waiting,
            failing,
            thread: Some(thread),
        })
    }

    /// Hands an operation over; never blocks.
    pub fn send(&self, op: Op) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if !self.queue.send(op) {
            self.failing.store(true, Ordering::Relaxed);
        }
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
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has shown itself already; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

struct State {
    db: Connection,
    waiting: Arc<AtomicUsize>,
    failing: Arc<AtomicBool>,
}

impl State {
    fn run(mut self, taker: &Taker) {
        let mut kept: Vec<Op> = Vec::new();
        loop {
            let patience = (!kept.is_empty()).then_some(RETRY);
            let going = taker.take(&mut kept, BATCH_MAX, patience);
            self.commit(&mut kept);
            if !going {
                // One more try was just made; what the disk still refuses is charged at the bound by the next start's sweep.
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

    /// Writes `ops` in one transaction. On failure whoever waits is told, and what must not be lost stays in `ops`.
    fn commit(&mut self, ops: &mut Vec<Op>) {
        if ops.is_empty() {
            return;
        }
        for op in ops.iter() {
            if let Op::PagesMax(full, _) = op {
                limit_pages(&self.db, *full);
            }
        }
        let outcome = write(&mut self.db, ops);
        let before = ops.len();
        match outcome {
            Ok(()) => {
                self.failing.store(false, Ordering::Relaxed);
                for op in ops.drain(..) {
                    match op {
                        // Nobody may be waiting any more; then the reservation closes itself.
                        Op::Open(_, Some(done)) => drop(done.send(Ok(()))),
                        Op::Flush(done) | Op::PagesMax(_, done) => drop(done.send(())),
                        Op::Open(_, None) | Op::Close(..) => {}
                    }
                }
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "the ledger cannot write; no new request is admitted until it can");
                }
                let text = error.to_string();
                *ops = ops
                    .drain(..)
                    .filter_map(|op| refuse_or_keep(op, &text))
                    .collect();
            }
        }
        self.waiting
            .fetch_sub(before - ops.len(), Ordering::Relaxed);
    }
}

/// An attempt that waits to be dispatched is refused and forgotten; what has happened already is kept.
fn refuse_or_keep(op: Op, why: &str) -> Option<Op> {
    match op {
        Op::Open(_, Some(done)) => {
            drop(done.send(Err(why.to_owned())));
            None
        }
        kept => Some(kept),
    }
}

/// SQLite answers SQLITE_FULL past this many pages, as it does on a full disk.
fn limit_pages(db: &Connection, full: bool) {
    let limit = |pages: i64| {
        db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| {
            row.get::<_, i64>(0)
        })
    };
    // The least that SQLite accepts is the file's present size; a wide row then needs a page more.
    let _ = limit(if full { 1 } else { 4_294_967_294 });
}

fn write(db: &mut Connection, ops: &[Op]) -> rusqlite::Result<()> {
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut spent: BTreeMap<Place, PicoUsd> = BTreeMap::new();
    for op in ops {
        match op {
            Op::Open(facts, _) => insert(&tx, facts)?,
            Op::Close(closing, places) => {
                // Only an open row can be closed: a second close changes nothing and spends nothing.
                if close(&tx, closing)? == 1 && closing.cost != PicoUsd::ZERO {
                    for place in places {
                        *spent.entry(*place).or_default() += closing.cost;
                    }
                }
            }
            Op::Flush(_) | Op::PagesMax(..) => {}
        }
    }
    for (place, amount) in spent {
        add_spent(&tx, place, amount)?;
    }
    tx.commit()
}

fn insert(tx: &Transaction<'_>, f: &Facts) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO attempt (attempt, request, at_ms, key, provider, model, effort, tier, task, rule, difficulty_milli, dialect, simulated, bound, catalogue)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        f.attempt, f.request, f.at_ms, f.key, f.provider, f.model, f.effort, f.tier, f.task, f.rule, f.difficulty_milli,
        f.dialect, f.simulated, integer(f.bound)?, f.catalogue
    ])
    .map(drop)
}

fn close(tx: &Transaction<'_>, c: &Closing) -> rusqlite::Result<usize> {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let u = &c.usage;
    tx.prepare_cached(
        "UPDATE attempt SET outcome = ?2, basis = ?3, cost = ?4, baseline = ?5, reported_cost = ?6, excess = ?7,
         input = ?8, cached = ?9, cache_write = ?10, cache_write_long = ?11, output = ?12, reasoning = ?13
         WHERE attempt = ?1 AND outcome IS NULL",
    )?
    .execute(params![
        c.attempt, c.outcome, c.basis, integer(c.cost)?, integer(c.baseline)?,
        u.reported_cost.map(integer).transpose()?, integer(c.excess)?,
        count(u.input), count(u.cached), count(u.cache_write), count(u.cache_write_long), count(u.output), count(u.reasoning)
    ])
}

/// The number of a node in the `spent` table: 0 is everybody, a key is its row.
pub(super) fn node_number(node: Node) -> i64 {
    match node {
        Node::Global => 0,
        Node::Key(id) => id,
    }
}

fn add_spent(tx: &Transaction<'_>, place: Place, amount: PicoUsd) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO spent (node, window, id, posted) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (node, window, id) DO UPDATE SET posted = posted + excluded.posted",
    )?
    .execute(params![
        node_number(place.node),
        place.window.name(),
        place.id,
        integer(amount)?
    ])
    .map(drop)
}

/// Charges every attempt that was left open at its bound: its owner is gone, its outcome unknown. Returns how many.
pub(super) fn sweep(db: &mut Connection, path: &std::path::Path) -> Result<usize, Error> {
    let open = super::read::open_attempts(db).map_err(sql(path))?;
    let ops: Vec<Op> = open
        .into_iter()
        .map(|(attempt, bound, places)| {
            let closing = Closing {
                attempt,
                cost: bound,
                baseline: bound,
                usage: crate::chat::Usage::default(),
                basis: "bound",
                outcome: "crash",
                excess: bound,
            };
            Op::Close(Box::new(closing), places)
        })
        .collect();
    if !ops.is_empty() {
        write(db, &ops).map_err(sql(path))?;
    }
    Ok(ops.len())
}
