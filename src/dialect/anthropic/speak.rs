//! Answers of any model in the words of Messages, whole and streamed.

use crate::chat::Usage;
use crate::chat::conversation::{Call, Item, State};
use crate::dialect::carry;
use crate::dialect::{Answer, Citation, Event, Finish, Frame, StreamWriter};
use bytes::Bytes;
use serde_json::{Value, json};

/// A whole answer.
pub(super) fn whole(answer: Answer, frame: &Frame) -> Bytes {
    let model = answer.model.clone().unwrap_or_else(|| frame.model.clone());
    let mut blocks = Vec::new();
    let (mut calls, mut refused) = (0, false);
    let mut citations = answer.first.citations;
    for item in answer.first.items {
        match item {
            Item::Text(text) => {
                let mut block = json!({"type": "text", "text": text});
                if !citations.is_empty() {
                    block["citations"] = std::mem::take(&mut citations).iter().map(cited).collect();
                }
                blocks.push(block);
            }
            Item::Refusal(text) => {
                refused = true;
                blocks.push(json!({"type": "text", "text": text}));
            }
            Item::Reasoning(reasoning) => {
                let state = reasoning.state.unwrap_or_else(words_only);
                let packed = carry::pack(&state, frame);
                blocks.push(match reasoning.text.is_empty() {
                    true => json!({"type": "redacted_thinking", "data": packed}),
                    false => {
                        json!({"type": "thinking", "thinking": reasoning.text, "signature": packed})
                    }
                });
            }
            Item::Call(call) => {
                let id = call_id(&call.id, frame, calls);
                calls += 1;
                blocks.push(json!({"type": "tool_use", "id": id, "name": call.name, "input": call.object()}));
            }
            Item::Media(_) | Item::Result(_) => {}
        }
    }
    let finish = answer.first.finish.unwrap_or(Finish::Stop).after(refused);
    let (reason, text) = stopped(&finish, calls > 0);
    let body = json!({
        "id": format!("msg_{}", frame.id), "type": "message", "role": "assistant", "model": model,
        "content": blocks, "stop_reason": reason, "stop_sequence": text,
        "usage": used(&answer.usage.unwrap_or_default()),
    });
    Bytes::from(body.to_string())
}

/// Reasoning without a signature: plain words, which still belong to the model that said them.
fn words_only() -> State {
    State {
        dialect: String::new(),
        model: String::new(),
        value: carry::WORDS_ONLY.into(),
    }
}

/// A source on the web. What stands for its contents is a mark of ours: no model can read it, and it does not go back to one.
fn cited(source: &Citation) -> Value {
    json!({"type": "web_search_result_location", "url": source.url, "title": source.title, "cited_text": "", "encrypted_index": carry::MARK})
}

fn call_id(id: &str, frame: &Frame, index: u64) -> String {
    match id.is_empty() {
        true => format!("toolu_{}{index}", frame.id),
        false => id.to_owned(),
    }
}

fn stopped(finish: &Finish, calls: bool) -> (&'static str, Option<&str>) {
    match finish {
        Finish::Stop if calls => ("tool_use", None),
        Finish::Stop | Finish::Other(_) => ("end_turn", None),
        Finish::StopText(text) => ("stop_sequence", text.as_deref()),
        Finish::Length => ("max_tokens", None),
        Finish::Calls => ("tool_use", None),
        Finish::Filtered | Finish::Refused => ("refusal", None),
    }
}

fn used(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input, "cache_creation_input_tokens": usage.cache_write.saturating_add(usage.cache_write_long),
        "cache_read_input_tokens": usage.cached, "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    })
}

/// What stands open in the stream.
#[derive(Clone, Debug, PartialEq)]
enum OpenBlock {
    Text,
    /// Thinking, and whether its signature was sent.
    Thinking {
        signed: bool,
    },
    Call(Call),
}

/// A streamed answer. It is told one call after the other.
pub(super) struct AnthropicWriter {
    frame: Frame,
    usage: Usage,
    /// Open blocks with their index in the answer.
    open: Vec<(u64, OpenBlock)>,
    /// The block of each call.
    calls: Vec<u64>,
    next: u64,
    refused: bool,
    finish: Option<Finish>,
    begun: bool,
    closed: bool,
}

impl AnthropicWriter {
    pub(super) fn new(frame: Frame) -> AnthropicWriter {
        AnthropicWriter {
            usage: Usage {
                input: frame.input_estimate,
                ..Usage::default()
            },
            frame,
            open: Vec::new(),
            calls: Vec::new(),
            next: 0,
            refused: false,
            finish: None,
            begun: false,
            closed: false,
        }
    }

    fn send(out: &mut Vec<u8>, name: &str, body: &Value) {
        out.extend_from_slice(format!("event: {name}\ndata: {body}\n\n").as_bytes());
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let message = json!({
            "id": format!("msg_{}", self.frame.id), "type": "message", "role": "assistant", "model": self.frame.model,
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": used(&self.usage),
        });
        AnthropicWriter::send(
            out,
            "message_start",
            &json!({"type": "message_start", "message": message}),
        );
    }

    fn open(&mut self, block: OpenBlock, started: Value, out: &mut Vec<u8>) -> u64 {
        self.begin(out);
        let index = self.next;
        self.next += 1;
        let body = json!({"type": "content_block_start", "index": index, "content_block": started});
        AnthropicWriter::send(out, "content_block_start", &body);
        self.open.push((index, block));
        index
    }

    fn delta(index: u64, delta: Value, out: &mut Vec<u8>) {
        let body = json!({"type": "content_block_delta", "index": index, "delta": delta});
        AnthropicWriter::send(out, "content_block_delta", &body);
    }

    fn close_all(&mut self, out: &mut Vec<u8>) {
        for (index, block) in std::mem::take(&mut self.open) {
            if block == (OpenBlock::Thinking { signed: false }) {
                let packed = carry::pack(&words_only(), &self.frame);
                AnthropicWriter::delta(
                    index,
                    json!({"type": "signature_delta", "signature": packed}),
                    out,
                );
            }
            let body = json!({"type": "content_block_stop", "index": index});
            AnthropicWriter::send(out, "content_block_stop", &body);
        }
    }

    fn text(&mut self, text: String, out: &mut Vec<u8>) {
        let index = match self.open.last() {
            Some((index, OpenBlock::Text)) => *index,
            _ => {
                self.close_all(out);
                self.open(OpenBlock::Text, json!({"type": "text", "text": ""}), out)
            }
        };
        AnthropicWriter::delta(index, json!({"type": "text_delta", "text": text}), out);
    }

    /// A source stands in the block of the text that rests on it.
    fn cite(&mut self, source: &Citation, out: &mut Vec<u8>) {
        if let Some((index, OpenBlock::Text)) = self.open.last() {
            let delta = json!({"type": "citations_delta", "citation": cited(source)});
            AnthropicWriter::delta(*index, delta, out);
        }
    }

    fn thought(&mut self, text: String, out: &mut Vec<u8>) {
        let index = match self.open.last() {
            Some((index, OpenBlock::Thinking { signed: false })) => *index,
            _ => {
                self.close_all(out);
                let start = json!({"type": "thinking", "thinking": "", "signature": ""});
                self.open(OpenBlock::Thinking { signed: false }, start, out)
            }
        };
        AnthropicWriter::delta(
            index,
            json!({"type": "thinking_delta", "thinking": text}),
            out,
        );
    }

    fn state(&mut self, state: &State, out: &mut Vec<u8>) {
        let packed = carry::pack(state, &self.frame);
        if let Some((index, OpenBlock::Thinking { signed })) = self.open.last_mut()
            && !*signed
        {
            *signed = true;
            let delta = json!({"type": "signature_delta", "signature": packed});
            return AnthropicWriter::delta(*index, delta, out);
        }
        self.close_all(out);
        let start = json!({"type": "redacted_thinking", "data": packed});
        self.open(OpenBlock::Thinking { signed: true }, start, out);
    }

    fn call(&mut self, id: &str, name: String, out: &mut Vec<u8>) {
        self.close_all(out);
        let ordinal = u64::try_from(self.calls.len()).unwrap_or(u64::MAX);
        let id = call_id(id, &self.frame, ordinal);
        let start = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        let index = self.open(OpenBlock::Call(Call::default()), start, out);
        self.calls.push(index);
    }

    fn arguments(&mut self, call: u64, text: String, out: &mut Vec<u8>) {
        let at = usize::try_from(call).unwrap_or(usize::MAX);
        if let Some(index) = self.calls.get(at) {
            let delta = json!({"type": "input_json_delta", "partial_json": text});
            AnthropicWriter::delta(*index, delta, out);
        }
    }
}

impl StreamWriter for AnthropicWriter {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        match event {
            Event::Model(model) => {
                self.frame.model = model;
                self.begin(out);
            }
            Event::Text(text) => self.text(text, out),
            Event::Refusal(text) => {
                self.refused = true;
                self.text(text, out);
            }
            Event::Reasoning(text) => self.thought(text, out),
            Event::State(state) => self.state(&state, out),
            Event::Call { id, name, .. } => self.call(&id, name, out),
            Event::Arguments { index, text } => self.arguments(index, text, out),
            Event::Usage(usage) => self.usage = usage,
            Event::Finish(finish) => drop(self.finish.get_or_insert(finish)),
            Event::Citation(source) => self.cite(&source, out),
            Event::Choice(_) | Event::Logprobs(_) => {}
            Event::Error(fault) => {
                self.closed = true;
                let error = fault.error();
                let body = super::error_json(&error, &self.frame.id);
                out.extend_from_slice(format!("event: error\ndata: {body}\n\n").as_bytes());
            }
            Event::End => self.finish(out),
        }
    }

    fn alive(&mut self, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        out.extend_from_slice(b"event: ping\ndata: {\"type\": \"ping\"}\n\n");
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.begin(out);
        self.close_all(out);
        let finish = self.finish.take().unwrap_or(Finish::Stop);
        let finish = finish.after(self.refused);
        let (reason, text) = stopped(&finish, !self.calls.is_empty());
        let body = json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": text}, "usage": used(&self.usage)});
        AnthropicWriter::send(out, "message_delta", &body);
        AnthropicWriter::send(out, "message_stop", &json!({"type": "message_stop"}));
    }
}
