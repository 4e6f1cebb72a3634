//! What a stop does to what is still open when its time is over.

use crate::client;
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Step, Upstream, answer, chat, delta, end, finish, piece, stream_head};
use flyball::ledger::Settings;
use flyball::ledger::store::EVER;
use serde_json::{Value, json};
use std::time::Duration;

const SHORT: &str = "[limits]\ngrace = \"200ms\"\n";

/// Every client dialect: where it asks, with what, and what an error in its stream holds.
const STREAMS: [(&str, &str, &str); 6] = [
    (
        "/v1/chat/completions",
        r#"{"model":"m-small","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
        "\"error\"",
    ),
    (
        "/v1/messages",
        r#"{"model":"m-small","max_tokens":99,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
        "event: error",
    ),
    (
        "/v1/responses",
        r#"{"model":"m-small","stream":true,"input":"hi"}"#,
        "event: error",
    ),
    (
        "/v1beta/models/m-small:streamGenerateContent?alt=sse",
        r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#,
        "\"error\"",
    ),
    (
        "/api/chat",
        r#"{"model":"m-small","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
        "\"error\"",
    ),
    (
        "/v2/chat",
        r#"{"model":"m-small","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
        "error",
    ),
];

async fn within<T>(wait: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(30), wait).await;
    done.expect("it is over in time")
}

/// The rows of a flyball that has stopped.
fn rows(settings: &Settings) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut books = flyball::ledger::books::open(settings).expect("the ledger");
    let mut add = |a| {
        rows.push(flyball::exchange::describe(&a));
        true
    };
    books.attempts(EVER, &mut add).expect("it can be read");
    rows
}

fn settings(flyball: &Flyball) -> Settings {
    flyball.running.state.ledger.settings().clone()
}

#[tokio::test]
async fn a_stream_that_outlasts_the_grace_ends_with_an_error_event_of_its_dialect() {
    for (path, body, sign) in STREAMS {
        let steps = vec![stream_head(), piece(&delta("first")), Step::Stall];
        let upstream = Upstream::start(steps).await;
        let flyball = Flyball::start(&format!("{}{SHORT}", compatible(&upstream))).await;
        let settings = settings(&flyball);
        let mut call = client::send(flyball.at(), path, &[], body).await;
        within(call.until("first")).await;
        let stopped = tokio::spawn(flyball.stop());
        let got = within(call.answer()).await;
        let _dir = within(stopped).await.expect("it stops");
        within(upstream.peer_closed()).await;
        assert!(
            got.body.contains(sign) && got.body.contains("stopping"),
            "{path}: {}",
            got.body
        );
        let rows = rows(&settings);
        assert_eq!(
            (rows.len(), &rows[0]["outcome"], &rows[0]["basis"]),
            (1, &json!("stream_cut"), &json!("bound")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_whole_answer_that_outlasts_the_grace_is_an_error_that_is_not_tried_again() {
    let half =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"id\"";
    for (n, steps) in [
        vec![Step::Stall],
        vec![Step::Send(half.into()), Step::Stall],
    ]
    .into_iter()
    .enumerate()
    {
        for (path, body, _) in &STREAMS[..2] {
            let upstream = Upstream::start(steps.clone()).await;
            let flyball = Flyball::start(&format!("{}{SHORT}", compatible(&upstream))).await;
            let settings = settings(&flyball);
            let body = body.replace("\"stream\":true,", "");
            let call = client::send(flyball.at(), path, &[], &body).await;
            within(upstream.stalling()).await;
            let stopped = tokio::spawn(flyball.stop());
            let got = within(call.answer()).await;
            let _dir = within(stopped).await.expect("it stops");
            assert_eq!(
                (got.status, got.header("x-should-retry")),
                (503, Some("false")),
                "{n} {path}: {}",
                got.body
            );
            assert_eq!(rows(&settings)[0]["outcome"], "stream_cut", "{n} {path}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_within_the_grace_ends_as_ever() {
    let steps = vec![
        stream_head(),
        piece(&delta("first")),
        Step::Gate,
        piece(&finish(10, 5).concat()),
        end(),
    ];
    let upstream = Upstream::start(steps).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let (settings, at) = (settings(&flyball), flyball.at());
    let mut call = client::send(at, STREAMS[0].0, &[], STREAMS[0].1).await;
    within(call.until("first")).await;
    let stopped = tokio::spawn(flyball.stop());
    // From here on nobody new is let in.
    while tokio::net::TcpStream::connect(at).await.is_ok() {
        tokio::task::yield_now().await;
    }
    upstream.open_gate();
    let got = within(call.answer()).await;
    assert!(got.body.ends_with("[DONE]\n\n"), "{}", got.body);
    let _dir = within(stopped).await.expect("it stops");
    assert_eq!(rows(&settings)[0]["outcome"], "ok");
}

#[tokio::test]
async fn a_client_that_takes_nothing_does_not_hold_up_a_stop_nor_count_as_gone() {
    // More than all the buffers between the provider and the client hold.
    let long = piece(&delta(&"word ".repeat(200)).repeat(40));
    let steps = std::iter::once(stream_head()).chain(std::iter::repeat_n(long, 400));
    let upstream = Upstream::start(steps.chain([Step::Stall]).collect()).await;
    let flyball = Flyball::start(&format!("{}{SHORT}", compatible(&upstream))).await;
    let settings = settings(&flyball);
    let mut call = client::send(flyball.at(), STREAMS[0].0, &[], STREAMS[0].1).await;
    within(call.until("word")).await;
    let _dir = within(flyball.stop()).await;
    assert_eq!(rows(&settings)[0]["outcome"], "stream_cut");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_a_stop() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    // Refused with a body, and kept open.
    let request = "POST /v1/nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}";
    let mut call = client::raw(flyball.at(), request.as_bytes()).await;
    within(call.until("404")).await;
    let began = std::time::Instant::now();
    within(flyball.stop()).await;
    assert!(began.elapsed() < Duration::from_secs(20));
}
