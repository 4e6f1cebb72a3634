//! Which models of which providers have failed lately, so that requests that another model can answer go there at once.
//!
//! A model is *down* after three failures in a row, or where half of its last twenty answers failed; a provider that cannot be
//! reached, or refuses our key, takes all of its models down. One that says that it is busy is left alone for as long as it asks.
//! It is down for a second, then two, four and at most five; after that one request at a time tries it, and its first good answer
//! ends it. Nothing here sends anything, and nothing is kept beyond the process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that take a model down.
const IN_A_ROW: u32 = 3;
/// Answers that are remembered of a model that has failed; it is down where half of them failed.
const REMEMBERED: u32 = 20;
/// Answers without which no share is taken.
const SHARE_OF: u32 = 10;
/// So long a model is down the first time; each time in a row twice as long.
const DOWN_FIRST: Duration = Duration::from_secs(1);
/// And never longer, so that one that is well again is used within this.
const DOWN_MAX: Duration = Duration::from_secs(5);
/// A model that says how long it is busy is believed up to here.
const BUSY_MAX: Duration = Duration::from_secs(60);
/// One that says that it is busy, and not how long, is left alone for so long.
const BUSY: Duration = Duration::from_secs(1);
/// A request that tries a model again has so long before the next one may.
const TRIAL: Duration = Duration::from_secs(5);
/// Models that are remembered; an entry is about 200 bytes.
const ENTRIES_MAX: usize = 1_000;
/// For each exchange so many thousandths of a second try may be made.
const TRIES_PERMILLE: u64 = 100;
/// Second tries that may be saved up, in thousandths.
const TRIES_SAVED_MAX: u64 = 20_000;
/// Second tries that there are at the start, in thousandths.
const TRIES_AT_START: u64 = 5_000;

/// What a failure says of who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ailment {
    /// The provider could not be reached, or refuses our key: none of its models can answer.
    Unreachable,
    /// This model gave an error, broke off, or did not answer in time.
    Failing,
    /// It says that it has too much to do, and perhaps for how long.
    Busy(Option<Duration>),
}

/// Who has failed, for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ailing {
    /// The provider's name.
    pub provider: String,
    /// The model; nothing where it is the whole provider.
    pub model: String,
    /// Failures in a row.
    pub failures: u32,
    /// No request goes there before this has passed.
    pub down_for: Option<Duration>,
}

/// What is known of everybody who has failed lately.
#[derive(Debug)]
pub struct Health {
    ailing: Mutex<HashMap<(String, String), Patient>>,
    /// How many there are, so that a world without failures costs one look.
    count: AtomicUsize,
    tries: Mutex<u64>,
}

/// Somebody who has failed.
#[derive(Clone, Debug)]
struct Patient {
    in_a_row: u32,
    /// The last answers, the latest in the lowest bit: 1 is a failure.
    history: u32,
    /// How many of its bits count.
    answers: u32,
    /// How often it went down without a good answer in between.
    times_down: u32,
    /// Until when nobody asks it.
    until: Option<Instant>,
    last: Instant,
}

impl Default for Health {
    fn default() -> Health {
        Health {
            ailing: Mutex::default(),
            count: AtomicUsize::new(0),
            tries: Mutex::new(TRIES_AT_START),
        }
    }
}

impl Health {
    /// Whether a request that can go elsewhere may go there. Whoever is let through after a time of failures is the one that tries it.
    #[must_use]
    pub fn admits(&self, provider: &str, model: &str) -> bool {
        self.admits_at(provider, model, Instant::now())
    }

    /// Whether nobody asks it at this moment. Unlike [`Health::admits`] this lets nobody through.
    #[must_use]
    pub fn is_down(&self, provider: &str, model: &str) -> bool {
        self.count.load(Ordering::Relaxed) > 0 && {
            let (ailing, now) = (lock(&self.ailing), Instant::now());
            let names = [key(provider, ""), key(provider, model)];
            names.iter().any(|name| {
                let patient = ailing.get(name);
                patient.is_some_and(|p| p.until.is_some_and(|until| until > now))
            })
        }
    }

    /// It has answered.
    pub fn is_well(&self, provider: &str, model: &str) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.well_at(provider, model);
        }
    }

    /// It has failed.
    pub fn fails(&self, provider: &str, model: &str, how: Ailment) {
        self.fails_at(provider, model, how, Instant::now());
    }

    /// An exchange has begun: a tenth of a second try is earned.
    pub fn earns_a_try(&self) {
        let mut tries = lock(&self.tries);
        *tries = (*tries + TRIES_PERMILLE).min(TRIES_SAVED_MAX);
    }

    /// Whether one more try of something that has failed may be made: all of them together are at most a tenth of all exchanges, so
    /// that a provider in trouble does not get more of it.
    #[must_use]
    pub fn spends_a_try(&self) -> bool {
        let mut tries = lock(&self.tries);
        let may = *tries >= 1_000;
        if may {
            *tries -= 1_000;
        }
        may
    }

    /// Everybody who has failed lately, by name.
    #[must_use]
    pub fn ailing(&self) -> Vec<Ailing> {
        let now = Instant::now();
        let ailing = lock(&self.ailing);
        let mut all: Vec<Ailing> = ailing
            .iter()
            .map(|((provider, model), patient)| Ailing {
                provider: provider.clone(),
                model: model.clone(),
                failures: patient.in_a_row,
                down_for: patient
                    .until
                    .and_then(|until| until.checked_duration_since(now)),
            })
            .collect();
        all.sort_by(|a, b| (&a.provider, &a.model).cmp(&(&b.provider, &b.model)));
        all
    }

    fn admits_at(&self, provider: &str, model: &str, now: Instant) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let mut ailing = lock(&self.ailing);
        let names = [key(provider, ""), key(provider, model)];
        let down = |patient: &Patient| patient.until.is_some_and(|until| until > now);
        if names.iter().any(|name| ailing.get(name).is_some_and(down)) {
            return false;
        }
        for name in &names {
            if let Some(patient) = ailing.get_mut(name)
                && patient.until.is_some()
            {
                patient.until = Some(now + TRIAL);
            }
        }
        true
    }

    fn well_at(&self, provider: &str, model: &str) {
        let mut ailing = lock(&self.ailing);
        ailing.remove(&key(provider, ""));
        let name = key(provider, model);
        if let Some(patient) = ailing.get_mut(&name) {
            patient.note(false);
            (patient.in_a_row, patient.times_down, patient.until) = (0, 0, None);
            if patient.history == 0 {
                ailing.remove(&name);
            }
        }
        self.count.store(ailing.len(), Ordering::Relaxed);
    }

    fn fails_at(&self, provider: &str, model: &str, how: Ailment, now: Instant) {
        let name = match how {
            Ailment::Unreachable => key(provider, ""),
            Ailment::Failing | Ailment::Busy(_) => key(provider, model),
        };
        let mut ailing = lock(&self.ailing);
        if ailing.len() >= ENTRIES_MAX {
            let old = |p: &Patient| now.saturating_duration_since(p.last) > BUSY_MAX;
            ailing.retain(|_, patient| !old(patient));
        }
        if ailing.len() < ENTRIES_MAX || ailing.contains_key(&name) {
            let fresh = Patient {
                in_a_row: 0,
                history: 0,
                answers: 0,
                times_down: 0,
                until: None,
                last: now,
            };
            ailing.entry(name).or_insert(fresh).fails(how, now);
        }
        self.count.store(ailing.len(), Ordering::Relaxed);
    }
}

impl Patient {
    fn note(&mut self, failed: bool) {
        let kept = (1 << REMEMBERED) - 1;
        self.history = ((self.history << 1) | u32::from(failed)) & kept;
        self.answers = (self.answers + 1).min(REMEMBERED);
    }

    fn fails(&mut self, how: Ailment, now: Instant) {
        self.note(true);
        self.in_a_row += 1;
        self.last = now;
        if let Ailment::Busy(asks) = how {
            self.until = Some(now + asks.unwrap_or(BUSY).min(BUSY_MAX));
            return;
        }
        let half = self.answers >= SHARE_OF && self.history.count_ones() * 2 >= self.answers;
        if self.in_a_row >= IN_A_ROW || half {
            let longer = DOWN_FIRST * 2_u32.pow(self.times_down.min(3));
            self.until = Some(now + longer.min(DOWN_MAX));
            self.times_down += 1;
        }
    }
}

fn key(provider: &str, model: &str) -> (String, String) {
    (provider.to_owned(), model.to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(began: Instant, millis: u64) -> Instant {
        began + Duration::from_millis(millis)
    }

    #[test]
    fn three_failures_in_a_row_take_a_model_down_and_one_request_at_a_time_tries_it_again() {
        let (health, began) = (Health::default(), Instant::now());
        for _ in 0..2 {
            health.fails_at("p", "m", Ailment::Failing, began);
            assert!(health.admits_at("p", "m", began));
        }
        health.fails_at("p", "m", Ailment::Failing, began);
        assert!(!health.admits_at("p", "m", after(began, 999)));
        assert!(health.admits_at("p", "other", began), "only this model");
        assert!(health.admits_at("p", "m", after(began, 1_000)));
        assert!(
            !health.admits_at("p", "m", after(began, 1_001)),
            "one at a time"
        );
        health.well_at("p", "m");
        assert!(health.admits_at("p", "m", after(began, 1_002)));
        assert!(health.admits_at("p", "m", after(began, 1_003)));
    }

    #[test]
    fn one_that_stays_down_is_tried_at_least_every_five_seconds() {
        let (health, mut now) = (Health::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..2 {
            health.fails_at("p", "m", Ailment::Failing, now);
        }
        for _ in 0..5 {
            health.fails_at("p", "m", Ailment::Failing, now);
            let down = now;
            while !health.admits_at("p", "m", now) {
                now += Duration::from_millis(500);
            }
            waits.push(now.duration_since(down).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn a_provider_that_cannot_be_reached_takes_all_of_its_models_down() {
        let (health, began) = (Health::default(), Instant::now());
        for model in ["a", "b", "c"] {
            health.fails_at("p", model, Ailment::Unreachable, began);
        }
        assert!(!health.admits_at("p", "d", began));
        assert!(health.admits_at("q", "a", began));
        assert_eq!(health.ailing()[0].failures, 3);
        health.well_at("p", "d");
        assert!(health.admits_at("p", "a", began) && health.ailing().is_empty());
    }

    #[test]
    fn who_is_busy_is_left_alone_for_as_long_as_it_asks_within_a_minute() {
        for (asks, seconds) in [(None, 1), (Some(7), 7), (Some(900), 60)] {
            let (health, began) = (Health::default(), Instant::now());
            let asks = asks.map(Duration::from_secs);
            health.fails_at("p", "m", Ailment::Busy(asks), began);
            assert!(!health.admits_at("p", "m", after(began, seconds * 1_000 - 1)));
            assert!(health.admits_at("p", "m", after(began, seconds * 1_000)));
        }
    }

    #[test]
    fn half_of_the_last_answers_take_a_model_down_too_and_good_ones_make_it_forgotten() {
        let (health, began) = (Health::default(), Instant::now());
        let admitted = (0..12).map(|n| {
            match n % 2 {
                0 => health.fails_at("p", "m", Ailment::Failing, began),
                _ => health.well_at("p", "m"),
            }
            health.admits_at("p", "m", began)
        });
        assert_eq!(admitted.filter(|a| *a).count(), 11, "down at the eleventh");
        for _ in 0..REMEMBERED {
            health.well_at("p", "m");
        }
        assert!(health.ailing().is_empty());
    }

    #[test]
    fn second_tries_are_at_most_a_tenth_of_all_exchanges() {
        let health = Health::default();
        let mut made = 0;
        for _ in 0..1_000 {
            health.earns_a_try();
            made += u32::from(health.spends_a_try());
        }
        assert_eq!(made, 105, "five at the start and one in ten");
    }
}
