//! One request, top to bottom. Whoever reads this file knows the program.
//!
//! accept → authenticate → read the body → decode → measure and grade → decide → for each attempt:
//! reserve → send → relay while metering → settle. All control flow is here, and it is the same for every kind of call: each makes a
//! [`work::Work`], which says which arms may serve it, what each is told, what that costs at most and how its answer is read. What is
//! called either decides (pure) or does (IO). The only place where an `Error` becomes HTTP.

pub mod admission;
mod body;
mod bound;
pub mod completion;
mod count;
mod embeddings;
mod files_batches;
mod legacy;
mod lookup;
mod models;
mod origin;
mod outgoing;
mod passthrough;
mod reply;
mod returned;
mod router;
mod status;
mod wishes;
mod work;

pub use lookup::describe;
pub use origin::check_head;

use crate::affinity::Affinity;
use crate::caller::Callers;
use crate::classify::Plain;
use crate::counting;
use crate::dialect::{Answer as Read, Dialect, Place};
use crate::error::{Error, Kind, Retry};
use crate::fleet::Arm;
use crate::ledger::balance::Requirement;
use crate::ledger::record::{Opening, Outcome};
use crate::ledger::{Ledger, Refused, Reservation, cap::AtCap, now};
use crate::limits::Limits;
use crate::relay::{self, AnswerBody, Reading, Relay, RelayTerms, Watch, bill_headers};
use crate::route::Policy;
use crate::settle::{Around, Settlement};
use crate::telemetry::Telemetry;
use crate::upstream::{Begins, Coding, Failure, In, Upstream};
use admission::{Admission, Inbound};
use arc_swap::ArcSwap;
use bound::Bound;
use bytes::Bytes;
use completion::{Completion, TurnSoFar};
use count::CountCall;
use embeddings::Embeddings;
use files_batches::Keeping;
use http::header::{CONNECTION, CONTENT_ENCODING};
use http::request::Parts;
use http::response::Parts as Head;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::{Body, Incoming};
use passthrough::Passthrough;
use router::CallKind;
use status::Next;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use work::{Booked, Hold, Longer, Order, Reply, Unserved, Way, Wording, Work};

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
    /// Turns true when what is still open must end, since the process does.
    pub closing: watch::Receiver<bool>,
}

/// Answers one request. Never fails: an error is an answer in the caller's dialect.
pub async fn handle(state: &Arc<State>, request: Request<Incoming>) -> Response<AnswerBody> {
    let arrived = Instant::now();
    let id = uuid::Uuid::now_v7().to_string();
    let (head, body) = request.into_parts();
    let (dialect, call) = router::asked(&head);
    let misread = origin::check_head(head.version, &head.headers).err();
    let answered = async {
        if let Some(error) = misread.clone() {
            return Err(error);
        }
        let inbound = inbound(state, &head, dialect, &id, arrived)?;
        serve(state, inbound, call?, body).await
    };
    match answered.await {
        Ok(answer) => reply::identified(answer, &id),
        Err(error) => {
            state.telemetry.refused(&reply::refused(&error, &id));
            let mut answer = reply::error(&error, dialect, &id);
            if misread.is_some() {
                // Where a next request would begin on this connection is not sure.
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            reply::identified(answer, &id)
        }
    }
}

/// Who asks, and what holds at this moment.
fn inbound<'a>(
    state: &'a State,
    head: &'a Parts,
    dialect: &'static dyn Dialect,
    id: &'a str,
    arrived: Instant,
) -> Result<Inbound<'a>, Error> {
    let callers = state.callers.load();
    origin::check_origin(head, callers.open(), state.loopback)?;
    Ok(Inbound {
        caller: callers.identify(&origin::with_credential(head), now())?,
        head,
        dialect,
        id,
        arrived,
        policy: state.policy.load_full(),
        limits: &state.limits,
        books: &*state.ledger,
        makers: state.affinity.makers(),
        items: state.affinity.items(),
        warmth: state.affinity.warmth(),
        habits: state.affinity.habits(),
    })
}

/// Each kind of call makes its work, which then takes the one path.
async fn serve(
    state: &Arc<State>,
    inbound: Inbound<'_>,
    call: CallKind<'_>,
    body: Incoming,
) -> Reply {
    let head = inbound.head;
    let whole = |body| body::read_body(head, body, &state.limits);
    match call {
        CallKind::Look => lookup::get(&inbound, &state.ledger).await,
        CallKind::Describe => models::named(&inbound, &whole(body).await?),
        CallKind::Complete(place) => {
            let body = whole(body).await?;
            let admission = Admission::new(inbound)?;
            Exchange::of(state, &admission)
                .complete(&body, &place)
                .await
        }
        CallKind::Embed(place) => {
            let body = whole(body).await?;
            let admission = Admission::new(inbound)?;
            let exchange = Exchange::of(state, &admission);
            let work = Embeddings::read(&admission, &body, &place)?;
            exchange.run(&work).await
        }
        CallKind::Legacy(model) => {
            let body = whole(body).await?;
            let admission = Admission::new(inbound)?;
            let exchange = Exchange::of(state, &admission);
            exchange.run(&legacy::call(&admission, body, model)?).await
        }
        CallKind::Pass(name, rest) => {
            let provider = passthrough::provider(&inbound.policy, &inbound.caller, name)?;
            passthrough::check_path(rest)?;
            let body = whole(body).await?;
            let admission = Admission::new(inbound)?;
            let exchange = Exchange::of(state, &admission);
            let work = Passthrough::to(&admission, provider, rest, body)?;
            exchange.run(&work).await
        }
        CallKind::Keep(place) => {
            let admission = Admission::keeping(inbound)?;
            let exchange = Exchange::of(state, &admission);
            exchange.run(&Keeping::new(&admission, body, place)?).await
        }
        CallKind::Count(place) => {
            let body = whole(body).await?;
            let admission = Admission::uncounted(inbound)?;
            let exchange = Exchange::of(state, &admission);
            exchange
                .count(&CountCall::read(
                    &admission,
                    &exchange.recalled(&body),
                    &place,
                )?)
                .await
        }
    }
}

/// One request that is let in, and what it works with.
struct Exchange<'a> {
    state: &'a Arc<State>,
    admission: &'a Admission<'a>,
    /// How long it took until its body was here.
    read: Duration,
    /// An attempt has failed for which somebody may be billed.
    billed: AtomicBool,
}

impl<'a> Exchange<'a> {
    fn of(state: &'a Arc<State>, admission: &'a Admission<'a>) -> Exchange<'a> {
        Exchange {
            state,
            admission,
            read: admission.arrived.elapsed(),
            billed: AtomicBool::new(false),
        }
    }

    /// The request with what it names of flyball's own earlier answers in it.
    fn recalled(&self, body: &Bytes) -> Bytes {
        let Admission {
            caller,
            items,
            dialect,
            ..
        } = self.admission;
        let known = |id: &str| items.of(caller.name(), id);
        let recalled = dialect.recall(body, &known);
        recalled.unwrap_or_else(|| body.clone())
    }

    /// A completion: graded, decided, and sent to the arms in the order of the decision.
    async fn complete(&self, body: &Bytes, place: &Place<'_>) -> Reply {
        let body = &self.recalled(body);
        let completion = Completion::read(self.admission, body, place)?;
        let (affinity, caller) = (&self.state.affinity, self.admission.caller.name());
        // What an app asks for behind its user's back is no part of the user's turn: it takes no arm from it and gives it none.
        let turn = (completion.features.plain != Some(Plain::Chore)).then(|| {
            let turn = affinity.turn(caller, completion.session(), &completion.request.prompt);
            TurnSoFar {
                turn,
                serving: affinity.served(turn),
                before: affinity.served_before(turn),
            }
        });
        let routed = completion.decide(turn)?;
        self.run(&routed).await
    }

    /// A count: the provider's own where it comes in time, else one made here.
    async fn count(&self, count: &CountCall<'_>) -> Reply {
        let told = tokio::time::timeout(count::PATIENCE, self.run(count)).await;
        match told {
            Ok(Ok(answer)) if count.is_told(&answer) => Ok(answer),
            _ => Ok(count.here().await),
        }
    }

    /// Runs it. An SDK tries again whatever ends in a 5xx, twice: what may have been billed must not be billed three times.
    async fn run(&self, work: &dyn Work) -> Reply {
        let outcome = self.one_by_one(work).await;
        if !self.billed.load(Ordering::Relaxed) {
            return outcome;
        }
        match outcome {
            Ok(mut answer) if answer.status().is_server_error() => {
                let advice = answer.headers_mut().entry("x-should-retry");
                advice.or_insert(HeaderValue::from_static("false"));
                Ok(answer)
            }
            Ok(answer) => Ok(answer),
            Err(error) => Err(error.retry(Retry::Never)),
        }
    }

    /// Somebody may be billed for what has failed.
    fn may_be_billed(&self) {
        self.billed.store(true, Ordering::Relaxed);
    }

    /// One arm after the other until one answers.
    async fn one_by_one(&self, work: &dyn Work) -> Reply {
        if let Some(decided) = work.decided() {
            self.state.telemetry.decided(&decided);
        }
        let mut failed = None;
        for arm in work.arms() {
            let attempt = self.attempt(work, arm).await;
            match attempt.map_err(|failed| failed.of(arm)) {
                Ok(answer) => {
                    if let Some((turn, served)) = work.remembers(arm) {
                        self.state.affinity.remember(turn, served);
                    }
                    return Ok(answer);
                }
                Err(Unserved::Final(reply)) => return *reply,
                Err(Unserved::NextArm(reply)) => failed = failed.or(Some(*reply)),
                Err(Unserved::LocalInstead(refusal)) => {
                    return match work.on_local_models() {
                        Some(local) => Box::pin(self.run(&*local)).await,
                        None => Err(refusal),
                    };
                }
            }
        }
        failed.unwrap_or_else(|| Err(Error::new(Kind::Internal, "no arm was tried")))
    }

    /// One attempt on one arm, with a reservation of its own.
    async fn attempt(&self, work: &dyn Work, arm: &Arm) -> Result<Response<AnswerBody>, Unserved> {
        let (state, arrived) = (self.state, self.admission.arrived);
        let decided = arrived.elapsed();
        let told = work.told(arm)?;
        let mut order = work.order(arm, &told)?;
        if told.translated {
            let (from, to) = (self.admission.dialect.name(), told.dialect.name());
            state.telemetry.dropped(from, to, told.lost.len());
        }
        let reservation = match order.bound() {
            Some(bound) => Some(self.reserve(bound, order.opening()).await?),
            None => None,
        };
        let granted = reservation.as_ref().map_or(0, Reservation::tokens);
        let outgoing = order.outgoing(granted);
        let phases = vec![
            ("read", self.read),
            ("decide", decided.saturating_sub(self.read)),
            ("reserve", arrived.elapsed().saturating_sub(decided)),
        ];
        let mut capped = false;
        let mut settlement = match reservation {
            Some(reservation) => {
                let job = order.job();
                capped = job.capped;
                let around = Around {
                    telemetry: Arc::clone(&state.telemetry),
                    arrived,
                    phases,
                    alive: Arc::clone(&state.alive),
                };
                Settlement::new(job, around, reservation)
            }
            None => Settlement::unbooked(),
        };
        let outgoing = match outgoing {
            Ok(outgoing) => outgoing,
            Err(defect) => {
                settlement.void(Outcome::NotSent);
                return Err(Unserved::error(defect));
            }
        };
        let provider = &arm.model.provider;
        let words = outgoing::Addressing {
            translated: told.translated.then_some(told.dialect),
            bodiless: outgoing.bodiless,
        };
        let mut headers = outgoing::headers(self.admission.head, provider, &outgoing.url, words);
        if let Some((name, value)) = outgoing.header {
            headers.insert(name, value);
        }
        settlement.sending();
        let sent = Sent {
            arm,
            told: &told,
            begins: outgoing.begins,
            works: outgoing.method == Method::POST,
            capped,
            at: Instant::now(),
        };
        let body = (outgoing.body, outgoing.begins);
        let answer = state
            .upstream
            .call(outgoing.method, &outgoing.url, headers, body);
        let answer = tokio::select! {
            answer = answer => answer,
            () = relay::closed(state.closing.clone()) => {
                return Err(self.cut_off(&sent, settlement));
            }
        };
        match answer {
            Ok(answer) => self.answered(&sent, &mut *order, answer, settlement).await,
            Err(failure) => Err(self.unanswered(&sent, failure, settlement)),
        }
    }

    /// Reserves the bound. What is known roughly is counted exactly before it refuses a request or lowers its limit, unless no count
    /// could change the refusal: an exact count takes up to a second.
    async fn reserve(&self, bound: Bound, opening: Opening) -> Result<Reservation, Unserved> {
        let (ledger, most) = (&self.state.ledger, self.admission.wishes.max_cost);
        let patience = self.admission.policy.cap_wait;
        let mut ask = bound.rough;
        if let Some(exact) = bound.exact {
            let whole = Requirement {
                tokens_min: ask.tokens,
                ..ask
            };
            let mut least = bound.least.into_iter().map(|find| find());
            match bound::held_to_cost(whole, most) {
                Ok(whole) => match ledger.reserve(whole, opening.clone(), Duration::ZERO).await {
                    Ok(reservation) => return Ok(reservation),
                    Err(Refused::Full(full)) => {
                        if least.any(|least| bound::is_hopeless(&full, least)) {
                            let refused = Refused::Full(bound::as_known(full, ask));
                            return Err(self.refusal(&refused, bound.why_much));
                        }
                    }
                    Err(refused) => return Err(self.refusal(&refused, bound.why_much)),
                },
                Err(error) => {
                    if least.any(|least| bound::held_to_cost(least, most).is_err()) {
                        return Err(Unserved::error(error.also(bound.why_much)));
                    }
                }
            }
            ask = counting::now(exact).await.unwrap_or(ask);
        }
        let ask = bound::held_to_cost(ask, most)
            .map_err(|error| Unserved::error(error.also(bound.why_much)))?;
        let reserved = ledger.reserve(ask, opening, patience).await;
        reserved.map_err(|refused| self.refusal(&refused, bound.why_much))
    }

    /// What a refusal leads to: a local model where the cap says so, another arm where the cap is on this one only.
    fn refusal(&self, refused: &Refused, why_much: Option<&'static str>) -> Unserved {
        let caller = &self.admission.caller;
        let error = refused.error(now(), &|counter| caller.called(counter));
        let Refused::Full(full) = refused else {
            return Unserved::error(error);
        };
        let error = error.also(why_much);
        let scope = &full.counter.scope;
        let telemetry = &self.state.telemetry;
        telemetry.cap_refused(scope.class(), full.only_reserved());
        if full.at_cap == AtCap::Local {
            Unserved::LocalInstead(error)
        } else if scope.by_arm() {
            Unserved::next(Err(error))
        } else {
            Unserved::error(error)
        }
    }

    /// The process ends before the answer has come.
    fn cut_off(&self, sent: &Sent<'_>, settlement: Settlement) -> Unserved {
        settlement.unknown(Outcome::StreamCut);
        if sent.works {
            self.may_be_billed();
        }
        Unserved::error(Error::new(Kind::Overloaded, relay::STOPPING))
    }

    /// No answer came.
    fn unanswered(&self, sent: &Sent<'_>, failure: Failure, settlement: Settlement) -> Unserved {
        let Failure { error, not_sent } = failure;
        // The client's own fault, and never a whole request to the provider.
        if matches!(error.kind, Kind::TooLarge | Kind::ClientTimeout) {
            settlement.void(Outcome::NotSent);
            return Unserved::error(error);
        }
        let provider = &sent.arm.model.provider;
        self.state.telemetry.upstream_error(&provider.name, &error);
        if sent.works && !not_sent {
            self.may_be_billed();
        }
        let timeout = error.kind == Kind::UpstreamTimeout;
        match error.kind {
            _ if not_sent => settlement.void(Outcome::NotSent),
            Kind::UpstreamTimeout => settlement.unknown(Outcome::UpstreamTimeout),
            _ => settlement.unknown(Outcome::UpstreamError),
        }
        // A whole answer has had all the time that there is, and most likely was being made: no other arm makes it once more.
        match timeout && sent.begins == Begins::AtItsEnd {
            true => Unserved::error(error),
            false => Unserved::next(Err(error)),
        }
    }

    /// The provider answers: on to the client.
    async fn answered(
        &self,
        sent: &Sent<'_>,
        order: &mut dyn Order,
        answer: Response<In>,
        mut settlement: Settlement,
    ) -> Result<Response<AnswerBody>, Unserved> {
        let (mut head, body) = answer.into_parts();
        settlement.status(head.status.as_u16());
        settlement.tier(returned::service_tier(&head.headers));
        returned::clean(&mut head.headers);
        order.announce(&mut head.headers);
        if !head.status.is_success() {
            return Err(self.refused(sent, head, body, settlement).await);
        }
        let coding = returned::coding(&head.headers);
        match order.reading(&mut head, body.is_end_stream()) {
            Way::Empty => {
                let _ = settlement.passed(&Read::default(), true);
                Ok(Response::from_parts(head, AnswerBody::whole("")))
            }
            Way::Relayed(reading) => {
                let flow = Flow {
                    first: None,
                    rest: body,
                    reading,
                    coding,
                };
                Ok(self.relayed(sent, head, flow, settlement))
            }
            Way::Held(hold) => {
                let held = tokio::select! {
                    held = reply::read_up_to(body, hold.bytes_max, self.time_left(sent)) => held,
                    () = relay::closed(self.state.closing.clone()) => {
                        return Err(self.cut_off(sent, settlement));
                    }
                };
                if !matches!(held, reply::HeldAnswer::Whole(_)) && sent.works {
                    self.may_be_billed();
                }
                let held = (hold, held, coding);
                self.held(sent, order, head, held, settlement)
            }
        }
    }

    /// An answer that was held back until it is whole, or too long for that.
    fn held(
        &self,
        sent: &Sent<'_>,
        order: &dyn Order,
        mut head: Head,
        (hold, held, coding): (Hold, reply::HeldAnswer, Option<Coding>),
        mut settlement: Settlement,
    ) -> Result<Response<AnswerBody>, Unserved> {
        match held {
            reply::HeldAnswer::Whole(mut bytes) => {
                let plain = coding.and_then(|coding| coding.unpack(&bytes, reply::UNPACKED_MAX));
                let answer = (hold.read)(plain.as_ref().unwrap_or(&bytes));
                // What is only metered goes on as it came where the client can read that; what is changed on its way is plain.
                let changed = sent.told.translated || hold.books == Booked::Passed;
                let asked = &self.admission.head.headers;
                let kept = coding.is_some_and(|coding| returned::accepts(asked, coding));
                if let Some(plain) = plain.filter(|_| changed || !kept) {
                    head.headers.remove(CONTENT_ENCODING);
                    bytes = plain;
                }
                let bill = match hold.books {
                    Booked::Passed => settlement.passed(&answer, true),
                    Booked::Answered => {
                        settlement.arrived();
                        self.remember_makers(sent.arm, &answer);
                        settlement.answered(&answer)
                    }
                };
                head.headers
                    .extend(bill.map(bill_headers).unwrap_or_default());
                order.answer(head, bytes, answer).map_err(|error| {
                    // The answer was made, and cannot be said.
                    self.may_be_billed();
                    Unserved::error(error)
                })
            }
            reply::HeldAnswer::Longer(first, rest) => {
                let kept = Some(first.to_vec());
                let read = hold.read;
                let reading = match (hold.longer, hold.books) {
                    (Longer::Refused(why), _) => {
                        settlement.unknown(Outcome::StreamCut);
                        return Err(Unserved::error(Error::new(Kind::UpstreamFailed, why)));
                    }
                    (Longer::Unread, _) => Reading::Passed(Watch::Nothing),
                    (Longer::Relayed, Booked::Passed) => {
                        Reading::Passed(Watch::Whole { kept, read })
                    }
                    (Longer::Relayed, Booked::Answered) => Reading::Json { kept, read },
                };
                let flow = Flow {
                    first: Some(first),
                    rest,
                    reading,
                    coding,
                };
                Ok(self.relayed(sent, head, flow, settlement))
            }
            reply::HeldAnswer::Broken(error) => {
                settlement.unknown(Outcome::StreamCut);
                Err(Unserved::error(error))
            }
        }
    }

    /// Who made the sealed reasoning of a whole answer: no other model must be sent it.
    fn remember_makers(&self, arm: &Arm, answer: &Read) {
        for state in answer.sealed() {
            self.admission.makers.remember(state, &arm.model.name);
        }
    }

    /// An answer that goes on as it comes.
    fn relayed(
        &self,
        sent: &Sent<'_>,
        mut head: Head,
        flow: Flow,
        mut settlement: Settlement,
    ) -> Response<AnswerBody> {
        let flow = flow.unpacked(&mut head.headers);
        if flow.reading.is_stream() {
            settlement.streaming();
        }
        let wants_trailers = returned::wants_trailers(self.admission.head);
        if wants_trailers {
            returned::announce_trailers(&mut head.headers);
        }
        let terms = RelayTerms {
            limits: &self.state.limits,
            total: self.time_left(sent),
            dialect: self.admission.dialect,
            request: self.admission.id.to_owned(),
            wants_trailers,
            closing: self.state.closing.clone(),
            makers: self.admission.makers.clone(),
            model: sent.arm.model.name.clone(),
        };
        let relay = Relay::new(flow.rest, flow.first, flow.reading, settlement, terms);
        Response::from_parts(head, AnswerBody::Relayed(Box::new(relay)))
    }

    /// How long the answer may still take: a whole one since it was asked for, a stream since it has begun.
    fn time_left(&self, sent: &Sent<'_>) -> Duration {
        let total = self.state.limits.total;
        match sent.begins {
            Begins::AtOnce => total,
            Begins::AtItsEnd => total.saturating_sub(sent.at.elapsed()),
        }
    }

    /// The provider refuses; its own words go on, without our keys in them.
    async fn refused(
        &self,
        sent: &Sent<'_>,
        mut head: Head,
        body: In,
        settlement: Settlement,
    ) -> Unserved {
        let meaning = status::meaning(head.status);
        let next = |outcome| match meaning.next {
            Next::End => Unserved::last(outcome),
            Next::OtherArm => Unserved::next(outcome),
        };
        if meaning.no_answer {
            settlement.void(Outcome::RefusedUpstream);
            return next(Err(reply::no_answer(&head)));
        }
        let held = reply::read_up_to(body, reply::HELD_MAX, self.state.limits.idle).await;
        let held = unpacked(&mut head, held);
        let said = match &held {
            reply::HeldAnswer::Whole(bytes) => Some(&bytes[..]),
            reply::HeldAnswer::Longer(..) | reply::HeldAnswer::Broken(_) => None,
        };
        match meaning.charge.is_bound(said) {
            false => settlement.void(Outcome::RefusedUpstream),
            true => {
                // Without a cap it is left to the provider and its SDK, which know whether it bills its own failures.
                if sent.capped {
                    self.may_be_billed();
                }
                settlement.unknown(Outcome::UpstreamError);
            }
        }
        let provider = &sent.arm.model.provider;
        let status = head.status.as_u16();
        self.state.telemetry.upstream_status(&provider.name, status);
        let bytes = match held {
            reply::HeldAnswer::Whole(bytes) => reply::redacted(bytes, provider),
            reply::HeldAnswer::Broken(error) => return next(Err(error)),
            reply::HeldAnswer::Longer(..) => {
                let why = "the provider's error is too long to pass on";
                return next(Err(Error::new(Kind::UpstreamFailed, why)));
            }
        };
        let (dialect, id) = (self.admission.dialect, self.admission.id);
        next(Ok(match sent.told.translated {
            true => reply::error_of(head, &bytes, dialect, id),
            false => Response::from_parts(head, AnswerBody::whole(bytes)),
        }))
    }
}

/// A refusal's body as it reads, should it have come packed.
fn unpacked(head: &mut Head, held: reply::HeldAnswer) -> reply::HeldAnswer {
    let reply::HeldAnswer::Whole(bytes) = held else {
        return held;
    };
    let coding = returned::coding(&head.headers);
    let plain = coding.and_then(|coding| coding.unpack(&bytes, reply::HELD_MAX));
    if plain.is_some() {
        head.headers.remove(CONTENT_ENCODING);
    }
    reply::HeldAnswer::Whole(plain.unwrap_or(bytes))
}

/// An attempt that has gone out.
struct Sent<'a> {
    arm: &'a Arm,
    told: &'a Wording,
    begins: Begins,
    /// It makes the provider work. What only looks, or deletes, is free everywhere.
    works: bool,
    /// A cap counts it.
    capped: bool,
    /// When it went out.
    at: Instant,
}

/// The body of an answer on its way: what was read of it, what is to come, and how it is read.
struct Flow {
    first: Option<Bytes>,
    rest: In,
    reading: Reading,
    /// How it is compressed, if it is.
    coding: Option<Coding>,
}

impl Flow {
    /// The same as it can be read. What nobody reads on its way stays as it is.
    fn unpacked(self, headers: &mut HeaderMap) -> Flow {
        let unread = matches!(self.reading, Reading::Passed(Watch::Nothing));
        let Some(coding) = self.coding.filter(|_| !unread) else {
            return self;
        };
        headers.remove(CONTENT_ENCODING);
        let first = self.first.unwrap_or_default();
        Flow {
            first: None,
            rest: self.rest.unpacked(coding, first),
            reading: self.reading.fresh(),
            coding: None,
        }
    }
}
