//! When caps are used up, if spending goes on as it did. Pure: what was spent is read by others, from the books.

use super::balance::CounterStanding;
use super::rollup::Grain;
use std::collections::HashMap;

/// Over how long the pace is taken at which a cap is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The last hour.
    Hour,
    /// The last six hours.
    SixHours,
    /// The last three days.
    ThreeDays,
}

impl Pace {
    /// Every one, the shortest first.
    pub const ALL: [Pace; 3] = [Pace::Hour, Pace::SixHours, Pace::ThreeDays];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Pace::Hour => "1h",
            Pace::SixHours => "6h",
            Pace::ThreeDays => "3d",
        }
    }

    /// Since when it counts, at an instant; both in milliseconds since 1970. The longer ones count from the beginning of an hour on, up
    /// to an hour earlier than their name says, so that sums of hours tell all of it.
    #[must_use]
    pub fn begins_ms(self, now_ms: i64) -> i64 {
        const HOUR_MS: i64 = 3_600_000;
        match self {
            Pace::Hour => now_ms - HOUR_MS,
            Pace::SixHours => Grain::Hour.floor(now_ms - 6 * HOUR_MS),
            Pace::ThreeDays => Grain::Hour.floor(now_ms - 72 * HOUR_MS),
        }
    }
}

/// What each counter has counted over each of [`Pace::ALL`], by the counter's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paces {
    /// In pico-dollars, tokens or requests.
    pub counted: HashMap<String, [i128; 3]>,
    /// Over how long, in milliseconds.
    pub over_ms: [i64; 3],
}

impl Paces {
    /// When a cap is used up at each pace, in seconds since 1970; now where it is already, `None` where nothing was counted at that pace
    /// or nobody knows.
    #[must_use]
    pub fn exhausted(&self, standing: &CounterStanding, now: i64) -> [Option<i64>; 3] {
        let Some(limit) = standing.limit else {
            return [None; 3];
        };
        let left = limit - standing.posted;
        if left <= 0 {
            return [Some(now); 3];
        }
        let counted = self.counted.get(&standing.counter.to_string());
        let counted = counted.copied().unwrap_or_default();
        let mut times = [None; 3];
        for ((time, over_ms), counted) in times.iter_mut().zip(self.over_ms).zip(counted) {
            *time = seconds_left(left, counted, over_ms).and_then(|more| now.checked_add(more));
        }
        times
    }
}

/// In how many seconds so much is used up, where so much was counted in this time.
fn seconds_left(left: i128, counted: i128, over_ms: i64) -> Option<i64> {
    if counted <= 0 {
        return None;
    }
    let ms = left.checked_mul(i128::from(over_ms))? / counted;
    i64::try_from(ms / 1_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::cap::{Counter, Scope};
    use crate::ledger::window::Window;

    #[test]
    fn a_cap_is_used_up_when_what_is_left_is_spent_at_the_pace() {
        let counter = Counter::usd(Scope::all(), Window::Month);
        let paces = |counted| Paces {
            counted: HashMap::from([(counter.to_string(), counted)]),
            over_ms: [3_600_000, 6 * 3_600_000, 72 * 3_600_000],
        };
        let standing = |limit: Option<i128>, posted: i128| CounterStanding {
            counter: counter.clone(),
            id: 1,
            ends_at: None,
            limit,
            posted,
            reserved: 0,
            lease: 0,
            cap: None,
        };
        let now = 1_000_000;
        for (limit, posted, counted, expected) in [
            (Some(100), 50, [50, 0, 0], [Some(now + 3_600), None, None]),
            (
                Some(100),
                50,
                [10, 25, 100],
                [Some(now + 18_000), Some(now + 43_200), Some(now + 129_600)],
            ),
            (Some(100), 100, [0, 0, 0], [Some(now); 3]),
            (Some(100), 120, [1, 1, 1], [Some(now); 3]),
            (Some(0), 0, [0, 0, 0], [Some(now); 3]),
            (None, 50, [50, 50, 50], [None; 3]),
            (Some(100), 99, [-5, 0, 1], [None, None, Some(now + 259_200)]),
            (Some(i128::MAX), 0, [1, 1, 1], [None; 3]),
        ] {
            let got = paces(counted).exhausted(&standing(limit, posted), now);
            assert_eq!(got, expected, "{limit:?} {posted} {counted:?}");
        }
        let now_ms = 100 * 3_600_000 + 1;
        let over = Pace::ALL.map(|pace| now_ms - pace.begins_ms(now_ms));
        assert_eq!(over, [3_600_000, 6 * 3_600_000 + 1, 72 * 3_600_000 + 1]);
        let unknown = Paces::default().exhausted(&standing(Some(9), 1), now);
        assert_eq!(unknown, [None; 3]);
    }
}
