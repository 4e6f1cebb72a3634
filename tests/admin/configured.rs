//! Keys that stand in the configuration by the hash of their secret: they are answered as created ones are, and changed nowhere else.

use super::keys::{TOKEN, call};
use crate::client::get;
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Upstream, answer, chat};
use crate::until::{ran, until_asked};
use flyball::caller::hash;
use flyball::config::keys::hash_text;
use serde_json::Value;
use std::process::Command;

const SECRET: &str = "fb_a-secret-of-the-configuration";
const ASK: &str =
    r#"{"model":"m-small","max_tokens":50,"messages":[{"role":"user","content":"hello"}]}"#;

/// A key named `app` with this secret, and what else is said of it.
fn key(secret: &str, more: &str) -> String {
    let hash = hash_text(&hash(secret.as_bytes()));
    format!("[[key]]\nname = \"app\"\nhash = \"{hash}\"\n{more}\n")
}

fn written(upstream: &Upstream, keys: &str) -> String {
    format!(
        "admin_token = \"file:token\"\n{keys}{}",
        compatible(upstream)
    )
}

async fn started(upstream: &Upstream, keys: &str) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("token"), "open-sesame\n").expect("a file");
    Flyball::start_in(dir, &written(upstream, keys)).await
}

/// Writes another configuration and has it read.
fn reconfigured(flyball: &Flyball, toml: &str) {
    std::fs::write(flyball.dir.path().join("flyball.toml"), toml).expect("a file");
    flyball.running.reload().expect("it is right");
}

async fn status(flyball: &Flyball, secret: &str, body: &str) -> u16 {
    let bearer = format!("Bearer {secret}");
    let got = flyball.chat(&[("authorization", &bearer)], body).await;
    got.status
}

async fn comes_to(flyball: &Flyball, secret: &str, expected: u16) {
    let what = format!("the key is answered with {expected}");
    until_asked(&what, async || {
        status(flyball, secret, ASK).await == expected
    })
    .await;
}

/// How the admin API tells the key.
async fn told(flyball: &Flyball) -> Value {
    let got = get(flyball.running.admin, "/admin/v1/keys/app", &[TOKEN]).await;
    assert_eq!(got.status, 200, "{}", got.body);
    got.json()
}

#[tokio::test]
async fn a_key_of_the_configuration_is_answered_from_the_start_with_its_caps_models_and_team() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let more = "team = \"red\"\ncaps = [\"2requests/day\"]\nmodels = [\"m-small\"]";
    let flyball = started(&upstream, &key(SECRET, more)).await;
    // There is a key, so nobody is answered without one.
    assert_eq!(flyball.chat(&[], ASK).await.status, 401);
    assert_eq!(
        status(&flyball, "fb_another-secret-of-nobody", ASK).await,
        401
    );
    let other = ASK.replace("m-small", "m-big");
    assert!([403, 404].contains(&status(&flyball, SECRET, &other).await));
    assert_eq!(status(&flyball, SECRET, ASK).await, 200);
    assert_eq!(status(&flyball, SECRET, ASK).await, 200);
    assert_eq!(status(&flyball, SECRET, ASK).await, 402, "its cap is full");
    let rows = flyball.rows().await;
    assert_eq!(
        (&rows[0]["key"], &rows[0]["team"]),
        (&"app".into(), &"red".into())
    );
    let key = told(&flyball).await;
    assert_eq!(
        (&key["state"], &key["configured"]),
        (&"works".into(), &true.into()),
        "{key}"
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_the_ledger_holds_in_the_place_of_its_hash_opens_nothing() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = started(&upstream, &key(SECRET, "")).await;
    let kept = flyball.books().keys().expect("keys").remove(0);
    assert_ne!(
        kept.hash,
        hash(SECRET.as_bytes()),
        "the books know nothing of the secret"
    );
    // Neither the name nor what stands there is taken for a secret.
    let digits: String = kept.hash.iter().map(|b| format!("{b:02x}")).collect();
    for guess in ["app", digits.as_str(), &format!("sha256:{digits}")] {
        assert_eq!(status(&flyball, guess, ASK).await, 401, "{guess}");
    }
}

#[tokio::test]
async fn one_that_is_paused_or_has_expired_is_refused_as_a_created_one_is() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    for (more, expected) in [
        ("paused = true", 403),
        ("expires = \"2020-01-01\"", 401),
        ("expires = \"2999-01-01T00:00:00Z\"", 200),
    ] {
        let flyball = started(&upstream, &key(SECRET, more)).await;
        assert_eq!(status(&flyball, SECRET, ASK).await, expected, "{more}");
    }
}

#[tokio::test]
async fn it_is_changed_in_the_configuration_alone_and_every_other_way_says_so() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = started(&upstream, &key(SECRET, "")).await;
    for (method, path, body) in [
        ("PATCH", "/keys/app", r#"{"paused":true}"#),
        ("POST", "/keys/app/rotate", ""),
        ("DELETE", "/keys/app", ""),
        ("POST", "/keys", r#"{"name":"app"}"#),
    ] {
        let got = call(&flyball, method, path, body).await;
        assert_eq!(got.status, 409, "{method} {path}: {}", got.body);
        assert!(
            got.body
                .contains("[[key]] of the configuration (flyball.toml)"),
            "{}",
            got.body
        );
    }
    for arguments in [
        &["key", "set", "app", "--pause"][..],
        &["key", "rotate", "app"],
        &["key", "revoke", "app"],
        &["key", "create", "app"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
        command.env_clear().current_dir(flyball.dir.path());
        let data = flyball.data_dir();
        command
            .args(["--config", "flyball.toml", "--data-dir"])
            .arg(data);
        let out = ran("the command ends", command.args(arguments), "");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            !out.status.success() && said.contains("[[key]]"),
            "{arguments:?}: {said}"
        );
    }
    assert_eq!(status(&flyball, SECRET, ASK).await, 200, "it is as it was");
}

#[tokio::test]
async fn a_reload_changes_takes_out_and_brings_back_a_key_and_its_books_stay() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let cap = "caps = [\"2requests/day\"]";
    let flyball = started(&upstream, &key(SECRET, cap)).await;
    assert_eq!(status(&flyball, SECRET, ASK).await, 200);

    // Another secret: the old one ends at once.
    let other = "fb_another-secret-of-the-configuration";
    reconfigured(&flyball, &written(&upstream, &key(other, cap)));
    comes_to(&flyball, SECRET, 401).await;
    assert_eq!(status(&flyball, other, ASK).await, 200);
    assert_eq!(status(&flyball, other, ASK).await, 402, "both have counted");

    // Taken out: nobody is answered, and nothing is open to everybody either.
    reconfigured(&flyball, &written(&upstream, ""));
    comes_to(&flyball, other, 401).await;
    assert_eq!(flyball.chat(&[], ASK).await.status, 401);
    let key_told = told(&flyball).await;
    assert_eq!(
        (&key_told["state"], &key_told["configured"]),
        (&"not configured".into(), &false.into())
    );

    // Brought back with more room: what was spent before counts.
    reconfigured(
        &flyball,
        &written(&upstream, &key(other, "caps = [\"3requests/day\"]")),
    );
    comes_to(&flyball, other, 200).await;
    assert_eq!(status(&flyball, other, ASK).await, 402);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_key_of_the_ledger_that_moves_into_the_configuration_keeps_its_books() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", None, |_| {});
    std::fs::write(dir.path().join("token"), "open-sesame\n").expect("a file");
    let flyball = Flyball::start_in(dir, &written(&upstream, "")).await;
    assert_eq!(status(&flyball, "fb_app", ASK).await, 200);
    let row = flyball.books().keys().expect("keys")[0].id;

    reconfigured(
        &flyball,
        &written(&upstream, &key(SECRET, "caps = [\"2requests/day\"]")),
    );
    comes_to(&flyball, "fb_app", 401).await;
    // The one of before counts.
    comes_to(&flyball, SECRET, 402).await;
    let keys = flyball.books().keys().expect("keys");
    assert_eq!(keys.iter().map(|k| k.id).collect::<Vec<_>>(), [row]);

    // And out of it again, under its name.
    reconfigured(&flyball, &written(&upstream, ""));
    comes_to(&flyball, SECRET, 401).await;
    let made = call(&flyball, "POST", "/keys", r#"{"name":"app"}"#).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let secret = made.json()["key"].as_str().expect("a secret").to_owned();
    assert_eq!(status(&flyball, &secret, ASK).await, 200);
    assert_eq!(flyball.books().keys().expect("keys")[0].id, row);
    let entries = get(flyball.running.admin, "/admin/v1/audit", &[TOKEN]).await;
    let entries = entries.json()["entries"]
        .as_array()
        .expect("a list")
        .clone();
    let deed = entries
        .iter()
        .find(|e| e["what"] == "key configured")
        .expect("it is noted");
    assert_eq!(
        (&deed["who"], &deed["of"]),
        (&"configuration".into(), &"app".into())
    );
}

fn hashed(arguments: &[&str], input: &str) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.env_clear().args(["key", "hash"]).args(arguments);
    let out = ran("the command ends", &mut command, input);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.success(), text(&out.stdout), text(&out.stderr))
}

#[test]
fn a_secret_is_hashed_from_standard_input_or_made_and_never_taken_from_the_command_line() {
    let (ok, out, _) = hashed(&["--name", "bot"], &format!("{SECRET}\n"));
    let hash_of = hash_text(&hash(SECRET.as_bytes()));
    assert!(ok && !out.contains(SECRET), "{out}");
    assert_eq!(
        out,
        format!("[[key]]\nname = \"bot\"\nhash = \"{hash_of}\"\n")
    );

    let (ok, out, said) = hashed(&["--new", "--json"], "");
    let made: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{said}"));
    let secret = made["key"].as_str().expect("a secret");
    assert!(ok && secret.starts_with("fb_"));
    assert_eq!(made["hash"], hash_text(&hash(secret.as_bytes())));

    for (arguments, input, says) in [
        (&[SECRET][..], "", "unexpected argument"),
        (&[], "", "no secret on standard input"),
        (&[], "short", "could be guessed"),
        (
            &[],
            "a secret with spaces in it, and long",
            "could be guessed",
        ),
    ] {
        let (ok, _, said) = hashed(arguments, input);
        assert!(!ok && said.contains(says), "{arguments:?} {input}: {said}");
    }
}

#[tokio::test]
async fn what_is_read_of_the_configuration_while_its_keys_are_being_written_holds_too() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = started(&upstream, &key(SECRET, "")).await;
    let many: String = (0..400_u32)
        .map(|n| {
            let hash = hash_text(&hash(format!("fb_{n}").as_bytes()));
            format!("[[key]]\nname = \"bot{n}\"\nhash = \"{hash}\"\n")
        })
        .collect();
    let all = format!("{}{many}", key(SECRET, ""));
    reconfigured(&flyball, &written(&upstream, &all));
    until_asked("the first of them are written", async || {
        let keys = flyball.books().keys();
        keys.expect("keys").len() > 1
    })
    .await;
    // While the others are.
    let all = format!("{}{many}", key(SECRET, "paused = true"));
    reconfigured(&flyball, &written(&upstream, &all));
    let told = async || told(&flyball).await["state"] == "paused";
    until_asked("the key is paused", told).await;
    assert_eq!(status(&flyball, SECRET, ASK).await, 403);
}

#[tokio::test]
async fn a_secret_that_a_key_of_the_ledger_has_is_that_keys_until_it_is_revoked_and_it_is_told() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "older", None, |_| {});
    std::fs::write(dir.path().join("token"), "open-sesame\n").expect("a file");
    let toml = written(&upstream, &key("fb_older", ""));
    let flyball = Flyball::start_in(dir, &toml).await;
    assert_eq!(status(&flyball, "fb_older", ASK).await, 200);
    assert_eq!(flyball.rows().await[0]["key"], "older");

    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.env_clear().current_dir(flyball.dir.path());
    command.args(["check", "--config", "flyball.toml", "--data-dir"]);
    let out = ran("the command ends", command.arg(flyball.data_dir()), "");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        said.contains("its secret is that of the key \"older\""),
        "{said}{}",
        String::from_utf8_lossy(&out.stderr)
    );

    let revoked = call(&flyball, "DELETE", "/keys/older", "").await;
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    until_asked("it is the secret of the configuration's key", async || {
        status(&flyball, "fb_older", ASK).await;
        flyball.rows().await.iter().any(|row| row["key"] == "app")
    })
    .await;
}
