//! Providers over HTTP/2: who shares a connection, what is sent again and what never, and what becomes of those who share one.

use crate::client;
use crate::flyball::{Flyball, compatible_at};
use crate::scripted::http2::{Http2Upstream, Turn};
use crate::scripted::{Upstream, answer, chat, chat_stream};
use crate::until::{until, within};
use tokio::task::JoinSet;

const ASK: &str = r#"{"model":"m-small","messages":[{"role":"user","content":"hello"}]}"#;
const STREAM: &str =
    r#"{"model":"m-small","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
/// RFC 9113, 7.
const CANCEL: u32 = 8;

/// A flyball that speaks HTTP/2 with this provider.
async fn before(upstream: &Http2Upstream, more: &str) -> Flyball {
    let toml = compatible_at(
        &format!("http://{}", upstream.address),
        "http2 = \"always\"",
    );
    Flyball::start(&format!("{more}{toml}")).await
}

/// So many requests at once.
fn asking(flyball: &Flyball, many: usize) -> JoinSet<u16> {
    let at = flyball.at();
    (0..many)
        .map(|_| async move {
            client::post(at, "/v1/chat/completions", &[], ASK)
                .await
                .status
        })
        .collect()
}

#[tokio::test]
async fn requests_share_a_connection_and_books_are_as_ever() {
    let upstream = Http2Upstream::start().await;
    let flyball = before(&upstream, "").await;
    assert_eq!(flyball.chat(&[], ASK).await.status, 200);
    upstream.always(Turn::Gate);
    let answers = asking(&flyball, 20);
    upstream.reached(21).await;
    upstream.open_gate();
    let answers = within("all answers", answers.join_all()).await;
    assert_eq!(answers, [200; 20]);
    assert_eq!(upstream.connections(), 1);
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 21);
    assert!(
        rows.iter().all(|row| row["basis"] == "reported"),
        "{rows:?}"
    );
    assert!(upstream.bodies().iter().all(|body| body == ASK));
    flyball.books_are_right().await;
}

#[tokio::test]
async fn where_a_connection_is_full_there_are_several() {
    let upstream = Http2Upstream::with(2, true).await;
    let flyball = before(&upstream, "").await;
    // After an answer the limit is known.
    assert_eq!(flyball.chat(&[], ASK).await.status, 200);
    upstream.always(Turn::Gate);
    let answers = asking(&flyball, 5);
    upstream.reached(6).await;
    upstream.open_gate();
    let answers = within("all answers", answers.join_all()).await;
    assert_eq!(answers, [200; 5]);
    assert_eq!((upstream.connections(), upstream.count()), (3, 6));
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_stream_and_the_connection_stays() {
    let upstream = Http2Upstream::start().await;
    let flyball = before(&upstream, "").await;
    for (n, turn) in [Turn::Begin, Turn::Silence].into_iter().enumerate() {
        upstream.next(turn);
        let mut call = client::send(flyball.at(), "/v1/chat/completions", &[], STREAM).await;
        if n == 0 {
            call.until("first").await;
        }
        upstream.reached(2 * n + 1).await;
        drop(call);
        until("the stream is reset", || upstream.resets().len() == n + 1).await;
        assert_eq!(flyball.chat(&[], ASK).await.status, 200);
        let rows = flyball.rows().await;
        assert_eq!(rows[2 * n]["outcome"], "client_gone");
        // Nobody knows whether this provider stops, so it is charged at the bound.
        assert_eq!(rows[2 * n]["basis"], "bound");
    }
    assert_eq!(upstream.resets(), [CANCEL, CANCEL]);
    assert_eq!(upstream.connections(), 1);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_a_server_has_refused_unread_is_sent_again_and_booked_once() {
    let upstream = Http2Upstream::start().await;
    let flyball = before(&upstream, "").await;
    for turn in [Turn::Refuse, Turn::LeaveBefore] {
        let (seen, connections) = (upstream.count(), upstream.connections());
        upstream.next(turn);
        assert_eq!(flyball.chat(&[], ASK).await.status, 200, "{turn:?}");
        assert_eq!(upstream.count(), seen + 2, "{turn:?}");
        let more = upstream.connections() - connections;
        assert!((1..=2).contains(&more), "{turn:?}: {more}");
    }
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["outcome"] == "ok"), "{rows:?}");
}

#[tokio::test]
async fn a_connection_that_is_full_is_left_until_one_of_its_requests_ends() {
    let upstream = Http2Upstream::start().await;
    let flyball = before(&upstream, "").await;
    upstream.next(Turn::Gate);
    let open = asking(&flyball, 1);
    upstream.reached(1).await;
    upstream.next(Turn::Refuse);
    assert_eq!(flyball.chat(&[], ASK).await.status, 200);
    // What was refused went elsewhere, and so does what comes after it.
    assert_eq!((upstream.connections(), upstream.count()), (2, 3));
    upstream.open_gate();
    assert_eq!(within("the answer", open.join_all()).await, [200]);
    assert_eq!(flyball.chat(&[], ASK).await.status, 200);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_not_asked_for_ever_and_bills_nothing() {
    let upstream = Http2Upstream::start().await;
    let flyball = before(&upstream, "retries = 0\n").await;
    upstream.always(Turn::Refuse);
    let answer = flyball.chat(&[], ASK).await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert!(
        answer.body.contains("has not taken the request"),
        "{}",
        answer.body
    );
    assert!((2..=4).contains(&upstream.count()), "{}", upstream.count());
    let rows = flyball.rows().await;
    assert_eq!((rows.len(), &rows[0]["outcome"]), (1, &"not_sent".into()));
    assert_eq!(rows[0]["cost_pico_usd"], 0);
}

#[tokio::test]
async fn a_server_that_leaves_answers_what_it_has_and_is_asked_anew_on_another_connection() {
    let upstream = Http2Upstream::start().await;
    let flyball = before(&upstream, "").await;
    upstream.next(Turn::LeaveAfter);
    for _ in 0..2 {
        assert_eq!(flyball.chat(&[], ASK).await.status, 200);
    }
    assert_eq!((upstream.connections(), upstream.count()), (2, 2));
}

#[tokio::test]
async fn what_a_server_may_have_taken_up_is_not_sent_again() {
    let upstream = Http2Upstream::start().await;
    let flyball = before(&upstream, "").await;
    upstream.always(Turn::Die);
    let answer = flyball.chat(&[], ASK).await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert_eq!(upstream.count(), 1);
    let rows = flyball.rows().await;
    assert_eq!(
        (rows.len(), &rows[0]["outcome"]),
        (1, &"upstream_error".into())
    );
    assert_eq!(rows[0]["basis"], "bound");
}

#[tokio::test]
async fn a_dead_connection_is_found_by_a_ping() {
    let upstream = Http2Upstream::with(100, false).await;
    // A quarter of it is how long a server may be silent before it is asked.
    let flyball = before(&upstream, "[limits]\nidle = \"1s\"\n").await;
    upstream.always(Turn::Silence);
    let answer = flyball.chat(&[], ASK).await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert!(answer.body.contains("took too long"), "{}", answer.body);
    assert_eq!((upstream.count(), upstream.pings()), (1, 1));

    // One that is only slow is asked again and again, and left alone.
    let upstream = Http2Upstream::start().await;
    let flyball = before(&upstream, "[limits]\nidle = \"1s\"\n").await;
    upstream.always(Turn::Gate);
    let answer = asking(&flyball, 1);
    until("it is asked twice", || upstream.pings() >= 2).await;
    upstream.open_gate();
    assert_eq!(within("the answer", answer.join_all()).await, [200]);
}

#[tokio::test]
async fn a_client_that_takes_nothing_does_not_stall_those_who_share_its_connection() {
    let upstream = Http2Upstream::start().await;
    let flyball = before(&upstream, "").await;
    // More than HTTP/2 gives a connection by itself, and what flyball gives a stream.
    for _ in 0..4 {
        upstream.next(Turn::Fill(250 * 1024));
    }
    let mut calls = Vec::new();
    for n in 1..=4 {
        let call = client::send(flyball.at(), "/v1/chat/completions", &[], STREAM).await;
        upstream.reached(n).await;
        calls.push(call);
    }
    assert_eq!(flyball.chat(&[], ASK).await.status, 200);
    assert_eq!(upstream.connections(), 1);
    assert!(upstream.resets().is_empty());
}

#[tokio::test]
async fn a_server_that_does_not_speak_it_where_it_must_is_an_error_and_else_is_spoken_to_as_ever() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    for (way, status) in [("always", 502), ("auto", 200), ("never", 200)] {
        let toml = compatible_at(&upstream.url(), &format!("http2 = \"{way}\""));
        let flyball = Flyball::start(&toml).await;
        assert_eq!(flyball.chat(&[], ASK).await.status, status, "{way}");
    }
}

#[tokio::test]
async fn a_flyball_behind_another_is_spoken_to_over_http2_in_full() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let behind = Flyball::start(&compatible_at(&upstream.url(), "")).await;
    let toml = compatible_at(&format!("http://{}", behind.at()), "http2 = \"always\"");
    let flyball = Flyball::start(&toml).await;
    let answer = flyball.chat(&[("x-app", "a")], ASK).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    upstream.next(chat_stream(&["one ", "two"], 3, 2));
    let answer = flyball.chat(&[], STREAM).await;
    assert!(answer.body.ends_with("[DONE]\n\n"), "{}", answer.body);
    let seen = upstream.seen();
    assert_eq!(seen[0].header("x-app").as_deref(), Some("a"));
    assert_eq!(seen[0].body, ASK);
    assert_eq!(
        (behind.rows().await.len(), flyball.rows().await.len()),
        (2, 2)
    );
}

#[test]
fn a_wrong_way_is_told_with_its_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let toml = compatible_at("http://127.0.0.1:1", "http2 = \"sometimes\"");
    std::fs::write(dir.path().join("flyball.toml"), toml).expect("written");
    let Err(all) = flyball::config::load(&crate::flyball::overrides(&dir)) else {
        panic!("it is taken");
    };
    let told = all[0].to_string();
    assert!(
        told.contains("flyball.toml:6: ") && told.contains("sometimes"),
        "{told}"
    );
    assert!(told.contains("auto"), "{told}");
}
