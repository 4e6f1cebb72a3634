//! How long what is waited for: bytes, words, whole answers; and what a client hears where it was too long.

mod compressed;

use crate::client::{self, Answer};
use crate::flyball::{Flyball, compatible};
use crate::scripted::{
    Step, Upstream, answer, chat, chat_stream, delta, end, finish, piece, stream_head,
};
use serde_json::{Value, json};
use std::time::Duration;

/// Between two signs of life. The deadline for bytes is longer, the time that all of them take longer still.
const GAP: Duration = Duration::from_millis(150);
const IDLE: &str = "[limits]\nidle = \"600ms\"\n";

pub fn model(kind: &str, upstream: &Upstream) -> String {
    format!(
        "[[provider]]\nname = \"up\"\nkind = \"{kind}\"\nbase_url = \"{}\"\n\n[[model]]\nname = \"m-other\"\nprovider = \"up\"\ntier = \"standard\"\nefforts = []\nanswer_tokens_max = 4000\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n",
        upstream.url()
    )
}

pub fn ask(stream: bool) -> String {
    json!({"model": "m-other", "max_tokens": 500, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}).to_string()
}

pub async fn post(flyball: &Flyball, path: &str, body: &str) -> Answer {
    let headers = [("anthropic-version", "2023-06-01")];
    let got = client::post(flyball.at(), path, &headers, body);
    tokio::time::timeout(Duration::from_secs(30), got)
        .await
        .expect("an answer in time")
}

/// A stream of Messages, between whose beginning and first word are these.
fn messages_after(waiting: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let event = |name: &str, data: Value| piece(&format!("event: {name}\ndata: {data}\n\n"));
    let mut steps = vec![
        stream_head(),
        event(
            "message_start",
            json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": [], "stop_reason": null, "usage": {"input_tokens": 10, "output_tokens": 1}}}),
        ),
    ];
    steps.extend(waiting);
    steps.extend([
        event("content_block_start", json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
        event("content_block_delta", json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "42"}})),
        event("content_block_stop", json!({"type": "content_block_stop", "index": 0})),
        event("message_delta", json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 5}})),
        event("message_stop", json!({"type": "message_stop"})),
        end(),
    ]);
    steps
}

/// A chat stream, between whose beginning and first word are these.
fn chat_after(waiting: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let mut steps = vec![stream_head()];
    steps.extend(waiting);
    steps.extend([piece(&delta("42")), piece(&finish(10, 5).concat()), end()]);
    steps
}

fn signs(sign: &str, count: usize) -> Vec<Step> {
    let one = [Step::Gap(GAP), piece(sign)];
    std::iter::repeat_n(one, count).flatten().collect()
}

const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
const COMMENT: &str = ": OPENROUTER PROCESSING\n\n";
const EMPTY: &str = "data: {\"id\":\"c1\",\"model\":\"m-up\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":null}]}\n\n";

#[tokio::test]
async fn a_stream_of_pings_or_comments_is_alive_for_a_client_of_any_dialect() {
    for (kind, steps) in [
        ("anthropic", messages_after(signs(PING, 8))),
        ("openai-compatible", chat_after(signs(COMMENT, 8))),
        ("openai-compatible", chat_after(signs(EMPTY, 8))),
    ] {
        let upstream = Upstream::start(steps).await;
        let flyball = Flyball::start(&format!("{}{IDLE}", model(kind, &upstream))).await;
        for path in ["/v1/messages", "/v1/chat/completions"] {
            let got = post(&flyball, path, &ask(true)).await;
            assert!(got.body.contains("42"), "{kind} {path}: {}", got.body);
            assert!(!got.is_cut() && !got.body.contains("error"), "{}", got.body);
        }
        for row in flyball.rows().await {
            assert_eq!(
                (&row["basis"], &row["outcome"]),
                (&json!("reported"), &json!("ok")),
                "{kind}"
            );
        }
    }
}

#[tokio::test]
async fn signs_of_life_reach_the_client_of_a_translated_stream_in_its_own_form() {
    for (kind, steps, path, form) in [
        (
            "anthropic",
            messages_after(signs(PING, 8)),
            "/v1/chat/completions",
            ": the model is at work\n\n",
        ),
        (
            "openai-compatible",
            chat_after(signs(COMMENT, 8)),
            "/v1/messages",
            PING,
        ),
    ] {
        let upstream = Upstream::start(steps).await;
        let flyball = Flyball::start(&model(kind, &upstream)).await;
        let got = post(&flyball, path, &ask(true)).await;
        let (before, _) = got.body.split_once("42").expect("the word");
        assert!(before.contains(form), "{path}: {}", got.body);
        assert!(!got.is_cut(), "{}", got.body);
    }
}

#[tokio::test]
async fn a_stream_without_a_byte_ends_at_limits_idle() {
    let upstream = Upstream::start(vec![stream_head(), piece(&delta("one")), Step::Stall]).await;
    let toml = format!(
        "{}[limits]\nidle = \"200ms\"\n",
        model("openai-compatible", &upstream)
    );
    let flyball = Flyball::start(&toml).await;
    for path in ["/v1/messages", "/v1/chat/completions"] {
        let got = post(&flyball, path, &ask(true)).await;
        assert!(got.body.contains("limits.idle"), "{path}: {}", got.body);
    }
    upstream.peer_closed().await;
    assert_eq!(flyball.rows().await[0]["outcome"], "upstream_timeout");
}

#[tokio::test]
async fn a_stream_of_nothing_but_signs_of_life_ends_at_limits_silent() {
    let toml = "[limits]\nidle = \"20s\"\nsilent = \"400ms\"\n";
    for (kind, steps) in [
        ("anthropic", messages_after(signs(PING, 40))),
        ("openai-compatible", chat_after(signs(COMMENT, 40))),
        ("openai-compatible", chat_after(signs(EMPTY, 40))),
    ] {
        let upstream = Upstream::start(steps).await;
        let flyball = Flyball::start(&format!("{}{toml}", model(kind, &upstream))).await;
        for path in ["/v1/messages", "/v1/chat/completions"] {
            let got = post(&flyball, path, &ask(true)).await;
            assert!(
                got.body.contains("limits.silent"),
                "{kind} {path}: {}",
                got.body
            );
        }
        let rows = flyball.rows().await;
        assert!(rows.iter().all(|row| row["outcome"] == "upstream_timeout"));
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn words_that_come_slowly_are_not_silence() {
    let words = signs(&delta("word"), 8);
    let upstream = Upstream::start(chat_after(words)).await;
    let toml = format!(
        "{}[limits]\nsilent = \"600ms\"\n",
        model("openai-compatible", &upstream)
    );
    let flyball = Flyball::start(&toml).await;
    let got = post(&flyball, "/v1/chat/completions", &ask(true)).await;
    assert!(got.body.ends_with("[DONE]\n\n"), "{}", got.body);
}

#[tokio::test]
async fn a_whole_answer_may_take_longer_than_the_first_byte_of_a_stream() {
    let steps: Vec<Step> = std::iter::once(Step::Gap(Duration::from_millis(500)))
        .chain(answer(200, &chat(10, 5)))
        .collect();
    let upstream = Upstream::start(steps).await;
    let toml = format!(
        "{}[limits]\nfirst_byte = \"100ms\"\nidle = \"100ms\"\n",
        model("openai-compatible", &upstream)
    );
    let flyball = Flyball::start(&toml).await;
    for path in [
        "/v1/chat/completions",
        "/v1/messages",
        "/p/up/v1/chat/completions",
    ] {
        let got = post(&flyball, path, &ask(false)).await;
        assert_eq!(got.status, 200, "{path}: {}", got.body);
    }
    // A stream has to begin.
    let got = post(&flyball, "/v1/chat/completions", &ask(true)).await;
    assert_eq!(got.status, 504, "{}", got.body);
}

/// A request that any arm may answer, the second only where the first does not.
async fn with_a_fallback(limits: &str, upstream: &Upstream) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    let rule = "[[rule]]\nname = \"own\"\nwhy = \"a test\"\nroute = { arm = \"m-small\", fallback = [\"reasoning\"] }\n";
    std::fs::write(dir.path().join("rules/own.toml"), rule).expect("a file");
    Flyball::start_in(dir, &format!("{}{limits}", compatible(upstream))).await
}

#[tokio::test]
async fn a_whole_answer_that_does_not_come_is_asked_for_once_and_the_client_is_told_not_to_try_again()
 {
    let upstream = Upstream::start(vec![Step::Stall]).await;
    let flyball = with_a_fallback("[limits]\ntotal = \"200ms\"\n", &upstream).await;
    for (n, path) in ["/v1/chat/completions", "/v1/messages"].iter().enumerate() {
        let body = ask(false).replace("m-other", "auto");
        let got = post(&flyball, path, &body).await;
        assert_eq!(
            (got.status, got.header("x-should-retry")),
            (504, Some("false")),
            "{path}"
        );
        assert_eq!(upstream.count(), n + 1, "one attempt, one bound");
    }
    assert_eq!(flyball.rows().await.len(), 2);
}

#[tokio::test]
async fn after_any_end_that_may_have_been_billed_the_client_is_told_not_to_try_again() {
    let half =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"id\"";
    let garbled = answer(200, "[]");
    for (what, steps, paths) in [
        (
            "hangs up",
            vec![Step::Close],
            &["/v1/chat/completions", "/v1/messages"][..],
        ),
        ("resets", vec![Step::Reset], &["/v1/chat/completions"]),
        (
            "breaks off",
            vec![Step::Send(half.into()), Step::Close],
            &["/v1/chat/completions", "/v1/messages"],
        ),
        ("cannot be translated", garbled, &["/v1/messages"]),
    ] {
        for path in paths {
            let upstream = Upstream::start(steps.clone()).await;
            let flyball = Flyball::start(&model("openai-compatible", &upstream)).await;
            let got = post(&flyball, path, &ask(false)).await;
            assert_eq!(
                (got.status, got.header("x-should-retry")),
                (502, Some("false")),
                "{what} {path}: {}",
                got.body
            );
        }
    }
}

#[tokio::test]
async fn where_nothing_can_have_been_billed_the_client_may_try_again() {
    let upstream = Upstream::start(answer(500, "{\"error\":{\"message\":\"oh\"}}")).await;
    let flyball = Flyball::start(&model("openai-compatible", &upstream)).await;
    // What a provider's own failure costs without a cap is between it and its client.
    let got = post(&flyball, "/v1/chat/completions", &ask(false)).await;
    assert_eq!((got.status, got.header("x-should-retry")), (500, None));
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address")
    };
    let toml = model("openai-compatible", &upstream);
    let toml = toml.replace(&upstream.url(), &format!("http://{nobody}"));
    let flyball = Flyball::start(&toml).await;
    let got = post(&flyball, "/v1/chat/completions", &ask(false)).await;
    assert_eq!((got.status, got.header("x-should-retry")), (502, None));
}

#[tokio::test]
async fn a_fallback_that_answers_after_a_failure_is_an_answer_like_any_other() {
    let upstream = Upstream::start(chat_stream(&["hi"], 10, 5)).await;
    upstream.next(vec![Step::Stall]);
    let flyball = with_a_fallback("[limits]\nfirst_byte = \"1s\"\n", &upstream).await;
    let body = ask(true).replace("m-other", "auto");
    let got = post(&flyball, "/v1/chat/completions", &body).await;
    assert_eq!((got.status, got.header("x-should-retry")), (200, None));
    assert_eq!(flyball.rows().await.len(), 2);
}
