//! What is said to be saved in a conversation is told like for like: the baseline that had answered it so far would have had its
//! beginning in its provider's cache.

use super::PUZZLE;
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Upstream, answer, chat};
use flyball::ledger::report::{Query, read};
use serde_json::{Value, json};

/// Turns of a conversation whose model was asked first for something hard and then for something easy.
fn turns(asks: &[&str]) -> String {
    let mut messages = Vec::new();
    for ask in asks {
        if !messages.is_empty() {
            messages.push(json!({"role": "assistant", "content": "hi there"}));
        }
        messages.push(json!({"role": "user", "content": ask}));
    }
    json!({"model": "auto", "messages": messages}).to_string()
}

const EASY: &str = "Translate into German: Good evening.";

/// The model and the baseline, in millionths of a dollar, of each request.
async fn told(flyball: &Flyball) -> Vec<(String, i64)> {
    let row = |row: &Value| {
        let baseline = row["baseline_pico_usd"].as_i64().expect("a number");
        let model = row["model"].as_str().expect("a name").to_owned();
        (model, baseline / 1_000_000)
    };
    flyball.rows().await.iter().map(row).collect()
}

fn caching(upstream: &Upstream) -> String {
    let cached = "input_usd_per_mtok = 10\ncached_usd_per_mtok = 1";
    compatible(upstream).replace("input_usd_per_mtok = 10", cached)
}

#[tokio::test]
async fn the_baseline_of_a_later_turn_has_the_conversation_in_its_cache() {
    let upstream = Upstream::start(answer(200, &chat(20_000, 100))).await;
    let flyball = Flyball::start(&caching(&upstream)).await;
    flyball.chat(&[], &turns(&[PUZZLE])).await;
    flyball.chat(&[], &turns(&[PUZZLE, EASY])).await;
    let other = EASY.replace("evening", "morning");
    flyball.chat(&[], &turns(&[&other])).await;
    let cold = 20_000 * 10 + 100 * 100;
    // All 20,000 tokens were in the request and the answer before.
    let warm = 20_000 + 100 * 100;
    let small = |baseline| ("m-small".to_owned(), baseline);
    assert_eq!(
        told(&flyball).await,
        [("m-big".to_owned(), cold), small(warm), small(cold)],
        "asked first, asked in the same conversation, asked in another one"
    );
}

#[tokio::test]
async fn a_baseline_without_a_price_for_cached_input_is_as_it_was() {
    let upstream = Upstream::start(answer(200, &chat(20_000, 100))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    flyball.chat(&[], &turns(&[PUZZLE])).await;
    flyball.chat(&[], &turns(&[PUZZLE, EASY])).await;
    let cold = 20_000 * 10 + 100 * 100;
    let baselines: Vec<i64> = told(&flyball).await.into_iter().map(|t| t.1).collect();
    assert_eq!(baselines, [cold, cold]);
}

#[tokio::test]
async fn a_short_conversation_is_in_no_cache() {
    let upstream = Upstream::start(answer(200, &chat(900, 100))).await;
    let flyball = Flyball::start(&caching(&upstream)).await;
    flyball.chat(&[], &turns(&[PUZZLE])).await;
    flyball.chat(&[], &turns(&[PUZZLE, EASY])).await;
    // 900 and 100 tokens are fewer than any vendor keeps.
    let baselines: Vec<i64> = told(&flyball).await.into_iter().map(|t| t.1).collect();
    assert_eq!(baselines, [900 * 10 + 100 * 100; 2]);
}

#[tokio::test]
async fn what_the_baseline_may_have_thought_beyond_what_was_seen_is_told_apart_until_it_is_seen() {
    let upstream = Upstream::start(answer(200, &chat(1_000, 100))).await;
    let toml = format!(
        "baseline = \"m-big@high\"\ngrade_asked = true\n{}",
        compatible(&upstream)
    );
    let flyball = Flyball::start(&toml).await;
    let beyond = async || -> Vec<i64> {
        let extra = |row: &Value| row["baseline_extra_pico_usd"].as_i64().expect("a number");
        flyball.rows().await.iter().map(extra).collect()
    };
    flyball.chat(&[], &turns(&[EASY])).await;
    let first = beyond().await[0];
    // A token of the baseline's thinking costs $100 per million.
    assert!(first > 0 && first % 100_000_000 == 0, "{first}");
    flyball.flush().await;
    let query = Query::between(i64::MIN, i64::MAX, Vec::new());
    let told = read(flyball.books().as_mut(), &query).expect("a report");
    let total = told.total;
    assert_eq!(total.saved_most().0 - total.saved().0, i128::from(first));
    let metrics = flyball.metrics().await;
    let series = r#"flyball_baseline_extra_usd_total{effort="none",tier="small"}"#;
    assert!(metrics.contains(series), "{metrics}");
    // The baseline itself answers, and is seen not to think about such things.
    let by_name = json!({"model": "m-big", "reasoning_effort": "high", "messages": [{"role": "user", "content": EASY}]});
    for _ in 0..12 {
        flyball.chat(&[], &by_name.to_string()).await;
    }
    flyball.chat(&[], &turns(&[EASY])).await;
    let told = beyond().await;
    assert_eq!(told[1..], [0; 13], "{told:?}");
}
