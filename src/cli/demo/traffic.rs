//! The requests of the month of `flyball demo --days`: which app asks what, on which arms that is tried, and what each attempt uses. Follows from the
//! seed alone: it knows no caps and no books.

use super::calendar::{Calendar, LOOPS, load};
use super::world::{
    AWAY, App, AppManner, Job, LARGE, LOCAL, PlayedModel, REASONING, SMALL, STANDARD, service_tier,
    thinks,
};
use crate::arm::Effort;
use crate::chat::{ServiceTier, Usage};
use crate::ledger::record::{Basis, Outcome};
use crate::simulate::Dice;
use crate::telemetry::{ProbePart, TurnChange};
use std::ops::Range;
use uuid::Builder;

/// One request.
pub(super) struct Ask {
    pub(super) at_ms: i64,
    pub(super) id: String,
    pub(super) app: &'static App,
    pub(super) job: &'static Job,
    /// The conversation, where it has more than one turn.
    pub(super) session: String,
    /// The model that was asked for.
    pub(super) asked: &'static str,
    pub(super) difficulty_milli: i64,
    /// Of a second or later turn: whether its arm is another than in the turn before.
    pub(super) turn: Option<Option<TurnChange>>,
    /// One after the other.
    pub(super) tries: Vec<Try>,
}

/// One attempt.
#[derive(Clone)]
pub(super) struct Try {
    pub(super) id: String,
    pub(super) model: &'static PlayedModel,
    pub(super) effort: Effort,
    pub(super) usage: Usage,
    pub(super) outcome: Outcome,
    pub(super) basis: Basis,
    /// The provider's HTTP status; 0 where it never answered.
    pub(super) status: u16,
    pub(super) part: Option<ProbePart>,
    /// What the baseline would have found in its provider's cache.
    pub(super) warm: u64,
    /// What the baseline would have thought; nothing where it is the baseline itself.
    pub(super) baseline_thinks: Option<u64>,
    pub(super) tier: Option<ServiceTier>,
    pub(super) stream: bool,
    /// To the first token, and to the end.
    pub(super) first_ms: u64,
    pub(super) took_ms: u64,
}

impl Try {
    /// It failed, and nobody has paid for it or knows what it cost.
    pub(super) fn failed(&self) -> bool {
        !matches!(
            self.outcome,
            Outcome::Ok | Outcome::Length | Outcome::ClientGone | Outcome::Escalated
        )
    }
}

/// Every request of the conversations that begin in this time, which is a part of one hour.
pub(super) fn between(calendar: &Calendar, app: &'static App, time: &Range<i64>) -> Vec<Ask> {
    let count = calendar.begin(app, time);
    let mut asks = Vec::new();
    for number in 0..count {
        let parts = [app.key, &time.start.to_string(), &number.to_string()];
        let dice = Dice::new(calendar.seed, &parts);
        let mut conversation = Talk::begin(calendar, app, time, dice);
        conversation.go_on(&mut asks);
    }
    asks
}

/// A conversation as it goes on.
struct Talk<'c> {
    calendar: &'c Calendar,
    app: &'static App,
    job: &'static Job,
    dice: Dice,
    at_ms: i64,
    turns: u64,
    session: String,
    arm: (&'static str, Effort),
    /// What the turn before has left in the conversation, in tokens.
    said: u64,
    loops: bool,
}

impl<'c> Talk<'c> {
    fn begin(
        calendar: &'c Calendar,
        app: &'static App,
        time: &Range<i64>,
        mut dice: Dice,
    ) -> Talk<'c> {
        let job = picked(&mut dice, app.jobs, |job| job.weight);
        let last = u64::try_from(time.end - time.start - 1).unwrap_or(0);
        let later = i64::try_from(dice.between(0, last)).unwrap_or(0);
        let at_ms = time.start + later;
        let turns = dice.between(1, app.turns);
        let session = match turns {
            1 => String::new(),
            _ => format!("s-{:012x}", dice.roll() >> 16),
        };
        let mut talk = Talk {
            calendar,
            app,
            job,
            loops: app.key == LOOPS && calendar.dear.contains(&at_ms),
            dice,
            at_ms,
            turns,
            session,
            arm: (STANDARD, Effort::None),
            said: 0,
        };
        talk.arm = talk.choose();
        talk
    }

    fn choose(&mut self) -> (&'static str, Effort) {
        if self.loops {
            return (REASONING, Effort::Xhigh);
        }
        let (model, effort, _) = picked(&mut self.dice, self.job.arms, |arm| arm.2);
        (model, *effort)
    }

    fn go_on(&mut self, asks: &mut Vec<Ask>) {
        for turn in 0..self.turns {
            if self.at_ms >= self.calendar.until_ms {
                return;
            }
            let before = self.arm;
            // An arm stays for most of a conversation.
            if turn > 0 && self.app.manner == AppManner::Routed && self.dice.between(1, 100) > 86 {
                self.arm = self.choose();
            }
            let change = match (before, self.arm) {
                (a, b) if a == b => None,
                (a, b) if a.0 == b.0 => Some(TurnChange::Effort),
                _ => Some(TurnChange::Model),
            };
            let ask = self.ask((turn > 0).then_some(change));
            let took: u64 = ask.tries.iter().map(|t| t.took_ms).sum();
            let reads = self.dice.between(8_000, 240_000);
            self.at_ms += i64::try_from(took + reads).unwrap_or(0);
            asks.push(ask);
        }
    }

    fn ask(&mut self, turn: Option<Option<TurnChange>>) -> Ask {
        let (low, high) = self.job.difficulty;
        let difficulty = self.dice.between(low, high);
        let tries = self.tries(turn, difficulty);
        let last = tries.last().map(|t| t.usage).unwrap_or_default();
        self.said = last.input_total() + last.output.saturating_sub(last.reasoning);
        Ask {
            at_ms: self.at_ms,
            id: id(&mut self.dice, self.at_ms),
            app: self.app,
            job: self.job,
            session: self.session.clone(),
            asked: match self.app.manner {
                AppManner::ByName => self.arm.0,
                AppManner::Routed | AppManner::Batches => "auto",
            },
            difficulty_milli: i64::try_from(difficulty).unwrap_or(0),
            turn,
            tries,
        }
    }

    /// The attempts of one request, in the order in which they are made.
    fn tries(&mut self, turn: Option<Option<TurnChange>>, difficulty: u64) -> Vec<Try> {
        let changed = matches!(turn, Some(Some(_)));
        let mut tries = Vec::new();
        let first = !self.loops && self.dice.between(1, 100) <= self.job.asked_first;
        if first {
            let mut cheap = self.one((SMALL, Effort::None), difficulty, changed);
            let replaced = self.dice.between(1, 100) <= 12 + difficulty / 40;
            cheap.part = Some(match replaced {
                true => ProbePart::Escalated,
                false => ProbePart::Stood,
            });
            cheap.outcome = match replaced {
                true => Outcome::Escalated,
                false => Outcome::Ok,
            };
            (cheap.basis, cheap.status) = (Basis::Reported, 200);
            tries.push(cheap);
            if self.dice.between(1, 100) <= 30 {
                let check = self.check(&tries[0]);
                tries.push(check);
            }
            if !replaced {
                return tries;
            }
        }
        let mut arm = self.arm;
        loop {
            let one = self.one(arm, difficulty, changed);
            let failed = one.failed() && one.outcome != Outcome::StreamCut;
            tries.push(one);
            match (failed, fallback(arm.0)) {
                (true, Some(model)) if tries.len() < 4 => {
                    let takes = PlayedModel::named(model).efforts;
                    let effort = if takes.contains(&arm.1) {
                        arm.1
                    } else {
                        takes[0]
                    };
                    arm = (model, effort);
                }
                _ => return tries,
            }
        }
    }

    /// An attempt on an arm, and how it ends.
    fn one(&mut self, (name, effort): (&'static str, Effort), difficulty: u64, cold: bool) -> Try {
        let model = PlayedModel::named(name);
        let (usage, warm, baseline_thinks) = self.usage(model, effort, difficulty, cold);
        let stream = self.dice.between(1, 100) <= self.app.streamed;
        let speed = self.dice.between(65, 120);
        let wait = model.first_ms * self.dice.between(60, 190) / 100 * load(self.at_ms) / 100;
        let reads = usage.input / 12;
        let first_ms = wait + reads + usage.reasoning * 25_000 / (model.rate * speed);
        let visible = usage.output - usage.reasoning;
        let tier = service_tier(self.app.manner, model);
        let waits = match tier {
            Some(ServiceTier::Batch) => self.dice.between(20_000, 110_000),
            _ => 0,
        };
        let mut one = Try {
            id: id(&mut self.dice, self.at_ms),
            model,
            effort,
            usage: Usage { tier, ..usage },
            outcome: Outcome::Ok,
            basis: Basis::Reported,
            status: 200,
            part: None,
            warm,
            baseline_thinks,
            tier,
            stream,
            first_ms,
            took_ms: first_ms + waits + visible * 100_000 / (model.rate * speed),
        };
        self.end(&mut one);
        one
    }

    /// What an attempt uses, what the baseline would have found in a cache, and what it would have thought.
    fn usage(
        &mut self,
        model: &PlayedModel,
        effort: Effort,
        difficulty: u64,
        cold: bool,
    ) -> (Usage, u64, Option<u64>) {
        let (low, high) = self.job.input;
        let short = self.dice.between(0, 1_000) * self.dice.between(0, 1_000) / 1_000;
        let fresh = low + (high - low) * short / 1_000;
        let (input, kept) = match self.said {
            // What stands at the beginning of each of an app's prompts.
            0 if self.dice.between(1, 100) <= 70 => (fresh, low * 6 / 10),
            0 => (fresh, 0),
            said => (said + self.dice.between(40, 500), said * 9 / 10),
        };
        // Caches keep whole blocks of longer prompts.
        let kept = if kept < 640 { 0 } else { kept / 128 * 128 };
        let cached = match cold || model.local {
            true => 0,
            false => kept,
        };
        let (low, high) = self.job.answer;
        let visible = self.dice.between(low, high);
        let pace = self.dice.between(45, 170) * (500 + difficulty) / 1_000;
        let thinking = |effort| self.job.thinking * thinks(effort) / 100 * pace / 100;
        let reasoning = thinking(effort);
        let is_baseline = (model.name, effort) == BASELINE;
        let usage = Usage {
            input: input - cached,
            cached,
            output: visible + reasoning,
            reasoning,
            ..Usage::default()
        };
        let warm = if self.said > 0 { kept } else { 0 };
        (usage, warm, (!is_baseline).then(|| thinking(BASELINE.1)))
    }

    /// Lets an attempt end as attempts do.
    fn end(&mut self, one: &mut Try) {
        let away = one.model.provider == AWAY && self.calendar.incident.contains(&self.at_ms);
        let lot = self.dice.between(1, 10_000);
        let (outcome, basis, status, part) = match (away, lot) {
            (true, ..6_500) => (Outcome::UpstreamError, Basis::Void, 503, 0),
            (true, ..8_600) => (Outcome::NotSent, Basis::Void, 0, 0),
            (true, _) => (Outcome::UpstreamTimeout, Basis::Bound, 0, 0),
            (false, ..26) => (Outcome::UpstreamError, Basis::Void, 500, 0),
            (false, ..36) => (Outcome::UpstreamError, Basis::Void, 429, 0),
            (false, ..60) => (Outcome::RefusedUpstream, Basis::Void, 400, 0),
            (false, ..74) if one.stream => (Outcome::StreamCut, Basis::Bound, 200, 40),
            (false, ..210) => (Outcome::Length, Basis::Reported, 200, 100),
            (false, ..265) if one.stream => (Outcome::ClientGone, Basis::Counted, 200, 55),
            (false, ..280) if one.stream => (Outcome::ClientGone, Basis::Bound, 200, 55),
            (false, ..380) => (Outcome::Ok, Basis::Counted, 200, 100),
            (false, ..383) => {
                one.usage.anomaly = true;
                (Outcome::Ok, Basis::Reported, 200, 100)
            }
            _ => (Outcome::Ok, Basis::Reported, 200, 100),
        };
        (one.outcome, one.basis, one.status) = (outcome, basis, status);
        if outcome == Outcome::UpstreamTimeout {
            one.took_ms = 60_000;
        }
        if part == 0 {
            one.usage = Usage::default();
            one.took_ms = one.took_ms.min(30_000);
        } else if part < 100 {
            let visible = one.usage.output - one.usage.reasoning;
            one.usage.output = one.usage.reasoning + visible * part / 100;
            one.took_ms = one.first_ms + (one.took_ms - one.first_ms) * part / 100;
        }
    }

    /// The question whether an answer is right.
    fn check(&mut self, of: &Try) -> Try {
        Try {
            id: id(&mut self.dice, self.at_ms),
            usage: Usage {
                input: of.usage.input_total() + of.usage.output + 40,
                output: 3,
                ..Usage::default()
            },
            outcome: Outcome::Ok,
            part: Some(ProbePart::Check),
            stream: false,
            took_ms: of.model.first_ms + 20,
            ..of.clone()
        }
    }
}

/// What everything is held against.
pub(super) const BASELINE: (&str, Effort) = (REASONING, Effort::Medium);

/// Who answers where this model fails.
fn fallback(model: &str) -> Option<&'static str> {
    match model {
        LOCAL => None,
        SMALL => Some(STANDARD),
        STANDARD | LARGE => Some(REASONING),
        _ => Some(LARGE),
    }
}

fn picked<'t, T>(dice: &mut Dice, all: &'t [T], weight: impl Fn(&T) -> u64) -> &'t T {
    let sum: u64 = all.iter().map(&weight).sum();
    let mut lot = dice.between(1, sum.max(1));
    let fits = all.iter().find(|one| {
        let w = weight(one);
        let fits = lot <= w;
        lot = lot.saturating_sub(w);
        fits
    });
    fits.unwrap_or(&all[0])
}

/// An id as requests have it.
fn id(dice: &mut Dice, at_ms: i64) -> String {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&dice.roll().to_le_bytes());
    let ms = u64::try_from(at_ms).unwrap_or(0);
    Builder::from_unix_timestamp_millis(ms, &bytes)
        .into_uuid()
        .to_string()
}
