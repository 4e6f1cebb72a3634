//! An overlay from an operator's own outcomes: what the grader does not know of this traffic, learned from a few hundred answers,
//! and used only as far as it proves itself on outcomes that it has not seen.
//!
//! The grader's own blend is kept, with a slope of its own; its heads may count more or less than in the blend, and ridge regression
//! over signals and words learns what is left over. How much of both is taken follows from how surely it lowers the error on
//! held-out outcomes.

use super::chance::Chance;
use super::train::logistic;
use super::words::{axpy, dot};
use super::{mean, moments};
use crate::classify::model::{Grader, Logistic, RARITY_ONE, Raw, gram_norm};
use crate::classify::overlay::{
    Calibration, HeadWeights, Overlay, SignalWeight, VERSION, log_odds,
};
use crate::classify::{Features, GRAM_BUCKETS, signals};

/// More outcomes than these are sampled: they add little, and their square is the work.
pub const LABELS_MAX: usize = 3_000;
/// Fewer than these teach nothing.
pub const LABELS_MIN: usize = 20;
/// The slope of the grader's own score that is believed before any outcome, in standard deviations.
const SLOPE_BEFORE: f64 = 0.15;
/// As if so many outcomes had said so.
const SLOPE_ROWS: f64 = 50.0;
/// How strongly the correction is drawn to nothing: tried from the strongest to the weakest.
const PULLS: [f64; 8] = [1_000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3];
/// Below this many standard errors of a lower error the correction is not used; from one more on in full.
const SURE: f64 = 0.0;
const ROUNDS: usize = 80;

/// One outcome of the operator's own.
#[derive(Clone, Copy, Debug)]
pub struct Label<'a> {
    /// What was measured of the prompt.
    pub features: &'a Features,
    /// The weak model's score, if it answered.
    pub weak: Option<f64>,
    /// The strong model's score, if it answered.
    pub strong: Option<f64>,
}

impl Label<'_> {
    fn gain(&self) -> Option<f64> {
        Some(self.strong? - self.weak?)
    }
}

/// Learns an overlay.
///
/// # Errors
/// Too few outcomes in which the weak model answered.
pub fn fit(
    grader: &Grader,
    labels: &[Label<'_>],
    weak: &str,
    strong: &str,
) -> Result<Overlay, String> {
    let raws: Vec<(Label<'_>, Raw)> = labels
        .iter()
        .map(|l| (*l, grader.scores.raw(l.features)))
        .collect();
    fit_said(grader, &raws, weak, strong)
}

/// Learns an overlay for scores that were said before; evaluation says them by heads that have not seen the rows.
///
/// # Errors
/// Too few outcomes in which the weak model answered.
pub fn fit_said(
    grader: &Grader,
    labels: &[(Label<'_>, Raw)],
    weak: &str,
    strong: &str,
) -> Result<Overlay, String> {
    let (rows, targets, what) = targets(labels)?;
    let (rows, targets) = sampled(rows, targets);
    let raws: Vec<Raw> = rows.iter().map(|(_, raw)| *raw).collect();
    let own: Vec<f32> = raws.iter().map(Raw::gain).collect();
    let (gain_heads, left) = heads(&own, &raws, &targets);
    let own = own.iter().zip(&raws).map(|(o, r)| gain_heads.score(*o, r));
    let own: Vec<f64> = own.collect();
    let space = Space::of(
        grader,
        &rows.iter().map(|(l, _)| l.features).collect::<Vec<_>>(),
    );
    let chosen = choose(&space, &left);
    let taken = (chosen.sureness - SURE).clamp(0.0, 1.0);
    let scores: Vec<f64> = own
        .iter()
        .zip(&chosen.held_out)
        .map(|(o, c)| o + taken * c)
        .collect();
    let mut overlay = Overlay {
        version: VERSION,
        weak: weak.to_owned(),
        strong: strong.to_owned(),
        labels: rows.len(),
        used: taken > 0.0,
        because: because(&chosen, taken, rows.len(), what),
        gain_heads,
        gain: gain_line(&scores, &targets, what),
        difficulty: difficulty(grader, &rows),
        ..Overlay::default()
    };
    if taken > 0.0 {
        space.write(&chosen.weights, taken, &mut overlay);
    }
    overlay.placed()
}

/// The heads that may count more or less than in the grader's own blend.
const HEADS: usize = 3;
/// How strongly they are drawn to the blend, as if so many rows had said so.
const HEADS_PULL: f64 = 100.0;
/// Below this many standard errors of a lower error the blend stays as it is; from one more on the heads count in full.
const HEADS_SURE: f64 = 1.0;
/// The blend never turns round by itself; its heads may outvote it.
const SLOPE_MIN: f64 = 0.02;

fn heads_of(raw: &Raw) -> [f64; HEADS] {
    [raw.measured_gain(), raw.failures(), raw.everyday].map(f64::from)
}

/// How much the grader's own blend and each of its heads count for `targets`, and what they leave over, both in standard deviations.
/// The blend is believed as far as the targets agree with it, and the heads as far as they lower the error on held-out rows: where
/// gains lie the other way round than anywhere else, they say so.
fn heads(own: &[f32], raws: &[Raw], targets: &[f64]) -> (HeadWeights, Vec<f64>) {
    let rows = targets.len() as f64;
    let own: Vec<f64> = own.iter().map(|o| f64::from(*o)).collect();
    let (centre, spread) = moments(&own);
    let (y0, y_spread) = moments(targets);
    let own: Vec<f64> = own.iter().map(|o| (o - centre) / spread).collect();
    let y: Vec<f64> = targets.iter().map(|t| (t - y0) / y_spread).collect();
    let slope = (dot(&own, &y) + SLOPE_ROWS * SLOPE_BEFORE) / (rows + SLOPE_ROWS);
    let slope = slope.max(SLOPE_MIN);
    let left: Vec<f64> = y.iter().zip(&own).map(|(y, o)| y - slope * o).collect();
    let told: Vec<[f64; HEADS]> = raws.iter().map(heads_of).collect();
    let standard: Vec<(f64, f64)> = (0..HEADS)
        .map(|head| moments(&told.iter().map(|t| t[head]).collect::<Vec<_>>()))
        .collect();
    let points: Vec<[f64; HEADS]> = told
        .iter()
        .map(|t| std::array::from_fn(|head| (t[head] - standard[head].0) / standard[head].1))
        .collect();
    let said = |at: usize, weights: &[f64; HEADS]| dot(&points[at], weights);
    let (order, folds) = held_out_order(left.len());
    let mut lowered = vec![0.0; left.len()];
    for fold in 0..folds {
        let (test, learn) = split(&order, folds, fold);
        let weights = ridge(&points, &left, &learn);
        for at in test {
            let missed = left[at] - said(at, &weights);
            lowered[at] = left[at] * left[at] - missed * missed;
        }
    }
    let (gained, varied) = moments(&lowered);
    let sureness = gained / (varied / rows.sqrt()).max(1e-12);
    let taken = (sureness - HEADS_SURE).clamp(0.0, 1.0);
    let found = ridge(&points, &left, &(0..left.len()).collect::<Vec<_>>());
    let found: [f64; HEADS] = found.map(|w| w * taken);
    let rest = (0..left.len()).map(|at| left[at] - said(at, &found));
    let scaled: Vec<f64> = found.iter().zip(&standard).map(|(w, s)| w / s.1).collect();
    let moved: f64 = scaled.iter().zip(&standard).map(|(w, s)| w * s.0).sum();
    let weights = HeadWeights {
        offset: -slope * centre / spread - moved,
        own: slope / spread,
        gain: scaled[0],
        failure: scaled[1],
        everyday: scaled[2],
    };
    (weights, rest.collect())
}

/// Ridge regression over the heads (Gauss's elimination; the matrix is positive).
fn ridge(points: &[[f64; HEADS]], targets: &[f64], rows: &[usize]) -> [f64; HEADS] {
    let mut table = [[0.0; HEADS + 1]; HEADS];
    for (head, line) in table.iter_mut().enumerate() {
        for other in 0..HEADS {
            line[other] = rows
                .iter()
                .map(|r| points[*r][head] * points[*r][other])
                .sum();
        }
        line[head] += HEADS_PULL;
        line[HEADS] = rows.iter().map(|r| points[*r][head] * targets[*r]).sum();
    }
    for pivot in 0..HEADS {
        let line = table[pivot];
        for (at, other) in table.iter_mut().enumerate() {
            let times = other[pivot] / line[pivot];
            if at != pivot {
                other
                    .iter_mut()
                    .zip(line)
                    .for_each(|(o, l)| *o -= times * l);
            }
        }
    }
    std::array::from_fn(|head| table[head][HEADS] / table[head][head])
}

/// The rows in an order by chance, and in how many folds they are held out.
fn held_out_order(rows: usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..rows).collect();
    Chance::new(11).shuffle(&mut order);
    (order, if rows <= 500 { 10 } else { 5 })
}

/// Rows to test on, and rows to learn from.
fn split(order: &[usize], folds: usize, fold: usize) -> (Vec<usize>, Vec<usize>) {
    let placed = order.iter().enumerate();
    let (test, learn): (Vec<_>, Vec<_>) = placed.partition(|(place, _)| place % folds == fold);
    let rows = |part: Vec<(usize, &usize)>| part.iter().map(|(_, row)| **row).collect();
    (rows(test), rows(learn))
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Gains,
    Failures,
}

type Rows<'a> = Vec<(Label<'a>, Raw)>;

/// Gains where both models answered in enough outcomes, else failures of the weak one.
fn targets<'a>(labels: &[(Label<'a>, Raw)]) -> Result<(Rows<'a>, Vec<f64>, What), String> {
    let (rows, gains): (Rows<'a>, Vec<f64>) = labels
        .iter()
        .filter_map(|l| Some((*l, l.0.gain()?)))
        .unzip();
    if rows.len() >= LABELS_MIN {
        return Ok((rows, gains, What::Gains));
    }
    let (rows, fails): (Rows<'a>, Vec<f64>) = labels
        .iter()
        .filter_map(|l| Some((*l, 1.0 - l.0.weak?)))
        .unzip();
    if rows.len() >= LABELS_MIN {
        return Ok((rows, fails, What::Failures));
    }
    Err(format!(
        "there are {} outcomes in which the weak model has a score; {LABELS_MIN} are the least, a few hundred are good, and best are those in which both models have one",
        rows.len()
    ))
}

fn sampled<'a>(rows: Rows<'a>, targets: Vec<f64>) -> (Rows<'a>, Vec<f64>) {
    if rows.len() <= LABELS_MAX {
        return (rows, targets);
    }
    let places = super::folds::sample(&(0..rows.len()).collect::<Vec<_>>(), LABELS_MAX, 1);
    places.iter().map(|p| (rows[*p], targets[*p])).unzip()
}

/// The prompts as points: signals in standard deviations, words by rarity; and how alike each two are.
struct Space<'a> {
    features: Vec<&'a Features>,
    usual: Vec<(f32, f32)>,
    rarity: Vec<f64>,
    word_scale: f64,
    alike: Vec<f64>,
}

impl<'a> Space<'a> {
    fn of(grader: &Grader, features: &[&'a Features]) -> Space<'a> {
        // What is usual and what is rare is known from far more prompts than these.
        let mut space = Space {
            features: features.to_vec(),
            usual: grader.moments.clone(),
            rarity: grader
                .rarity
                .iter()
                .map(|r| f64::from(*r) / RARITY_ONE)
                .collect(),
            word_scale: 1.0,
            alike: Vec::new(),
        };
        let square = |f: &&Features| {
            let sum: f64 = f
                .grams()
                .ids()
                .iter()
                .map(|id| space.rarity[usize::from(*id)].powi(2))
                .sum();
            sum * f64::from(gram_norm(f.grams().ids().len())).powi(2)
        };
        space.word_scale = 1.0 / mean(features.iter().map(square)).max(1e-9);
        space.alike = space.all_alike();
        space
    }

    fn standard(&self, features: &Features) -> Vec<f32> {
        let weights = self.usual.iter().zip(features.values());
        weights
            .map(|((mean, spread), value)| signal(*mean, *spread, 0.0).standard(*value))
            .collect()
    }

    fn all_alike(&self) -> Vec<f64> {
        let n = self.features.len();
        let mut alike = vec![0.0; n * n];
        let points: Vec<Vec<f32>> = self.features.iter().map(|f| self.standard(f)).collect();
        for a in 0..n {
            for b in 0..=a {
                let sum: f32 = points[a].iter().zip(&points[b]).map(|(x, y)| x * y).sum();
                alike[a * n + b] = f64::from(sum) / signals::COUNT as f64;
            }
        }
        let mut met: std::collections::BTreeMap<u16, Vec<usize>> =
            std::collections::BTreeMap::new();
        for (at, f) in self.features.iter().enumerate() {
            for id in f.grams().ids() {
                met.entry(*id).or_default().push(at);
            }
        }
        let norms: Vec<f64> = self
            .features
            .iter()
            .map(|f| f64::from(gram_norm(f.grams().ids().len())))
            .collect();
        for (id, rows) in &met {
            let worth = self.rarity[usize::from(*id)].powi(2) * self.word_scale;
            for (place, a) in rows.iter().enumerate() {
                for b in &rows[..=place] {
                    alike[a * n + b] += worth * norms[*a] * norms[*b];
                }
            }
        }
        for a in 0..n {
            for b in 0..a {
                alike[b * n + a] = alike[a * n + b];
            }
        }
        alike
    }

    /// Weights of rows such that what they say of `rows` is `target`, drawn to nothing by `pull` (conjugate gradients).
    fn solve(&self, rows: &[usize], target: &[f64], pull: f64, from: &[f64]) -> Vec<f64> {
        let image = |c: &[f64]| -> Vec<f64> {
            let said = rows.iter().map(|a| self.said(*a, rows, c));
            said.zip(c).map(|(s, c)| s + pull * c).collect()
        };
        let mut found = from.to_vec();
        let mut rest = target.to_vec();
        axpy(-1.0, &image(&found), &mut rest);
        let mut way = rest.clone();
        let mut left = dot(&rest, &rest);
        let settled = dot(target, target) * 1e-8;
        for _ in 0..ROUNDS {
            if left <= settled {
                break;
            }
            let seen = image(&way);
            let step = left / dot(&way, &seen);
            axpy(step, &way, &mut found);
            axpy(-step, &seen, &mut rest);
            let now = dot(&rest, &rest);
            let turn = now / left;
            way.iter_mut()
                .zip(&rest)
                .for_each(|(w, r)| *w = r + turn * *w);
            left = now;
        }
        found
    }

    fn said(&self, of: usize, rows: &[usize], weights: &[f64]) -> f64 {
        let line = &self.alike[of * self.features.len()..];
        rows.iter().zip(weights).map(|(b, w)| line[*b] * w).sum()
    }

    /// From weights of rows to weights of signals and words.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "weights are kept with seven digits"
    )]
    fn write(&self, weights: &[f64], taken: f64, into: &mut Overlay) {
        let mut by_signal = vec![0.0; signals::COUNT];
        let mut by_word = vec![0.0; GRAM_BUCKETS as usize];
        for (features, weight) in self.features.iter().zip(weights) {
            let part = weight * taken;
            for (sum, value) in by_signal.iter_mut().zip(self.standard(features)) {
                *sum += part * f64::from(value) / signals::COUNT as f64;
            }
            let part = part * f64::from(gram_norm(features.grams().ids().len())) * self.word_scale;
            for id in features.grams().ids() {
                by_word[usize::from(*id)] += part * self.rarity[usize::from(*id)].powi(2);
            }
        }
        for ((s, (mean, spread)), weight) in signals::all().zip(&self.usual).zip(by_signal) {
            if weight != 0.0 {
                into.signals
                    .insert(s.name.to_owned(), signal(*mean, *spread, weight as f32));
            }
        }
        let words = by_word.iter().enumerate().filter(|(_, w)| **w != 0.0);
        into.words = words
            .filter_map(|(id, w)| Some((u16::try_from(id).ok()?, *w as f32)))
            .collect();
    }
}

fn signal(mean: f32, spread: f32, weight: f32) -> SignalWeight {
    SignalWeight {
        mean,
        spread,
        weight,
    }
}

struct Chosen {
    /// What the correction says of each outcome that it has not seen.
    held_out: Vec<f64>,
    /// Weights of rows, learned from all.
    weights: Vec<f64>,
    /// By how many standard errors it lowers the error.
    sureness: f64,
    /// By which part it lowers it.
    lowers: f64,
}

/// The pull that does best on held-out outcomes.
fn choose(space: &Space<'_>, left: &[f64]) -> Chosen {
    let n = left.len();
    let (order, folds) = held_out_order(n);
    let mut held_out = vec![vec![0.0; n]; PULLS.len()];
    for fold in 0..folds {
        let (test, learn) = split(&order, folds, fold);
        let target: Vec<f64> = learn.iter().map(|r| left[*r]).collect();
        let mut weights = vec![0.0; learn.len()];
        for (said, pull) in held_out.iter_mut().zip(PULLS) {
            weights = space.solve(&learn, &target, pull, &weights);
            for row in &test {
                said[*row] = space.said(*row, &learn, &weights);
            }
        }
    }
    let error = |said: &[f64]| mean(said.iter().zip(left).map(|(s, l)| (l - s) * (l - s)));
    let best = (0..PULLS.len())
        .min_by(|a, b| error(&held_out[*a]).total_cmp(&error(&held_out[*b])))
        .expect("pulls");
    let held_out = held_out.swap_remove(best);
    let lowered: Vec<f64> = held_out
        .iter()
        .zip(left)
        .map(|(s, l)| l * l - (l - s) * (l - s))
        .collect();
    let (gained, spread) = moments(&lowered);
    let rows: Vec<usize> = (0..n).collect();
    Chosen {
        sureness: gained / (spread / (n as f64).sqrt()).max(1e-12),
        lowers: gained / mean(left.iter().map(|l| l * l)).max(1e-12),
        weights: space.solve(&rows, left, PULLS[best], &vec![0.0; n]),
        held_out,
    }
}

fn because(chosen: &Chosen, taken: f64, labels: usize, what: What) -> String {
    let from = match what {
        What::Gains => "what the strong model gained",
        What::Failures => "failures of the weak model (both models' scores would teach more)",
    };
    let lowers = chosen.lowers * 100.0;
    if taken > 0.0 {
        return format!(
            "Used, at {:.0} % of its strength: learned from {labels} outcomes by {from}, it lowers the error on outcomes that it has not seen by {lowers:.1} % ({:.1} standard errors).",
            taken * 100.0,
            chosen.sureness
        );
    }
    let found = if lowers > 0.0 {
        format!(
            "lowers it by only {lowers:.1} % ({:.1} standard errors, {SURE} are asked for)",
            chosen.sureness
        )
    } else {
        "does not lower it".to_owned()
    };
    format!(
        "Not used: learned from {labels} outcomes by {from}, a correction {found} on outcomes that it has not seen. Only the calibration is taken over; more outcomes, or more different ones, would help."
    )
}

/// Points of quality for a score. Failures alone do not tell how many of them the strong model mends; half is a guess that errs low.
fn gain_line(scores: &[f64], targets: &[f64], what: What) -> Calibration {
    let (x0, x_spread) = moments(scores);
    let y0 = mean(targets.iter().copied());
    let across = mean(scores.iter().zip(targets).map(|(x, y)| (x - x0) * (y - y0)));
    let n = scores.len() as f64;
    // Drawn a little to no slope, as the scores were chosen on the same outcomes.
    let slope = (across / (x_spread * x_spread)).max(0.0) * n / (n + 10.0);
    let part = if what == What::Gains { 1.0 } else { 0.5 };
    Calibration {
        slope: slope * part,
        offset: (y0 - slope * x0) * part,
    }
}

/// How the grader's own chances of failing are to be read on these outcomes. They keep their order: what fails is not what gains, and
/// a few hundred outcomes that say otherwise have not yet proved it.
fn difficulty(grader: &Grader, rows: &Rows<'_>) -> Calibration {
    let told: Vec<(f64, f64)> = rows
        .iter()
        .filter_map(|(l, raw)| {
            let failed = 1.0 - l.weak?;
            let own = grader.failure.chance(f64::from(raw.failure()));
            Some((log_odds(own), failed))
        })
        .collect();
    let (scores, failed): (Vec<f64>, Vec<f64>) = told.into_iter().unzip();
    let ones = vec![1.0; scores.len()];
    let as_it_is = Logistic {
        slope: 1.0,
        offset: 0.0,
    };
    let curve = logistic(&scores, &failed, &ones, Some((as_it_is, SLOPE_ROWS)));
    // Where the slope is drawn up to its least, the offset follows, so that the mean stays what it was.
    let slope = curve.slope.max(SLOPE_MIN);
    let centre = mean(scores.iter().copied());
    Calibration {
        slope,
        offset: curve.offset + (curve.slope - slope) * centre,
    }
}
