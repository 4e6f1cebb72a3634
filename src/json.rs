//! A JSON object as the client's own bytes: found fields, and edits made in place.
//!
//! Nothing is re-serialised: unknown fields, key order, white space and number spelling survive.

mod edit;
mod follows;
mod reader;

pub use edit::{Change, Edit};
pub use follows::breaks;
pub use reader::{from_slice, from_str, try_from_str};

use reader::Key;
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
        if let Some(object) = Object::quickly(text, DEPTH_MAX) {
            return Ok(object);
        }
        if too_deep(bytes) {
            return Err(Flaw::TooDeep);
        }
        Object::slowly(text)
    }

    fn quickly(text: &'a str, depth: usize) -> Option<Object<'a>> {
        let read = |(key, at): (Key<'a>, Range<usize>)| Some((key.text()?, at));
        let fields = reader::fields(text, depth)?.into_iter().map(read);
        Some(Object {
            text,
            fields: fields.collect::<Option<_>>()?,
        })
    }

    /// As [`Object::read`], for a value inside a text that was checked before.
    ///
    /// # Errors
    /// See [`Flaw`].
    pub fn read_str(text: &'a str) -> Result<Object<'a>, Flaw> {
        match Object::quickly(text, usize::MAX) {
            Some(object) => Ok(object),
            None => Object::slowly(text),
        }
    }

    fn slowly(text: &'a str) -> Result<Object<'a>, Flaw> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let fields = reader
            .deserialize_map(FieldsVisitor { text })
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

    /// The text with `edits` made, one after the other; `None` when there is nothing to change, so that the bytes go out as they came.
    ///
    /// An edit may be at the top level (`["model"]`) or further down (`["stream_options", "include_usage"]`);
    /// an outer object is made when it is missing or `null`. A removal of what is not there does nothing.
    ///
    /// However many edits there are, the text is not read again and is copied once.
    #[must_use]
    pub fn edited(&self, edits: &[Edit]) -> Option<String> {
        edit::edited(self, edits)
    }
}

struct FieldsVisitor<'a> {
    text: &'a str,
}

impl<'a> Visitor<'a> for FieldsVisitor<'a> {
    type Value = Vec<(Cow<'a, str>, Range<usize>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(12);
        while let Some((FieldName(key), value)) = map.next_entry::<FieldName<'a>, &'a RawValue>()? {
            // A borrowed RawValue is a slice of the text, so its place is the distance between the two starts.
            let start = value.get().as_ptr().addr() - self.text.as_ptr().addr();
            fields.push((key, start..start + value.get().len()));
        }
        Ok(fields)
    }
}

struct FieldName<'a>(Cow<'a, str>);

impl<'a> serde::Deserialize<'a> for FieldName<'a> {
    fn deserialize<D: serde::Deserializer<'a>>(d: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'a> Visitor<'a> for Text {
            type Value = FieldName<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, text: &'a str) -> Result<FieldName<'a>, E> {
                Ok(FieldName(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<FieldName<'a>, E> {
                Ok(FieldName(Cow::Owned(text.to_owned())))
            }
        }
        d.deserialize_str(Text)
    }
}

/// A string of JSON, borrowed where it has no escapes.
#[must_use]
pub fn text(raw: &str) -> Option<Cow<'_, str>> {
    from_str::<FieldName<'_>>(raw)
        .ok()
        .map(|FieldName(text)| text)
}

/// The places of an array's entries in its text; `None` where it is no array.
#[must_use]
pub fn entries(raw: &str) -> Option<Vec<Range<usize>>> {
    let entries: Vec<&RawValue> = from_str(raw).ok()?;
    let place = |entry: &RawValue| {
        // As for fields: a borrowed RawValue is a slice of the text.
        let start = entry.get().as_ptr().addr() - raw.as_ptr().addr();
        start..start + entry.get().len()
    };
    Some(entries.into_iter().map(place).collect())
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

    #[test]
    fn entries_are_found_where_they_stand() {
        let raw = "[ 1,\n{\"a\" : [2, 3]} , \"x,]\" ]";
        let places = entries(raw).expect("an array");
        let texts: Vec<&str> = places.into_iter().map(|at| &raw[at]).collect();
        assert_eq!(texts, ["1", "{\"a\" : [2, 3]}", "\"x,]\""]);
        assert_eq!(entries("[ ]"), Some(Vec::new()));
        assert_eq!(entries("\"[]\""), None);
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
