//! Answers of Gemini, streamed and whole.

use super::usage::GeminiUsage;
use crate::chat::answer::Token;
use crate::chat::conversation::State as Sealed;
use crate::dialect::framed::{ReadsFrames, ToldModel, ToldUsage};
use crate::dialect::lenient::{Content, Count, Maybe, Text};
use crate::dialect::sse::{SseEvent, SseReader};
use crate::dialect::{Answer, Citation, Event, Finish, fault};
use crate::json;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Sources find their place in an answer up to this long; in a longer one they are told without.
const PLACED_BYTES_MAX: usize = 64 * 1024;

/// More answers than this are not told apart.
const CHOICES_MAX: usize = 128;

/// As many sources are told, and as many stretches of text looked at for each.
const SOURCES_MAX: usize = 256;

/// A piece of a stream, or a whole answer: they are alike.
#[derive(Deserialize)]
struct GeminiChunk<'a> {
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
    #[serde(default)]
    index: Count,
    #[serde(default, borrow, rename = "logprobsResult")]
    logprobs: Maybe<GeminiLogprobs<'a>>,
    #[serde(default, borrow)]
    content: Maybe<GeminiContent<'a>>,
    #[serde(default, borrow, rename = "finishReason")]
    finish: Text<'a>,
    #[serde(default, borrow, rename = "groundingMetadata")]
    grounding: Maybe<Grounding<'a>>,
}

/// Parallel lists: what was chosen, and what could have been.
#[derive(Deserialize)]
struct GeminiLogprobs<'a> {
    #[serde(default, borrow, rename = "chosenCandidates")]
    chosen: Content<'a, Maybe<GeminiToken<'a>>>,
    #[serde(default, borrow, rename = "topCandidates")]
    top: Content<'a, Maybe<Top<'a>>>,
}

#[derive(Deserialize)]
struct Top<'a> {
    #[serde(default, borrow)]
    candidates: Content<'a, Maybe<GeminiToken<'a>>>,
}

#[derive(Deserialize)]
struct GeminiToken<'a> {
    #[serde(default, borrow)]
    token: Text<'a>,
    #[serde(default, rename = "logProbability")]
    logprob: Option<serde_json::Number>,
}

impl GeminiToken<'_> {
    fn token(&self) -> Option<Token> {
        Some(Token {
            text: self.token.text()?.to_owned(),
            bytes: None,
            logprob: self.logprob.clone()?,
            top: Vec::new(),
        })
    }
}

impl GeminiLogprobs<'_> {
    fn tokens(&self) -> Vec<Token> {
        let top = self.top.list();
        let token = |(i, chosen): (usize, &Maybe<GeminiToken<'_>>)| {
            let mut token = chosen.0.as_ref()?.token()?;
            let others = top.get(i).and_then(|t| t.0.as_ref());
            let others = others.map_or(&[][..], |t| t.candidates.list());
            let others = others.iter().filter_map(|l| l.0.as_ref()?.token());
            token.top = others.collect();
            Some(token)
        };
        self.chosen
            .list()
            .iter()
            .enumerate()
            .filter_map(token)
            .collect()
    }
}

#[derive(Deserialize)]
struct GeminiContent<'a> {
    #[serde(default, borrow)]
    parts: Content<'a, Maybe<GeminiPiece<'a>>>,
}

#[derive(Deserialize)]
struct GeminiPiece<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default)]
    thought: Option<bool>,
    #[serde(default, borrow, rename = "thoughtSignature")]
    signature: Text<'a>,
    #[serde(default, borrow, rename = "functionCall")]
    call: Maybe<GeminiCall<'a>>,
}

#[derive(Deserialize)]
struct GeminiCall<'a> {
    #[serde(default, borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Grounding<'a> {
    #[serde(default, borrow, rename = "groundingSupports")]
    supports: Content<'a, Maybe<Support<'a>>>,
    #[serde(default, borrow, rename = "groundingChunks")]
    chunks: Content<'a, Maybe<GroundingChunk<'a>>>,
}

/// Which words rest on which sources.
#[derive(Deserialize)]
struct Support<'a> {
    #[serde(default)]
    segment: Maybe<Segment>,
    #[serde(default, borrow, rename = "groundingChunkIndices")]
    chunks: Content<'a, Count>,
}

/// A part of the text, in bytes.
#[derive(Deserialize)]
struct Segment {
    #[serde(default, rename = "startIndex")]
    start: Count,
    #[serde(default, rename = "endIndex")]
    end: Count,
}

#[derive(Deserialize)]
struct GroundingChunk<'a> {
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

/// What is known of a stream while it is read.
#[derive(Default)]
pub(super) struct GeminiStream {
    model: ToldModel,
    usage: ToldUsage,
    calls: u64,
    /// The answers that have calls.
    callers: Vec<u64>,
    /// Which of several answers was told last.
    choice: u64,
    /// The first answer's text so far, to count characters where places are told in bytes.
    text: String,
}

impl ReadsFrames for GeminiStream {
    type Frames = SseReader;

    fn read(&mut self, frame: SseEvent<'_>, on: &mut dyn FnMut(Event)) {
        match json::from_slice::<GeminiChunk<'_>>(frame.data) {
            Ok(said) => self.tell(&said, frame.data, on),
            Err(_) if frame.name == b"error" => on(Event::Error(fault::told(frame.data))),
            Err(_) => {}
        }
    }
}

impl GeminiStream {
    fn tell(&mut self, said: &GeminiChunk<'_>, bytes: &[u8], on: &mut dyn FnMut(Event)) {
        self.model.tell(&said.model, on);
        for candidate in said.candidates.list().iter().filter_map(|c| c.0.as_ref()) {
            self.turn_to(candidate, on);
            self.tell_candidate(candidate, on);
        }
        if let Some(raw) = said.usage {
            self.tell_usage(raw, on);
        }
        for candidate in said.candidates.list().iter().filter_map(|c| c.0.as_ref()) {
            if let Some(word) = candidate.finish.words() {
                self.turn_to(candidate, on);
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
            on(Event::Error(fault::told(bytes)));
        }
    }

    fn turn_to(&mut self, candidate: &Candidate<'_>, on: &mut dyn FnMut(Event)) {
        let index = candidate.index.get().unwrap_or(0);
        if std::mem::replace(&mut self.choice, index) != index {
            on(Event::Choice(index));
        }
    }

    fn tell_candidate(&mut self, candidate: &Candidate<'_>, on: &mut dyn FnMut(Event)) {
        let parts = candidate
            .content
            .0
            .as_ref()
            .map_or(&[][..], |c| c.parts.list());
        let tokens = candidate.logprobs.0.as_ref().map(GeminiLogprobs::tokens);
        if let Some(tokens) = tokens.filter(|tokens| !tokens.is_empty()) {
            on(Event::Logprobs(tokens));
        }
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
                (Some(words), _) => {
                    if self.choice == 0 && self.text.len() + words.len() <= PLACED_BYTES_MAX {
                        self.text.push_str(words);
                    }
                    on(Event::Text(words.to_owned()));
                }
                (None, _) => {}
            }
            if let Some(call) = &part.call.0 {
                self.tell_call(call, on);
            }
        }
        if let Some(grounding) = &candidate.grounding.0 {
            self.tell_sources(grounding, on);
        }
    }

    /// A source is told once for each stretch of text that rests on it, and once where none is named.
    fn tell_sources(&self, grounding: &Grounding<'_>, on: &mut dyn FnMut(Event)) {
        let supports = grounding.supports.list().iter().take(SOURCES_MAX);
        let supports: Vec<(&[Count], (u64, u64))> = supports
            .filter_map(|s| s.0.as_ref())
            .filter_map(|s| Some((s.chunks.list(), self.place(s.segment.0.as_ref()?)?)))
            .collect();
        for (i, chunk) in (0_u64..).zip(grounding.chunks.list()).take(SOURCES_MAX) {
            let web = chunk.0.as_ref().and_then(|c| c.web.0.as_ref());
            let Some((web, url)) = web.and_then(|web| Some((web, web.uri.words()?))) else {
                continue;
            };
            let source = Citation {
                url: url.to_owned(),
                title: web.title.text().unwrap_or_default().to_owned(),
                ..Citation::default()
            };
            let rests = |chunks: &[Count]| {
                chunks
                    .iter()
                    .take(SOURCES_MAX)
                    .any(|at| at.get() == Some(i))
            };
            let places = supports.iter().filter(|(chunks, _)| rests(chunks));
            let before = places.clone().count();
            if before == 0 {
                on(Event::Citation(source.clone()));
            }
            for (_, (start, end)) in places {
                on(Event::Citation(Citation {
                    start: *start,
                    end: *end,
                    ..source.clone()
                }));
            }
        }
    }

    /// A stretch of the text in characters.
    fn place(&self, segment: &Segment) -> Option<(u64, u64)> {
        let at = |byte: u64| {
            let before = self.text.get(..usize::try_from(byte).ok()?)?;
            u64::try_from(before.chars().count()).ok()
        };
        let start = at(segment.start.get().unwrap_or(0))?;
        let end = at(segment.end.get()?)?;
        (start < end).then_some((start, end))
    }

    /// A call without a name goes on with the one before it (`partialArgs`, for clients that asked for them).
    fn tell_call(&mut self, call: &GeminiCall<'_>, on: &mut dyn FnMut(Event)) {
        let Some(name) = call.name.words() else {
            return;
        };
        let index = self.calls;
        self.calls += 1;
        if !self.callers.contains(&self.choice) && self.callers.len() < CHOICES_MAX {
            self.callers.push(self.choice);
        }
        on(Event::Call {
            index,
            id: call.id.text().unwrap_or_default().to_owned(),
            name: name.to_owned(),
        });
        let text = call.args.map_or("{}", RawValue::get).to_owned();
        on(Event::Arguments { index, text });
    }

    fn tell_usage(&mut self, raw: &RawValue, on: &mut dyn FnMut(Event)) {
        let read = json::from_str::<Maybe<GeminiUsage<'_>>>(raw.get()).ok();
        let read = read.and_then(|wire| wire.0?.read());
        self.usage.tell(read, on);
    }

    /// Google says STOP for calls too.
    fn finish(&self, word: &str) -> Finish {
        match word {
            "STOP" if self.callers.contains(&self.choice) => Finish::Calls,
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
    let mut state = GeminiStream::default();
    let pieces: Vec<&RawValue> = match bytes.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice(bytes).unwrap_or_default(),
        _ => serde_json::from_slice(bytes)
            .map(|one| vec![one])
            .unwrap_or_default(),
    };
    for piece in pieces {
        if let Ok(said) = json::from_str::<GeminiChunk<'_>>(piece.get()) {
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
    use crate::chat::Usage;
    use crate::dialect::StreamDecoder;
    use crate::dialect::framed::Framed;

    const STREAM: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hm\",\"thought\":true}],\"role\":\"model\"}}],\"usageMetadata\":{\"promptTokenCount\":5,\"totalTokenCount\":5},\"modelVersion\":\"g\"}\r\n\r\n\
        data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{\"a\": 1}},\"thoughtSignature\":\"sig\"},{\"functionCall\":{\"name\":\"g\"}}]}}]}\r\n\r\n\
        data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":2,\"thoughtsTokenCount\":3,\"totalTokenCount\":10}}\r\n\r\n";

    #[test]
    fn a_stream_tells_thoughts_signatures_calls_and_the_last_usage() {
        let mut decoder = Framed::<GeminiStream>::default();
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
            (blocked.first.finish, blocked.usage.map(|u| u.input)),
            (Some(Finish::Filtered), Some(4))
        );
        let error =
            whole(br#"[{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}]"#);
        assert_eq!(error.error.map(|e| e.text).as_deref(), Some("no"));
        assert_eq!(whole(b"<html>"), Answer::default());
    }
}
