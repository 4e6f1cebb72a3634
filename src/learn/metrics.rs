//! What a router is worth: the share of the strong model's advantage that it recovers, by the share of calls that it sends there.
//!
//! Definitions as in RouteLLM's evaluation (ten quantile thresholds, trapezoids), with the first crossing for CPT.

use super::chance::Chance;
use serde::Serialize;

/// Thresholds of the curve.
const STEPS: u32 = 10;

/// One question's outcome: the weak and the strong model's score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The weak model's score, 0 to 1.
    pub weak: f64,
    /// The strong model's score, 0 to 1.
    pub strong: f64,
}

/// A point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Share of calls to the strong model, 0 to 1.
    pub strong_share: f64,
    /// Mean score.
    pub quality: f64,
}

/// The curve of a router that sends the questions with the highest scores to the strong model.
#[must_use]
pub fn curve(router: &[f64], pairs: &[Pair]) -> Vec<Point> {
    let mut chance = Chance::new(0);
    let scores: Vec<f64> = router.iter().map(|r| r + chance.unit() * 1e-9).collect();
    let mut sorted = scores.clone();
    sorted.sort_by(f64::total_cmp);
    let mut points: Vec<Point> = (0..=STEPS)
        .map(|step| {
            let threshold = quantile(&sorted, f64::from(step) / f64::from(STEPS));
            let strong = |score: f64| score > threshold || (step < STEPS && score >= threshold);
            point(&scores, pairs, strong)
        })
        .collect();
    points.sort_by(|a, b| {
        let by_share = a.strong_share.total_cmp(&b.strong_share);
        by_share.then(a.quality.total_cmp(&b.quality))
    });
    points
}

fn point(scores: &[f64], pairs: &[Pair], strong: impl Fn(f64) -> bool) -> Point {
    let (mut called, mut sum) = (0.0, 0.0);
    for (score, pair) in scores.iter().zip(pairs) {
        if strong(*score) {
            called += 1.0;
            sum += pair.strong;
        } else {
            sum += pair.weak;
        }
    }
    let all = pairs.len().max(1) as f64;
    Point {
        strong_share: called / all,
        quality: sum / all,
    }
}

/// The value below which this share of a sorted list lies, between neighbours by line.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the length"
)]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    let place = share * (sorted.len() - 1) as f64;
    let low = (place.floor() as usize).min(sorted.len() - 1);
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

/// Mean score of the weak and of the strong model alone.
#[must_use]
pub fn ends(pairs: &[Pair]) -> Pair {
    Pair {
        weak: super::mean(pairs.iter().map(|p| p.weak)),
        strong: super::mean(pairs.iter().map(|p| p.strong)),
    }
}

/// The average share of the gap that is recovered (APGR); about 0.5 by chance.
#[must_use]
pub fn apgr(router: &[f64], pairs: &[Pair]) -> f64 {
    let points = curve(router, pairs);
    let Pair { weak, strong } = ends(pairs);
    let area: f64 = points
        .windows(2)
        .map(|w| (w[1].strong_share - w[0].strong_share) * (w[1].quality + w[0].quality) / 2.0)
        .sum();
    let range = points[points.len() - 1].strong_share - points[0].strong_share;
    (area - weak * range) / ((strong - weak) * range)
}

/// The share of strong calls that recovers this part of the gap (CPT); lower is better.
#[must_use]
pub fn cpt(router: &[f64], pairs: &[Pair], part: f64) -> f64 {
    let Pair { weak, strong } = ends(pairs);
    let target = weak + part * (strong - weak);
    for pair in curve(router, pairs).windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if b.quality >= target {
            if a.quality >= target {
                return a.strong_share;
            }
            let along = (target - a.quality) / (b.quality - a.quality).max(1e-11);
            return a.strong_share + (b.strong_share - a.strong_share) * along;
        }
    }
    1.0
}

/// A router that knows what each question gains.
#[must_use]
pub fn oracle(pairs: &[Pair]) -> Vec<f64> {
    let mut chance = Chance::new(1);
    pairs
        .iter()
        .map(|p| p.strong - p.weak + chance.unit() * 1e-3)
        .collect()
}

/// A router that knows nothing.
#[must_use]
pub fn random(count: usize, seed: u64) -> Vec<f64> {
    let mut chance = Chance::new(seed);
    (0..count).map(|_| chance.unit()).collect()
}

/// The limits between which 95 of 100 bootstrap draws of the APGR lie.
#[must_use]
pub fn apgr_limits(router: &[f64], pairs: &[Pair], draws: u64) -> (f64, f64) {
    let mut chance = Chance::new(17);
    let mut found: Vec<f64> = (0..draws)
        .map(|_| {
            let places: Vec<usize> = pairs.iter().map(|_| chance.below(pairs.len())).collect();
            let router: Vec<f64> = places.iter().map(|p| router[*p]).collect();
            let pairs: Vec<Pair> = places.iter().map(|p| pairs[*p]).collect();
            apgr(&router, &pairs)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    (quantile(&found, 0.025), quantile(&found, 0.975))
}

/// How far chances are from what happened, on average over this many bins of equal width (ECE).
#[must_use]
pub fn calibration_error(chances: &[f64], happened: &[f64], bins: u32) -> f64 {
    let mut cells = vec![(0.0, 0.0); bins as usize];
    for (chance, truth) in chances.iter().zip(happened) {
        let bin = (1..bins)
            .take_while(|b| *chance * f64::from(bins) >= f64::from(*b))
            .count();
        cells[bin].0 += chance;
        cells[bin].1 += truth;
    }
    cells.iter().map(|(c, t)| (c - t).abs()).sum::<f64>() / chances.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> Vec<Pair> {
        let mut chance = Chance::new(5);
        let score = |b: bool| f64::from(u8::from(b));
        (0..4_000)
            .map(|_| Pair {
                weak: score(chance.unit() < 0.4),
                strong: score(chance.unit() < 0.7),
            })
            .collect()
    }

    #[test]
    fn chance_recovers_half_of_the_gap_and_the_oracle_most_of_it() {
        let pairs = pairs();
        let by_chance = apgr(&random(pairs.len(), 2), &pairs);
        assert!((by_chance - 0.5).abs() < 0.03, "{by_chance}");
        assert!(apgr(&oracle(&pairs), &pairs) > 0.95);
        let (low, high) = apgr_limits(&random(pairs.len(), 2), &pairs, 50);
        assert!(low < by_chance && by_chance < high);
    }

    #[test]
    fn cpt_is_the_first_share_that_recovers_the_part() {
        // The strong model is better at exactly the upper half.
        let pairs: Vec<Pair> = (0..1_000)
            .map(|n| Pair {
                weak: f64::from(u8::from(n < 500)),
                strong: 1.0,
            })
            .collect();
        let router: Vec<f64> = (0..1_000).map(f64::from).collect();
        assert!((cpt(&router, &pairs, 0.8) - 0.4).abs() < 0.01);
        assert!((apgr(&router, &pairs) - 0.75).abs() < 0.01);
    }

    #[test]
    fn chances_that_come_true_have_no_error() {
        let chances: Vec<f64> = (0..1_000).map(|n| f64::from(n % 2) * 0.5 + 0.25).collect();
        let happened: Vec<f64> = chances.clone();
        assert!(calibration_error(&chances, &happened, 15) < 1e-9);
        assert!((calibration_error(&vec![0.9; 100], &vec![0.4; 100], 15) - 0.5).abs() < 1e-9);
    }
}
