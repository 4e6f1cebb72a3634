//! Whether an answer is good: held against the one that is expected, against a pattern or a schema, or against another arm's answer, which
//! somebody else may have to compare. Pure: `flyball compare`, the shadow of live traffic and what is explored judge by the same words.

use crate::json;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// Bytes that a pattern may take up when it is compiled.
const PATTERN_MAX: usize = 1 << 20;
/// A text of no more characters is an answer that can be compared with another one's word for word.
const COMPARED_MAX: usize = 80;

/// JSON of no more bytes holds names and figures, which are the same or not; in longer one the same may be said in other words.
const JSON_MAX: usize = 400;

/// Whether an answer is the expected one, but for case, white space and a full stop at its end.
#[must_use]
pub fn is_exactly(answer: &str, expected: &str) -> bool {
    normal(answer) == normal(expected)
}

fn normal(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ").to_lowercase();
    text.trim_end_matches('.').to_owned()
}

/// Whether its last number is that of the expected one.
#[must_use]
pub fn is_same_number(answer: &str, expected: &str) -> bool {
    let (Some(said), Some(right)) = (
        numbers(answer).last().copied(),
        numbers(expected).last().copied(),
    ) else {
        return false;
    };
    (said - right).abs() <= 1e-6 * right.abs().max(1.0)
}

/// Thousands may be set apart by commas: `1,000` is 1000.
fn numbers(text: &str) -> Vec<f64> {
    let part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-');
    let words = text.split(|c: char| !part(c));
    let plain = words.map(|w| w.trim_end_matches(['.', ',', '-']).replace(',', ""));
    plain.filter_map(|w| w.parse().ok()).collect()
}

/// A pattern of bounded size.
///
/// # Errors
/// It is none, or too large.
pub fn pattern(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(PATTERN_MAX).build();
    built.map_err(|e| format!("\"{text}\" is no pattern: {e}"))
}

/// Whether it is JSON that follows a schema. It may stand in a fence, as chat models like to write it.
#[must_use]
pub fn follows(schema: &Value, answer: &str) -> bool {
    serde_json::from_str(unfenced(answer)).is_ok_and(|value| !json::breaks(schema, &value))
}

fn unfenced(answer: &str) -> &str {
    let text = answer.trim();
    let fenced = text.strip_prefix("```").and_then(|t| t.strip_suffix("```"));
    fenced.map_or(text, |t| t.strip_prefix("json").unwrap_or(t))
}

/// What a short answer comes to: its letters and digits, in lower case.
fn gist(text: &str) -> Option<String> {
    let kept = text.chars().filter(|c| c.is_alphanumeric());
    let gist: String = kept.flat_map(char::to_lowercase).collect();
    (text.chars().count() <= COMPARED_MAX && !gist.is_empty()).then_some(gist)
}

/// Whether an answer says something, and is short enough to be compared word for word.
#[must_use]
pub fn is_short(text: &str) -> bool {
    gist(text).is_some()
}

/// Whether two short answers say the same word for word; `None` where the second is too long for that, or says nothing. Which answers are
/// compared hangs on the second alone, so that what is told of the first is told of its good and bad answers alike.
#[must_use]
pub fn says_the_same(answer: &str, reference: &str) -> Option<bool> {
    let reference = gist(reference)?;
    Some(gist(answer).as_ref() == Some(&reference))
}

/// Whether an answer agrees with another one: as JSON where that one is an object or a list, by its number where that one is nothing else, by its words
/// where that one is short. `None` where it can be told in none of these ways.
#[must_use]
pub fn agrees(answer: &str, reference: &str) -> Option<bool> {
    let read = |text: &str| serde_json::from_str::<Value>(unfenced(text)).ok();
    if let Some(value @ (Value::Object(_) | Value::Array(_))) = read(reference) {
        let short = reference.len() <= JSON_MAX;
        return short.then(|| read(answer).is_some_and(|own| is_same(&own, &value)));
    }
    let bare = |text: &str| !text.chars().any(char::is_alphabetic) && numbers(text).len() == 1;
    if bare(reference) && bare(answer) {
        return Some(is_same_number(answer, reference));
    }
    says_the_same(answer, reference)
}

/// Whether two values are the same, numbers by what they are and not by how they are written.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(key, a): (&String, &Value)| b.get(key).is_some_and(|b| is_same(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        (a, b) => a == b,
    }
}

/// What a judge is asked about two answers, the first of which is called A.
#[must_use]
pub fn question(asked: &str, a: &str, b: &str) -> String {
    format!(
        "Two assistants have answered the same question. Say which answer is better: correct first, then helpful, then short. Neither its place nor its length makes an answer better.\n\n\
         [Question]\n{asked}\n\n[Answer A]\n{a}\n\n[Answer B]\n{b}\n\n\
         Reply with one letter only: A, B, or T if they are equally good."
    )
}

/// Which of two a judge's words prefer: `Some(Some(true))` for A, `Some(None)` for a tie, `None` where it says neither.
#[must_use]
pub fn preference(words: &str) -> Option<Option<bool>> {
    let letters = words.split(|c: char| !c.is_ascii_alphanumeric());
    let mut verdicts = letters.filter(|w| matches!(*w, "A" | "B" | "T"));
    match verdicts.next_back()? {
        "A" => Some(Some(true)),
        "B" => Some(Some(false)),
        _ => Some(None),
    }
}

/// What a judge has said in both orders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// How good the first answer is beside the second: 1 if it is better, 0 if it is worse, one half for a tie.
    pub score: f64,
    /// The judge has said the same in both orders. What it says in one order only is a tie.
    pub agreed: bool,
}

/// The verdict on an answer that stood as A in the first question and as B in the second, by what was preferred each time.
#[must_use]
pub fn verdict(first: Option<bool>, swapped: Option<bool>) -> Verdict {
    let swapped = swapped.map(|a| !a);
    let agreed = first == swapped;
    let score = match first {
        Some(true) if agreed => 1.0,
        Some(false) if agreed => 0.0,
        _ => 0.5,
    };
    Verdict { score, agreed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_held_against_what_is_expected() {
        assert!(is_exactly(" paris. ", "Paris"));
        assert!(!is_exactly("It is Paris.", "Paris"));
        assert!(is_same_number("So 3 times that makes $1,000.", "1000"));
        assert!(!is_same_number("1,001", "1000"));
        assert!(!is_same_number("no idea", "1000"));
        assert!(pattern("(").is_err());
        let schema = json!({"type": "object", "required": ["a"]});
        assert!(follows(&schema, "```json\n{\"a\": 1}\n```"));
        assert!(!follows(&schema, "{\"b\": 1}"));
        assert!(!follows(&schema, "not JSON"));
    }

    #[test]
    fn two_answers_agree_as_json_as_numbers_or_as_words() {
        for (answer, reference, agree) in [
            (
                "{\"b\": 2, \"a\": 1.0}",
                "```json\n{\"a\":1,\"b\":2}\n```",
                Some(true),
            ),
            ("{\"a\": 2}", "{\"a\": 1}", Some(false)),
            ("I do not know", "[1]", Some(false)),
            ("1,000", "1000.0", Some(true)),
            ("1001", "1000", Some(false)),
            ("Paris", " paris. ", Some(true)),
            ("It is Paris", "Paris", Some(false)),
            ("", "Paris", Some(false)),
            ("Paris", "", None),
        ] {
            assert_eq!(agrees(answer, reference), agree, "{answer} {reference}");
        }
        assert_eq!(agrees("Paris", &"long ".repeat(30)), None);
    }

    #[test]
    fn a_judge_is_understood_by_its_last_letter() {
        for (words, meant) in [
            ("A", Some(Some(true))),
            ("B.", Some(Some(false))),
            ("Answer A is long, but B", Some(Some(false))),
            ("T", Some(None)),
            ("Both are fine", None),
        ] {
            assert_eq!(preference(words), meant, "{words}");
        }
    }

    #[test]
    fn what_a_judge_says_in_one_order_only_is_a_tie() {
        for (first, swapped, score, agreed) in [
            (Some(true), Some(false), 1.0, true),
            (Some(false), Some(true), 0.0, true),
            (Some(true), Some(true), 0.5, false),
            (None, None, 0.5, true),
            (None, Some(true), 0.5, false),
        ] {
            let told = verdict(first, swapped);
            assert_eq!((told.score, told.agreed), (score, agreed));
        }
    }
}
