//! Why requests went where they went, and which models there are to go to.

use super::Admin;
use super::answer::{json_answer, say};
use super::outcomes::outcomes;
use super::query::{Query, QueryNames};
use crate::arm::Objective;
use crate::fleet::Model;
use crate::relay::AnswerBody;
use crate::route::Considered;
use crate::telemetry::NotedDecision;
use crate::upstream::channels::Destination;
use crate::upstream::health::Ailing;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

/// The most decisions that are told at once: as many as are kept.
const LIMIT_MAX: usize = 200;

/// The last decisions, the latest first, each with the arms that were weighed; with `outcomes` also with what became of it.
pub(super) async fn decisions(admin: &Admin, query: Option<&str>) -> Response<AnswerBody> {
    let known = QueryNames {
        once: &["limit", "outcomes"],
        often: &[],
    };
    let asked = Query::read(query, &known).and_then(|query| {
        let limit = query.number("limit", LIMIT_MAX, LIMIT_MAX)?;
        Ok((limit, query.flag("outcomes")?))
    });
    let (limit, with_outcomes) = match asked {
        Ok(asked) => asked,
        Err(why) => return say(StatusCode::BAD_REQUEST, &why),
    };
    let mut kept = admin.state.telemetry.decisions();
    kept.truncate(limit);
    let mut rows: Vec<Value> = kept.iter().map(row).collect();
    if !with_outcomes {
        return json_answer(&json!({ "decisions": rows }));
    }
    let ids = kept.into_iter().map(|d| d.request).collect();
    let unread = match outcomes(admin, ids).await {
        Ok(mut told) => {
            for row in &mut rows {
                let id = row["request"].as_str().unwrap_or_default();
                row["outcome"] = told.remove(id).unwrap_or_default();
            }
            None
        }
        // Why a request went where it went is known all the same.
        Err(why) => Some(why),
    };
    json_answer(&json!({ "decisions": rows, "ledger": unread }))
}

/// The decision of one request, while it is kept.
pub(super) fn of(admin: &Admin, request: &str) -> Option<Value> {
    let kept = admin.state.telemetry.decisions();
    kept.iter().find(|d| d.request == request).map(row)
}

fn row(d: &NotedDecision) -> Value {
    let considered = |c: &Considered| {
        json!({
            "arm": c.arm.to_string(), "chance": c.chance.map(rounded), "verdict": c.verdict,
            "expected_usd": c.expected.map(|e| e.now.usd_text()), "with_what_follows_usd": c.expected.map(|e| e.total().usd_text()),
        })
    };
    json!({
        "request": d.request, "at_ms": d.at_ms, "task": d.task.name(), "difficulty": rounded(d.difficulty),
        "objective": d.objective.map(Objective::name), "rule": d.rule, "stuck": d.stuck, "asks_first": d.asks_first, "attempts": d.attempts, "baseline": d.baseline,
        "considered": d.considered.iter().map(considered).collect::<Vec<_>>(), "left_off": d.left_off,
    })
}

/// To a thousandth.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

/// The models that decisions choose from.
pub(super) fn models(admin: &Admin) -> Response<AnswerBody> {
    let policy = admin.state.policy.load();
    let ailing = admin.state.channels.health.ailing();
    let row = |m: &Arc<Model>| {
        let mine = |a: &&Ailing| {
            a.provider == m.provider.name && (a.model.is_empty() || a.model == m.name)
        };
        let mine: Vec<&Ailing> = ailing.iter().filter(mine).collect();
        // What fails on one of several channels leaves the others.
        let to = Destination {
            provider: &m.provider,
            model: &m.name,
        };
        let down = mine.iter().filter_map(|a| a.down_for).max();
        let down = down.filter(|_| admin.state.channels.is_down(to));
        json!({
            "model": m.name, "provider": m.provider.name, "tier": m.tier.name(), "local": m.local, "simulated": m.simulated, "priced": m.price.is_some(),
            "failures_in_a_row": mine.iter().map(|a| a.failures).max().unwrap_or(0),
            "down_for_ms": down.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        })
    };
    let rows: Vec<_> = policy.fleet.models.iter().map(row).collect();
    json_answer(&json!({ "models": rows }))
}
