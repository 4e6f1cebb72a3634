//! Sums of windows that have long passed are forgotten a few at a time, and no sum that is still needed.

use super::{AT, commit, each_store, start};
use flyball::ledger::balance::Posting;
use flyball::ledger::prune::{Pass, STEP};
use flyball::ledger::store::{Store, StoreWork};
use flyball::ledger::window::{Window, Zone};
use std::sync::Arc;

const DAY: i64 = 86_400;
const USERS: i64 = 3 * STEP / 2;

/// So much was spent in this window of a counter, at that time.
fn spent(counter: &str, window: Window, at: i64, posted: i128) -> Posting {
    Posting {
        counter: counter.into(),
        id: window.id(&Zone::default(), at),
        posted,
        unleased: 0,
        leased: false,
        epoch: 0,
    }
}

fn kept(store: &mut dyn Store) -> Vec<(String, i128)> {
    let sums = store.sums().expect("read").into_iter();
    let mut kept: Vec<(String, i128)> = sums.map(|sum| (sum.counter, sum.posted)).collect();
    kept.sort();
    kept
}

#[test]
fn old_minutes_hours_and_end_users_go_step_by_step_and_what_runs_or_is_a_day_or_longer_stays() {
    each_store(|which, open| {
        let mut store = start(open);
        let long_ago = AT - 40 * DAY;
        let mut postings: Vec<Posting> = (0..USERS)
            .map(|n| spent(&format!("user=u{n}|usd|day|UTC"), Window::Day, long_ago, 1))
            .collect();
        postings.extend([
            spent("|requests|minute|UTC", Window::Minute, long_ago, 2),
            spent("key=1|requests|hour|UTC", Window::Hour, long_ago, 3),
            spent("user=ann|usd|day|UTC", Window::Day, AT, 4),
            spent("user=ann|usd|day|UTC", Window::Day, AT - DAY, 5),
            spent("user=ann|usd|total|UTC", Window::Total, long_ago, 6),
            spent("|requests|minute|UTC", Window::Minute, AT, 7),
            spent("key=1|usd|day|UTC", Window::Day, long_ago, 8),
        ]);
        commit(store.as_mut(), vec![StoreWork::Return(postings)]);
        let before = kept(store.as_mut()).len();

        let pass = Arc::new(Pass::default());
        let step = |store: &mut dyn Store, now: i64| {
            let pass = Arc::clone(&pass);
            commit(store, vec![StoreWork::Prune { pass, now }]);
        };
        step(store.as_mut(), AT);
        let after_one = kept(store.as_mut()).len();
        let gone = i64::try_from(before - after_one).expect("few");
        assert!(gone > 0 && gone <= STEP, "{which}: {gone} went in one step");
        while pass.is_due(AT) {
            step(store.as_mut(), AT);
        }
        let left = [
            ("key=1|usd|day|UTC", 8),
            ("user=ann|usd|day|UTC", 4),
            ("user=ann|usd|day|UTC", 5),
            ("user=ann|usd|total|UTC", 6),
            ("|requests|minute|UTC", 7),
        ];
        let left: Vec<(String, i128)> = left.map(|(name, n)| (name.to_owned(), n)).to_vec();
        assert_eq!(kept(store.as_mut()), left, "{which}");

        // An hour later it looks again, and finds what has passed since.
        step(store.as_mut(), AT + 60);
        assert_eq!(kept(store.as_mut()), left, "{which}: it rests");
        step(store.as_mut(), AT + 5 * DAY);
        assert_eq!(
            kept(store.as_mut()),
            [left[0].clone(), left[3].clone()],
            "{which}"
        );
    });
}
