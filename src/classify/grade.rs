//! The first grader: open arithmetic over the signals. Start values, to be replaced by learned ones.

use super::{Difficulty, Features, Task};

/// Below this the best task is a guess, and a guess is "unknown".
const KNOWN_MIN: f64 = 1.2;

/// Judges what was measured.
#[must_use]
pub fn grade(features: &Features) -> Difficulty {
    let scores = scores(features);
    let mut best = (Task::Unknown, 0.0);
    let mut second = 0.0;
    for (task, score) in scores {
        if score > best.1 {
            second = best.1;
            best = (task, score);
        } else if score > second {
            second = score;
        }
    }
    let (task, score) = best;
    if score < KNOWN_MIN {
        return Difficulty {
            difficulty: 0.5,
            confidence: (score / KNOWN_MIN * 0.3).clamp(0.0, 0.3),
            task: Task::Unknown,
        };
    }
    let margin = (score - second) / score;
    let strength = 1.0 - 1.0 / (1.0 + score / 2.0);
    let confidence = (0.3 + 0.6 * strength * (0.4 + 0.6 * margin)).clamp(0.0, 0.95);
    Difficulty {
        difficulty: difficulty(task, features),
        confidence,
        task,
    }
}

/// How much speaks for each task.
fn scores(f: &Features) -> [(Task, f64); 10] {
    let g = |name| f.get(name);
    let yes = |b: bool| if b { 1.0 } else { 0.0 };
    let short = yes(f.ask_chars < 160);
    let document = yes(f.ask_chars > 400);
    let codey = (g("fenced") * 0.25).min(2.0)
        + yes(g("code_share") > 0.05)
        + yes(g("indented_share") > 0.3 && g("lines") > 4.0) * 0.5;
    let traced = (g("traces") * 1.5).min(4.0) + yes(g("diff") > 1.0);
    let reckons = yes(g("operators") >= 2.0 && g("digit_share") > 0.04) * 1.2
        + (g("latex") * 0.3).min(2.0) * yes(g("fenced") < 1.0)
        + yes(g("operator_share") > 0.06 && g("code_share") < 0.12);
    let many = (g("items") * 0.4).min(2.0);
    let lone_question = yes(g("questions") >= 1.0
        && g("questions") <= 1.0
        && f.ask_chars < 140
        && g("lines") <= 2.0);
    let plain = yes(codey < 1.0 && traced < 1.0);
    let digits_in_words =
        yes(g("digit_share") > 0.015) * yes(g("cue_maths") >= 2.0 || g("questions") >= 1.0);
    [
        (
            Task::Summarise,
            g("cue_summarise") * 1.3 + document * yes(g("cue_summarise") > 0.0),
        ),
        (Task::Translate, g("cue_translate") * 1.6),
        (Task::Creative, g("cue_creative") * plain),
        (
            Task::SimpleQuestion,
            lone_question * (1.4 + (g("cue_simple_question") * 0.4).min(1.6)) * plain,
        ),
        (
            Task::Extract,
            g("cue_extract") * 0.9 + (g("rows") * 0.2).min(1.0) * yes(g("cue_extract") > 0.0),
        ),
        (Task::Code, g("cue_code") * 0.9 + codey * 0.8),
        (
            Task::Debug,
            g("cue_debug") * 0.9 + traced + yes(g("cue_debug") > 0.0) * codey.min(1.0),
        ),
        (
            Task::Maths,
            g("cue_maths") * 0.95 + reckons * (1.0 - short * 0.2) + digits_in_words * 0.8,
        ),
        (
            Task::Logic,
            g("cue_logic") * 0.9 + (g("options") * 0.2).min(0.8),
        ),
        (
            Task::MultiStep,
            g("cue_multi_step") * 0.75
                + many
                + yes(f.ask_chars > 300) * yes(g("cue_multi_step") >= 2.0) * 0.8,
        ),
    ]
}

/// The chance that a small model fails at it.
fn difficulty(task: Task, f: &Features) -> f64 {
    let g = |name| f.get(name);
    // Long sentences and many conditions make anything harder; 0 to about .15.
    let load = (g("longest_sentence") / 2_000.0).min(0.08) + (g("items") * 0.01).min(0.07);
    let base = match task {
        Task::SimpleQuestion => 0.12,
        Task::Translate => 0.15,
        Task::Summarise | Task::Extract => 0.18,
        Task::Creative => 0.2,
        Task::Unknown => 0.5,
        Task::Code => 0.42 + (g("fenced") * 0.004).min(0.12),
        Task::Debug => 0.62 + (g("traces") * 0.02).min(0.12),
        Task::Maths => maths(f),
        Task::Logic => 0.66 + (g("words") / 600.0).min(0.14),
        Task::MultiStep => 0.6 + (g("words") / 500.0).min(0.15),
    };
    (base + load).clamp(0.02, 0.97)
}

/// Arithmetic of a few characters is easy; words that ask for a proof, or notation, are not.
fn maths(f: &Features) -> f64 {
    let g = |name| f.get(name);
    if f.ask_chars < 60 && g("latex") < 1.0 && g("operators") <= 3.0 && g("cue_maths") < 2.0 {
        return 0.18;
    }
    0.58 + (g("cue_maths") * 0.03).min(0.12)
        + (g("latex") * 0.01).min(0.1)
        + (g("words") / 800.0).min(0.12)
}
