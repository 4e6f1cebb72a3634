//! What the attempts that end in one transaction change in the sums by group, gathered so that a batch of attempts of one kind is one
//! change: the same for both stores.

use crate::ledger::cap::Counter;
use crate::ledger::record::{Attempt, Closed, Closing, Outcome};
use crate::ledger::replay::counts;
use crate::ledger::rollup::{self, Amounts, Grain, Group};
use crate::ledger::window::Window;
use crate::money::PicoUsd;
use foldhash::{HashMap, HashMapExt};
use std::collections::BTreeMap;

/// Groups with their rows' numbers, as far as this process has met them. One that is in the books stays there, so what is known stays
/// true; only what a transaction has added that did not take place must be forgotten.
pub(super) type Groups = HashMap<Group<'static>, i64>;

/// More groups are not remembered at a time.
pub(super) const GROUPS_MAX: usize = 100_000;

/// Sums by the time (hours or days since 1970) and the group's row, in this order: whoever writes them in order stands in nobody's way
/// for ever.
pub(super) type SumRows = Vec<((i64, i64), Amounts)>;

/// Changes of the sums by the hour and the group.
#[derive(Debug, Default)]
pub(super) struct SumChanges<'w>(HashMap<(i64, Group<'w>), Amounts>);

impl<'w> SumChanges<'w> {
    /// An attempt has ended.
    pub(super) fn ended(&mut self, closed: &Closed<'w>) {
        let (group, amounts) = rollup::of(closed);
        self.change(closed.opening.at_ms, group, &amounts);
    }

    /// The same of one that does not live as long.
    pub(super) fn ended_owned(&mut self, closed: &Closed<'_>) {
        let (group, amounts) = rollup::of(closed);
        self.change(closed.opening.at_ms, group.owned(), &amounts);
    }

    /// The first attempt has come to its end that came after this one, which had counted as its request's last.
    pub(super) fn overtaken(&mut self, attempt: &Attempt) {
        let Some(closed) = attempt.closed() else {
            return;
        };
        let before = Closed {
            followed: false,
            ..closed
        };
        if before.is_final() {
            let (group, _) = rollup::of(&before);
            let less = Amounts::one_request_less();
            self.change(closed.opening.at_ms, group.owned(), &less);
        }
    }

    /// A bill has corrected an attempt, which may have another cause of what it saved or lost now.
    pub(super) fn corrected(&mut self, attempt: &Attempt, cost: PicoUsd) {
        let Some(closed) = attempt.closed() else {
            return;
        };
        let (group, amounts) = rollup::of(&closed);
        self.change(closed.opening.at_ms, group.owned(), &amounts.negative());
        self.ended_owned(&Closed {
            trued_up: Some(cost),
            ..closed
        });
    }

    /// Adds those of another gathering, which does not live as long.
    pub(super) fn append(&mut self, other: SumChanges<'_>) {
        for ((hour, group), amounts) in other.0 {
            self.0
                .entry((hour, group.owned()))
                .or_default()
                .add(&amounts);
        }
    }

    fn change(&mut self, at_ms: i64, group: Group<'w>, amounts: &Amounts) {
        let hour = Grain::Hour.of(at_ms);
        self.0.entry((hour, group)).or_default().add(amounts);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes them, for each grain; `row` gives the row of a group. Groups come in an order that is the same for everybody.
    ///
    /// # Errors
    /// What `row` says.
    pub(super) fn take<E>(
        &mut self,
        groups: &mut Groups,
        mut row: impl FnMut(&Group<'_>) -> Result<i64, E>,
    ) -> Result<[(Grain, SumRows); 2], E> {
        let changes = std::mem::take(&mut self.0);
        let mut new: Vec<&Group<'_>> = changes
            .keys()
            .map(|(_, group)| group)
            .filter(|group| !groups.contains_key(*group))
            .collect();
        new.sort_by_cached_key(|group| group.text());
        new.dedup();
        if groups.len() + new.len() > GROUPS_MAX {
            groups.clear();
        }
        let mut added: HashMap<&Group<'_>, i64> = HashMap::new();
        for group in new {
            added.insert(group, row(group)?);
        }
        let mut sums = Grain::ALL.map(|grain| (grain, BTreeMap::new()));
        for ((hour, group), amounts) in &changes {
            let id = match groups.get(group).or_else(|| added.get(group)) {
                Some(id) => *id,
                None => row(group)?,
            };
            for (grain, sums) in &mut sums {
                let at = (*hour * Grain::Hour.ms()).div_euclid(grain.ms());
                let sum: &mut Amounts = sums.entry((at, id)).or_default();
                sum.add(amounts);
            }
        }
        for (group, id) in added {
            groups.insert(group.owned(), id);
        }
        Ok(sums.map(|(grain, sums)| {
            let some = sums.into_iter().filter(|(_, a)| !a.is_nothing());
            (grain, some.collect())
        }))
    }
}

/// Whether another attempt may have taken the place of one that has ended so.
pub(super) fn may_be_followed(closing: &Closing) -> bool {
    // An answer is delivered, unless it was looked at; one whose place another one has taken does not count anyhow.
    let answered = matches!(closing.outcome, Outcome::Ok | Outcome::Length);
    !closing.is_aside() && (closing.shown.is_some() || !answered)
}

/// The names of the columns of sums, each as `form` writes it with its place among them.
pub(super) fn columns(form: impl Fn(&str, usize) -> String) -> String {
    let names = Amounts::NAMES
        .iter()
        .zip(0..)
        .map(|(name, n)| form(name, n));
    names.collect::<Vec<_>>().join(", ")
}

/// What attempts that are deleted, or about to be, have added to counters that are new and have no window: what all attempts of those
/// days add up to, without those that are still there.
pub(super) struct PastTotals {
    counters: Vec<Counter>,
    sums: BTreeMap<String, i128>,
}

impl PastTotals {
    /// Of these counters, as far as groups tell them.
    pub(super) fn of(counters: &[Counter]) -> PastTotals {
        let total = |c: &&Counter| c.window == Window::Total && rollup::tells(c);
        PastTotals {
            counters: counters.iter().filter(total).cloned().collect(),
            sums: BTreeMap::new(),
        }
    }

    /// There is nothing to find.
    pub(super) fn is_idle(&self) -> bool {
        self.counters.is_empty()
    }

    /// What a group has added.
    pub(super) fn add(&mut self, group: &Group<'_>, amounts: &Amounts) {
        let dims = group.dims();
        let mut names: Vec<String> = Vec::new();
        for counter in self.counters.iter().filter(|c| c.scope.holds(&dims)) {
            let name = counter.instance(&dims).to_string();
            if !names.contains(&name) {
                *self.sums.entry(name.clone()).or_default() += amounts.of(counter.measure);
                names.push(name);
            }
        }
    }

    /// An attempt is still there.
    pub(super) fn is_there(&mut self, attempt: &Attempt) {
        let Some(closed) = attempt.closed() else {
            return;
        };
        for (name, _, amount) in counted(&self.counters, &closed) {
            *self.sums.entry(name).or_default() -= amount;
        }
    }

    /// The sums, without those that are nothing.
    pub(super) fn sums(self) -> impl Iterator<Item = (String, i128)> {
        self.sums.into_iter().filter(|(_, amount)| *amount != 0)
    }
}

/// What an attempt that ends its time in the books leaves in these counters: name, window, amount. Short windows are forgotten long
/// before.
pub(super) fn left_behind(counters: &[Counter], attempt: &Attempt) -> Vec<((String, i64), i128)> {
    let long = |c: &&Counter| !matches!(c.window, Window::Minute | Window::Hour);
    let counters: Vec<Counter> = counters.iter().filter(long).cloned().collect();
    let closed = attempt.closed();
    let all = closed.map(|closed| counted(&counters, &closed));
    let all = all.unwrap_or_default().into_iter();
    all.map(|(name, id, amount)| ((name, id), amount)).collect()
}

/// In which counters an attempt counts, with what a bill says of it.
fn counted(counters: &[Counter], closed: &Closed<'_>) -> Vec<(String, i64, i128)> {
    let booked = Closing {
        cost: closed.booked(),
        ..closed.closing.clone()
    };
    counts(counters, closed.opening, &booked)
}
