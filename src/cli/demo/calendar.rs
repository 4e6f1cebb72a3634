//! When it is in the month of `flyball demo --days`: from when to when it goes, when a provider is down, which hours are dear, and how many begin to
//! ask in a quarter of an hour.

use super::world::{App, Rhythm};
use crate::simulate::Dice;
use std::ops::Range;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// 1970 began on a Thursday; days are numbered from a Monday on.
const THURSDAY: i64 = 3;

/// When what happens. Times are in milliseconds since 1970.
pub(super) struct Calendar {
    pub(super) seed: u64,
    pub(super) requests_a_day: u64,
    pub(super) from_ms: i64,
    pub(super) until_ms: i64,
    /// A provider is down.
    pub(super) incident: Range<i64>,
    /// An app asks again and again.
    pub(super) dear: Range<i64>,
}

impl Calendar {
    /// `until_ms` is a whole second.
    pub(super) fn new(seed: u64, days: u32, requests_a_day: u64, until_ms: i64) -> Calendar {
        let all = i64::from(days) * DAY_MS;
        let from_ms = until_ms - all;
        // On a working day before this part of the month, where the month is long enough to have one.
        let within = |percent: i64, hour_ms: i64, lasts_ms: i64| {
            let near = from_ms + all / 100 * percent;
            let midnight = |day: i64| day * DAY_MS + hour_ms;
            let mut day = near.div_euclid(DAY_MS);
            while is_weekend(day) && midnight(day - 1) > from_ms {
                day -= 1;
            }
            let begins = match midnight(day) {
                at if at >= from_ms && at + lasts_ms <= until_ms => at,
                _ => near,
            };
            begins..begins + lasts_ms
        };
        Calendar {
            seed,
            requests_a_day,
            from_ms,
            until_ms,
            incident: within(78, 9 * HOUR_MS + HOUR_MS / 6, 3 * HOUR_MS),
            dear: within(60, 9 * HOUR_MS, 5 * HOUR_MS),
        }
    }

    /// How many conversations of an app begin in this time, which is a part of one hour.
    pub(super) fn begin(&self, app: &App, between: &Range<i64>) -> u64 {
        let day = between.start.div_euclid(DAY_MS);
        let hour = between.start.rem_euclid(DAY_MS) / HOUR_MS;
        let hour = usize::try_from(hour).expect("a day has 24 hours");
        let loops = app.key == LOOPS && self.dear.contains(&between.start);
        let (weight, of_workday) = match (loops, is_weekend(day)) {
            (true, _) => (LOOP_WEIGHT, 100),
            (false, true) => (app.rhythm.hours()[hour], app.rhythm.weekend()),
            (false, false) => (app.rhythm.hours()[hour], 100),
        };
        let grown = 1_000 + app.growth * 10 * self.half_way(between.start) / 1_000;
        let wobble = Dice::new(self.seed, &["day", app.key, &day.to_string()]).between(850, 1_150);
        let lasts = between.end - between.start;
        let factors = [
            u128::from(self.requests_a_day),
            u128::from(app.share),
            u128::from(weight),
            of_workday.into(),
            u128::try_from(grown).unwrap_or(0),
            wobble.into(),
            u128::try_from(lasts).unwrap_or(0),
            // Half of its longest conversation, on average.
            2,
        ];
        let whole = 1_000 * 1_000 * 100 * 1_000 * 1_000 * 3_600_000 * u128::from(1 + app.turns);
        // In thousandths, about as many as are expected.
        let mut dice = Dice::new(self.seed, &["begin", app.key, &between.start.to_string()]);
        let expected = factors.iter().product::<u128>() * 1_000 / whole;
        let about = expected * u128::from(dice.between(700, 1_300)) / 1_000;
        u64::try_from((about + u128::from(dice.between(0, 999))) / 1_000).unwrap_or(0)
    }

    /// From -500 at the beginning to 500 at the end.
    fn half_way(&self, at_ms: i64) -> i64 {
        let all = (self.until_ms - self.from_ms).max(1);
        (at_ms - self.from_ms) * 1_000 / all - 500
    }
}

/// The app that asks again and again in the dear hours.
pub(super) const LOOPS: &str = "lab";
/// Its weight in each of these hours, as [`Rhythm::hours`] has them.
const LOOP_WEIGHT: u64 = 300;

/// Whether people are at home on this day, numbered since 1970.
fn is_weekend(day: i64) -> bool {
    (day + THURSDAY).rem_euclid(7) >= 5
}

/// In percent, how much slower models are while people work.
pub(super) fn load(at_ms: i64) -> u64 {
    let hour = usize::try_from(at_ms.rem_euclid(DAY_MS) / HOUR_MS).expect("a day has 24 hours");
    let at_work = match is_weekend(at_ms.div_euclid(DAY_MS)) {
        true => 0,
        false => Rhythm::Office.hours()[hour],
    };
    100 + at_work / 3
}

#[cfg(test)]
mod tests {
    use super::super::apps::APPS;
    use super::*;

    /// 2026-11-30T12:00:00Z, a Monday.
    const MONDAY: i64 = 1_796_040_000_000;

    fn on(calendar: &Calendar, day_ms: i64) -> u64 {
        let quarters = (0..96).map(|n| day_ms + n * 900_000);
        let begin = |at: i64| {
            let apps = APPS.iter();
            apps.map(|app| calendar.begin(app, &(at..at + 900_000)))
                .sum::<u64>()
        };
        quarters.map(begin).sum()
    }

    #[test]
    fn weekends_are_quieter_and_what_happens_lies_in_the_month() {
        let calendar = Calendar::new(7, 30, 2_000, MONDAY);
        let sunday = MONDAY - 36 * HOUR_MS;
        let (weekday, weekend) = (on(&calendar, sunday - 2 * DAY_MS), on(&calendar, sunday));
        assert!(weekday > weekend * 13 / 10, "{weekday} {weekend}");
        for days in [1, 2, 3, 30, 366] {
            let calendar = Calendar::new(7, days, 10, MONDAY);
            for part in [&calendar.dear, &calendar.incident] {
                assert!(part.start >= calendar.from_ms && part.start < calendar.until_ms);
            }
        }
    }
}
