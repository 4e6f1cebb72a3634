//! How able models are, corrected by outcomes: what the table of abilities says of a model is taken for a first guess, and what its answers
//! were worth in one's own traffic moves it, the further the more answers were judged.
//!
//! Three things are told apart, each in logits of ability and by skill: what all models do better or worse than the grade says (the
//! traffic is easier or harder than it looks), what one model does beyond that, and what it does beyond that at one effort. All are fitted
//! at once, with a pull towards nothing; so an arm of which little was seen is as the others of its model, and a model of which nothing was
//! seen as all are.
//!
//! Only what judges an answer by itself counts: of an arm that was held against another one the better arm's answers are right by
//! definition. Votes are left out too: who votes is no sample of who asks. What was learned is used only if it tells outcomes that it has not seen better
//! than what is in force.

use super::chance::Chance;
use super::mean;
use super::overnight::{parted_at, share};
use crate::classify::model::Grader;
use crate::classify::overlay::Overlay;
use crate::classify::{Features, grade_by};
use crate::fleet::ability::{Ability, Corrections, Skill};
use crate::ledger::judged::{JudgedAnswer, JudgedBy};
use crate::route::worth::Worth;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Judged answers to learn from at least, and as many to prove it on.
const ANSWERS_MIN: usize = 100;
/// What is known beforehand of all models together, of one model and of one of its efforts: by so many logits they are usually off.
const SPREADS: [f64; 3] = [1.0, 0.7, 0.4];
/// Rounds of the fit, which ends before when nothing moves any more.
const ROUNDS: usize = 60;
/// Logits that are nothing.
const STILL: f64 = 1e-4;
/// Draws of the test, and the place among them of the figure that is shown: in all but one of a hundred.
const DRAWS: usize = 1_000;
const DOUBT: usize = DRAWS / 100;

/// How well chances told outcomes that nothing was learned from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AbilityFigures {
    /// Judged answers that it was learned from.
    pub learned: usize,
    /// Those that were held back, the latest.
    pub held: usize,
    /// The mean logarithmic loss of what is in force, and of what was learned: smaller is better.
    pub loss: (f64, f64),
    /// By how much it is smaller at least, in all but one of a hundred draws.
    pub better_at_least: f64,
    /// Each arm: judged answers that were held back, how good they were expected to be, and were, from 0 to 1.
    pub arms: BTreeMap<String, (usize, f64, f64)>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnedAbilities {
    /// What was learned.
    pub corrections: Corrections,
    /// It is better than what is in force.
    pub used: bool,
    /// Why, in a sentence.
    pub because: String,
    /// What was found.
    pub figures: AbilityFigures,
}

/// One judged answer.
struct Row<'a> {
    at_ms: i64,
    request: &'a str,
    model: &'a str,
    answer: &'a JudgedAnswer,
    worth: Worth<'static>,
    ability: Ability,
    score: f64,
}

impl Row<'_> {
    /// The logit of the chance that was expected with these corrections.
    fn expected(&self, corrections: &Corrections) -> f64 {
        let ability = corrections.ability(self.model, self.ability);
        self.worth.logit_of(&ability, self.answer.effort)
    }
}

/// Learns from outcomes and what was measured of their requests. `known` is what each model of the fleet is taken to be able to do.
///
/// # Errors
/// There is not enough to learn from; says what is missing.
pub fn learn(
    grader: &Grader,
    outcomes: &[JudgedAnswer],
    asks: &HashMap<String, Features>,
    known: &BTreeMap<String, Ability>,
    overlay: Option<&Overlay>,
    in_force: Option<&Corrections>,
) -> Result<LearnedAbilities, String> {
    let rows = rows(grader, outcomes, asks, known, overlay);
    let mut requests: Vec<(i64, &str)> = rows.iter().map(|row| (row.at_ms, row.request)).collect();
    requests.sort_unstable();
    requests.dedup();
    let features: Vec<&Features> = requests.iter().filter_map(|(_, r)| asks.get(*r)).collect();
    let (learn_from, held) = parted_at(&features);
    let of = |places: &[usize]| -> Vec<&Row<'_>> {
        let chosen: BTreeSet<&str> = places.iter().map(|at| requests[*at].1).collect();
        rows.iter()
            .filter(|row| chosen.contains(row.request))
            .collect()
    };
    let (learn_from, held) = (of(&learn_from), of(&held));
    if learn_from.len() < ANSWERS_MIN || held.len() < ANSWERS_MIN {
        return Err(format!(
            "there are {} answers of `flyball compare --keep` to learn from and {} others, to other requests, to prove it on; {ANSWERS_MIN} and {ANSWERS_MIN} are the least",
            learn_from.len(),
            held.len()
        ));
    }
    let corrections = fit(&learn_from);
    let nothing = Corrections::default();
    let figures = AbilityFigures {
        learned: learn_from.len(),
        ..compared(&held, in_force.unwrap_or(&nothing), &corrections)
    };
    let (used, because) = verdict(&figures);
    Ok(LearnedAbilities {
        corrections,
        used,
        because,
        figures,
    })
}

fn rows<'a>(
    grader: &Grader,
    outcomes: &'a [JudgedAnswer],
    asks: &HashMap<String, Features>,
    known: &BTreeMap<String, Ability>,
    overlay: Option<&Overlay>,
) -> Vec<Row<'a>> {
    let mut worths: HashMap<&str, Worth<'static>> = HashMap::new();
    let row = |answer: &'a JudgedAnswer| {
        // What the operator has said of a model is not corrected, and says nothing of the others.
        let ability = *known.get(&answer.model).filter(|known| !known.is_own())?;
        let features = asks.get(&answer.request)?;
        let graded = || Worth::of(&grade_by(grader, features, overlay), false);
        Some(Row {
            at_ms: answer.at_ms,
            request: &answer.request,
            model: &answer.model,
            answer,
            worth: *worths.entry(&answer.request).or_insert_with(graded),
            ability,
            score: share(answer.score_ppm),
        })
    };
    outcomes
        .iter()
        .filter(|answer| answer.by == JudgedBy::Compare)
        .filter_map(row)
        .collect()
}

/// What a number of the fit is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope<'a> {
    All,
    Model(&'a str),
    Arm(&'a str, &'static str),
}

impl Scope<'_> {
    fn spread(self) -> f64 {
        SPREADS[match self {
            Scope::All => 0,
            Scope::Model(_) => 1,
            Scope::Arm(..) => 2,
        }]
    }
}

/// The corrections that these answers, and the pull towards nothing, make the likeliest: one number after the other goes its step of Newton's
/// until none moves. The sum is convex, so there is one place where all stand still.
fn fit(rows: &[&Row<'_>]) -> Corrections {
    let mut places: BTreeMap<(Scope<'_>, usize), Vec<(usize, f64)>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        let arm = Scope::Arm(row.model, row.answer.effort.name());
        for (skill, weight) in row.worth.weights().into_iter().enumerate() {
            for scope in [Scope::All, Scope::Model(row.model), arm] {
                if weight > 0.0 {
                    places.entry((scope, skill)).or_default().push((at, weight));
                }
            }
        }
    }
    let nothing = Corrections::default();
    let mut logits: Vec<f64> = rows.iter().map(|row| row.expected(&nothing)).collect();
    let mut found: BTreeMap<(Scope<'_>, usize), f64> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let mut moved: f64 = 0.0;
        for (place, own) in &places {
            let value = found.entry(*place).or_default();
            let stiff = place.0.spread().powi(-2);
            let (mut slope, mut bend) = (-*value * stiff, stiff);
            for (at, weight) in own {
                let chance = chance(logits[*at]);
                slope += weight * (rows[*at].score - chance);
                bend += weight * weight * chance * (1.0 - chance);
            }
            // A step of more than a logit leads beyond what the bend knows of.
            let step = (slope / bend).clamp(-1.0, 1.0);
            *value += step;
            moved = moved.max(step.abs());
            for (at, weight) in own {
                logits[*at] += weight * step;
            }
        }
        if moved < STILL {
            break;
        }
    }
    let mut corrections = Corrections::default();
    for ((scope, skill), value) in found {
        let skill = Skill::ALL[skill];
        match scope {
            Scope::All => corrections.add_to_all(skill, value),
            Scope::Model(model) => corrections.add_to_model(model, skill, value),
            Scope::Arm(model, effort) => corrections.add_to_arm(model, effort, skill, value),
        }
    }
    corrections
}

fn chance(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// How much a score surprises whoever expected it with this logit.
fn loss(logit: f64, score: f64) -> f64 {
    let chance = chance(logit).clamp(1e-6, 1.0 - 1e-6);
    -(score * chance.ln() + (1.0 - score) * (1.0 - chance).ln())
}

fn compared(held: &[&Row<'_>], before: &Corrections, after: &Corrections) -> AbilityFigures {
    let losses = |corrections: &Corrections| -> Vec<f64> {
        let loss = |row: &&Row<'_>| loss(row.expected(corrections), row.score);
        held.iter().map(loss).collect()
    };
    let (old, new) = (losses(before), losses(after));
    // The answers to one request are drawn together: they are good and bad together.
    let mut by_request: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for ((row, old), new) in held.iter().zip(&old).zip(&new) {
        let sum = by_request.entry(row.request).or_default();
        *sum = (sum.0 + old - new, sum.1 + 1.0);
    }
    let by_request: Vec<(f64, f64)> = by_request.into_values().collect();
    let mut by_chance = Chance::new(11);
    let mut gains: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let drawn =
                (0..by_request.len()).map(|_| by_request[by_chance.below(by_request.len())]);
            let (gain, answers) = drawn.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            gain / answers
        })
        .collect();
    gains.sort_by(f64::total_cmp);
    let mut by_arm: BTreeMap<String, Vec<&Row<'_>>> = BTreeMap::new();
    for row in held {
        by_arm.entry(row.answer.arm()).or_default().push(row);
    }
    let arms = by_arm.into_iter().map(|(arm, own)| {
        let expected = mean(own.iter().map(|row| chance(row.expected(after))));
        let was = mean(own.iter().map(|row| row.score));
        (arm, (own.len(), expected, was))
    });
    AbilityFigures {
        learned: 0,
        held: held.len(),
        loss: (mean(old.iter().copied()), mean(new.iter().copied())),
        better_at_least: gains[DOUBT],
        arms: arms.collect(),
    }
}

fn verdict(figures: &AbilityFigures) -> (bool, String) {
    let AbilityFigures {
        held,
        loss: (before, after),
        better_at_least,
        ..
    } = figures;
    let on = format!("on {held} later answers that it has not seen");
    if *better_at_least <= 0.0 {
        let text = format!(
            "Not used: {on} its logarithmic loss is {after:.4}, where that of what is in force is {before:.4}; that it is better is not shown (at least {better_at_least:+.4} in 99 of 100 draws)."
        );
        return (false, text);
    }
    let text = format!(
        "Used: {on} its logarithmic loss is {after:.4}, where that of what was in force is {before:.4}; it is better by {better_at_least:.4} at least in 99 of 100 draws."
    );
    (true, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm::{Effort, Tier};
    use crate::classify::model::embedded;
    use crate::fleet::ability::ability;
    use crate::learn::outcome::measured;

    const ASKS: [&str; 4] = [
        "Prove a lemma on",
        "Summarise this note about",
        "What is the capital of",
        "Find the bug in this Rust function that parses",
    ];

    /// A name that nobody has heard of.
    fn name(by_chance: &mut Chance) -> String {
        let parts = [
            "ba", "do", "ki", "lu", "me", "no", "pa", "ri", "so", "tu", "va", "wo",
        ];
        (0..4)
            .map(|_| parts[by_chance.below(parts.len())])
            .collect()
    }

    /// Outcomes of traffic in which `shift` logits are added to the chance of the model `own`, whatever is asked, and none to `other`'s.
    fn traffic(shift: f64, requests: usize) -> (Vec<JudgedAnswer>, HashMap<String, Features>) {
        let mut by_chance = Chance::new(5);
        let (mut outcomes, mut asks) = (Vec::new(), HashMap::new());
        for at in 0..requests {
            let (ask, name) = (ASKS[at % ASKS.len()], name(&mut by_chance));
            let words = format!("{ask} {name}.");
            let features = measured(&words);
            let worth = Worth::of(&grade_by(embedded(), &features, None), false);
            for (model, shift) in [("own", shift), ("other", 0.0)] {
                let known = ability(model, Tier::Standard);
                let truth = chance(worth.logit_of(&known, Effort::None) + shift);
                outcomes.push(JudgedAnswer {
                    request: format!("r{at:05}"),
                    model: model.into(),
                    effort: Effort::None,
                    by: JudgedBy::Compare,
                    task: "unknown".into(),
                    difficulty_milli: 500,
                    score_ppm: if by_chance.unit() < truth {
                        1_000_000
                    } else {
                        0
                    },
                    cost: None,
                    seen_ppm: 0,
                    at_ms: i64::try_from(at).expect("small"),
                    key: None,
                });
            }
            asks.insert(format!("r{at:05}"), features);
        }
        (outcomes, asks)
    }

    fn known() -> BTreeMap<String, Ability> {
        let of = |name: &str| (name.to_owned(), ability(name, Tier::Standard));
        BTreeMap::from([of("own"), of("other"), of("unseen")])
    }

    fn learned(shift: f64, requests: usize) -> Result<LearnedAbilities, String> {
        let (outcomes, asks) = traffic(shift, requests);
        learn(embedded(), &outcomes, &asks, &known(), None, None)
    }

    #[test]
    fn a_model_that_is_weaker_than_its_name_says_is_found_out_and_the_others_are_not_blamed() {
        let night = learned(-2.0, 800).expect("enough");
        assert!(night.used, "{}", night.because);
        let at = |name: &str, skill| {
            let known = ability(name, Tier::Standard);
            let corrected = night.corrections.ability(name, known);
            corrected.at(skill, Effort::None) - known.at(skill, Effort::None)
        };
        for skill in [Skill::Reason, Skill::Know] {
            assert!(at("own", skill) < -1.0, "{skill:?}: {}", at("own", skill));
            assert!(
                at("other", skill) > -0.6,
                "{skill:?}: {}",
                at("other", skill)
            );
            // What is not known to be one model's own may be the traffic's.
            let unseen = at("unseen", skill);
            assert!(
                unseen < 0.1 && unseen > at("own", skill) / 1.5,
                "{skill:?}: {unseen}"
            );
        }
        let (_, expected, was) = night.figures.arms["own@none"];
        assert!((expected - was).abs() < 0.08, "{expected} {was}");
    }

    #[test]
    fn what_holds_one_arm_against_another_and_what_the_operator_has_said_teaches_nothing() {
        let (mut outcomes, asks) = traffic(-2.0, 800);
        let of = |outcomes: &[JudgedAnswer], known: &BTreeMap<String, Ability>| {
            learn(embedded(), outcomes, &asks, known, None, None)
        };
        let set = |known: Ability| known.set_to(1.0);
        let own = known().into_iter().map(|(name, known)| (name, set(known)));
        assert!(of(&outcomes, &own.collect()).is_err());
        for outcome in &mut outcomes {
            outcome.by = JudgedBy::Explored;
        }
        assert!(of(&outcomes, &known()).is_err());
    }

    #[test]
    fn where_the_table_is_right_nothing_is_used_and_with_little_nothing_is_learned() {
        let night = learned(0.0, 800).expect("enough");
        assert!(!night.used, "{}", night.because);
        let why = learned(-2.0, 60).expect_err("too little");
        assert!(why.contains("100 and 100 are the least"), "{why}");
    }
}
