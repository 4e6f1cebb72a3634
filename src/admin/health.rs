//! How flyball itself is: what runs, since when, whether it can write, and what its providers have failed at.

use super::Admin;
use super::answer::json_answer;
use super::outcomes::in_time;
use crate::relay::AnswerBody;
use crate::upstream::health::Ailing;
use http::Response;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Everything that an operator asks when something seems wrong.
pub(super) async fn health(admin: &Admin) -> Response<AnswerBody> {
    let ledger = &admin.state.ledger;
    // How much the books hold is not worth a wait, but that they cannot be read is worth knowing.
    let size = in_time(ledger.size()).await;
    let policy = admin.state.policy.load_full();
    let callers = admin.state.callers.load_full();
    let configuration = (admin.configuration)();
    json_answer(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": admin.started_at,
        "now": crate::ledger::now(),
        "time_zone": policy.zone.name(),
        "simulated": simulated(admin),
        "admits": ledger.healthy(),
        "ledger": {
            "writes": ledger.healthy(), "shared": ledger.settings().shared.is_some(), "lag_seconds": ledger.lag().as_secs_f64(),
            "attempts": size.as_ref().ok().map(|s| s.attempts), "bytes": size.as_ref().ok().map(|s| s.bytes), "unread": size.as_ref().err(),
        },
        "prices": {"catalogue": policy.catalogue.version},
        "configuration": {"read_at": configuration.read_at, "refused_at": configuration.refused_at, "complaints": configuration.complaints},
        "tags": callers.tags(),
        "providers": providers(admin),
    }))
}

/// Whether money is real: `true` where every model is simulated, `mixed` where some are.
fn simulated(admin: &Admin) -> &'static str {
    let policy = admin.state.policy.load();
    let models = &policy.fleet.models;
    match models.iter().filter(|m| m.simulated).count() {
        0 => "false",
        n if n == models.len() => "true",
        _ => "mixed",
    }
}

fn providers(admin: &Admin) -> Vec<Value> {
    let policy = admin.state.policy.load();
    let ailing = admin.state.health.ailing();
    let row = |name: &String| {
        let mine = ailing.iter().filter(|a| a.provider == *name);
        let down: Vec<Value> = mine.filter_map(down).collect();
        let seen = admin.state.telemetry.upstream_errors(name).into_iter();
        let errors = seen.filter(|(_, count)| *count > 0);
        let own = || {
            let models = policy.fleet.models.iter();
            models.filter(|m| m.provider.name == *name)
        };
        json!({
            "provider": name, "models": own().count(), "local": own().any(|m| m.local), "simulated": own().any(|m| m.simulated),
            "errors": errors.collect::<BTreeMap<_, _>>(), "down": down,
        })
    };
    let providers = policy.fleet.providers.iter();
    providers.map(|p| row(&p.name)).collect()
}

/// What is left alone after it failed again and again; nothing of what is merely stumbling.
fn down(ailing: &Ailing) -> Option<Value> {
    let ms = u64::try_from(ailing.down_for?.as_millis()).unwrap_or(u64::MAX);
    let model = Some(&ailing.model).filter(|model| !model.is_empty());
    Some(json!({"model": model, "for_ms": ms, "failures": ailing.failures}))
}
