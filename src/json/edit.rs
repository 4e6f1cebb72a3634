//! Edits of an object in place: all of them are made on a list of its fields, and the text is written once.

use super::Object;
use std::borrow::Cow;

/// One change to a request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The keys from the outermost object down to the field; at least one.
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
    /// Sets a field to a JSON text, which has no white space around it.
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

/// See [`Object::edited`].
pub(super) fn edited(object: &Object<'_>, edits: &[Edit]) -> Option<String> {
    let mut draft = Draft::of(object.clone());
    let mut changed = false;
    for edit in edits {
        changed |= draft.apply(&edit.path, &edit.change);
    }
    changed.then(|| draft.text())
}

/// An object while it is edited. It borrows every text, so that an edit costs its own bytes and not the object's.
struct Draft<'m> {
    /// What stands before the first field, with the opening brace.
    head: &'m str,
    fields: Vec<DraftField<'m>>,
    /// What stands behind the last value, with the closing brace.
    tail: &'m str,
}

/// One field of a draft.
struct DraftField<'m> {
    key: Cow<'m, str>,
    /// What stands between the value before, or the opening brace, and this value: a comma, the key, white space.
    before: Cow<'m, str>,
    value: DraftValue<'m>,
}

/// The value of a field.
enum DraftValue<'m> {
    Text(&'m str),
    /// An object inside which something was edited.
    Object(Draft<'m>),
}

impl<'m> Draft<'m> {
    fn of(object: Object<'m>) -> Draft<'m> {
        let text = object.text;
        let open = text.find('{').expect("an object starts with a brace") + 1;
        let mut end = open;
        let mut fields = Vec::with_capacity(object.fields.len() + 4);
        for (key, at) in object.fields {
            fields.push(DraftField {
                key,
                before: Cow::Borrowed(&text[end..at.start]),
                value: DraftValue::Text(&text[at.start..at.end]),
            });
            end = at.end;
        }
        Draft {
            head: &text[..open],
            fields,
            tail: &text[end..],
        }
    }

    fn empty() -> Draft<'m> {
        Draft {
            head: "{",
            fields: Vec::new(),
            tail: "}",
        }
    }

    /// Makes one edit; false where there was nothing to change.
    fn apply(&mut self, path: &'m [String], change: &'m Change) -> bool {
        match (path, change) {
            ([], _) => {
                debug_assert!(false, "an edit names a field");
                false
            }
            ([key], Change::Remove) => self.remove(key),
            ([key], Change::Set(json)) => {
                let same = self.get(key).is_some_and(|value| value.is(json));
                if !same {
                    self.set(key, DraftValue::Text(json));
                }
                !same
            }
            ([outer, inner @ ..], change) => {
                if let Some(draft) = self.get(outer).and_then(DraftValue::object) {
                    return draft.apply(inner, change);
                }
                // What is no object has nothing to be taken away, and gives way to one.
                let mut draft = Draft::empty();
                let made = matches!(change, Change::Set(_)) && draft.apply(inner, change);
                if made {
                    self.set(outer, DraftValue::Object(draft));
                }
                made
            }
        }
    }

    fn get(&mut self, key: &str) -> Option<&mut DraftValue<'m>> {
        let found = self.fields.iter_mut().find(|field| field.key == key);
        found.map(|field| &mut field.value)
    }

    /// A field that is not there becomes the first one.
    fn set(&mut self, key: &'m str, value: DraftValue<'m>) {
        if let Some(there) = self.get(key) {
            *there = value;
            return;
        }
        if let Some(first) = self.fields.first_mut() {
            first.before.to_mut().insert(0, ',');
        }
        let name = serde_json::to_string(key).expect("a string is JSON");
        let field = DraftField {
            key: Cow::Borrowed(key),
            before: Cow::Owned(name + ":"),
            value,
        };
        self.fields.insert(0, field);
    }

    /// A field goes with the comma before it; the first one with the comma behind it.
    fn remove(&mut self, key: &str) -> bool {
        let Some(index) = self.fields.iter().position(|field| field.key == key) else {
            return false;
        };
        self.fields.remove(index);
        if let Some(first) = self.fields.first_mut().filter(|_| index == 0) {
            let comma = first.before.find(',').expect("a comma parts two fields");
            match &mut first.before {
                Cow::Borrowed(text) => *text = &text[comma + 1..],
                Cow::Owned(text) => drop(text.drain(..=comma)),
            }
        }
        true
    }

    fn text(&self) -> String {
        let mut out = String::with_capacity(self.bytes());
        self.write(&mut out);
        out
    }

    /// How long its text is.
    fn bytes(&self) -> usize {
        let fields = self.fields.iter().map(|field| {
            let value = match &field.value {
                DraftValue::Text(text) => text.len(),
                DraftValue::Object(draft) => draft.bytes(),
            };
            field.before.len() + value
        });
        self.head.len() + fields.sum::<usize>() + self.tail.len()
    }

    fn write(&self, out: &mut String) {
        out.push_str(self.head);
        for field in &self.fields {
            out.push_str(&field.before);
            match &field.value {
                DraftValue::Text(text) => out.push_str(text),
                DraftValue::Object(draft) => draft.write(out),
            }
        }
        out.push_str(self.tail);
    }
}

impl<'m> DraftValue<'m> {
    /// Whether this is its text.
    fn is(&self, json: &str) -> bool {
        match self {
            DraftValue::Text(text) => *text == json,
            DraftValue::Object(draft) => draft.text() == json,
        }
    }

    /// The value as an object to be edited; `None` where it is something else. It is read at the first time only.
    fn object(&mut self) -> Option<&mut Draft<'m>> {
        if let DraftValue::Text(text) = self {
            *self = DraftValue::Object(Draft::of(Object::read_str(text).ok()?));
        }
        match self {
            DraftValue::Object(draft) => Some(draft),
            DraftValue::Text(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ops::Range;

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

    /// A body that is edited is not read again: what was put in need not even be JSON for the edits after it.
    #[test]
    fn later_edits_do_not_read_what_earlier_ones_wrote() {
        let edits = [
            Edit::set(&["a"], "no JSON"),
            Edit::set(&["b"], "2"),
            Edit::remove(&["c"]),
        ];
        assert_eq!(edited("{\"c\":1}", &edits), "{\"b\":2,\"a\":no JSON}");
    }

    /// How edits were made before: each one on a text of its own, read anew.
    fn one_by_one(text: &str, edits: &[Edit]) -> Option<String> {
        let mut now: Option<String> = None;
        for edit in edits {
            let before = now.as_deref().unwrap_or(text);
            now = one(before, &edit.path, &edit.change).or(now);
        }
        now
    }

    fn one(text: &str, path: &[String], change: &Change) -> Option<String> {
        let object = Object::read_str(text).expect("an edited object is still an object");
        match (path, change) {
            ([key], Change::Set(value)) if object.get(key) == Some(value) => None,
            ([key], Change::Set(value)) => Some(set(&object, key, value)),
            ([key], Change::Remove) => without(&object, key),
            ([outer, inner @ ..], change) => {
                let there = object
                    .some(outer)
                    .filter(|raw| Object::read_str(raw).is_ok());
                if there.is_none() && *change == Change::Remove {
                    return None;
                }
                let next = one(there.unwrap_or("{}"), inner, change)?;
                Some(set(&object, outer, &next))
            }
            ([], _) => unreachable!("an edit names a field"),
        }
    }

    fn set(object: &Object<'_>, key: &str, value: &str) -> String {
        if let Some((_, at)) = object.fields.iter().find(|(k, _)| k == key) {
            return splice(object.text, at.clone(), value);
        }
        let open = object.text.find('{').expect("a brace") + 1;
        let comma = if object.fields.is_empty() { "" } else { "," };
        let name = serde_json::to_string(key).expect("a string is JSON");
        splice(object.text, open..open, &format!("{name}:{value}{comma}"))
    }

    fn without(object: &Object<'_>, key: &str) -> Option<String> {
        let index = object.fields.iter().position(|(k, _)| k == key)?;
        let end = object.fields[index].1.end;
        let range = if index > 0 {
            object.fields[index - 1].1.end..end
        } else {
            let open = object.text.find('{').expect("a brace") + 1;
            let comma = match object.fields.len() {
                1 => 0,
                _ => object.text[end..].find(',').expect("a comma") + 1,
            };
            open..end + comma
        };
        Some(splice(object.text, range, ""))
    }

    fn splice(text: &str, at: Range<usize>, with: &str) -> String {
        [&text[..at.start], with, &text[at.end..]].concat()
    }

    fn white() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["", "", " ", "\n\t", " \r\n "])
    }

    /// A key as it is spelled in a body.
    fn spelled() -> impl Strategy<Value = &'static str> {
        let keys = vec![
            "\"a\"",
            "\"b\"",
            "\"c\"",
            "\"\\u0061\"",
            "\"x,y\"",
            "\"\\\"{\"",
        ];
        prop::sample::select(keys)
    }

    fn scalar() -> impl Strategy<Value = String> {
        let values = vec![
            "null",
            "1",
            "-1.50e+2",
            "true",
            "\"\"",
            "\"a,b\"",
            "\"}\\\",{\"",
            "\"ü\\u00fc\"",
            "[]",
            "[1, {\"a\" :2}]",
        ];
        prop::sample::select(values).prop_map(str::to_owned)
    }

    fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        let field = (white(), spelled(), white(), white(), value, white());
        let field = field.prop_map(|(a, key, b, c, value, d)| format!("{a}{key}{b}:{c}{value}{d}"));
        let fields = prop::collection::vec(field, 0..5);
        (white(), fields).prop_map(|(inside, fields)| match fields.len() {
            0 => format!("{{{inside}}}"),
            _ => format!("{{{}}}", fields.join(",")),
        })
    }

    fn body() -> impl Strategy<Value = String> {
        let value = prop_oneof![scalar(), object(prop_oneof![scalar(), object(scalar())])];
        (white(), object(value), white()).prop_map(|(a, object, b)| format!("{a}{object}{b}"))
    }

    fn edit() -> impl Strategy<Value = Edit> {
        let key = || prop::sample::select(vec!["a", "b", "c", "x,y", "\"{"]);
        let path = prop::collection::vec(key(), 1..4);
        let json = prop_oneof![scalar(), object(scalar())];
        (path, prop::option::of(json)).prop_map(|(path, json)| match json {
            Some(json) => Edit::set(&path, json),
            None => Edit::remove(&path),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn edits_together_write_what_each_by_itself_wrote(
            text in body(),
            edits in prop::collection::vec(edit(), 0..8),
        ) {
            let object = Object::read(text.as_bytes()).expect("an object");
            prop_assert_eq!(object.edited(&edits), one_by_one(&text, &edits));
        }
    }
}
