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
    /// What stands before every path of it at this provider.
    pub prefix: &'static str,
}

impl Wire {
    /// A path at the provider as its batch API writes it.
    #[must_use]
    pub fn own_path<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(self.prefix)
    }
}

/// The batch API of a provider, if it has one that is known. Who has a vendor's API elsewhere may take less of it than that vendor does: no
/// batches are made there.
#[must_use]
pub fn of_provider(provider: &Provider) -> Option<Wire> {
    known_of(provider).filter(|wire| wire.prefix.is_empty())
}

/// The batch API of a provider, also where it stands below another path: what its clients make there can be looked at.
#[must_use]
pub fn known_of(provider: &Provider) -> Option<Wire> {
    provider.kind.sides.iter().find_map(|(side, path)| {
        let batches = match side {
            Side::Batches(name) => dialect::named(name)?.vendor_batches()?,
            Side::OwnBatches(name) => dialect::batch::own(name)?,
            _ => return None,
        };
        let dialect = dialect::named(batches.dialect())?;
        let prefix = path.strip_suffix(batches.path())?;
        Some(Wire {
            dialect,
            batches,
            prefix,
        })
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
