//! What became of the attempt whose answer others may be given too: whether it has ended well, and what it would cost again.

use crate::money::PicoUsd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Told by the settlements of one exchange, asked by whoever shares its answer.
#[derive(Debug, Default)]
pub struct Paid(Mutex<PaidAnswer>);

#[derive(Debug, Default)]
struct PaidAnswer {
    /// The attempt whose answer was delivered, once it has ended well.
    attempt: String,
    /// Its answer has ended at the token limit.
    at_limit: bool,
    /// What the same answer would cost at least if it were asked for once more, as soon as that is known.
    again: Option<PicoUsd>,
}

impl Paid {
    /// The answer of this attempt has come to its own end.
    pub(super) fn ended(&self, attempt: &str, at_limit: bool) {
        let mut known = self.known();
        attempt.clone_into(&mut known.attempt);
        known.at_limit = at_limit;
        known.again = None;
    }

    /// This attempt is booked.
    pub(super) fn booked(&self, attempt: &str, again: PicoUsd) {
        let mut known = self.known();
        if known.attempt == attempt {
            known.again = Some(again);
        }
    }

    /// The answer has ended well. `limited`: its token limit was lowered for the sake of who has asked for it, so that an end at the limit is
    /// none that another one would have got.
    #[must_use]
    pub fn is_good(&self, limited: bool) -> bool {
        let known = self.known();
        !(known.attempt.is_empty() || limited && known.at_limit)
    }

    /// What it would cost again at least; nothing where that is not known, or not known yet.
    #[must_use]
    pub fn again(&self) -> PicoUsd {
        self.known().again.unwrap_or_default()
    }

    fn known(&self) -> MutexGuard<'_, PaidAnswer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
