//! Answers of any model in the words of Chat Completions, whole and streamed.

use crate::chat::Usage;
use crate::chat::conversation::{Item, State};
use crate::dialect::carry;
use crate::dialect::{Answer, Event, Finish, Frame, StreamWriter};
use crate::error::{Error, Kind};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// A whole answer.
pub(super) fn whole(answer: Answer, frame: &Frame) -> Bytes {
    let model = answer.model.clone().unwrap_or_else(|| frame.model.clone());
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    let (mut text, mut refusal, mut thoughts) = (None::<String>, None::<String>, String::new());
    let (mut calls, mut details, mut pending) = (Vec::new(), Vec::new(), None);
    for item in answer.items {
        match item {
            Item::Text(words) => text.get_or_insert_default().push_str(&words),
            Item::Refusal(words) => refusal.get_or_insert_default().push_str(&words),
            Item::Reasoning(reasoning) => {
                thoughts.push_str(&reasoning.text);
                if let Some(state) = reasoning.state {
                    let packed = carry::pack(&state, frame.from, &model);
                    details.push(sealed(&packed));
                    pending = Some(packed);
                }
            }
            Item::Call(call) => {
                let index = calls.len();
                let mut made = json!({"id": call_id(&call.id, frame, index), "type": "function", "function": {"name": call.name, "arguments": arguments(call.arguments)}});
                if let Some(packed) = pending.take() {
                    made["extra_content"] = json!({"google": {"thought_signature": packed}});
                }
                calls.push(made);
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
    if !answer.citations.is_empty() {
        let list = answer
            .citations
            .iter()
            .map(|(url, title)| cited(url, title));
        message.insert("annotations".into(), list.collect());
    }
    let has_calls = !calls.is_empty();
    if has_calls {
        message.insert("tool_calls".into(), calls.into());
    }
    let finish = finished(answer.finish.as_ref().unwrap_or(&Finish::Stop), has_calls);
    let body = json!({
        "id": format!("chatcmpl-{}", frame.id), "object": "chat.completion", "created": frame.created, "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
        "usage": used(&answer.usage.unwrap_or_default()),
    });
    Bytes::from(body.to_string())
}

fn sealed(packed: &str) -> Value {
    json!({"type": "reasoning.encrypted", "data": packed, "format": "flyball"})
}

fn cited(url: &str, title: &str) -> Value {
    json!({"type": "url_citation", "url_citation": {"url": url, "title": title, "start_index": 0, "end_index": 0}})
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

fn finished(finish: &Finish, calls: bool) -> &'static str {
    match finish {
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

/// A streamed answer.
pub(super) struct Writer {
    frame: Frame,
    usage: Option<Usage>,
    pending: Option<State>,
    calls: usize,
    begun: bool,
    finished: bool,
    closed: bool,
}

impl Writer {
    pub(super) fn new(frame: Frame) -> Writer {
        Writer {
            frame,
            usage: None,
            pending: None,
            calls: 0,
            begun: false,
            finished: false,
            closed: false,
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
        if !std::mem::replace(&mut self.begun, true) {
            let mut first = json!({"role": "assistant"});
            if let (Some(first), Some(rest)) = (first.as_object_mut(), delta.as_object_mut()) {
                first.append(rest);
            }
            delta = first;
        }
        let choices =
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]);
        self.chunk(choices, None, out);
    }

    fn call(&mut self, index: u64, id: &str, name: &str, out: &mut Vec<u8>) {
        let id = call_id(id, &self.frame, self.calls);
        self.calls += 1;
        let mut call = json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
        if let Some(state) = self.pending.take() {
            let packed = carry::pack(&state, self.frame.from, &self.frame.model);
            call["extra_content"] = json!({"google": {"thought_signature": packed}});
        }
        self.delta(json!({"tool_calls": [call]}), out);
    }

    fn end(&mut self, finish: &Finish, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if !self.begun {
            self.delta(json!({"content": ""}), out);
        }
        let finish = finished(finish, self.calls > 0);
        let choices = json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish}]);
        self.chunk(choices, None, out);
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        match event {
            Event::Model(model) => self.frame.model = model,
            Event::Text(text) => self.delta(json!({"content": text}), out),
            Event::Refusal(text) => self.delta(json!({"refusal": text}), out),
            Event::Reasoning(text) => self.delta(json!({"reasoning_content": text}), out),
            Event::State(state) => {
                let packed = carry::pack(&state, self.frame.from, &self.frame.model);
                self.delta(json!({"reasoning_details": [sealed(&packed)]}), out);
                self.pending = Some(state);
            }
            Event::Call { index, id, name } => self.call(index, &id, &name, out),
            Event::Arguments { index, text } => {
                let call = json!({"index": index, "function": {"arguments": text}});
                self.delta(json!({"tool_calls": [call]}), out);
            }
            Event::Citation { url, title } => {
                self.delta(json!({"annotations": [cited(&url, &title)]}), out);
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Finish(finish) => self.end(&finish, out),
            Event::Error(why) => {
                self.closed = true;
                let error = Error::new(Kind::UpstreamFailed, why);
                out.extend_from_slice(
                    format!("data: {}\n\n", super::error_json(&error)).as_bytes(),
                );
            }
            Event::End => self.finish(out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        self.end(&Finish::Stop, out);
        self.closed = true;
        if let (true, Some(usage)) = (self.frame.usage, self.usage) {
            self.chunk(json!([]), Some(&usage), out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
