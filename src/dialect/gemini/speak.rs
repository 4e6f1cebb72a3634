//! Answers of any model in Gemini's words, whole and streamed.

use super::frame::ToArray;
use crate::chat::Usage;
use crate::chat::conversation::{Call, Item, State};
use crate::dialect::{Answer, Event, Finish, Frame, StreamFilter, StreamWriter, carry};
use crate::error::{Error, Kind};
use bytes::Bytes;
use serde_json::{Value, json};

/// The most that calls in the making are held: here a call is said as a whole.
const CALLS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A whole answer.
pub(super) fn whole(answer: Answer, frame: &Frame) -> Bytes {
    let model = answer.model.clone().unwrap_or_else(|| frame.model.clone());
    let mut parts = Vec::new();
    let (mut state, mut sealed, mut calls, mut refused) = (None, false, 0, false);
    for item in answer.items {
        let part = match item {
            Item::Text(text) => json!({"text": text}),
            Item::Refusal(text) => {
                refused = true;
                json!({"text": text})
            }
            Item::Reasoning(reasoning) => {
                if !reasoning.text.is_empty() {
                    if let Some(before) = state.take().filter(|_| sealed) {
                        parts.push(signed(json!({"text": ""}), Some(before), frame, &model));
                    }
                    sealed = false;
                    parts.push(json!({"text": reasoning.text, "thought": true}));
                    let words = State {
                        dialect: String::new(),
                        model: String::new(),
                        value: "text".into(),
                    };
                    state = Some(words);
                }
                if let Some(own) = reasoning.state {
                    // Each has a part of its own to ride on.
                    if let Some(before) = state.take().filter(|_| sealed) {
                        parts.push(signed(json!({"text": ""}), Some(before), frame, &model));
                    }
                    state = Some(own);
                    sealed = true;
                }
                continue;
            }
            Item::Call(call) => {
                calls += 1;
                called(&call, frame, calls - 1)
            }
            Item::Media(_) | Item::Result(_) => continue,
        };
        parts.push(signed(part, state.take(), frame, &model));
        sealed = false;
    }
    if let Some(state) = state {
        parts.push(signed(json!({"text": ""}), Some(state), frame, &model));
    }
    let finish = answer.finish.unwrap_or(Finish::Stop).after(refused);
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "finishReason": finished(&finish), "index": 0});
    if !answer.citations.is_empty() {
        candidate["groundingMetadata"] = grounded(&answer.citations);
    }
    let body = json!({
        "candidates": [candidate], "usageMetadata": used(&answer.usage.unwrap_or_default()),
        "modelVersion": model, "responseId": frame.id,
    });
    Bytes::from(body.to_string())
}

fn called(call: &Call, frame: &Frame, index: usize) -> Value {
    let id = match call.id.is_empty() {
        true => format!("call_{}{index}", frame.id),
        false => call.id.clone(),
    };
    json!({"functionCall": {"id": id, "name": call.name, "args": call.object()}})
}

/// A state rides on the part after it; SDKs read it as bytes in base64.
fn signed(mut part: Value, state: Option<State>, frame: &Frame, model: &str) -> Value {
    use base64::Engine;
    if let Some(state) = state {
        let packed = carry::pack(&state, frame.from, model);
        part["thoughtSignature"] = base64::engine::general_purpose::STANDARD
            .encode(packed)
            .into();
    }
    part
}

fn grounded(citations: &[(String, String)]) -> Value {
    let chunks = citations
        .iter()
        .map(|(url, title)| json!({"web": {"uri": url, "title": title}}));
    json!({"groundingChunks": chunks.collect::<Vec<_>>()})
}

fn finished(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopText(_) | Finish::Calls | Finish::Other(_) => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::Filtered | Finish::Refused => "SAFETY",
    }
}

fn used(usage: &Usage) -> Value {
    let prompt = usage.input_total();
    let candidates = usage.output.saturating_sub(usage.reasoning);
    let mut said = json!({"promptTokenCount": prompt, "candidatesTokenCount": candidates});
    if usage.reasoning > 0 {
        said["thoughtsTokenCount"] = usage.reasoning.into();
    }
    if usage.cached > 0 {
        said["cachedContentTokenCount"] = usage.cached.into();
    }
    said["totalTokenCount"] = prompt.saturating_add(usage.output).into();
    said
}

/// A streamed answer.
pub(super) struct Writer {
    frame: Frame,
    usage: Usage,
    state: Option<State>,
    thought: bool,
    /// Calls whose arguments still come.
    calls: Vec<Call>,
    said_calls: usize,
    citations: Vec<(String, String)>,
    refused: bool,
    finish: Option<Finish>,
    array: Option<ToArray>,
    closed: bool,
}

impl Writer {
    pub(super) fn new(frame: Frame) -> Writer {
        Writer {
            usage: Usage {
                input: frame.input_estimate,
                ..Usage::default()
            },
            state: None,
            thought: false,
            calls: Vec::new(),
            said_calls: 0,
            citations: Vec::new(),
            refused: false,
            finish: None,
            array: frame.array.then(ToArray::default),
            frame,
            closed: false,
        }
    }

    fn event(&mut self, body: &Value, out: &mut Vec<u8>) {
        let event = format!("data: {body}\r\n\r\n");
        match &mut self.array {
            None => out.extend_from_slice(event.as_bytes()),
            Some(array) => out.extend_from_slice(&array.feed(Bytes::from(event))),
        }
    }

    fn piece(&mut self, part: Value, finish: Option<&Finish>, out: &mut Vec<u8>) {
        let mut candidate = json!({"content": {"parts": [part], "role": "model"}, "index": 0});
        if let Some(finish) = finish {
            candidate["finishReason"] = finished(finish).into();
            if !self.citations.is_empty() {
                candidate["groundingMetadata"] = grounded(&self.citations);
            }
        }
        let body = json!({
            "candidates": [candidate], "usageMetadata": used(&self.usage),
            "modelVersion": self.frame.model, "responseId": self.frame.id,
        });
        self.event(&body, out);
    }

    /// The state of the thoughts before this part.
    fn state(&mut self) -> Option<State> {
        let words = self.thought.then(|| State {
            dialect: String::new(),
            model: String::new(),
            value: "text".into(),
        });
        self.thought = false;
        self.state.take().or(words)
    }

    /// A state that waits for a part to ride on gets one of its own before the next comes.
    fn let_out(&mut self, out: &mut Vec<u8>) {
        if self.state.is_some() {
            self.part(json!({"text": ""}), out);
        }
    }

    fn part(&mut self, part: Value, out: &mut Vec<u8>) {
        self.flush(out);
        let state = self.state();
        let part = signed(part, state, &self.frame, &self.frame.model);
        self.piece(part, None, out);
    }

    /// Says the calls that are complete now.
    fn flush(&mut self, out: &mut Vec<u8>) {
        for call in std::mem::take(&mut self.calls) {
            let state = self.state();
            let part = called(&call, &self.frame, self.said_calls);
            self.said_calls += 1;
            let part = signed(part, state, &self.frame, &self.frame.model);
            self.piece(part, None, out);
        }
    }

    fn fail(&mut self, why: String, out: &mut Vec<u8>) {
        self.closed = true;
        let error = Error::new(Kind::UpstreamFailed, why);
        let event = Bytes::from(format!("data: {}\r\n\r\n", super::error_json(&error)));
        match &mut self.array {
            None => out.extend_from_slice(&event),
            Some(array) => out.extend_from_slice(&array.fail(event)),
        }
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        match event {
            Event::Model(model) => self.frame.model = model,
            Event::Text(text) => self.part(json!({"text": text}), out),
            Event::Refusal(text) => {
                self.refused = true;
                self.part(json!({"text": text}), out);
            }
            Event::Reasoning(text) => {
                self.flush(out);
                self.let_out(out);
                self.thought = true;
                self.piece(json!({"text": text, "thought": true}), None, out);
            }
            Event::State(state) => {
                self.flush(out);
                self.let_out(out);
                self.state = Some(state);
            }
            Event::Call { id, name, .. } => {
                let arguments = String::new();
                self.calls.push(Call {
                    id,
                    name,
                    arguments,
                });
            }
            Event::Arguments { index, text } => {
                let held: usize = self.calls.iter().map(|c| c.arguments.len()).sum();
                let at = usize::try_from(index)
                    .ok()
                    .and_then(|i| i.checked_sub(self.said_calls));
                match at.and_then(|at| self.calls.get_mut(at)) {
                    _ if held + text.len() > CALLS_BYTES_MAX => {
                        self.fail("the arguments of a tool call are too long".into(), out);
                    }
                    Some(call) => call.arguments.push_str(&text),
                    None => {}
                }
            }
            Event::Citation { url, title } => self.citations.push((url, title)),
            Event::Usage(usage) => self.usage = usage,
            Event::Finish(finish) => drop(self.finish.get_or_insert(finish)),
            Event::Error(why) => self.fail(why, out),
            Event::End => self.finish(out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.flush(out);
        let finish = self.finish.take().unwrap_or(Finish::Stop);
        let finish = finish.after(self.refused);
        let state = self.state();
        let part = signed(json!({"text": ""}), state, &self.frame, &self.frame.model);
        self.piece(part, Some(&finish), out);
        if let Some(array) = &mut self.array {
            out.extend_from_slice(&array.finish());
        }
    }
}
