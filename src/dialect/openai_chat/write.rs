//! A neutral conversation as a Chat Completions request.

use crate::chat::Role;
use crate::chat::conversation::{
    Choice, Conversation, Format, Item, Media, MediaKind, Place, Tool,
};
use crate::dialect::carry;
use crate::dialect::functions;
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
    let numbers = [
        ("temperature", &sampling.temperature),
        ("top_p", &sampling.top_p),
        ("frequency_penalty", &sampling.frequency_penalty),
        ("presence_penalty", &sampling.presence_penalty),
        ("seed", &sampling.seed),
    ];
    functions::numbers(&mut body, numbers);
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
    let mut list = Vec::from_iter(functions::system(said));
    for message in &said.messages {
        match message.role {
            Role::User => {
                let content = functions::content(&message.items, medium)?;
                list.push(json!({"role": "user", "content": content}));
            }
            Role::Assistant => list.push(assistant(&message.items, to)?),
            Role::Tool => functions::results(&message.items, &mut list, lost, medium)?,
        }
    }
    not_empty(list)
}

fn medium(media: &Media) -> Result<Value, Error> {
    match (media.kind, &media.at) {
        (MediaKind::Image, _) => functions::picture(media),
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
                    Some(carry::WORDS_ONLY) => {
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
                let mut made = functions::call(call);
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

fn function(tool: &Tool) -> Value {
    let mut made = functions::declaration(tool);
    if let Some(strict) = tool.strict {
        made["function"]["strict"] = strict.into();
    }
    made
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
