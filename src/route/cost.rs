//! What an answer is expected to cost on an arm, and what it would have cost on the baseline.

use crate::arm::Effort;
use crate::chat::{ServiceTier, Usage};
use crate::classify::{Difficulty, Features, Task};
use crate::effort::Family;
use crate::fleet::{Arm, Model};
use crate::money::PicoUsd;
use std::time::Duration;

/// What is known before the answer.
pub struct Forecast<'a> {
    /// What was measured.
    pub features: &'a Features,
    /// How it was graded.
    pub difficulty: &'a Difficulty,
    /// The client's token limit.
    pub limit: Option<u64>,
}

/// A model that chats answers in a sentence or two at least, where benchmarks hear one word.
const ANSWER_LEAST: u64 = 60;

/// Visible answer tokens to expect. The grader has learned it from answers to questions, sums and puzzles; for work on text and for
/// long forms, which it has not seen answered, these are start values, seen in answers of mid-2026 chat models.
fn answer_tokens(job: &Forecast<'_>) -> u64 {
    let ask = job.features.prompt_tokens_estimate;
    match job.difficulty.task {
        Task::Summarise => (ask / 4).clamp(80, 400),
        Task::Translate => ask.clamp(30, 4_000),
        Task::Extract => (ask / 5).clamp(60, 800),
        Task::Creative | Task::MultiStep | Task::Code => 800,
        Task::Debug => 500,
        Task::SimpleQuestion | Task::Maths | Task::Logic | Task::Unknown => {
            u64::from(job.difficulty.answer_tokens).max(ANSWER_LEAST)
        }
    }
}

/// Reasoning tokens to expect at an effort of an ordinary prompt, by the same kind of estimate; the grader says by how much this one
/// differs.
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

/// Whether the client's limit of tokens leaves room for an answer beside the thinking at this effort. What is expected is
/// doubled, since half of all thinking is longer than that; an answer needs what is expected of it, or half of the limit.
#[must_use]
pub fn leaves_room(effort: Effort, job: &Forecast<'_>) -> bool {
    let (Some(limit), true) = (job.limit, effort > Effort::None) else {
        return true;
    };
    let factor = job.difficulty.reasoning_factor.max(1.0);
    let thinking = scaled(reasoning_tokens(effort), factor).saturating_mul(2);
    let answer = answer_tokens(job).min(limit / 2);
    thinking.saturating_add(answer) <= limit
}

/// The expected cost of an answer; `None` where the price is not known.
#[must_use]
pub fn expected(arm: &Arm, job: &Forecast<'_>) -> Option<PicoUsd> {
    let price = arm.model.price.as_ref()?;
    let factor = match job.difficulty.task {
        Task::Maths | Task::Logic | Task::Debug | Task::MultiStep | Task::Unknown => {
            job.difficulty.reasoning_factor
        }
        // The grader has seen no reasoning about these; it is short.
        _ => job.difficulty.reasoning_factor.min(1.0),
    };
    let reasoning = scaled(reasoning_tokens(arm.effort_or(None)), factor);
    let output = (answer_tokens(job) + reasoning).min(job.limit.unwrap_or(u64::MAX));
    let usage = Usage {
        input: job.features.prompt_tokens_estimate,
        output,
        reasoning: reasoning.min(output),
        ..Usage::default()
    };
    Some(price.cost(&usage))
}

/// In hundredths, so that money stays with whole numbers.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a factor is between 0.25 and 4"
)]
fn scaled(tokens: u64, factor: f64) -> u64 {
    tokens * ((factor * 100.0).clamp(0.0, 10_000.0) as u64) / 100
}

/// How long the provider of a model keeps what it has read for the next request of its conversation; `None` where it keeps nothing, or
/// takes no less for it. `marked`: the request asks for it. OpenAI keeps it for 5 to 10 minutes of rest, at most for an hour
/// (<https://platform.openai.com/docs/guides/prompt-caching>); Anthropic for 5 minutes, and only what is marked
/// (<https://platform.claude.com/docs/en/build-with-claude/prompt-caching>). Of the others no lifetime is documented that could be relied
/// on, and theirs is taken to be as long as OpenAI's.
#[must_use]
pub fn cache_lifetime(model: &Model, marked: impl FnOnce() -> bool) -> Option<Duration> {
    let rates = model.price.as_ref()?.rates;
    let minutes = match model.provider.kind.family {
        Family::Anthropic if !marked() => return None,
        Family::Anthropic => 5,
        _ => 10,
    };
    (rates.cached < rates.input).then(|| Duration::from_secs(minutes * 60))
}

/// The same usage with so many tokens of its input read from a cache, whatever came from one: first those that no cache was involved in,
/// then those that were written to one.
#[must_use]
pub fn warmed(usage: &Usage, warm: u64) -> Usage {
    let mut usage = *usage;
    let mut more = warm.min(usage.input_total()).saturating_sub(usage.cached);
    // Sound is priced apart, and is not taken to be in a cache.
    let plain = usage.input.saturating_sub(usage.audio_input);
    let moved = more.min(plain);
    usage.input -= moved;
    usage.cached += moved;
    more -= moved;
    for written in [&mut usage.cache_write, &mut usage.cache_write_long] {
        let moved = more.min(*written);
        *written -= moved;
        usage.cached += moved;
        more -= moved;
    }
    usage
}

/// What the same answer would have cost on the baseline: the same tokens at its price, in the same service tier and manner (where
/// it has such rates) and at the same hour (`at`, seconds since 1970). Reasoning that a baseline without thinking
/// would not have done is left out, reasoning that it would have added is not guessed: so `saved` is understated, never inflated.
#[must_use]
pub fn on_baseline(baseline: &Arm, usage: &Usage, tier: ServiceTier, at: i64) -> Option<PicoUsd> {
    let price = baseline.model.price.as_ref()?;
    let price = price.served(tier, at).unwrap_or(*price);
    let price = price.made(usage.manner).unwrap_or(price);
    let mut usage = *usage;
    if baseline.effort_or(None) == Effort::None {
        usage.output = usage.output.saturating_sub(usage.reasoning);
        usage.reasoning = 0;
    }
    Some(price.cost(&usage))
}
