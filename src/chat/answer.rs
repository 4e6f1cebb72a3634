//! An answer in no vendor's words: the events of a stream, and the whole.

use super::Usage;
use super::conversation::{Call, Item, Reasoning, State, texts};

/// Something that a streamed answer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Visible words.
    Text(String),
    /// Words of a model that declines.
    Refusal(String),
    /// Words of reasoning.
    Reasoning(String),
    /// What the reasoning before it (or, where there is none, the part after it) must bring back.
    State(State),
    /// A call of a tool begins.
    Call {
        /// Which call of this answer it is.
        index: u64,
        /// What its result will refer to; empty where the model's server gives none.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of a call's arguments.
    Arguments {
        /// Which call of this answer they belong to.
        index: u64,
        /// A piece of a JSON text.
        text: String,
    },
    /// A source that the words before it rest on.
    Citation {
        /// Its address.
        url: String,
        /// Its title.
        title: String,
    },
    /// The usage so far; the last one counts.
    Usage(Usage),
    /// Which model answers, as the upstream says it.
    Model(String),
    /// Why the answer ended.
    Finish(Finish),
    /// The upstream reported an error inside the stream.
    Error(String),
    /// The dialect's own end of stream (`[DONE]`, `message_stop`).
    End,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It was complete.
    Stop,
    /// A stop text came.
    StopText(Option<String>),
    /// The token limit, or the context, was reached.
    Length,
    /// The model waits for its tools.
    Calls,
    /// A filter of the provider ended it.
    Filtered,
    /// The model declined.
    Refused,
    /// A word that only this dialect has.
    Other(String),
}

impl Finish {
    /// As it is called where words of refusal have no place of their own.
    #[must_use]
    pub fn after(self, refused: bool) -> Finish {
        match self {
            Finish::Stop if refused => Finish::Refused,
            finish => finish,
        }
    }
}

/// What a whole answer said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// What it used, if it says so and it can be believed.
    pub usage: Option<Usage>,
    /// The model that answered.
    pub model: Option<String>,
    /// What was said, in order.
    pub items: Vec<Item>,
    /// Sources.
    pub citations: Vec<(String, String)>,
    /// Why it ended.
    pub finish: Option<Finish>,
    /// The upstream reported an error with a good status.
    pub error: Option<String>,
}

impl Answer {
    /// Nothing in it could be read: it was compressed, say, or of another dialect.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.usage.is_none()
            && self.finish.is_none()
            && self.items.is_empty()
            && self.error.is_none()
    }

    /// All words of the answer, for counting where no usage was given: text, reasoning and tool calls.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = String::new();
        for item in &self.items {
            match item {
                Item::Text(text) | Item::Refusal(text) => words.push_str(text),
                Item::Reasoning(reasoning) => words.push_str(&reasoning.text),
                Item::Call(call) => {
                    words.push_str(&call.name);
                    words.push_str(&call.arguments);
                }
                Item::Media(_) => {}
                Item::Result(result) => words.push_str(&result.text()),
            }
        }
        words
    }

    /// Its visible text.
    #[must_use]
    pub fn text(&self) -> String {
        texts(&self.items)
    }

    /// Adds what an event said; used for whole answers, which a decoder tells as the events they would have been.
    pub fn add(&mut self, event: Event) {
        match event {
            Event::Text(text) => match self.items.last_mut() {
                Some(Item::Text(before)) => before.push_str(&text),
                _ => self.items.push(Item::Text(text)),
            },
            Event::Refusal(text) => match self.items.last_mut() {
                Some(Item::Refusal(before)) => before.push_str(&text),
                _ => self.items.push(Item::Refusal(text)),
            },
            Event::Reasoning(text) => match self.items.last_mut() {
                Some(Item::Reasoning(Reasoning {
                    text: before,
                    state: None,
                })) => {
                    before.push_str(&text);
                }
                _ => self
                    .items
                    .push(Item::Reasoning(Reasoning { text, state: None })),
            },
            Event::State(state) => match self.items.last_mut() {
                Some(Item::Reasoning(reasoning)) if reasoning.state.is_none() => {
                    reasoning.state = Some(state);
                }
                _ => self.items.push(Item::Reasoning(Reasoning {
                    text: String::new(),
                    state: Some(state),
                })),
            },
            Event::Call { id, name, .. } => self.items.push(Item::Call(Call {
                id,
                name,
                arguments: String::new(),
            })),
            Event::Arguments { index, text } => {
                let calls = self.items.iter_mut().filter_map(|item| match item {
                    Item::Call(call) => Some(call),
                    _ => None,
                });
                let at = usize::try_from(index).unwrap_or(usize::MAX);
                if let Some(call) = calls.enumerate().find(|(n, _)| *n == at) {
                    call.1.arguments.push_str(&text);
                }
            }
            Event::Citation { url, title } => self.citations.push((url, title)),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Model(model) => self.model = Some(model),
            Event::Finish(finish) => {
                self.finish.get_or_insert(finish);
            }
            Event::Error(why) => self.error = Some(why),
            Event::End => {}
        }
    }

    /// The events that a stream of this answer would have, without the end.
    #[must_use]
    pub fn into_events(self) -> Vec<Event> {
        let mut events = Vec::new();
        events.extend(self.model.map(Event::Model));
        let mut index = 0;
        for item in self.items {
            match item {
                Item::Text(text) => events.push(Event::Text(text)),
                Item::Refusal(text) => events.push(Event::Refusal(text)),
                Item::Reasoning(Reasoning { text, state }) => {
                    events.extend(Some(text).filter(|t| !t.is_empty()).map(Event::Reasoning));
                    events.extend(state.map(Event::State));
                }
                Item::Call(Call {
                    id,
                    name,
                    arguments,
                }) => {
                    events.push(Event::Call { index, id, name });
                    events.push(Event::Arguments {
                        index,
                        text: arguments,
                    });
                    index += 1;
                }
                Item::Media(_) | Item::Result(_) => {}
            }
        }
        let citations = self.citations.into_iter();
        events.extend(citations.map(|(url, title)| Event::Citation { url, title }));
        events.extend(self.usage.map(Event::Usage));
        events.extend(self.finish.map(Event::Finish));
        events.extend(self.error.map(Event::Error));
        events
    }
}
