//! The end of one attempt: what it used and cost, its row in the ledger, its line in the log, its metrics.
//!
//! Every attempt ends here exactly once. Ends are explicit; a settlement that is dropped means that the client has gone away,
//! because hyper drops the answer (or the exchange) of a connection that its client has closed.

pub(crate) mod charge;
mod delivery;
pub mod jobs;
mod paid;
mod replayed;
mod trust;
pub mod unheard;

pub use delivery::{Delivered, Delivery};
pub use paid::Paid;
pub use replayed::Replayed;

use crate::affinity::{Habits, Use, UserTurn, Warmth};
use crate::arm::Effort;
use crate::chat::answer::Fault;
use crate::chat::{Manner, Part, Prompt, ServiceTier, Usage};
use crate::classify::Task;
use crate::counting::{self, Measure};
use crate::dialect::{Answer, Dialect, Event, Finish, Place, Request, embed};
use crate::error::Kind;
use crate::fleet::Arm;
use crate::ledger::Reservation;
use crate::ledger::record::{Basis, Cause, Closing, Opening, Outcome, Shown};
use crate::money::PicoUsd;
use crate::provider::OnCancel;
use crate::route::cost::{self, Stayed};
use crate::telemetry::otlp::{SaidToModel, Trace, Traced};
use crate::telemetry::{AttemptClosed, ProbePart, Telemetry};
use crate::tokens;
use crate::upstream::load::UnderWay;
use bytes::Bytes;
use charge::Charged;
use http::HeaderMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Answer text kept for counting; beyond it every byte counts as a token, which is an upper bound.
const TEXT_MAX: usize = 256 * 1024;
/// Bytes of a request that are kept while a job in the background is waited for.
const INPUT_KEPT_MAX: usize = 64 * 1024;
/// Output tokens added to what arrived when a provider that stops on close is cut: those in flight.
const MARGIN: u64 = 16;

/// What is known about an attempt before it begins, beside what its row in the ledger says.
#[derive(Clone)]
pub struct Job {
    /// The arm it goes to.
    pub arm: Arm,
    /// The name of the channel on which it goes out.
    pub channel: String,
    /// The effort that is really asked.
    pub effort: Effort,
    /// The service tier that the request names.
    pub tier: Option<ServiceTier>,
    /// It was flyball that asked for this service tier, since the answer may come late: its baseline would have been asked as usual.
    pub slowed: bool,
    /// Where and how fast the request asks to be served.
    pub manner: Manner,
    /// What it is compared with.
    pub baseline: Arm,
    /// How the baseline would have got the answer, had it answered the conversation so far.
    pub stayed: Stayed,
    /// The conversation that it is in.
    pub conversation: Option<InConversation>,
    /// What is learned from its usage.
    pub lesson: Option<Lesson>,
    /// Its difficulty was graded.
    pub graded: bool,
    /// A cap counts it.
    pub capped: bool,
    /// Why its answer goes to nobody, where it does not: all that it costs is lost.
    pub aside: Option<Cause>,
    /// The client's dialect.
    pub dialect: &'static dyn Dialect,
    /// Pictures, sound and documents in it.
    pub held: usize,
    /// Their most tokens; 0 where one of them has no maximum of its own.
    pub attached: u64,
    /// What its input tokens are counted from where nobody reports them.
    pub input: Input,
    /// The answer is streamed.
    pub stream: bool,
    /// What is said to the model, where traces are sent it.
    pub said: Option<Box<SaidToModel>>,
}

/// A turn of a conversation.
#[derive(Clone)]
pub struct InConversation {
    /// How much was read before.
    pub warmth: Warmth,
    /// The turn.
    pub turn: UserTurn,
}

/// What an answer was expected to use, and who learns from what it has used.
#[derive(Clone)]
pub struct Lesson {
    /// Who learns.
    pub habits: Habits,
    /// The task.
    pub task: Task,
    /// What was expected.
    pub expected: Use,
}

impl Job {
    /// An attempt on a model that was named, on which nothing is graded, asked of its effort, or held against another arm.
    #[must_use]
    pub fn of(arm: &Arm, dialect: &'static dyn Dialect) -> Job {
        Job {
            arm: arm.clone(),
            channel: String::new(),
            effort: Effort::None,
            tier: None,
            slowed: false,
            manner: Manner::default(),
            baseline: arm.clone(),
            stayed: Stayed::default(),
            conversation: None,
            lesson: None,
            graded: false,
            capped: false,
            aside: None,
            dialect,
            held: 0,
            attached: 0,
            input: Input::Unknown,
            stream: false,
            said: None,
        }
    }
}

/// What is around an attempt.
#[derive(Clone)]
pub struct Around {
    /// Log and metrics.
    pub telemetry: Arc<Telemetry>,
    /// When the request arrived.
    pub arrived: Instant,
    /// What flyball itself took before sending, by phase.
    pub phases: Vec<(&'static str, Duration)>,
    /// Alive as long as any settlement is; the drain at the end of the process waits for it.
    pub alive: Arc<()>,
    /// The exchange as traces see it.
    pub trace: Trace,
    /// Whoever may give the answer to others; nobody, as a rule.
    pub paid: Option<Arc<Paid>>,
    /// Whoever holds another answer against the one that is delivered; nobody, as a rule.
    pub delivery: Option<Arc<Delivery>>,
    /// Turns true where another attempt has answered first; nothing where there is no other.
    pub lost: Option<Arc<AtomicBool>>,
}

/// What an attempt's input tokens are counted from.
#[derive(Clone)]
pub enum Input {
    /// The client's body: a conversation in its dialect.
    Conversation(Bytes),
    /// The client's body: a request for embeddings.
    Embed(embed::Call, Bytes),
    /// The prompt of a legacy completion, as it stands in the body.
    Prompt(Bytes),
    /// It is not known what of it is read as input.
    Unknown,
}

impl Input {
    /// How much there is to count.
    fn bytes(&self) -> usize {
        match self {
            Input::Conversation(body) | Input::Embed(_, body) | Input::Prompt(body) => body.len(),
            Input::Unknown => 0,
        }
    }

    /// What is asked of the model, as OpenTelemetry calls it.
    fn operation(&self) -> &'static str {
        match self {
            Input::Conversation(_) => "chat",
            Input::Embed(..) => "embeddings",
            Input::Prompt(_) => "text_completion",
            Input::Unknown => "_OTHER",
        }
    }
}

/// One attempt from its reservation to its end. It is handed from one stage to the next, so it is small.
pub struct Settlement {
    open: Option<Box<OpenAttempt>>,
    /// The request is under way, once it has gone out.
    under_way: Option<UnderWay>,
}

struct OpenAttempt {
    job: Job,
    /// What is asked of the model, as traces call it.
    operation: &'static str,
    around: Around,
    reservation: Reservation,
    sent: Option<Instant>,
    status: u16,
    tier: Option<ServiceTier>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
    whole: Option<Instant>,
    streaming: bool,
    seen: SeenAnswer,
    /// What its answer has shown of itself.
    shown: Option<Shown>,
    /// Another arm's answer is delivered in its place.
    escalated: bool,
    /// It is asked before the arm of the decision.
    asked_first: bool,
    /// It is asked for a comparison alone.
    compared: bool,
}

/// What the answer has said so far.
#[derive(Debug, Default)]
struct SeenAnswer {
    usage: Option<Usage>,
    /// A later report took back what an earlier one had told.
    taken_back: bool,
    /// Words came after the last report: it was an early one.
    early: bool,
    text: String,
    /// Reasoning that was shown. A vendor may bill what it has thought and show a summary of it, so this proves nothing of what it
    /// told; where it told nothing, it is counted.
    thoughts: String,
    beyond: u64,
    finish: Option<Finish>,
    ended: bool,
    error: bool,
    /// The provider itself says that it has taken nothing up.
    refused: bool,
    /// Traces say what the model calls itself.
    traced: bool,
    /// That, where they do.
    model: Option<String>,
}

/// How an attempt ended, for whoever writes trailers or headers.
#[derive(Clone, Copy, Debug)]
pub struct Bill {
    /// What it cost.
    pub cost: PicoUsd,
    /// What the baseline would have cost.
    pub baseline: PicoUsd,
}

impl Settlement {
    /// An attempt whose money is reserved.
    #[must_use]
    pub fn new(job: Job, around: Around, reservation: Reservation) -> Settlement {
        around.telemetry.attempt_opened();
        let seen = SeenAnswer {
            traced: around.trace.is_on(),
            ..SeenAnswer::default()
        };
        let open = OpenAttempt {
            operation: job.input.operation(),
            job,
            around,
            reservation,
            sent: None,
            status: 0,
            tier: None,
            first_token: None,
            last_token: None,
            whole: None,
            streaming: false,
            seen,
            shown: None,
            escalated: false,
            asked_first: false,
            compared: false,
        };
        Settlement {
            open: Some(Box::new(open)),
            under_way: None,
        }
    }

    /// A call that costs nothing and stands in no book.
    #[must_use]
    pub fn unbooked() -> Settlement {
        Settlement {
            open: None,
            under_way: None,
        }
    }

    /// Says in the head of its request which trace it belongs to, where its provider is to know that.
    pub fn tells_trace(&self, headers: &mut HeaderMap) {
        if let Some(open) = &self.open {
            let opening = open.reservation.opening();
            let trace = &open.around.trace;
            trace.write(&opening.provider, &opening.attempt, headers);
        }
    }

    /// From here on the provider may do work: the request goes out now.
    pub fn sending(&mut self, under_way: Option<UnderWay>) {
        self.under_way = under_way;
        if let Some(open) = &mut self.open {
            open.sent = Some(Instant::now());
        }
    }

    /// The answer's status has arrived.
    pub fn status(&mut self, status: u16) {
        if let Some(open) = &mut self.open {
            open.status = status;
        }
    }

    /// The answer's head names the service tier.
    pub fn tier(&mut self, tier: Option<ServiceTier>) {
        if let Some(open) = &mut self.open {
            open.tier = tier;
        }
    }

    /// Its answer was looked at. `escalated`: another arm answers in its place, unless that one fails.
    pub fn looked_at(&mut self, shown: Shown, escalated: bool) {
        if let Some(open) = &mut self.open {
            open.shown = Some(shown);
            open.escalated = escalated;
        }
    }

    /// Its answer is only held against another one, and goes to nobody.
    pub fn for_nothing(&mut self) {
        if let Some(open) = &mut self.open {
            (open.escalated, open.compared) = (true, true);
        }
    }

    /// It is asked before the arm of the decision, which may not be needed.
    pub fn asked_first(&mut self) {
        if let Some(open) = &mut self.open {
            open.asked_first = true;
        }
    }

    /// The answer goes to the client as a stream of events.
    pub fn streaming(&mut self) {
        if let Some(open) = &mut self.open {
            open.streaming = true;
            open.around.telemetry.stream_opened();
        }
    }

    /// The whole answer is here; from now on the client waits for flyball alone.
    pub fn arrived(&mut self) {
        self.begins(false);
        if let Some(open) = &mut self.open {
            open.whole = Some(Instant::now());
        }
    }

    /// The first byte of the answer itself is here.
    fn begins(&mut self, stream: bool) {
        if let Some(under_way) = &mut self.under_way {
            under_way.begins(stream);
        }
    }

    /// Takes note of what a streamed answer says.
    pub fn saw(&mut self, event: &Event) {
        if matches!(
            event,
            Event::Text(_) | Event::Reasoning(_) | Event::Call { .. } | Event::Refusal(_)
        ) {
            self.begins(true);
        }
        let Some(open) = &mut self.open else { return };
        match event {
            Event::Text(text)
            | Event::Refusal(text)
            | Event::Call { name: text, .. }
            | Event::Arguments { text, .. } => {
                let now = Instant::now();
                open.first_token.get_or_insert(now);
                open.last_token = Some(now);
                open.seen.keep(text);
                open.seen.early = open.seen.usage.is_some();
            }
            Event::Reasoning(text) => {
                let now = Instant::now();
                open.first_token.get_or_insert(now);
                open.last_token = Some(now);
                open.seen.think(text);
                open.seen.early = open.seen.usage.is_some();
            }
            Event::Usage(usage) => open.seen.told(*usage),
            Event::Finish(why) => open.seen.finish = Some(why.clone()),
            Event::End => open.seen.ended = true,
            Event::Error(fault) => open.seen.failed(fault),
            Event::Model(model) if open.seen.traced => open.seen.model = Some(model.clone()),
            Event::Choice(_)
            | Event::Logprobs(_)
            | Event::Model(_)
            | Event::State(_)
            | Event::Citation(_) => {}
        }
    }

    /// The stream has come to an end of its own: `[DONE]`, `message_stop`, or at least a finish reason.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.open
            .as_ref()
            .is_none_or(|o| o.seen.ended || o.seen.finish.is_some() || o.seen.error)
    }

    /// The model has said something, or its server that it has failed.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        let open = self.open.as_ref();
        open.is_none_or(|open| open.first_token.is_some() || open.seen.error)
    }

    /// The model's server has said that it has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.seen.error)
    }

    /// The model's server says itself that it has taken nothing up.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.seen.refused)
    }

    /// Takes note of a whole answer that may not be delivered.
    pub fn heard(&mut self, answer: &Answer) {
        if let Some(open) = &mut self.open {
            open.seen.read(answer);
            open.seen.finish.clone_from(&answer.first.finish);
            open.seen.ended = true;
        }
    }

    /// The whole answer has been read.
    #[must_use]
    pub fn answered(mut self, answer: &Answer) -> Option<Bill> {
        // Whatever it cost, nothing in it says so, and nothing in it can be counted.
        if answer.is_unread() {
            self.unknown(Outcome::UpstreamError);
            return None;
        }
        if answer.goes_on && answer.usage.is_none() {
            return self.goes_on();
        }
        let open = self.open.as_mut()?;
        open.seen.read(answer);
        open.seen.finish.clone_from(&answer.first.finish);
        self.ended()
    }

    /// The answer is complete. Gives the bill, unless the tokens have to be counted first.
    pub fn ended(mut self) -> Option<Bill> {
        let open = self.open.take()?;
        let outcome = match open.seen.finish {
            _ if open.seen.error => Outcome::UpstreamError,
            Some(Finish::Length) => Outcome::Length,
            _ => Outcome::Ok,
        };
        open.end(outcome)
    }

    /// What the attempt is called in the books; nothing where it stands in none.
    #[must_use]
    pub fn attempt(&self) -> &str {
        let open = self.open.as_ref();
        open.map_or("", |open| &open.reservation.opening().attempt)
    }

    /// A job in the background is waited for, which may be long: what it was asked is kept only where that is short, and the exchange's span
    /// ends without it.
    fn goes_to_background(&mut self) {
        let Some(open) = &mut self.open else { return };
        if open.job.input.bytes() > INPUT_KEPT_MAX {
            open.job.input = Input::Unknown;
        }
        open.around.trace = open.around.trace.outlived();
    }

    /// A job in the background is over, and this is its answer. What was cancelled may tell nothing, and have cost something.
    fn job_is_over(self, answer: &Answer) {
        match answer.usage.is_none() && answer.error.is_none() {
            true => self.unknown(Outcome::Ok),
            false => drop(self.answered(answer)),
        }
    }

    /// Nobody will hear of a job in the background any more.
    fn job_is_lost(self) {
        self.unknown(Outcome::Ok);
    }

    /// The work goes on in the background, and nobody reads here what it will have used: a row without cost that is counted as unmetered,
    /// under a cap the bound.
    fn goes_on(mut self) -> Option<Bill> {
        let open = self.open.take()?;
        match open.job.capped {
            true => open.count_then_close(Charge::Bound, Outcome::Ok),
            false => open.unmetered(Outcome::Ok),
        }
        None
    }

    /// The answer to a call that was only passed on is over. It is booked by what it told of its usage, else by the words that were
    /// read; where there were none, as a row without cost. `complete`: it has come to an end of its own.
    #[must_use]
    pub fn passed(mut self, answer: &Answer, complete: bool) -> Option<Bill> {
        if complete {
            self.begins(false);
        }
        let mut open = self.open.take()?;
        open.seen.read(answer);
        let outcome = match complete {
            _ if open.seen.error => Outcome::UpstreamError,
            true => Outcome::Ok,
            false => Outcome::StreamCut,
        };
        let silent = open.seen.usage.is_none() && open.seen.says_nothing();
        if silent && !(outcome == Outcome::Ok && open.embeds_words()) {
            open.unmetered(outcome);
            return None;
        }
        open.end(outcome)
    }

    /// The provider did no work: nothing is charged.
    pub fn void(mut self, outcome: Outcome) {
        if let Some(open) = self.open.take() {
            open.void(outcome);
        }
    }

    /// Nobody knows what the provider did: charged at the bound.
    pub fn unknown(mut self, outcome: Outcome) {
        if let Some(open) = self.open.take() {
            open.count_then_close(Charge::Bound, outcome);
        }
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.sent.is_none() {
            return open.void(Outcome::NotSent);
        }
        // The client left after the whole answer had been metered: nothing is unknown.
        if open.seen.ended && open.seen.usage.is_some() {
            let _ = open.end(Outcome::Ok);
            return;
        }
        let charge = match open.job.arm.model.provider.kind.on_cancel {
            OnCancel::Stops if open.counts_too_little() => Charge::Bound,
            OnCancel::Stops => Charge::CountAndMargin,
            OnCancel::Unknown => Charge::Bound,
        };
        open.count_then_close(charge, Outcome::ClientGone);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Charge {
    /// The larger of what was told and what was counted.
    Count,
    /// The same, and what may have been under way.
    CountAndMargin,
    /// What is told, unless it says less than the words do.
    Told,
    /// The bound.
    Bound,
}

impl SeenAnswer {
    /// Takes note of a whole answer.
    fn read(&mut self, answer: &Answer) {
        if let Some(usage) = answer.usage {
            self.told(usage);
        }
        if let Some(fault) = &answer.error {
            self.failed(fault);
        }
        self.keep(&answer.words());
        self.think(&answer.thoughts());
        if self.traced {
            self.model.clone_from(&answer.model);
        }
    }

    /// Takes note of a report of usage.
    fn told(&mut self, usage: Usage) {
        if !trust::is_sane(&usage) {
            self.taken_back = true;
            return;
        }
        let before = self
            .usage
            .filter(|before| trust::takes_back(before, &usage));
        self.taken_back |= before.is_some();
        self.usage = Some(before.map_or(usage, |before| trust::larger(&usage, &before)));
        self.early = false;
    }

    /// Takes note of an error. One that comes before any word, and says that the provider has no room, is a refusal.
    fn failed(&mut self, fault: &Fault) {
        let nothing = self.usage.is_none() && self.says_nothing() && self.beyond == 0;
        self.refused = nothing && matches!(fault.kind, Kind::Overloaded | Kind::RateReached);
        self.error = true;
    }

    fn think(&mut self, text: &str) {
        if self.thoughts.len() + text.len() <= TEXT_MAX {
            self.thoughts.push_str(text);
        } else {
            self.beyond += tokens::bound(text.len());
        }
    }

    fn says_nothing(&self) -> bool {
        self.text.is_empty() && self.thoughts.is_empty()
    }

    fn answer_bytes(&self) -> u64 {
        tokens::bound(self.text.len()).saturating_add(self.beyond)
    }

    fn keep(&mut self, text: &str) {
        if self.text.len() + text.len() <= TEXT_MAX {
            self.text.push_str(text);
        } else {
            self.beyond += tokens::bound(text.len());
        }
    }
}

impl OpenAttempt {
    /// A row without cost, and a count of it.
    fn unmetered(self, outcome: Outcome) {
        let provider = &self.job.arm.model.provider;
        self.around.telemetry.unmetered(&provider.name);
        self.close(Usage::default(), Basis::Counted, outcome);
    }

    /// Its request asks for embeddings of words alone: they are all that is billed, and can be counted.
    fn embeds_words(&self) -> bool {
        match &self.job.input {
            Input::Embed(call, body) => embed::is_of_words(*call, body),
            Input::Conversation(_) | Input::Prompt(_) | Input::Unknown => false,
        }
    }

    fn void(self, outcome: Outcome) {
        let closing = Closing {
            cause: self.for_another(),
            ..Closing::void(&self.reservation.opening().attempt, outcome)
        };
        self.emit(&closing, PicoUsd::ZERO);
        self.reservation.post(closing);
    }

    /// Closes by the provider's word as far as it is believed. Gives the bill, unless something has to be counted first.
    fn end(self, outcome: Outcome) -> Option<Bill> {
        if self.seen.refused {
            self.void(Outcome::RefusedUpstream);
            return None;
        }
        self.tell_end(outcome);
        let usage = match self.seen.usage {
            Some(usage) if !self.is_doubted(&usage) => usage,
            _ => {
                // What failed in the middle may have made more than it said.
                let unknown = self.seen.error && (self.job.capped || self.seen.usage.is_none());
                let charge = match unknown || self.counts_too_little() {
                    true => Charge::Bound,
                    false => Charge::Count,
                };
                self.count_then_close(charge, outcome);
                return None;
            }
        };
        if self.is_plain(&usage) {
            return Some(self.close(usage, Basis::Reported, outcome));
        }
        self.count_then_close(Charge::Told, outcome);
        None
    }

    /// Tells whoever may give the answer to others that it has come to its own end, and is for the client.
    fn tell_end(&self, outcome: Outcome) {
        let Some(paid) = &self.around.paid else {
            return;
        };
        let whole = matches!(outcome, Outcome::Ok | Outcome::Length);
        let unfit = matches!(self.seen.finish, Some(Finish::Filtered | Finish::Refused));
        if whole && !unfit && self.for_another().is_none() {
            let attempt = &self.reservation.opening().attempt;
            paid.ended(attempt, outcome == Outcome::Length);
        }
    }

    /// Tells whoever holds another answer against it what was delivered, or that its client has left. An answer of an exchange that is made for
    /// that alone is told too.
    fn tell_delivery(&self, closing: &Closing) {
        let Some(delivery) = &self.around.delivery else {
            return;
        };
        let kept = self.seen.beyond == 0 && !self.seen.text.is_empty();
        let text = match closing.outcome {
            Outcome::Ok | Outcome::Length if kept => Some(self.seen.text.clone()),
            Outcome::ClientGone => None,
            _ => return,
        };
        if matches!(closing.cause, Some(Cause::Escalated | Cause::Check)) {
            return;
        }
        let opening = Opening {
            effort: self.job.effort,
            ..self.reservation.opening().clone()
        };
        let cost = closing.cost;
        delivery.tell(Delivered {
            opening,
            text,
            cost,
        });
    }

    /// What the same answer would cost at least if it were asked for once more: its provider would find the prompt in its cache, as far as it
    /// keeps any.
    fn again(&self, usage: &Usage, charged: &Charged) -> PicoUsd {
        let model = &self.job.arm.model;
        let read = usage.input_total();
        let kept = cost::cache_lifetime(model, || true).is_some() && read >= cost::PREFIX_MIN;
        let warm = Stayed {
            warm: if kept { read } else { 0 },
            ..Stayed::default()
        };
        let made = Usage {
            manner: charged.manner,
            ..*usage
        };
        let served = (charged.tier, self.reservation.at());
        let again = cost::on_baseline(&self.job.arm, &made, warm, served);
        again.unwrap_or_default().min(charged.cost)
    }

    /// Whether what was told is not the provider's last word, or contradicts itself.
    fn is_doubted(&self, usage: &Usage) -> bool {
        usage.anomaly || usage.partial || self.seen.early || self.seen.taken_back || self.seen.error
    }

    /// Whether what was told needs no counting. Without a cap nothing is kept from anybody by a figure that is too small, so a plain lie is
    /// all that is looked for: words that are told as nothing.
    fn is_plain(&self, usage: &Usage) -> bool {
        if self.job.capped {
            return trust::is_plain(usage, self.seen.answer_bytes()) && self.covers_input(usage);
        }
        let unread = matches!(self.job.input, Input::Unknown);
        (usage.output > 0 || self.seen.answer_bytes() == 0) && (usage.input_total() > 0 || unread)
    }

    /// Whether the input that was told may well be that of the request. Pictures, sound and documents cannot be counted here.
    fn covers_input(&self, usage: &Usage) -> bool {
        match &self.job.input {
            Input::Conversation(body) | Input::Embed(_, body) | Input::Prompt(body) => {
                self.job.held > 0 || trust::covers(usage.input_total(), body)
            }
            Input::Unknown => true,
        }
    }

    /// Tokens may have been billed that nobody can count, and a cap must not be passed by them.
    fn may_be_more(&self) -> bool {
        let accepts = &self.job.arm.model.accepts;
        self.job.capped && trust::may_hide(accepts, self.job.effort)
    }

    /// Under a cap a count is not enough where it can be too low: no vendor's own tokenizer for embeddings is here, nobody counts
    /// pictures, sound and documents but their vendor, and hidden reasoning stands nowhere.
    fn counts_too_little(&self) -> bool {
        let known = self
            .seen
            .usage
            .is_some_and(|usage| self.covers_input(&usage));
        let embedding = matches!(self.job.input, Input::Embed(..));
        let unseen = !known && (embedding || self.job.held > 0);
        let contradicts = self.seen.usage.is_some_and(|usage| usage.anomaly);
        self.job.capped && (unseen || contradicts) || (!embedding && self.may_be_more())
    }

    /// Counts off the I/O threads, then closes; the reservation stays open until then.
    fn count_then_close(self, charge: Charge, outcome: Outcome) {
        // What is only passed on has no bound that could be charged.
        let reserved = (self.reservation.amount(), self.reservation.tokens_bound());
        let charge = match (charge, reserved) {
            (Charge::Bound, (PicoUsd::ZERO, 0)) => Charge::Count,
            _ => charge,
        };
        let bytes = self.job.input.bytes() + self.seen.text.len() + self.seen.thoughts.len();
        let work = move |measure| {
            // A count that is only an upper bound may be above what an exact one reserved: then it is the bound that is charged.
            let charge = match (measure, reserved) {
                (Measure::Exact, _) | (_, (PicoUsd::ZERO, 0)) => charge,
                (Measure::Bound, _) => Charge::Bound,
            };
            let mut counted = self.count(charge, measure);
            if measure == Measure::Bound && reserved.1 > 0 {
                let room = reserved.1.saturating_sub(counted.output);
                counted.input = counted.input.min(room);
            }
            let told = self.seen.usage;
            let shown = counted;
            counted.output = counted
                .output
                .saturating_add(measure.tokens(&self.seen.thoughts));
            let usage = match (told, measure) {
                (Some(told), Measure::Exact) if charge == Charge::Told || told.anomaly => {
                    trust::larger(&told, &shown)
                }
                (Some(told), Measure::Exact) => trust::larger(&told, &counted),
                (Some(told), Measure::Bound) => told,
                (None, _) => counted,
            };
            let (usage, basis) = match (charge, told) {
                (Charge::Told, Some(told))
                    if !trust::says_too_little(&told, &shown) || self.is_trifle(told, shown) =>
                {
                    (told, Basis::Reported)
                }
                (Charge::Told, _) if self.counts_too_little() => (usage, Basis::Bound),
                (Charge::Bound, _) => (usage, Basis::Bound),
                _ => (usage, Basis::Counted),
            };
            self.close(usage, basis, outcome);
        };
        counting::later(bytes, work);
    }

    /// An answer of one word that is told as nothing. Without a cap it is the provider's figure: what it is about is worth less than the
    /// doubt.
    fn is_trifle(&self, told: Usage, counted: Usage) -> bool {
        let rest = Usage {
            output: counted.output,
            ..told
        };
        !self.job.capped
            && (told.output, counted.output) == (0, 1)
            && !trust::says_too_little(&rest, &counted)
    }

    /// What arrived, in tokens. The prompt is counted where its tokens were not told, or are in doubt.
    fn count(&self, charge: Charge, measure: Measure) -> Usage {
        let margin = match charge {
            Charge::CountAndMargin => MARGIN,
            Charge::Count | Charge::Told | Charge::Bound => 0,
        };
        let known = self
            .seen
            .usage
            .is_some_and(|usage| self.covers_input(&usage));
        let input = || match measure {
            Measure::Exact => self.count_input(),
            Measure::Bound => tokens::bound(self.job.input.bytes()),
        };
        Usage {
            input: if known { 0 } else { input() },
            output: measure.tokens(&self.seen.text) + self.seen.beyond + margin,
            ..Usage::default()
        }
    }

    fn count_input(&self) -> u64 {
        let body = match &self.job.input {
            Input::Conversation(body) => body,
            Input::Embed(call, body) => {
                let counted = embed::texts(*call, body, tokens::count);
                return counted.unwrap_or(tokens::bound(body.len()));
            }
            Input::Prompt(text) => return std::str::from_utf8(text).map_or(0, tokens::count),
            Input::Unknown => return 0,
        };
        let place = Place {
            // Where the path alone names the model it does not matter here.
            model: (!self.job.dialect.model_in_body()).then(|| "?".into()),
            ..Place::default()
        };
        let Ok(request) = self.job.dialect.decode_at(body, &place) else {
            return tokens::bound(body.len());
        };
        let said = self.job.attached + count_said(&request.prompt);
        let silent = |part: &Part<'_>| matches!(part, Part::ToolCall | Part::Reasoning);
        let mut parts = request.prompt.turns.iter().flat_map(|turn| &turn.parts);
        let text = std::str::from_utf8(body).ok();
        match text.filter(|_| self.job.held == 0 && parts.any(silent)) {
            // Calls and thoughts that come back are read too, and lie among the turns.
            Some(text) => said.max(tokens::count(text)),
            None => said + self.count_beside(&request),
        }
    }

    /// What a model reads beside the turns: tools, documents, schemas.
    fn count_beside(&self, request: &Request<'_>) -> u64 {
        let counted = [
            self.job.dialect.turns_field(),
            "system",
            "systemInstruction",
            "system_instruction",
            "instructions",
            // Ollama's pictures.
            "images",
        ];
        let beside = request
            .fields
            .iter()
            .filter(|(key, raw)| raw.starts_with(['{', '[']) && !counted.contains(key));
        beside.map(|(_, raw)| tokens::count(raw)).sum()
    }

    fn close(self, usage: Usage, basis: Basis, outcome: Outcome) -> Bill {
        let charged = self.terms().charge(&usage, basis);
        let model = &self.job.arm.model;
        let provider = &model.provider.name;
        if let Some(compared) = charged.compared {
            self.around.telemetry.compared(provider, compared);
        }
        if charged.unpriced {
            self.around.telemetry.unpriced_tier(provider);
        }
        let closing = self.closing(usage, &charged, outcome);
        if let Some(paid) = &self.around.paid {
            paid.booked(&closing.attempt, self.again(&usage, &charged));
        }
        self.tell_delivery(&closing);
        let bill = Bill {
            cost: closing.cost,
            baseline: closing.baseline,
        };
        self.learn(&closing);
        self.emit(&closing, charged.reasoning);
        let (cost, bound) = (closing.cost, self.reservation.amount());
        // A count in a tokenizer that may not be the model's own proves nothing against the bound.
        if self.job.capped && cost > bound && closing.basis != Basis::Counted {
            tracing::error!(attempt = %closing.attempt, model = %model.name, %cost, %bound, "an answer cost more than its bound");
            self.around.telemetry.overrun();
            if self.reservation.overrun(cost - bound) {
                tracing::error!(model = %model.name, "the model is frozen: capped keys do not use it until `flyball caps unfreeze`");
            }
        }
        self.around.telemetry.bound_excess(closing.excess);
        self.reservation.post(closing);
        bill
    }

    /// What is known besides the usage.
    fn terms(&self) -> charge::ChargeTerms<'_> {
        charge::ChargeTerms {
            price: self.job.arm.model.price.as_ref(),
            asked: self.job.tier,
            told: self.tier,
            manner: self.job.manner,
            capped: self.job.capped,
            bound: self.reservation.amount(),
            at: self.reservation.at(),
            media_tokens_max: match (self.job.held, self.job.attached) {
                (0, _) => 0,
                // Some of it has no maximum of its own.
                (_, 0) => u64::MAX,
                (_, most) => most,
            },
            took: self.sent.map_or(Duration::ZERO, |sent| sent.elapsed()),
        }
    }

    /// The row that closes the attempt.
    fn closing(&self, usage: Usage, charged: &Charged, outcome: Outcome) -> Closing {
        let opening = self.reservation.opening();
        let model = &self.job.arm.model;
        let (cost, tier) = (charged.cost, charged.tier);
        let used = usage.input_total().saturating_add(usage.output);
        let at = self.reservation.at();
        let made = Usage {
            manner: charged.manner,
            ..usage
        };
        let served = match self.job.slowed {
            true => (ServiceTier::Standard, at),
            false => (tier, at),
        };
        // What another arm answers anew was of no use: all of it is lost.
        let aside = self.escalated || self.job.aside.is_some() || self.has_lost();
        let (baseline, baseline_extra) = match aside {
            true => (PicoUsd::ZERO, PicoUsd::ZERO),
            false => {
                let (arm, stayed) = (&self.job.baseline, self.job.stayed);
                let baseline = cost::on_baseline(arm, &made, stayed, served);
                let extra = cost::unseen_on_baseline(arm, &made, stayed, served);
                (baseline.unwrap_or(cost), extra)
            }
        };
        let outcome = match outcome {
            Outcome::Ok | Outcome::Length | Outcome::ClientGone
                if self.escalated || self.has_lost() =>
            {
                Outcome::Escalated
            }
            outcome => outcome,
        };
        if let Some(InConversation { warmth, turn }) = &self.job.conversation
            && usage.input_total() > 0
        {
            // Reasoning is not in the next request.
            let visible = usage.output.saturating_sub(usage.reasoning);
            let tokens = usage.input_total().saturating_add(visible);
            let by = (&*model.name, &*self.job.channel, self.job.effort);
            warmth.note(*turn, by, tokens, Instant::now());
        }
        let unexpected = !model.provider.may_serve(self.job.tier).contains(&tier);
        if unexpected {
            tracing::warn!(attempt = %opening.attempt, model = %model.name, tier = tier.name(), "served in a service tier that was neither asked for nor is among the provider's service_tiers");
        }
        let mut closing = Closing {
            attempt: opening.attempt.clone(),
            cost,
            baseline,
            baseline_extra,
            baseline_model: self.job.baseline.model.name.clone(),
            baseline_effort: self.job.baseline.effort_or(None),
            cause: None,
            cache_discount: charged.cache_discount,
            usage: Usage {
                anomaly: usage.anomaly || unexpected,
                ..usage
            },
            basis: charged.basis,
            outcome,
            excess: charged.excess,
            service_tier: Some(tier),
            tokens: match charged.basis {
                Basis::Bound => self.reservation.tokens_bound().max(used),
                _ => used,
            },
            shown: self.shown,
        };
        closing.cause = self.cause(&closing);
        closing
    }

    /// Learns what the arm uses, where its provider has told it of a whole answer.
    fn learn(&self, closing: &Closing) {
        let Some(lesson) = &self.job.lesson else {
            return;
        };
        let whole = matches!(closing.outcome, Outcome::Ok | Outcome::Escalated);
        if closing.basis != Basis::Reported || !whole {
            return;
        }
        let usage = &closing.usage;
        let used = Use {
            answer: usage.output.saturating_sub(usage.reasoning),
            reasoning: usage.reasoning,
        };
        let arm = (&*self.job.arm.model.name, self.job.effort, lesson.task);
        lesson
            .habits
            .note(arm, lesson.expected, used, self.first_token_after());
    }

    /// The time to the first token, where it was streamed.
    fn first_token_after(&self) -> Option<Duration> {
        let both = self.first_token.zip(self.sent);
        both.map(|(first, sent)| first - sent)
    }

    /// Another attempt has answered first.
    fn has_lost(&self) -> bool {
        let lost = self.around.lost.as_ref();
        lost.is_some_and(|lost| lost.load(Ordering::Relaxed))
    }

    /// The cause of an attempt whose answer goes to nobody: another one's goes in its place, or it was asked about another one.
    fn for_another(&self) -> Option<Cause> {
        match self.escalated {
            _ if self.has_lost() => Some(Cause::Hedge),
            true => Some(Cause::Escalated),
            false => self.job.aside,
        }
    }

    /// Why the attempt saved or lost what it did: what is known here, and else what its row tells.
    fn cause(&self, closing: &Closing) -> Option<Cause> {
        let saved = closing.baseline - closing.cost;
        if let Some(cause) = self.for_another() {
            return Some(cause);
        }
        let arm = &self.job.arm;
        let slow = matches!(
            closing.service_tier,
            Some(ServiceTier::Batch | ServiceTier::Flex)
        );
        let opening = self.reservation.opening();
        match Cause::told(opening, closing, self.job.effort, saved)? {
            Cause::Dearer if self.job.stayed.warm > closing.usage.cached => Some(Cause::Cold),
            Cause::Route | Cause::Effort | Cause::PromptCache if arm.model.local => {
                Some(Cause::Local)
            }
            Cause::Route | Cause::Effort | Cause::PromptCache
                if slow && !self.baseline_has(closing.service_tier) =>
            {
                Some(Cause::Batch)
            }
            cause => Some(cause),
        }
    }

    /// Whether the rates of this service tier are known of the baseline, which is then held against it in the same tier.
    fn baseline_has(&self, tier: Option<ServiceTier>) -> bool {
        let price = self.job.baseline.model.price;
        let at = self.reservation.at();
        let tier = tier.filter(|_| !self.job.slowed);
        tier.zip(price)
            .is_some_and(|(tier, price)| price.served(tier, at).is_some())
    }

    /// What it was in asking a cheaper model first.
    fn probe_part(&self) -> Option<ProbePart> {
        match (self.asked_first, self.shown.is_some(), self.escalated) {
            _ if self.compared || self.job.aside == Some(Cause::Check) => Some(ProbePart::Check),
            (false, ..) => None,
            (true, true, false) => Some(ProbePart::Stood),
            (true, true, true) => Some(ProbePart::Escalated),
            (true, false, _) => Some(ProbePart::Failed),
        }
    }

    fn emit(&self, closing: &Closing, reasoning_cost: PicoUsd) {
        let ttft = self.first_token_after();
        let decode = self
            .first_token
            .zip(self.last_token)
            .map(|(first, last)| last - first);
        let settle = self.whole.map(|whole| ("settle", whole.elapsed()));
        let phases: Vec<_> = self.around.phases.iter().copied().chain(settle).collect();
        if self.streaming {
            self.around.telemetry.stream_closed();
        }
        self.around.telemetry.attempt(&AttemptClosed {
            opening: self.reservation.opening(),
            closing,
            reasoning_cost,
            graded: self.job.graded,
            probe: self.probe_part(),
            effort: self.job.effort,
            capped: self.job.capped,
            stream: self.job.stream,
            status: self.status,
            ttft,
            decode_tokens_per_second: decode
                .filter(|d| *d > Duration::from_millis(50))
                .map(|d| rate(closing.usage.output, d)),
            total: self.around.arrived.elapsed(),
            added: self.around.phases.iter().map(|(_, d)| *d).sum(),
            phases: &phases,
            traced: self.around.trace.is_on().then(|| self.traced()),
        });
    }

    /// What traces say of it.
    fn traced(&self) -> Traced<'_> {
        let provider = &self.job.arm.model.provider;
        Traced {
            trace: &self.around.trace,
            provider,
            channel: provider
                .channel(&self.job.channel)
                .unwrap_or(&provider.home),
            operation: self.operation,
            model: self.seen.model.as_deref(),
            finish: self.seen.finish.as_ref(),
            said: self.job.said.as_deref(),
            answer: &self.seen.text,
        }
    }
}

/// The words of a conversation.
fn count_said(prompt: &Prompt<'_>) -> u64 {
    let mut count = prompt.system.iter().map(|text| tokens::count(text)).sum();
    for turn in &prompt.turns {
        // Chat templates wrap every message in about four tokens.
        count += 4;
        for part in &turn.parts {
            if let Part::Text(text) | Part::ToolResult(text) = part {
                count += tokens::count(text);
            }
        }
    }
    count
}

/// Tokens a second, for a histogram.
fn rate(tokens: u64, over: Duration) -> f64 {
    u32::try_from(tokens).map_or(f64::from(u32::MAX), f64::from) / over.as_secs_f64()
}
