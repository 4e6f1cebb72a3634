//! Anthropic's `usage`, whose fields come in several events: the last value of each counts.
//!
//! `input_tokens` excludes what was read from and written to the cache, `output_tokens` includes thinking.

use crate::chat::{Manner, ServiceTier, Usage};
use crate::dialect::lenient::{Content, Count, Maybe, Text};
use serde::Deserialize;

/// The object as it comes; an entry of its own `iterations` has the same fields.
#[derive(Deserialize)]
pub(super) struct AnthropicUsage<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    cache_creation_input_tokens: Count,
    #[serde(default)]
    cache_read_input_tokens: Count,
    #[serde(default)]
    cache_creation: Maybe<AnthropicCacheWrites>,
    #[serde(default)]
    output_tokens_details: Maybe<AnthropicOutputDetails>,
    #[serde(default, borrow)]
    service_tier: Text<'a>,
    #[serde(default, borrow)]
    inference_geo: Text<'a>,
    #[serde(default, borrow)]
    speed: Text<'a>,
    #[serde(default, borrow)]
    iterations: Content<'a, Maybe<AnthropicUsage<'a>>>,
}

#[derive(Deserialize)]
struct AnthropicCacheWrites {
    #[serde(default)]
    ephemeral_5m_input_tokens: Count,
    #[serde(default)]
    ephemeral_1h_input_tokens: Count,
}

#[derive(Deserialize)]
struct AnthropicOutputDetails {
    #[serde(default)]
    thinking_tokens: Count,
}

/// A place and a speed in Anthropic's words, in a request or an answer.
///
/// Sources: <https://platform.claude.com/docs/en/manage-claude/data-residency> (`inference_geo` `global` or `us`; models from before
/// Claude Opus 4.6 answer `not_available`), <https://platform.claude.com/docs/en/build-with-claude/fast-mode> (`speed`).
pub(super) fn manner(place: Option<&str>, speed: Option<&str>) -> Manner {
    let mut unknown = false;
    let mut read = |word: Option<&str>, plain: &[&str], dear: &str| match word? {
        word if plain.contains(&word) => Some(false),
        word if word == dear => Some(true),
        _ => {
            unknown = true;
            None
        }
    };
    let us_only = read(place, &["global", "not_available"], "us");
    let fast = read(speed, &["standard"], "fast");
    Manner {
        us_only,
        fast,
        unknown,
    }
}

/// The word, where there is one; whatever else stands there is a word that nobody knows.
fn word<'t>(text: &'t Text<'_>) -> Option<&'t str> {
    match text {
        Text::Nothing => None,
        text => Some(text.text().unwrap_or("?")),
    }
}

/// The last value of every count, as far as they have come.
#[derive(Debug, Default)]
pub(super) struct SeenUsage {
    input: Option<u64>,
    output: Option<u64>,
    write: Option<u64>,
    read: Option<u64>,
    write_short: Option<u64>,
    write_long: Option<u64>,
    thinking: Option<u64>,
    tier: Option<ServiceTier>,
    manner: Manner,
    /// Counts of `iterations` that the sums above leave out; part of the last object that had any.
    beside: Option<Box<Beside>>,
    /// A count came that is no count: what is known is not the last word.
    unreadable: bool,
    /// The last object had a count of the output.
    tells_output: bool,
}

/// What `iterations` tell and the counts beside them leave out.
#[derive(Debug, Default)]
struct Beside {
    /// Compaction: the same model's tokens.
    compaction: SeenUsage,
    /// Another model's tokens (an advisor, a fallback): they cannot be priced here.
    of_others: bool,
}

impl SeenUsage {
    /// Takes the counts that `wire` has; the others stay.
    pub(super) fn take(&mut self, wire: &AnthropicUsage<'_>) {
        self.take_counts(wire);
        self.tells_output = wire.output_tokens.get().is_some();
        self.tier = wire
            .service_tier
            .text()
            .and_then(ServiceTier::read)
            .or(self.tier);
        self.manner = manner(word(&wire.inference_geo), word(&wire.speed)).or(self.manner);
        let iterations = wire.iterations.list();
        if iterations.is_empty() {
            return;
        }
        let mut beside = Beside::default();
        for iteration in iterations {
            match iteration.0.as_ref().map(|i| (i, i.kind.text())) {
                Some((_, Some("message"))) => {}
                Some((iteration, Some("compaction"))) => beside.compaction.add(iteration),
                _ => beside.of_others = true,
            }
        }
        self.beside = Some(Box::new(beside));
    }

    fn take_counts(&mut self, wire: &AnthropicUsage<'_>) {
        let (short, long) = wire
            .cache_creation
            .0
            .as_ref()
            .map(|w| (w.ephemeral_5m_input_tokens, w.ephemeral_1h_input_tokens))
            .unwrap_or_default();
        let thinking = match &wire.output_tokens_details.0 {
            Some(details) => details.thinking_tokens,
            None => Count::Missing,
        };
        for (place, count) in [
            (&mut self.input, wire.input_tokens),
            (&mut self.output, wire.output_tokens),
            (&mut self.write, wire.cache_creation_input_tokens),
            (&mut self.read, wire.cache_read_input_tokens),
            (&mut self.write_short, short),
            (&mut self.write_long, long),
            (&mut self.thinking, thinking),
        ] {
            self.unreadable |= count == Count::Wrong;
            *place = count.get().or(*place);
        }
    }

    fn add(&mut self, wire: &AnthropicUsage<'_>) {
        let mut one = SeenUsage::default();
        one.take_counts(wire);
        for (sum, count) in [
            (&mut self.input, one.input),
            (&mut self.output, one.output),
            (&mut self.write, one.write),
            (&mut self.read, one.read),
            (&mut self.write_short, one.write_short),
            (&mut self.write_long, one.write_long),
        ] {
            *sum = Some(sum.unwrap_or(0).saturating_add(count.unwrap_or(0)));
        }
        self.unreadable |= one.unreadable || one.input.is_none() || one.output.is_none();
    }

    /// The full best knowledge so far; `None` while input or output was never told.
    pub(super) fn usage(&self) -> Option<Usage> {
        let mut usage = self.own_usage()?;
        let Some(beside) = &self.beside else {
            return Some(usage);
        };
        usage.anomaly |= beside.of_others;
        if let Some(more) = beside.compaction.own_usage() {
            usage.input = usage.input.saturating_add(more.input);
            usage.cached = usage.cached.saturating_add(more.cached);
            usage.cache_write = usage.cache_write.saturating_add(more.cache_write);
            usage.cache_write_long = usage.cache_write_long.saturating_add(more.cache_write_long);
            usage.output = usage.output.saturating_add(more.output);
            usage.anomaly |= more.anomaly;
        }
        Some(usage)
    }

    fn own_usage(&self) -> Option<Usage> {
        let (input, output) = (self.input?, self.output?);
        let told_long = self.write_long.unwrap_or(0);
        let apart = told_long.saturating_add(self.write_short.unwrap_or(0));
        let write = self.write.unwrap_or(apart);
        let thinking = self.thinking.unwrap_or(0);
        Some(Usage {
            input,
            cached: self.read.unwrap_or(0),
            // What grew after the split was told counts as the short kind.
            cache_write: write.saturating_sub(told_long),
            cache_write_long: told_long,
            output,
            reasoning: thinking.min(output),
            tier: self.tier,
            manner: self.manner,
            anomaly: self.unreadable || apart > write || thinking > output,
            ..Usage::default()
        })
    }

    /// Whether the last object had a count of the output.
    pub(super) fn tells_output(&self) -> bool {
        self.tells_output
    }

    /// Every count that came was a count.
    pub(super) fn is_readable(&self) -> bool {
        !self.unreadable
    }

    /// A usage came that could not be read at all.
    pub(super) fn spoil(&mut self) {
        self.unreadable = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// input, cached, write, write long, output, reasoning, anomaly
    type Row = (u64, u64, u64, u64, u64, u64, bool);

    fn read(objects: &[&str]) -> Option<Row> {
        let mut seen = SeenUsage::default();
        for json in objects {
            seen.take(&serde_json::from_str(json).expect("any object is read"));
        }
        seen.usage().map(|u| {
            let writes = (u.cache_write, u.cache_write_long);
            (
                u.input,
                u.cached,
                writes.0,
                writes.1,
                u.output,
                u.reasoning,
                u.anomaly,
            )
        })
    }

    #[test]
    fn the_last_value_of_every_field_counts() {
        let start = r#"{"input_tokens":10,"cache_creation_input_tokens":100,"cache_read_input_tokens":7,
            "cache_creation":{"ephemeral_5m_input_tokens":60,"ephemeral_1h_input_tokens":40},"output_tokens":1}"#;
        for (objects, expected) in [
            (&[start][..], (10, 7, 60, 40, 1, 0, false)),
            (
                &[start, r#"{"output_tokens":9}"#],
                (10, 7, 60, 40, 9, 0, false),
            ),
            (
                &[
                    start,
                    r#"{"input_tokens":30,"cache_read_input_tokens":0,"output_tokens":9,"output_tokens_details":{"thinking_tokens":4}}"#,
                ],
                (30, 0, 60, 40, 9, 4, false),
            ),
            (
                &[
                    start,
                    r#"{"input_tokens":null,"cache_creation_input_tokens":120,"output_tokens":9}"#,
                ],
                (10, 7, 80, 40, 9, 0, false),
            ),
            (
                &[r#"{"input_tokens":1,"output_tokens":2}"#],
                (1, 0, 0, 0, 2, 0, false),
            ),
        ] {
            assert_eq!(read(objects), Some(expected), "{objects:?}");
        }
    }

    #[test]
    fn the_tier_that_an_answer_was_made_in_stays_as_first_told() {
        let mut seen = SeenUsage::default();
        for json in [
            r#"{"input_tokens":1,"output_tokens":1,"service_tier":"priority"}"#,
            r#"{"output_tokens":9,"service_tier":null}"#,
        ] {
            seen.take(&serde_json::from_str(json).expect("any object is read"));
        }
        let tier = seen.usage().expect("usage").tier;
        assert_eq!(tier, Some(ServiceTier::Priority));
    }

    #[test]
    fn where_and_how_fast_an_answer_was_made_stays_as_last_told() {
        // us only, fast, unknown
        for (objects, expected) in [
            (&["{}"][..], (None, None, false)),
            (&[r#"{"inference_geo":"us"}"#], (Some(true), None, false)),
            (
                &[
                    r#"{"inference_geo":"us","speed":"fast"}"#,
                    r#"{"inference_geo":null}"#,
                ],
                (Some(true), Some(true), false),
            ),
            (
                &[
                    r#"{"inference_geo":"global","speed":"fast"}"#,
                    r#"{"speed":"standard"}"#,
                ],
                (Some(false), Some(false), false),
            ),
            (
                &[r#"{"inference_geo":"not_available"}"#],
                (Some(false), None, false),
            ),
            (&[r#"{"inference_geo":"moon"}"#], (None, None, true)),
            (&[r#"{"speed":2}"#], (None, None, true)),
        ] {
            let mut seen = SeenUsage::default();
            seen.take(
                &serde_json::from_str(r#"{"input_tokens":1,"output_tokens":1}"#).expect("read"),
            );
            for json in objects {
                seen.take(&serde_json::from_str(json).expect("any object is read"));
            }
            let manner = seen.usage().expect("usage").manner;
            assert_eq!(
                (manner.us_only, manner.fast, manner.unknown),
                expected,
                "{objects:?}"
            );
        }
    }

    #[test]
    fn contradictions_and_what_is_no_count_are_flagged_or_refused() {
        assert_eq!(read(&["{\"output_tokens\":3}"]), None);
        assert_eq!(read(&["{\"input_tokens\":-3,\"output_tokens\":3}"]), None);
        for (objects, expected) in [
            (
                &[
                    "{\"input_tokens\":1,\"output_tokens\":2}",
                    "{\"output_tokens\":-3}",
                ][..],
                (1, 0, 0, 0, 2, 0, true),
            ),
            (
                &[
                    r#"{"input_tokens":1,"output_tokens":2,"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_1h_input_tokens":9}}"#,
                ],
                (1, 0, 0, 9, 2, 0, true),
            ),
            (
                &[
                    r#"{"input_tokens":1,"output_tokens":2,"output_tokens_details":{"thinking_tokens":5}}"#,
                ],
                (1, 0, 0, 0, 2, 2, true),
            ),
        ] {
            assert_eq!(read(objects), Some(expected), "{objects:?}");
        }
    }

    #[test]
    fn compaction_is_added_and_another_models_tokens_are_flagged() {
        let with = |iterations: &str| {
            format!("{{\"input_tokens\":612,\"output_tokens\":2819,\"iterations\":[{iterations}]}}")
        };
        let message = r#"{"type":"message","input_tokens":612,"output_tokens":2819}"#;
        let compaction = r#"{"type":"compaction","input_tokens":60385,"output_tokens":522,"cache_read_input_tokens":3}"#;
        for (iterations, expected) in [
            (message.to_owned(), (612, 0, 0, 0, 2819, 0, false)),
            (
                format!("{compaction},{message}"),
                (60_997, 3, 0, 0, 3341, 0, false),
            ),
            (
                format!("{message},{{\"type\":\"advisor_message\"}}"),
                (612, 0, 0, 0, 2819, 0, true),
            ),
            (
                "{\"type\":\"compaction\"}".to_owned(),
                (612, 0, 0, 0, 2819, 0, true),
            ),
        ] {
            assert_eq!(read(&[&with(&iterations)]), Some(expected), "{iterations}");
        }
    }
}
