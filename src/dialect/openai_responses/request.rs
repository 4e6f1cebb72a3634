//! A Responses request into a [`Request`].

use super::effort;
use crate::chat::conversation::MediaKind;
use crate::chat::{Part, Prompt, Role, Turn};
use crate::dialect::body::{self, Costs};
use crate::dialect::lenient::{Content, Many, Maybe, Text};
use crate::dialect::{Limit, Place, Request};
use crate::effort::Words as _;
use crate::error::Error;
use crate::json::{self, Object};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Fields that flyball edits one level down or reads there.
const OBJECTS: &[&str] = &["reasoning", "stream_options", "text"];

/// The fields whose cost the token limit bounds. Sorted. Left out on purpose: what stands for input that is
/// kept elsewhere (`previous_response_id`, `conversation`, `prompt`), and what starts work of its own.
const BOUNDED: &[&str] = &[
    // A label for the client's own use, which Codex sends with every request.
    "client_metadata",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "metadata",
    "model",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_options",
    "reasoning",
    "safety_identifier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// Calls of tools that the client runs: all that the model is told of them is in the item itself.
const CLIENT_CALLS: &[&str] = &[
    "apply_patch_call",
    "computer_call",
    "custom_tool_call",
    "function_call",
    "local_shell_call",
    "shell_call",
];

#[derive(Deserialize)]
struct ResponsesTurn<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default, borrow)]
    role: Text<'a>,
    #[serde(default, borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    encrypted_content: Text<'a>,
    #[serde(default, borrow)]
    content: Many<'a, Maybe<ResponsesPart<'a>>>,
    #[serde(default, borrow)]
    output: Many<'a, Maybe<ResponsesPart<'a>>>,
    /// Of `additional_tools`.
    #[serde(default, borrow)]
    tools: Many<'a, Maybe<ResponsesTool<'a>>>,
}

#[derive(Deserialize)]
struct ResponsesPart<'a> {
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
    file_data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ResponsesTool<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    /// Those of a namespace.
    #[serde(default, borrow)]
    tools: Many<'a, Maybe<ResponsesTool<'a>>>,
}

impl ResponsesTool<'_> {
    /// The client runs it: it costs its words alone. A namespace is a group of such tools
    /// (developers.openai.com/api/docs/guides/function-calling, Defining namespaces).
    fn is_clients(&self) -> bool {
        let mut inner = self.tools.0.list().iter();
        match self.kind.text() {
            Some("function" | "custom") => true,
            Some("namespace") => {
                inner.all(|tool| matches!(&tool.0, Some(tool) if tool.is_clients()))
            }
            _ => false,
        }
    }
}

/// Reads a request.
pub(super) fn decode<'a>(bytes: &'a [u8], place: &Place<'a>) -> Result<Request<'a>, Error> {
    let fields = body::object(bytes, OBJECTS)?;
    let model = body::model_at(&fields, place)?;
    let stream = body::flag(&fields, "stream")?;
    let limit = body::limit(&fields, "max_output_tokens")?;
    let mut costs = Costs::default();
    name_unbounded(&fields, &mut costs.unbounded);
    let tools: Vec<Maybe<ResponsesTool<'_>>> = body::list(&fields, "tools")?.unwrap_or_default();
    offered(&tools, "", &mut costs);
    let format = format(&fields);
    let mut prompt = Prompt {
        tools: tools.len(),
        structured: format.as_ref().is_some_and(|kind| kind != "text"),
        schema: format.as_ref().is_some_and(|kind| kind == "json_schema"),
        ..Prompt::default()
    };
    if let Some(raw) = fields.some("instructions") {
        let text = json::text(raw);
        let text = text.ok_or_else(|| body::wrong("instructions", "a string", body::found(raw)))?;
        prompt.system.push(text);
    }
    input(&fields, &mut prompt, &mut costs)?;
    Ok(Request {
        manner: crate::chat::Manner::default(),
        effort: effort::ResponsesWords.asked(&fields),
        model_in_body: body::model_in(&fields),
        tier: body::tier(&fields, "service_tier"),
        fields,
        model,
        stream,
        usage_asked: true,
        limit: limit.map(|tokens| Limit {
            field: "max_output_tokens",
            tokens,
        }),
        choices: 1,
        old_calls: false,
        prompt,
        unbounded: costs.unbounded,
        media: costs.media,
    })
}

/// Names the tools that are not the client's own.
fn offered(tools: &[Maybe<ResponsesTool<'_>>], at: &str, costs: &mut Costs<'_>) {
    for (i, tool) in tools.iter().enumerate() {
        if !tool.0.as_ref().is_some_and(ResponsesTool::is_clients) {
            costs.unbounded(|| format!("{at}tools[{i}]"));
        }
    }
}

fn name_unbounded(fields: &Object<'_>, list: &mut Vec<String>) {
    for (key, raw) in fields.iter().filter(|(_, raw)| *raw != "null") {
        let bounded = match key {
            // Checked against the prices that there are.
            "service_tier" => true,
            // It costs what it would cost in the foreground, and is reserved so.
            "background" => matches!(raw, "true" | "false"),
            // The default. As in Chat Completions 24h is another price, which the answer does not tell apart.
            "prompt_cache_retention" => body::is_one_of(raw, &["in_memory", "in-memory"]),
            _ => BOUNDED.binary_search(&key).is_ok(),
        };
        if !bounded {
            body::unbounded(list, || body::shown(key));
        }
    }
}

/// The kind of answer that is asked for, `text`, `json_object` or `json_schema`.
fn format<'a>(fields: &Object<'a>) -> Option<std::borrow::Cow<'a, str>> {
    let text = fields
        .some("text")
        .and_then(|raw| Object::read_str(raw).ok());
    let format = text.and_then(|t| Object::read_str(t.some("format")?).ok());
    format.and_then(|f| json::text(f.some("type")?))
}

fn input<'a>(
    fields: &Object<'a>,
    prompt: &mut Prompt<'a>,
    costs: &mut Costs<'a>,
) -> Result<(), Error> {
    // A stored prompt or an earlier response may be all the input there is.
    let Some(raw) = fields.some("input") else {
        let elsewhere = ["previous_response_id", "conversation", "prompt"];
        return match elsewhere.iter().any(|key| fields.some(key).is_some()) {
            true => Ok(()),
            false => Err(body::wrong(
                "input",
                "a string or an array of items",
                "nothing",
            )),
        };
    };
    if let Some(text) = json::text(raw) {
        prompt.turns.push(Turn {
            role: Role::User,
            parts: vec![Part::Text(text)],
        });
        return Ok(());
    }
    if !raw.starts_with('[') {
        return Err(body::wrong(
            "input",
            "a string or an array of items",
            body::found(raw),
        ));
    }
    let items: Vec<Maybe<ResponsesTurn<'_>>> = body::list(fields, "input")?.unwrap_or_default();
    for (i, item) in items.into_iter().enumerate() {
        let at = format!("input[{i}]");
        let item = item
            .0
            .ok_or_else(|| body::wrong(&at, "an object", "something else"))?;
        add(item, &at, prompt, costs);
    }
    Ok(())
}

fn add<'a>(item: ResponsesTurn<'a>, at: &str, prompt: &mut Prompt<'a>, costs: &mut Costs<'a>) {
    let kind = item.kind.text().unwrap_or("message").to_owned();
    match kind.as_str() {
        "message" => {
            let parts = parts(item.content.0, &format!("{at}.content"), true, costs);
            match item.role.text() {
                Some("system" | "developer") => prompt.system.extend(texts(parts)),
                Some("assistant") => push(prompt, Role::Assistant, parts),
                _ => prompt.turns.push(Turn {
                    role: Role::User,
                    parts,
                }),
            }
        }
        "reasoning" => {
            // One that is known by its id alone is put in by OpenAI, however long it was.
            if item.id.words().is_some() && item.encrypted_content.words().is_none() {
                costs.stored(|| at.to_owned());
            }
            push(prompt, Role::Assistant, vec![Part::Reasoning]);
        }
        kind if kind.ends_with("_call_output") || kind.ends_with("_search_output") => {
            // A shell's output is a list of what it wrote, without types.
            let typed = kind != "shell_call_output";
            let (words, others): (Vec<_>, Vec<_>) =
                parts(item.output.0, &format!("{at}.output"), typed, costs)
                    .into_iter()
                    .partition(|part| matches!(part, Part::Text(_)));
            let words = body::joined(texts(words).collect());
            push(
                prompt,
                Role::Tool,
                std::iter::once(Part::ToolResult(words))
                    .chain(others)
                    .collect(),
            );
        }
        kind if kind.ends_with("_call") => {
            if !CLIENT_CALLS.contains(&kind) {
                costs.stored(|| at.to_owned());
            }
            push(prompt, Role::Assistant, vec![Part::ToolCall]);
        }
        // Codex offers its tools so, and more of them as a conversation goes on.
        "additional_tools" => {
            let tools = item.tools.0.list();
            offered(tools, &format!("{at}."), costs);
            prompt.tools += tools.len();
        }
        // What OpenAI keeps is put in by it, however long it was.
        "item_reference" => costs.stored(|| at.to_owned()),
        _ => costs.unbounded(|| at.to_owned()),
    }
}

/// Items of one speaker in a row are one turn.
fn push<'a>(prompt: &mut Prompt<'a>, role: Role, parts: Vec<Part<'a>>) {
    match prompt.turns.last_mut() {
        Some(turn) if turn.role == role => turn.parts.extend(parts),
        _ => prompt.turns.push(Turn { role, parts }),
    }
}

/// The parts of a content or an output. Pieces that must have a type and have none that is known are named as unbounded.
fn parts<'a>(
    content: Content<'a, Maybe<ResponsesPart<'a>>>,
    at: &str,
    typed: bool,
    costs: &mut Costs<'a>,
) -> Vec<Part<'a>> {
    let pieces = match content {
        Content::Text(text) => return vec![Part::Text(text)],
        Content::List(pieces) => pieces,
        Content::Nothing | Content::Other(_) => return Vec::new(),
    };
    let mut parts = Vec::new();
    for (j, piece) in pieces.into_iter().enumerate() {
        let Some(piece) = piece.0 else { continue };
        let at = || format!("{at}[{j}]");
        match (piece.kind.text(), medium(&piece)) {
            (_, Some((part, kind, data))) => {
                costs.medium(kind, at, data);
                parts.push(part);
            }
            (Some("refusal"), None) => {}
            (Some(kind), None) if kind == "text" || kind.ends_with("_text") => {}
            (None, None) if !typed => {}
            _ => costs.unbounded(at),
        }
        parts.extend(piece.text.into_text().map(Part::Text));
        parts.extend(piece.refusal.into_text().map(Part::Text));
    }
    parts
}

/// The picture, sound or document that a piece is, and its bytes where they are in it.
fn medium<'a>(piece: &ResponsesPart<'a>) -> Option<(Part<'a>, MediaKind, Option<&'a str>)> {
    match piece.kind.text()? {
        "input_image" | "computer_screenshot" => {
            let data = body::inline_url(piece.image_url);
            Some((Part::Image, MediaKind::Image, data))
        }
        "input_audio" => {
            let sound = piece.input_audio.map(RawValue::get);
            let data = sound.and_then(|object| body::string_in(object, "data"));
            Some((Part::Audio, MediaKind::Audio, data))
        }
        "input_file" => {
            let data = piece.file_data.map(RawValue::get);
            Some((Part::File, MediaKind::File, data))
        }
        _ => None,
    }
}

fn texts(parts: Vec<Part<'_>>) -> impl Iterator<Item = Cow<'_, str>> {
    parts.into_iter().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_become_turns_and_what_has_no_bound_is_named() {
        let body = r#"{"model":"m","instructions":"be","stream":true,"max_output_tokens":9,"text":{"format":{"type":"json_schema"}},
            "tools":[{"type":"function"},{"type":"web_search"}],"previous_response_id":"r","input":[
            {"role":"developer","content":"brief"},
            {"role":"user","content":[{"type":"input_text","text":"see"},{"type":"input_image","image_url":"x"}]},
            {"type":"reasoning","summary":[]},
            {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
            {"type":"function_call_output","call_id":"c","output":"4"},
            {"type":"message","role":"assistant","content":[{"type":"output_text","text":"done"}]}]}"#;
        let request = decode(body.as_bytes(), &Place::default()).expect("valid");
        assert_eq!(request.prompt.system, ["be", "brief"]);
        assert_eq!(
            (
                request.prompt.tools,
                request.prompt.structured,
                request.stream
            ),
            (2, true, true)
        );
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
                (Role::Assistant, &[Part::Text("done".into())]),
            ]
        );
        assert_eq!(request.unbounded, ["previous_response_id", "tools[1]"]);
        assert_eq!(request.media[0].at, "input[1].content[1]");
        assert_eq!(
            request.limit.map(|l| (l.field, l.tokens)),
            Some(("max_output_tokens", 9))
        );
    }

    #[test]
    fn labels_and_grouped_tools_of_the_client_cost_nothing_of_their_own() {
        for (fields, named) in [
            (r#""client_metadata":{"session":"s"}"#, None),
            (r#""prompt_cache_retention":"in_memory""#, None),
            (r#""prompt_cache_retention":"in-memory""#, None),
            (
                r#""prompt_cache_retention":"24h""#,
                Some("prompt_cache_retention"),
            ),
            (
                r#""tools":[{"type":"namespace","name":"a","tools":[{"type":"function","name":"f"},{"type":"custom","name":"g"}]}]"#,
                None,
            ),
            (
                r#""tools":[{"type":"namespace","name":"a","tools":[{"type":"web_search"}]}]"#,
                Some("tools[0]"),
            ),
        ] {
            let body = format!("{{\"model\":\"m\",\"input\":\"x\",{fields}}}");
            let request = decode(body.as_bytes(), &Place::default()).expect("valid");
            let unbounded: Vec<_> = request.unbounded.iter().map(String::as_str).collect();
            assert_eq!(unbounded, Vec::from_iter(named), "{fields}");
        }
    }

    #[test]
    fn a_request_that_cannot_be_understood_is_refused_by_name() {
        for (body, field) in [
            ("{\"input\":\"x\"}", "model"),
            ("{\"model\":\"m\"}", "input"),
            ("{\"model\":\"m\",\"input\":7}", "input"),
            ("{\"model\":\"m\",\"input\":[7]}", "input[0]"),
            (
                "{\"model\":\"m\",\"input\":\"x\",\"max_output_tokens\":0.5}",
                "max_output_tokens",
            ),
            (
                "{\"model\":\"m\",\"input\":\"x\",\"instructions\":[]}",
                "instructions",
            ),
        ] {
            let error = decode(body.as_bytes(), &Place::default()).expect_err(body);
            assert_eq!(
                (error.status(), error.field.as_deref()),
                (400, Some(field)),
                "{body}"
            );
        }
        assert!(BOUNDED.is_sorted());
    }
}
