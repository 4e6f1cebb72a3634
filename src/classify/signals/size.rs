//! How much there is: characters, words, sentences, lines.

use super::{Signal, log, of, share};

pub(super) static SIGNALS: &[Signal] = &[
    of("chars", "characters of the ask, as a logarithm", |a| {
        log(a.chars)
    }),
    of("words", "words, as a logarithm", |a| log(a.words)),
    of("lines", "lines that are not empty, as a logarithm", |a| {
        log(a.full_lines)
    }),
    of("gaps", "empty lines between text", |a| log(a.gaps)),
    of("sentences", "sentences, as a logarithm", |a| {
        log(a.sentences)
    }),
    of(
        "longest_sentence",
        "characters of the longest sentence, as a logarithm",
        |a| log(a.longest_sentence),
    ),
    of(
        "longest_sentence_words",
        "words of the longest sentence",
        |a| log(a.longest_sentence_words),
    ),
    of("sentence_words", "words in a sentence, on average", |a| {
        share(a.words, a.sentences)
    }),
    of(
        "longest_line",
        "characters of the longest line, as a logarithm",
        |a| log(a.longest_line),
    ),
    of("line_chars", "characters in a line, on average", |a| {
        share(a.chars, a.full_lines)
    }),
    of(
        "line_spread",
        "how unlike each other the lengths of lines are",
        |a| {
            let lines = a.full_lines.max(1) as f32;
            let mean = a.chars as f32 / lines;
            (a.line_squares / lines - mean * mean).max(0.0).sqrt() / mean.max(1.0)
        },
    ),
    of("word_chars", "characters in a word, on average", |a| {
        share(a.word_chars, a.words)
    }),
    of("longest_word", "characters of the longest word", |a| {
        log(a.longest_word)
    }),
    of(
        "long_word_share",
        "words of seven letters or more, among words",
        |a| share(a.long_words, a.words),
    ),
    of("single_share", "words of one character, among words", |a| {
        share(a.single_words, a.words)
    }),
    of("word_variety", "different words among words", |a| {
        share(a.distinct_words, a.words)
    }),
    of("distinct_words", "different words, as a logarithm", |a| {
        log(a.distinct_words)
    }),
    of("line_variety", "different lines among lines", |a| {
        share(a.distinct_lines, a.full_lines)
    }),
    of(
        "pair_variety",
        "different pairs of characters among characters",
        |a| share(a.distinct_pairs, a.chars.min(2_000)),
    ),
    of(
        "entropy",
        "bits in an ASCII character, by their frequencies",
        |a| entropy(&a.ascii),
    ),
    of(
        "runs",
        "characters like the one before, among characters",
        |a| share(a.runs, a.chars),
    ),
    of("question_chars", "characters of the last question", |a| {
        log(a.question_chars)
    }),
    of("questions", "question marks of any script", |a| {
        (a.questions as f32).min(20.0)
    }),
];

fn entropy(counts: &[u32; 128]) -> f32 {
    let all: u32 = counts.iter().sum();
    let all = all.max(1) as f32;
    counts
        .iter()
        .filter(|n| **n > 0)
        .map(|n| {
            let p = *n as f32 / all;
            -p * p.log2()
        })
        .sum()
}
