//! Calls of tools in the answers of Chat Completions, in all their vendors' spellings.

use crate::chat::conversation::State as Sealed;
use crate::dialect::Event;
use crate::dialect::lenient::{Count, Maybe, Text};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A call, or a piece of one.
#[derive(Deserialize)]
pub(super) struct ToolCall<'a> {
    #[serde(default)]
    index: Count,
    #[serde(default, borrow)]
    id: Text<'a>,
    /// Gemini's signature.
    #[serde(default, borrow)]
    extra_content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    function: Maybe<CalledFunction<'a>>,
    #[serde(default, borrow)]
    custom: Maybe<CalledFunction<'a>>,
}

/// What is called, with what.
#[derive(Deserialize)]
pub(super) struct CalledFunction<'a> {
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(default, borrow)]
    input: Option<&'a RawValue>,
}

/// What must go back as it is.
pub(super) fn sealed(raw: &RawValue) -> Event {
    Event::State(Sealed {
        dialect: "openai_chat".into(),
        model: String::new(),
        value: raw.get().to_owned(),
    })
}

/// The most calls of one answer that are told apart; more go on as pieces of the last one.
const CALLS_MAX: usize = 1_024;

/// The calls so far: vendors leave out the index, repeat the name, or give every call the same index.
#[derive(Default)]
pub(super) struct ChatCalls(Vec<KnownCall>);

struct KnownCall {
    choice: u64,
    index: Option<u64>,
    id: String,
}

impl ChatCalls {
    pub(super) fn tell(&mut self, choice: u64, call: &ToolCall<'_>, on: &mut dyn FnMut(Event)) {
        if let Some(raw) = call
            .extra_content
            .filter(|raw| raw.get().contains("thought_signature"))
        {
            on(sealed(raw));
        }
        let id = call.id.words().unwrap_or_default();
        let parts = [&call.function, &call.custom];
        for part in parts.into_iter().filter_map(|part| part.0.as_ref()) {
            self.tell_parts(choice, call.index.get(), id, part, on);
        }
    }

    pub(super) fn tell_parts(
        &mut self,
        choice: u64,
        index: Option<u64>,
        id: &str,
        call: &CalledFunction<'_>,
        on: &mut dyn FnMut(Event),
    ) {
        let name = call.name.words();
        let same = |known: &KnownCall| {
            known.choice == choice
                && known.index == index
                && (id.is_empty() || known.id.is_empty() || known.id == id)
        };
        let known = self
            .0
            .iter()
            .rposition(same)
            .filter(|_| index.is_some() || name.is_none());
        let at = match known {
            Some(at) => at,
            None if self.0.len() >= CALLS_MAX => self.0.len() - 1,
            None => {
                self.0.push(KnownCall {
                    choice,
                    index,
                    id: id.to_owned(),
                });
                let index = u64::try_from(self.0.len() - 1).unwrap_or(u64::MAX);
                on(Event::Call {
                    index,
                    id: id.to_owned(),
                    name: name.unwrap_or_default().to_owned(),
                });
                self.0.len() - 1
            }
        };
        for raw in [call.arguments, call.input].into_iter().flatten() {
            let words = crate::json::text(raw.get()).unwrap_or(raw.get().into());
            if !words.is_empty() && raw.get() != "null" {
                let index = u64::try_from(at).unwrap_or(u64::MAX);
                on(Event::Arguments {
                    index,
                    text: words.into_owned(),
                });
            }
        }
    }
}
