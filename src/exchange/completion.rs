//! Completions: a request is decoded, measured and graded; a decision says which arms may answer; each is told the client's own bytes,
//! or the same conversation in a dialect that it speaks. Pure: `explain` runs it as `serve` does.

mod attempt;
mod check;
mod conversation;
mod shadow;
mod translate;

use super::admission::Admission;
use super::work::{BatchLine, Check, Order, Unserved, Wording, Work};
use crate::affinity::{Manner, SaidEfforts, Served, UserTurn};
use crate::arm::Effort;
use crate::batch::wire::{Wire, wire_of};
use crate::capability::{Capabilities, Capability};
use crate::chat::conversation::MediaKind;
use crate::chat::{Part, ServiceTier};
use crate::classify::runaway::{self, Guard, Runaway};
use crate::classify::{self, Difficulty, Graded, Plain};
use crate::dialect::{Dialect, Place, Request, bend};
use crate::error::{Error, Kind, Retry};
use crate::fleet::senses::Carried;
use crate::fleet::{Arm, Model};
use crate::json::Object;
use crate::price::Price;
use crate::private::Classes;
use crate::probe::calibration::Scale;
use crate::provider::channel::Stickiness;
use crate::route::policy::Rule;
use crate::route::{self, Decision, Doubted, Policy, Probe, Shows, cost};
use crate::telemetry::{Decided, DecidedFor, TurnChange};
use attempt::{CompletionOrder, Purpose};
use bytes::Bytes;
pub use conversation::TurnSoFar;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use translate::Translator;

/// The task of a request whose difficulty decides nothing.
pub const UNGRADED: &str = "ungraded";

/// From so much patience on a flex tier is asked: their vendors speak of minutes.
const FLEX_FROM: Duration = Duration::from_secs(600);
/// Longer nobody holds a connection open for one; OpenAI's own advice is a quarter of an hour.
const FLEX_MAX: Duration = Duration::from_secs(900);

/// A request for an answer.
pub struct Completion<'a> {
    admission: &'a Admission<'a>,
    place: &'a Place<'a>,
    body: &'a Bytes,
    /// As the client's dialect reads it.
    pub request: Request<'a>,
    translator: Translator<'a>,
    /// It asks its provider to keep what it has read; looked for once, if anybody asks.
    keeps: OnceLock<bool>,
    /// The conversation that it is in, by a hash; made once, if anybody asks.
    conversation: OnceLock<u64>,
    /// It names something that an account of its vendor keeps; looked for once, if anybody asks.
    names_kept: OnceLock<bool>,
    /// It does not get on; looked for once, if anybody asks.
    stuck: OnceLock<bool>,
    /// What it asks of the model besides words; looked for once.
    asks: OnceLock<Capabilities>,
    /// How hard it is; measured and graded once, if anybody asks.
    graded: OnceLock<Box<Graded>>,
}

impl<'a> Completion<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// It is no request of the client's dialect.
    pub fn read(
        admission: &'a Admission<'a>,
        body: &'a Bytes,
        place: &'a Place<'a>,
    ) -> Result<Completion<'a>, Error> {
        let request = admission.dialect.decode_at(body, place)?;
        Ok(Completion {
            translator: Translator::new(admission.dialect, &admission.policy.may_drop),
            admission,
            place,
            body,
            keeps: OnceLock::new(),
            conversation: OnceLock::new(),
            names_kept: OnceLock::new(),
            stuck: OnceLock::new(),
            asks: OnceLock::new(),
            graded: OnceLock::new(),
            request,
        })
    }

    /// Whether its answer may come late, at lower rates: it says so, and has named no service tier itself.
    pub(super) fn may_wait(&self) -> bool {
        let deadline = self.admission.wishes.deadline;
        deadline.is_some_and(|time| time >= FLEX_FROM) && self.request.tier.is_none()
    }

    /// Whether it may wait in a batch with others: its client comes back for the answer, its time is long enough, and it is nothing but asked.
    pub(super) fn may_join_batch(&self) -> bool {
        let Admission { wishes, policy, .. } = self.admission;
        let long = |from| wishes.deadline.is_some_and(|time| time >= from);
        wishes.comes_back
            && policy.batch_from.is_some_and(long)
            && self.request.tier.is_none()
            && !self.request.stream
            && !self.admission.dialect.has_effects(&self.request)
    }

    /// The lower rates at which this arm may be asked, since the answer may come late.
    fn late_rates(&self, arm: &Arm) -> Option<Price> {
        let flex = || cost::late(&arm.model, ServiceTier::Flex);
        let batch = || cost::late(&arm.model, ServiceTier::Batch);
        let flex = self.may_wait().then(flex).flatten();
        flex.or_else(|| {
            wire_of(arm)
                .filter(|_| self.may_join_batch())
                .and_then(|_| batch())
        })
    }

    /// How long a flex tier may take until it begins to answer.
    fn waits_for(&self) -> Duration {
        let deadline = self.admission.wishes.deadline;
        deadline.unwrap_or_default().min(FLEX_MAX)
    }

    /// Refuses a conversation that runs away, where the operator wants that.
    ///
    /// # Errors
    /// A 403 that says why, which whoever sends it again gets again, and what metrics call it.
    pub fn check_guard(&self) -> Result<(), Box<(Error, &'static str)>> {
        let guard = self.admission.policy.guard;
        if guard == Guard::default() {
            return Ok(());
        }
        let turns = self
            .request
            .fields
            .some(self.admission.dialect.turns_field());
        let (why, called) = match runaway::runs_away(guard, &self.request.prompt, turns) {
            None => return Ok(()),
            Some(Runaway::Repeats { tool, times }) => {
                let tool: String = tool.chars().filter(|c| !c.is_control()).take(64).collect();
                let why =
                    format!("its tool \"{tool}\" was called {times} times with the same arguments");
                (why, "repeats")
            }
            Some(Runaway::Fails { times }) => {
                let why = format!("a tool has failed {times} times in the same way");
                (why, "failures")
            }
        };
        let public = format!(
            "This conversation is stopped: since its user spoke last {why}. It goes on when the user says something, or in a new conversation."
        );
        let error = Error::new(Kind::Forbidden, public);
        let error = error.code("flyball_guard").retry(Retry::Never);
        Err(Box::new((error, called)))
    }

    /// What was measured, and how hard it is. The first to ask has it measured and graded.
    pub fn graded(&self) -> &Graded {
        self.graded.get_or_init(|| {
            let Admission {
                known_asks, caller, ..
            } = self.admission;
            let known = known_asks.of(caller.name());
            let features = classify::measure_known(&self.request.prompt, known);
            let difficulty = classify::grade(&features, self.admission.policy.overlay.as_deref());
            Box::new(Graded {
                features,
                difficulty,
            })
        })
    }

    /// What was measured of the ask by which it was graded, packed, where it was graded by what was learned.
    pub(super) fn measured(&self) -> Option<Vec<u8>> {
        let graded = self.graded.get()?;
        classify::decisive(&graded.features).map(classify::kept::pack)
    }

    /// How hard it is, where somebody needs to know that: where it decides something, and where the operator wants to see it.
    fn noted_difficulty(&self) -> Option<&Difficulty> {
        match self.admission.policy.grade_asked {
            true => Some(&self.graded().difficulty),
            false => self.graded.get().map(|graded| &graded.difficulty),
        }
    }

    /// The task that it was graded as.
    fn task_name(&self) -> &'static str {
        self.noted_difficulty()
            .map_or(UNGRADED, |difficulty| difficulty.task.name())
    }

    /// What was found in what it says.
    #[must_use]
    pub fn detected(&self) -> Classes {
        self.admission.detected
    }

    /// It goes where flyball decides, and not to the model that it names.
    pub(super) fn is_routed(&self) -> bool {
        route::is_routed(&self.admission.policy, &self.request.model)
    }

    /// An app asks it behind its user's back.
    pub(super) fn is_chore(&self) -> bool {
        self.graded().features.plain == Some(Plain::Chore)
    }

    /// The session that the caller names, if it names one.
    pub(super) fn session(&self) -> Option<&str> {
        self.admission.wishes.session.as_deref()
    }

    /// Which arms may answer. `turn` is the turn that it is in, with what has served it so far.
    ///
    /// # Errors
    /// None may; the error says why.
    pub fn decide(&self, turn: Option<TurnSoFar>) -> Result<Routed<'_>, Error> {
        self.decide_on(turn, self.admission.wishes.private)
    }

    fn decide_on(&self, turn: Option<TurnSoFar>, private: bool) -> Result<Routed<'_>, Error> {
        let policy = &self.admission.policy;
        let decision = self.ask(turn.as_ref(), private, |asked| {
            route::decide(policy, asked, || self.graded())
        });
        let decision = decision.map_err(|error| Error {
            field: error
                .field
                .map(|f| bend::called(self.admission.dialect, &f)),
            ..error
        })?;
        Ok(Routed {
            completion: self,
            stuck: decision.routed && turn.is_some() && self.is_stuck(),
            decision,
            said: Mutex::default(),
            turn,
            private,
        })
    }

    /// What another policy would decide of it, as a request of its own. What was measured and graded stays as it is.
    ///
    /// # Errors
    /// No arm may answer; the error says why.
    pub fn decide_by(&self, policy: &Policy) -> Result<Decision, Error> {
        self.ask(None, self.admission.wishes.private, |asked| {
            route::decide(policy, asked, || self.graded())
        })
    }

    /// The rule that decides it, if it is routed.
    #[must_use]
    pub fn rule(&self) -> Arc<Rule> {
        let policy = &self.admission.policy;
        self.ask(None, self.admission.wishes.private, |asked| {
            route::rule_for(policy, asked, self.graded())
        })
    }

    /// It names texts that end the answer.
    fn has_stops(&self) -> bool {
        let mut path = self.admission.dialect.stop_at().iter();
        let Some(first) = path.next() else {
            return false;
        };
        let mut raw = self.request.fields.some(first);
        for key in path {
            let object = raw.and_then(|raw| Object::read_str(raw).ok());
            raw = object.and_then(|object| object.some(key));
        }
        raw.is_some_and(|raw| !matches!(raw, "[]" | "\"\""))
    }

    /// In which manner it asks.
    fn manner(&self) -> Manner {
        Manner {
            tools: self.request.prompt.tools > 0,
            stream: self.request.stream,
        }
    }

    /// What it asks of the model besides words.
    fn asks(&self) -> Capabilities {
        *self.asks.get_or_init(|| self.read_asks())
    }

    fn read_asks(&self) -> Capabilities {
        let (request, carried) = (&self.request, carried(&self.request));
        let prompt = &request.prompt;
        let dialect = self.admission.dialect;
        let likely = dialect.asks_logprobs(&request.fields);
        let asked = [
            (Capability::Images, carried.images),
            (Capability::Audio, carried.audio),
            (Capability::Documents, carried.documents),
            (Capability::Instructions, !prompt.system.is_empty()),
            (Capability::Tools, prompt.tools > 0),
            (Capability::Json, prompt.structured && !prompt.schema),
            (Capability::Schema, prompt.schema),
            (Capability::Choices, request.choices > 1),
            (Capability::Stop, self.has_stops()),
            (Capability::Logprobs, likely),
        ];
        let mut asks = Capabilities::default();
        for (what, there) in asked {
            asks = asks.set(what, there);
        }
        asks
    }

    /// What speaks against a model, as far as it is known and where it is worse than another one for it.
    fn doubted(&self, model: &Model) -> Doubted {
        let takes = &model.takes;
        let limit = self.request.limit.map_or(0, |limit| limit.tokens);
        let longest = model.price.and_then(|p| p.output_tokens_max);
        let context = model.context_tokens.filter(|_| takes.limit_in_context);
        let both = limit.saturating_add(classify::tokens_estimate(&self.request.prompt));
        Doubted {
            loses: Capabilities::default()
                .set(Capability::Stop, takes.stop == Some(0))
                .set(Capability::Logprobs, takes.lacks.has(Capability::Logprobs)),
            refused: self.admission.habits.refusals().of(&model.name),
            limited: takes.refuses_long_limit && longest.is_some_and(|most| limit > most)
                || limit > 0 && context.is_some_and(|most| both > most),
        }
    }

    /// What this arm's evidence is worth, where its answer shows any, or can be asked for it.
    fn shows(&self, arm: &Arm) -> Option<Shows> {
        let (model, effort) = (&arm.model, arm.effort_or(None));
        let evidence = self.admission.habits.evidence();
        let tells = model.logprobs && evidence.tells(&model.name, self.manner());
        // What is streamed is not whole when it is asked about.
        let checks = !tells && !self.request.stream && self.admission.policy.probing.checks;
        let may = effort == Effort::None && self.request.choices == 1 && (tells || checks);
        may.then(|| Shows {
            curves: [Scale::Whole, Scale::Parts]
                .map(|scale| evidence.curve(&model.name, effort, scale)),
            calls: if checks { 2 } else { 1 },
        })
    }

    /// What the decision is asked.
    fn ask<T>(
        &self,
        turn: Option<&TurnSoFar>,
        private: bool,
        decide: impl FnOnce(&route::Asked<'_>) -> T,
    ) -> T {
        let Admission {
            wishes,
            caller,
            head,
            ..
        } = self.admission;
        let request = &self.request;
        let warm = |arm: &Arm| self.warm(turn, arm);
        let habits = self.admission.habits;
        let habit = |arm: &Arm| {
            let task = self.graded().difficulty.task;
            habits.of(&arm.model.name, arm.effort_or(None), task)
        };
        let keeps = || self.asks_to_keep();
        let late = |arm: &Arm| self.late_rates(arm);
        let standing = self.standing(turn, (&warm, &habit), &keeps, &late);
        let asks = self.asks();
        let shows = |arm: &Arm| self.shows(arm);
        let asked = route::Asked {
            dialect: self.admission.dialect.name(),
            sayable: &|arm| self.translator.told(self, arm, true).map(drop),
            asks,
            doubted: &|model| self.doubted(model),
            model: &request.model,
            effort: wishes
                .effort
                .or_else(|| request.effort.filter(|_| request.model.starts_with("auto"))),
            body_effort: request.effort,
            objective: wishes.objective,
            private,
            detected: self.admission.detected,
            may_use: &|model| caller.may_use(model),
            limit: request.limit.map(|l| l.tokens),
            tools: request.prompt.tools > 0,
            structured: request.prompt.structured,
            carried: carried(request),
            turns: request.prompt.turns.len(),
            cap_used: self.admission.cap_used(),
            tags: &wishes.tags,
            header: &|name| head.headers.get(name).and_then(|v| v.to_str().ok()),
            key: caller.key.as_ref().map(|k| k.name.as_str()),
            standing,
            shows: &shows,
        };
        decide(&asked)
    }
}

/// A completion whose arms are decided.
pub struct Routed<'a> {
    completion: &'a Completion<'a>,
    /// Which arms, and why.
    pub decision: Decision,
    turn: Option<TurnSoFar>,
    /// The conversation does not get on.
    stuck: bool,
    /// The efforts that the attempt that was made last has said within the conversation.
    said: Mutex<Option<SaidEfforts>>,
    /// It must stay on local models.
    private: bool,
}

impl Routed<'_> {
    /// What this arm is told in a dialect that its provider speaks.
    ///
    /// # Errors
    /// It cannot be told the request so.
    pub(super) fn told_as(&self, to: &'static dyn Dialect, arm: &Arm) -> Result<Wording, Unserved> {
        let (completion, untouched) = (self.completion, self.decision.untouched);
        let told = completion
            .translator
            .told_as(to, completion, arm, untouched);
        told.map_err(|error| Unserved::next(Err(error)))
    }

    /// What an arm is told within a batch of its vendor's, which is that much by itself where its batches are in the same dialect; `None`
    /// where it can be told it in none of theirs.
    pub(super) fn told_in_batch(&self, wire: &Wire, arm: &Arm, told: &Wording) -> Option<Wording> {
        if wire.batches.carries(told.dialect.name()) {
            return Some(told.clone());
        }
        let told = self.told_as(wire.dialect, arm).ok()?;
        wire.batches.carries(told.dialect.name()).then_some(told)
    }

    fn order_for<'o>(
        &'o self,
        arm: &'o Arm,
        told: &'o Wording,
        purpose: Purpose,
    ) -> Result<Box<dyn Order + 'o>, Unserved> {
        let attempt = CompletionOrder::new(self, arm, told, purpose);
        // Another arm may take the place of a frozen model, and of one for which a picture has no bound.
        let attempt = attempt.map_err(|error| match error.code {
            Some("flyball_frozen" | "flyball_unbounded") => Unserved::next(Err(error)),
            _ => Unserved::error(error),
        })?;
        Ok(Box::new(attempt))
    }

    /// The rates of the arm's flex tier, where this request can wait and has not named a tier itself.
    fn flex_from(&self, arm: &Arm) -> Option<Price> {
        let flex = || cost::late(&arm.model, ServiceTier::Flex);
        self.completion.may_wait().then(flex)?
    }

    /// Whether the first arm would be asked: what `serve` would refuse before anything goes out.
    ///
    /// # Errors
    /// The refusal.
    pub fn check(&self) -> Result<(), Error> {
        let mut first = Ok(());
        for arm in self.arms() {
            let told = match self.told(arm) {
                Ok(told) => told,
                Err(failed) => {
                    first = first.and(refused(failed));
                    continue;
                }
            };
            match self.order(arm, &told) {
                Ok(_) => return Ok(()),
                Err(failed @ Unserved::NextArm(..)) => first = first.and(refused(failed)),
                Err(failed) => return refused(failed),
            }
        }
        first
    }
}

/// What a request carries beside words: in the turns themselves, and in what tools gave back.
fn carried(request: &Request<'_>) -> Carried {
    let mut carried = Carried::default();
    for part in request.prompt.turns.iter().flat_map(|turn| &turn.parts) {
        carried.images |= matches!(part, Part::Image);
        carried.audio |= matches!(part, Part::Audio);
        carried.documents |= matches!(part, Part::File);
    }
    // A turn that the provider keeps is named in the request, and nobody knows what is in it.
    for medium in request.media.iter().filter(|m| !m.stored) {
        carried.images |= medium.kind == MediaKind::Image;
        carried.audio |= medium.kind == MediaKind::Audio;
        carried.documents |= medium.kind == MediaKind::File;
    }
    carried
}

fn refused(failed: Unserved) -> Result<(), Error> {
    match failed {
        Unserved::Final(outcome) | Unserved::NextArm(outcome, _) => outcome.map(drop),
        Unserved::Barred(outcome, _) => outcome.map(drop),
        Unserved::LocalInstead(error) => Err(error),
    }
}

impl Work for Routed<'_> {
    fn arms(&self) -> &[Arm] {
        &self.decision.attempts
    }

    /// Who can wait is asked of the arm of the decision at lower rates, and not of a cheaper one first.
    fn probe(&self) -> Option<&Probe> {
        let strong = self.decision.attempts.first();
        let waits = strong.is_some_and(|arm| self.completion.late_rates(arm).is_some());
        self.decision.probe.as_ref().filter(|_| !waits)
    }

    fn tells(&self, arm: &Arm, told: bool) {
        let evidence = self.completion.admission.habits.evidence();
        let (model, manner) = (&arm.model.name, self.completion.manner());
        match told {
            true => evidence.told(model, manner),
            false => evidence.told_nothing(model, manner),
        }
    }

    fn check(&self, probe: &Probe, answer: &str) -> Option<Check> {
        let arm = self.verifier(probe);
        let completion = self.completion;
        Some(Check {
            body: completion.checking(&arm, answer)?,
            place: completion.checking_at(&arm),
            arm,
        })
    }

    fn further(&self) -> &[Arm] {
        &self.decision.further
    }

    fn repeats(&self) -> bool {
        true
    }

    fn streams(&self) -> bool {
        self.completion.request.stream
    }

    fn sticks(&self, arm: &Arm) -> Stickiness {
        self.completion.sticks(&arm.model.provider)
    }

    fn asks(&self) -> Capabilities {
        match self.decision.routed {
            true => self.completion.asks(),
            false => Capabilities::default(),
        }
    }

    fn told(&self, arm: &Arm) -> Result<Wording, Unserved> {
        let untouched = self.decision.untouched;
        let completion = self.completion;
        let shows = |probe: &Probe| {
            Arc::ptr_eq(&probe.arm.model, &arm.model) && probe.arm.effort == arm.effort
        };
        let told = match self.decision.probe.as_ref().is_some_and(shows) {
            true => completion.translator.told_to_show(completion, arm),
            false => completion.translator.told(completion, arm, untouched),
        };
        told.map_err(|error| Unserved::next(Err(error)))
    }

    fn order<'o>(
        &'o self,
        arm: &'o Arm,
        told: &'o Wording,
    ) -> Result<Box<dyn Order + 'o>, Unserved> {
        self.order_for(arm, told, Purpose::Answer)
    }

    fn order_that_waits<'o>(
        &'o self,
        arm: &'o Arm,
        told: &'o Wording,
    ) -> Option<Box<dyn Order + 'o>> {
        let field = told.dialect.flex_field()?;
        let dialect = told.dialect.name();
        self.flex_from(arm)
            .filter(|_| arm.model.provider.takes_flex_in(dialect))?;
        self.order_for(arm, told, Purpose::Waiting(field)).ok()
    }

    fn batch_line(&self, arm: &Arm, told: &Wording) -> Option<BatchLine<'_>> {
        if !self.completion.may_join_batch() {
            return None;
        }
        let wire = wire_of(arm)?;
        Some(BatchLine {
            told: self.told_in_batch(&wire, arm, told)?,
            limits: wire.batches.limits(),
            body: self.completion.body,
            decision: &self.decision,
        })
    }

    fn order_in_batch<'o>(
        &'o self,
        arm: &'o Arm,
        told: &'o Wording,
    ) -> Result<Box<dyn Order + 'o>, Unserved> {
        self.order_for(arm, told, Purpose::Batch)
    }

    fn order_to_explore<'o>(
        &'o self,
        arm: &'o Arm,
        told: &'o Wording,
    ) -> Option<Box<dyn Order + 'o>> {
        let order = CompletionOrder::new(self, arm, told, Purpose::Exploring).ok()?;
        Some(Box::new(order))
    }

    fn decided(&self) -> Option<Decided<'_>> {
        Some(Decided {
            asked: &self.completion.request.model,
            rule: &self.decision.rule,
            task: self.completion.task_name(),
            tier: self.decision.attempts[0].model.tier,
            // The name is the client's own text, and goes to the log.
            unknown: (self.decision.unknown.as_ref())
                .filter(|_| !self.private && self.completion.detected().is_empty())
                .map(ToString::to_string),
            noted: (!self.decision.untouched).then(|| DecidedFor {
                request: self.completion.admission.id,
                task: self.completion.graded().difficulty.task,
                difficulty: self.completion.graded().difficulty.difficulty,
                objective: self.completion.admission.wishes.objective,
                stuck: self.stuck,
                decision: &self.decision,
            }),
        })
    }

    fn asked(&self) -> Option<&str> {
        // The question about an answer is nobody's request.
        (![check::RULE, shadow::RULE].contains(&&*self.decision.rule))
            .then_some(&*self.completion.request.model)
    }

    fn changed(&self, arm: &Arm) -> Option<Option<TurnChange>> {
        let turn = self.turn.as_ref().filter(|_| !self.decision.untouched)?;
        let before = turn.before.as_ref().filter(|_| turn.serving.is_none())?;
        let effort = arm.effort_or(self.completion.request.effort);
        Some(match () {
            () if before.model != arm.model.name => Some(TurnChange::Model),
            () if before.effort != effort => Some(TurnChange::Effort),
            () => None,
        })
    }

    fn remembers(&self, arm: &Arm) -> Option<(UserTurn, Served)> {
        let turn = self
            .turn
            .as_ref()
            .filter(|_| !self.decision.untouched)?
            .turn;
        let served = Served {
            model: arm.model.name.clone(),
            effort: arm.effort_or(self.completion.request.effort),
            rule: self.decision.rule.clone(),
            efforts: self.efforts_to_remember(),
        };
        Some((turn, served))
    }

    fn on_local_models(&self) -> Option<Box<dyn Work + '_>> {
        if self.private {
            return None;
        }
        // Where no local model can take it, the full cap is the reason.
        let local = self.completion.decide_on(self.turn.clone(), true).ok()?;
        Some(Box::new(local))
    }
}

/// Seconds since 1970.
fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
