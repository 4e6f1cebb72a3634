//! What a request asks for and a model cannot do keeps the model out: by what is known of it, by what its provider said lately, and
//! within the request that finds it out.

use super::{CAPITAL, PUZZLE, ask};
use crate::client::{Answer, post};
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Upstream, answer, chat, end, finish, piece, stream_head};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What it asks for, the setting of a `[[model]]` that says that it cannot, and what it lacks then.
fn demands() -> [(Value, &'static str, &'static str); 7] {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    [
        (json!({"tools": tools}), "tool_use", "it calls no tools"),
        (
            json!({"response_format": {"type": "json_object"}}),
            "json_mode",
            "it has no JSON mode",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}),
            "json_schema",
            "it follows no JSON schema",
        ),
        (json!({"n": 2}), "choices", "it gives one answer only"),
        (
            json!({"logprobs": true}),
            "logprobs",
            "it tells no probabilities",
        ),
        (
            json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": CAPITAL}]}),
            "instructions",
            "it takes no instructions",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": CAPITAL}, {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]}]}),
            "images",
            "it sees no pictures",
        ),
    ]
}

fn asking(more: &Value) -> String {
    let mut body: Value = serde_json::from_str(&ask("auto", CAPITAL)).expect("JSON");
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body.to_string()
}

/// The usual two models, of which these are known not to be able to do something.
fn lacking(upstream: &Upstream, setting: &str, models: usize) -> String {
    let with = format!("context_tokens = 100000\n{setting} = false");
    compatible(upstream).replacen("context_tokens = 100000", &with, models)
}

fn models(upstream: &Upstream) -> Vec<String> {
    let model = |seen: crate::scripted::Seen| {
        let body: Value = serde_json::from_str(&seen.body).expect("JSON");
        body["model"].as_str().expect("a name").to_owned()
    };
    upstream.seen().into_iter().map(model).collect()
}

fn told(got: &Answer) -> (u16, Option<&str>, Option<&str>) {
    let (model, barred) = ("x-flyball-model", "x-flyball-barred");
    (got.status, got.header(model), got.header(barred))
}

fn ruled(route: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    let rule = format!("[[rule]]\nname = \"own\"\nwhy = \"A test.\"\nroute = {{ {route} }}\n");
    std::fs::write(dir.path().join("rules/own.toml"), rule).expect("a file");
    dir
}

const NO_TOOLS: &str = r#"{"error":"registry.ollama.ai/library/m-small does not support tools"}"#;

#[tokio::test]
async fn a_model_that_cannot_do_what_is_asked_is_never_asked_for_it() {
    for (more, setting, _) in demands() {
        let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
        let flyball = Flyball::start(&lacking(&upstream, setting, 1)).await;
        let got = flyball.chat(&[], &asking(&more)).await;
        assert_eq!(
            told(&got),
            (200, Some("m-big"), None),
            "{setting} {}",
            got.body
        );
        let got = flyball.chat(&[], &ask("auto", CAPITAL)).await;
        assert_eq!(told(&got), (200, Some("m-small"), None), "{setting}");
    }
}

#[tokio::test]
async fn where_no_model_can_the_refusal_names_each_with_what_it_lacks() {
    for (more, setting, lacks) in demands() {
        // Probabilities can be let go.
        if setting == "logprobs" {
            continue;
        }
        let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
        let flyball = Flyball::start(&lacking(&upstream, setting, 2)).await;
        let got = flyball.chat(&[], &asking(&more)).await;
        let error = &got.json()["error"];
        assert_eq!(
            (got.status, upstream.count()),
            (400, 0),
            "{setting}: nobody was asked"
        );
        let text =
            format!("No configured model can take this request: m-small: {lacks}; m-big: {lacks}.");
        assert_eq!(error["message"], text.as_str());
    }
}

#[tokio::test]
async fn the_refusal_names_the_field_in_the_callers_own_dialect() {
    let schema = r#"{"type":"object","properties":{"a":{"type":"string"}}}"#;
    let calls = [
        (
            "/v1/chat/completions",
            format!(
                r#"{{"model":"auto","messages":[{{"role":"user","content":"{CAPITAL}"}}],"response_format":{{"type":"json_schema","json_schema":{{"name":"s","schema":{schema}}}}}}}"#
            ),
            "\"param\":\"response_format\"",
        ),
        (
            "/v1/responses",
            format!(
                r#"{{"model":"auto","input":"{CAPITAL}","text":{{"format":{{"type":"json_schema","name":"s","schema":{schema}}}}}}}"#
            ),
            "\"param\":\"text.format\"",
        ),
        (
            "/v1/messages",
            format!(
                r#"{{"model":"auto","max_tokens":3000,"messages":[{{"role":"user","content":"{CAPITAL}"}}],"output_config":{{"format":{{"type":"json_schema","schema":{schema}}}}}}}"#
            ),
            "\"type\":\"invalid_request_error\"",
        ),
        (
            "/v1beta/models/auto:generateContent",
            format!(
                r#"{{"contents":[{{"role":"user","parts":[{{"text":"{CAPITAL}"}}]}}],"generationConfig":{{"responseMimeType":"application/json","responseSchema":{schema}}}}}"#
            ),
            "\"status\":\"INVALID_ARGUMENT\"",
        ),
        (
            "/api/chat",
            format!(
                r#"{{"model":"auto","messages":[{{"role":"user","content":"{CAPITAL}"}}],"format":{schema}}}"#
            ),
            "{\"error\":\"",
        ),
    ];
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&lacking(&upstream, "json_schema", 2)).await;
    for (path, body, shape) in calls {
        let got = post(flyball.at(), path, &[], &body).await;
        assert_eq!(got.status, 400, "{path} {}", got.body);
        let says = got.body.contains("m-big: it follows no JSON schema");
        assert!(says && got.body.contains(shape), "{path} {}", got.body);
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn what_a_provider_says_that_its_model_cannot_do_is_learned_and_the_next_best_arm_answers() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let (more, ..) = &demands()[0];
    upstream.next(answer(400, NO_TOOLS));
    let got = flyball.chat(&[], &asking(more)).await;
    assert_eq!(
        told(&got),
        (200, Some("m-big"), Some("m-small: tools")),
        "{}",
        got.body
    );
    assert_eq!(models(&upstream), ["m-small", "m-big"]);
    // It is not asked again for tools, and for everything else it is.
    let got = flyball.chat(&[], &asking(more)).await;
    assert_eq!(told(&got), (200, Some("m-big"), None));
    let got = flyball
        .chat(&[], &ask("auto", "What is the capital of Peru?"))
        .await;
    assert_eq!(told(&got), (200, Some("m-small"), None));
    assert_eq!(models(&upstream), ["m-small", "m-big", "m-big", "m-small"]);
    let rows = flyball.rows().await;
    let first = (&rows[0]["outcome"], &rows[0]["cost_pico_usd"]);
    assert_eq!(first, (&json!("refused_upstream"), &json!(0)), "{rows:#?}");
    assert_eq!(rows[0]["request"], rows[1]["request"]);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_stream_and_a_client_of_another_dialect_get_the_next_best_arm_too() {
    let body = format!(
        r#"{{"model":"auto","max_tokens":3000,"stream":true,"messages":[{{"role":"user","content":"{CAPITAL}"}}],"tools":[{{"name":"f","input_schema":{{"type":"object","properties":{{}}}}}}]}}"#
    );
    let mut steps = vec![stream_head(), piece(&crate::scripted::delta("Paris"))];
    steps.extend(finish(10, 5).iter().map(|event| piece(event)));
    steps.push(end());
    let upstream = Upstream::start(steps).await;
    upstream.next(answer(400, NO_TOOLS));
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let got = post(flyball.at(), "/v1/messages", &[], &body).await;
    assert_eq!(
        told(&got),
        (200, Some("m-big"), Some("m-small: tools")),
        "{}",
        got.body
    );
    assert!(
        got.body.contains("Paris") && got.body.contains("message_stop"),
        "{}",
        got.body
    );
}

#[tokio::test]
async fn where_all_models_refuse_the_best_ones_own_words_go_to_the_client_and_they_are_asked_again()
{
    let upstream = Upstream::start(answer(400, NO_TOOLS)).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let (more, ..) = &demands()[0];
    for asked in [2, 4] {
        let got = flyball.chat(&[], &asking(more)).await;
        assert_eq!((got.status, got.body.as_str()), (400, NO_TOOLS));
        assert_eq!(upstream.count(), asked, "what bars everybody bars nobody");
    }
}

#[tokio::test]
async fn a_refusal_of_what_every_model_refuses_ends_at_once_with_the_providers_own_words() {
    let (more, ..) = &demands()[0];
    for (status, refusal) in [
        (
            400,
            r#"{"error":{"message":"Unknown parameter: 'tool'.","type":"invalid_request_error","param":"tool","code":"unknown_parameter"}}"#,
        ),
        (
            400,
            r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model.","param":"max_tokens","code":"unsupported_parameter"}}"#,
        ),
        (
            422,
            r#"{"error":{"message":"messages: at least one is needed by the model"}}"#,
        ),
        // The model does not do what was not asked of it.
        (
            400,
            r#"{"error":{"message":"This model does not support image input"}}"#,
        ),
    ] {
        let upstream = Upstream::start(answer(status, refusal)).await;
        let flyball = Flyball::start(&compatible(&upstream)).await;
        let got = flyball.chat(&[], &asking(more)).await;
        assert_eq!(
            (got.status, got.body.as_str(), upstream.count()),
            (status, refusal, 1)
        );
    }
}

#[tokio::test]
async fn a_model_that_was_asked_for_by_name_answers_in_its_providers_own_words() {
    let upstream = Upstream::start(answer(400, NO_TOOLS)).await;
    let flyball = Flyball::start(&lacking(&upstream, "tool_use", 1)).await;
    let (more, ..) = &demands()[0];
    let named = asking(more).replace("\"auto\"", "\"m-small\"");
    let got = flyball.chat(&[], &named).await;
    assert_eq!(
        (got.status, got.body.as_str(), upstream.count()),
        (400, NO_TOOLS, 1)
    );
}

#[tokio::test]
async fn a_name_that_is_intercepted_binds_to_no_model_that_cannot_do_what_is_asked() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let known = lacking(&upstream, "tool_use", 1);
    let (more, ..) = &demands()[0];
    for (toml, barred) in [
        (&known, None),
        (&compatible(&upstream), Some("m-small: tools")),
    ] {
        let flyball = Flyball::start(&format!("intercept = [\"m-small\"]\n{toml}")).await;
        let named = asking(more).replace("\"auto\"", "\"m-small\"");
        if barred.is_some() {
            upstream.next(answer(400, NO_TOOLS));
        }
        let got = flyball.chat(&[], &named).await;
        let status = if barred.is_some() { 400 } else { 200 };
        assert_eq!(
            got.status, status,
            "what costs more than what was asked for does not stand in: {}",
            got.body
        );
        let got = flyball.chat(&[], &named).await;
        assert_eq!(told(&got), (200, Some("m-big"), None), "{}", got.body);
    }
}

#[tokio::test]
async fn probabilities_are_asked_of_an_arm_that_tells_them_and_let_go_where_there_is_none() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "sk-test").expect("a file");
    let models = format!(
        "[[provider]]\nname = \"openai\"\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:{}\"\n[[model]]\nname = \"gpt-5-nano\"\ntier = \"small\"\n[[model]]\nname = \"gpt-5.2\"\ntier = \"reasoning\"\n",
        upstream.url(),
        dir.path().join("key").display()
    );
    let flyball = Flyball::start(&models).await;
    let likely = asking(&json!({"logprobs": true}));
    let got = flyball.chat(&[], &likely).await;
    assert_eq!(told(&got), (200, Some("gpt-5.2"), None), "{}", got.body);
    assert_eq!(got.header("x-flyball-effort"), Some("none"));
    assert!(upstream.seen()[0].body.contains("\"logprobs\":true"));
    // Where nobody tells them they are let go.
    let (small, _) = models.rsplit_once("[[model]]").expect("two models");
    let flyball = Flyball::start(small).await;
    let got = flyball.chat(&[], &likely).await;
    assert_eq!(told(&got), (200, Some("gpt-5-nano"), None), "{}", got.body);
    assert_eq!(
        got.header("x-flyball-removed"),
        Some("temperature, logprobs")
    );
}

#[tokio::test]
async fn a_provider_that_fails_bars_nothing_and_leads_further_only_where_it_can_have_billed_nothing()
 {
    for (status, asked) in [(429, 2), (500, 1), (503, 2)] {
        let upstream = Upstream::start(answer(
            status,
            r#"{"error":{"message":"this model does not support tools"}}"#,
        ))
        .await;
        let toml = format!("retries = 0\n{}", compatible(&upstream));
        let flyball = Flyball::start(&toml).await;
        let (more, ..) = &demands()[0];
        let got = flyball.chat(&[], &asking(more)).await;
        let expected = ["m-small", "m-big"].map(str::to_owned);
        assert_eq!(
            (got.status, models(&upstream)),
            (status, expected[..asked].to_vec())
        );
    }
}

#[tokio::test]
async fn a_token_limit_that_a_vendor_refuses_goes_to_a_model_that_takes_it() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "sk-test").expect("a file");
    let toml = format!(
        "[[provider]]\nname = \"openai\"\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:{}\"\n[[model]]\nname = \"gpt-4o-mini\"\ntier = \"small\"\n[[model]]\nname = \"gpt-4.1\"\ntier = \"reasoning\"\n",
        upstream.url(),
        dir.path().join("key").display()
    );
    let flyball = Flyball::start(&toml).await;
    // gpt-4o-mini answers with 16,384 tokens at most, gpt-4.1 with 32,768; what nobody takes is the provider's to refuse.
    for (limit, model) in [
        (16_384, "gpt-4o-mini"),
        (20_000, "gpt-4.1"),
        (50_000, "gpt-4o-mini"),
    ] {
        let got = flyball
            .chat(&[], &asking(&json!({"max_tokens": limit})))
            .await;
        assert_eq!(told(&got), (200, Some(model), None), "{limit} {}", got.body);
    }
}

#[tokio::test]
async fn the_highest_floor_is_met_by_the_best_arm() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start_in(ruled("floor = 1.0"), &compatible(&upstream)).await;
    for prompt in [CAPITAL, PUZZLE] {
        let got = flyball.chat(&[], &ask("auto", prompt)).await;
        assert_eq!(told(&got), (200, Some("m-big"), None));
    }
}

#[tokio::test]
async fn a_strict_rule_that_leaves_nobody_is_refused_by_its_name_with_what_was_tried() {
    let gemini = format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"{CAPITAL}"}}]}}]}}"#);
    let messages = format!(
        r#"{{"model":"auto","max_tokens":3000,"messages":[{{"role":"user","content":"{CAPITAL}"}}]}}"#
    );
    let tools = asking(&demands()[0].0);
    let chat_path = "/v1/chat/completions";
    for (route, path, body, why) in [
        (
            "tier = \"small\", strict = true",
            chat_path,
            &tools,
            "m-small: it calls no tools",
        ),
        (
            "least = \"small\", most = \"small\", strict = true",
            chat_path,
            &tools,
            "m-small: it calls no tools",
        ),
        (
            "tier = \"standard\", strict = true",
            "/v1/messages",
            &messages,
            "there is no such model that this key may use",
        ),
        (
            "never = [\"*\"]",
            "/v1beta/models/auto:generateContent",
            &gemini,
            "m-small: the rule does not let it answer; m-big: the rule does not let it answer",
        ),
        (
            "tier = \"reasoning\", never = [\"m-big\"], strict = true",
            "/v1/messages",
            &messages,
            "m-big: the rule does not let it answer",
        ),
    ] {
        let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
        let flyball = Flyball::start_in(ruled(route), &lacking(&upstream, "tool_use", 1)).await;
        let got = post(flyball.at(), path, &[], body).await;
        let body = got.body.replace("\\\"", "'");
        let says =
            format!("The rule 'own' allows only models that cannot take this request: {why}.");
        assert_eq!((got.status, upstream.count()), (400, 0), "{route} {body}");
        assert!(body.contains(&says), "{route} {body}");
    }
}

#[tokio::test]
async fn bounds_that_leave_nobody_bind_nobody_unless_they_are_strict() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let route = "least = \"small\", most = \"small\"";
    let flyball = Flyball::start_in(ruled(route), &lacking(&upstream, "tool_use", 1)).await;
    let got = flyball.chat(&[], &asking(&demands()[0].0)).await;
    assert_eq!(told(&got), (200, Some("m-big"), None), "{}", got.body);
}

#[tokio::test]
async fn a_model_of_unknown_price_is_not_chosen_for_its_price() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let priceless = compatible(&upstream)
        .replacen("input_usd_per_mtok = 1\n", "", 1)
        .replacen("output_usd_per_mtok = 10\n", "", 1);
    let flyball = Flyball::start(&priceless).await;
    let got = flyball.chat(&[], &ask("auto", CAPITAL)).await;
    assert_eq!(told(&got), (200, Some("m-big"), None));
    // A rule that names it has it.
    let flyball = Flyball::start_in(ruled("arm = \"m-small\""), &priceless).await;
    let got = flyball.chat(&[], &ask("auto", CAPITAL)).await;
    assert_eq!(told(&got), (200, Some("m-small"), None));
}
