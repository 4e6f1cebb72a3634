//! A neutral conversation as a Chat Completions request.

use crate::chat::Role;
use crate::chat::conversation::{
    Choice, Conversation, Format, Item, Media, MediaKind, Place, texts,
};
use crate::dialect::carry;
use crate::dialect::media;
use crate::dialect::open::{cannot_hold, not_empty};
use crate::dialect::{Addressee, Written};
use crate::error::Error;
use serde_json::{Map, Value, json};

pub(super) fn write(said: &Conversation, to: &Addressee<'_>) -> Result<Written, Error> {
    let mut lost = said.lost.clone();
    let mut body = Map::new();
    body.insert("model".into(), to.model.into());
    body.insert("messages".into(), messages(said, to, &mut lost)?.into());
    if said.stream {
        body.insert("stream".into(), true.into());
        body.insert("stream_options".into(), json!({"include_usage": true}));
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
        body.insert("response_format".into(), formatted(format));
    }
    if let Some(limit) = said.limit {
        body.insert("max_tokens".into(), limit.into());
    }
    let sampling = &said.sampling;
    for (key, value) in [
        ("temperature", &sampling.temperature),
        ("top_p", &sampling.top_p),
        ("frequency_penalty", &sampling.frequency_penalty),
        ("presence_penalty", &sampling.presence_penalty),
        ("seed", &sampling.seed),
    ] {
        if let Some(value) = value {
            body.insert(key.into(), Value::Number(value.clone()));
        }
    }
    if sampling.top_k.is_some() {
        lost.push("top_k".into());
    }
    if !said.stop.is_empty() {
        body.insert("stop".into(), said.stop.clone().into());
    }
    if let Some(choices) = said.choices {
        body.insert("n".into(), choices.into());
    }
    if let Some(top) = said.logprobs {
        body.insert("logprobs".into(), true.into());
        if top > 0 {
            body.insert("top_logprobs".into(), top.into());
        }
    }
    if let Some(user) = &said.user {
        body.insert("user".into(), user.clone().into());
    }
    Ok(Written {
        body: Value::Object(body).to_string(),
        lost,
    })
}

fn messages(
    said: &Conversation,
    to: &Addressee<'_>,
    lost: &mut Vec<String>,
) -> Result<Vec<Value>, Error> {
    let mut list = Vec::new();
    if !said.system.is_empty() {
        // Many chat templates take one system message only.
        list.push(json!({"role": "system", "content": said.system.join("\n\n")}));
    }
    for message in &said.messages {
        match message.role {
            Role::User => list.push(json!({"role": "user", "content": content(&message.items)?})),
            Role::Assistant => list.push(assistant(&message.items, to)?),
            Role::Tool => results(&message.items, &mut list, lost)?,
        }
    }
    not_empty(list)
}

/// One text stays a string, which every server of this dialect takes.
fn content(items: &[Item]) -> Result<Value, Error> {
    if let [Item::Text(text)] = items {
        return Ok(text.clone().into());
    }
    items.iter().map(part).collect()
}

fn part(item: &Item) -> Result<Value, Error> {
    Ok(match item {
        Item::Text(text) | Item::Refusal(text) => json!({"type": "text", "text": text}),
        Item::Media(media) => medium(media)?,
        Item::Call(_) | Item::Result(_) | Item::Reasoning(_) => {
            return Err(cannot_hold("a tool call in a user's message"));
        }
    })
}

fn medium(media: &Media) -> Result<Value, Error> {
    match (media.kind, &media.at) {
        (MediaKind::Image, _) => match media::to_url(media) {
            Some(url) => {
                let mut image = json!({"url": url});
                if let Some(detail) = &media.detail {
                    image["detail"] = detail.clone().into();
                }
                Ok(json!({"type": "image_url", "image_url": image}))
            }
            None => Err(cannot_hold("a picture without bytes")),
        },
        (_, Place::Text(text)) => Ok(json!({"type": "text", "text": text})),
        (MediaKind::Audio, Place::Inline(data)) => {
            let format = match media.mime.as_str() {
                "audio/wav" | "audio/x-wav" => "wav",
                "audio/mp3" | "audio/mpeg" => "mp3",
                _ => return Err(cannot_hold("sound other than wav and mp3")),
            };
            Ok(json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}))
        }
        (MediaKind::File, Place::Inline(_)) => {
            let name = media.name.as_deref().unwrap_or("document");
            let data = media::to_url(media);
            Ok(json!({"type": "file", "file": {"filename": name, "file_data": data}}))
        }
        (MediaKind::Audio | MediaKind::File, Place::Url(_)) => {
            Err(cannot_hold("a file by its address"))
        }
    }
}

fn assistant(items: &[Item], to: &Addressee<'_>) -> Result<Value, Error> {
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    let text = items.iter().filter_map(|item| match item {
        Item::Text(text) => Some(text.as_str()),
        _ => None,
    });
    let text = text.collect::<String>();
    let has_text = items.iter().any(|item| matches!(item, Item::Text(_)));
    message.insert(
        "content".into(),
        if has_text { text.into() } else { Value::Null },
    );
    let (mut calls, mut details, mut extra) = (Vec::new(), Vec::new(), None);
    for item in items {
        match item {
            Item::Refusal(text) => {
                message.insert("refusal".into(), text.clone().into());
            }
            Item::Reasoning(reasoning) => {
                match carry::fits(reasoning.state.as_ref(), "openai_chat", to.model) {
                    Some("text") => {
                        message.insert("reasoning_content".into(), reasoning.text.clone().into());
                    }
                    Some(json) => match serde_json::from_str(json) {
                        Ok(Value::Array(list)) => details.extend(list),
                        Ok(object) => extra = Some(object),
                        Err(_) => {}
                    },
                    None => {}
                }
            }
            Item::Call(call) => {
                let mut made = json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}});
                if let Some(extra) = extra.take() {
                    made["extra_content"] = extra;
                }
                calls.push(made);
            }
            Item::Text(_) => {}
            Item::Media(_) | Item::Result(_) => {
                return Err(cannot_hold("a file in a model's message"));
            }
        }
    }
    if !details.is_empty() {
        message.insert("reasoning_details".into(), details.into());
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    Ok(Value::Object(message))
}

/// Results are texts here; pictures and files of a tool follow in a message of the user.
fn results(items: &[Item], list: &mut Vec<Value>, lost: &mut Vec<String>) -> Result<(), Error> {
    let mut seen = Vec::new();
    for item in items {
        let Item::Result(result) = item else {
            return Err(cannot_hold("a tool's message without a result"));
        };
        if result.failed {
            lost.push("is_error".into());
        }
        list.push(
            json!({"role": "tool", "tool_call_id": result.id, "content": texts(&result.items)}),
        );
        for item in &result.items {
            if let Item::Media(media) = item {
                seen.push(medium(media)?);
            }
        }
    }
    if !seen.is_empty() {
        list.push(json!({"role": "user", "content": seen}));
    }
    Ok(())
}

fn function(tool: &crate::chat::conversation::Tool) -> Value {
    let mut function = json!({"name": tool.name});
    if let Some(description) = &tool.description {
        function["description"] = description.clone().into();
    }
    function["parameters"] = tool.schema.clone();
    if let Some(strict) = tool.strict {
        function["strict"] = strict.into();
    }
    json!({"type": "function", "function": function})
}

fn chosen(choice: &Choice) -> Value {
    match choice {
        Choice::Auto => "auto".into(),
        Choice::None => "none".into(),
        Choice::Any => "required".into(),
        Choice::Named(name) => json!({"type": "function", "function": {"name": name}}),
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
            let mut inner = json!({"name": name, "schema": schema});
            if let Some(strict) = strict {
                inner["strict"] = (*strict).into();
            }
            json!({"type": "json_schema", "json_schema": inner})
        }
    }
}
