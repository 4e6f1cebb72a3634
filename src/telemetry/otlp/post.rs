//! Posts to the collector: one try, with a deadline. What goes wrong is told at most once a minute, without what was sent and without the
//! headers, in which secrets are.

use crate::error::Error;
use crate::upstream::{In, Upstream};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A collector that has not taken it by then does not take it.
const WITHIN: Duration = Duration::from_secs(10);
/// What is said of a collector is said once in so much time.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// An answer is a few bytes; of a longer one nothing is read.
const ANSWER_MAX: usize = 64 * 1024;

/// Who posts.
pub(super) struct Post {
    upstream: Upstream,
    headers: HeaderMap,
    told: Mutex<Option<Instant>>,
}

/// It was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// It may be later, as the collector says or where it cannot be reached.
    Yet(Option<Duration>),
    /// It never will be.
    Ever,
}

impl Post {
    pub(super) fn new(upstream: Upstream, mut headers: HeaderMap) -> Post {
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        Post {
            upstream,
            headers,
            told: Mutex::default(),
        }
    }

    /// Posts once. Gives what the collector answers.
    pub(super) async fn send(&self, url: &str, body: Bytes) -> Result<Bytes, NotTaken> {
        let posting = async {
            let answer = self.upstream.send(url, self.headers.clone(), body).await;
            let answer = answer.map_err(|failure| self.unreached(url, &failure.error))?;
            self.answered(url, answer).await
        };
        match tokio::time::timeout(WITHIN, posting).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.tell(url, &format!("it has not answered within {WITHIN:?}"));
                Err(NotTaken::Yet(None))
            }
        }
    }

    fn unreached(&self, url: &str, error: &Error) -> NotTaken {
        self.tell(url, &error.detail);
        NotTaken::Yet(None)
    }

    async fn answered(&self, url: &str, answer: Response<In>) -> Result<Bytes, NotTaken> {
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            let whole = Limited::new(body, ANSWER_MAX).collect().await;
            return Ok(whole.map(|whole| whole.to_bytes()).unwrap_or_default());
        }
        self.tell(
            url,
            &format!("it answers with HTTP {}", head.status.as_u16()),
        );
        Err(match head.status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => NotTaken::Yet(retry_after(&head.headers)),
            _ => NotTaken::Ever,
        })
    }

    /// Says what is wrong with the collector, unless something was said in the last minute.
    pub(super) fn tell(&self, url: &str, why: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        tracing::warn!(
            url,
            why,
            "the OpenTelemetry collector does not take what it is sent; requests go on, and flyball_otlp_dropped_total counts what is lost"
        );
    }
}

/// The seconds after which it wants to hear again.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
