//! The end of a request that was given another one's answer: a row that costs nothing, and what it has saved.

use super::{Around, Paid};
use crate::arm::Effort;
use crate::chat::Usage;
use crate::ledger::Reservation;
use crate::ledger::record::{Basis, Cause, Closing, Outcome};
use crate::money::PicoUsd;
use crate::settle::Bill;
use crate::telemetry::AttemptClosed;
use std::sync::Arc;

/// A request that is given another one's answer, from its row to its end. Dropped, its client has gone away.
pub struct Replayed {
    open: Option<Box<OpenReplay>>,
}

struct OpenReplay {
    around: Around,
    reservation: Reservation,
    effort: Effort,
    stream: bool,
    paid: Arc<Paid>,
}

impl Replayed {
    /// The row is open. `effort` is the one at which the answer was made.
    #[must_use]
    pub fn new(
        around: Around,
        reservation: Reservation,
        (effort, stream): (Effort, bool),
        paid: Arc<Paid>,
    ) -> Replayed {
        around.telemetry.attempt_opened();
        if stream {
            around.telemetry.stream_opened();
        }
        Replayed {
            open: Some(Box::new(OpenReplay {
                around,
                reservation,
                effort,
                stream,
                paid,
            })),
        }
    }

    /// The answer was given. Tells what that has cost, which is nothing, and what it would have cost.
    pub fn ended(mut self) -> Bill {
        self.close(Outcome::Ok)
    }

    /// The answer that was followed broke off.
    pub fn cut(mut self) {
        let _ = self.close(Outcome::StreamCut);
    }

    fn close(&mut self, outcome: Outcome) -> Bill {
        let cost = PicoUsd::ZERO;
        let Some(open) = self.open.take() else {
            return Bill {
                cost,
                baseline: cost,
            };
        };
        let opening = open.reservation.opening();
        let baseline = match outcome {
            Outcome::Ok => open.paid.again(),
            // What was not given in full has saved nothing for sure.
            _ => PicoUsd::ZERO,
        };
        let closing = Closing {
            cost,
            baseline,
            baseline_model: opening.model.clone(),
            baseline_effort: open.effort,
            cause: Some(Cause::ResponseCache),
            usage: Usage::default(),
            // Nothing was used, which is known for sure; and unlike what is void it counts as a request.
            basis: Basis::Reported,
            ..Closing::void(&opening.attempt, outcome)
        };
        let Around {
            telemetry,
            arrived,
            phases,
            ..
        } = &open.around;
        if open.stream {
            telemetry.stream_closed();
        }
        telemetry.attempt(&AttemptClosed {
            opening,
            closing: &closing,
            effort: open.effort,
            reasoning_cost: PicoUsd::ZERO,
            graded: false,
            probe: None,
            capped: false,
            stream: open.stream,
            status: 200,
            ttft: None,
            decode_tokens_per_second: None,
            total: arrived.elapsed(),
            added: phases.iter().map(|(_, took)| *took).sum(),
            phases,
            traced: None,
        });
        open.reservation.post(closing);
        Bill { cost, baseline }
    }
}

impl Drop for Replayed {
    fn drop(&mut self) {
        if self.open.is_some() {
            let _ = self.close(Outcome::ClientGone);
        }
    }
}
