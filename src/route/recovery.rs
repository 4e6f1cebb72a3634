//! What happens where a provider fails: who is asked next, and how often.

use std::time::Duration;

/// The first pause before the same arm is asked once more; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(150);

/// What happens where a provider fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// So often the same arm is asked once more, where it has left no bill and nobody else can answer.
    pub retries: u32,
    /// Whether a routed request goes on to an arm that no rule names.
    pub after_failure: AfterFailure,
}

/// Whether a routed request whose arm has failed goes on to the next best one that no rule names as its fallback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// It does not.
    Stop,
    /// It does where the failure can have left no bill.
    Unbilled,
    /// It does, also where somebody may be billed twice.
    Always,
}

impl AfterFailure {
    /// Every one.
    pub const ALL: [AfterFailure; 3] = [
        AfterFailure::Stop,
        AfterFailure::Unbilled,
        AfterFailure::Always,
    ];

    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            AfterFailure::Stop => "never",
            AfterFailure::Unbilled => "unbilled",
            AfterFailure::Always => "always",
        }
    }
}

impl Default for Recovery {
    fn default() -> Recovery {
        Recovery {
            retries: 1,
            after_failure: AfterFailure::Unbilled,
        }
    }
}

impl Recovery {
    /// How long to wait before the same arm is asked once more, the `nth` time: from half to one and a half of what it is on average, by
    /// the request's id, so that requests that failed together do not come back together.
    #[must_use]
    pub fn pause(&self, nth: u32, request: &str) -> Duration {
        let spread = request.bytes().fold(7_u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u32::from(byte))
        }) % 1_000;
        PAUSE * 2_u32.pow(nth.min(8)) * (500 + spread) / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_spread_by_the_request() {
        let recovery = Recovery::default();
        let pauses = |nth| {
            let all = (0..1_000).map(move |n| recovery.pause(nth, &format!("request {n}")));
            let all: Vec<u128> = all.map(|p| p.as_millis()).collect();
            (all.iter().min().copied(), all.iter().max().copied())
        };
        let (least, most) = pauses(0);
        assert!(least.is_some_and(|l| (75..85).contains(&l)), "{least:?}");
        assert!(most.is_some_and(|m| (210..=225).contains(&m)), "{most:?}");
        assert!(pauses(1).0 >= Some(150));
    }
}
