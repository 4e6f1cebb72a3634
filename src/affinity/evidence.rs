//! What is known of each arm's evidence: how much the probabilities that it gives are worth, and whether it gives any.
//!
//! Learned from the answers that were looked at; kept in the ledger's database, so that a new start knows what the last one did.

use crate::arm::Effort;
use crate::probe::calibration::{Calibration, Curve, Promise, Scale};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Arms that are learned, each at each scale; an entry is about a kilobyte.
const ENTRIES_MAX: usize = 2_000;
/// A curve is made anew after so many answers, and after every label: that takes some microseconds.
const CURVE_EVERY: u32 = 16;
/// An arm that was asked for probabilities and gave none is not asked again for so long.
const SILENT_FOR: Duration = Duration::from_secs(3_600);
/// Answers that their callers may still judge; an entry is about 300 bytes.
const DELIVERED_MAX: usize = 10_000;
/// One that has given some before has to give none so often in a row.
const SILENT_AFTER: u32 = 3;

/// What is known of all arms.
#[derive(Clone, Debug, Default)]
pub struct Evidences {
    known: Arc<RwLock<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    learned: BTreeMap<(String, Effort, Scale), Learned>,
    silent: BTreeMap<(String, Manner), Silence>,
    /// Models that have told probabilities in this manner.
    spoken: BTreeSet<(String, Manner)>,
    /// Answers that stood and that their callers may judge, by request; and the requests, the oldest first.
    delivered: HashMap<String, DeliveredAnswer>,
    order: VecDeque<String>,
}

/// In which manner a model is asked: some servers tell probabilities in one and not in another, llama.cpp none of a stream with tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manner {
    /// Tools are offered.
    pub tools: bool,
    /// The answer is streamed.
    pub stream: bool,
}

/// An answer of an arm that was asked first, and was delivered.
#[derive(Clone, Debug)]
pub struct DeliveredAnswer {
    /// The row of the key that asked; none in open mode.
    pub key: Option<i64>,
    /// The model, at its effort.
    pub arm: (String, Effort, Scale),
    /// The evidence.
    pub logprob: f64,
    /// What the prompt promised.
    pub promise: Promise,
    /// How likely the better arm's answer would have been good.
    pub better: f64,
}

/// A model that was asked for probabilities and has given none since.
#[derive(Clone, Copy, Debug)]
struct Silence {
    since: Instant,
    /// So often in a row.
    times: u32,
    /// It has given some before.
    told_before: bool,
}

impl Silence {
    fn lasts(&self) -> bool {
        let enough = !self.told_before || self.times >= SILENT_AFTER;
        enough && self.since.elapsed() <= SILENT_FOR
    }
}

#[derive(Debug, Default)]
struct Learned {
    calibration: Calibration,
    curve: Option<Arc<Curve>>,
    /// Answers since the curve was made.
    since: u32,
    /// It has changed since it was kept.
    changed: bool,
}

impl Learned {
    fn curve(&mut self) -> Arc<Curve> {
        self.since = 0;
        let curve = Arc::new(self.calibration.curve());
        self.curve = Some(Arc::clone(&curve));
        curve
    }
}

/// What was learned of one arm at one scale, for `flyball learn status` and for keeping.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LearnedArm {
    /// The model.
    pub model: String,
    /// The effort.
    pub effort: String,
    /// What its evidence is of.
    pub scale: Scale,
    /// What was seen.
    pub calibration: Calibration,
}

impl Evidences {
    /// What an arm's evidence is worth now.
    #[must_use]
    pub fn curve(&self, model: &str, effort: Effort, scale: Scale) -> Arc<Curve> {
        let key = (model.to_owned(), effort, scale);
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            match known.learned.get(&key) {
                None => return Arc::new(Calibration::default().curve()),
                Some(Learned {
                    curve: Some(curve), ..
                }) => return Arc::clone(curve),
                Some(_) => {}
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.learned.entry(key).or_default().curve()
    }

    /// Whether an arm gives probabilities, as far as it was seen lately.
    #[must_use]
    pub fn tells(&self, model: &str, manner: Manner) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.silent.is_empty() {
            return true;
        }
        let silent = known.silent.get(&(model.to_owned(), manner));
        silent.is_none_or(|silence| !silence.lasts())
    }

    /// A model was asked for probabilities, and gave none or refused.
    pub fn told_nothing(&self, model: &str, manner: Manner) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let key = (model.to_owned(), manner);
        if known.silent.len() >= ENTRIES_MAX && !known.silent.contains_key(&key) {
            return;
        }
        let told_before = known.spoken.contains(&key);
        let times = known.silent.get(&key).map_or(0, |silence| silence.times);
        let silence = Silence {
            since: Instant::now(),
            times: times.saturating_add(1),
            told_before,
        };
        known.silent.insert(key, silence);
    }

    /// A model that was asked for probabilities has given some.
    pub fn told(&self, model: &str, manner: Manner) {
        let key = (model.to_owned(), manner);
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if known.spoken.contains(&key) && !known.silent.contains_key(&key) {
                return;
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.silent.remove(&key);
        if known.spoken.len() < ENTRIES_MAX {
            known.spoken.insert(key);
        }
    }

    /// An answer has shown this.
    pub fn saw(
        &self,
        (model, effort, scale): (&str, Effort, Scale),
        logprob: f64,
        promise: Promise,
    ) {
        self.learn((model, effort, scale), |learned| {
            learned.calibration.saw(logprob, promise);
            learned.since += 1;
            if learned.since >= CURVE_EVERY {
                learned.curve = None;
            }
        });
    }

    /// An answer that has shown this was judged: the better arm's was worth so much more.
    pub fn judge(
        &self,
        (model, effort, scale): (&str, Effort, Scale),
        logprob: f64,
        promise: Promise,
        added: f64,
    ) {
        self.learn((model, effort, scale), |learned| {
            learned.calibration.judge(logprob, promise, added);
            learned.curve = None;
        });
    }

    /// An answer was delivered, and its caller may say whether it was good.
    pub fn delivered(&self, request: &str, answer: DeliveredAnswer) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.order.len() >= DELIVERED_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.delivered.remove(&oldest);
        }
        known.order.push_back(request.to_owned());
        known.delivered.insert(request.to_owned(), answer);
    }

    /// The caller says whether the answer to a request was good. False where there is none of this key to judge, or it was judged before.
    #[must_use]
    pub fn judged_by_caller(&self, request: &str, key: Option<i64>, good: bool) -> bool {
        let found = {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            let own = known.delivered.get(request).filter(|d| d.key == key);
            own.cloned()
                .inspect(|_| drop(known.delivered.remove(request)))
        };
        let Some(answer) = found else {
            return false;
        };
        let (model, effort, scale) = &answer.arm;
        let added = if good { 0.0 } else { answer.better };
        let arm = (model.as_str(), *effort, *scale);
        self.judge(arm, answer.logprob, answer.promise, added);
        true
    }

    fn learn(
        &self,
        (model, effort, scale): (&str, Effort, Scale),
        with: impl FnOnce(&mut Learned),
    ) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let key = (model.to_owned(), effort, scale);
        if known.learned.len() >= ENTRIES_MAX && !known.learned.contains_key(&key) {
            return;
        }
        let learned = known.learned.entry(key).or_default();
        with(learned);
        learned.changed = true;
    }

    /// Everything that was learned; `changed`: only what is new since this was asked last.
    #[must_use]
    pub fn learned(&self, changed: bool) -> Vec<LearnedArm> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let told = known
            .learned
            .iter_mut()
            .filter_map(|((model, effort, scale), learned)| {
                let told = !changed || std::mem::take(&mut learned.changed);
                told.then(|| LearnedArm {
                    model: model.clone(),
                    effort: effort.name().to_owned(),
                    scale: *scale,
                    calibration: learned.calibration.clone(),
                })
            });
        told.collect()
    }

    /// Takes over what was kept. What cannot be read is learned anew.
    pub fn restore(&self, kept: impl IntoIterator<Item = LearnedArm>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for arm in kept.into_iter().take(ENTRIES_MAX) {
            let Some(effort) = Effort::parse(&arm.effort) else {
                continue;
            };
            let learned = Learned {
                calibration: arm.calibration,
                ..Learned::default()
            };
            known
                .learned
                .insert((arm.model, effort, arm.scale), learned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISE: Promise = Promise {
        weak: 0.6,
        strong: 0.8,
    };

    #[test]
    fn a_model_that_has_told_before_is_left_alone_only_after_three_silent_answers_in_a_row() {
        let evidences = Evidences::default();
        let plain = Manner {
            tools: false,
            stream: false,
        };
        let tools = Manner {
            tools: true,
            stream: true,
        };
        evidences.told("m", plain);
        evidences.told_nothing("m", tools);
        assert!(!evidences.tells("m", tools), "it never told any so");
        for tells in [true, true, false] {
            evidences.told_nothing("m", plain);
            assert_eq!(evidences.tells("m", plain), tells);
        }
        evidences.told("m", plain);
        evidences.told_nothing("m", plain);
        assert!(evidences.tells("m", plain));
    }

    #[test]
    fn only_so_many_delivered_answers_are_kept_and_the_oldest_goes_first() {
        let evidences = Evidences::default();
        let answer = DeliveredAnswer {
            key: Some(1),
            arm: ("m".into(), Effort::None, Scale::Whole),
            logprob: -0.1,
            promise: PROMISE,
            better: 0.8,
        };
        for n in 0..=DELIVERED_MAX {
            evidences.delivered(&n.to_string(), answer.clone());
        }
        assert!(!evidences.judged_by_caller("0", Some(1), true));
        assert!(!evidences.judged_by_caller("1", Some(2), true));
        assert!(evidences.judged_by_caller("1", Some(1), true));
        assert!(!evidences.judged_by_caller("1", Some(1), true));
    }
}
