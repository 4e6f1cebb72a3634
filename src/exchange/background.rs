//! Answers that are made in the background: the client is told at once that its request is taken up, comes back for the answer, cancels it, or
//! follows it as a stream from wherever it left off.
//!
//! A vendor that keeps answers makes them itself, and only of its end somebody has to hear ([`poll`]). For every other model flyball asks
//! like for any request, in a task of its own that goes on whether anybody listens or not, and keeps the answer here. What is confidential is kept
//! in memory alone.

mod keeping;
mod poll;

pub use keeping::{Background, Settings};
pub use poll::keep_polling;

use super::admission::{Admission, Inbound};
use super::batches::Seat;
use super::completion::Completion;
use super::router::Collection;
use super::work::Work;
use super::{Exchange, State, reply, returned};
use crate::dialect::background::{BackgroundWords, JobEnding};
use crate::dialect::sse::SseReader;
use crate::dialect::{self, Dialect, Place};
use crate::error::{Error, Kind, Retry};
use crate::fleet::Arm;
use crate::json::Object;
use crate::ledger::now;
use crate::ledger::store::jobs::{JobDoc, JobKind, JobRow, JobState};
use crate::provider::Side;
use crate::provider::channel::Channel;
use crate::relay::AnswerBody;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, TE,
};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt;
use keeping::Live;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A refusal that comes within this time is the answer to the call that begins a job; later it is the job's end.
const EARLY: Duration = Duration::from_millis(500);
/// Jobs of one key that flyball makes at the same time: each holds a request and an answer in memory.
const UNDER_WAY_MAX: i64 = 1_000;
/// One answer with its events is no longer than this.
const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// A job that is cancelled is waited for so long; then the client is told how it stands.
const CANCELS_WITHIN: Duration = Duration::from_secs(5);

/// What tells the call that begins a job how a step of it went.
type Hears = oneshot::Sender<Result<(), Error>>;

/// The vendor of an arm makes and keeps answers in this dialect itself.
fn is_made_there(arm: &Arm, dialect: &'static dyn Dialect) -> bool {
    let provider = &arm.model.provider;
    let home = &provider.home;
    let keeps = provider.side(home, Side::Answers(dialect.name()), "", "");
    let speaks = provider.endpoint(home, dialect.name(), &arm.model.name, false);
    keeps.is_some() && speaks.is_some()
}

fn key_of(admission: &Admission<'_>) -> i64 {
    admission.caller.key.as_ref().map_or(0, |key| key.id)
}

/// Begins a job, where the request asks for one and the model that is to answer has no vendor which makes it; else `None`.
///
/// # Errors
/// No model may answer, or it is refused before it has begun.
pub(super) async fn begin(
    state: &Arc<State>,
    admission: &Admission<'_>,
    body: &Bytes,
    place: &Place<'_>,
) -> Result<Option<Response<AnswerBody>>, Error> {
    let Some(words) = admission.dialect.background() else {
        return Ok(None);
    };
    let Ok(fields) = Object::read(body) else {
        return Ok(None);
    };
    if !words.asks(&fields) {
        return Ok(None);
    }
    let at_once = words.at_once(&fields);
    let completion = Completion::read(admission, &at_once, place)?;
    let routed = completion.decide(None)?;
    let first = routed.arms().first();
    let Some(arm) = first.filter(|arm| !is_made_there(arm, admission.dialect)) else {
        return Ok(None);
    };
    let streams = fields.some("stream") == Some("true");
    check_room(state, admission).await?;
    let (live, row) = job(state, admission, (words, arm));
    let mut head = admission.head.clone();
    // Its client does not hear the job itself, whose answer is not packed for it either.
    head.headers.remove(TE);
    head.headers.remove(ACCEPT_ENCODING);
    let seat = Seat::new(
        state,
        admission.caller.clone(),
        (head, admission.id),
        at_once.clone(),
    );
    let (noted, is_noted) = oneshot::channel();
    let (early, heard) = oneshot::channel();
    let making = make(
        Arc::clone(state),
        Arc::clone(&live),
        (row, seat),
        (noted, early),
    );
    // Whoever leaves from here on leaves a job that comes to its end.
    tokio::spawn(making);
    is_noted
        .await
        .map_err(|_| Error::new(Kind::Internal, "a job in the background cannot begin"))??;
    if let Ok(Ok(Err(refused))) = tokio::time::timeout(EARLY, heard).await {
        state.background.forget(state, &live.id).await?;
        return Err(refused);
    }
    Ok(Some(match streams {
        true => stream(&live, None),
        false => reply::json(StatusCode::OK, live.response()),
    }))
}

/// # Errors
/// So many jobs are under way that no other may begin.
async fn check_room(state: &Arc<State>, admission: &Admission<'_>) -> Result<(), Error> {
    let key = key_of(admission);
    let noted = state
        .batches
        .with(move |store| store.jobs_under_way(key, UNDER_WAY_MAX));
    // Confidential ones are in memory alone.
    let under_way = noted.await?.max(state.background.under_way(key));
    if under_way >= UNDER_WAY_MAX || state.background.is_full() {
        let why = "As many answers are being made in the background as may be at once; ask again later, or without \"background\".";
        return Err(Error::new(Kind::Overloaded, why));
    }
    Ok(())
}

/// A job that is about to begin, and its row where it may be written.
fn job(
    state: &Arc<State>,
    admission: &Admission<'_>,
    (words, arm): (&'static dyn BackgroundWords, &Arm),
) -> (Arc<Live>, Option<JobRow>) {
    let key = key_of(admission);
    let id = words.id(admission.id);
    let response = words.queued(&id, now(), &arm.model.name);
    let private = admission.wishes.private || !admission.detected.is_empty();
    let live = Arc::new(Live::new(&id, (key, private), words, response.clone()));
    let row = JobRow {
        id,
        key,
        kind: JobKind::Own,
        state: JobState::Running,
        created: now(),
        expires: now().saturating_add(state.background.keep_seconds()),
        doc: JobDoc {
            request: admission.id.to_owned(),
            model: arm.model.name.clone(),
            dialect: admission.dialect.name().to_owned(),
            process: state.background.process.clone(),
            response,
            ..JobDoc::default()
        },
    };
    (live, (!private).then_some(row))
}

/// Notes a job, which `noted` hears, and makes it.
async fn make(
    state: Arc<State>,
    live: Arc<Live>,
    (row, seat): (Option<JobRow>, Seat),
    (noted, early): (Hears, Hears),
) {
    let _alive = Arc::clone(&state.batches.alive);
    // Whoever looks for jobs that nobody makes any more finds this one made.
    state.background.insert(&live);
    let _making = Making(Arc::clone(&live));
    if let Some(row) = row {
        let (owner, until) = (state.background.process.clone(), until(&state));
        let begun = state
            .batches
            .with(move |store| store.begin_job(&row, &owner, until));
        if let Err(error) = begun.await {
            state.background.drop_live(&live.id);
            let _ = noted.send(Err(error));
            return;
        }
    }
    let _ = noted.send(Ok(()));
    run(state, live, seat, early).await;
}

/// A job that is made. Whatever becomes of whoever makes it, it comes to an end, and is kept by whoever looks for jobs next.
struct Making(Arc<Live>);

impl Drop for Making {
    fn drop(&mut self) {
        self.0
            .end(JobEnding::Failed("flyball could not make this answer"));
    }
}

/// A process that says nothing of a job for so long has died.
fn until(state: &State) -> i64 {
    let time = i64::try_from(state.batches.claim_time().as_secs());
    now().saturating_add(time.unwrap_or(60))
}

/// Makes the answer, and keeps it. `early` hears whether it was refused before there was any of it.
async fn run(state: Arc<State>, live: Arc<Live>, seat: Seat, early: Hears) {
    let mut stopping = state.batches.stopping();
    // What is left of the request ends here, as if its client had gone away.
    let ended = tokio::select! {
        ended = answer(&state, &live, &seat, early) => ended,
        () = live.is_cancelled() => Some(JobEnding::Cancelled),
        _ = stopping.wait_for(|stopping| stopping.is_now()) => {
            Some(JobEnding::Failed("flyball ended while this answer was made"))
        }
    };
    if let Some(how) = ended {
        live.end(how);
    }
    state.background.ended(&state, &live).await;
}

/// Asks for the answer, as for any request. Gives how it ends, where it does not end by itself.
async fn answer(
    state: &Arc<State>,
    live: &Live,
    seat: &Seat,
    early: Hears,
) -> Option<JobEnding<'static>> {
    let asked = asked(state, seat).await;
    let answer = match asked {
        Ok(answer) if answer.status().is_success() => answer,
        Ok(answer) => {
            let status = answer.status().as_u16();
            let advice = advice(answer.headers());
            let body = whole(answer).await;
            let kind = dialect::fault::of_status(status).unwrap_or(Kind::UpstreamFailed);
            let error = Error::new(kind, dialect::fault::said(&body)).retry(advice);
            live.fails(&error.public);
            let _ = early.send(Err(error));
            return None;
        }
        Err(error) => {
            live.fails(&error.public);
            let _ = early.send(Err(error));
            return None;
        }
    };
    let _ = early.send(Ok(()));
    if !returned::is_event_stream(answer.headers()) {
        let body = whole(answer).await;
        return match live.take_whole(&body) {
            true => None,
            false => Some(JobEnding::Failed("the model's answer cannot be read")),
        };
    }
    let mut body = answer.into_body();
    let mut reader = SseReader::default();
    loop {
        let frame = body.frame().await;
        match frame {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                reader.feed(&data, &mut |event| live.take(event.data));
                if live.bytes() > ANSWER_MAX {
                    return Some(JobEnding::Failed("the answer is too long to be kept"));
                }
            }
            Some(Err(_)) => break,
            None => {
                reader.finish(&mut |event| live.take(event.data));
                break;
            }
        }
    }
    match live.is_over() {
        true => None,
        false => Some(JobEnding::Failed("the model's answer broke off")),
    }
}

/// What an answer says of asking again: what may have been paid for is not asked again by itself.
fn advice(headers: &HeaderMap) -> Retry {
    let of = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if of(HeaderName::from_static("x-should-retry")) == Some("false") {
        return Retry::Never;
    }
    let after = of(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
    after.map_or(Retry::Unsaid, |seconds| {
        Retry::After(Duration::from_secs(seconds))
    })
}

async fn asked(state: &Arc<State>, seat: &Seat) -> Result<Response<AnswerBody>, Error> {
    let admission = seat.admitted(state).await?;
    let place = seat.place()?;
    let exchange = Exchange::of(state, &admission);
    Box::pin(exchange.complete(&seat.body, &place)).await
}

async fn whole(answer: Response<AnswerBody>) -> Bytes {
    let body = http_body_util::Limited::new(answer.into_body(), ANSWER_MAX);
    let read = body.collect().await;
    read.map(http_body_util::Collected::to_bytes)
        .unwrap_or_default()
}

/// The stream of a job: what there is of it after this number, and then what comes.
fn stream(live: &Arc<Live>, after: Option<u64>) -> Response<AnswerBody> {
    events(AnswerBody::Pieces(Box::pin(Live::follow(
        Arc::clone(live),
        after,
    ))))
}

fn events(body: AnswerBody) -> Response<AnswerBody> {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// What is wanted of an answer that is kept.
enum Wanted {
    /// How it stands.
    Look,
    /// Its stream, after this number.
    Follow(Option<u64>),
    /// It is to end.
    Cancel,
    /// It is to be forgotten.
    Delete,
}

/// What came of a call about a kept answer.
pub(super) enum Kept {
    /// It is answered here.
    Here(Response<AnswerBody>),
    /// It is this provider's.
    At(String),
    /// Nothing is known of it here.
    Unknown,
}

/// Answers a call about an answer in the background, where flyball makes it; else tells whose it is. A caller finds its own and no others.
///
/// # Errors
/// It is another caller's.
pub(super) async fn kept(
    state: &Arc<State>,
    inbound: &Inbound<'_>,
    place: Collection<'_>,
) -> Result<Kept, Error> {
    let Side::Answers(name) = place.side else {
        return Ok(Kept::Unknown);
    };
    let words = dialect::named(name).and_then(|dialect| dialect.background());
    let rest = place.rest.trim_start_matches('/');
    let (id, tail) = rest.split_once('/').unwrap_or((rest, ""));
    let (Some(words), false) = (words, id.is_empty()) else {
        return Ok(Kept::Unknown);
    };
    let key = inbound.caller.key.as_ref().map_or(0, |key| key.id);
    let missing = || Error::new(Kind::NotFound, words.unknown(id));
    let live = state.background.live(id);
    let row = match &live {
        Some(live) if live.key != key => return Err(missing()),
        Some(_) => None,
        None => {
            let own = id.to_owned();
            let found = state.batches.with(move |store| store.job(&own)).await?;
            match found {
                Some(row) if row.key != key => return Err(missing()),
                // It was deleted while another process was making it.
                Some(row) if row.kind == JobKind::Own && row.expires <= now() => {
                    return Err(missing());
                }
                Some(row) if row.kind == JobKind::Vendors => {
                    return Ok(Kept::At(row.doc.provider));
                }
                Some(row) => Some(row),
                None if words.is_own(id) => return Err(missing()),
                None => return Ok(Kept::Unknown),
            }
        }
    };
    let wanted = wanted(inbound, tail).ok_or_else(missing)?;
    let answer = match (live, row) {
        (Some(live), _) => of_live(state, &live, wanted).await?,
        (None, Some(row)) => of_row(state, words, &row, wanted).await?,
        (None, None) => return Ok(Kept::Unknown),
    };
    Ok(Kept::Here(answer))
}

fn wanted(inbound: &Inbound<'_>, tail: &str) -> Option<Wanted> {
    let query = inbound.head.uri.query().unwrap_or_default();
    let of = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    match (&inbound.head.method, tail) {
        (&Method::GET | &Method::HEAD, "") => Some(match of("stream") {
            Some("true" | "True") => {
                Wanted::Follow(of("starting_after").and_then(|n| n.parse().ok()))
            }
            _ => Wanted::Look,
        }),
        (&Method::POST, "cancel") => Some(Wanted::Cancel),
        (&Method::DELETE, "") => Some(Wanted::Delete),
        _ => None,
    }
}

async fn of_live(
    state: &Arc<State>,
    live: &Arc<Live>,
    wanted: Wanted,
) -> Result<Response<AnswerBody>, Error> {
    Ok(match wanted {
        Wanted::Look => reply::json(StatusCode::OK, live.response()),
        Wanted::Follow(after) => stream(live, after),
        Wanted::Cancel => {
            live.cancel();
            let _ = tokio::time::timeout(CANCELS_WITHIN, live.until_over()).await;
            reply::json(StatusCode::OK, live.response())
        }
        Wanted::Delete => {
            live.cancel();
            state.background.forget(state, &live.id).await?;
            reply::json(StatusCode::OK, live.words.deleted(&live.id))
        }
    })
}

/// A job that is over, or that another process has.
async fn of_row(
    state: &Arc<State>,
    words: &'static dyn BackgroundWords,
    row: &JobRow,
    wanted: Wanted,
) -> Result<Response<AnswerBody>, Error> {
    match wanted {
        Wanted::Look => Ok(reply::json(
            StatusCode::OK,
            keeping::response_of(state, row).await?,
        )),
        Wanted::Follow(after) => {
            let pieces = keeping::later_events(Arc::clone(state), words, row.id.clone(), after);
            Ok(events(AnswerBody::Pieces(Box::pin(pieces))))
        }
        Wanted::Cancel => {
            let id = row.id.clone();
            state
                .batches
                .with(move |store| store.cancel_job(&id))
                .await?;
            Ok(reply::json(
                StatusCode::OK,
                keeping::response_of(state, row).await?,
            ))
        }
        Wanted::Delete => {
            match row.state {
                JobState::Over => state.background.forget(state, &row.id).await?,
                // Whoever makes it ends it first.
                JobState::Running | JobState::Cancelling => {
                    let id = row.id.clone();
                    let dropped = state.batches.with(move |store| store.drop_job(&id, now()));
                    dropped.await?;
                }
            }
            Ok(reply::json(StatusCode::OK, words.deleted(&row.id)))
        }
    }
}

/// What a vendor that makes an answer is to be asked of its end.
pub(super) async fn note_vendors_job(
    state: &Arc<State>,
    admission: &Admission<'_>,
    (arm, channel, told): (&Arm, &Channel, &'static dyn Dialect),
    (id, attempt): (&str, &str),
) {
    let row = JobRow {
        id: id.to_owned(),
        key: key_of(admission),
        kind: JobKind::Vendors,
        state: JobState::Running,
        created: now(),
        expires: now().saturating_add(poll::WATCHED_FOR),
        doc: JobDoc {
            request: admission.id.to_owned(),
            attempt: attempt.to_owned(),
            provider: arm.model.provider.name.clone(),
            channel: channel.name.clone(),
            model: arm.model.name.clone(),
            dialect: told.name().to_owned(),
            process: state.background.process.clone(),
            response: String::new(),
        },
    };
    let (owner, until) = (state.background.process.clone(), until(state));
    let batches = Arc::clone(state);
    // It is noted as well where its client has left meanwhile.
    let noting = tokio::spawn(async move {
        let noted = batches
            .batches
            .with(move |store| store.begin_job(&row, &owner, until));
        if let Err(error) = noted.await {
            tracing::warn!(%error, "a job in the background cannot be noted; nobody hears of its end unless its client fetches it");
        }
    });
    let _ = noting.await;
}
