//! What a store must do, whichever it is: the same tests for SQLite and PostgreSQL.
//!
//! PostgreSQL's run where `FLYBALL_POSTGRES` holds the address of a server in which databases may be made (`tests/e2e/postgres` starts one).

mod episodes;
mod lookups;
mod outcomes;
mod pruning;
mod replicas;
mod sums;
mod users;

use flyball::ledger::audit::Verifier;
use flyball::ledger::balance::{Posting, Want};
use flyball::ledger::cap::{Cap, Counter, Scope};
use flyball::ledger::keyring::{KeyAct, KeyChange};
use flyball::ledger::record::{Basis, Closing, Correction, Opening, Outcome, Shown, TrueUp};
use flyball::ledger::store::postgres::Postgres;
use flyball::ledger::store::sqlite::Sqlite;
use flyball::ledger::store::{EVER, Frozen, Given, Key, Store, StoreAnswer, StoreWork};
use flyball::ledger::verify::verify;
use flyball::ledger::window::Window;
use flyball::money::PicoUsd;
use flyball::probe::evidence::Sign;
use std::sync::Arc;
use std::time::Duration;

const AT: i64 = 1_800_000_000;

/// A new database of the server, or nothing where there is none; under CI that is a failure.
pub fn database() -> Option<String> {
    let Ok(server) = std::env::var("FLYBALL_POSTGRES") else {
        println!("SKIPPED: FLYBALL_POSTGRES names no server");
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "CI has a PostgreSQL"
        );
        return None;
    };
    Some(new_database(&server).expect("the server answers"))
}

/// A new database of this server; nothing where it does not answer.
fn new_database(server: &str) -> Option<String> {
    let name = format!("fb_{}", uuid::Uuid::now_v7().simple());
    let mut client = postgres::Client::connect(server, postgres::NoTls).ok()?;
    client
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .ok()?;
    let (head, query) = server.split_once('?').unwrap_or((server, ""));
    let (head, _) = head.rsplit_once('/').expect("an address with a database");
    Some(format!("{head}/{name}?{query}"))
}

/// Opens the same store again, as another process would after this one died.
type Open = Box<dyn Fn() -> Box<dyn Store>>;

fn each_store(test: impl Fn(&str, &Open)) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().to_owned();
    test(
        "sqlite",
        &(Box::new(move || Box::new(Sqlite::open(&path).expect("a store")) as Box<dyn Store>)
            as Open),
    );
    if let Some(url) = database() {
        let open = move || {
            let url = secrecy::SecretString::from(url.clone());
            // Whoever opened it before counts as dead at once.
            Box::new(Postgres::open(&url, Duration::ZERO).expect("a store")) as Box<dyn Store>
        };
        test("postgres", &(Box::new(open) as Open));
    }
}

fn opening(attempt: &str, key: i64) -> Arc<Opening> {
    Arc::new(Opening {
        attempt: attempt.into(),
        request: format!("r-{attempt}"),
        at_ms: AT * 1_000,
        counted_ms: AT * 1_000,
        key: Some(key),
        model: "m".into(),
        provider: "p".into(),
        bound: PicoUsd(100),
        bound_tokens: 10,
        ..Opening::default()
    })
}

fn closing(attempt: &str, cost: i128) -> Box<Closing> {
    Box::new(Closing {
        attempt: attempt.into(),
        cost: PicoUsd(cost),
        baseline: PicoUsd(cost),
        baseline_extra: PicoUsd(6),
        baseline_model: "b".into(),
        baseline_effort: flyball::arm::Effort::High,
        cause: None,
        cache_discount: PicoUsd(-5),
        usage: flyball::chat::Usage {
            input: 3,
            output: 4,
            ..Default::default()
        },
        basis: Basis::Reported,
        outcome: Outcome::Ok,
        excess: PicoUsd::ZERO,
        service_tier: Some(flyball::chat::ServiceTier::Flex),
        tokens: 7,
        shown: Some(Shown {
            sign: Sign::Tokens,
            probability_ppm: Some(930_000),
            chance_milli: 870,
        }),
    })
}

fn names(key: i64) -> Vec<(String, i64)> {
    let dims = opening("x", key);
    let id = |c: &Counter| c.window.id(&c.zone, AT);
    Counter::always()
        .iter()
        .map(|c| (c.instance(&dims.dims()).to_string(), id(c)))
        .collect()
}

fn postings(key: i64, cost: i128, leased: bool) -> Vec<Posting> {
    let posting = |(name, id): (String, i64)| Posting {
        unleased: if leased && name == "key=1|usd|total|UTC" {
            cost
        } else {
            0
        },
        leased: leased && name == "key=1|usd|total|UTC",
        counter: name.into(),
        id,
        posted: cost,
        epoch: 0,
    };
    names(key).into_iter().map(posting).collect()
}

fn want(need: i128, want: i128, limit: i128) -> Want {
    Want {
        counter: "key=1|usd|total|UTC".into(),
        id: 0,
        need,
        want,
        limit,
        epoch: 0,
    }
}

fn commit(store: &mut dyn Store, works: Vec<StoreWork>) -> Vec<StoreAnswer> {
    let works: Vec<&StoreWork> = works.iter().collect();
    store.commit(&works).expect("committed")
}

fn lease(store: &mut dyn Store, want: Want) -> Given {
    match commit(store, vec![StoreWork::Lease(vec![want])]).pop() {
        Some(StoreAnswer::Leases(0, mut given)) => given.pop().expect("one"),
        other => panic!("{other:?}"),
    }
}

fn start(open: &Open) -> Box<dyn Store> {
    let mut store = open();
    store.begin(AT * 1_000).expect("begun");
    if store.keys().expect("read").is_empty() {
        let key = Key {
            name: "one".into(),
            hash: [9; 32],
            ..Key::default()
        };
        store.create_key(&key).expect("made");
    }
    commit(
        store.as_mut(),
        vec![StoreWork::Define {
            counters: Counter::always(),
            now: AT,
        }],
    );
    store
}

fn posted(store: &mut dyn Store, name: &str) -> (i128, i128) {
    let sums = store.sums().expect("read");
    let of = sums.iter().filter(|s| s.counter == name);
    of.fold((0, 0), |(p, l), s| (p + s.posted, l + s.leased))
}

fn is_whole(store: &mut dyn Store, which: &str) {
    let found = verify(store).expect("replayed");
    assert!(found.is_whole(), "{which}: {found:?}");
}

#[test]
fn an_attempt_is_posted_once_however_often_it_is_closed() {
    each_store(|which, open| {
        let mut store = start(open);
        for _ in 0..2 {
            commit(
                store.as_mut(),
                vec![
                    StoreWork::Open(opening("a", 1)),
                    StoreWork::Close(opening("a", 1), closing("a", 60), postings(1, 60, false)),
                ],
            );
        }
        commit(
            store.as_mut(),
            vec![StoreWork::Close(
                opening("a", 1),
                closing("a", 70),
                postings(1, 70, false),
            )],
        );
        assert_eq!(
            posted(store.as_mut(), "key=1|usd|total|UTC").0,
            60,
            "{which}"
        );
        let found = store.request("r-a").expect("read");
        assert_eq!(
            (
                found.len(),
                found[0].closing.as_ref().map(|c| (c.cost, c.tokens))
            ),
            (1, Some((PicoUsd(60), 7))),
            "{which}"
        );
        assert_eq!(found[0].opening, *opening("a", 1), "{which}");
        is_whole(store.as_mut(), which);
    });
}

#[test]
fn an_attempt_that_opens_and_closes_in_one_batch_counts_once_in_a_counter_that_is_new_in_it() {
    each_store(|which, open| {
        let mut store = start(open);
        let week = Counter::usd(Scope::default(), Window::Week);
        let counters = Counter::always().into_iter().chain([week.clone()]);
        let mut spent = postings(1, 60, false);
        spent.push(Posting {
            counter: week.to_string().into(),
            id: week.window.id(&week.zone, AT),
            posted: 60,
            unleased: 0,
            leased: false,
            epoch: 0,
        });
        commit(
            store.as_mut(),
            vec![
                StoreWork::Open(opening("a", 1)),
                StoreWork::Define {
                    counters: counters.collect(),
                    now: AT,
                },
                StoreWork::Close(opening("a", 1), closing("a", 60), spent),
                StoreWork::Open(opening("b", 1)),
            ],
        );
        assert_eq!(posted(store.as_mut(), "|usd|week|UTC").0, 60, "{which}");
        let found = store.request("r-a").expect("read");
        assert_eq!(found[0].opening, *opening("a", 1), "{which}");
        assert!(found[0].closing.is_some(), "{which}");
        assert!(store.request("r-b").expect("read")[0].closing.is_none());
        is_whole(store.as_mut(), which);
    });
}

#[test]
fn a_lease_is_at_most_what_is_left_and_none_if_that_is_too_little() {
    each_store(|which, open| {
        let mut store = start(open);
        assert_eq!(
            lease(store.as_mut(), want(10, 40, 100)).given,
            40,
            "{which}"
        );
        assert_eq!(
            lease(store.as_mut(), want(10, 90, 100)).given,
            60,
            "{which}"
        );
        assert_eq!(lease(store.as_mut(), want(1, 1, 100)).given, 0, "{which}");
        commit(
            store.as_mut(),
            vec![
                StoreWork::Open(opening("a", 1)),
                StoreWork::Close(opening("a", 1), closing("a", 30), postings(1, 30, true)),
            ],
        );
        assert_eq!(
            posted(store.as_mut(), "key=1|usd|total|UTC"),
            (30, 70),
            "{which}"
        );
        let back = Posting {
            counter: "key=1|usd|total|UTC".into(),
            id: 0,
            posted: 0,
            unleased: 70,
            leased: true,
            epoch: 0,
        };
        commit(store.as_mut(), vec![StoreWork::Return(vec![back])]);
        let given = lease(store.as_mut(), want(71, 80, 100));
        assert_eq!((given.given, given.posted), (0, 30), "{which}");
        assert_eq!(
            lease(store.as_mut(), want(70, 80, 100)).given,
            70,
            "{which}"
        );
        is_whole(store.as_mut(), which);
    });
}

#[test]
fn what_a_dead_process_left_is_charged_at_the_bound_with_the_whole_of_its_lease() {
    each_store(|which, open| {
        let mut store = start(open);
        assert_eq!(
            lease(store.as_mut(), want(10, 500, 1_000)).given,
            500,
            "{which}"
        );
        commit(
            store.as_mut(),
            vec![
                StoreWork::Open(opening("done", 1)),
                StoreWork::Close(
                    opening("done", 1),
                    closing("done", 60),
                    postings(1, 60, true),
                ),
                StoreWork::Open(opening("open", 1)),
            ],
        );
        drop(store);
        let mut store = open();
        let swept = store.begin(AT * 1_000 + 5).expect("begun");
        let swept: Vec<_> = swept
            .iter()
            .map(|s| (&*s.opening.attempt, s.closing.outcome, s.closing.cost))
            .collect();
        let left_open = ("open", Outcome::Crash, PicoUsd(100));
        assert_eq!(swept, [left_open], "{which}");
        // 60 are posted, 100 are the open attempt's bound, the other 340 of the lease are charged with it.
        assert_eq!(
            posted(store.as_mut(), "key=1|usd|total|UTC"),
            (500, 0),
            "{which}"
        );
        assert_eq!(
            posted(store.as_mut(), "|usd|total|UTC"),
            (160, 0),
            "{which}"
        );
        let crashed = store
            .request("r-open")
            .expect("read")
            .pop()
            .expect("there")
            .closing
            .expect("closed");
        assert_eq!(
            (crashed.outcome, crashed.basis, crashed.cost, crashed.tokens),
            (Outcome::Crash, Basis::Bound, PicoUsd(100), 10),
            "{which}"
        );
        let forfeits: i128 = store
            .forfeits()
            .expect("read")
            .iter()
            .map(|f| f.amount)
            .sum();
        assert_eq!(forfeits, 340, "{which}");
        is_whole(store.as_mut(), which);
        let again = store.begin(AT * 1_000 + 9).expect("begun");
        assert!(again.is_empty(), "{which}: a second sweep finds nothing");
        assert_eq!(
            posted(store.as_mut(), "key=1|usd|total|UTC"),
            (500, 0),
            "{which}"
        );
    });
}

#[test]
fn a_new_counter_begins_with_what_its_window_has_spent() {
    each_store(|which, open| {
        let mut store = start(open);
        commit(
            store.as_mut(),
            vec![
                StoreWork::Open(opening("a", 1)),
                StoreWork::Close(opening("a", 1), closing("a", 60), postings(1, 60, false)),
            ],
        );
        let week = Counter::usd(Scope::all(), Window::Week);
        let all: Vec<Counter> = Counter::always().into_iter().chain([week]).collect();
        for (counters, sums) in [(&all, 1), (&all, 0), (&Counter::always(), 0), (&all, 1)] {
            match commit(
                store.as_mut(),
                vec![StoreWork::Define {
                    counters: counters.clone(),
                    now: AT,
                }],
            )
            .pop()
            {
                Some(StoreAnswer::Sums(found)) => {
                    assert_eq!(found.len(), sums, "{which}: {found:?}");
                    assert!(
                        found
                            .iter()
                            .all(|s| s.counter == "|usd|week|UTC" && s.posted == 60),
                        "{which}: {found:?}"
                    );
                }
                other => panic!("{which}: {other:?}"),
            }
        }
        is_whole(store.as_mut(), which);
    });
}

#[test]
fn keys_are_made_rotated_and_revoked_and_keep_everything_that_they_say() {
    each_store(|which, open| {
        let mut store = open();
        store.begin(AT * 1_000).expect("begun");
        let mut key = Key {
            name: "app".into(),
            hash: [1; 32],
            created: 5,
            expires: Some(9),
            private: true,
            team: "red".into(),
            models: vec!["gpt-*".into()],
            tags: vec![("a".into(), "b".into())],
            required_tags: vec![("c".into(), vec!["d".into()])],
            ..Key::default()
        };
        key.id = store.create_key(&key).expect("made");
        key.caps = vec![Cap::parse("5usd/day").expect("a cap").for_key(key.id)];
        let other = Key {
            name: "capped".into(),
            hash: [2; 32],
            caps: key.caps.clone(),
            ..Key::default()
        };
        let id = store.create_key(&other).expect("made");
        let again = Key {
            hash: [3; 32],
            ..other
        };
        assert!(
            store
                .create_key(&again)
                .expect_err("taken")
                .detail
                .contains("already"),
            "{which}"
        );
        store.rotate_key("app", &[4; 32], 77).expect("rotated");
        let all = store.keys().expect("read");
        let rotated = Key {
            hash: [4; 32],
            old: vec![([1; 32], 77)],
            caps: Vec::new(),
            ..key
        };
        assert_eq!(all[0], rotated, "{which}");
        assert_eq!(
            all[1].caps[0],
            Cap::parse("5usd/day").expect("a cap").for_key(id),
            "{which}"
        );
        store.revoke_key("app").expect("revoked");
        assert!(store.keys().expect("read")[0].revoked, "{which}");
        assert!(
            store.revoke_key("app").is_err() && store.rotate_key("app", &[5; 32], 0).is_err(),
            "{which}"
        );
        // Made again it is the same row, and what it was before is in the audit log.
        let again = Key {
            name: "app".into(),
            hash: [6; 32],
            ..Key::default()
        };
        assert_eq!(
            store.create_key(&again).expect("made"),
            all[0].id,
            "{which}"
        );
        let taken = Key {
            name: "third".into(),
            ..again
        };
        assert!(
            store.create_key(&taken).is_err(),
            "its secret is another's: {which}"
        );
        let pause = KeyAct::Change {
            name: "app".into(),
            change: Box::new(KeyChange {
                paused: Some(true),
                ..KeyChange::default()
            }),
        };
        let paused = store.act("somebody", 7_000, &pause).expect("paused");
        assert_eq!(store.keys().expect("read")[0], paused, "{which}");
        let mut verifier = Verifier::default();
        let mut lines = Vec::new();
        store
            .audit(0, &mut |entry| {
                verifier.take(&entry).expect("nobody has changed it");
                lines.push(entry.line);
                true
            })
            .expect("read");
        assert_eq!(lines.len(), 6, "{which}: {lines:?}");
        assert!(
            lines[5].contains("somebody") && lines[5].contains("key paused"),
            "{lines:?}"
        );
        let last = store
            .last_deed("key rotated")
            .expect("read")
            .expect("there is one");
        assert_eq!((last.number, &last.line), (3, &lines[2]), "{which}");
    });
}

#[test]
fn a_bill_corrects_what_was_charged_at_the_bound_once_and_the_books_stay_whole() {
    each_store(|which, open| {
        let mut store = start(open);
        let bound = |attempt, cost| {
            Box::new(Closing {
                basis: Basis::Bound,
                outcome: Outcome::Crash,
                ..*closing(attempt, cost)
            })
        };
        commit(
            store.as_mut(),
            vec![
                StoreWork::Open(opening("a", 1)),
                StoreWork::Open(opening("b", 1)),
                StoreWork::Open(opening("open", 1)),
                StoreWork::Close(opening("a", 1), bound("a", 100), postings(1, 100, false)),
                StoreWork::Close(opening("b", 1), closing("b", 60), postings(1, 60, false)),
            ],
        );
        for (attempt, cost, outcome, left) in [
            ("a", 30, TrueUp::Corrected(PicoUsd(-70)), 90),
            ("a", 20, TrueUp::Again, 90),
            ("b", 20, TrueUp::Known, 90),
            ("open", 20, TrueUp::Open, 90),
            ("nobody's", 20, TrueUp::Unclear, 90),
        ] {
            let told = store.true_up(&Correction {
                attempt: attempt.into(),
                cost: PicoUsd(cost),
                at_ms: AT * 1_000,
                source: "bill.csv".into(),
            });
            assert_eq!(told.expect("booked"), outcome, "{which} {attempt}");
            let posted = posted(store.as_mut(), "key=1|usd|total|UTC").0;
            assert_eq!(posted, left, "{which} {attempt}");
        }
        let row = store.request("r-a").expect("read").remove(0);
        assert_eq!(
            (row.closing.as_ref().map(|c| c.cost), row.booked()),
            (Some(PicoUsd(100)), Some(PicoUsd(30))),
            "{which}: the attempt stays as it was closed"
        );
        commit(
            store.as_mut(),
            vec![StoreWork::Close(
                opening("open", 1),
                closing("open", 5),
                postings(1, 5, false),
            )],
        );
        is_whole(store.as_mut(), which);
        // A counter that comes later begins with what the bill says.
        let later = Counter::usd(Scope::default(), Window::Week);
        let counters = Counter::always().into_iter().chain([later.clone()]);
        let define = StoreWork::Define {
            counters: counters.collect(),
            now: AT,
        };
        let sums = match commit(store.as_mut(), vec![define]).pop() {
            Some(StoreAnswer::Sums(sums)) => sums,
            other => panic!("{other:?}"),
        };
        assert_eq!(sums.iter().map(|s| s.posted).sum::<i128>(), 95, "{which}");
    });
}

#[test]
fn what_is_held_is_read_of_one_moment_whatever_others_write() {
    each_store(|which, open| {
        let mut store = start(open);
        let mut reader = open();
        reader.hold().expect("held");
        let count = |reader: &mut dyn Store| {
            let mut attempts = 0;
            let each = &mut |_| {
                attempts += 1;
                true
            };
            reader.attempts(EVER, each).expect("read");
            (attempts, posted(reader, "key=1|usd|total|UTC").0)
        };
        assert_eq!(count(reader.as_mut()), (0, 0), "{which}");
        commit(
            store.as_mut(),
            vec![
                StoreWork::Open(opening("a", 1)),
                StoreWork::Close(opening("a", 1), closing("a", 60), postings(1, 60, false)),
            ],
        );
        assert_eq!(count(reader.as_mut()), (0, 0), "{which}");
        is_whole(reader.as_mut(), which);
        assert_eq!(count(open().as_mut()), (1, 60), "{which}");
    });
}

#[test]
fn a_frozen_model_stays_frozen_until_it_is_allowed_again() {
    each_store(|which, open| {
        let mut store = start(open);
        let frozen = Frozen {
            provider: "p".into(),
            model: "m".into(),
            since: 5,
            why: "it cost".into(),
        };
        for _ in 0..2 {
            commit(store.as_mut(), vec![StoreWork::Freeze(frozen.clone())]);
        }
        assert_eq!(
            store.frozen().expect("read"),
            std::slice::from_ref(&frozen),
            "{which}"
        );
        assert!(store.unfreeze("p", "m").expect("written"), "{which}");
        assert!(
            !store.unfreeze("p", "m").expect("written") && store.frozen().expect("read").is_empty(),
            "{which}"
        );
    });
}

#[test]
fn a_stopped_session_is_kept_with_the_deed_or_not_at_all() {
    each_store(|name, open| {
        let mut store = open();
        let session = |key| flyball::ledger::stopped::StoppedSession {
            session: "night".into(),
            key,
            since: AT,
        };
        for (key, stops, done) in [
            (Some(1), true, true),
            (Some(1), true, false),
            (None, true, true),
            (Some(1), false, true),
            (Some(1), false, false),
        ] {
            let told = store.stop_session("alice", AT * 1_000, &session(key), stops);
            assert_eq!(told.expect("stopped"), done, "{name}: {key:?} {stops}");
        }
        drop(store);
        let mut store = open();
        assert_eq!(store.stopped().expect("read"), [session(None)], "{name}");
        let mut deeds = Vec::new();
        let each = &mut |entry: flyball::ledger::audit::Entry| {
            deeds.push(entry.line);
            true
        };
        store.audit(0, each).expect("read");
        assert_eq!(deeds.len(), 3, "{name}: {deeds:?}");
    });
}
