//! What a caller may know of itself: what it has spent and saved today and this month, and how its own caps stand. Nothing of anybody
//! else, and nothing of caps that it shares.

use super::admission::Inbound;
use super::reply;
use crate::error::{Error, Kind};
use crate::ledger::balance::CounterStanding;
use crate::ledger::cap::{Counter, Dim, Pick};
use crate::ledger::report::{Dimension, Figures, Query, Report};
use crate::ledger::window::{Window, Zone};
use crate::ledger::{Ledger, now_ms};
use crate::relay::AnswerBody;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long the books may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the caller stands.
pub(super) async fn get(
    inbound: &Inbound<'_>,
    ledger: &Arc<Ledger>,
) -> Result<Response<AnswerBody>, Error> {
    let (zone, now_ms) = (&inbound.policy.zone, now_ms());
    let query = month_of(inbound.caller.name(), zone, now_ms);
    let reading = tokio::time::timeout(PATIENCE, ledger.report(query)).await;
    let report = reading.map_err(|_| slow())??;
    let today = zone.name_of(Window::Day, now_ms.div_euclid(1_000));
    let caps: Vec<Value> = ledger
        .standings()
        .iter()
        .filter(|standing| is_own(inbound, &standing.counter))
        .filter_map(|standing| cap(inbound, standing))
        .collect();
    let key = inbound.caller.key.as_ref();
    let body = json!({
        "key": inbound.caller.name(), "team": key.map(|k| &k.team), "organisation": organisation(inbound), "time_zone": zone.name(),
        "today": of_day(&report, &today).json(), "month": report.total.json(), "simulated": report.simulated, "caps": caps,
    });
    Ok(reply::json(StatusCode::OK, body.to_string()))
}

fn organisation<'i>(inbound: &'i Inbound<'_>) -> Option<&'i String> {
    inbound.policy.teams.get(inbound.caller.team())
}

/// The caller's month so far, by its days.
fn month_of(name: &str, zone: &Zone, now_ms: i64) -> Query {
    let id = Window::Month.id(zone, now_ms.div_euclid(1_000));
    let begins = Window::Month.begins_at(zone, id).unwrap_or(0);
    Query {
        zone: zone.clone(),
        only: vec![(Dimension::Key, name.to_owned())],
        ..Query::between(
            begins.saturating_mul(1_000),
            now_ms + 1,
            vec![Dimension::Day],
        )
    }
}

fn of_day(report: &Report, day: &str) -> Figures {
    let found = report.rows.iter().find(|row| row.values[0] == day);
    found.map(|row| row.figures).unwrap_or_default()
}

/// It counts what this caller spends and nobody else does.
fn is_own(inbound: &Inbound<'_>, counter: &Counter) -> bool {
    let id = inbound.caller.key.as_ref().map(|key| key.id.to_string());
    match counter.scope.pick(Dim::Key) {
        // Its end users are many, and their names are not its own.
        Pick::Only(row) => {
            id.as_deref() == Some(row) && *counter.scope.pick(Dim::User) == Pick::Any
        }
        Pick::Any | Pick::Each => false,
    }
}

/// A cap; nothing of what is only counted.
fn cap(inbound: &Inbound<'_>, s: &CounterStanding) -> Option<Value> {
    let (limit, c) = (s.limit?, &s.counter);
    let plain = |amount: i128| c.measure.plain(amount);
    let left = (limit - s.posted - s.reserved).max(0);
    Some(json!({
        "cap": inbound.caller.called(c), "measure": c.measure.name(), "window": c.window.name(), "time_zone": c.zone.name(),
        "limit": plain(limit), "spent": plain(s.posted), "reserved": plain(s.reserved), "left": plain(left), "resets_at": s.ends_at,
    }))
}

fn slow() -> Error {
    Error::new(Kind::Overloaded, "The books do not answer now.")
        .detail("the ledger did not answer in time to a caller who asked for its own figures")
}
