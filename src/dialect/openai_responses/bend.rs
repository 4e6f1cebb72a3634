//! Where a Responses request has what vendors differ about.

use crate::dialect::bend::Bender;
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
    bender.call_ids("input", |ids, item| ids.fit(item, "call_id"));
    Ok(())
}
