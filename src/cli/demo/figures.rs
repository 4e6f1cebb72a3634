//! The gauges of the month of `flyball demo --days`: what its caps and its books say at an instant of it.

use crate::ledger::balance::{Balances, CounterStanding, Posting};
use crate::ledger::cap::{Dim, Measure};
use crate::ledger::exhaustion::{Pace, Paces};
use crate::ledger::forecast::{self, SoFar};
use crate::ledger::record::{Closed, Closing, Opening};
use crate::ledger::rollup;
use crate::ledger::window::{Window, Zone};
use crate::money::PicoUsd;
use crate::process::accountant::{Calendar, Days, figures};
use crate::telemetry::{BooksFigures, CapFigures, CapMoney, Period, Telemetry};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// About what the books take on the disk for an attempt, sums and indices included.
const BYTES_OF_ATTEMPT: u64 = 510;
/// And without any.
const BYTES_EMPTY: u64 = 180_000;
const MINUTE_MS: i64 = 60_000;

/// What was booked, as far as gauges tell it.
#[derive(Default)]
pub(super) struct Figures {
    days: Days,
    attempts: u64,
    /// What each counter counted, by minute.
    minutes: HashMap<String, BTreeMap<i64, i128>>,
    keys: HashMap<String, &'static str>,
    zone: Zone,
}

impl Figures {
    /// `keys`: their names, by their rows.
    pub(super) fn of(keys: HashMap<String, &'static str>, zone: Zone) -> Figures {
        Figures {
            keys,
            zone,
            ..Figures::default()
        }
    }

    /// An attempt has ended.
    pub(super) fn add(&mut self, opening: &Opening, closing: &Closing, postings: &[Posting]) {
        let closed = Closed {
            opening,
            closing,
            trued_up: None,
            followed: false,
        };
        let (_, amounts) = rollup::of(&closed);
        let day = Window::Day.id(&self.zone, opening.at_ms.div_euclid(1_000));
        self.days.entry(day).or_default().add(&amounts);
        self.attempts += 1;
        for posting in postings {
            let minutes = self.minutes.entry(posting.counter.to_string()).or_default();
            let minute = opening.at_ms.div_euclid(MINUTE_MS);
            *minutes.entry(minute).or_default() += posting.posted;
        }
    }

    /// Sets every gauge to what it says at this instant.
    pub(super) fn show(&mut self, telemetry: &Telemetry, balances: &mut Balances, now_ms: i64) {
        let now = now_ms.div_euclid(1_000);
        let paces = self.paces(now_ms);
        let standings = balances.standings(now);
        let caps = standings.iter().filter_map(|s| self.cap(s, &paces, now));
        let mut caps: Vec<CapFigures> = caps.collect();
        caps.sort_by_key(|cap| cap.scope == "keys");
        telemetry.caps(&caps);
        telemetry.books(&self.books(now_ms));
        let lag = self.attempts % 7;
        telemetry.ledger(true, Duration::from_millis(lag));
    }

    fn cap(&self, standing: &CounterStanding, paces: &Paces, now: i64) -> Option<CapFigures> {
        let (counter, limit) = (&standing.counter, standing.limit?);
        let shown = |dim: Dim, value: &str| match dim {
            Dim::Key => self.keys.get(value).map(|name| (*name).to_owned()),
            _ => Some(value.to_owned()),
        };
        let money = CapMoney {
            limit: PicoUsd(limit),
            spent: PicoUsd(standing.posted),
            reserved: PicoUsd(standing.reserved),
        };
        Some(CapFigures {
            cap: standing.cap.as_ref()?.label(counter, &shown),
            scope: counter.scope.class(),
            window: counter.window.name(),
            money: (counter.measure == Measure::Usd).then_some(money),
            reset_unix: standing.ends_at,
            exhausted_unix: paces.exhausted(standing, now),
        })
    }

    fn paces(&mut self, now_ms: i64) -> Paces {
        let since = Pace::ALL.map(|pace| pace.begins_ms(now_ms));
        let first = since.iter().min().copied().unwrap_or(now_ms);
        let counted = self.minutes.iter_mut().map(|(counter, minutes)| {
            *minutes = minutes.split_off(&first.div_euclid(MINUTE_MS));
            let sum = |since: i64| {
                minutes
                    .range(since.div_euclid(MINUTE_MS)..)
                    .map(|m| m.1)
                    .sum()
            };
            (counter.clone(), since.map(sum))
        });
        Paces {
            counted: counted.collect(),
            over_ms: since.map(|since| now_ms - since),
        }
    }

    fn books(&self, now_ms: i64) -> BooksFigures {
        let calendar = Calendar::of(&self.zone, now_ms.div_euclid(1_000));
        let period = |period| calendar.sum(&self.days, period);
        let month = period(Period::Month);
        let so_far = SoFar {
            spent: PicoUsd(month.cost),
            saved: PicoUsd(month.baseline - month.cost),
        };
        let cost_of = |day: i64| self.days.get(&day).map(|sums| sums.cost);
        let forecast = forecast::work_out(&self.zone, now_ms, so_far, cost_of);
        BooksFigures {
            periods: Period::ALL.map(|one| figures(&period(one))),
            provisional: PicoUsd(month.provisional),
            expected: forecast.expected,
            interval: forecast.interval,
            bytes: BYTES_EMPTY + self.attempts * BYTES_OF_ATTEMPT,
            attempts: self.attempts,
        }
    }
}
