//! How sure outcomes make it that an arm is good enough: by betting against the claim that it is not.
//!
//! The claim is that the arm's mean score is at most `target` times the reference's. A gambler who begins with 1 and bets a share `f` of
//! what he has on each outcome multiplies it by `1 + f·(arm ÷ target − reference)`, which is never below 0, and on average at most 1 while
//! the claim is true: whatever the scores are (0, 1 or between), however much the two arms' scores hang together, and for every order in
//! which prompts come. So he rarely gets rich by a true claim: the chance that he *ever* has 1 ÷ α is at most α (Ville's inequality).
//! What he has is an *e-value*. It may be looked at after every outcome, as often as anybody likes, which a bound for a fixed number of
//! outcomes (Clopper and Pearson's) does not allow. Several gamblers with different `f` share the first 1, since nobody knows the best `f`
//! beforehand; the sum does not depend on the order of the outcomes.
//!
//! Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting*, JRSS B 86 (2024); for the mixture of gamblers,
//! section 4.3 there. The shares were chosen on resampled outcomes (docs/calibrate.md), which changes how many outcomes are needed and
//! never whether the bound holds.

/// What each gambler bets, and with which part of the first 1.
const BETS: [(f64, f64); 6] = [
    (0.05, 1.0 / 14.0),
    (0.10, 2.0 / 14.0),
    (0.18, 3.0 / 14.0),
    (0.30, 3.0 / 14.0),
    (0.50, 3.0 / 14.0),
    (0.95, 2.0 / 14.0),
];

/// More outcomes than this are not asked for.
pub const OUTCOMES_MAX: u64 = 100_000;
/// No arm is told to be better than this many times the reference.
const RATIO_MAX: f64 = 4.0;

/// One prompt that both arms have answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The arm's score, 0 to 1.
    pub arm: f64,
    /// The reference's; 1 where the arm is held against nobody.
    pub reference: f64,
    /// What it counts, above 0 and at most 1: prompts of a kind that is seen too often count less.
    pub weight: f64,
}

impl Pair {
    /// A pair that counts in full.
    #[must_use]
    pub fn of(arm: f64, reference: f64) -> Pair {
        Pair {
            arm,
            reference,
            weight: 1.0,
        }
    }

    /// What a gambler who bets the share `bet` has after this outcome for each 1 before it, as a logarithm.
    fn gain(&self, bet: f64, target: f64) -> f64 {
        (bet * self.weight * (self.arm / target - self.reference)).ln_1p()
    }
}

/// What the gamblers have.
#[derive(Clone, Debug, PartialEq)]
pub struct Capital {
    target: f64,
    logs: [f64; BETS.len()],
    pairs: u64,
}

impl Capital {
    /// Before the first outcome. `target` is above 0.
    #[must_use]
    pub fn new(target: f64) -> Capital {
        Capital {
            target,
            logs: [0.0; BETS.len()],
            pairs: 0,
        }
    }

    /// After these outcomes.
    #[must_use]
    pub fn after(pairs: &[Pair], target: f64) -> Capital {
        let mut capital = Capital::new(target);
        pairs.iter().for_each(|pair| capital.saw(pair));
        capital
    }

    /// One outcome more.
    pub fn saw(&mut self, pair: &Pair) {
        self.pairs += 1;
        for (log, (bet, _)) in self.logs.iter_mut().zip(BETS) {
            *log += pair.gain(bet, self.target);
        }
    }

    /// How many outcomes there were.
    #[must_use]
    pub fn pairs(&self) -> u64 {
        self.pairs
    }

    /// What all gamblers together have: the evidence that the arm is good enough.
    #[must_use]
    pub fn e_value(&self) -> f64 {
        let all = self.logs.iter().zip(BETS);
        all.map(|(log, (_, part))| part * log.min(600.0).exp())
            .sum()
    }
}

/// The share of the reference's chance that the arm has at least: the greatest target whose claim has an e-value of `needed`.
#[must_use]
pub fn least(pairs: &[Pair], needed: f64) -> f64 {
    let proves = |target: f64| Capital::after(pairs, target).e_value() >= needed;
    let (mut low, mut high) = (0.0, RATIO_MAX);
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        match proves(middle) {
            true => low = middle,
            false => high = middle,
        }
    }
    low
}

/// How many more outcomes are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// About so many, if the next ones are like those that are here.
    About(u64),
    /// So many at least: little or nothing is known of it yet, and this is enough only if every answer is good.
    AtLeast(u64),
    /// By what is here the arm is not good enough, or so nearly that it could not be told with [`OUTCOMES_MAX`].
    Unlikely,
}

/// Before so many outcomes nobody is told that more of them would not help.
const FEW: usize = 30;

/// How many more outcomes it takes until the e-value is `needed`.
#[must_use]
pub fn more(pairs: &[Pair], target: f64, needed: f64) -> More {
    // One outcome for the arm's failing and one for neither's keep a few lucky ones from promising much.
    let assumed = [Pair::of(0.0, 1.0), Pair::of(1.0, 1.0)];
    let ahead: Vec<Pair> = pairs.iter().copied().chain(assumed).collect();
    let now = Capital::after(pairs, target);
    if let (false, Some(n)) = (pairs.is_empty(), now.until(needed, &ahead)) {
        return More::About(n.max(1));
    }
    let all_good = now.until(needed, &[Pair::of(1.0, 1.0)]);
    match all_good.filter(|_| pairs.len() < FEW) {
        Some(n) => More::AtLeast(n),
        None => More::Unlikely,
    }
}

impl Capital {
    /// After how many more outcomes the e-value is `needed`, if each brings what these bring on average.
    fn until(&self, needed: f64, ahead: &[Pair]) -> Option<u64> {
        let counted = f64::from(u32::try_from(ahead.len()).unwrap_or(u32::MAX));
        let each = BETS.map(|(bet, _)| {
            let gains = ahead.iter().map(|pair| pair.gain(bet, self.target));
            gains.sum::<f64>() / counted
        });
        let reaches = |outcomes: u64| {
            let outcomes = f64::from(u32::try_from(outcomes).unwrap_or(u32::MAX));
            let mut then = self.clone();
            for (log, gain) in then.logs.iter_mut().zip(each) {
                *log += outcomes * gain;
            }
            then.e_value() >= needed
        };
        if !reaches(OUTCOMES_MAX) {
            return None;
        }
        let (mut low, mut high) = (0, OUTCOMES_MAX);
        while low < high {
            let middle = u64::midpoint(low, high);
            match reaches(middle) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Some(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::chance::Chance;

    /// The chance of `good` or more of `n` where each is good with chance `p`.
    fn tail(good: u32, n: u32, p: f64) -> f64 {
        // As logarithms: the terms of many outcomes are too small for numbers.
        let mut term = f64::from(n) * (1.0 - p).ln();
        let mut sum = 0.0;
        for k in 0..=n {
            if k >= good {
                sum += term.exp();
            }
            term += (f64::from(n - k) / f64::from(k + 1) * p / (1.0 - p)).ln();
        }
        sum
    }

    /// Clopper and Pearson's lower bound for a share, one-sided.
    fn clopper_pearson(good: u32, n: u32, alpha: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            match tail(good, n, middle) <= alpha {
                true => low = middle,
                false => high = middle,
            }
        }
        low
    }

    fn shares(good: u32, n: u32) -> Vec<Pair> {
        let one = |k| Pair::of(f64::from(u8::from(k < good)), 1.0);
        (0..n).map(one).collect()
    }

    #[test]
    fn the_yardstick_is_clopper_and_pearsons_published_bound() {
        // The lower ends of 95 % intervals of both sides, as binom.test of R gives them: 9 of 10, 90 of 100, 4 of 20, 682 of 925.
        for (good, n, published) in [
            (9, 10, 0.5549),
            (90, 100, 0.8238),
            (4, 20, 0.0573),
            (682, 925, 0.7077),
        ] {
            let ours = clopper_pearson(good, n, 0.025);
            assert!((ours - published).abs() < 6e-4, "{good} of {n}: {ours}");
        }
        // All of n are good: the bound is the n-th root of α.
        let all = clopper_pearson(59, 59, 0.05);
        assert!((all - 0.05_f64.powf(1.0 / 59.0)).abs() < 1e-9, "{all}");
    }

    #[test]
    fn the_bound_that_holds_at_every_look_is_below_that_for_one_look_and_near_it() {
        for (good, n) in [
            (10, 10),
            (50, 50),
            (45, 50),
            (95, 100),
            (180, 200),
            (450, 500),
            (920, 1000),
        ] {
            let ours = least(&shares(good, n), 20.0);
            let one_look = clopper_pearson(good, n, 0.05);
            let share = f64::from(good) / f64::from(n);
            assert!(ours < one_look, "{good} of {n}: {ours} {one_look}");
            assert!(
                share - ours < 2.2 * (share - one_look),
                "{good} of {n}: {ours} {one_look}"
            );
        }
    }

    #[test]
    fn a_claim_that_is_just_true_is_hardly_ever_refuted_however_often_one_looks() {
        let mut chance = Chance::new(1);
        // Both arms fail together more often than chance would have it; partial credit; an arm that is never held against anybody.
        let mut binary = |c: &mut Chance| {
            let hard = c.unit() < 0.5;
            let reference = c.unit() < if hard { 0.6 } else { 0.9 };
            let arm = c.unit() < if hard { 0.36 } else { 0.99 };
            Pair::of(f64::from(u8::from(arm)), f64::from(u8::from(reference)))
        };
        let mut partial = |c: &mut Chance| Pair::of(0.9 * c.unit(), c.unit());
        let mut alone = |c: &mut Chance| Pair::of(f64::from(u8::from(c.unit() < 0.9)), 1.0);
        let worlds: [&mut dyn FnMut(&mut Chance) -> Pair; 3] =
            [&mut binary, &mut partial, &mut alone];
        for (world, draw) in worlds.into_iter().enumerate() {
            let mut refuted = 0;
            for _ in 0..1_000 {
                let mut capital = Capital::new(0.9);
                let ever = (0..1_000).any(|_| {
                    capital.saw(&draw(&mut chance));
                    capital.e_value() >= 20.0
                });
                refuted += u32::from(ever);
            }
            // 5 % at most; three standard deviations of a count of 1,000 are 2 % more.
            assert!((1..70).contains(&refuted), "world {world}: {refuted}");
        }
    }

    #[test]
    fn outcomes_that_count_less_say_less_in_either_direction() {
        let light = |arm| Pair {
            weight: 0.2,
            ..Pair::of(arm, 1.0)
        };
        let full = Capital::after(&[Pair::of(1.0, 1.0); 40], 0.9).e_value();
        let less = Capital::after(&[light(1.0); 40], 0.9).e_value();
        assert!(full > less && less > 1.0, "{full} {less}");
        let full = Capital::after(&[Pair::of(0.0, 1.0); 3], 0.9).e_value();
        let less = Capital::after(&[light(0.0); 3], 0.9).e_value();
        assert!(full < less && less < 1.0, "{full} {less}");
    }

    #[test]
    fn what_is_still_needed_is_told_and_comes_true() {
        // Nothing is known: so many good answers are enough, and one fewer is not.
        let More::AtLeast(n) = more(&[], 0.9, 20.0) else {
            panic!("nothing is known");
        };
        let n32 = u32::try_from(n).expect("small");
        assert!(Capital::after(&shares(n32, n32), 0.9).e_value() >= 20.0);
        assert!(Capital::after(&shares(n32 - 1, n32 - 1), 0.9).e_value() < 20.0);
        assert!((29..70).contains(&n), "Clopper and Pearson need 29: {n}");
        // As good as the reference, on which it fails on other prompts.
        let like: Vec<Pair> = (0..40)
            .map(|k| {
                Pair::of(
                    f64::from(u8::from(k % 10 != 0)),
                    f64::from(u8::from(k % 10 != 5)),
                )
            })
            .collect();
        let More::About(about) = more(&like, 0.9, 20.0) else {
            panic!("it is good enough");
        };
        let about = usize::try_from(about).expect("small");
        let then: Vec<Pair> = like.iter().cycle().take(40 + about).copied().collect();
        assert!(Capital::after(&then, 0.9).e_value() >= 20.0, "{about}");
        let half: Vec<Pair> = like.iter().cycle().take(40 + about / 4).copied().collect();
        assert!(Capital::after(&half, 0.9).e_value() < 20.0, "{about}");
        assert_eq!(more(&shares(30, 50), 0.9, 20.0), More::Unlikely);
        // Six good answers of six are too few to promise anything, and no reason to give up; nor are three.
        for good in [6, 3] {
            let few = more(&shares(good, 6), 0.9, 20.0);
            assert!(matches!(few, More::AtLeast(n) if n > 30), "{few:?}");
        }
    }
}
