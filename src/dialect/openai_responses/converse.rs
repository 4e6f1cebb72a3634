//! A Responses request into a whole neutral conversation.

use super::named;
use crate::chat::Role;
use crate::chat::conversation::{
    Call, Choice, Conversation, Format, Item, Media, MediaKind, Message, Place, Reasoning,
    Returned, Sampling, State, Tool,
};
use crate::dialect::open::{Fields, cannot, kind, push};
use crate::dialect::{Request, body, carry, media};
use crate::error::Error;
use serde_json::{Value, json};

/// Fields that tune or label a request and change no answer's meaning.
const LOST: &[&str] = &[
    "client_metadata",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "stream_options",
    "truncation",
];

/// How `include` asks for the likelihood of tokens.
const LOGPROBS: &str = "message.output_text.logprobs";

pub(super) fn converse(request: &Request<'_>) -> Result<Conversation, Error> {
    let mut fields = Fields::whole(request.fields.text())?;
    let mut said = Conversation {
        stream: request.stream,
        limit: request.limit.map(|l| l.tokens),
        ..Conversation::default()
    };
    fields.ignore(&["model", "stream", "max_output_tokens"]);
    for key in ["previous_response_id", "conversation"] {
        if fields.take(key).is_some() {
            return Err(not_here(key));
        }
    }
    fields.lose(LOST, &mut said.lost);
    if fields.flag("store")? == Some(true) {
        said.lost.push("store".into());
    }
    if fields.flag("background")? == Some(true) {
        return Err(cannot("background"));
    }
    if let Some(mut reasoning) = fields.object("reasoning")? {
        said.show_reasoning = reasoning
            .take_any(&["summary", "generate_summary"])
            .is_some();
        reasoning.ignore(&["effort"]);
        reasoning.lose(&["context", "mode"], &mut said.lost);
        reasoning.done()?;
    }
    said.sampling = Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        ..Sampling::default()
    };
    let top = fields.count("top_logprobs")?.filter(|n| *n > 0);
    let mut include = fields.texts("include")?;
    include.retain(|what| what != "reasoning.encrypted_content");
    let likely = include.iter().any(|what| what == LOGPROBS);
    // Only what a provider's own tools found, and what the client sent itself, is left to be asked for.
    if include.iter().any(|what| what != LOGPROBS) {
        said.lost.push("include".into());
    }
    said.logprobs = top.or(likely.then_some(0));
    said.user = fields.text("user")?;
    said.parallel_calls = fields
        .flag("parallel_tool_calls")?
        .filter(|parallel| !parallel);
    said.format = format(&mut fields, &mut said.lost)?;
    let offered = fields.list("tools")?;
    said.choice = choice(&mut fields)?;
    tools("tools", offered, &mut said)?;
    said.system.extend(fields.text("instructions")?);
    match fields.take("input") {
        Some(Value::String(text)) => push(&mut said.messages, Role::User, Item::Text(text)),
        Some(Value::Array(items)) => {
            for (i, item) in items.into_iter().enumerate() {
                add(Fields::of(format!("input[{i}]"), item)?, &mut said)?;
            }
        }
        _ => {}
    }
    fields.done()?;
    said.name_results();
    Ok(said)
}

fn format(fields: &mut Fields, lost: &mut Vec<String>) -> Result<Option<Format>, Error> {
    let Some(mut text) = fields.object("text")? else {
        return Ok(None);
    };
    text.lose(&["verbosity"], lost);
    let format = text.object("format")?;
    text.done()?;
    let Some(mut format) = format else {
        return Ok(None);
    };
    let read = match format.need_text("type")?.as_str() {
        "text" => None,
        "json_object" => Some(Format::Json),
        "json_schema" => {
            format.ignore(&["description"]);
            Some(Format::Schema {
                name: format.text("name")?.unwrap_or_else(|| "answer".into()),
                schema: format.take("schema").unwrap_or_else(|| json!({})),
                strict: format.flag("strict")?,
            })
        }
        _ => return Err(cannot(&format.path("type"))),
    };
    format.done()?;
    Ok(read)
}

/// The tools of a list. What the vendor runs itself, and agents offer without being asked, is let go where nothing forces it.
fn tools(path: &str, list: Vec<Value>, said: &mut Conversation) -> Result<(), Error> {
    for (i, offered) in list.into_iter().enumerate() {
        let forced = said.choice.as_ref().is_some_and(is_forced);
        if let Some(hosted) = named::hosted(&offered).filter(|_| !forced) {
            said.lost.push(hosted.into());
            continue;
        }
        let offered = Fields::of(format!("{path}[{i}]"), offered)?;
        tool(offered, &mut said.tools, &mut said.lost)?;
    }
    Ok(())
}

fn is_forced(choice: &Choice) -> bool {
    !matches!(choice, Choice::Auto | Choice::None)
}

/// A tool, or all of a namespace: other dialects have no groups, so what is said of the group is said of each.
fn tool(mut tool: Fields, list: &mut Vec<Tool>, lost: &mut Vec<String>) -> Result<(), Error> {
    let kind = tool.need_text("type")?;
    if kind != "namespace" {
        list.push(function(tool, &kind, None, lost)?);
        return Ok(());
    }
    let (name, about) = (tool.need_text("name")?, tool.text("description")?);
    let path = tool.path("tools");
    for (j, inner) in tool.list("tools")?.into_iter().enumerate() {
        let mut inner = Fields::of(format!("{path}[{j}]"), inner)?;
        let kind = inner.text("type")?.unwrap_or_else(|| "function".into());
        let mut read = function(inner, &kind, Some(&name), lost)?;
        let about = about.iter().filter(|text| !text.is_empty()).cloned();
        let both: Vec<String> = about.chain(read.description.take()).collect();
        read.description = (!both.is_empty()).then(|| both.join("\n\n"));
        list.push(read);
    }
    tool.done()
}

fn function(
    mut tool: Fields,
    kind: &str,
    namespace: Option<&str>,
    lost: &mut Vec<String>,
) -> Result<Tool, Error> {
    // All tools are told at once here, and nothing has to be searched for.
    tool.ignore(&["defer_loading"]);
    let free = match kind {
        "function" => false,
        "custom" => true,
        _ => return Err(cannot(&tool.path("type"))),
    };
    if free {
        // The grammar that its words keep to.
        tool.lose(&["format"], lost);
    }
    let schema = match free {
        true => named::words_schema(),
        false => tool
            .take("parameters")
            .unwrap_or_else(|| json!({"type": "object", "properties": {}})),
    };
    let read = Tool {
        name: named::told(namespace, &tool.need_text("name")?),
        description: tool.text("description")?,
        schema,
        strict: tool.flag("strict")?,
    };
    tool.done()?;
    Ok(read)
}

fn choice(fields: &mut Fields) -> Result<Option<Choice>, Error> {
    let path = fields.path("tool_choice");
    match fields.take("tool_choice") {
        None => Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(Some(Choice::Auto)),
            "none" => Ok(Some(Choice::None)),
            "required" => Ok(Some(Choice::Any)),
            _ => Err(cannot(&path)),
        },
        Some(value) if value["type"] == "function" || value["type"] == "custom" => {
            let namespace = value["namespace"].as_str();
            match value["name"].as_str() {
                Some(name) => Ok(Some(Choice::Named(named::told(namespace, name)))),
                None => Err(cannot(&path)),
            }
        }
        Some(_) => Err(cannot(&path)),
    }
}

fn add(mut item: Fields, said: &mut Conversation) -> Result<(), Error> {
    item.ignore(&["status", "phase"]);
    match item.text("type")?.as_deref().unwrap_or("message") {
        "message" => return message(item, said),
        "function_call" => {
            item.ignore(&["id"]);
            let namespace = item.text("namespace")?;
            let call = Call {
                id: item.need_text("call_id")?,
                name: named::told(namespace.as_deref(), &item.need_text("name")?),
                arguments: item.text("arguments")?.unwrap_or_else(|| "{}".into()),
            };
            push(&mut said.messages, Role::Assistant, Item::Call(call));
        }
        "custom_tool_call" => {
            item.ignore(&["id"]);
            let namespace = item.text("namespace")?;
            let words = item.text("input")?.unwrap_or_default();
            let call = Call {
                id: item.need_text("call_id")?,
                name: named::told(namespace.as_deref(), &item.need_text("name")?),
                arguments: json!({named::WORDS: words}).to_string(),
            };
            push(&mut said.messages, Role::Assistant, Item::Call(call));
        }
        "function_call_output" | "custom_tool_call_output" => {
            item.ignore(&["id"]);
            let result = Returned {
                id: item.need_text("call_id")?,
                name: String::new(),
                items: content(&mut item, "output")?,
                failed: false,
            };
            push(&mut said.messages, Role::Tool, Item::Result(result));
        }
        "reasoning" => {
            let reasoning = reasoning(&mut item)?;
            push(
                &mut said.messages,
                Role::Assistant,
                Item::Reasoning(reasoning),
            );
        }
        "additional_tools" => {
            item.ignore(&["id", "role"]);
            let path = item.path("tools");
            let offered = item.list("tools")?;
            tools(&path, offered, said)?;
        }
        "item_reference" => return Err(not_here(&item.path("id"))),
        _ => return Err(cannot(&item.path("type"))),
    }
    item.done()
}

/// A reference to what flyball has not answered with lately, for a model whose server has not either.
fn not_here(field: &str) -> Error {
    Error::bad_field(
        field,
        format!(
            "\"{field}\" names something that flyball has not answered with lately, and the model that would answer cannot look it up. Send the items themselves in \"input\" (\"store\": false; in the Vercel AI SDK providerOptions.openai.store = false), or ask for a model whose provider keeps them."
        ),
    )
    .code("flyball_untranslatable")
}

/// An item goes back as it is to its own model; for another one only its words could be read.
fn reasoning(item: &mut Fields) -> Result<Reasoning, Error> {
    let whole = item.rest("reasoning");
    let words = |list: &Value| -> Vec<String> {
        let texts = list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|t| t["text"].as_str());
        texts.map(str::to_owned).collect()
    };
    let mut text = words(&whole["content"]);
    if text.is_empty() {
        text = words(&whole["summary"]);
    }
    let sealed = whole["encrypted_content"].as_str();
    let state = match sealed {
        Some(packed) if packed.starts_with(carry::MARK) => Some(carry::unpack(packed, "")),
        Some(_) => Some(State {
            dialect: "openai_responses".into(),
            model: String::new(),
            value: whole.to_string(),
        }),
        None => None,
    };
    item.ignore(&["id", "summary", "content", "encrypted_content"]);
    Ok(Reasoning {
        text: text.join("\n"),
        state,
    })
}

fn message(mut item: Fields, said: &mut Conversation) -> Result<(), Error> {
    item.ignore(&["id"]);
    let role = item.need_text("role")?;
    let path = item.path("content");
    let items = content(&mut item, "content")?;
    match role.as_str() {
        "system" | "developer" => {
            for item in items {
                match item {
                    Item::Text(text) => said.system.push(text),
                    _ => return Err(cannot(&path)),
                }
            }
        }
        "assistant" => items
            .into_iter()
            .for_each(|item| push(&mut said.messages, Role::Assistant, item)),
        "user" => said.messages.push(Message {
            role: Role::User,
            items,
        }),
        _ => return Err(cannot(&item.path("role"))),
    }
    item.done()
}

fn content(item: &mut Fields, key: &str) -> Result<Vec<Item>, Error> {
    let path = item.path(key);
    match item.take(key) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Item::Text(text)]),
        Some(Value::Array(parts)) => {
            let parts = parts.into_iter().enumerate();
            parts
                .map(|(j, part)| piece(Fields::of(format!("{path}[{j}]"), part)?))
                .collect()
        }
        Some(other) => Err(body::wrong(path, "a string or an array", kind(&other))),
    }
}

fn piece(mut part: Fields) -> Result<Item, Error> {
    part.ignore(&["prompt_cache_breakpoint"]);
    let item = match part.need_text("type")?.as_str() {
        "input_text" | "output_text" | "text" => {
            part.ignore(&["annotations", "logprobs"]);
            Item::Text(part.need_text("text")?)
        }
        "refusal" => Item::Refusal(part.need_text("refusal")?),
        "input_image" => {
            let detail = part.text("detail")?;
            let field = part.path("image_url");
            let Some(url) = part.text("image_url")? else {
                return Err(cannot(&part.path("file_id")));
            };
            let mut picture = media::from_url(&field, url, MediaKind::Image)?;
            picture.detail = media::detail(detail);
            Item::Media(picture)
        }
        "input_file" => {
            let name = part.text("filename")?;
            let field = part.path("file_data");
            let url = part.text("file_url")?;
            let mut file = match (part.text("file_data")?, url) {
                (Some(data), _) => media::from_url(&field, data, MediaKind::File)?,
                (None, Some(url)) => Media {
                    kind: MediaKind::File,
                    mime: String::new(),
                    at: Place::Url(url),
                    name: None,
                    detail: None,
                },
                (None, None) => return Err(cannot(&part.path("file_id"))),
            };
            file.name = name;
            Item::Media(file)
        }
        _ => return Err(cannot(&part.path("type"))),
    };
    part.done()?;
    Ok(item)
}
