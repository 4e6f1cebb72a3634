//! `usageMetadata` into [`Usage`]: the candidates' count leaves the thoughts out, the prompt's count has the cached ones in.

use crate::chat::Usage;
use crate::dialect::lenient::Count;
use serde::Deserialize;

/// The object as it comes.
#[derive(Deserialize)]
pub(super) struct Wire {
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
}

impl Wire {
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
        Some(Usage {
            input: input.saturating_sub(cached),
            cached,
            output,
            reasoning: thoughts,
            anomaly: cached > input || total != input.saturating_add(output),
            ..Usage::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_are_output_and_cached_tokens_are_a_part_of_the_prompt() {
        let read = |json: &str| {
            let usage = serde_json::from_str::<Wire>(json).expect("read").read();
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
