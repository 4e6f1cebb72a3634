//! How far a provider's word on what an answer used is believed. Pure.
//!
//! Usage is believed where it is the last word of a stream that ended well, is consistent, and does not say less than the words of
//! prompt and answer themselves. What is doubted is counted: the larger of told and counted is posted, and under a cap, where tokens
//! may have been billed that nobody sees, the bound.

use crate::arm::Effort;
use crate::chat::Usage;
use crate::effort::Accepts;

/// No model reads or writes so many tokens for one request: whoever says so says nothing.
const TOKENS_MAX: u64 = 100_000_000;
/// An answer of at most so many bytes a token needs no counting. Text is at 3 to 5, dense code below; only runs of white space are above.
const ANSWER_BYTES: u64 = 7;
/// So many bytes of a request's body a token need no counting: JSON, schemas and escapes are around its words.
const BODY_BYTES: u64 = 12;
/// So many bytes of a body may be what is around its words, whatever they are.
const BODY_FRAME: u64 = 4_096;
/// No word is so long.
const PACKED_MIN: usize = 256;
/// A difference of so few tokens proves nothing: vendors count the frame of an answer, or do not.
const SLACK: u64 = 16;

/// Whether it is a number of tokens that there can be.
pub(super) fn is_sane(usage: &Usage) -> bool {
    usage.input_total() <= TOKENS_MAX && usage.output <= TOKENS_MAX
}

/// Whether usage is so large beside the words of the answer that nothing has to be counted.
pub(super) fn is_plain(usage: &Usage, answer_bytes: u64) -> bool {
    usage.output.saturating_mul(ANSWER_BYTES) >= answer_bytes
}

/// Whether so many input tokens may well be what a request of this body has. Sealed reasoning and files in it, which stand there as
/// long runs without a space, are billed by another measure or not at all.
pub(super) fn covers(tokens: u64, body: &[u8]) -> bool {
    let room = tokens.saturating_mul(BODY_BYTES).saturating_add(BODY_FRAME);
    let within = |bytes: usize| u64::try_from(bytes).is_ok_and(|bytes| bytes <= room);
    tokens > 0 && (within(body.len()) || within(body.len() - packed(body)))
}

/// The bytes of a body that are no words: base64 and its like.
fn packed(body: &[u8]) -> usize {
    let is_packed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'_' | b'-');
    let runs = body.split(|b| !is_packed(*b)).map(<[u8]>::len);
    runs.filter(|run| *run >= PACKED_MIN).sum()
}

/// Whether usage says less than the words do. `counted` is in a tokenizer that may not be the model's own, and what a vendor makes of
/// schemas and roles is its own affair, so only what is far off counts: an answer at less than two thirds, a prompt at less than a quarter.
pub(super) fn says_too_little(told: &Usage, counted: &Usage) -> bool {
    let answer = match (told.output, counted.output) {
        (0, words) => words > 0,
        (told, words) => told.saturating_mul(3).saturating_add(3 * SLACK) < words.saturating_mul(2),
    };
    let prompt = match (told.input_total(), counted.input) {
        (0, words) => words > 0,
        (told, words) => told.saturating_mul(4).saturating_add(4 * SLACK) < words,
    };
    answer || prompt
}

/// The larger of both, class by class. What is counted more of a prompt than was told was in no cache, as far as anybody knows.
pub(super) fn larger(told: &Usage, counted: &Usage) -> Usage {
    let more = counted.input.saturating_sub(told.input_total());
    Usage {
        input: told.input.saturating_add(more),
        output: told.output.max(counted.output),
        ..*told
    }
}

/// Of two reports of one stream the later one counts; one that takes back what was told before is doubted, and the larger figures stay.
/// Tells whether it does.
pub(super) fn takes_back(before: &Usage, after: &Usage) -> bool {
    after.output < before.output || (after.input_total() == 0 && before.input_total() > 0)
}

/// Whether tokens may be billed that stand nowhere in the answer: a model that thinks, or of which nobody knows whether it does.
pub(super) fn may_hide(accepts: &Accepts, effort: Effort) -> bool {
    let silent = accepts.efforts.is_empty()
        || (effort == Effort::None && accepts.efforts.contains(&Effort::None));
    !(accepts.known && silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, output: u64) -> Usage {
        Usage {
            input,
            output,
            ..Usage::default()
        }
    }

    #[test]
    fn usage_that_says_less_than_the_words_is_doubted_and_an_honest_one_is_not_even_counted() {
        // told, counted, plain, too little
        for (told, counted, plain, doubted) in [
            (usage(1_000, 900), usage(900, 880), true, false),
            (usage(1_000, 580), usage(900, 880), true, false),
            (usage(1_000, 400), usage(900, 880), false, true),
            (usage(1_000, 1), usage(900, 880), false, true),
            (usage(1_000, 0), usage(900, 880), false, true),
            (usage(0, 900), usage(900, 880), true, true),
            // White space: many bytes a token.
            (usage(200, 90), usage(190, 80), false, false),
        ] {
            assert_eq!(is_plain(&told, 4_000), plain, "{told:?}");
            assert_eq!(says_too_little(&told, &counted), doubted, "{told:?}");
        }
        assert!(!says_too_little(&usage(5, 1), &usage(9, 12)), "a trifle");
        assert!(says_too_little(&usage(100, 900), &usage(1_900, 880)));
        let (prose, seal) = ("a word ".repeat(2_000), "c2VhbA".repeat(2_000));
        assert!(covers(2_000, prose.as_bytes()) && !covers(200, prose.as_bytes()));
        assert!(covers(200, seal.as_bytes()) && !covers(0, b"hi"));
        assert!(!is_sane(&usage(1 << 53, 1)) && is_sane(&usage(2_000_000, 128_000)));
    }

    #[test]
    fn the_larger_of_told_and_counted_stands_class_by_class() {
        let told = Usage {
            cached: 50,
            ..usage(10, 3)
        };
        let stands = larger(&told, &usage(100, 7));
        assert_eq!((stands.input, stands.cached, stands.output), (50, 50, 7));
        assert_eq!(larger(&told, &usage(20, 1)), told);
        assert!(takes_back(&usage(10, 9), &usage(0, 0)));
        assert!(
            takes_back(&usage(10, 9), &usage(10, 8)) && !takes_back(&usage(10, 1), &usage(10, 9))
        );
    }

    #[test]
    fn only_a_model_that_is_known_not_to_think_hides_nothing() {
        let thinks = Accepts::listed(vec![Effort::Low, Effort::High]);
        let can_be_off = Accepts::listed(vec![Effort::None, Effort::High]);
        for (accepts, effort, hides) in [
            (Accepts::default(), Effort::None, true),
            (Accepts::listed(Vec::new()), Effort::None, false),
            (thinks.clone(), Effort::Low, true),
            (thinks, Effort::None, true),
            (can_be_off.clone(), Effort::None, false),
            (can_be_off, Effort::High, true),
        ] {
            assert_eq!(may_hide(&accepts, effort), hides, "{accepts:?} {effort}");
        }
    }
}
