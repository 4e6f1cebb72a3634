//! Which models of which providers have failed lately, so that requests that another model can answer go there at once.
//!
//! A model is *down* at a deployment after three failures in a row, or where half of its last twenty answers failed; a deployment that
//! cannot be reached takes all of its models down. A channel (a credential at a deployment) that says that it is busy is left alone for as
//! long as it asks; one that refuses a request which another channel then takes, for ten minutes, or this model on it for one. What has failed is down for a second, then two, four and at most five;
//! after that one request at a time tries it, and its first good answer ends it. A provider with one channel has one deployment and one
//! credential, which nobody has named. Nothing here sends anything, and nothing is kept beyond the process.

use crate::provider::channel::Channel;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
/// A channel whose key is refused is left alone for so long: nobody mends that in seconds.
const REFUSED: Duration = Duration::from_secs(600);
/// And a model of it that this key may not use for so long: what is refused may be what the request said.
const FORBIDDEN: Duration = Duration::from_secs(60);
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
    /// The deployment could not be reached: none of its models can answer.
    Unreachable,
    /// Our key is refused, or its account has no money: none of its models can answer on this channel.
    Refused,
    /// This key may not use this model.
    Forbidden,
    /// This model gave an error, broke off, or did not answer in time.
    Failing,
    /// It says that it has too much to do, and perhaps for how long.
    Busy(Option<Duration>),
}

impl Ailment {
    /// The word on the admin port.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ailment::Unreachable => "unreachable",
            Ailment::Refused => "refused",
            Ailment::Forbidden => "forbidden",
            Ailment::Failing => "failing",
            Ailment::Busy(_) => "busy",
        }
    }
}

/// A model on a channel of a provider: whom a request is sent to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The provider's name.
    pub provider: &'a str,
    /// The way to it.
    pub channel: &'a Channel,
    /// The model.
    pub model: &'a str,
}

/// What can fail by itself: any part that is empty stands for all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    provider: String,
    deployment: String,
    credential: String,
    model: String,
}

impl Target<'_> {
    fn key(&self, credential: &str, model: &str) -> Key {
        Key {
            provider: self.provider.to_owned(),
            deployment: self.channel.deployment.clone(),
            credential: credential.to_owned(),
            model: model.to_owned(),
        }
    }

    /// Everything whose failing keeps requests from it.
    fn keys(&self) -> [Key; 4] {
        let credential = &self.channel.credential;
        [
            self.key("", ""),
            self.key(credential, ""),
            self.key("", self.model),
            self.key(credential, self.model),
        ]
    }

    /// What fails with such an ailment.
    fn failing(&self, how: Ailment) -> Key {
        let credential = &self.channel.credential;
        match how {
            Ailment::Unreachable => self.key("", ""),
            Ailment::Refused => self.key(credential, ""),
            Ailment::Failing => self.key("", self.model),
            Ailment::Forbidden | Ailment::Busy(_) => self.key(credential, self.model),
        }
    }
}

/// Who has failed, for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ailing {
    /// The provider's name.
    pub provider: String,
    /// The deployment; nothing where the provider has no named ones.
    pub deployment: String,
    /// The credential; nothing where it is the whole deployment, or where the provider has no named ones.
    pub credential: String,
    /// The model; nothing where it is all of them.
    pub model: String,
    /// How it failed the last time.
    pub how: Ailment,
    /// Failures in a row.
    pub failures: u32,
    /// No request goes there before this has passed.
    pub down_for: Option<Duration>,
}

/// What is known of everybody who has failed lately.
#[derive(Debug)]
pub struct Health {
    ailing: Mutex<HashMap<Key, Patient>>,
    /// How many there are, so that a world without failures costs one look.
    count: AtomicUsize,
    tries: Mutex<u64>,
    /// Its clock is ahead of the machine's by so many milliseconds: for tests alone.
    ahead_ms: AtomicU64,
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
    /// How it failed the last time.
    how: Ailment,
    last: Instant,
}

impl Default for Health {
    fn default() -> Health {
        Health {
            ailing: Mutex::default(),
            count: AtomicUsize::new(0),
            tries: Mutex::new(TRIES_AT_START),
            ahead_ms: AtomicU64::new(0),
        }
    }
}

impl Health {
    /// For tests: so much time passes for everybody who has failed, and for nobody else.
    #[doc(hidden)]
    pub fn pretend_to_wait(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.ahead_ms.fetch_add(millis, Ordering::Relaxed);
    }

    fn now(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// Whether a request that can go elsewhere may go there. Whoever is let through after a time of failures is the one that tries it.
    #[must_use]
    pub fn admits(&self, target: Target<'_>) -> bool {
        self.admits_at(target, self.now())
    }

    /// Whether nobody asks it at this moment. Unlike [`Health::admits`] this lets nobody through.
    #[must_use]
    pub fn is_down(&self, target: Target<'_>) -> bool {
        self.count.load(Ordering::Relaxed) > 0 && {
            let (ailing, now) = (lock(&self.ailing), self.now());
            let down = |patient: &Patient| patient.until.is_some_and(|until| until > now);
            target
                .keys()
                .iter()
                .any(|key| ailing.get(key).is_some_and(down))
        }
    }

    /// Whether it has failed since its last good answer.
    #[must_use]
    pub fn is_in_doubt(&self, target: Target<'_>) -> bool {
        self.count.load(Ordering::Relaxed) > 0 && {
            let ailing = lock(&self.ailing);
            let keys = target.keys();
            let mut known = keys.iter().filter_map(|key| ailing.get(key));
            known.any(|patient| patient.in_a_row > 0)
        }
    }

    /// It has answered a request that was sent so long ago. What it has said since then of how long it is to be left alone holds.
    pub fn is_well(&self, target: Target<'_>, sent: Duration) {
        if self.count.load(Ordering::Relaxed) > 0 {
            let now = self.now();
            self.well_at(target, now.checked_sub(sent).unwrap_or(now));
        }
    }

    /// It has failed.
    pub fn fails(&self, target: Target<'_>, how: Ailment) {
        self.fails_at(target, how, self.now());
    }

    /// It has refused a request, and nobody knows yet whether that was for its key or for what the request said: it is left alone for as long
    /// as whatever else has failed.
    pub fn is_suspect(&self, target: Target<'_>) {
        let now = self.now();
        let key = target.failing(Ailment::Refused);
        let before = lock(&self.ailing).get(&key).and_then(|p| p.until);
        self.fails_at(target, Ailment::Refused, now);
        if let Some(patient) = lock(&self.ailing).get_mut(&key) {
            patient.until = before.max(Some(now + DOWN_MAX));
        }
    }

    /// Whether its account refuses us, or this model: what is kept there is out of reach.
    #[must_use]
    pub fn is_shut(&self, target: Target<'_>) -> bool {
        self.count.load(Ordering::Relaxed) > 0 && {
            let (ailing, now) = (lock(&self.ailing), self.now());
            let shut = |patient: &Patient| {
                matches!(patient.how, Ailment::Refused | Ailment::Forbidden)
                    && patient.until.is_some_and(|until| until > now)
            };
            target
                .keys()
                .iter()
                .any(|key| ailing.get(key).is_some_and(shut))
        }
    }

    /// What was known of this provider is of no use any more: its keys or addresses are others.
    pub fn forget(&self, provider: &str) {
        let mut ailing = lock(&self.ailing);
        ailing.retain(|key, _| key.provider != provider);
        self.count.store(ailing.len(), Ordering::Relaxed);
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
        let now = self.now();
        let ailing = lock(&self.ailing);
        let mut all: Vec<Ailing> = ailing
            .iter()
            .map(|(key, patient)| Ailing {
                provider: key.provider.clone(),
                deployment: key.deployment.clone(),
                credential: key.credential.clone(),
                model: key.model.clone(),
                how: patient.how,
                failures: patient.in_a_row,
                down_for: patient
                    .until
                    .and_then(|until| until.checked_duration_since(now)),
            })
            .collect();
        let by = |a: &Ailing| {
            let Ailing {
                provider,
                deployment,
                credential,
                model,
                ..
            } = a.clone();
            (provider, deployment, credential, model)
        };
        all.sort_by_key(by);
        all
    }

    fn admits_at(&self, target: Target<'_>, now: Instant) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let mut ailing = lock(&self.ailing);
        let keys = target.keys();
        let down = |patient: &Patient| patient.until.is_some_and(|until| until > now);
        if keys.iter().any(|key| ailing.get(key).is_some_and(down)) {
            return false;
        }
        for key in &keys {
            if let Some(patient) = ailing.get_mut(key)
                && patient.until.is_some()
            {
                patient.until = Some(now + TRIAL);
            }
        }
        true
    }

    fn well_at(&self, target: Target<'_>, sent: Instant) {
        let mut ailing = lock(&self.ailing);
        let [deployment, channel, models @ ..] = target.keys();
        // An answer to what was sent before says nothing of what was said since.
        let said_since = |patient: &Patient| {
            let said = matches!(
                patient.how,
                Ailment::Busy(_) | Ailment::Refused | Ailment::Forbidden
            );
            said && patient.last > sent
        };
        for key in [deployment, channel] {
            if !ailing.get(&key).is_some_and(said_since) {
                ailing.remove(&key);
            }
        }
        // Without a named credential both are the same.
        let [of_deployment, of_channel] = models;
        let second = (of_channel != of_deployment).then_some(of_channel);
        for key in std::iter::once(of_deployment).chain(second) {
            if let Some(patient) = ailing.get_mut(&key)
                && !said_since(patient)
            {
                patient.note(false);
                (patient.in_a_row, patient.times_down, patient.until) = (0, 0, None);
                if patient.history == 0 {
                    ailing.remove(&key);
                }
            }
        }
        self.count.store(ailing.len(), Ordering::Relaxed);
    }

    fn fails_at(&self, target: Target<'_>, how: Ailment, now: Instant) {
        let key = target.failing(how);
        let mut ailing = lock(&self.ailing);
        if ailing.len() >= ENTRIES_MAX {
            let old = |p: &Patient| {
                let waits = p.until.is_some_and(|until| until > now);
                !waits && now.saturating_duration_since(p.last) > BUSY_MAX
            };
            ailing.retain(|_, patient| !old(patient));
        }
        if ailing.len() < ENTRIES_MAX || ailing.contains_key(&key) {
            let fresh = Patient {
                in_a_row: 0,
                history: 0,
                answers: 0,
                times_down: 0,
                until: None,
                how,
                last: now,
            };
            ailing.entry(key).or_insert(fresh).fails(how, now);
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
        (self.last, self.how) = (now, how);
        let alone = match how {
            Ailment::Busy(asks) => Some(asks.unwrap_or(BUSY).min(BUSY_MAX)),
            Ailment::Refused => Some(REFUSED),
            Ailment::Forbidden => Some(FORBIDDEN),
            Ailment::Unreachable | Ailment::Failing => None,
        };
        if let Some(alone) = alone {
            self.until = Some(now + alone);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on<'a>(channel: &'a Channel, provider: &'a str, model: &'a str) -> Target<'a> {
        Target {
            provider,
            channel,
            model,
        }
    }

    fn only() -> Channel {
        Channel::only("http://127.0.0.1:1", None)
    }

    fn named(credential: &str, deployment: &str) -> Channel {
        Channel {
            name: format!("{credential}@{deployment}"),
            credential: credential.to_owned(),
            deployment: deployment.to_owned(),
            ..only()
        }
    }

    fn after(began: Instant, millis: u64) -> Instant {
        began + Duration::from_millis(millis)
    }

    #[test]
    fn three_failures_in_a_row_take_a_model_down_and_one_request_at_a_time_tries_it_again() {
        let only = only();
        let (health, began) = (Health::default(), Instant::now());
        for _ in 0..2 {
            health.fails_at(on(&only, "p", "m"), Ailment::Failing, began);
            assert!(health.admits_at(on(&only, "p", "m"), began));
        }
        health.fails_at(on(&only, "p", "m"), Ailment::Failing, began);
        assert!(!health.admits_at(on(&only, "p", "m"), after(began, 999)));
        assert!(
            health.admits_at(on(&only, "p", "other"), began),
            "only this model"
        );
        assert!(health.admits_at(on(&only, "p", "m"), after(began, 1_000)));
        assert!(
            !health.admits_at(on(&only, "p", "m"), after(began, 1_001)),
            "one at a time"
        );
        health.well_at(on(&only, "p", "m"), Instant::now());
        assert!(health.admits_at(on(&only, "p", "m"), after(began, 1_002)));
        assert!(health.admits_at(on(&only, "p", "m"), after(began, 1_003)));
    }

    #[test]
    fn one_that_stays_down_is_tried_at_least_every_five_seconds() {
        let only = only();
        let (health, mut now) = (Health::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..2 {
            health.fails_at(on(&only, "p", "m"), Ailment::Failing, now);
        }
        for _ in 0..5 {
            health.fails_at(on(&only, "p", "m"), Ailment::Failing, now);
            let down = now;
            while !health.admits_at(on(&only, "p", "m"), now) {
                now += Duration::from_millis(500);
            }
            waits.push(now.duration_since(down).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn a_provider_that_cannot_be_reached_takes_all_of_its_models_down() {
        let only = only();
        let (health, began) = (Health::default(), Instant::now());
        for model in ["a", "b", "c"] {
            health.fails_at(on(&only, "p", model), Ailment::Unreachable, began);
        }
        assert!(!health.admits_at(on(&only, "p", "d"), began));
        assert!(health.admits_at(on(&only, "q", "a"), began));
        assert_eq!(health.ailing()[0].failures, 3);
        health.well_at(on(&only, "p", "d"), Instant::now());
        assert!(health.admits_at(on(&only, "p", "a"), began) && health.ailing().is_empty());
    }

    #[test]
    fn who_is_busy_is_left_alone_for_as_long_as_it_asks_within_a_minute() {
        let only = only();
        for (asks, seconds) in [(None, 1), (Some(7), 7), (Some(900), 60)] {
            let (health, began) = (Health::default(), Instant::now());
            let asks = asks.map(Duration::from_secs);
            health.fails_at(on(&only, "p", "m"), Ailment::Busy(asks), began);
            assert!(!health.admits_at(on(&only, "p", "m"), after(began, seconds * 1_000 - 1)));
            assert!(health.admits_at(on(&only, "p", "m"), after(began, seconds * 1_000)));
        }
    }

    #[test]
    fn half_of_the_last_answers_take_a_model_down_too_and_good_ones_make_it_forgotten() {
        let only = only();
        let (health, began) = (Health::default(), Instant::now());
        let admitted = (0..12).map(|n| {
            match n % 2 {
                0 => health.fails_at(on(&only, "p", "m"), Ailment::Failing, began),
                _ => health.well_at(on(&only, "p", "m"), Instant::now()),
            }
            health.admits_at(on(&only, "p", "m"), began)
        });
        assert_eq!(admitted.filter(|a| *a).count(), 11, "down at the eleventh");
        for _ in 0..REMEMBERED {
            health.well_at(on(&only, "p", "m"), Instant::now());
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

    #[test]
    fn a_failure_keeps_requests_from_what_has_failed_and_from_nothing_else() {
        let channels = ["a@eu", "b@eu", "a@us", "b@us"].map(|name| {
            let (credential, deployment) = name.split_once('@').expect("two names");
            named(credential, deployment)
        });
        for (how, times, down) in [
            (Ailment::Unreachable, 3, &["a@eu", "b@eu"][..]),
            (Ailment::Failing, 3, &["a@eu", "b@eu"]),
            (Ailment::Busy(None), 1, &["a@eu"]),
            (Ailment::Refused, 1, &["a@eu"]),
            (Ailment::Forbidden, 1, &["a@eu"]),
        ] {
            let (health, began) = (Health::default(), Instant::now());
            for _ in 0..times {
                health.fails_at(on(&channels[0], "p", "m"), how, began);
            }
            let left = |model: &str| -> Vec<&str> {
                let shut = channels
                    .iter()
                    .filter(|c| !health.admits_at(on(c, "p", model), began));
                shut.map(|c| c.name.as_str()).collect()
            };
            assert_eq!(left("m"), down, "{how:?}");
            let all_models = matches!(how, Ailment::Unreachable | Ailment::Refused);
            assert_eq!(left("n"), if all_models { down } else { &[] }, "{how:?}");
            assert!(health.is_in_doubt(on(&channels[0], "p", "m")));
            assert!(!health.is_in_doubt(on(&channels[3], "p", "m")));
            health.well_at(on(&channels[0], "p", "m"), Instant::now());
            assert_eq!(left("m"), [""; 0], "{how:?}");
        }
    }

    #[test]
    fn an_answer_to_what_was_sent_before_ends_no_time_that_was_asked_for_since() {
        let (health, began, a) = (Health::default(), Instant::now(), named("a", "eu"));
        let target = on(&a, "p", "m");
        for how in [
            Ailment::Busy(Some(Duration::from_secs(30))),
            Ailment::Refused,
            Ailment::Forbidden,
        ] {
            health.fails_at(target, how, after(began, 10));
            health.well_at(target, began);
            assert!(!health.admits_at(target, after(began, 20)), "{how:?}");
            health.well_at(target, after(began, 11));
            assert!(health.admits_at(target, after(began, 20)), "{how:?}");
        }
    }

    #[test]
    fn a_key_that_is_refused_once_is_left_alone_for_seconds_until_another_takes_the_same_request() {
        let (health, a) = (Health::default(), named("a", "eu"));
        let target = on(&a, "p", "m");
        health.is_suspect(target);
        assert!(health.is_shut(target) && !health.admits(target));
        health.pretend_to_wait(DOWN_MAX);
        assert!(health.admits(target));
        health.fails(target, Ailment::Refused);
        health.pretend_to_wait(DOWN_MAX * 2);
        assert!(!health.admits(target));
    }

    #[test]
    fn a_key_that_is_refused_is_left_alone_for_ten_minutes_unless_it_is_another_one_by_then() {
        let (health, began, a) = (Health::default(), Instant::now(), named("a", "eu"));
        let target = on(&a, "p", "m");
        health.fails_at(target, Ailment::Refused, began);
        assert!(!health.admits_at(target, after(began, 599_999)));
        assert!(health.admits_at(target, after(began, 600_000)));
        health.fails_at(target, Ailment::Refused, began);
        assert_eq!(health.ailing()[0].how, Ailment::Refused);
        health.forget("p");
        assert!(health.admits_at(target, began));
    }
}
