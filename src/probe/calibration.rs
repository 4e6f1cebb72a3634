//! How much an arm's evidence is worth: from the probability that a model gives its own answer to the chance that the answer is right,
//! and to what a better arm would add.
//!
//! Without labels: models are surer than they are right. The log-odds that they give are shrunk ([`SHRINK`]), and shifted so that the
//! chances are on average a little lower ([`OVERCONFIDENCE`]) than the probabilities that this arm was seen to give; what it gives is
//! known from every answer and needs no label. With labels (a better arm that agreed or not, the caller's feedback): an isotonic
//! correction of what the better arm adds, which few labels hardly move. Old observations fade, so that a model that drifts is relearned.

use serde::{Deserialize, Serialize};

/// What a probability is the probability of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Of a short answer's own tokens, all of them together.
    Answer,
    /// Of the unlikeliest tokens of a longer answer.
    Tokens,
    /// Of the yes of a model that was asked whether the answer is right.
    Asked,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Signal; 3] = [Signal::Answer, Signal::Tokens, Signal::Asked];

    /// The name in the books, in metrics and in `flyball learn status`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Signal::Answer => "answer",
            Signal::Tokens => "tokens",
            Signal::Asked => "asked",
        }
    }

    /// The signal of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Signal> {
        Signal::ALL.into_iter().find(|s| s.name() == name)
    }

    /// Signals that are learned together: both say how likely the answer itself is right. One scale for both ranks better than one for
    /// each, which takes every model to be as good at what it is asked in one way as in the other.
    #[must_use]
    pub fn scale(self) -> Scale {
        match self {
            Signal::Answer | Signal::Asked => Scale::Whole,
            Signal::Tokens => Scale::Parts,
        }
    }
}

/// What an arm's evidence is learned by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Probabilities of whole answers.
    Whole,
    /// Probabilities of parts of answers.
    Parts,
}

impl Scale {
    /// The name in `flyball learn status`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scale::Whole => "whole",
            Scale::Parts => "parts",
        }
    }
}

/// Log-odds are told apart in steps of this size.
const STEP: f64 = 1.0;
/// The least log-odds that are told from lesser ones: a probability of a quarter of a percent.
const LEAST: f64 = -6.0;
/// How many steps: up to odds of e^16, which is as sure as providers' figures tell.
const BINS: usize = 22;

/// The part of a model's log-odds that its answers bear out. On answers of seven models to questions and sums, by two kinds of signal,
/// slopes of .25 to .5 came out; one for all did as well as one for each.
const SHRINK: f64 = 0.45;
/// A model's answers are right so much less often than it says on average.
const OVERCONFIDENCE: f64 = 0.95;
/// A better arm's chance follows the evidence of the weaker one by this part: what is hard for one is harder for the other too.
const SHARED: f64 = 0.5;
/// The part of the prompt's grade that goes into the better arm's chance, beside the evidence. Into the chance of the answer that is
/// there none of it goes: beside the answer's own evidence it only harms.
const GRADE: f64 = 0.3;
/// By how much the better arm of a pair usually leads, in log-odds. What is known of the two abilities counts for the other half: it is
/// from benchmarks, and one step of a price list is seldom less than this.
const LEAD_USUAL: f64 = 1.5;
/// As many observations are assumed before any was made, so that the first ones do not decide alone.
const PRIOR: f64 = 10.0;
/// As many labels the default counts for in each step of the evidence.
const LABELS: f64 = 30.0;
/// As many it counts for on the whole.
const LABELS_ALL: f64 = 60.0;
/// Observations of which the last so many count; older ones fade.
const LAST: f64 = 2_000.0;
/// Labels of which the last so many count, in each step: most come from answers that were gone on from, and must not let those be
/// forgotten that tell of the others.
const LAST_LABELS: f64 = 200.0;

/// The last so many observations tell whether the model is still the one that was learned.
const RECENT: f64 = 200.0;
/// They are held against the others once there are so many.
const LEARNED: f64 = 600.0;
/// They are of another model if they differ by so much (chi-squared). What comes by chance alone stays below 30: of so many that fade, in
/// some twenty steps, about 10 are expected.
const DRIFTED: f64 = 45.0;
/// What labels of before are worth after that.
const STALE: f64 = 0.05;

/// What was seen of one arm at one kind of evidence. About 700 bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Calibration {
    /// How many answers, by the log-odds that they were given; faded.
    seen: [f32; BINS],
    /// The sum of the probabilities that they were given, faded alike.
    said: f64,
    /// The sums of what the grades of their prompts promised of the arm and of the better one, in log-odds; faded alike.
    promised: (f64, f64),
    /// The last answers alone, and the sum of their probabilities.
    recent: [f32; BINS],
    recent_said: f64,
    /// How often the model was found to be another one.
    drifts: u64,
    /// How many answers were judged, faded.
    judged: [f32; BINS],
    /// What a better arm would have added to them, 0 to 1 each, faded alike.
    added: [f64; BINS],
    /// What they were expected to add, as it was then.
    expected: [f64; BINS],
    /// How many labels there were at all.
    labels: u64,
}

/// A probability's log-odds, within what is told apart; `None` for what is no probability.
fn log_odds(logprob: f64) -> Option<f64> {
    if logprob.is_nan() || logprob > 1e-6 {
        return None;
    }
    let p = logprob.min(0.0).exp().clamp(1e-12, 1.0 - 1e-12);
    let highest = LEAST + STEP * as_f64(BINS);
    Some((p / (1.0 - p)).ln().clamp(LEAST, highest))
}

/// The step that log-odds are in.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it lies between 0 and BINS"
)]
fn bin(odds: f64) -> usize {
    (((odds - LEAST) / STEP).max(0.0) as usize).min(BINS - 1)
}

/// The middle of a step.
fn middle(bin: usize) -> f64 {
    LEAST + STEP * (as_f64(bin) + 0.5)
}

fn as_f64(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::MAX, f64::from)
}

/// The chance of these log-odds.
#[must_use]
pub fn chance_of(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

/// The log-odds of this chance.
#[must_use]
pub fn odds_of(chance: f64) -> f64 {
    let chance = chance.clamp(0.005, 0.995);
    (chance / (1.0 - chance)).ln()
}

/// A better arm is taken to be right at least so often where its answer is held against another one: what is believed of it hangs on what
/// the weaker arm says of itself, and two that agree would else make it look no better.
const BETTER_LEAST: f64 = 0.85;
/// Two wrong answers differ so often.
const MISTAKES_DIFFER: f64 = 0.7;

/// How likely an answer is right, and how likely a better arm's would be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerChances {
    /// The chance that the answer is right.
    pub chance: f64,
    /// The same of the better arm's answer.
    pub better: f64,
}

impl AnswerChances {
    /// What the better arm adds.
    #[must_use]
    pub fn gain(&self) -> f64 {
        (self.better - self.chance).max(0.0)
    }

    /// What the better arm's answer was most likely worth above this one, where both are known and differ, or say the same.
    #[must_use]
    pub fn added_where(&self, differ: bool) -> f64 {
        let (own, better) = (self.chance, self.better.max(BETTER_LEAST));
        let one = better * (1.0 - own) + own * (1.0 - better);
        let none = (1.0 - better) * (1.0 - own);
        match differ {
            true => (better - own) / (one + MISTAKES_DIFFER * none).max(0.01),
            false => 0.0,
        }
    }
}

/// What the grade of a prompt promises of the two arms, before anybody has answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    /// The chance of a good answer of the arm that is asked first.
    pub weak: f64,
    /// The same of the better arm.
    pub strong: f64,
}

impl Calibration {
    /// An answer of the arm has shown this evidence.
    pub fn saw(&mut self, logprob: f64, promise: Promise) {
        let Some(odds) = log_odds(logprob) else {
            return;
        };
        let total: f32 = self.seen.iter().sum();
        if f64::from(total) >= LAST {
            let fade = 1.0 - 1.0 / LAST;
            #[allow(clippy::cast_possible_truncation, reason = "it is a factor below 1")]
            self.seen.iter_mut().for_each(|n| *n *= fade as f32);
            self.said *= fade;
            self.promised.0 *= fade;
            self.promised.1 *= fade;
        }
        self.seen[bin(odds)] += 1.0;
        self.said += logprob.min(0.0).exp();
        self.promised.0 += odds_of(promise.weak);
        self.promised.1 += odds_of(promise.strong);
        self.saw_last(bin(odds), logprob.min(0.0).exp());
    }

    /// Holds the last answers against all: a model that was replaced, or whose probabilities are told in another way, is learned anew.
    fn saw_last(&mut self, at: usize, said: f64) {
        let recent: f32 = self.recent.iter().sum();
        if f64::from(recent) >= RECENT {
            let fade = 1.0 - 1.0 / RECENT;
            #[allow(clippy::cast_possible_truncation, reason = "it is a factor below 1")]
            self.recent.iter_mut().for_each(|n| *n *= fade as f32);
            self.recent_said *= fade;
        }
        self.recent[at] += 1.0;
        self.recent_said += said;
        if self.answers() < LEARNED || self.apart() < DRIFTED {
            return;
        }
        let left = f64::from(self.recent.iter().sum::<f32>()) / self.answers();
        self.seen = self.recent;
        self.said = self.recent_said;
        self.promised.0 *= left;
        self.promised.1 *= left;
        for at in 0..BINS {
            #[allow(clippy::cast_possible_truncation, reason = "it is a factor below 1")]
            let stale = STALE as f32;
            self.judged[at] *= stale;
            self.added[at] *= STALE;
            self.expected[at] *= STALE;
        }
        self.drifts += 1;
    }

    /// By how much the last answers differ from all.
    fn apart(&self) -> f64 {
        let last: f64 = self.recent.iter().map(|n| f64::from(*n)).sum();
        let part = last / self.answers();
        let steps = self.recent.iter().zip(self.seen);
        steps
            .map(|(last, all)| {
                let usual = f64::from(all) * part;
                (f64::from(*last) - usual).powi(2) / (usual + 1.0)
            })
            .sum()
    }

    /// An answer with this evidence was judged: `added` is what the better arm's answer was worth above it, from -1 (the better arm was
    /// wrong where it was right) to 1.
    pub fn judge(&mut self, logprob: f64, promise: Promise, added: f64) {
        let Some(odds) = log_odds(logprob) else {
            return;
        };
        let expected = self.fitted().standing(odds, promise).gain();
        let at = bin(odds);
        if f64::from(self.judged[at]) >= LAST_LABELS {
            let fade = 1.0 - 1.0 / LAST_LABELS;
            #[allow(clippy::cast_possible_truncation, reason = "it is a factor below 1")]
            let fade_count = fade as f32;
            self.judged[at] *= fade_count;
            self.added[at] *= fade;
            self.expected[at] *= fade;
        }
        self.judged[at] += 1.0;
        self.added[at] += if added.is_finite() {
            added.clamp(-1.0, 1.0)
        } else {
            0.0
        };
        self.expected[at] += expected;
        self.labels += 1;
    }

    /// A label is taken back and given anew: the better arm's answer was worth so much more than was said.
    pub fn revise(&mut self, logprob: f64, change: f64) {
        if let Some(odds) = log_odds(logprob).filter(|_| change.is_finite()) {
            self.added[bin(odds)] += change.clamp(-2.0, 2.0);
        }
    }

    /// How many answers were seen, the faded ones left out.
    #[must_use]
    pub fn answers(&self) -> f64 {
        self.seen.iter().map(|n| f64::from(*n)).sum()
    }

    /// How likely the arm takes its answers to be right, on average; 0 where none was seen.
    #[must_use]
    pub fn said(&self) -> f64 {
        self.said / self.answers().max(1.0)
    }

    /// How many labels there were at all.
    #[must_use]
    pub fn labels(&self) -> u64 {
        self.labels
    }

    /// How often the model was found to be another one, and was learned anew.
    #[must_use]
    pub fn drifts(&self) -> u64 {
        self.drifts
    }

    /// What it comes to now.
    #[must_use]
    pub fn curve(&self) -> Curve {
        let fitted = self.fitted();
        let factors = self.factors(&fitted);
        Curve {
            factors,
            seen: self.seen,
            ..fitted
        }
    }

    /// The default, shifted to what the arm says of itself.
    fn fitted(&self) -> Curve {
        let answers = self.answers();
        let said = self.said * OVERCONFIDENCE;
        let mut curve = Curve::of(0.0, 0.0);
        if answers <= 0.0 {
            return curve;
        }
        let promised = self.promised.0 / answers;
        curve.promised = Some((promised, self.promised.1 / answers));
        // So many assumed answers, spread over what providers give, that are as good as the prompts promise.
        let assumed = PRIOR / as_f64(BINS);
        let target = (said + PRIOR * chance_of(promised)) / (answers + PRIOR);
        let weighed = || (0..BINS).map(|b| (middle(b) * SHRINK, f64::from(self.seen[b]) + assumed));
        let total: f64 = weighed().map(|(_, n)| n).sum();
        let mean_at = |shift: f64| {
            let sum: f64 = weighed().map(|(z, n)| n * chance_of(z + shift)).sum();
            sum / total
        };
        let (mut low, mut high) = (-12.0, 12.0);
        for _ in 0..40 {
            let shift = f64::midpoint(low, high);
            match mean_at(shift) < target {
                true => low = shift,
                false => high = shift,
            }
        }
        curve.shift = f64::midpoint(low, high);
        let sum: f64 = weighed().map(|(z, n)| n * (z + curve.shift)).sum();
        curve.mean = sum / total;
        curve
    }

    /// By how much labels have shown the expected gain to be wrong, in each step: the surer the evidence, the less is gained.
    fn factors(&self, fitted: &Curve) -> [f64; BINS] {
        let mut factors = [1.0; BINS];
        let judged: f64 = self.judged.iter().map(|n| f64::from(*n)).sum();
        if judged <= 0.0 {
            return factors;
        }
        let (added, expected): (f64, f64) = (self.added.iter().sum(), self.expected.iter().sum());
        // All steps together first; the default counts as a number of labels.
        let mean = expected / judged;
        let whole = (added + LABELS_ALL * mean) / (expected + LABELS_ALL * mean).max(1e-6);
        let whole = whole.clamp(0.1, 4.0);
        let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
        let priors = self.expected_by_step(fitted);
        for (at, prior) in priors.iter().enumerate() {
            let n = f64::from(self.judged[at]);
            let prior = prior * whole;
            let value = (self.added[at] + LABELS * prior) / (n + LABELS);
            blocks.push((value, n + LABELS, 1));
            while let [.., before, last] = blocks[..] {
                if before.0 >= last.0 {
                    break;
                }
                let weight = before.1 + last.1;
                let value = (before.0 * before.1 + last.0 * last.1) / weight;
                blocks.truncate(blocks.len() - 2);
                blocks.push((value, weight, before.2 + last.2));
            }
        }
        let fitted = blocks
            .into_iter()
            .flat_map(|(value, _, steps)| std::iter::repeat_n(value, steps));
        for ((factor, value), prior) in factors.iter_mut().zip(fitted).zip(priors) {
            *factor = (value / prior.max(1e-3)).clamp(0.0, 10.0);
        }
        factors
    }

    /// What the default expects to be gained in each step, for the average prompt.
    fn expected_by_step(&self, fitted: &Curve) -> [f64; BINS] {
        let judged: f64 = self.judged.iter().map(|n| f64::from(*n)).sum();
        // The better arm of the average label: what was expected in the steps that were judged tells how much better it is.
        let total: f64 = self.expected.iter().sum();
        let gain_at = |lead: f64| -> [f64; BINS] {
            std::array::from_fn(|at| fitted.at(middle(at), lead).gain())
        };
        let mean_at = |lead: f64| -> f64 {
            let by_step = gain_at(lead);
            let judged_steps = self.judged.iter().zip(by_step);
            judged_steps
                .map(|(n, gain)| f64::from(*n) * gain)
                .sum::<f64>()
                / judged
        };
        let (mut low, mut high) = (0.0, 8.0);
        for _ in 0..30 {
            let lead = f64::midpoint(low, high);
            match mean_at(lead) < total / judged {
                true => low = lead,
                false => high = lead,
            }
        }
        gain_at(f64::midpoint(low, high))
    }
}

/// What an arm's evidence is worth at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Added to the shrunk log-odds.
    shift: f64,
    /// The average of the shrunk and shifted log-odds.
    mean: f64,
    /// The averages of what the prompts promised of the arm and of the better one, in log-odds; `None` where nothing was seen.
    promised: Option<(f64, f64)>,
    /// What labels have made of the gain.
    factors: [f64; BINS],
    seen: [f32; BINS],
}

impl Curve {
    fn of(shift: f64, mean: f64) -> Curve {
        Curve {
            shift,
            mean,
            promised: None,
            factors: [1.0; BINS],
            seen: [0.0; BINS],
        }
    }

    /// What is added to the shrunk log-odds.
    #[must_use]
    pub fn shift(&self) -> f64 {
        self.shift
    }

    /// How an answer with this evidence stands; `None` where the evidence is no probability.
    #[must_use]
    pub fn judged(&self, logprob: f64, promise: Promise) -> Option<AnswerChances> {
        Some(self.standing(log_odds(logprob)?, promise))
    }

    fn standing(&self, odds: f64, promise: Promise) -> AnswerChances {
        let (weak, strong) = (odds_of(promise.weak), odds_of(promise.strong));
        match self.promised {
            Some((own, better)) => {
                let lead = f64::midpoint((better - own).max(0.0), LEAD_USUAL);
                self.at(odds, lead + GRADE * (strong - better))
            }
            // Before anything was seen, typical evidence is worth what the prompt's grade promises.
            None => {
                let lead = f64::midpoint((strong - weak).max(0.0), LEAD_USUAL);
                Curve::of(weak - SHRINK * TYPICAL, weak).at(odds, lead)
            }
        }
    }

    /// At log-odds, with a better arm that leads by so much.
    fn at(&self, odds: f64, lead: f64) -> AnswerChances {
        let own = SHRINK * odds + self.shift;
        let better = chance_of(self.mean + lead + SHARED * (own - self.mean));
        let gain = (better - chance_of(own)).max(0.0) * self.factor(odds);
        AnswerChances {
            chance: (better - gain).clamp(0.0, 1.0),
            better,
        }
    }

    /// The correction at these log-odds, between the middles of two steps.
    fn factor(&self, odds: f64) -> f64 {
        let place = ((odds - LEAST) / STEP - 0.5).clamp(0.0, as_f64(BINS - 1));
        let low = bin(LEAST + place.floor() * STEP + STEP / 2.0);
        let high = (low + 1).min(BINS - 1);
        let part = place - place.floor();
        self.factors[low] * (1.0 - part) + self.factors[high] * part
    }

    /// The share of answers to such a prompt that are expected to be gone on from, by a rule on how they stand.
    #[must_use]
    pub fn share(&self, promise: Promise, goes_on: impl Fn(AnswerChances) -> bool) -> f64 {
        let assumed = PRIOR / as_f64(BINS);
        let mut on = 0.0;
        let mut total = 0.0;
        for (at, seen) in self.seen.iter().enumerate() {
            let n = f64::from(*seen) + assumed;
            total += n;
            if goes_on(self.standing(middle(at), promise)) {
                on += n;
            }
        }
        on / total
    }
}

/// Log-odds that are typical of an answer, before anything was seen of an arm.
const TYPICAL: f64 = 3.0;

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISE: Promise = Promise {
        weak: 0.7,
        strong: 0.9,
    };

    /// An arm that is as sure of its answers as they say.
    fn arm(says: &[f64]) -> Calibration {
        let mut arm = Calibration::default();
        for _ in 0..40 {
            for p in says {
                arm.saw(p.ln(), PROMISE);
            }
        }
        arm
    }

    fn chance(arm: &Calibration, p: f64) -> f64 {
        arm.curve()
            .judged(p.ln(), PROMISE)
            .expect("it is one")
            .chance
    }

    #[test]
    fn surer_evidence_is_never_worth_less_and_the_average_is_a_little_below_what_the_arm_says() {
        let says = [0.3, 0.5, 0.7, 0.9, 0.99, 0.999];
        let arm = arm(&says);
        let rising: Vec<f64> = says.iter().map(|p| chance(&arm, *p)).collect();
        assert!(rising.is_sorted(), "{rising:?}");
        let count = as_f64(says.len());
        let (said, worth) = (
            says.iter().sum::<f64>() / count,
            rising.iter().sum::<f64>() / count,
        );
        assert!(
            (worth - said * OVERCONFIDENCE).abs() < 0.03,
            "{worth} of {said}"
        );
    }

    #[test]
    fn before_anything_was_seen_typical_evidence_is_worth_what_the_prompt_promises() {
        let none = Calibration::default();
        let typical = chance_of(TYPICAL);
        assert!((chance(&none, typical) - PROMISE.weak).abs() < 1e-9);
        assert!(chance(&none, 0.2) < PROMISE.weak);
    }

    #[test]
    fn a_few_labels_hardly_move_it_and_many_do() {
        let sure = 0.99;
        let before = chance(&arm(&[0.5, sure]), sure);
        let after = |labels: usize| {
            let mut arm = arm(&[0.5, sure]);
            for _ in 0..labels {
                arm.judge(sure.ln(), PROMISE, 1.0);
            }
            before - chance(&arm, sure)
        };
        assert!(after(2) < 0.1, "two: {}", after(2));
        assert!(after(300) > 0.3, "three hundred: {}", after(300));
    }

    #[test]
    fn what_is_no_probability_is_neither_seen_nor_judged() {
        let mut arm = Calibration::default();
        for odd in [f64::NAN, 0.5, f64::INFINITY] {
            arm.saw(odd, PROMISE);
            arm.judge(odd, PROMISE, 1.0);
        }
        assert_eq!(arm, Calibration::default());
        assert!(arm.curve().judged(f64::NAN, PROMISE).is_none());
        arm.saw(f64::NEG_INFINITY, PROMISE);
        assert!(
            (arm.answers() - 1.0).abs() < 1e-9,
            "what is impossible is merely very unlikely"
        );
    }
}
