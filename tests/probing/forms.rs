//! An answer that was to have a form has it or not, in whatever words a client asks for one.

use super::{config, folder, likely, models, started, token};
use crate::client::{Answer, post};
use crate::flyball::Flyball;
use crate::scripted::{Step, Upstream, answer, chat, end, finish, piece, stream_head};
use serde_json::{Value, json};

const QUESTION: &str = "Which river flows through the capital of Moldova? Reply in JSON.";

/// The paths of every dialect that a client can speak, with the least body that asks this.
fn dialects() -> Vec<(&'static str, Value)> {
    let turn = json!([{"role": "user", "content": QUESTION}]);
    vec![
        (
            "/v1/chat/completions",
            json!({"model": "auto", "messages": turn}),
        ),
        ("/v1/responses", json!({"model": "auto", "input": turn})),
        (
            "/v1/messages",
            json!({"model": "auto", "max_tokens": 3000, "messages": turn}),
        ),
        (
            "/v1beta/models/auto:generateContent",
            json!({"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}),
        ),
        (
            "/api/chat",
            json!({"model": "auto", "stream": false, "messages": turn}),
        ),
        (
            "/api/generate",
            json!({"model": "auto", "stream": false, "prompt": QUESTION}),
        ),
        ("/v2/chat", json!({"model": "auto", "messages": turn})),
    ]
}

fn with(mut body: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().expect("fields") {
        body[key] = value.clone();
    }
    body
}

/// Every way in which a client can demand an answer by a schema.
fn demanded(schema: &Value) -> Vec<(&'static str, Value)> {
    let format = json!({"type": "json_schema", "schema": schema});
    let named = json!({"type": "json_schema", "name": "river", "schema": schema, "strict": true});
    let chat = json!({"type": "json_schema", "json_schema": {"name": "river", "schema": schema}});
    let ways = [
        ("/v1/chat/completions", json!({"response_format": chat})),
        ("/v1/responses", json!({"text": {"format": named}})),
        ("/v1/messages", json!({"output_format": format})),
        ("/v1/messages", json!({"output_config": {"format": format}})),
        (
            "/v1beta/models/auto:generateContent",
            json!({"generationConfig": {"responseMimeType": "application/json", "responseSchema": schema}}),
        ),
        (
            "/v1beta/models/auto:generateContent",
            json!({"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": schema}}),
        ),
        ("/api/chat", json!({"format": schema})),
        ("/api/generate", json!({"format": schema})),
        (
            "/v2/chat",
            json!({"response_format": {"type": "json_object", "json_schema": schema}}),
        ),
    ];
    ways.map(|(path, fields)| (path, with(body_at(path), &fields)))
        .to_vec()
}

fn body_at(path: &str) -> Value {
    let mut all = dialects().into_iter();
    all.find(|(own, _)| *own == path).expect("a known path").1
}

/// Every way in which a client can offer a tool with such arguments.
fn offered(schema: &Value) -> Vec<(&'static str, Value)> {
    let function = json!({"name": "river_of", "description": "Finds one.", "parameters": schema});
    let chat = json!([{"type": "function", "function": function}]);
    let flat =
        json!([{"type": "function", "name": "river_of", "parameters": schema, "strict": false}]);
    let ways = [
        ("/v1/chat/completions", json!({"tools": chat})),
        ("/v1/chat/completions", json!({"functions": [function]})),
        ("/v1/responses", json!({"tools": flat})),
        (
            "/v1/messages",
            json!({"tools": [{"name": "river_of", "input_schema": schema}]}),
        ),
        (
            "/v1beta/models/auto:generateContent",
            json!({"tools": [{"functionDeclarations": [function]}]}),
        ),
        ("/api/chat", json!({"tools": chat})),
        ("/v2/chat", json!({"tools": chat})),
    ];
    ways.map(|(path, fields)| (path, with(body_at(path), &fields)))
        .to_vec()
}

/// The same call with its answer streamed.
fn as_stream(path: &str, body: Value) -> (String, Value) {
    match path.contains("generateContent") {
        true => (
            path.replace(":generateContent", ":streamGenerateContent?alt=sse"),
            body,
        ),
        false => (path.to_owned(), with(body, &json!({"stream": true}))),
    }
}

/// An answer of the small model that calls the tool with these arguments.
fn called(arguments: &str) -> String {
    let mut body: Value = serde_json::from_str(&chat(40, 8)).expect("JSON");
    body["choices"][0]["message"] = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "river_of", "arguments": arguments}}]});
    body["choices"][0]["finish_reason"] = "tool_calls".into();
    body.to_string()
}

fn streamed_call(arguments: &str) -> Vec<Step> {
    let (first, rest) = arguments.split_at(arguments.len() / 2);
    let event = |delta: &Value, finish: &Value| {
        let chunk = json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        piece(&format!("data: {chunk}\n\n"))
    };
    let begun = json!({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "river_of", "arguments": first}}]});
    let more = json!({"tool_calls": [{"index": 0, "function": {"arguments": rest}}]});
    vec![
        stream_head(),
        event(&begun, &Value::Null),
        event(&more, &Value::Null),
        event(&json!({}), &json!("tool_calls")),
        piece("data: [DONE]\n\n"),
        end(),
    ]
}

fn streamed_words(words: &[&str]) -> Vec<Step> {
    let mut steps = vec![stream_head()];
    steps.extend(words.iter().map(|word| token(word, -0.001)));
    steps.extend(finish(40, 8).iter().map(|event| piece(event)));
    steps.push(end());
    steps
}

/// Asks with the small model answering so, and the other one well.
async fn asked(small: Vec<Step>, stream: bool, path: &str, body: &Value) -> (Answer, Vec<String>) {
    let better = match stream {
        true => streamed_words(&["{\"name\":", "\"Byk\"}"]),
        false => answer(200, &likely(&["{\"name\":", "\"Byk\"}"], -0.001)),
    };
    let (upstream, flyball) = started(small, better).await;
    let got = post(flyball.at(), path, &[], &body.to_string()).await;
    flyball.books_are_right().await;
    (got, models(&upstream))
}

#[tokio::test]
async fn an_answer_is_held_against_the_schema_that_was_demanded_in_every_dialect() {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}, "length": {"type": "integer"}}, "required": ["name"]});
    for (path, body) in demanded(&schema) {
        for (words, evidence) in [
            (["{\"name\":", "7}"], "off_schema"),
            (["{\"name\":", "\"Byk\"}"], "answer"),
            (["{\"name\":", "\"Byk\""], "not_json"),
        ] {
            for stream in [false, true] {
                let small = match stream {
                    true => streamed_words(&words),
                    false => answer(200, &likely(&words, -0.001)),
                };
                let (path, body) = match stream {
                    true => as_stream(path, body.clone()),
                    false => (path.to_owned(), body.clone()),
                };
                let (got, models) = asked(small, stream, &path, &body).await;
                let told = format!("{path} {body}: {} {}", got.head, got.body);
                let found = got.header("x-flyball-evidence").unwrap_or_default();
                assert!(found.starts_with(evidence), "{told}");
                let probe = if evidence == "answer" {
                    "stands"
                } else {
                    "escalated"
                };
                assert_eq!(got.header("x-flyball-probe"), Some(probe), "{told}");
                assert_eq!(
                    models.len(),
                    if probe == "stands" { 1 } else { 2 },
                    "{told}"
                );
                assert!(got.body.contains("Byk"), "{told}");
            }
        }
    }
}

#[tokio::test]
async fn arguments_are_held_against_the_schema_of_their_tool_in_every_dialect() {
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    for (path, body) in offered(&schema) {
        for (arguments, probe) in [
            ("{\"city\": 7}", "escalated"),
            ("{\"town\": \"x\"}", "escalated"),
            ("", "escalated"),
            ("{\"city\": \"Chișinău\"}", "stands"),
        ] {
            for stream in [false, true] {
                let old = body.get("functions").is_some();
                let small = match stream {
                    true => streamed_call(arguments),
                    false => answer(200, &called(arguments)),
                };
                let (path, body) = match stream {
                    true => as_stream(path, body.clone()),
                    false => (path.to_owned(), body.clone()),
                };
                let (got, models) = asked(small, stream, &path, &body).await;
                let told = format!("{path} {body} {arguments}: {} {}", got.head, got.body);
                assert_eq!(got.header("x-flyball-probe"), Some(probe), "{old} {told}");
                assert_eq!(
                    models.len(),
                    if probe == "stands" { 1 } else { 2 },
                    "{told}"
                );
                if probe == "escalated" {
                    assert_eq!(
                        got.header("x-flyball-evidence"),
                        Some("bad_arguments"),
                        "{told}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_schema_that_is_not_understood_is_no_fault_of_the_answer() {
    for schema in [
        json!({"$ref": "https://example.org/river.json"}),
        json!({"$ref": "#/$defs/nowhere"}),
        json!({"type": "river", "minProperties": "many"}),
        json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"not": {"type": "object"}}),
    ] {
        let body = demanded(&schema).swap_remove(0).1;
        let small = answer(200, &likely(&["{\"name\":", "7}"], -0.001));
        let (got, models) = asked(small, false, "/v1/chat/completions", &body).await;
        assert_eq!(
            got.header("x-flyball-probe"),
            Some("stands"),
            "{schema}: {}",
            got.body
        );
        assert_eq!(models, ["m-small"]);
    }
}

#[tokio::test]
async fn arguments_that_are_longer_than_what_is_kept_are_not_judged() {
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let body = offered(&schema).swap_remove(0).1;
    let long = json!({"city": "x".repeat(80_000)}).to_string();
    for stream in [false, true] {
        let (small, body) = match stream {
            true => (streamed_call(&long), as_stream("", body.clone()).1),
            false => (answer(200, &called(&long)), body.clone()),
        };
        let (got, _) = asked(small, stream, "/v1/chat/completions", &body).await;
        assert_eq!(
            got.header("x-flyball-probe"),
            Some("stands"),
            "streamed: {stream}"
        );
    }
}

#[tokio::test]
async fn a_tool_that_takes_words_alone_may_be_called_with_any() {
    let body = with(
        body_at("/v1/responses"),
        &json!({"tools": [{"type": "custom", "name": "river_of", "description": "Finds one."}]}),
    );
    for arguments in ["{\"input\": \"Chișinău\"}", "Chișinău, please"] {
        let (got, _) = asked(
            answer(200, &called(arguments)),
            false,
            "/v1/responses",
            &body,
        )
        .await;
        assert_eq!(
            got.header("x-flyball-probe"),
            Some("stands"),
            "{}",
            got.body
        );
        assert!(got.body.contains("Chișinău"), "{}", got.body);
    }
}

#[tokio::test]
async fn a_tool_that_has_another_name_for_the_model_is_known_by_that() {
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let mut body = offered(&schema).swap_remove(2).1;
    body["tools"] = json!([{"type": "namespace", "name": "maps", "description": "Maps.", "tools": body["tools"]}]);
    for (arguments, probe) in [
        ("{\"city\": 7}", "escalated"),
        ("{\"city\": \"x\"}", "stands"),
    ] {
        let small = called(arguments).replace("river_of", "maps__river_of");
        let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
        upstream.next(answer(200, &small));
        let flyball = Flyball::start_in(folder(), &config(&upstream)).await;
        let got = post(flyball.at(), "/v1/responses", &[], &body.to_string()).await;
        assert_eq!(got.header("x-flyball-probe"), Some(probe), "{}", got.body);
    }
}

#[tokio::test]
async fn an_answer_that_is_only_a_servers_error_is_none() {
    for words in [
        ["Error: upstream", " timed out"],
        ["Internal server", " error"],
        [
            "<html><head><title>502 Bad",
            " Gateway</title></head></html>",
        ],
        ["{\"error\":", " \"overloaded\"}"],
    ] {
        for (path, body) in dialects() {
            for stream in [false, true] {
                let small = match stream {
                    true => streamed_words(&words),
                    false => answer(200, &likely(&words, -0.001)),
                };
                let (path, body) = match stream {
                    true => as_stream(path, body.clone()),
                    false => (path.to_owned(), body.clone()),
                };
                // The word JSON would make it an answer to what was asked.
                let body: Value =
                    serde_json::from_str(&body.to_string().replace(" Reply in JSON.", ""))
                        .expect("JSON");
                let (got, models) = asked(small, stream, &path, &body).await;
                let told = format!("{path} {words:?}: {} {}", got.head, got.body);
                assert_eq!(
                    got.header("x-flyball-evidence"),
                    Some("error_text"),
                    "{told}"
                );
                assert_eq!(models, ["m-small", "m-big"], "{told}");
                assert!(got.body.contains("Byk"), "{told}");
            }
        }
    }
}

#[tokio::test]
async fn an_error_that_was_asked_for_is_an_answer() {
    for (system, ask, words) in [
        (
            "",
            "What does 'Error: ENOENT' mean?",
            ["Error: ENOENT means", " that there is no such file."],
        ),
        (
            "",
            "What does nginx say when nobody answers it?",
            ["502 Bad", " Gateway"],
        ),
        (
            "",
            "Which status does a crashed server have?",
            ["Internal server", " error"],
        ),
        (
            "Reply in JSON, with a key error where you do not know.",
            "Which river?",
            ["{\"error\":", " \"no city\"}"],
        ),
        (
            "You are a Linux terminal.",
            "ollama run gemma",
            ["Error: connection", " refused"],
        ),
        (
            "Say 'Error: upstream timed out' where you do not know.",
            "Which river?",
            ["Error: upstream", " timed out"],
        ),
        (
            "",
            "Which word is missing: service ...?",
            ["Service", " unavailable means closed."],
        ),
        ("", "Which river?", ["The answer is", " {\"error\": 1}"]),
    ] {
        let messages =
            json!([{"role": "system", "content": system}, {"role": "user", "content": ask}]);
        let body = json!({"model": "auto", "messages": messages});
        let small = answer(200, &likely(&words, -0.001));
        let (got, models) = asked(small, false, "/v1/chat/completions", &body).await;
        assert_eq!(
            got.header("x-flyball-probe"),
            Some("stands"),
            "{ask} {words:?}: {}",
            got.body
        );
        assert_eq!(models, ["m-small"]);
    }
    let schema = json!({"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]});
    for (path, body) in demanded(&schema) {
        let small = answer(200, &likely(&["{\"error\":", " \"none\"}"], -0.001));
        let (got, _) = asked(small, false, path, &body).await;
        assert_eq!(
            got.header("x-flyball-probe"),
            Some("stands"),
            "{path} {body}: {}",
            got.body
        );
    }
}
