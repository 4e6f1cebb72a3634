//! What a key may keep, and what else a batch may ask for: embeddings.

use super::{
    Vendor, Ways, bearer, config, create, fetched, hand_in, id_of, line, over, posted, results,
    start, upload,
};
use crate::client::{post, raw};
use crate::flyball::make_key;
use serde_json::{Value, json};

#[tokio::test]
async fn a_key_keeps_no_more_bytes_than_it_may_and_hears_what_to_do() {
    let vendor = Vendor::start(Ways::default()).await;
    let two = |dir: &tempfile::TempDir| {
        make_key(dir, "app", None, |_| {});
        make_key(dir, "other", None, |_| {});
    };
    let flyball = start(&config(&vendor, "key_bytes_max = 1000"), two).await;
    let at = flyball.at();
    // Of 600 bytes: two do not fit.
    let file = line("c0", "gpt-4o-mini", &"q".repeat(430));
    assert!((550..=650).contains(&file.len()), "{}", file.len());
    let first = upload(at, "fb_app", &file).await;
    let first = id_of(&first);
    let second = upload(at, "fb_app", &file).await;
    assert_eq!(second.status, 413, "{}", second.body);
    let error = second.json()["error"].clone();
    assert_eq!(error["code"], "flyball_batch_storage", "{error}");
    let said = error["message"].to_string();
    assert!(
        said.contains("key_bytes_max") && said.contains("DELETE /v1/files/"),
        "{said}"
    );
    assert_eq!(
        upload(at, "fb_other", &file).await.status,
        200,
        "each key has its own"
    );
    // In Anthropic's words, for a batch that comes with its lines.
    let params = json!({"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "q".repeat(500)}]});
    let body = json!({"requests": [{"custom_id": "a", "params": params}]}).to_string();
    let auth = [("x-api-key", "fb_app"), ("anthropic-version", "2023-06-01")];
    let refused = post(at, "/v1/messages/batches", &auth, &body).await;
    assert_eq!(refused.status, 413, "{}", refused.body);
    let told = refused.json();
    assert_eq!(told["type"], "error", "{told}");
    assert!(
        told["error"]["message"]
            .to_string()
            .contains("DELETE /v1/messages/batches/"),
        "{told}"
    );
    // What was deleted makes room, here and there.
    let delete = format!(
        "DELETE /v1/files/{first} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer fb_app\r\n\r\n"
    );
    let gone = raw(at, delete.as_bytes()).await.answer().await;
    assert_eq!(gone.status, 200, "{}", gone.body);
    let taken = post(at, "/v1/messages/batches", &auth, &body).await;
    assert_eq!(taken.status, 200, "{}", taken.body);
    assert_eq!(
        upload(at, "fb_app", &file).await.status,
        413,
        "those lines count, too"
    );
    let listed = fetched(at, "fb_app", "/v1/files").await.json();
    assert_eq!(
        listed["data"],
        json!([]),
        "nothing of what was refused is kept"
    );
}

const EMBEDDER: &str = r#"
[[model]]
name = "text-embedding-3-small"
provider = "o"
tier = "small"
embeddings = true
"#;

fn embedding(id: &str, text: &str) -> String {
    // As many tokens as the vendor tells, at least.
    let text = format!("{text} {}", "word ".repeat(120));
    let body = json!({"model": "text-embedding-3-small", "input": text});
    json!({"custom_id": id, "method": "POST", "url": "/v1/embeddings", "body": body}).to_string()
}

#[tokio::test]
async fn embeddings_go_out_in_a_batch_at_its_price_and_come_back() {
    let vendor = Vendor::start(Ways::default()).await;
    let toml = format!("{}{EMBEDDER}", config(&vendor, ""));
    let flyball = start(&toml, |dir| make_key(dir, "app", Some("1"), |_| {})).await;
    let at = flyball.at();
    let lines: Vec<String> = (0..7)
        .map(|n| embedding(&format!("e{n}"), &format!("t{n}")))
        .collect();
    let file = id_of(&upload(at, "fb_app", &lines.join("\n")).await);
    let asked =
        json!({"input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h"});
    let auth = bearer("fb_app");
    let made = post(
        at,
        "/v1/batches",
        &[("authorization", &auth)],
        &asked.to_string(),
    )
    .await;
    let batch = over(at, "fb_app", &id_of(&made)).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    let told = results(at, "fb_app", &batch).await;
    for n in 0..7 {
        let body = &told[&format!("e{n}")]["response"]["body"];
        assert_eq!(body["data"][0]["embedding"], json!([0.5, n]), "{body}");
    }
    assert_eq!(vendor.batches().len(), 1);
    // 100 tokens each, at half of $0.02 a million.
    assert_eq!(posted(&flyball), 7 * 100 * 10_000);
    let rows: Vec<Value> = flyball.rows().await;
    assert!(
        rows.iter()
            .all(|row| row["service_tier"] == "batch" && row["task"] == "embed"),
        "{rows:?}"
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn embeddings_and_completions_do_not_stand_in_one_batch() {
    let vendor = Vendor::start(Ways::default()).await;
    let toml = format!("{}{EMBEDDER}", config(&vendor, ""));
    let flyball = start(&toml, |_| {}).await;
    let made = hand_in(flyball.at(), "x", &embedding("e0", "t0")).await;
    let batch = over(flyball.at(), "x", &id_of(&made)).await;
    assert_eq!(
        batch["errors"]["data"][0]["code"], "mismatched_endpoint",
        "{batch}"
    );
    let file = id_of(&upload(flyball.at(), "x", &embedding("e0", "t0")).await);
    let _ = create(flyball.at(), "x", &file).await;
    let asked =
        json!({"input_file_id": file, "endpoint": "/v1/moderations", "completion_window": "24h"});
    let refused = post(flyball.at(), "/v1/batches", &[], &asked.to_string()).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.body.contains("/v1/embeddings"), "{}", refused.body);
}
