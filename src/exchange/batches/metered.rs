//! The lines of a batch that was passed on, as its results tell them: each is booked at the price of a batch.

use super::super::admission::AttemptLabel;
use super::super::{State, work};
use super::desk::Room;
use super::seat::{Seat, owner_of};
use super::settled;
use crate::arm::Effort;
use crate::batch::wire::Wire;
use crate::batch::{BatchRow, LineDoc, LineRow, LineState};
use crate::chat::ServiceTier;
use crate::dialect::batch::{LineEnd, VendorResult};
use crate::dialect::{self, Answer, Dialect, embed};
use crate::error::Error;
use crate::fleet::Arm;
use crate::provider::Provider;
use crate::settle::Job;
use std::sync::Arc;

/// The rule in the books, as of everything that is passed on.
pub(super) const RULE: &str = "passed";

/// Reads the answer to a line, in the words in which it was asked.
fn read(provider: &Provider, wire: &Wire, endpoint: &str, body: &[u8]) -> Answer {
    let rule = provider.kind.usage;
    if let Some(place) = embed::at(endpoint) {
        return embed::meter(place.call, body, rule);
    }
    let asked: &dyn Dialect = dialect::at(endpoint, None).map_or(wire.dialect, |(own, _)| own);
    asked.answer(body, rule)
}

/// A line of such a batch, with what its result says.
pub(super) struct ResultLine {
    pub(super) line: LineRow,
    answer: Answer,
    arm: Arm,
}

/// The name by which a line is known whose batch was passed on unread. No database keeps the character U+0000 in a text.
pub(super) fn name_of(result: &VendorResult) -> String {
    result.id.replace('\0', "\u{fffd}")
}

/// What a result says of a line that is not known yet.
pub(super) fn line_of(
    state: &State,
    batch: &BatchRow,
    (provider, wire): (&Arc<Provider>, &Wire),
    result: &VendorResult,
    (n, known): (i64, Option<&LineRow>),
) -> ResultLine {
    let mut answer = read(provider, wire, &batch.doc.endpoint, result.body.as_bytes());
    if let Some(usage) = &mut answer.usage {
        usage.tier = Some(ServiceTier::Batch);
    }
    let policy = state.policy.load();
    // What was reserved is priced as what was asked.
    let asked = known.map(|line| line.doc.model.clone());
    let told = || answer.model.clone();
    let name = asked
        .or_else(told)
        .unwrap_or_else(|| work::UNNAMED.to_owned());
    let model = policy.fleet.at(provider, &name, &policy.catalogue);
    let line = LineRow {
        n,
        custom_id: name_of(result),
        part: 0,
        state: match result.end {
            LineEnd::Done => LineState::Sent,
            LineEnd::Failed if answer.usage.is_some() => LineState::Sent,
            LineEnd::Failed => LineState::Failed,
            LineEnd::Expired => LineState::Expired,
            LineEnd::Cancelled => LineState::Cancelled,
        },
        body: String::new(),
        out: String::new(),
        result: String::new(),
        doc: LineDoc {
            path: batch.doc.endpoint.clone(),
            provider: provider.name.clone(),
            model: name,
            rule: RULE.to_owned(),
            untouched: true,
            told: wire.dialect.name().to_owned(),
            ..LineDoc::default()
        },
    };
    let arm = Arm {
        model,
        effort: None,
    };
    ResultLine { line, answer, arm }
}

/// Keeps a place in the books for a line whose result has come, which bears its names.
///
/// # Errors
/// The headers that came with its batch are none any more.
pub(super) fn hold(
    state: &Arc<State>,
    batch: &BatchRow,
    wire: &Wire,
    of: &mut ResultLine,
) -> Result<(), Error> {
    let owner = owner_of(state, batch.key);
    let mut row = of.line.clone();
    if row.doc.path.is_empty() {
        wire.batches.path().clone_into(&mut row.doc.path);
    }
    let seat = Seat::of(state, batch, owner, &row)?;
    let admission = seat.answered(state)?;
    let opening = admission.opening(&AttemptLabel {
        arm: &of.arm,
        effort: Effort::None,
        task: work::UNNAMED,
        rule: RULE,
        difficulty: None,
        dialect: wire.dialect,
    });
    // It is paid already, whatever caps say.
    let room = state.ledger.hold_beyond_caps(opening);
    of.line.doc.attempt = room.attempt().to_owned();
    let n = of.line.n;
    state.batches.keep_room(&batch.id, n, Room::Held(room));
    Ok(())
}

/// Whether the attempt of a line is in the books.
///
/// # Errors
/// The books cannot be read.
pub(super) async fn is_booked(
    state: &State,
    batch: &BatchRow,
    line: &LineRow,
) -> Result<bool, Error> {
    let rows = state
        .ledger
        .request(&batch.request_of(line.n, &line.doc))
        .await?;
    Ok(rows
        .iter()
        .any(|row| row.opening.attempt == line.doc.attempt))
}

/// Books what a result says, and ends its line. `false`: it cannot be booked yet.
///
/// # Errors
/// The books cannot be written.
pub(super) async fn settle(
    state: &Arc<State>,
    batch: &BatchRow,
    wire: &Wire,
    of: &mut ResultLine,
    result: &VendorResult,
) -> Result<bool, Error> {
    let job = Job {
        tier: Some(ServiceTier::Batch),
        // Where a cap counts it, an answer that tells nothing is charged at its bound.
        capped: batch.doc.reserved,
        ..Job::of(&of.arm, wire.dialect)
    };
    let (line, answer) = (&mut of.line, &of.answer);
    if !settled::booked(state, batch, line, (&job, &of.arm), (result, answer)).await? {
        return Ok(false);
    }
    if let Some(usage) = &answer.usage {
        line.doc.used = settled::used(usage);
    }
    line.doc.status = result.status;
    line.state = match result.end {
        LineEnd::Done => LineState::Done,
        _ => LineState::Failed,
    };
    Ok(true)
}
