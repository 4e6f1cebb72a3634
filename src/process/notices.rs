//! Tells the operator of caps that fill up: a line in the log and, where one is set, a webhook. Once for each window.

use crate::exchange::State;
use crate::ledger::balance::Crossing;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::json;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Tells of everything that has happened since the last call.
pub(super) fn tell(state: &Arc<State>, runtime: &Handle) {
    for crossing in state.ledger.take_crossings() {
        let s = &crossing.standing;
        tracing::warn!(
            cap = %crossing.counter,
            percent = crossing.percent,
            spent = %s.counter.measure.show(s.posted),
            limit = %s.counter.measure.show(s.limit.unwrap_or(0)),
            "a cap fills up"
        );
        let Some(url) = state.policy.load().cap_webhook.clone() else {
            continue;
        };
        let (state, body) = (state.clone(), body(&crossing));
        runtime.spawn(async move {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            // Its address may hold a secret, so it is not shown.
            match state
                .upstream
                .send(url.expose_secret(), headers, body)
                .await
            {
                Ok(answer) if answer.status().is_success() => {}
                Ok(answer) => {
                    tracing::warn!(status = answer.status().as_u16(), "the cap webhook refused");
                }
                Err(_) => tracing::warn!("the cap webhook cannot be reached"),
            }
        });
    }
}

fn body(crossing: &Crossing) -> Bytes {
    let s = &crossing.standing;
    let (counter, plain) = (&s.counter, |amount| s.counter.measure.plain(amount));
    let text = json!({
        "event": "cap_fills_up", "cap": counter.to_string(), "percent": crossing.percent,
        "measure": counter.measure.name(), "window": counter.window.name(), "time_zone": counter.zone.name(),
        "limit": s.limit.map(plain), "spent": plain(s.posted), "resets_at": s.ends_at,
    });
    Bytes::from(text.to_string())
}
