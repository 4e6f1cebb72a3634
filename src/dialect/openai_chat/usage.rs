//! The `usage` object of Chat Completions in all its vendors' spellings, into [`Usage`].
//!
//! A count that is not a whole number makes the whole usage unreadable; it is never guessed.
//! Numbers that contradict each other are taken at the dearer reading and flagged.

use crate::chat::{ServiceTier, Usage};
use crate::dialect::UsageRule;
use crate::dialect::lenient::{Count, Maybe, Text};
use crate::money::PicoUsd;
use serde::Deserialize;
use serde_json::value::RawValue;

/// xAI's tick is 1e-10 USD.
const PICO_PER_TICK: PicoUsd = PicoUsd(100);

/// The object as it comes.
#[derive(Deserialize)]
pub(super) struct ChatUsage<'a> {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default)]
    total_tokens: Count,
    #[serde(default)]
    prompt_tokens_details: Maybe<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Maybe<CompletionDetails>,
    /// DeepSeek.
    #[serde(default)]
    prompt_cache_hit_tokens: Count,
    /// DeepSeek.
    #[serde(default)]
    prompt_cache_miss_tokens: Count,
    /// Moonshot, Together.
    #[serde(default)]
    cached_tokens: Count,
    /// Mistral.
    #[serde(default)]
    num_cached_tokens: Count,
    /// Vercel AI gateway.
    #[serde(default)]
    cache_creation_input_tokens: Count,
    /// USD: OpenRouter and Vercel a number, Perplexity an object.
    #[serde(default, borrow)]
    cost: Option<&'a RawValue>,
    /// xAI.
    #[serde(default)]
    cost_in_usd_ticks: Count,
    #[serde(default, borrow)]
    service_tier: Text<'a>,
}

#[derive(Deserialize, Default)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Count,
    #[serde(default)]
    cache_write_tokens: Count,
    #[serde(default)]
    audio_tokens: Count,
    #[serde(default)]
    cached_tokens_details: Maybe<CachedDetails>,
}

/// The parts of `cached_tokens`.
#[derive(Deserialize, Default)]
struct CachedDetails {
    #[serde(default)]
    audio_tokens: Count,
}

#[derive(Deserialize, Default)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Count,
    #[serde(default)]
    audio_tokens: Count,
}

#[derive(Deserialize)]
struct CostParts<'a> {
    #[serde(default, borrow)]
    total_cost: Option<&'a RawValue>,
}

/// `a - b`, or 0 and a flag.
fn minus(a: u64, b: u64, anomaly: &mut bool) -> u64 {
    *anomaly |= b > a;
    a.saturating_sub(b)
}

impl ChatUsage<'_> {
    /// What was used, in this service tier; `None` where the counts cannot be believed at all.
    pub(super) fn read(&self, rule: UsageRule, tier: Option<ServiceTier>) -> Option<Usage> {
        let prompt_details = self.prompt_tokens_details.0.as_ref();
        let cached_detail = prompt_details.map_or(Count::Missing, |d| d.cached_tokens);
        let write_detail = prompt_details.map_or(Count::Missing, |d| d.cache_write_tokens);
        let reasoning = match &self.completion_tokens_details.0 {
            Some(details) => details.reasoning_tokens,
            None => Count::Missing,
        };
        let cached = [
            self.prompt_cache_hit_tokens,
            cached_detail,
            self.cached_tokens,
            self.num_cached_tokens,
        ];
        let write = [write_detail, self.cache_creation_input_tokens];
        let audio_in = prompt_details.map_or(Count::Missing, |d| d.audio_tokens);
        let cached_audio = prompt_details
            .and_then(|d| d.cached_tokens_details.0.as_ref())
            .map_or(Count::Missing, |d| d.audio_tokens);
        let audio_out = match &self.completion_tokens_details.0 {
            Some(details) => details.audio_tokens,
            None => Count::Missing,
        };
        let others = [
            self.total_tokens,
            self.prompt_cache_miss_tokens,
            reasoning,
            audio_in,
            cached_audio,
            audio_out,
        ];
        if cached
            .iter()
            .chain(&write)
            .chain(&others)
            .any(|c| *c == Count::Wrong)
        {
            return None;
        }
        let prompt = self.prompt_tokens.get()?;
        let mut usage = Usage {
            cached: cached.into_iter().find_map(Count::get).unwrap_or(0),
            cache_write: write.into_iter().find_map(Count::get).unwrap_or(0),
            cached_audio: cached_audio.get().unwrap_or(0),
            audio_output: audio_out.get().unwrap_or(0),
            // Mistral says it in here.
            tier: self
                .service_tier
                .text()
                .and_then(ServiceTier::read)
                .or(tier),
            reported_cost: reported_cost(self.cost, self.cost_in_usd_ticks),
            ..Usage::default()
        };
        // Sound that was cached is a part of both, and fresh sound is the rest.
        usage.audio_input = minus(
            audio_in.get().unwrap_or(0),
            usage.cached_audio,
            &mut usage.anomaly,
        );
        usage.anomaly |= usage.cached_audio > usage.cached;
        self.set_output(&mut usage, prompt, reasoning.get().unwrap_or(0), rule)?;
        self.set_input(&mut usage, prompt);
        Some(usage)
    }

    fn set_input(&self, usage: &mut Usage, prompt: u64) {
        let inside = usage.cached.saturating_add(usage.cache_write);
        usage.input = minus(prompt, inside, &mut usage.anomaly);
        let hit_and_miss = (
            self.prompt_cache_hit_tokens.get(),
            self.prompt_cache_miss_tokens.get(),
        );
        if let (Some(hit), Some(miss)) = hit_and_miss {
            usage.anomaly |= hit.saturating_add(miss) != prompt;
            usage.input = usage.input.max(miss.saturating_sub(usage.cache_write));
        }
    }

    /// Sets output and reasoning; the sum must be the total where there is one.
    fn set_output(
        &self,
        usage: &mut Usage,
        prompt: u64,
        reasoning: u64,
        rule: UsageRule,
    ) -> Option<()> {
        let completion = self.completion_tokens.get()?;
        let sum = prompt.saturating_add(completion);
        (usage.output, usage.reasoning) = (completion, reasoning);
        let mut expected_total = sum;
        match rule {
            UsageRule::ReasoningOnTop => {
                usage.output = completion.saturating_add(reasoning);
                expected_total = sum.saturating_add(reasoning);
            }
            UsageRule::TotalMinusPrompt => {
                let total = self.total_tokens.get()?;
                let hidden = minus(total, sum, &mut usage.anomaly);
                usage.output = completion.saturating_add(hidden);
                usage.reasoning = reasoning.max(hidden).min(usage.output);
                expected_total = total;
            }
            UsageRule::ReasoningMayExceed if reasoning > completion => {
                usage.output = completion.saturating_add(reasoning);
                usage.anomaly = true;
            }
            UsageRule::Dialect | UsageRule::ReasoningMayExceed => {
                let beyond = reasoning > completion;
                usage.anomaly |= beyond;
                usage.reasoning = reasoning.min(completion);
            }
        }
        usage.anomaly |= self
            .total_tokens
            .get()
            .is_some_and(|total| total != expected_total);
        Some(())
    }
}

/// What the provider itself says an answer cost.
pub(in crate::dialect) fn reported_cost(cost: Option<&RawValue>, ticks: Count) -> Option<PicoUsd> {
    // 0 ticks means "not told" (Azure), not "free".
    if let Some(ticks) = ticks.get().filter(|ticks| *ticks > 0) {
        return Some(PICO_PER_TICK.times(ticks));
    }
    let raw = cost?.get();
    if raw.starts_with('{') {
        let parts: CostParts<'_> = serde_json::from_str(raw).ok()?;
        return usd(parts.total_cost?.get());
    }
    usd(raw)
}

/// Dollars of a JSON number, or of a string that holds one, from their text; what is finer than a
/// pico-dollar is rounded up. `None` for what is negative or no number.
fn usd(raw: &str) -> Option<PicoUsd> {
    let text = raw
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(raw);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // How many of the digits are whole pico-dollars; the rest is rounded up.
    let kept = exponent
        .checked_add(12)?
        .checked_add(i32::try_from(whole.len()).ok()?)?;
    let kept = usize::try_from(kept.max(0)).ok()?;
    let cut = kept.min(digits.len());
    let rounds_up = digits[cut..].bytes().any(|b| b != b'0');
    let number = match digits[..cut].trim_start_matches('0') {
        "" => 0,
        number => number.parse::<i128>().ok()?,
    };
    if number == 0 {
        return Some(PicoUsd(i128::from(rounds_up)));
    }
    let power = 10_i128.checked_pow(u32::try_from(kept - cut).ok()?)?;
    let pico = number.checked_mul(power)?;
    pico.checked_add(i128::from(rounds_up)).map(PicoUsd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_that_was_cached_is_no_fresh_sound() {
        let told = |details: &str| {
            let json = format!(
                "{{\"prompt_tokens\":100,\"completion_tokens\":1,\"total_tokens\":101,\"prompt_tokens_details\":{details}}}"
            );
            let usage = read(&json, UsageRule::Dialect).expect("usage");
            (
                usage.input,
                usage.cached,
                usage.audio_input,
                usage.cached_audio,
                usage.anomaly,
            )
        };
        for (details, expected) in [
            (
                r#"{"audio_tokens":60,"cached_tokens":50,"cached_tokens_details":{"audio_tokens":40}}"#,
                (50, 50, 20, 40, false),
            ),
            (
                r#"{"audio_tokens":60,"cached_tokens":50,"cached_tokens_details":{"text_tokens":50}}"#,
                (50, 50, 60, 0, false),
            ),
            (
                r#"{"audio_tokens":60,"cached_tokens":50,"cached_tokens_details":null}"#,
                (50, 50, 60, 0, false),
            ),
            (
                r#"{"audio_tokens":30,"cached_tokens":50,"cached_tokens_details":{"audio_tokens":40}}"#,
                (50, 50, 0, 40, true),
            ),
            (
                r#"{"audio_tokens":60,"cached_tokens":30,"cached_tokens_details":{"audio_tokens":40}}"#,
                (70, 30, 20, 40, true),
            ),
        ] {
            assert_eq!(told(details), expected, "{details}");
        }
    }

    fn read(json: &str, rule: UsageRule) -> Option<Usage> {
        serde_json::from_str::<ChatUsage<'_>>(json)
            .expect("any object is read")
            .read(rule, None)
    }

    /// input, cached, cache_write, output, reasoning, anomaly
    type Row = (u64, u64, u64, u64, u64, bool);

    fn row(usage: Usage) -> Row {
        (
            usage.input,
            usage.cached,
            usage.cache_write,
            usage.output,
            usage.reasoning,
            usage.anomaly,
        )
    }

    #[test]
    fn every_vendors_counts_become_classes_that_do_not_overlap() {
        use UsageRule::{Dialect, ReasoningMayExceed, ReasoningOnTop, TotalMinusPrompt};
        let openai = r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
            "prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":30},"completion_tokens_details":{"reasoning_tokens":40}}"#;
        let xai = r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":190,
            "prompt_tokens_details":{"cached_tokens":60},"completion_tokens_details":{"reasoning_tokens":40}}"#;
        let deepseek = r#"{"prompt_tokens":100,"completion_tokens":5,"total_tokens":105,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}"#;
        let gemini = r#"{"prompt_tokens":35,"completion_tokens":12,"total_tokens":109}"#;
        let vercel = r#"{"prompt_tokens":20,"completion_tokens":10,"total_tokens":30,"completion_tokens_details":{"reasoning_tokens":96}}"#;
        let grok = r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":161}}"#;
        let moonshot =
            r#"{"prompt_tokens":20,"completion_tokens":30,"total_tokens":50,"cached_tokens":10}"#;
        let mistral = r#"{"prompt_tokens":64,"completion_tokens":6,"total_tokens":70,"num_cached_tokens":32}"#;
        for (json, rule, expected) in [
            (openai, Dialect, (10, 60, 30, 50, 40, false)),
            (openai, ReasoningMayExceed, (10, 60, 30, 50, 40, false)),
            (xai, ReasoningOnTop, (40, 60, 0, 90, 40, false)),
            // Without its rule the hidden tokens are at least noticed.
            (xai, Dialect, (40, 60, 0, 50, 40, true)),
            (deepseek, Dialect, (36, 64, 0, 5, 0, false)),
            (gemini, TotalMinusPrompt, (35, 0, 0, 74, 62, false)),
            (gemini, Dialect, (35, 0, 0, 12, 0, true)),
            (vercel, ReasoningMayExceed, (20, 0, 0, 106, 96, true)),
            (vercel, Dialect, (20, 0, 0, 10, 10, true)),
            (grok, Dialect, (0, 161, 0, 5, 0, true)),
            (moonshot, Dialect, (10, 10, 0, 30, 0, false)),
            (mistral, Dialect, (32, 32, 0, 6, 0, false)),
            (
                r#"{"prompt_tokens":9,"completion_tokens":5,"total_tokens":2}"#,
                TotalMinusPrompt,
                (9, 0, 0, 5, 0, true),
            ),
            (
                r#"{"prompt_tokens":100,"completion_tokens":5,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":50}"#,
                Dialect,
                (50, 64, 0, 5, 0, true),
            ),
        ] {
            assert_eq!(
                read(json, rule).map(row),
                Some(expected),
                "{json} by {rule:?}"
            );
        }
    }

    #[test]
    fn counts_that_are_no_counts_make_no_usage() {
        for json in [
            "{}",
            r#"{"prompt_tokens":5}"#,
            r#"{"prompt_tokens":null,"completion_tokens":5}"#,
            r#"{"prompt_tokens":5,"completion_tokens":-1}"#,
            r#"{"prompt_tokens":5.0,"completion_tokens":1}"#,
            r#"{"prompt_tokens":"5","completion_tokens":1}"#,
            r#"{"prompt_tokens":9007199254740993,"completion_tokens":1}"#,
            r#"{"prompt_tokens":5,"completion_tokens":1,"total_tokens":"6"}"#,
            r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":-1}}"#,
            r#"{"prompt_tokens":5,"completion_tokens":1,"completion_tokens_details":{"reasoning_tokens":0.5}}"#,
        ] {
            assert_eq!(read(json, UsageRule::Dialect), None, "{json}");
        }
        let told = r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":null,"completion_tokens_details":{"reasoning_tokens":null}}"#;
        assert_eq!(
            read(told, UsageRule::Dialect).map(row),
            Some((5, 0, 0, 1, 0, false))
        );
    }

    #[test]
    fn reported_costs_are_exact_or_rounded_up() {
        for (cost, pico) in [
            (r#""cost":0.00219855"#, Some(2_198_550_000)),
            (r#""cost":0"#, Some(0)),
            (r#""cost":"0.25""#, Some(250_000_000_000)),
            (r#""cost":1.5e-05"#, Some(15_000_000)),
            (r#""cost":2e3"#, Some(2_000_000_000_000_000)),
            (r#""cost":1e-13"#, Some(1)),
            (r#""cost":0.0000000000011"#, Some(2)),
            (r#""cost":1.2345000000000001e-05"#, Some(12_345_001)),
            (r#""cost":0e-99"#, Some(0)),
            (r#""cost":-1"#, None),
            (r#""cost":1e400"#, None),
            (r#""cost":"free""#, None),
            (r#""cost":true"#, None),
            (r#""cost":null"#, None),
            (r#""cost":{"total_cost":0.006}"#, Some(6_000_000_000)),
            (r#""cost":{}"#, None),
            (r#""cost_in_usd_ticks":123"#, Some(12_300)),
            (r#""cost_in_usd_ticks":0"#, None),
        ] {
            let json = format!("{{\"prompt_tokens\":1,\"completion_tokens\":1,{cost}}}");
            let got = read(&json, UsageRule::Dialect).expect("usage");
            assert_eq!(got.reported_cost, pico.map(PicoUsd), "{cost}");
        }
    }
}
