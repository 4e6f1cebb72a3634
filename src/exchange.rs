//! One request, top to bottom. Whoever reads this file knows the program.
//!
//! accept → authenticate → read the body → decode → measure and grade → decide → for each attempt:
//! reserve → send → relay while metering → settle. All control flow is here; what is called either
//! decides (pure) or does (IO). The only place where an `Error` becomes HTTP.

mod ask;
mod body;
mod bound;
mod count;
mod embed;
mod headers;
mod keep;
mod legacy;
mod models;
mod other;
mod pass;
mod reply;
mod single;
mod translate;

pub use other::describe;

use crate::affinity::{Affinity, Served, Turn};
use crate::caller::{Caller, Callers};
use crate::classify::{self, Difficulty, Features};
use crate::dialect::{self, Dialect, Place, Request as Decoded};
use crate::error::{Error, Kind};
use crate::fleet::Arm;
use crate::ledger::record::Outcome;
use crate::ledger::{Ledger, now};
use crate::limits::Limits;
use crate::relay::{Answer, Passes, Reading, Relay, Terms, bill_headers};
use crate::route::{self, Decision, Policy};
use crate::settle::Settlement;
use crate::telemetry::{Decided, Telemetry};
use crate::upstream::Upstream;
use arc_swap::ArcSwap;
use body::read_body;
use bytes::Bytes;
use headers::Wishes;
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::{Duration, Instant};
use translate::{Said, Translator};

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

/// What a client asks for.
enum Call<'p> {
    /// An answer of a model.
    Complete(Place<'p>),
    /// How many tokens a prompt has.
    Count(Place<'p>),
    /// Embeddings.
    Embed(dialect::embed::Place<'p>),
    /// A completion from before there were chats; the model, where the path names it.
    Legacy(Option<String>),
    /// Files and batches.
    Keep(keep::Place<'p>),
    /// Whatever it is, of a configured provider: its name and the path there.
    Pass(&'p str, &'p str),
    /// What needs no model, or nothing that there is.
    Other,
}

/// A request whose caller is known: what every kind of call begins with.
struct Inbound<'a> {
    state: &'a Arc<State>,
    head: &'a Parts,
    /// The client's own.
    dialect: &'static dyn Dialect,
    caller: Caller,
    /// The request id.
    id: &'a str,
    arrived: Instant,
}

/// Answers one request. Never fails: an error is an answer in the caller's dialect.
pub async fn handle(state: &Arc<State>, request: Request<Incoming>) -> Response<Answer> {
    let arrived = Instant::now();
    let id = uuid::Uuid::now_v7().to_string();
    let (head, body) = request.into_parts();
    let (dialect, call) = headers::asked(&head);
    match serve(state, &head, body, dialect, call, &id, arrived).await {
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
    call: Call<'_>,
    id: &str,
    arrived: Instant,
) -> Result<Response<Answer>, Error> {
    headers::check_origin(head, state.callers.load().open(), state.loopback)?;
    let caller = state
        .callers
        .load()
        .identify(&headers::with_credential(head), now())?;
    let inbound = Inbound {
        state,
        head,
        dialect,
        caller,
        id,
        arrived,
    };
    match (&head.method, call) {
        (&Method::POST, Call::Complete(place)) => complete(&inbound, body, &place).await,
        (&Method::POST, Call::Embed(place)) => embed::embed(&inbound, body, &place).await,
        (&Method::POST, Call::Legacy(model)) => legacy::complete(&inbound, body, model).await,
        (&Method::POST, Call::Count(place)) => count::count(&inbound, body, &place).await,
        (method, Call::Pass(name, rest)) if pass::METHODS.contains(method) => {
            pass::pass(&inbound, body, name, rest).await
        }
        (method, Call::Keep(place)) if pass::METHODS.contains(method) => {
            keep::keep(&inbound, body, place).await
        }
        (method, Call::Pass(..) | Call::Keep(_)) => {
            Err(not_allowed(format!("{method} is not passed on.")))
        }
        (_, Call::Complete(_) | Call::Embed(_) | Call::Count(_) | Call::Legacy(_)) => {
            Err(not_allowed(format!("{} takes POST.", head.uri.path())))
        }
        (&Method::GET | &Method::HEAD, Call::Other) => other::get(&inbound).await,
        (&Method::POST, Call::Other) if models::is_named(&inbound) => {
            let body = read_body(&inbound, body).await?;
            models::named(&inbound, &body)
        }
        (_, Call::Other) => Err(Error::new(
            Kind::NotFound,
            format!("flyball has no {}.", head.uri.path()),
        )),
    }
}

fn not_allowed(public: String) -> Error {
    Error::new(Kind::MethodNotAllowed, public)
}

/// One completion: from the client's bytes to the provider's.
async fn complete(
    inbound: &Inbound<'_>,
    body: Incoming,
    place: &Place<'_>,
) -> Result<Response<Answer>, Error> {
    let Inbound {
        state,
        dialect,
        caller,
        ..
    } = inbound;
    let body = read_body(inbound, body).await?;
    let read = inbound.arrived.elapsed();
    let policy = state.policy.load_full();
    let mut wishes = headers::wishes(inbound.head, caller)?;
    let tags = caller.counted_tags(&wishes.tags)?;
    let request = dialect.decode_at(&body, place)?;
    let translator = Translator::new(*dialect, &request, &policy.may_drop);

    let features = classify::measure(&request.prompt);
    let difficulty = classify::grade(&features, policy.overlay.as_deref());
    let turn = state
        .affinity
        .turn(caller.name(), wishes.session.as_deref(), &request.prompt);
    let mut full = None;
    loop {
        let decision = decide(
            inbound,
            &policy,
            &request,
            &translator,
            &wishes,
            &tags,
            turn,
            &features,
            &difficulty,
        );
        // Where no local model can take it, the full cap is the reason.
        let decision = decision.map_err(|none| full.take().unwrap_or(none))?;
        state.telemetry.decided(&Decided {
            rule: &decision.rule,
            task: difficulty.task.name(),
            tier: decision.attempts[0].model.tier,
        });
        let exchange = Exchange {
            inbound,
            policy: &policy,
            body: &body,
            request: &request,
            translator: &translator,
            input_estimate: features.prompt_tokens_estimate,
            place,
            read,
            difficulty,
            wishes: &wishes,
            tags: &tags,
            decision: &decision,
        };
        match exchange.attempts(turn).await {
            Err(LocalInstead(refusal)) if full.is_none() && !wishes.private => {
                full = Some(refusal);
                wishes.private = true;
            }
            Err(LocalInstead(refusal)) => return Err(refusal),
            Ok(answer) => return answer,
        }
    }
}

/// A cap without room says that the request may still go to a local model; this is the refusal if there is none.
struct LocalInstead(Error);

#[allow(
    clippy::too_many_arguments,
    reason = "the one place where everything that a decision needs comes together"
)]
fn decide(
    inbound: &Inbound<'_>,
    policy: &Policy,
    request: &Decoded<'_>,
    translator: &Translator<'_>,
    wishes: &Wishes,
    tags: &[(String, String)],
    turn: Turn,
    features: &Features,
    difficulty: &Difficulty,
) -> Result<Decision, Error> {
    let Inbound {
        state,
        head,
        caller,
        ..
    } = inbound;
    let served = state.affinity.served(turn);
    let asked = route::Asked {
        dialect: inbound.dialect.name(),
        sayable: &|provider| translator.sayable(provider),
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
        cap_used: cap_used(state, policy, caller, wishes, tags),
        tags: &wishes.tags,
        header: &|name| head.headers.get(name).and_then(|v| v.to_str().ok()),
        key: caller.key.as_ref().map(|k| k.name.as_str()),
        served: served
            .as_ref()
            .map(|s| (s.model.as_str(), s.effort, s.rule.as_str())),
    };
    route::decide(policy, &asked, difficulty, features)
}

/// How full the fullest cap is, where a rule asks for it.
fn cap_used(
    state: &State,
    policy: &Policy,
    caller: &Caller,
    wishes: &Wishes,
    tags: &[(String, String)],
) -> u64 {
    if policy.rules.iter().all(|r| r.when.cap_used.is_none()) {
        return 0;
    }
    let dims = ask::dims(policy, caller, wishes, tags, None);
    state.ledger.fullest(&dims)
}

/// Everything that the attempts of one exchange share.
struct Exchange<'a> {
    inbound: &'a Inbound<'a>,
    policy: &'a Policy,
    body: &'a Bytes,
    request: &'a Decoded<'a>,
    translator: &'a Translator<'a>,
    input_estimate: u64,
    place: &'a Place<'a>,
    read: Duration,
    difficulty: Difficulty,
    wishes: &'a Wishes,
    tags: &'a [(String, String)],
    decision: &'a Decision,
}

/// How an attempt failed.
enum Attempted {
    /// The exchange is over.
    Final(Result<Response<Answer>, Error>),
    /// Another arm may be tried; this is the answer if there is none.
    MayFallBack(Result<Response<Answer>, Error>),
    /// A cap has no room, and says that a local model may answer instead.
    LocalInstead(Error),
}

impl Exchange<'_> {
    /// One arm after the other until one answers.
    async fn attempts(&self, turn: Turn) -> Result<Result<Response<Answer>, Error>, LocalInstead> {
        let mut failed = None;
        for arm in &self.decision.attempts {
            match self.attempt(arm).await {
                Ok(answer) => {
                    self.remember(arm, turn);
                    return Ok(Ok(answer));
                }
                Err(Attempted::Final(outcome)) => return Ok(outcome),
                Err(Attempted::LocalInstead(refusal)) => return Err(LocalInstead(refusal)),
                Err(Attempted::MayFallBack(answer)) => failed = failed.or(Some(answer)),
            }
        }
        Ok(failed.unwrap_or_else(|| Err(Error::new(Kind::Internal, "no arm was tried"))))
    }

    fn remember(&self, arm: &Arm, turn: Turn) {
        if self.decision.untouched {
            return;
        }
        let served = Served {
            model: arm.model.name.clone(),
            effort: arm.effort_or(self.request.effort),
            rule: self.decision.rule.clone(),
        };
        self.inbound.state.affinity.remember(turn, served);
    }

    /// One attempt on one arm, with a reservation of its own.
    async fn attempt(&self, arm: &Arm) -> Result<Response<Answer>, Attempted> {
        let (state, arrived) = (self.inbound.state, self.inbound.arrived);
        let decided = arrived.elapsed();
        let translated = translate::translated(self, arm).map_err(final_error)?;
        let said = Said::new(self, translated.as_ref()).map_err(final_error)?;
        let mut plan = ask::plan(self, arm, &said).map_err(unplanned)?;
        if let Some(translated) = &translated {
            plan.lost.clone_from(&translated.lost);
            let (from, to) = (self.inbound.dialect.name(), said.dialect.name());
            state.telemetry.dropped(from, to, translated.lost.len());
        }
        let mut job = plan.job(self, arm, &said);
        let cause = ask::Cause {
            request: self.inbound.id,
            rule: &self.decision.rule,
            task: self.difficulty.task.name(),
            difficulty: Some(self.difficulty.difficulty),
        };
        let (policy, wishes, caller) = (self.policy, self.wishes, &self.inbound.caller);
        let facts = ask::facts(policy, caller, wishes, self.tags, &job, &cause);
        let reservation = ask::reserve(self, arm, &plan, &said, facts).await?;
        let limit = plan.limit_to_send(reservation.tokens());
        let out = plan.body(self, arm, &said, limit);
        let reserved = arrived.elapsed();
        // A lowered limit may have lowered the effort.
        job.effort = plan.effort;
        job.phases = vec![
            ("read", self.read),
            ("decide", decided - self.read),
            ("reserve", reserved - decided),
        ];
        let mut settlement = Settlement::new(job, reservation, state.telemetry.clone());

        let provider = &arm.model.provider;
        let address = provider.endpoint(said.dialect.name(), &arm.model.name, said.request.stream);
        let Some(url) = address else {
            settlement.void(Outcome::NotSent);
            return Err(final_error(Error::new(
                Kind::Internal,
                "the chosen model does not speak this dialect",
            )));
        };
        settlement.sending();
        let headers = headers::outgoing(self.inbound.head, provider, &url, said.words());
        match state.upstream.send(&url, headers, out).await {
            Ok(answer) => {
                self.relay(arm, &plan, &said, limit, answer, settlement)
                    .await
            }
            Err(failure) => {
                let telemetry = &state.telemetry;
                telemetry.upstream_error(&provider.name, &failure.error);
                let unanswered = reply::unanswered(failure, settlement);
                Err(Attempted::MayFallBack(Err(unanswered)))
            }
        }
    }

    /// The provider answers: on to the client.
    async fn relay(
        &self,
        arm: &Arm,
        plan: &ask::Plan,
        said: &Said<'_>,
        limit: Option<u64>,
        answer: Response<Incoming>,
        mut settlement: Settlement,
    ) -> Result<Response<Answer>, Attempted> {
        let (mut head, body) = answer.into_parts();
        settlement.status(head.status.as_u16());
        settlement.tier(headers::service_tier(&head.headers));
        headers::returned(&mut head.headers);
        headers::decided(&mut head.headers, self, arm, plan, limit);
        if !head.status.is_success() {
            return Err(self.passed_on(arm, said, head, body, settlement).await);
        }
        let rule = arm.model.provider.kind.usage;
        if headers::is_event_stream(&head.headers) {
            let decoder = said.dialect.stream(rule);
            let passes = self.passes(arm, plan, said, &mut head.headers);
            let reading = Reading::Events { decoder, passes };
            return Ok(self.streamed(head, body, None, reading, settlement, &arm.model.name));
        }
        let most = match said.translated {
            true => reply::TRANSLATED_MAX,
            false => reply::HELD_MAX,
        };
        match reply::read_up_to(body, most, self.inbound.state.limits.total).await {
            reply::Held::Whole(bytes) => {
                settlement.arrived();
                let answer = said.dialect.answer(&bytes, rule);
                translate::remember(self, arm, &answer);
                let bill = settlement.answered(&answer);
                head.headers
                    .extend(bill.map(bill_headers).unwrap_or_default());
                if !said.translated {
                    return Ok(Response::from_parts(head, Answer::whole(bytes)));
                }
                if answer.is_unread() {
                    let why = "the model's server answered in a form that cannot be translated";
                    return Err(final_error(Error::new(Kind::UpstreamFailed, why)));
                }
                if let Some(fault) = answer.error {
                    return Err(final_error(fault.error()));
                }
                let frame = translate::frame(self, said, arm);
                Ok(reply::translated(
                    head,
                    self.inbound.dialect,
                    self.request.stream,
                    answer,
                    frame,
                ))
            }
            reply::Held::Longer(..) if said.translated => {
                settlement.unknown(Outcome::StreamCut);
                Err(final_error(Error::new(
                    Kind::UpstreamFailed,
                    "the model's answer is too long to be translated; ask for a stream",
                )))
            }
            reply::Held::Longer(first, rest) => {
                let dialect = said.dialect;
                let reading = Reading::Json {
                    kept: Some(first.to_vec()),
                    read: Box::new(move |bytes| dialect.answer(bytes, rule)),
                };
                Ok(self.streamed(
                    head,
                    rest,
                    Some(first),
                    reading,
                    settlement,
                    &arm.model.name,
                ))
            }
            reply::Held::Broken(error) => {
                settlement.unknown(Outcome::StreamCut);
                Err(final_error(error))
            }
        }
    }

    /// What of the provider's stream goes on to the client.
    fn passes(
        &self,
        arm: &Arm,
        plan: &ask::Plan,
        said: &Said<'_>,
        head: &mut http::HeaderMap,
    ) -> Passes {
        if said.translated {
            headers::set_type(head, self.inbound.dialect.stream_type(self.place.array));
            let frame = translate::frame(self, said, arm);
            return Passes::Translated(self.inbound.dialect.stream_writer(frame));
        }
        let hide = plan
            .usage_added
            .then(|| said.dialect.hide_usage())
            .flatten();
        let filter = hide.or_else(|| {
            let filter = said.dialect.reframe(self.place)?;
            headers::set_type(head, said.dialect.stream_type(self.place.array));
            Some(filter)
        });
        filter.map_or(Passes::Untouched, Passes::Filtered)
    }

    fn streamed(
        &self,
        mut head: http::response::Parts,
        body: Incoming,
        first: Option<Bytes>,
        reading: Reading,
        mut settlement: Settlement,
        model: &str,
    ) -> Response<Answer> {
        if matches!(reading, Reading::Events { .. }) {
            settlement.streaming();
        }
        let wants_trailers = headers::wants_trailers(self.inbound.head);
        if wants_trailers {
            headers::announce_trailers(&mut head.headers);
        }
        let terms = Terms {
            limits: &self.inbound.state.limits,
            dialect: self.inbound.dialect,
            request: self.inbound.id.to_owned(),
            wants_trailers,
            makers: self.inbound.state.affinity.makers().clone(),
            model: model.to_owned(),
        };
        let relay = Relay::new(body, first, reading, settlement, terms);
        Response::from_parts(head, Answer::Relayed(Box::new(relay)))
    }

    /// A provider's own error goes on as it is.
    async fn passed_on(
        &self,
        arm: &Arm,
        said: &Said<'_>,
        head: http::response::Parts,
        body: Incoming,
        settlement: Settlement,
    ) -> Attempted {
        let status = head.status.as_u16();
        let provider = &arm.model.provider;
        let refused =
            reply::refused_upstream(self.inbound.state, provider, &head, body, settlement);
        let bytes = match refused.await {
            Ok(bytes) => bytes,
            Err(error) if head.status.is_redirection() => {
                return Attempted::MayFallBack(Err(error));
            }
            Err(error) => return final_error(error),
        };
        let answer = Ok(match said.translated {
            true => reply::error_of(head, &bytes, self.inbound.dialect, self.inbound.id),
            false => Response::from_parts(head, Answer::whole(bytes)),
        });
        // A request that one provider finds wrong is wrong for the next one too.
        if matches!(status, 400 | 413 | 415 | 422) {
            Attempted::Final(answer)
        } else {
            Attempted::MayFallBack(answer)
        }
    }
}

/// Another arm may take the place of a frozen model, and of one for which a picture has no bound.
fn unplanned(error: Error) -> Attempted {
    match error.code {
        Some("flyball_frozen" | "flyball_unbounded") => Attempted::MayFallBack(Err(error)),
        _ => final_error(error),
    }
}

fn final_error(error: Error) -> Attempted {
    Attempted::Final(Err(error))
}
