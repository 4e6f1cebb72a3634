//! Answers of Responses, streamed and whole.

use crate::chat::conversation::State as Sealed;
use crate::chat::{ServiceTier, Usage};
use crate::dialect::cited::UrlCitation;
use crate::dialect::framed::{ReadsFrames, ToldModel, ToldUsage};
use crate::dialect::lenient::{Content, Count, Maybe, Text};
use crate::dialect::openai_chat::reported_cost;
use crate::dialect::sse::{SseEvent, SseReader};
use crate::dialect::{Answer, Event, Finish, body, logprobs};
use crate::json;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Any event of a stream.
#[derive(Deserialize)]
struct ResponsesEvent<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default, borrow)]
    response: Option<&'a RawValue>,
    #[serde(default, borrow)]
    item: Option<&'a RawValue>,
    #[serde(default)]
    output_index: Count,
    #[serde(default, borrow)]
    delta: Text<'a>,
    #[serde(default, borrow)]
    annotation: Maybe<UrlCitation<'a>>,
    #[serde(default, borrow)]
    logprobs: logprobs::LikelyTokens<'a>,
    #[serde(default, borrow)]
    error: Maybe<ResponsesFault<'a>>,
    #[serde(default, borrow)]
    message: Text<'a>,
}

#[derive(Deserialize)]
struct ResponsesFault<'a> {
    #[serde(default, borrow)]
    message: Text<'a>,
    #[serde(default, borrow)]
    code: Text<'a>,
}

/// A whole answer, and the object inside the first and last events.
#[derive(Deserialize)]
struct ResponsesBody<'a> {
    #[serde(default, borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    model: Text<'a>,
    #[serde(default, borrow)]
    status: Text<'a>,
    #[serde(default, borrow)]
    output: Content<'a, &'a RawValue>,
    #[serde(default, borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default, borrow)]
    incomplete_details: Maybe<Incomplete<'a>>,
    #[serde(default, borrow)]
    error: Maybe<ResponsesFault<'a>>,
    #[serde(default, borrow)]
    service_tier: Text<'a>,
}

#[derive(Deserialize)]
struct Incomplete<'a> {
    #[serde(default, borrow)]
    reason: Text<'a>,
}

#[derive(Deserialize)]
struct ResponsesItem<'a> {
    #[serde(default, borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default, borrow)]
    call_id: Text<'a>,
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    arguments: Text<'a>,
    #[serde(default, borrow)]
    input: Text<'a>,
    #[serde(default, borrow)]
    content: Content<'a, Maybe<ResponsesPiece<'a>>>,
    #[serde(default, borrow)]
    summary: Content<'a, Maybe<ResponsesPiece<'a>>>,
    #[serde(default, borrow)]
    encrypted_content: Text<'a>,
}

#[derive(Deserialize)]
struct ResponsesPiece<'a> {
    #[serde(default, borrow)]
    text: Text<'a>,
    #[serde(default, borrow)]
    refusal: Text<'a>,
    #[serde(default, borrow)]
    annotations: Content<'a, Maybe<UrlCitation<'a>>>,
    #[serde(default, borrow)]
    logprobs: logprobs::LikelyTokens<'a>,
}

/// The client's tools; those that the provider runs are not the client's to answer.
fn is_call(kind: Option<&str>) -> bool {
    matches!(kind, Some("function_call" | "custom_tool_call"))
}

impl ResponsesItem<'_> {
    /// Tells a whole item.
    fn tell(&self, raw: &str, calls: &mut ItemCalls, on: &mut dyn FnMut(Event)) {
        match self.kind.text() {
            Some("reasoning") => {
                let content = self.content.list();
                let words = if content.is_empty() {
                    self.summary.list()
                } else {
                    content
                };
                for piece in words.iter().filter_map(|p| p.0.as_ref()) {
                    if let Some(text) = piece.text.words() {
                        on(Event::Reasoning(text.to_owned()));
                    }
                }
                self.tell_state(raw, on);
            }
            Some("message") => {
                for piece in self.content.list().iter().filter_map(|p| p.0.as_ref()) {
                    logprobs::tell(&piece.logprobs, on);
                    if let Some(text) = piece.text.words() {
                        on(Event::Text(text.to_owned()));
                    }
                    if let Some(text) = piece.refusal.words() {
                        on(Event::Refusal(text.to_owned()));
                    }
                    for cited in piece.annotations.list().iter().filter_map(|a| a.0.as_ref()) {
                        cited.tell(on);
                    }
                }
            }
            kind if is_call(kind) => {
                let index = calls.begin(None);
                self.tell_call(index, on);
                self.tell_arguments(index, on);
            }
            _ => {}
        }
    }

    fn tell_call(&self, index: u64, on: &mut dyn FnMut(Event)) {
        on(Event::Call {
            index,
            id: self.call_id.text().unwrap_or_default().to_owned(),
            name: self.name.text().unwrap_or_default().to_owned(),
        });
    }

    fn tell_arguments(&self, index: u64, on: &mut dyn FnMut(Event)) {
        let text = self.arguments.words().or_else(|| self.input.words());
        if let Some(text) = text {
            on(Event::Arguments {
                index,
                text: text.to_owned(),
            });
        }
    }

    /// An item goes back as it came, with everything in it.
    fn tell_state(&self, raw: &str, on: &mut dyn FnMut(Event)) {
        if self.encrypted_content.words().is_some() {
            on(Event::State(Sealed {
                dialect: "openai_responses".into(),
                model: String::new(),
                value: raw.to_owned(),
            }));
        }
    }
}

/// The calls so far, by the index of their item, and whether their arguments have come.
#[derive(Default)]
struct ItemCalls(Vec<(Option<u64>, bool)>);

impl ItemCalls {
    fn begin(&mut self, item: Option<u64>) -> u64 {
        self.0.push((item, false));
        u64::try_from(self.0.len() - 1).unwrap_or(u64::MAX)
    }

    fn at(&mut self, item: Option<u64>) -> Option<(u64, &mut bool)> {
        let at = self.0.iter().rposition(|(known, _)| *known == item)?;
        Some((u64::try_from(at).ok()?, &mut self.0.get_mut(at)?.1))
    }
}

/// What is known of a stream while it is read.
#[derive(Default)]
pub(super) struct ResponsesStream {
    model: ToldModel,
    tier: Option<ServiceTier>,
    usage: ToldUsage,
    calls: ItemCalls,
}

impl ReadsFrames for ResponsesStream {
    type Frames = SseReader;

    fn read(&mut self, frame: SseEvent<'_>, on: &mut dyn FnMut(Event)) {
        if frame.data.trim_ascii() == b"[DONE]" {
            return;
        }
        let Ok(said) = json::from_slice::<ResponsesEvent<'_>>(frame.data) else {
            if frame.name == b"error" {
                on(Event::Error(body::error_bytes(frame.data).into()));
            }
            return;
        };
        let kind = said.kind.text().unwrap_or_default();
        match kind {
            "response.output_text.delta" => {
                logprobs::tell(&said.logprobs, on);
                tell_words(&said, Event::Text, on);
            }
            "response.refusal.delta" => tell_words(&said, Event::Refusal, on),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                tell_words(&said, Event::Reasoning, on);
            }
            "response.reasoning_summary_part.added" => {}
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                if let Some((index, came)) = self.calls.at(said.output_index.get()) {
                    *came = true;
                    tell_words(&said, |text| Event::Arguments { index, text }, on);
                }
            }
            "response.output_text.annotation.added" => {
                if let Some(cited) = &said.annotation.0 {
                    cited.tell(on);
                }
            }
            "response.output_item.added" | "response.output_item.done" => {
                self.tell_item(&said, kind.ends_with("done"), on);
            }
            "error" => {
                let text = fault(&said).unwrap_or_else(|| body::error_bytes(frame.data));
                on(Event::Error(crate::dialect::fault::of(frame.data, text)));
            }
            _ => self.tell_response(&said, kind, frame.data, on),
        }
    }
}

impl ResponsesStream {
    fn tell_item(&mut self, said: &ResponsesEvent<'_>, done: bool, on: &mut dyn FnMut(Event)) {
        let Some(raw) = said.item else { return };
        let Ok(Maybe(Some(item))) = json::from_str::<Maybe<ResponsesItem<'_>>>(raw.get()) else {
            return;
        };
        let at = said.output_index.get();
        match (is_call(item.kind.text()), done) {
            (true, false) => {
                let index = self.calls.begin(at);
                item.tell_call(index, on);
            }
            (true, true) => match self.calls.at(at) {
                // Some servers send the arguments with the item alone.
                Some((index, came)) if !*came => {
                    *came = true;
                    item.tell_arguments(index, on);
                }
                Some(_) => {}
                None => item.tell(raw.get(), &mut self.calls, on),
            },
            (false, true) => item.tell_state(raw.get(), on),
            (false, false) => {}
        }
    }

    fn tell_response(
        &mut self,
        said: &ResponsesEvent<'_>,
        kind: &str,
        bytes: &[u8],
        on: &mut dyn FnMut(Event),
    ) {
        let Some(raw) = said.response else { return };
        let Ok(Maybe(Some(response))) = json::from_str::<Maybe<ResponsesBody<'_>>>(raw.get())
        else {
            return;
        };
        self.model.tell(&response.model, on);
        self.tier = response.tier().or(self.tier);
        if let Some(raw) = response.usage {
            self.tell_usage(raw, on);
        }
        match kind {
            "response.failed" => {
                let error = response.error.0.as_ref().and_then(ResponsesFault::words);
                let text = error.unwrap_or("the response failed");
                let text = body::error_text(text);
                on(Event::Error(crate::dialect::fault::of(bytes, text)));
            }
            "response.completed" | "response.incomplete" => {
                on(Event::Finish(response.finish(!self.calls.0.is_empty())));
                on(Event::End);
            }
            _ => {}
        }
    }

    fn tell_usage(&mut self, raw: &RawValue, on: &mut dyn FnMut(Event)) {
        if raw.get() == "null" {
            return;
        }
        self.usage.tell(read_usage(raw, self.tier), on);
    }
}

fn tell_words(
    said: &ResponsesEvent<'_>,
    event: impl Fn(String) -> Event,
    on: &mut dyn FnMut(Event),
) {
    if let Some(words) = said.delta.words() {
        on(event(words.to_owned()));
    }
}

fn fault(said: &ResponsesEvent<'_>) -> Option<String> {
    let inner = said.error.0.as_ref().and_then(ResponsesFault::words);
    inner.or_else(|| said.message.words()).map(body::error_text)
}

impl ResponsesFault<'_> {
    fn words(&self) -> Option<&str> {
        self.message.words().or_else(|| self.code.words())
    }
}

impl ResponsesBody<'_> {
    fn tier(&self) -> Option<ServiceTier> {
        self.service_tier.text().and_then(ServiceTier::read)
    }

    fn finish(&self, calls: bool) -> Finish {
        let reason = self
            .incomplete_details
            .0
            .as_ref()
            .and_then(|d| d.reason.words());
        match (self.status.text(), reason) {
            (_, Some("max_output_tokens")) => Finish::Length,
            (_, Some("content_filter")) => Finish::Filtered,
            (_, Some(other)) => Finish::Other(other.to_owned()),
            (Some("incomplete"), None) => Finish::Length,
            _ if calls => Finish::Calls,
            _ => Finish::Stop,
        }
    }
}

#[derive(Deserialize)]
struct ResponsesUsage<'a> {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    total_tokens: Count,
    #[serde(default)]
    input_tokens_details: Maybe<ResponsesInputDetails>,
    #[serde(default)]
    output_tokens_details: Maybe<ResponsesOutputDetails>,
    #[serde(default, borrow)]
    cost: Option<&'a RawValue>,
    #[serde(default)]
    cost_in_usd_ticks: Count,
}

#[derive(Deserialize)]
struct ResponsesInputDetails {
    #[serde(default)]
    cached_tokens: Count,
    #[serde(default)]
    cache_write_tokens: Count,
    #[serde(default)]
    cache_write_tokens_details: Maybe<CacheWritesByTime>,
}

#[derive(Deserialize)]
struct CacheWritesByTime {
    #[serde(default)]
    ttl_12h: Count,
}

#[derive(Deserialize)]
struct ResponsesOutputDetails {
    #[serde(default)]
    reasoning_tokens: Count,
}

/// What was used; `None` where the counts cannot be believed at all.
fn read_usage(raw: &RawValue, tier: Option<ServiceTier>) -> Option<Usage> {
    let wire = json::from_str::<Maybe<ResponsesUsage<'_>>>(raw.get())
        .ok()?
        .0?;
    let details = wire.input_tokens_details.0.as_ref();
    let cached = details.map_or(Count::Missing, |d| d.cached_tokens);
    let write = details.map_or(Count::Missing, |d| d.cache_write_tokens);
    let long = details.and_then(|d| d.cache_write_tokens_details.0.as_ref());
    let long = long.map_or(Count::Missing, |w| w.ttl_12h);
    let reasoning = match &wire.output_tokens_details.0 {
        Some(details) => details.reasoning_tokens,
        None => Count::Missing,
    };
    let parts = [cached, write, long, reasoning, wire.total_tokens];
    if parts.contains(&Count::Wrong) {
        return None;
    }
    let (input, output) = (wire.input_tokens.get()?, wire.output_tokens.get()?);
    let [cached, write, long, reasoning] =
        [cached, write, long, reasoning].map(|c| c.get().unwrap_or(0));
    let inside = cached.saturating_add(write);
    let total = wire
        .total_tokens
        .get()
        .unwrap_or(input.saturating_add(output));
    Some(Usage {
        input: input.saturating_sub(inside),
        cached,
        cache_write: write.saturating_sub(long),
        cache_write_long: long.min(write),
        output,
        reasoning: reasoning.min(output),
        tier,
        reported_cost: reported_cost(wire.cost, wire.cost_in_usd_ticks),
        anomaly: inside > input
            || long > write
            || reasoning > output
            || total != input.saturating_add(output),
        ..Usage::default()
    })
}

/// Reads a whole answer.
pub(super) fn whole(bytes: &[u8]) -> Answer {
    let Ok(Maybe(Some(response))) = json::from_slice::<Maybe<ResponsesBody<'_>>>(bytes) else {
        return Answer::default();
    };
    let mut answer = Answer {
        usage: response
            .usage
            .and_then(|raw| read_usage(raw, response.tier())),
        model: response.model.words().map(str::to_owned),
        error: response
            .error
            .0
            .as_ref()
            .and_then(ResponsesFault::words)
            .map(|text| crate::dialect::fault::of(bytes, body::error_text(text))),
        ..Answer::default()
    };
    let mut calls = ItemCalls::default();
    for raw in response.output.list() {
        if let Ok(Maybe(Some(item))) = json::from_str::<Maybe<ResponsesItem<'_>>>(raw.get()) {
            item.tell(raw.get(), &mut calls, &mut |event| answer.add(event));
        }
    }
    // A job in the background (https://developers.openai.com/api/docs/guides/background).
    answer.goes_on = matches!(response.status.text(), Some("queued" | "in_progress"));
    if answer.goes_on {
        answer.job = response.id.words().map(str::to_owned);
    }
    if response.status.text().is_some() {
        answer.first.finish = Some(response.finish(!calls.0.is_empty()));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::StreamDecoder;
    use crate::dialect::framed::Framed;

    #[test]
    fn a_job_in_the_background_goes_on_until_it_has_come_to_an_end() {
        for (status, goes_on) in [
            ("queued", true),
            ("in_progress", true),
            ("completed", false),
            ("incomplete", false),
            ("failed", false),
            ("cancelled", false),
        ] {
            let body = format!("{{\"status\":\"{status}\",\"output\":[],\"usage\":null}}");
            assert_eq!(whole(body.as_bytes()).goes_on, goes_on, "{status}");
        }
    }

    #[test]
    fn usage_is_read_with_its_cache_writes_and_contradictions() {
        let read = |json: &str| {
            let raw: &RawValue = serde_json::from_str(json).expect("JSON");
            read_usage(raw, None).map(|u| {
                (
                    u.input,
                    u.cached,
                    u.cache_write,
                    u.cache_write_long,
                    u.output,
                    u.reasoning,
                    u.anomaly,
                )
            })
        };
        for (json, expected) in [
            (
                r#"{"input_tokens":100,"output_tokens":20,"total_tokens":120,"input_tokens_details":{"cached_tokens":40,"cache_write_tokens":30,"cache_write_tokens_details":{"ttl_12h":10}},"output_tokens_details":{"reasoning_tokens":5}}"#,
                Some((30, 40, 20, 10, 20, 5, false)),
            ),
            (
                r#"{"input_tokens":10,"output_tokens":2,"total_tokens":13}"#,
                Some((10, 0, 0, 0, 2, 0, true)),
            ),
            (
                r#"{"input_tokens":10,"output_tokens":2,"output_tokens_details":{"reasoning_tokens":5}}"#,
                Some((10, 0, 0, 0, 2, 2, true)),
            ),
            (r#"{"input_tokens":10}"#, None),
            (r#"{"input_tokens":-1,"output_tokens":2}"#, None),
        ] {
            assert_eq!(read(json), expected, "{json}");
        }
    }

    #[test]
    fn arguments_that_come_with_the_item_alone_are_told_once() {
        let item = r#""item":{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}"#;
        let empty = item.replace("{}", "");
        let stream = |delta: &str| {
            format!(
                "data: {{\"type\":\"response.output_item.added\",\"output_index\":1,{empty}}}\n\n{delta}data: {{\"type\":\"response.output_item.done\",\"output_index\":1,{item}}}\n\n"
            )
        };
        let delta = "data: {\"type\":\"response.function_call_arguments.delta\",\"output_index\":1,\"delta\":\"{}\"}\n\n";
        for stream in [stream(""), stream(delta)] {
            let mut decoder = Framed::<ResponsesStream>::default();
            let mut events = Vec::new();
            decoder.feed(stream.as_bytes(), &mut |e| events.push(e));
            assert_eq!(
                events,
                [
                    Event::Call {
                        index: 0,
                        id: "c".into(),
                        name: "f".into()
                    },
                    Event::Arguments {
                        index: 0,
                        text: "{}".into()
                    }
                ]
            );
        }
    }
}
