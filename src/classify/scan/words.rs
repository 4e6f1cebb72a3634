//! Words: a run of ASCII letters and digits, which most texts are made of, is read as a whole; other words character by character.

use super::Scanner;
use super::grams::{STEM, mix};
use crate::classify::letters::{EMPTY, hashed, hashed_code};
use crate::classify::lexicon::{self, STEM_MAX, STEM_MIN};

/// What is known of a word once it is read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Word {
    pub(super) hash: u64,
    pub(super) len: u32,
    pub(super) digits: u32,
    pub(super) upper: u32,
    first_upper: bool,
    /// Capitals after small letters, and underscores.
    pub(super) humps: u32,
    /// It has a decimal point.
    pub(super) point: bool,
    /// The hash of its first characters.
    pub(super) stem: u64,
    /// Its last eight characters in small letters, as far as they are ASCII.
    tail: u64,
}

/// A letter of ASCII, small or capital, and a digit: the high byte of [`KINDS`].
const SMALL: u16 = 0x100;
const CAPITAL: u16 = 0x200;
const DIGIT: u16 = 0x400;
/// Of each byte its kind and its small letter, 0 where it is neither letter nor digit.
static KINDS: [u16; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        let kind = match byte {
            b'a'..=b'z' => SMALL,
            b'A'..=b'Z' => CAPITAL,
            b'0'..=b'9' => DIGIT,
            _ => 0,
        };
        if kind != 0 {
            kinds[byte as usize] = kind | byte.to_ascii_lowercase() as u16;
        }
        byte += 1;
    }
    kinds
};

fn kind_of(byte: u8) -> u16 {
    KINDS[usize::from(byte)] & 0xff00
}

/// A run of ASCII letters and digits.
#[derive(Clone, Copy)]
struct Run {
    len: usize,
    /// The kinds of its characters, in the high byte.
    kinds: u16,
    hash: u64,
}

impl Run {
    const EMPTY: Run = Run {
        len: 0,
        kinds: 0,
        hash: EMPTY,
    };

    /// The run as far as it goes on in this text.
    fn on(mut self, text: &[u8]) -> Run {
        for byte in text {
            let kind = KINDS[usize::from(*byte)];
            if kind == 0 {
                break;
            }
            self.kinds |= kind;
            self.hash = hashed_code(self.hash, u64::from(kind & 0xff));
            self.len += 1;
        }
        self
    }

    fn is(&self, kind: u16) -> bool {
        self.kinds & 0xff00 == kind
    }

    /// Whether the word ends with it, where this byte comes next.
    fn ends_before(&self, next: Option<&u8>) -> bool {
        match next {
            Some(b' ') | None => true,
            // The apostrophe in "don't" and the line in `a_b` join; so do the marks in a number, and letters outside ASCII.
            Some(b'_') => false,
            Some(b'\'') => self.kinds & DIGIT != 0,
            Some(b'.' | b',') => !self.is(DIGIT),
            Some(byte) => byte.is_ascii(),
        }
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

impl Scanner<'_> {
    /// Reads the words of a line and the marks between them.
    pub(super) fn read_words(&mut self, line: &str) {
        let bytes = line.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.pass.word.len == 0 {
                if *byte == b' ' {
                    self.chars += 1;
                    self.pass.last = ' ';
                    at += 1;
                    continue;
                }
                let read = self.take_run(&bytes[at..]);
                if read > 0 {
                    at += read;
                    continue;
                }
            }
            let c = match byte.is_ascii() {
                true => char::from(*byte),
                false => line[at..].chars().next().unwrap_or_default(),
            };
            self.take(c);
            at += c.len_utf8();
        }
    }

    /// Reads the word that a text begins with as a whole, if it is a run and nothing more. Tells how many bytes it has.
    fn take_run(&mut self, text: &[u8]) -> usize {
        let (head, tail) = text.split_at(text.len().min(STEM));
        let stem = Run::EMPTY.on(head);
        let run = match stem.len {
            STEM => stem.on(tail),
            _ => stem,
        };
        let word = &text[..run.len];
        let [.., last] = word else { return 0 };
        if !run.ends_before(text.get(run.len)) {
            return 0;
        }
        self.chars += count(run.len);
        self.pass.last = char::from(*last);
        self.find_stems(word);
        let small = Word {
            hash: run.hash,
            len: count(run.len),
            stem: stem.hash,
            tail: tail_of(word, *last),
            ..Word::default()
        };
        match run.is(SMALL) {
            true => self.count_word(&small),
            false => self.count_rest(&formed(small, word)),
        }
        run.len
    }

    /// Finds the stems that a run begins with.
    fn find_stems(&mut self, word: &[u8]) {
        let [a, b, c, ..] = word else { return };
        let mut lengths = lexicon::stem_lengths([*a, *b, *c]);
        let (mut from, mut hash) = (0, EMPTY);
        while lengths != 0 {
            let len = lengths.trailing_zeros() as usize;
            let Some(more) = word.get(from..len) else {
                break;
            };
            for byte in more {
                hash = hashed_code(hash, u64::from(KINDS[usize::from(*byte)] & 0xff));
            }
            self.found(lexicon::stems().cues(hash));
            from = len;
            lengths &= lengths - 1;
        }
    }

    /// Reads one character of a word.
    pub(super) fn in_word(&mut self, c: char) {
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
        if word.len as usize == STEM {
            word.stem = word.hash;
        }
        word.upper += u32::from(upper);
        word.digits += u32::from(c.is_ascii_digit());
        word.tail = word.tail << 8 | u64::from(u32::from(lower) & 0x7f);
        let (hash, len) = (word.hash, word.len);
        if glued {
            self.pieces(c);
            return;
        }
        self.pass.recent_len = 0;
        if (STEM_MIN..=STEM_MAX).contains(&len) {
            self.found(lexicon::stems().cues(hash));
        }
    }

    /// Ends the word that is being read, if one is.
    pub(super) fn end_word(&mut self) {
        if self.pass.word.len > 0 {
            let word = std::mem::take(&mut self.pass.word);
            self.count_rest(&word);
        }
    }

    /// [`Scanner::count_word`] for words that are not of small letters only; what is known of those is left out where it is inlined.
    #[inline(never)]
    fn count_rest(&mut self, word: &Word) {
        self.count_word(word);
    }

    #[inline(always)]
    fn count_word(&mut self, word: &Word) {
        let mixed = mix(word.hash);
        self.pass.recent_len = 0;
        self.pass.fault = word.is_fault();
        self.found(lexicon::whole_words().cues(word.hash));
        let scan = &mut *self.scan;
        scan.words += 1;
        scan.word_chars += word.len;
        scan.longest_word = scan.longest_word.max(word.len);
        match word.len {
            1 => scan.single_words += 1,
            7.. if word.digits == 0 => scan.long_words += 1,
            _ => {}
        }
        if !word.is_small() {
            self.count_form(word, mixed);
        }
        self.pass.words.note(mixed);
        let line = &mut self.pass.line;
        line.words += 1;
        line.short_words += u32::from(word.len <= 2);
        if line.words == 1 {
            line.first_word = word.hash;
        }
        self.pass.sentence_words += 1;
        self.gram(word, mixed);
        self.pass.sentence_begun = true;
    }

    /// Counts a word that is not of small letters only.
    fn count_form(&mut self, word: &Word, mixed: u64) {
        if word.digits == word.len {
            self.count_number(word, mixed);
        } else {
            self.count_name(word, mixed);
        }
        self.mixed_words += u32::from(word.digits > 0 && word.digits < word.len);
        self.identifiers += u32::from(word.humps > 0 && word.upper < word.len);
    }

    fn count_number(&mut self, word: &Word, mixed: u64) {
        self.numbers += 1;
        self.decimals += u32::from(word.point);
        self.longest_number = self.longest_number.max(word.digits);
        self.big_numbers += u32::from(word.digits >= 3);
        self.pass.numbers.note(mixed);
    }

    fn count_name(&mut self, word: &Word, mixed: u64) {
        let caps = word.upper == word.len && word.len >= 2;
        self.caps_words += u32::from(caps);
        if word.first_upper && !caps && word.len >= 2 && self.pass.sentence_begun {
            self.names += 1;
            self.pass.names.note(mixed);
        }
    }
}

/// What else is known of a run that is not of small letters only.
fn formed(mut word: Word, text: &[u8]) -> Word {
    let mut before = 0;
    for byte in text {
        let kind = kind_of(*byte);
        word.digits += u32::from(kind == DIGIT);
        word.upper += u32::from(kind == CAPITAL);
        word.humps += u32::from(kind == CAPITAL && before == SMALL);
        before = kind;
    }
    word.first_upper = text.first().is_some_and(u8::is_ascii_uppercase);
    word
}

/// The last characters of a run, if they may be those of a failure's name.
fn tail_of(word: &[u8], last: u8) -> u64 {
    if !matches!(last, b'r' | b'R' | b'n' | b'N') {
        return 0;
    }
    word.iter().fold(0, |tail, byte| {
        tail << 8 | u64::from(byte.to_ascii_lowercase())
    })
}

impl Word {
    fn is_small(&self) -> bool {
        self.digits | self.upper | self.humps == 0 && !self.first_upper
    }

    /// `KeyError:`, `NullPointerException:`, `error[E0308]`, `panicked`.
    fn is_fault(&self) -> bool {
        const ERROR: u64 = u64::from_be_bytes(*b"\0\0\0error");
        const EXCEPTION: u64 = u64::from_be_bytes(*b"xception");
        self.tail != 0 && (self.tail & 0xff_ffff_ffff == ERROR || self.tail == EXCEPTION)
    }
}
