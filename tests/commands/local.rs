//! `flyball local` and `flyball report --local`: models of one's own, and what traffic would cost on them.

use super::{flyball, out};
use crate::scripted::{Upstream, answer};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// What llama.cpp's server tells of its one model.
const LIST: &str = r#"{"default_generation_settings":{},"object":"list",
    "data":[{"id":"own","meta":{"n_ctx":2048,"n_ctx_train":32768,"size":246587904}}]}"#;

/// A local server with a model that answers with so many tokens.
async fn server(tokens: u64) -> (Upstream, tempfile::TempDir) {
    let upstream = Upstream::start(answer(200, LIST)).await;
    let chat = json!({"id": "1", "object": "chat.completion", "model": "own",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "one, two"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 800, "completion_tokens": tokens, "total_tokens": 800 + tokens}});
    upstream.answers("own", answer(200, &chat.to_string()));
    let dir = tempfile::tempdir().expect("a folder");
    let text = format!(
        "[[provider]]\nname = \"here\"\nkind = \"llamacpp\"\nbase_url = \"{}\"\n[[model]]\nname = \"own\"\nprovider = \"here\"\ntier = \"local\"\n",
        upstream.url()
    );
    std::fs::write(dir.path().join("flyball.toml"), text).expect("written");
    (upstream, dir)
}

async fn run(dir: &Path, words: &[&str]) -> (bool, String, String) {
    let mut command = flyball(dir);
    command.args(words);
    let ran = tokio::task::spawn_blocking(move || out(&mut command));
    ran.await.expect("it runs")
}

async fn told(dir: &Path, words: &[&str]) -> Value {
    let words = [words, &["--json"]].concat();
    let (ok, said, errors) = run(dir, &words).await;
    assert!(ok, "{errors}");
    serde_json::from_str(&said).expect("JSON")
}

#[tokio::test]
async fn local_models_are_listed_without_a_question_and_measured_where_that_is_asked() {
    let (upstream, dir) = server(64).await;
    let before = told(dir.path(), &["local"]).await;
    let model = &before["models"][0];
    assert_eq!(model["model"], "own");
    assert_eq!(model["size_bytes"], 246_587_904);
    assert_eq!(model["context_tokens"], 2_048);
    assert_eq!(model["fits"], "loaded");
    assert_eq!(model["speed"], Value::Null);
    let asked = |seen: &crate::scripted::Seen| seen.head.starts_with("POST");
    assert!(!upstream.seen().iter().any(asked), "nothing is asked");
    told(dir.path(), &["local", "--measure", "--at-once", "3"]).await;
    let posts = upstream.seen();
    let posts: Vec<_> = posts.iter().filter(|seen| asked(seen)).collect();
    // Two that load it and tell how long an answer takes to begin, three that read and three that write.
    assert_eq!(posts.len(), 8);
    let again = told(dir.path(), &["local"]).await;
    let speed = &again["models"][0]["speed"];
    assert_eq!(speed["at_once"], 3);
    for rate in ["prefill_milli", "decode_milli"] {
        assert!(speed[rate].as_u64().is_some_and(|rate| rate > 0), "{speed}");
    }
    let (ok, said, _) = run(dir.path(), &["local"]).await;
    assert!(
        ok && said.contains("own") && said.contains("0.3 GiB"),
        "{said}"
    );
}

#[tokio::test]
async fn a_model_that_says_too_little_is_not_measured_and_one_that_is_not_there_not_either() {
    let (_upstream, dir) = server(2).await;
    let (ok, _, errors) = run(dir.path(), &["local", "--measure"]).await;
    assert!(!ok && errors.contains("too short"), "{errors}");
    let (ok, _, errors) = run(dir.path(), &["local", "--model", "other"]).await;
    assert!(!ok && errors.contains("there is: own"), "{errors}");
    let (ok, _, errors) = run(dir.path(), &["local", "--at-once", "2"]).await;
    assert!(!ok && errors.contains("--measure"), "{errors}");
}

/// The program on the books of a made-up month.
fn reporting(dir: &Path, words: &str) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.env_clear().current_dir(dir);
    let range = "--from 2026-11-20 --to 2026-11-28 --config month/flyball.toml";
    let words = format!("report {range} {words}");
    out(command.args(words.split(' ').filter(|word| !word.is_empty())))
}

fn reported(dir: &Path, words: &str) -> Value {
    let (ok, told, errors) = reporting(dir, &format!("{words} --json"));
    assert!(ok, "{errors}");
    serde_json::from_str(&told).expect("JSON")
}

#[test]
fn what_traffic_would_cost_on_a_machine_of_ones_own_agrees_with_the_report() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let made = Command::new(env!("CARGO_BIN_EXE_flyball"))
        .env_clear()
        .current_dir(dir)
        .args("demo --until 2026-11-27T12:00:00Z --days 2 --out month".split(' '))
        .output()
        .expect("it runs");
    assert!(made.status.success());
    let all = &reported(dir, "--by task");
    let machine = "--local own --price-usd 1 --watts 100 --reads 2000 --writes 200 --at-once 8";
    let bill = reported(dir, machine);
    assert_eq!(bill["requests"], all["total"]["requests"]);
    assert_eq!(bill["api_cost_usd"], all["total"]["cost_usd"]);
    assert_eq!(bill["local"]["requests"], all["total"]["requests"]);
    assert_eq!(bill["simulated"], true);
    assert!(bill["pays_after_days"].as_u64().is_some(), "{bill}");
    // By task, the requests are those of the report, and so are they where only one task is asked for.
    for row in all["rows"].as_array().expect("rows") {
        let task = row["task"].as_str().expect("a task");
        let of_task = bill["by_task"][task]["requests"].as_u64().unwrap_or(0);
        assert_eq!(Some(of_task), row["requests"].as_u64(), "{task}");
    }
    let (task, _) = bill["by_task"]
        .as_object()
        .expect("tasks")
        .iter()
        .next()
        .expect("one");
    let only = reported(dir, &format!("{machine} --only task={task}"));
    let tasks = only["by_task"].as_object().expect("tasks");
    assert_eq!(tasks.keys().collect::<Vec<_>>(), [task]);
    // A slow machine is late more often, one that is off half the day answers less, and a small context takes less.
    let late = |bill: &Value| bill["local"]["late"].as_u64().expect("a number");
    let slow = reported(dir, &machine.replace("--writes 200", "--writes 2"));
    assert!(late(&slow) > late(&bill), "{slow}");
    let day = reported(dir, &format!("{machine} --hours 8-20"));
    assert!(day["outside_hours"]["requests"].as_u64() > Some(0), "{day}");
    let small = reported(dir, &format!("{machine} --context 200"));
    assert!(small["too_long"]["requests"].as_u64() > Some(0), "{small}");
    let (ok, text, errors) = reporting(dir, machine);
    assert!(
        ok && text.contains("has paid its $1") && text.contains("kWh"),
        "{text}{errors}"
    );
}

#[test]
fn what_is_missing_for_the_bill_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    for (words, part) in [
        ("--local own", "--price-usd"),
        (
            "--local own --price-usd 1 --watts 1",
            "flyball local --measure --model own",
        ),
        (
            "--local own --price-usd 1 --watts 1 --reads 0 --writes 1",
            "--reads: 0 is no speed",
        ),
        (
            "--local own --price-usd x --watts 1 --reads 1 --writes 1",
            "--price-usd: \"x\"",
        ),
        (
            "--local own --price-usd 1 --watts 1 --reads 1 --writes 1 --hours 20-8",
            "--hours: \"20-8\"",
        ),
        (
            "--local own --price-usd 1 --watts 1 --reads 1 --writes 1 --deadline soon",
            "--deadline: \"soon\"",
        ),
        ("--watts 100", "--local"),
    ] {
        let words = format!("report {words}");
        let (ok, _, errors) = out(flyball(dir.path()).args(words.split(' ')));
        assert!(!ok && errors.contains(part), "{words}: {errors}");
    }
}
