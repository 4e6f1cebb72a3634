//! The editor of the client's bytes: what it writes must be what the same edits make of the parsed tree.

use flyball::json::{Change, Edit, Object};
use serde_json::{Map, Value};

/// The edits of which the first two bytes choose, one a bit.
fn edits(chosen: u16) -> Vec<Edit> {
    let all = [
        Edit::set_text(&["model"], "m\"\\\n"),
        Edit::remove(&["model"]),
        Edit::set(&["max_tokens"], "5"),
        Edit::remove(&["max_tokens"]),
        Edit::set(&["stream_options", "include_usage"], "true"),
        Edit::remove(&["stream_options", "include_usage"]),
        Edit::remove(&["stream_options"]),
        Edit::set(&["thinking", "budget_tokens"], "1024"),
        Edit::remove(&["thinking", "type"]),
        Edit::set(&["messages"], "[]"),
        Edit::remove(&["messages"]),
        Edit::remove(&["temperature"]),
        Edit::set(&["reasoning", "effort"], "\"high\""),
        Edit::set(&["generationConfig", "maxOutputTokens"], "9"),
        Edit::remove(&["tools"]),
        Edit::set(&["a"], "{\"b\":{\"c\":[1,2]}}"),
    ];
    let mut bit = 0;
    all.into_iter()
        .filter(|_| {
            bit += 1;
            chosen & (1 << (bit - 1)) != 0
        })
        .collect()
}

/// The same edit on a tree.
fn change(map: &mut Map<String, Value>, edit: &Edit) {
    let value = match &edit.change {
        Change::Set(json) => Some(serde_json::from_str(json).expect("edits hold JSON")),
        Change::Remove => None,
    };
    match (edit.path.as_slice(), value) {
        ([key], Some(value)) => drop(map.insert(key.clone(), value)),
        ([key], None) => drop(map.shift_remove(key)),
        ([outer, key], value) => {
            let there = matches!(map.get(outer), Some(Value::Object(_)));
            match (value, there) {
                (None, false) => {}
                (Some(value), false) => {
                    let inner = Map::from_iter([(key.clone(), value)]);
                    map.insert(outer.clone(), Value::Object(inner));
                }
                (value, true) => {
                    let Some(Value::Object(inner)) = map.get_mut(outer) else {
                        return;
                    };
                    match value {
                        Some(value) => drop(inner.insert(key.clone(), value)),
                        None => drop(inner.shift_remove(key)),
                    }
                }
            }
        }
        _ => unreachable!("edits reach one or two levels deep"),
    }
}

fn has_twins(text: &str) -> bool {
    let outer = Object::read_str(text).expect("it was read before");
    let inner = outer
        .iter()
        .filter_map(|(_, raw)| Object::read_str(raw).ok());
    outer.duplicate().is_some() || inner.into_iter().any(|o| o.duplicate().is_some())
}

/// The first two bytes choose edits, the rest is a body.
///
/// # Panics
/// When the edited text is not what the same edits make of the parsed tree, or a field that no edit names has changed.
pub fn edit(bytes: &[u8]) {
    let Some((chosen, body)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let edits = edits(u16::from_le_bytes(*chosen));
    let Ok(object) = Object::read(body) else {
        return;
    };
    let Some(text) = object.edited(&edits) else {
        return;
    };
    // A number that no tree can hold is no flaw of the editor.
    let Ok(Value::Object(mut tree)) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    if has_twins(object.text()) {
        return;
    }
    edits.iter().for_each(|edit| change(&mut tree, edit));
    let after: Value = serde_json::from_str(&text).expect("an edited object is JSON");
    assert_eq!(after, Value::Object(tree), "{text}");
    let read = Object::read_str(&text).expect("an edited object is an object");
    for (key, raw) in object.iter() {
        if edits.iter().all(|edit| edit.path[0] != key) {
            assert_eq!(read.get(key), Some(raw), "{key}");
        }
    }
}
