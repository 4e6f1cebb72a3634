//! A client's connection over HTTP/2: many requests at once, each on a stream of its own.
//!
//! A stream that the client resets is dropped with everything that it has begun, as a closed connection of HTTP/1 is. What a client can make
//! this side keep is bounded: streams, heads, windows, answers that it does not take, streams that it begins only to reset them.

use super::{Client, patient::Linger, patient::Patient, stopped};
use crate::limits::Limits;
use bytes::Bytes;
use futures_util::FutureExt;
use h2::Reason;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// What a client may send of one request before anybody reads it: at a round trip of a tenth of a second, 2.5 MB a second.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same of all requests of one connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is kept of one answer that its client has not taken yet.
const SEND_BUFFER: usize = 32 * 1024;
/// Answers go out in pieces of at most this, so that one that is there as a whole is not queued as a whole.
const PIECE: usize = 16 * 1024;
/// A connection that says nothing is asked whether it is still there, and ends where it does not answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_WITHIN: Duration = Duration::from_secs(20);
/// So many streams may be reset within [`RESETS_WITHIN`] before they had an answer, if that are no more than half of those that began:
/// to begin streams only to reset them ("rapid reset") costs a client nothing.
const RESETS_MAX: u32 = 200;
const RESETS_WITHIN: Duration = Duration::from_secs(10);

/// What is going on on one connection.
struct Traffic {
    standing: watch::Sender<StreamCounts>,
}

#[derive(Debug)]
struct StreamCounts {
    open: usize,
    /// Since when the next two are counted.
    since: Instant,
    begun: u32,
    reset: u32,
    flooded: bool,
}

impl Traffic {
    fn new() -> Traffic {
        let standing = StreamCounts {
            open: 0,
            since: Instant::now(),
            begun: 0,
            reset: 0,
            flooded: false,
        };
        Traffic {
            standing: watch::Sender::new(standing),
        }
    }

    fn begins(self: &Arc<Self>) -> Open {
        self.standing.send_modify(|standing| {
            if standing.since.elapsed() >= RESETS_WITHIN {
                (standing.since, standing.begun, standing.reset) = (Instant::now(), 0, 0);
            }
            standing.open += 1;
            standing.begun += 1;
        });
        Open {
            traffic: Arc::clone(self),
            answered: false,
            _permit: None,
        }
    }

    fn ends(&self, answered: bool) {
        self.standing.send_modify(|standing| {
            standing.open -= 1;
            standing.reset += u32::from(!answered);
            standing.flooded |= standing.reset > RESETS_MAX && standing.reset > standing.begun / 2;
        });
    }

    /// Waits until no stream has been open for so long.
    async fn quiet(&self, so_long: Duration) {
        let mut standing = self.standing.subscribe();
        loop {
            // The sender is this one.
            let _ = standing.wait_for(|standing| standing.open == 0).await;
            if timeout(so_long, standing.changed()).await.is_err() {
                return;
            }
        }
    }

    async fn flooded(&self) {
        let mut standing = self.standing.subscribe();
        let _ = standing.wait_for(|standing| standing.flooded).await;
    }
}

/// A stream, from its head to the end of its answer.
struct Open {
    traffic: Arc<Traffic>,
    /// Its answer has begun.
    answered: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.traffic.ends(self.answered);
    }
}

/// Serves one connection. `room` bounds the requests that are open on all connections of this kind together.
pub(super) async fn serve<S, H, F, B>(
    stream: S,
    client: Client,
    (limits, room): (&Limits, Arc<Semaphore>),
    mut stop: watch::Receiver<bool>,
    handle: H,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<Incoming>, Client) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let traffic = Arc::new(Traffic::new());
    let patience = limits.client_head;
    let service = service_fn(|request: Request<Incoming>| {
        let mut open = traffic.begins();
        let (room, handle) = (Arc::clone(&room), handle.clone());
        async move {
            let Ok(Ok(permit)) = timeout(patience, room.acquire_owned()).await else {
                // Nothing was done of it, which this says.
                return Err(h2::Error::from(Reason::REFUSED_STREAM));
            };
            open._permit = Some(permit);
            let mut answer = handle(named(request), client).await;
            open.answered = true;
            // HTTP/2 knows no such header; its own frames say the same.
            answer.headers_mut().remove(CONNECTION);
            Ok(answer.map(|body| Outgoing {
                body: Box::pin(body),
                rest: Bytes::new(),
                progress: PROGRESS.try_with(Arc::clone).ok(),
                _open: open,
            }))
        }
    });
    let linger = Linger {
        wanted: Arc::default(),
        longest: limits.client_body,
    };
    let socket = TokioIo::new(Patient::new(stream, limits.idle, linger));
    let connection = builder(limits).serve_connection(socket, service);
    let mut connection = pin!(connection);
    let mut leaving = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = traffic.flooded() => {
                tracing::warn!(
                    client = client.shown(),
                    "a client begins requests only to reset them; its connection is closed"
                );
                return;
            }
            () = stopped(&mut stop), if !leaving => {}
            () = traffic.quiet(limits.client_head) => {
                // It was asked to go and has had the time to.
                if leaving {
                    return;
                }
            }
        }
        leaving = true;
        connection.as_mut().graceful_shutdown();
    }
}

fn builder(limits: &Limits) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(Streams {
        patience: limits.idle,
    });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    builder
}

/// The request with its host where HTTP/1 has it. One that names two hosts keeps both, which is refused as it is there.
fn named(mut request: Request<Incoming>) -> Request<Incoming> {
    let authority = request.uri().authority().map(|a| a.as_str());
    let Some(host) = authority.and_then(|a| HeaderValue::from_str(a).ok()) else {
        return request;
    };
    let headers = request.headers_mut();
    if headers.get(HOST) != Some(&host) {
        headers.append(HOST, host);
    }
    request
}

/// Where each stream runs: a task of its own, which ends where its client takes nothing of the answer for too long.
#[derive(Clone)]
struct Streams {
    patience: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::spawn(Watched {
            stream: Box::pin(stream),
            progress: Arc::default(),
            patience: self.patience,
            seen: 0,
            stalled: None,
        });
    }
}

/// How far a client has come in taking an answer.
#[derive(Default)]
struct Progress {
    /// A piece waits to be taken.
    waits: AtomicBool,
    /// Pieces so far; each begins to wait once there is room for it, which is when the client has taken what came before.
    pieces: AtomicUsize,
}

tokio::task_local! {
    /// That of the stream that is running.
    static PROGRESS: Arc<Progress>;
}

struct Watched<F> {
    stream: Pin<Box<F>>,
    progress: Arc<Progress>,
    patience: Duration,
    /// Pieces at the last look.
    seen: usize,
    /// Runs while one and the same piece waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let watched = &mut *self;
        let stream = &mut watched.stream;
        let progress = Arc::clone(&watched.progress);
        if PROGRESS
            .sync_scope(progress, || stream.poll_unpin(cx))
            .is_ready()
        {
            return Poll::Ready(());
        }
        let waits = watched.progress.waits.load(Relaxed);
        let pieces = watched.progress.pieces.load(Relaxed);
        // A client that takes them one by one is slow, and not stalled, although one waits whenever it is looked.
        if !waits || pieces != watched.seen {
            watched.seen = pieces;
            watched.stalled = None;
        }
        if !waits {
            return Poll::Pending;
        }
        let patience = watched.patience;
        let stalled = watched
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.poll_unpin(cx)
    }
}

/// An answer on its way to a client.
struct Outgoing<B> {
    body: Pin<Box<B>>,
    /// What is left of a piece that was too large.
    rest: Bytes,
    progress: Option<Arc<Progress>>,
    _open: Open,
}

impl<B> Outgoing<B> {
    fn waits(&self, waits: bool) {
        if let Some(progress) = &self.progress {
            progress.waits.store(waits, Relaxed);
        }
    }

    fn piece(&mut self, mut bytes: Bytes) -> Frame<Bytes> {
        self.rest = bytes.split_off(bytes.len().min(PIECE));
        self.waits(true);
        if let Some(progress) = &self.progress {
            progress.pieces.fetch_add(1, Relaxed);
        }
        Frame::data(bytes)
    }
}

impl<B: Body<Data = Bytes>> Body for Outgoing<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let outgoing = &mut *self;
        // Asked for more: what came before has gone.
        outgoing.waits(false);
        if !outgoing.rest.is_empty() {
            let rest = std::mem::take(&mut outgoing.rest);
            return Poll::Ready(Some(Ok(outgoing.piece(rest))));
        }
        let frame = std::task::ready!(outgoing.body.as_mut().poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            Ok(match frame?.into_data() {
                Ok(bytes) => outgoing.piece(bytes),
                Err(trailers) => trailers,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        match hint.exact() {
            Some(exact) => SizeHint::with_exact(exact + self.rest.len() as u64),
            None => hint,
        }
    }
}
