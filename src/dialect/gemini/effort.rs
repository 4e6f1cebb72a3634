//! Effort at Gemini's own endpoints: a budget for the 2.5 models, a level for the later ones; both together are a 400.

use crate::arm::Effort;
use crate::effort::{
    Accepts, Family, Pen, Row, ToldModel, Words, inner, of_budget, reasoning_allowance, spoken,
};
use crate::json::Object;
use serde_json::{Map, Value};

/// Gemini's words for effort.
pub(super) struct GeminiWords;

impl Words for GeminiWords {
    fn asked(&self, fields: &Object<'_>) -> Option<Effort> {
        asked(fields)
    }

    fn write(
        &self,
        pen: &mut Pen<'_>,
        to: &ToldModel<'_>,
        wanted: Effort,
    ) -> (Effort, Option<u64>) {
        (write(pen, to.row, to.accepts, wanted), None)
    }

    fn limit_field(&self, _: Family, _: &Accepts, asked: &Object<'_>) -> &'static str {
        match asked.some("generation_config") {
            Some(_) => "generation_config.maxOutputTokens",
            None => "generationConfig.maxOutputTokens",
        }
    }
}

/// Writes the effort; gives the one really asked for.
fn write(pen: &mut Pen<'_>, row: Option<&Row>, accepts: &Accepts, wanted: Effort) -> Effort {
    let (outer, mut thinking) = thinking(pen.fields);
    for key in [
        "thinkingBudget",
        "thinkingLevel",
        "thinking_budget",
        "thinking_level",
    ] {
        thinking.shift_remove(key);
    }
    let cannot_think = accepts.known && accepts.efforts.is_empty();
    match (wanted, row.and_then(|r| r.budget)) {
        _ if cannot_think => thinking.clear(),
        (Effort::None, None) if !accepts.efforts.contains(&Effort::None) => {}
        (Effort::None, _) => drop(thinking.insert("thinkingBudget".into(), 0.into())),
        (effort, Some([least, most])) => {
            let budget = reasoning_allowance(effort).clamp(least, most);
            thinking.insert("thinkingBudget".into(), budget.into());
        }
        (effort, None) => {
            let word = row
                .map_or(effort.name(), |r| r.word(effort))
                .to_ascii_uppercase();
            thinking.insert("thinkingLevel".into(), word.into());
        }
    }
    match thinking.is_empty() {
        true => pen.replace_inner(outer, "thinkingConfig"),
        false => pen.set(
            &[outer, "thinkingConfig"],
            Value::Object(thinking).to_string(),
        ),
    }
    pen.replace_inner(outer, "thinking_config");
    wanted
}

/// What the client says of thinking, and the spelling of the object around it.
fn thinking(fields: &Object<'_>) -> (&'static str, Map<String, Value>) {
    let outer = match fields.some("generation_config") {
        Some(_) => "generation_config",
        None => "generationConfig",
    };
    let config = inner(fields, outer);
    let raw = config
        .as_ref()
        .and_then(|c| c.some("thinkingConfig").or(c.some("thinking_config")));
    let map = raw.and_then(|raw| serde_json::from_str(raw).ok());
    (outer, map.unwrap_or_default())
}

/// The effort in a client's fields.
fn asked(fields: &Object<'_>) -> Option<Effort> {
    let (_, thinking) = thinking(fields);
    let level = thinking
        .get("thinkingLevel")
        .or(thinking.get("thinking_level"));
    if let Some(level) = level.and_then(Value::as_str) {
        return spoken(&format!("\"{}\"", level.to_ascii_lowercase()));
    }
    let budget = thinking
        .get("thinkingBudget")
        .or(thinking.get("thinking_budget"))?
        .as_i64()?;
    match budget {
        0 => Some(Effort::None),
        // As much as the model likes.
        ..0 => None,
        tokens => u64::try_from(tokens).ok().map(of_budget),
    }
}
