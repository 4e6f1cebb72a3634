//! One request, looked up by its id.

use super::Admin;
use super::answer::{json_answer, say};
use super::decisions;
use super::outcomes::{in_time, no_books, outcome};
use crate::relay::AnswerBody;
use http::{Response, StatusCode};
use serde_json::{Value, json};

/// All attempts of one request, and the decision while it is kept.
pub(super) async fn request(admin: &Admin, id: &str) -> Response<AnswerBody> {
    let Ok(id) = uuid::Uuid::parse_str(id) else {
        return say(
            StatusCode::BAD_REQUEST,
            "that is no request id; it stands in the header x-flyball-request-id of every answer, e.g. 0199f3a2-6f5e-7c11-9d55-2a1be3c0a7d4",
        );
    };
    let id = id.to_string();
    let attempts = match in_time(admin.state.ledger.request(&id)).await {
        Ok(attempts) => attempts,
        Err(why) => return no_books(&why),
    };
    let decision = decisions::of(admin, &id);
    if attempts.is_empty() && decision.is_none() {
        return say(
            StatusCode::NOT_FOUND,
            "the books know of no such request: it was refused before anything was sent, is older than what they keep, or went through another flyball",
        );
    }
    let mut told = json!({"request": id});
    told["decision"] = json!(decision);
    merge(&mut told, outcome(&attempts));
    json_answer(&told)
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
