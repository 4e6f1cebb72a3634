//! Keeps what was learned of the models' evidence in the ledger's database, and takes it over at the start.

use crate::affinity::LearnedArm;
use crate::exchange::State;
use std::time::{Duration, Instant};

/// How often what is new is kept. A crash loses no more than this of it.
const EVERY: Duration = Duration::from_secs(30);

/// Takes over what the last run has kept, as far as it is of this kind.
pub(super) fn restore(state: &State, kept: &[(String, String)]) {
    let read = |(_, value): &(String, String)| serde_json::from_str::<LearnedArm>(value).ok();
    let evidence = state.affinity.habits().evidence();
    evidence.restore(kept.iter().filter_map(read));
}

/// Keeps what is new.
pub(super) fn keep(state: &State) {
    let evidence = state.affinity.habits().evidence();
    let entry = |arm: LearnedArm| {
        let name = format!("evidence/{}@{}/{}", arm.model, arm.effort, arm.scale.name());
        let value = serde_json::to_string(&arm).ok()?;
        Some((name, value))
    };
    let new = evidence.learned(true).into_iter().filter_map(entry);
    state.ledger.keep_learned(new.collect());
}

/// Keeps what is new from time to time.
pub(super) struct KeptLast(Instant);

impl KeptLast {
    pub(super) fn now() -> KeptLast {
        KeptLast(Instant::now())
    }

    pub(super) fn keep(&mut self, state: &State) {
        if self.0.elapsed() >= EVERY {
            self.0 = Instant::now();
            keep(state);
        }
    }
}
