//! What of rules and models can never matter, for `flyball check`.

use super::policy::{DEFAULT, Rule, Target, When};
use crate::arm::{Effort, Tier};
use crate::fleet::ability::Skill;
use crate::fleet::{Fleet, Model};
use crate::price::Price;
use std::sync::Arc;

/// Sentences about rules that never decide, tiers that have no model and models that no objective would choose.
#[must_use]
pub fn doubts(rules: &[Arc<Rule>], fleet: &Fleet) -> Vec<String> {
    let mut told = Vec::new();
    let mut always: Option<&Rule> = None;
    for rule in rules.iter().filter(|rule| rule.name != DEFAULT) {
        if let Some(before) = always {
            told.push(format!(
                "{}:{}: rule \"{}\" never decides: \"{}\" before it holds for everything",
                rule.file, rule.line, rule.name, before.name
            ));
        } else if rule.when == When::default() {
            always = Some(rule);
        }
        let empty = |tier: &Tier| fleet.in_tier(*tier).next().is_none();
        if let Target::Tier(tier) = &rule.route.to
            && empty(tier)
            && !(rule.when.private && *tier == Tier::Local)
        {
            told.push(format!(
                "{}:{}: rule \"{}\": no model is of tier {tier}",
                rule.file, rule.line, rule.name
            ));
        }
    }
    let paid = |m: &&Arc<Model>| !m.embeds && !m.local && !m.simulated;
    for model in fleet.models.iter().filter(paid) {
        let mut others = fleet.models.iter().filter(paid);
        if let Some(better) = others.find(|other| dominates(other, model)) {
            told.push(format!(
                "model \"{}\" is not chosen where \"{}\" may answer, which is at least as able and cheaper",
                model.name, better.name
            ));
        }
    }
    told
}

/// Whether one model is as able as another in everything, at any effort, costs less and takes what it takes.
fn dominates(one: &Model, other: &Model) -> bool {
    let (Some(own), Some(price)) = (&one.price, &other.price) else {
        return false;
    };
    let rates = |p: &Price| [p.rates.input, p.rates.output, p.rates.cached];
    let pairs = || rates(own).into_iter().zip(rates(price));
    let cheaper = pairs().all(|(a, b)| a <= b) && pairs().any(|(a, b)| a < b);
    let efforts = |m: &Model| m.accepts.efforts.clone();
    let can = |m: &Model, skill, effort: Effort| m.ability.at(skill, effort);
    let able = Skill::ALL.iter().all(|skill| {
        efforts(other).iter().chain([&Effort::None]).all(|effort| {
            one.takes(*effort) && can(one, *skill, *effort) >= can(other, *skill, *effort)
        })
    });
    let longer = one.context_tokens >= other.context_tokens;
    cheaper && able && longer && one.senses == other.senses
}
