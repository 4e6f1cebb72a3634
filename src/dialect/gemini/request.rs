//! A generateContent request into a [`Request`].

use super::effort;
use super::spellings;
use crate::chat::conversation::MediaKind;
use crate::chat::{Part, Prompt, Role, Turn};
use crate::dialect::body::{self, Costs};
use crate::dialect::lenient::{Content, Many, Maybe, Text};
use crate::dialect::{Limit, Place, PlaceWork, Request};
use crate::effort::Words as _;
use crate::error::Error;
use crate::json::{self, Object};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Fields that flyball edits one level down or reads there.
const OBJECTS: &[&str] = &["generationConfig", "generation_config"];

/// The fields whose cost the token limit bounds. Sorted.
const BOUNDED: &[&str] = &[
    "contents",
    "generationConfig",
    "generation_config",
    "labels",
    "model",
    "safetySettings",
    "safety_settings",
    "serviceTier",
    "service_tier",
    "systemInstruction",
    "system_instruction",
    "toolConfig",
    "tool_config",
    "tools",
];

/// What of `generationConfig` costs more than its tokens: sound, pictures, more answers are priced apart.
const UNBOUNDED_CONFIG: &[&str] = &["responseModalities", "speechConfig", "imageConfig"];

/// What else of `generationConfig` says how much it may cost.
const BOUNDING_CONFIG: &[&str] = &["maxOutputTokens", "candidateCount"];

#[derive(Deserialize)]
struct GeminiTurn<'a> {
    #[serde(default, borrow)]
    role: Text<'a>,
    #[serde(default, borrow)]
    parts: Many<'a, Maybe<GeminiPart<'a>>>,
}

#[derive(Deserialize)]
struct GeminiPart<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default)]
    thought: Option<bool>,
    #[serde(default, borrow, alias = "inline_data", rename = "inlineData")]
    inline: Maybe<Blob<'a>>,
    #[serde(default, borrow, alias = "file_data", rename = "fileData")]
    file: Maybe<Blob<'a>>,
    #[serde(default, borrow, alias = "function_call", rename = "functionCall")]
    call: Option<&'a RawValue>,
    #[serde(
        default,
        borrow,
        alias = "function_response",
        rename = "functionResponse"
    )]
    response: Maybe<FunctionResponse<'a>>,
}

#[derive(Deserialize)]
struct Blob<'a> {
    #[serde(default, borrow, alias = "mime_type", rename = "mimeType")]
    mime: Text<'a>,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct FunctionResponse<'a> {
    #[serde(default, borrow)]
    response: Option<&'a RawValue>,
    #[serde(default, borrow)]
    parts: Many<'a, Maybe<Shown<'a>>>,
}

/// What a tool's result shows beside its words.
#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(default, borrow, alias = "inline_data", rename = "inlineData")]
    inline: Maybe<Blob<'a>>,
    #[serde(default, borrow, alias = "file_data", rename = "fileData")]
    file: Maybe<Blob<'a>>,
}

/// Reads a request.
pub(super) fn decode<'a>(bytes: &'a [u8], place: &Place<'a>) -> Result<Request<'a>, Error> {
    let mut fields = body::object(bytes, OBJECTS)?;
    if place.work == PlaceWork::CountTokens
        && let Some(inner) = either(&fields, "generateContentRequest")
    {
        let wrong = |_| body::wrong("generateContentRequest", "an object", body::found(inner));
        fields = Object::read_str(inner).map_err(wrong)?;
    }
    let model = body::model_at(&fields, place)?;
    let config = either(&fields, "generationConfig");
    let config = match config.map(Object::read_str) {
        None => None,
        Some(Ok(config)) => Some(config),
        Some(Err(_)) => {
            let found = body::found(config.unwrap_or_default());
            return Err(body::wrong("generationConfig", "an object", found));
        }
    };
    once(&fields, "", BOUNDED)?;
    if let Some(config) = &config {
        let keys = [UNBOUNDED_CONFIG, BOUNDING_CONFIG];
        once(config, "generationConfig.", &keys.concat())?;
    }
    let mut costs = Costs::default();
    name_unbounded(&fields, config.as_ref(), &mut costs.unbounded);
    let tools = tools(&fields, &mut costs.unbounded)?;
    let mut prompt = Prompt {
        tools,
        structured: config.as_ref().is_some_and(structured),
        schema: config.as_ref().is_some_and(schema),
        ..Prompt::default()
    };
    prompt.system = system(&fields, &mut costs)?;
    for (i, turn) in contents(&fields)?.into_iter().enumerate() {
        let at = format!("contents[{i}]");
        let turn: Maybe<GeminiTurn<'_>> = turn;
        let turn = turn
            .0
            .ok_or_else(|| body::wrong(&at, "an object", "something else"))?;
        let model = turn.role.text() == Some("model");
        let parts = parts(turn, &at, &mut costs)?;
        let role = match parts.iter().any(|p| matches!(p, Part::ToolResult(_))) {
            _ if model => Role::Assistant,
            true => Role::Tool,
            false => Role::User,
        };
        prompt.turns.push(Turn { role, parts });
    }
    let count = |key| config.as_ref().map_or(Ok(None), |c| counted(c, key));
    Ok(Request {
        manner: crate::chat::Manner::default(),
        effort: effort::GeminiWords.asked(&fields),
        limit: limit(&fields, config.as_ref())?,
        choices: count("candidateCount")?.unwrap_or(1),
        model_in_body: body::model_in(&fields),
        tier: body::tier(&fields, "serviceTier").or_else(|| body::tier(&fields, "service_tier")),
        fields,
        model,
        stream: place.stream,
        usage_asked: true,
        old_calls: false,
        prompt,
        unbounded: costs.unbounded,
        media: costs.media,
    })
}

/// Refuses a field that is there in both spellings: Google could read the one that is not read here.
fn once(fields: &Object<'_>, at: &str, keys: &[&str]) -> Result<(), Error> {
    for (camel, snake) in keys.iter().map(|key| spellings(key)) {
        if camel != snake && fields.some(camel).is_some() && fields.some(&snake).is_some() {
            return Err(body::twice(&format!("{at}{snake}")));
        }
    }
    Ok(())
}

/// A field in either spelling.
pub(super) fn either<'a>(fields: &Object<'a>, camel: &str) -> Option<&'a str> {
    let (camel, snake) = spellings(camel);
    fields.some(camel).or_else(|| fields.some(&snake))
}

/// One content may stand without a list, as Google's servers read it.
fn contents<'a>(fields: &Object<'a>) -> Result<Vec<Maybe<GeminiTurn<'a>>>, Error> {
    let alone = fields.some("contents").filter(|raw| raw.starts_with('{'));
    if let Some(Ok(content)) = alone.map(serde_json::from_str) {
        return Ok(vec![content]);
    }
    match body::list(fields, "contents")? {
        Some(list) if !list.is_empty() => Ok(list),
        _ => {
            let raw = fields.get("contents").unwrap_or_default();
            let found = if raw == "[]" {
                "an empty one"
            } else {
                body::found(raw)
            };
            Err(body::wrong(
                "contents",
                "an array of at least one content",
                found,
            ))
        }
    }
}

fn counted(config: &Object<'_>, camel: &str) -> Result<Option<u64>, Error> {
    let (camel, snake) = spellings(camel);
    let key = if config.some(camel).is_some() {
        camel
    } else {
        &snake
    };
    body::count(config, key, 1..=body::TOKENS_MAX).map_err(|mut error| {
        error.field = error.field.map(|field| format!("generationConfig.{field}"));
        error
    })
}

fn limit(fields: &Object<'_>, config: Option<&Object<'_>>) -> Result<Option<Limit>, Error> {
    let Some(config) = config else {
        return Ok(None);
    };
    let outer = fields.some("generationConfig").is_some();
    let field = match (outer, config.some("maxOutputTokens").is_some()) {
        (true, true) => "generationConfig.maxOutputTokens",
        (true, false) => "generationConfig.max_output_tokens",
        (false, true) => "generation_config.maxOutputTokens",
        (false, false) => "generation_config.max_output_tokens",
    };
    let tokens = counted(config, "maxOutputTokens")?;
    Ok(tokens.map(|tokens| Limit { field, tokens }))
}

fn structured(config: &Object<'_>) -> bool {
    let json = either(config, "responseMimeType").and_then(json::text);
    json.is_some_and(|mime| mime == "application/json") || schema(config)
}

/// The client asks to see what the model thinks.
pub(super) fn shows_thoughts(fields: &Object<'_>) -> bool {
    let within = |raw: &str, key: &str| {
        let object = Object::read_str(raw).ok();
        object.and_then(|object| either(&object, key).map(str::to_owned))
    };
    either(fields, "generationConfig")
        .and_then(|config| within(config, "thinkingConfig"))
        .and_then(|thinking| within(&thinking, "includeThoughts"))
        .is_some_and(|shown| shown == "true")
}

fn schema(config: &Object<'_>) -> bool {
    either(config, "responseSchema").is_some() || either(config, "responseJsonSchema").is_some()
}

fn name_unbounded(fields: &Object<'_>, config: Option<&Object<'_>>, list: &mut Vec<String>) {
    for (key, _) in fields.iter().filter(|(_, raw)| *raw != "null") {
        if BOUNDED.binary_search(&key).is_err() {
            body::unbounded(list, || body::shown(key));
        }
    }
    for key in UNBOUNDED_CONFIG {
        let raw = config.and_then(|c| either(c, key));
        let text_only = raw.is_some_and(|raw| raw.eq_ignore_ascii_case("[\"text\"]"));
        if raw.is_some() && !text_only {
            body::unbounded(list, || format!("generationConfig.{key}"));
        }
    }
}

/// How many functions there are; every other tool is run, and billed, by Google.
fn tools(fields: &Object<'_>, list: &mut Vec<String>) -> Result<usize, Error> {
    // One alone may stand without a list around it; Google's servers read both.
    let alone = fields.get("tools").filter(|raw| raw.starts_with('{'));
    let tools: Vec<&str> = match alone {
        Some(tool) => vec![tool],
        None => {
            let listed: Vec<&RawValue> = body::list(fields, "tools")?.unwrap_or_default();
            listed.into_iter().map(RawValue::get).collect()
        }
    };
    let mut count = 0;
    for (i, tool) in tools.iter().enumerate() {
        let Ok(tool) = Object::read_str(tool) else {
            return Err(body::wrong(
                format!("tools[{i}]"),
                "an object",
                "something else",
            ));
        };
        for (key, raw) in tool.iter().filter(|(_, raw)| *raw != "null") {
            match key {
                "functionDeclarations" | "function_declarations" => {
                    let all: Vec<serde::de::IgnoredAny> = json::from_str(raw).unwrap_or_default();
                    count += all.len().max(usize::from(raw.starts_with('{')));
                }
                _ => body::unbounded(list, || format!("tools[{i}].{}", body::shown(key))),
            }
        }
    }
    Ok(count)
}

fn system<'a>(fields: &Object<'a>, costs: &mut Costs<'a>) -> Result<Vec<Cow<'a, str>>, Error> {
    const AT: &str = "systemInstruction";
    let Some(raw) = either(fields, AT) else {
        return Ok(Vec::new());
    };
    // What cannot be read could hold what has no bound.
    let said: Maybe<GeminiTurn<'_>> =
        json::from_str(raw).map_err(|_| body::wrong(AT, "a content", "one that cannot be read"))?;
    let parts = said.0.map(|turn| parts(turn, AT, costs)).transpose()?;
    let texts = parts.into_iter().flatten().filter_map(|part| match part {
        Part::Text(text) => Some(text),
        _ => None,
    });
    Ok(texts.collect())
}

fn parts<'a>(
    turn: GeminiTurn<'a>,
    at: &str,
    costs: &mut Costs<'a>,
) -> Result<Vec<Part<'a>>, Error> {
    let pieces = listed(turn.parts, || format!("{at}.parts"))?;
    let mut parts = Vec::with_capacity(pieces.len());
    for (j, piece) in pieces.into_iter().enumerate() {
        let Some(piece) = piece.0 else { continue };
        let at = || format!("{at}.parts[{j}]");
        media([piece.inline, piece.file], at, &mut parts, costs);
        if piece.thought == Some(true) {
            parts.push(Part::Reasoning);
        } else if let Content::Text(text) = piece.text {
            parts.push(Part::Text(text));
        }
        if piece.call.is_some() {
            parts.push(Part::ToolCall);
        }
        if let Some(response) = piece.response.0 {
            let raw = response.response.map_or("", RawValue::get);
            parts.push(Part::ToolResult(Cow::Borrowed(raw)));
            let at = || format!("{}.functionResponse.parts", at());
            for (k, shown) in listed(response.parts, at)?.into_iter().enumerate() {
                let Some(shown) = shown.0 else { continue };
                let at = || format!("{}[{k}]", at());
                media([shown.inline, shown.file], at, &mut parts, costs);
            }
        }
    }
    Ok(parts)
}

/// The elements of a list of parts. What is no list is not passed over: it could hold what has no bound.
fn listed<T>(parts: Many<'_, T>, at: impl Fn() -> String) -> Result<Vec<T>, Error> {
    match parts.0 {
        Content::Nothing => Ok(Vec::new()),
        Content::List(list) => Ok(list),
        other => Err(body::wrong(at(), "an array of parts", other.kind())),
    }
}

/// Pictures, sound and files, inline or by an address; behind an address may be something else than is said.
fn media<'a>(
    [inline, by_address]: [Maybe<Blob<'a>>; 2],
    at: impl Fn() -> String,
    parts: &mut Vec<Part<'a>>,
    costs: &mut Costs<'a>,
) {
    let part = |kind| match kind {
        MediaKind::Image => Part::Image,
        MediaKind::Audio => Part::Audio,
        MediaKind::File => Part::File,
    };
    let kind = |blob: &Blob<'_>| MediaKind::of(blob.mime.text().unwrap_or_default());
    if let Some(blob) = inline.0 {
        costs.medium(kind(&blob), &at, blob.data.map(RawValue::get));
        parts.push(part(kind(&blob)));
    }
    if let Some(blob) = by_address.0 {
        costs.medium(MediaKind::File, &at, None);
        parts.push(part(kind(&blob)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(model: &str) -> Place<'_> {
        Place {
            model: Some(model.into()),
            ..Place::default()
        }
    }

    #[test]
    fn both_spellings_are_read_and_the_conversation_is_told_in_no_vendors_words() {
        let camel = r#"{"systemInstruction":{"parts":[{"text":"be brief"}]},"generationConfig":{"maxOutputTokens":50,"responseMimeType":"application/json"},
            "tools":[{"functionDeclarations":[{"name":"f"},{"name":"g"}]}],"contents":[
            {"role":"user","parts":[{"text":"see"},{"inlineData":{"mimeType":"image/png","data":"aGk="}}]},
            {"role":"model","parts":[{"text":"hm","thought":true},{"functionCall":{"name":"f","args":{}},"thoughtSignature":"x"}]},
            {"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"4"}}}]}]}"#;
        let mut snake = camel.to_owned();
        for word in [
            "systemInstruction",
            "generationConfig",
            "maxOutputTokens",
            "responseMimeType",
            "functionDeclarations",
            "inlineData",
            "mimeType",
            "functionCall",
            "functionResponse",
        ] {
            snake = snake.replace(word, &spellings(word).1);
        }
        for (body, field) in [
            (camel, "generationConfig.maxOutputTokens"),
            (snake.as_str(), "generation_config.max_output_tokens"),
        ] {
            let request = decode(body.as_bytes(), &at("m")).expect("valid");
            assert_eq!(request.limit, Some(Limit { field, tokens: 50 }));
            assert_eq!(request.model, "m");
            let prompt = &request.prompt;
            assert_eq!((prompt.tools, prompt.structured), (2, true));
            assert_eq!(prompt.system, ["be brief"]);
            let turns: Vec<_> = prompt
                .turns
                .iter()
                .map(|t| (t.role, t.parts.as_slice()))
                .collect();
            assert_eq!(
                turns,
                [
                    (Role::User, &[Part::Text("see".into()), Part::Image][..]),
                    (Role::Assistant, &[Part::Reasoning, Part::ToolCall]),
                    (Role::Tool, &[Part::ToolResult("{\"output\":\"4\"}".into())]),
                ]
            );
            let picture = &request.media[0];
            assert_eq!(
                (picture.kind, picture.at.as_str()),
                (MediaKind::Image, "contents[0].parts[1]")
            );
            assert_eq!((picture.data, request.media.len()), (Some("\"aGk=\""), 1));
        }
    }

    #[test]
    fn media_in_a_tools_result_are_seen_like_all_others() {
        for (part, kind) in [
            (
                r#"{"inlineData":{"mimeType":"image/png","data":"aGk="}}"#,
                MediaKind::Image,
            ),
            (
                r#"{"inline_data":{"mime_type":"image/png","data":"aGk="}}"#,
                MediaKind::Image,
            ),
            // Behind an address may be a film.
            (
                r#"{"file\u0044ata":{"mimeType":"image/png","fileUri":"u"}}"#,
                MediaKind::File,
            ),
        ] {
            let body = format!(
                r#"{{"contents":[{{"parts":[{{"functionResponse":{{"name":"f","response":{{}},"parts":[{{}},{part}]}}}}]}}]}}"#
            );
            let request = decode(body.as_bytes(), &at("m")).expect("valid");
            let media = "contents[0].parts[0].functionResponse.parts[1]";
            let found = &request.media[0];
            assert_eq!((found.at.as_str(), found.kind), (media, kind), "{part}");
            let parts = &request.prompt.turns[0].parts;
            assert_eq!(parts[..], [Part::ToolResult("{}".into()), Part::Image]);
        }
    }

    #[test]
    fn a_tool_alone_may_stand_without_a_list() {
        let decoded = |tools: &str| {
            let body = format!(r#"{{"contents":[{{}}],"tools":{tools}}}"#);
            let request = decode(body.as_bytes(), &at("m")).expect("a request");
            (request.prompt.tools, request.unbounded.clone())
        };
        let function = r#"{"functionDeclarations":{"name":"f"}}"#;
        assert_eq!(decoded(function), (1, vec![]));
        let search = r#"{"googleSearch":{}}"#;
        assert_eq!(
            decoded(search),
            (0, vec!["tools[0].googleSearch".to_owned()])
        );
    }

    #[test]
    fn a_content_alone_may_stand_without_a_list() {
        use crate::chat::conversation::Item;
        let body = br#"{"contents":{"role":"user","parts":{"text":"hi"}}}"#;
        let request = decode(body, &at("m")).expect("a request");
        assert_eq!(request.prompt.turns[0].parts, [Part::Text("hi".into())]);
        let said = super::super::converse::converse(&request).expect("a conversation");
        assert_eq!(said.messages[0].items, [Item::Text("hi".into())]);
    }

    #[test]
    fn a_request_that_cannot_be_understood_is_refused_by_name() {
        for (body, field) in [
            ("{}", "contents"),
            (r#"{"contents":[]}"#, "contents"),
            (r#"{"contents":[3]}"#, "contents[0]"),
            (
                r#"{"contents":[{}],"generationConfig":7}"#,
                "generationConfig",
            ),
            (
                r#"{"contents":[{}],"generationConfig":{"maxOutputTokens":-1}}"#,
                "generationConfig.maxOutputTokens",
            ),
            (r#"{"contents":[{}],"tools":[1]}"#, "tools[0]"),
            (r#"{"contents":[{},{"parts":"x"}]}"#, "contents[1].parts"),
            (
                r#"{"contents":[{}],"system_instruction":{"parts":7}}"#,
                "systemInstruction.parts",
            ),
            (
                r#"{"contents":[{}],"systemInstruction":{"parts":[{"fileData":{},"file_data":{}}]}}"#,
                "systemInstruction",
            ),
            (
                r#"{"contents":[{}],"systemInstruction":{},"system_instruction":{"parts":[{"fileData":{}}]}}"#,
                "system_instruction",
            ),
            (
                r#"{"contents":[{}],"generationConfig":{"maxOutputTokens":1,"max_output_tokens":9}}"#,
                "generationConfig.max_output_tokens",
            ),
            (
                r#"{"contents":[{"parts":[{},{"functionResponse":{"parts":true}}]}]}"#,
                "contents[0].parts[1].functionResponse.parts",
            ),
        ] {
            let error = decode(body.as_bytes(), &at("m")).expect_err(body);
            assert_eq!(
                (error.status(), error.field.as_deref()),
                (400, Some(field)),
                "{body}"
            );
        }
        assert!(BOUNDED.is_sorted());
    }
}
