//! Events as spans: one of the server's kind for each exchange, one of the client's kind for each attempt. Names and attributes are those of
//! OpenTelemetry's GenAI conventions where they have one, else `flyball.*`.
//!
//! What an attempt used stands on the attempt alone: whoever sums `gen_ai.usage.*` over all spans must not count it twice.

use super::content;
use super::context::{TraceContext, span_of};
use super::events::{AttemptEnded, ExchangeEnded};
use crate::ledger::record::Outcome;
use crate::telemetry::metrics::{signed_usd, usd};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags, Status};
use std::time::{SystemTime, UNIX_EPOCH};

/// A client's own word for a model may be anything, and of any length.
const NAME_MAX: usize = 128;

/// Attributes in the making.
#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, key: &str, value: Value) {
        self.0.push(key_value(key, value));
    }

    /// A text; what is empty is not there.
    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.add(key, Value::StringValue(text.to_owned()));
        }
    }

    fn whole(&mut self, key: &str, number: u64) {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.add(key, Value::IntValue(number));
    }

    fn number(&mut self, key: &str, number: f64) {
        self.add(key, Value::DoubleValue(number));
    }

    fn flag(&mut self, key: &str, is: bool) {
        self.add(key, Value::BoolValue(is));
    }
}

/// One attribute.
pub(super) fn key_value(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// The span of an exchange.
pub(super) fn exchange(ended: &ExchangeEnded) -> Span {
    let ExchangeEnded {
        context,
        asked,
        told,
        ..
    } = ended;
    let mut a = Attributes::default();
    a.text("http.request.method", asked.method);
    if let Some(status) = told.status {
        a.whole("http.response.status_code", u64::from(status));
    }
    if let Some(client) = asked.client {
        a.text("client.address", &client.ip().to_string());
        a.whole("client.port", u64::from(client.port()));
    }
    a.text("flyball.request_id", &asked.id);
    a.text("flyball.call", asked.call);
    a.text("flyball.dialect", asked.dialect);
    if let Some(decided) = &told.decided {
        a.text("gen_ai.request.model", short(&decided.asked));
        a.text("flyball.rule", &decided.rule);
        a.text("flyball.task", decided.task);
        a.text("flyball.tier", decided.tier.name());
        if let Some(difficulty) = decided.difficulty {
            a.number("flyball.difficulty", difficulty);
        }
    }
    a.whole("flyball.attempts", u64::from(told.attempts));
    if told.attempts > 0 {
        a.text("flyball.model", &told.model);
        a.text("flyball.provider", &told.provider);
        a.number("flyball.cost_usd", usd(told.cost));
        a.number("flyball.baseline_usd", usd(told.baseline));
        a.number("flyball.saved_usd", signed_usd(told.baseline - told.cost));
    }
    let error = ended.error();
    a.text("error.type", error.unwrap_or_default());
    // Whatever is the client's own fault is no fault of this server.
    let failed = error.is_some()
        && told
            .status
            .is_none_or(|status| !(400..500).contains(&status));
    let failed = failed && error != Some(Outcome::ClientGone.name());
    Span {
        parent_span_id: context.parent.map(bytes).unwrap_or_default(),
        flags: flags(context, context.parent.is_some()),
        name: format!("{} {}", asked.method, asked.call),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: nanoseconds(ended.began),
        end_time_unix_nano: nanoseconds(ended.ended),
        attributes: a.0,
        status: Some(status(failed)),
        ..of(context, context.span)
    }
}

/// The span of an attempt.
pub(super) fn attempt(e: &AttemptEnded) -> Span {
    let (o, c) = (&e.opening, &e.closing);
    let mut a = Attributes::default();
    a.text("gen_ai.operation.name", e.operation);
    a.text("gen_ai.provider.name", e.vendor);
    a.text("gen_ai.request.model", &o.model);
    a.text("gen_ai.request.reasoning.level", e.effort.name());
    a.flag("gen_ai.request.stream", e.stream);
    a.text("gen_ai.response.model", short(&e.model));
    if let Some(finish) = &e.finish {
        let reason = AnyValue {
            value: Some(Value::StringValue(short(finish).to_owned())),
        };
        let reasons = ArrayValue {
            values: vec![reason],
        };
        a.add("gen_ai.response.finish_reasons", Value::ArrayValue(reasons));
    }
    if let Some(first) = e.ttft {
        let seconds = first.as_secs_f64();
        a.number("gen_ai.response.time_to_first_chunk", seconds);
    }
    usage(e, &mut a);
    a.text("server.address", &e.host);
    if let Some(port) = e.port {
        a.whole("server.port", u64::from(port));
    }
    if e.status > 0 {
        a.whole("http.response.status_code", u64::from(e.status));
    }
    a.text("flyball.request_id", &o.request);
    a.text("flyball.attempt_id", &o.attempt);
    a.text("flyball.escalated_from", &o.escalated_from);
    a.text("flyball.provider", &o.provider);
    a.text("flyball.rule", &o.rule);
    a.text("flyball.task", &o.task);
    a.text("flyball.tier", o.tier.name());
    a.text("flyball.effort", e.effort.name());
    a.number("flyball.difficulty", thousandths(o.difficulty_milli));
    a.text("flyball.organisation", &o.organisation);
    a.text("flyball.team", &o.team);
    a.flag("flyball.simulated", o.simulated);
    a.text("flyball.outcome", c.outcome.name());
    a.text("flyball.basis", c.basis.name());
    money(e, &mut a);
    if let Some(said) = &e.said {
        a.text(
            "gen_ai.system_instructions",
            said.system.as_deref().unwrap_or_default(),
        );
        a.text("gen_ai.input.messages", &said.messages);
        let finish = e.finish.as_deref().unwrap_or_default();
        let answer = content::answer(&e.answer, short(finish));
        a.text("gen_ai.output.messages", &answer);
    }
    let error = e.error();
    a.text("error.type", error.as_deref().unwrap_or_default());
    Span {
        parent_span_id: bytes(e.context.span),
        flags: flags(&e.context, false),
        name: format!("{} {}", e.operation, o.model),
        kind: SpanKind::Client.into(),
        start_time_unix_nano: nanoseconds(e.began),
        end_time_unix_nano: nanoseconds(e.ended),
        attributes: a.0,
        status: Some(status(error.is_some())),
        ..of(&e.context, span_of(&o.attempt))
    }
}

/// What was used. The parts of input and output that were cached, written to a cache or reasoned are in these, too.
fn usage(e: &AttemptEnded, a: &mut Attributes) {
    let used = &e.closing.usage;
    let written = used.cache_write.saturating_add(used.cache_write_long);
    a.whole("gen_ai.usage.input_tokens", used.input_total());
    a.whole("gen_ai.usage.output_tokens", used.output);
    a.whole("gen_ai.usage.cache_read.input_tokens", used.cached);
    if e.names.new {
        a.whole("gen_ai.usage.cache_write.input_tokens", written);
    }
    if e.names.old {
        a.whole("gen_ai.usage.cache_creation.input_tokens", written);
    }
    a.whole("gen_ai.usage.reasoning.output_tokens", used.reasoning);
}

fn money(e: &AttemptEnded, a: &mut Attributes) {
    let c = &e.closing;
    a.number("flyball.cost_usd", usd(c.cost));
    a.number("flyball.baseline_usd", usd(c.baseline));
    a.number("flyball.saved_usd", signed_usd(c.baseline - c.cost));
    if let Some(cause) = c.cause {
        let key = match cause.is_loss() {
            true => "flyball.lost_by",
            false => "flyball.saved_by",
        };
        a.text(key, cause.name());
    }
}

/// What every span has.
fn of(context: &TraceContext, span: u64) -> Span {
    Span {
        trace_id: context.trace.to_be_bytes().to_vec(),
        span_id: bytes(span),
        trace_state: context.state.clone(),
        ..Span::default()
    }
}

fn bytes(id: u64) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

/// That it is sampled, and whether its parent is in another process.
fn flags(context: &TraceContext, remote: bool) -> u32 {
    let known = [
        SpanFlags::ContextHasIsRemoteMask,
        SpanFlags::ContextIsRemoteMask,
    ];
    let [has, is] = known.map(|flag| u32::try_from(i32::from(flag)).unwrap_or_default());
    u32::from(context.sampled) | has | if remote { is } else { 0 }
}

fn status(failed: bool) -> Status {
    let code = match failed {
        true => StatusCode::Error,
        false => StatusCode::Unset,
    };
    Status {
        code: code.into(),
        ..Status::default()
    }
}

/// Nanoseconds since 1970.
pub(super) fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn thousandths(number: i64) -> f64 {
    i32::try_from(number).map_or(0.0, f64::from) / 1_000.0
}

/// The begin of a name that anybody may have made up.
fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_MAX)]
}
