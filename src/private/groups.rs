//! Digits in a text as they stand in groups, and what joins two groups to one number.

/// No number that is looked for is longer; beyond it only as far as tells whether it goes on.
const DIGITS_MAX: usize = 24;
/// Digits in groups.
pub(super) struct Number<'n> {
    /// The digits alone.
    pub(super) digits: &'n [u8],
    /// How many stand in each group.
    pub(super) sizes: &'n [u8],
    /// The letter that stands between each two groups; the first of them where there are several.
    pub(super) between: &'n [u8],
    /// Where it begins.
    pub(super) from: usize,
    /// Where it ends.
    pub(super) to: usize,
    /// The sizes of the groups that follow in the same way.
    pub(super) after: &'n [u8],
    /// So many groups of four digits stand before it in the same way.
    pub(super) fours_before: usize,
}

impl Number<'_> {
    /// Whether its digits stand in one piece.
    pub(super) fn is_whole(&self) -> bool {
        self.sizes.len() == 1
    }
}

/// A number and the groups that follow it.
pub(super) struct Groups {
    pub(super) digits: [u8; DIGITS_MAX],
    pub(super) sizes: [u8; DIGITS_MAX],
    /// Where each ends, from where the first begins.
    pub(super) ends: [u8; DIGITS_MAX],
    pub(super) between: [u8; DIGITS_MAX],
    /// How many groups there are.
    pub(super) count: usize,
}

/// The groups of digits from here on.
pub(super) fn gather(text: &[u8], from: usize) -> Groups {
    let mut groups = Groups {
        digits: [0; DIGITS_MAX],
        sizes: [0; DIGITS_MAX],
        ends: [0; DIGITS_MAX],
        between: [0; DIGITS_MAX],
        count: 0,
    };
    let (mut at, mut total) = (from, 0);
    loop {
        let rest = &text[at..];
        let most = DIGITS_MAX - total;
        let size = rest
            .iter()
            .take(most + 1)
            .take_while(|b| b.is_ascii_digit())
            .count();
        let ends = text
            .get(at + size)
            .is_none_or(|b| !b.is_ascii_alphanumeric());
        if size > most || size == 0 || !ends {
            return groups;
        }
        groups.digits[total..total + size].copy_from_slice(&rest[..size]);
        groups.sizes[groups.count] = small(size);
        groups.ends[groups.count] = small(at + size - from);
        groups.count += 1;
        total += size;
        match joint(text, at + size) {
            Some((next, between)) if total < DIGITS_MAX => {
                groups.between[groups.count - 1] = between;
                at = next;
            }
            _ => return groups,
        }
    }
}

/// A length within a number: no more than a hundred.
fn small(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// What joins two groups of digits: one letter, or a few spaces and dashes. Gives where the second one begins.
pub(super) fn joint(text: &[u8], at: usize) -> Option<(usize, u8)> {
    let between = *text.get(at)?;
    let next = match between {
        b' ' | b'-' => {
            let rest = text[at..].iter().take(4);
            at + rest.take_while(|b| matches!(b, b' ' | b'-')).count()
        }
        b'.' | b'/' | b'_' => at + 1,
        _ => return None,
    };
    let few = next - at <= 3;
    (few && text.get(next)?.is_ascii_digit()).then_some((next, between))
}
