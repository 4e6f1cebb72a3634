//! A batch is taken up: each of its lines is read, decided and given room. Either all of them are, or nothing of it goes out.

use super::super::channels::to;
use super::super::work::Unserved;
use super::super::{Exchange, State};
use super::asked::AskedLine;
use super::desk::Room;
use super::pages::Lines;
use super::seat::{Seat, caller_of};
use crate::affinity;
use crate::batch::parts::Parts;
use crate::batch::wire::{Wire, wire_of};
use crate::batch::{BatchRow, DIRECT, LineRow, LineState, PartRow};
use crate::caller::Caller;
use crate::dialect::batch::{ClientBatches, HandedLine, LineDefect};
use crate::dialect::{self, Dialect};
use crate::error::Error;
use crate::ledger::store::batches::{Claim, PAGE};
use crate::provider::channel::{Request, Stickiness};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// Lines of one batch, at most: what Anthropic takes, and twice what OpenAI does.
const LINES_MAX: i64 = 100_000;
/// Defects that are told.
const DEFECTS_MAX: usize = 50;
/// Bytes of a token in a result, at most as a rule: a few letters, those that JSON escapes among them.
pub(super) const TOKEN_BYTES: usize = 6;
/// A result is taken to be no longer than so many tokens, where nothing says how long it may be.
const TOKENS_MAX: u64 = 200_000;
/// Lines that were read are kept when they are so many bytes: a line may be as long as a request.
const HELD_BYTES: usize = 4 * 1024 * 1024;
/// One line, at most: as much as one request.
const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Why a batch is not taken up.
pub(super) enum NotTaken {
    /// Lines are wrong.
    Defects(Vec<Value>),
    /// There is no room for all of it, or it cannot be read.
    Refused(Error),
}

impl From<Error> for NotTaken {
    fn from(error: Error) -> NotTaken {
        NotTaken::Refused(error)
    }
}

/// The dialect of a batch's client.
///
/// # Errors
/// A defect: batches are kept in a dialect that has some.
pub(super) fn words(
    batch: &BatchRow,
) -> Result<(&'static dyn Dialect, &'static dyn ClientBatches), Error> {
    let dialect = dialect::named(&batch.doc.dialect);
    let words = dialect.and_then(|d| Some((d, d.client_batches()?)));
    words.ok_or_else(without_dialect)
}

fn without_dialect() -> Error {
    let why = "a batch is kept in a dialect that has none";
    Error::new(crate::error::Kind::Internal, why)
}

/// What is read of a batch so far.
struct Reading<'a> {
    state: &'a Arc<State>,
    batch: &'a BatchRow,
    claim: &'a Claim,
    caller: Caller,
    words: &'static dyn ClientBatches,
    seen: HashSet<u64>,
    hasher: RandomState,
    defects: Vec<Value>,
    parts: Parts,
    rows: Vec<LineRow>,
    part_rows: Vec<PartRow>,
    n: i64,
}

/// Reads every line of a batch and keeps room for it.
///
/// # Errors
/// What is wrong with its lines, or that there is no room; then none is kept.
pub(super) async fn admit(
    state: &Arc<State>,
    batch: &BatchRow,
    claim: &Claim,
) -> Result<(), NotTaken> {
    let desk = &state.batches;
    let _turn = desk.reading.acquire().await;
    desk.give_back(&batch.id);
    let own = claim.clone();
    desk.with(move |store| store.clear(&own)).await?;
    let (_, words) = words(batch)?;
    let mut reading = Reading {
        state,
        batch,
        claim,
        caller: caller_of(state, batch.key)?,
        words,
        seen: HashSet::new(),
        hasher: RandomState::new(),
        defects: Vec::new(),
        parts: Parts::default(),
        rows: Vec::new(),
        part_rows: Vec::new(),
        n: 0,
    };
    let outcome = reading.read_all().await;
    if outcome.is_err() {
        desk.give_back(&batch.id);
        let own = claim.clone();
        desk.with(move |store| store.clear(&own)).await?;
    }
    outcome
}

/// Whether the client's own name for a line can be kept: PostgreSQL keeps no text with this character, and what one database refuses the other
/// refuses, too.
///
/// # Errors
/// It cannot.
pub(super) fn check_name(handed: &HandedLine) -> Result<(), LineDefect> {
    match handed.custom_id.contains('\0') {
        false => Ok(()),
        true => Err(LineDefect {
            code: "invalid_custom_id",
            message: "The custom_id must not hold the character U+0000.".to_owned(),
            field: Some("custom_id"),
        }),
    }
}

impl Reading<'_> {
    async fn read_all(&mut self) -> Result<(), NotTaken> {
        let mut lines = Lines::of(&self.batch.doc.input_file, LINE_BYTES_MAX);
        let mut number = 0_i64;
        while let Some(line) = lines.next(&self.state.batches).await? {
            number += 1;
            let Some(line) = line else {
                self.wrong(
                    number,
                    &LineDefect {
                        code: "line_too_long",
                        message: format!("This line is longer than {LINE_BYTES_MAX} bytes."),
                        field: None,
                    },
                );
                continue;
            };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match self.checked(&line) {
                Ok(handed) if self.defects.is_empty() => self.take(handed).await?,
                Ok(_) => {}
                Err(defect) => self.wrong(number, &defect),
            }
            if self.defects.len() >= DEFECTS_MAX {
                break;
            }
            if self.n > LINES_MAX {
                self.wrong(
                    number,
                    &LineDefect {
                        code: "too_many_tasks",
                        message: format!("A batch takes up to {LINES_MAX} requests."),
                        field: None,
                    },
                );
                break;
            }
        }
        if !self.defects.is_empty() {
            return Err(NotTaken::Defects(std::mem::take(&mut self.defects)));
        }
        if self.n == 0 {
            let empty = json!({"code": "empty_batch", "message": "The batch has no requests.", "param": null, "line": null});
            return Err(NotTaken::Defects(vec![empty]));
        }
        self.keep().await?;
        Ok(())
    }

    fn wrong(&mut self, line: i64, defect: &LineDefect) {
        self.defects.push(json!({
            "code": defect.code,
            "message": defect.message,
            "param": defect.field,
            "line": line,
        }));
    }

    /// The line as it was handed in, if nothing is wrong with it.
    fn checked(&mut self, line: &[u8]) -> Result<HandedLine, LineDefect> {
        let handed = self.words.line(line)?;
        check_name(&handed)?;
        let endpoint = &self.batch.doc.endpoint;
        if handed.path != *endpoint {
            return Err(LineDefect {
                code: "mismatched_endpoint",
                message: format!(
                    "The 'url' of this line must be '{endpoint}', as that of its batch is."
                ),
                field: Some("url"),
            });
        }
        if !self.seen.insert(self.hasher.hash_one(&handed.custom_id)) {
            return Err(LineDefect {
                code: "duplicate_custom_id",
                message: format!(
                    "The custom_id '{}' for this request is a duplicate of another request. The custom_id parameter must be unique for each request in a batch.",
                    handed.custom_id
                ),
                field: Some("custom_id"),
            });
        }
        Ok(handed)
    }

    /// Decides a line and keeps room for it. What is wrong with a line alone is its own result.
    async fn take(&mut self, handed: HandedLine) -> Result<(), NotTaken> {
        let n = self.n;
        self.n += 1;
        let mut row = LineRow {
            n,
            custom_id: handed.custom_id,
            part: DIRECT,
            state: LineState::Waiting,
            body: handed.body,
            out: String::new(),
            result: String::new(),
            doc: crate::batch::LineDoc {
                path: handed.path,
                ..crate::batch::LineDoc::default()
            },
        };
        match self.placed(&mut row).await {
            Ok(wire) => self.assign(&mut row, wire),
            Err(NotTaken::Refused(error)) if is_of_line(&error) => {
                refuse(&mut row, self.batch, &error)?;
                self.state.batches.note(LineState::Failed);
            }
            Err(not_taken) => return Err(not_taken),
        }
        self.rows.push(row);
        let held: usize = self
            .rows
            .iter()
            .map(|row| row.body.len() + row.out.len())
            .sum();
        let full = i64::try_from(self.rows.len()).unwrap_or(i64::MAX) >= PAGE;
        if full || held >= HELD_BYTES {
            self.keep().await?;
        }
        Ok(())
    }

    fn assign(&mut self, row: &mut LineRow, wire: Option<Wire>) {
        let Some(wire) = wire else { return };
        let whom = format!(
            "{}\n{}\n{}\n{}",
            row.doc.provider, row.doc.channel, row.doc.model, row.doc.out_path
        );
        let tokens = self.state.batches.tokens(&self.batch.id, row.n);
        let tokens = usize::try_from(tokens.min(TOKENS_MAX)).unwrap_or(usize::MAX);
        let results = tokens.saturating_mul(TOKEN_BYTES);
        let (part, begins) =
            self.parts
                .place(&whom, (row.out.len(), results), wire.batches.limits());
        row.part = part;
        if begins {
            self.part_rows.push(PartRow {
                n: part,
                provider: row.doc.provider.clone(),
                model: row.doc.model.clone(),
                channel: row.doc.channel.clone(),
                ..PartRow::default()
            });
        }
    }

    async fn keep(&mut self) -> Result<(), Error> {
        let (rows, parts) = (
            std::mem::take(&mut self.rows),
            std::mem::take(&mut self.part_rows),
        );
        let claim = self.claim.clone();
        let desk = &self.state.batches;
        desk.with(move |store| store.save(&claim, &rows, &parts))
            .await
    }

    /// Finds who answers a line, and keeps room for that.
    async fn placed(&self, row: &mut LineRow) -> Result<Option<Wire>, NotTaken> {
        let seat = Seat::of(self.state, self.batch, self.caller.clone(), row)?;
        hold(self.state, self.batch, &seat, (row, Alone::Perhaps)).await
    }
}

/// Whether what is wrong is the line's own, so that the other lines are taken up all the same.
fn is_of_line(error: &Error) -> bool {
    use crate::error::Kind;
    matches!(
        error.kind,
        Kind::BadRequest | Kind::Forbidden | Kind::NotFound | Kind::PrivateOnly | Kind::TooLarge
    )
}

/// A line ends with an error before anything of it has gone out.
pub(super) fn refuse(row: &mut LineRow, batch: &BatchRow, error: &Error) -> Result<(), Error> {
    if batch.is_passed() {
        // Its client hears of it from the provider alone.
        row.state = LineState::Failed;
        row.doc.status = error.status();
        return Ok(());
    }
    let dialect = dialect::named(batch.dialect_of(&row.doc)).ok_or_else(without_dialect)?;
    let id = batch.request_of(row.n, &row.doc);
    row.state = LineState::Failed;
    row.doc.status = error.status();
    row.result = String::from_utf8_lossy(&dialect.error_body(error, &id)).into_owned();
    Ok(())
}

/// Whether a line may be in a vendor's batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alone {
    /// It is run by itself only where its model has no batch API.
    Perhaps,
    /// It is run by itself.
    Surely,
}

/// Decides a line anew and keeps room for it at the first arm that can be asked.
pub(super) async fn hold(
    state: &Arc<State>,
    batch: &BatchRow,
    seat: &Seat,
    (row, alone): (&mut LineRow, Alone),
) -> Result<Option<Wire>, NotTaken> {
    let admission = seat.admitted(state).await?;
    let call = seat.call();
    let asked = AskedLine::read(seat, &admission, &call)?;
    let decided = asked.decide()?;
    let work = decided.work();
    let exchange = Exchange::of(state, &admission);
    let mut last = None;
    for arm in work.arms().iter().chain(work.further()) {
        let told = match work.told(arm) {
            Ok(told) => told,
            Err(unserved) => {
                last.get_or_insert(unserved);
                continue;
            }
        };
        let wire = wire_of(arm).filter(|_| alone == Alone::Perhaps);
        let (wire, told) = decided.in_batch(arm, wire, told);
        let order = match wire {
            Some(_) => work.order_in_batch(arm, &told),
            None => work.order(arm, &told),
        };
        let mut order = match order {
            Ok(order) => order,
            Err(unserved) => {
                last.get_or_insert(unserved);
                continue;
            }
        };
        let room = match exchange.room(&mut *order, Duration::ZERO).await {
            Ok(Some(room)) => room,
            Ok(None) => continue,
            Err(full) => {
                let unserved = exchange.no_room(full);
                if !matches!(unserved, Unserved::Barred(..)) {
                    return Err(refusal(unserved));
                }
                last.get_or_insert(unserved);
                continue;
            }
        };
        let asked = std::mem::take(&mut row.doc);
        row.doc = decided.noted(arm);
        (row.doc.path, row.doc.asker) = (asked.path, asked.asker);
        row.doc.told = told.dialect.name().to_owned();
        if wire.is_some() {
            let channel = state.channels.prefers(to(arm), wants(&batch.id));
            let outgoing = order.outgoing(room.tokens(), channel)?;
            channel.name.clone_into(&mut row.doc.channel);
            let path = outgoing.url.strip_prefix(channel.base_url.as_str());
            row.doc.out_path = path.unwrap_or(&outgoing.url).to_owned();
            row.out = match outgoing.body {
                crate::upstream::Out::Whole(full) => text_of(full).await,
                crate::upstream::Out::Streamed(_) => String::new(),
            };
        }
        row.doc.attempt = room.attempt().to_owned();
        drop(order);
        state.batches.keep_room(&batch.id, row.n, Room::Held(room));
        return Ok(wire);
    }
    Err(last.map_or_else(
        || {
            NotTaken::Refused(Error::new(
                crate::error::Kind::NotFound,
                "No model can answer this.",
            ))
        },
        refusal,
    ))
}

/// The lines of a batch belong on one channel, as long as that answers; what has this name in common is in one batch.
pub(super) fn wants(name: &str) -> Request<'_> {
    Request {
        sticks: Stickiness {
            conversation: Some(affinity::named(name)),
            kept: false,
        },
        id: name,
    }
}

pub(super) async fn text_of(full: http_body_util::Full<bytes::Bytes>) -> String {
    use http_body_util::BodyExt;
    let bytes = full
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// What a client is told of an arm that cannot be asked.
fn refusal(unserved: Unserved) -> NotTaken {
    NotTaken::Refused(match unserved.reply() {
        Err(error) => error,
        Ok(_) => Error::new(
            crate::error::Kind::UpstreamFailed,
            "No model can answer this.",
        ),
    })
}
