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
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at what the other process has written.
const LOOK: Duration = Duration::from_millis(10);
/// So long a process that stops waits for the one that follows it to listen, which takes that one two looks.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(3);
/// So much longer than otherwise a process waits for the books once it listens: the old one accepts nobody any more, so that to give up
/// would turn away everybody, while connections can wait.
const CLOSES_WITHIN: Duration = Duration::from_secs(60 * 60);

/// The addresses of a process that begins.
pub(super) struct Doors {
    places: [(Option<Door>, &'static str); 2],
    terms: Terms,
}

enum Door {
    Reserved(Reserved),
    Listening(Listener),
}

impl Doors {
    /// Keeps both addresses, of traffic and of administration.
    pub(super) fn new(traffic: Reserved, admin: Reserved, terms: Terms) -> Doors {
        let place = |reserved| Some(Door::Reserved(reserved));
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
        let address = |place: &Option<Door>| {
            let address = match place {
                Some(Door::Reserved(reserved)) => reserved.address(),
                Some(Door::Listening(listener)) => listener.address(),
                None => Err(std::io::Error::other("it is gone")),
            };
            address.map_err(|e| Error::new(Kind::Internal, "no address").detail(e.to_string()))
        };
        Ok([address(traffic)?, address(admin)?])
    }

    /// From now on connections wait to be accepted. Takes the paths of the one that it `follows`, who listens there still.
    pub(super) fn listen(&mut self, follows: bool) -> Result<(), Error> {
        for (place, flag) in &mut self.places {
            *place = match place.take() {
                Some(Door::Reserved(reserved)) => {
                    Some(Door::Listening(reserved.listen(self.terms, follows, flag)?))
                }
                other => other,
            };
        }
        Ok(())
    }

    /// Both sockets.
    pub(super) fn open(mut self) -> Result<[Listener; 2], Error> {
        self.listen(false)?;
        let [traffic, admin] = self.places.map(|(place, _)| match place {
            Some(Door::Listening(listener)) => Ok(listener),
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
    let mut follower = alone(&path, settings).await?;
    let mut deadline = Instant::now() + patience;
    let mut listens = false;
    loop {
        if let Claim::Granted(owner) = books::own(settings)? {
            return Ok(owner);
        }
        if !listens && let Some(told) = books::owner_leaves(settings) {
            doors.listen(true)?;
            // The same word: one that was said to an earlier one is no answer to this one.
            let said = follower.write_all(told.as_bytes());
            said.map_err(|e| unusable(&path, &e))?;
            listens = true;
            let longest = patience + CLOSES_WITHIN;
            deadline = Instant::now() + longest;
            tracing::info!(
                "the other flyball stops; connections wait here until it has closed its books, {longest:?} at most"
            );
        }
        if Instant::now() >= deadline {
            return Err(held);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The right to be the one that waits.
async fn alone(path: &Path, settings: &Settings) -> Result<File, Error> {
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path);
    let file = file.map_err(|e| unusable(path, &e))?;
    if file.try_lock().is_err() {
        // One that stops has it for a moment, to see whether anybody waits.
        tokio::time::sleep(LOOK).await;
        file.try_lock().map_err(|_| {
            let public = "another flyball waits for the data folder";
            Error::new(Kind::Internal, public).detail(format!(
                "another flyball waits already to take over {}",
                settings.data_dir.display()
            ))
        })?;
    }
    file.set_len(0).map_err(|e| unusable(path, &e))?;
    Ok(file)
}

/// Waits until the process that is to follow this one, which has said that it leaves, listens, if there is one.
pub(super) async fn followed(settings: &Settings) {
    let Some(leaving) = books::owner_leaves(settings) else {
        return;
    };
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
        if std::fs::read_to_string(&path).is_ok_and(|told| told == leaving) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::listener;
    use std::net::{Ipv4Addr, SocketAddr};

    fn doors() -> Doors {
        let terms = Terms {
            mode: 0o600,
            reuse_port: true,
        };
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let reserved = || listener::reserve(&address, terms, "--listen").expect("a port");
        Doors::new(reserved(), reserved(), terms)
    }

    #[tokio::test(start_paused = true)]
    async fn who_listens_waits_on_for_the_books_and_who_does_not_gives_up() {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = Settings::embedded(dir.path());
        let patience = Duration::from_secs(5);
        let claim = books::own(&settings).expect("a folder");
        let owner = claim.granted().expect("nobody has it");
        let waited = take(&settings, &mut doors(), Some(patience)).await;
        assert!(waited.is_err());
        let follower = settings.clone();
        let taking =
            tokio::spawn(
                async move { take(&follower, &mut doors(), Some(patience)).await.is_ok() },
            );
        std::fs::write(dir.path().join("owner.lock"), "leaving 1\n").expect("written");
        tokio::time::sleep(patience * 10).await;
        let told = std::fs::read_to_string(follower_file(dir.path())).expect("it is there");
        assert_eq!(told, "leaving 1\n");
        assert!(!taking.is_finished());
        drop(owner);
        assert!(taking.await.expect("no panic"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_to_an_earlier_one_is_not_heard() {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = Settings::embedded(dir.path());
        std::fs::write(dir.path().join("owner.lock"), "leaving 2\n").expect("written");
        let path = follower_file(dir.path());
        std::fs::write(&path, "leaving 1\n").expect("written");
        let waits = File::options()
            .write(true)
            .open(&path)
            .expect("it is there");
        waits.try_lock().expect("nobody has it");
        let stopping = tokio::spawn(async move { followed(&settings).await });
        tokio::time::sleep(FOLLOWS_WITHIN / 2).await;
        assert!(!stopping.is_finished());
        (&waits).write_all(b"leaving 2\n").expect("written");
        tokio::time::sleep(2 * LOOK).await;
        assert!(stopping.is_finished());
    }
}
