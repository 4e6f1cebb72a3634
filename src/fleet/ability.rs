//! How able a model is, by the skill that a task needs and by how hard it thinks. Pure.
//!
//! Abilities are data (`src/data/abilities.json`, with the sources of their figures), in logits above a small reference model: a
//! model that is one logit better answers well with odds that are e times as high. A model that nobody has measured is taken to be
//! as its tier usually is; the operator's own word (`ability` of a `[[model]]`) goes before both.

use crate::arm::{Effort, Tier};
use crate::price::without_date;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

/// What a task asks of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skill {
    /// Work on a text that is there, or one made up: summaries, translation, extraction, creative writing, talk.
    Plain,
    /// To know something.
    Know,
    /// Maths, logic, and steps that build on each other.
    Reason,
    /// To write a program, or to find what is wrong with one.
    Code,
}

impl Skill {
    /// Every skill.
    pub const ALL: [Skill; 4] = [Skill::Plain, Skill::Know, Skill::Reason, Skill::Code];

    fn place(self) -> usize {
        match self {
            Skill::Plain => 0,
            Skill::Know => 1,
            Skill::Reason => 2,
            Skill::Code => 3,
        }
    }
}

const SKILLS: usize = Skill::ALL.len();
const EFFORTS: usize = Effort::ALL.len();

/// How able one model is, in logits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ability {
    /// By skill, without thinking.
    base: [f64; SKILLS],
    /// What thinking adds, by skill and effort.
    thinking: [[f64; EFFORTS]; SKILLS],
    /// Hidden reasoning tokens that were measured for an ordinary task, by effort.
    reasoning_tokens: [Option<u64>; EFFORTS],
    /// The operator has said it, so nothing that was learned corrects it.
    own: bool,
}

impl Ability {
    /// In a skill at an effort.
    #[must_use]
    pub fn at(&self, skill: Skill, effort: Effort) -> f64 {
        let skill = skill.place();
        self.base[skill] + self.thinking[skill][place(effort)]
    }

    /// Hidden reasoning tokens of an ordinary task at an effort, where somebody has measured them.
    #[must_use]
    pub fn reasoning_tokens(&self, effort: Effort) -> Option<u64> {
        self.reasoning_tokens[place(effort)]
    }

    /// The operator has said it.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// The same model as its operator knows it: so many logits above the reference in every skill.
    #[must_use]
    pub fn set_to(self, logits: f64) -> Ability {
        Ability {
            base: [logits; SKILLS],
            own: true,
            ..self
        }
    }
}

/// What outcomes say of models beyond what was known of them, in logits and by skill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Corrections {
    /// Of all models.
    all: [f64; SKILLS],
    /// Of one, by its name, beyond that.
    models: BTreeMap<String, ModelCorrection>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelCorrection {
    base: [f64; SKILLS],
    /// At one effort, by its name, beyond that.
    efforts: BTreeMap<String, [f64; SKILLS]>,
}

impl Corrections {
    /// How able a model of this name is, of which so much was known.
    #[must_use]
    pub fn ability(&self, model: &str, known: Ability) -> Ability {
        let mut ability = known;
        if known.own {
            return ability;
        }
        let own = self.models.get(model);
        let of_model = own.map_or([0.0; SKILLS], |own| own.base);
        for (skill, base) in ability.base.iter_mut().enumerate() {
            *base += self.all[skill] + of_model[skill];
        }
        for (name, more) in own.into_iter().flat_map(|own| &own.efforts) {
            if let Some(effort) = Effort::ALL.iter().position(|e| e.name() == name) {
                for (thinking, more) in ability.thinking.iter_mut().zip(more) {
                    thinking[effort] += more;
                }
            }
        }
        ability
    }

    /// Adds to all models.
    pub fn add_to_all(&mut self, skill: Skill, logits: f64) {
        self.all[skill.place()] += logits;
    }

    /// Adds to a model.
    pub fn add_to_model(&mut self, model: &str, skill: Skill, logits: f64) {
        self.of(model).base[skill.place()] += logits;
    }

    /// Adds to a model at one effort.
    pub fn add_to_arm(&mut self, model: &str, effort: &str, skill: Skill, logits: f64) {
        let efforts = &mut self.of(model).efforts;
        efforts.entry(effort.to_owned()).or_default()[skill.place()] += logits;
    }

    fn of(&mut self, model: &str) -> &mut ModelCorrection {
        self.models.entry(model.to_owned()).or_default()
    }
}

/// Abilities of models, by their names, that go before those of the fleet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CorrectedAbilities(HashMap<String, Ability>);

impl CorrectedAbilities {
    /// What these corrections make of the abilities that are known.
    #[must_use]
    pub fn of<'m>(
        corrections: &Corrections,
        known: impl Iterator<Item = (&'m str, Ability)>,
    ) -> CorrectedAbilities {
        let corrected =
            known.map(|(name, known)| (name.to_owned(), corrections.ability(name, known)));
        CorrectedAbilities(corrected.collect())
    }

    /// The ability of a model of this name, where it is among them.
    #[must_use]
    pub fn named(&self, model: &str) -> Option<&Ability> {
        self.0.get(model)
    }
}

fn place(effort: Effort) -> usize {
    let found = Effort::ALL.iter().position(|e| *e == effort);
    found.expect("it is one of all")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AbilityTable {
    #[serde(rename = "_what")]
    _what: String,
    #[serde(rename = "unit")]
    _unit: String,
    #[serde(rename = "sources")]
    _sources: serde_json::Value,
    models: Vec<Entry>,
    defaults: Defaults,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Who makes it. A model is known by its name alone, since many servers offer it.
    #[serde(rename = "kind")]
    _kind: String,
    prefix: String,
    /// What else the same model is called.
    #[serde(default)]
    also: Vec<String>,
    ability: BySkill,
    /// What thinking adds where it must reason, if that is not the usual.
    #[serde(default)]
    effort: BTreeMap<String, f64>,
    /// The same in writing code.
    #[serde(default)]
    effort_code: BTreeMap<String, f64>,
    #[serde(default)]
    reasoning_tokens: BTreeMap<String, u64>,
    #[serde(rename = "source")]
    _source: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct BySkill {
    plain: f64,
    know: f64,
    reason: f64,
    code: f64,
}

impl Entry {
    /// The model is one of this family, and of its size where both names tell one.
    fn names(&self, model: &str) -> bool {
        let same_size = match (size(&self.prefix), size(model)) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        let mut prefixes = std::iter::once(&self.prefix).chain(&self.also);
        same_size && prefixes.any(|prefix| model.starts_with(&prefix.replace(':', "-")))
    }
}

impl BySkill {
    fn row(self) -> [f64; SKILLS] {
        [self.plain, self.know, self.reason, self.code]
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    /// No model of so many billions of parameters that nobody has measured is more able: medians of those that were measured, below
    /// the smallest of them an extrapolation. Smaller ones first.
    by_size: Vec<BySize>,
    by_tier: BTreeMap<String, BySkill>,
    effort: BTreeMap<String, BTreeMap<String, f64>>,
    reasoning_tokens: BTreeMap<String, u64>,
    #[serde(rename = "source")]
    _source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BySize {
    billions: f64,
    ability: BySkill,
}

fn file() -> &'static AbilityTable {
    static FILE: OnceLock<AbilityTable> = OnceLock::new();
    FILE.get_or_init(|| {
        serde_json::from_str(include_str!("../data/abilities.json"))
            .expect("a test reads the embedded table")
    })
}

/// What was measured at some efforts, at all of them: one between two is as the one below it, so that nothing is promised.
fn filled(values: &BTreeMap<String, f64>) -> [f64; EFFORTS] {
    let mut last = 0.0;
    Effort::ALL.map(|effort| {
        last = values.get(effort.name()).copied().unwrap_or(last).max(last);
        last
    })
}

fn by_effort(values: &BTreeMap<String, f64>) -> [f64; EFFORTS] {
    Effort::ALL.map(|e| values.get(e.name()).copied().unwrap_or_default())
}

/// What thinking usually adds, by skill and effort.
fn usual_thinking() -> [[f64; EFFORTS]; SKILLS] {
    let names = ["plain", "know", "reason", "code"];
    names.map(|name| {
        file()
            .defaults
            .effort
            .get(name)
            .map_or([0.0; EFFORTS], by_effort)
    })
}

/// Hidden reasoning tokens of an ordinary task at an effort, of a model that nobody has measured.
#[must_use]
pub fn usual_reasoning_tokens(effort: Effort) -> u64 {
    let usual = &file().defaults.reasoning_tokens;
    usual.get(effort.name()).copied().unwrap_or_default()
}

/// How many billions of parameters a name tells: `70b`, `3.8b`.
fn size(name: &str) -> Option<&str> {
    let mut parts = name.split(['-', ':', '_']);
    parts.find(|part| {
        part.strip_suffix('b')
            .is_some_and(|n| n.parse::<f32>().is_ok())
    })
}

/// How able a model of this name is; one that nobody has measured is as its tier is.
#[must_use]
pub fn ability(model: &str, tier: Tier) -> Ability {
    let name = model.to_ascii_lowercase().replace(':', "-");
    let name = name.rsplit('/').next().unwrap_or(&name);
    let undated = without_date(name).unwrap_or(name);
    let mut entries = file().models.iter();
    let found = entries.find(|entry| entry.names(undated));
    let mut ability = Ability {
        thinking: usual_thinking(),
        ..Ability::default()
    };
    let Some(entry) = found else {
        let usual = file().defaults.by_tier.get(tier.name());
        ability.base = usual.expect("a test finds every tier").row();
        let billions = size(undated).and_then(|size| size.strip_suffix('b')?.parse::<f64>().ok());
        let mut sizes = file().defaults.by_size.iter();
        let most = billions.and_then(|billions| sizes.find(|size| billions <= size.billions));
        if let Some(most) = most {
            let own = ability.base.iter_mut().zip(most.ability.row());
            own.for_each(|(own, most)| *own = own.min(most));
        }
        return ability;
    };
    ability.base = entry.ability.row();
    for (skill, gains) in [
        (Skill::Reason, &entry.effort),
        (Skill::Code, &entry.effort_code),
    ] {
        if !gains.is_empty() {
            ability.thinking[skill.place()] = filled(gains);
        }
    }
    let measured = |e: Effort| entry.reasoning_tokens.get(e.name()).copied();
    ability.reasoning_tokens = Effort::ALL.map(measured);
    ability
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_has_abilities_and_a_stronger_one_is_not_weaker() {
        for skill in Skill::ALL {
            let of = |tier| ability("own-model", tier).at(skill, Effort::None);
            let paid = [Tier::Small, Tier::Standard, Tier::Reasoning].map(of);
            assert!(paid.is_sorted(), "{skill:?}: {paid:?}");
            assert!(of(Tier::Local) <= of(Tier::Standard), "{skill:?}");
        }
    }

    #[test]
    fn thinking_pays_for_reasoning_and_hardly_for_plain_text_work() {
        let model = ability("own-model", Tier::Standard);
        let pays = |skill| model.at(skill, Effort::High) - model.at(skill, Effort::None);
        assert!(pays(Skill::Reason) > 0.5, "{}", pays(Skill::Reason));
        assert!(pays(Skill::Plain) < 0.2, "{}", pays(Skill::Plain));
        for skill in Skill::ALL {
            let rising = Effort::ALL.map(|effort| model.at(skill, effort));
            assert!(rising.is_sorted(), "{skill:?}: {rising:?}");
        }
    }

    #[test]
    fn another_size_of_a_family_is_another_model() {
        let know = |name| ability(name, Tier::Standard).at(Skill::Know, Effort::None);
        let small = know("llama3.1:8b");
        assert!((small - know("llama3.1")).abs() < 1e-9, "the usual size");
        for larger in ["llama3.1:70b", "llama3.1-70b", "llama-3.1-70b-instruct"] {
            assert!(know(larger) > small + 0.5, "{larger}: {}", know(larger));
        }
        assert!(know("llama3.1-405b") > small + 0.5, "as its tier is");
        let tiny = know("llama3.2-1b");
        assert!(tiny < small - 0.5, "no more than its size: {tiny}");
        assert!(know("mistral-7b-instruct") < know("own-model") - 0.5);
    }

    #[test]
    fn a_measured_model_is_known_by_its_name_its_dated_name_and_behind_its_maker() {
        let small = ability("gpt-4o-mini", Tier::Small);
        assert!(
            small.at(Skill::Know, Effort::None).abs() < 0.01,
            "the reference"
        );
        for name in ["gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"] {
            assert_eq!(ability(name, Tier::Reasoning), small, "{name}");
        }
    }
}
