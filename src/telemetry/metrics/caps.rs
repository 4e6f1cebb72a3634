//! Every cap by its name: limit, spent, reserved, when it resets, when it is used up, and whom it has refused.

use super::make::{Folded, Labels, Make, Table, value};
use super::usd;
use crate::ledger::exhaustion::Pace;
use crate::money::PicoUsd;
use prometheus::{Gauge, IntCounter, IntCounterVec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Caps that have series of their own; the rest is summed up as `other`.
pub(super) const CAPS_MAX: usize = 200;
/// The name of what has none of its own.
const OTHER: &str = "other";
/// Why a cap refuses.
pub(super) const REASONS: [&str; 2] = ["full", "reserved"];
/// Why a request is refused that no one cap refuses.
pub(super) const ANY_REASONS: [&str; 3] = ["no_price", "unbounded", "frozen"];

/// One cap's figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapFigures {
    /// What it is called.
    pub cap: String,
    /// `global`, `keys` or `other`.
    pub scope: &'static str,
    /// `minute`, `hour`, `day`, `week`, `month` or `total`.
    pub window: &'static str,
    /// Its dollars; `None` for a cap of tokens or requests, which has no gauges.
    pub money: Option<CapMoney>,
    /// When the window ends, in seconds since 1970; `None` for one that never does.
    pub reset_unix: Option<i64>,
    /// When it is used up at each of the [`Pace::ALL`], in seconds since 1970; `None` where nothing was spent at that pace.
    pub exhausted_unix: [Option<i64>; 3],
}

/// The dollars of a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapMoney {
    /// What may be spent.
    pub limit: PicoUsd,
    /// What is spent in this window.
    pub spent: PicoUsd,
    /// What open reservations hold.
    pub reserved: PicoUsd,
}

/// A cap that had no room.
#[derive(Clone, Copy, Debug)]
pub struct CapRefusal<'a> {
    /// What it is called.
    pub cap: &'a str,
    /// `global`, `keys` or `other`.
    pub scope: &'static str,
    /// Only open reservations are in the way.
    pub only_reserved: bool,
}

/// The series of all caps.
#[derive(Debug)]
pub(super) struct Caps {
    money: [Table<Gauge>; 3],
    reset: Table<Gauge>,
    exhausted: Table<Gauge>,
    refusals: Table<IntCounter>,
    folded: Folded,
    /// The names that have series, each with its scope.
    names: Mutex<BTreeSet<(String, &'static str)>>,
}

impl Caps {
    pub(super) fn new(m: &Make, folded: &IntCounterVec) -> Caps {
        let labels = ["cap", "scope", "window"];
        let caps = Caps {
            money: [
                m.gauge_table(
                    "flyball_cap_limit_usd",
                    "The cap by its name, in US dollars.",
                    &labels,
                ),
                m.gauge_table(
                    "flyball_cap_spent_usd",
                    "Spent under the cap in the current window, in US dollars.",
                    &labels,
                ),
                m.gauge_table(
                    "flyball_cap_reserved_usd",
                    "Held by open reservations under the cap, in US dollars.",
                    &labels,
                ),
            ],
            reset: m.gauge_table(
                "flyball_cap_reset_timestamp_seconds",
                "When the cap's window ends, in seconds since 1970.",
                &labels,
            ),
            exhausted: m.gauge_table(
                "flyball_cap_exhausted_timestamp_seconds",
                "When the cap is used up at the pace of the last hour, six hours or three days, in seconds since 1970.",
                &["cap", "scope", "window", "pace"],
            ),
            refusals: m.count_table(
                "flyball_cap_refusals_total",
                "Requests refused because of caps, by cap and reason.",
                &["cap", "scope", "reason"],
            ),
            folded: Folded::of(folded, "cap"),
            names: Mutex::default(),
        };
        for reason in ANY_REASONS {
            caps.refusals.of(&["any", "any", reason]);
        }
        caps
    }

    /// A cap had no room.
    pub(super) fn refused(&self, refusal: &CapRefusal<'_>) {
        let reason = REASONS[usize::from(refusal.only_reserved)];
        let known = (value(refusal.cap).to_owned(), refusal.scope);
        let mut names = self.names();
        let has_room = names.len() < CAPS_MAX;
        let own = names.contains(&known) || (has_room && names.insert(known));
        drop(names);
        let cap = if own { value(refusal.cap) } else { OTHER };
        self.refusals.of(&[cap, refusal.scope, reason]).inc();
    }

    /// No one cap refuses, but the request cannot be held to those that there are.
    pub(super) fn refused_by_none(&self, reason: &'static str) {
        self.refusals.of(&["any", "any", reason]).inc();
    }

    /// All caps that are in force, in the place of those of before; the first ones have names of their own.
    pub(super) fn replace(&self, figures: &[CapFigures]) {
        let mut sums: BTreeMap<(&str, &'static str, &'static str), CapFigures> = BTreeMap::new();
        let (mut names, mut beyond) = (BTreeSet::new(), BTreeSet::new());
        for figure in figures {
            let mut name = value(&figure.cap);
            let own = (name.to_owned(), figure.scope);
            if names.len() < CAPS_MAX || names.contains(&own) {
                names.insert(own);
            } else {
                beyond.insert(own);
                name = OTHER;
            }
            let place = (name, figure.scope, figure.window);
            match sums.get_mut(&place) {
                Some(sum) => sum.add(figure),
                None => drop(sums.insert(place, figure.clone())),
            }
        }
        self.folded.now(beyond.len());
        for (cap, scope) in &names {
            for reason in REASONS {
                self.refusals.of(&[cap, scope, reason]);
            }
        }
        let known: BTreeSet<(&str, &str)> = names.iter().map(|(n, s)| (n.as_str(), *s)).collect();
        self.refusals.retain(|labels| {
            let [cap, scope, _] = labels else {
                return false;
            };
            let ours = matches!(cap.as_str(), OTHER | "any");
            ours || known.contains(&(cap.as_str(), scope.as_str()))
        });
        *self.names() = names;
        self.show(&sums);
    }

    fn show(&self, sums: &BTreeMap<(&str, &'static str, &'static str), CapFigures>) {
        let labels = |(cap, scope, window): &(&str, &str, &str)| -> Labels {
            [*cap, scope, window].map(str::to_owned).into()
        };
        let money = |of: fn(&CapMoney) -> PicoUsd| {
            sums.iter().filter_map(move |(place, figures)| {
                let amount = of(figures.money.as_ref()?);
                Some((labels(place), usd(amount)))
            })
        };
        self.money[0].replace(money(|m| m.limit));
        self.money[1].replace(money(|m| m.spent));
        self.money[2].replace(money(|m| m.reserved));
        let dollars = || sums.iter().filter(|(_, f)| f.money.is_some());
        let resets =
            dollars().filter_map(|(place, f)| Some((labels(place), seconds(f.reset_unix?))));
        self.reset.replace(resets);
        let exhausted = dollars().flat_map(|(place, f)| {
            let by_pace = Pace::ALL.into_iter().zip(f.exhausted_unix);
            by_pace.filter_map(move |(pace, at)| {
                let mut labels = labels(place);
                labels.push(pace.name().to_owned());
                Some((labels, seconds(at?)))
            })
        });
        self.exhausted.replace(exhausted);
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<(String, &'static str)>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CapFigures {
    /// Sums up two of the same name: counters of a cap that counts each session apart, say. The first to be used up tells when.
    fn add(&mut self, other: &CapFigures) {
        self.reset_unix = self.reset_unix.max(other.reset_unix);
        let earlier = |(a, b): (&mut Option<i64>, &Option<i64>)| {
            *a = [*a, *b].into_iter().flatten().min();
        };
        let both = self.exhausted_unix.iter_mut().zip(&other.exhausted_unix);
        both.for_each(earlier);
        match (&mut self.money, other.money) {
            (Some(sum), Some(more)) => {
                sum.limit += more.limit;
                sum.spent += more.spent;
                sum.reserved += more.reserved;
            }
            (sum, more) => *sum = sum.or(more),
        }
    }
}

/// Seconds since 1970 as a gauge's value: exact up to 2^53.
#[allow(
    clippy::cast_precision_loss,
    reason = "the seconds of the next million years are below 2^53"
)]
fn seconds(at: i64) -> f64 {
    at as f64
}
