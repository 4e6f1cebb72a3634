//! A request for embeddings in no vendor's words, read from one shape and written in another.

use super::{Call, Request, Shape, found, text, wrong};
use crate::dialect::body;
use crate::error::Error;
use crate::json::{self, Object};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Vectors longer than this do not exist.
const DIMENSIONS_MAX: u64 = 1 << 20;

/// The most texts of one request that are translated: OpenAI's own limit. A text may be one byte here and fifty there.
pub(super) const TEXTS_MAX: usize = 2048;

/// What is to be embedded, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmbeddingAsk {
    /// The texts, in order.
    pub texts: Vec<String>,
    /// How long the vectors are to be.
    pub dimensions: Option<u64>,
    /// The client wants the vectors as base64 of 32-bit floats.
    pub base64: bool,
    /// Fields that are let go: they change no vector.
    pub lost: Vec<String>,
}

/// Reads a request of up to `most` texts.
pub(super) fn read(request: &Request<'_>, most: usize) -> Result<EmbeddingAsk, Error> {
    match request.call {
        Call::OpenAi => open_ai(&request.fields, most),
        Call::Ollama | Call::OllamaOld => ollama(request, most),
        Call::Gemini => {
            let mut said = EmbeddingAsk::default();
            gemini(&request.fields, "", &mut said)?;
            Ok(said)
        }
        Call::GeminiBatch => gemini_batch(&request.fields, most),
    }
}

fn untranslatable(field: &str) -> Error {
    Error::bad_field(
        field,
        format!("The model's server speaks another dialect, in which \"{field}\" cannot be said."),
    )
    .code("flyball_untranslatable")
}

fn few(field: &str, found: usize, most: usize) -> Result<(), Error> {
    let expected =
        format!("a list of at most {most} texts where the model's server speaks another dialect");
    match found > most {
        true => Err(wrong(field, &expected, &found.to_string())),
        false => Ok(()),
    }
}

/// What is there and neither known nor harmless is refused by name.
fn only(fields: &Object<'_>, known: &[&str], harmless: &[&str]) -> Result<Vec<String>, Error> {
    let mut lost = Vec::new();
    for (key, raw) in fields.iter().filter(|(_, raw)| *raw != "null") {
        if known.contains(&key) {
            continue;
        }
        if !harmless.contains(&key) && !matches!(raw, "{}" | "[]" | "\"\"") {
            return Err(untranslatable(&body::shown(key)));
        }
        lost.push(key.to_owned());
    }
    Ok(lost)
}

fn open_ai(fields: &Object<'_>, most: usize) -> Result<EmbeddingAsk, Error> {
    let known = ["model", "input", "dimensions", "encoding_format"];
    let lost = only(fields, &known, &["user"])?;
    let base64 = match fields.some("encoding_format") {
        None | Some("\"float\"") => false,
        Some("\"base64\"") => true,
        Some(raw) => {
            return Err(wrong(
                "encoding_format",
                "\"float\" or \"base64\"",
                found(raw),
            ));
        }
    };
    Ok(EmbeddingAsk {
        texts: texts(fields.some("input").unwrap_or_default(), most)?,
        dimensions: body::count(fields, "dimensions", 1..=DIMENSIONS_MAX)?,
        base64,
        lost,
    })
}

/// A text or a list of texts. Tokens mean nothing to a model of another family.
fn texts(raw: &str, most: usize) -> Result<Vec<String>, Error> {
    if raw.starts_with('"') {
        return Ok(vec![text(raw, "input")?]);
    }
    let list: Vec<&RawValue> =
        serde_json::from_str(raw).map_err(|_| wrong("input", "a list of texts", found(raw)))?;
    few("input", list.len(), most)?;
    let one = |one: &RawValue| match one.get().starts_with('"') {
        true => text(one.get(), "input"),
        false => Err(untranslatable("input")),
    };
    list.into_iter().map(one).collect()
}

fn ollama(request: &Request<'_>, most: usize) -> Result<EmbeddingAsk, Error> {
    let fields = &request.fields;
    let field = request.call.field();
    let known = ["model", field, "dimensions"];
    // Its server cuts what is too long and others refuse it, which nobody can mistake for an answer.
    let lost = only(fields, &known, &["truncate", "keep_alive", "options"])?;
    Ok(EmbeddingAsk {
        texts: texts(fields.some(field).unwrap_or_default(), most)?,
        dimensions: body::count(fields, "dimensions", 1..=DIMENSIONS_MAX)?,
        base64: false,
        lost,
    })
}

fn gemini_batch(fields: &Object<'_>, most: usize) -> Result<EmbeddingAsk, Error> {
    let mut said = EmbeddingAsk {
        lost: only(fields, &["requests", "model"], &[])?,
        ..EmbeddingAsk::default()
    };
    let requests: Vec<&RawValue> = body::list(fields, "requests")?.unwrap_or_default();
    few("requests", requests.len(), most)?;
    for (at, one) in requests.into_iter().enumerate() {
        let field = format!("requests[{at}]");
        let one = Object::read_str(one.get())
            .map_err(|_| wrong(&field, "an object", found(one.get())))?;
        gemini(&one, &format!("{field}."), &mut said)?;
    }
    Ok(said)
}

/// One text of Gemini's, whose parts make one vector together; all texts of a batch must want vectors of one length.
fn gemini(fields: &Object<'_>, before: &str, said: &mut EmbeddingAsk) -> Result<(), Error> {
    let known = [
        "model",
        "content",
        "outputDimensionality",
        "output_dimensionality",
    ];
    only(fields, &known, &[])?;
    let length = body::count(fields, "outputDimensionality", 1..=DIMENSIONS_MAX)?;
    let length = length.or(body::count(
        fields,
        "output_dimensionality",
        1..=DIMENSIONS_MAX,
    )?);
    if !said.texts.is_empty() && said.dimensions != length {
        return Err(untranslatable(&format!("{before}outputDimensionality")));
    }
    said.dimensions = length;
    let field = format!("{before}content");
    let words = fields.some("content").and_then(words);
    let words = words.filter(|all| !all.is_empty());
    said.texts
        .push(words.ok_or_else(|| untranslatable(&field))?.join("\n"));
    Ok(())
}

/// The texts of a content of Gemini's; `None` where it holds anything else, whatever that may be.
pub(super) fn words(content: &str) -> Option<Vec<Cow<'_, str>>> {
    let content = Object::read_str(content).ok()?;
    let known = |(key, _)| matches!(key, "parts" | "role");
    if content.duplicate().is_some() || !content.iter().all(known) {
        return None;
    }
    let parts: Vec<&RawValue> = match content.some("parts") {
        Some(raw) => serde_json::from_str(raw).ok()?,
        None => Vec::new(),
    };
    parts.into_iter().map(|part| word(part.get())).collect()
}

fn word(part: &str) -> Option<Cow<'_, str>> {
    let part = Object::read_str(part).ok()?;
    let mut fields = part.iter();
    match (fields.next(), fields.next()) {
        (Some(("text", raw)), None) => json::text(raw),
        _ => None,
    }
}

/// The request in this shape: the call and its body, written in one go.
#[must_use]
pub fn write(said: &EmbeddingAsk, shape: Shape, model: &str) -> (Call, String) {
    let dimensions = said.dimensions;
    let (call, body) = match shape {
        Shape::OpenAi | Shape::Ollama => {
            let open = shape == Shape::OpenAi;
            let flat = Flat {
                model,
                input: &said.texts,
                dimensions,
                encoding_format: open.then_some("float"),
                // What is too long is refused, as everywhere else, and not cut in silence.
                truncate: (!open).then_some(false),
            };
            let call = if open { Call::OpenAi } else { Call::Ollama };
            (call, serde_json::to_string(&flat))
        }
        Shape::Gemini => {
            let model = &format!("models/{model}");
            let requests = Requests { said, model };
            (
                Call::GeminiBatch,
                serde_json::to_string(&Batch { requests }),
            )
        }
    };
    (call, body.expect("texts and numbers are JSON"))
}

/// OpenAI's body, and Ollama's.
#[derive(Serialize)]
struct Flat<'a> {
    model: &'a str,
    input: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_format: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<bool>,
}

/// Gemini's body.
#[derive(Serialize)]
struct Batch<'a> {
    requests: Requests<'a>,
}

struct Requests<'a> {
    said: &'a EmbeddingAsk,
    model: &'a str,
}

impl Serialize for Requests<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(self.said.texts.iter().map(|text| GeminiRequest {
            model: self.model,
            content: GeminiText {
                parts: [GeminiWord { text }],
            },
            length: self.said.dimensions,
        }))
    }
}

#[derive(Serialize)]
struct GeminiRequest<'a> {
    model: &'a str,
    content: GeminiText<'a>,
    #[serde(
        rename = "outputDimensionality",
        skip_serializing_if = "Option::is_none"
    )]
    length: Option<u64>,
}

#[derive(Serialize)]
struct GeminiText<'a> {
    parts: [GeminiWord<'a>; 1],
}

#[derive(Serialize)]
struct GeminiWord<'a> {
    text: &'a str,
}
