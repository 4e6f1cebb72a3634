//! Room held for one attempt, from its admission to its end.

use super::balance::Grant;
use super::record::{Closing, Opening, Outcome};
use super::store::StoreWork;
use super::{Ledger, Refused};
use crate::money::PicoUsd;
use std::sync::Arc;

/// Room held for one attempt. It is closed by value, by `post` or `void`.
#[derive(Debug)]
pub struct Reservation {
    ledger: Arc<Ledger>,
    opening: Arc<Opening>,
    grant: Grant,
    dispatched: bool,
    closed: bool,
}

/// What a reservation is made of.
pub(super) struct Parts {
    pub(super) ledger: Arc<Ledger>,
    pub(super) opening: Arc<Opening>,
    pub(super) grant: Grant,
    pub(super) dispatched: bool,
}

/// Room that is kept for an attempt which may not be made. Dropped, it is free again, and nothing was ever written of it.
#[derive(Debug)]
pub struct HeldRoom {
    reservation: Option<Reservation>,
}

impl HeldRoom {
    pub(super) fn new(reservation: Reservation) -> HeldRoom {
        HeldRoom {
            reservation: Some(reservation),
        }
    }

    /// The answer tokens that it covers.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.reservation.as_ref().map_or(0, Reservation::tokens)
    }

    /// The upper bound of its cost.
    #[must_use]
    pub fn amount(&self) -> PicoUsd {
        let row = self.reservation.as_ref();
        row.map_or(PicoUsd::ZERO, Reservation::amount)
    }

    /// The attempt's id.
    #[must_use]
    pub fn attempt(&self) -> &str {
        let row = self.reservation.as_ref();
        row.map_or("", |r| r.opening.attempt.as_str())
    }

    /// The reservation, which ends as something else.
    pub(super) fn into_reservation(mut self) -> Option<Reservation> {
        self.reservation.take()
    }

    /// The attempt takes the place of another one's answer.
    pub fn escalates(&mut self, from: &str) {
        if let Some(reservation) = &mut self.reservation {
            from.clone_into(&mut Arc::make_mut(&mut reservation.opening).escalated_from);
        }
    }

    /// The attempt is about to be made. Under a cap this returns when the reservation is durable; without one nothing waits.
    ///
    /// # Errors
    /// `Refused::Store`: the ledger cannot write.
    pub async fn open(mut self) -> Result<Reservation, Refused> {
        let Some(mut reservation) = self.reservation.take() else {
            return Err(Refused::Store("the room was given back".into()));
        };
        let writer = &reservation.ledger.writer;
        if reservation.must_be_durable() {
            let told = writer.ask(StoreWork::Open(reservation.row()));
            let outcome = told
                .await
                .unwrap_or_else(|_| Err("the ledger thread has ended".into()));
            if let Err(why) = outcome {
                // The row was never written, so there is nothing to close but the balance.
                reservation.forget();
                return Err(Refused::Store(why));
            }
        } else {
            writer.send(StoreWork::Open(reservation.row()));
        }
        reservation.dispatch();
        Ok(reservation)
    }
}

impl Drop for HeldRoom {
    fn drop(&mut self) {
        if let Some(mut reservation) = self.reservation.take() {
            reservation.forget();
        }
    }
}

impl Reservation {
    pub(super) fn new(ledger: Arc<Ledger>, opening: Arc<Opening>, grant: Grant) -> Reservation {
        Reservation {
            ledger,
            opening,
            grant,
            dispatched: false,
            closed: false,
        }
    }

    pub(super) fn from_parts(parts: Parts) -> Reservation {
        Reservation {
            ledger: parts.ledger,
            opening: parts.opening,
            grant: parts.grant,
            dispatched: parts.dispatched,
            closed: false,
        }
    }

    /// What it is made of; it goes on as what is made of that.
    pub(super) fn into_parts(mut self) -> Parts {
        self.closed = true;
        Parts {
            ledger: Arc::clone(&self.ledger),
            opening: std::mem::take(&mut self.opening),
            grant: self.grant.take(),
            dispatched: self.dispatched,
        }
    }

    pub(super) fn is_dispatched(&self) -> bool {
        self.dispatched
    }

    /// What is known of the attempt.
    #[must_use]
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// The row that opens it.
    pub(super) fn row(&self) -> Arc<Opening> {
        self.opening.clone()
    }

    /// A cap counts it and no lease stands behind it.
    pub(super) fn must_be_durable(&self) -> bool {
        self.grant.capped && !self.ledger.settings.leases()
    }

    pub(super) fn dispatch(&mut self) {
        self.dispatched = true;
    }

    /// When it was admitted, seconds since 1970.
    #[must_use]
    pub fn at(&self) -> i64 {
        self.opening.at_ms.div_euclid(1_000)
    }

    /// The upper bound of the attempt's cost.
    #[must_use]
    pub fn amount(&self) -> PicoUsd {
        self.grant.amount
    }

    /// The upper bound of its tokens, in and out.
    #[must_use]
    pub fn tokens_bound(&self) -> u64 {
        self.grant.tokens_bound
    }

    /// The answer tokens that the bound covers.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.grant.tokens
    }

    /// The answer cost more than its bound by so much: its model may be frozen. Tells whether it is.
    pub fn overrun(&self, excess: PicoUsd) -> bool {
        self.ledger.overrun(&self.opening, excess.0)
    }

    /// Books what the attempt cost.
    pub fn post(mut self, closing: Closing) {
        self.close(closing);
    }

    /// No work was done: nothing is charged.
    pub fn void(mut self, outcome: Outcome) {
        self.close(Closing::void(&self.opening.attempt, outcome));
    }

    /// Leaves the attempt open in the books: this process ends, and whoever finds it open charges it at its bound until it is known what it
    /// has cost.
    pub fn leave(mut self) {
        self.closed = true;
    }

    fn close(&mut self, mut closing: Closing) {
        closing.attempt.clone_from(&self.opening.attempt);
        self.closed = true;
        let postings = {
            let mut balances = self.ledger.balances();
            let postings = balances.close(&self.grant, &self.opening.dims(), &closing.spend());
            // Under the lock, so that the store hears of closes and of new counters in the same order as the balances.
            self.ledger.writer.send(StoreWork::Close(
                self.opening.clone(),
                Box::new(closing),
                postings,
            ));
            balances.take_returns()
        };
        if !postings.is_empty() {
            self.ledger.writer.send(StoreWork::Return(postings));
        }
        self.ledger.room.notify_waiters();
    }

    pub(super) fn forget(&mut self) {
        self.closed = true;
        let nothing = super::balance::Spend::default();
        self.ledger
            .balances()
            .close(&self.grant, &self.opening.dims(), &nothing);
        self.ledger.room.notify_waiters();
    }
}

impl Drop for Reservation {
    /// Nobody closed it. If nothing can have been sent it is void; else it is charged in full, loudly, since that is a defect.
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        if self.dispatched {
            tracing::error!(attempt = %self.opening.attempt, "a reservation was dropped without an end; it is charged at its bound");
            self.close(Closing::at_bound(&self.opening, Outcome::UpstreamError));
        } else {
            self.close(Closing::void(&self.opening.attempt, Outcome::NotSent));
        }
    }
}
