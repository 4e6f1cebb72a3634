//! Which arm serves a user's turn, so that its tool calls go to the same model.
//!
//! A turn is known by a hash of the caller and of what its user has asked up to now: no session id is needed. Whatever apps write
//! anew with every call (clocks, counts, listings, reminders, a header with a checksum) is left out, and so are the answers and the
//! results of tools, which apps shorten on the way.

mod evidence;
mod habits;
mod items;
mod makers;
mod measured;
mod refusals;
mod warmth;

pub use evidence::{DeliveredAnswer, Evidences, LearnedArm, Manner};
pub use habits::{Habits, Use};
pub use items::Items;
pub use makers::Makers;
pub use measured::Measured;
pub use refusals::Refusals;
pub use warmth::{Kept, Reader, Warmth};

use crate::arm::Effort;
use crate::chat::Prompt;
use crate::classify::own_words;
use crate::dialect::band::Change;
use foldhash::quality::{FixedState, RandomState};
use moka::sync::Cache;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Turns remembered; an entry is about 100 bytes.
const TURNS_MAX: u64 = 100_000;
/// How long a turn may pause between two tool calls.
const IDLE: Duration = Duration::from_secs(3_600);

/// The decision that serves a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The model.
    pub model: String,
    /// The effort.
    pub effort: Effort,
    /// The rule that decided.
    pub rule: String,
    /// The efforts that were said within the conversation so far, by model.
    pub efforts: Vec<SaidEfforts>,
}

/// The efforts that one model was asked for in a conversation, where changes are said within it: every later request has to say them
/// again in the same places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaidEfforts {
    /// The model.
    pub model: String,
    /// The effort that the conversation began with.
    pub began: Effort,
    /// The changes since, in their order.
    pub changes: Vec<Change>,
}

impl SaidEfforts {
    /// The effort in force.
    #[must_use]
    pub fn present(&self) -> Effort {
        self.changes.last().map_or(self.began, |last| last.effort)
    }
}

/// The turns that are going on.
#[derive(Debug)]
pub struct Affinity {
    turns: Cache<u64, Served, foldhash::fast::RandomState>,
    makers: Makers,
    items: Items,
    warmth: Warmth,
    habits: Habits,
    measured: Measured,
    /// The requests whose answers ended a turn; by the turn, and by what comes before it.
    answered: Cache<(u64, bool), Answered, foldhash::fast::RandomState>,
    // A whole conversation is hashed for each request, so the hash must be fast; it is seeded, and differs by caller.
    hasher: RandomState,
}

impl Default for Affinity {
    fn default() -> Self {
        Affinity {
            turns: Cache::builder()
                .max_capacity(TURNS_MAX)
                .time_to_idle(IDLE)
                .build_with_hasher(foldhash::fast::RandomState::default()),
            makers: Makers::default(),
            items: Items::default(),
            warmth: Warmth::default(),
            habits: Habits::default(),
            measured: Measured::default(),
            answered: Cache::builder()
                .max_capacity(TURNS_MAX)
                .time_to_idle(IDLE)
                .build_with_hasher(foldhash::fast::RandomState::default()),
            hasher: RandomState::default(),
        }
    }
}

/// The request that has answered a turn.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Its id.
    pub request: Arc<str>,
    /// What was asked in the turn.
    pub asked: Arc<str>,
}

/// A user's turn: its hash, and whether this request goes on with it (after tool calls) or begins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserTurn {
    hash: u64,
    /// The turn before it.
    before: Option<u64>,
    /// The model has acted since the user last spoke.
    pub goes_on: bool,
}

/// A name by a hash that is the same in every process of this flyball.
#[must_use]
pub fn named(name: &str) -> u64 {
    FixedState::default().hash_one(name)
}

/// The conversation that a prompt is in, by a hash that is the same in every process of this flyball: who asks, the instructions, and what
/// the user has said first. All its requests have it in common, and so has the part of it that prompt caches hold.
#[must_use]
pub fn conversation(caller: &str, session: Option<&str>, prompt: &Prompt<'_>) -> u64 {
    let mut hash = FixedState::default().build_hasher();
    (caller, session).hash(&mut hash);
    hash_instructions(prompt, &mut hash);
    let mut turns = prompt.turns.iter();
    let first = turns.find(|turn| own_words(turn).next().is_some());
    for words in first.into_iter().flat_map(own_words) {
        hash_words(words, &mut hash);
    }
    hash.finish()
}

/// Hashes those lines of the instructions that tell one agent of a caller from another.
fn hash_instructions(prompt: &Prompt<'_>, hash: &mut impl Hasher) {
    let lines = prompt.system.iter().flat_map(|text| text.lines());
    for line in lines.filter(|line| is_prose(line)).take(PROSE_MAX) {
        line.trim().hash(hash);
    }
}

impl Affinity {
    /// The turn that `prompt` is in.
    #[must_use]
    pub fn turn(&self, caller: &str, session: Option<&str>, prompt: &Prompt<'_>) -> UserTurn {
        let asks = |turn| own_words(turn).next().is_some();
        let ask = prompt.turns.iter().rposition(asks);
        let mut hash = self.hasher.build_hasher();
        (caller, session).hash(&mut hash);
        hash_instructions(prompt, &mut hash);
        let mut before = None;
        for (at, turn) in prompt
            .turns
            .iter()
            .enumerate()
            .take(ask.map_or(0, |at| at + 1))
        {
            if Some(at) == ask && at > 0 {
                before = Some(hash.clone().finish());
            }
            for words in own_words(turn) {
                hash_words(words, &mut hash);
            }
        }
        let goes_on = ask.is_some_and(|at| at + 1 < prompt.turns.len());
        UserTurn {
            hash: hash.finish(),
            before,
            goes_on,
        }
    }

    /// Who made which sealed reasoning.
    #[must_use]
    pub fn makers(&self) -> &Makers {
        &self.makers
    }

    /// What clients were answered with and may name.
    #[must_use]
    pub fn items(&self) -> &Items {
        &self.items
    }

    /// How much of which conversation was read before.
    #[must_use]
    pub fn warmth(&self) -> &Warmth {
        &self.warmth
    }

    /// What arms use.
    #[must_use]
    pub fn habits(&self) -> &Habits {
        &self.habits
    }

    /// Remembers which request has answered a turn.
    pub fn answered(&self, turn: UserTurn, answered: Answered) {
        // What comes before a first turn is the same for all conversations.
        if let Some(before) = turn.before {
            self.answered.insert((before, true), answered.clone());
        }
        self.answered.insert((turn.hash, false), answered);
    }

    /// The request that has answered the turn before this one.
    #[must_use]
    pub fn answered_before(&self, turn: UserTurn) -> Option<Answered> {
        self.answered.get(&(turn.before?, false))
    }

    /// The request that has answered another turn in the place of this one, of a conversation that was served here.
    #[must_use]
    pub fn answered_in_place(&self, turn: UserTurn) -> Option<Answered> {
        let before = turn.before?;
        let served = self.answered.contains_key(&(before, false));
        let new = !self.answered.contains_key(&(turn.hash, false));
        (served && new)
            .then(|| self.answered.get(&(before, true)))
            .flatten()
    }

    /// What was measured of the latest requests.
    #[must_use]
    pub fn measured(&self) -> &Measured {
        &self.measured
    }

    /// What serves this turn, if it goes on and is remembered.
    #[must_use]
    pub fn served(&self, turn: UserTurn) -> Option<Served> {
        turn.goes_on.then(|| self.turns.get(&turn.hash)).flatten()
    }

    /// What served the turn before this one, if it is remembered.
    #[must_use]
    pub fn served_before(&self, turn: UserTurn) -> Option<Served> {
        self.turns.get(&turn.before?)
    }

    /// Remembers what serves a turn.
    pub fn remember(&self, turn: UserTurn, served: Served) {
        self.turns.insert(turn.hash, served);
    }
}

/// Lines of the instructions that tell one agent of a caller from another.
const PROSE_MAX: usize = 8;

/// Whether a line of the instructions is likely to be the same in every call: a sentence, without numbers, paths or marks of a list.
fn is_prose(line: &str) -> bool {
    let line = line.trim();
    let marks =
        |c: char| c.is_numeric() || matches!(c, '/' | '\\' | '│' | '├' | '└' | '|' | '=' | '<');
    line.starts_with(char::is_alphabetic)
        && !line.contains(marks)
        && (line.split_whitespace().nth(3).is_some() || line.chars().any(unspaced))
}

/// Letters of scripts without spaces, whose sentences are one word to the eye of a program.
fn unspaced(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{9FFF}' | '\u{0E00}'..='\u{0E7F}')
}

/// Hashes what a user says without the lines that tell a clock, a date, a share or a count, where there are others.
fn hash_words(words: &str, hash: &mut impl Hasher) {
    let mut others = false;
    for line in lines(words).filter(|line| !is_volatile(line)) {
        line.hash(hash);
        others = true;
    }
    if !others {
        lines(words).for_each(|line| line.hash(hash));
    }
}

/// The lines that are not empty, without white space around them.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
    let mut from = 0;
    ends.map(move |end| text[std::mem::replace(&mut from, end + 1)..end].trim())
        .filter(|line| !line.is_empty())
}

/// Whether a line tells a time of day, a date, a share in percent or a count of tokens.
fn is_volatile(line: &str) -> bool {
    let bytes = line.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let clock = |at: usize| digit(at - 1) && digit(at + 1) && digit(at + 2);
    let date = |at: usize| {
        digit(at - 1)
            && digit(at - 2)
            && digit(at + 1)
            && digit(at + 2)
            && bytes.get(at + 3) == Some(&b'-')
    };
    // Most lines have no digit, and that is seen at once.
    if !has_digit(bytes) {
        return false;
    }
    let mut marks = memchr::memchr3_iter(b':', b'-', b'%', bytes);
    let told = marks.any(|at| match bytes[at] {
        b':' => at > 1 && clock(at),
        b'-' => at > 1 && date(at),
        _ => at > 0 && (digit(at - 1) || bytes[at - 1] == b' '),
    });
    told || speaks_of_tokens(bytes)
}

/// Whether a digit is in it. Without an early end in the inner loop it is done by vector instructions.
fn has_digit(bytes: &[u8]) -> bool {
    let any = |piece: &[u8]| piece.iter().fold(false, |any, b| any | b.is_ascii_digit());
    bytes.chunks(64).any(any)
}

/// Whether "token" is in it, in small letters or capitals; few words have a "k".
fn speaks_of_tokens(line: &[u8]) -> bool {
    memchr::memchr2_iter(b'k', b'K', line).any(|at| {
        let word = at.checked_sub(2).and_then(|from| line.get(from..at + 3));
        word.is_some_and(|word| word.eq_ignore_ascii_case(b"token"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Part, Role, Turn as ChatTurn};

    fn prompt(turns: &[(Role, &'static str)]) -> Prompt<'static> {
        let turns = turns
            .iter()
            .map(|(role, text)| ChatTurn {
                role: *role,
                parts: vec![Part::Text((*text).into())],
            })
            .collect();
        Prompt {
            turns,
            ..Prompt::default()
        }
    }

    #[test]
    fn a_turn_is_the_same_through_its_tool_calls_and_another_after_the_user_speaks_again() {
        let affinity = Affinity::default();
        let first = affinity.turn("a", None, &prompt(&[(Role::User, "fix it")]));
        assert!(!first.goes_on);
        affinity.remember(
            first,
            Served {
                model: "m".into(),
                effort: Effort::High,
                rule: "r".into(),
                efforts: Vec::new(),
            },
        );
        let after_tool = prompt(&[
            (Role::User, "fix it"),
            (Role::Assistant, "calling"),
            (Role::Tool, "done"),
        ]);
        assert!(
            affinity
                .served(affinity.turn("a", None, &after_tool))
                .is_some()
        );
        assert!(
            affinity
                .served(affinity.turn("b", None, &after_tool))
                .is_none(),
            "another caller"
        );
        let next = prompt(&[
            (Role::User, "fix it"),
            (Role::Assistant, "done"),
            (Role::User, "thanks"),
        ]);
        assert!(affinity.served(affinity.turn("a", None, &next)).is_none());
    }
}
