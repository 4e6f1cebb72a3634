//! A connection to a provider over HTTP/2, on which many requests are on their way at once.
//!
//! It has a task of its own, which sends and receives for all of them, and asks a server that is silent whether it is still there. A request
//! whose answer nobody reads any more is reset; the connection stays.

use super::Out;
use super::socket::Socket;
use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Ping, Reason, RecvStream, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use std::error::Error as StdError;
use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::AcqRel, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// Requests on one connection at most, where the server would take more: as many as servers usually do.
pub(super) const STREAMS_MAX: usize = 100;
/// What a server may send of one answer before its client takes it. At a round trip of a tenth of a second, 2.5 MB a second.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same of all answers of a connection: so much that clients who take nothing of theirs never hold up the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;
/// An answer's head is a few KB; a larger one is a fault of the server.
const HEAD_MAX: u32 = 64 * 1024;

/// Why a request has no answer.
pub(super) enum Unanswered {
    /// The server has not taken it up, and says so: it may be sent again, if it is still whole.
    Unheard(Option<Box<Request<Out>>>, Cause),
    /// It may have been taken up.
    Heard(Cause),
}

type Cause = Box<dyn StdError + Send + Sync>;

/// A connection.
pub(super) struct Channel {
    sender: SendRequest<Bytes>,
    standing: Arc<ConnectionUse>,
}

/// What is known of a connection.
#[derive(Debug)]
struct ConnectionUse {
    /// Requests that are on their way.
    open: AtomicUsize,
    /// It has come to its end, or takes no new requests.
    ended: AtomicBool,
    /// It ended because the server did not answer a ping.
    dead: AtomicBool,
    /// The server has refused a request while others were open; it has room once one of them ends.
    full: AtomicBool,
    /// When it was used last.
    used: Mutex<Instant>,
}

/// The place of one request on a connection.
pub(super) struct Seat {
    sender: SendRequest<Bytes>,
    standing: Arc<ConnectionUse>,
    /// The server has refused the request, so that its end makes no room.
    refused: bool,
    /// The rest of the body, where the answer came first; nobody sends it for an answer that nobody reads.
    _upload: Option<Upload>,
}

/// A body on its way, which stops where this ends.
struct Upload(AbortHandle);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The body of an answer.
pub(super) struct Stream {
    body: RecvStream,
    /// Read to its end.
    over: bool,
    seat: Seat,
}

/// Begins to speak HTTP/2 on a socket, with at most `most` requests at once until the server has said how many it takes. A server on which requests are open and that is silent for `probe` is asked whether it is there, and
/// has as long again to say so.
pub(super) async fn begin(
    socket: Socket,
    probe: Duration,
    most: usize,
) -> Result<Channel, h2::Error> {
    let (sender, connection) = h2::client::Builder::new()
        .initial_max_send_streams(most)
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEAD_MAX)
        .handshake(TokioIo::new(socket))
        .await?;
    let standing = Arc::new(ConnectionUse {
        open: AtomicUsize::new(0),
        ended: AtomicBool::new(false),
        dead: AtomicBool::new(false),
        full: AtomicBool::new(false),
        used: Mutex::new(Instant::now()),
    });
    tokio::spawn(drive(connection, Arc::clone(&standing), probe));
    Ok(Channel { sender, standing })
}

/// Sends and receives until the connection ends, or is found dead.
async fn drive(
    mut connection: Connection<TokioIo<Socket>, Bytes>,
    standing: Arc<ConnectionUse>,
    probe: Duration,
) {
    let mut pings = connection
        .ping_pong()
        .expect("nobody else has taken it before");
    let checking = async {
        loop {
            sleep(probe).await;
            if standing.open.load(Relaxed) == 0 {
                continue;
            }
            match timeout(probe, pings.ping(Ping::opaque())).await {
                Ok(Ok(_)) => {}
                // The connection has ended, which is told by itself.
                Ok(Err(_)) => pending().await,
                Err(_) => return,
            }
        }
    };
    tokio::select! {
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to a provider ended");
            }
        }
        () = checking => standing.dead.store(true, Relaxed),
    }
    standing.ended.store(true, Relaxed);
}

impl Channel {
    /// Requests that it takes at once.
    pub(super) fn most(&self) -> usize {
        self.sender.current_max_send_streams().min(STREAMS_MAX)
    }

    /// A place for one more request, if there is one.
    pub(super) fn seat(&self) -> Option<Seat> {
        let standing = &self.standing;
        if standing.ended.load(Relaxed) || standing.full.load(Relaxed) {
            return None;
        }
        let most = self.most();
        let taken = standing
            .open
            .fetch_update(Relaxed, Relaxed, |open| (open < most).then_some(open + 1));
        taken.ok()?;
        Some(Seat {
            sender: self.sender.clone(),
            standing: Arc::clone(standing),
            refused: false,
            _upload: None,
        })
    }

    /// Nobody uses it, and nobody has for so long, or it has ended.
    pub(super) fn is_over(&self, idle: Duration) -> bool {
        let unused = self.standing.open.load(Relaxed) == 0;
        self.standing.ended.load(Relaxed) || (unused && self.standing.used().elapsed() >= idle)
    }
}

impl ConnectionUse {
    fn used(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why a stream broke off, in words.
    fn cause(&self, error: h2::Error) -> io::Error {
        match self.dead.load(Relaxed) {
            true => io::Error::new(
                io::ErrorKind::TimedOut,
                "the server does not answer a ping over HTTP/2",
            ),
            false if error.is_io() => error.into_io().unwrap_or_else(|| broken("it broke off")),
            false => io::Error::other(error),
        }
    }
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, why)
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.standing.used() = Instant::now();
        // Counted first: whoever is the last one finds it so, and leaves no mark on a connection on which nobody is to end any more.
        let last = self.standing.open.fetch_sub(1, AcqRel) == 1;
        if last || !self.refused {
            self.standing.full.store(false, Relaxed);
        }
    }
}

/// The server says that it has done nothing with the request: it has refused the stream, or named a last stream before this one when it
/// closed the connection (RFC 9113, 8.7 and 6.8). The streams that such a frame does not exclude never fail by it.
fn is_unheard(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away()
            || (error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM)))
}

impl Seat {
    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        mut self,
        request: Request<Out>,
        server: (&Scheme, &Authority),
    ) -> Result<Response<Stream>, Unanswered> {
        let again = |request: Request<Out>, cause: h2::Error| {
            Unanswered::Unheard(Some(Box::new(request)), cause.into())
        };
        let head = match head(&request, server) {
            Ok(head) => head,
            Err(error) => return Err(Unanswered::Heard(error.into())),
        };
        self.sender = match self.sender.clone().ready().await {
            Ok(sender) => sender,
            Err(error) => {
                self.standing.ended.store(true, Relaxed);
                return Err(again(request, error));
            }
        };
        let ends = request.body().is_end_stream();
        let (answer, mut body) = match self.sender.send_request(head, ends) {
            Ok(sent) => sent,
            Err(error) if error.is_go_away() || error.is_io() => {
                self.standing.ended.store(true, Relaxed);
                return Err(again(request, error));
            }
            // What it is asked to send is no request over HTTP/2.
            Err(error) => return Err(Unanswered::Heard(error.into())),
        };
        let answer = match request.body().whole() {
            Some(bytes) => {
                if !ends && let Err(error) = body.send_data(bytes, true) {
                    return Err(self.unanswered(error, Some(request)));
                }
                answer.await.map_err(|error| (error, Some(request)))
            }
            None => self.uploaded(answer, body, request.into_body()).await?,
        };
        match answer {
            Ok(answer) => Ok(self.answered(answer)),
            Err((error, request)) => Err(self.unanswered(error, request)),
        }
    }

    /// Sends a body as it comes, and waits for the head of the answer, which may come first.
    async fn uploaded(
        &mut self,
        mut answer: ResponseFuture,
        body: SendStream<Bytes>,
        upload: Out,
    ) -> Result<Result<Response<RecvStream>, (h2::Error, Option<Request<Out>>)>, Unanswered> {
        let mut sending = Box::pin(send_all(body, upload));
        let first = tokio::select! {
            answer = &mut answer => Ok(answer),
            sent = &mut sending => Err(sent),
        };
        let answer = match first {
            Ok(answer) => {
                // The rest of the body goes on its way for as long as the answer is read.
                self._upload = Some(Upload(tokio::spawn(sending).abort_handle()));
                answer
            }
            Err(Ok(())) => answer.await,
            // The client's own fault.
            Err(Err(cause)) => return Err(Unanswered::Heard(cause)),
        };
        Ok(answer.map_err(|error| (error, None)))
    }

    fn unanswered(&mut self, error: h2::Error, request: Option<Request<Out>>) -> Unanswered {
        let unheard = is_unheard(&error);
        if error.is_go_away() || error.is_io() {
            self.standing.ended.store(true, Relaxed);
        } else if unheard {
            self.refused = true;
            self.standing.full.store(true, Relaxed);
        }
        match unheard {
            true => Unanswered::Unheard(request.map(Box::new), error.into()),
            false => Unanswered::Heard(self.standing.cause(error).into()),
        }
    }

    fn answered(self, answer: Response<RecvStream>) -> Response<Stream> {
        let (mut head, body) = answer.into_parts();
        head.version = Version::HTTP_11;
        let stream = Stream {
            body,
            over: false,
            seat: self,
        };
        Response::from_parts(head, stream)
    }
}

/// What is only about one connection of HTTP/1 (RFC 9113, 8.2.2), and the host, which has a place of its own.
const NOT_IN_HTTP2: [HeaderName; 6] = [
    CONNECTION,
    HOST,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A request's head as HTTP/2 has it.
fn head(
    request: &Request<Out>,
    (scheme, authority): (&Scheme, &Authority),
) -> Result<Request<()>, http::Error> {
    // A unix socket has no name; its server sees plain HTTP.
    let (scheme, authority) = match scheme.as_str() {
        crate::unix::SCHEME => ("http", "localhost"),
        scheme => (scheme, without_user(authority)),
    };
    let path = request.uri().path_and_query();
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path.map_or("/", |path| path.as_str()))
        .build()?;
    let mut head = Request::builder()
        .method(request.method().clone())
        .uri(uri)
        .version(Version::HTTP_2)
        .body(())?;
    *head.headers_mut() = request.headers().clone();
    for name in &NOT_IN_HTTP2 {
        head.headers_mut().remove(name);
    }
    let length = request.body().size_hint().exact();
    let bodiless = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::DELETE
    );
    if let Some(length) = length.filter(|length| *length > 0 || !bodiless) {
        let length = HeaderValue::from(length);
        head.headers_mut().insert(CONTENT_LENGTH, length);
    }
    Ok(head)
}

fn without_user(authority: &Authority) -> &str {
    let whole = authority.as_str();
    whole.rsplit_once('@').map_or(whole, |(_, host)| host)
}

/// Sends a body as fast as both ends will.
async fn send_all(mut to: SendStream<Bytes>, mut body: Out) -> Result<(), Cause> {
    loop {
        let frame = match body.frame().await {
            None => break,
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                to.send_reset(Reason::CANCEL);
                return Err(error);
            }
        };
        let Ok(mut bytes) = frame.into_data() else {
            continue;
        };
        while !bytes.is_empty() {
            to.reserve_capacity(bytes.len());
            let some = std::future::poll_fn(|cx| to.poll_capacity(cx)).await;
            let Some(Ok(some)) = some else {
                // The server wants no more of it, which its answer tells.
                return Ok(());
            };
            let piece = bytes.split_to(some.min(bytes.len()));
            if to.send_data(piece, false).is_err() {
                return Ok(());
            }
        }
    }
    let _ = to.send_data(Bytes::new(), true);
    Ok(())
}

impl Stream {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let told = |standing: &ConnectionUse, error| Poll::Ready(Some(Err(standing.cause(error))));
        match ready!(self.body.poll_data(cx)) {
            Some(Ok(data)) => {
                // Taken by the client, or as good as: it is asked for only when there is room.
                let _ = self.body.flow_control().release_capacity(data.len());
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            Some(Err(error)) => return told(&self.seat.standing, error),
            None => {}
        }
        match ready!(self.body.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => {
                self.over = true;
                Poll::Ready(None)
            }
            Err(error) => told(&self.seat.standing, error),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.standing.fmt(f)
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}
