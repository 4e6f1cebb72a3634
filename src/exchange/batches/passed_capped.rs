//! A batch that is passed on under a cap: each of its lines has room at its bound before it goes out, or it does not go out. Nothing of it can be
//! changed here, so a line must say itself how long its answer may be.

use super::super::admission::Admission;
use super::super::body::read_body;
use super::super::channels::to;
use super::super::files_batches::{HandedIn, keeper};
use super::super::passthrough;
use super::super::router::Collection;
use super::super::work::Unserved;
use super::super::{Exchange, State};
use super::asked::{AskedLine, DecidedLine};
use super::desk::Room;
use super::metered::RULE;
use super::passed::{self, MadeBatch, Whose};
use super::seat::Seat;
use super::wire::{Called, call, whole};
use super::{vendor, work};
use crate::batch::wire::{Wire, known_of};
use crate::batch::{
    BatchDoc, BatchRow, LineDoc, LineRow, LineState, PASSED_PREFIX, PartRow, PartState,
};
use crate::dialect;
use crate::dialect::batch::{BatchState, ClientBatches, Handed, HandedLine, VendorCall};
use crate::error::{Error, Kind};
use crate::fleet::Arm;
use crate::json::Object;
use crate::ledger::now;
use crate::ledger::record::{Attempt, Basis, Outcome};
use crate::ledger::store::batches::{Claim, PAGE};
use crate::provider::channel::{Channel, Request};
use crate::provider::{Provider, Side};
use crate::route::Decision;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A call that makes a batch takes no longer, in seconds: until then nobody else works on it.
const CALL_MAX: i64 = 900;
/// So often it is tried to keep in mind that a batch was made.
const SAVES_MAX: usize = 60;
/// So many lines are read before others on the thread have a turn.
const LINES_AT_ONCE: usize = 20;
/// Lines of one batch, at most.
const LINES_MAX: usize = 100_000;

/// A batch whose lines have room, and which is about to be made at its provider. Dropped before its end, since its client has gone away, it comes
/// to that by itself.
pub(in super::super) struct ReservedBatch {
    reserved: Option<Reserved>,
    /// Its rows are being kept.
    keeping: Option<JoinHandle<Result<(), Error>>>,
    /// The call that makes it is about to go out, or has.
    goes_out: bool,
    /// The request id of that call.
    request: String,
}

impl Drop for ReservedBatch {
    fn drop(&mut self) {
        let (Some(reserved), keeping, went_out) =
            (self.reserved.take(), self.keeping.take(), self.goes_out)
        else {
            return;
        };
        let request = std::mem::take(&mut self.request);
        tokio::spawn(async move {
            if let Some(keeping) = keeping {
                let _ = keeping.await;
            }
            // Where nobody knows whether it was made, its lines are charged at their bounds.
            let nothing_done = !went_out || is_void(&reserved.state, &request).await;
            reserved.ended(None, nothing_done).await;
        });
    }
}

impl ReservedBatch {
    /// The call has ended: with a batch; with nothing done, as the books of the call say; or nobody knows how.
    pub(in super::super) async fn ended(mut self, made: Option<(Whose, MadeBatch)>) {
        let Some(reserved) = self.reserved.take() else {
            return;
        };
        let made = made.map(|(_, made)| made);
        let request = std::mem::take(&mut self.request);
        // Whether its client waits for that or not.
        let ending = tokio::spawn(async move {
            let nothing_done = made.is_none() && is_void(&reserved.state, &request).await;
            reserved.ended(made, nothing_done).await;
        });
        let _ = ending.await;
    }
}

/// Whether nothing was done for a request, by what is booked of it: each of its attempts was closed so.
async fn is_void(state: &State, request: &str) -> bool {
    let void = |row: &Attempt| {
        let closing = row.closing.as_ref();
        closing.is_some_and(|closing| closing.basis == Basis::Void)
    };
    match state.ledger.request(request).await {
        Ok(rows) => rows.iter().all(void),
        Err(_) => false,
    }
}

/// Rooms that are kept for a batch which is being read: given back, unless it goes on.
struct Rooms<'a> {
    state: &'a Arc<State>,
    batch: Option<String>,
}

impl Drop for Rooms<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.state.batches.give_back(&batch);
        }
    }
}

struct Reserved {
    state: Arc<State>,
    claim: Claim,
    batch: BatchRow,
    part: PartRow,
    whose: Whose,
}

/// The body of a call that makes a batch, and the room of its lines where a cap counts them; `None` where none does, or where the call makes
/// no batch whose lines can be read.
///
/// # Errors
/// A cap has no room for all of it, or a line has no bound; then nothing is reserved.
pub(in super::super) async fn reserve(
    state: &Arc<State>,
    admission: &Admission<'_>,
    place: Collection<'_>,
    body: HandedIn,
) -> Result<(HandedIn, Option<ReservedBatch>), Error> {
    let (Side::Batches(name), true) = (place.side, place.makes(&admission.head.method)) else {
        return Ok((body, None));
    };
    let words = dialect::named(name).and_then(|dialect| dialect.client_batches());
    let provider = keeper(&admission.policy, place, admission.wishes.provider())?;
    let (Some(words), Some(wire)) = (words, known_of(&provider)) else {
        return Ok((body, None));
    };
    let unnamed = passthrough::unnamed(&admission.policy, &provider);
    let counted = admission.capped(&unnamed)?;
    if !(counted.usd || counted.tokens || admission.perhaps_capped_at(&provider).any()) {
        return Ok((body, None));
    }
    let bytes = match body {
        HandedIn::Coming(body) => read_body(admission.head, body, admission.limits).await?,
        HandedIn::Whole(bytes) => bytes,
    };
    // What is no such request has no bound, and is refused for that.
    let Ok(handed) = words.handed(&bytes) else {
        return Ok((HandedIn::Whole(bytes), None));
    };
    // What a caller keeps is with the account that its calls go to.
    let request = Request {
        sticks: admission.sticks_to_caller(),
        id: admission.id,
    };
    let channel = match provider.has_several_channels() {
        true => state.channels.prefers(to(&unnamed), request),
        false => &provider.home,
    };
    check_names(&bytes)?;
    let _turn = state.batches.reading.acquire().await;
    let (lines, endpoint) = lines_of(state, (&provider, channel), &wire, handed).await?;
    let id = format!(
        "{PASSED_PREFIX}{}-{}",
        provider.name,
        uuid::Uuid::now_v7().simple()
    );
    let whose = Whose::of(admission);
    let mut reserving = Reserving {
        state,
        admission,
        provider: &provider,
        batch: BatchRow {
            id: id.clone(),
            key: whose.key(),
            state: BatchState::InProgress,
            created: now(),
            doc: BatchDoc {
                endpoint,
                headers: whose.headers().to_vec(),
                began: Some(now()),
                expires: now().saturating_add(passed::KNOWN_FOR),
                reserved: true,
                ..BatchDoc::default()
            },
        },
        rows: Vec::new(),
    };
    let mut rooms = Rooms {
        state,
        batch: Some(id.clone()),
    };
    reserving.read_all(words, &lines).await?;
    let Reserving { batch, rows, .. } = reserving;
    let part = PartRow {
        state: PartState::Sending,
        provider: provider.name.clone(),
        intent_at: now(),
        lines: i64::try_from(rows.len()).unwrap_or(i64::MAX),
        ..PartRow::default()
    };
    let reserved = Reserved {
        state: Arc::clone(state),
        claim: Claim {
            batch: id,
            worker: uuid::Uuid::now_v7().to_string(),
        },
        batch,
        part,
        whose,
    };
    // From here on it comes to its end whoever goes away.
    rooms.batch = None;
    let keeping = tokio::spawn(reserved.keeping(rows));
    let mut reserved = ReservedBatch {
        reserved: Some(reserved),
        keeping: Some(keeping),
        goes_out: false,
        request: admission.id.to_owned(),
    };
    let kept = match &mut reserved.keeping {
        Some(keeping) => keeping.await,
        None => Ok(Ok(())),
    };
    reserved.keeping = None;
    kept.map_err(|e| Error::new(Kind::Internal, "a batch cannot be kept").detail(e.to_string()))??;
    reserved.goes_out = true;
    Ok((HandedIn::Whole(bytes), Some(reserved)))
}

/// A server may read a key in any case, and the last of several: what is reserved must be what it reads.
///
/// # Errors
/// A key occurs twice, in the same letters or in others.
fn check_names(json: &[u8]) -> Result<(), Error> {
    let Ok(fields) = Object::read(json) else {
        return Ok(());
    };
    let mut names: Vec<String> = fields.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    match twice {
        Some(pair) => Err(Error::bad_field(
            pair[0].clone(),
            format!(
                "\"{}\" occurs twice; which of the two counts cannot be told.",
                pair[0]
            ),
        )),
        None => Ok(()),
    }
}

/// The lines of a batch, as they came with the call or as its provider has them, and the path that all of them ask for.
async fn lines_of(
    state: &Arc<State>,
    at: (&Arc<Provider>, &Channel),
    wire: &Wire,
    handed: Handed,
) -> Result<(Bytes, String), Error> {
    let endpoint = handed.endpoint.unwrap_or_default();
    let file = match (handed.lines, handed.input_file) {
        (Some(lines), _) => return Ok((Bytes::from(lines), endpoint)),
        (None, file) => file.unwrap_or_default(),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if file.is_empty() || !file.bytes().all(plain) {
        let why = "This is no id of a file that a provider has made.";
        return Err(Error::bad_field("input_file_id", why));
    }
    let fetch = VendorCall::get(format!("/v1/files/{file}/content"));
    match call(state, at, wire, fetch).await {
        Called::Good(answer) => {
            let lines = whole(answer).await.map_err(|error| unread(&error.detail))?;
            Ok((lines, endpoint))
        }
        Called::Refused(status, _) => Err(unread(&format!("status {status}"))),
        Called::Busy | Called::NotSent | Called::Unknown(_) => Err(unread("no answer")),
    }
}

/// What is told where the lines of a batch cannot be read at its provider.
fn unread(why: &str) -> Error {
    Error::bad_field(
        "input_file_id",
        "The file cannot be read at its provider, or is longer than 64 MiB, so what the batch may cost is not known, and a cap counts it. A batch that flyball keeps itself is held under the cap: leave out x-flyball-provider.",
    )
    .code("flyball_unbounded")
    .detail(format!("the lines of a batch cannot be read at its provider: {why}"))
}

/// What is reserved so far.
struct Reserving<'a> {
    state: &'a Arc<State>,
    admission: &'a Admission<'a>,
    provider: &'a Arc<Provider>,
    batch: BatchRow,
    rows: Vec<LineRow>,
}

impl Reserving<'_> {
    async fn read_all(
        &mut self,
        words: &'static dyn ClientBatches,
        lines: &Bytes,
    ) -> Result<(), Error> {
        for (at, line) in lines.split(|b| *b == b'\n').enumerate() {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let number = at + 1;
            if number % LINES_AT_ONCE == 0 {
                // Others on this thread go on as well.
                tokio::task::yield_now().await;
            }
            check_names(line)?;
            let handed = words.line(line).and_then(|handed| {
                super::admit::check_name(&handed)?;
                Ok(handed)
            });
            let handed = handed.map_err(|defect| {
                let field = defect.field.unwrap_or("requests");
                Error::bad_field(field, format!("line {number}: {}", defect.message))
            })?;
            if self.rows.len() >= LINES_MAX {
                let why = format!("A batch takes up to {LINES_MAX} requests.");
                return Err(Error::bad_field("requests", why));
            }
            self.take(handed).await.map_err(|error| Error {
                public: format!("line {number}: {}", error.public),
                ..error
            })?;
        }
        if self.rows.is_empty() {
            return Err(Error::bad_field("requests", "The batch has no requests."));
        }
        Ok(())
    }

    /// Keeps room for one line at its bound.
    async fn take(&mut self, handed: HandedLine) -> Result<(), Error> {
        let n = i64::try_from(self.rows.len()).unwrap_or(i64::MAX);
        let mut row = LineRow {
            n,
            custom_id: handed.custom_id,
            part: 0,
            state: LineState::Sent,
            body: handed.body,
            out: String::new(),
            result: String::new(),
            doc: LineDoc {
                path: handed.path,
                ..LineDoc::default()
            },
        };
        let caller = self.admission.caller.clone();
        let seat = Seat::of(self.state, &self.batch, caller, &row)?;
        let admission = seat.admitted(self.state).await?;
        check_names(&seat.body)?;
        let call = seat.call();
        let asked = AskedLine::read(&seat, &admission, &call)?;
        let fields: serde_json::Value = serde_json::from_str(&row.body).unwrap_or_default();
        let name = fields["model"].as_str().unwrap_or_default();
        if name.is_empty() || name == "auto" || name.starts_with("auto:") {
            let why = "A batch that is passed on must name a model of its provider.";
            return Err(Error::bad_field("model", why));
        }
        let policy = &admission.policy;
        let arm = Arm {
            model: policy.fleet.at(self.provider, name, &policy.catalogue),
            effort: None,
        };
        admission.permitted(&arm.model)?;
        let decided = match &asked {
            AskedLine::Completion(completion) => {
                DecidedLine::Completion(Box::new(completion.by(Decision {
                    attempts: vec![arm.clone()],
                    further: Vec::new(),
                    routed: false,
                    rule: RULE.to_owned(),
                    baseline: arm.clone(),
                    untouched: true,
                    considered: Vec::new(),
                    unknown: None,
                    probe: None,
                })))
            }
            AskedLine::Embeddings(embeddings) => DecidedLine::Embeddings(embeddings),
        };
        let work = decided.work();
        let arm = &work.arms()[0];
        let error_of = |unserved: Unserved| {
            let told = unserved.reply().err();
            told.unwrap_or_else(|| Error::new(Kind::UpstreamFailed, "No model can answer this."))
        };
        let told = work.told(arm).map_err(error_of)?;
        let mut order = work.order_in_batch(arm, &told).map_err(error_of)?;
        let exchange = Exchange::of(self.state, &admission);
        let room = match exchange.room(&mut *order, Duration::ZERO).await {
            Ok(Some(room)) => room,
            Ok(None) => {
                let why = "what a line of a batch costs stands in the books";
                return Err(Error::new(Kind::Internal, why));
            }
            Err(full) => return Err(error_of(exchange.no_room(full))),
        };
        let goes_out = match order.outgoing(room.tokens(), &self.provider.home)?.body {
            crate::upstream::Out::Whole(full) => super::admit::text_of(full).await,
            crate::upstream::Out::Streamed(_) => String::new(),
        };
        if goes_out != row.body {
            let why = "It does not say how long its answer may be, or has no room for as much, and nothing of a batch that is passed on can be changed: name a limit (max_tokens, max_completion_tokens, max_output_tokens), or let flyball keep the batch (leave out x-flyball-provider).";
            return Err(Error::bad_field("max_tokens", why).code("flyball_unbounded"));
        }
        drop(order);
        row.body = String::new();
        row.doc = LineDoc {
            path: row.doc.path,
            provider: self.provider.name.clone(),
            model: arm.model.name.clone(),
            rule: RULE.to_owned(),
            untouched: true,
            attempt: room.attempt().to_owned(),
            ..LineDoc::default()
        };
        self.rows.push(row);
        let id = &self.batch.id;
        self.state.batches.keep_room(id, n, Room::Held(room));
        Ok(())
    }
}

impl Reserved {
    /// Keeps it durably, and opens the room of each line in the books. Nobody works on it until it is known whether it was made.
    fn keeping(&self, rows: Vec<LineRow>) -> impl Future<Output = Result<(), Error>> + use<> {
        let state = Arc::clone(&self.state);
        let (batch, part, claim) = (self.batch.clone(), self.part.clone(), self.claim.clone());
        // Whoever looks for batches that nobody works on, here or elsewhere, leaves it alone.
        let _ = state.batches.begins(&batch.id);
        async move {
            let desk = &state.batches;
            let id = batch.id.clone();
            let numbers: Vec<i64> = rows.iter().map(|row| row.n).collect();
            let longest = i64::try_from(desk.claim_time().as_secs()).unwrap_or(60) + CALL_MAX;
            let until = now().saturating_add(longest);
            desk.with(move |store| {
                store.put_with(&batch, &part)?;
                store.claim(&claim, i64::MAX, until)?;
                let page = usize::try_from(PAGE).unwrap_or(100);
                rows.chunks(page)
                    .try_for_each(|some| store.save(&claim, some, &[]))
            })
            .await?;
            vendor::open_rooms(&state, &id, &numbers).await
        }
    }

    /// It was not made: nothing is charged, and nothing is kept of it.
    async fn forget(&self) {
        let desk = &self.state.batches;
        for n in 0..self.part.lines {
            match desk.take_room(&self.batch.id, n) {
                Some(Room::Open(reservation)) => reservation.void(Outcome::NotSent),
                Some(Room::Held(room)) => drop(room),
                None => {}
            }
        }
        let id = self.batch.id.clone();
        if let Err(error) = desk.with(move |store| store.delete(&id)).await {
            tracing::warn!(batch = self.batch.id, %error, "a batch that was not made cannot be forgotten");
        }
        desk.ends(&self.batch.id);
    }

    async fn ended(mut self, made: Option<MadeBatch>, nothing_done: bool) {
        if nothing_done {
            self.forget().await;
            return;
        }
        if let Some(made) = made {
            self.part.vendor_id = made.vendor_id().to_owned();
            self.part.channel = made.channel().to_owned();
            self.part.state = PartState::Sent;
        }
        let desk = &self.state.batches;
        for _ in 0..SAVES_MAX {
            let (claim, part) = (self.claim.clone(), self.part.clone());
            let kept = desk.with(move |store| store.save(&claim, &[], &[part]));
            match kept.await {
                Ok(()) => break,
                Err(error) => {
                    tracing::error!(batch = self.batch.id, key = self.whose.key(), %error, "a batch that was passed on cannot be kept in mind now");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        desk.hands_over(&self.batch.id);
        // It never lets go: another replica could not close what is reserved here.
        let driving = work::drive_on(Arc::clone(&self.state), self.claim.clone(), None, true);
        tokio::spawn(driving);
    }
}
