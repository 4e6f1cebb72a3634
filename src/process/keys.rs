//! Who may call and under which caps, kept up with the configuration and with what `flyball key` writes from another process.
//!
//! A key is answered when its caps hold, not before; a revoked one is refused at once.

use super::learned::KeptLast;
use super::notices::Notices;
use crate::caller::Callers;
use crate::error::Error;
use crate::exchange::State;
use crate::ledger::keyring::{self, KeyAct};
use crate::ledger::stopped::StoppedSession;
use crate::ledger::store::{Frozen, Key, Store};
use crate::ledger::tree::{self, Shared};
use crate::ledger::{self, books, now_ms};
use crate::telemetry::KnownKey;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinHandle as JoinTask;

/// How often keys made by another process are looked for; they must work, or stop working, within 5 s.
const EVERY: Duration = Duration::from_millis(500);

/// Who has done what is done to a key because the configuration says so.
const CONFIGURATION: &str = "configuration";

/// Does to a key of the ledger what the configuration says.
///
/// # Errors
/// The ledger cannot be written, or another key has this name or secret.
pub(super) fn configure(books: &mut dyn Store, act: &KeyAct) -> Result<(), Error> {
    books.act(CONFIGURATION, now_ms(), act)?;
    tracing::info!(
        who = CONFIGURATION,
        what = act.what(),
        of = act.name(),
        "audit"
    );
    Ok(())
}

/// The keys and caps as they are now.
pub(super) struct Keys {
    state: Arc<State>,
    now: Mutex<Now>,
    /// What the ledger holds is older than `now`.
    behind: AtomicBool,
    /// The ledger is being brought up to it.
    settling: Mutex<Option<JoinTask<()>>>,
    /// That this fails was said already.
    complained: AtomicBool,
}

struct Now {
    /// The caps of the configuration.
    shared: Shared,
    /// The keys of the configuration, each with its own hash and no row.
    configured: Vec<Key>,
    /// The ledger may not have them yet as they stand there. It is told once for each time that the configuration is read, so that
    /// replicas with other configurations do not undo each other's again and again.
    to_configure: bool,
    /// The keys of the ledger, those of the configuration with a stand-in for their hash.
    keys: Vec<Key>,
    /// Sessions that are stopped.
    stopped: Vec<StoppedSession>,
    /// The rows of the keys whose caps hold.
    held: HashSet<i64>,
    /// How often keys and caps have changed.
    changes: u64,
    /// As many changes as hold in the ledger.
    settled: u64,
}

impl Keys {
    /// These keys and caps; nobody is answered before [`Keys::settle`] has let the caps hold.
    pub(super) fn new(
        state: Arc<State>,
        (shared, configured): (Shared, Vec<Key>),
        (keys, stopped): (Vec<Key>, Vec<StoppedSession>),
    ) -> Keys {
        let now = Now {
            shared,
            configured,
            to_configure: false,
            keys,
            stopped,
            held: HashSet::new(),
            changes: 1,
            settled: 0,
        };
        let keys = Keys {
            state,
            now: Mutex::new(now),
            behind: AtomicBool::new(true),
            settling: Mutex::default(),
            complained: AtomicBool::new(false),
        };
        keys.publish(&keys.now());
        keys
    }

    /// The keys as they are.
    pub(super) fn list(&self) -> Vec<Key> {
        self.now().keys.clone()
    }

    /// Takes over the caps and keys of a configuration; caps hold at the next look, and so do those of new keys.
    pub(super) fn take_shared(&self, shared: Shared, configured: Vec<Key>) {
        let mut now = self.now();
        now.shared = shared;
        now.to_configure = true;
        now.configured = configured;
        now.changes += 1;
        self.behind.store(true, Ordering::SeqCst);
        self.publish(&now);
    }

    /// What the ledger has to be told of the keys of the configuration, where these are its keys. What is read of the configuration
    /// while it is told is told the next time.
    fn to_configure(&self, keys: &[Key]) -> Vec<KeyAct> {
        let mut now = self.now();
        match std::mem::take(&mut now.to_configure) {
            true => keyring::configuring(keys, &now.configured, ledger::now()),
            false => Vec::new(),
        }
    }

    /// The ledger could not be told.
    fn configure_again(&self) {
        self.now().to_configure = true;
    }

    /// Takes over the keys. Who is gone is refused from here on; who is new waits for [`Keys::settle`].
    fn take_keys(&self, keys: Vec<Key>) {
        let mut now = self.now();
        now.keys = keys;
        now.changes += 1;
        self.behind.store(true, Ordering::SeqCst);
        self.publish(&now);
    }

    /// Takes over which sessions are stopped; from here on they are refused.
    fn take_stopped(&self, stopped: Vec<StoppedSession>) {
        let mut now = self.now();
        if now.stopped != stopped {
            now.stopped = stopped;
            self.publish(&now);
        }
    }

    /// Lets the caps hold, and then answers the keys that have waited for theirs.
    ///
    /// # Errors
    /// The ledger cannot say what was spent already; the old caps hold.
    pub(super) async fn settle(&self) -> Result<(), String> {
        if !self.behind.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let (mut taken, mut changes) = (HashSet::new(), 0);
        let latest = || {
            let now = self.now();
            // A cap that names a key which nobody has is told when the configuration is read.
            let (caps, _) = tree::in_force(&now.shared, &now.keys);
            taken = now.keys.iter().map(|k| k.id).collect();
            changes = now.changes;
            caps
        };
        let set = self.state.ledger.set_caps(latest).await;
        if set.is_err() {
            self.behind.store(true, Ordering::SeqCst);
            return set;
        }
        let mut now = self.now();
        (now.held, now.settled) = (taken, changes);
        self.publish(&now);
        Ok(())
    }

    /// Settles beside everything else, once at a time: the ledger may have a long window to add up, or be away.
    fn settle_aside(self: &Arc<Keys>, runtime: &Handle) {
        let mut settling = self.settling();
        let goes_on = settling.as_ref().is_some_and(|task| !task.is_finished());
        if !self.behind.load(Ordering::SeqCst) || goes_on {
            return;
        }
        let keys = self.clone();
        *settling = Some(runtime.spawn(async move {
            match keys.settle().await {
                Ok(()) => keys.complained.store(false, Ordering::SeqCst),
                Err(why) if keys.complained.swap(true, Ordering::SeqCst) => {
                    tracing::debug!(%why, "new caps do not hold yet");
                }
                Err(why) => {
                    tracing::error!(%why, "new caps do not hold yet; those of before do");
                }
            }
        }));
    }

    fn settling(&self) -> MutexGuard<'_, Option<JoinTask<()>>> {
        self.settling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settles no more: the next start does. Nothing of it goes on afterwards, so that the folder is free.
    pub(super) async fn stop_settling(&self) {
        let task = self.settling().take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }

    fn publish(&self, now: &Now) {
        let waits = |k: &&Key| !now.held.contains(&k.id);
        let waiting = now.keys.iter().filter(waits).map(|k| k.id).collect();
        let keys = keyring::with_configured(now.keys.clone(), &now.configured);
        let callers = Callers::new(keys).waiting(waiting);
        let callers = callers.settling(now.changes != now.settled);
        let callers = callers.stopped(&now.stopped);
        let callers = callers.configured(now.configured.iter().map(|key| key.name.clone()));
        self.state.callers.store(Arc::new(callers));
        self.show(now);
    }

    /// Whose series metrics have: keys that work before revoked ones, the older first, and the tags that caps or keys name.
    fn show(&self, now: &Now) {
        let mut keys: Vec<&Key> = now.keys.iter().collect();
        keys.sort_by_key(|key| (key.revoked, key.id));
        let known = keys.iter().map(|key| KnownKey {
            id: key.id,
            team: &key.team,
            name: &key.name,
        });
        let known: Vec<KnownKey<'_>> = known.collect();
        self.state.telemetry.keys(&known);
        let caps = now.shared.caps.iter().chain(&now.shared.each_key);
        let of_caps = caps.flat_map(|cap| cap.counter.scope.tags());
        let fixed = keys.iter().flat_map(|key| &key.tags);
        let fixed = fixed.map(|(tag, value)| (tag.as_str(), value.as_str()));
        let demanded = keys.iter().flat_map(|key| &key.required_tags);
        let demanded = demanded
            .flat_map(|(tag, values)| values.iter().map(move |v| (tag.as_str(), v.as_str())));
        self.state
            .telemetry
            .tags(of_caps.chain(fixed).chain(demanded));
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that follows keys, and does what has to be done twice a second.
pub(super) struct Follower {
    end: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Follower {
    /// Starts it; without a thread the keys stay as they are.
    pub(super) fn start(keys: Arc<Keys>, mut notices: Notices, runtime: Handle) -> Follower {
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let work = move || {
            let mut books = Books::default();
            let mut kept = KeptLast::now();
            while !ended.load(Ordering::Relaxed) {
                std::thread::park_timeout(EVERY);
                keys.state.telemetry.crashed(&keys.state.ledger.tick());
                kept.keep(&keys.state);
                keys.state.jobs.tidy(Instant::now());
                notices.tell(&keys.state, &runtime);
                books.look(&keys);
                keys.settle_aside(&runtime);
            }
        };
        let thread = std::thread::Builder::new().name("keys".into()).spawn(work);
        Follower {
            end,
            thread: Mutex::new(thread.ok()),
        }
    }

    /// Looks now.
    pub(super) fn wake(&self) {
        if let Some(thread) = &*self.thread() {
            thread.thread().unpark();
        }
    }

    /// Ends it.
    pub(super) fn stop(&self) {
        self.end.store(true, Ordering::Relaxed);
        let thread = self.thread().take();
        if let Some(thread) = thread {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }

    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is read again and again.
type Read = (Vec<Key>, Vec<Frozen>, Vec<StoppedSession>);

/// The books as the thread reads them: opened when they can be, and what is wrong with them is said once.
#[derive(Default)]
struct Books {
    open: Option<Box<dyn Store>>,
    complained: bool,
}

impl Books {
    fn look(&mut self, keys: &Keys) {
        match self.read(keys) {
            Ok((list, frozen, stopped)) => {
                keys.take_stopped(stopped);
                self.complained = false;
                keys.state.ledger.take_frozen(frozen);
                let same = list == keys.now().keys;
                if !same {
                    keys.take_keys(list);
                }
            }
            Err(why) if self.complained => tracing::debug!(%why, "the keys cannot be read"),
            Err(why) => {
                tracing::warn!(%why, "the keys cannot be read; those of before hold");
                self.complained = true;
            }
        }
    }

    fn read(&mut self, keys: &Keys) -> Result<Read, String> {
        let said = |e: Error| e.detail;
        let books = match &mut self.open {
            Some(books) => books,
            None => self
                .open
                .insert(books::open(keys.state.ledger.settings()).map_err(said)?),
        };
        let mut list = books.keys().map_err(said)?;
        let acts = keys.to_configure(&list);
        for act in &acts {
            if let Err(why) = configure(books.as_mut(), act) {
                keys.configure_again();
                return Err(said(why));
            }
        }
        if !acts.is_empty() {
            list = books.keys().map_err(said)?;
        }
        let frozen = books.frozen().map_err(said)?;
        Ok((list, frozen, books.stopped().map_err(said)?))
    }
}
