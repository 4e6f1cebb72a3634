//! A change of effort within a conversation: said in band where the model takes it, so that what the provider has read stays as it was.

use crate::client::post;
use crate::flyball::Flyball;
use crate::scripted::{Upstream, answer};
use serde_json::{Value, json};

const ANSWER: &str = r#"{"id":"r","object":"response","status":"completed","model":"gpt-6-sol","output":[{"type":"message","id":"m","role":"assistant","status":"completed","content":[{"type":"output_text","text":"ok","annotations":[]}]}],"usage":{"input_tokens":2000,"input_tokens_details":{"cached_tokens":0},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":2009}}"#;

fn config(upstream: &Upstream, dir: &std::path::Path, model: &str) -> String {
    std::fs::write(dir.join("key"), "sk-test").expect("a file");
    format!(
        "[[provider]]\nname = \"openai\"\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:{}\"\n[[model]]\nname = \"{model}\"\ntier = \"reasoning\"\n",
        upstream.url(),
        dir.join("key").display()
    )
}

/// The request of a conversation in which the user has said this.
fn said(asks: &[&str]) -> String {
    let mut input = Vec::new();
    for (at, ask) in asks.iter().enumerate() {
        if at > 0 {
            input.push(json!({"role": "assistant", "content": "ok"}));
        }
        input.push(json!({"role": "user", "content": ask}));
    }
    json!({"model": "auto", "input": input}).to_string()
}

/// What the provider was asked for: the effort of the whole request, and the conversation.
fn sent(upstream: &Upstream) -> Vec<(Value, Vec<Value>)> {
    let bodies = upstream
        .seen()
        .into_iter()
        .map(|seen| serde_json::from_str::<Value>(&seen.body).expect("JSON"));
    let parts = |body: Value| {
        let input = body["input"].as_array().expect("a list").clone();
        (body["reasoning"]["effort"].clone(), input)
    };
    bodies.map(parts).collect()
}

async fn three_turns(model: &str) -> Vec<(Value, Vec<Value>)> {
    let upstream = Upstream::start(answer(200, ANSWER)).await;
    let dir = tempfile::tempdir().expect("a folder");
    let toml = config(&upstream, dir.path(), model);
    let flyball = Flyball::start_in(dir, &toml).await;
    let asks = [
        "Plan the move to the new office.",
        "Now the second part.",
        "And the third.",
    ];
    for (turn, effort) in ["low", "high", "high"].into_iter().enumerate() {
        let headers = [("x-flyball-effort", effort)];
        let got = post(
            flyball.at(),
            "/v1/responses",
            &headers,
            &said(&asks[..=turn]),
        )
        .await;
        assert_eq!(
            (got.status, got.header("x-flyball-effort")),
            (200, Some(effort)),
            "{}",
            got.body
        );
    }
    sent(&upstream)
}

#[tokio::test]
async fn a_change_of_effort_leaves_what_was_sent_before_as_it_was() {
    let sent = three_turns("gpt-6-sol").await;
    for (effort, _) in &sent {
        assert_eq!(
            effort, "low",
            "the request as a whole says what the conversation began with"
        );
    }
    for (before, after) in [(&sent[0].1, &sent[1].1), (&sent[1].1, &sent[2].1)] {
        assert_eq!(
            &before[..],
            &after[..before.len()],
            "what was sent stays a beginning"
        );
    }
    let changes = |input: &[Value]| {
        input
            .iter()
            .filter(|item| item["type"] == "configuration_update")
            .count()
    };
    assert_eq!(
        [0, 1, 1],
        [
            changes(&sent[0].1),
            changes(&sent[1].1),
            changes(&sent[2].1)
        ]
    );
}

#[tokio::test]
async fn a_model_that_takes_no_change_in_band_is_told_the_effort_as_ever() {
    let sent = three_turns("gpt-5.5").await;
    let efforts: Vec<&Value> = sent.iter().map(|(effort, _)| effort).collect();
    assert_eq!(efforts, ["low", "high", "high"]);
    assert!(sent.iter().all(|(_, input)| {
        input
            .iter()
            .all(|item| item["type"] != "configuration_update")
    }));
}
