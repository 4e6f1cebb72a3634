//! Answers of any model in the words of Cohere Chat, whole and streamed.

use crate::chat::Usage;
use crate::chat::answer::Token;
use crate::chat::conversation::{Call, Item, texts};
use crate::dialect::{Answer, Citation, Event, Finish, Frame, StreamWriter};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The most of a text that is kept for the words that its sources stand for.
const WORDS_BYTES_MAX: usize = 1024 * 1024;

/// A whole answer.
pub(super) fn whole(answer: Answer, frame: &Frame) -> Bytes {
    let words = texts(&answer.first.items);
    let (mut content, mut calls) = (Vec::new(), Vec::new());
    for item in &answer.first.items {
        match item {
            Item::Reasoning(thought) if !thought.text.is_empty() => {
                content.push(json!({"type": "thinking", "thinking": thought.text}));
            }
            Item::Text(text) | Item::Refusal(text) => {
                content.push(json!({"type": "text", "text": text}));
            }
            Item::Call(call) => calls.push(called(call, frame, calls.len())),
            Item::Reasoning(_) | Item::Media(_) | Item::Result(_) => {}
        }
    }
    if content.is_empty() && calls.is_empty() {
        content.push(json!({"type": "text", "text": ""}));
    }
    let finish = answer.first.finish.unwrap_or(Finish::Stop);
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    if !content.is_empty() {
        message.insert("content".into(), content.into());
    }
    let finish_reason = reason(&finish, !calls.is_empty());
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    if !answer.first.citations.is_empty() {
        let cited = answer.first.citations.iter().map(|c| cited(c, &words));
        message.insert("citations".into(), cited.collect());
    }
    let usage = used(&answer.usage.unwrap_or_default());
    let mut body =
        json!({"id": frame.id, "finish_reason": finish_reason, "message": message, "usage": usage});
    if !answer.first.logprobs.is_empty() {
        let each = answer
            .first
            .logprobs
            .iter()
            .map(|t| likely(std::slice::from_ref(t)));
        body["logprobs"] = each.collect();
    }
    Bytes::from(body.to_string())
}

fn called(call: &Call, frame: &Frame, index: usize) -> Value {
    let id = call_id(&call.id, frame, index);
    json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

fn call_id(id: &str, frame: &Frame, index: usize) -> String {
    match id.is_empty() {
        true => format!("call_{}{index}", frame.id),
        false => id.to_owned(),
    }
}

/// A source, and the words of the text that rest on it.
fn cited(source: &Citation, words: &str) -> Value {
    let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
    let (start, end) = (at(source.start), at(source.end));
    let text: String = words
        .chars()
        .skip(start)
        .take(end.saturating_sub(start))
        .collect();
    let document = json!({"id": source.url, "title": source.title, "url": source.url});
    json!({
        "start": source.start, "end": source.end, "text": text, "content_index": 0, "type": "TEXT_CONTENT",
        "sources": [{"type": "document", "id": source.url, "document": document}],
    })
}

fn likely(tokens: &[Token]) -> Value {
    let text: String = tokens.iter().map(|t| t.text.as_str()).collect();
    let logprobs: Vec<Value> = tokens
        .iter()
        .map(|t| Value::Number(t.logprob.clone()))
        .collect();
    // The tokens' numbers are the model's own, and nobody tells them.
    json!({"text": text, "token_ids": [], "logprobs": logprobs})
}

fn reason(finish: &Finish, calls: bool) -> &'static str {
    match finish {
        Finish::Calls => "TOOL_CALL",
        Finish::Stop if calls => "TOOL_CALL",
        Finish::StopText(_) => "STOP_SEQUENCE",
        Finish::Length => "MAX_TOKENS",
        Finish::Stop | Finish::Filtered | Finish::Refused | Finish::Other(_) => "COMPLETE",
    }
}

fn used(usage: &Usage) -> Value {
    let tokens = json!({"input_tokens": usage.input_total(), "output_tokens": usage.output});
    json!({"billed_units": tokens, "tokens": tokens, "cached_tokens": usage.cached})
}

/// The event that ends a stream which failed.
pub(super) fn failed(why: &str, id: &str) -> String {
    let delta = json!({"error": why, "finish_reason": "ERROR"});
    event("message-end", json!({"id": id, "delta": delta}))
}

fn event(kind: &str, mut fields: Value) -> String {
    let mut body = Map::new();
    body.insert("type".into(), kind.into());
    if let Value::Object(fields) = &mut fields {
        body.append(fields);
    }
    format!("event: {kind}\ndata: {}\n\n", Value::Object(body))
}

/// What of an answer's content stands open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Text,
    Thinking,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Text => "text",
            Part::Thinking => "thinking",
        }
    }
}

/// A streamed answer. It is told one call after the other.
pub(super) struct Writer {
    frame: Frame,
    usage: Usage,
    /// The part that is open, and its index.
    open: Option<(Part, u64)>,
    next: u64,
    /// A call is open.
    in_call: bool,
    /// So many calls are complete.
    said_calls: usize,
    /// The text so far, for the words that sources stand for.
    words: String,
    citations: u64,
    tokens: Vec<Token>,
    finish: Option<Finish>,
    begun: bool,
    closed: bool,
}

impl Writer {
    pub(super) fn new(frame: Frame) -> Writer {
        Writer {
            frame,
            usage: Usage::default(),
            open: None,
            next: 0,
            in_call: false,
            said_calls: 0,
            words: String::new(),
            citations: 0,
            tokens: Vec::new(),
            finish: None,
            begun: false,
            closed: false,
        }
    }

    fn send(&mut self, kind: &str, fields: Value, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            let message = json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
            let start = json!({"id": self.frame.id, "delta": {"message": message}});
            out.extend_from_slice(event("message-start", start).as_bytes());
        }
        out.extend_from_slice(event(kind, fields).as_bytes());
    }

    /// Closes what stands open.
    fn close(&mut self, out: &mut Vec<u8>) {
        self.close_call(out);
        if let Some((_, index)) = self.open.take() {
            self.send("content-end", json!({"index": index}), out);
        }
    }

    fn say(&mut self, part: Part, text: &str, out: &mut Vec<u8>) {
        let index = match self.open {
            Some((open, index)) if open == part => index,
            _ => {
                self.close(out);
                let index = self.next;
                self.next += 1;
                self.open = Some((part, index));
                let content = json!({"type": part.name(), part.name(): ""});
                let delta = json!({"message": {"content": content}});
                self.send(
                    "content-start",
                    json!({"index": index, "delta": delta}),
                    out,
                );
                index
            }
        };
        let delta = json!({"message": {"content": {part.name(): text}}});
        let mut fields = json!({"index": index, "delta": delta});
        if !self.tokens.is_empty() {
            fields["logprobs"] = likely(&std::mem::take(&mut self.tokens));
        }
        self.send("content-delta", fields, out);
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        self.say(Part::Text, text, out);
        if self.words.len() < WORDS_BYTES_MAX {
            self.words.push_str(text);
        }
    }

    fn cite(&mut self, source: &Citation, out: &mut Vec<u8>) {
        self.close_call(out);
        let index = self.citations;
        self.citations += 1;
        let delta = json!({"message": {"citations": cited(source, &self.words)}});
        self.send(
            "citation-start",
            json!({"index": index, "delta": delta}),
            out,
        );
        self.send("citation-end", json!({"index": index}), out);
    }

    fn call(&mut self, id: &str, name: String, out: &mut Vec<u8>) {
        self.close(out);
        self.in_call = true;
        let call = Call {
            id: id.to_owned(),
            name,
            arguments: String::new(),
        };
        let index = self.said_calls;
        let delta = json!({"message": {"tool_calls": called(&call, &self.frame, index)}});
        self.send(
            "tool-call-start",
            json!({"index": index, "delta": delta}),
            out,
        );
    }

    fn arguments(&mut self, text: &str, out: &mut Vec<u8>) {
        let delta = json!({"message": {"tool_calls": {"function": {"arguments": text}}}});
        let fields = json!({"index": self.said_calls, "delta": delta});
        self.send("tool-call-delta", fields, out);
    }

    fn close_call(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.in_call) {
            self.send("tool-call-end", json!({"index": self.said_calls}), out);
            self.said_calls += 1;
        }
    }

    fn fail(&mut self, why: &str, out: &mut Vec<u8>) {
        self.closed = true;
        out.extend_from_slice(failed(why, &self.frame.id).as_bytes());
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        match event {
            Event::Text(text) | Event::Refusal(text) => self.text(&text, out),
            Event::Reasoning(text) => self.say(Part::Thinking, &text, out),
            Event::Call { id, name, .. } => self.call(&id, name, out),
            Event::Arguments { text, .. } if self.in_call => self.arguments(&text, out),
            Event::Arguments { .. } => {}
            Event::Citation(source) => self.cite(&source, out),
            Event::Logprobs(tokens) => self.tokens.extend(tokens),
            Event::Usage(usage) => self.usage = usage,
            Event::Finish(finish) => drop(self.finish.get_or_insert(finish)),
            // There is no place for a model's name or sealed reasoning in this API.
            Event::Model(_) | Event::State(_) | Event::Choice(_) => {}
            Event::Error(fault) => self.fail(&fault.text, out),
            Event::End => self.finish(out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        self.close(out);
        self.closed = true;
        let finish = self.finish.take().unwrap_or(Finish::Stop);
        let finish_reason = reason(&finish, self.said_calls > 0);
        let delta = json!({"finish_reason": finish_reason, "usage": used(&self.usage)});
        let fields = json!({"id": self.frame.id, "delta": delta});
        self.send("message-end", fields, out);
    }
}
