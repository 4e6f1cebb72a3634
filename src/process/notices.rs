//! Tells the operator of caps that fill up: a line in the log and, where one is set, a webhook. Once for each window.

use crate::exchange::State;
use crate::ledger::balance::Crossing;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// How long to wait before the second try and each one after it.
const RETRY_AFTER: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(60),
];
/// Posts under way at once: a webhook that hangs must not pile them up.
static TELLING: Semaphore = Semaphore::const_new(64);

/// Tells of everything that has happened since the last call.
pub(super) fn tell(state: &Arc<State>, runtime: &Handle) {
    for crossing in state.ledger.take_crossings() {
        let s = &crossing.standing;
        tracing::warn!(
            cap = state.callers.load().called(&s.counter),
            percent = crossing.percent,
            spent = %s.counter.measure.show(s.posted),
            limit = %s.counter.measure.show(s.limit.unwrap_or(0)),
            "a cap fills up"
        );
        let Some(url) = state.policy.load().cap_webhook.clone() else {
            continue;
        };
        let Ok(place) = TELLING.try_acquire() else {
            tracing::warn!("the cap webhook is slow: this cap is told by this log alone");
            continue;
        };
        let (state, body) = (state.clone(), body(&crossing));
        runtime.spawn(async move {
            post(&state, &url, body).await;
            drop(place);
        });
    }
}

/// Posts until it is taken, or often enough.
async fn post(state: &State, url: &SecretString, body: Bytes) {
    for wait in RETRY_AFTER.map(Some).into_iter().chain([None]) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let url = url.expose_secret();
        // Its address may hold a secret, so it is not shown.
        let again = match state.upstream.send(url, headers, body.clone()).await {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) => {
                let status = answer.status();
                tracing::warn!(status = status.as_u16(), "the cap webhook refused");
                status.is_server_error() || matches!(status.as_u16(), 408 | 429)
            }
            Err(_) => {
                tracing::warn!("the cap webhook cannot be reached");
                true
            }
        };
        match wait {
            Some(wait) if again => tokio::time::sleep(wait).await,
            _ => break,
        }
    }
    tracing::error!("the cap webhook was not told");
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
