//! Measurements for OTLP: those of OpenTelemetry's GenAI conventions, one of its HTTP conventions, and money. The one door to
//! `opentelemetry_sdk`, which adds them up and has them sent from a thread of its own.
//!
//! Labels come from closed sets, as they do in `/metrics`.

use super::events::{AttemptEnded, ExchangeEnded};
use super::post::Post;
use super::settings::{Names, SCOPE};
use crate::chat::Usage;
use crate::money::PicoUsd;
use crate::telemetry::metrics::{ANSWER_SECONDS, usd};
use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Buckets for tokens, as the conventions want them: 1, 4, 16 … 4¹³.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// All instruments, and who sends what they have measured.
pub(super) struct Meters {
    provider: SdkMeterProvider,
    requests: Histogram<f64>,
    /// The names that most dashboards still ask for.
    old: Option<OldNames>,
    new: Option<NewNames>,
    cost: Counter<f64>,
    baseline: Counter<f64>,
    baseline_extra: Counter<f64>,
    saved: Counter<f64>,
    lost: Counter<f64>,
}

struct OldNames {
    took: Histogram<f64>,
    first: Histogram<f64>,
    tokens: Histogram<u64>,
}

struct NewNames {
    took: Histogram<f64>,
    first: Histogram<f64>,
    input: Counter<u64>,
    output: Counter<u64>,
    cached: Counter<u64>,
    written: Counter<u64>,
    reasoning: Counter<u64>,
}

/// What the measurements are of.
pub(super) struct MeterTerms {
    pub(super) url: String,
    pub(super) resource: Vec<(String, String)>,
    pub(super) names: Names,
    pub(super) interval: Duration,
}

impl Meters {
    /// Begins to measure, and to send that every so often. Must be called within a runtime, in which what is sent is sent.
    pub(super) fn start(post: Arc<Post>, terms: MeterTerms) -> Meters {
        let exporter = Exporter {
            post,
            url: terms.url,
            runtime: Handle::current(),
        };
        let reader = PeriodicReader::builder(exporter)
            .with_interval(terms.interval)
            .build();
        let attributes = terms.resource.into_iter();
        let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
        let resource = Resource::builder_empty()
            .with_attributes(attributes)
            .build();
        let provider = SdkMeterProvider::builder()
            .with_reader(reader)
            .with_resource(resource)
            .build();
        let meter = provider.meter(SCOPE);
        Meters {
            requests: seconds(&meter, "http.server.request.duration"),
            old: terms.names.old.then(|| OldNames::on(&meter)),
            new: terms.names.new.then(|| NewNames::on(&meter)),
            cost: dollars(&meter, "flyball.cost", "Spent"),
            baseline: dollars(
                &meter,
                "flyball.baseline",
                "What the baseline would have cost",
            ),
            baseline_extra: dollars(
                &meter,
                "flyball.baseline.extra",
                "What it may have cost beyond that, had it thought as much as is expected of it",
            ),
            saved: dollars(
                &meter,
                "flyball.saved",
                "By how much attempts were cheaper than their baseline",
            ),
            lost: dollars(
                &meter,
                "flyball.lost",
                "By how much attempts were dearer than their baseline",
            ),
            provider,
        }
    }

    pub(super) fn exchange(&self, e: &ExchangeEnded) {
        let mut labels = vec![
            KeyValue::new("http.request.method", e.asked.method),
            KeyValue::new("flyball.call", e.asked.call),
        ];
        if let Some(status) = e.told.status {
            let status = i64::from(status);
            labels.push(KeyValue::new("http.response.status_code", status));
        }
        labels.extend(e.error().map(|error| KeyValue::new("error.type", error)));
        self.requests.record(e.took.as_secs_f64(), &labels);
    }

    pub(super) fn attempt(&self, e: &AttemptEnded) {
        let mut labels = vec![
            KeyValue::new("gen_ai.operation.name", e.operation),
            KeyValue::new("gen_ai.provider.name", e.vendor),
            KeyValue::new("gen_ai.request.model", e.labels.model.clone()),
            KeyValue::new("flyball.provider", e.labels.provider.clone()),
        ];
        self.money(e, &labels);
        let used = &e.closing.usage;
        if let Some(old) = &self.old {
            old.used(used, &labels);
        }
        if let Some(new) = &self.new {
            new.used(used, &labels);
        }
        labels.extend(e.error().map(|error| KeyValue::new("error.type", error)));
        let took = e.took.as_secs_f64();
        let both = [
            self.old.as_ref().map(|old| (&old.took, &old.first)),
            self.new.as_ref().map(|new| (&new.took, &new.first)),
        ];
        for (whole, first) in both.into_iter().flatten() {
            whole.record(took, &labels);
            if let Some(ttft) = e.ttft {
                first.record(ttft.as_secs_f64(), &labels);
            }
        }
    }

    fn money(&self, e: &AttemptEnded, labels: &[KeyValue]) {
        let c = &e.closing;
        let labels = [
            labels,
            &[
                KeyValue::new("flyball.tier", e.opening.tier.name()),
                KeyValue::new("flyball.effort", e.effort.name()),
            ],
        ]
        .concat();
        self.cost.add(usd(c.cost), &labels);
        self.baseline.add(usd(c.baseline), &labels);
        if c.baseline_extra > PicoUsd::ZERO {
            self.baseline_extra.add(usd(c.baseline_extra), &labels);
        }
        let Some(cause) = c.cause else { return };
        let (counter, dollars) = match cause.is_loss() {
            true => (&self.lost, c.cost - c.baseline),
            false => (&self.saved, c.baseline - c.cost),
        };
        let cause = KeyValue::new("flyball.cause", cause.name());
        counter.add(usd(dollars), &[&labels[..], &[cause]].concat());
    }

    /// Sends what there is, once more, and ends. On a thread of its own, which nobody waits for at the end of the process: the SDK blocks.
    pub(super) fn end(self) -> oneshot::Receiver<()> {
        let (ended, wait) = oneshot::channel();
        std::thread::spawn(move || {
            // What could not be sent has been told.
            let _ = self.provider.shutdown();
            let _ = ended.send(());
        });
        wait
    }
}

impl OldNames {
    fn on(meter: &Meter) -> OldNames {
        OldNames {
            took: seconds(meter, "gen_ai.client.operation.duration"),
            first: seconds(meter, "gen_ai.client.operation.time_to_first_chunk"),
            tokens: meter
                .u64_histogram("gen_ai.client.token.usage")
                .with_unit("{token}")
                .with_boundaries(TOKENS.to_vec())
                .build(),
        }
    }

    fn used(&self, used: &Usage, labels: &[KeyValue]) {
        for (kind, tokens) in [("input", used.input_total()), ("output", used.output)] {
            let kind = KeyValue::new("gen_ai.token.type", kind);
            self.tokens.record(tokens, &[labels, &[kind]].concat());
        }
    }
}

impl NewNames {
    fn on(meter: &Meter) -> NewNames {
        let tokens = |kind: &str| {
            let name = format!("gen_ai.client.inference.usage.{kind}");
            meter.u64_counter(name).with_unit("{token}").build()
        };
        NewNames {
            took: seconds(meter, "gen_ai.client.inference.duration"),
            first: seconds(meter, "gen_ai.client.inference.time_to_first_chunk"),
            input: tokens("input_tokens"),
            output: tokens("output_tokens"),
            cached: tokens("cache_read.input_tokens"),
            written: tokens("cache_write.input_tokens"),
            reasoning: tokens("reasoning.output_tokens"),
        }
    }

    /// Sound is told apart where the provider does so. Pictures are not: they are among what nobody knows better.
    fn used(&self, used: &Usage, labels: &[KeyValue]) {
        let sound = used.audio_input.saturating_add(used.cached_audio);
        let written = used.cache_write.saturating_add(used.cache_write_long);
        for (counter, tokens, sound) in [
            (&self.input, used.input_total(), sound),
            (&self.output, used.output, used.audio_output),
            (&self.cached, used.cached, used.cached_audio),
            (&self.written, written, 0),
            (&self.reasoning, used.reasoning, 0),
        ] {
            let rest = tokens.saturating_sub(sound);
            for (modality, tokens) in [("unknown", rest), ("audio", sound)] {
                if tokens > 0 {
                    let modality = KeyValue::new("gen_ai.token.modality", modality);
                    counter.add(tokens, &[labels, &[modality]].concat());
                }
            }
        }
    }
}

fn seconds(meter: &Meter, name: &'static str) -> Histogram<f64> {
    let histogram = meter.f64_histogram(name).with_unit("s");
    histogram.with_boundaries(ANSWER_SECONDS.to_vec()).build()
}

fn dollars(meter: &Meter, name: &'static str, what: &'static str) -> Counter<f64> {
    let counter = meter.f64_counter(name).with_unit("USD");
    counter.with_description(what).build()
}

/// Sends what was measured. The SDK's thread waits for it.
struct Exporter {
    post: Arc<Post>,
    url: String,
    runtime: Handle,
}

impl PushMetricExporter for Exporter {
    /// What is not taken now is in what is sent next, since these are sums from the start on.
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let body = ExportMetricsServiceRequest::from(metrics).encode_to_vec();
        let (post, url) = (Arc::clone(&self.post), self.url.clone());
        let sent = self
            .runtime
            .spawn(async move { post.send(&url, Bytes::from(body)).await.is_ok() });
        match sent.await {
            Ok(true) => Ok(()),
            _ => Err(OTelSdkError::InternalFailure("not taken".to_owned())),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}
