//! Whether a value surely breaks a JSON schema. It is a judge of answers and not of schemas: what it does not know of a schema, or cannot
//! follow within its bounds, is passed over, so that nothing is called broken for that. Reads no other document, and none of the network.
//!
//! It knows what vendors' structured outputs know, and what is common beside that in the schemas of tools: types, constants, the bounds of
//! texts, numbers and lists, properties, references within the document, and choices. Not `not`, `if`, `contains`, `uniqueItems`, `format`
//! and what else can only be held against a value by knowing that another schema fits it. A `oneOf` is read as `anyOf`.

use regex::RegexBuilder;
use serde_json::{Map, Number, Value};
use std::borrow::Cow;
use std::collections::HashMap;

/// So many schemas are held against values, choices and lists included; beyond that nothing is broken. An answer that is looked at has at
/// most 64 KiB, so only a schema that leads to itself in many ways comes near.
const STEPS_MAX: usize = 50_000;
/// Schemas within schemas are followed so deep.
const DEPTH_MAX: usize = 150;
/// Bytes of a pattern; a longer one is passed over.
const PATTERN_MAX: usize = 512;
/// Bytes that a pattern may take up when it is compiled.
const COMPILED_MAX: usize = 128 * 1024;
/// So many patterns are compiled; the others are passed over.
const PATTERNS_MAX: usize = 32;

/// The value is surely not what the schema asks for.
#[must_use]
pub fn breaks(schema: &Value, value: &Value) -> bool {
    let mut judge = Judge {
        root: schema,
        steps: STEPS_MAX,
        patterns: HashMap::new(),
    };
    judge.breaks(schema, value, 0)
}

struct Judge<'s> {
    /// The whole schema, to which references are relative.
    root: &'s Value,
    /// Schemas that may still be looked at.
    steps: usize,
    /// The patterns so far; `None` for one that is passed over.
    patterns: HashMap<&'s str, Option<regex::Regex>>,
}

impl<'s> Judge<'s> {
    fn breaks(&mut self, schema: &'s Value, value: &Value, depth: usize) -> bool {
        if schema == &Value::Bool(false) {
            return true;
        }
        let Some(schema) = schema.as_object() else {
            return false;
        };
        let constants = schema.get("enum").and_then(Value::as_array);
        let cost = 1 + constants.map_or(0, Vec::len);
        if depth > DEPTH_MAX || self.steps < cost {
            return false;
        }
        self.steps -= cost;
        // What stands beside a reference counts in some editions of the language and not in others.
        if let Some(reference) = schema.get("$ref") {
            let found = reference.as_str().and_then(|to| self.found(to));
            return found.is_some_and(|found| self.breaks(found, value, depth + 1));
        }
        let kinds = kinds(schema);
        if value.is_null()
            && (schema.get("nullable") == Some(&Value::Bool(true)) || kinds.contains(&"null"))
        {
            return false;
        }
        if !kinds.is_empty() && !kinds.iter().any(|kind| is_of(value, kind)) {
            return true;
        }
        if schema.get("const").is_some_and(|only| !same(only, value))
            || constants.is_some_and(|list| !list.iter().any(|one| same(one, value)))
        {
            return true;
        }
        let of_its_kind = match value {
            Value::String(text) => self.text_breaks(schema, text),
            Value::Number(number) => number_breaks(schema, number),
            Value::Array(list) => self.list_breaks(schema, list, depth),
            Value::Object(object) => self.object_breaks(schema, object, depth),
            Value::Null | Value::Bool(_) => false,
        };
        of_its_kind || self.choices_break(schema, value, depth)
    }

    /// What a reference within the document leads to, `#/$defs/node`.
    fn found(&self, reference: &str) -> Option<&'s Value> {
        let pointer = reference.strip_prefix('#')?;
        let pointer = percent_encoding::percent_decode_str(pointer);
        self.root.pointer(&pointer.decode_utf8().ok()?)
    }

    fn choices_break(
        &mut self,
        schema: &'s Map<String, Value>,
        value: &Value,
        depth: usize,
    ) -> bool {
        let all = listed(schema, "allOf");
        if all.iter().any(|part| self.breaks(part, value, depth + 1)) {
            return true;
        }
        ["anyOf", "oneOf"].into_iter().any(|key| {
            let mut some = listed(schema, key).iter();
            some.len() > 0 && some.all(|part| self.breaks(part, value, depth + 1))
        })
    }

    fn text_breaks(&mut self, schema: &'s Map<String, Value>, text: &str) -> bool {
        let length = text.chars().count();
        is_outside(schema, "minLength", "maxLength", length)
            || schema
                .get("pattern")
                .and_then(Value::as_str)
                .is_some_and(|pattern| self.is_unlike(pattern, text))
    }

    /// The text is not like the pattern. Letters beyond ASCII mean something else in JavaScript's patterns than here.
    fn is_unlike(&mut self, pattern: &'s str, text: &str) -> bool {
        if !text.is_ascii() {
            return false;
        }
        if !self.patterns.contains_key(pattern) {
            let may = self.patterns.len() < PATTERNS_MAX && means_the_same(pattern);
            let compiled = || RegexBuilder::new(pattern).size_limit(COMPILED_MAX).build();
            let compiled = may.then(compiled).and_then(Result::ok);
            self.patterns.insert(pattern, compiled);
        }
        let compiled = self.patterns.get(pattern).and_then(Option::as_ref);
        compiled.is_some_and(|compiled| !compiled.is_match(text))
    }

    fn list_breaks(
        &mut self,
        schema: &'s Map<String, Value>,
        list: &[Value],
        depth: usize,
    ) -> bool {
        if is_outside(schema, "minItems", "maxItems", list.len()) {
            return true;
        }
        // Older editions name the first items in `items`.
        let (firsts, others) = match (schema.get("prefixItems"), schema.get("items")) {
            (Some(Value::Array(firsts)), others) => (&firsts[..], others),
            (_, Some(Value::Array(firsts))) => (&firsts[..], None),
            (_, others) => (&[][..], others),
        };
        list.iter().enumerate().any(|(place, item)| {
            let inner = firsts.get(place).or(others);
            inner.is_some_and(|inner| self.breaks(inner, item, depth + 1))
        })
    }

    fn object_breaks(
        &mut self,
        schema: &'s Map<String, Value>,
        object: &Map<String, Value>,
        depth: usize,
    ) -> bool {
        let required = listed(schema, "required");
        self.steps = self.steps.saturating_sub(required.len());
        let mut required = required.iter().filter_map(Value::as_str);
        if required.any(|name| !object.contains_key(name))
            || is_outside(schema, "minProperties", "maxProperties", object.len())
        {
            return true;
        }
        let named = schema.get("properties").and_then(Value::as_object);
        // A name of which a pattern speaks is no other one.
        let others = schema
            .get("additionalProperties")
            .filter(|_| !schema.contains_key("patternProperties"));
        object.iter().any(|(name, value)| {
            let inner = named.and_then(|named| named.get(name)).or(others);
            inner.is_some_and(|inner| self.breaks(inner, value, depth + 1))
        })
    }
}

/// The types that a schema names; none where it names none, or one that is not known.
fn kinds(schema: &Map<String, Value>) -> Vec<&str> {
    let named = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.as_slice(),
        Some(kind) => std::slice::from_ref(kind),
        None => &[],
    };
    let known = |kind: &&str| {
        let all = [
            "null", "boolean", "object", "array", "number", "integer", "string",
        ];
        all.iter().any(|known| known.eq_ignore_ascii_case(kind))
    };
    let kinds: Vec<&str> = named
        .iter()
        .filter_map(Value::as_str)
        .filter(known)
        .collect();
    match kinds.len() == named.len() {
        true => kinds,
        false => Vec::new(),
    }
}

/// Google writes the names of types in capitals.
fn is_of(value: &Value, kind: &str) -> bool {
    match kind.to_ascii_lowercase().as_str() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "number" => value.is_number(),
        // 1.0 is a whole number.
        "integer" => value.as_number().is_some_and(|number| {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
        }),
        _ => value.is_string(),
    }
}

/// The same value, or one that is not looked into.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => true,
        (one, other) => one == other,
    }
}

fn listed<'s>(schema: &'s Map<String, Value>, key: &str) -> &'s [Value] {
    schema
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// There are fewer or more than the schema allows.
fn is_outside(schema: &Map<String, Value>, least: &str, most: &str, count: usize) -> bool {
    let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    bound(least).is_some_and(|least| count < least) || bound(most).is_some_and(|most| count > most)
}

fn number_breaks(schema: &Map<String, Value>, number: &Number) -> bool {
    let Some(given) = number.as_f64() else {
        return false;
    };
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let step = schema.get("multipleOf").and_then(Value::as_i64);
    let stepped = number.as_i64().zip(step.filter(|step| *step > 0));
    bound("minimum").is_some_and(|least| given < least)
        || bound("maximum").is_some_and(|most| given > most)
        || bound("exclusiveMinimum").is_some_and(|least| given <= least)
        || bound("exclusiveMaximum").is_some_and(|most| given >= most)
        // What is no whole number has no exact remainder.
        || stepped.is_some_and(|(given, step)| given % step != 0)
}

/// A pattern in JavaScript's language, which schemas use, that says the same in the one that is read here: no look around, no
/// references back, no operations on sets, and no escapes but the common ones.
fn means_the_same(pattern: &str) -> bool {
    let other = ["&&", "--", "~~", "[[", "{,", "[]", "[^]"];
    let mut rest = Cow::Borrowed(pattern);
    if rest.contains("(?") {
        rest = rest.replace("(?:", "(").into();
    }
    let mut letters = rest.chars();
    let mut escapes_are_common = true;
    while let Some(letter) = letters.next() {
        if letter == '\\' {
            let escaped = letters.next();
            escapes_are_common &=
                escaped.is_some_and(|e| "dDwWsSbBntr-_/.^$*+?()[]{}|\\\"'".contains(e));
        }
    }
    pattern.len() <= PATTERN_MAX
        && pattern.is_ascii()
        && escapes_are_common
        && !rest.contains("(?")
        && !other.iter().any(|piece| rest.contains(piece))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(properties: &Value) -> Value {
        json!({"type": "object", "properties": properties, "required": ["a"], "additionalProperties": false})
    }

    #[test]
    fn a_value_breaks_a_schema_where_it_is_surely_not_what_that_asks_for() {
        let deep = json!({"$ref": "#/$defs/a~1b%20c", "$defs": {"a/b c": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/a~1b%20c"}, {"type": "null"}]}}, "required": ["next"]}}});
        for (schema, good, bad) in [
            (json!({"type": "string"}), json!("x"), json!(1)),
            (json!({"type": "STRING"}), json!("x"), json!(1)),
            (json!({"type": "integer"}), json!(1.0), json!(1.5)),
            (json!({"type": "number"}), json!(1), json!("1")),
            (json!({"type": "boolean"}), json!(true), json!("true")),
            (json!({"type": ["string", "null"]}), json!(null), json!(1)),
            (
                json!({"type": "string", "nullable": true}),
                json!(null),
                json!(1),
            ),
            (
                json!({"type": ["string", "null"], "enum": ["a"]}),
                json!(null),
                json!("b"),
            ),
            (json!({"enum": ["a", 1]}), json!(1.0), json!("1")),
            (json!({"const": "a"}), json!("a"), json!("b")),
            (
                json!({"minLength": 2, "maxLength": 3}),
                json!("äö"),
                json!("äöüß"),
            ),
            (json!({"minLength": 2}), json!("äö"), json!("ä")),
            (json!({"minimum": 2, "maximum": 3}), json!(3), json!(3.1)),
            (json!({"exclusiveMinimum": 2}), json!(2.1), json!(2)),
            (json!({"exclusiveMaximum": 2}), json!(1), json!(2)),
            (json!({"minimum": 2}), json!(2), json!(1)),
            (json!({"multipleOf": 5}), json!(10), json!(12)),
            (
                json!({"pattern": "^[a-z_]+\\d{2}$"}),
                json!("a_12"),
                json!("A12"),
            ),
            (
                json!({"pattern": "^(?:a|b)\\/c$"}),
                json!("a/c"),
                json!("c/c"),
            ),
            (
                json!({"type": "array", "items": {"type": "integer"}}),
                json!([1]),
                json!(["1"]),
            ),
            (json!({"minItems": 1, "maxItems": 2}), json!([1]), json!([])),
            (json!({"maxItems": 2}), json!([1]), json!([1, 2, 3])),
            (
                json!({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}),
                json!(["a", 1]),
                json!(["a", "b"]),
            ),
            (
                json!({"items": [{"type": "string"}]}),
                json!(["a", 1]),
                json!([1]),
            ),
            (json!({"items": false}), json!([]), json!([1])),
            (
                object(&json!({"a": {"type": "integer"}})),
                json!({"a": 1}),
                json!({}),
            ),
            (
                object(&json!({"a": {"type": "integer"}})),
                json!({"a": 1}),
                json!({"a": "1"}),
            ),
            (
                object(&json!({"a": {"type": "integer"}})),
                json!({"a": 1}),
                json!({"a": 1, "b": 2}),
            ),
            (
                json!({"properties": {"a": {}}, "additionalProperties": {"type": "string"}}),
                json!({"a": 1, "b": "x"}),
                json!({"b": 1}),
            ),
            (json!({"minProperties": 1}), json!({"a": 1}), json!({})),
            (
                json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
                json!(null),
                json!(1),
            ),
            (
                json!({"oneOf": [{"type": "string"}, {"type": "null"}]}),
                json!("a"),
                json!([]),
            ),
            (
                json!({"allOf": [{"type": "integer"}, {"minimum": 3}]}),
                json!(3),
                json!(2),
            ),
            (
                deep.clone(),
                json!({"next": {"next": null}}),
                json!({"next": {"next": 1}}),
            ),
            (deep, json!({"next": null}), json!({"next": {}})),
        ] {
            assert!(!breaks(&schema, &good), "{schema} takes {good}");
            assert!(breaks(&schema, &bad), "{schema} does not take {bad}");
        }
    }

    #[test]
    fn what_is_not_understood_of_a_schema_is_never_broken() {
        for schema in [
            json!(null),
            json!("string"),
            json!({}),
            json!(true),
            json!({"type": "text"}),
            json!({"type": ["text", "null"]}),
            json!({"type": 7, "enum": 7, "required": 7, "properties": 7, "minLength": "9", "items": 7, "anyOf": {}}),
            json!({"$ref": "https://example.org/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$ref": "#/nowhere"}),
            json!({"$ref": "#anchor"}),
            json!({"$ref": "#"}),
            json!({"$ref": 7}),
            json!({"anyOf": []}),
            json!({"not": {}}),
            json!({"if": true, "then": false}),
            json!({"format": "date"}),
            json!({"pattern": "("}),
            json!({"pattern": "^(?=b)a"}),
            json!({"pattern": "^(a)\\1$"}),
            json!({"pattern": "\\p{L}1"}),
            json!({"pattern": format!("x{}", "y".repeat(600))}),
            json!({"pattern": "((((a{900}){900}){900}){900})"}),
        ] {
            assert!(!breaks(&schema, &json!("abc")), "{schema}");
        }
        let patterns = json!({"patternProperties": {"^x": {}}, "additionalProperties": false});
        assert!(!breaks(&patterns, &json!({"x1": 1})));
        let unlike = json!({"pattern": "^\\w+$"});
        assert!(!breaks(&unlike, &json!("ä")) && breaks(&unlike, &json!("a b")));
    }

    #[test]
    fn a_schema_that_leads_to_itself_in_many_ways_is_given_up_and_not_broken() {
        let twice = json!([{"$ref": "#"}, {"$ref": "#"}]);
        for schema in [
            json!({"allOf": twice, "type": "string"}),
            json!({"anyOf": twice, "type": "string"}),
            json!({"allOf": twice, "anyOf": twice, "oneOf": twice}),
        ] {
            assert!(!breaks(&schema, &json!("a")), "{schema}");
        }
        let mut nested = json!({"type": "integer"});
        let mut value = json!("no integer");
        for _ in 0..120 {
            nested = json!({"items": nested});
            value = json!([value]);
        }
        assert!(breaks(&nested, &value));
        for _ in 0..120 {
            nested = json!({"allOf": [nested]});
        }
        assert!(!breaks(&nested, &value), "deeper than is looked at");
    }
}
