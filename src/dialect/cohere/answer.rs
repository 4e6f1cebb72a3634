//! Answers of Cohere Chat, streamed and whole.

use super::usage::Used;
use crate::chat::answer::Token;
use crate::dialect::lenient::{Content, Count, Maybe, Text};
use crate::dialect::sse::{Frame, Reader};
use crate::dialect::{Answer, Citation, Event, Finish, StreamDecoder, body, fault};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Number, Value};

/// An event of a stream.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    index: Count,
    #[serde(default, borrow)]
    delta: Maybe<Delta<'a>>,
    #[serde(default, borrow)]
    logprobs: Maybe<Likely<'a>>,
    /// Of an error that is no event.
    #[serde(default, borrow)]
    message: Text<'a>,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(default, borrow)]
    message: Maybe<Piece<'a>>,
    #[serde(default, borrow)]
    error: Text<'a>,
    #[serde(default, borrow)]
    finish_reason: Text<'a>,
    #[serde(default)]
    usage: Maybe<Used>,
}

/// A piece of a message: one of each where a whole one has a list.
#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(default, borrow)]
    content: Maybe<Part<'a>>,
    #[serde(default, borrow)]
    tool_plan: Text<'a>,
    #[serde(default, borrow)]
    tool_calls: Maybe<Call<'a>>,
    #[serde(default, borrow)]
    citations: Maybe<Cited<'a>>,
}

/// A whole answer.
#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(default, borrow)]
    message: Maybe<Message<'a>>,
    #[serde(default, borrow)]
    finish_reason: Text<'a>,
    #[serde(default)]
    usage: Maybe<Used>,
    #[serde(default, borrow)]
    logprobs: Content<'a, Maybe<Likely<'a>>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default, borrow)]
    content: Content<'a, Maybe<Part<'a>>>,
    #[serde(default, borrow)]
    tool_plan: Text<'a>,
    #[serde(default, borrow)]
    tool_calls: Content<'a, Maybe<Call<'a>>>,
    #[serde(default, borrow)]
    citations: Content<'a, Maybe<Cited<'a>>>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    thinking: Text<'a>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(default, borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    function: Maybe<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    arguments: Text<'a>,
}

#[derive(Deserialize)]
struct Cited<'a> {
    #[serde(default)]
    start: Count,
    #[serde(default)]
    end: Count,
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default, borrow)]
    sources: Content<'a, Value>,
}

#[derive(Deserialize)]
struct Likely<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    logprobs: Content<'a, Value>,
}

/// A decoder for one stream.
#[derive(Default)]
pub(super) struct Decoder {
    reader: Reader,
    state: State,
}

#[derive(Default)]
struct State {
    /// The index that each call has in the stream.
    calls: Vec<u64>,
    /// The model said something.
    said: bool,
    ended: bool,
}

impl Told<'_> {
    /// An error in whichever form: by its type, or one that is no event.
    fn is_error(&self) -> bool {
        match self.kind.text() {
            Some(kind) => kind == "error",
            None => self.message.words().is_some() || self.error.is_some(),
        }
    }
}

impl StreamDecoder for Decoder {
    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(Event)) {
        let state = &mut self.state;
        self.reader.feed(bytes, &mut |frame| state.tell(frame, on));
    }

    fn finish(&mut self, on: &mut dyn FnMut(Event)) {
        let state = &mut self.state;
        self.reader.finish(&mut |frame| state.tell(frame, on));
    }
}

impl State {
    fn tell(&mut self, frame: Frame<'_>, on: &mut dyn FnMut(Event)) {
        let told = serde_json::from_slice::<Told<'_>>(frame.data).ok();
        let failed = told.as_ref().is_some_and(Told::is_error);
        if failed || frame.name == b"error" {
            return on(Event::Error(fault::told(frame.data)));
        }
        let Some(told) = told else { return };
        let mut words = false;
        let on: &mut dyn FnMut(Event) = &mut |event| {
            words |= is_said(&event);
            on(event);
        };
        let delta = told.delta.0.as_ref();
        let piece = delta.and_then(|d| d.message.0.as_ref());
        match (told.kind.text(), piece) {
            (Some("content-start" | "content-delta"), Some(piece)) => {
                likely(told.logprobs.0.as_ref(), on);
                if let Some(part) = &piece.content.0 {
                    part.tell(on);
                }
            }
            (Some("tool-plan-delta"), Some(piece)) => {
                if let Some(plan) = piece.tool_plan.words() {
                    on(Event::Text(plan.to_owned()));
                }
            }
            (Some("tool-call-start"), Some(piece)) => {
                if let Some(call) = &piece.tool_calls.0 {
                    let index = u64::try_from(self.calls.len()).unwrap_or(u64::MAX);
                    self.calls.push(told.index.get().unwrap_or(index));
                    call.tell(index, on);
                }
            }
            (Some("tool-call-delta"), Some(piece)) => self.tell_arguments(&told, piece, on),
            (Some("citation-start"), Some(piece)) => {
                if let Some(cited) = &piece.citations.0 {
                    cited.tell(on);
                }
            }
            (Some("message-end"), _) => self.end(delta, on),
            _ => {}
        }
        self.said |= words;
    }

    fn tell_arguments(&self, told: &Told<'_>, piece: &Piece<'_>, on: &mut dyn FnMut(Event)) {
        let function = piece
            .tool_calls
            .0
            .as_ref()
            .and_then(|c| c.function.0.as_ref());
        let Some(text) = function.and_then(|f| f.arguments.words()) else {
            return;
        };
        let known = |index: u64| self.calls.iter().rposition(|known| *known == index);
        let at = told.index.get().and_then(known);
        if let Some(at) = at.or(self.calls.len().checked_sub(1)) {
            on(Event::Arguments {
                index: u64::try_from(at).unwrap_or(u64::MAX),
                text: text.to_owned(),
            });
        }
    }

    fn end(&mut self, delta: Option<&Delta<'_>>, on: &mut dyn FnMut(Event)) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let usage = delta.and_then(|d| d.usage.0.as_ref()?.read(self.said));
        if let Some(usage) = usage {
            on(Event::Usage(usage));
        }
        let word = delta.and_then(|d| d.finish_reason.words());
        let why = delta.and_then(|d| d.error.words());
        match (finish(word.unwrap_or_default()), why) {
            (Ok(finish), None) => {
                on(Event::Finish(finish));
                on(Event::End);
            }
            (Err(word), why) => on(Event::Error(body::error_text(why.unwrap_or(word)).into())),
            (_, Some(why)) => on(Event::Error(body::error_text(why).into())),
        }
    }
}

/// The model's own words.
fn is_said(event: &Event) -> bool {
    matches!(
        event,
        Event::Text(_) | Event::Reasoning(_) | Event::Call { .. }
    )
}

/// Why an answer ended, or in which words it failed.
fn finish(word: &str) -> Result<Finish, &'static str> {
    Ok(match word {
        "COMPLETE" | "" => Finish::Stop,
        "STOP_SEQUENCE" => Finish::StopText(None),
        "MAX_TOKENS" => Finish::Length,
        "TOOL_CALL" => Finish::Calls,
        "ERROR" => return Err("the model's server reported an error without words"),
        "TIMEOUT" => return Err("the model did not finish its answer in time"),
        other => Finish::Other(other.to_owned()),
    })
}

impl Part<'_> {
    fn tell(&self, on: &mut dyn FnMut(Event)) {
        if let Some(words) = self.thinking.words() {
            on(Event::Reasoning(words.to_owned()));
        }
        if let Some(words) = self.text.words() {
            on(Event::Text(words.to_owned()));
        }
    }
}

impl Call<'_> {
    fn tell(&self, index: u64, on: &mut dyn FnMut(Event)) {
        let function = self.function.0.as_ref();
        let name = function.and_then(|f| f.name.text());
        on(Event::Call {
            index,
            id: self.id.text().unwrap_or_default().to_owned(),
            name: name.unwrap_or_default().to_owned(),
        });
        if let Some(text) = function.and_then(|f| f.arguments.words()) {
            let text = text.to_owned();
            on(Event::Arguments { index, text });
        }
    }
}

impl Cited<'_> {
    /// Only sources with an address mean something to others; places in thoughts and plans are not in the text.
    fn tell(&self, on: &mut dyn FnMut(Event)) {
        if !matches!(self.kind.text(), None | Some("TEXT_CONTENT")) {
            return;
        }
        for source in self.sources.list() {
            let told = [&source["document"], &source["tool_output"]];
            let text = |key: &str| told.iter().find_map(|from| from[key].as_str());
            if let Some(url) = text("url") {
                on(Event::Citation(Citation {
                    url: url.to_owned(),
                    title: text("title").unwrap_or_default().to_owned(),
                    start: self.start.get().unwrap_or(0),
                    end: self.end.get().unwrap_or(0),
                }));
            }
        }
    }
}

/// A text of several tokens stands for one that is as likely as all of them are together, if that is told of each.
fn likely(told: Option<&Likely<'_>>, on: &mut dyn FnMut(Event)) {
    let Some(told) = told else { return };
    let logprob = match told.logprobs.list() {
        [] => return,
        [one] => one.as_number().cloned(),
        several => {
            let sum: Option<f64> = several.iter().map(Value::as_f64).sum();
            sum.and_then(Number::from_f64)
        }
    };
    if let (Some(text), Some(logprob)) = (told.text.text(), logprob) {
        on(Event::Logprobs(vec![Token {
            text: text.to_owned(),
            bytes: None,
            logprob,
            top: Vec::new(),
        }]));
    }
}

/// Reads a whole answer.
pub(super) fn whole(bytes: &[u8]) -> Answer {
    let mut answer = Answer::default();
    let Ok(whole) = serde_json::from_slice::<Whole<'_>>(bytes) else {
        return answer;
    };
    let mut on = |event| answer.add(event);
    for told in whole.logprobs.list() {
        likely(told.0.as_ref(), &mut on);
    }
    if let Some(message) = &whole.message.0 {
        message.tell(&mut on);
    }
    let said = !answer.words().is_empty();
    let usage = whole.usage.0.as_ref().and_then(|used| used.read(said));
    answer.usage = usage.or(answer.usage);
    match whole.finish_reason.words().map(finish) {
        None => {}
        Some(Ok(finish)) => answer.add(Event::Finish(finish)),
        Some(Err(why)) => answer.add(Event::Error(why.into())),
    }
    answer
}

impl Message<'_> {
    fn tell(&self, on: &mut dyn FnMut(Event)) {
        let parts = || self.content.list().iter().filter_map(|p| p.0.as_ref());
        for words in parts().filter_map(|part| part.thinking.words()) {
            on(Event::Reasoning(words.to_owned()));
        }
        if let Some(plan) = self.tool_plan.words() {
            on(Event::Text(plan.to_owned()));
        }
        let texts = parts().filter_map(|part| part.text.words());
        for words in self.content.words().into_iter().chain(texts) {
            on(Event::Text(words.to_owned()));
        }
        let calls = self.tool_calls.list().iter().filter_map(|c| c.0.as_ref());
        for (index, call) in (0..).zip(calls) {
            call.tell(index, on);
        }
        for cited in self.citations.list().iter().filter_map(|c| c.0.as_ref()) {
            cited.tell(on);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Usage;
    use crate::dialect::{Dialect, Frame as Around, UsageRule};

    fn decode(stream: &[u8], pieces: &mut dyn Iterator<Item = usize>) -> Vec<Event> {
        let mut decoder = Decoder::default();
        let (mut events, mut rest) = (Vec::new(), stream);
        while !rest.is_empty() {
            let size = pieces.next().unwrap_or(rest.len()).clamp(1, rest.len());
            let (piece, more) = rest.split_at(size);
            decoder.feed(piece, &mut |e| events.push(e));
            rest = more;
        }
        decoder.finish(&mut |e| events.push(e));
        events
    }

    fn all(stream: &str) -> Vec<Event> {
        decode(stream.as_bytes(), &mut std::iter::empty())
    }

    fn event(json: &str) -> String {
        format!("event: x\ndata: {json}\n\n")
    }

    /// Every kind of event, with calls whose pieces cross each other.
    fn stream() -> String {
        [
            r#"{"type":"message-start","id":"1","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}"#,
            r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"thinking","thinking":"h"}}}}"#,
            r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"thinking":"m"}}}}"#,
            r#"{"type":"content-end","index":0}"#,
            r#"{"type":"content-start","index":1,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
            r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"text":"Hé"}}},"logprobs":{"text":"Hé","token_ids":[1,2],"logprobs":[-0.5,-0.25]}}"#,
            r#"{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":0,"end":2,"text":"Hé","sources":[{"type":"document","id":"d","document":{"url":"https://e.org/","title":"E"}},{"type":"tool","id":"t","tool_output":{"a":1}}],"type":"TEXT_CONTENT"}}}}"#,
            r#"{"type":"citation-start","index":1,"delta":{"message":{"citations":{"start":0,"end":1,"sources":[{"document":{"url":"https://p.org/"}}],"type":"PLAN"}}}}"#,
            r#"{"type":"content-end","index":1}"#,
            r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I look."}}}"#,
            r#"{"type":"tool-call-start","index":2,"delta":{"message":{"tool_calls":{"id":"a","type":"function","function":{"name":"f","arguments":""}}}}}"#,
            r#"{"type":"tool-call-delta","index":2,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"x\""}}}}}"#,
            r#"{"type":"tool-call-start","index":3,"delta":{"message":{"tool_calls":{"id":"b","type":"function","function":{"name":"g","arguments":"{"}}}}}"#,
            r#"{"type":"tool-call-delta","index":2,"delta":{"message":{"tool_calls":{"function":{"arguments":":1}"}}}}}"#,
            r#"{"type":"tool-call-delta","index":3,"delta":{"message":{"tool_calls":{"function":{"arguments":"}"}}}}}"#,
            r#"{"type":"tool-call-end","index":2}"#,
            r#"{"type":"message-end","id":"1","delta":{"finish_reason":"TOOL_CALL","usage":{"billed_units":{"input_tokens":20.0,"output_tokens":9},"tokens":{"input_tokens":518,"output_tokens":12},"cached_tokens":500}}}"#,
        ]
        .map(event)
        .concat()
            + "data: [DONE]\n\n"
    }

    #[test]
    fn a_stream_tells_thoughts_words_sources_calls_and_what_is_billed() {
        let text = |text: &str| Event::Text(text.to_owned());
        let more = |index, text: &str| Event::Arguments {
            index,
            text: text.to_owned(),
        };
        let call = |index, id: &str, name: &str| Event::Call {
            index,
            id: id.to_owned(),
            name: name.to_owned(),
        };
        let expected = [
            Event::Reasoning("h".into()),
            Event::Reasoning("m".into()),
            Event::Logprobs(vec![Token {
                text: "H\u{e9}".into(),
                bytes: None,
                logprob: Number::from_f64(-0.75).expect("a number"),
                top: Vec::new(),
            }]),
            text("H\u{e9}"),
            Event::Citation(Citation {
                url: "https://e.org/".into(),
                title: "E".into(),
                start: 0,
                end: 2,
            }),
            text("I look."),
            call(0, "a", "f"),
            more(0, "{\"x\""),
            call(1, "b", "g"),
            more(1, "{"),
            more(0, ":1}"),
            more(1, "}"),
            Event::Usage(Usage {
                input: 18,
                cached: 2,
                output: 9,
                ..Usage::default()
            }),
            Event::Finish(Finish::Calls),
            Event::End,
        ];
        assert_eq!(all(&stream()), expected);
    }

    #[test]
    fn a_stream_says_the_same_however_it_is_cut() {
        for stream in [stream(), stream().replace('\n', "\r\n")] {
            let whole = all(&stream);
            let bytes = stream.as_bytes();
            assert_eq!(decode(bytes, &mut std::iter::repeat(1)), whole);
            for seed in 1..60_usize {
                let mut state = seed;
                let mut sizes = std::iter::repeat_with(|| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(seed);
                    (state >> 33) % 97 + 1
                });
                assert_eq!(decode(bytes, &mut sizes), whole, "seed {seed}");
            }
        }
    }

    #[test]
    fn what_crosses_in_one_stream_is_told_one_after_the_other_in_another() {
        let mut writer = super::super::Cohere.stream_writer(Around::default());
        let mut out = Vec::new();
        for event in all(&stream()) {
            writer.write(event, &mut out);
        }
        writer.finish(&mut out);
        let text = String::from_utf8(out).expect("text");
        let calls: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("event: tool-call-"))
            .collect();
        assert_eq!(
            calls,
            ["start", "delta", "delta", "end", "start", "delta", "end"]
        );
        let (mut heard, mut said) = (Answer::default(), Answer::default());
        all(&text).into_iter().for_each(|e| heard.add(e));
        all(&stream()).into_iter().for_each(|e| said.add(e));
        assert_eq!(heard.first.items, said.first.items);
    }

    #[test]
    fn a_whole_answer_tells_the_same_and_an_error_is_one() {
        let body = r#"{"id":"1","message":{"role":"assistant","tool_plan":"I look.","content":[{"type":"thinking","thinking":"hm"}],"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"TOOL_CALL","usage":{"tokens":{"input_tokens":5,"output_tokens":2}}}"#;
        let answer = super::super::Cohere.answer(body.as_bytes(), UsageRule::Dialect);
        assert_eq!(answer.words(), "hmI look.f{}");
        let usage = answer.usage.expect("told");
        assert_eq!((usage.input, usage.output), (5, 2));
        for (stream, why) in [
            (
                event(r#"{"type":"message-end","delta":{"error":"gone","finish_reason":"ERROR"}}"#),
                "gone",
            ),
            (
                event(r#"{"type":"message-end","delta":{"finish_reason":"TIMEOUT"}}"#),
                "the model did not finish its answer in time",
            ),
            (
                event(r#"{"id":"1","message":"too many tokens"}"#),
                "too many tokens",
            ),
            ("event: error\ndata: plain\n\n".to_owned(), "plain"),
            (
                "event: error\ndata: {\"error\":\"model overloaded\"}\n\n".to_owned(),
                "model overloaded",
            ),
            (
                event(r#"{"type":"error","message":"model overloaded"}"#),
                "model overloaded",
            ),
            (event(r#"{"error":{"message":"gone"}}"#), "gone"),
        ] {
            assert_eq!(all(&stream), [Event::Error(why.into())], "{stream}");
        }
        for usage in [
            "{}",
            "null",
            "7",
            r#"{"billed_units":{"input_tokens":-1,"output_tokens":1}}"#,
            r#"{"tokens":{"input_tokens":1.5,"output_tokens":1}}"#,
        ] {
            let body = format!("{{\"finish_reason\":\"COMPLETE\",\"usage\":{usage}}}");
            assert_eq!(whole(body.as_bytes()).usage, None, "{usage}");
        }
    }

    #[test]
    fn a_null_in_a_list_costs_nothing_but_itself() {
        for sources in [
            "null",
            "7",
            r#"[null,{"document":null},{"document":{"url":"https://e.org/"}}]"#,
        ] {
            let cited = format!("{{\"start\":0,\"end\":2,\"sources\":{sources}}}");
            let body = format!(
                "{{\"message\":{{\"content\":[{{\"text\":\"Hi\"}}],\"citations\":[{cited},null]}},\"finish_reason\":\"COMPLETE\"}}"
            );
            let told = whole(body.as_bytes());
            assert_eq!(told.words(), "Hi", "{body}");
            assert_eq!(told.first.citations.len(), usize::from(sources.len() > 4));
        }
        for (logprobs, told) in [
            ("null", 0),
            ("[null]", 0),
            ("[-0.5,null]", 0),
            ("[-0.5]", 1),
            ("[-0.5,-0.5]", 1),
        ] {
            let likely = format!("{{\"text\":\"Hi\",\"logprobs\":{logprobs}}}");
            let body = format!(
                "{{\"message\":{{\"content\":[{{\"text\":\"Hi\"}}]}},\"logprobs\":[null,{likely}]}}"
            );
            let answer = whole(body.as_bytes());
            assert_eq!(
                (answer.words().as_str(), answer.first.logprobs.len()),
                ("Hi", told),
                "{body}"
            );
            let delta = format!(
                "{{\"type\":\"content-delta\",\"delta\":{{\"message\":{{\"content\":{{\"text\":\"Hi\"}}}}}},\"logprobs\":{likely}}}"
            );
            assert_eq!(all(&event(&delta)).len(), 1 + told, "{delta}");
        }
    }
}
