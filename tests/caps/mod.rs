//! Caps that hold.

mod arms;
mod guard;
mod inside;
mod limits;
mod media;
mod refusals;
mod rough;
mod tiers;
mod tree;
mod users;

use crate::client::{get, post};
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{
    Step, Upstream, answer, chat, chat_stream, delta, end, finish, piece, stream_head,
};
use crate::until::{found, until_asked, within};
use futures_util::future::join_all;
use serde_json::json;

pub const KEY: (&str, &str) = ("authorization", "Bearer fb_app");

pub async fn capped(upstream: &Upstream, cap: &str, more: &str) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", Some(cap), |_| {});
    Flyball::start_in(dir, &format!("{more}\n{}", compatible(upstream))).await
}

/// A body of exactly `bytes` bytes for m-small.
pub fn body(bytes: usize, limit: Option<u64>, stream: bool) -> String {
    let limit = limit
        .map(|l| format!("\"max_tokens\":{l},"))
        .unwrap_or_default();
    let open = format!(
        "{{\"model\":\"m-small\",{limit}\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\""
    );
    let close = "\"}]}";
    format!(
        "{open}{}{close}",
        "x".repeat(bytes - open.len() - close.len())
    )
}

/// The bound of such a request by the documented rule: one token a byte, 16 a turn and 512 around it at $1/M (and as cache
/// write $1/M), and the limit at $10/M.
pub fn bound_pico(bytes: u64, limit: u64) -> u64 {
    (bytes + 16 + 512) * 1_000_000 + limit * 10_000_000
}

#[tokio::test]
async fn five_hundred_at_once_with_room_for_ten_are_exactly_ten() {
    for stream in [false, true] {
        let (input, limit) = (1_000 + 528, 100);
        let steps = if stream {
            let mut steps = vec![stream_head(), piece(&delta("x")), Step::Gate];
            steps.extend(finish(input, limit).iter().map(|e| piece(e)));
            steps.push(end());
            steps
        } else {
            let mut steps = vec![Step::Gate];
            steps.extend(answer(200, &chat(input, limit)));
            steps
        };
        let upstream = Upstream::start(steps).await;
        let cap = flyball::money::PicoUsd(i128::from(bound_pico(1_000, limit)) * 10 + 5).usd_text();
        let flyball = capped(&upstream, &cap, "lower_limits = false").await;
        let (asked, at) = (body(1_000, Some(limit), stream), flyball.at());
        let calls = (0..500).map(|_| {
            let asked = asked.clone();
            tokio::spawn(async move { post(at, "/v1/chat/completions", &[KEY], &asked).await })
        });
        let calls: Vec<_> = calls.collect();
        // Nobody finishes before all are decided: 490 refusals do not pass the gate.
        let refused = |m: &str| {
            m.lines()
                .filter(|l| l.starts_with("flyball_cap_refusals_total"))
                .filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
                .sum::<u64>()
        };
        until_asked("490 are refused", async || {
            refused(&flyball.metrics().await) >= 490
        })
        .await;
        upstream.reached(10).await;
        upstream.open_gate();
        let answers: Vec<_> = within("every answer", join_all(calls))
            .await
            .into_iter()
            .map(|a| a.expect("no panic"))
            .collect();
        let of = |status| answers.iter().filter(|a| a.status == status).count();
        assert_eq!((of(200), of(402), upstream.count()), (10, 490, 10));
        flyball.books_are_right().await;
        let spent: i64 = flyball
            .rows()
            .await
            .iter()
            .filter_map(|r| r["cost_pico_usd"].as_i64())
            .sum();
        assert_eq!(
            spent,
            i64::try_from(bound_pico(1_000, limit) * 10).expect("small")
        );
        // What is left is less than another bound.
        assert_eq!(flyball.chat(&[KEY], &asked).await.status, 402);
    }
}

#[tokio::test]
async fn with_lowering_and_early_finishers_the_bill_stays_under_the_cap_and_refusals_had_no_room() {
    let upstream = Upstream::start(answer(200, &chat(50, 20))).await;
    let flyball = capped(&upstream, "0.02", "answer_tokens_min = 64").await;
    let at = flyball.at();
    let calls = (0..300_u64).map(|n| {
        let asked = body(400, (n % 3 == 0).then_some(200 + n), false);
        tokio::spawn(async move { post(at, "/v1/chat/completions", &[KEY], &asked).await })
    });
    let answers: Vec<_> = within("every answer", join_all(calls.collect::<Vec<_>>()))
        .await
        .into_iter()
        .map(|a| a.expect("no panic"))
        .collect();
    assert!(answers.iter().all(|a| matches!(a.status, 200 | 402)));
    let rows = flyball.rows().await;
    let bill: i64 = rows
        .iter()
        .filter_map(|r| r["cost_pico_usd"].as_i64())
        .sum();
    assert!(bill <= 20_000_000_000, "{bill}");
    // Each refusal names what was left at that instant; it was less than the least that the request could have used.
    for refused in answers.iter().filter(|a| a.status == 402) {
        let message = refused.json()["error"]["message"]
            .as_str()
            .expect("a message")
            .to_owned();
        let dollars: Vec<flyball::money::PicoUsd> = message
            .split('$')
            .skip(1)
            .map(|t| {
                let number: String = t
                    .chars()
                    .take_while(|c| c.is_ascii_digit() || *c == '.')
                    .collect();
                flyball::money::PicoUsd::from_usd_text(number.trim_end_matches('.'))
                    .expect("dollars")
            })
            .collect();
        let left = dollars.get(2);
        assert!(left.is_none_or(|left| *left < dollars[1]), "{message}");
    }
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_refusal_tells_each_sdk_to_send_one_request_and_why() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = capped(&upstream, "0.000001", "").await;
    let got = flyball.chat(&[KEY], &body(200, None, false)).await;
    let error = &got.json()["error"];
    assert_eq!(
        (
            got.status,
            got.header("x-should-retry"),
            got.header("retry-after")
        ),
        (402, Some("false"), None)
    );
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!("insufficient_quota"), &json!("flyball_cap"))
    );
    assert!(
        error["message"].as_str().is_some_and(|m| m.contains("day")
            && m.contains("$0.000001")
            && m.contains("resets at 20")),
        "{error}"
    );
    let anthropic = post(
        flyball.at(),
        "/v1/messages",
        &[KEY],
        r#"{"model":"auto","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}"#,
    )
    .await;
    assert_eq!(
        (anthropic.status, &anthropic.json()["type"]),
        (402, &json!("error")),
    );
    assert_eq!(anthropic.json()["error"]["type"], "billing_error");
    assert_eq!(anthropic.header("x-should-retry"), Some("false"));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn what_only_open_reservations_block_may_be_tried_again() {
    let mut steps = vec![Step::Gate];
    steps.extend(answer(200, &chat(10, 5)));
    let upstream = Upstream::start(steps).await;
    let cap = flyball::money::PicoUsd(i128::from(bound_pico(400, 500)) + 60_000_000).usd_text();
    let flyball = capped(&upstream, &cap, "lower_limits = false").await;
    let (at, asked) = (flyball.at(), body(400, Some(500), false));
    let first = tokio::spawn({
        let asked = asked.clone();
        async move { post(at, "/v1/chat/completions", &[KEY], &asked).await }
    });
    upstream.reached(1).await;
    let second = flyball.chat(&[KEY], &asked).await;
    assert_eq!(
        (
            second.status,
            second.header("retry-after"),
            second.header("x-should-retry")
        ),
        (402, Some("2"), Some("false"))
    );
    let said = second.json()["error"]["message"].to_string();
    assert!(
        said.contains("room comes back as open requests end") && !said.contains("resets"),
        "{said}"
    );
    upstream.open_gate();
    let first = within("the first answer", first).await;
    assert_eq!(first.expect("no panic").status, 200);
    assert_eq!(
        flyball.chat(&[KEY], &asked).await.status,
        200,
        "room comes back when the answer closes"
    );
}

#[tokio::test]
async fn a_limit_is_lowered_to_what_is_left_and_named() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    // Room for the input and 1,000 answer tokens.
    let cap = flyball::money::PicoUsd(i128::from(bound_pico(400, 1_000))).usd_text();
    let flyball = capped(&upstream, &cap, "").await;
    let got = flyball.chat(&[KEY], &body(400, Some(3_000), false)).await;
    assert_eq!(
        (got.status, got.header("x-flyball-limit-tokens")),
        (200, Some("1000")),
        "{}",
        got.body
    );
    assert!(upstream.seen()[0].body.contains("\"max_tokens\":1000"));
    flyball.books_are_right().await;
}

#[tokio::test]
async fn an_uncapped_key_gets_nothing_forced_and_a_capped_one_a_limit_below_the_models_own() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let got = flyball.chat(&[], &body(400, None, false)).await;
    assert_eq!(
        (
            got.header("x-flyball-limit-tokens"),
            upstream.seen()[0].body.as_str()
        ),
        (None, body(400, None, false).as_str())
    );
    let flyball = capped(&upstream, "10", "answer_tokens_max = 1500").await;
    flyball.chat(&[KEY], &body(400, None, false)).await;
    assert!(
        upstream.seen()[1].body.contains("\"max_tokens\":1500"),
        "{}",
        upstream.seen()[1].body
    );
}

#[tokio::test]
async fn on_a_capped_key_what_has_no_bound_or_no_price_is_named() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let unpriced = "\n[[model]]\nname = \"m-unpriced\"\nprovider = \"up\"\ntier = \"standard\"\n";
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", Some("10"), |_| {});
    let flyball = Flyball::start_in(dir, &format!("{}{unpriced}", compatible(&upstream))).await;
    let image = r#"{"model":"m-small","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.example/a.png"}}]}]}"#;
    for (body, field) in [
        (
            r#"{"model":"m-small","service_tier":"priority","messages":[{"role":"user","content":"x"}]}"#,
            "service_tier",
        ),
        (
            r#"{"model":"m-small","web_search_options":{},"messages":[{"role":"user","content":"x"}]}"#,
            "web_search_options",
        ),
        (
            r#"{"model":"m-unpriced","messages":[{"role":"user","content":"x"}]}"#,
            "model",
        ),
        (image, "messages[0].content[0]"),
        (
            &image.replace("image_url", "picture"),
            "messages[0].content[0]",
        ),
    ] {
        let got = flyball.chat(&[KEY], body).await;
        assert_eq!(
            (got.status, &got.json()["error"]["param"]),
            (400, &json!(field)),
            "{}",
            got.body
        );
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn geminis_media_are_seen_in_a_tools_result_and_in_a_part_without_a_list() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", Some("10"), |_| {});
    let config = compatible(&upstream).replace("openai-compatible", "gemini");
    let config = config.replace("context_tokens = 100000\n", "");
    let flyball = Flyball::start_in(dir, &config).await;
    let path = "/v1beta/models/m-small:generateContent";
    for (content, says) in [
        (
            r#"{"role":"model","parts":[{"functionCall":{"name":"f"}}]},{"parts":[{"functionResponse":{"name":"f","response":{},"parts":[{"fileData":{"fileUri":"https://x/y.mp4"}}]}}]}"#,
            "What \"contents[1].parts[0].functionResponse.parts[0]\" costs at most on \"m-small\" is not known",
        ),
        (
            r#"{"parts":{"fileData":{"fileUri":"https://x/y.mp4"}}}"#,
            "What \"contents[0].parts[0]\" costs at most on \"m-small\" is not known",
        ),
    ] {
        let body = format!(r#"{{"contents":[{content}]}}"#);
        let got = post(flyball.at(), path, &[KEY], &body).await;
        assert_eq!(got.status, 400, "{}", got.body);
        let message = got.json()["error"]["message"].to_string();
        assert!(message.replace("\\", "").contains(says), "{message}");
    }
    assert_eq!(upstream.count(), 0);
}

/// An answer with this member beside its usage.
fn served(member: &str) -> Vec<Step> {
    let usage = r#""usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}"#;
    let body = format!(
        r#"{{"id":"c","object":"chat.completion",{member}"choices":[{{"index":0,"message":{{"role":"assistant","content":"yes"}},"finish_reason":"stop"}}],{usage}}}"#
    );
    answer(200, &body)
}

#[tokio::test]
async fn a_request_is_reserved_at_the_dearest_tier_that_it_allows_and_priced_by_the_one_it_was_served_in()
 {
    // gpt-5.6-sol costs 4 and 20 dollars a million; flex is half, priority twice that.
    let upstream = Upstream::start(served("")).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", Some("10"), |_| {});
    let toml = format!(
        "[[provider]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"{}\"\n[[model]]\nname = \"gpt-5.6-sol\"\nprovider = \"up\"\ntier = \"reasoning\"\n",
        upstream.url()
    );
    let flyball = Flyball::start_in(dir, &toml).await;
    let mut expected = Vec::new();
    for (asked, told, tier, doubled_bound, doubled_cost) in [
        ("", "", "standard", 4, 2),
        ("", r#""service_tier":"priority","#, "priority", 4, 4),
        (
            r#""service_tier":"default","#,
            r#""service_tier":"default","#,
            "standard",
            2,
            2,
        ),
        (
            r#""service_tier":"flex","#,
            r#""service_tier":"flex","#,
            "flex",
            2,
            1,
        ),
        (
            r#""service_tier":"flex","#,
            r#""service_tier":"default","#,
            "standard",
            2,
            2,
        ),
        (r#""service_tier":"priority","#, "", "priority", 4, 4),
    ] {
        upstream.next(served(told));
        let body = format!(
            r#"{{"model":"gpt-5.6-sol",{asked}"max_completion_tokens":100,"messages":[{{"role":"user","content":"x"}}]}}"#
        );
        let got = flyball.chat(&[KEY], &body).await;
        assert_eq!(got.status, 200, "{}", got.body);
        let input = i64::try_from(body.len()).expect("small") + 528;
        expected.push((
            json!(tier),
            // The dearest input is a cache write for twelve hours.
            json!(doubled_bound * (input * 5_000_000 + 100 * 10_000_000)),
            json!(doubled_cost * (1_000 * 2_000_000 + 100 * 10_000_000_i64)),
        ));
    }
    let rows = flyball.rows().await;
    let got = rows.iter().map(|r| {
        let field = |name: &str| r[name].clone();
        (
            field("service_tier"),
            field("bound_pico_usd"),
            field("cost_pico_usd"),
        )
    });
    assert_eq!(got.collect::<Vec<_>>(), expected);
    let unknown = r#"{"model":"gpt-5.6-sol","service_tier":"scale","messages":[{"role":"user","content":"x"}]}"#;
    let got = flyball.chat(&[KEY], unknown).await;
    assert_eq!(
        (
            got.status,
            &got.json()["error"]["param"],
            &got.json()["error"]["code"]
        ),
        (400, &json!("service_tier"), &json!("flyball_no_price"))
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn the_callers_own_cost_limit_lowers_or_refuses() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let got = flyball
        .chat(
            &[("x-flyball-max-cost-usd", "0.006")],
            &body(400, None, false),
        )
        .await;
    assert_eq!(
        (got.status, got.header("x-flyball-limit-tokens")),
        (200, Some("507"))
    );
    let got = flyball
        .chat(
            &[("x-flyball-max-cost-usd", "0.0001")],
            &body(400, None, false),
        )
        .await;
    assert_eq!(got.status, 402);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_global_cap_counts_everybody_and_shows_nobodys_figures() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&format!(
        "{}\n[[cap]]\nusd = 0.000001\nwindow = \"month\"\n",
        compatible(&upstream)
    ))
    .await;
    let got = flyball.chat(&[], &body(400, None, false)).await;
    let message = got.json()["error"]["message"]
        .as_str()
        .expect("a message")
        .to_owned();
    assert_eq!(got.status, 402);
    assert!(
        message.contains("month") && !message.contains('$'),
        "{message}"
    );
    let metrics = flyball.metrics().await;
    assert!(
        metrics.contains(
            "flyball_cap_limit_usd{cap=\"all month\",scope=\"global\",window=\"month\"} 0.000001"
        ),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_was_open_at_a_crash_is_charged_at_its_bound_and_spending_survives_a_restart() {
    let upstream = Upstream::start(chat_stream(&["x"], 10, 5)).await;
    let flyball = capped(&upstream, "1", "").await;
    assert_eq!(
        flyball
            .chat(&[KEY], &body(400, Some(100), true))
            .await
            .status,
        200
    );
    flyball.rows().await;
    let dir = flyball.stop().await;
    // What a killed process leaves: an attempt that was dispatched and never closed.
    let db = flyball::ledger::store::sqlite::open(&dir.path().join("data")).expect("the ledger");
    db.execute("UPDATE attempt SET outcome = NULL, basis = NULL, cost = NULL, baseline = NULL, excess = NULL, input = NULL, cached = NULL, cache_write = NULL, cache_write_long = NULL, output = NULL, reasoning = NULL, tokens = NULL", []).expect("changed");
    for table in ["counter", "rollup_hour", "rollup_day"] {
        db.execute(&format!("DELETE FROM {table}"), [])
            .expect("changed");
    }
    drop(db);
    let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
    let row = &flyball.rows().await[0];
    assert_eq!(
        (&row["outcome"], &row["basis"], &row["cost_pico_usd"]),
        (&json!("crash"), &json!("bound"), &row["bound_pico_usd"])
    );
    flyball.books_are_right().await;
    let caps = get(flyball.running.admin, "/admin/v1/caps", &[])
        .await
        .json();
    let bound = flyball::money::PicoUsd(i128::from(bound_pico(400, 100))).usd_text();
    assert!(
        caps["caps"]
            .as_array()
            .expect("rows")
            .iter()
            .any(|c| c["node"] == "key 1"
                && c["window"] == "day"
                && c["spent_usd"] == json!(bound)),
        "{caps}"
    );
    // Metrics count it apart from what this process has seen end.
    until_asked("the crash is in the metrics", async || {
        let metrics = flyball.metrics().await;
        metrics.contains("\nflyball_crashed_attempts_total 1\n")
            && metrics.contains(&format!("\nflyball_crashed_usd_total {bound}\n"))
    })
    .await;
    let metrics = flyball.metrics().await;
    assert!(metrics.contains("\nflyball_attempts_open 0\n"), "{metrics}");
    assert!(!metrics.contains("outcome=\"crash\""), "{metrics}");
}

#[tokio::test]
async fn a_full_disk_stops_admission_clearly_and_loses_nothing() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = capped(&upstream, "10", "").await;
    assert_eq!(
        flyball
            .chat(&[KEY], &body(400, Some(100), false))
            .await
            .status,
        200
    );
    flyball.full_disk(true).await;
    // The pages that the file has may take some rows more.
    let got = found("a refusal", async || {
        let got = flyball.chat(&[KEY], &body(400, Some(100), false)).await;
        (got.status != 200).then_some(got)
    })
    .await;
    assert_eq!(
        (got.status, got.header("retry-after")),
        (503, Some("5")),
        "{}",
        got.body
    );
    assert!(
        got.json()["error"]["message"]
            .as_str()
            .is_some_and(|m| m.contains("ledger")),
        "{}",
        got.body
    );
    assert_eq!(get(flyball.running.admin, "/readyz", &[]).await.status, 503);
    let sent = upstream.count();
    assert_eq!(
        flyball
            .chat(&[KEY], &body(400, Some(100), false))
            .await
            .status,
        503
    );
    assert_eq!(
        upstream.count(),
        sent,
        "nothing is sent on a reservation that is not on the disk"
    );
    flyball.full_disk(false).await;
    until_asked("the ledger admits again", async || {
        let got = flyball.chat(&[KEY], &body(400, Some(100), false)).await;
        got.status == 200
    })
    .await;
    assert_eq!(flyball.rows().await.len(), upstream.count());
    flyball.books_are_right().await;
}

#[tokio::test]
async fn where_no_usage_is_told_tools_and_calls_are_counted_too() {
    let said = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}]}"#;
    let upstream = Upstream::start(answer(200, said)).await;
    let flyball = capped(&upstream, "10", "").await;
    let words = "word ".repeat(1_000);
    let hi = json!({"role": "user", "content": "hi"});
    let call = json!({"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": json!({"x": words}).to_string()}}]});
    let tool = json!({"type": "function", "function": {"name": "f", "description": words, "parameters": {"type": "object"}}});
    for asked in [
        json!({"model": "m-small", "max_tokens": 5, "messages": [hi], "tools": [tool]}),
        json!({"model": "m-small", "max_tokens": 5, "messages": [hi, call, {"role": "tool", "tool_call_id": "c", "content": "ok"}]}),
    ] {
        assert_eq!(flyball.chat(&[KEY], &asked.to_string()).await.status, 200);
        let row = flyball.rows().await.pop().expect("a row");
        let input = row["tokens"]["input"].as_u64().expect("a number");
        assert_eq!(row["basis"], "counted");
        assert!((1_000..1_200).contains(&input), "{input}");
    }
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_new_key_is_answered_only_when_its_caps_hold() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = capped(&upstream, "10", "").await;
    let asked = body(400, Some(100), false);
    flyball.full_disk(true).await;
    until_asked("a refusal", async || {
        flyball.chat(&[KEY], &asked).await.status != 200
    })
    .await;
    let sent = upstream.count();
    // Another process can still write keys, but the ledger cannot take their caps over: they are more than the free pages hold.
    let cap = |text: &str| {
        let cap = flyball::ledger::cap::Cap::parse(text);
        cap.expect("a cap").for_key(2)
    };
    let others = (0..500).map(|n| cap(&format!("9usd/week model=none-{n:0>40}")));
    let made = flyball::ledger::store::Key {
        name: "late".into(),
        hash: flyball::caller::hash(b"fb_late"),
        caps: std::iter::once(cap("0.0000001usd/day"))
            .chain(others)
            .collect(),
        ..Default::default()
    };
    let id = flyball.books().create_key(&made).expect("a key");
    assert_eq!(id, 2, "the cap is the new key's");
    let late = [("authorization", "Bearer fb_late")];
    let status = async |unlike| {
        found("another status for the new key", async || {
            let got = flyball.chat(&late, &asked).await;
            (got.status != unlike).then_some(got)
        })
        .await
    };
    let got = status(401).await;
    assert_eq!(got.status, 503, "{}", got.body);
    assert!(got.body.contains("caps are not in force"), "{}", got.body);
    flyball.full_disk(false).await;
    let got = status(503).await;
    assert_eq!(got.status, 402, "{}", got.body);
    assert_eq!(upstream.count(), sent);
}

#[tokio::test]
async fn the_reservation_is_on_the_disk_before_the_provider_hears_of_the_request() {
    let mut steps = vec![Step::Gate];
    steps.extend(answer(200, &chat(10, 5)));
    let upstream = Upstream::start(steps).await;
    let flyball = capped(&upstream, "10", "").await;
    let (at, asked) = (flyball.at(), body(400, Some(100), false));
    let call = tokio::spawn(async move { post(at, "/v1/chat/completions", &[KEY], &asked).await });
    upstream.reached(1).await;
    // Another connection sees only what is committed.
    let db = flyball::ledger::store::sqlite::open(&flyball.data_dir()).expect("the ledger");
    let open: i64 = db
        .query_row(
            "SELECT count(*) FROM attempt WHERE outcome IS NULL AND bound > 0",
            [],
            |row| row.get(0),
        )
        .expect("a count");
    assert_eq!(open, 1);
    upstream.open_gate();
    let got = within("the answer", call).await;
    assert_eq!(got.expect("no panic").status, 200);
}

#[tokio::test]
async fn an_older_ledger_is_migrated_and_its_rows_and_spending_stay() {
    for (version, cost) in [(1, 60_000_000), (2, 17_100_000), (3, 17_100_000)] {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        let old = format!(
            "{}/tests/fixtures/ledger/v{version}.sqlite",
            env!("CARGO_MANIFEST_DIR")
        );
        std::fs::copy(old, data.join("ledger.sqlite")).expect("a copy");
        let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
        let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
        let rows = flyball.rows().await;
        assert_eq!(
            (rows.len(), &rows[0]["key"], &rows[0]["cost_pico_usd"]),
            (1, &json!("old app"), &json!(cost)),
            "version {version}"
        );
        flyball.books_are_right().await;
        let backup = data.join(format!("ledger.v{version}.backup.sqlite"));
        assert!(backup.exists(), "version {version}");
        assert_eq!(
            flyball.chat(&[], &body(400, None, false)).await.status,
            401,
            "its key still counts"
        );
    }
}

#[tokio::test]
async fn a_newer_ledger_is_refused_and_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let db = flyball::ledger::store::sqlite::open(&dir.path().join("data")).expect("a ledger");
    db.pragma_update(None, "user_version", 99).expect("changed");
    drop(db);
    let upstream = Upstream::start(Vec::new()).await;
    let error = Flyball::try_start(dir, &compatible(&upstream))
        .await
        .err()
        .expect("refused");
    assert!(
        error.contains("schema 99") && error.contains("--data-dir"),
        "{error}"
    );
}
