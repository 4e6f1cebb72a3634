//! Sockets in: accepting, limits on connections, draining. Parses no bodies.

mod patient;

use crate::error::{Error, Kind};
use crate::limits::Limits;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use patient::Patient;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Binds an address. A busy port is an error that names the flag, never another port in silence.
///
/// # Errors
/// The address cannot be bound.
pub async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|e| {
        let advice = match e.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "another program uses {address}; stop it, or choose another address with {flag}"
            ),
            _ => format!("cannot listen on {address}: {e}; choose another address with {flag}"),
        };
        Error::new(Kind::Internal, "cannot listen").detail(advice)
    })
}

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

/// Accepts until `stop` turns true, then lets open answers finish for at most `grace`.
pub async fn accept<H, F, B>(
    listener: TcpListener,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
    handle: H,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            permit = room.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
            () = stopped(&mut stop) => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: spinning would make it worse.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = stopped(&mut stop) => break,
        };
        let (limits, stop, handle) = (limits.clone(), stop.clone(), handle.clone());
        connections.spawn(async move {
            serve(stream, &limits, stop, handle).await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, drained).await.is_err() {
        tracing::warn!(
            "answers were still open at the end of the grace time; they are cut and settled"
        );
        connections.shutdown().await;
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender lives as long as the process; if it is gone, so is the reason to go on.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn serve<H, F, B>(
    stream: TcpStream,
    limits: &Limits,
    mut stop: watch::Receiver<bool>,
    handle: H,
) where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Small events must leave at once.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let answer = handle(request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.client_head)
        .max_buf_size(limits.head_bytes_max)
        .keep_alive(true)
        .serve_connection(TokioIo::new(Patient::new(stream, limits.idle)), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
