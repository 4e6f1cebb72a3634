//! Whether a probe pays, and whether an answer is gone on from.

use super::calibration::{AnswerChances, Curve, Promise};
use crate::arm::Objective;
use crate::money::PicoUsd;

/// What an objective asks of an answer that stands in for a better arm's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// The better arm is asked where it would add more than this part of its own chance.
    pub gives_up: f64,
}

impl Demand {
    /// Of an objective.
    #[must_use]
    pub fn of(objective: Objective) -> Demand {
        Demand {
            gives_up: match objective {
                Objective::Cheap | Objective::Fast => 0.30,
                Objective::Balanced => 0.14,
                Objective::Best => 0.05,
            },
        }
    }

    /// The answer is not good enough: the better arm adds more than may be given up.
    #[must_use]
    pub fn goes_on(self, stands: AnswerChances) -> bool {
        stands.gain() > self.gives_up * stands.better
    }
}

/// A probe must save this part of the better arm's price, in thousandths: two answers take longer than one, and what is expected is not
/// known well.
const SAVES_LEAST: u64 = 50;

/// What asking the weaker arm first is expected to cost and save.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// The share of such answers that are gone on from, 0 to 1.
    pub goes_on: f64,
    /// What both arms together are expected to cost.
    pub cost: PicoUsd,
    /// Less than the better arm alone, by enough.
    pub pays: bool,
}

/// What a probe of such a prompt is expected to come to, with arms that are expected to cost so much.
#[must_use]
pub fn forecast(
    curve: &Curve,
    promise: Promise,
    demand: Demand,
    (weak, strong): (PicoUsd, PicoUsd),
) -> Forecast {
    let goes_on = curve.share(promise, |stands| demand.goes_on(stands));
    let cost = weak + strong.thousandths(thousandths(goes_on));
    Forecast {
        goes_on,
        cost,
        pays: cost + strong.thousandths(SAVES_LEAST) < strong,
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is between 0 and 1"
)]
fn thousandths(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * 1_000.0).round() as u64
}
