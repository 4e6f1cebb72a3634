//! What a simulated model answers: pure, a function of the seed and the request. Reads no clock, and is told what the cache held.

use super::ask::SimAsk;
use super::cache::CacheUse;
use super::words::{Dice, SENTENCE_TOKENS_MAX, pieces, tokens, u64_len};
use crate::arm::Effort;
use std::borrow::Cow;
use std::time::Duration;

/// Reasoning never takes longer than this at speed 1, however many tokens it has: simulated time is compressed.
const THINKING_TIME_MAX: Duration = Duration::from_millis(1_500);
/// A whole (not streamed) answer never takes longer than this at speed 1.
const WHOLE_TIME_MAX: Duration = Duration::from_secs(3);

/// Everything that one request makes a model say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    /// All input tokens.
    pub(super) input: u64,
    /// Those of them that went through the cache.
    pub(super) cache: CacheUse,
    /// One for each choice.
    pub(super) answers: Vec<SimAnswer>,
}

/// One choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SimAnswer {
    /// Hidden reasoning tokens.
    pub(super) reasoning: u64,
    /// What may be shown of the reasoning; not counted, as vendors count the reasoning itself.
    pub(super) summary: Vec<Cow<'static, str>>,
    /// Visible text, one piece a token.
    pub(super) pieces: Vec<Cow<'static, str>>,
    /// The tool that is called; then the pieces are its arguments.
    pub(super) call: Option<String>,
    /// The token limit ended it.
    pub(super) cut: bool,
    /// A number that stands for this answer, for signatures.
    pub(super) mark: u64,
}

impl SimAnswer {
    /// Billed output tokens.
    pub(super) fn output(&self) -> u64 {
        self.reasoning + u64_len(&self.pieces)
    }
}

impl Generation {
    /// The answer to `ask`; the same for the same seed, model, effort and prompt, whatever the cache held.
    pub(super) fn of(seed: u64, ask: &SimAsk, cache: CacheUse) -> Generation {
        Generation {
            input: ask.prompt.tokens,
            cache,
            answers: (0..ask.choices).map(|n| answer(seed, ask, n)).collect(),
        }
    }

    /// Input tokens neither read from the cache nor written to it at a price.
    pub(super) fn input_fresh(&self) -> u64 {
        self.input - self.cache.read - self.cache.written - self.cache.written_hour
    }

    /// Billed output tokens of all choices.
    pub(super) fn output(&self) -> u64 {
        self.answers.iter().map(SimAnswer::output).sum()
    }

    /// Reasoning tokens of all choices.
    pub(super) fn reasoning(&self) -> u64 {
        self.answers.iter().map(|a| a.reasoning).sum()
    }

    /// How long the whole answer takes at speed 1; choices are made side by side.
    pub(super) fn time(&self, ask: &SimAsk) -> Duration {
        let one = |a: &SimAnswer| thinking_time(ask, a) + ask.model.time(u64_len(&a.pieces));
        let longest = self.answers.iter().map(one).max().unwrap_or_default();
        (ask.model.first + longest).min(WHOLE_TIME_MAX)
    }
}

/// How long the reasoning of an answer takes at speed 1.
pub(super) fn thinking_time(ask: &SimAsk, answer: &SimAnswer) -> Duration {
    ask.model.time(answer.reasoning).min(THINKING_TIME_MAX)
}

fn answer(seed: u64, ask: &SimAsk, choice: u64) -> SimAnswer {
    let prompt = ask.prompt.text.as_str();
    let choice = choice.to_string();
    let parts = [ask.model.name, ask.effort.name(), prompt, choice.as_str()];
    let mut dice = Dice::new(seed, &parts);
    let limit = ask.limit.unwrap_or(u64::MAX);
    let wanted = reasoning(seed, ask, &choice);
    let reasoning = wanted.min(limit);
    let json = ask.call.as_ref().map(|call| &call.arguments);
    let mut said = match json.or(ask.form.as_ref()) {
        Some(json) => super::tools::pieces(json)
            .into_iter()
            .map(Cow::Owned)
            .collect(),
        None => {
            let (low, high) = length(&ask.prompt.last);
            let most = dice.between(low + SENTENCE_TOKENS_MAX, high);
            pieces(&mut dice, most)
        }
    };
    let text = u64_len(&said);
    let visible = text.min(limit - reasoning);
    said.truncate(usize::try_from(visible).expect("fewer than a body has bytes"));
    let mark = dice.roll();
    let summary = match reasoning {
        0 => Vec::new(),
        _ => pieces(&mut dice, (reasoning / 8).clamp(16, 60)),
    };
    SimAnswer {
        reasoning,
        summary,
        pieces: said,
        call: ask.call.as_ref().map(|call| call.name.clone()),
        cut: wanted + text > limit,
        mark,
    }
}

/// The factor leaves out model and effort: a prompt is equally hard at every effort, so more effort always reasons more.
fn reasoning(seed: u64, ask: &SimAsk, choice: &str) -> u64 {
    let typical = match ask.effort {
        Effort::None => 0,
        Effort::Minimal => 60,
        Effort::Low => 250,
        Effort::Medium => 900,
        Effort::High => 2_500,
        Effort::Xhigh => 6_000,
        Effort::Max => 12_000,
    };
    let per_mille = Dice::new(seed, &["reasoning", &ask.prompt.text, choice]).between(600, 1_400);
    (typical * per_mille / 1_000).min(ask.thinking_max.unwrap_or(u64::MAX))
}

/// The fewest and most tokens of a text that answers this ask.
fn length(ask: &str) -> (u64, u64) {
    const LONG: [&str; 9] = [
        "write",
        "draft",
        "implement",
        "essay",
        "story",
        "report",
        "refactor",
        "translate",
        "generate",
    ];
    const MIDDLE: [&str; 7] = [
        "explain",
        "why",
        "how",
        "compare",
        "summarize",
        "summarise",
        "list",
    ];
    let lower = ask.to_lowercase();
    let says = |words: &[&str]| {
        lower
            .split(|c: char| !c.is_alphabetic())
            .any(|word| words.contains(&word))
    };
    let size = tokens(ask);
    if says(&LONG) || size > 400 {
        (150, 400)
    } else if says(&MIDDLE) || size > 80 {
        (80, 240)
    } else if size <= 16 {
        (20, 60)
    } else {
        (40, 140)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::openai;
    use super::*;

    fn generation(seed: u64, body: &str) -> Generation {
        let ask = openai(body.as_bytes()).expect("a valid request");
        Generation::of(seed, &ask, CacheUse::default())
    }

    fn asked(text: &str, more: &str) -> String {
        format!(
            r#"{{"model":"sim-reasoning","messages":[{{"role":"user","content":"{text}"}}]{more}}}"#
        )
    }

    #[test]
    fn the_same_request_gets_the_same_answer_and_another_seed_another() {
        let body = asked("What is a flyball governor?", "");
        assert_eq!(generation(7, &body), generation(7, &body));
        assert_ne!(generation(7, &body), generation(8, &body));
        assert_ne!(
            generation(7, &body),
            generation(7, &asked("What is a governor?", ""))
        );
    }

    #[test]
    fn more_effort_reasons_more_on_any_prompt() {
        for prompt in 0..50 {
            let mut before = None;
            for effort in Effort::ALL {
                let more = format!(r#","reasoning_effort":"{effort}""#);
                let tokens = generation(1, &asked(&format!("ask {prompt}"), &more)).reasoning();
                assert!(before < Some(tokens), "{effort} on {prompt}");
                before = Some(tokens);
            }
        }
    }

    #[test]
    fn output_never_exceeds_the_limit_and_says_when_it_was_cut() {
        for limit in [1, 5, 100, 600, 2_000] {
            let more = format!(r#","max_completion_tokens":{limit}"#);
            let cut = &generation(1, &asked("Write a long story", &more)).answers[0];
            let whole = &generation(1, &asked("Write a long story", "")).answers[0];
            assert_eq!(cut.output(), whole.output().min(limit));
            assert_eq!(cut.cut, whole.output() > limit);
        }
    }

    #[test]
    fn answers_keep_to_their_kinds_length() {
        for (ask, low, high) in [
            ("Capital of France?", 20, 60),
            ("Explain tides", 80, 240),
            ("Write a story about a lighthouse", 150, 400),
        ] {
            for seed in 0..40 {
                let body = asked(ask, r#","reasoning_effort":"none""#);
                let output = generation(seed, &body).output();
                assert!((low..=high).contains(&output), "{ask}: {output}");
            }
        }
    }

    #[test]
    fn what_was_cached_changes_what_is_paid_and_nothing_that_is_said() {
        let ask = openai(asked(&"word ".repeat(2_000), "").as_bytes()).expect("valid");
        let cache = CacheUse {
            read: 1_280,
            written: 200,
            written_hour: 100,
        };
        let cold = Generation::of(1, &ask, CacheUse::default());
        let warm = Generation::of(1, &ask, cache);
        assert_eq!(warm.answers, cold.answers);
        assert_eq!((warm.input, cold.input), (2_606, 2_606));
        assert_eq!((warm.input_fresh(), cold.input_fresh()), (1_026, 2_606));
    }

    #[test]
    fn a_whole_answer_takes_no_longer_than_three_seconds() {
        let body = asked("Write a story", r#","reasoning_effort":"max","n":3"#);
        let ask = openai(body.as_bytes()).expect("valid");
        let time = Generation::of(1, &ask, CacheUse::default()).time(&ask);
        assert!(time <= WHOLE_TIME_MAX && time > THINKING_TIME_MAX);
    }
}
