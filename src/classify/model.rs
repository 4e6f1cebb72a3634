//! The grader: learned weights, and what they say of what was measured. Arithmetic only; training is in `learn`.
//!
//! The weights come as one file with a version ([`Grader::read`], [`Grader::bytes`]); signals are found by name, so that
//! new ones may be added without a new training.

mod file;
mod trees;

use super::scan::{GRAM_BUCKETS, Grams};
use super::{Features, Task};
use std::sync::OnceLock;
pub use trees::Trees;

/// The signal of a node that is a leaf.
const LEAF: u16 = u16::MAX;
/// Fewer words than these do not make a word's weight count for more.
const GRAMS_LEAST: usize = 4;
static EMBEDDED: &[u8] = include_bytes!("../data/grader.bin");

/// The grader that is built in.
#[must_use]
pub fn embedded() -> &'static Grader {
    static GRADER: OnceLock<Grader> = OnceLock::new();
    GRADER.get_or_init(|| Grader::read(EMBEDDED).expect("a test reads the embedded grader"))
}

/// Learned weights. Scores are in standard deviations within a source, so that sources of different models add up.
#[derive(Clone, Debug, PartialEq)]
pub struct Grader {
    /// What it was made from and how, as JSON.
    pub card: String,
    /// What orders prompts by difficulty and by gain.
    pub scores: Scores,
    /// Characters of the visible answer, as a logarithm.
    pub answer: Forest,
    /// Characters of written-out reasoning, as a logarithm.
    pub reasoning: Forest,
    /// How much speaks for each task, in the order of [`Task::ALL`].
    pub tasks: Vec<Forest>,
    /// The same, by words.
    pub task_words: TaskWords,
    /// What difficulty is made of, by task.
    pub blend: Blend,
    /// From the score of difficulty to a chance.
    pub difficulty: Curve,
    /// From the score of failures alone to a chance.
    pub failure: Curve,
    /// From the score of gain to points of quality.
    pub gain: Line,
    /// All trees in one table: what [`Grader::lay_out`] makes of them.
    pub trees: Trees,
    /// The middle value of each signal in training.
    pub typical: Vec<f32>,
    /// Between which values each signal lies for 98 of 100 prompts that it was trained on.
    pub usual: Vec<(f32, f32)>,
    /// Mean and standard deviation of each signal in training.
    pub moments: Vec<(f32, f32)>,
    /// How seldom each bucket of words was met in training, in sixteenths.
    pub rarity: Vec<u8>,
}

/// Sixteenths: what a rarity of 1 is kept as.
pub const RARITY_ONE: f64 = 16.0;

/// The heads that order prompts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// What a strong model gains over a weak one, learned from one pair of models a source.
    pub gain_pair: Forest,
    /// The same, learned from all strong and all weak models of a source: less sharp, and steadier on new traffic.
    pub gain_group: Forest,
    /// The same, by words.
    pub gain_words: WordWeights,
    /// Whether a weak model fails.
    pub fail: Forest,
    /// The same, by words.
    pub fail_words: WordWeights,
    /// Whether people would call it hard: what everyday asks are like, which no benchmark holds.
    pub everyday: Everyday,
}

/// What people call hard, learned from asks that somebody has judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Everyday {
    /// By signals.
    pub trees: Forest,
    /// By words.
    pub words: WordWeights,
    /// To standard deviations among the prompts of real outcomes.
    pub standard: Line,
}

impl Everyday {
    /// The score.
    #[must_use]
    pub fn score(&self, features: &Features) -> f32 {
        self.standardised(
            self.trees.predict(features.values()) + self.words.predict(&features.grams().told()),
        )
    }

    #[allow(clippy::cast_possible_truncation, reason = "scores have seven digits")]
    fn standardised(&self, sum: f32) -> f32 {
        self.standard.at(f64::from(sum)) as f32
    }
}

impl Scores {
    /// What they say.
    #[must_use]
    pub fn raw(&self, features: &Features) -> Raw {
        let values = features.values();
        Raw {
            gain_pair: self.gain_pair.predict(values),
            gain_group: self.gain_group.predict(values),
            gain_words: self.gain_words.predict(&[features.grams().ids()]),
            fail: self.fail.predict(values),
            fail_words: self.fail_words.predict(&[features.grams().ids()]),
            everyday: self.everyday.score(features),
        }
    }
}

/// Scores before they are calibrated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Raw {
    /// By [`Scores::gain_pair`].
    pub gain_pair: f32,
    /// By [`Scores::gain_group`].
    pub gain_group: f32,
    /// By [`Scores::gain_words`].
    pub gain_words: f32,
    /// By [`Scores::fail`].
    pub fail: f32,
    /// By [`Scores::fail_words`].
    pub fail_words: f32,
    /// By [`Scores::everyday`].
    pub everyday: f32,
}

impl Raw {
    /// How much more a strong model is worth: orders prompts by need.
    #[must_use]
    pub fn gain(&self) -> f32 {
        self.measured_gain() + 0.2 * self.everyday
    }

    /// The same, from outcomes alone.
    #[must_use]
    pub fn measured_gain(&self) -> f32 {
        self.gain_pair + self.gain_words + 0.3 * self.gain_group
    }

    /// How likely a weak model fails, from outcomes alone. What thinking would mend counts too: on unseen tasks that tells failures
    /// as well as failures alone do, and it tells much better which of them a stronger model would not make (docs/grader.md).
    #[must_use]
    pub fn failure(&self) -> f32 {
        self.failures() + 3.0 * self.measured_gain()
    }

    /// The heads that learned failures.
    #[must_use]
    pub fn failures(&self) -> f32 {
        self.fail + self.fail_words
    }
}

/// What outcomes teach of failures and what people call hard, weighed by task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blend {
    /// What outcomes and what people count, in the order of [`Task::ALL`].
    pub weights: [[f32; 2]; TASKS],
}

impl Default for Blend {
    /// What people say counts four times: outcomes tell little of most tasks.
    fn default() -> Blend {
        Blend {
            weights: [[1.0, 4.0]; TASKS],
        }
    }
}

impl Blend {
    /// The score of difficulty: how likely a weak model fails at such a task.
    #[must_use]
    pub fn score(&self, raw: &Raw, task: Task) -> f32 {
        let at = Task::ALL.iter().position(|t| *t == task);
        let [outcomes, people] = self.weights[at.unwrap_or_default()];
        outcomes * raw.failure() + people * raw.everyday
    }
}

/// Boosted trees for one number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forest {
    /// What is said before any tree.
    pub start: f32,
    /// All trees' nodes, each tree's in the order in which they are met going left first.
    pub nodes: Vec<Node>,
    /// Where each tree begins.
    pub roots: Vec<u32>,
}

/// A question or an answer of a tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node {
    /// Which signal is asked for.
    signal: u16,
    /// How far on the right branch is; the left one follows.
    right: u16,
    /// Up to which value to go left; a leaf's value.
    value: f32,
}

impl Node {
    /// Left up to and with this value of a signal.
    #[must_use]
    pub fn split(signal: u16, value: f32, right: u16) -> Node {
        Node {
            signal,
            right,
            value,
        }
    }

    /// An answer.
    #[must_use]
    pub fn leaf(value: f32) -> Node {
        Node {
            signal: LEAF,
            right: 0,
            value,
        }
    }
}

impl Forest {
    /// The sum of what its trees say.
    #[must_use]
    pub fn predict(&self, values: &[f32]) -> f32 {
        self.roots.iter().fold(self.start, |sum, root| {
            sum + self.walk(*root as usize, values)
        })
    }

    fn walk(&self, mut at: usize, values: &[f32]) -> f32 {
        loop {
            let node = self.nodes[at];
            if node.signal == LEAF {
                return node.value;
            }
            // Checked when the file was read: signals and branches are inside.
            at += if values[usize::from(node.signal)] <= node.value {
                1
            } else {
                usize::from(node.right)
            };
        }
    }

    /// Every branch and every signal lies inside, and every walk ends: branches only lead onwards.
    fn sound(&self, signals: usize) -> bool {
        let inside = |(at, node): (usize, &Node)| {
            node.signal == LEAF
                || usize::from(node.signal) < signals
                    && node.right > 1
                    && at + usize::from(node.right) < self.nodes.len()
        };
        self.roots.iter().all(|r| (*r as usize) < self.nodes.len())
            && self.nodes.last().is_none_or(|n| n.signal == LEAF)
            && self.nodes.iter().enumerate().all(inside)
    }
}

/// A weight for each bucket of words and word pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct WordWeights {
    /// What a weight of 1 is worth.
    pub scale: f32,
    /// The weights, by bucket.
    pub weights: Vec<i8>,
}

impl Default for WordWeights {
    fn default() -> WordWeights {
        WordWeights {
            scale: 0.0,
            weights: vec![0; GRAM_BUCKETS as usize],
        }
    }
}

impl WordWeights {
    /// The weighted sum; long texts do not weigh more than short ones.
    #[must_use]
    pub fn predict(&self, grams: &[&[u16]]) -> f32 {
        let sum: i32 = grams
            .iter()
            .copied()
            .flatten()
            .map(|id| i32::from(self.weights[usize::from(*id)]))
            .sum();
        self.worth(sum, grams.iter().map(|g| g.len()).sum())
    }

    fn worth(&self, sum: i32, grams: usize) -> f32 {
        sum as f32 * self.scale * gram_norm(grams)
    }
}

/// By what a sum over words and word pairs is divided, as a factor.
#[must_use]
pub fn gram_norm(grams: usize) -> f32 {
    1.0 / (grams.max(GRAMS_LEAST) as f32).sqrt()
}

/// Weights of words and word pairs for every task at once.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskWords {
    /// What a weight of 1 is worth, by task.
    pub scales: [f32; TASKS],
    /// The weights, by bucket, then by task.
    pub weights: Vec<WordRow>,
}

const TASKS: usize = Task::ALL.len();
/// A bucket's weight for each task, and after them what [`Grader::lay_out`] puts beside.
pub type WordRow = [i8; 16];
/// The place of what people call hard in a row.
const EVERYDAY: usize = TASKS;
/// The place of what is gained.
const GAIN: usize = TASKS + 1;
/// The place of what fails.
const FAIL: usize = TASKS + 2;
/// So many rows add up within 16 bits.
const ROWS_MAX: usize = 256;

impl TaskWords {
    /// Lays one table a task side by side, so that a word is one look-up for all.
    #[must_use]
    pub fn of(tables: &[WordWeights]) -> TaskWords {
        let mut all = TaskWords {
            scales: [0.0; TASKS],
            weights: vec![WordRow::default(); GRAM_BUCKETS as usize],
        };
        for (task, table) in tables.iter().enumerate().take(TASKS) {
            all.scales[task] = table.scale;
            all.put(task, table);
        }
        all
    }

    fn put(&mut self, place: usize, table: &WordWeights) {
        for (row, weight) in self.weights.iter_mut().zip(&table.weights) {
            row[place] = *weight;
        }
    }

    /// The sums of these buckets' rows.
    fn sums(&self, ids: &[u16]) -> [i32; size_of::<WordRow>()] {
        let mut sums = [0; size_of::<WordRow>()];
        for ids in ids.chunks(ROWS_MAX) {
            let mut part = [0_i16; size_of::<WordRow>()];
            for id in ids {
                for (sum, weight) in part.iter_mut().zip(&self.weights[usize::from(*id)]) {
                    *sum += i16::from(*weight);
                }
            }
            for (sum, part) in sums.iter_mut().zip(part) {
                *sum += i32::from(part);
            }
        }
        sums
    }

    fn worth(&self, sums: &[i32], grams: usize) -> [f32; TASKS] {
        let norm = gram_norm(grams);
        std::array::from_fn(|task| sums[task] as f32 * self.scales[task] * norm)
    }

    fn predict(&self, [said, hints]: [&[u16]; 2]) -> [f32; TASKS] {
        let sums = added(self.sums(said), self.sums(hints));
        self.worth(&sums, said.len() + hints.len())
    }
}

fn added<const N: usize>(mut sums: [i32; N], more: [i32; N]) -> [i32; N] {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
    sums
}

/// Below this share of what speaks for all tasks the best one is a guess, and a guess is "unknown".
const KNOWN_MIN: f32 = 0.25;

/// How much speaks for each task, in the order of [`Task::ALL`].
#[must_use]
pub fn task_scores(
    forests: &[Forest],
    words: &TaskWords,
    features: &Features,
) -> [f32; Task::ALL.len()] {
    let mut scores = words.predict(features.grams().told());
    for (score, forest) in scores.iter_mut().zip(forests) {
        *score += forest.predict(features.values());
    }
    scores
}

/// What is to be done, and how clearly that is said.
#[must_use]
pub fn task_of(scores: &[f32; Task::ALL.len()]) -> (Task, f64) {
    let all: f32 = scores.iter().map(|s| s.max(0.0)).sum();
    let best = scores
        .iter()
        .zip(Task::ALL)
        .max_by(|a, b| a.0.total_cmp(b.0));
    let (score, task) = best.expect("there are tasks");
    let share = score.max(0.0) / all.max(f32::MIN_POSITIVE);
    let known = share >= KNOWN_MIN;
    (if known { task } else { Task::Unknown }, f64::from(share))
}

/// A chance from a score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Logistic {
    /// How steep.
    pub slope: f64,
    /// Where it begins.
    pub offset: f64,
}

impl Logistic {
    /// The chance.
    #[must_use]
    pub fn chance(&self, score: f64) -> f64 {
        1.0 / (1.0 + (-(self.slope * score + self.offset)).exp())
    }
}

/// A chance from a score by a rising line through knots: what happened, as it happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Scores and chances, both rising.
    pub knots: Vec<(f64, f64)>,
}

impl Curve {
    /// The chance; beyond the ends it rises and falls a little still, so that prompts of a kind that is met for the first time
    /// keep their order.
    #[must_use]
    pub fn chance(&self, score: f64) -> f64 {
        let after = self.knots.partition_point(|(s, _)| *s <= score);
        match (
            after.checked_sub(1).map(|at| self.knots[at]),
            self.knots.get(after).copied(),
        ) {
            (None, None) => 0.5,
            (None, Some((s1, c1))) => c1 * (1.0 - beyond(s1 - score)),
            (Some((s0, c0)), None) => c0 + (1.0 - c0) * beyond(score - s0),
            (Some((s0, c0)), Some((s1, c1))) => c0 + (c1 - c0) * (score - s0) / (s1 - s0),
        }
    }
}

/// A tenth of the way that is left, at most.
fn beyond(distance: f64) -> f64 {
    0.1 * distance / (1.0 + distance)
}

/// A number from a score.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Line {
    /// How steep.
    pub slope: f64,
    /// Where it begins.
    pub offset: f64,
}

impl Line {
    /// The number.
    #[must_use]
    pub fn at(&self, score: f64) -> f64 {
        self.slope * score + self.offset
    }
}

/// What all heads of a grader say of a prompt.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadScores {
    /// The scores that order prompts.
    pub(super) raw: Raw,
    /// How much speaks for each task.
    pub(super) tasks: [f32; TASKS],
    /// Characters of the visible answer, as a logarithm.
    pub(super) answer: f32,
    /// Characters of written-out reasoning, as a logarithm.
    pub(super) reasoning: f32,
}

/// Forests of a grader: those of scores, those of lengths, and one a task.
const FORESTS: usize = 6 + TASKS;

impl Grader {
    /// Puts all trees into one table, and the words of all heads into one row a bucket.
    ///
    /// # Errors
    /// There are too many trees.
    pub fn lay_out(mut self) -> Result<Grader, String> {
        self.trees = Trees::of(self.forests(), &self.typical)?;
        let scores = &self.scores;
        for (place, table) in [
            (EVERYDAY, &scores.everyday.words),
            (GAIN, &scores.gain_words),
            (FAIL, &scores.fail_words),
        ] {
            self.task_words.put(place, table);
        }
        Ok(self)
    }

    /// What all heads say: the same as each by itself, at once.
    pub(super) fn told(&self, values: &[f32], grams: &Grams) -> HeadScores {
        let [
            gain_pair,
            gain_group,
            fail,
            everyday,
            answer,
            reasoning,
            trees @ ..,
        ]: [f32; FORESTS] = self.trees.predict(values);
        let ids = grams.ids();
        let [said, hints] = grams.told();
        let words = self.task_words.sums(said);
        let all = added(words, self.task_words.sums(&ids[said.len()..]));
        let told = added(words, self.task_words.sums(hints));
        let told_grams = said.len() + hints.len();
        let scores = &self.scores;
        let mut tasks = self.task_words.worth(&told, told_grams);
        for (score, trees) in tasks.iter_mut().zip(trees) {
            *score += trees;
        }
        let everyday = everyday + scores.everyday.words.worth(told[EVERYDAY], told_grams);
        HeadScores {
            raw: Raw {
                gain_pair,
                gain_group,
                gain_words: scores.gain_words.worth(all[GAIN], ids.len()),
                fail,
                fail_words: scores.fail_words.worth(all[FAIL], ids.len()),
                everyday: scores.everyday.standardised(everyday),
            },
            tasks,
            answer,
            reasoning,
        }
    }

    /// What is to be done, and how clearly that is said.
    #[must_use]
    pub fn task(&self, features: &Features) -> (Task, f64) {
        task_of(&task_scores(&self.tasks, &self.task_words, features))
    }

    /// The part of the signals that lie where they seldom lay in training: 0 is familiar, 0.2 is strange.
    #[must_use]
    pub fn strangeness(&self, values: &[f32]) -> f64 {
        let outside = values
            .iter()
            .zip(&self.usual)
            .filter(|(v, (low, high))| *v < low || *v > high)
            .count();
        outside as f64 / self.usual.len().max(1) as f64
    }
}
