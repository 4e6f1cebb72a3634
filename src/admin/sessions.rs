//! Sessions over HTTP: those of the last day with what they have spent, and which are stopped; stop and resume.

use super::Admin;
use super::answer::{json_answer, say};
use super::keys::who;
use super::outcomes::{in_time, no_books};
use super::query::{Query, QueryNames};
use crate::ledger::report::{self, Dimension};
use crate::ledger::stopped::StoppedSession;
use crate::ledger::{now, now_ms};
use crate::relay::AnswerBody;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::time::Duration;

/// Sessions in one answer.
const SHOWN_MAX: usize = 1_000;
/// Over so many hours it goes where nothing is said, and so many at most: sessions stand in attempts, which are all read.
const HOURS: usize = 24;
const HOURS_MAX: usize = 31 * 24;
/// How long an answer waits until what was done is in force here.
const IN_FORCE_MAX: Duration = Duration::from_secs(2);
/// The longest name of a session, in bytes.
const SESSION_MAX: usize = 256;

/// Answers a request for `/admin/v1/sessions` or for what is below it.
pub(super) async fn sessions(admin: &Admin, request: Request<Incoming>) -> Response<AnswerBody> {
    let path = request
        .uri()
        .path()
        .trim_start_matches("/admin/v1/sessions");
    let below = path.trim_start_matches('/');
    let (name, stops) = match (below.strip_suffix("/stop"), below.strip_suffix("/resume")) {
        (Some(name), _) => (name, true),
        (None, Some(name)) => (name, false),
        (None, None) if below.is_empty() && request.method() == Method::GET => {
            return list(admin, request.uri().query()).await;
        }
        (None, None) => return say(StatusCode::METHOD_NOT_ALLOWED, THERE),
    };
    if request.method() != Method::POST {
        return say(StatusCode::METHOD_NOT_ALLOWED, THERE);
    }
    let Ok(name) = percent_decode_str(name).decode_utf8() else {
        return say(StatusCode::BAD_REQUEST, "the session's name is not UTF-8");
    };
    if name.is_empty() || name.len() > SESSION_MAX {
        let why = "a session's name has 1 to 256 bytes; the unnamed session cannot be stopped, but a key can be paused";
        return say(StatusCode::BAD_REQUEST, why);
    }
    let known = QueryNames {
        once: &["key"],
        often: &[],
    };
    let query = match Query::read(request.uri().query(), &known) {
        Ok(query) => query,
        Err(why) => return say(StatusCode::BAD_REQUEST, &why),
    };
    let key = match query.get("key") {
        None => None,
        Some(key) => match row_of(admin, key).await {
            Ok(row) => Some(row),
            Err(refusal) => return refusal,
        },
    };
    let session = StoppedSession {
        session: name.into_owned(),
        key,
        since: now(),
    };
    done(admin, who(request.headers()), session, stops).await
}

const THERE: &str = "there are GET /admin/v1/sessions, POST /admin/v1/sessions/NAME/stop and POST /admin/v1/sessions/NAME/resume";

/// The row of the key of this name, 0 of callers without one.
async fn row_of(admin: &Admin, name: &str) -> Result<i64, Response<AnswerBody>> {
    if name == "local" {
        return Ok(0);
    }
    let keys = match in_time(admin.state.ledger.keys()).await {
        Ok((keys, _)) => keys,
        Err(why) => return Err(no_books(&why)),
    };
    let key = keys.iter().find(|key| key.name == name);
    key.map(|key| key.id).ok_or_else(|| {
        let why = "there is no such key; GET /admin/v1/keys shows them";
        say(StatusCode::NOT_FOUND, why)
    })
}

async fn done(
    admin: &Admin,
    who: String,
    session: StoppedSession,
    stops: bool,
) -> Response<AnswerBody> {
    let asked = session.clone();
    let changed = match in_time(admin.state.ledger.stop_session(who, asked, stops)).await {
        Ok(changed) => changed,
        Err(why) => return no_books(&why),
    };
    if !changed && !stops {
        return say(StatusCode::NOT_FOUND, "this session is not stopped");
    }
    (admin.look_at_keys)();
    let key = session.key.unwrap_or(0);
    let follows = async {
        while admin.state.callers.load().is_stopped(&session.session, key) != stops {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_force = tokio::time::timeout(IN_FORCE_MAX, follows).await.is_ok();
    json_answer(&json!({"session": session.session, "stopped": stops, "in_force": in_force}))
}

/// The sessions of the last hours, the dearest first.
async fn list(admin: &Admin, query: Option<&str>) -> Response<AnswerBody> {
    let known = QueryNames {
        once: &["hours", "limit"],
        often: &[],
    };
    let asked = Query::read(query, &known).and_then(|query| {
        let hours = query.number("hours", HOURS, HOURS_MAX)?;
        Ok((hours, query.number("limit", SHOWN_MAX, SHOWN_MAX)?))
    });
    let (hours, limit) = match asked {
        Ok(asked) => asked,
        Err(why) => return say(StatusCode::BAD_REQUEST, &why),
    };
    let to_ms = now_ms() + 1;
    let past_ms = i64::try_from(hours)
        .unwrap_or(i64::MAX)
        .saturating_mul(3_600_000);
    let by = vec![Dimension::Session, Dimension::Key];
    let query = report::Query {
        rows_max: limit,
        ..report::Query::between(to_ms.saturating_sub(past_ms), to_ms, by)
    };
    let ledger = &admin.state.ledger;
    let read = async { Ok((ledger.report(query).await?, ledger.keys().await?.0)) };
    let (report, keys) = match in_time(read).await {
        Ok(read) => read,
        Err(why) => return no_books(&why),
    };
    let callers = admin.state.callers.load();
    let row = |row: &report::Row| -> Option<Value> {
        let [session, key] = row.values.as_slice() else {
            return None;
        };
        let id = keys.iter().find(|k| k.name == *key).map_or(0, |k| k.id);
        let mut told = Value::Object(row.figures.json());
        told["session"] = json!(session);
        told["key"] = json!(key);
        told["stopped"] = json!(callers.is_stopped(session, id));
        Some(told)
    };
    let rows: Vec<Value> = report.rows.iter().filter_map(row).collect();
    json_answer(&json!({"hours": hours, "sessions": rows, "notes": report.notes}))
}
