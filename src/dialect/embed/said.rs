//! A request for embeddings in no vendor's words, read from one shape and written in another.

use super::{Call, Request, Shape, found, text, wrong};
use crate::dialect::body;
use crate::error::Error;
use crate::json::Object;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Vectors longer than this do not exist.
const DIMENSIONS_MAX: u64 = 1 << 20;

/// What is to be embedded, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The texts, in order.
    pub texts: Vec<String>,
    /// How long the vectors are to be.
    pub dimensions: Option<u64>,
    /// The client wants the vectors as base64 of 32-bit floats.
    pub base64: bool,
    /// Fields that are let go: they change no vector.
    pub lost: Vec<String>,
}

pub(super) fn read(request: &Request<'_>) -> Result<Said, Error> {
    match request.call {
        Call::OpenAi => open_ai(&request.fields),
        Call::Ollama | Call::OllamaOld => ollama(request),
        Call::Gemini => {
            let mut said = Said::default();
            gemini(&request.fields, "", &mut said)?;
            Ok(said)
        }
        Call::GeminiBatch => gemini_batch(&request.fields),
    }
}

fn untranslatable(field: &str) -> Error {
    Error::bad_field(
        field,
        format!("The model's server speaks another dialect, in which \"{field}\" cannot be said."),
    )
    .code("flyball_untranslatable")
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

fn open_ai(fields: &Object<'_>) -> Result<Said, Error> {
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
    Ok(Said {
        texts: texts(fields.some("input").unwrap_or_default())?,
        dimensions: body::count(fields, "dimensions", 1..=DIMENSIONS_MAX)?,
        base64,
        lost,
    })
}

/// A text or a list of texts. Tokens mean nothing to a model of another family.
fn texts(raw: &str) -> Result<Vec<String>, Error> {
    if raw.starts_with('"') {
        return Ok(vec![text(raw, "input")?]);
    }
    let list: Vec<&RawValue> =
        serde_json::from_str(raw).map_err(|_| wrong("input", "a list of texts", found(raw)))?;
    let one = |one: &RawValue| match one.get().starts_with('"') {
        true => text(one.get(), "input"),
        false => Err(untranslatable("input")),
    };
    list.into_iter().map(one).collect()
}

fn ollama(request: &Request<'_>) -> Result<Said, Error> {
    let fields = &request.fields;
    let field = request.call.field();
    let known = ["model", field, "dimensions"];
    // Its server cuts what is too long and others refuse it, which nobody can mistake for an answer.
    let lost = only(fields, &known, &["truncate", "keep_alive", "options"])?;
    Ok(Said {
        texts: texts(fields.some(field).unwrap_or_default())?,
        dimensions: body::count(fields, "dimensions", 1..=DIMENSIONS_MAX)?,
        base64: false,
        lost,
    })
}

fn gemini_batch(fields: &Object<'_>) -> Result<Said, Error> {
    let mut said = Said {
        lost: only(fields, &["requests", "model"], &[])?,
        ..Said::default()
    };
    for (at, one) in body::list::<&RawValue>(fields, "requests")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let field = format!("requests[{at}]");
        let one = Object::read_str(one.get())
            .map_err(|_| wrong(&field, "an object", found(one.get())))?;
        gemini(&one, &format!("{field}."), &mut said)?;
    }
    Ok(said)
}

/// One text of Gemini's, whose parts make one vector together; all texts of a batch must want vectors of one length.
fn gemini(fields: &Object<'_>, before: &str, said: &mut Said) -> Result<(), Error> {
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
    let content: Value = serde_json::from_str(fields.some("content").unwrap_or("null"))
        .map_err(|_| untranslatable(&field))?;
    let parts = content["parts"].as_array().map_or(&[][..], Vec::as_slice);
    let words = |part: &Value| match part.as_object() {
        Some(only) if only.len() == 1 => only.get("text")?.as_str().map(str::to_owned),
        _ => None,
    };
    let words: Option<Vec<String>> = parts.iter().map(words).collect();
    let words = words.filter(|all| !all.is_empty());
    said.texts
        .push(words.ok_or_else(|| untranslatable(&field))?.join("\n"));
    Ok(())
}

/// The request in this shape: the call and its body.
#[must_use]
pub fn write(said: &Said, shape: Shape, model: &str) -> (Call, String) {
    let mut body = match shape {
        Shape::OpenAi => json!({"model": model, "input": said.texts, "encoding_format": "float"}),
        // What is too long is refused, as everywhere else, and not cut in silence.
        Shape::Ollama => json!({"model": model, "input": said.texts, "truncate": false}),
        Shape::Gemini => return (Call::GeminiBatch, batch(said, model)),
    };
    if let Some(length) = said.dimensions {
        body["dimensions"] = length.into();
    }
    let call = match shape {
        Shape::OpenAi => Call::OpenAi,
        _ => Call::Ollama,
    };
    (call, body.to_string())
}

fn batch(said: &Said, model: &str) -> String {
    let one = |text: &String| {
        let mut one =
            json!({"model": format!("models/{model}"), "content": {"parts": [{"text": text}]}});
        if let Some(length) = said.dimensions {
            one["outputDimensionality"] = length.into();
        }
        one
    };
    let requests: Vec<Value> = said.texts.iter().map(one).collect();
    json!({ "requests": requests }).to_string()
}
