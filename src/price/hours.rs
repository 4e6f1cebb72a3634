//! Hours of the week in which a model costs less.

use super::Rates;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::Write as _;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// Cheaper rates and when they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffPeak {
    /// The rates then.
    pub rates: Rates,
    /// When.
    pub hours: Hours,
}

/// Whole hours of a week in UTC: for each day from Monday on, one bit an hour. In a file seven texts such as `0-1 4-6 10-24`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hours([u32; 7]);

impl Hours {
    /// Whether this second since 1970 is in one of them.
    #[must_use]
    pub fn cover(&self, at: i64) -> bool {
        // 1970 began on a Thursday.
        let day = (at.div_euclid(DAY) + 3).rem_euclid(7);
        let hour = at.rem_euclid(DAY) / HOUR;
        let bits = usize::try_from(day).ok().and_then(|d| self.0.get(d));
        bits.is_some_and(|bits| bits >> hour & 1 == 1)
    }

    /// Adds the hours from `from` up to `to` (24: midnight) of a day (0: Monday). False where there are no such hours.
    pub(super) fn add(&mut self, day: usize, from: u32, to: u32) -> bool {
        let Some(bits) = self.0.get_mut(day).filter(|_| from < to && to <= 24) else {
            return false;
        };
        *bits |= ((1 << to) - 1) & !((1 << from) - 1);
        true
    }

    fn day_text(bits: u32) -> String {
        let mut text = String::new();
        let mut from = 0;
        while from < 24 {
            let run = (bits >> from).trailing_ones();
            if run > 0 {
                let gap = if text.is_empty() { "" } else { " " };
                let _ = write!(text, "{gap}{from}-{}", from + run);
            }
            from += run + 1;
        }
        text
    }

    fn read(days: &[String]) -> Option<Hours> {
        let mut hours = Hours::default();
        for (day, text) in days.iter().enumerate() {
            for span in text.split_whitespace() {
                let (from, to) = span.split_once('-')?;
                hours
                    .add(day, from.parse().ok()?, to.parse().ok()?)
                    .then_some(())?;
            }
        }
        (days.len() == 7).then_some(hours)
    }
}

impl Serialize for Hours {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.map(Hours::day_text))
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Hours, D::Error> {
        let days = Vec::<String>::deserialize(from)?;
        Hours::read(&days).ok_or_else(|| {
            serde::de::Error::custom(
                "hours are seven texts such as \"0-1 4-6 10-24\", Monday first",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_belongs_to_its_day_in_utc_from_its_first_second_to_its_last() {
        let week = r#"["0-1 4-6 10-24","","","","","0-24","23-24"]"#;
        let hours: Hours = serde_json::from_str(week).expect("hours");
        assert_eq!(serde_json::to_string(&hours).expect("JSON"), week);
        // Monday, 2026-11-23, 00:00 UTC.
        let monday = 1_795_392_000;
        for (second, covered) in [
            (0, true),
            (HOUR - 1, true),
            (HOUR, false),
            (4 * HOUR, true),
            (6 * HOUR - 1, true),
            (6 * HOUR, false),
            (10 * HOUR - 1, false),
            (10 * HOUR, true),
            (DAY - 1, true),
            (DAY, false),
            (5 * DAY - 1, false),
            (5 * DAY, true),
            (6 * DAY - 1, true),
            (6 * DAY, false),
            (7 * DAY - 1, true),
            (7 * DAY, true),
        ] {
            assert_eq!(hours.cover(monday + second), covered, "{second}");
        }
        for wrong in [
            "[]",
            r#"["0-25","","","","","",""]"#,
            r#"["4-4","","","","","",""]"#,
        ] {
            assert!(serde_json::from_str::<Hours>(wrong).is_err(), "{wrong}");
        }
    }
}
