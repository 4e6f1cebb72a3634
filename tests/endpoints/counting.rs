//! Counting a prompt's tokens: by the provider whose model is named, else here.

use crate::client::{Answer, post};
use crate::flyball::{Flyball, make_key};
use crate::scripted::{Step, Upstream, answer};

const ASKED: &str = "{\"model\" : \"claude-x\", \"messages\":[{\"role\":\"user\",\"content\":\"The capital of France is\"}]}";
const AT: &str = "/v1/messages/count_tokens";
const VERSION: (&str, &str) = ("anthropic-version", "2026-10-21");

fn config(kind: &str, upstream: &Upstream) -> String {
    let base = upstream.url();
    format!(
        "[[provider]]\nname = \"up\"\nkind = \"{kind}\"\nbase_url = \"{base}\"\nlocal = false\napi_key = \"file:key\"\n\n[[model]]\nname = \"claude-x\"\nprovider = \"up\"\ntier = \"standard\"\n"
    )
}

async fn flyball(kind: &str, upstream: &Upstream, key: impl FnOnce(&tempfile::TempDir)) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    key(&dir);
    Flyball::start_in(dir, &config(kind, upstream)).await
}

async fn count(flyball: &Flyball, headers: &[(&str, &str)], body: &str) -> Answer {
    post(flyball.at(), AT, headers, body).await
}

#[tokio::test]
async fn the_provider_counts_for_the_model_that_is_named_and_nothing_is_booked() {
    let upstream = Upstream::start(answer(200, r#"{"input_tokens":14}"#)).await;
    let flyball = flyball("anthropic", &upstream, |_| {}).await;
    let got = count(&flyball, &[VERSION, ("x-api-key", "app")], ASKED).await;
    assert_eq!(
        (got.status, got.body.as_str()),
        (200, r#"{"input_tokens":14}"#)
    );
    assert_eq!(got.header("x-flyball-basis"), Some("reported"));
    assert_eq!(got.header("x-flyball-model"), Some("claude-x"));
    let seen = &upstream.seen()[0];
    assert_eq!(seen.body, ASKED);
    assert!(
        seen.head
            .starts_with("POST /v1/messages/count_tokens HTTP/1.1")
    );
    assert_eq!(seen.header("x-api-key").as_deref(), Some("up-secret"));
    assert_eq!(seen.header("anthropic-version").as_deref(), Some(VERSION.1));
    assert!(flyball.rows().await.is_empty(), "it costs nothing");
}

#[tokio::test]
async fn geminis_count_is_asked_of_gemini() {
    let upstream = Upstream::start(answer(200, r#"{"totalTokens":5}"#)).await;
    let flyball = flyball("gemini", &upstream, |_| {}).await;
    let body = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;
    let path = "/v1/models/claude-x:countTokens?key=app";
    let got = post(flyball.at(), path, &[], body).await;
    assert_eq!(
        (got.status, got.body.as_str()),
        (200, r#"{"totalTokens":5}"#)
    );
    let seen = &upstream.seen()[0];
    let line = "POST /v1beta/models/claude-x:countTokens HTTP/1.1";
    assert!(seen.head.starts_with(line), "{}", seen.head);
    assert_eq!(seen.header("x-goog-api-key").as_deref(), Some("up-secret"));
}

#[tokio::test]
async fn what_must_not_or_cannot_be_asked_is_counted_here() {
    let upstream = Upstream::start(answer(200, r#"{"input_tokens":14}"#)).await;
    let flyball = flyball("anthropic", &upstream, |_| {}).await;
    let auto = ASKED.replace("claude-x", "auto");
    let sealed = ASKED.replace("France", "flyball1.abc");
    for (headers, body) in [
        (&[VERSION, ("x-flyball-privacy", "local")][..], ASKED),
        (&[VERSION], &auto),
        (&[VERSION], &sealed),
    ] {
        let got = count(&flyball, headers, body).await;
        assert_eq!(got.header("x-flyball-basis"), Some("counted"), "{body}");
        assert!(got.json()["input_tokens"].as_u64() > Some(5));
    }
    assert_eq!(upstream.count(), 0);
    for failing in [
        answer(500, "{}"),
        answer(429, "{}"),
        answer(401, "{}"),
        answer(302, ""),
        vec![Step::Reset],
    ] {
        upstream.next(failing);
        let got = count(&flyball, &[VERSION], ASKED).await;
        assert_eq!(
            (got.status, got.header("x-flyball-basis")),
            (200, Some("counted"))
        );
    }
    let sim = Flyball::start("[simulate]\nspeed = 100.0\n").await;
    let got = count(&sim, &[VERSION], ASKED).await;
    assert_eq!(got.header("x-flyball-basis"), Some("counted"));
}

#[tokio::test]
async fn that_the_request_is_wrong_is_the_providers_word_and_a_forbidden_model_is_not_asked() {
    let error = r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x up-secret"}}"#;
    let upstream = Upstream::start(answer(404, error)).await;
    let key = |dir: &tempfile::TempDir| {
        make_key(dir, "app", None, |_| {});
        make_key(dir, "other", None, |key| key.models = vec!["m-*".into()]);
    };
    let flyball = flyball("anthropic", &upstream, key).await;
    let got = count(&flyball, &[VERSION, ("x-api-key", "fb_app")], ASKED).await;
    let redacted = error.replace("up-secret", "[redacted]");
    assert_eq!((got.status, got.body.clone()), (404, redacted));
    assert_eq!(got.header("x-flyball-basis"), None);
    let got = count(&flyball, &[VERSION, ("x-api-key", "fb_other")], ASKED).await;
    assert_eq!(got.status, 403);
    assert_eq!(upstream.count(), 1);
}
