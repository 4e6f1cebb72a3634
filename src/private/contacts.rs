//! E-mail addresses and telephone numbers. One is ordinary; a list of them is a list of people.

use crate::private::Class;
use crate::private::near;
use crate::private::search::Search;

/// RFC 5321, 4.5.3.1.1.
const LOCAL_MAX: usize = 64;
/// Its 4.5.3.1.2.
const DOMAIN_MAX: usize = 255;
/// E.164.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 8..=15;

/// Notes every address and number.
pub(super) fn search(search: &mut Search<'_>) {
    emails(search);
    phones(search);
}

fn emails(search: &mut Search<'_>) {
    if !search.wants(Class::Emails) {
        return;
    }
    let text = search.text;
    search.worked(text.len());
    let mut searched = 0;
    for at in memchr::memchr_iter(b'@', text) {
        let local = |b: &&u8| b.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(b);
        let before = &text[searched..at];
        let size = before
            .iter()
            .rev()
            .take(LOCAL_MAX + 1)
            .take_while(local)
            .count();
        let domain = |b: &&u8| b.is_ascii_alphanumeric() || matches!(**b, b'.' | b'-');
        let after = text[at + 1..].iter().take(DOMAIN_MAX + 1);
        let length = after.take_while(domain).count();
        search.worked(size + length);
        searched = at + 1;
        let host = &text[at + 1..at + 1 + length];
        let host = host.strip_suffix(b".").unwrap_or(host);
        if !(1..=LOCAL_MAX).contains(&size) || !is_host(host) {
            continue;
        }
        let address = text[at - size..at + 1 + host.len()].to_ascii_lowercase();
        search.note(Class::Emails, address, is_example(host));
    }
}

/// It has a domain of letters at its end.
fn is_host(host: &[u8]) -> bool {
    let Some(dot) = host.iter().rposition(|b| *b == b'.') else {
        return false;
    };
    let top = &host[dot + 1..];
    dot > 0 && top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic)
}

/// RFC 2606.
fn is_example(host: &[u8]) -> bool {
    let host = host.to_ascii_lowercase();
    let ends = |end: &[u8]| host.ends_with(end);
    ends(b"example.com")
        || ends(b"example.org")
        || ends(b"example.net")
        || ends(b".example")
        || ends(b".test")
}

fn phones(search: &mut Search<'_>) {
    if !search.wants(Class::Phones) {
        return;
    }
    let text = search.text;
    search.worked(text.len());
    let mut at = 0;
    while let Some(found) = text[at..].iter().position(u8::is_ascii_digit) {
        let from = at + found;
        let (end, kept, count) = dialled(text, from);
        let digits = &kept[..count];
        search.worked(end - from);
        at = end.max(from + 1);
        let before = search.before(from);
        let alone = !before.is_ascii_alphanumeric() && !matches!(before, b'.' | b'-' | b'/' | b'_');
        let fits = PHONE_DIGITS.contains(&digits.len()) && !search.at(end).is_ascii_alphanumeric();
        if !alone || !fits {
            continue;
        }
        let sure = before == b'+' || is_american(&text[from..end]);
        if sure || search.is_near(near::PHONE, from, end) {
            let example = digits.windows(5).any(|part| part == b"55501");
            search.note(Class::Phones, digits, example);
        }
    }
}

/// Digits with what people put between them, up to where something else begins.
fn dialled(text: &[u8], from: usize) -> (usize, [u8; 32], usize) {
    let (mut digits, mut count, mut end) = ([0; 32], 0, from);
    for (place, b) in text.iter().enumerate().skip(from).take(32) {
        match b {
            b'0'..=b'9' => {
                digits[count] = *b;
                count += 1;
                end = place + 1;
            }
            b' ' | b'-' | b'.' | b'(' | b')' | b'/' if place < end + 2 => {}
            _ => break,
        }
    }
    // What goes on beyond is no number that can be dialled, and is passed over whole.
    let more = text[end..]
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .count();
    // So many digits that they are none.
    let count = if more > 0 { 0 } else { count };
    (end + more, digits, count)
}

/// `212-555-0143`, `(212) 555-0143`, where the bracket before it is not a part of it.
fn is_american(written: &[u8]) -> bool {
    let form: Vec<u8> = written
        .iter()
        .map(|b| if b.is_ascii_digit() { b'9' } else { *b })
        .collect();
    let code = written.first().is_some_and(|b| *b >= b'2');
    code && matches!(
        &form[..],
        b"999-999-9999" | b"999) 999-9999" | b"999.999.9999"
    )
}
