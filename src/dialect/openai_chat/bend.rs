//! Where a Chat Completions request has what vendors differ about.

use crate::dialect::bend::Bender;
use crate::error::Error;
use serde_json::Value;

pub(super) fn bend(bender: &mut Bender<'_>) -> Result<(), Error> {
    bender.fields();
    bender.stops(&["stop"]);
    for label in ["user", "safety_identifier"] {
        bender.label(&[label], label);
    }
    bender.limits(&["max_tokens", "max_completion_tokens"]);
    bender.unmark(&["messages", "tools"]);
    bender.tools("tools", "parameters", |tool| {
        tool.get_mut("function")?.as_object_mut()
    })?;
    bender.tools("functions", "parameters", Value::as_object_mut)?;
    bender.change("response_format", |bender, format| {
        if let Some(inner) = format.get_mut("json_schema") {
            bender.format(inner);
        }
    });
    call_ids(bender);
    Ok(())
}

fn call_ids(bender: &mut Bender<'_>) {
    bender.call_ids("messages", |ids, message| {
        ids.fit(message, "tool_call_id");
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten() {
            ids.fit(call, "id");
        }
    });
}
