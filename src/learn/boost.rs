//! Boosted regression trees over binned signals: each tree learns what those before it left over.
//!
//! Leaves are split best first, every tree looks at a share of the signals and of the rows. One thread, sums in a fixed order:
//! the same rows and seed give the same trees.

use super::chance::Chance;
use crate::classify::model::{Forest, Node};
use crate::classify::signals;

/// Bins of a signal; one byte holds a bin.
const BINS: usize = 64;

/// How trees are grown.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How many trees.
    pub rounds: usize,
    /// Leaves of a tree.
    pub leaves: usize,
    /// How much of what a tree says is taken.
    pub rate: f64,
    /// Rows of a leaf, at least.
    pub rows_min: u32,
    /// What pulls leaves to zero.
    pub pull: f64,
    /// The share of the signals that a tree looks at.
    pub signal_share: f64,
    /// The share of the rows that a tree learns from.
    pub row_share: f64,
    /// The seed.
    pub seed: u64,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            rounds: 200,
            leaves: 15,
            rate: 0.04,
            rows_min: 30,
            pull: 1.0,
            signal_share: 0.4,
            row_share: 0.7,
            seed: 1,
        }
    }
}

/// The signals of some rows, in bins.
pub struct Binned {
    /// By signal, then by row.
    bins: Vec<Vec<u8>>,
    /// The upper edge of each bin but the last, by signal.
    edges: Vec<Vec<f32>>,
    rows: usize,
}

impl Binned {
    /// Bins with about the same number of rows each.
    #[must_use]
    pub fn of(rows: &[&[f32]]) -> Binned {
        let mut edges = Vec::with_capacity(signals::COUNT);
        let mut bins = Vec::with_capacity(signals::COUNT);
        for signal in 0..signals::COUNT {
            let mut sorted: Vec<f32> = rows.iter().map(|r| r[signal]).collect();
            sorted.sort_by(f32::total_cmp);
            let mut cuts: Vec<f32> = (1..BINS)
                .filter_map(|k| between(&sorted, k * sorted.len() / BINS))
                .collect();
            cuts.dedup();
            bins.push(rows.iter().map(|r| bin_of(&cuts, r[signal])).collect());
            edges.push(cuts);
        }
        Binned {
            bins,
            edges,
            rows: rows.len(),
        }
    }
}

/// The middle between a value and the next greater one.
fn between(sorted: &[f32], at: usize) -> Option<f32> {
    let value = *sorted.get(at)?;
    let next = sorted[at..].iter().find(|v| **v > value)?;
    Some(value + (next - value) / 2.0)
}

fn bin_of(cuts: &[f32], value: f32) -> u8 {
    u8::try_from(cuts.partition_point(|cut| *cut < value)).unwrap_or(u8::MAX)
}

#[derive(Clone, Copy, Default)]
struct Cell {
    sum: f64,
    weight: f64,
    rows: u32,
}

impl Cell {
    fn add(&mut self, other: Cell) {
        self.sum += other.sum;
        self.weight += other.weight;
        self.rows += other.rows;
    }

    fn without(self, other: Cell) -> Cell {
        Cell {
            sum: self.sum - other.sum,
            weight: self.weight - other.weight,
            rows: self.rows - other.rows,
        }
    }

    fn worth(self, pull: f64) -> f64 {
        self.sum * self.sum / (self.weight + pull)
    }
}

#[derive(Clone, Copy)]
struct Split {
    worth: f64,
    signal: usize,
    bin: u8,
}

struct Leaf {
    rows: Vec<u32>,
    cells: Vec<[Cell; BINS]>,
    all: Cell,
    best: Option<Split>,
    node: usize,
}

enum Branch {
    Leaf(f64),
    Split {
        signal: usize,
        bin: u8,
        left: usize,
        right: usize,
    },
}

/// Grows a forest that tells `target` from the signals; `weights` say how much each row counts.
#[must_use]
pub fn grow(table: &Binned, target: &[f64], weights: &[f64], terms: &Terms) -> Forest {
    let total: f64 = weights.iter().sum();
    let start =
        target.iter().zip(weights).map(|(t, w)| t * w).sum::<f64>() / total.max(f64::MIN_POSITIVE);
    let mut left: Vec<f64> = target.iter().map(|t| t - start).collect();
    let mut chance = Chance::new(terms.seed);
    let mut forest = Forest {
        start: narrow(start),
        ..Forest::default()
    };
    for _ in 0..terms.rounds {
        let signals = some(signals::COUNT, terms.signal_share, &mut chance);
        let rows: Vec<u32> = some(table.rows, terms.row_share, &mut chance)
            .into_iter()
            .map(row)
            .collect();
        let tree = tree(table, &left, weights, rows, &signals, terms);
        if tree.len() == 1 {
            continue;
        }
        for (at, value) in left.iter_mut().enumerate() {
            *value -= terms.rate * said(table, &tree, at);
        }
        forest.roots.push(row(forest.nodes.len()));
        lay(table, &tree, 0, terms.rate, &mut forest.nodes);
    }
    forest
}

fn some(all: usize, share: f64, chance: &mut Chance) -> Vec<usize> {
    let taken: Vec<usize> = (0..all).filter(|_| chance.unit() < share).collect();
    if taken.is_empty() {
        (0..all).collect()
    } else {
        taken
    }
}

fn row(at: usize) -> u32 {
    u32::try_from(at).expect("fewer than four thousand million rows")
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "weights are kept with seven digits"
)]
fn narrow(number: f64) -> f32 {
    number as f32
}

fn tree(
    table: &Binned,
    left: &[f64],
    weights: &[f64],
    rows: Vec<u32>,
    signals: &[usize],
    terms: &Terms,
) -> Vec<Branch> {
    let mut branches = vec![Branch::Leaf(0.0)];
    let mut leaves = vec![leaf(table, left, weights, rows, signals, terms, 0)];
    while leaves.len() < terms.leaves {
        let best = (0..leaves.len())
            .filter_map(|at| leaves[at].best.map(|split| (at, split)))
            .max_by(|a, b| a.1.worth.total_cmp(&b.1.worth).then(b.0.cmp(&a.0)));
        let Some((at, split)) = best else { break };
        let parent = leaves.swap_remove(at);
        let bins = &table.bins[split.signal];
        let (low, high): (Vec<u32>, Vec<u32>) = parent
            .rows
            .iter()
            .partition(|r| bins[**r as usize] <= split.bin);
        let (first, second) = (branches.len(), branches.len() + 1);
        branches[parent.node] = Branch::Split {
            signal: split.signal,
            bin: split.bin,
            left: first,
            right: second,
        };
        branches.push(Branch::Leaf(0.0));
        branches.push(Branch::Leaf(0.0));
        // Only the smaller half is counted; the other is what remains.
        let low_first = low.len() <= high.len();
        let (small, large) = if low_first { (low, high) } else { (high, low) };
        let (small_node, large_node) = if low_first {
            (first, second)
        } else {
            (second, first)
        };
        let small = leaf(table, left, weights, small, signals, terms, small_node);
        let cells = parent
            .cells
            .iter()
            .zip(&small.cells)
            .map(|(p, s)| std::array::from_fn(|b| p[b].without(s[b])))
            .collect();
        let large = scored(
            cells,
            large,
            parent.all.without(small.all),
            signals,
            terms,
            large_node,
        );
        leaves.push(small);
        leaves.push(large);
    }
    for leaf in leaves {
        branches[leaf.node] = Branch::Leaf(leaf.all.sum / (leaf.all.weight + terms.pull));
    }
    branches
}

fn leaf(
    table: &Binned,
    left: &[f64],
    weights: &[f64],
    rows: Vec<u32>,
    signals: &[usize],
    terms: &Terms,
    node: usize,
) -> Leaf {
    let mut all = Cell::default();
    for r in &rows {
        let at = *r as usize;
        all.add(Cell {
            sum: left[at] * weights[at],
            weight: weights[at],
            rows: 1,
        });
    }
    let mut cells = vec![[Cell::default(); BINS]; signals.len()];
    for (cells, signal) in cells.iter_mut().zip(signals) {
        let bins = &table.bins[*signal];
        for r in &rows {
            let at = *r as usize;
            cells[usize::from(bins[at])].add(Cell {
                sum: left[at] * weights[at],
                weight: weights[at],
                rows: 1,
            });
        }
    }
    scored(cells, rows, all, signals, terms, node)
}

fn scored(
    cells: Vec<[Cell; BINS]>,
    rows: Vec<u32>,
    all: Cell,
    signals: &[usize],
    terms: &Terms,
    node: usize,
) -> Leaf {
    let mut best: Option<Split> = None;
    for (cells, signal) in cells.iter().zip(signals) {
        let mut low = Cell::default();
        for (bin, cell) in cells.iter().enumerate().take(BINS - 1) {
            low.add(*cell);
            let high = all.without(low);
            if low.rows < terms.rows_min || cell.rows == 0 {
                continue;
            }
            if high.rows < terms.rows_min {
                break;
            }
            let worth = low.worth(terms.pull) + high.worth(terms.pull) - all.worth(terms.pull);
            if worth > 1e-9 && best.is_none_or(|b| worth > b.worth) {
                best = Some(Split {
                    worth,
                    signal: *signal,
                    bin: u8::try_from(bin).unwrap_or(u8::MAX),
                });
            }
        }
    }
    Leaf {
        rows,
        cells,
        all,
        best,
        node,
    }
}

fn said(table: &Binned, tree: &[Branch], row: usize) -> f64 {
    let mut at = 0;
    loop {
        match &tree[at] {
            Branch::Leaf(value) => return *value,
            Branch::Split {
                signal,
                bin,
                left,
                right,
            } => {
                at = if table.bins[*signal][row] <= *bin {
                    *left
                } else {
                    *right
                };
            }
        }
    }
}

/// Writes a tree's nodes, left branches first.
fn lay(table: &Binned, tree: &[Branch], at: usize, rate: f64, into: &mut Vec<Node>) {
    match &tree[at] {
        Branch::Leaf(value) => into.push(Node::leaf(narrow(value * rate))),
        Branch::Split {
            signal,
            bin,
            left,
            right,
        } => {
            let place = into.len();
            into.push(Node::leaf(0.0));
            lay(table, tree, *left, rate, into);
            let onwards = u16::try_from(into.len() - place).expect("a tree has a few dozen nodes");
            let signal_index = u16::try_from(*signal).expect("a few hundred signals");
            into[place] = Node::split(
                signal_index,
                table.edges[*signal][usize::from(*bin)],
                onwards,
            );
            lay(table, tree, *right, rate, into);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize) -> Vec<Vec<f32>> {
        let mut chance = Chance::new(3);
        (0..n)
            .map(|_| (0..signals::COUNT).map(|_| narrow(chance.unit())).collect())
            .collect()
    }

    #[test]
    fn a_forest_learns_what_two_signals_say_together_and_nothing_else() {
        let rows = rows(2_000);
        let truth = |r: &[f32]| f64::from(r[3] > 0.4) * 2.0 + f64::from(r[7]);
        let slices: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let target: Vec<f64> = slices.iter().map(|r| truth(r)).collect();
        let terms = Terms {
            signal_share: 1.0,
            rate: 0.1,
            ..Terms::default()
        };
        let forest = grow(
            &Binned::of(&slices),
            &target,
            &vec![1.0; rows.len()],
            &terms,
        );
        let missed = slices
            .iter()
            .map(|r| (f64::from(forest.predict(r)) - truth(r)).powi(2))
            .sum::<f64>()
            / 2_000.0;
        assert!(missed < 0.01, "{missed}");
        assert_eq!(
            forest,
            grow(
                &Binned::of(&slices),
                &target,
                &vec![1.0; rows.len()],
                &terms
            ),
            "the same seed, the same trees"
        );
    }

    #[test]
    fn a_target_without_pattern_is_told_by_its_mean() {
        let rows = rows(50);
        let slices: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let forest = grow(
            &Binned::of(&slices),
            &vec![0.25; 50],
            &vec![1.0; 50],
            &Terms::default(),
        );
        assert_eq!((forest.roots.len(), forest.predict(slices[0])), (0, 0.25));
    }
}
