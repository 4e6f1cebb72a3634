//! A scripted OpenTelemetry collector, and what it got as one can look at it.

use crate::scripted::{Seen, Step, Upstream, answer};
use crate::until::until;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use serde_json::{Map, Value, json};

/// The collector.
pub struct Collector {
    pub server: Upstream,
}

/// A span.
#[derive(Clone, Debug)]
pub struct Shown {
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub state: String,
    pub kind: &'static str,
    pub failed: bool,
    pub starts: u64,
    pub ends: u64,
    pub attributes: Map<String, Value>,
}

impl Collector {
    /// One that takes everything.
    pub async fn start() -> Collector {
        Collector::that(answer(200, "")).await
    }

    /// One that answers so.
    pub async fn that(answers: Vec<Step>) -> Collector {
        Collector {
            server: Upstream::start(answers).await,
        }
    }

    /// The configuration that names it.
    pub fn table(&self, more: &str) -> String {
        format!("\n[otlp]\nendpoint = \"{}\"\n{more}\n", self.server.url())
    }

    fn posts(&self, path: &str) -> Vec<Seen> {
        let all = self.server.seen().into_iter();
        all.filter(|seen| seen.head.starts_with(&format!("POST {path} ")))
            .collect()
    }

    fn traces(&self) -> Vec<ExportTraceServiceRequest> {
        let posts = self.posts("/v1/traces").into_iter();
        posts
            .map(|seen| {
                assert_eq!(
                    seen.header("content-type").as_deref(),
                    Some("application/x-protobuf")
                );
                Message::decode(&seen.bytes[..]).expect("a request")
            })
            .collect()
    }

    /// Every span that was sent, in this order.
    pub fn spans(&self) -> Vec<Shown> {
        let all = self.traces().into_iter().flat_map(|t| t.resource_spans);
        let all = all.flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        all.map(shown).collect()
    }

    pub async fn has_spans(&self, least: usize) {
        let what = format!("{least} spans reach the collector");
        until(&what, || self.spans().len() >= least).await;
    }

    /// What exports are of.
    pub fn resources(&self) -> Vec<Map<String, Value>> {
        let traces = self.traces().into_iter().flat_map(|t| t.resource_spans);
        let traces = traces.filter_map(|r| r.resource);
        let metrics = self.metrics().into_iter().flat_map(|m| m.resource_metrics);
        let metrics = metrics.filter_map(|r| r.resource);
        let all = traces.chain(metrics);
        all.map(|r| attributes(r.attributes)).collect()
    }

    fn metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        let posts = self.posts("/v1/metrics").into_iter();
        posts
            .map(|seen| Message::decode(&seen.bytes[..]).expect("a request"))
            .collect()
    }

    pub fn has_metrics(&self) -> bool {
        !self.metrics().is_empty()
    }

    /// The last export of every metric.
    fn last(&self) -> Vec<Metric> {
        let last = self.metrics().pop().unwrap_or_default();
        let scopes = last.resource_metrics.into_iter();
        let scopes = scopes.flat_map(|r| r.scope_metrics);
        scopes.flat_map(|s| s.metrics).collect()
    }

    fn metric(&self, name: &str) -> Option<Metric> {
        self.last().into_iter().find(|m| m.name == name)
    }

    /// How many measurements a histogram has.
    pub fn count(&self, name: &str) -> u64 {
        match self.metric(name).and_then(|m| m.data) {
            Some(Data::Histogram(h)) => h.data_points.iter().map(|p| p.count).sum(),
            _ => 0,
        }
    }

    /// What a counter has come to.
    pub fn sum(&self, name: &str) -> f64 {
        let Some(Data::Sum(sum)) = self.metric(name).and_then(|m| m.data) else {
            panic!("{name} is no counter")
        };
        assert!(sum.is_monotonic);
        let number = |value| match value {
            Some(Number::AsDouble(number)) => number,
            Some(Number::AsInt(number)) => f64::from(i32::try_from(number).expect("small")),
            None => 0.0,
        };
        sum.data_points.iter().map(|p| number(p.value)).sum()
    }

    pub fn unit(&self, name: &str) -> String {
        self.metric(name).unwrap_or_default().unit
    }

    /// The labels of a histogram's first series.
    pub fn labels(&self, name: &str) -> Map<String, Value> {
        match self.metric(name).and_then(|m| m.data) {
            Some(Data::Histogram(h)) => attributes(h.data_points[0].attributes.clone()),
            _ => panic!("{name} is no histogram"),
        }
    }

    /// Every label of every series.
    pub fn all_labels(&self) -> Vec<String> {
        let labels = |metric: Metric| -> Vec<Vec<KeyValue>> {
            match metric.data {
                Some(Data::Histogram(h)) => {
                    h.data_points.into_iter().map(|p| p.attributes).collect()
                }
                Some(Data::Sum(s)) => s.data_points.into_iter().map(|p| p.attributes).collect(),
                _ => Vec::new(),
            }
        };
        let all = self.last().into_iter().flat_map(labels).flatten();
        all.map(|label| format!("{label:?}")).collect()
    }
}

fn shown(span: Span) -> Shown {
    Shown {
        kind: match span.kind() {
            SpanKind::Server => "server",
            SpanKind::Client => "client",
            _ => "other",
        },
        failed: span
            .status
            .as_ref()
            .is_some_and(|s| s.code() == StatusCode::Error),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state,
        starts: span.start_time_unix_nano,
        ends: span.end_time_unix_nano,
        attributes: attributes(span.attributes),
        name: span.name,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn attributes(all: Vec<KeyValue>) -> Map<String, Value> {
    let mut seen = Map::new();
    for KeyValue { key, value, .. } in all {
        let value = value.map_or(Value::Null, value_of);
        assert_eq!(seen.insert(key.clone(), value), None, "{key} stands twice");
    }
    seen
}

fn value_of(any: AnyValue) -> Value {
    match any.value {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(flag)) => json!(flag),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::ArrayValue(all)) => all.values.into_iter().map(value_of).collect(),
        _ => Value::Null,
    }
}
