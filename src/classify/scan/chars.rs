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
    /// Notes a pair by its mixed hash.
    fn meet(&mut self, mixed: u64) {
        let place = place(mixed);
        self.met[place / 64] |= 1 << (place % 64);
    }

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
        match text.is_ascii() && self.pass.pairs.before < 128 {
            true => self.count_ascii::<PAIRED>(text.as_bytes(), hash),
            false => self.count_codes::<PAIRED>(text.chars().map(u32::from), hash),
        }
    }

    /// [`Scanner::count_codes`] where all are below 128, and so is the one before them.
    fn count_ascii<const PAIRED: bool>(&mut self, text: &[u8], mut hash: u64) -> u64 {
        let (Some(first), Some(last)) = (text.first(), text.last()) else {
            return hash;
        };
        let (scan, pairs) = (&mut *self.scan, &mut self.pass.pairs);
        let mut before = u64::from(pairs.before);
        scan.runs += u32::from(u64::from(*first) == before && !is_space(*first)) + runs(text);
        for byte in text {
            scan.ascii[usize::from(byte & 127)] += 1;
            let code = u64::from(*byte);
            if PAIRED {
                // Numbers below 2^28 are spread by the factor alone.
                let spread = (before << 21 | code).wrapping_mul(SPREAD);
                pairs.meet(spread ^ spread >> 32);
            }
            hash = hashed_code(hash, code);
            before = code;
        }
        pairs.before = u32::from(*last);
        hash
    }

    /// Counts characters by their numbers, and adds them to a hash.
    fn count_codes<const PAIRED: bool>(
        &mut self,
        codes: impl Iterator<Item = u32>,
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
                pairs.meet(mix(u64::from(before) << 21 | u64::from(code)));
            }
            hash = hashed_code(hash, u64::from(code));
            before = code;
        }
        pairs.before = before;
        hash
    }
}

/// Bytes whose matches are counted in one byte: the compiler then counts many at once.
const COUNTED: usize = 128;

/// How many characters of ASCII are like the one before and no white space.
fn runs(text: &[u8]) -> u32 {
    let [_, later @ ..] = text else { return 0 };
    let of_chunk = |(later, earlier): (&[u8], &[u8])| {
        let alike = later
            .iter()
            .zip(earlier)
            .map(|(b, a)| u8::from(a == b) & u8::from(!is_space(*b)));
        u32::from(alike.sum::<u8>())
    };
    later
        .chunks(COUNTED)
        .zip(text.chunks(COUNTED))
        .map(of_chunk)
        .sum()
}

/// [`char::is_whitespace`] of a character of ASCII.
fn is_space(byte: u8) -> bool {
    (byte == b' ') | (byte.wrapping_sub(b'\t') < 5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::scan::{Pass, Scan};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ascii_is_counted_as_any_characters_are(
            texts in proptest::collection::vec("[ -~\t\r\x0b\x0c\x1cab]{0,300}", 1..4),
        ) {
            let counted = |ascii: bool| {
                let (mut scan, mut pass) = (Scan::default(), Pass::default());
                let mut scanner = Scanner::new(&mut scan, &mut pass);
                let hashes: Vec<u64> = texts
                    .iter()
                    .map(|text| match ascii {
                        true => scanner.count_ascii::<true>(text.as_bytes(), 7),
                        false => scanner.count_codes::<true>(text.chars().map(u32::from), 7),
                    })
                    .collect();
                (hashes, scan.ascii, scan.runs, pass.pairs.met, pass.pairs.before)
            };
            prop_assert_eq!(counted(true), counted(false));
        }
    }
}
