//! What an operator's own outcomes add to the grader: a small file that `flyball fit` writes.

use super::Features;
use super::model::{Line, Logistic, Raw, gram_norm};
use super::signals;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The layout of the file.
pub const VERSION: u32 = 2;
/// Signals further out than this many standard deviations count no more.
const SPREADS_MAX: f32 = 4.0;

/// Learned from an operator's own outcomes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// The layout of this file.
    pub version: u32,
    /// The weak model of the outcomes.
    pub weak: String,
    /// The strong one.
    pub strong: String,
    /// How many outcomes it was made from.
    pub labels: usize,
    /// Whether the correction proved itself on outcomes that it had not seen; if not, it is not applied.
    pub used: bool,
    /// Why, in a sentence.
    pub because: String,
    /// How much each head of the grader counts for what is gained.
    pub gain_heads: HeadWeights,
    /// What is added, by signal.
    pub signals: BTreeMap<String, SignalWeight>,
    /// What is added, by bucket of words and word pairs.
    pub words: BTreeMap<u16, f32>,
    /// From the corrected score to points of quality.
    pub gain: Calibration,
    /// From the grader's chance by outcomes alone, as log odds, to the one on these outcomes; prompts keep the order of `failure`.
    pub difficulty: Calibration,
    #[serde(skip)]
    pub(crate) places: Vec<(usize, SignalWeight)>,
}

/// How much each head of the grader counts on an operator's own outcomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadWeights {
    /// Where it begins.
    pub offset: f64,
    /// The grader's own blend.
    pub own: f64,
    /// What is gained, from outcomes alone, beyond the blend.
    pub gain: f64,
    /// What fails, likewise.
    pub failure: f64,
    /// What people call hard, likewise.
    pub everyday: f64,
}

impl HeadWeights {
    /// The score, where the grader's own blend says `own`.
    #[must_use]
    pub fn score(&self, own: f32, raw: &Raw) -> f64 {
        self.offset
            + self.own * f64::from(own)
            + self.gain * f64::from(raw.measured_gain())
            + self.failure * f64::from(raw.failures())
            + self.everyday * f64::from(raw.everyday)
    }
}

/// How much a signal adds for each of its standard deviations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalWeight {
    /// Its mean.
    pub mean: f32,
    /// Its standard deviation.
    pub spread: f32,
    /// What it adds.
    pub weight: f32,
}

/// A line, or the line under a logistic curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// How steep.
    pub slope: f64,
    /// Where it begins.
    pub offset: f64,
}

impl SignalWeight {
    /// The signal in standard deviations, within bounds.
    #[must_use]
    pub fn standard(&self, value: f32) -> f32 {
        ((value - self.mean) / self.spread).clamp(-SPREADS_MAX, SPREADS_MAX)
    }
}

impl Overlay {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Not JSON of this form, of another version, or with a signal that this flyball does not measure.
    pub fn read(text: &str) -> Result<Overlay, String> {
        let overlay: Overlay = serde_json::from_str(text)
            .map_err(|e| format!("this is not a file of \"flyball fit\": {e}"))?;
        if overlay.version != VERSION {
            return Err(format!(
                "it has version {}, this flyball reads version {VERSION}; run \"flyball fit\" again",
                overlay.version
            ));
        }
        overlay.placed()
    }

    /// Finds its signals.
    ///
    /// # Errors
    /// A signal that this flyball does not measure.
    pub fn placed(mut self) -> Result<Overlay, String> {
        let place = |(name, weight): (&String, &SignalWeight)| {
            let at = signals::all().position(|s| s.name == name);
            at.map(|at| (at, *weight)).ok_or_else(|| {
                format!("it asks for a signal \"{name}\", which this flyball does not measure; run \"flyball fit\" again")
            })
        };
        self.places = self.signals.iter().map(place).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The score of gain, in the operator's own terms: orders prompts by need.
    #[must_use]
    pub fn score(&self, raw: &Raw, features: &Features) -> f64 {
        let own = self.gain_heads.score(raw.gain(), raw);
        if self.used {
            own + self.correction(features)
        } else {
            own
        }
    }

    fn correction(&self, features: &Features) -> f64 {
        let values = features.values();
        let by_signal: f32 = self
            .places
            .iter()
            .map(|(at, w)| w.weight * w.standard(values[*at]))
            .sum();
        let ids = features.grams().ids().iter();
        let by_word: f32 = ids.filter_map(|id| self.words.get(id)).sum();
        f64::from(by_signal + by_word * gram_norm(features.grams().ids().len()))
    }

    /// Points of quality to expect of the strong model.
    #[must_use]
    pub fn gain_line(&self) -> Line {
        Line {
            slope: self.gain.slope,
            offset: self.gain.offset,
        }
    }

    /// The chance that the weak model fails, where the grader's own chance is `own`.
    #[must_use]
    pub fn chance(&self, own: f64) -> f64 {
        let curve = Logistic {
            slope: self.difficulty.slope,
            offset: self.difficulty.offset,
        };
        curve.chance(log_odds(own))
    }
}

/// The logarithm of the odds of a chance, within bounds.
#[must_use]
pub fn log_odds(chance: f64) -> f64 {
    let chance = chance.clamp(0.001, 0.999);
    (chance / (1.0 - chance)).ln()
}
