//! The end of one attempt: what it used and cost, its row in the ledger, its line in the log, its metrics.
//!
//! Every attempt ends here exactly once. Ends are explicit; a settlement that is dropped means that the client has gone away,
//! because hyper drops the answer (or the exchange) of a connection that its client has closed.

mod charge;

use crate::arm::Effort;
use crate::chat::{Part, Prompt, ServiceTier, Usage};
use crate::counting::{self, Measure};
use crate::dialect::{Answer, Dialect, Event, Finish, Place, Request, embed};
use crate::fleet::Arm;
use crate::ledger::Reservation;
use crate::ledger::store::{Closing, Facts};
use crate::money::PicoUsd;
use crate::provider::OnCancel;
use crate::route::cost;
use crate::telemetry::{AttemptClosed, Telemetry};
use crate::tokens;
use bytes::Bytes;
use charge::{Basis, Charged};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answer text kept for counting; beyond it every byte counts as a token, which is an upper bound.
const TEXT_MAX: usize = 256 * 1024;
/// Output tokens added to what arrived when a provider that stops on close is cut: those in flight.
const MARGIN: u64 = 16;

/// What is known about an attempt before it begins.
#[derive(Clone)]
pub struct Job {
    /// The arm it goes to.
    pub arm: Arm,
    /// The effort that is really asked.
    pub effort: Effort,
    /// The service tier that the request names.
    pub tier: Option<ServiceTier>,
    /// What it is compared with.
    pub baseline: Arm,
    /// A cap counts it.
    pub capped: bool,
    /// The client's dialect.
    pub dialect: &'static dyn Dialect,
    /// Pictures, sound and documents in it.
    pub held: usize,
    /// Their most tokens; 0 where one of them has no maximum of its own.
    pub attached: u64,
    /// What its input tokens are counted from where nobody reports them.
    pub input: Input,
    /// The request id.
    pub request: String,
    /// The attempt id.
    pub attempt: String,
    /// The rule that decided.
    pub rule: String,
    /// The task it was graded as.
    pub task: &'static str,
    /// The answer is streamed.
    pub stream: bool,
    /// When the request arrived.
    pub arrived: Instant,
    /// What flyball itself took before sending, by phase.
    pub phases: Vec<(&'static str, Duration)>,
    /// Alive as long as any settlement is; the drain at the end of the process waits for it.
    pub alive: Arc<()>,
}

impl Job {
    /// An attempt on a model that was named, on which nothing is graded, asked of its effort, or held against another arm.
    #[must_use]
    pub fn of(
        arm: &Arm,
        dialect: &'static dyn Dialect,
        task: &'static str,
        opening: &Facts,
        arrived: Instant,
    ) -> Job {
        Job {
            arm: arm.clone(),
            effort: Effort::None,
            tier: None,
            baseline: arm.clone(),
            capped: false,
            dialect,
            held: 0,
            attached: 0,
            input: Input::Unknown,
            request: opening.request.clone(),
            attempt: opening.attempt.clone(),
            rule: opening.rule.clone(),
            task,
            stream: false,
            arrived,
            phases: Vec::new(),
            alive: Arc::default(),
        }
    }
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
}

/// One attempt from its reservation to its end.
pub struct Settlement {
    open: Option<Open>,
}

struct Open {
    job: Job,
    reservation: Reservation,
    telemetry: Arc<Telemetry>,
    sent: Option<Instant>,
    status: u16,
    tier: Option<ServiceTier>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
    whole: Option<Instant>,
    streaming: bool,
    seen: Seen,
}

/// What the answer has said so far.
#[derive(Debug, Default)]
struct Seen {
    usage: Option<Usage>,
    text: String,
    beyond: u64,
    finish: Option<Finish>,
    ended: bool,
    error: bool,
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
    pub fn new(job: Job, reservation: Reservation, telemetry: Arc<Telemetry>) -> Settlement {
        telemetry.attempt_opened();
        let open = Open {
            job,
            reservation,
            telemetry,
            sent: None,
            status: 0,
            tier: None,
            first_token: None,
            last_token: None,
            whole: None,
            streaming: false,
            seen: Seen::default(),
        };
        Settlement { open: Some(open) }
    }

    /// A call that costs nothing and stands in no book.
    #[must_use]
    pub fn unbooked() -> Settlement {
        Settlement { open: None }
    }

    /// From here on the provider may do work: the request goes out now.
    pub fn sending(&mut self) {
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

    /// The answer goes to the client as a stream of events.
    pub fn streaming(&mut self) {
        if let Some(open) = &mut self.open {
            open.streaming = true;
            open.telemetry.stream_opened();
        }
    }

    /// The whole answer is here; from now on the client waits for flyball alone.
    pub fn arrived(&mut self) {
        if let Some(open) = &mut self.open {
            open.whole = Some(Instant::now());
        }
    }

    /// Takes note of what a streamed answer says.
    pub fn saw(&mut self, event: &Event) {
        let Some(open) = &mut self.open else { return };
        match event {
            Event::Text(text)
            | Event::Refusal(text)
            | Event::Reasoning(text)
            | Event::Call { name: text, .. }
            | Event::Arguments { text, .. } => {
                let now = Instant::now();
                open.first_token.get_or_insert(now);
                open.last_token = Some(now);
                open.seen.keep(text);
            }
            Event::Usage(usage) => open.seen.usage = Some(*usage),
            Event::Finish(why) => open.seen.finish = Some(why.clone()),
            Event::End => open.seen.ended = true,
            Event::Error(_) => open.seen.error = true,
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

    /// The whole answer has been read.
    #[must_use]
    pub fn answered(mut self, answer: &Answer) -> Option<Bill> {
        // Whatever it cost, nothing in it says so, and nothing in it can be counted.
        if answer.is_unread() {
            self.unknown("upstream_error");
            return None;
        }
        let open = self.open.as_mut()?;
        open.seen.error = answer.error.is_some();
        open.seen.usage = answer.usage;
        open.seen.finish.clone_from(&answer.first.finish);
        open.seen.keep(&answer.words());
        self.ended()
    }

    /// The answer is complete. Gives the bill, unless the tokens have to be counted first.
    pub fn ended(mut self) -> Option<Bill> {
        let open = self.open.take()?;
        let outcome = match open.seen.finish {
            _ if open.seen.error => "upstream_error",
            Some(Finish::Length) => "length",
            _ => "ok",
        };
        match open.seen.usage {
            Some(usage) => Some(open.close(usage, Basis::Reported, outcome)),
            None if open.seen.error || open.counts_too_little() => {
                open.count_then_close(Charge::Bound, outcome);
                None
            }
            None => {
                open.count_then_close(Charge::Count, outcome);
                None
            }
        }
    }

    /// The answer to a call that was only passed on is over. It is booked by what it told of its usage, else by the words that were
    /// read; where there were none, as a row without cost. `complete`: it has come to an end of its own.
    #[must_use]
    pub fn passed(mut self, answer: &Answer, complete: bool) -> Option<Bill> {
        let mut open = self.open.take()?;
        open.seen.usage = answer.usage.or(open.seen.usage);
        open.seen.keep(&answer.words());
        let outcome = match complete {
            _ if open.seen.error => "upstream_error",
            true => "ok",
            false => "stream_cut",
        };
        if let Some(usage) = open.seen.usage {
            return Some(open.close(usage, Basis::Reported, outcome));
        }
        if open.seen.text.is_empty() {
            open.telemetry.unmetered(&open.job.arm.model.provider.name);
            open.close(Usage::default(), Basis::Counted, outcome);
        } else {
            open.count_then_close(Charge::Count, outcome);
        }
        None
    }

    /// The provider did no work: nothing is charged.
    pub fn void(mut self, outcome: &'static str) {
        if let Some(open) = self.open.take() {
            open.void(outcome);
        }
    }

    /// Nobody knows what the provider did: charged at the bound.
    pub fn unknown(mut self, outcome: &'static str) {
        if let Some(open) = self.open.take() {
            open.count_then_close(Charge::Bound, outcome);
        }
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.sent.is_none() {
            return open.void("not_sent");
        }
        // The client left after the whole answer had been metered: nothing is unknown.
        if let (Some(usage), true) = (open.seen.usage, open.seen.ended) {
            open.close(usage, Basis::Reported, "ok");
            return;
        }
        let charge = match open.job.arm.model.provider.kind.on_cancel {
            OnCancel::Stops if open.counts_too_little() => Charge::Bound,
            OnCancel::Stops => Charge::CountAndMargin,
            OnCancel::Unknown => Charge::Bound,
        };
        open.count_then_close(charge, "client_gone");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Charge {
    Count,
    CountAndMargin,
    Bound,
}

impl Seen {
    fn keep(&mut self, text: &str) {
        if self.text.len() + text.len() <= TEXT_MAX {
            self.text.push_str(text);
        } else {
            self.beyond += tokens::bound(text.len());
        }
    }
}

impl Open {
    fn void(self, outcome: &'static str) {
        self.emit(
            &Usage::default(),
            "void",
            outcome,
            Bill {
                cost: PicoUsd::ZERO,
                baseline: PicoUsd::ZERO,
            },
        );
        self.reservation.void(outcome);
    }

    /// Under a cap a count is not enough where it can be too low: no vendor's own tokenizer for embeddings is here, and nobody counts
    /// pictures, sound and documents but their vendor.
    fn counts_too_little(&self) -> bool {
        let known = self.seen.usage.is_some_and(|usage| usage.input_total() > 0);
        let embedding = matches!(self.job.input, Input::Embed(..));
        self.job.capped && !known && (embedding || self.job.held > 0)
    }

    /// Counts off the I/O threads, then closes; the reservation stays open until then.
    fn count_then_close(self, charge: Charge, outcome: &'static str) {
        // What is only passed on has no bound that could be charged.
        let reserved = (self.reservation.amount(), self.reservation.tokens_bound());
        let charge = match reserved {
            (PicoUsd::ZERO, 0) => Charge::Count,
            _ => charge,
        };
        let bytes = self.job.input.bytes() + self.seen.text.len();
        let work = move |measure| {
            // A count that is only an upper bound may be above what an exact one reserved: then it is the bound that is charged.
            let charge = match (measure, reserved) {
                (Measure::Exact, _) | (_, (PicoUsd::ZERO, 0)) => charge,
                (Measure::Bound, _) => Charge::Bound,
            };
            let mut usage = self.count(charge, measure);
            if measure == Measure::Bound && reserved.1 > 0 {
                let room = reserved.1.saturating_sub(usage.output);
                usage.input = usage.input.min(room);
            }
            let basis = match charge {
                Charge::Bound => Basis::Bound,
                Charge::Count | Charge::CountAndMargin => Basis::Counted,
            };
            self.close(usage, basis, outcome);
        };
        counting::later(bytes, work);
    }

    /// What arrived, in tokens; what the provider did report (an Anthropic stream tells its input first) goes before counting.
    fn count(&self, charge: Charge, measure: Measure) -> Usage {
        let margin = if charge == Charge::CountAndMargin {
            MARGIN
        } else {
            0
        };
        let output = measure.tokens(&self.seen.text) + self.seen.beyond + margin;
        match self.seen.usage {
            Some(usage) => Usage {
                output: usage.output.max(output),
                ..usage
            },
            None => Usage {
                input: match measure {
                    Measure::Exact => self.count_input(),
                    Measure::Bound => tokens::bound(self.job.input.bytes()),
                },
                output,
                ..Usage::default()
            },
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

    fn close(self, usage: Usage, basis: Basis, outcome: &'static str) -> Bill {
        let bound = self.reservation.amount();
        let model = &self.job.arm.model;
        let terms = charge::Terms {
            price: model.price.as_ref(),
            asked: self.job.tier,
            told: self.tier,
            capped: self.job.capped,
            bound,
            at: self.reservation.at(),
            media_tokens_max: match (self.job.held, self.job.attached) {
                (0, _) => 0,
                // Some of it has no maximum of its own.
                (_, 0) => u64::MAX,
                (_, most) => most,
            },
            took: self.sent.map_or(Duration::ZERO, |sent| sent.elapsed()),
        };
        let charged = terms.charge(&usage, basis);
        let Charged {
            cost,
            basis,
            excess,
            tier,
            ..
        } = charged;
        if let Some(compared) = charged.compared {
            self.telemetry.compared(&model.provider.name, compared);
        }
        if charged.unpriced {
            self.telemetry.unpriced_tier(&model.provider.name);
        }
        let used = usage.input_total().saturating_add(usage.output);
        let at = self.reservation.at();
        let baseline = cost::on_baseline(&self.job.baseline, &usage, tier, at).unwrap_or(cost);
        let bill = Bill { cost, baseline };
        let unexpected = !model.provider.may_serve(self.job.tier).contains(&tier);
        let flagged = Usage {
            anomaly: usage.anomaly || unexpected,
            ..usage
        };
        if unexpected {
            tracing::warn!(attempt = %self.job.attempt, model = %model.name, tier = tier.name(), "served in a service tier that was neither asked for nor is among the provider's service_tiers");
        }
        self.emit(&flagged, basis, outcome, bill);
        if self.job.capped && cost > bound {
            tracing::error!(attempt = %self.job.attempt, model = %self.job.arm.model.name, %cost, %bound, "an answer cost more than its bound");
            self.telemetry.overrun();
            if self.reservation.overrun(cost - bound) {
                tracing::error!(model = %self.job.arm.model.name, "the model is frozen: capped keys do not use it until `flyball caps unfreeze`");
            }
        }
        self.telemetry.bound_excess(excess);
        let reserved = self.reservation.tokens_bound();
        self.reservation.post(Closing {
            attempt: self.job.attempt,
            cost,
            baseline,
            usage,
            basis,
            outcome,
            excess,
            service_tier: tier.name(),
            tokens: match basis {
                "bound" => reserved.max(used),
                _ => used,
            },
        });
        bill
    }

    fn emit(&self, usage: &Usage, basis: &'static str, outcome: &'static str, bill: Bill) {
        let ttft = self
            .first_token
            .zip(self.sent)
            .map(|(first, sent)| first - sent);
        let decode = self
            .first_token
            .zip(self.last_token)
            .map(|(first, last)| last - first);
        let model = &self.job.arm.model;
        let settle = self.whole.map(|whole| ("settle", whole.elapsed()));
        let phases: Vec<_> = self.job.phases.iter().copied().chain(settle).collect();
        if self.streaming {
            self.telemetry.stream_closed();
        }
        self.telemetry.attempt(&AttemptClosed {
            request: &self.job.request,
            attempt: &self.job.attempt,
            provider: &model.provider.name,
            model: &model.name,
            tier: model.tier,
            effort: self.job.effort,
            task: self.job.task,
            rule: &self.job.rule,
            dialect: self.job.dialect.name(),
            stream: self.job.stream,
            outcome,
            status: self.status,
            usage: *usage,
            basis,
            cost: bill.cost,
            baseline: bill.baseline,
            bound: self.job.capped.then(|| self.reservation.amount()),
            ttft,
            decode_tokens_per_second: decode
                .filter(|d| *d > Duration::from_millis(50))
                .map(|d| rate(usage.output, d)),
            total: self.job.arrived.elapsed(),
            added: self.job.phases.iter().map(|(_, d)| *d).sum(),
            phases: &phases,
            simulated: model.simulated,
        });
    }
}

/// Tokens a second, for a histogram.
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

fn rate(tokens: u64, over: Duration) -> f64 {
    u32::try_from(tokens).map_or(f64::from(u32::MAX), f64::from) / over.as_secs_f64()
}
