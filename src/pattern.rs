//! Patterns of names, in which `*` stands for any letters, none included. Every pattern of flyball is matched here: those of the
//! configuration (models, fields, caps), those of the embedded tables, and those of paths.

/// Whether the whole `name` is like the pattern.
#[must_use]
pub fn like(pattern: &str, name: &str) -> bool {
    match pattern.rsplit_once('*') {
        None => pattern == name,
        Some((before, last)) => after(before, name).is_some_and(|rest| rest.ends_with(last)),
    }
}

/// Whether `name` begins like the pattern.
#[must_use]
pub fn begins(pattern: &str, name: &str) -> bool {
    after(pattern, name).is_some()
}

/// What follows in `name` on what is like the pattern. The earliest place of each piece leaves the most for the others, so
/// looking from the left once is enough.
fn after<'n>(pattern: &str, name: &'n str) -> Option<&'n str> {
    let mut pieces = pattern.split('*');
    let mut rest = name.strip_prefix(pieces.next().unwrap_or_default())?;
    for piece in pieces {
        let at = rest.find(piece)?;
        rest = &rest[at + piece.len()..];
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_letters() {
        for (pattern, name, whole, start) in [
            ("gpt-4o", "gpt-4o", true, true),
            ("gpt-4o", "gpt-4o-mini", false, true),
            ("gpt-4o", "gpt-4", false, false),
            ("gpt-*", "gpt-4o", true, true),
            ("gpt-*", "gpt-", true, true),
            ("gpt-*", "gp", false, false),
            ("*-mini", "gpt-4o-mini", true, true),
            ("*-mini", "gpt-4o-mini-2024", false, true),
            ("*", "", true, true),
            ("", "", true, true),
            ("", "a", false, true),
            ("a*b*c", "abc", true, true),
            ("a*b*c", "a1b2b3c", true, true),
            ("a*b*c", "acb", false, false),
            ("a*bab", "abab", true, true),
            ("a*a", "a", false, false),
            ("**", "x", true, true),
        ] {
            assert_eq!(like(pattern, name), whole, "{pattern} {name}");
            assert_eq!(begins(pattern, name), start, "{pattern} {name}");
        }
    }
}
