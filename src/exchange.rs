//! One request, top to bottom. Whoever reads this file knows the program.
//!
//! accept → authenticate → read the body → decode → measure and grade → decide → for each attempt:
//! reserve → send → relay while metering → settle. Where a cheaper arm is asked first, its answer is looked at between send and relay, and the
//! arm of the decision is sent only where that speaks against it. All control flow is here, but for how equal requests share one call, which
//! is `shared`; it is the same for every kind of call: each makes a [`work::Work`], which says which arms may serve it, what each is told,
//! what that costs at most and how its answer is read. What is called either decides (pure) or does (IO). The only place where an `Error`
//! becomes HTTP.

pub mod admission;
pub mod background;
mod barred;
pub mod batches;
mod body;
mod bound;
mod cached;
mod channels;
pub mod completion;
mod confidential;
mod count;
mod embeddings;
mod feedback;
mod files_batches;
mod hedged;
mod legacy;
mod lookup;
mod me;
mod models;
mod origin;
mod outgoing;
mod passthrough;
mod probed;
mod prompts_kept;
mod reacted;
mod reply;
mod returned;
mod router;
mod shadowed;
mod shared;
mod status;
mod wishes;
mod work;

pub use lookup::describe;
pub use origin::{check_head, names_loopback};
pub use shadowed::Shadows;

use crate::affinity::Affinity;
use crate::caller::{Callers, SESSION_STOPPED};
use crate::capability::Capabilities;
use crate::classify::KnownAsks;
use crate::counting;
use crate::dialect::{Answer as Read, Dialect, Place, embed, fault};
use crate::error::{Error, Kind, Retry};
use crate::fleet::Arm;
use crate::ledger::balance::{Full, Requirement};
use crate::ledger::cap::{AtCap, Dim};
use crate::ledger::exhaustion::Paces;
use crate::ledger::judged::JudgedBy;
use crate::ledger::record::{Opening, Outcome};
use crate::ledger::{HeldRoom, Ledger, Refused, Reservation, now};
use crate::limits::Limits;
use crate::money::PicoUsd;
use crate::probe::evidence::{Evidence, Sign, Witness};
use crate::provider::channel::Channel;
use crate::relay::{self, AnswerBody, Reading, Relay, RelayTerms, Watch};
use crate::response_cache::ResponseCache;
use crate::route::{LearnedFromOutcomes, Policy, Probe};
use crate::settle::jobs::Jobs;
use crate::settle::{Around, Delivery, Paid, Settlement};
use crate::telemetry::otlp::{Arrived, Trace};
use crate::telemetry::{CapRefusal, Telemetry};
use crate::upstream::channels::Channels;
use crate::upstream::health::{Ailment, Target};
use crate::upstream::{Begins, Coding, Failure, In, Terms, Upstream};
use admission::{Admission, Entrant, Inbound};
use arc_swap::{ArcSwap, ArcSwapOption};
use background::Background;
use barred::{Ended, Tried};
use batches::{Batches, Kept};
use bytes::Bytes;
use cached::Sharing;
use completion::{Completion, TurnSoFar};
use confidential::Seen;
use count::CountCall;
use embeddings::Embeddings;
use files_batches::{HandedIn, Keeping};
use hedged::Runner;
use http::header::{CONNECTION, CONTENT_ENCODING};
use http::request::Parts;
use http::response::Parts as Head;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::{Body, Incoming};
use passthrough::Passthrough;
use probed::{Answered, Look, ProbeOutcome, Probed, Small, Verdict};
use router::{CallKind, Collection};
use status::Next;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use work::{Bar, Booked, Check, Failing, Hold, Longer, Order, Reply, Unserved, Way, Wording, Work};

/// What every exchange works with.
pub struct State {
    /// The books.
    pub ledger: Arc<Ledger>,
    /// The way out.
    pub upstream: Upstream,
    /// The channels of all providers: who has failed lately, and what is under way.
    pub channels: Channels,
    /// Log and metrics.
    pub telemetry: Arc<Telemetry>,
    /// Who may call.
    pub callers: ArcSwap<Callers>,
    /// Which arm serves which turn.
    pub affinity: Affinity,
    /// The asks that were read lately.
    pub known_asks: KnownAsks,
    /// The answers that equal requests share, where there is such a cache; replaced, and so emptied, where its settings change.
    pub response_cache: ArcSwapOption<ResponseCache>,
    /// What decisions are made from; replaced as a whole on reload.
    pub policy: ArcSwap<Policy>,
    /// What was learned from outcomes, which is in force unless the operator has an overlay.
    pub learned: ArcSwap<LearnedFromOutcomes>,
    /// Sizes and deadlines.
    pub limits: Limits,
    /// The traffic listener is loopback.
    pub loopback: bool,
    /// How fast caps are used up.
    pub paces: ArcSwap<Paces>,
    /// What waits to be shadowed.
    pub shadows: Shadows,
    /// Jobs in the background.
    pub jobs: Arc<Jobs>,
    /// Answers that are made in the background.
    pub background: Background,
    /// Batches that are kept here.
    pub batches: Arc<Batches>,
    /// Alive as long as anything is unsettled.
    pub alive: Arc<()>,
    /// Turns true when what is still open must end, since the process does.
    pub closing: watch::Receiver<bool>,
}

impl State {
    /// Whoever comes, with what every request works with.
    fn inbound<'a>(&'a self, entrant: Entrant<'a>) -> Inbound<'a> {
        let Entrant {
            caller,
            head,
            dialect,
            id,
            arrived,
            policy,
            trace,
        } = entrant;
        Inbound {
            caller,
            head,
            dialect,
            id,
            arrived,
            policy,
            limits: &self.limits,
            books: &*self.ledger,
            makers: self.affinity.makers(),
            items: self.affinity.items(),
            warmth: self.affinity.warmth(),
            habits: self.affinity.habits(),
            known_asks: &self.known_asks,
            channels: &self.channels,
            trace,
        }
    }

    /// Tells metrics how much the response cache keeps.
    pub fn tell_response_cache(&self) {
        let cache = self.response_cache.load();
        let figures = cache.as_ref().map(|cache| cache.figures());
        self.telemetry
            .response_cache_size(&figures.unwrap_or_default());
    }
}

/// Answers one request. Never fails: an error is an answer in the caller's dialect.
/// `client` is the address from which it came, where that has one.
pub async fn handle(
    state: &Arc<State>,
    request: Request<Incoming>,
    client: Option<SocketAddr>,
) -> Response<AnswerBody> {
    let arrived = Instant::now();
    let id = uuid::Uuid::now_v7().to_string();
    let (head, body) = request.into_parts();
    let (dialect, call) = router::asked(&head);
    let misread = origin::check_head(head.version, &head.headers).err();
    let seen = Seen::default();
    let trace = state.telemetry.arrived(|| Arrived {
        id: &id,
        at: arrived,
        client,
        method: &head.method,
        headers: &head.headers,
        call: call.as_ref().map_or("unknown", CallKind::name),
        dialect: dialect.name(),
    });
    let answered = async {
        if let Some(error) = misread.clone() {
            return Err(error);
        }
        let inbound = inbound(state, &head, (dialect, &trace), &id, arrived)?;
        serve(state, inbound, call?, body, &seen).await
    };
    let answered = answered.await;
    state.telemetry.found(seen.classes());
    let answer = match answered {
        Ok(answer) => {
            let whole = matches!(answer.body(), AnswerBody::Whole(_));
            trace.answered(answer.status(), whole);
            reply::identified(answer, &id)
        }
        Err(error) => {
            let error = seen.told(error);
            trace.refused(&error);
            state.telemetry.refused(&reply::refused(&error, &id));
            let mut answer = reply::error(&error, dialect, &id);
            if misread.is_some() {
                // Where a next request would begin on this connection is not sure.
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            reply::identified(answer, &id)
        }
    };
    reply::found(answer, seen.classes())
}

/// Who asks, and what holds at this moment.
fn inbound<'a>(
    state: &'a State,
    head: &'a Parts,
    (dialect, trace): (&'static dyn Dialect, &Trace),
    id: &'a str,
    arrived: Instant,
) -> Result<Inbound<'a>, Error> {
    let callers = state.callers.load();
    origin::check_origin(head, callers.open(), state.loopback)?;
    Ok(state.inbound(Entrant {
        caller: callers
            .identify(&origin::with_credential(head), now())
            .inspect_err(|refused| {
                if refused.code == Some(SESSION_STOPPED) {
                    state.telemetry.guard_stopped("session");
                }
            })?,
        head,
        dialect,
        id,
        arrived,
        policy: state.policy.load_full(),
        trace: trace.clone(),
    }))
}

/// A request that is being served.
type Serving<'a> = Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;

/// Each kind of call makes its work, which then takes the one path. On the heap, since whoever holds this future moves it several times before
/// it is first asked for anything; each kind by itself, so that a completion takes no more room than it needs.
fn serve<'a>(
    state: &'a Arc<State>,
    inbound: Inbound<'a>,
    call: CallKind<'a>,
    body: Incoming,
    seen: &'a Seen,
) -> Serving<'a> {
    match call {
        CallKind::Complete(place) => on_heap(|| complete(state, inbound, place, body, seen)),
        CallKind::Count(place) => on_heap(|| count(state, inbound, place, body, seen)),
        CallKind::Embed(place) => on_heap(|| embed(state, inbound, place, body, seen)),
        CallKind::Legacy(model) => on_heap(|| legacy(state, inbound, model, body, seen)),
        CallKind::Pass(name, rest) => on_heap(|| pass(state, inbound, (name, rest), body, seen)),
        CallKind::Keep(place) => on_heap(|| keep(state, inbound, place, body, seen)),
        CallKind::Look | CallKind::Describe | CallKind::Later(_) | CallKind::Judge(_) => {
            on_heap(|| answer_here(state, inbound, call, body))
        }
    }
}

/// Makes a future where it stays. `Box::pin` would make it on the stack and copy all of its room, though hardly anything is in it yet.
fn on_heap<'a, F: Future<Output = Reply> + Send + 'a>(make: impl FnOnce() -> F) -> Serving<'a> {
    let room = Box::<F>::new_uninit();
    let made: Box<F> = Box::write(room, make());
    Box::into_pin(made)
}

/// An answer of a model.
async fn complete(
    state: &Arc<State>,
    inbound: Inbound<'_>,
    place: Place<'_>,
    body: Incoming,
    seen: &Seen,
) -> Reply {
    let body = body::read_body(inbound.head, body, &state.limits).await?;
    let mut admission = Admission::new(inbound)?;
    admission.names_user(&body)?;
    let body = recalled(&admission, &body);
    confidential::look(&mut admission, &body, seen).await?;
    let begun = Box::pin(background::begin(state, &admission, &body, &place));
    if let Some(answer) = begun.await? {
        return Ok(answer);
    }
    Exchange::of(state, &admission)
        .complete(&body, &place)
        .await
}

/// How many tokens a prompt has.
async fn count(
    state: &Arc<State>,
    inbound: Inbound<'_>,
    place: Place<'_>,
    body: Incoming,
    seen: &Seen,
) -> Reply {
    let body = body::read_body(inbound.head, body, &state.limits).await?;
    let mut admission = Admission::uncounted(inbound)?;
    let body = recalled(&admission, &body);
    confidential::look(&mut admission, &body, seen).await?;
    let exchange = Exchange::of(state, &admission);
    let count = CountCall::read(&admission, &body, &place)?;
    exchange.count(&count).await
}

/// Embeddings.
async fn embed(
    state: &Arc<State>,
    inbound: Inbound<'_>,
    place: embed::Place<'_>,
    body: Incoming,
    seen: &Seen,
) -> Reply {
    let body = body::read_body(inbound.head, body, &state.limits).await?;
    let mut admission = Admission::new(inbound)?;
    admission.names_user(&body)?;
    confidential::look(&mut admission, &body, seen).await?;
    let exchange = Exchange::of(state, &admission);
    let work = Embeddings::read(&admission, &body, &place)?;
    exchange.run(&work).await
}

/// A completion from before there were chats.
async fn legacy(
    state: &Arc<State>,
    inbound: Inbound<'_>,
    model: Option<String>,
    body: Incoming,
    seen: &Seen,
) -> Reply {
    let body = body::read_body(inbound.head, body, &state.limits).await?;
    let mut admission = Admission::new(inbound)?;
    admission.names_user(&body)?;
    confidential::look(&mut admission, &body, seen).await?;
    let exchange = Exchange::of(state, &admission);
    exchange.run(&legacy::call(&admission, body, model)?).await
}

/// Whatever it is, of a configured provider: its name and the path there.
async fn pass(
    state: &Arc<State>,
    inbound: Inbound<'_>,
    (name, rest): (&str, &str),
    body: Incoming,
    seen: &Seen,
) -> Reply {
    let head = inbound.head;
    let provider = passthrough::provider(&inbound.policy, &inbound.caller, name)?;
    passthrough::check_path(rest)?;
    let body = body::read_body(inbound.head, body, &state.limits).await?;
    let mut admission = Admission::new(inbound)?;
    admission.names_user(&body)?;
    let path = passthrough::with_query(rest.to_owned(), head.uri.query());
    confidential::look_with_path(&mut admission, &body, &path, seen).await?;
    let exchange = Exchange::of(state, &admission);
    let work = Passthrough::to(&admission, provider, rest, body)?;
    let (provider, path) = work.at();
    let unheard = batches::passed::Unheard::of(provider, &head.method, path);
    let reply = exchange.run(&work).await;
    unheard.heard();
    batches::passed::looked_at(state, provider, path);
    let taken = reply.as_ref().is_ok_and(|told| told.status().is_success());
    let made = work.made().or_else(|| work.adds().filter(|_| taken));
    if let Some((whose, made)) = made {
        batches::passed::note(state, whose, made).await;
    }
    reply
}

/// Files and batches.
async fn keep(
    state: &Arc<State>,
    inbound: Inbound<'_>,
    place: Collection<'_>,
    body: Incoming,
    seen: &Seen,
) -> Reply {
    let head = inbound.head;
    let body = match Box::pin(batches::serve(state, &inbound, place, body)).await? {
        Kept::Here(answer) => return Ok(*answer),
        Kept::Elsewhere(body) => body,
    };
    let made_by = match background::kept(state, &inbound, place).await? {
        background::Kept::Here(answer) => return Ok(answer),
        background::Kept::At(provider) => Some(provider),
        background::Kept::Unknown => None,
    };
    let mut admission = Admission::keeping(inbound)?;
    admission.names_user_in_header(place.makes(&head.method))?;
    let body = match admission.policy.privacy {
        None => body,
        Some(_) => {
            let body = match body {
                HandedIn::Coming(body) => body::read_body(head, body, &state.limits).await?,
                HandedIn::Whole(body) => body,
            };
            let path = passthrough::with_query(place.rest.to_owned(), head.uri.query());
            confidential::look_with_path(&mut admission, &body, &path, seen).await?;
            HandedIn::Whole(body)
        }
    };
    let exchange = Exchange::of(state, &admission);
    let (body, reserved) = batches::passed_capped::reserve(state, &admission, place, body).await?;
    let body = (body, reserved.is_some());
    let keeping = Keeping::new(&admission, body, place, (&state.jobs, made_by));
    let reply = match &keeping {
        Ok(keeping) => {
            let (provider, path) = keeping.at();
            let unheard = batches::passed::Unheard::of(provider, &head.method, &path);
            let reply = exchange.run(keeping).await;
            unheard.heard();
            reply
        }
        Err(error) => Err(error.clone()),
    };
    if let Ok(keeping) = &keeping {
        let (provider, path) = keeping.at();
        batches::passed::looked_at(state, provider, &path);
    }
    let made = keeping.ok().and_then(|keeping| keeping.made());
    match (reserved, made) {
        (Some(reserved), made) => reserved.ended(made).await,
        (None, Some((whose, made))) => batches::passed::note(state, whose, made).await,
        (None, None) => {}
    }
    reply
}

/// What needs no provider.
async fn answer_here(
    state: &Arc<State>,
    inbound: Inbound<'_>,
    call: CallKind<'_>,
    body: Incoming,
) -> Reply {
    let whole = |body| body::read_body(inbound.head, body, &state.limits);
    match call {
        CallKind::Judge(id) => {
            let books = (&state.ledger, state.affinity.measured());
            feedback::judge(&inbound, books, id, &whole(body).await?).await
        }
        CallKind::Later(later) => batches::later(state, &inbound, later).await,
        CallKind::Describe => models::named(&inbound, &whole(body).await?),
        _ => lookup::get(&inbound, &state.ledger).await,
    }
}

/// The request with what it names of flyball's own earlier answers in it.
fn recalled(admission: &Admission<'_>, body: &Bytes) -> Bytes {
    let Admission {
        caller,
        items,
        dialect,
        ..
    } = admission;
    let known = |id: &str| items.of(caller.name(), id);
    let recalled = dialect.recall(body, &known);
    recalled.unwrap_or_else(|| body.clone())
}

/// One request that is let in, and what it works with.
struct Exchange<'a> {
    state: &'a Arc<State>,
    admission: &'a Admission<'a>,
    /// How long it took until its body was here.
    read: Duration,
    /// An attempt has failed for which somebody may be billed.
    billed: AtomicBool,
    /// The answer that comes next is compared with one that was there before.
    compares: AtomicBool,
    /// A cap had no room for a probe.
    no_room: AtomicBool,
    /// The answer that comes next is for that alone.
    unwanted: AtomicBool,
    /// The attempt that was made last; nothing before the first one.
    last: Mutex<String>,
    /// It has earned its share of what may be sent twice.
    has_earned: AtomicBool,
    /// Whoever may give its answer to others.
    paid: Option<Arc<Paid>>,
    /// Whoever holds another arm's answer against the one that is delivered.
    delivery: OnceLock<Arc<Delivery>>,
}

/// A rough bound is good enough where what is left would do for the input of so many requests like it: of those that are open at a time
/// hardly any then has to wait for what another does not need.
const ROUGH_TIMES: u8 = 32;
/// So long a stream is held back at most until it is known whether its provider has taken the request up.
const TAKEN_UP_AFTER: Duration = Duration::from_secs(1);
/// So long the client waits at most for an answer of its own to be held against the better arm's.
const CHECKS_FOR: Duration = Duration::from_secs(10);

impl<'a> Exchange<'a> {
    fn of(state: &'a Arc<State>, admission: &'a Admission<'a>) -> Exchange<'a> {
        Exchange {
            state,
            admission,
            read: admission.arrived.elapsed(),
            billed: AtomicBool::new(false),
            compares: AtomicBool::new(false),
            no_room: AtomicBool::new(false),
            unwanted: AtomicBool::new(false),
            last: Mutex::default(),
            has_earned: AtomicBool::new(false),
            paid: None,
            delivery: OnceLock::new(),
        }
    }

    /// A completion. One that wants it may be given the answer to an equal one.
    async fn complete(&self, body: &Bytes, place: &Place<'_>) -> Reply {
        let completion = Completion::read(self.admission, body, place)?;
        completion.check_guard().map_err(|stop| {
            let (error, why) = *stop;
            self.state.telemetry.guard_stopped(why);
            error
        })?;
        let cache = &self.state.response_cache;
        match cached::sharing(cache, self.admission, &completion, body) {
            Sharing::Not => self.complete_alone(&completion).await,
            Sharing::Barred => self.bypass(&completion).await,
            Sharing::Wanted(shared) => {
                // On the heap, as a probe is.
                Box::pin(self.complete_shared(&completion, body, &shared)).await
            }
        }
    }

    /// A completion by itself: graded, decided, and sent to the arms in the order of the decision.
    async fn complete_alone(&self, completion: &Completion<'_>) -> Reply {
        let (affinity, caller) = (&self.state.affinity, self.admission.caller.name());
        // What an app asks for behind its user's back is no part of the user's turn: it takes no arm from it and gives it none.
        let turn = (!completion.is_routed() || !completion.is_chore()).then(|| {
            let turn = affinity.turn(caller, completion.session(), &completion.request.prompt);
            TurnSoFar {
                turn,
                serving: affinity.served(turn),
                before: affinity.served_before(turn),
            }
        });
        if let Some(so_far) = &turn {
            self.hears(completion, so_far.turn);
        }
        let routed = completion.decide(turn)?;
        self.may_be_shadowed(completion);
        let confidential = self.admission.wishes.private || !self.admission.detected.is_empty();
        if self.admission.policy.learning.is_some()
            && !confidential
            && let Some(measured) = completion.measured()
        {
            let id = self.admission.id;
            self.state.affinity.measured().remember(id, measured);
        }
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
        let mut outcome = self.one_by_one(work).await;
        if let (true, Ok(answer)) = (self.no_room.load(Ordering::Relaxed), &mut outcome) {
            probed::note(answer, ProbeOutcome::NoRoom);
        }
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

    /// Who says what a request may cost at most pays for no second attempt after one that may be billed.
    fn pays_no_more(&self) -> bool {
        self.admission.wishes.max_cost.is_some() && self.billed.load(Ordering::Relaxed)
    }

    /// One arm after the other until one answers.
    async fn one_by_one(&self, work: &dyn Work) -> Reply {
        if let Some(decided) = work.decided() {
            self.admission.trace.decided(&decided);
            self.state.telemetry.decided(&decided);
        }
        let Admission { policy, wishes, .. } = self.admission;
        let mut tried = Tried::none(policy.recovery.after_failure, wishes.max_cost.is_some());
        let mut arms = work.arms();
        self.state.channels.health.earns_a_try();
        if let (Some(probe), [strong, others @ ..]) = (work.probe(), arms)
            && !self.is_down(strong)
            && let Some(channel) = self.admits(work, &probe.arm)
        {
            // On the heap: what a probe needs would make every request's own state larger.
            match Box::pin(self.probe(work, (probe, channel), strong)).await {
                Probed::Not => {}
                Probed::Answered(reply) => return *reply,
                Probed::Unserved(unserved) => {
                    if let Some(ended) = tried.note(strong, unserved) {
                        return self.ended(work, ended).await;
                    }
                    arms = others;
                }
                Probed::PassedOver => {
                    tried.passes_over(strong, self.passed_over(strong));
                    arms = others;
                }
            }
        }
        let others = work.arms().len() + work.further().len() > 1;
        for arm in arms {
            if self.pays_no_more() {
                break;
            }
            let channel = match others {
                true => self.admits(work, arm),
                false => Some(self.insists(work, arm)),
            };
            let Some(channel) = channel else {
                tried.passes_over(arm, self.passed_over(arm));
                continue;
            };
            if let Some(reply) = self.tries(work, (arm, channel), &mut tried).await {
                return reply;
            }
        }
        for arm in work.further() {
            let billed = self.billed.load(Ordering::Relaxed);
            if !tried.goes_on_to(arm, billed) || !can_be_asked(work, arm) {
                continue;
            }
            let Some(channel) = self.admits(work, arm) else {
                tried.passes_over(arm, self.passed_over(arm));
                continue;
            };
            if let Some(reply) = self.tries(work, (arm, channel), &mut tried).await {
                return reply;
            }
        }
        // On the heap, since it is rare.
        Box::pin(self.once_more(work, tried)).await
    }

    /// Nobody has answered: those are asked that were passed over as down, and then the one again that has left no bill.
    async fn once_more(&self, work: &dyn Work, mut tried: Tried) -> Reply {
        for arm in tried.last_resorts() {
            if self.pays_no_more() {
                break;
            }
            let channel = self.insists(work, &arm);
            if let Some(reply) = self.tries(work, (&arm, channel), &mut tried).await {
                return reply;
            }
        }
        let recovery = &self.admission.policy.recovery;
        for nth in 0..recovery.retries {
            let routed = work.decided().is_some_and(|d| d.noted.is_some());
            let again = tried
                .again(routed)
                .filter(|_| work.repeats() && !self.billed.load(Ordering::Relaxed));
            let Some((arm, wait)) = again else { break };
            if !self.state.channels.health.spends_a_try() {
                break;
            }
            let pause = wait.max(recovery.pause(nth, self.admission.id));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = relay::closed(self.state.closing.clone()) => break,
            }
            let channel = self.insists(work, &arm);
            if let Some(reply) = Box::pin(self.tries(work, (&arm, channel), &mut tried)).await {
                return reply;
            }
        }
        tried.reply()
    }

    /// Whether nobody asks an arm at this moment, where another one can be asked.
    fn is_down(&self, arm: &Arm) -> bool {
        self.state.channels.is_down(channels::to(arm))
    }

    /// Tries one arm, first on this channel and then on others, as long as nothing can have been billed. Gives the end of the exchange, if
    /// that is it.
    async fn tries(
        &self,
        work: &dyn Work,
        (arm, channel): (&Arm, &Channel),
        tried: &mut Tried,
    ) -> Option<Reply> {
        let (outcome, served) = self.hedged(work, (arm, channel)).await;
        let outcome = match outcome {
            Ok(answer) => Ok(answer),
            Err(failed) => self.elsewhere(work, (arm, channel), failed).await,
        };
        match outcome {
            Ok(answer) => {
                self.served(work, served);
                Some(Ok(tried.told(answer)))
            }
            Err(unserved) => {
                let ended = tried.note(served, unserved)?;
                Some(self.ended(work, ended).await)
            }
        }
    }

    /// An attempt has failed on this channel: it is made on others of the same arm, as long as nothing can have been billed. Where one of them
    /// takes it, those that refused it did so for their account and not for what it says, which is remembered.
    async fn elsewhere(
        &self,
        work: &dyn Work,
        (arm, channel): (&Arm, &Channel),
        mut failed: Unserved,
    ) -> Result<Response<AnswerBody>, Unserved> {
        let mut asked = vec![channel];
        let mut refused = Vec::new();
        let mut best: Option<Unserved> = None;
        let kept = self.is_kept(work, arm);
        loop {
            let next = self.moves_to(work, arm, &asked, &failed);
            if let (Some(how), Some(last)) = (failed.refused_as(), asked.last()) {
                refused.push((*last, how));
            }
            best = match best {
                Some(before) if before.says_more_than(&failed, kept) => Some(before),
                _ => Some(failed),
            };
            let Some(next) = next else { break };
            asked.push(next);
            self.state.telemetry.moved(&arm.model.provider.name);
            failed = match Box::pin(self.attempt(work, (arm, next), None)).await {
                Ok(answer) => {
                    self.were_refused(arm, &refused, kept);
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
        }
        let none = || Unserved::error(Error::new(Kind::Internal, "no channel was tried"));
        Err(best.unwrap_or_else(none))
    }

    /// The end of an exchange that no arm has answered.
    async fn ended(&self, work: &dyn Work, ended: Ended) -> Reply {
        match ended {
            Ended::With(reply) => *reply,
            Ended::LocalInstead(refusal) => match work.on_local_models() {
                Some(local) => Box::pin(self.run(&*local)).await,
                None => Err(refusal),
            },
        }
    }

    /// Asks the cheaper arm first, and the arm of the decision only where that one's answer speaks against itself. Both must fit under
    /// the caps before the first goes out.
    async fn probe(
        &self,
        work: &dyn Work,
        (probe, channel): (&Probe, &Channel),
        strong: &Arm,
    ) -> Probed {
        let decided = self.admission.arrived.elapsed();
        let told = (work.told(&probe.arm), work.told(strong));
        let (Ok(told_first), Ok(told_second)) = told else {
            return Probed::Not;
        };
        let orders = (
            work.order(&probe.arm, &told_first),
            work.order(strong, &told_second),
        );
        let (Ok(mut first), Ok(mut second)) = orders else {
            return Probed::Not;
        };
        let Some(witness) = first.look() else {
            return Probed::Not;
        };
        let both = self.room_for_both(&mut *first, &mut *second).await;
        let Some((first_room, mut room)) = both else {
            self.no_room.store(true, Ordering::Relaxed);
            self.probing(ProbeOutcome::NoRoom, Some(probe));
            return Probed::Not;
        };
        room.escalates(first_room.attempt());
        let small = (first_room.attempt().to_owned(), first_room.amount());
        let look = Look::Judge {
            work,
            probe,
            witness,
        };
        let attempt = Attempt {
            arm: &probe.arm,
            channel,
            told: &told_first,
            order: &mut *first,
            asks: work.asks(),
            decided,
            others: false,
            runner: None,
        };
        let looked = self.send(attempt, Some(first_room), Some(look)).await;
        let mut refused = false;
        let small = match looked {
            Ok(Answered::Stands(answer, _)) => {
                drop(room);
                self.served(work, &probe.arm);
                return Probed::answered(Ok(answer));
            }
            Ok(Answered::Checked(answer)) => {
                // What explores needs room under a cap of its own, too.
                drop(room);
                match self.explore(work, (strong, &told_second), small).await {
                    Some(said) => {
                        let evidence = self.admission.habits.evidence();
                        probed::compare(evidence, probe, &answer, &said);
                        let both = (first.opening(), second.opening());
                        self.keep_outcomes(both, &answer, &said, JudgedBy::Explored);
                    }
                    None => self.may_be_judged(probe, answer.verdict()),
                }
                self.served(work, &probe.arm);
                return Probed::answered(Ok(answer.delivered(ProbeOutcome::Stands)));
            }
            Ok(Answered::GoesOn(small)) => {
                self.compares.store(true, Ordering::Relaxed);
                Some(small)
            }
            // It has failed, or refuses what it was asked for: the better arm answers as if it had never been asked.
            Err(failed) => {
                if *self.state.closing.borrow() {
                    return Probed::answered(failed.of(&probe.arm).reply());
                }
                refused = failed.is_refusal();
                self.probing(ProbeOutcome::Failed, Some(probe));
                None
            }
        };
        // It may have gone down meanwhile, or be due to be tried anew, which is for one request at a time.
        let Some(on) = self.admits_spent(work, strong) else {
            drop(room);
            return match small {
                Some(small) => {
                    self.probing(ProbeOutcome::StrongFailed, Some(probe));
                    self.served(work, &probe.arm);
                    Probed::answered(Ok(small.delivered(ProbeOutcome::StrongFailed)))
                }
                None => Probed::PassedOver,
            };
        };
        let attempt = Attempt {
            arm: strong,
            channel: on,
            told: &told_second,
            order: &mut *second,
            asks: work.asks(),
            decided,
            others: false,
            runner: None,
        };
        room.attempt().clone_into(&mut self.last());
        let answering = self.send(attempt, Some(room), None);
        let (answer, small) = match small {
            Some(small) => small.kept_while(answering).await,
            None => (answering.await, None),
        };
        // What broke off while the other one was asked is no answer.
        let small = small.filter(|small| answer.is_ok() || !small.is_cut());
        match (answer, small) {
            (Ok(answer), small) => {
                // The request itself was fine: what was refused are the probabilities that it asked for.
                if refused {
                    work.tells(&probe.arm, false);
                }
                let said = answer.text();
                if let Some((small, said)) = small.as_ref().zip(said) {
                    probed::compare(self.admission.habits.evidence(), probe, small, said);
                    let both = (first.opening(), second.opening());
                    self.keep_outcomes(both, small, said, JudgedBy::Escalated);
                }
                let shown = small.as_ref().map(Small::shown);
                // Dropped, it is booked as what it has used so far, and for nothing.
                drop(small);
                self.served(work, strong);
                Probed::answered(Ok(probed::told(answer.answer(), probe, shown)))
            }
            (Err(_), Some(small)) => {
                self.probing(ProbeOutcome::StrongFailed, Some(probe));
                self.served(work, &probe.arm);
                Probed::answered(Ok(small.delivered(ProbeOutcome::StrongFailed)))
            }
            (Err(unserved), None) => {
                match Box::pin(self.elsewhere(work, (strong, on), unserved)).await {
                    Ok(answer) => {
                        self.served(work, strong);
                        Probed::answered(Ok(answer))
                    }
                    Err(unserved) => Probed::Unserved(unserved),
                }
            }
        }
    }

    /// Asks the better arm for a comparison with an answer that stands, if every cap has room for that; `None` where it was not asked.
    /// Gives what it says, which is nothing where it fails: whatever becomes of it, and of its bill, the answer is there.
    async fn explore(
        &self,
        work: &dyn Work,
        (strong, told): (&Arm, &Wording),
        (attempt, cost): (String, PicoUsd),
    ) -> Option<String> {
        let decided = self.admission.arrived.elapsed();
        let mut order = work.order_to_explore(strong, told)?;
        let mut room = self.room(&mut *order, Duration::ZERO).await.ok()??;
        let most = self.admission.wishes.max_cost;
        if most.is_some_and(|most| cost + room.amount() > most) {
            return None;
        }
        room.escalates(&attempt);
        // Nobody waits for it, so who is down or due to be tried anew is left to requests that do.
        let channel = self.admits(work, strong)?;
        self.compares.store(true, Ordering::Relaxed);
        self.unwanted.store(true, Ordering::Relaxed);
        let attempt = Attempt {
            arm: strong,
            channel,
            told,
            order: &mut *order,
            asks: work.asks(),
            decided,
            others: false,
            runner: None,
        };
        let checking = self.send(attempt, Some(room), None);
        let better = tokio::time::timeout(CHECKS_FOR, checking).await;
        let said = better.ok().and_then(Result::ok);
        let said = said.and_then(|better| better.text().map(str::to_owned));
        Some(said.unwrap_or_default())
    }

    /// Keeps in the books how the answers of two arms to one request compare. Where nothing is explored nobody would know of those that
    /// stand, so nothing is kept of the others either.
    fn keep_outcomes(
        &self,
        (cheap, better): (Opening, Opening),
        small: &Small,
        said: &str,
        by: JudgedBy,
    ) {
        let explored = self.admission.policy.probing.explore_ppm;
        let seen = match by {
            JudgedBy::Explored => explored,
            _ => 1_000_000,
        };
        if let (true, Some(agrees)) = (explored > 0, probed::agrees(small, said)) {
            let outcomes = probed::outcomes((&cheap, &better), agrees, (by, seen));
            let id = self.admission.id;
            if let Some(measured) = self.state.affinity.measured().of(id) {
                self.state.ledger.keep_ask(id, measured);
            }
            self.state.ledger.keep_outcomes(outcomes);
        }
    }

    /// Keeps room for two attempts at once, if there is some under every cap and under what the caller wants to spend.
    async fn room_for_both(
        &self,
        first: &mut dyn Order,
        second: &mut dyn Order,
    ) -> Option<(HeldRoom, HeldRoom)> {
        let first = self.room(first, Duration::ZERO).await.ok()??;
        let second = self.room(second, Duration::ZERO).await.ok()??;
        let most = self.admission.wishes.max_cost;
        let fits = most.is_none_or(|most| first.amount() + second.amount() <= most);
        fits.then_some((first, second))
    }

    /// An arm has answered: it is counted, and the turn remembers it.
    fn served(&self, work: &dyn Work, arm: &Arm) {
        let telemetry = &self.state.telemetry;
        if let Some(asked) = work.asked() {
            let is_name = || self.admission.policy.catalogue.knows(asked);
            telemetry.served(asked, &arm.model.name, is_name);
        }
        if let Some(change) = work.changed(arm) {
            telemetry.turn(change);
        }
        if let Some((turn, served)) = work.remembers(arm) {
            self.state.affinity.remember(turn, served);
        }
    }

    fn last(&self) -> MutexGuard<'_, String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The attempt takes the place of the one before it, which has failed: a request counts once.
    fn comes_after_the_last(&self, room: &mut HeldRoom) {
        let mut last = self.last();
        if !last.is_empty() {
            room.escalates(&last);
        }
        room.attempt().clone_into(&mut last);
    }

    /// One attempt on one arm, with a reservation of its own. What can wait is asked for at its vendor's lower rates first; where that has no
    /// room now, it waits in a batch, if its client comes back for its answer, or is asked for at once.
    async fn attempt(
        &self,
        work: &dyn Work,
        (arm, channel): (&Arm, &Channel),
        runner: Option<&Runner>,
    ) -> Result<Response<AnswerBody>, Unserved> {
        let told = work.told(arm)?;
        if let Some(order) = work.order_that_waits(arm, &told) {
            // On the heap, as a probe is.
            let waiting = self.attempt_by(work, (arm, channel, &told), (order, runner));
            match Box::pin(waiting).await {
                Err(unserved) if unserved.is_busy() => {}
                served => return served,
            }
        }
        if let Some(line) = work.batch_line(arm, &told) {
            return Box::pin(batches::join(self, work, arm, line)).await;
        }
        let order = work.order(arm, &told)?;
        self.attempt_by(work, (arm, channel, &told), (order, runner))
            .await
    }

    async fn attempt_by(
        &self,
        work: &dyn Work,
        (arm, channel, told): (&Arm, &Channel, &Wording),
        (mut order, runner): (Box<dyn Order + '_>, Option<&Runner>),
    ) -> Result<Response<AnswerBody>, Unserved> {
        let decided = self.admission.arrived.elapsed();
        let second = runner.is_some_and(|runner| runner.second);
        let patience = match second {
            true => Duration::ZERO,
            false => self.admission.policy.cap_wait,
        };
        let mut room = match self.room(&mut *order, patience).await {
            Ok(room) => room,
            // Nobody is refused anything: the first request goes on alone.
            Err(_) if second => {
                let why = "there is no room for a second request";
                return Err(Unserved::error(Error::new(Kind::CapReached, why)));
            }
            Err(full) => return Err(self.no_room(full)),
        };
        match &mut room {
            // Whatever comes after a race comes after its first.
            Some(room) if second => room.escalates(&self.last()),
            Some(room) => self.comes_after_the_last(room),
            None => {}
        }
        let moves = work.moves() && arm.model.provider.has_several_channels();
        let attempt = Attempt {
            arm,
            channel,
            told,
            order: &mut *order,
            asks: work.asks(),
            decided,
            others: moves || work.arms().len() + work.further().len() > 1,
            runner,
        };
        Ok(self.send(attempt, room, None).await?.answer())
    }

    /// Opens an attempt for which there is room, and sends it. `look`: its answer is looked at.
    async fn send(
        &self,
        attempt: Attempt<'_>,
        room: Option<HeldRoom>,
        look: Option<Look<'_>>,
    ) -> Result<Answered, Unserved> {
        let Attempt {
            arm,
            channel,
            told,
            order,
            asks,
            decided,
            others,
            runner,
        } = attempt;
        let (state, arrived) = (self.state, self.admission.arrived);
        if told.translated {
            let (from, to) = (self.admission.dialect.name(), told.dialect.name());
            state.telemetry.dropped(from, to, told.lost.len());
        }
        let reservation = match room {
            Some(room) => Some(
                room.open()
                    .await
                    .map_err(|refused| self.no_room(NoRoom::Refused(Box::new(refused), None)))?,
            ),
            None => None,
        };
        let granted = reservation.as_ref().map_or(0, Reservation::tokens);
        let outgoing = order.outgoing(granted, channel);
        let phases = vec![
            ("read", self.read),
            ("decide", decided.saturating_sub(self.read)),
            ("reserve", arrived.elapsed().saturating_sub(decided)),
        ];
        let mut capped = false;
        let mut settlement = match reservation {
            Some(reservation) => {
                let mut job = order.job();
                channel.name.clone_into(&mut job.channel);
                capped = job.capped;
                let around = Around {
                    telemetry: Arc::clone(&state.telemetry),
                    arrived,
                    phases,
                    alive: Arc::clone(&state.alive),
                    trace: self.admission.trace.clone(),
                    paid: self.paid.clone(),
                    delivery: self.delivery.get().cloned(),
                    lost: runner.map(|runner| Arc::clone(&runner.lost)),
                };
                let mut settlement = Settlement::new(job, around, reservation);
                if self.unwanted.load(Ordering::Relaxed) {
                    settlement.for_nothing();
                }
                if matches!(look, Some(Look::Judge { .. })) {
                    settlement.asked_first();
                }
                settlement
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
        let at = (&**provider, channel);
        let mut headers = outgoing::headers(self.admission, at, &outgoing.url, words);
        if let Some((name, value)) = outgoing.header {
            headers.insert(name, value);
        }
        settlement.tells_trace(&mut headers);
        let to = channels::to(arm).on(channel);
        settlement.sending(Some(state.channels.sends(to)));
        if let Some(runner) = runner {
            runner.sent.notify_one();
        }
        let sent = Sent {
            arm,
            channel,
            told,
            asks,
            begins: outgoing.begins,
            works: outgoing.method == Method::POST,
            capped,
            others,
            runner,
            at: Instant::now(),
        };
        let terms = Terms {
            begins: outgoing.begins,
            http2: provider.http2(),
        };
        let body = (outgoing.body, terms);
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
            Ok(answer) => {
                self.answered(&sent, order, answer, (settlement, look))
                    .await
            }
            Err(failure) => Err(self.unanswered(&sent, failure, settlement)),
        }
    }

    /// Keeps room for the bound of an attempt; `None` for one that stands in no book. What is known roughly is counted exactly before it
    /// takes a good part of what is left, so that it keeps nobody out who has room, refuses a request or lowers its limit, unless no count
    /// could change the refusal: an exact count takes up to a second.
    async fn room(
        &self,
        order: &mut dyn Order,
        patience: Duration,
    ) -> Result<Option<HeldRoom>, NoRoom> {
        let Some(bound) = order.bound() else {
            return Ok(None);
        };
        let opening = order.opening();
        let (ledger, most) = (&self.state.ledger, self.admission.wishes.max_cost);
        let why = bound.why_much;
        let refused = |refused| NoRoom::Refused(Box::new(refused), why);
        let mut ask = bound.rough;
        if let Some(exact) = bound.exact {
            let whole = Requirement {
                tokens_min: ask.tokens,
                times: ROUGH_TIMES,
                ..ask
            };
            let mut least = bound.least.into_iter().map(|find| find());
            match bound::held_to_cost(whole, most) {
                Ok(whole) => match ledger.hold(whole, opening.clone(), Duration::ZERO).await {
                    Ok(room) => return Ok(Some(room)),
                    Err(Refused::Full(full)) => {
                        if least.any(|least| bound::is_hopeless(&full, least)) {
                            return Err(refused(Refused::Full(bound::as_known(full, ask))));
                        }
                    }
                    Err(other) => return Err(refused(other)),
                },
                Err(error) => {
                    if least.any(|least| bound::held_to_cost(least, most).is_err()) {
                        return Err(NoRoom::Dear(error.also(why)));
                    }
                }
            }
            ask = counting::now(exact).await.unwrap_or(ask);
        }
        let ask = bound::held_to_cost(ask, most).map_err(|error| NoRoom::Dear(error.also(why)))?;
        let held = ledger.hold(ask, opening, patience).await;
        held.map(Some).map_err(refused)
    }

    /// What it leads to that there is no room for an attempt.
    fn no_room(&self, full: NoRoom) -> Unserved {
        match full {
            NoRoom::Refused(refused, why) => self.refusal(&refused, why),
            NoRoom::Dear(error) => Unserved::error(error),
        }
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
        self.state.telemetry.cap_refused(&CapRefusal {
            cap: &self.called(full),
            scope: scope.class(),
            only_reserved: full.only_reserved(),
        });
        if full.at_cap == AtCap::Local {
            Unserved::LocalInstead(error)
        } else if scope.by_arm() {
            Unserved::Barred(Box::new(Err(error)), Bar::Cap)
        } else {
            Unserved::error(error)
        }
    }

    /// What the cap is called that has no room.
    fn called(&self, full: &Full) -> String {
        let Admission { caller, policy, .. } = self.admission;
        let shown = |dim: Dim, value: &str| match dim {
            Dim::Key => Some(caller.name().to_owned()),
            Dim::Model => policy.fleet.named(value).map(|model| model.name.clone()),
            _ => Some(value.to_owned()),
        };
        let cap = full.cap.as_ref();
        cap.map_or_else(String::new, |cap| cap.label(&full.counter, &shown))
    }

    /// The process ends before the answer has come.
    fn cut_off(&self, sent: &Sent<'_>, settlement: Settlement) -> Unserved {
        sent.comes_to_nothing();
        settlement.unknown(Outcome::StreamCut);
        if sent.works {
            self.may_be_billed();
        }
        Unserved::error(Error::new(Kind::Overloaded, relay::STOPPING))
    }

    /// No answer came.
    fn unanswered(&self, sent: &Sent<'_>, failure: Failure, settlement: Settlement) -> Unserved {
        sent.comes_to_nothing();
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
        self.ails(
            sent,
            match not_sent {
                true => Ailment::Unreachable,
                false => Ailment::Failing,
            },
        );
        match error.kind {
            _ if not_sent => settlement.void(Outcome::NotSent),
            Kind::UpstreamTimeout => settlement.unknown(Outcome::UpstreamTimeout),
            _ => settlement.unknown(Outcome::UpstreamError),
        }
        // A whole answer has had all the time that there is, and most likely was being made: no other arm makes it once more.
        match timeout && sent.begins != Begins::AtOnce {
            true => Unserved::error(error),
            false if not_sent => Unserved::failed(Err(error), Failing::NotSent),
            false => Unserved::next(Err(error)),
        }
    }

    /// Who was asked has failed, which others should know.
    fn ails(&self, sent: &Sent<'_>, how: Ailment) {
        let channels = &self.state.channels;
        if !matches!(how, Ailment::Refused | Ailment::Forbidden) {
            return channels.fails(sent.to(), how);
        }
        // It may have been for what the request said, or for what its path is: another channel that takes it shows that it was not.
        channels.load.fails(sent.to(), how);
        let provider = &sent.arm.model.provider;
        let names_model = sent.arm.model.name != work::UNNAMED;
        if how == Ailment::Refused && names_model && self.is_in_force(provider, sent.channel) {
            channels.health.is_suspect(sent.to());
        }
    }

    /// The provider answers: on to the client.
    async fn answered(
        &self,
        sent: &Sent<'_>,
        order: &mut dyn Order,
        answer: Response<In>,
        (mut settlement, look): (Settlement, Option<Look<'_>>),
    ) -> Result<Answered, Unserved> {
        let (mut head, body) = answer.into_parts();
        settlement.status(head.status.as_u16());
        settlement.tier(returned::service_tier(&head.headers));
        let provider = &sent.arm.model.provider;
        for (of, left) in returned::headroom(&head.headers, sent.told.dialect) {
            let several = provider.has_several_channels();
            let channel = several.then_some(sent.channel.name.as_str());
            let telemetry = &self.state.telemetry;
            telemetry.headroom((&provider.name, channel), of.name(), left);
        }
        if let Some(left) = returned::tightest(&head.headers, sent.told.dialect) {
            let least = provider.headroom_min_percent.saturating_mul(10);
            let load = &self.state.channels.load;
            load.left(sent.to(), left.permille, left.reset, least);
        }
        returned::clean(&mut head.headers);
        order.announce(&mut head.headers);
        if !head.status.is_success() {
            return Err(Box::pin(self.refused(sent, head, body, settlement)).await);
        }
        let health = &self.state.channels.health;
        health.is_well(sent.to(), sent.at.elapsed());
        if provider.has_several_channels() {
            returned::set(&mut head.headers, "x-flyball-channel", &sent.channel.name);
        }
        let coding = returned::coding(&head.headers);
        match order.reading(&mut head, body.is_end_stream()) {
            Way::Empty => {
                let _ = settlement.passed(&Read::default(), true);
                let answer = Response::from_parts(head, AnswerBody::whole(""));
                Ok(Answered::Stands(answer, None))
            }
            Way::Relayed(reading) => {
                let flow = Flow {
                    first: None,
                    rest: body,
                    reading,
                    coding,
                };
                let (head, relay) = self.relay(sent, head, flow, settlement);
                match look {
                    Some(Look::Judge {
                        work,
                        probe,
                        witness,
                    }) => {
                        let look = (work, probe, witness);
                        Box::pin(self.look_at_stream(sent, head, relay, look)).await
                    }
                    // What the cheap arm has answered is kept for the case that this one comes to nothing.
                    Some(Look::Hear(..)) | None if self.compares.load(Ordering::Relaxed) => {
                        let relay = Box::pin(self.begun(sent, relay)).await?;
                        Ok(Answered::Stands(streamed(head, relay), None))
                    }
                    Some(Look::Hear(..)) | None if sent.runner.is_some() => {
                        let relay = Box::pin(self.raced(sent, relay)).await?;
                        Ok(Answered::Stands(streamed(head, relay), None))
                    }
                    Some(Look::Hear(..)) | None if sent.others => {
                        let relay = Box::pin(self.taken_up(sent, relay)).await?;
                        Ok(Answered::Stands(streamed(head, relay), None))
                    }
                    Some(Look::Hear(..)) | None => {
                        Ok(Answered::Stands(streamed(head, relay), None))
                    }
                }
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
                self.held(sent, order, head, held, (settlement, look)).await
            }
        }
    }

    /// An answer that was held back until it is whole, or too long for that.
    async fn held(
        &self,
        sent: &Sent<'_>,
        order: &dyn Order,
        mut head: Head,
        (hold, held, coding): (Hold, reply::HeldAnswer, Option<Coding>),
        (mut settlement, look): (Settlement, Option<Look<'_>>),
    ) -> Result<Answered, Unserved> {
        match held {
            reply::HeldAnswer::Whole(mut bytes) => {
                let plain = coding.and_then(|coding| coding.unpack(&bytes, reply::UNPACKED_MAX));
                let answer = (hold.read)(plain.as_ref().unwrap_or(&bytes));
                // What is only metered goes on as it came where the client can read that; what is changed on its way is plain.
                let changed =
                    sent.told.translated || hold.books == Booked::Passed || look.is_some();
                let asked = &self.admission.head.headers;
                let kept = coding.is_some_and(|coding| returned::accepts(asked, coding));
                if let Some(plain) = plain.filter(|_| changed || !kept) {
                    head.headers.remove(CONTENT_ENCODING);
                    bytes = plain;
                }
                match look {
                    // What is made in the background has nothing to show yet.
                    Some(Look::Judge {
                        work,
                        probe,
                        witness,
                    }) if !answer.goes_on => {
                        settlement.arrived();
                        self.remember_makers(sent.arm, &answer);
                        let look = (work, probe, witness);
                        let held = (bytes, answer, settlement);
                        return Box::pin(self.look_at_whole(order, head, held, look)).await;
                    }
                    Some(Look::Hear(heard, witness)) => {
                        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                        *heard = probed::seen(witness, &answer).confirmed();
                    }
                    Some(Look::Judge { .. }) | None => {}
                }
                let bill = match hold.books {
                    Booked::Passed => settlement.passed(&answer, true),
                    Booked::Answered => {
                        settlement.arrived();
                        self.remember_makers(sent.arm, &answer);
                        match &answer.job {
                            Some(id) if answer.usage.is_none() => {
                                let provider = &sent.arm.model.provider.name;
                                let attempt = settlement.attempt().to_owned();
                                self.state.jobs.begun(provider, id, settlement);
                                let whom = (sent.arm, sent.channel, sent.told.dialect);
                                let job = (&**id, &*attempt);
                                let admission = self.admission;
                                background::note_vendors_job(self.state, admission, whom, job)
                                    .await;
                                None
                            }
                            _ => settlement.answered(&answer),
                        }
                    }
                };
                if let Some(bill) = bill {
                    relay::tell_bill(&mut head.headers, bill);
                }
                let second = self.compares.load(Ordering::Relaxed);
                let text = second.then(|| answer.text());
                let worthless = second && answer.is_unread();
                let answer = order.answer(head, bytes, answer);
                if worthless {
                    return Err(Unserved::last(answer));
                }
                answer
                    .map(|answer| Answered::Stands(answer, text))
                    .map_err(|error| {
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
                let (head, relay) = self.relay(sent, head, flow, settlement);
                let mut answer = streamed(head, relay);
                if let Some(Look::Judge { probe, .. }) = look {
                    self.probing(ProbeOutcome::Stands, Some(probe));
                    probed::note(&mut answer, ProbeOutcome::Stands);
                }
                Ok(Answered::Stands(answer, None))
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

    /// A stream that is held back until its first word, since another answer can be delivered in its place until then.
    async fn begun(&self, sent: &Sent<'_>, mut relay: Relay) -> Result<Relay, Unserved> {
        if relay.begins(self.admission.policy.probing.hold_for).await {
            return Ok(relay);
        }
        if sent.works {
            self.may_be_billed();
        }
        sent.comes_to_nothing();
        relay.broke_off();
        let why = "the provider broke off before its first word";
        Err(Unserved::next(Err(Error::new(Kind::UpstreamFailed, why))))
    }

    /// A stream whose first event may be that the provider is busy: nobody has seen it, nothing was done, and another arm can answer.
    async fn taken_up(&self, sent: &Sent<'_>, mut relay: Relay) -> Result<Relay, Unserved> {
        // Whoever waits for the first word for longer than this has been taken up.
        let first = relay.begins(Duration::ZERO);
        let _ = tokio::time::timeout(TAKEN_UP_AFTER, first).await;
        match relay.is_refused() {
            true => Err(self.not_taken_up(sent, relay)),
            false => Ok(relay),
        }
    }

    /// A stream that runs against another answer: it counts from its first word on, however long that takes.
    async fn raced(&self, sent: &Sent<'_>, mut relay: Relay) -> Result<Relay, Unserved> {
        // It reads under the deadlines of every answer.
        let begins = relay.begins(self.state.limits.total).await;
        if relay.is_refused() {
            return Err(self.not_taken_up(sent, relay));
        }
        let alone = !sent.runner.is_some_and(Runner::is_rivalled);
        match begins {
            true => Ok(relay),
            // Nobody else answers: its client hears what its provider says.
            false if alone && !relay.is_cut() => Ok(relay),
            false => self.begun(sent, relay).await,
        }
    }

    /// The provider says as the first event of its stream that it is busy.
    fn not_taken_up(&self, sent: &Sent<'_>, relay: Relay) -> Unserved {
        self.ails(sent, Ailment::Busy(None));
        sent.comes_to_nothing();
        relay.broke_off();
        let why = "the provider is busy and has not taken the request up";
        let error = Error::new(Kind::UpstreamFailed, why);
        Unserved::failed(Err(error), Failing::Busy(None))
    }

    /// A stream that is held back until enough of it is here to be looked at.
    async fn look_at_stream(
        &self,
        sent: &Sent<'_>,
        head: Head,
        mut relay: Relay,
        (work, probe, witness): (&dyn Work, &Probe, Witness),
    ) -> Result<Answered, Unserved> {
        let probing = &self.admission.policy.probing;
        let hold = relay::Hold {
            tokens: probing.hold_tokens,
            time: probing.hold_for,
        };
        let (witness, whole) = relay.hold(witness, hold).await;
        if relay.is_cut() {
            if sent.works {
                self.may_be_billed();
            }
            // Nobody has seen any of it, so the other arm can answer in its place.
            relay.broke_off();
            let why = "the provider broke off before the answer could be looked at";
            return Err(Unserved::next(Err(Error::new(Kind::UpstreamFailed, why))));
        }
        let evidence = witness.evidence(whole);
        if witness.asked() && !witness.calls() {
            work.tells(&probe.arm, evidence.sign != Sign::Silent);
        }
        let verdict = self.verdict(probe, evidence);
        relay.looked_at(verdict.shown, verdict.goes_on);
        let answer = Small::Stream {
            head: Box::new(head),
            relay: Box::new(relay),
            verdict,
            text: match whole {
                true => witness.text().to_owned(),
                false => String::new(),
            },
        };
        Ok(self.by(verdict, probe, answer))
    }

    /// A whole answer that is looked at. It is booked when it is known whether it is delivered.
    async fn look_at_whole(
        &self,
        order: &dyn Order,
        head: Head,
        (bytes, answer, mut settlement): (Bytes, Read, Settlement),
        (work, probe, witness): (&dyn Work, &Probe, Witness),
    ) -> Result<Answered, Unserved> {
        if answer.is_unread() {
            let _ = settlement.answered(&answer);
            self.may_be_billed();
            let why = "the provider's answer cannot be read";
            return Err(Unserved::next(Err(Error::new(Kind::UpstreamFailed, why))));
        }
        let witness = probed::seen(witness, &answer);
        settlement.heard(&answer);
        let answer = order.answer(head, bytes, answer).map_err(|error| {
            self.may_be_billed();
            Unserved::error(error)
        })?;
        let mut evidence = witness.evidence(true);
        // Few tell how likely a call of a tool was, and nobody can be asked about it.
        let silent = evidence.sign == Sign::Silent && !witness.calls();
        if witness.asked() && !witness.calls() {
            work.tells(&probe.arm, !silent);
        }
        if silent && self.admission.policy.probing.checks {
            let asked = self.check(work, probe, witness.text());
            evidence = Box::pin(asked).await.unwrap_or(evidence);
        }
        let verdict = self.verdict(probe, evidence);
        settlement.looked_at(verdict.shown, verdict.goes_on);
        let answer = Small::Whole {
            answer: Box::new(answer),
            settlement: Box::new(settlement),
            verdict,
            text: witness.text().to_owned(),
        };
        Ok(self.by(verdict, probe, answer))
    }

    /// Asks whether an answer is right, in one more call; `None` where that cannot be asked, or says neither yes nor no.
    async fn check(&self, work: &dyn Work, probe: &Probe, answer: &str) -> Option<Evidence> {
        let decided = self.admission.arrived.elapsed();
        // What the caller wants to spend at most is kept for the two answers.
        if self.admission.wishes.max_cost.is_some() {
            return None;
        }
        let Check { arm, body, place } = work.check(probe, answer)?;
        let completion = Completion::read(self.admission, &body, &place).ok()?;
        let routed = completion.to(&arm);
        let told = routed.told(&arm).ok()?;
        let mut order = routed.order(&arm, &told).ok()?;
        let witness = order.look()?;
        let room = self.room(&mut *order, Duration::ZERO).await.ok()?;
        let heard = Mutex::new(None);
        let attempt = Attempt {
            arm: &arm,
            channel: self.admits(&routed, &arm)?,
            told: &told,
            order: &mut *order,
            decided,
            asks: Capabilities::default(),
            others: false,
            runner: None,
        };
        let look = Look::Hear(&heard, witness);
        self.send(attempt, room, Some(look)).await.ok()?;
        heard.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an answer that was looked at leads to; what it has shown is learned.
    fn verdict(&self, probe: &Probe, evidence: Evidence) -> Verdict {
        let verdict = Verdict::of(probe, evidence);
        probed::learn(self.admission.habits.evidence(), probe, verdict);
        verdict
    }

    /// The answer stands, or is gone on from.
    fn by(&self, verdict: Verdict, probe: &Probe, answer: Small) -> Answered {
        if verdict.goes_on {
            self.probing(ProbeOutcome::Escalated, Some(probe));
            return Answered::GoesOn(answer);
        }
        self.probing(ProbeOutcome::Stands, Some(probe));
        let explore = self.admission.policy.probing.explore_ppm;
        match answer {
            Small::Whole { .. } if probed::explores(self.admission.id, explore) => {
                Answered::Checked(answer)
            }
            answer => {
                self.may_be_judged(probe, verdict);
                Answered::Stands(answer.delivered(ProbeOutcome::Stands), None)
            }
        }
    }

    /// The caller may say later whether an answer that is delivered was good.
    fn may_be_judged(&self, probe: &Probe, verdict: Verdict) {
        let key = self.admission.caller.key.as_ref().map(|key| key.id);
        let evidence = self.admission.habits.evidence();
        probed::remember(evidence, probe, verdict, (self.admission.id, key));
    }

    /// Counts what became of a probe.
    fn probing(&self, outcome: ProbeOutcome, probe: Option<&Probe>) {
        let model = probe.map_or("", |probe| probe.arm.model.name.as_str());
        self.state.telemetry.probed(model, outcome.name());
    }

    /// An answer that goes on as it comes.
    fn relay(
        &self,
        sent: &Sent<'_>,
        mut head: Head,
        flow: Flow,
        mut settlement: Settlement,
    ) -> (Head, Relay) {
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
        (head, relay)
    }

    /// How long the answer may still take: a whole one since it was asked for, a stream since it has begun.
    fn time_left(&self, sent: &Sent<'_>) -> Duration {
        let total = self.state.limits.total;
        match sent.begins {
            Begins::AtOnce => total,
            Begins::AtItsEnd => total.saturating_sub(sent.at.elapsed()),
            // It has begun, and now it takes no longer than any other.
            Begins::Within(_) => total,
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
        sent.comes_to_nothing();
        let meaning = status::meaning(head.status);
        let mut failing = Failing::Unsure;
        // That a flex tier has no room says nothing of the others.
        let says_nothing = |ailment: &Ailment| {
            matches!(
                (sent.begins, ailment),
                (Begins::Within(_), Ailment::Busy(_))
            )
        };
        let provider = &sent.arm.model.provider;
        let asks = status::retry_after(&head.headers)
            .or_else(|| returned::whole_again(&head.headers, sent.told.dialect));
        let ailment = status::ailment(head.status, asks, provider.has_several_channels());
        if let Some(ailment) = ailment.filter(|ailment| !says_nothing(ailment)) {
            self.ails(sent, ailment);
        }
        let next = |outcome, failing| match meaning.next {
            Next::End => Unserved::last(outcome),
            Next::OtherArm => Unserved::failed(outcome, failing),
        };
        let model = &sent.arm.model.name;
        if meaning.no_answer {
            settlement.void(Outcome::RefusedUpstream);
            return next(Err(reply::no_answer(&head)), failing);
        }
        let held = reply::read_up_to(body, reply::HELD_MAX, self.state.limits.idle).await;
        let held = unpacked(&mut head, held);
        let said = match &held {
            reply::HeldAnswer::Whole(bytes) => Some(&bytes[..]),
            reply::HeldAnswer::Longer(..) | reply::HeldAnswer::Broken(_) => None,
        };
        let incapable =
            said.and_then(|said| fault::incapable(head.status.as_u16(), said, model, sent.asks));
        match meaning.charge.is_bound(said) {
            false => {
                settlement.void(Outcome::RefusedUpstream);
                failing = status::failing(head.status, asks);
            }
            true => {
                // Without a cap, and where nobody says what it may cost at most, it is left to the provider and its SDK, which know whether it
                // bills its own failures.
                if sent.capped || self.admission.wishes.max_cost.is_some() {
                    self.may_be_billed();
                }
                settlement.unknown(Outcome::UpstreamError);
            }
        }
        let status = head.status.as_u16();
        self.state.telemetry.upstream_status(&provider.name, status);
        let bytes = match held {
            reply::HeldAnswer::Whole(bytes) => provider.channels().fold(bytes, reply::redacted),
            reply::HeldAnswer::Broken(error) => return next(Err(error), failing),
            reply::HeldAnswer::Longer(..) => {
                let why = "the provider's error is too long to pass on";
                return next(Err(Error::new(Kind::UpstreamFailed, why)), failing);
            }
        };
        let (dialect, id) = (self.admission.dialect, self.admission.id);
        let answer = Ok(match sent.told.translated {
            true => reply::error_of(head, &bytes, dialect, id),
            false => Response::from_parts(head, AnswerBody::whole(bytes)),
        });
        match incapable {
            Some(what) => {
                self.admission.habits.refusals().note(model, what);
                Unserved::Barred(Box::new(answer), Bar::Incapable(what))
            }
            None => next(answer, failing),
        }
    }
}

/// Whether nothing but its provider and its caps can keep an arm from serving: what cannot be said to it is no reason to end.
fn can_be_asked(work: &dyn Work, arm: &Arm) -> bool {
    work.told(arm)
        .is_ok_and(|told| work.order(arm, &told).is_ok())
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

/// An answer that goes on as it comes.
fn streamed(head: Head, relay: Relay) -> Response<AnswerBody> {
    Response::from_parts(head, AnswerBody::Relayed(Box::new(relay)))
}

/// An attempt that is about to be made.
struct Attempt<'a> {
    arm: &'a Arm,
    channel: &'a Channel,
    told: &'a Wording,
    order: &'a mut dyn Order,
    asks: Capabilities,
    /// How long it took until it was decided on, from the arrival of the request.
    decided: Duration,
    /// Another arm may answer in its place.
    others: bool,
    /// It may run against another attempt.
    runner: Option<&'a Runner>,
}

/// There is no room for an attempt.
enum NoRoom {
    /// The books refuse it; the sentence says why it is so much.
    Refused(Box<Refused>, Option<&'static str>),
    /// It costs more than the caller wants to spend.
    Dear(Error),
}

/// An attempt that has gone out.
struct Sent<'a> {
    arm: &'a Arm,
    channel: &'a Channel,
    told: &'a Wording,
    /// What is asked of the model besides words, where another one may answer if this one cannot.
    asks: Capabilities,
    begins: Begins,
    /// It makes the provider work. What only looks, or deletes, is free everywhere.
    works: bool,
    /// A cap counts it.
    capped: bool,
    /// Another arm may answer in its place.
    others: bool,
    /// Whoever answers first is heard: it has to begin before it counts.
    runner: Option<&'a Runner>,
    /// When it went out.
    at: Instant,
}

impl Sent<'_> {
    /// It fails. Where it was the second one of a race, the request is the first one's.
    fn comes_to_nothing(&self) {
        if let Some(runner) = self.runner.filter(|runner| runner.second) {
            runner.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Whom it went to.
    fn to(&self) -> Target<'_> {
        channels::to(self.arm).on(self.channel)
    }
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
