//! What each HTTP status of a provider means: whether the attempt is charged, and whether another arm may be tried.

use super::work::Failing;
use crate::upstream::health::Ailment;
use http::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// Who pays for an attempt that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalCharge {
    /// Nobody: no work was done.
    Nothing,
    /// Nobody knows what the provider did, so the bound is charged.
    Bound,
    /// Nobody, if the provider itself says in its own words that it has taken no work; else the bound.
    NothingIfSaid,
}

/// What happens after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The answer goes to the client: what one provider finds wrong is wrong for the next one too, unless it says that its model cannot do
    /// it (`dialect::fault::incapable`).
    End,
    /// Another arm is tried, if there is one.
    OtherArm,
}

/// What a status means that is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) charge: RefusalCharge,
    pub(super) next: Next,
    /// It is no answer: a redirect, which the client must not follow with its prompt and key, most likely from an address that is
    /// not quite the provider's; or half of an exchange of another protocol.
    pub(super) no_answer: bool,
}

/// The table. A status that says that the request was not taken up means that no work was done (reliability: A3); after any other
/// error the outcome is unknown.
///
/// | status | source |
/// |---|---|
/// | 400, 401, 403, 404, 405, 413, 415, 422, 429 | every vendor's list of errors |
/// | 402 | DeepSeek "Insufficient Balance", OpenRouter "insufficient credits", Anthropic `billing_error` |
/// | 498 | Groq "flex tier capacity exceeded: the request will not be processed" |
/// | 406, 407, 410, 411, 412, 414, 416, 417, 421, 423, 426, 428, 431, 451, 501, 505 | RFC 9110, 4918, 6585, 7725: refused before it is taken up |
/// | 503, 529 | OpenAI and Gemini "overloaded", Anthropic `overloaded_error`, llama.cpp "Loading model", Ollama "server busy" |
/// | 408, 409, 424, 425, 499, other 5xx | work may have begun |
pub(super) fn meaning(status: StatusCode) -> Meaning {
    let (charge, next, no_answer) = match status.as_u16() {
        100..=199 => (RefusalCharge::Nothing, Next::End, true),
        304 => (RefusalCharge::Bound, Next::OtherArm, false),
        300..=399 => (RefusalCharge::Nothing, Next::OtherArm, true),
        // Azure bills the prompt of a request that its filter stops, and says `content_filter`.
        400 => (RefusalCharge::Nothing, Next::End, false),
        413 | 415 | 422 => (RefusalCharge::Nothing, Next::End, false),
        401 | 402 | 403 | 404 | 405 | 429 | 498 => (RefusalCharge::Nothing, Next::OtherArm, false),
        406 | 407 | 410 | 411 | 412 | 414 | 416 | 417 | 421 | 423 | 426 | 428 | 431 | 451 | 501
        | 505 => (RefusalCharge::Nothing, Next::OtherArm, false),
        503 | 529 => (RefusalCharge::NothingIfSaid, Next::OtherArm, false),
        _ => (RefusalCharge::Bound, Next::OtherArm, false),
    };
    Meaning {
        charge,
        next,
        no_answer,
    }
}

/// What a status says of who has sent it; `None` where it speaks of the request alone. `several`: its provider has other channels. Where
/// there is only one, a key that is refused is tried again as soon as what else has failed.
pub(super) fn ailment(
    status: StatusCode,
    asks: Option<Duration>,
    several: bool,
) -> Option<Ailment> {
    match status.as_u16() {
        401 | 402 if several => Some(Ailment::Refused),
        401 | 402 => Some(Ailment::Unreachable),
        403 if several => Some(Ailment::Forbidden),
        429 | 498 | 503 | 529 => Some(Ailment::Busy(asks)),
        500..=599 => Some(Ailment::Failing),
        _ => None,
    }
}

/// What an attempt leaves behind that was refused with this status and costs nothing.
pub(super) fn failing(status: StatusCode, asks: Option<Duration>) -> Failing {
    match status.as_u16() {
        429 | 498 | 503 | 529 => Failing::Busy(asks),
        401 | 402 => Failing::Untaken,
        403 | 404 => Failing::Elsewhere,
        _ => Failing::Unsure,
    }
}

/// How long a provider wants to be left alone: in seconds, or in the milliseconds that OpenAI and Azure tell beside them. A date is not
/// read: whoever sends one means longer than anybody waits here.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let millis = number("retry-after-ms").map(Duration::from_millis);
    millis.or_else(|| number("retry-after").map(Duration::from_secs))
}

/// Why a failure that has left no bill may be made good on another channel of the same provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excused {
    /// This account of ours is refused, or its own rate limit is used up: another one has its own.
    Account,
    /// What the request names is not there: another account or deployment may have it.
    Absent,
    /// The deployment cannot be reached, or has no room.
    Deployment,
}

impl Excused {
    /// Why a failure may be made good elsewhere, if it may. `told`: what the provider has answered, if it has.
    pub(super) fn of<B>(failing: Failing, told: Option<&Response<B>>) -> Option<Excused> {
        let status = told.map(|answer| answer.status().as_u16());
        match (failing, status) {
            (Failing::Unsure, _) => None,
            (Failing::Untaken, _) | (Failing::Elsewhere, Some(403)) => Some(Excused::Account),
            (Failing::Elsewhere, _) => Some(Excused::Absent),
            (Failing::NotSent | Failing::Busy(_), _) => Some(Excused::Deployment),
        }
    }
}

impl RefusalCharge {
    /// Whether the bound is charged, now that the body of the refusal is here; nothing of it where it did not come.
    pub(super) fn is_bound(self, body: Option<&[u8]>) -> bool {
        match self {
            RefusalCharge::Nothing => body.is_some_and(was_filtered),
            RefusalCharge::Bound => true,
            RefusalCharge::NothingIfSaid => !body.is_some_and(is_own_error),
        }
    }
}

/// An error as providers tell it: what is wrong stands in `error`, as an object or a sentence; at Mistral and Cohere in `message`,
/// beside what tells it from a balancer's.
#[derive(Deserialize)]
struct ErrorShape<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

fn told(body: &[u8]) -> Option<ErrorShape<'_>> {
    if body.trim_ascii_start().first() == Some(&b'[') {
        // Gemini tells an error to who asked for a list of chunks in a list of one.
        return serde_json::from_slice::<Vec<ErrorShape<'_>>>(body)
            .ok()?
            .pop();
    }
    serde_json::from_slice(body).ok()
}

/// The provider's own error, and not the page of a balancer in front of it, behind which the work may go on.
fn is_own_error(body: &[u8]) -> bool {
    told(body).is_some_and(|told| {
        let says = |raw: Option<&RawValue>| {
            raw.is_some_and(|raw| raw.get().starts_with(['{', '"']) && raw.get().len() > 2)
        };
        says(told.error) || (says(told.message) && (told.id.is_some() || told.object.is_some()))
    })
}

/// The prompt was read, and stopped by a filter.
fn was_filtered(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Coded {
        code: String,
    }
    let error = told(body).and_then(|told| told.error).map(RawValue::get);
    let coded = error.and_then(|error| serde_json::from_str::<Coded>(error).ok());
    coded.is_some_and(|coded| coded.code == "content_filter")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charged(status: u16, body: Option<&str>) -> bool {
        let meaning = meaning(StatusCode::from_u16(status).expect("a status"));
        meaning.charge.is_bound(body.map(str::as_bytes))
    }

    #[test]
    fn a_request_that_was_not_taken_up_costs_nothing() {
        for status in [
            400, 401, 402, 403, 404, 405, 406, 410, 413, 414, 415, 421, 422, 429, 431, 451, 498,
        ] {
            assert!(
                !charged(status, Some(r#"{"error":{"message":"no"}}"#)),
                "{status}"
            );
            assert!(!charged(status, None), "{status}");
        }
        for status in [408, 409, 424, 425, 499, 500, 502, 504, 520, 524] {
            assert!(
                charged(status, Some(r#"{"error":{"message":"no"}}"#)),
                "{status}"
            );
        }
        assert!(charged(400, Some(r#"{"error":{"code":"content_filter"}}"#)));
    }

    #[test]
    fn overload_costs_nothing_where_the_provider_itself_says_it() {
        for body in [
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#,
            r#"{"error":"server busy, please try again"}"#,
            r#"[{"error":{"code":503,"status":"UNAVAILABLE"}}]"#,
            r#"{"object":"error","message":"Service unavailable.","type":"service_unavailable"}"#,
            r#"{"id":"1","message":"overloaded"}"#,
        ] {
            assert!(
                !charged(503, Some(body)) && !charged(529, Some(body)),
                "{body}"
            );
        }
        for body in [
            Some("<html>503 Service Unavailable</html>"),
            Some("{}"),
            Some(r#"{"message":"Service Unavailable"}"#),
            Some(r#"{"error":null}"#),
            Some(""),
            None,
        ] {
            assert!(charged(503, body) && charged(529, body), "{body:?}");
        }
    }
}
