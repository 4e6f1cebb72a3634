//! `/p/{provider}/…`: passed on as it is, metered, refused where a cap would have to bound it.

use crate::client::{Answer, get, post, raw, send};
use crate::flyball::{Flyball, make_key};
use crate::scripted::{Step, Upstream, answer, chat, delta, end, finish, piece, stream_head};
use serde_json::{Value, json};

/// Two providers: one of this kind with a key and a priced model, one local without.
fn config(kind: &str, upstream: &Upstream) -> String {
    let base = upstream.url();
    format!(
        r#"
[[provider]]
name = "up"
kind = "{kind}"
base_url = "{base}"
local = false
api_key = "file:key"

[[provider]]
name = "home"
kind = "ollama"
base_url = "{base}"

[[model]]
name = "m-up"
provider = "up"
tier = "small"
input_usd_per_mtok = 1
output_usd_per_mtok = 10

[[model]]
name = "m-home"
provider = "home"
"#
    )
}

async fn start(kind: &str, upstream: &Upstream, keys: impl FnOnce(&tempfile::TempDir)) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    keys(&dir);
    Flyball::start_in(dir, &config(kind, upstream)).await
}

async fn row(flyball: &Flyball) -> Value {
    let mut rows = flyball.rows().await;
    rows.pop().expect("a row")
}

const BODY: &str = "{ \"model\":\"m-up\", \"messages\":[{\"role\":\"user\",\"content\":\"hi\"}] }";

#[tokio::test]
async fn a_call_goes_to_the_provider_as_it_is_with_its_key_and_is_booked() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = start("openai", &upstream, |_| {}).await;
    let path = "/p/up/v1/chat/completions?a=1&key=app&b=2";
    let headers = [
        ("authorization", "Bearer app"),
        ("cookie", "c=1"),
        ("x-flyball-session", "s"),
        ("x-mine", "1"),
    ];
    let got = post(flyball.at(), path, &headers, BODY).await;
    assert_eq!((got.status, got.body), (200, chat(10, 5)));
    let seen = &upstream.seen()[0];
    let line = "POST /v1/chat/completions?a=1&b=2 HTTP/1.1";
    assert!(seen.head.starts_with(line), "{}", seen.head);
    assert_eq!(seen.body, BODY);
    let key = seen.header("authorization");
    assert_eq!(key.as_deref(), Some("Bearer up-secret"));
    assert_eq!(seen.header("x-mine").as_deref(), Some("1"));
    for gone in ["cookie", "x-flyball-session"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    let row = row(&flyball).await;
    for (field, value) in [
        ("provider", json!("up")),
        ("model", json!("m-up")),
        ("rule", json!("passed")),
        ("basis", json!("reported")),
        ("cost_pico_usd", json!(60_000_000)),
    ] {
        assert_eq!(row[field], value, "{field}");
    }
    flyball.books_are_right().await;
}

#[tokio::test]
async fn the_cost_of_every_wire_is_found_where_its_vendor_tells_it() {
    let usage =
        r#""usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15}"#;
    let gemini = format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"STOP"}}],{usage}}}"#
    );
    let anthropic = r#"{"type":"message","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":5}}"#;
    let legacy = r#"{"object":"text_completion","choices":[{"text":"a","finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#;
    let embedded =
        r#"{"data":[{"index":0,"embedding":[1]}],"usage":{"prompt_tokens":60,"total_tokens":60}}"#;
    for (kind, path, said) in [
        ("openai", "/v1/chat/completions", chat(10, 5).as_str()),
        ("openai", "/v1/completions", legacy),
        ("openai", "/v1/embeddings", embedded),
        ("anthropic", "/v1/messages", anthropic),
        ("gemini", "/v1beta/models/m-up:generateContent", &gemini),
        ("deepseek", "/anthropic/v1/messages", anthropic),
        (
            "azure",
            "/openai/deployments/m-up/chat/completions",
            &chat(10, 5),
        ),
    ] {
        let upstream = Upstream::start(answer(200, said)).await;
        let flyball = start(kind, &upstream, |_| {}).await;
        let body = BODY.replace("\"messages\"", "\"input\":\"a\",\"messages\"");
        let got = post(flyball.at(), &format!("/p/up{path}"), &[], &body).await;
        assert_eq!((got.status, got.body.as_str()), (200, said), "{path}");
        assert_eq!(got.header("x-flyball-cost-usd"), Some("0.00006"), "{path}");
        let row = row(&flyball).await;
        assert_eq!(
            (&row["model"], &row["basis"]),
            (&json!("m-up"), &json!("reported")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_stream_passes_untouched_and_is_booked_at_its_end() {
    let events: Vec<String> = [delta("Hel"), delta("lo")]
        .into_iter()
        .chain(finish(10, 5))
        .collect();
    let stream: Vec<Step> = std::iter::once(stream_head())
        .chain(events.iter().map(|e| piece(e)))
        .chain([end()])
        .collect();
    let upstream = Upstream::start(stream).await;
    let flyball = start("openai", &upstream, |_| {}).await;
    let path = "/p/up/v1/chat/completions";
    let body = BODY.replace("{ ", "{\"stream\":true,");
    let got = post(flyball.at(), path, &[("te", "trailers")], &body).await;
    assert_eq!(got.body, events.concat());
    assert_eq!(upstream.seen()[0].body, body, "no usage is asked for");
    assert!(got.trailers.contains("x-flyball-cost-usd: 0.00006"));
    assert_eq!(row(&flyball).await["cost_pico_usd"], 60_000_000);
    // Without usage the words are counted; cut short, nothing is added.
    let cut = vec![stream_head(), piece(&delta("Hello")), Step::Close];
    upstream.next(cut);
    let got = post(flyball.at(), path, &[], &body).await;
    assert_eq!(got.body, delta("Hello"));
    let last = row(&flyball).await;
    assert_eq!(last["outcome"], "stream_cut");
    assert!(last["cost_pico_usd"].as_i64() > Some(0));
    upstream.next(vec![stream_head(), piece(&delta("Hello")), end()]);
    post(flyball.at(), path, &[], &body).await;
    let last = row(&flyball).await;
    assert_eq!(
        (&last["basis"], &last["tokens"]["output"]),
        (&json!("counted"), &json!(1))
    );
}

#[tokio::test]
async fn what_tells_no_usage_is_a_row_without_cost_and_counted() {
    let upstream = Upstream::start(answer(200, r#"{"data":[]}"#)).await;
    let flyball = start("openai", &upstream, |_| {}).await;
    let got = get(flyball.at(), "/p/up/v1/models", &[]).await;
    assert_eq!((got.status, got.body.as_str()), (200, r#"{"data":[]}"#));
    let seen = &upstream.seen()[0];
    assert!(seen.head.starts_with("GET /v1/models HTTP/1.1"));
    assert_eq!(seen.header("content-type"), None);
    let found = row(&flyball).await;
    assert_eq!(
        (&found["model"], &found["outcome"]),
        (&json!("unknown"), &json!("ok"))
    );
    assert_eq!(found["cost_pico_usd"], 0);
    let call = "DELETE /p/up/v1/files/f HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let got = raw(flyball.at(), call.as_bytes()).await.answer().await;
    assert_eq!(got.status, 200);
    assert!(upstream.seen()[1].head.starts_with("DELETE /v1/files/f "));
    let metrics = flyball.metrics().await;
    assert!(
        metrics.contains("flyball_unmetered_total{provider=\"up\"} 2"),
        "{metrics}"
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn an_answer_without_a_body_is_whole_and_not_a_client_that_left() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n";
    let upstream = Upstream::start(vec![Step::Send(head.into())]).await;
    let flyball = start("openai", &upstream, |_| {}).await;
    for (status, steps) in [(200, None), (204, Some("HTTP/1.1 204 No Content\r\n\r\n"))] {
        if let Some(steps) = steps {
            upstream.next(vec![Step::Send(steps.into())]);
        }
        let method = if steps.is_none() { "HEAD" } else { "GET" };
        let call = format!(
            "{method} /p/up/v1/files/f HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        );
        let got = raw(flyball.at(), call.as_bytes()).await.answer().await;
        assert_eq!(got.status, status);
        assert_eq!(row(&flyball).await["outcome"], "ok", "{status}");
    }
}

#[tokio::test]
async fn what_a_client_that_left_was_told_is_counted_where_nothing_was_reserved() {
    let stream = vec![stream_head(), piece(&delta("one two three")), Step::Stall];
    let upstream = Upstream::start(stream).await;
    let flyball = start("openai", &upstream, |_| {}).await;
    let body = BODY.replace("{ ", "{\"stream\":true,");
    let mut call = send(flyball.at(), "/p/up/v1/chat/completions", &[], &body).await;
    call.until("three").await;
    drop(call);
    upstream.peer_closed().await;
    let found = row(&flyball).await;
    assert_eq!(
        (&found["outcome"], &found["basis"]),
        (&json!("client_gone"), &json!("counted"))
    );
    assert!(found["cost_pico_usd"].as_i64() > Some(0), "{found}");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_path_cannot_leave_the_providers_address() {
    let upstream = Upstream::start(answer(200, "{}")).await;
    let flyball = start("openai", &upstream, |_| {}).await;
    for path in [
        "/p/up/../admin",
        "/p/up/v1/%2e%2E/x",
        "/p/up/v1/./x",
        "/p/up//evil.example/x",
        "/p/up/v1%2f..%2fx",
        "/p/up/v1/..%5cx",
        "/p/up/v1/..",
        &format!("/p/up/{}", "a".repeat(3_000)),
    ] {
        let got = get(flyball.at(), path, &[]).await;
        assert_eq!(got.status, 400, "{path}");
    }
    for path in [
        "/p/nope/v1/models",
        "/p/up.evil.example/x",
        "/p/",
        "/p/up@evil/x",
    ] {
        let got = get(flyball.at(), path, &[]).await;
        assert_eq!(got.status, 404, "{path}");
        assert!(got.body.contains("up, home"), "{}", got.body);
    }
    let got = raw(
        flyball.at(),
        b"TRACE /p/up/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(got.answer().await.status, 405);
    assert_eq!(upstream.count(), 0);
    upstream.next(vec![Step::Send(
        b"HTTP/1.1 302 X\r\nlocation: https://evil.example\r\ncontent-length: 0\r\n\r\n".to_vec(),
    )]);
    assert_eq!(get(flyball.at(), "/p/up/x", &[]).await.status, 502);
}

async fn passed(
    flyball: &Flyball,
    key: &str,
    headers: &[(&str, &str)],
    at: &str,
    body: &str,
) -> Answer {
    let secret = format!("Bearer fb_{key}");
    let mut all = vec![("authorization", secret.as_str())];
    all.extend(headers);
    post(flyball.at(), at, &all, body).await
}

#[tokio::test]
async fn caps_models_and_privacy_hold_for_it() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = start("openai", &upstream, |dir| {
        make_key(dir, "capped", Some("5"), |_| {});
        make_key(dir, "counted", None, |key| {
            key.caps = vec![flyball::ledger::cap::Cap::parse("1requests/day").expect("a cap")]
        });
        make_key(dir, "some", None, |key| key.models = vec!["m-home".into()]);
        make_key(dir, "free", None, |_| {});
    })
    .await;
    let chat_at = "/p/up/v1/chat/completions";
    let got = passed(&flyball, "capped", &[], chat_at, BODY).await;
    assert_eq!(got.status, 400);
    assert!(got.body.contains("flyball_unbounded"), "{}", got.body);
    let max = [("x-flyball-max-cost-usd", "1")];
    assert_eq!(
        passed(&flyball, "free", &max, chat_at, BODY).await.status,
        400
    );
    assert_eq!(
        passed(&flyball, "counted", &[], chat_at, BODY).await.status,
        200
    );
    assert_eq!(
        passed(&flyball, "counted", &[], chat_at, BODY).await.status,
        402
    );
    let some = passed(&flyball, "some", &[], chat_at, BODY).await;
    assert_eq!(some.status, 404, "{}", some.body);
    assert!(some.body.contains("There is: home."), "{}", some.body);
    let home = "/p/home/api/chat";
    let own = r#"{"model":"m-home","messages":[]}"#;
    let private = [("x-flyball-privacy", "local")];
    for (key, headers, at, body, status) in [
        ("some", &[][..], home, own, 200),
        (
            "some",
            &[],
            home,
            r#"{"model":"m-home","Model":"m-up","messages":[]}"#,
            403,
        ),
        (
            "some",
            &[],
            home,
            r#"{"model":"m-home","name":"m-up"}"#,
            403,
        ),
        ("some", &[], home, r#"{"messages":[]}"#, 403),
        ("some", &[], home, r#"{"model":"m-home""#, 400),
        ("some", &[], "/p/home/v1/models/m-up", own, 403),
        ("free", &private, chat_at, BODY, 403),
        ("free", &private, home, own, 200),
        (
            "free",
            &private,
            home,
            r#"{"model":"gpt-oss:120b-cloud","messages":[]}"#,
            403,
        ),
        (
            "free",
            &private,
            home,
            r#"{"model":"m-home","MODEL":"x-cloud"}"#,
            403,
        ),
    ] {
        let got = passed(&flyball, key, headers, at, body).await;
        assert_eq!(got.status, status, "{key} {at} {body}: {}", got.body);
    }
    assert_eq!(upstream.count(), 3);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn legacy_completions_go_to_the_provider_of_their_model() {
    let legacy = r#"{"object":"text_completion","choices":[{"text":"a","finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#;
    let upstream = Upstream::start(answer(200, legacy)).await;
    let flyball = start("openai", &upstream, |dir| {
        make_key(dir, "capped", Some("5"), |_| {});
        make_key(dir, "free", None, |_| {});
    })
    .await;
    let body = "{\"prompt\" : \"a\", \"model\":\"m-up\"}";
    let at = "/v1/completions";
    let got = passed(&flyball, "free", &[], at, body).await;
    assert_eq!((got.status, got.body.as_str()), (200, legacy));
    assert_eq!(got.header("x-flyball-cost-usd"), Some("0.00006"));
    let seen = &upstream.seen()[0];
    assert!(seen.head.starts_with("POST /v1/completions ") && seen.body == body);
    let azure = "/openai/deployments/m-up/completions";
    assert_eq!(
        passed(&flyball, "free", &[], azure, r#"{"prompt":"a"}"#)
            .await
            .status,
        200
    );
    assert!(upstream.seen()[1].body.contains(r#""model":"m-up""#));
    // Without usage the words are counted, on both sides.
    let piece_of = |text: &str| {
        piece(&format!(
            "data: {{\"choices\":[{{\"text\":\"{text}\"}}]}}\n\n"
        ))
    };
    upstream.next(vec![
        stream_head(),
        piece_of("one two"),
        piece_of(" three"),
        end(),
    ]);
    let streamed = r#"{"prompt":"count to three","model":"m-up","stream":true}"#;
    assert_eq!(
        passed(&flyball, "free", &[], at, streamed).await.status,
        200
    );
    let found = row(&flyball).await;
    assert_eq!(
        (&found["basis"], &found["tokens"]["output"]),
        (&json!("counted"), &json!(3))
    );
    assert!((3..=6).contains(&found["tokens"]["input"].as_u64().expect("a number")));
    upstream.next(answer(
        200,
        r#"{"object":"text_completion","choices":[{"text":"one two"},{"text":" three"}]}"#,
    ));
    let whole = r#"{"prompt":"count to three","model":"m-up"}"#;
    assert_eq!(passed(&flyball, "free", &[], at, whole).await.status, 200);
    let found = row(&flyball).await;
    assert_eq!(
        (&found["basis"], &found["tokens"]["output"]),
        (&json!("counted"), &json!(3))
    );
    assert!((3..=6).contains(&found["tokens"]["input"].as_u64().expect("a number")));
    for (key, body, status, says) in [
        ("capped", body, 400, "flyball_unbounded"),
        (
            "free",
            r#"{"prompt":"a","model":"auto"}"#,
            400,
            "not routed",
        ),
        ("free", r#"{"prompt":"a","model":"nope"}"#, 404, "nope"),
        ("free", r#"{"prompt":"a"}"#, 400, "model"),
        ("free", r#"{"model":"m-up","model":"m-home"}"#, 400, "model"),
    ] {
        let got = passed(&flyball, key, &[], at, body).await;
        assert_eq!(got.status, status, "{body}: {}", got.body);
        assert!(got.body.contains(says), "{}", got.body);
    }
    assert_eq!(upstream.count(), 4);
}

#[tokio::test]
async fn what_names_no_model_or_more_than_one_dodges_no_cap_no_list_and_no_privacy() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let capped = |cap: &str| vec![flyball::ledger::cap::Cap::parse(cap).expect("a cap")];
    let flyball = start("openai", &upstream, |dir| {
        make_key(dir, "dear", None, |key| {
            key.caps = capped("0.01usd/day model=m-dear*")
        });
        make_key(dir, "tier", None, |key| {
            key.caps = capped("0.01usd/day tier=reasoning")
        });
        make_key(dir, "counted", None, |key| {
            key.caps = capped("1requests/day model=m-dear*")
        });
        make_key(dir, "some", None, |key| key.models = vec!["m-up".into()]);
        make_key(dir, "free", None, |_| {});
    })
    .await;
    let chat_at = "/p/up/v1/chat/completions";
    let bom = format!("\u{FEFF}{}", BODY.replace("m-up", "m-dear"));
    let others = BODY.replace("\"messages\"", "\"models\":[\"m-dear\"],\"messages\"");
    let long = BODY.replace("m-up", &"m".repeat(300));
    let nested = r#"{"model":"m-up","requests":[{"params":{"model":"m-dear"}}]}"#;
    let private = [("x-flyball-privacy", "local")];
    for (key, headers, at, body, status) in [
        ("dear", &[][..], "/v1/batches", "{}", 400),
        ("tier", &[], "/v1/batches", "{}", 400),
        ("counted", &[], "/p/up/v1/images/edits", "model=m-dear", 400),
        ("dear", &[], chat_at, &bom, 400),
        ("dear", &[], chat_at, &others, 400),
        ("dear", &[], "/v1/chat/completions", &others, 400),
        ("dear", &[], chat_at, &long, 400),
        ("dear", &[], "/p/up/v1/batches", nested, 400),
        ("dear", &[], chat_at, BODY, 200),
        ("some", &[], chat_at, &others, 403),
        ("some", &[], "/v1/chat/completions", &others, 400),
        ("some", &[], "/p/up/v1/batches", nested, 403),
        ("some", &[], chat_at, BODY, 200),
        (
            "free",
            &private,
            "/p/home/api/web_search",
            "{\"query\":\"x\"}",
            403,
        ),
        ("free", &[], chat_at, &bom, 200),
        ("free", &[], chat_at, &others, 200),
    ] {
        let got = passed(&flyball, key, headers, at, body).await;
        assert_eq!(got.status, status, "{key} {at} {body}: {}", got.body);
    }
    assert_eq!(upstream.count(), 4);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_json_stream_comes_at_once_and_a_batchs_results_are_fetched_here() {
    let results = r#"{"results_url":"https://up.example/v1/messages/batches/b/results"}"#;
    let upstream = Upstream::start(answer(200, results)).await;
    let flyball = start("anthropic", &upstream, |_| {}).await;
    let got = get(flyball.at(), "/p/up/v1/messages/batches/b", &[]).await;
    assert_eq!(
        got.body,
        r#"{"results_url":"/v1/messages/batches/b/results"}"#
    );
    let upstream = Upstream::start(vec![
        Step::Send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[{\r\n".to_vec()),
        Step::Stall,
    ])
    .await;
    let flyball = start("gemini", &upstream, |_| {}).await;
    let at = "/p/up/v1beta/models/m-up:streamGenerateContent";
    let mut call = send(flyball.at(), at, &[], "{\"contents\":[]}").await;
    let first = call.until("[{").await;
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
}

#[tokio::test]
async fn embeddings_that_tell_no_usage_are_counted_by_their_words_if_they_are_words() {
    let vectors = r#"{"data":[{"index":0,"embedding":[0.5]}],"model":"m-up"}"#;
    let upstream = Upstream::start(answer(200, vectors)).await;
    let flyball = start("openai", &upstream, |_| {}).await;
    let at = "/p/up/v1/embeddings";
    for (input, basis, tokens) in [
        (r#""Hello world""#, "counted", 3),
        // What it holds cannot be counted.
        (r#"[{"image":"aGk="}]"#, "counted", 0),
    ] {
        let body = format!("{{\"input\":{input},\"model\":\"m-up\"}}");
        let got = post(flyball.at(), at, &[], &body).await;
        assert_eq!((got.status, got.body.as_str()), (200, vectors), "{input}");
        let found = flyball.rows().await.pop().expect("a row");
        assert_eq!(
            (&found["basis"], &found["tokens"]["input"]),
            (&json!(basis), &json!(tokens)),
            "{input}"
        );
    }
    let metrics = flyball.metrics().await;
    assert!(
        metrics.contains("flyball_unmetered_total{provider=\"up\"} 1"),
        "{metrics}"
    );
    flyball.books_are_right().await;
}
