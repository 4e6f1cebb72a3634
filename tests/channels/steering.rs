//! Who is asked while everybody answers: by load, by what is left of rate limits, and what follows from that for arms.

use super::{MODEL, conversation, credentials, folder, health, key_of};
use crate::client::{get, post};
use crate::flyball::Flyball;
use crate::scripted::{Step, Upstream, answer, chat};
use serde_json::json;

fn left(requests: u32) -> Vec<Step> {
    let body = chat(10, 5);
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-ratelimit-limit-requests: 100\r\nx-ratelimit-remaining-requests: {requests}\r\nx-ratelimit-reset-requests: 1m0s\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    vec![Step::Send(format!("{head}{body}").into_bytes())]
}

#[tokio::test]
async fn a_credential_that_is_nearly_out_of_its_rate_limit_gets_no_new_requests_before_any_429() {
    for (requests, more, moves) in [
        (4, "", true),
        (5, "", false),
        (9, "headroom_min_percent = 10\n", true),
        (0, "headroom_min_percent = 0\n", false),
    ] {
        let upstream = Upstream::start(left(50)).await;
        upstream.next(left(requests));
        let toml = credentials(&upstream.url(), &["a", "b"], more);
        let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
        for turns in 1..4 {
            let got = flyball.chat(&[], &conversation(0, turns)).await;
            assert_eq!(got.status, 200, "{}", got.body);
        }
        let keys: Vec<String> = (0..3).map(|call| key_of(&upstream, call)).collect();
        assert_eq!(keys[0] != keys[1], moves, "{requests} {more}: {keys:?}");
        assert_eq!(keys[1], keys[2]);
        let told = health(&flyball).await.to_string();
        let shown = format!("\"nearly_out_permille\":{}", requests * 10);
        assert_eq!(told.contains(&shown), moves, "{told}");
        assert!(
            flyball
                .metrics()
                .await
                .contains("flyball_channel_headroom_ratio{channel=")
        );
    }
}

#[tokio::test]
async fn an_arm_that_is_nearly_out_everywhere_gives_way_to_the_next_one_of_a_routed_request() {
    let upstream = Upstream::start(left(50)).await;
    let toml = crate::flyball::compatible(&upstream);
    let flyball = Flyball::start(&toml).await;
    let puzzle = json!({"model": "auto", "max_tokens": 3000, "messages": [{"role": "user", "content": "How many ways are there to seat eight people around a round table so that no two of three sworn enemies are neighbours? Show your steps."}]}).to_string();
    upstream.next(left(1));
    let first = flyball.chat(&[], &puzzle).await;
    assert_eq!(first.header("x-flyball-model"), Some("m-big"));
    let second = flyball.chat(&[], &puzzle).await;
    assert_eq!(
        (
            second.header("x-flyball-model"),
            second.header("x-flyball-barred")
        ),
        (Some("m-small"), Some("m-big: nearly_out")),
        "{}",
        second.body
    );
    // Whoever names the model is asked of it all the same.
    let named = puzzle.replace("\"auto\"", "\"m-big\"");
    let third = flyball.chat(&[], &named).await;
    assert_eq!(third.header("x-flyball-model"), Some("m-big"));
    // Its answer said that there is room again.
    let fourth = flyball.chat(&[], &puzzle).await;
    assert_eq!(fourth.header("x-flyball-model"), Some("m-big"));
}

#[tokio::test]
async fn the_least_loaded_credential_is_asked_while_another_one_is_at_work() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let mut waiting = vec![Step::Gate];
    waiting.extend(answer(200, &chat(10, 5)));
    upstream.next(waiting);
    let toml = credentials(&upstream.url(), &["a", "b"], "balance = \"least_loaded\"\n");
    let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
    let (at, body) = (flyball.at(), conversation(0, 1));
    let first = tokio::spawn(async move { post(at, "/v1/chat/completions", &[], &body).await });
    upstream.reached(1).await;
    let busy = key_of(&upstream, 0);
    for n in 1..6 {
        let got = flyball.chat(&[], &conversation(n, 1)).await;
        assert_eq!(got.status, 200);
        assert_ne!(key_of(&upstream, n), busy, "{n}");
    }
    let told = health(&flyball).await;
    let loads: Vec<u64> = told["channels"]
        .as_array()
        .expect("channels")
        .iter()
        .map(|channel| channel["in_flight"].as_u64().expect("a number"))
        .collect();
    assert_eq!(loads.iter().sum::<u64>(), 1, "{told}");
    upstream.open_gate();
    assert_eq!(first.await.expect("no panic").status, 200);
    let told = health(&flyball).await.to_string();
    assert!(!told.contains("\"in_flight\":1"), "{told}");
}

#[tokio::test]
async fn weights_share_out_requests_that_nothing_else_decides() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let toml = credentials(&upstream.url(), &["a", "b"], "balance = \"weighted\"\n");
    let toml = toml.replacen(
        "api_key = \"file:a.key\"\n",
        "api_key = \"file:a.key\"\nweight = 9\n",
        1,
    );
    let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
    for _ in 0..100 {
        flyball.chat(&[], &conversation(0, 1)).await;
    }
    let mine = (0..100).filter(|call| key_of(&upstream, *call) == "a");
    let mine = mine.count();
    // Nine in ten: less than 75 of 100 comes once in more than 100,000 runs.
    assert!((75..100).contains(&mine), "{mine}");
}

#[tokio::test]
async fn an_arm_all_of_whose_channels_are_left_alone_is_down_and_the_next_one_answers() {
    let (big, small) = (
        Upstream::start(answer(
            429,
            r#"{"error":{"message":"slow down","type":"rate_limit","code":"rate"}}"#,
        ))
        .await,
        Upstream::start(answer(200, &chat(10, 5))).await,
    );
    let dear = credentials(&big.url(), &["a", "b"], "").replace("\"up\"", "\"dear\"");
    let dear = dear.replace("name = \"m\"", "name = \"m-big\"");
    let dear = dear.replace("tier = \"small\"", "tier = \"reasoning\"");
    let dear = dear.replace("efforts = []", "efforts = [\"low\", \"medium\", \"high\"]");
    let toml = format!(
        "{dear}\n[[provider]]\nname = \"up\"\nkind = \"openai-compatible\"\nbase_url = \"{}\"\n{MODEL}",
        small.url()
    );
    let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
    let puzzle = json!({"model": "auto", "max_tokens": 3000, "messages": [{"role": "user", "content": "How many ways are there to seat eight people around a round table so that no two of three sworn enemies are neighbours? Show your steps."}]}).to_string();
    let got = flyball.chat(&[], &puzzle).await;
    assert_eq!(
        (
            got.header("x-flyball-model"),
            got.header("x-flyball-barred"),
            big.count()
        ),
        (Some("m"), Some("m-big: failed"), 2),
        "{}",
        got.body
    );
    let models = get(flyball.running.admin, "/admin/v1/models", &[]).await;
    let models = models.json();
    let big_row = models["models"]
        .as_array()
        .and_then(|all| all.iter().find(|row| row["model"] == "m-big"))
        .cloned()
        .unwrap_or_default();
    assert!(big_row["down_for_ms"].is_u64(), "{big_row}");
    flyball.books_are_right().await;
}
