//! Keeps the scores of a comparison as outcomes in the books.

use super::Comparison;
use super::questions::Question;
use crate::arm::Effort;
use crate::classify::decisive;
use crate::classify::kept::pack;
use crate::cli::calibrate::{arm_named, graded};
use crate::cli::{Common, books_at, reading};
use crate::config::{Config, Needs};
use crate::fleet::split_arm;
use crate::learn::outcome::measured;
use crate::ledger::judged::{JudgedAnswer, JudgedBy, MeasuredAsk, SCORE_WHOLE};
use crate::ledger::store::Store;
use crate::ledger::{books, now_ms};
use crate::money::PicoUsd;

/// The books that scores go to.
pub(super) struct Kept {
    books: Box<dyn Store>,
    config: Option<Config>,
}

impl Kept {
    /// Opens the books, or makes them.
    pub(super) fn open(common: &Common) -> Result<Kept, String> {
        Ok(Kept {
            books: books::make(&books_at(common)?).map_err(|e| e.detail)?,
            config: reading(common, Needs::Models).ok(),
        })
    }

    /// Keeps every score. A question that was asked before has its scores replaced.
    pub(super) fn keep(&mut self, comparison: &Comparison) -> Result<(), String> {
        let (config, at_ms) = (self.config.as_ref(), now_ms());
        let mut all = Vec::new();
        for question in &comparison.questions {
            let (task, difficulty_milli) = graded(&question.shown, config);
            for arm in &comparison.arms {
                let row = comparison.rows.get(&(question.id.clone(), arm.clone()));
                let Some((row, score)) = row.and_then(|row| Some((row, row.score?))) else {
                    continue;
                };
                let (model, effort) = named(arm, config);
                all.push(JudgedAnswer {
                    request: prompt_of(question),
                    model,
                    effort,
                    by: JudgedBy::Compare,
                    task: task.clone(),
                    difficulty_milli,
                    score_ppm: millionths(score),
                    cost: Some(PicoUsd(i128::from(row.cost_pico_usd))),
                    seen_ppm: SCORE_WHOLE,
                    at_ms,
                    key: None,
                });
            }
        }
        let measured = |question: &Question| {
            let features = measured(&question.shown);
            let features = decisive(&features).map(pack)?;
            let request = prompt_of(question);
            Some(MeasuredAsk {
                request,
                at_ms,
                features,
            })
        };
        let asks: Vec<_> = comparison.questions.iter().filter_map(measured).collect();
        self.books.keep_asks(&asks).map_err(|e| e.detail)?;
        self.books.keep_outcomes(&all).map_err(|e| e.detail)
    }
}

/// A name for what was asked: the same for the same conversation, whatever file it comes from.
fn prompt_of(question: &Question) -> String {
    let hash = crate::caller::hash(question.messages.to_string().as_bytes());
    let start: String = hash.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("compare/{start}")
}

/// The model and the effort of an arm, as the books name them.
fn named(arm: &str, config: Option<&Config>) -> (String, Effort) {
    if let Some(arm) = config.and_then(|c| arm_named(&c.fleet, arm)) {
        return (arm.model.name.clone(), arm.effort_or(None));
    }
    let (model, effort) = split_arm(arm);
    (model.to_owned(), effort.unwrap_or_default())
}

#[allow(clippy::cast_possible_truncation, reason = "a score is from 0 to 1")]
fn millionths(score: f64) -> i64 {
    (score.clamp(0.0, 1.0) * 1e6).round() as i64
}
