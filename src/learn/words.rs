//! Ridge regression over words and word pairs: which words tell a number.
//!
//! Rare words may weigh more (inverse document frequency); weights are kept as whole numbers of one byte.

use crate::classify::GRAM_BUCKETS;
use crate::classify::model::{WordWeights, gram_norm};

/// Rounds of the solver; it has long settled by then.
const ROUNDS: usize = 60;
/// Below this part of where it began the remainder counts as nothing.
const SETTLED: f64 = 1e-6;
const BUCKETS: usize = GRAM_BUCKETS as usize;

/// Learns to tell `target` from each row's words and word pairs; `weights` say how much each row counts, `pull` draws weights to zero.
#[must_use]
pub fn learn(rows: &[&[u16]], target: &[f64], weights: &[f64], pull: f64) -> WordWeights {
    let rarity = rarity(rows);
    let table = GramMatrix::of(rows, &rarity);
    let total: f64 = weights.iter().sum();
    let centre = target.iter().zip(weights).map(|(t, w)| t * w).sum::<f64>() / total.max(1e-9);
    let centred: Vec<f64> = target.iter().map(|t| t - centre).collect();
    let scale = weights.len() as f64 / total.max(1e-9);
    let counted: Vec<f64> = weights.iter().map(|w| w * scale).collect();
    let found = table.solve(&centred, &counted, pull);
    whole(found.iter().zip(&rarity).map(|(w, r)| w * r * table.scale))
}

/// How much a bucket says by being met, by how seldom it is.
pub(super) fn rarity(rows: &[&[u16]]) -> Vec<f64> {
    let mut met = vec![0_u32; BUCKETS];
    for row in rows {
        for id in *row {
            met[usize::from(*id)] += 1;
        }
    }
    let all = rows.len() as f64 + 1.0;
    met.iter()
        .map(|n| (all / (1.0 + f64::from(*n))).ln() + 1.0)
        .collect()
}

struct GramMatrix<'a> {
    rows: &'a [&'a [u16]],
    rarity: &'a [f64],
    /// Brings the mean square of a row to 1.
    scale: f64,
}

impl<'a> GramMatrix<'a> {
    fn of(rows: &'a [&'a [u16]], rarity: &'a [f64]) -> GramMatrix<'a> {
        let square = |row: &&[u16]| {
            let norm = f64::from(gram_norm(row.len()));
            let sum: f64 = row.iter().map(|id| rarity[usize::from(*id)].powi(2)).sum();
            sum * norm * norm
        };
        let mean = super::mean(rows.iter().map(square));
        GramMatrix {
            rows,
            rarity,
            scale: 1.0 / mean.sqrt().max(1e-9),
        }
    }

    fn across(&self, row: &[u16], weights: &[f64]) -> f64 {
        let ids = row.iter().map(|id| usize::from(*id));
        let sum: f64 = ids.map(|id| weights[id] * self.rarity[id]).sum();
        sum * f64::from(gram_norm(row.len())) * self.scale
    }

    fn add(&self, row: &[u16], times: f64, into: &mut [f64]) {
        let times = times * f64::from(gram_norm(row.len())) * self.scale;
        for id in row.iter().map(|id| usize::from(*id)) {
            into[id] += times * self.rarity[id];
        }
    }

    /// Conjugate gradients on the normal equations.
    fn solve(&self, target: &[f64], counted: &[f64], pull: f64) -> Vec<f64> {
        let mut weights = vec![0.0; BUCKETS];
        let mut rest = vec![0.0; BUCKETS];
        for ((row, t), c) in self.rows.iter().zip(target).zip(counted) {
            self.add(row, t * c, &mut rest);
        }
        let mut way = rest.clone();
        let begun = dot(&rest, &rest);
        let mut left = begun;
        for _ in 0..ROUNDS {
            if left <= begun * SETTLED {
                break;
            }
            let mut image: Vec<f64> = way.iter().map(|w| w * pull).collect();
            for (row, c) in self.rows.iter().zip(counted) {
                let across = self.across(row, &way);
                self.add(row, across * c, &mut image);
            }
            let step = left / dot(&way, &image);
            axpy(step, &way, &mut weights);
            axpy(-step, &image, &mut rest);
            let now = dot(&rest, &rest);
            let turn = now / left;
            for (w, r) in way.iter_mut().zip(&rest) {
                *w = r + turn * *w;
            }
            left = now;
        }
        weights
    }
}

/// The sum of products.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Adds a multiple.
pub(super) fn axpy(times: f64, of: &[f64], to: &mut [f64]) {
    for (t, o) in to.iter_mut().zip(of) {
        *t += times * o;
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "between -127 and 127 by the scale; the scale itself has seven digits"
)]
fn whole(weights: impl Iterator<Item = f64>) -> WordWeights {
    let weights: Vec<f64> = weights.collect();
    let most = weights.iter().fold(0.0_f64, |m, w| m.max(w.abs()));
    if most == 0.0 {
        return WordWeights::default();
    }
    let scale = most / 127.0;
    WordWeights {
        scale: scale as f32,
        weights: weights.iter().map(|w| (w / scale).round() as i8).collect(),
    }
}
