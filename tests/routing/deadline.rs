//! `x-flyball-deadline`: what can wait is asked for at the rates of the vendor's flex tier.

use super::ask;
use crate::client::post;
use crate::flyball::{Flyball, make_key};
use crate::scripted::{Step, Upstream, answer};
use serde_json::{Value, json};

const LATE: [(&str, &str); 1] = [("x-flyball-deadline", "10m")];
const KEY: (&str, &str) = ("authorization", "Bearer fb_app");

/// An answer of OpenAI's that says in which tier it was made, for 1,000 tokens and 100.
fn served(tier: &str) -> Vec<Step> {
    let body = json!({"id": "1", "object": "chat.completion", "model": "gpt-5.6-sol", "service_tier": tier,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}});
    answer(200, &body.to_string())
}

/// What OpenAI says where its flex tier has no room.
fn no_room() -> Vec<Step> {
    let error = json!({"error": {"message": "Resource unavailable.", "type": "resource_unavailable", "code": "resource_unavailable"}});
    answer(429, &error.to_string())
}

/// gpt-5.6-sol costs 4 and 20 dollars a million; its flex tier costs half.
async fn started(key: bool) -> (Upstream, Flyball) {
    let upstream = Upstream::start(served("flex")).await;
    let dir = tempfile::tempdir().expect("a folder");
    if key {
        make_key(&dir, "app", Some("10"), |_| {});
    }
    let toml = format!(
        "[[provider]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"{}\"\nlocal = false\n[[model]]\nname = \"gpt-5.6-sol\"\nprovider = \"up\"\ntier = \"reasoning\"\n",
        upstream.url()
    );
    (upstream, Flyball::start_in(dir, &toml).await)
}

fn sent(upstream: &Upstream, nth: usize) -> Value {
    serde_json::from_str(&upstream.seen()[nth].body).expect("JSON")
}

#[tokio::test]
async fn what_can_wait_goes_out_in_the_flex_tier_and_saves_half_of_what_it_would_have_cost_at_once()
{
    let (upstream, flyball) = started(false).await;
    let body = ask("gpt-5.6-sol", "Count the words.");
    let got = flyball.chat(&LATE, &body).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(sent(&upstream, 0)["service_tier"], "flex");
    assert_eq!(got.header("x-flyball-service-tier"), Some("flex"));
    // 1,000 × $2 + 100 × $10 a million, and twice that.
    assert_eq!(got.header("x-flyball-cost-usd"), Some("0.003"));
    assert_eq!(got.header("x-flyball-baseline-usd"), Some("0.006"));
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["service_tier"], "flex");
    assert_eq!(rows[0]["cause"], "batch");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn who_does_not_wait_or_names_a_tier_is_asked_as_it_says() {
    let (upstream, flyball) = started(false).await;
    let plain = ask("gpt-5.6-sol", "Count the words.");
    let named = plain.replacen('{', "{\"service_tier\":\"default\",", 1);
    for (headers, body, tier) in [
        (&[][..], &plain, Value::Null),
        (&[("x-flyball-deadline", "9m")][..], &plain, Value::Null),
        (&LATE[..], &named, json!("default")),
    ] {
        upstream.next(served("default"));
        let got = flyball.chat(headers, body).await;
        assert_eq!(got.status, 200, "{}", got.body);
        assert_eq!(got.header("x-flyball-service-tier"), None);
        let last = upstream.seen().len() - 1;
        assert_eq!(sent(&upstream, last)["service_tier"], tier);
    }
}

#[tokio::test]
async fn where_the_flex_tier_has_no_room_the_same_model_answers_at_once() {
    let (upstream, flyball) = started(true).await;
    let body = ask("gpt-5.6-sol", "Count the words.");
    for _ in 0..6 {
        upstream.next(no_room());
        upstream.next(served("default"));
        let headers = [KEY, LATE[0]];
        let got = flyball.chat(&headers, &body).await;
        assert_eq!(got.status, 200, "{}", got.body);
        assert_eq!(got.header("x-flyball-service-tier"), None);
        assert_eq!(got.header("x-flyball-cost-usd"), Some("0.006"));
    }
    let tiers: Vec<Value> = (0..12)
        .map(|nth| sent(&upstream, nth)["service_tier"].clone())
        .collect();
    let pair = vec![json!("flex"), Value::Null];
    assert_eq!(tiers, vec![pair; 6].concat());
    let rows = flyball.rows().await;
    let void = rows
        .iter()
        .filter(|row| row["outcome"] == "refused_upstream");
    assert_eq!((rows.len(), void.count()), (12, 6));
    let spent: Vec<&Value> = rows.iter().map(|row| &row["cost_pico_usd"]).collect();
    assert_eq!(spent.iter().filter(|cost| ***cost == json!(0)).count(), 6);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn under_a_cap_it_is_reserved_as_if_the_vendor_answered_at_once_and_posted_as_it_did() {
    let (_upstream, flyball) = started(true).await;
    let headers = [KEY, LATE[0]];
    let body = ask("gpt-5.6-sol", "Count the words.");
    let got = flyball.chat(&headers, &body).await;
    assert_eq!(got.status, 200, "{}", got.body);
    let rows = flyball.rows().await;
    assert_eq!(rows[0]["cost_pico_usd"], 3_000_000_000_i64);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn gemini_is_asked_for_it_in_its_own_dialect_alone() {
    let body = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "yes"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 1_000, "candidatesTokenCount": 100, "totalTokenCount": 1_100, "serviceTier": "flex"}});
    let upstream = Upstream::start(answer(200, &body.to_string())).await;
    let toml = format!(
        "[[provider]]\nname = \"up\"\nkind = \"gemini\"\nbase_url = \"{}\"\nlocal = false\n[[model]]\nname = \"g-own\"\nprovider = \"up\"\ntier = \"small\"\ninput_usd_per_mtok = 2\noutput_usd_per_mtok = 20\n[model.flex]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n",
        upstream.url()
    );
    let flyball = Flyball::start(&toml).await;
    let own = json!({"contents": [{"role": "user", "parts": [{"text": "Count the words."}]}]});
    let path = "/v1beta/models/g-own:generateContent";
    let got = post(flyball.at(), path, &LATE, &own.to_string()).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(sent(&upstream, 0)["serviceTier"], "flex");
    assert_eq!(got.header("x-flyball-cost-usd"), Some("0.002"));
    // Nobody says that its OpenAI-compatible endpoint takes it.
    flyball.chat(&LATE, &ask("g-own", "Count the words.")).await;
    let compatible = &upstream.seen()[1];
    assert!(
        compatible.head.contains("/v1beta/openai/"),
        "{}",
        compatible.head
    );
    assert!(!compatible.body.contains("flex"), "{}", compatible.body);
}

#[tokio::test]
async fn a_deadline_that_is_none_is_refused_before_anything_is_sent() {
    let (upstream, flyball) = started(false).await;
    for deadline in ["0s", "10", "soon", "25h", "-1m", ""] {
        let headers = [("x-flyball-deadline", deadline)];
        let got = flyball.chat(&headers, &ask("auto", "Hello")).await;
        assert_eq!(got.status, 400, "{deadline}");
        assert!(got.body.contains("at most 24h"), "{}", got.body);
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_flex_tier_without_room_says_nothing_of_its_models_health() {
    let (upstream, flyball) = started(true).await;
    let body = ask("gpt-5.6-sol", "Count the words.");
    // As often as would take a model for ailing, and longer: each is refused in the flex tier, and then answered.
    for _ in 0..12 {
        upstream.next(no_room());
        upstream.next(served("default"));
        let got = flyball.chat(&[KEY, LATE[0]], &body).await;
        assert_eq!(got.status, 200, "{}", got.body);
    }
    assert_eq!(flyball.running.state.channels.health.ailing().len(), 0);
    // The same refusal without a flex tier does.
    for _ in 0..2 {
        upstream.next(no_room());
    }
    assert_eq!(flyball.chat(&[KEY], &body).await.status, 429);
    assert_eq!(flyball.running.state.channels.health.ailing().len(), 1);
}
