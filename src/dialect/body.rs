//! The fields of a request that flyball reads itself, whatever the dialect calls them: checked here,
//! with a sentence that says what was expected and what was found.
//!
//! No sentence repeats a prompt: it may name a key, a number or a type, never a text.

use super::lenient::{Content, Maybe, Text};
use super::{AskedTier, Place};
use crate::chat::conversation::MediaKind;
use crate::chat::{Medium, ServiceTier};
use crate::error::{Error, Kind};
use crate::json::{self, Object};
use serde::de::{Deserialize, Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Longer model names are refused: they go into headers, logs and metrics.
const MODEL_BYTES_MAX: usize = 256;

/// The largest token limit taken: 2^32, far above every model's.
pub(super) const TOKENS_MAX: u64 = 1 << 32;

/// As many unbounded fields as are named in an error; the first one already refuses the request.
const UNBOUNDED_MAX: usize = 16;

/// More media than a provider takes in one request (Gemini: 3,600) have no bound: each one keeps the name of its field.
const MEDIA_MAX: usize = 4_096;

/// The longest key that is repeated in an error, in characters.
const KEY_CHARS_MAX: usize = 64;

/// Finds the fields of the request's object; `objects` are those fields that are edited one level down.
pub(super) fn object<'a>(body: &'a [u8], objects: &[&str]) -> Result<Object<'a>, Error> {
    let first = body.trim_ascii_start();
    if !first.is_empty() && first[0] != b'{' {
        let found = std::str::from_utf8(&first[..1]).map_or("bytes that are no text", found);
        return Err(bad(format!(
            "The body must be a JSON object, found {found}."
        )));
    }
    let fields =
        Object::read(body).map_err(|flaw| bad(format!("The body cannot be read: {flaw}.")))?;
    if let Some(key) = fields.duplicate() {
        return Err(twice(&shown(key)));
    }
    // Servers written in Go (Ollama) take a key in any case: they would read another model here than flyball does.
    let cased = |key: &&str| *key != "model" && key.eq_ignore_ascii_case("model");
    if let Some(key) = fields.iter().map(|(key, _)| key).find(cased) {
        return Err(twice(&shown(key)));
    }
    for outer in objects {
        let Some(raw) = fields.some(outer).filter(|raw| raw.starts_with('{')) else {
            continue;
        };
        let inner = Object::read_str(raw)
            .map_err(|flaw| Error::bad_field(*outer, format!("\"{outer}\": {flaw}.")))?;
        if let Some(key) = inner.duplicate() {
            return Err(twice(&format!("{outer}.{}", shown(key))));
        }
    }
    Ok(fields)
}

/// A 400 without a field.
fn bad(sentence: String) -> Error {
    Error::new(Kind::BadRequest, sentence)
}

/// A 400 for a key that is there twice.
pub(super) fn twice(key: &str) -> Error {
    Error::bad_field(
        key,
        format!("\"{key}\" must occur once, found it twice: two readers could disagree."),
    )
}

/// A 400 for a field of the wrong shape.
pub(super) fn wrong(field: impl fmt::Display, expected: &str, found: &str) -> Error {
    Error::bad_field(
        field.to_string(),
        format!("\"{field}\" must be {expected}, found {found}."),
    )
}

/// What a JSON text is, in words; a number is shown where it is short.
pub(super) fn found(raw: &str) -> &str {
    match raw.as_bytes().first() {
        None => "nothing",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') if raw.len() <= 24 => raw,
        Some(b'-' | b'0'..=b'9') => "a number",
        Some(_) => "something that is not JSON",
    }
}

/// A key as it may be repeated in an error.
pub(super) fn shown(key: &str) -> String {
    key.chars()
        .filter(|c| !c.is_control())
        .take(KEY_CHARS_MAX)
        .collect()
}

/// The model asked for.
pub(super) fn model<'a>(fields: &Object<'a>) -> Result<Cow<'a, str>, Error> {
    let raw = fields.get("model").unwrap_or_default();
    match json::text(raw) {
        Some(name) => checked(name),
        None => Err(wrong("model", MODEL, found(raw))),
    }
}

/// What a model's name must be.
const MODEL: &str = "the name of a model (a string of 1 to 256 bytes without control characters)";

fn checked(name: Cow<'_, str>) -> Result<Cow<'_, str>, Error> {
    let flaw = match name.len() {
        0 => "an empty string",
        n if n > MODEL_BYTES_MAX => "a longer one",
        _ if name.chars().any(char::is_control) => "a control character",
        _ => return Ok(name),
    };
    Err(wrong("model", MODEL, flaw))
}

/// The model asked for: in the path where that names one, else in the body.
pub(super) fn model_at<'a>(fields: &Object<'a>, place: &Place<'a>) -> Result<Cow<'a, str>, Error> {
    match &place.model {
        None => model(fields),
        Some(name) => checked(name.clone()),
    }
}

/// The model that the body names.
pub(super) fn model_in<'a>(fields: &Object<'a>) -> Option<Cow<'a, str>> {
    json::text(fields.get("model")?)
}

/// A boolean; missing and `null` are false.
pub(super) fn flag(fields: &Object<'_>, key: &str) -> Result<bool, Error> {
    match fields.some(key) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(raw) => Err(wrong(key, "true or false", found(raw))),
    }
}

/// A whole number in a range; missing and `null` are `None`.
pub(super) fn count(
    fields: &Object<'_>,
    key: &str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, Error> {
    let Some(raw) = fields.some(key) else {
        return Ok(None);
    };
    match raw.parse().ok().filter(|n| range.contains(n)) {
        // `+1` is no JSON, so what parses here is digits only.
        Some(n) => Ok(Some(n)),
        None => {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            Err(wrong(key, &expected, found(raw)))
        }
    }
}

/// A token limit; missing, `null`, and what is below one are none: servers on one's own machine take -1 for no limit.
pub(super) fn limit(fields: &Object<'_>, key: &str) -> Result<Option<u64>, Error> {
    let none = |raw: &str| raw.parse::<i64>().is_ok_and(|limit| limit <= 0);
    match fields.some(key).is_some_and(none) {
        true => Ok(None),
        false => count(fields, key, 1..=TOKENS_MAX),
    }
}

/// An array of `T`; missing and `null` are `None`.
pub(super) fn list<'a, T: Deserialize<'a>>(
    fields: &Object<'a>,
    key: &str,
) -> Result<Option<Vec<T>>, Error> {
    let Some(raw) = fields.some(key) else {
        return Ok(None);
    };
    if !raw.starts_with('[') {
        return Err(wrong(key, "an array", found(raw)));
    }
    if let Some(list) = json::try_from_str(raw) {
        return Ok(Some(list));
    }
    // Where it goes wrong is told by the reader that says why.
    let mut reader = serde_json::Deserializer::from_str(raw);
    let mut read = 0;
    let elements = Elements {
        read: &mut read,
        element: PhantomData,
    };
    reader.deserialize_seq(elements).map(Some).map_err(|e| {
        // serde's sentence may hold the client's text, except when it is about a repeated field.
        let why = e.to_string();
        let why = match why.split(" at line ").next() {
            Some(safe) if safe.starts_with("duplicate field ") => safe,
            _ => "it cannot be read",
        };
        let field = format!("{key}[{read}]");
        let sentence = format!("\"{field}\": {why}.");
        Error::bad_field(field, sentence)
    })
}

/// Reads the messages, a non-empty array of objects, one after the other; `read` is told each one's index.
pub(super) fn messages<'a, T: Deserialize<'a>>(
    fields: &Object<'a>,
    mut read: impl FnMut(usize, T) -> Result<(), Error>,
) -> Result<(), Error> {
    let expected = "an array of at least one message";
    let messages: Vec<Maybe<T>> = match list(fields, "messages")? {
        Some(messages) if !messages.is_empty() => Ok(messages),
        Some(_) => Err(wrong("messages", expected, "an empty one")),
        None => {
            let raw = fields.get("messages").unwrap_or_default();
            Err(wrong("messages", expected, found(raw)))
        }
    }?;
    for (i, message) in messages.into_iter().enumerate() {
        let object = || wrong(format!("messages[{i}]"), "an object", "something else");
        read(i, message.0.ok_or_else(object)?)?;
    }
    Ok(())
}

struct Elements<'n, T> {
    read: &'n mut usize,
    element: PhantomData<T>,
}

impl<'a, T: Deserialize<'a>> Visitor<'a> for Elements<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element()? {
            list.push(element);
            *self.read += 1;
        }
        Ok(list)
    }
}

/// The text of a part or a role: must be a string where it is there.
pub(super) fn text_at<'a, T>(
    content: Content<'a, T>,
    field: impl fmt::Display,
) -> Result<Cow<'a, str>, Error> {
    let kind = content.kind();
    content
        .into_text()
        .ok_or_else(|| wrong(field, "a string", kind))
}

/// Several texts as one, borrowed where there is one.
pub(super) fn joined<'a>(mut texts: Vec<Cow<'a, str>>) -> Cow<'a, str> {
    match texts.len() {
        0 => Cow::Borrowed(""),
        1 => texts.remove(0),
        _ => Cow::Owned(texts.join("\n")),
    }
}

/// The service tier that this field names; what is no text is a tier that nobody knows.
pub(super) fn tier(fields: &Object<'_>, field: &'static str) -> Option<AskedTier> {
    let raw = fields.some(field)?;
    let tier = match json::text(raw) {
        Some(words) => ServiceTier::read(&words)?,
        None => ServiceTier::Other,
    };
    Some(AskedTier { field, tier })
}

/// What a request may cost besides its words and its answer.
#[derive(Default)]
pub(super) struct Costs<'a> {
    /// Fields without a bound.
    pub(super) unbounded: Vec<String>,
    /// Pictures, sound and documents.
    pub(super) media: Vec<Medium<'a>>,
}

impl<'a> Costs<'a> {
    /// Remembers a field whose cost has no bound.
    pub(super) fn unbounded(&mut self, field: impl FnOnce() -> String) {
        unbounded(&mut self.unbounded, field);
    }

    /// Remembers every field that is not one of these, which are sorted.
    pub(super) fn unknown(&mut self, fields: &Object<'_>, bounded: &[&str]) {
        for (key, _) in fields.iter().filter(|(_, raw)| *raw != "null") {
            if bounded.binary_search(&key).is_err() {
                self.unbounded(|| shown(key));
            }
        }
    }

    /// Remembers a medium, whose bytes may be in this JSON string.
    pub(super) fn medium(
        &mut self,
        kind: MediaKind,
        at: impl FnOnce() -> String,
        data: Option<&'a str>,
    ) {
        self.add(at, |at| Medium {
            kind,
            at,
            data: data.filter(|json| json.starts_with('"')),
            stored: false,
        });
    }

    /// Remembers an earlier turn that the request names and the provider puts in.
    pub(super) fn stored(&mut self, at: impl FnOnce() -> String) {
        self.add(at, |at| Medium {
            kind: MediaKind::File,
            at,
            data: None,
            stored: true,
        });
    }

    fn add(&mut self, at: impl FnOnce() -> String, medium: impl FnOnce(String) -> Medium<'a>) {
        if self.media.len() == MEDIA_MAX {
            return self.unbounded(at);
        }
        self.media.push(medium(at()));
    }
}

/// A tool as far as its kind goes.
#[derive(serde::Deserialize)]
pub(super) struct AskedTool<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    function: Option<serde::de::IgnoredAny>,
}

impl AskedTool<'_> {
    /// The client runs it, so that a call costs its tokens and nothing else.
    fn is_the_clients(&self) -> bool {
        match &self.kind {
            Content::Nothing => self.function.is_some(),
            kind => matches!(kind.text(), Some("function" | "custom")),
        }
    }
}

/// Names every tool that the provider runs.
pub(super) fn unbounded_tools(tools: &[Maybe<AskedTool<'_>>], costs: &mut Costs<'_>) {
    for (i, tool) in tools.iter().enumerate() {
        if !tool.0.as_ref().is_some_and(AskedTool::is_the_clients) {
            costs.unbounded(|| format!("tools[{i}]"));
        }
    }
}

/// The JSON string of an address that holds the bytes themselves; it may stand in an object (`{"url": …}`).
pub(super) fn inline_url(raw: Option<&RawValue>) -> Option<&str> {
    let raw = raw?.get();
    let text = match raw.starts_with('{') {
        true => string_in(raw, "url")?,
        false => raw,
    };
    text.starts_with("\"data:").then_some(text)
}

/// A string in a JSON object; none where two of its fields have the same name.
pub(super) fn string_in<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let fields = Object::read_str(object).ok()?;
    let single = fields.duplicate().is_none();
    fields.some(key).filter(|_| single)
}

/// Remembers a field whose cost has no bound.
pub(super) fn unbounded(list: &mut Vec<String>, field: impl FnOnce() -> String) {
    if list.len() < UNBOUNDED_MAX {
        list.push(field());
    }
}

/// The most of an upstream's error that is kept, in characters: it goes into logs.
const ERROR_CHARS_MAX: usize = 2000;

/// An upstream's error, cut to a length for the log.
pub(super) fn error_text(text: &str) -> String {
    text.chars().take(ERROR_CHARS_MAX).collect()
}

/// As [`error_text`], for bytes that may be anything.
pub(super) fn error_bytes(bytes: &[u8]) -> String {
    error_text(&String::from_utf8_lossy(bytes))
}

/// A field's value is one of these words.
pub(super) fn is_one_of(raw: &str, allowed: &[&str]) -> bool {
    json::text(raw).is_some_and(|value| allowed.contains(&value.as_ref()))
}
