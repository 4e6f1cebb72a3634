//! A request of Ollama's own API into a [`Request`].

use super::Ollama;
use super::effort;
use crate::chat::conversation::MediaKind;
use crate::chat::{Part, Prompt, Role, Turn};
use crate::dialect::body::{self, Costs};
use crate::dialect::lenient::{Content, Maybe, Text};
use crate::dialect::{Limit, Place, Request};
use crate::effort::Words as _;
use crate::error::Error;
use crate::json::{self, Object};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// The fields whose cost the token limit bounds. Sorted.
const BOUNDED: &[&str] = &[
    "format",
    "keep_alive",
    "logprobs",
    "messages",
    "model",
    "options",
    "prompt",
    "raw",
    "stream",
    "suffix",
    "system",
    "template",
    "think",
    "tools",
    "top_logprobs",
];

#[derive(Deserialize)]
struct OllamaTurn<'a> {
    #[serde(default, borrow)]
    role: Text<'a>,
    #[serde(default, borrow)]
    content: Text<'a>,
    #[serde(default, borrow)]
    thinking: Text<'a>,
    #[serde(default, borrow)]
    images: Content<'a, &'a RawValue>,
    #[serde(default, borrow)]
    tool_calls: Content<'a, IgnoredAny>,
}

/// Reads a request.
pub(super) fn decode<'a>(
    api: Ollama,
    bytes: &'a [u8],
    place: &Place<'a>,
) -> Result<Request<'a>, Error> {
    let fields = body::object(bytes, &["options"])?;
    let model = body::model_at(&fields, place)?;
    // Silence means a stream here.
    let stream = fields.some("stream").is_none() || body::flag(&fields, "stream")?;
    let mut costs = Costs::default();
    costs.unknown(&fields, BOUNDED);
    let tools: Vec<Maybe<body::AskedTool<'_>>> = body::list(&fields, "tools")?.unwrap_or_default();
    body::unbounded_tools(&tools, &mut costs);
    let mut prompt = Prompt {
        tools: tools.len(),
        structured: fields.some("format").is_some_and(|raw| raw != "\"\""),
        schema: fields
            .some("format")
            .is_some_and(|raw| raw.starts_with('{')),
        ..Prompt::default()
    };
    match api {
        Ollama::Chat => body::messages(&fields, |i, message| {
            add(message, &format!("messages[{i}]"), &mut prompt, &mut costs)
        })?,
        Ollama::Generate => generate(&fields, &mut prompt, &mut costs)?,
    }
    Ok(Request {
        manner: crate::chat::Manner::default(),
        effort: effort::Think.asked(&fields),
        limit: limit(&fields)?,
        model_in_body: body::model_in(&fields),
        tier: None,
        fields,
        model,
        stream,
        usage_asked: true,
        choices: 1,
        old_calls: false,
        prompt,
        unbounded: costs.unbounded,
        media: costs.media,
    })
}

/// Below zero means as much as the model likes.
fn limit(fields: &Object<'_>) -> Result<Option<Limit>, Error> {
    let Some(raw) = fields.some("options") else {
        return Ok(None);
    };
    let options =
        Object::read_str(raw).map_err(|_| body::wrong("options", "an object", body::found(raw)))?;
    if options
        .some("num_predict")
        .is_some_and(|raw| raw.starts_with('-'))
    {
        return Ok(None);
    }
    let tokens =
        body::count(&options, "num_predict", 1..=body::TOKENS_MAX).map_err(|mut error| {
            error.field = Some("options.num_predict".into());
            error
        })?;
    Ok(tokens.map(|tokens| Limit {
        field: "options.num_predict",
        tokens,
    }))
}

fn add<'a>(
    message: OllamaTurn<'a>,
    at: &str,
    prompt: &mut Prompt<'a>,
    costs: &mut Costs<'a>,
) -> Result<(), Error> {
    let role = body::text_at(message.role, format_args!("{at}.role"))?;
    let mut parts = Vec::new();
    if message.thinking.words().is_some() {
        parts.push(Part::Reasoning);
    }
    let text = message.content.into_text();
    match role.as_ref() {
        "system" => {
            prompt.system.extend(text);
            return Ok(());
        }
        "tool" => parts.extend(text.map(Part::ToolResult)),
        _ => parts.extend(text.map(Part::Text)),
    }
    for image in message.images.list() {
        let at = || format!("{at}.images");
        costs.medium(MediaKind::Image, at, Some(image.get()));
        parts.push(Part::Image);
    }
    parts.extend(message.tool_calls.list().iter().map(|_| Part::ToolCall));
    let role = match role.as_ref() {
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        _ => Role::User,
    };
    prompt.turns.push(Turn { role, parts });
    Ok(())
}

fn generate<'a>(
    fields: &Object<'a>,
    prompt: &mut Prompt<'a>,
    costs: &mut Costs<'a>,
) -> Result<(), Error> {
    let text = |key: &'static str| match fields.some(key) {
        None => Ok(None),
        Some(raw) => match json::text(raw) {
            Some(text) => Ok(Some(text)),
            None => Err(body::wrong(key, "a string", body::found(raw))),
        },
    };
    prompt.system.extend(text("system")?);
    let mut parts: Vec<Part<'a>> = text("prompt")?.map(Part::Text).into_iter().collect();
    let images: Vec<&RawValue> = body::list(fields, "images")?.unwrap_or_default();
    for image in images {
        let at = || "images".to_owned();
        costs.medium(MediaKind::Image, at, Some(image.get()));
        parts.push(Part::Image);
    }
    prompt.turns.push(Turn {
        role: Role::User,
        parts,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_the_provider_runs_has_no_bound() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}},{"type":"web_search"}]}"#;
        let request = decode(Ollama::Chat, body.as_bytes(), &Place::default()).expect("valid");
        assert_eq!(request.unbounded, ["tools[1]"]);
    }

    #[test]
    fn silence_means_a_stream_and_the_limit_stands_in_the_options() {
        let read = |body: &str| {
            let request = decode(Ollama::Chat, body.as_bytes(), &Place::default()).expect(body);
            (request.stream, request.limit.map(|l| l.tokens))
        };
        let with = |more: &str| {
            format!(
                "{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]{more}}}"
            )
        };
        assert_eq!(read(&with("")), (true, None));
        assert_eq!(
            read(&with(",\"stream\":false,\"options\":{\"num_predict\":7}")),
            (false, Some(7))
        );
        assert_eq!(
            read(&with(",\"options\":{\"num_predict\":-1}")),
            (true, None)
        );
        for (more, field) in [
            (
                ",\"options\":{\"num_predict\":\"x\"}",
                "options.num_predict",
            ),
            (",\"options\":7", "options"),
            (",\"stream\":\"yes\"", "stream"),
        ] {
            let body = with(more);
            let error = decode(Ollama::Chat, body.as_bytes(), &Place::default()).expect_err(more);
            assert_eq!(error.field.as_deref(), Some(field));
        }
        assert!(BOUNDED.is_sorted());
    }

    #[test]
    fn the_conversation_is_told_in_no_vendors_words() {
        let body = r#"{"model":"m","format":"json","tools":[{}],"messages":[{"role":"system","content":"be"},
            {"role":"user","content":"see","images":["aGk="]},{"role":"assistant","thinking":"hm","tool_calls":[{}]},
            {"role":"tool","tool_name":"f","content":"4"}]}"#;
        let request = decode(Ollama::Chat, body.as_bytes(), &Place::default()).expect("valid");
        assert_eq!(request.prompt.system, ["be"]);
        let turns: Vec<_> = request
            .prompt
            .turns
            .iter()
            .map(|t| (t.role, t.parts.as_slice()))
            .collect();
        assert_eq!(
            turns,
            [
                (Role::User, &[Part::Text("see".into()), Part::Image][..]),
                (Role::Assistant, &[Part::Reasoning, Part::ToolCall]),
                (Role::Tool, &[Part::ToolResult("4".into())]),
            ]
        );
        let body = r#"{"model":"m","prompt":"hi","system":"be","context":[1]}"#;
        let request = decode(Ollama::Generate, body.as_bytes(), &Place::default()).expect("valid");
        assert_eq!(request.unbounded, ["context"]);
        assert_eq!(request.prompt.turns[0].parts, [Part::Text("hi".into())]);
    }
}
