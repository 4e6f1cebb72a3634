//! What waits to be written, on its way to the one thread that writes.
//!
//! What nobody waits for is gathered for a moment first, so that uncapped traffic costs one wake and one commit for many rows. For
//! what somebody waits for the thread is woken at once; but where many were answered together a moment ago, most of them are about
//! to ask again, and whoever comes just too late would wait for a whole commit more: so it waits for as many, for a fraction of a
//! commit.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Something that waits.
pub(super) trait Awaited {
    /// Somebody waits until it is done.
    fn is_awaited(&self) -> bool;
}

/// A queue with many senders and one taker.
#[derive(Debug)]
pub(super) struct Queue<Op> {
    state: Mutex<QueueState<Op>>,
    woken: Condvar,
    gather: Duration,
}

#[derive(Debug)]
struct QueueState<Op> {
    ops: VecDeque<Op>,
    /// For so many of them somebody waits.
    awaited: usize,
    /// As many of those wake the taker.
    wanted: usize,
    /// The taker sleeps until something comes; otherwise it looks again by itself.
    asleep: bool,
    /// Nothing more will be sent.
    closed: bool,
    /// The taker is gone.
    gone: bool,
}

/// The taker's end. Once it is dropped, also by a panic, nothing is accepted and whoever waits hears of it.
pub(super) struct Taker<Op>(Arc<Queue<Op>>);

impl<Op: Awaited> Queue<Op> {
    /// A queue that gathers for so long.
    pub(super) fn new(gather: Duration) -> (Arc<Queue<Op>>, Taker<Op>) {
        let queue = Arc::new(Queue {
            state: Mutex::new(QueueState {
                ops: VecDeque::new(),
                awaited: 0,
                wanted: 1,
                asleep: false,
                closed: false,
                gone: false,
            }),
            woken: Condvar::new(),
            gather,
        });
        (queue.clone(), Taker(queue))
    }

    /// Hands an operation over; never waits. False if nobody takes any more.
    pub(super) fn send(&self, op: Op) -> bool {
        let mut state = self.state();
        if state.gone {
            return false;
        }
        let awaited = op.is_awaited();
        state.awaited += usize::from(awaited);
        state.ops.push_back(op);
        let wake = state.asleep || (awaited && state.awaited >= state.wanted);
        drop(state);
        if wake {
            self.woken.notify_one();
        }
        true
    }

    /// Waits for this time at most, until there are so many operations or so many of them are awaited.
    fn gather<'q>(
        &'q self,
        mut state: MutexGuard<'q, QueueState<Op>>,
        most: usize,
        wanted: usize,
        time: Duration,
    ) -> MutexGuard<'q, QueueState<Op>> {
        state.wanted = wanted;
        let may = |state: &mut QueueState<Op>| {
            let some = !state.ops.is_empty() && state.ops.len() < most;
            some && !state.closed && state.awaited < wanted
        };
        let gathered = self.woken.wait_timeout_while(state, time, may);
        gathered.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Nothing more will be sent: the taker gets what is left, and then its end.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.woken.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, QueueState<Op>> {
        // Every change is a whole one, so a panic elsewhere cannot have left it half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom a taker waits for once somebody waits for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Crowd {
    /// So many operations that somebody waits for.
    pub(super) expected: usize,
    /// But no longer than this.
    pub(super) within: Duration,
}

impl<Op: Awaited> Taker<Op> {
    /// Adds at most `most` operations to `ops`, waiting until there are some, or at most `patience`. False at the end.
    pub(super) fn take(
        &self,
        ops: &mut Vec<Op>,
        most: usize,
        patience: Option<Duration>,
        crowd: Crowd,
    ) -> bool {
        let queue = &*self.0;
        let nothing = |state: &mut QueueState<Op>| {
            state.asleep = state.ops.is_empty() && !state.closed;
            state.asleep
        };
        let mut state = queue.state();
        state = match patience {
            None => queue
                .woken
                .wait_while(state, nothing)
                .unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                let waited = queue.woken.wait_timeout_while(state, patience, nothing);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.asleep = false;
        state = queue.gather(state, most, 1, queue.gather);
        if state.awaited > 0 {
            state = queue.gather(state, most, crowd.expected, crowd.within);
        }
        state.wanted = 1;
        let count = state.ops.len().min(most);
        ops.extend(state.ops.drain(..count));
        state.awaited = state.ops.iter().filter(|op| op.is_awaited()).count();
        !state.closed || !state.ops.is_empty()
    }
}

impl<Op> Drop for Taker<Op> {
    fn drop(&mut self) {
        let state = self.0.state.lock();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.gone = true;
        state.ops.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::until::worked_here;
    use tokio::sync::oneshot;

    const LONG: Duration = Duration::from_secs(3_600);

    /// An operation for which somebody waits, or nobody.
    struct Op(Option<oneshot::Sender<()>>);

    impl Awaited for Op {
        fn is_awaited(&self) -> bool {
            self.0.is_some()
        }
    }

    fn open() -> Op {
        Op(None)
    }

    #[test]
    fn what_somebody_waits_for_is_taken_at_once_with_everything_before_it() {
        worked_here("everything is taken", || {
            let (queue, taker) = Queue::new(LONG);
            let sender = queue.clone();
            let thread = std::thread::spawn(move || {
                for _ in 0..5 {
                    assert!(sender.send(open()));
                }
                let (done, _) = oneshot::channel();
                sender.send(Op(Some(done)))
            });
            let mut ops = Vec::new();
            // In whatever order the threads run, an hour of gathering is cut short.
            while ops.len() < 6 {
                assert!(taker.take(&mut ops, 100, None, Crowd::default()));
            }
            assert!(thread.join().expect("it sends"));
            assert!(ops[5].is_awaited());
        });
    }

    #[test]
    fn no_more_than_asked_for_is_taken_and_the_rest_comes_next_without_gathering() {
        worked_here("everything is taken", || {
            let (queue, taker) = Queue::new(LONG);
            for _ in 0..3 {
                queue.send(open());
            }
            let mut ops = Vec::new();
            assert!(taker.take(&mut ops, 2, None, Crowd::default()));
            assert_eq!(ops.len(), 2);
            queue.close();
            assert!(!taker.take(&mut ops, 2, None, Crowd::default()));
            assert_eq!(ops.len(), 3);
        });
    }

    #[test]
    fn where_many_were_answered_together_as_many_are_taken_together_again() {
        worked_here("as many are taken", || {
            let (queue, taker) = Queue::new(Duration::ZERO);
            let sender = queue.clone();
            let thread = std::thread::spawn(move || {
                let told: Vec<_> = (0..64)
                    .map(|_| {
                        let (done, told) = oneshot::channel();
                        assert!(sender.send(Op(Some(done))) && sender.send(open()));
                        told
                    })
                    .collect();
                told.len()
            });
            let mut ops = Vec::new();
            // However the threads run, nothing is taken before the last of them, and then no hour is waited.
            let crowd = Crowd {
                expected: 64,
                within: LONG,
            };
            assert!(taker.take(&mut ops, 1_000, None, crowd));
            assert_eq!(ops.iter().filter(|op| op.is_awaited()).count(), 64);
            assert_eq!(thread.join().expect("it sends"), 64);
            // Who does not come again is not waited for longer than is allowed.
            let (done, _told) = oneshot::channel();
            queue.send(Op(Some(done)));
            let crowd = Crowd {
                within: Duration::from_millis(1),
                ..crowd
            };
            ops.clear();
            while ops.iter().filter(|op| op.is_awaited()).count() < 1 {
                assert!(taker.take(&mut ops, 1_000, None, crowd));
            }
        });
    }

    #[test]
    fn patience_ends_without_an_operation() {
        worked_here("patience ends", || {
            let (_queue, taker) = Queue::<Op>::new(LONG);
            let mut ops = Vec::new();
            let patience = Some(Duration::from_millis(1));
            assert!(taker.take(&mut ops, 2, patience, Crowd::default()));
            assert!(ops.is_empty());
        });
    }

    #[test]
    fn once_the_taker_is_gone_nothing_is_accepted_and_whoever_waits_hears_of_it() {
        worked_here("whoever waits hears of it", || {
            let (queue, taker) = Queue::new(LONG);
            let (done, durable) = oneshot::channel();
            queue.send(Op(Some(done)));
            drop(taker);
            assert!(durable.blocking_recv().is_err());
            assert!(!queue.send(open()));
        });
    }
}
