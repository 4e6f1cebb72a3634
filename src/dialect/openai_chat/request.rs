//! A Chat Completions request into a [`Request`].

use super::effort;
use super::fields;
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
use std::borrow::Cow;

/// The most answers to one request (OpenAI's own limit).
const CHOICES_MAX: u64 = 128;

/// Fields that flyball edits one level down or reads there.
const OBJECTS: &[&str] = &[
    "chat_template_kwargs",
    "reasoning",
    "response_format",
    "stream_options",
    "thinking",
];

#[derive(Deserialize)]
struct ChatTurn<'a> {
    #[serde(default, borrow)]
    role: Text<'a>,
    #[serde(default, borrow)]
    content: Content<'a, Maybe<ChatPart<'a>>>,
    #[serde(default, borrow)]
    refusal: Text<'a>,
    #[serde(default, borrow)]
    tool_calls: Text<'a>,
    #[serde(default)]
    function_call: Option<IgnoredAny>,
    #[serde(default, borrow)]
    reasoning_content: Text<'a>,
    #[serde(default, borrow)]
    reasoning: Text<'a>,
    #[serde(default, borrow)]
    reasoning_details: Text<'a>,
    #[serde(default)]
    audio: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ChatPart<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    refusal: Text<'a>,
    #[serde(default, borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(default, borrow)]
    input_audio: Option<&'a RawValue>,
    #[serde(default, borrow)]
    file: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ResponseFormat<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
}

/// Reads a request.
pub(super) fn decode<'a>(bytes: &'a [u8], place: &Place<'a>) -> Result<Request<'a>, Error> {
    let fields = body::object(bytes, OBJECTS)?;
    let effort = effort::Chat.asked(&fields);
    let model = body::model_at(&fields, place)?;
    let stream = body::flag(&fields, "stream")?;
    let usage_asked = usage_asked(&fields)?;
    let limit = limit(&fields)?;
    let tier = body::tier(&fields, "service_tier");
    let choices = body::count(&fields, "n", 1..=CHOICES_MAX)?.unwrap_or(1);
    let mut costs = Costs::default();
    fields::unbounded(&fields, &mut costs.unbounded);
    let tools: Vec<Maybe<body::AskedTool<'_>>> = body::list(&fields, "tools")?.unwrap_or_default();
    body::unbounded_tools(&tools, &mut costs);
    let functions: Option<Vec<IgnoredAny>> = body::list(&fields, "functions")?;
    let old_calls = functions.is_some();
    let format = response_format(&fields);
    let format = format.as_ref().and_then(|format| format.kind.text());
    let mut prompt = Prompt {
        tools: tools.len() + functions.map_or(0, |f| f.len()),
        structured: matches!(format, Some("json_schema" | "json_object")),
        schema: format == Some("json_schema"),
        ..Prompt::default()
    };
    body::messages(&fields, |i, message| {
        add(message, i, &mut prompt, &mut costs)
    })?;
    Ok(Request {
        manner: crate::chat::Manner::default(),
        model_in_body: body::model_in(&fields),
        fields,
        model,
        stream,
        usage_asked,
        limit,
        choices,
        old_calls,
        effort,
        tier,
        prompt,
        unbounded: costs.unbounded,
        media: costs.media,
    })
}

fn usage_asked(fields: &Object<'_>) -> Result<bool, Error> {
    let Some(raw) = fields.some("stream_options") else {
        return Ok(false);
    };
    let options = Object::read_str(raw)
        .map_err(|_| body::wrong("stream_options", "an object", body::found(raw)))?;
    body::flag(&options, "include_usage").map_err(|_| {
        let raw = options.get("include_usage").unwrap_or_default();
        body::wrong(
            "stream_options.include_usage",
            "true or false",
            body::found(raw),
        )
    })
}

fn limit(fields: &Object<'_>) -> Result<Option<Limit>, Error> {
    let read = |field: &'static str| -> Result<Option<Limit>, Error> {
        let tokens = body::limit(fields, field)?;
        Ok(tokens.map(|tokens| Limit { field, tokens }))
    };
    let (new, old) = (read("max_completion_tokens")?, read("max_tokens")?);
    match (new, old) {
        (Some(new), Some(old)) if new.tokens != old.tokens => Err(body::wrong(
            "max_tokens",
            &format!("the same as \"max_completion_tokens\" ({})", new.tokens),
            &old.tokens.to_string(),
        )),
        _ => Ok(new.or(old)),
    }
}

fn response_format<'a>(fields: &Object<'a>) -> Option<ResponseFormat<'a>> {
    let raw = fields.some("response_format")?;
    json::from_str::<Maybe<ResponseFormat<'_>>>(raw).ok()?.0
}

fn add<'a>(
    message: ChatTurn<'a>,
    i: usize,
    prompt: &mut Prompt<'a>,
    costs: &mut Costs<'a>,
) -> Result<(), Error> {
    let role = body::text_at(message.role, format_args!("messages[{i}].role"))?;
    let mut parts = Vec::new();
    let reasons = message.reasoning_content.words().is_some()
        || message.reasoning.words().is_some()
        || !message.reasoning_details.list().is_empty();
    if reasons {
        parts.push(Part::Reasoning);
    }
    add_content(message.content, i, &mut parts, costs)?;
    if let Content::Text(refusal) = message.refusal {
        parts.push(Part::Text(refusal));
    }
    parts.extend(message.tool_calls.list().iter().map(|_| Part::ToolCall));
    parts.extend(message.function_call.map(|_| Part::ToolCall));
    if message.audio.is_some() {
        costs.unbounded(|| format!("messages[{i}].audio"));
        parts.push(Part::Audio);
    }
    match role.as_ref() {
        "system" | "developer" => prompt.system.extend(texts(parts)),
        "tool" | "function" => prompt.turns.push(Turn {
            role: Role::Tool,
            parts: tool_parts(parts),
        }),
        "assistant" => prompt.turns.push(Turn {
            role: Role::Assistant,
            parts,
        }),
        _ => prompt.turns.push(Turn {
            role: Role::User,
            parts,
        }),
    }
    Ok(())
}

fn add_content<'a>(
    content: Content<'a, Maybe<ChatPart<'a>>>,
    i: usize,
    parts: &mut Vec<Part<'a>>,
    costs: &mut Costs<'a>,
) -> Result<(), Error> {
    match content {
        Content::Nothing => {}
        Content::Text(text) => parts.push(Part::Text(text)),
        Content::List(pieces) => {
            for (j, piece) in pieces.into_iter().enumerate() {
                let at = format_args!("messages[{i}].content[{j}]");
                let piece = piece
                    .0
                    .ok_or_else(|| body::wrong(at, "an object", "something else"))?;
                parts.push(part(piece, at, costs)?);
            }
        }
        Content::Other(kind) => {
            return Err(body::wrong(
                format!("messages[{i}].content"),
                "a string or an array of parts",
                kind,
            ));
        }
    }
    Ok(())
}

fn part<'a>(
    piece: ChatPart<'a>,
    at: std::fmt::Arguments<'_>,
    costs: &mut Costs<'a>,
) -> Result<Part<'a>, Error> {
    let inside = |object: Option<&'a RawValue>, key| body::string_in(object?.get(), key);
    let kind = body::text_at(piece.kind, format_args!("{at}.type"))?;
    Ok(match kind.as_ref() {
        "text" => {
            let text = body::text_at(piece.text, format_args!("{at}.text"))?;
            Part::Text(text)
        }
        "refusal" => {
            let text = body::text_at(piece.refusal, format_args!("{at}.refusal"))?;
            Part::Text(text)
        }
        "thinking" => Part::Reasoning,
        "image_url" => {
            let data = body::inline_url(piece.image_url);
            costs.medium(MediaKind::Image, || at.to_string(), data);
            Part::Image
        }
        "input_audio" => {
            let data = inside(piece.input_audio, "data");
            costs.medium(MediaKind::Audio, || at.to_string(), data);
            Part::Audio
        }
        "file" => {
            let data = inside(piece.file, "file_data");
            costs.medium(MediaKind::File, || at.to_string(), data);
            Part::File
        }
        other => {
            costs.unbounded(|| at.to_string());
            match other {
                "image" => Part::Image,
                "audio" | "audio_url" => Part::Audio,
                _ => Part::File,
            }
        }
    })
}

fn texts(parts: Vec<Part<'_>>) -> impl Iterator<Item = Cow<'_, str>> {
    parts.into_iter().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    })
}

/// A tool's message: its texts are one result; pictures and files in it stay what they are.
fn tool_parts(parts: Vec<Part<'_>>) -> Vec<Part<'_>> {
    let (words, others): (Vec<_>, Vec<_>) = parts
        .into_iter()
        .partition(|part| matches!(part, Part::Text(_)));
    let words = body::joined(texts(words).collect());
    std::iter::once(Part::ToolResult(words))
        .chain(others)
        .collect()
}

#[cfg(test)]
mod tests;
