//! Whether a cheaper arm is asked first, whose answer shows by itself whether the chosen arm is needed.

use super::policy::{Rule, Target};
use super::rank::Weighed;
use super::{Asked, Policy, Wants};
use crate::arm::Objective;
use crate::fleet::Arm;
use crate::money::PicoUsd;
use crate::probe::calibration::{AnswerChances, Curve, Promise, Scale};
use crate::probe::evidence::Evidence;
use crate::probe::value::{Demand, forecast};
use std::sync::Arc;
use std::time::Duration;

/// When answers are looked at, and for how long a stream is held back for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probing {
    /// A cheaper arm is asked first wherever that is expected to pay.
    pub where_it_pays: bool,
    /// Tokens of a stream that are held back at most.
    pub hold_tokens: usize,
    /// How long a stream is held back at most, from its first token.
    pub hold_for: Duration,
    /// A model that tells no probabilities is asked in a second call whether its answer is right.
    pub checks: bool,
    /// The model that is asked instead, where one is named.
    pub verifier: Option<String>,
    /// So many of a million whole answers that stand are compared with the chosen arm's all the same.
    pub explore_ppm: u32,
}

impl Default for Probing {
    fn default() -> Probing {
        Probing {
            where_it_pays: false,
            hold_tokens: 24,
            hold_for: Duration::from_millis(1_500),
            checks: true,
            verifier: None,
            explore_ppm: 0,
        }
    }
}

/// The tag of an attempt that is made for a comparison alone, by which the cap of exploring counts it. No request can bring it: caps count
/// the tags of keys only.
pub const EXPLORING: (&str, &str) = ("flyball.exploring", "yes");

/// What an arm's evidence is worth.
#[derive(Clone, Debug)]
pub struct Shows {
    /// That of whole answers, and of parts of them.
    pub curves: [Arc<Curve>; 2],
    /// How many calls it takes: a second one where the arm has to be asked about its answer.
    pub calls: u64,
}

/// An arm that is asked before the one that was chosen.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The arm.
    pub arm: Arm,
    /// What the prompt's grade promises of it and of the chosen one.
    pub promise: Promise,
    /// What is asked of its answer.
    pub demand: Demand,
    /// The share of such answers that are expected to be gone on from, 0 to 1.
    pub goes_on: f64,
    /// What both together are expected to cost.
    pub expected: PicoUsd,
    /// What evidence of whole answers is worth, and of parts of them.
    curves: [Arc<Curve>; 2],
}

impl Probe {
    /// How an answer with this evidence stands; `None` where nothing is known but what the prompt promised.
    #[must_use]
    pub fn judged(&self, evidence: Evidence) -> Option<AnswerChances> {
        let scale = evidence.sign.signal()?.scale();
        self.curves[place(scale)].judged(evidence.logprob?, self.promise)
    }

    /// The chosen arm is asked as well.
    #[must_use]
    pub fn goes_on(&self, evidence: Evidence) -> bool {
        if evidence.sign.is_fault() {
            return true;
        }
        let stands = self.judged(evidence);
        stands.is_some_and(|stands| self.demand.goes_on(stands))
    }
}

fn place(scale: Scale) -> usize {
    match scale {
        Scale::Whole => 0,
        Scale::Parts => 1,
    }
}

/// The arm to ask before the chosen one, which is the first of these, if one pays.
pub(super) fn probe(
    policy: &Policy,
    asked: &Asked<'_>,
    wants: &Wants,
    rule: &Rule,
    ranked: &[Weighed],
) -> Option<Probe> {
    let on = rule.route.probe.unwrap_or(policy.probing.where_it_pays);
    // A turn that goes on stays with its arm, and one that does not get on is not the place to save.
    let settled = asked.standing.serving.is_some() || asked.standing.stuck;
    if !on || settled || wants.objective == Objective::Fast {
        return None;
    }
    let (chosen, others) = ranked.split_first()?;
    let strong = chosen.expected?.now;
    let within = |weighed: &&Weighed| match rule.route.to {
        Target::Within(least, most) => (least..=most).contains(&weighed.arm.model.tier),
        Target::Tier(_) | Target::Arm(..) => true,
    };
    let demand = Demand::of(wants.objective);
    let cheaper = others.iter().filter(within).filter_map(|weighed| {
        let weak = weighed.expected?.now;
        if weak >= strong || weighed.chance >= chosen.chance {
            return None;
        }
        let Shows { curves, calls } = (asked.shows)(&weighed.arm)?;
        let promise = Promise {
            weak: weighed.chance,
            strong: chosen.chance,
        };
        let told = forecast(&curves[0], promise, demand, (weak.times(calls), strong));
        told.pays.then(|| Probe {
            arm: weighed.arm.clone(),
            promise,
            demand,
            goes_on: told.goes_on,
            expected: told.cost,
            curves,
        })
    });
    cheaper.min_by_key(|probe| probe.expected)
}
