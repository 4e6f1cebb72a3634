//! What flyball itself answered with lately, in a dialect whose clients name an earlier item by its id instead of sending it again. No
//! provider has these items: they were made here, from the answer of a model that speaks another dialect.

use crate::dialect::keep::{Keeper, Kept};
use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Bytes of items and conversations remembered, for all callers together.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A longer request is not kept with the answer to it; the items of the answer are.
const BEFORE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long an item is remembered after it was last named.
const IDLE: Duration = Duration::from_secs(24 * 3_600);
/// What an entry takes besides its text.
const ENTRY_BYTES: usize = 128;

/// The items, by a hash of who got them and of their ids: nobody can name another one's.
#[derive(Clone, Debug)]
pub struct Items {
    kept: Cache<u64, Kept>,
    hasher: RandomState,
}

impl Default for Items {
    fn default() -> Self {
        let weight = |_: &u64, kept: &Kept| {
            let bytes = kept.before.len() + kept.said.len() + ENTRY_BYTES;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Items {
            kept: Cache::builder()
                .weigher(weight)
                .max_capacity(BYTES_MAX)
                .time_to_idle(IDLE)
                // What was said last is named next.
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            hasher: RandomState::new(),
        }
    }
}

impl Items {
    /// What keeps the items of an answer to this caller's request.
    #[must_use]
    pub fn keeper(&self, caller: &str, body: &Bytes) -> Keeper {
        let (items, caller, body) = (self.clone(), caller.to_owned(), body.clone());
        Keeper::new(move |id, said, whole| {
            if whole && body.len() > BEFORE_BYTES_MAX {
                return;
            }
            let before = match whole {
                true => body.clone(),
                false => Bytes::new(),
            };
            let said = said.to_string();
            items
                .kept
                .insert(items.key(&caller, id), Kept { before, said });
        })
    }

    /// What this caller was answered with under this id.
    #[must_use]
    pub fn of(&self, caller: &str, id: &str) -> Option<Kept> {
        self.kept.get(&self.key(caller, id))
    }

    fn key(&self, caller: &str, id: &str) -> u64 {
        self.hasher.hash_one((caller, id))
    }
}
