//! A bounded text, read line by line: everything that is counted, none of it kept. No allocation.
//!
//! A scanner is fed with the windows of an ask, one after the other, and closed once. Of each line first the characters are counted,
//! then the words are read: a word of ASCII letters and digits as a whole, whatever else character by character. What a word
//! means is looked up in the [`lexicon`].

mod chars;
mod cues;
mod grams;
mod lines;
mod quotes;
mod words;

use super::letters::{EMPTY, FNV, hashed, hashed_code, letter, sign, unspaced};
use super::lexicon::{self, CLASSES, Class};
use chars::Pairs;
use cues::Hits;
use grams::{FIRST_WORDS, GramSet, Seen, mix};
pub use grams::{GRAM_BUCKETS, Grams};
use lines::Line;
use quotes::Quotes;
use std::ops::{Deref, DerefMut};
use words::Word;

/// What was counted. Plain numbers; the signals make sense of them.
#[derive(Clone, Debug)]
pub struct Scan {
    /// How often each ASCII character occurs.
    pub ascii: [u32; 128],
    /// Characters of any kind.
    pub chars: u32,
    /// Letters outside ASCII.
    pub foreign: u32,
    /// Letters of scripts that are written without spaces.
    pub unspaced: u32,
    /// Cyrillic, Arabic and other letters outside Latin with spaces.
    pub other_script: u32,
    /// Mathematical and logical symbols outside ASCII.
    pub symbols: u32,
    /// Pictures, boxes, arrows and other signs outside ASCII.
    pub signs: u32,
    /// Question marks of any script.
    pub questions: u32,
    /// Words, by white space and punctuation.
    pub words: u32,
    /// Different words, as far as a small set can tell.
    pub distinct_words: u32,
    /// Letters and digits inside words.
    pub word_chars: u32,
    /// Characters of the longest word.
    pub longest_word: u32,
    /// Words of seven letters or more.
    pub long_words: u32,
    /// Words of one character.
    pub single_words: u32,
    /// Words of capitals only, of two letters or more.
    pub caps_words: u32,
    /// Words with a capital that do not begin a sentence: mostly names.
    pub names: u32,
    /// Different ones of these.
    pub distinct_names: u32,
    /// Words with letters and digits.
    pub mixed_words: u32,
    /// Words with a capital after a small letter, or with an underscore inside: mostly identifiers.
    pub identifiers: u32,
    /// Numbers.
    pub numbers: u32,
    /// Different numbers.
    pub distinct_numbers: u32,
    /// Numbers with a decimal point.
    pub decimals: u32,
    /// Digits of the longest number.
    pub longest_number: u32,
    /// Numbers of three digits or more.
    pub big_numbers: u32,
    /// An operator between two numbers or letters.
    pub binary_operators: u32,
    /// Lines, and those that are not empty.
    pub lines: u32,
    /// Lines that are not empty.
    pub full_lines: u32,
    /// Different lines.
    pub distinct_lines: u32,
    /// Empty lines between text.
    pub gaps: u32,
    /// Characters of the longest line.
    pub longest_line: u32,
    /// Sum of squares of the lengths of lines, for their spread.
    pub line_squares: f32,
    /// Lines as long as the one before.
    pub even_lines: u32,
    /// Lines of at least three words that all have one or two characters: rows of a grid.
    pub grid_rows: u32,
    /// Words in such rows.
    pub grid_cells: u32,
    /// Lines that begin with the word that the one before begins with.
    pub alike_lines: u32,
    /// Lines that begin like an item of a list.
    pub items: u32,
    /// Lines that begin with a number and a stop.
    pub numbered: u32,
    /// Lines that begin like an answer to choose.
    pub options: u32,
    /// Characters of these.
    pub option_chars: u32,
    /// Options with a digit in them.
    pub option_numbers: u32,
    /// Indented lines.
    pub indented: u32,
    /// Lines in code fences.
    pub fenced: u32,
    /// Lines that end like a line of a program.
    pub code_ends: u32,
    /// Lines with two or more bars or tabs, or three commas and few spaces.
    pub rows: u32,
    /// Lines of a stack trace or of a compiler's complaint.
    pub traces: u32,
    /// Lines of a diff.
    pub diff: u32,
    /// Sentences.
    pub sentences: u32,
    /// Characters of the longest sentence.
    pub longest_sentence: u32,
    /// Words of the longest sentence.
    pub longest_sentence_words: u32,
    /// Characters of the sentence with the last question mark.
    pub question_chars: u32,
    /// Deepest nesting of brackets.
    pub depth: u32,
    /// Brackets opened at depth two or more.
    pub nested: u32,
    /// Commands with a backslash.
    pub latex: u32,
    /// Characters like the one before.
    pub runs: u32,
    /// Different pairs of characters.
    pub distinct_pairs: u32,
    /// The last character that is not white space is a question mark.
    pub ends_asking: bool,
    /// The last character that is not white space is a colon or an equals sign.
    pub ends_open: bool,
    /// How often each class of words occurs.
    pub class: [u32; CLASSES],
    /// The same outside quotations, weighed: in full near either end, a third a little further in.
    pub near: [f32; CLASSES],
    /// Words in quotation marks.
    pub quoted_words: u32,
    /// Classes of the very first word.
    pub first: [bool; CLASSES],
    /// Words and word pairs.
    pub grams: Grams,
}

/// Reads a text: what was counted so far, and what is only needed while reading. Both are large, so they stay where they are.
#[derive(Debug)]
pub struct Scanner<'s> {
    scan: &'s mut Scan,
    pass: &'s mut Pass,
}

impl Deref for Scanner<'_> {
    type Target = Scan;

    fn deref(&self) -> &Scan {
        self.scan
    }
}

impl DerefMut for Scanner<'_> {
    fn deref_mut(&mut self) -> &mut Scan {
        self.scan
    }
}

/// What is only needed while reading.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    grams: GramSet,
    words: Seen,
    lines: Seen,
    names: Seen,
    numbers: Seen,
    pairs: Pairs,
    hits: Hits,
    quotes: Quotes,
    /// The word that is being read character by character.
    word: Word,
    line: Line,
    /// Characters before the sentence.
    sentence_from: u32,
    sentence_words: u32,
    /// A word of the sentence was read.
    sentence_begun: bool,
    fenced: bool,
    last_hash: u64,
    said_words: u32,
    last_said: [u64; 2],
    last_line_chars: u32,
    last_line_first: u64,
    last: char,
    last_solid: char,
    brackets: u32,
    /// The last characters of a run, the latest lowest, 21 bits each.
    recent: u128,
    recent_len: usize,
    gap_open: bool,
    fault: bool,
}

impl Default for Scan {
    fn default() -> Scan {
        Scan {
            ascii: [0; 128],
            chars: 0,
            foreign: 0,
            unspaced: 0,
            other_script: 0,
            symbols: 0,
            signs: 0,
            questions: 0,
            words: 0,
            distinct_words: 0,
            word_chars: 0,
            longest_word: 0,
            long_words: 0,
            single_words: 0,
            caps_words: 0,
            names: 0,
            distinct_names: 0,
            mixed_words: 0,
            identifiers: 0,
            numbers: 0,
            distinct_numbers: 0,
            decimals: 0,
            longest_number: 0,
            big_numbers: 0,
            binary_operators: 0,
            lines: 0,
            full_lines: 0,
            distinct_lines: 0,
            gaps: 0,
            longest_line: 0,
            line_squares: 0.0,
            even_lines: 0,
            grid_rows: 0,
            grid_cells: 0,
            alike_lines: 0,
            items: 0,
            numbered: 0,
            options: 0,
            option_chars: 0,
            option_numbers: 0,
            indented: 0,
            fenced: 0,
            code_ends: 0,
            rows: 0,
            traces: 0,
            diff: 0,
            sentences: 0,
            longest_sentence: 0,
            longest_sentence_words: 0,
            question_chars: 0,
            depth: 0,
            nested: 0,
            latex: 0,
            runs: 0,
            distinct_pairs: 0,
            ends_asking: false,
            ends_open: false,
            class: [0; CLASSES],
            near: [0.0; CLASSES],
            quoted_words: 0,
            first: [false; CLASSES],
            grams: Grams::default(),
        }
    }
}

/// Bits of a character in [`Pass::recent`].
const RECENT_BITS: usize = 21;

impl<'s> Scanner<'s> {
    /// Counts into what is empty yet.
    pub fn new(scan: &'s mut Scan, pass: &'s mut Pass) -> Scanner<'s> {
        Scanner { scan, pass }
    }

    /// Whether the first word of a text is one of a task. Nothing else of what it counts means anything afterwards.
    pub fn begins_with_task(&mut self, text: &str) -> bool {
        self.words = 0;
        self.unspaced = 0;
        self.first = [false; CLASSES];
        self.pass.word = Word::default();
        self.pass.recent_len = 0;
        for c in text.chars() {
            self.take(c);
            if self.words > 0 {
                break;
            }
        }
        self.end_word();
        self.first[..=Class::MultiStep.index()].contains(&true)
    }

    /// Reads a window of the text.
    pub fn feed(&mut self, text: &str) {
        let mut rest = text;
        while let Some(end) = memchr::memchr(b'\n', rest.as_bytes()) {
            self.read_line(&rest[..end], true);
            rest = &rest[end + 1..];
        }
        // Windows do not run into each other.
        if !rest.is_empty() {
            self.read_line(rest, false);
        }
        self.end_quote();
        if let Some(solid) = text.trim_end().chars().next_back() {
            self.pass.last_solid = solid;
        }
    }

    /// Nothing more comes.
    pub fn close(mut self) {
        self.end_sentence();
        self.distinct_words = self.pass.words.distinct;
        self.distinct_lines = self.pass.lines.distinct;
        self.distinct_names = self.pass.names.distinct;
        self.distinct_numbers = self.pass.numbers.distinct;
        self.distinct_pairs = self.pass.pairs.distinct();
        self.ends_asking = matches!(self.pass.last_solid, '?' | '？' | '؟');
        self.ends_open = matches!(self.pass.last_solid, ':' | '=' | '：');
        self.last_hints();
        self.count_quotes();
        self.weigh_tail();
    }

    /// Reads one character, whatever it is.
    fn take(&mut self, c: char) {
        self.chars += 1;
        let in_words = if c.is_ascii() {
            c.is_ascii_alphanumeric()
        } else {
            let sign = sign(c);
            let letter = !sign && letter(c);
            self.take_foreign(c, letter);
            letter || (!sign && c.is_numeric())
        };
        if in_words {
            self.in_word(c);
        } else if self.pass.word.len > 0 && self.joins(c) {
            self.pass.word.point |= c == '.';
        } else {
            let full_stop = self.pass.word.len > 0 && self.pass.last == '.';
            self.pass.word.point &= !full_stop;
            self.end_word();
            if full_stop {
                self.end_sentence();
            }
            self.mark(c);
        }
        // Right after a word of failure stands what failed.
        self.pass.line.trace |=
            self.pass.fault && matches!(c, ':' | '[') && self.pass.last.is_ascii_alphanumeric();
        self.pass.last = c;
    }

    /// Whether a mark inside a word belongs to it; the number in "3.14", the apostrophe in "don't", the line in `a_b`.
    fn joins(&mut self, c: char) -> bool {
        match c {
            '\'' | '’' => self.pass.word.digits == 0,
            '_' => {
                self.pass.word.humps += 1;
                true
            }
            '.' | ',' => {
                self.pass.word.digits == self.pass.word.len
                    && self.pass.last.is_ascii_digit()
                    && !self.pass.word.point
            }
            _ => false,
        }
    }

    fn take_foreign(&mut self, c: char, letter: bool) {
        if letter {
            self.foreign += 1;
            if unspaced(c) {
                self.unspaced += 1;
            } else if !matches!(c, '\u{80}'..='\u{24F}') {
                self.other_script += 1;
            }
            return;
        }
        match c {
            '×' | '÷' | '±' | '√' | '∑' | '∫' | '≤' | '≥' | '≠' | '≡' | '∞' | '∈' | '∀' | '∃'
            | '∧' | '∨' | '¬' | '⊕' | '→' | '↔' | '⇒' | '∴' | '∪' | '∩' | '⊂' | '⊆' | '·' | '°'
            | '²' | '³' => self.symbols += 1,
            '？' | '؟' => self.questions += 1,
            '。' | '！' => (),
            _ => self.signs += 1,
        }
    }

    /// Scripts without spaces, and those that glue articles to words: any run of characters may be a cue.
    fn pieces(&mut self, c: char) {
        self.pass.recent = self.pass.recent << RECENT_BITS | u128::from(u32::from(c));
        self.pass.recent_len = (self.pass.recent_len + 1).min(lexicon::PIECE_MAX);
        // Pieces are hashed from their end, as the text is met.
        if lexicon::ends_piece(c) {
            let mut hash = EMPTY;
            for at in 0..self.pass.recent_len {
                hash = hashed_code(hash, self.recent(at));
                let Some(cues) = lexicon::piece(hash) else {
                    break;
                };
                self.found(cues);
            }
        }
        if unspaced(c) {
            if self.pass.recent_len >= 2 {
                let pair = hashed(hashed_code(EMPTY, self.recent(1)), c);
                let quoted = self.pass.quotes.open();
                self.scan
                    .grams
                    .push(mix(pair), quoted, &mut self.pass.grams);
                if !quoted {
                    self.pass.last_said = [mix(pair), self.pass.last_said[0]];
                    if self.pass.said_words < FIRST_WORDS {
                        self.pass.said_words += 1;
                        self.grams.hint(pair ^ FNV);
                    }
                }
            }
            if !self.pass.quotes.open() {
                self.grams.hint(hashed(EMPTY, c));
            }
            // Two characters are about a word.
            if self.unspaced.is_multiple_of(2) {
                self.words += 1;
                self.pass.sentence_words += 1;
            }
        }
    }

    /// The character that came so many before the last one.
    fn recent(&self, back: usize) -> u64 {
        let low = self.pass.recent >> (back * RECENT_BITS);
        u64::try_from(low & ((1 << RECENT_BITS) - 1)).unwrap_or(0)
    }

    fn mark(&mut self, c: char) {
        if c == ' ' {
            return;
        }
        self.quote(c);
        match c {
            '(' | '[' | '{' => {
                self.pass.brackets += 1;
                self.depth = self.depth.max(self.pass.brackets.min(64));
                self.nested += u32::from(self.pass.brackets >= 2);
            }
            ')' | ']' | '}' => self.pass.brackets = self.pass.brackets.saturating_sub(1),
            '\\' => self.latex += 1,
            '+' | '*' | '/' | '=' | '^' | '<' | '>' | '%' | '-' => {
                let before = self.pass.last;
                self.binary_operators +=
                    u32::from(before.is_ascii_digit() || before == ' ' || before == ')');
            }
            _ => (),
        }
        match c {
            '?' | '？' | '؟' => {
                self.questions += u32::from(c == '?');
                self.question_chars = self.chars - self.pass.sentence_from;
                self.end_sentence();
            }
            '.' | '!' | '。' | '！' => self.end_sentence(),
            '\n' => {
                self.pass.last_hash = 0;
                self.end_sentence();
            }
            _ => (),
        }
    }

    fn end_sentence(&mut self) {
        let words = self.pass.sentence_words;
        if words > 0 {
            self.sentences += 1;
            let chars = self.chars - self.pass.sentence_from;
            self.longest_sentence = self.longest_sentence.max(chars);
            self.longest_sentence_words = self.longest_sentence_words.max(words);
            self.pass.sentence_begun = false;
            self.pass.last_hash = 0;
        }
        self.pass.sentence_from = self.chars;
        self.pass.sentence_words = 0;
    }
}
