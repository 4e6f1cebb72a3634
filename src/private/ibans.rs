//! International bank account numbers: the length of each country (SWIFT's registry) and mod 97.

use crate::private::search::Search;
use crate::private::{Class, checks, examples};

/// How long a country's are.
const LENGTHS: [(&[u8; 2], usize); 83] = [
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
];
const LENGTHS_TOO: [(&[u8; 2], usize); 5] = [
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// The longest there is.
const LONGEST: usize = 34;

/// Notes an account number that begins with this word. Gives where it ends.
pub(super) fn look(search: &mut Search<'_>, from: usize, to: usize) -> Option<usize> {
    let word = &search.text[from..to];
    let [first, second, third, fourth, ..] = word else {
        return None;
    };
    let begins = first.is_ascii_alphabetic() && second.is_ascii_alphabetic();
    let checked = third.is_ascii_digit() && fourth.is_ascii_digit();
    if !begins || !checked {
        return None;
    }
    let country = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
    let all = LENGTHS.iter().chain(&LENGTHS_TOO);
    let (_, length) = all.into_iter().find(|(name, _)| **name == country)?;
    let mut letters = [0; LONGEST];
    let (count, end) = gather(search.text, from, *length, &mut letters)?;
    search.worked(count);
    let letters = &mut letters[..count];
    if !checks::iban(letters) {
        return None;
    }
    letters.make_ascii_uppercase();
    let example = examples::is_iban(letters);
    search.note(Class::Ibans, &*letters, example);
    Some(end)
}

/// The letters of the word here and of those that follow it as groups, where they are just so many.
fn gather(
    text: &[u8],
    from: usize,
    length: usize,
    into: &mut [u8; LONGEST],
) -> Option<(usize, usize)> {
    let (mut at, mut count) = (from, 0);
    loop {
        let rest = &text[at..];
        let size = rest
            .iter()
            .take(LONGEST + 1)
            .take_while(|b| b.is_ascii_alphanumeric())
            .count();
        if size == 0 || count + size > length {
            return None;
        }
        into[count..count + size].copy_from_slice(&rest[..size]);
        count += size;
        at += size;
        if count == length {
            return Some((count, at));
        }
        let between = text[at..]
            .iter()
            .take_while(|b| matches!(b, b' ' | b'-' | b'.'))
            .take(2)
            .count();
        if between == 0 {
            return None;
        }
        at += between;
    }
}
