//! A neutral conversation as a request of Ollama's own API.

use super::Ollama;
use crate::chat::Role;
use crate::chat::conversation::{Conversation, Format, Item, Media, MediaKind, Place, texts};
use crate::dialect::functions;
use crate::dialect::open::{cannot, cannot_hold, not_empty};
use crate::dialect::{Addressee, Written, carry, media};
use crate::error::Error;
use serde_json::{Map, Value, json};

pub(super) fn write(
    api: Ollama,
    said: &Conversation,
    to: &Addressee<'_>,
) -> Result<Written, Error> {
    let mut lost = said.lost.clone();
    if said.choices.is_some() {
        return Err(cannot("n"));
    }
    media::lose_detail(said, &mut lost);
    let mut body = Map::new();
    body.insert("model".into(), to.model.into());
    body.insert("stream".into(), said.stream.into());
    match api {
        Ollama::Chat => body.insert("messages".into(), messages(said, to, &mut lost)?.into()),
        Ollama::Generate => return Err(cannot("messages")),
    };
    if !said.tools.is_empty() {
        use crate::chat::conversation::Choice;
        match &said.choice {
            None | Some(Choice::Auto) => drop(body.insert("tools".into(), tools(said))),
            Some(Choice::None) => {}
            Some(Choice::Any | Choice::Named(_)) => return Err(cannot("tool_choice")),
        }
        if said.parallel_calls == Some(false) {
            lost.push("parallel_tool_calls".into());
        }
    }
    match &said.format {
        None => {}
        Some(Format::Json) => drop(body.insert("format".into(), "json".into())),
        Some(Format::Schema { schema, .. }) => drop(body.insert("format".into(), schema.clone())),
    }
    if let Some(top) = said.logprobs {
        body.insert("logprobs".into(), true.into());
        body.insert("top_logprobs".into(), top.into());
    }
    if said.user.is_some() {
        lost.push("user".into());
    }
    let options = options(said);
    if !options.is_empty() {
        body.insert("options".into(), Value::Object(options));
    }
    Ok(Written {
        body: Value::Object(body).to_string(),
        lost,
    })
}

fn options(said: &Conversation) -> Map<String, Value> {
    let mut options = Map::new();
    let sampling = &said.sampling;
    let numbers = [
        ("temperature", &sampling.temperature),
        ("top_p", &sampling.top_p),
        ("top_k", &sampling.top_k),
        ("seed", &sampling.seed),
        ("frequency_penalty", &sampling.frequency_penalty),
        ("presence_penalty", &sampling.presence_penalty),
    ];
    functions::numbers(&mut options, numbers);
    if !said.stop.is_empty() {
        options.insert("stop".into(), said.stop.clone().into());
    }
    if let Some(limit) = said.limit {
        options.insert("num_predict".into(), limit.into());
    }
    options
}

fn tools(said: &Conversation) -> Value {
    let list = said.tools.iter().map(|tool| {
        let description = tool.description.clone().unwrap_or_default();
        json!({"type": "function", "function": {"name": tool.name, "description": description, "parameters": tool.schema}})
    });
    list.collect()
}

fn messages(
    said: &Conversation,
    to: &Addressee<'_>,
    lost: &mut Vec<String>,
) -> Result<Vec<Value>, Error> {
    let mut list = Vec::from_iter(functions::system(said));
    for message in &said.messages {
        match message.role {
            Role::User => list.push(with_images("user", &message.items)?),
            Role::Assistant => list.push(assistant(&message.items, to)?),
            Role::Tool => {
                for item in &message.items {
                    let Item::Result(result) = item else { continue };
                    if result.failed {
                        lost.push("is_error".into());
                    }
                    let mut made = with_images("tool", &result.items)?;
                    made["tool_name"] = result.name.clone().into();
                    made["tool_call_id"] = result.id.clone().into();
                    list.push(made);
                }
            }
        }
    }
    not_empty(list)
}

fn with_images(role: &str, items: &[Item]) -> Result<Value, Error> {
    let mut text = vec![texts(items)];
    let mut images = Vec::new();
    for item in items {
        match item {
            Item::Media(Media {
                kind: MediaKind::Image,
                at: Place::Inline(data),
                ..
            }) => {
                images.push(Value::from(data.clone()));
            }
            Item::Media(Media {
                at: Place::Text(words),
                ..
            }) => text.push(words.clone()),
            Item::Media(_) => return Err(cannot_hold("a picture by its address, sound or a file")),
            _ => {}
        }
    }
    text.retain(|words| !words.is_empty());
    let mut made = json!({"role": role, "content": text.join("\n")});
    if !images.is_empty() {
        made["images"] = images.into();
    }
    Ok(made)
}

fn assistant(items: &[Item], to: &Addressee<'_>) -> Result<Value, Error> {
    let mut made = json!({"role": "assistant", "content": texts(items)});
    let mut calls = Vec::new();
    for item in items {
        match item {
            Item::Call(call) => calls.push(
                json!({"id": call.id, "function": {"name": call.name, "arguments": call.object()}}),
            ),
            Item::Reasoning(reasoning) => {
                if carry::fits(reasoning.state.as_ref(), "ollama_chat", to.model)
                    == Some(carry::WORDS_ONLY)
                {
                    made["thinking"] = reasoning.text.clone().into();
                }
            }
            Item::Text(_) | Item::Refusal(_) => {}
            Item::Media(_) | Item::Result(_) => {
                return Err(cannot_hold("a file in a model's message"));
            }
        }
    }
    if !calls.is_empty() {
        made["tool_calls"] = calls.into();
    }
    Ok(made)
}
