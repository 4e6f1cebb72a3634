//! Reads the books again and again for what metrics tell of them: what days and months have cost, how this month will end, how fast
//! caps are used up, how much the books hold. Gauges from the books survive a restart; nobody who scrapes waits for them.

use crate::error::Error;
use crate::exchange::State;
use crate::ledger::cap::{Counter, Measure};
use crate::ledger::exhaustion::{Pace, Paces};
use crate::ledger::forecast::Forecast;
use crate::ledger::now_ms;
use crate::ledger::report::{Dimension, Query};
use crate::ledger::rollup::{self, Amounts};
use crate::ledger::window::{Window, Zone};
use crate::money::PicoUsd;
use crate::telemetry::{BooksFigures, Period, PeriodFigures};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, watch};

/// How often the books are read.
const EVERY: Duration = Duration::from_secs(30);
/// Or, where they are large, after so many times as long as it took: reading costs a twentieth of a core at most.
const REST: u32 = 20;
/// How often days that are over are read again, and the month's end worked out: a bill may still correct an attempt.
const SELDOM: Duration = Duration::from_secs(300);
/// Caps whose pace is read.
const CAPS_MAX: usize = 1_000;

/// The one who reads the books.
#[derive(Default)]
pub(super) struct Accountant {
    seldom: Option<Seldom>,
    complained: bool,
}

/// What is read seldom.
struct Seldom {
    read: Instant,
    /// In which zone, and on which day of it.
    on: (Zone, i64),
    /// What each day before yesterday adds up to.
    days: Days,
    forecast: Forecast,
}

/// What days add up to, by their number since 1970.
pub(crate) type Days = BTreeMap<i64, Amounts>;

/// Reads the books until flyball stops.
pub(super) async fn keep_reading(
    accountant: Arc<Mutex<Accountant>>,
    state: Arc<State>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let began = Instant::now();
        let look = async { accountant.lock().await.look(&state).await };
        tokio::select! {
            () = look => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
        let rest = EVERY.max(began.elapsed() * REST);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

impl Accountant {
    /// Reads everything, what is read seldom included.
    pub(super) async fn look_at_all(&mut self, state: &State) {
        self.seldom = None;
        self.look(state).await;
    }

    async fn look(&mut self, state: &State) {
        state.tell_response_cache();
        match self.read(state).await {
            Ok(()) => self.complained = false,
            Err(why) if self.complained => {
                tracing::debug!(why = %why.detail, "the books cannot be read for metrics");
            }
            Err(why) => {
                tracing::warn!(why = %why.detail, "the books cannot be read for metrics; those tell what was read before");
                self.complained = true;
            }
        }
    }

    async fn read(&mut self, state: &State) -> Result<(), Error> {
        let (zone, now_ms) = (state.policy.load().zone.clone(), now_ms());
        state.paces.store(Arc::new(paces(state, now_ms).await?));
        let calendar = Calendar::of(&zone, now_ms.div_euclid(1_000));
        let on = (zone, calendar.today);
        let fresh = |s: &Seldom| s.on == on && s.read.elapsed() < SELDOM;
        let seldom = match self.seldom.take().filter(fresh) {
            Some(seldom) => seldom,
            None => Seldom {
                read: Instant::now(),
                days: calendar
                    .read(state, calendar.first..calendar.today - 1)
                    .await?,
                forecast: state.ledger.forecast(on.0.clone(), now_ms).await?,
                on,
            },
        };
        let seldom = self.seldom.insert(seldom);
        let mut days = calendar
            .read(state, calendar.today - 1..calendar.today + 1)
            .await?;
        days.extend(seldom.days.iter().map(|(day, sums)| (*day, *sums)));
        let size = state.ledger.size().await?;
        state.telemetry.books(&BooksFigures {
            periods: Period::ALL.map(|period| figures(&calendar.sum(&days, period))),
            provisional: PicoUsd(calendar.sum(&days, Period::Month).provisional),
            expected: seldom.forecast.expected,
            interval: seldom.forecast.interval,
            bytes: size.bytes,
            attempts: size.attempts,
        });
        Ok(())
    }
}

/// How fast each cap of dollars is used up.
async fn paces(state: &State, now_ms: i64) -> Result<Paces, Error> {
    let standings = state.ledger.standings().into_iter();
    let dollars = standings.filter(|s| s.limit.is_some() && s.counter.measure == Measure::Usd);
    let mut counters: Vec<Counter> = dollars.map(|s| s.counter).filter(rollup::tells).collect();
    // Those of keys may be many.
    counters.sort_by_key(|c| c.scope.class() == "keys");
    counters.truncate(CAPS_MAX);
    if counters.is_empty() {
        return Ok(Paces::default());
    }
    let since = Pace::ALL.map(|pace| pace.begins_ms(now_ms));
    let counted = state
        .ledger
        .spent_since(counters.clone(), since.to_vec())
        .await?;
    let of = |place: usize| {
        let all = counted.iter().map(|row| row.get(place).copied().flatten());
        let all: Option<Vec<i128>> = all.collect();
        all.and_then(|all| all.try_into().ok())
    };
    let named = counters.iter().enumerate();
    let named = named.filter_map(|(place, counter)| Some((counter.to_string(), of(place)?)));
    Ok(Paces {
        counted: named.collect(),
        over_ms: since.map(|since| now_ms - since),
    })
}

/// What a period has cost, by its sums.
pub(crate) fn figures(sums: &Amounts) -> PeriodFigures {
    PeriodFigures {
        cost: PicoUsd(sums.cost),
        saved: PicoUsd(sums.baseline - sums.cost),
    }
}

/// The days that periods consist of. Days are numbered since 1970.
pub(crate) struct Calendar {
    zone: Zone,
    today: i64,
    month: i64,
    last_month: i64,
    /// The first day of any period.
    first: i64,
}

impl Calendar {
    /// At an instant in seconds since 1970.
    pub(crate) fn of(zone: &Zone, now: i64) -> Calendar {
        let today = Window::Day.id(zone, now);
        let this = Window::Month.id(zone, now);
        let first_day = |month| {
            let begins = Window::Month.begins_at(zone, month);
            begins.map_or(today, |begins| Window::Day.id(zone, begins))
        };
        let last_month = first_day(this - 1);
        Calendar {
            zone: zone.clone(),
            today,
            month: first_day(this),
            last_month,
            first: last_month.min(today - 13),
        }
    }

    fn days_of(&self, period: Period) -> std::ops::Range<i64> {
        let after = self.today + 1;
        match period {
            Period::Today => self.today..after,
            Period::Yesterday => self.today - 1..self.today,
            Period::Week => after - 7..after,
            Period::LastWeek => after - 14..after - 7,
            Period::Month => self.month..after,
            Period::LastMonth => self.last_month..self.month,
        }
    }

    /// What a period adds up to.
    pub(crate) fn sum(&self, days: &Days, period: Period) -> Amounts {
        let mut sum = Amounts::default();
        days.range(self.days_of(period))
            .for_each(|(_, day)| sum.add(day));
        sum
    }

    fn begins(&self, day: i64) -> i64 {
        Window::Day.begins_at(&self.zone, day).unwrap_or(0)
    }

    /// What each of these days adds up to, by the books.
    async fn read(&self, state: &State, days: std::ops::Range<i64>) -> Result<Days, Error> {
        let ms = |day| self.begins(day).saturating_mul(1_000);
        let (from, to) = (ms(days.start), ms(days.end));
        let by_day = Query {
            zone: self.zone.clone(),
            ..Query::between(from, to, vec![Dimension::Day])
        };
        let report = state.ledger.report(by_day).await?;
        let sums = |day: i64| {
            let name = self.zone.name_of(Window::Day, self.begins(day));
            let row = report.rows.iter().find(|row| row.values[0] == name)?;
            Some((day, row.figures.sums))
        };
        Ok(days.filter_map(sums).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_whole_days_of_the_zone() {
        let zone = Zone::named("Europe/Berlin").expect("a zone");
        // The first of March 2026 there, the last of February still in UTC.
        let now_ms = zone.instant("2026-03-01T00:30").expect("an instant");
        let calendar = Calendar::of(&zone, now_ms / 1_000);
        let mut days = Days::new();
        for day in calendar.first..=calendar.today {
            let name = zone.name_of(Window::Day, calendar.begins(day));
            let cost = match name.as_str() {
                "2026-03-01" => 1,
                "2026-02-28" => 10,
                "2026-02-23" => 100,
                "2026-02-22" => 1_000,
                "2026-02-16" => 10_000,
                "2026-02-01" => 100_000,
                _ => 0,
            };
            let sums = Amounts {
                cost,
                ..Amounts::default()
            };
            days.insert(day, sums);
        }
        let costs = Period::ALL.map(|period| calendar.sum(&days, period).cost);
        assert_eq!(costs, [1, 10, 111, 11_000, 1, 111_110]);
    }
}
