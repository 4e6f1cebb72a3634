//! What happens to a call: the provider's part of it, step by step.

use super::table::{Kind, Wire};
use crate::scripted::{self, Step, delta, piece, stream_head};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Ok,
    /// The answer tells no usage.
    NoUsage,
    /// It says `"usage": null`.
    NullUsage,
    /// More than was reserved.
    Above,
    /// Usage that contradicts itself.
    Anomaly,
    /// An answer in which nothing can be read.
    Unreadable,
    /// The client asked for a stream, and one JSON text comes.
    WholeForStream,
    Status(u16),
    /// An error of the provider that breaks off.
    BrokenError(u16),
    /// Longer than what is held back until it is whole.
    Long,
    /// A hard cut after so much of it that the client has some already.
    LongReset,
    Redirect,
    /// Nobody listens there.
    NotThere,
    /// The provider closes the connection instead of answering.
    HangsUp,
    /// The provider takes the request and says nothing.
    Silent,
    /// It stops in the middle.
    Stalls,
    /// A hard cut in the middle.
    Reset,
    /// The connection is closed in the middle.
    Closed,
    /// A stream with a clean end, but before the answer's.
    EndsEarly,
    /// The client leaves before the first byte.
    GoneBefore,
    /// The client leaves after the first bytes: its own where the answer flows, else the provider's.
    GoneAfter,
    /// The same, and the provider is known to stop.
    GoneAfterStops,
    /// The client leaves after the last event, before the end of the stream.
    GoneAtEnd,
}

impl What {
    pub fn name(self) -> String {
        match self {
            What::Ok => "ok",
            What::NoUsage => "no usage told",
            What::NullUsage => "usage: null",
            What::Above => "usage above the bound",
            What::Anomaly => "usage contradicts itself",
            What::Unreadable => "unreadable answer",
            What::WholeForStream => "JSON for a stream",
            What::Status(status) => return format!("provider {status}"),
            What::BrokenError(status) => return format!("provider {status}, cut"),
            What::Long => "ok, over 1 MiB",
            What::LongReset => "reset after 1 MiB",
            What::Redirect => "redirect",
            What::NotThere => "connection refused",
            What::HangsUp => "hangs up, no answer",
            What::Silent => "stalls, no byte",
            What::Stalls => "stalls half-way",
            What::Reset => "reset half-way",
            What::Closed => "closed half-way",
            What::EndsEarly => "clean end half-way",
            What::GoneBefore => "client gone, no byte",
            What::GoneAfter => "client gone half-way",
            What::GoneAfterStops => "the same, one that stops",
            What::GoneAtEnd => "client gone at [DONE]",
        }
        .to_owned()
    }

    /// The short limit without which it would last for minutes.
    pub fn limits(self, kind: &Kind) -> &'static str {
        match self {
            // There the next arm answers, and has to be in time.
            What::Silent if kind.name.starts_with("routed") && kind.flows => {
                "[limits]\nfirst_byte = \"3s\"\n"
            }
            What::Silent => "[limits]\nfirst_byte = \"200ms\"\ntotal = \"200ms\"\n",
            What::Stalls if kind.flows => "[limits]\nidle = \"300ms\"\n",
            What::Stalls => "[limits]\nidle = \"300ms\"\ntotal = \"300ms\"\n",
            _ => "",
        }
    }
}

/// What is told of tokens.
fn usage(wire: Wire, what: What) -> Option<String> {
    let embeds = wire == Wire::Embeddings;
    Some(match what {
        What::NoUsage => return None,
        What::NullUsage => "null".into(),
        What::Above if embeds => r#"{"prompt_tokens":90000,"total_tokens":90000}"#.into(),
        What::Above => r#"{"prompt_tokens":90000,"completion_tokens":9000,"total_tokens":99000}"#.into(),
        What::Anomaly if embeds => r#"{"prompt_tokens":7,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":9}}"#.into(),
        What::Anomaly => r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":99}}"#.into(),
        _ if embeds => r#"{"prompt_tokens":7,"total_tokens":7}"#.into(),
        _ => r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}"#.into(),
    })
}

/// Where a long answer is cut.
const MARK: &str = "half-way";

/// The words of every answer.
const WORDS: &str = "one two three";

/// A whole answer.
fn whole(wire: Wire, what: What) -> String {
    if what == What::Unreadable {
        return "{}".into();
    }
    let member = usage(wire, what).map_or_else(String::new, |u| format!(",\"usage\":{u}"));
    match wire {
        Wire::Chat | Wire::ChatStream => format!(
            r#"{{"id":"c1","object":"chat.completion","model":"m-up","choices":[{{"index":0,"message":{{"role":"assistant","content":"{WORDS}"}},"finish_reason":"stop"}}]{member}}}"#
        ),
        Wire::Embeddings => format!(
            r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[0.25,-1.5]}},{{"object":"embedding","index":1,"embedding":[3.0,0.1]}}],"model":"e-up"{member}}}"#
        ),
        Wire::Legacy | Wire::LegacyStream => format!(
            r#"{{"id":"l1","object":"text_completion","model":"m-up","choices":[{{"index":0,"text":"{WORDS}","finish_reason":"stop"}}]{member}}}"#
        ),
        Wire::Json(text) => text.into(),
        Wire::Count => r#"{"input_tokens":14}"#.into(),
    }
}

/// The events of a stream: its words, and the rest.
fn events(wire: Wire, what: What) -> (String, String) {
    if what == What::Unreadable {
        return ("data: {}\n\n".into(), String::new());
    }
    let chunk = |choices: &str, more: &str| {
        format!("data: {{\"id\":\"c1\",\"model\":\"m-up\",\"choices\":[{choices}]{more}}}\n\n")
    };
    let (words, last) = match wire {
        Wire::LegacyStream => (
            chunk(
                &format!("{{\"index\":0,\"text\":\"{WORDS}\",\"finish_reason\":null}}"),
                "",
            ),
            chunk("{\"index\":0,\"text\":\"\",\"finish_reason\":\"stop\"}", ""),
        ),
        _ => (
            delta(WORDS),
            chunk("{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}", ""),
        ),
    };
    let told =
        usage(wire, what).map_or_else(String::new, |u| chunk("", &format!(",\"usage\":{u}")));
    (words, format!("{last}{told}data: [DONE]\n\n"))
}

/// What the provider does, and what of it a client must have read before it goes on.
pub struct Script {
    pub steps: Vec<Step>,
    /// What the provider says in its body.
    pub body: String,
    /// The client has seen the first bytes when it has seen this.
    pub first: String,
}

const STREAMS: &[Wire] = &[Wire::ChatStream, Wire::LegacyStream];

/// The script of what happens to a call of this kind.
pub fn script(kind: &Kind, what: What) -> Script {
    let error = r#"{"error":{"message":"no","type":"up_error","code":"up_code"}}"#;
    let plain = |steps: Vec<Step>, body: &str| Script {
        steps,
        body: body.into(),
        first: String::new(),
    };
    match what {
        What::Status(status) => return plain(scripted::answer(status, error), error),
        What::BrokenError(status) => {
            let [Step::Send(all)] = &scripted::answer(status, error)[..] else {
                unreachable!("an answer is one step")
            };
            let half = all[..all.len() - 9].to_vec();
            return plain(vec![Step::Send(half), Step::Close], error);
        }
        What::Redirect => {
            let head =
                "HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/moved\r\ncontent-length: 0\r\n\r\n";
            return plain(vec![Step::Send(head.into())], "");
        }
        What::HangsUp => return plain(vec![Step::Close], ""),
        What::Silent | What::GoneBefore => return plain(vec![Step::Stall], ""),
        _ => {}
    }
    match STREAMS.contains(&kind.wire) && what != What::WholeForStream {
        true => stream_script(kind, what),
        false => whole_script(kind, what),
    }
}

/// How a script goes on after the first bytes; a cut waits until they have been read where somebody can see that.
fn then(kind: &Kind, what: What) -> Option<Vec<Step>> {
    let cut = |step| match kind.flows {
        true => vec![Step::Gate, step],
        false => vec![step],
    };
    Some(match what {
        What::Reset => cut(Step::Reset),
        What::LongReset => vec![Step::Gate, Step::Reset],
        What::Closed => cut(Step::Close),
        What::Stalls | What::GoneAfter | What::GoneAfterStops => vec![Step::Stall],
        _ => return None,
    })
}

fn whole_script(kind: &Kind, what: What) -> Script {
    let mut body = whole(kind.wire, what);
    if matches!(what, What::Long | What::LongReset) {
        // Nobody reads this field; the mark comes after more than is ever held.
        let pad = format!("{}{MARK}{}", "x".repeat(1_100_000), "y".repeat(300_000));
        body = body.replacen('{', &format!("{{\"pad\":\"{pad}\","), 1);
    }
    let Some(then) = then(kind, what) else {
        return Script {
            steps: scripted::answer(200, &body),
            first: body.clone(),
            body,
        };
    };
    let half = match body.find(MARK) {
        Some(at) => &body[..at + MARK.len()],
        None => &body[..body.len() / 2],
    };
    let half = half.to_owned();
    let head = format!(
        "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{half}",
        body.len()
    );
    let mut steps = vec![Step::Send(head.into_bytes())];
    steps.extend(then);
    Script {
        steps,
        first: match half.ends_with(MARK) {
            true => MARK.into(),
            false => half.clone(),
        },
        body: half,
    }
}

fn stream_script(kind: &Kind, what: What) -> Script {
    let (words, rest) = events(kind.wire, what);
    // The head and the words are one piece, so that no limit runs out between them.
    let (Step::Send(mut head), Step::Send(first)) = (stream_head(), piece(&words)) else {
        unreachable!("both send")
    };
    head.extend(first);
    let mut steps = vec![Step::Send(head)];
    let script = |steps, body, first: &str| Script {
        steps,
        body,
        first: first.into(),
    };
    if let Some(then) = then(kind, what) {
        steps.extend(then);
        return script(steps, words, WORDS);
    }
    if what == What::EndsEarly {
        steps.push(scripted::end());
        return script(steps, words, WORDS);
    }
    if !rest.is_empty() {
        steps.push(piece(&rest));
    }
    let last = match what {
        What::GoneAtEnd => Step::Stall,
        _ => scripted::end(),
    };
    steps.push(last);
    // How the last event is called in the client's dialect.
    let end = match kind.path {
        "/v1/messages" => "message_stop",
        _ => "[DONE]",
    };
    script(steps, words + &rest, end)
}
