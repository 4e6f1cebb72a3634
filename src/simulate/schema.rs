//! The least value that a JSON schema takes: what a simulated model answers where a form is demanded. Pure.
//!
//! It follows references, choices and the bounds that vendors' structured output knows; a pattern is not followed.

use serde_json::{Map, Value, json};

/// From here on the way that ends soonest is taken, where a schema leaves a choice (a tree of itself and `null`).
const DEPTH_SHORT: usize = 4;
/// A schema that leaves none is followed so deep.
const DEPTH_MAX: usize = 24;
/// References to references are followed so far; more are a circle.
const REFERENCES_MAX: usize = 16;

/// A value that the schema takes.
pub(super) fn example(schema: &Value) -> Value {
    Root(schema).example(schema, 0)
}

/// The whole schema, to which references are relative.
struct Root<'s>(&'s Value);

impl<'s> Root<'s> {
    fn example(&self, schema: &'s Value, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        let schema = self.followed(schema);
        if let Some(given) = schema.get("const").or(schema.get("default")) {
            return given.clone();
        }
        if let Some(first) = first_of(schema, "enum") {
            return first.clone();
        }
        let variants = ["anyOf", "oneOf"]
            .iter()
            .find_map(|k| schema[*k].as_array());
        if let Some(chosen) = variants.and_then(|list| self.chosen(list, depth)) {
            return joined(self.plain(schema, depth), self.example(chosen, depth + 1));
        }
        if let Some(all) = schema["allOf"].as_array() {
            let own = self.plain(schema, depth);
            return all.iter().fold(own, |made, part| {
                joined(made, self.example(part, depth + 1))
            });
        }
        self.of_type(schema, depth)
    }

    /// The schema that a reference leads to, `#/$defs/node`. One that leads nowhere takes anything.
    fn followed(&self, schema: &'s Value) -> &'s Value {
        let mut at = schema;
        for _ in 0..REFERENCES_MAX {
            let Some(reference) = at.get("$ref").and_then(Value::as_str) else {
                return at;
            };
            let found = reference.strip_prefix('#').and_then(|pointer| {
                let pointer = pointer.replace("%24", "$").replace("%20", " ");
                self.0.pointer(&pointer)
            });
            at = found.unwrap_or(&Value::Null);
        }
        &Value::Null
    }

    /// The first variant; deep down the one that ends soonest.
    fn chosen(&self, variants: &'s [Value], depth: usize) -> Option<&'s Value> {
        let ends = |v: &&Value| {
            let schema = self.followed(v);
            let kind = schema["type"].as_str();
            kind.is_some_and(|kind| !matches!(kind, "object" | "array"))
        };
        let short = variants.iter().find(ends).filter(|_| depth >= DEPTH_SHORT);
        short.or(variants.first())
    }

    /// What a schema says beside its variants, if it says more than they do.
    fn plain(&self, schema: &'s Value, depth: usize) -> Value {
        match schema.get("properties").or(schema.get("type")) {
            Some(_) => self.of_type(schema, depth),
            None => Value::Null,
        }
    }

    fn of_type(&self, schema: &'s Value, depth: usize) -> Value {
        let kinds = schema["type"].as_array().map(Vec::as_slice);
        let kind = match kinds {
            // `["object", "null"]` deep down is null.
            Some(kinds) if depth >= DEPTH_SHORT && kinds.contains(&json!("null")) => Some("null"),
            Some(kinds) => kinds.first().and_then(Value::as_str),
            None => schema["type"].as_str(),
        };
        let implied = match () {
            () if schema.get("items").or(schema.get("prefixItems")).is_some() => "array",
            () if schema.get("minLength").or(schema.get("format")).is_some() => "string",
            () if schema.get("minimum").or(schema.get("maximum")).is_some() => "number",
            () => "object",
        };
        // Google writes the names of types in capitals.
        match kind.unwrap_or(implied).to_ascii_lowercase().as_str() {
            "string" => json!(text(schema)),
            "integer" => json!(whole(schema)),
            "number" => number(schema),
            "boolean" => json!(true),
            "array" => self.list(schema, depth),
            "null" => Value::Null,
            _ => self.object(schema, depth),
        }
    }

    fn list(&self, schema: &'s Value, depth: usize) -> Value {
        let firsts = schema["prefixItems"].as_array();
        let firsts = firsts.map_or(&[][..], Vec::as_slice);
        let least = schema["minItems"].as_u64().unwrap_or(0);
        let least = usize::try_from(least).unwrap_or(usize::MAX).min(1_000);
        let count = least.max(firsts.len());
        let inner = |place: usize| firsts.get(place).unwrap_or(&schema["items"]);
        let items = (0..count).map(|place| self.example(inner(place), depth + 1));
        items.collect()
    }

    fn object(&self, schema: &'s Value, depth: usize) -> Value {
        let names = schema["required"].as_array().into_iter().flatten();
        let fields = names.filter_map(Value::as_str).map(|name| {
            let inner = &schema["properties"][name];
            (name.to_owned(), self.example(inner, depth + 1))
        });
        Value::Object(fields.collect::<Map<_, _>>())
    }
}

fn first_of<'v>(schema: &'v Value, key: &str) -> Option<&'v Value> {
    schema[key].as_array().and_then(|list| list.first())
}

/// Two objects are one; of anything else the second goes before the first.
fn joined(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Object(mut first), Value::Object(second)) => {
            first.extend(second);
            Value::Object(first)
        }
        (first, Value::Null) => first,
        (_, second) => second,
    }
}

/// A text of its format, and as long as it has to be.
fn text(schema: &Value) -> String {
    let made = match schema["format"].as_str() {
        Some("date") => "2026-01-31",
        Some("time") => "12:00:00Z",
        Some("date-time") => "2026-01-31T12:00:00Z",
        Some("duration") => "PT1H",
        Some("email") => "simulated@example.org",
        Some("hostname") => "example.org",
        Some("uri" | "url" | "uri-reference") => "https://example.org/",
        Some("ipv4") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        _ => "[simulated]",
    };
    let bound = |key: &str| schema[key].as_u64().and_then(|n| usize::try_from(n).ok());
    // A schema must not make an answer of a megabyte.
    let least = bound("minLength").unwrap_or(0).min(100_000);
    let most = bound("maxLength").unwrap_or(usize::MAX);
    let letters = made.chars().chain(std::iter::repeat('.'));
    letters.take(made.len().max(least).min(most)).collect()
}

/// A whole number within its bounds: 1 where it may be.
fn whole(schema: &Value) -> i64 {
    let bound = |key: &str| schema[key].as_f64();
    let low = bound("minimum").map(f64::ceil);
    let above = bound("exclusiveMinimum").map(|n| n.floor() + 1.0);
    let high = bound("maximum").map(f64::floor);
    let below = bound("exclusiveMaximum").map(|n| n.ceil() - 1.0);
    let low = low
        .into_iter()
        .chain(above)
        .fold(f64::NEG_INFINITY, f64::max);
    let high = high.into_iter().chain(below).fold(f64::INFINITY, f64::min);
    let step = bound("multipleOf")
        .filter(|step| *step >= 1.0)
        .unwrap_or(1.0);
    let made = 1.0_f64.max(low).min(high);
    let stepped = match (made / step).ceil() * step {
        up if up <= high => up,
        _ => (made / step).floor() * step,
    };
    // The text of a whole float without its fraction is that of an integer.
    format!("{stepped:.0}").parse().unwrap_or(1)
}

/// A number within its bounds: 1 where it may be.
fn number(schema: &Value) -> Value {
    let bound = |key: &str| schema[key].as_f64();
    let low = bound("minimum").or(bound("exclusiveMinimum"));
    let high = bound("maximum").or(bound("exclusiveMaximum"));
    let inside = |n: f64| {
        bound("minimum").is_none_or(|b| n >= b)
            && bound("exclusiveMinimum").is_none_or(|b| n > b)
            && bound("maximum").is_none_or(|b| n <= b)
            && bound("exclusiveMaximum").is_none_or(|b| n < b)
    };
    let made = whole(schema);
    let as_float: f64 = made.to_string().parse().unwrap_or(1.0);
    if inside(as_float) {
        return json!(made);
    }
    match (low, high) {
        (Some(low), Some(high)) => json!(f64::midpoint(low, high)),
        _ => json!(made),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_obeyed_with_its_references_choices_and_bounds() {
        let node = json!({"type": "object", "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["value", "next"]});
        let deep = json!({"$ref": "#/$defs/node", "$defs": {"node": node}});
        let mut list = &example(&deep);
        let mut length = 0;
        while list.is_object() {
            assert_eq!(list["value"], 1, "{list}");
            (list, length) = (&list["next"], length + 1);
        }
        assert!(list.is_null() && (1..10).contains(&length), "{length}");
        for (schema, expected) in [
            (
                json!({"$ref": "#/definitions/a", "definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"enum": ["x", "y"]}}}),
                json!("x"),
            ),
            (
                json!({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 7}}}),
                json!(7),
            ),
            (
                json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}, "b": {"type": "string"}}, "required": ["a"], "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/b"}, "minItems": 2}, "b": {"type": "boolean"}}}),
                json!({"a": [true, true]}),
            ),
            (
                json!({"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"type": "object", "properties": {"b": {"type": "null"}}, "required": ["b"]}]}),
                json!({"a": 1, "b": null}),
            ),
            (json!({"type": ["string", "null"]}), json!("[simulated]")),
            (json!({"type": "STRING"}), json!("[simulated]")),
            (json!({"type": "string", "maxLength": 4}), json!("[sim")),
            (
                json!({"type": "string", "minLength": 13}),
                json!("[simulated].."),
            ),
            (
                json!({"type": "string", "format": "date"}),
                json!("2026-01-31"),
            ),
            (json!({"type": "integer", "minimum": 5}), json!(5)),
            (json!({"type": "integer", "exclusiveMinimum": 5}), json!(6)),
            (json!({"type": "integer", "maximum": -2}), json!(-2)),
            (
                json!({"type": "integer", "minimum": 3, "multipleOf": 5}),
                json!(5),
            ),
            (
                json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
                json!(0.5),
            ),
            (json!({"type": "number", "minimum": 2}), json!(2)),
            (
                json!({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}]}),
                json!([1, true]),
            ),
            (json!({"$ref": "#/nowhere"}), json!({})),
            (json!({"$ref": "#"}), json!({})),
            (
                json!({"oneOf": [{"type": "boolean"}, {"type": "null"}]}),
                json!(true),
            ),
        ] {
            assert_eq!(example(&schema), expected, "{schema}");
        }
    }
}
