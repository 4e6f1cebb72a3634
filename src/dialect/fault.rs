//! What a provider's error body says, in whichever shape: `error` as an object or a text, `detail` or
//! `message` in its place, a list around it.

use super::body::error_text;
use serde_json::Value;

/// The sentence of an error body; a body without one is told as it is, cut to a length.
#[must_use]
pub fn said(body: &[u8]) -> String {
    let found = serde_json::from_slice::<Value>(body).ok();
    let found = found.as_ref().and_then(sentence);
    match found {
        Some(text) => error_text(text),
        None => match String::from_utf8_lossy(body).trim() {
            "" => "the model's server reported an error without words".to_owned(),
            text => error_text(text),
        },
    }
}

fn sentence(value: &Value) -> Option<&str> {
    // Gemini wraps an error of a stream in a list.
    let value = value
        .as_array()
        .and_then(|list| list.first())
        .unwrap_or(value);
    let places = [
        "/error/message",
        "/error",
        "/detail",
        "/message",
        "/detail/0/msg",
        "/error/type",
    ];
    let mut texts = places.iter().filter_map(|at| value.pointer(at)?.as_str());
    texts.find(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_is_found_in_every_vendors_shape() {
        for (body, expected) in [
            (r#"{"error":{"message":"m","code":400}}"#, "m"),
            (
                r#"{"type":"error","error":{"type":"t","message":"m"}}"#,
                "m",
            ),
            (r#"{"code":"c","error":"m"}"#, "m"),
            (r#"{"detail":"m"}"#, "m"),
            (r#"{"detail":[{"loc":[],"msg":"m"}]}"#, "m"),
            (r#"{"id":1,"message":"m"}"#, "m"),
            (
                r#"[{"error":{"code":400,"message":"m","status":"X"}}]"#,
                "m",
            ),
            (r#"{"error":{"type":"t"}}"#, "t"),
            ("<html>", "<html>"),
            ("", "the model's server reported an error without words"),
        ] {
            assert_eq!(said(body.as_bytes()), expected, "{body}");
        }
    }
}
