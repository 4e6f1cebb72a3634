//! A client of one dialect and a model of another.

use crate::client::{self, Answer};
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Step, Upstream, answer, chat, end, piece, stream_head};
use serde_json::{Value, json};

fn sse(events: &[&str]) -> Vec<Step> {
    let pieces = events.iter().map(|e| piece(&format!("{e}\n\n")));
    std::iter::once(stream_head())
        .chain(pieces)
        .chain([end()])
        .collect()
}

/// A flyball whose only provider is of this kind, with one model `m-other` that does not think.
async fn only(kind: &str, upstream: &Upstream) -> Flyball {
    Flyball::start(&format!(
        "[[provider]]\nname = \"up\"\nkind = \"{kind}\"\nbase_url = \"{}\"\n\n[[model]]\nname = \"m-other\"\nprovider = \"up\"\ntier = \"standard\"\nefforts = []\nanswer_tokens_max = 4000\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n",
        upstream.url()
    ))
    .await
}

async fn post(flyball: &Flyball, path: &str, body: &Value) -> Answer {
    client::post(
        flyball.at(),
        path,
        &[("anthropic-version", "2026-10-21")],
        &body.to_string(),
    )
    .await
}

fn events(answer: &Answer) -> Vec<Value> {
    let data = answer.body.lines().filter_map(|l| l.strip_prefix("data: "));
    data.filter(|d| *d != "[DONE]")
        .map(|d| serde_json::from_str(d).expect("an event is JSON"))
        .collect()
}

fn weather(dialect: &str) -> Value {
    let schema = json!({"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "string"}}, "required": ["z"]});
    match dialect {
        "anthropic" => json!({
            "model": "m-other", "max_tokens": 500, "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            "tools": [{"name": "weather", "description": "Weather", "input_schema": schema}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
            "stop_sequences": ["END"], "temperature": 0.5, "metadata": {"user_id": "u1"},
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "claude's own"}, {"type": "tool_use", "id": "t1", "name": "weather", "input": {"z": "Rome"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}, {"type": "text", "text": "And?"}]}
            ]
        }),
        _ => json!({
            "model": "m-other", "max_completion_tokens": 500, "temperature": 1.5, "seed": 7, "stop": "END", "user": "u1",
            "tools": [{"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": schema, "strict": true}}],
            "tool_choice": "required", "parallel_tool_calls": false,
            "response_format": {"type": "json_schema", "json_schema": {"name": "w", "schema": schema, "strict": true}},
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "c:1", "type": "function", "function": {"name": "weather", "arguments": "{\"z\":\"Rome\"}"}}]},
                {"role": "tool", "tool_call_id": "c:1", "content": "sunny"},
                {"role": "user", "content": "And?"}
            ]
        }),
    }
}

#[tokio::test]
async fn an_anthropic_request_reaches_a_chat_completions_model_whole() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = only("openai-compatible", &upstream).await;
    let got = post(&flyball, "/v1/messages", &weather("anthropic")).await;
    assert_eq!(got.status, 200, "{}", got.body);
    let seen = &upstream.seen()[0];
    assert!(
        seen.head.starts_with("POST /v1/chat/completions "),
        "{}",
        seen.head
    );
    assert_eq!(seen.header("anthropic-version"), None);
    let sent: Value = serde_json::from_str(&seen.body).expect("JSON");
    let schema = weather("openai")["tools"][0]["function"]["parameters"].clone();
    assert_eq!(
        sent,
        json!({
            "model": "m-other",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "weather", "arguments": "{\"z\":\"Rome\"}"}}]},
                {"role": "tool", "tool_call_id": "t1", "content": "sunny"},
                {"role": "user", "content": "And?"}
            ],
            "tools": [{"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": schema}}],
            "tool_choice": "required", "parallel_tool_calls": false, "max_tokens": 500, "temperature": 0.5, "stop": ["END"], "user": "u1"
        })
    );
    assert!(
        seen.body.contains(r#""properties":{"z":"#),
        "a schema keeps its order"
    );
    assert_eq!(got.header("x-flyball-dropped"), Some("cache_control"));
    let told = got.json();
    assert_eq!(
        (
            &told["type"],
            &told["content"],
            &told["stop_reason"],
            &told["model"]
        ),
        (
            &json!("message"),
            &json!([{"type": "text", "text": "hi there"}]),
            &json!("end_turn"),
            &json!("m-up")
        )
    );
    assert_eq!(
        (
            &told["usage"]["input_tokens"],
            &told["usage"]["output_tokens"]
        ),
        (&json!(10), &json!(5))
    );
    assert_eq!(got.header("x-flyball-cost-usd"), Some("0.00006"));
    let metrics = flyball.metrics().await;
    let dropped = r#"flyball_dropped_fields_total{from="anthropic_messages",to="openai_chat"} 1"#;
    assert!(metrics.contains(dropped), "{metrics}");
}

#[tokio::test]
async fn a_chat_completions_request_reaches_an_anthropic_model_whole() {
    let body = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-up","content":[{"type":"thinking","thinking":"hm","signature":"sig"},{"type":"text","text":"On it."},{"type":"tool_use","id":"t1","name":"weather","input":{"z":"Oslo"}}],"stop_reason":"tool_use","usage":{"input_tokens":10,"cache_read_input_tokens":3,"output_tokens":5}}"#;
    let upstream = Upstream::start(answer(200, body)).await;
    let flyball = only("anthropic", &upstream).await;
    let got = post(&flyball, "/v1/chat/completions", &weather("openai")).await;
    assert_eq!(got.status, 200, "{}", got.body);
    let seen = &upstream.seen()[0];
    assert!(seen.head.starts_with("POST /v1/messages "), "{}", seen.head);
    assert_eq!(
        seen.header("anthropic-version").as_deref(),
        Some("2023-06-01")
    );
    let sent: Value = serde_json::from_str(&seen.body).expect("JSON");
    let schema = weather("openai")["tools"][0]["function"]["parameters"].clone();
    assert_eq!(
        sent,
        json!({
            "model": "m-other", "max_tokens": 500, "system": "Be brief.",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c_1", "name": "weather", "input": {"z": "Rome"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c_1", "content": "sunny"}, {"type": "text", "text": "And?"}]}
            ],
            "tools": [{"name": "weather", "description": "Weather", "input_schema": schema, "strict": true}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
            "output_config": {"format": {"type": "json_schema", "schema": schema}},
            "temperature": 1, "stop_sequences": ["END"], "metadata": {"user_id": "u1"}
        })
    );
    assert_eq!(got.header("x-flyball-dropped"), Some("seed, temperature"));
    let told = got.json();
    let message = &told["choices"][0]["message"];
    assert_eq!(
        (
            &message["content"],
            &message["reasoning_content"],
            &told["choices"][0]["finish_reason"]
        ),
        (&json!("On it."), &json!("hm"), &json!("tool_calls"))
    );
    assert_eq!(
        message["tool_calls"][0]["function"],
        json!({"name": "weather", "arguments": "{\"z\":\"Oslo\"}"})
    );
    assert_eq!(
        (
            &told["usage"]["prompt_tokens"],
            &told["usage"]["prompt_tokens_details"]["cached_tokens"]
        ),
        (&json!(13), &json!(3))
    );
}

const CHAT_STREAM: &[&str] = &[
    r#"data: {"id":"c1","model":"m-up","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":"hm"}}]}"#,
    r#"data: {"id":"c1","model":"m-up","choices":[{"index":0,"delta":{"content":"On it."}}]}"#,
    r#"data: {"id":"c1","model":"m-up","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"weather","arguments":""}}]}}]}"#,
    r#"data: {"id":"c1","model":"m-up","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"z\":"}}]}}]}"#,
    r#"data: {"id":"c1","model":"m-up","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"c2","type":"function","function":{"name":"time","arguments":"{}"}}]}}]}"#,
    r#"data: {"id":"c1","model":"m-up","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"Oslo\"}"}}]}}]}"#,
    r#"data: {"id":"c1","model":"m-up","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#,
    r#"data: {"id":"c1","model":"m-up","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#,
    "data: [DONE]",
];

#[tokio::test]
async fn a_stream_with_thinking_and_parallel_calls_becomes_anthropic_events() {
    let upstream = Upstream::start(sse(CHAT_STREAM)).await;
    let flyball = only("openai-compatible", &upstream).await;
    let mut asked = weather("anthropic");
    asked["stream"] = true.into();
    let got = post(&flyball, "/v1/messages", &asked).await;
    assert_eq!(got.header("content-type"), Some("text/event-stream"));
    let all = events(&got);
    let names: Vec<&str> = all.iter().filter_map(|e| e["type"].as_str()).collect();
    assert_eq!(
        names,
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let signature = all[3]["delta"]["signature"].as_str().expect("a signature");
    assert_eq!(signature, "flyball1.openai_chat.m-up.text");
    let json: Vec<_> = all
        .iter()
        .filter(|e| e["delta"]["type"] == "input_json_delta")
        .collect();
    let of = |index: u64| -> String {
        let mine = json.iter().filter(|e| e["index"] == index);
        mine.filter_map(|e| e["delta"]["partial_json"].as_str())
            .collect()
    };
    assert_eq!((of(2), of(3)), ("{\"z\":\"Oslo\"}".into(), "{}".into()));
    let last = &all[all.len() - 2];
    assert_eq!(
        (
            &last["delta"]["stop_reason"],
            &last["usage"]["input_tokens"],
            &last["usage"]["output_tokens"]
        ),
        (&json!("tool_use"), &json!(10), &json!(5))
    );
    flyball.books_are_right().await;
    assert_eq!(flyball.rows().await[0]["cost_pico_usd"], 60_000_000);
}

const MESSAGES_STREAM: &[&str] = &[
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-up\",\"content\":[],\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}",
    "event: ping\ndata: {\"type\":\"ping\"}",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"grüß\"}}",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"},\"usage\":{\"output_tokens\":20}}",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}",
];

#[tokio::test]
async fn an_anthropic_stream_becomes_chunks_and_tells_usage_only_to_who_asked() {
    let upstream = Upstream::start(sse(MESSAGES_STREAM)).await;
    let flyball = only("anthropic", &upstream).await;
    for asked_usage in [false, true] {
        let mut asked = json!({"model": "m-other", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
        if asked_usage {
            asked["stream_options"] = json!({"include_usage": true});
        }
        let got = post(&flyball, "/v1/chat/completions", &asked).await;
        assert!(got.body.ends_with("data: [DONE]\n\n"), "{}", got.body);
        let all = events(&got);
        let text: String = all
            .iter()
            .filter_map(|e| e["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, "grüß");
        assert!(
            all.iter()
                .any(|e| e["choices"][0]["finish_reason"] == "length")
        );
        let usage: Vec<_> = all.iter().filter(|e| e["usage"].is_object()).collect();
        assert_eq!(usage.len(), usize::from(asked_usage));
        assert_eq!(got.body.contains("\"usage\""), asked_usage);
        let sent: Value =
            serde_json::from_str(&upstream.seen()[usize::from(asked_usage)].body).expect("JSON");
        assert_eq!(sent["max_tokens"], 4000, "this dialect must have a limit");
    }
}

#[tokio::test]
async fn what_cannot_be_said_is_refused_by_name_before_anything_is_sent() {
    let upstream = Upstream::start(answer(200, "{}")).await;
    let flyball = only("anthropic", &upstream).await;
    let hi = json!([{"role": "user", "content": "hi"}]);
    for (field, value) in [
        ("n", json!(2)),
        ("logit_bias", json!({"1": 1})),
        ("logprobs", json!(true)),
        ("response_format", json!({"type": "json_object"})),
        ("web_search_options", json!({})),
        ("something_new", json!(1)),
    ] {
        for model in ["m-other", "auto"] {
            let mut asked = json!({"model": model, "messages": hi});
            asked[field] = value.clone();
            let got = post(&flyball, "/v1/chat/completions", &asked).await;
            let error = &got.json()["error"];
            assert_eq!(
                (got.status, error["param"].as_str()),
                (400, Some(field)),
                "{error}"
            );
            assert_eq!(error["code"], "flyball_untranslatable");
        }
    }
    let bad = json!({"model": "m-other", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}}]}]});
    let got = post(&flyball, "/v1/chat/completions", &bad).await;
    assert_eq!(
        got.json()["error"]["param"],
        "messages[0].content[0].image_url.url"
    );
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_providers_error_is_told_in_the_clients_dialect_with_its_own_status() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#;
    let upstream = Upstream::start(answer(529, error)).await;
    let flyball = only("anthropic", &upstream).await;
    let hi = json!({"model": "m-other", "messages": [{"role": "user", "content": "hi"}]});
    let got = post(&flyball, "/v1/chat/completions", &hi).await;
    assert_eq!(
        (got.status, &got.json()["error"]["message"]),
        (529, &json!("Overloaded"))
    );
    assert_eq!(got.json()["error"]["type"], "server_error");

    let upstream = Upstream::start(sse(&[
        MESSAGES_STREAM[0],
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}",
    ]))
    .await;
    let flyball = only("anthropic", &upstream).await;
    let mut asked = hi.clone();
    asked["stream"] = true.into();
    let got = post(&flyball, "/v1/chat/completions", &asked).await;
    let last = events(&got).pop().expect("an event");
    assert_eq!(last["error"]["message"], "busy");
    assert!(!got.body.contains("[DONE]"), "an error is no clean end");

    // A stream that is cut ends with an error too.
    let upstream = Upstream::start(sse(&CHAT_STREAM[..2])).await;
    let flyball = only("openai-compatible", &upstream).await;
    let mut asked = weather("anthropic");
    asked["stream"] = true.into();
    let got = post(&flyball, "/v1/messages", &asked).await;
    assert_eq!(events(&got).pop().expect("an event")["type"], "error");
    assert!(!got.body.contains("message_stop"));
}

#[tokio::test]
async fn sealed_reasoning_goes_back_to_the_model_that_made_it_and_to_no_other() {
    let body = r#"{"type":"message","model":"m-other","content":[{"type":"thinking","thinking":"hm","signature":"sig"},{"type":"tool_use","id":"t1","name":"weather","input":{}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":5}}"#;
    let upstream = Upstream::start(answer(200, body)).await;
    let flyball = only("anthropic", &upstream).await;
    let mut asked = json!({"model": "m-other", "messages": [{"role": "user", "content": "hi"}]});
    let got = post(&flyball, "/v1/chat/completions", &asked).await;
    let mut message = got.json()["choices"][0]["message"].clone();
    let again = |message: &Value| json!({"model": "m-other", "messages": [{"role": "user", "content": "hi"}, message, {"role": "tool", "tool_call_id": "t1", "content": "ok"}]});
    asked = again(&message);
    post(&flyball, "/v1/chat/completions", &asked).await;
    let sent: Value = serde_json::from_str(&upstream.seen()[1].body).expect("JSON");
    assert_eq!(
        sent["messages"][1]["content"][0],
        json!({"type": "thinking", "thinking": "hm", "signature": "sig"})
    );
    let sealed = message["reasoning_details"]
        .to_string()
        .replace("m-other", "m-elsewhere");
    message["reasoning_details"] = serde_json::from_str(&sealed).expect("JSON");
    message["tool_calls"][0]["extra_content"] = Value::Null;
    post(&flyball, "/v1/chat/completions", &again(&message)).await;
    let sent: Value = serde_json::from_str(&upstream.seen()[2].body).expect("JSON");
    assert_eq!(sent["messages"][1]["content"][0]["type"], "tool_use");
}

#[tokio::test]
async fn a_routed_request_may_be_answered_by_a_model_of_any_dialect() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let asked = json!({"model": "auto", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    let got = post(&flyball, "/v1/messages", &asked).await;
    assert_eq!(
        (got.status, got.header("x-flyball-provider")),
        (200, Some("up")),
        "{}",
        got.body
    );
    let counted = post(&flyball, "/v1/messages/count_tokens", &asked).await;
    assert_eq!(
        (counted.status, counted.json()["input_tokens"].as_u64()),
        (200, Some(5))
    );
}
