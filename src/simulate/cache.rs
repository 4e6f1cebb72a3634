//! The prompt caches of the simulated models, true ones: a beginning is read from the cache only if an earlier request of the same model
//! at the same effort said the same, and lately.
//!
//! At OpenAI's paths a cache fills by itself; at Anthropic's only what is marked is written, and read. Each keeps its own, as two vendors
//! would. What a request writes is there for the next one at once, also while it is still being answered.

use super::ask::SimAsk;
use super::prefix::{CacheKind, HOUR, Prefix};
use crate::arm::Effort;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use std::time::Duration;
use tokio::time::Instant;

/// More beginnings are not held, for all models together: 8 million tokens in steps of 128. What was used longest ago goes first.
const HELD_MAX: u64 = 65_536;
/// How many blocks before a mark are looked at, the marked one included; Anthropic's own number.
const BLOCKS_BACK: u32 = 20;

/// Tokens of one prompt that went through the cache; no token is in two of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CacheUse {
    /// Read from it.
    pub(super) read: u64,
    /// Written for five minutes, where writing is billed.
    pub(super) written: u64,
    /// Written for an hour, where writing is billed.
    pub(super) written_hour: u64,
}

/// The beginnings that are held.
pub(super) struct PromptCache {
    held: Cache<PrefixKey, Held>,
}

/// Whose beginning, and which. A budget of thinking is an older word for an effort.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PrefixKey {
    kind: CacheKind,
    model: &'static str,
    effort: Effort,
    thinking_max: Option<u64>,
    hash: u64,
}

#[derive(Clone, Copy)]
struct Held {
    used: Instant,
    lifetime: Duration,
}

impl Default for PromptCache {
    fn default() -> PromptCache {
        PromptCache::with_room(HELD_MAX)
    }
}

impl PromptCache {
    fn with_room(prefixes: u64) -> PromptCache {
        PromptCache {
            held: Cache::builder()
                .max_capacity(prefixes)
                .eviction_policy(EvictionPolicy::lru())
                // No lifetime is longer: what is older only takes room.
                .time_to_live(HOUR)
                .build(),
        }
    }

    /// Takes this prompt through the cache: finds what of it is held now, and holds what is to be held from now on.
    pub(super) fn take(&self, ask: &SimAsk, now: Instant) -> CacheUse {
        let read = self.longest(ask, now);
        // The longest first, so that room is made at a conversation's end and not at its beginning, without which the rest is useless.
        for prefix in ask.prompt.prefixes.iter().rev() {
            if prefix.lifetime.is_some() || prefix.tokens == read {
                self.hold(key(ask, prefix), prefix.lifetime, now);
            }
        }
        match ask.prompt.cache {
            CacheKind::Automatic => CacheUse {
                read,
                ..CacheUse::default()
            },
            CacheKind::Marked => billed(&ask.prompt.prefixes, read),
        }
    }

    /// Tokens of the longest beginning that is held and near enough to a mark; an automatic cache marks them all.
    fn longest(&self, ask: &SimAsk, now: Instant) -> u64 {
        let mut left = 0_u32;
        for prefix in ask.prompt.prefixes.iter().rev() {
            if prefix.lifetime.is_some() {
                left = BLOCKS_BACK;
            }
            if left > 0 && self.alive(&key(ask, prefix), now).is_some() {
                return prefix.tokens;
            }
            left = left.saturating_sub(1);
        }
        0
    }

    /// What is held and within its lifetime.
    fn alive(&self, key: &PrefixKey, now: Instant) -> Option<Held> {
        let held = self.held.get(key)?;
        Some(held).filter(|held| now.duration_since(held.used) < held.lifetime)
    }

    /// Begins the lifetime of a beginning, or begins it anew: being used does not make it a longer one.
    fn hold(&self, key: PrefixKey, wanted: Option<Duration>, now: Instant) {
        let lifetime = self.alive(&key, now).map(|held| held.lifetime);
        if let Some(lifetime) = lifetime.or(wanted) {
            let used = now;
            self.held.insert(key, Held { used, lifetime });
        }
    }
}

fn key(ask: &SimAsk, prefix: &Prefix) -> PrefixKey {
    PrefixKey {
        kind: ask.prompt.cache,
        model: ask.model.name,
        effort: ask.effort,
        thinking_max: ask.thinking_max,
        hash: prefix.hash,
    }
}

/// What is written after what was read: up to the last mark for an hour at that rate, the rest up to the last mark of all at the other.
fn billed(prefixes: &[Prefix], read: u64) -> CacheUse {
    let last = |counts: fn(Duration) -> bool| {
        let mut marked = prefixes.iter().filter(|p| p.lifetime.is_some_and(counts));
        marked.next_back().map_or(read, |p| p.tokens.max(read))
    };
    let (hour, all) = (last(|lifetime| lifetime == HOUR), last(|_| true));
    CacheUse {
        read,
        written: all - hour,
        written_hour: hour - read,
    }
}

#[cfg(test)]
mod tests;
