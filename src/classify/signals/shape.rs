//! How it is laid out: lists, options, tables, grids, code, traces, and where in a conversation it stands.

use super::{Signal, log, of, share};

pub(super) static SIGNALS: &[Signal] = &[
    of(
        "items",
        "lines that begin like list items",
        |a| log(a.items),
    ),
    of("numbered", "lines that begin with a number", |a| {
        log(a.numbered)
    }),
    of("item_share", "list items among lines", |a| {
        share(a.items, a.full_lines)
    }),
    of("options", "lines that begin like answers to choose", |a| {
        a.options.min(12) as f32
    }),
    of(
        "option_chars",
        "characters of an answer to choose, on average",
        |a| (share(a.option_chars, a.options)).min(400.0),
    ),
    of(
        "option_numbers",
        "answers to choose with a digit, among them",
        |a| share(a.option_numbers, a.options),
    ),
    of(
        "option_share",
        "characters in answers to choose, among characters",
        |a| share(a.option_chars, a.chars),
    ),
    of(
        "stem_chars",
        "characters before the answers to choose, as a logarithm",
        |a| log(a.chars.saturating_sub(a.option_chars)),
    ),
    of("indented_share", "indented lines among lines", |a| {
        share(a.indented, a.full_lines)
    }),
    of("fenced", "lines in code fences", |a| log(a.fenced)),
    of(
        "code_ends",
        "lines that end like a line of a program",
        |a| log(a.code_ends),
    ),
    of("code_end_share", "the same among lines", |a| {
        share(a.code_ends, a.full_lines)
    }),
    of("identifiers", "words that look like identifiers", |a| {
        log(a.identifiers)
    }),
    of("rows", "lines that look like rows of a table", |a| {
        log(a.rows)
    }),
    of("grid_rows", "lines that look like rows of a grid", |a| {
        log(a.grid_rows)
    }),
    of("grid_cells", "cells of such rows", |a| log(a.grid_cells)),
    of("grid_columns", "cells in such a row, on average", |a| {
        share(a.grid_cells, a.grid_rows)
    }),
    of(
        "even_lines",
        "lines as long as the one before, among lines",
        |a| share(a.even_lines, a.full_lines),
    ),
    of(
        "alike_lines",
        "lines that begin like the one before, among lines",
        |a| share(a.alike_lines, a.full_lines),
    ),
    of(
        "traces",
        "lines of a stack trace or a compiler's complaint",
        |a| log(a.traces),
    ),
    of("diff", "lines of a diff", |a| log(a.diff)),
    of(
        "names",
        "words with a capital inside sentences, among words",
        |a| share(a.names, a.words),
    ),
    of(
        "distinct_names",
        "different ones of these, as a logarithm",
        |a| log(a.distinct_names),
    ),
    of("caps_words", "words of capitals only, among words", |a| {
        share(a.caps_words, a.words)
    }),
    of(
        "mixed_words",
        "words with letters and digits, among words",
        |a| share(a.mixed_words, a.words),
    ),
    of("ends_asking", "the last mark is a question mark", |a| {
        f32::from(u8::from(a.ends_asking))
    }),
    of(
        "ends_open",
        "the last mark is a colon or an equals sign",
        |a| f32::from(u8::from(a.ends_open)),
    ),
];
