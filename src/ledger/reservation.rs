//! Room held for one attempt, from its admission to its end.

use super::Ledger;
use super::balance::Grant;
use super::record::{Closing, Opening, Outcome};
use super::store::StoreWork;
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

    fn close(&mut self, mut closing: Closing) {
        closing.attempt.clone_from(&self.opening.attempt);
        self.closed = true;
        let postings = {
            let mut balances = self.ledger.balances();
            let postings = balances.close(&self.grant, &self.opening.dims(), &closing.spend());
            // Under the lock, so that the store hears of closes and of new counters in the same order as the balances.
            self.ledger
                .writer
                .send(StoreWork::Close(Box::new(closing), postings));
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
