//! The `usage` object of Cohere Chat.

use crate::chat::Usage;
use crate::dialect::lenient::Maybe;
use serde::Deserialize;
use serde_json::Value;

/// The object as it comes.
#[derive(Deserialize)]
pub(super) struct Used {
    #[serde(default)]
    billed_units: Maybe<Tokens>,
    #[serde(default)]
    tokens: Maybe<Tokens>,
    #[serde(default)]
    cached_tokens: Option<Value>,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    input_tokens: Option<Value>,
    #[serde(default)]
    output_tokens: Option<Value>,
}

impl Used {
    /// What is billed; where that is not told, what was read and written. Figures that contradict each other, or words that
    /// cost nothing, are taken at the dearer reading and flagged.
    pub(super) fn read(&self, said: bool) -> Option<Usage> {
        let mut anomaly = false;
        let billed = counts(&self.billed_units, &mut anomaly);
        let all = counts(&self.tokens, &mut anomaly);
        let cached = known(self.cached_tokens.as_ref(), &mut anomaly).unwrap_or(0);
        let free = said && billed == Some((0, 0));
        let (input, output) = match billed.filter(|_| !free) {
            Some(billed) => billed,
            None => all.or(billed)?,
        };
        let (read, written) = all.unwrap_or((input, output));
        anomaly |= free || input > read || output > written || cached > read;
        // What was cached is of the frame first, which nobody pays for.
        let frame = read.saturating_sub(input);
        let cached = match cached > read {
            true => 0,
            false => cached.saturating_sub(frame),
        };
        Some(Usage {
            input: input - cached,
            cached,
            output,
            anomaly,
            ..Usage::default()
        })
    }
}

/// Input and output, where both are told.
fn counts(tokens: &Maybe<Tokens>, anomaly: &mut bool) -> Option<(u64, u64)> {
    let tokens = tokens.0.as_ref()?;
    let input = known(tokens.input_tokens.as_ref(), anomaly);
    let output = known(tokens.output_tokens.as_ref(), anomaly);
    input.zip(output)
}

/// A figure that is told but is no count is flagged.
fn known(value: Option<&Value>, anomaly: &mut bool) -> Option<u64> {
    let value = value?;
    let found = count(value);
    *anomaly |= found.is_none();
    found
}

/// Its counts are doubles: a whole one may be written as `12.0`.
fn count(value: &Value) -> Option<u64> {
    let text = value.as_number()?.to_string();
    let whole = text.strip_suffix(".0").unwrap_or(&text);
    whole.parse().ok().filter(|n| *n <= 1 << 53)
}

#[cfg(test)]
mod tests {
    use crate::dialect::cohere::Cohere;
    use crate::dialect::{Answer, Dialect, UsageRule};

    /// input, cached, output, anomaly
    fn usage(used: &str, words: &str) -> (u64, u64, u64, bool) {
        let body = format!(
            "{{\"message\":{{\"content\":\"{words}\"}},\"finish_reason\":\"COMPLETE\",\"usage\":{used}}}"
        );
        let whole = Cohere
            .answer(body.as_bytes(), UsageRule::Dialect)
            .usage
            .expect("told");
        let mut streamed = Answer::default();
        let mut decoder = Cohere.stream(UsageRule::Dialect);
        for event in [
            format!(
                "{{\"type\":\"content-delta\",\"delta\":{{\"message\":{{\"content\":{{\"text\":\"{words}\"}}}}}}}}"
            ),
            format!(
                "{{\"type\":\"message-end\",\"delta\":{{\"finish_reason\":\"COMPLETE\",\"usage\":{used}}}}}"
            ),
        ] {
            let bytes = format!("data: {event}\n\n");
            decoder.feed(bytes.as_bytes(), &mut |e| streamed.add(e));
        }
        assert_eq!(streamed.usage, Some(whole), "{used}");
        (whole.input, whole.cached, whole.output, whole.anomaly)
    }

    #[test]
    fn figures_that_contradict_each_other_are_read_dearly_and_flagged() {
        let used = |billed: (&str, &str), tokens: (&str, &str), cached: &str| {
            let both = |(input, output): (&str, &str)| {
                format!("{{\"input_tokens\":{input},\"output_tokens\":{output}}}")
            };
            let (billed, tokens) = (both(billed), both(tokens));
            let used = format!(
                "{{\"billed_units\":{billed},\"tokens\":{tokens},\"cached_tokens\":{cached}}}"
            );
            usage(&used, "Hi")
        };
        let (sane, all) = (("20", "9"), ("518", "12"));
        assert_eq!(used(sane, all, "null"), (20, 0, 9, false));
        assert_eq!(used(sane, all, "500"), (18, 2, 9, false));
        assert_eq!(used(sane, all, "518"), (0, 20, 9, false));
        assert_eq!(used(sane, all, "519"), (20, 0, 9, true));
        assert_eq!(used(sane, all, "-1"), (20, 0, 9, true));
        assert_eq!(used(("519", "9"), all, "0"), (519, 0, 9, true));
        assert_eq!(used(("20", "13"), all, "0"), (20, 0, 13, true));
        assert_eq!(used(("-20", "9"), all, "0"), (518, 0, 12, true));
        assert_eq!(used(sane, ("1e300", "12"), "0"), (20, 0, 9, true));
        assert_eq!(used(("0", "0"), all, "0"), (518, 0, 12, true));
        let free = r#"{"billed_units":{"input_tokens":0,"output_tokens":0}}"#;
        assert_eq!(usage(free, "Hi"), (0, 0, 0, true));
        assert_eq!(usage(free, ""), (0, 0, 0, false));
    }
}
