//! The beginnings of a prompt that a cache may hold, each named by a hash of everything that it says. Reads no clock.
//!
//! One pass over the prompt counts its tokens and runs a hash along; the value of the hash is taken wherever a beginning may end. An
//! automatic cache takes it at every 128 tokens from 1,024 on, also in the middle of a message: two prompts that share a long document
//! and differ in the question after it share the document, though both are one message. A marked cache takes it where a tool or a block
//! of content ends, since marks stand there. What comes later changes nothing of what was taken, so a conversation that grew by a turn
//! has all the beginnings that it had before.

use super::words::TokenCount;
use std::hash::{DefaultHasher, Hasher as _};
use std::time::Duration;

/// A shorter beginning is not held.
const PREFIX_MIN: u64 = 1_024;
/// An automatic cache holds steps of this many tokens.
const STEP: u64 = 128;
/// How long an automatic cache holds what is not used.
const AUTOMATIC: Duration = Duration::from_secs(10 * 60);
/// How long a marked cache does, where the mark does not say.
pub(super) const FIVE_MINUTES: Duration = Duration::from_secs(5 * 60);
/// The longer lifetime that a mark may ask for.
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);

/// How a vendor's prompt cache works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum CacheKind {
    /// By itself; writing is free.
    Automatic,
    /// What the client marked; writing is billed.
    Marked,
}

/// A beginning of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// Its tokens.
    pub(super) tokens: u64,
    /// Stands for everything that it says.
    pub(super) hash: u64,
    /// How long it is to be held when it is not used; nothing if nobody asked for that.
    pub(super) lifetime: Option<Duration>,
}

/// Reads a prompt from its beginning to its end.
pub(super) struct PrefixReader {
    kind: CacheKind,
    tokens: u64,
    hash: DefaultHasher,
    /// The tokens at which the next step ends; never, for a marked cache.
    step: u64,
    prefixes: Vec<Prefix>,
}

impl PrefixReader {
    /// Before the prompt's first word, with the tokens that every prompt has.
    pub(super) fn new(kind: CacheKind, tokens: u64) -> PrefixReader {
        PrefixReader {
            kind,
            tokens,
            hash: DefaultHasher::new(),
            step: match kind {
                CacheKind::Automatic => PREFIX_MIN,
                CacheKind::Marked => u64::MAX,
            },
            prefixes: Vec::new(),
        }
    }

    /// Tokens so far.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Reads a text.
    pub(super) fn words(&mut self, text: &str) {
        let (before, mut count, mut hashed) = (self.tokens, TokenCount::default(), 0);
        for (at, letter) in text.char_indices() {
            count.add(letter);
            let tokens = before + count.tokens();
            if tokens > self.tokens {
                if self.step <= self.tokens {
                    self.hash.write(&text.as_bytes()[hashed..at]);
                    hashed = at;
                    self.end_steps();
                }
                self.tokens = tokens;
            }
        }
        self.hash.write(&text.as_bytes()[hashed..]);
        self.hash.write(b"\n");
    }

    /// Reads something that takes these tokens as a whole, e.g. a picture. A step that ends within it has all of it.
    pub(super) fn whole(&mut self, said: &str, tokens: u64) {
        if tokens > 0 {
            self.end_steps();
        }
        self.hash.write(said.as_bytes());
        self.tokens += tokens;
    }

    /// A tool or a block of content ends here. Its mark says how long everything up to here is to be held.
    pub(super) fn block_ends(&mut self, mark: Option<Duration>) {
        if self.kind == CacheKind::Marked && self.tokens >= PREFIX_MIN {
            self.take(self.tokens, mark);
        }
    }

    /// All beginnings, the shortest first.
    pub(super) fn done(self) -> Vec<Prefix> {
        self.prefixes
    }

    /// Ends the steps that are full, now that another token begins. What is full at the prompt's end is not held: a model must read at
    /// least one token to say the next.
    fn end_steps(&mut self) {
        while self.step <= self.tokens {
            self.take(self.step, Some(AUTOMATIC));
            self.step += STEP;
        }
    }

    fn take(&mut self, tokens: u64, lifetime: Option<Duration>) {
        self.prefixes.push(Prefix {
            tokens,
            hash: self.hash.finish(),
            lifetime,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn automatic(texts: &[&str]) -> Vec<Prefix> {
        let mut reader = PrefixReader::new(CacheKind::Automatic, 3);
        texts.iter().for_each(|text| reader.words(text));
        reader.done()
    }

    fn common(a: &[Prefix], b: &[Prefix]) -> u64 {
        let same = a.iter().zip(b).take_while(|(a, b)| a == b);
        same.last().map_or(0, |(a, _)| a.tokens)
    }

    /// Short words, each another one.
    fn numbers(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("{n} ")).collect()
    }

    #[test]
    fn steps_end_at_every_128_tokens_from_1024_on_and_before_the_last_token() {
        for (words, ends) in [
            (700, vec![]),
            (786, vec![]),
            (787, vec![1_024]),
            (884, vec![1_024]),
            (885, vec![1_024, 1_152]),
            (1_000, vec![1_024, 1_152, 1_280]),
        ] {
            let found = automatic(&[&"word ".repeat(words)]);
            let found: Vec<u64> = found.iter().map(|p| p.tokens).collect();
            assert_eq!(found, ends, "{words} words");
        }
    }

    #[test]
    fn a_longer_prompt_has_every_beginning_of_a_shorter_one() {
        let words = numbers(3_000);
        let whole = automatic(&[&words.concat()]);
        for length in (0..3_000).step_by(7) {
            let shorter = automatic(&[&words[..length].concat()]);
            assert_eq!(whole[..shorter.len()], shorter, "{length} words");
        }
    }

    #[test]
    fn two_prompts_share_the_whole_steps_before_the_word_in_which_they_differ() {
        let words = numbers(2_000);
        let whole = automatic(&[&words.concat()]);
        for changed in (0..2_000).step_by(13) {
            let mut other = words.clone();
            other[changed] = "x ".to_owned();
            let same = 3 + u64::try_from(changed).expect("small") * 13 / 10;
            let steps = if same < PREFIX_MIN { 0 } else { same / STEP };
            let shared = common(&whole, &automatic(&[&other.concat()]));
            assert_eq!(shared, steps * STEP, "the word {changed}");
        }
    }

    #[test]
    fn what_is_one_text_and_what_is_two_differ() {
        let text = "word ".repeat(1_000);
        let (one, two) = text.split_at(50);
        assert_eq!(common(&automatic(&[&text]), &automatic(&[one, two])), 0);
    }

    #[test]
    fn a_step_that_ends_within_a_picture_has_all_of_it() {
        let with = |picture: &str, words: usize| {
            let mut reader = PrefixReader::new(CacheKind::Automatic, 0);
            reader.words(&"word ".repeat(words));
            reader.whole(picture, 40);
            reader.words(&"word ".repeat(1_000));
            reader.done()
        };
        for (words, shared, all) in [
            (785, 0, 2_304),
            (800, 1_024, 2_304),
            (885, 1_024, 2_432),
            (887, 1_152, 2_432),
        ] {
            assert_eq!(common(&with("a", words), &with("b", words)), shared);
            assert_eq!(common(&with("a", words), &with("a", words)), all);
        }
    }

    #[test]
    fn a_marked_cache_knows_the_blocks_and_which_are_marked() {
        let mark = Some(FIVE_MINUTES);
        let mut reader = PrefixReader::new(CacheKind::Marked, 3);
        for (words, mark) in [(100, mark), (900, None), (100, mark)] {
            reader.words(&"word ".repeat(words));
            reader.block_ends(mark);
        }
        let found = reader.done().into_iter().map(|p| (p.tokens, p.lifetime));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [(1_303, None), (1_433, mark)],
            "the first is too short"
        );
    }
}
