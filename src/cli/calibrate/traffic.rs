//! What the logged traffic was of each group, what was paid for it, and what each arm would have taken for the same.

use super::By;
use crate::chat::ServiceTier;
use crate::fleet::Arm;
use crate::fleet::ability::usual_reasoning_tokens;
use crate::ledger::record::{Closed, Outcome};
use crate::ledger::rollup::DAY_MS;
use crate::ledger::store::Store;
use crate::money::PicoUsd;
use crate::route::cost::{BaselineThinking, Stayed, on_baseline};
use std::collections::BTreeMap;

/// What is told is told of so many days.
pub(super) const MONTH_DAYS: f64 = 30.0;

/// The traffic of one group.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    pub(super) requests: u64,
    pub(super) paid: PicoUsd,
    /// What each arm would have taken, of those whose price is known.
    would: BTreeMap<String, PicoUsd>,
    /// What each arm that has answered has taken, and how often.
    own: BTreeMap<String, (PicoUsd, u64)>,
}

/// The traffic of the last days.
#[derive(Clone, Debug, Default)]
pub(super) struct Logged {
    groups: BTreeMap<String, Traffic>,
    /// How many days it covers.
    pub(super) days: f64,
}

/// Reads the traffic of these last days, once.
pub(super) fn read(
    store: &mut dyn Store,
    (days, now_ms): (u32, i64),
    by: By,
    arms: &[(String, Arm)],
) -> Result<Logged, String> {
    let from_ms = now_ms.saturating_sub(i64::from(days).saturating_mul(DAY_MS));
    let mut logged = Logged::default();
    let mut first_ms = now_ms;
    store
        .attempts(from_ms..i64::MAX, &mut |attempt| {
            if let Some(closed) = attempt.closed() {
                first_ms = first_ms.min(closed.opening.at_ms);
                logged.add(&closed, by, arms);
            }
            true
        })
        .map_err(|e| e.detail)?;
    logged.days = (number(now_ms.saturating_sub(first_ms)) / number(DAY_MS)).max(1.0);
    Ok(logged)
}

impl Logged {
    fn add(&mut self, closed: &Closed<'_>, by: By, arms: &[(String, Arm)]) {
        let (f, c) = (closed.opening, closed.closing);
        let Some(group) = by.group(&f.task, f.difficulty_milli) else {
            return;
        };
        let traffic = self.groups.entry(group).or_default();
        traffic.paid += c.cost;
        if c.is_aside() || !matches!(c.outcome, Outcome::Ok | Outcome::Length) {
            return;
        }
        traffic.requests += 1;
        let own = format!("{}@{}", f.model, f.effort.name());
        let own = traffic.own.entry(own).or_default();
        (own.0, own.1) = (own.0 + c.cost, own.1 + 1);
        let tier = c.service_tier.unwrap_or(ServiceTier::Standard);
        for (name, arm) in arms {
            let effort = arm.effort_or(None);
            let same = arm.model.name == f.model && effort == f.effort;
            let measured = arm.model.ability.reasoning_tokens(effort);
            let thinks = measured.unwrap_or_else(|| usual_reasoning_tokens(effort));
            let stayed = Stayed {
                warm: c.usage.cached,
                writes: false,
                thinking: Some(BaselineThinking::Seen(thinks)),
            };
            let cost = match same {
                true => Some(c.cost),
                false => on_baseline(arm, &c.usage, stayed, (tier, f.at_ms.div_euclid(1_000))),
            };
            if let Some(cost) = cost {
                let would = traffic.would.entry(name.clone()).or_default();
                *would += cost;
            }
        }
    }

    /// What an answer of this arm costs over all groups; nothing where it is not known in any.
    pub(super) fn mean_cost_usd(&self, arm: &str) -> Option<f64> {
        let costs = self.groups.values().filter(|t| t.requests > 0);
        let costs: Vec<f64> = costs.filter_map(|t| t.cost_usd(arm)).collect();
        (!costs.is_empty()).then(|| crate::learn::mean(costs))
    }

    /// The traffic of a group.
    pub(super) fn of(&self, group: &str) -> Option<&Traffic> {
        self.groups.get(group).filter(|t| t.requests > 0)
    }

    /// An amount of these days, in a month.
    pub(super) fn a_month(&self, usd: f64) -> f64 {
        usd / self.days * MONTH_DAYS
    }
}

impl Traffic {
    /// What an answer of this arm has cost here, on average; of one that has not answered what it would have.
    pub(super) fn cost_usd(&self, arm: &str) -> Option<f64> {
        let seen = self.own.get(arm).filter(|(_, count)| *count > 0);
        let seen = seen.map(|(sum, count)| usd(*sum) / number_of(*count));
        seen.or_else(|| Some(self.would_usd(arm)? / number_of(self.requests)))
    }

    /// What an arm would have taken for all of it.
    pub(super) fn would_usd(&self, arm: &str) -> Option<f64> {
        self.would.get(arm).map(|sum| usd(*sum))
    }

    /// What was paid for all of it.
    pub(super) fn paid_usd(&self) -> f64 {
        usd(self.paid)
    }
}

/// Dollars for statistics, which no book is made from.
pub(super) fn usd(amount: PicoUsd) -> f64 {
    amount.usd_text().parse().unwrap_or(0.0)
}

fn number(ms: i64) -> f64 {
    // Half a second more or less is nothing here.
    f64::from(i32::try_from(ms / 1_000).unwrap_or(i32::MAX)) * 1_000.0
}

pub(super) fn number_of(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
