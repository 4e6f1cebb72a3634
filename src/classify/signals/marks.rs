//! Which characters there are: digits, operators, brackets, scripts.

use super::{Signal, log, of, share};
use crate::classify::ask::Ask;

pub(super) static SIGNALS: &[Signal] = &[
    of("digit_share", "digits among characters", |a| {
        among(a, "0123456789")
    }),
    of("upper_share", "capitals among characters", |a| {
        range(a, 'A', 'Z')
    }),
    of("lower_share", "small letters among characters", |a| {
        range(a, 'a', 'z')
    }),
    of("space_share", "spaces among characters", |a| among(a, " ")),
    of("operator_share", "operators among characters", |a| {
        among(a, "+*/=^<>%") + share(a.scan.symbols, a.scan.chars)
    }),
    of("operators", "operators between operands", |a| {
        log(a.scan.binary_operators)
    }),
    of("plus", "plus signs", |a| times(a, '+')),
    of(
        "minus_share",
        "hyphens and minus signs among characters",
        |a| among(a, "-"),
    ),
    of("times", "stars", |a| times(a, '*')),
    of("slashes", "slashes", |a| times(a, '/')),
    of("equals", "equals signs", |a| times(a, '=')),
    of("compares", "less and greater signs", |a| {
        times(a, '<') + times(a, '>')
    }),
    of("powers", "carets", |a| times(a, '^')),
    of("percents", "percent signs", |a| times(a, '%')),
    of("dollars", "dollar signs", |a| times(a, '$')),
    of(
        "symbols",
        "mathematical and logical symbols outside ASCII",
        |a| log(a.scan.symbols),
    ),
    of(
        "quoted_share",
        "words in quotation marks among words",
        |a| share(a.scan.quoted_words, a.scan.words),
    ),
    of(
        "signs_share",
        "pictures, boxes and other signs among characters",
        |a| share(a.scan.signs, a.scan.chars),
    ),
    of("latex", "commands with a backslash", |a| log(a.scan.latex)),
    of("parens", "round brackets among characters", |a| {
        among(a, "()")
    }),
    of("squares", "square brackets among characters", |a| {
        among(a, "[]")
    }),
    of("braces", "curly brackets among characters", |a| {
        among(a, "{}")
    }),
    of("depth", "deepest nesting of brackets", |a| {
        a.scan.depth as f32
    }),
    of("nested", "brackets inside brackets", |a| log(a.scan.nested)),
    of("commas", "commas among characters", |a| among(a, ",")),
    of("stops", "full stops among characters", |a| among(a, ".")),
    of("colons", "colons among characters", |a| among(a, ":")),
    of("semicolons", "semicolons", |a| times(a, ';')),
    of("quotes", "quotation marks among characters", |a| {
        among(a, "\"'")
    }),
    of("bars", "vertical bars", |a| times(a, '|')),
    of("underscores", "underscores", |a| times(a, '_')),
    of("hashes", "hash signs", |a| times(a, '#')),
    of("backticks", "backticks", |a| times(a, '`')),
    of("exclamations", "exclamation marks", |a| times(a, '!')),
    of("code_share", "marks of code among characters", |a| {
        among(a, "{}()[];_$#&|\\`")
    }),
    of(
        "foreign_share",
        "letters outside ASCII among characters",
        |a| share(a.scan.foreign, a.scan.chars),
    ),
    of(
        "unspaced_share",
        "letters of scripts without spaces among characters",
        |a| share(a.scan.unspaced, a.scan.chars),
    ),
    of(
        "other_script_share",
        "letters of other scripts among characters",
        |a| share(a.scan.other_script, a.scan.chars),
    ),
    of("numbers", "numbers, as a logarithm", |a| {
        log(a.scan.numbers)
    }),
    of("number_share", "numbers among words", |a| {
        share(a.scan.numbers, a.scan.words)
    }),
    of(
        "distinct_numbers",
        "different numbers, as a logarithm",
        |a| log(a.scan.distinct_numbers),
    ),
    of("number_variety", "different numbers among numbers", |a| {
        share(a.scan.distinct_numbers, a.scan.numbers)
    }),
    of("decimals", "numbers with a point", |a| log(a.scan.decimals)),
    of("longest_number", "digits of the longest number", |a| {
        a.scan.longest_number.min(40) as f32
    }),
    of(
        "big_number_share",
        "numbers of three digits or more among numbers",
        |a| share(a.scan.big_numbers, a.scan.numbers),
    ),
];

fn among(ask: &Ask<'_>, marks: &str) -> f32 {
    let count = marks
        .bytes()
        .map(|b| ask.scan.ascii[usize::from(b & 127)])
        .sum();
    share(count, ask.scan.chars)
}

fn range(ask: &Ask<'_>, from: char, to: char) -> f32 {
    let count = (from..=to).map(|c| ask.scan.ascii[c as usize & 127]).sum();
    share(count, ask.scan.chars)
}

fn times(ask: &Ask<'_>, mark: char) -> f32 {
    log(ask.scan.ascii[mark as usize & 127])
}
