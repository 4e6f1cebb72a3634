//! Sealed reasoning in a request that stays in its dialect: what travelled here from another one gets its
//! own form back or goes, and what another model made goes.

use super::carry::{self, MARK, REDACTED};
use aho_corasick::AhoCorasick;
use memchr::memmem::Finder;
use serde_json::Value;
use std::sync::LazyLock;

/// The mark in base64, as Gemini's clients send it.
const MARK_BASE64: &str = "Zmx5YmFsbDEu";

/// Who will read the request, and who made what.
pub struct Reader<'a> {
    /// The model that is told the request.
    pub model: &'a str,
    /// The model that made a signature, as far as it is remembered. Asked for unmarked ones only.
    pub maker: &'a dyn Fn(&str) -> Option<String>,
}

/// What becomes of a signature.
enum Fate {
    Stays,
    /// It gets this form back.
    Becomes(String),
    Goes,
}

impl Reader<'_> {
    fn fate(&self, dialect: &str, text: &str) -> Fate {
        if !text.starts_with(MARK) {
            return match (self.maker)(text) {
                Some(maker) if !carry::is_same(&maker, self.model) => Fate::Goes,
                _ => Fate::Stays,
            };
        }
        let state = carry::unpack(text, dialect);
        match carry::fits(Some(&state), dialect, self.model) {
            Some(value) => Fate::Becomes(value.to_owned()),
            None => Fate::Goes,
        }
    }
}

/// What came from another dialect has one of these in it.
const MARKED: [&str; 2] = [MARK, MARK_BASE64];
/// Fields in which dialects carry sealed reasoning of their own.
const NATIVE: [&str; 5] = [
    "\"signature\"",
    "\"redacted_thinking\"",
    "\"encrypted_content\"",
    "\"thoughtSignature\"",
    "\"thought_signature\"",
];

/// Whether a body can hold anything of this kind at all; `marked` asks only for what came from another dialect.
#[must_use]
pub fn may_hold(body: &str, marked: bool) -> bool {
    static MARKS: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| MARKED.map(Finder::new));
    static OWN: LazyLock<AhoCorasick> =
        LazyLock::new(|| AhoCorasick::new(NATIVE).expect("a few short texts"));
    let holds = |mark: &Finder<'_>| mark.find(body.as_bytes()).is_some();
    MARKS.iter().any(holds) || (!marked && OWN.is_match(body))
}

/// What a remembered signature is known by, whatever stands around it.
#[must_use]
pub fn key(state: &crate::chat::conversation::State) -> Option<String> {
    match state.dialect.as_str() {
        "anthropic_messages" => {
            let value = state.value.as_str();
            Some(value.strip_prefix(REDACTED).unwrap_or(value).to_owned())
        }
        "gemini" => Some(state.value.clone()),
        "openai_responses" => {
            let item: Value = serde_json::from_str(&state.value).ok()?;
            item["encrypted_content"].as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// Anthropic's `messages`.
pub(super) fn anthropic(messages: &mut Vec<Value>, reader: &Reader<'_>) {
    for message in messages.iter_mut() {
        let Some(blocks) = list(message, "content") else {
            continue;
        };
        blocks.retain_mut(|block| {
            if let Some(citations) = list(block, "citations") {
                citations.retain(|c| {
                    c["encrypted_index"]
                        .as_str()
                        .is_none_or(|i| !i.starts_with(MARK))
                });
            }
            let field = match block["type"].as_str() {
                Some("thinking") => "signature",
                Some("redacted_thinking") => "data",
                _ => return true,
            };
            let Some(text) = block[field].as_str() else {
                return true;
            };
            match reader.fate("anthropic_messages", text) {
                Fate::Stays => true,
                Fate::Goes => false,
                Fate::Becomes(value) => {
                    match value.strip_prefix(REDACTED) {
                        Some(data) => {
                            *block = serde_json::json!({"type": "redacted_thinking", "data": data})
                        }
                        None => block[field] = value.into(),
                    }
                    true
                }
            }
        });
    }
    messages.retain(|m| {
        m["content"]
            .as_array()
            .is_none_or(|blocks| !blocks.is_empty())
    });
}

/// Chat Completions' `messages`.
pub(super) fn openai_chat(messages: &mut [Value], reader: &Reader<'_>) {
    for message in messages {
        if let Some(details) = list(message, "reasoning_details") {
            let mut kept = Vec::new();
            for detail in std::mem::take(details) {
                let marked = detail["data"].as_str().filter(|d| d.starts_with(MARK));
                match marked.map(|text| reader.fate("openai_chat", text)) {
                    None | Some(Fate::Stays) => kept.push(detail),
                    Some(Fate::Becomes(json)) => {
                        if let Ok(Value::Array(list)) = serde_json::from_str(&json) {
                            kept.extend(list);
                        }
                    }
                    Some(Fate::Goes) => {}
                }
            }
            match kept.is_empty() {
                false => message["reasoning_details"] = kept.into(),
                // Its words are another model's as well.
                true => forget(message, &["reasoning_details", "reasoning_content"]),
            }
        }
        for call in list(message, "tool_calls").into_iter().flatten() {
            let text = call
                .pointer("/extra_content/google/thought_signature")
                .and_then(Value::as_str);
            match text
                .filter(|t| t.starts_with(MARK))
                .map(|t| reader.fate("openai_chat", t))
            {
                None | Some(Fate::Stays) => {}
                Some(Fate::Becomes(json)) => {
                    call["extra_content"] = serde_json::from_str(&json).unwrap_or_default();
                }
                Some(Fate::Goes) => forget(call, &["extra_content"]),
            }
        }
    }
}

fn list<'v>(object: &'v mut Value, key: &str) -> Option<&'v mut Vec<Value>> {
    object.get_mut(key)?.as_array_mut()
}

fn forget(object: &mut Value, keys: &[&str]) {
    if let Some(map) = object.as_object_mut() {
        for key in keys {
            map.shift_remove(*key);
        }
    }
}

/// Gemini's `contents`.
pub(super) fn gemini(contents: &mut [Value], reader: &Reader<'_>) {
    use base64::Engine;
    for content in contents {
        for part in list(content, "parts").into_iter().flatten() {
            for key in ["thoughtSignature", "thought_signature"] {
                let Some(text) = part[key].as_str() else {
                    continue;
                };
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok();
                let packed = bytes.and_then(|b| String::from_utf8(b).ok());
                let packed = packed.filter(|t| t.starts_with(MARK));
                match reader.fate("gemini", packed.as_deref().unwrap_or(text)) {
                    Fate::Stays => {}
                    Fate::Becomes(value) => part[key] = value.into(),
                    Fate::Goes => forget(part, &[key]),
                }
            }
        }
    }
}

/// Responses' `input`.
pub(super) fn openai_responses(items: &mut Vec<Value>, reader: &Reader<'_>) {
    items.retain_mut(|item| {
        if item["type"] != "reasoning" {
            return true;
        }
        let Some(text) = item["encrypted_content"].as_str() else {
            return true;
        };
        match reader.fate("openai_responses", text) {
            Fate::Stays => true,
            Fate::Goes => false,
            Fate::Becomes(json) => {
                *item = serde_json::from_str(&json).unwrap_or_default();
                item.is_object()
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reader<'a>(model: &'a str) -> Reader<'a> {
        Reader {
            model,
            maker: &|text| (text == "a's").then(|| "a".to_owned()),
        }
    }

    #[test]
    fn what_another_model_made_goes_and_the_rest_stays_or_gets_its_form_back() {
        let blocks = |signature: &str| {
            vec![
                json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": signature}, {"type": "text", "text": "x"}]}),
            ]
        };
        for (signature, model, expected) in [
            ("a's", "a", Some("a's")),
            ("a's", "b", None),
            ("unknown", "b", Some("unknown")),
            ("flyball1.anthropic_messages.b.own", "b", Some("own")),
            ("flyball1.anthropic_messages.c.own", "b", None),
            ("flyball1.gemini.b.own", "b", None),
        ] {
            let mut messages = blocks(signature);
            anthropic(&mut messages, &reader(model));
            let first = &messages[0]["content"][0];
            assert_eq!(
                first["signature"].as_str(),
                expected,
                "{signature} for {model}"
            );
        }
        let ours =
            json!({"type": "web_search_result_location", "url": "u", "encrypted_index": MARK});
        let own =
            json!({"type": "web_search_result_location", "url": "u", "encrypted_index": "Eo8"});
        let cited = |list: serde_json::Value| {
            vec![
                json!({"role": "assistant", "content": [{"type": "text", "text": "x", "citations": list}]}),
            ]
        };
        let mut messages = cited(json!([ours, own]));
        assert!(may_hold(
            &serde_json::Value::from(messages.clone()).to_string(),
            true
        ));
        anthropic(&mut messages, &reader("b"));
        assert_eq!(messages, cited(json!([own])));
        let mut parts =
            vec![json!({"parts": [{"text": "x", "thoughtSignature": "a's"}, {"text": "y"}]})];
        gemini(&mut parts, &reader("b"));
        assert_eq!(parts, [json!({"parts": [{"text": "x"}, {"text": "y"}]})]);
        let mut items = vec![
            json!({"type": "reasoning", "encrypted_content": "a's"}),
            json!({"role": "user"}),
        ];
        openai_responses(&mut items, &reader("b"));
        assert_eq!(items, [json!({"role": "user"})]);
        let mut messages = vec![
            json!({"role": "assistant", "reasoning_content": "hm", "reasoning_details": [{"data": "flyball1.gemini.g.x"}],
            "tool_calls": [{"id": "c", "extra_content": {"google": {"thought_signature": "flyball1.gemini.g.x"}}}]}),
        ];
        openai_chat(&mut messages, &reader("b"));
        assert_eq!(
            messages,
            [json!({"role": "assistant", "tool_calls": [{"id": "c"}]})]
        );
    }
}
