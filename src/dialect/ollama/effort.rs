//! Effort at Ollama's own endpoints: `think`, a switch or a level.

use crate::arm::Effort;
use crate::effort::{Accepts, Family, Pen, Row, ToldModel, Words, spoken};
use crate::json::Object;

/// Ollama's word for effort.
pub(super) struct Think;

impl Words for Think {
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

    fn limit_field(&self, _: Family, _: &Accepts, _: &Object<'_>) -> &'static str {
        "options.num_predict"
    }
}

/// Writes the effort; gives the one really asked for.
fn write(pen: &mut Pen<'_>, row: Option<&Row>, accepts: &Accepts, wanted: Effort) -> Effort {
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
fn asked(fields: &Object<'_>) -> Option<Effort> {
    match fields.some("think")? {
        "false" => Some(Effort::None),
        "true" => Some(Effort::Medium),
        word => spoken(word),
    }
}
