//! `flyball eval --replay`: what looking at the weak model's answer is worth, on recorded answers.

use super::{flyball, out};
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

/// So many questions on which the weak model is sure and right, sure and wrong, unsure and right, unsure and wrong; the strong one
/// is always right.
const CELLS: [(f64, u8, usize); 4] = [(-0.01, 1, 60), (-0.01, 0, 3), (-1.5, 1, 7), (-1.5, 0, 30)];

fn rows(weak_cost: f64) -> String {
    let mut text = String::new();
    for (cell, (logprob, right, count)) in CELLS.into_iter().enumerate() {
        for n in 0..count {
            let _ = writeln!(
                text,
                r#"{{"prompt": "Which town is number {n} of list {cell}?", "system": "Reply with a name.", "scores": {{"small": {right}, "big": 1}}, "logprob": {{"small": {logprob}, "big": -Infinity}}, "cost_usd": {{"small": {weak_cost}, "big": 0.01}}, "signal": "answer_logprob"}}"#
            );
        }
    }
    text
}

fn replay(dir: &Path, weak_cost: f64, more: &[&str]) -> (bool, String, String) {
    std::fs::write(dir.join("rows.jsonl"), rows(weak_cost)).expect("a file");
    let mut command = flyball(dir);
    command.args(["eval", "--replay", "rows.jsonl", "--pair"]);
    out(command.args(more))
}

fn json(dir: &Path, weak_cost: f64, more: &[&str]) -> Value {
    let asked = [&["small", "big", "--json"][..], more].concat();
    let (good, said, wrong) = replay(dir, weak_cost, &asked);
    assert!(good, "{wrong}");
    serde_json::from_str(&said).expect("JSON")
}

fn figure(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn the_evidence_finds_the_answers_that_are_wrong_and_the_prompt_does_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let told = json(dir.path(), 0.0005, &[]);
    assert_eq!(
        (&told["rows"], &told["weak"], &told["strong"]),
        (&100.into(), &"small".into(), &"big".into())
    );
    assert!(figure(&told["evidence"]["apgr"]) > 0.7, "{told}");
    assert!(figure(&told["prompt"]["apgr"]) < 0.6, "{told}");
    let default = &told["default"];
    // All of the unsure ones and none of the sure: 37 of 100, so that 3 wrong ones are left.
    assert_eq!(
        (figure(&default["escalated"]), figure(&default["quality"])),
        (0.37, 0.97)
    );
    assert!(
        (figure(&default["cost_share"]) - (0.37 + 0.05)).abs() < 1e-9,
        "{default}"
    );
    let points = told["points"].as_array().expect("a list");
    let escalated: Vec<f64> = points.iter().map(|p| figure(&p["escalated"])).collect();
    assert!(
        escalated.is_sorted() && escalated.len() > 2,
        "{escalated:?}"
    );
    assert_eq!((escalated[0], escalated[escalated.len() - 1]), (0.0, 1.0));
    assert!(
        (figure(&points[0]["cost_share"]) - 0.05).abs() < 1e-9,
        "the weak attempt is always paid"
    );
}

#[test]
fn nothing_is_probed_where_both_models_cost_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let told = json(dir.path(), 0.01, &[]);
    let default = &told["default"];
    assert_eq!(
        (figure(&default["probed"]), figure(&default["cost_share"])),
        (0.0, 1.0)
    );
    assert_eq!(figure(&default["quality"]), 1.0);
}

#[test]
fn labels_are_not_measured() {
    let dir = tempfile::tempdir().expect("a folder");
    let told = json(dir.path(), 0.0005, &["--labels", "40"]);
    assert_eq!((&told["rows"], &told["labels"]), (&60.into(), &40.into()));
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    for (more, wanted) in [
        (
            &["small", "huge"][..],
            "no row has scores of both \"small\" and \"huge\"",
        ),
        (&["small", "big", "--labels", "99"], "too few for 99 labels"),
        (&["small", "big", "--outcomes", "x"], "cannot be used with"),
    ] {
        let (good, _, wrong) = replay(dir.path(), 0.0005, more);
        assert!(!good && wrong.contains(wanted), "{more:?}: {wrong}");
    }
}
