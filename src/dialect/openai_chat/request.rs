//! A Chat Completions request into a [`Request`].

use super::effort;
use super::fields;
use crate::chat::conversation::MediaKind;
use crate::chat::{Part, Prompt, Role, Turn};
use crate::dialect::body::{self, Costs};
use crate::dialect::lenient::{Content, Maybe, Text};
use crate::dialect::{Limit, Place, Request};
use crate::error::Error;
use crate::json::Object;
use crate::route::effort::Words as _;
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
struct Message<'a> {
    #[serde(default, borrow)]
    role: Text<'a>,
    #[serde(default, borrow)]
    content: Content<'a, Maybe<Piece<'a>>>,
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
struct Piece<'a> {
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
    let tools: Vec<Maybe<body::Tool<'_>>> = body::list(&fields, "tools")?.unwrap_or_default();
    body::unbounded_tools(&tools, &mut costs);
    let functions: Option<Vec<IgnoredAny>> = body::list(&fields, "functions")?;
    let old_calls = functions.is_some();
    let mut prompt = Prompt {
        tools: tools.len() + functions.map_or(0, |f| f.len()),
        structured: structured(&fields),
        ..Prompt::default()
    };
    for (i, message) in body::messages(&fields)?.into_iter().enumerate() {
        let message: Maybe<Message<'_>> = message;
        let message = message
            .0
            .ok_or_else(|| body::wrong(format!("messages[{i}]"), "an object", "something else"))?;
        add(message, i, &mut prompt, &mut costs)?;
    }
    Ok(Request {
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
        let tokens = body::count(fields, field, 1..=body::TOKENS_MAX)?;
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

fn structured(fields: &Object<'_>) -> bool {
    fields
        .some("response_format")
        .and_then(|raw| serde_json::from_str::<Maybe<ResponseFormat<'_>>>(raw).ok())
        .and_then(|format| format.0)
        .is_some_and(|format| matches!(format.kind.text(), Some("json_schema" | "json_object")))
}

fn add<'a>(
    message: Message<'a>,
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
    content: Content<'a, Maybe<Piece<'a>>>,
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
    piece: Piece<'a>,
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
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Request<'_>, Error> {
        super::decode(bytes, &Place::default())
    }

    fn with(fields: &str) -> String {
        format!(
            "{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],{fields}}}"
        )
    }

    #[test]
    fn a_request_that_cannot_be_understood_is_refused_by_name() {
        let message = "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]";
        for (body, field, sentence) in [
            ("{", None, "cannot be read"),
            ("[1]", None, "must be a JSON object, found an array"),
            ("\"secret\"", None, "must be a JSON object, found a string"),
            ("{\"messages\":[]}", Some("model"), "found nothing"),
            ("{\"model\":null}", Some("model"), "found null"),
            ("{\"model\":\"\"}", Some("model"), "found an empty string"),
            (
                "{\"model\":\"a\\u0007\"}",
                Some("model"),
                "control character",
            ),
            (
                "{\"model\":\"m\"}",
                Some("messages"),
                "at least one message, found nothing",
            ),
            (
                "{\"model\":\"m\",\"messages\":{}}",
                Some("messages"),
                "found an object",
            ),
            (
                "{\"model\":\"m\",\"messages\":[]}",
                Some("messages"),
                "found an empty one",
            ),
            (
                "{\"model\":\"m\",\"messages\":[7]}",
                Some("messages[0]"),
                "must be an object",
            ),
            (
                "{\"model\":\"m\",\"messages\":[{\"content\":\"x\"}]}",
                Some("messages[0].role"),
                "must be a string, found nothing",
            ),
            (
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":{\"a\":1}}]}",
                Some("messages[0].content"),
                "found an object",
            ),
            (
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":1}]}]}",
                Some("messages[0].content[0].text"),
                "must be a string, found a number",
            ),
            (
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"content\":\"b\"}]}",
                Some("messages[0]"),
                "duplicate field `content`",
            ),
            (
                &format!("{{\"model\":\"m\",\"model\":\"n\",{message}}}"),
                Some("model"),
                "twice",
            ),
            (&with("\"x\":1,\"\\u0078\":2"), Some("x"), "twice"),
            (
                &with("\"stream_options\":{\"include_usage\":true,\"include_usage\":false}"),
                Some("stream_options.include_usage"),
                "twice",
            ),
            (
                &with("\"stream\":1"),
                Some("stream"),
                "must be true or false, found 1",
            ),
            (
                &with("\"stream_options\":[]"),
                Some("stream_options"),
                "must be an object",
            ),
            (
                &with("\"stream_options\":{\"include_usage\":\"yes\"}"),
                Some("stream_options.include_usage"),
                "must be true or false, found a string",
            ),
            (
                &with("\"max_tokens\":0"),
                Some("max_tokens"),
                "from 1 to 4294967296, found 0",
            ),
            (&with("\"max_tokens\":-5"), Some("max_tokens"), "found -5"),
            (&with("\"max_tokens\":1.0"), Some("max_tokens"), "found 1.0"),
            (
                &with("\"max_tokens\":\"9\""),
                Some("max_tokens"),
                "found a string",
            ),
            (
                &with("\"max_completion_tokens\":4294967297"),
                Some("max_completion_tokens"),
                "found 4294967297",
            ),
            (
                &with("\"max_tokens\":5,\"max_completion_tokens\":6"),
                Some("max_tokens"),
                "the same as \"max_completion_tokens\" (6), found 5",
            ),
            (&with("\"n\":129"), Some("n"), "from 1 to 128, found 129"),
            (&with("\"n\":0"), Some("n"), "found 0"),
            (&with("\"n\":true"), Some("n"), "found a boolean"),
            (
                &with("\"tools\":{}"),
                Some("tools"),
                "must be an array, found an object",
            ),
        ] {
            let error = decode(body.as_bytes()).expect_err(body);
            assert_eq!(error.status(), 400, "{body}");
            assert_eq!(error.field.as_deref(), field, "{body}");
            assert!(error.public.contains(sentence), "{body}: {}", error.public);
            assert!(!error.detail.contains("secret"));
        }
    }

    #[test]
    fn limits_and_choices_are_read_where_the_client_put_them() {
        let read = |fields: &str| {
            let body = with(fields);
            let request = decode(body.as_bytes()).expect(fields);
            (
                request.limit,
                request.choices,
                request.stream,
                request.usage_asked,
            )
        };
        let limit = |field, tokens| Some(Limit { field, tokens });
        for (fields, expected) in [
            ("\"n\":null", (None, 1, false, false)),
            ("\"n\":3,\"max_tokens\":null", (None, 3, false, false)),
            (
                "\"max_tokens\":7,\"stream\":true",
                (limit("max_tokens", 7), 1, true, false),
            ),
            (
                "\"max_tokens\":7,\"max_completion_tokens\":7,\"stream\":null",
                (limit("max_completion_tokens", 7), 1, false, false),
            ),
            (
                "\"stream\":true,\"stream_options\":{\"include_usage\":true}",
                (None, 1, true, true),
            ),
            ("\"stream_options\":null", (None, 1, false, false)),
        ] {
            assert_eq!(read(fields), expected, "{fields}");
        }
    }

    #[test]
    fn fields_without_a_bound_are_named() {
        for (fields, expected) in [
            (
                "\"temperature\":1,\"top_k\":3,\"grammar\":\"x\",\"tools\":[{\"type\":\"function\"}]",
                &[][..],
            ),
            (
                "\"service_tier\":\"auto\",\"modalities\":[\"text\"],\"audio\":null,\"odd\":null",
                &[],
            ),
            (
                "\"modalities\":[\"text\",\"audio\"],\"audio\":{}",
                &["modalities", "audio"],
            ),
            (
                "\"web_search_options\":{},\"prediction\":{}",
                &["web_search_options", "prediction"],
            ),
            (
                "\"models\":[],\"plugins\":[],\"transforms\":[]",
                &["models", "plugins", "transforms"],
            ),
            (
                "\"num_predict\":1,\"n_predict\":1,\"options\":{}",
                &["num_predict", "n_predict", "options"],
            ),
            (
                "\"prompt_cache_retention\":\"24h\"",
                &["prompt_cache_retention"],
            ),
            ("\"surprise\\u0000\":1", &["surprise"]),
            (
                "\"tools\":[{\"type\":\"custom\"},{\"type\":\"openrouter:web_search\"},{\"google_search\":{}},{\"function\":{}},1]",
                &["tools[1]", "tools[2]", "tools[4]"],
            ),
        ] {
            let body = with(fields);
            assert_eq!(
                decode(body.as_bytes()).expect(fields).unbounded,
                expected,
                "{fields}"
            );
        }
    }

    #[test]
    fn the_conversation_is_told_in_no_vendors_words() {
        let body = r#"{"model":"m","response_format":{"type":"json_schema"},"functions":[{}],
            "tools":[{"type":"function","function":{}}],"messages":[
            {"role":"system","content":"be"},{"role":"developer","content":[{"type":"text","text":"brief"}]},
            {"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"x"}},
              {"type":"input_audio"},{"type":"file"},{"type":"new"}]},
            {"role":"assistant","content":null,"refusal":null,"reasoning_content":"hm","tool_calls":[{},{}]},
            {"role":"tool","tool_call_id":"1","content":[{"type":"text","text":"4"},{"type":"text","text":"2"}]},
            {"role":"function","name":"f","content":"7"},
            {"role":"assistant","content":"done","refusal":"no","function_call":{}}]}"#;
        let request = decode(body.as_bytes()).expect("valid");
        let text = |t: &'static str| Part::Text(t.into());
        let prompt = &request.prompt;
        assert_eq!(prompt.system, ["be", "brief"]);
        assert_eq!((prompt.tools, prompt.structured), (2, true));
        let turns: Vec<_> = prompt
            .turns
            .iter()
            .map(|t| (t.role, t.parts.as_slice()))
            .collect();
        assert_eq!(
            turns,
            [
                (
                    Role::User,
                    &[
                        text("see"),
                        Part::Image,
                        Part::Audio,
                        Part::File,
                        Part::File
                    ][..]
                ),
                (
                    Role::Assistant,
                    &[Part::Reasoning, Part::ToolCall, Part::ToolCall]
                ),
                (Role::Tool, &[Part::ToolResult("4\n2".into())]),
                (Role::Tool, &[Part::ToolResult("7".into())]),
                (Role::Assistant, &[text("done"), text("no"), Part::ToolCall]),
            ]
        );
        let at = |j| format!("messages[2].content[{j}]");
        assert_eq!(request.unbounded, [at(4)]);
        let media: Vec<_> = request
            .media
            .iter()
            .map(|m| (m.kind, m.at.clone()))
            .collect();
        let kinds = [MediaKind::Image, MediaKind::Audio, MediaKind::File];
        assert_eq!(
            media,
            [(kinds[0], at(1)), (kinds[1], at(2)), (kinds[2], at(3))]
        );
        assert!(request.media.iter().all(|m| m.data.is_none()));
        assert!(matches!(prompt.system[0], Cow::Borrowed(_)));
    }

    #[test]
    fn the_bytes_of_media_are_the_strings_that_hold_them_and_nothing_else() {
        for (part, data) in [
            (
                r#"{"type":"image_url","image_url":{"url":"data:image\/png;base64,aGk="}}"#,
                Some(r#""data:image\/png;base64,aGk=""#),
            ),
            (
                r#"{"type":"image_url","image_url":"data:,x"}"#,
                Some(r#""data:,x""#),
            ),
            (
                r#"{"type":"image_url","image_url":{"url":"https://x"}}"#,
                None,
            ),
            (
                r#"{"type":"image_url","image_url":{"url":"data:a","url":"data:b"}}"#,
                None,
            ),
            (r#"{"type":"image_url","image_url":{"url":7}}"#, None),
            (r#"{"type":"image_url"}"#, None),
            (
                r#"{"type":"input_audio","input_audio":{"data":"aGk=","format":"wav"}}"#,
                Some(r#""aGk=""#),
            ),
            (
                r#"{"type":"file","file":{"file_data":"data:application/pdf;base64,aGk="}}"#,
                Some(r#""data:application/pdf;base64,aGk=""#),
            ),
            (r#"{"type":"file","file":{"file_id":"f"}}"#, None),
        ] {
            let body =
                format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#);
            let request = decode(body.as_bytes()).expect(part);
            let media: Vec<_> = request.media.iter().map(|m| m.data).collect();
            assert_eq!((media, request.unbounded.len()), (vec![data], 0), "{part}");
        }
        // A text is a text whatever stands beside it.
        let body = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x","image_url":"data:,x"}]}]}"#;
        assert!(decode(body.as_bytes()).expect("valid").media.is_empty());
        let many = vec![r#"{"type":"image_url"}"#; 4_097].join(",");
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{many}]}}]}}"#);
        let request = decode(body.as_bytes()).expect("valid");
        assert_eq!(request.unbounded, ["messages[0].content[4096]"]);
    }
}
