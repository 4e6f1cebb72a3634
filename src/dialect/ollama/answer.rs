//! Answers of Ollama's own API, streamed and whole: a whole answer is a stream of one line.

use crate::chat::Usage;
use crate::dialect::framed::{ReadsFrames, ToldModel};
use crate::dialect::lenient::{Content, Count, Maybe, Text};
use crate::dialect::ndjson::Lines;
use crate::dialect::{Answer, Event, Finish, fault, logprobs};
use crate::json;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A line.
#[derive(Deserialize)]
struct OllamaLine<'a> {
    #[serde(default, borrow)]
    model: Text<'a>,
    #[serde(default, borrow)]
    message: Maybe<OllamaMessage<'a>>,
    /// Of `/api/generate`.
    #[serde(default, borrow)]
    response: Text<'a>,
    #[serde(default, borrow)]
    thinking: Text<'a>,
    #[serde(default)]
    done: Option<bool>,
    #[serde(default, borrow)]
    done_reason: Text<'a>,
    #[serde(default)]
    prompt_eval_count: Count,
    #[serde(default)]
    eval_count: Count,
    #[serde(default, borrow)]
    logprobs: logprobs::LikelyTokens<'a>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OllamaMessage<'a> {
    #[serde(default, borrow)]
    content: Text<'a>,
    #[serde(default, borrow)]
    thinking: Text<'a>,
    #[serde(default, borrow)]
    tool_calls: Content<'a, Maybe<OllamaCall<'a>>>,
}

#[derive(Deserialize)]
struct OllamaCall<'a> {
    #[serde(default, borrow)]
    id: Text<'a>,
    #[serde(default, borrow)]
    function: Maybe<OllamaFunction<'a>>,
}

#[derive(Deserialize)]
struct OllamaFunction<'a> {
    #[serde(default, borrow)]
    name: Text<'a>,
    #[serde(default, borrow)]
    arguments: Option<&'a RawValue>,
}

/// What is known of a stream while it is read.
#[derive(Default)]
pub(super) struct OllamaStream {
    model: ToldModel,
    calls: u64,
}

impl ReadsFrames for OllamaStream {
    type Frames = Lines;

    fn read(&mut self, line: &[u8], on: &mut dyn FnMut(Event)) {
        let Ok(said) = json::from_slice::<OllamaLine<'_>>(line) else {
            return;
        };
        self.model.tell(&said.model, on);
        let message = said.message.0.as_ref();
        for words in [message.map(|m| &m.thinking), Some(&said.thinking)]
            .into_iter()
            .flatten()
        {
            if let Some(words) = words.words() {
                on(Event::Reasoning(words.to_owned()));
            }
        }
        logprobs::tell(&said.logprobs, on);
        for words in [message.map(|m| &m.content), Some(&said.response)]
            .into_iter()
            .flatten()
        {
            if let Some(words) = words.words() {
                on(Event::Text(words.to_owned()));
            }
        }
        let calls = message.map_or(&[][..], |m| m.tool_calls.list());
        for call in calls.iter().filter_map(|c| c.0.as_ref()) {
            self.tell_call(call, on);
        }
        if said.error.is_some_and(|raw| raw.get() != "null") {
            on(Event::Error(fault::told(line)));
        }
        if said.done == Some(true) {
            if let (Some(input), Some(output)) =
                (said.prompt_eval_count.get(), said.eval_count.get())
            {
                on(Event::Usage(Usage {
                    input,
                    output,
                    ..Usage::default()
                }));
            }
            on(Event::Finish(self.finish(said.done_reason.words())));
            on(Event::End);
        }
    }
}

impl OllamaStream {
    fn tell_call(&mut self, call: &OllamaCall<'_>, on: &mut dyn FnMut(Event)) {
        let Some(function) = &call.function.0 else {
            return;
        };
        let index = self.calls;
        self.calls += 1;
        on(Event::Call {
            index,
            id: call.id.text().unwrap_or_default().to_owned(),
            name: function.name.text().unwrap_or_default().to_owned(),
        });
        let text = function.arguments.map_or("{}", RawValue::get).to_owned();
        on(Event::Arguments { index, text });
    }

    fn finish(&self, word: Option<&str>) -> Finish {
        match word {
            Some("length") => Finish::Length,
            Some("stop") | None if self.calls > 0 => Finish::Calls,
            Some("stop") | None => Finish::Stop,
            Some(other) => Finish::Other(other.to_owned()),
        }
    }
}

/// Reads a whole answer.
pub(super) fn whole(bytes: &[u8]) -> Answer {
    let mut answer = Answer::default();
    OllamaStream::default().read(bytes, &mut |event| answer.add(event));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::StreamDecoder;
    use crate::dialect::framed::Framed;

    #[test]
    fn lines_tell_thoughts_words_calls_usage_and_errors() {
        let stream = "{\"model\":\"q\",\"message\":{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"hm\"},\"done\":false}\n\
            {\"model\":\"q\",\"message\":{\"content\":\"hi\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\": 1}}}]},\"done\":false}\n\
            {\"model\":\"q\",\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":5,\"eval_count\":3}\n";
        let mut decoder = Framed::<OllamaStream>::default();
        let mut events = Vec::new();
        decoder.feed(stream.as_bytes(), &mut |e| events.push(e));
        assert_eq!(
            events,
            [
                Event::Model("q".into()),
                Event::Reasoning("hm".into()),
                Event::Text("hi".into()),
                Event::Call {
                    index: 0,
                    id: String::new(),
                    name: "f".into()
                },
                Event::Arguments {
                    index: 0,
                    text: "{\"a\": 1}".into()
                },
                Event::Usage(Usage {
                    input: 5,
                    output: 3,
                    ..Usage::default()
                }),
                Event::Finish(Finish::Calls),
                Event::End,
            ]
        );
        assert_eq!(
            whole(b"{\"error\":\"no such model\"}")
                .error
                .map(|e| e.text)
                .as_deref(),
            Some("no such model")
        );
        let generated = whole(br#"{"model":"q","response":"x","done":true,"done_reason":"length","prompt_eval_count":1,"eval_count":1}"#);
        assert_eq!(
            (generated.text(), generated.first.finish),
            ("x".into(), Some(Finish::Length))
        );
    }
}
