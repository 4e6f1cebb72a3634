//! Tells webhooks that requests have come to their end which were to be answered later: at least once each, also across restarts, by one
//! process of several. What is posted names the request and holds nothing of it; its answer is fetched with the key that asked.

use crate::batch::LineState;
use crate::error::Error;
use crate::exchange::State;
use crate::ledger::now;
use crate::ledger::store::waiting::{DueHook, PAGE, WaitingRow};
use crate::route::Webhook;
use crate::telemetry::HookPost;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::json;
use sha2::Sha256;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often it is looked for what nobody has told of here: what other processes have left.
const EVERY: Duration = Duration::from_secs(5);
/// A webhook has so long to take a post.
const POST: Duration = Duration::from_secs(15);
/// Who has taken it upon itself to tell something, and has died, is waited for so many seconds.
const TAKEN_FOR: i64 = 60;
/// A webhook that takes as long as this and then no post is slow.
const SLOW: Duration = Duration::from_secs(1);
/// What a slow webhook has not taken holds up what else it is to be told for so long.
const PUT_OFF: Duration = Duration::from_secs(60);
/// Posts that are under way at once.
const AT_ONCE: usize = 16;
/// After how many seconds something is told again, one after the other; then nobody is told any more. About a day in all.
const AGAIN: [i64; 9] = [1, 5, 60, 300, 1_800, 7_200, 18_000, 28_800, 28_800];

/// Goes on until the process stops.
pub(super) async fn keep_telling(state: Arc<State>, mut stop: watch::Receiver<bool>) {
    let mut unheard = Unheard::default();
    loop {
        let look = async {
            match look(&state, &mut unheard).await {
                Ok(again) => again,
                Err(error) => {
                    tracing::warn!(%error, "requests that were to be answered later cannot be looked for");
                    EVERY
                }
            }
        };
        let again = tokio::select! {
            again = look => again,
            _ = stop.wait_for(|stopped| *stopped) => return,
        };
        tokio::select! {
            () = tokio::time::sleep(again) => {}
            () = state.batches.moved.notified() => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Tells what is to be told now. Gives how long there is nothing to do at most.
async fn look(state: &Arc<State>, unheard: &mut Unheard) -> Result<Duration, Error> {
    let hooks = Arc::clone(&state.policy.load().webhooks);
    loop {
        let ended = state.batches.with(|store| store.newly_ended()).await?;
        for row in &ended {
            let told = hook_of(state, &hooks, row.key).map(|_| now());
            let row = row.clone();
            let noted = state
                .batches
                .with(move |store| store.note_ended(&row, told));
            noted.await?;
        }
        if ended.is_empty() {
            break;
        }
    }
    let due = state.batches.with(|store| store.due_hooks(now())).await?;
    let many = due.len();
    unheard.retain(|_, since| since.elapsed() < PUT_OFF);
    let shared = Mutex::new(std::mem::take(unheard));
    let telling = due
        .into_iter()
        .map(|due| tell(state, (&hooks[..], &shared), due));
    let telling = futures_util::stream::iter(telling).buffer_unordered(AT_ONCE);
    let all = telling.collect::<Vec<Came>>().await;
    *unheard = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(match many {
        // The first of them is told again soon.
        _ if all.contains(&Came::Again) => Duration::from_secs(1),
        // There may be more.
        PAGE.. => Duration::ZERO,
        _ => EVERY,
    })
}

/// Webhooks that did not take a post, and since when: what else they are to be told waits, so that they hold up nobody else's.
type Unheard = HashMap<u64, Instant>;

/// What came of telling somebody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    /// It is told, or never will be, or waits for a while.
    Done,
    /// It is to be told again.
    Again,
}

fn address(hook: &Webhook) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hook.url.expose_secret().hash(&mut hasher);
    hasher.finish()
}

/// Who is told of the requests of the key in this row.
fn hook_of<'w>(state: &State, all: &'w [Webhook], key: i64) -> Option<&'w Webhook> {
    if key == 0 {
        return Webhook::of(all, "local", "");
    }
    // Of a key that is not there any more nobody knows whose it was.
    let key = state.callers.load().ever_of_row(key)?;
    Webhook::of(all, &key.name, &key.team)
}

/// Tells of one request, unless another process does.
async fn tell(
    state: &Arc<State>,
    (all, unheard): (&[Webhook], &Mutex<Unheard>),
    due: DueHook,
) -> Came {
    let hook = hook_of(state, all, due.row.key);
    let is_unheard = |hook: &Webhook| {
        let unheard = unheard.lock().unwrap_or_else(PoisonError::into_inner);
        unheard.contains_key(&address(hook))
    };
    if hook.is_some_and(is_unheard) {
        let until = now() + i64::try_from(PUT_OFF.as_secs()).unwrap_or(0);
        let put_off = state
            .batches
            .with(move |store| store.put_off_hook(&due, until));
        return match put_off.await {
            Ok(()) => Came::Done,
            Err(_) => Came::Again,
        };
    }
    let own = due.clone();
    let until = now() + TAKEN_FOR;
    let taken = state
        .batches
        .with(move |store| store.take_hook(&own, until));
    match taken.await {
        Ok(true) => {}
        Ok(false) => return Came::Done,
        Err(error) => {
            tracing::warn!(%error, "a webhook cannot be told now");
            return Came::Again;
        }
    }
    // Where the configuration names nobody any more there is nobody to tell.
    let taken = match hook {
        Some(hook) => {
            let began = Instant::now();
            let taken = post(state, hook, &due).await;
            if !taken && began.elapsed() >= SLOW {
                let mut unheard = unheard.lock().unwrap_or_else(PoisonError::into_inner);
                unheard.insert(address(hook), Instant::now());
            }
            taken
        }
        None => true,
    };
    let tries = usize::try_from(due.row.tries).unwrap_or(usize::MAX);
    let again = match taken {
        true => None,
        false => AGAIN.get(tries).map(|wait| now() + wait),
    };
    if !taken && again.is_none() {
        state.telemetry.webhook(HookPost::GivenUp);
        let request = &due.row.request;
        tracing::error!(
            request,
            "a webhook has not taken that a request is over, and is not told of it again; its answer is kept"
        );
    }
    let request = due.row.request.clone();
    let noted = state
        .batches
        .with(move |store| store.note_hook(&request, again));
    if let Err(error) = noted.await {
        // It is told once more than it had to be.
        tracing::warn!(%error, "that a webhook was told cannot be noted");
    }
    match again {
        Some(_) => Came::Again,
        None => Came::Done,
    }
}

/// Posts it. Gives whether it was taken, or will never be.
async fn post(state: &State, hook: &Webhook, due: &DueHook) -> bool {
    let body = body(&due.row, due.state);
    let headers = headers(hook, &due.row.request, now(), &body);
    let sent = state.upstream.send(hook.url.expose_secret(), headers, body);
    // Its address may hold a secret, so it is not shown.
    match tokio::time::timeout(POST, sent).await {
        Ok(Ok(answer)) if answer.status().is_success() => {
            state.telemetry.webhook(HookPost::Delivered);
            true
        }
        Ok(Ok(answer)) => {
            let status = answer.status().as_u16();
            state.telemetry.webhook(HookPost::Refused);
            tracing::warn!(status, "a webhook has refused that a request is over");
            // It is gone for good, and says so.
            status == 410
        }
        Ok(Err(_)) | Err(_) => {
            state.telemetry.webhook(HookPost::Unreachable);
            tracing::warn!("a webhook cannot be reached");
            false
        }
    }
}

fn body(row: &WaitingRow, state: LineState) -> Bytes {
    let status = match state {
        LineState::Done => "completed",
        LineState::Expired => "expired",
        LineState::Cancelled => "cancelled",
        LineState::Failed | LineState::Waiting | LineState::Sent => "failed",
    };
    let at = jiff::Timestamp::from_second(now()).unwrap_or_default();
    let told = json!({
        "type": format!("request.{status}"),
        "timestamp": at.to_string(),
        "data": {"id": row.request, "status": status, "created_at": row.created, "answer": format!("/flyball/requests/{}/answer", row.request)},
    });
    Bytes::from(told.to_string())
}

/// The headers of a post: who reads it can check that it comes from here, is not old, and was not read before.
fn headers(hook: &Webhook, request: &str, at: i64, body: &Bytes) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let id = format!("msg_{request}");
    let signature = signature(hook.secret.expose_secret(), (&id, at), body);
    let said = [
        ("webhook-id", id),
        ("webhook-timestamp", at.to_string()),
        ("webhook-signature", signature),
    ];
    for (name, value) in said {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// As <https://www.standardwebhooks.com> has it: the HMAC of the id, the second and the body, with points between them.
fn signature(secret: &[u8], (id, at): (&str, i64), body: &Bytes) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret).expect("a secret of any length makes a code");
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the standard's own libraries.
    #[test]
    fn posts_are_signed_as_the_standard_says() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed = signature(
            &secret.expect("base64"),
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330),
            &Bytes::from_static(b"{\"test\": 2432232314}"),
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
