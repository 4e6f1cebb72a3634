//! What each arm uses: how many tokens its answers and its thinking take, against what was expected, and how soon it begins.
//!
//! Learned from the usage that providers report, by task; forgotten with the process.

use super::{Evidences, Refusals};
use crate::arm::Effort;
use crate::classify::Task;
use crate::route::standing::Habit;
use foldhash::HashMap;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Arms and tasks that are learned; an entry is about 100 bytes.
const ENTRIES_MAX: usize = 10_000;
/// So many answers count as much as what was expected before.
const PRIOR: f64 = 10.0;
/// Older answers fade: the last so many count.
const LAST: f64 = 50.0;
/// One answer counts for no more than so many times what was expected, and no less than its inverse.
const ODDEST: f64 = 20.0;

/// The habits of all arms.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    seen: Arc<RwLock<HashMap<u64, SeenUse>>>,
    evidence: Evidences,
    refusals: Refusals,
}

/// Means over answers.
#[derive(Clone, Copy, Debug, Default)]
struct SeenUse {
    answers: f64,
    answer: f64,
    /// Answers of which reasoning was expected.
    thoughts: f64,
    reasoning: f64,
    first_token_secs: Option<f64>,
}

/// What an answer was expected to use, and what it has used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Use {
    /// Visible tokens.
    pub answer: u64,
    /// Reasoning tokens.
    pub reasoning: u64,
}

fn key(model: &str, arm: Option<(Effort, Task)>) -> u64 {
    let arm = arm.map(|(effort, task)| (effort, task.name()));
    FixedState::default().hash_one((model, arm))
}

/// An expectation, drawn to what was seen as far as that says anything.
fn drawn(expected: f64, seen: f64, answers: f64) -> f64 {
    expected + (seen - expected) * answers / (answers + PRIOR)
}

impl Habits {
    /// What the arms' answers show of themselves.
    #[must_use]
    pub fn evidence(&self) -> &Evidences {
        &self.evidence
    }

    /// What the models' providers have refused lately.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// What is known of an arm at a task: drawn from what was expected to what its model uses at all efforts and tasks, and from there
    /// to what it uses itself at this one.
    #[must_use]
    pub fn of(&self, model: &str, effort: Effort, task: Task) -> Option<Habit> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        let at_all = seen.get(&key(model, None))?;
        let own = seen.get(&key(model, Some((effort, task))));
        let own = own.copied().unwrap_or_default();
        let answer = drawn(1.0, at_all.answer, at_all.answers);
        let reasoning = drawn(1.0, at_all.reasoning, at_all.thoughts);
        Some(Habit {
            weight: own.thoughts / (own.thoughts + PRIOR),
            answer: drawn(answer, own.answer, own.answers),
            reasoning: drawn(reasoning, own.reasoning, own.thoughts),
            first_token: own.first_token_secs.map(Duration::from_secs_f64),
        })
    }

    /// Learns from one answer whose usage its provider has told.
    pub fn note(
        &self,
        (model, effort, task): (&str, Effort, Task),
        expected: Use,
        used: Use,
        first_token: Option<Duration>,
    ) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        for key in [key(model, None), key(model, Some((effort, task)))] {
            if seen.len() >= ENTRIES_MAX && !seen.contains_key(&key) {
                continue;
            }
            seen.entry(key)
                .or_default()
                .note(expected, used, first_token);
        }
    }
}

impl SeenUse {
    fn note(&mut self, expected: Use, used: Use, first_token: Option<Duration>) {
        let learn = |answers: &mut f64, mean: &mut f64, now: f64| {
            *answers = (*answers + 1.0).min(LAST);
            *mean += (now - *mean) / *answers;
        };
        if let Some(now) = ratio(used.answer, expected.answer) {
            learn(&mut self.answers, &mut self.answer, now);
        }
        if let Some(now) = ratio(used.reasoning, expected.reasoning) {
            learn(&mut self.thoughts, &mut self.reasoning, now);
        }
        if let Some(took) = first_token {
            let took = took.as_secs_f64();
            let mean = self.first_token_secs.unwrap_or(took);
            self.first_token_secs = Some(mean + (took - mean) / 10.0);
        }
    }
}

/// How many times what was expected; `None` where nothing was.
fn ratio(used: u64, expected: u64) -> Option<f64> {
    let whole = |tokens: u64| f64::from(u32::try_from(tokens).unwrap_or(u32::MAX));
    let ratio = whole(used) / whole(expected);
    (expected > 0).then(|| ratio.clamp(1.0 / ODDEST, ODDEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm_that_thinks_longer_than_expected_is_expected_to_go_on_so() {
        let habits = Habits::default();
        let of = |effort, task| habits.of("m", effort, task);
        let arm = ("m", Effort::High, Task::Maths);
        let expected = Use {
            answer: 100,
            reasoning: 1_000,
        };
        let used = Use {
            answer: 100,
            reasoning: 9_000,
        };
        assert_eq!(of(Effort::High, Task::Maths), None);
        habits.note(arm, expected, used, None);
        let once = of(Effort::High, Task::Maths).expect("it was seen");
        assert!(once.reasoning < 3.0, "one answer says little: {once:?}");
        for _ in 0..40 {
            habits.note(arm, expected, used, Some(Duration::from_secs(2)));
        }
        let often = of(Effort::High, Task::Maths).expect("it was seen");
        assert!((7.0..9.0).contains(&often.reasoning), "{often:?}");
        assert!((often.answer - 1.0).abs() < 1e-9 && often.weight > 0.5);
        assert_eq!(often.first_token, Some(Duration::from_secs(2)));
        let elsewhere = of(Effort::Low, Task::Code).expect("the model was seen");
        assert!(
            elsewhere.reasoning > 5.0,
            "a model's way shows everywhere: {elsewhere:?}"
        );
        assert!(elsewhere.weight < 0.1);
    }
}
