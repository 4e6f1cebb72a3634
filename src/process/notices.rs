//! Tells the operator of caps that fill up: a line in the log and, where one is set, a webhook. Each share of a cap once for each window,
//! also across restarts, and those of one cap in their order.

use crate::exchange::State;
use crate::ledger::balance::{CounterStanding, Crossing};
use crate::ledger::now;
use crate::route::{CapWebhook, HookFormat};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::Sha256;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
/// Caps that are told of at once: a webhook that hangs must not pile them up.
static TELLING: Semaphore = Semaphore::const_new(64);
/// Notices of one cap that wait for those before them.
const WAITING_MAX: usize = 16;
/// Caps of which it is remembered what was told.
const REMEMBERED_MAX: usize = 1_000;
/// Under which name that is kept in the books.
const KEPT_AS: &str = "notices/caps";

/// What was told of one cap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TellingMark {
    /// In which window.
    window: i64,
    /// Under which limit; another limit is told anew.
    limit: String,
    /// The largest share.
    percent: u8,
    /// When the window ends, if it does.
    ends_at: Option<i64>,
}

/// What was told, and what waits to be.
pub(super) struct Notices {
    told: BTreeMap<String, TellingMark>,
    waiting: Arc<Mutex<HashMap<Arc<str>, VecDeque<Bytes>>>>,
}

impl Notices {
    /// Goes on from what the last run has kept.
    pub(super) fn new(kept: &[(String, String)]) -> Notices {
        let own = kept.iter().find(|(name, _)| name == KEPT_AS);
        let told = own.and_then(|(_, value)| serde_json::from_str(value).ok());
        Notices {
            told: told.unwrap_or_default(),
            waiting: Arc::default(),
        }
    }

    /// Tells of everything that has happened since the last call.
    pub(super) fn tell(&mut self, state: &Arc<State>, runtime: &Handle) {
        let mut new = false;
        for crossing in state.ledger.take_crossings() {
            if !self.is_new(&crossing) {
                continue;
            }
            new = true;
            let s = &crossing.standing;
            tracing::warn!(
                cap = called(s),
                counter = state.callers.load().called(&s.counter),
                percent = crossing.percent,
                spent = %s.counter.measure.show(s.posted),
                limit = %s.counter.measure.show(s.limit.unwrap_or(0)),
                "a cap fills up"
            );
            if let Some(hook) = state.policy.load().cap_webhook.clone() {
                let key = state.callers.load().key_of(&s.counter).map(str::to_owned);
                let body = body(&crossing, &hook, key.as_deref());
                self.queue(state, runtime, (crossing.counter, hook, body));
            }
        }
        if new {
            self.keep(state);
        }
    }

    /// Whether this was not told yet; it is from now on.
    fn is_new(&mut self, crossing: &Crossing) -> bool {
        let s = &crossing.standing;
        let mark = TellingMark {
            window: s.id,
            limit: s.limit.unwrap_or(0).to_string(),
            percent: crossing.percent,
            ends_at: s.ends_at,
        };
        let same = |told: &&TellingMark| (told.window, &told.limit) == (mark.window, &mark.limit);
        let told = self.told.get(&*crossing.counter).filter(same);
        if told.is_some_and(|told| told.percent >= mark.percent) {
            return false;
        }
        self.told.insert(crossing.counter.to_string(), mark);
        true
    }

    /// Keeps what was told, for the next run.
    fn keep(&mut self, state: &State) {
        let now = now();
        self.told
            .retain(|_, mark| mark.ends_at.is_none_or(|end| end > now));
        while self.told.len() > REMEMBERED_MAX {
            // Whose window ends first is missed the least.
            let ends = |(_, mark): &(&String, &TellingMark)| mark.ends_at.unwrap_or(i64::MAX);
            let first = self
                .told
                .iter()
                .min_by_key(ends)
                .map(|(name, _)| name.clone());
            first.map(|name| self.told.remove(&name));
        }
        if let Ok(text) = serde_json::to_string(&self.told) {
            let entry = (KEPT_AS.to_owned(), text);
            state.ledger.keep_learned(vec![entry]);
        }
    }

    /// Posts it after what was told of the same cap before.
    fn queue(
        &self,
        state: &Arc<State>,
        runtime: &Handle,
        (counter, hook, body): (Arc<str>, Arc<CapWebhook>, Bytes),
    ) {
        let mut waiting = lock(&self.waiting);
        if let Some(before) = waiting.get_mut(&counter) {
            match before.len() < WAITING_MAX {
                true => before.push_back(body),
                false => {
                    tracing::warn!("the cap webhook is slow: this cap is told by this log alone")
                }
            }
            return;
        }
        let Ok(place) = TELLING.try_acquire() else {
            tracing::warn!("the cap webhook is slow: this cap is told by this log alone");
            return;
        };
        waiting.insert(counter.clone(), VecDeque::from([body]));
        let (state, waiting) = (state.clone(), self.waiting.clone());
        runtime.spawn(async move {
            while let Some(body) = next(&waiting, &counter) {
                post(&state, &hook, body).await;
            }
            drop(place);
        });
    }
}

/// What is to be told next of a cap; nothing is left of it where that is nothing.
fn next(waiting: &Mutex<HashMap<Arc<str>, VecDeque<Bytes>>>, counter: &Arc<str>) -> Option<Bytes> {
    let mut waiting = lock(waiting);
    let body = waiting.get_mut(counter)?.pop_front();
    if body.is_none() {
        waiting.remove(counter);
    }
    body
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Posts until it is taken, or often enough.
async fn post(state: &State, hook: &CapWebhook, body: Bytes) {
    for wait in RETRY_AFTER.map(Some).into_iter().chain([None]) {
        let headers = headers(hook.secret.as_ref(), now(), &body);
        let url = hook.url.expose_secret();
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

/// The headers of a post: signed where there is a secret, each try at its own second.
fn headers(secret: Option<&SecretString>, at: i64, body: &Bytes) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let signed = secret.and_then(|secret| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
        mac.update(at.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        let mut text = "sha256=".to_owned();
        for byte in mac.finalize().into_bytes() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        HeaderValue::try_from(text).ok()
    });
    if let Some(signature) = signed {
        let name = HeaderName::from_static("x-flyball-timestamp");
        headers.insert(name, HeaderValue::from(at));
        let name = HeaderName::from_static("x-flyball-signature");
        headers.insert(name, signature);
    }
    headers
}

/// The cap's name.
fn called(standing: &CounterStanding) -> &str {
    standing.cap.as_ref().map_or("", |cap| &cap.name)
}

fn body(crossing: &Crossing, hook: &CapWebhook, key: Option<&str>) -> Bytes {
    let s = &crossing.standing;
    let (counter, plain) = (&s.counter, |amount| s.counter.measure.plain(amount));
    let text = match hook.format {
        HookFormat::Json => json!({
            "event": "cap_fills_up", "name": called(s), "key": key, "cap": counter.to_string(), "percent": crossing.percent,
            "measure": counter.measure.name(), "window": counter.window.name(), "time_zone": counter.zone.name(),
            "limit": s.limit.map(plain), "spent": plain(s.posted), "resets_at": s.ends_at,
        }),
        HookFormat::Slack => json!({ "text": sentence(crossing, key) }),
    };
    Bytes::from(text.to_string())
}

/// What Slack shows.
fn sentence(crossing: &Crossing, key: Option<&str>) -> String {
    let s = &crossing.standing;
    let show = |amount| s.counter.measure.show(amount);
    let of_key = key.map_or_else(String::new, |key| format!(" (key {})", plain_text(key)));
    let full = if crossing.percent >= 100 {
        "is full"
    } else {
        "fills up"
    };
    let resets = s
        .ends_at
        .and_then(|at| jiff::Timestamp::from_second(at).ok())
        .map_or_else(
            || "It does not reset.".to_owned(),
            |at| format!("It resets at {at}."),
        );
    format!(
        "flyball: the cap *{}*{of_key} {full}: {} of {} spent ({} % is passed). {resets}",
        plain_text(called(s)),
        show(s.posted),
        show(s.limit.unwrap_or(0)),
        crossing.percent,
    )
}

/// A name without the signs that Slack reads as its own.
fn plain_text(name: &str) -> String {
    let escaped = name.replace('&', "&amp;").replace('<', "&lt;");
    escaped.replace('>', "&gt;").replace(['*', '`'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_hmac_of_the_second_and_the_body() {
        let body = Bytes::from_static(b"{\"a\":1}");
        let secret = SecretString::from("key");
        let signed = headers(Some(&secret), 1_700_000_000, &body);
        assert_eq!(signed["x-flyball-timestamp"], "1700000000");
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            signed["x-flyball-signature"],
            "sha256=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03"
        );
        assert_eq!(headers(None, 1, &body).len(), 1, "no secret, no signature");
    }
}
