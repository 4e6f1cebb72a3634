//! `flyball calibrate` as a person runs it.

use crate::commands::{flyball as command, out};
use crate::flyball::{Flyball, compatible, make_key, overrides};
use crate::scripted::{Upstream, answer, chat, chat_stream};
use flyball::arm::Effort;
use flyball::ledger::judged::{JudgedAnswer, JudgedBy};
use flyball::ledger::{Settings, books, now_ms};
use flyball::money::PicoUsd;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use tempfile::TempDir;

/// Runs it with these words; whether it went well, its standard output and its errors.
fn calibrate(dir: &Path, words: &[&str]) -> (bool, String, String) {
    out(command(dir).arg("calibrate").args(words))
}

fn told(dir: &Path, words: &[&str]) -> Value {
    let (ok, said, errors) = calibrate(dir, &[words, &["--json"]].concat());
    assert!(ok, "{errors}");
    serde_json::from_str(&said).expect("JSON")
}

fn task<'t>(told: &'t Value, name: &str) -> &'t Value {
    let tasks = told["tasks"].as_array().expect("tasks");
    let found = tasks.iter().find(|t| t["task"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {told}"))
}

/// Translations that the cheap model makes as well as the strong one, and sums that it fails at.
fn outcomes(of_each: usize) -> String {
    let mut text = String::new();
    for n in 0..of_each {
        let line = json!({
            "prompt": format!("Translate into German: Good evening, number {n}."), "task": "words",
            "scores": {"small": u8::from(n % 20 != 3), "mid": 1, "strong": u8::from(n % 20 != 7)},
            "cost_usd": {"small": 0.001, "mid": 0.002, "strong": 0.01},
        });
        writeln!(text, "{line}").expect("a line");
        let line = json!({
            "prompt": format!("What is 17 * {n} + 4? Think step by step."), "task": "sums",
            "scores": {"small": u8::from(n % 2 == 0), "mid": u8::from(n % 10 != 0), "strong": 1},
            "cost_usd": {"small": 0.001, "mid": 0.002, "strong": 0.01},
        });
        writeln!(text, "{line}").expect("a line");
    }
    text
}

fn folder(outcomes: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("outcomes.jsonl"), outcomes).expect("written");
    dir
}

#[test]
fn a_file_of_outcomes_names_the_cheapest_arm_that_holds_and_says_what_is_missing_elsewhere() {
    let dir = folder(&outcomes(300));
    let words = ["--outcomes", "outcomes.jsonl", "--by", "label"];
    let all = told(dir.path(), &words);
    assert_eq!(
        (&all["strong"], &all["confidence"]),
        (&json!("strong"), &json!(0.95))
    );
    let translations = task(&all, "words");
    assert_eq!(translations["arm"], "small", "{all}");
    let small = &translations["arms"][0];
    assert!(small["at_least"].as_f64() >= Some(0.9) && small["at_least"].as_f64() < Some(1.0));
    let sums = task(&all, "sums");
    assert_eq!(sums["arm"], Value::Null);
    assert_eq!(sums["arms"][0]["more_about"], Value::Null, "it is hopeless");
    let (_, said, _) = calibrate(dir.path(), &words);
    assert!(said.contains("sums: not enough evidence."), "{said}");
    assert!(said.contains("95.0 % confidence by itself"), "{said}");
    // The same, held against nothing.
    let absolute = told(
        dir.path(),
        &[&words[..], &["--of", "absolute", "--target", "0.8"]].concat(),
    );
    assert_eq!(task(&absolute, "words")["arm"], "small");
    assert_eq!(task(&absolute, "sums")["arm"], "mid");
}

#[test]
fn a_few_outcomes_name_nobody_and_tell_how_many_more_and_what_they_cost() {
    let dir = folder(&outcomes(20));
    let words = ["--outcomes", "outcomes.jsonl", "--by", "label"];
    let all = told(dir.path(), &words);
    let small = &task(&all, "words")["arms"][0];
    assert_eq!(task(&all, "words")["arm"], Value::Null);
    let more = small["more_about"].as_f64().expect("so many");
    assert!((20.0..1_000.0).contains(&more), "{more}");
    let shadow = small["shadow_usd"].as_f64().expect("dollars");
    assert!((shadow - more * 0.001).abs() < 1e-9, "{shadow}");
    // Asking the same questions again is no new evidence.
    let dir = folder(&outcomes(20).repeat(20));
    let again = told(dir.path(), &words);
    let again = &task(&again, "words")["arms"][0];
    for field in ["outcomes", "e_value", "at_least", "more_about"] {
        assert_eq!(again[field], small[field], "{field}");
    }
}

#[test]
fn without_costs_the_order_of_the_arms_has_to_be_said() {
    let text = outcomes(300);
    let plain: Vec<String> = text
        .lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            line.as_object_mut().expect("an object").remove("cost_usd");
            line.to_string()
        })
        .collect();
    let dir = folder(&plain.join("\n"));
    let words = ["--outcomes", "outcomes.jsonl", "--by", "label"];
    let (ok, _, errors) = calibrate(dir.path(), &words);
    assert!(
        !ok && errors.contains("--arms") && errors.contains("cost"),
        "{errors}"
    );
    let ordered = [&words[..], &["--arms", "small,mid,strong"]].concat();
    let all = told(dir.path(), &ordered);
    assert_eq!(
        (&task(&all, "words")["arm"], &all["strong"]),
        (&json!("small"), &json!("strong"))
    );
}

#[test]
fn what_cannot_be_is_told_with_its_line_and_with_advice() {
    let dir = folder(
        "{\"prompt\": \"a\", \"scores\": {\"m\": 1}}\n{\"prompt\": \"b\", \"scores\": {\"m\": 2}}\nnonsense\n",
    );
    let file = ["--outcomes", "outcomes.jsonl"];
    for (words, said) in [
        (
            &file[..],
            "outcomes.jsonl:2: the score 2 of \"m\" is not between 0 and 1",
        ),
        (&file[..], "outcomes.jsonl:3:"),
        (&["--outcomes", "missing.jsonl"][..], "missing.jsonl"),
        (&["--target", "0"], "--target 0"),
        (&["--target", "NaN"], "--target"),
        (&["--target", "1", "--of", "absolute"], "--target 1"),
        (&["--confidence", "1"], "--confidence 1"),
        (
            &["--judged-by", "nobody"],
            "there are feedback, compare, explored, escalated",
        ),
        (
            &["--judged-by", "explored", "--of", "absolute"],
            "leave --of absolute out",
        ),
        (&[], "there is no ledger"),
    ] {
        let (ok, _, errors) = calibrate(dir.path(), words);
        assert!(!ok && errors.contains(said), "{words:?}: {errors}");
    }
    let dir = folder(&outcomes(3));
    for (words, said) in [
        (
            &["--arms", "small,smal"][..],
            "no outcome is of \"smal\"; there are outcomes of mid, small, strong",
        ),
        (&["--arms", "small,small"], "\"small\" stands twice"),
        (&["--arms", "small"], "outcomes of small alone"),
        (
            &["--by", "label", "--rules", "r.toml"],
            "--rules needs --by task",
        ),
    ] {
        let (ok, _, errors) = calibrate(dir.path(), &[&file[..], words].concat());
        assert!(!ok && errors.contains(said), "{words:?}: {errors}");
    }
    let empty = folder("\n");
    let (ok, _, errors) = calibrate(empty.path(), &file);
    assert!(!ok && errors.contains("holds no outcome"), "{errors}");
    let wrong = folder("{\"prompt\": \"a\", \"scores\": {\"m\": 1}, \"cost_usd\": {\"m\": -1}}\n");
    let (ok, _, errors) = calibrate(wrong.path(), &file);
    assert!(
        !ok && errors.contains("outcomes.jsonl:1: the cost -1 is none"),
        "{errors}"
    );
}

/// Outcomes of a comparison in the books: the small model translates as well as the big one.
fn kept(dir: &TempDir, count: usize, by: JudgedBy) {
    let mut all = Vec::new();
    for n in 0..count {
        for (model, effort, cost) in [
            ("m-small", Effort::None, 100_000_000),
            ("m-big", Effort::High, 10_000_000_000),
        ] {
            all.push(JudgedAnswer {
                request: format!("compare/{n}"),
                model: model.into(),
                effort,
                by,
                task: "translate".into(),
                difficulty_milli: 200,
                score_ppm: 1_000_000,
                cost: Some(PicoUsd(cost)),
                seen_ppm: 1_000_000,
                at_ms: now_ms(),
                key: None,
            });
        }
    }
    let settings = Settings::embedded(&dir.path().join("data"));
    let mut books = books::make(&settings).expect("the books");
    books.keep_outcomes(&all).expect("kept");
    books
        .keep_outcomes(&all)
        .expect("kept again, in the same places");
}

#[tokio::test]
async fn the_books_tell_what_would_be_saved_and_the_rules_that_follow_pass_check() {
    let upstream = Upstream::start(answer(200, &chat(1_000, 500))).await;
    let toml = format!("{}\n", compatible(&upstream));
    let dir = tempfile::tempdir().expect("a folder");
    kept(&dir, 120, JudgedBy::Compare);
    // Best is asked for, so the big model answers.
    let flyball = Flyball::start_in(dir, &toml).await;
    for n in 0..20 {
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": format!("Translate into German: Good evening, number {n}.")}]});
        let got = flyball
            .chat(&[("x-flyball-objective", "best")], &body.to_string())
            .await;
        assert_eq!(
            got.header("x-flyball-task"),
            Some("translate"),
            "{}",
            got.body
        );
    }
    let rows = flyball.rows().await;
    let paid: i64 = rows
        .iter()
        .filter_map(|r| r["cost_pico_usd"].as_i64())
        .sum();
    let dir = flyball.stop().await;
    let path = dir.path().to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        let all = told(&path, &["--config", "flyball.toml"]);
        let (ok, said, errors) = calibrate(
            &path,
            &["--config", "flyball.toml", "--rules", "rules.toml"],
        );
        assert!(ok && said.contains("rules.toml is new"), "{said}{errors}");
        let (_, again, _) = calibrate(
            &path,
            &["--config", "flyball.toml", "--rules", "rules.toml"],
        );
        assert!(again.contains("rules.toml is as it was"), "{again}");
        let written = std::fs::read_to_string(path.join("rules.toml")).expect("rules");
        let (_, changed, _) = calibrate(
            &path,
            &[
                "--config",
                "flyball.toml",
                "--rules",
                "rules.toml",
                "--target",
                "0.99",
            ],
        );
        assert!(
            changed.contains("- [[rule]]") && changed.contains("+ # translate: no arm"),
            "{changed}"
        );
        std::fs::create_dir(path.join("rules")).expect("a folder");
        std::fs::write(path.join("rules/50.toml"), &written).expect("written");
        let checked = out(command(&path).args(["--config", "flyball.toml", "check"]));
        let explained = out(command(&path).args([
            "--config",
            "flyball.toml",
            "explain",
            "Translate into German: Good evening.",
        ]));
        (all, written, checked, explained)
    });
    let (all, written, checked, explained) = ran.await.expect("it runs");
    let found = task(&all, "translate");
    assert_eq!(
        (&found["arm"], &all["strong"]),
        (&json!("m-small@none"), &json!("m-big@high")),
        "{all}"
    );
    assert_eq!(found["outcomes"], 120);
    // The last day is told as thirty. On the small model the same takes 1,000 × $1 + 500 × $10 per million.
    #[allow(clippy::cast_precision_loss, reason = "these are small")]
    let paid = paid as f64 / 1e12 * 30.0;
    assert!(paid > 0.0);
    let close = |field: &str, wanted: f64| {
        let is = found[field].as_f64().expect("dollars");
        assert!(
            (is - wanted).abs() < 1e-6,
            "{field}: {is}, wanted {wanted}: {all}"
        );
    };
    close("paid_usd_month", paid);
    close("saves_usd_month", paid - 20.0 * 0.006 * 30.0);
    assert!(
        written.contains("route = { arm = \"m-small") && written.contains("With 95.0 % confidence"),
        "{written}"
    );
    assert!(checked.0, "{}{}", checked.1, checked.2);
    assert!(
        explained.1.contains("calibrated translate"),
        "{}{}",
        explained.1,
        explained.2
    );
}

#[tokio::test]
async fn a_comparison_is_kept_and_calibrated_from_the_readmes_words_alone() {
    let upstream = Upstream::start(chat_stream(&["It is 4."], 10, 20)).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("flyball.toml"), compatible(&upstream)).expect("written");
    let mut questions = String::new();
    for n in 0..70 {
        writeln!(
            questions,
            "{}",
            json!({"prompt": format!("What is {n} + {}?", 4 - n), "answer": 4})
        )
        .expect("a line");
    }
    std::fs::write(dir.path().join("questions.jsonl"), questions).expect("written");
    let path = dir.path().to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        let compare = [
            "compare",
            "--file",
            "questions.jsonl",
            "--arms",
            "m-small,m-big@high",
            "--grade",
            "number",
            "--keep",
        ];
        let (ok, said, errors) = out(command(&path).args(compare));
        assert!(ok, "{said}{errors}");
        let status = out(command(&path).args(["learn", "status"]));
        let all = told(&path, &["--by", "all"]);
        let forgotten = out(command(&path).args(["learn", "forget", "--outcomes"]));
        let none = calibrate(&path, &[]);
        (status, all, forgotten, none)
    });
    let (status, all, forgotten, none) = ran.await.expect("it runs");
    assert!(
        status.1.contains("140 by compare"),
        "{}{}",
        status.1,
        status.2
    );
    let found = task(&all, "all");
    assert_eq!(
        (&found["arm"], &found["outcomes"]),
        (&json!("m-small@none"), &json!(70)),
        "{all}"
    );
    assert!(
        forgotten.1.contains("140 outcomes forgotten"),
        "{}",
        forgotten.1
    );
    assert!(
        !none.0 && none.2.contains("There are no outcomes yet"),
        "{}",
        none.2
    );
}

#[tokio::test]
async fn votes_count_only_where_they_are_asked_for_and_one_key_is_a_part_of_them_at_most() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    for name in ["liar", "one", "two", "three"] {
        make_key(&dir, name, None, |_| {});
    }
    let toml = format!("grade_asked = true\n{}", compatible(&upstream));
    let flyball = Flyball::start_in(dir, &toml).await;
    for (name, votes, good) in [
        ("liar", 90, false),
        ("one", 30, true),
        ("two", 30, true),
        ("three", 30, true),
    ] {
        let secret = format!("Bearer fb_{name}");
        let key = [("authorization", secret.as_str())];
        for n in 0..votes {
            let body = json!({"model": "m-small", "messages": [{"role": "user", "content": format!("Translate into German: Good evening, {name} {n}.")}]});
            let got = flyball.chat(&key, &body.to_string()).await;
            let id = got.header("x-flyball-request-id").expect("an id");
            let said = json!({"request": id, "good": good}).to_string();
            let got = crate::client::post(flyball.at(), "/flyball/feedback", &key, &said).await;
            assert_eq!(got.status, 200, "{}", got.body);
        }
    }
    let dir = flyball.stop().await;
    let _ = overrides(&dir);
    let path = dir.path().to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        let config = [
            "--config",
            "flyball.toml",
            "--of",
            "absolute",
            "--arms",
            "m-small@none",
        ];
        let asked = told(&path, &[&config[..], &["--judged-by", "feedback"]].concat());
        let by_default = calibrate(&path, &config);
        (asked, by_default)
    });
    let (asked, by_default) = ran.await.expect("it runs");
    // Ninety good votes of three keys, and thirty of the liar's ninety.
    let arm = &task(&asked, "translate")["arms"][0];
    assert_eq!(
        (&arm["outcomes"], &arm["good"]),
        (&json!(120), &json!(0.75)),
        "{asked}"
    );
    assert!(
        !by_default.0 && by_default.2.contains("none by compare"),
        "{}{}",
        by_default.1,
        by_default.2
    );
}
