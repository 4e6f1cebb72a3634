//! `flyball compare`: the same questions to two or more arms.

use super::{Serving, flyball, out};
use crate::flyball::compatible;
use crate::scripted::{self, Upstream, chat_stream};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

/// Two questions with the answers that are expected.
const QUESTIONS: &str = "{\"id\": \"sum\", \"prompt\": \"What is 2 + 2?\", \"answer\": 4}\n\
                         {\"id\": \"product\", \"prompt\": \"What is 2 * 2?\", \"answer\": 4}\n";

/// A small model that says 5 for 10 and 20 tokens, a big one that says 4 for 10 and 30.
async fn vendor() -> (Upstream, TempDir) {
    let upstream = Upstream::start(chat_stream(&["So it is 5"], 10, 20)).await;
    upstream.answers("m-big", chat_stream(&["It is ", "4."], 10, 30));
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "flyball.toml", &compatible(&upstream));
    write(dir.path(), "questions.jsonl", QUESTIONS);
    (upstream, dir)
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).expect("written");
}

/// Runs it with these words; whether it went well, its standard output and its errors.
async fn compare(dir: &Path, words: &[&str]) -> (bool, String, String) {
    let mut command = flyball(dir);
    command.arg("compare").args(words);
    let ran = tokio::task::spawn_blocking(move || out(&mut command));
    ran.await.expect("it runs")
}

async fn compared(dir: &Path, words: &[&str]) -> Value {
    let words = [words, &["--json"]].concat();
    let (ok, said, errors) = compare(dir, &words).await;
    assert!(ok, "{errors}");
    serde_json::from_str(&said).expect("JSON")
}

#[tokio::test]
async fn both_arms_are_asked_graded_and_priced() {
    let (upstream, dir) = vendor().await;
    let file = ["--file", "questions.jsonl", "--arms", "m-small,m-big@high"];
    let rest = ["--grade", "number", "--outcomes", "outcomes.jsonl"];
    let told = compared(dir.path(), &[&file[..], &rest[..]].concat()).await;
    let [small, big] = [&told["arms"][0], &told["arms"][1]];
    assert_eq!((&small["good"], &big["good"]), (&0.0.into(), &1.0.into()));
    // 2 × (10 × $1 + 20 × $10) and 2 × (10 × $10 + 30 × $100) per million.
    assert_eq!(small["cost_usd"], "0.00042");
    assert_eq!(big["cost_usd"], "0.0062");
    assert_eq!(big["output"], 60);
    assert_eq!(told["questions"][0]["answers"][1]["answer"], "It is 4.");
    let efforts = upstream.seen().into_iter();
    let high = efforts.filter(|seen| seen.body.contains("\"reasoning_effort\":\"high\""));
    assert_eq!(high.count(), 2);
    let outcomes = std::fs::read_to_string(dir.path().join("outcomes.jsonl")).expect("outcomes");
    let first: Value = serde_json::from_str(outcomes.lines().next().expect("one")).expect("JSON");
    assert_eq!(first["prompt"], "What is 2 + 2?");
    assert_eq!(first["scores"]["m-big@high"], 1.0);
}

#[tokio::test]
async fn what_was_answered_before_is_not_asked_again() {
    let (upstream, dir) = vendor().await;
    let words = [
        "--file",
        "questions.jsonl",
        "--arms",
        "m-small,m-big",
        "--out",
        "answers.jsonl",
    ];
    compared(dir.path(), &words).await;
    assert_eq!(upstream.count(), 4);
    // The process ended in the middle of its last line.
    let path = dir.path().join("answers.jsonl");
    let text = std::fs::read_to_string(&path).expect("answers");
    std::fs::write(&path, &text[..text.len() - 20]).expect("cut");
    let again = compared(dir.path(), &[&words[..], &["--grade", "number"]].concat()).await;
    assert_eq!(upstream.count(), 5, "only the one that was cut off");
    assert_eq!(again["arms"][1]["good"], 1.0, "{again}");
    let whole = compared(dir.path(), &words).await;
    assert_eq!(upstream.count(), 5);
    assert_eq!(whole["arms"][0]["answered"], 2);
}

#[tokio::test]
async fn it_spends_no_more_than_it_may_and_leaves_no_trace_in_the_books() {
    let (upstream, dir) = vendor().await;
    let words = [
        "--file",
        "questions.jsonl",
        "--arms",
        "m-small,m-big",
        "--parallel",
        "1",
    ];
    let (ok, said, errors) =
        compare(dir.path(), &[&words[..], &["--max-usd", "0.0005"]].concat()).await;
    assert!(
        !ok && errors.contains("stopped before the end"),
        "{said}{errors}"
    );
    assert!(upstream.count() < 4);
    let (_, exported, _) = compare_books(dir.path()).await;
    assert_eq!(exported, "");
}

async fn compare_books(dir: &Path) -> (bool, String, String) {
    let mut command = flyball(dir);
    command.args(["ledger", "export", "--jsonl"]);
    let ran = tokio::task::spawn_blocking(move || out(&mut command));
    ran.await.expect("it runs")
}

#[tokio::test]
async fn a_judge_counts_only_where_it_says_the_same_in_both_orders() {
    let (upstream, dir) = vendor().await;
    let arms = "m-big@low,m-big@high";
    let asked = ["--file", "questions.jsonl", "--arms", arms];
    // It always prefers the first answer: it says nothing of either.
    upstream.answers("m-small", chat_stream(&["A"], 1, 1));
    let words = [
        &asked[..],
        &["--grade", "judge:m-small", "--html", "page.html"],
    ]
    .concat();
    let told = compared(dir.path(), &words).await;
    assert_eq!(told["arms"][1]["good"], 0.5, "{told}");
    assert_eq!(told["judge"]["pairs"], 2);
    assert_eq!(told["judge"]["agreed"], 0);
    let page = std::fs::read_to_string(dir.path().join("page.html")).expect("a page");
    for part in ["Content-Security-Policy", "It is 4.", "m-big", "<svg"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "no outside address"
    );
}

#[tokio::test]
async fn a_question_that_fails_is_told_and_the_others_go_on() {
    let (upstream, dir) = vendor().await;
    upstream.answers(
        "m-small",
        scripted::answer(400, r#"{"error":{"message":"not like that"}}"#),
    );
    let words = ["--file", "questions.jsonl", "--arms", "m-big,m-small"];
    let (ok, said, errors) = compare(dir.path(), &words).await;
    assert!(ok, "{errors}");
    assert!(
        said.contains("2 questions were not answered") && said.contains("not like that"),
        "{said}"
    );
    assert!(said.contains("2 of 2") && said.contains("0 of 2"), "{said}");
}

#[tokio::test]
async fn one_question_can_go_to_a_flyball_that_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    let serving = Serving::start(dir.path());
    let against = format!("http://{}", serving.at);
    let words = [
        "What is the capital of Peru?",
        "--arms",
        "sim-small,sim-reasoning@low",
    ];
    let (ok, said, errors) =
        compare(dir.path(), &[&words[..], &["--against", &against]].concat()).await;
    assert!(ok, "{errors}");
    assert!(
        said.contains("--- sim-small\n[simulated]") && said.contains("sim-reasoning@low"),
        "{said}"
    );
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused_with_advice() {
    let (upstream, dir) = vendor().await;
    write(
        dir.path(),
        "bad.jsonl",
        "{\"prompt\": \"a\"}\n{\"promt\": \"b\"}\n",
    );
    write(dir.path(), "empty.jsonl", "\n");
    for (words, part) in [
        (&["?", "--arms", "m-small"][..], "2 to 12 arms"),
        (&["?", "--arms", "m-small,m-small"], "stands twice"),
        (&["?", "--arms", "m-small,m-bug"], "m-bug"),
        (
            &["?", "--arms", "m-small,m-big", "--grade", "exakt"],
            "it may be exact, number",
        ),
        (
            &["?", "--arms", "m-small,m-big", "--grade", "exact"],
            "needs \"answer\"",
        ),
        (
            &["?", "--arms", "m-small,m-big", "--max-usd", "much"],
            "--max-usd",
        ),
        (
            &["--file", "none.jsonl", "--arms", "m-small,m-big"],
            "none.jsonl",
        ),
        (
            &["--file", "bad.jsonl", "--arms", "m-small,m-big"],
            "bad.jsonl:2",
        ),
        (
            &["--file", "empty.jsonl", "--arms", "m-small,m-big"],
            "holds no question",
        ),
        (
            &["?", "--arms", "m-small,m-big", "--out", "flyball.toml"],
            "flyball.toml:",
        ),
    ] {
        let (ok, said, errors) = compare(dir.path(), words).await;
        assert!(!ok && errors.contains(part), "{words:?}: {said}{errors}");
    }
    assert_eq!(upstream.count(), 0);
}
