//! OpenTelemetry, where configuration switches it on: traces and metrics to a collector, as OTLP over HTTP.
//!
//! The request path says what it knows of an exchange to its [`Trace`], which is nothing at all where this is off. What has ended goes
//! through a queue of bounded length to one task, which never holds the path up: what does not fit is dropped and counted.

mod content;
mod context;
mod events;
mod export;
mod meters;
mod post;
mod settings;
mod spans;

pub use content::SaidToModel;
pub use context::Share;
pub use settings::{Names, Settings};

use super::metrics::{Labels, Lost, OtlpDropped};
use super::{AttemptClosed, Decided, kind_name};
use crate::chat::Prompt;
use crate::chat::answer::Finish;
use crate::error::Error;
use crate::ledger::record::{Cause, Outcome};
use crate::pattern::like;
use crate::provider::Provider;
use crate::provider::channel::Channel;
use crate::unix;
use crate::upstream::Upstream;
use context::{TraceContext, span_of};
use events::{Asked, AttemptEnded, DecidedHere, Event, ExchangeEnded, ExchangeNotes};
use export::{Export, SpanTerms, Spans};
use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode, Uri};
use meters::{MeterTerms, Meters};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use post::Post;
use secrecy::ExposeSecret;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};

/// What has ended and is not looked at yet. The task never waits for anybody else, so that this many are there only where the machine is
/// overwhelmed.
const EVENTS_MAX: usize = 4096;
/// Spans that go at a time: about half a megabyte, as many collectors take no more than a few.
const BATCH: usize = 512;
/// The same where prompts and answers are in them: up to 32 KB each.
const BATCH_WITH_CONTENT: usize = 64;
/// The end of the process waits no longer for the last export.
const STOPS_WITHIN: Duration = Duration::from_secs(6);

/// Who exports.
#[derive(Debug)]
pub(super) struct Otlp {
    line: Arc<Line>,
}

/// What every exchange needs to hand over what it knows.
#[derive(Debug)]
struct Line {
    queue: mpsc::Sender<Event>,
    dropped: OtlpDropped,
    traces: bool,
    share: Share,
    content: bool,
    propagate: Vec<String>,
    names: Names,
}

/// A request that has arrived.
pub struct Arrived<'a> {
    /// Its id.
    pub id: &'a str,
    /// When it arrived.
    pub at: Instant,
    /// The address from which it came, where that has one.
    pub client: Option<SocketAddr>,
    /// Its method.
    pub method: &'a Method,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The kind of call.
    pub call: &'static str,
    /// The client's dialect.
    pub dialect: &'static str,
}

/// An exchange as traces see it; nothing where nothing is exported. Its span ends with the last of its clones: whoever answers has one, and
/// each attempt that is not settled.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Arc<ExchangeSpan>>);

#[derive(Debug)]
struct ExchangeSpan {
    line: Arc<Line>,
    context: TraceContext,
    asked: Asked,
    arrived: Instant,
    began: SystemTime,
    told: Mutex<ExchangeNotes>,
    /// It is told by another one.
    silent: bool,
}

/// What a span says of an attempt beside what log and metrics do.
#[derive(Clone, Copy, Debug)]
pub struct Traced<'a> {
    /// The exchange that it is in.
    pub trace: &'a Trace,
    /// To whom it was sent.
    pub provider: &'a Provider,
    /// On which channel of that.
    pub channel: &'a Channel,
    /// `gen_ai.operation.name`.
    pub operation: &'static str,
    /// The model that answered, as it calls itself.
    pub model: Option<&'a str>,
    /// Why the answer ended.
    pub finish: Option<&'a Finish>,
    /// What was said to it, where that may be sent.
    pub said: Option<&'a SaidToModel>,
    /// What it answered.
    pub answer: &'a str,
}

/// `server.address`, which for a unix socket is its path.
fn host(at: &Uri) -> String {
    let host = at.host().unwrap_or_default();
    let socket = (at.scheme_str() == Some(unix::SCHEME)).then(|| unix::socket(host));
    match socket.flatten() {
        Some(path) => path.display().to_string(),
        None => host.to_owned(),
    }
}

impl Otlp {
    /// Begins to export. Must be called within a runtime.
    pub(super) fn start(settings: &Settings, upstream: Upstream, dropped: OtlpDropped) -> Otlp {
        let (queue, events) = mpsc::channel(EVENTS_MAX);
        let post = Arc::new(Post::new(upstream, head(settings)));
        let spans = settings
            .traces
            .then(|| Spans::new(span_terms(settings), dropped.clone()));
        let meters = settings.metrics.then(|| {
            let terms = MeterTerms {
                url: format!("{}/v1/metrics", settings.endpoint),
                resource: settings.resource.clone(),
                names: settings.names,
                interval: settings.interval,
            };
            Meters::start(Arc::clone(&post), terms)
        });
        let export = Export {
            events,
            post,
            spans,
            meters,
        };
        tokio::spawn(export.run());
        Otlp {
            line: Arc::new(Line {
                queue,
                dropped,
                traces: settings.traces,
                share: settings.sample,
                content: settings.content,
                propagate: settings.propagate.clone(),
                names: settings.names,
            }),
        }
    }

    /// An exchange begins.
    pub(super) fn exchange(&self, arrived: &Arrived<'_>) -> Trace {
        let Arrived {
            id,
            at,
            client,
            method,
            headers,
            call,
            dialect,
        } = *arrived;
        let mut context = TraceContext::of(headers, id, self.line.share);
        context.sampled &= self.line.traces;
        let began = SystemTime::now().checked_sub(at.elapsed());
        Trace(Some(Arc::new(ExchangeSpan {
            line: Arc::clone(&self.line),
            context,
            asked: Asked {
                id: id.to_owned(),
                client,
                method: method_name(method),
                call,
                dialect,
            },
            arrived: at,
            began: began.unwrap_or_else(SystemTime::now),
            told: Mutex::default(),
            silent: false,
        })))
    }

    /// An attempt has ended.
    pub(super) fn attempt(&self, e: &AttemptClosed<'_>, labels: Labels) {
        let Some((traced, exchange)) = e.traced.and_then(|t| Some((t, t.trace.0.as_ref()?))) else {
            return;
        };
        exchange.told().attempt(e);
        let at = traced.channel.base_url.parse::<Uri>().unwrap_or_default();
        let ended = AttemptEnded {
            context: exchange.context.clone(),
            opening: e.opening.clone(),
            closing: e.closing.clone(),
            effort: e.effort,
            stream: e.stream,
            status: e.status,
            ttft: e.ttft,
            began: exchange.began + e.added,
            ended: exchange.began + e.total,
            took: e.total.saturating_sub(e.added),
            operation: traced.operation,
            vendor: traced.provider.kind.gen_ai,
            host: host(&at),
            port: at.port_u16(),
            model: traced.model.unwrap_or_default().to_owned(),
            finish: traced.finish.map(finish_name),
            said: traced.said.cloned().map(Box::new),
            answer: match traced.said {
                Some(_) => traced.answer.to_owned(),
                None => String::new(),
            },
            names: self.line.names,
            labels,
        };
        let sampled = ended.context.sampled;
        self.line.hand(Event::Attempt(Box::new(ended)), sampled);
    }

    /// Sends what there is, and ends. Waits for that, but not for long.
    pub(super) async fn stop(&self) {
        let (stopped, wait) = oneshot::channel();
        let stop = async {
            if self.line.queue.send(Event::Stop(stopped)).await.is_ok() {
                let _ = wait.await;
            }
        };
        let _ = tokio::time::timeout(STOPS_WITHIN, stop).await;
    }
}

/// What every export has in its head.
fn head(settings: &Settings) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, secret) in &settings.headers {
        if let Ok(mut value) = HeaderValue::from_str(secret.expose_secret()) {
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
    }
    headers
}

fn span_terms(settings: &Settings) -> SpanTerms {
    let resource = settings.resource.iter();
    let resource = resource.map(|(k, v)| spans::key_value(k, Value::StringValue(v.clone())));
    SpanTerms {
        url: format!("{}/v1/traces", settings.endpoint),
        resource: resource.collect(),
        most: settings.queue,
        batch: match settings.content {
            true => BATCH_WITH_CONTENT,
            false => BATCH,
        },
    }
}

impl Line {
    /// Hands over what has ended. Never waits.
    fn hand(&self, event: Event, sampled: bool) {
        if self.queue.try_send(event).is_err() && sampled {
            self.dropped.count(Lost::Full, 1);
        }
    }
}

impl Trace {
    /// Somebody wants to know what becomes of the exchange.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// It was decided who may answer. `asked`: the model, as the client calls it.
    pub fn decided(&self, e: &Decided<'_>) {
        if let Some(exchange) = &self.0 {
            exchange.told().decided = Some(DecidedHere {
                asked: e.asked.to_owned(),
                rule: e.rule.to_owned(),
                task: e.task,
                tier: e.tier,
                difficulty: e.noted.map(|noted| noted.difficulty),
            });
        }
    }

    /// It was refused.
    pub fn refused(&self, error: &Error) {
        if let Some(exchange) = &self.0 {
            let mut told = exchange.told();
            told.refused = Some(kind_name(error.kind));
            told.status = Some(error.status());
            told.took = Some(exchange.arrived.elapsed());
        }
    }

    /// It was answered; `whole`: nothing of the answer is still to come.
    pub fn answered(&self, status: StatusCode, whole: bool) {
        if let Some(exchange) = &self.0 {
            let mut told = exchange.told();
            told.status = Some(status.as_u16());
            told.took = whole.then(|| exchange.arrived.elapsed());
        }
    }

    /// What is said to a model, where that may be sent; `None` where nobody has asked for it. Not for what is confidential.
    #[must_use]
    pub fn said(&self, prompt: &Prompt<'_>) -> Option<Box<SaidToModel>> {
        let exchange = self.0.as_ref()?;
        let sent = exchange.line.content && exchange.context.sampled;
        sent.then(|| Box::new(SaidToModel::of(prompt)))
    }

    /// Says in the head of a request to this provider which span it belongs to, where configuration says so of it. Any other provider gets
    /// what the client has said, and nothing else.
    pub fn write(&self, provider: &str, attempt: &str, headers: &mut HeaderMap) {
        let Some(exchange) = &self.0 else { return };
        let line = &exchange.line;
        if line.traces && line.propagate.iter().any(|p| like(p, provider)) {
            exchange.context.write(span_of(attempt), headers);
        }
    }

    /// The same for an attempt that may go on long after the exchange has ended.
    #[must_use]
    pub fn outlived(&self) -> Trace {
        Trace(self.0.as_ref().map(|exchange| {
            Arc::new(ExchangeSpan {
                line: Arc::clone(&exchange.line),
                context: exchange.context.clone(),
                asked: exchange.asked.clone(),
                arrived: exchange.arrived,
                began: exchange.began,
                told: Mutex::default(),
                silent: true,
            })
        }))
    }
}

impl ExchangeSpan {
    fn told(&self) -> MutexGuard<'_, ExchangeNotes> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ExchangeSpan {
    /// The exchange has ended: nobody will say anything more of it.
    fn drop(&mut self) {
        if self.silent {
            return;
        }
        let told = std::mem::take(&mut *self.told());
        let took = told.took.or(told.last);
        let took = took.unwrap_or_else(|| self.arrived.elapsed());
        let ended = ExchangeEnded {
            context: std::mem::take(&mut self.context),
            asked: std::mem::take(&mut self.asked),
            told,
            began: self.began,
            ended: self.began + took,
            took,
        };
        let sampled = ended.context.sampled;
        self.line.hand(Event::Exchange(Box::new(ended)), sampled);
    }
}

impl ExchangeNotes {
    /// An attempt has ended. One whose answer nobody gets, or that comes after a good one, says nothing of how the exchange ends.
    fn attempt(&mut self, e: &AttemptClosed<'_>) {
        self.attempts += 1;
        self.cost += e.closing.cost;
        self.baseline += e.closing.baseline;
        self.last = self.last.max(Some(e.total));
        let outcome = e.closing.outcome;
        let aside = outcome == Outcome::Escalated || e.closing.cause == Some(Cause::Check);
        let good = matches!(self.outcome, Some(Outcome::Ok | Outcome::Length));
        if !(aside || good) {
            self.outcome = Some(outcome);
            self.model.clone_from(&e.opening.model);
            self.provider.clone_from(&e.opening.provider);
        }
    }
}

/// The methods that HTTP has; clients can make up others.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

/// As the conventions call it.
fn finish_name(finish: &Finish) -> String {
    match finish {
        Finish::Stop | Finish::StopText(_) => "stop",
        Finish::Length => "length",
        Finish::Calls => "tool_call",
        Finish::Filtered | Finish::Refused => "content_filter",
        Finish::Other(word) => word,
    }
    .to_owned()
}
