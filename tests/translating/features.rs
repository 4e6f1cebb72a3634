//! What only some dialects have, between those that do: several answers, the old functions, drops by name.

use super::{config, events, only, post, weather};
use crate::flyball::Flyball;
use crate::scripted::{Upstream, answer, chat};
use serde_json::{Value, json};

const TWO: &str = r#"{"model":"m-up","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop"},{"index":1,"message":{"content":"b"},"finish_reason":"length"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#;

#[tokio::test]
async fn several_answers_reach_a_gemini_client_and_a_cap_bounds_all_of_them() {
    let upstream = Upstream::start(answer(200, TWO)).await;
    // A thousand tokens cost a cent; the prompt costs less than a tenth of one.
    let cap = "\n[[cap]]\nusd = 0.025\nwindow = \"month\"\n";
    let flyball = Flyball::start(&(config("openai-compatible", &upstream) + cap)).await;
    let path = "/v1beta/models/m-other:generateContent";
    let asked = |n: u64| json!({"generationConfig": {"candidateCount": n, "maxOutputTokens": 1_000}, "contents": [{"parts": [{"text": "hi"}]}]});
    for (n, limits) in [(1, 1_000..=1_000), (2, 1_000..=1_000), (3, 700..=833)] {
        let got = post(&flyball, path, &asked(n)).await;
        assert_eq!(got.status, 200, "{}", got.body);
        let seen = upstream.seen();
        let sent: Value = serde_json::from_str(&seen.last().expect("one").body).expect("JSON");
        assert_eq!(sent["n"].as_u64(), (n > 1).then_some(n));
        let limit = sent["max_tokens"].as_u64().expect("a limit");
        assert!(limits.contains(&limit), "{n}: {limit}");
        let candidates = got.json()["candidates"].clone();
        let said = |i: usize| {
            let candidate = &candidates[i];
            (
                candidate["content"]["parts"][0]["text"].clone(),
                candidate["finishReason"].clone(),
            )
        };
        assert_eq!(said(0), (json!("a"), json!("STOP")));
        assert_eq!(said(1), (json!("b"), json!("MAX_TOKENS")));
    }
    flyball.books_are_right().await;
    let other = Upstream::start(answer(200, "{}")).await;
    let flyball = only("anthropic", &other).await;
    let got = post(&flyball, path, &asked(2)).await;
    let details = &got.json()["error"]["details"];
    assert_eq!(
        (
            got.status,
            &details[0]["reason"],
            &details[1]["fieldViolations"][0]["field"]
        ),
        (
            400,
            &json!("flyball_untranslatable"),
            &json!("generationConfig.candidateCount")
        ),
        "{}",
        got.body
    );
    assert_eq!(other.count(), 0);
}

#[tokio::test]
async fn an_app_that_calls_functions_in_the_old_way_is_answered_in_it() {
    let said = r#"{"id":"m","type":"message","role":"assistant","model":"claude-up","content":[{"type":"tool_use","id":"t1","name":"weather","input":{"z":"Oslo"}}],"stop_reason":"tool_use","usage":{"input_tokens":10,"output_tokens":5}}"#;
    let upstream = Upstream::start(answer(200, said)).await;
    let flyball = only("anthropic", &upstream).await;
    let mut asked = json!({"model": "m-other", "functions": [{"name": "weather", "parameters": {"type": "object"}}], "function_call": "auto", "messages": [{"role": "user", "content": "hi"}]});
    let call = json!({"name": "weather", "arguments": "{\"z\":\"Oslo\"}"});
    let got = post(&flyball, "/v1/chat/completions", &asked).await.json();
    let choice = &got["choices"][0];
    assert_eq!(
        (
            &choice["message"]["function_call"],
            &choice["finish_reason"]
        ),
        (&call, &json!("function_call"))
    );
    assert_eq!(choice["message"]["tool_calls"], Value::Null);
    asked["stream"] = true.into();
    let got = post(&flyball, "/v1/chat/completions", &asked).await;
    let all = events(&got);
    let pieces = all
        .iter()
        .map(|e| &e["choices"][0]["delta"]["function_call"]);
    let text: String = pieces.filter_map(|c| c["arguments"].as_str()).collect();
    assert_eq!(text, "{\"z\":\"Oslo\"}", "{}", got.body);
    let sent: Value = serde_json::from_str(&upstream.seen()[0].body).expect("JSON");
    assert_eq!(
        sent["tool_choice"],
        json!({"type": "auto", "disable_parallel_tool_use": true})
    );
}

#[tokio::test]
async fn what_may_not_be_dropped_is_refused_by_name_and_a_routed_request_finds_another_model() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let config = |may_drop: &str| {
        format!(
            "may_drop = {may_drop}\n{}",
            config("openai-compatible", &upstream)
        )
    };
    let flyball = Flyball::start(&config("[\"cache_*\"]")).await;
    let asked = weather("anthropic");
    let got = post(&flyball, "/v1/messages", &asked).await;
    assert_eq!(
        (got.status, got.header("x-flyball-dropped")),
        (200, Some("cache_control"))
    );
    drop(flyball);
    let flyball = Flyball::start(&config("[]")).await;
    let got = post(&flyball, "/v1/messages", &asked).await;
    assert_eq!(got.status, 400);
    assert!(got.body.contains("\\\"cache_control\\\""), "{}", got.body);
    assert!(got.body.contains("may_drop"), "{}", got.body);
    let mut plain = asked.clone();
    plain["system"] = "Be brief.".into();
    let got = post(&flyball, "/v1/messages", &plain).await;
    assert_eq!((got.status, got.header("x-flyball-dropped")), (200, None));
    drop(flyball);

    let claude = Upstream::start(answer(200, r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-up","content":[{"type":"text","text":"On it."}],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":5}}"#)).await;
    let own = format!(
        "\n[[provider]]\nname = \"own\"\nkind = \"anthropic\"\nbase_url = \"{}\"\n\n[[model]]\nname = \"m-own\"\nprovider = \"own\"\ntier = \"standard\"\nefforts = []\nanswer_tokens_max = 4000\ninput_usd_per_mtok = 100\noutput_usd_per_mtok = 1000\n",
        claude.url()
    );
    for (may_drop, provider) in [("[\"*\"]", "up"), ("[]", "own")] {
        let flyball = Flyball::start(&(config(may_drop) + &own)).await;
        let mut routed = asked.clone();
        routed["model"] = "auto".into();
        let got = post(&flyball, "/v1/messages", &routed).await;
        assert_eq!(
            (got.status, got.header("x-flyball-provider")),
            (200, Some(provider)),
            "{}",
            got.body
        );
    }
}

#[tokio::test]
async fn a_simulated_model_calls_the_tool_that_a_responses_client_asks_for() {
    let flyball = Flyball::start("[simulate]\nspeed = 1000\n").await;
    let asked = json!({"model": "sim-small", "input": "Use the tool weather.", "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {"z": {"enum": ["Oslo"]}}, "required": ["z"]}}]});
    let got = post(&flyball, "/v1/responses", &asked).await;
    let call = &got.json()["output"][0];
    assert_eq!(
        (&call["type"], &call["name"], &call["arguments"]),
        (
            &json!("function_call"),
            &json!("weather"),
            &json!("{\"z\":\"Oslo\"}")
        ),
        "{}",
        got.body
    );
}
