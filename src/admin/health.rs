//! How flyball itself is: what runs, since when, whether it can write, and what its providers have failed at.

use super::Admin;
use super::answer::json_answer;
use super::channels;
use super::outcomes::in_time;
use crate::provider::Provider;
use crate::relay::AnswerBody;
use http::Response;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

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
    let ailing = admin.state.channels.health.ailing();
    let lately = admin.state.channels.load.lately();
    let row = |provider: &Arc<Provider>| {
        let name = &provider.name;
        let mine = ailing.iter().filter(|a| a.provider == *name);
        let down: Vec<Value> = mine.filter_map(channels::down).collect();
        let seen = admin.state.telemetry.upstream_errors(name).into_iter();
        let errors = seen.filter(|(_, count)| *count > 0);
        let own = || {
            let models = policy.fleet.models.iter();
            models.filter(|m| m.provider.name == *name)
        };
        json!({
            "provider": name, "models": own().count(), "local": own().any(|m| m.local), "simulated": own().any(|m| m.simulated),
            "errors": errors.collect::<BTreeMap<_, _>>(), "down": down,
            "channels": channels::rows(admin, provider, &lately),
        })
    };
    let providers = policy.fleet.providers.iter();
    providers.map(row).collect()
}
