//! A request that was to be answered later, as its asker comes back for it: fetched, cancelled or forgotten.

use super::super::admission::Inbound;
use super::super::router::Later;
use super::super::{State, reply, returned};
use super::pool::COME_BACK;
use crate::batch::{LineRow, LineState};
use crate::dialect;
use crate::dialect::batch::BatchState;
use crate::error::{Error, Kind, Retry};
use crate::ledger::now;
use crate::ledger::store::waiting::WaitingRow;
use crate::relay::AnswerBody;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Method, Response, StatusCode};
use serde_json::json;
use std::sync::Arc;

/// Answers a call about a request that was to be answered later. A caller finds its own, and no others.
///
/// # Errors
/// There is none of this id.
pub(in crate::exchange) async fn later(
    state: &Arc<State>,
    inbound: &Inbound<'_>,
    later: Later<'_>,
) -> Result<Response<AnswerBody>, Error> {
    let missing = || {
        let why = "There is no such request of this caller that was to be answered later.";
        Error::new(Kind::NotFound, why)
    };
    let id = uuid::Uuid::parse_str(later.id).map_err(|_| missing())?;
    let (id, key) = (id.to_string(), inbound.caller.key.as_ref());
    let key = key.map_or(0, |key| key.id);
    let found = state.batches.with(move |store| {
        let Some(row) = store.waiting(key, &id)? else {
            return Ok(None);
        };
        let line = store.line(&row.batch, row.n)?;
        Ok(line.map(|line| (row, line)))
    });
    let (row, line) = found.await?.ok_or_else(missing)?;
    if row.gone || line.state == LineState::Cancelled {
        let why = "This request was cancelled, or its answer was deleted.";
        return Err(Error::new(Kind::NotFound, why).code("flyball_cancelled"));
    }
    let over = LineState::ENDS.contains(&line.state);
    match (&inbound.head.method, over) {
        (&Method::DELETE, true) => forget(state, row).await,
        (&Method::DELETE | &Method::POST, false) => cancel(state, row).await,
        (&Method::POST, true) => {
            let why = "This request is answered already; its answer can be deleted.";
            Err(Error::new(Kind::BadRequest, why))
        }
        (_, true) => Ok(answered(&row, &line)),
        (_, false) => Ok(waits(&row)),
    }
}

/// Its answer is not there yet.
fn waits(row: &WaitingRow) -> Response<AnswerBody> {
    let body = json!({
        "id": row.request, "object": "flyball.request", "status": "waiting", "expires_at": row.expires,
        "late": now() > row.expires,
    });
    let mut answer = reply::json(StatusCode::ACCEPTED, body.to_string());
    let wait = HeaderValue::from(COME_BACK);
    answer.headers_mut().insert(RETRY_AFTER, wait);
    answer
}

/// What came of it, as it would have been answered at once.
fn answered(row: &WaitingRow, line: &LineRow) -> Response<AnswerBody> {
    let mut answer = match line.state {
        LineState::Expired => {
            let why = "This request was not answered within its deadline, and nothing of it is charged. Ask it again with a longer deadline, or without \"prefer: respond-async\".";
            let error = Error::new(Kind::UpstreamTimeout, why)
                .code("flyball_deadline")
                .retry(Retry::Never);
            let asker = line.doc.asker.as_ref();
            let dialect = asker.and_then(|asker| dialect::named(&asker.dialect));
            let dialect = dialect.unwrap_or(dialect::ALL[0]);
            reply::error(&error, dialect, &row.request)
        }
        _ => {
            let status = StatusCode::from_u16(line.doc.status).unwrap_or(StatusCode::OK);
            reply::json(status, line.result.clone())
        }
    };
    let headers = answer.headers_mut();
    returned::set(headers, "x-flyball-answers", &row.request);
    returned::set(headers, "x-flyball-model", &line.doc.model);
    returned::set(headers, "x-flyball-provider", &line.doc.provider);
    answer
}

fn told(row: &WaitingRow, status: &str) -> Response<AnswerBody> {
    let body = json!({"id": row.request, "object": "flyball.request", "status": status});
    reply::json(StatusCode::OK, body.to_string())
}

/// Nobody wants its answer any more: it is not asked at all, where it has not gone out.
async fn cancel(state: &Arc<State>, row: WaitingRow) -> Result<Response<AnswerBody>, Error> {
    let desk = &state.batches;
    let own = row.clone();
    let (free, others) = desk
        .with(move |store| {
            let free = store.take_back(&own)?;
            Ok((free, store.forget_waiting(&own)))
        })
        .await?;
    if free {
        drop(desk.take_room(&row.batch, row.n));
    }
    if !others? && !free {
        end_batch(state, &row.batch).await?;
    }
    Ok(told(&row, "cancelled"))
}

/// Of a batch at its vendor nobody wants anything any more.
async fn end_batch(state: &Arc<State>, id: &str) -> Result<(), Error> {
    let desk = &state.batches;
    let batch = id.to_owned();
    let found = desk.with(move |store| store.batch(&batch)).await?;
    let Some(mut batch) = found.filter(|batch| batch.state == BatchState::InProgress) else {
        return Ok(());
    };
    batch.state = BatchState::Cancelling;
    batch.doc.cancelling = Some(now());
    // Where it has changed meanwhile it comes to its end by itself.
    if desk.change(None, &batch, BatchState::InProgress).await? {
        desk.wake(id);
    }
    Ok(())
}

/// Its answer is not kept any longer.
async fn forget(state: &Arc<State>, row: WaitingRow) -> Result<Response<AnswerBody>, Error> {
    let own = row.clone();
    let forgotten = state.batches.with(move |store| store.forget_waiting(&own));
    forgotten.await?;
    Ok(told(&row, "deleted"))
}
