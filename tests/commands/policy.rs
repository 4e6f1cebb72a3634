//! `flyball eval --policy`: what a configuration's decisions were worth on recorded outcomes.

use super::{flyball, out};
use serde_json::Value;
use std::path::Path;

/// Secrets that are not there, a cap, three models, and rules by which what is short goes to the small one and what is long to the big one.
const POLICY: &str = r#"
admin_token = "env:NONE"
rules = "own-rules"

[[cap]]
usd = 5
window = "day"

[[provider]]
name = "up"
kind = "openai-compatible"
base_url = "https://example.org"
api_key = "env:NONE"

[[model]]
name = "maker/m-small"
provider = "up"
tier = "small"
efforts = []
input_usd_per_mtok = 1
output_usd_per_mtok = 10

[[model]]
name = "m-big"
provider = "up"
tier = "reasoning"
efforts = ["none", "high"]
input_usd_per_mtok = 10
output_usd_per_mtok = 100

[[model]]
name = "m-unseen"
provider = "up"
tier = "standard"
efforts = []
input_usd_per_mtok = 1
output_usd_per_mtok = 1
"#;

const RULES: &str = r#"
[[rule]]
name = "what is short"
why = "The small model does what is short."
when = { tokens = "..20" }
route = { arm = "maker/m-small", strict = true }

[[rule]]
name = "what is long"
why = "The big model does what is long."
when = { tokens = "20.." }
route = { arm = "m-big", effort = "high", strict = true }
"#;

const SMALL: &str = "Say hello.";
const LONG: &str = "Say hello to everybody who has come to the party this evening, one by one, by name, and do not forget the neighbours, the band, the cook and the two dogs.";
const LONGER: &str = "Say hello to everybody who has come to the party this evening, one by one, by name, and do not forget the neighbours, the band, the cook and the two dogs, who have come from far away.";

fn outcomes() -> String {
    let costs = r#""cost_usd": {"m-small": 0.0001, "run-7": 0.001}"#;
    [
        format!(r#"{{"source": "s", "prompt": "{SMALL}", "scores": {{"m-small": 1, "run-7": 1}}, "tokens": {{"m-small": [10, 10], "run-7": [10, 10]}}}}"#),
        format!(r#"{{"source": "s", "prompt": "{SMALL}", "scores": {{"m-small": 0, "run-7": 1}}, {costs}}}"#),
        format!(r#"{{"source": "s", "prompt": "{LONG}", "scores": {{"m-small": 0, "run-7": 1}}, {costs}}}"#),
        format!(r#"{{"source": "s", "prompt": "{LONGER}", "scores": {{"m-small": 1, "run-7": 0}}, {costs}}}"#),
        format!(r#"{{"source": "s", "prompt": "{LONG}", "scores": {{"m-small": 1, "run-7": null}}, {costs}}}"#),
        format!(r#"{{"source": "t", "prompt": "{SMALL}", "scores": {{"m-small": 1, "run-7": 1}}}}"#),
        r#"{"source": "u", "prompt": "Hi.", "scores": {"somebody-else": 1}}"#.to_owned(),
    ]
    .join("\n")
}

fn written(dir: &Path) {
    std::fs::create_dir(dir.join("own-rules")).expect("a folder");
    std::fs::write(dir.join("own-rules/r.toml"), RULES).expect("a file");
    std::fs::write(dir.join("policy.toml"), POLICY).expect("a file");
    std::fs::write(dir.join("o.jsonl"), outcomes()).expect("a file");
}

fn eval(dir: &Path, more: &[&str]) -> (bool, String, String) {
    let args = ["eval", "--policy", "policy.toml", "--outcomes", "o.jsonl"];
    out(flyball(dir).args(args).args(more))
}

fn near(found: &Value, wanted: f64) -> bool {
    found.as_f64().is_some_and(|f| (f - wanted).abs() < 1e-6)
}

#[test]
fn a_policys_decisions_have_the_quality_and_cost_that_the_outcomes_say() {
    let dir = tempfile::tempdir().expect("a folder");
    written(dir.path());
    let (ok, told, err) = eval(
        dir.path(),
        &["--as", "m-big=run-7", "--json", "--chart", "c.svg"],
    );
    assert!(ok, "{err}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(told["objective"], "balanced", "{told}");
    assert_eq!(told["left_out"][0], "m-unseen", "{told}");
    assert_eq!(told["unmatched_sources"][0]["source"], "u", "{told}");
    let s = &told["sources"][0];
    assert_eq!((&s["rows"], &s["without_score"]), (&4.into(), &1.into()));
    assert_eq!(
        (&s["weak"], &s["strong"]),
        (&"m-small".into(), &"run-7".into())
    );
    assert_eq!(s["cost_from"]["tokens"], 1, "{s}");
    // The first row's tokens cost $0.00011 and $0.0011, the others say $0.0001 and $0.001.
    let own = &s["objectives"]["balanced"];
    for (found, wanted) in [
        (&own["quality"], 0.5),
        (&own["quality_share"], 0.5 / 0.75),
        (&own["cost_usd"], 0.000_552_5),
        (&own["cost_share"], 0.000_552_5 / 0.001_025),
        (
            &own["random_at_equal_cost"],
            0.5 + 0.25 * 0.000_45 / 0.000_922_5,
        ),
        (&own["length_at_equal_cost"], 0.5),
        (&own["chosen"]["run-7"], 0.5),
        (&s["always_strong"]["quality"], 0.75),
        (&s["always_strong"]["cost_usd"], 0.001_025),
        (&s["always_weak"]["quality"], 0.5),
        (&s["always_weak"]["cost_usd"], 0.000_102_5),
        (&s["oracle"]["quality"], 1.0),
        (&s["oracle"]["cost_usd"], 0.000_552_5),
        (&told["all"]["objectives"]["balanced"]["quality"], 0.75),
        (&told["all"]["always_strong"]["quality"], 0.875),
    ] {
        assert!(near(found, wanted), "{found} is not {wanted} in {s}");
    }
    // The rules force their arms, so that no floor reaches the big model's quality.
    assert!(s["cost_of_95_percent"].is_null(), "{s}");
    let last = s["floors"].as_array().and_then(|f| f.last()).expect("some");
    assert!(near(&last["floor"], 1.0) && near(&last["quality"], 0.5));
    let picture = std::fs::read_to_string(dir.path().join("c.svg")).expect("a chart");
    assert!(picture.contains("policy by floor") && !picture.contains("NaN"));
    assert!(!dir.path().join("data").exists(), "no ledger is opened");
}

#[test]
fn the_table_names_what_was_left_out_and_what_is_not_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    written(dir.path());
    let (ok, told, err) = eval(dir.path(), &["--as", "m-big=run-7"]);
    assert!(ok, "{err}");
    for part in [
        "balanced (its own)",
        "always-strong: run-7",
        "s: no floor keeps 95 % of always-strong's quality",
        "s: rows that are not counted, since a model that was chosen has no score there",
        "u: none of its rows (1) is counted",
        "no outcomes of them: m-unseen",
        "every effort of m-big",
    ] {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
}

/// Without rules the arms are chosen by what they are worth, by the code that `explain` and `serve` use.
#[test]
fn eval_chooses_what_explain_says() {
    let dir = tempfile::tempdir().expect("a folder");
    written(dir.path());
    let policy = POLICY.replace("rules = \"own-rules\"", "");
    std::fs::write(dir.path().join("policy.toml"), policy).expect("a file");
    let mut chosen = Vec::new();
    for prompt in [
        "What is the capital of France?",
        "Prove that there are infinitely many primes of the form 4k + 3, and find the flaw in the usual proof.",
    ] {
        let row = format!(
            r#"{{"prompt": "{prompt}", "scores": {{"m-small": 1, "m-big": 1, "m-unseen": 1}}}}"#
        );
        std::fs::write(dir.path().join("o.jsonl"), row).expect("a file");
        let (ok, told, err) = eval(dir.path(), &["--json"]);
        assert!(ok, "{err}");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        for objective in ["cheap", "balanced", "best"] {
            let args = [
                "--config",
                "policy.toml",
                "explain",
                "--json",
                "--objective",
            ];
            let (ok, explained, err) =
                out(flyball(dir.path()).args(args).args([objective, prompt]));
            assert!(ok, "{err}");
            let explained: Value = serde_json::from_str(&explained).expect("JSON");
            let arm = explained["attempts"][0].as_str().expect("an arm");
            let model = arm.split('@').next().expect("a model");
            let model = model.strip_prefix("maker/").unwrap_or(model);
            let by_eval = &told["sources"][0]["objectives"][objective]["chosen"];
            assert!(near(&by_eval[model], 1.0), "{arm}: {by_eval}");
            chosen.push(model.to_owned());
        }
    }
    chosen.sort();
    chosen.dedup();
    assert!(chosen.len() > 1, "not all are decided alike: {chosen:?}");
}

#[test]
fn names_that_do_not_match_are_told_with_both_sides_and_the_way_to_map_them() {
    let dir = tempfile::tempdir().expect("a folder");
    written(dir.path());
    let one = r#"{"prompt": "Hi.", "scores": {"direct": 0, "cot": 1}}"#;
    for (rows, args, said) in [
        (
            one,
            &[][..],
            &[
                "No model of the policy has outcomes",
                "m-big",
                "cot, direct",
                "--as POLICY_MODEL=OUTCOME_NAME",
            ][..],
        ),
        (
            one,
            &["--as", "m-big=cot"],
            &["Only one model of the policy has outcomes, m-big (as \"cot\")"],
        ),
        (
            one,
            &["--as", "m-bug=cot"],
            &["--as m-bug=cot", "did you mean \"m-big\"?"],
        ),
        (
            one,
            &["--as", "m-big=cut"],
            &["no outcome is of \"cut\"", "did you mean \"cot\"?"],
        ),
        (
            one,
            &["--as", "m-big@low=cot"],
            &["m-big does not take the effort low; it takes none, high"],
        ),
        (
            one,
            &["--as", "m-big"],
            &["write it as POLICY_MODEL=OUTCOME_NAME"],
        ),
        (
            one,
            &["--robustness"],
            &["--policy", "cannot be used with", "--robustness"],
        ),
        (
            one,
            &[
                "--as",
                "m-big@none=direct",
                "--as",
                "m-big@high=cot",
                "--strong",
                "x",
            ],
            &["\"x\" is no model of the policy that has outcomes; there are direct, cot"],
        ),
        (
            r#"{"prompt": "Hi.", "scores": {"a/m-big": 0, "b/m-big": 1}}"#,
            &[],
            &[
                "several names in the outcomes may be the policy's model \"m-big\": a/m-big, b/m-big",
            ],
        ),
    ] {
        std::fs::write(dir.path().join("o.jsonl"), rows).expect("a file");
        let (ok, _, err) = eval(dir.path(), args);
        assert!(!ok, "{args:?}");
        for part in said {
            assert!(err.contains(part), "{args:?}: {part} is not in:\n{err}");
        }
    }
    // One model at two efforts is a choice between two.
    std::fs::write(dir.path().join("o.jsonl"), one).expect("a file");
    let thinking = [
        "--as",
        "m-big@none=direct",
        "--as",
        "m-big@high=cot",
        "--json",
    ];
    let rules = RULES.replace(
        "arm = \"maker/m-small\"",
        "arm = \"m-big\", effort = \"none\"",
    );
    std::fs::write(dir.path().join("own-rules/r.toml"), rules).expect("a file");
    let (ok, told, err) = eval(dir.path(), &thinking);
    assert!(ok, "{err}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let own = &told["sources"][0]["objectives"]["balanced"];
    assert!(near(&own["chosen"]["direct"], 1.0), "{told}");
    assert!(near(&own["quality"], 0.0), "{told}");
}
