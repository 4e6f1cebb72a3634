//! A Chat Completions request into a whole neutral conversation.

use crate::chat::Role;
use crate::chat::conversation::{
    Call, Choice, Conversation, Format, Item, Marked, Media, MediaKind, Message, Reasoning,
    Returned, Sampling, State, Tool,
};
use crate::dialect::bend::MARK;
use crate::dialect::carry;
use crate::dialect::functions;
use crate::dialect::ids::Ids;
use crate::dialect::media;
use crate::dialect::open::{Fields, cannot, kind, push};
use crate::dialect::{Request, body};
use crate::error::Error;
use serde_json::Value;

/// Fields that tune or label a request and change no answer's meaning.
const LOST: &[&str] = &[
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "verbosity",
    "chat_template_kwargs",
    "reasoning_format",
    "include_reasoning",
    "usage",
    "enable_thinking",
    "clear_thinking",
    "timings_per_token",
];

/// Fields that flyball reads elsewhere and writes in the model's own words.
const OWNED: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "reasoning_effort",
    "reasoning",
    "thinking",
];

pub(super) fn converse(request: &Request<'_>) -> Result<Conversation, Error> {
    let mut fields = Fields::whole(request.fields.text())?;
    fields.ignore(OWNED);
    let mut said = Conversation {
        stream: request.stream,
        limit: request.limit.map(|l| l.tokens),
        ..Conversation::default()
    };
    fields.ignore(&["max_tokens", "max_completion_tokens"]);
    fields.lose(LOST, &mut said.lost);
    if fields.flag("store")? == Some(true) {
        said.lost.push("store".into());
    }
    said.choices = fields.count("n")?.filter(|n| *n > 1);
    let modalities = fields.texts("modalities")?;
    if modalities.iter().any(|m| m != "text") {
        return Err(cannot("modalities"));
    }
    said.sampling = Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.number("top_k")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        presence_penalty: fields.number("presence_penalty")?,
        seed: fields.number("seed")?,
    };
    said.stop = fields.texts("stop")?;
    let top = fields.count("top_logprobs")?;
    if fields.flag("logprobs")? == Some(true) {
        said.logprobs = Some(top.unwrap_or(0));
    }
    said.user = fields.text("user")?;
    said.parallel_calls = fields.flag("parallel_tool_calls")?;
    said.format = format(&mut fields)?;
    for (i, tool) in fields.list("tools")?.into_iter().enumerate() {
        let (tool, mark) = function(format!("tools[{i}]"), tool)?;
        said.mark_at(Marked::Tool(said.tools.len()), mark);
        said.tools.push(tool);
    }
    let mark = fields.take(MARK);
    said.mark_at(Marked::Whole, mark);
    said.choice = choice(&mut fields)?;
    old_tools(&mut fields, &mut said)?;
    let mut ids = Ids::default();
    for (i, message) in fields.list("messages")?.into_iter().enumerate() {
        let message = Fields::of(format!("messages[{i}]"), message)?;
        add(message, &mut ids, &mut said)?;
    }
    fields.done()?;
    said.name_results();
    Ok(said)
}

fn format(fields: &mut Fields) -> Result<Option<Format>, Error> {
    let Some(mut format) = fields.object("response_format")? else {
        return Ok(None);
    };
    let read = match format.need_text("type")?.as_str() {
        "text" => None,
        "json_object" => Some(Format::Json),
        "json_schema" => {
            let mut inner = format.need_object("json_schema")?;
            let schema = Format::Schema {
                name: inner.text("name")?.unwrap_or_else(|| "answer".into()),
                schema: inner
                    .take("schema")
                    .unwrap_or_else(|| serde_json::json!({})),
                strict: inner.flag("strict")?,
            };
            inner.ignore(&["description"]);
            inner.done()?;
            Some(schema)
        }
        _ => return Err(cannot(&format.path("type"))),
    };
    format.done()?;
    Ok(read)
}

/// A tool, and its mark for the prompt cache, which gateways pass on to Anthropic.
fn function(at: String, tool: Value) -> Result<(Tool, Option<Value>), Error> {
    let mut tool = Fields::of(at, tool)?;
    if tool.text("type")?.is_some_and(|kind| kind != "function") {
        return Err(cannot(&tool.path("type")));
    }
    let mut function = tool.need_object("function")?;
    let inner = function.take(MARK);
    let read = declared(function)?;
    let mark = tool.take(MARK).or(inner);
    tool.done()?;
    Ok((read, mark))
}

fn declared(mut function: Fields) -> Result<Tool, Error> {
    let mut read = functions::declared(&mut function)?;
    read.strict = function.flag("strict")?;
    function.done()?;
    Ok(read)
}

/// Tools in the old way: `functions` and `function_call`. There is one call to an answer.
fn old_tools(fields: &mut Fields, said: &mut Conversation) -> Result<(), Error> {
    let functions = fields.list("functions")?;
    if !functions.is_empty() {
        said.old_calls = true;
    }
    for (i, function) in functions.into_iter().enumerate() {
        said.tools
            .push(declared(Fields::of(format!("functions[{i}]"), function)?)?);
    }
    let path = fields.path("function_call");
    let choice = match fields.take("function_call") {
        None => return Ok(()),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Choice::Auto,
            "none" => Choice::None,
            _ => return Err(cannot(&path)),
        },
        Some(value) => match value["name"].as_str() {
            Some(name) => Choice::Named(name.to_owned()),
            None => return Err(cannot(&path)),
        },
    };
    said.choice.get_or_insert(choice);
    Ok(())
}

fn choice(fields: &mut Fields) -> Result<Option<Choice>, Error> {
    let path = fields.path("tool_choice");
    match fields.take("tool_choice") {
        None => Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(Some(Choice::Auto)),
            "none" => Ok(Some(Choice::None)),
            "required" | "any" => Ok(Some(Choice::Any)),
            _ => Err(cannot(&path)),
        },
        Some(value) => match value.pointer("/function/name").and_then(Value::as_str) {
            Some(name) => Ok(Some(Choice::Named(name.to_owned()))),
            None => Err(cannot(&path)),
        },
    }
}

fn add(mut message: Fields, ids: &mut Ids, said: &mut Conversation) -> Result<(), Error> {
    let role = message.need_text("role")?;
    let old_name = match role.as_str() {
        "function" => Some(message.need_text("name")?),
        _ => None,
    };
    message.lose(&["name"], &mut said.lost);
    let whole = message.take(MARK);
    let mut items = Vec::new();
    if role == "assistant" {
        reasoning(&mut message, &mut items)?;
    }
    let mut marks = content(&mut message, &mut items)?;
    // The mark of a message is that of its end.
    if let (Some(mark), Some(last)) = (whole, items.len().checked_sub(1)) {
        marks.push((last, mark));
    }
    match role.as_str() {
        "system" | "developer" => {
            for (i, mark) in marks {
                said.mark_at(Marked::System(said.system.len() + i), Some(mark));
            }
            for item in items {
                match item {
                    Item::Text(text) => said.system.push(text),
                    _ => return Err(cannot(&message.path("content"))),
                }
            }
        }
        "assistant" => {
            if let Some(words) = message.text("refusal")?.filter(|t| !t.is_empty()) {
                items.push(Item::Refusal(words));
            }
            calls(&mut message, &mut items)?;
            old_call(&mut message, ids, &mut items)?;
            message.ignore(&["annotations"]);
            for (i, mark) in marks {
                said.mark_at(Marked::Item(said.messages.len(), i), Some(mark));
            }
            said.messages.push(Message {
                role: Role::Assistant,
                items,
            });
        }
        "tool" | "function" => {
            let (id, name) = match old_name {
                None => (message.need_text("tool_call_id")?, String::new()),
                Some(name) => ids.result(&name, None).ok_or_else(|| {
                    let path = message.path("name");
                    let sentence =
                        format!("\"{path}\" answers a call that the conversation does not have.");
                    Error::bad_field(path, sentence)
                })?,
            };
            let result = Returned {
                id,
                name,
                items,
                failed: false,
            };
            push(&mut said.messages, Role::Tool, Item::Result(result));
            // What marks a part of a result marks the result.
            let at = said.messages.last().map(|last| last.items.len() - 1);
            if let (Some(at), Some((_, mark))) = (at, marks.pop()) {
                said.mark_at(Marked::Item(said.messages.len() - 1, at), Some(mark));
            }
        }
        "user" => {
            for (i, mark) in marks {
                said.mark_at(Marked::Item(said.messages.len(), i), Some(mark));
            }
            said.messages.push(Message {
                role: Role::User,
                items,
            });
        }
        _ => return Err(cannot(&message.path("role"))),
    }
    message.done()
}

/// The reasoning that an app sends back, under every vendor's name.
fn reasoning(message: &mut Fields, items: &mut Vec<Item>) -> Result<(), Error> {
    let plain = message.text("reasoning_content")?;
    let other = message.text("reasoning")?;
    let text = plain.or(other).filter(|t| !t.is_empty());
    let details = message.list("reasoning_details")?;
    let mut states = Vec::new();
    let mut own = Vec::new();
    for detail in details {
        let packed = detail["data"]
            .as_str()
            .filter(|d| d.starts_with(carry::MARK));
        match packed {
            Some(data) => states.push(carry::unpack(data, "openai_chat")),
            None => own.push(detail),
        }
    }
    if !own.is_empty() {
        states.push(state(Value::Array(own).to_string()));
    }
    let mut states = states.into_iter();
    let first = states.next();
    if text.is_some() || first.is_some() {
        let first = first.unwrap_or_else(|| state("text".into()));
        items.push(Item::Reasoning(Reasoning {
            text: text.unwrap_or_default(),
            state: Some(first),
        }));
    }
    items.extend(states.map(|state| {
        Item::Reasoning(Reasoning {
            text: String::new(),
            state: Some(state),
        })
    }));
    Ok(())
}

fn state(value: String) -> State {
    State {
        dialect: "openai_chat".into(),
        model: String::new(),
        value,
    }
}

fn calls(message: &mut Fields, items: &mut Vec<Item>) -> Result<(), Error> {
    let path = message.path("tool_calls");
    for (i, call) in message.list("tool_calls")?.into_iter().enumerate() {
        let mut call = Fields::of(format!("{path}[{i}]"), call)?;
        if call.text("type")?.is_some_and(|kind| kind != "function") {
            return Err(cannot(&call.path("type")));
        }
        if let Some(extra) = call.take("extra_content") {
            let signature = extra
                .pointer("/google/thought_signature")
                .and_then(Value::as_str);
            let state = match signature.filter(|s| s.starts_with(carry::MARK)) {
                Some(packed) => carry::unpack(packed, "openai_chat"),
                None => state(extra.to_string()),
            };
            // The same state may also stand in `reasoning_details`, beside the words that it seals. Gemini's place is before its call, all
            // others' is with their words; none may be said twice.
            let told = items.iter_mut().find_map(|item| match item {
                Item::Reasoning(before) if before.state.as_ref() == Some(&state) => Some(before),
                _ => None,
            });
            let moves = told
                .as_ref()
                .is_none_or(|before| before.text.is_empty() || state.dialect == "gemini");
            if moves {
                if let Some(before) = told {
                    before.state = None;
                }
                items.retain(|item| {
                    !matches!(item, Item::Reasoning(Reasoning { text, state: None }) if text.is_empty())
                });
                items.push(Item::Reasoning(Reasoning {
                    text: String::new(),
                    state: Some(state),
                }));
            }
        }
        items.push(Item::Call(functions::called(&mut call)?));
        call.ignore(&["index"]);
        call.done()?;
    }
    Ok(())
}

/// A call in the old way has no id: its result is known by the function's name.
fn old_call(message: &mut Fields, ids: &mut Ids, items: &mut Vec<Item>) -> Result<(), Error> {
    let Some(mut call) = message.object("function_call")? else {
        return Ok(());
    };
    let name = call.need_text("name")?;
    items.push(Item::Call(Call {
        id: ids.call(&name, None),
        name,
        arguments: call.text("arguments")?.unwrap_or_else(|| "{}".into()),
    }));
    call.done()
}

/// Reads what is said; gives the marks for a prompt cache, each with the place of its item.
fn content(message: &mut Fields, items: &mut Vec<Item>) -> Result<Vec<(usize, Value)>, Error> {
    let mut marks = Vec::new();
    let path = message.path("content");
    match message.take("content") {
        None => {}
        Some(Value::String(text)) => items.push(Item::Text(text)),
        Some(Value::Array(parts)) => {
            for (i, part) in parts.into_iter().enumerate() {
                let mut part = Fields::of(format!("{path}[{i}]"), part)?;
                marks.extend(part.take(MARK).map(|mark| (items.len(), mark)));
                items.push(piece(part)?);
            }
        }
        Some(other) => return Err(body::wrong(path, "a string or an array", kind(&other))),
    }
    Ok(marks)
}

fn piece(mut part: Fields) -> Result<Item, Error> {
    let item = match part.need_text("type")?.as_str() {
        "text" => Item::Text(part.need_text("text")?),
        "refusal" => Item::Refusal(part.need_text("refusal")?),
        "image_url" => {
            let mut image = part.need_object("image_url")?;
            let field = image.path("url");
            let url = image.need_text("url")?;
            let detail = image.text("detail")?;
            image.done()?;
            let mut picture = media::from_url(&field, url, MediaKind::Image)?;
            picture.detail = media::detail(detail);
            Item::Media(picture)
        }
        "input_audio" => {
            let mut audio = part.need_object("input_audio")?;
            let field = audio.path("data");
            let data = audio.need_text("data")?;
            let format = audio.need_text("format")?;
            audio.done()?;
            Item::Media(Media {
                kind: MediaKind::Audio,
                mime: format!("audio/{format}"),
                at: media::inline(&field, data)?,
                name: None,
                detail: None,
            })
        }
        "file" => {
            let mut file = part.need_object("file")?;
            let field = file.path("file_data");
            let name = file.text("filename")?;
            let Some(data) = file.text("file_data")? else {
                return Err(cannot(&file.path("file_id")));
            };
            file.done()?;
            let mut read = media::from_url(&field, data, MediaKind::File)?;
            read.name = name;
            Item::Media(read)
        }
        _ => return Err(cannot(&part.path("type"))),
    };
    part.done()?;
    Ok(item)
}
