//! The judgement: what the learned weights make of the signals, and how far they are to be believed.

use super::model::{Grader, embedded};
use super::overlay::Overlay;
use super::{Difficulty, Features, Task};

/// Below this share of what speaks for all tasks the best one is a guess, and a guess is "unknown".
const KNOWN_MIN: f32 = 0.25;
/// This share of the signals where they seldom were in training makes a prompt wholly strange.
const STRANGE: f64 = 0.25;
/// Characters in a token of an answer, about.
const ANSWER_CHARS: f64 = 4.0;
/// Characters of written-out reasoning that the usual figures for an effort stand for: the middle of what it was trained on.
const REASONING_CHARS: f64 = 350.0;

/// Judges what was measured, by the grader that is built in.
#[must_use]
pub fn grade(features: &Features, overlay: Option<&Overlay>) -> Difficulty {
    grade_by(embedded(), features, overlay)
}

/// Judges by this grader.
#[must_use]
pub fn grade_by(grader: &Grader, features: &Features, overlay: Option<&Overlay>) -> Difficulty {
    let raw = grader.scores.raw(features);
    let familiar = (1.0 - grader.strangeness(features) / STRANGE).clamp(0.0, 1.0);
    let (task, clear) = task(grader, features);
    let (difficulty, gain) = match overlay {
        Some(own) => (
            own.chance().chance(f64::from(raw.failure())),
            own.gain_line().at(own.score(&raw, features)),
        ),
        None => (
            grader.difficulty.chance(f64::from(raw.difficulty())),
            grader.gain.at(f64::from(raw.gain())),
        ),
    };
    let answer = f64::from(grader.answer.predict(features.values())).exp();
    let reasoning = f64::from(grader.reasoning.predict(features.values())).exp();
    Difficulty {
        difficulty,
        confidence: clear * familiar,
        task,
        gain: gain.clamp(-1.0, 1.0),
        answer_tokens: tokens(answer / ANSWER_CHARS),
        reasoning_factor: (reasoning / REASONING_CHARS).clamp(0.25, 4.0),
    }
}

/// What is to be done, and how clearly that is said.
fn task(grader: &Grader, features: &Features) -> (Task, f64) {
    let scores = grader.task_scores(features);
    let all: f32 = scores.iter().map(|s| s.max(0.0)).sum();
    let best = scores
        .iter()
        .zip(Task::ALL)
        .max_by(|a, b| a.0.total_cmp(b.0));
    let (score, task) = best.expect("there are tasks");
    let share = score.max(0.0) / all.max(f32::MIN_POSITIVE);
    let task = if share < KNOWN_MIN {
        Task::Unknown
    } else {
        task
    };
    (task, f64::from(share))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what fits"
)]
fn tokens(count: f64) -> u32 {
    count.clamp(1.0, 100_000.0) as u32
}
