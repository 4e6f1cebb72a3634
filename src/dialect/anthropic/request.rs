//! An Anthropic Messages request into a [`Request`].

use super::{effort, usage};
use crate::chat::conversation::MediaKind;
use crate::chat::{Manner, Part, Prompt, Role, Turn};
use crate::dialect::body::{self, Costs};
use crate::dialect::lenient::{Content, Many, Maybe, Text};
use crate::dialect::{Limit, Place, PlaceWork, Request};
use crate::effort::Words as _;
use crate::error::Error;
use crate::json::{self, Object};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The fields whose cost the token limit bounds. Sorted. `context_management` depends on its value.
const BOUNDED: &[&str] = &[
    "cache_control",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

/// Tools that the client runs itself; each name goes on with a date.
const CLIENT_TOOLS: &[&str] = &["bash_", "computer_", "memory_", "text_editor_"];

/// Results of tools, Anthropic's own among them, whose shape is known: what is inside them is read.
const RESULTS: &[&str] = &[
    "advisor_tool_result",
    "bash_code_execution_tool_result",
    "code_execution_tool_result",
    "mcp_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_result",
    "tool_search_tool_result",
    "web_fetch_tool_result",
    "web_search_tool_result",
];

/// What such a result may hold beside pictures and documents. All of it is words, or holds more of the same in its `content`.
const INNER: &[&str] = &[
    "advisor_redacted_result",
    "advisor_result",
    "bash_code_execution_output",
    "bash_code_execution_result",
    "code_execution_output",
    "code_execution_result",
    "encrypted_code_execution_result",
    "search_result",
    "text",
    "text_editor_code_execution_create_result",
    "text_editor_code_execution_str_replace_result",
    "text_editor_code_execution_view_result",
    "tool_reference",
    "tool_search_tool_search_result",
    "web_fetch_result",
    "web_search_result",
];

/// Fields that flyball edits one level down or reads there.
const OBJECTS: &[&str] = &["metadata", "output_config", "thinking"];

#[derive(Deserialize)]
struct AnthropicTurn<'a> {
    #[serde(default, borrow)]
    role: Text<'a>,
    #[serde(default, borrow)]
    content: Content<'a, Maybe<AnthropicPart<'a>>>,
}

#[derive(Deserialize)]
struct AnthropicPart<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    source: Maybe<MediaSource<'a>>,
    #[serde(default, borrow)]
    content: Many<'a, Maybe<AnthropicPart<'a>>>,
}

/// Where a picture or a document is.
#[derive(Deserialize)]
struct MediaSource<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
}

impl<'a> MediaSource<'a> {
    fn inline(&self) -> Option<&'a str> {
        let inline = self.kind.text() == Some("base64");
        self.data.filter(|_| inline).map(RawValue::get)
    }
}

/// Something that is known by its type alone: a tool, an edit of the context.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
}

#[derive(Deserialize)]
struct ContextManagement<'a> {
    #[serde(default, borrow)]
    edits: Content<'a, Maybe<Typed<'a>>>,
}

/// Reads a request.
pub(super) fn decode<'a>(bytes: &'a [u8], place: &Place<'a>) -> Result<Request<'a>, Error> {
    let fields = body::object(bytes, OBJECTS)?;
    let effort = effort::Messages.asked(&fields);
    let model = body::model_at(&fields, place)?;
    let stream = body::flag(&fields, "stream")?;
    // 0 warms the prompt cache and answers nothing.
    let tokens = body::count(&fields, "max_tokens", 0..=body::TOKENS_MAX)?;
    if tokens.is_none() && place.work == PlaceWork::Complete {
        let raw = fields.get("max_tokens").unwrap_or_default();
        return Err(body::wrong(
            "max_tokens",
            "a whole number",
            body::found(raw),
        ));
    }
    let tools: Vec<Maybe<Typed<'_>>> = body::list(&fields, "tools")?.unwrap_or_default();
    let mut reading = RequestReader::default();
    reading.unbounded_fields(&fields, &tools);
    reading.prompt.tools = tools.len();
    reading.prompt.structured = structured(&fields);
    reading.prompt.schema = reading.prompt.structured;
    reading.add_system(&fields)?;
    body::messages(&fields, |i, message| reading.add_message(message, i))?;
    Ok(Request {
        model_in_body: body::model_in(&fields),
        tier: body::tier(&fields, "service_tier"),
        manner: usage::manner(
            fields.some("inference_geo").and_then(json::text).as_deref(),
            fields.some("speed").and_then(json::text).as_deref(),
        ),
        fields,
        model,
        stream,
        usage_asked: true,
        limit: tokens.map(|tokens| Limit {
            field: "max_tokens",
            tokens,
        }),
        choices: 1,
        effort,
        old_calls: false,
        prompt: reading.prompt,
        unbounded: reading.costs.unbounded,
        media: reading.costs.media,
    })
}

fn structured(fields: &Object<'_>) -> bool {
    fields.some("output_format").is_some()
        || fields
            .some("output_config")
            .and_then(|raw| Object::read_str(raw).ok())
            .is_some_and(|config| config.some("format").is_some())
}

/// Whether it is a word for a place or a speed that flyball knows.
fn is_known(raw: &str, read: impl Fn(&str) -> Manner) -> bool {
    json::text(raw).is_some_and(|word| !read(&word).unknown)
}

/// What is known of the request so far.
#[derive(Default)]
struct RequestReader<'a> {
    prompt: Prompt<'a>,
    costs: Costs<'a>,
}

impl<'a> RequestReader<'a> {
    fn unbounded_fields(&mut self, fields: &Object<'_>, tools: &[Maybe<Typed<'_>>]) {
        for (key, raw) in fields.iter().filter(|(_, raw)| *raw != "null") {
            let bounded = match key {
                // Checked against the prices that there are.
                "service_tier" => true,
                // So are a place and a speed, where they are known words.
                "inference_geo" => is_known(raw, |word| usage::manner(Some(word), None)),
                "speed" => is_known(raw, |word| usage::manner(None, Some(word))),
                "context_management" => only_clears(raw),
                _ => BOUNDED.binary_search(&key).is_ok(),
            };
            if !bounded {
                self.costs.unbounded(|| body::shown(key));
            }
        }
        for (i, tool) in tools.iter().enumerate() {
            if !tool.0.as_ref().is_some_and(is_the_clients) {
                self.costs.unbounded(|| format!("tools[{i}]"));
            }
        }
    }

    fn add_system(&mut self, fields: &Object<'a>) -> Result<(), Error> {
        let Some(raw) = fields.some("system") else {
            return Ok(());
        };
        if let Some(text) = json::text(raw) {
            self.prompt.system.push(text);
            return Ok(());
        }
        if !raw.starts_with('[') {
            let expected = "a string or an array of text blocks";
            return Err(body::wrong("system", expected, body::found(raw)));
        }
        let blocks = body::list(fields, "system")?.unwrap_or_default();
        let parts = self.parts(blocks, &"system")?;
        self.prompt.system.extend(texts(parts));
        Ok(())
    }

    fn add_message(&mut self, message: AnthropicTurn<'a>, i: usize) -> Result<(), Error> {
        let role = body::text_at(message.role, format_args!("messages[{i}].role"))?;
        let at = format!("messages[{i}].content");
        let parts = match message.content {
            Content::Text(text) => vec![Part::Text(text)],
            Content::List(blocks) => self.parts(blocks, &at)?,
            other => {
                let expected = "a string or an array of blocks";
                return Err(body::wrong(at, expected, other.kind()));
            }
        };
        let role = match role.as_ref() {
            "system" => {
                self.prompt.system.extend(texts(parts));
                return Ok(());
            }
            "assistant" => Role::Assistant,
            _ => Role::User,
        };
        self.prompt.turns.push(Turn { role, parts });
        Ok(())
    }

    fn parts(
        &mut self,
        blocks: Vec<Maybe<AnthropicPart<'a>>>,
        at: &dyn fmt::Display,
    ) -> Result<Vec<Part<'a>>, Error> {
        let mut parts = Vec::with_capacity(blocks.len());
        for (j, block) in blocks.into_iter().enumerate() {
            let at = format_args!("{at}[{j}]");
            let block = block
                .0
                .ok_or_else(|| body::wrong(at, "an object", "something else"))?;
            add_block(block, at, &mut parts, &mut self.costs)?;
        }
        Ok(parts)
    }
}

/// Adds the block's parts, and what of it is not bounded by its bytes.
fn add_block<'a>(
    block: AnthropicPart<'a>,
    at: fmt::Arguments<'_>,
    parts: &mut Vec<Part<'a>>,
    costs: &mut Costs<'a>,
) -> Result<(), Error> {
    let kind = body::text_at(block.kind, format_args!("{at}.type"))?;
    match kind.as_ref() {
        "text" => {
            let text = body::text_at(block.text, format_args!("{at}.text"))?;
            parts.push(Part::Text(text));
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => parts.push(Part::ToolCall),
        "thinking" | "redacted_thinking" => parts.push(Part::Reasoning),
        "image" | "document" => {
            parts.extend(attached(&kind, &block.source, || at.to_string(), costs));
        }
        "search_result" | "compaction" => {
            let mut inner = Inner::default();
            inner.add(block.content, at, costs);
            parts.push(Part::Text(body::joined(inner.texts)));
            parts.extend(inner.others);
        }
        kind if RESULTS.contains(&kind) => {
            let mut inner = Inner::default();
            inner.add(block.content, at, costs);
            parts.push(Part::ToolResult(body::joined(inner.texts)));
            parts.extend(inner.others);
        }
        _ => costs.unbounded(|| at.to_string()),
    }
    Ok(())
}

/// A picture or a document. One that is text costs what its bytes say.
fn attached<'a>(
    said: &str,
    source: &Maybe<MediaSource<'a>>,
    at: impl FnOnce() -> String,
    costs: &mut Costs<'a>,
) -> Option<Part<'a>> {
    let (part, kind) = match said {
        "image" => (Part::Image, MediaKind::Image),
        "document" => (Part::File, MediaKind::File),
        _ => return None,
    };
    let source = source.0.as_ref();
    match (kind, source.and_then(|s| s.kind.text())) {
        (MediaKind::File, Some("text")) => {}
        // A document of blocks may hold what it likes.
        (MediaKind::File, Some("content")) => costs.unbounded(at),
        _ => costs.medium(kind, at, source.and_then(MediaSource::inline)),
    }
    Some(part)
}

/// The texts inside a block at any depth, and the pictures and files beside them.
#[derive(Default)]
struct Inner<'a> {
    texts: Vec<Cow<'a, str>>,
    others: Vec<Part<'a>>,
}

impl<'a> Inner<'a> {
    fn add(
        &mut self,
        content: Many<'a, Maybe<AnthropicPart<'a>>>,
        at: fmt::Arguments<'_>,
        costs: &mut Costs<'a>,
    ) {
        match content.0 {
            Content::Text(text) => self.texts.push(text),
            Content::List(blocks) => {
                for (j, block) in blocks.into_iter().enumerate() {
                    let Some(block) = block.0 else { continue };
                    self.add_one(block, format_args!("{at}.content[{j}]"), costs);
                }
            }
            Content::Nothing | Content::Other(_) => {}
        }
    }

    fn add_one(&mut self, block: AnthropicPart<'a>, at: fmt::Arguments<'_>, costs: &mut Costs<'a>) {
        let kind = block.kind.text().unwrap_or_default();
        if let Some(part) = attached(kind, &block.source, || at.to_string(), costs) {
            return self.others.push(part);
        }
        if !(INNER.contains(&kind) || kind.ends_with("_error")) {
            costs.unbounded(|| at.to_string());
        }
        self.texts.extend(block.text.into_text());
        self.add(block.content, at, costs);
    }
}

fn texts(parts: Vec<Part<'_>>) -> impl Iterator<Item = Cow<'_, str>> {
    parts.into_iter().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    })
}

/// Clearing old turns makes a request cheaper; every other edit (compaction) runs the model once more.
fn only_clears(raw: &str) -> bool {
    serde_json::from_str::<Maybe<ContextManagement<'_>>>(raw)
        .ok()
        .and_then(|management| management.0)
        .is_some_and(|management| {
            management.edits.list().iter().all(|edit| {
                let kind = edit.0.as_ref().and_then(|edit| edit.kind.text());
                kind.is_some_and(|kind| kind.starts_with("clear_"))
            })
        })
}

fn is_the_clients(tool: &Typed<'_>) -> bool {
    match &tool.kind {
        Content::Nothing => true,
        kind => kind.text().is_some_and(|kind| {
            kind == "custom" || CLIENT_TOOLS.iter().any(|name| kind.starts_with(name))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Request<'_>, Error> {
        super::decode(bytes, &Place::default())
    }

    fn with(fields: &str) -> String {
        format!(
            "{{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]{fields}}}"
        )
    }

    #[test]
    fn a_request_that_cannot_be_understood_is_refused_by_name() {
        for (body, field, sentence) in [
            ("", None, "cannot be read"),
            (
                "{\"model\":\"m\",\"messages\":[]}",
                Some("max_tokens"),
                "a whole number, found nothing",
            ),
            (
                "{\"model\":\"m\",\"max_tokens\":null}",
                Some("max_tokens"),
                "found null",
            ),
            (
                "{\"model\":\"m\",\"max_tokens\":-1}",
                Some("max_tokens"),
                "from 0 to 4294967296, found -1",
            ),
            (
                "{\"model\":\"m\",\"max_tokens\":1}",
                Some("messages"),
                "found nothing",
            ),
            (&with(",\"max_tokens\":9"), Some("max_tokens"), "twice"),
            (
                &with(",\"output_config\":{\"effort\":\"low\",\"effort\":\"max\"}"),
                Some("output_config.effort"),
                "twice",
            ),
            (&with(",\"system\":7"), Some("system"), "found 7"),
            (
                &with(",\"system\":[{\"type\":\"text\"}]"),
                Some("system[0].text"),
                "must be a string, found nothing",
            ),
            (
                &with(",\"system\":[{}]"),
                Some("system[0].type"),
                "must be a string, found nothing",
            ),
            (
                "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\"}]}",
                Some("messages[0].content"),
                "found nothing",
            ),
            (
                "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[[]]}]}",
                Some("messages[0].content[0]"),
                "must be an object",
            ),
        ] {
            let error = decode(body.as_bytes()).expect_err(body);
            assert_eq!(
                (error.status(), error.field.as_deref()),
                (400, field),
                "{body}"
            );
            assert!(error.public.contains(sentence), "{body}: {}", error.public);
        }
        let warm = with("").replace("\"max_tokens\":9", "\"max_tokens\":0");
        let warm = decode(warm.as_bytes()).expect("0 warms the cache");
        assert_eq!(warm.limit.map(|l| l.tokens), Some(0));
    }

    #[test]
    fn fields_without_a_bound_are_named() {
        for (fields, expected) in [
            (
                ",\"temperature\":1,\"mcp_servers\":null,\"service_tier\":\"auto\"",
                &[][..],
            ),
            (
                ",\"context_management\":{\"edits\":[{\"type\":\"clear_tool_uses_20250919\"}]}",
                &[],
            ),
            (",\"speed\":\"fast\",\"inference_geo\":\"us\"", &[]),
            (",\"speed\":2", &["speed"]),
            (
                ",\"context_management\":{\"edits\":[{\"type\":\"compact_20260112\"}]}",
                &["context_management"],
            ),
            (
                ",\"mcp_servers\":[],\"container\":\"c\",\"speed\":\"warp\",\"inference_geo\":\"moon\",\"fallbacks\":[]",
                &[
                    "mcp_servers",
                    "container",
                    "speed",
                    "inference_geo",
                    "fallbacks",
                ],
            ),
            (
                ",\"tools\":[{\"name\":\"f\"},{\"type\":\"custom\"},{\"type\":\"bash_20250124\"},{\"type\":\"web_search_20250305\"},{\"type\":3},0]",
                &["tools[3]", "tools[4]", "tools[5]"],
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
        let body = r#"{"model":"m","max_tokens":9,"output_config":{"format":{}},"tools":[{},{}],
            "system":[{"type":"text","text":"be"},{"type":"text","text":"brief"}],"messages":[
            {"role":"user","content":[{"type":"text","text":"see"},{"type":"image","source":{"type":"base64","data":"aGk="}},
              {"type":"document","source":{"type":"text"}},{"type":"document","source":{"type":"url"}}]},
            {"role":"assistant","content":[{"type":"thinking","thinking":"x"},{"type":"tool_use"},{"type":"odd"}]},
            {"role":"user","content":[{"type":"tool_result","content":"4"},
              {"type":"tool_result","content":[{"type":"text","text":"a"},{"type":"image"},{"type":"text","text":"b"}]},
              {"type":"tool_result"}]},
            {"role":"system","content":"now"},
            {"role":"user","content":"go"}]}"#;
        let request = decode(body.as_bytes()).expect("valid");
        let prompt = &request.prompt;
        assert_eq!(prompt.system, ["be", "brief", "now"]);
        assert_eq!((prompt.tools, prompt.structured), (2, true));
        let turns: Vec<_> = prompt
            .turns
            .iter()
            .map(|t| (t.role, t.parts.as_slice()))
            .collect();
        let result = |text: &'static str| Part::ToolResult(text.into());
        assert_eq!(
            turns,
            [
                (
                    Role::User,
                    &[
                        Part::Text("see".into()),
                        Part::Image,
                        Part::File,
                        Part::File
                    ][..]
                ),
                (Role::Assistant, &[Part::Reasoning, Part::ToolCall]),
                (
                    Role::User,
                    &[result("4"), result("a\nb"), Part::Image, result("")]
                ),
                (Role::User, &[Part::Text("go".into())]),
            ]
        );
        assert_eq!(
            request.unbounded,
            ["messages[1].content[2]"],
            "a block that nobody knows"
        );
        let media: Vec<_> = request
            .media
            .iter()
            .map(|m| (m.kind, m.at.as_str(), m.data))
            .collect();
        assert_eq!(
            media,
            [
                (MediaKind::Image, "messages[0].content[1]", Some("\"aGk=\"")),
                (MediaKind::File, "messages[0].content[3]", None),
                (MediaKind::Image, "messages[2].content[1].content[1]", None)
            ]
        );
    }

    #[test]
    fn the_bounded_fields_are_sorted_so_that_all_of_them_are_found() {
        assert!(BOUNDED.is_sorted());
    }
}
