//! Runs of ASCII letters and digits, which most texts are made of, are read as a whole: what other characters go through one by one.

use super::grams::STEM;
use super::{PAIRED_CHARS, Scanner, Word};
use crate::classify::letters::{EMPTY, hashed_code};
use crate::classify::lexicon::{self, STEM_MAX, STEM_MIN};

const SMALL: u8 = 1;
const DIGIT: u8 = 2;
/// The bit by which a capital differs from its small letter.
const CAPITAL: u8 = 0x20;
/// What a byte is, 0 where it is neither letter nor digit.
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        kinds[byte as usize] = match byte {
            b'a'..=b'z' => SMALL,
            b'A'..=b'Z' => CAPITAL,
            b'0'..=b'9' => DIGIT,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};

impl Scanner {
    /// Reads the run that a text begins with, and tells how many bytes it had.
    pub(super) fn take_run(&mut self, text: &[u8]) -> usize {
        let Some(begin) = text.first().map(|b| KINDS[usize::from(*b)]) else {
            return 0;
        };
        if begin == 0 {
            return 0;
        }
        let stems = lexicon::stems();
        let pass = &self.pass;
        let mut word = match pass.word.len {
            0 => Word {
                hash: EMPTY,
                first_upper: begin == CAPITAL,
                ..Word::default()
            },
            _ => pass.word,
        };
        let mut before = u32::from(pass.last);
        let mut after_small = word.len > 0 && pass.last.is_lowercase();
        let (mut line, mut digits, mut chars) = (pass.line.hash, 0, self.chars);
        let mut read = 0;
        for byte in text.iter().copied() {
            let kind = KINDS[usize::from(byte)];
            if kind == 0 {
                break;
            }
            read += 1;
            chars += 1;
            let code = u32::from(byte);
            self.ascii[usize::from(byte & 127)] += 1;
            self.runs += u32::from(before == code);
            if chars <= PAIRED_CHARS {
                let pair = u64::from(before) << 21 | u64::from(code);
                self.pass.pairs.note(pair);
            }
            before = code;
            line = hashed_code(line, u64::from(code));
            let upper = kind == CAPITAL;
            let lower = u64::from(byte | kind & CAPITAL);
            word.humps += u32::from(upper & after_small);
            after_small = kind == SMALL;
            word.upper += u32::from(upper);
            digits += u32::from(kind == DIGIT);
            word.hash = hashed_code(word.hash, lower);
            word.tail = word.tail << 8 | lower;
            word.len += 1;
            if word.len == STEM {
                word.stem = word.hash;
            }
            if (STEM_MIN..=STEM_MAX).contains(&word.len) {
                let cues = stems.cues(word.hash);
                if !cues.is_empty() {
                    self.found(cues);
                }
            }
        }
        word.digits += digits;
        let Scanner { scan, pass } = self;
        pass.sentence_chars += chars - scan.chars;
        pass.word = word;
        pass.recent_len = 0;
        pass.last = char::from(text[read - 1]);
        pass.last_solid = pass.last;
        let head = &mut pass.line;
        for (place, byte) in head.head[head.head_len..].iter_mut().zip(&text[..read]) {
            *place = char::from(*byte);
        }
        head.head_len = (head.head_len + read).min(head.head.len());
        head.hash = line;
        head.digits += digits;
        head.chars += chars - scan.chars;
        head.solid += chars - scan.chars;
        head.last = pass.last;
        scan.chars = chars;
        read
    }
}
