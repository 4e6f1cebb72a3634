//! What a conversation's next turn says of the answer before it, where the operator lets that be heard: a user who says that it was wrong, takes
//! it back, asks for the same in other words, or edits the turn and sends it again. It becomes an outcome of that answer, off the path.

use super::completion::Completion;
use super::{Exchange, State, feedback};
use crate::affinity::{Answered, UserTurn};
use crate::classify::reaction::{self, is_alike, words_of};
use crate::ledger::judged::JudgedBy;
use std::sync::Arc;

/// Bytes of a turn that are remembered.
const ASKED_MAX: usize = 1024;

impl Exchange<'_> {
    /// Hears what this turn says of the one before it, and remembers who answers it.
    pub(super) fn hears(&self, completion: &Completion<'_>, turn: UserTurn) {
        let admission = self.admission;
        let hears = admission
            .policy
            .learning
            .as_ref()
            .is_some_and(|l| l.implicit);
        let confidential = admission.wishes.private || !admission.detected.is_empty();
        if !hears || confidential || turn.goes_on {
            return;
        }
        let prompt = &completion.request.prompt;
        let Some(asked) = prompt.turns.last().map(words_of) else {
            return;
        };
        let affinity = &self.state.affinity;
        let reacted = reaction::reaction(prompt).and_then(|_| affinity.answered_before(turn));
        let edited = affinity.answered_in_place(turn);
        let edited = edited.filter(|answered| is_alike(&answered.asked, &asked));
        let key = admission.caller.key.as_ref().map(|key| key.id);
        for answered in reacted.into_iter().chain(edited) {
            tokio::spawn(note(Arc::clone(self.state), answered.request, key));
        }
        let asked = &asked[..asked.floor_char_boundary(ASKED_MAX)];
        let answered = Answered {
            request: admission.id.into(),
            asked: asked.into(),
        };
        affinity.answered(turn, answered);
    }
}

/// Keeps that an answer was not taken well, if it was one that this key was given.
async fn note(state: Arc<State>, request: Arc<str>, key: Option<i64>) {
    let kept = feedback::keep(
        (&state.ledger, state.affinity.measured()),
        &request,
        key,
        (JudgedBy::Implicit, 0),
    );
    if let Err(error) = kept.await {
        tracing::debug!(why = %error.detail, "what a turn says of the answer before it cannot be kept");
    }
}
