//! The judgement: what the learned weights make of the signals, and how far they are to be believed.

use super::model::{Grader, embedded, task_of};
use super::overlay::Overlay;
use super::{Difficulty, Features, Plain, Task};

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
    judged(grader, features, overlay).0
}

/// The ask by which a prompt is graded: its own, or one before it that it goes on with; `None` where it is plain by its form, and nothing learned
/// is asked.
#[must_use]
pub fn decisive(features: &Features) -> Option<&Features> {
    judged(embedded(), features, None).1
}

fn judged<'f>(
    grader: &Grader,
    features: &'f Features,
    overlay: Option<&Overlay>,
) -> (Difficulty, Option<&'f Features>) {
    let own = match features.plain {
        Some(plain) => (by_form(plain), None),
        None => (learned(grader, features, overlay), Some(features)),
    };
    match &features.follows {
        Some(before) if !stands_alone(&own.0, features) => {
            let before = judged(grader, before, overlay);
            let [earlier, now] = [&before.0, &own.0].map(|d| (demand(d), d.difficulty));
            if earlier > now { before } else { own }
        }
        _ => own,
    }
}

/// The grade of what is plain by its form.
fn by_form(plain: Plain) -> Difficulty {
    let (task, difficulty, answer_tokens) = match plain {
        Plain::Chore => (Task::Summarise, 0.1, 60),
        Plain::Talk | Plain::Farewell => (Task::Unknown, 0.02, 30),
        Plain::Sum => (Task::Maths, 0.02, 20),
        Plain::Proof => (Task::Creative, 0.1, 100),
    };
    Difficulty {
        difficulty,
        failure: difficulty,
        confidence: 1.0,
        task,
        gain: 0.0,
        answer_tokens,
        reasoning_factor: 1.0,
    }
}

/// Below this a plain task most likely goes to the small model.
const PLAIN_BELOW: f64 = 0.5;

fn is_plain(task: Task) -> bool {
    matches!(
        task,
        Task::Summarise | Task::Translate | Task::Creative | Task::SimpleQuestion | Task::Extract
    )
}

/// Whether a short ask is plainly easier than what was asked before, so that it inherits nothing.
fn stands_alone(own: &Difficulty, features: &Features) -> bool {
    match features.plain {
        Some(Plain::Talk) => return false,
        Some(_) => return true,
        None => {}
    }
    let easy = is_plain(own.task) && own.difficulty < PLAIN_BELOW;
    // What a text is to become needs no more of the ask before it; what if something were otherwise does.
    let over_text =
        matches!(own.task, Task::Summarise | Task::Translate) && !features.reading.supposes;
    easy && (over_text || !features.leans_back)
}

/// How much a grade demands of a model, so that two can be compared: about 0.35 is where the small model ends and 0.6 where the
/// reasoning model begins. An ask of no known task demands less than any that is known to need more than a small model, since it most
/// likely goes on with it.
fn demand(grade: &Difficulty) -> f64 {
    let d = grade.difficulty;
    match grade.task {
        Task::Debug | Task::Logic | Task::MultiStep => d.max(0.35),
        Task::Maths => d,
        Task::Code => (d - 0.1).max(0.35),
        task if is_plain(task) && d < PLAIN_BELOW => d.min(0.34),
        _ if grade.difficulty < SMALL_TALK => 0.0,
        _ => 0.345,
    }
}

/// Only small talk is of no known task and yet below this.
const SMALL_TALK: f64 = 0.1;

/// What the learned weights say of an ask.
fn learned(grader: &Grader, features: &Features, overlay: Option<&Overlay>) -> Difficulty {
    let said = features.reading.said_by(grader);
    let told = said.heads;
    let raw = told.raw;
    let familiar = (1.0 - said.strangeness / STRANGE).clamp(0.0, 1.0);
    let (task, clear) = task_of(&told.tasks);
    let difficulty = grader
        .difficulty
        .chance(f64::from(grader.blend.score(&raw, task)));
    let failure = grader.failure.chance(f64::from(raw.failure()));
    let gain = grader.gain.at(f64::from(raw.gain()));
    let (difficulty, failure, gain) = match overlay {
        // An operator's own outcomes say what fails; opinions are no longer asked.
        Some(own) => {
            let failure = own.chance(failure);
            (
                failure,
                failure,
                own.gain_line().at(own.score(&raw, features)),
            )
        }
        None => (difficulty, failure, gain),
    };
    // A few words say little of what they ask; where one of them names work, they are not known to be plain.
    let task = match task {
        plain if features.reading.work && is_plain(plain) && difficulty < PLAIN_BELOW => {
            Task::Unknown
        }
        other => other,
    };
    let answer = f64::from(told.answer).exp();
    let reasoning = f64::from(told.reasoning).exp();
    Difficulty {
        difficulty,
        failure,
        confidence: clear * familiar,
        task,
        gain: gain.clamp(-1.0, 1.0),
        answer_tokens: tokens(answer / ANSWER_CHARS),
        reasoning_factor: (reasoning / REASONING_CHARS).clamp(0.25, 4.0),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what fits"
)]
fn tokens(count: f64) -> u32 {
    count.clamp(1.0, 100_000.0) as u32
}
