//! Answers of our own: errors in the caller's dialect, small JSON, and answers that are held back until they are whole.

use super::returned::{name, set, set_type};
use crate::dialect::{self, Answer as Said, Dialect, Frame};
use crate::error::{Error, Kind, Retry};
use crate::private::Classes;
use crate::provider::channel::Channel;
use crate::relay::AnswerBody;
use crate::telemetry::Refusal;
use crate::upstream::In;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::response::Parts;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use secrecy::ExposeSecret;
use std::time::Duration;

/// A JSON answer up to this size is read whole, so that its cost can stand in its headers.
pub(super) const HELD_MAX: usize = 1024 * 1024;
/// The same of an answer about batches, in which addresses are rewritten: a list of a thousand, with long names.
pub(super) const LISTED_MAX: usize = 16 * 1024 * 1024;

/// A whole answer that came compressed is unpacked up to this size; a longer one cannot be read.
pub(super) const UNPACKED_MAX: usize = 16 * 1024 * 1024;

/// A whole answer that is to be translated is held up to this size.
pub(super) const TRANSLATED_MAX: usize = 16 * 1024 * 1024;

/// A whole answer in the client's own dialect; as a stream where the client asked for one and the provider sent none.
pub(super) fn translated(
    mut head: Parts,
    dialect: &'static dyn Dialect,
    stream: bool,
    answer: Said,
    frame: Frame,
) -> Response<AnswerBody> {
    if !stream {
        set_type(&mut head.headers, "application/json");
        return Response::from_parts(head, AnswerBody::whole(dialect.answer_body(answer, &frame)));
    }
    set_type(&mut head.headers, dialect.stream_type(frame.array));
    let mut writer = dialect.stream_writer(frame);
    let mut out = Vec::new();
    for event in answer.into_events() {
        writer.write(event, &mut out);
    }
    writer.finish(&mut out);
    Response::from_parts(head, AnswerBody::whole(out))
}

/// A provider's error in the client's own dialect, with the provider's own status and advice on retrying.
pub(super) fn error_of(
    mut head: Parts,
    body: &[u8],
    dialect: &dyn Dialect,
    id: &str,
) -> Response<AnswerBody> {
    let kind = dialect::fault::of_status(head.status.as_u16());
    let kind = kind.unwrap_or(Kind::UpstreamFailed);
    let error = Error::new(kind, dialect::fault::said(body));
    set_type(&mut head.headers, "application/json");
    Response::from_parts(head, AnswerBody::whole(dialect.error_body(&error, id)))
}

/// Puts the request id on an answer.
pub(super) fn identified(mut answer: Response<AnswerBody>, id: &str) -> Response<AnswerBody> {
    if let Ok(value) = HeaderValue::from_str(id) {
        answer.headers_mut().insert(name::REQUEST, value);
    }
    answer
}

/// Says which classes of what is confidential were found in the request.
pub(super) fn found(mut answer: Response<AnswerBody>, found: Classes) -> Response<AnswerBody> {
    if !found.is_empty() {
        set(
            answer.headers_mut(),
            "x-flyball-private",
            &found.to_string(),
        );
    }
    answer
}

/// An error as HTTP in the caller's dialect.
pub(super) fn error(error: &Error, dialect: &dyn Dialect, id: &str) -> Response<AnswerBody> {
    let mut answer = json(
        StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        dialect.error_body(error, id),
    );
    let headers = answer.headers_mut();
    match error.retry {
        Retry::Never => {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        Retry::After(wait) => {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
            // A cap's refusal is for the app to wait out, not for its SDK to hammer.
            if matches!(error.kind, Kind::CapReached | Kind::RateReached) {
                headers.insert("x-should-retry", HeaderValue::from_static("false"));
            }
        }
        Retry::Unsaid => {}
    }
    answer
}

/// The log line and metric of a refusal.
pub(super) fn refused<'a>(error: &'a Error, id: &'a str) -> Refusal<'a> {
    Refusal { request: id, error }
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::whole(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// What became of holding an answer back.
pub(super) enum HeldAnswer {
    /// It is all here.
    Whole(Bytes),
    /// It is longer; the first part and the rest.
    Longer(Bytes, In),
    /// It broke off or took too long.
    Broken(Error),
}

pub(super) async fn read_up_to(mut body: In, most: usize, deadline: Duration) -> HeldAnswer {
    let reading = async {
        let mut held = BytesMut::new();
        loop {
            match body.frame().await {
                None => return Ok(HeldAnswer::Whole(held.freeze())),
                Some(Err(e)) => return Err(e),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        held.extend_from_slice(&data);
                    }
                    if held.len() > most {
                        return Ok(HeldAnswer::Longer(held.freeze(), body));
                    }
                }
            }
        }
    };
    match tokio::time::timeout(deadline, reading).await {
        Ok(Ok(held)) => held,
        Ok(Err(e)) => HeldAnswer::Broken(
            Error::new(
                Kind::UpstreamFailed,
                "the model's server broke off in its answer",
            )
            .detail(e.to_string()),
        ),
        Err(_) => HeldAnswer::Broken(Error::new(
            Kind::UpstreamTimeout,
            "the model's server did not finish its answer in time",
        )),
    }
}

/// For a status that neither answers nor refuses: a redirect, most likely from an address that is not quite the provider's.
pub(super) fn no_answer(head: &http::response::Parts) -> Error {
    let to = head
        .headers
        .get(http::header::LOCATION)
        .and_then(|to| to.to_str().ok());
    let detail = match to {
        Some(to) => format!("HTTP {} to {to}; is base_url right?", head.status.as_u16()),
        None => format!("HTTP {}; is base_url right?", head.status.as_u16()),
    };
    Error::new(
        Kind::UpstreamFailed,
        "the model's server sent the request elsewhere instead of answering it",
    )
    .detail(detail)
}

/// A provider's error text, with our own key blotted out should it quote it.
pub(super) fn redacted(bytes: Bytes, channel: &Channel) -> Bytes {
    let Some(key) = channel
        .api_key
        .as_ref()
        .map(ExposeSecret::expose_secret)
        .filter(|k| k.len() >= 8)
    else {
        return bytes;
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains(key) => Bytes::from(text.replace(key, "[redacted]")),
        _ => bytes,
    }
}
