//! Bad input gets a clear error in the caller's dialect, and nothing is sent.

mod heads;

use crate::client::{get, post, raw};
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Upstream, answer, chat};
use serde_json::json;

async fn started() -> (Upstream, Flyball) {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&format!(
        "{}\n[limits]\nbody_bytes_max = 300000\n",
        compatible(&upstream)
    ))
    .await;
    (upstream, flyball)
}

#[tokio::test]
async fn a_wrong_body_is_a_400_that_names_the_field_in_both_dialects() {
    let (upstream, flyball) = started().await;
    let messages = r#""messages":[{"role":"user","content":"x"}]"#;
    let deep = format!(
        "{{\"model\":\"auto\",\"x\":{}1{},{messages}}}",
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    for (body, says) in [
        ("{".to_owned(), "JSON"),
        ("[1]".to_owned(), "JSON"),
        (deep, "nested"),
        (format!("{{{messages}}}"), "model"),
        (format!("{{\"model\":5,{messages}}}"), "model"),
        (
            format!("{{\"model\":\"auto\",\"model\":\"m-big\",{messages}}}"),
            "model",
        ),
        (
            format!("{{\"model\":\"auto\",\"max_tokens\":5,\"max_tokens\":50000,{messages}}}"),
            "max_tokens",
        ),
        (
            format!("{{\"model\":\"auto\",\"max_tokens\":\"5\",{messages}}}"),
            "max_tokens",
        ),
        (
            format!("{{\"model\":\"auto\",\"max_tokens\":-1.5,{messages}}}"),
            "max_tokens",
        ),
        (
            format!("{{\"model\":\"auto\",\"stream\":\"yes\",\"max_tokens\":5,{messages}}}"),
            "stream",
        ),
        (
            "{\"model\":\"auto\",\"max_tokens\":5,\"messages\":[]}".to_owned(),
            "messages",
        ),
        (
            "{\"model\":\"auto\",\"max_tokens\":5,\"messages\":\"x\"}".to_owned(),
            "messages",
        ),
    ] {
        let openai = flyball.chat(&[], &body).await;
        assert_eq!(openai.status, 400, "{says}: {}", openai.body);
        let error = openai.json()["error"].clone();
        assert_eq!(error["type"], "invalid_request_error");
        assert!(
            error["message"].as_str().is_some_and(|m| m.contains(says)),
            "{says}: {error}"
        );
        assert!(openai.header("x-flyball-request-id").is_some());
        let anthropic = post(flyball.at(), "/v1/messages", &[], &body).await;
        assert_eq!(
            (
                anthropic.status,
                &anthropic.json()["type"],
                &anthropic.json()["error"]["type"]
            ),
            (400, &json!("error"), &json!("invalid_request_error")),
            "{says}: {}",
            anthropic.body
        );
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn an_oversize_body_is_a_413_by_length_and_by_chunks() {
    let (upstream, flyball) = started().await;
    let body = format!(
        "{{\"model\":\"auto\",\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}",
        "x".repeat(300_000)
    );
    assert_eq!(flyball.chat(&[], &body).await.status, 413);
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(
        raw(flyball.at(), format!("{head}{chunk}").as_bytes())
            .await
            .answer()
            .await
            .status,
        413
    );
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn unknown_models_paths_methods_headers_and_requests_are_told_apart() {
    let (upstream, flyball) = started().await;
    let ask = |model: &str| {
        format!("{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]}}")
    };
    let unknown = flyball.chat(&[], &ask("nobody-has-this")).await;
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["code"]),
        (404, &json!("model_not_found"))
    );
    assert_eq!(
        get(flyball.at(), "/v1/chat/completions", &[]).await.status,
        405
    );
    assert_eq!(get(flyball.at(), "/v1/nothing", &[]).await.status, 404);
    assert_eq!(
        get(
            flyball.at(),
            "/flyball/requests/00000000-0000-0000-0000-000000000000",
            &[]
        )
        .await
        .status,
        404
    );
    assert_eq!(
        get(flyball.at(), "/flyball/requests/..%2f", &[])
            .await
            .status,
        404
    );
    for header in [
        ("x-flyball-objective", "best!"),
        ("x-flyball-effort", "much"),
        ("x-flyball-max-cost-usd", "-1"),
        ("x-flyball-privacy", "yes"),
        ("x-flyball-tags", "nopair"),
        ("x-flyball-wish", "1"),
    ] {
        let got = flyball.chat(&[header], &ask("m-small")).await;
        assert_eq!(
            (got.status, &got.json()["error"]["param"]),
            (400, &json!(header.0)),
            "{header:?}"
        );
    }
    for header in [("origin", "https://evil.example")] {
        assert_eq!(flyball.chat(&[header], &ask("m-small")).await.status, 403);
    }
    let rebound = raw(
        flyball.at(),
        b"GET /v1/models HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
    )
    .await
    .answer()
    .await;
    assert_eq!(rebound.status, 403);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn smuggling_attempts_reach_no_provider() {
    let (upstream, flyball) = started().await;
    for head in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: +5",
        "content-encoding: gzip\r\ncontent-length: 5",
    ] {
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{head}\r\n\r\n0\r\n\r\nxxxxx"
        );
        let got = raw(flyball.at(), request.as_bytes()).await.answer().await;
        assert_eq!(got.status, 400, "{head}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn without_a_valid_key_everything_is_a_401_in_the_callers_dialect() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", None, |_| {});
    make_key(&dir, "other", None, |_| {});
    let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
    let body = r#"{"model":"m-small","max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#;
    for key in [
        "",
        "Bearer ",
        "Bearer fb_ap",
        "Bearer fb_appp",
        "Bearer ' or 1=1",
        "Basic Zm9v",
    ] {
        let got = flyball.chat(&[("authorization", key)], body).await;
        assert_eq!(
            (got.status, &got.json()["error"]["code"]),
            (401, &json!("invalid_api_key")),
            "{key}"
        );
        assert!(!got.body.contains("fb_app"));
    }
    let anthropic = post(
        flyball.at(),
        "/v1/messages",
        &[("x-api-key", "wrong")],
        body,
    )
    .await;
    assert_eq!(
        (anthropic.status, &anthropic.json()["error"]["type"]),
        (401, &json!("authentication_error"))
    );
    assert_eq!(upstream.count(), 0);

    let got = flyball
        .chat(&[("authorization", "Bearer fb_app")], body)
        .await;
    let id = got
        .header("x-flyball-request-id")
        .expect("an id")
        .to_owned();
    let path = format!("/flyball/requests/{id}");
    assert_eq!(
        get(flyball.at(), &path, &[("authorization", "Bearer fb_app")])
            .await
            .status,
        200
    );
    assert_eq!(
        get(flyball.at(), &path, &[("authorization", "Bearer fb_other")])
            .await
            .status,
        404,
        "another key's request"
    );
}

#[tokio::test]
async fn a_config_with_five_mistakes_reports_all_five_with_file_and_line() {
    let toml = "listen = \"nowhere\"\n[[provider]]\nname = \"a\"\nkind = \"opnai\"\n[[model]]\nname = \"m\"\nprovider = \"b\"\ntier = \"smal\"\n[[cap]]\nusd = \"lots\"\nwindow = \"day\"\nbeseline = 1\n";
    let error = Flyball::try_start(tempfile::tempdir().expect("a folder"), toml)
        .await
        .err()
        .expect("refused");
    for says in [
        "flyball.toml:1",
        "flyball.toml:4",
        "\"openai\"",
        "flyball.toml:8",
        "\"small\"",
        "flyball.toml:10",
        "flyball.toml:12",
    ] {
        assert!(error.contains(says), "{says} is not in:\n{error}");
    }
}

#[tokio::test]
async fn a_busy_port_and_a_folder_in_use_are_errors_that_say_what_to_do() {
    let (_upstream, flyball) = started().await;
    let dir = tempfile::tempdir().expect("a folder");
    let mut overrides = crate::flyball::overrides(&dir);
    std::fs::write(dir.path().join("flyball.toml"), "[simulate]\n").expect("a file");
    overrides.listen = Some(flyball.at().to_string());
    let start = |overrides: flyball::config::Overrides| async move {
        let config = flyball::config::load(&overrides).expect("a config");
        flyball::process::start(config, overrides)
            .await
            .err()
            .expect("refused")
            .detail
    };
    assert!(start(overrides.clone()).await.contains("--listen"));
    overrides.listen = Some("127.0.0.1:0".into());
    overrides.data_dir = Some(flyball.data_dir());
    assert!(start(overrides.clone()).await.contains("--data-dir"));
    overrides.data_dir = Some(dir.path().join("data"));
    overrides.listen = Some("0.0.0.0:0".into());
    assert!(start(overrides).await.contains("flyball key create"));
}

#[tokio::test]
async fn the_admin_listener_refuses_writes_without_its_token_and_the_traffic_listener_has_no_admin()
{
    let (_upstream, flyball) = started().await;
    assert_eq!(
        post(flyball.running.admin, "/admin/v1/reload", &[], "")
            .await
            .status,
        401
    );
    assert_eq!(
        get(flyball.running.admin, "/healthz", &[]).await.status,
        200
    );
    for path in ["/metrics", "/admin/v1/caps", "/healthz"] {
        assert_eq!(get(flyball.at(), path, &[]).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn another_spelling_of_model_is_refused_since_some_servers_would_read_it() {
    let upstream = Upstream::start(answer(200, &chat(1, 1))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let body = r#"{"model":"m-small","Model":"m-big","messages":[{"role":"user","content":"hi"}]}"#;
    let got = flyball.chat(&[], body).await;
    assert_eq!(got.status, 400, "{}", got.body);
    assert!(got.body.contains("Model"));
    assert_eq!(upstream.count(), 0);
}
