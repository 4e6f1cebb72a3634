//! What the lexicon and the scan must know alike of characters: which are letters, which scripts are written without
//! spaces, and the hash by which words of one are found in the other.

/// FNV-1a's start.
pub(super) const FNV: u64 = 0xcbf2_9ce4_8422_2325;
/// FNV-1a's factor.
pub(super) const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// The hash of no characters.
pub(super) const EMPTY: u64 = FNV;

/// One more character of a hash; the same for the lexicon and the text.
pub(super) fn hashed(hash: u64, c: char) -> u64 {
    hashed_code(hash, u32::from(c).into())
}

/// As [`hashed`], for a character's number.
pub(super) fn hashed_code(hash: u64, code: u64) -> u64 {
    (hash ^ code).wrapping_mul(FNV_PRIME)
}

/// A letter outside ASCII. Blocks that hold nothing else are known without looking into Unicode's tables.
pub(super) fn letter(c: char) -> bool {
    matches!(c, '\u{4E00}'..='\u{9FFF}' | '\u{3041}'..='\u{3096}' | '\u{30A1}'..='\u{30FA}' | '\u{AC00}'..='\u{D7A3}' | '\u{0430}'..='\u{044F}')
        || c.is_alphabetic()
}

/// Scripts that are written without spaces.
pub(super) fn unspaced(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{9FFF}' | '\u{0E00}'..='\u{0E7F}' | '\u{AC00}'..='\u{D7AF}')
}

#[cfg(test)]
mod tests {
    use super::letter;

    #[test]
    fn blocks_of_letters_hold_letters_only() {
        assert!(('\u{80}'..=char::MAX).all(|c| letter(c) == c.is_alphabetic()));
    }
}
