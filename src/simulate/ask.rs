//! Reads a request in either dialect, as strictly as a vendor would. Borrows nothing from flyball's own
//! decoders: the simulated models are a vendor and must notice when the proxy sends nonsense.

use super::model::SimModel;
use super::prefix::{CacheKind, FIVE_MINUTES, HOUR, Prefix, PrefixReader};
use super::tools::{SimCall, called, form};
use crate::arm::Effort;
use serde_json::Value;
use std::time::Duration;

/// More choices than this are refused (OpenAI's own limit).
const CHOICES_MAX: u64 = 128;
/// Tokens that a message costs beside its text.
const MESSAGE_TOKENS: u64 = 3;
/// Tokens of a picture, sound or file; fewer than the bytes that even an address takes in the body.
const ATTACHMENT_TOKENS: u64 = 40;
/// The least `budget_tokens` that Anthropic accepts.
const BUDGET_MIN: u64 = 1_024;

/// A request, understood.
#[derive(Clone, Debug)]
pub(super) struct SimAsk {
    pub(super) model: &'static SimModel,
    pub(super) effort: Effort,
    /// The client's own bound on reasoning tokens.
    pub(super) thinking_max: Option<u64>,
    /// A summary of the reasoning is wanted.
    pub(super) summary: bool,
    /// The bound on all output tokens of a choice.
    pub(super) limit: Option<u64>,
    pub(super) choices: u64,
    pub(super) stream: bool,
    /// A last chunk with the usage is wanted.
    pub(super) include_usage: bool,
    /// The tool that is called instead of saying something.
    pub(super) call: Option<SimCall>,
    /// The JSON text that is demanded in place of words.
    pub(super) form: Option<String>,
    pub(super) prompt: SimPrompt,
}

/// The conversation, as far as a simulated model cares.
#[derive(Clone, Debug)]
pub(super) struct SimPrompt {
    /// All its words and roles: what the answer follows from.
    pub(super) text: String,
    /// The last words of the user.
    pub(super) last: String,
    /// Input tokens.
    pub(super) tokens: u64,
    /// Its beginnings that a cache may hold, the shortest first.
    pub(super) prefixes: Vec<Prefix>,
    pub(super) cache: CacheKind,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The error type; the same words in both dialects.
    pub(super) kind: &'static str,
    pub(super) code: Option<&'static str>,
    pub(super) field: Option<&'static str>,
    pub(super) message: String,
}

impl Refusal {
    /// A refusal with a status and an error type.
    pub(super) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            kind,
            code: None,
            field: None,
            message: message.into(),
        }
    }

    /// There is no model of this name.
    pub(super) fn no_model(name: &str) -> Refusal {
        Refusal {
            code: Some("model_not_found"),
            field: Some("model"),
            ..Refusal::new(
                404,
                "not_found_error",
                format!("there is no model \"{name}\""),
            )
        }
    }
}

pub(super) fn bad(field: &'static str, message: impl Into<String>) -> Refusal {
    Refusal {
        field: Some(field),
        ..Refusal::new(400, "invalid_request_error", message)
    }
}

/// Reads the body of `POST /v1/chat/completions`.
///
/// # Errors
/// 400 for what a vendor would not accept, 404 for an unknown model.
pub(super) fn openai(body: &[u8]) -> Result<SimAsk, Refusal> {
    let body = object(body)?;
    let model = model(&body)?;
    let effort = effort(body.get("reasoning_effort"), "reasoning_effort")?;
    let limits = [
        whole(&body, "max_completion_tokens", 1)?,
        whole(&body, "max_tokens", 1)?,
    ];
    let choices = whole(&body, "n", 1)?.unwrap_or(1);
    if choices > CHOICES_MAX {
        return Err(bad("n", format!("n may be at most {CHOICES_MAX}")));
    }
    let options = body.get("stream_options").unwrap_or(&Value::Null);
    let mut reader = PromptReader::new(CacheKind::Automatic);
    reader.tools(&body);
    reader.messages(&body)?;
    let prompt = reader.done();
    Ok(SimAsk {
        model,
        effort: effort.unwrap_or(model.effort),
        thinking_max: None,
        summary: false,
        limit: limits.into_iter().flatten().min(),
        choices,
        stream: flag(&body, "stream")?,
        include_usage: flag(options, "include_usage")?,
        call: called(&body, &prompt.last),
        form: form(&body),
        prompt,
    })
}

/// Reads the body of `POST /v1/messages`.
///
/// # Errors
/// 400 for what a vendor would not accept, 404 for an unknown model.
pub(super) fn anthropic(body: &[u8]) -> Result<SimAsk, Refusal> {
    let body = object(body)?;
    let model = model(&body)?;
    let limit =
        whole(&body, "max_tokens", 0)?.ok_or_else(|| bad("max_tokens", "a limit is required"))?;
    let thinking = body.get("thinking").unwrap_or(&Value::Null);
    let prompt = anthropic_prompt(&body)?;
    Ok(SimAsk {
        model,
        effort: thinking_effort(&body, thinking, model)?,
        thinking_max: budget(thinking, limit)?,
        summary: thinking["display"] != "omitted",
        limit: Some(limit),
        choices: 1,
        stream: flag(&body, "stream")?,
        include_usage: true,
        call: called(&body, &prompt.last),
        form: form(&body),
        prompt,
    })
}

/// Reads the prompt alone, for `POST /v1/messages/count_tokens`.
///
/// # Errors
/// As [`anthropic`], but needs no limit.
pub(super) fn anthropic_count(body: &[u8]) -> Result<u64, Refusal> {
    let body = object(body)?;
    model(&body)?;
    Ok(anthropic_prompt(&body)?.tokens)
}

fn anthropic_prompt(body: &Value) -> Result<SimPrompt, Refusal> {
    let mut reader = PromptReader::new(CacheKind::Marked);
    reader.tools(body);
    reader.say("system", body.get("system").unwrap_or(&Value::Null));
    reader.messages(body)?;
    // A mark on the whole stands at its end.
    if let Some(lifetime) = marked(body) {
        reader.prefix.block_ends(Some(lifetime));
    }
    Ok(reader.done())
}

/// Without `thinking` only a model that thinks by itself does; `effort` alone does not switch it on.
fn thinking_effort(body: &Value, thinking: &Value, model: &SimModel) -> Result<Effort, Refusal> {
    let asked = body.get("output_config").and_then(|c| c.get("effort"));
    let asked = effort(asked, "output_config.effort")?;
    match thinking["type"].as_str() {
        Some("adaptive" | "enabled") => Ok(asked.unwrap_or(Effort::High)),
        Some("disabled" | "between_tools") => Ok(Effort::None),
        None if thinking.is_null() && model.effort == Effort::None => Ok(Effort::None),
        None if thinking.is_null() => Ok(asked.unwrap_or(model.effort)),
        _ => Err(bad(
            "thinking",
            "thinking.type is adaptive, enabled, disabled or between_tools",
        )),
    }
}

fn budget(thinking: &Value, limit: u64) -> Result<Option<u64>, Refusal> {
    if thinking["type"] != "enabled" {
        return Ok(None);
    }
    match whole(thinking, "budget_tokens", BUDGET_MIN)? {
        Some(budget) if budget < limit => Ok(Some(budget)),
        Some(_) => Err(bad(
            "thinking",
            "budget_tokens must be smaller than max_tokens",
        )),
        None => Err(bad("thinking", "budget_tokens is required")),
    }
}

pub(super) fn object(body: &[u8]) -> Result<Value, Refusal> {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err(Refusal::new(
            400,
            "invalid_request_error",
            "the body is not a JSON object",
        )),
        Err(why) => Err(Refusal::new(
            400,
            "invalid_request_error",
            format!("the body is not valid JSON: {why}"),
        )),
    }
}

fn model(body: &Value) -> Result<&'static SimModel, Refusal> {
    let name = body
        .get("model")
        .and_then(Value::as_str)
        .ok_or_else(|| bad("model", "a model is required"))?;
    SimModel::named(name).ok_or_else(|| Refusal::no_model(name))
}

fn effort(value: Option<&Value>, field: &'static str) -> Result<Option<Effort>, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_str().and_then(Effort::parse) {
            Some(effort) => Ok(Some(effort)),
            None => Err(Refusal {
                code: Some("unsupported_value"),
                ..bad(field, format!("{field} does not take {value}"))
            }),
        },
    }
}

fn flag(body: &Value, key: &'static str) -> Result<bool, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(bad(key, format!("{key} is true or false"))),
    }
}

pub(super) fn whole(body: &Value, key: &'static str, least: u64) -> Result<Option<u64>, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) if number >= least => Ok(Some(number)),
            _ => Err(bad(
                key,
                format!("{key} is a whole number of at least {least}"),
            )),
        },
    }
}

struct PromptReader {
    text: String,
    last: String,
    cache: CacheKind,
    prefix: PrefixReader,
}

impl PromptReader {
    fn new(cache: CacheKind) -> PromptReader {
        PromptReader {
            text: String::new(),
            last: String::new(),
            cache,
            prefix: PrefixReader::new(cache, MESSAGE_TOKENS),
        }
    }

    /// A cache holds tool definitions too, so they come first, as in the vendors' prompts.
    fn tools(&mut self, body: &Value) {
        if let Some(Value::Array(tools)) = body.get("tools") {
            for tool in tools {
                self.words(&unmarked(tool));
                self.prefix.block_ends(marked(tool));
            }
        }
    }

    fn messages(&mut self, body: &Value) -> Result<(), Refusal> {
        let messages = body
            .get("messages")
            .and_then(Value::as_array)
            .filter(|m| !m.is_empty())
            .ok_or_else(|| bad("messages", "at least one message is required"))?;
        for (index, message) in messages.iter().enumerate() {
            let role = message
                .get("role")
                .and_then(Value::as_str)
                .ok_or_else(|| bad("messages", format!("messages[{index}] has no role")))?;
            self.say(role, message.get("content").unwrap_or(&Value::Null));
            if let Some(calls) = message.get("tool_calls").filter(|c| c.is_array()) {
                self.words(&calls.to_string());
            }
        }
        Ok(())
    }

    fn say(&mut self, role: &str, content: &Value) {
        if content.is_null() && role == "system" {
            return;
        }
        let begin = format!("\u{1}{role}\u{2}");
        self.text.push_str(&begin);
        self.prefix.whole(&begin, MESSAGE_TOKENS);
        let before = self.text.len();
        self.content(content);
        let said = &self.text[before..];
        if role == "user" && !said.is_empty() {
            self.last = said.to_owned();
        }
    }

    fn content(&mut self, content: &Value) {
        match content {
            Value::String(text) => {
                self.words(text);
                self.prefix.block_ends(None);
            }
            Value::Array(parts) => {
                for part in parts {
                    self.part(part);
                    self.prefix.block_ends(marked(part));
                }
            }
            _ => {}
        }
    }

    fn part(&mut self, part: &Value) {
        match part["type"].as_str() {
            Some("text" | "input_text") => self.text(&part["text"]),
            Some("tool_use") => {
                self.prefix.whole(&part["name"].to_string(), 0);
                self.words(&part["input"].to_string());
            }
            Some("tool_result") => match &part["content"] {
                Value::Array(inner) => inner.iter().for_each(|part| self.inner(part)),
                text => self.text(text),
            },
            Some("thinking" | "redacted_thinking") => {}
            _ => self.prefix.whole(&unmarked(part), ATTACHMENT_TOKENS),
        }
    }

    /// A part of a tool's result. One without words, such as a picture, costs nothing here, but is told from another.
    fn inner(&mut self, part: &Value) {
        match &part["text"] {
            Value::Null => self.prefix.whole(&unmarked(part), 0),
            text => self.text(text),
        }
    }

    fn text(&mut self, text: &Value) {
        if let Value::String(text) = text {
            self.words(text);
        }
    }

    fn words(&mut self, text: &str) {
        self.prefix.words(text);
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn done(self) -> SimPrompt {
        SimPrompt {
            text: self.text,
            last: self.last,
            tokens: self.prefix.tokens(),
            prefixes: self.prefix.done(),
            cache: self.cache,
        }
    }
}

/// How long this part, and all before it, is to be held, where it is marked for the cache.
fn marked(part: &Value) -> Option<Duration> {
    let mark = part.get("cache_control").filter(|mark| mark.is_object())?;
    match mark["ttl"].as_str() {
        Some("1h") => Some(HOUR),
        _ => Some(FIVE_MINUTES),
    }
}

/// A part's JSON without its mark: a mark moves on from turn to turn, and is no word of the prompt.
fn unmarked(part: &Value) -> String {
    let mut part = part.clone();
    if let Some(fields) = part.as_object_mut() {
        fields.shift_remove("cache_control");
    }
    part.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HI: &str = r#""messages":[{"role":"user","content":"hi"}]"#;

    fn refusal(
        read: fn(&[u8]) -> Result<SimAsk, Refusal>,
        body: &str,
    ) -> (u16, Option<&'static str>) {
        let refusal = read(body.as_bytes()).expect_err(body);
        (refusal.status, refusal.field)
    }

    #[test]
    fn what_a_vendor_would_not_accept_is_refused_by_field() {
        for (body, status, field) in [
            ("{", 400, None),
            ("[]", 400, None),
            ("{}", 400, Some("model")),
            (r#"{"model":"sim-small"}"#, 400, Some("messages")),
            (
                r#"{"model":"sim-small","messages":[]}"#,
                400,
                Some("messages"),
            ),
            (
                r#"{"model":"sim-small","messages":[{}]}"#,
                400,
                Some("messages"),
            ),
            (&format!(r#"{{"model":"gpt-9",{HI}}}"#), 404, Some("model")),
            (
                &format!(r#"{{"model":"sim-small","n":0,{HI}}}"#),
                400,
                Some("n"),
            ),
            (
                &format!(r#"{{"model":"sim-small","n":129,{HI}}}"#),
                400,
                Some("n"),
            ),
            (
                &format!(r#"{{"model":"sim-small","max_tokens":-1.5,{HI}}}"#),
                400,
                Some("max_tokens"),
            ),
            (
                &format!(r#"{{"model":"sim-small","stream":1,{HI}}}"#),
                400,
                Some("stream"),
            ),
            (
                &format!(r#"{{"model":"sim-small","reasoning_effort":"huge",{HI}}}"#),
                400,
                Some("reasoning_effort"),
            ),
        ] {
            assert_eq!(refusal(openai, body), (status, field), "{body}");
        }
        for (more, field) in [
            ("", "max_tokens"),
            (
                r#","max_tokens":9,"thinking":{"type":"enabled","budget_tokens":1024}"#,
                "thinking",
            ),
            (
                r#","max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":10}"#,
                "budget_tokens",
            ),
            (r#","max_tokens":9,"thinking":{"type":"deep"}"#, "thinking"),
            (
                r#","max_tokens":9,"output_config":{"effort":"huge"}"#,
                "output_config.effort",
            ),
        ] {
            let body = format!(r#"{{"model":"sim-small",{HI}{more}}}"#);
            assert_eq!(refusal(anthropic, &body), (400, Some(field)), "{body}");
        }
    }

    #[test]
    fn anthropic_thinking_and_effort_become_one_effort() {
        for (model, more, effort, bound) in [
            ("sim-small", "", Effort::None, None),
            ("sim-reasoning", "", Effort::Medium, None),
            (
                "sim-small",
                r#","output_config":{"effort":"low"}"#,
                Effort::None,
                None,
            ),
            (
                "sim-small",
                r#","thinking":{"type":"adaptive"},"output_config":{"effort":"low"}"#,
                Effort::Low,
                None,
            ),
            (
                "sim-standard",
                r#","thinking":{"type":"enabled","budget_tokens":1024}"#,
                Effort::High,
                Some(1024),
            ),
            (
                "sim-reasoning",
                r#","thinking":{"type":"disabled"}"#,
                Effort::None,
                None,
            ),
        ] {
            let body = format!(r#"{{"model":"{model}","max_tokens":2000,{HI}{more}}}"#);
            let ask = anthropic(body.as_bytes()).expect(&body);
            assert_eq!((ask.effort, ask.thinking_max), (effort, bound), "{body}");
        }
    }

    #[test]
    fn the_smaller_of_two_limits_counts() {
        let body = format!(
            r#"{{"model":"sim-small","max_tokens":9,"max_completion_tokens":7,"n":2,"stream":true,{HI}}}"#
        );
        let ask = openai(body.as_bytes()).expect("valid");
        assert_eq!((ask.limit, ask.choices, ask.stream), (Some(7), 2, true));
        assert!(!ask.include_usage);
    }

    fn marked_prompt(body: &str) -> SimPrompt {
        let body = format!(r#"{{"model":"sim-small","max_tokens":9,{body}}}"#);
        anthropic(body.as_bytes()).expect(&body).prompt
    }

    #[test]
    fn a_mark_is_no_word_of_the_prompt_wherever_it_stands() {
        let long = "word ".repeat(1_000);
        let body = |mark: &str| {
            let tool =
                format!(r#"{{"name":"t","description":"{long}"{mark},"input_schema":{{}}}}"#);
            let text = format!(r#"{{"type":"text","text":"{long}"{mark}}}"#);
            let picture =
                format!(r#"{{"type":"image"{mark},"source":{{"type":"base64","data":"AA"}}}}"#);
            format!(
                r#""tools":[{tool}],"system":[{text}],"messages":[{{"role":"user","content":[{text},{picture}]}}]"#
            )
        };
        let plain = marked_prompt(&body(""));
        let ours = marked_prompt(&body(r#","cache_control":{"type":"ephemeral"}"#));
        let long = marked_prompt(&body(r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#));
        let said = |prompt: &SimPrompt| {
            let hashes = prompt.prefixes.iter().map(|p| (p.tokens, p.hash));
            (
                prompt.text.clone(),
                prompt.tokens,
                hashes.collect::<Vec<_>>(),
            )
        };
        assert_eq!((said(&ours), said(&long)), (said(&plain), said(&plain)));
        for (prompt, lifetime) in [
            (plain, None),
            (ours, Some(FIVE_MINUTES)),
            (long, Some(HOUR)),
        ] {
            let lifetimes: Vec<_> = prompt.prefixes.iter().map(|p| p.lifetime).collect();
            assert_eq!(lifetimes, [lifetime; 4]);
        }
    }

    #[test]
    fn a_mark_on_the_whole_stands_at_the_end() {
        let text = "word ".repeat(1_000);
        let prompt = marked_prompt(&format!(
            r#""cache_control":{{"type":"ephemeral"}},"messages":[{{"role":"user","content":"{text}"}}]"#
        ));
        let last = prompt.prefixes.last().expect("a beginning");
        assert_eq!(
            (last.tokens, last.lifetime),
            (prompt.tokens, Some(FIVE_MINUTES))
        );
    }

    #[test]
    fn a_text_is_the_same_beginning_as_a_string_and_as_a_part() {
        let text = "word ".repeat(1_000);
        let said = |content: &str| {
            marked_prompt(&format!(
                r#""messages":[{{"role":"user","content":{content}}}]"#
            ))
            .prefixes
        };
        let part = format!(r#"[{{"type":"text","text":"{text}"}}]"#);
        assert_eq!(said(&format!(r#""{text}""#)), said(&part));
    }

    #[test]
    fn another_picture_another_role_and_another_tool_are_other_beginnings() {
        let long = "word ".repeat(1_000);
        let after = |message: &str| {
            let body = format!(
                r#"{{"model":"sim-small","messages":[{message},{{"role":"user","content":"{long}"}}]}}"#
            );
            openai(body.as_bytes()).expect(&body).prompt.prefixes
        };
        let [picture, other, sound, user, assistant, call] = [
            r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:a"}}]}"#,
            r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:b"}}]}"#,
            r#"{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"a"}}]}"#,
            r#"{"role":"user","content":"hi"}"#,
            r#"{"role":"assistant","content":"hi"}"#,
            r#"{"role":"assistant","content":"hi","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]}"#,
        ]
        .map(after);
        let all = [&picture, &other, &sound, &user, &assistant, &call];
        let first: std::collections::BTreeSet<u64> = all.iter().map(|p| p[0].hash).collect();
        assert_eq!(first.len(), all.len());
    }

    #[test]
    fn a_prompt_never_counts_more_tokens_than_its_body_has_bytes() {
        let body = r#"{"model":"sim-small","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":""}}]},{"role":"user","content":""}]}"#;
        let ask = openai(body.as_bytes()).expect("valid");
        assert!(ask.prompt.tokens <= u64::try_from(body.len()).expect("small"));
    }
}
