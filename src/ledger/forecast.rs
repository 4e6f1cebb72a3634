//! What a month will have cost at its end, and how sure that is.
//!
//! The days to come are taken to cost what such weekdays have cost in the 28 days before today, and what is left of today its part of
//! that. The interval comes from how far those days were from what would have been expected of them: it is as wide as days are
//! different. Whole numbers only, rounded towards a wider interval.

use super::report::{self, Dimension, Query};
use super::store::Store;
use super::window::{Window, Zone};
use crate::error::Error;
use crate::money::PicoUsd;
use serde_json::{Value, json};

/// So many days are looked back on.
const DAYS: i64 = 28;
/// With fewer, weekdays are not told apart.
const WEEKDAYS_FROM: usize = 14;
/// With fewer, there is no interval.
const INTERVAL_FROM: usize = 7;
/// Four of five times the month ends within the interval, if days go on as they went: 1.2816 times the standard error.
const CONFIDENCE: f64 = 0.8;
/// In ten thousandths.
const STANDARD_ERRORS: u128 = 12_816;

/// What is to be expected of a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The month, like `2026-11`.
    pub month: String,
    /// In which time zone.
    pub zone: Zone,
    /// What it has cost so far.
    pub spent: PicoUsd,
    /// What it has saved so far, net of losses.
    pub saved: PicoUsd,
    /// What it will have cost; none where no day was seen.
    pub expected: Option<PicoUsd>,
    /// Between what and what, with a confidence of 80 %; none where too few days were seen.
    pub interval: Option<(PicoUsd, PicoUsd)>,
    /// How many whole days it is worked out from.
    pub days_seen: usize,
}

impl Forecast {
    /// What should be known about it.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        match (self.expected, self.interval) {
            (None, _) => Some("No whole day was seen yet, so there is nothing to expect.".into()),
            (Some(_), None) => Some(format!(
                "Only {} whole days were seen: too few for an interval, which needs {INTERVAL_FROM}.",
                self.days_seen
            )),
            (Some(_), Some(_)) => None,
        }
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let text = |amount: PicoUsd| amount.usd_text();
        json!({
            "month": self.month, "zone": self.zone.name(), "spent_usd": text(self.spent), "expected_usd": self.expected.map(text),
            "low_usd": self.interval.map(|(low, _)| text(low)), "high_usd": self.interval.map(|(_, high)| text(high)),
            "confidence": CONFIDENCE, "days_seen": self.days_seen, "saved_usd": text(self.saved), "note": self.note(),
        })
    }
}

/// Works it out from the books, at an instant in milliseconds since 1970.
///
/// # Errors
/// The store cannot be read.
pub fn read(store: &mut dyn Store, zone: &Zone, now_ms: i64) -> Result<Forecast, Error> {
    let (month, today) = at(zone, now_ms);
    let query = |from_ms, to_ms, by| Query {
        zone: zone.clone(),
        ..Query::between(from_ms, to_ms, by)
    };
    let so_far = report::read(store, &query(month.from_ms, now_ms + 1, Vec::new()))?.total;
    let seen_from = begins(zone, today.id - DAYS).saturating_mul(1_000);
    let by_day = query(seen_from, today.from_ms, vec![Dimension::Day]);
    let costs = report::read(store, &by_day)?;
    let so_far = SoFar {
        spent: so_far.cost(),
        saved: so_far.saved(),
    };
    Ok(work_out(zone, now_ms, so_far, |day| {
        let name = zone.name_of(Window::Day, begins(zone, day));
        let row = costs.rows.iter().find(|row| row.values[0] == name);
        row.map(|row| row.figures.sums.cost)
    }))
}

/// What a month has cost so far.
#[derive(Clone, Copy, Debug)]
pub struct SoFar {
    /// What was spent.
    pub spent: PicoUsd,
    /// What was saved, net of losses.
    pub saved: PicoUsd,
}

/// Works it out from what the month has cost so far, and what each whole day before today has: `cost_of` takes a day's number since
/// 1970 in that zone, and gives nothing for one on which there was nothing.
#[must_use]
pub fn work_out(
    zone: &Zone,
    now_ms: i64,
    so_far: SoFar,
    cost_of: impl Fn(i64) -> Option<i128>,
) -> Forecast {
    let (month, this_day) = at(zone, now_ms);
    let today = this_day.id;
    // Days before the first one that cost anything are none: flyball was not there yet.
    let days: Vec<(i64, i128)> = (today - DAYS..today)
        .map(|day| (day, cost_of(day)))
        .skip_while(|(_, cost)| cost.is_none())
        .map(|(day, cost)| (day, cost.unwrap_or(0)))
        .collect();
    let last = Window::Day.id(zone, month.to_ms.div_euclid(1_000) - 1);
    let ahead = Ahead {
        today,
        left_ms: this_day.to_ms - now_ms,
        day_ms: (this_day.to_ms - this_day.from_ms).max(1),
        last,
    };
    let spent = so_far.spent;
    Forecast {
        month: zone.name_of(Window::Month, month.from_ms.div_euclid(1_000)),
        zone: zone.clone(),
        spent,
        saved: so_far.saved,
        expected: ahead.expected(&days).map(|more| spent + PicoUsd(more)),
        interval: ahead
            .interval(&days)
            .map(|(low, high)| (spent + PicoUsd(low), spent + PicoUsd(high))),
        days_seen: days.len(),
    }
}

/// A month or a day: its number, and from when to when it is, in milliseconds since 1970.
struct Span {
    id: i64,
    from_ms: i64,
    to_ms: i64,
}

/// The month and the day of an instant.
fn at(zone: &Zone, now_ms: i64) -> (Span, Span) {
    let span = |window: Window| {
        let id = window.id(zone, now_ms.div_euclid(1_000));
        let ms = |s: Option<i64>| s.unwrap_or(0).saturating_mul(1_000);
        Span {
            id,
            from_ms: ms(window.begins_at(zone, id)),
            to_ms: ms(window.ends_at(zone, id)),
        }
    };
    (span(Window::Month), span(Window::Day))
}

/// The first second of a day.
fn begins(zone: &Zone, day: i64) -> i64 {
    Window::Day.begins_at(zone, day).unwrap_or(0)
}

/// What is left of a month. Days are numbered since 1970.
struct Ahead {
    today: i64,
    /// What is left of today.
    left_ms: i64,
    /// How long today is.
    day_ms: i64,
    /// The month's last day.
    last: i64,
}

/// What such a day costs, by these days: the mean of its weekday, or of all where there are too few to tell.
fn usual(days: &[(i64, i128)], day: i64) -> i128 {
    let alike = |d: i64| days.len() < WEEKDAYS_FROM || (d - day).rem_euclid(7) == 0;
    let (mut sum, mut count) = (0, 0);
    for (_, cost) in days.iter().filter(|(d, _)| alike(*d)) {
        sum += cost;
        count += 1;
    }
    match count {
        0 => 0,
        n => sum / n,
    }
}

impl Ahead {
    fn expected(&self, days: &[(i64, i128)]) -> Option<i128> {
        if days.is_empty() {
            return None;
        }
        let today = usual(days, self.today) * i128::from(self.left_ms) / i128::from(self.day_ms);
        let rest = (self.today + 1..=self.last).map(|day| usual(days, day));
        Some(today + rest.sum::<i128>())
    }

    fn interval(&self, days: &[(i64, i128)]) -> Option<(i128, i128)> {
        let expected = self.expected(days)?;
        if days.len() < INTERVAL_FROM {
            return None;
        }
        let seen = u128::try_from(days.len()).ok()?;
        let kinds = if days.len() < WEEKDAYS_FROM { 1 } else { 7 };
        let squares = days.iter().map(|(day, cost)| {
            let off = (cost - usual(days, *day)).unsigned_abs();
            off.saturating_mul(off)
        });
        let squares = squares.fold(0, u128::saturating_add);
        let variance = squares / (seen - kinds).max(1);
        // The days to come differ among each other, and so does what is usual from what was seen of it.
        let ahead = u128::try_from(self.last - self.today + 1).ok()?;
        let of_all = variance.saturating_mul(ahead + ahead * ahead / seen);
        let error = (of_all.isqrt() + 1).saturating_mul(STANDARD_ERRORS) / 10_000;
        let error = i128::try_from(error).unwrap_or(i128::MAX / 4);
        // What is spent stays spent.
        Some(((expected - error).max(0), expected + error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOLLAR: i128 = 1_000_000_000_000;

    fn ahead(left: i64) -> Ahead {
        Ahead {
            today: 100,
            left_ms: 12,
            day_ms: 24,
            last: 100 + left,
        }
    }

    fn days(count: i64, cost: impl Fn(i64) -> i128) -> Vec<(i64, i128)> {
        (100 - count..100)
            .map(|day| (day, cost(day) * DOLLAR))
            .collect()
    }

    #[test]
    fn days_that_all_cost_the_same_leave_no_doubt() {
        let all = days(28, |_| 2);
        assert_eq!(ahead(10).expected(&all), Some(21 * DOLLAR));
        let (low, high) = ahead(10).interval(&all).expect("enough days");
        assert!(high - low <= 4, "{low} {high}");
    }

    #[test]
    fn weekends_are_weekends() {
        // Two of seven days are free.
        let cost = |day: i64| if day.rem_euclid(7) < 2 { 0 } else { 7 };
        let all = days(28, cost);
        let rest: i128 = (101..=107).map(|day| cost(day) * DOLLAR).sum();
        assert_eq!(rest, 35 * DOLLAR);
        let today = cost(100) * DOLLAR / 2;
        assert_eq!(ahead(7).expected(&all), Some(rest + today));
    }

    #[test]
    fn a_wilder_past_makes_a_wider_interval_and_too_short_a_one_none() {
        let width = |all: &[(i64, i128)]| {
            let (low, high) = ahead(10).interval(all).expect("enough days");
            let expected = ahead(10).expected(all).expect("days");
            assert!(low <= expected && expected <= high);
            high - low
        };
        let calm = days(28, |day| 10 + i128::from(day.rem_euclid(3)));
        let wild = days(28, |day| 40 * i128::from(day.rem_euclid(5)));
        assert!(width(&wild) > 4 * width(&calm));
        let few = days(6, |_| 1);
        assert_eq!(ahead(10).interval(&few), None);
        assert!(ahead(10).expected(&few).is_some());
        assert_eq!(ahead(10).expected(&[]), None);
    }
}
