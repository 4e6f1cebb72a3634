//! What one vendor takes and another refuses. The rules that are checked here are the vendors' own 400s, as reports quote them:
//! what arrives at a scripted vendor is held against them.

use super::post;
use crate::client::Answer;
use crate::flyball::Flyball;
use crate::scripted::{Seen, Step, Upstream, answer, chat, end, piece, stream_head};
use serde_json::{Value, json};

/// A flyball with one provider of this kind and these models; the first is small, the others reason.
async fn with_models(kind: &str, upstream: &Upstream, models: &[&str]) -> Flyball {
    let mut toml = format!(
        "[[provider]]\nname = \"up\"\nkind = \"{kind}\"\nbase_url = \"{}\"\n",
        upstream.url()
    );
    for (i, model) in models.iter().enumerate() {
        let tier = ["small", "reasoning"][i.min(1)];
        toml += &format!(
            "\n[[model]]\nname = \"{model}\"\nprovider = \"up\"\ntier = \"{tier}\"\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\nanswer_tokens_max = 4000\n"
        );
    }
    Flyball::start(&toml).await
}

const CLAUDE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-5","content":[{"type":"text","text":"ok"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":5}}"#;

const GEMINI: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"ok"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15}}"#;

/// The answer of a vendor of this kind.
pub fn said(kind: &str) -> Vec<Step> {
    match kind {
        "anthropic" => answer(200, CLAUDE),
        "gemini" => answer(200, GEMINI),
        _ => answer(200, &chat(10, 5)),
    }
}

/// Sends one request to a vendor of this kind; what arrives there, and the answer.
async fn sent(kind: &str, model: &str, path: &str, body: Value) -> (Value, Answer) {
    let upstream = Upstream::start(said(kind)).await;
    let flyball = with_models(kind, &upstream, &[model]).await;
    let got = post(&flyball, path, &body).await;
    assert_eq!(got.status, 200, "{kind} {path}: {}", got.body);
    (read(&upstream.seen()[0]), got)
}

fn read(seen: &Seen) -> Value {
    serde_json::from_str(&seen.body).expect("JSON")
}

fn ask(model: &str, more: Value) -> Value {
    let mut body =
        json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    body
}

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const PROOF: &str = "Prove that the sum of the reciprocals of the primes diverges, with every step of the argument.";

#[tokio::test]
async fn a_text_that_ends_the_answer_goes_to_a_model_that_takes_it() {
    let upstream = Upstream::start(said("openai")).await;
    let flyball = with_models("openai", &upstream, &["gpt-4.1", "gpt-5"]).await;
    let mut body = json!({"model": "auto", "max_tokens": 8000, "stop": ["\nObservation:"], "messages": [{"role": "user", "content": PROOF}]});
    let got = post(&flyball, CHAT, &body).await;
    assert_eq!(got.header("x-flyball-model"), Some("gpt-4.1"));
    assert_eq!(read(&upstream.seen()[0])["stop"], json!(["\nObservation:"]));
    // Without it the hard question goes where it went.
    body.as_object_mut()
        .expect("an object")
        .shift_remove("stop");
    let got = post(&flyball, CHAT, &body).await;
    assert_eq!(got.header("x-flyball-model"), Some("gpt-5"));
    // By its own name it gets the client's bytes.
    body["model"] = "gpt-5".into();
    body["stop"] = "END".into();
    let got = post(&flyball, CHAT, &body).await;
    assert_eq!(got.header("x-flyball-dropped"), None);
    assert_eq!(upstream.seen()[2].body, body.to_string());
}

#[tokio::test]
async fn where_no_model_takes_the_text_that_ends_the_answer_it_is_let_go_and_named() {
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"stopSequences": ["END"], "maxOutputTokens": 100}});
    for (path, body, name) in [
        (
            MESSAGES,
            ask("gpt-5", json!({"stop_sequences": ["END"]})),
            "stop_sequences",
        ),
        (CHAT, ask("auto", json!({"stop": "END"})), "stop"),
        (
            "/v1beta/models/gpt-5:generateContent",
            gemini,
            "generationConfig.stopSequences",
        ),
    ] {
        let (sent, got) = sent("openai", "gpt-5", path, body).await;
        assert_eq!(sent.get("stop"), None, "{path}");
        assert_eq!(got.header("x-flyball-dropped"), Some(name));
    }
    // Four are taken by OpenAI's others, and none of white space alone by Anthropic.
    let five = json!({"stop": ["a", "b", "c", "d", "e"]});
    let (body, got) = sent("openai", "gpt-4.1", CHAT, ask("auto", five)).await;
    assert_eq!(body["stop"], json!(["a", "b", "c", "d"]));
    assert_eq!(got.header("x-flyball-dropped"), Some("stop"));
    let blank = json!({"stop": ["\n\n", "END"]});
    let (body, got) = sent(
        "anthropic",
        "claude-sonnet-5",
        CHAT,
        ask("claude-sonnet-5", blank),
    )
    .await;
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!(got.header("x-flyball-dropped"), Some("stop"));
}

#[tokio::test]
async fn mistral_gets_ids_of_nine_letters_and_digits_the_same_for_a_call_and_its_result() {
    let ids = [
        "toolu_01A09q90qw90lq917835lq9",
        "toolu_01A09q90qw90lq917835lq8",
    ];
    let uses = ids.map(|id| json!({"type": "tool_use", "id": id, "name": "w", "input": {}}));
    let results = ids.map(|id| json!({"type": "tool_result", "tool_use_id": id, "content": "5"}));
    let calls = ids.map(
        |id| json!({"id": id, "type": "function", "function": {"name": "w", "arguments": "{}"}}),
    );
    let tools = ids.map(|id| json!({"role": "tool", "tool_call_id": id, "content": "5"}));
    let items = ids
        .map(|id| json!({"type": "function_call", "call_id": id, "name": "w", "arguments": "{}"}));
    let outputs =
        ids.map(|id| json!({"type": "function_call_output", "call_id": id, "output": "5"}));
    let hi = json!({"role": "user", "content": "hi"});
    for (path, body) in [
        (
            MESSAGES,
            json!({"model": "mistral-large", "max_tokens": 100, "messages": [hi, {"role": "assistant", "content": uses}, {"role": "user", "content": results}]}),
        ),
        (
            CHAT,
            json!({"model": "auto", "messages": [hi, {"role": "assistant", "content": null, "tool_calls": calls}, tools[0], tools[1]]}),
        ),
        (
            "/v1/responses",
            json!({"model": "mistral-large", "input": [hi, items[0], items[1], outputs[0], outputs[1]]}),
        ),
    ] {
        let (first, got) = sent("mistral", "mistral-large", path, body.clone()).await;
        assert_eq!(got.header("x-flyball-dropped"), None, "{path}");
        let (again, _) = sent("mistral", "mistral-large", path, body).await;
        assert_eq!(first["messages"], again["messages"]);
        let messages = first["messages"].as_array().expect("messages");
        let calls: Vec<&str> = messages
            .iter()
            .filter_map(|m| m["tool_calls"].as_array())
            .flatten()
            .filter_map(|c| c["id"].as_str())
            .collect();
        let results: Vec<&str> = messages
            .iter()
            .filter_map(|m| m["tool_call_id"].as_str())
            .collect();
        assert_eq!(calls, results, "{path}");
        assert_ne!(calls[0], calls[1]);
        for id in calls {
            assert!(
                id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()),
                "{id}"
            );
        }
    }
    // Anthropic's letters: two ids that differ in others stay apart.
    let calls = ["a:1", "a.1"].map(
        |id| json!({"id": id, "type": "function", "function": {"name": "w", "arguments": "{}"}}),
    );
    let tools = ["a:1", "a.1"].map(|id| json!({"role": "tool", "tool_call_id": id, "content": id}));
    let body = json!({"model": "claude-sonnet-5", "messages": [hi, {"role": "assistant", "content": null, "tool_calls": calls}, tools[0], tools[1]]});
    let (sent, _) = sent("anthropic", "claude-sonnet-5", CHAT, body).await;
    let (calls, results) = (
        &sent["messages"][1]["content"],
        &sent["messages"][2]["content"],
    );
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_eq!(
        (&calls[0]["id"], &calls[1]["id"]),
        (&results[0]["tool_use_id"], &results[1]["tool_use_id"])
    );
}

#[tokio::test]
async fn a_label_of_the_user_that_is_not_taken_becomes_one_that_is() {
    let who = format!(
        "user_{}_account__session_12345678-1234-1234-1234-123456789012",
        "a".repeat(64)
    );
    let labelled = |label: &str| json!({"metadata": {"user_id": label}});
    let (first, got) = sent(
        "openai",
        "gpt-4.1",
        MESSAGES,
        ask("gpt-4.1", labelled(&who)),
    )
    .await;
    let label = first["user"].as_str().expect("a label");
    assert!(label.len() <= 64 && label.starts_with("user_"), "{label}");
    assert_eq!(got.header("x-flyball-dropped"), Some("metadata.user_id"));
    // The same user has the same one; another has another; a short one stays.
    let (again, _) = sent(
        "openai",
        "gpt-4.1",
        MESSAGES,
        ask("gpt-4.1", labelled(&who)),
    )
    .await;
    assert_eq!(again["user"], first["user"]);
    let (other, _) = sent(
        "openai",
        "gpt-4.1",
        MESSAGES,
        ask("gpt-4.1", labelled(&(who.clone() + "b"))),
    )
    .await;
    assert_ne!(other["user"], first["user"]);
    let (short, got) = sent(
        "openai",
        "gpt-4.1",
        MESSAGES,
        ask("gpt-4.1", labelled("u1")),
    )
    .await;
    assert_eq!(
        (&short["user"], got.header("x-flyball-dropped")),
        (&json!("u1"), None)
    );
    // Routed within one dialect, and an address at Anthropic.
    let (routed, _) = sent(
        "openai",
        "gpt-4.1",
        CHAT,
        ask("auto", json!({"user": who, "safety_identifier": who})),
    )
    .await;
    assert_eq!(
        (&routed["user"], &routed["safety_identifier"]),
        (&first["user"], &first["user"])
    );
    let address = json!({"user": "ann@example.org"});
    let (sent, got) = sent(
        "anthropic",
        "claude-sonnet-5",
        CHAT,
        ask("claude-sonnet-5", address),
    )
    .await;
    let label = sent["metadata"]["user_id"].as_str().expect("a label");
    assert!(!label.contains('@'), "{label}");
    assert_eq!(got.header("x-flyball-dropped"), Some("user"));
}

#[tokio::test]
async fn openai_gets_schemas_that_say_their_properties_and_is_strict_where_they_can_be() {
    let tools = json!({"tools": [
        {"name": "list_tasks", "input_schema": {"type": "object"}},
        {"name": "tag", "input_schema": {"type": "object", "properties": {"tags": {"type": "array"}}}},
        {"name": "find", "strict": true, "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}, "additionalProperties": false}}]});
    let (body, got) = sent("openai", "gpt-4.1", MESSAGES, ask("gpt-4.1", tools)).await;
    let parameters = |i: usize| body["tools"][i]["function"]["parameters"].clone();
    assert_eq!(parameters(0), json!({"type": "object", "properties": {}}));
    assert_eq!(
        parameters(1)["properties"]["tags"],
        json!({"type": "array", "items": {}})
    );
    assert_eq!(body["tools"][2]["function"]["strict"], json!(false));
    assert_eq!(got.header("x-flyball-dropped"), Some("tools.strict"));
    let routed = json!({"tools": [{"type": "function", "function": {"name": "w", "parameters": {"type": "object"}}}]});
    let (body, _) = sent("openai", "gpt-4.1", CHAT, ask("auto", routed)).await;
    assert_eq!(
        body["tools"][0]["function"]["parameters"]["properties"],
        json!({})
    );

    let optional = json!({"type": "object", "properties": {"name": {"type": "string"}, "nickname": {"type": "string"}}, "required": ["name"], "additionalProperties": false});
    let format = |schema: &Value| json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    let (body, got) = sent(
        "openai",
        "gpt-4.1",
        MESSAGES,
        ask("gpt-4.1", format(&optional)),
    )
    .await;
    let told = &body["response_format"]["json_schema"];
    assert_eq!(
        (&told["strict"], &told["schema"]),
        (&json!(false), &optional)
    );
    assert_eq!(
        got.header("x-flyball-dropped"),
        Some("output_config.format.strict")
    );
    let mut whole = optional;
    whole["required"] = json!(["name", "nickname"]);
    let (body, got) = sent(
        "openai",
        "gpt-4.1",
        MESSAGES,
        ask("gpt-4.1", format(&whole)),
    )
    .await;
    assert_eq!(
        body["response_format"]["json_schema"]["strict"],
        json!(true)
    );
    assert_eq!(got.header("x-flyball-dropped"), None);
}

#[tokio::test]
async fn what_anthropic_cannot_promise_of_a_schema_is_said_in_words() {
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"], "additionalProperties": false});
    let asked = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": true, "schema": schema}},
        "tools": [{"type": "function", "function": {"name": "w", "strict": true, "parameters": schema}}]});
    let (body, got) = sent(
        "anthropic",
        "claude-sonnet-5",
        CHAT,
        ask("claude-sonnet-5", asked),
    )
    .await;
    let told = &body["output_config"]["format"]["schema"]["properties"]["age"];
    assert_eq!(
        told,
        &json!({"type": "integer", "description": "(minimum: 0)"})
    );
    // A tool keeps its schema as a guide.
    assert_eq!(
        (
            &body["tools"][0]["strict"],
            &body["tools"][0]["input_schema"]
        ),
        (&json!(false), &schema)
    );
    assert_eq!(
        got.header("x-flyball-dropped"),
        Some("response_format.minimum, tools.strict")
    );
}

#[tokio::test]
async fn anthropic_gets_no_text_of_white_space_alone() {
    let call =
        json!([{"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}]);
    let body = json!({"model": "claude-sonnet-5", "messages": [
        {"role": "system", "content": " \n"},
        {"role": "user", "content": [{"type": "text", "text": "\n"}, {"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": "\n\n", "tool_calls": call}, {"role": "tool", "tool_call_id": "c1", "content": "5"},
        {"role": "assistant", "content": "The answer is "}]});
    let (sent_, _) = sent("anthropic", "claude-sonnet-5", CHAT, body).await;
    assert_eq!(sent_.get("system"), None);
    assert_eq!(
        sent_["messages"],
        json!([
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "w", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "5"}]},
        {"role": "assistant", "content": "The answer is"}])
    );
    // Routed within the dialect too.
    let body = json!({"model": "auto", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "\n"}, {"role": "user", "content": "go on"}]});
    let (sent, _) = sent("anthropic", "claude-sonnet-5", MESSAGES, body).await;
    assert_eq!(
        sent["messages"],
        json!([{"role": "user", "content": "hi"}, {"role": "user", "content": "go on"}])
    );
}

#[tokio::test]
async fn cache_marks_of_chat_clients_reach_anthropic_and_are_named_where_they_cannot() {
    let mark = json!({"type": "ephemeral"});
    let marked = |text: &str| json!([{"type": "text", "text": text, "cache_control": mark}]);
    let messages = json!([
        {"role": "system", "content": marked("A long manual.")},
        {"role": "user", "content": marked("hi")},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": marked("5")}]);
    let tools = json!([{"type": "function", "function": {"name": "w", "parameters": {"type": "object", "properties": {}}}, "cache_control": mark}]);
    let asked = |model: &str| ask(model, json!({"messages": messages, "tools": tools}));
    let (body, got) = sent(
        "anthropic",
        "claude-sonnet-5",
        CHAT,
        asked("claude-sonnet-5"),
    )
    .await;
    assert_eq!(got.header("x-flyball-dropped"), None);
    for place in [
        "/system/0",
        "/messages/0/content/0",
        "/messages/2/content/0",
        "/tools/0",
    ] {
        let block = body
            .pointer(place)
            .unwrap_or_else(|| panic!("{place} in {body}"));
        assert_eq!(block["cache_control"], mark, "{place}");
    }
    // A fifth is one too many: the first goes.
    let mut five = asked("claude-sonnet-5");
    five["messages"]
        .as_array_mut()
        .expect("messages")
        .push(json!({"role": "user", "content": marked("more")}));
    let (body, got) = sent("anthropic", "claude-sonnet-5", CHAT, five).await;
    assert_eq!(body.to_string().matches("cache_control").count(), 4);
    assert_eq!(body["tools"][0].get("cache_control"), None);
    assert_eq!(got.header("x-flyball-dropped"), Some("cache_control"));
    // Groq refuses them, and Gemini has no word for them.
    for kind in ["groq", "openai", "gemini"] {
        let (body, got) = sent(kind, "m-1", CHAT, asked("auto")).await;
        assert!(!body.to_string().contains("cache_control"), "{body}");
        assert_eq!(
            got.header("x-flyball-dropped"),
            Some("cache_control"),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn no_limit_as_minus_one_reaches_who_understands_it_and_nobody_else() {
    for limit in ["-1", "0", "null"] {
        let body = format!(
            r#"{{"model":"qwen","max_tokens":{limit},"messages":[{{"role":"user","content":"hi"}}]}}"#
        );
        let upstream = Upstream::start(said("lmstudio")).await;
        let flyball = with_models("lmstudio", &upstream, &["qwen"]).await;
        let got = crate::client::post(flyball.at(), CHAT, &[], &body).await;
        assert_eq!(got.status, 200, "{}", got.body);
        assert_eq!(upstream.seen()[0].body, body);
    }
    let no_limit = |model: &str| ask(model, json!({"max_tokens": -1}));
    let (body, _) = sent("openai", "gpt-4.1", CHAT, no_limit("auto")).await;
    assert_eq!(body.get("max_tokens"), None);
    let (body, _) = sent("llamacpp", "qwen", CHAT, no_limit("auto")).await;
    assert_eq!(body["max_tokens"], json!(-1));
    let (body, _) = sent(
        "anthropic",
        "claude-sonnet-5",
        CHAT,
        no_limit("claude-sonnet-5"),
    )
    .await;
    assert!(
        body["max_tokens"].as_u64().is_some_and(|limit| limit > 0),
        "{body}"
    );
}

#[tokio::test]
async fn a_tool_whose_name_is_not_taken_is_called_by_its_own_name_in_the_answer() {
    let name = format!("mcp__a_server_of_a_plugin__{}", "long_name_".repeat(6));
    let tools = json!({"tools": [{"name": name, "input_schema": {"type": "object", "properties": {}}}], "tool_choice": {"type": "tool", "name": name}});
    let call = |name: &Value| json!([{"index": 0, "id": "c1", "type": "function", "function": {"name": name, "arguments": "{}"}}]);
    // What it is called there is learned first.
    let (body, _) = sent("openai", "gpt-4.1", MESSAGES, ask("gpt-4.1", tools.clone())).await;
    let there = body["tools"][0]["function"]["name"].clone();
    assert!(
        there.as_str().is_some_and(|name| name.len() <= 64),
        "{there}"
    );
    assert_eq!(body["tool_choice"]["function"]["name"], there);
    let whole = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4.1", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": null, "tool_calls": call(&there)}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}});
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4.1", "choices": [{"index": 0, "delta": {"role": "assistant", "tool_calls": call(&there)}, "finish_reason": null}]});
    let last = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4.1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}});
    let streamed = vec![
        stream_head(),
        piece(&format!("data: {chunk}\n\n")),
        piece(&format!("data: {last}\n\n")),
        piece("data: [DONE]\n\n"),
        end(),
    ];
    for (stream, steps) in [(false, answer(200, &whole.to_string())), (true, streamed)] {
        let upstream = Upstream::start(steps).await;
        let flyball = with_models("openai", &upstream, &["gpt-4.1"]).await;
        let mut asked = ask("gpt-4.1", tools.clone());
        asked["stream"] = stream.into();
        let got = post(&flyball, MESSAGES, &asked).await;
        assert!(got.body.contains(&format!("\"{name}\"")), "{}", got.body);
    }
}
