//! Words and word pairs by their hashes, and whether one was seen before. No allocation.

use super::{Scanner, Word};
use crate::classify::letters::{FNV, FNV_PRIME};

/// Buckets of the n-grams that a grader may weigh.
pub const GRAM_BUCKETS: u32 = 1 << 16;
/// N-grams kept of an ask: enough for its first 1,500 characters.
const GRAMS_MAX: usize = 512;
/// Hints kept of an ask: enough for its first 80 words.
const HINTS_MAX: usize = 96;
/// Hints of how an ask ends.
const LAST_HINTS: usize = 2;
/// Characters of a word's beginning.
pub(super) const STEM: usize = 5;
/// Words whose place at the beginning says something.
pub(super) const FIRST_WORDS: u32 = 2;
/// Places of the sets that tell words seen from new ones.
pub(super) const SEEN_MAX: usize = 4096;

/// Buckets of words and word pairs, each at most once.
#[derive(Clone, Copy)]
pub struct Grams {
    ids: [u16; GRAMS_MAX],
    len: usize,
    /// Those outside quotations come first, once the scan is closed.
    said: usize,
    quoted: [u64; GRAMS_MAX / 64],
    hints: [u16; HINTS_MAX],
    hints_len: usize,
}

impl Default for Grams {
    fn default() -> Grams {
        Grams {
            ids: [0; GRAMS_MAX],
            len: 0,
            said: 0,
            quoted: [0; GRAMS_MAX / 64],
            hints: [0; HINTS_MAX],
            hints_len: 0,
        }
    }
}

impl PartialEq for Grams {
    fn eq(&self, other: &Grams) -> bool {
        self.ids() == other.ids() && self.told() == other.told()
    }
}

impl std::fmt::Debug for Grams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl Grams {
    /// The buckets: first those outside quotations, then those inside, each in the order of the text.
    #[must_use]
    pub fn ids(&self) -> &[u16] {
        &self.ids[..self.len]
    }

    /// What tells the task: those outside quotations (all, where everything is quoted), and hints: beginnings of words, which are
    /// alike where endings change, and the first and last words.
    #[must_use]
    pub fn told(&self) -> [&[u16]; 2] {
        let said = if self.said == 0 { self.len } else { self.said };
        [&self.ids[..said], &self.hints[..self.hints_len]]
    }

    /// Everything that is kept: buckets outside quotations, those inside, and hints.
    pub(in crate::classify) fn lists(&self) -> [&[u16]; 3] {
        let (said, quoted) = self.ids().split_at(self.said.min(self.len));
        [said, quoted, &self.hints[..self.hints_len]]
    }

    /// The same again; `None` where it is more than is ever kept.
    pub(in crate::classify) fn from_lists(lists: &[Vec<u16>; 3]) -> Option<Grams> {
        let [said, quoted, hints] = lists;
        let mut grams = Grams {
            len: said.len() + quoted.len(),
            said: said.len(),
            hints_len: hints.len(),
            ..Grams::default()
        };
        let ids = said.iter().chain(quoted);
        let room = grams.ids.len() >= grams.len && grams.hints.len() >= hints.len();
        for (place, id) in grams.ids.iter_mut().zip(ids) {
            *place = *id;
        }
        for (place, hint) in grams.hints.iter_mut().zip(hints) {
            *place = *hint;
        }
        room.then_some(grams)
    }

    /// Sorts those outside quotations to the front.
    pub(super) fn part(&mut self) {
        if self.quoted == [0; GRAMS_MAX / 64] {
            self.said = self.len;
            return;
        }
        let (mut said, mut quoted) = (0, 0);
        let mut inside = [0; GRAMS_MAX];
        for at in 0..self.len {
            if self.quoted[at / 64] >> (at % 64) & 1 == 0 {
                self.ids[said] = self.ids[at];
                said += 1;
            } else {
                inside[quoted] = self.ids[at];
                quoted += 1;
            }
        }
        self.ids[said..self.len].copy_from_slice(&inside[..quoted]);
        self.said = said;
    }

    /// What was taken as quoted from there on was not.
    pub(super) fn unquote_from(&mut self, from: usize) {
        for at in from..self.len {
            self.quoted[at / 64] &= !(1 << (at % 64));
        }
    }

    /// One more hint; room is kept for those of the end.
    pub(super) fn hint(&mut self, hash: u64) {
        if self.hints_len < HINTS_MAX - LAST_HINTS {
            self.last_hint(hash);
        }
    }

    /// One of the last hints.
    pub(super) fn last_hint(&mut self, hash: u64) {
        if self.hints_len < HINTS_MAX {
            self.hints[self.hints_len] = bucket(mix(hash));
            self.hints_len += 1;
        }
    }

    /// No more n-grams are kept.
    pub(super) fn is_full(&self) -> bool {
        self.len >= GRAMS_MAX
    }

    /// Keeps the n-gram of a mixed hash, if it is new.
    pub(super) fn push(&mut self, mixed: u64, quoted: bool, seen: &mut GramSet) {
        let id = bucket(mixed);
        if !self.is_full() && seen.note(id) {
            self.ids[self.len] = id;
            if quoted {
                self.quoted[self.len / 64] |= 1 << (self.len % 64);
            }
            self.len += 1;
        }
    }
}

fn bucket(hash: u64) -> u16 {
    let folded = (hash ^ (hash >> 32) ^ (hash >> 16)) & u64::from(GRAM_BUCKETS - 1);
    u16::try_from(folded).unwrap_or(0)
}

/// The buckets seen so far, of which there are at most [`GRAMS_MAX`]: each stands at the place of its number, or at the next free one.
#[derive(Clone, Debug)]
pub(super) struct GramSet {
    /// 0 is a free place.
    places: [u16; 2 * GRAMS_MAX],
    zero: bool,
}

impl Default for GramSet {
    fn default() -> GramSet {
        GramSet {
            places: [0; 2 * GRAMS_MAX],
            zero: false,
        }
    }
}

impl GramSet {
    /// Notes a bucket, and tells whether it is new.
    fn note(&mut self, id: u16) -> bool {
        if id == 0 {
            return !std::mem::replace(&mut self.zero, true);
        }
        let mut at = usize::from(id) % self.places.len();
        while self.places[at] != 0 {
            if self.places[at] == id {
                return false;
            }
            at = (at + 1) % self.places.len();
        }
        self.places[at] = id;
        true
    }
}

/// A small set of hashes: whether one was seen before. It forgets nothing and may take a new one for an old one.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    bits: [u64; SEEN_MAX / 64],
    pub(super) distinct: u32,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen {
            bits: [0; SEEN_MAX / 64],
            distinct: 0,
        }
    }
}

impl Seen {
    /// Notes a hash that is [`mix`]ed.
    pub(super) fn note(&mut self, mixed: u64) {
        let at = place(mixed);
        let bit = 1_u64 << (at % 64);
        let new = self.bits[at / 64] & bit == 0;
        self.bits[at / 64] |= bit;
        self.distinct += u32::from(new);
    }
}

/// The place of a mixed hash in a small set.
pub(super) fn place(mixed: u64) -> usize {
    usize::try_from(mixed % (SEEN_MAX as u64)).unwrap_or(0)
}

/// The factor of [`mix`].
pub(super) const SPREAD: u64 = 0xbf58_476d_1ce4_e5b9;

/// Spreads a hash over all its bits.
pub(super) fn mix(hash: u64) -> u64 {
    let h = (hash ^ (hash >> 29)).wrapping_mul(SPREAD);
    h ^ (h >> 32)
}

impl Scanner<'_> {
    /// Beginnings of long words, which are alike where endings change; and where an ask begins.
    #[inline]
    fn hints(&mut self, word: &Word, hash: u64) {
        if self.pass.said_words < FIRST_WORDS {
            let place = u64::from(self.pass.said_words) + 1;
            self.grams.hint(hash ^ place.wrapping_mul(FNV));
        }
        if word.len as usize > STEM {
            self.grams.hint(word.stem ^ FNV_PRIME);
        }
        self.pass.said_words += 1;
        self.pass.last_said = [hash, self.pass.last_said[0]];
    }

    /// How an ask ends.
    pub(super) fn last_hints(&mut self) {
        for (place, hash) in self.pass.last_said.into_iter().enumerate() {
            if hash != 0 {
                self.grams
                    .last_hint(hash ^ (place as u64 + 8).wrapping_mul(FNV));
            }
        }
    }

    /// Numbers are one gram, whatever their value: which number it is says nothing. `mixed` is the word's hash.
    #[inline]
    pub(super) fn gram(&mut self, word: &Word, mixed: u64) {
        let hash = match word.digits == word.len {
            true => mix(u64::from(word.digits.min(6)) + 11),
            false => mixed,
        };
        let quoted = self.pass.quotes.open();
        if !quoted {
            self.hints(word, hash);
        }
        if self.scan.grams.is_full() {
            return;
        }
        self.scan.grams.push(hash, quoted, &mut self.pass.grams);
        if self.pass.last_hash != 0 {
            let pair = mix(self.pass.last_hash.rotate_left(7) ^ hash);
            self.scan.grams.push(pair, quoted, &mut self.pass.grams);
        }
        self.pass.last_hash = hash;
    }
}
