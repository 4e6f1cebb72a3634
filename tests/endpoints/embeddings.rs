//! Embeddings: the named model makes them, in the client's shape, under the same gates, caps and books.

use crate::client::{Answer, get, post};
use crate::flyball::{Flyball, make_key};
use crate::scripted::{Upstream, answer};
use serde_json::{Value, json};

const TWO: &str = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.25,-1.5]},{"object":"embedding","index":1,"embedding":[3.0,0.1]}],"model":"e-up","usage":{"prompt_tokens":7,"total_tokens":7}}"#;

/// A provider of this kind with an embedder at $2 a million tokens, and a chat model.
fn config(kind: &str, upstream: &Upstream) -> String {
    format!(
        r#"
[[provider]]
name = "up"
kind = "{kind}"
base_url = "{}"
{}

[[model]]
name = "e-model"
provider = "up"
embeddings = true
input_usd_per_mtok = 2
output_usd_per_mtok = 0

[[model]]
name = "m-chat"
provider = "up"
tier = "small"
input_usd_per_mtok = 1
output_usd_per_mtok = 10
"#,
        upstream.url(),
        match kind {
            "gemini" | "openai" => "api_key = \"file:key\"",
            _ => "",
        }
    )
}

async fn flyball(kind: &str, upstream: &Upstream) -> Flyball {
    Flyball::start_in(folder(), &config(kind, upstream)).await
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    dir
}

async fn openai(flyball: &Flyball, headers: &[(&str, &str)], body: &str) -> Answer {
    post(flyball.at(), "/v1/embeddings", headers, body).await
}

#[tokio::test]
async fn openais_go_out_and_come_back_byte_for_byte_with_their_cost() {
    let upstream = Upstream::start(answer(200, TWO)).await;
    let flyball = flyball("openai", &upstream).await;
    let body = "{\"input\" : [\"a\",\"b\"], \"model\":\"e-model\",\n \"x\": 1.0e+02}";
    let headers = [("authorization", "Bearer app"), ("x-mine", "1")];
    let got = openai(&flyball, &headers, body).await;
    assert_eq!((got.status, got.body.as_str()), (200, TWO));
    for (name, value) in [
        ("x-flyball-model", "e-model"),
        ("x-flyball-provider", "up"),
        ("x-flyball-rule", "asked"),
        ("x-flyball-task", "embed"),
        // 7 tokens at $2 a million.
        ("x-flyball-cost-usd", "0.000014"),
        ("x-flyball-baseline-usd", "0.000014"),
    ] {
        assert_eq!(got.header(name), Some(value), "{name}");
    }
    let seen = &upstream.seen()[0];
    assert_eq!(seen.body, body);
    assert!(seen.head.starts_with("POST /v1/embeddings HTTP/1.1"));
    assert_eq!(seen.header("x-mine").as_deref(), Some("1"));
    let key = seen.header("authorization");
    assert_eq!(key.as_deref(), Some("Bearer up-secret"));
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 1);
    for (field, value) in [
        ("model", json!("e-model")),
        ("task", json!("embed")),
        ("basis", json!("reported")),
        ("outcome", json!("ok")),
        ("cost_pico_usd", json!(14_000_000)),
    ] {
        assert_eq!(rows[0][field], value, "{field}");
    }
    assert_eq!(rows[0]["tokens"]["input"], 7);
    let metrics = flyball.metrics().await;
    assert!(
        metrics.contains("flyball_task_cost_usd_total{task=\"embed\"} 0.000014"),
        "{metrics}"
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn azures_deployment_in_the_path_is_the_model() {
    let upstream = Upstream::start(answer(200, TWO)).await;
    let flyball = flyball("openai", &upstream).await;
    let path = "/openai/deployments/e-model/embeddings?api-version=1";
    let body = r#"{"input":"a","model":"embedding"}"#;
    let got = post(flyball.at(), path, &[("api-key", "x")], body).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(
        upstream.seen()[0].body,
        body.replace("embedding", "e-model")
    );
}

#[tokio::test]
async fn nothing_is_routed_and_what_is_wrong_is_named() {
    let upstream = Upstream::start(answer(200, TWO)).await;
    let flyball = flyball("openai-compatible", &upstream).await;
    for (path, body, status, says) in [
        (
            "/v1/embeddings",
            r#"{"input":"a","model":"auto"}"#,
            400,
            "not routed",
        ),
        (
            "/v1/embeddings",
            r#"{"input":"a","model":"auto:cheap"}"#,
            400,
            "not routed",
        ),
        ("/api/embed", r#"{"input":"a","model":"nope"}"#, 404, "nope"),
        (
            "/v1/embeddings",
            r#"{"input":"a","model":"nope"}"#,
            404,
            "model_not_found",
        ),
        ("/v1/embeddings", r#"{"model":"e-model"}"#, 400, "input"),
        ("/v1/embeddings", r#"{"input":"a"}"#, 400, "model"),
        ("/v1/embeddings", "[]", 400, "object"),
        (
            "/v1beta/models/e-model:embedContent",
            r#"{"content":{"parts":[{"text":"a"}]},"taskType":"SEMANTIC_SIMILARITY"}"#,
            400,
            "taskType",
        ),
    ] {
        let got = post(flyball.at(), path, &[], body).await;
        assert_eq!(got.status, status, "{body}: {}", got.body);
        assert!(got.body.contains(says), "{body}: {}", got.body);
        assert!(got.json()["error"] != Value::Null);
    }
    assert_eq!(get(flyball.at(), "/v1/embeddings", &[]).await.status, 405);
    assert_eq!(upstream.count(), 0);
    let got = flyball.chat(
        &[],
        r#"{"model":"auto","messages":[{"role":"user","content":"Hi"}]}"#,
    );
    assert_eq!(got.await.header("x-flyball-model"), Some("m-chat"));
}

#[tokio::test]
async fn every_shape_is_translated_to_every_other_and_back() {
    let ollama = r#"{"model":"e-up","embeddings":[[0.25,-1.5],[3.0,0.1]],"prompt_eval_count":7}"#;
    let gemini = r#"{"embeddings":[{"values":[0.25,-1.5]},{"values":[3.0,0.1]}]}"#;
    let asked = [
        (
            "/v1/embeddings",
            r#"{"model":"e-model","input":["a","b"],"dimensions":2}"#,
        ),
        (
            "/api/embed",
            r#"{"model":"e-model","input":["a","b"],"dimensions":2,"keep_alive":"5m"}"#,
        ),
        (
            "/v1beta/models/e-model:batchEmbedContents",
            r#"{"requests":[{"content":{"parts":[{"text":"a"}]},"outputDimensionality":2},{"content":{"parts":[{"text":"b"}]},"outputDimensionality":2}]}"#,
        ),
    ];
    for (kind, said, at) in [
        ("openai-compatible", TWO, "/v1/embeddings"),
        (
            "gemini",
            gemini,
            "/v1beta/models/e-model:batchEmbedContents",
        ),
    ] {
        let upstream = Upstream::start(answer(200, said)).await;
        let flyball = flyball(kind, &upstream).await;
        for (path, body) in asked {
            let got = post(flyball.at(), path, &[("x-mine", "1")], body).await;
            assert_eq!(got.status, 200, "{kind} {path}: {}", got.body);
            let json = got.json();
            let second = [
                &json["data"][1]["embedding"],
                &json["embeddings"][1]["values"],
                &json["embeddings"][1],
            ];
            assert!(
                second.contains(&&json!([3.0, 0.1])),
                "{kind} {path}: {json}"
            );
            let seen = upstream.seen().pop().expect("a request");
            // OpenAI's shape has several vendors: what a provider serves itself is not translated.
            let own = seen.body == body;
            assert!(
                own || seen.head.starts_with(&format!("POST {at} ")),
                "{}",
                seen.head
            );
            assert!(
                seen.body.contains("\"a\"")
                    && seen.body.contains("\"b\"")
                    && seen.body.contains('2')
            );
            assert_eq!(seen.header("x-mine").is_some(), own, "{kind} {path}");
            let dropped = (path == "/api/embed").then_some("keep_alive");
            assert_eq!(got.header("x-flyball-dropped"), dropped);
        }
        let rows = flyball.rows().await;
        let basis = if kind == "gemini" {
            "counted"
        } else {
            "reported"
        };
        // Gemini tells no usage; at its endpoint in OpenAI's shape the answer is the same here, which has none either.
        assert!(
            rows.iter()
                .all(|r| r["basis"] == basis && r["tokens"]["input"].as_u64() > Some(0)),
            "{rows:?}"
        );
    }
    let upstream = Upstream::start(answer(200, ollama)).await;
    let flyball = flyball("ollama", &upstream).await;
    for path in ["/api/embed", "/v1/embeddings"] {
        let body = r#"{"model":"e-model","input":["a","b"]}"#;
        let got = post(flyball.at(), path, &[], body).await;
        assert_eq!((got.status, got.body.as_str()), (200, ollama), "as it is");
        let seen = upstream.seen().pop().expect("a request");
        assert!(seen.head.starts_with(&format!("POST {path} ")));
    }
    let old = r#"{"model":"e-model","prompt":"a"}"#;
    assert_eq!(
        post(flyball.at(), "/api/embeddings", &[], old).await.status,
        200
    );
    let seen = upstream.seen().pop().expect("a request");
    assert!(seen.head.starts_with("POST /api/embeddings ") && seen.body == old);
}

#[tokio::test]
async fn vectors_are_packed_for_a_client_that_wants_them_so() {
    let gemini = r#"{"embeddings":[{"values":[0.25,-1.5]}]}"#;
    let upstream = Upstream::start(answer(200, gemini)).await;
    // Without the path in OpenAI's shape, as of a vendor that has none: Ollama's client of a Gemini model.
    let flyball = flyball("gemini", &upstream).await;
    let got = post(
        flyball.at(),
        "/api/embeddings",
        &[],
        r#"{"model":"e-model","prompt":"a"}"#,
    )
    .await;
    assert_eq!(got.body, r#"{"embedding":[0.25,-1.5]}"#);
    let sim = Flyball::start("[simulate]\nspeed = 100.0\n").await;
    let ask = |format| {
        format!(
            r#"{{"input":["a","b"],"model":"text-embedding-3-small","encoding_format":"{format}","dimensions":3}}"#
        )
    };
    let plain = openai(&sim, &[], &ask("float")).await;
    let packed = openai(&sim, &[], &ask("base64")).await;
    for got in [&plain, &packed] {
        assert_eq!(
            (got.status, got.header("x-flyball-simulated")),
            (200, Some("1"))
        );
        assert_eq!(got.header("x-flyball-model"), Some("sim-embed"));
        assert!(got.header("x-flyball-cost-usd").is_some());
    }
    let read = |got: &Answer| {
        flyball::dialect::embed::vectors(flyball::dialect::embed::Call::OpenAi, got.body.as_bytes())
            .expect("vectors")
    };
    assert_eq!(read(&plain).all, read(&packed).all);
    assert_eq!(read(&plain).all[0].len(), 3);
    let ollama = post(
        sim.at(),
        "/api/embed",
        &[],
        r#"{"model":"x","input":"a","dimensions":3}"#,
    )
    .await;
    assert_eq!(
        ollama.json()["embeddings"][0],
        plain.json()["data"][0]["embedding"]
    );
    assert_eq!(sim.rows().await[0]["simulated"], true);
}

#[tokio::test]
async fn a_cap_counts_them_at_the_bound_of_their_input_and_a_key_may_be_kept_from_them() {
    let upstream = Upstream::start(answer(200, TWO)).await;
    let dir = folder();
    // 100 tokens at $2 a million.
    make_key(&dir, "small", Some("0.0002"), |_| {});
    make_key(&dir, "chat", None, |key| key.models = vec!["m-*".into()]);
    make_key(&dir, "own", None, |key| key.private = true);
    let flyball = Flyball::start_in(dir, &config("openai", &upstream)).await;
    let key = [("authorization", "Bearer fb_small")];
    let long = format!(r#"{{"input":"{}","model":"e-model"}}"#, "a ".repeat(60));
    let got = openai(&flyball, &key, &long).await;
    assert_eq!(got.status, 402, "{}", got.body);
    assert!(got.body.contains("flyball_cap"));
    let short = r#"{"input":"a","model":"e-model"}"#;
    assert_eq!(openai(&flyball, &key, short).await.status, 200);
    let picture = r#"{"input":[{"image":"u"}],"model":"e-model"}"#;
    let got = openai(&flyball, &key, picture).await;
    assert_eq!(got.status, 400);
    assert!(got.body.contains("flyball_unbounded") && got.body.contains("input"));
    let other = [("authorization", "Bearer fb_chat")];
    assert_eq!(openai(&flyball, &other, short).await.status, 403);
    let private = [("authorization", "Bearer fb_own")];
    assert_eq!(
        openai(&flyball, &private, short).await.status,
        200,
        "loopback is local"
    );
    assert_eq!(upstream.count(), 2);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn more_texts_than_may_be_translated_never_go_out() {
    let upstream = Upstream::start(answer(200, TWO)).await;
    let flyball = flyball("gemini", &upstream).await;
    let body = format!(
        r#"{{"model":"e-model","input":[{}]}}"#,
        vec!["\"\""; 2049].join(",")
    );
    let got = post(flyball.at(), "/api/embed", &[], &body).await;
    assert_eq!(got.status, 400, "{}", got.body);
    assert!(got.body.contains("input") && got.body.contains("2048"));
    assert_eq!(upstream.count(), 0);
    // What the provider serves itself is its own to refuse.
    assert_eq!(openai(&flyball, &[], &body).await.status, 200);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn media_under_another_spelling_are_not_embedded_under_a_cap() {
    let gemini = r#"{"embedding":{"values":[0.25,-1.5]}}"#;
    let upstream = Upstream::start(answer(200, gemini)).await;
    let dir = folder();
    make_key(&dir, "small", Some("1"), |_| {});
    let flyball = Flyball::start_in(dir, &config("gemini", &upstream)).await;
    let key = [("authorization", "Bearer fb_small")];
    let path = "/v1beta/models/e-model:embedContent";
    let media = r#"{"content":{"parts":[{"file\u0044ata":{"fileUri":"https://x/y.mp4"}}]}}"#;
    let got = post(flyball.at(), path, &key, media).await;
    assert_eq!(got.status, 400, "{}", got.body);
    assert!(got.body.contains("flyball_unbounded") && got.body.contains("content"));
    assert_eq!(upstream.count(), 0);
    let words = r#"{"content":{"parts":[{"text":"what is inlineData?"}]}}"#;
    let got = post(flyball.at(), path, &key, words).await;
    assert_eq!(got.status, 200, "{}", got.body);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_is_confidential_is_embedded_on_the_own_machines_only() {
    let upstream = Upstream::start(answer(200, TWO)).await;
    let config = config("openai", &upstream)
        .replace("kind = \"openai\"", "kind = \"openai\"\nlocal = false");
    let flyball = Flyball::start_in(folder(), &config).await;
    let body = r#"{"input":"a","model":"e-model"}"#;
    let got = openai(&flyball, &[("x-flyball-privacy", "local")], body).await;
    assert_eq!(got.status, 403, "{}", got.body);
    assert!(got.body.contains("flyball_private"));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_refusal_of_the_provider_costs_nothing_and_an_unreadable_answer_is_charged_at_the_bound()
{
    let error = r#"{"error":{"message":"no up-secret","type":"x"}}"#;
    let upstream = Upstream::start(answer(400, error)).await;
    let flyball = flyball("openai", &upstream).await;
    let body = r#"{"input":"a","model":"e-model"}"#;
    let got = openai(&flyball, &[], body).await;
    assert_eq!(
        (got.status, got.body),
        (400, error.replace("up-secret", "[redacted]"))
    );
    upstream.next(answer(200, "<html>"));
    assert_eq!(openai(&flyball, &[], body).await.status, 200);
    upstream.next(answer(400, error));
    let got = post(flyball.at(), "/api/embed", &[], body).await;
    assert_eq!(
        (got.status, got.body.as_str()),
        (400, r#"{"error":"no [redacted]"}"#)
    );
    // Two vectors for one text are nobody's.
    upstream.next(answer(200, TWO));
    let google = r#"{"content":{"parts":[{"text":"a"}]}}"#;
    let path = "/v1beta/models/e-model:embedContent";
    assert_eq!(post(flyball.at(), path, &[], google).await.status, 502);
    let rows = flyball.rows().await;
    let bases: Vec<_> = rows
        .iter()
        .map(|r| r["basis"].as_str().expect("a basis"))
        .collect();
    assert_eq!(bases, ["void", "bound", "void", "reported"]);
    let bound = rows[1]["bound_pico_usd"].as_i64();
    assert_eq!(rows[1]["cost_pico_usd"].as_i64(), bound);
    assert!(bound > Some(0));
    flyball.books_are_right().await;
}

#[tokio::test]
async fn an_answer_that_is_too_long_to_be_held_is_passed_on_and_metered() {
    let vector = vec!["0.123456789"; 1_000].join(",");
    let data: Vec<String> = (0..120)
        .map(|i| format!(r#"{{"index":{i},"embedding":[{vector}]}}"#))
        .collect();
    let long = format!(
        r#"{{"data":[{}],"model":"e-up","usage":{{"prompt_tokens":9,"total_tokens":9}}}}"#,
        data.join(",")
    );
    assert!(long.len() > 1024 * 1024);
    let upstream = Upstream::start(answer(200, &long)).await;
    let flyball = flyball("openai", &upstream).await;
    let got = openai(
        &flyball,
        &[("te", "trailers")],
        r#"{"input":"a","model":"e-model"}"#,
    )
    .await;
    assert_eq!(got.body, long);
    assert!(
        got.trailers.contains("x-flyball-cost-usd: 0.000018"),
        "{}",
        got.trailers
    );
    assert_eq!(flyball.rows().await[0]["basis"], "reported");
}

#[tokio::test]
async fn a_cap_that_has_room_for_the_tokens_but_not_for_the_bytes_lets_openais_embedder_pass() {
    let upstream = Upstream::start(answer(200, TWO)).await;
    let dir = folder();
    // 150 tokens at $2 a million; the body has more bytes and fewer tokens.
    make_key(&dir, "small", Some("0.0003"), |_| {});
    let config = config("openai", &upstream).replace("e-model", "text-embedding-3-small");
    let flyball = Flyball::start_in(dir, &config).await;
    let ask = |model: &str| {
        format!(
            r#"{{"input":"{}","model":"{model}"}}"#,
            "government ".repeat(60)
        )
    };
    let key = [("authorization", "Bearer fb_small")];
    let got = openai(&flyball, &key, &ask("text-embedding-3-small")).await;
    assert_eq!(got.status, 200, "{}", got.body);
    let less = [key[0], ("x-flyball-max-cost-usd", "0.0000001")];
    let got = openai(&flyball, &less, &ask("text-embedding-3-small")).await;
    assert_eq!(got.status, 402, "{}", got.body);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn vectors_without_usage_are_charged_at_the_bound_under_a_cap_and_counted_without_one() {
    let gemini = r#"{"embeddings":[{"values":[0.25,-1.5]}]}"#;
    let upstream = Upstream::start(answer(200, gemini)).await;
    let dir = folder();
    make_key(&dir, "capped", Some("5"), |_| {});
    make_key(&dir, "free", None, |_| {});
    let flyball = Flyball::start_in(dir, &config("gemini", &upstream)).await;
    let body = r#"{"requests":[{"content":{"parts":[{"text":"Hello world"}]}}]}"#;
    for key in ["capped", "free"] {
        let secret = format!("fb_{key}");
        let path = "/v1beta/models/e-model:batchEmbedContents";
        let got = post(flyball.at(), path, &[("x-goog-api-key", &secret)], body).await;
        assert_eq!((got.status, got.body.as_str()), (200, gemini));
    }
    let rows = flyball.rows().await;
    let (capped, free) = (&rows[0], &rows[1]);
    assert_eq!(
        (&capped["basis"], &free["basis"]),
        (&json!("bound"), &json!("counted"))
    );
    assert_eq!(capped["cost_pico_usd"], capped["bound_pico_usd"]);
    assert_eq!(free["tokens"]["input"], 3);
    flyball.books_are_right().await;
}
