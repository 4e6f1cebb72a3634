//! What a vendor keeps belongs to an account: who made it is asked for it again.

use super::{credentials, folder, key_of};
use crate::client::{get, post};
use crate::flyball::Flyball;
use crate::scripted::{Upstream, answer, chat};
use serde_json::json;
use std::collections::BTreeSet;

const NOT_FOUND: &str =
    r#"{"error":{"message":"No such file object.","type":"invalid_request_error","code":null}}"#;

fn openai(url: &str) -> String {
    credentials(url, &["a", "b", "c"], "").replace("\"openai-compatible\"", "\"openai\"")
}

#[tokio::test]
async fn what_is_fetched_is_asked_of_each_account_until_one_has_it() {
    let upstream = Upstream::start(answer(404, NOT_FOUND)).await;
    upstream.next(answer(404, NOT_FOUND));
    upstream.next(answer(404, NOT_FOUND));
    upstream.next(answer(200, r#"{"id":"file-1","object":"file"}"#));
    let flyball = Flyball::start_in(folder(&["a", "b", "c"]), &openai(&upstream.url())).await;
    let named = [("x-flyball-provider", "up")];
    let got = get(flyball.at(), "/v1/files/file-1", &named).await;
    assert_eq!((got.status, upstream.count()), (200, 3), "{}", got.body);
    let keys: BTreeSet<String> = (0..3).map(|call| key_of(&upstream, call)).collect();
    assert_eq!(keys.len(), 3, "each account once");
    let got = get(flyball.at(), "/v1/files/file-2", &named).await;
    assert_eq!((got.status, upstream.count()), (404, 6), "nobody has it");
    assert_eq!(key_of(&upstream, 3), key_of(&upstream, 0), "the same order");
}

#[tokio::test]
async fn calls_that_are_passed_on_stay_on_one_account_and_leave_one_that_refuses_them() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start_in(folder(&["a", "b", "c"]), &openai(&upstream.url())).await;
    for n in 0..6 {
        let body = super::conversation(n, 1);
        let got = post(flyball.at(), "/p/up/v1/chat/completions", &[], &body).await;
        assert_eq!(got.status, 200, "{}", got.body);
        assert_eq!(key_of(&upstream, n), key_of(&upstream, 0));
    }
    upstream.next(super::refusal(401, ""));
    let body = super::conversation(7, 1);
    let got = post(flyball.at(), "/p/up/v1/chat/completions", &[], &body).await;
    assert_eq!((got.status, upstream.count()), (200, 8), "{}", got.body);
    assert_ne!(key_of(&upstream, 7), key_of(&upstream, 0));
}

#[tokio::test]
async fn answers_that_a_vendor_stores_are_made_on_one_account_and_others_are_spread() {
    let said = r#"{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"m","output":[{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"hi","annotations":[]}]}],"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":0},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":15}}"#;
    let upstream = Upstream::start(answer(200, said)).await;
    let flyball = Flyball::start_in(folder(&["a", "b", "c"]), &openai(&upstream.url())).await;
    for (stores, accounts) in [(true, 1), (false, 3)] {
        let before = upstream.count();
        for n in 0..20 {
            let body = json!({"model": "m", "input": format!("Tell me about town {n}."), "store": stores, "max_output_tokens": 50});
            let got = post(flyball.at(), "/v1/responses", &[], &body.to_string()).await;
            assert_eq!(got.status, 200, "{}", got.body);
        }
        let keys: BTreeSet<String> = (before..before + 20)
            .map(|call| key_of(&upstream, call))
            .collect();
        assert_eq!(keys.len(), accounts, "stored {stores}: {keys:?}");
    }
}

#[tokio::test]
async fn embeddings_go_to_another_account_where_one_is_busy() {
    let said = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1]}],"model":"embed-1","usage":{"prompt_tokens":3,"total_tokens":3}}"#;
    let upstream = Upstream::start(answer(200, said)).await;
    upstream.next(super::refusal(429, "retry-after: 20\r\n"));
    let model = "[[model]]\nname = \"embed-1\"\nprovider = \"up\"\nembeddings = true\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 1\n";
    let toml = format!("{}{model}", openai(&upstream.url()));
    let flyball = Flyball::start_in(folder(&["a", "b", "c"]), &toml).await;
    let body = r#"{"model":"embed-1","input":"hello"}"#;
    let got = post(flyball.at(), "/v1/embeddings", &[], body).await;
    assert_eq!((got.status, upstream.count()), (200, 2), "{}", got.body);
    assert_ne!(key_of(&upstream, 0), key_of(&upstream, 1));
    flyball.books_are_right().await;
}
