//! A second look at the books, beside the thread that writes them: what became of one request, and reports.
//!
//! It has a store of its own, because a look must not wait for a batch of writes; one for all looks, because opening one takes a
//! connection and a check of its schema each time.

use super::audit::Entry;
use super::cap::Counter;
use super::forecast::{self, Forecast};
use super::keyring::KeyAct;
use super::record::{Attempt, Correction, Opening, Sum, TrueUp};
use super::report::{self, Query, Report};
use super::stopped::StoppedSession;
use super::store::{Kept, Key, Store};
use super::window::Zone;
use super::{Ledger, Settings, books, now_ms, pace};
use crate::error::{Error, Kind};
use std::sync::Arc;
use tokio::sync::Mutex;

/// What came of something that was to be done with a key.
#[derive(Debug)]
pub enum ActedOn {
    /// The key as it is now, and the sums by which one sees what it has spent.
    Key(Box<Key>, Vec<Sum>),
    /// Nothing was done, for this reason.
    Nothing(String),
}

/// The store that is looked at: opened when it is first needed, and again when it failed.
#[derive(Default)]
pub(super) struct Lookup(Arc<Mutex<Option<Box<dyn Store>>>>);

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lookup(…)")
    }
}

impl Lookup {
    /// One look after the other; whoever waits for its turn holds no thread.
    async fn look<T: Send + 'static>(
        &self,
        settings: Settings,
        read: impl Fn(&mut dyn Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut kept = Arc::clone(&self.0).lock_owned().await;
        let look = move || {
            if let Some(Ok(found)) = kept.as_mut().map(|store| read(store.as_mut())) {
                return Ok(found);
            }
            // There was none, or its connection may have broken since the last look: a new one says whether the books can be read.
            *kept = None;
            let mut store = books::open(&settings)?;
            let found = read(store.as_mut())?;
            *kept = Some(store);
            Ok(found)
        };
        tokio::task::spawn_blocking(look).await.map_err(|e| {
            Error::new(Kind::Internal, "the ledger cannot be read").detail(e.to_string())
        })?
    }
}

impl Drop for Lookup {
    /// PostgreSQL's driver waits while it closes a connection, which no thread may do that drives asynchronous tasks: so another one
    /// closes it, and nobody waits for that. Where a look still goes on, its own thread does.
    fn drop(&mut self) {
        let Ok(mut kept) = self.0.try_lock() else {
            return;
        };
        if let Some(store) = kept.take() {
            let close = move || drop(store);
            let thread = std::thread::Builder::new().name("ledger-close".into());
            if let Err(error) = thread.spawn(close) {
                tracing::warn!(%error, "no thread can be started to close the ledger");
            }
        }
    }
}

impl Ledger {
    /// The attempts of one request so far, everything that was handed over before included.
    ///
    /// # Errors
    /// The books cannot be read.
    pub async fn request(&self, id: &str) -> Result<Vec<Attempt>, Error> {
        self.requests(vec![id.to_owned()]).await
    }

    /// Books what is known of the cost of an attempt of this request that was charged at its bound, and tells how that attempt had opened.
    ///
    /// # Errors
    /// The books cannot be written.
    pub(super) async fn true_up(
        &self,
        request: String,
        correction: Correction,
    ) -> Result<(TrueUp, Option<Opening>), Error> {
        self.flush().await;
        let work = move |store: &mut dyn Store| {
            let outcome = store.true_up(&correction)?;
            let mut attempts = store.request(&request)?.into_iter().map(|a| a.opening);
            Ok((outcome, attempts.find(|o| o.attempt == correction.attempt)))
        };
        self.lookup.look(self.settings.clone(), work).await
    }

    /// The same of several requests, in their order.
    ///
    /// # Errors
    /// The books cannot be read.
    pub async fn requests(&self, ids: Vec<String>) -> Result<Vec<Attempt>, Error> {
        self.flush().await;
        let each = move |store: &mut dyn Store| {
            let mut all = Vec::new();
            for id in &ids {
                all.extend(store.request(id)?);
            }
            Ok(all)
        };
        self.lookup.look(self.settings.clone(), each).await
    }

    /// What the books say, everything that was handed over before included. It is read on a thread of its own, one report after the
    /// other.
    ///
    /// # Errors
    /// The books cannot be read.
    pub async fn report(&self, query: Query) -> Result<Report, Error> {
        self.flush().await;
        let settings = self.settings.clone();
        let read = move |store: &mut dyn Store| report::read(store, &query);
        self.reports.look(settings, read).await
    }

    /// What each of these counters has counted since each of these instants (milliseconds since 1970): see [`pace::spent_since`].
    ///
    /// # Errors
    /// The books cannot be read.
    pub async fn spent_since(
        &self,
        counters: Vec<Counter>,
        since_ms: Vec<i64>,
    ) -> Result<Vec<Vec<Option<i128>>>, Error> {
        let settings = self.settings.clone();
        let read = move |store: &mut dyn Store| pace::spent_since(store, &counters, &since_ms);
        self.reports.look(settings, read).await
    }

    /// Learns from the books, or reads what was learned, everything that was handed over before included; on a thread of its own, one after the
    /// other.
    ///
    /// # Errors
    /// The books cannot be read.
    pub async fn learning<T: Send + 'static>(
        &self,
        work: impl Fn(&mut dyn Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.learning.look(self.settings.clone(), work).await
    }

    /// What is to be expected of the month in which an instant (milliseconds since 1970) lies, in a time zone.
    ///
    /// # Errors
    /// The books cannot be read.
    pub async fn forecast(&self, zone: Zone, now_ms: i64) -> Result<Forecast, Error> {
        self.flush().await;
        let settings = self.settings.clone();
        let read = move |store: &mut dyn Store| forecast::read(store, &zone, now_ms);
        self.reports.look(settings, read).await
    }

    /// Every key, and the sums by which one sees what each has spent.
    ///
    /// # Errors
    /// The books cannot be read.
    pub async fn keys(&self) -> Result<(Vec<Key>, Vec<Sum>), Error> {
        self.flush().await;
        let settings = self.settings.clone();
        let read = |store: &mut dyn Store| Ok((store.keys()?, store.sums()?));
        self.lookup.look(settings, read).await
    }

    /// Entries of the audit log after this number, so many at most.
    ///
    /// # Errors
    /// The books cannot be read.
    pub async fn audit(&self, after: i64, limit: usize) -> Result<Vec<Entry>, Error> {
        let read = move |store: &mut dyn Store| {
            let mut entries = Vec::new();
            store.audit(after, &mut |entry| {
                entries.push(entry);
                entries.len() < limit
            })?;
            Ok(entries)
        };
        self.lookup.look(self.settings.clone(), read).await
    }

    /// Does something with a key, as the deed of `who`. It takes a store of its own, since what failed must not be tried twice.
    ///
    /// # Errors
    /// The books cannot be written.
    pub async fn act(&self, who: String, act: KeyAct) -> Result<ActedOn, Error> {
        self.flush().await;
        let settings = self.settings.clone();
        let work = move || {
            let mut store = books::open(&settings)?;
            // Whoever comes between these two is told by the second one, only less kindly.
            if let Err(why) = act.applied(&store.keys()?) {
                return Ok(ActedOn::Nothing(why));
            }
            let key = store.act(&who, now_ms(), &act)?;
            tracing::info!(who, what = act.what(), of = act.name(), "audit");
            Ok(ActedOn::Key(Box::new(key), store.sums()?))
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| {
            Error::new(Kind::Internal, "the ledger cannot be written").detail(e.to_string())
        })?
    }

    /// Stops a session, or resumes it. False where it is so already.
    ///
    /// # Errors
    /// The books cannot be written.
    pub async fn stop_session(
        &self,
        who: String,
        session: StoppedSession,
        stops: bool,
    ) -> Result<bool, Error> {
        let settings = self.settings.clone();
        let work = move || {
            let mut store = books::open(&settings)?;
            let done = store.stop_session(&who, now_ms(), &session, stops)?;
            let what = if stops {
                "session stopped"
            } else {
                "session resumed"
            };
            tracing::info!(who, what, of = session.session, done, "audit");
            Ok(done)
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| {
            Error::new(Kind::Internal, "the ledger cannot be written").detail(e.to_string())
        })?
    }

    /// How much the books hold: cheap, and for attempts an estimate.
    ///
    /// # Errors
    /// The books cannot be read.
    pub async fn size(&self) -> Result<Kept, Error> {
        let settings = self.settings.clone();
        self.reports.look(settings, |store| store.kept()).await
    }
}
