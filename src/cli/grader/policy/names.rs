//! Which name of the outcomes stands for which arm of a policy, and the fleet of those arms alone.

use crate::arm::Effort;
use crate::fleet::{Arm, Fleet, Model, split_arm};
use crate::reader::suggest;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How a model is named by hand; errors tell it.
const BY_HAND: &str = "Say which is which with --as POLICY_MODEL=OUTCOME_NAME, or with --as POLICY_MODEL@EFFORT=OUTCOME_NAME for one effort of a model, once for each.";

/// A model of the policy, at one effort or at any, that has outcomes.
#[derive(Clone, Debug)]
pub(super) struct Entrant {
    /// Its name in the outcomes.
    pub(super) outcome: String,
    /// The policy's model; its effort is `None` where the outcomes stand for all of its efforts.
    pub(super) arm: Arm,
}

/// A policy's models beside the names of the outcomes.
pub(super) struct Names<'a> {
    pub(super) fleet: &'a Fleet,
    /// The outcomes' names.
    pub(super) known: &'a BTreeSet<String>,
}

impl Names<'_> {
    /// Everything that matches, by hand and by name.
    ///
    /// # Errors
    /// A name by hand that nobody has, or a model that several names could stand for.
    pub(super) fn matched(&self, by_hand: &[String]) -> Result<Vec<Entrant>, String> {
        let mut found = Vec::new();
        for text in by_hand {
            let entrant = self.by_hand(text)?;
            if found.iter().any(|e: &Entrant| same(&e.arm, &entrant.arm)) {
                return Err(format!("--as {text}: {} is named twice", entrant.arm));
            }
            found.push(entrant);
        }
        for model in self.fleet.models.iter().filter(|m| !m.embeds) {
            if !found.iter().any(|e| e.arm.model.name == model.name) {
                found.extend(self.by_name(model)?);
            }
        }
        Ok(found)
    }

    fn by_hand(&self, text: &str) -> Result<Entrant, String> {
        let wrong = |why: String| format!("--as {text}: {why}");
        let (left, outcome) = text
            .split_once('=')
            .ok_or_else(|| wrong("write it as POLICY_MODEL=OUTCOME_NAME".to_owned()))?;
        if !self.known.contains(outcome) {
            let names = self.known.iter().map(String::as_str);
            return Err(wrong(nobody("no outcome is of", outcome, names)));
        }
        let arm = self.fleet.arm(left).ok_or_else(|| {
            let (name, effort) = split_arm(left);
            match (self.fleet.named(name), effort) {
                (Some(model), Some(effort)) => {
                    let all = model.accepts.efforts.iter().map(|e| e.name());
                    let all: Vec<&str> = all.collect();
                    wrong(format!(
                        "{name} does not take the effort {effort}; it takes {}",
                        listed(&all)
                    ))
                }
                _ => {
                    let names = self.fleet.models.iter().map(|m| m.name.as_str());
                    wrong(nobody("the policy has no model", name, names))
                }
            }
        })?;
        Ok(Entrant {
            outcome: outcome.to_owned(),
            arm,
        })
    }

    /// The outcomes of an equal name, with and without an effort, or else the one whose name is equal without its maker.
    fn by_name(&self, model: &Arc<Model>) -> Result<Vec<Entrant>, String> {
        let entrant = |outcome: &str, effort| Entrant {
            outcome: outcome.to_owned(),
            arm: Arm {
                model: Arc::clone(model),
                effort,
            },
        };
        let efforts = model.accepts.efforts.iter();
        let at = efforts.map(|e| (format!("{}@{e}", model.name), Some(*e)));
        let equal = at.chain([(model.name.clone(), None)]);
        let equal: Vec<Entrant> = equal
            .filter(|(name, _)| self.known.contains(name))
            .map(|(name, effort)| entrant(&name, effort))
            .collect();
        if !equal.is_empty() {
            return Ok(equal);
        }
        let alike = |name: &&String| without_maker(name) == without_maker(&model.name);
        let alike: Vec<&String> = self.known.iter().filter(alike).collect();
        match alike.as_slice() {
            [] => Ok(Vec::new()),
            [name] => Ok(vec![entrant(name, None)]),
            several => Err(format!(
                "several names in the outcomes may be the policy's model \"{}\": {}. {BY_HAND}",
                model.name,
                several
                    .iter()
                    .map(|n| n.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        }
    }

    /// What is said where there is nothing to choose between.
    pub(super) fn too_few(&self, entrants: &[Entrant]) -> String {
        let found = match entrants {
            [] => "No model of the policy has outcomes".to_owned(),
            [only] => format!(
                "Only one model of the policy has outcomes, {} (as \"{}\"); it takes two to choose",
                only.arm, only.outcome
            ),
            _ => "No source of the outcomes has two models of the policy".to_owned(),
        };
        let models = self.fleet.models.iter().map(|m| m.name.as_str());
        let models: Vec<&str> = models.collect();
        let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
        format!(
            "{found}.\nModels of the policy: {}.\nNames in the outcomes: {}.\n{BY_HAND}",
            listed(&models),
            listed(&known)
        )
    }
}

/// Which of the entrants an arm is.
pub(super) fn place_of(entrants: &[Entrant], arm: &Arm) -> Option<usize> {
    let effort = arm.effort_or(None);
    let of_model = |e: &Entrant| e.arm.model.name == arm.model.name;
    let at = |wanted: Option<Effort>| {
        let mut all = entrants.iter();
        all.position(|e| of_model(e) && e.arm.effort == wanted)
    };
    at(Some(effort)).or_else(|| at(None))
}

/// The fleet in which there are these alone, at the efforts that they have outcomes of.
pub(super) fn fleet_of(fleet: &Fleet, entrants: &[&Entrant]) -> Fleet {
    let models = fleet.models.iter().filter_map(|model| {
        let own = entrants.iter().filter(|e| e.arm.model.name == model.name);
        let efforts: Vec<Option<Effort>> = own.map(|e| e.arm.effort).collect();
        if efforts.is_empty() {
            return None;
        }
        let Some(mut told) = efforts.into_iter().collect::<Option<Vec<Effort>>>() else {
            return Some(Arc::clone(model));
        };
        told.sort_unstable();
        let mut held = Model::clone(model);
        held.accepts.efforts = told;
        held.accepts.known = true;
        Some(Arc::new(held))
    });
    Fleet {
        models: models.collect(),
        providers: fleet.providers.clone(),
    }
}

fn same(a: &Arm, b: &Arm) -> bool {
    a.model.name == b.model.name && a.effort == b.effort
}

/// `llama-3.1-8b` of `meta/llama-3.1-8b`.
fn without_maker(name: &str) -> String {
    let last = name.rsplit_once('/').map_or(name, |(_, last)| last);
    last.to_ascii_lowercase()
}

fn nobody<'n>(what: &str, name: &str, names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    let help = suggest(name, names.iter().copied());
    let help = help.unwrap_or_else(|| format!("there are {}", listed(&names)));
    format!("{what} \"{name}\"; {help}")
}

/// Names that are shown at most.
const NAMES_SHOWN: usize = 40;

fn listed(names: &[&str]) -> String {
    let shown = &names[..names.len().min(NAMES_SHOWN)];
    match names.len() - shown.len() {
        _ if names.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maker_is_what_stands_before_the_last_stroke() {
        assert_eq!(without_maker("meta/Llama-3.1-8B"), "llama-3.1-8b");
        assert_eq!(without_maker("a/b/c"), "c");
        assert_eq!(without_maker("gpt-4o"), "gpt-4o");
    }
}
