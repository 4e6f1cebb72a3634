//! The response cache: an equal request is given the answer of before, and equal requests at the same time share one call.
//!
//! It decides nothing: whether a request may share, and what makes two equal, is for its caller to say. Memory alone, with a limit; a
//! restart forgets it all.

mod flight;
mod key;

pub use flight::{Broken, Landing, Listener};
pub use key::{Key, KeyMaker};

use crate::error::Error;
use crate::settle::Paid;
use crate::telemetry::CacheFigures;
use bytes::Bytes;
use flight::{Flight, Room};
use foldhash::fast::RandomState;
use http::HeaderMap;
use http::response::Parts;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What an entry takes beside its body and the text of its head.
const ENTRY_BYTES: usize = 512;
/// Of all the bytes this part may be of answers that are on their way.
pub const IN_FLIGHT: usize = 4;

/// How much, how long, for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most bytes, of answers that are kept and of those that are on their way.
    pub bytes_max: usize,
    /// A longer answer is not kept.
    pub answer_bytes_max: usize,
    /// An older answer is not given any more.
    pub ttl: Duration,
    /// Who shares answers.
    pub share: Share,
    /// Some rule asks for it.
    pub by_rules: bool,
}

/// Who shares answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// Each key has its own.
    #[default]
    Key,
    /// The keys of a team.
    Team,
    /// Everybody.
    All,
}

/// What a request wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// An answer of before that is no older than this, if it says so.
    Use(Option<Duration>),
    /// An answer that is made now, and kept.
    Refresh,
}

/// An answer that is kept.
#[derive(Debug)]
pub struct Stored {
    /// Its head, as far as it is of use to others.
    pub head: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// It was streamed.
    pub stream: bool,
    /// The request that has paid for it.
    pub request: String,
    /// What that has cost.
    pub paid: Arc<Paid>,
    born: Instant,
}

impl Stored {
    /// How old it is.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.born.elapsed()
    }

    fn bytes(&self) -> usize {
        let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            name.as_str().len() + value.len()
        };
        let head: usize = self.head.iter().map(line).sum();
        head + self.body.len() + ENTRY_BYTES
    }
}

/// What is there for a request.
pub enum Found {
    /// An answer of before.
    Stored(Arc<Stored>),
    /// An equal request is being answered: its answer can be listened to. Told with what it costs.
    Flying(Listener, Arc<Paid>),
    /// Nothing: the request makes the call, and listens as anybody who comes now.
    Nothing(Pilot, Listener),
}

/// The answers that are kept, and those that are on their way.
#[derive(Debug)]
pub struct ResponseCache {
    /// As it was set up.
    pub settings: Settings,
    kept: Cache<Key, Arc<Stored>, RandomState>,
    flights: Mutex<Flights>,
    room: Room,
    evicted: Arc<AtomicU64>,
}

type Flights = HashMap<Key, Flying>;

/// A call that is under way, and what is told of its cost.
#[derive(Debug)]
struct Flying {
    flight: Arc<Flight>,
    paid: Arc<Paid>,
}

impl ResponseCache {
    /// An empty one.
    #[must_use]
    pub fn new(settings: Settings) -> ResponseCache {
        let in_flight = settings.bytes_max / IN_FLIGHT;
        let evicted: Arc<AtomicU64> = Arc::default();
        let counted = Arc::clone(&evicted);
        let weight =
            |_: &Key, stored: &Arc<Stored>| u32::try_from(stored.bytes()).unwrap_or(u32::MAX);
        let room = settings.bytes_max - in_flight;
        ResponseCache {
            settings,
            kept: Cache::builder()
                .weigher(weight)
                .max_capacity(u64::try_from(room).unwrap_or(u64::MAX))
                .time_to_live(settings.ttl)
                .eviction_policy(EvictionPolicy::lru())
                .eviction_listener(move |_, _, cause| {
                    if cause == RemovalCause::Size {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                })
                .build_with_hasher(RandomState::default()),
            flights: Mutex::default(),
            room: Room {
                answer_max: settings.answer_bytes_max,
                all_max: in_flight,
                all: Arc::new(AtomicUsize::new(0)),
            },
            evicted,
        }
    }

    /// What is there for a request with this key. `request` is its id.
    #[must_use]
    pub fn find(self: &Arc<Self>, key: Key, wish: Wish, request: &str) -> Found {
        if let Some(stored) = self.stored(&key, wish) {
            return Found::Stored(stored);
        }
        let mut flights = self.flights();
        // It may have come to its end since.
        if let Some(stored) = self.stored(&key, wish) {
            return Found::Stored(stored);
        }
        let flying = flights.get(&key);
        let flying = flying.and_then(|on| Some((on.flight.listen(false)?, on.paid.clone())));
        let known = flying.is_some();
        if let (Some((listener, paid)), Wish::Use(_)) = (flying, wish) {
            return Found::Flying(listener, paid);
        }
        let flight = Flight::new(request, self.room.clone());
        let paid: Arc<Paid> = Arc::default();
        let listener = flight.listen(true).expect("nobody else knows of it yet");
        // Whoever wants a fresh answer while one is on its way makes a call that others do not hear of.
        if !known {
            let flying = Flying {
                flight: Arc::clone(&flight),
                paid: Arc::clone(&paid),
            };
            flights.insert(key, flying);
        }
        let pilot = Pilot {
            cache: Arc::clone(self),
            key,
            flight,
            paid,
        };
        Found::Nothing(pilot, listener)
    }

    fn stored(&self, key: &Key, wish: Wish) -> Option<Arc<Stored>> {
        let Wish::Use(age_max) = wish else {
            return None;
        };
        let oldest = age_max.map_or(self.settings.ttl, |most| most.min(self.settings.ttl));
        self.kept.get(key).filter(|stored| stored.age() < oldest)
    }

    /// How much is kept now, and what had to go since this was asked last.
    #[must_use]
    pub fn figures(&self) -> CacheFigures {
        self.kept.run_pending_tasks();
        let kept = usize::try_from(self.kept.weighted_size()).unwrap_or(usize::MAX);
        CacheFigures {
            bytes: kept.saturating_add(self.room.all.load(Ordering::Relaxed)),
            entries: self.kept.entry_count(),
            evicted: self.evicted.swap(0, Ordering::Relaxed),
        }
    }

    /// For tests: how many listen to answers that are on their way.
    #[doc(hidden)]
    pub fn listeners(&self) -> usize {
        let flights = self.flights();
        flights.values().map(|on| on.flight.listeners()).sum()
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who puts an answer in. Dropped before its end, it leaves its listeners with an answer that broke off.
pub struct Pilot {
    cache: Arc<ResponseCache>,
    key: Key,
    flight: Arc<Flight>,
    paid: Arc<Paid>,
}

impl Pilot {
    /// Told what the answer costs.
    #[must_use]
    pub fn paid(&self) -> &Arc<Paid> {
        &self.paid
    }

    /// Ready when nobody listens any more.
    pub async fn abandoned(&self) {
        self.flight.abandoned().await;
    }

    /// The head of the answer, with its body where that is here as a whole.
    pub fn lands(&self, head: Parts, whole: Option<Bytes>) {
        self.flight.lands(Landing::Answer(head, whole));
    }

    /// There will be no answer.
    pub fn fails(self, error: Error) {
        self.flight.lands(Landing::Failed(error));
    }

    /// The next piece of the answer.
    pub async fn push(&self, data: &[u8]) {
        self.flight.push(data).await;
        if !self.flight.is_whole() {
            self.leave();
        }
    }

    /// All that was pushed, where none of it was too much.
    #[must_use]
    pub fn kept(&self) -> Option<Bytes> {
        self.flight.kept()
    }

    /// Keeps the answer for those who come later, if it is not too long.
    pub fn keeps(&self, head: HeaderMap, body: Bytes, stream: bool) {
        if body.len() > self.cache.settings.answer_bytes_max {
            return;
        }
        let stored = Stored {
            head,
            // A copy: a piece of a larger buffer would keep all of that.
            body: Bytes::copy_from_slice(&body),
            stream,
            request: self.flight.request.clone(),
            paid: Arc::clone(&self.paid),
            born: Instant::now(),
        };
        self.cache.kept.insert(self.key, Arc::new(stored));
    }

    /// The answer has come to its end, or broke off.
    pub fn ends(self, end: Result<(), String>, trailers: Option<HeaderMap>) {
        // First of all: whoever hears of the end and asks again finds what is kept.
        self.leave();
        self.flight.ends(end, trailers);
    }

    /// Nobody finds it any more.
    fn leave(&self) {
        let mut flights = self.cache.flights();
        let own = |on: &Flying| Arc::ptr_eq(&on.flight, &self.flight);
        if flights.get(&self.key).is_some_and(own) {
            flights.remove(&self.key);
        }
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.leave();
        self.flight.lands(Landing::Lost);
        self.flight
            .ends(Err("the answer was given up".to_owned()), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response;

    fn cache(settings: Settings) -> Arc<ResponseCache> {
        Arc::new(ResponseCache::new(settings))
    }

    fn settings() -> Settings {
        Settings {
            bytes_max: 40_000,
            answer_bytes_max: 10_000,
            ttl: Duration::from_secs(600),
            share: Share::Key,
            by_rules: false,
        }
    }

    fn keep(cache: &Arc<ResponseCache>, key: u8, body: &'static [u8]) {
        let Found::Nothing(pilot, _listener) = cache.find([key; 32], Wish::Refresh, "r") else {
            panic!("nobody else asks");
        };
        pilot.keeps(HeaderMap::new(), Bytes::from_static(body), false);
        pilot.ends(Ok(()), None);
    }

    fn there(cache: &Arc<ResponseCache>, key: u8, wish: Wish) -> bool {
        matches!(cache.find([key; 32], wish, "r"), Found::Stored(_))
    }

    #[test]
    fn an_answer_is_given_until_it_is_too_old_for_the_request_or_the_operator() {
        let short = Settings {
            ttl: Duration::from_nanos(1),
            ..settings()
        };
        for (settings, wish, given) in [
            (settings(), Wish::Use(None), true),
            (settings(), Wish::Use(Some(Duration::from_secs(600))), true),
            (settings(), Wish::Use(Some(Duration::ZERO)), false),
            (settings(), Wish::Refresh, false),
            (short, Wish::Use(None), false),
            (short, Wish::Use(Some(Duration::from_secs(9))), false),
        ] {
            let cache = cache(settings);
            keep(&cache, 1, b"answer");
            assert_eq!(there(&cache, 1, wish), given, "{settings:?} {wish:?}");
            assert!(!there(&cache, 2, wish));
        }
    }

    #[test]
    fn the_oldest_goes_where_there_is_no_room_and_what_is_too_long_is_not_kept() {
        let cache = cache(settings());
        let body = &[b'x'; 9_000];
        let mut evicted = 0;
        for key in 0..20 {
            keep(&cache, key, body);
            let figures = cache.figures();
            assert!(figures.bytes <= 40_000, "{figures:?}");
            evicted += figures.evicted;
        }
        assert_eq!((cache.figures().entries, evicted), (3, 17));
        assert!(there(&cache, 19, Wish::Use(None)) && !there(&cache, 0, Wish::Use(None)));
        keep(&cache, 30, &[b'x'; 10_001]);
        assert!(!there(&cache, 30, Wish::Use(None)));
    }

    #[tokio::test]
    async fn equal_requests_share_one_flight_and_a_fresh_one_flies_alone() {
        let cache = cache(settings());
        let find = |wish| cache.find([1; 32], wish, "first");
        let Found::Nothing(pilot, first) = find(Wish::Use(None)) else {
            panic!("nothing is there");
        };
        let Found::Flying(second, _) = find(Wish::Use(None)) else {
            panic!("it flies");
        };
        let Found::Nothing(fresh, _) = find(Wish::Refresh) else {
            panic!("a fresh one is asked for");
        };
        drop(fresh);
        assert!(
            matches!(find(Wish::Use(None)), Found::Flying(..)),
            "the fresh one takes nothing with it"
        );
        assert_eq!(second.request(), "first");
        let (head, ()) = Response::new(()).into_parts();
        pilot.lands(head, Some(Bytes::from_static(b"all")));
        drop(pilot);
        for listener in [first, second] {
            let landed = listener.landed().await;
            assert!(matches!(landed, Landing::Answer(_, Some(body)) if body == "all"));
        }
        assert!(matches!(find(Wish::Use(None)), Found::Nothing(..)));
    }
}
