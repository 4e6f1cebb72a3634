//! The end of one line: what it used is booked, and its answer is put into the client's dialect.

use super::super::work::{Order, Wording};
use super::super::{Exchange, State, reply};
use super::admit::refuse;
use super::asked::AskedLine;
use super::desk::Room;
use super::seat::{Seat, owner_of};
use crate::batch::{BatchRow, LineRow, LineState};
use crate::chat::{ServiceTier, Usage};
use crate::dialect::Answer;
use crate::dialect::batch::{LineEnd, VendorResult};
use crate::error::{Error, Kind};
use crate::fleet::Arm;
use crate::ledger::now_ms;
use crate::ledger::record::Basis;
use crate::ledger::record::{Correction, Outcome, TrueUp};
use crate::money::PicoUsd;
use crate::relay::AnswerBody;
use crate::settle::{Around, Job, Settlement, charge::ChargeTerms, unheard};
use crate::telemetry::otlp::Trace;
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where a correction comes from that a batch's result makes after a crash.
const SOURCE: &str = "batch result";

/// What a line has used, for its batch's sums.
pub(super) fn used(usage: &Usage) -> [i64; 4] {
    let of = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    [
        of(usage.input_total()),
        of(usage.cached),
        of(usage.output),
        of(usage.reasoning),
    ]
}

/// A line of a vendor's batch has ended: it is booked, and its row says what came of it. `Ok(false)`: it cannot be booked yet.
pub(super) async fn settle(
    state: &Arc<State>,
    batch: &BatchRow,
    row: &mut LineRow,
    result: &VendorResult,
) -> Result<bool, Error> {
    match result.end {
        LineEnd::Done | LineEnd::Failed => {
            let read = answered(state, batch, row, result).await;
            match read {
                Ok(settled) => return Ok(settled),
                // Nobody can read it: what it has cost is not known.
                Err(error) => {
                    if !unknown(state, batch, row).await? {
                        return Ok(false);
                    }
                    refuse(row, batch, &error)?;
                }
            }
        }
        LineEnd::Expired | LineEnd::Cancelled => {
            if !undone(state, batch, row).await? {
                return Ok(false);
            }
            row.state = match result.end {
                LineEnd::Expired => LineState::Expired,
                _ => LineState::Cancelled,
            };
        }
    }
    row.out.clear();
    state.batches.note(row.state);
    Ok(true)
}

/// Nothing was done for a line: nothing is charged.
pub(super) async fn undone(
    state: &Arc<State>,
    batch: &BatchRow,
    row: &LineRow,
) -> Result<bool, Error> {
    match state.batches.take_room(&batch.id, row.n) {
        Some(Room::Open(reservation)) => {
            unheard::void(&state.telemetry, reservation, Outcome::RefusedUpstream);
            Ok(true)
        }
        Some(Room::Held(room)) => {
            drop(room);
            Ok(true)
        }
        None if row.state == LineState::Waiting => Ok(true),
        None => corrected(state, batch, row, PicoUsd::ZERO).await,
    }
}

/// Nobody knows what was done for a line: it is charged at its bound.
pub(super) async fn unknown(
    state: &Arc<State>,
    batch: &BatchRow,
    row: &LineRow,
) -> Result<bool, Error> {
    if let Some(Room::Open(reservation)) = state.batches.take_room(&batch.id, row.n) {
        unheard::at_bound(&state.telemetry, reservation, Outcome::UpstreamError);
    }
    // Otherwise whoever has swept the books after a crash has charged it so.
    Ok(true)
}

/// After a crash the line was charged at its bound; now it is known what it has cost.
async fn corrected(
    state: &Arc<State>,
    batch: &BatchRow,
    row: &LineRow,
    cost: PicoUsd,
) -> Result<bool, Error> {
    let correction = Correction {
        attempt: row.doc.attempt.clone(),
        cost,
        at_ms: now_ms(),
        source: SOURCE.to_owned(),
    };
    let request = batch.request_of(row.n, &row.doc);
    let told = state.ledger.correct(&request, correction).await?;
    // One that is open still belongs to a process that has died and was not swept yet.
    Ok(told != TrueUp::Open)
}

/// The row that a settlement needs, made anew from what is kept.
async fn answered(
    state: &Arc<State>,
    batch: &BatchRow,
    row: &mut LineRow,
    result: &VendorResult,
) -> Result<bool, Error> {
    let owner = owner_of(state, batch.key_of(&row.doc));
    let seat = Seat::of(state, batch, owner, row)?;
    let admission = seat.answered(state)?;
    let call = seat.call();
    let asked = AskedLine::read(&seat, &admission, &call)?;
    let decided = asked.decided(&seat, &row.doc)?;
    let work = decided.work();
    let arm = &work.arms()[0];
    let mut told = work.told(arm).map_err(error_of)?;
    if let Some(dialect) = crate::dialect::named(&row.doc.told) {
        told = decided.told_as(dialect, arm, told).map_err(error_of)?;
    }
    if told.dialect.name() != row.doc.told {
        let why = "the answer is in a dialect in which this model is not asked any more";
        return Err(Error::new(Kind::UpstreamFailed, why));
    }
    let mut order = work.order_in_batch(arm, &told).map_err(error_of)?;
    // What it was asked was limited to what its room covers; that says the job, too.
    let mut answer = decided.answer(arm, &told, result.body.as_bytes());
    if let Some(usage) = &mut answer.usage {
        // OpenAI's results name the tier "default", and are billed as a batch's.
        usage.tier = Some(ServiceTier::Batch);
    }
    let job = order.job();
    if !booked(state, batch, row, (&job, arm), (result, &answer)).await? {
        return Ok(false);
    }
    if let Some(usage) = &answer.usage {
        row.doc.used = used(usage);
    }
    Exchange::of(state, &admission).remember_makers(arm, &answer);
    let client = (admission.dialect, seat.id.as_str());
    let said = said(&mut *order, &told, client, result, answer);
    match said {
        Ok((status, body)) => {
            row.doc.status = status;
            row.result = body;
            row.state = match status {
                200..=299 => LineState::Done,
                _ => LineState::Failed,
            };
            row.out.clear();
        }
        Err(error) => {
            refuse(row, batch, &error)?;
            row.out.clear();
        }
    }
    state.batches.note(row.state);
    Ok(true)
}

fn error_of(unserved: super::super::work::Unserved) -> Error {
    let told = unserved.reply().err();
    told.unwrap_or_else(|| Error::new(Kind::UpstreamFailed, "No model can answer this."))
}

/// Books what a result says.
pub(super) async fn booked(
    state: &Arc<State>,
    batch: &BatchRow,
    row: &LineRow,
    (job, arm): (&Job, &Arm),
    (result, answer): (&VendorResult, &Answer),
) -> Result<bool, Error> {
    let free = result.end == LineEnd::Failed && answer.usage.is_none();
    if free {
        return undone(state, batch, row).await;
    }
    let Some(room) = state.batches.take_room(&batch.id, row.n) else {
        let Some(usage) = answer.usage.filter(|usage| !usage.anomaly) else {
            // It stays at its bound, at which it was charged after the crash.
            return Ok(true);
        };
        let terms = ChargeTerms {
            price: arm.model.price.as_ref(),
            asked: Some(ServiceTier::Batch),
            told: Some(ServiceTier::Batch),
            manner: job.manner,
            capped: true,
            bound: PicoUsd::ZERO,
            at: batch.created,
            media_tokens_max: job.attached,
            took: Duration::ZERO,
        };
        let charged = terms.charge(&usage, Basis::Reported);
        return match charged.unpriced {
            true => Ok(true),
            false => corrected(state, batch, row, charged.cost).await,
        };
    };
    let Room::Open(reservation) = room else {
        return Ok(true);
    };
    let around = Around {
        telemetry: Arc::clone(&state.telemetry),
        arrived: Instant::now(),
        phases: Vec::new(),
        alive: Arc::clone(&state.alive),
        trace: Trace::default(),
        paid: None,
        delivery: None,
        lost: None,
    };
    let mut settlement = Settlement::new(job.clone(), around, reservation);
    settlement.sending(None);
    settlement.status(result.status);
    settlement.tier(Some(ServiceTier::Batch));
    settlement.arrived();
    let _ = settlement.answered(answer);
    Ok(true)
}

/// What the client is told: the status, and the body in its own dialect.
fn said(
    order: &mut dyn Order,
    told: &Wording,
    (dialect, id): (&'static dyn crate::dialect::Dialect, &str),
    result: &VendorResult,
    answer: Answer,
) -> Result<(u16, String), Error> {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = http::StatusCode::from_u16(result.status).unwrap_or_default();
    let bytes = Bytes::copy_from_slice(result.body.as_bytes());
    let answer = match result.end {
        LineEnd::Done => order.answer(head, bytes, answer)?,
        _ if told.translated => reply::error_of(head, &bytes, dialect, id),
        _ => Response::from_parts(head, AnswerBody::whole(bytes)),
    };
    Ok((answer.status().as_u16(), text_of(answer)))
}

/// The words of an answer that is known as a whole.
pub(super) fn text_of(answer: Response<AnswerBody>) -> String {
    let collected = match answer.into_body() {
        AnswerBody::Whole(full) => full.collect(),
        _ => return String::new(),
    };
    // It is there, so that nothing waits.
    let bytes = futures_util::FutureExt::now_or_never(collected);
    let bytes = bytes.and_then(Result::ok).map(|all| all.to_bytes());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}
