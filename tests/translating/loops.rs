//! Tool loops of three steps: what a model has thought goes back to it under the name that it is configured by, and where it is lost no
//! vendor is asked for what it would refuse.

use super::{post, sse};
use crate::client::{self, Answer};
use crate::flyball::Flyball;
use crate::scripted::{Step, Upstream, answer};
use serde_json::{Value, json};

fn config(kind: &str, upstream: &Upstream, models: &[&str]) -> String {
    let models = models.iter().map(|name| {
        format!("[[model]]\nname = \"{name}\"\nprovider = \"up\"\ntier = \"standard\"\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n")
    });
    format!(
        "[[provider]]\nname = \"up\"\nkind = \"{kind}\"\nbase_url = \"{}\"\n{}",
        upstream.url(),
        models.collect::<String>()
    )
}

fn last(upstream: &Upstream) -> (String, Value) {
    let seen = upstream.seen().pop().expect("a request");
    let body = serde_json::from_str(&seen.body).expect("JSON");
    (seen.head, body)
}

/// Anthropic's 400 for a budget over a last step that does not begin with its thinking.
fn anthropic_refuses(body: &Value) -> bool {
    let messages = body["messages"].as_array().expect("messages");
    let step = messages.iter().rev().find(|m| m["role"] == "assistant");
    let kind = step.map(|m| m["content"][0]["type"].clone());
    body["thinking"]["type"] == "enabled" && kind.is_some_and(|kind| kind != "thinking")
}

const CLAUDE: &str = "claude-sonnet-4-5";

/// A step of Claude's, under the full name that Anthropic's answers have.
fn claude(n: usize, stream: bool) -> Vec<Step> {
    let name = "claude-sonnet-4-5-20250929";
    if !stream {
        let body = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": name, "content": [
            {"type": "thinking", "thinking": "hm", "signature": format!("SIG{n}")},
            {"type": "tool_use", "id": format!("toolu_{n}"), "name": "weather", "input": {"z": "Rome"}}],
            "stop_reason": "tool_use", "usage": {"input_tokens": 10, "output_tokens": 5}});
        return answer(200, &body.to_string());
    }
    let events = [
        json!({"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "model": name, "content": [], "usage": {"input_tokens": 10, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": format!("SIG{n}")}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": format!("toolu_{n}"), "name": "weather", "input": {}}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"z\":\"Rome\"}"}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ];
    let events = events.map(|e| format!("data: {e}"));
    sse(&events.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A client of one dialect, as far as a tool loop needs it.
struct Client {
    path: &'static str,
    turns: &'static str,
    asked: fn(&str) -> Value,
    /// What it sends back of an answer, with the result of the call.
    back: fn(&Answer, bool) -> Vec<Value>,
}

fn items_of<'v>(item: &'v mut Value, key: &str) -> impl Iterator<Item = &'v mut Value> {
    let list = item.get_mut(key).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

fn events(got: &Answer) -> Vec<Value> {
    super::events(got)
}

fn chat_back(got: &Answer, stream: bool) -> Vec<Value> {
    let mut message = json!({"role": "assistant", "content": null, "reasoning_details": []});
    if !stream {
        message = got.json()["choices"][0]["message"].take();
    } else {
        for event in events(got) {
            let delta = &event["choices"][0]["delta"];
            for detail in delta["reasoning_details"].as_array().into_iter().flatten() {
                let details = message["reasoning_details"].as_array_mut().expect("a list");
                details.push(detail.clone());
            }
            if let Some(text) = delta["reasoning_content"].as_str() {
                message["reasoning_content"] = text.into();
            }
            if let Some(id) = delta["tool_calls"][0]["id"].as_str() {
                let function = json!({"name": "weather", "arguments": "{\"z\":\"Rome\"}"});
                message["tool_calls"] =
                    json!([{"id": id, "type": "function", "function": function}]);
            }
        }
    }
    let id = message["tool_calls"][0]["id"].clone();
    vec![
        message,
        json!({"role": "tool", "tool_call_id": id, "content": "sunny"}),
    ]
}

fn responses_back(got: &Answer, stream: bool) -> Vec<Value> {
    let whole = match stream {
        true => events(got).pop().expect("events")["response"].take(),
        false => got.json(),
    };
    let mut items = whole["output"].as_array().expect("output").clone();
    let id = items.last().expect("a call")["call_id"].clone();
    items.push(json!({"type": "function_call_output", "call_id": id, "output": "sunny"}));
    items
}

fn gemini_back(got: &Answer, stream: bool) -> Vec<Value> {
    let answers = match stream {
        true => events(got),
        false => vec![got.json()],
    };
    let parts = answers.iter().flat_map(|a| {
        let parts = a["candidates"][0]["content"]["parts"].as_array();
        parts.into_iter().flatten().cloned()
    });
    let result = json!({"functionResponse": {"name": "weather", "response": {"output": "sunny"}}});
    vec![
        json!({"role": "model", "parts": parts.collect::<Vec<_>>()}),
        json!({"role": "user", "parts": [result]}),
    ]
}

const SCHEMA: &str = r#"{"type":"object","properties":{"z":{"type":"string"}}}"#;

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("JSON")
}

fn clients(model: &'static str) -> Vec<Client> {
    let gemini_path = match model {
        CLAUDE => "/v1beta/models/claude-sonnet-4-5:generateContent",
        _ => "/v1beta/models/gpt-5.6:generateContent",
    };
    vec![
        Client {
            path: "/v1/chat/completions",
            turns: "messages",
            asked: |model| {
                json!({"model": model, "max_tokens": 4000, "reasoning_effort": "low", "messages": [{"role": "user", "content": "Weather in Rome?"}],
                "tools": [{"type": "function", "function": {"name": "weather", "parameters": schema()}}]})
            },
            back: chat_back,
        },
        Client {
            path: "/v1/responses",
            turns: "input",
            asked: |model| {
                json!({"model": model, "max_output_tokens": 4000, "reasoning": {"effort": "low"}, "input": [{"role": "user", "content": "Weather in Rome?"}],
                "tools": [{"type": "function", "name": "weather", "parameters": schema()}]})
            },
            back: responses_back,
        },
        Client {
            path: gemini_path,
            turns: "contents",
            asked: |_| {
                json!({"contents": [{"role": "user", "parts": [{"text": "Weather in Rome?"}]}], "tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": schema()}]}],
                "generationConfig": {"maxOutputTokens": 4000, "thinkingConfig": {"thinkingLevel": "LOW"}}})
            },
            back: gemini_back,
        },
        Client {
            path: "/v1/messages",
            turns: "messages",
            asked: |model| {
                json!({"model": model, "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}, "messages": [{"role": "user", "content": "Weather in Rome?"}],
                "tools": [{"name": "weather", "input_schema": schema()}]})
            },
            back: |got, _| {
                let message = got.json();
                let id = message["content"]
                    .as_array()
                    .expect("blocks")
                    .last()
                    .expect("a call")["id"]
                    .clone();
                let result = json!({"type": "tool_result", "tool_use_id": id, "content": "sunny"});
                vec![
                    json!({"role": "assistant", "content": message["content"]}),
                    json!({"role": "user", "content": [result]}),
                ]
            },
        },
        Client {
            path: "/api/chat",
            turns: "messages",
            asked: |model| {
                json!({"model": model, "stream": false, "think": "low", "messages": [{"role": "user", "content": "Weather in Rome?"}],
                "tools": [{"type": "function", "function": {"name": "weather", "parameters": schema()}}]})
            },
            back: |got, _| {
                vec![
                    got.json()["message"].take(),
                    json!({"role": "tool", "tool_name": "weather", "content": "sunny"}),
                ]
            },
        },
    ]
}

#[tokio::test]
async fn the_seal_comes_back_though_the_answer_calls_the_model_by_its_full_name() {
    let upstream = Upstream::start(Vec::new()).await;
    let flyball = Flyball::start(&config("anthropic", &upstream, &[CLAUDE])).await;
    for stream in [false, true] {
        for client in &clients(CLAUDE)[..3] {
            let mut asked = (client.asked)(CLAUDE);
            let mut path = client.path.to_owned();
            match (stream, client.turns) {
                (true, "contents") => {
                    path = path.replace(":generateContent", ":streamGenerateContent") + "?alt=sse";
                }
                (true, _) => asked["stream"] = true.into(),
                (false, _) => {}
            }
            for n in 0..4 {
                upstream.next(claude(n, stream));
                let got = post(&flyball, &path, &asked).await;
                assert_eq!(got.status, 200, "{path} {n}: {}", got.body);
                let (_, sent) = last(&upstream);
                assert_eq!(sent["thinking"]["type"], "enabled", "{path} {n}");
                let steps = sent["messages"].as_array().expect("messages").iter();
                let steps = steps.filter(|m| m["role"] == "assistant");
                let signed: Vec<_> = steps
                    .map(|m| m["content"][0]["signature"].clone())
                    .collect();
                let expected: Vec<_> = (0..n).map(|n| json!(format!("SIG{n}"))).collect();
                assert_eq!(signed, expected, "{path} {n}, streamed: {stream}");
                let thoughts = sent.to_string().matches("\"thinking\":\"hm\"").count();
                assert_eq!(thoughts, n, "{path} {n}, streamed: {stream}: {sent}");
                let turns = asked[client.turns].as_array_mut().expect("turns");
                turns.extend((client.back)(&got, stream));
            }
        }
    }
}

#[tokio::test]
async fn a_loop_that_has_lost_its_thinking_is_not_thought_over() {
    let upstream = Upstream::start(Vec::new()).await;
    let flyball = Flyball::start(&config("anthropic", &upstream, &[CLAUDE])).await;
    for client in &clients(CLAUDE) {
        // An app that asks Claude itself in its own words is answered by Claude.
        if client.path == "/v1/messages" {
            continue;
        }
        let mut asked = (client.asked)(CLAUDE);
        for n in 0..3 {
            upstream.next(claude(n, false));
            let got = post(&flyball, client.path, &asked).await;
            let (_, sent) = last(&upstream);
            assert!(!anthropic_refuses(&sent), "{} {n}: {sent}", client.path);
            let effort = if n == 0 { "low" } else { "none" };
            assert_eq!(
                got.header("x-flyball-effort"),
                Some(effort),
                "{}",
                client.path
            );
            let mut back = (client.back)(&got, false);
            // Most apps send back words and calls alone.
            back.retain(|item| item["type"] != "reasoning");
            for item in &mut back {
                for key in ["reasoning_details", "reasoning_content", "thinking"] {
                    item.as_object_mut().expect("an object").remove(key);
                }
                for call in items_of(item, "tool_calls") {
                    call.as_object_mut()
                        .expect("an object")
                        .remove("extra_content");
                }
                for part in items_of(item, "parts") {
                    part.as_object_mut()
                        .expect("an object")
                        .remove("thoughtSignature");
                }
                if let Some(parts) = item.get_mut("parts").and_then(Value::as_array_mut) {
                    parts.retain(|part| part["thought"] != true);
                }
            }
            asked[client.turns]
                .as_array_mut()
                .expect("turns")
                .extend(back);
        }
        // A new turn of the user may be thought over again.
        let words = [("model", "It is sunny."), ("user", "And Oslo?")].map(|(role, text)| {
            match (client.turns, role) {
                ("contents", _) => json!({"role": role, "parts": [{"text": text}]}),
                (_, "model") => json!({"role": "assistant", "content": text}),
                _ => json!({"role": role, "content": text}),
            }
        });
        asked[client.turns]
            .as_array_mut()
            .expect("turns")
            .extend(words);
        upstream.next(claude(3, false));
        let got = post(&flyball, client.path, &asked).await;
        assert_eq!(
            got.header("x-flyball-effort"),
            Some("low"),
            "{}",
            client.path
        );
    }
}

/// One history of a Messages client and one of a Chat Completions client, both with a call that has lost its thinking.
fn bare(dialect: &str, model: &str) -> Value {
    match dialect {
        "anthropic" => {
            json!({"model": model, "max_tokens": 8000, "tools": [{"name": "weather", "input_schema": schema()}], "messages": [
            {"role": "user", "content": "Work out which of 40 cities has the best weather, and prove it."},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "weather", "input": {}}, {"type": "tool_use", "id": "b", "name": "weather", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}, {"type": "tool_result", "tool_use_id": "b", "content": "x"}]}]})
        }
        _ => {
            json!({"model": model, "max_tokens": 8000, "tools": [{"type": "function", "function": {"name": "weather", "parameters": schema()}}], "messages": [
            {"role": "user", "content": "Work out which of 40 cities has the best weather, and prove it."},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}, {"id": "b", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "x"}, {"role": "tool", "tool_call_id": "b", "content": "x"}]})
        }
    }
}

#[tokio::test]
async fn what_each_vendor_demands_of_a_bare_call_is_done_for_it() {
    let stand_in = json!("skip_thought_signature_validator");
    for (kind, model, dialect, pointer, expected) in [
        (
            "gemini",
            "gemini-3-pro-preview",
            "anthropic",
            "/contents/1/parts/0/thoughtSignature",
            stand_in.clone(),
        ),
        (
            "gemini",
            "gemini-3-pro-preview",
            "anthropic",
            "/contents/1/parts/1/thoughtSignature",
            Value::Null,
        ),
        (
            "gemini",
            "gemini-3-pro-preview",
            "chat",
            "/messages/1/tool_calls/0/extra_content/google/thought_signature",
            stand_in,
        ),
        (
            "gemini",
            "gemini-2.5-pro",
            "anthropic",
            "/contents/1/parts/0/thoughtSignature",
            Value::Null,
        ),
        ("anthropic", CLAUDE, "anthropic", "/thinking", Value::Null),
        ("anthropic", CLAUDE, "chat", "/thinking", Value::Null),
        (
            "deepseek",
            "deepseek-v4-pro",
            "chat",
            "/thinking/type",
            json!("disabled"),
        ),
        (
            "deepseek",
            "deepseek-v4-pro",
            "anthropic",
            "/thinking/type",
            json!("disabled"),
        ),
        (
            "openai-compatible",
            "kimi-k2.5",
            "chat",
            "/thinking/type",
            json!("disabled"),
        ),
        (
            "openai-compatible",
            "moonshotai/kimi-k2-thinking",
            "anthropic",
            "/messages/1/reasoning_content",
            json!("."),
        ),
    ] {
        let upstream = Upstream::start(answer(200, "{}")).await;
        let flyball = Flyball::start(&config(kind, &upstream, &[model])).await;
        let path = match dialect {
            "anthropic" => "/v1/messages",
            _ => "/v1/chat/completions",
        };
        let body = bare(dialect, "auto").to_string();
        let headers = [("x-flyball-effort", "high")];
        client::post(flyball.at(), path, &headers, &body).await;
        let (_, sent) = last(&upstream);
        let found = sent.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(found, expected, "{kind} {model} {dialect}: {sent}");
    }
}

#[tokio::test]
async fn tools_and_thinking_of_every_client_go_to_responses_where_the_model_demands_it() {
    let call = |n: usize, stream: bool| {
        let body = json!({"id": "resp_1", "object": "response", "status": "completed", "model": "gpt-5.6-2026-05-01", "output": [
            {"type": "reasoning", "id": format!("rs_{n}"), "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": format!("ENC{n}")},
            {"type": "function_call", "call_id": format!("c{n}"), "name": "weather", "arguments": "{\"z\":\"Rome\"}", "id": "fc_1"}],
            "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}});
        assert!(!stream, "whole answers do");
        answer(200, &body.to_string())
    };
    let upstream = Upstream::start(Vec::new()).await;
    let flyball = Flyball::start(&config("openai", &upstream, &["gpt-5.6"])).await;
    for client in &clients("gpt-5.6") {
        let mut asked = (client.asked)("gpt-5.6");
        for n in 0..3 {
            upstream.next(call(n, false));
            let got = post(&flyball, client.path, &asked).await;
            assert_eq!(got.status, 200, "{} {n}: {}", client.path, got.body);
            let (head, sent) = last(&upstream);
            assert!(head.starts_with("POST /v1/responses "), "{head}");
            assert_eq!(sent["reasoning"]["effort"], "low", "{}", client.path);
            let items = sent["input"].as_array().expect("input").iter();
            let sealed = items.filter(|item| item["type"] == "reasoning").count();
            // Ollama's dialect has no place for a seal, which OpenAI does not demand.
            let expected = if client.path == "/api/chat" { 0 } else { n };
            assert_eq!(sealed, expected, "{} {n}", client.path);
            asked[client.turns]
                .as_array_mut()
                .expect("turns")
                .extend((client.back)(&got, false));
        }
        // Where nobody names an effort the model thinks by itself, which it refuses beside tools as well.
        let mut silent = (client.asked)("gpt-5.6");
        for key in ["reasoning_effort", "reasoning", "thinking", "think"] {
            silent.as_object_mut().expect("an object").remove(key);
        }
        if client.turns == "contents" {
            silent["generationConfig"] = json!({"maxOutputTokens": 4000});
        }
        upstream.next(call(0, false));
        post(&flyball, client.path, &silent).await;
        assert!(
            last(&upstream).0.starts_with("POST /v1/responses "),
            "{}",
            client.path
        );
    }
}

/// What Codex sends in its default settings.
fn codex() -> Value {
    json!({"model": "m-other", "store": false, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k1", "prompt_cache_retention": "in_memory",
        "client_metadata": {"session": "s1"}, "tool_choice": "auto", "parallel_tool_calls": false, "max_output_tokens": 500,
        "input": [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are a coding agent."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "say hi"}]}],
        "tools": [{"type": "function", "name": "exec_command", "strict": false, "parameters": schema()},
            {"type": "namespace", "name": "agents", "description": "Helpers.", "tools": [{"type": "function", "name": "close_agent", "description": "Closes.", "strict": false, "parameters": schema()}]},
            {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"}}]})
}

#[tokio::test]
async fn grouped_tools_and_tools_of_words_reach_a_model_of_another_dialect_and_come_back_by_their_own_names()
 {
    let calls = |names: &[(&str, &str)]| -> Vec<Value> {
        let call = |(n, (name, arguments)): (usize, &(&str, &str))| json!({"index": n, "id": format!("c{n}"), "type": "function", "function": {"name": name, "arguments": arguments}});
        names.iter().enumerate().map(call).collect()
    };
    let made = calls(&[
        ("agents__close_agent", r#"{"z":"a"}"#),
        ("apply_patch", r#"{"input":"*** Begin"}"#),
        ("exec_command", "{}"),
    ]);
    let used = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let whole = json!({"id": "c", "object": "chat.completion", "model": "m-up", "choices": [{"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": made}, "finish_reason": "tool_calls"}], "usage": used});
    let chunk = json!({"id": "c", "model": "m-up", "choices": [{"index": 0, "delta": {"tool_calls": made}, "finish_reason": null}]});
    let last_chunk = json!({"id": "c", "model": "m-up", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": used});
    let events = [
        format!("data: {chunk}"),
        format!("data: {last_chunk}"),
        "data: [DONE]".into(),
    ];
    let stream = sse(&events.iter().map(String::as_str).collect::<Vec<_>>());
    let upstream = Upstream::start(answer(200, &whole.to_string())).await;
    let flyball = super::only("openai-compatible", &upstream).await;
    for streamed in [false, true] {
        let mut asked = codex();
        asked["stream"] = streamed.into();
        if streamed {
            upstream.next(stream.clone());
        }
        let got = post(&flyball, "/v1/responses", &asked).await;
        assert_eq!(got.status, 200, "{}", got.body);
        let (_, sent) = last(&upstream);
        let tools = sent["tools"].as_array().expect("tools").iter();
        let tools: Vec<_> = tools
            .map(|t| {
                (
                    t["function"]["name"].clone(),
                    t["function"]["description"].clone(),
                )
            })
            .collect();
        let expected = [
            (json!("exec_command"), Value::Null),
            (json!("agents__close_agent"), json!("Helpers.\n\nCloses.")),
            (json!("apply_patch"), json!("Patches.")),
        ];
        assert_eq!(tools, expected);
        let mut items = responses_back(&got, streamed);
        items.truncate(3);
        let short: Vec<_> = items
            .iter()
            .map(|i| {
                json!([
                    i["type"],
                    i["namespace"],
                    i["name"],
                    i["arguments"],
                    i["input"]
                ])
            })
            .collect();
        let expected = [
            json!([
                "function_call",
                "agents",
                "close_agent",
                r#"{"z":"a"}"#,
                null
            ]),
            json!(["custom_tool_call", null, "apply_patch", null, "*** Begin"]),
            json!(["function_call", null, "exec_command", "{}", null]),
        ];
        assert_eq!(short, expected, "streamed: {streamed}");
        // The next step tells the model its calls by the names that it knows.
        items.push(json!({"type": "function_call_output", "call_id": "c0", "output": "x"}));
        items.push(json!({"type": "custom_tool_call_output", "call_id": "c1", "output": "y"}));
        items.push(json!({"type": "function_call_output", "call_id": "c2", "output": "z"}));
        let mut next = codex();
        next["input"].as_array_mut().expect("input").extend(items);
        post(&flyball, "/v1/responses", &next).await;
        let (_, sent) = last(&upstream);
        let said = json!(calls(&[
            ("agents__close_agent", r#"{"z":"a"}"#),
            ("apply_patch", r#"{"input":"*** Begin"}"#),
            ("exec_command", "{}")
        ]));
        let told = sent["messages"][2]["tool_calls"]
            .as_array()
            .expect("calls")
            .iter();
        let told: Vec<_> = told.map(|call| call["function"].clone()).collect();
        let said: Vec<_> = said
            .as_array()
            .expect("calls")
            .iter()
            .map(|call| call["function"].clone())
            .collect();
        assert_eq!(told, said);
    }
}

#[tokio::test]
async fn what_flyball_answered_with_lately_may_be_named_by_its_id_and_by_nobody_elses() {
    let call = json!([{"index": 0, "id": "c0", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]);
    let used = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let whole = json!({"id": "c", "object": "chat.completion", "model": "m-up", "choices": [{"index": 0, "message": {"role": "assistant", "content": "so", "tool_calls": call}, "finish_reason": "tool_calls"}], "usage": used});
    let chunk = json!({"id": "c", "model": "m-up", "choices": [{"index": 0, "delta": {"content": "so", "tool_calls": call}, "finish_reason": null}]});
    let last_chunk = json!({"id": "c", "model": "m-up", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": used});
    let stream = [
        format!("data: {chunk}"),
        format!("data: {last_chunk}"),
        "data: [DONE]".into(),
    ];
    let stream = sse(&stream.iter().map(String::as_str).collect::<Vec<_>>());
    let upstream = Upstream::start(answer(200, &whole.to_string())).await;
    let flyball = super::only("openai-compatible", &upstream).await;
    for streamed in [false, true] {
        let asked = json!({"model": "m-other", "stream": streamed, "input": "Weather in Rome?", "tools": [{"type": "function", "name": "weather", "parameters": schema()}]});
        if streamed {
            upstream.next(stream.clone());
        }
        let got = post(&flyball, "/v1/responses", &asked).await;
        let items = responses_back(&got, streamed);
        let references = items[..2]
            .iter()
            .map(|item| json!({"type": "item_reference", "id": item["id"]}));
        let mut input = vec![json!({"role": "user", "content": "Weather in Rome?"})];
        input.extend(references);
        input.push(items[2].clone());
        let mut next = asked.clone();
        next["stream"] = false.into();
        next["input"] = input.into();
        let again = post(&flyball, "/v1/responses", &next).await;
        assert_eq!(again.status, 200, "{}", again.body);
        let (_, by_items) = last(&upstream);
        assert_eq!(by_items["messages"][1]["content"], "so");
        assert_eq!(by_items["messages"][1]["tool_calls"][0]["id"], "c0");
        assert_eq!(by_items["messages"][2]["tool_call_id"], "c0");
        let response = match streamed {
            true => events(&got).pop().expect("events")["response"]["id"].take(),
            false => got.json()["id"].take(),
        };
        next["previous_response_id"] = response;
        next["input"] = json!([items[2]]);
        let again = post(&flyball, "/v1/responses", &next).await;
        assert_eq!(again.status, 200, "{}", again.body);
        assert_eq!(last(&upstream).1["messages"], by_items["messages"]);
    }
    for (field, asked) in [
        (
            "input[0].id",
            json!({"model": "m-other", "input": [{"type": "item_reference", "id": "fc_unknown"}]}),
        ),
        (
            "previous_response_id",
            json!({"model": "m-other", "previous_response_id": "resp_unknown", "input": "x"}),
        ),
    ] {
        let refused = post(&flyball, "/v1/responses", &asked).await;
        let error = refused.json()["error"].take();
        assert_eq!((refused.status, &error["param"]), (400, &json!(field)));
        let text = error["message"].as_str().expect("a sentence");
        assert!(text.contains("\"store\": false"), "{text}");
    }
}

#[tokio::test]
async fn a_gemini_client_sees_thoughts_only_where_it_asks_for_them_and_brings_them_back_all_the_same()
 {
    let upstream = Upstream::start(Vec::new()).await;
    let flyball = Flyball::start(&config("anthropic", &upstream, &[CLAUDE])).await;
    let all = clients(CLAUDE);
    let gemini = all
        .iter()
        .find(|client| client.turns == "contents")
        .expect("one");
    for (asks, shown) in [(json!(null), 0), (json!(false), 0), (json!(true), 1)] {
        for stream in [false, true] {
            let mut asked = (gemini.asked)(CLAUDE);
            if !asks.is_null() {
                asked["generationConfig"]["thinkingConfig"]["includeThoughts"] = asks.clone();
            }
            let path = match stream {
                true => {
                    gemini
                        .path
                        .replace(":generateContent", ":streamGenerateContent")
                        + "?alt=sse"
                }
                false => gemini.path.to_owned(),
            };
            upstream.next(claude(0, stream));
            let got = post(&flyball, &path, &asked).await;
            let thoughts = got.body.matches("\"thought\":true").count();
            assert_eq!(
                (got.status, thoughts),
                (200, shown),
                "{asks} {stream}: {}",
                got.body
            );
            assert_eq!(got.body.contains("\"hm\""), shown == 1, "{}", got.body);
            let turns = asked[gemini.turns].as_array_mut().expect("turns");
            turns.extend((gemini.back)(&got, stream));
            upstream.next(claude(1, false));
            post(&flyball, gemini.path, &asked).await;
            let (_, sent) = last(&upstream);
            let block = json!({"type": "thinking", "thinking": "hm", "signature": "SIG0"});
            assert_eq!(sent["messages"][1]["content"][0], block, "{asks} {stream}");
        }
    }
}
