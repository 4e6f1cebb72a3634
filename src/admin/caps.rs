//! The caps: as gauges for a scrape, and as rows for whoever asks.

use super::Admin;
use super::answer::{json_answer, typed};
use super::channels;
use crate::exchange::State;
use crate::ledger::balance::CounterStanding;
use crate::ledger::cap::{Dim, Measure, Pick};
use crate::ledger::exhaustion::Pace;
use crate::ledger::now;
use crate::money::PicoUsd;
use crate::relay::AnswerBody;
use crate::telemetry::{CapFigures, CapMoney};
use http::{Response, StatusCode};
use serde_json::json;

/// Everything for Prometheus.
pub(super) fn metrics(admin: &Admin) -> Response<AnswerBody> {
    publish_caps(&admin.state);
    channels::publish(&admin.state);
    let ledger = &admin.state.ledger;
    let telemetry = &admin.state.telemetry;
    telemetry.ledger(ledger.healthy(), ledger.lag());
    typed(
        StatusCode::OK,
        "text/plain; version=0.0.4",
        admin.state.telemetry.encode(),
    )
}

/// What a cap is called, if there is one.
fn label(state: &State, standing: &CounterStanding) -> Option<String> {
    let (callers, policy) = (state.callers.load(), state.policy.load());
    let counter = &standing.counter;
    let shown = |dim: Dim, value: &str| match dim {
        Dim::Key => callers.key_of(counter).map(str::to_owned),
        Dim::Model => policy.fleet.named(value).map(|model| model.name.clone()),
        _ => Some(value.to_owned()),
    };
    Some(standing.cap.as_ref()?.label(counter, &shown))
}

/// Brings the cap gauges up to date, each cap by its name.
fn publish_caps(state: &State) {
    let (paces, now) = (state.paces.load(), now());
    let figures = |standing: &CounterStanding| {
        let counter = &standing.counter;
        let (cap, limit) = (label(state, standing)?, standing.limit?);
        // Of end users no figures are shown, as those that nobody needs are not in memory.
        let of_user = is_of_user(standing);
        let money = CapMoney {
            limit: PicoUsd(limit),
            spent: PicoUsd(standing.posted),
            reserved: PicoUsd(standing.reserved),
        };
        Some(CapFigures {
            cap,
            scope: counter.scope.class(),
            window: counter.window.name(),
            money: (counter.measure == Measure::Usd && !of_user).then_some(money),
            reset_unix: standing.ends_at,
            exhausted_unix: paces.exhausted(standing, now),
        })
    };
    let standings = state.ledger.standings();
    let mut figures: Vec<CapFigures> = standings.iter().filter_map(figures).collect();
    // There is a limit to names, and keys may be many.
    figures.sort_by_key(|f| f.scope == "keys");
    state.telemetry.caps(&figures);
}

/// It is the room of one end user.
fn is_of_user(standing: &CounterStanding) -> bool {
    *standing.counter.scope.pick(Dim::User) != Pick::Any
}

/// So many end users are shown: those who have spent most in their running windows.
const USERS_SHOWN_MAX: usize = 100;

/// Leaves of the end users those who have spent most.
fn fewer_users(standings: &mut Vec<CounterStanding>) {
    let (mut users, others): (Vec<CounterStanding>, Vec<CounterStanding>) =
        std::mem::take(standings).into_iter().partition(is_of_user);
    users.retain(|s| s.limit.is_some());
    users.sort_by_key(|s| std::cmp::Reverse(s.posted));
    users.truncate(USERS_SHOWN_MAX);
    *standings = others;
    standings.append(&mut users);
}

/// Every counter that has a limit or holds something.
pub(super) fn caps(admin: &Admin) -> Response<AnswerBody> {
    let mut standings = admin.state.ledger.standings();
    fewer_users(&mut standings);
    let callers = admin.state.callers.load();
    let (paces, now) = (admin.state.paces.load(), now());
    let used = standings
        .iter()
        .filter(|s| s.limit.is_some() || s.posted != 0 || s.reserved != 0);
    let row = |s: &CounterStanding| {
        let mut row = describe(s);
        row["name"] = json!(label(&admin.state, s));
        if let Some(name) = callers.key_of(&s.counter) {
            row["key"] = json!(name);
        }
        if s.limit.is_some() {
            let times = Pace::ALL.iter().zip(paces.exhausted(s, now));
            row["exhausted_at"] = times.map(|(pace, at)| (pace.name(), json!(at))).collect();
        }
        row
    };
    let rows: Vec<_> = used.map(row).collect();
    json_answer(&json!({ "caps": rows }))
}

/// One counter as the admin listener shows it; `…_usd` only where it counts dollars.
fn describe(s: &CounterStanding) -> serde_json::Value {
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
