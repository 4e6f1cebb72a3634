//! Virtual keys over HTTP: list, make, change, pause, rotate, revoke; and the audit log.

use super::Admin;
use super::answer::{json_answer, say, typed};
use super::outcomes::{in_time, no_books};
use super::query::{Query, QueryNames};
use crate::caller::hash;
use crate::config::draft::{self, Draft};
use crate::config::names::KnownNames;
use crate::ledger::audit::shown;
use crate::ledger::keyring::{self, KeyAct, KeyChange};
use crate::ledger::store::Key;
use crate::ledger::{ActedOn, now};
use crate::relay::AnswerBody;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The longest body, in bytes.
const BODY_MAX: usize = 65_536;
/// The header in which an operator's own tool says for whom it acts.
const ACTOR: &str = "x-flyball-actor";
/// The longest such name, in bytes.
const ACTOR_MAX: usize = 64;
/// How long an answer waits until what was done is in force here.
const IN_FORCE_MAX: Duration = Duration::from_secs(2);
/// Entries of the audit log in one answer.
const ENTRIES_MAX: usize = 1_000;
/// What a body may say of a key.
const FIELDS: &str = "name, team, caps, models, private, tags, required_tags, expires, paused";

/// What a rotation may say.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// How long the old secret goes on working.
    #[serde(default)]
    grace_seconds: u32,
}

/// Answers a request for `/admin/v1/keys` or for what is below it.
pub(super) async fn keys(admin: &Admin, request: Request<Incoming>) -> Response<AnswerBody> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().trim_start_matches("/admin/v1/keys");
    let name = path.trim_start_matches('/');
    let (name, rotates) = match name.strip_suffix("/rotate") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let Ok(name) = percent_decode_str(name).decode_utf8() else {
        return say(StatusCode::BAD_REQUEST, "the key's name is not UTF-8");
    };
    let force = match Query::read(
        head.uri.query(),
        &QueryNames {
            once: &["force"],
            often: &[],
        },
    ) {
        Ok(query) => query.get("force") == Some("true"),
        Err(why) => return say(StatusCode::BAD_REQUEST, &why),
    };
    if head.method == Method::GET {
        return list(admin, &name).await;
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let who = who(&head.headers);
    let zone = admin.state.policy.load().zone.clone();
    let asked = match (&head.method, name.is_empty(), rotates) {
        (&Method::POST, true, false) => parsed::<Draft>(&body)
            .and_then(|draft| draft.key(&zone, now()))
            .map(|(key, secret)| (KeyAct::Create(Box::new(key)), Some(secret))),
        (&Method::PATCH, false, false) => parsed::<Draft>(&body).and_then(|draft| {
            if !draft.name.is_empty() {
                return Err("a key's name does not change".to_owned());
            }
            let change = draft.change(&zone)?;
            if change == KeyChange::default() {
                return Err(format!("nothing is to be another; there are {FIELDS}"));
            }
            let (name, change) = (name.into_owned(), Box::new(change));
            Ok((KeyAct::Change { name, change }, None))
        }),
        (&Method::POST, false, true) => rotation(&body).and_then(|rotation| {
            let secret = draft::new_secret()?;
            let act = KeyAct::Rotate {
                name: name.into_owned(),
                hash: hash(secret.as_bytes()),
                old_until: now() + i64::from(rotation.grace_seconds),
            };
            Ok((act, Some(secret)))
        }),
        (&Method::DELETE, false, false) => {
            let name = name.into_owned();
            Ok((KeyAct::Revoke { name }, None))
        }
        _ => {
            return say(
                StatusCode::METHOD_NOT_ALLOWED,
                "there are GET and POST /admin/v1/keys, GET, PATCH and DELETE /admin/v1/keys/NAME, POST /admin/v1/keys/NAME/rotate",
            );
        }
    };
    match asked {
        Ok((act, secret)) => done(admin, who, act, secret, force).await,
        Err(why) => say(StatusCode::BAD_REQUEST, &why),
    }
}

/// Who acts, as far as that is known.
pub(super) fn who(headers: &HeaderMap) -> String {
    let said = headers.get(ACTOR).and_then(|value| value.to_str().ok());
    match said.filter(|said| !said.is_empty() && said.len() <= ACTOR_MAX) {
        Some(said) => format!("admin API, for {said}"),
        None => "admin API".to_owned(),
    }
}

async fn read(body: Incoming) -> Result<Vec<u8>, Response<AnswerBody>> {
    let read = Limited::new(body, BODY_MAX).collect().await;
    match read {
        Ok(read) => Ok(read.to_bytes().to_vec()),
        Err(_) => Err(say(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("the body is longer than {BODY_MAX} bytes, or broke off"),
        )),
    }
}

fn parsed<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, String> {
    serde_json::from_slice(body)
        .map_err(|e| format!("the body is no JSON object as it should be: {e}; a key has {FIELDS}"))
}

fn rotation(body: &[u8]) -> Result<Rotation, String> {
    if body.is_empty() {
        return Ok(Rotation::default());
    }
    serde_json::from_slice(body)
        .map_err(|e| format!("the body is no {{\"grace_seconds\": 3600}}: {e}"))
}

async fn list(admin: &Admin, name: &str) -> Response<AnswerBody> {
    let (keys, sums) = match in_time(admin.state.ledger.keys()).await {
        Ok(found) => found,
        Err(why) => return no_books(&why),
    };
    let callers = admin.state.callers.load();
    let by_row = callers.by_row();
    let told = |key: &Key| {
        // Of a key of the configuration the ledger does not know whether it works.
        let answered = by_row.get(&key.id).copied().unwrap_or(key);
        let mut told = keyring::told(key, &sums, now());
        told["state"] = json!(keyring::state(answered, now()));
        told["configured"] = json!(callers.is_configured(&key.name));
        told
    };
    if name.is_empty() {
        return json_answer(&json!({"keys": keys.iter().map(told).collect::<Vec<_>>()}));
    }
    match keys.iter().find(|key| key.name == name) {
        Some(key) => json_answer(&told(key)),
        None => say(
            StatusCode::NOT_FOUND,
            "there is no such key; GET /admin/v1/keys shows them",
        ),
    }
}

/// Does it, unless it names what nobody has.
async fn done(
    admin: &Admin,
    who: String,
    act: KeyAct,
    secret: Option<String>,
    force: bool,
) -> Response<AnswerBody> {
    let change = match &act {
        KeyAct::Create(key) => KeyChange::all_of(key),
        KeyAct::Change { change, .. } => (**change).clone(),
        KeyAct::Configure(_) | KeyAct::Rotate { .. } | KeyAct::Revoke { .. } => {
            KeyChange::default()
        }
    };
    if admin.state.callers.load().is_configured(act.name()) {
        return say(StatusCode::CONFLICT, &keyring::in_configuration(act.name()));
    }
    let doubts = {
        let policy = admin.state.policy.load();
        KnownNames::by(&policy, admin.found).doubts_about(&change)
    };
    let certain: Vec<String> = doubts
        .iter()
        .filter(|doubt| doubt.certain)
        .map(ToString::to_string)
        .collect();
    if !certain.is_empty() && !force {
        let all = certain.join("\n");
        return say(
            StatusCode::UNPROCESSABLE_ENTITY,
            &format!("{all}\nnothing was done; ?force=true does it all the same"),
        );
    }
    let creates = matches!(act, KeyAct::Create(_));
    let acted = match in_time(admin.state.ledger.act(who, act)).await {
        Ok(acted) => acted,
        Err(why) => return no_books(&why),
    };
    let (key, sums) = match acted {
        ActedOn::Key(key, sums) => (key, sums),
        ActedOn::Nothing(why) if creates => return say(StatusCode::CONFLICT, &why),
        ActedOn::Nothing(why) => return say(StatusCode::NOT_FOUND, &why),
    };
    let in_force = in_force(admin, &key).await;
    let status = if creates {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut told = with_secret(&key, keyring::told(&key, &sums, now()), secret);
    let warnings: Vec<String> = doubts.iter().map(ToString::to_string).collect();
    told["in_force"] = json!(in_force);
    if !warnings.is_empty() {
        told["warnings"] = json!(warnings);
    }
    typed(status, "application/json", told.to_string())
}

/// Waits a moment until this process answers the key as it is now, and says whether it does.
async fn in_force(admin: &Admin, key: &Key) -> bool {
    (admin.look_at_keys)();
    let follows = async {
        while !admin.state.callers.load().follow(key) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(IN_FORCE_MAX, follows).await.is_ok()
}

/// A secret is told in the answer to the request that made it, and never again.
fn with_secret(key: &Key, mut told: Value, secret: Option<String>) -> Value {
    if let Some(secret) = secret {
        told["key"] = json!(secret);
        told["old_secret_works_until"] = json!(key.old.last().map(|(_, until)| until));
    }
    told
}

/// Entries of the audit log, oldest first.
pub(super) async fn audit(admin: &Admin, query: Option<&str>) -> Response<AnswerBody> {
    let known = QueryNames {
        once: &["after", "limit"],
        often: &[],
    };
    let asked = Query::read(query, &known).and_then(|query| {
        let after = query.get("after").unwrap_or("0").parse::<i64>();
        let after = after.map_err(|_| "after is not the number of an entry".to_owned())?;
        Ok((after, query.number("limit", ENTRIES_MAX, ENTRIES_MAX)?))
    });
    let (after, limit) = match asked {
        Ok(asked) => asked,
        Err(why) => return say(StatusCode::BAD_REQUEST, &why),
    };
    let entries = match in_time(admin.state.ledger.audit(after, limit)).await {
        Ok(entries) => entries,
        Err(why) => return no_books(&why),
    };
    let told = entries.iter().map(|entry| {
        let mut line: Value = serde_json::from_str(&entry.line).unwrap_or_default();
        line["seal"] = json!(shown(&entry.seal));
        line
    });
    json_answer(&json!({"entries": told.collect::<Vec<_>>()}))
}
