//! Outcomes, put together by what they are about: who has answered which prompt how well, and what of that counts.
//!
//! The same prompt counts once, however often it was asked: asking a hundred questions twice is no evidence of two hundred. Prompts that
//! are judged more often than others of their kind (all answers that speak against themselves, one of a hundred of those that stand) count
//! so much less. Votes of one key are no more than a part of the evidence for an arm.

use super::bound::Pair;
use crate::ledger::judged::JudgedBy;
use std::collections::BTreeMap;

/// Votes of one key for one arm that always count.
const VOTES_OF_ONE: usize = 10;
/// Beyond those, one key's are at most this part of all.
const VOTES_PART: usize = 4;

/// One answer that was judged.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What it is about: outcomes of one group are taken together.
    pub group: String,
    /// The prompt: what two arms have said to the same one can be compared.
    pub prompt: String,
    /// The arm, in the words of the outcomes.
    pub arm: String,
    /// 0 to 1.
    pub score: f64,
    /// What it cost, in dollars, where that is known.
    pub cost_usd: Option<f64>,
    /// Who says so.
    pub by: JudgedBy,
    /// The share of such prompts that is judged; 0 where nobody knows.
    pub seen: f64,
    /// The key that asked.
    pub key: Option<i64>,
}

/// The outcomes of one group.
#[derive(Clone, Debug, Default)]
pub struct Group {
    prompts: BTreeMap<String, BTreeMap<String, Scores>>,
    costs: BTreeMap<String, (f64, f64)>,
}

/// What was said of an arm's answers to one prompt.
#[derive(Clone, Copy, Debug, Default)]
struct Scores {
    sum: f64,
    count: f64,
    weight: f64,
}

impl Scores {
    fn mean(&self) -> f64 {
        self.sum / self.count
    }
}

/// Puts together what these judges say.
#[must_use]
pub fn gather(all: &[Judged], judges: &[JudgedBy]) -> BTreeMap<String, Group> {
    let heard: Vec<&Judged> = all.iter().filter(|j| judges.contains(&j.by)).collect();
    let sampled = |j: &&&Judged| matches!(j.by, JudgedBy::Explored | JudgedBy::Escalated);
    let shares = heard.iter().filter(sampled).map(|j| j.seen);
    let least = shares.filter(|s| *s > 0.0).fold(1.0, f64::min);
    let counted = fair(&heard);
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for (judged, _) in heard.iter().zip(counted).filter(|(_, counts)| *counts) {
        let group = groups.entry(judged.group.clone()).or_default();
        let answers = group.prompts.entry(judged.prompt.clone()).or_default();
        let scores = answers.entry(judged.arm.clone()).or_default();
        scores.sum += judged.score;
        scores.count += 1.0;
        scores.weight = match sampled(&judged) && judged.seen > 0.0 {
            true => (least / judged.seen).min(1.0),
            false => 1.0,
        };
        if let Some(cost) = judged.cost_usd {
            let sum = group.costs.entry(judged.arm.clone()).or_default();
            sum.0 += cost;
            sum.1 += 1.0;
        }
    }
    groups
}

/// Which of them count: of one key's votes for one arm of a group the latest, and no more than a part of what there is. In open mode all
/// votes are the operator's own.
fn fair(heard: &[&Judged]) -> Vec<bool> {
    let of = |j: &Judged| (j.group.clone(), j.arm.clone());
    let mut all: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut own: BTreeMap<((String, String), i64), usize> = BTreeMap::new();
    let vote = |j: &Judged| {
        let votes = [JudgedBy::Feedback, JudgedBy::Implicit];
        j.key.filter(|_| votes.contains(&j.by))
    };
    for judged in heard {
        *all.entry(of(judged)).or_default() += 1;
        if let Some(key) = vote(judged) {
            *own.entry((of(judged), key)).or_default() += 1;
        }
    }
    let mut left: BTreeMap<((String, String), i64), usize> = BTreeMap::new();
    for (place, count) in &own {
        // Of all that count afterwards it is the part: with three others one more may be this key's.
        let others = all.get(&place.0).copied().unwrap_or(0) - count;
        left.insert(place.clone(), VOTES_OF_ONE.max(others / (VOTES_PART - 1)));
    }
    let mut counts: Vec<bool> = heard
        .iter()
        .rev()
        .map(|judged| {
            let Some(key) = vote(judged) else { return true };
            match left.get_mut(&(of(judged), key)) {
                Some(0) | None => false,
                Some(n) => {
                    *n -= 1;
                    true
                }
            }
        })
        .collect();
    counts.reverse();
    counts
}

impl Group {
    /// How many different prompts there are.
    #[must_use]
    pub fn prompts(&self) -> usize {
        self.prompts.len()
    }

    /// The arms that have answered some, in the order of their names.
    #[must_use]
    pub fn arms(&self) -> Vec<String> {
        let answered = self.prompts.values().flat_map(BTreeMap::keys);
        let mut arms: Vec<String> = answered.cloned().collect();
        arms.sort_unstable();
        arms.dedup();
        arms
    }

    /// What an answer of this arm has cost on average, in dollars.
    #[must_use]
    pub fn cost_usd(&self, arm: &str) -> Option<f64> {
        self.costs.get(arm).map(|(sum, count)| sum / count)
    }

    /// The prompts that an arm and the reference have answered both; without a reference all that the arm has answered.
    #[must_use]
    pub fn pairs(&self, arm: &str, reference: Option<&str>) -> Vec<Pair> {
        let pair = |answers: &BTreeMap<String, Scores>| {
            let own = answers.get(arm)?;
            let other = match reference {
                Some(reference) => answers.get(reference)?.mean(),
                None => 1.0,
            };
            Some(Pair {
                weight: own.weight,
                ..Pair::of(own.mean(), other)
            })
        };
        self.prompts.values().filter_map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(prompt: &str, arm: &str, score: f64) -> Judged {
        Judged {
            group: "code".into(),
            prompt: prompt.into(),
            arm: arm.into(),
            score,
            cost_usd: None,
            by: JudgedBy::Compare,
            seen: 1.0,
            key: None,
        }
    }

    #[test]
    fn the_same_prompt_counts_once_and_only_what_both_have_answered_is_a_pair() {
        let mut all = vec![
            judged("a", "cheap", 1.0),
            judged("a", "cheap", 0.0),
            judged("a", "dear", 1.0),
            judged("b", "cheap", 1.0),
            judged("c", "dear", 1.0),
        ];
        all[0].cost_usd = Some(2.0);
        all[1].cost_usd = Some(4.0);
        let groups = gather(&all, &JudgedBy::ALL);
        let group = &groups["code"];
        assert_eq!(group.pairs("cheap", Some("dear")), [Pair::of(0.5, 1.0)]);
        assert_eq!(group.pairs("cheap", None).len(), 2);
        assert_eq!((group.prompts(), group.arms().len()), (3, 2));
        assert_eq!(group.cost_usd("cheap"), Some(3.0));
        assert_eq!(group.cost_usd("dear"), None);
        assert!(gather(&all, &[JudgedBy::Feedback]).is_empty());
    }

    #[test]
    fn what_is_always_judged_counts_less_than_what_is_judged_by_a_sample() {
        let of = |prompt: &str, by, seen| Judged {
            by,
            seen,
            ..judged(prompt, "cheap", 1.0)
        };
        let all = [
            of("a", JudgedBy::Escalated, 1.0),
            of("b", JudgedBy::Explored, 0.05),
            of("c", JudgedBy::Explored, 0.10),
            of("d", JudgedBy::Compare, 1.0),
        ];
        let groups = gather(&all, &JudgedBy::ALL);
        let weights: Vec<f64> = groups["code"]
            .pairs("cheap", None)
            .iter()
            .map(|p| p.weight)
            .collect();
        assert_eq!(weights, [0.05, 1.0, 0.5, 1.0]);
    }

    #[test]
    fn the_votes_of_one_key_are_a_part_of_the_evidence_at_most() {
        let vote = |n: usize, key| Judged {
            by: JudgedBy::Feedback,
            key,
            ..judged(
                &format!("{key:?} {n}"),
                "cheap",
                f64::from(u8::from(key != Some(1))),
            )
        };
        let count = |all: &[Judged]| {
            let groups = gather(all, &JudgedBy::ALL);
            let pairs = groups["code"].pairs("cheap", None);
            let bad = pairs.iter().filter(|p| p.arm < 0.5).count();
            (pairs.len(), bad)
        };
        let liar: Vec<Judged> = (0..500).map(|n| vote(n, Some(1))).collect();
        assert_eq!(count(&liar), (10, 10));
        // Sixty of four others: the liar has 20 of 80.
        let mut all = liar.clone();
        all.extend((2..6).flat_map(|key| (0..15).map(move |n| vote(n, Some(key)))));
        assert_eq!(count(&all), (80, 20));
        let open: Vec<Judged> = (0..500).map(|n| vote(n, None)).collect();
        assert_eq!(count(&open), (500, 0));
    }
}
