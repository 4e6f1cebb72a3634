//! Opening the books: in the store that the settings name, to look at them or to make them, and as the one owner of their folder.

use super::Settings;
use super::store::Store;
use super::store::batches::Batches;
use super::store::postgres::{self, Postgres};
use super::store::sqlite::{self, Sqlite};
use crate::error::{Error, Kind};
use std::fs::{File, TryLockError};
use std::path::Path;

/// Opens the books to look at them or to administrate keys; any number of processes may.
///
/// # Errors
/// There are none yet, or they cannot be read.
pub fn open(settings: &Settings) -> Result<Box<dyn Store>, Error> {
    match &settings.shared {
        Some(address) => Ok(Box::new(Postgres::open(
            &address.0,
            settings.replica_timeout,
        )?)),
        None => Ok(Box::new(Sqlite::open_existing(&settings.data_dir)?)),
    }
}

/// As [`open`], but makes or migrates them first.
///
/// # Errors
/// They cannot be made or read.
pub fn make(settings: &Settings) -> Result<Box<dyn Store>, Error> {
    match &settings.shared {
        Some(address) => Ok(Box::new(Postgres::open(
            &address.0,
            settings.replica_timeout,
        )?)),
        None => Ok(Box::new(Sqlite::open(&settings.data_dir)?)),
    }
}

/// Opens what is known of batches, or makes a place for it.
///
/// # Errors
/// It cannot be opened, or a newer flyball wrote it.
pub fn batches(settings: &Settings) -> Result<Batches, Error> {
    match &settings.shared {
        Some(address) => postgres::open_batches(&address.0),
        None => sqlite::open_batches(&settings.data_dir),
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
