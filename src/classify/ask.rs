//! The user's ask in its context: what was really asked, without an app's boilerplate, read once and within bounds.

use super::known::CallersAsks;
use super::pieces::{Pieces, has_result};
use super::plain::{self, Plain};
use super::reading::Reading;
use crate::chat::{Part, Prompt, Role};
use std::sync::Arc;

/// So many replies may follow each other; beyond that the conversation has lost its ask.
const REPLIES_MAX: usize = 4;

/// An ask in its conversation.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    /// What was read of it.
    pub(super) reading: Arc<Reading>,
    /// Bytes of all words of the conversation.
    pub(super) conversation_bytes: u64,
    /// The last turn was a short reply to an answer.
    pub(super) inherited: bool,
    /// Tool results since the user spoke.
    pub(super) tool_turns: usize,
    /// Turns of the conversation.
    pub(super) turns: usize,
    /// The asks before it, the latest first, where it may go on with them.
    pub(super) before: Vec<Pieces<'a>>,
    pieces: Pieces<'a>,
}

impl<'a> Ask<'a> {
    /// Finds the ask: the last user turn with words of its own, or, behind a short reply, the one before.
    pub(super) fn find(prompt: &'a Prompt<'_>, known: CallersAsks<'_>) -> Ask<'a> {
        let mut asks = prompt
            .turns
            .iter()
            .rev()
            .filter(|t| t.role == Role::User)
            .map(Pieces::of)
            .filter(|p| !p.blank());
        let mut ask = Ask::read(asks.next().unwrap_or_default(), known);
        // Thanks and farewells end what was asked before.
        if ask.reading.is_reply && ask.reading.plain != Some(Plain::Farewell) {
            let before = asks
                .by_ref()
                .take(REPLIES_MAX)
                .map(|pieces| Ask::read(pieces, known))
                .find(|a| !a.reading.is_reply);
            if let Some(before) = before {
                ask = Ask {
                    inherited: true,
                    ..before
                };
            }
        }
        let answered = || prompt.turns.iter().any(|t| t.role == Role::Assistant);
        if ask.reading.may_follow && answered() {
            ask.before = asks.take(REPLIES_MAX).collect();
        }
        ask.turns = prompt.turns.len();
        ask.tool_turns = prompt
            .turns
            .iter()
            .rev()
            .take_while(|t| t.role != Role::User || Pieces::of(t).blank())
            .filter(|t| t.role == Role::Tool || has_result(t))
            .count();
        ask.conversation_bytes = bytes_of(prompt);
        ask
    }

    /// What these pieces say.
    pub(super) fn read(pieces: Pieces<'a>, known: CallersAsks<'_>) -> Ask<'a> {
        let pieces = pieces.unframed();
        Ask {
            reading: known.read(&pieces),
            conversation_bytes: 0,
            inherited: false,
            tool_turns: 0,
            turns: 0,
            before: Vec::new(),
            pieces,
        }
    }

    /// Whether it leans on what was said before it.
    pub(super) fn leans_back(&self) -> bool {
        self.reading.may_follow && self.pieces.iter().any(plain::leans_back)
    }

    /// Whether it has a word of the ask before it.
    pub(super) fn shares_a_word(&self, earlier: &Ask<'_>) -> bool {
        let mut own = self.pieces.iter();
        own.any(|text| {
            earlier
                .pieces
                .iter()
                .any(|other| plain::shares_a_word(text, other))
        })
    }
}

/// Tokens of the whole conversation, by bytes / 4: all that is known of it where nothing is measured.
#[must_use]
pub fn tokens_estimate(prompt: &Prompt<'_>) -> u64 {
    bytes_of(prompt) / 4
}

fn bytes_of(prompt: &Prompt<'_>) -> u64 {
    let parts = prompt.turns.iter().flat_map(|t| &t.parts).map(|p| match p {
        Part::Text(text) | Part::ToolResult(text) => text.len(),
        _ => 0,
    });
    let all = parts.sum::<usize>() + prompt.system.iter().map(|s| s.len()).sum::<usize>();
    u64::try_from(all).unwrap_or(u64::MAX)
}
