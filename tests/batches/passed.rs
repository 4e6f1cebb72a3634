//! Batches that are passed on unread are metered: from their results, at the price of a batch, once.

use super::{Vendor, Ways, batch_price, bearer, config, fetched, id_of, line, posted, start};
use crate::admin::keys::call;
use crate::client::{Answer, get, post, raw};
use crate::flyball::{Flyball, make_key};
use crate::until::found;
use serde_json::{Value, json};

/// Hands a file in at the provider itself.
async fn at_provider(flyball: &Flyball, key: &str, file: &str) -> String {
    let at = flyball.at();
    let body = super::form("batch", file);
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer {key}\r\nx-flyball-provider: o\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    id_of(&raw(at, (head + &body).as_bytes()).await.answer().await)
}

/// Hands a file in at the provider itself, and makes a batch of it there.
async fn passed_on(flyball: &Flyball, key: &str, file: &str) -> Value {
    let made = tried(flyball, key, file).await;
    assert_eq!(made.status, 200, "{}", made.body);
    made.json()
}

async fn booked(flyball: &Flyball, many: usize) -> Vec<Value> {
    found("the results are booked", async || {
        let rows = flyball.rows().await;
        let ended: Vec<Value> = rows
            .into_iter()
            .filter(|row| row["service_tier"] == "batch")
            .collect();
        (ended.len() >= many).then_some(ended)
    })
    .await
}

#[tokio::test]
async fn what_a_batch_costs_that_nobody_fetches_is_booked_line_by_line() {
    let vendor = Vendor::start(Ways {
        fails_every: Some(5),
        looks: 2,
        ..Ways::default()
    })
    .await;
    let flyball = start(&config(&vendor, ""), |dir| {
        make_key(dir, "app", None, |_| {})
    })
    .await;
    let lines: Vec<String> = (0..10)
        .map(|n| line(&format!("c{n}"), "gpt-4o-mini", "q"))
        .collect();
    let made = passed_on(&flyball, "fb_app", &lines.join("\n")).await;
    assert_eq!(made["id"], "batch_v0", "it bears its provider's id");
    let rows = booked(&flyball, 8).await;
    assert_eq!(rows.len(), 8, "what failed costs nothing");
    for row in &rows {
        let cost = row["cost_pico_usd"].to_string();
        assert_eq!(cost.trim_matches('"'), batch_price().to_string(), "{row}");
        assert_eq!(
            (row["provider"].as_str(), row["model"].as_str()),
            (Some("o"), Some("gpt-4o-mini"))
        );
        assert_eq!(row["rule"], "passed");
    }
    // It is no batch that flyball keeps.
    let listed = fetched(flyball.at(), "fb_app", "/v1/batches").await.json();
    assert_eq!(listed["data"], json!([]));
    flyball.books_are_right().await;
}

#[tokio::test]
async fn nothing_is_booked_twice_through_a_restart_and_a_client_that_fetches() {
    let vendor = Vendor::start(Ways {
        hangs: true,
        ..Ways::default()
    })
    .await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    let toml = config(&vendor, "");
    let flyball = Flyball::start_in(dir, &toml).await;
    let lines: Vec<String> = (0..6)
        .map(|n| line(&format!("c{n}"), "gpt-4o-mini", "q"))
        .collect();
    let made = passed_on(&flyball, "x", &lines.join("\n")).await;
    let dir = flyball.stop().await;
    vendor.change(|ways| ways.hangs = false);
    let flyball = Flyball::start_in(dir, &toml).await;
    let id = made["id"].as_str().expect("an id");
    let headers = [("x-flyball-provider", "o")];
    let looked = get(flyball.at(), &format!("/v1/batches/{id}"), &headers).await;
    assert_eq!(looked.status, 200, "{}", looked.body);
    assert_eq!(booked(&flyball, 6).await.len(), 6);
    let content = format!("/v1/files/file-out-{id}/content");
    for _ in 0..2 {
        let results = get(flyball.at(), &content, &headers).await;
        assert_eq!(results.body.lines().count(), 6, "{}", results.body);
    }
    let dir = flyball.stop().await;
    let flyball = Flyball::start_in(dir, &toml).await;
    assert_eq!(booked(&flyball, 6).await.len(), 6);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_message_batch_by_the_way_of_its_provider_is_metered_too() {
    let vendor = Vendor::start(Ways::default()).await;
    let flyball = start(&config(&vendor, ""), |_| {}).await;
    let params = json!({"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "q"}]});
    let body = json!({"requests": [{"custom_id": "a", "params": params}, {"custom_id": "b", "params": params}]});
    let auth = [("anthropic-version", "2023-06-01")];
    let made = post(
        flyball.at(),
        "/p/a/v1/messages/batches",
        &auth,
        &body.to_string(),
    )
    .await;
    assert_eq!(made.status, 200, "{}", made.body);
    let rows = booked(&flyball, 2).await;
    assert_eq!(rows.len(), 2);
    // 100 tokens in and 40 out, at half of $1 and $5 a million.
    let costs: Vec<String> = rows
        .iter()
        .map(|row| row["cost_pico_usd"].to_string())
        .collect();
    let each = (100 * 500_000 + 40 * 2_500_000).to_string();
    assert!(
        costs.iter().all(|cost| cost.trim_matches('"') == each),
        "{costs:?}"
    );
    flyball.books_are_right().await;
}

/// Tries to make a batch of these lines at the provider itself.
async fn tried(flyball: &Flyball, key: &str, file: &str) -> Answer {
    let asked = json!({"input_file_id": at_provider(flyball, key, file).await, "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let auth = bearer(key);
    let headers = [
        ("authorization", auth.as_str()),
        ("x-flyball-provider", "o"),
    ];
    post(flyball.at(), "/v1/batches", &headers, &asked.to_string()).await
}

#[tokio::test]
async fn under_a_cap_each_line_is_reserved_before_it_goes_out_and_booked_for_what_it_was() {
    let vendor = Vendor::start(Ways {
        hangs: true,
        fails_every: Some(5),
        ..Ways::default()
    })
    .await;
    let flyball = start(&config(&vendor, ""), |dir| {
        make_key(dir, "app", Some("0.001"), |_| {})
    })
    .await;
    let lines: Vec<String> = (0..10)
        .map(|n| line(&format!("c{n}"), "gpt-4o-mini", "q"))
        .collect();
    let made = tried(&flyball, "fb_app", &lines.join("\n")).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let reserved = |flyball: &Flyball| {
        let all = flyball.running.state.ledger.standings();
        all.into_iter()
            .find(|s| s.limit.is_some())
            .expect("a cap")
            .reserved
    };
    assert!(reserved(&flyball) > 0, "its lines have room");
    // Another one that does not fit beside it does not go out.
    let many: Vec<String> = (0..60)
        .map(|n| line(&format!("d{n}"), "gpt-4o-mini", "q"))
        .collect();
    let refused = tried(&flyball, "fb_app", &many.join("\n")).await;
    assert_eq!(refused.status, 402, "{}", refused.body);
    assert_eq!(vendor.batches().len(), 1);
    vendor.change(|ways| ways.hangs = false);
    let rows = booked(&flyball, 8).await;
    assert_eq!(rows.len(), 8);
    found("what failed has given its room back", async || {
        (reserved(&flyball) == 0).then_some(())
    })
    .await;
    assert_eq!(posted(&flyball), 8 * batch_price());
    flyball.books_are_right().await;
}

#[tokio::test]
async fn under_a_cap_what_cannot_be_bounded_is_refused_with_advice() {
    let vendor = Vendor::start(Ways::default()).await;
    let flyball = start(&config(&vendor, ""), |dir| {
        make_key(dir, "app", Some("1"), |_| {})
    })
    .await;
    let endless = line("c1", "gpt-4o-mini", "q").replace("\"max_tokens\":50,", "");
    let lines = [line("c0", "gpt-4o-mini", "q"), endless].join("\n");
    let refused = tried(&flyball, "fb_app", &lines).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let error = refused.json()["error"].clone();
    assert_eq!(error["code"], "flyball_unbounded", "{error}");
    let said = error["message"].to_string();
    assert!(
        said.contains("line 2") && said.contains("x-flyball-provider"),
        "{said}"
    );
    let routed = tried(&flyball, "fb_app", &line("c0", "auto", "q")).await;
    assert_eq!(routed.status, 400, "{}", routed.body);
    assert!(vendor.batches().is_empty());
    assert_eq!(posted(&flyball), 0);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_a_batch_costs_whose_key_may_ask_no_more_is_booked_to_that_key() {
    for (method, change) in [
        ("DELETE", ""),
        ("PATCH", r#"{"paused":true}"#),
        ("PATCH", r#"{"expires":1577836800}"#),
        // What it demands by now was not demanded then.
        ("PATCH", r#"{"required_tags":["env=prod"]}"#),
    ] {
        let vendor = Vendor::start(Ways {
            hangs: true,
            ..Ways::default()
        })
        .await;
        let toml = format!("admin_token = \"file:token\"\n{}", config(&vendor, ""));
        let flyball = start(&toml, |dir| {
            std::fs::write(dir.path().join("token"), "open-sesame\n").expect("a file");
            make_key(dir, "app", None, |_| {});
        })
        .await;
        passed_on(&flyball, "fb_app", &line("c0", "gpt-4o-mini", "q")).await;
        let changed = call(&flyball, method, "/keys/app", change).await;
        assert_eq!(changed.status, 200, "{change}: {}", changed.body);
        vendor.change(|ways| ways.hangs = false);
        let rows = booked(&flyball, 1).await;
        // A key that was revoked bears that beside its name.
        let key = rows[0]["key"].as_str().unwrap_or_default();
        assert!(key.starts_with("app"), "{method} {change}: {rows:?}");
        flyball.books_are_right().await;
    }
}
