//! What is bounded only roughly keeps nobody out who has room.

use super::KEY;
use super::media::{capped, fleet};
use crate::client::post;
use crate::scripted::{Step, Upstream, answer, chat};
use crate::until::{until_asked, within};
use futures_util::future::join_all;
use serde_json::json;

/// Requests at once.
const ASKED: usize = 7;

#[tokio::test]
async fn requests_that_are_open_hold_what_their_words_are_and_not_their_bytes_where_a_cap_has_little_left()
 {
    let mut steps = vec![Step::Gate];
    steps.extend(answer(200, &chat(1_600, 50)));
    let upstream = Upstream::start(steps).await;
    // 1,000 words are 1,000 tokens and 5,000 bytes. With 512 tokens around them and 100 of an answer at ten times the price each
    // request needs up to 2,600 tokens' worth, and 6,600 if a byte were a token: seven of those are more than there is.
    let (asked, cap) = ("word ".repeat(1_000), "0.020");
    let config = fleet(&upstream, "openai", "gpt-4o", "");
    let flyball = capped(cap, &format!("lower_limits = false\n{config}")).await;
    let body = json!({"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": asked}]});
    let (body, at) = (body.to_string(), flyball.at());
    let calls = (0..ASKED).map(|_| {
        let body = body.clone();
        tokio::spawn(async move { post(at, "/v1/chat/completions", &[KEY], &body).await.status })
    });
    let calls: Vec<_> = calls.collect();
    // A refusal does not pass the gate.
    until_asked("all are decided", async || {
        upstream.count() + calls.iter().filter(|call| call.is_finished()).count() == ASKED
    })
    .await;
    let admitted = upstream.count();
    upstream.open_gate();
    let ended = within("all end", join_all(calls)).await;
    let statuses: Vec<u16> = ended
        .into_iter()
        .map(|status| status.expect("it ends"))
        .collect();
    assert_eq!((admitted, statuses), (ASKED, vec![200; ASKED]));
    flyball.books_are_right().await;
}
