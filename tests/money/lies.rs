//! Providers that tell wrong usage: forty lies in the words of six dialects, streamed and whole, direct and translated, to models that
//! think and to models that do not. The scripted vendor knows what it will really bill: the prompt and the words of its answer, and of a
//! model that thinks all that its limit allows.
//!
//! Under a cap no bill is above what is booked, and nothing is booked above its bound, so nothing is refused for a lie. A lie is never
//! booked as `reported`, and the truth always is, to the token.

use super::spent;
use crate::client::{Answer, post};
use crate::flyball::{Flyball, make_key};
use crate::scripted::{Step, Upstream, answer, end, piece, stream_head};
use flyball::tokens;
use futures_util::future::join_all;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// The most answer tokens that are asked for.
const LIMIT: u64 = 2_000;
/// Pico-dollars a token.
const INPUT: u64 = 1_000_000;
const OUTPUT: u64 = 10_000_000;

/// One report of usage.
#[derive(Clone, Copy)]
enum Say {
    /// No field at all.
    Nothing,
    /// This in place of the object.
    Raw(&'static str),
    /// The truth, but for these figures: `half`, `tenth`, `none` (the field is missing), `more` (the truth and nine), or a JSON value.
    But(&'static [(Figure, &'static str)]),
    /// The truth in the words of another dialect.
    Foreign,
    /// The truth at a place where nobody looks for it.
    Elsewhere,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Figure {
    Input,
    Output,
    Total,
    Cached,
    Reasoning,
}

/// How the answer ends; only a stream can fail in its middle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Well,
    WithError,
    Cut,
}

struct Lie {
    name: &'static str,
    /// Before the first word; only a stream can.
    early: Say,
    last: Say,
    /// After the dialect's own end.
    after: Say,
    ends: Ends,
    /// It is the truth, and has to be believed.
    true_: bool,
}

const fn last(name: &'static str, last: Say) -> Lie {
    Lie {
        name,
        early: Say::Nothing,
        last,
        after: Say::Nothing,
        ends: Ends::Well,
        true_: false,
    }
}

const fn early(name: &'static str, early: Say, at_last: Say, ends: Ends) -> Lie {
    Lie {
        early,
        ends,
        ..last(name, at_last)
    }
}

use Ends::{Cut, Well, WithError};
use Figure::{Cached, Input, Output, Reasoning, Total};
use Say::{But, Elsewhere, Foreign, Nothing, Raw};

const TRUTH: Say = But(&[]);
/// What a stream says of its output before it begins.
const ONE: Say = But(&[(Output, "1"), (Total, "none"), (Reasoning, "none")]);

#[rustfmt::skip]
const LIES: &[Lie] = &[
    Lie { true_: true, ..last("the truth", TRUTH) },
    Lie { true_: true, ..early("a first report, then the truth", ONE, TRUTH, Well) },
    Lie { true_: true, after: Nothing, ..early("the truth twice", TRUTH, TRUTH, Well) },
    last("absent", Nothing),
    last("null", Raw("null")),
    last("an empty object", Raw("{}")),
    last("a list", Raw("[]")),
    last("a sentence", Raw("\"many\"")),
    last("a number", Raw("7")),
    last("a boolean", Raw("true")),
    last("zeros", But(&[(Input, "0"), (Output, "0"), (Total, "0"), (Reasoning, "none")])),
    last("input alone", But(&[(Output, "none"), (Total, "none"), (Reasoning, "none")])),
    last("output alone", But(&[(Input, "none"), (Total, "none")])),
    last("no output", But(&[(Output, "0"), (Total, "none"), (Reasoning, "none")])),
    last("no input", But(&[(Input, "0"), (Total, "none")])),
    last("null output", But(&[(Output, "null"), (Total, "none"), (Reasoning, "none")])),
    last("null input", But(&[(Input, "null"), (Total, "none")])),
    last("half of the words", But(&[(Output, "half"), (Total, "none"), (Reasoning, "none")])),
    last("a tenth of the words", But(&[(Output, "tenth"), (Total, "none"), (Reasoning, "none")])),
    last("a tenth of the prompt", But(&[(Input, "tenth"), (Total, "none")])),
    last("a tenth of both", But(&[(Input, "tenth"), (Output, "tenth"), (Total, "none"), (Reasoning, "none")])),
    last("one token", But(&[(Output, "1"), (Total, "none"), (Reasoning, "none")])),
    last("a string as output", But(&[(Output, "\"300\""), (Total, "none"), (Reasoning, "none")])),
    last("a string as input", But(&[(Input, "\"3000\""), (Total, "none")])),
    last("a fraction", But(&[(Output, "300.5"), (Total, "none"), (Reasoning, "none")])),
    last("a negative output", But(&[(Output, "-300"), (Total, "none"), (Reasoning, "none")])),
    last("a negative input", But(&[(Input, "-1"), (Total, "none")])),
    last("2^53", But(&[(Output, "9007199254740992"), (Total, "none"), (Reasoning, "none")])),
    last("2^53 of both", But(&[(Input, "9007199254740992"), (Output, "9007199254740992"), (Total, "none"), (Reasoning, "none")])),
    last("2^63", But(&[(Output, "9223372036854775808"), (Total, "none"), (Reasoning, "none")])),
    last("2^64 and one", But(&[(Input, "18446744073709551617"), (Total, "none")])),
    last("1e300", But(&[(Output, "1e300"), (Total, "none"), (Reasoning, "none")])),
    last("a list as output", But(&[(Output, "[300]"), (Total, "none"), (Reasoning, "none")])),
    last("a boolean as output", But(&[(Output, "true"), (Total, "none"), (Reasoning, "none")])),
    last("an object as output", But(&[(Output, "{\"n\":300}"), (Total, "none"), (Reasoning, "none")])),
    last("more cached than read", But(&[(Cached, "more")])),
    last("a negative cache", But(&[(Cached, "-5")])),
    last("more reasoning than output", But(&[(Reasoning, "9000")])),
    last("reasoning that is no number", But(&[(Reasoning, "\"x\"")])),
    last("a total that is no sum", But(&[(Total, "more")])),
    last("a total of nothing", But(&[(Total, "1")])),
    last("another dialect's words", Foreign),
    last("in the wrong place", Elsewhere),
    early("early and never again", ONE, Nothing, Well),
    early("early, and null at last", ONE, Raw("null"), Well),
    early("early, and an empty object at last", ONE, Raw("{}"), Well),
    early("early, then an error", ONE, Nothing, WithError),
    early("early, then cut", ONE, Nothing, Cut),
    early("the truth too early, then cut", TRUTH, Nothing, Cut),
    early("an error without usage", Nothing, Nothing, WithError),
    early("cut without usage", Nothing, Nothing, Cut),
    early("zeros after real ones", TRUTH, But(&[(Input, "0"), (Output, "0"), (Total, "0"), (Reasoning, "none")]), Well),
    early("fewer than before", TRUTH, But(&[(Output, "tenth"), (Total, "none"), (Reasoning, "none")]), Well),
    early("strings after real ones", TRUTH, But(&[(Output, "\"9\""), (Total, "none"), (Reasoning, "none")]), Well),
];

/// Told after the end: it may be read or not, but nothing may be booked below the bill.
#[rustfmt::skip]
const LATE: &[Lie] = &[
    Lie { after: TRUTH, ..last("the truth after the end", Nothing) },
    Lie { after: But(&[(Input, "0"), (Output, "0"), (Total, "0"), (Reasoning, "none")]), ..last("zeros after the end", TRUTH) },
    Lie { after: Raw("null"), ..last("null after the end", TRUTH) },
];

/// The wire that the vendor speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Wire {
    Chat,
    Responses,
    Anthropic,
    Gemini,
    Ollama,
    Cohere,
}

impl Wire {
    const ALL: [Wire; 6] = [
        Wire::Chat,
        Wire::Responses,
        Wire::Anthropic,
        Wire::Gemini,
        Wire::Ollama,
        Wire::Cohere,
    ];

    fn kind(self) -> &'static str {
        match self {
            Wire::Chat => "openai-compatible",
            Wire::Responses => "openai",
            Wire::Anthropic => "anthropic",
            Wire::Gemini => "gemini",
            Wire::Ollama => "ollama",
            Wire::Cohere => "cohere",
        }
    }

    /// The names of the figures, where it has such.
    fn name(self, figure: Figure) -> Option<&'static str> {
        Some(match (self, figure) {
            (Wire::Chat, Input) => "prompt_tokens",
            (Wire::Chat, Output) => "completion_tokens",
            (Wire::Chat | Wire::Responses, Total) => "total_tokens",
            (Wire::Chat, Cached) => "prompt_tokens_details.cached_tokens",
            (Wire::Chat, Reasoning) => "completion_tokens_details.reasoning_tokens",
            (Wire::Responses | Wire::Anthropic, Input) => "input_tokens",
            (Wire::Responses | Wire::Anthropic, Output) => "output_tokens",
            (Wire::Responses, Cached) => "input_tokens_details.cached_tokens",
            (Wire::Responses, Reasoning) => "output_tokens_details.reasoning_tokens",
            (Wire::Anthropic, Reasoning) => "output_tokens_details.thinking_tokens",
            (Wire::Gemini, Input) => "promptTokenCount",
            (Wire::Gemini, Output) => "candidatesTokenCount",
            (Wire::Gemini, Total) => "totalTokenCount",
            (Wire::Gemini, Cached) => "cachedContentTokenCount",
            (Wire::Gemini, Reasoning) => "thoughtsTokenCount",
            (Wire::Ollama, Input) => "prompt_eval_count",
            (Wire::Ollama, Output) => "eval_count",
            (Wire::Cohere, Input) => "billed_units.input_tokens",
            (Wire::Cohere, Output) => "billed_units.output_tokens",
            (Wire::Cohere, Cached) => "cached_tokens",
            (Wire::Anthropic, Total | Cached)
            | (Wire::Ollama, Total | Cached | Reasoning)
            | (Wire::Cohere, Total | Reasoning) => return None,
        })
    }
}

/// What was really used.
#[derive(Clone, Copy)]
struct Real {
    input: u64,
    words: u64,
    hidden: u64,
}

impl Real {
    fn output(self) -> u64 {
        self.words + self.hidden
    }

    fn bill(self) -> u64 {
        self.input * INPUT + self.output() * OUTPUT
    }
}

/// A report as JSON; `None` where nothing is said.
fn said(wire: Wire, say: Say, real: Real) -> Option<String> {
    let but = match say {
        Nothing | Elsewhere => return None,
        Raw(raw) => return Some(raw.to_owned()),
        Foreign => {
            let (input, output) = (real.input, real.output());
            return Some(match wire {
                Wire::Chat => format!("{{\"inputTokens\":{input},\"eval_count\":{output}}}"),
                _ => format!("{{\"prompt_tokens\":{input},\"completion_tokens\":{output}}}"),
            });
        }
        But(but) => but,
    };
    let mut fields: HashMap<&str, Vec<String>> = HashMap::new();
    let mut order = Vec::new();
    for figure in [Input, Output, Total, Cached, Reasoning] {
        let truth = match (wire, figure) {
            (_, Input) => real.input,
            // Gemini's thoughts are beside what it says.
            (Wire::Gemini, Output) => real.words,
            (_, Output) => real.output(),
            (_, Total) => real.input + real.output(),
            (_, Cached) => 0,
            (_, Reasoning) => real.hidden,
        };
        let lie = but.iter().find(|(f, _)| *f == figure).map(|(_, v)| *v);
        let of = if figure == Output { real.words } else { truth };
        let value = match lie {
            None => truth.to_string(),
            Some("none") => continue,
            Some("half") => (of / 2).to_string(),
            Some("tenth") => (of / 10).to_string(),
            Some("more") if figure == Cached => (real.input + 9).to_string(),
            Some("more") => (truth + 9).to_string(),
            Some(raw) => raw.to_owned(),
        };
        let Some(name) = wire.name(figure) else {
            continue;
        };
        let (outer, inner) = name.split_once('.').map_or(("", name), |(o, i)| (o, i));
        if !order.contains(&outer) {
            order.push(outer);
        }
        fields
            .entry(outer)
            .or_default()
            .push(format!("\"{inner}\":{value}"));
    }
    let mut parts = Vec::new();
    for outer in order {
        let inner = fields[outer].join(",");
        parts.push(if outer.is_empty() {
            inner
        } else {
            format!("\"{outer}\":{{{inner}}}")
        });
    }
    Some(format!("{{{}}}", parts.join(",")))
}

/// A field of usage, or nothing.
fn field(name: &str, value: Option<&str>) -> String {
    value.map_or(String::new(), |value| format!(",\"{name}\":{value}"))
}

/// A whole answer.
fn whole(wire: Wire, words: &str, lie: &Lie, real: Real) -> String {
    let told = said(wire, lie.last, real);
    let told = told.as_deref();
    let inside = match lie.last {
        Elsewhere => said(wire, TRUTH, real),
        _ => None,
    };
    let inside = field("usage_of_it", inside.as_deref());
    match wire {
        Wire::Chat => format!(
            "{{\"object\":\"chat.completion\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{words}\"{inside}}},\"finish_reason\":\"stop\"}}]{}}}",
            field("usage", told)
        ),
        Wire::Responses => responses("completed", Some(words), &(inside + &field("usage", told))),
        Wire::Anthropic => format!(
            "{{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[{{\"type\":\"text\",\"text\":\"{words}\"{inside}}}],\"stop_reason\":\"end_turn\"{}}}",
            field("usage", told)
        ),
        Wire::Gemini => format!(
            "{{\"candidates\":[{{\"content\":{{\"role\":\"model\",\"parts\":[{{\"text\":\"{words}\"}}]}},\"finishReason\":\"STOP\"{inside}}}]{}}}",
            field("usageMetadata", told)
        ),
        Wire::Ollama => ollama(words, true, told, &inside),
        Wire::Cohere => format!(
            "{{\"id\":\"c\",\"finish_reason\":\"COMPLETE\",\"message\":{{\"role\":\"assistant\",\"content\":[{{\"type\":\"text\",\"text\":\"{words}\"}}]{inside}}}{}}}",
            field("usage", told)
        ),
    }
}

fn responses(status: &str, words: Option<&str>, usage: &str) -> String {
    let output = words.map_or(String::new(), |words| {
        format!("{{\"type\":\"message\",\"id\":\"i\",\"role\":\"assistant\",\"status\":\"completed\",\"content\":[{{\"type\":\"output_text\",\"text\":\"{words}\",\"annotations\":[]}}]}}")
    });
    format!(
        "{{\"id\":\"r\",\"object\":\"response\",\"model\":\"m\",\"status\":\"{status}\",\"output\":[{output}]{usage}}}"
    )
}

/// Ollama's figures stand in the line itself: what is no object is no figure.
fn ollama(words: &str, done: bool, told: Option<&str>, inside: &str) -> String {
    let told = told.and_then(|t| t.strip_prefix('{')?.strip_suffix('}'));
    let told = told.filter(|t| !t.is_empty());
    let told = told.map_or(String::new(), |told| format!(",{told}"));
    let reason = if done {
        ",\"done_reason\":\"stop\""
    } else {
        ""
    };
    format!(
        "{{\"model\":\"m\",\"message\":{{\"role\":\"assistant\",\"content\":\"{words}\"{inside}}},\"done\":{done}{reason}{told}}}"
    )
}

/// A stream: its head, its pieces, and an end.
fn stream(wire: Wire, words: &[&str], lie: &Lie, real: Real) -> Vec<Step> {
    let (early, told, after) = (
        said(wire, lie.early, real),
        said(wire, lie.last, real),
        said(wire, lie.after, real),
    );
    let (early, told, after) = (early.as_deref(), told.as_deref(), after.as_deref());
    let inside = match lie.last {
        Elsewhere => said(wire, TRUTH, real),
        _ => None,
    };
    let inside = field("usage_of_it", inside.as_deref());
    let data = |json: String| format!("data: {json}\n\n");
    let event = |kind: &str, json: String| format!("event: {kind}\ndata: {json}\n\n");
    let well = lie.ends == Well;
    let failed = lie.ends == WithError;
    let mut pieces = Vec::new();
    match wire {
        Wire::Chat => {
            for (i, word) in words.iter().enumerate() {
                let usage = field("usage", early.filter(|_| i == 0));
                pieces.push(data(format!("{{\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{word}\"{inside}}},\"finish_reason\":null}}]{usage}}}")));
            }
            if well {
                pieces.push(data("{\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}".to_owned()));
                if told.is_some() {
                    pieces.push(data(format!(
                        "{{\"model\":\"m\",\"choices\":[]{}}}",
                        field("usage", told)
                    )));
                }
                pieces.push("data: [DONE]\n\n".to_owned());
            }
            if failed {
                pieces.push(data(
                    "{\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}".to_owned(),
                ));
            }
            if after.is_some() {
                pieces.push(data(format!(
                    "{{\"model\":\"m\",\"choices\":[]{}}}",
                    field("usage", after)
                )));
            }
        }
        Wire::Responses => {
            let response = |kind: &str,
                            status: &str,
                            words: Option<&str>,
                            usage: Option<&str>,
                            inside: &str| {
                let object =
                    responses(status, words, &(inside.to_owned() + &field("usage", usage)));
                event(
                    kind,
                    format!("{{\"type\":\"{kind}\",\"response\":{object}}}"),
                )
            };
            pieces.push(response("response.created", "in_progress", None, early, ""));
            for word in words {
                pieces.push(event("response.output_text.delta", format!("{{\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"{word}\"}}")));
            }
            if well {
                pieces.push(response(
                    "response.completed",
                    "completed",
                    Some(&words.concat()),
                    told,
                    &inside,
                ));
            }
            if failed {
                pieces.push(event(
                    "error",
                    "{\"type\":\"error\",\"code\":\"server_error\",\"message\":\"boom\"}"
                        .to_owned(),
                ));
            }
            if after.is_some() {
                pieces.push(response(
                    "response.in_progress",
                    "in_progress",
                    None,
                    after,
                    "",
                ));
            }
        }
        Wire::Anthropic => {
            let usage = field("usage", early);
            pieces.push(event("message_start", format!("{{\"type\":\"message_start\",\"message\":{{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[]{usage}}}}}")));
            pieces.push(event("content_block_start", "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}".to_owned()));
            for word in words {
                pieces.push(event("content_block_delta", format!("{{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{word}\"{inside}}}}}")));
            }
            if well {
                pieces.push(event(
                    "content_block_stop",
                    "{\"type\":\"content_block_stop\",\"index\":0}".to_owned(),
                ));
                pieces.push(event("message_delta", format!("{{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\"}}{}}}", field("usage", told))));
                pieces.push(event(
                    "message_stop",
                    "{\"type\":\"message_stop\"}".to_owned(),
                ));
            }
            if failed {
                pieces.push(event(
                    "error",
                    "{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"boom\"}}"
                        .to_owned(),
                ));
            }
            if after.is_some() {
                pieces.push(event(
                    "message_delta",
                    format!(
                        "{{\"type\":\"message_delta\",\"delta\":{{}}{}}}",
                        field("usage", after)
                    ),
                ));
            }
        }
        Wire::Gemini => {
            let chunk = |word: &str, more: String| {
                data(format!(
                    "{{\"candidates\":[{{\"content\":{{\"role\":\"model\",\"parts\":[{{\"text\":\"{word}\"}}]}}{more}}}"
                ))
            };
            for (i, word) in words.iter().enumerate() {
                pieces.push(chunk(
                    word,
                    format!(
                        "{inside}}}]{}",
                        field("usageMetadata", early.filter(|_| i == 0))
                    ),
                ));
            }
            if well {
                pieces.push(chunk(
                    "",
                    format!(
                        ",\"finishReason\":\"STOP\"}}]{}",
                        field("usageMetadata", told)
                    ),
                ));
            }
            if failed {
                pieces.push(data(
                    "{\"error\":{\"code\":500,\"message\":\"boom\",\"status\":\"INTERNAL\"}}"
                        .to_owned(),
                ));
            }
            if let Some(after) = after {
                pieces.push(data(format!("{{\"usageMetadata\":{after}}}")));
            }
        }
        Wire::Ollama => {
            for (i, word) in words.iter().enumerate() {
                pieces.push(ollama(word, false, early.filter(|_| i == 0), &inside) + "\n");
            }
            if well {
                pieces.push(ollama("", true, told, "") + "\n");
            }
            if failed {
                pieces.push("{\"error\":\"boom\"}\n".to_owned());
            }
            if let Some(after) = after {
                pieces.push(ollama("", false, Some(after), "") + "\n");
            }
        }
        Wire::Cohere => {
            let usage = field("usage", early);
            pieces.push(event("message-start", format!("{{\"type\":\"message-start\",\"id\":\"c\",\"delta\":{{\"message\":{{\"role\":\"assistant\"}}{usage}}}}}")));
            for word in words {
                pieces.push(event("content-delta", format!("{{\"type\":\"content-delta\",\"index\":0,\"delta\":{{\"message\":{{\"content\":{{\"text\":\"{word}\"}}{inside}}}}}}}")));
            }
            if well {
                pieces.push(event("message-end", format!("{{\"type\":\"message-end\",\"delta\":{{\"finish_reason\":\"COMPLETE\"{}}}}}", field("usage", told))));
            }
            if failed {
                pieces.push(event("message-end", "{\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"ERROR\",\"error\":\"boom\"}}".to_owned()));
            }
            if let Some(after) = after {
                pieces.push(event(
                    "message-end",
                    format!("{{\"type\":\"message-end\",\"delta\":{{\"usage\":{after}}}}}"),
                ));
            }
        }
    }
    let head = match wire {
        Wire::Ollama => Step::Send(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        ),
        _ => stream_head(),
    };
    let end = match lie.ends {
        Cut => Step::Close,
        Well | WithError => end(),
    };
    let pieces = pieces.iter().map(|p| piece(p));
    std::iter::once(head).chain(pieces).chain([end]).collect()
}

/// Where a client of this wire asks, and what.
fn asked(client: Wire, model: &str, streamed: bool, prompt: &str) -> (String, String) {
    let turns = format!("[{{\"role\":\"user\",\"content\":\"{prompt}\"}}]");
    let (path, body) = match client {
        Wire::Chat => (
            "/v1/chat/completions",
            format!("\"max_tokens\":{LIMIT},\"messages\":{turns}"),
        ),
        Wire::Responses => (
            "/v1/responses",
            format!("\"max_output_tokens\":{LIMIT},\"input\":{turns}"),
        ),
        Wire::Anthropic => (
            "/v1/messages",
            format!("\"max_tokens\":{LIMIT},\"messages\":{turns}"),
        ),
        Wire::Ollama => (
            "/api/chat",
            format!("\"options\":{{\"num_predict\":{LIMIT}}},\"messages\":{turns}"),
        ),
        Wire::Cohere => (
            "/v2/chat",
            format!("\"max_tokens\":{LIMIT},\"messages\":{turns}"),
        ),
        Wire::Gemini => {
            let call = match streamed {
                true => "streamGenerateContent?alt=sse",
                false => "generateContent",
            };
            return (
                format!("/v1beta/models/{model}:{call}"),
                format!(
                    "{{\"generationConfig\":{{\"maxOutputTokens\":{LIMIT}}},\"contents\":[{{\"role\":\"user\",\"parts\":[{{\"text\":\"{prompt}\"}}]}}]}}"
                ),
            );
        }
    };
    (
        path.to_owned(),
        format!("{{\"model\":\"{model}\",\"stream\":{streamed},{body}}}"),
    )
}

/// A client of one wire, and what it speaks to, which has a provider and two models of its own.
struct Pair {
    client: Wire,
    wire: Wire,
    upstream: Upstream,
    name: String,
}

impl Pair {
    async fn start(n: usize, client: Wire, wire: Wire) -> Pair {
        Pair {
            client,
            wire,
            upstream: Upstream::start(answer(500, "{}")).await,
            name: format!("up{n}"),
        }
    }

    fn model(&self, thinks: bool) -> String {
        let how = if thinks { "deep" } else { "plain" };
        format!("{}-{how}", self.name)
    }

    fn config(&self) -> String {
        let (name, kind, url) = (&self.name, self.wire.kind(), self.upstream.url());
        let mut config =
            format!("[[provider]]\nname = \"{name}\"\nkind = \"{kind}\"\nbase_url = \"{url}\"\n");
        if kind == "openai" {
            config += "service_tiers = [\"standard\"]\n";
        }
        for (thinks, efforts) in [(false, "[]"), (true, "[\"low\", \"high\"]")] {
            let model = self.model(thinks);
            let _ = write!(
                config,
                "[[model]]\nname = \"{model}\"\nprovider = \"{name}\"\ntier = \"small\"\nefforts = {efforts}\ncontext_tokens = 100000\nanswer_tokens_max = 4000\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n"
            );
        }
        config
    }

    /// Tells every lie, streamed and whole, to a model that thinks and to one that does not, under a cap and without one. Without a cap
    /// nothing hangs on whether the model thinks.
    async fn lies(&self, at: SocketAddr, prompt: &str, words: &[&str]) -> Vec<Called> {
        let spoken = tokens::count(&words.concat());
        let mut calls = Vec::new();
        for (lie, streamed) in LIES
            .iter()
            .chain(LATE)
            .flat_map(|l| [(l, false), (l, true)])
        {
            if !is_told(self.wire, lie, streamed) {
                continue;
            }
            for (thinks, key) in [(false, "free"), (false, "capped"), (true, "capped")] {
                let real = Real {
                    input: tokens::count(prompt),
                    words: spoken,
                    hidden: if thinks { LIMIT - spoken } else { 0 },
                };
                self.upstream.only(match streamed {
                    true => stream(self.wire, words, lie, real),
                    false => answer(200, &whole(self.wire, &words.concat(), lie, real)),
                });
                let (path, body) = asked(self.client, &self.model(thinks), streamed, prompt);
                let secret = format!("Bearer fb_{key}");
                let got = post(at, &path, &[("authorization", &secret)], &body).await;
                let late = LATE.iter().any(|l| l.name == lie.name);
                calls.push(Called {
                    told: format!(
                        "{:?} to {:?}, {}, streamed {streamed}, thinks {thinks}, {key}",
                        self.client, self.wire, lie.name
                    ),
                    got,
                    real,
                    words: spoken,
                    capped: key == "capped",
                    truth: (!late).then_some(lie.true_),
                });
            }
        }
        calls
    }
}

/// Whether a lie changes anything in this wire.
fn is_told(wire: Wire, lie: &Lie, streamed: bool) -> bool {
    let in_middle = !matches!(lie.early, Nothing) || !matches!(lie.after, Nothing);
    if !streamed && (in_middle || lie.ends != Well) {
        return false;
    }
    let changes = |say: Say| match say {
        But([]) => true,
        But(but) => {
            but.iter().any(|(figure, value)| {
                // What is merely left out contradicts nothing.
                *value != "none" && wire.name(*figure).is_some()
            }) || but
                .iter()
                .any(|(figure, value)| *value == "none" && matches!(figure, Input | Output))
        }
        Nothing | Raw(_) | Foreign | Elsewhere => true,
    };
    changes(lie.early) && changes(lie.last) && changes(lie.after)
}

/// One call and what is known of it.
struct Called {
    told: String,
    got: Answer,
    real: Real,
    words: u64,
    capped: bool,
    /// What the row has to say.
    truth: Option<bool>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_provider_says_of_its_usage_no_bill_is_above_the_books_of_a_cap_and_no_lie_is_reported()
 {
    let same = Wire::ALL.map(|wire| (wire, wire)).into_iter();
    let translated = [(Wire::Chat, Wire::Anthropic), (Wire::Anthropic, Wire::Chat)];
    let pairs = (0..).zip(same.chain(translated));
    let pairs = join_all(pairs.map(|(n, (client, wire))| Pair::start(n, client, wire))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "capped", Some("1000"), |_| {});
    make_key(&dir, "free", None, |_| {});
    let config: String = pairs.iter().map(Pair::config).collect();
    let flyball = Flyball::start_in(dir, &config).await;
    let prompt = "pay ".repeat(3_000);
    let text: Vec<String> = (0..30)
        .map(|n| format!("The answer to part {n} is as plain as the others were, and so on. "))
        .collect();
    let words: Vec<&str> = text.iter().map(String::as_str).collect();
    let calls = pairs
        .iter()
        .map(|pair| pair.lies(flyball.at(), &prompt, &words));
    let calls: Vec<Called> = join_all(calls).await.into_iter().flatten().collect();
    let rows = flyball.rows().await;
    let by_request: HashMap<&str, &Value> = rows
        .iter()
        .filter_map(|row| Some((row["request"].as_str()?, row)))
        .collect();
    assert_eq!((rows.len(), by_request.len()), (calls.len(), calls.len()));
    let faults: Vec<String> = calls
        .iter()
        .filter_map(|call| {
            let id = call.got.header("x-flyball-request-id");
            let row = by_request.get(id?)?;
            let why = fault(call, row)?;
            Some(format!("{}: {why}: {row}", call.told))
        })
        .collect();
    println!("{} calls, {} faults", calls.len(), faults.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let billed: u64 = calls
        .iter()
        .filter(|c| c.capped)
        .map(|c| c.real.bill())
        .sum();
    let booked = spent(flyball.books().as_mut(), 1);
    assert!(
        billed <= booked && booked <= 1_000_000_000_000_000,
        "{billed} {booked}"
    );
    flyball.books_are_right().await;
}

/// What is wrong in the books, if anything is.
fn fault(call: &Called, row: &Value) -> Option<String> {
    if call.got.status != 200 {
        return Some(format!("refused: {}", call.got.body));
    }
    let cost = row["cost_pico_usd"].as_u64()?;
    let bound = row["bound_pico_usd"].as_u64()?;
    let bill = match call.capped {
        true => call.real.bill(),
        // Without a cap no more than what can be seen has to be booked.
        false => call.real.input * INPUT + call.words * OUTPUT,
    };
    let reported = row["basis"] == "reported";
    let exact = (
        row["tokens"]["input"].as_u64(),
        row["tokens"]["output"].as_u64(),
    );
    // Without a cap a figure that is only too small is the provider's own affair: it costs nobody a cap, and is not worth a count.
    let told_both = exact.0 > Some(0) && exact.1 > Some(0);
    if !call.capped && reported && told_both && cost < bill {
        return None;
    }
    if cost < bill {
        return Some(format!("booked {cost}, billed {bill}"));
    }
    if call.capped && cost > bound {
        return Some(format!("booked {cost} above the bound {bound}"));
    }
    match call.truth {
        Some(true) if !reported => Some("the truth was not believed".to_owned()),
        Some(true) if exact != (Some(call.real.input), Some(call.real.output())) => {
            Some("the truth was changed".to_owned())
        }
        Some(false) if reported => Some("a lie was believed".to_owned()),
        _ => None,
    }
}
