//! What a client may ask that needs no model: which models there are, what a request of its own did, and how it stands itself.

use super::admission::Inbound;
use super::{me, models, reply, router};
use crate::caller::Caller;
use crate::error::{Error, Kind};
use crate::ledger::Ledger;
use crate::ledger::record::Attempt;
use crate::relay::AnswerBody;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn get(
    inbound: &Inbound<'_>,
    ledger: &Arc<Ledger>,
) -> Result<Response<AnswerBody>, Error> {
    if let Some(answer) = models::get(inbound) {
        return answer;
    }
    let path = inbound.head.uri.path();
    match path.strip_prefix("/flyball/requests/") {
        Some(id) => request(ledger, &inbound.caller, id).await,
        None if path == "/flyball/me" => me::get(inbound, ledger).await,
        None => Err(router::no_path(path)),
    }
}

/// What became of a request; a caller sees its own and no others.
async fn request(
    ledger: &Arc<Ledger>,
    caller: &Caller,
    id: &str,
) -> Result<Response<AnswerBody>, Error> {
    let missing = || Error::new(Kind::NotFound, "There is no such request of this caller.");
    let id = uuid::Uuid::parse_str(id)
        .map_err(|_| missing())?
        .to_string();
    let found = ledger.request(&id).await?;
    let own = caller.key.as_ref().map(|k| k.id);
    let attempts: Vec<Value> = found
        .iter()
        .filter(|a| a.opening.key == own)
        .map(describe)
        .collect();
    if attempts.is_empty() {
        return Err(missing());
    }
    let sum = |field: &str| -> i128 {
        found
            .iter()
            .filter_map(|a| a.closing.as_ref())
            .map(|c| {
                if field == "cost" {
                    c.cost.0
                } else {
                    c.baseline.0
                }
            })
            .sum()
    };
    let text = |pico: i128| crate::money::PicoUsd(pico).usd_text();
    let body = json!({"request": found[0].opening.request, "cost_usd": text(sum("cost")), "baseline_usd": text(sum("baseline")), "attempts": attempts});
    Ok(reply::json(StatusCode::OK, body.to_string()))
}

/// One attempt, in the shape of `flyball ledger export --jsonl`.
#[must_use]
pub fn describe(attempt: &Attempt) -> Value {
    let f = &attempt.opening;
    let closing = attempt.closing.as_ref();
    let usage = closing.map(|c| c.usage).unwrap_or_default();
    let shown = closing.and_then(|c| c.shown);
    let parts = |n: u64, whole: f64| f64::from(u32::try_from(n).unwrap_or(u32::MAX)) / whole;
    // Pico-dollars fit a JSON integer: the ledger refuses amounts past 2^63.
    let pico = |amount: crate::money::PicoUsd| amount.to_i64();
    json!({
        "request": f.request, "attempt": f.attempt,
        "time": jiff::Timestamp::from_millisecond(f.at_ms).unwrap_or_default().to_string(),
        "key": attempt.key_name, "provider": f.provider, "model": f.model, "effort": f.effort.name(), "tier": f.tier.name(), "service_tier": closing.and_then(|c| c.service_tier).map(|t| t.name()), "task": f.task, "rule": f.rule,
        "difficulty": f64::from(i32::try_from(f.difficulty_milli).unwrap_or(0)) / 1000.0,
        "dialect": f.dialect, "simulated": f.simulated,
        "tokens": {"input": usage.input, "cached": usage.cached, "cache_write": usage.cache_write + usage.cache_write_long, "output": usage.output, "reasoning": usage.reasoning},
        "bound_pico_usd": pico(f.bound),
        "cost_pico_usd": closing.and_then(|c| pico(c.cost)),
        "baseline_pico_usd": closing.and_then(|c| pico(c.baseline)),
        "baseline_extra_pico_usd": closing.and_then(|c| pico(c.baseline_extra)),
        "reported_cost_pico_usd": usage.reported_cost.and_then(pico),
        "true_up_pico_usd": attempt.trued_up.and_then(pico),
        "excess_pico_usd": closing.and_then(|c| pico(c.excess)),
        "baseline_model": closing.map(|c| &c.baseline_model).filter(|m| !m.is_empty()),
        "baseline_effort": closing.filter(|c| !c.baseline_model.is_empty()).map(|c| c.baseline_effort.name()),
        "cause": attempt.closed().and_then(|c| c.cause()).map(|c| c.name()),
        "cache_discount_pico_usd": closing.and_then(|c| pico(c.cache_discount)),
        "organisation": f.organisation, "team": f.team, "session": f.session, "user": f.user,
        "tags": f.tags.iter().map(|(k, v)| (k.clone(), json!(v))).collect::<serde_json::Map<_, _>>(),
        "basis": closing.map(|c| c.basis.name()), "outcome": closing.map_or("open", |c| c.outcome.name()),
        "catalogue": f.catalogue,
        "escalated_from": (!f.escalated_from.is_empty()).then_some(&f.escalated_from),
        "evidence": shown.map(|s| s.sign.name()),
        "evidence_probability": shown.and_then(|s| s.probability_ppm).map(|ppm| parts(ppm, 1e6)),
        "evidence_chance": shown.map(|s| parts(s.chance_milli, 1e3)),
    })
}
