//! Answers of any model in the words of Cohere Chat, whole and streamed.

use crate::chat::Usage;
use crate::chat::answer::Token;
use crate::chat::conversation::{Call, Item};
use crate::dialect::{Answer, Citation, Event, Finish, Frame, StreamWriter, sse};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The most of a text that is kept for the words that its sources stand for.
const WORDS_BYTES_MAX: usize = 1024 * 1024;

/// The texts of an answer, one behind the other as its sources count them, and which of its parts each one is.
#[derive(Default)]
struct Texts {
    words: String,
    chars: u64,
    /// Where each part begins, in characters, and its index.
    parts: Vec<(u64, u64)>,
}

impl Texts {
    fn begin(&mut self, index: u64) {
        self.parts.push((self.chars, index));
    }

    fn push(&mut self, text: &str) {
        self.chars += u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        if self.words.len() < WORDS_BYTES_MAX {
            self.words.push_str(text);
        }
    }

    /// Where the part begins that has this place, and its index.
    fn part(&self, place: u64) -> (u64, u64) {
        let part = self.parts.iter().rfind(|(from, _)| *from <= place);
        part.copied().unwrap_or_default()
    }
}

/// A whole answer. Words beside calls are the plan of them: Cohere's apps send that back and no content.
pub(super) fn whole(answer: Answer, frame: &Frame) -> Bytes {
    let is_call = |item: &Item| matches!(item, Item::Call(_));
    let planned = answer.first.items.iter().any(is_call);
    let mut said = Texts::default();
    let (mut content, mut calls) = (Vec::new(), Vec::new());
    for item in &answer.first.items {
        match item {
            Item::Reasoning(thought) if !thought.text.is_empty() => {
                content.push(json!({"type": "thinking", "thinking": thought.text}));
            }
            Item::Text(text) | Item::Refusal(text) if planned => said.push(text),
            Item::Text(text) | Item::Refusal(text) => {
                said.begin(u64::try_from(content.len()).unwrap_or(u64::MAX));
                said.push(text);
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
    if planned && !said.words.is_empty() {
        message.insert("tool_plan".into(), said.words.as_str().into());
    }
    let finish_reason = reason(&finish, !calls.is_empty());
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    if !answer.first.citations.is_empty() {
        let kind = if planned { "PLAN" } else { "TEXT_CONTENT" };
        let cited = answer.first.citations.iter();
        let cited = cited.map(|c| self::cited(c, &said, kind));
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

/// A source, and the words that rest on it, by their place in their own part.
fn cited(source: &Citation, said: &Texts, kind: &str) -> Value {
    let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
    let (start, end) = (at(source.start), at(source.end));
    let text: String = said
        .words
        .chars()
        .skip(start)
        .take(end.saturating_sub(start))
        .collect();
    let (from, index) = said.part(source.start);
    let document = json!({"id": source.url, "title": source.title, "url": source.url});
    json!({
        "start": source.start.saturating_sub(from), "end": source.end.saturating_sub(from),
        "text": text, "content_index": index, "type": kind,
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
enum OpenPart {
    Text,
    Thinking,
}

impl OpenPart {
    fn name(self) -> &'static str {
        match self {
            OpenPart::Text => "text",
            OpenPart::Thinking => "thinking",
        }
    }
}

/// A streamed answer. It is told one call after the other.
pub(super) struct CohereWriter {
    frame: Frame,
    usage: Usage,
    /// The part that is open, and its index.
    open: Option<(OpenPart, u64)>,
    next: u64,
    /// A call is open.
    in_call: bool,
    /// So many calls are complete.
    said_calls: usize,
    /// The text so far, for the words that sources stand for.
    said: Texts,
    citations: u64,
    tokens: Vec<Token>,
    finish: Option<Finish>,
    begun: bool,
    closed: bool,
}

impl CohereWriter {
    pub(super) fn new(frame: Frame) -> CohereWriter {
        CohereWriter {
            frame,
            usage: Usage::default(),
            open: None,
            next: 0,
            in_call: false,
            said_calls: 0,
            said: Texts::default(),
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

    fn say(&mut self, part: OpenPart, text: &str, out: &mut Vec<u8>) {
        let index = match self.open {
            Some((open, index)) if open == part => index,
            _ => {
                self.close(out);
                let index = self.next;
                self.next += 1;
                self.open = Some((part, index));
                if part == OpenPart::Text {
                    self.said.begin(index);
                }
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
        self.say(OpenPart::Text, text, out);
        self.said.push(text);
    }

    fn cite(&mut self, source: &Citation, out: &mut Vec<u8>) {
        self.close_call(out);
        let index = self.citations;
        self.citations += 1;
        let delta = json!({"message": {"citations": cited(source, &self.said, "TEXT_CONTENT")}});
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

impl StreamWriter for CohereWriter {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        match event {
            Event::Text(text) | Event::Refusal(text) => self.text(&text, out),
            Event::Reasoning(text) => self.say(OpenPart::Thinking, &text, out),
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

    fn alive(&mut self, out: &mut Vec<u8>) {
        if !self.closed {
            out.extend_from_slice(sse::COMMENT);
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

#[cfg(test)]
mod tests {
    use crate::dialect::cohere::Cohere;
    use crate::dialect::{Answer, Citation, Dialect, Event, Frame};
    use serde_json::{Value, json};

    fn source(start: u64, end: u64) -> Event {
        Event::Citation(Citation {
            url: "https://e.org/".into(),
            title: "E".into(),
            start,
            end,
        })
    }

    fn whole(events: Vec<Event>) -> Value {
        let mut answer = Answer::default();
        events.into_iter().for_each(|event| answer.add(event));
        let body = Cohere.answer_body(answer, &Frame::default());
        serde_json::from_slice(&body).expect("JSON")
    }

    fn streamed(events: Vec<Event>) -> Vec<Value> {
        let mut writer = Cohere.stream_writer(Frame::default());
        let mut out = Vec::new();
        for event in events {
            writer.write(event, &mut out);
        }
        writer.finish(&mut out);
        let text = String::from_utf8(out).expect("text");
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|d| serde_json::from_str(d).expect("JSON"))
            .collect()
    }

    #[test]
    fn a_source_names_the_part_whose_words_rest_on_it() {
        let events = || {
            vec![
                Event::Reasoning("hm".into()),
                Event::Text("H\u{e9} ".into()),
                Event::Reasoning("so".into()),
                Event::Text("sunny".into()),
                source(3, 8),
                source(0, 2),
            ]
        };
        let place = |c: &Value| {
            json!([
                c["content_index"],
                c["start"],
                c["end"],
                c["text"],
                c["type"]
            ])
        };
        let expected = [
            json!([3, 0, 5, "sunny", "TEXT_CONTENT"]),
            json!([1, 0, 2, "H\u{e9}", "TEXT_CONTENT"]),
        ];
        let body = whole(events());
        assert_eq!(body["message"]["content"][3]["text"], "sunny");
        let told = body["message"]["citations"].as_array().expect("a list");
        assert_eq!(told.iter().map(place).collect::<Vec<_>>(), expected);
        let told = streamed(events());
        let cited = told.iter().filter(|e| e["type"] == "citation-start");
        let cited = cited.map(|e| place(&e["delta"]["message"]["citations"]));
        assert_eq!(cited.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn words_beside_calls_are_their_plan() {
        let call = Event::Call {
            index: 0,
            id: "a".into(),
            name: "f".into(),
        };
        let said = vec![
            Event::Reasoning("hm".into()),
            Event::Text("I look.".into()),
            source(2, 6),
            call,
        ];
        let message = whole(said)["message"].clone();
        assert_eq!(message["tool_plan"], "I look.");
        assert_eq!(
            message["content"],
            json!([{"type": "thinking", "thinking": "hm"}])
        );
        let cited = &message["citations"][0];
        assert_eq!(
            (&cited["type"], &cited["text"]),
            (&json!("PLAN"), &json!("look"))
        );
    }
}
