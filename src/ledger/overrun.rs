//! Models whose answers cost more than their bound: counted, and frozen for capped keys.

use super::record::Opening;
use super::store::{Frozen, StoreWork};
use super::{Ledger, lock, now};

/// Overruns of one model within this time freeze it when there are as many as [`OVERRUNS_MAX`].
const OVERRUNS_WITHIN: i64 = 3_600;
const OVERRUNS_MAX: usize = 3;

impl Ledger {
    /// Whether a model is frozen, so that it is not used on capped keys.
    #[must_use]
    pub fn is_frozen(&self, provider: &str, model: &str) -> bool {
        let frozen = lock(&self.frozen);
        !frozen.is_empty() && frozen.contains(&(provider.to_owned(), model.to_owned()))
    }

    /// Takes over which models are frozen.
    pub fn take_frozen(&self, list: Vec<Frozen>) {
        let list = list.into_iter().map(|f| (f.provider, f.model));
        *lock(&self.frozen) = list.collect();
    }

    /// An answer under a cap cost more than its bound: its model is frozen if that was no trifle or happens often. Tells
    /// whether it is frozen now.
    pub fn overrun(&self, opening: &Opening, excess: i128) -> bool {
        let at = (opening.provider.clone(), opening.model.clone());
        let (now, bound) = (now(), opening.bound.0);
        let often = {
            let mut overruns = lock(&self.overruns);
            let times = overruns.entry(at.clone()).or_default();
            times.retain(|t| now - t < OVERRUNS_WITHIN);
            times.push(now);
            times.len() >= OVERRUNS_MAX
        };
        let large =
            excess.saturating_mul(100) > bound && excess > crate::money::PICO_PER_USD / 1_000;
        if !(often || large) {
            return false;
        }
        let why = format!(
            "attempt {} cost {} more than its bound of {}",
            opening.attempt,
            crate::money::PicoUsd(excess),
            opening.bound
        );
        if lock(&self.frozen).insert(at.clone()) {
            let (provider, model) = at;
            self.writer.send(StoreWork::Freeze(Frozen {
                provider,
                model,
                since: now,
                why,
            }));
        }
        true
    }
}
