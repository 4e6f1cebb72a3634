//! What an answer is expected to cost on an arm, and what it would have cost on the baseline.

use crate::arm::Effort;
use crate::chat::{ServiceTier, Usage};
use crate::classify::{Difficulty, Features, Task};
use crate::effort::Family;
use crate::fleet::ability::usual_reasoning_tokens;
use crate::fleet::{Arm, Model};
use crate::money::PicoUsd;
use crate::price::Price;
use crate::route::standing::{ConversationStanding, Habit};
use std::borrow::Cow;
use std::time::Duration;

/// What is known before the answer.
pub struct Forecast<'a> {
    /// What was measured.
    pub features: &'a Features,
    /// How it was graded.
    pub difficulty: &'a Difficulty,
    /// The client's token limit.
    pub limit: Option<u64>,
    /// How its conversation stands.
    pub standing: ConversationStanding<'a>,
}

/// What an arm is expected to cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expected {
    /// This request, the price of reading the conversation anew included where the arm's provider does not hold it.
    pub now: PicoUsd,
    /// The requests of the conversation that are likely to follow, if the arm answers them too.
    pub ahead: PicoUsd,
}

impl Expected {
    /// Both together: what arms are compared by.
    #[must_use]
    pub fn total(self) -> PicoUsd {
        self.now + self.ahead
    }
}

/// A model that chats answers in a sentence or two at least, where benchmarks hear one word.
const ANSWER_LEAST: u64 = 60;

/// Visible answer tokens to expect. The grader has learned it from answers to questions, sums and puzzles; for work on text and for
/// long forms, which it has not seen answered, these are start values, seen in answers of mid-2026 chat models.
#[must_use]
pub fn answer_tokens(features: &Features, difficulty: &Difficulty) -> u64 {
    let ask = features.prompt_tokens_estimate;
    match difficulty.task {
        Task::Summarise => (ask / 4).clamp(80, 400),
        Task::Translate => ask.clamp(30, 4_000),
        Task::Extract => (ask / 5).clamp(60, 800),
        Task::Creative | Task::MultiStep | Task::Code => 800,
        Task::Debug => 500,
        Task::SimpleQuestion | Task::Maths | Task::Logic | Task::Unknown => {
            u64::from(difficulty.answer_tokens).max(ANSWER_LEAST)
        }
    }
}

/// Reasoning tokens to expect of an arm, before anything was learned of it from use.
#[must_use]
pub fn reasoning_tokens(model: &Model, effort: Effort, difficulty: &Difficulty) -> u64 {
    match model.ability.reasoning_tokens(effort) {
        Some(measured) => scaled(measured, thinking_factor(difficulty)),
        None => usual_reasoning_of(effort, difficulty),
    }
}

/// The same of an ordinary model.
pub(super) fn usual_reasoning_of(effort: Effort, difficulty: &Difficulty) -> u64 {
    scaled(usual_reasoning_tokens(effort), thinking_factor(difficulty))
}

/// How much more than usual a prompt is thought about.
fn thinking_factor(difficulty: &Difficulty) -> f64 {
    match difficulty.task {
        Task::Maths | Task::Logic | Task::Debug | Task::MultiStep | Task::Unknown => {
            difficulty.reasoning_factor
        }
        // The grader has seen no reasoning about these; it is short.
        _ => difficulty.reasoning_factor.min(1.0),
    }
}

/// Output tokens to expect of an arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutputTokens {
    /// What the client reads.
    pub(super) answer: u64,
    /// What is hidden.
    pub(super) reasoning: u64,
}

impl OutputTokens {
    pub(super) fn total(self) -> u64 {
        self.answer.saturating_add(self.reasoning)
    }
}

/// Output tokens to expect of this arm: by the prompt, and by what it has used for such tasks so far.
pub(super) fn output_tokens(arm: &Arm, job: &Forecast<'_>) -> OutputTokens {
    let answer = answer_tokens(job.features, job.difficulty);
    let reasoning = reasoning_tokens(&arm.model, arm.effort_or(None), job.difficulty);
    let (answer, reasoning) = match (job.standing.habit)(arm) {
        Some(habit) => (
            scaled(answer, habit.answer),
            scaled(reasoning, habit.reasoning),
        ),
        None => (answer, reasoning),
    };
    let most = job.limit.unwrap_or(u64::MAX);
    let reasoning = reasoning.min(most);
    OutputTokens {
        answer: answer.min(most - reasoning),
        reasoning,
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
    let thinking = scaled(usual_reasoning_tokens(effort), factor).saturating_mul(2);
    let answer = answer_tokens(job.features, job.difficulty).min(limit / 2);
    thinking.saturating_add(answer) <= limit
}

/// What an arm is expected to cost; `None` where its price is not known.
#[must_use]
pub fn expected(arm: &Arm, job: &Forecast<'_>) -> Option<Expected> {
    let price = &(job.standing.late)(arm).or(arm.model.price)?;
    let output = output_tokens(arm, job);
    let prompt = job.features.prompt_tokens_estimate;
    let keeps = cache_lifetime(&arm.model, job.standing.keeps).is_some();
    let warm = match keeps {
        true => (job.standing.warm)(arm).min(prompt),
        false => 0,
    };
    let answered = Usage {
        output: output.total(),
        reasoning: output.reasoning,
        ..Usage::default()
    };
    let cold = prompt - warm;
    // What a vendor writes to its cache only where it is asked to costs more there than what it merely reads.
    let written = keeps && charges_for_writing(&arm.model, (job.standing.keeps)());
    let now = price.cost(&Usage {
        input: if written { 0 } else { cold },
        cache_write: if written { cold } else { 0 },
        cached: warm,
        ..answered
    });
    if job.standing.ahead == 0 {
        let ahead = PicoUsd::ZERO;
        return Some(Expected { now, ahead });
    }
    let before = prompt.saturating_add(output.answer);
    let kept = keeps && before >= PREFIX_MIN;
    let next = price.cost(&Usage {
        input: if kept { 0 } else { before },
        cached: if kept { before } else { 0 },
        ..answered
    });
    Some(Expected {
        now,
        ahead: next.times(job.standing.ahead),
    })
}

/// The rates of the model in a tier whose answers come late, where it has one that is cheaper.
#[must_use]
pub fn late(model: &Model, tier: ServiceTier) -> Option<Price> {
    let price = model.price?;
    let late = price.served(tier, 0)?;
    let both = |price: Price| (price.rates.input, price.rates.output);
    let (slow, now) = (both(late), both(price));
    (slow != now && slow.0 <= now.0 && slow.1 <= now.1).then_some(late)
}

/// In hundredths, so that money stays with whole numbers.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a factor is between 0 and 100"
)]
fn scaled(tokens: u64, factor: f64) -> u64 {
    tokens.saturating_mul((factor * 100.0).clamp(0.0, 10_000.0) as u64) / 100
}

/// A shorter beginning is kept by no vendor.
pub const PREFIX_MIN: u64 = 1_024;

/// Whether a model's provider charges for writing to its prompt cache, of a request that asks for it.
#[must_use]
pub fn charges_for_writing(model: &Model, asked: bool) -> bool {
    let dearer = |price: &Price| price.rates.cache_write > price.rates.input;
    asked && model.price.as_ref().is_some_and(dearer) && cache_lifetime(model, || asked).is_some()
}

/// Whether a request at another effort finds nothing in the prompt cache of the same model: so it is at OpenAI and Anthropic, where
/// effort is part of the cache's key (openai/codex#35416, NousResearch/hermes-agent PR#114534), and where a template writes the effort
/// into the prompt. The others say it in a field beside the prompt, so that the prompt stays what it was.
#[must_use]
pub fn effort_is_cached_apart(model: &Model) -> bool {
    !matches!(
        model.provider.kind.family,
        Family::Gemini | Family::DeepSeek | Family::Xai | Family::Mistral
    )
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
fn warmed(usage: &Usage, warm: u64) -> Usage {
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

/// How a client that had stayed on the baseline would have got the same answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stayed {
    /// Tokens of the conversation's beginning that the baseline would have found in its provider's cache.
    pub warm: u64,
    /// It would have written to that cache what it did not find there, at the price of writing.
    pub writes: bool,
    /// What it would have thought; `None` where it is the baseline that has answered.
    pub thinking: Option<BaselineThinking>,
}

/// Reasoning tokens of the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaselineThinking {
    /// So many: it was seen to think so about such tasks.
    Seen(u64),
    /// So many are expected, and nothing was seen: it is not taken to think more than the arm that has answered, nor more than this.
    AtMost(u64),
}

/// What the baseline is expected to think about a task.
#[must_use]
pub fn baseline_thinking(
    baseline: &Arm,
    difficulty: &Difficulty,
    habit: Option<Habit>,
) -> BaselineThinking {
    let expected = reasoning_tokens(&baseline.model, baseline.effort_or(None), difficulty);
    match habit {
        Some(habit) if habit.weight >= 0.5 => {
            BaselineThinking::Seen(scaled(expected, habit.reasoning))
        }
        _ => BaselineThinking::AtMost(expected),
    }
}

/// What the same answer would have cost on the baseline: the same visible tokens at its price, in the same service tier and manner (where
/// it has such rates) and at the same hour (`at`, seconds since 1970), with a cache as warm as the conversation would have kept it and
/// with its own thinking as far as that is known: so `saved` may be understated and is never inflated.
/// [`unseen_on_baseline`] says by how much.
#[must_use]
pub fn on_baseline(
    baseline: &Arm,
    usage: &Usage,
    stayed: Stayed,
    (tier, at): (ServiceTier, i64),
) -> Option<PicoUsd> {
    let price = baseline.model.price.as_ref()?;
    let price = match price.holds_as_it_is(tier, usage.manner) {
        true => Cow::Borrowed(price),
        false => {
            let price = price.served(tier, at).unwrap_or(*price);
            Cow::Owned(price.made(usage.manner).unwrap_or(price))
        }
    };
    let mut usage = warmed(usage, stayed.warm);
    let reasoning = match stayed.thinking {
        None => usage.reasoning,
        Some(BaselineThinking::Seen(tokens)) => tokens,
        Some(BaselineThinking::AtMost(tokens)) => usage.reasoning.min(tokens),
    };
    if stayed.writes {
        let plain = usage.input.saturating_sub(usage.audio_input);
        usage.input -= plain;
        usage.cache_write += plain;
    }
    usage.output = usage
        .output
        .saturating_sub(usage.reasoning)
        .saturating_add(reasoning);
    usage.reasoning = reasoning;
    Some(price.cost(&usage))
}

/// What the same answer may have cost on the baseline beyond [`on_baseline`]: had it thought as much as is expected of it, where that was
/// not seen. Nothing where it was seen, and where there is no answer that it would have thought about.
#[must_use]
pub fn unseen_on_baseline(
    baseline: &Arm,
    usage: &Usage,
    stayed: Stayed,
    served: (ServiceTier, i64),
) -> PicoUsd {
    let expected = match stayed.thinking {
        Some(BaselineThinking::AtMost(tokens)) if usage.output > 0 => tokens,
        _ => 0,
    };
    if expected <= usage.reasoning {
        return PicoUsd::ZERO;
    }
    let thought = Stayed {
        thinking: Some(BaselineThinking::Seen(expected)),
        ..stayed
    };
    let least = on_baseline(baseline, usage, stayed, served);
    let most = on_baseline(baseline, usage, thought, served);
    let extra = most.zip(least).map(|(most, least)| most - least);
    extra.unwrap_or(PicoUsd::ZERO).max(PicoUsd::ZERO)
}
