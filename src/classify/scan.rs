//! One pass over a bounded text: everything that is counted, none of it kept. No allocation.
//!
//! A scanner is fed with the windows of an ask, one after the other, and closed once. What it counts is plain
//! arithmetic over bytes; what a word means is looked up in the [`lexicon`].

mod cues;
mod grams;
mod lines;
mod quotes;
mod runs;

use super::letters::{EMPTY, FNV, hashed, hashed_code, letter, unspaced};
use super::lexicon::{self, CLASSES};
use cues::Hits;
use grams::{FIRST_WORDS, GramSet, STEM, Seen, mix};
pub use grams::{GRAM_BUCKETS, Grams};
use lines::{Line, is_fault};
use quotes::Quotes;
use std::ops::{Deref, DerefMut};

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

/// Reads a text: what was counted so far, and what is only needed while reading.
#[derive(Debug, Default)]
pub struct Scanner {
    scan: Scan,
    pass: Pass,
}

impl Deref for Scanner {
    type Target = Scan;

    fn deref(&self) -> &Scan {
        &self.scan
    }
}

impl DerefMut for Scanner {
    fn deref_mut(&mut self) -> &mut Scan {
        &mut self.scan
    }
}

/// What is only needed while reading.
#[derive(Clone, Debug)]
struct Pass {
    grams: GramSet,
    words: Seen,
    lines: Seen,
    names: Seen,
    numbers: Seen,
    pairs: Seen,
    hits: Hits,
    quotes: Quotes,
    word: Word,
    line: Line,
    sentence_chars: u32,
    sentence_words: u32,
    sentence_start: bool,
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

impl Default for Pass {
    fn default() -> Pass {
        Pass {
            grams: GramSet::default(),
            words: Seen::default(),
            lines: Seen::default(),
            names: Seen::default(),
            numbers: Seen::default(),
            pairs: Seen::default(),
            hits: Hits::default(),
            quotes: Quotes::default(),
            word: Word::default(),
            line: Line::default(),
            sentence_chars: 0,
            sentence_words: 0,
            sentence_start: true,
            fenced: false,
            last_hash: 0,
            said_words: 0,
            last_said: [0; 2],
            last_line_chars: 0,
            last_line_first: 0,
            last: '\0',
            last_solid: '\0',
            brackets: 0,
            recent: 0,
            recent_len: 0,
            gap_open: false,
            fault: false,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Word {
    hash: u64,
    len: u32,
    digits: u32,
    upper: u32,
    first_upper: bool,
    humps: u32,
    point: bool,
    /// The hash of its first characters.
    stem: u64,
    /// Its last eight characters, as far as they are ASCII.
    tail: u64,
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

/// Characters of which pairs are counted.
const PAIRED_CHARS: u32 = 2_000;
/// Bits of a character in [`Pass::recent`].
const RECENT_BITS: usize = 21;

impl Scanner {
    /// Reads a window of the text.
    pub fn feed(&mut self, text: &str) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let mut read = self.take_run(rest.as_bytes());
            if read == 0 {
                self.take(c);
                read = c.len_utf8();
            }
            rest = &rest[read..];
        }
        // Windows do not run into each other.
        self.end_word();
        if self.pass.line.chars > 0 {
            self.end_line();
        }
        self.end_quote();
    }

    /// Nothing more comes.
    #[must_use]
    pub fn close(mut self) -> Scan {
        self.end_sentence();
        self.distinct_words = self.pass.words.distinct;
        self.distinct_lines = self.pass.lines.distinct;
        self.distinct_names = self.pass.names.distinct;
        self.distinct_numbers = self.pass.numbers.distinct;
        self.distinct_pairs = self.pass.pairs.distinct;
        self.ends_asking = matches!(self.pass.last_solid, '?' | '？' | '؟');
        self.ends_open = matches!(self.pass.last_solid, ':' | '=' | '：');
        self.last_hints();
        self.count_quotes();
        self.weigh_tail();
        self.scan
    }

    /// Reads a character that is no letter or digit of ASCII.
    fn take(&mut self, c: char) {
        self.chars += 1;
        self.pass.sentence_chars += 1;
        let in_words = if c.is_ascii() {
            // An ASCII character is below 128, the table's length.
            self.ascii[c as usize & 127] += 1;
            false
        } else {
            let letter = letter(c);
            self.take_foreign(c, letter);
            letter || c.is_numeric()
        };
        self.runs += u32::from(c == self.pass.last && !c.is_whitespace());
        if self.chars <= PAIRED_CHARS {
            self.pass
                .pairs
                .note(u64::from(u32::from(self.pass.last)) << 21 | u64::from(u32::from(c)));
        }
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
        self.in_line(c);
        if !c.is_whitespace() {
            self.pass.last_solid = c;
        }
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

    fn in_word(&mut self, c: char) {
        let glued = lexicon::in_pieces(c);
        let lower = match glued {
            true => c,
            false => c.to_lowercase().next().unwrap_or(c),
        };
        let word = &mut self.pass.word;
        if word.len == 0 {
            *word = Word {
                hash: EMPTY,
                first_upper: c.is_uppercase(),
                ..Word::default()
            };
        }
        let upper = c != lower;
        word.humps += u32::from(upper && word.len > 0 && self.pass.last.is_lowercase());
        word.hash = hashed(word.hash, lower);
        word.len += 1;
        if word.len == STEM {
            word.stem = word.hash;
        }
        word.upper += u32::from(upper);
        word.tail = word.tail << 8 | u64::from(u32::from(lower) & 0x7f);
        let (hash, len) = (word.hash, word.len);
        if glued {
            self.pieces(c);
            return;
        }
        self.pass.recent_len = 0;
        if (lexicon::STEM_MIN..=lexicon::STEM_MAX).contains(&len) {
            self.found(lexicon::stems().cues(hash));
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
                        self.grams.hint(mix(pair ^ FNV));
                    }
                }
            }
            if !self.pass.quotes.open() {
                self.grams.hint(mix(hashed(EMPTY, c)));
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

    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.pass.word);
        if word.len == 0 {
            return;
        }
        self.pass.recent_len = 0;
        self.pass.fault = is_fault(word.tail);
        self.found(lexicon::whole_words().cues(word.hash));
        if word.digits == word.len {
            self.end_number(&word);
        } else {
            self.end_name(&word);
        }
        self.words += 1;
        self.word_chars += word.len;
        self.longest_word = self.longest_word.max(word.len);
        self.long_words += u32::from(word.len >= 7 && word.digits == 0);
        self.single_words += u32::from(word.len == 1);
        self.mixed_words += u32::from(word.digits > 0 && word.digits < word.len);
        self.identifiers += u32::from(word.humps > 0 && word.upper < word.len);
        self.pass.words.note(word.hash);
        let line = &mut self.pass.line;
        line.words += 1;
        line.short_words += u32::from(word.len <= 2);
        if line.words == 1 {
            line.first_word = word.hash;
        }
        self.pass.sentence_words += 1;
        self.gram(&word);
        self.pass.sentence_start = false;
    }

    fn end_number(&mut self, word: &Word) {
        self.numbers += 1;
        self.decimals += u32::from(word.point);
        self.longest_number = self.longest_number.max(word.digits);
        self.big_numbers += u32::from(word.digits >= 3);
        self.pass.numbers.note(word.hash);
    }

    fn end_name(&mut self, word: &Word) {
        let caps = word.upper == word.len && word.len >= 2;
        self.caps_words += u32::from(caps);
        if word.first_upper && !caps && word.len >= 2 && !self.pass.sentence_start {
            self.names += 1;
            self.pass.names.note(word.hash);
        }
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
                self.question_chars = self.pass.sentence_chars;
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
        let (chars, words) = (self.pass.sentence_chars, self.pass.sentence_words);
        if words > 0 {
            self.sentences += 1;
            self.longest_sentence = self.longest_sentence.max(chars);
            self.longest_sentence_words = self.longest_sentence_words.max(words);
            self.pass.sentence_start = true;
            self.pass.last_hash = 0;
        }
        self.pass.sentence_chars = 0;
        self.pass.sentence_words = 0;
    }
}
