//! How much of a conversation was read before, and when: what a prompt cache would hold of it, had its model never been changed.
//!
//! It is known to this process alone; after a restart every conversation is cold.

use super::{IDLE, TURNS_MAX, UserTurn};
use moka::sync::Cache;
use std::time::{Duration, Instant};

/// A shorter beginning is kept by no vendor.
const PREFIX_MIN: u64 = 1_024;

/// What was read, by the turns of users.
#[derive(Clone, Debug)]
pub struct Warmth {
    read: Cache<u64, ReadBefore>,
}

/// The tokens of a request and its answer.
#[derive(Clone, Copy, Debug)]
struct ReadBefore {
    tokens: u64,
    at: Instant,
}

impl Default for Warmth {
    fn default() -> Self {
        Warmth {
            read: Cache::builder()
                .max_capacity(TURNS_MAX)
                .time_to_idle(IDLE)
                .build(),
        }
    }
}

impl Warmth {
    /// Tokens of the conversation's beginning that were read within `lifetime`, in this turn or in the one before it; 0 where they
    /// are too few to be kept.
    #[must_use]
    pub fn tokens(&self, turn: UserTurn, lifetime: Duration) -> u64 {
        let read = [Some(turn.hash), turn.before].into_iter().flatten();
        let read = read.filter_map(|hash| self.read.get(&hash));
        let warm = read.filter(|read| read.at.elapsed() < lifetime);
        let tokens = warm.map(|read| read.tokens).max().unwrap_or_default();
        if tokens < PREFIX_MIN { 0 } else { tokens }
    }

    /// Notes that a request in this turn, and its answer, had so many tokens.
    pub fn note(&self, turn: UserTurn, tokens: u64) {
        let at = Instant::now();
        self.read.insert(turn.hash, ReadBefore { tokens, at });
    }
}
