//! Numbers in a text, in one piece or in groups, and words of letters and digits. Each is looked at from where it begins, and no
//! further than the longest thing that it could be, so that a text of nothing but digits is no more work than another.

use crate::private::groups::{Number, gather, joint};
use crate::private::search::Search;
use crate::private::{Class, cards, ibans, ids};

/// No word of letters and digits that is looked for is longer.
const WORD_MAX: usize = 40;

/// Looks for everything that is a number, or has one in it.
pub(super) fn search(search: &mut Search<'_>) {
    let wanted = [Class::Cards, Class::Ibans, Class::Ids];
    if !wanted.into_iter().any(|class| search.wants(class)) {
        return;
    }
    let text = search.text;
    search.worked(text.len());
    let mut at = 0;
    // Where the number before this one ended, and how many groups of four stood there in a row.
    let (mut ended, mut fours) = (0, 0);
    while let Some(found) = text[at..].iter().position(u8::is_ascii_digit) {
        let digit = at + found;
        let letters = |b: &&u8| b.is_ascii_alphanumeric();
        let from = digit - text[at..digit].iter().rev().take_while(letters).count();
        let to = digit + text[digit..].iter().take_while(letters).count();
        let word = &text[from..to];
        if word.iter().all(u8::is_ascii_digit) {
            let joined = ended > 0 && joint(text, ended).is_some_and(|(next, _)| next == from);
            fours = if joined { fours } else { 0 };
            // A fraction is no number of its own, and of small groups only the first one begins anything.
            let fraction = joined && matches!(search.before(from), b'.');
            // A long row of equal groups is a table.
            let row = word.len() == 4 && fours > 2;
            if !fraction && !row && (!joined || word.len() >= 3) {
                number(search, from, fours);
            }
            fours = if word.len() == 4 { fours + 1 } else { 0 };
            ended = to;
        } else {
            ended = 0;
            if word.len() <= WORD_MAX {
                search.worked(word.len());
                if let Some(end) = ibans::look(search, from, to) {
                    // Its groups are no numbers of their own.
                    at = end;
                    continue;
                }
                ids::lettered(search, from, to);
            }
        }
        at = to;
    }
}

/// Everything that a number may be which begins here.
fn number(search: &mut Search<'_>, from: usize, fours_before: usize) {
    let groups = gather(search.text, from);
    search.worked(usize::from(groups.ends[groups.count.saturating_sub(1)]));
    let mut total = 0;
    for last in 0..groups.count {
        total += usize::from(groups.sizes[last]);
        let to = from + usize::from(groups.ends[last]);
        let goes_on = search.at(to) == b'.' && search.at(to + 1).is_ascii_digit();
        if !(7..=19).contains(&total) || goes_on {
            continue;
        }
        search.worked(total);
        let number = Number {
            digits: &groups.digits[..total],
            sizes: &groups.sizes[..=last],
            between: &groups.between[..last],
            from,
            to,
            after: &groups.sizes[last + 1..groups.count],
            fours_before,
        };
        cards::look(search, &number);
        ids::number(search, &number);
    }
}
