//! Conversations that run away are stopped, where the operator wants that.

use super::body;
use crate::flyball::{Flyball, compatible, overrides};
use crate::scripted::{Upstream, answer, chat};
use flyball::classify::runaway::{Guard, Runaway, runs_away};
use flyball::dialect;
use flyball::json::Object;
use serde_json::{Value, json};

fn step(n: usize, path: &str, result: &str) -> [Value; 2] {
    let id = format!("call_{n}");
    let function = json!({"name": "read", "arguments": json!({"path": path}).to_string()});
    [
        json!({"role": "assistant", "tool_calls": [{"id": id, "type": "function", "function": function}]}),
        json!({"role": "tool", "tool_call_id": id, "content": result}),
    ]
}

fn conversation(steps: impl IntoIterator<Item = [Value; 2]>) -> String {
    let first = [json!({"role": "user", "content": "Summarise the files."})];
    let turns: Vec<Value> = first
        .into_iter()
        .chain(steps.into_iter().flatten())
        .collect();
    json!({"model": "m-small", "max_tokens": 100, "messages": turns}).to_string()
}

#[tokio::test]
async fn a_tool_that_is_called_again_and_again_with_the_same_arguments_is_stopped_in_one_request() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let toml = format!("[guard]\nrepeats = 4\n{}", compatible(&upstream));
    let flyball = Flyball::start(&toml).await;
    let same = |times: usize| conversation((0..times).map(|n| step(n, "a", "fine")));
    assert_eq!(flyball.chat(&[], &same(3)).await.status, 200);
    let other = conversation((0..9).map(|n| step(n, &format!("file-{n}"), "fine")));
    assert_eq!(flyball.chat(&[], &other).await.status, 200);
    let stopped = flyball.chat(&[], &same(4)).await;
    assert_eq!(
        (
            stopped.status,
            stopped.header("x-should-retry"),
            stopped.json()["error"]["code"].clone()
        ),
        (403, Some("false"), json!("flyball_guard")),
        "{}",
        stopped.body
    );
    assert!(
        stopped
            .body
            .contains("\\\"read\\\" was called 4 times with the same arguments"),
        "{}",
        stopped.body
    );
    // With other calls in between it is the same loop; the user's word ends it.
    let between = (0..8).map(|n| step(n, if n % 2 == 0 { "b" } else { "a" }, "fine"));
    assert_eq!(flyball.chat(&[], &conversation(between)).await.status, 403);
    let mut spoken: Value = serde_json::from_str(&same(4)).expect("JSON");
    let said = json!({"role": "user", "content": "Go on with the others."});
    spoken["messages"].as_array_mut().expect("turns").push(said);
    assert_eq!(flyball.chat(&[], &spoken.to_string()).await.status, 200);
    assert_eq!(upstream.count(), 3);
    let metrics = flyball.metrics().await;
    let told = "flyball_guard_stops_total{reason=\"repeats\"} 2";
    assert!(metrics.contains(told), "{told}");
}

#[tokio::test]
async fn a_tool_that_fails_again_and_again_in_the_same_way_is_stopped_and_nothing_is_by_default() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let failing = |times: usize| {
        let failed = |n: usize| format!("12:0{n}:07 error: no such file (line {n})");
        conversation((0..times).map(|n| step(n, &format!("file-{n}"), &failed(n))))
    };
    let toml = format!("[guard]\nfailures = 3\n{}", compatible(&upstream));
    let flyball = Flyball::start(&toml).await;
    assert_eq!(flyball.chat(&[], &failing(2)).await.status, 200);
    let stopped = flyball.chat(&[], &failing(3)).await;
    assert!(
        stopped.status == 403 && stopped.body.contains("failed 3 times in the same way"),
        "{}",
        stopped.body
    );
    let metrics = flyball.metrics().await;
    let told = "flyball_guard_stops_total{reason=\"failures\"} 1";
    assert!(metrics.contains(told), "{told}");
    let flyball = Flyball::start(&compatible(&upstream)).await;
    assert_eq!(flyball.chat(&[], &failing(9)).await.status, 200);
    assert_eq!(
        flyball.chat(&[], &body(400, Some(9), false)).await.status,
        200
    );
}

#[test]
fn the_same_call_again_and_again_is_found_in_every_dialect() {
    let chat = step(0, "a", "ok").map(|turn| turn.to_string()).join(",");
    let messages = r#"{"role":"assistant","content":[{"type":"tool_use","id":"call_0","name":"read","input":{"path":"a"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_0","content":"ok"}]}"#;
    let responses = r#"{"type":"function_call","call_id":"call_0","name":"read","arguments":"{}"},{"type":"function_call_output","call_id":"call_0","output":"ok"}"#;
    let gemini = r#"{"role":"model","parts":[{"functionCall":{"name":"read","args":{"path":"a"}}}]},{"role":"user","parts":[{"functionResponse":{"name":"read","response":{"result":"ok"}}}]}"#;
    let ollama = r#"{"role":"assistant","content":"","tool_calls":[{"function":{"name":"read","arguments":{"path":"a"}}}]},{"role":"tool","content":"ok"}"#;
    let (plain, parts) = (
        r#"{"role":"user","content":"go"}"#,
        r#"{"role":"user","parts":[{"text":"go"}]}"#,
    );
    for (paths, field, head, user, step) in [
        (
            "/v1/chat/completions",
            "messages",
            r#""model":"m""#,
            plain,
            chat.as_str(),
        ),
        (
            "/v1/messages",
            "messages",
            r#""model":"m","max_tokens":9"#,
            plain,
            messages,
        ),
        ("/v1/responses", "input", r#""model":"m""#, plain, responses),
        (
            "/v1beta/models/m:generateContent",
            "contents",
            r#""x":1"#,
            parts,
            gemini,
        ),
        ("/api/chat", "messages", r#""model":"m""#, plain, ollama),
    ] {
        let mut all = dialect::ALL.iter().copied();
        let placed = all.find_map(|d| Some((d, d.place(paths, None)?)));
        let (dialect, place) = placed.unwrap_or_else(|| panic!("{paths} is of nobody"));
        let found = |turns: Vec<String>| {
            let body = format!("{{{head},\"{field}\":[{}]}}", turns.join(","));
            let request = dialect.decode_at(body.as_bytes(), &place);
            let request = request.unwrap_or_else(|e| panic!("{paths}: {}", e.public));
            let object = Object::read(body.as_bytes()).expect("an object");
            let guard = Guard {
                repeats: Some(4),
                ..Guard::default()
            };
            runs_away(guard, &request.prompt, object.some(dialect.turns_field()))
        };
        let steps = |from: usize, to: usize| -> Vec<String> {
            let own = |n: usize| step.replace("call_0", &format!("call_{n}"));
            (from..to).map(own).collect()
        };
        let said = || vec![user.to_owned()];
        assert_eq!(found([said(), steps(0, 3)].concat()), None, "{paths}");
        let expected = Runaway::Repeats {
            tool: "read".into(),
            times: 4,
        };
        assert_eq!(
            found([said(), steps(0, 4)].concat()),
            Some(expected),
            "{paths}"
        );
        let spoken = [said(), steps(0, 3), said(), steps(3, 4)].concat();
        assert_eq!(found(spoken), None, "{paths}");
    }
}

#[tokio::test]
async fn a_wrong_guard_is_told_with_its_line() {
    for (toml, told) in [
        (
            "[guard]\nrepeats = 2\n",
            "flyball.toml:2: [guard]: repeats (2) is not from 3 to 10000",
        ),
        ("[guard]\nfailure = 9\n", "did you mean \"failures\"?"),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let overrides = overrides(&dir);
        std::fs::write(dir.path().join("flyball.toml"), toml).expect("a file");
        let Err(complaints) = flyball::config::load(&overrides) else {
            panic!("{toml} is taken");
        };
        let all: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        assert!(all.join("\n").contains(told), "{toml}: {all:?}");
    }
}
