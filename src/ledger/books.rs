//! Opening the books: in the store that the settings name, to look at them or to make them, and as the one owner of their folder.

use super::Settings;
use super::store::Store;
use super::store::batches::Batches;
use super::store::postgres::{self, Postgres};
use super::store::sqlite::{self, Sqlite};
use crate::error::{Error, Kind};
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

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

/// The right of this process alone to keep the books in a folder, until it is dropped. Of a shared ledger nobody is the only owner.
#[derive(Debug)]
pub struct Owner(Option<File>);

/// What came of asking for it.
#[derive(Debug)]
pub enum Claim {
    /// It is this process's.
    Granted(Owner),
    /// Another one has it; the error says so.
    Held(Error),
}

impl Claim {
    /// The right, or the error where another one has it.
    ///
    /// # Errors
    /// Another flyball owns the folder.
    pub fn granted(self) -> Result<Owner, Error> {
        match self {
            Claim::Granted(owner) => Ok(owner),
            Claim::Held(error) => Err(error),
        }
    }
}

/// What the owner's file begins with once its owner is about to stop, so that the next one can begin to listen.
const LEAVING: &str = "leaving ";

/// Takes the folder for this process alone.
///
/// # Errors
/// The folder cannot be made or used.
pub fn own(settings: &Settings) -> Result<Claim, Error> {
    if settings.shared.is_some() {
        return Ok(Claim::Granted(Owner(None)));
    }
    let data_dir = &settings.data_dir;
    Sqlite::make_folder(data_dir)?;
    let path = owner_file(data_dir);
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
        Ok(()) => {
            file.set_len(0).map_err(unusable)?;
            Ok(Claim::Granted(Owner(Some(file))))
        }
        Err(TryLockError::WouldBlock) => Ok(Claim::Held(
            Error::new(Kind::Internal, "the data folder is in use").detail(format!(
                "another flyball owns {}; stop it, or give this one another --data-dir",
                data_dir.display()
            )),
        )),
        Err(TryLockError::Error(e)) => Err(unusable(e)),
    }
}

fn owner_file(data_dir: &Path) -> PathBuf {
    data_dir.join("owner.lock")
}

/// What the owner of this folder says who is about to stop, which no other one ever says.
#[must_use]
pub fn owner_leaves(settings: &Settings) -> Option<String> {
    let told = std::fs::read_to_string(owner_file(&settings.data_dir)).ok()?;
    (told.starts_with(LEAVING) && told.ends_with('\n')).then_some(told)
}

impl Owner {
    /// Says that this process is about to stop.
    pub(super) fn leaves(&self) {
        // Who waits for it finds out in the end in any case.
        if let Some(mut file) = self.0.as_ref() {
            let told = format!("{LEAVING}{}\n", uuid::Uuid::now_v7());
            let _ = file.write_all(told.as_bytes());
        }
    }
}
