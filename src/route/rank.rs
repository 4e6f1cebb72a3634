//! The order of the arms that may answer: tier by rule and objective, effort by difficulty, then expected cost.

use super::policy::{Efforts, Rule, Target};
use super::{AUTO, Asked, Wants, can_be_told, cost};
use crate::arm::{Effort, Objective, Tier};
use crate::classify::Difficulty;
use crate::effort;
use crate::fleet::{self, Arm, Model};
use std::sync::Arc;

/// The eligible arms that the rule allows, best first.
pub(super) fn arms(
    rule: &Rule,
    asked: &Asked<'_>,
    wants: &Wants,
    eligible: &[Arc<Model>],
    job: &cost::Forecast<'_>,
) -> Vec<Arm> {
    let effort = |model: &Model| effort_of(rule, asked, wants, model, job);
    let mut tiers = tiers(rule, wants);
    let mut ranked: Vec<Arm> = Vec::new();
    if let Some((named, fixed)) = named_arm(&rule.route.to, eligible) {
        let fixed = fixed.map(|fixed| with_room(&named, fixed, job));
        ranked.push(Arm {
            effort: Some(fixed.unwrap_or_else(|| effort(&named))),
            model: named,
        });
        if rule.route.strict {
            tiers.clear();
        }
    }
    let named = ranked.len();
    for tier in tiers {
        let mut arms: Vec<Arm> = eligible
            .iter()
            .filter(|m| m.tier == tier && !ranked.iter().any(|r| Arc::ptr_eq(&r.model, m)))
            .map(|m| Arm {
                effort: Some(effort(m)),
                model: m.clone(),
            })
            .collect();
        // Unknown prices sort last: a model is not cheap because nobody knows what it costs.
        arms.sort_by_key(|arm| {
            cost::expected(arm, job).map_or((1, crate::money::PicoUsd::ZERO), |c| (0, c))
        });
        ranked.extend(arms);
    }
    // An arm that would think the client's whole limit away goes behind those that leave room for an answer. The sort is
    // stable, so nothing else moves.
    if asked.effort.is_none() {
        ranked[named..].sort_by_key(|arm| !cost::leaves_room(arm.effort_or(None), job));
    }
    ranked
}

/// The effort asked of a model: the client's own, or the rule's as far as the client's token limit has room for an answer beside it.
fn effort_of(
    rule: &Rule,
    asked: &Asked<'_>,
    wants: &Wants,
    model: &Model,
    job: &cost::Forecast<'_>,
) -> Effort {
    if let Some(own) = asked.effort {
        return effort::clamp(&model.accepts, own);
    }
    with_room(
        model,
        pick_effort(rule, model, job.difficulty, wants.objective),
        job,
    )
}

/// This effort, or the strongest below it that leaves an answer room within the client's limit.
fn with_room(model: &Model, picked: Effort, job: &cost::Forecast<'_>) -> Effort {
    if cost::leaves_room(picked, job) {
        return picked;
    }
    let weaker = Effort::ALL.into_iter().rev().filter(|e| *e < picked);
    let mut fitting = weaker.filter(|e| model.takes(*e) && cost::leaves_room(*e, job));
    // A model whose thinking cannot be turned off thinks as little as it can.
    fitting.next().unwrap_or_else(|| least(model, picked))
}

/// The least that a model can be asked to think, and no more than what was picked.
fn least(model: &Model, picked: Effort) -> Effort {
    let efforts = model.accepts.efforts.iter().copied();
    efforts.min().unwrap_or(Effort::None).min(picked)
}

/// The model that a rule names, if it may answer, with the effort that the rule names with it.
fn named_arm(target: &Target, eligible: &[Arc<Model>]) -> Option<(Arc<Model>, Option<Effort>)> {
    match target {
        Target::Tier(_) => None,
        Target::Arm(name, effort) => eligible
            .iter()
            .find(|m| m.name == *name)
            .map(|m| (m.clone(), *effort)),
    }
}

fn names(target: &Target, model: &Model) -> bool {
    match target {
        Target::Tier(tier) => model.tier == *tier,
        Target::Arm(name, _) => model.name == *name,
    }
}

/// The tiers to look in, best first: the rule's, moved one step by the objective; where it has no model, first the
/// dearer ones, or the cheaper ones for whoever wants it cheap or fast.
fn tiers(rule: &Rule, wants: &Wants) -> Vec<Tier> {
    if wants.local {
        return vec![Tier::Local, Tier::Small, Tier::Standard, Tier::Reasoning];
    }
    let all = Tier::ALL;
    let home = match rule.route.to {
        Target::Tier(tier) => tier,
        Target::Arm(..) => Tier::Standard,
    };
    let at = all.iter().position(|t| *t == home).unwrap_or(0);
    let shifted = match wants.objective {
        _ if rule.route.strict => at,
        Objective::Balanced => at,
        Objective::Cheap | Objective::Fast => at.saturating_sub(1),
        Objective::Best => (at + 1).min(all.len() - 1),
    };
    if rule.route.strict {
        return vec![all[shifted]];
    }
    let mut others: Vec<Tier> = all[shifted + 1..].to_vec();
    let cheaper = all[..shifted].iter().rev().copied();
    match wants.objective {
        Objective::Cheap | Objective::Fast => others = cheaper.chain(others).collect(),
        Objective::Balanced | Objective::Best => others.extend(cheaper),
    }
    std::iter::once(all[shifted]).chain(others).collect()
}

/// The effort within the rule's range: the least for cheap and fast, the most for best; in between by where the
/// difficulty lies in the rule's own band, so that the upper end is for what is hardest among its kind.
fn pick_effort(
    rule: &Rule,
    model: &Model,
    difficulty: &Difficulty,
    objective: Objective,
) -> Effort {
    let Some(Efforts { least, most }) = rule.route.effort else {
        return fleet::default_effort(model);
    };
    let range: Vec<Effort> = Effort::ALL
        .into_iter()
        .filter(|e| *e >= least && *e <= most)
        .collect();
    let wanted = match objective {
        Objective::Cheap | Objective::Fast => range.first(),
        Objective::Best => range.last(),
        Objective::Balanced => range.get(step_of(range.len(), place_in_band(rule, difficulty))),
    };
    effort::clamp(&model.accepts, wanted.copied().unwrap_or(least))
}

/// Where a difficulty lies in the band that the rule is for, 0 to 1.
fn place_in_band(rule: &Rule, difficulty: &Difficulty) -> f64 {
    let band = rule.when.difficulty;
    let from = band.and_then(|b| b.from).unwrap_or(0.0);
    let to = band.and_then(|b| b.to).unwrap_or(1.0);
    ((difficulty.difficulty - from) / (to - from).max(0.01)).clamp(0.0, 1.0)
}

/// Which of so many equal steps a place from 0 to 1 is in. There are seven at most, so counting beats converting floats.
fn step_of(steps: usize, place: f64) -> usize {
    (1..steps)
        .take_while(|n| place * as_f64(steps) >= as_f64(*n))
        .count()
}

fn as_f64(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::MAX, f64::from)
}

/// An intercepted request never goes to an arm that is expected to cost more than the one asked for, unless the best is wanted.
pub(super) fn hold_to_baseline(
    asked: &Asked<'_>,
    wants: &Wants,
    baseline: &Arm,
    eligible: &[Arc<Model>],
    job: &cost::Forecast<'_>,
    ranked: &mut Vec<Arm>,
) {
    let auto = asked.model == AUTO || asked.model.starts_with("auto:");
    // A model that does not take the request's pictures is no better for having been asked for.
    let takes = baseline.model.senses.lacking(asked.carried).is_none();
    let asked_for = takes
        && (eligible.iter().any(|m| m.name == baseline.model.name)
            || can_be_told(asked, baseline).is_ok());
    if auto
        || wants.local
        || wants.objective == Objective::Best
        || !asked_for
        || baseline.model.name != asked.model
    {
        return;
    }
    let Some(ceiling) = cost::expected(baseline, job) else {
        return;
    };
    let wanted = ranked.first().map(|arm| arm.model.tier);
    ranked.retain(|arm| cost::expected(arm, job).is_some_and(|c| c <= ceiling));
    // Where what the rule wants would cost more than what was asked for, the asked arm is better than a smaller model.
    let smaller = |arm: &Arm| Some(arm.model.tier) < wanted && arm.model.tier < baseline.model.tier;
    if ranked.first().is_none_or(smaller) && (asked.may_use)(&baseline.model.name) {
        ranked.retain(|arm| arm.model.name != baseline.model.name);
        ranked.insert(0, baseline.clone());
    }
}

/// The first arm, then what the rule names as its fallback. A paid fallback is never silent: without a word in the rule there is none.
pub(super) fn with_fallbacks(
    rule: &Rule,
    first: Option<&Arm>,
    eligible: &[Arc<Model>],
    asked: &Asked<'_>,
    wants: &Wants,
    job: &cost::Forecast<'_>,
) -> Vec<Arm> {
    let mut attempts: Vec<Arm> = first.into_iter().cloned().collect();
    for step in &rule.route.fallback {
        for model in eligible.iter().filter(|m| names(step, m)) {
            if !attempts.iter().any(|a| Arc::ptr_eq(&a.model, model)) {
                let effort = effort_of(rule, asked, wants, model, job);
                attempts.push(Arm {
                    model: model.clone(),
                    effort: Some(effort),
                });
            }
        }
    }
    attempts
}
