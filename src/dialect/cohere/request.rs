//! A request of Cohere Chat into a [`Request`].

use super::effort::CohereWords;
use crate::chat::conversation::MediaKind;
use crate::chat::{Part, Prompt, Role, Turn};
use crate::dialect::body::{self, Costs};
use crate::dialect::lenient::{Content, Maybe, Text};
use crate::dialect::{Limit, Place, Request};
use crate::effort::Words as _;
use crate::error::Error;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The fields that cost nothing beyond the tokens they lead to. Sorted.
const BOUNDED: &[&str] = &[
    "citation_options",
    "documents",
    "frequency_penalty",
    "k",
    "logprobs",
    "max_tokens",
    "messages",
    "model",
    "p",
    "presence_penalty",
    "priority",
    "response_format",
    "safety_mode",
    "seed",
    "stop_sequences",
    "stream",
    "strict_tools",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
];

#[derive(Deserialize)]
struct CohereTurn<'a> {
    #[serde(default, borrow)]
    role: Text<'a>,
    #[serde(default, borrow)]
    content: Content<'a, Maybe<CoherePart<'a>>>,
    #[serde(default, borrow)]
    tool_plan: Text<'a>,
    #[serde(default, borrow)]
    tool_calls: Content<'a, IgnoredAny>,
}

#[derive(Deserialize)]
struct CoherePart<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(default, borrow)]
    document: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct CohereFormat<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    json_schema: Option<IgnoredAny>,
}

/// Reads a request.
pub(super) fn decode<'a>(bytes: &'a [u8], place: &Place<'a>) -> Result<Request<'a>, Error> {
    let fields = body::object(bytes, &["response_format", "thinking"])?;
    let model = body::model_at(&fields, place)?;
    let stream = body::flag(&fields, "stream")?;
    let tokens = body::count(&fields, "max_tokens", 1..=body::TOKENS_MAX)?;
    let mut costs = Costs::default();
    costs.unknown(&fields, BOUNDED);
    let tools: Vec<Maybe<body::AskedTool<'_>>> = body::list(&fields, "tools")?.unwrap_or_default();
    body::unbounded_tools(&tools, &mut costs);
    let format = fields.some("response_format");
    let format =
        format.and_then(|raw| serde_json::from_str::<Maybe<CohereFormat<'_>>>(raw).ok()?.0);
    let mut prompt = Prompt {
        tools: tools.len(),
        structured: format
            .as_ref()
            .is_some_and(|f| f.kind.text() == Some("json_object")),
        schema: format.is_some_and(|f| f.json_schema.is_some()),
        ..Prompt::default()
    };
    body::messages(&fields, |i, message| {
        add(message, &format!("messages[{i}]"), &mut prompt, &mut costs)
    })?;
    Ok(Request {
        manner: crate::chat::Manner::default(),
        effort: CohereWords.asked(&fields),
        limit: tokens.map(|tokens| Limit {
            field: "max_tokens",
            tokens,
        }),
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

fn add<'a>(
    message: CohereTurn<'a>,
    at: &str,
    prompt: &mut Prompt<'a>,
    costs: &mut Costs<'a>,
) -> Result<(), Error> {
    let role = body::text_at(message.role, format_args!("{at}.role"))?;
    let mut parts = Vec::new();
    parts.extend(message.tool_plan.into_text().map(Part::Text));
    let content = format!("{at}.content");
    match message.content {
        Content::Nothing => {}
        Content::Text(text) => parts.push(Part::Text(text)),
        Content::List(pieces) => {
            for (j, piece) in pieces.into_iter().enumerate() {
                parts.push(part(piece, &format!("{content}[{j}]"), costs)?);
            }
        }
        Content::Other(kind) => {
            return Err(body::wrong(content, "a string or an array of parts", kind));
        }
    }
    parts.extend(message.tool_calls.list().iter().map(|_| Part::ToolCall));
    let role = match role.as_ref() {
        "system" => {
            prompt.system.extend(texts(parts));
            return Ok(());
        }
        "tool" => {
            let words = body::joined(texts(parts).collect());
            parts = vec![Part::ToolResult(words)];
            Role::Tool
        }
        "assistant" => Role::Assistant,
        _ => Role::User,
    };
    prompt.turns.push(Turn { role, parts });
    Ok(())
}

fn part<'a>(
    piece: Maybe<CoherePart<'a>>,
    at: &str,
    costs: &mut Costs<'a>,
) -> Result<Part<'a>, Error> {
    let piece = piece
        .0
        .ok_or_else(|| body::wrong(at, "an object", "something else"))?;
    let kind = body::text_at(piece.kind, format_args!("{at}.type"))?;
    Ok(match kind.as_ref() {
        "text" => Part::Text(body::text_at(piece.text, format_args!("{at}.text"))?),
        "thinking" => Part::Reasoning,
        // Its JSON stands for its words.
        "document" => Part::Text(Cow::Borrowed(piece.document.map_or("", RawValue::get))),
        "image_url" => {
            let data = body::inline_url(piece.image_url);
            costs.medium(MediaKind::Image, || at.to_owned(), data);
            Part::Image
        }
        _ => {
            costs.unbounded(|| at.to_owned());
            Part::File
        }
    })
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

    fn with(more: &str) -> String {
        format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]{more}}}")
    }

    #[test]
    fn the_fields_that_flyball_owns_are_read_and_the_rest_is_named() {
        let body = with(
            r#","stream":true,"max_tokens":7,"thinking":{"type":"disabled"},"response_format":{"type":"json_object"},"new_thing":1"#,
        );
        let request = decode(body.as_bytes(), &Place::default()).expect("valid");
        assert_eq!(
            (request.stream, request.limit.map(|l| l.tokens)),
            (true, Some(7))
        );
        assert!(request.prompt.structured && request.usage_asked);
        assert_eq!(request.unbounded, ["new_thing"]);
        for (body, field) in [
            (with(",\"stream\":1"), "stream"),
            (with(",\"max_tokens\":0"), "max_tokens"),
            ("{\"model\":\"m\"}".to_owned(), "messages"),
            (
                "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":7}]}".to_owned(),
                "messages[0].content",
            ),
            (
                "{\"model\":\"m\",\"messages\":[{\"content\":\"x\"}]}".to_owned(),
                "messages[0].role",
            ),
        ] {
            let error = decode(body.as_bytes(), &Place::default()).expect_err(&body);
            assert_eq!(error.field.as_deref(), Some(field), "{body}");
        }
        assert!(BOUNDED.is_sorted());
    }

    #[test]
    fn a_tool_that_the_provider_runs_has_no_bound() {
        let body = with(
            r#","tools":[{"type":"function","function":{"name":"f"}},{"function":{"name":"g"}},{"type":"web_search"},{},7]"#,
        );
        let request = decode(body.as_bytes(), &Place::default()).expect("valid");
        assert_eq!(request.unbounded, ["tools[2]", "tools[3]", "tools[4]"]);
    }

    #[test]
    fn the_conversation_is_told_in_no_vendors_words() {
        let body = r#"{"model":"m","tools":[{"type":"function","function":{}}],"messages":[{"role":"system","content":"be"},
            {"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"data:,"}}]},
            {"role":"assistant","tool_plan":"I look.","content":[{"type":"thinking","thinking":"hm"}],"tool_calls":[{}]},
            {"role":"tool","tool_call_id":"1","content":[{"type":"document","document":{"data":"4"}}]}]}"#;
        let request = decode(body.as_bytes(), &Place::default()).expect("valid");
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
                (
                    Role::Assistant,
                    &[
                        Part::Text("I look.".into()),
                        Part::Reasoning,
                        Part::ToolCall
                    ]
                ),
                (Role::Tool, &[Part::ToolResult("{\"data\":\"4\"}".into())]),
            ]
        );
        let media = &request.media[0];
        assert_eq!(
            (media.kind, media.at.as_str(), media.data),
            (
                MediaKind::Image,
                "messages[1].content[1]",
                Some("\"data:,\"")
            )
        );
        assert!(request.unbounded.is_empty());
    }
}
