//! Answers of any model in the words of Chat Completions, whole and streamed.

use crate::chat::Usage;
use crate::chat::answer::{Spoken, Token};
use crate::chat::conversation::{Call, Item, State};
use crate::dialect::{Answer, Citation, Event, Finish, Frame, StreamWriter, carry, logprobs, sse};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// A whole answer.
pub(super) fn whole(answer: Answer, frame: &Frame) -> Bytes {
    let model = answer.model.clone().unwrap_or_else(|| frame.model.clone());
    let usage = used(&answer.usage.unwrap_or_default());
    let mut calls = 0;
    let choices = (0..).zip(answer.into_spoken());
    let choices: Vec<Value> = choices
        .map(|(index, spoken)| choice(index, spoken, frame, &mut calls))
        .collect();
    let body = json!({
        "id": format!("chatcmpl-{}", frame.id), "object": "chat.completion", "created": frame.created, "model": model,
        "choices": choices, "usage": usage,
    });
    Bytes::from(body.to_string())
}

/// One answer; `made` counts the calls of all of them, whose ids must differ.
fn choice(index: u64, spoken: Spoken, frame: &Frame, made: &mut usize) -> Value {
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    let (mut text, mut refusal, mut thoughts) = (None::<String>, None::<String>, String::new());
    let (mut calls, mut details, mut pending) = (Vec::new(), Vec::new(), None);
    for item in spoken.items {
        match item {
            Item::Text(words) => text.get_or_insert_default().push_str(&words),
            Item::Refusal(words) => refusal.get_or_insert_default().push_str(&words),
            Item::Reasoning(reasoning) => {
                thoughts.push_str(&reasoning.text);
                if let Some(state) = reasoning.state {
                    let packed = carry::pack(&state, frame);
                    details.push(sealed(&packed));
                    pending = Some(packed);
                }
            }
            Item::Call(call) => {
                calls.push(called(call, frame, *made, pending.take()));
                *made += 1;
            }
            Item::Media(_) | Item::Result(_) => {}
        }
    }
    message.insert("content".into(), text.map_or(Value::Null, Value::from));
    message.insert("refusal".into(), refusal.map_or(Value::Null, Value::from));
    if !thoughts.is_empty() {
        message.insert("reasoning_content".into(), thoughts.into());
    }
    if !details.is_empty() {
        message.insert("reasoning_details".into(), details.into());
    }
    if !spoken.citations.is_empty() {
        let list = spoken.citations.iter().map(cited).collect();
        message.insert("annotations".into(), list);
    }
    let finish = spoken.finish.unwrap_or(Finish::Stop);
    let finish = finished(&finish, !calls.is_empty(), frame);
    match calls.first() {
        None => {}
        Some(first) if frame.old_calls => {
            message.insert("function_call".into(), first["function"].clone());
        }
        Some(_) => drop(message.insert("tool_calls".into(), calls.into())),
    }
    json!({"index": index, "message": message, "logprobs": likely(&spoken.logprobs), "finish_reason": finish})
}

fn called(call: Call, frame: &Frame, index: usize, packed: Option<String>) -> Value {
    let mut made = json!({"id": call_id(&call.id, frame, index), "type": "function", "function": {"name": call.name, "arguments": arguments(call.arguments)}});
    if let Some(packed) = packed {
        made["extra_content"] = json!({"google": {"thought_signature": packed}});
    }
    made
}

fn sealed(packed: &str) -> Value {
    json!({"type": "reasoning.encrypted", "data": packed, "format": "flyball"})
}

fn cited(source: &Citation) -> Value {
    json!({"type": "url_citation", "url_citation": {"url": source.url, "title": source.title, "start_index": source.start, "end_index": source.end}})
}

fn likely(tokens: &[Token]) -> Value {
    match tokens {
        [] => Value::Null,
        tokens => json!({"content": logprobs::listed(tokens), "refusal": null}),
    }
}

/// A call must have arguments that are JSON.
fn arguments(text: String) -> String {
    if text.is_empty() {
        "{}".to_owned()
    } else {
        text
    }
}

/// The call's own id, or one that no other call of this app has.
fn call_id(id: &str, frame: &Frame, index: usize) -> String {
    match id.is_empty() {
        true => format!("call_{}{index}", frame.id),
        false => id.to_owned(),
    }
}

fn finished(finish: &Finish, calls: bool, frame: &Frame) -> &'static str {
    match finish {
        Finish::Calls if frame.old_calls => "function_call",
        Finish::Stop if calls && frame.old_calls => "function_call",
        Finish::Stop if calls => "tool_calls",
        Finish::Stop | Finish::StopText(_) | Finish::Other(_) => "stop",
        Finish::Length => "length",
        Finish::Calls => "tool_calls",
        Finish::Filtered | Finish::Refused => "content_filter",
    }
}

fn used(usage: &Usage) -> Value {
    let (prompt, completion) = (usage.input_total(), usage.output);
    json!({
        "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt.saturating_add(completion),
        "prompt_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write.saturating_add(usage.cache_write_long)},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    })
}

/// More answers than this are not told apart.
const CHOICES_MAX: u64 = 128;

/// What was said of one of several answers.
#[derive(Default)]
struct TellingChoice {
    pending: Option<State>,
    logprobs: Vec<Token>,
    /// Its calls, by their numbers among those of all answers.
    calls: Vec<u64>,
    begun: bool,
    finished: bool,
}

/// A streamed answer.
pub(super) struct ChatWriter {
    frame: Frame,
    usage: Option<Usage>,
    choices: Vec<TellingChoice>,
    /// The one that is being told.
    at: usize,
    calls: usize,
    closed: bool,
}

impl ChatWriter {
    pub(super) fn new(frame: Frame) -> ChatWriter {
        ChatWriter {
            frame,
            usage: None,
            choices: vec![TellingChoice::default()],
            at: 0,
            calls: 0,
            closed: false,
        }
    }

    fn turn_to(&mut self, choice: u64) {
        self.at = usize::try_from(choice.min(CHOICES_MAX - 1)).unwrap_or(0);
        if self.choices.len() <= self.at {
            self.choices
                .resize_with(self.at + 1, TellingChoice::default);
        }
    }

    fn chunk(&self, choices: Value, usage: Option<&Usage>, out: &mut Vec<u8>) {
        let frame = &self.frame;
        let mut chunk = json!({"id": format!("chatcmpl-{}", frame.id), "object": "chat.completion.chunk", "created": frame.created, "model": frame.model, "choices": choices});
        if frame.usage {
            chunk["usage"] = usage.map_or(Value::Null, used);
        }
        out.extend_from_slice(format!("data: {chunk}\n\n").as_bytes());
    }

    fn delta(&mut self, mut delta: Value, out: &mut Vec<u8>) {
        let choice = &mut self.choices[self.at];
        if !std::mem::replace(&mut choice.begun, true) {
            let mut first = json!({"role": "assistant"});
            if let (Some(first), Some(rest)) = (first.as_object_mut(), delta.as_object_mut()) {
                first.append(rest);
            }
            delta = first;
        }
        let logprobs = likely(&std::mem::take(&mut choice.logprobs));
        let choices = json!([{"index": self.at, "delta": delta, "logprobs": logprobs, "finish_reason": null}]);
        self.chunk(choices, None, out);
    }

    fn call(&mut self, index: u64, id: &str, name: &str, out: &mut Vec<u8>) {
        let id = call_id(id, &self.frame, self.calls);
        self.calls += 1;
        let choice = &mut self.choices[self.at];
        choice.calls.push(index);
        if self.frame.old_calls {
            // The old way has room for one call.
            if choice.calls.len() == 1 {
                let call = json!({"name": name, "arguments": ""});
                self.delta(json!({"function_call": call}), out);
            }
            return;
        }
        let place = choice.calls.len() - 1;
        let mut call = json!({"index": place, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
        if let Some(state) = choice.pending.take() {
            let packed = carry::pack(&state, &self.frame);
            call["extra_content"] = json!({"google": {"thought_signature": packed}});
        }
        self.delta(json!({"tool_calls": [call]}), out);
    }

    fn arguments(&mut self, index: u64, text: &str, out: &mut Vec<u8>) {
        let calls = &self.choices[self.at].calls;
        match calls.iter().position(|known| *known == index) {
            Some(0) if self.frame.old_calls => {
                let call = json!({"arguments": text});
                self.delta(json!({"function_call": call}), out);
            }
            Some(place) if !self.frame.old_calls => {
                let call = json!({"index": place, "function": {"arguments": text}});
                self.delta(json!({"tool_calls": [call]}), out);
            }
            _ => {}
        }
    }

    fn end(&mut self, finish: &Finish, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.choices[self.at].finished, true) {
            return;
        }
        let choice = &self.choices[self.at];
        if !choice.begun || !choice.logprobs.is_empty() {
            self.delta(json!({"content": ""}), out);
        }
        let calls = !self.choices[self.at].calls.is_empty();
        let finish = finished(finish, calls, &self.frame);
        let choices =
            json!([{"index": self.at, "delta": {}, "logprobs": null, "finish_reason": finish}]);
        self.chunk(choices, None, out);
    }
}

impl StreamWriter for ChatWriter {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        match event {
            Event::Choice(choice) => self.turn_to(choice),
            Event::Model(model) => self.frame.model = model,
            Event::Text(text) => self.delta(json!({"content": text}), out),
            Event::Refusal(text) => self.delta(json!({"refusal": text}), out),
            Event::Reasoning(text) => self.delta(json!({"reasoning_content": text}), out),
            Event::Logprobs(tokens) => self.choices[self.at].logprobs.extend(tokens),
            Event::State(state) => {
                let packed = carry::pack(&state, &self.frame);
                self.delta(json!({"reasoning_details": [sealed(&packed)]}), out);
                self.choices[self.at].pending = Some(state);
            }
            Event::Call { index, id, name } => self.call(index, &id, &name, out),
            Event::Arguments { index, text } => self.arguments(index, &text, out),
            Event::Citation(source) => {
                self.delta(json!({"annotations": [cited(&source)]}), out);
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Finish(finish) => self.end(&finish, out),
            Event::Error(fault) => {
                self.closed = true;
                let error = fault.error();
                out.extend_from_slice(
                    format!("data: {}\n\n", super::error_json(&error)).as_bytes(),
                );
            }
            Event::End => self.finish(out),
        }
    }

    fn alive(&mut self, out: &mut Vec<u8>) {
        if !self.closed {
            out.extend_from_slice(sse::COMMENT);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        for at in 0..self.choices.len() {
            self.at = at;
            self.end(&Finish::Stop, out);
        }
        self.closed = true;
        if let (true, Some(usage)) = (self.frame.usage, self.usage) {
            self.chunk(json!([]), Some(&usage), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
