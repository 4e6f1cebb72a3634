//! Connections to providers, kept for the next request.
//!
//! A connection has no task of its own: whoever waits for its answer drives it, so that a request and its answer wake one task and not
//! two. A connection that nobody uses is looked at when it is taken, which tells whether the server has closed it by then.
//!
//! All that is said of HTTP/1. Where a server speaks HTTP/2, requests share connections ([`super::http2`]): as many as it takes on each.

use super::Out;
use super::http2::{self, Channel, Seat, Stream, Unanswered};
use super::socket::{Connectors, Socket};
use crate::limits::Limits;
use crate::provider::Http2;
use foldhash::HashMap;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A connection that nobody has used for so long is closed. Servers close theirs after a minute or more.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How often it is looked for connections that are to be closed.
const SWEEP: Duration = Duration::from_secs(30);
/// Connections to one server that are kept while nobody uses them.
const IDLE_PER_SERVER: usize = 256;
/// An answer's head is a few KB; a larger one is a fault of the server. What was read and not taken yet by the client is in such buffers
/// too, so that they are most of what a client costs that reads nothing.
const BUFFER_MAX: usize = 64 * 1024;

/// How often a request is sent anew that a server has not taken up and says so, as one does that goes away or has too many.
const ANEW_MAX: usize = 3;
/// A server over HTTP/2 that is silent for so long while it is to answer is asked whether it is there; sooner where `limits.idle` is short.
const PROBE: Duration = Duration::from_secs(15);

/// No answer came.
#[derive(Debug)]
pub(super) struct NoAnswer {
    /// Why.
    pub(super) cause: Box<dyn StdError + Send + Sync>,
    /// How far the request went.
    pub(super) reached: Reached,
}

/// How far a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// No connection came about.
    Nobody,
    /// The server says that it has not taken it up.
    Unheard,
    /// The server may have taken it up.
    Heard,
}

/// Connections to every server that is asked.
#[derive(Debug)]
pub(super) struct Pool {
    connectors: Connectors,
    probe: Duration,
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
    /// Those over HTTP/2, which are in use as well.
    channels: HashMap<Server, Channels>,
    /// Somebody closes those that wait too long.
    swept: bool,
}

/// The connections to a server that speaks HTTP/2.
#[derive(Debug, Default)]
struct Channels {
    all: Vec<Channel>,
    /// Whoever makes the next one; others wait for it, since they may find room there.
    making: Arc<tokio::sync::Mutex<()>>,
}

/// Who is at the other end, and how it is spoken with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Server {
    scheme: Scheme,
    authority: Authority,
    http2: Http2,
}

/// A connection that was made.
enum Made {
    Link(Box<Link>),
    Channel(Channel),
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
    pub(super) fn new(limits: &Limits) -> Pool {
        Pool::trusting(limits, &crate::tls::client())
    }

    fn trusting(limits: &Limits, tls: &rustls::ClientConfig) -> Pool {
        Pool {
            connectors: Connectors::new(limits.connect, tls),
            probe: PROBE.min(limits.idle / 4),
            kept: Arc::default(),
        }
    }

    /// Sends one request and waits for the head of its answer. What a kept connection has not even begun to send, since the server had
    /// closed it, is sent once more on another one.
    pub(super) async fn request(
        &self,
        mut request: Request<Out>,
        http2: Http2,
    ) -> Result<Response<Wire>, NoAnswer> {
        let server = Server::of(request.uri(), http2).ok_or_else(|| NoAnswer {
            cause: "the address has no host".into(),
            reached: Reached::Nobody,
        })?;
        if let Ok(host) = HeaderValue::from_str(server.host_header()) {
            request.headers_mut().entry(HOST).or_insert(host);
        }
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        if server.may_speak_http2() {
            // On the heap, so that requests to others wait in less.
            return Box::pin(self.share(server, request)).await;
        }
        loop {
            let (link, reused) = match self.kept.take(&server) {
                Some(link) => (link, true),
                None => match Box::pin(self.connect(&server)).await? {
                    Made::Link(link) => (link, false),
                    Made::Channel(_) => unreachable!("nobody has offered HTTP/2"),
                },
            };
            match self.ask(&server, link, reused, request).await? {
                Ok(answer) => return Ok(answer),
                Err(again) => request = *again,
            }
        }
    }

    /// Sends it on a connection that is for it alone.
    async fn ask(
        &self,
        server: &Server,
        mut link: Box<Link>,
        reused: bool,
        request: Request<Out>,
    ) -> Result<Asked, NoAnswer> {
        match link.send(request).await {
            Ok(answer) => {
                let in_use = InUse {
                    link: Some(link),
                    server: server.clone(),
                    kept: Arc::downgrade(&self.kept),
                };
                let answer = answer.map(|body| Wire::Alone(body, in_use));
                Ok(Ok(answer))
            }
            Err((Some(unsent), _)) if reused => Ok(Err(unsent)),
            Err((_, error)) => Err(NoAnswer {
                cause: error.into(),
                reached: Reached::Heard,
            }),
        }
    }

    /// The same to a server that may speak HTTP/2: on a connection that others use as well, if it does.
    async fn share(
        &self,
        server: Server,
        mut request: Request<Out>,
    ) -> Result<Response<Wire>, NoAnswer> {
        let mut anew = 0;
        loop {
            let (link, reused) = match self.seat_or_link(&server).await? {
                WayOut::Seat(seat) => {
                    let sent = seat
                        .send(request, (&server.scheme, &server.authority))
                        .await;
                    match sent {
                        Ok(answer) => {
                            return Ok(answer.map(|body| Wire::Shared(Box::new(body))));
                        }
                        Err(Unanswered::Unheard(Some(again), _)) if anew < ANEW_MAX => {
                            anew += 1;
                            request = *again;
                            continue;
                        }
                        Err(Unanswered::Unheard(_, cause)) => {
                            let reached = Reached::Unheard;
                            return Err(NoAnswer { cause, reached });
                        }
                        Err(Unanswered::Heard(cause)) => {
                            let reached = Reached::Heard;
                            return Err(NoAnswer { cause, reached });
                        }
                    }
                }
                WayOut::Link(link, reused) => (link, reused),
            };
            match self.ask(&server, link, reused, request).await? {
                Ok(answer) => return Ok(answer),
                Err(again) => request = *again,
            }
        }
    }

    async fn seat_or_link(&self, server: &Server) -> Result<WayOut, NoAnswer> {
        if let Some(seat) = self.kept.seat(server) {
            return Ok(WayOut::Seat(seat));
        }
        if let Some(link) = self.kept.take(server) {
            return Ok(WayOut::Link(link, true));
        }
        // Where it is known to speak HTTP/2 one connection is made at a time.
        let making = self.kept.making(server);
        let _making = match &making {
            Some(making) => Some(making.lock().await),
            None => None,
        };
        if let (Some(_), Some(seat)) = (&making, self.kept.seat(server)) {
            return Ok(WayOut::Seat(seat));
        }
        Ok(match self.connect(server).await? {
            Made::Link(link) => {
                self.kept.forgets_http2(server);
                WayOut::Link(link, false)
            }
            Made::Channel(channel) => {
                // Its first place is for whoever made it.
                let seat = channel.seat().ok_or_else(|| NoAnswer {
                    cause: "the connection ended at once".into(),
                    reached: Reached::Nobody,
                })?;
                self.kept.keep_channel(server.clone(), channel);
                WayOut::Seat(seat)
            }
        })
    }

    async fn connect(&self, server: &Server) -> Result<Made, NoAnswer> {
        let unconnected = |cause| NoAnswer {
            cause,
            reached: Reached::Nobody,
        };
        let Server {
            scheme,
            authority,
            http2,
        } = server;
        let connecting = self.connectors.connect((scheme, authority), *http2);
        let socket = connecting.await.map_err(unconnected)?;
        let encrypted = *scheme == Scheme::HTTPS;
        if socket.agreed_on_http2() || (*http2 == Http2::Always && !encrypted) {
            let begun = http2::begin(socket, self.probe, self.kept.most(server)).await;
            return begun
                .map(Made::Channel)
                .map_err(|error| unconnected(error.into()));
        }
        if *http2 == Http2::Always {
            return Err(unconnected(
                "the TLS handshake agreed on no HTTP/2 (http2 = \"always\")".into(),
            ));
        }
        let made = Builder::new()
            .max_buf_size(BUFFER_MAX)
            .handshake(socket)
            .await;
        let (sender, connection) = made.map_err(|error| unconnected(error.into()))?;
        Ok(Made::Link(Box::new(Link {
            sender,
            connection,
            ended: false,
        })))
    }
}

/// Where a request goes out.
enum WayOut {
    /// On a connection that others use as well.
    Seat(Seat),
    /// On one of its own; whether that was used before.
    Link(Box<Link>, bool),
}

/// What became of a request on a connection of its own: its answer, or itself again where nothing of it was sent.
type Asked = Result<Response<Wire>, Box<Request<Out>>>;

/// The body of an answer, with the connection on which it comes.
#[derive(Debug)]
pub(super) enum Wire {
    /// Over HTTP/1.
    Alone(Incoming, InUse),
    /// Over HTTP/2.
    Shared(Box<Stream>),
}

impl Wire {
    /// What comes next of it.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<bytes::Bytes>>>> {
        match self {
            Wire::Alone(body, in_use) => poll_body(body, in_use, cx)
                .map(|frame| frame.map(|frame| frame.map_err(io::Error::other))),
            Wire::Shared(stream) => stream.poll_frame(cx),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Wire::Alone(body, _) => body.is_end_stream(),
            Wire::Shared(stream) => stream.is_end_stream(),
        }
    }

    pub(super) fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Wire::Alone(body, _) => body.size_hint(),
            Wire::Shared(_) => http_body::SizeHint::default(),
        }
    }

    /// The answer is over as far as anybody reads it. What was not `read` to its end is cancelled: over HTTP/1 its connection closes, over
    /// HTTP/2 its stream is reset, which happens when it is dropped.
    pub(super) fn over(&mut self, read: bool) {
        if let Wire::Alone(body, in_use) = self {
            in_use.over(read || body.is_end_stream());
        }
    }
}

impl Server {
    fn of(uri: &Uri, http2: Http2) -> Option<Server> {
        Some(Server {
            scheme: uri.scheme()?.clone(),
            authority: uri.authority()?.clone(),
            http2,
        })
    }

    /// Without TLS nobody agrees on anything.
    fn may_speak_http2(&self) -> bool {
        match self.http2 {
            Http2::Never => false,
            Http2::Auto => self.scheme == Scheme::HTTPS,
            Http2::Always => true,
        }
    }

    /// The host as the server wants to hear it: without the port that the scheme has by itself (RFC 9110, 7.2), and without a name or
    /// password that may stand before it.
    fn host_header(&self) -> &str {
        if self.scheme.as_str() == crate::unix::SCHEME {
            return "localhost";
        }
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
        self.see_to_sweeping(&mut idle);
    }

    fn see_to_sweeping(self: &Arc<Self>, idle: &mut Idle) {
        if !idle.swept
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            idle.swept = true;
            runtime.spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// A place on a connection over HTTP/2.
    fn seat(&self, server: &Server) -> Option<Seat> {
        let idle = self.idle();
        let channels = idle.channels.get(server)?;
        channels.all.iter().find_map(Channel::seat)
    }

    /// Requests that a new connection to this server most likely takes at once: as many as those that are there.
    fn most(&self, server: &Server) -> usize {
        let idle = self.idle();
        let channels = idle.channels.get(server);
        let all = channels.into_iter().flat_map(|channels| &channels.all);
        all.map(Channel::most).min().unwrap_or(http2::STREAMS_MAX)
    }

    /// Whoever makes connections to a server that is known to speak HTTP/2.
    fn making(&self, server: &Server) -> Option<Arc<tokio::sync::Mutex<()>>> {
        let mut idle = self.idle();
        let known = idle.channels.get(server);
        if known.is_none() && server.http2 != Http2::Always {
            return None;
        }
        let channels = idle.channels.entry(server.clone()).or_default();
        Some(Arc::clone(&channels.making))
    }

    /// Keeps a connection over HTTP/2 for this and the next requests.
    fn keep_channel(self: &Arc<Self>, server: Server, channel: Channel) {
        let mut idle = self.idle();
        let channels = idle.channels.entry(server).or_default();
        channels.all.retain(|channel| !channel.is_over(IDLE_MAX));
        channels.all.push(channel);
        self.see_to_sweeping(&mut idle);
    }

    /// It does not speak HTTP/2, or not any more.
    fn forgets_http2(&self, server: &Server) {
        let mut idle = self.idle();
        if idle.channels.get(server).is_some_and(|c| c.all.is_empty()) {
            idle.channels.remove(server);
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
        let mut ended = Vec::new();
        for channels in idle.channels.values_mut() {
            ended.extend(channels.all.extract_if(.., |c| c.is_over(IDLE_MAX)));
        }
        idle.channels.retain(|_, channels| !channels.all.is_empty());
        idle.swept = !idle.links.is_empty() || !idle.channels.is_empty();
        let left = idle.swept;
        drop(idle);
        drop((old, ended));
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
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(link) = &mut self.link {
            drive(&mut link.connection, &mut link.ended, cx);
        }
    }

    /// The answer is over as far as anybody reads it. `whole`: it was read to its end, so that another one may follow it; else the
    /// connection closes, which tells the server to stop.
    fn over(&mut self, whole: bool) {
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
fn poll_body(
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use std::net::SocketAddr;
    use std::path::PathBuf;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    fn fixture(name: &str) -> PathBuf {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        folder.join(name)
    }

    fn believing() -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(fixture("front-ca.pem")).expect("a certificate");
        roots.add(ca).expect("a root");
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// A server that offers these protocols, and answers in the one that was agreed on.
    async fn offering(offers: &[&str]) -> SocketAddr {
        let chain = CertificateDer::from_pem_file(fixture("front-a.pem")).expect("a chain");
        let key = PrivateKeyDer::from_pem_file(fixture("front-a.key")).expect("a key");
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .expect("they fit");
        config.alpn_protocols = offers.iter().map(|o| o.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(socket).await else {
                    continue;
                };
                tokio::spawn(async move {
                    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                        let mut connection =
                            h2::server::handshake(stream).await.expect("it begins");
                        while let Some(Ok((_, mut respond))) = connection.accept().await {
                            let sent = respond.send_response(Response::new(()), true);
                            let _: h2::SendStream<Bytes> = sent.expect("sent");
                        }
                    } else if stream.read(&mut [0; 4096]).await.is_ok() {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        let _ = stream.write_all(answer).await;
                        let _ = stream.read(&mut [0; 1]).await;
                    }
                });
            }
        });
        at
    }

    #[tokio::test]
    async fn over_tls_http2_is_spoken_where_both_agree_on_it() {
        let both = ["h2", "http/1.1"];
        for (offers, http2, shared) in [
            (&both[..], Http2::Auto, Some(true)),
            (&both, Http2::Never, Some(false)),
            (&both, Http2::Always, Some(true)),
            (&["http/1.1"], Http2::Auto, Some(false)),
            (&["http/1.1"], Http2::Always, None),
            (&[], Http2::Auto, Some(false)),
            (&[], Http2::Always, None),
        ] {
            let at = offering(offers).await;
            let pool = Pool::trusting(&Limits::default(), &believing());
            let request = Request::post(format!("https://{at}/v1/chat"))
                .body(Out::from(Bytes::from_static(b"{}")))
                .expect("a request");
            let answer = crate::until::within("an answer", pool.request(request, http2)).await;
            let told = answer.map(|answer| matches!(answer.body(), Wire::Shared(_)));
            assert_eq!(told.ok(), shared, "{offers:?} {http2:?}");
        }
    }
}
