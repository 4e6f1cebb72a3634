//! Sums of windows that have long passed are forgotten a few at a time, and no sum that is still needed.

use super::{AT, closing, commit, each_store, opening, postings, start};
use flyball::ledger::balance::Posting;
use flyball::ledger::cap::{Cap, Counter};
use flyball::ledger::prune::{Pass, STEP};
use flyball::ledger::record::{Basis, Closing, Correction, Opening, TrueUp};
use flyball::ledger::store::{Store, StoreWork};
use flyball::ledger::verify::verify_at;
use flyball::ledger::window::{Window, Zone};
use flyball::money::PicoUsd;
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

#[test]
fn a_bill_for_an_hour_whose_sum_was_forgotten_leaves_the_books_whole() {
    each_store(|which, open| {
        let mut store = start(open);
        let hours = Cap::parse("1usd/hour").expect("a cap").counter;
        let counters = Counter::always().into_iter().chain([hours.clone()]);
        let counters: Vec<Counter> = counters.collect();
        commit(
            store.as_mut(),
            vec![StoreWork::Define { counters, now: AT }],
        );
        let of_hour = spent(&hours.to_string(), Window::Hour, AT, 100);
        let hour = of_hour.id;
        let mut all = postings(1, 100, false);
        all.push(of_hour);
        let bound = Closing {
            basis: Basis::Bound,
            ..*closing("a", 100)
        };
        let opening: std::sync::Arc<Opening> = opening("a", 1);
        commit(
            store.as_mut(),
            vec![
                StoreWork::Open(Arc::clone(&opening)),
                StoreWork::Close(opening, Box::new(bound), all),
            ],
        );
        let later = AT + 40 * DAY;
        let pass = Arc::new(Pass::default());
        commit(store.as_mut(), vec![StoreWork::Prune { pass, now: later }]);
        let sum_of = |store: &mut dyn Store| {
            let sums = store.sums().expect("read").into_iter();
            let mut hours = sums.filter(|sum| sum.counter == hours.to_string() && sum.id == hour);
            hours.next().map(|sum| sum.posted)
        };
        assert_eq!(sum_of(store.as_mut()), None, "{which}: it is forgotten");

        let told = store.true_up(&Correction {
            attempt: "a".into(),
            cost: PicoUsd(30),
            at_ms: later * 1_000,
            source: "bill.csv".into(),
        });
        assert_eq!(told.expect("booked"), TrueUp::Corrected(PicoUsd(-70)));
        let again = sum_of(store.as_mut());
        assert_eq!(again, Some(-70), "{which}: what came late stands alone");
        let found = verify_at(store.as_mut(), later).expect("replayed");
        assert!(found.is_whole(), "{which}: {found:?}");
        // Where it runs still, the same sum is wrong.
        let found = verify_at(store.as_mut(), AT).expect("replayed");
        assert!(!found.is_whole(), "{which}");
    });
}
