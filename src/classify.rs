//! From a prompt to a difficulty: `measure` reads structure, `grade` judges. Pure; knows neither models nor prices.
//!
//! The two are a seam: whatever learns to grade replaces `grade` and keeps `measure`.
//! A new signal is one function in a file under `signals` and one line in [`signals::ALL`].

mod ask;
mod cues;
mod grade;
pub mod signals;

pub use ask::Ask;
pub use grade::grade;

use crate::chat::Prompt;

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
    /// The chance that a small model fails, 0 to 1.
    pub difficulty: f64,
    /// How much the signals say, 0 (nothing) to 1.
    pub confidence: f64,
    /// What is to be done.
    pub task: Task,
}

/// What was measured of a prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    values: [f64; signals::ALL.len()],
    /// Tokens of the whole conversation, by bytes / 4.
    pub prompt_tokens_estimate: u64,
    /// Characters of the ask that was looked at.
    pub ask_chars: usize,
    /// Turns of the conversation.
    pub turns: usize,
    /// The last turn was a short reply: the ask before it was graded.
    pub inherited: bool,
}

impl Features {
    /// The value of a signal; 0 for one that does not exist.
    #[must_use]
    pub fn get(&self, name: &str) -> f64 {
        self.named()
            .find(|(n, _)| *n == name)
            .map_or(0.0, |(_, v)| v)
    }

    /// Every signal's name and value.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        signals::ALL
            .iter()
            .zip(self.values)
            .map(|(s, v)| (s.name, v))
    }
}

/// Measures the user's ask in its context.
#[must_use]
pub fn measure(prompt: &Prompt<'_>) -> Features {
    let ask = Ask::find(prompt);
    let mut values = [0.0; signals::ALL.len()];
    for (value, signal) in values.iter_mut().zip(signals::ALL) {
        *value = (signal.measure)(&ask);
    }
    Features {
        values,
        prompt_tokens_estimate: ask.conversation_bytes / 4,
        ask_chars: ask.chars,
        turns: prompt.turns.len(),
        inherited: ask.inherited,
    }
}

#[cfg(test)]
mod tests;
