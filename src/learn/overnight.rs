//! Learning by itself, from the outcomes in the books: which two arms, which outcomes, whose word counts how much; and a guard. An overlay
//! that was learned is used only if it orders requests better, on outcomes that it has not seen, than what is in force.
//!
//! Votes (feedback and signs of it) may teach and never judge: the guard looks at answers alone that were held against another arm's.

use super::chance::Chance;
use super::fit::{self, Label};
use super::mean;
use super::metrics::{Pair, apgr};
use crate::classify::kept::pack;
use crate::classify::model::Grader;
use crate::classify::overlay::Overlay;
use crate::classify::{Features, grade_by};
use crate::ledger::judged::{JudgedAnswer, JudgedBy};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Pairs of answers that are kept for the guard at least.
const HELD_MIN: usize = 100;
/// Pairs to learn from at least.
const LEARN_MIN: usize = 100;
/// Of a hundred pairs so many are held, the latest.
const HELD_PERCENT: usize = 30;
/// Draws of the test.
const DRAWS: usize = 1_000;
/// What is to be shown must hold in all but so many of a hundred draws.
const DOUBT_PERCENT: usize = 1;
/// By so much of an APGR the order by difficulty may at most be worse.
const MARGIN: f64 = 0.01;
/// By so much the mean squared error of the chance may at most be larger: among a hundred answers that is less than chance makes of it.
const ERROR_MARGIN: f64 = 0.01;
/// What a next turn says of an answer counts so much of a caller's own word.
const IMPLICIT: f64 = 0.3;
/// Votes of one key that always count.
const VOTES_OF_ONE: usize = 20;
/// Beyond those, one key's are at most so many as this part of the pairs.
const VOTES_PART: usize = 3;

/// The two arms that are told apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arms {
    /// The weak one.
    pub weak: String,
    /// The strong one.
    pub strong: String,
}

/// One request of which something is known.
#[derive(Clone, Debug)]
struct Example<'a> {
    at_ms: i64,
    request: &'a str,
    features: &'a Features,
    weak: f64,
    strong: f64,
}

/// How good the order of what is in force was, and that of what was learned, on outcomes that neither has seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Pairs of answers that it was learned from.
    pub learned: usize,
    /// Votes beside them.
    pub votes: usize,
    /// Pairs that were held back, the latest.
    pub held: usize,
    /// APGR by gain before, and after.
    pub apgr: (f64, f64),
    /// By how much it is better at least, in all but one of a hundred draws.
    pub better_at_least: f64,
    /// APGR by difficulty before, and after.
    pub by_difficulty: (f64, f64),
    /// The mean squared error of the chance that the weak arm fails, before and after.
    pub error: (f64, f64),
}

/// What came of a night.
#[derive(Clone, Debug)]
pub struct Night {
    /// The two arms.
    pub arms: Arms,
    /// What was learned.
    pub overlay: Overlay,
    /// It is better than what is in force.
    pub used: bool,
    /// Why, in a sentence.
    pub because: String,
    /// What was found.
    pub figures: Figures,
}

/// How much a judge's word counts: 0 where it is no vote.
fn vote(by: JudgedBy) -> Option<f64> {
    match by {
        JudgedBy::Feedback => Some(1.0),
        JudgedBy::Implicit => Some(IMPLICIT),
        JudgedBy::Compare | JudgedBy::Explored | JudgedBy::Escalated | JudgedBy::Shadow => None,
    }
}

/// Learns from outcomes and what was measured of their requests, and holds it against what is in force.
///
/// # Errors
/// There is not enough to learn from; says what is missing.
pub fn learn(
    grader: &Grader,
    outcomes: &[JudgedAnswer],
    asks: &HashMap<String, Features>,
    named: Option<&Arms>,
    in_force: Option<&Overlay>,
) -> Result<Night, String> {
    let scores = judged(outcomes, asks);
    let arms = match named {
        Some(arms) => arms.clone(),
        None => most_compared(&scores).ok_or("no request that was measured has judged answers of two arms; [shadow], probe_explore and `flyball compare --keep` make them")?,
    };
    let pairs = pairs(&scores, asks, &arms);
    let (learned, held) = parted(&pairs)?;
    let since = held[0].at_ms;
    let level = mean(learned.iter().map(|e| e.strong));
    let votes = votes(
        outcomes,
        asks,
        (&arms, level),
        (since, &learned[..], &held[..]),
    );
    let labels: Vec<Label<'_>> = learned.iter().chain(&votes).map(Example::label).collect();
    let overlay = fit::fit(grader, &labels, &arms.weak, &arms.strong)?;
    let figures = Figures {
        learned: learned.len(),
        votes: votes.len(),
        ..compared(grader, &held, in_force, &overlay)
    };
    let (used, because) = verdict(&figures);
    Ok(Night {
        arms,
        overlay,
        used,
        because,
        figures,
    })
}

/// When the answers to a request were judged last; of each arm the sum of its scores, and how many there are.
type Told = (i64, BTreeMap<String, (f64, f64)>);
type Scores<'a> = BTreeMap<&'a str, Told>;

/// What was said of the answers to requests that were measured, votes apart. What is always judged (answers that spoke against themselves)
/// counts as often as what is judged by a sample: the others of it are left out, by chance.
fn sampled<'a>(
    outcomes: &'a [JudgedAnswer],
    asks: &HashMap<String, Features>,
) -> impl Iterator<Item = &'a JudgedAnswer> {
    let explored = |o: &&JudgedAnswer| o.by == JudgedBy::Explored && o.seen_ppm > 0;
    let least = outcomes.iter().filter(explored).map(|o| o.seen_ppm).min();
    outcomes.iter().filter(move |o| {
        let sampled = match (o.by, least) {
            (JudgedBy::Explored | JudgedBy::Escalated, Some(least)) if o.seen_ppm > 0 => {
                least as f64 / o.seen_ppm as f64
            }
            _ => 1.0,
        };
        let left_out = Chance::new(number_of(&o.request)).unit() >= sampled;
        vote(o.by).is_none() && !left_out && asks.contains_key(&o.request)
    })
}

/// The same by request and arm.
fn judged<'a>(outcomes: &'a [JudgedAnswer], asks: &HashMap<String, Features>) -> Scores<'a> {
    let mut scores: Scores<'_> = BTreeMap::new();
    for o in sampled(outcomes, asks) {
        let (at, by_arm) = scores.entry(&o.request).or_default();
        *at = o.at_ms.max(*at);
        let sum = by_arm.entry(o.arm()).or_default();
        *sum = (sum.0 + share(o.score_ppm), sum.1 + 1.0);
    }
    scores
}

/// A score from 0 to 1.
pub(super) fn share(ppm: i64) -> f64 {
    ppm.clamp(0, 1_000_000) as f64 / 1e6
}

fn number_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The two arms whose answers to the same requests were judged most often; the one with the better answers is the strong one.
fn most_compared(scores: &Scores<'_>) -> Option<Arms> {
    let mut met: BTreeMap<(&str, &str), (usize, f64)> = BTreeMap::new();
    for (_, by_arm) in scores.values() {
        for (a, (a_sum, a_count)) in by_arm {
            for (b, (b_sum, b_count)) in by_arm.range::<String, _>((
                std::ops::Bound::Excluded(a.clone()),
                std::ops::Bound::Unbounded,
            )) {
                let both = met.entry((a.as_str(), b.as_str())).or_default();
                *both = (both.0 + 1, both.1 + b_sum / b_count - a_sum / a_count);
            }
        }
    }
    let ((a, b), (_, gained)) = met.into_iter().max_by_key(|(_, (count, _))| *count)?;
    let (weak, strong) = if gained >= 0.0 { (a, b) } else { (b, a) };
    Some(Arms {
        weak: weak.to_owned(),
        strong: strong.to_owned(),
    })
}

/// The requests that both arms have answered, oldest first.
fn pairs<'a>(
    scores: &Scores<'a>,
    asks: &'a HashMap<String, Features>,
    arms: &Arms,
) -> Vec<Example<'a>> {
    let pair = |(request, (at_ms, by_arm)): (&&'a str, &Told)| {
        let score = |arm: &String| by_arm.get(arm).map(|(sum, count)| sum / count);
        Some(Example {
            at_ms: *at_ms,
            request,
            features: asks.get(*request)?,
            weak: score(&arms.weak)?,
            strong: score(&arms.strong)?,
        })
    };
    let mut pairs: Vec<Example<'_>> = scores.iter().filter_map(pair).collect();
    pairs.sort_by(|a, b| (a.at_ms, a.request).cmp(&(b.at_ms, b.request)));
    pairs
}

/// Of requests in the order of time the places of those to learn from, and of the latest, none of whose asks is among the others.
pub(super) fn parted_at(asks: &[&Features]) -> (Vec<usize>, Vec<usize>) {
    let held = (asks.len() * HELD_PERCENT / 100)
        .max(HELD_MIN)
        .min(asks.len());
    let learned = asks.len() - held;
    let seen: HashSet<Vec<u8>> = asks[..learned].iter().map(|ask| pack(ask)).collect();
    let mut fresh = HashSet::new();
    let unseen = |at: &usize| {
        let print = pack(asks[*at]);
        !seen.contains(&print) && fresh.insert(print)
    };
    (
        (0..learned).collect(),
        (learned..asks.len()).filter(unseen).collect(),
    )
}

/// Those to learn from, and those that are held back.
fn parted<'a>(pairs: &[Example<'a>]) -> Result<(Vec<Example<'a>>, Vec<Example<'a>>), String> {
    let features: Vec<&Features> = pairs.iter().map(|e| e.features).collect();
    let (learned, held) = parted_at(&features);
    if learned.len() < LEARN_MIN || held.len() < HELD_MIN {
        return Err(format!(
            "there are {} pairs of answers to learn from and {} others, to other requests, to prove it on; {LEARN_MIN} and {HELD_MIN} are the least",
            learned.len(),
            held.len()
        ));
    }
    let of = |places: Vec<usize>| places.into_iter().map(|at| pairs[at].clone()).collect();
    Ok((of(learned), of(held)))
}

/// What callers have said of the weak arm's answers before the others were given. A key is heard only in what it says of some answers and not
/// of others: who is never content says nothing. One key's votes are no more than a part of the pairs, those of all together no more than
/// the pairs, and what is asked in the pairs that are held is left out.
fn votes<'a>(
    outcomes: &'a [JudgedAnswer],
    asks: &'a HashMap<String, Features>,
    (arms, level): (&Arms, f64),
    (since, learned, held): (i64, &[Example<'a>], &[Example<'a>]),
) -> Vec<Example<'a>> {
    let own_word = |o: &&JudgedAnswer| o.by == JudgedBy::Feedback;
    let told: HashSet<&str> = outcomes
        .iter()
        .filter(own_word)
        .map(|o| &*o.request)
        .collect();
    let held: HashSet<Vec<u8>> = held.iter().map(|e| pack(e.features)).collect();
    let fresh = |o: &JudgedAnswer| {
        let features = asks.get(&o.request);
        features.is_some_and(|features| !held.contains(&pack(features)))
    };
    let heard = |o: &&JudgedAnswer| {
        if o.by == JudgedBy::Implicit && told.contains(&*o.request) {
            return false;
        }
        vote(o.by).is_some() && o.at_ms < since && o.arm() == arms.weak && fresh(o)
    };
    let usual = mean(learned.iter().map(|e| e.weak));
    let mut all = Vec::new();
    for own in counted(outcomes.iter().filter(heard), learned.len()) {
        let said = mean(own.iter().map(|o| share(o.score_ppm)));
        let example = |o: &&'a JudgedAnswer| {
            let weight = vote(o.by).unwrap_or_default();
            Some(Example {
                at_ms: o.at_ms,
                request: &o.request,
                features: asks.get(&o.request)?,
                weak: (usual + weight * (share(o.score_ppm) - said)).clamp(0.0, 1.0),
                strong: level,
            })
        };
        all.extend(own.iter().filter_map(example));
    }
    all
}

/// The votes that count beside so many pairs, by key: the latest of each, and where those of all are too many, as many of one as of another.
fn counted<'a>(
    votes: impl Iterator<Item = &'a JudgedAnswer>,
    pairs: usize,
) -> Vec<Vec<&'a JudgedAnswer>> {
    let mut by_key: BTreeMap<Option<i64>, Vec<&JudgedAnswer>> = BTreeMap::new();
    for vote in votes {
        by_key.entry(vote.key).or_default().push(vote);
    }
    let mut ranked: Vec<(usize, &JudgedAnswer)> = Vec::new();
    for (key, mut own) in by_key {
        own.sort_by_key(|o| Reverse(o.at_ms));
        // In open mode all votes are the operator's own.
        if key.is_some() {
            own.truncate(VOTES_OF_ONE.max(pairs / VOTES_PART));
        }
        ranked.extend(own.into_iter().enumerate());
    }
    ranked.sort_by_key(|(rank, o)| (*rank, Reverse(o.at_ms)));
    ranked.truncate(pairs);
    let mut kept: BTreeMap<Option<i64>, Vec<&JudgedAnswer>> = BTreeMap::new();
    for (_, vote) in ranked {
        kept.entry(vote.key).or_default().push(vote);
    }
    kept.into_values().collect()
}

impl Example<'_> {
    fn label(&self) -> Label<'_> {
        Label {
            features: self.features,
            weak: Some(self.weak),
            strong: Some(self.strong),
        }
    }
}

/// What an overlay, or none, says of each request: what is gained, and the chance that the weak arm fails.
struct OverlayScores {
    gain: Vec<f64>,
    difficulty: Vec<f64>,
}

fn said(grader: &Grader, held: &[Example<'_>], overlay: Option<&Overlay>) -> OverlayScores {
    let grades = held.iter().map(|e| grade_by(grader, e.features, overlay));
    let (gain, difficulty) = grades.map(|g| (g.gain, g.difficulty)).unzip();
    OverlayScores { gain, difficulty }
}

fn compared(
    grader: &Grader,
    held: &[Example<'_>],
    in_force: Option<&Overlay>,
    overlay: &Overlay,
) -> Figures {
    let (before, after) = (
        said(grader, held, in_force),
        said(grader, held, Some(overlay)),
    );
    let pairs: Vec<Pair> = held
        .iter()
        .map(|e| Pair {
            weak: e.weak,
            strong: e.strong,
        })
        .collect();
    let error = |said: &OverlayScores| {
        let missed = said.difficulty.iter().zip(held);
        mean(missed.map(|(d, e)| (d - (1.0 - e.weak)).powi(2)))
    };
    let by_gain = differences(&before.gain, &after.gain, &pairs);
    let low = |sorted: &[f64]| sorted[sorted.len() * DOUBT_PERCENT / 100];
    Figures {
        held: held.len(),
        apgr: (apgr(&before.gain, &pairs), apgr(&after.gain, &pairs)),
        better_at_least: low(&by_gain),
        by_difficulty: (
            apgr(&before.difficulty, &pairs),
            apgr(&after.difficulty, &pairs),
        ),
        error: (error(&before), error(&after)),
        ..Figures::default()
    }
}

/// By how much one order has a larger APGR than another, over draws of the requests with replacement; sorted. The advantage of the strong
/// arm, by which both are divided, is that of all requests: that of a draw may be nothing.
fn differences(before: &[f64], after: &[f64], pairs: &[Pair]) -> Vec<f64> {
    let gains: Vec<f64> = pairs.iter().map(|p| p.strong - p.weak).collect();
    let advantage = mean(gains.iter().copied());
    let orders = [order(before), order(after)];
    let mut chance = Chance::new(7);
    let mut found: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let mut drawn = vec![0.0; gains.len()];
            for _ in 0..gains.len() {
                drawn[chance.below(gains.len())] += 1.0;
            }
            let [before, after] = [0, 1].map(|n: usize| area(&orders[n], &gains, &drawn));
            (after - before) / advantage.max(1e-6)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    found
}

/// The places, the highest score first; equal ones in an order by chance.
fn order(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    Chance::new(3).shuffle(&mut order);
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order
}

/// What is gained on average over all shares of strong calls, where each request counts so often.
fn area(order: &[usize], gains: &[f64], counts: &[f64]) -> f64 {
    let all = counts.len() as f64;
    let (mut before, mut sum) = (0.0, 0.0);
    for at in order {
        let after = before + counts[*at];
        sum += gains[*at] * counts[*at] * (all - (before + after) / 2.0);
        before = after;
    }
    sum / (all * all)
}

fn verdict(figures: &Figures) -> (bool, String) {
    let Figures {
        held,
        apgr,
        better_at_least,
        by_difficulty,
        error,
        ..
    } = figures;
    let on = format!("on {held} later requests that it has not seen");
    if *better_at_least <= 0.0 {
        let text = format!(
            "Not used: {on} its APGR is {:.3}, where {:.3} is in force; that it is better is not shown (at least {better_at_least:+.3} in 99 of 100 draws).",
            apgr.1, apgr.0
        );
        return (false, text);
    }
    if by_difficulty.0 - by_difficulty.1 > MARGIN {
        let text = format!(
            "Not used: {on} it orders requests better by gain, and worse by difficulty ({:.3}, where {:.3} is in force).",
            by_difficulty.1, by_difficulty.0
        );
        return (false, text);
    }
    if error.1 - error.0 > ERROR_MARGIN {
        let text = format!(
            "Not used: {on} it orders requests better, and misses by more how likely the weak arm fails ({:.4}, where {:.4} is in force).",
            error.1, error.0
        );
        return (false, text);
    }
    let text = format!(
        "Used: {on} its APGR is {:.3}, where {:.3} was in force; it is better by {better_at_least:.3} at least in 99 of 100 draws.",
        apgr.1, apgr.0
    );
    (true, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm::Effort;
    use crate::learn::outcome::measured;

    fn vote_of(key: Option<i64>, n: i64) -> JudgedAnswer {
        JudgedAnswer {
            request: format!("vote {key:?} {n}"),
            model: "weak".into(),
            effort: Effort::None,
            by: JudgedBy::Feedback,
            task: "unknown".into(),
            difficulty_milli: 500,
            score_ppm: n % 2 * 1_000_000,
            cost: None,
            seen_ppm: 0,
            at_ms: n,
            key,
        }
    }

    /// How many votes of each key count beside so many pairs.
    fn heard(keys: &[(Option<i64>, i64)], pairs: usize) -> Vec<usize> {
        let all = keys
            .iter()
            .flat_map(|(key, count)| (0..*count).map(|n| vote_of(*key, n)));
        let all: Vec<JudgedAnswer> = all.collect();
        let kept = counted(all.iter(), pairs);
        for own in &kept {
            let latest = own.iter().map(|o| o.at_ms).max();
            let count = all.iter().filter(|o| o.key == own[0].key).count();
            assert_eq!(latest, i64::try_from(count).ok().map(|n| n - 1));
        }
        kept.iter().map(Vec::len).collect()
    }

    #[test]
    fn one_keys_votes_are_a_third_of_the_pairs_at_most_and_those_of_all_no_more_than_the_pairs() {
        // However many others vote, a key is heard no oftener.
        assert_eq!(heard(&[(Some(1), 1_500)], 240), [80]);
        assert_eq!(heard(&[(Some(1), 1_500), (Some(2), 9_000)], 240), [80, 80]);
        assert_eq!(heard(&[(Some(1), 7), (Some(2), 90)], 30), [7, 20]);
        // Ten keys that lie are no more than one that all share, and who votes little is heard whole.
        let many: Vec<(Option<i64>, i64)> = (1..=10).map(|key| (Some(key), 1_500)).collect();
        assert_eq!(heard(&many, 240), [24; 10]);
        let few = [
            (Some(1), 3),
            (Some(2), 1_500),
            (Some(3), 1_500),
            (Some(4), 1_500),
        ];
        assert_eq!(heard(&few, 201), [3, 66, 66, 66]);
        assert_eq!(heard(&[(None, 1_500)], 240), [240]);
    }

    #[test]
    fn votes_on_what_is_asked_in_the_pairs_that_are_held_are_left_out() {
        let (asked, other) = (measured("Prove a lemma."), measured("Name a river."));
        let outcomes = [vote_of(Some(1), 0), vote_of(Some(1), 1)];
        let features = [&asked, &other];
        let asks = outcomes.iter().zip(features);
        let asks: HashMap<String, Features> = asks
            .map(|(o, features)| (o.request.clone(), features.clone()))
            .collect();
        let pair = |features| Example {
            at_ms: 100,
            request: "r",
            features,
            weak: 0.5,
            strong: 1.0,
        };
        let arms = Arms {
            weak: outcomes[0].arm(),
            strong: "strong".into(),
        };
        let learned = vec![pair(&other); 100];
        let held = [pair(&asked)];
        let found = votes(&outcomes, &asks, (&arms, 1.0), (100, &learned, &held));
        let requests: Vec<&str> = found.iter().map(|e| e.request).collect();
        assert_eq!(requests, [outcomes[1].request.as_str()]);
    }
}
