//! A client's socket that does not wait for ever for a client that takes nothing of its answer, and that hears out a client whose
//! request was refused before it was read.
//!
//! An answer is read from the provider as fast as the client takes it, so a client that stops reading would hold the
//! provider's connection and its reservation for as long as it likes.
//!
//! A socket that is closed with bytes unread resets its connection, and with it the answer that the client has not read yet: it would
//! see a broken connection instead of its 413, and try again. So the rest is read and thrown away first, within bounds.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Bytes that are thrown away at most: twice the largest body that any vendor takes.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A client that sends nothing for so long has read its answer, or never will.
const LINGER_GAP: Duration = Duration::from_secs(2);

/// When a client is heard out before its connection closes.
pub(super) struct Linger {
    /// It may still be sending what nobody has read.
    pub(super) wanted: Arc<AtomicBool>,
    /// For how long at most.
    pub(super) longest: Duration,
}

/// A socket whose writes fail once the peer has taken nothing for so long.
pub(super) struct Patient<S> {
    socket: S,
    patience: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    linger: Linger,
    /// Runs once our own side is closed.
    lingering: Option<Lingering>,
}

struct Lingering {
    end: Pin<Box<Sleep>>,
    gap: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl<S> Patient<S> {
    pub(super) fn new(socket: S, patience: Duration, linger: Linger) -> Patient<S> {
        Patient {
            socket,
            patience,
            stalled: None,
            linger,
            lingering: None,
        }
    }

    fn held<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes nothing of its answer",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.held(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, pieces);
        self.held(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.held(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let patient = &mut *self;
        let lingering = match &mut patient.lingering {
            Some(lingering) => lingering,
            none => {
                ready!(Pin::new(&mut patient.socket).poll_shutdown(cx))?;
                if !patient.linger.wanted.load(Relaxed) {
                    return Poll::Ready(Ok(()));
                }
                none.insert(Lingering {
                    end: Box::pin(sleep(patient.linger.longest)),
                    gap: Box::pin(sleep(LINGER_GAP)),
                    bytes_left: LINGER_BYTES_MAX,
                })
            }
        };
        let mut bytes = [0_u8; 16 * 1024];
        while lingering.end.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut patient.socket).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    let read = buffer.filled().len();
                    if read == 0 || read > lingering.bytes_left {
                        break;
                    }
                    lingering.bytes_left -= read;
                    let next = tokio::time::Instant::now() + LINGER_GAP;
                    lingering.gap.as_mut().reset(next);
                }
                Poll::Ready(Err(_)) => break,
                Poll::Pending => {
                    ready!(lingering.gap.as_mut().poll(cx));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
