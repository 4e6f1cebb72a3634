//! Where a Responses request has what vendors differ about.

use super::named;
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
    let forced = bender
        .raw("tool_choice")
        .is_some_and(|raw| !matches!(raw, "\"auto\"" | "\"none\""));
    bender.hosted_tools(forced, |tool, lost| {
        let hosted = named::hosted(tool);
        lost.extend(hosted.map(String::from));
        hosted.is_none()
    });
    bender.call_ids("input", |ids, item| ids.fit(item, "call_id"));
    Ok(())
}
