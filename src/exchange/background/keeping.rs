//! Where answers that are made in the background are: those under way and those of confidential requests in memory, the others in the
//! database in which batches are kept.

use crate::dialect::background::{BackgroundWords, JobEnding, JobEvent};
use crate::error::Error;
use crate::exchange::State;
use crate::ledger::now;
use crate::ledger::store::jobs::{JobRow, JobState};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::Stream;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, str};
use tokio::sync::watch;

/// Jobs that are in memory, at most: so many under way, and as many confidential ones that are over and kept there.
const LIVE_MAX: usize = 2_000;
/// A piece of what is kept is about as long as this.
const PIECE: usize = 256 * 1024;
/// How often it is looked whether another process has come to the end of a job that somebody follows here.
const LOOK: Duration = Duration::from_secs(1);

/// How answers that are made in the background are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// An answer is kept for so long after its request.
    pub keep_for: Duration,
    /// The answers of one key have so many bytes; the oldest go first. The same holds for all confidential ones, in memory.
    pub bytes_max: u64,
    /// How often a vendor is asked whether its answer is there.
    pub poll: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            // Who does not come back for a whole day does not come back.
            keep_for: Duration::from_secs(24 * 3_600),
            // Some thousand answers of the usual length, with their events.
            bytes_max: 64 * 1024 * 1024,
            // Their clients are told to ask every few seconds; nobody waits for this here.
            poll: Duration::from_secs(30),
        }
    }
}

/// All answers that are made in the background.
pub struct Background {
    /// How they are kept.
    pub settings: ArcSwap<Settings>,
    /// This process, as the database knows it.
    pub(super) process: String,
    live: Mutex<HashMap<String, Arc<Live>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Background {
    /// None yet.
    #[must_use]
    pub fn new(settings: Settings) -> Background {
        Background {
            settings: ArcSwap::from_pointee(settings),
            process: uuid::Uuid::now_v7().to_string(),
            live: Mutex::default(),
        }
    }

    pub(super) fn keep_seconds(&self) -> i64 {
        i64::try_from(self.settings.load().keep_for.as_secs()).unwrap_or(i64::MAX / 4)
    }

    pub(super) fn bytes_max(&self) -> i64 {
        i64::try_from(self.settings.load().bytes_max).unwrap_or(i64::MAX)
    }

    pub(super) fn is_full(&self) -> bool {
        let all = lock(&self.live);
        all.values().filter(|live| !live.is_over()).count() >= LIVE_MAX
    }

    /// How many jobs of this key are made here now.
    pub(super) fn under_way(&self, key: i64) -> i64 {
        let all = lock(&self.live);
        let own = all
            .values()
            .filter(|live| live.key == key && !live.is_over());
        i64::try_from(own.count()).unwrap_or(i64::MAX)
    }

    pub(super) fn insert(&self, live: &Arc<Live>) {
        lock(&self.live).insert(live.id.clone(), Arc::clone(live));
    }

    pub(super) fn live(&self, id: &str) -> Option<Arc<Live>> {
        lock(&self.live).get(id).cloned()
    }

    pub(super) fn drop_live(&self, id: &str) {
        lock(&self.live).remove(id);
    }

    /// Forgets an answer, wherever it is.
    pub(super) async fn forget(&self, state: &State, id: &str) -> Result<(), Error> {
        let gone = id.to_owned();
        let deleted = state
            .batches
            .with(move |store| store.delete_job(&gone))
            .await;
        lock(&self.live).remove(id);
        deleted
    }

    /// An answer has come to its end: it is kept where it can be fetched.
    pub(super) async fn ended(&self, state: &State, live: &Arc<Live>) {
        if live.private {
            self.evict();
            return;
        }
        let (id, pieces, most) = (live.id.clone(), live.pieces(), self.bytes_max());
        let kept = state
            .batches
            .with(move |store| store.end_job(&id, pieces, most));
        match kept.await {
            Ok(()) => {
                lock(&self.live).remove(&live.id);
            }
            // It stays in memory, where its client finds it.
            Err(error) => {
                tracing::warn!(job = live.id, %error, "an answer that was made in the background cannot be kept")
            }
        }
    }

    /// Forgets what has been in memory long enough, and the oldest of what is too much.
    pub(super) fn evict(&self) {
        let keep = self.settings.load().keep_for;
        let mut all = lock(&self.live);
        all.retain(|_, live| !live.is_over() || live.began.elapsed() < keep);
        let mut over: Vec<Arc<Live>> = all.values().filter(|l| l.is_over()).cloned().collect();
        over.sort_by_key(|live| std::cmp::Reverse(live.began));
        let mut left = usize::try_from(self.settings.load().bytes_max).unwrap_or(usize::MAX);
        for live in over.drain(over.len().min(LIVE_MAX)..) {
            all.remove(&live.id);
        }
        for live in over {
            match left.checked_sub(live.bytes()) {
                Some(rest) => left = rest,
                None => {
                    left = 0;
                    all.remove(&live.id);
                }
            }
        }
    }
}

/// A job in memory.
pub(super) struct Live {
    pub(super) id: String,
    /// Whose it is: the key's row, 0 in open mode.
    pub(super) key: i64,
    /// It is confidential, and nothing of it is written anywhere.
    pub(super) private: bool,
    pub(super) words: &'static dyn BackgroundWords,
    began: std::time::Instant,
    made: Mutex<Made>,
    /// How many events there are, or that it is over.
    changed: watch::Sender<()>,
    cancelled: watch::Sender<bool>,
}

/// What there is of an answer.
struct Made {
    /// As it stands.
    response: String,
    /// Its events, each at the place of its number.
    events: Vec<Bytes>,
    bytes: usize,
    over: bool,
}

impl Live {
    pub(super) fn new(
        id: &str,
        (key, private): (i64, bool),
        words: &'static dyn BackgroundWords,
        response: String,
    ) -> Live {
        Live {
            id: id.to_owned(),
            key,
            private,
            words,
            began: std::time::Instant::now(),
            made: Mutex::new(Made {
                bytes: response.len(),
                response,
                events: Vec::new(),
                over: false,
            }),
            changed: watch::channel(()).0,
            cancelled: watch::channel(false).0,
        }
    }

    pub(super) fn response(&self) -> String {
        lock(&self.made).response.clone()
    }

    pub(super) fn is_over(&self) -> bool {
        lock(&self.made).over
    }

    /// How much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        lock(&self.made).bytes
    }

    pub(super) fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    pub(super) async fn is_cancelled(&self) {
        let mut cancelled = self.cancelled.subscribe();
        let _ = cancelled.wait_for(|cancelled| *cancelled).await;
    }

    pub(super) async fn until_over(&self) {
        let mut changed = self.changed.subscribe();
        while !self.is_over() && changed.changed().await.is_ok() {}
    }

    /// The data of an event of the model's stream.
    pub(super) fn take(&self, data: &[u8]) {
        if let Some(why) = self.words.fault(data) {
            self.fails(&why);
            return;
        }
        let mut made = lock(&self.made);
        let number = number(&made);
        if let Some(event) = self.words.event(data, &self.id, number) {
            self.add(&mut made, event);
        }
    }

    /// The whole answer, where it is no stream. Gives whether it can be read.
    pub(super) fn take_whole(&self, body: &[u8]) -> bool {
        let mut made = lock(&self.made);
        let event = self.words.whole(body, &self.id, number(&made));
        let read = event.is_some();
        if let Some(event) = event {
            self.add(&mut made, event);
        }
        read
    }

    pub(super) fn fails(&self, why: &str) {
        self.end(JobEnding::Failed(why));
    }

    /// flyball ends it, unless it is over.
    pub(super) fn end(&self, how: JobEnding<'_>) {
        let mut made = lock(&self.made);
        let event = self.words.ending(&made.response, how, number(&made));
        self.add(&mut made, event);
    }

    fn add(&self, made: &mut Made, event: JobEvent) {
        if made.over {
            return;
        }
        made.bytes += event.text.len();
        made.events.push(Bytes::from(event.text));
        if let Some(response) = event.response {
            made.bytes = (made.bytes + response.len()).saturating_sub(made.response.len());
            made.response = response;
        }
        made.over = event.over;
        self.changed.send_replace(());
    }

    /// As it is kept: the answer first, then its events, several in a piece.
    fn pieces(&self) -> Vec<Vec<u8>> {
        let made = lock(&self.made);
        let mut pieces = vec![made.response.clone().into_bytes()];
        let mut piece: Vec<u8> = Vec::new();
        for event in &made.events {
            if !piece.is_empty() && piece.len() + event.len() > PIECE {
                pieces.push(std::mem::take(&mut piece));
            }
            piece.extend_from_slice(event);
        }
        pieces.push(piece);
        pieces
    }

    /// Its events after this number, as they come.
    pub(super) fn follow(
        live: Arc<Live>,
        after: Option<u64>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send {
        let next = after.map_or(0, |after| after.saturating_add(1));
        let next = usize::try_from(next).unwrap_or(usize::MAX);
        let changed = live.changed.subscribe();
        futures_util::stream::unfold(
            (live, next, changed),
            |(live, next, mut changed)| async move {
                loop {
                    changed.mark_unchanged();
                    let (event, over) = {
                        let made = lock(&live.made);
                        (made.events.get(next).cloned(), made.over)
                    };
                    match event {
                        Some(event) => return Some((Ok(event), (live, next + 1, changed))),
                        None if over => return None,
                        None => changed.changed().await.ok()?,
                    }
                }
            },
        )
    }
}

fn number(made: &Made) -> u64 {
    u64::try_from(made.events.len()).unwrap_or(u64::MAX)
}

/// How a job stands that is not in this process's memory.
pub(super) async fn response_of(state: &Arc<State>, row: &JobRow) -> Result<String, Error> {
    if row.state != JobState::Over {
        return Ok(row.doc.response.clone());
    }
    let id = row.id.clone();
    let kept = state.batches.with(move |store| store.chunk(&id, 0)).await?;
    let kept = kept.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(kept.unwrap_or_else(|| row.doc.response.clone()))
}

/// The kept events of a job after this number; of one that another process makes, once it is over.
pub(super) fn later_events(
    state: Arc<State>,
    words: &'static dyn BackgroundWords,
    id: String,
    after: Option<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    futures_util::stream::try_unfold((state, 1_i64), move |(state, n)| {
        let id = id.clone();
        async move {
            loop {
                let own = id.clone();
                let found = state
                    .batches
                    .with(move |store| Ok((store.job(&own)?, store.chunk(&own, n)?)));
                let (row, piece) = found.await.map_err(io::Error::other)?;
                match (row, piece) {
                    (_, Some(piece)) => {
                        let wanted = wanted(words, &piece, after);
                        return Ok(Some((wanted, (state, n + 1))));
                    }
                    (Some(row), None) if row.state != JobState::Over && now() < row.expires => {
                        tokio::time::sleep(LOOK).await;
                    }
                    _ => return Ok(None),
                }
            }
        }
    })
}

/// The events of a piece that come after this number.
fn wanted(words: &'static dyn BackgroundWords, piece: &[u8], after: Option<u64>) -> Bytes {
    let Some(after) = after else {
        return Bytes::copy_from_slice(piece);
    };
    let text = str::from_utf8(piece).unwrap_or_default();
    let events = text.split_inclusive("\n\n");
    let later = events.filter(|event| words.number(event).is_some_and(|n| n > after));
    Bytes::from(later.collect::<String>())
}
