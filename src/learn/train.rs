//! Makes a grader: every head from the outcomes, calibrated on folds that the heads have not seen.

use super::boost::{self, Binned, Terms};
use super::folds;
use super::outcome::JudgedAsk;
use super::recipe::{Labelled, Recipe};
use super::words;
use super::{mean, moments};
use crate::classify::model::{
    Curve, Everyday, Forest, Grader, Line, Logistic, RARITY_ONE, Raw, Scores, TaskWords, Trees,
    task_of, task_scores,
};
use crate::classify::{Features, Task, signals};
use std::collections::BTreeMap;

/// What draws the weights of words to zero.
const WORD_PULL: f64 = 10.0;
/// The same for asks, of which there are fewer.
const ASK_PULL: f64 = 3.0;
/// What all benchmarks count for the tasks, beside asks.
const BENCHMARKS: f64 = 0.1;
/// What all asks count for the calibration, beside all outcomes.
const ASKS_CALIBRATE: f64 = 0.06;
/// Folds on which heads are calibrated.
const FOLDS: usize = 5;
/// Signals outside these shares of what was met in training are unusual.
const USUAL: (f64, f64) = (0.01, 0.99);

/// Which rows are kept apart when chances are calibrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// Whole tasks: as on traffic that nobody has seen.
    Tasks,
    /// Single prompts: as on more of the same traffic.
    Prompts,
}

/// Chances from scores.
#[derive(Clone, Debug)]
pub struct Calibrated {
    /// Of difficulty.
    pub difficulty: Curve,
    /// Of failures, from outcomes alone.
    pub failure: Curve,
    /// Of gain.
    pub gain: Line,
}

/// Learns what people call hard from asks that somebody has judged. It sees no outcome; `rows` of outcomes only tell its spread.
#[must_use]
pub fn everyday(asks: &[JudgedAsk], rows: &[Labelled], seed: u64) -> Everyday {
    let (asks, hard): (Vec<&JudgedAsk>, Vec<f64>) = asks
        .iter()
        .filter_map(|a| Some((a, if a.hard? { 1.0 } else { -1.0 })))
        .unzip();
    if asks.is_empty() {
        return Everyday::default();
    }
    let features: Vec<&Features> = asks.iter().map(|a| &a.features).collect();
    let values: Vec<&[f32]> = features.iter().map(|f| f.values().as_slice()).collect();
    let ones = vec![1.0; asks.len()];
    let terms = Terms {
        leaves: 8,
        rows_min: 10,
        seed,
        ..Terms::default()
    };
    let found = Everyday {
        trees: boost::grow(&Binned::of(&values), &hard, &ones, &terms),
        words: words::learn(&rows_of(&told(&asks)), &hard, &ones, ASK_PULL),
        standard: Line {
            slope: 1.0,
            offset: 0.0,
        },
    };
    let (centre, spread) = moments(
        &rows
            .iter()
            .map(|r| f64::from(found.score(&r.features)))
            .collect::<Vec<_>>(),
    );
    Everyday {
        standard: Line {
            slope: 1.0 / spread,
            offset: -centre / spread,
        },
        ..found
    }
}

/// Learns the heads that order prompts; what people call hard is known already. `seed` of the trees' shares.
#[must_use]
pub fn scores(rows: &[&Labelled], everyday: &Everyday, seed: u64) -> Scores {
    let features: Vec<&Features> = rows.iter().map(|r| &r.features).collect();
    let values: Vec<&[f32]> = features.iter().map(|f| f.values().as_slice()).collect();
    let table = Binned::of(&values);
    let weights = task_even_weights(rows);
    let terms = Terms {
        seed,
        ..Terms::default()
    };
    let gain = by_source(rows, |r| r.gain());
    let group_gain = by_source(rows, |r| r.strong_mean - r.weak_mean);
    let fail = by_source(rows, |r| 1.0 - r.weak);
    let any_fail = by_source(rows, |r| 1.0 - r.weak_mean);
    let both: Vec<f64> = fail
        .iter()
        .zip(&any_fail)
        .map(|(a, b)| a + 0.5 * b)
        .collect();
    Scores {
        gain_pair: boost::grow(&table, &gain, &weights, &terms),
        gain_group: boost::grow(&table, &group_gain, &weights, &terms),
        gain_words: words::learn(&grams(&features), &gain, &weights, WORD_PULL),
        fail: boost::grow(&table, &both, &weights, &terms),
        fail_words: words::learn(&grams(&features), &fail, &weights, WORD_PULL),
        everyday: everyday.clone(),
    }
}

/// Every source of outcomes counts the same, however many rows it has.
fn even_weights(rows: &[&Labelled]) -> Vec<f64> {
    let mut sizes: BTreeMap<usize, f64> = BTreeMap::new();
    for row in rows {
        *sizes.entry(row.source).or_default() += 1.0;
    }
    let (all, sources) = (rows.len() as f64, sizes.len() as f64);
    rows.iter()
        .map(|r| all / sources / sizes[&r.source])
        .collect()
}

/// Every source counts the same, and inside of it each task by the root of its size: a head that is to order new tasks learns
/// more from a new task than from more of the same.
fn task_even_weights(rows: &[&Labelled]) -> Vec<f64> {
    let mut sizes: BTreeMap<&str, f64> = BTreeMap::new();
    for row in rows {
        *sizes.entry(&row.group).or_default() += 1.0;
    }
    let each = |r: &Labelled| 1.0 / sizes[r.group.as_str()].sqrt();
    let mut shares: BTreeMap<usize, f64> = BTreeMap::new();
    for row in rows {
        *shares.entry(row.source).or_default() += each(row);
    }
    let source = rows.len() as f64 / shares.len() as f64;
    rows.iter()
        .map(|r| each(r) * source / shares[&r.source])
        .collect()
}

/// A target in standard deviations within its source: models of different sources are not compared.
fn by_source(rows: &[&Labelled], target: impl Fn(&Labelled) -> f64) -> Vec<f64> {
    let mut of: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for row in rows {
        of.entry(row.source).or_default().push(target(row));
    }
    let of: BTreeMap<usize, (f64, f64)> = of.iter().map(|(s, v)| (*s, moments(v))).collect();
    rows.iter()
        .map(|r| {
            let (centre, spread) = of[&r.source];
            (target(r) - centre) / spread
        })
        .collect()
}

/// What heads say of rows that they have not seen, fold by fold.
#[must_use]
pub fn crossed(rows: &[&Labelled], everyday: &Everyday, fold: &[usize], seed: u64) -> Vec<Raw> {
    crossed_and_heads(rows, everyday, fold, seed).0
}

/// The same, and the last fold's heads.
fn crossed_and_heads(
    rows: &[&Labelled],
    everyday: &Everyday,
    fold: &[usize],
    seed: u64,
) -> (Vec<Raw>, Scores) {
    let mut said = vec![Raw::default(); rows.len()];
    let folds = fold.iter().max().map_or(0, |f| f + 1);
    let mut last = Scores::default();
    for f in 0..folds {
        let learn: Vec<&Labelled> = rows
            .iter()
            .zip(fold)
            .filter(|(_, x)| **x != f)
            .map(|(r, _)| *r)
            .collect();
        let heads = scores(&learn, everyday, seed);
        for at in (0..rows.len()).filter(|at| fold[*at] == f) {
            said[at] = heads.raw(&rows[at].features);
        }
        last = heads;
    }
    (said, last)
}

/// Calibrates on folds of its own rows; `grade` blends difficulty. Everyday asks count a little: what everybody calls easy seldom fails, and no benchmark asks it.
#[must_use]
pub fn calibrate(
    rows: &[&Labelled],
    everyday: &Everyday,
    asks: &[JudgedAsk],
    grade: &dyn Fn(&Raw, &Features) -> f32,
    apart: Apart,
    seed: u64,
) -> Calibrated {
    let fold = match apart {
        Apart::Tasks => folds::whole_groups(
            &rows.iter().map(|r| r.group.as_str()).collect::<Vec<_>>(),
            FOLDS,
        ),
        Apart::Prompts => folds::by_chance(
            &rows.iter().map(|r| r.prompt).collect::<Vec<_>>(),
            FOLDS,
            seed,
        ),
    };
    let (said, heads) = crossed_and_heads(rows, everyday, &fold, seed);
    let weights = even_weights(rows);
    let failure: Vec<f64> = said.iter().map(|r| f64::from(r.failure())).collect();
    let mut difficulty: Vec<f64> = said
        .iter()
        .zip(rows)
        .map(|(raw, row)| f64::from(grade(raw, &row.features)))
        .collect();
    let mut failed: Vec<f64> = rows.iter().map(|r| 1.0 - r.weak).collect();
    let gain: Vec<f64> = said.iter().map(|r| f64::from(r.gain())).collect();
    let gained: Vec<f64> = rows.iter().map(|r| r.gain()).collect();
    let gain = line(&gain, &gained, &weights);
    let failure = curve(&failure, &failed, &weights);
    let judged: Vec<(&Features, bool)> = asks
        .iter()
        .filter_map(|a| Some((&a.features, a.hard?)))
        .collect();
    let each = rows.len() as f64 * ASKS_CALIBRATE / judged.len().max(1) as f64;
    let weights: Vec<f64> = weights
        .into_iter()
        .chain(judged.iter().map(|_| each))
        .collect();
    difficulty.extend(
        judged
            .iter()
            .map(|(features, _)| f64::from(grade(&heads.raw(features), features))),
    );
    failed.extend(judged.iter().map(|(_, hard)| f64::from(u8::from(*hard))));
    Calibrated {
        difficulty: curve(&difficulty, &failed, &weights),
        failure,
        gain,
    }
}

/// Knots of the curve from scores to chances.
const KNOTS: usize = 24;

/// The rising curve through what happened: rows in the order of their scores, in parts of the same weight, neighbours pooled where
/// they fall (isotonic regression).
fn curve(scores: &[f64], happened: &[f64], weights: &[f64]) -> Curve {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let each = weights.iter().sum::<f64>() / KNOTS as f64;
    // Weight, weighted score and weighted truth of each part.
    let mut parts: Vec<[f64; 3]> = vec![[0.0; 3]];
    for at in order {
        if parts[parts.len() - 1][0] >= each {
            parts.push([0.0; 3]);
        }
        let part = parts.last_mut().expect("one is there");
        part[0] += weights[at];
        part[1] += weights[at] * scores[at];
        part[2] += weights[at] * happened[at];
    }
    let mut rising: Vec<[f64; 3]> = Vec::new();
    for part in parts {
        rising.push(part);
        while let [.., a, b] = rising[..] {
            if a[2] / a[0] < b[2] / b[0] {
                break;
            }
            rising.truncate(rising.len() - 2);
            rising.push([a[0] + b[0], a[1] + b[1], a[2] + b[2]]);
        }
    }
    Curve {
        knots: rising.iter().map(|p| (p[1] / p[0], p[2] / p[0])).collect(),
    }
}

/// The logistic curve through chances (Platt scaling), by Newton's method. `held` draws the slope to a known one,
/// as if so many rows had said so.
#[must_use]
pub fn logistic(
    scores: &[f64],
    happened: &[f64],
    weights: &[f64],
    held: Option<(Logistic, f64)>,
) -> Logistic {
    let total: f64 = weights.iter().sum();
    let rate = happened
        .iter()
        .zip(weights)
        .map(|(h, w)| h * w)
        .sum::<f64>()
        / total.max(1e-9);
    let rate = rate.clamp(0.01, 0.99);
    let (known, pull) = held.map_or((0.0, 1e-3), |(k, rows)| {
        (k.slope, rows * moments(scores).1.powi(2) * 0.2)
    });
    let mut found = Logistic {
        slope: known,
        offset: (rate / (1.0 - rate)).ln() - known * mean(scores.iter().copied()),
    };
    for _ in 0..30 {
        let (mut gs, mut go) = (pull * (found.slope - known), 1e-3 * found.offset);
        let (mut hss, mut hso, mut hoo) = (pull, 0.0, 1e-3);
        for ((score, truth), weight) in scores.iter().zip(happened).zip(weights) {
            let chance = found.chance(*score);
            let (miss, steep) = (weight * (chance - truth), weight * chance * (1.0 - chance));
            gs += miss * score;
            go += miss;
            hss += steep * score * score;
            hso += steep * score;
            hoo += steep;
        }
        let det = (hss * hoo - hso * hso).max(1e-12);
        let (ds, d_o) = ((hoo * gs - hso * go) / det, (hss * go - hso * gs) / det);
        found.slope -= ds.clamp(-2.0, 2.0);
        found.offset -= d_o.clamp(-2.0, 2.0);
        if ds.abs() + d_o.abs() < 1e-9 {
            break;
        }
    }
    found
}

/// The line of least squares; never falling.
fn line(scores: &[f64], gained: &[f64], weights: &[f64]) -> Line {
    let total: f64 = weights.iter().sum();
    let centre =
        |v: &[f64]| v.iter().zip(weights).map(|(v, w)| v * w).sum::<f64>() / total.max(1e-9);
    let (x0, y0) = (centre(scores), centre(gained));
    let (mut across, mut square) = (0.0, 0.0);
    for ((x, y), w) in scores.iter().zip(gained).zip(weights) {
        across += w * (x - x0) * (y - y0);
        square += w * (x - x0) * (x - x0);
    }
    let slope = (across / square.max(1e-9)).max(0.0);
    Line {
        slope,
        offset: y0 - slope * x0,
    }
}

/// Makes the whole grader.
#[must_use]
pub fn grader(recipe: &Recipe, rows: &[Labelled], asks: &[JudgedAsk], card: String) -> Grader {
    let seen: Vec<&Labelled> = rows.iter().collect();
    let everyday = everyday(asks, rows, recipe.seed);
    let (tasks, task_words) = (tasks(rows, asks, recipe.seed), task_words(asks));
    let blend = recipe.blended();
    let grade =
        |raw: &Raw, f: &Features| blend.score(raw, task_of(&task_scores(&tasks, &task_words, f)).0);
    let calibrated = calibrate(&seen, &everyday, asks, &grade, Apart::Tasks, recipe.seed);
    let features: Vec<&Features> = seen
        .iter()
        .map(|r| &r.features)
        .chain(asks.iter().map(|a| &a.features))
        .collect();
    let spans = spans(&features);
    let grader = Grader {
        card,
        trees: Trees::default(),
        typical: spans.iter().map(|[_, middle, _]| *middle).collect(),
        usual: spans.iter().map(|[low, _, high]| (*low, *high)).collect(),
        moments: spreads(&features),
        rarity: words::rarity(&grams(&features))
            .iter()
            .map(|r| sixteenths(*r))
            .collect(),
        scores: scores(&seen, &everyday, recipe.seed),
        answer: lengths(&seen, |r| r.answer_chars, recipe.seed),
        reasoning: lengths(&seen, |r| r.reasoning_chars, recipe.seed),
        tasks,
        task_words,
        blend,
        difficulty: calibrated.difficulty,
        failure: calibrated.failure,
        gain: calibrated.gain,
    };
    grader
        .lay_out()
        .expect("forests are grown as large as a grader may have them")
}

fn lengths(rows: &[&Labelled], chars: impl Fn(&Labelled) -> Option<f64>, seed: u64) -> Forest {
    let told: Vec<(&Labelled, f64)> = rows
        .iter()
        .filter_map(|r| Some((*r, chars(r)?.max(1.0).ln())))
        .collect();
    let values: Vec<&[f32]> = told
        .iter()
        .map(|(r, _)| r.features.values().as_slice())
        .collect();
    let target: Vec<f64> = told.iter().map(|(_, c)| *c).collect();
    let weights = even_weights(&told.iter().map(|(r, _)| *r).collect::<Vec<_>>());
    let terms = Terms {
        rounds: 60,
        leaves: 8,
        rate: 0.1,
        seed,
        ..Terms::default()
    };
    boost::grow(&Binned::of(&values), &target, &weights, &terms)
}

/// One forest for each task: how much speaks for it. Asks of people count as much as all benchmarks together.
#[must_use]
pub fn tasks(rows: &[Labelled], asks: &[JudgedAsk], seed: u64) -> Vec<Forest> {
    let told: Vec<(&Features, &str, Task)> = rows
        .iter()
        .filter_map(|r| Some((&r.features, r.group.as_str(), r.task?)))
        .chain(asks.iter().map(|a| (&a.features, "", a.task)))
        .collect();
    let values: Vec<&[f32]> = told.iter().map(|(f, _, _)| f.values().as_slice()).collect();
    let table = Binned::of(&values);
    let weights = task_weights(&told);
    Task::ALL
        .iter()
        .map(|task| {
            let target: Vec<f64> = told
                .iter()
                .map(|(_, _, t)| f64::from(u8::from(t == task)))
                .collect();
            boost::grow(&table, &target, &weights, &task_terms(seed))
        })
        .collect()
}

/// The same by words, from asks alone: in benchmarks each task has its own template.
fn task_words(asks: &[JudgedAsk]) -> TaskWords {
    let told = told(&asks.iter().collect::<Vec<_>>());
    let rows = rows_of(&told);
    let ones = vec![1.0; asks.len()];
    let table = |task: &Task| {
        let target: Vec<f64> = asks
            .iter()
            .map(|a| f64::from(u8::from(a.task == *task)))
            .collect();
        words::learn(&rows, &target, &ones, ASK_PULL)
    };
    TaskWords::of(&Task::ALL.iter().map(table).collect::<Vec<_>>())
}

fn grams<'a>(features: &[&'a Features]) -> Vec<&'a [u16]> {
    features.iter().map(|f| f.grams().ids()).collect()
}

/// What stands in quotation marks is what an ask is about; it does not tell what is to be done with it.
fn told(asks: &[&JudgedAsk]) -> Vec<Vec<u16>> {
    asks.iter()
        .map(|a| a.features.grams().told().concat())
        .collect()
}

fn rows_of(told: &[Vec<u16>]) -> Vec<&[u16]> {
    told.iter().map(Vec::as_slice).collect()
}

fn task_terms(seed: u64) -> Terms {
    Terms {
        rounds: 60,
        leaves: 16,
        rate: 0.1,
        rows_min: 8,
        seed,
        ..Terms::default()
    }
}

/// Rows of asks count 1; those of benchmarks share what is left so that each of their groups counts by the root of its size.
fn task_weights(told: &[(&Features, &str, Task)]) -> Vec<f64> {
    let mut groups: BTreeMap<&str, f64> = BTreeMap::new();
    for (_, group, _) in told {
        *groups.entry(group).or_default() += 1.0;
    }
    let asks = groups.remove("").unwrap_or(1.0);
    let roots: f64 = groups.values().map(|size| size.sqrt()).sum();
    told.iter()
        .map(|(_, group, _)| {
            groups
                .get(group)
                .map_or(1.0, |size| asks * BENCHMARKS / roots / size.sqrt())
        })
        .collect()
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what fits"
)]
fn sixteenths(rarity: f64) -> u8 {
    (rarity * RARITY_ONE).round().clamp(1.0, 255.0) as u8
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "signals are kept with seven digits"
)]
fn spreads(rows: &[&Features]) -> Vec<(f32, f32)> {
    (0..signals::COUNT)
        .map(|at| {
            let values: Vec<f64> = rows.iter().map(|f| f64::from(f.values()[at])).collect();
            let (centre, spread) = moments(&values);
            (centre as f32, spread as f32)
        })
        .collect()
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "signals are kept with seven digits"
)]
fn spans(rows: &[&Features]) -> Vec<[f32; 3]> {
    (0..signals::COUNT)
        .map(|signal| {
            let mut sorted: Vec<f64> = rows.iter().map(|r| f64::from(r.values()[signal])).collect();
            sorted.sort_by(f64::total_cmp);
            [USUAL.0, 0.5, USUAL.1].map(|share| super::metrics::quantile(&sorted, share) as f32)
        })
        .collect()
}
