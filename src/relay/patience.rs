//! What a relay waits for besides bytes: its deadlines, and the end of the process. One timer for all, which is set anew only when it
//! has fired: a deadline that every piece of an answer puts off costs nothing but a note of the time.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

/// The deadlines of an answer on its way.
pub(super) struct Patience {
    idle: Deadline,
    silent: Deadline,
    total: Instant,
    timer: Pin<Box<Sleep>>,
    closing: watch::Receiver<bool>,
    closed: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Who is woken by the timer and the end of the process.
    registered: Option<Waker>,
}

/// A deadline that is put off.
struct Deadline {
    at: Instant,
    after: Duration,
}

/// What has run out.
pub(super) enum Over {
    /// The time of the whole answer.
    Total,
    /// The provider has sent nothing for too long.
    Idle,
    /// The model has said nothing for too long.
    Silent,
    /// The process ends.
    Closing,
}

impl Deadline {
    fn new(now: Instant, after: Duration) -> Deadline {
        Deadline {
            at: now + after,
            after,
        }
    }

    fn put_off(&mut self, now: Instant) {
        self.at = now + self.after;
    }
}

impl Patience {
    /// Begins to wait.
    pub(super) fn new(
        idle: Duration,
        silent: Duration,
        total: Duration,
        closing: watch::Receiver<bool>,
    ) -> Patience {
        let now = Instant::now();
        Patience {
            idle: Deadline::new(now, idle),
            silent: Deadline::new(now, silent),
            total: now + total,
            timer: Box::pin(sleep_until(now + idle.min(silent).min(total))),
            closed: Box::pin(super::closed(closing.clone())),
            closing,
            registered: None,
        }
    }

    /// Something has come. Pings and comments are signs of life of the server, and it is the model's words that are waited for: each
    /// has its deadline.
    pub(super) fn came(&mut self, now: Instant, said: bool) {
        self.idle.put_off(now);
        if said {
            self.silent.put_off(now);
        }
    }

    /// The process ends.
    pub(super) fn closes(&self) -> bool {
        *self.closing.borrow()
    }

    /// What has run out, though there may always be something to read: a client that takes it slowly must not make it last for ever,
    /// nor a server that only shows that it lives.
    pub(super) fn over(&self, now: Instant) -> Option<Over> {
        match () {
            () if self.total <= now => Some(Over::Total),
            () if self.closes() => Some(Over::Closing),
            () if self.silent.at <= now => Some(Over::Silent),
            () => None,
        }
    }

    /// Waits, where there is nothing to read.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        let known = |waker: &Waker| waker.will_wake(cx.waker());
        let now = Instant::now();
        if self.registered.as_ref().is_some_and(known) && now < self.timer.deadline() {
            return Poll::Pending;
        }
        if self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Over::Closing);
        }
        loop {
            if self.timer.as_mut().poll(cx).is_pending() {
                self.registered = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let now = Instant::now();
            match self.over(now) {
                Some(over) => return Poll::Ready(over),
                None if self.idle.at <= now => return Poll::Ready(Over::Idle),
                None => {
                    let next = self.idle.at.min(self.silent.at).min(self.total);
                    self.timer.as_mut().reset(next);
                }
            }
        }
    }
}
