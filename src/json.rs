//! A JSON object as the client's own bytes: found fields, and edits made in place.
//!
//! Nothing is re-serialised: unknown fields, key order, white space and number spelling survive.

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Deeper nesting is refused: no provider needs it and recursion must stay bounded.
pub const DEPTH_MAX: usize = 100;

/// The fields of one JSON object with the places of their values in the text.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    text: &'a str,
    fields: Vec<(Cow<'a, str>, Range<usize>)>,
}

/// Why a text is not an object that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Not UTF-8, not JSON, or not an object; with what the parser said.
    Invalid(String),
    /// Nested deeper than `DEPTH_MAX`.
    TooDeep,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Invalid(why) => write!(f, "the body is not a valid JSON object: {why}"),
            Flaw::TooDeep => write!(f, "the body is nested deeper than {DEPTH_MAX} levels"),
        }
    }
}

impl<'a> Object<'a> {
    /// Finds the fields of the object that `bytes` hold; checks the whole text once.
    ///
    /// # Errors
    /// See [`Flaw`].
    pub fn read(bytes: &'a [u8]) -> Result<Object<'a>, Flaw> {
        let text =
            std::str::from_utf8(bytes).map_err(|_| Flaw::Invalid("it is not UTF-8".into()))?;
        if too_deep(bytes) {
            return Err(Flaw::TooDeep);
        }
        Object::read_str(text)
    }

    /// As [`Object::read`], for a value inside a text that was checked before.
    ///
    /// # Errors
    /// See [`Flaw`].
    pub fn read_str(text: &'a str) -> Result<Object<'a>, Flaw> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let fields = reader
            .deserialize_map(Fields { text })
            .and_then(|fields| reader.end().map(|()| fields))
            .map_err(|e| Flaw::Invalid(e.to_string()))?;
        Ok(Object { text, fields })
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The first key that occurs twice.
    #[must_use]
    pub fn duplicate(&self) -> Option<&str> {
        let mut keys: Vec<&str> = self.fields.iter().map(|(k, _)| k.as_ref()).collect();
        keys.sort_unstable();
        keys.windows(2)
            .find(|pair| pair[0] == pair[1])
            .map(|pair| pair[0])
    }

    /// The raw text of a field's value. `null` counts as there.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.fields
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, at)| &self.text[at.clone()])
    }

    /// The raw text of a field's value, unless it is missing or `null`.
    #[must_use]
    pub fn some(&self, key: &str) -> Option<&'a str> {
        self.get(key).filter(|raw| *raw != "null")
    }

    /// Every field's key and raw value, in the client's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.fields
            .iter()
            .map(|(k, at)| (k.as_ref(), &self.text[at.clone()]))
    }

    /// The text with `edits` made; `None` when there is nothing to change, so that the bytes go out as they came.
    ///
    /// An edit may be at the top level (`["model"]`) or one level down (`["stream_options", "include_usage"]`);
    /// the outer object is made when it is missing or `null`. A removal of what is not there does nothing.
    #[must_use]
    pub fn edited(&self, edits: &[Edit]) -> Option<String> {
        let mut text: Option<String> = None;
        for edit in edits {
            let now = text.as_deref().unwrap_or(self.text);
            let object = text
                .as_deref()
                .map(|t| Object::read_str(t).expect("an edited object is still an object"));
            let object = object.as_ref().unwrap_or(self);
            if let Some(next) = apply(now, object, edit) {
                text = Some(next);
            }
        }
        text
    }

    fn set(&self, key: &str, value: &str) -> String {
        match self.fields.iter().find(|(k, _)| k == key) {
            Some((_, at)) => splice(self.text, at.clone(), value),
            None => {
                let open = self.text.find('{').expect("an object starts with a brace") + 1;
                let comma = if self.fields.is_empty() { "" } else { "," };
                let name = serde_json::to_string(key).expect("a string is JSON");
                splice(self.text, open..open, &format!("{name}:{value}{comma}"))
            }
        }
    }

    fn without(&self, key: &str) -> Option<String> {
        let index = self.fields.iter().position(|(k, _)| k == key)?;
        let end = self.fields[index].1.end;
        let range = if index > 0 {
            self.fields[index - 1].1.end..end
        } else {
            let open = self.text.find('{').expect("an object starts with a brace") + 1;
            let rest = &self.text[end..];
            let comma = if self.fields.len() > 1 {
                rest.find(',').expect("a comma parts two fields") + 1
            } else {
                0
            };
            open..end + comma
        };
        Some(splice(self.text, range, ""))
    }
}

fn apply(text: &str, object: &Object<'_>, edit: &Edit) -> Option<String> {
    match (edit.path.as_slice(), &edit.change) {
        ([key], Change::Set(value)) if object.get(key) == Some(value) => None,
        ([key], Change::Set(value)) => Some(object.set(key, value)),
        ([key], Change::Remove) => object.without(key),
        ([outer, key], change) => {
            let inner_text = object.some(outer);
            let inner = match inner_text.map(Object::read_str) {
                Some(Ok(inner)) => inner,
                _ if matches!(change, Change::Remove) => return None,
                _ => Object {
                    text: "{}",
                    fields: Vec::new(),
                },
            };
            let one = Edit {
                path: vec![key.clone()],
                change: change.clone(),
            };
            let next = apply(inner.text, &inner, &one)?;
            Some(object.set(outer, &next))
        }
        _ => {
            debug_assert!(false, "edits reach one or two levels deep");
            Some(text.to_owned())
        }
    }
}

fn splice(text: &str, at: Range<usize>, with: &str) -> String {
    let mut out = String::with_capacity(text.len() + with.len());
    out.push_str(&text[..at.start]);
    out.push_str(with);
    out.push_str(&text[at.end..]);
    out
}

/// One change to a request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// One or two keys.
    pub path: Vec<String>,
    /// What to do there.
    pub change: Change,
}

/// What an [`Edit`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Put this JSON text there.
    Set(String),
    /// Take the field away.
    Remove,
}

impl Edit {
    /// Sets a field to a JSON text.
    #[must_use]
    pub fn set(path: &[&str], json: impl Into<String>) -> Edit {
        Edit {
            path: path.iter().map(|k| (*k).to_owned()).collect(),
            change: Change::Set(json.into()),
        }
    }

    /// Sets a field to a string.
    #[must_use]
    pub fn set_text(path: &[&str], text: &str) -> Edit {
        Edit::set(path, serde_json::to_string(text).expect("a string is JSON"))
    }

    /// Takes a field away.
    #[must_use]
    pub fn remove(path: &[&str]) -> Edit {
        Edit {
            path: path.iter().map(|k| (*k).to_owned()).collect(),
            change: Change::Remove,
        }
    }
}

struct Fields<'a> {
    text: &'a str,
}

impl<'a> Visitor<'a> for Fields<'a> {
    type Value = Vec<(Cow<'a, str>, Range<usize>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(12);
        while let Some((Key(key), value)) = map.next_entry::<Key<'a>, &'a RawValue>()? {
            // A borrowed RawValue is a slice of the text, so its place is the distance between the two starts.
            let start = value.get().as_ptr().addr() - self.text.as_ptr().addr();
            fields.push((key, start..start + value.get().len()));
        }
        Ok(fields)
    }
}

struct Key<'a>(Cow<'a, str>);

impl<'a> serde::Deserialize<'a> for Key<'a> {
    fn deserialize<D: serde::Deserializer<'a>>(d: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'a> Visitor<'a> for Text {
            type Value = Key<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Key<'a>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'a>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        d.deserialize_str(Text)
    }
}

/// A string of JSON, borrowed where it has no escapes.
#[must_use]
pub fn text(raw: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Key<'_>>(raw)
        .ok()
        .map(|Key(text)| text)
}

fn too_deep(bytes: &[u8]) -> bool {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            // Most of a body is its texts: they are skipped, not read.
            b'"' => at = string_end(bytes, at),
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Behind the quote that ends the string whose first byte is at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
    {
        at += found + 1;
        if bytes[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, edits: &[Edit]) -> String {
        Object::read(text.as_bytes())
            .expect("valid")
            .edited(edits)
            .unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn an_edit_changes_its_own_bytes_and_no_others() {
        let body = "{ \"model\" : \"a\",\n\t\"x\":1.0e+02, \"stream_options\": {\"k\": [1, 2] } }";
        for (edits, expected) in [
            (
                vec![Edit::set_text(&["model"], "b")],
                body.replace("\"a\"", "\"b\""),
            ),
            (
                vec![Edit::remove(&["model"])],
                body.replace(" \"model\" : \"a\",", ""),
            ),
            (
                vec![Edit::remove(&["x"])],
                body.replace(",\n\t\"x\":1.0e+02", ""),
            ),
            (vec![Edit::remove(&["nothing"])], body.to_owned()),
            (
                vec![Edit::set(&["stream_options", "include_usage"], "true")],
                body.replace("{\"k\"", "{\"include_usage\":true,\"k\""),
            ),
            (
                vec![Edit::set(&["n"], "1")],
                body.replace("{ \"model\"", "{\"n\":1, \"model\""),
            ),
        ] {
            assert_eq!(edited(body, &edits), expected);
        }
        assert_eq!(
            edited("{}", &[Edit::set(&["a", "b"], "1")]),
            "{\"a\":{\"b\":1}}"
        );
        assert_eq!(
            edited("{\"a\":null}", &[Edit::set(&["a", "b"], "1")]),
            "{\"a\":{\"b\":1}}"
        );
        assert_eq!(edited("{\"a\":1}", &[Edit::remove(&["a"])]), "{}");
    }

    #[test]
    fn an_edit_that_changes_nothing_leaves_the_bytes_alone() {
        let object = Object::read(b"{\"model\": \"a\"}").expect("valid");
        assert_eq!(
            object.edited(&[Edit::set_text(&["model"], "a"), Edit::remove(&["b"])]),
            None
        );
    }

    #[test]
    fn flaws_are_told_apart() {
        assert!(matches!(Object::read(b"{\"a\":1"), Err(Flaw::Invalid(_))));
        assert!(matches!(Object::read(b"[1]"), Err(Flaw::Invalid(_))));
        assert!(matches!(
            Object::read(b"{\"a\":1} x"),
            Err(Flaw::Invalid(_))
        ));
        assert!(matches!(
            Object::read(b"{\"a\":\"\xff\"}"),
            Err(Flaw::Invalid(_))
        ));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(Object::read(deep.as_bytes()), Err(Flaw::TooDeep)));
        let twice = Object::read(b"{\"model\":1,\"m\\u006fdel\":2}").expect("valid");
        assert_eq!(twice.duplicate(), Some("model"));
    }
}
