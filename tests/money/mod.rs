//! Money against an independent witness: the provider's own bill is compared with the books after every test.
//!
//! `FLYBALL_MONEY=ci` gives the figures that CI wants, `FLYBALL_MONEY=long` those that are run once; without it there are fewer rounds.

mod agreeing;
mod kill;
mod lies;
mod media;
pub mod oracle;

use crate::client::{Answer, post};
use crate::flyball::{Flyball, make_key};
use crate::until::{until_asked, within};
use flyball::ledger::cap::{Counter, Scope};
use flyball::ledger::store::Store;
use flyball::ledger::window::Window;
use flyball::money::PicoUsd;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use oracle::{Oracle, fleet};

/// How often something is done: by default, in CI, once by hand.
pub fn rounds(usual: usize, ci: usize, long: usize) -> usize {
    match std::env::var("FLYBALL_MONEY").as_deref() {
        Ok("ci") => ci,
        Ok("long") => long,
        _ => usual,
    }
}

/// A request body for this model.
pub fn body(model: &str, limit: Option<u64>, streamed: bool, words: usize) -> String {
    let limit = limit
        .map(|l| format!("\"max_tokens\":{l},"))
        .unwrap_or_default();
    let text = "pay ".repeat(words);
    format!(
        "{{\"model\":\"{model}\",{limit}\"stream\":{streamed},\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"
    )
}

/// What the books say that a key has spent.
pub fn spent(books: &mut dyn Store, key: i64) -> u64 {
    spent_in(books, key, Window::Total)
}

/// What the books say that a key has spent in its windows of one kind.
fn spent_in(books: &mut dyn Store, key: i64, window: Window) -> u64 {
    let counter = Counter::usd(Scope::key(key), window).to_string();
    let sums = books.sums().expect("the books can be read");
    let posted: i128 = sums
        .iter()
        .filter(|s| s.counter == counter)
        .map(|s| s.posted)
        .sum();
    u64::try_from(posted).expect("not negative")
}

/// Books and bill: every pico that was billed is in the books; what is above it is flagged.
async fn compare(flyball: &Flyball, oracle: &Oracle, keys: i64) {
    let rows = flyball.rows().await;
    let mut books = flyball.books();
    let booked: u64 = (1..=keys).map(|key| spent(books.as_mut(), key)).sum();
    assert!(
        booked >= oracle.billed(),
        "booked {booked}, billed {}",
        oracle.billed()
    );
    let known: i64 = rows
        .iter()
        .filter(|r| r["basis"] == "reported")
        .filter_map(|r| r["cost_pico_usd"].as_i64())
        .sum();
    assert!(
        u64::try_from(known).expect("not negative") <= oracle.billed(),
        "what is reported is what was billed; an excess is only where flyball counted or charged the bound"
    );
    flyball.books_are_right().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_five_hundred_at_once_exactly_those_for_which_there_is_room_get_through_round_after_round()
 {
    let dir = tempfile::tempdir().expect("a folder");
    let oracle = Oracle::start(&dir.path().join("bill")).await;
    let asked = |streamed| body("o-exact", Some(100), streamed, 50);
    let bound = |streamed| {
        (u64::try_from(asked(streamed).len()).expect("small") + 528) * 1_000_000 + 1_000_000_000
    };
    let rounds = rounds(2, 50, 200);
    for round in 0..rounds {
        let cap = PicoUsd(i128::from(bound(round % 2 == 1) * 10 + 7)).usd_text();
        make_key(&dir, &format!("k{round}"), Some(&cap), |_| {});
    }
    let flyball =
        Flyball::start_in(dir, &format!("lower_limits = false\n{}", fleet(&oracle))).await;
    for round in 0..rounds {
        oracle.hold(true);
        let (asked, key, at) = (
            asked(round % 2 == 1),
            format!("Bearer fb_k{round}"),
            flyball.at(),
        );
        let (sent, refused) = (oracle.requests(), refusals(&flyball).await);
        let calls: Vec<_> = (0..500)
            .map(|_| {
                let (asked, key) = (asked.clone(), key.clone());
                tokio::spawn(async move {
                    post(
                        at,
                        "/v1/chat/completions",
                        &[("authorization", &key)],
                        &asked,
                    )
                    .await
                    .status
                })
            })
            .collect();
        // Nobody ends before all are decided.
        until_asked("every request is decided", async || {
            refusals(&flyball).await >= refused + 490 && oracle.requests() >= sent + 10
        })
        .await;
        oracle.hold(false);
        let mut fine = 0;
        for call in within("every answer", join_all(calls)).await {
            let status = call.expect("no panic");
            assert!(matches!(status, 200 | 402), "{status}");
            fine += usize::from(status == 200);
        }
        assert_eq!((fine, oracle.requests() - sent), (10, 10), "round {round}");
        flyball.rows().await;
        let id = i64::try_from(round).expect("small") + 1;
        assert_eq!(
            spent(flyball.books().as_mut(), id),
            bound(round % 2 == 1) * 10
        );
    }
    compare(&flyball, &oracle, i64::try_from(rounds).expect("small")).await;
}

async fn refusals(flyball: &Flyball) -> usize {
    let metrics = flyball.metrics().await;
    let lines = metrics
        .lines()
        .filter(|l| l.starts_with("flyball_cap_refusals_total"));
    lines
        .filter_map(|l| l.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}

/// What is posted under the key's cap, as flyball itself has it.
fn posted(flyball: &Flyball) -> i128 {
    let all = flyball.running.state.ledger.standings();
    let own = Counter::usd(Scope::key(1), Window::Total);
    let own = all.iter().find(|s| s.counter == own);
    own.map_or(0, |s| s.posted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_a_limit_that_fill_a_cap_to_nine_tenths_are_never_refused_whatever_fails() {
    let dir = tempfile::tempdir().expect("a folder");
    let oracle = Oracle::start(&dir.path().join("bill")).await;
    let calls = rounds(1_000, 20_000, 100_000);
    let faults = ["o-cut", "o-reset", "o-500", "o-429", "o-silent", "o-liar"];
    let model = |n: usize| {
        if n % 10 == 9 {
            faults[n / 10 % faults.len()]
        } else {
            "o-some"
        }
    };
    let asked = |n: usize| body(model(n), None, n.is_multiple_of(3), 20 + n % 50);
    // About what such calls are booked at, bounds of what broke off included; the last tenth has room for what is open at once.
    let cap = 2_000_000_000 * i128::try_from(calls).expect("small");
    make_key(&dir, "app", Some(&PicoUsd(cap).usd_text()), |_| {});
    let flyball = Flyball::start_in(
        dir,
        &format!("answer_tokens_max = 1024\n{}", fleet(&oracle)),
    )
    .await;
    let at = flyball.at();
    let not_full = |_: &usize| std::future::ready(posted(&flyball) < cap / 10 * 9);
    let answers = stream::iter(0..calls * 3)
        .take_while(not_full)
        .map(|n| async move {
            let key = [("authorization", "Bearer fb_app")];
            let got: Answer = post(at, "/v1/chat/completions", &key, &asked(n)).await;
            got.status
        })
        .buffer_unordered(16);
    let statuses: Vec<u16> = answers.collect().await;
    let refused = statuses.iter().filter(|s| **s == 402).count();
    assert_eq!(refused, 0, "false refusals of {}", statuses.len());
    flyball.rows().await;
    let booked = i128::from(spent(flyball.books().as_mut(), 1));
    assert!(booked >= cap / 10 * 9, "booked {booked} of {cap}");
    assert!(booked <= cap && i128::from(oracle.billed()) <= cap);
    compare(&flyball, &oracle, 1).await;
    println!(
        "{} calls: billed {}, booked {booked}, cap {cap}",
        statuses.len(),
        oracle.billed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_lowering_and_early_finishers_the_bill_stays_below_the_cap_and_no_pico_is_lost() {
    for lease in [0, 50] {
        let dir = tempfile::tempdir().expect("a folder");
        let oracle = Oracle::start(&dir.path().join("bill")).await;
        make_key(&dir, "app", Some("0.05"), |_| {});
        let toml = format!(
            "answer_tokens_min = 64\nlease_permille = {lease}\n{}",
            fleet(&oracle)
        );
        let flyball = Flyball::start_in(dir, &toml).await;
        let at = flyball.at();
        let calls = rounds(300, 2_000, 20_000);
        let statuses: Vec<u16> = stream::iter(0..calls)
            .map(|n| async move {
                // Only where the client sets the limit is its field in the body that the exact one measures.
                let limit = 100 + u64::try_from(n % 400).expect("small");
                let (model, limit) = match n % 3 {
                    0 => ("o-exact", Some(limit)),
                    1 => ("o-silent", (n % 2 == 0).then_some(limit)),
                    _ => ("o-some", None),
                };
                let asked = body(model, limit, n % 2 == 0, 10);
                post(
                    at,
                    "/v1/chat/completions",
                    &[("authorization", "Bearer fb_app")],
                    &asked,
                )
                .await
                .status
            })
            .buffer_unordered(64)
            .collect()
            .await;
        assert!(
            statuses.iter().all(|s| matches!(s, 200 | 402)),
            "{statuses:?}"
        );
        assert!(statuses.contains(&200) && statuses.contains(&402));
        let cap = 50_000_000_000;
        assert!(
            oracle.billed() <= cap,
            "billed {} of {cap}",
            oracle.billed()
        );
        compare(&flyball, &oracle, 1).await;
        assert!(spent(flyball.books().as_mut(), 1) <= cap);
    }
}
