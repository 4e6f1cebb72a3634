//! What a refusal says of a channel, and what only of the request: who is left alone for it, and who is not.

use super::{
    MODEL, asked, conversation, credentials, deployment, folder, health, key_of, refusal, write_key,
};
use crate::client::{get, post};
use crate::flyball::Flyball;
use crate::scripted::{Step, Upstream, answer, chat};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn openai(url: &str) -> String {
    credentials(url, &NAMES, "").replace("\"openai-compatible\"", "\"openai\"")
}

#[tokio::test]
async fn a_model_that_one_deployment_lacks_is_answered_by_the_other_for_every_conversation() {
    let (lacks, has) = (
        Upstream::start(refusal(404, "")).await,
        Upstream::start(answer(200, &chat(10, 5))).await,
    );
    let toml = format!(
        "[[provider]]\nname = \"up\"\nkind = \"openai-compatible\"\n{}{}{MODEL}",
        deployment("east", &lacks.url(), "api_key = \"file:a.key\"\n"),
        deployment("west", &has.url(), "api_key = \"file:b.key\"\n"),
    );
    let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
    for n in 0..40 {
        let got = asked(&flyball, n, 1).await;
        assert_eq!(got.header("x-flyball-channel"), Some("west"), "{n}");
    }
    assert_eq!((lacks.count(), has.count()), (1, 40), "it is remembered");
    let down = health(&flyball).await["down"][0].clone();
    assert_eq!(
        (&down["deployment"], &down["model"], &down["how"]),
        (&json!("east"), &json!("m"), &json!("forbidden"))
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_request_that_every_channel_refuses_keeps_nobody_else_from_any_of_them() {
    for status in [403, 404] {
        let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
        let toml = credentials(&upstream.url(), &NAMES, "");
        let flyball = Flyball::start_in(folder(&NAMES), &toml).await;
        upstream.always(refusal(status, ""));
        let got = flyball.chat(&[], &conversation(0, 1)).await;
        assert_eq!((got.status, upstream.count()), (status, 3));
        let told = health(&flyball).await;
        assert_eq!(told["down"], json!([]), "{status}: {told}");
        upstream.always(answer(200, &chat(10, 5)));
        let mut keys = BTreeSet::new();
        for n in 1..20 {
            asked(&flyball, n, 1).await;
            keys.insert(key_of(&upstream, upstream.count() - 1));
        }
        assert_eq!(keys.len(), 3, "{status}");
    }
}

#[tokio::test]
async fn a_path_that_no_key_may_use_shuts_no_channel_for_completions() {
    let upstream = Upstream::start(refusal(401, "")).await;
    let flyball = Flyball::start_in(folder(&NAMES), &openai(&upstream.url())).await;
    let got = get(flyball.at(), "/p/up/v1/organization/users", &[]).await;
    assert_eq!((got.status, upstream.count()), (401, 3), "{}", got.body);
    let named = [("x-flyball-provider", "up")];
    let got = get(flyball.at(), "/v1/files", &named).await;
    assert_eq!((got.status, upstream.count()), (401, 6), "{}", got.body);
    let told = health(&flyball).await;
    assert_eq!(told["down"], json!([]), "{told}");
    let up = told["channels"].as_array().expect("channels").iter();
    assert!(up.map(|c| &c["up"]).all(|up| up == &json!(true)), "{told}");
}

#[tokio::test]
async fn a_request_too_dear_for_every_account_shuts_them_for_seconds_and_not_for_minutes() {
    let upstream = Upstream::start(refusal(402, "")).await;
    let flyball =
        Flyball::start_in(folder(&NAMES), &credentials(&upstream.url(), &NAMES, "")).await;
    let got = flyball.chat(&[], &conversation(0, 1)).await;
    assert_eq!((got.status, upstream.count()), (402, 3));
    let told = health(&flyball).await;
    for down in told["down"].as_array().expect("a list") {
        let for_ms = down["for_ms"].as_u64().expect("a time");
        assert!(for_ms <= 5_000, "{told}");
    }
}

#[tokio::test]
async fn what_is_said_to_an_old_key_is_not_held_against_its_successor() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let toml = credentials(&upstream.url(), &["a", "b"], "");
    let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
    let mut waits = vec![Step::Gate];
    waits.extend(refusal(401, ""));
    upstream.next(waits);
    let (at, body) = (flyball.at(), conversation(0, 1));
    let call = tokio::spawn(async move { post(at, "/v1/chat/completions", &[], &body).await });
    upstream.reached(1).await;
    let own = key_of(&upstream, 0);
    write_key(&flyball.dir, &own, &format!("sk-secret-{own}-anew"));
    flyball.running.reload().expect("a good file");
    upstream.open_gate();
    let got = call.await.expect("no panic");
    assert_eq!((got.status, upstream.count()), (200, 2), "{}", got.body);
    let told = health(&flyball).await;
    assert_eq!(told["down"], json!([]), "{told}");
    asked(&flyball, 0, 2).await;
    let last = upstream.count() - 1;
    assert_eq!(key_of(&upstream, last), format!("{own}-anew"));
}

fn response(n: usize, more: &Value) -> String {
    let mut body =
        json!({"model": "m", "input": format!("About town {n}."), "max_output_tokens": 50});
    for (name, value) in more.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body.to_string()
}

const SAID: &str = r#"{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"m","output":[{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"hi","annotations":[]}]}],"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":0},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":15}}"#;

#[tokio::test]
async fn a_request_that_names_what_an_account_keeps_goes_to_its_caller_s_account() {
    let upstream = Upstream::start(answer(200, SAID)).await;
    let flyball = Flyball::start_in(folder(&NAMES), &openai(&upstream.url())).await;
    let tool = json!({"type": "function", "name": "read", "parameters": {"type": "object", "properties": {"file_id": {"type": "string"}}}});
    for (more, accounts) in [
        (json!({"previous_response_id": "resp_0"}), 1),
        (
            json!({"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}),
            1,
        ),
        (
            json!({"metadata": {"note": "\"file_id\": \"x\""}, "tools": [tool]}),
            3,
        ),
    ] {
        let mut more = more;
        more["store"] = json!(false);
        let before = upstream.count();
        for n in 0..20 {
            let got = post(flyball.at(), "/v1/responses", &[], &response(n, &more)).await;
            assert_eq!(got.status, 200, "{}", got.body);
        }
        let calls = before..before + 20;
        let keys: BTreeSet<String> = calls.map(|call| key_of(&upstream, call)).collect();
        assert_eq!(keys.len(), accounts, "{more}: {keys:?}");
    }
}

#[tokio::test]
async fn what_an_account_keeps_is_asked_of_no_other_while_it_is_merely_busy() {
    let upstream = Upstream::start(answer(200, SAID)).await;
    let flyball = Flyball::start_in(folder(&NAMES), &openai(&upstream.url())).await;
    let body = response(0, &json!({"previous_response_id": "resp_0"}));
    upstream.next(refusal(429, "retry-after: 30\r\n"));
    let got = post(flyball.at(), "/v1/responses", &[], &body).await;
    assert_eq!((got.status, upstream.count()), (429, 1), "{}", got.body);
    assert_eq!(got.header("retry-after"), Some("30"));
    let got = post(flyball.at(), "/v1/responses", &[], &body).await;
    assert_eq!((got.status, upstream.count()), (200, 2), "{}", got.body);
    assert_eq!(key_of(&upstream, 0), key_of(&upstream, 1));
}

#[tokio::test]
async fn a_busy_account_is_what_the_client_hears_of_and_not_that_another_one_is_refused() {
    let upstream = Upstream::start(refusal(401, "")).await;
    upstream.next(refusal(429, "retry-after: 30\r\n"));
    let toml = credentials(&upstream.url(), &["a", "b"], "");
    let flyball = Flyball::start_in(folder(&["a", "b"]), &toml).await;
    let got = flyball.chat(&[], &conversation(0, 1)).await;
    assert_eq!((got.status, upstream.count()), (429, 2), "{}", got.body);
    assert_eq!(got.header("retry-after"), Some("30"));
}
