//! How the books are kept: in which folder or at which address, and with which leases.

use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the books are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder of the embedded ledger.
    pub data_dir: PathBuf,
    /// Thousandths of a cap that are leased at a time; 0 makes each reservation durable by itself.
    pub lease_permille: u32,
    /// Sessions that a key may have in one window of a cap on sessions.
    pub sessions_max: u32,
    /// The shared ledger, where several replicas have one.
    pub shared: Option<Address>,
    /// A replica from which the shared ledger hears nothing for so long is taken for dead.
    pub replica_timeout: Duration,
    /// Attempts are kept for so long, and their sums by day for ever; for ever where nothing is said.
    pub keep: Option<Duration>,
}

/// The address of a PostgreSQL ledger. It may hold a password, so it shows nowhere.
#[derive(Clone)]
pub struct Address(pub SecretString);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address(…)")
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Address) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}
impl Eq for Address {}

impl Settings {
    /// An embedded ledger in this folder, without leases.
    #[must_use]
    pub fn embedded(data_dir: &Path) -> Settings {
        Settings {
            data_dir: data_dir.to_owned(),
            lease_permille: 0,
            sessions_max: 1_000,
            shared: None,
            replica_timeout: Duration::from_secs(15),
            keep: None,
        }
    }

    /// Capped counters spend from leases.
    #[must_use]
    pub fn leases(&self) -> bool {
        self.lease_permille > 0 || self.shared.is_some()
    }

    /// Thousandths of a cap that are leased at a time.
    pub(super) fn slice_permille(&self) -> u32 {
        if self.lease_permille == 0 {
            10
        } else {
            self.lease_permille
        }
    }
}
