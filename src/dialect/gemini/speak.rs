//! Answers of any model in Gemini's words, whole and streamed.

use super::frame::ToArray;
use crate::chat::Usage;
use crate::chat::answer::Fault;
use crate::chat::answer::{Spoken, Token};
use crate::chat::conversation::{Call, Item, State};
use crate::dialect::in_order::LATE;
use crate::dialect::{Answer, Citation, Event, Finish, Frame, StreamFilter, StreamWriter, carry};
use bytes::Bytes;
use serde_json::{Value, json};

/// The most that calls in the making are held: here a call is said as a whole.
const CALLS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Sources find their place in an answer up to this long; in a longer one they are told without.
const PLACED_BYTES_MAX: usize = 64 * 1024;

/// More answers than this are not told apart.
const CHOICES_MAX: u64 = 128;

/// A whole answer.
pub(super) fn whole(answer: Answer, frame: &Frame) -> Bytes {
    let model = answer.model.clone().unwrap_or_else(|| frame.model.clone());
    let usage = used(&answer.usage.unwrap_or_default());
    let mut calls = 0;
    let candidates = (0..).zip(answer.into_spoken());
    let candidates: Vec<Value> = candidates
        .map(|(index, spoken)| candidate(index, spoken, frame, &mut calls))
        .collect();
    let body = json!({
        "candidates": candidates, "usageMetadata": usage, "modelVersion": model, "responseId": frame.id,
    });
    Bytes::from(body.to_string())
}

/// One answer; `calls` counts those of all of them, whose ids must differ.
fn candidate(index: u64, spoken: Spoken, frame: &Frame, calls: &mut usize) -> Value {
    let (mut parts, mut waiting) = (Vec::new(), Waiting::default());
    let (mut refused, mut whole_text) = (false, String::new());
    for item in spoken.items {
        let part = match item {
            Item::Text(text) => {
                whole_text.push_str(&text);
                json!({"text": text})
            }
            Item::Refusal(text) => {
                refused = true;
                json!({"text": text})
            }
            Item::Reasoning(reasoning) => {
                // Each seal has a part of its own to ride on.
                if waiting.sealed.is_some() {
                    parts.push(signed(json!({"text": ""}), waiting.take(), frame));
                }
                if !reasoning.text.is_empty() {
                    match frame.hides_thoughts {
                        true => waiting.hide(&reasoning.text),
                        false => parts.push(json!({"text": reasoning.text, "thought": true})),
                    }
                    waiting.thought = true;
                }
                waiting.sealed = reasoning.state;
                continue;
            }
            Item::Call(call) => {
                *calls += 1;
                called(&call, frame, *calls - 1)
            }
            Item::Media(_) | Item::Result(_) => continue,
        };
        parts.push(signed(part, waiting.take(), frame));
    }
    if let Some(state) = waiting.take() {
        parts.push(signed(json!({"text": ""}), Some(state), frame));
    }
    let finish = spoken.finish.unwrap_or(Finish::Stop).after(refused);
    let mut made = json!({"content": {"parts": parts, "role": "model"}, "finishReason": finished(&finish), "index": index});
    if !spoken.citations.is_empty() {
        made["groundingMetadata"] = grounded(&spoken.citations, &whole_text);
    }
    if !spoken.logprobs.is_empty() {
        made["logprobsResult"] = likely(&spoken.logprobs);
    }
    made
}

/// What thoughts wait for a part that brings them back: a seal, or that there were words only.
#[derive(Default)]
struct Waiting {
    sealed: Option<State>,
    thought: bool,
    /// The words, where the client is not shown them: they travel with the seal.
    hidden: String,
}

/// Bytes of thoughts that travel with their seal.
const HIDDEN_BYTES_MAX: usize = 256 * 1024;

impl Waiting {
    fn hide(&mut self, words: &str) {
        if self.hidden.len() + words.len() <= HIDDEN_BYTES_MAX {
            self.hidden.push_str(words);
        }
    }

    fn take(&mut self) -> Option<State> {
        let words = std::mem::take(&mut self.thought).then(|| State {
            dialect: String::new(),
            model: String::new(),
            value: carry::WORDS_ONLY.into(),
        });
        let hidden = std::mem::take(&mut self.hidden);
        let state = self.sealed.take().or(words);
        state.map(|state| carry::with_words(state, &hidden))
    }
}

fn called(call: &Call, frame: &Frame, index: usize) -> Value {
    let id = match call.id.is_empty() {
        true => format!("call_{}{index}", frame.id),
        false => call.id.clone(),
    };
    json!({"functionCall": {"id": id, "name": call.name, "args": call.object()}})
}

/// A state rides on the part after it; SDKs read it as bytes in base64.
fn signed(mut part: Value, state: Option<State>, frame: &Frame) -> Value {
    use base64::Engine;
    if let Some(state) = state {
        let packed = carry::pack(&state, frame);
        part["thoughtSignature"] = base64::engine::general_purpose::STANDARD
            .encode(packed)
            .into();
    }
    part
}

/// The sources, each once, and the stretches of text that rest on them, in bytes.
fn grounded(citations: &[Citation], text: &str) -> Value {
    let (mut chunks, mut supports) = (Vec::<&Citation>::new(), Vec::new());
    for source in citations {
        let known = chunks.iter().position(|c| c.url == source.url);
        let at = known.unwrap_or(chunks.len());
        if known.is_none() {
            chunks.push(source);
        }
        if let Some((start, end)) = stretch(text, source) {
            let segment = json!({"startIndex": start, "endIndex": end, "text": &text[start..end]});
            supports.push(json!({"segment": segment, "groundingChunkIndices": [at]}));
        }
    }
    let chunks = chunks
        .iter()
        .map(|source| json!({"web": {"uri": source.url, "title": source.title}}));
    let mut made = json!({"groundingChunks": chunks.collect::<Vec<_>>()});
    if !supports.is_empty() {
        made["groundingSupports"] = supports.into();
    }
    made
}

/// A source's characters as bytes.
fn stretch(text: &str, source: &Citation) -> Option<(usize, usize)> {
    if source.end <= source.start || text.len() > PLACED_BYTES_MAX {
        return None;
    }
    let at = |chars: u64| {
        let chars = usize::try_from(chars).ok()?;
        let mut starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        starts.nth(chars)
    };
    Some((at(source.start)?, at(source.end)?))
}

fn likely(tokens: &[Token]) -> Value {
    let one = |t: &Token| json!({"token": t.text, "logProbability": t.logprob});
    let top = |t: &Token| json!({"candidates": t.top.iter().map(one).collect::<Vec<_>>()});
    json!({
        "chosenCandidates": tokens.iter().map(one).collect::<Vec<_>>(),
        "topCandidates": tokens.iter().map(top).collect::<Vec<_>>(),
    })
}

fn finished(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopText(_) | Finish::Calls | Finish::Other(_) => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::Filtered | Finish::Refused => "SAFETY",
    }
}

fn used(usage: &Usage) -> Value {
    let prompt = usage.input_total();
    let candidates = usage.output.saturating_sub(usage.reasoning);
    let mut said = json!({"promptTokenCount": prompt, "candidatesTokenCount": candidates});
    if usage.reasoning > 0 {
        said["thoughtsTokenCount"] = usage.reasoning.into();
    }
    if usage.cached > 0 {
        said["cachedContentTokenCount"] = usage.cached.into();
    }
    said["totalTokenCount"] = prompt.saturating_add(usage.output).into();
    said
}

/// What was said of one of several answers.
#[derive(Default)]
struct TellingCandidate {
    waiting: Waiting,
    /// Calls whose arguments still come, by their numbers among those of all answers.
    calls: Vec<(u64, Call)>,
    /// The numbers of those that are told.
    told: Vec<u64>,
    citations: Vec<Citation>,
    /// The text so far, to place the sources in.
    text: String,
    tokens: Vec<Token>,
    refused: bool,
    finish: Option<Finish>,
}

/// A streamed answer.
pub(super) struct GeminiWriter {
    frame: Frame,
    usage: Usage,
    choices: Vec<TellingCandidate>,
    /// The one that is being told.
    at: usize,
    said_calls: usize,
    array: Option<ToArray>,
    closed: bool,
}

impl GeminiWriter {
    pub(super) fn new(frame: Frame) -> GeminiWriter {
        GeminiWriter {
            usage: Usage {
                input: frame.input_estimate,
                ..Usage::default()
            },
            choices: vec![TellingCandidate::default()],
            at: 0,
            said_calls: 0,
            array: frame.array.then(ToArray::default),
            frame,
            closed: false,
        }
    }

    fn turn_to(&mut self, choice: u64) {
        self.at = usize::try_from(choice.min(CHOICES_MAX - 1)).unwrap_or(0);
        if self.choices.len() <= self.at {
            self.choices
                .resize_with(self.at + 1, TellingCandidate::default);
        }
    }

    fn choice(&mut self) -> &mut TellingCandidate {
        &mut self.choices[self.at]
    }

    fn event(&mut self, body: &Value, out: &mut Vec<u8>) {
        let event = format!("data: {body}\r\n\r\n");
        match &mut self.array {
            None => out.extend_from_slice(event.as_bytes()),
            Some(array) => out.extend_from_slice(&array.feed(Bytes::from(event))),
        }
    }

    fn piece(&mut self, part: Value, finish: Option<&Finish>, out: &mut Vec<u8>) {
        let mut candidate =
            json!({"content": {"parts": [part], "role": "model"}, "index": self.at});
        let choice = self.choice();
        if !choice.tokens.is_empty() {
            candidate["logprobsResult"] = likely(&std::mem::take(&mut choice.tokens));
        }
        if let Some(finish) = finish {
            candidate["finishReason"] = finished(finish).into();
            if !choice.citations.is_empty() {
                candidate["groundingMetadata"] = grounded(&choice.citations, &choice.text);
            }
        }
        let body = json!({
            "candidates": [candidate], "usageMetadata": used(&self.usage),
            "modelVersion": self.frame.model, "responseId": self.frame.id,
        });
        self.event(&body, out);
    }

    fn part(&mut self, part: Value, out: &mut Vec<u8>) {
        self.flush(out);
        let state = self.choice().waiting.take();
        let part = signed(part, state, &self.frame);
        self.piece(part, None, out);
    }

    fn text(&mut self, text: String, out: &mut Vec<u8>) {
        let choice = self.choice();
        // One byte more tells that it is too long.
        if choice.text.len() <= PLACED_BYTES_MAX {
            choice.text.push_str(&text);
        }
        self.part(json!({"text": text}), out);
    }

    /// A seal that waits for a part to ride on gets one of its own before the next comes.
    fn let_out(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
        if self.choice().waiting.sealed.is_some() {
            self.part(json!({"text": ""}), out);
        }
    }

    /// Says the calls that are complete now.
    fn flush(&mut self, out: &mut Vec<u8>) {
        for (index, call) in std::mem::take(&mut self.choice().calls) {
            self.choice().told.push(index);
            let state = self.choice().waiting.take();
            let part = called(&call, &self.frame, self.said_calls);
            self.said_calls += 1;
            let part = signed(part, state, &self.frame);
            self.piece(part, None, out);
        }
    }

    fn arguments(&mut self, index: u64, text: &str, out: &mut Vec<u8>) {
        let choice = self.choice();
        let late = choice.told.contains(&index) && !text.trim().is_empty();
        let calls = &mut choice.calls;
        let held: usize = calls.iter().map(|(_, c)| c.arguments.len()).sum();
        match calls.iter_mut().find(|(known, _)| *known == index) {
            _ if held + text.len() > CALLS_BYTES_MAX => {
                self.fail("the arguments of a tool call are too long".into(), out);
            }
            Some((_, call)) => call.arguments.push_str(text),
            None if late => self.fail(LATE.into(), out),
            None => {}
        }
    }

    fn fail(&mut self, fault: Fault, out: &mut Vec<u8>) {
        self.closed = true;
        let error = fault.error();
        let event = Bytes::from(format!("data: {}\r\n\r\n", super::error_json(&error)));
        match &mut self.array {
            None => out.extend_from_slice(&event),
            Some(array) => out.extend_from_slice(&array.fail(event)),
        }
    }
}

impl StreamWriter for GeminiWriter {
    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.closed {
            return;
        }
        match event {
            Event::Choice(choice) => self.turn_to(choice),
            Event::Model(model) => self.frame.model = model,
            Event::Text(text) => self.text(text, out),
            Event::Refusal(text) => {
                self.choice().refused = true;
                self.part(json!({"text": text}), out);
            }
            Event::Reasoning(text) => {
                self.let_out(out);
                let hides = self.frame.hides_thoughts;
                let waiting = &mut self.choice().waiting;
                waiting.thought = true;
                match hides {
                    true => waiting.hide(&text),
                    false => self.piece(json!({"text": text, "thought": true}), None, out),
                }
            }
            Event::State(state) => {
                self.let_out(out);
                self.choice().waiting.sealed = Some(state);
            }
            Event::Call { index, id, name } => {
                let arguments = String::new();
                let call = Call {
                    id,
                    name,
                    arguments,
                };
                self.choice().calls.push((index, call));
            }
            Event::Arguments { index, text } => self.arguments(index, &text, out),
            Event::Logprobs(tokens) => self.choice().tokens.extend(tokens),
            Event::Citation(source) => self.choice().citations.push(source),
            Event::Usage(usage) => self.usage = usage,
            Event::Finish(finish) => drop(self.choice().finish.get_or_insert(finish)),
            Event::Error(fault) => self.fail(fault, out),
            Event::End => self.finish(out),
        }
    }

    /// Google's own SDK for JavaScript takes a comment for a broken event.
    fn alive(&mut self, _out: &mut Vec<u8>) {}

    fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        for at in 0..self.choices.len() {
            self.at = at;
            self.flush(out);
            let choice = self.choice();
            let finish = choice.finish.take().unwrap_or(Finish::Stop);
            let finish = finish.after(choice.refused);
            let state = choice.waiting.take();
            let part = signed(json!({"text": ""}), state, &self.frame);
            self.piece(part, Some(&finish), out);
        }
        if let Some(array) = &mut self.array {
            out.extend_from_slice(&array.finish());
        }
    }
}
