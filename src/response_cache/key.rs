//! What two requests must have in common to share an answer: everything that could make their answers differ, and who may see them.
//!
//! Only a hash of it is kept, so that nothing here can tell what was asked.

use crate::json::{self, Object};
use sha2::{Digest, Sha256};

/// The key of an answer.
pub type Key = [u8; 32];

/// Makes a [`Key`] of named parts. Each part is written with its length, so that no two lists of parts read alike.
#[derive(Default)]
pub struct KeyMaker(Sha256);

impl KeyMaker {
    /// One more part.
    pub fn part(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.text(name.as_bytes());
        self.text(value.as_ref());
    }

    /// A JSON body: white space, escapes in strings and the order of its own fields do not count. The order within a field does, since a
    /// model is told the properties of a schema in the order in which they stand. Numbers count as they are written.
    pub fn body(&mut self, body: &[u8]) {
        match Object::read(body) {
            Ok(object) if object.duplicate().is_none() => {
                let mut fields: Vec<(&str, &str)> = object.iter().collect();
                fields.sort_unstable();
                self.fields(&fields);
            }
            // Who wins of two fields of one name is not for a cache to say.
            _ => self.part("raw", body),
        }
    }

    /// The key.
    #[must_use]
    pub fn key(self) -> Key {
        self.0.finalize().into()
    }

    fn text(&mut self, text: &[u8]) {
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.0.update(length.to_be_bytes());
        self.0.update(text);
    }

    fn fields(&mut self, fields: &[(&str, &str)]) {
        self.opens(b'{', fields.len());
        for (name, value) in fields {
            self.text(name.as_bytes());
            self.value(value);
        }
    }

    fn value(&mut self, raw: &str) {
        let raw = raw.trim_ascii();
        match raw.as_bytes().first() {
            Some(b'{') => {
                if let Ok(object) = Object::read_str(raw) {
                    let fields: Vec<(&str, &str)> = object.iter().collect();
                    return self.fields(&fields);
                }
            }
            Some(b'[') => {
                if let Some(entries) = json::entries(raw) {
                    self.opens(b'[', entries.len());
                    for entry in entries {
                        self.value(&raw[entry]);
                    }
                    return;
                }
            }
            Some(b'"') => {
                if let Some(text) = json::text(raw) {
                    self.0.update(b"\"");
                    return self.text(text.as_bytes());
                }
            }
            _ => {}
        }
        self.0.update(b"=");
        self.text(raw.as_bytes());
    }

    fn opens(&mut self, kind: u8, entries: usize) {
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        self.0.update([kind]);
        self.0.update(entries.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Key {
        let mut maker = KeyMaker::default();
        maker.body(body.as_bytes());
        maker.key()
    }

    #[test]
    fn spelling_does_not_count_and_everything_that_is_said_does() {
        let body =
            r#"{"model":"m","messages":[{"role":"user","content":"é \" x"}],"temperature":1.0}"#;
        for same in [
            r#"{ "model" : "m", "messages" : [ {"role":"user","content":"\u00e9 \u0022 x"} ] , "temperature": 1.0 }"#,
            r#"{"temperature":1.0,"messages":[{"role":"user","content":"é \" x"}],"m\u006fdel":"m"}"#,
        ] {
            assert_eq!(of(body), of(same), "{same}");
        }
        for other in [
            r#"{"model":"m","messages":[{"role":"user","content":"é \" x"}],"temperature":1}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"é \" x"}],"temperature":1.0,"seed":1}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"e \" x"}],"temperature":1.0}"#,
            r#"{"model":"m","messages":[{"content":"é \" x","role":"user"}],"temperature":1.0}"#,
            r#"{"model":"m","model":"m","messages":[{"role":"user","content":"é \" x"}],"temperature":1.0}"#,
            r#"{"model":"m","messages":[],"temperature":1.0}"#,
        ] {
            assert_ne!(of(body), of(other), "{other}");
        }
    }

    #[test]
    fn no_two_lists_of_values_read_alike() {
        let all = [
            r#"{"a":[]}"#,
            r#"{"a":{}}"#,
            r#"{"a":null}"#,
            r#"{"a":"null"}"#,
            r#"{"a":["b","c"]}"#,
            r#"{"a":["b,c"]}"#,
            r#"{"a":[["b"],"c"]}"#,
            r#"{"a":[["b","c"]]}"#,
            r#"{"a":["b"],"c":1}"#,
            r#"{"a":{"b":"c"}}"#,
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"a":18446744073709551616}"#,
            r#"{"a":18446744073709551617}"#,
            "{}",
            "[]",
        ];
        for (n, one) in all.iter().enumerate() {
            for other in &all[n + 1..] {
                assert_ne!(of(one), of(other), "{one} {other}");
            }
        }
        let parts = |parts: &[(&str, &str)]| {
            let mut maker = KeyMaker::default();
            for (name, value) in parts {
                maker.part(name, value);
            }
            maker.key()
        };
        assert_ne!(parts(&[("a", "bc")]), parts(&[("ab", "c")]));
        assert_ne!(parts(&[("a", "b"), ("c", "d")]), parts(&[("a", "bcd")]));
    }
}
