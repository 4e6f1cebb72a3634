//! One HTTP exchange with a simulated model: path to dialect, body to ask, generation to bytes in time.
//! Never looks at credentials: there is nothing to protect and loopback only.

use super::answer::Generation;
use super::ask::{self, Refusal, SimAsk};
use super::cache::PromptCache;
use super::frames::{SimFrame, share};
use super::model::SimModel;
use super::words::Dice;
use super::{Settings, anthropic, openai};
use bytes::Bytes;
use futures_util::stream::unfold;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Body as _, Incoming};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep_until, timeout};

/// The largest body read: far above any prompt that a demo or a test sends, far below what hurts.
const BODY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A body must have arrived by then; the client is on this machine.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What all connections share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) requests: AtomicU64,
    pub(super) finished: AtomicU64,
    pub(super) tokens: AtomicU64,
    ids: AtomicU64,
    cache: PromptCache,
}

impl Shared {
    pub(super) fn new(settings: Settings) -> Shared {
        Shared {
            settings,
            requests: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            ids: AtomicU64::new(0),
            cache: PromptCache::default(),
        }
    }

    /// Unlike the answers, ids must differ from request to request; they follow from seed and order.
    fn id(&self) -> String {
        let number = self.ids.fetch_add(1, Ordering::Relaxed).to_string();
        let mut dice = Dice::new(self.settings.seed, &["id", &number]);
        format!("{:016x}{:08x}", dice.roll(), dice.roll() >> 32)
    }

    /// Waits until this moment of a generation, then counts what it made.
    async fn live(&self, start: Instant, frame: &SimFrame) {
        sleep_until(start + frame.at.div_f64(self.settings.speed)).await;
        self.tokens.fetch_add(frame.tokens, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SpokenWire {
    OpenAi,
    Anthropic,
}

/// Answers one request. Dropping the future, or later the body, stops the generation.
pub(super) async fn exchange(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let id = shared.id();
    let path = request.uri().path().to_owned();
    let wire = wire(&path, request.headers());
    let answered = match (request.method(), path.as_str()) {
        (&Method::POST, "/v1/chat/completions" | "/v1/messages" | "/v1/messages/count_tokens") => {
            answer(&shared, request, &path, &id).await
        }
        (&Method::POST, "/v1/embeddings") => embed(&shared, request).await,
        (&Method::GET, _) if path == "/v1/models" || path.starts_with("/v1/models/") => {
            listing(wire, path.trim_start_matches("/v1/models"))
        }
        (
            _,
            "/v1/chat/completions"
            | "/v1/messages"
            | "/v1/messages/count_tokens"
            | "/v1/embeddings",
        ) => Err(Refusal::new(
            405,
            "invalid_request_error",
            "the method must be POST",
        )),
        _ => Err(Refusal::new(
            404,
            "not_found_error",
            format!("there is nothing at {path}"),
        )),
    };
    let mut response = answered.unwrap_or_else(|refusal| refused(wire, &refusal, &id));
    stamp(response.headers_mut(), wire, &id);
    response
}

fn wire(path: &str, headers: &HeaderMap) -> SpokenWire {
    if path.starts_with("/v1/messages") || headers.contains_key("anthropic-version") {
        SpokenWire::Anthropic
    } else {
        SpokenWire::OpenAi
    }
}

fn stamp(headers: &mut HeaderMap, wire: SpokenWire, id: &str) {
    headers.insert("x-flyball-simulated", header::HeaderValue::from_static("1"));
    let (name, value) = match wire {
        SpokenWire::OpenAi => ("x-request-id", format!("req_{id}")),
        SpokenWire::Anthropic => ("request-id", format!("req_sim{id}")),
    };
    let value = value.parse().expect("hexadecimal digits fit a header");
    headers.insert(name, value);
}

async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    path: &str,
    id: &str,
) -> Result<Response<Body>, Refusal> {
    let start = Instant::now();
    let body = read(request.into_body()).await?;
    let ask = match path {
        "/v1/messages/count_tokens" => {
            return Ok(json(
                StatusCode::OK,
                anthropic::counted(ask::anthropic_count(&body)?),
            ));
        }
        "/v1/messages" => ask::anthropic(&body)?,
        _ => ask::openai(&body)?,
    };
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let cache = shared.cache.take(&ask, Instant::now());
    let generation = Generation::of(shared.settings.seed, &ask, cache);
    let wire = if path == "/v1/messages" {
        SpokenWire::Anthropic
    } else {
        SpokenWire::OpenAi
    };
    let created = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let head = openai::Head {
        ask: &ask,
        id,
        created,
    };
    Ok(match (wire, ask.stream) {
        (SpokenWire::OpenAi, true) => play(shared, start, openai::stream(&head, &generation)),
        (SpokenWire::Anthropic, true) => {
            play(shared, start, anthropic::stream(&ask, id, &generation))
        }
        (wire, false) => {
            make(shared, start, &ask, &generation).await;
            json(
                StatusCode::OK,
                match wire {
                    SpokenWire::OpenAi => openai::whole(&head, &generation),
                    SpokenWire::Anthropic => anthropic::whole(&ask, id, &generation),
                },
            )
        }
    })
}

/// Vectors come as fast as they can: a real embedder is quicker than any model's first word.
async fn embed(shared: &Shared, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let body = read(request.into_body()).await?;
    let answer = super::embed::embedded(shared.settings.seed, &body)?;
    shared.requests.fetch_add(1, Ordering::Relaxed);
    shared.finished.fetch_add(1, Ordering::Relaxed);
    Ok(json(StatusCode::OK, answer))
}

async fn read(body: Incoming) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::new(413, "request_too_large", "the body is larger than 4 MiB");
    if body.size_hint().lower() > BODY_BYTES_MAX {
        return Err(too_large());
    }
    let limited = Limited::new(body, usize::try_from(BODY_BYTES_MAX).expect("4 MiB"));
    match timeout(BODY_TIME_MAX, limited.collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(why)) if why.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refusal::new(
            400,
            "invalid_request_error",
            "the body broke off",
        )),
        Err(_) => Err(Refusal::new(
            408,
            "timeout_error",
            "the body did not arrive",
        )),
    }
}

/// Makes a whole answer, in its time.
async fn make(shared: &Shared, start: Instant, ask: &SimAsk, generation: &Generation) {
    let first = ask.model.first;
    let time = generation.time(ask).saturating_sub(first);
    for frame in share(generation.output(), time, first) {
        shared.live(start, &frame).await;
    }
    shared.finished.fetch_add(1, Ordering::Relaxed);
}

/// Sends a streamed answer, each frame in its time.
fn play(shared: &Arc<Shared>, start: Instant, frames: Vec<SimFrame>) -> Response<Body> {
    let state = (Arc::clone(shared), frames.into_iter());
    let stream = unfold(state, move |(shared, mut frames)| async move {
        loop {
            let Some(frame) = frames.next() else {
                shared.finished.fetch_add(1, Ordering::Relaxed);
                return None;
            };
            shared.live(start, &frame).await;
            if !frame.text.is_empty() {
                let data = http_body::Frame::data(Bytes::from(frame.text));
                return Some((Ok(data), (shared, frames)));
            }
        }
    });
    let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    response
}

fn listing(wire: SpokenWire, rest: &str) -> Result<Response<Body>, Refusal> {
    let name = rest.trim_start_matches('/');
    let body = match (wire, name, SimModel::named(name)) {
        (SpokenWire::OpenAi, "", _) => openai::models(),
        (SpokenWire::Anthropic, "", _) => anthropic::models(),
        (SpokenWire::OpenAi, _, Some(model)) => openai::model(model),
        (SpokenWire::Anthropic, _, Some(model)) => anthropic::model(model),
        (_, _, None) => return Err(Refusal::no_model(name)),
    };
    Ok(json(StatusCode::OK, body))
}

fn refused(wire: SpokenWire, refusal: &Refusal, id: &str) -> Response<Body> {
    let status = StatusCode::from_u16(refusal.status).expect("refusals carry real statuses");
    json(
        status,
        match wire {
            SpokenWire::OpenAi => openai::error(refusal),
            SpokenWire::Anthropic => anthropic::error(refusal, id),
        },
    )
}

fn json(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}
