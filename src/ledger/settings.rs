//! How the books are kept, and who owns their folder.

use super::store::Store;
use super::store::postgres::Postgres;
use super::store::sqlite::Sqlite;
use crate::error::{Error, Kind};
use secrecy::{ExposeSecret, SecretString};
use std::fs::{File, TryLockError};
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

    /// Opens the books to look at them or to administrate keys; any number of processes may.
    ///
    /// # Errors
    /// There are none yet, or they cannot be read.
    pub fn books(&self) -> Result<Box<dyn Store>, Error> {
        match &self.shared {
            Some(address) => Ok(Box::new(Postgres::open(&address.0, self.replica_timeout)?)),
            None => Ok(Box::new(Sqlite::open_existing(&self.data_dir)?)),
        }
    }

    /// As [`Settings::books`], but makes or migrates them first.
    ///
    /// # Errors
    /// They cannot be made or read.
    pub fn make_books(&self) -> Result<Box<dyn Store>, Error> {
        match &self.shared {
            Some(address) => Ok(Box::new(Postgres::open(&address.0, self.replica_timeout)?)),
            None => Ok(Box::new(Sqlite::open(&self.data_dir)?)),
        }
    }
}

/// Takes the folder for this process alone, until the file is closed.
pub(super) fn own(data_dir: &Path) -> Result<File, Error> {
    let path = data_dir.join("owner.lock");
    let unusable = |e: std::io::Error| {
        Error::new(Kind::Internal, "the data folder cannot be used")
            .detail(format!("{}: {e}", path.display()))
    };
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(
                Error::new(Kind::Internal, "the data folder is in use").detail(format!(
                    "another flyball owns {}; stop it, or give this one another --data-dir",
                    data_dir.display()
                )),
            )
        }
        Err(TryLockError::Error(e)) => Err(unusable(e)),
    }
}
