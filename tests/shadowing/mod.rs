//! The shadow of live traffic: another arm is asked the same off the path, both answers are judged, and nobody else notices.

mod judging;
mod settings;

use crate::client::send;
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Step, Upstream, answer, chat, chat_stream, delta, piece, stream_head};
use crate::until::until_asked;
use flyball::ledger::judged::JudgedAnswer;
use serde_json::{Value, json};

const KEY: [(&str, &str); 1] = [("authorization", "Bearer fb_app")];

/// The client asks the big model by its name; the small one is its shadow.
pub fn ask(words: &str) -> Value {
    json!({"model": "m-big", "messages": [{"role": "user", "content": words}]})
}

/// A whole answer of these words.
pub fn says(words: &str) -> Vec<Step> {
    let mut body: Value = serde_json::from_str(&chat(10, 5)).expect("JSON");
    body["choices"][0]["message"]["content"] = words.into();
    answer(200, &body.to_string())
}

pub fn config(upstream: &Upstream, shadow: &str) -> String {
    format!(
        "[shadow]\nshare = 1\narm = \"m-small\"\n{shadow}\n{}",
        compatible(upstream)
    )
}

/// How many shadows have come to this end, as metrics tell it.
pub async fn ended(flyball: &Flyball, result: &str) -> u64 {
    let of = format!("result=\"{result}\"}} ");
    let metrics = flyball.metrics().await;
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("flyball_shadows_total"));
    let counts =
        lines.filter_map(|line| Some(line.split_once(&of)?.1.parse::<u64>().expect("a count")));
    counts.sum()
}

pub async fn has_ended(flyball: &Flyball, result: &str, times: u64) {
    let what = format!("{times} shadows end as {result}");
    until_asked(&what, async || ended(flyball, result).await >= times).await;
}

pub async fn outcomes(flyball: &Flyball) -> Vec<JudgedAnswer> {
    flyball.flush().await;
    let mut all = Vec::new();
    let read = flyball.books().outcomes(&mut |o| all.push(o));
    read.expect("the outcomes");
    all
}

/// Model and score of each outcome.
pub async fn scores(flyball: &Flyball) -> Vec<(String, i64)> {
    let all = outcomes(flyball).await.into_iter();
    all.map(|o| (o.model, o.score_ppm)).collect()
}

async fn shadows(flyball: &Flyball) -> Vec<Value> {
    let rows = flyball.rows().await.into_iter();
    rows.filter(|row| row["rule"] == "shadow").collect()
}

#[tokio::test]
async fn a_request_of_the_share_is_asked_of_the_other_arm_too_and_both_answers_are_judged() {
    let upstream = Upstream::start(says("Paris")).await;
    upstream.answers("m-small", says("paris."));
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", Some("5"), |key| key.team = "red".into());
    let flyball = Flyball::start_in(dir, &config(&upstream, "")).await;
    let body = ask("What is the capital of France?").to_string();
    let headers = [
        KEY[0],
        ("x-flyball-session", "s"),
        ("x-flyball-max-cost-usd", "5"),
    ];
    let got = flyball.chat(&headers, &body).await;
    assert_eq!(
        (got.status, got.header("x-flyball-model")),
        (200, Some("m-big")),
        "{}",
        got.body
    );
    has_ended(&flyball, "judged", 1).await;
    let all = outcomes(&flyball).await;
    let told: Vec<_> = all
        .iter()
        .map(|o| (&*o.model, o.score_ppm, o.by.name()))
        .collect();
    assert_eq!(
        told,
        [
            ("m-big", 1_000_000, "shadow"),
            ("m-small", 1_000_000, "shadow")
        ]
    );
    let id = got.header("x-flyball-request-id").expect("an id");
    for outcome in &all {
        assert_eq!(
            (outcome.request.as_str(), outcome.seen_ppm),
            (id, 1_000_000)
        );
        assert!(
            outcome.cost.is_some() && outcome.key.is_some() && outcome.task == "simple_question"
        );
    }
    // The client's headers are no wish of the other request, and its spending is not the client's.
    let seen = upstream.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[1].header("x-flyball-session").is_none() && seen[1].body.contains("m-small"));
    let rows = shadows(&flyball).await;
    let [row] = &rows[..] else {
        panic!("{rows:#?}")
    };
    assert_eq!(
        (&row["cause"], &row["outcome"]),
        (&json!("shadow"), &json!("ok")),
        "{row}"
    );
    assert_ne!(row["key"], "app", "{row}");
    assert_eq!(row["baseline_pico_usd"], 0, "all of it is lost: {row}");
    assert_ne!(row["request"], id);
    let cost = row["cost_pico_usd"].as_i64().expect("a cost");
    assert!(cost > 0);
    for standing in flyball.running.state.ledger.standings() {
        let name = standing.counter.to_string();
        if name.contains("key=") && !name.contains("key=0") {
            assert!(
                standing.posted > 0 && standing.posted != i128::from(cost),
                "{name}"
            );
        }
        if name.contains("flyball.shadow") {
            assert_eq!(standing.posted, i128::from(cost), "{name}");
        }
    }
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_client_that_leaves_drops_no_shadow() {
    let upstream = Upstream::start(says("Paris")).await;
    let stalls = vec![stream_head(), piece(&delta("Pa")), Step::Stall];
    upstream.next(stalls);
    upstream.answers("m-small", chat_stream(&["Par", "is"], 10, 5));
    upstream.answers("m-big", chat_stream(&["Par", "is"], 10, 5));
    let flyball = Flyball::start(&config(&upstream, "")).await;
    let mut body = ask("What is the capital of France?");
    body["stream"] = true.into();
    let mut call = send(flyball.at(), "/v1/chat/completions", &[], &body.to_string()).await;
    call.until("Pa").await;
    drop(call);
    has_ended(&flyball, "judged", 1).await;
    // The arm that the client has left is asked once more, so that there are two whole answers.
    let models: Vec<_> = shadows(&flyball)
        .await
        .iter()
        .map(|row| row["model"].clone())
        .collect();
    assert_eq!(models, ["m-small", "m-big"]);
    assert_eq!(scores(&flyball).await.len(), 2);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_is_confidential_or_acts_has_no_shadow() {
    let upstream = Upstream::start(says("Paris")).await;
    let detects = crate::private::DETECTS;
    let flyball = Flyball::start(&format!("{}\n{detects}", config(&upstream, ""))).await;
    let tool =
        json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let with = |key: &str, value: Value| {
        let mut body = ask("What is the capital of France?");
        body[key] = value;
        body
    };
    let called = json!([
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ]);
    let local = [("x-flyball-privacy", "local")];
    for (headers, body) in [
        (&local[..], ask("What is the capital of France?")),
        (&[], ask("Is 4111 1111 1111 1111 a card?")),
        (&[], ask("Tell me of KD-123456")),
        (&[], with("tools", tool)),
        (&[], with("messages", called)),
        (&[], with("n", json!(2))),
    ] {
        let got = flyball.chat(headers, &body.to_string()).await;
        assert_eq!(got.status, 200, "{body}: {}", got.body);
        assert!(got.header("x-flyball-model").is_some());
    }
    let plain = ask("What is the capital of Spain?").to_string();
    assert_eq!(flyball.chat(&[], &plain).await.status, 200);
    has_ended(&flyball, "judged", 1).await;
    assert_eq!(shadows(&flyball).await.len(), 1);
    let small = upstream
        .seen()
        .into_iter()
        .filter(|seen| seen.body.contains("m-small"));
    let small: Vec<_> = small.map(|seen| seen.body).collect();
    assert!(small.len() == 1 && small[0].contains("Spain"), "{small:?}");
}

#[tokio::test]
async fn shadows_cost_no_more_than_their_own_cap_and_refuse_nobody() {
    let upstream = Upstream::start(says("Paris")).await;
    // An answer of the small model costs at most four cents, and five are made of a quarter dollar.
    upstream.answers("m-small", answer(200, &chat(40, 4_000)));
    let shadow = "cap_usd = 0.25\ncap_window = \"month\"";
    let flyball = Flyball::start(&config(&upstream, shadow)).await;
    let body = ask("What is the capital of France?").to_string();
    for n in 1..=20 {
        assert_eq!(flyball.chat(&[], &body).await.status, 200);
        until_asked("a shadow ends", async || {
            ended(&flyball, "judged").await + ended(&flyball, "no_room").await >= n
        })
        .await;
    }
    let rows = shadows(&flyball).await;
    let spent: i64 = rows
        .iter()
        .filter_map(|row| row["cost_pico_usd"].as_i64())
        .sum();
    assert!(
        rows.len() > 1 && spent <= 250_000_000_000,
        "{} {spent}",
        rows.len()
    );
    assert_eq!(
        ended(&flyball, "no_room").await,
        20 - u64::try_from(rows.len()).expect("few")
    );
    let metrics = flyball.metrics().await;
    let refusals = metrics
        .lines()
        .filter(|line| line.starts_with("flyball_cap_refusals_total"));
    let refused: Vec<_> = refusals.filter(|line| !line.ends_with(" 0")).collect();
    assert!(refused.is_empty(), "{refused:?}");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_waits_is_bounded_and_nobody_waits_for_it() {
    let upstream = Upstream::start(says("Paris")).await;
    upstream.answers("m-small", [vec![Step::Gate], says("Paris")].concat());
    let flyball = Flyball::start(&config(&upstream, "cap_usd = 100")).await;
    let body = ask("What is the capital of France?").to_string();
    // All are answered although not one of their shadows is.
    for _ in 0..80 {
        assert_eq!(flyball.chat(&[], &body).await.status, 200);
    }
    assert_eq!(ended(&flyball, "dropped").await, 16);
    let small = || {
        upstream
            .seen()
            .iter()
            .filter(|seen| seen.body.contains("m-small"))
            .count()
    };
    until_asked("a few shadows are asked at once", async || small() == 4).await;
    upstream.open_gate();
    has_ended(&flyball, "judged", 64).await;
    assert_eq!(outcomes(&flyball).await.len(), 2 * 64);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_shadow_that_fails_or_that_nothing_can_be_told_of_is_told_and_changes_nothing() {
    let long = "Paris, on the Seine, is the capital of France, and has been it for most of the time since Clovis.";
    let upstream = Upstream::start(says("Paris")).await;
    let flyball = Flyball::start(&config(&upstream, "")).await;
    let body = ask("What is the capital of France?").to_string();
    upstream.next(says("Paris"));
    upstream.next(answer(500, "{}"));
    assert_eq!(flyball.chat(&[], &body).await.status, 200);
    has_ended(&flyball, "failed", 1).await;
    // A long answer is compared by nobody where no judge is named; the other arm is not even asked.
    upstream.next(says(long));
    assert_eq!(flyball.chat(&[], &body).await.status, 200);
    has_ended(&flyball, "unjudged", 1).await;
    upstream.next(answer(400, "{}"));
    assert_eq!(flyball.chat(&[], &body).await.status, 400);
    has_ended(&flyball, "unanswered", 1).await;
    // Who asks for the shadow's own arm has no other one to be held against.
    let own = body.replace("m-big", "m-small");
    let got = flyball.chat(&[], &own).await;
    assert_eq!(got.status, 200, "{}", got.body);
    has_ended(&flyball, "unfit", 1).await;
    assert!(outcomes(&flyball).await.is_empty());
    assert_eq!(shadows(&flyball).await.len(), 1);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_shadow_takes_no_room_from_those_who_name_no_user_no_session_and_no_key() {
    for each in ["user", "session", "key"] {
        let upstream = Upstream::start(says("Paris")).await;
        let cap = format!("[[cap]]\neach = \"{each}\"\nrequests = 2\nwindow = \"day\"\n");
        let flyball = Flyball::start(&config(&upstream, &cap)).await;
        let body = ask("What is the capital of France?").to_string();
        for (n, status) in [(1, 200), (2, 200), (3, 402)] {
            let got = flyball.chat(&[], &body).await;
            assert_eq!(got.status, status, "{each} {n}: {}", got.body);
            has_ended(&flyball, "judged", n.min(2)).await;
        }
        assert_eq!(shadows(&flyball).await.len(), 2, "{each}");
        assert_eq!(upstream.count(), 4, "{each}");
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn a_shadow_is_not_asked_of_an_arm_that_the_callers_key_may_not_use() {
    let upstream = Upstream::start(says("Paris")).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", None, |key| key.models = vec!["m-big".into()]);
    let flyball = Flyball::start_in(dir, &config(&upstream, "")).await;
    let body = ask("What is the capital of France?").to_string();
    assert_eq!(flyball.chat(&KEY, &body).await.status, 200);
    has_ended(&flyball, "unfit", 1).await;
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn what_the_client_wishes_of_its_own_answer_is_no_wish_of_the_shadows() {
    let upstream = Upstream::start(says("Paris")).await;
    let toml = format!(
        "[shadow]\nshare = 1\narm = \"m-big\"\n{}",
        compatible(&upstream)
    );
    let flyball = Flyball::start(&toml).await;
    let body = json!({"model": "m-small", "max_tokens": 20, "messages": [{"role": "user", "content": "What is the capital of France?"}]});
    // Enough for the small model and not for the big one, which costs ten times as much.
    let most = [("x-flyball-max-cost-usd", "0.002")];
    let got = flyball.chat(&most, &body.to_string()).await;
    assert_eq!(got.status, 200, "{}", got.body);
    has_ended(&flyball, "judged", 1).await;
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn what_only_a_rule_asks_for_is_confidential_enough_to_have_no_shadow() {
    let upstream = Upstream::start(says("Paris")).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    let rule = "[[rule]]\nname = \"cards\"\nwhy = \"w\"\nwhen = { detected = [\"cards\"] }\nroute = { arm = \"m-big\" }\nexamples = [\"pay with 4539578763621486\"]\n";
    std::fs::write(dir.path().join("rules/own.toml"), rule).expect("a file");
    let flyball = Flyball::start_in(dir, &config(&upstream, "")).await;
    // It keeps nothing at home: both go to the provider.
    for words in [
        "Is 4111 1111 1111 1111 a card?",
        "What is the capital of Spain?",
    ] {
        let got = flyball.chat(&[], &ask(words).to_string()).await;
        assert_eq!(got.status, 200, "{}", got.body);
    }
    has_ended(&flyball, "judged", 1).await;
    let small = upstream
        .seen()
        .into_iter()
        .filter(|s| s.body.contains("m-small"));
    let small: Vec<_> = small.map(|seen| seen.body).collect();
    assert!(small.len() == 1 && small[0].contains("Spain"), "{small:?}");
}
