//! Effort in the provider's own words: which efforts a model takes, and the edits that ask for one.
//!
//! The table is data (`src/data/effort.json`); how a dialect says an effort stands beside the dialect. Nothing here sends, prices or chooses; it never changes what
//! the client wants done (tools, tool choice, messages), only how hard the model thinks about it and the
//! sampling parameters that a thinking model rejects.

mod pen;
mod table;

pub use pen::Pen;
pub use table::{Loops, Row, Thinking};

use crate::arm::Effort;
use crate::json::{self, Edit, Object};
use table::row;

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
    /// What it demands of the calls of tools in a history.
    pub loops: Option<Loops>,
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
pub const BUDGET_MIN: u64 = 1_024;

/// A request to write an effort into.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Whose words.
    pub family: Family,
    /// The model that will answer, as its provider calls it.
    pub model: &'a str,
    /// How the dialect of the body says it.
    pub words: &'static dyn Words,
    /// The client's own fields.
    pub asked: &'a Object<'a>,
    /// The token limit that will be in force, if it is below what the client's fields say or they say nothing.
    pub limit_tokens: Option<u64>,
    /// The version of the API, where the dialect says one in a header.
    pub version: Option<&'a str>,
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

/// A model that is told an effort.
#[derive(Clone, Copy)]
pub struct ToldModel<'a> {
    /// The request.
    pub target: &'a Target<'a>,
    /// What the table says of the model.
    pub row: Option<&'a Row>,
    /// Which efforts it takes.
    pub accepts: &'a Accepts,
}

/// How a dialect says an effort and a token limit.
pub trait Words: Send + Sync {
    /// The effort that a client set in its own words, in whichever of the known ways; `None` where it said nothing.
    /// A budget stands for the least effort whose allowance holds it.
    fn asked(&self, fields: &Object<'_>) -> Option<Effort>;

    /// Writes an effort that the model takes; gives the one really asked for, and the budget that was written, if one was.
    fn write(&self, pen: &mut Pen<'_>, to: &ToldModel<'_>, wanted: Effort)
    -> (Effort, Option<u64>);

    /// Takes away what the model rejects at the effort that it has by itself.
    fn fit(&self, _pen: &mut Pen<'_>, _to: &ToldModel<'_>, _effort: Effort) {}

    /// The field that holds the token limit of a request to such a model.
    fn limit_field(&self, family: Family, accepts: &Accepts, asked: &Object<'_>) -> &'static str;

    /// The dialect at which a model takes tools together with an effort, where it may reject both together at this one.
    fn tools_and_effort_at(&self) -> Option<&'static str> {
        None
    }

    /// Every top-level field that may hold the limit, where there are several: none may contradict another.
    fn limit_fields(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Writes the wanted effort, or the nearest that this model takes in this request.
#[must_use]
pub fn write_as(target: &Target<'_>, accepts: &Accepts, wanted: Effort) -> Written {
    let told = ToldModel {
        target,
        row: row(target.family, target.model),
        accepts,
    };
    let mut pen = Pen::new(target.asked);
    let (effort, budget) = target.words.write(&mut pen, &told, clamp(accepts, wanted));
    written(pen, effort, budget)
}

/// Writes no effort: takes away only what this model rejects at the effort that it has by itself, and moves a limit to
/// the field that holds it.
#[must_use]
pub fn fit(target: &Target<'_>, accepts: &Accepts) -> Written {
    let effort = match accepts.on_by_default {
        true => clamp(accepts, Effort::Medium),
        false => Effort::None,
    };
    let told = ToldModel {
        target,
        row: row(target.family, target.model),
        accepts,
    };
    let mut pen = Pen::new(target.asked);
    target.words.fit(&mut pen, &told, effort);
    written(pen, effort, None)
}

fn written(pen: Pen<'_>, effort: Effort, budget: Option<u64>) -> Written {
    let reasoning_allowance = budget.unwrap_or(reasoning_allowance(effort));
    Written {
        edits: pen.edits,
        removed: pen.removed,
        effort,
        least_reasoning_tokens: reasoning_allowance.min(BUDGET_MIN),
        reasoning_allowance,
    }
}

/// The least effort whose allowance holds this budget.
#[must_use]
pub fn of_budget(tokens: u64) -> Effort {
    Effort::ALL
        .into_iter()
        .find(|e| reasoning_allowance(*e) >= tokens)
        .unwrap_or(Effort::Max)
}

/// An effort in any provider's spelling.
#[must_use]
pub fn spoken(raw: &str) -> Option<Effort> {
    let word = json::text(raw)?;
    match word.as_ref() {
        "off" => Some(Effort::None),
        "on" | "default" => Some(Effort::Medium),
        "ultra" => Some(Effort::Max),
        word => Effort::parse(word),
    }
}

/// A field's value as an object; what is no object has no fields.
#[must_use]
pub fn inner<'a>(fields: &Object<'a>, key: &str) -> Option<Object<'a>> {
    Object::read_str(fields.some(key)?).ok()
}

#[cfg(test)]
mod tests;
