//! Batches that are passed on to their provider unread: what their results say is booked, line by line, at the price of a batch. flyball looks at
//! the provider how such a batch stands, as it does for those that it keeps, and reads the results itself: nobody has to fetch them.

use super::super::State;
use super::super::admission::Admission;
use super::headers_that_hold;
use super::work::drive;
use crate::batch::wire::{Wire, known_of};
use crate::batch::{BatchDoc, BatchRow, PASSED_PREFIX, PartRow, PartState};
use crate::dialect::batch::BatchState;
use crate::error::Error;
use crate::ledger::now;
use crate::provider::Provider;
use crate::provider::channel::Channel;
use bytes::Bytes;
use http::Method;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Vendors keep results for a month at the most; then nobody will hear any more what a batch has cost.
pub(super) const KNOWN_FOR: i64 = 35 * 86_400;

/// A batch that a provider was just asked to make, and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct MadeBatch {
    provider: String,
    /// The channel of the provider on which it was made.
    channel: String,
    /// What the provider calls it.
    id: String,
    /// The path that its lines ask for, where the provider says so.
    endpoint: String,
}

/// The batch that this call has made at its provider, by the path there and the answer.
fn made(provider: &Provider, method: &Method, path: &str, answer: &[u8]) -> Option<MadeBatch> {
    let Wire { batches, .. } = known_of(provider)?;
    if !makes(provider, method, path) {
        return None;
    }
    let value: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let told = batches.told(answer)?;
    Some(MadeBatch {
        provider: provider.name.clone(),
        channel: String::new(),
        id: told.id,
        endpoint: value["endpoint"].as_str().unwrap_or_default().to_owned(),
    })
}

/// Whether such a call makes a batch there.
pub(in super::super) fn makes(provider: &Provider, method: &Method, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path);
    let makes = |wire: Wire| {
        wire.own_path(path)
            .is_some_and(|path| wire.batches.makes(path))
    };
    *method == Method::POST && known_of(provider).is_some_and(makes)
}

/// The batch to which this call adds requests, which was made by another call.
fn added(provider: &Provider, method: &Method, path: &str, channel: String) -> Option<MadeBatch> {
    let wire = known_of(provider).filter(|_| *method == Method::POST)?;
    let path = path.split('?').next().unwrap_or(path);
    Some(MadeBatch {
        provider: provider.name.clone(),
        channel,
        id: wire.batches.adds_to(wire.own_path(path)?)?,
        endpoint: String::new(),
    })
}

/// What flyball calls it.
fn own_id(provider: &str, id: &str) -> String {
    format!("{PASSED_PREFIX}{provider}-{id}")
}

/// Whose it is, and what came with the call.
pub(in super::super) struct Whose {
    /// The key's row, 0 in open mode.
    key: i64,
    /// Headers that say whom it is for.
    headers: Vec<(String, String)>,
}

impl MadeBatch {
    /// The channel on which it was made.
    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// What its provider calls it.
    pub(super) fn vendor_id(&self) -> &str {
        &self.id
    }
}

impl Whose {
    pub(super) fn key(&self) -> i64 {
        self.key
    }

    pub(super) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Of whoever calls.
    pub(in super::super) fn of(admission: &Admission<'_>) -> Whose {
        Whose {
            key: admission.caller.key.as_ref().map_or(0, |key| key.id),
            headers: headers_that_hold(admission.head, admission.dialect, &admission.policy),
        }
    }
}

/// Keeps in mind that a batch was made, or was given more requests, so that what it costs is booked. Its client hears of it whatever happens here.
pub(in super::super) async fn note(state: &Arc<State>, whose: Whose, made: MadeBatch) {
    let state = Arc::clone(state);
    // Whether its client waits for that or not.
    let noting = tokio::spawn(async move { try_to_note(&state, whose, made).await });
    let _ = noting.await;
}

async fn try_to_note(state: &Arc<State>, whose: Whose, made: MadeBatch) {
    let (provider, id) = (made.provider.clone(), made.id.clone());
    if let Err(error) = noted(state, whose, made).await {
        tracing::error!(provider, batch = id, %error, "a batch that was passed on cannot be kept in mind; what it costs is in no book");
    }
}

async fn noted(state: &Arc<State>, whose: Whose, made: MadeBatch) -> Result<(), Error> {
    let id = own_id(&made.provider, &made.id);
    let batch = BatchRow {
        id: id.clone(),
        key: whose.key,
        state: BatchState::InProgress,
        created: now(),
        doc: BatchDoc {
            endpoint: made.endpoint,
            headers: whose.headers,
            began: Some(now()),
            expires: now().saturating_add(KNOWN_FOR),
            ..BatchDoc::default()
        },
    };
    let part = PartRow {
        state: PartState::Sent,
        provider: made.provider,
        channel: made.channel,
        vendor_id: made.id,
        intent_at: now(),
        ..PartRow::default()
    };
    tracing::info!(
        batch = id,
        provider = part.provider,
        "a batch was made at its provider, or given requests, by a call that was passed on"
    );
    let desk = &state.batches;
    desk.with(move |store| {
        store.put_with(&batch, &part)?;
        // One that was over has requests again.
        store.reopen(&batch.id, &part)
    })
    .await?;
    tokio::spawn(drive(Arc::clone(state), id, None));
    Ok(())
}

/// Says so where the client of a call that makes a batch goes away before its answer came: nobody knows then what the batch is called.
pub(in super::super) struct Unheard(Option<String>);

impl Unheard {
    /// Of a call to this path of the provider.
    pub(in super::super) fn of(provider: &Provider, method: &Method, path: &str) -> Unheard {
        Unheard(makes(provider, method, path).then(|| provider.name.clone()))
    }

    /// The call has ended.
    pub(in super::super) fn heard(mut self) {
        self.0 = None;
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        if let Some(provider) = &self.0 {
            tracing::error!(
                provider,
                "a client has left a call that makes a batch before its answer came; if its provider has made it, what it costs is in no book"
            );
        }
    }
}

/// Somebody looks at such a batch, or fetches its results: it is looked at here, too.
pub(in super::super) fn looked_at(state: &State, provider: &Provider, path: &str) {
    let id = known_of(provider).and_then(|wire| wire.batches.id_in(wire.own_path(path)?));
    if let Some(id) = id {
        state.batches.wake(&own_id(&provider.name, &id));
    }
}

/// Remembers the answer to a call that makes a batch, until it is noted, and the channel on which the call has gone out last.
#[derive(Debug, Default)]
pub(in super::super) struct NewBatch(Mutex<(String, Option<MadeBatch>)>);

impl NewBatch {
    fn kept(&self) -> MutexGuard<'_, (String, Option<MadeBatch>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call goes out on this channel.
    pub(in super::super) fn goes_out_on(&self, channel: &Channel) {
        channel.name.clone_into(&mut self.kept().0);
    }

    /// Looks at the answer to a call.
    pub(in super::super) fn look(
        &self,
        provider: &Provider,
        (method, path): (&Method, &str),
        (status, answer): (http::StatusCode, &Bytes),
    ) {
        if status.is_success()
            && let Some(made) = made(provider, method, path, answer)
        {
            let mut kept = self.kept();
            let channel = kept.0.clone();
            kept.1 = Some(MadeBatch { channel, ..made });
        }
    }

    /// The batch to which the call has added requests, where it has been taken.
    pub(in super::super) fn added(
        &self,
        provider: &Provider,
        method: &Method,
        path: &str,
    ) -> Option<MadeBatch> {
        let channel = self.kept().0.clone();
        added(provider, method, path, channel)
    }

    /// What was made.
    pub(in super::super) fn take(&self) -> Option<MadeBatch> {
        self.kept().1.take()
    }
}
