//! A Messages request into a whole neutral conversation.

use super::bend;
use crate::chat::Role;
use crate::chat::conversation::{
    Call, Choice, Conversation, Format, Item, Media, MediaKind, Message, Place, Reasoning,
    Returned, Sampling, Tool,
};
use crate::dialect::bend::SEARCH;
use crate::dialect::carry;
use crate::dialect::media;
use crate::dialect::open::{Fields, cannot, kind};
use crate::dialect::{Request, body};
use crate::error::Error;
use serde_json::{Value, json};

/// Fields that tune or label a request and change no answer's meaning.
const LOST: &[&str] = &["service_tier", "inference_geo", "speed"];

pub(super) fn converse(request: &Request<'_>) -> Result<Conversation, Error> {
    let mut fields = Fields::whole(request.fields.text())?;
    fields.ignore(&["model", "stream", "max_tokens", "anthropic_version"]);
    let mut said = Conversation {
        stream: request.stream,
        limit: request.limit.map(|l| l.tokens),
        ..Conversation::default()
    };
    if said.limit == Some(0) {
        return Err(cannot("max_tokens"));
    }
    fields.lose(LOST, &mut said.lost);
    marks(&mut fields, &mut said);
    said.sampling = Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.number("top_k")?,
        ..Sampling::default()
    };
    said.stop = fields.texts("stop_sequences")?;
    said.show_reasoning = shows(&mut fields);
    if let Some(mut metadata) = fields.object("metadata")? {
        said.user = metadata.text("user_id")?;
        metadata.done()?;
    }
    said.format = format(&mut fields)?;
    context(&mut fields, &mut said)?;
    let offered = fields.list("tools")?;
    choice(&mut fields, &mut said)?;
    let forced = matches!(said.choice, Some(Choice::Any | Choice::Named(_)));
    for (i, tool) in offered.into_iter().enumerate() {
        if bend::is_search(&tool) && !forced {
            said.lost.push(SEARCH.into());
            continue;
        }
        let tool = tool_of(Fields::of(format!("tools[{i}]"), tool)?, &mut said)?;
        said.tools.push(tool);
    }
    system(&mut fields, &mut said)?;
    for (i, message) in fields.list("messages")?.into_iter().enumerate() {
        add(Fields::of(format!("messages[{i}]"), message)?, &mut said)?;
    }
    fields.done()?;
    said.name_results();
    Ok(said)
}

/// Marks for the prompt cache: other servers cache by themselves. Named once, however many there are.
fn marks(fields: &mut Fields, said: &mut Conversation) {
    let mark = "cache_control";
    if fields.take(mark).is_some() && !said.lost.iter().any(|l| l == mark) {
        said.lost.push(mark.into());
    }
}

fn shows(fields: &mut Fields) -> bool {
    let thinking = fields.take("thinking").unwrap_or_default();
    let on = matches!(thinking["type"].as_str(), Some("enabled" | "adaptive"));
    on && thinking["display"] != "omitted"
}

fn format(fields: &mut Fields) -> Result<Option<Format>, Error> {
    let mut format = fields.object("output_format")?;
    if let Some(mut config) = fields.object("output_config")? {
        config.ignore(&["effort"]);
        format = config.object("format")?.or(format);
        config.done()?;
    }
    let Some(mut format) = format else {
        return Ok(None);
    };
    if format.need_text("type")? != "json_schema" {
        return Err(cannot(&format.path("type")));
    }
    let schema = format.take("schema").unwrap_or_else(|| json!({}));
    format.ignore(&["name"]);
    format.done()?;
    Ok(Some(Format::Schema {
        name: "answer".into(),
        schema,
        strict: Some(true),
    }))
}

/// Clearing old turns only makes a request cheaper; every other edit runs the model once more.
fn context(fields: &mut Fields, said: &mut Conversation) -> Result<(), Error> {
    let Some(management) = fields.take("context_management") else {
        return Ok(());
    };
    let edits = management["edits"].as_array().cloned().unwrap_or_default();
    let clears = |edit: &Value| {
        edit["type"]
            .as_str()
            .is_some_and(|t| t.starts_with("clear_"))
    };
    if !edits.iter().all(clears) {
        return Err(cannot("context_management"));
    }
    said.lost.push("context_management".into());
    Ok(())
}

fn tool_of(mut tool: Fields, said: &mut Conversation) -> Result<Tool, Error> {
    if tool.text("type")?.is_some_and(|kind| kind != "custom") {
        return Err(cannot(&tool.path("type")));
    }
    marks(&mut tool, said);
    tool.lose(
        &[
            "eager_input_streaming",
            "input_examples",
            "allowed_callers",
            "defer_loading",
        ],
        &mut said.lost,
    );
    let read = Tool {
        name: tool.need_text("name")?,
        description: tool.text("description")?,
        schema: tool
            .take("input_schema")
            .unwrap_or_else(|| json!({"type": "object", "properties": {}})),
        strict: tool.flag("strict")?,
    };
    tool.done()?;
    Ok(read)
}

fn choice(fields: &mut Fields, said: &mut Conversation) -> Result<(), Error> {
    let Some(mut choice) = fields.object("tool_choice")? else {
        return Ok(());
    };
    said.parallel_calls = choice.flag("disable_parallel_tool_use")?.map(|off| !off);
    said.choice = Some(match choice.need_text("type")?.as_str() {
        "auto" => Choice::Auto,
        "any" => Choice::Any,
        "none" => Choice::None,
        "tool" => Choice::Named(choice.need_text("name")?),
        _ => return Err(cannot(&choice.path("type"))),
    });
    choice.done()
}

fn system(fields: &mut Fields, said: &mut Conversation) -> Result<(), Error> {
    match fields.take("system") {
        None => {}
        Some(Value::String(text)) => said.system.push(text),
        Some(Value::Array(blocks)) => {
            for (i, block) in blocks.into_iter().enumerate() {
                let mut block = Fields::of(format!("system[{i}]"), block)?;
                block.ignore(&["type", "citations"]);
                marks(&mut block, said);
                said.system.push(block.need_text("text")?);
                block.done()?;
            }
        }
        Some(other) => return Err(body::wrong("system", "a string or an array", kind(&other))),
    }
    Ok(())
}

fn add(mut message: Fields, said: &mut Conversation) -> Result<(), Error> {
    let role = message.need_text("role")?;
    let path = message.path("content");
    // How hard the model that was asked is to think from there on.
    message.lose(&["output_config"], &mut said.lost);
    let items = match message.take("content") {
        Some(Value::String(text)) => vec![Item::Text(text)],
        Some(Value::Array(blocks)) => items(&path, blocks, said)?,
        other => {
            let found = other.as_ref().map_or("nothing", kind);
            return Err(body::wrong(path, "a string or an array of blocks", found));
        }
    };
    message.done()?;
    let mut push = |role, items: Vec<Item>| {
        if !items.is_empty() {
            said.messages.push(Message { role, items });
        }
    };
    match role.as_str() {
        "assistant" => push(Role::Assistant, items),
        "system" => said
            .system
            .extend(items.into_iter().filter_map(|item| match item {
                Item::Text(text) => Some(text),
                _ => None,
            })),
        _ => {
            let (results, rest): (Vec<_>, Vec<_>) = items
                .into_iter()
                .partition(|item| matches!(item, Item::Result(_)));
            push(Role::Tool, results);
            push(Role::User, rest);
        }
    }
    Ok(())
}

fn items(path: &str, blocks: Vec<Value>, said: &mut Conversation) -> Result<Vec<Item>, Error> {
    let mut items = Vec::with_capacity(blocks.len());
    for (i, block) in blocks.into_iter().enumerate() {
        let mut block = Fields::of(format!("{path}[{i}]"), block)?;
        marks(&mut block, said);
        items.push(item(&mut block, said)?);
        block.done()?;
    }
    Ok(items)
}

fn item(block: &mut Fields, said: &mut Conversation) -> Result<Item, Error> {
    Ok(match block.need_text("type")?.as_str() {
        "text" => {
            block.ignore(&["citations"]);
            Item::Text(block.need_text("text")?)
        }
        "image" => Item::Media(source(block, MediaKind::Image)?),
        "document" => {
            let name = block.text("title")?;
            if block
                .take("citations")
                .is_some_and(|c| c["enabled"] == true)
            {
                said.lost.push(block.path("citations"));
            }
            let context = block.text("context")?;
            let mut file = source(block, MediaKind::File)?;
            file.name = name.or(context);
            Item::Media(file)
        }
        "tool_use" => {
            block.ignore(&["caller"]);
            let input = block.take("input").unwrap_or_else(|| json!({}));
            Item::Call(Call {
                id: block.need_text("id")?,
                name: block.need_text("name")?,
                arguments: input.to_string(),
            })
        }
        "tool_result" => {
            let path = block.path("content");
            let items = match block.take("content") {
                None => Vec::new(),
                Some(Value::String(text)) => vec![Item::Text(text)],
                Some(Value::Array(blocks)) => items(&path, blocks, said)?,
                Some(other) => {
                    return Err(body::wrong(path, "a string or an array", kind(&other)));
                }
            };
            Item::Result(Returned {
                id: block.need_text("tool_use_id")?,
                name: String::new(),
                items,
                failed: block.flag("is_error")?.unwrap_or(false),
            })
        }
        "thinking" => {
            let signature = block.text("signature")?.filter(|s| !s.is_empty());
            Item::Reasoning(Reasoning {
                text: block.text("thinking")?.unwrap_or_default(),
                state: signature.map(|s| carry::unpack(&s, "anthropic_messages")),
            })
        }
        "redacted_thinking" => {
            let data = block.need_text("data")?;
            let mut state = carry::unpack(&data, "anthropic_messages");
            if !data.starts_with(carry::MARK) {
                state.value = format!("{}{data}", carry::REDACTED);
            }
            Item::Reasoning(Reasoning {
                text: String::new(),
                state: Some(state),
            })
        }
        _ => return Err(cannot(&block.path("type"))),
    })
}

fn source(block: &mut Fields, kind: MediaKind) -> Result<Media, Error> {
    let mut source = block.need_object("source")?;
    let mime = source.text("media_type")?.unwrap_or_default();
    let at = match source.need_text("type")?.as_str() {
        "base64" => {
            let field = source.path("data");
            media::inline(&field, source.need_text("data")?)?
        }
        "url" => Place::Url(source.need_text("url")?),
        "text" => Place::Text(source.need_text("data")?),
        _ => return Err(cannot(&source.path("type"))),
    };
    source.done()?;
    Ok(Media {
        kind,
        mime,
        at,
        name: None,
        detail: None,
    })
}
