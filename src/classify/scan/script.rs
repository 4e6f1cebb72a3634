//! Which characters are letters, and which scripts are written without spaces.

/// A letter outside ASCII. Blocks that hold nothing else are known without looking into Unicode's tables.
pub(super) fn letter(c: char) -> bool {
    matches!(c, '\u{4E00}'..='\u{9FFF}' | '\u{3041}'..='\u{3096}' | '\u{30A1}'..='\u{30FA}' | '\u{AC00}'..='\u{D7A3}' | '\u{0430}'..='\u{044F}')
        || c.is_alphabetic()
}

/// Scripts that are written without spaces.
pub(in crate::classify) fn unspaced(c: char) -> bool {
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
