//! Where tokens are counted: on a few threads of its own, so that a thousand ends at once take neither the machine nor the caches
//! that a tokenizer keeps for every thread that uses it.
//!
//! Who waits for a count (an admission) comes before what is counted for the books. What waits for the books holds its request's
//! body, so that only so much of it may wait; what comes beyond that is told to do with an upper bound instead.

use crate::tokens;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Half of the processors count at most, and never more than four: the other half is for traffic, and a burst of ends can wait.
const THREADS_MAX: usize = 4;
/// Bytes that may wait to be counted for the books: a second or two of counting for one thread.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// An encoding that nobody has needed for so long is let go: it takes more memory than all else in a process with little to do.
const ENCODING_KEPT: Duration = Duration::from_secs(60);

/// How closely to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// By a tokenizer.
    Exact,
    /// One token a byte, which is never too few: too much waits to be counted already.
    Bound,
}

impl Measure {
    /// The tokens of this text.
    #[must_use]
    pub fn tokens(self, text: &str) -> u64 {
        match self {
            Measure::Exact => tokens::count(text),
            Measure::Bound => tokens::bound(text.len()),
        }
    }
}

/// Counts for somebody who waits; `None` where the count has failed.
pub async fn now<T: Send + 'static>(count: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = oneshot::channel();
    let count = move || {
        // Who has gone away meanwhile needs no count.
        if !tell.is_closed() {
            let _ = tell.send(count());
        }
    };
    pool().push_now(Box::new(count));
    told.await.ok()
}

/// Counts for the books, when there is time; `bytes` is how much there is to count.
pub fn later(bytes: usize, count: impl FnOnce(Measure) + Send + 'static) {
    // What closes an attempt may want the runtime that it was begun in.
    let runtime = Handle::try_current().ok();
    let count = move |measure| {
        let _within = runtime.as_ref().map(Handle::enter);
        count(measure);
    };
    if let Err(count) = pool().push_later(bytes, Box::new(count)) {
        count(Measure::Bound);
    }
}

fn pool() -> &'static Arc<Pool> {
    static POOL: OnceLock<Arc<Pool>> = OnceLock::new();
    POOL.get_or_init(|| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Pool::start((processors / 2).clamp(1, THREADS_MAX), WAITING_BYTES_MAX)
    })
}

type Now = Box<dyn FnOnce() + Send>;
type Later = Box<dyn FnOnce(Measure) + Send>;

/// The threads and what waits for them.
struct Pool {
    waiting: Mutex<Waiting>,
    something: Condvar,
    bytes_max: usize,
}

#[derive(Default)]
struct Waiting {
    now: VecDeque<Now>,
    later: VecDeque<(usize, Later)>,
    /// Of all that is counted for the books, also of what is being counted.
    bytes: usize,
    /// No thread could be started, so nothing may wait.
    alone: bool,
}

impl Pool {
    fn start(threads: usize, bytes_max: usize) -> Arc<Pool> {
        let pool = Arc::new(Pool {
            waiting: Mutex::default(),
            something: Condvar::new(),
            bytes_max,
        });
        let start = |_: &usize| {
            let pool = pool.clone();
            let thread = std::thread::Builder::new().name("counting".into());
            thread.spawn(move || pool.work()).is_ok()
        };
        let started = (0..threads).filter(start).count();
        pool.waiting().alone = started == 0;
        pool
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts it before everything that is counted for the books. Not bounded here: each comes with an exchange that waits for it, and
    /// of those there are no more than connections.
    fn push_now(&self, count: Now) {
        let mut waiting = self.waiting();
        if !waiting.alone {
            waiting.now.push_back(count);
            self.something.notify_one();
        }
    }

    /// Gives it back where too much waits.
    fn push_later(&self, bytes: usize, count: Later) -> Result<(), Later> {
        let mut waiting = self.waiting();
        if waiting.alone || waiting.bytes + bytes > self.bytes_max {
            return Err(count);
        }
        waiting.bytes += bytes;
        waiting.later.push_back((bytes, count));
        self.something.notify_one();
        Ok(())
    }

    fn work(&self) {
        // What counts may have been read, and is let go after a while.
        let mut reads = false;
        loop {
            let mut waiting = self.waiting();
            // A count that panics is lost to who waits for it, and its reservation closes itself loudly; the thread goes on.
            if let Some(count) = waiting.now.pop_front() {
                drop(waiting);
                let _ = catch_unwind(AssertUnwindSafe(count));
                reads = true;
            } else if let Some((bytes, count)) = waiting.later.pop_front() {
                drop(waiting);
                let _ = catch_unwind(AssertUnwindSafe(|| count(Measure::Exact)));
                self.waiting().bytes -= bytes;
                reads = true;
            } else if reads {
                let woken = self.something.wait_timeout(waiting, ENCODING_KEPT);
                let (waiting, time) = woken.unwrap_or_else(PoisonError::into_inner);
                drop(waiting);
                if time.timed_out() {
                    reads = tokens::let_go(ENCODING_KEPT);
                }
            } else {
                let woken = self.something.wait(waiting);
                drop(woken.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// A pool of one thread that does nothing before the test says so.
    fn held(bytes_max: usize) -> (Arc<Pool>, mpsc::Sender<()>) {
        let pool = Pool::start(1, bytes_max);
        let (go, gate) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        pool.push_now(Box::new(move || {
            let _ = begun.send(());
            let _ = gate.recv();
        }));
        has_begun.recv_timeout(DEADLINE).expect("the thread works");
        (pool, go)
    }

    #[test]
    fn who_waits_comes_first_and_what_is_too_much_is_given_back() {
        let (pool, go) = held(100);
        let (tell, told) = mpsc::channel();
        let say = |what: &'static str| {
            let tell = tell.clone();
            move || {
                let _ = tell.send(what);
            }
        };
        let books = say("books");
        assert!(pool.push_later(60, Box::new(move |_| books())).is_ok());
        let more = say("more");
        let back = pool.push_later(
            60,
            Box::new(move |measure| {
                assert_eq!(measure, Measure::Bound);
                more();
            }),
        );
        let Err(back) = back else {
            panic!("too much waits");
        };
        back(Measure::Bound);
        pool.push_now(Box::new(say("admission")));
        go.send(()).expect("the thread waits for it");
        let order: Vec<_> = (0..3).map(|_| told.recv_timeout(DEADLINE)).collect();
        assert_eq!(order, [Ok("more"), Ok("admission"), Ok("books")]);
    }

    #[test]
    fn a_count_that_panics_takes_nothing_with_it() {
        let (pool, go) = held(100);
        let (tell, told) = mpsc::channel();
        let broken = pool.push_later(100, Box::new(|_| panic!("a test")));
        assert!(broken.is_ok());
        go.send(()).expect("the thread waits for it");
        let mut after = Box::new(move |_| {
            let _ = tell.send(());
        }) as Later;
        let began = std::time::Instant::now();
        // Its bytes are free again once it is over.
        while let Err(back) = pool.push_later(100, after) {
            assert!(began.elapsed() < DEADLINE);
            after = back;
            std::thread::yield_now();
        }
        assert_eq!(told.recv_timeout(DEADLINE), Ok(()));
    }
}
