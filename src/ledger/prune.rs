//! Which sums of windows that have long passed are forgotten, a few at a time: the attempts still hold what was spent in them.
//!
//! There are as many of them as there were minutes and hours, and end users, of whom callers may name any number.

use super::cap::{Counter, Dim, Pick};
use super::window::Window;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Two days after its end nothing is open any more in a window, on no replica.
const LONG_S: i64 = 2 * 86_400;
/// Sums that are looked at in one step: a few milliseconds of a store.
pub const STEP: i64 = 256;
/// How long nothing is looked at after all have been, in seconds.
const REST_S: i64 = 3_600;

/// How far this process has looked through the sums.
#[derive(Debug, Default)]
pub struct Pass {
    at: Mutex<At>,
}

#[derive(Clone, Debug, Default)]
struct At {
    /// The last one that was looked at, by its counter and window.
    after: (String, i64),
    /// Until when nothing is to be done, seconds since 1970.
    rests_until: i64,
}

impl Pass {
    /// There is something to be done.
    #[must_use]
    pub fn is_due(&self, now: i64) -> bool {
        self.now().rests_until <= now
    }

    /// After which sum to look on.
    #[must_use]
    pub fn after(&self) -> (String, i64) {
        self.now().after.clone()
    }

    /// These were looked at, in their order; fewer than a step's are the last ones.
    pub fn looked_at(&self, sums: &[(String, i64)], now: i64) {
        let whole = i64::try_from(sums.len()).is_ok_and(|n| n >= STEP);
        let last = sums.last().filter(|_| whole);
        *self.now() = At {
            after: last.cloned().unwrap_or_default(),
            rests_until: if whole { 0 } else { now + REST_S },
        };
    }

    fn now(&self) -> std::sync::MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The second up to which windows have passed: as the clock says, but no later than a clock that nobody sets has gone since the second
/// at which the books were opened. A window that is forgotten while it runs would begin anew.
#[must_use]
pub fn passed(clock: i64, (opened_at, since): (i64, Duration)) -> i64 {
    let since = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    clock.min(opened_at.saturating_add(since))
}

/// This sum is forgotten at `now` (seconds since 1970): it is of a minute or an hour, or of an end user, and its window has long passed.
#[must_use]
pub fn is_forgotten(counter: &str, id: i64, now: i64) -> bool {
    let Some(counter) = Counter::read(counter) else {
        return false;
    };
    let many = matches!(counter.window, Window::Minute | Window::Hour)
        || *counter.scope.pick(Dim::User) != Pick::Any;
    let ends_at = counter.window.ends_at(&counter.zone, id);
    many && ends_at.is_some_and(|end| end < now - LONG_S)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::window::Zone;

    #[test]
    fn only_minutes_hours_and_end_users_are_forgotten_and_only_when_their_window_has_long_passed() {
        let now = 1_800_000_000;
        let utc = Zone::default();
        for (name, window, may_go) in [
            ("|usd|minute|UTC", Window::Minute, true),
            ("key=7|requests|hour|UTC", Window::Hour, true),
            ("user=ann|usd|day|UTC", Window::Day, true),
            ("key=7&user=ann|usd|month|UTC", Window::Month, true),
            ("key=7|usd|day|UTC", Window::Day, false),
            ("user=ann|usd|total|UTC", Window::Total, false),
            ("what nobody can read", Window::Minute, false),
        ] {
            let gone = |at: i64| is_forgotten(name, window.id(&utc, at), now);
            assert!(!gone(now), "{name} runs");
            assert!(!gone(now - 86_400), "{name} may still be open somewhere");
            assert_eq!(gone(now - 90 * 86_400), may_go, "{name} has long passed");
        }
    }

    #[test]
    fn a_clock_that_jumps_ahead_makes_no_window_a_past_one() {
        let opened = (1_000, Duration::from_secs(60));
        for (clock, passed_at) in [(1_060, 1_060), (1_060 + 4 * 86_400, 1_060), (900, 900)] {
            assert_eq!(passed(clock, opened), passed_at, "{clock}");
        }
    }

    #[test]
    fn a_pass_goes_on_after_the_last_one_and_rests_after_all_of_them() {
        let pass = Pass::default();
        assert!(pass.is_due(100) && pass.after() == (String::new(), 0));
        let step: Vec<(String, i64)> = (0..STEP).map(|n| ("a".to_owned(), n)).collect();
        pass.looked_at(&step, 100);
        assert!(pass.is_due(100) && pass.after() == ("a".to_owned(), STEP - 1));
        pass.looked_at(&step[..3], 100);
        assert!(!pass.is_due(100 + REST_S - 1) && pass.is_due(100 + REST_S));
        assert_eq!(pass.after(), (String::new(), 0), "from the beginning");
    }
}
