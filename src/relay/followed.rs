//! The body of an answer that several requests listen to, on its way to one of them.

use crate::dialect::Dialect;
use crate::error::{Error, Kind};
use crate::response_cache::{Broken, Listener};
use crate::settle::{Paid, Replayed};
use bytes::Bytes;
use http_body::Frame;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What a client is told that was left behind.
const LEFT_BEHIND: &str =
    "the answer is shared, and this client took it too slowly for the others; ask again";

/// One answer on its way to one of those who share it.
pub struct Followed {
    listener: Listener,
    /// The row of who only follows; nothing for the one that has made the call.
    follower: Option<(Replayed, Arc<Paid>)>,
    /// The answer is a stream of events in this dialect, so that an error can be told in it.
    events: Option<&'static dyn Dialect>,
    request: String,
    /// That it ends before its time.
    broken: Option<String>,
    /// What came before that was given the time to go out.
    written: bool,
    over: bool,
}

impl Followed {
    /// The answer to the request of this id.
    #[must_use]
    pub fn new(
        listener: Listener,
        follower: Option<(Replayed, Arc<Paid>)>,
        events: Option<&'static dyn Dialect>,
        request: &str,
    ) -> Followed {
        Followed {
            listener,
            follower,
            events,
            request: request.to_owned(),
            broken: None,
            written: false,
            over: false,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.broken.is_some() {
            return self.break_off(cx);
        }
        if self.over {
            return Poll::Ready(None);
        }
        match self.listener.poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) => {
                self.over = true;
                if let Some((row, paid)) = self.follower.take() {
                    match paid.is_good(false) {
                        true => drop(row.ended()),
                        // It has told of an error of its own.
                        false => row.cut(),
                    }
                }
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(broken))) => {
                if let Some((row, _)) = self.follower.take() {
                    row.cut();
                }
                match (broken, self.events) {
                    (Broken::LeftBehind, Some(dialect)) => {
                        self.over = true;
                        let error = Error::new(Kind::UpstreamFailed, LEFT_BEHIND);
                        let event = dialect.error_event(&error, &self.request);
                        Poll::Ready(Some(Ok(Frame::data(event))))
                    }
                    (Broken::LeftBehind, None) => {
                        self.broken = Some(LEFT_BEHIND.to_owned());
                        self.break_off(cx)
                    }
                    (Broken::Cut(why), _) => {
                        self.broken = Some(why);
                        self.break_off(cx)
                    }
                }
            }
        }
    }

    /// An error ends the client's connection at once, with all that was not yet written to it: that goes first.
    fn break_off(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if !std::mem::replace(&mut self.written, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.over = true;
        let why = self.broken.take().unwrap_or_default();
        Poll::Ready(Some(Err(io::Error::other(why))))
    }
}
