//! The task that exports: it alone turns events into spans and measurements, and it alone waits for the collector. The request path hands
//! it what has ended through a queue and goes on, whether or not there is room.

use super::events::Event;
use super::meters::Meters;
use super::post::{NotTaken, Post};
use super::settings::SCOPE;
use super::spans;
use crate::telemetry::metrics::{Lost, OtlpDropped};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// So many events are looked at in one go; then others have their turn on this thread.
const AT_ONCE: usize = 256;
/// Between two looks. Whoever hands something over while nobody waits for it wakes nobody, which is the dearest part of handing it over.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// So long a span waits for others to go with it.
const GATHERED_FOR: Duration = Duration::from_secs(1);
/// How long to wait after a collector has not taken something: twice as long each time, up to the second.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// What is left at the end of the process has so long to be sent.
const LAST_FOR: Duration = Duration::from_secs(5);

/// Where spans go.
pub(super) struct SpanTerms {
    pub(super) url: String,
    pub(super) resource: Vec<KeyValue>,
    /// Spans that wait at most.
    pub(super) most: usize,
    /// Spans that go at a time.
    pub(super) batch: usize,
}

/// The task's own.
pub(super) struct Export {
    pub(super) events: Receiver<Event>,
    pub(super) post: Arc<Post>,
    pub(super) spans: Option<Spans>,
    pub(super) meters: Option<Meters>,
}

/// Spans that wait for the collector.
pub(super) struct Spans {
    terms: Arc<SpanTerms>,
    dropped: OtlpDropped,
    waiting: VecDeque<Span>,
    /// At most one batch is on its way.
    sending: JoinSet<Sent>,
    on_the_way: usize,
    /// When the next goes.
    next: Option<Instant>,
    wait: Duration,
}

/// A batch that was sent, and what became of it: how many the collector says that it has thrown away.
type Sent = (Vec<Span>, Result<usize, NotTaken>);

impl Export {
    /// Runs until the process ends, or nobody is left who could hand it anything.
    pub(super) async fn run(mut self) {
        let stopped = self.until_stopped().await;
        let meters = self.meters.take().map(Meters::end);
        let last = async {
            if let Some(spans) = &mut self.spans {
                spans.send_all(&self.post).await;
            }
            if let Some(ended) = meters {
                let _ = ended.await;
            }
        };
        let _ = timeout(LAST_FOR, last).await;
        if let Some(spans) = &self.spans {
            let left = spans.waiting.len() + spans.on_the_way;
            spans.dropped.count(Lost::Unreachable, left);
        }
        if let Some(stopped) = stopped {
            let _ = stopped.send(());
        }
    }

    /// Gives who is to be told of the end, if anybody is.
    async fn until_stopped(&mut self) -> Option<oneshot::Sender<()>> {
        let (mut ended, mut next_look) = (Vec::with_capacity(AT_ONCE), Instant::now());
        loop {
            let look = async {
                sleep_until(next_look).await;
                self.events.recv_many(&mut ended, AT_ONCE).await
            };
            let seen = match &mut self.spans {
                None => look.await,
                Some(spans) => tokio::select! {
                    seen = look => seen,
                    () = spans.go_on(&self.post) => continue,
                },
            };
            for event in ended.drain(..) {
                match event {
                    Event::Stop(stopped) => return Some(stopped),
                    event => self.take(&event),
                }
            }
            match seen {
                // Nobody is left who could hand anything over.
                0 => return None,
                AT_ONCE => {}
                _ => next_look = Instant::now() + BETWEEN_LOOKS,
            }
        }
    }

    fn take(&mut self, event: &Event) {
        let span = match event {
            Event::Exchange(ended) => {
                if let Some(meters) = &self.meters {
                    meters.exchange(ended);
                }
                ended.context.sampled.then(|| spans::exchange(ended))
            }
            Event::Attempt(ended) => {
                if let Some(meters) = &self.meters {
                    meters.attempt(ended);
                }
                ended.context.sampled.then(|| spans::attempt(ended))
            }
            Event::Stop(_) => None,
        };
        if let (Some(spans), Some(span)) = (&mut self.spans, span) {
            spans.push(span);
        }
    }
}

impl Spans {
    pub(super) fn new(terms: SpanTerms, dropped: OtlpDropped) -> Spans {
        Spans {
            terms: Arc::new(terms),
            dropped,
            waiting: VecDeque::new(),
            sending: JoinSet::new(),
            on_the_way: 0,
            next: None,
            wait: WAITS[0],
        }
    }

    fn push(&mut self, span: Span) {
        if self.waiting.len() + self.on_the_way >= self.terms.most {
            self.dropped.count(Lost::Full, 1);
            return;
        }
        self.waiting.push_back(span);
        let soon = Instant::now() + GATHERED_FOR;
        let next = self.next.get_or_insert(soon);
        // A batch that is full has nothing to wait for, unless the collector has asked for time.
        if self.waiting.len() >= self.terms.batch && self.wait == WAITS[0] {
            *next = Instant::now();
        }
    }

    /// Waits until something is to be done, and does it: a batch is sent, or it is known what became of one. Nothing is lost where this
    /// is dropped while it waits.
    async fn go_on(&mut self, post: &Arc<Post>) {
        if self.on_the_way > 0 {
            if let Some(sent) = self.sending.join_next().await {
                self.sent(sent.ok());
            }
            return;
        }
        match self.next {
            None => std::future::pending().await,
            Some(next) => sleep_until(next).await,
        }
        self.send(post);
    }

    /// Sends the next batch.
    fn send(&mut self, post: &Arc<Post>) {
        self.next = None;
        let most = self.waiting.len().min(self.terms.batch);
        let batch: Vec<Span> = self.waiting.drain(..most).collect();
        self.on_the_way = batch.len();
        if batch.is_empty() {
            return;
        }
        let (post, terms) = (Arc::clone(post), Arc::clone(&self.terms));
        self.sending
            .spawn(async move { sent(&post, &terms, batch).await });
    }

    /// Takes note of what became of a batch; nothing where its task has panicked.
    fn sent(&mut self, sent: Option<Sent>) {
        let lost = std::mem::take(&mut self.on_the_way);
        let mut wait = Duration::ZERO;
        match sent {
            Some((_, Ok(thrown_away))) => {
                self.dropped.count(Lost::Refused, thrown_away);
                self.wait = WAITS[0];
            }
            Some((batch, Err(NotTaken::Yet(asked)))) => {
                for span in batch.into_iter().rev() {
                    self.waiting.push_front(span);
                }
                wait = asked.unwrap_or(self.wait).clamp(WAITS[0], WAITS[1]);
                self.wait = (self.wait * 2).min(WAITS[1]);
            }
            Some((_, Err(NotTaken::Ever))) | None => self.dropped.count(Lost::Refused, lost),
        }
        if !self.waiting.is_empty() {
            self.next = Some(Instant::now() + wait);
        }
    }

    /// Sends all that waits, as long as it is taken.
    async fn send_all(&mut self, post: &Arc<Post>) {
        loop {
            if self.on_the_way == 0 {
                self.send(post);
            }
            let Some(outcome) = self.sending.join_next().await else {
                return;
            };
            let left = self.waiting.len();
            self.sent(outcome.ok());
            // It has come back.
            if self.waiting.len() > left {
                return;
            }
        }
    }
}

/// Sends a batch. Gives it back, and how many of it the collector says that it has thrown away.
async fn sent(post: &Post, terms: &SpanTerms, batch: Vec<Span>) -> Sent {
    let mut scope = ScopeSpans {
        scope: Some(InstrumentationScope {
            name: SCOPE.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        }),
        spans: batch,
        ..ScopeSpans::default()
    };
    let resource = ResourceSpans {
        resource: Some(Resource {
            attributes: terms.resource.clone(),
            ..Resource::default()
        }),
        ..ResourceSpans::default()
    };
    let mut request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![scope],
            ..resource
        }],
    };
    let body = Bytes::from(request.encode_to_vec());
    let scopes = request.resource_spans.pop();
    scope = scopes
        .and_then(|mut r| r.scope_spans.pop())
        .unwrap_or_default();
    let outcome = post.send(&terms.url, body).await;
    let thrown_away = outcome.map(|answer| {
        let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
        let told = answer.partial_success.unwrap_or_default().rejected_spans;
        let thrown_away = usize::try_from(told).unwrap_or_default();
        if thrown_away > 0 {
            let why = format!("it has thrown away {thrown_away} spans");
            post.tell(&terms.url, &why);
        }
        thrown_away.min(scope.spans.len())
    });
    (scope.spans, thrown_away)
}
