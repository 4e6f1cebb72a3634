//! What exploring may cost: it has a cap of its own, and changes nothing else where that is full.

use super::{ASK, config, folder, sure};
use crate::client::post;
use crate::flyball::{Flyball, make_key};
use crate::scripted::{Upstream, answer, chat};
use futures_util::stream::{self, StreamExt};
use serde_json::Value;

/// What an answer of the big model costs that uses all of its 4,000 tokens: four dollars, and four cents for its input.
const DEAR: (u64, u64) = (400, 4_000);

async fn explored(flyball: &Flyball) -> Vec<Value> {
    let rows = flyball.rows().await;
    rows.into_iter()
        .filter(|row| row["model"] == "m-big")
        .collect()
}

/// Answers of the small model stand; the big one uses all that it may.
async fn provider() -> Upstream {
    let upstream = Upstream::start(answer(200, &sure())).await;
    upstream.answers("m-big", answer(200, &chat(DEAR.0, DEAR.1)));
    upstream
}

fn spent(rows: &[Value]) -> i64 {
    rows.iter()
        .map(|row| row["cost_pico_usd"].as_i64().expect("a cost"))
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_requests_explores_for_no_more_than_the_cap_of_exploring() {
    for (key, usd, most) in [
        (None, "9", 9),
        (Some("1000"), "13", 13),
        (None, "1", 0),
        (None, "0", 0),
    ] {
        let upstream = provider().await;
        let dir = folder();
        make_key(&dir, "app", key, |_| {});
        let toml = format!(
            "probe_explore = 0.1\nprobe_explore_usd = {usd}\n{}",
            config(&upstream)
        );
        let flyball = Flyball::start_in(dir, &toml).await;
        let at = flyball.at();
        let answers = stream::iter(0..300).map(|_| async move {
            let key = [("authorization", "Bearer fb_app")];
            post(at, "/v1/chat/completions", &key, ASK).await
        });
        let answers: Vec<_> = answers.buffer_unordered(32).collect().await;
        for got in &answers {
            let told = (
                got.status,
                got.header("x-flyball-probe"),
                got.header("x-flyball-model"),
            );
            assert_eq!(told, (200, Some("stands"), Some("m-small")), "{}", got.body);
        }
        let rows = explored(&flyball).await;
        let spent = spent(&rows);
        assert!(spent <= most * 1_000_000_000_000, "{usd}: {spent}");
        // Of about thirty that would be explored as many as there is room for.
        let fits = usize::try_from(most / 4).expect("few");
        assert_eq!(rows.len(), fits, "{rows:#?}");
        for row in &rows {
            assert_eq!(row["outcome"], "escalated", "{row}");
        }
        // What a cap counts is bounded, whatever its key.
        let limited = |seen: &crate::scripted::Seen| seen.body.contains("\"max_tokens\":4000");
        let seen = upstream.seen();
        let mut asked = seen.iter().filter(|seen| seen.body.contains("m-big"));
        assert!(asked.all(limited), "{usd}");
        flyball.books_are_right().await;
        let standings = flyball.running.state.ledger.standings();
        let own = standings
            .iter()
            .find(|s| s.counter.to_string().contains("flyball.exploring"));
        let own = own.expect("a cap of its own");
        assert_eq!(own.posted, i128::from(spent), "{}", own.counter);
        // After a new start the day's room is what it was.
        let dir = flyball.stop().await;
        let flyball = Flyball::start_in(dir, &toml).await;
        for _ in 0..60 {
            flyball
                .chat(&[("authorization", "Bearer fb_app")], ASK)
                .await;
        }
        assert_eq!(explored(&flyball).await.len(), fits);
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn the_cap_of_exploring_counts_nothing_else() {
    let upstream = Upstream::start(answer(200, &super::unsure())).await;
    upstream.answers("m-big", answer(200, &chat(40, 8)));
    let toml = format!(
        "probe_explore = 0.1\nprobe_explore_usd = 0\n{}",
        config(&upstream)
    );
    let flyball = Flyball::start_in(folder(), &toml).await;
    for _ in 0..20 {
        let got = flyball.chat(&[], ASK).await;
        assert_eq!(
            (got.status, got.header("x-flyball-probe")),
            (200, Some("escalated"))
        );
    }
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 40);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn an_answer_that_would_have_been_explored_may_still_be_judged() {
    let upstream = provider().await;
    let toml = format!(
        "probe_explore = 0.1\nprobe_explore_usd = 0\n{}",
        config(&upstream)
    );
    let flyball = Flyball::start_in(folder(), &toml).await;
    for _ in 0..60 {
        let got = flyball.chat(&[], ASK).await;
        let id = got
            .header("x-flyball-request-id")
            .expect("an id")
            .to_owned();
        let path = format!("/flyball/requests/{id}/feedback");
        let judged = post(flyball.at(), &path, &[], r#"{"good":true}"#).await;
        assert_eq!(judged.status, 200, "{}", judged.body);
    }
    assert!(explored(&flyball).await.is_empty());
}

/// What the books keep of how the two models' answers compare: model, score in millionths, who says so, and how many of a million are seen.
async fn outcomes(flyball: &Flyball) -> Vec<(String, i64, &'static str, i64)> {
    flyball.flush().await;
    let mut all = Vec::new();
    let read = flyball.books().outcomes(&mut |o| {
        assert!(!o.task.is_empty() && o.cost.is_none());
        all.push((o.model.clone(), o.score_ppm, o.by.name(), o.seen_ppm));
    });
    read.expect("the outcomes");
    all
}

#[tokio::test]
async fn what_was_explored_becomes_outcomes_that_know_how_seldom_they_are() {
    // Both models say the same. Where they did not, the small one would soon not be asked first any more.
    let upstream = Upstream::start(answer(200, &sure())).await;
    let toml = format!("probe_explore = 0.1\n{}", config(&upstream));
    let flyball = Flyball::start_in(folder(), &toml).await;
    for _ in 0..100 {
        flyball.chat(&[], ASK).await;
    }
    let explored = explored(&flyball).await.len();
    let all = outcomes(&flyball).await;
    assert!(
        explored > 0 && all.len() == 2 * explored,
        "{explored}: {all:?}"
    );
    let of = |model: &str, score| (model.to_owned(), score, "explored", 100_000);
    for pair in all.chunks(2) {
        assert_eq!(pair, [of("m-small", 1_000_000), of("m-big", 1_000_000)]);
    }
}

#[tokio::test]
async fn what_was_gone_on_from_becomes_outcomes_only_where_what_stood_does_too() {
    for (explore, known) in [("0.1", true), ("0", false)] {
        let upstream = Upstream::start(answer(200, &super::unsure())).await;
        upstream.answers("m-big", answer(200, &chat(40, 8)));
        let toml = format!("probe_explore = {explore}\n{}", config(&upstream));
        let flyball = Flyball::start_in(folder(), &toml).await;
        let got = flyball.chat(&[], ASK).await;
        assert_eq!(got.header("x-flyball-probe"), Some("escalated"));
        let all = outcomes(&flyball).await;
        let of = |model: &str, score| (model.to_owned(), score, "escalated", 1_000_000);
        let expected = [of("m-small", 0), of("m-big", 1_000_000)];
        assert_eq!(all, if known { &expected[..] } else { &[] }, "{explore}");
    }
}
