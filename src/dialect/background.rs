//! Answers that are made in the background, in the words of a dialect that knows them: what the client is told of one that waits, goes on or
//! has come to its end, and each event of its stream. Opens no sockets.

use crate::json::Object;
use bytes::Bytes;

/// How an answer ends of which its model has not told the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnding<'a> {
    /// Its client does not want it any more.
    Cancelled,
    /// It has failed; the sentence says why.
    Failed(&'a str),
}

/// An event of the stream in which an answer is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvent {
    /// As its client is told of it.
    pub text: String,
    /// The answer as it stands since then, where the event tells.
    pub response: Option<String>,
    /// Nothing comes after it.
    pub over: bool,
}

/// Answers in the background, in a dialect's words.
pub trait BackgroundWords: Send + Sync {
    /// A request asks for that.
    fn asks(&self, request: &Object<'_>) -> bool;
    /// The same request as one that is answered at once, as a stream.
    fn at_once(&self, request: &Object<'_>) -> Bytes;
    /// What the answer to a request of this id is called.
    fn id(&self, request: &str) -> String;
    /// An answer is called as flyball calls those that it makes: nobody else has to be asked for it.
    fn is_own(&self, id: &str) -> bool;
    /// An answer of which there is nothing yet; `created` in seconds since 1970.
    fn queued(&self, id: &str, created: i64, model: &str) -> String;
    /// An event of its stream by its data, as the event of this number of the answer that is called so; `None` where it is none.
    fn event(&self, data: &[u8], id: &str, number: u64) -> Option<JobEvent>;
    /// The whole answer, where it did not come as a stream, as that event.
    fn whole(&self, body: &[u8], id: &str, number: u64) -> Option<JobEvent>;
    /// The end that flyball makes of an answer that stands so.
    fn ending(&self, response: &str, how: JobEnding<'_>, number: u64) -> JobEvent;
    /// What an event says has gone wrong, where it says so by itself.
    fn fault(&self, data: &[u8]) -> Option<String>;
    /// The number of an event, as its client is told of it.
    fn number(&self, event: &str) -> Option<u64>;
    /// It is still to come, by what the client is told of it.
    fn is_open(&self, response: &str) -> bool;
    /// An answer was deleted.
    fn deleted(&self, id: &str) -> String;
    /// Nobody knows an answer of this id.
    fn unknown(&self, id: &str) -> String;
}
