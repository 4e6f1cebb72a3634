//! Payment cards: the issuer's ranges with their lengths (ISO/IEC 7812, as published by the schemes), the check digit, and groups as
//! they are printed. Lengths and ranges that other numbers have too (a bar code has 13 digits) need a word beside them.

use crate::private::groups::Number;
use crate::private::search::Search;
use crate::private::{Class, checks, examples, near};

/// What is needed beside the check digit.
enum Proof {
    /// Nothing.
    Enough,
    /// A word near it.
    Word,
}

/// Notes a number that is one.
pub(super) fn look(search: &mut Search<'_>, number: &Number<'_>) {
    if !search.wants(Class::Cards) {
        return;
    }
    let Some(proof) = issued(number) else {
        return;
    };
    if !is_printed_so(number) || !checks::luhn(number.digits) {
        return;
    }
    let sure = match proof {
        Proof::Enough => true,
        Proof::Word => search.is_near(near::CARD, number.from, number.to),
    };
    if sure {
        let example = examples::is_card(number.digits);
        search.note(Class::Cards, number.digits, example);
    }
}

/// Whether some issuer gives such numbers, of this length.
fn issued(number: &Number<'_>) -> Option<Proof> {
    let digits = number.digits;
    let begins = digits.get(..4).map(checks::number)?;
    let grouped = !number.is_whole();
    let proof = |enough: bool| match enough {
        true => Some(Proof::Enough),
        false => Some(Proof::Word),
    };
    match (begins, digits.len()) {
        // Visa.
        (4000..=4999, 16) => proof(true),
        (4000..=4999, 13 | 19) => proof(false),
        // Mastercard.
        (5100..=5599 | 2221..=2720, 16) => proof(true),
        // American Express.
        (3400..=3499 | 3700..=3799, 15) => proof(true),
        // Discover.
        (6011 | 6440..=6599, 16) => proof(true),
        (6011 | 6440..=6599, 17..=19) => proof(false),
        // Diners Club.
        (3000..=3059 | 3095 | 3600..=3699 | 3800..=3999, 14) => proof(grouped),
        // JCB.
        (3528..=3589, 16) => proof(true),
        (3528..=3589, 17..=19) => proof(false),
        // UnionPay, whose cards have mostly 19 digits in China.
        (6200..=6299 | 8100..=8171, 16 | 19) => proof(begins < 7000),
        (6200..=6299, 17 | 18) => proof(false),
        // Mir, Troy, RuPay, Verve.
        (2200..=2204 | 9792, 16) => proof(true),
        (6000..=6099 | 8200..=8299 | 5060..=5085, 16) => proof(begins == 6069 || grouped),
        // Maestro.
        (5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763, 12..=19) => proof(false),
        _ => None,
    }
}

/// Whether its groups are such as cards have, and no row of a table.
fn is_printed_so(number: &Number<'_>) -> bool {
    match number.sizes {
        [_] | [4, 6, 5] | [4, 6, 4] | [8, 8] => true,
        [6, _] => number.digits.len() > 15,
        [4, middle @ .., last] if middle.iter().all(|size| *size == 4) && *last <= 4 => {
            let fours = number.after.iter().take_while(|size| **size == 4).count();
            number.fours_before + fours <= 2
        }
        sizes => sizes.iter().all(|size| *size == 1) && number.after.first() != Some(&1),
    }
}
