//! Which model made which sealed reasoning (signatures, encrypted items), so that no other one is sent it.

use crate::chat::conversation::State;
use crate::dialect::unseal;
use moka::sync::Cache;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// Signatures remembered; an entry is about 100 bytes.
const SIGNATURES_MAX: u64 = 200_000;
/// How long a conversation may rest and still be known by its signatures.
const REST: Duration = Duration::from_secs(24 * 3_600);

/// The makers, by a hash of what they made.
#[derive(Clone, Debug)]
pub struct Makers {
    models: Cache<u64, Arc<str>>,
    hasher: RandomState,
}

impl Default for Makers {
    fn default() -> Self {
        Makers {
            models: Cache::builder()
                .max_capacity(SIGNATURES_MAX)
                .time_to_idle(REST)
                .build(),
            hasher: RandomState::new(),
        }
    }
}

impl Makers {
    /// Remembers what a model has made, if it is of a kind that comes back as it is.
    pub fn remember(&self, state: &State, model: &str) {
        if let Some(key) = unseal::key(state) {
            let hash = self.hasher.hash_one(key);
            self.models.insert(hash, model.into());
        }
    }

    /// The model that made this.
    #[must_use]
    pub fn of(&self, signature: &str) -> Option<String> {
        let hash = self.hasher.hash_one(signature);
        Some(self.models.get(&hash)?.to_string())
    }
}
