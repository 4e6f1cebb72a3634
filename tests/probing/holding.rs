//! How long and how much of a stream is held back before it is looked at.

use super::{config, folder, models, started, stream_of, streamed, token};
use crate::client::{post, send};
use crate::flyball::Flyball;
use crate::scripted::{Step, Upstream, answer, end, finish, piece, stream_head};
use serde_json::json;
use std::time::{Duration, Instant};

/// An event in which nothing is said that could be looked at: so many bytes of thinking.
fn thought(bytes: usize) -> Step {
    let text = "hm ".repeat(bytes / 3);
    piece(&format!(
        "data: {{\"id\":\"c\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"reasoning_content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
    ))
}

fn ended(mut steps: Vec<Step>) -> Vec<Step> {
    steps.extend(finish(40, 8).iter().map(|event| piece(event)));
    steps.push(end());
    steps
}

#[tokio::test]
async fn a_stream_that_cannot_be_judged_is_released_when_a_mebibyte_of_it_is_held() {
    let mut thoughts = vec![stream_head()];
    thoughts.extend((0..140).map(|_| thought(8_000)));
    // A line that does not end, which nobody can read.
    let mut endless = vec![stream_head(), piece("data: ")];
    endless.extend((0..160).map(|_| piece(&"x".repeat(8_000))));
    for (steps, shown) in [(thoughts, "hm hm"), (endless, "xxxx")] {
        let mut steps = steps;
        steps.push(Step::Gate);
        let (upstream, flyball) = started(ended(steps), answer(500, "{}")).await;
        let mut call = send(flyball.at(), "/v1/chat/completions", &[], &streamed()).await;
        // The provider waits for the client, which must have seen something before.
        call.until(shown).await;
        upstream.open_gate();
        let got = call.answer().await;
        assert_eq!(got.header("x-flyball-probe"), Some("stands"));
        assert_eq!(got.header("x-flyball-evidence"), Some("silent"));
        assert_eq!(models(&upstream), ["m-small"]);
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_kept_while_the_better_arm_is_asked_does_not_fill_the_memory() {
    let mut small = vec![stream_head()];
    small.extend((0..30).map(|n| token(&format!("word {n}, "), -2.5)));
    // More than the sockets between the two hold; whoever reads it all meets the cut behind it.
    let Step::Send(thoughts) = thought(100_000) else {
        unreachable!("a piece is sent");
    };
    small.push(Step::Flood(thoughts, 600));
    small.push(Step::Reset);
    // It answers when no more is taken of the other one, or all was.
    let mut better = vec![stream_head(), Step::Gate];
    better.push(token("The Byk", -0.1));
    let (upstream, flyball) = started(small, ended(better)).await;
    let got = flyball.chat(&[], &streamed()).await;
    assert_eq!(got.header("x-flyball-probe"), Some("escalated"));
    assert!(got.body.contains("The Byk"), "{}", got.body);
    assert_eq!(upstream.cuts(), 0, "all of it was read");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_call_of_a_tool_is_released_only_when_it_is_whole() {
    let event = |delta: serde_json::Value, finish: serde_json::Value| {
        let chunk = json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        piece(&format!("data: {chunk}\n\n"))
    };
    for (rest, probe) in [
        ("\"Chișinău\"}", "stands"),
        ("\"Chișinău", "escalated"),
        ("", "escalated"),
    ] {
        let named = json!({"tool_calls": [{"index": 0, "id": "t", "type": "function", "function": {"name": "river_of", "arguments": "{\"city\":"}}]});
        let more = json!({"tool_calls": [{"index": 0, "function": {"arguments": rest}}]});
        let mut steps = vec![stream_head(), token("I look.", -0.001)];
        steps.push(event(named, json!(null)));
        // Longer than anything else is held back.
        steps.push(Step::Gap(Duration::from_millis(60)));
        steps.push(event(more, json!(null)));
        steps.push(event(json!({}), json!("tool_calls")));
        steps.push(piece("data: [DONE]\n\n"));
        steps.push(end());
        let upstream = Upstream::start(ended(vec![stream_head(), token("The Byk", -0.1)])).await;
        upstream.next(steps);
        let toml = format!("probe_hold = \"20ms\"\n{}", config(&upstream));
        let flyball = Flyball::start_in(folder(), &toml).await;
        let got = flyball.chat(&[], &streamed()).await;
        assert_eq!(got.header("x-flyball-probe"), Some(probe), "{rest}");
        assert_eq!(
            got.body.contains("river_of"),
            probe == "stands",
            "{}",
            got.body
        );
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn a_held_stream_is_released_after_so_many_tokens_or_so_much_time() {
    let apart = Duration::from_millis(10);
    println!("| `probe_hold_tokens` | `probe_hold` | first byte after |\n|---|---|---|");
    for (tokens, hold, least) in [
        (None, "10s", 0),
        (Some(1), "10s", 0),
        (Some(8), "10s", 7),
        (Some(16), "10s", 15),
        (Some(24), "10s", 23),
        (Some(48), "10s", 47),
        (Some(48), "200ms", 19),
    ] {
        let mut steps = vec![stream_head()];
        for n in 0..60 {
            steps.push(token(&format!("word {n}, "), -0.001));
            steps.push(Step::Gap(apart));
        }
        let upstream = Upstream::start(ended(steps)).await;
        let probing = config(&upstream);
        let toml = match tokens {
            None => probing
                .replace("probe = \"pays\"\n", "")
                .replace("logprobs = true", "logprobs = false"),
            Some(tokens) => {
                format!("probe_hold_tokens = {tokens}\nprobe_hold = \"{hold}\"\n{probing}")
            }
        };
        let flyball = Flyball::start_in(folder(), &toml).await;
        let mut took: Vec<Duration> = Vec::new();
        for _ in 0..5 {
            let began = Instant::now();
            let mut call = send(flyball.at(), "/v1/chat/completions", &[], &streamed()).await;
            call.until("word 0").await;
            took.push(began.elapsed());
            drop(call);
        }
        took.sort();
        assert!(took[0] >= apart * least, "{took:?}");
        let tokens = tokens.map_or("no probe".to_owned(), |n| n.to_string());
        println!("| {tokens} | {hold} | {} ms |", took[2].as_millis());
    }
}

#[tokio::test]
async fn a_better_arm_that_breaks_off_before_its_first_word_is_replaced_by_the_small_answer() {
    let role = "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
    let error =
        "data: {\"error\":{\"message\":\"the model crashed\",\"type\":\"server_error\"}}\n\n";
    let ask = "Which river flows through the capital of Moldova?";
    let messages = json!({"model": "auto", "stream": true, "max_tokens": 3000, "messages": [{"role": "user", "content": ask}]});
    let turns = json!({"contents": [{"role": "user", "parts": [{"text": ask}]}]});
    for (path, body, done) in [
        ("/v1/chat/completions", streamed(), "data: [DONE]"),
        ("/v1/messages", messages.to_string(), "message_stop"),
        (
            "/v1beta/models/auto:streamGenerateContent?alt=sse",
            turns.to_string(),
            "STOP",
        ),
    ] {
        for (broken, outcome) in [
            (vec![stream_head(), Step::Reset], "stream_cut"),
            (vec![stream_head(), end()], "stream_cut"),
            (
                vec![stream_head(), piece(": alive\n\n"), Step::Reset],
                "stream_cut",
            ),
            (vec![stream_head(), piece(role), Step::Reset], "stream_cut"),
            (vec![stream_head(), piece(role), end()], "stream_cut"),
            (vec![stream_head(), piece(error), end()], "upstream_error"),
            (
                vec![stream_head(), piece(error), Step::Stall],
                "upstream_error",
            ),
        ] {
            let small = stream_of(&[("The ", -1.6), ("Prut", -1.6)]);
            let (upstream, flyball) = started(small, broken.clone()).await;
            let got = post(flyball.at(), path, &[], &body).await;
            let told = format!("{path} {broken:?}: {} {}", got.head, got.body);
            assert_eq!(models(&upstream), ["m-small", "m-big"], "{told}");
            assert_eq!(
                got.header("x-flyball-probe"),
                Some("strong_failed"),
                "{told}"
            );
            assert_eq!(got.header("x-flyball-model"), Some("m-small"), "{told}");
            assert!(
                got.body.contains("Prut") && got.body.contains(done),
                "{told}"
            );
            assert!(!got.body.contains("error"), "{told}");
            let rows = flyball.rows().await;
            let outcomes = [&rows[0]["outcome"], &rows[1]["outcome"]];
            assert_eq!(outcomes, [&json!("ok"), &json!(outcome)], "{told}");
            flyball.books_are_right().await;
        }
    }
}

#[tokio::test]
async fn a_better_arm_that_breaks_off_after_its_first_word_ends_with_an_error() {
    let small = stream_of(&[("The ", -1.6), ("Prut", -1.6)]);
    let broken = vec![stream_head(), token("The Byk", -0.1), Step::Reset];
    let (_upstream, flyball) = started(small, broken).await;
    let got = flyball.chat(&[], &streamed()).await;
    assert_eq!(got.header("x-flyball-probe"), Some("escalated"));
    assert!(
        got.body.contains("Byk") && !got.body.contains("Prut"),
        "{}",
        got.body
    );
    assert!(
        got.body.contains("error") && !got.body.contains("[DONE]"),
        "{}",
        got.body
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_better_arm_that_says_nothing_for_long_is_released_all_the_same() {
    let small = stream_of(&[("The ", -1.6), ("Prut", -1.6)]);
    let mut quiet = vec![
        stream_head(),
        piece(": alive\n\n"),
        Step::Gate,
        token("The Byk", -0.1),
    ];
    quiet = ended(quiet);
    let upstream = Upstream::start(quiet).await;
    upstream.next(small);
    let toml = format!("probe_hold = \"20ms\"\n{}", config(&upstream));
    let flyball = Flyball::start_in(folder(), &toml).await;
    let mut call = send(flyball.at(), "/v1/chat/completions", &[], &streamed()).await;
    // The provider waits for the client, which must have the head and the sign of life before.
    call.until(": alive").await;
    upstream.open_gate();
    let got = call.answer().await;
    assert_eq!(got.header("x-flyball-probe"), Some("escalated"));
    assert!(got.body.contains("Byk"), "{}", got.body);
}
