//! Answers in the shape of OpenAI Chat Completions, fields in the vendor's order. Pure.

use super::answer::{Generation, SimAnswer, thinking_time};
use super::ask::{Refusal, SimAsk};
use super::frames::{SimFrame, hidden, quoted, spoken};
use super::model::{MODELS, SimModel};

/// What every part of one answer repeats.
pub(super) struct Head<'a> {
    pub(super) ask: &'a SimAsk,
    /// The part of the id that tells answers apart.
    pub(super) id: &'a str,
    /// Seconds since 1970.
    pub(super) created: u64,
}

impl Head<'_> {
    fn open(&self, object: &str) -> String {
        format!(
            r#"{{"id":"chatcmpl-sim{}","object":"{object}","created":{},"model":"{}","#,
            self.id, self.created, self.ask.model.name
        )
    }

    /// A stream event; `usage: null` is there for a client that asked for usage, as the vendor does it.
    fn chunk(&self, choices: &str, usage: Option<&str>) -> String {
        let usage = match (self.ask.include_usage, usage) {
            (false, _) => String::new(),
            (true, usage) => format!(r#","usage":{}"#, usage.unwrap_or("null")),
        };
        format!(
            "data: {}{FIXED},\"choices\":[{choices}]{usage}}}\n\n",
            self.open("chat.completion.chunk")
        )
    }

    fn delta(&self, index: usize, delta: &str, finish: Option<&str>) -> String {
        let finish = finish.map_or("null".to_owned(), quoted);
        self.chunk(
            &format!(
                r#"{{"index":{index},"delta":{delta},"logprobs":null,"finish_reason":{finish}}}"#
            ),
            None,
        )
    }
}

const FIXED: &str = r#""service_tier":"default","system_fingerprint":"fp_simulated""#;

/// A whole answer.
pub(super) fn whole(head: &Head<'_>, generation: &Generation) -> String {
    let choices: Vec<String> = generation
        .answers
        .iter()
        .enumerate()
        .map(|(index, answer)| {
            let text = quoted(&answer.pieces.concat());
            let said = match &answer.call {
                None => format!(r#""content":{text},"refusal":null"#),
                Some(name) => format!(
                    r#""content":null,"refusal":null,"tool_calls":[{}]"#,
                    call(answer, name, &text)
                ),
            };
            format!(
                r#"{{"index":{index},"message":{{"role":"assistant",{said},"annotations":[]}},"logprobs":null,"finish_reason":"{}"}}"#,
                finish(answer)
            )
        })
        .collect();
    format!(
        "{}\"choices\":[{}],\"usage\":{},{FIXED}}}",
        head.open("chat.completion"),
        choices.join(","),
        usage(generation)
    )
}

/// A streamed answer: the choices side by side, then the usage if it was asked for, then `[DONE]`.
pub(super) fn stream(head: &Head<'_>, generation: &Generation) -> Vec<SimFrame> {
    let mut frames: Vec<SimFrame> = Vec::new();
    for (index, answer) in generation.answers.iter().enumerate() {
        frames.extend(choice(head, index, answer));
    }
    frames.sort_by_key(|f| f.at);
    let end = frames.last().map_or(head.ask.model.first, |f| f.at);
    if head.ask.include_usage {
        frames.push(SimFrame::sends(
            end,
            head.chunk("", Some(&usage(generation))),
        ));
    }
    frames.push(SimFrame::sends(end, "data: [DONE]\n\n".to_owned()));
    frames
}

fn choice(head: &Head<'_>, index: usize, answer: &SimAnswer) -> Vec<SimFrame> {
    let ask = head.ask;
    let role = match &answer.call {
        None => r#"{"role":"assistant","content":"","refusal":null}"#.to_owned(),
        Some(name) => {
            let call = call(answer, name, "\"\"").replacen('{', "{\"index\":0,", 1);
            format!(r#"{{"role":"assistant","content":null,"refusal":null,"tool_calls":[{call}]}}"#)
        }
    };
    let mut frames = hidden(ask, answer, ask.model.first);
    let start = ask.model.first + thinking_time(ask, answer);
    frames.push(SimFrame::sends(start, head.delta(index, &role, None)));
    frames.extend(spoken(ask, &answer.pieces, start, |text| {
        let text = quoted(text);
        let delta = match answer.call {
            None => format!(r#"{{"content":{text}}}"#),
            Some(_) => {
                format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":{text}}}}}]}}"#)
            }
        };
        head.delta(index, &delta, None)
    }));
    let end = frames.last().map_or(start, |f| f.at);
    let last = head.delta(index, "{}", Some(finish(answer)));
    frames.push(SimFrame::sends(end, last));
    frames
}

fn finish(answer: &SimAnswer) -> &'static str {
    match &answer.call {
        _ if answer.cut => "length",
        Some(_) => "tool_calls",
        None => "stop",
    }
}

/// A call; its arguments are a JSON string already.
fn call(answer: &SimAnswer, name: &str, arguments: &str) -> String {
    format!(
        r#"{{"id":"call_sim{:016x}","type":"function","function":{{"name":{},"arguments":{arguments}}}}}"#,
        answer.mark,
        quoted(name)
    )
}

fn usage(generation: &Generation) -> String {
    let (prompt, completion) = (generation.input, generation.output());
    format!(
        r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#,
        prompt + completion,
        generation.cache.read,
        generation.reasoning()
    )
}

/// An error body.
pub(super) fn error(refusal: &Refusal) -> String {
    // OpenAI calls every mistake of the client an invalid request.
    let kind = if refusal.status < 500 {
        "invalid_request_error"
    } else {
        "server_error"
    };
    format!(
        r#"{{"error":{{"message":{},"type":"{kind}","param":{},"code":{}}}}}"#,
        quoted(&refusal.message),
        refusal.field.map_or("null".to_owned(), quoted),
        refusal.code.map_or("null".to_owned(), quoted)
    )
}

/// The list of models.
pub(super) fn models() -> String {
    let all: Vec<String> = MODELS.iter().map(model).collect();
    format!(r#"{{"object":"list","data":[{}]}}"#, all.join(","))
}

/// One model.
pub(super) fn model(model: &SimModel) -> String {
    format!(
        r#"{{"id":"{}","object":"model","created":1767225600,"owned_by":"flyball-simulated"}}"#,
        model.name
    )
}
