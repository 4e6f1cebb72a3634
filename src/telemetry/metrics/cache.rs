//! The series of the response cache.

use super::super::{CacheFigures, CacheResult};
use super::make::Make;
use super::series::place;
use prometheus::{IntCounter, IntGauge};

/// What the response cache is asked, and how much it keeps.
#[derive(Debug)]
pub(super) struct CacheSeries {
    requests: [IntCounter; CacheResult::ALL.len()],
    bytes: IntGauge,
    entries: IntGauge,
    evictions: IntCounter,
}

impl CacheSeries {
    pub(super) fn new(m: &Make) -> CacheSeries {
        let requests = m.counts(
            "flyball_response_cache_requests_total",
            "Requests that wanted something of the response cache, by what it had for them.",
            &["result"],
        );
        CacheSeries {
            requests: CacheResult::ALL.map(|result| requests.with_label_values(&[result.name()])),
            bytes: m.gauge(
                "flyball_response_cache_bytes",
                "What the response cache takes up, answers on their way included.",
            ),
            entries: m.gauge(
                "flyball_response_cache_entries",
                "Answers that the response cache keeps.",
            ),
            evictions: m.count(
                "flyball_response_cache_evictions_total",
                "Answers that the response cache had to let go for lack of room, before they were too old.",
            ),
        }
    }

    pub(super) fn answered(&self, result: CacheResult) {
        self.requests[place(&CacheResult::ALL, result)].inc();
    }

    pub(super) fn set(&self, figures: &CacheFigures) {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.bytes
            .set(i64::try_from(figures.bytes).unwrap_or(i64::MAX));
        self.entries.set(whole(figures.entries));
        self.evictions.inc_by(figures.evicted);
    }
}
