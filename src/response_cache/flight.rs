//! One call to a provider that several equal requests listen to. A task of its own, the pilot, puts the answer in; each listener takes it
//! at its own pace, from the beginning, and goes when it wants. The pilot stops when nobody listens any more.
//!
//! Opens no socket and knows no dialect.

use crate::error::Error;
use bytes::Bytes;
use http::HeaderMap;
use http::response::Parts;
use http_body::Frame;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A piece takes up so many bytes beside its own.
const PIECE: usize = 64;
/// Of an answer that is too long to be kept so many bytes lie ready at most for those who are behind.
const WINDOW: usize = 64 * 1024;
/// So long a listener may keep the others of such an answer from their next bytes. Who has asked first is waited for as any client is.
const PATIENCE: Duration = Duration::from_secs(5);

/// How an answer begins.
#[derive(Clone, Debug)]
pub enum Landing {
    /// Its head. With its body where that is here as a whole; else the listener gets it piece by piece.
    Answer(Parts, Option<Bytes>),
    /// There is none.
    Failed(Error),
    /// Nobody knows: the pilot is gone.
    Lost,
}

/// Why a body ends before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The answer broke off.
    Cut(String),
    /// This listener alone was so far behind the others that it was left behind.
    LeftBehind,
}

/// How much of an answer may be kept, and how much all of them together take up.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// Of one answer.
    pub(super) answer_max: usize,
    /// Of all that are on their way.
    pub(super) all_max: usize,
    pub(super) all: Arc<AtomicUsize>,
}

impl Room {
    fn take(&self, bytes: usize) -> bool {
        let fits = |all: usize| all.checked_add(bytes).filter(|all| *all <= self.all_max);
        self.all
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok()
    }

    fn take_anyhow(&self, bytes: usize) {
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One call and all who listen to it.
#[derive(Debug)]
pub(super) struct Flight {
    /// The request that has made it.
    pub(super) request: String,
    room: Room,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    landing: Option<Landing>,
    pieces: VecDeque<Bytes>,
    /// How many pieces came before the first of these.
    before: usize,
    bytes: usize,
    /// Every piece is here, so that somebody may still come and listen from the beginning.
    whole: bool,
    trailers: Option<HeaderMap>,
    end: Option<Result<(), String>>,
    listeners: HashMap<u64, ListenerPlace>,
    next: u64,
    /// Nobody listens, and nobody may begin to.
    abandoned: bool,
    pilot: Option<Waker>,
}

/// Where a listener is.
#[derive(Debug)]
struct ListenerPlace {
    /// The piece that it takes next.
    at: usize,
    waker: Option<Waker>,
    /// It has made the call, and pays for it.
    leads: bool,
    left_behind: bool,
}

impl State {
    /// Drops what everybody has.
    fn trim(&mut self) -> usize {
        let listening = self.listeners.values().filter(|place| !place.left_behind);
        let least = listening.map(|place| place.at).min();
        let ends = self.before + self.pieces.len();
        let mut freed = 0;
        while self.before < least.unwrap_or(ends) {
            let Some(piece) = self.pieces.pop_front() else {
                break;
            };
            self.before += 1;
            freed += piece.len() + PIECE;
        }
        self.bytes -= freed;
        freed
    }

    fn wake(&mut self) {
        let wakers = self.listeners.values_mut();
        for waker in wakers.filter_map(|place| place.waker.take()) {
            waker.wake();
        }
    }

    fn wake_pilot(&mut self) {
        if let Some(waker) = self.pilot.take() {
            waker.wake();
        }
    }
}

impl Flight {
    pub(super) fn new(request: &str, room: Room) -> Arc<Flight> {
        Arc::new(Flight {
            request: request.to_owned(),
            room,
            state: Mutex::new(State {
                landing: None,
                pieces: VecDeque::new(),
                before: 0,
                bytes: 0,
                whole: true,
                trailers: None,
                end: None,
                listeners: HashMap::new(),
                next: 0,
                abandoned: false,
                pilot: None,
            }),
        })
    }

    /// Somebody begins to listen; `None` where it is too late for that.
    pub(super) fn listen(self: &Arc<Flight>, leads: bool) -> Option<Listener> {
        let mut state = self.state();
        let over = matches!(state.landing, Some(Landing::Failed(_) | Landing::Lost));
        if state.abandoned || !state.whole || over {
            return None;
        }
        let id = state.next;
        state.next += 1;
        let place = ListenerPlace {
            at: 0,
            waker: None,
            leads,
            left_behind: false,
        };
        state.listeners.insert(id, place);
        Some(Listener {
            flight: Arc::clone(self),
            id,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer begins.
    pub(super) fn lands(&self, landing: Landing) {
        let mut state = self.state();
        state.landing.get_or_insert(landing);
        state.wake();
    }

    /// The answer has ended.
    pub(super) fn ends(&self, end: Result<(), String>, trailers: Option<HeaderMap>) {
        let mut state = self.state();
        if state.end.is_none() {
            (state.end, state.trailers) = (Some(end), trailers);
            state.wake();
        }
    }

    /// The next piece of the answer. Waits where it is too long to be kept and somebody is behind.
    pub(super) async fn push(&self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let takes = data.len() + PIECE;
        {
            let mut state = self.state();
            let fits = state.bytes + takes <= self.room.answer_max;
            state.whole = state.whole && fits && self.room.take(takes);
            if state.whole {
                return Flight::append(&mut state, data);
            }
        }
        while tokio::time::timeout(PATIENCE, self.has_window())
            .await
            .is_err()
        {
            self.leave_behind();
        }
        self.room.take_anyhow(takes);
        Flight::append(&mut self.state(), data);
    }

    fn append(state: &mut State, data: &[u8]) {
        // A copy: a piece of a larger buffer would keep all of that.
        state.pieces.push_back(Bytes::copy_from_slice(data));
        state.bytes += data.len() + PIECE;
        state.wake();
    }

    async fn has_window(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            let freed = state.trim();
            self.room.give_back(freed);
            if state.bytes <= WINDOW {
                return Poll::Ready(());
            }
            state.pilot = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Those who keep the others waiting are left behind, but for the one that has made the call.
    fn leave_behind(&self) {
        let mut state = self.state();
        let first = state.before;
        for place in state.listeners.values_mut() {
            if place.at <= first && !place.leads {
                place.left_behind = true;
            }
        }
        state.wake();
    }

    /// All of the answer so far in one piece; `None` where some of it is not kept.
    pub(super) fn kept(&self) -> Option<Bytes> {
        let state = self.state();
        state.whole.then(|| {
            let pieces: Vec<&[u8]> = state.pieces.iter().map(Bytes::as_ref).collect();
            pieces.concat().into()
        })
    }

    /// Somebody can still come and listen from the beginning.
    pub(super) fn is_whole(&self) -> bool {
        self.state().whole
    }

    /// How many listen.
    pub(super) fn listeners(&self) -> usize {
        self.state().listeners.len()
    }

    /// Ready when nobody listens any more.
    pub(super) async fn abandoned(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            if state.abandoned {
                return Poll::Ready(());
            }
            state.pilot = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.room.give_back(self.state().bytes);
    }
}

/// One who listens. Dropped, it listens no more.
#[derive(Debug)]
pub struct Listener {
    flight: Arc<Flight>,
    id: u64,
}

impl Listener {
    /// The request that has made the call.
    #[must_use]
    pub fn request(&self) -> &str {
        &self.flight.request
    }

    /// Waits for the head of the answer.
    pub async fn landed(&self) -> Landing {
        poll_fn(|cx| {
            let mut state = self.flight.state();
            if let Some(landing) = &state.landing {
                return Poll::Ready(landing.clone());
            }
            if let Some(place) = state.listeners.get_mut(&self.id) {
                place.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// The next piece of the body.
    ///
    /// # Errors
    /// It ends before its time.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut guard = self.flight.state();
        let state = &mut *guard;
        let Some(place) = state.listeners.get_mut(&self.id) else {
            return Poll::Ready(None);
        };
        if place.left_behind {
            return Poll::Ready(Some(Err(Broken::LeftBehind)));
        }
        if let Some(piece) = state.pieces.get(place.at - state.before) {
            let piece = piece.clone();
            place.at += 1;
            if !state.whole {
                state.wake_pilot();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let leads = place.leads;
        match &state.end {
            None => {
                place.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(Err(why)) => Poll::Ready(Some(Err(Broken::Cut(why.clone())))),
            Some(Ok(())) => {
                let trailers = state.trailers.take_if(|_| leads);
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.flight.state();
        state.listeners.remove(&self.id);
        state.abandoned |= state.listeners.is_empty();
        state.wake_pilot();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(answer_max: usize, all_max: usize) -> Room {
        Room {
            answer_max,
            all_max,
            all: Arc::default(),
        }
    }

    async fn read(listener: &Listener) -> Result<Vec<u8>, Broken> {
        let mut all = Vec::new();
        while let Some(frame) = poll_fn(|cx| listener.poll(cx)).await {
            if let Ok(data) = frame?.into_data() {
                all.extend_from_slice(&data);
            }
        }
        Ok(all)
    }

    fn listening(flight: &Arc<Flight>, leads: bool) -> Listener {
        flight.listen(leads).expect("it may listen")
    }

    #[tokio::test]
    async fn whoever_comes_late_gets_all_of_it_and_the_bytes_are_given_back_at_the_end() {
        let room = room(1_000, 1_000);
        let flight = Flight::new("r", room.clone());
        let first = listening(&flight, true);
        flight.push(b"one ").await;
        let late = listening(&flight, false);
        flight.push(b"two").await;
        assert_eq!(room.all.load(Ordering::Relaxed), 7 + 2 * PIECE);
        assert_eq!(flight.kept().as_deref(), Some(&b"one two"[..]));
        flight.ends(Ok(()), None);
        assert_eq!(read(&first).await.expect("whole"), b"one two");
        assert_eq!(read(&late).await.expect("whole"), b"one two");
        drop((first, late, flight));
        assert_eq!(room.all.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_too_long_waits_for_who_is_behind_and_then_leaves_it_behind() {
        let room = room(WINDOW, WINDOW * 4);
        let flight = Flight::new("r", room.clone());
        let first = listening(&flight, true);
        let slow = listening(&flight, false);
        let quick = listening(&flight, false);
        let piece = vec![b'x'; WINDOW / 2];
        let flying = Arc::clone(&flight);
        let pushing = tokio::spawn(async move {
            for _ in 0..20 {
                flying.push(&piece).await;
            }
            flying.ends(Ok(()), None);
        });
        let (one, other) = tokio::join!(read(&first), read(&quick));
        assert_eq!(one.expect("whole").len(), WINDOW * 10);
        assert_eq!(other.expect("whole").len(), WINDOW * 10);
        assert_eq!(read(&slow).await, Err(Broken::LeftBehind));
        pushing.await.expect("all is said");
        assert!(room.all.load(Ordering::Relaxed) <= WINDOW * 2);
        assert!(flight.kept().is_none() && flight.listen(false).is_none());
    }

    #[tokio::test]
    async fn what_all_together_have_no_room_for_goes_on_without_being_kept() {
        let room = room(1_000, 100);
        let flight = Flight::new("r", room);
        let only = listening(&flight, true);
        flight.push(&[b'x'; 90]).await;
        flight.ends(Ok(()), None);
        assert!(!flight.is_whole() && flight.kept().is_none());
        assert_eq!(read(&only).await.expect("whole").len(), 90);
    }

    #[tokio::test]
    async fn nobody_may_come_once_nobody_listens() {
        let flight = Flight::new("r", room(1_000, 1_000));
        let (first, second) = (listening(&flight, true), listening(&flight, false));
        drop(first);
        let flying = Arc::clone(&flight);
        let waiting = tokio::spawn(async move { flying.abandoned().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "somebody listens still");
        drop(second);
        waiting.await.expect("it is told");
        assert!(flight.listen(false).is_none());
    }
}
