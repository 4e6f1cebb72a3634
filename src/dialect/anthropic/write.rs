//! A neutral conversation as a Messages request.

use crate::chat::Role;
use crate::chat::conversation::{
    Choice, Conversation, Format, Item, Marked, Media, MediaKind, Message, Place, Reasoning,
    Returned,
};
use crate::dialect::bend::MARK;
use crate::dialect::open::{cannot, cannot_hold, not_empty};
use crate::dialect::{Addressee, Written};
use crate::dialect::{carry, media};
use crate::error::Error;
use crate::takes::digest;
use serde_json::{Map, Number, Value, json};
use std::borrow::Cow;
use std::collections::BTreeSet;

pub(super) fn write(said: &Conversation, to: &Addressee<'_>) -> Result<Written, Error> {
    let apart = apart(said);
    let said = apart.as_ref();
    let mut lost = said.lost.clone();
    if said.choices.is_some() {
        return Err(cannot("n"));
    }
    media::lose_detail(said, &mut lost);
    if said.logprobs.is_some() {
        return Err(cannot("logprobs"));
    }
    let mut body = Map::new();
    body.insert("model".into(), to.model.into());
    body.insert("max_tokens".into(), said.limit.unwrap_or(to.limit).into());
    match said.system.as_slice() {
        [] => {}
        [one] if said.mark(Marked::System(0)).is_none() => {
            body.insert("system".into(), one.clone().into());
        }
        many => {
            let blocks = many.iter().enumerate().map(|(i, text)| {
                let block = json!({"type": "text", "text": text});
                marked(block, said.mark(Marked::System(i)))
            });
            body.insert("system".into(), blocks.collect());
        }
    }
    if let Some(mark) = said.mark(Marked::Whole) {
        body.insert(MARK.into(), mark.clone());
    }
    body.insert("messages".into(), messages(said, to)?.into());
    if said.stream {
        body.insert("stream".into(), true.into());
    }
    tools(said, &mut body);
    match &said.format {
        None => {}
        Some(Format::Json) => return Err(cannot("response_format")),
        Some(Format::Schema { schema, .. }) => {
            let mut schema = schema.clone();
            close_objects(&mut schema);
            let format = json!({"format": {"type": "json_schema", "schema": schema}});
            body.insert("output_config".into(), format);
        }
    }
    sampling(said, &mut body, &mut lost);
    if !said.stop.is_empty() {
        body.insert("stop_sequences".into(), said.stop.clone().into());
    }
    if let Some(user) = &said.user {
        body.insert("metadata".into(), json!({"user_id": user}));
    }
    Ok(Written {
        body: Value::Object(body).to_string(),
        lost,
    })
}

/// An object of an answer's schema must say here that it has no other properties.
fn close_objects(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let open = map.get("type").is_some_and(|kind| {
                kind == "object"
                    || kind
                        .as_array()
                        .is_some_and(|k| k.contains(&json!("object")))
            });
            if open {
                map.entry("additionalProperties").or_insert(false.into());
            }
            let schemas = map.iter_mut().filter(|(key, _)| {
                !matches!(key.as_str(), "enum" | "const" | "default" | "examples")
            });
            schemas.for_each(|(_, inner)| close_objects(inner));
        }
        Value::Array(list) => list.iter_mut().for_each(close_objects),
        _ => {}
    }
}

/// Puts a mark for the prompt cache on what may have one: thoughts may not.
fn marked(mut block: Value, mark: Option<&Value>) -> Value {
    let thought = matches!(
        block["type"].as_str(),
        Some("thinking" | "redacted_thinking")
    );
    if let (Some(mark), false) = (mark, thought) {
        block[MARK] = mark.clone();
    }
    block
}

fn tools(said: &Conversation, body: &mut Map<String, Value>) {
    if said.tools.is_empty() {
        return;
    }
    let list = said.tools.iter().enumerate().map(|(i, tool)| {
        let mut made = json!({"name": tool.name});
        if let Some(description) = &tool.description {
            made["description"] = description.clone().into();
        }
        let mut schema = tool.schema.clone();
        if let Some(schema) = schema.as_object_mut() {
            schema.entry("type").or_insert_with(|| "object".into());
        }
        made["input_schema"] = schema;
        if let Some(strict) = tool.strict {
            made["strict"] = strict.into();
        }
        marked(made, said.mark(Marked::Tool(i)))
    });
    body.insert("tools".into(), list.collect());
    let single = said.parallel() == Some(false);
    let choice = match &said.choice {
        None if !single => return,
        None | Some(Choice::Auto) => json!({"type": "auto"}),
        Some(Choice::None) => json!({"type": "none"}),
        Some(Choice::Any) => json!({"type": "any"}),
        Some(Choice::Named(name)) => json!({"type": "tool", "name": name}),
    };
    let mut choice = choice;
    if single && choice["type"] != "none" {
        choice["disable_parallel_tool_use"] = true.into();
    }
    body.insert("tool_choice".into(), choice);
}

fn sampling(said: &Conversation, body: &mut Map<String, Value>, lost: &mut Vec<String>) {
    let sampling = &said.sampling;
    if let Some(temperature) = &sampling.temperature {
        // The scale ends at 1 here.
        let above = temperature.as_f64().is_some_and(|t| t > 1.0);
        if above {
            lost.push("temperature".into());
        }
        let kept = if above {
            Number::from(1)
        } else {
            temperature.clone()
        };
        body.insert("temperature".into(), Value::Number(kept));
    }
    for (key, value) in [("top_p", &sampling.top_p), ("top_k", &sampling.top_k)] {
        if let Some(value) = value {
            body.insert(key.into(), Value::Number(value.clone()));
        }
    }
    for (key, value) in [
        ("frequency_penalty", &sampling.frequency_penalty),
        ("presence_penalty", &sampling.presence_penalty),
        ("seed", &sampling.seed),
    ] {
        if value
            .as_ref()
            .is_some_and(|v| key == "seed" || v.as_f64() != Some(0.0))
        {
            lost.push(key.into());
        }
    }
}

/// Results and the user's words after them are one turn here.
fn messages(said: &Conversation, to: &Addressee<'_>) -> Result<Vec<Value>, Error> {
    let mut list: Vec<(&str, Vec<Value>)> = Vec::new();
    for (m, Message { role, items }) in said.messages.iter().enumerate() {
        let role = if *role == Role::Assistant {
            "assistant"
        } else {
            "user"
        };
        let mut blocks = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let mark = said.mark(Marked::Item(m, i));
            match (block(item, to)?, mark) {
                (Some(made), mark) => blocks.push(marked(made, mark)),
                // What has no words here: the prefix ends before it.
                (None, Some(mark)) => {
                    if let Some(last) = blocks.pop() {
                        blocks.push(marked(last, Some(mark)));
                    }
                }
                (None, None) => {}
            }
        }
        match list.last_mut() {
            Some((last, before)) if *last == role => before.extend(blocks),
            _ if blocks.is_empty() => {}
            _ => list.push((role, blocks)),
        }
    }
    let whole = |(role, blocks): (&str, Vec<Value>)| {
        let text = match blocks.as_slice() {
            [one] if one["type"] == "text" && one.get(MARK).is_none() => one["text"].clone(),
            _ => Value::Array(blocks),
        };
        json!({"role": role, "content": text})
    };
    not_empty(list.into_iter().map(whole).collect())
}

fn block(item: &Item, to: &Addressee<'_>) -> Result<Option<Value>, Error> {
    Ok(Some(match item {
        // An empty text block is a 400.
        Item::Text(text) | Item::Refusal(text) if text.is_empty() => return Ok(None),
        Item::Text(text) | Item::Refusal(text) => json!({"type": "text", "text": text}),
        Item::Media(media) => medium(media)?,
        Item::Call(call) => {
            json!({"type": "tool_use", "id": id(&call.id), "name": call.name, "input": call.object()})
        }
        Item::Result(result) => returned(result, to)?,
        Item::Reasoning(reasoning) => return Ok(thought(reasoning, to)),
    }))
}

/// Thinking goes back only to the model that signed it.
fn thought(reasoning: &Reasoning, to: &Addressee<'_>) -> Option<Value> {
    let value = carry::fits(reasoning.state.as_ref(), "anthropic_messages", to.model)?;
    Some(match value.strip_prefix(carry::REDACTED) {
        Some(data) => json!({"type": "redacted_thinking", "data": data}),
        None => json!({"type": "thinking", "thinking": reasoning.text, "signature": value}),
    })
}

fn returned(result: &Returned, to: &Addressee<'_>) -> Result<Value, Error> {
    let mut made = json!({"type": "tool_result", "tool_use_id": id(&result.id)});
    match result.items.as_slice() {
        [] => {}
        [Item::Text(text)] => made["content"] = text.clone().into(),
        items => {
            let mut blocks = Vec::new();
            for item in items {
                blocks.extend(block(item, to)?);
            }
            made["content"] = blocks.into();
        }
    }
    if result.failed {
        made["is_error"] = true.into();
    }
    Ok(made)
}

fn medium(media: &Media) -> Result<Value, Error> {
    let source = match &media.at {
        Place::Inline(data) => {
            json!({"type": "base64", "media_type": media.mime, "data": data})
        }
        Place::Text(text) => json!({"type": "text", "media_type": "text/plain", "data": text}),
        Place::Url(url) => json!({"type": "url", "url": url}),
    };
    match media.kind {
        MediaKind::Image => Ok(json!({"type": "image", "source": source})),
        MediaKind::Audio => Err(cannot_hold("sound")),
        MediaKind::File => {
            let mut made = json!({"type": "document", "source": source});
            if let Some(name) = &media.name {
                made["title"] = name.clone().into();
            }
            Ok(made)
        }
    }
}

/// The conversation with ids of calls that are told apart when they are written here too.
fn apart(said: &Conversation) -> Cow<'_, Conversation> {
    let items = said.messages.iter().flat_map(|message| &message.items);
    let ids: BTreeSet<&str> = items
        .filter_map(|item| match item {
            Item::Call(call) => Some(call.id.as_str()),
            _ => None,
        })
        .collect();
    let clashes = |own: &str| {
        let written = id(own);
        written != own
            && ids
                .iter()
                .any(|other| *other != own && id(other) == written)
    };
    if !ids.iter().any(|own| clashes(own)) {
        return Cow::Borrowed(said);
    }
    let mut told = said.clone();
    for item in told
        .messages
        .iter_mut()
        .flat_map(|message| &mut message.items)
    {
        let own = match item {
            Item::Call(call) => &mut call.id,
            Item::Result(result) => &mut result.id,
            _ => continue,
        };
        if clashes(own) {
            *own = format!("{}_{}", id(own), digest(own, 6));
        }
    }
    Cow::Owned(told)
}

/// Ids are letters, digits, `_` and `-` here.
fn id(id: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    id.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}
