//! A generateContent request into a whole neutral conversation.

use super::spellings;
use crate::chat::Role;
use crate::chat::conversation::{
    Call, Choice, Conversation, Format, Item, Media, MediaKind, Message, Place, Reasoning,
    Returned, State, Tool,
};
use crate::dialect::bend::SEARCH;
use crate::dialect::ids::Ids;
use crate::dialect::open::{Fields, cannot};
use crate::dialect::{Request, body, carry, media};
use crate::error::Error;
use serde_json::{Value, json};

pub(super) fn converse(request: &Request<'_>) -> Result<Conversation, Error> {
    let mut fields = Fields::whole(request.fields.text())?;
    let mut said = Conversation {
        stream: request.stream,
        limit: request.limit.map(|l| l.tokens),
        ..Conversation::default()
    };
    fields.ignore(&["model"]);
    for key in ["safetySettings", "labels", "serviceTier"] {
        let (camel, snake) = spellings(key);
        fields.lose(&[camel, &snake], &mut said.lost);
    }
    if let Some(mut config) = object(&mut fields, "generationConfig")? {
        configure(&mut config, &mut said)?;
        config.done()?;
    }
    if let Some(mut system) = object(&mut fields, "systemInstruction")? {
        system.ignore(&["role"]);
        for (i, part) in list(&mut system, "parts")?.into_iter().enumerate() {
            let mut part = Fields::of(format!("systemInstruction.parts[{i}]"), part)?;
            said.system.push(part.need_text("text")?);
            part.done()?;
        }
        system.done()?;
    }
    for (i, tool) in list(&mut fields, "tools")?.into_iter().enumerate() {
        let mut tool = Fields::of(format!("tools[{i}]"), tool)?;
        // Agents offer it without being asked; no choice can force it.
        if take(&mut tool, SEARCH_TOOL).is_some() {
            said.lost.push(SEARCH.into());
        }
        let functions = match take(&mut tool, "functionDeclarations") {
            Some(one @ Value::Object(_)) => vec![one],
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        for (j, function) in functions.into_iter().enumerate() {
            let at = format!("tools[{i}].functionDeclarations[{j}]");
            said.tools.push(declared(Fields::of(at, function)?)?);
        }
        tool.done()?;
    }
    choose(&mut fields, &mut said)?;
    let mut ids = Ids::default();
    let contents = match fields.take("contents") {
        Some(Value::Array(list)) => list,
        content => content.into_iter().collect(),
    };
    for (i, content) in contents.into_iter().enumerate() {
        add(
            Fields::of(format!("contents[{i}]"), content)?,
            &mut ids,
            &mut said,
        )?;
    }
    fields.done()?;
    said.name_results();
    Ok(said)
}

/// Google's own search (ai.google.dev/gemini-api/docs/google-search).
pub(super) const SEARCH_TOOL: &str = "googleSearch";

/// A list; one element alone may stand without a list around it.
fn list(content: &mut Fields, key: &str) -> Result<Vec<Value>, Error> {
    match content.take(key) {
        Some(one @ Value::Object(_)) => Ok(vec![one]),
        Some(Value::Array(parts)) => Ok(parts),
        None => Ok(Vec::new()),
        Some(other) => {
            let found = crate::dialect::open::kind(&other);
            Err(body::wrong(content.path(key), "an array", found))
        }
    }
}

/// Takes a field in either spelling.
fn take(fields: &mut Fields, camel: &str) -> Option<Value> {
    let (camel, snake) = spellings(camel);
    let first = fields.take(camel);
    let second = fields.take(&snake);
    first.or(second)
}

fn object(fields: &mut Fields, camel: &str) -> Result<Option<Fields>, Error> {
    let path = fields.path(camel);
    take(fields, camel)
        .map(|value| Fields::of(path, value))
        .transpose()
}

fn number(fields: &mut Fields, key: &str) -> Result<Option<serde_json::Number>, Error> {
    match take(fields, key) {
        None => Ok(None),
        Some(Value::Number(n)) => Ok(Some(n)),
        Some(other) => {
            let found = crate::dialect::open::kind(&other);
            Err(body::wrong(fields.path(key), "a number", found))
        }
    }
}

fn configure(config: &mut Fields, said: &mut Conversation) -> Result<(), Error> {
    take(config, "maxOutputTokens");
    let choices = number(config, "candidateCount")?.and_then(|n| n.as_u64());
    said.choices = choices.filter(|n| *n > 1);
    said.sampling.temperature = number(config, "temperature")?;
    said.sampling.top_p = number(config, "topP")?;
    said.sampling.top_k = number(config, "topK")?;
    said.sampling.seed = number(config, "seed")?;
    said.sampling.presence_penalty = number(config, "presencePenalty")?;
    said.sampling.frequency_penalty = number(config, "frequencyPenalty")?;
    if let Some(Value::Array(stop)) = take(config, "stopSequences") {
        said.stop = stop
            .iter()
            .filter_map(|s| s.as_str().map(str::to_owned))
            .collect();
    }
    let top = number(config, "logprobs")?;
    if take(config, "responseLogprobs") == Some(Value::Bool(true)) {
        said.logprobs = Some(top.and_then(|n| n.as_u64()).unwrap_or(0));
    }
    if let Some(Value::Array(kinds)) = take(config, "responseModalities")
        && kinds.iter().any(|kind| {
            kind.as_str()
                .is_none_or(|k| !k.eq_ignore_ascii_case("text"))
        })
    {
        return Err(cannot("generationConfig.responseModalities"));
    }
    if take(config, "mediaResolution").is_some() {
        said.lost.push("generationConfig.mediaResolution".into());
    }
    if let Some(thinking) = take(config, "thinkingConfig") {
        let shown = thinking
            .get("includeThoughts")
            .or(thinking.get("include_thoughts"));
        said.show_reasoning = shown == Some(&Value::Bool(true));
    }
    let mime = take(config, "responseMimeType");
    let open = take(config, "responseSchema").map(plain);
    // Google takes the types of its own dialect there too.
    let schema = take(config, "responseJsonSchema").map(plain).or(open);
    said.format = match (mime.as_ref().and_then(Value::as_str), schema) {
        (_, Some(schema)) => Some(Format::Schema {
            name: "answer".into(),
            schema,
            strict: None,
        }),
        (Some("application/json"), None) => Some(Format::Json),
        (None | Some("text/plain"), None) => None,
        (Some(_), None) => return Err(cannot("generationConfig.responseMimeType")),
    };
    Ok(())
}

/// Google's dialect of OpenAPI as a JSON schema: its types are in capitals, `nullable` is a type of its own.
fn plain(schema: Value) -> Value {
    let Value::Object(map) = schema else {
        return match schema {
            Value::Array(list) => list.into_iter().map(plain).collect(),
            other => other,
        };
    };
    let nullable = map.get("nullable") == Some(&Value::Bool(true));
    let mut made = serde_json::Map::new();
    for (key, value) in map {
        match (key.as_str(), value) {
            ("nullable" | "propertyOrdering" | "property_ordering", _) => {}
            ("type", Value::String(kind)) => {
                let kind = kind.to_ascii_lowercase();
                let value = if nullable {
                    json!([kind, "null"])
                } else {
                    kind.into()
                };
                made.insert(key, value);
            }
            ("properties", Value::Object(inner)) => {
                let inner = inner
                    .into_iter()
                    .map(|(name, schema)| (name, plain(schema)));
                made.insert(key, Value::Object(inner.collect()));
            }
            ("anyOf" | "any_of", value) => drop(made.insert("anyOf".into(), plain(value))),
            ("items", value) => drop(made.insert(key, plain(value))),
            (_, value) => drop(made.insert(key, value)),
        }
    }
    Value::Object(made)
}

fn declared(mut function: Fields) -> Result<Tool, Error> {
    let open = function.take("parameters").map(plain);
    let schema = take(&mut function, "parametersJsonSchema");
    let schema = schema.map(plain).or(open);
    let read = Tool {
        name: function.need_text("name")?,
        description: function.text("description")?,
        schema: schema.unwrap_or_else(|| json!({"type": "object", "properties": {}})),
        strict: None,
    };
    // What a tool gives back is described for Google's models only.
    function.ignore(&[
        "response",
        "responseJsonSchema",
        "response_json_schema",
        "behavior",
    ]);
    function.done()?;
    Ok(read)
}

fn choose(fields: &mut Fields, said: &mut Conversation) -> Result<(), Error> {
    let Some(mut config) = object(fields, "toolConfig")? else {
        return Ok(());
    };
    if let Some(mut calling) = object(&mut config, "functionCallingConfig")? {
        let names = take(&mut calling, "allowedFunctionNames").unwrap_or_default();
        let names: Vec<&str> = names
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mode = calling
            .text("mode")?
            .unwrap_or_default()
            .to_ascii_uppercase();
        said.choice = match (mode.as_str(), names.as_slice()) {
            ("NONE", _) => Some(Choice::None),
            ("ANY", [one]) => Some(Choice::Named((*one).to_owned())),
            ("ANY", []) => Some(Choice::Any),
            ("ANY", many) => {
                // Only these may be called: the others are not offered.
                said.tools.retain(|tool| many.contains(&tool.name.as_str()));
                Some(Choice::Any)
            }
            ("" | "AUTO" | "VALIDATED" | "MODE_UNSPECIFIED", _) => Some(Choice::Auto),
            _ => return Err(cannot("toolConfig.functionCallingConfig.mode")),
        };
        calling.done()?;
    }
    config.done()
}

fn add(mut content: Fields, ids: &mut Ids, said: &mut Conversation) -> Result<(), Error> {
    let role = content.text("role")?.unwrap_or_else(|| "user".into());
    let (path, role_path) = (content.path("parts"), content.path("role"));
    let mut items = Vec::new();
    for (j, part) in list(&mut content, "parts")?.into_iter().enumerate() {
        piece(Fields::of(format!("{path}[{j}]"), part)?, ids, &mut items)?;
    }
    content.done()?;
    let mut push = |role, items: Vec<Item>| {
        if !items.is_empty() {
            said.messages.push(Message { role, items });
        }
    };
    match role.as_str() {
        "model" => push(Role::Assistant, items),
        "user" | "function" | "tool" => {
            let (results, rest): (Vec<_>, Vec<_>) = items
                .into_iter()
                .partition(|item| matches!(item, Item::Result(_)));
            push(Role::Tool, results);
            push(Role::User, rest);
        }
        _ => return Err(cannot(&role_path)),
    }
    Ok(())
}

fn piece(mut part: Fields, ids: &mut Ids, items: &mut Vec<Item>) -> Result<(), Error> {
    if let Some(Value::String(signature)) = take(&mut part, "thoughtSignature") {
        let (text, state) = carry::words_of(opened(signature));
        let state = Some(state);
        match items.last_mut() {
            // It seals the thoughts before it.
            Some(Item::Reasoning(thought)) if thought.state.is_none() => thought.state = state,
            _ => items.push(Item::Reasoning(Reasoning { text, state })),
        }
    }
    let thought = part.flag("thought")?.unwrap_or(false);
    if take(&mut part, "videoMetadata").is_some() {
        return Err(cannot(&part.path("videoMetadata")));
    }
    if let Some(text) = part.text("text")? {
        match thought {
            // A stream's thoughts come back in as many parts as they came in.
            true => match items.last_mut() {
                Some(Item::Reasoning(before)) if before.state.is_none() => {
                    before.text.push_str(&text);
                }
                _ => items.push(Item::Reasoning(Reasoning { text, state: None })),
            },
            false if text.is_empty() => {}
            false => items.push(Item::Text(text)),
        }
    }
    if let Some(mut blob) = object(&mut part, "inlineData")? {
        let mime = mime(&mut blob);
        let field = blob.path("data");
        let at = media::inline(&field, blob.need_text("data")?)?;
        let name = take(&mut blob, "displayName").and_then(|n| n.as_str().map(str::to_owned));
        blob.done()?;
        items.push(Item::Media(Media {
            kind: MediaKind::of(&mime),
            mime,
            at,
            name,
            detail: None,
        }));
    }
    if let Some(mut file) = object(&mut part, "fileData")? {
        let mime = mime(&mut file);
        let path = file.path("fileUri");
        let uri = take(&mut file, "fileUri").and_then(|u| u.as_str().map(str::to_owned));
        let Some(uri) = uri.filter(|u| u.starts_with("https://") || u.starts_with("http://"))
        else {
            return Err(cannot(&path));
        };
        // A file in Google's own store can be read by nobody else.
        if uri.starts_with("https://generativelanguage.googleapis.com/") {
            return Err(cannot(&path));
        }
        file.done()?;
        let at = Place::Url(uri);
        items.push(Item::Media(Media {
            kind: MediaKind::of(&mime),
            mime,
            at,
            name: None,
            detail: None,
        }));
    }
    if let Some(mut call) = object(&mut part, "functionCall")? {
        let name = call.need_text("name")?;
        let arguments = call.take("args").unwrap_or_else(|| json!({})).to_string();
        let id = ids.call(&name, call.text("id")?);
        call.done()?;
        items.push(Item::Call(Call {
            id,
            name,
            arguments,
        }));
    }
    if let Some(response) = object(&mut part, "functionResponse")? {
        items.push(Item::Result(returned(response, ids)?));
    }
    part.done()
}

fn mime(fields: &mut Fields) -> String {
    let mime = take(fields, "mimeType");
    mime.and_then(|m| m.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn returned(mut response: Fields, ids: &mut Ids) -> Result<Returned, Error> {
    let name = response.need_text("name")?;
    let path = response.path("name");
    let id = response.text("id")?;
    let (id, name) = ids.result(&name, id).ok_or_else(|| {
        let sentence = format!("\"{path}\" answers a call that the conversation does not have.");
        Error::bad_field(&path, sentence)
    })?;
    let value = response.take("response").unwrap_or_default();
    // Pictures in `parts` have no place in another dialect's result that is known here: they are refused by name, not lost.
    response.ignore(&["willContinue", "scheduling"]);
    response.done()?;
    let failed = value.get("error").is_some();
    let only = value.as_object().filter(|map| map.len() == 1);
    let only = only.and_then(|map| map.get("output").or(map.get("result")).or(map.get("error")));
    let text = match only {
        Some(Value::String(text)) => text.clone(),
        _ => value.to_string(),
    };
    Ok(Returned {
        id,
        name,
        items: vec![Item::Text(text)],
        failed,
    })
}

/// A signature of Google's, or another model's state that travels as one: bytes in base64 for the client's SDK.
fn opened(signature: String) -> State {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(&signature)
        .ok();
    let packed = bytes.and_then(|b| String::from_utf8(b).ok());
    match packed.filter(|text| text.starts_with(carry::MARK)) {
        Some(packed) => carry::unpack(&packed, "gemini"),
        None => carry::unpack(&signature, "gemini"),
    }
}
