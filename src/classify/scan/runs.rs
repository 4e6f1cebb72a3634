//! Runs of ASCII letters and digits, which most texts are made of, are read as a whole: what other characters go through one by one.

use super::grams::STEM;
use super::{PAIRED_CHARS, Scan, Word};
use crate::classify::letters::{EMPTY, hashed_code};
use crate::classify::lexicon::{self, STEM_MAX, STEM_MIN};

/// Bytes of the run of letters and digits that a text begins with.
pub(super) fn len_of(text: &[u8]) -> usize {
    let other = text.iter().position(|b| !b.is_ascii_alphanumeric());
    other.unwrap_or(text.len())
}

impl Scan {
    /// Reads a run.
    pub(super) fn take_run(&mut self, run: &[u8]) {
        let (Ok(chars), Some(end)) = (u32::try_from(run.len()), run.last()) else {
            return;
        };
        self.count_pairs(run);
        self.spell(run);
        let line = &mut self.pass.line;
        for byte in run {
            line.hash = hashed_code(line.hash, u64::from(*byte));
            line.digits += u32::from(byte.is_ascii_digit());
        }
        for (place, byte) in line.head[line.head_len..].iter_mut().zip(run) {
            *place = char::from(*byte);
        }
        line.head_len = (line.head_len + run.len()).min(line.head.len());
        line.chars += chars;
        line.solid += chars;
        line.last = char::from(*end);
        self.chars += chars;
        self.pass.sentence_chars += chars;
        self.pass.last_solid = line.last;
        self.pass.last = line.last;
    }

    /// Characters, and pairs of them.
    fn count_pairs(&mut self, run: &[u8]) {
        let paired = PAIRED_CHARS.saturating_sub(self.chars) as usize;
        let mut before = u64::from(u32::from(self.pass.last));
        for (at, byte) in run.iter().enumerate() {
            let code = u64::from(*byte);
            self.ascii[usize::from(byte & 127)] += 1;
            self.runs += u32::from(before == code);
            if at < paired {
                self.pass.pairs.note(before << 21 | code);
            }
            before = code;
        }
    }

    /// The word, and the stems that it begins with.
    fn spell(&mut self, run: &[u8]) {
        let mut word = self.pass.word;
        if word.len == 0 {
            word = Word {
                hash: EMPTY,
                first_upper: run[0].is_ascii_uppercase(),
                ..Word::default()
            };
        }
        let mut after_small = word.len > 0 && self.pass.last.is_lowercase();
        for byte in run {
            let lower = byte.to_ascii_lowercase();
            let upper = lower != *byte;
            word.humps += u32::from(upper && after_small);
            after_small = byte.is_ascii_lowercase();
            word.hash = hashed_code(word.hash, u64::from(lower));
            word.len += 1;
            if word.len == STEM {
                word.stem = word.hash;
            }
            word.upper += u32::from(upper);
            word.digits += u32::from(byte.is_ascii_digit());
            word.tail = word.tail << 8 | u64::from(lower);
            if (STEM_MIN..=STEM_MAX).contains(&word.len) {
                let cues = lexicon::stem(word.hash);
                if !cues.is_empty() {
                    self.found(cues);
                }
            }
        }
        self.pass.word = word;
        self.pass.recent_len = 0;
    }
}
