//! How much of a conversation was read before, by which arm, and when: what prompt caches most likely hold of it.
//!
//! It is known to this process alone; after a restart every conversation is cold.

use super::{IDLE, TURNS_MAX, UserTurn};
use crate::arm::Effort;
use crate::route::cost::PREFIX_MIN;
use foldhash::fast::{FixedState, RandomState};
use moka::sync::Cache;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

/// More arms than these do not take turns within the lifetime of a cache.
const ARMS_MAX: usize = 4;

/// What was read, by the turns of users.
#[derive(Clone, Debug)]
pub struct Warmth {
    read: Cache<u64, ReadBefore, RandomState>,
}

/// The arms that have read a conversation, the last one first.
#[derive(Clone, Copy, Debug, Default)]
struct ReadBefore {
    by: [Option<ReadBy>; ARMS_MAX],
}

/// The tokens of a request and its answer.
#[derive(Clone, Copy, Debug)]
struct ReadBy {
    /// The model on its channel.
    model: u64,
    effort: Effort,
    tokens: u64,
    at: Instant,
}

/// How long a provider keeps what it has read, and when that is asked.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// So long after it was last read.
    pub lifetime: Duration,
    /// The present.
    pub now: Instant,
}

/// Whose cache is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The model.
    pub model: &'a str,
    /// The channel on which it is asked: each has a cache of its own.
    pub channel: &'a str,
    /// The effort, where what was read at another one does not count.
    pub effort: Option<Effort>,
}

impl Default for Warmth {
    fn default() -> Self {
        Warmth {
            read: Cache::builder()
                .max_capacity(TURNS_MAX)
                .time_to_idle(IDLE)
                .build_with_hasher(RandomState::default()),
        }
    }
}

fn hash(model: &str, channel: &str) -> u64 {
    FixedState::default().hash_one((model, channel))
}

impl Warmth {
    /// Tokens of the conversation's beginning that anybody has read lately enough, in this turn or in the one before it; 0 where they
    /// are too few to be kept.
    #[must_use]
    pub fn tokens(&self, turn: UserTurn, kept: Kept) -> u64 {
        self.most(turn, kept, |_| true)
    }

    /// The same of what this reader has read.
    #[must_use]
    pub fn tokens_of(&self, turn: UserTurn, reader: Reader<'_>, kept: Kept) -> u64 {
        let model = hash(reader.model, reader.channel);
        self.most(turn, kept, |read| {
            read.model == model && reader.effort.is_none_or(|effort| effort == read.effort)
        })
    }

    fn most(&self, turn: UserTurn, kept: Kept, counts: impl Fn(&ReadBy) -> bool) -> u64 {
        let turns = [Some(turn.hash), turn.before].into_iter().flatten();
        let read = turns.filter_map(|hash| self.read.get(&hash));
        let read = read.flat_map(|read| read.by.into_iter().flatten());
        let warm = read.filter(|read| {
            counts(read) && kept.now.saturating_duration_since(read.at) < kept.lifetime
        });
        let tokens = warm.map(|read| read.tokens).max().unwrap_or_default();
        if tokens < PREFIX_MIN { 0 } else { tokens }
    }

    /// Notes that a request in this turn, and its answer, had so many tokens, and which arm has read them on which channel and when.
    pub fn note(&self, turn: UserTurn, by: (&str, &str, Effort), tokens: u64, at: Instant) {
        let (model, channel, effort) = by;
        let now = ReadBy {
            model: hash(model, channel),
            effort,
            tokens,
            at,
        };
        let known = self.read.get(&turn.hash);
        let known = known.or_else(|| self.read.get(&turn.before?));
        // So little is kept by nobody, and of the conversation nothing else is known.
        if known.is_none() && tokens < PREFIX_MIN {
            return;
        }
        let others = known.unwrap_or_default().by.into_iter().flatten();
        let others = others.filter(|read| (read.model, read.effort) != (now.model, effort));
        let mut by = [None; ARMS_MAX];
        for (place, read) in by.iter_mut().zip(std::iter::once(now).chain(others)) {
            *place = Some(read);
        }
        self.read.insert(turn.hash, ReadBefore { by });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(hash: u64, before: Option<u64>) -> UserTurn {
        UserTurn {
            hash,
            before,
            goes_on: false,
        }
    }

    #[test]
    fn each_arm_is_as_warm_as_it_has_read_itself_in_this_turn_or_before() {
        let warmth = Warmth::default();
        let start = Instant::now();
        let after = |minutes: u64| Kept {
            lifetime: Duration::from_secs(300),
            now: start + Duration::from_secs(minutes * 60),
        };
        let read = |turn, model, effort| {
            let channel = "default";
            let reader = Reader {
                model,
                channel,
                effort,
            };
            warmth.tokens_of(turn, reader, after(4))
        };
        let (first, second) = (turn(1, None), turn(2, Some(1)));
        warmth.note(first, ("a", "default", Effort::Low), 5_000, start);
        warmth.note(second, ("b", "default", Effort::None), 9_000, start);
        let third = turn(3, Some(2));
        for (model, effort, tokens) in [
            ("a", Some(Effort::Low), 5_000),
            ("a", Some(Effort::High), 0),
            ("a", None, 5_000),
            ("b", Some(Effort::None), 9_000),
            ("c", None, 0),
        ] {
            assert_eq!(read(third, model, effort), tokens, "{model} {effort:?}");
        }
        let elsewhere = Reader {
            model: "b",
            channel: "another",
            effort: None,
        };
        assert_eq!(warmth.tokens_of(third, elsewhere, after(4)), 0);
        assert_eq!(warmth.tokens(third, after(4)), 9_000, "whoever has read it");
        assert_eq!(warmth.tokens(third, after(6)), 0, "too long ago");
        assert_eq!(read(turn(4, Some(9)), "b", None), 0, "another conversation");
    }
}
