//! The real balances under every order of threads that shuttle tries: two replicas with leases from one store, as `ledger` drives them.

use flyball::ledger::balance::{Balances, Denied, Posting, Requirement, Spend, Want};
use flyball::ledger::cap::{Cap, Dims};
use flyball::money::PicoUsd;
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

const CAP: i128 = 100;
const BOUND: i128 = 10;

/// The plainest store: what is posted, and what each replica has leased.
#[derive(Default)]
struct Store {
    posted: i128,
    leased: [i128; 2],
    billed: i128,
}

impl Store {
    fn lease(&mut self, replica: usize, want: &Want) -> i128 {
        let left = CAP - self.posted - self.leased.iter().sum::<i128>();
        let given = if left >= want.need {
            want.want.max(15).min(left)
        } else {
            0
        };
        self.leased[replica] += given;
        self.check();
        given
    }

    fn take(&mut self, replica: usize, postings: &[Posting]) {
        for p in postings
            .iter()
            .filter(|p| p.counter.starts_with("key=1|usd|week"))
        {
            self.posted += p.posted;
            self.leased[replica] -= p.unleased;
        }
        self.check();
    }

    fn check(&self) {
        assert!(
            self.posted + self.leased.iter().sum::<i128>() <= CAP,
            "posted + leased > cap"
        );
        assert!(
            self.leased.iter().all(|l| *l >= 0),
            "more given back than leased"
        );
        assert!(
            self.billed <= CAP && self.posted + self.leased.iter().sum::<i128>() >= self.billed,
            "the books do not cover the bill"
        );
    }
}

fn ask() -> Requirement {
    Requirement {
        fixed: PicoUsd(BOUND),
        tokens: 1,
        tokens_min: 1,
        ..Requirement::default()
    }
}

/// One request as `Ledger::reserve` and `Reservation::close` do it.
fn request(
    replica: usize,
    cost: i128,
    balances: &Mutex<Balances>,
    turn: &Mutex<()>,
    store: &Mutex<Store>,
) {
    let dims = Dims {
        key: "1".into(),
        ..Dims::default()
    };
    let look = |last| balances.lock().unwrap().reserve(&dims, ask(), 0, last);
    let grant = match look(false) {
        Err(Denied::Short(_)) => {
            let _turn = turn.lock().unwrap();
            match look(false) {
                Err(Denied::Short(wants)) => {
                    for want in wants {
                        let (given, posted) = {
                            let mut store = store.lock().unwrap();
                            (store.lease(replica, &want), store.posted)
                        };
                        balances
                            .lock()
                            .unwrap()
                            .leased(&want.counter, want.id, given, posted);
                    }
                    look(true)
                }
                other => other,
            }
        }
        other => other,
    };
    let Ok(grant) = grant else { return };
    // The provider writes its bill before it answers.
    store.lock().unwrap().billed += cost;
    store.lock().unwrap().check();
    let spend = Spend {
        usd: PicoUsd(cost),
        tokens: 1,
        requests: 1,
    };
    let postings = balances.lock().unwrap().close(&grant, &dims, &spend);
    store.lock().unwrap().take(replica, &postings);
}

fn everything() {
    let store = Arc::new(Mutex::new(Store::default()));
    let mut threads = Vec::new();
    let mut all = Vec::new();
    for replica in 0..2 {
        let mut balances = Balances::new(true, 10);
        balances.set_caps(
            &[Cap::parse("0usd/week")
                .map(|c| Cap {
                    limit: CAP,
                    ..c.for_key(1)
                })
                .expect("a cap")],
            &[],
            0,
        );
        let (balances, turn) = (Arc::new(Mutex::new(balances)), Arc::new(Mutex::new(())));
        all.push(balances.clone());
        for n in 0..2 {
            let (balances, turn, store) = (balances.clone(), turn.clone(), store.clone());
            threads.push(thread::spawn(move || {
                for step in 0..3 {
                    request(
                        replica,
                        [BOUND, 3, 0][(n + step) % 3],
                        &balances,
                        &turn,
                        &store,
                    );
                }
            }));
        }
        let (balances, store) = (balances, store.clone());
        threads.push(thread::spawn(move || {
            let back = balances.lock().unwrap().idle_leases(true, 0);
            store.lock().unwrap().take(replica, &back);
        }));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    for (replica, balances) in all.iter().enumerate() {
        let back = balances.lock().unwrap().idle_leases(true, 0);
        store.lock().unwrap().take(replica, &back);
    }
    let store = store.lock().unwrap();
    assert_eq!(
        (store.leased, store.posted),
        ([0, 0], store.billed),
        "everything is given back and the books are the bill"
    );
}

#[test]
fn in_whatever_order_threads_run_the_cap_holds_and_the_books_are_the_bill() {
    // 10^3 schedules by default, 10^4 in CI, 10^6 once.
    shuttle::check_random(everything, crate::money::rounds(1_000, 10_000, 1_000_000));
    shuttle::check_pct(everything, crate::money::rounds(300, 3_000, 100_000), 3);
}
