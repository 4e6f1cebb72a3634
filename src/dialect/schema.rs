//! JSON schemas as vendors differ about them: what a schema must say in full, and which keywords one refuses that another takes.

use crate::takes::Strict;
use serde_json::{Map, Value, json};

/// Keywords that hold schemas by name.
const BY_NAME: [&str; 5] = [
    "properties",
    "$defs",
    "definitions",
    "patternProperties",
    "dependentSchemas",
];

/// Keywords that hold one schema, or a list of them.
const INNER: [&str; 13] = [
    "items",
    "additionalProperties",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "anyOf",
    "allOf",
    "oneOf",
    "prefixItems",
    "unevaluatedProperties",
];

/// Every schema that stands directly in this one.
fn inner(schema: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let named = BY_NAME
        .iter()
        .filter_map(|key| schema.get(*key)?.as_object());
    let plain = INNER.iter().filter_map(|key| schema.get(*key));
    let plain = plain.flat_map(|value| match value {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    });
    named.flat_map(Map::values).chain(plain)
}

/// Changes every schema that stands directly in this one.
fn each_inner(schema: &mut Map<String, Value>, change: &mut dyn FnMut(&mut Value)) {
    for (key, value) in schema.iter_mut() {
        match value {
            Value::Object(named) if BY_NAME.contains(&key.as_str()) => {
                named.values_mut().for_each(&mut *change);
            }
            Value::Array(list) if INNER.contains(&key.as_str()) => {
                list.iter_mut().for_each(&mut *change);
            }
            one if INNER.contains(&key.as_str()) => change(one),
            _ => {}
        }
    }
}

fn is_of(schema: &Map<String, Value>, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(own)) => own == kind,
        Some(Value::Array(kinds)) => kinds.iter().any(|own| own == kind),
        _ => false,
    }
}

/// Says in full what silence says as well: that arguments are an object, that an object has properties and an array items.
pub(super) fn complete(schema: &mut Value) {
    if let Some(map) = schema.as_object_mut() {
        if map.get("type").is_none_or(Value::is_null) && !map.contains_key("$ref") {
            map.insert("type".into(), "object".into());
        }
        fill(schema);
    }
}

fn fill(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    if is_of(map, "object") && !map.get("properties").is_some_and(Value::is_object) {
        map.insert("properties".into(), json!({}));
    }
    if is_of(map, "array") && !map.contains_key("items") && !map.contains_key("prefixItems") {
        map.insert("items".into(), json!({}));
    }
    each_inner(map, &mut fill);
}

/// Whether a schema can be followed exactly; its objects are closed for that where they say nothing of other properties, as no
/// exact answer has any.
pub(super) fn can_be_strict(schema: &mut Value, rule: &Strict) -> bool {
    let mut closed = schema.clone();
    if rule.closed {
        close(&mut closed);
    }
    let can = flaw(&closed, rule).is_none();
    if can {
        *schema = closed;
    }
    can
}

fn close(schema: &mut Value) {
    if let Some(map) = schema.as_object_mut() {
        if is_of(map, "object") {
            map.entry("additionalProperties").or_insert(false.into());
        }
        each_inner(map, &mut close);
    }
}

/// What keeps this schema from being followed exactly.
pub(super) fn flaw(schema: &Value, rule: &Strict) -> Option<String> {
    let map = schema.as_object()?;
    if let Some(keyword) = refused(map, rule).next() {
        return Some(keyword.to_owned());
    }
    if is_of(map, "object") {
        let required = map.get("required").and_then(Value::as_array);
        let has = |key: &String| required.is_some_and(|list| list.iter().any(|own| own == key));
        let properties = map.get("properties").and_then(Value::as_object);
        if rule.all_required && !properties.is_some_and(|all| all.keys().all(has)) {
            return Some("required".into());
        }
        if rule.closed && map.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Some("additionalProperties".into());
        }
    }
    inner(map).find_map(|one| flaw(one, rule))
}

/// The keywords of this one schema that are refused.
fn refused<'s>(map: &'s Map<String, Value>, rule: &'s Strict) -> impl Iterator<Item = &'s str> {
    map.iter().filter_map(|(key, value)| {
        let large = |most: &u64| value.as_u64().is_some_and(|n| n > *most);
        let unknown = key == "format"
            && !value
                .as_str()
                .is_some_and(|own| rule.formats.iter().any(|f| f == own));
        let refused = rule.refuses.iter().any(|own| own == key)
            || rule.at_most.get(key).is_some_and(large)
            || unknown;
        refused.then_some(key.as_str())
    })
}

/// Takes out the keywords that are refused and says each in the description, which a model reads as well; gives their names.
pub(super) fn describe(schema: &mut Value, rule: &Strict) -> Vec<String> {
    let Some(map) = schema.as_object_mut() else {
        return Vec::new();
    };
    let mut gone: Vec<String> = refused(map, rule).map(str::to_owned).collect();
    let said: Vec<String> = gone
        .iter()
        .filter_map(|key| Some(format!("{key}: {}", map.shift_remove(key)?)))
        .collect();
    if !said.is_empty() {
        let own = map.get("description").and_then(Value::as_str);
        let said = format!("({})", said.join(", "));
        let text = own.map_or(said.clone(), |own| format!("{own} {said}"));
        map.insert("description".into(), text.into());
    }
    // An object that says what else it may hold: this cannot be promised, nor left open.
    let open = map
        .get("additionalProperties")
        .is_some_and(|other| *other != false);
    if rule.closed && open && is_of(map, "object") {
        map.insert("additionalProperties".into(), false.into());
        gone.push("additionalProperties".into());
    }
    each_inner(map, &mut |one| gone.extend(describe(one, rule)));
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::takes::Takes;

    #[test]
    fn a_property_that_is_called_like_a_keyword_is_none() {
        let openai = Takes::of("openai", "gpt-4.1").strict.expect("a rule");
        let schema = json!({"type": "object", "properties": {"not": {"type": "string"}, "format": {"type": "string", "enum": ["not"]}},
            "required": ["not", "format"], "additionalProperties": false});
        assert_eq!(flaw(&schema, openai), None);
        for (key, value, wrong) in [
            ("required", json!(["not"]), "required"),
            ("additionalProperties", json!(true), "additionalProperties"),
            ("allOf", json!([{}]), "allOf"),
        ] {
            let mut other = schema.clone();
            other[key] = value;
            assert_eq!(flaw(&other, openai).as_deref(), Some(wrong));
        }
        let deep = json!({"type": "array", "items": {"type": "string", "format": "uri"}});
        assert_eq!(flaw(&deep, openai).as_deref(), Some("format"));
    }

    #[test]
    fn what_cannot_be_promised_is_described() {
        let anthropic = Takes::of("anthropic", "claude-sonnet-5")
            .strict
            .expect("a rule");
        let mut schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "description": "Age"},
            "l": {"type": "array", "minItems": 1, "items": {"type": "string", "maxLength": 3, "format": "uri"}}}, "additionalProperties": false});
        assert_eq!(describe(&mut schema, anthropic), ["minimum", "maxLength"]);
        assert_eq!(
            schema,
            json!({"type": "object", "properties": {"n": {"type": "integer", "description": "Age (minimum: 1)"},
                "l": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "uri", "description": "(maxLength: 3)"}}}, "additionalProperties": false})
        );
        assert!(describe(&mut schema, anthropic).is_empty());
    }

    #[test]
    fn silence_is_said_in_full() {
        for (short, full) in [
            (
                json!({"type": "object"}),
                json!({"type": "object", "properties": {}}),
            ),
            (json!({}), json!({"type": "object", "properties": {}})),
            (
                json!({"type": "object", "properties": {"a": {"type": "array"}, "type": {"type": ["object", "null"]}}}),
                json!({"type": "object", "properties": {"a": {"type": "array", "items": {}}, "type": {"type": ["object", "null"], "properties": {}}}}),
            ),
        ] {
            let mut schema = short.clone();
            complete(&mut schema);
            assert_eq!(schema, full);
        }
    }
}
