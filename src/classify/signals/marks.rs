//! Which characters there are: digits, operators, brackets, scripts.

use super::{Signal, log, of, share};
use crate::classify::scan::Scan;

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
        among(a, "+*/=^<>%") + share(a.symbols, a.chars)
    }),
    of("operators", "operators between operands", |a| {
        log(a.binary_operators)
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
        |a| log(a.symbols),
    ),
    of(
        "quoted_share",
        "words in quotation marks among words",
        |a| share(a.quoted_words, a.words),
    ),
    of(
        "signs_share",
        "pictures, boxes and other signs among characters",
        |a| share(a.signs, a.chars),
    ),
    of("latex", "commands with a backslash", |a| log(a.latex)),
    of("parens", "round brackets among characters", |a| {
        among(a, "()")
    }),
    of("squares", "square brackets among characters", |a| {
        among(a, "[]")
    }),
    of("braces", "curly brackets among characters", |a| {
        among(a, "{}")
    }),
    of("depth", "deepest nesting of brackets", |a| a.depth as f32),
    of("nested", "brackets inside brackets", |a| log(a.nested)),
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
        |a| share(a.foreign, a.chars),
    ),
    of(
        "unspaced_share",
        "letters of scripts without spaces among characters",
        |a| share(a.unspaced, a.chars),
    ),
    of(
        "other_script_share",
        "letters of other scripts among characters",
        |a| share(a.other_script, a.chars),
    ),
    of("numbers", "numbers, as a logarithm", |a| log(a.numbers)),
    of("number_share", "numbers among words", |a| {
        share(a.numbers, a.words)
    }),
    of(
        "distinct_numbers",
        "different numbers, as a logarithm",
        |a| log(a.distinct_numbers),
    ),
    of("number_variety", "different numbers among numbers", |a| {
        share(a.distinct_numbers, a.numbers)
    }),
    of("decimals", "numbers with a point", |a| log(a.decimals)),
    of("longest_number", "digits of the longest number", |a| {
        a.longest_number.min(40) as f32
    }),
    of(
        "big_number_share",
        "numbers of three digits or more among numbers",
        |a| share(a.big_numbers, a.numbers),
    ),
];

fn among(scan: &Scan, marks: &str) -> f32 {
    let count = marks
        .bytes()
        .map(|b| scan.ascii[usize::from(b & 127)])
        .sum();
    share(count, scan.chars)
}

fn range(scan: &Scan, from: char, to: char) -> f32 {
    let count = (from..=to).map(|c| scan.ascii[c as usize & 127]).sum();
    share(count, scan.chars)
}

fn times(scan: &Scan, mark: char) -> f32 {
    log(scan.ascii[mark as usize & 127])
}
