//! A neutral conversation as a Responses request. Nothing is stored: reasoning comes back sealed instead.

use crate::chat::Role;
use crate::chat::conversation::{
    Choice, Conversation, Format, Item, Media, MediaKind, Message, Place, Returned,
};
use crate::dialect::open::{cannot, cannot_hold, not_empty};
use crate::dialect::{Addressee, Written, carry, media};
use crate::error::Error;
use serde_json::{Map, Value, json};

pub(super) fn write(said: &Conversation, to: &Addressee<'_>) -> Result<Written, Error> {
    let mut lost = said.lost.clone();
    if said.choices.is_some() {
        return Err(cannot("n"));
    }
    if !said.stop.is_empty() {
        return Err(cannot("stop"));
    }
    let mut body = Map::new();
    body.insert("model".into(), to.model.into());
    if !said.system.is_empty() {
        body.insert("instructions".into(), said.system.join("\n\n").into());
    }
    body.insert("input".into(), input(said, to, &mut lost)?.into());
    let mut include = Vec::new();
    // A model that does not think rejects the wish for its sealed thoughts.
    if to.thinks {
        include.push("reasoning.encrypted_content");
    }
    if said.stream {
        body.insert("stream".into(), true.into());
    }
    if !said.tools.is_empty() {
        body.insert("tools".into(), said.tools.iter().map(function).collect());
        if let Some(choice) = &said.choice {
            body.insert("tool_choice".into(), chosen(choice));
        }
        if let Some(parallel) = said.parallel() {
            body.insert("parallel_tool_calls".into(), parallel.into());
        }
    }
    if let Some(format) = &said.format {
        body.insert("text".into(), json!({"format": formatted(format)}));
    }
    if let Some(limit) = said.limit {
        // The least that this dialect takes.
        body.insert("max_output_tokens".into(), limit.max(16).into());
    }
    if said.show_reasoning {
        body.insert("reasoning".into(), json!({"summary": "auto"}));
    }
    let sampling = &said.sampling;
    for (key, value) in [
        ("temperature", &sampling.temperature),
        ("top_p", &sampling.top_p),
    ] {
        if let Some(value) = value {
            body.insert(key.into(), Value::Number(value.clone()));
        }
    }
    for (key, value) in [
        ("top_k", &sampling.top_k),
        ("seed", &sampling.seed),
        ("frequency_penalty", &sampling.frequency_penalty),
        ("presence_penalty", &sampling.presence_penalty),
    ] {
        if value
            .as_ref()
            .is_some_and(|v| key == "seed" || v.as_f64() != Some(0.0))
        {
            lost.push(key.into());
        }
    }
    if let Some(top) = said.logprobs {
        if top > 0 {
            body.insert("top_logprobs".into(), top.into());
        }
        include.push("message.output_text.logprobs");
    }
    if let Some(user) = &said.user {
        body.insert("user".into(), user.clone().into());
    }
    body.insert("store".into(), false.into());
    if !include.is_empty() {
        body.insert("include".into(), include.into());
    }
    Ok(Written {
        body: Value::Object(body).to_string(),
        lost,
    })
}

fn input(
    said: &Conversation,
    to: &Addressee<'_>,
    lost: &mut Vec<String>,
) -> Result<Vec<Value>, Error> {
    let mut list = Vec::new();
    for Message { role, items } in &said.messages {
        match role {
            Role::User if items.is_empty() => {}
            Role::User => {
                let parts = items.iter().map(part).collect::<Result<Vec<_>, _>>()?;
                list.push(json!({"role": "user", "content": parts}));
            }
            Role::Assistant => assistant(items, to, &mut list)?,
            Role::Tool => {
                for item in items {
                    if let Item::Result(result) = item {
                        if result.failed {
                            lost.push("is_error".into());
                        }
                        list.push(returned(result)?);
                    }
                }
            }
        }
    }
    not_empty(list)
}

fn assistant(items: &[Item], to: &Addressee<'_>, list: &mut Vec<Value>) -> Result<(), Error> {
    for item in items {
        match item {
            Item::Text(text) if text.is_empty() => {}
            Item::Text(text) => list.push(
                json!({"role": "assistant", "content": [{"type": "output_text", "text": text}]}),
            ),
            Item::Refusal(text) => list.push(
                json!({"role": "assistant", "content": [{"type": "refusal", "refusal": text}]}),
            ),
            Item::Call(call) => list.push(json!({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments})),
            Item::Reasoning(reasoning) => {
                let own = carry::fits(reasoning.state.as_ref(), "openai_responses", to.model);
                list.extend(own.and_then(|json| serde_json::from_str::<Value>(json).ok()));
            }
            Item::Media(_) | Item::Result(_) => return Err(cannot_hold("a file in a model's message")),
        }
    }
    Ok(())
}

fn part(item: &Item) -> Result<Value, Error> {
    match item {
        Item::Text(text) | Item::Refusal(text) => Ok(json!({"type": "input_text", "text": text})),
        Item::Media(media) => medium(media),
        Item::Call(_) | Item::Result(_) | Item::Reasoning(_) => {
            Err(cannot_hold("a tool call in a user's message"))
        }
    }
}

fn medium(media: &Media) -> Result<Value, Error> {
    match (media.kind, &media.at) {
        (MediaKind::Image, _) => match media::to_url(media) {
            Some(url) => {
                let detail = media.detail.as_deref().unwrap_or("auto");
                Ok(json!({"type": "input_image", "image_url": url, "detail": detail}))
            }
            None => Err(cannot_hold("a picture without bytes")),
        },
        (MediaKind::Audio, _) => Err(cannot_hold("sound")),
        (MediaKind::File, Place::Text(text)) => Ok(json!({"type": "input_text", "text": text})),
        (MediaKind::File, Place::Url(url)) => Ok(json!({"type": "input_file", "file_url": url})),
        (MediaKind::File, Place::Inline(_)) => {
            let name = media.name.as_deref().unwrap_or("document");
            Ok(json!({"type": "input_file", "filename": name, "file_data": media::to_url(media)}))
        }
    }
}

fn returned(result: &Returned) -> Result<Value, Error> {
    let plain = !result
        .items
        .iter()
        .any(|item| matches!(item, Item::Media(_)));
    let output = match plain {
        true => Value::from(result.text()),
        false => result
            .items
            .iter()
            .map(part)
            .collect::<Result<Vec<_>, _>>()?
            .into(),
    };
    Ok(json!({"type": "function_call_output", "call_id": result.id, "output": output}))
}

fn function(tool: &crate::chat::conversation::Tool) -> Value {
    let mut function = json!({"type": "function", "name": tool.name});
    if let Some(description) = &tool.description {
        function["description"] = description.clone().into();
    }
    function["parameters"] = tool.schema.clone();
    // Silence means strict here and loose everywhere else.
    function["strict"] = tool.strict.unwrap_or(false).into();
    function
}

fn chosen(choice: &Choice) -> Value {
    match choice {
        Choice::Auto => "auto".into(),
        Choice::None => "none".into(),
        Choice::Any => "required".into(),
        Choice::Named(name) => json!({"type": "function", "name": name}),
    }
}

fn formatted(format: &Format) -> Value {
    match format {
        Format::Json => json!({"type": "json_object"}),
        Format::Schema {
            name,
            schema,
            strict,
        } => {
            let mut made = json!({"type": "json_schema", "name": name, "schema": schema});
            if let Some(strict) = strict {
                made["strict"] = (*strict).into();
            }
            made
        }
    }
}
