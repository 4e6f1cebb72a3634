//! A request's JSON, read field by field for a translation: every field is taken by name, and what
//! nobody took is refused by name, so that nothing is lost in silence.

use super::body::{shown, wrong};
use crate::chat::Role;
use crate::chat::conversation::{Item, Message};
use crate::error::Error;
use serde_json::{Map, Number, Value};

/// An object, with the place where it stands.
pub(super) struct Fields {
    at: String,
    map: Map<String, Value>,
}

impl Fields {
    /// The whole body.
    pub(super) fn whole(text: &str) -> Result<Fields, Error> {
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(Fields {
                at: String::new(),
                map,
            }),
            _ => Err(Error::bad_field("body", "The body must be a JSON object.")),
        }
    }

    /// An inner value, which must be an object.
    pub(super) fn of(at: impl Into<String>, value: Value) -> Result<Fields, Error> {
        let at = at.into();
        match value {
            Value::Object(map) => Ok(Fields { at, map }),
            other => Err(wrong(at, "an object", kind(&other))),
        }
    }

    /// The path of a field.
    pub(super) fn path(&self, key: &str) -> String {
        match self.at.is_empty() {
            true => key.to_owned(),
            false => format!("{}.{key}", self.at),
        }
    }

    /// Takes a field; missing and `null` are `None`.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    /// Takes the first of several names of a field.
    pub(super) fn take_any(&mut self, keys: &[&str]) -> Option<Value> {
        let mut found = None;
        for key in keys {
            let value = self.take(key);
            found = found.or(value);
        }
        found
    }

    /// What is there still, as an object of this type.
    pub(super) fn rest(&self, kind: &str) -> Value {
        let mut map = Map::new();
        map.insert("type".into(), kind.into());
        map.extend(self.map.clone());
        Value::Object(map)
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(self.path(key), "a string", kind(&other))),
        }
    }

    pub(super) fn need_text(&mut self, key: &str) -> Result<String, Error> {
        self.text(key)?
            .ok_or_else(|| wrong(self.path(key), "a string", "nothing"))
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong(self.path(key), "true or false", kind(&other))),
        }
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<Number>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(other) => Err(wrong(self.path(key), "a number", kind(&other))),
        }
    }

    pub(super) fn count(&mut self, key: &str) -> Result<Option<u64>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(count) => Ok(Some(count)),
                None => Err(wrong(self.path(key), "a whole number", kind(&value))),
            },
        }
    }

    /// Takes an array; missing is empty.
    pub(super) fn list(&mut self, key: &str) -> Result<Vec<Value>, Error> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => Err(wrong(self.path(key), "an array", kind(&other))),
        }
    }

    /// Takes an object.
    pub(super) fn object(&mut self, key: &str) -> Result<Option<Fields>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => Fields::of(self.path(key), value).map(Some),
        }
    }

    /// Takes an object that must be there.
    pub(super) fn need_object(&mut self, key: &str) -> Result<Fields, Error> {
        self.object(key)?
            .ok_or_else(|| wrong(self.path(key), "an object", "nothing"))
    }

    /// Takes a string or an array of strings.
    pub(super) fn texts(&mut self, key: &str) -> Result<Vec<String>, Error> {
        let expected = "a string or an array of strings";
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(list)) => list
                .into_iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text),
                    other => Err(wrong(self.path(key), expected, kind(&other))),
                })
                .collect(),
            Some(other) => Err(wrong(self.path(key), expected, kind(&other))),
        }
    }

    /// Takes fields that mean nothing to anybody else: they are let go without a word.
    pub(super) fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.map.shift_remove(*key);
        }
    }

    /// Takes fields that change no answer's meaning, and names those that were there.
    pub(super) fn lose(&mut self, keys: &[&str], lost: &mut Vec<String>) {
        for key in keys {
            if self.take(key).is_some() {
                lost.push(self.path(key));
            }
        }
    }

    /// Refuses what nobody took.
    pub(super) fn done(self) -> Result<(), Error> {
        match self.map.iter().find(|(_, value)| !value.is_null()) {
            None => Ok(()),
            Some((key, _)) => Err(cannot(&self.path(&shown(key)))),
        }
    }
}

/// The refusal of something that only the client's own dialect has.
pub(super) fn cannot(field: &str) -> Error {
    Error::bad_field(
        field,
        format!(
            "\"{field}\" cannot be expressed in the dialect of the model that would answer; leave it out, or ask for a model whose provider speaks your dialect."
        ),
    )
    .code("flyball_untranslatable")
}

/// As [`cannot`], for something in the middle of a conversation.
pub(super) fn cannot_hold(what: &str) -> Error {
    Error::bad_field(
        "messages",
        format!(
            "\"messages\" holds {what}, which cannot be expressed in the dialect of the model that would answer; leave it out, or ask for a model whose provider speaks your dialect."
        ),
    )
    .code("flyball_untranslatable")
}

/// A conversation that another dialect has something of; one of sealed thoughts only, say, has nothing there.
pub(super) fn not_empty(list: Vec<Value>) -> Result<Vec<Value>, Error> {
    match list.is_empty() {
        false => Ok(list),
        true => Err(Error::bad_field(
            "messages",
            "\"messages\" holds nothing that the model that would answer can be told.",
        )
        .code("flyball_untranslatable")),
    }
}

/// Adds to the conversation's last message where that is of this role; what users say stays apart.
pub(super) fn push(messages: &mut Vec<Message>, role: Role, item: Item) {
    match messages.last_mut() {
        Some(last) if last.role == role && role != Role::User => last.items.push(item),
        _ => messages.push(Message {
            role,
            items: vec![item],
        }),
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
