//! The admin listener: metrics, health, and what an operator looks at or sets off.

use crate::arm::Objective;
use crate::exchange::{self, State};
use crate::ledger::balance::Standing;
use crate::ledger::cap::{Dim, Measure, Pick};
use crate::money::PicoUsd;
use crate::relay::AnswerBody;
use crate::route::Considered;
use crate::telemetry::{CapFigures, NotedDecision};
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// What the admin listener works with.
pub struct Admin {
    /// The exchanges' state.
    pub state: Arc<State>,
    /// Needed for writes, and for everything where the listener is not loopback.
    pub token: Option<SecretString>,
    /// The admin listener is loopback.
    pub loopback: bool,
    /// Reads the configuration again.
    pub reload: Box<dyn Fn() -> Result<(), Vec<String>> + Send + Sync>,
}

/// Answers one admin request.
pub fn handle(admin: &Admin, request: &Request<Incoming>) -> Response<AnswerBody> {
    if let Err(error) = exchange::check_head(request.version(), request.headers()) {
        let mut answer = say(StatusCode::BAD_REQUEST, &error.public);
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
        return answer;
    }
    if request.headers().contains_key(http::header::ORIGIN) {
        return say(StatusCode::FORBIDDEN, "requests from web pages are refused");
    }
    let write = request.method() != Method::GET;
    if (write || !admin.loopback) && !authorised(admin, request) {
        return say(
            StatusCode::UNAUTHORIZED,
            "this needs the admin token: set admin_token in flyball.toml and send it as Authorization: Bearer …",
        );
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => metrics(admin),
        (&Method::GET, "/healthz") => say(StatusCode::OK, "ok"),
        (&Method::GET, "/readyz") if admin.state.ledger.healthy() => say(StatusCode::OK, "ready"),
        (&Method::GET, "/readyz") => say(
            StatusCode::SERVICE_UNAVAILABLE,
            "the ledger cannot write; no request is admitted",
        ),
        (&Method::GET, "/admin/v1/caps") => caps(admin),
        (&Method::GET, "/admin/v1/models") => models(admin),
        (&Method::GET, "/admin/v1/decisions") => decisions(admin),
        (&Method::POST, "/admin/v1/reload") => match (admin.reload)() {
            Ok(()) => say(StatusCode::OK, "reloaded"),
            Err(complaints) => say(StatusCode::UNPROCESSABLE_ENTITY, &complaints.join("\n")),
        },
        _ => say(
            StatusCode::NOT_FOUND,
            "the admin listener has /metrics /healthz /readyz /admin/v1/caps /admin/v1/models /admin/v1/decisions, and POST /admin/v1/reload",
        ),
    }
}

fn authorised(admin: &Admin, request: &Request<Incoming>) -> bool {
    let Some(token) = &admin.token else {
        return false;
    };
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
    given.is_some_and(|g| g.ct_eq(token.expose_secret().as_bytes()).into())
}

fn say(status: StatusCode, text: &str) -> Response<AnswerBody> {
    typed(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn typed(status: StatusCode, kind: &'static str, body: String) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::whole(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn metrics(admin: &Admin) -> Response<AnswerBody> {
    publish_caps(&admin.state);
    admin
        .state
        .telemetry
        .ledger_up(admin.state.ledger.healthy());
    typed(
        StatusCode::OK,
        "text/plain; version=0.0.4",
        admin.state.telemetry.encode(),
    )
}

/// Brings the cap gauges up to date: the caps of keys as one sum, since keys are no labels. Only dollars; the others are no money.
fn publish_caps(state: &State) {
    let mut sums: BTreeMap<(&'static str, &'static str), CapFigures> = BTreeMap::new();
    for standing in state.ledger.standings() {
        let counter = &standing.counter;
        let (Some(limit), Measure::Usd) = (standing.limit, counter.measure) else {
            continue;
        };
        let (scope, window) = (counter.scope.class(), counter.window.name());
        let sum = sums.entry((scope, window)).or_insert(CapFigures {
            scope,
            window,
            limit: PicoUsd::ZERO,
            spent: PicoUsd::ZERO,
            reserved: PicoUsd::ZERO,
            reset_unix: standing.ends_at,
        });
        sum.limit += PicoUsd(limit);
        sum.spent += PicoUsd(standing.posted);
        sum.reserved += PicoUsd(standing.reserved);
        sum.reset_unix = sum.reset_unix.max(standing.ends_at);
    }
    let figures: Vec<CapFigures> = sums.into_values().collect();
    state.telemetry.caps(&figures);
}

fn caps(admin: &Admin) -> Response<AnswerBody> {
    let callers = admin.state.callers.load();
    let standings = admin.state.ledger.standings();
    let used = standings
        .iter()
        .filter(|s| s.limit.is_some() || s.posted != 0 || s.reserved != 0);
    let row = |s: &Standing| {
        let mut row = describe(s);
        if let Some(name) = callers.key_of(&s.counter) {
            row["key"] = json!(name);
        }
        row
    };
    let rows: Vec<_> = used.map(row).collect();
    typed(
        StatusCode::OK,
        "application/json",
        json!({ "caps": rows }).to_string(),
    )
}

/// One counter as the admin listener shows it; `…_usd` only where it counts dollars.
fn describe(s: &Standing) -> serde_json::Value {
    let (c, plain) = (&s.counter, |amount| s.counter.measure.plain(amount));
    let node = match (c.scope.class(), c.scope.pick(Dim::Key)) {
        ("global", _) => "global".to_owned(),
        ("keys", Pick::Only(id)) => format!("key {id}"),
        _ => c.scope.to_string(),
    };
    let mut row = json!({
        "node": node, "counter": c.to_string(), "measure": c.measure.name(), "window": c.window.name(), "time_zone": c.zone.name(),
        "limit": s.limit.map(plain), "spent": plain(s.posted), "reserved": plain(s.reserved), "resets_at": s.ends_at,
    });
    if c.measure == Measure::Usd {
        row["limit_usd"] = json!(s.limit.map(plain));
        row["spent_usd"] = json!(plain(s.posted));
        row["reserved_usd"] = json!(plain(s.reserved));
    }
    row
}

/// The last decisions, the latest first, each with the arms that were weighed.
fn decisions(admin: &Admin) -> Response<AnswerBody> {
    let considered = |c: &Considered| {
        json!({
            "arm": c.arm.to_string(), "chance": c.chance.map(rounded), "verdict": c.verdict,
            "expected_usd": c.expected.map(|e| e.now.usd_text()), "with_what_follows_usd": c.expected.map(|e| e.total().usd_text()),
        })
    };
    let row = |d: &NotedDecision| {
        json!({
            "request": d.request, "at_ms": d.at_ms, "task": d.task.name(), "difficulty": rounded(d.difficulty),
            "objective": d.objective.map(Objective::name), "rule": d.rule, "stuck": d.stuck, "asks_first": d.asks_first, "attempts": d.attempts, "baseline": d.baseline,
            "considered": d.considered.iter().map(considered).collect::<Vec<_>>(), "left_off": d.left_off,
        })
    };
    let rows: Vec<_> = admin.state.telemetry.decisions().iter().map(row).collect();
    typed(
        StatusCode::OK,
        "application/json",
        json!({ "decisions": rows }).to_string(),
    )
}

/// To a thousandth.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

fn models(admin: &Admin) -> Response<AnswerBody> {
    let policy = admin.state.policy.load();
    let rows: Vec<_> = policy
        .fleet
        .models
        .iter()
        .map(|m| json!({"model": m.name, "provider": m.provider.name, "tier": m.tier.name(), "local": m.local, "simulated": m.simulated, "priced": m.price.is_some()}))
        .collect();
    typed(
        StatusCode::OK,
        "application/json",
        json!({ "models": rows }).to_string(),
    )
}
