//! What leads nowhere says where to go: paths that a wrong base URL makes, and providers that fail.

use crate::client::{get, post};
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Nobody, Step, Upstream, answer, chat};

#[tokio::test]
async fn a_path_that_a_wrong_base_url_makes_says_the_right_one() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    for (path, told) in [
        (
            "/v1/v1/chat/completions",
            "Did you mean /v1/chat/completions?",
        ),
        ("/v1/v1/responses", "Did you mean /v1/responses?"),
        ("/v1/v1/messages", "Did you mean /v1/messages?"),
        ("/v1/v1/embeddings", "Did you mean /v1/embeddings?"),
        ("/v1/messages/v1/messages", "Did you mean /v1/messages?"),
        (
            "/api/v1/chat/completions",
            "Did you mean /v1/chat/completions?",
        ),
        ("/v1/api/chat", "Did you mean /api/chat?"),
        (
            "/v1/v1beta/models/m-small:generateContent",
            "Did you mean /v1beta/models/m-small:generateContent?",
        ),
        (
            "/chat/completions",
            "Did you mean /v1/chat/completions? End the base URL with /v1.",
        ),
        ("/responses", "Did you mean /v1/responses?"),
        ("/messages", "Did you mean /v1/messages?"),
        ("/embeddings", "Did you mean /v1/embeddings?"),
        ("/nowhere", "flyball has no /nowhere."),
    ] {
        let got = post(flyball.at(), path, &[], "{}").await;
        assert_eq!(got.status, 404, "{path}: {}", got.body);
        assert!(got.body.contains(told), "{path}: {}", got.body);
        assert_eq!(
            got.body.contains("Did you mean"),
            path != "/nowhere",
            "{path}"
        );
    }
    for (path, told) in [
        ("/v1/v1/models", "Did you mean /v1/models?"),
        ("/metrics", "http://127.0.0.1:8485/metrics"),
        ("/healthz", "http://127.0.0.1:8485/healthz"),
        ("/readyz", "http://127.0.0.1:8485/readyz"),
        ("/admin/v1/caps", "admin listener"),
    ] {
        let got = get(flyball.at(), path, &[]).await;
        assert_eq!(got.status, 404, "{path}: {}", got.body);
        assert!(got.body.contains(told), "{path}: {}", got.body);
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_provider_that_fails_is_named_with_its_model_and_the_cause() {
    let nobody = Nobody::new();
    let resets = Upstream::start(vec![Step::Reset]).await;
    let closes = Upstream::start(vec![Step::Close]).await;
    let broken = Upstream::start(vec![
        Step::Send(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
                .to_vec(),
        ),
        Step::Close,
    ])
    .await;
    let moved = Upstream::start(vec![Step::Send(
        b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n".to_vec(),
    )])
    .await;
    let any = resets.url();
    for (url, cause) in [
        (nobody.url(), "cannot be reached: it refused the connection"),
        (any, "broke off before it answered: it"),
        (
            closes.url(),
            "broke off before it answered: it closed the connection",
        ),
        (broken.url(), "broke off in its answer"),
        (moved.url(), "elsewhere"),
    ] {
        let toml = compatible(&resets).replace(&resets.url(), &url);
        let flyball = Flyball::start(&toml).await;
        for (path, body) in [
            (
                "/v1/chat/completions",
                r#"{"model":"m-small","messages":[{"role":"user","content":"hi"}]}"#,
            ),
            (
                "/v1/messages",
                r#"{"model":"m-small","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#,
            ),
            (
                "/api/chat",
                r#"{"model":"m-small","stream":false,"messages":[{"role":"user","content":"hi"}]}"#,
            ),
            ("/v1/responses", r#"{"model":"m-small","input":"hi"}"#),
        ] {
            let got = post(flyball.at(), path, &[], body).await;
            assert_eq!(got.status, 502, "{url} {path}: {}", got.body);
            for part in [cause, "provider \\\"up\\\", model \\\"m-small\\\""] {
                assert!(got.body.contains(part), "{part} {path}: {}", got.body);
            }
            assert!(!got.body.contains("127.0.0.1"), "{}", got.body);
        }
        flyball.stop().await;
    }
}

#[tokio::test]
async fn simulated_models_obey_a_schema_in_every_dialect() {
    let flyball = Flyball::start("[simulate]\nspeed = 1000\n").await;
    let schema = r##"{"type":"object","properties":{"who":{"$ref":"#/$defs/who"},"days":{"type":"array","items":{"type":"integer"},"minItems":1}},"required":["who","days"],"additionalProperties":false,"$defs":{"who":{"type":"object","properties":{"name":{"type":"string"},"kind":{"enum":["a","b"]}},"required":["name","kind"],"additionalProperties":false}}}"##;
    let asked = r#"[{"role":"user","content":"Who?"}]"#;
    for (path, body, at) in [
        (
            "/v1/chat/completions",
            format!(
                r#"{{"model":"auto","messages":{asked},"response_format":{{"type":"json_schema","json_schema":{{"name":"n","strict":true,"schema":{schema}}}}}}}"#
            ),
            "/choices/0/message/content",
        ),
        (
            "/v1/responses",
            format!(
                r#"{{"model":"auto","input":"Who?","text":{{"format":{{"type":"json_schema","name":"n","strict":true,"schema":{schema}}}}}}}"#
            ),
            "/output/0/content/0/text",
        ),
        (
            "/v1/messages",
            format!(
                r#"{{"model":"auto","max_tokens":500,"messages":{asked},"output_config":{{"format":{{"type":"json_schema","schema":{schema}}}}}}}"#
            ),
            "/content/0/text",
        ),
        (
            "/v1beta/models/auto:generateContent",
            format!(
                r#"{{"contents":[{{"role":"user","parts":[{{"text":"Who?"}}]}}],"generationConfig":{{"responseMimeType":"application/json","responseJsonSchema":{schema}}}}}"#
            ),
            "/candidates/0/content/parts/0/text",
        ),
        (
            "/api/chat",
            format!(r#"{{"model":"auto","stream":false,"messages":{asked},"format":{schema}}}"#),
            "/message/content",
        ),
    ] {
        let got = post(flyball.at(), path, &[], &body).await;
        assert_eq!(got.status, 200, "{path}: {}", got.body);
        let json = got.json();
        let said = json.pointer(at).and_then(|t| t.as_str());
        let said = said.unwrap_or_else(|| panic!("{path}: {json}"));
        let made: serde_json::Value = serde_json::from_str(said).expect("JSON");
        let right = serde_json::json!({"who": {"name": "[simulated]", "kind": "a"}, "days": [1]});
        assert_eq!(made, right, "{path}");
    }
}
