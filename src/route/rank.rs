//! The order of the arms that may answer. A rule that names a tier or an arm forces it; everything else is decided by what each arm is
//! worth and costs: of the arms whose chance of a good answer is near enough to the best one's, the cheapest for the conversation.

use super::policy::{Efforts, Route, Rule, Target};
use super::worth::{Enough, Worth};
use super::{AUTO, Asked, Considered, Wants, can_be_told, cost};
use crate::arm::{Effort, Objective, Tier};
use crate::capability::Capability;
use crate::classify::Difficulty;
use crate::effort;
use crate::fleet::{self, Arm, Model};
use crate::money::PicoUsd;
use crate::pattern::like;
use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

/// An arm with what speaks for and against it.
#[derive(Clone, Debug)]
pub(super) struct Weighed {
    pub(super) arm: Arm,
    /// The chance of a good answer.
    pub(super) chance: f64,
    /// `None` where its price is not known.
    pub(super) expected: Option<cost::Expected>,
    pub(super) verdict: &'static str,
}

impl Weighed {
    fn of(arm: Arm, job: &cost::Forecast<'_>, worth: &Worth<'_>) -> Weighed {
        Weighed {
            chance: worth.chance(&arm),
            expected: cost::expected(&arm, job),
            arm,
            verdict: "",
        }
    }

    fn total(&self) -> Option<PicoUsd> {
        self.expected.map(cost::Expected::total)
    }

    /// Cheaper first. An unknown price comes last: a model is not cheap because nobody knows what it costs. Of what costs the same,
    /// as free models do, what makes fewer tokens.
    fn by_cost(&self, other: &Weighed, job: &cost::Forecast<'_>) -> Ordering {
        let cost = |w: &Weighed| w.total().map_or((true, PicoUsd::ZERO), |c| (false, c));
        let tokens = |w: &Weighed| cost::output_tokens(&w.arm, job).total();
        cost(self)
            .cmp(&cost(other))
            .then_with(|| tokens(self).cmp(&tokens(other)))
            .then_with(|| other.chance.total_cmp(&self.chance))
    }

    pub(super) fn considered(&self) -> Considered {
        Considered {
            arm: self.arm.clone(),
            expected: self.expected,
            chance: Some(self.chance),
            verdict: self.verdict,
        }
    }
}

/// The arms that the rule allows, best first.
pub(super) fn arms(
    rule: &Rule,
    asked: &Asked<'_>,
    wants: &Wants,
    eligible: &[Arc<Model>],
    job: &cost::Forecast<'_>,
    worth: &Worth<'_>,
) -> Vec<Weighed> {
    match rule.route.to {
        Target::Within(least, most) => {
            let within = |m: &&Arc<Model>| wants.local || (least..=most).contains(&m.tier);
            let models: Vec<_> = eligible.iter().filter(within).collect();
            // Bounds that leave nobody bind nobody, unless the rule is strict.
            let models = match models.is_empty() && !rule.route.strict {
                true => eligible.iter().collect(),
                false => models,
            };
            let all = candidates(&rule.route, asked, &models, job);
            let all = all.into_iter().map(|arm| Weighed::of(arm, job, worth));
            let all = raised(all.collect(), &models, job, worth);
            by_worth(all, enough(&rule.route, wants), wants, job)
        }
        Target::Tier(_) | Target::Arm(..) => {
            let forced = forced(rule, asked, wants, eligible, job).into_iter();
            let mut all: Vec<Weighed> = forced.map(|arm| Weighed::of(arm, job, worth)).collect();
            let tier = all.first().map(|first| first.arm.model.tier);
            for (place, weighed) in all.iter_mut().enumerate() {
                weighed.verdict = match (place, tier == Some(weighed.arm.model.tier)) {
                    (0, _) => "chosen: the rule names it",
                    (_, true) => "dearer than the chosen one",
                    (_, false) => "of another tier than the chosen one",
                };
            }
            all
        }
    }
}

/// The arm that serves the user's turn already.
pub(super) fn serving(arm: &Arm, job: &cost::Forecast<'_>, worth: &Worth<'_>) -> Weighed {
    Weighed {
        verdict: "serves this turn already",
        ..Weighed::of(arm.clone(), job, worth)
    }
}

/// Whether a rule keeps a model from answering.
pub(super) fn is_vetoed(rule: &Rule, model: &Model) -> bool {
    rule.route
        .never
        .iter()
        .any(|pattern| like(pattern, &model.name))
}

/// What is good enough for an objective, or for a rule that says so itself.
fn enough(route: &Route, wants: &Wants) -> Enough {
    let enough = Enough::of(wants.objective);
    Enough {
        floor: route.floor.unwrap_or(enough.floor),
        ..enough
    }
}

/// Every model at every effort that it takes and the rule allows, with room for an answer within the client's limit.
fn candidates(
    route: &Route,
    asked: &Asked<'_>,
    models: &[&Arc<Model>],
    job: &cost::Forecast<'_>,
) -> Vec<Arm> {
    let arm = |model: &Arc<Model>, effort| Arm {
        model: Arc::clone(model),
        effort: Some(effort),
    };
    if let Some(own) = asked.effort {
        let clamped = |m: &&Arc<Model>| arm(m, effort::clamp(&m.accepts, own));
        return models.iter().map(clamped).collect();
    }
    let mut roomy = Vec::new();
    let mut tight = Vec::new();
    for model in models {
        let efforts = efforts_within(route.effort, model);
        let efforts = match tells_unthinking(asked, model) && efforts.contains(&Effort::None) {
            true => vec![Effort::None],
            false => efforts,
        };
        let fits = |e: &Effort| cost::leaves_room(*e, job);
        match efforts.iter().any(fits) {
            true => roomy.extend(efforts.into_iter().filter(fits).map(|e| arm(model, e))),
            false => {
                // A model whose thinking cannot be turned off thinks as little as it can.
                let least = with_room(model, efforts[0], job);
                match cost::leaves_room(least, job) {
                    true => roomy.push(arm(model, least)),
                    false => tight.push(arm(model, least)),
                }
            }
        }
    }
    // An arm that would think the client's whole limit away answers only where there is no other.
    if roomy.is_empty() { tight } else { roomy }
}

/// The client asks for probabilities, and the model tells them where it does not think: OpenAI's.
fn tells_unthinking(asked: &Asked<'_>, model: &Model) -> bool {
    let openai = model.provider.kind.family == effort::Family::OpenAi;
    openai && model.logprobs && asked.asks.has(Capability::Logprobs)
}

/// The efforts of a model within a rule's range, weakest first; the nearest one where there is none in it. Never empty.
fn efforts_within(range: Option<Efforts>, model: &Model) -> Vec<Effort> {
    if !model.accepts.known || model.accepts.efforts.is_empty() {
        let usual = fleet::default_effort(model);
        return vec![range.map_or(usual, |r| {
            effort::clamp(&model.accepts, usual.clamp(r.least, r.most))
        })];
    }
    let own = model.accepts.efforts.iter().copied();
    let Some(range) = range else {
        return own.collect();
    };
    let within: Vec<Effort> = own
        .filter(|e| (range.least..=range.most).contains(e))
        .collect();
    match within.is_empty() {
        true => vec![effort::clamp(&model.accepts, range.least)],
        false => within,
    }
}

/// Where a conversation does not get on: the arms with a better chance than the one that it is on, if there are any, else that one.
fn raised(
    all: Vec<Weighed>,
    models: &[&Arc<Model>],
    job: &cost::Forecast<'_>,
    worth: &Worth<'_>,
) -> Vec<Weighed> {
    let standing = &job.standing;
    let serving = standing.serving.map(|(model, effort, _)| (model, effort));
    let present = serving.or(standing.before).filter(|_| standing.stuck);
    let present = present.and_then(|(name, effort)| {
        let model = models.iter().find(|m| m.name == name)?;
        let arm = Arm {
            model: Arc::clone(model),
            effort: Some(effort),
        };
        Some(Weighed::of(arm, job, worth))
    });
    let Some(present) = present else {
        return all;
    };
    let better = |w: &&Weighed| w.chance > present.chance + BETTER;
    match all.iter().any(|w| better(&w)) {
        true => all.into_iter().filter(|w| better(&w)).collect(),
        false => vec![present],
    }
}

/// A chance that is higher by less than this is no better one.
const BETTER: f64 = 0.02;

/// A conversation changes its arm only for one that is cheaper by this part, in hundredths: what is expected is not known so well.
const MARGIN_PERCENT: u64 = 10;

/// Orders arms by worth and cost: the chosen one, then those that are good enough too, cheapest (or fastest) first, then the others, best
/// chance first.
fn by_worth(
    mut all: Vec<Weighed>,
    enough: Enough,
    wants: &Wants,
    job: &cost::Forecast<'_>,
) -> Vec<Weighed> {
    let fast = wants.objective == Objective::Fast;
    let best = all.iter().map(|w| w.chance).fold(0.0, f64::max);
    let good = |w: &Weighed| w.chance >= enough.floor * best;
    all.sort_by(|a, b| match (good(a), good(b)) {
        (true, true) if fast => time(a, job)
            .cmp(&time(b, job))
            .then_with(|| a.by_cost(b, job)),
        (true, true) => a.by_cost(b, job),
        (false, false) => b
            .chance
            .total_cmp(&a.chance)
            .then_with(|| a.by_cost(b, job)),
        (a, b) => b.cmp(&a),
    });
    for (place, weighed) in all.iter_mut().enumerate() {
        weighed.verdict = match (place, weighed.chance >= enough.floor * best) {
            (0, _) if fast => "chosen: the fastest that is good enough",
            (0, _) => "chosen: the cheapest that is good enough",
            (_, true) if fast => "slower than the chosen one",
            (_, true) => "dearer than the chosen one",
            (_, false) => "its chance of a good answer is too small",
        };
    }
    // Whole numbers up to 2^53 are exact, which is $9,000; arms are only compared.
    let priced = |w: &Weighed| (w.total().map(|c| c.0 as f64), w.chance);
    let above = all.iter().take_while(|w| good(w)).map(priced);
    let step = enough.step_up(above).filter(|_| !fast);
    if let Some(at) = step {
        let mut better = all.remove(at);
        better.verdict = "chosen: its better chance is worth its price";
        all[0].verdict = "a better chance is worth its price";
        all.insert(0, better);
    }
    keep_going(&mut all, |w| w.chance >= enough.floor * best, job);
    all
}

/// Leaves the conversation where it is, unless its arm is not good enough any more or another one is cheaper by a margin. What
/// reading the conversation anew costs is in the price of every other arm already.
fn keep_going(all: &mut Vec<Weighed>, good: impl Fn(&Weighed) -> bool, job: &cost::Forecast<'_>) {
    let Some((model, effort)) = job.standing.before else {
        return;
    };
    let is_own = |w: &Weighed| w.arm.model.name == model && w.arm.effort_or(None) == effort;
    let Some(own) = all.iter().position(is_own).filter(|at| *at > 0) else {
        return;
    };
    if job.standing.stuck || !good(&all[own]) {
        return;
    }
    let margin = |own: PicoUsd| PicoUsd(own.0 - own.thousandths(MARGIN_PERCENT * 10).0);
    let saves = match (all[0].total(), all[own].total()) {
        (Some(first), Some(own)) => first < margin(own),
        _ => false,
    };
    if !saves {
        let mut stays = all.remove(own);
        stays.verdict = "chosen: it has served this conversation so far";
        all[0].verdict = "not so much cheaper that a change would pay";
        all.insert(0, stays);
    }
}

/// How long an arm is expected to take until its first word. Where nothing was seen of it yet, by what is usual for its tier.
fn time(weighed: &Weighed, job: &cost::Forecast<'_>) -> Duration {
    let seen = (job.standing.habit)(&weighed.arm).and_then(|habit| habit.first_token);
    let (start_ms, per_second) = match weighed.arm.model.tier {
        Tier::Local => (300, 40),
        Tier::Small => (400, 150),
        Tier::Standard => (700, 80),
        Tier::Reasoning => (1_000, 60),
    };
    let thinking = cost::output_tokens(&weighed.arm, job).reasoning;
    seen.unwrap_or_else(|| Duration::from_millis(start_ms + thinking * 1_000 / per_second))
}

/// The eligible arms of a rule that names a tier or an arm, best first.
fn forced(
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
            cost::expected(arm, job).map_or((1, PicoUsd::ZERO), |c| (0, c.total()))
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
        Target::Tier(_) | Target::Within(..) => None,
        Target::Arm(name, effort) => eligible
            .iter()
            .find(|m| m.name == *name)
            .map(|m| (m.clone(), *effort)),
    }
}

pub(super) fn names(target: &Target, model: &Model) -> bool {
    match target {
        Target::Tier(tier) => model.tier == *tier,
        Target::Within(least, most) => (least..=most).contains(&&model.tier),
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
        Target::Arm(..) | Target::Within(..) => Tier::Standard,
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

/// What an intercepted request may cost at most: it never goes to an arm that is expected to cost more than the one asked for, unless
/// the best is wanted. `None` where nothing bounds it.
pub(super) fn ceiling(
    asked: &Asked<'_>,
    wants: &Wants,
    baseline: &Arm,
    eligible: &[Arc<Model>],
    job: &cost::Forecast<'_>,
) -> Option<PicoUsd> {
    let auto = asked.model == AUTO || asked.model.starts_with("auto:");
    // A model that does not take what the request carries, or cannot do what it asks, is no better for having been asked for.
    let model = &baseline.model;
    let refused = (asked.doubted)(model).refused;
    let lacks = [model.takes.lacks, refused].map(|lacks| asked.asks.first_of(lacks));
    let takes = model.senses.lacking(asked.carried).is_none() && lacks == [None; 2];
    let asked_for = takes
        && (eligible.iter().any(|m| m.name == baseline.model.name)
            || can_be_told(asked, baseline).is_ok());
    if auto
        || wants.local
        || wants.objective == Objective::Best
        || !asked_for
        || baseline.model.name != asked.model
        || !(asked.may_use)(&baseline.model.name)
    {
        return None;
    }
    cost::expected(baseline, job).map(cost::Expected::total)
}

/// Keeps to what costs no more than the asked arm, which is one of the arms that may answer. Where what the rule wants would cost more,
/// the asked arm is better than a smaller model.
pub(super) fn hold_to_baseline(
    (rule, wants, job, worth): (&Rule, &Wants, &cost::Forecast<'_>, &Worth<'_>),
    baseline: &Arm,
    ceiling: PicoUsd,
    ranked: &mut Vec<Weighed>,
) {
    let wanted = ranked.first().map(|w| w.arm.model.tier);
    ranked.retain(|w| w.total().is_some_and(|c| c <= ceiling));
    let own = Weighed::of(baseline.clone(), job, worth);
    if let Target::Within(..) = rule.route.to {
        let is_own = |w: &Weighed| {
            w.arm.model.name == own.arm.model.name
                && w.arm.effort_or(None) == own.arm.effort_or(None)
        };
        ranked.retain(|w| !is_own(w));
        ranked.push(own);
        *ranked = by_worth(
            std::mem::take(ranked),
            enough(&rule.route, wants),
            wants,
            job,
        );
        return;
    }
    let smaller =
        |w: &Weighed| Some(w.arm.model.tier) < wanted && w.arm.model.tier < baseline.model.tier;
    if ranked.first().is_none_or(smaller) {
        ranked.retain(|w| w.arm.model.name != baseline.model.name);
        let verdict = "chosen: what the rule wants would cost more than what was asked for";
        ranked.insert(0, Weighed { verdict, ..own });
    }
}

/// The best arm of every other model that the rule allows, in the order in which they were weighed.
pub(super) fn further(ranked: &[Weighed], attempts: &[Arm]) -> Vec<Arm> {
    let mut further: Vec<Arm> = Vec::new();
    for weighed in ranked {
        let arm = &weighed.arm;
        let known = |other: &Arm| Arc::ptr_eq(&other.model, &arm.model);
        // No simulated model stands in for a real one.
        if arm.model.simulated && attempts.iter().any(|first| !first.model.simulated) {
            continue;
        }
        if !attempts.iter().any(known) && !further.iter().any(known) {
            further.push(arm.clone());
        }
    }
    further
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
