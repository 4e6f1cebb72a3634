//! The program as a person runs it.

mod comparing;
mod local;
mod month;
mod names;
mod policy;
mod reading;
mod replay;

use crate::client;
use crate::until::{ended, heard, killed, ran, until_asked};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub fn flyball(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command
        .env_clear()
        .current_dir(dir)
        .args(["--data-dir"])
        .arg(dir.join("data"));
    command
}

pub fn out(command: &mut Command) -> (bool, String, String) {
    let out = ran("the command ends", command, "");
    (
        out.status.success(),
        String::from_utf8_lossy(&out.stdout).into_owned(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    )
}

/// A serving flyball that is stopped when the test ends.
struct Serving {
    child: Child,
    at: std::net::SocketAddr,
    said: Vec<String>,
}

impl Serving {
    fn start(dir: &Path) -> Serving {
        Serving::of(flyball(dir))
    }

    fn of(mut command: Command) -> Serving {
        command.args([
            "serve",
            "--simulate",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let last = |line: &str| line.contains("Ctrl-C stops");
        let said = heard("flyball says that it serves", &mut child, last);
        let at = said[0]
            .split("http://")
            .nth(1)
            .and_then(|s| s.split(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("{said:?}"));
        Serving { child, at, said }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        killed(&mut self.child);
    }
}

#[tokio::test]
async fn serve_says_how_to_try_it_and_what_it_answered() {
    let dir = tempfile::tempdir().expect("a folder");
    let serving = Serving::start(dir.path());
    let said = serving.said.join("\n");
    for part in [
        "curl -si",
        "HTTP 200",
        "[simulated]",
        "baseline",
        "Only simulated models answer",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

#[tokio::test]
async fn once_there_are_keys_the_request_to_try_has_one() {
    let dir = tempfile::tempdir().expect("a folder");
    assert!(out(flyball(dir.path()).args(["key", "create", "app"])).0);
    let said = Serving::start(dir.path()).said.join("\n");
    for part in [
        "-H \"authorization: Bearer $FLYBALL_KEY\"",
        "flyball key create",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

#[tokio::test]
async fn a_key_made_while_it_serves_works_and_a_revoked_one_stops_working() {
    let dir = tempfile::tempdir().expect("a folder");
    let serving = Serving::start(dir.path());
    let body =
        r#"{"model":"auto","messages":[{"role":"user","content":"What is the capital of Peru?"}]}"#;
    let (ok, key, _) =
        out(flyball(dir.path()).args(["key", "create", "app", "--cap-usd-day", "5"]));
    assert!(ok && key.starts_with("fb_"));
    let bearer = format!("Bearer {}", key.trim());
    let status = async |headers: &[(&str, &str)]| {
        let got = client::post(serving.at, "/v1/chat/completions", headers, body).await;
        got.status
    };
    // Open mode ends within seconds of the first key, in the running process.
    until_asked("open mode ends", async || status(&[]).await == 401).await;
    let own = [("authorization", bearer.as_str())];
    // Until its cap is in force it is told to try again in a moment.
    until_asked("the key works", async || status(&own).await == 200).await;
    let (_, list, _) = out(flyball(dir.path()).args(["key", "list"]));
    assert!(
        list.contains("app") && list.contains("5usd/day") && !list.contains(key.trim()),
        "{list}"
    );
    assert!(out(flyball(dir.path()).args(["key", "revoke", "app"])).0);
    until_asked("the key stops working", async || status(&own).await == 401).await;
    let (ok, verified, _) = out(flyball(dir.path()).args(["ledger", "verify"]));
    assert!(ok && verified.contains("0 differences"), "{verified}");
    let (_, exported, _) = out(flyball(dir.path()).args(["ledger", "export", "--jsonl"]));
    let first: Value =
        serde_json::from_str(exported.lines().next().expect("a line")).expect("JSON");
    for field in [
        "request",
        "attempt",
        "time",
        "key",
        "provider",
        "model",
        "effort",
        "tier",
        "task",
        "rule",
        "difficulty",
        "tokens",
        "cost_pico_usd",
        "baseline_pico_usd",
        "basis",
        "outcome",
        "catalogue",
    ] {
        assert!(first.get(field).is_some(), "{field}");
    }
    let (ok, report, _) = out(flyball(dir.path()).args(["report"]));
    assert!(
        ok && report.contains("small") && report.contains("simulated"),
        "{report}"
    );
    let secrets = std::fs::read(dir.path().join("data/ledger.sqlite")).expect("the ledger");
    assert!(
        !secrets
            .windows(key.trim().len())
            .any(|w| w == key.trim().as_bytes()),
        "the ledger keeps no secret"
    );
}

#[test]
fn demo_runs_alone_and_prints_what_was_saved() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ok, text, err) = out(flyball(dir.path()).args(["demo", "--requests", "40", "--json"]));
    assert!(ok, "{err}");
    let told: Value = serde_json::from_str(&text).expect("JSON");
    let rows = told["rows"].as_array().expect("rows");
    assert!(
        rows.iter()
            .any(|r| r["tier"] == "small" && r["effort"] == "none")
            && rows
                .iter()
                .any(|r| r["tier"] == "standard" && r["effort"] != "none"),
        "{told}"
    );
    assert_eq!(told["simulated"], true);
}

#[test]
fn classify_answers_in_order_one_line_each() {
    let dir = tempfile::tempdir().expect("a folder");
    let lines = "{\"id\":1,\"prompt\":\"How many ways are there to seat eight people around a round table so that no two of three sworn enemies are neighbours? Show your steps.\"}\n{\"id\":\"b\",\"messages\":[{\"role\":\"user\",\"content\":\"Translate to French: hello\"}]}\n{\"id\":3,\"model\":\"x\",\"max_tokens\":5,\"system\":\"s\",\"messages\":[{\"role\":\"user\",\"content\":\"hm\"}]}\n{\"id\":4,\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"Translate to French: hello\"}]}]}\n{\"id\":5,\"model\":\"auto\",\"input\":\"Translate to French: hello\"}\n";
    let mut command = flyball(dir.path());
    let out = ran(
        "classify ends",
        command.args(["classify", "--jsonl"]),
        lines,
    );
    let text = String::from_utf8(out.stdout).expect("text");
    let rows: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let told: Vec<_> = rows
        .iter()
        .map(|r| {
            (
                r["id"].to_string(),
                r["task"].as_str().unwrap_or("?"),
                r["tier"].as_str().unwrap_or("?"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("1".into(), "maths", "standard"),
            ("\"b\"".into(), "translate", "small"),
            ("3".into(), "unknown", "standard"),
            ("4".into(), "translate", "small"),
            ("5".into(), "translate", "small"),
        ]
    );
    assert!(rows.iter().all(|r| {
        r["difficulty"]
            .as_f64()
            .is_some_and(|d| (0.0..=1.0).contains(&d))
            && r["features"].is_object()
    }));
}

#[test]
fn explain_shows_rule_arms_and_costs() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ok, text, err) = out(flyball(dir.path()).args([
        "explain",
        "How many ways are there to seat eight people around a round table so that no two of three sworn enemies are neighbours? Show your steps.",
        "--json",
    ]));
    assert!(ok, "{err}");
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (told["task"].as_str(), told["rule"].as_str()),
        (Some("maths"), Some("default"))
    );
    assert!(told["considered"].as_array().is_some_and(|c| {
        c.iter().any(|a| {
            a["verdict"]
                .as_str()
                .is_some_and(|v| v.starts_with("chosen"))
                && a["expected_usd"].is_string()
                && a["chance"].is_number()
        })
    }));
}

#[test]
fn explain_reads_a_body_in_the_dialect_that_it_looks_like() {
    let dir = tempfile::tempdir().expect("a folder");
    for body in [
        r#"{"input":"what is 2+2"}"#,
        r#"{"model":"auto","input":"what is 2+2"}"#,
        r#"{"contents":[{"role":"user","parts":[{"text":"what is 2+2"}]}]}"#,
        r#"{"messages":[{"role":"user","content":"what is 2+2"}]}"#,
    ] {
        let (ok, text, err) = out(flyball(dir.path()).args(["explain", body, "--json"]));
        assert!(ok, "{body}: {err}");
        let told: Value = serde_json::from_str(&text).expect("JSON");
        assert!(told["rule"].is_string(), "{body}: {text}");
    }
    let (ok, _, err) = out(flyball(dir.path()).args(["explain", "hi", "--dialect", "x"]));
    assert!(!ok && err.contains("there is no dialect \"x\""), "{err}");
}

/// `serve` answers 400 to each of these: what the model that would be chosen cannot be told, and what a cap cannot bound.
#[test]
fn explain_says_what_serve_would_refuse() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = r#"
[[provider]]
name = "a"
kind = "anthropic"
base_url = "http://127.0.0.1:1"
[[model]]
name = "claude-haiku-4-5"
provider = "a"
tier = "small"
[[cap]]
usd = 5
window = "day"
"#;
    std::fs::write(dir.path().join("flyball.toml"), config).expect("a file");
    let file = dir.path().join("flyball.toml");
    let explain = |body: &str| {
        let file = file.to_str().expect("a path");
        out(flyball(dir.path()).args(["--config", file, "explain", body, "--json"]))
    };
    let (ok, text, err) = explain(r#"{"messages":[{"role":"user","content":"hi"}]}"#);
    assert!(ok, "{text} {err}");
    for (field, body) in [
        (
            "\"n\"",
            r#"{"n":2,"messages":[{"role":"user","content":"hi"}]}"#,
        ),
        (
            "code_execution",
            r#"{"max_tokens":9,"tools":[{"type":"code_execution_20250825","name":"code_execution"}],"system":"s","messages":[{"role":"user","content":"hi"}]}"#,
        ),
    ] {
        let (ok, text, err) = explain(body);
        assert!(!ok && err.contains("refused"), "{body}: {text} {err}");
        assert!(err.contains(field) || err.contains("tools"), "{err}");
    }
}

#[test]
fn explain_shows_what_keeps_a_model_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let model = |name: &str, tier: &str, more: &str| {
        format!(
            "[[model]]\nname = \"{name}\"\ntier = \"{tier}\"\nefforts = []\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 2\n{more}\n"
        )
    };
    let config = format!(
        "[[provider]]\nname = \"a\"\nkind = \"openai-compatible\"\nbase_url = \"http://127.0.0.1:1\"\n{}{}",
        model("m-small", "small", "tool_use = false"),
        model("m-big", "reasoning", "")
    );
    let file = dir.path().join("flyball.toml");
    std::fs::write(&file, config).expect("a file");
    let body = r#"{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}]}"#;
    let file = file.to_str().expect("a path");
    let (ok, text, err) = out(flyball(dir.path()).args(["--config", file, "explain", body]));
    assert!(ok && text.contains("it calls no tools"), "{text} {err}");
}

#[test]
fn prices_can_be_refreshed_from_litellms_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let row = r#"{"m-1":{"litellm_provider":"openai","mode":"chat","input_cost_per_token":4e-06,"output_cost_per_token":2e-05}}"#;
    std::fs::write(dir.path().join("in.json"), row).expect("a file");
    let (ok, said, err) = out(flyball(dir.path()).args([
        "prices",
        "refresh",
        "--from",
        "in.json",
        "--source",
        "litellm test",
        "--out",
        "out.json",
    ]));
    assert!(ok, "{said}{err}");
    let text = std::fs::read_to_string(dir.path().join("out.json")).expect("written");
    assert!(text.contains("4000000") && text.contains("m-1"), "{text}");
    let (ok, shown, _) = out(flyball(dir.path()).args(["prices", "show", "gpt-6.1-sol"]));
    assert!(ok && shown.contains("gpt-6.1-sol"), "{shown}");
}

#[test]
fn a_reader_that_has_seen_enough_is_not_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut child = flyball(dir.path())
        .args(["prices", "show"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let out = ended("the command ends", child);
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && told.is_empty(), "{told}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_usual_soft_limit_of_open_files_is_raised_and_a_hard_one_is_told() {
    for (limit, told) in [("-S", false), ("-H", true)] {
        let dir = tempfile::tempdir().expect("a folder");
        let own = flyball(dir.path());
        let mut command = Command::new("/bin/sh");
        let run = format!("ulimit -S -n 256; ulimit {limit} -n 256; exec \"$0\" \"$@\"");
        command
            .env_clear()
            .current_dir(dir.path())
            .args(["-c", &run])
            .arg(own.get_program())
            .args(own.get_args());
        let serving = Serving::of(command);
        let said = serving.said.join("\n");
        assert_eq!(said.contains("only 256 files"), told, "{said}");
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", serving.child.id()));
        let limits = limits.expect("the process lives");
        let open = limits.lines().find(|l| l.starts_with("Max open files"));
        let soft = open.and_then(|l| l.split_whitespace().nth(3)?.parse::<u64>().ok());
        assert_eq!(soft.is_some_and(|soft| soft >= 8_000), !told, "{limits}");
    }
}
