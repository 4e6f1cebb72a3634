//! A provider with several credentials and deployments: who is asked, who is left alone, and what is told of it.

mod kept;
mod refusing;
mod settings;
mod steering;

use crate::client::{Answer, get};
use crate::flyball::Flyball;
use crate::logged::Logged;
use crate::scripted::{Nobody, Step, Upstream, answer, chat};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tempfile::TempDir;

/// A folder with a key for each of these credentials, `sk-secret-NAME`.
fn folder(names: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for name in names {
        write_key(&dir, name, &format!("sk-secret-{name}"));
    }
    dir
}

fn write_key(dir: &TempDir, name: &str, key: &str) {
    let file = dir.path().join(format!("{name}.key"));
    std::fs::write(&file, key).expect("a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, private).expect("private");
    }
}

fn credential(name: &str) -> String {
    format!("[[provider.credential]]\nname = \"{name}\"\napi_key = \"file:{name}.key\"\n")
}

fn deployment(name: &str, url: &str, more: &str) -> String {
    format!("[[provider.deployment]]\nname = \"{name}\"\nbase_url = \"{url}\"\n{more}")
}

const MODEL: &str = "[[model]]\nname = \"m\"\nprovider = \"up\"\ntier = \"small\"\nefforts = []\ncontext_tokens = 100000\nanswer_tokens_max = 4000\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n";

/// One provider, `up`, with these credentials at one address.
fn credentials(url: &str, names: &[&str], more: &str) -> String {
    let all: String = names.iter().map(|name| credential(name)).collect();
    format!(
        "[[provider]]\nname = \"up\"\nkind = \"openai-compatible\"\nbase_url = \"{url}\"\n{more}{all}{MODEL}"
    )
}

fn conversation(n: usize, turns: usize) -> String {
    let mut messages = vec![
        json!({"role": "user", "content": format!("Tell me about the town number {n} please.")}),
    ];
    for turn in 1..turns {
        messages.push(json!({"role": "assistant", "content": "It is a town."}));
        messages.push(json!({"role": "user", "content": format!("And its part number {turn}?")}));
    }
    json!({"model": "m", "max_tokens": 50, "messages": messages}).to_string()
}

fn key_of(upstream: &Upstream, call: usize) -> String {
    let seen = upstream.seen();
    let key = seen[call].header("authorization").expect("a key");
    key.trim_start_matches("Bearer sk-secret-").to_owned()
}

fn refusal(status: u16, more: &str) -> Vec<Step> {
    let body = r#"{"error":{"message":"no, sk-secret-a is not good","type":"error","code":"no"}}"#;
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {}\r\n\r\n",
        body.len()
    );
    vec![Step::Send(format!("{head}{body}").into_bytes())]
}

async fn health(flyball: &Flyball) -> Value {
    let all = get(flyball.running.admin, "/admin/v1/health", &[])
        .await
        .json();
    all["providers"][0].clone()
}

async fn asked(flyball: &Flyball, n: usize, turns: usize) -> Answer {
    let got = flyball.chat(&[], &conversation(n, turns)).await;
    assert_eq!(got.status, 200, "{}", got.body);
    got
}

#[tokio::test]
async fn a_conversation_stays_on_its_credential_turn_by_turn_and_across_a_restart() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let toml = credentials(&upstream.url(), &["a", "b", "c"], "");
    let flyball = Flyball::start_in(folder(&["a", "b", "c"]), &toml).await;
    let mut own = BTreeMap::new();
    for n in 0..12 {
        for turns in 1..=3 {
            let got = asked(&flyball, n, turns).await;
            let used = key_of(&upstream, upstream.count() - 1);
            assert_eq!(got.header("x-flyball-channel"), Some(used.as_str()));
            let first = own.entry(n).or_insert_with(|| used.clone());
            assert_eq!(*first, used, "conversation {n}, turn {turns}");
        }
    }
    let used: BTreeSet<&String> = own.values().collect();
    assert_eq!(used.len(), 3, "all credentials are used: {own:?}");
    let flyball = Flyball::start_in(flyball.stop().await, &toml).await;
    for (n, first) in &own {
        let got = asked(&flyball, *n, 4).await;
        let channel = got.header("x-flyball-channel");
        assert_eq!(channel, Some(first.as_str()), "conversation {n}");
    }
}

#[tokio::test]
async fn a_credential_that_is_refused_is_replaced_in_the_same_request_and_left_alone_from_then_on()
{
    let log = Logged::here();
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let toml = credentials(&upstream.url(), &["a", "b"], "");
    let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
    let mut n = 0;
    // A conversation that belongs on a.
    while {
        asked(&flyball, n, 1).await;
        key_of(&upstream, n) != "a"
    } {
        n += 1;
    }
    let before = upstream.count();
    upstream.next(refusal(401, ""));
    let got = asked(&flyball, n, 2).await;
    assert_eq!(got.header("x-flyball-channel"), Some("b"));
    let calls = (key_of(&upstream, before), key_of(&upstream, before + 1));
    assert_eq!(calls, ("a".to_owned(), "b".to_owned()));
    for n in 0..10 {
        let got = asked(&flyball, n, 3).await;
        assert_eq!(got.header("x-flyball-channel"), Some("b"), "{n}");
    }
    let rows = flyball.rows().await;
    let refused: Vec<&Value> = rows
        .iter()
        .filter(|row| row["outcome"] == "refused_upstream")
        .collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["cost_pico_usd"], 0);
    flyball.books_are_right().await;

    let told = health(&flyball).await;
    let down = &told["down"][0];
    assert_eq!(
        (&down["credential"], &down["how"], &down["model"]),
        (&json!("a"), &json!("refused"), &Value::Null),
        "{told}"
    );
    assert!(down["for_ms"].as_u64().is_some_and(|ms| ms > 500_000));
    let up: Vec<&Value> = told["channels"]
        .as_array()
        .expect("channels")
        .iter()
        .map(|channel| &channel["up"])
        .collect();
    assert_eq!(up, [false, true]);
    let metrics = flyball.metrics().await;
    for line in [
        "flyball_channel_up{channel=\"a\",provider=\"up\"} 0",
        "flyball_channel_up{channel=\"b\",provider=\"up\"} 1",
        "flyball_channel_moves_total{provider=\"up\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    let log = log.text();
    let mut lines = log.lines();
    let warned = lines.any(|line| line.contains("refuses a credential") && line.contains("\"a\""));
    assert!(warned, "{log}");
    for text in [log, metrics, told.to_string(), json!(rows).to_string()] {
        assert!(!text.contains("sk-secret"), "{text}");
    }
}

#[tokio::test]
async fn another_key_in_the_place_of_a_refused_one_is_used_at_once() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let toml = credentials(&upstream.url(), &["a", "b"], "");
    let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
    upstream.next(refusal(401, ""));
    asked(&flyball, 0, 1).await;
    let refused = key_of(&upstream, 0);
    write_key(&flyball.dir, &refused, &format!("sk-secret-{refused}-anew"));
    flyball.running.reload().expect("a good file");
    asked(&flyball, 0, 2).await;
    let last = upstream.count() - 1;
    assert_eq!(key_of(&upstream, last), format!("{refused}-anew"));
}

#[tokio::test]
async fn a_busy_credential_gives_way_to_another_even_for_a_model_by_its_own_name() {
    for (status, more) in [
        (429, "retry-after: 30\r\n"),
        (429, "retry-after-ms: 30000\r\n"),
        (
            429,
            "x-ratelimit-limit-requests: 10\r\nx-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 30s\r\n",
        ),
        (529, "retry-after: 30\r\n"),
        (403, ""),
    ] {
        let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
        let toml = credentials(&upstream.url(), &["a", "b"], "");
        let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
        upstream.next(refusal(status, more));
        asked(&flyball, 0, 1).await;
        let (first, second) = (key_of(&upstream, 0), key_of(&upstream, 1));
        assert_ne!(first, second, "{status} {more}");
        for turns in 2..5 {
            asked(&flyball, 0, turns).await;
            let last = key_of(&upstream, upstream.count() - 1);
            assert_eq!(last, second, "{status} {more}");
        }
        let down = health(&flyball).await["down"][0].clone();
        let wanted = if status == 403 {
            55_000..60_001
        } else {
            20_000..30_001
        };
        let for_ms = down["for_ms"].as_u64().expect("a time");
        assert!(wanted.contains(&for_ms), "{status} {more}: {down}");
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn where_every_credential_is_refused_the_client_hears_the_provider_and_no_key() {
    let upstream = Upstream::start(refusal(401, "")).await;
    let toml = credentials(&upstream.url(), &["a", "b"], "");
    let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
    let got = flyball.chat(&[], &conversation(0, 1)).await;
    assert_eq!((got.status, upstream.count()), (401, 2));
    assert!(!got.body.contains("sk-secret"), "{}", got.body);
    let got = flyball.chat(&[], &conversation(0, 1)).await;
    assert_eq!(
        (got.status, upstream.count()),
        (401, 3),
        "asked all the same, once"
    );
}

#[tokio::test]
async fn what_may_have_been_billed_is_not_sent_on_another_credential() {
    for fault in [refusal(500, ""), vec![Step::Reset]] {
        let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
        upstream.next(fault);
        let toml = credentials(&upstream.url(), &["a", "b"], "");
        let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
        let got = flyball.chat(&[], &conversation(0, 1)).await;
        assert!(matches!(got.status, 500 | 502), "{}", got.body);
        assert_eq!(upstream.count(), 1);
    }
}

#[tokio::test]
async fn a_deployment_that_cannot_be_reached_gives_way_to_another_where_models_have_other_names() {
    let (nobody, up) = (
        Nobody::new(),
        Upstream::start(answer(200, &chat(10, 5))).await,
    );
    let toml = format!(
        "[[provider]]\nname = \"up\"\nkind = \"openai-compatible\"\n{}{}{MODEL}",
        deployment("east", &nobody.url(), "api_key = \"file:a.key\"\n"),
        deployment(
            "west",
            &up.url(),
            "api_key = \"file:b.key\"\nmodels = { m = \"m-west-7\" }\n"
        ),
    );
    let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
    for n in 0..12 {
        let got = asked(&flyball, n, 1).await;
        assert_eq!(got.header("x-flyball-channel"), Some("west"));
        assert_eq!(got.header("x-flyball-model"), Some("m"));
        assert!(up.seen()[n].body.contains("\"m-west-7\""));
        assert_eq!(
            key_of(&up, n),
            "b",
            "the other address never hears this key"
        );
    }
    let down = health(&flyball).await["down"][0].clone();
    assert_eq!(
        (&down["deployment"], &down["how"], &down["credential"]),
        (&json!("east"), &json!("unreachable"), &Value::Null)
    );
    let rows = flyball.rows().await;
    let not_sent = rows.iter().filter(|row| row["outcome"] == "not_sent");
    let not_sent = not_sent.count();
    assert!((3..12).contains(&not_sent), "{not_sent} found it down");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn credentials_and_deployments_make_pairs() {
    let up = Upstream::start(answer(200, &chat(10, 5))).await;
    let toml = format!(
        "[[provider]]\nname = \"up\"\nkind = \"openai-compatible\"\n{}{}{}{}{MODEL}",
        credential("a"),
        credential("b"),
        deployment("east", &format!("{}/east", up.url()), ""),
        deployment("west", &format!("{}/west", up.url()), "weight = 2\n"),
    );
    let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
    for n in 0..40 {
        let got = asked(&flyball, n, 1).await;
        let seen = up.seen()[n].clone();
        let place = if seen.head.starts_with("POST /east/") {
            "east"
        } else {
            "west"
        };
        let channel = format!("{}@{place}", key_of(&up, n));
        assert_eq!(got.header("x-flyball-channel"), Some(channel.as_str()));
    }
    let told = health(&flyball).await;
    let channels = told["channels"].as_array().expect("channels");
    let answers = channels
        .iter()
        .map(|channel| channel["models"][0]["answers"].as_u64().unwrap_or_default());
    assert_eq!(answers.sum::<u64>(), 40, "{told}");
    assert_eq!(channels.len(), 4);
}
