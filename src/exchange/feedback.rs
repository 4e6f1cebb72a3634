//! Feedback: a caller says how good the answer to one of its requests was. What is said becomes an outcome in the books, and a label of the
//! evidence where the answer was looked at. The words of a correction are not kept.

use super::admission::Inbound;
use super::reply;
use crate::affinity::Measured;
use crate::error::{Error, Kind};
use crate::ledger::judged::{JudgedAnswer, JudgedBy, SCORE_WHOLE};
use crate::ledger::record::{Attempt, Outcome};
use crate::ledger::{Ledger, now_ms};
use crate::relay::AnswerBody;
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// From this score on an answer was good enough for the evidence, which knows good and bad.
const GOOD_FROM: i64 = SCORE_WHOLE / 2;

/// A correction is an answer, not a book.
const BYTES_MAX: usize = 256 << 10;

const FORM: &str = "Feedback is {\"request\": ID, …} with one of \"score\" (0 to 1), \"thumb\" (\"up\" or \"down\"), \"good\" (true or false), or \"correction\" (what the answer should have been).";

/// What a body says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeedbackBody {
    request: Option<String>,
    score: Option<f64>,
    thumb: Option<Value>,
    good: Option<bool>,
    correction: Option<String>,
}

/// A caller judges an answer; what it says later of the same one takes the place of what it has said.
pub(super) async fn judge(
    inbound: &Inbound<'_>,
    (ledger, measured): (&Arc<Ledger>, &Measured),
    named: Option<&str>,
    body: &[u8],
) -> Result<Response<AnswerBody>, Error> {
    if body.len() > BYTES_MAX {
        let public = format!("Feedback is at most {BYTES_MAX} bytes long.");
        return Err(Error::new(Kind::TooLarge, public));
    }
    let said: FeedbackBody = serde_json::from_slice(body).map_err(|_| unfit(FORM))?;
    let score_ppm = score(&said)?;
    let request = match (named, &said.request) {
        (Some(path), Some(body)) if path != body => {
            return Err(unfit("The path and \"request\" name two requests."));
        }
        (Some(id), _) => id,
        (None, Some(id)) => id,
        (None, None) => return Err(Error::bad_field("request", FORM)),
    };
    let missing = || {
        Error::new(
            Kind::NotFound,
            "There is no such request of this caller that was answered.",
        )
    };
    let id = uuid::Uuid::parse_str(request)
        .map_err(|_| missing())?
        .to_string();
    let key = inbound.caller.key.as_ref().map(|key| key.id);
    let by = (JudgedBy::Feedback, score_ppm);
    let kept = keep((ledger, measured), &id, key, by).await?;
    let f = kept.ok_or_else(missing)?;
    let evidence = inbound.habits.evidence();
    evidence.judged_by_caller(&id, key, score_ppm >= GOOD_FROM);
    let body = json!({
        "request": id, "model": &f.model, "effort": f.effort.name(), "task": f.task,
        "score": number(score_ppm), "good": score_ppm >= GOOD_FROM,
    });
    Ok(reply::json(StatusCode::OK, body.to_string()))
}

/// Keeps what is said of the answer that this key was given to a request, with what was measured of it; nothing where it was given none.
///
/// # Errors
/// The books cannot be read or written.
pub(super) async fn keep(
    (ledger, measured): (&Arc<Ledger>, &Measured),
    id: &str,
    key: Option<i64>,
    said: (JudgedBy, i64),
) -> Result<Option<JudgedAnswer>, Error> {
    let attempts = ledger.request(id).await?;
    let Some(answer) = delivered(&attempts, key) else {
        return Ok(None);
    };
    let outcome = outcome(answer, said);
    ledger.keep_outcome(outcome.clone()).await?;
    if let Some(measured) = measured.of(id) {
        ledger.keep_ask(id, measured);
    }
    Ok(Some(outcome))
}

fn unfit(public: &str) -> Error {
    Error::new(Kind::BadRequest, public)
}

/// The score that one of the forms comes to, in millionths.
fn score(said: &FeedbackBody) -> Result<i64, Error> {
    let whole = |good: bool| if good { SCORE_WHOLE } else { 0 };
    match (said.score, &said.thumb, said.good, &said.correction) {
        (Some(score), None, None, None) => match (0.0..=1.0).contains(&score) {
            true => Ok(millionths(score)),
            false => Err(Error::bad_field(
                "score",
                "\"score\" is a number from 0 to 1.",
            )),
        },
        (None, Some(thumb), None, None) => match thumb {
            Value::String(word) if word == "up" => Ok(whole(true)),
            Value::String(word) if word == "down" => Ok(whole(false)),
            _ => Err(Error::bad_field(
                "thumb",
                "\"thumb\" is \"up\" or \"down\".",
            )),
        },
        (None, None, Some(good), None) => Ok(whole(good)),
        // Who writes what the answer should have been says that it was not that.
        (None, None, None, Some(correction)) => match correction.trim().is_empty() {
            true => Err(Error::bad_field("correction", "\"correction\" is empty.")),
            false => Ok(whole(false)),
        },
        _ => Err(unfit(FORM)),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "it is from 0 to a million")]
fn millionths(score: f64) -> i64 {
    (score * 1e6).round() as i64
}

fn number(score_ppm: i64) -> f64 {
    f64::from(i32::try_from(score_ppm).unwrap_or(0)) / 1e6
}

/// The attempt whose answer went to the client of this key.
fn delivered(attempts: &[Attempt], key: Option<i64>) -> Option<&Attempt> {
    let mut answers = attempts.iter().filter(|a| a.opening.key == key);
    let delivered = |a: &&Attempt| {
        let closing = a.closing.as_ref();
        closing.is_some_and(|c| !c.is_aside() && matches!(c.outcome, Outcome::Ok | Outcome::Length))
    };
    answers.rfind(delivered)
}

fn outcome(answer: &Attempt, (by, score_ppm): (JudgedBy, i64)) -> JudgedAnswer {
    let f = &answer.opening;
    JudgedAnswer {
        request: f.request.clone(),
        model: f.model.clone(),
        effort: f.effort,
        by,
        task: f.task.clone(),
        difficulty_milli: f.difficulty_milli,
        score_ppm,
        cost: answer.closing.as_ref().map(|c| c.cost),
        // Nobody knows who votes and who does not.
        seen_ppm: 0,
        at_ms: now_ms(),
        key: f.key,
    }
}
