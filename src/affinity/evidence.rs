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
/// Keys whose labels are counted, each for each arm; an entry is about 100 bytes. What more keys say is not learned from.
const JUDGES_MAX: usize = 20_000;
/// One key's labels of an arm are learned from up to so many, and beyond that while they are no more than this part of all of the arm's:
/// who always lies, or votes by mistake, moves an arm no further.
const OF_ONE_KEY: u64 = 20;
const OF_ONE_KEY_PART: u64 = 4;
/// One that has given some before has to give none so often in a row.
const SILENT_AFTER: u32 = 3;

/// What is known of all arms.
#[derive(Clone, Debug, Default)]
pub struct Evidences {
    known: Arc<RwLock<EvidenceKnown>>,
}

#[derive(Debug, Default)]
struct EvidenceKnown {
    learned: BTreeMap<(String, Effort, Scale), Learned>,
    silent: BTreeMap<(String, Manner), Silence>,
    /// Models that have told probabilities in this manner.
    spoken: BTreeSet<(String, Manner)>,
    /// Answers that stood and that their callers may judge, by request, with what was learned from that; and the requests, the oldest
    /// first.
    delivered: HashMap<String, (DeliveredAnswer, Option<bool>)>,
    /// How many labels of an arm are one key's.
    judges: HashMap<(i64, String, Effort, Scale), u64>,
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

impl EvidenceKnown {
    /// Counts one more label of a key, if that leaves it a fair part of the arm's. In open mode all labels are the operator's own.
    fn counts_judge(&mut self, answer: &DeliveredAnswer) -> bool {
        let Some(key) = answer.key else {
            return true;
        };
        let arm = &answer.arm;
        let all = self.learned.get(arm).map_or(0, |l| l.calibration.labels());
        let place = (key, arm.0.clone(), arm.1, arm.2);
        if self.judges.len() >= JUDGES_MAX && !self.judges.contains_key(&place) {
            return false;
        }
        let own = self.judges.entry(place).or_default();
        let fair = *own < OF_ONE_KEY || (*own + 1) * OF_ONE_KEY_PART <= all + 1;
        *own += u64::from(fair);
        fair
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
        known.delivered.insert(request.to_owned(), (answer, None));
    }

    /// The caller says whether the answer to a request was good; a later word takes the place of an earlier one. False where there is
    /// none of this key to judge, or its key has labelled too large a part of what is known of the arm.
    pub fn judged_by_caller(&self, request: &str, key: Option<i64>, good: bool) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let own = known.delivered.get(request);
        let Some((answer, before)) = own.filter(|(d, _)| d.key == key).cloned() else {
            return false;
        };
        if before == Some(good) {
            return true;
        }
        if before.is_none() && !known.counts_judge(&answer) {
            return false;
        }
        if let Some((_, said)) = known.delivered.get_mut(request) {
            *said = Some(good);
        }
        drop(known);
        let (model, effort, scale) = &answer.arm;
        let arm = (model.as_str(), *effort, *scale);
        let added = if good { 0.0 } else { answer.better };
        match before {
            None => self.judge(arm, answer.logprob, answer.promise, added),
            Some(_) => {
                let other = if good { answer.better } else { 0.0 };
                self.learn(arm, |learned| {
                    learned.calibration.revise(answer.logprob, added - other);
                    learned.curve = None;
                });
            }
        }
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
    }

    #[test]
    fn a_later_word_takes_the_place_of_an_earlier_one_and_one_key_labels_no_more_than_its_part() {
        let evidences = Evidences::default();
        let answer = |key| DeliveredAnswer {
            key: Some(key),
            arm: ("m".into(), Effort::None, Scale::Whole),
            logprob: -0.1,
            promise: PROMISE,
            better: 0.8,
        };
        let known = || evidences.learned(false).remove(0).calibration;
        evidences.delivered("a", answer(1));
        assert!(evidences.judged_by_caller("a", Some(1), true));
        let good = known();
        assert!(evidences.judged_by_caller("a", Some(1), false));
        assert!(evidences.judged_by_caller("a", Some(1), false));
        assert_eq!(known().labels(), 1);
        assert_ne!(known(), good);
        assert!(evidences.judged_by_caller("a", Some(1), true));
        assert_eq!(known(), good, "as if nothing else had been said");
        let judge = |key, n: u32| {
            let request = format!("{key} {n}");
            evidences.delivered(&request, answer(key));
            evidences.judged_by_caller(&request, Some(key), false)
        };
        let learned = (0..200).filter(|n| judge(2, *n)).count();
        assert_eq!(learned, 20, "one label of 21 is another key's");
        for key in 3..13 {
            assert_eq!((0..20).filter(|n| judge(key, *n)).count(), 20);
        }
        let more = (200..400).filter(|n| judge(2, *n)).count();
        // A quarter of the 221 labels that there are then, and of its own.
        assert!((40..60).contains(&more), "{more}");
    }
}
