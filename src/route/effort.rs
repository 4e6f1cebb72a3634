//! Effort in the provider's own words: which efforts a model takes, and the edits that ask for one.
//!
//! The table is data (`src/data/effort.json`). Nothing here sends, prices or chooses; it never changes what
//! the client wants done (tools, tool choice, messages), only how hard the model thinks about it and the
//! sampling parameters that a thinking model rejects.

mod anthropic;
mod gemini;
mod ollama;
mod openai;
mod responses;

use crate::json::{self, Edit, Object};
use crate::route::arm::Effort;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Whose words for effort are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// OpenAI, and Azure under the real model's name.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// Gemini at its OpenAI-compatible endpoint.
    Gemini,
    /// DeepSeek.
    DeepSeek,
    /// xAI.
    Xai,
    /// Groq.
    Groq,
    /// Mistral.
    Mistral,
    /// OpenRouter.
    OpenRouter,
    /// Ollama at its compatible endpoints.
    Ollama,
    /// llama.cpp's server.
    LlamaCpp,
    /// LM Studio.
    LmStudio,
    /// vLLM.
    Vllm,
    /// Any other server that speaks a known dialect: an effort is written only as [`Accepts::listed`] says.
    Compatible,
    /// flyball's simulated models.
    Simulated,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 14] = [
        Family::OpenAi,
        Family::Anthropic,
        Family::Gemini,
        Family::DeepSeek,
        Family::Xai,
        Family::Groq,
        Family::Mistral,
        Family::OpenRouter,
        Family::Ollama,
        Family::LlamaCpp,
        Family::LmStudio,
        Family::Vllm,
        Family::Compatible,
        Family::Simulated,
    ];

    /// The name in the table; the provider kinds of the configuration have the same names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::OpenAi => "openai",
            Family::Anthropic => "anthropic",
            Family::Gemini => "gemini",
            Family::DeepSeek => "deepseek",
            Family::Xai => "xai",
            Family::Groq => "groq",
            Family::Mistral => "mistral",
            Family::OpenRouter => "openrouter",
            Family::Ollama => "ollama",
            Family::LlamaCpp => "llamacpp",
            Family::LmStudio => "lmstudio",
            Family::Vllm => "vllm",
            Family::Compatible => "compatible",
            Family::Simulated => "simulated",
        }
    }
}

/// Which efforts a model takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepts {
    /// Weakest first; has [`Effort::None`] where thinking can be off. Empty: the model does not think,
    /// or, unless `known`, nobody has said.
    pub efforts: Vec<Effort>,
    /// It thinks when the request says nothing.
    pub on_by_default: bool,
    /// The table or the configuration has this model.
    pub known: bool,
    /// On the OpenAI chat dialect a request with tools is rejected at any other effort than none.
    pub tools_need_none: bool,
    /// Where the provider itself says which accepted effort another word stands for.
    pub rounds: Vec<(Effort, Effort)>,
}

impl Accepts {
    /// False only where it is known that the model does not think.
    #[must_use]
    pub fn may_think(&self) -> bool {
        !self.known || !self.efforts.is_empty()
    }

    /// What the operator's configuration lists for a model that the table does not have. Thinking counts as
    /// on by default, so that off is always said. An empty list says that the model does not think.
    #[must_use]
    pub fn listed(mut efforts: Vec<Effort>) -> Accepts {
        efforts.sort_unstable();
        efforts.dedup();
        Accepts {
            on_by_default: !efforts.is_empty(),
            efforts,
            known: true,
            ..Accepts::default()
        }
    }
}

/// Which efforts this model takes, by the table; the first matching row wins. A list that the source does not
/// pin counts as low, medium, high, and none where that is known to be accepted.
#[must_use]
pub fn accepts(family: Family, model: &str) -> Accepts {
    row(family, model).map(Row::accepts).unwrap_or_default()
}

/// The accepted effort nearest to the wanted one; of two as near, the lower. A wish to think stays one: it
/// becomes `None` only where the model does not think or takes nothing else. `None`, where thinking cannot
/// be off, becomes the lowest. For a model that nobody knows the wish stands.
#[must_use]
pub fn clamp(accepts: &Accepts, wanted: Effort) -> Effort {
    if !accepts.known || accepts.efforts.contains(&wanted) {
        return wanted;
    }
    let own = accepts.rounds.iter().find(|(from, _)| *from == wanted);
    if let Some((_, to)) = own {
        return *to;
    }
    let place = |e: Effort| Effort::ALL.iter().position(|x| *x == e).unwrap_or(0);
    let thinking = accepts.efforts.iter().filter(|e| **e != Effort::None);
    thinking
        .copied()
        .min_by_key(|e| place(*e).abs_diff(place(wanted)))
        .unwrap_or(Effort::None)
}

/// How many tokens thinking may take at this effort. flyball's own planning figures, not a provider's promise;
/// the higher ones are the largest budgets that providers accept.
///
/// | none | minimal | low | medium | high | xhigh | max |
/// |---|---|---|---|---|---|---|
/// | 0 | 512 | 2,048 | 8,192 | 16,384 | 32,768 | 65,536 |
#[must_use]
pub fn reasoning_allowance(effort: Effort) -> u64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal => 512,
        Effort::Low => 2_048,
        Effort::Medium => 8_192,
        Effort::High => 16_384,
        Effort::Xhigh => 32_768,
        Effort::Max => 65_536,
    }
}

/// The least thinking budget. It is Anthropic's own minimum; no other provider pins one, so it stands for all.
const BUDGET_MIN: u64 = 1_024;

/// A request to write an effort into.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Whose words.
    pub family: Family,
    /// The model that will answer, as its provider calls it.
    pub model: &'a str,
    /// The dialect of the body, by its name.
    pub dialect: &'a str,
    /// The client's own fields.
    pub asked: &'a Object<'a>,
    /// The token limit that will be in force, if it is below what the client's fields say or they say nothing.
    pub limit_tokens: Option<u64>,
    /// The `anthropic-version` header.
    pub anthropic_version: Option<&'a str>,
}

/// How an effort is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The changes to the body.
    pub edits: Vec<Edit>,
    /// The client's fields that are gone because this model rejects them, for a response header.
    pub removed: Vec<String>,
    /// What is really asked for.
    pub effort: Effort,
    /// Fewer tokens than this leave no room to think at all; 0 when thinking is off.
    pub least_reasoning_tokens: u64,
    /// How many tokens thinking may take: [`reasoning_allowance`], or the budget that was written.
    pub reasoning_allowance: u64,
}

/// Writes the wanted effort, or the nearest that this model takes in this request, by the table.
#[must_use]
pub fn write(
    family: Family,
    model: &str,
    dialect: &str,
    wanted: Effort,
    asked: &Object<'_>,
    limit_tokens: Option<u64>,
    anthropic_version: Option<&str>,
) -> Written {
    let target = Target {
        family,
        model,
        dialect,
        asked,
        limit_tokens,
        anthropic_version,
    };
    write_as(&target, &accepts(family, model), wanted)
}

/// As [`write`], for a model whose efforts the configuration or a probe of the server told.
#[must_use]
pub fn write_as(target: &Target<'_>, accepts: &Accepts, wanted: Effort) -> Written {
    let row = row(target.family, target.model);
    let wanted = clamp(accepts, wanted);
    let mut pen = Pen::new(target.asked);
    let (effort, budget) = match target.dialect {
        "anthropic_messages" => anthropic::write(&mut pen, target, row, accepts, wanted),
        "gemini" => (gemini::write(&mut pen, row, accepts, wanted), None),
        "ollama_chat" | "ollama_generate" => (ollama::write(&mut pen, row, accepts, wanted), None),
        "openai_responses" => {
            let effort = responses::write(&mut pen, target.family, row, accepts, wanted);
            (effort, None)
        }
        _ => (openai::write(&mut pen, target, row, accepts, wanted), None),
    };
    let reasoning_allowance = budget.unwrap_or(reasoning_allowance(effort));
    Written {
        edits: pen.edits,
        removed: pen.removed,
        effort,
        least_reasoning_tokens: reasoning_allowance.min(BUDGET_MIN),
        reasoning_allowance,
    }
}

/// Writes no effort: takes away only what this model rejects at the effort that it has by itself, and moves a limit to
/// the field that holds it.
#[must_use]
pub fn fit(target: &Target<'_>, accepts: &Accepts) -> Written {
    let row = row(target.family, target.model);
    let effort = match accepts.on_by_default {
        true => clamp(accepts, Effort::Medium),
        false => Effort::None,
    };
    let mut pen = Pen::new(target.asked);
    match target.dialect {
        "anthropic_messages" => anthropic::sampling(&mut pen, target, row, effort),
        "openai_chat" => openai::fit(&mut pen, target, accepts, effort),
        "openai_responses" if target.family == Family::OpenAi && effort != Effort::None => {
            responses::reject_sampling(&mut pen);
        }
        _ => {}
    }
    let reasoning_allowance = reasoning_allowance(effort);
    Written {
        edits: pen.edits,
        removed: pen.removed,
        effort,
        least_reasoning_tokens: reasoning_allowance.min(BUDGET_MIN),
        reasoning_allowance,
    }
}

/// The field that holds the token limit of a request to this model; [`write`] moves a client's limit there.
#[must_use]
pub fn limit_field(family: Family, model: &str, dialect: &str, asked: &Object<'_>) -> &'static str {
    match dialect {
        "anthropic_messages" => "max_tokens",
        "openai_responses" => "max_output_tokens",
        "ollama_chat" | "ollama_generate" => "options.num_predict",
        "gemini" if asked.some("generation_config").is_some() => {
            "generation_config.maxOutputTokens"
        }
        "gemini" => "generationConfig.maxOutputTokens",
        _ => openai::limit_field(family, &accepts(family, model), asked),
    }
}

/// The effort that a client set in its own words, in whichever of the known ways; `None` where it said nothing.
/// A budget stands for the least effort whose allowance holds it, adaptive thinking without an effort for
/// high, Anthropic's usual default.
#[must_use]
pub fn asked(dialect: &str, fields: &Object<'_>) -> Option<Effort> {
    match dialect {
        "anthropic_messages" => anthropic::asked(fields),
        "gemini" => gemini::asked(fields),
        "openai_responses" => responses::asked(fields),
        "ollama_chat" | "ollama_generate" => ollama::asked(fields),
        _ => openai::asked(fields),
    }
}

/// The least effort whose allowance holds this budget.
fn of_budget(tokens: u64) -> Effort {
    Effort::ALL
        .into_iter()
        .find(|e| reasoning_allowance(*e) >= tokens)
        .unwrap_or(Effort::Max)
}

/// An effort in any provider's spelling.
fn spoken(raw: &str) -> Option<Effort> {
    let word = json::text(raw)?;
    match word.as_ref() {
        "off" => Some(Effort::None),
        "on" | "default" => Some(Effort::Medium),
        "ultra" => Some(Effort::Max),
        word => Effort::parse(word),
    }
}

/// A field's value as an object; what is no object has no fields.
fn inner<'a>(fields: &Object<'a>, key: &str) -> Option<Object<'a>> {
    Object::read_str(fields.some(key)?).ok()
}

/// Collects edits to one body.
struct Pen<'a> {
    fields: &'a Object<'a>,
    edits: Vec<Edit>,
    removed: Vec<String>,
}

impl<'a> Pen<'a> {
    fn new(fields: &'a Object<'a>) -> Pen<'a> {
        Pen {
            fields,
            edits: Vec::new(),
            removed: Vec::new(),
        }
    }

    fn set(&mut self, path: &[&str], json: impl Into<String>) {
        self.edits.push(Edit::set(path, json));
    }

    fn set_text(&mut self, path: &[&str], text: &str) {
        self.edits.push(Edit::set_text(path, text));
    }

    /// Takes a field away that another one stands for now.
    fn replace(&mut self, key: &str) {
        if self.fields.get(key).is_some() {
            self.edits.push(Edit::remove(&[key]));
        }
    }

    /// Takes a field away that this model rejects, and names it.
    fn reject(&mut self, key: &str) {
        self.replace(key);
        if self.fields.some(key).is_some() {
            self.removed.push(key.to_owned());
        }
    }

    /// Takes an inner field away; the outer one too where nothing else is in it.
    fn replace_inner(&mut self, outer: &str, key: &str) {
        let Some(object) = inner(self.fields, outer) else {
            return;
        };
        match (object.get(key), object.iter().count()) {
            (None, _) => {}
            (Some(_), 1) => self.edits.push(Edit::remove(&[outer])),
            (Some(_), _) => self.edits.push(Edit::remove(&[outer, key])),
        }
    }
}

/// The table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(rename = "_source")]
    _source: String,
    families: BTreeMap<String, Vec<Row>>,
}

/// What is known of one group of models.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    prefix: Vec<String>,
    efforts: Option<Vec<Name>>,
    #[serde(default)]
    none: bool,
    #[serde(default)]
    on_by_default: bool,
    #[serde(default)]
    tools_need_none: bool,
    #[serde(default = "yes")]
    sampling: bool,
    #[serde(default = "yes")]
    forced_tools: bool,
    #[serde(default)]
    thinking: Vec<Thinking>,
    #[serde(default)]
    mute: bool,
    /// Gemini's own endpoint takes a budget from the first to the second number, not a level.
    budget: Option<[u64; 2]>,
    #[serde(default)]
    rounds: BTreeMap<Name, Name>,
    #[serde(default)]
    words: BTreeMap<Name, String>,
    template_flag: Option<String>,
    #[serde(rename = "note")]
    _note: Option<String>,
}

fn yes() -> bool {
    true
}

/// A value of Anthropic's `thinking.type`.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Thinking {
    Adaptive,
    Enabled,
    Disabled,
    BetweenTools,
}

/// An effort by its name.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
struct Name(Effort);

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
    fn accepts(&self) -> Accepts {
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
        }
    }

    /// The provider's word for an effort.
    fn word(&self, effort: Effort) -> &str {
        self.words
            .get(&Name(effort))
            .map_or(effort.name(), String::as_str)
    }
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        serde_json::from_str(include_str!("../data/effort.json"))
            .expect("a test reads the embedded table")
    })
}

fn row(family: Family, model: &str) -> Option<&'static Row> {
    let model = model.to_ascii_lowercase();
    let rows = table().families.get(family.name())?;
    rows.iter()
        .find(|row| row.prefix.iter().any(|p| begins(&model, p)))
}

/// Whether a name begins with a pattern, in which `*` stands for any text.
fn begins(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests;
