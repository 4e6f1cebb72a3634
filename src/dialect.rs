//! A wire language: decode and encode, both ways, with an incremental stream decoder that is fed
//! with bytes. Opens no sockets, knows no prices.
//!
//! A new dialect is one file beside these and one line in [`ALL`].

pub mod anthropic;
pub mod background;
pub mod band;
pub mod batch;
pub mod bend;
mod body;
mod carry;
mod cited;
pub mod cohere;
pub mod directory;
pub mod embed;
pub mod envelope;
pub mod fault;
mod framed;
mod functions;
pub mod gemini;
mod ids;
mod in_order;
pub mod keep;
pub mod legacy;
mod lenient;
mod logprobs;
mod media;
mod ndjson;
pub mod ollama;
mod open;
pub mod openai_chat;
pub mod openai_responses;
mod repeated;
mod schema;
pub mod sse;
pub mod steps;
pub mod unasked;
pub mod unseal;

pub use envelope::Envelope;

pub use crate::chat::answer::{Answer, Citation, Event, Finish};

use crate::arm::Effort;
use crate::chat::conversation::Conversation;
use crate::chat::{Manner, Medium, Prompt, ServiceTier};
use crate::effort::{Loops, Words};
use crate::error::Error;
use crate::json::{self, Edit, Object};
use band::Band;
use bend::Bender;
use bytes::Bytes;
use directory::Directory;
use std::borrow::Cow;

/// Every dialect that flyball speaks.
pub static ALL: &[&dyn Dialect] = &[
    &openai_chat::OpenAiChat,
    &anthropic::Anthropic,
    &gemini::Gemini,
    &openai_responses::OpenAiResponses,
    &ollama::Ollama::Chat,
    &ollama::Ollama::Generate,
    &cohere::Cohere,
];

/// One wire language: requests in and out, answers in and out.
pub trait Dialect: Send + Sync {
    /// The name used in configuration, logs and metrics.
    fn name(&self) -> &'static str;

    /// What a client asks for at this path; `None` where the path is not of this dialect.
    fn place<'p>(&self, path: &'p str, query: Option<&str>) -> Option<Place<'p>>;

    /// Batches as its clients know them; `None` where they know none.
    fn client_batches(&self) -> Option<&'static dyn batch::ClientBatches> {
        None
    }

    /// Answers in the background in its words; `None` where it knows none.
    fn background(&self) -> Option<&'static dyn background::BackgroundWords> {
        None
    }

    /// Batches as its vendors take them up; `None` where they take none.
    fn vendor_batches(&self) -> Option<&'static dyn batch::VendorBatches> {
        None
    }

    /// What is around its bodies: paths and headers that are its own.
    fn envelope(&self) -> &'static Envelope {
        &Envelope::PLAIN
    }

    /// The models in its shape.
    fn directory(&self) -> &'static dyn Directory {
        &directory::OpenAi
    }

    /// A body without a path is one of its requests, by its shape.
    fn looks_like(&self, _body: &serde_json::Map<String, serde_json::Value>) -> bool {
        false
    }

    /// Reads a request as far as flyball itself needs it. Everything borrows from `body`.
    ///
    /// # Errors
    /// A 400 that names the field: invalid JSON, a wrong type in a field that flyball reads, a duplicate key that it owns.
    fn decode_at<'a>(&self, body: &'a [u8], place: &Place<'a>) -> Result<Request<'a>, Error>;

    /// As [`Dialect::decode_at`] for a completion whose path says nothing more.
    ///
    /// # Errors
    /// As there.
    fn decode<'a>(&self, body: &'a [u8]) -> Result<Request<'a>, Error> {
        self.decode_at(body, &Place::default())
    }

    /// The whole of a decoded request, for a model that speaks another dialect.
    ///
    /// # Errors
    /// A 400 that names the first field which no other dialect can express.
    fn converse(&self, request: &Request<'_>) -> Result<Conversation, Error>;

    /// A request body that says the same in this dialect, and what of it had to be let go. Effort and the
    /// model's own needs are written afterwards, by edits.
    ///
    /// # Errors
    /// A 400 that names what this dialect cannot express.
    fn write(&self, said: &Conversation, to: &Addressee<'_>) -> Result<Written, Error>;

    /// Its requests can say which prefix of them is to be cached.
    fn says_marks(&self) -> bool {
        false
    }

    /// Bends a request to what its model takes: finds what vendors differ about where this dialect has it.
    ///
    /// # Errors
    /// A 400 that names what cannot be bent.
    fn bend(&self, _bender: &mut Bender<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Where a request names the texts that end the answer; empty where it cannot.
    fn stop_at(&self) -> &'static [&'static str] {
        &["stop"]
    }

    /// How it says an effort and a token limit.
    fn effort(&self) -> &'static dyn Words;

    /// How it says a change of effort within a conversation; `None` where it has no way.
    fn band(&self) -> Option<&'static dyn Band> {
        None
    }

    /// What this dialect calls the fields that its requests share with others, where that is not Chat Completions' name:
    /// pairs of that name and its own. What is refused or let go is named so.
    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// A request must have a message besides its instructions.
    fn needs_turn(&self) -> bool {
        true
    }

    /// The field of the token limit, where a request must have one.
    fn needs_limit(&self) -> Option<&'static str> {
        None
    }

    /// The fields that may name a model in the bodies of any call at its vendors.
    fn model_fields(&self) -> &'static [&'static str] {
        &["model"]
    }

    /// A decoder for one streamed answer.
    fn stream(&self, rule: UsageRule) -> Box<dyn StreamDecoder>;

    /// Reads a whole (not streamed) answer.
    fn answer(&self, body: &[u8], rule: UsageRule) -> Answer;

    /// A writer for one streamed answer to a client of this dialect.
    fn stream_writer(&self, frame: Frame) -> Box<dyn StreamWriter>;

    /// A whole answer for a client of this dialect.
    fn answer_body(&self, answer: Answer, frame: &Frame) -> Bytes;

    /// The field that holds the conversation.
    fn turns_field(&self) -> &'static str {
        "messages"
    }

    /// Takes other models' sealed reasoning out of a conversation of this dialect, and gives its own its form back.
    fn unseal(&self, _turns: &mut Vec<serde_json::Value>, _reader: &unseal::Reader<'_>) {}

    /// A request with what it names of earlier answers in it, as far as that is known; `None` where nothing changes.
    fn recall(&self, _body: &Bytes, _known: &dyn Fn(&str) -> Option<keep::Kept>) -> Option<Bytes> {
        None
    }

    /// The client may name the answer to this request, or a part of it, later.
    fn is_kept(&self, _request: &Request<'_>) -> bool {
        false
    }

    /// It does something besides being answered, so that an answer of before is not all that it asks for.
    fn has_effects(&self, _request: &Request<'_>) -> bool {
        false
    }

    /// The client of this request is not shown what a model thinks.
    fn hides_thoughts(&self, _request: &Request<'_>) -> bool {
        false
    }

    /// The tools of a request that have another name for a model of another dialect.
    fn renamed(&self, _request: &Request<'_>) -> Vec<Renamed> {
        Vec::new()
    }

    /// Where the model called tools in a conversation of this dialect.
    fn steps(&self, _turns: &[serde_json::Value], _demand: Loops) -> Vec<steps::Step> {
        Vec::new()
    }

    /// Puts in what stands for the thinking of a step that has lost it.
    fn mend_step(&self, _turn: &mut serde_json::Value, _demand: Loops) {}

    /// How many tokens a prompt has.
    fn counted(&self, tokens: u64) -> Bytes {
        Bytes::from(format!("{{\"input_tokens\":{tokens}}}"))
    }

    /// The end user whom a request with these fields names, with the name of the field; `None` where it names nobody.
    fn end_user<'a>(&self, _request: &Object<'a>) -> Option<(&'static str, Cow<'a, str>)> {
        None
    }

    /// A filter that hides the usage which flyball asked for and the client did not; `None` where the dialect has no such thing.
    fn hide_usage(&self) -> Option<Box<dyn StreamFilter>> {
        None
    }

    /// The edits that make a streamed answer tell its usage; empty where it always does.
    fn ask_usage(&self) -> Vec<Edit> {
        Vec::new()
    }

    /// The field in which a request may ask for its vendor's flex tier, where the dialect has one.
    fn flex_field(&self) -> Option<&'static str> {
        None
    }

    /// Its requests can ask how likely the tokens of an answer were.
    fn can_ask_logprobs(&self) -> bool {
        false
    }

    /// The edits that make an answer tell how likely its tokens were; none where the request asks for it already, or cannot.
    fn ask_logprobs(&self, _request: &Object<'_>) -> Vec<Edit> {
        Vec::new()
    }

    /// Whether the request itself asks how likely the tokens of the answer were.
    fn asks_logprobs(&self, _request: &Object<'_>) -> bool {
        false
    }

    /// Takes out of an answer, or out of one event of a stream, how likely its tokens were.
    fn strip_logprobs(&self, _answer: &mut serde_json::Value) {}

    /// The model's name stands in the body; otherwise in the path alone.
    fn model_in_body(&self) -> bool {
        true
    }

    /// A filter that frames the provider's stream as this client wants it; `None` where it is right as it comes.
    fn reframe(&self, _place: &Place<'_>) -> Option<Box<dyn StreamFilter>> {
        None
    }

    /// The media type of a streamed answer, framed as one array or not.
    fn stream_type(&self, _array: bool) -> &'static str {
        "text/event-stream"
    }

    /// An error as a JSON body in this dialect. `id` is the request id.
    fn error_body(&self, error: &Error, id: &str) -> Bytes;

    /// An error as the event that ends a stream in this dialect.
    fn error_event(&self, error: &Error, id: &str) -> Bytes;
}

/// The end user of a request in one of OpenAI's dialects. `user` is the older name of `safety_identifier`.
fn openai_user<'a>(request: &Object<'a>) -> Option<(&'static str, Cow<'a, str>)> {
    let named = |field: &'static str| {
        let name = json::text(request.some(field)?)?;
        Some((field, name))
    };
    named("safety_identifier").or_else(|| named("user"))
}

/// What a client's path asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place<'p> {
    /// The kind of work.
    pub work: PlaceWork,
    /// The model, where the path names it.
    pub model: Option<Cow<'p, str>>,
    /// The path itself says that the answer is to be streamed.
    pub stream: bool,
    /// The stream is to be one JSON array.
    pub array: bool,
}

/// The kind of work that a path asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlaceWork {
    /// An answer of a model.
    #[default]
    Complete,
    /// How many tokens a prompt has.
    CountTokens,
}

/// Whom a translated request goes to.
#[derive(Clone, Copy, Debug)]
pub struct Addressee<'a> {
    /// The model, as its provider calls it.
    pub model: &'a str,
    /// The limit that is written where the dialect must have one and the client gave none.
    pub limit: u64,
    /// It thinks, as far as anybody knows.
    pub thinks: bool,
}

/// A request body in another dialect than the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The body.
    pub body: String,
    /// Fields of the client's request that this dialect does not have and that were let go.
    pub lost: Vec<String>,
}

/// What a translated answer is framed with.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Tells this answer from others: letters and digits.
    pub id: String,
    /// The model, as long as the upstream has not said it.
    pub model: String,
    /// The model that was asked, as it is configured: sealed reasoning is its, whatever the upstream calls it.
    pub maker: String,
    /// The dialect that the model speaks.
    pub from: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The client asked for usage in its stream.
    pub usage: bool,
    /// The stream is to be one JSON array.
    pub array: bool,
    /// The client is not shown what the model thinks.
    pub hides_thoughts: bool,
    /// The client calls tools in the old way (`functions`).
    pub old_calls: bool,
    /// The client's tools that have another name in the model's dialect.
    pub renamed: Vec<Renamed>,
    /// About how many tokens the prompt has, where a dialect tells it before the answer begins.
    pub input_estimate: u64,
    /// Keeps what the client may name later.
    pub keeper: keep::Keeper,
}

/// A tool of the client's that a model of another dialect calls by another name, or in another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// What the model calls it.
    pub told: String,
    /// What the client calls it.
    pub name: String,
    /// The group that the client has it in.
    pub namespace: Option<String>,
    /// It takes words and no arguments.
    pub free: bool,
}

/// A decoded request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The client's own fields, for edits in place.
    pub fields: Object<'a>,
    /// The model asked for.
    pub model: Cow<'a, str>,
    /// The model that the body names, which may be none where the path does.
    pub model_in_body: Option<Cow<'a, str>>,
    /// The answer is to be streamed.
    pub stream: bool,
    /// The client itself asked for usage in its stream (always true where the dialect always tells it).
    pub usage_asked: bool,
    /// The client's token limit and the field that holds it.
    pub limit: Option<Limit>,
    /// How many answers are asked for (`n`); at least 1.
    pub choices: u64,
    /// The client calls tools in the old way (`functions`), and is answered so.
    pub old_calls: bool,
    /// The effort that the client set in its own words.
    pub effort: Option<Effort>,
    /// The conversation.
    pub prompt: Prompt<'a>,
    /// The service tier that the client names, if it names one.
    pub tier: Option<AskedTier>,
    /// Where and how fast the client asks to be served.
    pub manner: Manner,
    /// Fields whose cost has no bound (server tools, unknown fields, ...); named in the 400 on a capped key.
    pub unbounded: Vec<String>,
    /// Pictures, sound and documents: their cost is not in their words.
    pub media: Vec<Medium<'a>>,
}

/// A service tier that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedTier {
    /// The field that names it.
    pub field: &'static str,
    /// Which.
    pub tier: ServiceTier,
}

/// A client's token limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The field that held it.
    pub field: &'static str,
    /// The limit, in tokens.
    pub tokens: u64,
}

/// Where a provider's usage differs from its dialect's rule (data: see `provider`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsageRule {
    /// As the dialect says.
    #[default]
    Dialect,
    /// xAI chat: reasoning tokens come on top of `completion_tokens`.
    ReasoningOnTop,
    /// Gemini's OpenAI endpoint: thoughts are hidden; output = total - prompt.
    TotalMinusPrompt,
    /// Vercel AI gateway: reasoning may exceed completion; then output = completion + reasoning, flagged.
    ReasoningMayExceed,
}

/// Reads a stream that arrives in pieces cut anywhere.
pub trait StreamDecoder: Send {
    /// Takes the next bytes; calls `on` for each event that they complete.
    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(Event));
    /// The bytes have ended; the last event may lack its empty line.
    fn finish(&mut self, on: &mut dyn FnMut(Event));
}

/// Rewrites a stream event by event; bytes of events it does not touch stay as they came.
pub trait StreamFilter: Send {
    /// Takes the next bytes and gives what may go on.
    fn feed(&mut self, bytes: Bytes) -> Bytes;
    /// The bytes have ended: what was held back.
    fn finish(&mut self) -> Bytes;
    /// The stream cannot be completed: the dialect's error event, framed like the rest.
    fn fail(&mut self, event: Bytes) -> Bytes {
        event
    }
}

/// Says an answer in a client's dialect, event by event. Holds nothing back but what the dialect cannot say in pieces.
pub trait StreamWriter: Send {
    /// Says one event.
    fn write(&mut self, event: Event, out: &mut Vec<u8>);
    /// Shows that the answer is still being made, where the dialect's clients can read that.
    fn alive(&mut self, out: &mut Vec<u8>);
    /// The answer is complete: what ends the stream, once.
    fn finish(&mut self, out: &mut Vec<u8>);
}

/// A conversation that a client of one dialect began, as a request in another. What is let go, and what an error names,
/// is called as the client calls it.
///
/// # Errors
/// As [`Dialect::write`].
pub fn translate(
    from: &dyn Dialect,
    said: &Conversation,
    to: &dyn Dialect,
    addressee: &Addressee<'_>,
) -> Result<Written, Error> {
    let own = |field: &str| {
        let names = from.names().iter();
        names.copied().find(|(neutral, _)| *neutral == field)
    };
    let turned;
    let said = match to.needs_turn() && said.messages.iter().all(|m| m.items.is_empty()) {
        true => {
            turned = said.with_turn();
            &turned
        }
        false => said,
    };
    let mut written = to.write(said, addressee).map_err(|mut error| {
        if let Some((neutral, own)) = error.field.as_deref().and_then(own) {
            let (before, after) = (format!("\"{neutral}\""), format!("\"{own}\""));
            error.public = error.public.replace(&before, &after);
            error.field = Some(own.to_owned());
        }
        error
    })?;
    if !to.says_marks() && !said.marks.is_empty() {
        written.lost.push(bend::MARK.to_owned());
    }
    for field in &mut written.lost {
        if let Some((_, own)) = own(field) {
            own.clone_into(field);
        }
    }
    written.lost.sort();
    written.lost.dedup();
    Ok(written)
}

/// The dialect of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Dialect> {
    ALL.iter().copied().find(|d| d.name() == name)
}

/// The dialect of a body without a path: who looks like none of the others, and has messages, speaks the first one.
#[must_use]
pub fn guessed(body: &serde_json::Map<String, serde_json::Value>) -> Option<&'static dyn Dialect> {
    let mut all = ALL.iter().copied();
    let found = all.find(|d| d.looks_like(body));
    let messages = body.get("messages").is_some_and(|m| m.is_array());
    found.or(messages.then_some(ALL[0]))
}

/// The dialect of a path that asks for a call; of any other path see [`envelope::client`].
#[must_use]
pub fn at<'p>(path: &'p str, query: Option<&str>) -> Option<(&'static dyn Dialect, Place<'p>)> {
    ALL.iter().find_map(|d| Some((*d, d.place(path, query)?)))
}

/// A segment of a path without its percent signs; one that is no text stays as it is.
#[must_use]
pub fn unescaped(segment: &str) -> Cow<'_, str> {
    let text = percent_encoding::percent_decode_str(segment).decode_utf8();
    text.unwrap_or(Cow::Borrowed(segment))
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn a_segment_loses_its_percent_signs_where_they_make_a_text() {
        for (segment, plain) in [
            ("gpt-5", "gpt-5"),
            ("a%2Fb%2fc", "a/b/c"),
            ("%C3%BC%25", "ü%"),
            // What is no code stays, and so does a segment whose bytes are no text.
            ("100%", "100%"),
            ("%zz%+5%4", "%zz%+5%4"),
            ("%FFa%20", "%FFa%20"),
        ] {
            assert_eq!(unescaped(segment), plain);
        }
    }
}
