//! Where a Responses request has what vendors differ about.

use crate::dialect::bend::{Bender, CallIds};
use crate::error::Error;

pub(super) fn bend(bender: &mut Bender<'_>) -> Result<(), Error> {
    for label in ["user", "safety_identifier"] {
        bender.label(&[label], label);
    }
    bender.limits(&["max_output_tokens"]);
    bender.unmark(&["input", "tools"]);
    bender.tools("tools", "parameters", |tool| {
        let function = tool["type"] == "function";
        tool.as_object_mut().filter(|_| function)
    })?;
    bender.change("text", |bender, text| {
        if let Some(format) = text.get_mut("format") {
            bender.format(format);
        }
    });
    if let Some(form) = bender.takes().call_id {
        bender.change("input", |_, input| {
            let mut ids = CallIds::new(form);
            for item in input.as_array_mut().into_iter().flatten() {
                ids.fit(item, "call_id");
            }
        });
    }
    Ok(())
}
