//! Pictures under a cap, against the provider's own bill.

use super::oracle::{Oracle, PICTURE, fleet};
use super::{compare, refusals, rounds, spent};
use crate::client::post;
use crate::flyball::{Flyball, make_key};
use crate::until::{until_asked, within};
use flyball::money::PicoUsd;
use futures_util::future::join_all;

/// One picture inline, which is large, and one by its address.
fn asked(streamed: bool, bytes: usize) -> (String, u64) {
    let inline = format!("data:image/png;base64,iVBORw0KGgo{}", "A".repeat(bytes));
    let body = format!(
        r#"{{"model":"o-sees","max_tokens":100,"stream":{streamed},"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{inline}"}}}},{{"type":"text","text":"and"}},{{"type":"image_url","image_url":{{"url":"https://x.example/b.png"}}}}]}}]}}"#
    );
    let words = u64::try_from(body.len() - inline.len() - 2).expect("small");
    let bound = (words + 528 + 2 * PICTURE) * 1_000_000 + 1_000_000_000;
    (body, bound)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_pictures_at_once_exactly_those_for_whose_bound_there_is_room_get_through() {
    let dir = tempfile::tempdir().expect("a folder");
    let oracle = Oracle::start(&dir.path().join("bill")).await;
    let rounds = rounds(2, 10, 50);
    for round in 0..rounds {
        let (_, bound) = asked(round % 2 == 1, 20_000);
        let cap = PicoUsd(i128::from(bound * 5 + 7)).usd_text();
        make_key(&dir, &format!("k{round}"), Some(&cap), |_| {});
    }
    let flyball =
        Flyball::start_in(dir, &format!("lower_limits = false\n{}", fleet(&oracle))).await;
    for round in 0..rounds {
        oracle.hold(true);
        let (body, bound) = asked(round % 2 == 1, 20_000);
        let (key, at) = (format!("Bearer fb_k{round}"), flyball.at());
        let (sent, refused) = (oracle.requests(), refusals(&flyball).await);
        let calls: Vec<_> = (0..60)
            .map(|_| {
                let (body, key) = (body.clone(), key.clone());
                tokio::spawn(async move {
                    let key = ("authorization", key.as_str());
                    post(at, "/v1/chat/completions", &[key], &body).await.status
                })
            })
            .collect();
        // Nobody ends before all are decided.
        until_asked("every request is decided", async || {
            refusals(&flyball).await >= refused + 55 && oracle.requests() >= sent + 5
        })
        .await;
        let standings = flyball.running.state.ledger.standings();
        let capped = standings.iter().filter(|s| s.limit.is_some());
        let reserved: i128 = capped.map(|s| s.reserved).sum();
        assert_eq!(
            reserved,
            i128::from(bound * 5),
            "the stated size, five times"
        );
        oracle.hold(false);
        let mut fine = 0;
        for call in within("every answer", join_all(calls)).await {
            let status = call.expect("no panic");
            assert!(matches!(status, 200 | 402), "{status}");
            fine += usize::from(status == 200);
        }
        assert_eq!((fine, oracle.requests() - sent), (5, 5), "round {round}");
        flyball.rows().await;
        let id = i64::try_from(round).expect("small") + 1;
        assert_eq!(spent(flyball.books().as_mut(), id), bound * 5);
    }
    compare(&flyball, &oracle, i64::try_from(rounds).expect("small")).await;
}
