//! `usageMetadata` into [`Usage`]: the candidates' count leaves the thoughts out, the prompt's count has the cached ones in.

use crate::chat::{ServiceTier, Usage};
use crate::dialect::lenient::{Content, Count, Maybe, Text};
use serde::Deserialize;

/// The object as it comes.
#[derive(Deserialize)]
pub(super) struct GeminiUsage<'a> {
    #[serde(default, rename = "promptTokenCount")]
    prompt: Count,
    #[serde(default, rename = "candidatesTokenCount")]
    candidates: Count,
    #[serde(default, rename = "thoughtsTokenCount")]
    thoughts: Count,
    #[serde(default, rename = "cachedContentTokenCount")]
    cached: Count,
    #[serde(default, rename = "toolUsePromptTokenCount")]
    tool_use: Count,
    #[serde(default, rename = "totalTokenCount")]
    total: Count,
    #[serde(default, borrow, rename = "promptTokensDetails")]
    prompt_details: Content<'a, Maybe<Modality<'a>>>,
    /// The part of `promptTokensDetails` that was in the cache.
    #[serde(default, borrow, rename = "cacheTokensDetails")]
    cache_details: Content<'a, Maybe<Modality<'a>>>,
    #[serde(default, borrow, rename = "candidatesTokensDetails")]
    candidates_details: Content<'a, Maybe<Modality<'a>>>,
    #[serde(default, borrow, rename = "serviceTier")]
    tier: Text<'a>,
}

#[derive(Deserialize)]
struct Modality<'a> {
    #[serde(default, borrow)]
    modality: Text<'a>,
    #[serde(default, rename = "tokenCount")]
    count: Count,
}

/// How many of these tokens are sound.
fn sound(details: &Content<'_, Maybe<Modality<'_>>>) -> u64 {
    let all = details.list().iter().filter_map(|d| d.0.as_ref());
    let sound = all.filter(|d| d.modality.text() == Some("AUDIO"));
    let counts = sound.filter_map(|d| d.count.get());
    counts.fold(0, u64::saturating_add)
}

impl GeminiUsage<'_> {
    /// What was used; `None` where the counts cannot be believed at all.
    pub(super) fn read(&self) -> Option<Usage> {
        let all = [
            self.prompt,
            self.candidates,
            self.thoughts,
            self.cached,
            self.tool_use,
            self.total,
        ];
        if all.contains(&Count::Wrong) {
            return None;
        }
        let prompt = self.prompt.get()?;
        let [candidates, thoughts, cached, tool_use] =
            [self.candidates, self.thoughts, self.cached, self.tool_use]
                .map(|c| c.get().unwrap_or(0));
        let input = prompt.saturating_add(tool_use);
        let output = candidates.saturating_add(thoughts);
        let total = self.total.get().unwrap_or(input.saturating_add(output));
        let (heard, cached_audio) = (sound(&self.prompt_details), sound(&self.cache_details));
        Some(Usage {
            input: input.saturating_sub(cached),
            cached,
            output,
            reasoning: thoughts,
            audio_input: heard.saturating_sub(cached_audio),
            cached_audio,
            audio_output: sound(&self.candidates_details),
            tier: self.tier.text().and_then(ServiceTier::read),
            anomaly: cached > input
                || cached_audio > cached.min(heard)
                || total != input.saturating_add(output),
            ..Usage::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_and_the_service_tier_are_told_apart() {
        let json = r#"{"promptTokenCount":10,"candidatesTokenCount":3,"totalTokenCount":13,"serviceTier":"flex",
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":4},{"modality":"AUDIO","tokenCount":6}],
            "candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":2}]}"#;
        let usage = serde_json::from_str::<GeminiUsage<'_>>(json)
            .expect("read")
            .read()
            .expect("usage");
        assert_eq!((usage.audio_input, usage.audio_output), (6, 2));
        // Of what was cached it says how much was sound; where it does not, all sound counts as fresh.
        for (details, expected) in [
            (
                r#""cacheTokensDetails":[{"modality":"AUDIO","tokenCount":5}],"#,
                (1, 5, false),
            ),
            (
                r#""cacheTokensDetails":[{"modality":"TEXT","tokenCount":5}],"#,
                (6, 0, false),
            ),
            ("", (6, 0, false)),
            (
                r#""cacheTokensDetails":[{"modality":"AUDIO","tokenCount":9}],"#,
                (0, 9, true),
            ),
        ] {
            let cached = format!("{{{details}\"cachedContentTokenCount\":5,{}", &json[1..]);
            let wire = serde_json::from_str::<GeminiUsage<'_>>(&cached).expect("read");
            let got = wire.read().expect("usage");
            assert_eq!(
                (got.audio_input, got.cached_audio, got.anomaly),
                expected,
                "{details}"
            );
        }
        assert_eq!(usage.tier, Some(ServiceTier::Flex));
    }

    #[test]
    fn thoughts_are_output_and_cached_tokens_are_a_part_of_the_prompt() {
        let read = |json: &str| {
            let usage = serde_json::from_str::<GeminiUsage<'_>>(json)
                .expect("read")
                .read();
            usage.map(|u| (u.input, u.cached, u.output, u.reasoning, u.anomaly))
        };
        for (json, expected) in [
            (
                r#"{"promptTokenCount":10,"candidatesTokenCount":3,"thoughtsTokenCount":7,"totalTokenCount":20}"#,
                Some((10, 0, 10, 7, false)),
            ),
            (
                r#"{"promptTokenCount":10,"cachedContentTokenCount":4,"toolUsePromptTokenCount":5,"candidatesTokenCount":1,"totalTokenCount":16}"#,
                Some((11, 4, 1, 0, false)),
            ),
            (
                r#"{"promptTokenCount":10,"totalTokenCount":12}"#,
                Some((10, 0, 0, 0, true)),
            ),
            (
                r#"{"promptTokenCount":1,"cachedContentTokenCount":4}"#,
                Some((0, 4, 0, 0, true)),
            ),
            (r#"{"totalTokenCount":12}"#, None),
            (r#"{"promptTokenCount":-1}"#, None),
            (r#"{"promptTokenCount":1,"candidatesTokenCount":1.5}"#, None),
        ] {
            assert_eq!(read(json), expected, "{json}");
        }
    }
}
