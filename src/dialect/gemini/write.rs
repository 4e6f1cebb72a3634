//! A neutral conversation as a generateContent request.

use crate::chat::Role;
use crate::chat::conversation::{
    Choice, Conversation, Format, Item, Media, MediaKind, Place, Reasoning, Returned,
};
use crate::dialect::open::{cannot_hold, not_empty};
use crate::dialect::{Addressee, Written, carry, media};
use crate::error::Error;
use serde_json::{Map, Value, json};

pub(super) fn write(said: &Conversation, to: &Addressee<'_>) -> Result<Written, Error> {
    let mut lost = said.lost.clone();
    media::lose_detail(said, &mut lost);
    let mut body = Map::new();
    if !said.system.is_empty() {
        let parts: Vec<Value> = said
            .system
            .iter()
            .map(|text| json!({"text": text}))
            .collect();
        body.insert("systemInstruction".into(), json!({"parts": parts}));
    }
    body.insert("contents".into(), contents(said, to)?.into());
    if !said.tools.is_empty() {
        let list: Vec<Value> = said.tools.iter().map(function).collect();
        body.insert("tools".into(), json!([{"functionDeclarations": list}]));
        if let Some(choice) = &said.choice {
            let config = json!({"functionCallingConfig": chosen(choice)});
            body.insert("toolConfig".into(), config);
        }
        if said.parallel_calls == Some(false) {
            lost.push("parallel_tool_calls".into());
        }
    }
    let config = config(said);
    if !config.is_empty() {
        body.insert("generationConfig".into(), Value::Object(config));
    }
    if said.user.is_some() {
        lost.push("user".into());
    }
    Ok(Written {
        body: Value::Object(body).to_string(),
        lost,
    })
}

fn config(said: &Conversation) -> Map<String, Value> {
    let mut config = Map::new();
    let sampling = &said.sampling;
    for (key, value) in [
        ("temperature", &sampling.temperature),
        ("topP", &sampling.top_p),
        ("topK", &sampling.top_k),
        ("seed", &sampling.seed),
        ("presencePenalty", &sampling.presence_penalty),
        ("frequencyPenalty", &sampling.frequency_penalty),
    ] {
        if let Some(value) = value {
            config.insert(key.into(), Value::Number(value.clone()));
        }
    }
    if let Some(limit) = said.limit {
        config.insert("maxOutputTokens".into(), limit.into());
    }
    if let Some(choices) = said.choices {
        config.insert("candidateCount".into(), choices.into());
    }
    if !said.stop.is_empty() {
        config.insert("stopSequences".into(), said.stop.clone().into());
    }
    if let Some(top) = said.logprobs {
        config.insert("responseLogprobs".into(), true.into());
        if top > 0 {
            config.insert("logprobs".into(), top.into());
        }
    }
    if let Some(format) = &said.format {
        config.insert("responseMimeType".into(), "application/json".into());
        if let Format::Schema { schema, .. } = format {
            config.insert("responseJsonSchema".into(), schema.clone());
        }
    }
    if said.show_reasoning {
        config.insert("thinkingConfig".into(), json!({"includeThoughts": true}));
    }
    config
}

fn contents(said: &Conversation, to: &Addressee<'_>) -> Result<Vec<Value>, Error> {
    let mut list: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in &said.messages {
        let role = if message.role == Role::Assistant {
            "model"
        } else {
            "user"
        };
        let parts = parts(&message.items, to)?;
        match list.last_mut() {
            _ if parts.is_empty() => {}
            Some((last, before)) if *last == role => before.extend(parts),
            _ => list.push((role, parts)),
        }
    }
    let whole = |(role, parts): (&str, Vec<Value>)| json!({"role": role, "parts": parts});
    not_empty(list.into_iter().map(whole).collect())
}

fn parts(items: &[Item], to: &Addressee<'_>) -> Result<Vec<Value>, Error> {
    let (mut parts, mut seen) = (Vec::new(), Vec::new());
    // A signature goes back on the part that it came with: the one after it.
    let mut signature = None;
    for item in items {
        let mut part = match item {
            Item::Text(text) | Item::Refusal(text) if text.is_empty() => continue,
            Item::Text(text) | Item::Refusal(text) => json!({"text": text}),
            Item::Media(media) => medium(media)?,
            Item::Call(call) => {
                json!({"functionCall": {"id": call.id, "name": call.name, "args": call.object()}})
            }
            Item::Result(result) => {
                parts.push(returned(result)?);
                for inner in &result.items {
                    if let Item::Media(media) = inner {
                        seen.push(medium(media)?);
                    }
                }
                continue;
            }
            Item::Reasoning(Reasoning { state, .. }) => {
                let own = carry::fits(state.as_ref(), "gemini", to.model);
                // Thoughts whose words alone were told have no signature.
                let own = own.filter(|own| *own != carry::WORDS_ONLY);
                signature = own.map(str::to_owned).or(signature);
                continue;
            }
        };
        if let Some(signature) = signature.take() {
            part["thoughtSignature"] = signature.into();
        }
        parts.push(part);
    }
    // As many results must follow each other as there were calls: what tools showed comes after them.
    parts.extend(seen);
    if let Some(signature) = signature {
        parts.push(json!({"text": "", "thoughtSignature": signature}));
    }
    Ok(parts)
}

fn returned(result: &Returned) -> Result<Value, Error> {
    if result.name.is_empty() {
        return Err(Error::bad_field(
            "messages",
            format!(
                "The result of the tool call \"{}\" has no call before it.",
                result.id
            ),
        ));
    }
    let text = result.text();
    let response = match serde_json::from_str::<Value>(&text) {
        Ok(object @ Value::Object(_)) if !result.failed => object,
        _ if result.failed => json!({"error": text}),
        _ => json!({"output": text}),
    };
    Ok(json!({"functionResponse": {"id": result.id, "name": result.name, "response": response}}))
}

fn medium(media: &Media) -> Result<Value, Error> {
    let guess = match &media.at {
        Place::Url(url) => media::mime_of_url(url),
        Place::Inline(_) | Place::Text(_) => None,
    };
    let mime = match (media.mime.as_str(), media.kind) {
        ("", _) if guess.is_some() => guess.unwrap_or_default(),
        ("", MediaKind::Image) => "image/jpeg",
        ("", MediaKind::Audio) => "audio/mpeg",
        ("", MediaKind::File) => "application/pdf",
        (mime, _) => mime,
    };
    match &media.at {
        Place::Inline(data) => Ok(json!({"inlineData": {"mimeType": mime, "data": data}})),
        Place::Text(text) => Ok(json!({"text": text})),
        Place::Url(url) if url.starts_with("http") => {
            Ok(json!({"fileData": {"mimeType": mime, "fileUri": url}}))
        }
        Place::Url(_) => Err(cannot_hold("an address that is not http")),
    }
}

fn function(tool: &crate::chat::conversation::Tool) -> Value {
    let mut function = json!({"name": tool.name});
    if let Some(description) = &tool.description {
        function["description"] = description.clone().into();
    }
    function["parametersJsonSchema"] = tool.schema.clone();
    function
}

fn chosen(choice: &Choice) -> Value {
    match choice {
        Choice::Auto => json!({"mode": "AUTO"}),
        Choice::None => json!({"mode": "NONE"}),
        Choice::Any => json!({"mode": "ANY"}),
        Choice::Named(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
    }
}
