//! The shadow of a request: when its answer has been delivered, another arm is asked the same, off the path, and the two answers are
//! judged. Its client never waits for it and cannot stop it; what it costs is nobody's spending, and counts under a cap of its own.
//!
//! What waits is bounded: so many requests, so many bytes of theirs, so many calls at once. What is beyond that is dropped, and counted.

use super::admission::{Admission, Entrant, thousandths};
use super::cached::Asked;
use super::completion::Completion;
use super::work::Work;
use super::{Attempt, Exchange, State, prompts_kept, router};
use crate::caller::{self, Caller};
use crate::capability::Capabilities;
use crate::fleet::Arm;
use crate::judge;
use crate::ledger::cap::SHADOWING;
use crate::ledger::judged::{JudgedAnswer, JudgedBy};
use crate::ledger::now_ms;
use crate::route::worth::Worth;
use crate::route::{ShadowEnd, Shadowing};
use crate::settle::{Delivered, Delivery};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

/// Requests that wait for their answer, or for a call, at once.
const WAITING_MAX: usize = 64;
/// What their bodies may take together, in KiB.
const WAITING_KIB: usize = 16 * 1024;
/// Shadows that are asked and judged at once.
const AT_ONCE: usize = 4;
/// A shadow that takes longer is given up.
const ENDS_WITHIN: Duration = Duration::from_secs(900);

/// What waits to be shadowed.
#[derive(Debug)]
pub struct Shadows {
    waiting: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    at_once: Semaphore,
    ending: watch::Sender<bool>,
}

impl Default for Shadows {
    fn default() -> Shadows {
        Shadows {
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            kib: Arc::new(Semaphore::new(WAITING_KIB)),
            at_once: Semaphore::new(AT_ONCE),
            ending: watch::channel(false).0,
        }
    }
}

impl Shadows {
    /// Ends all of them: the process ends, and nobody waits for them.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// A place for one whose body is so long, if there is any.
    fn place(&self, bytes: usize) -> Option<[OwnedSemaphorePermit; 2]> {
        let kib = u32::try_from(bytes / 1024 + 1).ok()?;
        let one = Arc::clone(&self.waiting).try_acquire_owned().ok()?;
        let room = Arc::clone(&self.kib).try_acquire_many_owned(kib).ok()?;
        Some([one, room])
    }
}

/// A request whose answer is on its way, and what it will be held against.
struct Shadow {
    asked: Asked,
    arm: Arm,
    settings: Arc<Shadowing>,
    delivered: oneshot::Receiver<Delivered>,
    _place: [OwnedSemaphorePermit; 2],
}

/// A number from the id of a request by which it is drawn. Whether it is explored hangs on other digits.
fn drawn(id: &str) -> [u32; 2] {
    let hash = caller::hash(format!("shadow/{id}").as_bytes());
    [0, 4].map(|at| u32::from_be_bytes([hash[at], hash[at + 1], hash[at + 2], hash[at + 3]]))
}

impl Exchange<'_> {
    /// Where this request is one of those that are to be shadowed, waits for its answer by itself.
    pub(super) fn may_be_shadowed(&self, completion: &Completion<'_>) {
        let Some(settings) = &self.admission.policy.shadowing else {
            return;
        };
        let [share, which] = drawn(self.admission.id);
        if u64::from(share) * 1_000_000 >= u64::from(settings.share_ppm) << 32 {
            return;
        }
        let confidential = self.admission.wishes.private || !self.admission.detected.is_empty();
        if confidential || !completion.may_have_shadow() {
            return;
        }
        let count = u32::try_from(settings.arms.len()).unwrap_or(1).max(1);
        let arm = settings.arms.get((which % count) as usize);
        let arm = arm.and_then(|text| self.admission.policy.fleet.arm(text));
        let Some(arm) = arm else { return };
        let end = |end: ShadowEnd| {
            let model = &arm.model.name;
            self.state.telemetry.shadowed(model, end.name());
        };
        if !completion.suits(&arm.model) || !self.admission.caller.may_use(&arm.model.name) {
            return end(ShadowEnd::Unfit);
        }
        let body = completion.to_be_shadowed();
        let Some(place) = self.state.shadows.place(body.len()) else {
            return end(ShadowEnd::Dropped);
        };
        let (delivery, delivered) = Delivery::new();
        if self.delivery.set(Arc::new(delivery)).is_err() {
            return;
        }
        let mut asked = Asked::of(self.admission, &body);
        // What the client wishes of its own answer is no wish of this one.
        let own = asked
            .head
            .headers
            .keys()
            .filter(|name| name.as_str().starts_with("x-flyball-"));
        for name in own.cloned().collect::<Vec<_>>() {
            asked.head.headers.remove(name);
        }
        let shadow = Shadow {
            asked,
            arm,
            settings: Arc::clone(settings),
            delivered,
            _place: place,
        };
        tokio::spawn(follow(Arc::clone(self.state), shadow));
    }
}

/// Waits for the answer, and holds the other one against it.
async fn follow(state: Arc<State>, mut shadow: Shadow) {
    let mut ending = state.shadows.ending.subscribe();
    let work = async {
        match (&mut shadow.delivered).await {
            // Dropped untold: it was refused, or has failed.
            Err(_) => ShadowEnd::Unanswered,
            Ok(delivered) => {
                let held = held_against(&state, &shadow, delivered);
                let held = tokio::time::timeout(ENDS_WITHIN, held).await;
                match held {
                    Ok(Ok(())) => ShadowEnd::Judged,
                    Ok(Err(end)) => end,
                    Err(_) => ShadowEnd::Failed,
                }
            }
        }
    };
    let end = tokio::select! {
        end = work => end,
        _ = ending.wait_for(|ending| *ending) => return,
    };
    let model = &shadow.arm.model.name;
    state.telemetry.shadowed(model, end.name());
}

/// Asks the other arm, has both answers judged, and keeps what comes of it.
async fn held_against(
    state: &Arc<State>,
    shadow: &Shadow,
    delivered: Delivered,
) -> Result<(), ShadowEnd> {
    let free = state.shadows.at_once.acquire().await;
    let _one_of_few = free.map_err(|_| ShadowEnd::Dropped)?;
    let asked = &shadow.asked;
    let id = uuid::Uuid::now_v7().to_string();
    let admission = admitted(state, asked, &id).ok_or(ShadowEnd::Failed)?;
    let place = asked.place().map_err(|_| ShadowEnd::Failed)?;
    let completion = Completion::read(&admission, &asked.body, &place);
    let completion = completion.map_err(|_| ShadowEnd::Failed)?;
    let of = &delivered.opening;
    let served = completion.arm_of(&of.model, of.effort);
    let served = served.ok_or(ShadowEnd::Unfit)?;
    let arm = &shadow.arm;
    let same = served.model.name == arm.model.name && of.effort == arm.effort_or(None);
    if same || served.model.simulated != arm.model.simulated {
        return Err(ShadowEnd::Unfit);
    }
    let judged_by = shadow.settings.judge.as_deref();
    let judged_by = judged_by.and_then(|text| admission.policy.fleet.arm(text));
    let judged_by = judged_by.filter(|judge| judge.model.simulated == arm.model.simulated);
    // What its caller may not send to a model, flyball does not send there either.
    let judged_by = judged_by.filter(|judge| asked.caller.may_use(&judge.model.name));
    let bench = Bench {
        state,
        admission: &admission,
        completion: &completion,
        judge: judged_by,
    };
    // Before anything is spent it is known whether anything can come of it.
    if let Some(text) = &delivered.text
        && !bench.can_tell(text)
    {
        return Err(ShadowEnd::Unjudged);
    }
    let other = bench.ask(&completion, arm).await?;
    // Who left in the middle has seen no whole answer; its arm is asked once more, so that those whose clients have patience are not all that is
    // known.
    let delivered = match delivered.text {
        Some(_) => delivered,
        None => bench.ask(&completion, &served).await?,
    };
    let difficulty = &completion.graded().difficulty;
    let worth = Worth::of(difficulty, false).by(admission.policy.abilities.as_deref());
    let chance = |arm: &Arm| worth.chance(arm);
    let better = chance(arm) > chance(&served);
    let scores = match better {
        true => bench.scores(&delivered, &other).await?,
        false => {
            let (other, delivered) = bench.scores(&other, &delivered).await?;
            (delivered, other)
        }
    };
    if shadow.settings.keep_prompts {
        let said = |answer: &Delivered, score: f64| json!({"model": answer.opening.model, "effort": answer.opening.effort.name(), "score": score, "text": answer.text});
        let line = json!({
            "request": asked.id, "at_ms": now_ms(), "task": difficulty.task.name(),
            "asked": serde_json::from_slice::<Value>(&asked.body).unwrap_or_default(),
            "answers": [said(&delivered, scores.0), said(&other, scores.1)],
        });
        let folder = &state.ledger.settings().data_dir;
        if let Err(error) = prompts_kept::keep(folder, line).await {
            tracing::warn!(%error, "what a shadow was asked cannot be kept");
        }
    }
    let about = |answer: Delivered, score: f64| JudgedAnswer {
        request: asked.id.clone(),
        model: answer.opening.model,
        effort: answer.opening.effort,
        by: JudgedBy::Shadow,
        task: difficulty.task.name().to_owned(),
        difficulty_milli: thousandths(difficulty.difficulty),
        score_ppm: millionths(score),
        cost: Some(answer.cost),
        seen_ppm: i64::from(shadow.settings.share_ppm),
        at_ms: now_ms(),
        key: asked.caller.key.as_ref().map(|key| key.id),
    };
    let outcomes = vec![about(delivered, scores.0), about(other, scores.1)];
    state.ledger.keep_outcomes(outcomes);
    if let Some(measured) = completion.measured() {
        state.ledger.keep_ask(&asked.id, measured);
    }
    Ok(())
}

/// The request as flyball's own: no caller pays for it, and the cap of shadows counts it.
fn admitted<'a>(state: &'a State, asked: &'a Asked, id: &'a str) -> Option<Admission<'a>> {
    let admission = Admission::new(state.inbound(Entrant {
        caller: Caller { key: None },
        head: &asked.head,
        dialect: router::asked(&asked.head).0,
        id,
        arrived: Instant::now(),
        policy: Arc::clone(&asked.policy),
        trace: asked.trace.outlived(),
    }));
    let mut admission = admission.ok()?;
    let (name, value) = SHADOWING;
    admission.tags = vec![(name.to_owned(), value.to_owned())];
    Some(admission)
}

/// Where two answers to one request are judged.
struct Bench<'a> {
    state: &'a Arc<State>,
    admission: &'a Admission<'a>,
    completion: &'a Completion<'a>,
    judge: Option<Arm>,
}

impl Bench<'_> {
    /// Whether it can be told of any other answer how it compares with this one.
    fn can_tell(&self, text: &str) -> bool {
        self.judge.is_some() || self.completion.demands_form() || judge::agrees("", text).is_some()
    }

    /// Asks an arm, with a reservation of its own; no second time, whatever becomes of it.
    async fn ask(&self, what: &Completion<'_>, arm: &Arm) -> Result<Delivered, ShadowEnd> {
        let exchange = Exchange::of(self.state, self.admission);
        let (delivery, delivered) = Delivery::new();
        if exchange.delivery.set(Arc::new(delivery)).is_err() {
            return Err(ShadowEnd::Failed);
        }
        let routed = what.as_shadow(arm);
        let channel = exchange.admits(&routed, arm).ok_or(ShadowEnd::Failed)?;
        let told = routed.told(arm).map_err(|_| ShadowEnd::Unfit)?;
        let mut order = routed.order(arm, &told).map_err(|_| ShadowEnd::Unfit)?;
        let wanted = order.bound().map_or(0, |bound| bound.rough.tokens);
        let room = exchange.room(&mut *order, Duration::ZERO).await;
        let room = room.map_err(|_| ShadowEnd::NoRoom)?;
        // An answer whose limit was lowered to what is left says nothing of its arm.
        if room.as_ref().is_some_and(|room| room.tokens() < wanted) {
            return Err(ShadowEnd::NoRoom);
        }
        let attempt = Attempt {
            arm,
            channel,
            told: &told,
            order: &mut *order,
            decided: self.admission.arrived.elapsed(),
            asks: Capabilities::default(),
            others: false,
            runner: None,
        };
        let answered = Box::pin(exchange.send(attempt, room, None)).await;
        let mut body = match answered {
            Ok(answered) => answered.answer().into_body(),
            Err(_) => return Err(ShadowEnd::Failed),
        };
        // What it says is told by its settlement; here it is only made to come.
        while let Some(Ok(_)) = body.frame().await {}
        drop(body);
        drop(exchange);
        match delivered.await {
            Ok(answer) if answer.text.is_some() => Ok(answer),
            _ => Err(ShadowEnd::Failed),
        }
    }

    /// How good an answer is, and the one that it is held against, which is of the arm that is taken for the better one.
    async fn scores(
        &self,
        answer: &Delivered,
        reference: &Delivered,
    ) -> Result<(f64, f64), ShadowEnd> {
        let (Some(said), Some(right)) = (&answer.text, &reference.text) else {
            return Err(ShadowEnd::Unanswered);
        };
        let broken = [said, right].map(|text| self.completion.breaks_form(text));
        match broken {
            [false, false] => {}
            broken => {
                return Ok((
                    f64::from(u8::from(!broken[0])),
                    f64::from(u8::from(!broken[1])),
                ));
            }
        }
        if let Some(agrees) = judge::agrees(said, right) {
            return Ok((f64::from(u8::from(agrees)), 1.0));
        }
        match &self.judge {
            None if self.completion.demands_form() => Ok((1.0, 1.0)),
            None => Err(ShadowEnd::Unjudged),
            Some(judge) => {
                let first = self.preferred(judge, said, right).await?;
                let swapped = self.preferred(judge, right, said).await?;
                let score = judge::verdict(first, swapped).score;
                Ok((score, 1.0 - score))
            }
        }
    }

    /// Which of two answers a judge prefers; `None` where neither.
    async fn preferred(&self, judge: &Arm, a: &str, b: &str) -> Result<Option<bool>, ShadowEnd> {
        let question = judge::question(&self.completion.transcript(), a, b);
        let body = self.completion.judging(judge, question);
        let body = body.ok_or(ShadowEnd::Failed)?;
        let place = self.completion.checking_at(judge);
        let question = Completion::read(self.admission, &body, &place);
        let question = question.map_err(|_| ShadowEnd::Failed)?;
        let said = Box::pin(self.ask(&question, judge)).await?;
        let words = said.text.unwrap_or_default();
        judge::preference(&words).ok_or(ShadowEnd::Unjudged)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "it is from 0 to 1")]
fn millionths(score: f64) -> i64 {
    (score.clamp(0.0, 1.0) * 1e6).round() as i64
}
