//! Whom the operator is told by that a cap fills up: each share once, in order, signed, and again where that failed.

use crate::caps::{body, bound_pico};
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Seen, Upstream, answer, chat};
use flyball::money::PicoUsd;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::path::Path;
use tempfile::TempDir;

const SECRET: &str = "a-secret-of-the-hook";

/// A file that nobody else may read; a reference to it.
fn secret(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("a file");
    private(&path);
    format!("file:{}", path.display())
}

#[cfg(unix)]
fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).expect("private");
}

#[cfg(not(unix))]
fn private(_path: &Path) {}

/// What the signature must be of what came.
fn signature(seen: &Seen) -> String {
    let at = seen.header("x-flyball-timestamp").expect("a timestamp");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length will do");
    mac.update(format!("{at}.{}", seen.body).as_bytes());
    let digits = mac.finalize().into_bytes();
    let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

fn told(seen: &[Seen]) -> Vec<(Value, Value, Value)> {
    let one = |seen: &Seen| {
        let body: Value = serde_json::from_str(&seen.body).expect("JSON");
        (
            body["name"].clone(),
            body["percent"].clone(),
            body["limit"].clone(),
        )
    };
    seen.iter().map(one).collect()
}

#[tokio::test]
async fn each_share_of_a_cap_is_told_once_in_order_and_not_again_after_a_restart() {
    let upstream = Upstream::start(answer(200, &chat(400 + 528, 100))).await;
    let hook = Upstream::start(answer(200, "{}")).await;
    let dir = tempfile::tempdir().expect("a folder");
    let url = secret(&dir, "url", &format!("{}/caps", hook.url()));
    let signs = secret(&dir, "secret", SECRET);
    let one = bound_pico(400, 100);
    let usd = |requests: u64| PicoUsd(i128::from(one * requests)).usd_text();
    let toml = |requests: u64| {
        format!(
            "cap_webhook = {{ url = \"{url}\", secret = \"{signs}\" }}\nnotify_percent = [100, 50, 80, 95]\n{}\n[[cap]]\nname = \"research\"\nusd = {}\nwindow = \"total\"\n",
            compatible(&upstream),
            usd(requests)
        )
    };
    let asked = body(400, Some(100), false);
    hook.next(answer(503, "{}"));
    let flyball = Flyball::start_in(dir, &toml(4)).await;
    for _ in 0..4 {
        assert_eq!(flyball.chat(&[], &asked).await.status, 200);
    }
    hook.reached(5).await;
    let seen = hook.seen();
    assert_eq!(seen[0].body, seen[1].body, "what was refused is told again");
    let research =
        |percent: u8, requests: u64| (json!("research"), json!(percent), json!(usd(requests)));
    assert_eq!(
        told(&seen[1..]),
        [50, 80, 95, 100].map(|percent| research(percent, 4))
    );
    for seen in &seen {
        assert_eq!(seen.header("x-flyball-signature"), Some(signature(seen)));
    }
    let flyball = Flyball::start_in(flyball.stop().await, &toml(4)).await;
    assert_eq!(flyball.chat(&[], &asked).await.status, 402);
    // Under another limit it is told anew.
    let flyball = Flyball::start_in(flyball.stop().await, &toml(8)).await;
    assert_eq!(flyball.chat(&[], &asked).await.status, 200);
    hook.reached(6).await;
    assert_eq!(told(&hook.seen()[5..]), [research(50, 8)]);
    let flyball = Flyball::start_in(flyball.stop().await, &toml(8)).await;
    for _ in 0..2 {
        assert_eq!(flyball.chat(&[], &asked).await.status, 200);
    }
    hook.reached(7).await;
    assert_eq!(told(&hook.seen()[6..]), [research(80, 8)]);
    flyball.stop().await;
    assert_eq!(hook.count(), 7);
}

#[tokio::test]
async fn slack_is_told_a_sentence_that_names_the_cap_and_its_key() {
    let upstream = Upstream::start(answer(200, &chat(400 + 528, 100))).await;
    let hook = Upstream::start(answer(200, "ok")).await;
    let dir = tempfile::tempdir().expect("a folder");
    let url = secret(&dir, "url", &format!("{}/services/T/B", hook.url()));
    let cap = PicoUsd(i128::from(bound_pico(400, 100) * 2)).usd_text();
    make_key(&dir, "a<b>*c", Some(&cap), |_| {});
    let toml = format!(
        "cap_webhook = {{ url = \"{url}\", format = \"slack\" }}\n{}",
        compatible(&upstream)
    );
    let flyball = Flyball::start_in(dir, &toml).await;
    let key = [("authorization", "Bearer fb_a<b>*c")];
    for _ in 0..2 {
        let answer = flyball.chat(&key, &body(400, Some(100), false)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    hook.reached(1).await;
    let seen = &hook.seen()[0];
    assert_eq!(
        seen.header("x-flyball-signature"),
        None,
        "nobody gave a secret"
    );
    let body: Value = serde_json::from_str(&seen.body).expect("JSON");
    let text = body["text"].as_str().expect("a text");
    let begins = "flyball: the cap *key a&lt;b&gt;c day* (key a&lt;b&gt;c) fills up: $";
    assert!(text.starts_with(begins), "{text}");
    assert!(text.contains("(80 % is passed). It resets at 20"), "{text}");
    assert_eq!(
        body.as_object().map(serde_json::Map::len),
        Some(1),
        "{body}"
    );
}
