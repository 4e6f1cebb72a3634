//! Whether flyball learns from outcomes, and what it has learned.

use super::Policy;
use crate::classify::overlay::Overlay;
use crate::fleet::ability::{CorrectedAbilities, Corrections};
use std::sync::Arc;

/// What the operator says of learning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learning {
    /// At which minute after midnight it learns by itself, if it does.
    pub nightly_at: Option<u32>,
    /// The weak and the strong arm, `model@effort`; those whose answers were compared most often where none are named.
    pub arms: Option<(String, String)>,
    /// What the next turn says of an answer is heard.
    pub implicit: bool,
    /// The operator's own fit is in force, and wins.
    pub own_fit: bool,
}

/// What was learned from outcomes and is in force.
#[derive(Clone, Debug, Default)]
pub struct LearnedFromOutcomes {
    /// What is added to the grader.
    pub overlay: Option<Arc<Overlay>>,
    /// What is added to the abilities of models.
    pub corrections: Option<Corrections>,
}

impl Policy {
    /// Goes by what was learned, where the operator lets it and has no fit of their own. Tells whether anything is changed by that.
    pub fn go_by(&mut self, learned: &Arc<LearnedFromOutcomes>) -> bool {
        let learns = self.learning.as_ref().is_some_and(|l| !l.own_fit);
        if !learns || Arc::ptr_eq(&self.learned, learned) {
            return false;
        }
        self.learned = Arc::clone(learned);
        self.overlay.clone_from(&learned.overlay);
        let known = self.fleet.models.iter().map(|m| (&*m.name, m.ability));
        let corrected = |by| Arc::new(CorrectedAbilities::of(by, known));
        self.abilities = learned.corrections.as_ref().map(corrected);
        true
    }
}
