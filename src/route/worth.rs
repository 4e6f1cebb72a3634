//! The chance of a good answer: what the grade of a request and the ability of an arm say together.
//!
//! A request is as hard as its grade says: the grade is the chance that a small model fails. An arm that is more able than that small
//! model fails less often, by as much as ability matters for this kind of work: for a proof it does, for a summary hardly.

use crate::arm::{Effort, Objective};
use crate::classify::{Difficulty, Task};
use crate::fleet::Arm;
use crate::fleet::ability::{Ability, CorrectedAbilities, Skill};

/// One request, as far as the chance of a good answer depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Worth<'l> {
    /// The logit with which the small model of the grade answers well.
    level: f64,
    /// How much of each skill counts.
    weights: [f64; Skill::ALL.len()],
    /// What was learned of how able models are.
    learned: Option<&'l CorrectedAbilities>,
}

/// How much an arm's ability counts for a kind of work, and how much easier (or harder) what people ask of it is than the questions of
/// benchmarks, from which the grade has learned its chances; both in logits. See docs/routing.md for what they were chosen by.
struct KindOfWork {
    skills: &'static [(Skill, f64)],
    easier: f64,
}

fn kind(task: Task) -> KindOfWork {
    let (skills, easier): (&'static [_], _) = match task {
        Task::Summarise | Task::Translate | Task::Extract | Task::Creative => {
            (&[(Skill::Plain, 2.0)], 0.6)
        }
        Task::SimpleQuestion => (&[(Skill::Know, 0.8)], 0.6),
        Task::Maths | Task::Logic | Task::MultiStep => (&[(Skill::Reason, 1.0)], -0.4),
        Task::Code | Task::Debug => (&[(Skill::Code, 0.8)], -0.6),
        Task::Unknown => (&[(Skill::Know, 0.4), (Skill::Reason, 0.4)], 0.0),
    };
    KindOfWork { skills, easier }
}

/// What a sign of being stuck takes from the chance that the conversation's model is good enough, in logits.
const STUCK: f64 = 1.5;
/// A grade is never surer than this, so that the logit stays finite.
const SUREST: f64 = 0.995;

impl<'l> Worth<'l> {
    /// Of a request with this grade. `stuck`: the conversation does not get on.
    #[must_use]
    pub fn of(difficulty: &Difficulty, stuck: bool) -> Worth<'l> {
        let kind = kind(difficulty.task);
        let good = (1.0 - difficulty.difficulty).clamp(1.0 - SUREST, SUREST);
        let mut weights = [0.0; Skill::ALL.len()];
        for (skill, weight) in kind.skills {
            let at = Skill::ALL.iter().position(|s| s == skill);
            weights[at.expect("it is one of all")] = *weight;
        }
        let stuck = if stuck { STUCK } else { 0.0 };
        Worth {
            level: (good / (1.0 - good)).ln() + kind.easier - stuck,
            weights,
            learned: None,
        }
    }

    /// The same by what was learned of models.
    #[must_use]
    pub fn by(self, learned: Option<&'l CorrectedAbilities>) -> Worth<'l> {
        Worth { learned, ..self }
    }

    /// How much each skill counts, in the order of [`Skill::ALL`].
    #[must_use]
    pub fn weights(&self) -> [f64; Skill::ALL.len()] {
        self.weights
    }

    /// The chance that this arm answers well, 0 to 1.
    #[must_use]
    pub fn chance(&self, arm: &Arm) -> f64 {
        let learned = self
            .learned
            .and_then(|learned| learned.named(&arm.model.name));
        let ability = learned.unwrap_or(&arm.model.ability);
        self.chance_of(ability, arm.effort_or(None))
    }

    /// The chance at this ability and effort.
    #[must_use]
    pub fn chance_of(&self, ability: &Ability, effort: Effort) -> f64 {
        1.0 / (1.0 + (-self.logit_of(ability, effort)).exp())
    }

    /// The same as a logit.
    #[must_use]
    pub fn logit_of(&self, ability: &Ability, effort: Effort) -> f64 {
        let able = Skill::ALL.iter().zip(self.weights);
        let able: f64 = able
            .filter(|(_, weight)| *weight > 0.0)
            .map(|(skill, weight)| weight * ability.at(*skill, effort))
            .sum();
        self.level + able
    }
}

/// What is good enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Enough {
    /// The share of the best arm's chance that the chosen one must have.
    pub(super) floor: f64,
    /// A dearer arm is chosen all the same where its better chance costs no more than so many times what a chance costs otherwise.
    pub(super) step: f64,
}

impl Enough {
    /// For an objective.
    pub(super) fn of(objective: Objective) -> Enough {
        let (floor, step) = match objective {
            Objective::Cheap | Objective::Fast => (0.45, 0.0),
            Objective::Balanced => (0.80, 10.0),
            Objective::Best => (0.99, 0.0),
        };
        Enough { floor, step }
    }

    /// Which of these arms, of which the first would be chosen for its price, is worth more than it: the one with the best chance for
    /// the money, where an added chance may cost `step` times what a chance costs on the first. `None` where it is the first itself.
    /// Each arm is a cost, where it is known, and a chance.
    pub(super) fn step_up(
        self,
        arms: impl Iterator<Item = (Option<f64>, f64)> + Clone,
    ) -> Option<usize> {
        let (cost, chance) = arms.clone().next()?;
        let per_chance = self.step * cost? / chance;
        if per_chance <= 0.0 {
            return None;
        }
        let worth = |(cost, chance): (Option<f64>, f64)| Some(chance - cost? / per_chance);
        let priced = arms
            .enumerate()
            .filter_map(|(at, arm)| Some((at, worth(arm)?)));
        let best = priced.max_by(|a, b| a.1.total_cmp(&b.1))?;
        (best.0 > 0).then_some(best.0)
    }
}
