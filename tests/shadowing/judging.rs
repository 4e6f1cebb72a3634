//! How two answers to the same request are judged.

use super::{ask, config, has_ended, says, scores};
use crate::flyball::{Flyball, make_key};
use crate::scripted::Upstream;
use serde_json::json;

const LONG: &str = "The river that flows through Chisinau, the capital of Moldova, is the Bic, a tributary of the Dniester.";
const OTHER: &str = "Chisinau lies on the river Bic, which flows into the Dniester some way below it, near the old border.";

fn of(model: &str, score: i64) -> (String, i64) {
    (model.to_owned(), score)
}

/// A third model that only judges.
fn with_judge(upstream: &Upstream, shadow: &str) -> String {
    format!(
        "{}\n[[model]]\nname = \"m-judge\"\nprovider = \"up\"\ntier = \"standard\"\nefforts = []\ncontext_tokens = 100000\nanswer_tokens_max = 4000\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n",
        config(upstream, shadow)
    )
}

#[tokio::test]
async fn the_abler_arm_is_taken_for_right_where_short_answers_differ() {
    let upstream = Upstream::start(says("The Bic")).await;
    upstream.answers("m-small", says("The Prut"));
    let flyball = Flyball::start(&config(&upstream, "")).await;
    let river = ask("Which river flows through the capital of Moldova?");
    flyball.chat(&[], &river.to_string()).await;
    has_ended(&flyball, "judged", 1).await;
    assert_eq!(
        scores(&flyball).await,
        [of("m-big", 1_000_000), of("m-small", 0)]
    );
}

#[tokio::test]
async fn a_judge_is_asked_in_both_orders_under_the_cap_of_shadows() {
    // The big model stands as A where the judge is asked about the small one first: which is which is told by their words.
    for (first, swapped, small) in [
        ("A", "B", 1_000_000),
        ("B", "A", 0),
        ("A", "A", 500_000),
        ("T", "T", 500_000),
    ] {
        let upstream = Upstream::start(says("?")).await;
        upstream.answers("m-big", says(LONG));
        upstream.answers("m-small", says(OTHER));
        let flyball = Flyball::start(&with_judge(&upstream, "judge = \"m-judge\"")).await;
        upstream.next(says(LONG));
        upstream.next(says(OTHER));
        upstream.next(says(first));
        upstream.next(says(swapped));
        let river = ask("Which river flows through the capital of Moldova?");
        flyball.chat(&[], &river.to_string()).await;
        has_ended(&flyball, "judged", 1).await;
        assert_eq!(
            scores(&flyball).await,
            [of("m-big", 1_000_000 - small), of("m-small", small)],
            "{first} {swapped}"
        );
        let seen = upstream.seen();
        assert_eq!(seen.len(), 4);
        let places = |body: &str| {
            (
                body.find("[Answer A]"),
                body.find("Bic, a tributary"),
                body.find("[Answer B]"),
            )
        };
        let (a, long, b) = places(&seen[2].body);
        assert!(a < b && b < long, "the small one is A first");
        let (a, long, b) = places(&seen[3].body);
        assert!(a < long && long < b, "and B then");
        assert!(seen[2].body.contains("Which river") && seen[2].body.contains("m-judge"));
        let rows = flyball.rows().await;
        let asked: Vec<_> = rows.iter().filter(|row| row["rule"] == "shadow").collect();
        assert_eq!(asked.len(), 3);
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn what_a_request_demands_itself_is_looked_at_first() {
    let schema = json!({"type": "json_schema", "json_schema": {"name": "city", "strict": true, "schema": {
        "type": "object", "required": ["city", "people"], "additionalProperties": false,
        "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}, "people": {"type": "number", "minimum": 1}}}}});
    let good = r#"{"city": "Paris", "people": 2100000}"#;
    let same = r#"{"people": 2100000.0, "city": "Paris"}"#;
    for (small, score) in [
        (same, 1_000_000),
        (good, 1_000_000),
        (r#"{"city": "Lyon", "people": 500000}"#, 0),
        (r#"{"city": "paris", "people": 2100000}"#, 0),
        (r#"{"city": "Paris", "people": "many"}"#, 0),
        ("Paris has two million people.", 0),
    ] {
        let upstream = Upstream::start(says(good)).await;
        upstream.answers("m-small", says(small));
        let flyball = Flyball::start(&config(&upstream, "")).await;
        let mut body = ask("Which city, and how many people?");
        body["response_format"] = schema.clone();
        let got = flyball.chat(&[], &body.to_string()).await;
        assert_eq!(got.status, 200, "{}", got.body);
        has_ended(&flyball, "judged", 1).await;
        assert_eq!(
            scores(&flyball).await,
            [of("m-big", 1_000_000), of("m-small", score)],
            "{small}"
        );
    }
}

#[tokio::test]
async fn a_judge_is_not_asked_for_a_key_that_may_not_use_it() {
    let upstream = Upstream::start(says(LONG)).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", None, |key| {
        key.models = vec!["m-big".into(), "m-small".into()];
    });
    let toml = with_judge(&upstream, "judge = \"m-judge\"");
    let flyball = Flyball::start_in(dir, &toml).await;
    let river = ask("Which river flows through the capital of Moldova?");
    let key = [("authorization", "Bearer fb_app")];
    let got = flyball.chat(&key, &river.to_string()).await;
    assert_eq!(got.status, 200, "{}", got.body);
    has_ended(&flyball, "unjudged", 1).await;
    assert_eq!(upstream.count(), 1);
}
