//! The windows of caps, in UTC.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Over which time a cap counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Window {
    /// A UTC day.
    Day,
    /// A UTC calendar month.
    Month,
    /// For ever.
    Total,
}

impl Window {
    /// Every window.
    pub const ALL: [Window; 3] = [Window::Day, Window::Month, Window::Total];

    /// The name used in configuration, errors and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Window::Day => "day",
            Window::Month => "month",
            Window::Total => "total",
        }
    }

    /// The window of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Window> {
        Window::ALL.into_iter().find(|w| w.name() == name)
    }

    /// Which window an instant (seconds since 1970, UTC) falls into: days since 1970, months since year 0, or 0.
    #[must_use]
    pub fn id(self, unix_seconds: i64) -> i64 {
        match self {
            Window::Day => unix_seconds.div_euclid(86_400),
            Window::Month => {
                let date = TimeZone::UTC
                    .to_datetime(Timestamp::from_second(unix_seconds).unwrap_or_default())
                    .date();
                i64::from(date.year()) * 12 + i64::from(date.month()) - 1
            }
            Window::Total => 0,
        }
    }

    /// When the window ends (seconds since 1970, UTC); never for `Total`.
    #[must_use]
    pub fn resets_at(self, id: i64) -> Option<i64> {
        match self {
            Window::Day => Some((id + 1) * 86_400),
            Window::Month => {
                let (year, month) = ((id + 1).div_euclid(12), (id + 1).rem_euclid(12) + 1);
                let first =
                    jiff::civil::Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, 1)
                        .ok()?;
                Some(
                    TimeZone::UTC
                        .to_timestamp(first.at(0, 0, 0, 0))
                        .ok()?
                        .as_second(),
                )
            }
            Window::Total => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_and_end_at_utc_midnight() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time").as_second();
        for (window, inside, end) in [
            (
                Window::Day,
                "2026-02-28T23:59:59Z",
                Some("2026-03-01T00:00:00Z"),
            ),
            (
                Window::Month,
                "2026-12-31T23:59:59Z",
                Some("2027-01-01T00:00:00Z"),
            ),
            (
                Window::Month,
                "2028-02-29T12:00:00Z",
                Some("2028-03-01T00:00:00Z"),
            ),
            (Window::Total, "2026-12-31T23:59:59Z", None),
        ] {
            let id = window.id(at(inside));
            assert_eq!(window.resets_at(id), end.map(at), "{inside}");
            if let Some(end) = end {
                assert_eq!(window.id(at(end)), id + 1);
            }
        }
    }
}
