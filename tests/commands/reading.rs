//! Commands that only read: they follow the configuration and need no secrets.

use super::{flyball, out};
use crate::client::get;
use crate::flyball::Flyball;

const SECRETS: &str = "admin_token = \"env:NONE\"\ncap_webhook = \"env:NONE\"\n[[provider]]\nname = \"openai\"\n[[provider]]\nname = \"up\"\nkind = \"openai-compatible\"\nbase_url = \"https://example.org\"\napi_key = \"env:NONE\"\n[[model]]\nname = \"gpt-6-luna\"\nprovider = \"openai\"\n[[model]]\nname = \"own\"\nprovider = \"up\"\ntier = \"small\"\ninput_usd_per_mtok = 0.125\noutput_usd_per_mtok = 7.25\n[[cap]]\nusd = 5\nwindow = \"day\"\n";

#[test]
fn who_only_reads_needs_no_secrets_and_serve_does() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("flyball.toml"), SECRETS).expect("a file");
    let (ok, _, err) = out(flyball(dir.path()).args(["key", "create", "app"]));
    assert!(ok, "{err}");
    for args in [
        &["caps"][..],
        &["caps", "--json"],
        &["report"],
        &["key", "list"],
        &["ledger", "export", "--jsonl"],
        &["ledger", "verify"],
        &["explain", "What is the capital of France?"],
        &["prices", "show", "own"],
        &["rules", "show"],
    ] {
        // With the data folder named by the file, the configuration is read for the books too.
        for config in [&[][..], &["--config", "flyball.toml"]] {
            let (ok, _, err) = out(flyball(dir.path()).args(args).args(config));
            assert!(ok, "{args:?} {config:?}: {err}");
        }
    }
    let (ok, _, err) = out(flyball(dir.path()).args(["serve", "--listen", "127.0.0.1:0"]));
    assert!(
        !ok && err.contains("admin_token: the variable NONE is not set"),
        "{err}"
    );
}

#[test]
fn the_ledgers_own_secret_is_needed_by_who_reads_the_books() {
    let dir = tempfile::tempdir().expect("a folder");
    let toml = format!("shared_ledger = \"env:LEDGER\"\n{SECRETS}");
    std::fs::write(dir.path().join("flyball.toml"), toml).expect("a file");
    let config = ["--config", "flyball.toml"];
    let (ok, _, err) = out(flyball(dir.path()).args(["report"]).args(config));
    assert!(
        !ok && err.contains("shared_ledger: the variable LEDGER is not set"),
        "{err}"
    );
    assert!(!err.contains("admin_token"), "{err}");
}

#[test]
fn prices_explain_and_check_follow_the_catalogue_of_the_configuration() {
    let dir = tempfile::tempdir().expect("a folder");
    let row = r#"{"provider":"openai","model":"gpt-6-luna","rates":{"input":777000000,"output":888000000}}"#;
    let catalogue = format!(
        "{{\"version\":\"of-the-house\",\"source\":\"s\",\"unit\":\"pico-USD a token\",\"models\":[{row}]}}"
    );
    std::fs::write(dir.path().join("prices.json"), catalogue).expect("a file");
    let toml = format!("catalogue = \"prices.json\"\n{SECRETS}");
    std::fs::write(dir.path().join("flyball.toml"), toml).expect("a file");
    let (ok, shown, err) = out(flyball(dir.path()).args(["prices", "show"]));
    assert!(ok, "{err}");
    for part in ["777", "888", "0.125", "7.25", "of-the-house+"] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
    assert!(!shown.contains("claude"), "{shown}");
    let (ok, json, err) = out(flyball(dir.path()).args(["prices", "show", "luna", "--json"]));
    assert!(ok && json.contains("\"input\":\"777\""), "{json}{err}");
    let (ok, told, err) = out(flyball(dir.path()).args([
        "explain",
        "Hi",
        "--model",
        "gpt-6-luna",
        "--json",
        "--intercept",
        "gpt-*",
    ]));
    assert!(ok && told.contains("gpt-6-luna"), "{told}{err}");
    let secrets = [("NONE", "x"), ("OPENAI_API_KEY", "sk-none")];
    let (ok, told, err) = out(flyball(dir.path()).envs(secrets).arg("check"));
    assert!(
        ok && told.contains("price catalogue of-the-house+"),
        "{told}{err}"
    );
}

#[test]
fn rules_show_prints_the_starter_rules_and_which_are_in_force() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ok, starter, err) = out(flyball(dir.path()).args(["rules", "show"]));
    assert!(
        ok && starter.contains("In force: the starter rules"),
        "{starter}{err}"
    );
    // What it prints is a file of rules as it stands.
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    std::fs::write(dir.path().join("rules/all.toml"), &starter).expect("a file");
    std::fs::write(dir.path().join("flyball.toml"), "[simulate]\n").expect("a file");
    let (ok, told, err) = out(flyball(dir.path()).arg("check"));
    assert!(ok, "{told}{err}");
    let (_, own, _) = out(flyball(dir.path()).args(["rules", "show"]));
    assert!(
        own.contains("In force: the rules of rules/all.toml"),
        "{own}"
    );
    let (_, json, _) = out(flyball(dir.path()).args(["rules", "show", "--json"]));
    let told: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(told["starter"], false);
    assert!(
        told["in_force"]
            .as_array()
            .is_some_and(|rules| rules.len() > 2)
    );
}

#[tokio::test]
async fn every_field_of_the_export_and_of_the_admin_listener_is_documented() {
    let flyball =
        Flyball::start("[simulate]\nspeed = 1000\n[[cap]]\nusd = 5\nwindow = \"day\"\n").await;
    let body = r#"{"model":"auto","messages":[{"role":"user","content":"Hi"}]}"#;
    assert_eq!(flyball.chat(&[], body).await.status, 200);
    let row = flyball.rows().await.remove(0);
    let export = include_str!("../../docs/export.md");
    let fields = row.as_object().expect("an object").keys();
    for field in fields.chain(row["tokens"].as_object().expect("an object").keys()) {
        assert!(
            export.contains(&format!("`{field}`")),
            "{field} is not in docs/export.md"
        );
    }
    let admin = include_str!("../../docs/admin.md");
    for (path, list) in [("/admin/v1/caps", "caps"), ("/admin/v1/models", "models")] {
        let told = get(flyball.running.admin, path, &[]).await.json();
        for field in told[list][0].as_object().expect("an object").keys() {
            assert!(
                admin.contains(&format!("\"{field}\"")),
                "{field} is not in docs/admin.md"
            );
        }
    }
}

/// Runs it with an output that is a full disk.
#[cfg(target_os = "linux")]
fn onto_a_full_disk(dir: &std::path::Path, args: &[&str]) -> (bool, String) {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let mut command = flyball(dir);
    command.args(args).stdout(full.expect("Linux has one"));
    let child = command.stderr(std::process::Stdio::piped()).spawn();
    let ended = child.expect("it runs").wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.success(), said)
}

#[cfg(target_os = "linux")]
#[test]
fn an_export_onto_a_full_disk_fails_and_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ok, _, err) = out(flyball(dir.path()).args(["key", "create", "app"]));
    assert!(ok, "{err}");
    for args in [
        &["ledger", "export", "--csv"][..],
        &["report"],
        &["report", "--json"],
        &["report", "--forecast"],
    ] {
        let (ok, said) = onto_a_full_disk(dir.path(), args);
        assert!(
            !ok && said.contains("cannot be written"),
            "{args:?}: {said}"
        );
        assert!(!said.contains("panicked"), "{args:?}: {said}");
    }
}

#[test]
fn a_report_says_what_it_cannot_be_split_by_and_when_nothing_can_be_expected() {
    let dir = tempfile::tempdir().expect("a folder");
    let (ok, _, err) = out(flyball(dir.path()).args(["key", "create", "app"]));
    assert!(ok, "{err}");
    for (args, said) in [
        (
            &["--by", "colour"][..],
            "\"colour\" is nothing that a report can be split by",
        ),
        (&["--by", "team,team"], "\"team\" stands twice"),
        (&["--only", "team"], "is not like team=research"),
        (&["--from", "yesterday"], "--from: \"yesterday\" is no time"),
        (
            &["--from", "2026-12-01", "--to", "2026-11-01"],
            "--from is not before --to",
        ),
        (&["--zone", "Mars/Base"], "--zone: unknown time zone"),
    ] {
        let (ok, _, err) = out(flyball(dir.path()).arg("report").args(args));
        assert!(!ok && err.contains(said), "{args:?}: {err}");
    }
    let (ok, text, _) = out(flyball(dir.path()).args(["report", "--forecast"]));
    assert!(ok && text.contains("No whole day was seen yet"), "{text}");
    let (ok, text, _) = out(flyball(dir.path()).args(["report", "--by", "tag:app,day", "--csv"]));
    assert!(
        ok && text.starts_with("tag:app,day,requests,attempts,"),
        "{text}"
    );
    let (ok, text, _) = out(flyball(dir.path()).args([
        "report",
        "--json",
        "--from",
        "2026-11-01",
        "--to",
        "2026-12-01",
        "--zone",
        "Europe/Berlin",
    ]));
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(ok && report["from"] == "2026-10-31T23:00:00Z", "{text}");
    assert_eq!(report["total"]["saved_by"]["route"], "0", "{text}");
}
