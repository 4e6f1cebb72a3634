//! How rows are kept apart for a fair test: never the same prompt, task or source on both sides.

use super::chance::Chance;
use std::collections::BTreeMap;

/// The fold of each row, whole groups together, folds of about the same size: the largest group goes to the emptiest fold.
#[must_use]
pub fn whole_groups<K: Ord>(groups: &[K], folds: usize) -> Vec<usize> {
    let mut sizes: BTreeMap<&K, usize> = BTreeMap::new();
    for group in groups {
        *sizes.entry(group).or_default() += 1;
    }
    let mut by_size: Vec<(&K, usize)> = sizes.into_iter().collect();
    by_size.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let mut filled = vec![0; folds.max(1)];
    let mut place: BTreeMap<&K, usize> = BTreeMap::new();
    for (group, size) in by_size {
        let emptiest = (0..filled.len())
            .min_by_key(|f| filled[*f])
            .expect("a fold");
        filled[emptiest] += size;
        place.insert(group, emptiest);
    }
    groups.iter().map(|g| place[g]).collect()
}

/// The fold of each row by chance; equal prompts together.
#[must_use]
pub fn by_chance(prompts: &[u64], folds: usize, seed: u64) -> Vec<usize> {
    let mut different: Vec<u64> = prompts.to_vec();
    different.sort_unstable();
    different.dedup();
    Chance::new(seed).shuffle(&mut different);
    let place: BTreeMap<u64, usize> = different
        .iter()
        .enumerate()
        .map(|(at, p)| (*p, at % folds.max(1)))
        .collect();
    prompts.iter().map(|p| place[p]).collect()
}

/// So many of these places by chance, in rising order.
#[must_use]
pub fn sample(places: &[usize], count: usize, seed: u64) -> Vec<usize> {
    let mut mixed = places.to_vec();
    Chance::new(seed).shuffle(&mut mixed);
    mixed.truncate(count);
    mixed.sort_unstable();
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stay_whole_and_folds_are_even() {
        let groups: Vec<usize> = (0..100).map(|n| n % 7).collect();
        let folds = whole_groups(&groups, 3);
        for (a, fa) in groups.iter().zip(&folds) {
            assert!(groups.iter().zip(&folds).all(|(b, fb)| a != b || fa == fb));
        }
        let sizes: Vec<usize> = (0..3)
            .map(|f| folds.iter().filter(|x| **x == f).count())
            .collect();
        assert!(sizes.iter().all(|s| (28..=43).contains(s)), "{sizes:?}");
    }

    #[test]
    fn equal_prompts_fall_into_one_fold() {
        let prompts: Vec<u64> = (0..60).map(|n| n / 2).collect();
        let folds = by_chance(&prompts, 5, 1);
        assert!(folds.chunks(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(folds, by_chance(&prompts, 5, 1));
    }
}
