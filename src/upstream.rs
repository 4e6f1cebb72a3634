//! The only outbound sockets: one attempt, with deadlines. Never retries on its own, never follows a redirect.

pub mod channels;
pub mod health;
mod http2;
mod inward;
pub mod load;
mod pool;
mod socket;
mod tls;

pub use inward::{Coding, In};

use crate::error::{Error, Kind};
use crate::limits::Limits;
use crate::provider::Http2;
use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use pool::{NoAnswer, Pool, Reached};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// How flyball calls itself where it asks for something of its own accord. What a client asks for bears that client's own name.
pub const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("flyball/", env!("CARGO_PKG_VERSION")));

/// A pool of connections to every provider.
#[derive(Debug)]
pub struct Upstream {
    pool: Pool,
    first_byte: Duration,
    total: Duration,
}

/// The body of a request on its way out.
#[derive(Debug)]
pub enum Out {
    /// Known as a whole.
    Whole(Full<Bytes>),
    /// The client's own, passed on as it comes.
    Streamed(Upload),
}

/// A client's body on its way through: no longer than a limit, and here in time.
#[derive(Debug)]
pub struct Upload {
    body: Limited<Incoming>,
    deadline: Pin<Box<Sleep>>,
}

impl Upload {
    /// At most the bytes, in at most the time, that any request's body may have.
    #[must_use]
    pub fn new(body: Incoming, limits: &Limits) -> Upload {
        Upload {
            body: Limited::new(body, limits.body_bytes_max),
            deadline: Box::pin(sleep(limits.client_body)),
        }
    }
}

/// The client's body did not arrive in time.
#[derive(Debug)]
struct TooSlow;

impl std::fmt::Display for TooSlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client's body did not arrive in time")
    }
}

impl std::error::Error for TooSlow {}

impl From<Bytes> for Out {
    fn from(bytes: Bytes) -> Out {
        Out::Whole(Full::new(bytes))
    }
}

impl Out {
    /// The bytes, where they are known as a whole.
    fn whole(&self) -> Option<Bytes> {
        let Out::Whole(full) = self else {
            return None;
        };
        let nobody = &mut Context::from_waker(Waker::noop());
        match Pin::new(&mut full.clone()).poll_frame(nobody) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
            _ => Some(Bytes::new()),
        }
    }
}

impl Body for Out {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Out::Whole(full) => Pin::new(full)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Out::Streamed(upload) => match Pin::new(&mut upload.body).poll_frame(cx) {
                Poll::Pending if upload.deadline.as_mut().poll(cx).is_ready() => {
                    Poll::Ready(Some(Err(TooSlow.into())))
                }
                other => other,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Out::Whole(full) => full.is_end_stream(),
            Out::Streamed(upload) => upload.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Out::Whole(full) => full.size_hint(),
            Out::Streamed(upload) => upload.body.size_hint(),
        }
    }
}

/// When a server begins to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// Before the answer is made: a stream, or what takes no time to make.
    AtOnce,
    /// When the whole answer is made: its first byte comes together with its last.
    AtItsEnd,
    /// When it has room, within this time.
    Within(Duration),
}

/// How a server is spoken with.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// When it begins to answer.
    pub begins: Begins,
    /// Whether over HTTP/2.
    pub http2: Http2,
}

/// An attempt that got no answer.
#[derive(Debug)]
pub struct Failure {
    /// What happened.
    pub error: Error,
    /// The provider cannot have done any work: nothing of the request reached it.
    pub not_sent: bool,
}

impl Upstream {
    /// Makes the pool. TLS uses the machine's certificates, or Mozilla's where it has none.
    #[must_use]
    pub fn new(limits: &Limits) -> Upstream {
        Upstream {
            pool: Pool::new(limits),
            first_byte: limits.first_byte,
            total: limits.total,
        }
    }

    /// Sends one request of flyball's own and waits for the head of its answer.
    ///
    /// # Errors
    /// Not reached, broken off before the head, or no head in time.
    pub async fn send(
        &self,
        url: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<In>, Failure> {
        headers.insert(USER_AGENT, AGENT);
        let terms = Terms {
            begins: Begins::AtOnce,
            http2: Http2::Auto,
        };
        self.call(Method::POST, url, headers, (body.into(), terms))
            .await
    }

    /// As [`Upstream::send`], with any method and body, to a server that begins its answer sooner or later.
    ///
    /// # Errors
    /// As there; a client's body that is longer than its limit.
    pub async fn call(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        (body, terms): (Out, Terms),
    ) -> Result<Response<In>, Failure> {
        let shown = || crate::unix::shown(url);
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .body(body)
            .map_err(|e| Failure {
                error: Error::new(Kind::Internal, "the model's address is not usable")
                    .detail(format!("{}: {e}", shown())),
                not_sent: true,
            })?;
        *request.headers_mut() = headers;
        let (within, limit) = match terms.begins {
            Begins::AtOnce => (self.first_byte, "limits.first_byte"),
            Begins::AtItsEnd => (self.total, "limits.total"),
            Begins::Within(time) => (time, "x-flyball-deadline"),
        };
        match tokio::time::timeout(within, self.pool.request(request, terms.http2)).await {
            Ok(Ok(answer)) => Ok(answer.map(In::new)),
            Ok(Err(e)) => Err(failure(&shown(), &e)),
            Err(_) => Err(Failure {
                error: Error::new(
                    Kind::UpstreamTimeout,
                    "the model's server did not begin to answer in time",
                )
                .detail(format!(
                    "{}: no first byte within {within:?} ({limit})",
                    shown()
                )),
                not_sent: false,
            }),
        }
    }
}

fn failure(url: &str, no_answer: &NoAnswer) -> Failure {
    let NoAnswer { cause, reached } = no_answer;
    let mut why = String::new();
    for next in chain(&**cause) {
        if let Some(error) = clients_own(next) {
            return Failure {
                error,
                not_sent: false,
            };
        }
        if !why.is_empty() {
            why.push_str(": ");
        }
        why.push_str(&next.to_string());
    }
    let cause = cause_of(no_answer, &why);
    let public = match reached {
        Reached::Nobody => format!("the model's server cannot be reached: {cause}"),
        Reached::Unheard => format!("the model's server has not taken the request: {cause}"),
        Reached::Heard => format!("the model's server broke off before it answered: {cause}"),
    };
    Failure {
        error: Error::new(Kind::UpstreamFailed, public).detail(format!("{url}: {why}")),
        not_sent: *reached != Reached::Heard,
    }
}

/// An error and what has caused it, and so on.
fn chain<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// Why no answer came, in words for a client: without the address, which the whole chain of causes may hold.
fn cause_of(no_answer: &NoAnswer, why: &str) -> &'static str {
    use std::io::ErrorKind;
    let mut kinds = chain(&*no_answer.cause).map(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.map(std::io::Error::kind)
    });
    let told = kinds.find_map(|kind| {
        Some(match kind? {
            ErrorKind::ConnectionRefused => "it refused the connection",
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                "it reset the connection"
            }
            ErrorKind::TimedOut => "it took too long",
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "there is no way to it",
            _ => return None,
        })
    });
    let says = |word: &str| why.contains(word);
    match told {
        Some(told) => told,
        None if says("certificate") => "its certificate is not accepted",
        None if says("dns") || says("lookup") => "its name is not known",
        None if says("tls") || says("TLS") || says("handshake") => {
            "no secure connection came about"
        }
        None if says("deadline") || says("timed out") || says("in time") => "it took too long",
        None if no_answer.reached == Reached::Nobody => "no connection came about",
        None if no_answer.reached == Reached::Unheard => "it refused it unread",
        None if says("closed") || says("end of file") || says("IncompleteMessage") => {
            "it closed the connection"
        }
        None => "what it sent is no answer",
    }
}

/// What is wrong with the client's body and not with the provider.
fn clients_own(cause: &(dyn std::error::Error + 'static)) -> Option<Error> {
    if cause.is::<LengthLimitError>() {
        let public = "The request's body is longer than limits.body_bytes_max.";
        return Some(Error::new(Kind::TooLarge, public));
    }
    cause.is::<TooSlow>().then(|| {
        let public = "The request's body did not arrive in time.";
        Error::new(Kind::ClientTimeout, public)
    })
}
