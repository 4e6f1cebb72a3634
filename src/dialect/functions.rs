//! What Chat Completions, Cohere Chat and Ollama's chat read and write alike: functions, their calls and their results.

use super::media;
use super::open::{Fields, cannot_hold};
use crate::chat::conversation::{Call, Conversation, Item, Media, Tool, texts};
use crate::error::Error;
use serde_json::{Map, Number, Value, json};

/// Reads the declaration of a function as far as all of them have it.
pub(super) fn declared(function: &mut Fields) -> Result<Tool, Error> {
    Ok(Tool {
        name: function.need_text("name")?,
        description: function.text("description")?,
        schema: function
            .take("parameters")
            .unwrap_or_else(|| json!({"type": "object", "properties": {}})),
        strict: None,
    })
}

/// Reads a call whose arguments are a text.
pub(super) fn called(call: &mut Fields) -> Result<Call, Error> {
    let id = call.need_text("id")?;
    let mut function = call.need_object("function")?;
    let read = Call {
        id,
        name: function.need_text("name")?,
        arguments: function.text("arguments")?.unwrap_or_else(|| "{}".into()),
    };
    function.done()?;
    Ok(read)
}

/// Declares a function.
pub(super) fn declaration(tool: &Tool) -> Value {
    let mut function = json!({"name": tool.name});
    if let Some(description) = &tool.description {
        function["description"] = description.clone().into();
    }
    function["parameters"] = tool.schema.clone();
    json!({"type": "function", "function": function})
}

/// A call whose arguments are a text.
pub(super) fn call(call: &Call) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

/// The instructions, as one message: many chat templates take one only.
pub(super) fn system(said: &Conversation) -> Option<Value> {
    let text = || said.system.join("\n\n");
    (!said.system.is_empty()).then(|| json!({"role": "system", "content": text()}))
}

/// What a user says. One text stays a string, which every server takes.
pub(super) fn content(
    items: &[Item],
    medium: impl Fn(&Media) -> Result<Value, Error>,
) -> Result<Value, Error> {
    if let [Item::Text(text)] = items {
        return Ok(text.clone().into());
    }
    let part = |item: &Item| match item {
        Item::Text(text) | Item::Refusal(text) => Ok(json!({"type": "text", "text": text})),
        Item::Media(media) => medium(media),
        Item::Call(_) | Item::Result(_) | Item::Reasoning(_) => {
            Err(cannot_hold("a tool call in a user's message"))
        }
    };
    items.iter().map(part).collect()
}

/// Results, which are texts; pictures and files of a tool follow in a message of the user.
pub(super) fn results(
    items: &[Item],
    list: &mut Vec<Value>,
    lost: &mut Vec<String>,
    medium: impl Fn(&Media) -> Result<Value, Error>,
) -> Result<(), Error> {
    let mut seen = Vec::new();
    for item in items {
        let Item::Result(result) = item else {
            return Err(cannot_hold("a tool's message without a result"));
        };
        if result.failed {
            lost.push("is_error".into());
        }
        let text = texts(&result.items);
        list.push(json!({"role": "tool", "tool_call_id": result.id, "content": text}));
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

/// A picture by its address, which may be a `data:` one.
pub(super) fn picture(picture: &Media) -> Result<Value, Error> {
    let Some(url) = media::to_url(picture) else {
        return Err(cannot_hold("a picture without bytes"));
    };
    let mut image = json!({"url": url});
    if let Some(detail) = &picture.detail {
        image["detail"] = detail.clone().into();
    }
    Ok(json!({"type": "image_url", "image_url": image}))
}

/// Puts in those numbers that there are.
pub(super) fn numbers<const N: usize>(
    body: &mut Map<String, Value>,
    numbers: [(&str, &Option<Number>); N],
) {
    for (key, number) in numbers {
        if let Some(number) = number {
            body.insert(key.into(), Value::Number(number.clone()));
        }
    }
}
