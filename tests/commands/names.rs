//! Names that nobody has: in caps, rules and keys, as `check`, `key create` and a running flyball tell them.

use super::{flyball, out};
use crate::flyball::Flyball;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

const SIMULATED: &str = "[simulate]\n[[team]]\nname = \"red\"\norganisation = \"acme\"\n";

fn write(dir: &Path, toml: &str) {
    std::fs::write(dir.join("flyball.toml"), toml).expect("a file");
}

#[test]
fn check_tells_a_cap_that_guards_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    for (scope, right, told) in [
        (
            "tier = \"smal\"",
            false,
            "unknown tier \"smal\"; did you mean \"small\"?",
        ),
        (
            "provider = \"simulatd\"",
            false,
            "unknown provider \"simulatd\"; did you mean \"simulated\"?",
        ),
        (
            "team = \"rde\"",
            false,
            "unknown team \"rde\"; did you mean \"red\"?",
        ),
        (
            "organisation = \"amce\"",
            false,
            "unknown organisation \"amce\"; did you mean \"acme\"?",
        ),
        (
            "model = \"sim-smal\"",
            false,
            "unknown model \"sim-smal\"; did you mean \"sim-small\"?",
        ),
        (
            "model = \"sim_*\"",
            true,
            "warning: flyball.toml:8: cap: the pattern \"sim_*\" matches no model",
        ),
        (
            "key = \"ap\"",
            true,
            "warning: flyball.toml:8: cap: there is no key \"ap\"; did you mean \"app\"?",
        ),
        (
            "tag = { project = \"x\" }",
            true,
            "warning: flyball.toml:8: cap: no key bears or demands the tag project=x",
        ),
    ] {
        let cap = format!("[[cap]]\nusd = 0\nwindow = \"day\"\n{scope}\n");
        write(dir.path(), SIMULATED);
        let _ = out(flyball(dir.path()).args(["key", "create", "app"]));
        write(dir.path(), &format!("{SIMULATED}{cap}"));
        let (ok, text, err) = out(flyball(dir.path()).arg("check"));
        assert_eq!(ok, right, "{scope}: {text}{err}");
        assert!((text.clone() + &err).contains(told), "{scope}: {text}{err}");
    }
}

#[test]
fn a_key_with_names_that_nobody_has_is_not_made_unless_it_is_forced() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), SIMULATED);
    let create = |args: &[&str]| {
        let mut command = flyball(dir.path());
        command.args(["key", "create"]).args(args);
        out(&mut command)
    };
    for (args, told) in [
        (
            ["--models", "sim-smal"],
            "unknown model \"sim-smal\"; did you mean \"sim-small\"?",
        ),
        (
            ["--team", "rde"],
            "unknown team \"rde\"; did you mean \"red\"?",
        ),
        (
            ["--cap", "1usd/day tier=smal"],
            "unknown tier \"smal\"; did you mean \"small\"?",
        ),
        (
            ["--cap", "1usd/day provider=simulatd"],
            "unknown provider \"simulatd\"; did you mean \"simulated\"?",
        ),
    ] {
        let (ok, key, err) = create(&[&["app"][..], &args].concat());
        assert!(
            !ok && key.is_empty() && err.contains(told),
            "{args:?}: {key}{err}"
        );
        let name = format!("forced{}", args[1].len());
        let (ok, key, err) = create(&[&[name.as_str(), "--force"][..], &args].concat());
        assert!(
            ok && key.starts_with("fb_") && err.contains(told),
            "{args:?}: {err}"
        );
    }
    let (ok, _, err) = create(&["pattern", "--models", "gtp-*"]);
    assert!(
        ok && err.contains("warning: the pattern \"gtp-*\" matches no model"),
        "{err}"
    );
    let (ok, _, err) = create(&["good", "--models", "sim-*,sim-small", "--team", "red"]);
    assert!(ok && !err.contains("warning"), "{err}");
}

#[test]
fn a_keys_caps_begin_their_days_where_time_zone_says() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "time_zone = \"Europe/Berlin\"\n[simulate]\n");
    let (ok, _, err) = out(flyball(dir.path()).args([
        "key",
        "create",
        "app",
        "--cap-usd-day",
        "5",
        "--cap",
        "9usd/month",
        "--cap",
        "7usd/week@UTC",
    ]));
    assert!(ok, "{err}");
    let (_, list, _) = out(flyball(dir.path()).args(["key", "list"]));
    for cap in [
        "5usd/day@Europe/Berlin",
        "9usd/month@Europe/Berlin",
        "7usd/week",
    ] {
        assert!(list.contains(cap), "{cap}: {list}");
    }
    assert!(!list.contains("7usd/week@"), "{list}");
    let (_, json, _) = out(flyball(dir.path()).args(["key", "list", "--json"]));
    let told: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(told["day"]["cap_usd"], "5", "{told}");
}

#[tokio::test]
async fn a_reload_with_a_cap_that_guards_nothing_leaves_the_old_one_in_force() {
    let cap = "[[cap]]\nrequests = 0\nwindow = \"day\"\n";
    let flyball = Flyball::start(&format!("{SIMULATED}{cap}")).await;
    write(
        flyball.dir.path(),
        &format!("{SIMULATED}{cap}tier = \"smal\"\n"),
    );
    let told = flyball.running.reload().expect_err("a mistake");
    assert!(
        told[0].to_string().contains("unknown tier \"smal\""),
        "{told:?}"
    );
    let body = r#"{"model":"auto","messages":[{"role":"user","content":"Hi"}]}"#;
    assert_ne!(flyball.chat(&[], body).await.status, 200);
}

#[test]
fn the_start_warns_of_what_guards_nothing_and_serves() {
    let dir = tempfile::tempdir().expect("a folder");
    let cap = "[[cap]]\nusd = 1\nwindow = \"day\"\n";
    write(
        dir.path(),
        &format!(
            "intercept = [\"gtp-*\"]\n[simulate]\n{cap}model = \"sim_*\"\n{cap}key = \"ap\"\n"
        ),
    );
    let mut child = flyball(dir.path())
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    for told in [
        "flyball.toml:6: cap: the pattern \"sim_*\" matches no model; did you mean \"sim-*\"?",
        "flyball.toml:1: intercept: the pattern \"gtp-*\" matches no model; did you mean \"gpt-*\"?",
        "flyball.toml:10: cap: there is no key \"ap\"",
    ] {
        let line = lines.next().expect("a line").expect("text");
        assert!(line.contains("WARN") && line.contains(told), "{line}");
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn check_tells_rules_that_never_decide_and_tiers_without_a_model() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), SIMULATED);
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    let rule = |name: &str, route: &str| {
        format!("[[rule]]\nname = \"{name}\"\nwhy = \"a test\"\nroute = {{ {route} }}\n")
    };
    let rules = rule("all", "effort = \"none..low\"") + &rule("late", "tier = \"local\"");
    std::fs::write(dir.path().join("rules/own.toml"), rules).expect("a file");
    let (ok, text, err) = out(flyball(dir.path()).args(["check"]));
    assert!(ok, "{err}");
    for told in [
        "rule \"late\" never decides: \"all\" before it holds for everything",
        "rule \"late\": no model is of tier local",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
}
