//! A request bent to what the model that it goes to takes (`takes`): what another vendor takes and this one refuses is taken
//! out, shortened or said otherwise. Each dialect says where these things stand in its requests; the rest is here.

use super::open::cannot;
use super::{Answer, Dialect, Event, StreamWriter, schema};
use crate::chat::conversation::{Choice, Conversation, Item};
use crate::error::Error;
use crate::json::{Edit, Object};
use crate::takes::{Form, Instead, Takes};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A search of the web that the vendor makes, by the name under which it is let go.
pub(super) const SEARCH: &str = "tools.web_search";

/// A request, and what is bent of it so far.
pub struct Bender<'a> {
    fields: &'a Object<'a>,
    takes: &'a Takes,
    edits: Vec<Edit>,
    /// The fields that were changed as values, by their keys.
    changed: BTreeMap<String, Value>,
    lost: Vec<String>,
}

/// A bent request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bent {
    /// The body.
    pub body: String,
    /// What was let go or weakened, as Chat Completions calls it.
    pub lost: Vec<String>,
}

/// The request as this model takes it; `None` where it takes it as it is.
///
/// # Errors
/// A 400 that names what cannot be bent.
pub fn bent(
    dialect: &dyn Dialect,
    fields: &Object<'_>,
    takes: &Takes,
) -> Result<Option<Bent>, Error> {
    let mut bender = Bender {
        fields,
        takes,
        edits: Vec::new(),
        changed: BTreeMap::new(),
        lost: Vec::new(),
    };
    dialect.bend(&mut bender)?;
    let Bender {
        mut edits,
        changed,
        mut lost,
        ..
    } = bender;
    edits.extend(changed.into_iter().map(|(key, value)| match value {
        Value::Null => Edit::remove(&[&key]),
        value => Edit::set(&[&key], value.to_string()),
    }));
    lost.sort();
    lost.dedup();
    Ok(fields.edited(&edits).map(|body| Bent { body, lost }))
}

impl Bender<'_> {
    /// What the model takes.
    pub(super) fn takes(&self) -> &Takes {
        self.takes
    }

    /// Names something that was let go.
    pub(super) fn lose(&mut self, field: impl Into<String>) {
        self.lost.push(field.into());
    }

    /// The raw text of a field.
    pub(super) fn raw(&self, key: &str) -> Option<&str> {
        self.fields.some(key)
    }

    /// Changes one field as a value.
    pub(super) fn change<T>(&mut self, key: &str, change: impl FnOnce(&mut Self, &mut Value) -> T) {
        let changed = self.changed.get(key).cloned();
        let read = || serde_json::from_str::<Value>(self.raw(key)?).ok();
        let Some(before) = changed.or_else(read) else {
            return;
        };
        let mut after = before.clone();
        change(self, &mut after);
        if after != before {
            self.changed.insert(key.to_owned(), after);
        }
    }

    /// Takes out the fields that are refused, and gives others the name that they have here.
    pub(super) fn fields(&mut self) {
        for field in self.takes.refuses() {
            if self.fields.get(field).is_some() {
                self.edits.push(Edit::remove(&[field]));
            }
            if self.raw(field).is_some() {
                self.lose(field.as_str());
            }
        }
        for (theirs, here) in self.takes.renames() {
            if let (Some(raw), None) = (self.fields.some(theirs), self.fields.get(here)) {
                self.edits.push(Edit::set(&[here], raw));
                self.edits.push(Edit::remove(&[theirs]));
            }
        }
    }

    /// Takes out the tools that the vendor runs itself, where a cap has no bound for them and nothing forces the model to use them: agents
    /// offer them without being asked. `hosted` takes them out of one entry of `tools`, and tells whether anything is left of it.
    pub(super) fn hosted_tools(
        &mut self,
        forced: bool,
        hosted: impl Fn(&mut Value, &mut Vec<String>) -> bool,
    ) {
        if !self.takes.no_search || forced {
            return;
        }
        self.change("tools", |bender, tools| {
            if let Some(list) = tools.as_array_mut() {
                list.retain_mut(|tool| hosted(tool, &mut bender.lost));
                if list.is_empty() {
                    *tools = Value::Null;
                }
            }
        });
    }

    /// Gives the ids of calls, and of what answers them, the form that is taken: `fit` does so in one turn of this field.
    pub(super) fn call_ids(&mut self, turns: &str, fit: impl Fn(&mut CallIds<'_>, &mut Value)) {
        let Some(form) = self.takes.call_id else {
            return;
        };
        self.change(turns, |_, turns| {
            let mut ids = CallIds::new(form);
            for turn in turns.as_array_mut().into_iter().flatten() {
                fit(&mut ids, turn);
            }
        });
    }

    /// Leaves as many texts that end the answer as are taken.
    pub(super) fn stops(&mut self, path: &[&str]) {
        let takes = *self.takes;
        self.change(path[0], |bender, value| {
            let Some((holder, key)) = holder(value, path) else {
                return;
            };
            let before = texts(holder);
            let mut after = before.clone();
            after.retain(|text| !(takes.refuses_blank_stop && text.trim().is_empty()));
            after.truncate(takes.stop.unwrap_or(usize::MAX));
            if after.len() == before.len() {
                return;
            }
            bender.lose("stop");
            match after.is_empty() {
                false => *holder = after.into(),
                true => drop(remove(value, path, key)),
            }
        });
    }

    /// Shortens who the user is to what is taken.
    pub(super) fn label(&mut self, path: &[&str], name: &str) {
        let Some(rule) = self.takes.label else {
            return;
        };
        self.change(path[0], |bender, value| {
            let Some((holder, _)) = holder(value, path) else {
                return;
            };
            if let Some(fitted) = holder.as_str().and_then(|label| rule.fitted(label)) {
                *holder = fitted.into();
                bender.lose(name);
            }
        });
    }

    /// Takes out a token limit that says that there is none where that is not understood.
    pub(super) fn limits(&mut self, fields: &[&str]) {
        for field in fields {
            let none = |raw: &str| raw.parse::<i64>().is_ok_and(|limit| limit <= 0);
            if !self.takes.no_limit && self.raw(field).is_some_and(none) {
                self.edits.push(Edit::remove(&[field]));
            }
        }
    }

    /// Bends the declarations of tools; `inner` finds what holds the name and the schema, which is in `schema`.
    ///
    /// # Errors
    /// There are more than are taken.
    pub(super) fn tools(
        &mut self,
        key: &str,
        schema: &str,
        inner: impl Fn(&mut Value) -> Option<&mut Map<String, Value>>,
    ) -> Result<(), Error> {
        let mut many = false;
        self.change(key, |bender, value| {
            let tools = value.as_array_mut();
            let tools = tools.map_or(&mut [][..], Vec::as_mut_slice);
            many = bender.takes.tools.is_some_and(|most| tools.len() > most);
            for tool in tools {
                if let Some(function) = inner(tool) {
                    bender.tool(function, schema);
                }
            }
        });
        match many {
            true => Err(cannot(key)),
            false => Ok(()),
        }
    }

    fn tool(&mut self, function: &mut Map<String, Value>, key: &str) {
        let takes = *self.takes;
        if let (true, Some(schema)) = (takes.whole_schemas, function.get_mut(key)) {
            schema::complete(schema);
        }
        let strict = function.get("strict") == Some(&Value::Bool(true));
        let rule = takes.strict.filter(|_| strict);
        let (Some(rule), Some(schema)) = (rule, function.get_mut(key)) else {
            return;
        };
        if !schema::can_be_strict(schema, rule) {
            // Said to be loose, as silence means strict at Responses.
            function.insert("strict".into(), false.into());
            self.lose("tools.strict");
        }
    }

    /// Bends the form of an answer: an object that holds a schema and, beside it, the wish to follow it exactly.
    pub(super) fn format(&mut self, format: &mut Value) {
        let Some(format) = format.as_object_mut() else {
            return;
        };
        let Some(rule) = self.takes.strict else {
            return;
        };
        let strict = format.get("strict") == Some(&Value::Bool(true));
        let Some(schema) = format.get_mut("schema") else {
            return;
        };
        match rule.instead {
            Instead::Loose => {
                if strict && !schema::can_be_strict(schema, rule) {
                    format.insert("strict".into(), false.into());
                    self.lose("response_format.strict");
                }
            }
            Instead::Described => {
                for keyword in schema::describe(schema, rule) {
                    self.lose(format!("response_format.{keyword}"));
                }
            }
        }
    }

    /// Takes out every mark for the prompt cache in these values where none is taken.
    pub(super) fn unmark(&mut self, keys: &[&str]) {
        if self.takes.marks != Some(0) {
            return;
        }
        for key in keys {
            let may = |raw: &str| raw.contains(MARK);
            if !self.raw(key).is_some_and(may) {
                continue;
            }
            self.change(key, |bender, value| {
                if unmarked(value, 2) {
                    bender.lose(MARK);
                }
            });
        }
        if self.raw(MARK).is_some() {
            self.edits.push(Edit::remove(&[MARK]));
            self.lose(MARK);
        }
    }
}

/// What marks a prefix of the prompt for the cache.
pub(super) const MARK: &str = "cache_control";

/// Takes the marks out of a list of messages or tools and, one level further down, of what each of them holds.
fn unmarked(value: &mut Value, depth: usize) -> bool {
    let mut found = false;
    for one in value.as_array_mut().into_iter().flatten() {
        let Some(object) = one.as_object_mut() else {
            continue;
        };
        found |= object.shift_remove(MARK).is_some();
        if depth > 0 {
            for key in ["content", "output"] {
                if let Some(inner) = object.get_mut(key) {
                    found |= unmarked(inner, depth - 1);
                }
            }
            if let Some(Value::Object(function)) = object.get_mut("function") {
                found |= function.shift_remove(MARK).is_some();
            }
        }
    }
    found
}

/// Where the value of a path is that begins in this field.
fn holder<'v, 'p>(value: &'v mut Value, path: &[&'p str]) -> Option<(&'v mut Value, &'p str)> {
    let mut at = value;
    for key in &path[1..] {
        at = at.get_mut(*key)?;
    }
    (!at.is_null()).then_some((at, path.last().copied().unwrap_or_default()))
}

/// Takes the value of a path away.
fn remove(value: &mut Value, path: &[&str], key: &str) -> Option<Value> {
    match path.len() {
        1 => Some(std::mem::take(value)),
        length => {
            let (outer, _) = holder(value, &path[..length - 1])?;
            outer.as_object_mut()?.shift_remove(key)
        }
    }
}

/// A text, or each of several.
fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match value {
        Value::Array(list) => list.iter().filter_map(text).collect(),
        one => text(one).into_iter().collect(),
    }
}

/// Ids of calls as a vendor takes them, the same for a call and its result. Those that fit are kept, and no other becomes one of them.
pub(super) struct CallIds<'f> {
    form: &'f Form,
    written: BTreeMap<String, String>,
}

impl<'f> CallIds<'f> {
    fn new(form: &'f Form) -> CallIds<'f> {
        CallIds {
            form,
            written: BTreeMap::new(),
        }
    }

    /// The id as it is taken.
    pub(super) fn fitted(&mut self, id: &str) -> String {
        if id.is_empty() || self.form.fits(id) {
            return id.to_owned();
        }
        let form = self.form;
        let written = self.written.entry(id.to_owned());
        written.or_insert_with(|| form.fitted(id)).clone()
    }

    /// Fits the id in this field.
    pub(super) fn fit(&mut self, value: &mut Value, key: &str) {
        if let Some(held) = value.get_mut(key)
            && let Some(id) = held.as_str()
        {
            *held = self.fitted(id).into();
        }
    }
}

/// How a client calls what Chat Completions calls by this name; of a field within another one the outer is called so.
#[must_use]
pub fn called(client: &dyn Dialect, field: &str) -> String {
    let names = client.names();
    let own = |field: &str| names.iter().find(|(neutral, _)| *neutral == field);
    if let Some((_, own)) = own(field) {
        return (*own).to_owned();
    }
    match field
        .split_once('.')
        .and_then(|(outer, rest)| Some((own(outer)?, rest)))
    {
        Some(((_, own), rest)) => format!("{own}.{rest}"),
        None => field.to_owned(),
    }
}

/// The conversation with names of tools that are taken, and what each renamed one is called there and by the client.
#[must_use]
pub fn named<'c>(
    said: &'c Conversation,
    form: &Form,
) -> (Cow<'c, Conversation>, Vec<(String, String)>) {
    let mut renamed: Vec<(String, String)> = Vec::new();
    for tool in said.tools.iter().filter(|tool| !form.fits(&tool.name)) {
        renamed.push((form.fitted(&tool.name), tool.name.clone()));
    }
    let in_words = said.messages.iter().flat_map(|message| &message.items);
    let unfit = in_words.into_iter().any(|item| match item {
        Item::Call(call) => !form.fits(&call.name),
        _ => false,
    });
    if renamed.is_empty() && !unfit {
        return (Cow::Borrowed(said), renamed);
    }
    let mut said = said.clone();
    let fit = |name: &mut String| {
        if !name.is_empty() {
            *name = form.fitted(name);
        }
    };
    said.tools.iter_mut().for_each(|tool| fit(&mut tool.name));
    if let Some(Choice::Named(name)) = &mut said.choice {
        fit(name);
    }
    for item in said
        .messages
        .iter_mut()
        .flat_map(|message| &mut message.items)
    {
        match item {
            Item::Call(call) => fit(&mut call.name),
            Item::Result(result) => fit(&mut result.name),
            _ => {}
        }
    }
    (Cow::Owned(said), renamed)
}

/// Calls the tools of an answer as the client does.
pub fn own_names(answer: &mut Answer, renamed: &[(String, String)]) {
    let spoken = std::iter::once(&mut answer.first).chain(&mut answer.others);
    for item in spoken.flat_map(|spoken| &mut spoken.items) {
        if let Item::Call(call) = item {
            call_as_the_client(&mut call.name, renamed);
        }
    }
}

/// A writer that calls the tools of an answer as the client does.
#[must_use]
pub fn with_own_names(
    writer: Box<dyn StreamWriter>,
    renamed: &[(String, String)],
) -> Box<dyn StreamWriter> {
    match renamed.is_empty() {
        true => writer,
        false => Box::new(OwnNames {
            writer,
            renamed: renamed.to_vec(),
        }),
    }
}

struct OwnNames {
    writer: Box<dyn StreamWriter>,
    renamed: Vec<(String, String)>,
}

impl StreamWriter for OwnNames {
    fn write(&mut self, mut event: Event, out: &mut Vec<u8>) {
        if let Event::Call { name, .. } = &mut event {
            call_as_the_client(name, &self.renamed);
        }
        self.writer.write(event, out);
    }

    fn alive(&mut self, out: &mut Vec<u8>) {
        self.writer.alive(out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.writer.finish(out);
    }
}

fn call_as_the_client(name: &mut String, renamed: &[(String, String)]) {
    if let Some((_, own)) = renamed.iter().find(|(there, _)| there == name) {
        own.clone_into(name);
    }
}
