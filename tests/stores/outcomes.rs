//! Outcomes in both stores.

use super::{commit, each_store, start};
use flyball::arm::Effort;
use flyball::ledger::judged::{JudgedAnswer, JudgedBy};
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
