//! A request of Ollama's own API into a whole neutral conversation.

use super::Ollama;
use crate::chat::Role;
use crate::chat::conversation::{
    Call, Conversation, Format, Item, Media, MediaKind, Message, Reasoning, Returned,
};
use crate::dialect::functions;
use crate::dialect::ids::Ids;
use crate::dialect::open::{Fields, cannot, kind, push};
use crate::dialect::{Request, body, carry, media};
use crate::error::Error;
use serde_json::{Value, json};

/// How a local server runs a model; means nothing to another.
const LOST_OPTIONS: &[&str] = &[
    "num_ctx",
    "num_batch",
    "num_gpu",
    "num_thread",
    "num_keep",
    "main_gpu",
    "use_mmap",
    "use_mlock",
    "numa",
    "low_vram",
    "repeat_last_n",
    "repeat_penalty",
    "min_p",
    "typical_p",
    "tfs_z",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "penalize_newline",
];

pub(super) fn converse(api: Ollama, request: &Request<'_>) -> Result<Conversation, Error> {
    let mut fields = Fields::whole(request.fields.text())?;
    let mut said = Conversation {
        stream: request.stream,
        limit: request.limit.map(|l| l.tokens),
        ..Conversation::default()
    };
    fields.ignore(&["model", "stream"]);
    fields.lose(&["keep_alive"], &mut said.lost);
    said.show_reasoning = match fields.take("think") {
        None | Some(Value::Bool(false)) => false,
        Some(_) => true,
    };
    if let Some(mut options) = fields.object("options")? {
        configure(&mut options, &mut said)?;
        options.done()?;
    }
    said.format = match fields.take("format") {
        None => None,
        Some(Value::String(word)) if word.is_empty() => None,
        Some(Value::String(word)) if word == "json" => Some(Format::Json),
        Some(schema @ Value::Object(_)) => Some(Format::Schema {
            name: "answer".into(),
            schema,
            strict: None,
        }),
        Some(_) => return Err(cannot("format")),
    };
    let top = fields.count("top_logprobs")?;
    if fields.flag("logprobs")? == Some(true) {
        said.logprobs = Some(top.unwrap_or(0));
    }
    match api {
        Ollama::Chat => chat(&mut fields, &mut said)?,
        Ollama::Generate => generate(&mut fields, &mut said)?,
    }
    fields.done()?;
    Ok(said)
}

fn configure(options: &mut Fields, said: &mut Conversation) -> Result<(), Error> {
    options.ignore(&["num_predict"]);
    said.sampling.temperature = options.number("temperature")?;
    said.sampling.top_p = options.number("top_p")?;
    said.sampling.top_k = options.number("top_k")?;
    said.sampling.seed = options.number("seed")?;
    said.sampling.frequency_penalty = options.number("frequency_penalty")?;
    said.sampling.presence_penalty = options.number("presence_penalty")?;
    said.stop = options.texts("stop")?;
    options.lose(LOST_OPTIONS, &mut said.lost);
    Ok(())
}

fn generate(fields: &mut Fields, said: &mut Conversation) -> Result<(), Error> {
    said.system
        .extend(fields.text("system")?.filter(|t| !t.is_empty()));
    let text = fields.text("prompt")?.unwrap_or_default();
    let mut items = images(fields)?;
    items.insert(0, Item::Text(text));
    said.messages.push(Message {
        role: Role::User,
        items,
    });
    for key in ["template", "suffix"] {
        if fields.text(key)?.is_some_and(|t| !t.is_empty()) {
            return Err(cannot(key));
        }
    }
    if fields.flag("raw")? == Some(true) {
        return Err(cannot("raw"));
    }
    match fields.list("context")?.is_empty() {
        true => Ok(()),
        false => Err(cannot("context")),
    }
}

fn chat(fields: &mut Fields, said: &mut Conversation) -> Result<(), Error> {
    for (i, tool) in fields.list("tools")?.into_iter().enumerate() {
        let mut tool = Fields::of(format!("tools[{i}]"), tool)?;
        tool.ignore(&["type"]);
        let mut function = tool.need_object("function")?;
        said.tools.push(functions::declared(&mut function)?);
        function.done()?;
        tool.done()?;
    }
    let mut ids = Ids::default();
    for (i, message) in fields.list("messages")?.into_iter().enumerate() {
        add(
            Fields::of(format!("messages[{i}]"), message)?,
            &mut ids,
            said,
        )?;
    }
    Ok(())
}

fn images(fields: &mut Fields) -> Result<Vec<Item>, Error> {
    let path = fields.path("images");
    let list = fields.list("images")?.into_iter().enumerate();
    list.map(|(i, image)| {
        let field = format!("{path}[{i}]");
        let Value::String(data) = image else {
            return Err(body::wrong(&field, "base64", kind(&image)));
        };
        let mime = mime_of(&data).to_owned();
        let at = media::inline(&field, data)?;
        Ok(Item::Media(Media {
            kind: MediaKind::Image,
            mime,
            at,
            name: None,
            detail: None,
        }))
    })
    .collect()
}

/// A picture's type by its first bytes, which this dialect does not tell.
fn mime_of(base64: &str) -> &'static str {
    match base64.as_bytes() {
        [b'/', b'9', b'j', ..] => "image/jpeg",
        [b'R', b'0', b'l', b'G', ..] => "image/gif",
        [b'U', b'k', b'l', b'G', ..] => "image/webp",
        _ => "image/png",
    }
}

fn add(mut message: Fields, ids: &mut Ids, said: &mut Conversation) -> Result<(), Error> {
    let role = message.need_text("role")?;
    let text = message.text("content")?;
    let name = message
        .text("tool_name")?
        .or(message.text("name")?)
        .unwrap_or_default();
    let id = message.text("tool_call_id")?;
    let mut items = Vec::new();
    if let Some(text) = message.text("thinking")?.filter(|t| !t.is_empty()) {
        let state = carry::unpack("text", "ollama_chat");
        items.push(Item::Reasoning(Reasoning {
            text,
            state: Some(state),
        }));
    }
    items.extend(
        text.filter(|t| !t.is_empty() || role == "tool")
            .map(Item::Text),
    );
    items.extend(images(&mut message)?);
    match role.as_str() {
        "system" => said
            .system
            .extend(items.into_iter().filter_map(|item| match item {
                Item::Text(text) => Some(text),
                _ => None,
            })),
        "assistant" => {
            calls(&mut message, ids, &mut items)?;
            said.messages.push(Message {
                role: Role::Assistant,
                items,
            });
        }
        "tool" => {
            let path = message.path("tool_name");
            let (id, name) = ids.result(&name, id).ok_or_else(|| {
                let sentence =
                    format!("\"{path}\" answers a call that the conversation does not have.");
                Error::bad_field(&path, sentence)
            })?;
            let result = Returned {
                id,
                name,
                items,
                failed: false,
            };
            push(&mut said.messages, Role::Tool, Item::Result(result));
        }
        "user" => said.messages.push(Message {
            role: Role::User,
            items,
        }),
        _ => return Err(cannot(&message.path("role"))),
    }
    message.done()
}

fn calls(message: &mut Fields, ids: &mut Ids, items: &mut Vec<Item>) -> Result<(), Error> {
    let path = message.path("tool_calls");
    for (i, call) in message.list("tool_calls")?.into_iter().enumerate() {
        let mut call = Fields::of(format!("{path}[{i}]"), call)?;
        call.ignore(&["type"]);
        let id = call.text("id")?;
        let mut function = call.need_object("function")?;
        function.ignore(&["index"]);
        let name = function.need_text("name")?;
        let arguments = function
            .take("arguments")
            .unwrap_or_else(|| json!({}))
            .to_string();
        function.done()?;
        call.done()?;
        let id = ids.call(&name, id);
        items.push(Item::Call(Call {
            id,
            name,
            arguments,
        }));
    }
    Ok(())
}
