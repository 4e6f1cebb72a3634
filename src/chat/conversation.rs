//! A whole conversation and what is asked of the model, owned and in no vendor's words: what stands
//! between two wire languages. Made only when a request goes to a model that speaks another one.

use super::Role;
use serde_json::{Number, Value};

/// Everything that a request says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// System or developer instructions.
    pub system: Vec<String>,
    /// The messages, oldest first. Results of tools are in messages of their own (`Role::Tool`).
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it must.
    pub choice: Option<Choice>,
    /// Several calls in one answer are allowed; `None` leaves it to the model's server.
    pub parallel_calls: Option<bool>,
    /// The client calls tools in an old way that has room for one call.
    pub old_calls: bool,
    /// The answer must be JSON.
    pub format: Option<Format>,
    /// The most tokens of the answer, reasoning included.
    pub limit: Option<u64>,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// So many answers are wanted, where it is more than one.
    pub choices: Option<u64>,
    /// Logprobs are wanted, and this many alternatives to each token.
    pub logprobs: Option<u64>,
    /// The answer is to be streamed.
    pub stream: bool,
    /// The caller wants to read the reasoning, as far as the model's server shows it.
    pub show_reasoning: bool,
    /// Who the end user is, in the app's own words.
    pub user: Option<String>,
    /// What marks a prefix of it for a prompt cache, in the client's own words.
    pub marks: Vec<Mark>,
    /// Fields that the neutral form does not hold and that change no answer's meaning: let go, and named.
    pub lost: Vec<String>,
}

/// A mark for a prompt cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What it ends at.
    pub at: Marked,
    /// What it says.
    pub says: Value,
}

/// What a mark for a prompt cache stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// The request as a whole: wherever its end is.
    Whole,
    /// One of the instructions.
    System(usize),
    /// A tool.
    Tool(usize),
    /// An item of a message.
    Item(usize, usize),
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub items: Vec<Item>,
}

/// One piece of a message or of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Words.
    Text(String),
    /// Words of a model that declines.
    Refusal(String),
    /// A picture, sound or document.
    Media(Media),
    /// The model asks for a tool.
    Call(Call),
    /// A tool answered.
    Result(Returned),
    /// What the model thought.
    Reasoning(Reasoning),
}

/// A picture, sound or document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// What it is.
    pub kind: MediaKind,
    /// Its type, e.g. `image/png`; empty where nobody says.
    pub mime: String,
    /// Where its bytes are.
    pub at: Place,
    /// Its file name.
    pub name: Option<String>,
    /// How closely a picture is to be looked at (`low`, `high`, ...); `None` leaves it to the model's server.
    pub detail: Option<String>,
}

/// What a medium is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// Sound.
    Audio,
    /// A document.
    File,
}

impl MediaKind {
    /// By its type.
    #[must_use]
    pub fn of(mime: &str) -> MediaKind {
        match mime.split('/').next() {
            Some("image") => MediaKind::Image,
            Some("audio") => MediaKind::Audio,
            _ => MediaKind::File,
        }
    }
}

/// Where a medium's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Here, as base64.
    Inline(String),
    /// Here, as plain text.
    Text(String),
    /// At an address.
    Url(String),
}

/// A model's call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// What its result refers to; empty where the model's server gives none.
    pub id: String,
    /// The tool.
    pub name: String,
    /// A JSON text, as the model wrote it.
    pub arguments: String,
}

impl Call {
    /// The arguments as an object; what is no object is empty.
    #[must_use]
    pub fn object(&self) -> Value {
        serde_json::from_str(&self.arguments)
            .ok()
            .filter(Value::is_object)
            .unwrap_or_else(|| Value::Object(serde_json::Map::new()))
    }
}

/// What a tool gave back.
#[derive(Clone, Debug, PartialEq)]
pub struct Returned {
    /// The call that it answers.
    pub id: String,
    /// The tool's name, as far as the conversation tells.
    pub name: String,
    /// Texts and media.
    pub items: Vec<Item>,
    /// The tool failed.
    pub failed: bool,
}

impl Returned {
    /// Its texts as one.
    #[must_use]
    pub fn text(&self) -> String {
        texts(&self.items)
    }
}

/// All texts of these items, one line each.
#[must_use]
pub fn texts(items: &[Item]) -> String {
    let texts = items.iter().filter_map(|item| match item {
        Item::Text(text) | Item::Refusal(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// What a model thought: words, and what only the model that made it understands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// Words, or a summary; may be empty.
    pub text: String,
    /// Must go back unchanged to the model that made it, and to no other.
    pub state: Option<State>,
}

/// A signature or sealed reasoning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The dialect in which it was said.
    pub dialect: String,
    /// The model that made it; empty where nobody knows.
    pub model: String,
    /// The bytes, opaque to everybody else.
    pub value: String,
}

/// A tool that the client runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments; an object without properties where none was given.
    pub schema: Value,
    /// Arguments must follow the schema exactly.
    pub strict: Option<bool>,
}

/// Whether the model must call a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// As it likes.
    Auto,
    /// It must not.
    None,
    /// It must.
    Any,
    /// It must call this one.
    Named(String),
}

/// The answer's form.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Any JSON.
    Json,
    /// JSON by a schema.
    Schema {
        /// The schema's name.
        name: String,
        /// The schema.
        schema: Value,
        /// It must be followed exactly.
        strict: Option<bool>,
    },
}

/// How the next token is drawn. Numbers keep their spelling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: Option<Number>,
    /// The smallest set of tokens with this much probability.
    pub top_p: Option<Number>,
    /// So many of the likeliest tokens.
    pub top_k: Option<Number>,
    /// Against repeating.
    pub frequency_penalty: Option<Number>,
    /// Against repeating at all.
    pub presence_penalty: Option<Number>,
    /// For answers that can be repeated.
    pub seed: Option<Number>,
}

impl Conversation {
    /// Whether several calls in one answer are allowed; `None` leaves it to the model's server.
    #[must_use]
    pub fn parallel(&self) -> Option<bool> {
        match self.old_calls {
            true => Some(false),
            false => self.parallel_calls,
        }
    }

    /// The instructions alone, as the first message of the user.
    #[must_use]
    pub fn with_turn(&self) -> Conversation {
        let mut said = self.clone();
        let items = said.system.drain(..).map(Item::Text).collect();
        said.messages = vec![Message {
            role: Role::User,
            items,
        }];
        for mark in &mut said.marks {
            if let Marked::System(i) = mark.at {
                mark.at = Marked::Item(0, i);
            }
        }
        said
    }

    /// What marks this for a prompt cache, if something does; of several the last.
    #[must_use]
    pub fn mark(&self, at: Marked) -> Option<&Value> {
        let mark = self.marks.iter().rev().find(|mark| mark.at == at);
        mark.map(|mark| &mark.says)
    }

    /// Marks this for a prompt cache, if there is a mark.
    pub fn mark_at(&mut self, at: Marked, says: Option<Value>) {
        self.marks.extend(says.map(|says| Mark { at, says }));
    }

    /// Names every result after the call that it answers, as far as the conversation has that call.
    pub fn name_results(&mut self) {
        let mut names: Vec<(String, String)> = Vec::new();
        for item in self.messages.iter_mut().flat_map(|m| &mut m.items) {
            match item {
                Item::Call(call) => names.push((call.id.clone(), call.name.clone())),
                Item::Result(result) if result.name.is_empty() => {
                    let call = names.iter().rev().find(|(id, _)| *id == result.id);
                    result.name = call.map(|(_, name)| name.clone()).unwrap_or_default();
                }
                _ => {}
            }
        }
    }
}
