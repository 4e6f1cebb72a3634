//! Words without a model: a deterministic token count, repeatable dice, and sentences to answer with.

use sha2::{Digest as _, Sha256};
use std::borrow::Cow;

/// What every simulated answer starts with; one token.
pub(super) const MARK: &str = "[simulated] ";

/// Tokens of a text as the simulated models count them: 1.3 a word, or one for five characters
/// where words are long or missing. Never more than the text has bytes, so that a bound by bytes holds.
pub(super) fn tokens(text: &str) -> u64 {
    let mut count = TokenCount::default();
    text.chars().for_each(|letter| count.add(letter));
    count.tokens()
}

/// The same count of a text that comes letter by letter. It never falls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TokenCount {
    words: u64,
    characters: u64,
    /// In the middle of a word.
    inside: bool,
}

impl TokenCount {
    /// Counts the next letter.
    pub(super) fn add(&mut self, letter: char) {
        let word = !letter.is_whitespace();
        self.words += u64::from(word && !self.inside);
        self.inside = word;
        self.characters += 1;
    }

    /// Tokens so far.
    pub(super) fn tokens(&self) -> u64 {
        (self.words * 13 / 10).max(self.characters / 5)
    }
}

/// A repeatable stream of numbers: the same parts, the same numbers, on every platform.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64, parts: &[&str]) -> Dice {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        for part in parts {
            hash.update(u64_len(part.as_bytes()).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let first: [u8; 8] = hash.finalize()[..8]
            .try_into()
            .expect("a SHA-256 has 32 bytes");
        Dice(u64::from_le_bytes(first))
    }

    /// The next 64 bits (SplitMix64, Steele, Lea and Flood 2014).
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high - low + 1)
    }
}

/// Pieces of text, one a token: the mark, then as many whole sentences as fit into `most`. It is full but for fewer
/// pieces than [`SENTENCE_TOKENS_MAX`].
pub(super) fn pieces(dice: &mut Dice, most: u64) -> Vec<Cow<'static, str>> {
    let mut pieces = vec![Cow::Borrowed(MARK)];
    let sentences = SENTENCES.len();
    let mut at = usize::try_from(dice.roll() % 1024).expect("below 1024") % sentences;
    loop {
        // A step that shares no factor with the number of sentences visits them all before one returns.
        at = (at + SENTENCES_STEP) % sentences;
        let words: Vec<&str> = SENTENCES[at].split(' ').collect();
        if u64_len(&pieces) + u64_len(&words) > most {
            return pieces;
        }
        for word in words {
            pieces.push(match pieces.len() {
                1 => Cow::Borrowed(word),
                _ => Cow::Owned(format!(" {word}")),
            });
        }
    }
}

/// A length as a count of tokens.
pub(super) fn u64_len<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).expect("no machine holds more items")
}

/// The longest sentence.
pub(super) const SENTENCE_TOKENS_MAX: u64 = 14;

const SENTENCES_STEP: usize = 5;

const SENTENCES: [&str; 24] = [
    "No model wrote this: it stands where an answer would stand.",
    "The question comes down to two things, and the first is easier to check.",
    "Start from what is known, then ask what would change the result.",
    "A small example makes the point faster than a rule does.",
    "There are exceptions, but they are rare and easy to name.",
    "Most of the cost sits in one step that is often overlooked.",
    "The usual choice works well here, for reasons that are worth a line each.",
    "If the numbers are large, measure before you decide.",
    "When both readings make sense, the simpler one tends to be meant.",
    "It helps to write the goal down in one sentence first.",
    "The second part follows from the first with little extra work.",
    "Nothing in this depends on the order in which the pieces arrive.",
    "A careful reader will see that the edge cases agree with the rule.",
    "The shortest path is not always the cheapest one to maintain.",
    "In practice the difference shows up only under load.",
    "Take one thing away at a time and watch what breaks.",
    "The result is stable: small changes at the start stay small at the end.",
    "For a first version this is enough, and it can grow later.",
    "What remains is a matter of taste more than of correctness.",
    "The old way had one advantage, which the new way keeps.",
    "Check the units, since that is where such sums go wrong.",
    "Two of the three conditions hold at once, and that settles it.",
    "A table would show the same facts with fewer words.",
    "So the plan is simple, and each step can be undone.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_never_counts_more_tokens_than_bytes() {
        for (text, expected) in [
            ("", 0),
            ("a", 1),
            ("a b c d", 5),
            ("What is the capital of France?", 7),
            ("  spaced\tout\n", 2),
            ("東京の天気はどうですか", 2),
        ] {
            assert_eq!(tokens(text), expected, "{text:?}");
        }
        for count in 1..200 {
            let text = vec!["x"; count].join(" ");
            assert!(tokens(&text) <= u64::try_from(text.len()).expect("small"));
        }
    }

    #[test]
    fn pieces_fill_what_is_asked_with_whole_sentences() {
        for most in 16..400 {
            let pieces = pieces(&mut Dice::new(most, &["x"]), most);
            let length = u64_len(&pieces);
            assert!(length <= most && length + SENTENCE_TOKENS_MAX > most);
            let text = pieces.concat();
            assert!(text.starts_with(MARK) && text.ends_with('.'), "{text}");
        }
    }

    #[test]
    fn sentences_do_not_repeat_before_all_were_said() {
        let text = pieces(&mut Dice::new(1, &["x"]), 200).concat();
        let mut said: Vec<&str> = text.split(". ").collect();
        let all = said.len();
        said.sort_unstable();
        said.dedup();
        assert_eq!(said.len(), all);
    }

    #[test]
    fn dice_tell_parts_apart() {
        let roll = |seed, parts: &[&str]| Dice::new(seed, parts).roll();
        assert_eq!(roll(1, &["ab", "c"]), roll(1, &["ab", "c"]));
        assert_ne!(roll(1, &["ab", "c"]), roll(1, &["a", "bc"]));
        assert_ne!(roll(1, &["ab"]), roll(2, &["ab"]));
    }
}
