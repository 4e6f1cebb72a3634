//! Connections to providers, kept for the next request.
//!
//! A connection has no task of its own: whoever waits for its answer drives it, so that a request and its answer wake one task and not
//! two. A connection that nobody uses is looked at when it is taken, which tells whether the server has closed it by then.

use super::Out;
use super::tls::{self, Connector};
use foldhash::HashMap;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tower_service::Service;

/// A connection that nobody has used for so long is closed. Servers close theirs after a minute or more.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How often it is looked for connections that are to be closed.
const SWEEP: Duration = Duration::from_secs(30);
/// Connections to one server that are kept while nobody uses them.
const IDLE_PER_SERVER: usize = 256;
/// An answer's head is a few KB; a larger one is a fault of the server. What was read and not taken yet by the client is in such buffers
/// too, so that they are most of what a client costs that reads nothing.
const BUFFER_MAX: usize = 64 * 1024;

type Socket = <Connector as Service<Uri>>::Response;

/// No answer came.
#[derive(Debug)]
pub(super) struct NoAnswer {
    /// Why.
    pub(super) cause: Box<dyn StdError + Send + Sync>,
    /// No connection came about.
    pub(super) unconnected: bool,
}

/// Connections to every server that is asked.
#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    kept: Arc<KeptLinks>,
}

/// Connections that wait for the next request.
#[derive(Debug, Default)]
struct KeptLinks {
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// By server, the one that was used last at the end.
    links: HashMap<Server, Vec<(Box<Link>, Instant)>>,
    /// Somebody closes those that wait too long.
    swept: bool,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Server {
    scheme: Scheme,
    authority: Authority,
}

/// One connection.
struct Link {
    sender: SendRequest<Out>,
    connection: Connection<Socket, Out>,
    /// It has come to its end and must not be driven any more.
    ended: bool,
}

/// A connection on which an answer comes; it goes back once the answer is over.
pub(super) struct InUse {
    link: Option<Box<Link>>,
    server: Server,
    kept: Weak<KeptLinks>,
}

impl Pool {
    pub(super) fn new(connect: Duration) -> Pool {
        Pool {
            connector: tls::connector(connect),
            kept: Arc::default(),
        }
    }

    /// Sends one request and waits for the head of its answer. What a kept connection has not even begun to send, since the server had
    /// closed it, is sent once more on another one.
    pub(super) async fn request(
        &self,
        mut request: Request<Out>,
    ) -> Result<(Response<Incoming>, InUse), NoAnswer> {
        let server = Server::of(request.uri()).ok_or_else(|| NoAnswer {
            cause: "the address has no host".into(),
            unconnected: true,
        })?;
        if let Ok(host) = HeaderValue::from_str(server.host_header()) {
            request.headers_mut().entry(HOST).or_insert(host);
        }
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        loop {
            let (mut link, reused) = match self.kept.take(&server) {
                Some(link) => (link, true),
                None => (Box::pin(self.connect(&server)).await?, false),
            };
            match link.send(request).await {
                Ok(answer) => {
                    let in_use = InUse {
                        link: Some(link),
                        server,
                        kept: Arc::downgrade(&self.kept),
                    };
                    return Ok((answer, in_use));
                }
                Err((Some(unsent), _)) if reused => request = *unsent,
                Err((_, error)) => {
                    return Err(NoAnswer {
                        cause: error.into(),
                        unconnected: false,
                    });
                }
            }
        }
    }

    async fn connect(&self, server: &Server) -> Result<Box<Link>, NoAnswer> {
        let unconnected = |cause| NoAnswer {
            cause,
            unconnected: true,
        };
        let mut connector = self.connector.clone();
        let uri = Uri::builder()
            .scheme(server.scheme.clone())
            .authority(server.authority.clone())
            .path_and_query("/")
            .build();
        let uri = uri.map_err(|error| unconnected(error.into()))?;
        poll_fn(|cx| connector.poll_ready(cx))
            .await
            .map_err(unconnected)?;
        let socket = connector.call(uri).await.map_err(unconnected)?;
        let made = Builder::new()
            .max_buf_size(BUFFER_MAX)
            .handshake(socket)
            .await;
        let (sender, connection) = made.map_err(|error| unconnected(error.into()))?;
        Ok(Box::new(Link {
            sender,
            connection,
            ended: false,
        }))
    }
}

impl Server {
    fn of(uri: &Uri) -> Option<Server> {
        Some(Server {
            scheme: uri.scheme()?.clone(),
            authority: uri.authority()?.clone(),
        })
    }

    /// The host as the server wants to hear it: without the port that the scheme has by itself (RFC 9110, 7.2), and without a name or
    /// password that may stand before it.
    fn host_header(&self) -> &str {
        let whole = self.authority.as_str();
        let host = whole.rsplit_once('@').map_or(whole, |(_, host)| host);
        let own = match self.scheme == Scheme::HTTPS {
            true => ":443",
            false => ":80",
        };
        host.strip_suffix(own).unwrap_or(host)
    }
}

impl Link {
    /// Sends a request and waits for the head of its answer. Gives the request back where nothing of it was sent.
    async fn send(
        &mut self,
        request: Request<Out>,
    ) -> Result<Response<Incoming>, (Option<Box<Request<Out>>>, hyper::Error)> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let (connection, ended) = (&mut self.connection, &mut self.ended);
        let answer = poll_fn(|cx| {
            // What the connection brings while it is driven here is looked at at once: nobody need be woken for it.
            let nobody = &mut Context::from_waker(Waker::noop());
            if let Poll::Ready(answer) = answer.as_mut().poll(nobody) {
                return Poll::Ready(answer);
            }
            drive(connection, ended, cx);
            answer.as_mut().poll(cx)
        });
        answer
            .await
            .map_err(|mut failed| (failed.take_message().map(Box::new), failed.into_error()))
    }

    /// It can take a request now, as far as is known: the server has not closed it, and has sent nothing that nobody asked for.
    fn is_usable(&mut self) -> bool {
        let nobody = &mut Context::from_waker(Waker::noop());
        drive(&mut self.connection, &mut self.ended, nobody);
        !self.ended && self.sender.is_ready()
    }
}

/// Lets a connection send and receive what it can.
fn drive(connection: &mut Connection<Socket, Out>, ended: &mut bool, cx: &mut Context<'_>) {
    // Its error reaches whoever waits for the answer.
    if !*ended && Pin::new(connection).poll(cx).is_ready() {
        *ended = true;
    }
}

impl KeptLinks {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to this server that nobody uses.
    fn take(&self, server: &Server) -> Option<Box<Link>> {
        loop {
            let (mut link, since) = self.idle().links.get_mut(server)?.pop()?;
            if since.elapsed() < IDLE_MAX && link.is_usable() {
                return Some(link);
            }
        }
    }

    /// Keeps a connection for the next request.
    fn keep(self: &Arc<Self>, server: Server, link: Box<Link>) {
        let mut idle = self.idle();
        let links = idle.links.entry(server).or_default();
        if links.len() < IDLE_PER_SERVER {
            links.push((link, Instant::now()));
        }
        if !idle.swept
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            idle.swept = true;
            runtime.spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what waits too long, or was closed at the other end. Tells whether any is left.
    fn sweep(&self) -> bool {
        // Closed outside of the lock.
        let mut old = Vec::new();
        let mut idle = self.idle();
        for links in idle.links.values_mut() {
            let over = |(link, since): &mut (Box<Link>, Instant)| {
                since.elapsed() >= IDLE_MAX || !link.is_usable()
            };
            old.extend(links.extract_if(.., over));
        }
        idle.links.retain(|_, links| !links.is_empty());
        idle.swept = !idle.links.is_empty();
        let left = idle.swept;
        drop(idle);
        drop(old);
        left
    }
}

async fn sweep(kept: Weak<KeptLinks>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        match kept.upgrade() {
            Some(kept) if kept.sweep() => {}
            _ => return,
        }
    }
}

impl InUse {
    /// Lets the connection send and receive what it can.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(link) = &mut self.link {
            drive(&mut link.connection, &mut link.ended, cx);
        }
    }

    /// The answer is over as far as anybody reads it. `whole`: it was read to its end, so that another one may follow it; else the
    /// connection closes, which tells the server to stop.
    pub(super) fn over(&mut self, whole: bool) {
        let Some(mut link) = self.link.take() else {
            return;
        };
        if let (true, Some(kept)) = (whole && link.is_usable(), self.kept.upgrade()) {
            kept.keep(self.server.clone(), link);
        }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InUse").finish_non_exhaustive()
    }
}

/// What comes next of an answer's body, for which its connection is driven.
pub(super) fn poll_body(
    body: &mut Incoming,
    in_use: &mut InUse,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, hyper::Error>>> {
    // As above: what comes now is looked at at once.
    let nobody = &mut Context::from_waker(Waker::noop());
    if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(nobody) {
        return Poll::Ready(frame);
    }
    in_use.drive(cx);
    Pin::new(body).poll_frame(cx)
}
