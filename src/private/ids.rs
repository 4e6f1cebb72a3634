//! Numbers that a state gives its people, by their check digits. Where these are weak, or the form is one that many numbers have, a word
//! beside it must say what it is.

use crate::private::groups::Number;
use crate::private::search::Search;
use crate::private::{Class, checks, examples, near};

/// One country's numbers.
struct Form {
    digits: usize,
    /// The groups in which they are written, each with the letter between the last two; alone it is proof enough.
    written: &'static [(&'static [u8], u8)],
    /// Without groups its check digits are proof enough too.
    sure: bool,
    /// The words that are proof in other cases.
    words: u64,
    check: fn(&[u8]) -> bool,
}

/// Numbers of digits alone.
const FORMS: [Form; 32] = [
    form(9, &[], false, near::US, checks::us),
    form(9, &[], false, near::NL, checks::nl),
    form(9, &[], false, near::CA, checks::ca),
    form(9, &[], false, near::AU, checks::au),
    form(9, &[], false, near::PT, checks::pt),
    form(10, &[], false, near::GB, checks::nhs),
    form(10, &[], false, near::AT, checks::at),
    form(10, &[], false, near::DK, checks::dk),
    form(10, &[(&[6, 4], b'-')], false, near::SE, checks::se),
    form(10, &[(&[6, 4], b'-')], false, near::NONE, finland),
    form(10, &[(&[6, 4], b'/')], false, near::CZ, checks::cz),
    form(11, &[(&[2, 3, 3, 3], b' ')], false, near::DE, checks::de),
    form(11, &[], false, near::PL, checks::pl),
    form(
        11,
        &[(&[2, 2, 2, 3, 2], b'.'), (&[2, 2, 2, 3, 2], b'-')],
        true,
        near::NONE,
        checks::be,
    ),
    form(11, &[(&[6, 5], b' ')], true, near::NONE, checks::no),
    form(11, &[(&[3, 3, 3, 2], b'-')], false, near::BR, checks::cpf),
    form(11, &[], false, near::TR, checks::tr),
    form(11, &[], false, near::HR, checks::hr),
    form(11, &[(&[2, 8, 1], b'-')], false, near::NONE, checks::ar),
    form(
        11,
        &[(&[3, 3, 3, 2], b' '), (&[3, 3, 3, 2], b'-')],
        false,
        near::RU,
        checks::snils,
    ),
    form(12, &[], false, near::IN, checks::aadhaar),
    form(12, &[], false, near::JP, checks::jp),
    form(12, &[], false, near::RU, checks::inn),
    form(12, &[(&[8, 4], b'-')], false, near::SE, checks::se_long),
    form(13, &[], false, near::RO, checks::ro),
    form(13, &[(&[6, 7], b'-')], false, near::NONE, checks::kr),
    form(13, &[], false, near::ZA, checks::za),
    form(13, &[(&[3, 4, 4, 2], b'.')], true, near::NONE, checks::ch),
    form(
        14,
        &[(&[2, 3, 3, 4, 2], b'-')],
        false,
        near::BR,
        checks::cnpj,
    ),
    form(
        15,
        &[(&[1, 2, 2, 2, 3, 3, 2], b' '), (&[13, 2], b' ')],
        true,
        near::NONE,
        checks::fr,
    ),
    form(18, &[(&[6, 8, 4], b' ')], true, near::NONE, checks::cn),
    form(9, &[(&[2, 3, 3, 1], b'-')], false, near::CL, chile),
];

const fn form(
    digits: usize,
    written: &'static [(&'static [u8], u8)],
    sure: bool,
    words: u64,
    check: fn(&[u8]) -> bool,
) -> Form {
    Form {
        digits,
        written,
        sure,
        words,
        check,
    }
}

fn chile(d: &[u8]) -> bool {
    checks::cl(&d[..8], d[8])
}

/// With a digit as its check letter.
fn finland(d: &[u8]) -> bool {
    checks::fi(&d[..9], d[9])
}

/// Notes a number that is one.
pub(super) fn number(search: &mut Search<'_>, number: &Number<'_>) {
    if !search.wants(Class::Ids) {
        return;
    }
    let count = number.digits.len();
    for form in FORMS.iter().filter(|form| form.digits == count) {
        let known = proof(form, number);
        let may = known || (form.words != near::NONE && is_grouped_well(number));
        if !may || !(form.check)(number.digits) {
            continue;
        }
        if known || search.is_near(form.words, number.from, number.to) {
            let example = examples::is_id(number.digits);
            search.note(Class::Ids, number.digits, example);
            return;
        }
    }
    with_letter(search, number);
}

/// Its form is proof enough.
fn proof(form: &Form, number: &Number<'_>) -> bool {
    let last = number.between.last();
    let written = form.written.iter();
    let mut written = written.filter(|(sizes, _)| *sizes == number.sizes);
    written.any(|(_, between)| last == Some(between)) || (form.sure && number.is_whole())
}

/// Beside a word for it, a number may stand in any few groups.
fn is_grouped_well(number: &Number<'_>) -> bool {
    number.sizes.len() <= 6 && number.after.is_empty()
        || number.is_whole()
        || number.sizes.iter().all(|size| (2..=8).contains(size))
}

/// Digits behind which a letter stands that is a part of it.
fn with_letter(search: &mut Search<'_>, number: &Number<'_>) {
    let (mark, letter) = (search.at(number.to), search.at(number.to + 1));
    if search.at(number.to + 2).is_ascii_alphanumeric() {
        return;
    }
    let digits = number.digits;
    let found = match (mark, number.sizes) {
        (b'-', [8]) if letter.is_ascii_uppercase() => checks::es(checks::number(digits), letter),
        (b'-', [2, 3, 3]) if matches!(letter, b'k' | b'K') => checks::cl(digits, letter),
        _ => false,
    };
    if found {
        let example = examples::is_id(digits);
        search.note(Class::Ids, (digits, letter), example);
    }
}

/// Notes a word of letters and digits that is one.
pub(super) fn lettered(search: &mut Search<'_>, from: usize, to: usize) {
    if !search.wants(Class::Ids) {
        return;
    }
    let text = search.text;
    let word = &text[from..to];
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    let letters = |part: &[u8]| part.iter().all(u8::is_ascii_alphabetic);
    let (sure, words) = match word.len() {
        4 if digits(&word[..3]) => (finnish(search, from), near::NONE),
        7 | 8 if word[0].is_ascii_uppercase() => (hong_kong(search, from, to), near::NONE),
        8 if digits(&word[..7]) && word[7].is_ascii_alphabetic() => (false, irish(word)),
        9 if digits(&word[..7]) && letters(&word[7..]) => (false, irish(word)),
        9 if digits(&word[..8]) => spanish(checks::number(&word[..8]), word[8]),
        9 if digits(&word[1..8]) && letters(&word[..1]) => of_nine(word),
        9 if digits(&word[2..8]) && letters(&word[..2]) => (false, british(word)),
        10 if digits(&word[1..]) && checks::tw(word) => (false, near::TW),
        11 if digits(&word[..6]) && digits(&word[7..10]) => (
            word[6].is_ascii_uppercase()
                && checks::fi(&[&word[..6], &word[7..10]].concat(), word[10]),
            near::NONE,
        ),
        16 if letters(&word[..6]) => (is_italian(word), near::NONE),
        18 if digits(&word[..17]) => (checks::cn(word), near::NONE),
        18 if letters(&word[..4]) => (is_mexican(word), near::NONE),
        _ => (false, near::NONE),
    };
    if sure || (words != near::NONE && search.is_near(words, from, to)) {
        let example = examples::is_id(word);
        search.note(Class::Ids, word, example);
    }
}

/// DNI: proof enough with a capital letter, else beside a word.
fn spanish(number: u64, letter: u8) -> (bool, u64) {
    let right = letter.is_ascii_alphabetic() && checks::es(number, letter);
    match right {
        true => (letter.is_ascii_uppercase(), near::ES),
        false => (false, near::NONE),
    }
}

/// A letter, seven digits and a letter: NIE, or NRIC of Singapore.
fn of_nine(word: &[u8]) -> (bool, u64) {
    let more = match word[0] {
        b'X' => Some(0),
        b'Y' => Some(10_000_000),
        b'Z' => Some(20_000_000),
        _ => None,
    };
    let spanish = more.is_some_and(|more| {
        word[8].is_ascii_uppercase() && checks::es(more + checks::number(&word[1..8]), word[8])
    });
    (spanish || checks::sg(word), near::NONE)
}

fn irish(word: &[u8]) -> u64 {
    match checks::ie(word) {
        true => near::IE,
        false => near::NONE,
    }
}

/// National insurance number; it has no check digit.
fn british(word: &[u8]) -> u64 {
    let first = !b"DFIQUV".contains(&word[0].to_ascii_uppercase());
    let second = !b"DFIOQUV".contains(&word[1].to_ascii_uppercase());
    let last = matches!(word[8].to_ascii_uppercase(), b'A'..=b'D');
    match first && second && last {
        true => near::GB,
        false => near::NONE,
    }
}

/// Henkilötunnus with a dash: what stands here is what follows it.
fn finnish(search: &Search<'_>, from: usize) -> bool {
    let Some(start) = from.checked_sub(7) else {
        return false;
    };
    let date = &search.text[start..from - 1];
    let marked = matches!(search.before(from), b'-' | b'+');
    let alone = !search.before(start).is_ascii_alphanumeric();
    let right = marked && alone && date.iter().all(u8::is_ascii_digit);
    right
        && checks::fi(
            &[date, &search.text[from..from + 3]].concat(),
            search.at(from + 3),
        )
}

/// `A123456(3)`: the check digit stands in brackets.
fn hong_kong(search: &Search<'_>, from: usize, to: usize) -> bool {
    let (open, check, close) = (search.at(to), search.at(to + 1), search.at(to + 2));
    let word = &search.text[from..to];
    let letters = word.iter().take_while(|b| b.is_ascii_uppercase()).count();
    if open != b'(' || close != b')' || word.len() - letters != 6 {
        return false;
    }
    let rank = |b: u8| match b {
        b'0'..=b'9' => u32::from(b - b'0'),
        b => u32::from(b - b'A') + 10,
    };
    let space = if letters == 1 { 36 * 9 } else { 0 };
    let weights = (2..=9).rev().skip(2 - letters.min(2));
    let sum: u32 = word.iter().zip(weights).map(|(b, w)| rank(*b) * w).sum();
    let check = match check {
        b'A' => 10,
        b'0'..=b'9' => u32::from(check - b'0'),
        _ => return false,
    };
    (1..=2).contains(&letters) && (space + sum + check).is_multiple_of(11)
}

/// Codice fiscale: six letters, year, month, day, place, check letter.
fn is_italian(word: &[u8]) -> bool {
    let digits = [6, 7, 9, 10, 12, 13, 14];
    let digits = digits.iter().all(|at| word[*at].is_ascii_digit());
    let month = b"ABCDEHLMPRST".contains(&word[8].to_ascii_uppercase());
    let letters = word[11].is_ascii_alphabetic() && word[15].is_ascii_alphabetic();
    digits && month && letters && checks::it(word)
}

/// CURP: four letters, a date, sex, state, three consonants, two letters.
fn is_mexican(word: &[u8]) -> bool {
    let date = word[4..10].iter().all(u8::is_ascii_digit);
    let sex = matches!(word[10].to_ascii_uppercase(), b'H' | b'M' | b'X');
    let letters = word[11..16].iter().all(u8::is_ascii_alphabetic);
    date && sex && letters && word[17].is_ascii_digit() && checks::mx(word)
}
