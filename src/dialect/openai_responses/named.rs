//! Tools that only Responses has, as functions for a model of another dialect: those in a namespace
//! (developers.openai.com/api/docs/guides/function-calling, Defining namespaces) get a name that holds both, those that take words alone
//! (`custom`) an argument for them. What such a model calls is called by the client's own name again in the answer.

use crate::dialect::bend::SEARCH;
use crate::dialect::{Renamed, Request};
use serde_json::{Value, json};

/// The longest name of a tool that every vendor takes.
const NAME_MAX: usize = 64;

/// The argument of a tool that takes words alone.
pub(super) const WORDS: &str = "input";

/// The name of a tool for a model of another dialect. One that is too long ends in a number of its own.
pub(super) fn told(namespace: Option<&str>, name: &str) -> String {
    let Some(namespace) = namespace else {
        return name.to_owned();
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let both = format!("{namespace}__{name}");
    let both: String = both
        .chars()
        .map(|c| if fits(c) { c } else { '_' })
        .collect();
    if both.len() <= NAME_MAX {
        return both;
    }
    // FNV-1a: the same in every process, so that a conversation may go on after a restart.
    let number = format!("{namespace}\n{name}")
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    format!("{}_{number:08x}", &both[..NAME_MAX - 9])
}

/// The tools of a request that have another name, or are called in another way.
pub(super) fn renamed(request: &Request<'_>) -> Vec<Renamed> {
    let values = |key: &str| -> Vec<Value> {
        let raw = request.fields.some(key);
        raw.and_then(|raw| serde_json::from_str(raw).ok())
            .unwrap_or_default()
    };
    let mut tools = values("tools");
    if memchr::memmem::find(request.fields.text().as_bytes(), b"\"additional_tools\"").is_some() {
        for item in values("input") {
            if item["type"] == "additional_tools" {
                tools.extend(item["tools"].as_array().into_iter().flatten().cloned());
            }
        }
    }
    let mut list = Vec::new();
    for tool in &tools {
        match tool["type"].as_str() {
            Some("namespace") => {
                for inner in tool["tools"].as_array().into_iter().flatten() {
                    list.extend(one(inner, tool["name"].as_str()));
                }
            }
            Some("custom") => list.extend(one(tool, None)),
            _ => {}
        }
    }
    list
}

fn one(tool: &Value, namespace: Option<&str>) -> Option<Renamed> {
    let name = tool["name"].as_str()?;
    Some(Renamed {
        told: told(namespace, name),
        name: name.to_owned(),
        namespace: namespace.map(str::to_owned),
        free: tool["type"] == "custom",
    })
}

/// What a tool is let go as that the vendor runs and agents offer without being asked: a search of the web, and pictures
/// (developers.openai.com/api/docs/guides/tools-web-search, tools-image-generation).
pub(super) fn hosted(tool: &Value) -> Option<&'static str> {
    match tool["type"].as_str()? {
        "image_generation" => Some("tools.image_generation"),
        kind if kind == "web_search" || kind.starts_with("web_search_") => Some(SEARCH),
        _ => None,
    }
}

/// The arguments of a tool that takes words alone.
pub(super) fn words_schema() -> Value {
    json!({"type": "object", "properties": {WORDS: {"type": "string"}}, "required": [WORDS], "additionalProperties": false})
}

/// The words in the arguments of such a call; a model that did not keep to the schema has said them all the same.
pub(super) fn words_of(arguments: &str) -> String {
    let read: Option<Value> = serde_json::from_str(arguments).ok();
    match read.as_ref().and_then(|object| object[WORDS].as_str()) {
        Some(words) => words.to_owned(),
        None => arguments.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_both_and_never_more_than_every_vendor_takes() {
        assert_eq!(told(None, "f"), "f");
        assert_eq!(told(Some("agents"), "close_agent"), "agents__close_agent");
        assert_eq!(told(Some("a.b c"), "f"), "a_b_c__f");
        let (one, other) = (
            told(Some(&"n".repeat(70)), "f"),
            told(Some(&"n".repeat(70)), "g"),
        );
        assert_eq!((one.len(), other.len()), (NAME_MAX, NAME_MAX));
        assert_ne!(one, other);
        assert_eq!(words_of("{\"input\":\"ls\"}"), "ls");
        assert_eq!(words_of("ls"), "ls");
    }
}
