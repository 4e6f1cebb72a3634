//! A request of Cohere Chat into a whole neutral conversation.

use super::NAME;
use crate::chat::Role;
use crate::chat::conversation::{
    Choice, Conversation, Format, Item, MediaKind, Message, Reasoning, Returned, Sampling, Tool,
};
use crate::dialect::functions;
use crate::dialect::open::{Fields, cannot, kind, push};
use crate::dialect::{Request, body, carry, media};
use crate::error::Error;
use serde_json::Value;

/// Fields that flyball reads elsewhere and writes in the model's own words.
const OWNED: &[&str] = &["model", "stream", "max_tokens"];

pub(super) fn converse(request: &Request<'_>) -> Result<Conversation, Error> {
    let mut fields = Fields::whole(request.fields.text())?;
    fields.ignore(OWNED);
    let mut said = Conversation {
        stream: request.stream,
        limit: request.limit.map(|l| l.tokens),
        ..Conversation::default()
    };
    // It shows what it thinks wherever it thinks.
    let thinking = fields.take("thinking").unwrap_or_default();
    said.show_reasoning = thinking["type"] == "enabled";
    fields.lose(&["citation_options", "priority"], &mut said.lost);
    if !fields.list("documents")?.is_empty() {
        return Err(cannot("documents"));
    }
    match fields.text("safety_mode")?.as_deref() {
        None | Some("CONTEXTUAL") => {}
        Some("OFF" | "NONE") => said.lost.push("safety_mode".into()),
        Some(_) => return Err(cannot("safety_mode")),
    }
    said.sampling = Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("p")?,
        top_k: fields.number("k")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        presence_penalty: fields.number("presence_penalty")?,
        seed: fields.number("seed")?,
    };
    // 0 says that so many are not looked at.
    said.sampling.top_k = said.sampling.top_k.filter(|k| k.as_u64() != Some(0));
    said.stop = fields.texts("stop_sequences")?;
    said.logprobs = fields.flag("logprobs")?.and_then(|on| on.then_some(0));
    said.format = format(&mut fields)?;
    tools(&mut fields, &mut said)?;
    for (i, message) in fields.list("messages")?.into_iter().enumerate() {
        add(Fields::of(format!("messages[{i}]"), message)?, &mut said)?;
    }
    fields.done()?;
    said.name_results();
    Ok(said)
}

fn format(fields: &mut Fields) -> Result<Option<Format>, Error> {
    let Some(mut format) = fields.object("response_format")? else {
        return Ok(None);
    };
    let schema = format.take("json_schema");
    let read = match (format.need_text("type")?.as_str(), schema) {
        ("text", None) => None,
        ("json_object", None) => Some(Format::Json),
        ("json_object", Some(schema)) => Some(Format::Schema {
            name: "answer".into(),
            schema,
            strict: None,
        }),
        _ => return Err(cannot(&format.path("type"))),
    };
    format.done()?;
    Ok(read)
}

fn tools(fields: &mut Fields, said: &mut Conversation) -> Result<(), Error> {
    let strict = fields.flag("strict_tools")?;
    for (i, tool) in fields.list("tools")?.into_iter().enumerate() {
        let mut tool = Fields::of(format!("tools[{i}]"), tool)?;
        tool.ignore(&["type"]);
        let mut function = tool.need_object("function")?;
        said.tools.push(Tool {
            strict,
            ..functions::declared(&mut function)?
        });
        function.done()?;
        tool.done()?;
    }
    said.choice = match fields.text("tool_choice")?.as_deref() {
        None => None,
        Some("REQUIRED") => Some(Choice::Any),
        Some("NONE") => Some(Choice::None),
        Some(_) => return Err(cannot("tool_choice")),
    };
    Ok(())
}

fn add(mut message: Fields, said: &mut Conversation) -> Result<(), Error> {
    let role = message.need_text("role")?;
    let items = content(&mut message, &mut said.lost)?;
    let (role, items) = match role.as_str() {
        "system" => {
            for item in items {
                match item {
                    Item::Text(text) => said.system.push(text),
                    _ => return Err(cannot(&message.path("content"))),
                }
            }
            return message.done();
        }
        "user" => (Role::User, items),
        "assistant" => (Role::Assistant, assistant(&mut message, items)?),
        "tool" => {
            let result = Returned {
                id: message.need_text("tool_call_id")?,
                name: String::new(),
                items,
                failed: false,
            };
            push(&mut said.messages, Role::Tool, Item::Result(result));
            return message.done();
        }
        _ => return Err(cannot(&message.path("role"))),
    };
    said.messages.push(Message { role, items });
    message.done()
}

/// What the model thought stands first, then what it means to do, what it said, and the calls.
fn assistant(message: &mut Fields, items: Vec<Item>) -> Result<Vec<Item>, Error> {
    message.ignore(&["citations"]);
    let thought = |item: &Item| matches!(item, Item::Reasoning(_));
    let (mut told, words): (Vec<Item>, Vec<Item>) = items.into_iter().partition(thought);
    let plan = message.text("tool_plan")?.filter(|plan| !plan.is_empty());
    told.extend(plan.map(Item::Text));
    told.extend(words);
    let path = message.path("tool_calls");
    for (i, call) in message.list("tool_calls")?.into_iter().enumerate() {
        let mut call = Fields::of(format!("{path}[{i}]"), call)?;
        call.ignore(&["type"]);
        told.push(Item::Call(functions::called(&mut call)?));
        call.done()?;
    }
    Ok(told)
}

fn content(message: &mut Fields, lost: &mut Vec<String>) -> Result<Vec<Item>, Error> {
    let path = message.path("content");
    match message.take("content") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Item::Text(text)]),
        Some(Value::Array(pieces)) => {
            let pieces = pieces.into_iter().enumerate();
            let read = |(j, piece)| item(Fields::of(format!("{path}[{j}]"), piece)?, lost);
            pieces.map(read).collect()
        }
        Some(other) => Err(body::wrong(path, "a string or an array", kind(&other))),
    }
}

fn item(mut piece: Fields, lost: &mut Vec<String>) -> Result<Item, Error> {
    let item = match piece.need_text("type")?.as_str() {
        "text" => Item::Text(piece.need_text("text")?),
        "thinking" => Item::Reasoning(Reasoning {
            text: piece.need_text("thinking")?,
            // Words alone, which go back to a model that said such.
            state: Some(carry::unpack("text", NAME)),
        }),
        "image_url" => image(&mut piece)?,
        "document" => document(&mut piece, lost)?,
        _ => return Err(cannot(&piece.path("type"))),
    };
    piece.done()?;
    Ok(item)
}

fn image(piece: &mut Fields) -> Result<Item, Error> {
    let mut image = piece.need_object("image_url")?;
    let (path, url) = (image.path("url"), image.need_text("url")?);
    let mut read = media::from_url(&path, url, MediaKind::Image)?;
    read.detail = media::detail(image.text("detail")?);
    image.done()?;
    Ok(Item::Media(read))
}

/// A document in a tool's result is that result: its words, or its JSON.
fn document(piece: &mut Fields, lost: &mut Vec<String>) -> Result<Item, Error> {
    let mut document = piece.need_object("document")?;
    document.lose(&["id"], lost);
    let text = match document.take("data") {
        None => return Err(body::wrong(document.path("data"), "an object", "nothing")),
        Some(Value::String(text)) => text,
        Some(data) => data.to_string(),
    };
    document.done()?;
    Ok(Item::Text(text))
}

#[cfg(test)]
mod tests {
    use crate::dialect::cohere::Cohere;
    use crate::dialect::{Dialect, Place};

    #[test]
    fn thoughts_are_asked_for_only_where_they_are_enabled() {
        for (thinking, shown) in [
            (r#"{"type":"enabled"}"#, true),
            (r#"{"type":"disabled"}"#, false),
            ("{}", false),
            ("null", false),
        ] {
            let body = format!(
                "{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],\"thinking\":{thinking}}}"
            );
            let request = Cohere.decode_at(body.as_bytes(), &Place::default());
            let request = request.expect("valid");
            let said = Cohere.converse(&request).expect("can be said");
            assert_eq!(said.show_reasoning, shown, "{thinking}");
        }
    }
}
