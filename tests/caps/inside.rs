//! What is deep inside a request, or only named in it: results of tools, and turns that the provider keeps.

use super::media::{ask, blocks_with, capped, fleet};
use crate::scripted::{Upstream, answer, chat};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A Responses request with this item behind a question.
fn items_with(item: &Value) -> Value {
    json!({"model": "gpt-4o", "max_output_tokens": 100, "input": [{"role": "user", "content": "x"}, item]})
}

/// What a result of Anthropic's own fetching of a page holds.
fn fetched(inside: &Value) -> Value {
    let page = json!({"type": "web_fetch_result", "url": "https://x.example/", "content": inside});
    blocks_with(
        "claude-sonnet-5",
        json!([{"type": "web_fetch_tool_result", "tool_use_id": "t", "content": page}]),
    )
}

fn document(kind: &str, data: &str) -> Value {
    json!({"type": "document", "source": {"type": kind, "media_type": "application/pdf", "data": data}})
}

#[tokio::test]
async fn pictures_and_documents_in_results_and_turns_that_are_only_named_are_reserved_at_their_most()
 {
    let (openai, anthropic) = (("openai", "gpt-4o"), ("anthropic", "claude-sonnet-5"));
    let shot = json!({"type": "computer_screenshot", "image_url": "https://x.example/a.png"});
    let pdf = STANDARD.encode(vec![7_u8; 600]);
    let (short, long) = (128_000, 1_000_000);
    // Tokens of media beside one a byte, or the whole window.
    for (at, body, turns, media, window) in [
        (
            openai,
            items_with(&json!({"type": "computer_call_output", "call_id": "c", "output": shot})),
            2,
            1_445,
            None,
        ),
        (
            openai,
            items_with(&json!({"type": "reasoning", "id": "rs_1", "summary": []})),
            2,
            0,
            Some(short),
        ),
        (
            openai,
            items_with(
                &json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA", "summary": []}),
            ),
            2,
            0,
            None,
        ),
        (
            openai,
            items_with(&json!({"type": "web_search_call", "id": "ws_1", "status": "completed"})),
            2,
            0,
            Some(short),
        ),
        (
            openai,
            items_with(
                &json!({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}),
            ),
            2,
            0,
            None,
        ),
        (
            openai,
            items_with(
                &json!({"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]}),
            ),
            2,
            0,
            None,
        ),
        (
            anthropic,
            fetched(&document("base64", &pdf)),
            1,
            0,
            Some(long),
        ),
        (anthropic, fetched(&document("text", "words")), 1, 0, None),
    ] {
        // An answer that broke is charged at what was reserved.
        let upstream = Upstream::start(answer(500, "{}")).await;
        let flyball = capped("10", &fleet(&upstream, at.0, at.1, "")).await;
        let path = if at == openai {
            "/v1/responses"
        } else {
            "/v1/messages"
        };
        let got = ask(&flyball, path, &body).await;
        assert_eq!((got.status, upstream.count()), (500, 1), "{}", got.body);
        let words = upstream.seen()[0].body.len() as u64 + 512 + turns * 16;
        let input = window.unwrap_or(words + media);
        let bound = input * 1_000_000 + 100 * 10_000_000;
        // The workspace of Anthropic's key may be set to the United States, at 1.1 times.
        let bound = if at == anthropic {
            bound / 10 * 11
        } else {
            bound
        };
        let rows = flyball.rows().await;
        assert_eq!(rows[0]["bound_pico_usd"].as_u64(), Some(bound), "{body}");
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn what_nobody_knows_inside_a_request_is_refused_by_its_place() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let message = |part: Value| json!({"model": "gpt-4o", "max_output_tokens": 100, "input": [{"role": "user", "content": [part]}]});
    let result = |kind: &str, inside: Value| {
        blocks_with(
            "claude-sonnet-5",
            json!([{"type": kind, "tool_use_id": "t", "content": inside}]),
        )
    };
    let film = json!({"type": "input_video", "video_url": "https://x.example/a.mp4"});
    let mut named = items_with(&json!({"type": "reasoning", "id": "rs_1", "summary": []}));
    named["model"] = json!("gpt-9");
    let deep = "messages[0].content[0].content[0]";
    for (kind, path, body, field) in [
        (
            "openai",
            "/v1/responses",
            message(film.clone()),
            "input[0].content[0]",
        ),
        (
            "openai",
            "/v1/responses",
            items_with(&json!({"type": "custom_tool_call_output", "call_id": "c", "output": film})),
            "input[1].output[0]",
        ),
        // What OpenAI keeps, on a model whose window nobody knows.
        ("openai", "/v1/responses", named, "input[1]"),
        (
            "anthropic",
            "/v1/messages",
            result("tool_result", json!({"type": "film"})),
            deep,
        ),
        (
            "anthropic",
            "/v1/messages",
            result("odd_tool_result", json!("x")),
            "messages[0].content[0]",
        ),
        (
            "anthropic",
            "/v1/messages",
            fetched(&json!({"type": "film", "url": "x"})),
            "messages[0].content[0].content[0].content[0]",
        ),
    ] {
        let model = body["model"].as_str().expect("a name");
        let flyball = capped("10", &fleet(&upstream, kind, model, "")).await;
        let got = ask(&flyball, path, &body).await;
        assert_eq!(got.status, 400, "{kind} {body} {}", got.body);
        assert!(
            got.body.replace('\\', "").contains(&format!("\"{field}\"")),
            "{}",
            got.body
        );
    }
    assert_eq!(upstream.count(), 0);
}
