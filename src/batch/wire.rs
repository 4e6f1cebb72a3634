//! Which provider has a batch API that is known, and in which dialect. Pure.

use crate::chat::ServiceTier;
use crate::dialect::batch::VendorBatches;
use crate::dialect::{self, Dialect};
use crate::fleet::Arm;
use crate::provider::{Provider, Side};

/// A vendor's batch API.
#[derive(Clone, Copy)]
pub struct Wire {
    /// The dialect in which it is spoken to.
    pub dialect: &'static dyn Dialect,
    /// Its batches.
    pub batches: &'static dyn VendorBatches,
}

/// The batch API of a provider, if it has one that is known.
#[must_use]
pub fn of_provider(provider: &Provider) -> Option<Wire> {
    provider.kind.sides.iter().find_map(|(side, path)| {
        let Side::Batches(name) = side else {
            return None;
        };
        let dialect = dialect::named(name)?;
        let batches = dialect.vendor_batches()?;
        // Who has them elsewhere has them in its own way.
        (*path == batches.path()).then_some(Wire { dialect, batches })
    })
}

/// The batch API of an arm's provider, if it has one that is known, and the arm's price there is.
#[must_use]
pub fn wire_of(arm: &Arm) -> Option<Wire> {
    let priced = arm
        .model
        .price
        .is_none_or(|price| price.served(ServiceTier::Batch, 0).is_some());
    of_provider(&arm.model.provider).filter(|_| priced)
}
