//! Figures and names in the words of a terminal: short, of one form, and never a byte that a terminal would obey.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, ZonedDateTime};

/// Letters of a name that are shown.
const NAME_MAX: usize = 120;

/// A name as it may be shown: what moves a cursor or turns the direction of writing shows itself, and nothing is endless.
pub(super) fn plain(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let mut shown = String::new();
    for (n, c) in text.chars().enumerate() {
        match c {
            _ if n == NAME_MAX => {
                shown.push('…');
                break;
            }
            '\n' => shown.push('⏎'),
            c if obeyed(c) => shown.push('·'),
            c => shown.push(c),
        }
    }
    shown
}

/// The same, and a dash for nothing.
pub(super) fn named(text: &str) -> String {
    if text.is_empty() || text == "-" {
        return "–".to_owned();
    }
    plain(text)
}

/// Dollars for people: `$12.40`, `$0.0034`, `$1.20 M`.
pub(super) fn usd(amount: f64) -> String {
    let (sign, size) = (if amount < 0.0 { "-" } else { "" }, amount.abs());
    match size {
        0.0 => "$0".to_owned(),
        s if s >= 999_500.0 => format!("{sign}${:.2} M", s / 1e6),
        s if s >= 9_999.5 => format!("{sign}${}", grouped(&format!("{s:.0}"))),
        s if s >= 0.995 => format!("{sign}${}", grouped(&format!("{s:.2}"))),
        s if s >= 0.099_5 => format!("{sign}${s:.3}"),
        s if s >= 0.009_95 => format!("{sign}${s:.4}"),
        s if s >= 0.000_005 => format!("{sign}${s:.5}"),
        _ => format!("{sign}<$0.00001"),
    }
}

/// `1234567.89` as `1,234,567.89`.
fn grouped(digits: &str) -> String {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let mut text = String::new();
    for (n, c) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    if !part.is_empty() {
        text.push('.');
        text.push_str(part);
    }
    text
}

/// How many, with the thousands apart.
pub(super) fn count(n: u64) -> String {
    grouped(&n.to_string())
}

/// A share of one.
pub(super) fn percent(share: f64) -> String {
    match share {
        s if !s.is_finite() => "–".to_owned(),
        s if s > 0.0 && s < 0.099_5 => format!("{:.1} %", s * 100.0),
        s if (0.995..1.0).contains(&s) => "99 %".to_owned(),
        s => format!("{:.0} %", s * 100.0),
    }
}

/// A bar of so many cells, of which a share is full; in eighths of a cell.
pub(super) fn bar(share: f64, cells: u16) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let wanted = (share * f64::from(cells) * 8.0).round();
    let (mut text, mut at) = (String::new(), 8.0);
    while at <= wanted {
        text.push('█');
        at += 8.0;
    }
    let rest = wanted - (at - 8.0);
    let part = PARTS
        .iter()
        .zip(0_u8..)
        .find(|(_, n)| f64::from(*n) == rest);
    text.push_str(part.map_or("", |(part, _)| *part));
    text
}

/// The zone of this name, else UTC.
pub(super) fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

/// An instant as somebody says it now: `today 16:40`, `Tue 8 Dec 04:00`.
pub(super) fn moment(seconds: i64, now: &ZonedDateTime) -> String {
    let Ok(at) = Timestamp::from_second(seconds) else {
        return "never".to_owned();
    };
    let at = at.to_zoned_datetime(now.time_zone().clone());
    let day = at.date();
    let near = |days: i64| now.date().checked_add(days.days()).is_ok_and(|d| d == day);
    let hour = at.strftime("%H:%M");
    match day {
        _ if near(0) => format!("today {hour}"),
        _ if near(1) => format!("tomorrow {hour}"),
        _ if near(-1) => format!("yesterday {hour}"),
        _ if at.year() == now.year() => format!("{} {hour}", at.strftime("%a %-d %b")),
        _ => day.to_string(),
    }
}

/// The time of day of an instant in milliseconds.
pub(super) fn clock(ms: i64, now: &ZonedDateTime) -> String {
    Timestamp::from_millisecond(ms).map_or_else(
        |_| "–".to_owned(),
        |at| {
            at.to_zoned_datetime(now.time_zone().clone())
                .strftime("%H:%M:%S")
                .to_string()
        },
    )
}

/// So many seconds: `40 s`, `12 min`, `3 h`, `5 days`.
pub(super) fn span(seconds: i64) -> String {
    match seconds.max(0) {
        s if s < 90 => format!("{s} s"),
        s if s < 5_400 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_short_and_never_lose_their_size() {
        for (amount, shown) in [
            (0.0, "$0"),
            (0.000_001, "<$0.00001"),
            (0.000_12, "$0.00012"),
            (0.034_567, "$0.0346"),
            (0.5, "$0.500"),
            (12.4, "$12.40"),
            (-12.4, "-$12.40"),
            (1_234.5, "$1,234.50"),
            (123_456.7, "$123,457"),
            (2_508_000.0, "$2.51 M"),
        ] {
            assert_eq!(usd(amount), shown);
        }
    }

    #[test]
    fn a_hostile_name_moves_no_cursor() {
        let name = plain("a\u{1b}[31mb\nc\u{202e}d");
        assert_eq!(name, "a·[31mb⏎c·d");
        assert_eq!(plain(&"x".repeat(10_000)).chars().count(), NAME_MAX + 1);
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(0.0, 4), "");
        assert_eq!(bar(0.5, 4), "██");
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(7.0, 4), "████");
        assert_eq!(bar(0.28, 4), "█▏");
        assert_eq!(bar(f64::NAN, 4), "");
    }
}
