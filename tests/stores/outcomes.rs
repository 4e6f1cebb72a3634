//! Outcomes in both stores.

use super::{commit, each_store, start};
use flyball::arm::Effort;
use flyball::ledger::judged::{JudgedAnswer, JudgedBy, MeasuredAsk};
use flyball::ledger::store::{Store, StoreWork};
use flyball::money::PicoUsd;

fn outcome(request: &str, by: JudgedBy, score_ppm: i64) -> JudgedAnswer {
    JudgedAnswer {
        request: request.into(),
        model: "m".into(),
        effort: Effort::High,
        by,
        task: "code".into(),
        difficulty_milli: 512,
        score_ppm,
        cost: Some(PicoUsd(7)),
        seen_ppm: 10_000,
        at_ms: 5,
        key: Some(1),
    }
}

fn all(store: &mut dyn Store) -> Vec<JudgedAnswer> {
    let mut all = Vec::new();
    store.outcomes(&mut |o| all.push(o)).expect("read");
    all
}

#[test]
fn outcomes_are_kept_each_once_by_whoever_writes_them_and_can_be_forgotten() {
    each_store(|which, open| {
        let mut store = start(open);
        let first = outcome("a", JudgedBy::Feedback, 0);
        let other = JudgedAnswer {
            cost: None,
            key: None,
            ..outcome("a", JudgedBy::Explored, 1_000_000)
        };
        commit(
            store.as_mut(),
            vec![StoreWork::Judge(vec![first, other.clone()])],
        );
        // A later word of the same judge takes the place of the earlier one; a command writes into books that it does not own.
        let later = JudgedAnswer {
            at_ms: 6,
            ..outcome("a", JudgedBy::Feedback, 250_000)
        };
        let compared = outcome("compare/1", JudgedBy::Compare, 500_000);
        open()
            .keep_outcomes(&[later.clone(), compared.clone()])
            .expect("kept");
        assert_eq!(all(store.as_mut()), [later, other, compared], "{which}");
        // All or nothing.
        if which == "sqlite" {
            let dear = JudgedAnswer {
                cost: Some(PicoUsd(i128::MAX)),
                ..outcome("c", JudgedBy::Compare, 0)
            };
            let mixed = [outcome("b", JudgedBy::Compare, 0), dear];
            store
                .keep_outcomes(&mixed)
                .expect_err("too much for SQLite");
        }
        assert_eq!(all(store.as_mut()).len(), 3, "{which}");
        assert_eq!(store.forget_outcomes().expect("forgotten"), 3, "{which}");
        assert!(all(store.as_mut()).is_empty(), "{which}");
    });
}

#[test]
fn what_was_measured_is_kept_once_and_of_two_who_learn_at_once_one_comes_too_late() {
    each_store(|which, open| {
        let mut store = start(open);
        let ask = |request: &str, byte: u8| MeasuredAsk {
            request: request.into(),
            at_ms: 3,
            features: vec![byte, 0, 255],
        };
        commit(
            store.as_mut(),
            vec![StoreWork::Measure(vec![ask("a", 1), ask("b", 2)])],
        );
        open().keep_asks(&[ask("a", 9), ask("c", 3)]).expect("kept");
        let mut asks = Vec::new();
        store.asks(&mut |a| asks.push(a)).expect("read");
        assert_eq!(asks, [ask("a", 1), ask("b", 2), ask("c", 3)], "{which}");
        let entry = |value: &str| ("overlay/x".to_owned(), value.to_owned());
        let beside = ("overlay/y".to_owned(), "1".to_owned());
        assert_eq!(store.learned_as("overlay/x").expect("read"), None);
        assert!(
            store
                .learn(&[entry("1"), beside.clone()], None)
                .expect("learned")
        );
        for late in [None, Some("0")] {
            let other = ("overlay/y".to_owned(), "2".to_owned());
            assert!(
                !open().learn(&[entry("2"), other], late).expect("read"),
                "{which}"
            );
        }
        assert!(open().learn(&[entry("3")], Some("1")).expect("learned"));
        let now = ["overlay/x", "overlay/y"].map(|name| store.learned_as(name).expect("read"));
        assert_eq!(now, [Some("3".to_owned()), Some("1".to_owned())], "{which}");
        store.forget_outcomes().expect("forgotten");
        let mut left = 0;
        store.asks(&mut |_| left += 1).expect("read");
        assert_eq!(left, 0, "{which}");
    });
}
