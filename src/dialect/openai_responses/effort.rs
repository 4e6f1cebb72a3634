//! Effort on the OpenAI Responses dialect: `reasoning.effort`, for every vendor alike.

use crate::arm::Effort;
use crate::dialect::openai_chat;
use crate::effort::{Accepts, Family, Pen, Row, ToldModel, Words, inner, spoken};
use crate::json::Object;

/// The words for effort of Responses.
pub(super) struct ResponsesWords;

impl Words for ResponsesWords {
    fn asked(&self, fields: &Object<'_>) -> Option<Effort> {
        inner(fields, "reasoning")?.some("effort").and_then(spoken)
    }

    fn write(
        &self,
        pen: &mut Pen<'_>,
        to: &ToldModel<'_>,
        wanted: Effort,
    ) -> (Effort, Option<u64>) {
        (
            write(pen, to.target.family, to.row, to.accepts, wanted),
            None,
        )
    }

    fn fit(&self, pen: &mut Pen<'_>, to: &ToldModel<'_>, effort: Effort) {
        if to.target.family == Family::OpenAi && effort != Effort::None {
            reject_sampling(pen);
        }
    }

    fn limit_field(&self, _: Family, _: &Accepts, _: &Object<'_>) -> &'static str {
        "max_output_tokens"
    }
}

/// Writes the effort; gives the one really asked for.
fn write(
    pen: &mut Pen<'_>,
    family: Family,
    row: Option<&Row>,
    accepts: &Accepts,
    wanted: Effort,
) -> Effort {
    if family == Family::OpenAi && wanted != Effort::None {
        reject_sampling(pen);
    }
    let silent = row.is_some_and(|r| r.mute);
    let unknown_off = !accepts.known && wanted == Effort::None;
    if silent || unknown_off || (accepts.known && accepts.efforts.is_empty()) {
        pen.reject("reasoning");
        return wanted;
    }
    let said = inner(pen.fields, "reasoning").is_some_and(|r| r.some("effort").is_some());
    if said || wanted != Effort::None || accepts.on_by_default {
        pen.set_text(
            &["reasoning", "effort"],
            row.map_or(wanted.name(), |r| r.word(wanted)),
        );
    }
    wanted
}

/// Takes away what OpenAI rejects while a model reasons.
fn reject_sampling(pen: &mut Pen<'_>) {
    openai_chat::reject_sampling(pen);
    let Some(raw) = pen.fields.some("include") else {
        return;
    };
    let Ok(mut list) = serde_json::from_str::<Vec<serde_json::Value>>(raw) else {
        return;
    };
    let all = list.len();
    list.retain(|what| what != LOGPROBS);
    if list.len() < all {
        pen.set(&["include"], serde_json::Value::Array(list).to_string());
    }
}

/// How `include` asks for the likelihood of tokens.
pub(super) const LOGPROBS: &str = "message.output_text.logprobs";
