//! What a shared answer is in the books: nothing paid, what was saved by its cause, and a request before every cap that counts requests.

use super::{ON, USE, body, good, had, start};
use crate::client::get;
use crate::flyball::{Flyball, compatible, make_key};
use crate::metrics::{samples, sum};
use crate::scripted::{Upstream, answer, chat};
use flyball::ledger::cap::Cap;
use flyball::ledger::record::Cause;
use flyball::ledger::report::{Query, read};
use serde_json::json;

/// 10 input tokens at $1/M and 5 output tokens at $10/M.
const COST: i64 = 60_000_000;

#[tokio::test]
async fn an_answer_of_before_costs_nothing_and_saves_what_the_first_has_cost() {
    let upstream = Upstream::start(good(false)).await;
    let flyball = start(&upstream, ON).await;
    let first = flyball.chat(&[USE], &body(false)).await;
    let second = flyball.chat(&[USE], &body(false)).await;
    let third = flyball.chat(&[USE], &body(false)).await;
    assert_eq!(first.header("x-flyball-cost-usd"), Some("0.00006"));
    for hit in [&second, &third] {
        assert_eq!(hit.header("x-flyball-cost-usd"), Some("0"));
        assert_eq!(hit.header("x-flyball-baseline-usd"), Some("0.00006"));
    }
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 3);
    assert_eq!(
        (&rows[0]["cost_pico_usd"], &rows[0]["cause"]),
        (&json!(COST), &json!(null))
    );
    let id = second.header("x-flyball-request-id").expect("an id");
    let told = get(flyball.at(), &format!("/flyball/requests/{id}"), &[])
        .await
        .json();
    for row in [&rows[1], &rows[2], &told["attempts"][0]] {
        for (field, value) in [
            ("cost_pico_usd", json!(0)),
            ("bound_pico_usd", json!(0)),
            ("baseline_pico_usd", json!(COST)),
            ("cause", json!("response_cache")),
            ("outcome", json!("ok")),
            ("basis", json!("reported")),
            ("model", json!("m-small")),
            ("provider", json!("up")),
            ("tier", json!("small")),
            ("rule", json!("asked")),
            (
                "tokens",
                json!({"input": 0, "cached": 0, "cache_write": 0, "output": 0, "reasoning": 0}),
            ),
        ] {
            assert_eq!(row[field], value, "{field}");
        }
    }
    let query = Query::between(i64::MIN, i64::MAX, Vec::new());
    let report = read(flyball.books().as_mut(), &query).expect("a report");
    let place = Cause::SAVINGS
        .iter()
        .position(|c| *c == Cause::ResponseCache);
    let saved = report.total.saved_by[place.expect("it saves")];
    assert_eq!(saved.0, i128::from(2 * COST));
    assert_eq!(report.total.sums.requests, 3);
    let metrics = samples(&flyball.metrics().await);
    let close = |metric: &str, labels: &[&str], value: f64| {
        let found = sum(&metrics, metric, labels);
        assert!(
            (found - value).abs() < 1e-12,
            "{metric} {labels:?}: {found}, not {value}"
        );
    };
    close("flyball_savings_usd_total", &["response_cache"], 0.00012);
    close("flyball_cost_usd_total", &[], 0.00006);
    close("flyball_baseline_usd_total", &[], 0.00018);
    close("flyball_response_cache_requests_total", &["\"hit\""], 2.0);
    close("flyball_response_cache_requests_total", &["\"miss\""], 1.0);
    close("flyball_response_cache_requests_total", &[], 3.0);
    close("flyball_response_cache_entries", &[], 1.0);
    close("flyball_attempts_open", &[], 0.0);
    close("flyball_streams_open", &[], 0.0);
    assert!(sum(&metrics, "flyball_response_cache_bytes", &[]) > 0.0);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_a_provider_would_have_kept_of_a_long_prompt_is_not_booked_as_saved() {
    // 4,000 tokens of input at $1/M would have been read from its provider's cache at a tenth.
    let upstream = Upstream::start(answer(200, &chat(4_000, 5))).await;
    let models = compatible(&upstream).replace(
        "input_usd_per_mtok = 1\n",
        "input_usd_per_mtok = 1\ncached_usd_per_mtok = \"0.1\"\n",
    );
    let flyball = Flyball::start(&format!("{models}{ON}")).await;
    for result in ["miss", "hit"] {
        assert_eq!(had(&flyball.chat(&[USE], &body(false)).await), result);
    }
    let rows = flyball.rows().await;
    assert_eq!(rows[0]["cost_pico_usd"], 4_050_000_000_i64);
    assert_eq!(rows[1]["baseline_pico_usd"], 450_000_000);
}

#[tokio::test]
async fn a_full_cap_of_money_or_tokens_still_gives_what_costs_nothing() {
    for cap in ["0.001usd/day", "800tokens/day"] {
        let upstream = Upstream::start(good(false)).await;
        let dir = tempfile::tempdir().expect("a folder");
        let cap = Cap::parse(cap).expect("a cap");
        make_key(&dir, "app", None, |key| key.caps = vec![cap.clone()]);
        let toml = format!("answer_tokens_min = 1\n{}\n{ON}", compatible(&upstream));
        let flyball = Flyball::start_in(dir, &toml).await;
        let app = [("authorization", "Bearer fb_app"), USE];
        // As much as there is room for, so that nothing is left.
        let limited = body(false).replace("\"stream\"", "\"max_tokens\":1,\"stream\"");
        let first = flyball.chat(&app, &limited).await;
        assert_eq!((first.status, had(&first)), (200, "miss"), "{}", first.body);
        let mut n = 0;
        let refused = loop {
            let other = limited.replace("river", &format!("mountain {n}"));
            let got = flyball.chat(&app, &other).await;
            if got.status != 200 {
                break got;
            }
            n += 1;
        };
        assert!([402, 429].contains(&refused.status), "{}", refused.body);
        let before = upstream.count();
        let given = flyball.chat(&app, &limited).await;
        assert_eq!((given.status, had(&given)), (200, "hit"), "{}", given.body);
        assert_eq!(upstream.count(), before);
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn a_cap_on_requests_counts_what_is_given_from_the_cache() {
    let upstream = Upstream::start(good(false)).await;
    let dir = tempfile::tempdir().expect("a folder");
    let cap = Cap::parse("3requests/day").expect("a cap");
    make_key(&dir, "app", None, |key| key.caps = vec![cap]);
    let flyball = Flyball::start_in(dir, &format!("{}\n{ON}", compatible(&upstream))).await;
    let app = [("authorization", "Bearer fb_app"), USE];
    for result in ["miss", "hit", "hit"] {
        assert_eq!(had(&flyball.chat(&app, &body(false)).await), result);
    }
    let refused = flyball.chat(&app, &body(false)).await;
    assert_eq!(
        (refused.status, had(&refused)),
        (402, "nothing"),
        "{}",
        refused.body
    );
    assert_eq!(upstream.count(), 1);
    assert_eq!(flyball.rows().await.len(), 3);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn an_answer_whose_limit_was_lowered_for_one_key_is_kept_for_nobody() {
    let short = chat(10, 5).replace("\"stop\"", "\"length\"");
    let upstream = Upstream::start(answer(200, &short)).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "poor", Some("0.02"), |_| {});
    make_key(&dir, "rich", None, |_| {});
    let toml = format!("{}\n{ON}share = \"all\"\n", compatible(&upstream));
    let flyball = Flyball::start_in(dir, &toml).await;
    let ask = async |key: &str| {
        let bearer = format!("Bearer fb_{key}");
        flyball
            .chat(&[("authorization", &*bearer), USE], &body(false))
            .await
    };
    let first = ask("poor").await;
    assert!(
        first.header("x-flyball-limit-tokens").is_some(),
        "{}",
        first.head
    );
    assert_eq!((first.status, had(&first)), (200, "miss"));
    let second = ask("rich").await;
    assert_eq!(
        (had(&second), second.header("x-flyball-limit-tokens")),
        ("miss", None)
    );
    let third = ask("poor").await;
    assert_eq!(
        (had(&third), third.header("x-flyball-limit-tokens")),
        ("hit", None)
    );
}
