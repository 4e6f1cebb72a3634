//! Many at once: what ends together, and what is refused however it is counted.

use crate::client::{self, send};
use crate::flyball::{Flyball, make_key};
use crate::scripted::{Step, Upstream, answer, chat, delta, piece, stream_head};
use serde_json::json;
use std::time::Duration;

fn openai(upstream: &Upstream) -> String {
    format!(
        "[[provider]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:key\"\n\n[[model]]\nname = \"m-exact\"\nprovider = \"up\"\ntier = \"standard\"\nefforts = []\ncontext_tokens = 2000000\nanswer_tokens_max = 4000\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n",
        upstream.url()
    )
}

async fn capped(upstream: &Upstream, usd: &str) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    make_key(&dir, "app", Some(usd), |_| {});
    Flyball::start_in(dir, &openai(upstream)).await
}

const KEY: (&str, &str) = ("authorization", "Bearer fb_app");

fn ask(stream: bool, text: &str) -> String {
    json!({"model": "m-exact", "max_completion_tokens": 100, "stream": stream, "messages": [{"role": "user", "content": text}]}).to_string()
}

/// Threads of this process that count tokens.
#[cfg(target_os = "linux")]
fn counting_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks
        .filter_map(name)
        .filter(|name| name.trim() == "counting")
        .count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_ends_at_once_is_counted_on_few_threads_and_every_end_is_booked() {
    const CLIENTS: usize = 60;
    let steps = vec![stream_head(), piece(&delta("one two three")), Step::Stall];
    let upstream = Upstream::start(steps).await;
    let flyball = capped(&upstream, "1000").await;
    let mut calls = Vec::new();
    for n in 0..CLIENTS {
        let body = ask(true, &format!("{n} the quick brown fox ").repeat(300));
        let mut call = send(flyball.at(), "/v1/chat/completions", &[KEY], &body).await;
        call.until("three").await;
        calls.push(call);
    }
    drop(calls);
    let rows = tokio::time::timeout(Duration::from_secs(60), flyball.rows()).await;
    let rows = rows.expect("all are booked in time");
    assert_eq!(rows.len(), CLIENTS);
    for row in &rows {
        assert_eq!(row["outcome"], "client_gone");
        assert!(row["tokens"]["input"].as_u64() > Some(1_000), "{row}");
    }
    let threads = counting_threads();
    assert!((1..=4).contains(&threads), "{threads} threads count");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_cap_that_is_full_refuses_and_one_that_a_count_opens_does_not() {
    // About 10,000 tokens in 50,000 bytes: $0.05 by its bytes, $0.01 by its tokens, never under $0.008; 100 tokens of an answer are $0.001.
    let text = "the quick brown fox jumps over the lazy dog again ".repeat(1_000);
    for (usd, status) in [("0", 402), ("0.005", 402), ("0.02", 200), ("1", 200)] {
        let upstream = Upstream::start(answer(200, &chat(10_000, 5))).await;
        let flyball = capped(&upstream, usd).await;
        let got = flyball.chat(&[KEY], &ask(false, &text)).await;
        assert_eq!(got.status, status, "${usd}: {}", got.body);
        if status == 402 {
            assert_eq!(got.header("x-should-retry"), Some("false"));
            assert!(got.body.contains("flyball_cap"), "{}", got.body);
        }
        assert_eq!(upstream.count() > 0, status == 200, "${usd}");
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn the_callers_own_limit_of_cost_refuses_with_and_without_a_count() {
    let text = "the quick brown fox jumps over the lazy dog again ".repeat(1_000);
    let upstream = Upstream::start(answer(200, &chat(10_000, 5))).await;
    let flyball = capped(&upstream, "1000").await;
    for (most, status) in [("0.001", 402), ("0.009", 402), ("0.02", 200)] {
        let headers = [KEY, ("x-flyball-max-cost-usd", most)];
        let path = "/v1/chat/completions";
        let got = client::post(flyball.at(), path, &headers, &ask(false, &text)).await;
        assert_eq!(got.status, status, "{most}: {}", got.body);
        if status == 402 {
            assert!(got.body.contains("may cost up to"), "{}", got.body);
        }
    }
    assert_eq!(upstream.count(), 1);
}
