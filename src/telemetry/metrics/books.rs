//! What the books say, as gauges: they are read from the books again and again, and survive a restart.

use super::make::{Make, Table};
use crate::money::{PICO_PER_USD, PicoUsd};
use prometheus::{Gauge, IntGauge};

/// A time of which the books tell what it has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Since the day began.
    Today,
    /// The day before.
    Yesterday,
    /// Today and the six days before.
    Week,
    /// The seven days before those.
    LastWeek,
    /// Since the month began.
    Month,
    /// The month before.
    LastMonth,
}

impl Period {
    /// Every one.
    pub const ALL: [Period; 6] = [
        Period::Today,
        Period::Yesterday,
        Period::Week,
        Period::LastWeek,
        Period::Month,
        Period::LastMonth,
    ];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Period::Today => "today",
            Period::Yesterday => "yesterday",
            Period::Week => "week",
            Period::LastWeek => "last_week",
            Period::Month => "month",
            Period::LastMonth => "last_month",
        }
    }
}

/// What a period has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeriodFigures {
    /// What was spent.
    pub cost: PicoUsd,
    /// What was saved, net of what was lost.
    pub saved: PicoUsd,
}

/// What the books say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BooksFigures {
    /// In the order of [`Period::ALL`].
    pub periods: [PeriodFigures; 6],
    /// What is booked this month at the bound, and was not corrected by a bill.
    pub provisional: PicoUsd,
    /// What this month will have cost at its end, where that can be said.
    pub expected: Option<PicoUsd>,
    /// Between what and what, where that can be said.
    pub interval: Option<(PicoUsd, PicoUsd)>,
    /// What the books take on the disk.
    pub bytes: u64,
    /// How many attempts they keep.
    pub attempts: u64,
}

/// The gauges.
#[derive(Debug)]
pub(super) struct BooksGauges {
    cost: Table<Gauge>,
    saved: Table<Gauge>,
    forecast: Table<Gauge>,
    provisional: Table<Gauge>,
    bytes: IntGauge,
    attempts: IntGauge,
    pub(super) lag: Gauge,
}

impl BooksGauges {
    pub(super) fn new(m: &Make) -> BooksGauges {
        let lag = Gauge::new(
            "flyball_ledger_lag_seconds",
            "How long the oldest write has waited that is not durable yet.",
        );
        BooksGauges {
            cost: m.gauge_table(
                "flyball_books_cost_usd",
                "Spent in a period, by the books, in US dollars.",
                &["period"],
            ),
            saved: m.gauge_table(
                "flyball_books_saved_usd",
                "Saved in a period net of what was lost, by the books, in US dollars.",
                &["period"],
            ),
            forecast: m.gauge_table(
                "flyball_forecast_usd",
                "What this month will have cost at its end, by the books, in US dollars.",
                &["bound"],
            ),
            provisional: m.gauge_table(
                "flyball_provisional_usd",
                "Booked this month at the bound and not corrected by a bill, in US dollars.",
                &[],
            ),
            bytes: m.gauge("flyball_ledger_bytes", "What the books take on the disk."),
            attempts: m.gauge(
                "flyball_ledger_attempts",
                "Attempts that the books keep, about.",
            ),
            lag: m.register(lag),
        }
    }

    /// Puts these figures in the place of those of before.
    pub(super) fn set(&self, figures: &BooksFigures) {
        let by_period = |of: fn(&PeriodFigures) -> PicoUsd| {
            let both = Period::ALL.into_iter().zip(&figures.periods);
            both.map(move |(period, f)| (vec![period.name().to_owned()], dollars(of(f))))
        };
        self.cost.replace(by_period(|f| f.cost));
        self.saved.replace(by_period(|f| f.saved));
        let bounds = [
            ("low", figures.interval.map(|(low, _)| low)),
            ("expected", figures.expected),
            ("high", figures.interval.map(|(_, high)| high)),
        ];
        let known = bounds
            .into_iter()
            .filter_map(|(bound, amount)| Some((vec![bound.to_owned()], dollars(amount?))));
        self.forecast.replace(known);
        let provisional = dollars(figures.provisional);
        self.provisional.replace([(Vec::new(), provisional)]);
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.bytes.set(whole(figures.bytes));
        self.attempts.set(whole(figures.attempts));
    }
}

/// Dollars as the nearest float, below zero too.
fn dollars(amount: PicoUsd) -> f64 {
    amount.0 as f64 / PICO_PER_USD as f64
}
