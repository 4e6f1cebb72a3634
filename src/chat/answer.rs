//! An answer in no vendor's words: the events of a stream, and the whole.

use super::Usage;
use super::conversation::{Call, Item, Reasoning, State, texts};
use crate::error::{Error, Kind, Retry};
use serde_json::Number;
use std::time::Duration;

/// Something that a streamed answer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What follows belongs to this one of several answers (`n`); until one is named it is the first, 0.
    Choice(u64),
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
        /// Which call of all these answers it is.
        index: u64,
        /// What its result will refer to; empty where the model's server gives none.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of a call's arguments.
    Arguments {
        /// Which call of all these answers they belong to.
        index: u64,
        /// A piece of a JSON text.
        text: String,
    },
    /// How likely the words that follow were.
    Logprobs(Vec<Token>),
    /// A source that the words before it rest on.
    Citation(Citation),
    /// The usage so far; the last one counts.
    Usage(Usage),
    /// Which model answers, as the upstream says it.
    Model(String),
    /// Why the answer ended.
    Finish(Finish),
    /// The upstream reported an error inside the stream.
    Error(Fault),
    /// The dialect's own end of stream (`[DONE]`, `message_stop`).
    End,
}

/// An error that a model's server reports with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, as far as the server's own words tell.
    pub kind: Kind,
    /// Its sentence.
    pub text: String,
}

impl Fault {
    /// What a client is told. What a provider says of the operator's account there is not the client's fault, and none of its caps.
    #[must_use]
    pub fn error(self) -> Error {
        let kind = match self.kind {
            Kind::Unauthorized | Kind::Forbidden | Kind::CapReached => Kind::UpstreamFailed,
            kind => kind,
        };
        let error = Error::new(kind, self.text);
        match kind {
            // The vendor's limit, and not one of the client's key: it may try again soon.
            Kind::RateReached => error.retry(Retry::After(Duration::from_secs(1))),
            _ => error,
        }
    }
}

impl<T: Into<String>> From<T> for Fault {
    /// The server has failed, and says no more than a sentence.
    fn from(text: T) -> Fault {
        Fault {
            kind: Kind::UpstreamFailed,
            text: text.into(),
        }
    }
}

/// A source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Citation {
    /// Its address.
    pub url: String,
    /// Its title.
    pub title: String,
    /// The first character of the answer's text that rests on it, counted from 0.
    pub start: u64,
    /// The character after the last one; 0 where nobody tells.
    pub end: u64,
}

/// A token of an answer and how likely it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its text.
    pub text: String,
    /// Its bytes, where they are told; a token may be a part of a character.
    pub bytes: Option<Vec<u8>>,
    /// The natural logarithm of its probability, as the provider spelt it.
    pub logprob: Number,
    /// What else was likely.
    pub top: Vec<Token>,
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
    /// The answer, or the first of several.
    pub first: Spoken,
    /// The further ones of several answers (`n`).
    pub others: Vec<Spoken>,
    /// The upstream reported an error with a good status.
    pub error: Option<Fault>,
    /// The work goes on after this answer (a job in the background): what it will have used is told later, elsewhere.
    pub goes_on: bool,
    /// What the provider calls such a job.
    pub job: Option<String>,
    /// Which of several answers is being told.
    pub choice: u64,
}

/// One of several answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spoken {
    /// What was said, in order.
    pub items: Vec<Item>,
    /// Sources.
    pub citations: Vec<Citation>,
    /// How likely its tokens were.
    pub logprobs: Vec<Token>,
    /// Why it ended.
    pub finish: Option<Finish>,
}

/// More answers than this are not told apart.
const CHOICES_MAX: u64 = 128;

impl Answer {
    /// Nothing in it could be read: it was compressed, say, or of another dialect.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.usage.is_none()
            && self.first.finish.is_none()
            && self.first.items.is_empty()
            && self.error.is_none()
    }

    /// The sealed reasoning in it, which only the model that made it may read.
    pub fn sealed(&self) -> impl Iterator<Item = &State> {
        self.first.items.iter().filter_map(|item| match item {
            Item::Reasoning(reasoning) => reasoning.state.as_ref(),
            _ => None,
        })
    }

    /// The reasoning that the answer shows.
    #[must_use]
    pub fn thoughts(&self) -> String {
        let others = self.others.iter().flat_map(|other| &other.items);
        let items = self.first.items.iter().chain(others);
        let thoughts = items.filter_map(|item| match item {
            Item::Reasoning(reasoning) => Some(reasoning.text.as_str()),
            _ => None,
        });
        thoughts.collect()
    }

    /// The words of the answer, for counting where no usage was given: text and tool calls.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = String::new();
        let others = self.others.iter().flat_map(|other| &other.items);
        for item in self.first.items.iter().chain(others) {
            match item {
                Item::Text(text) | Item::Refusal(text) => words.push_str(text),
                Item::Reasoning(_) | Item::Media(_) => {}
                Item::Call(call) => {
                    words.push_str(&call.name);
                    words.push_str(&call.arguments);
                }
                Item::Result(result) => words.push_str(&result.text()),
            }
        }
        words
    }

    /// Its visible text.
    #[must_use]
    pub fn text(&self) -> String {
        texts(&self.first.items)
    }

    /// Every answer of several, the first one first.
    #[must_use]
    pub fn into_spoken(self) -> Vec<Spoken> {
        std::iter::once(self.first).chain(self.others).collect()
    }

    /// Adds what an event said; used for whole answers, which a decoder tells as the events they would have been.
    pub fn add(&mut self, event: Event) {
        match event {
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Model(model) => self.model = Some(model),
            Event::Error(why) => self.error = Some(why),
            Event::Choice(choice) => self.choice = choice.min(CHOICES_MAX - 1),
            Event::Arguments { index, text } => {
                let others = self.others.iter_mut().flat_map(|other| &mut other.items);
                let calls = self.first.items.iter_mut().chain(others);
                let mut calls = calls.filter_map(|item| match item {
                    Item::Call(call) => Some(call),
                    _ => None,
                });
                let at = usize::try_from(index).unwrap_or(usize::MAX);
                if let Some(call) = calls.nth(at) {
                    call.arguments.push_str(&text);
                }
            }
            Event::Citation(citation) => self.current().citations.push(citation),
            Event::Logprobs(tokens) => self.current().logprobs.extend(tokens),
            Event::Finish(finish) => drop(self.current().finish.get_or_insert(finish)),
            Event::End => {}
            Event::Text(_)
            | Event::Refusal(_)
            | Event::Reasoning(_)
            | Event::State(_)
            | Event::Call { .. } => say(&mut self.current().items, event),
        }
    }

    /// The one of several answers that is being told.
    fn current(&mut self) -> &mut Spoken {
        let Some(at) = self.choice.checked_sub(1) else {
            return &mut self.first;
        };
        let at = usize::try_from(at).unwrap_or(0);
        if self.others.len() <= at {
            self.others.resize_with(at + 1, Spoken::default);
        }
        &mut self.others[at]
    }

    /// The events that a stream of this answer would have, without the end.
    #[must_use]
    pub fn into_events(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        events.extend(self.model.take().map(Event::Model));
        let (usage, error) = (self.usage, self.error.take());
        let (mut index, mut finishes) = (0, Vec::new());
        for (choice, spoken) in (0..).zip(self.into_spoken()) {
            if choice > 0 {
                events.push(Event::Choice(choice));
            }
            if !spoken.logprobs.is_empty() {
                events.push(Event::Logprobs(spoken.logprobs));
            }
            for item in spoken.items {
                tell(item, &mut index, &mut events);
            }
            events.extend(spoken.citations.into_iter().map(Event::Citation));
            finishes.extend(spoken.finish.map(|finish| (choice, finish)));
        }
        // A dialect may tell the usage with the end.
        events.extend(usage.map(Event::Usage));
        let several = events.iter().any(|e| matches!(e, Event::Choice(_)));
        for (choice, finish) in finishes {
            events.extend(several.then_some(Event::Choice(choice)));
            events.push(Event::Finish(finish));
        }
        events.extend(error.map(Event::Error));
        events
    }
}

/// Adds words, reasoning or a call.
fn say(items: &mut Vec<Item>, event: Event) {
    match event {
        Event::Text(text) => match items.last_mut() {
            Some(Item::Text(before)) => before.push_str(&text),
            _ => items.push(Item::Text(text)),
        },
        Event::Refusal(text) => match items.last_mut() {
            Some(Item::Refusal(before)) => before.push_str(&text),
            _ => items.push(Item::Refusal(text)),
        },
        Event::Reasoning(text) => match items.last_mut() {
            Some(Item::Reasoning(Reasoning {
                text: before,
                state: None,
            })) => before.push_str(&text),
            _ => items.push(Item::Reasoning(Reasoning { text, state: None })),
        },
        Event::State(state) => match items.last_mut() {
            Some(Item::Reasoning(reasoning)) if reasoning.state.is_none() => {
                reasoning.state = Some(state);
            }
            _ => items.push(Item::Reasoning(Reasoning {
                text: String::new(),
                state: Some(state),
            })),
        },
        Event::Call { id, name, .. } => items.push(Item::Call(Call {
            id,
            name,
            arguments: String::new(),
        })),
        _ => {}
    }
}

/// Tells one item of a whole answer.
fn tell(item: Item, index: &mut u64, events: &mut Vec<Event>) {
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
            arguments: text,
        }) => {
            let call = *index;
            *index += 1;
            events.push(Event::Call {
                index: call,
                id,
                name,
            });
            events.push(Event::Arguments { index: call, text });
        }
        Item::Media(_) | Item::Result(_) => {}
    }
}
