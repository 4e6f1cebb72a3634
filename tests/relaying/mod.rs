//! What goes out and what comes back.

use crate::client::{self, get, send};
use crate::flyball::{Flyball, compatible};
use crate::scripted::{
    Nobody, Step, Upstream, answer, chat, chat_stream, delta, end, finish, piece, stream_head,
};
use serde_json::json;

const ODD: &str = "{ \"messages\" : [ {\"role\":\"user\",\"content\":\"Gr\\u00fc\\u00dfe\"} ],\n \"x-unknown\": 1.0e+02, \"model\":\"m-small\" , \"temperature\":0.70 }";

#[tokio::test]
async fn a_request_for_a_real_model_goes_out_byte_for_byte() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let got = flyball
        .chat(
            &[
                ("authorization", "Bearer app-key"),
                ("x-api-key", "app-key"),
                ("x-flyball-session", "s"),
                ("x-mine", "1"),
            ],
            ODD,
        )
        .await;
    assert_eq!(got.status, 200);
    assert_eq!(got.body, chat(10, 5));
    assert_eq!(got.header("x-flyball-rule"), Some("asked"));
    assert_eq!(got.header("x-request-id"), Some("up-1"));
    let seen = &upstream.seen()[0];
    assert_eq!(seen.body, ODD);
    assert_eq!(seen.header("x-mine").as_deref(), Some("1"));
    assert_eq!(seen.header("accept-encoding").as_deref(), Some("identity"));
    for secret in ["authorization", "x-api-key", "x-flyball-session"] {
        assert_eq!(seen.header(secret), None, "{secret}");
    }
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_and_not_used_once_the_provider_has_closed_it() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let streamed = ODD.replace("{ ", "{ \"stream\":true,");
    for turn in 0..3 {
        assert_eq!(flyball.chat(&[], ODD).await.status, 200, "{turn}");
        upstream.next(chat_stream(&["a", "b"], 10, 5));
        let got = flyball.chat(&[], &streamed).await;
        assert!(got.body.contains("[DONE]"), "{}", got.body);
    }
    assert_eq!(upstream.connections(), 1, "all of them on one");
    let mut last = answer(200, &chat(10, 5));
    last.push(Step::Close);
    upstream.next(last);
    assert_eq!(flyball.chat(&[], ODD).await.status, 200);
    assert_eq!(upstream.cuts(), 1, "it was closed");
    assert_eq!(flyball.chat(&[], ODD).await.status, 200, "on another one");
    assert_eq!(upstream.connections(), 2);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn an_answer_that_was_not_read_to_its_end_leaves_no_connection_for_the_next_request() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    // More than is read of an error: its rest must not be taken for the next answer.
    upstream.next(answer(400, &"x".repeat(2 * 1024 * 1024)));
    let refused = flyball.chat(&[], ODD).await;
    assert_ne!(refused.status, 200, "{}", refused.body);
    let got = flyball.chat(&[], ODD).await;
    assert_eq!((got.status, got.body), (200, chat(10, 5)));
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn with_intercept_only_the_owned_fields_change() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball =
        Flyball::start(&format!("intercept = [\"m-*\"]\n{}", compatible(&upstream))).await;
    let body = ODD
        .replace("m-small", "m-big")
        .replace("Gr\\u00fc\\u00dfe", "What is the capital of France?");
    let got = flyball.chat(&[], &body).await;
    assert_eq!(
        (got.status, got.header("x-flyball-model")),
        (200, Some("m-small")),
        "{}",
        got.body
    );
    assert_eq!(upstream.seen()[0].body, body.replace("m-big", "m-small"));
    let row = &flyball.rows().await[0];
    assert!(
        row["baseline_pico_usd"].as_i64() > row["cost_pico_usd"].as_i64(),
        "{row}"
    );
}

#[tokio::test]
async fn the_cost_is_in_headers_ledger_metrics_and_at_its_address() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let cost =
        r#"flyball_cost_usd_total{effort="none",model="m-small",provider="up",tier="small"}"#;
    assert!(
        flyball.metrics().await.contains(&format!("{cost} 0\n")),
        "a rate never sees the first step of a series that did not begin at 0"
    );
    let got = flyball.chat(&[], ODD).await;
    // 10 input tokens at $1/M and 5 output tokens at $10/M.
    assert_eq!(got.header("x-flyball-cost-usd"), Some("0.00006"));
    let id = got.header("x-flyball-request-id").expect("an id");
    let told = get(flyball.at(), &format!("/flyball/requests/{id}"), &[])
        .await
        .json();
    assert_eq!(told["cost_usd"], "0.00006");
    let rows = flyball.rows().await;
    assert_eq!(
        (
            rows.len(),
            &rows[0]["request"],
            &rows[0]["cost_pico_usd"],
            &rows[0]["basis"]
        ),
        (1, &json!(id), &json!(60_000_000), &json!("reported"))
    );
    let metrics = flyball.metrics().await;
    assert!(
        metrics
            .lines()
            .any(|l| l.starts_with("flyball_cost_usd_total{") && l.ends_with(" 0.00006")),
        "{metrics}"
    );
}

#[tokio::test]
async fn usage_is_asked_for_and_hidden_from_a_client_that_did_not_ask() {
    let upstream = Upstream::start(chat_stream(&["Hel", "lo"], 10, 5)).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let body = r#"{"model":"m-small","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let got = flyball.chat(&[("te", "trailers")], body).await;
    assert!(
        upstream.seen()[0]
            .body
            .contains(r#""stream_options":{"include_usage":true}"#)
    );
    assert!(!got.body.contains("usage"), "{}", got.body);
    assert!(got.body.contains("Hel") && got.body.ends_with("data: [DONE]\n\n"));
    assert!(
        got.trailers.contains("x-flyball-cost-usd: 0.00006"),
        "{:?}",
        got.trailers
    );

    let asking = r#"{"model":"m-small","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}"#;
    let got = flyball.chat(&[], asking).await;
    let sent: String = ["Hel", "lo"]
        .iter()
        .map(|w| delta(w))
        .chain(finish(10, 5))
        .collect();
    assert_eq!(
        got.body, sent,
        "the stream of a client that asked is not touched"
    );
    assert_eq!(upstream.seen()[1].body, asking);
}

#[tokio::test]
async fn events_are_passed_on_as_they_come() {
    let upstream = Upstream::start(vec![
        stream_head(),
        piece(&delta("first")),
        Step::Gate,
        piece(&delta("second")),
        piece(&finish(1, 2).concat()),
        end(),
    ])
    .await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let mut call = send(
        flyball.at(),
        "/v1/chat/completions",
        &[],
        r#"{"model":"m-small","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
    )
    .await;
    let early = call.until("first").await;
    assert!(!early.contains("second"));
    let open = |metrics: String| metrics.contains("\nflyball_streams_open 1\n");
    assert!(open(flyball.metrics().await));
    upstream.open_gate();
    call.until("[DONE]").await;
    flyball.rows().await;
    assert!(!open(flyball.metrics().await));
}

#[tokio::test]
async fn a_redirect_is_an_error_that_costs_nothing_and_takes_no_client_along() {
    let upstream = Upstream::start(vec![Step::Send(
        b"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/moved\r\ncontent-length: 0\r\n\r\n"
            .to_vec(),
    )])
    .await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let got = flyball.chat(&[], ODD).await;
    assert_eq!((got.status, got.header("location")), (502, None));
    assert!(!got.body.contains("moved"), "{}", got.body);
    let row = &flyball.rows().await[0];
    assert_eq!(
        (&row["outcome"], &row["cost_pico_usd"]),
        (&json!("refused_upstream"), &json!(0))
    );
}

#[tokio::test]
async fn an_answer_in_which_nothing_can_be_read_passes_through_and_is_charged_at_the_bound() {
    for unread in ["\u{1f}compressed in spite of accept-encoding", "{}", ""] {
        let upstream = Upstream::start(answer(200, unread)).await;
        let flyball = Flyball::start(&compatible(&upstream)).await;
        let got = flyball.chat(&[], ODD).await;
        assert_eq!((got.status, got.body.as_str()), (200, unread));
        let row = &flyball.rows().await[0];
        assert_eq!(
            (&row["basis"], &row["cost_pico_usd"]),
            (&json!("bound"), &row["bound_pico_usd"]),
            "{unread}"
        );
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn when_the_client_goes_away_the_upstream_connection_is_closed_and_the_attempt_charged() {
    let upstream = Upstream::start(vec![
        stream_head(),
        piece(&delta("one two three")),
        Step::Stall,
    ])
    .await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let mut call = send(
        flyball.at(),
        "/v1/chat/completions",
        &[],
        r#"{"model":"m-small","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
    )
    .await;
    call.until("three").await;
    drop(call);
    upstream.peer_closed().await;
    let row = &flyball.rows().await[0];
    // How this provider bills a cancelled stream is not known, so the bound is charged.
    assert_eq!(
        (&row["outcome"], &row["basis"], &row["cost_pico_usd"]),
        (
            &json!("client_gone"),
            &json!("bound"),
            &row["bound_pico_usd"]
        )
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_byte_closes_the_upstream_too() {
    let upstream = Upstream::start(vec![Step::Stall]).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let call = send(
        flyball.at(),
        "/v1/chat/completions",
        &[],
        r#"{"model":"m-small","messages":[{"role":"user","content":"hi"}]}"#,
    )
    .await;
    upstream.reached(1).await;
    drop(call);
    upstream.peer_closed().await;
    assert_eq!(flyball.rows().await[0]["outcome"], "client_gone");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_provider_that_stops_on_close_is_charged_what_arrived_and_a_margin() {
    let upstream = Upstream::start(vec![
        stream_head(),
        piece(&delta("one two three")),
        Step::Stall,
    ])
    .await;
    let toml = format!(
        "[[provider]]\nname = \"llama\"\nkind = \"llamacpp\"\nbase_url = \"{}\"\n[[model]]\nname = \"l\"\nprovider = \"llama\"\ntier = \"local\"\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 1\n",
        upstream.url()
    );
    let flyball = Flyball::start(&toml).await;
    let mut call = send(
        flyball.at(),
        "/v1/chat/completions",
        &[],
        r#"{"model":"l","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
    )
    .await;
    call.until("three").await;
    drop(call);
    upstream.peer_closed().await;
    let row = &flyball.rows().await[0];
    // llama.cpp closes a connection a moment after a stream, so none is used twice.
    let connection = upstream.seen()[0].header("connection");
    assert_eq!(connection.as_deref(), Some("close"));
    // "one two three" is 3 tokens, and 16 may have been in flight.
    assert_eq!(
        (&row["basis"], &row["tokens"]["output"]),
        (&json!("counted"), &json!(19))
    );
}

#[tokio::test]
async fn a_stream_that_is_cut_ends_with_an_error_event_and_is_charged_at_the_bound() {
    for cut in [Step::Reset, Step::Close] {
        let upstream = Upstream::start(vec![
            stream_head(),
            piece(&delta("half")),
            Step::Gate,
            cut.clone(),
        ])
        .await;
        let flyball = Flyball::start(&compatible(&upstream)).await;
        let mut call = send(
            flyball.at(),
            "/v1/chat/completions",
            &[],
            r#"{"model":"m-small","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
        )
        .await;
        // A cut takes along what was not yet read.
        call.until("half").await;
        upstream.open_gate();
        let got = call.answer().await;
        assert!(
            got.body.contains("half")
                && got.body.contains("\"error\"")
                && !got.body.contains("[DONE]"),
            "{cut:?}: {}",
            got.body
        );
        let row = &flyball.rows().await[0];
        assert_eq!(
            (&row["outcome"], &row["basis"]),
            (&json!("stream_cut"), &json!("bound")),
            "{cut:?}"
        );
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn a_stream_that_ends_cleanly_but_half_way_is_a_cut_too() {
    let upstream = Upstream::start(vec![stream_head(), piece(&delta("half")), end()]).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let got = flyball
        .chat(
            &[],
            r#"{"model":"m-small","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
        )
        .await;
    assert!(got.body.contains("\"error\""), "{}", got.body);
    assert_eq!(flyball.rows().await[0]["outcome"], "stream_cut");
}

#[tokio::test]
async fn a_provider_that_stalls_is_cut_at_its_deadline() {
    let upstream = Upstream::start(vec![
        stream_head(),
        piece(&delta("half")),
        piece(": ping\n\n"),
        Step::Stall,
    ])
    .await;
    // One deadline each: a busy machine may take longer than the other one for what is not stalled.
    let start = async |limit: &str| {
        let limits = format!("[limits]\n{limit} = \"200ms\"\n");
        Flyball::start(&format!("{}\n{limits}", compatible(&upstream))).await
    };
    let flyball = start("idle").await;
    let got = flyball
        .chat(
            &[],
            r#"{"model":"m-small","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
        )
        .await;
    assert!(got.body.contains("limits.idle"), "{}", got.body);
    assert_eq!(flyball.rows().await[0]["outcome"], "upstream_timeout");
    upstream.next(vec![Step::Stall]);
    let flyball = start("total").await;
    let got = flyball
        .chat(
            &[],
            r#"{"model":"m-small","messages":[{"role":"user","content":"hi"}]}"#,
        )
        .await;
    assert_eq!(
        (got.status, got.json()["error"]["type"].is_string()),
        (504, true)
    );
    assert_eq!(flyball.rows().await[0]["outcome"], "upstream_timeout");
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_a_502_and_costs_nothing() {
    let upstream = Upstream::start(Vec::new()).await;
    let nobody = Nobody::new();
    let toml = compatible(&upstream).replace(&upstream.url(), &nobody.url());
    let flyball = Flyball::start(&toml).await;
    let got = flyball
        .chat(
            &[],
            r#"{"model":"m-small","messages":[{"role":"user","content":"hi"}]}"#,
        )
        .await;
    assert_eq!(got.status, 502);
    assert!(
        !got.body.contains("127.0.0.1"),
        "hosts are for the operator's log: {}",
        got.body
    );
    let row = &flyball.rows().await[0];
    assert_eq!(
        (&row["outcome"], &row["cost_pico_usd"]),
        (&json!("not_sent"), &json!(0))
    );
}

#[tokio::test]
async fn a_providers_own_error_passes_through_without_our_key_in_it() {
    let upstream = Upstream::start(answer(
        429,
        r#"{"error":{"message":"slow down, sk-provider-secret","type":"rate"}}"#,
    ))
    .await;
    let dir = tempfile::tempdir().expect("a folder");
    let secret = dir.path().join("key");
    std::fs::write(&secret, "sk-provider-secret\n").expect("a file");
    let toml = compatible(&upstream).replace(
        "kind = \"openai-compatible\"",
        &format!(
            "kind = \"openai-compatible\"\napi_key = \"file:{}\"",
            secret.display()
        ),
    );
    let flyball = Flyball::start(&toml).await;
    let got = flyball
        .chat(
            &[],
            r#"{"model":"m-small","messages":[{"role":"user","content":"hi"}]}"#,
        )
        .await;
    assert_eq!(
        (got.status, got.body.as_str()),
        (
            429,
            r#"{"error":{"message":"slow down, [redacted]","type":"rate"}}"#
        )
    );
    assert_eq!(
        upstream.seen()[0].header("authorization").as_deref(),
        Some("Bearer sk-provider-secret")
    );
    assert_eq!(flyball.rows().await[0]["cost_pico_usd"], 0);
}

#[tokio::test]
async fn an_answer_without_usage_is_counted_and_marked_so() {
    let bare = r#"{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"one two three"},"finish_reason":"stop"}]}"#;
    let upstream = Upstream::start(answer(200, bare)).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    flyball
        .chat(
            &[],
            r#"{"model":"m-small","messages":[{"role":"user","content":"Hello world"}]}"#,
        )
        .await;
    let row = &flyball.rows().await[0];
    // "Hello world" is 2 tokens and its frame 4; "one two three" is 3.
    assert_eq!(
        (
            &row["basis"],
            &row["tokens"]["input"],
            &row["tokens"]["output"]
        ),
        (&json!("counted"), &json!(6), &json!(3))
    );
}

#[tokio::test]
async fn a_long_json_answer_is_relayed_whole_and_its_usage_still_read() {
    let long = chat(10, 500_000).replace("hi there", &"x".repeat(3 * 1024 * 1024));
    let upstream = Upstream::start(answer(200, &long)).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let got = flyball
        .chat(
            &[],
            r#"{"model":"m-small","messages":[{"role":"user","content":"hi"}]}"#,
        )
        .await;
    assert!(
        got.body == long,
        "{} bytes of {}",
        got.body.len(),
        long.len()
    );
    assert_eq!(
        flyball.rows().await[0]["cost_pico_usd"],
        10_000_000 + 500_000 * 10_000_000_i64
    );
}

#[tokio::test]
async fn the_anthropic_dialect_is_relayed_and_priced() {
    let body = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-up","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"cache_creation_input_tokens":100,"cache_read_input_tokens":1000,"output_tokens":5}}"#;
    let upstream = Upstream::start(answer(200, body)).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "sk-ant").expect("a file");
    let toml = format!(
        "[[provider]]\nname = \"ant\"\nkind = \"anthropic\"\nbase_url = \"{}\"\napi_key = \"file:{}\"\n[[model]]\nname = \"claude-haiku-4-5\"\nprovider = \"ant\"\ntier = \"small\"\n",
        upstream.url(),
        dir.path().join("key").display()
    );
    let flyball = Flyball::start(&toml).await;
    let asked = r#"{"model":"claude-haiku-4-5","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}"#;
    let got = client::post(
        flyball.at(),
        "/v1/messages",
        &[
            ("anthropic-version", "2023-06-01"),
            ("authorization", "Bearer x"),
        ],
        asked,
    )
    .await;
    assert_eq!((got.status, got.body.as_str()), (200, body));
    let seen = &upstream.seen()[0];
    assert_eq!(
        (
            seen.body.as_str(),
            seen.header("x-api-key").as_deref(),
            seen.header("anthropic-version").as_deref()
        ),
        (asked, Some("sk-ant"), Some("2023-06-01"))
    );
    // $1 input, $0.10 cached, $1.25 cache write, $5 output a million.
    assert_eq!(got.header("x-flyball-cost-usd"), Some("0.00026"));
}

#[tokio::test]
async fn a_dead_a_stalled_and_a_cut_provider_are_told_in_anthropics_words_too() {
    let start = r#"{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"x","content":[],"usage":{"input_tokens":10,"output_tokens":1}}}"#;
    let half = vec![
        stream_head(),
        piece(&format!("event: message_start\ndata: {start}\n\n")),
        Step::Gate,
        Step::Reset,
    ];
    let (upstream, nobody) = (Upstream::start(vec![Step::Stall]).await, Nobody::new());
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "sk-ant").expect("a file");
    let provider = |name: &str, url: &str, model: &str| {
        format!(
            "[[provider]]\nname = \"{name}\"\nkind = \"anthropic\"\nbase_url = \"{url}\"\napi_key = \"file:{}\"\n[[model]]\nname = \"{model}\"\nprovider = \"{name}\"\ntier = \"small\"\n",
            dir.path().join("key").display()
        )
    };
    let fleet = [
        provider("up", &upstream.url(), "claude-haiku-4-5"),
        provider("dead", &nobody.url(), "claude-haiku-5-5"),
    ]
    .concat();
    let flyball = Flyball::start(&format!("{fleet}\n[limits]\ntotal = \"300ms\"\n")).await;
    let ask = async |flyball: &Flyball, model: &str, stream: bool| {
        let body = json!({"model": model, "max_tokens": 100, "stream": stream, "messages": [{"role": "user", "content": "hi"}]});
        send(flyball.at(), "/v1/messages", &[], &body.to_string()).await
    };
    for (model, status, kind) in [
        ("claude-haiku-5-5", 502, "api_error"),
        ("claude-haiku-4-5", 504, "timeout_error"),
    ] {
        let got = ask(&flyball, model, false).await.answer().await;
        let told = got.json();
        assert_eq!(
            (got.status, &told["type"], &told["error"]["type"]),
            (status, &json!("error"), &json!(kind)),
            "{}",
            got.body
        );
    }
    flyball.books_are_right().await;
    upstream.next(half);
    // Without a deadline, which a busy machine could miss; and cut after what came before was read, or it takes that along.
    let flyball = Flyball::start(&fleet).await;
    let mut call = ask(&flyball, "claude-haiku-4-5", true).await;
    call.until("message_start").await;
    upstream.open_gate();
    let got = call.answer().await;
    assert!(
        got.status == 200
            && got.body.contains("event: error\ndata: {\"type\":\"error\"")
            && !got.body.contains("message_stop"),
        "{}",
        got.body
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_let_go_and_charged() {
    // More than all buffers on the way hold.
    let long = piece(&delta(&"x".repeat(1024 * 1024)));
    let steps = std::iter::once(stream_head()).chain(std::iter::repeat_n(long, 32));
    let upstream = Upstream::start(steps.collect()).await;
    let flyball = Flyball::start(&format!(
        "{}\n[limits]\nidle = \"2s\"\n",
        compatible(&upstream)
    ))
    .await;
    let call = send(
        flyball.at(),
        "/v1/chat/completions",
        &[],
        r#"{"model":"m-small","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
    )
    .await;
    upstream.reached(1).await;
    assert_eq!(flyball.rows().await[0]["outcome"], "client_gone");
    flyball.books_are_right().await;
    drop(call);
}
