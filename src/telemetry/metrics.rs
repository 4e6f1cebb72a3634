//! The one door to `prometheus`: every metric's name, unit and labels. Label values come from closed sets only.

use super::{AttemptClosed, Decided};
use crate::money::PicoUsd;
use prometheus::{
    Counter, CounterVec, Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};
use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

/// Buckets for the first token and whole answers: the OpenTelemetry GenAI ones, longer for reasoning.
const ANSWER_SECONDS: [f64; 16] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
    327.68,
];
/// Buckets for what flyball itself adds.
const ADDED_SECONDS: [f64; 12] = [
    0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
];
const TOKENS_PER_SECOND: [f64; 10] = [
    5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 120.0, 200.0, 400.0, 1000.0,
];
/// Pico-dollars in a dollar, as a float: metrics are the only place where money is one.
const PICO: f64 = 1e12;

/// Every metric.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    known: RwLock<Known>,
    requests: IntCounterVec,
    decisions: IntCounterVec,
    cost: CounterVec,
    baseline: CounterVec,
    saved: CounterVec,
    lost: CounterVec,
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
    pub(super) overruns: IntCounter,
    anomalies: IntCounterVec,
    excess: Counter,
    basis: IntCounterVec,
    upstream_errors: IntCounterVec,
    pub(super) attempts_open: IntGauge,
    pub(super) reloads: IntCounterVec,
    pub(super) ledger_up: IntGauge,
}

#[derive(Debug, Default)]
struct Known {
    models: HashSet<String>,
    rules: HashSet<String>,
    providers: HashSet<String>,
}

struct Make(Registry);

impl Make {
    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let metric = made.expect("the name and labels are constants");
        self.0
            .register(Box::new(metric.clone()))
            .expect("every name is registered once");
        metric
    }
    fn counts(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }
    fn dollars(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        self.register(CounterVec::new(Opts::new(name, help), labels))
    }
    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(name, help), labels))
    }
    fn times(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        self.register(HistogramVec::new(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
            labels,
        ))
    }
    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }
}

impl Metrics {
    pub(super) fn new(version: &str, prices: &str) -> Metrics {
        let m = Make(Registry::new());
        let arm = ["provider", "model", "tier", "effort"];
        let scope = ["scope", "window"];
        let metrics = Metrics {
            known: RwLock::default(),
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
                "Baseline minus cost where that is positive, in US dollars.",
                &["tier", "effort"],
            ),
            lost: m.dollars(
                "flyball_lost_usd_total",
                "Cost minus baseline where that is positive, in US dollars.",
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
            ttft: m.times(
                "flyball_ttft_seconds",
                "From sending to the first token of a stream, by prompt length in tokens.",
                &["model", "prompt"],
                &ANSWER_SECONDS,
            ),
            decode: m.times(
                "flyball_decode_tokens_per_second",
                "Output tokens a second after the first one, on streams.",
                &["model"],
                &TOKENS_PER_SECOND,
            ),
            duration: m.times(
                "flyball_request_duration_seconds",
                "From a request's arrival to the end of its answer.",
                &["tier"],
                &ANSWER_SECONDS,
            ),
            added: m.times(
                "flyball_added_latency_seconds",
                "What flyball itself added before the provider got the request, by phase.",
                &["phase"],
                &ADDED_SECONDS,
            ),
            caps: [
                m.gauges(
                    "flyball_cap_limit_usd",
                    "Spend cap; the sum over all keys where scope is keys.",
                    &scope,
                ),
                m.gauges(
                    "flyball_cap_spent_usd",
                    "Spent under caps in the current window.",
                    &scope,
                ),
                m.gauges(
                    "flyball_cap_reserved_usd",
                    "Held by open reservations under caps.",
                    &scope,
                ),
            ],
            cap_reset: m.register(IntGaugeVec::new(
                Opts::new(
                    "flyball_cap_reset_timestamp_seconds",
                    "When the window ends, Unix time.",
                ),
                &scope,
            )),
            cap_refusals: m.counts(
                "flyball_cap_refusals_total",
                "Requests refused by spend caps.",
                &["scope", "reason"],
            ),
            refusals: m.counts(
                "flyball_refusals_total",
                "Requests that flyball answered with an error of its own, by kind.",
                &["kind"],
            ),
            overruns: m.register(IntCounter::new(
                "flyball_overruns_total",
                "Answers on capped keys that cost more than their bound.",
            )),
            anomalies: m.counts(
                "flyball_usage_anomalies_total",
                "Answers whose reported usage contradicts itself.",
                &["provider"],
            ),
            excess: m.register(Counter::new(
                "flyball_bound_excess_usd_total",
                "Charged above what was counted because the outcome is not known, in US dollars.",
            )),
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
            reloads: m.counts(
                "flyball_config_reloads_total",
                "Times the configuration was read again.",
                &["result"],
            ),
            ledger_up: m.gauge("flyball_ledger_up", "1 while the ledger can write."),
            registry: m.0.clone(),
        };
        let info = m.register(IntGaugeVec::new(
            Opts::new("flyball_build_info", "Always 1; what runs here."),
            &["version", "prices"],
        ));
        info.with_label_values(&[version, prices]).set(1);
        #[cfg(target_os = "linux")]
        m.0.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))
        .expect("registered once");
        metrics.zero();
        metrics
    }

    /// Rates lose a series' first step: what can exist from the start begins at 0.
    fn zero(&self) {
        for reason in ["full", "reserved"] {
            for scope in ["global", "keys"] {
                self.cap_refusals.with_label_values(&[scope, reason]);
            }
        }
        for reason in ["no_price", "unbounded"] {
            self.cap_refusals.with_label_values(&["any", reason]);
        }
        for result in ["ok", "refused"] {
            self.reloads.with_label_values(&[result]);
        }
        for basis in crate::ledger::BASES {
            self.basis.with_label_values(&[basis]);
        }
        for task in crate::classify::Task::ALL {
            self.task_cost.with_label_values(&[task.name()]);
        }
        for kind in ["bad_request", "cap", "unauthorized", "upstream_failed"] {
            self.refusals.with_label_values(&[kind]);
        }
        self.ledger_up.set(1);
    }

    pub(super) fn known(&self, models: Vec<String>, rules: Vec<String>, providers: Vec<String>) {
        for model in &models {
            for class in ["input", "cached", "cache_write", "output", "reasoning"] {
                self.tokens.with_label_values(&[model, class]);
            }
        }
        for rule in &rules {
            self.rule_cost.with_label_values(&[rule]);
        }
        for provider in &providers {
            self.anomalies.with_label_values(&[provider]);
            self.upstream_errors
                .with_label_values(&[provider, "upstream_failed"]);
        }
        let known = Known {
            models: models.into_iter().collect(),
            rules: rules.into_iter().collect(),
            providers: providers.into_iter().collect(),
        };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    pub(super) fn decided(&self, e: &Decided<'_>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        self.decisions
            .with_label_values(&[among(&known.rules, e.rule), e.task, e.tier.name()])
            .inc();
    }

    pub(super) fn attempt(&self, e: &AttemptClosed<'_>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (model, rule, provider) = (
            among(&known.models, e.model),
            among(&known.rules, e.rule),
            among(&known.providers, e.provider),
        );
        let (tier, effort) = (e.tier.name(), e.effort.name());
        self.attempts_open.dec();
        self.requests
            .with_label_values(&[tier, effort, e.outcome])
            .inc();
        self.basis.with_label_values(&[e.basis]).inc();
        self.cost
            .with_label_values(&[provider, model, tier, effort])
            .inc_by(usd(e.cost));
        self.baseline
            .with_label_values(&[provider, model, tier, effort])
            .inc_by(usd(e.baseline));
        let saved = e.baseline - e.cost;
        self.saved
            .with_label_values(&[tier, effort])
            .inc_by(usd(saved));
        self.lost
            .with_label_values(&[tier, effort])
            .inc_by(usd(e.cost - e.baseline));
        self.task_cost
            .with_label_values(&[e.task])
            .inc_by(usd(e.cost));
        self.rule_cost
            .with_label_values(&[rule])
            .inc_by(usd(e.cost));
        let u = &e.usage;
        let classes = [
            ("input", u.input),
            ("cached", u.cached),
            (
                "cache_write",
                u.cache_write.saturating_add(u.cache_write_long),
            ),
            ("output", u.output.saturating_sub(u.reasoning)),
            ("reasoning", u.reasoning),
        ];
        for (class, count) in classes {
            self.tokens.with_label_values(&[model, class]).inc_by(count);
        }
        if u.anomaly {
            self.anomalies.with_label_values(&[provider]).inc();
        }
        self.duration
            .with_label_values(&[tier])
            .observe(e.total.as_secs_f64());
        if let Some(ttft) = e.ttft {
            self.ttft
                .with_label_values(&[model, length_band(u.input_total())])
                .observe(ttft.as_secs_f64());
        }
        if let Some(rate) = e.decode_tokens_per_second {
            self.decode.with_label_values(&[model]).observe(rate);
        }
        observe(&self.added.with_label_values(&["total"]), e.added);
        for (phase, took) in e.phases {
            observe(&self.added.with_label_values(&[phase]), *took);
        }
    }

    pub(super) fn upstream_error(&self, provider: &str, kind: &str) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        self.upstream_errors
            .with_label_values(&[among(&known.providers, provider), kind])
            .inc();
    }

    pub(super) fn bound_excess(&self, excess: PicoUsd) {
        self.excess.inc_by(usd(excess));
    }

    pub(super) fn cap(
        &self,
        scope: &str,
        window: &str,
        limit_spent_reserved: [PicoUsd; 3],
        reset_unix: Option<i64>,
    ) {
        for (gauge, amount) in self.caps.iter().zip(limit_spent_reserved) {
            gauge.with_label_values(&[scope, window]).set(usd(amount));
        }
        if let Some(at) = reset_unix {
            self.cap_reset.with_label_values(&[scope, window]).set(at);
        }
    }

    pub(super) fn encode(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory cannot fail");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

fn observe(histogram: &Histogram, took: std::time::Duration) {
    histogram.observe(took.as_secs_f64());
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

/// Dollars as a float; negative amounts are 0, since a counter cannot fall.
fn usd(amount: PicoUsd) -> f64 {
    // Exact up to $9,007 (2^53 pico-dollars), and within a part in 10^15 beyond; metrics are not the books.
    let positive = u64::try_from(amount.0.max(0)).unwrap_or(u64::MAX);
    let (high, low) = (
        u32::try_from(positive >> 32).unwrap_or(u32::MAX),
        u32::try_from(positive & 0xFFFF_FFFF).unwrap_or(u32::MAX),
    );
    (f64::from(high) * 4_294_967_296.0 + f64::from(low)) / PICO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_floats_without_loss_in_the_range_of_a_day() {
        for (pico, dollars) in [
            (0, 0.0),
            (-5, 0.0),
            (1_500_000_000_000, 1.5),
            (25_000, 2.5e-8),
            (9_000_000_000_000_000, 9_000.0),
        ] {
            assert!((usd(PicoUsd(pico)) - dollars).abs() < 1e-15, "{pico}");
        }
    }

    #[test]
    fn unknown_label_values_become_other_and_every_family_says_what_it_is() {
        let metrics = Metrics::new("1", "p");
        metrics.known(vec!["m".into()], vec!["r".into()], vec!["p".into()]);
        for n in 0..1_000 {
            metrics.upstream_error(&format!("made-up-{n}"), "upstream_failed");
            metrics.decided(&Decided {
                rule: &format!("rule {n}"),
                task: "code",
                tier: crate::route::arm::Tier::Small,
            });
        }
        let text = metrics.encode();
        assert!(text.contains(
            "flyball_upstream_errors_total{kind=\"upstream_failed\",provider=\"other\"} 1000"
        ));
        assert!(
            text.contains(
                "flyball_decisions_total{rule=\"other\",task=\"code\",tier=\"small\"} 1000"
            )
        );
        for line in text
            .lines()
            .filter(|l| l.starts_with("# TYPE") && l.ends_with("counter"))
        {
            assert!(
                line.contains("_total ") || line.contains("_total counter"),
                "{line}"
            );
        }
    }
}
