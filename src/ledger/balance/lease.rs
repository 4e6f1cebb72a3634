//! Leases of the balances: taken over, given up, given back, lost.

use super::Balances;
use super::terms::Posting;
use std::sync::Arc;

impl Balances {
    /// Takes over a lease from the store: so much was given, and so much is posted by everybody.
    pub fn leased(&mut self, counter: &Arc<str>, id: i64, given: i128, posted: i128) {
        match self.slots.get_mut(counter) {
            Some(slot) if slot.id == id => slot.take_lease(given, posted),
            // The window has passed meanwhile.
            _ => self.returns.push(Posting {
                counter: counter.clone(),
                id,
                posted: 0,
                unleased: given,
                leased: true,
                epoch: self.epoch,
            }),
        }
    }

    /// The life of this process, as the store counts them.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The store has taken this process for dead and charged its leases: it goes on without any.
    pub fn begin_epoch(&mut self, epoch: u32) {
        if epoch <= self.epoch {
            return;
        }
        self.epoch = epoch;
        self.returns.clear();
        for slot in self.slots.values_mut() {
            slot.lose_lease();
        }
    }

    /// What others look for of these counters, as far as nothing here holds it.
    pub fn give_up(&mut self, counters: &[String]) -> Vec<Posting> {
        let mut back = Vec::new();
        for (name, slot) in &mut self.slots {
            if counters.iter().any(|c| **c == **name) {
                back.extend(slot.give_back(name, true, self.epoch));
            }
        }
        back
    }

    /// What of the leases is not needed. `all` for a drain, else what was idle since the last call.
    pub fn idle_leases(&mut self, all: bool, now: i64) -> Vec<Posting> {
        for (name, slot) in &mut self.slots {
            self.returns.extend(slot.roll(name, now, self.epoch));
            self.returns.extend(slot.give_back(name, all, self.epoch));
        }
        std::mem::take(&mut self.returns)
    }

    /// Leases of windows that have passed, to be given back.
    pub fn take_returns(&mut self) -> Vec<Posting> {
        std::mem::take(&mut self.returns)
    }
}
