//! Keys over the admin API, on the command line's terms: made, changed, paused, rotated, revoked, each in the audit log.

use super::SIMULATED;
use crate::client::{Answer, get, post, raw};
use crate::flyball::Flyball;
use crate::scripted::{Upstream, answer, chat};
use crate::until::{ran, until_asked};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

pub const TOKEN: (&str, &str) = ("authorization", "Bearer open-sesame");
const ASK: &str = r#"{"model":"auto","messages":[{"role":"user","content":"hello"}]}"#;

/// A flyball whose admin API takes the token `open-sesame`.
pub async fn started(more: &str) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("token"), "open-sesame\n").expect("a file");
    Flyball::start_in(dir, &format!("admin_token = \"file:token\"\n{more}")).await
}

pub async fn call(flyball: &Flyball, method: &str, path: &str, body: &str) -> Answer {
    let length = body.len();
    let text = format!(
        "{method} /admin/v1{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: {}\r\nx-flyball-actor: alice\r\ncontent-length: {length}\r\n\r\n{body}",
        TOKEN.1
    );
    raw(flyball.running.admin, text.as_bytes())
        .await
        .answer()
        .await
}

/// Makes a key and gives its secret.
pub async fn made(flyball: &Flyball, body: &Value) -> String {
    let got = call(flyball, "POST", "/keys", &body.to_string()).await;
    assert_eq!(got.status, 201, "{}", got.body);
    // From the answer on the key works, and nobody is answered without one.
    assert_eq!(got.json()["in_force"], true, "{}", got.body);
    got.json()["key"].as_str().expect("a secret").to_owned()
}

async fn status(flyball: &Flyball, secret: &str) -> u16 {
    let bearer = format!("Bearer {secret}");
    let got = flyball.chat(&[("authorization", &bearer)], ASK).await;
    got.status
}

async fn comes_to(flyball: &Flyball, secret: &str, expected: u16) {
    let what = format!("the key is answered with {expected}");
    until_asked(&what, async || status(flyball, secret).await == expected).await;
}

/// Waits for what another process has done.
pub async fn comes_to_session(done: impl AsyncFnMut() -> bool) {
    until_asked("the session is answered otherwise", done).await;
}

/// The audit log's entries about keys.
async fn deeds(flyball: &Flyball) -> Vec<Value> {
    let got = get(flyball.running.admin, "/admin/v1/audit", &[TOKEN]).await;
    let mut entries = got.json()["entries"].as_array().expect("a list").clone();
    entries.retain(|entry| entry["what"] != "configuration changed");
    entries
}

fn command(flyball: &Flyball, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.env_clear().env("USER", "bob");
    command.current_dir(flyball.dir.path());
    command.arg("--data-dir").arg(flyball.data_dir()).args(args);
    let out = ran("the command ends", &mut command, "");
    let said = [out.stdout, out.stderr].concat();
    (
        out.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[tokio::test]
async fn a_key_is_made_changed_paused_rotated_and_revoked_while_it_is_used() {
    let flyball = started(SIMULATED).await;
    let body = json!({"name": "app", "team": "red", "caps": ["5usd/day"], "tags": ["a=b"]});
    let secret = made(&flyball, &body).await;
    assert_eq!(status(&flyball, &secret).await, 200);
    assert_eq!(flyball.chat(&[], ASK).await.status, 401);

    // A smaller cap holds, and what was spent before counts.
    let got = call(&flyball, "PATCH", "/keys/app", r#"{"caps":["0usd/day"]}"#).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(got.json()["caps"][0]["cap"], "0usd/day");
    assert_eq!(got.json()["team"], "red", "what is not named stays");
    comes_to(&flyball, &secret, 402).await;
    call(&flyball, "PATCH", "/keys/app", r#"{"caps":["5usd/day"]}"#).await;
    comes_to(&flyball, &secret, 200).await;

    call(&flyball, "PATCH", "/keys/app", r#"{"paused":true}"#).await;
    comes_to(&flyball, &secret, 403).await;
    let bearer = format!("Bearer {secret}");
    let refused = flyball.chat(&[("authorization", &bearer)], ASK).await;
    assert_eq!(refused.json()["error"]["code"], "key_paused");
    call(&flyball, "PATCH", "/keys/app", r#"{"paused":false}"#).await;
    comes_to(&flyball, &secret, 200).await;

    let body = r#"{"grace_seconds":600}"#;
    let rotated = call(&flyball, "POST", "/keys/app/rotate", body)
        .await
        .json();
    let new = rotated["key"].as_str().expect("a secret").to_owned();
    comes_to(&flyball, &new, 200).await;
    assert_eq!(
        status(&flyball, &secret).await,
        200,
        "the old one still does"
    );

    let spent = call(&flyball, "GET", "/keys/app", "").await.json()["total"]["spent_usd"].clone();
    let revoked = call(&flyball, "DELETE", "/keys/app", "").await;
    assert_eq!(revoked.json()["state"], "revoked", "{}", revoked.body);
    comes_to(&flyball, &new, 401).await;
    assert_eq!(status(&flyball, &secret).await, 401);

    // Made again it goes on where it was: nobody escapes from a cap by a new key of the same name.
    let again = made(&flyball, &json!({"name": "app", "caps": ["5usd/total"]})).await;
    comes_to(&flyball, &again, 200).await;
    let one = call(&flyball, "GET", "/keys/app", "").await.json();
    let dollars = |value: &Value| {
        value
            .as_str()
            .expect("dollars")
            .parse::<f64>()
            .expect("a number")
    };
    assert!(dollars(&spent) > 0.0 && dollars(&one["total"]["spent_usd"]) > dollars(&spent));
    let keys = call(&flyball, "GET", "/keys", "").await.json();
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1), "{keys}");
    flyball.books_are_right().await;

    let deeds = deeds(&flyball).await;
    let whats: Vec<&str> = deeds.iter().filter_map(|d| d["what"].as_str()).collect();
    assert_eq!(
        whats,
        [
            "key created",
            "key changed",
            "key changed",
            "key paused",
            "key resumed",
            "key rotated",
            "key revoked",
            "key created"
        ]
    );
    assert_eq!(deeds[1]["who"], "admin API, for alice");
    assert_eq!(deeds[1]["before"]["caps"], json!(["5usd/day"]));
    assert_eq!(deeds[1]["after"]["caps"], json!(["0usd/day"]));
    let all = json!(deeds).to_string();
    for secret in [&secret, &new, &again] {
        assert!(!all.contains(&secret[3..]), "a secret is in the audit log");
    }
}

#[tokio::test]
async fn the_audit_log_has_configuration_and_commands_and_tells_what_was_changed_afterwards() {
    let flyball = started(SIMULATED).await;
    let entries = async || {
        let got = get(flyball.running.admin, "/admin/v1/audit", &[TOKEN]).await;
        got.json()["entries"].as_array().expect("a list").clone()
    };
    until_asked("the start is noted", async || entries().await.len() == 1).await;
    let file = flyball.dir.path().join("flyball.toml");
    let toml = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, toml.replace("usd = 5", "usd = 7")).expect("written");
    let reloaded = post(flyball.running.admin, "/admin/v1/reload", &[TOKEN], "").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.body);
    until_asked("the change is noted", async || entries().await.len() == 2).await;
    let told = entries().await;
    let cap = "flyball.toml: cap[0].usd";
    assert_eq!(told[1]["before"]["settings"][cap], "5", "{}", told[1]);
    assert_eq!(told[1]["after"]["settings"][cap], "7");
    assert!(!json!(told).to_string().contains("open-sesame"));

    let (ok, said) = command(&flyball, &["key", "create", "bot", "--team", "red"]);
    assert!(ok, "{said}");
    let (ok, said) = command(
        &flyball,
        &["key", "set", "bot", "--cap", "9usd/month", "--pause"],
    );
    assert!(ok && said.contains("key paused"), "{said}");
    let (ok, said) = command(&flyball, &["key", "set", "bot"]);
    assert!(!ok && said.contains("nothing was named"), "{said}");
    let told = entries().await;
    assert_eq!(told[3]["who"], "command line, bob", "{told:?}");
    assert_eq!(told[3]["after"]["caps"], json!(["9usd/month"]));

    let (ok, said) = command(&flyball, &["audit", "verify", "--json"]);
    let verified: Value = serde_json::from_str(&said).expect("JSON");
    assert!(ok && verified["entries"] == 4, "{said}");
    let seal = format!("4:{}", verified["seal"].as_str().expect("a seal"));
    let (ok, exported) = command(&flyball, &["audit", "export"]);
    assert!(ok && exported.lines().count() == 4, "{exported}");

    // Somebody with access to the file gives bot's cap another past.
    let ledger = flyball.data_dir().join("ledger.sqlite");
    let db = rusqlite::Connection::open(ledger).expect("the file");
    let change = |sql: &str| assert_eq!(db.execute(sql, []).expect("it can"), 1);
    change("UPDATE audit SET line = replace(line, '9usd', '8usd') WHERE number = 4");
    let (ok, said) = command(&flyball, &["audit", "verify"]);
    assert!(!ok && said.contains("entry 4"), "{said}");
    change("UPDATE audit SET line = replace(line, '8usd', '9usd') WHERE number = 4");
    assert!(command(&flyball, &["audit", "verify", "--seal", &seal]).0);
    // Cut off at its end the chain is whole, but no longer the one whose seal was kept.
    change("DELETE FROM audit WHERE number = 4");
    assert!(command(&flyball, &["audit", "verify"]).0);
    let (ok, said) = command(&flyball, &["audit", "verify", "--seal", &seal]);
    assert!(!ok && said.contains("entry 4"), "{said}");
}

#[tokio::test]
async fn what_cannot_be_done_with_keys_is_told_and_does_nothing() {
    let flyball = started(&format!("{SIMULATED}[[team]]\nname = \"red\"\n")).await;
    made(&flyball, &json!({"name": "app"})).await;
    let long = format!("{{\"name\":\"{}\"}}", "n".repeat(70_000));
    let many = json!({"name": "x", "models": vec!["m"; 101]}).to_string();
    for (method, path, body, status, says) in [
        ("POST", "/keys", "{", 400, "no JSON object"),
        ("POST", "/keys", r#"{"name":""}"#, 400, "1 to 64 visible"),
        (
            "POST",
            "/keys",
            r#"{"name":"a\nb"}"#,
            400,
            "1 to 64 visible",
        ),
        ("POST", "/keys", r#"{"name":"x","colour":1}"#, 400, "colour"),
        (
            "POST",
            "/keys",
            r#"{"name":"x","caps":["lots"]}"#,
            400,
            "lots",
        ),
        (
            "POST",
            "/keys",
            r#"{"name":"x","tags":["k"]}"#,
            400,
            "not k=v",
        ),
        ("POST", "/keys", &many, 400, "100 caps, models and tags"),
        (
            "POST",
            "/keys",
            r#"{"name":"x","caps":["1usd/day","2usd/day"]}"#,
            400,
            "two caps",
        ),
        ("POST", "/keys", &long, 413, "longer than"),
        ("POST", "/keys", r#"{"name":"app"}"#, 409, "already"),
        (
            "POST",
            "/keys",
            r#"{"name":"x","team":"rde"}"#,
            422,
            "did you mean \"red\"",
        ),
        ("PATCH", "/keys/app", "{}", 400, "nothing is to be another"),
        (
            "PATCH",
            "/keys/app",
            r#"{"name":"b"}"#,
            400,
            "does not change",
        ),
        (
            "PATCH",
            "/keys/nobody",
            r#"{"paused":true}"#,
            404,
            "no key named",
        ),
        ("POST", "/keys/nobody/rotate", "", 404, "no key named"),
        ("POST", "/keys/app/rotate", "[]x", 400, "grace_seconds"),
        ("DELETE", "/keys/nobody", "", 404, "no key named"),
        ("DELETE", "/keys", "", 405, "DELETE /admin/v1/keys/NAME"),
        ("GET", "/keys/nobody", "", 404, "no such key"),
        ("GET", "/keys?x=1", "", 400, "it may say: force"),
        ("GET", "/audit?after=x", "", 400, "number of an entry"),
        ("GET", "/audit?limit=0", "", 400, "from 1 to 1000"),
    ] {
        let got = call(&flyball, method, path, body).await;
        assert_eq!(
            got.status, status,
            "{method} {path} {body:.80}: {}",
            got.body
        );
        assert!(got.body.contains(says), "{method} {path}: {}", got.body);
    }
    let forced = r#"{"name":"y","team":"rde"}"#;
    let got = call(&flyball, "POST", "/keys?force=true", forced).await;
    assert_eq!(got.status, 201, "{}", got.body);
    assert!(got.json()["warnings"][0].is_string(), "{}", got.body);
    assert_eq!(deeds(&flyball).await.len(), 2, "only app and y were made");
    let open = "DELETE /admin/v1/keys/app HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let got = raw(flyball.running.admin, open.as_bytes())
        .await
        .answer()
        .await;
    assert_eq!(got.status, 401, "without the token nothing is changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_rotations_and_reloads_under_load_refuse_nobody_and_lose_no_cent() {
    let upstream = Upstream::start(answer(200, &chat(1_000, 100))).await;
    let toml = crate::flyball::compatible(&upstream);
    let flyball = started(&toml).await;
    let secret = made(&flyball, &json!({"name": "app", "caps": ["100usd/day"]})).await;
    comes_to(&flyball, &secret, 200).await;
    // One caller stays with the first secret, which has a grace time of its own.
    let first = secret.clone();
    let secrets = tokio::sync::watch::channel((0_usize, secret)).0;
    // Which secret the others use: each rotation waits until all have seen it.
    let uses: Vec<AtomicUsize> = (0..8).map(|_| AtomicUsize::new(0)).collect();
    let stop = tokio::sync::watch::channel(false).0;
    let flyball = &flyball;
    let load = async |(nth, uses): (usize, &AtomicUsize)| {
        let mut answered = 0_usize;
        while !*stop.borrow() {
            let (number, latest) = secrets.borrow().clone();
            let secret = if nth == 0 { first.clone() } else { latest };
            uses.store(number, SeqCst);
            let status = status(flyball, &secret).await;
            assert_eq!(status, 200, "a key that works was refused");
            answered += 1;
        }
        answered
    };
    let rotate = async || {
        for number in 0..20 {
            let body = r#"{"grace_seconds":600}"#;
            let rotated = call(flyball, "POST", "/keys/app/rotate", body).await;
            let new = rotated.json()["key"].as_str().expect("a secret").to_owned();
            // The new one is used as soon as it works here; until then the old one does.
            comes_to(flyball, &new, 200).await;
            secrets.send_replace((number + 1, new));
            until_asked("everybody uses the new one", async || {
                uses.iter().all(|uses| uses.load(SeqCst) > number)
            })
            .await;
            let toml = format!(
                "admin_token = \"file:token\"\nanswer_tokens_min = {}\n{toml}",
                20 + number
            );
            std::fs::write(flyball.dir.path().join("flyball.toml"), toml).expect("written");
            let reloaded = post(flyball.running.admin, "/admin/v1/reload", &[TOKEN], "").await;
            assert_eq!(reloaded.status, 200, "{}", reloaded.body);
        }
        stop.send_replace(true);
        0
    };
    let (answered, _) = tokio::join!(join_all(uses.iter().enumerate().map(load)), rotate());
    let answered: usize = answered.into_iter().sum();
    assert!(answered > 100, "there was a load: {answered}");
    flyball.books_are_right().await;
    let rows = flyball.rows().await;
    let booked: i64 = rows
        .iter()
        .filter_map(|row| row["cost_pico_usd"].as_i64())
        .sum();
    let billed = i64::try_from(upstream.seen().len()).expect("small") * 2_000_000_000;
    assert_eq!(booked, billed, "what the provider counts is what is booked");
    let one = call(flyball, "GET", "/keys/app", "").await.json();
    let spent = flyball::money::PicoUsd(booked.into()).usd_text();
    assert_eq!(one["total"]["spent_usd"], spent);
}
