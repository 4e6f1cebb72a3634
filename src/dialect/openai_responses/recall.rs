//! References to what flyball itself answered with, replaced by that: `item_reference` and `previous_response_id`
//! (platform.openai.com/docs/api-reference/responses/create). What it does not know stays, for a provider that may.

use crate::dialect::body;
use crate::dialect::keep::Kept;
use crate::json::Edit;
use bytes::Bytes;
use serde_json::{Value, json};

/// The request with what it refers to in it; `None` where nothing changes.
pub(super) fn recall(body: &Bytes, known: &dyn Fn(&str) -> Option<Kept>) -> Option<Bytes> {
    let names = |word: &[u8]| memchr::memmem::find(body, word).is_some();
    if !names(b"\"item_reference\"") && !names(b"\"previous_response_id\"") {
        return None;
    }
    let fields = body::object(body, &[]).ok()?;
    let mut edits = Vec::new();
    let mut items = items(fields.some("input"))?;
    let mut changed = false;
    for item in &mut items {
        let kept = reference(item).and_then(known);
        let kept = kept.and_then(|kept| serde_json::from_str(&kept.said).ok());
        if let Some(kept) = kept {
            (*item, changed) = (kept, true);
        }
    }
    let before = fields.some("previous_response_id");
    let before: Option<String> = before.and_then(|raw| serde_json::from_str(raw).ok());
    if let Some(kept) = before.and_then(|id| known(&id)) {
        let asked = body::object(&kept.before, &[]).ok()?;
        let mut all = self::items(asked.some("input"))?;
        let said: Vec<Value> = serde_json::from_str(&kept.said).ok()?;
        all.extend(said);
        all.append(&mut items);
        (items, changed) = (all, true);
        edits.push(Edit::remove(&["previous_response_id"]));
    }
    if !changed {
        return None;
    }
    edits.push(Edit::set(&["input"], Value::Array(items).to_string()));
    fields.edited(&edits).map(Bytes::from)
}

/// `input`, whose short form is one message of the user.
fn items(raw: Option<&str>) -> Option<Vec<Value>> {
    match serde_json::from_str(raw.unwrap_or("[]")).ok()? {
        Value::String(text) => Some(vec![json!({"role": "user", "content": text})]),
        Value::Array(list) => Some(list),
        _ => None,
    }
}

/// The id of an item that stands for another one.
fn reference(item: &Value) -> Option<&str> {
    (item["type"] == "item_reference").then(|| item["id"].as_str())?
}
