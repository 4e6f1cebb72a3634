//! Effort on the OpenAI Responses dialect: `reasoning.effort`, for every vendor alike.

use super::{Accepts, Family, Pen, Row, inner, openai, spoken};
use crate::json::Object;
use crate::route::arm::Effort;

/// Writes the effort; gives the one really asked for.
pub(super) fn write(
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
pub(super) fn reject_sampling(pen: &mut Pen<'_>) {
    openai::reject_sampling(pen);
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
const LOGPROBS: &str = "message.output_text.logprobs";

/// The effort in a client's fields.
pub(super) fn asked(fields: &Object<'_>) -> Option<Effort> {
    inner(fields, "reasoning")?.some("effort").and_then(spoken)
}
