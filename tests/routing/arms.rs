//! Which arm may answer by what a request carries and by how much room it leaves, and how a turn keeps its arm.

use super::{CAPITAL, PUZZLE, ask};
use crate::client::post;
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Upstream, answer, chat};
use serde_json::{Value, json};

const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// A request with a picture, in each dialect: its path and body.
fn with_picture() -> [(&'static str, Value); 5] {
    let url = format!("data:image/png;base64,{PNG}");
    let seen = "What is in this picture?";
    let source = json!({"type": "base64", "media_type": "image/png", "data": PNG});
    [
        (
            "/v1/chat/completions",
            json!({"model": "auto", "messages": [{"role": "user", "content": [{"type": "text", "text": seen}, {"type": "image_url", "image_url": {"url": url}}]}]}),
        ),
        (
            "/v1/responses",
            json!({"model": "auto", "input": [{"role": "user", "content": [{"type": "input_text", "text": seen}, {"type": "input_image", "image_url": url}]}]}),
        ),
        (
            "/v1/messages",
            json!({"model": "auto", "max_tokens": 300, "messages": [{"role": "user", "content": [{"type": "text", "text": seen}, {"type": "image", "source": source}]}]}),
        ),
        (
            "/v1beta/models/auto:generateContent",
            json!({"contents": [{"role": "user", "parts": [{"text": seen}, {"inlineData": {"mimeType": "image/png", "data": PNG}}]}]}),
        ),
        (
            "/api/chat",
            json!({"model": "auto", "stream": false, "messages": [{"role": "user", "content": seen, "images": [PNG]}]}),
        ),
    ]
}

fn blind(upstream: &Upstream, more: &str) -> String {
    compatible(upstream).replacen("efforts = []", &format!("efforts = []\n{more}"), 1)
}

#[tokio::test]
async fn a_picture_never_goes_to_a_model_that_sees_none() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&blind(&upstream, "images = false")).await;
    for (path, body) in with_picture() {
        let got = post(flyball.at(), path, &[], &body.to_string()).await;
        assert_eq!(
            (got.status, got.header("x-flyball-model")),
            (200, Some("m-big")),
            "{path}: {}",
            got.body
        );
    }
    let got = flyball.chat(&[], &ask("auto", CAPITAL)).await;
    assert_eq!(
        got.header("x-flyball-model"),
        Some("m-small"),
        "words alone"
    );
}

#[tokio::test]
async fn a_picture_that_no_model_sees_is_refused_before_anything_goes_out() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let none = compatible(&upstream).replace("tier = ", "images = false\ntier = ");
    let flyball = Flyball::start(&none).await;
    for (path, body) in with_picture() {
        let got = post(flyball.at(), path, &[], &body.to_string()).await;
        assert_eq!(got.status, 400, "{path}: {}", got.body);
        assert!(got.body.contains("No configured model"), "{}", got.body);
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn sound_and_documents_go_to_models_that_take_them() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&blind(&upstream, "audio = false\ndocuments = false")).await;
    for part in [
        json!({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
        json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}),
    ] {
        let body = json!({"model": "auto", "messages": [{"role": "user", "content": [{"type": "text", "text": CAPITAL}, part]}]});
        let got = flyball.chat(&[], &body.to_string()).await;
        assert_eq!(got.header("x-flyball-model"), Some("m-big"), "{}", got.body);
    }
    // What nobody says of a model keeps nothing from it.
    for (path, body) in with_picture() {
        let got = post(flyball.at(), path, &[], &body.to_string()).await;
        assert_eq!(got.header("x-flyball-model"), Some("m-small"), "{path}");
    }
}

#[tokio::test]
async fn a_small_limit_is_not_thought_away() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    // The reasoning model here cannot stop thinking; the standard one can.
    let own = compatible(&upstream).replace("tier = \"small\"", "tier = \"standard\"");
    let own = own.replacen(
        "efforts = []",
        "efforts = [\"none\", \"low\", \"medium\"]",
        1,
    );
    let flyball = Flyball::start(&own).await;
    let limited = |limit: u64| {
        let message = json!({"role": "user", "content": PUZZLE});
        json!({"model": "auto", "max_tokens": limit, "messages": [message]}).to_string()
    };
    for limit in [16, 60, 100, 200, 400] {
        let got = flyball.chat(&[], &limited(limit)).await;
        assert_eq!(
            (
                got.header("x-flyball-model"),
                got.header("x-flyball-effort")
            ),
            (Some("m-small"), Some("none")),
            "{limit}"
        );
    }
    let got = flyball.chat(&[], &limited(30_000)).await;
    assert_ne!(
        got.header("x-flyball-effort"),
        Some("none"),
        "there is room to think"
    );
    let got = flyball
        .chat(&[("x-flyball-effort", "low")], &limited(200))
        .await;
    assert_eq!(
        got.header("x-flyball-effort"),
        Some("low"),
        "the client's own wish"
    );
}

const FALLBACK: &str = "[[rule]]\nname = \"work\"\nwhy = \"a test\"\nroute = { arm = \"m-small\", fallback = [\"reasoning\"] }\n";

async fn with_fallback(upstream: &Upstream) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    std::fs::write(dir.path().join("rules/own.toml"), FALLBACK).expect("a file");
    Flyball::start_in(dir, &compatible(upstream)).await
}

/// The steps of one turn of an agent, of which the fallback serves the first. `head` and `beside` are what is new in each step.
fn step(dialect: &str, user: &str, at: usize, head: &str, beside: &str) -> (&'static str, Value) {
    let ids = 0..at;
    match dialect {
        "chat" => {
            let mut all = vec![
                json!({"role": "system", "content": format!("{head}\nYou are an agent in a terminal.")}),
                json!({"role": "user", "content": user}),
            ];
            for id in ids {
                all.push(json!({"role": "assistant", "content": null, "tool_calls": [{"id": format!("t{id}"), "type": "function", "function": {"name": "f", "arguments": "{}"}}]}));
                all.push(
                    json!({"role": "tool", "tool_call_id": format!("t{id}"), "content": "ok"}),
                );
            }
            if at > 0 && !beside.is_empty() {
                all.push(json!({"role": "user", "content": beside}));
            }
            (
                "/v1/chat/completions",
                json!({"model": "auto", "messages": all}),
            )
        }
        "messages" => {
            let mut all =
                vec![json!({"role": "user", "content": [{"type": "text", "text": user}]})];
            for id in ids {
                all.push(json!({"role": "assistant", "content": [{"type": "tool_use", "id": format!("t{id}"), "name": "f", "input": {}}]}));
                all.push(json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": format!("t{id}"), "content": "ok"}, {"type": "text", "text": if beside.is_empty() { "<system-reminder>none</system-reminder>" } else { beside }}]}));
            }
            let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
            (
                "/v1/messages",
                json!({"model": "auto", "max_tokens": 4000, "tools": tools, "system": [{"type": "text", "text": head}, {"type": "text", "text": "You are an agent in a terminal."}], "messages": all}),
            )
        }
        _ => {
            let mut all = vec![json!({"role": "user", "content": user})];
            for id in ids {
                all.push(json!({"type": "function_call", "call_id": format!("t{id}"), "name": "f", "arguments": "{}"}));
                all.push(json!({"type": "function_call_output", "call_id": format!("t{id}"), "output": "ok"}));
            }
            (
                "/v1/responses",
                json!({"model": "auto", "instructions": format!("You are an agent in a terminal.\n{head}"), "input": all}),
            )
        }
    }
}

#[tokio::test]
async fn a_turn_keeps_the_arm_that_answered_whatever_an_app_writes_anew() {
    let heads: [[&str; 3]; 5] = [
        [
            "x-billing: cch=71fea;",
            "x-billing: cch=9a001;",
            "x-billing: cch=00bb1;",
        ],
        [
            "Current time: 10:00:01",
            "Current time: 10:00:09",
            "Current time: 10:01:00",
        ],
        [
            "Today is 2026-03-01.",
            "Today is 2026-03-02.",
            "Today is 2026-03-03.",
        ],
        [
            "Context left: 90 %",
            "Context left: 85 %",
            "Context left: 12 %",
        ],
        ["- a.txt\n- src/", "- a.txt\n- b.txt\n- src/", "- src/"],
    ];
    let besides = [
        "",
        "<environment_details>\n# Current Time\n10:14:0# AM\n</environment_details>",
        "Current time: 10:14:0#",
    ];
    for dialect in ["chat", "messages", "responses"] {
        for (n, head) in heads.iter().enumerate() {
            for beside in besides {
                // A turn of tool results with a bare line of the app's beside it is known only where results are in users' turns.
                let apart =
                    dialect == "responses" || (dialect == "chat" && beside.starts_with('C'));
                if apart && !beside.is_empty() {
                    continue;
                }
                let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
                let flyball = with_fallback(&upstream).await;
                upstream.next(answer(503, "{\"error\":{\"message\":\"busy\"}}"));
                let user = format!("Fix the failing test, case {n}");
                for (at, head) in head.iter().enumerate() {
                    let beside = beside.replace('#', &at.to_string());
                    let (path, body) = step(dialect, &user, at, head, &beside);
                    let got = post(flyball.at(), path, &[], &body.to_string()).await;
                    assert_eq!(
                        (got.status, got.header("x-flyball-model")),
                        (200, Some("m-big")),
                        "{dialect} {head} {beside} step {at}: {}",
                        got.body
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_title_takes_no_arm_from_the_turn_and_gives_it_none() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let (_, first) = step("chat", PUZZLE, 0, "", "");
    let got = flyball.chat(&[], &first.to_string()).await;
    assert_eq!(got.header("x-flyball-model"), Some("m-big"));
    let title = json!({"model": "auto", "messages": [{"role": "system", "content": "You are a title generator. Output only the title of the conversation."}, {"role": "user", "content": PUZZLE}]});
    let got = flyball.chat(&[], &title.to_string()).await;
    assert_eq!(
        (
            got.header("x-flyball-model"),
            got.header("x-flyball-effort")
        ),
        (Some("m-small"), Some("none"))
    );
    let (_, second) = step("chat", PUZZLE, 1, "", "");
    let got = flyball.chat(&[], &second.to_string()).await;
    assert_eq!(got.header("x-flyball-model"), Some("m-big"));
}
