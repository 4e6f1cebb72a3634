//! A client of one dialect and a model of another.

mod agents;
mod cohere;
mod features;
mod loops;
mod vendors;

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
    Flyball::start(&config(kind, upstream)).await
}

fn config(kind: &str, upstream: &Upstream) -> String {
    format!(
        "[[provider]]\nname = \"up\"\nkind = \"{kind}\"\nbase_url = \"{}\"\n\n[[model]]\nname = \"m-other\"\nprovider = \"up\"\ntier = \"standard\"\nefforts = []\nanswer_tokens_max = 4000\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n",
        upstream.url()
    )
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
    // An object of a schema that is followed exactly must be closed there.
    let mut closed = schema.clone();
    closed["additionalProperties"] = false.into();
    assert_eq!(
        sent,
        json!({
            "model": "m-other", "max_tokens": 500, "system": "Be brief.",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c_1", "name": "weather", "input": {"z": "Rome"}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c_1", "content": "sunny"}, {"type": "text", "text": "And?"}]}
            ],
            "tools": [{"name": "weather", "description": "Weather", "input_schema": closed, "strict": true}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
            "output_config": {"format": {"type": "json_schema", "schema": closed}},
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
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let signature = all[3]["delta"]["signature"].as_str().expect("a signature");
    assert_eq!(signature, "flyball1.openai_chat.m-other.text");
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
    let shown = json!({"contents": [
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}, "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}}]}
    ]});
    let got = post(&flyball, "/v1beta/models/m-other:generateContent", &shown).await;
    assert_eq!(got.status, 400);
    assert!(
        got.body
            .contains("contents[1].parts[0].functionResponse.parts"),
        "{}",
        got.body
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
async fn an_error_in_a_whole_answer_is_no_answer() {
    let failed = json!({
        "id": "c", "finish_reason": "ERROR",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "Hel"}]},
        "usage": {"billed_units": {"input_tokens": 5, "output_tokens": 1}, "tokens": {"input_tokens": 5, "output_tokens": 1}}
    });
    for (kind, said, status, told) in [
        (
            "openai-compatible",
            json!({"error": {"message": "boom", "code": 429}}),
            429,
            "boom",
        ),
        (
            "openai-compatible",
            json!({"error": {"message": "pay first", "code": 402}}),
            502,
            "pay first",
        ),
        ("cohere", failed, 502, ""),
    ] {
        let upstream = Upstream::start(answer(200, &said.to_string())).await;
        let flyball = only(kind, &upstream).await;
        let mut asked = weather("anthropic");
        for stream in [false, true] {
            asked["stream"] = stream.into();
            let got = post(&flyball, "/v1/messages", &asked).await;
            assert_eq!(got.status, status, "{kind} {stream}: {}", got.body);
            assert!(got.body.contains(told), "{}", got.body);
            let rows = flyball.rows().await;
            // A provider that has no room, and says so before any word, has done no work.
            let refused = status == 429;
            let outcome = if refused {
                "refused_upstream"
            } else {
                "upstream_error"
            };
            assert_eq!(rows.last().expect("a row")["outcome"], outcome);
        }
    }
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

const GEMINI_STREAM: &[&str] = &[
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hm\",\"thought\":true}],\"role\":\"model\"}}],\"modelVersion\":\"gemini-up\"}\r",
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"weather\",\"args\":{\"z\":\"Oslo\"}},\"thoughtSignature\":\"c2ln\"}],\"role\":\"model\"},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":10,\"candidatesTokenCount\":2,\"thoughtsTokenCount\":3,\"totalTokenCount\":15}}\r",
];

#[tokio::test]
async fn a_gemini_client_gets_its_own_bytes_from_a_gemini_model_as_events_or_as_one_array() {
    let upstream = Upstream::start(sse(GEMINI_STREAM)).await;
    let flyball = only("gemini", &upstream).await;
    let asked =
        json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "odd_field": 1.0})
            .to_string();
    let path = "/v1beta/models/m-other:streamGenerateContent";
    let got = client::post(flyball.at(), &format!("{path}?alt=sse"), &[], &asked).await;
    let whole: String = GEMINI_STREAM.iter().map(|e| format!("{e}\n\n")).collect();
    assert_eq!((got.status, got.body.as_str()), (200, whole.as_str()));
    let seen = &upstream.seen()[0];
    assert!(
        seen.head
            .starts_with("POST /v1beta/models/m-other:streamGenerateContent?alt=sse "),
        "{}",
        seen.head
    );
    assert_eq!(seen.body, asked, "the client's own bytes");
    let got = client::post(flyball.at(), &format!("{path}?key=secret"), &[], &asked).await;
    assert!(!upstream.seen()[1].head.contains("secret"));
    let list: Vec<Value> =
        serde_json::from_str(&got.body).unwrap_or_else(|e| panic!("{e}: {got:?}"));
    assert_eq!(
        (list.len(), got.header("content-type")),
        (2, Some("application/json"))
    );
    // $1 input and $10 output a million: thoughts are output.
    assert_eq!(flyball.rows().await[0]["cost_pico_usd"], 60_000_000);
}

#[tokio::test]
async fn a_gemini_signature_travels_through_an_anthropic_client_and_back() {
    let upstream = Upstream::start(sse(GEMINI_STREAM)).await;
    let flyball = only("gemini", &upstream).await;
    let mut asked = weather("anthropic");
    asked["stream"] = true.into();
    asked["thinking"] = json!({"type": "adaptive"});
    let got = post(&flyball, "/v1/messages", &asked).await;
    assert_eq!(got.status, 200, "{}", got.body);
    let sent: Value = serde_json::from_str(&upstream.seen()[0].body).expect("JSON");
    assert_eq!(sent["generationConfig"]["maxOutputTokens"], 500);
    assert_eq!(
        sent["contents"][2],
        json!({"role": "user", "parts": [{"functionResponse": {"id": "t1", "name": "weather", "response": {"output": "sunny"}}}, {"text": "And?"}]})
    );
    let all = events(&got);
    let signature = all
        .iter()
        .find_map(|e| e["delta"]["signature"].as_str())
        .expect("a signature");
    assert_eq!(signature, "flyball1.gemini.m-other.c2ln");
    let call = all
        .iter()
        .find(|e| e["content_block"]["type"] == "tool_use")
        .expect("a call");
    let id = call["content_block"]["id"].as_str().expect("an id");
    for (model, expected) in [("m-other", json!("c2ln")), ("m-elsewhere", Value::Null)] {
        let mut next = weather("anthropic");
        let signed = signature.replace("m-other", model);
        next["messages"] = json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": signed}, {"type": "tool_use", "id": id, "name": "weather", "input": {"z": "Oslo"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "rain"}]}
        ]);
        post(&flyball, "/v1/messages", &next).await;
        let sent: Value =
            serde_json::from_str(&upstream.seen().last().expect("sent").body).expect("JSON");
        assert_eq!(
            sent["contents"][1]["parts"][0]["thoughtSignature"], expected,
            "{model}"
        );
    }
}

#[tokio::test]
async fn a_gemini_client_is_answered_by_a_chat_completions_model() {
    let upstream = Upstream::start(sse(CHAT_STREAM)).await;
    let flyball = only("openai-compatible", &upstream).await;
    let asked = json!({
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"parts": [{"text": "Look"}, {"inline_data": {"mime_type": "image/png", "data": "aGk="}}]}],
        "tools": [{"functionDeclarations": [{"name": "weather", "parameters": {"type": "OBJECT", "properties": {"z": {"type": "STRING", "nullable": true}}}}]}],
        "generationConfig": {"maxOutputTokens": 50, "thinkingConfig": {"include_thoughts": true}}
    });
    let got = client::post(
        flyball.at(),
        "/v1/models/m-other:streamGenerateContent?alt=sse",
        &[("x-goog-api-key", "k")],
        &asked.to_string(),
    )
    .await;
    let sent: Value = serde_json::from_str(&upstream.seen()[0].body).expect("JSON");
    assert_eq!(
        sent["messages"][0],
        json!({"role": "system", "content": "Be brief."})
    );
    assert_eq!(
        sent["tools"][0]["function"]["parameters"],
        json!({"type": "object", "properties": {"z": {"type": ["string", "null"]}}})
    );
    assert_eq!(
        (
            &sent["max_tokens"],
            &sent["stream_options"]["include_usage"]
        ),
        (&json!(50), &json!(true))
    );
    let all = events(&got);
    let parts: Vec<&Value> = all
        .iter()
        .map(|e| &e["candidates"][0]["content"]["parts"][0])
        .collect();
    assert_eq!(
        (&parts[0]["text"], &parts[0]["thought"], &parts[1]["text"]),
        (&json!("hm"), &json!(true), &json!("On it."))
    );
    assert_eq!(
        parts[2]["functionCall"],
        json!({"id": "c1", "name": "weather", "args": {"z": "Oslo"}})
    );
    assert_eq!(parts[3]["functionCall"]["name"], "time");
    let last = all.last().expect("an end");
    assert_eq!(
        (
            &last["candidates"][0]["finishReason"],
            &last["usageMetadata"]["totalTokenCount"]
        ),
        (&json!("STOP"), &json!(15))
    );
    let refused = client::post(
        flyball.at(),
        "/v1beta/models/m-other:generateContent",
        &[],
        "{\"contents\":7}",
    )
    .await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["status"]),
        (400, &json!("INVALID_ARGUMENT"))
    );
    let counted = client::post(
        flyball.at(),
        "/v1beta/models/auto:countTokens",
        &[],
        &asked.to_string(),
    )
    .await;
    assert!(
        counted.json()["totalTokens"]
            .as_u64()
            .is_some_and(|n| n > 5),
        "{}",
        counted.body
    );
}

#[tokio::test]
async fn a_responses_client_hears_every_event_of_a_chat_completions_model() {
    let upstream = Upstream::start(sse(CHAT_STREAM)).await;
    let flyball = only("openai-compatible", &upstream).await;
    let asked = json!({
        "model": "m-other", "instructions": "Be brief.", "stream": true, "max_output_tokens": 50, "store": false,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": true}]
    });
    let got = post(&flyball, "/v1/responses", &asked).await;
    let all = events(&got);
    let names: Vec<&str> = all.iter().filter_map(|e| e["type"].as_str()).collect();
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(names, expected);
    let numbers: Vec<_> = all
        .iter()
        .filter_map(|e| e["sequence_number"].as_u64())
        .collect();
    assert_eq!(
        numbers,
        (0..u64::try_from(expected.len()).expect("few")).collect::<Vec<_>>()
    );
    let response = &all.last().expect("an end")["response"];
    assert_eq!(
        (
            &response["usage"]["total_tokens"],
            response["output"].as_array().map(Vec::len)
        ),
        (&json!(15), Some(4))
    );
    assert_eq!(response["output"][2]["arguments"], "{\"z\":\"Oslo\"}");
    let mut stateful = asked.clone();
    stateful["previous_response_id"] = "resp_1".into();
    let refused = post(&flyball, "/v1/responses", &stateful).await;
    assert_eq!(
        (refused.status, &refused.json()["error"]["param"]),
        (400, &json!("previous_response_id"))
    );
}

#[tokio::test]
async fn tools_with_an_effort_go_to_responses_where_the_model_demands_it() {
    let body = r#"{"id":"resp_1","object":"response","status":"completed","model":"gpt-5.4","output":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"enc"},{"type":"function_call","call_id":"c1","name":"weather","arguments":"{}","id":"fc_1"}],"usage":{"input_tokens":10,"output_tokens":5,"total_tokens":15,"output_tokens_details":{"reasoning_tokens":4}}}"#;
    let upstream = Upstream::start(answer(200, body)).await;
    let flyball = Flyball::start(&format!("[[provider]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"{}\"\n[[model]]\nname = \"gpt-5.4\"\nprovider = \"up\"\ntier = \"standard\"\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n", upstream.url())).await;
    let asked = json!({"model": "gpt-5.4", "reasoning_effort": "high", "max_completion_tokens": 900, "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]});
    let got = post(&flyball, "/v1/chat/completions", &asked).await;
    let seen = &upstream.seen()[0];
    assert!(
        seen.head.starts_with("POST /v1/responses "),
        "{}",
        seen.head
    );
    let sent: Value = serde_json::from_str(&seen.body).expect("JSON");
    assert_eq!(
        (
            &sent["reasoning"]["effort"],
            &sent["store"],
            &sent["max_output_tokens"]
        ),
        (&json!("high"), &json!(false), &json!(900))
    );
    assert_eq!(sent["tools"][0]["strict"], false);
    let mut message = got.json()["choices"][0]["message"].clone();
    assert_eq!(message["tool_calls"][0]["id"], "c1");
    message["tool_calls"][0]["extra_content"] = Value::Null;
    let mut next = asked.clone();
    next["messages"] = json!([{"role": "user", "content": "hi"}, message, {"role": "tool", "tool_call_id": "c1", "content": "ok"}]);
    post(&flyball, "/v1/chat/completions", &next).await;
    let sent: Value = serde_json::from_str(&upstream.seen()[1].body).expect("JSON");
    assert_eq!(
        sent["input"][1],
        json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "enc"})
    );
    assert_eq!(sent["input"][2]["type"], "function_call");
    let mut without = asked.clone();
    without["reasoning_effort"] = "none".into();
    post(&flyball, "/v1/chat/completions", &without).await;
    let seen = &upstream.seen()[2];
    assert!(seen.head.starts_with("POST /v1/chat/completions "));
    assert_eq!(seen.body, without.to_string(), "nothing to change");
}

#[tokio::test]
async fn an_ollama_client_is_answered_line_by_line_and_finds_its_side_endpoints() {
    let upstream = Upstream::start(sse(CHAT_STREAM)).await;
    let flyball = only("openai-compatible", &upstream).await;
    let asked = json!({"model": "m-other", "think": true, "messages": [{"role": "user", "content": "hi", "images": ["aGk="]}],
        "tools": [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}],
        "options": {"num_predict": 50, "num_ctx": 4096}});
    let got = client::post(flyball.at(), "/api/chat", &[], &asked.to_string()).await;
    assert_eq!(got.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(got.header("x-flyball-dropped"), Some("options.num_ctx"));
    let lines: Vec<Value> = got
        .body
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(lines[0]["message"]["thinking"], "hm");
    assert_eq!(lines[1]["message"]["content"], "On it.");
    assert_eq!(
        lines[2]["message"]["tool_calls"][0]["function"]["arguments"],
        json!({"z": "Oslo"})
    );
    let last = lines.last().expect("an end");
    assert_eq!(
        (
            &last["done"],
            &last["prompt_eval_count"],
            &last["eval_count"]
        ),
        (&json!(true), &json!(10), &json!(5))
    );
    let tags = client::get(flyball.at(), "/api/tags", &[]).await.json();
    let names: Vec<&str> = tags["models"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|m| m["name"].as_str())
        .collect();
    assert_eq!((names[0], names.last()), ("auto", Some(&"m-other")));
    assert_eq!(
        client::get(flyball.at(), "/", &[]).await.body,
        "Ollama is running"
    );
    assert!(client::get(flyball.at(), "/api/version", &[]).await.json()["version"].is_string());
    let shown = client::post(flyball.at(), "/api/show", &[], "{\"model\":\"m-other\"}").await;
    assert!(shown.json()["capabilities"].is_array(), "{}", shown.body);
    let missing = client::post(flyball.at(), "/api/chat", &[], "{\"model\":\"none\"}").await;
    assert!(missing.json()["error"].is_string(), "{}", missing.body);
}

#[tokio::test]
async fn the_list_of_models_has_the_shape_of_the_clients_dialect() {
    let upstream = Upstream::start(answer(200, "{}")).await;
    let flyball = only("openai-compatible", &upstream).await;
    let list = |path: &'static str, header: Option<(&'static str, &'static str)>| {
        let at = flyball.at();
        async move { client::get(at, path, header.as_slice()).await.json() }
    };
    assert_eq!(list("/v1/models", None).await["data"][0]["object"], "model");
    assert_eq!(list("/openai/v1/models", None).await["object"], "list");
    let anthropic = list("/v1/models", Some(("anthropic-version", "2026-10-21"))).await;
    assert_eq!(
        (&anthropic["has_more"], &anthropic["last_id"]),
        (&json!(false), &json!("m-other"))
    );
    assert_eq!(
        list("/v1beta/models", None).await["models"][0]["name"],
        "models/auto"
    );
    assert_eq!(
        list("/v1/models", Some(("x-goog-api-key", "k"))).await["models"][5]["name"],
        "models/m-other"
    );
    assert_eq!(list("/v1/models/m-other", None).await["id"], "m-other");
    assert_eq!(
        client::get(flyball.at(), "/v1/models/none", &[])
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn azures_paths_name_the_deployment() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = only("azure", &upstream).await;
    let asked = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
    let path = "/openai/deployments/m-other/chat/completions?api-version=2024-10-21";
    let got = client::post(flyball.at(), path, &[("api-key", "k")], asked).await;
    assert_eq!((got.status, got.body), (200, chat(10, 5)));
    let seen = &upstream.seen()[0];
    assert!(
        seen.head.starts_with("POST /openai/v1/chat/completions "),
        "{}",
        seen.head
    );
    assert_eq!(
        seen.body,
        r#"{"model":"m-other","messages":[{"role":"user","content":"hi"}]}"#
    );
}

#[tokio::test]
async fn within_one_dialect_a_model_never_gets_what_another_model_has_sealed() {
    let body = |model: &str, signature: &str| {
        format!(
            r#"{{"type":"message","model":"{model}","content":[{{"type":"thinking","thinking":"hm","signature":"{signature}"}},{{"type":"text","text":"x"}}],"stop_reason":"end_turn","usage":{{"input_tokens":1,"output_tokens":5}}}}"#
        )
    };
    let upstream = Upstream::start(answer(200, &body("m-a", "another one"))).await;
    upstream.next(answer(200, &body("m-a", "made-by-a")));
    let toml = |name: &str, tier: &str, price: u8| {
        format!(
            "[[model]]\nname = \"{name}\"\nprovider = \"up\"\ntier = \"{tier}\"\nefforts = []\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = {price}\n"
        )
    };
    let flyball = Flyball::start(&format!(
        "[[provider]]\nname = \"up\"\nkind = \"anthropic\"\nbase_url = \"{}\"\n{}{}",
        upstream.url(),
        toml("m-a", "small", 2),
        toml("m-b", "reasoning", 20)
    ))
    .await;
    let hi =
        json!({"model": "m-a", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    post(&flyball, "/v1/messages", &hi).await;
    let asked = |model: &str, signature: &str| {
        json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": signature}, {"type": "text", "text": "x"}]},
            {"role": "user", "content": "and?"}]})
    };
    let sent = || upstream.seen().last().expect("sent").body.clone();
    // Asked for by name: the app's own bytes.
    let named = asked("m-b", "made-by-a");
    post(&flyball, "/v1/messages", &named).await;
    assert_eq!(sent(), named.to_string());
    for (signature, stays) in [
        ("made-by-a", "m-a"),
        ("from-before-flyball", "any"),
        ("flyball1.gemini.g.x", "none"),
    ] {
        for objective in ["cheap", "best"] {
            let got = client::post(
                flyball.at(),
                "/v1/messages",
                &[("x-flyball-objective", objective)],
                &asked("auto", signature).to_string(),
            )
            .await;
            let model = got.header("x-flyball-model").expect("a model").to_owned();
            let kept = sent().contains(signature);
            assert_eq!(
                kept,
                stays == "any" || stays == model,
                "{signature} to {model}"
            );
            assert!(sent().contains("\"x\""));
        }
    }
    let marked = asked("m-b", "flyball1.gemini.g.x");
    post(&flyball, "/v1/messages", &marked).await;
    assert!(
        !sent().contains("flyball1"),
        "a mark never leaves, whoever asked"
    );
}

#[tokio::test]
async fn googles_one_turn_without_a_list_loses_a_mark_as_a_list_does() {
    let upstream = Upstream::start(answer(200, "{}")).await;
    let flyball = only("gemini", &upstream).await;
    let turn = json!({"role": "user", "parts": [{"text": "x", "thoughtSignature": "flyball1.anthropic_messages.a.x"}]});
    for contents in [turn.clone(), json!([turn])] {
        let asked = json!({"contents": contents}).to_string();
        client::post(
            flyball.at(),
            "/v1beta/models/m-other:generateContent",
            &[],
            &asked,
        )
        .await;
        let sent = upstream.seen().last().expect("sent").body.clone();
        assert!(
            sent.contains("\"x\"") && !sent.contains("flyball1"),
            "{sent}"
        );
    }
}
