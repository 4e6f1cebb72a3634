//! Check digits, each as its issuer says. Digits are given as letters, `b'0'` to `b'9'`, and are as many as the number has.

/// The value of a digit.
pub(super) fn value(digit: u8) -> u32 {
    u32::from(digit.wrapping_sub(b'0'))
}

/// The digits as one number; no more than 18 of them.
pub(super) fn number(digits: &[u8]) -> u64 {
    let add = |sum: u64, d: &u8| sum * 10 + u64::from(d.wrapping_sub(b'0'));
    digits.iter().fold(0, add)
}

/// The sum of digits, each times its weight.
fn weighed(digits: &[u8], weights: &[u32]) -> u32 {
    let pairs = digits.iter().zip(weights);
    pairs.map(|(d, w)| value(*d) * w).sum()
}

/// A day and a month there may be.
fn is_day(day: u64, month: u64) -> bool {
    (1..=31).contains(&day) && (1..=12).contains(&month)
}

/// Every digit is the same.
pub(super) fn is_uniform(digits: &[u8]) -> bool {
    digits.iter().all(|d| *d == digits[0])
}

/// ISO/IEC 7812-1, annex B.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let doubled = |(at, d): (usize, &u8)| match at % 2 {
        0 => value(*d),
        _ => value(*d) * 2 % 10 + value(*d) * 2 / 10,
    };
    let sum: u32 = digits.iter().rev().enumerate().map(doubled).sum();
    sum.is_multiple_of(10) && !is_uniform(digits)
}

/// ISO 7064, mod 11,10.
fn mod_11_10(digits: &[u8]) -> bool {
    let Some((check, digits)) = digits.split_last() else {
        return false;
    };
    let product = digits.iter().fold(10, |product, d| {
        let sum = (value(*d) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == value(*check)
}

/// United States: Social Security number; it has no check digit.
pub(super) fn us(d: &[u8]) -> bool {
    let (area, group, serial) = (number(&d[..3]), number(&d[3..5]), number(&d[5..]));
    let example = d == b"000000000";
    example || (area != 0 && area != 666 && area < 900 && group != 0 && serial != 0)
}

/// Netherlands: burgerservicenummer.
pub(super) fn nl(d: &[u8]) -> bool {
    let sum = weighed(d, &[9, 8, 7, 6, 5, 4, 3, 2]);
    sum % 11 == value(d[8]) && !is_uniform(d)
}

/// Canada: social insurance number.
pub(super) fn ca(d: &[u8]) -> bool {
    !matches!(d[0], b'0' | b'8') && luhn(d)
}

/// Australia: tax file number.
pub(super) fn au(d: &[u8]) -> bool {
    weighed(d, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11) && !is_uniform(d)
}

/// Portugal: número de identificação fiscal.
pub(super) fn pt(d: &[u8]) -> bool {
    let rest = weighed(d, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    let check = if rest < 2 { 0 } else { 11 - rest };
    check == value(d[8]) && matches!(d[0], b'1'..=b'3')
}

/// United Kingdom: NHS number.
pub(super) fn nhs(d: &[u8]) -> bool {
    let rest = 11 - weighed(d, &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    rest % 11 == value(d[9]) && rest != 10 && !is_uniform(d)
}

/// Austria: Versicherungsnummer.
pub(super) fn at(d: &[u8]) -> bool {
    let sum = weighed(d, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]) % 11;
    let (day, month) = (number(&d[4..6]), number(&d[6..8]));
    sum == value(d[3]) && d[0] != b'0' && (1..=31).contains(&day) && (1..=15).contains(&month)
}

/// Denmark: CPR number; since 2007 its check digit no longer holds.
pub(super) fn dk(d: &[u8]) -> bool {
    is_day(number(&d[..2]), number(&d[2..4]))
}

/// Sweden: personnummer, and samordningsnummer with 60 added to the day.
pub(super) fn se(d: &[u8]) -> bool {
    let day = number(&d[4..6]);
    let day = if day > 60 { day - 60 } else { day };
    is_day(day, number(&d[2..4])) && luhn(d)
}

/// The same with its century.
pub(super) fn se_long(d: &[u8]) -> bool {
    matches!(&d[..2], b"18" | b"19" | b"20") && se(&d[2..])
}

/// Czechia and Slovakia: rodné číslo.
pub(super) fn cz(d: &[u8]) -> bool {
    let month = match number(&d[2..4]) {
        m @ 71.. => m - 70,
        m @ 51..=70 => m - 50,
        m @ 21..=50 => m - 20,
        m => m,
    };
    let all = number(d);
    let old = number(&d[..9]) % 11 == 10 && d[9] == b'0';
    is_day(number(&d[4..6]), month) && (all.is_multiple_of(11) || old)
}

/// Germany: steuerliche Identifikationsnummer. One digit stands twice or thrice in it, and no other more than once.
pub(super) fn de(d: &[u8]) -> bool {
    let mut times = [0_u8; 10];
    for digit in &d[..10] {
        times[usize::from(digit - b'0')] += 1;
    }
    let twice = times.iter().filter(|n| matches!(n, 2 | 3)).count();
    let often = times.iter().any(|n| *n > 3);
    d[0] != b'0' && twice == 1 && !often && mod_11_10(d)
}

/// Poland: PESEL.
pub(super) fn pl(d: &[u8]) -> bool {
    let sum = weighed(d, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]);
    is_day(number(&d[4..6]), number(&d[2..4]) % 20) && sum.is_multiple_of(10)
}

/// Belgium: rijksregisternummer.
pub(super) fn be(d: &[u8]) -> bool {
    let (birth, check) = (number(&d[..9]), number(&d[9..]));
    let month = number(&d[2..4]) % 20;
    let proof = |n: u64| 97 - n % 97 == check;
    month <= 12
        && number(&d[4..6]) <= 31
        && birth > 0
        && (proof(birth) || proof(birth + 2_000_000_000))
}

/// Norway: fødselsnummer, and D-nummer with 40 added to the day.
pub(super) fn no(d: &[u8]) -> bool {
    let day = number(&d[..2]) % 40;
    let month = number(&d[2..4]) % 40;
    let first = weighed(d, &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]);
    let second = weighed(d, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]);
    is_day(day, month) && first.is_multiple_of(11) && second.is_multiple_of(11)
}

/// A check digit by weights, mod 11, where 10 and 11 stand for 0.
fn by_11(d: &[u8], weights: &[u32]) -> bool {
    let rest = weighed(d, weights) % 11;
    let check = if rest < 2 { 0 } else { 11 - rest };
    d.get(weights.len()).is_some_and(|d| value(*d) == check)
}

/// Brazil: CPF.
pub(super) fn cpf(d: &[u8]) -> bool {
    let first = by_11(d, &[10, 9, 8, 7, 6, 5, 4, 3, 2]);
    first && by_11(d, &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) && !is_uniform(d)
}

/// Brazil: CNPJ.
pub(super) fn cnpj(d: &[u8]) -> bool {
    let first = by_11(d, &[5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]);
    first && by_11(d, &[6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2]) && !is_uniform(d)
}

/// Turkey: T.C. kimlik numarası.
pub(super) fn tr(d: &[u8]) -> bool {
    let odd: u32 = d[..9].iter().step_by(2).map(|d| value(*d)).sum();
    let even: u32 = d[1..8].iter().step_by(2).map(|d| value(*d)).sum();
    let tenth = (odd * 7 + 100 - even) % 10;
    let all: u32 = d[..10].iter().map(|d| value(*d)).sum();
    d[0] != b'0' && tenth == value(d[9]) && all % 10 == value(d[10])
}

/// Croatia: OIB.
pub(super) fn hr(d: &[u8]) -> bool {
    mod_11_10(d) && !is_uniform(d)
}

/// Argentina: CUIL of a person.
pub(super) fn ar(d: &[u8]) -> bool {
    let check = match 11 - weighed(d, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11 {
        11 => 0,
        10 => 9,
        check => check,
    };
    matches!(number(&d[..2]), 20 | 23 | 24 | 27) && check == value(d[10])
}

/// Russia: SNILS.
pub(super) fn snils(d: &[u8]) -> bool {
    let sum = weighed(d, &[9, 8, 7, 6, 5, 4, 3, 2, 1]) % 101 % 100;
    u64::from(sum) == number(&d[9..]) && number(&d[..9]) > 1_001_998
}

/// Russia: INN of a person.
pub(super) fn inn(d: &[u8]) -> bool {
    let first = weighed(d, &[7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10;
    let second = weighed(d, &[3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10;
    first == value(d[10]) && second == value(d[11]) && !is_uniform(d)
}

/// India: Aadhaar, by Verhoeff's check.
pub(super) fn aadhaar(d: &[u8]) -> bool {
    const TIMES: [[usize; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const TURNED: [[usize; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let step =
        |check: usize, (at, d): (usize, &u8)| TIMES[check][TURNED[at % 8][usize::from(d - b'0')]];
    let check = d.iter().rev().enumerate().fold(0, step);
    check == 0 && d[0] >= b'2' && !is_uniform(d)
}

/// Japan: individual number.
pub(super) fn jp(d: &[u8]) -> bool {
    let rest = weighed(d, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    let check = if rest < 2 { 0 } else { 11 - rest };
    check == value(d[11]) && !is_uniform(d)
}

/// Romania: cod numeric personal.
pub(super) fn ro(d: &[u8]) -> bool {
    let rest = weighed(d, &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
    let check = if rest == 10 { 1 } else { rest };
    matches!(d[0], b'1'..=b'8')
        && is_day(number(&d[5..7]), number(&d[3..5]))
        && check == value(d[12])
}

/// Korea: resident registration number, as it was given until 2020.
pub(super) fn kr(d: &[u8]) -> bool {
    let rest = weighed(d, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]) % 11;
    let day = is_day(number(&d[4..6]), number(&d[2..4]));
    day && (11 - rest) % 10 == value(d[12]) && matches!(d[6], b'1'..=b'8')
}

/// South Africa: identity number.
pub(super) fn za(d: &[u8]) -> bool {
    is_day(number(&d[4..6]), number(&d[2..4])) && matches!(d[10], b'0' | b'1') && luhn(d)
}

/// Switzerland: AHV number.
pub(super) fn ch(d: &[u8]) -> bool {
    let sum = weighed(d, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]);
    d.starts_with(b"756") && sum.is_multiple_of(10)
}

/// France: numéro d'inscription au répertoire, with its key.
pub(super) fn fr(d: &[u8]) -> bool {
    let month = number(&d[3..5]);
    let month = matches!(month, 1..=12 | 20..=42 | 50..=99);
    matches!(d[0], b'1' | b'2') && month && 97 - number(&d[..13]) % 97 == number(&d[13..])
}

/// China: resident identity number; the last letter may be an X.
pub(super) fn cn(d: &[u8]) -> bool {
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let rest = weighed(&d[..17], &weights) % 11;
    let check = usize::try_from(rest).map_or(b' ', |rest| b"10X98765432"[rest]);
    let year = number(&d[6..10]);
    let province = number(&d[..2]);
    (11..=82).contains(&province)
        && (1900..=2099).contains(&year)
        && is_day(number(&d[12..14]), number(&d[10..12]))
        && check == d[17].to_ascii_uppercase()
}

/// Spain: the letter of a DNI or NIE whose first letter is a digit here.
pub(super) fn es(number_of_eight: u64, letter: u8) -> bool {
    let at = usize::try_from(number_of_eight % 23).unwrap_or(0);
    b"TRWAGMYFPDXBNJZSQVHLCKE"[at] == letter.to_ascii_uppercase()
}

/// Finland: the last letter of a henkilötunnus.
pub(super) fn fi(date_and_number: &[u8], letter: u8) -> bool {
    let at = usize::try_from(number(date_and_number) % 31).unwrap_or(0);
    is_day(
        number(&date_and_number[..2]),
        number(&date_and_number[2..4]),
    ) && b"0123456789ABCDEFHJKLMNPRSTUVWXY"[at] == letter.to_ascii_uppercase()
}

/// Chile: the last letter of a RUT.
pub(super) fn cl(digits: &[u8], letter: u8) -> bool {
    let weights = [2, 3, 4, 5, 6, 7, 2, 3, 4];
    let pairs = digits.iter().rev().zip(weights);
    let sum: u32 = pairs.map(|(d, w)| value(*d) * w).sum();
    let check = match 11 - sum % 11 {
        11 => b'0',
        10 => b'K',
        check => u8::try_from(check).map_or(b' ', |check| b'0' + check),
    };
    check == letter.to_ascii_uppercase()
}

/// Italy: the last letter of a codice fiscale, of which 15 letters come before.
pub(super) fn it(letters: &[u8]) -> bool {
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let rank = |b: u8| match b {
        b'0'..=b'9' => usize::from(b - b'0'),
        b => usize::from(b.to_ascii_uppercase() - b'A'),
    };
    let worth = |(at, b): (usize, &u8)| match at % 2 {
        0 => ODD[rank(*b)],
        _ => u32::try_from(rank(*b)).unwrap_or(0),
    };
    let sum: u32 = letters[..15].iter().enumerate().map(worth).sum();
    usize::try_from(sum % 26).is_ok_and(|sum| sum == rank(letters[15]))
}

/// Mexico: the last digit of a CURP.
pub(super) fn mx(letters: &[u8]) -> bool {
    let rank = |b: u8| match b.to_ascii_uppercase() {
        b @ b'0'..=b'9' => u32::from(b - b'0'),
        b @ b'A'..=b'N' => u32::from(b - b'A') + 10,
        b => u32::from(b) - u32::from(b'O') + 25,
    };
    let weights = (2..=18).rev();
    let sum: u32 = letters[..17]
        .iter()
        .zip(weights)
        .map(|(b, w)| rank(*b) * w)
        .sum();
    (10 - sum % 10) % 10 == value(letters[17])
}

/// Singapore: the last letter of an NRIC or FIN.
pub(super) fn sg(letters: &[u8]) -> bool {
    let sum = weighed(&letters[1..8], &[2, 7, 6, 5, 4, 3, 2]);
    let (more, table): (u32, &[u8]) = match letters[0] {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        _ => return false,
    };
    usize::try_from((sum + more) % 11).is_ok_and(|at| table[at] == letters[8])
}

/// Taiwan: national identification number.
pub(super) fn tw(letters: &[u8]) -> bool {
    const PLACES: &[u8] = b"ABCDEFGHJKLMNPQRSTUVXYWZIO";
    let Some(place) = PLACES.iter().position(|b| *b == letters[0]) else {
        return false;
    };
    let place = u32::try_from(place + 10).unwrap_or(0);
    let sum = weighed(&letters[1..], &[8, 7, 6, 5, 4, 3, 2, 1, 1]);
    matches!(letters[1], b'1' | b'2' | b'8' | b'9')
        && (place / 10 + place % 10 * 9 + sum).is_multiple_of(10)
}

/// Ireland: personal public service number, with one or two letters at its end.
pub(super) fn ie(letters: &[u8]) -> bool {
    let rank = |b: u8| match b.to_ascii_uppercase() {
        b'W' => 0,
        b => u32::from(b - b'A') + 1,
    };
    let more = letters.get(8).map_or(0, |b| rank(*b) * 9);
    let sum = weighed(&letters[..7], &[8, 7, 6, 5, 4, 3, 2]) + more;
    let letter = letters[7].to_ascii_uppercase();
    let check = if letter == b'W' {
        0
    } else {
        u32::from(letter - b'A') + 1
    };
    sum % 23 == check
}

/// ISO 13616: an account number as it stands, by mod 97.
pub(super) fn iban(letters: &[u8]) -> bool {
    let turned = letters[4..].iter().chain(&letters[..4]);
    let rest = turned.fold(0_u32, |rest, b| match b.to_ascii_uppercase() {
        b @ b'0'..=b'9' => (rest * 10 + u32::from(b - b'0')) % 97,
        b => (rest * 100 + u32::from(b - b'A') + 10) % 97,
    });
    rest == 1
}
