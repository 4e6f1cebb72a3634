//! What an answer is expected to cost on an arm, and what it would have cost on the baseline.

use super::Arm;
use super::arm::Effort;
use crate::chat::Usage;
use crate::classify::{Difficulty, Features, Task};
use crate::money::PicoUsd;

/// What is known before the answer.
pub struct Job<'a> {
    /// What was measured.
    pub features: &'a Features,
    /// How it was graded.
    pub difficulty: &'a Difficulty,
    /// The client's token limit.
    pub limit: Option<u64>,
}

/// Visible answer tokens to expect by task. Start values, seen in answers of mid-2026 chat models; the learned grader replaces them.
fn answer_tokens(task: Task) -> u64 {
    match task {
        Task::SimpleQuestion | Task::Extract | Task::Logic => 150,
        Task::Summarise | Task::Translate => 250,
        Task::Maths => 400,
        Task::Unknown | Task::Debug => 500,
        Task::Code | Task::Creative | Task::MultiStep => 800,
    }
}

/// Reasoning tokens to expect at an effort, by the same kind of estimate.
fn reasoning_tokens(effort: Effort) -> u64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal => 100,
        Effort::Low => 400,
        Effort::Medium => 1_500,
        Effort::High => 4_000,
        Effort::Xhigh => 10_000,
        Effort::Max => 20_000,
    }
}

/// The expected cost of an answer; `None` where the price is not known.
#[must_use]
pub fn expected(arm: &Arm, job: &Job<'_>) -> Option<PicoUsd> {
    let price = arm.model.price.as_ref()?;
    let reasoning = reasoning_tokens(arm.effort_or(None));
    let output =
        (answer_tokens(job.difficulty.task) + reasoning).min(job.limit.unwrap_or(u64::MAX));
    let usage = Usage {
        input: job.features.prompt_tokens_estimate,
        output,
        reasoning: reasoning.min(output),
        ..Usage::default()
    };
    Some(price.cost(&usage))
}

/// What the same answer would have cost on the baseline: the same tokens at its price. Reasoning that a baseline without thinking
/// would not have done is left out, reasoning that it would have added is not guessed: so `saved` is understated, never inflated.
#[must_use]
pub fn on_baseline(baseline: &Arm, usage: &Usage) -> Option<PicoUsd> {
    let price = baseline.model.price.as_ref()?;
    let mut usage = *usage;
    if baseline.effort_or(None) == Effort::None {
        usage.output = usage.output.saturating_sub(usage.reasoning);
        usage.reasoning = 0;
    }
    Some(price.cost(&usage))
}
