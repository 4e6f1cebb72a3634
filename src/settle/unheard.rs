//! The end of an attempt of which nobody knows what came: it is charged at its bound, or was never begun, and metrics hear of either.

use crate::ledger::Reservation;
use crate::ledger::record::{Closing, Outcome};
use crate::money::PicoUsd;
use crate::telemetry::{AttemptClosed, Telemetry};
use std::time::Duration;

/// Charges an attempt at its bound, since nobody knows what was done for it.
pub fn at_bound(telemetry: &Telemetry, reservation: Reservation, outcome: Outcome) {
    let closing = Closing::at_bound(reservation.opening(), outcome);
    close(telemetry, reservation, closing);
}

/// Closes an attempt for which nothing was done.
pub fn void(telemetry: &Telemetry, reservation: Reservation, outcome: Outcome) {
    let closing = Closing::void(&reservation.opening().attempt, outcome);
    close(telemetry, reservation, closing);
}

fn close(telemetry: &Telemetry, reservation: Reservation, closing: Closing) {
    let opening = reservation.opening();
    telemetry.attempt_opened();
    telemetry.attempt(&AttemptClosed {
        opening,
        closing: &closing,
        effort: opening.effort,
        reasoning_cost: PicoUsd::ZERO,
        graded: false,
        probe: None,
        capped: false,
        stream: false,
        status: 0,
        ttft: None,
        decode_tokens_per_second: None,
        total: Duration::ZERO,
        added: Duration::ZERO,
        phases: &[],
        traced: None,
    });
    telemetry.bound_excess(closing.excess);
    reservation.post(closing);
}
