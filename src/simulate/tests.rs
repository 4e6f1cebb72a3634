//! The simulated models over a real socket, as the proxy meets them.

use super::serve::{Shared, exchange};
use super::{Settings, SimServed, Simulated, start};
use crate::until::{until, within};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::Instant;

const ASK: &str = r#""messages":[{"role":"user","content":"Write a story about a governor"}]"#;

pub(super) struct Got {
    status: u16,
    head: String,
    pub(super) body: String,
}

impl Got {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }

    /// The JSON of every `data:` line except `[DONE]`.
    pub(super) fn events(&self) -> Vec<Value> {
        self.body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).expect(data))
            .collect()
    }
}

async fn models(speed: f64) -> Simulated {
    start(Settings { seed: 1, speed }).await.expect("a port")
}

async fn open(to: SocketAddr, method: &str, path: &str, more: &str, body: &str) -> TcpStream {
    let mut socket = connect(to).await;
    // A server that refuses a body early may close before all of it was written.
    let asked = asked(method, path, more, body);
    let _ = within("it reads", socket.write_all(asked.as_bytes())).await;
    socket
}

async fn connect(to: SocketAddr) -> TcpStream {
    let connected = within("it listens", TcpStream::connect(to)).await;
    connected.expect("it listens")
}

fn asked(method: &str, path: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: sim\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// One connection in memory. Nothing comes from the system there, so a clock that is paused and goes on only where everybody
/// waits for it measures exactly.
fn wired(shared: &Arc<Shared>) -> DuplexStream {
    let shared = Arc::clone(shared);
    let (near, far) = tokio::io::duplex(64 * 1024);
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(exchange(shared, request).await) }
    });
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(far), service));
    near
}

async fn send(to: SocketAddr, method: &str, path: &str, more: &str, body: &str) -> Got {
    let mut socket = open(to, method, path, more, body).await;
    let mut all = Vec::new();
    let read = within("a whole answer", socket.read_to_end(&mut all)).await;
    read.expect("a whole answer");
    got(all)
}

/// The answer to a request that is posted over one connection in memory.
pub(super) async fn posted(shared: &Arc<Shared>, path: &str, body: &str) -> Got {
    let (mut wire, mut all) = (wired(shared), Vec::new());
    let asked = asked("POST", path, "", body);
    let sent = within("it reads", wire.write_all(asked.as_bytes())).await;
    sent.expect("it reads");
    let read = within("a whole answer", wire.read_to_end(&mut all)).await;
    read.expect("a whole answer");
    got(all)
}

fn got(all: Vec<u8>) -> Got {
    let all = String::from_utf8(all).expect("UTF-8");
    let (head, body) = all.split_once("\r\n\r\n").expect("a head");
    let head = head.to_lowercase();
    let body = if head.contains("transfer-encoding: chunked") {
        dechunked(body)
    } else {
        body.to_owned()
    };
    let status = head[9..12].parse().expect("a status");
    Got { status, head, body }
}

fn dechunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    body
}

async fn openai(to: SocketAddr, fields: &str) -> Got {
    let body = format!("{{{fields},{ASK}}}");
    send(to, "POST", "/v1/chat/completions", "", &body).await
}

async fn anthropic(to: SocketAddr, fields: &str) -> Got {
    let body = format!("{{{fields},{ASK}}}");
    send(to, "POST", "/v1/messages", "", &body).await
}

#[tokio::test]
async fn openai_json_and_stream_say_the_same() {
    let sim = models(1e6).await;
    let fields = r#""model":"sim-reasoning","n":2"#;
    let whole = openai(sim.address, fields).await;
    let asked = format!(r#"{fields},"stream":true,"stream_options":{{"include_usage":true}}"#);
    let stream = openai(sim.address, &asked).await;
    assert!(whole.head.contains("x-flyball-simulated: 1"));
    assert!(stream.head.contains("content-type: text/event-stream"));
    assert!(stream.body.ends_with("data: [DONE]\n\n"));
    let (whole, events) = (whole.json(), stream.events());
    for choice in 0..2_usize {
        let said = whole["choices"][choice]["message"]["content"].as_str();
        let said = said.expect("a text");
        assert!(said.starts_with("[simulated] "));
        let heard: String = events
            .iter()
            .filter_map(|e| e["choices"].get(0))
            .filter(|c| c["index"] == choice)
            .filter_map(|c| c["delta"]["content"].as_str())
            .collect();
        assert_eq!(heard, said);
    }
    let (last, others) = events.split_last().expect("events");
    assert_eq!(last["choices"], serde_json::json!([]));
    assert_eq!(last["usage"], whole["usage"]);
    assert!(
        others
            .iter()
            .all(|e| e["usage"].is_null() && e.get("usage").is_some())
    );
    let usage = &whole["usage"];
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).expect(path);
    assert_eq!(
        count("/total_tokens"),
        count("/prompt_tokens") + count("/completion_tokens")
    );
    assert!(count("/completion_tokens_details/reasoning_tokens") > 0);
}

#[tokio::test]
async fn a_stream_that_did_not_ask_for_usage_gets_none() {
    let sim = models(1e6).await;
    let got = openai(sim.address, r#""model":"sim-small","stream":true"#).await;
    assert!(got.events().iter().all(|e| e.get("usage").is_none()));
    let last = &got.events()[got.events().len() - 1];
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn anthropic_json_and_stream_say_the_same() {
    let sim = models(1e6).await;
    let fields = r#""model":"sim-standard","max_tokens":9000,"thinking":{"type":"adaptive"},"output_config":{"effort":"low"}"#;
    let whole = anthropic(sim.address, fields).await.json();
    let stream = anthropic(sim.address, &format!(r#"{fields},"stream":true"#)).await;
    let events = stream.events();
    let kinds: Vec<&str> = events.iter().filter_map(|e| e["type"].as_str()).collect();
    assert_eq!(kinds.first(), Some(&"message_start"));
    assert_eq!(kinds[kinds.len() - 2..], ["message_delta", "message_stop"]);
    assert!(!stream.body.contains("[DONE]"));
    for (index, kind) in [(0_usize, "thinking"), (1, "text")] {
        let said = whole["content"][index][kind].as_str().expect(kind);
        assert!(said.starts_with("[simulated] "), "{said}");
        let heard: String = events
            .iter()
            .filter(|e| e["index"] == index)
            .filter_map(|e| e["delta"][kind].as_str())
            .collect();
        assert_eq!(heard, said);
    }
    let signed = events.iter().find_map(|e| e["delta"]["signature"].as_str());
    assert_eq!(signed, whole["content"][0]["signature"].as_str());
    let delta = &events[events.len() - 2];
    assert_eq!(delta["delta"]["stop_reason"], whole["stop_reason"]);
    for field in ["input_tokens", "output_tokens", "output_tokens_details"] {
        assert_eq!(delta["usage"][field], whole["usage"][field], "{field}");
    }
    let provisional = &events[0]["message"]["usage"];
    assert_eq!(provisional["input_tokens"], whole["usage"]["input_tokens"]);
    assert_eq!(provisional["output_tokens"], 1);
}

#[tokio::test]
async fn a_limit_holds_hidden_reasoning_too() {
    let sim = models(1e6).await;
    for (limit, finish, spoken) in [(50, "length", false), (100_000, "stop", true)] {
        let fields = format!(r#""model":"sim-reasoning","max_completion_tokens":{limit}"#);
        let got = openai(sim.address, &fields).await.json();
        let used = got["usage"]["completion_tokens"].as_u64();
        assert!(used.expect("a count") <= limit);
        assert_eq!(got["choices"][0]["finish_reason"], finish);
        let text = got["choices"][0]["message"]["content"].as_str();
        assert_eq!(!text.expect("a text").is_empty(), spoken);
    }
    let got = anthropic(sim.address, r#""model":"sim-small","max_tokens":7"#).await;
    assert_eq!(got.json()["usage"]["output_tokens"], 7);
    assert_eq!(got.json()["stop_reason"], "max_tokens");
    let warm = anthropic(sim.address, r#""model":"sim-small","max_tokens":0"#).await;
    assert_eq!(warm.json()["content"], serde_json::json!([]));
}

#[tokio::test]
async fn a_refusal_is_worded_in_the_dialect_of_its_path() {
    let sim = models(1e6).await;
    let chat = "/v1/chat/completions";
    for (method, path, more, body, status, at, value) in [
        (
            "POST",
            chat,
            "",
            r#"{"model":"gpt-9"}"#,
            404,
            "/error/code",
            "model_not_found",
        ),
        (
            "POST",
            chat,
            "",
            "{",
            400,
            "/error/type",
            "invalid_request_error",
        ),
        (
            "GET",
            chat,
            "",
            "",
            405,
            "/error/type",
            "invalid_request_error",
        ),
        (
            "POST",
            "/v1/messages",
            "",
            r#"{"model":"x"}"#,
            404,
            "/error/type",
            "not_found_error",
        ),
        (
            "POST",
            "/v1/messages",
            "",
            "{",
            400,
            "/error/type",
            "invalid_request_error",
        ),
        (
            "GET",
            "/v1/models/x",
            "anthropic-version: 2026-10-21\r\n",
            "",
            404,
            "/type",
            "error",
        ),
        (
            "GET",
            "/nowhere",
            "",
            "",
            404,
            "/error/type",
            "invalid_request_error",
        ),
    ] {
        let got = send(sim.address, method, path, more, body).await;
        assert_eq!(got.status, status, "{method} {path} {body}");
        assert_eq!(got.json().pointer(at).expect(at), value);
        assert!(got.head.contains("x-flyball-simulated: 1"));
    }
    assert_eq!(sim.served(), SimServed::default());
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_read() {
    let sim = models(1e6).await;
    let mut socket = connect(sim.address).await;
    let head = "POST /v1/messages HTTP/1.1\r\nhost: sim\r\ncontent-length: 5000000\r\n\r\n";
    socket.write_all(head.as_bytes()).await.expect("room");
    let mut begin = [0; 12];
    let answered = within("an answer", socket.read_exact(&mut begin)).await;
    answered.expect("an answer");
    assert_eq!(&begin, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_body_of_unsaid_length_is_cut_at_the_limit() {
    let sim = models(1e6).await;
    let socket = connect(sim.address).await;
    let (mut read, mut write) = socket.into_split();
    let sending = tokio::spawn(async move {
        let head = "POST /v1/messages HTTP/1.1\r\nhost: sim\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000));
        let mut sent = write.write_all(head.as_bytes()).await;
        while sent.is_ok() {
            sent = write.write_all(chunk.as_bytes()).await;
        }
    });
    let mut begin = [0; 12];
    let answered = within("an answer", read.read_exact(&mut begin)).await;
    answered.expect("an answer");
    assert_eq!(&begin, b"HTTP/1.1 413");
    sending.abort();
}

#[tokio::test]
async fn models_are_listed_in_both_shapes_and_input_is_counted() {
    let sim = models(1e6).await;
    let ours = send(sim.address, "GET", "/v1/models", "", "").await.json();
    assert_eq!(ours["object"], "list");
    assert_eq!(ours["data"][2]["id"], "sim-reasoning");
    let version = "anthropic-version: 2026-10-21\r\n";
    let theirs = send(sim.address, "GET", "/v1/models", version, "").await;
    assert_eq!(theirs.json()["first_id"], "sim-small");
    let body = format!(r#"{{"model":"sim-small",{ASK}}}"#);
    let path = "/v1/messages/count_tokens";
    let counted = send(sim.address, "POST", path, "", &body).await.json();
    let answered = anthropic(sim.address, r#""model":"sim-small","max_tokens":1"#).await;
    assert_eq!(
        counted["input_tokens"],
        answered.json()["usage"]["input_tokens"]
    );
}

#[tokio::test]
async fn generation_stops_when_the_client_goes_away() {
    // So slow that no machine stops it too late.
    let sim = models(0.1).await;
    let others = Arc::strong_count(&sim.shared);
    for stream in [true, false] {
        let before = sim.served();
        let body = format!(r#"{{"model":"sim-standard","stream":{stream},{ASK}}}"#);
        let socket = open(sim.address, "POST", "/v1/chat/completions", "", &body).await;
        let what = format!("stream {stream}: something is made");
        until(&what, || sim.served().tokens > before.tokens).await;
        drop(socket);
        // Whoever could make more holds what is shared.
        let what = format!("stream {stream}: it is dropped");
        until(&what, || Arc::strong_count(&sim.shared) == others).await;
        let gone = sim.served();
        assert_eq!(gone.requests, before.requests + 1);
        assert_eq!(gone.finished, 0, "stream {stream}: it went on to its end");
    }
}

#[tokio::test]
async fn a_finished_answer_made_exactly_its_tokens() {
    let sim = models(1e6).await;
    let mut tokens = 0;
    for (requests, stream) in [(1, "false"), (2, "true")] {
        let fields = format!(
            r#""model":"sim-reasoning","stream":{stream},"stream_options":{{"include_usage":true}}"#
        );
        let got = openai(sim.address, &fields).await;
        let answer = if stream == "true" {
            got.events().pop().expect("a usage event")
        } else {
            got.json()
        };
        tokens += answer["usage"]["completion_tokens"]
            .as_u64()
            .expect("a count");
        let expected = SimServed {
            requests,
            finished: requests,
            tokens,
        };
        assert_eq!(sim.served(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn speed_divides_the_time() {
    let body = format!(r#"{{"model":"sim-reasoning","reasoning_effort":"high",{ASK}}}"#);
    let time = async |speed| {
        let shared = Arc::new(Shared::new(Settings { seed: 1, speed }));
        let begin = Instant::now();
        let got = posted(&shared, "/v1/chat/completions", &body).await;
        assert_eq!(got.status, 200);
        begin.elapsed()
    };
    let (lifelike, fast, slow) = (time(1.0).await, time(20.0).await, time(0.1).await);
    // To the clock's millisecond.
    let near = |took: Duration, exact: Duration| took.abs_diff(exact) <= Duration::from_millis(1);
    assert!(near(lifelike, Duration::from_secs(3)), "{lifelike:?}");
    assert!(near(fast, lifelike / 20), "{fast:?}");
    assert!(near(slow, lifelike * 10), "{slow:?}");
}

#[tokio::test]
async fn a_dropped_server_cuts_its_connections_and_takes_no_more() {
    let sim = models(1.0).await;
    let (address, accepting) = (sim.address, sim.accepting.clone());
    let mut socket = connect(address).await;
    sim.stop();
    let cut = within("the connection is cut", socket.read_u8()).await;
    assert!(cut.is_err());
    until("nothing is accepted", || accepting.is_finished()).await;
    let refused = within("a refusal", TcpStream::connect(address)).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn a_speed_that_is_no_speed_is_refused() {
    for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(start(Settings { seed: 1, speed }).await.is_err());
    }
}

#[tokio::test]
async fn a_tool_that_is_asked_for_is_called_in_either_dialect_whole_and_streamed() {
    let models = models(1_000.0).await;
    let schema = r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#;
    let ask = r#""messages":[{"role":"user","content":"Use the tool weather."}]"#;
    let arguments = r#"{"city":"[simulated]"}"#;
    for stream in [false, true] {
        let body = format!(
            r#"{{"model":"sim-small","stream":{stream},{ask},"tools":[{{"type":"function","function":{{"name":"weather","parameters":{schema}}}}}]}}"#
        );
        let got = send(models.address, "POST", "/v1/chat/completions", "", &body).await;
        let all = if stream {
            got.events()
        } else {
            vec![got.json()]
        };
        let at = if stream { "delta" } else { "message" };
        let choices: Vec<&Value> = all.iter().map(|e| &e["choices"][0]).collect();
        let call = |c: &&Value| c[at]["tool_calls"][0]["function"].clone();
        let text: String = choices
            .iter()
            .filter_map(|c| call(c)["arguments"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(text, arguments, "{}", got.body);
        assert_eq!(call(&choices[0])["name"], "weather");
        let last = choices.last().expect("an end");
        assert_eq!(last["finish_reason"], "tool_calls");

        let body = format!(
            r#"{{"model":"sim-small","max_tokens":99,"stream":{stream},{ask},"tools":[{{"name":"weather","input_schema":{schema}}}]}}"#
        );
        let got = send(models.address, "POST", "/v1/messages", "", &body).await;
        if !stream {
            let told = got.json();
            assert_eq!(told["content"][0]["input"].to_string(), arguments);
            assert_eq!(told["stop_reason"], "tool_use");
            continue;
        }
        let all = got.events();
        let pieces = all
            .iter()
            .filter_map(|e| e["delta"]["partial_json"].as_str());
        assert_eq!(pieces.collect::<String>(), arguments, "{}", got.body);
        let stops = all
            .iter()
            .filter(|e| e["delta"]["stop_reason"] == "tool_use");
        assert_eq!(stops.count(), 1);
    }
}
