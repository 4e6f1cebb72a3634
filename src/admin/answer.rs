//! What every answer of the admin listener is made of.

use crate::relay::AnswerBody;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::Value;

/// A line of text.
pub(super) fn say(status: StatusCode, text: &str) -> Response<AnswerBody> {
    typed(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

/// The whole of an answer of this kind.
pub(super) fn typed(status: StatusCode, kind: &'static str, body: String) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::whole(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A JSON document.
pub(super) fn json_answer(body: &Value) -> Response<AnswerBody> {
    typed(StatusCode::OK, "application/json", body.to_string())
}
