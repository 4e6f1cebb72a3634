//! Characters one by one, whatever words they make: how often each occurs, which pairs there are, runs of one character, and a
//! line's hash.

use super::Scanner;
use super::grams::{SEEN_MAX, SPREAD, mix, place};
use crate::classify::letters::hashed_code;

/// Characters of an ask of which pairs are counted.
const PAIRED_CHARS: u32 = 2_000;

/// Pairs of characters that were met, as far as a small set can tell.
#[derive(Clone, Debug)]
pub(super) struct Pairs {
    /// One bit for each place of a pair.
    met: [u64; SEEN_MAX / 64],
    /// The number of the character before the next one.
    before: u32,
}

impl Default for Pairs {
    fn default() -> Pairs {
        Pairs {
            met: [0; SEEN_MAX / 64],
            before: 0,
        }
    }
}

impl Pairs {
    /// How many different ones there are.
    pub(super) fn distinct(&self) -> u32 {
        self.met.iter().map(|bits| bits.count_ones()).sum()
    }
}

impl Scanner<'_> {
    /// Counts the characters of a text whose words are not read yet, and tells its hash.
    pub(super) fn count_chars(&mut self, text: &str) -> u64 {
        let left = PAIRED_CHARS.saturating_sub(self.chars) as usize;
        let paired = match text.len() <= left {
            true => text.len(),
            false => text.char_indices().nth(left).map_or(text.len(), |c| c.0),
        };
        let (paired, rest) = text.split_at(paired);
        let hash = self.count_part::<true>(paired, 0);
        self.count_part::<false>(rest, hash)
    }

    fn count_part<const PAIRED: bool>(&mut self, text: &str, hash: u64) -> u64 {
        if text.is_ascii() && self.pass.pairs.before < 128 {
            // Numbers below 2^28 are spread by the factor alone.
            let spread = |pair: u64| pair.wrapping_mul(SPREAD);
            let codes = text.bytes().map(|byte| u32::from(byte & 127));
            return self.count_codes::<PAIRED>(
                codes,
                |pair| spread(pair) ^ spread(pair) >> 32,
                hash,
            );
        }
        self.count_codes::<PAIRED>(text.chars().map(u32::from), mix, hash)
    }

    /// Counts characters by their numbers, and adds them to a hash.
    fn count_codes<const PAIRED: bool>(
        &mut self,
        codes: impl Iterator<Item = u32>,
        mix: impl Fn(u64) -> u64,
        mut hash: u64,
    ) -> u64 {
        let (scan, pairs) = (&mut *self.scan, &mut self.pass.pairs);
        let mut before = pairs.before;
        for code in codes {
            if let Some(count) = scan.ascii.get_mut(code as usize) {
                *count += 1;
            }
            if code == before {
                let space = char::from_u32(code).is_some_and(char::is_whitespace);
                scan.runs += u32::from(!space);
            }
            if PAIRED {
                let place = place(mix(u64::from(before) << 21 | u64::from(code)));
                pairs.met[place / 64] |= 1 << (place % 64);
            }
            hash = hashed_code(hash, u64::from(code));
            before = code;
        }
        pairs.before = before;
        hash
    }
}
