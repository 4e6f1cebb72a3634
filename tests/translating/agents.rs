//! What coding agents send by default, as the real ones were seen to: none of it may stop them, under a cap or before a model of another
//! dialect.

use super::post;
use super::vendors::said;
use crate::client::Answer;
use crate::flyball::Flyball;
use crate::scripted::Upstream;
use serde_json::{Value, json};

const CAP: &str = "\n[[cap]]\nusd = 100\nwindow = \"day\"\n";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";

/// Sends a request to a flyball with one model; what arrived there, if it did, and the answer.
async fn sent(
    (kind, model): (&str, &str),
    more: &str,
    path: &str,
    body: &Value,
) -> (Value, Answer) {
    let upstream = Upstream::start(said(kind)).await;
    let toml = format!(
        "[[provider]]\nname = \"up\"\nkind = \"{kind}\"\nbase_url = \"{}\"\n\n[[model]]\nname = \"{model}\"\nprovider = \"up\"\ntier = \"standard\"\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\nanswer_tokens_max = 4000\ncontext_tokens = 200000\n{more}",
        upstream.url()
    );
    let flyball = Flyball::start(&toml).await;
    let got = post(&flyball, path, body).await;
    let seen = upstream.seen();
    let body = seen.first().map(|seen| serde_json::from_str(&seen.body));
    (body.map_or(Value::Null, |body| body.expect("JSON")), got)
}

fn responses(model: &str, more: Value) -> Value {
    let mut body = json!({"model": model, "max_output_tokens": 100, "store": false, "input": [{"role": "user", "content": "hi"}]});
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    body
}

fn function(name: &str) -> Value {
    json!({"type": "function", "name": name, "strict": false, "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]}})
}

#[tokio::test]
async fn tools_that_are_added_in_an_item_are_tools_everywhere() {
    let tools = json!([{"type": "namespace", "name": "functions", "description": "", "tools": [{"type": "custom", "name": "exec"}, function("wait")]}]);
    let item = |tools: &Value| json!({"type": "additional_tools", "id": "at_1", "role": "developer", "tools": tools});
    let body = |model: &str, tools: &Value| {
        responses(
            model,
            json!({"input": [item(tools), {"role": "user", "content": "hi"}]}),
        )
    };
    let (own, got) = sent(
        ("openai", "gpt-5.2"),
        CAP,
        RESPONSES,
        &body("gpt-5.2", &tools),
    )
    .await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(own["input"][0], item(&tools));
    let (other, got) = sent(
        ("anthropic", "claude-sonnet-5"),
        "",
        RESPONSES,
        &body("auto", &tools),
    )
    .await;
    assert_eq!(
        other["tools"].as_array().map(Vec::len),
        Some(2),
        "{other} {}",
        got.body
    );
    // What the vendor runs has no bound, wherever it stands.
    let hosted = json!([{"type": "code_interpreter"}]);
    let (_, got) = sent(
        ("openai", "gpt-5.2"),
        CAP,
        RESPONSES,
        &body("gpt-5.2", &hosted),
    )
    .await;
    assert_eq!(got.status, 400);
    assert!(got.body.contains("input[0].tools[0]"), "{}", got.body);
}

#[tokio::test]
async fn a_search_that_nothing_forces_is_let_go_and_named_where_it_cannot_be() {
    let search = json!({"type": "web_search", "external_web_access": true});
    let body = |model: &str, choice: &Value| {
        responses(
            model,
            json!({"tools": [function("sh"), search], "tool_choice": choice}),
        )
    };
    let auto = json!("auto");
    for (vendor, more) in [
        (("openai", "gpt-5.2"), CAP),
        (("anthropic", "claude-sonnet-5"), ""),
    ] {
        let (arrived, got) = sent(vendor, more, RESPONSES, &body("auto", &auto)).await;
        assert_eq!(
            arrived["tools"].as_array().map(Vec::len),
            Some(1),
            "{arrived} {}",
            got.body
        );
        assert_eq!(got.header("x-flyball-dropped"), Some("tools.web_search"));
        let (_, got) = sent(
            vendor,
            more,
            RESPONSES,
            &body("auto", &json!({"type": "web_search"})),
        )
        .await;
        assert_eq!(got.status, 400, "{}", got.body);
    }
    // Without a cap it goes where it is known, and under its own name a request keeps what it says, or is refused.
    let (arrived, _) = sent(("openai", "gpt-5.2"), "", RESPONSES, &body("auto", &auto)).await;
    assert_eq!(arrived["tools"][1], search);
    let (_, got) = sent(
        ("openai", "gpt-5.2"),
        CAP,
        RESPONSES,
        &body("gpt-5.2", &auto),
    )
    .await;
    assert!(
        got.status == 400 && got.body.contains("tools[1]"),
        "{}",
        got.body
    );
}

#[tokio::test]
async fn the_searches_of_other_vendors_are_let_go_alike() {
    let own = json!({"name": "sh", "description": "", "input_schema": {"type": "object", "properties": {}}});
    let messages = json!({"model": "auto", "max_tokens": 100, "tools": [own, {"type": "web_search_20250305", "name": "web_search"}], "messages": [{"role": "user", "content": "hi"}]});
    let declared = json!({"functionDeclarations": [{"name": "sh"}]});
    let gemini = json!({"tools": [declared, {"googleSearch": {}}], "contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    let generate = "/v1beta/models/auto:generateContent";
    let (claude, google, other) = (
        ("anthropic", "claude-sonnet-5"),
        ("gemini", "gemini-3.8-flash"),
        ("openai-compatible", "m"),
    );
    for (vendor, more, path, body) in [
        (claude, CAP, MESSAGES, &messages),
        (other, "", MESSAGES, &messages),
        (google, CAP, generate, &gemini),
        (other, "", generate, &gemini),
    ] {
        let (arrived, got) = sent(vendor, more, path, body).await;
        let tools = arrived["tools"].as_array().map(Vec::len);
        assert_eq!(tools, Some(1), "{path} {arrived} {}", got.body);
        assert_eq!(
            got.header("x-flyball-dropped"),
            Some("tools.web_search"),
            "{path} {}",
            got.body
        );
    }
    // Where nothing counts what it costs, it stays.
    let (arrived, _) = sent(claude, "", MESSAGES, &messages).await;
    assert_eq!(arrived["tools"], messages["tools"]);
}

#[tokio::test]
async fn googles_types_are_no_others_in_either_schema() {
    let schema = json!({"type": "OBJECT", "properties": {"score": {"type": "INTEGER"}}, "required": ["score"]});
    for field in ["responseSchema", "responseJsonSchema"] {
        let config = json!({"responseMimeType": "application/json", field: schema});
        let body = json!({"generationConfig": config, "contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
        let path = "/v1beta/models/auto:generateContent";
        let (arrived, got) = sent(("openai-compatible", "m"), "", path, &body).await;
        let sent = &arrived["response_format"]["json_schema"]["schema"];
        assert_eq!(sent["type"], "object", "{field} {arrived} {}", got.body);
        assert_eq!(sent["properties"]["score"]["type"], "integer", "{field}");
    }
}

#[tokio::test]
async fn an_item_that_openai_keeps_is_reserved_at_the_whole_window() {
    let body = responses(
        "gpt-5.2",
        json!({"input": [{"role": "user", "content": "hi"}, {"type": "item_reference", "id": "rs_1"}]}),
    );
    let (arrived, got) = sent(("openai", "gpt-5.2"), CAP, RESPONSES, &body).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(arrived["input"], body["input"]);
    // 200,000 tokens at a dollar a million are more than this cap has.
    let small = CAP.replace("100", "0.1");
    let (_, got) = sent(("openai", "gpt-5.2"), &small, RESPONSES, &body).await;
    assert_eq!(got.status, 402, "{}", got.body);
}

#[tokio::test]
async fn instructions_between_turns_reach_models_that_take_none_there() {
    let system = json!({"role": "system", "content": [{"type": "text", "text": "# Environment"}], "output_config": {"effort": "medium"}});
    let body = |model: &str| json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}, system]});
    let (arrived, got) = sent(("openai-compatible", "m"), "", MESSAGES, &body("auto")).await;
    assert!(
        arrived.to_string().contains("# Environment"),
        "{arrived} {}",
        got.body
    );
    let older = ("anthropic", "claude-sonnet-4-5");
    let (arrived, _) = sent(older, "", MESSAGES, &body("auto")).await;
    let as_user = json!({"role": "user", "content": [{"type": "text", "text": "# Environment"}]});
    assert_eq!(arrived["messages"][1], as_user);
    let (arrived, _) = sent(
        ("anthropic", "claude-opus-5-5"),
        "",
        MESSAGES,
        &body("auto"),
    )
    .await;
    assert_eq!(arrived["messages"][1], system);
}

#[tokio::test]
async fn a_model_that_takes_one_way_of_sampling_gets_one() {
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"temperature": 1, "topP": 0.95, "maxOutputTokens": 500}});
    let path = "/v1beta/models/auto:generateContent";
    for (model, both) in [
        ("claude-sonnet-4-5", false),
        ("claude-3-5-haiku-latest", true),
    ] {
        let (arrived, got) = sent(("anthropic", model), "", path, &body).await;
        assert_eq!(arrived["temperature"], 1, "{arrived}");
        assert_eq!(arrived.get("top_p").is_some(), both, "{arrived}");
        let dropped = got.header("x-flyball-dropped").unwrap_or_default();
        assert_eq!(dropped.contains("top"), !both, "{dropped}");
    }
}

#[tokio::test]
async fn thoughts_whose_words_alone_were_told_bring_gemini_no_signature() {
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": "flyball1.gemini.gemini-3~18-flash.text"});
    let body = json!({"model": "gemini-3.8-flash", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [thought, {"type": "text", "text": "Step 1."}]}, {"role": "user", "content": "on"}]});
    let (arrived, got) = sent(("gemini", "gemini-3.8-flash"), "", MESSAGES, &body).await;
    assert!(arrived["contents"].is_array(), "{}", got.body);
    assert!(
        !arrived.to_string().contains("thoughtSignature"),
        "{arrived}"
    );
}
