//! What a capped key is never given: an answer without a limit, and a model at another one's price.

use crate::client::post;
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Upstream, answer, chat};
use serde_json::{Value, json};

const KEY: (&str, &str) = ("authorization", "Bearer fb_app");

#[tokio::test]
async fn a_limit_is_sent_whatever_the_operator_says_of_the_models_longest_answer() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", Some("5"), |_| {});
    make_key(&dir, "free", None, |_| {});
    // Its `answer_tokens_max` of 4,000 is below what flyball would ask for, and nobody knows where the provider itself stops.
    let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
    let turns = json!([{"role": "user", "content": "hi"}]);
    let parts = json!([{"role": "user", "parts": [{"text": "hi"}]}]);
    for stream in [false, true] {
        for (path, body) in [
            (
                "/v1/chat/completions",
                json!({"model": "m-small", "messages": turns, "stream": stream}),
            ),
            (
                "/v1/responses",
                json!({"model": "m-small", "input": "hi", "stream": stream}),
            ),
            (
                "/api/chat",
                json!({"model": "m-small", "messages": turns, "stream": stream}),
            ),
            (
                match stream {
                    true => "/v1beta/models/m-small:streamGenerateContent",
                    false => "/v1beta/models/m-small:generateContent",
                },
                json!({"contents": parts}),
            ),
        ] {
            let before = upstream.count();
            let got = post(flyball.at(), path, &[KEY], &body.to_string()).await;
            assert_eq!(got.status, 200, "{path}: {}", got.body);
            assert_eq!(got.header("x-flyball-limit-tokens"), Some("4000"), "{path}");
            let sent: Value = serde_json::from_str(&upstream.seen()[before].body).expect("JSON");
            let limit = sent.get("max_tokens").or(sent.get("max_completion_tokens"));
            assert_eq!(limit, Some(&json!(4000)), "{path}: {sent}");
        }
    }
    // The client's own lower limit, and an uncapped key, are left as they are.
    for (key, limit) in [("Bearer fb_app", Some(77)), ("Bearer fb_free", None)] {
        let mut body = json!({"model": "m-small", "messages": turns});
        if let Some(limit) = limit {
            body["max_tokens"] = json!(limit);
        }
        let before = upstream.count();
        let key = ("authorization", key);
        let got = flyball.chat(&[key], &body.to_string()).await;
        assert_eq!(
            (got.status, got.header("x-flyball-limit-tokens")),
            (200, None)
        );
        assert_eq!(upstream.seen()[before].body, body.to_string());
    }
}

/// Two accounts at one vendor; the second lists `kit` at the operator's own price, and a model of the vendor's.
async fn two_accounts(a: &Upstream, b: &Upstream) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "sk-test").expect("a file");
    make_key(&dir, "app", Some("5"), |_| {});
    make_key(&dir, "free", None, |_| {});
    let provider = |name: &str, upstream: &Upstream| {
        let key = dir.path().join("key");
        format!(
            "[[provider]]\nname = \"{name}\"\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:{}\"\n",
            upstream.url(),
            key.display()
        )
    };
    let model = |name: &str, provider: &str| {
        format!(
            "[[model]]\nname = \"{name}\"\nprovider = \"{provider}\"\ntier = \"standard\"\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 1\n"
        )
    };
    let toml = [
        provider("a", a),
        provider("b", b),
        model("other", "a"),
        model("kit", "b"),
        model("o3", "b"),
    ];
    Flyball::start_in(dir, &toml.concat()).await
}

#[tokio::test]
async fn a_dated_name_has_its_own_price_or_none_and_goes_to_who_lists_its_undated_one() {
    let (a, b) = (
        Upstream::start(answer(200, &chat(10, 5))).await,
        Upstream::start(answer(200, &chat(10, 5))).await,
    );
    let flyball = two_accounts(&a, &b).await;
    for (model, capped, code) in [
        ("kit", 200, None),
        // Nobody knows what the next one will cost.
        ("kit-2031-01-01", 400, Some("flyball_no_price")),
        ("kit-20310101", 400, Some("flyball_no_price")),
        ("o3-2031-01-01", 400, Some("flyball_no_price")),
        // The catalogue has this one.
        ("o3-2025-04-16", 200, None),
        ("kit-latest", 404, Some("model_not_found")),
    ] {
        for stream in [false, true] {
            let turns = json!([{"role": "user", "content": "hi"}]);
            let ask =
                json!({"model": model, "stream": stream, "max_tokens": 50, "messages": turns});
            for path in ["/v1/chat/completions", "/v1/messages"] {
                let got = post(flyball.at(), path, &[KEY], &ask.to_string()).await;
                assert_eq!(got.status, capped, "{path} {model}: {}", got.body);
                if let (Some(code), "/v1/chat/completions") = (code, path) {
                    assert_eq!(got.json()["error"]["code"], code, "{model}");
                }
                // Without a cap there is nothing to guard, and the name goes where its family is.
                let free = ("authorization", "Bearer fb_free");
                let got = post(flyball.at(), path, &[free], &ask.to_string()).await;
                let to = got.header("x-flyball-provider");
                assert_eq!(
                    to,
                    (capped != 404).then_some("b"),
                    "{path} {model}: {}",
                    got.body
                );
            }
        }
    }
    assert_eq!(a.count(), 0);
}

#[tokio::test]
async fn a_name_that_two_accounts_may_have_is_not_sent_to_the_first_of_them() {
    let (a, b) = (
        Upstream::start(answer(200, &chat(10, 5))).await,
        Upstream::start(answer(200, &chat(10, 5))).await,
    );
    let flyball = two_accounts(&a, &b).await;
    let turns = json!([{"role": "user", "content": "hi"}]);
    for key in [KEY, ("authorization", "Bearer fb_free")] {
        let ask = json!({"model": "gpt-4.1", "max_tokens": 50, "messages": turns});
        for path in ["/v1/chat/completions", "/v1/messages"] {
            let got = post(flyball.at(), path, &[key], &ask.to_string()).await;
            let said = got.json()["error"]["message"].to_string();
            assert_eq!(got.status, 400, "{path}: {}", got.body);
            for part in ["\\\"a\\\" and \\\"b\\\"", "[[model]]", "/p/a/"] {
                assert!(said.contains(part), "{path}: {said}");
            }
        }
    }
    assert_eq!((a.count(), b.count()), (0, 0));
}
