//! Notices that configuration files have changed and have settled, or that SIGHUP came. Says so and
//! no more: it never reads what a file means, and it outlives folders that vanish.
//!
//! Notifications make it prompt; a look every two seconds makes it certain (network file systems
//! send none, a swapped folder takes its watch with it).

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// So long nothing may change before a change counts: editors and `rsync` write in several steps.
const SETTLED: Duration = Duration::from_millis(200);
/// From a notification to the look at the files: one save sends a handful of notifications, and a
/// ledger in the same folder sends them all the time.
const GATHER: Duration = Duration::from_millis(20);
/// Between looks without a notification.
const LOOK: Duration = Duration::from_secs(2);

/// A watch that ends when this is dropped.
#[derive(Debug)]
pub struct Watching {
    wake: Sender<Wake>,
}

#[derive(Debug)]
enum Wake {
    Notified,
    Hangup,
    Sources(Vec<PathBuf>),
    Stop,
}

/// Calls `on_change`, on a thread of its own, whenever the content of `sources` (files, and folders
/// of `*.toml`) has changed and settled. On Unix, inside a Tokio runtime, SIGHUP calls it at once.
pub fn start(sources: Vec<PathBuf>, on_change: impl FnMut() + Send + 'static) -> Watching {
    let (wake, woken) = channel();
    hang_up(&wake);
    let notified = wake.clone();
    let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // Reading changes nothing, and the look at the files reads them.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            // The thread may have ended; then nobody wants to know.
            let _ = notified.send(Wake::Notified);
        }
    });
    if let Err(why) = &watcher {
        tracing::warn!(%why, "no notifications of changed files; looking every 2 s instead");
    }
    let mut look = Look::new(sources, watcher.ok());
    // The state to compare with is the one at this call, not at some later start of the thread.
    look.arm();
    let name = "config-watch".to_owned();
    let run = move || look.run(&woken, on_change);
    if let Err(why) = std::thread::Builder::new().name(name).spawn(run) {
        tracing::error!(%why, "configuration is not watched");
    }
    Watching { wake }
}

impl Watching {
    /// Watches these files and folders instead, as they are now.
    pub fn replace(&self, sources: Vec<PathBuf>) {
        let _ = self.wake.send(Wake::Sources(sources));
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.wake.send(Wake::Stop);
    }
}

/// Passes SIGHUP on.
#[cfg(unix)]
fn hang_up(wake: &Sender<Wake>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    let wake = wake.clone();
    match signal(SignalKind::hangup()) {
        Ok(mut hangups) => drop(runtime.spawn(async move {
            while hangups.recv().await.is_some() && wake.send(Wake::Hangup).is_ok() {}
        })),
        Err(why) => tracing::warn!(%why, "SIGHUP does not reload"),
    }
}

#[cfg(not(unix))]
fn hang_up(_: &Sender<Wake>) {}

/// The content of each file, as a hash; `None` where there is no file.
type WatchState = Vec<(PathBuf, Option<u64>)>;

struct Look {
    sources: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    /// Some folder could not be watched.
    blind: bool,
    /// As of the last call, or of the start.
    told: WatchState,
    /// As of the last look.
    seen: WatchState,
    changed_at: Instant,
}

impl Look {
    fn new(sources: Vec<PathBuf>, watcher: Option<RecommendedWatcher>) -> Look {
        Look {
            sources,
            watcher,
            blind: false,
            told: WatchState::new(),
            seen: WatchState::new(),
            changed_at: Instant::now(),
        }
    }

    fn run(mut self, woken: &Receiver<Wake>, mut on_change: impl FnMut()) {
        let mut next = Instant::now() + LOOK;
        loop {
            let now = Instant::now();
            if now >= next {
                next = now + self.look(now, &mut on_change);
            }
            let wait = next.saturating_duration_since(Instant::now());
            match woken.recv_timeout(wait) {
                Ok(Wake::Notified) => next = next.min(Instant::now() + GATHER),
                Ok(Wake::Hangup) => {
                    self.arm();
                    on_change();
                }
                Ok(Wake::Sources(sources)) => {
                    self.sources = sources;
                    self.arm();
                }
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Takes the files as they are for known.
    fn arm(&mut self) {
        self.watch_folders();
        self.told = state(&self.sources);
        self.seen = self.told.clone();
    }

    /// Looks at the files; tells a change that has settled. Gives the time until the next look.
    fn look(&mut self, now: Instant, on_change: &mut impl FnMut()) -> Duration {
        let state = state(&self.sources);
        if state != self.seen {
            self.seen = state;
            self.changed_at = now;
            // A folder that was swapped for another needs a new watch.
            self.watch_folders();
            return SETTLED;
        }
        if self.blind {
            self.watch_folders();
        }
        if self.seen == self.told {
            return LOOK;
        }
        let since = now.saturating_duration_since(self.changed_at);
        if since < SETTLED {
            return SETTLED - since;
        }
        self.told = self.seen.clone();
        on_change();
        LOOK
    }

    fn watch_folders(&mut self) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        self.blind = false;
        for folder in folders(&self.sources) {
            // Fails where it was not watched: as wanted.
            let _ = watcher.unwatch(&folder);
            self.blind |= watcher.watch(&folder, RecursiveMode::NonRecursive).is_err();
        }
    }
}

/// The folders in which the sources are: a file that is replaced takes a watch on itself along.
fn folders(sources: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for source in sources {
        match source.parent() {
            Some(parent) if parent != Path::new("") => folders.insert(parent.to_owned()),
            _ => folders.insert(PathBuf::from(".")),
        };
        if source.is_dir() {
            folders.insert(source.clone());
        }
    }
    folders
}

fn state(sources: &[PathBuf]) -> WatchState {
    let mut files: Vec<PathBuf> = Vec::new();
    for source in sources {
        match std::fs::read_dir(source) {
            Ok(entries) => {
                let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
                files.extend(paths.filter(|p| p.extension().is_some_and(|e| e == "toml")));
            }
            Err(_) => files.push(source.clone()),
        }
    }
    files.sort();
    let hashed = |file: PathBuf| {
        let hash = hash(&file);
        (file, hash)
    };
    files.into_iter().map(hashed).collect()
}

/// Only of a plain file: a pipe would give its content to whoever reads first.
fn hash(file: &Path) -> Option<u64> {
    let plain = std::fs::metadata(file).is_ok_and(|m| m.is_file());
    let content = plain.then(|| std::fs::read(file).ok()).flatten()?;
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Folder;
    use crate::until::{DEADLINE, ran};
    use std::sync::mpsc;

    fn watched(sources: Vec<PathBuf>) -> (Watching, mpsc::Receiver<()>) {
        let (told, tells) = mpsc::channel();
        let watching = start(sources, move || {
            let _ = told.send(());
        });
        (watching, tells)
    }

    /// Longer than it takes to gather and settle.
    const QUIET: Duration = Duration::from_millis(600);

    /// Waits until a change, or SIGHUP, is told.
    fn told(what: &str, tells: &mpsc::Receiver<()>) {
        assert_eq!(tells.recv_timeout(DEADLINE), Ok(()), "{what}");
    }

    /// Looks of which the test says when they are.
    struct Looks {
        look: Look,
        now: Instant,
        told: usize,
    }

    impl Looks {
        fn at(sources: Vec<PathBuf>) -> Looks {
            let mut look = Look::new(sources, None);
            look.arm();
            let now = look.changed_at;
            Looks { look, now, told: 0 }
        }

        /// The time until the next look, from a look this much later.
        fn after(&mut self, time: Duration) -> Duration {
            self.now += time;
            self.look.look(self.now, &mut || self.told += 1)
        }
    }

    #[test]
    fn several_writes_in_a_row_are_told_once_they_have_settled() {
        let folder = Folder::new();
        let file = folder.write("flyball.toml", "a");
        let mut looks = Looks::at(vec![file.clone()]);
        let moment = Duration::from_millis(1);
        for step in 0..6 {
            std::fs::write(&file, format!("half written {step}")).expect("a write");
            assert_eq!(looks.after(Duration::ZERO), SETTLED);
            assert_eq!(looks.after(SETTLED - moment), moment, "not settled yet");
        }
        assert_eq!(looks.told, 0, "told before it settled");
        assert_eq!((looks.after(moment), looks.told), (LOOK, 1));
        assert_eq!((looks.after(SETTLED), looks.told), (LOOK, 1), "told twice");
    }

    #[test]
    fn other_files_and_the_same_content_are_no_change() {
        let folder = Folder::new();
        let file = folder.write("flyball.toml", "a");
        folder.write("rules/a.toml", "a");
        let mut looks = Looks::at(vec![file.clone(), folder.path().join("rules")]);
        folder.write("ledger.sqlite", "x");
        folder.write("rules/notes.txt", "x");
        std::fs::write(&file, "a").expect("a write of the same content");
        assert_eq!((looks.after(LOOK), looks.told), (LOOK, 0));
    }

    #[test]
    fn a_replaced_file_and_a_new_rule_are_told() {
        let folder = Folder::new();
        let file = folder.write("flyball.toml", "a");
        folder.write("rules/a.toml", "a");
        let (_watching, tells) = watched(vec![file.clone(), folder.path().join("rules")]);
        let new = folder.write("new", "b");
        std::fs::rename(new, &file).expect("a rename");
        told("replaced", &tells);
        folder.write("rules/b.toml", "b");
        told("a new rule", &tells);
    }

    #[test]
    fn a_folder_that_vanishes_and_comes_back_is_still_watched() {
        let folder = Folder::new();
        let file = folder.write("etc/flyball.toml", "a");
        let (_watching, tells) = watched(vec![file.clone()]);
        std::fs::remove_dir_all(folder.path().join("etc")).expect("it is there");
        told("gone", &tells);
        folder.write("etc/flyball.toml", "b");
        told("back", &tells);
        folder.write("etc/flyball.toml", "c");
        told("changed", &tells);
    }

    #[test]
    fn new_sources_take_the_place_of_the_old_and_a_dropped_watch_is_silent() {
        let folder = Folder::new();
        let (old, new) = (folder.write("a/a.toml", "a"), folder.write("b/b.toml", "a"));
        let (watching, tells) = watched(vec![old.clone()]);
        watching.replace(vec![new.clone()]);
        // What is sent after them is told once they are in place.
        watching.wake.send(Wake::Hangup).expect("it listens");
        told("in place", &tells);
        std::fs::write(&old, "b").expect("a write");
        assert!(tells.recv_timeout(QUIET).is_err());
        std::fs::write(&new, "b").expect("a write");
        told("changed", &tells);
        drop(watching);
        std::fs::write(&new, "c").expect("a write");
        assert_eq!(
            tells.recv_timeout(DEADLINE),
            Err(mpsc::RecvTimeoutError::Disconnected)
        );
    }

    #[cfg(unix)]
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn sighup_is_told_without_any_change() {
        let folder = Folder::new();
        let (_watching, tells) = watched(vec![folder.write("flyball.toml", "a")]);
        let mut kill = std::process::Command::new("kill");
        kill.args(["-HUP", &std::process::id().to_string()]);
        assert!(ran("kill ends", &mut kill, "").status.success());
        told("SIGHUP", &tells);
    }
}
