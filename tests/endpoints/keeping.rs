//! Files and batches: passed on to the provider that keeps them.

use crate::client::{Answer, get, post, raw};
use crate::flyball::{Flyball, make_key};
use crate::scripted::{Upstream, answer};
use serde_json::json;

const VERSION: (&str, &str) = ("anthropic-version", "2026-10-21");

fn provider(name: &str, kind: &str, model: &str, upstream: &Upstream) -> String {
    let base = upstream.url();
    format!(
        "[[provider]]\nname = \"{name}\"\nkind = \"{kind}\"\nbase_url = \"{base}\"\napi_key = \"file:key\"\n\n[[model]]\nname = \"{model}\"\nprovider = \"{name}\"\ntier = \"small\"\n\n"
    )
}

async fn start(config: &str, keys: impl FnOnce(&tempfile::TempDir)) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    keys(&dir);
    // Batches that flyball keeps itself are tests/batches' matter.
    Flyball::start_in(dir, &format!("{config}\n[batch]\nkeep = false\n")).await
}

/// A body that is no text.
fn upload(path: &str, headers: &str) -> Vec<u8> {
    let body: &[u8] =
        b"--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b--\r\n";
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: multipart/form-data; boundary=b\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn uploaded(flyball: &Flyball, path: &str, headers: &str) -> Answer {
    raw(flyball.at(), &upload(path, headers))
        .await
        .answer()
        .await
}

#[tokio::test]
async fn a_file_and_a_batch_of_openais_go_to_openai_unread() {
    let upstream = Upstream::start(answer(200, r#"{"id":"file-1"}"#)).await;
    let both =
        provider("a", "anthropic", "m-a", &upstream) + &provider("o", "openai", "m-o", &upstream);
    let flyball = start(&both, |_| {}).await;
    let got = uploaded(&flyball, "/v1/files", "authorization: Bearer app\r\n").await;
    assert_eq!((got.status, got.body.as_str()), (200, r#"{"id":"file-1"}"#));
    assert_eq!(got.header("x-flyball-provider"), Some("o"));
    let seen = &upstream.seen()[0];
    assert!(
        seen.head.starts_with("POST /v1/files HTTP/1.1"),
        "{}",
        seen.head
    );
    assert!(seen.body.starts_with("--b\r\n") && seen.body.ends_with("--b--\r\n"));
    let kind = seen.header("content-type");
    assert_eq!(kind.as_deref(), Some("multipart/form-data; boundary=b"));
    assert_eq!(
        seen.header("authorization").as_deref(),
        Some("Bearer up-secret")
    );
    for (path, line) in [
        ("/v1/batches/b1?after=x", "GET /v1/batches/b1?after=x "),
        ("/openai/v1/files/f/content", "GET /v1/files/f/content "),
    ] {
        assert_eq!(get(flyball.at(), path, &[]).await.status, 200, "{path}");
        let seen = upstream.seen().pop().expect("a request");
        assert!(seen.head.starts_with(line), "{}", seen.head);
        assert_eq!(seen.header("content-type"), None);
    }
    let got = post(
        flyball.at(),
        "/v1/batches",
        &[],
        r#"{"input_file_id":"file-1"}"#,
    )
    .await;
    assert_eq!(got.status, 200);
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 4);
    for row in &rows {
        assert_eq!(
            (&row["cost_pico_usd"], &row["rule"]),
            (&json!(0), &json!("passed"))
        );
    }
    flyball.books_are_right().await;
}

#[tokio::test]
async fn anthropics_batches_go_to_anthropic_and_their_results_are_fetched_through_flyball() {
    let told = |host: &str| {
        format!(
            "{{\"id\":\"b\", \"results_url\" : \"{host}/v1/messages/batches/b/results\",\"x\":[{{\"results_url\":null,\"y\":\"z\"}}]}}"
        )
    };
    let upstream = Upstream::start(answer(200, &told("https://api.anthropic.com"))).await;
    let both =
        provider("o", "openai", "m-o", &upstream) + &provider("a", "anthropic", "m-a", &upstream);
    let flyball = start(&both, |_| {}).await;
    let got = post(
        flyball.at(),
        "/v1/messages/batches",
        &[VERSION],
        r#"{"requests":[]}"#,
    )
    .await;
    assert_eq!((got.status, got.body), (200, told("")));
    let path = "/v1/messages/batches/b/results";
    let got = get(flyball.at(), path, &[VERSION]).await;
    assert_eq!(got.header("x-flyball-provider"), Some("a"));
    let seen = upstream.seen();
    assert!(
        seen[0]
            .head
            .starts_with("POST /v1/messages/batches HTTP/1.1")
    );
    assert!(
        seen[1]
            .head
            .starts_with("GET /v1/messages/batches/b/results ")
    );
    assert_eq!(seen[1].header("x-api-key").as_deref(), Some("up-secret"));
    assert_eq!(
        get(flyball.at(), "/v1/files", &[VERSION])
            .await
            .header("x-flyball-provider"),
        Some("a")
    );
}

#[tokio::test]
async fn of_several_the_first_keeps_it_or_the_one_that_is_asked_for() {
    let upstream = Upstream::start(answer(200, "{}")).await;
    let three = provider("one", "openai", "m-1", &upstream)
        + &provider("two", "groq", "m-2", &upstream)
        + &provider("three", "anthropic", "m-3", &upstream);
    let flyball = start(&three, |_| {}).await;
    let ask = |name: &'static str| [("x-flyball-provider", name)];
    let at = "/v1/batches";
    assert_eq!(
        get(flyball.at(), at, &[])
            .await
            .header("x-flyball-provider"),
        Some("one")
    );
    let two = get(flyball.at(), at, &ask("two")).await;
    assert_eq!(two.header("x-flyball-provider"), Some("two"));
    for name in ["three", "nobody"] {
        let got = get(flyball.at(), at, &ask(name)).await;
        assert_eq!(got.status, 400, "{name}");
        assert!(got.body.contains("one, two"), "{}", got.body);
    }
    let body = r#"{"model":"m-1","messages":[{"role":"user","content":"hi"}]}"#;
    let got = flyball.chat(&ask("two"), body).await;
    assert_eq!(
        got.status, 400,
        "elsewhere nobody may be surprised: {}",
        got.body
    );
    assert!(
        upstream
            .seen()
            .iter()
            .all(|s| s.header("x-flyball-provider").is_none())
    );
    assert_eq!(get(flyball.at(), "/v1/files/../x", &[]).await.status, 400);
    let none = start(&provider("a", "anthropic", "m-a", &upstream), |_| {}).await;
    assert_eq!(get(none.at(), at, &[]).await.status, 404);
    assert_eq!(get(none.at(), "/v1/filesystem", &[]).await.status, 404);
}

#[tokio::test]
async fn what_a_cap_cannot_hold_and_what_is_confidential_is_refused() {
    let upstream = Upstream::start(answer(200, "{}")).await;
    let flyball = start(&provider("o", "openai", "m-o", &upstream), |dir| {
        make_key(dir, "capped", Some("5"), |_| {});
        make_key(dir, "own", None, |key| key.private = true);
        make_key(dir, "some", None, |key| key.models = vec!["m-*".into()]);
        make_key(dir, "free", None, |_| {});
    })
    .await;
    for (key, path, status, says) in [
        // A file costs nothing by itself.
        ("capped", "/v1/files", 200, "{}"),
        ("capped", "/v1/batches", 400, "flyball_unbounded"),
        ("own", "/v1/files", 403, "flyball_private"),
        ("some", "/v1/batches", 403, "model_not_allowed"),
        ("free", "/v1/files", 200, "{}"),
    ] {
        let auth = format!("authorization: Bearer fb_{key}\r\n");
        let got = uploaded(&flyball, path, &auth).await;
        assert_eq!(got.status, status, "{key} {path}: {}", got.body);
        assert!(got.body.contains(says), "{}", got.body);
    }
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_file_is_no_longer_than_the_limit_whether_its_length_is_told_or_not() {
    let upstream = Upstream::start(answer(200, "{}")).await;
    let config = provider("o", "openai", "m-o", &upstream) + "[limits]\nbody_bytes_max = 50\n";
    let flyball = start(&config, |_| {}).await;
    let got = uploaded(&flyball, "/v1/files", "").await;
    assert_eq!(got.status, 413, "{}", got.body);
    let chunk = "a".repeat(64);
    let chunked = format!(
        "POST /v1/files HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n40\r\n{chunk}\r\n0\r\n\r\n"
    );
    let got = raw(flyball.at(), chunked.as_bytes()).await.answer().await;
    assert_eq!(got.status, 413, "{}", got.body);
    assert!(got.body.contains("body_bytes_max"), "{}", got.body);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_client_that_does_not_send_its_whole_file_is_told_so_and_not_waited_for() {
    let upstream = Upstream::start(answer(200, "{}")).await;
    let config = provider("o", "openai", "m-o", &upstream) + "[limits]\nclient_body = \"100ms\"\n";
    let flyball = start(&config, |_| {}).await;
    let head = "POST /v1/files HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 9\r\n\r\nhalf";
    let got = raw(flyball.at(), head.as_bytes()).await.answer().await;
    assert_eq!(got.status, 408, "{}", got.body);
    assert_eq!(flyball.rows().await[0]["outcome"], "not_sent");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn the_answer_to_a_job_in_the_background_is_fetched_where_it_was_started() {
    let queued = r#"{"id":"resp_1","object":"response","status":"queued","background":true,"model":"m-o","output":[],"usage":null,"error":null}"#;
    let done = r#"{"id":"resp_1","object":"response","status":"completed","model":"m-o","output":[],"usage":{"input_tokens":1000,"output_tokens":50000,"total_tokens":51000}}"#;
    let upstream = Upstream::start(answer(200, done)).await;
    let flyball = start(&provider("o", "openai", "m-o", &upstream), |dir| {
        make_key(dir, "capped", Some("5"), |_| {});
        make_key(dir, "free", None, |_| {});
    })
    .await;
    let free = [("authorization", "Bearer fb_free")];
    let body = r#"{"model":"m-o","input":"Prove it all","background":true}"#;
    upstream.only(answer(200, queued));
    let got = post(flyball.at(), "/v1/responses", &free, body).await;
    assert_eq!((got.status, got.body.as_str()), (200, queued));
    for path in [
        "/v1/responses/resp_1",
        "/openai/v1/responses/resp_1",
        "/p/o/v1/responses/resp_1",
        "/v1/responses/resp_1/input_items?limit=2",
    ] {
        let got = get(flyball.at(), path, &free).await;
        assert_eq!((got.status, got.body.as_str()), (200, done), "{path}");
        let seen = upstream.seen().pop().expect("a request");
        let to = path
            .trim_start_matches("/openai")
            .trim_start_matches("/p/o");
        assert!(
            seen.head.starts_with(&format!("GET {to} HTTP")),
            "{}",
            seen.head
        );
    }
    for (method, path, status) in [
        ("DELETE", "/v1/responses/resp_1", 200),
        ("POST", "/v1/responses/resp_1/cancel", 200),
        // Nothing else there is known to be no work of a model.
        ("POST", "/v1/responses/compact", 404),
        ("PUT", "/v1/responses/resp_1", 404),
    ] {
        let call = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer fb_free\r\ncontent-length: 0\r\n\r\n"
        );
        let got = raw(flyball.at(), call.as_bytes()).await.answer().await;
        assert_eq!(got.status, status, "{method} {path}: {}", got.body);
    }
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 7);
    assert!(rows.iter().all(|row| row["cost_pico_usd"] == 0), "{rows:?}");
    let metrics = flyball.metrics().await;
    assert!(
        metrics.contains("flyball_unmetered_total{provider=\"o\"} 6"),
        "the calls that ask for it cost nothing: {metrics}"
    );
    let capped = [("authorization", "Bearer fb_capped")];
    let got = post(flyball.at(), "/v1/responses", &capped, body).await;
    assert_eq!(got.status, 400, "the model has no price: {}", got.body);
    let got = get(flyball.at(), "/v1/responses/resp_1", &capped).await;
    assert_eq!(got.status, 404, "another key has begun it: {}", got.body);
    let got = get(flyball.at(), "/p/o/v1/responses/resp_1", &capped).await;
    assert_eq!(got.status, 400, "what is only passed on has no bound");
}

#[tokio::test]
async fn a_long_list_of_batches_names_addresses_here_too() {
    let one =
        r#"{"id":"b","results_url":"https://api.anthropic.com/v1/messages/batches/b/results","x":""#
            .to_owned()
            + &"y".repeat(2_000) + "\"}";
    let list = format!("{{\"data\":[{}]}}", vec![one; 1_000].join(","));
    assert!(list.len() > 1024 * 1024);
    let upstream = Upstream::start(answer(200, &list)).await;
    let flyball = start(&provider("a", "anthropic", "m-a", &upstream), |_| {}).await;
    for path in [
        "/v1/messages/batches?limit=1000",
        "/p/a/v1/messages/batches?limit=1000",
    ] {
        let got = get(flyball.at(), path, &[VERSION]).await;
        assert_eq!(got.status, 200, "{path}");
        assert!(
            got.body == list.replace("https://api.anthropic.com", ""),
            "{path}"
        );
    }
}
