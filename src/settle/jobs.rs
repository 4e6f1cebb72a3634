//! Jobs in the background: attempts that were answered with a promise, and are not known to be over. What each will have used is told when
//! its answer is fetched by its client or looked for by flyball, or the job is cancelled; until then its reservation stays open. Kept in memory:
//! a job that is under way when flyball ends is charged at its bound, which the next process corrects.

use super::Settlement;
use crate::dialect::Answer;
use crate::telemetry::{JobEnd, Telemetry};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So long a job is waited for. OpenAI's longest tasks take hours, and a reservation must not stay open for ever.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// More jobs are not waited for.
const JOBS_MAX: usize = 10_000;
/// Longer ids are no vendor's.
const ID_BYTES_MAX: usize = 256;

/// Where a job is: its provider, and what that calls it.
type JobAddress = (String, String);

/// The jobs that are under way.
pub struct Jobs {
    telemetry: Arc<Telemetry>,
    open: Mutex<HashMap<JobAddress, Waited>>,
}

struct Waited {
    settlement: Settlement,
    since: Instant,
}

impl Jobs {
    /// None yet.
    #[must_use]
    pub fn new(telemetry: Arc<Telemetry>) -> Jobs {
        Jobs {
            telemetry,
            open: Mutex::default(),
        }
    }

    /// A job has been taken up. Where no more can be waited for it is charged at its bound.
    pub fn begun(&self, provider: &str, id: &str, mut settlement: Settlement) {
        settlement.goes_to_background();
        // The provider has answered: what goes on there takes no part in the load of its channel.
        settlement.under_way = None;
        let waited = Waited {
            settlement,
            since: Instant::now(),
        };
        let not_kept = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            match open.len() < JOBS_MAX && id.len() <= ID_BYTES_MAX {
                true => open.insert((provider.to_owned(), id.to_owned()), waited),
                false => Some(waited),
            }
        };
        self.telemetry.job(provider, JobEnd::Begun);
        if let Some(waited) = not_kept {
            self.at_bound(provider, waited);
        }
    }

    /// The provider tells what has become of a job. Once that is over, it is booked by what it has used.
    pub fn told(&self, provider: &str, id: &str, answer: &Answer) {
        let tells =
            answer.usage.is_some() || answer.first.finish.is_some() || answer.error.is_some();
        if answer.goes_on || !tells {
            return;
        }
        let place = (provider.to_owned(), id.to_owned());
        let waited = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.remove(&place)
        };
        if let Some(waited) = waited {
            self.telemetry.job(provider, JobEnd::Settled);
            waited.settlement.job_is_over(answer);
        }
    }

    /// Whether a job is waited for here.
    #[must_use]
    pub fn has(&self, provider: &str, id: &str) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.contains_key(&(provider.to_owned(), id.to_owned()))
    }

    /// Its provider knows a job no more: it is charged at its bound.
    pub fn lost(&self, provider: &str, id: &str) {
        let place = (provider.to_owned(), id.to_owned());
        let waited = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.remove(&place)
        };
        if let Some(waited) = waited {
            self.at_bound(provider, waited);
        }
    }

    /// Charges what has been waited for too long.
    pub fn tidy(&self, now: Instant) {
        self.end(|waited| now.saturating_duration_since(waited.since) >= LIFETIME);
    }

    /// Charges what is open: the process ends.
    pub fn end_all(&self) {
        self.end(|_| true);
    }

    fn end(&self, over: impl Fn(&Waited) -> bool) {
        let ended: Vec<(JobAddress, Waited)> = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.extract_if(|_, waited| over(waited)).collect()
        };
        for ((provider, _), waited) in ended {
            self.at_bound(&provider, waited);
        }
    }

    fn at_bound(&self, provider: &str, waited: Waited) {
        self.telemetry.job(provider, JobEnd::AtBound);
        waited.settlement.job_is_lost();
    }
}
