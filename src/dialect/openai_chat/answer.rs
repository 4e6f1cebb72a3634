//! Answers of Chat Completions, streamed and whole, in all their vendors' spellings.

use super::calls::{CalledFunction, ChatCalls, ToolCall, sealed};
use super::usage::ChatUsage;
use crate::chat::{ServiceTier, Usage};
use crate::dialect::cited::UrlCitation;
use crate::dialect::framed::{ReadsFrames, ToldModel, ToldUsage};
use crate::dialect::lenient::{Content, Count, Maybe, Text};
use crate::dialect::repeated::Repeated;
use crate::dialect::sse::{SseEvent, SseReader};
use crate::dialect::{Answer, Event, Finish, UsageRule, body, logprobs};
use crate::json;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A chunk of a stream, or a whole answer: they differ in `delta` or `message`.
#[derive(Deserialize)]
struct ChatChunk<'a> {
    #[serde(default, borrow)]
    object: Text<'a>,
    #[serde(default, borrow)]
    message: Text<'a>,
    #[serde(default, borrow)]
    model: Text<'a>,
    #[serde(default, borrow)]
    choices: Content<'a, Maybe<ChatChoice<'a>>>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default, borrow)]
    x_groq: Maybe<XGroq<'a>>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
    #[serde(default, borrow)]
    service_tier: Text<'a>,
}

impl ChatChunk<'_> {
    fn tier(&self) -> Option<ServiceTier> {
        self.service_tier.text().and_then(ServiceTier::read)
    }
}

#[derive(Deserialize)]
struct XGroq<'a> {
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChatChoice<'a> {
    #[serde(default)]
    index: Count,
    #[serde(default, borrow)]
    delta: Maybe<ChatMessage<'a>>,
    #[serde(default, borrow)]
    message: Maybe<ChatMessage<'a>>,
    /// What a legacy completion says.
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    finish_reason: Text<'a>,
    #[serde(default, borrow)]
    logprobs: Maybe<ChatLogprobs<'a>>,
}

#[derive(Deserialize)]
struct ChatLogprobs<'a> {
    #[serde(default, borrow)]
    content: logprobs::LikelyTokens<'a>,
}

impl ChatChoice<'_> {
    fn tell_text(&self, on: &mut dyn FnMut(Event)) {
        if let Some(text) = self.text.words() {
            on(Event::Text(text.to_owned()));
        }
    }

    fn tell_logprobs(&self, on: &mut dyn FnMut(Event)) {
        if let Some(told) = &self.logprobs.0 {
            logprobs::tell(&told.content, on);
        }
    }
}

#[derive(Deserialize)]
struct ChatMessage<'a> {
    #[serde(default, borrow)]
    content: Content<'a, Maybe<ChatPiece<'a>>>,
    #[serde(default, borrow)]
    refusal: Text<'a>,
    #[serde(default, borrow)]
    reasoning_content: Text<'a>,
    #[serde(default, borrow)]
    reasoning: Text<'a>,
    #[serde(default, borrow)]
    reasoning_details: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_calls: Content<'a, Maybe<ToolCall<'a>>>,
    #[serde(default, borrow)]
    function_call: Maybe<CalledFunction<'a>>,
    #[serde(default, borrow)]
    annotations: Content<'a, Maybe<Annotation<'a>>>,
}

#[derive(Deserialize)]
struct Annotation<'a> {
    #[serde(default, borrow)]
    url_citation: Maybe<UrlCitation<'a>>,
}

/// Mistral's content: an array of text and thinking.
#[derive(Deserialize)]
struct ChatPiece<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    thinking: Content<'a, Maybe<Thought<'a>>>,
}

#[derive(Deserialize)]
struct Thought<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    summary: Text<'a>,
    #[serde(default, borrow)]
    data: Text<'a>,
    #[serde(default, borrow)]
    signature: Text<'a>,
}

#[derive(Deserialize)]
struct ChatFault<'a> {
    #[serde(default, borrow)]
    message: Text<'a>,
    #[serde(default, borrow)]
    r#type: Text<'a>,
}

impl ChatMessage<'_> {
    /// Tells the words in the order: reasoning, text, tool calls. Calls of other choices than the first have indexes of their own.
    fn tell(&self, choice: u64, calls: &mut ChatCalls, on: &mut dyn FnMut(Event)) {
        self.tell_reasoning(on);
        match &self.content {
            Content::Text(text) if !text.is_empty() => on(Event::Text(text.to_string())),
            Content::List(pieces) => {
                for piece in pieces.iter().filter_map(|p| p.0.as_ref()) {
                    tell_thoughts(&piece.thinking, on);
                    if let Some(text) = piece.text.words() {
                        on(Event::Text(text.to_owned()));
                    }
                }
            }
            _ => {}
        }
        if let Some(refusal) = self.refusal.words() {
            on(Event::Refusal(refusal.to_owned()));
        }
        for call in self
            .tool_calls
            .list()
            .iter()
            .filter_map(|call| call.0.as_ref())
        {
            calls.tell(choice, call, on);
        }
        if let Some(call) = &self.function_call.0 {
            calls.tell_parts(choice, Some(0), "", call, on);
        }
        for cited in self
            .annotations
            .list()
            .iter()
            .filter_map(|a| a.0.as_ref()?.url_citation.0.as_ref())
        {
            cited.tell(on);
        }
    }

    /// Vendors that send two of the three fields send the same words in both.
    fn tell_reasoning(&self, on: &mut dyn FnMut(Event)) {
        let plain = self
            .reasoning_content
            .words()
            .or_else(|| self.reasoning.words());
        if let Some(words) = plain {
            on(Event::Reasoning(words.to_owned()));
        }
        let Some(raw) = self.reasoning_details else {
            return;
        };
        let Ok(details) = serde_json::from_str::<Content<'_, Maybe<Thought<'_>>>>(raw.get()) else {
            return;
        };
        if plain.is_none() {
            tell_thoughts(&details, on);
        }
        // Words alone can be said again in any form; what is sealed or signed must come back as it is.
        let thoughts = details.list().iter().filter_map(|t| t.0.as_ref());
        if thoughts
            .into_iter()
            .any(|t| t.data.words().is_some() || t.signature.words().is_some())
        {
            on(sealed(raw));
        }
    }
}

fn tell_thoughts(thoughts: &Content<'_, Maybe<Thought<'_>>>, on: &mut dyn FnMut(Event)) {
    if let Some(words) = thoughts.words() {
        on(Event::Reasoning(words.to_owned()));
    }
    for thought in thoughts.list().iter().filter_map(|t| t.0.as_ref()) {
        if let Some(words) = thought.text.words().or_else(|| thought.summary.words()) {
            on(Event::Reasoning(words.to_owned()));
        }
    }
}

fn finish(word: &str) -> Finish {
    match word {
        "stop" | "eos" => Finish::Stop,
        "length" | "max_tokens" => Finish::Length,
        "tool_calls" | "function_call" => Finish::Calls,
        "content_filter" => Finish::Filtered,
        other => Finish::Other(other.to_owned()),
    }
}

/// What an `error` value says; `None` where it is no error.
fn fault(raw: &str) -> Option<String> {
    if matches!(raw, "null" | "false" | "\"\"") {
        return None;
    }
    if let Some(text) = crate::json::text(raw) {
        return Some(body::error_text(&text));
    }
    let fault = serde_json::from_str::<Maybe<ChatFault<'_>>>(raw).ok()?.0;
    let said = fault.as_ref().and_then(|f| {
        let message = f.message.words();
        message.or_else(|| f.r#type.words()).map(body::error_text)
    });
    Some(said.unwrap_or_else(|| "the upstream reported an error without words".to_owned()))
}

/// What is known of a stream while it is read.
pub(super) struct ChatStream {
    rule: UsageRule,
    model: ToldModel,
    tier: Option<ServiceTier>,
    usage: ToldUsage,
    calls: ChatCalls,
    /// Which of several answers was told last.
    choice: u64,
    repeated: Repeated,
}

impl ChatStream {
    pub(super) fn new(rule: UsageRule) -> ChatStream {
        ChatStream {
            rule,
            model: ToldModel::default(),
            tier: None,
            usage: ToldUsage::default(),
            calls: ChatCalls::default(),
            choice: 0,
            repeated: Repeated::default(),
        }
    }
}

impl ReadsFrames for ChatStream {
    type Frames = SseReader;

    fn read(&mut self, frame: SseEvent<'_>, on: &mut dyn FnMut(Event)) {
        let mut repeated = std::mem::take(&mut self.repeated);
        repeated.read(frame, on, |frame, on| self.read_in_full(frame, on));
        self.repeated = repeated;
    }
}

impl ChatStream {
    fn read_in_full(&mut self, frame: SseEvent<'_>, on: &mut dyn FnMut(Event)) {
        if frame.data.trim_ascii() == b"[DONE]" {
            return on(Event::End);
        }
        let chunk = json::from_slice::<ChatChunk<'_>>(frame.data).ok();
        let error = chunk.as_ref().and_then(|chunk| {
            let said = chunk.error.and_then(|raw| fault(raw.get()));
            said.or_else(|| match chunk.object.text() {
                Some("error") => chunk.message.words().map(body::error_text),
                _ => None,
            })
        });
        let error = match error {
            None if frame.name == b"error" => Some(
                chunk
                    .as_ref()
                    .and_then(|c| c.message.words())
                    .map_or_else(|| body::error_bytes(frame.data), body::error_text),
            ),
            error => error,
        };
        if let Some(chunk) = chunk {
            self.tell_chunk(&chunk, on);
        }
        if let Some(error) = error {
            on(Event::Error(crate::dialect::fault::of(frame.data, error)));
        }
    }

    fn tell_chunk(&mut self, chunk: &ChatChunk<'_>, on: &mut dyn FnMut(Event)) {
        self.model.tell(&chunk.model, on);
        for choice in chunk.choices.list().iter().filter_map(|c| c.0.as_ref()) {
            let index = choice.index.get().unwrap_or(0);
            if std::mem::replace(&mut self.choice, index) != index {
                on(Event::Choice(index));
            }
            choice.tell_logprobs(on);
            choice.tell_text(on);
            if let Some(delta) = &choice.delta.0 {
                delta.tell(index, &mut self.calls, on);
            }
            if let Some(reason) = choice.finish_reason.words() {
                on(Event::Finish(finish(reason)));
            }
        }
        self.tier = chunk.tier().or(self.tier);
        let groq = chunk.x_groq.0.as_ref().and_then(|x| x.usage);
        for raw in [groq, chunk.usage].into_iter().flatten() {
            self.tell_usage(raw, on);
        }
    }

    fn tell_usage(&mut self, raw: &RawValue, on: &mut dyn FnMut(Event)) {
        self.usage.tell(read_usage(raw, self.rule, self.tier), on);
    }
}

fn read_usage(raw: &RawValue, rule: UsageRule, tier: Option<ServiceTier>) -> Option<Usage> {
    json::from_str::<Maybe<ChatUsage<'_>>>(raw.get())
        .ok()?
        .0?
        .read(rule, tier)
}

/// Reads a whole answer.
pub(super) fn whole(bytes: &[u8], rule: UsageRule) -> Answer {
    let Ok(chunk) = json::from_slice::<ChatChunk<'_>>(bytes) else {
        return Answer::default();
    };
    let groq = chunk.x_groq.0.as_ref().and_then(|x| x.usage);
    let mut answer = Answer {
        usage: chunk
            .usage
            .or(groq)
            .and_then(|raw| read_usage(raw, rule, chunk.tier())),
        model: chunk.model.words().map(str::to_owned),
        error: chunk
            .error
            .and_then(|raw| fault(raw.get()))
            .map(|text| crate::dialect::fault::of(bytes, text)),
        ..Answer::default()
    };
    let mut calls = ChatCalls::default();
    let choices = chunk.choices.list().iter().filter_map(|c| c.0.as_ref());
    for (index, choice) in (0..).zip(choices) {
        answer.add(Event::Choice(index));
        choice.tell_logprobs(&mut |event| answer.add(event));
        choice.tell_text(&mut |event| answer.add(event));
        if let Some(message) = &choice.message.0 {
            message.tell(index, &mut calls, &mut |event| answer.add(event));
        }
        if let Some(reason) = choice.finish_reason.words() {
            answer.add(Event::Finish(finish(reason)));
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::answer::Fault as Told;
    use crate::chat::conversation::State as Sealed;
    use crate::dialect::StreamDecoder;
    use crate::dialect::framed::Framed;
    use crate::error::Kind;

    fn decode(text: &str) -> Vec<Event> {
        let mut decoder = Framed::new(ChatStream::new(UsageRule::Dialect));
        let mut events = Vec::new();
        decoder.feed(text.as_bytes(), &mut |e| events.push(e));
        decoder.finish(&mut |e| events.push(e));
        events
    }

    fn delta(delta: &str) -> Vec<Event> {
        decode(&format!(
            "data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n"
        ))
    }

    #[test]
    fn words_are_found_under_every_vendors_name() {
        let text = |t: &str| Event::Text(t.to_owned());
        let thought = |t: &str| Event::Reasoning(t.to_owned());
        let call = |index, name: &str| Event::Call {
            index,
            id: String::new(),
            name: name.to_owned(),
        };
        let more = |index, text: &str| Event::Arguments {
            index,
            text: text.to_owned(),
        };
        for (json, expected) in [
            (r#"{"content":"a","role":"assistant"}"#, vec![text("a")]),
            (r#"{"content":"","reasoning":null}"#, vec![]),
            (r#"{"refusal":"no"}"#, vec![Event::Refusal("no".into())]),
            (r#"{"reasoning_content":"r"}"#, vec![thought("r")]),
            (
                r#"{"reasoning":"r","reasoning_content":"","reasoning_details":[{"text":"r"}],"content":"a"}"#,
                vec![thought("r"), text("a")],
            ),
            (
                r#"{"reasoning_details":[{"text":"r"},{"summary":"s"},7]}"#,
                vec![thought("r"), thought("s")],
            ),
            (
                r#"{"reasoning_details":[{"data":"x"}]}"#,
                vec![Event::State(Sealed {
                    dialect: "openai_chat".into(),
                    model: String::new(),
                    value: r#"[{"data":"x"}]"#.into(),
                })],
            ),
            (
                r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"r"}]},{"type":"text","text":"a"}]}"#,
                vec![thought("r"), text("a")],
            ),
            (
                r#"{"tool_calls":[{"function":{"name":"f","arguments":"{\"a\""}},{"custom":{"name":"c","input":"i"}},{"function":{"arguments":{"b":1}}}]}"#,
                vec![
                    call(0, "f"),
                    more(0, "{\"a\""),
                    call(1, "c"),
                    more(1, "i"),
                    more(1, "{\"b\":1}"),
                ],
            ),
            (
                r#"{"function_call":{"name":"f","arguments":""}}"#,
                vec![call(0, "f")],
            ),
            (r#"{"content":5,"tool_calls":"x"}"#, vec![]),
            ("7", vec![]),
        ] {
            assert_eq!(delta(json), expected, "{json}");
        }
    }

    #[test]
    fn errors_inside_a_stream_are_told_in_every_form() {
        let of = |kind, text: &str| {
            let text = text.to_owned();
            vec![Event::Error(Told { kind, text })]
        };
        let error = |text: &str| of(Kind::UpstreamFailed, text);
        for (stream, expected) in [
            (
                "data: {\"error\":{\"message\":\"m\",\"code\":429}}\n\n",
                of(Kind::RateReached, "m"),
            ),
            ("data: {\"error\":\"m\",\"code\":\"c\"}\n\n", error("m")),
            (
                "data: {\"error\":{\"type\":\"overloaded\"}}\n\n",
                of(Kind::Overloaded, "overloaded"),
            ),
            ("data: {\"error\":null}\n\n", vec![]),
            (
                "data: {\"object\":\"error\",\"message\":\"m\"}\n\n",
                error("m"),
            ),
            (
                "event: error\ndata: {\"error\":{\"message\":\"m\"}}\n\n",
                error("m"),
            ),
            ("event: error\ndata: {\"message\":\"m\"}\n\n", error("m")),
            ("event: error\ndata: plain words\n\n", error("plain words")),
            ("data: not json\n\ndata: {\"choices\":[{\n\n", vec![]),
        ] {
            assert_eq!(decode(stream), expected, "{stream}");
        }
    }

    #[test]
    fn an_unreadable_last_usage_flags_the_one_before_it() {
        let read = |last: &str| {
            let first = "data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\n";
            let stream =
                format!("{first}data: {{\"choices\":[],\"usage\":{last}}}\n\ndata: [DONE]");
            let mut usages = decode(&stream);
            assert_eq!(usages.pop(), Some(Event::End));
            usages
        };
        let usage = |output, anomaly| {
            Event::Usage(Usage {
                input: 5,
                output,
                anomaly,
                ..Usage::default()
            })
        };
        let good = "{\"prompt_tokens\":5,\"completion_tokens\":3}";
        assert_eq!(read(good), [usage(1, false), usage(3, false)]);
        assert_eq!(read("null"), [usage(1, false)]);
        let bad = "{\"prompt_tokens\":5,\"completion_tokens\":-3}";
        assert_eq!(read(bad), [usage(1, false), usage(1, true)]);
        assert_eq!(read("\"much\""), [usage(1, false), usage(1, true)]);
    }
}
