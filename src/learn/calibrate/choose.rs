//! Of several arms the cheapest one that is good enough, with one confidence for all of them together.
//!
//! Whoever looks at five arms finds a lucky one more easily than whoever looks at one. So an arm passes only if every group of arms that it
//! is in has a mean e-value of 1 ÷ α at least (the closed test of averaged e-values: Vovk and Wang, *E-values: calibration, combination and
//! applications*, Annals of Statistics 49, 2021). Then the chance that any arm passes which is not good enough is at most α, whatever the arms
//! have in common, at every look. An arm pays for those that do not pass, and for no others; their order and prices play no part in it, so
//! that costs may be read from the same outcomes.

use super::bound::{self, Capital, More, Pair};

/// An arm that may be good enough.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The prompts that it and the reference have answered.
    pub pairs: Vec<Pair>,
    /// It costs less than the reference, so that there is something to gain.
    pub cheaper: bool,
}

/// What is asked of an arm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// The share of the reference's chance of a good answer, above 0.
    pub target: f64,
    /// How sure that must be, below 1.
    pub confidence: f64,
}

impl Demand {
    /// The e-value that is enough for one arm alone.
    #[must_use]
    pub fn needed(&self) -> f64 {
        1.0 / (1.0 - self.confidence)
    }
}

/// How an arm stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArmStanding {
    /// The evidence that it is good enough, by itself.
    pub e_value: f64,
    /// It is good enough, with the confidence that was demanded.
    pub passes: bool,
    /// The share of the reference's chance that it has at least, with that confidence.
    pub least: f64,
    /// Its mean score, and the reference's on the same prompts, by what each counts.
    pub means: (f64, f64),
    /// How many more outcomes would be needed; nothing where it passes.
    pub more: Option<More>,
}

/// How all arms stand, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Each arm.
    pub standings: Vec<ArmStanding>,
    /// The first of those that pass and are cheaper than the reference.
    pub named: Option<usize>,
}

/// Chooses among arms, the cheapest first.
#[must_use]
pub fn choose(arms: &[Candidate], demand: Demand) -> Choice {
    let evidence: Vec<f64> = arms
        .iter()
        .map(|arm| Capital::after(&arm.pairs, demand.target).e_value())
        .collect();
    let passes = passing(&evidence, demand.confidence);
    let failing = passes.iter().filter(|passes| !**passes).count();
    let standing = |(n, arm): (usize, &Candidate)| {
        // Those that do not pass share what may go wrong with it.
        let others = failing - usize::from(!passes[n]);
        let shared = demand.needed() * f64::from(u32::try_from(others + 1).unwrap_or(u32::MAX));
        let least = bound::least(&arm.pairs, shared);
        ArmStanding {
            e_value: evidence[n],
            passes: passes[n],
            least: if passes[n] {
                least.max(demand.target)
            } else {
                least
            },
            means: means(&arm.pairs),
            more: (!passes[n]).then(|| bound::more(&arm.pairs, demand.target, shared)),
        }
    };
    let standings: Vec<ArmStanding> = arms.iter().enumerate().map(standing).collect();
    let named = (0..arms.len()).find(|n| arms[*n].cheaper && passes[*n]);
    Choice { standings, named }
}

/// Which arms pass, by their e-values.
#[must_use]
pub fn passing(evidence: &[f64], confidence: f64) -> Vec<bool> {
    let needed = 1.0 / (1.0 - confidence);
    let mut sorted: Vec<f64> = evidence.to_vec();
    sorted.sort_by(f64::total_cmp);
    // The worst group that an arm is in holds the least e-values of the others. Above `needed` they only help.
    let weak: Vec<f64> = sorted.into_iter().filter(|e| *e < needed).collect();
    let passes = |own: f64| {
        let mut sum = own;
        let groups = weak.iter().zip(2_u32..).all(|(e, size)| {
            sum += e;
            sum >= needed * f64::from(size)
        });
        own >= needed && groups
    };
    evidence.iter().map(|e| passes(*e)).collect()
}

/// The weighted means of both scores; 0 of nothing.
fn means(pairs: &[Pair]) -> (f64, f64) {
    let weights: f64 = pairs.iter().map(|p| p.weight).sum();
    if weights <= 0.0 {
        return (0.0, 0.0);
    }
    let sum = |score: fn(&Pair) -> f64| pairs.iter().map(|p| p.weight * score(p)).sum::<f64>();
    (sum(|p| p.arm) / weights, sum(|p| p.reference) / weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::chance::Chance;

    const DEMAND: Demand = Demand {
        target: 0.9,
        confidence: 0.95,
    };

    fn arm(good: usize, of: usize) -> Candidate {
        let score = |n| f64::from(u8::from(n < good));
        Candidate {
            pairs: (0..of).map(|n| Pair::of(score(n), 1.0)).collect(),
            cheaper: true,
        }
    }

    #[test]
    fn an_arm_pays_for_those_that_do_not_pass_and_for_no_others() {
        for (evidence, passes) in [
            (&[20.0][..], &[true][..]),
            (&[19.9], &[false]),
            (&[20.0, 20.0, 1e9], &[true, true, true]),
            (&[0.0, 39.0, 1e9], &[false, false, true]),
            (&[0.0, 40.1, 1e9], &[false, true, true]),
            (&[0.0, 0.0, 59.0], &[false, false, false]),
            (&[0.0, 0.0, 60.1], &[false, false, true]),
            // What is missing elsewhere counts as far as it is missing.
            (&[10.0, 30.1], &[false, true]),
            (&[10.0, 29.0], &[false, false]),
            (&[], &[]),
        ] {
            assert_eq!(passing(evidence, 0.95), passes, "{evidence:?}");
        }
    }

    #[test]
    fn the_cheapest_arm_that_is_good_enough_is_named_and_never_one_that_costs_as_much_as_the_reference()
     {
        let bad_good_better = [arm(150, 300), arm(296, 300), arm(300, 300)];
        let choice = choose(&bad_good_better, DEMAND);
        assert_eq!(choice.named, Some(1));
        let [bad, good, _] = &choice.standings[..] else {
            panic!("three arms");
        };
        assert_eq!((bad.passes, bad.more), (false, Some(More::Unlikely)));
        assert!(good.least > 0.93 && good.least < 296.0 / 300.0, "{good:?}");
        assert!((good.means.0 - 296.0 / 300.0).abs() < 1e-9);
        let dear = bad_good_better.map(|arm| Candidate {
            cheaper: false,
            ..arm
        });
        assert_eq!(choose(&dear, DEMAND).named, None);
    }

    #[test]
    fn too_little_evidence_names_nobody_and_says_how_much_is_missing() {
        let choice = choose(&[arm(20, 20), arm(0, 0)], DEMAND);
        assert_eq!(choice.named, None);
        assert!(matches!(choice.standings[0].more, Some(More::About(n)) if n > 20));
        assert!(matches!(choice.standings[1].more, Some(More::AtLeast(n)) if n > 29));
        assert_eq!(choose(&[], DEMAND).named, None);
    }

    #[test]
    fn of_many_arms_that_all_just_miss_the_target_one_is_hardly_ever_named_at_any_look() {
        let mut chance = Chance::new(7);
        let mut named = 0;
        for _ in 0..500 {
            let mut all = vec![Capital::new(0.9); 6];
            let ever = (1..=1_000).any(|n| {
                for capital in &mut all {
                    let good = f64::from(u8::from(chance.unit() < 0.899_999));
                    capital.saw(&Pair::of(good, 1.0));
                }
                let evidence: Vec<f64> = all.iter().map(Capital::e_value).collect();
                n % 50 == 0 && passing(&evidence, 0.95).contains(&true)
            });
            named += u32::from(ever);
        }
        // One arm alone passes in about one world of 40; six of them together must not in more than one of 20.
        assert!(named < 35, "{named}");
    }
}
