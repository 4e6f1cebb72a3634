//! Batches that collect requests which wait: with whom a request shares one, and how much time it has. Pure.

use super::parts::Parts;
use std::time::Duration;

/// Deadlines are shortened to one of these hours, so that requests with about the same time share a batch: its time is that of its first request,
/// and none loses more than a third of its own. A deadline below the first stands as it is.
const HOURS: [u64; 9] = [1, 2, 3, 4, 6, 8, 12, 18, 24];
/// Of a deadline's time, one part in so many is kept for what a vendor has not done by then: to cancel it, and to ask at once.
const KEPT_BACK: u32 = 6;
/// More is not kept back: a vendor ends what it was asked to cancel within some ten minutes.
const KEPT_BACK_MAX: Duration = Duration::from_secs(900);
/// Requests are collected for one part in so many of their deadline at most.
const COLLECT_PART: u32 = 10;

/// A batch that collects requests.
pub struct Pool {
    /// Its id.
    pub id: String,
    /// Who works on it here.
    pub worker: String,
    /// The number of its next line.
    pub next: i64,
    /// What its vendor takes in one batch; a second part begins another one.
    pub parts: Parts,
    /// It collects until then, in seconds since 1970.
    pub until: i64,
}

/// The time that a request's batch has, at most.
#[must_use]
pub fn shared_deadline(deadline: Duration) -> Duration {
    let hours = HOURS.iter().rev().map(|hours| hours * 3_600);
    let mut fitting = hours.map(Duration::from_secs);
    fitting.find(|h| *h <= deadline).unwrap_or(deadline)
}

/// How long a batch collects, and after how long what is not done of it is cancelled at its vendor.
#[must_use]
pub fn times(deadline: Duration, collect: Duration) -> (Duration, Duration) {
    let kept_back = (deadline / KEPT_BACK).min(KEPT_BACK_MAX);
    (
        collect.min(deadline / COLLECT_PART),
        deadline.saturating_sub(kept_back),
    )
}

/// Whole seconds, rounded up.
#[must_use]
pub fn seconds(time: Duration) -> i64 {
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    i64::try_from(whole).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_with_about_the_same_time_share_a_batch_and_none_has_more_than_it_asked_for() {
        let hours = |n: u64| Duration::from_secs(n * 3_600);
        for (asked, shared) in [(1, 1), (2, 2), (5, 4), (7, 6), (11, 8), (17, 12), (24, 24)] {
            assert_eq!(shared_deadline(hours(asked)), hours(shared), "{asked} h");
        }
        let short = Duration::from_secs(90);
        assert_eq!(shared_deadline(short), short);
    }

    #[test]
    fn a_part_of_the_time_is_kept_for_what_a_vendor_has_not_done() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        assert_eq!(times(minutes(60), minutes(2)), (minutes(2), minutes(50)));
        assert_eq!(times(minutes(10), minutes(2)).0, minutes(1));
        assert_eq!(times(minutes(1_440), minutes(2)).1, minutes(1_425));
    }
}
