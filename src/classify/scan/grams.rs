//! Words and word pairs by their hashes, and whether one was seen before. No allocation.

/// Buckets of the n-grams that a grader may weigh.
pub const GRAM_BUCKETS: u32 = 1 << 16;
/// N-grams kept of an ask: enough for its first 1,500 characters.
const GRAMS_MAX: usize = 512;
/// Bits of the set that tells words seen from new ones.
const SEEN_BITS: usize = 4096;

/// Buckets of words and word pairs, each at most once.
#[derive(Clone, Copy)]
pub struct Grams {
    ids: [u16; GRAMS_MAX],
    len: usize,
}

impl Default for Grams {
    fn default() -> Grams {
        Grams {
            ids: [0; GRAMS_MAX],
            len: 0,
        }
    }
}

impl PartialEq for Grams {
    fn eq(&self, other: &Grams) -> bool {
        self.ids() == other.ids()
    }
}

impl std::fmt::Debug for Grams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl Grams {
    /// The buckets, in the order of the text.
    #[must_use]
    pub fn ids(&self) -> &[u16] {
        &self.ids[..self.len]
    }

    pub(super) fn push(&mut self, hash: u64, seen: &mut GramSet) {
        let folded = (hash ^ (hash >> 32) ^ (hash >> 16)) & u64::from(GRAM_BUCKETS - 1);
        let id = u16::try_from(folded).unwrap_or(0);
        let (word, bit) = (&mut seen[usize::from(id / 64)], 1_u64 << (id % 64));
        if self.len < GRAMS_MAX && *word & bit == 0 {
            *word |= bit;
            self.ids[self.len] = id;
            self.len += 1;
        }
    }
}

/// One bit for each bucket.
pub(super) type GramSet = [u64; GRAM_BUCKETS as usize / 64];

/// A small set of hashes: whether one was seen before. It forgets nothing and may take a new one for an old one.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    bits: [u64; SEEN_BITS / 64],
    pub(super) distinct: u32,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen {
            bits: [0; SEEN_BITS / 64],
            distinct: 0,
        }
    }
}

impl Seen {
    pub(super) fn note(&mut self, hash: u64) -> bool {
        let mixed = mix(hash);
        let at = usize::try_from(mixed % (SEEN_BITS as u64)).unwrap_or(0);
        let bit = 1_u64 << (at % 64);
        let new = self.bits[at / 64] & bit == 0;
        self.bits[at / 64] |= bit;
        self.distinct += u32::from(new);
        new
    }
}

pub(super) fn mix(hash: u64) -> u64 {
    let h = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    h ^ (h >> 32)
}
