//! Where a provider fails: what the client sees, who is asked instead, and what stands in the books.

mod matrix;

use crate::client::{Answer, post};
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{
    Nobody, Step, Upstream, answer, chat, delta, end, finish, piece, stream_head,
};
use crate::until::until;
use flyball::ledger::report::{Query, read};
use serde_json::json;

const KEY: (&str, &str) = ("authorization", "Bearer fb_app");
const PUZZLE: &str = "How many ways are there to seat eight people around a round table so that no two of three sworn enemies are neighbours? Show your steps.";
const BUSY: &str =
    r#"{"error":{"message":"overloaded","type":"server_error","code":"overloaded"}}"#;

fn puzzle(stream: bool) -> String {
    json!({"model": "auto", "max_tokens": 3000, "stream": stream, "messages": [{"role": "user", "content": PUZZLE}]})
        .to_string()
}

fn good(stream: bool) -> Vec<Step> {
    if !stream {
        return answer(200, &chat(10, 5));
    }
    let mut steps = vec![stream_head(), piece(&delta("hi there"))];
    steps.extend(finish(10, 5).iter().map(|event| piece(event)));
    steps.push(end());
    steps
}

/// `m-big`, which the puzzle goes to, at `big`; `m-small` at another provider.
async fn started(big: &str, small: &Upstream, capped: bool, more: &str) -> Flyball {
    let models = compatible(small);
    let (provider, _) = models.split_once("[[model]]").expect("models");
    let dear = provider.replacen("name = \"up\"", "name = \"dear\"", 1);
    let dear = dear.replace(&small.url(), big);
    let (first, last) = models.rsplit_once("provider = \"up\"").expect("two models");
    let dir = tempfile::tempdir().expect("a folder");
    if capped {
        make_key(&dir, "app", Some("5"), |_| {});
    }
    Flyball::start_in(
        dir,
        &format!("{more}\n{first}provider = \"dear\"{last}\n{dear}"),
    )
    .await
}

async fn asked(flyball: &Flyball, capped: bool, stream: bool) -> Answer {
    let headers: &[(&str, &str)] = if capped { &[KEY] } else { &[] };
    flyball.chat(headers, &puzzle(stream)).await
}

/// One fault at the better provider: its answer, whether another arm may answer in its place, and how its own attempt ends.
struct Fault {
    name: &'static str,
    steps: Vec<Step>,
    /// Only where the answer is streamed, or only where it is not.
    stream: Option<bool>,
    moves_on: bool,
    status: u16,
    outcome: &'static str,
}

fn said(status: u16, more: &str) -> Vec<Step> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {}\r\n\r\n",
        BUSY.len()
    );
    vec![Step::Send(format!("{head}{BUSY}").into_bytes())]
}

fn faults() -> Vec<Fault> {
    let fault = |name, steps, moves_on, status, outcome| Fault {
        name,
        steps,
        stream: None,
        moves_on,
        status,
        outcome,
    };
    let error = format!(
        "data: {}\n\n",
        BUSY.replace("\"server_error\"", "\"overloaded_error\"")
    );
    vec![
        fault("429", said(429, ""), true, 429, "refused_upstream"),
        fault(
            "429 for long",
            said(429, "retry-after: 30\r\n"),
            true,
            429,
            "refused_upstream",
        ),
        fault("529", said(529, ""), true, 529, "refused_upstream"),
        fault("401", said(401, ""), true, 401, "refused_upstream"),
        fault("500", said(500, ""), false, 500, "upstream_error"),
        fault("reset", vec![Step::Reset], false, 502, "upstream_error"),
        Fault {
            stream: Some(true),
            ..fault(
                "busy in its first event",
                vec![stream_head(), piece(&error), end()],
                true,
                200,
                "refused_upstream",
            )
        },
        Fault {
            stream: Some(true),
            ..fault(
                "cut after a word",
                vec![stream_head(), piece(&delta("hi")), Step::Reset],
                false,
                200,
                "stream_cut",
            )
        },
    ]
}

#[tokio::test]
async fn a_routed_request_moves_on_where_its_provider_can_have_billed_nothing_and_never_else() {
    for capped in [false, true] {
        for fault in faults() {
            for stream in [false, true] {
                if fault.stream.is_some_and(|only| only != stream) {
                    continue;
                }
                let what = format!("{}, stream {stream}, capped {capped}", fault.name);
                let big = Upstream::start(fault.steps.clone()).await;
                let small = Upstream::start(good(stream)).await;
                let flyball = started(&big.url(), &small, capped, "").await;
                let got = asked(&flyball, capped, stream).await;
                assert_eq!(big.count(), 1, "{what}: the fault was there");
                let served = (
                    got.header("x-flyball-model"),
                    got.header("x-flyball-barred"),
                );
                if fault.moves_on {
                    assert_eq!(
                        (got.status, small.count()),
                        (200, 1),
                        "{what}: {}",
                        got.body
                    );
                    assert_eq!(served, (Some("m-small"), Some("m-big: failed")), "{what}");
                    assert!(got.body.contains("hi there"), "{what}: {}", got.body);
                } else {
                    assert_eq!(
                        (got.status, small.count()),
                        (fault.status, 0),
                        "{what}: {}",
                        got.body
                    );
                }
                flyball.flush().await;
                let rows = flyball.rows().await;
                assert_eq!(rows[0]["outcome"], fault.outcome, "{what}");
                assert_eq!(rows.len(), 1 + usize::from(fault.moves_on), "{what}");
                if fault.moves_on {
                    assert_eq!(rows[0]["cost_pico_usd"], 0, "{what}");
                    assert_eq!(
                        (&rows[1]["model"], &rows[1]["outcome"]),
                        (&json!("m-small"), &json!("ok")),
                        "{what}"
                    );
                }
                flyball.books_are_right().await;
            }
        }
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_no_end_of_a_routed_request() {
    for stream in [false, true] {
        let (nobody, small) = (Nobody::new(), Upstream::start(good(stream)).await);
        let flyball = started(&nobody.url(), &small, true, "").await;
        let got = asked(&flyball, true, stream).await;
        assert_eq!(
            (got.status, got.header("x-flyball-model")),
            (200, Some("m-small")),
            "{}",
            got.body
        );
        flyball.flush().await;
        let rows = flyball.rows().await;
        assert_eq!(rows[0]["outcome"], "not_sent");
        // Both are one request, which the last of them has answered.
        assert_eq!(rows[1]["escalated_from"], rows[0]["attempt"]);
        let query = Query::between(i64::MIN, i64::MAX, Vec::new());
        let told = read(flyball.books().as_mut(), &query).expect("a report");
        let sums = told.total.sums;
        assert_eq!((sums.requests, sums.attempts), (1, 2), "{rows:?}");
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn who_fails_again_and_again_is_left_alone_until_it_is_well() {
    let big = Upstream::start(said(503, "")).await;
    let small = Upstream::start(good(false)).await;
    let flyball = started(&big.url(), &small, false, "").await;
    let mut down = 0;
    for _ in 0..40 {
        let got = asked(&flyball, false, false).await;
        assert_eq!(got.status, 200, "{}", got.body);
        down += usize::from(got.header("x-flyball-barred") == Some("m-big: down"));
    }
    // How many seconds forty requests take is the machine's affair: one of them may have tried it again.
    assert!(down >= 20, "{down} of 40 did not ask");
    assert_eq!(big.count() + down, 40);
    // An alert tells of it, although hardly anything fails any more.
    let metrics = flyball.metrics().await;
    let line = format!("flyball_arms_passed_over_total{{model=\"m-big\",reason=\"down\"}} {down}");
    assert!(metrics.contains(&line), "{line}\n{metrics}");
    for _ in 0..10 {
        big.next(good(false));
    }
    let well = std::cell::Cell::new(false);
    while !well.get() {
        let got = asked(&flyball, false, false).await;
        well.set(got.header("x-flyball-model") == Some("m-big"));
        tokio::task::yield_now().await;
    }
    let got = asked(&flyball, false, false).await;
    assert_eq!(
        (
            got.header("x-flyball-model"),
            got.header("x-flyball-barred")
        ),
        (Some("m-big"), None)
    );
}

#[tokio::test]
async fn who_is_tried_anew_by_a_request_that_names_it_is_left_alone_by_all_others() {
    let big = Upstream::start(answer(500, "{}")).await;
    let small = Upstream::start(good(false)).await;
    let flyball = started(&big.url(), &small, false, "").await;
    let named = puzzle(false).replace("auto", "m-big");
    for _ in 0..3 {
        assert_eq!(flyball.chat(&[], &named).await.status, 500);
    }
    let health = &flyball.running.state.channels.health;
    health.pretend_to_wait(std::time::Duration::from_secs(2));
    big.next(vec![Step::Stall]);
    let at = flyball.at();
    let trying = tokio::spawn(async move { post(at, "/v1/chat/completions", &[], &named).await });
    big.reached(4).await;
    let got = asked(&flyball, false, false).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(got.header("x-flyball-barred"), Some("m-big: down"));
    assert_eq!(big.count(), 4);
    trying.abort();
}

#[tokio::test]
async fn where_everybody_is_down_the_best_arm_is_asked_all_the_same() {
    let big = Upstream::start(said(503, "")).await;
    let small = Upstream::start(said(503, "")).await;
    let flyball = started(&big.url(), &small, false, "retries = 0").await;
    for _ in 0..5 {
        assert_eq!(asked(&flyball, false, false).await.status, 503);
    }
    let before = big.count();
    big.next(good(false));
    let got = asked(&flyball, false, false).await;
    assert_eq!((got.status, big.count()), (200, before + 1), "{}", got.body);
}

#[tokio::test]
async fn who_says_what_a_request_may_cost_pays_for_one_failure_only_where_everybody_is_down_too() {
    let big = Upstream::start(said(503, "")).await;
    let small = Upstream::start(said(503, "")).await;
    let flyball = started(&big.url(), &small, false, "retries = 0").await;
    for _ in 0..5 {
        assert_eq!(asked(&flyball, false, false).await.status, 503);
    }
    let before = (big.count(), small.count());
    // It may have been at work.
    big.next(answer(500, r#"{"error":{"message":"it broke"}}"#));
    let most = [("x-flyball-max-cost-usd", "5")];
    let got = flyball.chat(&most, &puzzle(false)).await;
    assert_eq!(
        (got.status, big.count(), small.count()),
        (500, before.0 + 1, before.1),
        "{}",
        got.body
    );
}

#[tokio::test]
async fn what_is_free_does_not_become_paid_in_silence() {
    let free = Upstream::start(said(503, "")).await;
    let paid = Upstream::start(good(false)).await;
    let toml = compatible(&free);
    let toml = toml.replacen(
        "name = \"m-small\"\n",
        "name = \"m-small\"\nfree = true\n",
        1,
    );
    let (models, _) = toml
        .split_once("[[model]]\nname = \"m-big\"")
        .expect("two models");
    let models = models
        .replace("input_usd_per_mtok = 1\n", "")
        .replace("output_usd_per_mtok = 10\n", "");
    let other = compatible(&paid).replacen("name = \"up\"", "name = \"paid\"", 1);
    let (provider, rest) = other.split_once("[[model]]").expect("models");
    let (_, big) = rest.split_once("[[model]]").expect("two models");
    let big = big.replace("provider = \"up\"", "provider = \"paid\"");
    let toml = format!("retries = 0\n{models}{provider}[[model]]{big}");
    let easy = json!({"model": "auto:cheap", "messages": [{"role": "user", "content": "What is the capital of France?"}]}).to_string();
    let flyball = Flyball::start(&toml).await;
    let got = flyball.chat(&[], &easy).await;
    assert_eq!(
        (got.status, free.count(), paid.count()),
        (503, 1, 0),
        "{}",
        got.body
    );
}

#[tokio::test]
async fn one_arm_alone_is_asked_once_more_and_only_where_the_app_left_the_choice_to_us() {
    for (model, status, calls) in [("auto", 200, 2), ("m-big", 503, 1)] {
        let big = Upstream::start(good(false)).await;
        big.next(said(503, ""));
        let toml = compatible(&big);
        let (provider, _) = toml.split_once("[[model]]").expect("models");
        let (_, only) = toml.rsplit_once("[[model]]").expect("models");
        let flyball = Flyball::start(&format!("{provider}[[model]]{only}")).await;
        let body = puzzle(false).replace("\"auto\"", &format!("\"{model}\""));
        let got = flyball.chat(&[], &body).await;
        assert_eq!(
            (got.status, big.count()),
            (status, calls),
            "{model}: {}",
            got.body
        );
        flyball.flush().await;
        assert_eq!(
            flyball.rows().await.len(),
            calls,
            "each try is in the books"
        );
    }
}

#[tokio::test]
async fn an_outage_does_not_multiply_the_requests() {
    let big = Upstream::start(said(503, "")).await;
    let toml = compatible(&big);
    let (provider, _) = toml.split_once("[[model]]").expect("models");
    let (_, only) = toml.rsplit_once("[[model]]").expect("models");
    let flyball = Flyball::start(&format!("{provider}[[model]]{only}")).await;
    let mut calls = tokio::task::JoinSet::new();
    let (at, body) = (flyball.at(), puzzle(false));
    for _ in 0..100 {
        let body = body.clone();
        calls.spawn(async move { post(at, "/v1/chat/completions", &[], &body).await.status });
    }
    while let Some(status) = calls.join_next().await {
        assert_eq!(status.expect("no panic"), 503);
    }
    until("all of it is over", || big.count() >= 100).await;
    assert!(big.count() > 100, "some were asked once more");
    assert!(big.count() <= 120, "{} calls for 100 requests", big.count());
}

#[tokio::test]
async fn an_operator_may_say_that_nobody_else_answers_or_always_somebody() {
    for (says, status, served) in [("never", 503, 0), ("always", 200, 1)] {
        let fault = if says == "never" {
            said(503, "")
        } else {
            said(500, "")
        };
        let big = Upstream::start(fault).await;
        let small = Upstream::start(good(false)).await;
        let more = format!("fallback_after = \"{says}\"\nretries = 0");
        let flyball = started(&big.url(), &small, false, &more).await;
        let got = asked(&flyball, false, false).await;
        assert_eq!(
            (got.status, small.count()),
            (status, served),
            "{says}: {}",
            got.body
        );
    }
}
