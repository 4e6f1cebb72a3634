//! Effort at Ollama's own endpoints: `think`, a switch or a level.

use super::{Accepts, Pen, Row, spoken};
use crate::json::Object;
use crate::route::arm::Effort;

/// Writes the effort; gives the one really asked for.
pub(super) fn write(
    pen: &mut Pen<'_>,
    row: Option<&Row>,
    accepts: &Accepts,
    wanted: Effort,
) -> Effort {
    if accepts.known && accepts.efforts.is_empty() {
        pen.reject("think");
    } else if wanted == Effort::None {
        pen.set(&["think"], "false");
    } else {
        pen.set_text(&["think"], row.map_or(wanted.name(), |r| r.word(wanted)));
    }
    wanted
}

/// The effort in a client's fields.
pub(super) fn asked(fields: &Object<'_>) -> Option<Effort> {
    match fields.some("think")? {
        "false" => Some(Effort::None),
        "true" => Some(Effort::Medium),
        word => spoken(word),
    }
}
