//! What is known of every model's thinking, as data.

use super::{Accepts, Family};
use crate::arm::Effort;
use crate::pattern::begins;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EffortTable {
    #[serde(rename = "_source")]
    _source: String,
    pub(super) families: BTreeMap<String, Vec<Row>>,
}

/// What is known of one group of models.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub(super) prefix: Vec<String>,
    efforts: Option<Vec<Name>>,
    #[serde(default)]
    none: bool,
    #[serde(default)]
    pub(super) on_by_default: bool,
    #[serde(default)]
    tools_need_none: bool,
    /// It takes temperature, top_p and top_k at all.
    #[serde(default = "yes")]
    pub sampling: bool,
    /// It takes a forced tool choice while it thinks.
    #[serde(default = "yes")]
    pub forced_tools: bool,
    /// The values of Anthropic's `thinking.type` that it takes.
    #[serde(default)]
    pub thinking: Vec<Thinking>,
    /// No effort is sent.
    #[serde(default)]
    pub mute: bool,
    /// Gemini's own endpoint takes a budget from the first to the second number, not a level.
    pub budget: Option<[u64; 2]>,
    #[serde(default)]
    pub(super) rounds: BTreeMap<Name, Name>,
    #[serde(default)]
    words: BTreeMap<Name, String>,
    /// The switch of its chat template.
    pub template_flag: Option<String>,
    /// `thinking.type` alone turns it on and off.
    #[serde(default)]
    pub switch: bool,
    /// What it demands of the calls of tools in a history.
    loops: Option<Loops>,
    #[serde(rename = "note")]
    _note: Option<String>,
}

fn yes() -> bool {
    true
}

/// A value of Anthropic's `thinking.type`.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// As much as the model likes, guided by an effort.
    Adaptive,
    /// With a budget.
    Enabled,
    /// Off.
    Disabled,
    /// Off but between calls of tools.
    BetweenTools,
}

/// What a model demands of the calls of tools in a history, or answers 400.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Loops {
    /// While it thinks, the last step of a loop that goes on must begin with its thinking.
    Begins,
    /// While it thinks, every call must come with its thinking.
    EveryCall,
    /// Whether it thinks or not, every step of the turn that goes on must have a signature, for which there is a stand-in.
    Signature,
    /// It always thinks, and every call must come with its thinking, for which any words will do.
    Words,
}

impl Loops {
    /// Something can stand for what is missing; otherwise the model must not think.
    #[must_use]
    pub fn has_stand_in(self) -> bool {
        matches!(self, Loops::Signature | Loops::Words)
    }
}

/// An effort by its name.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub(super) struct Name(pub(super) Effort);

impl TryFrom<String> for Name {
    type Error = String;
    fn try_from(name: String) -> Result<Name, String> {
        match Effort::parse(&name) {
            Some(effort) => Ok(Name(effort)),
            None => Err(format!("\"{name}\" is not an effort")),
        }
    }
}

impl Row {
    /// Which efforts such a model takes.
    pub(super) fn accepts(&self) -> Accepts {
        let efforts = match &self.efforts {
            Some(list) => list.iter().map(|name| name.0).collect(),
            None => {
                let none = self.none.then_some(Effort::None);
                none.into_iter()
                    .chain([Effort::Low, Effort::Medium, Effort::High])
                    .collect()
            }
        };
        Accepts {
            efforts,
            on_by_default: self.on_by_default,
            known: true,
            tools_need_none: self.tools_need_none,
            rounds: self.rounds.iter().map(|(a, b)| (a.0, b.0)).collect(),
            loops: self.loops,
        }
    }

    /// The provider's word for an effort.
    #[must_use]
    pub fn word(&self, effort: Effort) -> &str {
        self.words
            .get(&Name(effort))
            .map_or(effort.name(), String::as_str)
    }
}

pub(super) fn table() -> &'static EffortTable {
    static TABLE: OnceLock<EffortTable> = OnceLock::new();
    TABLE.get_or_init(|| {
        serde_json::from_str(include_str!("../data/effort.json"))
            .expect("a test reads the embedded table")
    })
}

/// The first row that this model's name begins like.
pub(super) fn row(family: Family, model: &str) -> Option<&'static Row> {
    let model = model.to_ascii_lowercase();
    let rows = table().families.get(family.name())?;
    rows.iter()
        .find(|row| row.prefix.iter().any(|p| begins(p, &model)))
}
