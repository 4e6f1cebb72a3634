//! Cohere Chat at either end.

use super::{only, sse};
use crate::client;
use crate::scripted::{Upstream, answer};
use serde_json::{Value, json};

const STREAM: &[&str] = &[
    "event: message-start\ndata: {\"type\":\"message-start\",\"id\":\"c\",\"delta\":{\"message\":{\"role\":\"assistant\"}}}",
    "event: content-start\ndata: {\"type\":\"content-start\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"type\":\"text\",\"text\":\"\"}}}}",
    "event: content-delta\ndata: {\"type\":\"content-delta\", \"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"Sunny.\"}}}}",
    "event: content-end\ndata: {\"type\":\"content-end\",\"index\":0}",
    "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"billed_units\":{\"input_tokens\":20,\"output_tokens\":9},\"tokens\":{\"input_tokens\":518,\"output_tokens\":12}}}}",
];

/// What the only request of this flyball is booked with: input and output tokens, and dollars.
async fn booked(flyball: &crate::flyball::Flyball, got: &client::Answer) -> (Value, Value, Value) {
    let id = got.header("x-flyball-request-id").expect("an id");
    let path = format!("/flyball/requests/{id}");
    let row = client::get(flyball.at(), &path, &[]).await.json();
    let tokens = &row["attempts"][0]["tokens"];
    (
        tokens["input"].clone(),
        tokens["output"].clone(),
        row["cost_usd"].clone(),
    )
}

#[tokio::test]
async fn a_chat_completions_client_reaches_a_cohere_model_and_pays_what_cohere_bills() {
    let said = json!({
        "id": "c", "finish_reason": "TOOL_CALL",
        "message": {"role": "assistant", "tool_plan": "I look.", "tool_calls": [{"id": "w1", "type": "function", "function": {"name": "weather", "arguments": "{\"z\":\"Rome\"}"}}]},
        "usage": {"billed_units": {"input_tokens": 20, "output_tokens": 9}, "tokens": {"input_tokens": 518, "output_tokens": 12}}
    });
    let upstream = Upstream::start(answer(200, &said.to_string())).await;
    let flyball = only("cohere", &upstream).await;
    let mut asked = super::weather("openai");
    asked["response_format"] = Value::Null;
    let got = client::post(
        flyball.at(),
        "/v1/chat/completions",
        &[],
        &asked.to_string(),
    )
    .await;
    assert_eq!(got.status, 200, "{}", got.body);
    let seen = &upstream.seen()[0];
    assert!(seen.head.starts_with("POST /v2/chat "), "{}", seen.head);
    let sent: Value = serde_json::from_str(&seen.body).expect("JSON");
    let schema = asked["tools"][0]["function"]["parameters"].clone();
    assert_eq!(
        sent,
        json!({
            "model": "m-other",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
                {"role": "assistant", "tool_calls": [{"id": "c:1", "type": "function", "function": {"name": "weather", "arguments": "{\"z\":\"Rome\"}"}}]},
                {"role": "tool", "tool_call_id": "c:1", "content": "sunny"},
                {"role": "user", "content": "And?"}
            ],
            "tools": [{"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": schema}}],
            "tool_choice": "REQUIRED", "strict_tools": true, "max_tokens": 500, "temperature": 1.0, "seed": 7, "stop_sequences": ["END"]
        })
    );
    assert_eq!(
        got.header("x-flyball-dropped"),
        Some("parallel_tool_calls, temperature, user")
    );
    let told = got.json();
    let message = &told["choices"][0]["message"];
    assert_eq!(
        (
            &message["content"],
            &message["tool_calls"][0]["id"],
            &told["choices"][0]["finish_reason"],
            &told["usage"]["total_tokens"]
        ),
        (
            &json!("I look."),
            &json!("w1"),
            &json!("tool_calls"),
            &json!(29)
        )
    );
    assert_eq!(
        booked(&flyball, &got).await,
        (json!(20), json!(9), json!("0.00011"))
    );
}

#[tokio::test]
async fn a_cohere_client_gets_a_cohere_models_own_bytes_and_the_models_in_its_shape() {
    let upstream = Upstream::start(sse(STREAM)).await;
    let flyball = only("cohere", &upstream).await;
    let asked = "{\"model\":\"m-other\", \"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"documents\":[\"a\"]}";
    let got = client::post(flyball.at(), "/v2/chat", &[], asked).await;
    assert_eq!(got.body, STREAM.join("\n\n") + "\n\n");
    assert_eq!(upstream.seen()[0].body, asked);
    assert_eq!(
        booked(&flyball, &got).await,
        (json!(20), json!(9), json!("0.00011"))
    );
    let sdk = [("x-fern-sdk-name", "cohere")];
    let models = client::get(flyball.at(), "/v1/models", &sdk).await.json();
    assert_eq!(models["models"][5]["name"], "m-other");
    let missing = client::get(flyball.at(), "/v1/models/none", &sdk).await;
    assert!(missing.json()["message"].is_string(), "{}", missing.body);
}

#[tokio::test]
async fn what_only_cohere_has_is_refused_by_name_for_every_other_model() {
    let upstream = Upstream::start(answer(200, "{}")).await;
    let flyball = only("anthropic", &upstream).await;
    for (more, field) in [
        ("\"documents\":[\"a\"]", "documents"),
        ("\"safety_mode\":\"STRICT\"", "safety_mode"),
        ("\"logprobs\":true", "logprobs"),
        ("\"new_thing\":1", "new_thing"),
    ] {
        let asked = format!(
            "{{\"model\":\"m-other\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],{more}}}"
        );
        let got = client::post(flyball.at(), "/v2/chat", &[], &asked).await;
        let told = got.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(got.status, 400, "{told}");
        assert!(told.starts_with(&format!("\"{field}\" cannot")), "{told}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_top_k_that_is_off_is_left_out() {
    let said = json!({"id":"c","finish_reason":"COMPLETE","message":{"role":"assistant","content":[{"type":"text","text":"Hi"}]}});
    let upstream = Upstream::start(answer(200, &said.to_string())).await;
    let flyball = only("cohere", &upstream).await;
    for (top_k, sent) in [(-1, Value::Null), (40, json!(40)), (900, json!(500))] {
        let asked =
            json!({"model":"m-other","messages":[{"role":"user","content":"hi"}],"top_k":top_k});
        let got = client::post(
            flyball.at(),
            "/v1/chat/completions",
            &[],
            &asked.to_string(),
        )
        .await;
        assert_eq!(got.status, 200, "{}", got.body);
        let seen: Value =
            serde_json::from_str(&upstream.seen().last().expect("sent").body).expect("JSON");
        assert_eq!(seen["k"], sent, "{top_k}");
    }
}
