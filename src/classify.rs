//! From a prompt to a difficulty: `measure` reads structure, `grade` judges. Pure; knows neither models nor prices.
//!
//! The two are a seam. `measure` finds the user's ask ([`Ask`]), counts in one pass, and turns the counts into
//! signals; `grade` asks the learned weights ([`model::Grader`]), which `learn` made from real outcomes, and the operator's own
//! overlay ([`overlay::Overlay`]). A new signal is one line in a file under `signals`.

mod ask;
mod chore;
mod context;
mod grade;
pub mod kept;
mod known;
mod letters;
mod lexicon;
pub mod model;
pub mod overlay;
mod pieces;
mod plain;
pub mod reaction;
mod reading;
pub mod runaway;
mod scan;
pub mod signals;
pub mod stuck;
mod vocabulary;

pub use ask::tokens_estimate;
pub use grade::{decisive, grade, grade_by};
pub use known::{CallersAsks, KnownAsks};
pub use pieces::own_words;
pub use plain::Plain;
pub use scan::{GRAM_BUCKETS, Grams};

use crate::chat::Prompt;
use ask::Ask;
use pieces::Pieces;
use reading::Reading;
use std::sync::Arc;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// Make a text shorter.
    Summarise,
    /// Say it in another language.
    Translate,
    /// Stories, poems, letters, slogans.
    Creative,
    /// One short question of knowledge.
    SimpleQuestion,
    /// Find, list or classify what a text holds.
    Extract,
    /// Write or change a program.
    Code,
    /// Find why a program fails.
    Debug,
    /// Calculate or prove.
    Maths,
    /// Conclude from conditions.
    Logic,
    /// Several steps that build on each other: plans, designs, analyses.
    MultiStep,
    /// No signal says what it is. That is not "easy".
    Unknown,
}

impl Task {
    /// Every task.
    pub const ALL: [Task; 11] = [
        Task::Summarise,
        Task::Translate,
        Task::Creative,
        Task::SimpleQuestion,
        Task::Extract,
        Task::Code,
        Task::Debug,
        Task::Maths,
        Task::Logic,
        Task::MultiStep,
        Task::Unknown,
    ];

    /// The name used in rules, headers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Task::Summarise => "summarise",
            Task::Translate => "translate",
            Task::Creative => "creative",
            Task::SimpleQuestion => "simple_question",
            Task::Extract => "extract",
            Task::Code => "code",
            Task::Debug => "debug",
            Task::Maths => "maths",
            Task::Logic => "logic",
            Task::MultiStep => "multi_step",
            Task::Unknown => "unknown",
        }
    }

    /// The task of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Task> {
        Task::ALL.into_iter().find(|t| t.name() == name)
    }
}

/// How hard a prompt is, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difficulty {
    /// The chance that a small model fails, 0 to 1: what outcomes teach of it and what people call hard, weighed by task.
    pub difficulty: f64,
    /// The same from outcomes alone, kept apart: of everyday asks, which no benchmark holds, it knows little.
    pub failure: f64,
    /// How much the signals say, 0 (nothing) to 1.
    pub confidence: f64,
    /// What is to be done.
    pub task: Task,
    /// Points of quality, -1 to 1, that a stronger or a thinking model is expected to add.
    pub gain: f64,
    /// Tokens of the visible answer to expect.
    pub answer_tokens: u32,
    /// Reasoning to expect, as a multiple of what an effort usually takes.
    pub reasoning_factor: f64,
}

impl Default for Difficulty {
    fn default() -> Difficulty {
        Difficulty {
            difficulty: 0.5,
            failure: 0.5,
            confidence: 0.0,
            task: Task::Unknown,
            gain: 0.0,
            answer_tokens: 400,
            reasoning_factor: 1.0,
        }
    }
}

/// What was measured of a prompt, and what that was judged to be.
#[derive(Clone, Debug)]
pub struct Graded {
    /// What was measured.
    pub features: Features,
    /// How hard it is.
    pub difficulty: Difficulty,
}

/// What was measured of a prompt.
#[derive(Clone, Debug)]
pub struct Features {
    reading: Arc<Reading>,
    /// Tokens of the whole conversation, by bytes / 4.
    pub prompt_tokens_estimate: u64,
    /// Turns of the conversation.
    pub turns: usize,
    /// Tool results since the user spoke.
    pub tool_turns: usize,
    /// The last turn was a short reply: the ask before it was graded.
    pub inherited: bool,
    /// What it is by its form alone.
    pub plain: Option<Plain>,
    /// It leans on what was said before it.
    leans_back: bool,
    /// The ask before it, with which it may go on.
    follows: Option<Box<Features>>,
}

impl Features {
    fn of(ask: &Ask<'_>) -> Features {
        Features {
            prompt_tokens_estimate: ask.conversation_bytes / 4,
            turns: ask.turns,
            tool_turns: ask.tool_turns,
            inherited: ask.inherited,
            plain: ask.reading.plain,
            ..Features::by(ask.reading.clone())
        }
    }

    /// With the asks before it, the latest first, as far as each may go on with the next.
    fn following(
        mut self,
        ask: &Ask<'_>,
        before: &[Pieces<'_>],
        known: CallersAsks<'_>,
    ) -> Features {
        if let Some((latest, earlier)) = before.split_first() {
            let one = Ask::read(*latest, known);
            let earlier = if one.reading.may_follow { earlier } else { &[] };
            self.leans_back = ask.leans_back() || ask.shares_a_word(&one);
            let one_before = Features::of(&one).following(&one, earlier, known);
            self.follows = Some(Box::new(one_before));
        }
        self
    }

    /// What the books have kept of one ask.
    fn kept(values: [f32; signals::COUNT], grams: Grams) -> Features {
        Features::by(Arc::new(Reading::kept(values, grams)))
    }

    fn by(reading: Arc<Reading>) -> Features {
        Features {
            reading,
            prompt_tokens_estimate: 0,
            turns: 1,
            tool_turns: 0,
            inherited: false,
            plain: None,
            leans_back: false,
            follows: None,
        }
    }

    /// The value of a signal; 0 for one that does not exist.
    #[must_use]
    pub fn get(&self, name: &str) -> f64 {
        self.named()
            .find(|(n, _)| *n == name)
            .map_or(0.0, |(_, v)| v)
    }

    /// Every signal's name and value.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        signals::all()
            .zip(self.reading.values)
            .map(|(s, v)| (s.name, f64::from(v)))
    }

    /// The values of all signals, in the order of [`signals::all`].
    #[must_use]
    pub fn values(&self) -> &[f32; signals::COUNT] {
        &self.reading.values
    }

    /// Words and word pairs of the ask.
    #[must_use]
    pub fn grams(&self) -> &Grams {
        &self.reading.grams
    }
}

/// Measures the user's ask in its context.
#[must_use]
pub fn measure(prompt: &Prompt<'_>) -> Features {
    measure_known(prompt, CallersAsks::default())
}

/// The same, where of what a caller has asked lately is known what was read.
#[must_use]
pub fn measure_known(prompt: &Prompt<'_>, known: CallersAsks<'_>) -> Features {
    let ask = Ask::find(prompt, known);
    let mut features = Features::of(&ask).following(&ask, &ask.before, known);
    if chore::is_chore(prompt) {
        features.plain = Some(Plain::Chore);
    }
    features
}

#[cfg(test)]
mod tests;
