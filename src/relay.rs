//! Provider's bytes to the client, as they come: metered on the way, never buffered.
//!
//! Reading is driven by the client: a slow reader slows the provider down, and a client that goes away drops the relay,
//! which closes the provider's connection at once and settles the attempt.

mod followed;
mod patience;

pub use followed::Followed;

use crate::affinity::Makers;
use crate::chat::answer::Fault;
use crate::dialect::{Answer as Said, Dialect, Event, StreamDecoder, StreamFilter, StreamWriter};
use crate::error::{Error, Kind};
use crate::ledger::record::{Outcome, Shown};
use crate::limits::Limits;
use crate::probe::evidence::Witness;
use crate::settle::{Bill, Settlement};
use crate::upstream::In;
use bytes::Bytes;
use futures_util::Stream;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use patience::{Over, Patience};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Bytes of a JSON answer kept for reading its usage; a longer answer is counted instead.
const KEPT_MAX: usize = 16 * 1024 * 1024;

/// The body of an answer to a client.
pub enum AnswerBody {
    /// Known as a whole.
    Whole(Full<Bytes>),
    /// Relayed as it comes.
    Relayed(Box<Relay>),
    /// An answer that others listen to as well.
    Followed(Box<Followed>),
    /// A stream of before, to be given once more; nothing once it was given.
    Replayed(Option<Bytes>),
    /// What is kept here, a piece at a time.
    Pieces(Pieces),
}

/// Pieces of what is kept.
pub type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

impl AnswerBody {
    /// A body that is known as a whole.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> AnswerBody {
        AnswerBody::Whole(Full::new(bytes.into()))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            AnswerBody::Whole(full) => Pin::new(full)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            AnswerBody::Relayed(relay) => relay.poll(cx),
            AnswerBody::Followed(followed) => followed.poll(cx),
            AnswerBody::Pieces(pieces) => pieces
                .as_mut()
                .poll_next(cx)
                .map(|piece| piece.map(|piece| piece.map(Frame::data))),
            AnswerBody::Replayed(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Whole(full) => full.is_end_stream(),
            AnswerBody::Relayed(_) | AnswerBody::Followed(_) | AnswerBody::Pieces(_) => false,
            AnswerBody::Replayed(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Whole(full) => full.size_hint(),
            // A stream has no length that is told, one of before neither.
            AnswerBody::Relayed(_)
            | AnswerBody::Followed(_)
            | AnswerBody::Replayed(_)
            | AnswerBody::Pieces(_) => SizeHint::default(),
        }
    }
}

/// How the answer's bytes are read on their way.
pub enum Reading {
    /// A stream of events.
    Events {
        /// Reads them.
        decoder: Box<dyn StreamDecoder>,
        /// What goes on to the client.
        passes: Passes,
    },
    /// One JSON text that is too long to be held back; what of it was read already.
    Json {
        /// The bytes so far, for its usage at the end; `None` once they are too many.
        kept: Option<Vec<u8>>,
        /// Reads it.
        read: ReadWhole,
    },
    /// An answer that is only passed on: nothing is ever added to it.
    Passed(Watch),
}

impl Reading {
    /// The same with nothing read yet: what was kept so far are bytes as they came, which are unpacked only now.
    #[must_use]
    pub fn fresh(self) -> Reading {
        match self {
            Reading::Json { kept, read } => Reading::Json {
                kept: kept.map(|_| Vec::new()),
                read,
            },
            Reading::Passed(Watch::Whole { kept, read }) => Reading::Passed(Watch::Whole {
                kept: kept.map(|_| Vec::new()),
                read,
            }),
            other => other,
        }
    }

    /// The answer comes as events.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(
            self,
            Reading::Events { .. } | Reading::Passed(Watch::Events(_))
        )
    }
}

/// What is read of an answer that is only passed on.
pub enum Watch {
    /// Events.
    Events(Box<dyn StreamDecoder>),
    /// One JSON text.
    Whole {
        /// The bytes so far; `None` once they are too many.
        kept: Option<Vec<u8>>,
        /// Reads them.
        read: ReadWhole,
    },
    /// Nothing.
    Nothing,
}

/// Reads a whole answer for its bill.
pub type ReadWhole = Box<dyn Fn(&[u8]) -> Said + Send>;

/// What of a stream goes on to the client.
pub enum Passes {
    /// Every byte as it came.
    Untouched,
    /// Every byte but what flyball asked for and the client did not.
    Filtered(Box<dyn StreamFilter>),
    /// The same in the client's own dialect.
    Translated(Box<dyn StreamWriter>),
}

/// One answer on its way to the client.
pub struct Relay {
    // The order of fields is the order of drops: the provider's connection closes before the attempt is settled.
    upstream: Option<In>,
    settlement: Option<Settlement>,
    reading: Reading,
    ready: VecDeque<Bytes>,
    /// What those take up.
    ready_bytes: usize,
    trailers: Option<HeaderMap>,
    // A JSON answer that was cut: the connection must not end as if the answer were whole.
    broken: Option<String>,
    /// What came before that was given the time to go out.
    written: bool,
    wants_trailers: bool,
    dialect: &'static dyn Dialect,
    request: String,
    makers: Makers,
    model: String,
    patience: Patience,
    /// Looks at the answer while it is held back.
    witness: Option<Witness>,
    /// The provider has closed its side while the answer was held back.
    over: bool,
}

/// How long an answer is held back.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// Until so many tokens of it are here.
    pub tokens: usize,
    /// And no longer than this from its first token.
    pub time: Duration,
}

/// Bytes that are held back at most; what comes in one piece may go beyond.
const HELD_MAX: usize = 1024 * 1024;
/// A piece takes up so many bytes beside its own.
const PIECE: usize = 64;

/// What a relay needs besides the bytes.
pub struct RelayTerms<'a> {
    /// Deadlines.
    pub limits: &'a Limits,
    /// How long the answer may still take.
    pub total: Duration,
    /// The client's dialect.
    pub dialect: &'static dyn Dialect,
    /// The request id.
    pub request: String,
    /// The client said `TE: trailers`.
    pub wants_trailers: bool,
    /// Turns true when the answer must end, since the process does.
    pub closing: watch::Receiver<bool>,
    /// Remembers who made sealed reasoning.
    pub makers: Makers,
    /// The model that answers, as it is configured.
    pub model: String,
}

impl Relay {
    /// Relays `upstream`, after `first` bytes that were read from it already.
    #[must_use]
    pub fn new(
        upstream: In,
        first: Option<Bytes>,
        reading: Reading,
        settlement: Settlement,
        terms: RelayTerms<'_>,
    ) -> Relay {
        let mut relay = Relay {
            upstream: Some(upstream),
            settlement: Some(settlement),
            reading,
            ready: VecDeque::new(),
            ready_bytes: 0,
            trailers: None,
            broken: None,
            written: false,
            wants_trailers: terms.wants_trailers,
            dialect: terms.dialect,
            request: terms.request,
            makers: terms.makers,
            model: terms.model,
            patience: Patience::new(
                terms.limits.idle,
                terms.limits.silent,
                terms.total,
                terms.closing,
            ),
            witness: None,
            over: false,
        };
        relay.push(first.unwrap_or_default());
        relay
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.ready_bytes -= bytes.len() + PIECE;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if std::mem::take(&mut self.over) {
                self.end();
                continue;
            }
            if self.upstream.is_none() {
                // An error ends the client's connection at once, with all that was not yet written to it: that goes first.
                if self.broken.is_some() && !std::mem::replace(&mut self.written, true) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                return Poll::Ready(match self.broken.take() {
                    Some(why) => Some(Err(io::Error::other(why))),
                    None => self.trailers.take().map(|t| Ok(Frame::trailers(t))),
                });
            }
            match self.read(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => self.end(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads what comes next; false where the provider has closed its side.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(upstream) = &mut self.upstream else {
            return Poll::Ready(false);
        };
        if let Some(over @ (Over::Total | Over::Closing)) = self.patience.over(Instant::now()) {
            self.run_out(&over);
            return Poll::Ready(true);
        }
        match Pin::new(upstream).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    self.take(data);
                }
                Poll::Ready(true)
            }
            Poll::Ready(Some(Err(e))) => {
                self.cut(Outcome::StreamCut, &format!("the provider broke off: {e}"));
                Poll::Ready(true)
            }
            Poll::Ready(None) => Poll::Ready(false),
            Poll::Pending => match self.patience.poll(cx) {
                Poll::Ready(over) => {
                    self.run_out(&over);
                    Poll::Ready(true)
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    /// Holds the answer back until enough of it is here to be looked at: so many tokens, so much time from the first of them, all of
    /// it, or a call of a tool that is whole. Gives who has looked at it, and whether nothing more will come.
    pub async fn hold(&mut self, witness: Witness, hold: Hold) -> (Witness, bool) {
        self.witness = Some(witness);
        let mut deadline = None;
        while !self.is_over() {
            let witness = self.witness.as_ref();
            let (tokens, calls, ended) =
                witness.map_or((0, false, true), |w| (w.tokens(), w.calls(), w.has_ended()));
            if self.is_full() || ended || (tokens >= hold.tokens && !calls) {
                break;
            }
            if tokens > 0 {
                deadline.get_or_insert_with(|| Instant::now() + hold.time);
            }
            let reading = self.read_on();
            match deadline.filter(|_| !calls) {
                None => reading.await,
                Some(deadline) => {
                    if tokio::time::timeout_at(deadline, reading).await.is_err() {
                        break;
                    }
                }
            }
        }
        let witness = self.witness.take().unwrap_or_default();
        // Its last word has come; what may follow is the usage.
        let whole = self.is_over() || witness.has_ended();
        (witness, whole)
    }

    /// Reads on until the model has said something, no more of it will come, or so much time has passed since the first of its bytes.
    /// False where it ends in failure before a word: nobody has seen any of it.
    pub async fn begins(&mut self, patience: Duration) -> bool {
        let mut deadline = None;
        while !self.is_over() && !self.is_full() {
            if self
                .settlement
                .as_ref()
                .is_none_or(Settlement::is_under_way)
            {
                break;
            }
            if !self.ready.is_empty() {
                deadline.get_or_insert_with(|| Instant::now() + patience);
            }
            let reading = self.read_on();
            match deadline {
                None => reading.await,
                Some(deadline) => {
                    if tokio::time::timeout_at(deadline, reading).await.is_err() {
                        break;
                    }
                }
            }
        }
        let failed = self.settlement.as_ref().is_some_and(Settlement::has_failed);
        !(failed || self.is_cut())
    }

    /// The provider itself says that it has not taken the request up, and nothing else.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.settlement.as_ref().is_some_and(Settlement::is_refused)
    }

    /// Reads on while nobody takes anything of the answer, as far as there is room.
    pub async fn keep_reading(&mut self) {
        while !self.is_over() && !self.is_full() {
            self.read_on().await;
        }
        std::future::pending().await
    }

    /// As much is held back as may be.
    fn is_full(&self) -> bool {
        self.ready_bytes > HELD_MAX
    }

    /// The answer broke off, or has ended before it was complete, while it was held back.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        match &self.settlement {
            None => true,
            Some(settlement) => self.over && !settlement.complete(),
        }
    }

    /// An answer that was cut, or is an error, is not delivered: what is open of it is booked as that.
    pub fn broke_off(mut self) {
        self.upstream = None;
        match self.settlement.take() {
            Some(settlement) if settlement.has_failed() => drop(settlement.ended()),
            Some(settlement) => settlement.unknown(Outcome::StreamCut),
            None => {}
        }
    }

    /// Nothing more will come, whether the answer is complete or not.
    fn is_over(&self) -> bool {
        self.over || self.upstream.is_none()
    }

    /// Reads what comes next. What ends the answer is left to whoever takes it.
    async fn read_on(&mut self) {
        let more = std::future::poll_fn(|cx| self.read(cx)).await;
        if !more {
            self.over = true;
        }
    }

    /// Says of the attempt what its answer has shown; `escalated`: another arm answers in its place.
    pub fn looked_at(&mut self, shown: Shown, escalated: bool) {
        if let Some(settlement) = &mut self.settlement {
            settlement.looked_at(shown, escalated);
        }
    }

    /// There is no more time for the answer.
    fn run_out(&mut self, over: &Over) {
        let why = match over {
            Over::Closing => return self.cut_as(Kind::Overloaded, Outcome::StreamCut, STOPPING),
            Over::Total => "the answer took longer than limits.total",
            Over::Idle => "the provider sent nothing for limits.idle",
            Over::Silent => "the model said nothing for limits.silent",
        };
        self.cut(Outcome::UpstreamTimeout, why);
    }

    /// Takes what has come.
    fn take(&mut self, data: Bytes) {
        let Some(settlement) = &mut self.settlement else {
            return;
        };
        let mut said_something = false;
        let out = match &mut self.reading {
            Reading::Events { decoder, passes } => {
                let mut said = Vec::new();
                // A piece that is cut inside a line is no sign by itself.
                let mut only_alive = data.ends_with(b"\n");
                decoder.feed(&data, &mut |event| {
                    only_alive = false;
                    said_something |= is_said(&event);
                    settlement.saw(&event);
                    if let Some(witness) = &mut self.witness {
                        witness.saw(&event);
                    }
                    if let Event::State(state) = &event {
                        self.makers.remember(state, &self.model);
                    }
                    if let Passes::Translated(writer) = passes {
                        writer.write(event, &mut said);
                    }
                });
                match passes {
                    Passes::Untouched => data,
                    Passes::Filtered(filter) => filter.feed(data),
                    Passes::Translated(writer) => {
                        if only_alive {
                            writer.alive(&mut said);
                        }
                        Bytes::from(said)
                    }
                }
            }
            Reading::Json { kept, .. } | Reading::Passed(Watch::Whole { kept, .. }) => {
                said_something = true;
                keep(kept, &data);
                data
            }
            Reading::Passed(watch) => {
                said_something = true;
                if let Watch::Events(decoder) = watch {
                    decoder.feed(&data, &mut |event| settlement.saw(&event));
                }
                data
            }
        };
        let now = Instant::now();
        self.patience.came(now, said_something);
        self.push(out);
        if let Some(over @ Over::Silent) = self.patience.over(now) {
            self.run_out(&over);
        }
    }

    /// The provider has closed its side.
    fn end(&mut self) {
        self.upstream = None;
        let Some(mut settlement) = self.settlement.take() else {
            return;
        };
        let bill = match &mut self.reading {
            Reading::Events { decoder, passes } => {
                let mut rest = Vec::new();
                decoder.finish(&mut |event| {
                    settlement.saw(&event);
                    if let Event::State(state) = &event {
                        self.makers.remember(state, &self.model);
                    }
                    if let Passes::Translated(writer) = passes {
                        writer.write(event, &mut rest);
                    }
                });
                let complete = settlement.complete();
                match passes {
                    Passes::Filtered(filter) => rest.extend_from_slice(&filter.finish()),
                    Passes::Translated(writer) if complete => writer.finish(&mut rest),
                    Passes::Untouched | Passes::Translated(_) => {}
                }
                self.push(Bytes::from(rest));
                if !complete {
                    settlement.unknown(Outcome::StreamCut);
                    let why = "the provider ended the stream before the answer was complete";
                    return self.say(Kind::UpstreamFailed, why);
                }
                settlement.ended()
            }
            Reading::Json {
                kept: Some(kept),
                read,
            } => settlement.answered(&read(kept)),
            Reading::Json { kept: None, .. } => {
                settlement.unknown(Outcome::Ok);
                None
            }
            Reading::Passed(watch) => {
                let mut complete = true;
                let answer = match watch {
                    Watch::Events(decoder) => {
                        decoder.finish(&mut |event| settlement.saw(&event));
                        complete = settlement.complete();
                        Said::default()
                    }
                    Watch::Whole {
                        kept: Some(kept),
                        read,
                    } => read(kept),
                    Watch::Whole { kept: None, .. } | Watch::Nothing => Said::default(),
                };
                settlement.passed(&answer, complete)
            }
        };
        if let (true, Some(bill)) = (self.wants_trailers, bill) {
            self.trailers = Some(bill_headers(bill));
        }
    }

    /// The answer cannot be completed: the client hears of it in its own dialect, and never gets a clean end.
    fn cut(&mut self, outcome: Outcome, why: &str) {
        self.cut_as(Kind::UpstreamFailed, outcome, why);
    }

    fn cut_as(&mut self, kind: Kind, outcome: Outcome, why: &str) {
        self.upstream = None;
        if let Some(settlement) = self.settlement.take() {
            settlement.unknown(outcome);
        }
        self.say(kind, why);
    }

    fn say(&mut self, kind: Kind, why: &str) {
        let error = Error::new(kind, why);
        let event = self.dialect.error_event(&error, &self.request);
        let event = match &mut self.reading {
            Reading::Json { .. } | Reading::Passed(_) => {
                self.broken = Some(why.to_owned());
                return;
            }
            Reading::Events { passes, .. } => match passes {
                Passes::Untouched => event,
                Passes::Filtered(filter) => filter.fail(event),
                Passes::Translated(writer) => {
                    let mut out = Vec::new();
                    let text = why.to_owned();
                    writer.write(Event::Error(Fault { kind, text }), &mut out);
                    Bytes::from(out)
                }
            },
        };
        self.push(event);
    }

    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.ready_bytes += bytes.len() + PIECE;
            self.ready.push_back(bytes);
        }
    }
}

impl Drop for Relay {
    /// A client that takes nothing of its answer does not hear that the process ends; it has not gone away for all that.
    fn drop(&mut self) {
        if self.patience.closes() {
            self.upstream = None;
            if let Some(settlement) = self.settlement.take() {
                settlement.unknown(Outcome::StreamCut);
            }
        }
    }
}

/// Ready when the process ends, and never where nobody will say so any more.
pub async fn closed(mut closing: watch::Receiver<bool>) {
    if closing.wait_for(|closing| *closing).await.is_err() {
        std::future::pending().await
    }
}

/// What the client is told where the process ends.
pub const STOPPING: &str = "flyball is stopping";

/// The event is of the model's making, and not the server's alone: some servers show that they live by empty events.
fn is_said(event: &Event) -> bool {
    match event {
        Event::Text(text) | Event::Refusal(text) | Event::Reasoning(text) => !text.is_empty(),
        Event::Arguments { text, .. } => !text.is_empty(),
        Event::Choice(_) | Event::Usage(_) | Event::Model(_) => false,
        Event::State(_)
        | Event::Call { .. }
        | Event::Logprobs(_)
        | Event::Citation(_)
        | Event::Finish(_)
        | Event::Error(_)
        | Event::End => true,
    }
}

/// Keeps what may be read at the end, as far as there is room.
fn keep(kept: &mut Option<Vec<u8>>, data: &[u8]) {
    let full = |k: &Vec<u8>| k.len() + data.len() > KEPT_MAX;
    if kept.as_ref().is_some_and(full) {
        *kept = None;
    }
    if let Some(kept) = kept {
        kept.extend_from_slice(data);
    }
}

const COST: HeaderName = HeaderName::from_static("x-flyball-cost-usd");
const BASELINE: HeaderName = HeaderName::from_static("x-flyball-baseline-usd");

/// The cost headers of a finished attempt.
#[must_use]
pub fn bill_headers(bill: Bill) -> HeaderMap {
    let mut headers = HeaderMap::new();
    tell_bill(&mut headers, bill);
    headers
}

/// Says among these headers what an answer cost.
pub fn tell_bill(headers: &mut HeaderMap, bill: Bill) {
    for (name, amount) in [(COST, bill.cost), (BASELINE, bill.baseline)] {
        let text = Bytes::from(amount.usd_text());
        let value = HeaderValue::from_maybe_shared(text).expect("digits are a header value");
        headers.insert(name, value);
    }
}
