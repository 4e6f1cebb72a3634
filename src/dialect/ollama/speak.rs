//! Answers of any model in the words of Ollama's own API, whole and streamed.

use super::Ollama;
use crate::chat::Usage;
use crate::chat::answer::Token;
use crate::chat::conversation::{Call, Item};
use crate::dialect::in_order::LATE;
use crate::dialect::{Answer, Event, Finish, Frame, StreamWriter, logprobs};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The most that calls in the making are held: here a call is said as a whole.
const CALLS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A whole answer.
pub(super) fn whole(api: Ollama, answer: Answer, frame: &Frame) -> Bytes {
    let model = answer.model.clone().unwrap_or_else(|| frame.model.clone());
    let text = answer.text();
    let mut thoughts = String::new();
    let mut calls = Vec::new();
    for item in &answer.first.items {
        match item {
            Item::Reasoning(reasoning) => thoughts.push_str(&reasoning.text),
            Item::Call(call) => calls.push(called(call, frame, calls.len())),
            Item::Text(_) | Item::Refusal(_) | Item::Media(_) | Item::Result(_) => {}
        }
    }
    let mut body = said(api, frame, &model, &text, &thoughts, calls);
    likely(&mut body, &answer.first.logprobs);
    end(
        &mut body,
        &answer.first.finish.unwrap_or(Finish::Stop),
        &answer.usage.unwrap_or_default(),
    );
    Bytes::from(Value::Object(body).to_string())
}

fn called(call: &Call, frame: &Frame, index: usize) -> Value {
    let id = match call.id.is_empty() {
        true => format!("call_{}{index}", frame.id),
        false => call.id.clone(),
    };
    json!({"id": id, "function": {"index": index, "name": call.name, "arguments": call.object()}})
}

fn said(
    api: Ollama,
    frame: &Frame,
    model: &str,
    text: &str,
    thoughts: &str,
    calls: Vec<Value>,
) -> Map<String, Value> {
    let mut body = Map::new();
    let seconds = i64::try_from(frame.created).unwrap_or(0);
    let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    body.insert("model".into(), model.into());
    body.insert("created_at".into(), at.to_string().into());
    match api {
        Ollama::Chat => {
            let mut message = json!({"role": "assistant", "content": text});
            if !thoughts.is_empty() {
                message["thinking"] = thoughts.into();
            }
            if !calls.is_empty() {
                message["tool_calls"] = calls.into();
            }
            body.insert("message".into(), message);
        }
        Ollama::Generate => {
            body.insert("response".into(), text.into());
            if !thoughts.is_empty() {
                body.insert("thinking".into(), thoughts.into());
            }
        }
    }
    body.insert("done".into(), false.into());
    body
}

fn likely(body: &mut Map<String, Value>, tokens: &[Token]) {
    if !tokens.is_empty() {
        body.insert("logprobs".into(), logprobs::listed(tokens));
    }
}

fn end(body: &mut Map<String, Value>, finish: &Finish, usage: &Usage) {
    let reason = if *finish == Finish::Length {
        "length"
    } else {
        "stop"
    };
    body.insert("done".into(), true.into());
    body.insert("done_reason".into(), reason.into());
    // Durations are the server's own and nobody knows them here; clients divide by them, so none is 0.
    for key in ["total_duration", "prompt_eval_duration", "eval_duration"] {
        body.insert(key.into(), 1.into());
    }
    body.insert("prompt_eval_count".into(), usage.input_total().into());
    body.insert("eval_count".into(), usage.output.into());
}

/// A streamed answer.
pub(super) struct OllamaWriter {
    api: Ollama,
    frame: Frame,
    usage: Usage,
    calls: Vec<Call>,
    said_calls: usize,
    /// How likely the words were that come next.
    tokens: Vec<Token>,
    finish: Option<Finish>,
    closed: bool,
}

impl OllamaWriter {
    pub(super) fn new(api: Ollama, frame: Frame) -> OllamaWriter {
        OllamaWriter {
            api,
            frame,
            usage: Usage::default(),
            calls: Vec::new(),
            said_calls: 0,
            tokens: Vec::new(),
            finish: None,
            closed: false,
        }
    }

    fn line(&self, text: &str, thoughts: &str, calls: Vec<Value>, out: &mut Vec<u8>) {
        let body = said(
            self.api,
            &self.frame,
            &self.frame.model,
            text,
            thoughts,
            calls,
        );
        out.extend_from_slice(format!("{}\n", Value::Object(body)).as_bytes());
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        for call in std::mem::take(&mut self.calls) {
            let made = called(&call, &self.frame, self.said_calls);
            self.said_calls += 1;
            self.line("", "", vec![made], out);
        }
    }

    fn fail(&mut self, why: &str, out: &mut Vec<u8>) {
        self.closed = true;
        out.extend_from_slice(format!("{}\n", json!({"error": why})).as_bytes());
    }

    fn arguments(&mut self, index: u64, text: &str, out: &mut Vec<u8>) {
        let held: usize = self.calls.iter().map(|c| c.arguments.len()).sum();
        if held + text.len() > CALLS_BYTES_MAX {
            return self.fail("the arguments of a tool call are too long", out);
        }
        let at = usize::try_from(index)
            .ok()
            .and_then(|i| i.checked_sub(self.said_calls));
        match at {
            Some(at) => {
                if let Some(call) = self.calls.get_mut(at) {
                    call.arguments.push_str(text);
                }
            }
            None if !text.trim().is_empty() => self.fail(LATE, out),
            None => {}
        }
    }
}

impl StreamWriter for OllamaWriter {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        match event {
            Event::Model(model) => self.frame.model = model,
            Event::Text(text) | Event::Refusal(text) => {
                self.flush(out);
                let tokens = std::mem::take(&mut self.tokens);
                let mut body = said(
                    self.api,
                    &self.frame,
                    &self.frame.model,
                    &text,
                    "",
                    Vec::new(),
                );
                likely(&mut body, &tokens);
                out.extend_from_slice(format!("{}\n", Value::Object(body)).as_bytes());
            }
            Event::Reasoning(text) => {
                self.flush(out);
                self.line("", &text, Vec::new(), out);
            }
            Event::Call { id, name, .. } => {
                let arguments = String::new();
                self.calls.push(Call {
                    id,
                    name,
                    arguments,
                });
            }
            Event::Arguments { index, text } => self.arguments(index, &text, out),
            Event::Usage(usage) => self.usage = usage,
            Event::Finish(finish) => drop(self.finish.get_or_insert(finish)),
            // There is no place for sealed reasoning or sources in this API.
            Event::State(_) | Event::Citation(_) | Event::Choice(_) => {}
            Event::Logprobs(tokens) => self.tokens.extend(tokens),
            Event::Error(fault) => self.fail(&fault.text, out),
            Event::End => self.finish(out),
        }
    }

    /// A line of JSON says something.
    fn alive(&mut self, _out: &mut Vec<u8>) {}

    fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.flush(out);
        let mut body = said(self.api, &self.frame, &self.frame.model, "", "", Vec::new());
        let finish = self.finish.take().unwrap_or(Finish::Stop);
        end(&mut body, &finish, &self.usage);
        out.extend_from_slice(format!("{}\n", Value::Object(body)).as_bytes());
    }
}
