//! Sockets in: accepting, limits on connections, draining. Parses no bodies.

pub mod address;
mod begun;
mod http2;
pub mod listener;
mod patient;
pub mod proxied;

use crate::limits::Limits;
use crate::tls::server::{Greeter, speaks_http2};
use begun::Begun;
use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use listener::{Listener, Socket};
use patient::Patient;
use proxied::Trusted;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Files that are open besides connections: the ledger, the log, what SQLite needs for a moment.
const OTHER_FILES: usize = 128;

/// Raises the number of files that this process may open to what `connections_max` needs: the usual limit of 1,024 is soft, and
/// each connection may hold two. Where the system allows less, fewer connections are taken at once; then says so.
pub fn make_room(limits: &mut Limits) -> Option<String> {
    let wanted = 2 * limits.connections_max + OTHER_FILES;
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    // Where nobody knows the limit there is nothing to hold to.
    let allowed = rlimit::increase_nofile_limit(wanted).unwrap_or(wanted);
    if allowed >= wanted {
        return None;
    }
    let room = usize::try_from(allowed).unwrap_or(usize::MAX);
    limits.connections_max = (room.saturating_sub(OTHER_FILES) / 2).max(8);
    Some(format!(
        "only {allowed} files may be open at once, so at most {} connections are taken at once; raise the hard limit (ulimit -Hn) for more",
        limits.connections_max
    ))
}

/// How long answers that are cut may take to say so to their clients.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// So long a client that is connected already may still begin a request where another flyball takes over: one that is on its way would
/// find its connection closed. Its answer says that the connection closes after it.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Where clients come in, and what they are to say first.
#[derive(Debug)]
pub struct Door {
    /// The socket.
    pub listener: Listener,
    /// With it clients speak TLS.
    pub greeter: Option<Arc<Greeter>>,
    /// With it connections come from load balancers, who say whose they are.
    pub proxied: Option<Arc<Trusted>>,
}

/// How a listener comes to its end.
pub struct Drain {
    /// Turns true when nothing more is to be accepted.
    pub stop: watch::Receiver<bool>,
    /// How long open answers may go on after that.
    pub grace: Duration,
    /// Turned true when that is over: what is still open says so to its client and ends.
    pub cut: watch::Sender<bool>,
    /// Another flyball takes over: nobody is turned away who may have reached this one.
    pub follows: bool,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Its address, where it has one.
    pub address: Option<SocketAddr>,
}

impl Client {
    /// For the log.
    fn shown(self) -> String {
        self.address
            .map_or_else(|| "local".to_owned(), |address| address.to_string())
    }
}

/// Accepts until it is to stop, then lets open answers finish for a while.
pub async fn accept<H, F, B>(door: Door, limits: Limits, drain: Drain, handle: H)
where
    H: Fn(Request<Incoming>, Client) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Door {
        listener,
        greeter,
        proxied,
    } = door;
    let Drain {
        stop,
        grace,
        cut,
        follows,
    } = drain;
    let room = Arc::new(Semaphore::new(limits.connections_max));
    // A connection over HTTP/2 carries many requests; all of them together are no more than there could be over HTTP/1.
    let streams = Arc::new(Semaphore::new(limits.connections_max));
    let last_call = follows.then_some(LAST_CALL);
    let connection = |address| Connection {
        client: Client { address },
        limits: limits.clone(),
        streams: Arc::clone(&streams),
        stop: Stop {
            stop: stop.clone(),
            last_call,
        },
        greeter: greeter.clone(),
        proxied: proxied.clone(),
        handle: handle.clone(),
    };
    let mut stopping = stop.clone();
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            permit = room.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
            () = stopped(&mut stopping) => break,
        };
        let (socket, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: spinning would make it worse.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = stopped(&mut stopping) => break,
        };
        let connection = connection(address);
        connections.spawn(async move {
            connection.take_up(socket).await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
    if follows {
        for (socket, address) in listener.last() {
            connections.spawn(connection(address).take_up(socket));
        }
    } else {
        drop(listener);
    }
    if drained(&mut connections, grace).await {
        return;
    }
    tracing::warn!("answers were still open at the end of limits.grace; they are cut and settled");
    cut.send_replace(true);
    if !drained(&mut connections, LAST_WORDS).await {
        connections.shutdown().await;
    }
}

/// How one connection hears that the process stops.
#[derive(Clone)]
struct Stop {
    stop: watch::Receiver<bool>,
    /// So long a request may still begin after that.
    last_call: Option<Duration>,
}

impl Stop {
    /// It stops, and no request may begin any more.
    async fn is_over(&mut self) {
        stopped(&mut self.stop).await;
        if let Some(last_call) = self.last_call {
            tokio::time::sleep(last_call).await;
        }
    }
}

/// What serving one connection takes.
struct Connection<H> {
    client: Client,
    limits: Limits,
    /// Room for requests over HTTP/2.
    streams: Arc<Semaphore>,
    stop: Stop,
    greeter: Option<Arc<Greeter>>,
    proxied: Option<Arc<Trusted>>,
    handle: H,
}

impl<H, F, B> Connection<H>
where
    H: Fn(Request<Incoming>, Client) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Finds out whose connection it is and what the client speaks, and serves it.
    async fn take_up(mut self, socket: Socket) {
        let mut socket = Begun::new(socket);
        if let Some(trusted) = self.proxied.take() {
            if !trusted.believes(self.client.address) {
                tracing::debug!(
                    client = self.client.shown(),
                    "a connection comes from none of proxy_trusted; it is closed"
                );
                return;
            }
            let Some(told) = self.begin(socket.passed_on()).await else {
                return;
            };
            self.client.address = told.or(self.client.address);
        }
        match self.greeter.take() {
            None => match self.begin(socket.speaks_http2()).await {
                None => {}
                Some(true) => self.serve_http2(socket).await,
                Some(false) => self.serve_http1(socket).await,
            },
            // What TLS takes is apart: a connection without it has no room for it.
            Some(greeter) => Box::pin(self.take_up_tls(greeter, socket)).await,
        }
    }

    /// The same, where the client speaks TLS.
    async fn take_up_tls(mut self, greeter: Arc<Greeter>, socket: Begun<Socket>) {
        match self.begin(greeter.greet(socket)).await {
            None => {}
            Some(stream) if speaks_http2(&stream) => self.serve_http2(stream).await,
            Some(stream) => self.serve_http1(stream).await,
        }
    }

    /// What a connection begins with, which may take as long as a head.
    async fn begin<T>(&mut self, beginning: impl Future<Output = io::Result<T>>) -> Option<T> {
        let begun = tokio::select! {
            begun = tokio::time::timeout(self.limits.client_head, beginning) => begun,
            () = self.stop.is_over() => return None,
        };
        let client = || self.client.shown();
        match begun {
            Ok(Ok(begun)) => return Some(begun),
            Ok(Err(error)) => {
                tracing::debug!(%error, client = client(), "a connection did not begin as it should");
            }
            Err(_) => tracing::debug!(client = client(), "a client was too slow to begin"),
        }
        None
    }

    async fn serve_http1<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S) {
        let Connection { client, handle, .. } = self;
        let handle = move |request| handle(request, client);
        serve(stream, &self.limits, self.stop, handle).await;
    }

    async fn serve_http2<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S) {
        let limits = (&self.limits, self.streams);
        // On the heap: it is larger, and most connections are not of this kind.
        let serving = http2::serve(stream, self.client, limits, self.stop.stop, self.handle);
        Box::pin(serving).await;
    }
}

/// Whether every connection has ended within this time.
async fn drained(connections: &mut JoinSet<()>, within: Duration) -> bool {
    let drained = async { while connections.join_next().await.is_some() {} };
    tokio::time::timeout(within, drained).await.is_ok()
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender lives as long as the process; if it is gone, so is the reason to go on.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn serve<S, H, F, B>(stream: S, limits: &Limits, mut stop: Stop, handle: H)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let unread = Arc::new(AtomicBool::new(false));
    let leaving = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        let has_body = !request.body().is_end_stream();
        let (unread, leaving) = (unread.clone(), leaving.clone());
        // On the heap, so that a connection that waits for its next request is small.
        let answer = Box::pin(handle(request));
        async move {
            let mut answer = answer.await;
            if leaving.load(Relaxed) {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            // What refuses a request may have read none of its body, of which much may still be on its way.
            unread.store(has_body && answer.status().as_u16() >= 400, Relaxed);
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let linger = patient::Linger {
        wanted: unread.clone(),
        longest: limits.client_body,
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.client_head)
        .max_buf_size(limits.head_bytes_max)
        .keep_alive(true)
        .serve_connection(
            TokioIo::new(Patient::new(stream, limits.idle, linger)),
            service,
        );
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(&mut stop.stop) => {
            leaving.store(true, Relaxed);
            tokio::select! {
                biased;
                result = connection.as_mut() => result,
                () = stop.is_over() => {
                    // A connection that is idle is closed at once.
                    unread.store(false, Relaxed);
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
