//! Answers in the shape of Anthropic Messages, fields in the vendor's order. Pure.

use super::answer::{Generation, SimAnswer, thinking_time};
use super::ask::{Refusal, SimAsk};
use super::frames::{SimFrame, quoted, share, spoken};
use super::model::{MODELS, SimModel};
use super::words::Dice;
use std::time::Duration;

/// A whole answer.
pub(super) fn whole(ask: &SimAsk, id: &str, generation: &Generation) -> String {
    let answer = &generation.answers[0];
    let mut blocks = Vec::new();
    if answer.reasoning > 0 {
        blocks.push(format!(
            r#"{{"type":"thinking","thinking":{},"signature":"{}"}}"#,
            quoted(&summary(ask, answer)),
            signature(answer)
        ));
    }
    let text = answer.pieces.concat();
    match &answer.call {
        // Arguments that were cut are no JSON.
        Some(name) => {
            let input = if answer.cut { "{}" } else { &text };
            blocks.push(tool_use(answer, name, input));
        }
        None if text.is_empty() => {}
        None => blocks.push(format!(r#"{{"type":"text","text":{}}}"#, quoted(&text))),
    }
    message(
        ask,
        id,
        &blocks.join(","),
        Some(stop(answer)),
        &usage(generation, UsagePlace::Whole),
    )
}

fn message(ask: &SimAsk, id: &str, blocks: &str, stop: Option<&str>, usage: &str) -> String {
    format!(
        r#"{{"model":"{}","id":"msg_sim{id}","type":"message","role":"assistant","content":[{blocks}],"stop_reason":{},"stop_sequence":null,"stop_details":null,"usage":{usage}}}"#,
        ask.model.name,
        stop.map_or("null".to_owned(), quoted)
    )
}

/// A streamed answer, from `message_start` to `message_stop`.
pub(super) fn stream(ask: &SimAsk, id: &str, generation: &Generation) -> Vec<SimFrame> {
    let answer = &generation.answers[0];
    let first = ask.model.first;
    let start = message(ask, id, "", None, &usage(generation, UsagePlace::Start));
    let mut frames = vec![SimFrame::sends(
        first,
        event(
            "message_start",
            &format!(r#"{{"type":"message_start","message":{start}}}"#),
        ),
    )];
    if answer.reasoning > 0 {
        frames.extend(thinking(ask, answer));
    }
    if !answer.pieces.is_empty() {
        let index = usize::from(answer.reasoning > 0);
        let start = first + thinking_time(ask, answer);
        let block = match &answer.call {
            None => r#"{"type":"text","text":""}"#.to_owned(),
            Some(name) => tool_use(answer, name, "{}"),
        };
        let open =
            format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#);
        frames.push(SimFrame::sends(start, event("content_block_start", &open)));
        frames.push(SimFrame::sends(start, event("ping", r#"{"type":"ping"}"#)));
        frames.extend(spoken(ask, &answer.pieces, start, |text| {
            match answer.call {
                None => delta(index, "text_delta", "text", text),
                Some(_) => delta(index, "input_json_delta", "partial_json", text),
            }
        }));
        frames.push(block_stop(index, end(&frames)));
    }
    let last = format!(
        r#"{{"type":"message_delta","delta":{{"stop_reason":"{}","stop_sequence":null,"stop_details":null}},"usage":{}}}"#,
        stop(answer),
        usage(generation, UsagePlace::Delta)
    );
    let end = end(&frames);
    frames.push(SimFrame::sends(end, event("message_delta", &last)));
    let stop = event("message_stop", r#"{"type":"message_stop"}"#);
    frames.push(SimFrame::sends(end, stop));
    frames
}

/// The thinking block: its tokens are the real reasoning, its words a summary (or nothing, if omitted).
fn thinking(ask: &SimAsk, answer: &SimAnswer) -> Vec<SimFrame> {
    let (start, time) = (ask.model.first, thinking_time(ask, answer));
    let open = r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#;
    let mut frames = vec![SimFrame::sends(start, event("content_block_start", open))];
    let mut steps = share(answer.reasoning, time, start);
    if ask.summary {
        let size = answer.summary.len().div_ceil(steps.len()).max(1);
        for (step, pieces) in steps.iter_mut().zip(answer.summary.chunks(size)) {
            step.text = delta(0, "thinking_delta", "thinking", &pieces.concat());
        }
    }
    frames.extend(steps);
    let signed = delta(0, "signature_delta", "signature", &signature(answer));
    frames.push(SimFrame::sends(start + time, signed));
    frames.push(block_stop(0, start + time));
    frames
}

fn end(frames: &[SimFrame]) -> Duration {
    frames.last().map_or(Duration::ZERO, |f| f.at)
}

fn block_stop(index: usize, at: Duration) -> SimFrame {
    let body = format!(r#"{{"type":"content_block_stop","index":{index}}}"#);
    SimFrame::sends(at, event("content_block_stop", &body))
}

fn delta(index: usize, kind: &str, field: &str, text: &str) -> String {
    let body = format!(
        r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"{kind}","{field}":{}}}}}"#,
        quoted(text)
    );
    event("content_block_delta", &body)
}

fn event(name: &str, body: &str) -> String {
    format!("event: {name}\ndata: {body}\n\n")
}

fn summary(ask: &SimAsk, answer: &SimAnswer) -> String {
    if ask.summary {
        answer.summary.concat()
    } else {
        String::new()
    }
}

/// Stands for the vendor's signature: opaque, and bound to this answer.
fn signature(answer: &SimAnswer) -> String {
    let mut dice = Dice::new(answer.mark, &["signature"]);
    let words: Vec<String> = (0..8).map(|_| format!("{:016x}", dice.roll())).collect();
    format!("sim{}", words.concat())
}

fn stop(answer: &SimAnswer) -> &'static str {
    match &answer.call {
        _ if answer.cut => "max_tokens",
        Some(_) => "tool_use",
        None => "end_turn",
    }
}

/// A call; its input is JSON.
fn tool_use(answer: &SimAnswer, name: &str, input: &str) -> String {
    format!(
        r#"{{"type":"tool_use","id":"toolu_sim{:016x}","name":{},"input":{input}}}"#,
        answer.mark,
        quoted(name)
    )
}

/// Where a usage object stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UsagePlace {
    Whole,
    /// `message_start`: the output is provisional.
    Start,
    /// `message_delta`: cumulative, without the fields that cannot change.
    Delta,
}

fn usage(generation: &Generation, said: UsagePlace) -> String {
    let (answer, cache) = (&generation.answers[0], generation.cache);
    let input = format!(
        r#""input_tokens":{},"cache_creation_input_tokens":{},"cache_read_input_tokens":{}"#,
        generation.input_fresh(),
        cache.written + cache.written_hour,
        cache.read
    );
    let fixed = format!(
        r#""cache_creation":{{"ephemeral_5m_input_tokens":{},"ephemeral_1h_input_tokens":{}}}"#,
        cache.written, cache.written_hour
    );
    let output = format!(
        r#""output_tokens":{},"output_tokens_details":{{"thinking_tokens":{}}}"#,
        answer.output(),
        answer.reasoning
    );
    let tier = r#""service_tier":"standard","inference_geo":"not_available""#;
    match said {
        UsagePlace::Whole => format!("{{{input},{fixed},{output},{tier}}}"),
        UsagePlace::Start => format!(
            r#"{{{input},{fixed},"output_tokens":{},{tier}}}"#,
            answer.output().min(1)
        ),
        UsagePlace::Delta => format!("{{{input},{output}}}"),
    }
}

/// An error body.
pub(super) fn error(refusal: &Refusal, id: &str) -> String {
    format!(
        r#"{{"type":"error","error":{{"type":"{}","message":{}}},"request_id":"req_sim{id}"}}"#,
        refusal.kind,
        quoted(&match refusal.field {
            Some(field) => format!("{field}: {}", refusal.message),
            None => refusal.message.clone(),
        })
    )
}

/// The answer of `count_tokens`.
pub(super) fn counted(tokens: u64) -> String {
    format!(r#"{{"input_tokens":{tokens}}}"#)
}

/// The list of models.
pub(super) fn models() -> String {
    let all: Vec<String> = MODELS.iter().map(model).collect();
    format!(
        r#"{{"data":[{}],"has_more":false,"first_id":"{}","last_id":"{}"}}"#,
        all.join(","),
        MODELS[0].name,
        MODELS[MODELS.len() - 1].name
    )
}

/// One model.
pub(super) fn model(model: &SimModel) -> String {
    format!(
        r#"{{"type":"model","id":"{}","display_name":"{}","created_at":"2026-01-01T00:00:00Z"}}"#,
        model.name, model.title
    )
}
