//! One request, top to bottom. Whoever reads this file knows the program.
//!
//! accept → authenticate → read the body → decode → measure and grade → decide → for each attempt:
//! reserve → send → relay while metering → settle. All control flow is here; what is called either
//! decides (pure) or does (IO). The only place where an `Error` becomes HTTP.

mod ask;
mod headers;
mod other;
mod reply;

pub use other::describe;

use crate::affinity::{Affinity, Served, Turn};
use crate::caller::{Caller, Callers};
use crate::classify::{self, Difficulty, Features};
use crate::dialect::{Dialect, Request as Decoded};
use crate::error::{Error, Kind};
use crate::ledger::{Ledger, now};
use crate::limits::Limits;
use crate::relay::{Answer, Reading, Relay, Terms, bill_headers};
use crate::route::{self, Arm, Decision, Policy};
use crate::settle::{self, Settlement};
use crate::telemetry::{Decided, Telemetry};
use crate::upstream::{Failure, Upstream};
use arc_swap::ArcSwap;
use bytes::Bytes;
use headers::Wishes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What every exchange works with.
pub struct State {
    /// The books.
    pub ledger: Arc<Ledger>,
    /// The way out.
    pub upstream: Upstream,
    /// Log and metrics.
    pub telemetry: Arc<Telemetry>,
    /// Who may call.
    pub callers: ArcSwap<Callers>,
    /// Which arm serves which turn.
    pub affinity: Affinity,
    /// What decisions are made from; replaced as a whole on reload.
    pub policy: ArcSwap<Policy>,
    /// Sizes and deadlines.
    pub limits: Limits,
    /// The traffic listener is loopback.
    pub loopback: bool,
    /// Alive as long as anything is unsettled.
    pub alive: Arc<()>,
}

/// Answers one request. Never fails: an error is an answer in the caller's dialect.
pub async fn handle(state: &Arc<State>, request: Request<Incoming>) -> Response<Answer> {
    let arrived = Instant::now();
    let id = uuid::Uuid::now_v7().to_string();
    let (head, body) = request.into_parts();
    let dialect = headers::dialect_of(&head);
    match serve(state, &head, body, dialect, &id, arrived).await {
        Ok(answer) => reply::identified(answer, &id),
        Err(error) => {
            state.telemetry.refused(&reply::refused(&error, &id));
            reply::identified(reply::error(&error, dialect, &id), &id)
        }
    }
}

async fn serve(
    state: &Arc<State>,
    head: &Parts,
    body: Incoming,
    dialect: &'static dyn Dialect,
    id: &str,
    arrived: Instant,
) -> Result<Response<Answer>, Error> {
    headers::check_origin(head, state.callers.load().open(), state.loopback)?;
    let caller = state.callers.load().identify(&head.headers, now())?;
    match (&head.method, head.uri.path()) {
        (&Method::POST, path) if path == dialect.path() => {
            complete(state, head, body, dialect, caller, id, arrived).await
        }
        (_, path) if path == dialect.path() => Err(Error::new(
            Kind::MethodNotAllowed,
            format!("{path} takes POST."),
        )),
        (&Method::GET, _) => other::get(state, head, &caller).await,
        (_, path) => Err(Error::new(
            Kind::NotFound,
            format!("flyball has no {path}."),
        )),
    }
}

/// One completion: from the client's bytes to the provider's.
async fn complete(
    state: &Arc<State>,
    head: &Parts,
    body: Incoming,
    dialect: &'static dyn Dialect,
    caller: Caller,
    id: &str,
    arrived: Instant,
) -> Result<Response<Answer>, Error> {
    let body = read_body(&state.limits, head, body).await?;
    let read = arrived.elapsed();
    let policy = state.policy.load_full();
    let wishes = headers::wishes(head, &caller)?;
    let request = dialect.decode(&body)?;

    let features = classify::measure(&request.prompt);
    let difficulty = classify::grade(&features);
    let turn = state
        .affinity
        .turn(caller.name(), wishes.session.as_deref(), &request.prompt);
    let decision = decide(
        state,
        &policy,
        head,
        &caller,
        &request,
        &wishes,
        turn,
        &features,
        &difficulty,
    )?;
    state.telemetry.decided(&Decided {
        rule: &decision.rule,
        task: difficulty.task.name(),
        tier: decision.attempts[0].model.tier,
    });

    let exchange = Exchange {
        state,
        policy: &policy,
        head,
        body: &body,
        request: &request,
        dialect,
        caller: &caller,
        id,
        arrived,
        read,
        difficulty,
        wishes: &wishes,
        decision: &decision,
    };
    let mut failed = None;
    for arm in &decision.attempts {
        match exchange.attempt(arm).await {
            Ok(answer) => {
                if !decision.untouched {
                    let effort = arm.effort_or(request.effort);
                    state.affinity.remember(
                        turn,
                        Served {
                            model: arm.model.name.clone(),
                            effort,
                            rule: decision.rule.clone(),
                        },
                    );
                }
                return Ok(answer);
            }
            Err(Attempted::Final(outcome)) => return outcome,
            Err(Attempted::MayFallBack(answer)) => failed = failed.or(Some(answer)),
        }
    }
    failed.unwrap_or_else(|| Err(Error::new(Kind::Internal, "no arm was tried")))
}

#[allow(
    clippy::too_many_arguments,
    reason = "the one place where everything that a decision needs comes together"
)]
fn decide(
    state: &State,
    policy: &Policy,
    head: &Parts,
    caller: &Caller,
    request: &Decoded<'_>,
    wishes: &Wishes,
    turn: Turn,
    features: &Features,
    difficulty: &Difficulty,
) -> Result<Decision, Error> {
    let served = state.affinity.served(turn);
    let asked = route::Asked {
        dialect: request_dialect(head),
        model: &request.model,
        effort: wishes
            .effort
            .or_else(|| request.effort.filter(|_| request.model.starts_with("auto"))),
        body_effort: request.effort,
        objective: wishes.objective,
        private: wishes.private,
        may_use: &|model| caller.may_use(model),
        limit: request.limit.map(|l| l.tokens),
        tools: request.prompt.tools > 0,
        structured: request.prompt.structured,
        images: headers::has_images(&request.prompt),
        turns: request.prompt.turns.len(),
        tags: &wishes.tags,
        header: &|name| head.headers.get(name).and_then(|v| v.to_str().ok()),
        key: caller.key.as_ref().map(|k| k.name.as_str()),
        served: served
            .as_ref()
            .map(|s| (s.model.as_str(), s.effort, s.rule.as_str())),
    };
    route::decide(policy, &asked, difficulty, features)
}

fn request_dialect(head: &Parts) -> &'static str {
    headers::dialect_of(head).name()
}

async fn read_body(limits: &Limits, head: &Parts, body: Incoming) -> Result<Bytes, Error> {
    headers::check_body(head, limits.body_bytes_max)?;
    let limited = http_body_util::Limited::new(body, limits.body_bytes_max);
    match tokio::time::timeout(limits.client_body, limited.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(e)) if e.is::<http_body_util::LengthLimitError>() => {
            Err(headers::too_large(limits.body_bytes_max))
        }
        Ok(Err(e)) => {
            Err(Error::new(Kind::BadRequest, "The request's body broke off.").detail(e.to_string()))
        }
        Err(_) => Err(Error::new(
            Kind::ClientTimeout,
            "The request's body did not arrive in time.",
        )),
    }
}

/// Everything that the attempts of one exchange share.
struct Exchange<'a> {
    state: &'a Arc<State>,
    policy: &'a Policy,
    head: &'a Parts,
    body: &'a Bytes,
    request: &'a Decoded<'a>,
    dialect: &'static dyn Dialect,
    caller: &'a Caller,
    id: &'a str,
    arrived: Instant,
    read: Duration,
    difficulty: Difficulty,
    wishes: &'a Wishes,
    decision: &'a Decision,
}

/// How an attempt failed.
enum Attempted {
    /// The exchange is over.
    Final(Result<Response<Answer>, Error>),
    /// Another arm may be tried; this is the answer if there is none.
    MayFallBack(Result<Response<Answer>, Error>),
}

impl Exchange<'_> {
    /// One attempt on one arm, with a reservation of its own.
    async fn attempt(&self, arm: &Arm) -> Result<Response<Answer>, Attempted> {
        let decided = self.arrived.elapsed();
        let mut plan = ask::plan(self, arm).map_err(final_error)?;
        let attempt = uuid::Uuid::now_v7().to_string();
        let job = plan.job(self, arm, attempt.clone());
        let facts = settle::facts(
            &job,
            self.caller.key.as_ref().map(|k| k.id),
            ask::milli(self.difficulty.difficulty),
            &self.policy.catalogue.version,
        );

        let reservation = ask::reserve(self, arm, &plan, facts)
            .await
            .map_err(final_error)?;
        let limit = plan.limit_to_send(reservation.tokens());
        let out = plan.body(self, arm, limit);
        let reserved = self.arrived.elapsed();
        let mut job = plan.job(self, arm, attempt);
        job.phases = vec![
            ("read", self.read),
            ("decide", decided - self.read),
            ("reserve", reserved - decided),
        ];
        let mut settlement = Settlement::new(job, reservation, self.state.telemetry.clone());

        let Some(url) = arm.model.provider.endpoint(self.dialect.name()) else {
            settlement.void("not_sent");
            return Err(final_error(Error::new(
                Kind::Internal,
                "the chosen model does not speak this dialect",
            )));
        };
        settlement.sending();
        match self
            .state
            .upstream
            .send(&url, headers::outgoing(self.head, arm), out)
            .await
        {
            Ok(answer) => self.relay(arm, &plan, limit, answer, settlement).await,
            Err(failure) => {
                self.state
                    .telemetry
                    .upstream_error(&arm.model.provider.name, &failure.error);
                Err(Attempted::MayFallBack(Err(settle_failure(
                    failure, settlement,
                ))))
            }
        }
    }

    /// The provider answers: on to the client.
    async fn relay(
        &self,
        arm: &Arm,
        plan: &ask::Plan,
        limit: Option<u64>,
        answer: Response<Incoming>,
        mut settlement: Settlement,
    ) -> Result<Response<Answer>, Attempted> {
        let (mut head, body) = answer.into_parts();
        settlement.status(head.status.as_u16());
        headers::returned(&mut head.headers);
        headers::decided(&mut head.headers, self, arm, plan, limit);
        if !head.status.is_success() {
            return Err(self.passed_on(arm, head, body, settlement).await);
        }
        if headers::is_event_stream(&head.headers) {
            let decoder = self.dialect.stream(arm.model.provider.kind.usage);
            let filter = if plan.usage_added {
                self.dialect.hide_usage()
            } else {
                None
            };
            return Ok(self.streamed(
                head,
                body,
                None,
                Reading::Events { decoder, filter },
                settlement,
            ));
        }
        match reply::read_up_to(body, reply::HELD_MAX, self.state.limits.total).await {
            reply::Held::Whole(bytes) => {
                let bill =
                    settlement.answered(self.dialect.answer(&bytes, arm.model.provider.kind.usage));
                head.headers
                    .extend(bill.map(bill_headers).unwrap_or_default());
                Ok(Response::from_parts(head, Answer::whole(bytes)))
            }
            reply::Held::Longer(first, rest) => {
                let reading = Reading::Json {
                    kept: Some(first.to_vec()),
                    rule: arm.model.provider.kind.usage,
                };
                Ok(self.streamed(head, rest, Some(first), reading, settlement))
            }
            reply::Held::Broken(error) => {
                settlement.unknown("stream_cut");
                Err(final_error(error))
            }
        }
    }

    fn streamed(
        &self,
        mut head: http::response::Parts,
        body: Incoming,
        first: Option<Bytes>,
        reading: Reading,
        settlement: Settlement,
    ) -> Response<Answer> {
        let wants_trailers = headers::wants_trailers(self.head);
        if wants_trailers {
            headers::announce_trailers(&mut head.headers);
        }
        let terms = Terms {
            limits: &self.state.limits,
            dialect: self.dialect,
            request: self.id.to_owned(),
            wants_trailers,
        };
        let relay = Relay::new(body, first, reading, settlement, terms);
        Response::from_parts(head, Answer::Relayed(Box::new(relay)))
    }

    /// A provider's own error goes on as it is, without our keys in it.
    async fn passed_on(
        &self,
        arm: &Arm,
        head: http::response::Parts,
        body: Incoming,
        settlement: Settlement,
    ) -> Attempted {
        let status = head.status.as_u16();
        let held = reply::read_up_to(body, reply::HELD_MAX, self.state.limits.idle).await;
        // Only these answers mean that no work was done (reliability: A3); after any other the outcome is unknown.
        if matches!(status, 400 | 401 | 403 | 404 | 405 | 413 | 415 | 422 | 429) {
            settlement.void("refused_upstream");
        } else {
            settlement.unknown("upstream_error");
        }
        self.state
            .telemetry
            .upstream_status(&arm.model.provider.name, status);
        let bytes = match held {
            reply::Held::Whole(bytes) => reply::redacted(bytes, &arm.model.provider),
            reply::Held::Longer(..) => {
                return final_error(Error::new(
                    Kind::UpstreamFailed,
                    "the provider's error is too long to pass on",
                ));
            }
            reply::Held::Broken(error) => return final_error(error),
        };
        let answer = Ok(Response::from_parts(head, Answer::whole(bytes)));
        // A request that one provider finds wrong is wrong for the next one too.
        if matches!(status, 400 | 413 | 415 | 422) {
            Attempted::Final(answer)
        } else {
            Attempted::MayFallBack(answer)
        }
    }
}

fn final_error(error: Error) -> Attempted {
    Attempted::Final(Err(error))
}

fn settle_failure(failure: Failure, settlement: Settlement) -> Error {
    if failure.not_sent {
        settlement.void("not_sent");
    } else if failure.error.kind == Kind::UpstreamTimeout {
        settlement.unknown("upstream_timeout");
    } else {
        settlement.unknown("upstream_error");
    }
    failure.error
}
