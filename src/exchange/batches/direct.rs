//! A line for which there is no batch API, or which is late: run by itself, as a request in the background, at the standard price.

use super::super::work::{Failing, Reply, Unserved};
use super::super::{Attempt, Exchange, State};
use super::admit::{Alone, NotTaken, hold, refuse};
use super::asked::AskedLine;
use super::desk::Room;
use super::seat::{Seat, caller_of, is_paused};
use crate::batch::{BatchRow, LineRow, LineState};
use crate::error::{Error, Kind};
use crate::ledger::store::batches::Claim;
use crate::relay::AnswerBody;
use http::Response;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;

/// For so long at most a line waits until nobody else uses a local model.
const IDLE_WAIT: Duration = Duration::from_secs(5);
/// How often it looks meanwhile.
const IDLE_LOOK: Duration = Duration::from_millis(100);
/// An answer is no longer than this.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// What came of trying to run a line.
pub(super) enum Ran {
    /// It has ended, or will not be asked again.
    Ended,
    /// No cap has room for it now.
    NoRoom,
}

/// Runs one line, and keeps what came of it.
pub(super) async fn run(
    state: Arc<State>,
    (batch, claim): (BatchRow, Claim),
    mut row: LineRow,
    others: usize,
) -> Result<Ran, Error> {
    let _alive = Arc::clone(&state.batches.alive);
    let outcome = ran(&state, (&batch, &claim), &mut row, others).await;
    match outcome {
        Ok(Some(reply)) => keep(&batch, &mut row, reply).await?,
        Ok(None) => {
            return match row.state {
                LineState::Waiting => {
                    // What was decided anew is not kept, nor the room for it.
                    drop(state.batches.take_room(&batch.id, row.n));
                    Ok(Ran::NoRoom)
                }
                _ => Ok(Ran::Ended),
            };
        }
        Err(error) => {
            drop(state.batches.take_room(&batch.id, row.n));
            refuse(&mut row, &batch, &error)?;
        }
    }
    state.batches.note(row.state);
    // What is told as ended is in the books.
    state.ledger.flush().await;
    save(&state, &claim, &row).await?;
    Ok(Ran::Ended)
}

async fn save(state: &State, claim: &Claim, row: &LineRow) -> Result<(), Error> {
    let (claim, rows) = (claim.clone(), vec![row.clone()]);
    let desk = &state.batches;
    desk.with(move |store| store.save(&claim, &rows, &[])).await
}

/// `None`: there is no room for it.
async fn ran(
    state: &Arc<State>,
    (batch, claim): (&BatchRow, &Claim),
    row: &mut LineRow,
    others: usize,
) -> Result<Option<Reply>, Error> {
    let caller = match caller_of(state, batch.key_of(&row.doc)) {
        Err(error) if is_paused(&error) => return Ok(None),
        caller => caller?,
    };
    let seat = Seat::of(state, batch, caller, row)?;
    if state.batches.has_room(&batch.id, row.n) && may_still(state, &seat, row).await.is_err() {
        drop(state.batches.take_room(&batch.id, row.n));
    }
    if !state.batches.has_room(&batch.id, row.n) {
        match hold(state, batch, &seat, (row, Alone::Surely)).await {
            Ok(_) => {}
            Err(NotTaken::Refused(error)) if is_full(&error) => return Ok(None),
            Err(NotTaken::Refused(error)) => return Err(error),
            Err(NotTaken::Defects(_)) => return Ok(None),
        }
    }
    let admission = seat.admitted(state).await?;
    let call = seat.call();
    let asked = AskedLine::read(&seat, &admission, &call)?;
    let decided = asked.decided(&seat, &row.doc)?;
    let work = decided.work();
    let arm = &work.arms()[0];
    if arm.model.local {
        idle(state, others).await;
    }
    let told = work.told(arm).map_err(error_of)?;
    let mut order = work.order(arm, &told).map_err(error_of)?;
    let Some(Room::Held(room)) = state.batches.take_room(&batch.id, row.n) else {
        return Ok(None);
    };
    // From here on nobody runs it a second time, whatever happens.
    row.state = LineState::Sent;
    save(state, claim, row).await?;
    let exchange = Exchange::of(state, &admission);
    let attempt = Attempt {
        arm,
        channel: exchange.insists(work, arm),
        told: &told,
        order: &mut *order,
        asks: work.asks(),
        decided: Duration::ZERO,
        others: true,
        runner: None,
    };
    let first = exchange.send(attempt, Some(room), None).await;
    let again = match first {
        Ok(answered) => return Ok(Some(Ok(answered.answer()))),
        Err(Unserved::NextArm(reply, Failing::Unsure)) => return Ok(Some(*reply)),
        Err(Unserved::NextArm(reply, Failing::Elsewhere))
            if !arm.model.provider.has_several_channels() =>
        {
            return Ok(Some(*reply));
        }
        Err(again @ (Unserved::NextArm(..) | Unserved::Barred(..))) => again,
        Err(unserved) => return Ok(Some(unserved.reply())),
    };
    // Whoever was chosen has done nothing: what a request would do then is done now.
    drop(order);
    match &asked {
        AskedLine::Completion(completion) => match completion.decide(None) {
            Ok(routed) => Ok(Some(exchange.run(&routed).await)),
            Err(_) => Ok(Some(again.reply())),
        },
        // Vectors of two models cannot be compared: nobody else is asked.
        AskedLine::Embeddings(_) => Ok(Some(again.reply())),
    }
}

/// Whether a line may still be asked where room is kept for it: what makes a request confidential may have changed, or what its key may use.
///
/// # Errors
/// Why it may not.
pub(super) async fn may_still(state: &Arc<State>, seat: &Seat, row: &LineRow) -> Result<(), Error> {
    let admission = seat.admitted(state).await?;
    let arm = seat.arm(&row.doc.model, row.doc.effort.as_deref())?;
    admission.permitted(&arm.model)
}

fn error_of(unserved: Unserved) -> Error {
    let told = unserved.reply().err();
    told.unwrap_or_else(|| Error::new(Kind::UpstreamFailed, "No model can answer this."))
}

fn is_full(error: &Error) -> bool {
    matches!(
        error.kind,
        Kind::CapReached | Kind::RateReached | Kind::Overloaded
    )
}

/// Waits until nobody but batches has an attempt open, for a while.
async fn idle(state: &State, others: usize) {
    let waiting = async {
        while Arc::strong_count(&state.alive) > 1 + others {
            tokio::time::sleep(IDLE_LOOK).await;
        }
    };
    let _ = tokio::time::timeout(IDLE_WAIT, waiting).await;
}

async fn keep(batch: &BatchRow, row: &mut LineRow, reply: Reply) -> Result<(), Error> {
    let answer = match reply {
        Ok(answer) => answer,
        Err(error) => return refuse(row, batch, &error),
    };
    let status = answer.status().as_u16();
    match collected(answer).await {
        Some(body) => {
            let Some(body) = on_one_line(&body) else {
                return refuse(row, batch, &no_json(status, &body));
            };
            row.doc.status = status;
            row.state = match status {
                200..=299 => LineState::Done,
                _ => LineState::Failed,
            };
            let dialect = crate::dialect::named(batch.dialect_of(&row.doc));
            if let (LineState::Done, Some(own)) = (row.state, dialect_of(row).or(dialect)) {
                let rule = crate::dialect::UsageRule::Dialect;
                let read = match crate::dialect::embed::at(&row.doc.path) {
                    Some(place) => crate::dialect::embed::meter(place.call, body.as_bytes(), rule),
                    None => own.answer(body.as_bytes(), rule),
                };
                if let Some(usage) = read.usage {
                    row.doc.used = super::settled::used(&usage);
                }
            }
            row.result = body;
            Ok(())
        }
        None => {
            let why = "the model's server broke off in its answer";
            refuse(row, batch, &Error::new(Kind::UpstreamFailed, why))
        }
    }
}

/// What is told of an answer that is no JSON, and could not stand among the results.
fn no_json(status: u16, body: &str) -> Error {
    match status {
        200..=299 => Error::new(
            Kind::UpstreamFailed,
            "the model's server answered with no JSON",
        ),
        _ => {
            let kind = crate::dialect::fault::of_status(status).unwrap_or(Kind::UpstreamFailed);
            Error::new(kind, crate::dialect::fault::said(body.as_bytes()))
        }
    }
}

/// The same JSON on one line; its numbers, its texts and the order of its fields stay as they are. `None`: it is none.
fn on_one_line(json: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(json).ok()?;
    let (mut in_text, mut escaped) = (false, false);
    let kept = json.chars().filter(|letter| {
        let was_in_text = in_text;
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = in_text,
            '"' => in_text = !in_text,
            _ => {}
        }
        was_in_text || !matches!(letter, ' ' | '\t' | '\r' | '\n')
    });
    Some(kept.collect())
}

/// The dialect in which the line was asked.
fn dialect_of(row: &LineRow) -> Option<&'static dyn crate::dialect::Dialect> {
    crate::dialect::at(&row.doc.path, None).map(|(dialect, _)| dialect)
}

async fn collected(answer: Response<AnswerBody>) -> Option<String> {
    let body = http_body_util::Limited::new(answer.into_body(), ANSWER_MAX);
    let whole = body.collect().await.ok()?;
    Some(String::from_utf8_lossy(&whole.to_bytes()).into_owned())
}
