//! Answers of Gemini, streamed and whole.

use super::usage::Wire;
use crate::chat::Usage;
use crate::chat::conversation::State as Sealed;
use crate::dialect::lenient::{Content, Maybe, Text};
use crate::dialect::sse::{Frame, Reader};
use crate::dialect::{Answer, Event, Finish, StreamDecoder, body, fault};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A piece of a stream, or a whole answer: they are alike.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(default, borrow)]
    candidates: Content<'a, Maybe<Candidate<'a>>>,
    #[serde(default, borrow, rename = "usageMetadata")]
    usage: Option<&'a RawValue>,
    #[serde(default, borrow, rename = "modelVersion")]
    model: Text<'a>,
    #[serde(default, borrow, rename = "promptFeedback")]
    feedback: Maybe<Feedback<'a>>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Feedback<'a> {
    #[serde(default, borrow, rename = "blockReason")]
    block: Text<'a>,
}

#[derive(Deserialize)]
struct Candidate<'a> {
    #[serde(default, borrow)]
    content: Maybe<Spoken<'a>>,
    #[serde(default, borrow, rename = "finishReason")]
    finish: Text<'a>,
    #[serde(default, borrow, rename = "groundingMetadata")]
    grounding: Maybe<Grounding<'a>>,
}

#[derive(Deserialize)]
struct Spoken<'a> {
    #[serde(default, borrow)]
    parts: Content<'a, Maybe<Piece<'a>>>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default)]
    thought: Option<bool>,
    #[serde(default, borrow, rename = "thoughtSignature")]
    signature: Text<'a>,
    #[serde(default, borrow, rename = "functionCall")]
    call: Maybe<Call<'a>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(default, borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Grounding<'a> {
    #[serde(default, borrow, rename = "groundingChunks")]
    chunks: Content<'a, Maybe<Chunk<'a>>>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default, borrow)]
    web: Maybe<Web<'a>>,
}

#[derive(Deserialize)]
struct Web<'a> {
    #[serde(default, borrow)]
    uri: Text<'a>,
    #[serde(default, borrow)]
    title: Text<'a>,
}

#[derive(Default)]
struct State {
    model: String,
    usage: Option<Usage>,
    calls: u64,
}

/// A decoder for one stream.
#[derive(Default)]
pub(super) struct Decoder {
    reader: Reader,
    state: State,
}

impl StreamDecoder for Decoder {
    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(Event)) {
        let state = &mut self.state;
        self.reader
            .feed(bytes, &mut |frame| state.tell_frame(frame, on));
    }

    fn finish(&mut self, on: &mut dyn FnMut(Event)) {
        let state = &mut self.state;
        self.reader.finish(&mut |frame| state.tell_frame(frame, on));
    }
}

impl State {
    fn tell_frame(&mut self, frame: Frame<'_>, on: &mut dyn FnMut(Event)) {
        match serde_json::from_slice::<Said<'_>>(frame.data) {
            Ok(said) => self.tell(&said, frame.data, on),
            Err(_) if frame.name == b"error" => on(Event::Error(body::error_bytes(frame.data))),
            Err(_) => {}
        }
    }

    fn tell(&mut self, said: &Said<'_>, bytes: &[u8], on: &mut dyn FnMut(Event)) {
        if let Some(model) = said.model.words().filter(|model| *model != self.model) {
            model.clone_into(&mut self.model);
            on(Event::Model(model.to_owned()));
        }
        for candidate in said.candidates.list().iter().filter_map(|c| c.0.as_ref()) {
            self.tell_candidate(candidate, on);
        }
        if let Some(raw) = said.usage {
            self.tell_usage(raw, on);
        }
        for candidate in said.candidates.list().iter().filter_map(|c| c.0.as_ref()) {
            if let Some(word) = candidate.finish.words() {
                on(Event::Finish(self.finish(word)));
            }
        }
        if said
            .feedback
            .0
            .as_ref()
            .is_some_and(|f| f.block.words().is_some())
        {
            on(Event::Finish(Finish::Filtered));
        }
        if said.error.is_some_and(|raw| raw.get() != "null") {
            on(Event::Error(fault::said(bytes)));
        }
    }

    fn tell_candidate(&mut self, candidate: &Candidate<'_>, on: &mut dyn FnMut(Event)) {
        let parts = candidate
            .content
            .0
            .as_ref()
            .map_or(&[][..], |c| c.parts.list());
        for part in parts.iter().filter_map(|p| p.0.as_ref()) {
            if let Some(signature) = part.signature.words() {
                on(Event::State(Sealed {
                    dialect: "gemini".into(),
                    model: String::new(),
                    value: signature.to_owned(),
                }));
            }
            match (part.text.words(), part.thought) {
                (Some(words), Some(true)) => on(Event::Reasoning(words.to_owned())),
                (Some(words), _) => on(Event::Text(words.to_owned())),
                (None, _) => {}
            }
            if let Some(call) = &part.call.0 {
                self.tell_call(call, on);
            }
        }
        let chunks = candidate
            .grounding
            .0
            .as_ref()
            .map_or(&[][..], |g| g.chunks.list());
        for web in chunks.iter().filter_map(|c| c.0.as_ref()?.web.0.as_ref()) {
            if let Some(url) = web.uri.words() {
                let title = web.title.text().unwrap_or_default().to_owned();
                on(Event::Citation {
                    url: url.to_owned(),
                    title,
                });
            }
        }
    }

    /// A call without a name goes on with the one before it (`partialArgs`, for clients that asked for them).
    fn tell_call(&mut self, call: &Call<'_>, on: &mut dyn FnMut(Event)) {
        let Some(name) = call.name.words() else {
            return;
        };
        let index = self.calls;
        self.calls += 1;
        on(Event::Call {
            index,
            id: call.id.text().unwrap_or_default().to_owned(),
            name: name.to_owned(),
        });
        let text = call.args.map_or("{}", RawValue::get).to_owned();
        on(Event::Arguments { index, text });
    }

    fn tell_usage(&mut self, raw: &RawValue, on: &mut dyn FnMut(Event)) {
        let read = serde_json::from_str::<Maybe<Wire>>(raw.get()).ok();
        let read = read.and_then(|wire| wire.0?.read());
        match (read, self.usage) {
            (Some(usage), _) => self.usage = Some(usage),
            // The last word cannot be read, so what was read before is not the last word.
            (None, Some(before)) => {
                self.usage = Some(Usage {
                    anomaly: true,
                    ..before
                })
            }
            (None, None) => return,
        }
        on(Event::Usage(self.usage.expect("it was just set")));
    }

    /// Google says STOP for calls too.
    fn finish(&self, word: &str) -> Finish {
        match word {
            "STOP" if self.calls > 0 => Finish::Calls,
            "STOP" => Finish::Stop,
            "MAX_TOKENS" => Finish::Length,
            "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
            | "IMAGE_SAFETY" | "MODEL_ARMOR" => Finish::Filtered,
            other => Finish::Other(other.to_owned()),
        }
    }
}

/// Reads a whole answer; a list of pieces is one too.
pub(super) fn whole(bytes: &[u8]) -> Answer {
    let mut answer = Answer::default();
    let mut state = State::default();
    let pieces: Vec<&RawValue> = match bytes.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice(bytes).unwrap_or_default(),
        _ => serde_json::from_slice(bytes)
            .map(|one| vec![one])
            .unwrap_or_default(),
    };
    for piece in pieces {
        if let Ok(said) = serde_json::from_str::<Said<'_>>(piece.get()) {
            state.tell(&said, piece.get().as_bytes(), &mut |event| {
                answer.add(event)
            });
        }
    }
    // One object can say each count once only, so a wrong count leaves no usage at all.
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hm\",\"thought\":true}],\"role\":\"model\"}}],\"usageMetadata\":{\"promptTokenCount\":5,\"totalTokenCount\":5},\"modelVersion\":\"g\"}\r\n\r\n\
        data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{\"a\": 1}},\"thoughtSignature\":\"sig\"},{\"functionCall\":{\"name\":\"g\"}}]}}]}\r\n\r\n\
        data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":2,\"thoughtsTokenCount\":3,\"totalTokenCount\":10}}\r\n\r\n";

    #[test]
    fn a_stream_tells_thoughts_signatures_calls_and_the_last_usage() {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        decoder.feed(STREAM.as_bytes(), &mut |e| events.push(e));
        decoder.finish(&mut |e| events.push(e));
        let usage = |output, reasoning| {
            Event::Usage(Usage {
                input: 5,
                output,
                reasoning,
                ..Usage::default()
            })
        };
        let call = |index, name: &str| Event::Call {
            index,
            id: String::new(),
            name: name.into(),
        };
        let args = |index, text: &str| Event::Arguments {
            index,
            text: text.into(),
        };
        assert_eq!(
            events,
            [
                Event::Model("g".into()),
                Event::Reasoning("hm".into()),
                usage(0, 0),
                Event::State(Sealed {
                    dialect: "gemini".into(),
                    model: String::new(),
                    value: "sig".into()
                }),
                call(0, "f"),
                args(0, "{\"a\": 1}"),
                call(1, "g"),
                args(1, "{}"),
                usage(5, 3),
                Event::Finish(Finish::Calls),
            ]
        );
    }

    #[test]
    fn whole_answers_blocks_and_errors_are_told() {
        let blocked = whole(br#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4,"totalTokenCount":4}}"#);
        assert_eq!(
            (blocked.finish, blocked.usage.map(|u| u.input)),
            (Some(Finish::Filtered), Some(4))
        );
        let error =
            whole(br#"[{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}]"#);
        assert_eq!(error.error.as_deref(), Some("no"));
        assert_eq!(whole(b"<html>"), Answer::default());
    }
}
