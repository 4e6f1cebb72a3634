//! What became of requests, by what the books say of them; or why they say nothing.

use super::Admin;
use super::answer::say;
use crate::error::Error;
use crate::exchange::describe;
use crate::ledger::record::Attempt;
use crate::money::PicoUsd;
use crate::relay::AnswerBody;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

/// How long the books may take to answer: whoever looks at a page sees rather that they do not than nothing.
const BOOKS_PATIENCE: Duration = Duration::from_secs(5);

/// What the books say, if they say it in time.
///
/// # Errors
/// What an operator should hear.
pub(super) async fn in_time<T>(
    looking: impl Future<Output = Result<T, Error>>,
) -> Result<T, String> {
    match tokio::time::timeout(BOOKS_PATIENCE, looking).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(format!("the ledger cannot be read: {}", error.detail)),
        Err(_) => Err(format!(
            "the ledger did not answer within {} s: see whether its disk or database is slow, full or gone",
            BOOKS_PATIENCE.as_secs()
        )),
    }
}

/// The books say nothing.
pub(super) fn no_books(why: &str) -> Response<AnswerBody> {
    say(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// What the attempts of one request add up to, and each of them.
pub(super) fn outcome(attempts: &[Attempt]) -> Value {
    let booked = attempts.iter().filter_map(Attempt::booked);
    let cost: PicoUsd = booked.fold(PicoUsd::ZERO, |sum, cost| sum + cost);
    let closed = attempts.iter().filter_map(|a| a.closing.as_ref());
    let baseline = closed.fold(PicoUsd::ZERO, |sum, c| sum + c.baseline);
    json!({
        "cost_usd": cost.usd_text(), "baseline_usd": baseline.usd_text(), "saved_usd": (baseline - cost).usd_text(),
        "attempts": attempts.iter().map(describe).collect::<Vec<_>>(),
    })
}

/// What became of each of these requests, by its id.
///
/// # Errors
/// What an operator should hear.
pub(super) async fn outcomes(
    admin: &Admin,
    ids: Vec<String>,
) -> Result<HashMap<String, Value>, String> {
    let attempts = in_time(admin.state.ledger.requests(ids)).await?;
    let mut by_request: HashMap<String, Vec<Attempt>> = HashMap::new();
    for attempt in attempts {
        let id = attempt.opening.request.clone();
        by_request.entry(id).or_default().push(attempt);
    }
    let told = by_request.into_iter();
    Ok(told.map(|(id, all)| (id, outcome(&all))).collect())
}
