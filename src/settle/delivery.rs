//! What was delivered to a client, for whoever holds another arm's answer against it: told once, by the attempt whose answer went out.

use crate::ledger::record::Opening;
use crate::money::PicoUsd;
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

/// An answer that went to a client.
#[derive(Debug)]
pub struct Delivered {
    /// The row of its attempt.
    pub opening: Opening,
    /// What it said; nothing where the client went away before its end.
    pub text: Option<String>,
    /// What it cost.
    pub cost: PicoUsd,
}

/// Where the attempts of an exchange tell what was delivered. Dropped untold, nothing was.
#[derive(Debug)]
pub struct Delivery(Mutex<Option<oneshot::Sender<Delivered>>>);

impl Delivery {
    /// One, and where it is heard.
    #[must_use]
    pub fn new() -> (Delivery, oneshot::Receiver<Delivered>) {
        let (tell, heard) = oneshot::channel();
        (Delivery(Mutex::new(Some(tell))), heard)
    }

    pub(super) fn tell(&self, delivered: Delivered) {
        let mut tell = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tell) = tell.take() {
            // Nobody may listen any more.
            let _ = tell.send(delivered);
        }
    }
}
