//! What was measured of the latest requests, in case their answers are judged later.

use moka::sync::Cache;
use std::sync::Arc;
use std::time::Duration;

/// Requests remembered; an entry is about 500 bytes.
const REQUESTS_MAX: u64 = 20_000;
/// Whoever judges an answer does so soon.
const KEPT_FOR: Duration = Duration::from_secs(86_400);

/// By the ids of requests.
#[derive(Clone, Debug)]
pub struct Measured(Cache<String, Arc<[u8]>>);

impl Default for Measured {
    fn default() -> Measured {
        Measured(
            Cache::builder()
                .max_capacity(REQUESTS_MAX)
                .time_to_live(KEPT_FOR)
                .build(),
        )
    }
}

impl Measured {
    /// Remembers what was measured, as the grader packs it.
    pub fn remember(&self, request: &str, packed: Vec<u8>) {
        self.0.insert(request.to_owned(), packed.into());
    }

    /// What was measured, where it is remembered.
    #[must_use]
    pub fn of(&self, request: &str) -> Option<Vec<u8>> {
        self.0.get(request).map(|packed| packed.to_vec())
    }
}
