//! A full cap of a tier, a provider or a model keeps the arms out that it counts, and not the request.

use super::{KEY, capped};
use crate::client::{Answer, post};
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Upstream, answer, chat};
use serde_json::json;

const PUZZLE: &str = "How many ways are there to seat eight people around a round table so that no two of three sworn enemies are neighbours? Show your steps.";

fn puzzle() -> String {
    json!({"model": "auto", "max_tokens": 3000, "messages": [{"role": "user", "content": PUZZLE}]})
        .to_string()
}

fn told(got: &Answer) -> (u16, Option<&str>, Option<&str>) {
    let (model, barred) = ("x-flyball-model", "x-flyball-barred");
    (got.status, got.header(model), got.header(barred))
}

/// One request a day of this kind.
fn once(scope: &str) -> String {
    format!("\n[[cap]]\n{scope}\nrequests = 1\nwindow = \"day\"\n")
}

async fn started(route: &str, caps: &str) -> (Upstream, Flyball) {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    if !route.is_empty() {
        std::fs::create_dir(dir.path().join("rules")).expect("a folder");
        let rule = format!("[[rule]]\nname = \"own\"\nwhy = \"A test.\"\nroute = {{ {route} }}\n");
        std::fs::write(dir.path().join("rules/own.toml"), rule).expect("a file");
    }
    let models = compatible(&upstream);
    let dear = models.replacen("name = \"up\"", "name = \"dear\"", 1);
    let (provider, _) = dear.split_once("[[model]]").expect("models");
    let (small, big) = models.rsplit_once("provider = \"up\"").expect("two models");
    let toml = format!("retries = 0\n{small}provider = \"dear\"{big}\n{provider}{caps}");
    (upstream, Flyball::start_in(dir, &toml).await)
}

#[tokio::test]
async fn where_a_cap_of_its_own_bars_the_best_arm_the_next_best_with_room_answers_and_says_so() {
    for scope in [
        "tier = \"reasoning\"",
        "model = \"m-b*\"",
        "provider = \"dear\"",
    ] {
        let (upstream, flyball) = started("", &once(scope)).await;
        let got = flyball.chat(&[], &puzzle()).await;
        assert_eq!(told(&got), (200, Some("m-big"), None), "{scope}");
        let got = flyball.chat(&[], &puzzle().replace("eight", "nine")).await;
        assert_eq!(
            told(&got),
            (200, Some("m-small"), Some("m-big: cap")),
            "{scope} {}",
            got.body
        );
        // Clients of other dialects as well.
        let got = post(flyball.at(), "/v1/messages", &[], &puzzle()).await;
        assert_eq!(
            told(&got),
            (200, Some("m-small"), Some("m-big: cap")),
            "{scope} {}",
            got.body
        );
        assert_eq!(upstream.count(), 3);
        assert_eq!(
            flyball.rows().await.len(),
            3,
            "what was barred is in no book"
        );
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn a_strict_rule_is_refused_where_the_cap_of_its_tier_is_full() {
    for route in [
        "tier = \"reasoning\", strict = true",
        "arm = \"m-big\", strict = true",
        "least = \"reasoning\", strict = true",
    ] {
        let (upstream, flyball) = started(route, &once("tier = \"reasoning\"")).await;
        assert_eq!(flyball.chat(&[], &puzzle()).await.status, 200);
        let got = flyball.chat(&[], &puzzle()).await;
        assert_eq!(
            (got.status, upstream.count()),
            (402, 1),
            "{route} {}",
            got.body
        );
    }
}

#[tokio::test]
async fn a_rule_that_is_not_strict_gives_way() {
    for route in ["tier = \"reasoning\"", "arm = \"m-big\""] {
        let (_upstream, flyball) = started(route, &once("tier = \"reasoning\"")).await;
        assert_eq!(flyball.chat(&[], &puzzle()).await.status, 200);
        let got = flyball.chat(&[], &puzzle()).await;
        assert_eq!(
            told(&got),
            (200, Some("m-small"), Some("m-big: cap")),
            "{route}"
        );
    }
}

#[tokio::test]
async fn a_cap_of_the_whole_refuses_whatever_arm_there_is() {
    for scope in ["", "each = \"key\""] {
        let (upstream, flyball) = started("", &once(scope)).await;
        assert_eq!(flyball.chat(&[], &puzzle()).await.status, 200);
        let got = flyball.chat(&[], &puzzle()).await;
        assert_eq!((got.status, upstream.count()), (402, 1), "{scope}");
    }
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = capped(&upstream, "0.000001", "").await;
    assert_eq!(flyball.chat(&[KEY], &puzzle()).await.status, 402);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn where_no_arm_has_room_the_refusal_is_that_of_the_best() {
    let caps = format!(
        "{}{}",
        once("tier = \"reasoning\""),
        once("model = \"m-small\"")
    );
    let (upstream, flyball) = started("", &caps).await;
    for status in [200, 200, 402] {
        assert_eq!(flyball.chat(&[], &puzzle()).await.status, status);
    }
    let got = flyball.chat(&[], &puzzle()).await;
    assert!(got.body.contains("reasoning"), "{}", got.body);
    assert_eq!(upstream.count(), 2);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_turn_whose_arm_has_no_room_any_more_goes_on_with_the_next_best() {
    let (_upstream, flyball) = started("", &once("tier = \"reasoning\"")).await;
    let mut body: serde_json::Value = serde_json::from_str(&puzzle()).expect("JSON");
    body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    let got = flyball.chat(&[], &body.to_string()).await;
    assert_eq!(told(&got), (200, Some("m-big"), None));
    let step = [
        json!({"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}),
        json!({"role": "tool", "tool_call_id": "c", "content": "8"}),
    ];
    body["messages"]
        .as_array_mut()
        .expect("a list")
        .extend(step);
    let got = flyball.chat(&[], &body.to_string()).await;
    assert_eq!(
        told(&got),
        (200, Some("m-small"), Some("m-big: cap")),
        "{}",
        got.body
    );
    // From there on the turn is that arm's.
    let got = flyball.chat(&[], &body.to_string()).await;
    assert_eq!(told(&got), (200, Some("m-small"), None), "{}", got.body);
}

#[tokio::test]
async fn an_arm_that_stands_in_and_fails_ends_it() {
    let (upstream, flyball) = started("", &once("tier = \"reasoning\"")).await;
    assert_eq!(flyball.chat(&[], &puzzle()).await.status, 200);
    upstream.only(answer(503, r#"{"error":{"message":"busy"}}"#));
    let got = flyball.chat(&[], &puzzle()).await;
    assert_eq!((got.status, upstream.count()), (402, 2), "{}", got.body);
    flyball.books_are_right().await;
}
