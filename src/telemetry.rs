//! What happened, for people and machines: one struct per event, one log line and its metrics for each.
//!
//! Nothing here holds a key, a prompt or a raw client string; nothing here decides anything.

mod decisions;
pub mod metrics;
pub mod otlp;

pub use decisions::{DecidedFor, NotedDecision};

use crate::arm::{Effort, Tier};
use crate::batch::LineState;
use crate::dialect::batch::BatchState;
use crate::error::{Error, Kind};
use crate::ledger::record::{Cause, Closing, Compared, Opening, Swept};
use crate::money::PicoUsd;
use crate::private::Classes;
use crate::upstream::Upstream;
use decisions::Decisions;
use metrics::Metrics;
pub use metrics::{
    BooksFigures, CapFigures, CapMoney, CapRefusal, ChannelFigures, FirstByteFigures, KnownKey,
    Period, PeriodFigures,
};
use otlp::{Arrived, Otlp, Trace, Traced};
use std::time::Duration;
use tracing::field::display;

/// What has become of a job in the background. A closed set: a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It was taken up, and its reservation stays open.
    Begun,
    /// It is over, and its provider has told what it used.
    Settled,
    /// Nobody has heard of its end: it is charged at its bound.
    AtBound,
}

impl JobEnd {
    /// Every one.
    pub const ALL: [JobEnd; 3] = [JobEnd::Begun, JobEnd::Settled, JobEnd::AtBound];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            JobEnd::Begun => "begun",
            JobEnd::Settled => "settled",
            JobEnd::AtBound => "at_bound",
        }
    }
}

/// What has become of a post to a webhook that is told of requests which were to be answered later. A closed set: a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPost {
    /// It was taken.
    Delivered,
    /// It was answered with an error.
    Refused,
    /// Nobody answered in time.
    Unreachable,
    /// It was tried often enough, and is not tried again.
    GivenUp,
}

impl HookPost {
    /// Every one.
    pub const ALL: [HookPost; 4] = [
        HookPost::Delivered,
        HookPost::Refused,
        HookPost::Unreachable,
        HookPost::GivenUp,
    ];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            HookPost::Delivered => "delivered",
            HookPost::Refused => "refused",
            HookPost::Unreachable => "unreachable",
            HookPost::GivenUp => "given_up",
        }
    }
}

/// What an attempt was in asking a cheaper model first. A closed set: a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbePart {
    /// The cheaper model's answer, which was delivered.
    Stood,
    /// The cheaper model's answer, in whose place another model was asked.
    Escalated,
    /// It came to nothing that could be looked at.
    Failed,
    /// The question whether an answer is right, or another answer to compare it with.
    Check,
}

impl ProbePart {
    /// Every part.
    pub const ALL: [ProbePart; 4] = [
        ProbePart::Stood,
        ProbePart::Escalated,
        ProbePart::Failed,
        ProbePart::Check,
    ];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ProbePart::Stood => "stood",
            ProbePart::Escalated => "escalated",
            ProbePart::Failed => "failed",
            ProbePart::Check => "check",
        }
    }
}

/// What the response cache had for a request that wanted something of it. A closed set: a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// An answer of before.
    Hit,
    /// An answer that was on its way to an equal request.
    Shared,
    /// Nothing.
    Miss,
    /// It was not asked, since a fresh answer was wanted.
    Refresh,
    /// It was not asked, since the request may not share, or there is no cache.
    Bypass,
}

impl CacheResult {
    /// Every result.
    pub const ALL: [CacheResult; 5] = [
        CacheResult::Hit,
        CacheResult::Shared,
        CacheResult::Miss,
        CacheResult::Refresh,
        CacheResult::Bypass,
    ];

    /// The name in metrics and in the answer's head.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CacheResult::Hit => "hit",
            CacheResult::Shared => "shared",
            CacheResult::Miss => "miss",
            CacheResult::Refresh => "refresh",
            CacheResult::Bypass => "bypass",
        }
    }
}

/// How much the response cache keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheFigures {
    /// Bytes, what is on its way included.
    pub bytes: usize,
    /// Answers.
    pub entries: u64,
    /// Answers that had to go for lack of room since this was told last.
    pub evicted: u64,
}

/// What is another in a turn than in the one before it. A closed set: a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnChange {
    /// The model.
    Model,
    /// The effort alone.
    Effort,
}

/// A price catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownPrices<'a> {
    /// Its version.
    pub version: &'a str,
    /// The day of its making, in seconds since 1970.
    pub made_unix: Option<i64>,
}

/// Whether models only pretend. A closed set: a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulatedModels {
    /// None does.
    None,
    /// Some do.
    Some,
    /// Each does.
    All,
}

impl SimulatedModels {
    /// Among these models, each of which pretends or not.
    pub fn among(models: impl IntoIterator<Item = bool>) -> SimulatedModels {
        let (mut some, mut all) = (false, true);
        for simulated in models {
            some |= simulated;
            all &= simulated;
        }
        match (some, all) {
            (false, _) => SimulatedModels::None,
            (true, true) => SimulatedModels::All,
            (true, false) => SimulatedModels::Some,
        }
    }

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SimulatedModels::None => "false",
            SimulatedModels::Some => "mixed",
            SimulatedModels::All => "true",
        }
    }
}

/// One attempt has ended.
#[derive(Clone, Copy, Debug)]
pub struct AttemptClosed<'a> {
    /// Where it was sent, and why there.
    pub opening: &'a Opening,
    /// How it ended.
    pub closing: &'a Closing,
    /// The effort that was really asked: a lowered limit may have lowered it after the opening.
    pub effort: Effort,
    /// What its hidden reasoning cost.
    pub reasoning_cost: PicoUsd,
    /// Its difficulty was graded.
    pub graded: bool,
    /// What it was in asking a cheaper model first, if that was done.
    pub probe: Option<ProbePart>,
    /// A cap counts it, so that its bound is of interest.
    pub capped: bool,
    /// The answer was streamed.
    pub stream: bool,
    /// The provider's HTTP status; 0 if it never answered.
    pub status: u16,
    /// From sending to the first token, on streams.
    pub ttft: Option<Duration>,
    /// Output tokens a second after the first, on streams.
    pub decode_tokens_per_second: Option<f64>,
    /// From the request's arrival to the end.
    pub total: Duration,
    /// What flyball itself added before the provider got the request.
    pub added: Duration,
    /// The same by phase.
    pub phases: &'a [(&'static str, Duration)],
    /// What traces say beside it, where there are any.
    pub traced: Option<Traced<'a>>,
}

/// A decision was made.
#[derive(Debug)]
pub struct Decided<'a> {
    /// The model that was asked for, as the client calls it.
    pub asked: &'a str,
    /// The rule that decided.
    pub rule: &'a str,
    /// The task that the prompt was graded as.
    pub task: &'static str,
    /// The tier of the first arm.
    pub tier: Tier,
    /// The name that was asked for and that nobody is known to have, with what may have been meant.
    pub unknown: Option<String>,
    /// All of it, to be looked at for a while.
    pub noted: Option<DecidedFor<'a>>,
}

/// A request was refused by flyball itself, or could not be answered.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// The request id.
    pub request: &'a str,
    /// Why.
    pub error: &'a Error,
}

/// An arm whose money series exist from the start; see [`Telemetry::known_arms`].
#[derive(Clone, Copy, Debug)]
pub struct KnownArm<'a> {
    /// The provider's configured name.
    pub provider: &'a str,
    /// The model's name.
    pub model: &'a str,
    /// Its tier.
    pub tier: Tier,
    /// An effort that may be asked of it.
    pub effort: Effort,
}

/// Log and metrics. Shared by `Arc`; every method takes `&self` and never blocks on anything slow.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    decisions: Decisions,
    otlp: Option<Otlp>,
}

impl Telemetry {
    /// Starts counting. `prices` is the catalogue's version.
    #[must_use]
    pub fn new(prices: &str) -> Telemetry {
        Telemetry {
            metrics: Metrics::new(env!("CARGO_PKG_VERSION"), prices),
            decisions: Decisions::default(),
            otlp: None,
        }
    }

    /// Begins to export to an OpenTelemetry collector, by this way out. Must be called within a runtime.
    pub fn export(&mut self, settings: &otlp::Settings, upstream: Upstream) {
        let dropped = self.metrics.otlp_dropped();
        self.otlp = Some(Otlp::start(settings, upstream, dropped));
    }

    /// A request has arrived.
    pub fn arrived<'a>(&self, arrived: impl FnOnce() -> Arrived<'a>) -> Trace {
        let otlp = self.otlp.as_ref();
        otlp.map_or_else(Trace::default, |otlp| otlp.exchange(&arrived()))
    }

    /// Sends the last of what is exported.
    pub async fn stop(&self) {
        if let Some(otlp) = &self.otlp {
            otlp.stop().await;
        }
    }

    /// This price catalogue is in force, and these models only pretend.
    pub fn prices(&self, prices: KnownPrices<'_>, simulated: SimulatedModels) {
        self.metrics
            .build(env!("CARGO_PKG_VERSION"), prices, simulated);
    }

    /// Replaces the keys, the most important ones first: there is a limit to how many have series of their own.
    pub fn keys(&self, keys: &[KnownKey<'_>]) {
        self.metrics.keys(keys);
    }

    /// Replaces the tags that caps or keys name, with each value that they name.
    pub fn tags<'t>(&self, named: impl IntoIterator<Item = (&'t str, &'t str)>) {
        self.metrics.tags(named);
    }

    /// Replaces the closed sets of label values, at start and on reload; anything else becomes `other`.
    pub fn known(&self, models: Vec<String>, rules: Vec<String>, providers: Vec<String>) {
        self.metrics.known(models, rules, providers);
    }

    /// Creates the money series of these arms at 0: `increase()` never sees a series' first step, so without
    /// this the first request on each arm would be missing from every panel. Call it after [`Telemetry::known`].
    pub fn known_arms<'a>(&self, arms: impl IntoIterator<Item = KnownArm<'a>>) {
        for arm in arms {
            self.metrics.known_arm(&arm);
        }
    }

    /// An attempt goes out.
    pub fn attempt_opened(&self) {
        self.metrics.attempts_open.inc();
    }

    /// A stream to a client has begun.
    pub fn stream_opened(&self) {
        self.metrics.streams_open.inc();
    }

    /// A stream to a client has ended, in whatever way.
    pub fn stream_closed(&self) {
        self.metrics.streams_open.dec();
    }

    /// An attempt has ended.
    pub fn attempt(&self, e: &AttemptClosed<'_>) {
        log_attempt(e);
        self.metrics.attempt(e);
        if let Some(otlp) = &self.otlp {
            otlp.attempt(e, self.metrics.labels(e.opening));
        }
    }

    /// What processes have left open that are gone was charged at its bound. It is counted apart from what this process has seen end: the results of
    /// batches, and bills, may still correct it in the books.
    pub fn crashed(&self, swept: &[Swept]) {
        let cost = swept
            .iter()
            .fold(PicoUsd::ZERO, |sum, s| sum + s.closing.cost);
        if !swept.is_empty() {
            tracing::warn!(
                attempts = swept.len(),
                cost_usd = %cost.usd_text(),
                "a process left attempts open when it ended; they are charged at their bound"
            );
        }
        let attempts = u64::try_from(swept.len()).unwrap_or(u64::MAX);
        self.metrics.crashed(attempts, cost);
    }

    /// A request was refused.
    pub fn refused(&self, e: &Refusal<'_>) {
        let kind = kind_name(e.error.kind);
        if e.error.kind == Kind::Internal {
            tracing::error!(request = e.request, kind, detail = %e.error.detail, "refused");
        } else {
            tracing::info!(request = e.request, kind, detail = %e.error.detail, "refused");
        }
        self.metrics.refusals.with_label_values(&[kind]).inc();
        let reason = match e.error.code {
            Some("flyball_no_price") => "no_price",
            Some("flyball_unbounded") => "unbounded",
            Some("flyball_frozen") => "frozen",
            _ => return,
        };
        self.metrics.refused_by_none(reason);
    }

    /// A decision was made. The attempt's line repeats it, so here it is for debugging only.
    pub fn decided(&self, e: &Decided<'_>) {
        if let Some(model) = &e.unknown {
            tracing::warn!(
                model,
                "no model of this name is known; the request is routed"
            );
        }
        tracing::debug!(
            rule = e.rule,
            task = e.task,
            tier = e.tier.name(),
            "decided"
        );
        self.metrics.decided(e);
        if let Some(decided) = &e.noted {
            self.decisions.note(decided);
        }
    }

    /// The last decisions, the latest first.
    #[must_use]
    pub fn decisions(&self) -> Vec<NotedDecision> {
        self.decisions.last()
    }

    /// What a provider has failed at since this process began: each kind, and how often.
    #[must_use]
    pub fn upstream_errors(&self, provider: &str) -> [(&'static str, u64); 5] {
        self.metrics.upstream_errors(provider)
    }

    /// A cap had no room; its request is also [`Telemetry::refused`], which writes the log line.
    pub fn cap_refused(&self, refusal: &CapRefusal<'_>) {
        self.metrics.cap_refused(refusal);
    }

    /// A request is refused because its conversation runs away (`repeats`, `failures`) or its session was stopped (`session`).
    pub fn guard_stopped(&self, why: &'static str) {
        self.metrics.guard_stopped(why);
    }

    /// A model answers a request for `asked`. `is_name`: that is the name of some vendor's model; only called where it is not known yet.
    pub fn served(&self, asked: &str, served: &str, is_name: impl FnOnce() -> bool) {
        self.metrics.served(asked, served, is_name);
    }

    /// A second or later turn of a conversation is answered, and so it differs from the turn before.
    pub fn turn(&self, change: Option<TurnChange>) {
        self.metrics.turn(change);
    }

    /// A provider could not be reached or broke off.
    pub fn upstream_error(&self, provider: &str, error: &Error) {
        tracing::warn!(provider, detail = %error.detail, "the provider failed");
        self.metrics.upstream_error(provider, kind_name(error.kind));
    }

    /// A provider answered with an error.
    pub fn upstream_status(&self, provider: &str, status: u16) {
        let class = match status {
            429 => "429",
            400..=499 => "4xx",
            _ => "5xx",
        };
        tracing::info!(provider, status, "the provider refused");
        self.metrics.upstream_error(provider, class);
    }

    /// An answer cost more than its bound.
    pub fn overrun(&self) {
        self.metrics.overruns.inc();
    }

    /// Fields of a request were let go, because the model speaks a dialect that does not have them.
    pub fn dropped(&self, from: &'static str, to: &'static str, fields: usize) {
        let count = self.metrics.dropped_fields.with_label_values(&[from, to]);
        count.inc_by(u64::try_from(fields).unwrap_or(u64::MAX));
    }

    /// These were found in a request; what and where nobody is told.
    pub fn found(&self, classes: Classes) {
        for class in classes.iter() {
            self.metrics
                .private_requests
                .with_label_values(&[class.name()])
                .inc();
        }
    }

    /// A provider has told that so much of what it allows is left, from 0 to 1; on this channel, where it has several.
    pub fn headroom(&self, (provider, channel): (&str, Option<&str>), of: &'static str, left: f64) {
        self.metrics.headroom((provider, channel), of, left);
    }

    /// How the channels of the providers stand, and how their models have answered lately.
    pub fn channels(&self, channels: &[ChannelFigures], models: &[FirstByteFigures]) {
        self.metrics.channels.replace(channels, models);
    }

    /// A request might have been sent twice, and this became of it.
    pub fn hedged(&self, end: &'static str) {
        self.metrics.hedged(end);
    }

    /// A request was sent on another channel of this provider after a failure that left no bill.
    pub fn moved(&self, provider: &str) {
        self.metrics.channels.moved(provider);
    }

    /// An arm of this model was not asked when it was its turn, for this reason.
    pub fn passed_over(&self, model: &str, reason: &'static str) {
        self.metrics.passed_over(model, reason);
    }

    /// A cheap arm was to be asked first, and this became of it.
    pub fn probed(&self, model: &str, outcome: &'static str) {
        self.metrics.probed(model, outcome);
    }

    /// A request was chosen to be shadowed by a model, and this became of it.
    pub fn shadowed(&self, model: &str, end: &'static str) {
        self.metrics.shadowed(model, end);
    }

    /// A request wanted something of the response cache.
    pub fn response_cache(&self, result: CacheResult) {
        self.metrics.response_cache(result);
    }

    /// So much is kept in the response cache.
    pub fn response_cache_size(&self, figures: &CacheFigures) {
        self.metrics.response_cache_size(figures);
    }

    /// A batch that is kept here stands so from now on.
    pub fn batch(&self, state: BatchState) {
        self.metrics.batch(state.name());
    }

    /// A request of a batch that is kept here has ended so.
    pub fn batch_line(&self, end: LineState) {
        self.metrics.batch_line(end.name());
    }

    /// This has become of a post to a webhook.
    pub fn webhook(&self, outcome: HookPost) {
        self.metrics.webhook(outcome.name());
    }

    /// A job in the background has begun, or this has become of it.
    pub fn job(&self, provider: &str, event: JobEnd) {
        self.metrics.job(provider, event.name());
    }

    /// A call was passed on whose answer told nothing of what it used.
    pub fn unmetered(&self, provider: &str) {
        self.metrics.unmetered(provider);
    }

    /// A provider told what an answer cost, and so it compares with the computed cost.
    pub fn compared(&self, provider: &str, compared: Compared) {
        self.metrics.compared(provider, compared.name());
    }

    /// An answer was made in a service tier whose rates are not known.
    pub fn unpriced_tier(&self, provider: &str) {
        self.metrics.unpriced_tier(provider);
    }

    /// Money charged above what was counted, because the outcome is not known.
    pub fn bound_excess(&self, excess: PicoUsd) {
        self.metrics.bound_excess(excess);
    }

    /// The configuration was read again.
    pub fn reloaded(&self, ok: bool) {
        self.metrics.reloaded(ok);
    }

    /// The ledger can or cannot write, and what is oldest of what is not durable yet has waited for so long.
    pub fn ledger(&self, up: bool, lag: Duration) {
        self.metrics.ledger(up, lag);
    }

    /// The books say this.
    pub fn books(&self, figures: &BooksFigures) {
        self.metrics.books(figures);
    }

    /// All caps that are in force; one that is not among them is no longer shown.
    pub fn caps(&self, figures: &[CapFigures]) {
        self.metrics.caps(figures);
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    #[must_use]
    pub fn encode(&self) -> String {
        self.metrics.encode()
    }
}

fn log_attempt(e: &AttemptClosed<'_>) {
    let (o, c) = (e.opening, e.closing);
    let bound_usd = e.capped.then(|| display(o.bound.usd_text()));
    tracing::info!(
        request = o.request,
        attempt = o.attempt,
        provider = o.provider,
        model = o.model,
        tier = o.tier.name(),
        effort = e.effort.name(),
        task = o.task,
        rule = o.rule,
        dialect = o.dialect,
        stream = e.stream,
        outcome = c.outcome.name(),
        status = e.status,
        basis = c.basis.name(),
        cause = c.cause.map(Cause::name),
        input = c.usage.input,
        cached = c.usage.cached,
        cache_write = c
            .usage
            .cache_write
            .saturating_add(c.usage.cache_write_long),
        output = c.usage.output,
        reasoning = c.usage.reasoning,
        anomaly = c.usage.anomaly,
        cost_usd = %c.cost.usd_text(),
        baseline_usd = %c.baseline.usd_text(),
        bound_usd,
        ttft_ms = e.ttft.map(milliseconds),
        tokens_per_second = e.decode_tokens_per_second,
        total_ms = milliseconds(e.total),
        added_us = microseconds(e.added),
        read_us = phase(e, "read"),
        decide_us = phase(e, "decide"),
        reserve_us = phase(e, "reserve"),
        simulated = o.simulated,
        "attempt"
    );
}

fn phase(e: &AttemptClosed<'_>, name: &str) -> Option<u64> {
    let (_, took) = e.phases.iter().find(|(n, _)| *n == name)?;
    Some(microseconds(*took))
}

/// Saturates after 584 million years.
fn milliseconds(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn microseconds(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

/// Every value of the label `kind` of refusals.
const KINDS: [Kind; 14] = [
    Kind::BadRequest,
    Kind::Unauthorized,
    Kind::Forbidden,
    Kind::NotFound,
    Kind::MethodNotAllowed,
    Kind::ClientTimeout,
    Kind::TooLarge,
    Kind::CapReached,
    Kind::RateReached,
    Kind::PrivateOnly,
    Kind::Overloaded,
    Kind::UpstreamFailed,
    Kind::UpstreamTimeout,
    Kind::Internal,
];

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::BadRequest => "bad_request",
        Kind::Unauthorized => "unauthorized",
        Kind::Forbidden => "forbidden",
        Kind::NotFound => "not_found",
        Kind::MethodNotAllowed => "method_not_allowed",
        Kind::ClientTimeout => "client_timeout",
        Kind::TooLarge => "too_large",
        Kind::CapReached => "cap",
        Kind::RateReached => "rate",
        Kind::PrivateOnly => "private",
        Kind::Overloaded => "overloaded",
        Kind::UpstreamFailed => "upstream_failed",
        Kind::UpstreamTimeout => "upstream_timeout",
        Kind::Internal => "internal",
    }
}

#[cfg(test)]
mod tests;
