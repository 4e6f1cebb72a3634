//! Routing rules: typed conditions, compiled once from TOML, and where a request goes that meets
//! them. Pure: the files' text is given, nothing is opened.
//!
//! The rules are tried in order of file and line; the first whose conditions all hold decides. The
//! last one is always [`DEFAULT`], which holds for everything.

mod parse;

pub use parse::{no_arm, parse};

use crate::arm::{Effort, Objective, Tier};
use crate::classify::{Difficulty, Task};
use crate::pattern::like;
use crate::private::Classes;

/// The name of the built-in last rule.
pub const DEFAULT: &str = "default";

/// The starter rules, in the order in which they are tried.
static EMBEDDED: &[(&str, &str)] = &[
    (
        "rules/00-privacy.toml",
        include_str!("../../rules/00-privacy.toml"),
    ),
    (
        "rules/90-unknown.toml",
        include_str!("../../rules/90-unknown.toml"),
    ),
];

/// The starter rules as (file name, text), for [`parse`].
#[must_use]
pub fn embedded() -> Vec<(String, String)> {
    let owned = |(file, text): &(&str, &str)| ((*file).to_owned(), (*text).to_owned());
    EMBEDDED.iter().map(owned).collect()
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name, unique over all files.
    pub name: String,
    /// Why it exists, in one sentence.
    pub why: String,
    /// What must hold.
    pub when: When,
    /// Where the request goes.
    pub route: Route,
    /// Prompts that this rule must decide; `flyball check` tries them.
    pub examples: Vec<String>,
    /// The file that it is in.
    pub file: String,
    /// The line in which it begins, from 1; 0 for the built-in one.
    pub line: usize,
}

/// The conditions of a rule. All that are set must hold; inside a list one is enough.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct When {
    /// The task is one of these.
    pub task: Vec<Task>,
    /// The difficulty lies here.
    pub difficulty: Option<Span<f64>>,
    /// The confidence in it lies here.
    pub confidence: Option<Span<f64>>,
    /// The points of quality that a stronger model is expected to add lie here.
    pub gain: Option<Span<f64>>,
    /// The prompt has so many tokens, by estimate.
    pub tokens: Option<Span<u64>>,
    /// The prompt offers tools, or does not.
    pub tools: Option<bool>,
    /// The answer must follow a JSON schema, or need not.
    pub structured: Option<bool>,
    /// The prompt has images, or has none.
    pub images: Option<bool>,
    /// The conversation has so many turns.
    pub turns: Option<Span<u64>>,
    /// The model asked for is like one of these patterns.
    pub model: Vec<String>,
    /// The request bears all of these tags.
    pub tag: Vec<(String, String)>,
    /// The request has all of these headers (names in lower case).
    pub header: Vec<(String, String)>,
    /// The virtual key is one of these, by name.
    pub key: Vec<String>,
    /// The objective is one of these.
    pub objective: Vec<Objective>,
    /// The request must stay on the operator's own machines.
    pub private: bool,
    /// One of these was found in the request.
    pub detected: Classes,
    /// The fullest cap that counts the request is full to so many percent.
    pub cap_used: Option<Span<u64>>,
}

/// From `from` up to, not including, `to`; an open end has no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<T> {
    /// The least value that lies inside.
    pub from: Option<T>,
    /// The least value above that lies outside.
    pub to: Option<T>,
}

impl<T: PartialOrd + Copy> Span<T> {
    /// Whether the value lies inside.
    #[must_use]
    pub fn holds(&self, value: T) -> bool {
        self.from.is_none_or(|from| value >= from) && self.to.is_none_or(|to| value < to)
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The tier, the model, or the tiers within which the arm is chosen by what it is worth and costs.
    pub to: Target,
    /// The efforts that may be chosen; `None` leaves it to the model and the decider.
    pub effort: Option<Efforts>,
    /// The share of the best arm's chance that the chosen one must have, 0 to 1; `None` leaves it to the objective.
    pub floor: Option<f64>,
    /// A cheaper arm is asked first where that pays, or never; `None` leaves it to the configuration.
    pub probe: Option<bool>,
    /// Patterns of models that may not answer.
    pub never: Vec<String>,
    /// Only `to` may answer first. Otherwise another arm may where `to` has none that can.
    pub strict: bool,
    /// Equal requests share their answer, unless they say otherwise.
    pub cache: bool,
    /// What may answer where `to` fails, in this order. Nothing else is ever a paid fallback.
    pub fallback: Vec<Target>,
}

/// A tier, one model with or without an effort, or all models of a range of tiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any model from the first tier to the second, both included.
    Within(Tier, Tier),
    /// Any model of this tier.
    Tier(Tier),
    /// This model.
    Arm(String, Option<Effort>),
}

/// From the least effort to the most, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Efforts {
    /// The weakest that may be chosen.
    pub least: Effort,
    /// The strongest that may be chosen.
    pub most: Effort,
}

/// What a rule can ask about a request.
pub struct Facts<'a> {
    /// Task, difficulty and confidence.
    pub difficulty: &'a Difficulty,
    /// Estimated tokens of the prompt.
    pub tokens: u64,
    /// Tools are offered.
    pub tools: bool,
    /// The answer must follow a schema.
    pub structured: bool,
    /// There are images.
    pub images: bool,
    /// Turns of the conversation.
    pub turns: usize,
    /// The model asked for.
    pub model: &'a str,
    /// Tags of the request and its key.
    pub tags: &'a [(String, String)],
    /// The value of a header, by its name in lower case.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
    /// The name of the virtual key.
    pub key: Option<&'a str>,
    /// The objective in force.
    pub objective: Objective,
    /// The request must stay local.
    pub private: bool,
    /// What was found in it.
    pub detected: Classes,
    /// How full the fullest cap is that counts the request, in percent.
    pub cap_used: u64,
}

impl Rule {
    /// Whether all conditions hold.
    #[must_use]
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        let when = &self.when;
        when.fits_prompt(facts) && when.fits_request(facts)
    }
}

impl When {
    fn fits_prompt(&self, facts: &Facts<'_>) -> bool {
        let turns = u64::try_from(facts.turns).unwrap_or(u64::MAX);
        let grade = facts.difficulty;
        any(&self.task, |t| *t == grade.task)
            && self.difficulty.is_none_or(|s| s.holds(grade.difficulty))
            && self.confidence.is_none_or(|s| s.holds(grade.confidence))
            && self.gain.is_none_or(|s| s.holds(grade.gain))
            && self.tokens.is_none_or(|s| s.holds(facts.tokens))
            && self.turns.is_none_or(|s| s.holds(turns))
            && self.cap_used.is_none_or(|s| s.holds(facts.cap_used))
            && self.tools.is_none_or(|b| b == facts.tools)
            && self.structured.is_none_or(|b| b == facts.structured)
            && self.images.is_none_or(|b| b == facts.images)
    }

    fn fits_request(&self, facts: &Facts<'_>) -> bool {
        let has_header = |(name, value): &(String, String)| {
            (facts.header)(name).is_some_and(|found| found == value)
        };
        (!self.private || facts.private)
            && (self.detected.is_empty() || !self.detected.within(facts.detected).is_empty())
            && any(&self.model, |pattern| like(pattern, facts.model))
            && any(&self.key, |name| facts.key == Some(name))
            && any(&self.objective, |o| *o == facts.objective)
            && self.tag.iter().all(|tag| facts.tags.contains(tag))
            && self.header.iter().all(has_header)
    }
}

/// An empty list sets no condition.
fn any<T>(list: &[T], holds: impl Fn(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(holds)
}

/// The rule for what no other rule decides.
#[must_use]
pub fn default_rule() -> Rule {
    Rule {
        name: DEFAULT.to_owned(),
        why: "No rule binds it: of the arms whose chance of a good answer is near enough to the best one's, the cheapest answers."
            .to_owned(),
        when: When::default(),
        route: Route {
            to: Target::Within(Tier::Local, Tier::Reasoning),
            effort: None,
            floor: None,
            probe: None,
            never: Vec::new(),
            strict: false,
            cache: false,
            fallback: Vec::new(),
        },
        examples: Vec::new(),
        file: "built in".to_owned(),
        line: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private::Class;

    fn when(conditions: &str) -> Rule {
        let text = format!(
            "[[rule]]
name = \"a\"
why = \"w\"
when = {{ {conditions} }}
route = {{ tier = \"small\" }}"
        );
        let rules = parse(&[("r.toml".to_owned(), text)], None);
        rules
            .unwrap_or_else(|told| panic!("{conditions}: {told:?}"))
            .swap_remove(0)
    }

    fn with_facts(change: impl FnOnce(&mut Facts<'_>), rule: &Rule) -> bool {
        let difficulty = Difficulty {
            difficulty: 0.5,
            confidence: 0.3,
            task: Task::ALL[0],
            gain: 0.2,
            ..Difficulty::default()
        };
        let tags = [
            ("team".to_owned(), "x".to_owned()),
            ("env".to_owned(), "p".to_owned()),
        ];
        let header = |name: &str| (name == "x-app").then_some("y");
        let mut facts = Facts {
            difficulty: &difficulty,
            tokens: 4000,
            tools: true,
            structured: false,
            images: false,
            turns: 3,
            model: "gpt-6-luna",
            tags: &tags,
            header: &header,
            key: Some("ci"),
            objective: Objective::Fast,
            private: false,
            detected: Classes::default().with(Class::Cards),
            cap_used: 80,
        };
        change(&mut facts);
        rule.matches(&facts)
    }

    #[test]
    fn every_condition_can_hold_and_can_fail() {
        let (task, other) = (Task::ALL[0].name(), Task::ALL[1].name());
        for (conditions, holds) in [
            ("", true),
            (&*format!("task = [\"{task}\"]"), true),
            (&*format!("task = [\"{other}\"]"), false),
            (&*format!("task = [\"{other}\", \"{task}\"]"), true),
            ("difficulty = \"0.5..\"", true),
            ("difficulty = \"..0.5\"", false),
            ("difficulty = \"0.51..\"", false),
            ("confidence = \"..0.3\"", false),
            ("confidence = \"0.2..0.31\"", true),
            ("gain = \"0.1..\"", true),
            ("gain = \"0.3..\"", false),
            ("tokens = \"..4000\"", false),
            ("tokens = \"..4001\"", true),
            ("tools = true", true),
            ("tools = false", false),
            ("structured = true", false),
            ("images = true", false),
            ("images = false", true),
            ("turns = \"3..\"", true),
            ("turns = \"4..\"", false),
            ("cap_used = \"80..\"", true),
            ("cap_used = \"81..\"", false),
            ("model = [\"claude-*\", \"gpt-*\"]", true),
            ("model = \"gpt-6\"", false),
            ("tag = { team = \"x\", env = \"p\" }", true),
            ("tag = { team = \"y\" }", false),
            ("header = { X-App = \"y\" }", true),
            ("header = { x-app = \"z\" }", false),
            ("header = { x-none = \"y\" }", false),
            ("key = [\"ci\"]", true),
            ("key = [\"other\"]", false),
            ("objective = [\"fast\", \"best\"]", true),
            ("objective = [\"cheap\"]", false),
            ("privacy = \"local\"", false),
            ("detected = \"cards\"", true),
            ("detected = [\"ids\", \"cards\"]", true),
            ("detected = [\"ids\", \"own\"]", false),
            ("tools = true, images = true", false),
        ] {
            assert_eq!(with_facts(|_| (), &when(conditions)), holds, "{conditions}");
        }
        assert!(with_facts(
            |f| f.private = true,
            &when("privacy = \"local\"")
        ));
        assert!(!with_facts(|f| f.key = None, &when("key = [\"ci\"]")));
    }

    #[test]
    fn the_starter_rules_are_valid_and_the_default_comes_last() {
        let rules = parse(&embedded(), None).unwrap_or_else(|told| panic!("{told:?}"));
        assert!(rules.len() > 1);
        let last = rules.last().expect("the default rule");
        assert_eq!(last, &default_rule());
        assert!(with_facts(|_| (), last));
    }
}
