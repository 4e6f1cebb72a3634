//! Answers that equal requests share: who may share one, what makes two requests equal, and what of an answer is kept for others. When
//! and in which order is for `shared` to say.

use super::admission::{Admission, Maker};
use super::completion::Completion;
use super::reply;
use super::returned::{self, name};
use super::router::{self, CallKind};
use super::wishes::CacheWish;
use crate::arm::{Effort, Tier};
use crate::caller::Caller;
use crate::error::{Error, Kind};
use crate::relay::AnswerBody;
use crate::response_cache::{Key, KeyMaker, ResponseCache, Share, Stored, Wish};
use crate::route::Policy;
use crate::settle::Paid;
use crate::telemetry::CacheResult;
use crate::telemetry::otlp::Trace;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::sync::Arc;
use std::time::Instant;

/// Whether the answer to a request is shared.
pub(super) enum Sharing {
    /// It wants no part in it.
    Not,
    /// It asks for that and may not, or there is no cache.
    Barred,
    /// It is.
    Wanted(Shared),
}

/// What a request shares.
pub(super) struct Shared {
    pub(super) cache: Arc<ResponseCache>,
    pub(super) wish: Wish,
    pub(super) key: Key,
}

/// Whether this request shares its answer, and under which key. What is confidential never does, nor what has any other effect than an
/// answer.
pub(super) fn sharing(
    cache: &ArcSwapOption<ResponseCache>,
    admission: &Admission<'_>,
    completion: &Completion<'_>,
    body: &Bytes,
) -> Sharing {
    let asked = admission.wishes.cache;
    let barred = match asked {
        None => Sharing::Not,
        Some(CacheWish::Off) => return Sharing::Not,
        Some(CacheWish::Share(_)) => Sharing::Barred,
    };
    let cache = cache.load();
    let Some(cache) = &*cache else { return barred };
    let by_rule = || {
        let asks = cache.settings.by_rules && completion.is_routed();
        asks && completion.rule().route.cache
    };
    let wish = match asked {
        Some(CacheWish::Share(wish)) => wish,
        _ if by_rule() => Wish::Use(None),
        _ => return Sharing::Not,
    };
    let confidential = admission.wishes.private || !admission.detected.is_empty();
    // Who comes back for the answer is told that it waits, which is no answer for others.
    let waits = completion.may_join_batch();
    if confidential || waits || admission.dialect.has_effects(&completion.request) {
        return barred;
    }
    Sharing::Wanted(Shared {
        key: key(cache.settings.share, admission, completion, body),
        cache: Arc::clone(cache),
        wish,
    })
}

/// What makes two requests equal: all that is sent, all by which it would be decided differently, and who may share.
fn key(share: Share, admission: &Admission<'_>, completion: &Completion<'_>, body: &Bytes) -> Key {
    let (head, dialect, wishes) = (admission.head, admission.dialect, &admission.wishes);
    let mut key = KeyMaker::default();
    let (scope, whose) = scope(share, admission, completion);
    key.part(scope, whose);
    key.part("dialect", dialect.name());
    key.part("path", head.uri.path());
    let envelope = dialect.envelope();
    for pair in head.uri.query().unwrap_or_default().split('&') {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        if envelope.query_key != Some(name) {
            key.part("query", pair);
        }
    }
    let header = |key: &mut KeyMaker, name: &str| {
        for value in head.headers.get_all(name) {
            key.part(name, value);
        }
    };
    let version = envelope.version.map(|(name, _)| name);
    for name in envelope.features.iter().copied().chain(version) {
        header(&mut key, name);
    }
    key.part("objective", wishes.objective.map_or("", |o| o.name()));
    key.part("effort", wishes.effort.map_or("", Effort::name));
    if completion.is_routed() {
        for rule in &admission.policy.rules {
            for (name, _) in &rule.when.header {
                header(&mut key, name);
            }
            for tag in &rule.when.tag {
                let there = wishes.tags.contains(tag);
                key.part(&tag.0, if there { tag.1.as_str() } else { "" });
            }
            if !rule.when.key.is_empty() {
                key.part("key", admission.caller.name());
            }
        }
    }
    key.body(body);
    key.key()
}

/// Whom the answer may be shared with. What the client may name later by an id is known for its own key alone.
fn scope<'a>(
    share: Share,
    admission: &'a Admission<'_>,
    completion: &Completion<'_>,
) -> (&'static str, String) {
    let caller: &'a Caller = &admission.caller;
    let kept = admission.dialect.is_kept(&completion.request);
    match share {
        Share::All if !kept => ("all", String::new()),
        Share::Team if !kept && !caller.team().is_empty() => ("team", caller.team().to_owned()),
        _ => (
            "key",
            caller.key.as_ref().map_or(0, |key| key.id).to_string(),
        ),
    }
}

/// A request as whoever answers it for several needs it, without what is its client's alone.
pub(super) struct Asked {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    pub(super) id: String,
    pub(super) caller: Caller,
    pub(super) policy: Arc<Policy>,
    pub(super) arrived: Instant,
    pub(super) trace: Trace,
}

impl Asked {
    pub(super) fn of(admission: &Admission<'_>, body: &Bytes) -> Asked {
        let mut head = admission.head.clone();
        // Not everybody who shares the answer can read a compressed one.
        head.headers.remove(ACCEPT_ENCODING);
        Asked {
            head,
            body: body.clone(),
            id: admission.id.to_owned(),
            caller: admission.caller.clone(),
            policy: Arc::clone(&admission.policy),
            arrived: admission.arrived,
            trace: admission.trace.clone(),
        }
    }

    /// The path says again what it has said before.
    ///
    /// # Errors
    /// A defect: it was a completion.
    pub(super) fn place(&self) -> Result<crate::dialect::Place<'_>, Error> {
        match router::asked(&self.head).1? {
            CallKind::Complete(place) => Ok(place),
            _ => Err(Error::new(Kind::Internal, "this call is not shared")),
        }
    }
}

const CACHE: HeaderName = HeaderName::from_static("x-flyball-cache");
const LIMIT: HeaderName = HeaderName::from_static("x-flyball-limit-tokens");
const SIMULATED: HeaderName = HeaderName::from_static("x-flyball-simulated");

/// Says what the cache had for a request.
pub(super) fn noted(mut answer: Response<AnswerBody>, result: CacheResult) -> Response<AnswerBody> {
    let value = HeaderValue::from_static(result.name());
    answer.headers_mut().insert(CACHE, value);
    answer
}

/// The answer may be given to others later: it is one, it has ended well, and says who has made it.
pub(super) fn may_be_kept(head: &http::response::Parts, paid: &Paid) -> bool {
    let limited = head.headers.contains_key(LIMIT);
    head.status == StatusCode::OK && paid.is_good(limited) && maker(&head.headers).is_some()
}

/// What of an answer's head is of use to others: what the body is, and who has made it. All else is about the first exchange alone.
pub(super) fn shared_head(headers: &HeaderMap) -> HeaderMap {
    const OWN: [&str; 10] = [
        "x-flyball-model",
        "x-flyball-provider",
        "x-flyball-effort",
        "x-flyball-tier",
        "x-flyball-task",
        "x-flyball-difficulty",
        "x-flyball-rule",
        "x-flyball-dropped",
        "x-flyball-removed",
        "x-flyball-simulated",
    ];
    let shared = |name: &HeaderName| *name == CONTENT_TYPE || OWN.contains(&name.as_str());
    let lines = headers.iter().filter(|(name, _)| shared(name));
    lines
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Who has made the answer with this head; `None` where it does not say so.
pub(super) fn maker(headers: &HeaderMap) -> Option<Maker<'_>> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    Some(Maker {
        provider: text(&name::PROVIDER)?,
        model: text(&name::MODEL)?,
        effort: Effort::parse(text(&name::EFFORT)?)?,
        tier: Tier::parse(text(&name::TIER)?)?,
        task: text(&name::TASK)?,
        rule: text(&name::RULE)?,
        difficulty: text(&name::DIFFICULTY).and_then(|d| d.parse().ok()),
        simulated: headers.contains_key(SIMULATED),
    })
}

/// Whether this caller could be answered by that model too, by the configuration of now.
pub(super) fn is_permitted(admission: &Admission<'_>, maker: &Maker<'_>) -> bool {
    let Admission { policy, caller, .. } = admission;
    let dialect = admission.dialect.name();
    let model = policy
        .fleet
        .resolve(maker.model, dialect, &policy.catalogue);
    model.is_ok_and(|model| model.provider.name == maker.provider) && caller.may_use(maker.model)
}

/// An answer of before.
pub(super) fn replayed(stored: &Stored) -> Response<AnswerBody> {
    let body = match stored.stream {
        true => AnswerBody::Replayed(Some(stored.body.clone())),
        false => AnswerBody::whole(stored.body.clone()),
    };
    let mut answer = Response::new(body);
    *answer.headers_mut() = stored.head.clone();
    let age = stored.age().as_secs().to_string();
    returned::set(answer.headers_mut(), "x-flyball-cache-age", &age);
    from(&mut answer, &stored.request);
    answer
}

/// Says which request has paid for the answer.
pub(super) fn from(answer: &mut Response<AnswerBody>, request: &str) {
    returned::set(answer.headers_mut(), "x-flyball-cache-from", request);
}

/// A failure that is the provider's, which an equal request would meet as well. Any other is a matter of who has asked.
pub(super) fn is_of_provider(error: &Error) -> bool {
    matches!(
        error.kind,
        Kind::UpstreamFailed | Kind::UpstreamTimeout | Kind::Overloaded
    )
}

/// What the client is told whose answer got lost.
pub(super) fn lost() -> Error {
    let public = "The answer was given up before it began.";
    Error::new(Kind::Internal, public)
}

/// A provider's refusal, as it is told to all who share the answer.
pub(super) fn refused(head: http::response::Parts, whole: Option<Bytes>) -> Response<AnswerBody> {
    match whole {
        Some(bytes) => Response::from_parts(head, AnswerBody::whole(bytes)),
        // It goes on as it comes only where it is too long to be read, and then it is for one alone.
        None => reply::json(head.status, Bytes::new()),
    }
}
