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
    matches!(c, '\u{4E00}'..='\u{9FFF}' | '\u{3041}'..='\u{3096}' | '\u{30A1}'..='\u{30FA}' | '\u{AC00}'..='\u{D7A3}'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2AF}' | '\u{400}'..='\u{481}' | '\u{620}'..='\u{657}')
        || c.is_alphabetic()
}

/// A sign outside ASCII: of blocks that hold neither letters nor numbers, without looking into Unicode's tables.
pub(super) fn sign(c: char) -> bool {
    matches!(c, '\u{2000}'..='\u{206F}' | '\u{2190}'..='\u{245F}' | '\u{2500}'..='\u{2775}' | '\u{3000}'..='\u{3004}'
        | '\u{3008}'..='\u{3020}' | '\u{FF01}'..='\u{FF0F}' | '\u{FF1A}'..='\u{FF20}' | '\u{1F300}'..='\u{1FBEF}')
}

/// Scripts that are written without spaces.
pub(super) fn unspaced(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{9FFF}' | '\u{0E00}'..='\u{0E7F}' | '\u{AC00}'..='\u{D7AF}')
}

/// Bytes that are looked at together: a text may begin or end with a million spaces.
const RUN: usize = 64;

fn is_blank(run: &&[u8]) -> bool {
    run.iter()
        .fold(true, |all, byte| all & byte.is_ascii_whitespace())
}

/// Whether there is nothing but white space of ASCII.
pub(super) fn is_space(text: &str) -> bool {
    text.as_bytes().chunks(RUN).all(|run| is_blank(&run))
}

/// As [`str::trim_start`], and quick where there is much to leave out.
pub(super) fn trim_start(text: &str) -> &str {
    let runs = text.as_bytes().chunks_exact(RUN).take_while(is_blank);
    text[runs.count() * RUN..].trim_start()
}

/// As [`str::trim_end`], likewise.
pub(super) fn trim_end(text: &str) -> &str {
    let runs = text.as_bytes().rchunks_exact(RUN).take_while(is_blank);
    text[..text.len() - runs.count() * RUN].trim_end()
}

#[cfg(test)]
mod tests {
    use super::{letter, sign};

    #[test]
    fn blocks_of_letters_hold_letters_only() {
        assert!(('\u{80}'..=char::MAX).all(|c| letter(c) == c.is_alphabetic()));
    }

    #[test]
    fn blocks_of_signs_hold_neither_letters_nor_numbers() {
        assert!(('\u{80}'..=char::MAX).all(|c| !sign(c) || !c.is_alphanumeric()));
    }
}
