//! A wire language: decode and encode, both ways, with an incremental stream decoder that is fed
//! with bytes. Opens no sockets, knows no prices.
//!
//! A new dialect is one file beside these and one line in [`ALL`].

pub mod anthropic;
mod body;
mod lenient;
pub mod openai_chat;
pub mod sse;

use crate::chat::{Prompt, Usage};
use crate::error::Error;
use crate::json::Object;
use crate::route::arm::Effort;
use bytes::Bytes;
use std::borrow::Cow;

/// Every dialect that flyball speaks.
pub static ALL: &[&dyn Dialect] = &[&openai_chat::OpenAiChat, &anthropic::Anthropic];

/// One wire language.
pub trait Dialect: Send + Sync {
    /// The name used in configuration, logs and metrics.
    fn name(&self) -> &'static str;

    /// The client's path for a completion in this dialect, e.g. `/v1/chat/completions`.
    fn path(&self) -> &'static str;

    /// Reads a request. Everything borrows from `body`.
    ///
    /// # Errors
    /// A 400 that names the field: invalid JSON, a wrong type in a field that flyball reads, a duplicate key that it owns.
    fn decode<'a>(&self, body: &'a [u8]) -> Result<Request<'a>, Error>;

    /// A decoder for one streamed answer.
    fn stream(&self, rule: UsageRule) -> Box<dyn StreamDecoder>;

    /// Reads a whole (not streamed) answer.
    fn answer(&self, body: &[u8], rule: UsageRule) -> Answer;

    /// A filter that hides the usage which flyball asked for and the client did not; `None` where the dialect has no such thing.
    fn hide_usage(&self) -> Option<Box<dyn StreamFilter>>;

    /// The edits that make a streamed answer tell its usage; empty where it always does.
    fn ask_usage(&self) -> Vec<crate::json::Edit>;

    /// An error as a JSON body in this dialect. `id` is the request id.
    fn error_body(&self, error: &Error, id: &str) -> Bytes;

    /// An error as the event that ends a stream in this dialect.
    fn error_event(&self, error: &Error, id: &str) -> Bytes;
}

/// A decoded request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The client's own fields, for edits in place.
    pub fields: Object<'a>,
    /// The model asked for.
    pub model: Cow<'a, str>,
    /// The answer is to be streamed.
    pub stream: bool,
    /// The client itself asked for usage in its stream (always true where the dialect always tells it).
    pub usage_asked: bool,
    /// The client's token limit and the field that holds it.
    pub limit: Option<Limit>,
    /// How many answers are asked for (`n`); at least 1.
    pub choices: u64,
    /// The effort that the client set in its own words.
    pub effort: Option<Effort>,
    /// The conversation.
    pub prompt: Prompt<'a>,
    /// Fields whose cost has no bound (server tools, files by reference, a priced tier, ...); named in the 400 on a capped key.
    pub unbounded: Vec<String>,
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

/// Something that a streamed answer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Visible words.
    Text(String),
    /// Words of reasoning.
    Reasoning(String),
    /// A piece of a tool call (its name or a part of its arguments).
    ToolCall(String),
    /// The usage so far; the last one counts.
    Usage(Usage),
    /// Which model answers, as the upstream says it.
    Model(String),
    /// Why the answer ended, in the dialect's own word.
    Finish(String),
    /// The upstream reported an error inside the stream.
    Error(String),
    /// The dialect's own end of stream (`[DONE]`, `message_stop`).
    End,
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
}

/// What a whole answer said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What it used, if it says so and it can be believed.
    pub usage: Option<Usage>,
    /// The model that answered.
    pub model: Option<String>,
    /// All words of the answer, for counting where no usage was given: text, reasoning and tool calls.
    pub text: String,
    /// Why it ended.
    pub finish: Option<String>,
}

/// The dialect of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Dialect> {
    ALL.iter().copied().find(|d| d.name() == name)
}
