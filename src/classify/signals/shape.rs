//! How it is laid out: lists, options, tables, grids, code, traces, and where in a conversation it stands.

use super::{Signal, log, of, share};

pub(super) static SIGNALS: &[Signal] = &[
    of("items", "lines that begin like list items", |a| {
        log(a.scan.items)
    }),
    of("numbered", "lines that begin with a number", |a| {
        log(a.scan.numbered)
    }),
    of("item_share", "list items among lines", |a| {
        share(a.scan.items, a.scan.full_lines)
    }),
    of("options", "lines that begin like answers to choose", |a| {
        a.scan.options.min(12) as f32
    }),
    of(
        "option_chars",
        "characters of an answer to choose, on average",
        |a| (share(a.scan.option_chars, a.scan.options)).min(400.0),
    ),
    of(
        "option_numbers",
        "answers to choose with a digit, among them",
        |a| share(a.scan.option_numbers, a.scan.options),
    ),
    of(
        "option_share",
        "characters in answers to choose, among characters",
        |a| share(a.scan.option_chars, a.scan.chars),
    ),
    of(
        "stem_chars",
        "characters before the answers to choose, as a logarithm",
        |a| log(a.scan.chars.saturating_sub(a.scan.option_chars)),
    ),
    of("indented_share", "indented lines among lines", |a| {
        share(a.scan.indented, a.scan.full_lines)
    }),
    of("fenced", "lines in code fences", |a| log(a.scan.fenced)),
    of(
        "code_ends",
        "lines that end like a line of a program",
        |a| log(a.scan.code_ends),
    ),
    of("code_end_share", "the same among lines", |a| {
        share(a.scan.code_ends, a.scan.full_lines)
    }),
    of("identifiers", "words that look like identifiers", |a| {
        log(a.scan.identifiers)
    }),
    of("rows", "lines that look like rows of a table", |a| {
        log(a.scan.rows)
    }),
    of("grid_rows", "lines that look like rows of a grid", |a| {
        log(a.scan.grid_rows)
    }),
    of("grid_cells", "cells of such rows", |a| {
        log(a.scan.grid_cells)
    }),
    of("grid_columns", "cells in such a row, on average", |a| {
        share(a.scan.grid_cells, a.scan.grid_rows)
    }),
    of(
        "even_lines",
        "lines as long as the one before, among lines",
        |a| share(a.scan.even_lines, a.scan.full_lines),
    ),
    of(
        "alike_lines",
        "lines that begin like the one before, among lines",
        |a| share(a.scan.alike_lines, a.scan.full_lines),
    ),
    of(
        "traces",
        "lines of a stack trace or a compiler's complaint",
        |a| log(a.scan.traces),
    ),
    of("diff", "lines of a diff", |a| log(a.scan.diff)),
    of(
        "names",
        "words with a capital inside sentences, among words",
        |a| share(a.scan.names, a.scan.words),
    ),
    of(
        "distinct_names",
        "different ones of these, as a logarithm",
        |a| log(a.scan.distinct_names),
    ),
    of("caps_words", "words of capitals only, among words", |a| {
        share(a.scan.caps_words, a.scan.words)
    }),
    of(
        "mixed_words",
        "words with letters and digits, among words",
        |a| share(a.scan.mixed_words, a.scan.words),
    ),
    of("ends_asking", "the last mark is a question mark", |a| {
        f32::from(u8::from(a.scan.ends_asking))
    }),
    of(
        "ends_open",
        "the last mark is a colon or an equals sign",
        |a| f32::from(u8::from(a.scan.ends_open)),
    ),
];
