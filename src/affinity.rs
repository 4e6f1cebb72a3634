//! Which arm serves a user's turn, so that its tool calls go to the same model.
//!
//! A turn is known by a hash of the caller and of the conversation up to the user's last ask: no session id is needed.

mod items;
mod makers;

pub use items::Items;
pub use makers::Makers;

use crate::arm::Effort;
use crate::chat::{Part, Prompt, Role};
use foldhash::quality::RandomState;
use moka::sync::Cache;
use std::hash::{BuildHasher, Hash, Hasher};
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
}

/// The turns that are going on.
#[derive(Debug)]
pub struct Affinity {
    turns: Cache<u64, Served>,
    makers: Makers,
    items: Items,
    // A whole conversation is hashed for each request, so the hash must be fast; it is seeded, and differs by caller.
    hasher: RandomState,
}

impl Default for Affinity {
    fn default() -> Self {
        Affinity {
            turns: Cache::builder()
                .max_capacity(TURNS_MAX)
                .time_to_idle(IDLE)
                .build(),
            makers: Makers::default(),
            items: Items::default(),
            hasher: RandomState::default(),
        }
    }
}

/// A user's turn: its hash, and whether this request goes on with it (after tool calls) or begins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    hash: u64,
    /// The model has acted since the user last spoke.
    pub goes_on: bool,
}

impl Affinity {
    /// The turn that `prompt` is in.
    #[must_use]
    pub fn turn(&self, caller: &str, session: Option<&str>, prompt: &Prompt<'_>) -> Turn {
        let ask = prompt.turns.iter().rposition(|t| {
            t.role == Role::User && t.parts.iter().any(|p| matches!(p, Part::Text(_)))
        });
        let mut hash = self.hasher.build_hasher();
        (caller, session).hash(&mut hash);
        prompt.system.hash(&mut hash);
        for turn in prompt.turns.iter().take(ask.map_or(0, |at| at + 1)) {
            for part in &turn.parts {
                if let Part::Text(text) | Part::ToolResult(text) = part {
                    text.hash(&mut hash);
                }
            }
        }
        let goes_on = ask.is_some_and(|at| at + 1 < prompt.turns.len());
        Turn {
            hash: hash.finish(),
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

    /// What serves this turn, if it goes on and is remembered.
    #[must_use]
    pub fn served(&self, turn: Turn) -> Option<Served> {
        turn.goes_on.then(|| self.turns.get(&turn.hash)).flatten()
    }

    /// Remembers what serves a turn.
    pub fn remember(&self, turn: Turn, served: Served) {
        self.turns.insert(turn.hash, served);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Turn as ChatTurn;

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
