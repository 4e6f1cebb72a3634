//! The counters of end users: as many as callers like to name, so only those that are needed stay in memory. What a user has spent is
//! in the books; it is asked for when the user comes, and forgotten when many others have come since.
//!
//! Where counters spend from leases nothing is asked for here: with the lease the store says what is posted.

use super::Balances;
use super::find::Match;
use super::slot::{Slot, SpentKnown, tells};
use crate::ledger::record::Sum;
use std::sync::Arc;

/// Counters of end users that stay in memory, beside those that are in use: a kilobyte each.
pub const USERS_KEPT_MAX: usize = 16_384;

/// What is remembered of end users.
#[derive(Debug)]
pub(super) struct Users {
    /// How many of their counters there are in memory.
    pub(super) kept: usize,
    /// So many have to be there before those are looked for that can be forgotten.
    sweep_at: usize,
    /// Counts the times that those were forgotten which nobody needed.
    pub(super) round: u64,
    /// Counters of which the store is to be asked.
    wanted: Vec<Arc<str>>,
    /// A cap counts them.
    pub(super) capped: bool,
}

impl Default for Users {
    fn default() -> Users {
        Users {
            kept: 0,
            sweep_at: USERS_KEPT_MAX,
            round: 0,
            wanted: Vec::new(),
            capped: false,
        }
    }
}

impl Balances {
    /// A cap counts what each end user spends.
    #[must_use]
    pub fn counts_users(&self) -> bool {
        self.users.capped
    }

    /// How many counters of end users are in memory.
    #[must_use]
    pub fn users_kept(&self) -> usize {
        self.users.kept
    }

    /// Whether the store has to be asked what is spent in one of these, as far as they have a limit.
    pub(super) fn must_recall(&mut self, matches: &[Match]) -> bool {
        let mut must = false;
        for found in matches.iter().filter(|found| found.limit.is_some()) {
            let Some(slot) = self.slots.get_mut(&found.counter) else {
                continue;
            };
            match &mut slot.known {
                None | Some(SpentKnown::All) => {}
                Some(SpentKnown::Wanted | SpentKnown::Asked) => must = true,
                Some(known @ SpentKnown::Not) => {
                    *known = SpentKnown::Wanted;
                    self.users.wanted.push(found.counter.clone());
                    must = true;
                }
            }
        }
        must
    }

    /// The counters of which the store is to be asked now, each with its running window.
    pub fn take_wanted(&mut self) -> Vec<(Arc<str>, i64)> {
        let mut asked = Vec::with_capacity(self.users.wanted.len());
        for name in std::mem::take(&mut self.users.wanted) {
            let slot = self.slots.get_mut(&name);
            if let Some(slot) = slot.filter(|slot| slot.known == Some(SpentKnown::Wanted)) {
                (slot.known, slot.posted) = (Some(SpentKnown::Asked), 0);
                asked.push((name, slot.id));
            }
        }
        asked
    }

    /// Takes over what the store says of counters that it was asked of; those that it does not name have spent nothing.
    pub fn recalled(&mut self, asked: &[(Arc<str>, i64)], sums: &[Sum]) {
        let sums = sums.iter().map(|sum| ((&*sum.counter, sum.id), sum.posted));
        let sums: foldhash::HashMap<(&str, i64), i128> = sums.collect();
        for (name, id) in asked {
            let slot = self.slots.get_mut(name);
            if let Some(slot) = slot.filter(|slot| slot.known == Some(SpentKnown::Asked)) {
                slot.posted += sums.get(&(&**name, *id)).copied().unwrap_or(0);
                slot.known = Some(SpentKnown::All);
            }
        }
    }

    /// The store has not answered: whoever needs these has to ask again.
    pub fn not_recalled(&mut self, asked: &[(Arc<str>, i64)]) {
        for (name, _) in asked {
            if let Some(slot) = self.slots.get_mut(name) {
                slot.forget();
            }
        }
    }

    /// Once there are many, those are forgotten that nobody has needed since the last time; where that is too few, all that are not in
    /// use.
    pub(super) fn forget_idle_users(&mut self) {
        if self.users.kept < self.users.sweep_at {
            return;
        }
        let round = self.users.round;
        self.keep_slots(|slot| slot.needed_in == round);
        if self.users.kept > USERS_KEPT_MAX / 2 {
            self.keep_slots(|_| false);
        }
        self.users.round += 1;
        self.users.sweep_at = USERS_KEPT_MAX.max(self.users.kept * 2);
        for definition in &mut self.definitions {
            if tells(&definition.counter) {
                definition.names.clear();
            }
        }
    }

    /// Forgets the counters of users that are neither in use nor such.
    fn keep_slots(&mut self, such: impl Fn(&Slot) -> bool) {
        let keeps =
            |slot: &Slot| slot.known.is_none() || slot.in_use() || slot.is_awaited() || such(slot);
        self.slots.retain(|_, slot| keeps(slot));
        self.count_users();
    }

    pub(super) fn count_users(&mut self) {
        let of_users = |slot: &&Slot| slot.known.is_some();
        self.users.kept = self.slots.values().filter(of_users).count();
    }
}
