//! The caps: as gauges for a scrape, and as rows for whoever asks.

use super::Admin;
use super::answer::{json_answer, typed};
use crate::exchange::State;
use crate::ledger::balance::Standing;
use crate::ledger::cap::{Dim, Measure, Pick};
use crate::money::PicoUsd;
use crate::relay::AnswerBody;
use crate::telemetry::CapFigures;
use http::{Response, StatusCode};
use serde_json::json;
use std::collections::BTreeMap;

/// Everything for Prometheus.
pub(super) fn metrics(admin: &Admin) -> Response<AnswerBody> {
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

/// Every counter that has a limit or holds something.
pub(super) fn caps(admin: &Admin) -> Response<AnswerBody> {
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
    json_answer(&json!({ "caps": rows }))
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
