//! As many end users as an app may have, under one rule.

use crate::until::{within, worked};
use flyball::ledger::balance::{Requirement, USERS_KEPT_MAX};
use flyball::ledger::cap::Cap;
use flyball::ledger::record::{Closing, Opening, Outcome};
use flyball::ledger::store::Store as _;
use flyball::ledger::store::sqlite::Sqlite;
use flyball::ledger::verify::verify;
use flyball::ledger::{Address, Ledger, Refused, Settings, now_ms};
use flyball::money::PicoUsd;
use futures_util::future::join_all;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const USERS: u64 = 100_000;
/// Asked at once.
const AT_ONCE: u64 = 1_000;
/// What one attempt of a user costs: each another sum, so that no two users can be taken for each other.
fn cost(user: u64) -> PicoUsd {
    PicoUsd(1_000_000 + i128::from(user))
}

fn name(user: u64) -> String {
    format!("user-{user}")
}

/// One attempt of a user, which costs its bound; false where there is no room.
async fn spends(ledger: &Arc<Ledger>, user: u64) -> bool {
    let ask = Requirement {
        fixed: cost(user),
        ..Requirement::default()
    };
    let opening = Opening {
        attempt: uuid::Uuid::now_v7().to_string(),
        at_ms: now_ms(),
        user: name(user),
        user_name: name(user),
        ..Opening::default()
    };
    match ledger.reserve(ask, opening, Duration::ZERO).await {
        Ok(reservation) => {
            let closing = Closing::at_bound(reservation.opening(), Outcome::Ok);
            reservation.post(closing);
            true
        }
        Err(Refused::Full(_)) => false,
        Err(Refused::Store(why)) => panic!("{why}"),
    }
}

async fn all_spend(ledger: &Arc<Ledger>, users: impl Iterator<Item = u64>) -> u64 {
    let users: Vec<u64> = users.collect();
    let mut answered = 0;
    for some in users.chunks(usize::try_from(AT_ONCE).expect("small")) {
        let calls = some.iter().map(|user| spends(ledger, *user));
        let spent = within("some users are served", join_all(calls)).await;
        answered += u64::try_from(spent.iter().filter(|ok| **ok).count()).expect("few");
        let kept = ledger.users_kept();
        let most = USERS_KEPT_MAX + some.len();
        assert!(kept <= most, "{kept} counters of users are in memory");
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_users_under_one_rule_take_bounded_memory_and_their_sums_are_exact() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = Settings::embedded(dir.path());
    let open = async || {
        let settings = settings.clone();
        let open = move || Ledger::open(settings).expect("a ledger");
        let ledger = worked("the ledger is opened", open).await;
        // Room for two attempts of the one who pays most, and for three of nobody.
        let cap = Cap::parse("0.0000023usd/total user").expect("a cap");
        let set = within("the cap is set", ledger.set_caps(|| vec![cap])).await;
        set.expect("set");
        ledger
    };
    let ledger = open().await;
    assert_eq!(all_spend(&ledger, 0..USERS).await, USERS);
    // The first ones are forgotten by now.
    let again = || (0..USERS).step_by(10);
    assert_eq!(all_spend(&ledger, again()).await, USERS / 10);
    assert_eq!(
        all_spend(&ledger, again()).await,
        0,
        "nobody has room for a third"
    );
    within("the ledger is written", ledger.flush()).await;
    drop(ledger);
    let ledger = open().await;
    assert_eq!(ledger.users_kept(), 0, "nobody is needed yet");
    assert_eq!(all_spend(&ledger, again().take(2_000)).await, 0);
    within("the ledger is written", ledger.flush()).await;
    let path = dir.path().to_owned();
    let compare = move || {
        let mut store = Sqlite::open(&path).expect("a store");
        let found = verify(&mut store).expect("it can be replayed");
        assert!(found.is_whole(), "{found:?}");
        let sums = store.sums().expect("sums");
        let sums: HashMap<String, i128> = sums.into_iter().map(|s| (s.counter, s.posted)).collect();
        for user in 0..USERS {
            let times = if user % 10 == 0 { 2 } else { 1 };
            let counter = format!("user={}|usd|total|UTC", name(user));
            assert_eq!(
                sums.get(&counter),
                Some(&(cost(user).0 * times)),
                "{counter}"
            );
        }
    };
    worked("the books are compared", compare).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_share_the_room_of_each_user() {
    let url = worked("a database is made", super::database).await;
    let Some(url) = url else {
        return;
    };
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let settings = Settings {
            shared: Some(Address(secrecy::SecretString::from(url.clone()))),
            ..Settings::embedded(Path::new(""))
        };
        let open = move || Ledger::open(settings).expect("a ledger");
        let ledger = worked("the ledger is opened", open).await;
        let cap = Cap::parse("0.0000035usd/total user").expect("a cap");
        let set = within("the cap is set", ledger.set_caps(|| vec![cap])).await;
        set.expect("set");
        replicas.push(ledger);
    }
    for round in 0..5 {
        let ledger = &replicas[round % 2];
        let answered = all_spend(ledger, 0..50).await;
        // Each has room for three attempts, wherever they are made.
        assert_eq!(answered, if round < 3 { 50 } else { 0 }, "{round}");
        // What a replica does not need, others may have.
        within("what is leased goes back", ledger.drain()).await;
    }
}
