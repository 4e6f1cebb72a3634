//! The one door to `prometheus`: every metric's name, unit and labels. Label values come from closed sets only,
//! so the number of series has a limit that no client can move.
//!
//! The only place where money becomes a float; metrics are not the books.

use super::{AttemptClosed, CapFigures, Decided, JobEnd, KINDS, KnownArm, kind_name};
use crate::arm::{Effort, Tier};
use crate::chat::Usage;
use crate::classify::Task;
use crate::dialect;
use crate::ledger::record::{Basis, Cause, Compared, Outcome};
use crate::money::{PICO_PER_USD, PicoUsd};
use crate::private::Class;
use foldhash::HashSet;
use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::sync::{Mutex, PoisonError, RwLock};

/// Buckets for the first token and whole answers: those of the OpenTelemetry GenAI conventions, and two
/// longer ones for answers that think.
const ANSWER_SECONDS: [f64; 16] = [
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
    known: RwLock<KnownNames>,
    /// Held while caps are replaced, and while everything is written out, so that no reader sees half of them.
    replacing: Mutex<()>,
    requests: IntCounterVec,
    decisions: IntCounterVec,
    cost: CounterVec,
    baseline: CounterVec,
    saved: CounterVec,
    lost: CounterVec,
    losses: CounterVec,
    task_cost: CounterVec,
    rule_cost: CounterVec,
    tokens: IntCounterVec,
    ttft: HistogramVec,
    decode: HistogramVec,
    duration: HistogramVec,
    added: HistogramVec,
    caps: [GaugeVec; 3],
    cap_reset: IntGaugeVec,
    pub(super) cap_refusals: IntCounterVec,
    pub(super) refusals: IntCounterVec,
    pub(super) private_requests: IntCounterVec,
    pub(super) overruns: IntCounter,
    pub(super) dropped_fields: IntCounterVec,
    probes: IntCounterVec,
    anomalies: IntCounterVec,
    unmetered: IntCounterVec,
    jobs: IntCounterVec,
    excess: Counter,
    compared: IntCounterVec,
    unpriced_tiers: IntCounterVec,
    basis: IntCounterVec,
    upstream_errors: IntCounterVec,
    pub(super) attempts_open: IntGauge,
    pub(super) streams_open: IntGauge,
    pub(super) reloads: IntCounterVec,
    pub(super) ledger_up: IntGauge,
    build: IntGaugeVec,
}

#[derive(Debug, Default)]
struct KnownNames {
    models: HashSet<String>,
    rules: HashSet<String>,
    providers: HashSet<String>,
}

struct Make(Registry);

impl Make {
    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let metric = made.expect("the name and labels are constants");
        let registered = self.0.register(Box::new(metric.clone()));
        registered.expect("every name is registered once");
        metric
    }

    fn counts(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn count(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    fn dollars(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        self.register(CounterVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn whole_gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    fn spread(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, labels))
    }
}

impl Metrics {
    pub(super) fn new(version: &str, prices: &str) -> Metrics {
        let m = Make(Registry::new());
        let metrics = Metrics::registered(&m);
        #[cfg(target_os = "linux")]
        m.0.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))
        .expect("every name is registered once");
        metrics.build(version, prices);
        metrics.zero();
        metrics
    }

    // A table: one entry a metric, in the order of docs/metrics.md.
    fn registered(m: &Make) -> Metrics {
        let arm = ["provider", "model", "tier", "effort"];
        let scope = ["scope", "window"];
        Metrics {
            registry: m.0.clone(),
            known: RwLock::default(),
            replacing: Mutex::default(),
            requests: m.counts(
                "flyball_requests_total",
                "Attempts that have ended, by tier, effort and outcome.",
                &["tier", "effort", "outcome"],
            ),
            decisions: m.counts(
                "flyball_decisions_total",
                "Routing decisions, by rule, task and chosen tier.",
                &["rule", "task", "tier"],
            ),
            cost: m.dollars(
                "flyball_cost_usd_total",
                "Money spent, in US dollars.",
                &arm,
            ),
            baseline: m.dollars(
                "flyball_baseline_usd_total",
                "What the asked-for or configured baseline would have cost, in US dollars.",
                &arm,
            ),
            saved: m.dollars(
                "flyball_saved_usd_total",
                "Baseline minus cost, of the attempts where that is positive, in US dollars.",
                &["tier", "effort"],
            ),
            losses: m.dollars(
                "flyball_losses_usd_total",
                "Cost minus baseline, of the attempts where that is positive, by its cause, in US dollars.",
                &["cause"],
            ),
            lost: m.dollars(
                "flyball_lost_usd_total",
                "Cost minus baseline, of the attempts where that is positive, in US dollars.",
                &["tier", "effort"],
            ),
            task_cost: m.dollars(
                "flyball_task_cost_usd_total",
                "Money spent by graded task, in US dollars.",
                &["task"],
            ),
            rule_cost: m.dollars(
                "flyball_rule_cost_usd_total",
                "Money spent by rule, in US dollars.",
                &["rule"],
            ),
            tokens: m.counts(
                "flyball_tokens_total",
                "Tokens by class; the classes do not overlap and add up to everything billed.",
                &["model", "class"],
            ),
            ttft: m.spread(
                "flyball_ttft_seconds",
                "From sending to the first token of a stream, by the prompt's length in tokens.",
                &["model", "prompt"],
                &ANSWER_SECONDS,
            ),
            decode: m.spread(
                "flyball_decode_tokens_per_second",
                "Output tokens a second after the first one, on streams.",
                &["model"],
                &TOKENS_PER_SECOND,
            ),
            duration: m.spread(
                "flyball_request_duration_seconds",
                "From a request's arrival to the end of its answer.",
                &["tier"],
                &ANSWER_SECONDS,
            ),
            added: m.spread(
                "flyball_added_latency_seconds",
                "What flyball itself added before the provider got the request, by phase; settle comes after a whole JSON answer.",
                &["phase"],
                &ADDED_SECONDS,
            ),
            caps: [
                m.gauges(
                    "flyball_cap_limit_usd",
                    "Spend cap in US dollars; the sum over all keys where scope is keys.",
                    &scope,
                ),
                m.gauges(
                    "flyball_cap_spent_usd",
                    "Spent under caps in the current window, in US dollars.",
                    &scope,
                ),
                m.gauges(
                    "flyball_cap_reserved_usd",
                    "Held by open reservations under caps, in US dollars.",
                    &scope,
                ),
            ],
            cap_reset: m.whole_gauges(
                "flyball_cap_reset_timestamp_seconds",
                "When the cap's window ends, in seconds since 1970.",
                &scope,
            ),
            cap_refusals: m.counts(
                "flyball_cap_refusals_total",
                "Requests refused because of spend caps, by scope and reason.",
                &["scope", "reason"],
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
            dropped_fields: m.counts(
                "flyball_dropped_fields_total",
                "Fields of requests that the model's dialect does not have and that were let go.",
                &["from", "to"],
            ),
            anomalies: m.counts(
                "flyball_usage_anomalies_total",
                "Answers whose reported usage contradicts itself.",
                &["provider"],
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
            excess: m.register(Counter::new(
                "flyball_bound_excess_usd_total",
                "Charged above what was counted because the outcome is not known, in US dollars.",
            )),
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
            basis: m.counts(
                "flyball_cost_basis_total",
                "Attempts by how their cost is known.",
                &["basis"],
            ),
            upstream_errors: m.counts(
                "flyball_upstream_errors_total",
                "Failures of providers, by kind.",
                &["provider", "kind"],
            ),
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
            ledger_up: m.gauge("flyball_ledger_up", "1 while the ledger can write."),
            build: m.whole_gauges(
                "flyball_build_info",
                "Always 1; the version and the price catalogue that run here.",
                &["version", "prices"],
            ),
        }
    }

    pub(super) fn build(&self, version: &str, prices: &str) {
        let _whole = self.replace();
        self.build.reset();
        self.build.with_label_values(&[version, prices]).set(1);
    }

    /// Rates lose a series' first step: what can exist from the start begins at 0.
    fn zero(&self) {
        for tier in Tier::ALL {
            self.duration.with_label_values(&[tier.name()]);
            for effort in Effort::ALL {
                let (tier, effort) = (tier.name(), effort.name());
                self.requests
                    .with_label_values(&[tier, effort, Outcome::Ok.name()]);
                self.saved.with_label_values(&[tier, effort]);
                self.lost.with_label_values(&[tier, effort]);
            }
        }
        for loss in Cause::LOSSES {
            self.losses.with_label_values(&[loss.name()]);
        }
        for reason in ["full", "reserved"] {
            for scope in ["global", "keys", "other"] {
                self.cap_refusals.with_label_values(&[scope, reason]);
            }
        }
        for reason in ["no_price", "unbounded", "frozen"] {
            self.cap_refusals.with_label_values(&["any", reason]);
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
        for basis in Basis::ALL {
            self.basis.with_label_values(&[basis.name()]);
        }
        for task in Task::ALL {
            self.task_cost.with_label_values(&[task.name()]);
        }
        for task in ["embed", "ungraded"] {
            self.task_cost.with_label_values(&[task]);
        }
        for kind in KINDS {
            self.refusals.with_label_values(&[kind_name(kind)]);
        }
        for class in Class::ALL {
            self.private_requests.with_label_values(&[class.name()]);
        }
        for phase in PHASES {
            self.added.with_label_values(&[phase]);
        }
        self.ledger_up.set(1);
    }

    pub(super) fn known(&self, models: Vec<String>, rules: Vec<String>, providers: Vec<String>) {
        for model in &models {
            self.decode.with_label_values(&[model]);
            for outcome in ["stands", "escalated"] {
                self.probes.with_label_values(&[model, outcome]);
            }
            for class in CLASSES {
                self.tokens.with_label_values(&[model, class]);
            }
        }
        for rule in &rules {
            self.rule_cost.with_label_values(&[rule]);
        }
        for provider in &providers {
            self.anomalies.with_label_values(&[provider]);
            self.unmetered.with_label_values(&[provider]);
            for event in JobEnd::ALL {
                self.jobs
                    .with_label_values(&[provider.as_str(), event.name()]);
            }
            self.unpriced_tiers.with_label_values(&[provider]);
            for compared in Compared::ALL {
                let labels = [provider.as_str(), compared.name()];
                self.compared.with_label_values(&labels);
            }
            for kind in UPSTREAM_KINDS {
                self.upstream_errors.with_label_values(&[provider, kind]);
            }
        }
        let known = KnownNames {
            models: models.into_iter().collect(),
            rules: rules.into_iter().collect(),
            providers: providers.into_iter().collect(),
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    pub(super) fn known_arm(&self, arm: &KnownArm<'_>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let labels = [
            among(&known.providers, arm.provider),
            among(&known.models, arm.model),
            arm.tier.name(),
            arm.effort.name(),
        ];
        self.cost.with_label_values(&labels);
        self.baseline.with_label_values(&labels);
    }

    pub(super) fn decided(&self, e: &Decided<'_>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let rule = among(&known.rules, e.rule);
        self.decisions
            .with_label_values(&[rule, e.task, e.tier.name()])
            .inc();
    }

    pub(super) fn attempt(&self, e: &AttemptClosed<'_>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let model = among(&known.models, &e.opening.model);
        let provider = among(&known.providers, &e.opening.provider);
        self.attempts_open.dec();
        self.requests
            .with_label_values(&[
                e.opening.tier.name(),
                e.effort.name(),
                e.closing.outcome.name(),
            ])
            .inc();
        self.basis
            .with_label_values(&[e.closing.basis.name()])
            .inc();
        if e.closing.usage.anomaly {
            self.anomalies.with_label_values(&[provider]).inc();
        }
        self.money(e, provider, model, among(&known.rules, &e.opening.rule));
        self.used(&e.closing.usage, model);
        self.time(e, model);
    }

    fn money(&self, e: &AttemptClosed<'_>, provider: &str, model: &str, rule: &str) {
        let (tier, effort) = (e.opening.tier.name(), e.effort.name());
        let arm = [provider, model, tier, effort];
        self.cost
            .with_label_values(&arm)
            .inc_by(usd(e.closing.cost));
        self.baseline
            .with_label_values(&arm)
            .inc_by(usd(e.closing.baseline));
        // One of the two differences is negative, and adds nothing.
        self.saved
            .with_label_values(&[tier, effort])
            .inc_by(usd(e.closing.baseline - e.closing.cost));
        self.lost
            .with_label_values(&[tier, effort])
            .inc_by(usd(e.closing.cost - e.closing.baseline));
        if let Some(cause) = e.closing.cause.filter(|c| c.is_loss()) {
            self.losses
                .with_label_values(&[cause.name()])
                .inc_by(usd(e.closing.cost - e.closing.baseline));
        }
        self.task_cost
            .with_label_values(&[e.opening.task.as_str()])
            .inc_by(usd(e.closing.cost));
        self.rule_cost
            .with_label_values(&[rule])
            .inc_by(usd(e.closing.cost));
    }

    fn used(&self, usage: &Usage, model: &str) {
        // More reasoning than output is an anomaly; the sum must still be what was billed.
        let reasoning = usage.reasoning.min(usage.output);
        let counts = [
            usage.input,
            usage.cached,
            usage.cache_write.saturating_add(usage.cache_write_long),
            usage.output - reasoning,
            reasoning,
        ];
        for (class, count) in CLASSES.iter().zip(counts) {
            self.tokens.with_label_values(&[model, class]).inc_by(count);
        }
    }

    fn time(&self, e: &AttemptClosed<'_>, model: &str) {
        self.duration
            .with_label_values(&[e.opening.tier.name()])
            .observe(e.total.as_secs_f64());
        if let Some(ttft) = e.ttft {
            let prompt = length_band(e.closing.usage.input_total());
            self.ttft
                .with_label_values(&[model, prompt])
                .observe(ttft.as_secs_f64());
        }
        // One NaN would make the histogram's sum NaN for ever.
        if let Some(rate) = e.decode_tokens_per_second.filter(|r| r.is_finite()) {
            self.decode.with_label_values(&[model]).observe(rate);
        }
        let total = ("total", e.added);
        for (phase, took) in e.phases.iter().chain([&total]) {
            self.added
                .with_label_values(&[phase])
                .observe(took.as_secs_f64());
        }
    }

    pub(super) fn unmetered(&self, provider: &str) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let provider = among(&known.providers, provider);
        self.unmetered.with_label_values(&[provider]).inc();
    }

    pub(super) fn job(&self, provider: &str, event: &str) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let provider = among(&known.providers, provider);
        self.jobs.with_label_values(&[provider, event]).inc();
    }

    pub(super) fn probed(&self, model: &str, outcome: &str) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let model = among(&known.models, model);
        self.probes.with_label_values(&[model, outcome]).inc();
    }

    pub(super) fn upstream_error(&self, provider: &str, kind: &str) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let provider = among(&known.providers, provider);
        self.upstream_errors
            .with_label_values(&[provider, kind])
            .inc();
    }

    pub(super) fn compared(&self, provider: &str, compared: &str) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let provider = among(&known.providers, provider);
        self.compared.with_label_values(&[provider, compared]).inc();
    }

    pub(super) fn unpriced_tier(&self, provider: &str) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let provider = among(&known.providers, provider);
        self.unpriced_tiers.with_label_values(&[provider]).inc();
    }

    pub(super) fn bound_excess(&self, excess: PicoUsd) {
        self.excess.inc_by(usd(excess));
    }

    pub(super) fn cap(&self, cap: &CapFigures) {
        let labels = [cap.scope, cap.window];
        for (gauge, amount) in self.caps.iter().zip([cap.limit, cap.spent, cap.reserved]) {
            gauge.with_label_values(&labels).set(usd(amount));
        }
        if let Some(at) = cap.reset_unix {
            self.cap_reset.with_label_values(&labels).set(at);
        }
    }

    pub(super) fn caps(&self, figures: &[CapFigures]) {
        let _whole = self.replace();
        self.caps.iter().for_each(GaugeVec::reset);
        self.cap_reset.reset();
        for cap in figures {
            self.cap(cap);
        }
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

fn among<'a>(known: &HashSet<String>, value: &'a str) -> &'a str {
    if known.contains(value) {
        value
    } else {
        "other"
    }
}

fn length_band(tokens: u64) -> &'static str {
    match tokens {
        0..1_000 => "<1k",
        1_000..4_000 => "1-4k",
        4_000..16_000 => "4-16k",
        16_000..64_000 => "16-64k",
        _ => "64k+",
    }
}

/// Dollars as the nearest float; negative amounts are 0, since a counter cannot fall.
fn usd(amount: PicoUsd) -> f64 {
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

    #[test]
    fn prompts_fall_into_the_band_of_their_length() {
        for (tokens, band) in [
            (0, "<1k"),
            (999, "<1k"),
            (1_000, "1-4k"),
            (4_000, "4-16k"),
            (16_000, "16-64k"),
            (64_000, "64k+"),
            (u64::MAX, "64k+"),
        ] {
            assert_eq!(length_band(tokens), band, "{tokens}");
        }
    }
}
