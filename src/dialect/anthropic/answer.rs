//! Answers of Anthropic Messages, streamed and whole.

use super::usage::{AnthropicUsage, SeenUsage};
use crate::chat::Usage;
use crate::chat::conversation::State as Sealed;
use crate::dialect::carry::REDACTED;
use crate::dialect::framed::{ReadsFrames, ToldModel};
use crate::dialect::lenient::{Content, Count, Maybe, Text};
use crate::dialect::repeated::Repeated;
use crate::dialect::sse::{SseEvent, SseReader};
use crate::dialect::{Answer, Citation, Event, Finish, body, fault};
use crate::json;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Any event of a stream.
#[derive(Deserialize)]
struct AnthropicEvent<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    index: Count,
    #[serde(default, borrow)]
    message: Maybe<AnthropicMessage<'a>>,
    #[serde(default, borrow)]
    content_block: Maybe<AnthropicBlock<'a>>,
    #[serde(default, borrow)]
    delta: Maybe<AnthropicDelta<'a>>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default, borrow)]
    error: Maybe<AnthropicFault<'a>>,
}

/// The head of a stream, or a whole answer.
#[derive(Deserialize)]
struct AnthropicMessage<'a> {
    #[serde(default, borrow)]
    model: Text<'a>,
    #[serde(default, borrow)]
    content: Content<'a, Maybe<AnthropicBlock<'a>>>,
    #[serde(default, borrow)]
    stop_reason: Text<'a>,
    #[serde(default, borrow)]
    stop_sequence: Text<'a>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct AnthropicBlock<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    thinking: Text<'a>,
    #[serde(default, borrow)]
    signature: Text<'a>,
    #[serde(default, borrow)]
    data: Text<'a>,
    #[serde(default, borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    input: Option<&'a RawValue>,
    /// Of a compaction: its text. Of a server tool's result: not the model's words.
    #[serde(default, borrow)]
    content: Text<'a>,
    #[serde(default, borrow)]
    citations: Content<'a, Maybe<WebCitation<'a>>>,
}

#[derive(Deserialize)]
struct AnthropicDelta<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    thinking: Text<'a>,
    #[serde(default, borrow)]
    partial_json: Text<'a>,
    #[serde(default, borrow)]
    content: Text<'a>,
    #[serde(default, borrow)]
    signature: Text<'a>,
    #[serde(default, borrow)]
    citation: Maybe<WebCitation<'a>>,
    #[serde(default, borrow)]
    stop_reason: Text<'a>,
    #[serde(default, borrow)]
    stop_sequence: Text<'a>,
}

#[derive(Deserialize)]
struct WebCitation<'a> {
    #[serde(default, borrow)]
    url: Text<'a>,
    #[serde(default, borrow)]
    title: Text<'a>,
}

impl WebCitation<'_> {
    /// Of the web only: a place in a document means nothing elsewhere.
    fn tell(&self, on: &mut dyn FnMut(Event)) {
        if let Some(url) = self.url.words() {
            on(Event::Citation(Citation {
                url: url.to_owned(),
                title: self.title.text().unwrap_or_default().to_owned(),
                ..Citation::default()
            }));
        }
    }
}

#[derive(Deserialize)]
struct AnthropicFault<'a> {
    #[serde(default, borrow)]
    message: Text<'a>,
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
}

/// The calls so far, by the index of their block; a whole answer's have none.
#[derive(Default)]
struct BlockCalls(Vec<Option<u64>>);

impl BlockCalls {
    fn begin(&mut self, block: Option<u64>) -> u64 {
        self.0.push(block);
        u64::try_from(self.0.len() - 1).unwrap_or(u64::MAX)
    }

    /// The call whose block this is.
    fn at(&self, block: Option<u64>) -> Option<u64> {
        let at = self.0.iter().rposition(|known| *known == block)?;
        u64::try_from(at).ok()
    }
}

fn sealed(value: String) -> Event {
    Event::State(Sealed {
        dialect: "anthropic_messages".into(),
        model: String::new(),
        value,
    })
}

fn finish(word: &str, text: Option<&str>) -> Finish {
    match word {
        "end_turn" => Finish::Stop,
        "stop_sequence" => Finish::StopText(text.map(str::to_owned)),
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_use" => Finish::Calls,
        "refusal" => Finish::Refused,
        other => Finish::Other(other.to_owned()),
    }
}

impl AnthropicBlock<'_> {
    /// A call that the client has to answer; the provider's own tools are none of its business.
    fn is_the_clients(&self) -> bool {
        matches!(self.kind.text(), None | Some("tool_use"))
    }

    fn tell(&self, index: Option<u64>, calls: &mut BlockCalls, on: &mut dyn FnMut(Event)) {
        if let Some(words) = self.thinking.words() {
            on(Event::Reasoning(words.to_owned()));
        }
        if let Some(signature) = self.signature.words() {
            on(sealed(signature.to_owned()));
        }
        if let Some(data) = self.data.words()
            && self.kind.text() == Some("redacted_thinking")
        {
            on(sealed(format!("{REDACTED}{data}")));
        }
        if let Some(words) = self.text.words() {
            on(Event::Text(words.to_owned()));
        }
        let cited = self.citations.list().iter();
        cited.filter_map(|c| c.0.as_ref()).for_each(|c| c.tell(on));
        if let Some(words) = self.content.words()
            && self.kind.text() == Some("compaction")
        {
            on(Event::Text(words.to_owned()));
        }
        if let Some(name) = self.name.words().filter(|_| self.is_the_clients()) {
            let (index, id) = (calls.begin(index), self.id.text().unwrap_or_default());
            let (id, name) = (id.to_owned(), name.to_owned());
            on(Event::Call { index, id, name });
        }
        // A streamed call starts with an empty input and sends it in pieces.
        let input = self.input.map(RawValue::get).filter(|raw| *raw != "{}");
        if let Some(input) = input.filter(|_| self.is_the_clients())
            && let Some(index) = calls.at(index)
        {
            let text = input.to_owned();
            on(Event::Arguments { index, text });
        }
    }
}

impl AnthropicDelta<'_> {
    fn tell(&self, index: Option<u64>, calls: &BlockCalls, on: &mut dyn FnMut(Event)) {
        if let Some(words) = self.thinking.words() {
            on(Event::Reasoning(words.to_owned()));
        }
        if let Some(signature) = self.signature.words() {
            on(sealed(signature.to_owned()));
        }
        for words in [&self.text, &self.content] {
            if let Some(words) = words.words() {
                on(Event::Text(words.to_owned()));
            }
        }
        if let Some(words) = self.partial_json.words()
            && let Some(index) = calls.at(index)
        {
            let text = words.to_owned();
            on(Event::Arguments { index, text });
        }
        if let Some(cited) = &self.citation.0 {
            cited.tell(on);
        }
        if let Some(reason) = self.stop_reason.words() {
            on(Event::Finish(finish(reason, self.stop_sequence.text())));
        }
    }
}

/// What is known of a stream while it is read.
#[derive(Default)]
pub(super) struct AnthropicStream {
    model: ToldModel,
    seen: SeenUsage,
    calls: BlockCalls,
    repeated: Repeated,
}

impl ReadsFrames for AnthropicStream {
    type Frames = SseReader;

    fn read(&mut self, frame: SseEvent<'_>, on: &mut dyn FnMut(Event)) {
        let mut repeated = std::mem::take(&mut self.repeated);
        repeated.read(frame, on, |frame, on| self.read_in_full(frame, on));
        self.repeated = repeated;
    }
}

impl AnthropicStream {
    fn read_in_full(&mut self, frame: SseEvent<'_>, on: &mut dyn FnMut(Event)) {
        let said = json::from_slice::<AnthropicEvent<'_>>(frame.data).ok();
        let kind = said.as_ref().and_then(|said| said.kind.text());
        if frame.name == b"error" || kind == Some("error") {
            let fault = said.as_ref().and_then(|said| said.error.0.as_ref());
            let words = fault.and_then(|f| f.message.words().or_else(|| f.kind.words()));
            let text = words.map_or_else(|| body::error_bytes(frame.data), body::error_text);
            return on(Event::Error(fault::of(frame.data, text)));
        }
        let Some(said) = &said else { return };
        if let Some(message) = &said.message.0 {
            self.tell_start(message, on);
        }
        if let Some(block) = &said.content_block.0 {
            block.tell(said.index.get(), &mut self.calls, on);
        }
        if let Some(delta) = &said.delta.0 {
            delta.tell(said.index.get(), &self.calls, on);
        }
        if let Some(raw) = said.usage {
            take_usage(raw, &mut self.seen);
            // Without a count of the output it says nothing that is new; one that cannot be read spoils what was told before.
            if self.seen.tells_output() || !self.seen.is_readable() {
                self.tell_usage(false, on);
            }
        }
        if kind == Some("message_stop") {
            on(Event::End);
        }
    }

    fn tell_start(&mut self, message: &AnthropicMessage<'_>, on: &mut dyn FnMut(Event)) {
        self.model.tell(&message.model, on);
        if let Some(raw) = message.usage {
            take_usage(raw, &mut self.seen);
            self.tell_usage(true, on);
        }
    }

    /// What is known so far; a message's start tells its input, and of its output only what there was before it began.
    fn tell_usage(&mut self, partial: bool, on: &mut dyn FnMut(Event)) {
        if let Some(usage) = self.seen.usage() {
            on(Event::Usage(Usage { partial, ..usage }));
        }
    }
}

fn take_usage(raw: &RawValue, seen: &mut SeenUsage) {
    match json::from_str::<Maybe<AnthropicUsage<'_>>>(raw.get()) {
        Ok(Maybe(Some(wire))) => seen.take(&wire),
        _ => seen.spoil(),
    }
}

/// Reads a whole answer. One object can say each count once only, so a wrong count leaves no usage at all.
pub(super) fn whole(bytes: &[u8]) -> Answer {
    let Ok(Maybe(Some(message))) = json::from_slice::<Maybe<AnthropicMessage<'_>>>(bytes) else {
        return Answer::default();
    };
    let mut answer = Answer::default();
    let mut calls = BlockCalls::default();
    for block in message.content.list().iter().filter_map(|b| b.0.as_ref()) {
        block.tell(None, &mut calls, &mut |event| answer.add(event));
        let calls_client = block.name.words().is_some() && block.is_the_clients();
        let empty = calls_client && block.input.is_none_or(|raw| raw.get() == "{}");
        if let Some(index) = calls.at(None).filter(|_| empty) {
            let text = "{}".to_owned();
            answer.add(Event::Arguments { index, text });
        }
    }
    let mut seen = SeenUsage::default();
    if let Some(raw) = message.usage {
        take_usage(raw, &mut seen);
    }
    answer.usage = seen.usage().filter(|_| seen.is_readable());
    answer.model = message.model.words().map(str::to_owned);
    if let Some(reason) = message.stop_reason.words() {
        answer.first.finish = Some(finish(reason, message.stop_sequence.text()));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::StreamDecoder;
    use crate::dialect::framed::Framed;

    fn decode(text: &str) -> Vec<Event> {
        let mut decoder = Framed::<AnthropicStream>::default();
        let mut events = Vec::new();
        decoder.feed(text.as_bytes(), &mut |e| events.push(e));
        decoder.finish(&mut |e| events.push(e));
        events
    }

    #[test]
    fn a_stream_tells_its_words_usage_and_end() {
        let stream = r#"event: message_start
data: {"type":"message_start","message":{"model":"claude","content":[],"stop_reason":null,"usage":{"input_tokens":9,"cache_read_input_tokens":4,"output_tokens":1}}}

event: ping
data: {"type":"ping"}

data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}

data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"abc"}}

data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}

data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}

data: {"type":"content_block_start","index":2,"content_block":{"type":"web_search_tool_result","content":"page"}}

data: {"type":"content_block_delta","index":3,"delta":{"type":"text_delta","text":"42"}}

data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":20}}

event: message_stop
data: {"type":"message_stop"}"#;
        let usage = |output| {
            Event::Usage(Usage {
                input: 9,
                cached: 4,
                output,
                // What a message begins with is not the last word.
                partial: output == 1,
                ..Usage::default()
            })
        };
        assert_eq!(
            decode(stream),
            [
                Event::Model("claude".into()),
                usage(1),
                Event::Reasoning("hm".into()),
                sealed("abc".into()),
                Event::Call {
                    index: 0,
                    id: "t1".into(),
                    name: "f".into()
                },
                Event::Arguments {
                    index: 0,
                    text: "{}".into()
                },
                Event::Text("42".into()),
                Event::Finish(Finish::Stop),
                usage(20),
                Event::End,
            ]
        );
    }

    #[test]
    fn errors_inside_a_stream_are_told() {
        use crate::error::Kind::{Overloaded, UpstreamFailed};
        for (stream, said, kind) in [
            (
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n",
                "busy",
                Overloaded,
            ),
            (
                "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n",
                "overloaded_error",
                Overloaded,
            ),
            ("event: error\ndata: what?\n\n", "what?", UpstreamFailed),
        ] {
            let text = said.to_owned();
            let fault = crate::chat::answer::Fault { kind, text };
            assert_eq!(decode(stream), [Event::Error(fault)]);
        }
        assert_eq!(decode("data: {\"type\":\n\ndata: 7\n\n"), []);
    }

    #[test]
    fn a_whole_answer_is_read_and_a_wrong_count_leaves_no_usage() {
        let body = |output: &str| {
            format!(
                r#"{{"type":"message","model":"c","content":[{{"type":"thinking","thinking":"a"}},{{"type":"text","text":"b"}},
                {{"type":"tool_use","name":"f","input":{{"x":1}}}}],"stop_reason":"tool_use","usage":{{"input_tokens":3,"output_tokens":{output}}}}}"#
            )
        };
        let answer = whole(body("5").as_bytes());
        assert_eq!(
            (answer.thoughts(), answer.words()),
            ("a".into(), "bf{\"x\":1}".into())
        );
        assert_eq!(answer.first.finish, Some(Finish::Calls));
        assert_eq!(answer.model.as_deref(), Some("c"));
        assert_eq!(answer.usage.map(|u| (u.input, u.output)), Some((3, 5)));
        for wrong in ["null", "-5", "5.5", "\"5\""] {
            assert_eq!(whole(body(wrong).as_bytes()).usage, None, "{wrong}");
        }
        assert_eq!(whole(b"<html>"), Answer::default());
    }
}
