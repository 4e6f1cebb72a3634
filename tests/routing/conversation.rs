//! One decision for a conversation: it stays where it is warm, moves where it must, and does not stay where it is stuck.

use super::{CAPITAL, PUZZLE};
use crate::client::get;
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Upstream, answer, chat};
use serde_json::{Value, json};

/// What a user has said in turn; the model has answered each but the last.
fn said(asks: &[&str]) -> String {
    let mut messages = Vec::new();
    for ask in asks {
        if !messages.is_empty() {
            messages.push(json!({"role": "assistant", "content": "So it is."}));
        }
        messages.push(json!({"role": "user", "content": ask}));
    }
    json!({"model": "auto", "messages": messages}).to_string()
}

/// The same models, of which the big one costs twice the small one and both read from a cache at a tenth.
async fn started() -> Flyball {
    let upstream = Upstream::start(answer(200, &chat(30_000, 20))).await;
    let toml = compatible(&upstream)
        .replace(
            "input_usd_per_mtok = 10\n",
            "input_usd_per_mtok = 2\ncached_usd_per_mtok = 0.2\n",
        )
        .replace("output_usd_per_mtok = 100", "output_usd_per_mtok = 20")
        .replace(
            "input_usd_per_mtok = 1\n",
            "input_usd_per_mtok = 1\ncached_usd_per_mtok = 0.1\n",
        );
    Flyball::start(&toml).await
}

async fn model(flyball: &Flyball, asks: &[&str]) -> String {
    let got = flyball.chat(&[], &said(asks)).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert!(
        got.header("x-flyball-chance").is_some() && got.header("x-flyball-expected-usd").is_some()
    );
    got.header("x-flyball-model").expect("a model").to_owned()
}

/// A long document, of which the first ask is hard.
fn document() -> String {
    format!(
        "{}\n\n{PUZZLE}",
        "The clerk wrote the number of every barrel into the ledger and closed it. ".repeat(1_600)
    )
}

#[tokio::test]
async fn an_easy_turn_stays_on_the_arm_that_has_read_the_document() {
    let flyball = started().await;
    let first = document();
    assert_eq!(
        model(&flyball, &[CAPITAL]).await,
        "m-small",
        "alone it is easy"
    );
    assert_eq!(model(&flyball, &[&first]).await, "m-big");
    assert_eq!(
        model(&flyball, &[&first, CAPITAL]).await,
        "m-big",
        "reading it anew costs more than is saved"
    );
}

#[tokio::test]
async fn a_harder_turn_leaves_the_small_model_at_once() {
    let flyball = started().await;
    assert_eq!(model(&flyball, &[CAPITAL]).await, "m-small");
    assert_eq!(model(&flyball, &[CAPITAL, PUZZLE]).await, "m-big");
}

#[tokio::test]
async fn a_user_who_says_that_it_was_wrong_gets_a_stronger_arm() {
    let flyball = started().await;
    let easy = "Translate into German: The train leaves at nine.";
    assert_eq!(model(&flyball, &[easy]).await, "m-small");
    assert_eq!(
        model(&flyball, &[easy, "No, that is wrong."]).await,
        "m-big"
    );
    let listed = get(flyball.running.admin, "/admin/v1/decisions", &[]).await;
    let decisions = listed.json()["decisions"]
        .as_array()
        .expect("a list")
        .clone();
    let told: Vec<(&Value, &Value)> = decisions
        .iter()
        .map(|d| (&d["stuck"], &d["attempts"][0]))
        .collect();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].0, true);
    assert!(
        told[0]
            .1
            .as_str()
            .is_some_and(|arm| arm.starts_with("m-big@")),
        "the latest first: {told:?}"
    );
    assert!(!listed.body.contains("train leaves"), "no prompt is kept");
}

/// An agent whose tool fails again and again, as its request goes out after so many failures.
fn failing(times: usize) -> String {
    let mut messages = vec![
        json!({"role": "user", "content": "Translate into German with the tool: Good evening."}),
    ];
    for at in 0..times {
        let call = json!({"id": format!("c{at}"), "type": "function", "function": {"name": "translate", "arguments": "{}"}});
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
        messages.push(json!({"role": "tool", "tool_call_id": format!("c{at}"), "content": format!("10:0{at} error: no such language")}));
    }
    let tool = json!({"type": "function", "function": {"name": "translate", "parameters": {"type": "object", "properties": {}}}});
    json!({"model": "auto", "messages": messages, "tools": [tool]}).to_string()
}

#[tokio::test]
async fn a_tool_that_fails_twice_in_the_same_way_raises_the_arm_within_the_turn() {
    let flyball = started().await;
    for (failures, model) in [(0, "m-small"), (1, "m-small"), (2, "m-big"), (3, "m-big")] {
        let got = flyball.chat(&[], &failing(failures)).await;
        assert_eq!(
            got.header("x-flyball-model"),
            Some(model),
            "after {failures} failures: {}",
            got.body
        );
    }
}
