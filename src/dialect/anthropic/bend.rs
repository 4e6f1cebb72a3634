//! Where a Messages request has what vendors differ about.

use crate::dialect::bend::{Bender, MARK, SEARCH};
use crate::error::Error;
use serde_json::Value;

pub(super) fn bend(bender: &mut Bender<'_>) -> Result<(), Error> {
    bender.stops(&["stop_sequences"]);
    bender.label(&["metadata", "user_id"], "user");
    bender.unmark(&["system", "messages", "tools"]);
    bender.tools("tools", "input_schema", Value::as_object_mut)?;
    for (outer, inner) in [("output_config", Some("format")), ("output_format", None)] {
        bender.change(outer, |bender, config| {
            let format = match inner {
                Some(key) => config.get_mut(key),
                None => Some(config),
            };
            if let Some(format) = format {
                bender.format(format);
            }
        });
    }
    if bender.takes().refuses_blank_text {
        bender.change("system", |_, system| match system {
            Value::String(text) if text.trim().is_empty() => *system = Value::Null,
            Value::Array(blocks) => {
                without_blanks(blocks);
                if blocks.is_empty() {
                    *system = Value::Null;
                }
            }
            _ => {}
        });
        bender.change("messages", |_, messages| spoken(messages));
    }
    if bender.takes().refuses_system_turns {
        bender.change("messages", |_, messages| said_by_users(messages));
    }
    if bender.takes().one_sampler && bender.raw("temperature").is_some() {
        bender.change("top_p", |bender, top_p| {
            *top_p = Value::Null;
            bender.lose("top_p");
        });
    }
    let choice = bender.raw("tool_choice").unwrap_or("null");
    let choice: Value = serde_json::from_str(choice).unwrap_or_default();
    let forced = !choice.is_null() && choice["type"] != "auto" && choice["type"] != "none";
    bender.hosted_tools(forced, |tool, lost| {
        let search = is_search(tool);
        lost.extend(search.then(|| SEARCH.to_owned()));
        !search
    });
    call_ids(bender);
    marks(bender);
    Ok(())
}

/// Whether this tool is a search of the web that Anthropic makes (platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool).
pub(super) fn is_search(tool: &Value) -> bool {
    tool["type"]
        .as_str()
        .is_some_and(|kind| kind.starts_with("web_search_"))
}

/// Instructions between turns become turns of the user; what only steers the model that was asked goes.
fn said_by_users(messages: &mut Value) {
    let Some(list) = messages.as_array_mut() else {
        return;
    };
    list.retain_mut(|message| {
        if message["role"] != "system" {
            return true;
        }
        if let Some(message) = message.as_object_mut() {
            message.shift_remove("output_config");
            message.insert("role".into(), "user".into());
        }
        message["content"]
            .as_array()
            .is_none_or(|blocks| !blocks.is_empty())
    });
}

/// Leaves out texts of white space alone, and messages that hold nothing else; what the last word of an assistant ends in too.
fn spoken(messages: &mut Value) {
    let Some(list) = messages.as_array_mut() else {
        return;
    };
    let before = list.clone();
    list.retain_mut(|message| match &mut message["content"] {
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(blocks) => {
            let empty = blocks.is_empty();
            without_blanks(blocks);
            for block in blocks.iter_mut().filter(|b| b["type"] == "tool_result") {
                if let Some(Value::Array(inner)) = block.get_mut("content") {
                    without_blanks(inner);
                }
            }
            empty || !blocks.is_empty()
        }
        _ => true,
    });
    if list.is_empty() {
        *list = before;
        return;
    }
    // An answer that is begun may not end in white space.
    if let Some(last) = list.last_mut().filter(|m| m["role"] == "assistant") {
        let text = match &mut last["content"] {
            Value::Array(blocks) => blocks.last_mut().and_then(|block| block.get_mut("text")),
            content => Some(content),
        };
        if let Some(Value::String(text)) = text {
            text.truncate(text.trim_end().len());
        }
    }
}

/// Takes out the texts of white space alone; the mark of one goes to what is before it.
fn without_blanks(blocks: &mut Vec<Value>) {
    let mut kept: Vec<Value> = Vec::with_capacity(blocks.len());
    for mut block in blocks.drain(..) {
        let text = block["text"].as_str().filter(|_| block["type"] == "text");
        if !text.is_some_and(|text| text.trim().is_empty()) {
            kept.push(block);
            continue;
        }
        let mark = block.as_object_mut().and_then(|b| b.shift_remove(MARK));
        if let (Some(mark), Some(Value::Object(last))) = (mark, kept.last_mut()) {
            last.entry(MARK).or_insert(mark);
        }
    }
    *blocks = kept;
}

fn call_ids(bender: &mut Bender<'_>) {
    bender.call_ids("messages", |ids, message| {
        let blocks = message.get_mut("content").and_then(Value::as_array_mut);
        for block in blocks.into_iter().flatten() {
            match block["type"].as_str() {
                Some("tool_use") => ids.fit(block, "id"),
                Some("tool_result") => ids.fit(block, "tool_use_id"),
                _ => {}
            }
        }
    });
}

/// Leaves as many marks as are taken: the last ones, which cover the longest prefixes.
fn marks(bender: &mut Bender<'_>) {
    let Some(most) = bender.takes().marks.filter(|most| *most > 0) else {
        return;
    };
    let keys = ["tools", "system", "messages"];
    let may = |raw: &str| raw.matches(MARK).count();
    let perhaps: usize = keys.iter().filter_map(|key| bender.raw(key)).map(may).sum();
    if perhaps <= most {
        return;
    }
    let mut all = usize::from(bender.raw(MARK).is_some());
    for key in keys {
        bender.change(key, |_, value| {
            for one in value.as_array().into_iter().flatten() {
                let inner = one.get("content").and_then(Value::as_array);
                let marked = inner.into_iter().flatten().chain([one]);
                all += marked.filter(|one| one.get(MARK).is_some()).count();
            }
        });
    }
    let mut over = all.saturating_sub(most);
    for key in keys {
        let over = &mut over;
        bender.change(key, |bender, value| {
            for one in value.as_array_mut().into_iter().flatten() {
                unmark_first(one, over, bender);
                let inner = one.get_mut("content").and_then(Value::as_array_mut);
                for block in inner.into_iter().flatten() {
                    unmark_first(block, over, bender);
                }
            }
        });
    }
}

fn unmark_first(value: &mut Value, over: &mut usize, bender: &mut Bender<'_>) {
    if let (true, Some(object)) = (*over > 0, value.as_object_mut())
        && object.shift_remove(MARK).is_some()
    {
        *over -= 1;
        bender.lose(MARK);
    }
}
