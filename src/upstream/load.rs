//! How much is under way on each channel of each provider, how long its answers took to begin and how many failed lately, and how much of its
//! rate limit is left.
//!
//! A window is five minutes in slots of half a minute; times to the first byte are counted in classes, each a fifth longer than the one before
//! it, so that a window takes the same memory whatever happens. Nothing is kept beyond the process.

use super::health::{Ailment, Target};
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Slots of a window.
const SLOTS: usize = 10;
/// Those before the present one.
const SLOTS_BEFORE: u64 = 9;
/// How long one slot is.
const SLOT: Duration = Duration::from_secs(30);
/// Classes of times to the first byte: the last one holds everything above about six minutes.
const CLASSES: usize = 64;
/// The upper end of the first class, in milliseconds.
const FIRST_CLASS_MS: f64 = 4.0;
/// Each class is so much longer than the one before it.
const CLASS_GROWS: f64 = 1.2;
/// Models on channels that have a window; one takes about 3 KB.
const WINDOWS_MAX: usize = 1_000;
/// Where there are so many, those in which nothing has happened lately are looked for no more often than this.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A rate limit that is nearly used up and does not say when it is whole again is taken to be so after this.
const RESET: Duration = Duration::from_secs(10);
/// And never later than this.
const RESET_MAX: Duration = Duration::from_secs(60);

/// What is known of every channel.
#[derive(Debug, Default)]
pub struct Load {
    channels: RwLock<HashMap<u64, Arc<AtomicU32>>>,
    windows: RwLock<HashMap<u64, Arc<Window>>>,
    /// When those in which nothing happens were last looked for.
    swept: Mutex<Option<Instant>>,
}

/// What one model on one channel has done lately.
#[derive(Debug)]
struct Window {
    provider: String,
    channel: String,
    model: String,
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    began: Instant,
    /// Which slot, counted from the beginning, the last entry was made in.
    last: u64,
    all: [Slot; SLOTS],
    /// Until when its rate limit is nearly used up, and what share of it was left, in thousandths.
    nearly_out: Option<(Instant, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Which slot this is, counted from the beginning.
    number: u64,
    /// Whole answers, which begin when they are made, and streams.
    begun: [[u16; CLASSES]; 2],
    failed: [u32; FAILURES.len()],
}

/// The failures that are told apart.
const FAILURES: [&str; 5] = ["unreachable", "refused", "forbidden", "failing", "busy"];

impl Slot {
    const EMPTY: Slot = Slot {
        number: 0,
        begun: [[0; CLASSES]; 2],
        failed: [0; FAILURES.len()],
    };
}

/// What a model on a channel has done in the last five minutes.
#[derive(Clone, Debug, PartialEq)]
pub struct Lately {
    /// The provider's name.
    pub provider: String,
    /// The channel's name.
    pub channel: String,
    /// The model.
    pub model: String,
    /// Answers that began.
    pub answers: u64,
    /// Failures, by their names; those that there were.
    pub failures: Vec<(&'static str, u64)>,
    /// Half of the answers began within this.
    pub first_byte_p50: Option<Duration>,
    /// Nineteen of twenty answers began within this.
    pub first_byte_p95: Option<Duration>,
    /// The share of its rate limit that is left, in thousandths, where that is so little that requests go elsewhere.
    pub nearly_out_permille: Option<u32>,
}

/// A request that is under way on a channel, until this is dropped.
#[derive(Debug)]
pub struct UnderWay {
    on: Arc<AtomicU32>,
    window: Option<Arc<Window>>,
    sent: Instant,
    begun: bool,
}

impl UnderWay {
    /// The first byte of its answer is here, which is a stream or whole; later ones change nothing.
    pub fn begins(&mut self, stream: bool) {
        if !std::mem::replace(&mut self.begun, true)
            && let Some(window) = &self.window
        {
            let now = Instant::now();
            window.lock().begun(self.sent.elapsed(), stream, now);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.on.fetch_sub(1, Ordering::Relaxed);
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn hash(parts: [&str; 3]) -> u64 {
    FixedState::default().hash_one(parts)
}

impl Load {
    /// A request goes out.
    #[must_use]
    pub fn sends(&self, target: Target<'_>) -> UnderWay {
        let on = self.channel(target);
        on.fetch_add(1, Ordering::Relaxed);
        UnderWay {
            on,
            window: self.window(target),
            sent: Instant::now(),
            begun: false,
        }
    }

    /// A request has failed.
    pub fn fails(&self, target: Target<'_>, how: Ailment) {
        if let Some(window) = self.window(target) {
            window.lock().failed(how, Instant::now());
        }
    }

    /// An answer tells that so many thousandths of a rate limit are left, and when it is whole again. `least`: below so many it is nearly out.
    pub fn left(&self, target: Target<'_>, permille: u32, reset: Option<Duration>, least: u32) {
        let until = Instant::now() + reset.unwrap_or(RESET).min(RESET_MAX);
        if let Some(window) = self.window(target) {
            window.lock().nearly_out = (permille < least).then_some((until, permille));
        }
    }

    /// Requests under way on a channel.
    #[must_use]
    pub fn in_flight(&self, provider: &str, channel: &str) -> u32 {
        let channels = read(&self.channels);
        let on = channels.get(&hash([provider, channel, ""]));
        on.map_or(0, |on| on.load(Ordering::Relaxed))
    }

    /// Whether the rate limit of a model on a channel is nearly used up.
    #[must_use]
    pub fn is_nearly_out(&self, target: Target<'_>) -> bool {
        let key = hash([target.provider, &target.channel.name, target.model]);
        let windows = read(&self.windows);
        windows.get(&key).is_some_and(|window| {
            let nearly_out = window.lock().nearly_out;
            nearly_out.is_some_and(|(until, _)| until > Instant::now())
        })
    }

    /// Within which time so many percent of the streams, or of the whole answers, of a model began lately, on all of its channels together;
    /// `None` where fewer than `least` have begun.
    #[must_use]
    pub fn first_byte(
        &self,
        (provider, model, stream): (&str, &str, bool),
        percent: u32,
        least: u64,
    ) -> Option<Duration> {
        let (now, mut sums) = (Instant::now(), [0; CLASSES]);
        for window in read(&self.windows).values() {
            if window.provider == provider && window.model == model {
                let slots = window.lock();
                for slot in slots.recent(now) {
                    add(&mut sums, &slot.begun[usize::from(stream)]);
                }
            }
        }
        (sums.iter().sum::<u64>() >= least)
            .then(|| percentile(&sums, percent))
            .flatten()
    }

    /// What every model on every channel has done lately, by name.
    #[must_use]
    pub fn lately(&self) -> Vec<Lately> {
        let now = Instant::now();
        let mut all: Vec<Lately> = read(&self.windows)
            .values()
            .map(|window| window.lately(now))
            .filter(|lately| lately.answers > 0 || !lately.failures.is_empty())
            .collect();
        all.sort_by(|a, b| {
            (&a.provider, &a.channel, &a.model).cmp(&(&b.provider, &b.channel, &b.model))
        });
        all
    }

    fn channel(&self, target: Target<'_>) -> Arc<AtomicU32> {
        let key = hash([target.provider, &target.channel.name, ""]);
        if let Some(on) = read(&self.channels).get(&key) {
            return Arc::clone(on);
        }
        Arc::clone(write(&self.channels).entry(key).or_default())
    }

    /// The window of a model on a channel; nothing where there are too many, as a client may name any model.
    fn window(&self, target: Target<'_>) -> Option<Arc<Window>> {
        let key = hash([target.provider, &target.channel.name, target.model]);
        if let Some(window) = read(&self.windows).get(&key) {
            return Some(Arc::clone(window));
        }
        let now = Instant::now();
        if read(&self.windows).len() >= WINDOWS_MAX {
            // Whoever names a new model with each request must not have all of them looked through each time.
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            if swept.is_some_and(|at| now.saturating_duration_since(at) < SWEEP_EVERY) {
                return None;
            }
            *swept = Some(now);
        }
        let mut windows = write(&self.windows);
        if windows.len() >= WINDOWS_MAX {
            windows.retain(|_, window| window.lock().recent(now).next().is_some());
        }
        let room = windows.len() < WINDOWS_MAX;
        room.then(|| {
            let fresh = || {
                Arc::new(Window {
                    provider: target.provider.to_owned(),
                    channel: target.channel.name.clone(),
                    model: target.model.to_owned(),
                    slots: Mutex::new(Slots {
                        began: now,
                        last: 0,
                        all: [Slot::EMPTY; SLOTS],
                        nearly_out: None,
                    }),
                })
            };
            Arc::clone(windows.entry(key).or_insert_with(fresh))
        })
    }
}

impl Window {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lately(&self, now: Instant) -> Lately {
        let slots = self.lock();
        let (mut begun, mut failed) = ([0; CLASSES], [0; FAILURES.len()]);
        for slot in slots.recent(now) {
            slot.begun.iter().for_each(|some| add(&mut begun, some));
            add(&mut failed, &slot.failed);
        }
        let failures = FAILURES.into_iter().zip(failed);
        Lately {
            provider: self.provider.clone(),
            channel: self.channel.clone(),
            model: self.model.clone(),
            answers: begun.iter().sum(),
            failures: failures.filter(|(_, count)| *count > 0).collect(),
            first_byte_p50: percentile(&begun, 50),
            first_byte_p95: percentile(&begun, 95),
            nearly_out_permille: slots
                .nearly_out
                .filter(|(until, _)| *until > now)
                .map(|(_, permille)| permille),
        }
    }
}

impl Slots {
    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / SLOT.as_secs()
    }

    fn present(&mut self, now: Instant) -> &mut Slot {
        let number = self.number(now).max(self.last);
        self.last = number;
        let at = usize::try_from(number).unwrap_or_default() % SLOTS;
        let slot = &mut self.all[at];
        if slot.number != number {
            *slot = Slot {
                number,
                ..Slot::EMPTY
            };
        }
        slot
    }

    fn begun(&mut self, after: Duration, stream: bool, now: Instant) {
        let of_kind = &mut self.present(now).begun[usize::from(stream)];
        let class = &mut of_kind[class(after)];
        *class = class.saturating_add(1);
    }

    fn failed(&mut self, how: Ailment, now: Instant) {
        let at = FAILURES.iter().position(|name| *name == how.name());
        let slot = self.present(now);
        if let Some(count) = at.and_then(|at| slot.failed.get_mut(at)) {
            *count = count.saturating_add(1);
        }
    }

    /// The slots that anything has happened in within a window before this moment.
    fn recent(&self, now: Instant) -> impl Iterator<Item = &Slot> {
        let number = self.number(now).max(self.last);
        let oldest = number.saturating_sub(SLOTS_BEFORE);
        self.all.iter().filter(move |slot| {
            let begun = slot.begun.iter().flatten().any(|n| *n > 0);
            let used = begun || slot.failed.iter().any(|n| *n > 0);
            used && slot.number >= oldest
        })
    }
}

fn add<T: Copy + Into<u64>, const N: usize>(sums: &mut [u64; N], counts: &[T; N]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += (*count).into();
    }
}

/// The class of a time: the first one whose upper end is not before it.
fn class(after: Duration) -> usize {
    let millis = after.as_secs_f64() * 1_000.0;
    let (mut class, mut end) = (0, FIRST_CLASS_MS);
    while end < millis && class < CLASSES - 1 {
        (class, end) = (class + 1, end * CLASS_GROWS);
    }
    class
}

/// The upper end of a class, in milliseconds.
fn upper_ms(class: usize) -> f64 {
    let steps = i32::try_from(class).unwrap_or(i32::MAX);
    FIRST_CLASS_MS * CLASS_GROWS.powi(steps)
}

/// The upper end of the class in which so many percent of all are reached.
fn percentile(counts: &[u64; CLASSES], percent: u32) -> Option<Duration> {
    let all: u64 = counts.iter().sum();
    let wanted = (all.saturating_mul(u64::from(percent.min(100)))).div_ceil(100);
    let mut so_far = 0;
    let reached = counts.iter().position(|count| {
        so_far += count;
        so_far >= wanted.max(1)
    });
    reached.map(|class| Duration::from_secs_f64(upper_ms(class) / 1_000.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::channel::Channel;

    fn target(channel: &Channel) -> Target<'_> {
        Target {
            provider: "p",
            channel,
            model: "m",
        }
    }

    #[test]
    fn a_window_forgets_what_is_five_minutes_old_and_tells_percentiles_within_a_fifth() {
        let began = Instant::now();
        let mut slots = Slots {
            began,
            last: 0,
            all: [Slot::EMPTY; SLOTS],
            nearly_out: None,
        };
        for millis in 1..=1_000 {
            slots.begun(Duration::from_millis(millis), true, began);
        }
        let at = |slots: &Slots, percent, seconds| {
            let mut sums = [0; CLASSES];
            for slot in slots.recent(began + Duration::from_secs(seconds)) {
                add(&mut sums, &slot.begun[1]);
            }
            percentile(&sums, percent).map(|time| time.as_secs_f64())
        };
        for (percent, seconds) in [(50, 0.5), (95, 0.95), (100, 1.0)] {
            let told = at(&slots, percent, 0).expect("answers");
            assert!(
                (seconds..seconds * 1.21).contains(&told),
                "{percent}: {told}"
            );
        }
        assert!(at(&slots, 50, 299).is_some());
        assert_eq!(at(&slots, 50, 300), None);
        slots.begun(
            Duration::from_secs(4_000),
            true,
            began + Duration::from_secs(1_000),
        );
        assert!(at(&slots, 50, 1_000).is_some_and(|time| time > 300.0));
    }

    #[test]
    fn what_is_under_way_is_counted_until_it_ends_and_failures_by_kind() {
        let (load, channel) = (Load::default(), Channel::only("http://127.0.0.1:1", None));
        let mut one = load.sends(target(&channel));
        let two = load.sends(target(&channel));
        assert_eq!(load.in_flight("p", "default"), 2);
        one.begins(true);
        one.begins(true);
        drop((one, two));
        load.fails(target(&channel), Ailment::Busy(None));
        assert_eq!(load.in_flight("p", "default"), 0);
        let lately = load.lately();
        assert_eq!((lately.len(), lately[0].answers), (1, 1));
        assert_eq!(lately[0].failures, [("busy", 1)]);
        let within = |stream, least| load.first_byte(("p", "m", stream), 50, least);
        assert!(within(true, 1).is_some());
        assert!(within(true, 2).is_none(), "too few");
        assert!(within(false, 1).is_none(), "no whole answer");
    }

    #[test]
    fn a_rate_limit_that_is_nearly_used_up_is_so_until_it_is_whole_again() {
        let (load, channel) = (Load::default(), Channel::only("http://127.0.0.1:1", None));
        let on = target(&channel);
        for (permille, reset, out) in [(49, 30, true), (50, 30, false), (0, 0, false)] {
            load.left(on, permille, Some(Duration::from_secs(reset)), 50);
            assert_eq!(load.is_nearly_out(on), out, "{permille} {reset}");
        }
    }

    #[test]
    fn there_are_no_more_windows_than_there_is_room_for() {
        let (load, channel) = (Load::default(), Channel::only("http://127.0.0.1:1", None));
        for n in 0..WINDOWS_MAX + 100 {
            let model = format!("m{n}");
            let on = Target {
                model: &model,
                ..target(&channel)
            };
            load.sends(on).begins(false);
        }
        assert_eq!(read(&load.windows).len(), WINDOWS_MAX);
        assert_eq!(load.in_flight("p", "default"), 0);
    }
}
