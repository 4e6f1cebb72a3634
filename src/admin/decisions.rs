//! Why requests went where they went, and which models there are to go to.

use super::Admin;
use super::answer::json_answer;
use crate::arm::Objective;
use crate::fleet::Model;
use crate::relay::AnswerBody;
use crate::route::Considered;
use crate::telemetry::NotedDecision;
use crate::upstream::health::Ailing;
use http::Response;
use serde_json::json;
use std::sync::Arc;

/// The last decisions, the latest first, each with the arms that were weighed.
pub(super) fn decisions(admin: &Admin) -> Response<AnswerBody> {
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
    json_answer(&json!({ "decisions": rows }))
}

/// To a thousandth.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

/// The models that decisions choose from.
pub(super) fn models(admin: &Admin) -> Response<AnswerBody> {
    let policy = admin.state.policy.load();
    let ailing = admin.state.health.ailing();
    let row = |m: &Arc<Model>| {
        let mine = |a: &&Ailing| {
            a.provider == m.provider.name && (a.model.is_empty() || a.model == m.name)
        };
        let mine: Vec<&Ailing> = ailing.iter().filter(mine).collect();
        let down = mine.iter().filter_map(|a| a.down_for).max();
        json!({
            "model": m.name, "provider": m.provider.name, "tier": m.tier.name(), "local": m.local, "simulated": m.simulated, "priced": m.price.is_some(),
            "failures_in_a_row": mine.iter().map(|a| a.failures).max().unwrap_or(0),
            "down_for_ms": down.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        })
    };
    let rows: Vec<_> = policy.fleet.models.iter().map(row).collect();
    json_answer(&json!({ "models": rows }))
}
