//! Edits to one body, collected.

use super::inner;
use crate::json::{Edit, Object};

/// Collects edits to one body.
pub struct Pen<'a> {
    /// The client's own fields.
    pub fields: &'a Object<'a>,
    /// The changes so far.
    pub edits: Vec<Edit>,
    /// The client's fields that a model rejects.
    pub removed: Vec<String>,
}

impl<'a> Pen<'a> {
    /// No edits yet.
    #[must_use]
    pub fn new(fields: &'a Object<'a>) -> Pen<'a> {
        Pen {
            fields,
            edits: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Sets a field to a JSON text.
    pub fn set(&mut self, path: &[&str], json: impl Into<String>) {
        self.edits.push(Edit::set(path, json));
    }

    /// Sets a field to a string.
    pub fn set_text(&mut self, path: &[&str], text: &str) {
        self.edits.push(Edit::set_text(path, text));
    }

    /// Takes a field away that another one stands for now.
    pub fn replace(&mut self, key: &str) {
        if self.fields.get(key).is_some() {
            self.edits.push(Edit::remove(&[key]));
        }
    }

    /// Takes a field away that this model rejects, and names it.
    pub fn reject(&mut self, key: &str) {
        self.replace(key);
        if self.fields.some(key).is_some() {
            self.removed.push(key.to_owned());
        }
    }

    /// Takes an inner field away; the outer one too where nothing else is in it.
    pub fn replace_inner(&mut self, outer: &str, key: &str) {
        let Some(object) = inner(self.fields, outer) else {
            return;
        };
        match (object.get(key), object.iter().count()) {
            (None, _) => {}
            (Some(_), 1) => self.edits.push(Edit::remove(&[outer])),
            (Some(_), _) => self.edits.push(Edit::remove(&[outer, key])),
        }
    }
}
