//! How a new process takes over from an old one that owns the same folder, so that no client is turned away.
//!
//! With `reuse_port` both may listen on one address. The new one keeps its addresses, does not listen yet, and waits for the folder. The old
//! one, told to stop, says in the folder that it leaves; the new one begins to listen, and says so; only then does the old one stop
//! accepting. It finishes what is open and closes its books; meanwhile connections wait in the new one's backlog. Neither waits for the
//! other for ever, and only one at a time has the books.

use crate::error::{Error, Kind};
use crate::ledger::Settings;
use crate::ledger::books::{self, Claim, Owner};
use crate::server::address::Address;
use crate::server::listener::{Listener, Reserved, Terms};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// What a waiting process writes once it listens.
const LISTENS: &[u8] = b"listens\n";
/// Between two looks at what the other process has written.
const LOOK: Duration = Duration::from_millis(10);
/// So long a process that stops waits for the one that follows it to listen, which takes that one two looks.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(3);

/// The addresses of a process that begins.
pub(super) struct Doors {
    places: [(Option<Place>, &'static str); 2],
    terms: Terms,
}

enum Place {
    Reserved(Reserved),
    Listening(Listener),
}

impl Doors {
    /// Keeps both addresses, of traffic and of administration.
    pub(super) fn new(traffic: Reserved, admin: Reserved, terms: Terms) -> Doors {
        let place = |reserved| Some(Place::Reserved(reserved));
        Doors {
            places: [
                (place(traffic), "--listen"),
                (place(admin), "--admin-listen"),
            ],
            terms,
        }
    }

    /// Where they are.
    pub(super) fn addresses(&self) -> Result<[Address; 2], Error> {
        let [(traffic, _), (admin, _)] = &self.places;
        let address = |place: &Option<Place>| {
            let address = match place {
                Some(Place::Reserved(reserved)) => reserved.address(),
                Some(Place::Listening(listener)) => listener.address(),
                None => Err(std::io::Error::other("it is gone")),
            };
            address.map_err(|e| Error::new(Kind::Internal, "no address").detail(e.to_string()))
        };
        Ok([address(traffic)?, address(admin)?])
    }

    /// From now on connections wait to be accepted.
    pub(super) fn listen(&mut self) -> Result<(), Error> {
        for (place, flag) in &mut self.places {
            *place = match place.take() {
                Some(Place::Reserved(reserved)) => {
                    Some(Place::Listening(reserved.listen(self.terms, flag)?))
                }
                other => other,
            };
        }
        Ok(())
    }

    /// Both sockets.
    pub(super) fn open(mut self) -> Result<[Listener; 2], Error> {
        self.listen()?;
        let [traffic, admin] = self.places.map(|(place, _)| match place {
            Some(Place::Listening(listener)) => Ok(listener),
            _ => Err(Error::new(Kind::Internal, "it does not listen")),
        });
        Ok([traffic?, admin?])
    }
}

/// Takes the folder, for which it waits so long where another flyball is to be followed.
pub(super) async fn take(
    settings: &Settings,
    doors: &mut Doors,
    patience: Option<Duration>,
) -> Result<Owner, Error> {
    let held = match books::own(settings)? {
        Claim::Granted(owner) => return Ok(owner),
        Claim::Held(error) => error,
    };
    let Some(patience) = patience else {
        return Err(held);
    };
    tracing::info!(
        "another flyball owns {}; this one takes over when that stops, and waits {patience:?} at most",
        settings.data_dir.display()
    );
    let path = follower_file(&settings.data_dir);
    let follower = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path);
    let follower = follower.map_err(|e| unusable(&path, &e))?;
    if follower.try_lock().is_err() {
        let public = "another flyball waits for the data folder";
        let detail = format!(
            "another flyball waits already to take over {}",
            settings.data_dir.display()
        );
        return Err(Error::new(Kind::Internal, public).detail(detail));
    }
    follower.set_len(0).map_err(|e| unusable(&path, &e))?;
    let deadline = Instant::now() + patience;
    let mut listens = false;
    loop {
        if let Claim::Granted(owner) = books::own(settings)? {
            return Ok(owner);
        }
        if !listens && books::owner_leaves(settings) {
            doors.listen()?;
            std::io::Write::write_all(&mut &follower, LISTENS).map_err(|e| unusable(&path, &e))?;
            listens = true;
        }
        if Instant::now() >= deadline {
            return Err(held);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until the process that is to follow this one listens, if there is one.
pub(super) async fn followed(settings: &Settings) {
    let path = follower_file(&settings.data_dir);
    let deadline = Instant::now() + FOLLOWS_WITHIN;
    while Instant::now() < deadline {
        let Ok(file) = File::options().read(true).write(true).open(&path) else {
            return;
        };
        // Nobody holds it: nobody waits.
        if !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return;
        }
        if std::fs::read(&path).is_ok_and(|told| told == LISTENS) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn follower_file(data_dir: &Path) -> PathBuf {
    data_dir.join("follower.lock")
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    let public = "the data folder cannot be used";
    Error::new(Kind::Internal, public).detail(format!("{}: {error}", path.display()))
}
