//! Answers of any model in the words of Responses, whole and streamed.

use super::named;
use crate::chat::Usage;
use crate::chat::answer::Fault;
use crate::chat::answer::Token;
use crate::chat::conversation::{Item, State};
use crate::dialect::{
    Answer, Citation, Event, Finish, Frame, Renamed, StreamWriter, carry, logprobs, sse,
};
use bytes::Bytes;
use serde_json::{Value, json};

/// The last event repeats the whole answer; a longer one than this is not kept and fails.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A whole answer.
pub(super) fn whole(answer: Answer, frame: &Frame) -> Bytes {
    let model = answer.model.clone().unwrap_or_else(|| frame.model.clone());
    let mut output: Vec<Value> = Vec::new();
    let (mut citations, mut tokens) = (answer.first.citations, answer.first.logprobs);
    for item in answer.first.items {
        let n = output.len();
        match item {
            Item::Text(text) => {
                let annotations: Vec<Value> =
                    std::mem::take(&mut citations).iter().map(cited).collect();
                let logprobs = logprobs::listed(&std::mem::take(&mut tokens));
                let part = json!({"type": "output_text", "text": text, "annotations": annotations, "logprobs": logprobs});
                output.push(message(frame, n, "completed", vec![part]));
            }
            Item::Refusal(text) => {
                let part = json!({"type": "refusal", "refusal": text});
                output.push(message(frame, n, "completed", vec![part]));
            }
            Item::Reasoning(reasoning) => {
                let state = reasoning.state.unwrap_or_else(words_only);
                let packed = carry::pack(&state, frame);
                output.push(thought(frame, n, &reasoning.text, Some(packed)));
            }
            Item::Call(call) => {
                output.push(called(frame, n, &call.id, &call.name, &call.arguments))
            }
            Item::Media(_) | Item::Result(_) => {}
        }
    }
    let finish = answer.first.finish.unwrap_or(Finish::Stop);
    let last = output.last_mut().filter(|item| item["type"] == "message");
    if let Some(last) = last {
        last["status"] = status(&finish).0.into();
    }
    frame.keeper.keep(&response_id(frame), &output);
    let body = response(
        frame,
        &model,
        status(&finish),
        output,
        Some(&answer.usage.unwrap_or_default()),
    );
    Bytes::from(body.to_string())
}

fn message(frame: &Frame, n: usize, status: &str, content: Vec<Value>) -> Value {
    json!({"id": format!("msg_{}{n}", frame.id), "type": "message", "status": status, "role": "assistant", "content": content})
}

fn thought(frame: &Frame, n: usize, text: &str, packed: Option<String>) -> Value {
    let summary = match text.is_empty() {
        true => json!([]),
        false => json!([{"type": "summary_text", "text": text}]),
    };
    json!({"id": format!("rs_{}{n}", frame.id), "type": "reasoning", "summary": summary, "encrypted_content": packed})
}

/// Reasoning without a seal: plain words, which still belong to the model that said them.
fn words_only() -> State {
    State {
        dialect: String::new(),
        model: String::new(),
        value: carry::WORDS_ONLY.into(),
    }
}

fn called(frame: &Frame, n: usize, id: &str, name: &str, arguments: &str) -> Value {
    let arguments = if arguments.is_empty() {
        "{}"
    } else {
        arguments
    };
    item(
        frame,
        n,
        "completed",
        &call_id(frame, n, id),
        name,
        arguments,
    )
}

/// The client's tool that a model calls by this name, where the client has another name for it.
fn own<'f>(frame: &'f Frame, name: &str) -> Option<&'f Renamed> {
    frame.renamed.iter().find(|tool| tool.told == name)
}

/// A call, as the client calls its tools.
fn item(frame: &Frame, n: usize, status: &str, id: &str, name: &str, arguments: &str) -> Value {
    let own = own(frame, name);
    let name = own.map_or(name, |tool| tool.name.as_str());
    let mut made = match own.is_some_and(|tool| tool.free) {
        true => {
            json!({"id": format!("ctc_{}{n}", frame.id), "type": "custom_tool_call", "status": status, "call_id": id, "name": name, "input": named::words_of(arguments)})
        }
        false => {
            json!({"id": format!("fc_{}{n}", frame.id), "type": "function_call", "status": status, "call_id": id, "name": name, "arguments": arguments})
        }
    };
    if let Some(namespace) = own.and_then(|tool| tool.namespace.as_deref()) {
        made["namespace"] = namespace.into();
    }
    made
}

fn call_id(frame: &Frame, n: usize, id: &str) -> String {
    match id.is_empty() {
        true => format!("call_{}{n}", frame.id),
        false => id.to_owned(),
    }
}

fn cited(source: &Citation) -> Value {
    json!({"type": "url_citation", "url": source.url, "title": source.title, "start_index": source.start, "end_index": source.end})
}

/// The status, and why an answer is incomplete.
fn status(finish: &Finish) -> (&'static str, Option<&'static str>) {
    match finish {
        Finish::Stop | Finish::StopText(_) | Finish::Calls | Finish::Other(_) => {
            ("completed", None)
        }
        Finish::Length => ("incomplete", Some("max_output_tokens")),
        Finish::Filtered | Finish::Refused => ("incomplete", Some("content_filter")),
    }
}

fn response_id(frame: &Frame) -> String {
    format!("resp_{}", frame.id)
}

fn response(
    frame: &Frame,
    model: &str,
    (status, reason): (&str, Option<&str>),
    output: Vec<Value>,
    usage: Option<&Usage>,
) -> Value {
    let reason = reason.map_or(Value::Null, |reason| json!({"reason": reason}));
    json!({
        "id": response_id(frame), "object": "response", "created_at": frame.created, "status": status,
        "background": false, "error": null, "incomplete_details": reason, "instructions": null, "max_output_tokens": null,
        "model": model, "output": output, "parallel_tool_calls": true, "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null}, "store": false, "temperature": null,
        "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": null,
        "truncation": "disabled", "usage": usage.map(used), "user": null, "metadata": {},
    })
}

fn used(usage: &Usage) -> Value {
    let (input, output) = (usage.input_total(), usage.output);
    let write = usage.cache_write.saturating_add(usage.cache_write_long);
    json!({
        "input_tokens": input, "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": write},
        "output_tokens": output, "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": input.saturating_add(output),
    })
}

/// What stands open in the stream.
enum Open {
    Text {
        refusal: bool,
        text: String,
    },
    Thought {
        text: String,
    },
    Call {
        call: u64,
        id: String,
        name: String,
        arguments: String,
    },
}

/// A streamed answer.
pub(super) struct ResponsesWriter {
    frame: Frame,
    number: u64,
    usage: Usage,
    /// Open items with their place in the output.
    open: Vec<(usize, Open)>,
    output: Vec<Value>,
    kept: usize,
    state: Option<State>,
    calls: u64,
    finish: Option<Finish>,
    /// Of the text that stands open: its sources, and how likely its tokens were.
    citations: Vec<Value>,
    likely: Vec<Value>,
    /// Of the words that come next.
    tokens: Vec<Token>,
    begun: bool,
    closed: bool,
}

impl ResponsesWriter {
    pub(super) fn new(frame: Frame) -> ResponsesWriter {
        ResponsesWriter {
            frame,
            number: 0,
            usage: Usage::default(),
            open: Vec::new(),
            output: Vec::new(),
            kept: 0,
            state: None,
            calls: 0,
            finish: None,
            citations: Vec::new(),
            likely: Vec::new(),
            tokens: Vec::new(),
            begun: false,
            closed: false,
        }
    }

    fn send(&mut self, kind: &str, mut body: Value, out: &mut Vec<u8>) {
        let mut event = json!({"type": kind, "sequence_number": self.number});
        if let (Some(event), Some(body)) = (event.as_object_mut(), body.as_object_mut()) {
            event.append(body);
        }
        self.number += 1;
        out.extend_from_slice(format!("event: {kind}\ndata: {event}\n\n").as_bytes());
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        for kind in ["response.created", "response.in_progress"] {
            let status = ("in_progress", None);
            let body = response(&self.frame, &self.frame.model, status, Vec::new(), None);
            self.send(kind, json!({"response": body}), out);
        }
    }

    /// A place in the output; its item follows when it is complete.
    fn place(&mut self, item: Value, out: &mut Vec<u8>) -> usize {
        self.begin(out);
        let at = self.output.len();
        self.output.push(Value::Null);
        self.send(
            "response.output_item.added",
            json!({"output_index": at, "item": item}),
            out,
        );
        at
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        for (at, open) in std::mem::take(&mut self.open) {
            let item = match open {
                Open::Text { refusal, text } => self.close_text(at, refusal, text, out),
                Open::Thought { text } => self.close_thought(at, &text, out),
                Open::Call {
                    id,
                    name,
                    arguments,
                    ..
                } => {
                    let item = called(&self.frame, at, &id, &name, &arguments);
                    let key = match item["type"] == "custom_tool_call" {
                        true => "input",
                        false => "arguments",
                    };
                    let mut said = json!({"item_id": item["id"], "output_index": at});
                    let (mut kind, mut delta) = ("response.function_call_arguments.done", None);
                    if key == "input" {
                        // Its words come out of their object only when they are complete.
                        kind = "response.custom_tool_call_input.done";
                        delta = Some("response.custom_tool_call_input.delta");
                    }
                    if let Some(delta) = delta {
                        said["delta"] = item[key].clone();
                        self.send(delta, said.clone(), out);
                        if let Some(said) = said.as_object_mut() {
                            said.shift_remove("delta");
                        }
                    }
                    said[key] = item[key].clone();
                    self.send(kind, said, out);
                    item
                }
            };
            self.send(
                "response.output_item.done",
                json!({"output_index": at, "item": item}),
                out,
            );
            self.output[at] = item;
        }
    }

    fn close_text(&mut self, at: usize, refusal: bool, text: String, out: &mut Vec<u8>) -> Value {
        let id = format!("msg_{}{at}", self.frame.id);
        let annotations = std::mem::take(&mut self.citations);
        let logprobs = std::mem::take(&mut self.likely);
        let (kind, done, part) = match refusal {
            true => (
                "response.refusal.done",
                json!({"refusal": text}),
                json!({"type": "refusal", "refusal": text}),
            ),
            false => (
                "response.output_text.done",
                json!({"text": text, "logprobs": logprobs}),
                json!({"type": "output_text", "text": text, "annotations": annotations, "logprobs": logprobs}),
            ),
        };
        let mut body = json!({"item_id": id, "output_index": at, "content_index": 0});
        let mut done = done;
        if let (Some(body), Some(done)) = (body.as_object_mut(), done.as_object_mut()) {
            body.append(done);
        }
        self.send(kind, body, out);
        let body = json!({"item_id": id, "output_index": at, "content_index": 0, "part": part});
        self.send("response.content_part.done", body, out);
        let status = self.finish.as_ref().map_or("completed", |f| status(f).0);
        message(&self.frame, at, status, vec![part])
    }

    fn close_thought(&mut self, at: usize, text: &str, out: &mut Vec<u8>) -> Value {
        let id = format!("rs_{}{at}", self.frame.id);
        if !text.is_empty() {
            let body = json!({"item_id": id, "output_index": at, "summary_index": 0, "text": text});
            self.send("response.reasoning_summary_text.done", body, out);
            let part = json!({"type": "summary_text", "text": text});
            let body = json!({"item_id": id, "output_index": at, "summary_index": 0, "part": part});
            self.send("response.reasoning_summary_part.done", body, out);
        }
        let state = self.state.take().unwrap_or_else(words_only);
        let packed = carry::pack(&state, &self.frame);
        thought(&self.frame, at, text, Some(packed))
    }

    fn text(&mut self, words: &str, is_refusal: bool, out: &mut Vec<u8>) {
        let open = matches!(self.open.last(), Some((_, Open::Text { refusal, .. })) if *refusal == is_refusal);
        if !open {
            self.close(out);
            let at = self.output.len();
            let item = message(&self.frame, at, "in_progress", Vec::new());
            let at = self.place(item, out);
            let part = match is_refusal {
                true => json!({"type": "refusal", "refusal": ""}),
                false => {
                    json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []})
                }
            };
            let id = format!("msg_{}{at}", self.frame.id);
            let body = json!({"item_id": id, "output_index": at, "content_index": 0, "part": part});
            self.send("response.content_part.added", body, out);
            self.open.push((
                at,
                Open::Text {
                    refusal: is_refusal,
                    text: String::new(),
                },
            ));
        }
        let tokens = std::mem::take(&mut self.tokens);
        if let Some((at, Open::Text { text, .. })) = self.open.last_mut() {
            text.push_str(words);
            let likely = logprobs::listed(&tokens);
            self.likely
                .extend(likely.as_array().into_iter().flatten().cloned());
            let at = *at;
            let id = format!("msg_{}{at}", self.frame.id);
            let (kind, body) = match is_refusal {
                true => (
                    "response.refusal.delta",
                    json!({"item_id": id, "output_index": at, "content_index": 0, "delta": words}),
                ),
                false => (
                    "response.output_text.delta",
                    json!({"item_id": id, "output_index": at, "content_index": 0, "delta": words, "logprobs": likely}),
                ),
            };
            self.send(kind, body, out);
        }
    }

    /// A source of the text that stands open, or of the one that comes next.
    fn cite(&mut self, source: &Citation, out: &mut Vec<u8>) {
        let made = cited(source);
        if let Some((at, Open::Text { refusal: false, .. })) = self.open.last() {
            let id = format!("msg_{}{at}", self.frame.id);
            let body = json!({"item_id": id, "output_index": at, "content_index": 0, "annotation_index": self.citations.len(), "annotation": made});
            self.send("response.output_text.annotation.added", body, out);
        }
        self.citations.push(made);
    }

    fn thought(&mut self, words: &str, out: &mut Vec<u8>) {
        if !matches!(self.open.last(), Some((_, Open::Thought { .. }))) {
            self.close(out);
            let item = thought(&self.frame, self.output.len(), "", None);
            let at = self.place(item, out);
            self.open.push((
                at,
                Open::Thought {
                    text: String::new(),
                },
            ));
        }
        let Some((at, Open::Thought { text })) = self.open.last_mut() else {
            return;
        };
        let (at, first) = (*at, text.is_empty());
        text.push_str(words);
        if words.is_empty() {
            return;
        }
        let id = format!("rs_{}{at}", self.frame.id);
        if first {
            let part = json!({"type": "summary_text", "text": ""});
            let body = json!({"item_id": id, "output_index": at, "summary_index": 0, "part": part});
            self.send("response.reasoning_summary_part.added", body, out);
        }
        let body = json!({"item_id": id, "output_index": at, "summary_index": 0, "delta": words});
        self.send("response.reasoning_summary_text.delta", body, out);
    }

    fn call(&mut self, id: &str, name: String, out: &mut Vec<u8>) {
        self.close(out);
        let at = self.output.len();
        let id = call_id(&self.frame, at, id);
        let item = item(&self.frame, at, "in_progress", &id, &name, "");
        let at = self.place(item, out);
        let call = self.calls;
        self.calls += 1;
        self.open.push((
            at,
            Open::Call {
                call,
                id,
                name,
                arguments: String::new(),
            },
        ));
    }

    fn arguments(&mut self, index: u64, words: &str, out: &mut Vec<u8>) {
        let mine = self.open.iter_mut().find_map(|(at, open)| match open {
            Open::Call {
                call,
                arguments,
                name,
                ..
            } if *call == index => Some((*at, arguments, name)),
            _ => None,
        });
        if let Some((at, arguments, name)) = mine {
            arguments.push_str(words);
            if own(&self.frame, name).is_some_and(|tool| tool.free) {
                return;
            }
            let id = format!("fc_{}{at}", self.frame.id);
            let body = json!({"item_id": id, "output_index": at, "delta": words});
            self.send("response.function_call_arguments.delta", body, out);
        }
    }

    fn fail(&mut self, fault: Fault, out: &mut Vec<u8>) {
        self.closed = true;
        let error = fault.error();
        out.extend_from_slice(super::error_event(&error, self.number).as_bytes());
    }

    fn say(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            // It has one answer at a time only.
            Event::Choice(_) => {}
            Event::Model(model) => self.frame.model = model,
            Event::Text(text) => self.text(&text, false, out),
            Event::Refusal(text) => self.text(&text, true, out),
            Event::Reasoning(text) => self.thought(&text, out),
            Event::State(state) => {
                self.thought("", out);
                self.state = Some(state);
                self.close(out);
            }
            Event::Call { id, name, .. } => self.call(&id, name, out),
            Event::Arguments { index, text } => self.arguments(index, &text, out),
            Event::Citation(source) => self.cite(&source, out),
            Event::Logprobs(tokens) => self.tokens.extend(tokens),
            Event::Usage(usage) => self.usage = usage,
            Event::Finish(finish) => drop(self.finish.get_or_insert(finish)),
            Event::Error(fault) => self.fail(fault, out),
            Event::End => self.finish(out),
        }
    }
}

impl StreamWriter for ResponsesWriter {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        if let Event::Text(text)
        | Event::Refusal(text)
        | Event::Reasoning(text)
        | Event::Arguments { text, .. } = &event
        {
            self.kept += text.len();
        }
        match self.kept > KEPT_BYTES_MAX {
            true => self.fail(
                "the answer is too long for this API; ask for less".into(),
                out,
            ),
            false => self.say(event, out),
        }
    }

    fn alive(&mut self, out: &mut Vec<u8>) {
        if !self.closed {
            out.extend_from_slice(sse::COMMENT);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.begin(out);
        self.close(out);
        let finish = self.finish.take().unwrap_or(Finish::Stop);
        let status = status(&finish);
        let output = std::mem::take(&mut self.output);
        self.frame.keeper.keep(&response_id(&self.frame), &output);
        let body = response(
            &self.frame,
            &self.frame.model,
            status,
            output,
            Some(&self.usage),
        );
        self.send(
            &format!("response.{}", status.0),
            json!({"response": body}),
            out,
        );
    }
}
