//! What happens beside the requests of the month of `flyball demo --days`: rate limits, refusals, reloads, jobs in the background, and the process itself.

use super::calendar::{Calendar, load};
use super::world::AWAY;
use crate::error::{Error, Kind};
use crate::simulate::Dice;
use crate::telemetry::{JobEnd, Refusal, Telemetry};
use std::fmt::Write;

/// What is around the requests.
pub(super) struct Scenery {
    dice: Dice,
    from_ms: i64,
    all_ms: i64,
    /// The last configuration was refused.
    wrong: bool,
    reloads: u32,
}

impl Scenery {
    pub(super) fn new(calendar: &Calendar) -> Scenery {
        Scenery {
            dice: Dice::new(calendar.seed, &["scenery"]),
            from_ms: calendar.from_ms,
            all_ms: (calendar.until_ms - calendar.from_ms).max(1),
            wrong: false,
            reloads: 0,
        }
    }

    /// A quarter of an hour begins.
    pub(super) fn around(&mut self, telemetry: &Telemetry, at_ms: i64) {
        for provider in ["simulated", AWAY] {
            for of in ["requests", "tokens"] {
                let busy = load(at_ms) - 100;
                let left = 96_u64.saturating_sub(busy * 2 + self.dice.between(0, 14));
                let percent = u32::try_from(left).unwrap_or(0);
                telemetry.headroom((provider, None), of, f64::from(percent) / 100.0);
            }
        }
        for (one_in, kind, code) in [
            (5, Kind::BadRequest, None),
            (11, Kind::Unauthorized, None),
            (60, Kind::NotFound, None),
            (40, Kind::BadRequest, Some("flyball_no_price")),
            (90, Kind::BadRequest, Some("flyball_unbounded")),
        ] {
            if self.dice.between(1, one_in) == 1 {
                let error = Error::new(kind, "made up");
                telemetry.refused(&Refusal {
                    request: "",
                    error: &Error { code, ..error },
                });
            }
        }
        if self.dice.between(1, 6) == 1 {
            telemetry.job(AWAY, JobEnd::Begun);
            let lost = self.dice.between(1, 25) == 1;
            let end = if lost {
                JobEnd::AtBound
            } else {
                JobEnd::Settled
            };
            telemetry.job(AWAY, end);
        }
        if self.dice.between(1, 70) == 1 {
            telemetry.unmetered(AWAY);
        }
        self.reload(telemetry, at_ms);
    }

    /// The configuration is changed five times, once with a mistake.
    fn reload(&mut self, telemetry: &Telemetry, at_ms: i64) {
        let due = [7, 22, 48, 51, 83];
        let percent = (at_ms - self.from_ms) * 100 / self.all_ms;
        let next = usize::try_from(self.reloads).unwrap_or(usize::MAX);
        if due.get(next).is_some_and(|at| percent >= *at) {
            self.reloads += 1;
            self.wrong = self.reloads == 3;
            telemetry.reloaded(!self.wrong);
        }
    }

    /// What a scrape says of the process, in the text format.
    pub(super) fn process(&mut self, at_ms: i64, requests: u64) -> String {
        let megabytes = 58 + load(at_ms) / 12 + self.dice.between(0, 5);
        let files = 31 + load(at_ms) / 3 + self.dice.between(0, 6);
        let quarters = u64::try_from((at_ms - self.from_ms) / 900_000).unwrap_or(0);
        let cpu_ms = requests * 4 + quarters * 700;
        let mut text = String::new();
        for (name, kind, help, value) in [
            (
                "process_cpu_seconds_total",
                "counter",
                "Total user and system CPU time spent in seconds.",
                format!("{}.{:03}", cpu_ms / 1_000, cpu_ms % 1_000),
            ),
            (
                "process_max_fds",
                "gauge",
                "Maximum number of open file descriptors.",
                "1048576".to_owned(),
            ),
            (
                "process_open_fds",
                "gauge",
                "Number of open file descriptors.",
                files.to_string(),
            ),
            (
                "process_resident_memory_bytes",
                "gauge",
                "Resident memory size in bytes.",
                (megabytes << 20).to_string(),
            ),
            (
                "process_start_time_seconds",
                "gauge",
                "Start time of the process since unix epoch in seconds.",
                (self.from_ms / 1_000).to_string(),
            ),
        ] {
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}"
            );
        }
        text
    }
}
