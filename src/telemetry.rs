//! What happened, for people and machines: one struct per event, one log line and its metrics for each.
//!
//! Nothing here holds a key, a prompt or a raw client string.

pub mod metrics;

use crate::chat::Usage;
use crate::error::{Error, Kind};
use crate::ledger::balance::Node;
use crate::money::PicoUsd;
use crate::route::arm::{Effort, Tier};
use metrics::Metrics;
use std::time::Duration;

/// One attempt has ended.
#[derive(Debug)]
pub struct AttemptClosed<'a> {
    /// The request id.
    pub request: &'a str,
    /// The attempt id.
    pub attempt: &'a str,
    /// The provider's configured name.
    pub provider: &'a str,
    /// The model asked.
    pub model: &'a str,
    /// Its tier.
    pub tier: Tier,
    /// The effort asked.
    pub effort: Effort,
    /// The task that the prompt was graded as.
    pub task: &'static str,
    /// The rule that decided.
    pub rule: &'a str,
    /// The dialect spoken.
    pub dialect: &'static str,
    /// The answer was streamed.
    pub stream: bool,
    /// One of `ledger::OUTCOMES`.
    pub outcome: &'static str,
    /// The provider's HTTP status; 0 if it never answered.
    pub status: u16,
    /// What was used.
    pub usage: Usage,
    /// One of `ledger::BASES`.
    pub basis: &'static str,
    /// What it cost.
    pub cost: PicoUsd,
    /// What the baseline would have cost.
    pub baseline: PicoUsd,
    /// The bound, on capped keys.
    pub bound: Option<PicoUsd>,
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
    /// No real model answered.
    pub simulated: bool,
}

/// A decision was made.
#[derive(Debug)]
pub struct Decided<'a> {
    /// The rule that decided.
    pub rule: &'a str,
    /// The task that the prompt was graded as.
    pub task: &'static str,
    /// The tier of the first arm.
    pub tier: Tier,
}

/// A request was refused by flyball itself, or could not be answered.
#[derive(Debug)]
pub struct Refused<'a> {
    /// The request id.
    pub request: &'a str,
    /// Why.
    pub error: &'a Error,
}

/// Log and metrics.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
}

impl Telemetry {
    /// Starts counting. `prices` is the catalogue's version.
    #[must_use]
    pub fn new(prices: &str) -> Telemetry {
        Telemetry {
            metrics: Metrics::new(env!("CARGO_PKG_VERSION"), prices),
        }
    }

    /// Replaces the closed sets of label values; anything else becomes `other`.
    pub fn known(&self, models: Vec<String>, rules: Vec<String>, providers: Vec<String>) {
        self.metrics.known(models, rules, providers);
    }

    /// An attempt goes out.
    pub fn attempt_opened(&self) {
        self.metrics.attempts_open.inc();
    }

    /// An attempt has ended.
    pub fn attempt(&self, e: &AttemptClosed<'_>) {
        tracing::info!(
            request = e.request, attempt = e.attempt, provider = e.provider, model = e.model, tier = e.tier.name(), effort = e.effort.name(),
            task = e.task, rule = e.rule, dialect = e.dialect, stream = e.stream, outcome = e.outcome, status = e.status, basis = e.basis,
            input = e.usage.input_total(), output = e.usage.output, reasoning = e.usage.reasoning,
            cost_usd = %e.cost.usd_text(), baseline_usd = %e.baseline.usd_text(), total_ms = e.total.as_millis(), added_us = e.added.as_micros(), simulated = e.simulated,
            "attempt"
        );
        self.metrics.attempt(e);
    }

    /// A request was refused.
    pub fn refused(&self, e: &Refused<'_>) {
        let kind = kind_name(e.error.kind);
        if e.error.kind == Kind::Internal {
            tracing::error!(request = e.request, kind, detail = %e.error.detail, "refused");
        } else {
            tracing::info!(request = e.request, kind, detail = %e.error.detail, "refused");
        }
        self.metrics.refusals.with_label_values(&[kind]).inc();
        match e.error.code {
            Some("flyball_no_price") => self
                .metrics
                .cap_refusals
                .with_label_values(&["any", "no_price"])
                .inc(),
            Some("flyball_unbounded") => self
                .metrics
                .cap_refusals
                .with_label_values(&["any", "unbounded"])
                .inc(),
            _ => {}
        }
    }

    /// A decision was made.
    pub fn decided(&self, e: &Decided<'_>) {
        self.metrics.decided(e);
    }

    /// A cap had no room.
    pub fn cap_refused(&self, node: Node, only_reserved: bool) {
        let scope = if node == Node::Global {
            "global"
        } else {
            "keys"
        };
        let reason = if only_reserved { "reserved" } else { "full" };
        self.metrics
            .cap_refusals
            .with_label_values(&[scope, reason])
            .inc();
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

    /// Money charged above what was counted, because the outcome is not known.
    pub fn bound_excess(&self, excess: PicoUsd) {
        self.metrics.bound_excess(excess);
    }

    /// The configuration was read again.
    pub fn reloaded(&self, ok: bool) {
        self.metrics
            .reloads
            .with_label_values(&[if ok { "ok" } else { "refused" }])
            .inc();
    }

    /// The ledger can or cannot write.
    pub fn ledger_up(&self, up: bool) {
        self.metrics.ledger_up.set(i64::from(up));
    }

    /// One cap's figures.
    pub fn cap(
        &self,
        scope: &'static str,
        window: &'static str,
        limit: PicoUsd,
        spent: PicoUsd,
        reserved: PicoUsd,
        reset_unix: Option<i64>,
    ) {
        self.metrics
            .cap(scope, window, [limit, spent, reserved], reset_unix);
    }

    /// Everything in Prometheus' text format.
    #[must_use]
    pub fn encode(&self) -> String {
        self.metrics.encode()
    }
}

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
        Kind::PrivateOnly => "private",
        Kind::Overloaded => "overloaded",
        Kind::UpstreamFailed => "upstream_failed",
        Kind::UpstreamTimeout => "upstream_timeout",
        Kind::Internal => "internal",
    }
}
