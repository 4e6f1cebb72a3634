//! Equal requests at the same time: one call, listened to by all, and cut for nobody by another one's going.

use super::{ON, USE, body, gated, good, had, start, ways};
use crate::client::{Call, post, send};
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Step, Upstream, answer, delta, end, finish, piece, stream_head};
use crate::until::until_asked;

const MANY: usize = 100;

/// Waits until so many requests listen to an answer or have made the call.
async fn listening(flyball: &Flyball, many: usize) {
    until_asked(&format!("{many} listen"), async || {
        flyball
            .running
            .state
            .response_cache
            .load()
            .as_ref()
            .is_some_and(|c| c.listeners() == many)
    })
    .await;
}

async fn asked(flyball: &Flyball, stream: bool) -> Call {
    send(flyball.at(), "/v1/chat/completions", &[USE], &body(stream)).await
}

#[tokio::test]
async fn a_hundred_equal_requests_at_once_are_one_call() {
    for stream in [false, true] {
        let mut steps = vec![Step::Gate];
        steps.extend(good(stream));
        let upstream = Upstream::start(steps).await;
        let flyball = start(&upstream, ON).await;
        let mut calls = Vec::new();
        for _ in 0..MANY {
            calls.push(asked(&flyball, stream).await);
        }
        listening(&flyball, MANY).await;
        upstream.open_gate();
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.answer().await);
        }
        assert_eq!(upstream.count(), 1, "stream: {stream}");
        let paid = answers.iter().filter(|a| had(a) == "miss").count();
        let shared = answers.iter().filter(|a| had(a) == "shared").count();
        assert_eq!((paid, shared), (1, MANY - 1));
        for answer in &answers {
            assert_eq!((answer.status, &answer.body), (200, &answers[0].body));
            assert!(!answer.is_cut() && !answer.body.is_empty());
        }
        let rows = flyball.rows().await;
        let costs = rows.iter().filter(|r| r["cost_pico_usd"] != 0).count();
        let saved = rows
            .iter()
            .filter(|r| r["cause"] == "response_cache")
            .count();
        assert_eq!((rows.len(), costs, saved), (MANY, 1, MANY - 1));
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn who_comes_in_the_middle_of_a_stream_gets_it_from_its_beginning_and_then_as_it_comes() {
    for (n, (path, body)) in ways(true).into_iter().enumerate() {
        let upstream = Upstream::start(gated()).await;
        let flyball = start(&upstream, ON).await;
        let mut first = send(flyball.at(), path, &[USE], &body).await;
        first.until("The ").await;
        let mut second = send(flyball.at(), path, &[USE], &body).await;
        second.until("The ").await;
        upstream.open_gate();
        let (first, second) = (first.answer().await, second.answer().await);
        assert_eq!(first.body, second.body, "{n} {path}");
        assert!(first.body.contains("Rhine") && !second.is_cut(), "{path}");
        assert_eq!((had(&first), had(&second)), ("miss", "shared"), "{path}");
        let id = first.header("x-flyball-request-id");
        assert_eq!(second.header("x-flyball-cache-from"), id, "{path}");
        assert_eq!(upstream.count(), 1, "{path}");
    }
}

#[tokio::test]
async fn neither_the_first_nor_a_later_one_cuts_the_others_by_going_away() {
    for first_goes in [true, false] {
        let upstream = Upstream::start(gated()).await;
        let flyball = start(&upstream, ON).await;
        let mut calls = Vec::new();
        for _ in 0..3 {
            let mut call = asked(&flyball, true).await;
            call.until("The ").await;
            calls.push(call);
        }
        drop(calls.remove(if first_goes { 0 } else { 1 }));
        listening(&flyball, 2).await;
        upstream.open_gate();
        for call in calls {
            let got = call.answer().await;
            assert!(
                got.body.contains("Rhine") && got.body.contains("[DONE]"),
                "{}",
                got.body
            );
            assert!(!got.is_cut());
        }
        assert_eq!(upstream.count(), 1);
        let again = flyball.chat(&[USE], &body(true)).await;
        assert_eq!(had(&again), "hit", "it has come to its end, and is kept");
        let rows = flyball.rows().await;
        let of = |outcome: &str| rows.iter().filter(|r| r["outcome"] == outcome).count();
        let gone = usize::from(!first_goes);
        // Whoever has made the call pays for it whole, also where others alone have heard its end.
        assert_eq!(
            (rows.len(), of("client_gone"), of("ok")),
            (4, gone, 4 - gone),
            "{rows:#?}"
        );
        let paid: Vec<_> = rows.iter().filter(|r| r["cost_pico_usd"] != 0).collect();
        assert_eq!(paid.len(), 1);
        assert_eq!(paid[0]["cost_pico_usd"], 60_000_000);
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn before_its_head_too_a_call_goes_on_for_those_who_are_left() {
    for stream in [false, true] {
        let mut steps = vec![Step::Gate];
        steps.extend(good(stream));
        let upstream = Upstream::start(steps).await;
        let flyball = start(&upstream, ON).await;
        let first = asked(&flyball, stream).await;
        upstream.reached(1).await;
        let second = asked(&flyball, stream).await;
        listening(&flyball, 2).await;
        drop(first);
        listening(&flyball, 1).await;
        upstream.open_gate();
        let got = second.answer().await;
        assert_eq!((got.status, had(&got)), (200, "shared"));
        assert_eq!(upstream.count(), 1);
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn a_call_stops_when_nobody_listens_any_more() {
    let upstream = Upstream::start(vec![stream_head(), piece(&delta("The ")), Step::Stall]).await;
    let flyball = start(&upstream, ON).await;
    let (mut first, mut second) = (asked(&flyball, true).await, asked(&flyball, true).await);
    first.until("The ").await;
    second.until("The ").await;
    drop(first);
    listening(&flyball, 1).await;
    drop(second);
    upstream.peer_closed().await;
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 2);
    assert!(
        rows.iter().all(|row| row["outcome"] == "client_gone"),
        "{rows:#?}"
    );
    upstream.next(good(true));
    let next = flyball.chat(&[USE], &body(true)).await;
    assert_eq!(had(&next), "miss", "nothing was kept of it");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_providers_failure_is_told_to_all_and_costs_one_call() {
    let mut steps = vec![Step::Gate];
    steps.extend(answer(
        400,
        r#"{"error":{"message":"no such thing","type":"invalid_request_error"}}"#,
    ));
    let upstream = Upstream::start(steps).await;
    let flyball = start(&upstream, ON).await;
    let mut calls = Vec::new();
    for _ in 0..10 {
        calls.push(asked(&flyball, false).await);
    }
    listening(&flyball, 10).await;
    upstream.open_gate();
    for call in calls {
        let got = call.answer().await;
        assert_eq!(got.status, 400);
        assert!(got.body.contains("no such thing"), "{}", got.body);
    }
    assert_eq!(upstream.count(), 1);
    assert_eq!(flyball.rows().await.len(), 1);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_stops_the_first_alone_does_not_stop_the_others() {
    // The key of the first has no money left; it shares with another one that has.
    let upstream = Upstream::start(good(false)).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "poor", Some("0.000001"), |_| {});
    make_key(&dir, "rich", Some("5"), |_| {});
    let toml = format!("{}\n{ON}share = \"all\"\n", compatible(&upstream));
    let flyball = Flyball::start_in(dir, &toml).await;
    let mut tasks = Vec::new();
    for n in 0..20 {
        let (at, body) = (flyball.at(), body(false));
        let key = if n % 2 == 0 { "poor" } else { "rich" };
        let bearer = format!("Bearer fb_{key}");
        tasks.push(tokio::spawn(async move {
            let headers = [("authorization", &*bearer), USE];
            (
                n % 2,
                post(at, "/v1/chat/completions", &headers, &body).await,
            )
        }));
    }
    let mut calls = 0;
    for task in tasks {
        let (rich, got) = task.await.expect("an answer");
        match rich {
            // It pays nothing for another one's answer, and has nothing for one of its own.
            0 => assert!([200, 402].contains(&got.status), "{}", got.body),
            _ => assert_eq!(got.status, 200, "{}", got.body),
        }
        calls += usize::from(had(&got) == "miss");
    }
    assert_eq!((calls, upstream.count()), (1, 1));
    flyball.books_are_right().await;
}

#[tokio::test]
async fn an_answer_that_is_too_long_to_be_kept_goes_to_all_who_listen_all_the_same() {
    let words = "x".repeat(3_000);
    let mut steps = vec![stream_head(), piece(&delta("The ")), Step::Gate];
    steps.extend((0..40).map(|_| piece(&delta(&words))));
    steps.extend(finish(10, 5).iter().map(|event| piece(event)));
    steps.push(end());
    let upstream = Upstream::start(steps).await;
    let flyball = start(&upstream, &format!("{ON}answer_bytes_max = 10000\n")).await;
    let (mut first, mut second) = (asked(&flyball, true).await, asked(&flyball, true).await);
    first.until("The ").await;
    second.until("The ").await;
    upstream.open_gate();
    let (first, second) = tokio::join!(first.answer(), second.answer());
    assert_eq!(first.body, second.body);
    assert!(first.body.len() > 120_000 && first.body.contains("[DONE]"));
    assert_eq!(upstream.count(), 1);
    let again = flyball.chat(&[USE], &body(true)).await;
    assert_eq!(had(&again), "miss");
    let figures = flyball.running.state.response_cache.load();
    assert_eq!(figures.as_ref().map(|cache| cache.figures().bytes), Some(0));
    flyball.books_are_right().await;
}

#[tokio::test]
async fn usage_that_only_the_trailers_tell_is_told_to_the_one_that_pays() {
    let upstream = Upstream::start(gated()).await;
    let flyball = start(&upstream, ON).await;
    let headers = [USE, ("te", "trailers")];
    let ask = || send(flyball.at(), "/v1/chat/completions", &headers, TRAILED);
    let mut first = ask().await;
    first.until("The ").await;
    let mut second = ask().await;
    second.until("The ").await;
    upstream.open_gate();
    let (first, second) = (first.answer().await, second.answer().await);
    assert!(
        first.trailers.contains("x-flyball-cost-usd: 0.00006"),
        "{}",
        first.trailers
    );
    assert!(
        !second.trailers.contains("x-flyball-cost-usd"),
        "{}",
        second.trailers
    );
    assert!(!second.is_cut());
}

const TRAILED: &str =
    r#"{"model":"m-small","stream":true,"messages":[{"role":"user","content":"Name a river."}]}"#;
