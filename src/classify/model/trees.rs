//! All trees of a grader in one table, so that a grade asks only what is not as usual.
//!
//! Nobody walks a tree here. In each tree the leaves are numbered so that those of a split's usual side come first. A prompt begins with
//! every leaf in reach; each split that does not go its usual way takes the leaves of that side out of reach; of what is left, the first
//! leaf is the one to which the walk would have led. Splits are sorted by signal and threshold, so those that do not go their usual way
//! are the ones whose thresholds lie between the signal's usual value and its value now: few, and side by side. (It is how QuickScorer
//! reads forests, Lucchese et al. 2015, with both directions.) The answers are the same bits as [`Forest::predict`].

use super::{Forest, LEAF};
use std::ops::Range;

/// Leaves of a tree, one bit each.
const LEAVES_MAX: usize = 16;
/// Trees of all forests together.
const TREES_MAX: usize = 2_048;

/// The trees of several forests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trees {
    signals: Vec<Asked>,
    /// Every signal's thresholds, rising.
    thresholds: Vec<f32>,
    /// Where the splits of each threshold begin, and after the last where they end.
    begins: Vec<usize>,
    splits: Vec<Split>,
    leaves: Vec<[f32; LEAVES_MAX]>,
    /// What each forest says before its trees, and which they are.
    forests: Vec<(f32, Range<usize>)>,
}

/// What is asked of a signal.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    /// Values above this, up to the next, change nothing.
    above: f32,
    up_to: f32,
    /// Its thresholds.
    thresholds: Range<usize>,
    /// The first threshold that its usual value does not exceed.
    usual: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Split {
    tree: u16,
    /// The leaves that are still in reach where it does not go its usual way.
    left: u16,
}

impl Trees {
    /// Lays the trees out. Any values may be called usual; where they are, it is quicker.
    ///
    /// # Errors
    /// There are too many trees or leaves.
    pub(super) fn of<'f>(
        forests: impl Iterator<Item = &'f Forest>,
        usual: &[f32],
    ) -> Result<Trees, String> {
        let mut trees = Trees::default();
        let mut found = vec![Vec::new(); usual.len()];
        for forest in forests {
            let from = trees.leaves.len();
            trees
                .forests
                .push((forest.start, from..from + forest.roots.len()));
            for root in &forest.roots {
                let tree = u16::try_from(trees.leaves.len())
                    .ok()
                    .filter(|tree| usize::from(*tree) < TREES_MAX)
                    .ok_or_else(|| format!("the grader has more than {TREES_MAX} trees"))?;
                let mut leaves = Vec::new();
                number(forest, *root as usize, usual, &mut leaves, &mut |split| {
                    found[split.signal].push((split.threshold, tree, split.usual_leaves));
                });
                let mut all = [0.0; LEAVES_MAX];
                all.get_mut(..leaves.len())
                    .ok_or_else(|| format!("a tree has more than {LEAVES_MAX} leaves"))?
                    .copy_from_slice(&leaves);
                trees.leaves.push(all);
            }
        }
        for (splits, usual) in found.iter_mut().zip(usual) {
            splits.sort_by(|a, b| a.0.total_cmp(&b.0));
            trees.add_signal(splits, *usual);
        }
        trees.begins.push(trees.splits.len());
        Ok(trees)
    }

    fn add_signal(&mut self, splits: &[(f32, u16, Range<usize>)], usual: f32) {
        let from = self.thresholds.len();
        for of_one in splits.chunk_by(|a, b| a.0 == b.0) {
            self.thresholds.push(of_one[0].0);
            self.begins.push(self.splits.len());
            self.splits
                .extend(of_one.iter().map(|(_, tree, usual_leaves)| Split {
                    tree: *tree,
                    left: !bits(usual_leaves),
                }));
        }
        let own = &self.thresholds[from..];
        let below = own.partition_point(|threshold| *threshold < usual);
        self.signals.push(Asked {
            above: below.checked_sub(1).map_or(f32::NEG_INFINITY, |b| own[b]),
            up_to: own.get(below).copied().unwrap_or(f32::INFINITY),
            thresholds: from..self.thresholds.len(),
            usual: from + below,
        });
    }

    /// What each forest says.
    pub(super) fn predict<const FORESTS: usize>(&self, values: &[f32]) -> [f32; FORESTS] {
        let mut reach = [u16::MAX; TREES_MAX];
        for (asked, value) in self.signals.iter().zip(values) {
            if *value > asked.above && *value <= asked.up_to {
                continue;
            }
            let own = &self.thresholds[asked.thresholds.clone()];
            let now = asked.thresholds.start + own.partition_point(|t| t < value);
            let [from, to] = [now.min(asked.usual), now.max(asked.usual)];
            // Four at a time: there are thousands.
            let (fours, rest) = self.splits[self.begins[from]..self.begins[to]].as_chunks::<4>();
            let mut go = |split: &Split| reach[usize::from(split.tree) % TREES_MAX] &= split.left;
            for four in fours {
                four.iter().for_each(&mut go);
            }
            rest.iter().for_each(go);
        }
        let mut said = [0.0; FORESTS];
        for (said, (start, trees)) in said.iter_mut().zip(&self.forests) {
            *said = *start;
            for (reach, leaves) in reach[trees.clone()].iter().zip(&self.leaves[trees.clone()]) {
                *said += leaves[reach.trailing_zeros() as usize % LEAVES_MAX];
            }
        }
        said
    }
}

/// A split of a tree whose leaves are numbered.
struct Numbered {
    signal: usize,
    threshold: f32,
    /// The leaves of its usual side.
    usual_leaves: Range<usize>,
}

/// Numbers the leaves below a node, the usual side of each split first.
fn number(
    forest: &Forest,
    at: usize,
    usual: &[f32],
    leaves: &mut Vec<f32>,
    tell: &mut impl FnMut(Numbered),
) {
    let node = forest.nodes[at];
    if node.signal == LEAF {
        leaves.push(node.value);
        return;
    }
    let signal = usize::from(node.signal);
    let mut sides = [at + 1, at + usize::from(node.right)];
    if usual[signal] > node.value {
        sides.reverse();
    }
    let from = leaves.len();
    number(forest, sides[0], usual, leaves, tell);
    tell(Numbered {
        signal,
        threshold: node.value,
        usual_leaves: from..leaves.len(),
    });
    number(forest, sides[1], usual, leaves, tell);
}

fn bits(leaves: &Range<usize>) -> u16 {
    leaves
        .clone()
        .filter(|leaf| *leaf < LEAVES_MAX)
        .fold(0, |bits, leaf| bits | 1 << leaf)
}

#[cfg(test)]
mod tests {
    use super::super::embedded;

    #[test]
    fn the_table_says_what_the_trees_say() {
        let grader = embedded();
        let mut chance = crate::learn::chance::Chance::new(5);
        for _ in 0..500 {
            let values: Vec<f32> = (0..grader.typical.len())
                .map(|at| {
                    let thresholds =
                        &grader.trees.thresholds[grader.trees.signals[at].thresholds.clone()];
                    // As usual, a threshold itself, or anything.
                    let draw = usize::try_from(chance.draw() % 1_000).expect("small");
                    match draw % 3 {
                        0 => grader.typical[at],
                        1 => thresholds
                            .get(draw % thresholds.len().max(1))
                            .copied()
                            .unwrap_or(0.0),
                        _ => draw as f32 / 100.0 - 1.0,
                    }
                })
                .collect();
            let quick: [f32; 17] = grader.trees.predict(&values);
            let walked: Vec<u32> = grader
                .forests()
                .map(|f| f.predict(&values).to_bits())
                .collect();
            assert_eq!(quick.map(f32::to_bits).to_vec(), walked);
        }
    }
}
