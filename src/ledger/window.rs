//! The windows of caps, in a named time zone.
//!
//! A window is known by a number that never falls as time goes on, also where the local clock is set back: a day begins at
//! the first instant of its date, once. Weeks begin on Monday.

use jiff::civil::{Date, date};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use std::fmt;
use std::sync::Arc;

/// A time zone by its name in the time-zone database.
#[derive(Clone, Debug)]
pub struct Zone {
    name: Arc<str>,
    zone: TimeZone,
}

impl Zone {
    /// UTC.
    #[must_use]
    pub fn utc() -> Zone {
        Zone {
            name: "UTC".into(),
            zone: TimeZone::UTC,
        }
    }

    /// The zone of this name, e.g. `Europe/Berlin`.
    ///
    /// # Errors
    /// The time-zone database has none of this name.
    pub fn named(name: &str) -> Result<Zone, String> {
        if name == "UTC" {
            return Ok(Zone::utc());
        }
        let zone = TimeZone::get(name).map_err(|_| {
            format!(
                "unknown time zone \"{name}\"; use a name like Europe/Berlin, America/New_York or UTC"
            )
        })?;
        // The database knows names in any case; one zone must not have two counters.
        let name = zone.iana_name().unwrap_or(name).into();
        Ok(Zone { name, zone })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How a window that begins at this instant (seconds since 1970) is called: `2026-11`, `2026-11-30`, `2026-11-30T14:00+01:00`. An
    /// hour tells its offset from UTC, since one that the clocks go through twice is two.
    #[must_use]
    pub fn name_of(&self, window: Window, begins: i64) -> String {
        let local = timestamp(begins).to_zoned_datetime(self.zone.clone());
        let form = match window {
            Window::Month => "%Y-%m",
            Window::Minute | Window::Hour => "%Y-%m-%dT%H:%M%:z",
            Window::Day | Window::Week | Window::Total => "%Y-%m-%d",
        };
        local.strftime(form).to_string()
    }

    /// The first instant (milliseconds since 1970) of a local date (`2026-11-01`), or an instant as it is written
    /// (`2026-11-01T12:00:00Z`; without an offset it is a local time).
    ///
    /// # Errors
    /// It is neither.
    pub fn instant(&self, text: &str) -> Result<i64, String> {
        if let Ok(instant) = text.parse::<Timestamp>() {
            return Ok(instant.as_millisecond());
        }
        let unreadable = || {
            format!(
                "\"{text}\" is no time; write a date like 2026-11-01 or a time like 2026-11-01T12:00:00Z"
            )
        };
        if text.contains(['T', 't', ' ']) {
            let local: jiff::civil::DateTime = text.parse().map_err(|_| unreadable())?;
            let zoned = self.zone.to_ambiguous_timestamp(local).compatible();
            return zoned
                .map(Timestamp::as_millisecond)
                .map_err(|_| unreadable());
        }
        let date: Date = text.parse().map_err(|_| unreadable())?;
        Ok(self.begins(date).saturating_mul(1_000))
    }

    /// The hour of the day, 0 to 23, at this instant (seconds since 1970).
    #[must_use]
    pub fn hour(&self, at: i64) -> u8 {
        let hour = self.zone.to_datetime(timestamp(at)).hour();
        u8::try_from(hour).unwrap_or(0)
    }

    fn local_date(&self, at: i64) -> Date {
        self.zone.to_datetime(timestamp(at)).date()
    }

    /// The first instant of a date, in seconds since 1970: the first of two midnights; where midnight does not exist, the
    /// instant at which the clocks were put forward over it.
    fn begins(&self, day: Date) -> i64 {
        let midnight = self.zone.to_ambiguous_timestamp(day.at(0, 0, 0, 0));
        let skipped = matches!(midnight.offset(), AmbiguousOffset::Gap { .. });
        let Ok(midnight) = midnight.compatible() else {
            return i64::MAX;
        };
        // The search is for changes before an instant, and this one may be the change itself.
        let after = timestamp(midnight.as_second() + 1);
        let moved = self.zone.preceding(after).next().filter(|_| skipped);
        moved.map_or(midnight, |m| m.timestamp()).as_second()
    }
}

impl Default for Zone {
    fn default() -> Zone {
        Zone::utc()
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Zone) -> bool {
        self.name == other.name
    }
}
impl Eq for Zone {}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Over which time a cap counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Window {
    /// A minute of the clock.
    Minute,
    /// An hour of the local clock.
    Hour,
    /// A local day.
    Day,
    /// A local week, from Monday.
    Week,
    /// A local calendar month.
    Month,
    /// For ever.
    Total,
}

/// The day from which days are counted.
const EPOCH: Date = date(1970, 1, 1);

impl Window {
    /// Every window, the shortest first.
    pub const ALL: [Window; 6] = [
        Window::Minute,
        Window::Hour,
        Window::Day,
        Window::Week,
        Window::Month,
        Window::Total,
    ];

    /// The name used in configuration, errors and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Window::Minute => "minute",
            Window::Hour => "hour",
            Window::Day => "day",
            Window::Week => "week",
            Window::Month => "month",
            Window::Total => "total",
        }
    }

    /// The window of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Window> {
        Window::ALL.into_iter().find(|w| w.name() == name)
    }

    /// Which window an instant (seconds since 1970) falls into. Minutes are counted since 1970; an hour is named by the second
    /// in which it begins; days are counted since 1970, weeks since that of 1970-01-01, months since year 0; `Total` is 0.
    #[must_use]
    pub fn id(self, zone: &Zone, at: i64) -> i64 {
        match self {
            Window::Minute => at.div_euclid(60),
            Window::Hour => {
                let offset = i64::from(zone.zone.to_offset(timestamp(at)).seconds());
                at - (at + offset).rem_euclid(3_600)
            }
            Window::Day => day_number(zone, at),
            Window::Week => (day_number(zone, at) + 3).div_euclid(7),
            Window::Month => {
                let day = day_of(day_number(zone, at));
                i64::from(day.year()) * 12 + i64::from(day.month()) - 1
            }
            Window::Total => 0,
        }
    }

    /// The first instant of the window (seconds since 1970); none for `Total`.
    #[must_use]
    pub fn begins_at(self, zone: &Zone, id: i64) -> Option<i64> {
        match self {
            Window::Hour => Some(id),
            _ => self.ends_at(zone, id - 1),
        }
    }

    /// The first instant after the window (seconds since 1970); never for `Total`.
    #[must_use]
    pub fn ends_at(self, zone: &Zone, id: i64) -> Option<i64> {
        match self {
            Window::Minute => Some((id + 1) * 60),
            Window::Hour => Some(hour_ends(zone, id)),
            Window::Day => Some(zone.begins(day_of(id + 1))),
            Window::Week => Some(zone.begins(day_of((id + 1) * 7 - 3))),
            Window::Month => Some(zone.begins(first_of_month(id + 1)?)),
            Window::Total => None,
        }
    }
}

/// An hour ends with the local hour, or when the clocks are moved by a part of an hour.
fn hour_ends(zone: &Zone, begins: i64) -> i64 {
    let moved = zone.zone.following(timestamp(begins)).next();
    let end = begins + 3_600;
    moved
        .map(|m| m.timestamp().as_second())
        .filter(|m| *m < end && Window::Hour.id(zone, *m) > begins)
        .unwrap_or(end)
}

fn timestamp(at: i64) -> Timestamp {
    let (least, most) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(at.clamp(least, most)).unwrap_or_default()
}

/// Days from 1970-01-01 to the local date. Where a clock is set back over midnight the new day has begun and stays.
fn day_number(zone: &Zone, at: i64) -> i64 {
    let local = number_of(zone.local_date(at));
    let next = day_of(local + 1);
    if zone.begins(next) <= at {
        local + 1
    } else {
        local
    }
}

fn number_of(day: Date) -> i64 {
    i64::from(day.since(EPOCH).map_or(0, |span| span.get_days()))
}

/// The date so many days after 1970-01-01, within what the calendar holds.
fn day_of(number: i64) -> Date {
    let span = number.clamp(-719_528, 2_932_896).days();
    EPOCH.checked_add(span).unwrap_or(EPOCH)
}

fn first_of_month(id: i64) -> Option<Date> {
    let year = i16::try_from(id.div_euclid(12)).ok()?;
    let month = i8::try_from(id.rem_euclid(12) + 1).ok()?;
    Date::new(year, month, 1).ok()
}

#[cfg(test)]
mod tests;
