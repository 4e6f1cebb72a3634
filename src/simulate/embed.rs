//! Embeddings of no model: a vector of length one that follows from the text alone, in OpenAI's shape.

use super::ask::{Refusal, bad, object, whole};
use super::words::{Dice, tokens};
use crate::provider::simulated::EMBEDDER;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// As long as a vector is where a request does not say.
const LENGTH: u64 = 16;
/// OpenAI's longest.
const LENGTH_MAX: u64 = 3_072;
/// OpenAI takes no more texts at once.
const TEXTS_MAX: usize = 2_048;

/// Answers the body of `POST /v1/embeddings`.
///
/// # Errors
/// 400 for what a vendor would not accept, 404 for an unknown model.
pub(super) fn embedded(seed: u64, body: &[u8]) -> Result<String, Refusal> {
    let body = object(body)?;
    if body["model"] != EMBEDDER {
        return Err(Refusal {
            code: Some("model_not_found"),
            field: Some("model"),
            ..Refusal::new(404, "not_found_error", "there is no such model here")
        });
    }
    let length = whole(&body, "dimensions", 1)?.unwrap_or(LENGTH);
    if length > LENGTH_MAX {
        return Err(bad("dimensions", format!("at most {LENGTH_MAX}")));
    }
    let packed = match body.get("encoding_format").and_then(Value::as_str) {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(bad("encoding_format", "float or base64")),
    };
    let texts = texts(&body)?;
    let data = texts.iter().enumerate().map(|(index, text)| {
        let vector = vector(seed, text, length);
        let embedding = match packed {
            // By way of its text: 0.1 as a double would be 0.10000000149.
            false => json!(vector.iter().map(number).collect::<Vec<_>>()),
            true => {
                let bytes: Vec<u8> = vector.iter().flat_map(|f| f.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            }
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let data: Vec<Value> = data.collect();
    // As everywhere here, a text without a word is a token all the same.
    let used: u64 = texts.iter().map(|text| tokens(text).max(1)).sum();
    let usage = json!({"prompt_tokens": used, "total_tokens": used});
    Ok(json!({"object": "list", "data": data, "model": EMBEDDER, "usage": usage}).to_string())
}

fn number(f: &f32) -> Value {
    serde_json::from_str(&f.to_string()).unwrap_or_default()
}

fn texts(body: &Value) -> Result<Vec<String>, Refusal> {
    let wrong = || bad("input", "a text, or a list of at most 2048 texts or tokens");
    let list = match &body["input"] {
        Value::String(text) => return Ok(vec![text.clone()]),
        Value::Array(list) if !list.is_empty() && list.len() <= TEXTS_MAX => list,
        _ => return Err(wrong()),
    };
    // One text as tokens.
    if list.iter().all(Value::is_u64) {
        return Ok(vec![body["input"].to_string()]);
    }
    let one = |one: &Value| match one {
        Value::String(text) => Ok(text.clone()),
        Value::Array(tokens) if tokens.iter().all(Value::is_u64) => Ok(one.to_string()),
        _ => Err(wrong()),
    };
    list.iter().map(one).collect()
}

fn vector(seed: u64, text: &str, length: u64) -> Vec<f32> {
    let mut dice = Dice::new(seed, &["embed", text]);
    let mut roll = || {
        let part = u16::try_from(dice.between(0, 2_000)).expect("at most 2000");
        f32::from(part) / 1_000.0 - 1.0
    };
    let mut vector: Vec<f32> = (0..length).map(|_| roll()).collect();
    let norm = vector.iter().map(|f| f * f).sum::<f32>().sqrt();
    if norm > 0.0 {
        vector.iter_mut().for_each(|f| *f /= norm);
    }
    vector
}
