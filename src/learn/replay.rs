//! Recorded answers through the decision: the weak arm is asked first, its evidence is looked at, and the strong arm is asked where that
//! speaks against the answer. Pure.

use super::chance::Chance;
use super::mean;
use super::metrics::{self, Pair};
use crate::arm::{Effort, Objective, Tier};
use crate::chat::{Part, Prompt, Role, Turn};
use crate::classify::{grade, measure};
use crate::fleet::ability::{Ability, ability};
use crate::money::PicoUsd;
use crate::probe::calibration::{AnswerChances, Calibration, Curve, Promise, Scale, Signal};
use crate::probe::value::{Demand, forecast};
use crate::route::worth::Worth;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Steps from nothing to everything escalated.
const POINTS: usize = 20;
/// Which rows are labels is drawn with this seed.
const SEED: u64 = 12;

/// One question with what two models answered.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// How hard the prompt is, 0 to 1.
    difficulty: f64,
    /// What its grade promises of both arms.
    promise: Promise,
    /// What the weak model's probability is of.
    signal: Signal,
    /// The weak model's own log-probability; not a number where it told none.
    logprob: f64,
    /// How well both did.
    scores: Pair,
    /// What both cost, in dollars.
    cost: Pair,
}

#[derive(Deserialize)]
struct ReplayLine {
    prompt: String,
    #[serde(default)]
    system: Option<String>,
    scores: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    logprob: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    cost_usd: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    signal: Option<String>,
}

/// The two models that a replay is of, as the rows call them.
#[derive(Clone, Debug)]
pub struct ReplayedPair {
    weak: (String, Ability),
    strong: (String, Ability),
}

impl ReplayedPair {
    /// Models of these names, as able as models of such names are known to be.
    #[must_use]
    pub fn named(weak: &str, strong: &str) -> ReplayedPair {
        ReplayedPair {
            weak: (weak.to_owned(), ability(weak, Tier::Small)),
            strong: (strong.to_owned(), ability(strong, Tier::Reasoning)),
        }
    }

    /// Reads one row. `Ok(None)` where it has not both scores.
    ///
    /// # Errors
    /// Not JSON, no prompt, a score outside 0 to 1, or no cost of both models.
    pub fn read(&self, line: &str) -> Result<Option<Recorded>, String> {
        let line: ReplayLine = serde_json::from_str(line)
            .or_else(|e| serde_json::from_str(&finite(line)).map_err(|_| e))
            .map_err(|e| e.to_string())?;
        let of = |map: &BTreeMap<String, Option<f64>>, (name, _): &(String, Ability)| {
            map.get(name).copied().flatten()
        };
        let both = |map| Some((of(map, &self.weak)?, of(map, &self.strong)?));
        let Some((weak, strong)) = both(&line.scores) else {
            return Ok(None);
        };
        if let Some(wrong) = [weak, strong].iter().find(|s| !(0.0..=1.0).contains(*s)) {
            return Err(format!("the score {wrong} is not between 0 and 1"));
        }
        let costs = both(&line.cost_usd).filter(|(w, s)| *w >= 0.0 && *s >= 0.0);
        let (weak_cost, strong_cost) = costs.ok_or("it has no \"cost_usd\" of both models")?;
        let signal = match line.signal.as_deref() {
            None | Some("answer_logprob") => Signal::Answer,
            Some(name) => Signal::parse(name).ok_or_else(|| {
                format!("the signal \"{name}\" is not one of answer_logprob, answer, tokens, asked")
            })?,
        };
        let (difficulty, promise) = self.promised(&line);
        Ok(Some(Recorded {
            difficulty,
            promise,
            signal,
            logprob: of(&line.logprob, &self.weak).unwrap_or(f64::NAN),
            scores: Pair { weak, strong },
            cost: Pair {
                weak: weak_cost,
                strong: strong_cost,
            },
        }))
    }

    fn promised(&self, line: &ReplayLine) -> (f64, Promise) {
        let turn = Turn {
            role: Role::User,
            parts: vec![Part::Text(line.prompt.as_str().into())],
        };
        let features = measure(&Prompt {
            system: line.system.iter().map(|s| s.as_str().into()).collect(),
            turns: vec![turn],
            ..Prompt::default()
        });
        let graded = grade(&features, None);
        let worth = Worth::of(&graded, false);
        let promise = Promise {
            weak: worth.chance_of(&self.weak.1, Effort::None),
            strong: worth.chance_of(&self.strong.1, Effort::None),
        };
        (graded.difficulty, promise)
    }
}

/// A line of JSON in which Python has spelt numbers that JSON has not: what is infinitely unlikely is told as the least number that there
/// is, what is no number as nothing.
fn finite(line: &str) -> String {
    line.replace(": -Infinity", ": -1e308")
        .replace(": Infinity", ": null")
        .replace(": NaN", ": null")
}

/// How well a score finds the questions that need the strong model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ranking {
    /// The average share of the strong model's advantage that is kept; 0.5 by chance.
    pub apgr: f64,
    /// The share of questions, in percent, that must go to the strong model for 80 % of its advantage.
    pub cpt80: f64,
}

/// What a threshold comes to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReplayPoint {
    /// The strong model is asked where it is expected to add more than this part of its own chance.
    pub threshold: f64,
    /// The mean score.
    pub quality: f64,
    /// The cost, as a share of what the strong model alone would have cost.
    pub cost_share: f64,
    /// The share of questions that went on to the strong model.
    pub escalated: f64,
}

/// What the decision itself comes to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReplayDecided {
    /// The mean score.
    pub quality: f64,
    /// The cost, as a share of what the strong model alone would have cost.
    pub cost_share: f64,
    /// The share of questions that went on from the weak model to the strong one.
    pub escalated: f64,
    /// The share of questions on which the weak model was asked first; the others went to the strong one at once.
    pub probed: f64,
}

/// A replay's figures.
#[derive(Clone, Debug, Serialize)]
pub struct Replay {
    /// Questions that were measured.
    pub rows: usize,
    /// Questions that were used as labels, and not measured.
    pub labels: usize,
    /// The weak model.
    pub weak: String,
    /// The strong model.
    pub strong: String,
    /// The weak model's mean score.
    pub weak_quality: f64,
    /// The strong model's mean score.
    pub strong_quality: f64,
    /// What the weak model costs, as a share of the strong one.
    pub weak_cost_share: f64,
    /// By the prompt's difficulty.
    pub prompt: Ranking,
    /// By the weak model's own evidence.
    pub evidence: Ranking,
    /// Thresholds from nothing to everything escalated, with the weak attempt always paid.
    pub points: Vec<ReplayPoint>,
    /// What flyball does by itself.
    pub default: ReplayDecided,
}

/// Replays rows for an objective, with so many of them as labels.
///
/// # Errors
/// Fewer than two rows remain.
pub fn replay(
    pair: &ReplayedPair,
    mut rows: Vec<Recorded>,
    labels: usize,
    objective: Objective,
) -> Result<Replay, String> {
    Chance::new(SEED).shuffle(&mut rows);
    if rows.len() < labels + 2 {
        return Err(format!(
            "{} rows have scores of both models: too few for {labels} labels and two more to measure",
            rows.len()
        ));
    }
    let curves = learned(&rows, labels);
    let rows = &rows[labels..];
    let stands = |row: &Recorded| curves[&row.signal.scale()].judged(row.logprob, row.promise);
    // What tells nothing is gone on from: no evidence is no sign of a good answer.
    let score = |row: &Recorded| stands(row).map_or(1.0, lead);
    let scores: Vec<f64> = rows.iter().map(score).collect();
    let pairs: Vec<Pair> = rows.iter().map(|row| row.scores).collect();
    let difficulties: Vec<f64> = rows.iter().map(|row| row.difficulty).collect();
    let ranking = |scores: &[f64]| Ranking {
        apgr: metrics::apgr(scores, &pairs),
        cpt80: metrics::cpt(scores, &pairs, 0.8) * 100.0,
    };
    let ends = metrics::ends(&pairs);
    let strong_cost = mean(rows.iter().map(|row| row.cost.strong)).max(f64::MIN_POSITIVE);
    let point = |threshold: f64| {
        let on: Vec<bool> = scores.iter().map(|score| *score > threshold).collect();
        let told = summed(rows, |at| (true, on[at]));
        ReplayPoint {
            threshold,
            quality: told.0,
            cost_share: told.1 / strong_cost,
            escalated: mean(on.iter().map(|on| f64::from(*on))),
        }
    };
    let demand = Demand::of(objective);
    let probes: Vec<bool> = rows
        .iter()
        .map(|row| {
            let curve = &curves[&row.signal.scale()];
            let costs = (pico(row.cost.weak), pico(row.cost.strong));
            forecast(curve, row.promise, demand, costs).pays
        })
        .collect();
    let on: Vec<bool> = rows
        .iter()
        .map(|row| stands(row).is_none_or(|stands| demand.goes_on(stands)))
        .collect();
    let (quality, cost) = summed(rows, |at| (probes[at], !probes[at] || on[at]));
    let escalated = probes.iter().zip(&on).map(|(p, on)| f64::from(*p && *on));
    Ok(Replay {
        rows: rows.len(),
        labels,
        weak: pair.weak.0.clone(),
        strong: pair.strong.0.clone(),
        weak_quality: ends.weak,
        strong_quality: ends.strong,
        weak_cost_share: mean(rows.iter().map(|row| row.cost.weak)) / strong_cost,
        prompt: ranking(&difficulties),
        evidence: ranking(&scores),
        points: thresholds(&scores).into_iter().map(point).collect(),
        default: ReplayDecided {
            quality,
            cost_share: cost / strong_cost,
            escalated: mean(escalated),
            probed: mean(probes.iter().map(|p| f64::from(*p))),
        },
    })
}

/// What the strong arm would add, as a part of its own chance.
fn lead(stands: AnswerChances) -> f64 {
    stands.gain() / stands.better.max(1e-6)
}

/// What is known after these rows: of all of them the evidence, which needs no label, and of the first ones whether the strong model's
/// answer was worth more.
fn learned(rows: &[Recorded], labels: usize) -> BTreeMap<Scale, Curve> {
    let mut learned: BTreeMap<Scale, Calibration> = BTreeMap::new();
    for row in rows {
        let own = learned.entry(row.signal.scale()).or_default();
        own.saw(row.logprob, row.promise);
    }
    for row in &rows[..labels] {
        let own = learned.entry(row.signal.scale()).or_default();
        own.judge(
            row.logprob,
            row.promise,
            row.scores.strong - row.scores.weak,
        );
    }
    learned
        .into_iter()
        .map(|(scale, calibration)| (scale, calibration.curve()))
        .collect()
}

/// The mean score and the mean cost in dollars, by which arms each row has asked: the weak one, the strong one.
fn summed(rows: &[Recorded], asked: impl Fn(usize) -> (bool, bool)) -> (f64, f64) {
    let told = rows.iter().enumerate().map(|(at, row)| {
        let (weak, strong) = asked(at);
        let cost = |asked: bool, cost: f64| if asked { cost } else { 0.0 };
        let quality = if strong {
            row.scores.strong
        } else {
            row.scores.weak
        };
        (
            quality,
            cost(weak, row.cost.weak) + cost(strong, row.cost.strong),
        )
    });
    let (quality, cost): (Vec<f64>, Vec<f64>) = told.unzip();
    (mean(quality), mean(cost))
}

/// Thresholds from one that nothing passes to one that everything does.
fn thresholds(scores: &[f64]) -> Vec<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let step = |n: usize| {
        let share = 1.0 - f64::from(u32::try_from(n).unwrap_or(0)) / POINTS as f64;
        match n {
            POINTS => -1.0,
            _ => metrics::quantile(&sorted, share),
        }
    };
    let mut found: Vec<f64> = (0..=POINTS).map(step).collect();
    found.dedup();
    found
}

/// Dollars as the books have them, to the nearest.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a cost of one answer is far from the largest number"
)]
fn pico(dollars: f64) -> PicoUsd {
    PicoUsd((dollars * 1e12).round() as i128)
}
