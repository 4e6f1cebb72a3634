//! The asks that were read lately. An agent sends its user's ask again with every result of a tool, and a conversation the asks before
//! it with every turn: what was read of them, and what the grader said, need not be found out anew.
//!
//! An ask is known by a seeded hash of what is read of it and of whose key asks. No other key can tell by the time that an answer takes
//! whether the same was asked, and no text is kept.

use super::pieces::Pieces;
use super::reading::Reading;
use foldhash::fast;
use foldhash::quality::RandomState;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

/// Asks that are remembered, of 2 KB each.
const ASKS_MAX: u64 = 1_000;

/// What was read of the latest asks.
#[derive(Debug)]
pub struct KnownAsks {
    asks: Cache<u64, Arc<Reading>, fast::RandomState>,
    hasher: RandomState,
}

impl Default for KnownAsks {
    fn default() -> KnownAsks {
        KnownAsks {
            asks: Cache::builder()
                .max_capacity(ASKS_MAX)
                // By how often they were asked, those of agents that have ended would keep new ones out.
                .eviction_policy(EvictionPolicy::lru())
                .build_with_hasher(fast::RandomState::default()),
            hasher: RandomState::default(),
        }
    }
}

impl KnownAsks {
    /// Those of one caller.
    #[must_use]
    pub fn of<'k>(&'k self, caller: &'k str) -> CallersAsks<'k> {
        CallersAsks {
            known: Some(self),
            caller,
        }
    }
}

/// The asks of one caller that are known.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallersAsks<'k> {
    known: Option<&'k KnownAsks>,
    caller: &'k str,
}

impl CallersAsks<'_> {
    /// What was read of an ask, which is read now where it is not known.
    pub(super) fn read(self, pieces: &Pieces<'_>) -> Arc<Reading> {
        let Some(known) = self.known else {
            return Arc::new(Reading::of(pieces));
        };
        let mut hasher = known.hasher.build_hasher();
        self.caller.hash(&mut hasher);
        pieces.hash_what_is_read(&mut hasher);
        let key = hasher.finish();
        known.asks.get(&key).unwrap_or_else(|| {
            let reading = Arc::new(Reading::of(pieces));
            known.asks.insert(key, reading.clone());
            reading
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Part, Role, Turn};

    #[test]
    fn the_latest_asks_are_known_however_often_earlier_ones_came() {
        let known = KnownAsks::default();
        let reading = |text: &str| {
            let turn = Turn {
                role: Role::User,
                parts: vec![Part::Text(text.to_owned().into())],
            };
            let reading = known.of("ann").read(&Pieces::of(&turn));
            known.asks.run_pending_tasks();
            reading
        };
        // How often an ask comes would be counted only once the memory is half full.
        for _ in 0..5 {
            for number in 0..ASKS_MAX {
                reading(&format!("Sort list {number}."));
            }
        }
        let new = reading("Which of these lists is the longest?");
        let again = reading("Which of these lists is the longest?");
        assert!(Arc::ptr_eq(&new, &again), "it was read again");
    }
}
