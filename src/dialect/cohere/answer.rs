//! Answers of Cohere Chat, streamed and whole.

use super::usage::Used;
use crate::chat::answer::Token;
use crate::dialect::framed::ReadsFrames;
use crate::dialect::lenient::{Content, Count, Maybe, Text};
use crate::dialect::sse::{SseEvent, SseReader};
use crate::dialect::{Answer, Citation, Event, Finish, body, fault};
use crate::json;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Number, Value};

/// An event of a stream.
#[derive(Deserialize)]
struct CohereEvent<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    index: Count,
    #[serde(default, borrow)]
    delta: Maybe<CohereDelta<'a>>,
    #[serde(default, borrow)]
    logprobs: Maybe<CohereLogprobs<'a>>,
    /// Of an error that is no event.
    #[serde(default, borrow)]
    message: Text<'a>,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct CohereDelta<'a> {
    #[serde(default, borrow)]
    message: Maybe<CoherePiece<'a>>,
    #[serde(default, borrow)]
    error: Text<'a>,
    #[serde(default, borrow)]
    finish_reason: Text<'a>,
    #[serde(default)]
    usage: Maybe<Used>,
}

/// A piece of a message: one of each where a whole one has a list.
#[derive(Deserialize)]
struct CoherePiece<'a> {
    #[serde(default, borrow)]
    content: Maybe<CohereContent<'a>>,
    #[serde(default, borrow)]
    tool_plan: Text<'a>,
    #[serde(default, borrow)]
    tool_calls: Maybe<CohereCall<'a>>,
    #[serde(default, borrow)]
    citations: Maybe<CohereCitation<'a>>,
}

/// A whole answer.
#[derive(Deserialize)]
struct CohereAnswer<'a> {
    #[serde(default, borrow)]
    message: Maybe<CohereMessage<'a>>,
    #[serde(default, borrow)]
    finish_reason: Text<'a>,
    #[serde(default)]
    usage: Maybe<Used>,
    #[serde(default, borrow)]
    logprobs: Content<'a, Maybe<CohereLogprobs<'a>>>,
}

#[derive(Deserialize)]
struct CohereMessage<'a> {
    #[serde(default, borrow)]
    content: Content<'a, Maybe<CohereContent<'a>>>,
    #[serde(default, borrow)]
    tool_plan: Text<'a>,
    #[serde(default, borrow)]
    tool_calls: Content<'a, Maybe<CohereCall<'a>>>,
    #[serde(default, borrow)]
    citations: Content<'a, Maybe<CohereCitation<'a>>>,
}

#[derive(Deserialize)]
struct CohereContent<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    thinking: Text<'a>,
}

#[derive(Deserialize)]
struct CohereCall<'a> {
    #[serde(default, borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    function: Maybe<CohereFunction<'a>>,
}

#[derive(Deserialize)]
struct CohereFunction<'a> {
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    arguments: Text<'a>,
}

#[derive(Deserialize)]
struct CohereCitation<'a> {
    #[serde(default)]
    start: Count,
    #[serde(default)]
    end: Count,
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default, borrow)]
    sources: Content<'a, Value>,
}

#[derive(Deserialize)]
struct CohereLogprobs<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    logprobs: Content<'a, Value>,
}

/// What is known of a stream while it is read.
#[derive(Default)]
pub(super) struct CohereStream {
    /// The index that each call has in the stream.
    calls: Vec<u64>,
    /// The model said something.
    said: bool,
    ended: bool,
}

impl CohereEvent<'_> {
    /// An error in whichever form: by its type, or one that is no event.
    fn is_error(&self) -> bool {
        match self.kind.text() {
            Some(kind) => kind == "error",
            None => self.message.words().is_some() || self.error.is_some(),
        }
    }
}

impl ReadsFrames for CohereStream {
    type Frames = SseReader;

    fn read(&mut self, frame: SseEvent<'_>, on: &mut dyn FnMut(Event)) {
        let told = json::from_slice::<CohereEvent<'_>>(frame.data).ok();
        let failed = told.as_ref().is_some_and(CohereEvent::is_error);
        if failed || frame.name == b"error" {
            return on(Event::Error(fault::told(frame.data)));
        }
        let Some(told) = told else { return };
        let mut words = false;
        let on: &mut dyn FnMut(Event) = &mut |event| {
            words |= is_said(&event);
            on(event);
        };
        let delta = told.delta.0.as_ref();
        let piece = delta.and_then(|d| d.message.0.as_ref());
        match (told.kind.text(), piece) {
            (Some("content-start" | "content-delta"), Some(piece)) => {
                likely(told.logprobs.0.as_ref(), on);
                if let Some(part) = &piece.content.0 {
                    part.tell(on);
                }
            }
            (Some("tool-plan-delta"), Some(piece)) => {
                if let Some(plan) = piece.tool_plan.words() {
                    on(Event::Text(plan.to_owned()));
                }
            }
            (Some("tool-call-start"), Some(piece)) => {
                if let Some(call) = &piece.tool_calls.0 {
                    let index = u64::try_from(self.calls.len()).unwrap_or(u64::MAX);
                    self.calls.push(told.index.get().unwrap_or(index));
                    call.tell(index, on);
                }
            }
            (Some("tool-call-delta"), Some(piece)) => self.tell_arguments(&told, piece, on),
            (Some("citation-start"), Some(piece)) => {
                if let Some(cited) = &piece.citations.0 {
                    cited.tell(on);
                }
            }
            (Some("message-end"), _) => self.end(delta, on),
            _ => {}
        }
        self.said |= words;
    }
}

impl CohereStream {
    fn tell_arguments(
        &self,
        told: &CohereEvent<'_>,
        piece: &CoherePiece<'_>,
        on: &mut dyn FnMut(Event),
    ) {
        let function = piece
            .tool_calls
            .0
            .as_ref()
            .and_then(|c| c.function.0.as_ref());
        let Some(text) = function.and_then(|f| f.arguments.words()) else {
            return;
        };
        let known = |index: u64| self.calls.iter().rposition(|known| *known == index);
        let at = told.index.get().and_then(known);
        if let Some(at) = at.or(self.calls.len().checked_sub(1)) {
            on(Event::Arguments {
                index: u64::try_from(at).unwrap_or(u64::MAX),
                text: text.to_owned(),
            });
        }
    }

    fn end(&mut self, delta: Option<&CohereDelta<'_>>, on: &mut dyn FnMut(Event)) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let usage = delta.and_then(|d| d.usage.0.as_ref()?.read(self.said));
        if let Some(usage) = usage {
            on(Event::Usage(usage));
        }
        let word = delta.and_then(|d| d.finish_reason.words());
        let why = delta.and_then(|d| d.error.words());
        match (finish(word.unwrap_or_default()), why) {
            (Ok(finish), None) => {
                on(Event::Finish(finish));
                on(Event::End);
            }
            (Err(word), why) => on(Event::Error(body::error_text(why.unwrap_or(word)).into())),
            (_, Some(why)) => on(Event::Error(body::error_text(why).into())),
        }
    }
}

/// The model's own words.
fn is_said(event: &Event) -> bool {
    matches!(
        event,
        Event::Text(_) | Event::Reasoning(_) | Event::Call { .. }
    )
}

/// Why an answer ended, or in which words it failed.
fn finish(word: &str) -> Result<Finish, &'static str> {
    Ok(match word {
        "COMPLETE" | "" => Finish::Stop,
        "STOP_SEQUENCE" => Finish::StopText(None),
        "MAX_TOKENS" => Finish::Length,
        "TOOL_CALL" => Finish::Calls,
        "ERROR" => return Err("the model's server reported an error without words"),
        "TIMEOUT" => return Err("the model did not finish its answer in time"),
        other => Finish::Other(other.to_owned()),
    })
}

impl CohereContent<'_> {
    fn tell(&self, on: &mut dyn FnMut(Event)) {
        if let Some(words) = self.thinking.words() {
            on(Event::Reasoning(words.to_owned()));
        }
        if let Some(words) = self.text.words() {
            on(Event::Text(words.to_owned()));
        }
    }
}

impl CohereCall<'_> {
    fn tell(&self, index: u64, on: &mut dyn FnMut(Event)) {
        let function = self.function.0.as_ref();
        let name = function.and_then(|f| f.name.text());
        on(Event::Call {
            index,
            id: self.id.text().unwrap_or_default().to_owned(),
            name: name.unwrap_or_default().to_owned(),
        });
        if let Some(text) = function.and_then(|f| f.arguments.words()) {
            let text = text.to_owned();
            on(Event::Arguments { index, text });
        }
    }
}

impl CohereCitation<'_> {
    /// Only sources with an address mean something to others; places in thoughts and plans are not in the text.
    fn tell(&self, on: &mut dyn FnMut(Event)) {
        if !matches!(self.kind.text(), None | Some("TEXT_CONTENT")) {
            return;
        }
        for source in self.sources.list() {
            let told = [&source["document"], &source["tool_output"]];
            let text = |key: &str| told.iter().find_map(|from| from[key].as_str());
            if let Some(url) = text("url") {
                on(Event::Citation(Citation {
                    url: url.to_owned(),
                    title: text("title").unwrap_or_default().to_owned(),
                    start: self.start.get().unwrap_or(0),
                    end: self.end.get().unwrap_or(0),
                }));
            }
        }
    }
}

/// A text of several tokens stands for one that is as likely as all of them are together, if that is told of each.
fn likely(told: Option<&CohereLogprobs<'_>>, on: &mut dyn FnMut(Event)) {
    let Some(told) = told else { return };
    let logprob = match told.logprobs.list() {
        [] => return,
        [one] => one.as_number().cloned(),
        several => {
            let sum: Option<f64> = several.iter().map(Value::as_f64).sum();
            sum.and_then(Number::from_f64)
        }
    };
    if let (Some(text), Some(logprob)) = (told.text.text(), logprob) {
        on(Event::Logprobs(vec![Token {
            text: text.to_owned(),
            bytes: None,
            logprob,
            top: Vec::new(),
        }]));
    }
}

/// Reads a whole answer.
pub(super) fn whole(bytes: &[u8]) -> Answer {
    let mut answer = Answer::default();
    let Ok(whole) = json::from_slice::<CohereAnswer<'_>>(bytes) else {
        return answer;
    };
    let mut on = |event| answer.add(event);
    for told in whole.logprobs.list() {
        likely(told.0.as_ref(), &mut on);
    }
    if let Some(message) = &whole.message.0 {
        message.tell(&mut on);
    }
    let said = !answer.words().is_empty();
    let usage = whole.usage.0.as_ref().and_then(|used| used.read(said));
    answer.usage = usage.or(answer.usage);
    match whole.finish_reason.words().map(finish) {
        None => {}
        Some(Ok(finish)) => answer.add(Event::Finish(finish)),
        Some(Err(why)) => answer.add(Event::Error(why.into())),
    }
    answer
}

impl CohereMessage<'_> {
    fn tell(&self, on: &mut dyn FnMut(Event)) {
        let parts = || self.content.list().iter().filter_map(|p| p.0.as_ref());
        for words in parts().filter_map(|part| part.thinking.words()) {
            on(Event::Reasoning(words.to_owned()));
        }
        if let Some(plan) = self.tool_plan.words() {
            on(Event::Text(plan.to_owned()));
        }
        let texts = parts().filter_map(|part| part.text.words());
        for words in self.content.words().into_iter().chain(texts) {
            on(Event::Text(words.to_owned()));
        }
        let calls = self.tool_calls.list().iter().filter_map(|c| c.0.as_ref());
        for (index, call) in (0..).zip(calls) {
            call.tell(index, on);
        }
        for cited in self.citations.list().iter().filter_map(|c| c.0.as_ref()) {
            cited.tell(on);
        }
    }
}

#[cfg(test)]
mod tests;
