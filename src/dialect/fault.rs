//! What a provider's error body says, in whichever shape: `error` as an object or a text, `detail` or
//! `message` in its place, a list around it.

use super::body::error_text;
use crate::chat::answer::Fault;
use crate::error::Kind;
use serde_json::Value;

/// The sentence of an error body; a body without one is told as it is, cut to a length.
#[must_use]
pub fn said(body: &[u8]) -> String {
    let found = serde_json::from_slice::<Value>(body).ok();
    let found = found.as_ref().and_then(sentence);
    match found {
        Some(text) => error_text(text),
        None => match String::from_utf8_lossy(body).trim() {
            "" => "the model's server reported an error without words".to_owned(),
            text => error_text(text),
        },
    }
}

/// As [`said`], with what is wrong.
#[must_use]
pub fn told(body: &[u8]) -> Fault {
    of(body, said(body))
}

/// An error of which a decoder has found the sentence.
#[must_use]
pub fn of(body: &[u8], text: String) -> Fault {
    Fault {
        kind: kind(body),
        text,
    }
}

/// What is wrong by an error's own words, or by the status that it names; that the server has failed where it has neither.
#[must_use]
pub fn kind(body: &[u8]) -> Kind {
    let found = serde_json::from_slice::<Value>(body).ok();
    let found = found.as_ref().map(first);
    let places = [
        "/error/type",
        "/error/status",
        "/error/code",
        "/response/error/code",
        "/code",
        "/type",
    ];
    let mut values = places.iter().filter_map(|at| found?.pointer(at));
    let read = |value: &Value| match value {
        Value::String(word) => word.parse().map_or_else(|_| of_word(word), of_status),
        value => value
            .as_u64()
            .and_then(|n| of_status(u16::try_from(n).ok()?)),
    };
    values.find_map(read).unwrap_or(Kind::UpstreamFailed)
}

/// What a provider's status says is wrong; `None` where that is its server.
#[must_use]
pub fn of_status(status: u16) -> Option<Kind> {
    Some(match status {
        400 | 422 => Kind::BadRequest,
        401 => Kind::Unauthorized,
        402 => Kind::CapReached,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        413 => Kind::TooLarge,
        429 => Kind::RateReached,
        503 | 529 => Kind::Overloaded,
        408 | 504 => Kind::UpstreamTimeout,
        _ => return None,
    })
}

/// The vendors' words in the errors of their streams.
fn of_word(word: &str) -> Option<Kind> {
    Some(match word {
        "invalid_request_error" | "INVALID_ARGUMENT" | "invalid_prompt" => Kind::BadRequest,
        "authentication_error" | "UNAUTHENTICATED" => Kind::Unauthorized,
        "billing_error" | "insufficient_quota" => Kind::CapReached,
        "permission_error" | "PERMISSION_DENIED" => Kind::Forbidden,
        "not_found_error" | "NOT_FOUND" => Kind::NotFound,
        "request_too_large" => Kind::TooLarge,
        "rate_limit_error" | "rate_limit_exceeded" | "RESOURCE_EXHAUSTED" => Kind::RateReached,
        "overloaded_error" | "UNAVAILABLE" | "overloaded" | "server_is_overloaded" => {
            Kind::Overloaded
        }
        "timeout_error" | "DEADLINE_EXCEEDED" => Kind::UpstreamTimeout,
        _ => return None,
    })
}

/// Gemini wraps an error of a stream in a list.
fn first(value: &Value) -> &Value {
    let list = value.as_array();
    list.and_then(|list| list.first()).unwrap_or(value)
}

fn sentence(value: &Value) -> Option<&str> {
    let value = first(value);
    let places = [
        "/error/message",
        "/error",
        "/detail",
        "/message",
        "/detail/0/msg",
        "/error/type",
    ];
    let mut texts = places.iter().filter_map(|at| value.pointer(at)?.as_str());
    texts.find(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_found_in_every_vendors_words() {
        for (body, expected) in [
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
                Kind::Overloaded,
            ),
            (
                r#"{"error":{"message":"m","type":"x","code":"rate_limit_exceeded"}}"#,
                Kind::RateReached,
            ),
            (r#"{"error":{"code":429,"message":"m"}}"#, Kind::RateReached),
            (
                r#"{"error":{"code":"402","message":"m"}}"#,
                Kind::CapReached,
            ),
            (
                r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]"#,
                Kind::BadRequest,
            ),
            (
                r#"{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"m"}}}"#,
                Kind::RateReached,
            ),
            (
                r#"{"type":"error","code":"server_error","message":"m"}"#,
                Kind::UpstreamFailed,
            ),
            (r#"{"error":"m"}"#, Kind::UpstreamFailed),
            ("<html>", Kind::UpstreamFailed),
        ] {
            assert_eq!(kind(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn the_sentence_is_found_in_every_vendors_shape() {
        for (body, expected) in [
            (r#"{"error":{"message":"m","code":400}}"#, "m"),
            (
                r#"{"type":"error","error":{"type":"t","message":"m"}}"#,
                "m",
            ),
            (r#"{"code":"c","error":"m"}"#, "m"),
            (r#"{"detail":"m"}"#, "m"),
            (r#"{"detail":[{"loc":[],"msg":"m"}]}"#, "m"),
            (r#"{"id":1,"message":"m"}"#, "m"),
            (
                r#"[{"error":{"code":400,"message":"m","status":"X"}}]"#,
                "m",
            ),
            (r#"{"error":{"type":"t"}}"#, "t"),
            ("<html>", "<html>"),
            ("", "the model's server reported an error without words"),
        ] {
            assert_eq!(said(body.as_bytes()), expected, "{body}");
        }
    }
}
