//! What providers have said lately that their models cannot do: for ten minutes such requests go to other models, where there are some.
//!
//! Learned from refusals of routed requests; forgotten with the process.

use crate::capability::{Capabilities, Capability};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Models that are remembered; an entry is about 200 bytes.
const ENTRIES_MAX: usize = 1_000;
/// So long a refusal counts: a server may be started anew with other settings, and a vendor may switch something on.
const COUNTS_FOR: Duration = Duration::from_secs(600);

/// What was refused, by model.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    seen: Arc<RwLock<BTreeMap<String, Seen>>>,
}

/// When a model has refused what the last time.
type Seen = BTreeMap<Capability, Instant>;

impl Refusals {
    /// What this model has refused lately.
    #[must_use]
    pub fn of(&self, model: &str) -> Capabilities {
        self.at(model, Instant::now())
    }

    /// A model has refused this.
    pub fn note(&self, model: &str, what: Capability) {
        self.note_at(model, what, Instant::now());
    }

    fn at(&self, model: &str, now: Instant) -> Capabilities {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        let refused = seen.get(model).into_iter().flatten();
        let lately = refused.filter(|(_, at)| counts(**at, now));
        lately.fold(Capabilities::default(), |all, (what, _)| {
            all.set(*what, true)
        })
    }

    fn note_at(&self, model: &str, what: Capability, now: Instant) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= ENTRIES_MAX {
            seen.retain(|_, refused| refused.values().any(|at| counts(*at, now)));
        }
        if seen.len() < ENTRIES_MAX || seen.contains_key(model) {
            seen.entry(model.to_owned()).or_default().insert(what, now);
        }
    }
}

fn counts(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < COUNTS_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_for_ten_minutes_and_old_ones_make_room() {
        let (refusals, began) = (Refusals::default(), Instant::now());
        for n in 0..ENTRIES_MAX {
            refusals.note_at(&format!("m-{n}"), Capability::Tools, began);
        }
        refusals.note_at("late", Capability::Images, began);
        assert!(refusals.at("late", began).is_empty(), "memory is bounded");
        let (before, after) = (began + COUNTS_FOR / 2, began + COUNTS_FOR);
        assert!(refusals.at("m-7", before).has(Capability::Tools));
        assert!(!refusals.at("m-7", before).has(Capability::Images));
        assert!(refusals.at("m-7", after).is_empty());
        refusals.note_at("late", Capability::Images, after);
        assert!(refusals.at("late", after).has(Capability::Images));
        assert_eq!(refusals.seen.read().expect("unpoisoned").len(), 1);
    }
}
