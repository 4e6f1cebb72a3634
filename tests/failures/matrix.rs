//! The matrix of faults: every dialect of a provider, every way in which it can fail, whole answers and streams, under a cap and without one. The
//! provider counts what it is asked, and the table in docs/failures.md says the same.

use super::KEY;
use crate::client::{Answer, post};
use crate::flyball::{Flyball, make_key};
use crate::scripted::{Nobody, Step, Upstream, end, piece, stream_head};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One dialect, as a client and a provider of it speak.
struct Wire {
    name: &'static str,
    kind: &'static str,
    path: fn(bool) -> String,
    body: fn(bool) -> Value,
    whole: &'static str,
    /// The frames of a stream: those up to the first word, and the rest.
    begins: &'static [&'static str],
    ends: &'static [&'static str],
    /// The first event of a stream that says that the provider has no room.
    busy: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

fn chat_body(stream: bool) -> Value {
    json!({"model": "m", "max_tokens": 50, "stream": stream, "messages": [{"role": "user", "content": "Tell me about towns."}]})
}

const WIRES: [Wire; 5] = [
    Wire {
        name: "openai_chat",
        kind: "openai-compatible",
        path: |_| "/v1/chat/completions".into(),
        body: chat_body,
        whole: r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#,
        begins: &[
            "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi there\"},\"finish_reason\":null}]}\n\n",
        ],
        ends: &[
            "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}\n\n",
            "data: [DONE]\n\n",
        ],
        busy: "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"overloaded_error\",\"code\":\"overloaded\"}}\n\n",
        headers: &[],
    },
    Wire {
        name: "openai_responses",
        kind: "openai",
        path: |_| "/v1/responses".into(),
        body: |stream| json!({"model": "m", "max_output_tokens": 50, "store": false, "stream": stream, "input": "Tell me about towns."}),
        whole: r#"{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"m","output":[{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"hi there","annotations":[]}]}],"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":0},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":15}}"#,
        begins: &[
            "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"in_progress\",\"model\":\"m\",\"output\":[]}}\n\n",
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\"hi there\"}\n\n",
        ],
        ends: &[
            "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":2,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"completed\",\"model\":\"m\",\"output\":[{\"type\":\"message\",\"id\":\"msg_1\",\"status\":\"completed\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"hi there\",\"annotations\":[]}]}],\"usage\":{\"input_tokens\":10,\"output_tokens\":5,\"total_tokens\":15}}}\n\n",
        ],
        busy: "event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,\"code\":\"server_is_overloaded\",\"message\":\"overloaded\",\"param\":null}\n\n",
        headers: &[],
    },
    Wire {
        name: "anthropic_messages",
        kind: "anthropic",
        path: |_| "/v1/messages".into(),
        body: chat_body,
        whole: r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hi there"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":5}}"#,
        begins: &[
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi there\"}}\n\n",
        ],
        ends: &[
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":5}}\n\n",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ],
        busy: "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
        headers: &[("anthropic-version", "2023-06-01")],
    },
    Wire {
        name: "gemini",
        kind: "gemini",
        path: |stream| match stream {
            true => "/v1beta/models/m:streamGenerateContent?alt=sse".into(),
            false => "/v1beta/models/m:generateContent".into(),
        },
        body: |_| json!({"contents": [{"role": "user", "parts": [{"text": "Tell me about towns."}]}], "generationConfig": {"maxOutputTokens": 50}}),
        whole: r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hi there"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15}}"#,
        begins: &[
            "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"hi there\"}]},\"index\":0}]}\n\n",
        ],
        ends: &[
            "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"\"}]},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":10,\"candidatesTokenCount\":5,\"totalTokenCount\":15}}\n\n",
        ],
        busy: "data: {\"error\":{\"code\":503,\"message\":\"The model is overloaded.\",\"status\":\"UNAVAILABLE\"}}\n\n",
        headers: &[],
    },
    Wire {
        name: "cohere_chat",
        kind: "cohere",
        path: |_| "/v2/chat".into(),
        body: chat_body,
        whole: r#"{"id":"c","finish_reason":"COMPLETE","message":{"role":"assistant","content":[{"type":"text","text":"hi there"}]},"usage":{"billed_units":{"input_tokens":10,"output_tokens":5},"tokens":{"input_tokens":10,"output_tokens":5}}}"#,
        begins: &[
            "event: message-start\ndata: {\"id\":\"c\",\"type\":\"message-start\",\"delta\":{\"message\":{\"role\":\"assistant\",\"content\":[]}}}\n\n",
            "event: content-start\ndata: {\"type\":\"content-start\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"type\":\"text\",\"text\":\"\"}}}}\n\n",
            "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"hi there\"}}}}\n\n",
        ],
        ends: &[
            "event: content-end\ndata: {\"type\":\"content-end\",\"index\":0}\n\n",
            "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"billed_units\":{\"input_tokens\":10,\"output_tokens\":5},\"tokens\":{\"input_tokens\":10,\"output_tokens\":5}}}}\n\n",
        ],
        busy: "",
        headers: &[],
    },
];

const REFUSALS: &str = r#"{"error":{"message":"no room","type":"overloaded_error","code":503,"status":"UNAVAILABLE"},"type":"error","message":"no room","id":"e"}"#;

/// Ten tokens in and five out, at 1 and 10 dollars a million.
const COST: u64 = 10 * 1_000_000 + 5 * 10_000_000;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Refused,
    Reset,
    Status(u16, Option<u32>),
    Stall,
    FirstEvent,
    Cut,
}

impl Fault {
    const ALL: [Fault; 9] = [
        Fault::Refused,
        Fault::Reset,
        Fault::Status(429, None),
        Fault::Status(429, Some(30)),
        Fault::Status(500, None),
        Fault::Status(529, None),
        Fault::Stall,
        Fault::FirstEvent,
        Fault::Cut,
    ];

    fn name(self) -> String {
        match self {
            Fault::Refused => "refused".into(),
            Fault::Reset => "reset before an answer".into(),
            Fault::Status(status, None) => status.to_string(),
            Fault::Status(status, Some(_)) => format!("{status} with `retry-after`"),
            Fault::Stall => "no byte in time".into(),
            Fault::FirstEvent => "first event is an error: no room".into(),
            Fault::Cut => "cut in the answer".into(),
        }
    }

    fn steps(self, wire: &Wire, stream: bool) -> Vec<Step> {
        match self {
            Fault::Refused => Vec::new(),
            Fault::Reset => vec![Step::Reset],
            Fault::Status(status, after) => {
                let after = after.map_or(String::new(), |s| format!("retry-after: {s}\r\n"));
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{after}content-length: {}\r\n\r\n",
                    REFUSALS.len()
                );
                vec![Step::Send(format!("{head}{REFUSALS}").into_bytes())]
            }
            Fault::Stall => vec![Step::Stall],
            Fault::FirstEvent => vec![stream_head(), piece(wire.busy), end()],
            Fault::Cut if stream => {
                let mut steps = vec![stream_head()];
                steps.extend(wire.begins.iter().map(|event| piece(event)));
                steps.extend([Step::Gate, Step::Reset]);
                steps
            }
            Fault::Cut => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    wire.whole.len()
                );
                let half = &wire.whole[..wire.whole.len() / 2];
                vec![
                    Step::Send(format!("{head}{half}").into_bytes()),
                    Step::Gate,
                    Step::Reset,
                ]
            }
        }
    }

    /// Nothing of it can have been billed, so that another credential may be asked.
    fn moves(self) -> bool {
        !matches!(
            self,
            Fault::Reset | Fault::Status(500, _) | Fault::Stall | Fault::Cut
        )
    }
}

fn good(wire: &Wire, stream: bool) -> Vec<Step> {
    if !stream {
        return crate::scripted::answer(200, wire.whole);
    }
    let events = wire.begins.iter().chain(wire.ends);
    std::iter::once(stream_head())
        .chain(events.map(|event| piece(event)))
        .chain([end()])
        .collect()
}

/// One model of a provider with two deployments, each with its own key.
async fn started(wire: &Wire, (bad, up): (&str, &str), (fault, capped): (Fault, bool)) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    if capped {
        make_key(&dir, "app", Some("5"), |_| {});
    }
    let place = |name: &str, url: &str, weight: u32| {
        format!(
            "[[provider.deployment]]\nname = \"{name}\"\nbase_url = \"{url}\"\napi_key = \"file:key\"\nweight = {weight}\n"
        )
    };
    let limits = match fault {
        Fault::Stall => "[limits]\nfirst_byte = \"400ms\"\ntotal = \"400ms\"\n",
        _ => "",
    };
    // Of a thousand conversations one begins at the second one, and none of these does.
    let toml = format!(
        "{limits}[[provider]]\nname = \"up\"\nkind = \"{}\"\nhttp2 = \"never\"\n{}{}[[model]]\nname = \"m\"\nprovider = \"up\"\ntier = \"small\"\nefforts = []\ncontext_tokens = 100000\nanswer_tokens_max = 4000\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n",
        wire.kind,
        place("one", bad, 1_000),
        place("two", up, 1),
    );
    Flyball::start_in(dir, &toml).await
}

async fn ask(flyball: &Flyball, wire: &Wire, (stream, capped): (bool, bool)) -> Answer {
    let mut headers = wire.headers.to_vec();
    if capped {
        headers.push(KEY);
    }
    let body = (wire.body)(stream).to_string();
    post(flyball.at(), &(wire.path)(stream), &headers, &body).await
}

/// What was seen of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    client: String,
    calls: usize,
    first: String,
}

async fn run(wire: &Wire, fault: Fault, (stream, capped): (bool, bool)) -> Outcome {
    let what = format!("{} {fault:?} stream {stream} capped {capped}", wire.name);
    // Both addresses are one provider's: the one that is asked first has the fault, and the other one is well.
    let up = Upstream::start(good(wire, stream)).await;
    let nobody = Nobody::new();
    let bad = match fault {
        Fault::Refused => nobody.url(),
        _ => up.url(),
    };
    let flyball = started(wire, (&bad, &up.url()), (fault, capped)).await;
    if fault != Fault::Refused {
        up.next(fault.steps(wire, stream));
    }
    let call = ask(&flyball, wire, (stream, capped));
    let gate = async {
        if fault == Fault::Cut {
            up.reached(1).await;
            up.open_gate();
        }
    };
    let (got, ()) = tokio::join!(call, gate);
    let rows = flyball.rows().await;
    let first = &rows[0];
    let booked = first["cost_pico_usd"].as_u64().expect("a cost");
    let basis = first["basis"].as_str().unwrap_or_default();
    let told = first["outcome"].as_str().unwrap_or_default().to_owned();
    if fault.moves() {
        assert_eq!(booked, 0, "{what}: {rows:?}");
        assert_eq!(rows.len(), 2, "{what}: {rows:?}");
        assert_eq!(rows[1]["cost_pico_usd"], COST, "{what}: {rows:?}");
        assert_eq!(rows[1]["outcome"], "ok", "{what}");
    }
    if !fault.moves() {
        assert_eq!(rows.len(), 1, "{what}: {rows:?}");
        assert!(booked > 0, "{what}: it may have been billed: {rows:?}");
    }
    assert_eq!(
        got.header("x-should-retry"),
        (!fault.moves() && got.status != 200 && (capped || !matches!(fault, Fault::Status(..))))
            .then_some("false"),
        "{what}"
    );
    // The cap holds what the rows say, to the pico-dollar.
    if capped {
        let sum: i128 = rows
            .iter()
            .map(|row| i128::from(row["cost_pico_usd"].as_i64().expect("a cost")))
            .sum();
        let standings = flyball.running.state.ledger.standings();
        let posted = standings.iter().map(|s| s.posted).max();
        assert_eq!(posted, Some(sum), "{what}: {rows:?}");
    }
    flyball.books_are_right().await;
    let seen = got.body.contains("hi there");
    let error = got.body.contains("error");
    Outcome {
        client: match (got.status, got.is_cut()) {
            (200, false) if seen && !error => "the answer".into(),
            (200, _) => "what there was, then an error".into(),
            (status, _) => status.to_string(),
        },
        calls: up.count(),
        first: format!("{told}, {}", if booked == 0 { "0" } else { basis }),
    }
}

#[tokio::test]
async fn every_fault_of_every_dialect_ends_as_the_table_says() {
    let mut table: BTreeMap<String, Vec<(String, Outcome)>> = BTreeMap::new();
    for wire in &WIRES {
        for (n, fault) in Fault::ALL.into_iter().enumerate() {
            for stream in [false, true] {
                let nothing = fault == Fault::FirstEvent && (!stream || wire.busy.is_empty());
                if nothing {
                    continue;
                }
                for capped in [false, true] {
                    let seen = run(wire, fault, (stream, capped)).await;
                    // Who is refused is not heard by the provider.
                    let heard = fault.moves() && fault != Fault::Refused;
                    let calls = 1 + usize::from(heard);
                    assert_eq!(seen.calls, calls, "{} {fault:?}: {seen:?}", wire.name);
                    let key = format!("{n} {}", fault.name());
                    let column = match (stream, capped) {
                        (false, false) => "whole",
                        (false, true) => "whole, capped",
                        (true, false) => "stream",
                        (true, true) => "stream, capped",
                    };
                    table
                        .entry(key)
                        .or_default()
                        .push((format!("{column} ({})", wire.name), seen));
                }
            }
        }
    }
    let mut lines = Vec::new();
    for (fault, all) in &table {
        let of = |stream: bool| {
            let mut seen: Vec<String> = all
                .iter()
                .filter(|(column, _)| column.starts_with("stream") == stream)
                .map(|(_, outcome)| outcome.client.clone())
                .collect();
            seen.sort();
            seen.dedup();
            match seen.is_empty() {
                true => "–".to_owned(),
                false => seen.join(" or "),
            }
        };
        let mut firsts: Vec<&str> = all.iter().map(|(_, o)| o.first.as_str()).collect();
        firsts.sort_unstable();
        firsts.dedup();
        let name = fault.split_once(' ').map_or("", |(_, name)| name);
        let calls = all.iter().map(|(_, o)| o.calls).max().unwrap_or_default();
        lines.push(format!(
            "| {name} | {} | {} | {calls} | {} |",
            of(false),
            of(true),
            firsts.join("; ")
        ));
    }
    let docs = include_str!("../../docs/failures.md");
    for line in &lines {
        assert!(
            docs.contains(line),
            "docs/failures.md lacks this row of the matrix:\n{}",
            lines.join("\n")
        );
    }
}

/// An outage of a minute, by the breaker's own clock: ten requests a second.
async fn outage(toml: &str, big: &Upstream, fault: &[Step]) -> (usize, f64) {
    const RATE: usize = 10;
    big.always(fault.to_vec());
    let flyball = Flyball::start(toml).await;
    let body = super::puzzle(false);
    let before = big.count();
    for _ in 0..60 {
        for _ in 0..RATE {
            flyball.chat(&[], &body).await;
        }
        let health = &flyball.running.state.channels.health;
        health.pretend_to_wait(std::time::Duration::from_secs(1));
    }
    let calls = big.count() - before;
    big.always(super::good(false));
    let mut waited = 0.0;
    loop {
        let got = flyball.chat(&[], &body).await;
        if got.status == 200 && got.header("x-flyball-model") == Some("m-big") {
            break;
        }
        assert!(waited < 10.0, "it never comes back: {}", got.body);
        let health = &flyball.running.state.channels.health;
        health.pretend_to_wait(std::time::Duration::from_millis(500));
        waited += 0.5;
    }
    (calls, waited)
}

#[tokio::test]
async fn a_minute_of_outage_is_not_multiplied_and_is_over_five_seconds_after_its_end() {
    let offered = 600;
    for (name, fault) in [
        ("503 in its own words", super::said(503, "")),
        ("429", super::said(429, "")),
        ("500", super::said(500, "")),
        ("reset", vec![Step::Reset]),
    ] {
        for alone in [false, true] {
            let big = Upstream::start(super::good(false)).await;
            let small = Upstream::start(super::good(false)).await;
            let models = crate::flyball::compatible(&small);
            let (provider, rest) = models.split_once("[[model]]").expect("models");
            let (_, dear) = rest.rsplit_once("[[model]]").expect("two models");
            let place = |name: &str| {
                format!(
                    "[[provider.deployment]]\nname = \"{name}\"\nbase_url = \"{}\"\n",
                    big.url()
                )
            };
            let dear = format!(
                "[[provider]]\nname = \"dear\"\nkind = \"openai-compatible\"\n{}{}[[model]]{}",
                place("one"),
                place("two"),
                dear.replace("provider = \"up\"", "provider = \"dear\"")
            );
            let toml = match alone {
                true => dear,
                false => {
                    let (small, _) = rest.rsplit_once("[[model]]").expect("two models");
                    format!("{provider}[[model]]{small}{dear}")
                }
            };
            let (calls, seconds) = outage(&toml, &big, &fault).await;
            let what = format!("{name}, alone {alone}: {calls} calls, back after {seconds} s");
            println!("{what}");
            assert!(calls * 10 <= offered * 12, "{what}");
            assert!(seconds <= 5.0, "{what}");
            if !alone {
                assert!(calls * 4 < offered, "others answer meanwhile: {what}");
            }
        }
    }
}
