//! The one door to `prometheus`: every metric's name, unit and labels. Label values come from closed sets only,
//! so the number of series has a limit that no client can move.
//!
//! The only place where money becomes a float; metrics are not the books.

mod books;
mod cache;
mod caps;
mod channels;
mod dollars;
mod make;
mod series;
mod who;

pub use books::{BooksFigures, Period, PeriodFigures};
pub use caps::{CapFigures, CapMoney, CapRefusal};
pub use channels::{ChannelFigures, FirstByteFigures};
pub use who::KnownKey;

use super::{
    AttemptClosed, CacheFigures, CacheResult, Decided, HookPost, JobEnd, KINDS, KnownArm,
    KnownPrices, SimulatedModels, TurnChange, kind_name,
};
use crate::arm::Tier;
use crate::batch::LineState;
use crate::dialect;
use crate::dialect::batch::BatchState;
use crate::ledger::record::{Basis, Cause, Compared, Opening};
use crate::money::{PICO_PER_USD, PicoUsd};
use crate::private::Class;
use crate::route::HedgeEnd;
use books::BooksGauges;
use cache::CacheSeries;
use caps::Caps;
use channels::ChannelSeries;
use dollars::Dollars;
use make::Make;
use prometheus::{
    Encoder, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};
use series::{KnownSeries, Sources, place};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use who::Who;

/// Why a request is refused that runs away or whose session was stopped.
pub(super) const GUARD_STOPS: [&str; 3] = ["repeats", "failures", "session"];
/// Buckets for the first token and whole answers: those of the OpenTelemetry GenAI conventions, and two
/// longer ones for answers that think.
pub(super) const ANSWER_SECONDS: [f64; 16] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
    327.68,
];
/// Buckets for what flyball itself adds.
const ADDED_SECONDS: [f64; 12] = [
    0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
];
/// Buckets from a large local model on a laptop to hardware made for decoding.
const TOKENS_PER_SECOND: [f64; 10] = [
    5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 120.0, 200.0, 400.0, 1000.0,
];
/// The classes of `flyball_tokens_total`.
const CLASSES: [&str; 5] = ["input", "cached", "cache_write", "output", "reasoning"];
/// The kinds of `flyball_upstream_errors_total`.
const UPSTREAM_KINDS: [&str; 5] = ["upstream_failed", "upstream_timeout", "429", "4xx", "5xx"];
/// The phases of `flyball_added_latency_seconds`.
const PHASES: [&str; 5] = ["total", "read", "decide", "reserve", "settle"];

/// Every metric.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    known: RwLock<KnownSeries>,
    sources: Sources,
    who: Who,
    /// Held while caps are replaced, and while everything is written out, so that no reader sees half of them.
    replacing: Mutex<()>,
    decisions: IntCounterVec,
    savings: [Dollars; Cause::SAVINGS.len()],
    losses: [Dollars; Cause::LOSSES.len()],
    durations: [Histogram; Tier::ALL.len()],
    added: [Histogram; PHASES.len()],
    caps: Caps,
    turns: IntCounterVec,
    pub(super) refusals: IntCounterVec,
    pub(super) private_requests: IntCounterVec,
    pub(super) overruns: IntCounter,
    pub(super) dropped_fields: IntCounterVec,
    probes: IntCounterVec,
    passed_over: IntCounterVec,
    shadows: IntCounterVec,
    guard_stops: IntCounterVec,
    hedges: IntCounterVec,
    cache: CacheSeries,
    anomalies: IntCounterVec,
    unmetered: IntCounterVec,
    jobs: IntCounterVec,
    batches: IntCounterVec,
    batch_lines: IntCounterVec,
    webhooks: IntCounterVec,
    crashed: IntCounter,
    crashed_usd: Dollars,
    excess: Dollars,
    compared: IntCounterVec,
    unpriced_tiers: IntCounterVec,
    basis: [IntCounter; Basis::ALL.len()],
    upstream_errors: IntCounterVec,
    headroom: GaugeVec,
    pub(super) channels: ChannelSeries,
    pub(super) attempts_open: IntGauge,
    pub(super) streams_open: IntGauge,
    reloads: IntCounterVec,
    reload_failed: IntGauge,
    ledger_up: IntGauge,
    books: BooksGauges,
    prices: IntGauge,
    otlp_dropped: IntCounterVec,
    build: IntGaugeVec,
}

impl Metrics {
    pub(super) fn new(version: &str, prices: &str) -> Metrics {
        let m = Make(Registry::new());
        let metrics = Metrics::registered(&m);
        metrics.sources.zero();
        #[cfg(target_os = "linux")]
        m.0.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))
        .expect("every name is registered once");
        let catalogue = KnownPrices {
            version: prices,
            made_unix: None,
        };
        metrics.build(version, catalogue, SimulatedModels::None);
        metrics.zero();
        metrics
    }

    // A table: one entry a metric, in the order of docs/metrics.md.
    fn registered(m: &Make) -> Metrics {
        let folded = m.counts(
            "flyball_folded_total",
            "Values of a label beyond its limit, which are counted as other.",
            &["label"],
        );
        let savings = m.dollars(
            "flyball_savings_usd_total",
            "Baseline minus cost, of the attempts where that is positive, by its cause, in US dollars.",
            &["cause"],
        );
        let losses = m.dollars(
            "flyball_losses_usd_total",
            "Cost minus baseline, of the attempts where that is positive, by its cause, in US dollars.",
            &["cause"],
        );
        let durations = m.spread(
            "flyball_request_duration_seconds",
            "From a request's arrival to the end of its answer.",
            &["tier"],
            &ANSWER_SECONDS,
        );
        let added = m.spread(
            "flyball_added_latency_seconds",
            "What flyball itself added before the provider got the request, by phase; settle comes after a whole JSON answer.",
            &["phase"],
            &ADDED_SECONDS,
        );
        let basis = m.counts(
            "flyball_cost_basis_total",
            "Attempts by how their cost is known.",
            &["basis"],
        );
        Metrics {
            registry: m.0.clone(),
            known: RwLock::default(),
            replacing: Mutex::default(),
            sources: Sources::new(m, &folded),
            who: Who::new(m, &folded),
            caps: Caps::new(m, &folded),
            savings: Cause::SAVINGS.map(|cause| savings.of(&[cause.name()])),
            losses: Cause::LOSSES.map(|cause| losses.of(&[cause.name()])),
            durations: Tier::ALL.map(|tier| durations.with_label_values(&[tier.name()])),
            added: PHASES.map(|phase| added.with_label_values(&[phase])),
            basis: Basis::ALL.map(|one| basis.with_label_values(&[one.name()])),
            decisions: m.counts(
                "flyball_decisions_total",
                "Routing decisions, by rule, task and chosen tier.",
                &["rule", "task", "tier"],
            ),
            turns: m.counts(
                "flyball_conversation_turns_total",
                "Second and later turns of routed conversations, by whether their model or effort is another than in the turn before.",
                &["change"],
            ),
            refusals: m.counts(
                "flyball_refusals_total",
                "Requests that flyball answered with an error of its own, by kind.",
                &["kind"],
            ),
            private_requests: m.counts(
                "flyball_private_requests_total",
                "Requests in which personal data, secrets or the operator's own words were found, by class.",
                &["class"],
            ),
            overruns: m.count(
                "flyball_overruns_total",
                "Answers on capped keys that cost more than their bound.",
            ),
            probes: m.counts(
                "flyball_probes_total",
                "Requests on which a cheaper model was asked first, by what became of its answer.",
                &["model", "outcome"],
            ),
            passed_over: m.counts(
                "flyball_arms_passed_over_total",
                "Arms of requests that were not asked when it was their turn, by why.",
                &["model", "reason"],
            ),
            hedges: m.counts(
                "flyball_hedges_total",
                "Requests that waited long and were to be sent twice, by what became of it.",
                &["result"],
            ),
            shadows: m.counts(
                "flyball_shadows_total",
                "Requests that another model was to be asked as well, by that model and by what became of it.",
                &["model", "result"],
            ),
            cache: CacheSeries::new(m),
            dropped_fields: m.counts(
                "flyball_dropped_fields_total",
                "Fields of requests that the model's dialect does not have and that were let go.",
                &["from", "to"],
            ),
            guard_stops: m.counts(
                "flyball_guard_stops_total",
                "Requests that were refused because their conversation runs away or their session was stopped.",
                &["reason"],
            ),
            anomalies: m.counts(
                "flyball_usage_anomalies_total",
                "Answers whose reported usage contradicts itself.",
                &["provider"],
            ),
            batches: m.counts(
                "flyball_batches_total",
                "Batches kept here that have come so far.",
                &["state"],
            ),
            batch_lines: m.counts(
                "flyball_batch_lines_total",
                "Requests of batches kept here that have ended so.",
                &["end"],
            ),
            webhooks: m.counts(
                "flyball_webhook_posts_total",
                "Posts to webhooks that are told of requests which were to be answered later.",
                &["outcome"],
            ),
            jobs: m.counts(
                "flyball_background_jobs_total",
                "Jobs in the background that were begun, and what has become of them.",
                &["provider", "event"],
            ),
            unmetered: m.counts(
                "flyball_unmetered_total",
                "Calls that were only passed on and whose answers told nothing of what they used.",
                &["provider"],
            ),
            crashed: m.count(
                "flyball_crashed_attempts_total",
                "Attempts that a process left open when it ended, and that were charged at their bound.",
            ),
            crashed_usd: m
                .dollars(
                    "flyball_crashed_usd_total",
                    "Charged at the bound of attempts that a process left open when it ended, in US dollars.",
                    &[],
                )
                .of(&[]),
            excess: m
                .dollars(
                    "flyball_bound_excess_usd_total",
                    "Charged above what was counted because the outcome is not known, in US dollars.",
                    &[],
                )
                .of(&[]),
            compared: m.counts(
                "flyball_reported_costs_total",
                "Answers whose provider tells their cost, by how it compares with the computed one.",
                &["provider", "compared"],
            ),
            unpriced_tiers: m.counts(
                "flyball_unpriced_tiers_total",
                "Answers in a service tier whose rates are not known.",
                &["provider"],
            ),
            upstream_errors: m.counts(
                "flyball_upstream_errors_total",
                "Failures of providers, by kind.",
                &["provider", "kind"],
            ),
            headroom: m.gauges(
                "flyball_provider_headroom_ratio",
                "How much of what a provider allows in a time is left, as its last answer told.",
                &["provider", "kind"],
            ),
            channels: ChannelSeries::new(m),
            attempts_open: m.gauge("flyball_attempts_open", "Attempts that have not ended."),
            streams_open: m.gauge(
                "flyball_streams_open",
                "Streams to clients that have not ended.",
            ),
            reloads: m.counts(
                "flyball_config_reloads_total",
                "Times the configuration was read again.",
                &["result"],
            ),
            reload_failed: m.gauge(
                "flyball_reload_failed",
                "1 from a refused configuration until a good one.",
            ),
            ledger_up: m.gauge("flyball_ledger_up", "1 while the ledger can write."),
            otlp_dropped: m.counts(
                "flyball_otlp_dropped_total",
                "Spans that the OpenTelemetry collector was not sent or did not take.",
                &["reason"],
            ),
            books: BooksGauges::new(m),
            prices: m.gauge(
                "flyball_prices_timestamp_seconds",
                "The day of the price catalogue that runs here, in seconds since 1970; 0 where it tells none.",
            ),
            build: m.whole_gauges(
                "flyball_build_info",
                "Always 1; the version and the price catalogue that run here, and whether the models are simulated.",
                &["version", "prices", "simulated"],
            ),
        }
    }

    pub(super) fn build(&self, version: &str, prices: KnownPrices<'_>, simulated: SimulatedModels) {
        let _whole = self.replace();
        self.build.reset();
        self.prices.set(prices.made_unix.unwrap_or(0));
        let labels = [version, prices.version, simulated.name()];
        self.build.with_label_values(&labels).set(1);
    }

    /// Rates lose a series' first step: what can exist from the start begins at 0.
    fn zero(&self) {
        for change in [None, Some(TurnChange::Model), Some(TurnChange::Effort)] {
            self.turns.with_label_values(&[change_name(change)]);
        }
        for from in dialect::ALL {
            for to in dialect::ALL.iter().filter(|to| to.name() != from.name()) {
                self.dropped_fields
                    .with_label_values(&[from.name(), to.name()]);
            }
        }
        for result in ["ok", "refused"] {
            self.reloads.with_label_values(&[result]);
        }
        for kind in KINDS {
            self.refusals.with_label_values(&[kind_name(kind)]);
        }
        for class in Class::ALL {
            self.private_requests.with_label_values(&[class.name()]);
        }
        for why in GUARD_STOPS {
            self.guard_stops.with_label_values(&[why]);
        }
        for lost in Lost::ALL {
            self.otlp_dropped.with_label_values(&[lost.name()]);
        }
        self.ledger_up.set(1);
        self.known(Vec::new(), Vec::new(), Vec::new());
    }

    pub(super) fn known(&self, models: Vec<String>, rules: Vec<String>, providers: Vec<String>) {
        for model in &models {
            for outcome in ["stands", "escalated"] {
                self.probes.with_label_values(&[model, outcome]);
            }
            self.shadows.with_label_values(&[model, "judged"]);
            self.passed_over.with_label_values(&[model, "down"]);
        }
        for provider in &providers {
            self.known_provider(provider);
        }
        for state in BatchState::ALL {
            self.batches.with_label_values(&[state.name()]);
        }
        for end in HedgeEnd::ALL {
            self.hedges.with_label_values(&[end.name()]);
        }
        for end in LineState::ENDS {
            self.batch_lines.with_label_values(&[end.name()]);
        }
        for outcome in HookPost::ALL {
            self.webhooks.with_label_values(&[outcome.name()]);
        }
        // A provider that is gone has no room left to show; the others tell it with their next answer.
        self.headroom.reset();
        self.channels.forget_headroom();
        let known = self.read().again(&self.sources, (models, rules, providers));
        *self.write() = known;
    }

    fn known_provider(&self, provider: &str) {
        self.channels.know(provider);
        self.anomalies.with_label_values(&[provider]);
        self.unmetered.with_label_values(&[provider]);
        for event in JobEnd::ALL {
            self.jobs.with_label_values(&[provider, event.name()]);
        }
        self.unpriced_tiers.with_label_values(&[provider]);
        for compared in Compared::ALL {
            self.compared
                .with_label_values(&[provider, compared.name()]);
        }
        for kind in UPSTREAM_KINDS {
            self.upstream_errors.with_label_values(&[provider, kind]);
        }
    }

    pub(super) fn known_arm(&self, arm: &KnownArm<'_>) {
        self.write().prepare(&self.sources, arm);
    }

    pub(super) fn keys(&self, keys: &[KnownKey<'_>]) {
        self.who.keys(keys);
    }

    pub(super) fn tags<'t>(&self, named: impl IntoIterator<Item = (&'t str, &'t str)>) {
        self.who.tags(named);
    }

    pub(super) fn decided(&self, e: &Decided<'_>) {
        let known = self.read();
        let rule = known.rule(e.rule);
        self.decisions
            .with_label_values(&[rule, e.task, e.tier.name()])
            .inc();
    }

    pub(super) fn attempt(&self, e: &AttemptClosed<'_>) {
        self.attempts_open.dec();
        // Nearly always the series of the arm are there.
        let counted = self.read().count(&self.sources, e);
        if !counted {
            let mut known = self.write();
            known.prepare(
                &self.sources,
                &KnownArm {
                    provider: &e.opening.provider,
                    model: &e.opening.model,
                    tier: e.opening.tier,
                    effort: e.effort,
                },
            );
            known.count(&self.sources, e);
        }
        self.basis[place(&Basis::ALL, e.closing.basis)].inc();
        if e.closing.usage.anomaly {
            let known = self.read();
            let provider = known.provider(&e.opening.provider);
            self.anomalies.with_label_values(&[provider]).inc();
        }
        // One of the two differences is negative, and adds nothing.
        let saved = e.closing.baseline - e.closing.cost;
        if let Some(cause) = e.closing.cause {
            let (series, amount) = match cause.is_loss() {
                true => (
                    &self.losses[place(&Cause::LOSSES, cause)],
                    PicoUsd::ZERO - saved,
                ),
                false => (&self.savings[place(&Cause::SAVINGS, cause)], saved),
            };
            series.add(amount);
        }
        self.who.take(e.opening, e.closing);
        self.time(e);
    }

    fn time(&self, e: &AttemptClosed<'_>) {
        self.durations[place(&Tier::ALL, e.opening.tier)].observe(e.total.as_secs_f64());
        let total = ("total", e.added);
        for (phase, took) in e.phases.iter().chain([&total]) {
            self.added[place(&PHASES, phase)].observe(took.as_secs_f64());
        }
    }

    /// `is_name`: what was asked for is the name of some vendor's model; it is only looked up where that is not known yet.
    pub(super) fn served(&self, asked: &str, served: &str, is_name: impl FnOnce() -> bool) {
        if self.read().count_served(asked, served) {
            return;
        }
        let is_name = is_name();
        self.write()
            .count_served_anew(&self.sources, (asked, served), is_name);
    }

    pub(super) fn turn(&self, change: Option<TurnChange>) {
        self.turns.with_label_values(&[change_name(change)]).inc();
    }

    pub(super) fn reloaded(&self, ok: bool) {
        let result = if ok { "ok" } else { "refused" };
        self.reloads.with_label_values(&[result]).inc();
        self.reload_failed.set(i64::from(!ok));
    }

    fn read(&self) -> RwLockReadGuard<'_, KnownSeries> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, KnownSeries> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Model and provider as labels: names that nobody knows are `other`.
    pub(super) fn labels(&self, opening: &Opening) -> Labels {
        let known = self.read();
        Labels {
            model: known.model(&opening.model).to_owned(),
            provider: known.provider(&opening.provider).to_owned(),
        }
    }

    /// Who counts spans that were lost.
    pub(super) fn otlp_dropped(&self) -> OtlpDropped {
        OtlpDropped(self.otlp_dropped.clone())
    }

    pub(super) fn unmetered(&self, provider: &str) {
        let known = self.read();
        let provider = known.provider(provider);
        self.unmetered.with_label_values(&[provider]).inc();
    }

    pub(super) fn batch(&self, state: &str) {
        self.batches.with_label_values(&[state]).inc();
    }

    pub(super) fn batch_line(&self, end: &str) {
        self.batch_lines.with_label_values(&[end]).inc();
    }

    pub(super) fn webhook(&self, outcome: &str) {
        self.webhooks.with_label_values(&[outcome]).inc();
    }

    pub(super) fn job(&self, provider: &str, event: &str) {
        let known = self.read();
        let provider = known.provider(provider);
        self.jobs.with_label_values(&[provider, event]).inc();
    }

    pub(super) fn response_cache(&self, result: CacheResult) {
        self.cache.answered(result);
    }

    pub(super) fn response_cache_size(&self, figures: &CacheFigures) {
        self.cache.set(figures);
    }

    pub(super) fn probed(&self, model: &str, outcome: &str) {
        let known = self.read();
        let model = known.model(model);
        self.probes.with_label_values(&[model, outcome]).inc();
    }

    pub(super) fn passed_over(&self, model: &str, reason: &str) {
        let known = self.read();
        let model = known.model(model);
        self.passed_over.with_label_values(&[model, reason]).inc();
    }

    pub(super) fn shadowed(&self, model: &str, end: &str) {
        let known = self.read();
        let model = known.model(model);
        self.shadows.with_label_values(&[model, end]).inc();
    }

    pub(super) fn hedged(&self, end: &'static str) {
        self.hedges.with_label_values(&[end]).inc();
    }

    pub(super) fn upstream_error(&self, provider: &str, kind: &str) {
        let known = self.read();
        let provider = known.provider(provider);
        self.upstream_errors
            .with_label_values(&[provider, kind])
            .inc();
    }

    pub(super) fn headroom(&self, (provider, channel): (&str, Option<&str>), of: &str, left: f64) {
        let known = self.read();
        let provider = known.provider(provider);
        self.headroom.with_label_values(&[provider, of]).set(left);
        if let Some(channel) = channel {
            self.channels.headroom([provider, channel, of], left);
        }
    }

    /// How often each kind of failure was seen of this provider.
    pub(super) fn upstream_errors(&self, provider: &str) -> [(&'static str, u64); 5] {
        let known = self.read();
        let provider = known.provider(provider);
        UPSTREAM_KINDS.map(|kind| {
            let count = self.upstream_errors.with_label_values(&[provider, kind]);
            (kind, count.get())
        })
    }

    pub(super) fn compared(&self, provider: &str, compared: &str) {
        let known = self.read();
        let provider = known.provider(provider);
        self.compared.with_label_values(&[provider, compared]).inc();
    }

    pub(super) fn unpriced_tier(&self, provider: &str) {
        let known = self.read();
        let provider = known.provider(provider);
        self.unpriced_tiers.with_label_values(&[provider]).inc();
    }

    pub(super) fn crashed(&self, attempts: u64, cost: PicoUsd) {
        self.crashed.inc_by(attempts);
        self.crashed_usd.add(cost);
    }

    pub(super) fn bound_excess(&self, excess: PicoUsd) {
        self.excess.add(excess);
    }

    pub(super) fn caps(&self, figures: &[CapFigures]) {
        let _whole = self.replace();
        self.caps.replace(figures);
    }

    pub(super) fn ledger(&self, up: bool, lag: std::time::Duration) {
        self.ledger_up.set(i64::from(up));
        self.books.lag.set(lag.as_secs_f64());
    }

    pub(super) fn books(&self, figures: &BooksFigures) {
        let _whole = self.replace();
        self.books.set(figures);
    }

    pub(super) fn guard_stopped(&self, why: &'static str) {
        self.guard_stops.with_label_values(&[why]).inc();
    }

    pub(super) fn cap_refused(&self, refusal: &CapRefusal<'_>) {
        self.caps.refused(refusal);
    }

    pub(super) fn refused_by_none(&self, reason: &'static str) {
        self.caps.refused_by_none(reason);
    }

    fn replace(&self) -> std::sync::MutexGuard<'_, ()> {
        self.replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn encode(&self) -> String {
        let families = {
            let _whole = self.replace();
            self.registry.gather()
        };
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&families, &mut text)
            .expect("writing to memory cannot fail");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

fn change_name(change: Option<TurnChange>) -> &'static str {
    match change {
        None => "none",
        Some(TurnChange::Model) => "model",
        Some(TurnChange::Effort) => "effort",
    }
}

/// Model and provider as metrics may call them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) model: String,
    pub(super) provider: String,
}

/// Why a span was lost on its way to the OpenTelemetry collector. A closed set: a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// As many as may wait were waiting.
    Full,
    /// The process has ended, and the collector had not taken it.
    Unreachable,
    /// The collector does not take it.
    Refused,
}

impl Lost {
    const ALL: [Lost; 3] = [Lost::Full, Lost::Unreachable, Lost::Refused];

    fn name(self) -> &'static str {
        match self {
            Lost::Full => "full",
            Lost::Unreachable => "unreachable",
            Lost::Refused => "refused",
        }
    }
}

/// Counts spans that were lost.
#[derive(Clone, Debug)]
pub(super) struct OtlpDropped(IntCounterVec);

impl OtlpDropped {
    pub(super) fn count(&self, lost: Lost, spans: usize) {
        let spans = u64::try_from(spans).unwrap_or(u64::MAX);
        self.0.with_label_values(&[lost.name()]).inc_by(spans);
    }
}

/// Dollars as the nearest float, below zero as well.
pub(super) fn signed_usd(amount: PicoUsd) -> f64 {
    match amount < PicoUsd::ZERO {
        true => -usd(PicoUsd::ZERO - amount),
        false => usd(amount),
    }
}

/// Dollars as the nearest float; negative amounts are 0, since a counter cannot fall.
pub(super) fn usd(amount: PicoUsd) -> f64 {
    amount.0.max(0) as f64 / PICO_PER_USD as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_the_nearest_float_and_never_fall() {
        for (pico, dollars) in [
            (0, 0.0),
            (-5, 0.0),
            (25_000, 2.5e-8),
            (PICO_PER_USD * 3 / 2, 1.5),
            (9_000 * PICO_PER_USD, 9_000.0),
            (100_000_000 * PICO_PER_USD, 1e8),
        ] {
            assert_eq!(
                usd(PicoUsd(pico)).to_bits(),
                f64::to_bits(dollars),
                "{pico}"
            );
        }
    }
}
