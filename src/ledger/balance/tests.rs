use super::*;
use crate::ledger::cap::Scope;
use crate::ledger::window::Window;
use proptest::prelude::*;

fn ask(fixed: i128, per_token: i128, tokens: u64, tokens_min: u64) -> Requirement {
    Requirement {
        fixed: PicoUsd(fixed),
        per_token: PicoUsd(per_token),
        tokens,
        tokens_min,
        input_tokens: 5,
        choices: 1,
        ..Requirement::default()
    }
}

fn key(id: &str) -> Dims<'static> {
    Dims {
        key: id.to_owned().into(),
        ..Dims::default()
    }
}

fn usd(limit: i128) -> Spend {
    Spend {
        usd: PicoUsd(limit),
        tokens: 1,
        requests: 1,
    }
}

fn with_cap(limit: i128) -> Balances {
    let mut balances = Balances::new(false, 10);
    balances.set_caps(&[Cap::of_key(1, Window::Day, PicoUsd(limit))], &[], 0);
    balances
}

fn full(got: Result<Grant, Denied>) -> Full {
    match got {
        Err(Denied::Full(full)) => *full,
        other => panic!("not full: {other:?}"),
    }
}

#[test]
fn a_cap_admits_to_its_last_pico_and_no_further() {
    for (limit, granted) in [(99, false), (100, true), (101, true)] {
        let got = with_cap(limit).reserve(&key("1"), ask(40, 6, 10, 10), 0, false);
        assert_eq!(got.is_ok(), granted, "limit {limit}");
    }
}

#[test]
fn a_limit_is_lowered_to_what_is_left_but_not_below_its_minimum() {
    let mut balances = with_cap(100);
    let grant = balances
        .reserve(&key("1"), ask(40, 6, 1_000, 5), 0, false)
        .expect("room for 10 tokens");
    assert_eq!((grant.tokens, grant.amount), (10, PicoUsd(100)));
    assert!(full(balances.reserve(&key("1"), ask(0, 6, 1_000, 5), 0, false)).only_reserved());
    balances.close(&grant, &key("1"), &usd(71));
    assert!(
        !full(balances.reserve(&key("1"), ask(0, 6, 1_000, 5), 0, false)).only_reserved(),
        "29 < 30"
    );
    let grant = balances
        .reserve(&key("1"), ask(0, 6, 1_000, 4), 0, false)
        .expect("29 >= 24");
    assert_eq!(grant.tokens, 4);
}

#[test]
fn a_cap_of_zero_blocks_everything_and_a_full_one_lets_free_work_through() {
    assert!(
        with_cap(0)
            .reserve(&key("1"), ask(0, 0, 10, 10), 0, false)
            .is_err()
    );
    let mut full = with_cap(10);
    full.restore("key=1|usd|day|UTC", 0, 10, 0);
    assert!(full.reserve(&key("1"), ask(0, 0, 10, 10), 0, false).is_ok());
    assert!(
        full.reserve(&key("1"), ask(1, 0, 10, 10), 0, false)
            .is_err()
    );
}

#[test]
fn a_new_window_has_its_whole_room_and_an_old_reservation_takes_none_of_it() {
    let mut balances = with_cap(100);
    let old = balances
        .reserve(&key("1"), ask(100, 0, 1, 1), 0, false)
        .expect("room");
    let day = 86_400;
    let new = balances
        .reserve(&key("1"), ask(100, 0, 1, 1), day, false)
        .expect("a new day");
    let postings = balances.close(&old, &key("1"), &usd(100));
    assert!(
        postings
            .iter()
            .any(|p| &*p.counter == "key=1|usd|day|UTC" && p.id == 0 && p.posted == 100),
        "{postings:?}"
    );
    assert!(
        balances
            .reserve(&key("1"), ask(1, 0, 1, 1), day, false)
            .is_err()
    );
    balances.close(&new, &key("1"), &Spend::default());
    assert!(
        balances
            .reserve(&key("1"), ask(100, 0, 1, 1), 0, false)
            .is_ok(),
        "a clock that jumps back stays in the new window"
    );
    assert!(
        balances
            .reserve(&key("1"), ask(1, 0, 1, 1), 0, false)
            .is_err()
    );
}

#[test]
fn a_refusal_reserves_nothing_anywhere() {
    let mut balances = Balances::new(false, 10);
    let everybody = Cap::new(Counter::usd(Scope::all(), Window::Total), 1_000);
    balances.set_caps(
        &[everybody, Cap::of_key(1, Window::Day, PicoUsd(10))],
        &[],
        0,
    );
    assert!(
        balances
            .reserve(&key("1"), ask(11, 0, 1, 1), 0, false)
            .is_err()
    );
    assert!(balances.standings(0).iter().all(|s| s.reserved == 0));
}

#[test]
fn tokens_and_requests_are_capped_like_dollars() {
    let mut balances = Balances::new(false, 10);
    let caps =
        ["100tokens/day", "3requests/minute"].map(|t| Cap::parse(t).expect("a cap").for_key(1));
    balances.set_caps(&caps, &[], 0);
    // 5 tokens in, at most 95 out.
    let grant = balances
        .reserve(&key("1"), ask(0, 0, 500, 10), 0, false)
        .expect("room");
    assert_eq!((grant.tokens, grant.tokens_bound), (95, 100));
    balances.close(
        &grant,
        &key("1"),
        &Spend {
            tokens: 20,
            requests: 1,
            usd: PicoUsd(0),
        },
    );
    let second = balances
        .reserve(&key("1"), ask(0, 0, 10, 10), 0, false)
        .expect("80 are left");
    let third = balances
        .reserve(&key("1"), ask(0, 0, 10, 10), 0, false)
        .expect("the third");
    let none = full(balances.reserve(&key("1"), ask(0, 0, 10, 10), 0, false));
    assert_eq!(
        (none.counter.measure, none.only_reserved()),
        (Measure::Requests, true)
    );
    // One was never sent: it counts nothing.
    balances.close(&second, &key("1"), &Spend::default());
    balances.close(
        &third,
        &key("1"),
        &Spend {
            tokens: 15,
            requests: 1,
            usd: PicoUsd(0),
        },
    );
    assert!(
        balances
            .reserve(&key("1"), ask(0, 0, 10, 10), 30, false)
            .is_ok()
    );
    assert!(
        balances
            .reserve(&key("1"), ask(0, 0, 10, 10), 60, false)
            .is_ok(),
        "a new minute"
    );
}

#[test]
fn each_level_of_the_tree_and_each_crossing_has_its_own_room() {
    let mut balances = Balances::new(false, 10);
    let only = |dim, value: &str| Scope::all().with(dim, Pick::Only(value.into()));
    let caps = [
        Cap::new(
            Counter::usd(only(Dim::Organisation, "acme"), Window::Total),
            100,
        ),
        Cap::new(
            Counter::usd(Scope::all().with(Dim::Team, Pick::Each), Window::Total),
            60,
        ),
        Cap::new(Counter::usd(only(Dim::Model, "gpt-*"), Window::Total), 50),
    ];
    balances.set_caps(&caps, &[], 0);
    let at = |team: &'static str, model: &'static str| Dims {
        organisation: "acme",
        team,
        model,
        ..key("1")
    };
    for (team, model, admitted) in [
        ("red", "gpt-5", true),
        ("blue", "gpt-5", false), // the model's 50 are half taken
        ("red", "claude", true),
        ("red", "claude", false), // the team's 60 are taken
        ("blue", "claude", true),
        ("blue", "claude", false), // the organisation's 100 are
    ] {
        let got = balances.reserve(&at(team, model), ask(30, 0, 1, 1), 0, false);
        assert_eq!(got.is_ok(), admitted, "{team} {model}: {got:?}");
    }
    let elsewhere = Dims {
        organisation: "other",
        team: "green",
        model: "claude",
        ..key("2")
    };
    assert!(
        balances
            .reserve(&elsewhere, ask(60, 0, 1, 1), 0, false)
            .is_ok()
    );
}

#[test]
fn sessions_have_their_own_room_but_not_more_of_them_than_the_key_may_have() {
    let mut balances = Balances::new(false, 2);
    let each = Cap::new(
        Counter::usd(Scope::all().with(Dim::Session, Pick::Each), Window::Day),
        10,
    );
    balances.set_caps(&[each], &[], 0);
    let at = |session: &'static str| Dims {
        session,
        ..key("1")
    };
    for (session, admitted) in [
        ("a", true),
        ("a", false),
        ("", true),
        ("", false),
        ("b", false),
    ] {
        let got = balances.reserve(&at(session), ask(10, 0, 1, 1), 0, false);
        assert_eq!(got.is_ok(), admitted, "{session:?}");
    }
    let refused = full(balances.reserve(&at("c"), ask(1, 0, 1, 1), 0, false));
    assert_eq!(refused.reason, Reason::Sessions);
    assert!(
        balances
            .reserve(&at("b"), ask(10, 0, 1, 1), 86_400, false)
            .is_ok(),
        "a new day has new sessions"
    );
    let other_key = Dims {
        session: "c",
        ..key("2")
    };
    assert!(
        balances
            .reserve(&other_key, ask(10, 0, 1, 1), 0, false)
            .is_ok()
    );
}

#[test]
fn a_cap_that_comes_while_a_reservation_is_open_counts_it_when_it_closes() {
    let mut balances = Balances::new(false, 10);
    let grant = balances
        .reserve(&key("1"), ask(30, 0, 1, 1), 0, false)
        .expect("no cap");
    balances.set_caps(
        &[Cap::parse("100usd/week").expect("a cap").for_key(1)],
        &[],
        0,
    );
    let postings = balances.close(&grant, &key("1"), &usd(20));
    assert!(
        postings
            .iter()
            .any(|p| &*p.counter == "key=1|usd|week|UTC" && p.posted == 20),
        "{postings:?}"
    );
    let standing = balances
        .standings(0)
        .into_iter()
        .find(|s| s.counter.window == Window::Week)
        .expect("it is there");
    assert_eq!((standing.posted, standing.reserved), (20, 0));
}

#[test]
fn the_fullest_cap_is_known_and_passing_its_soft_share_is_told_once() {
    let mut balances = with_cap(100);
    for (spent, fullest, told) in [(50, 50, 0), (29, 79, 0), (1, 80, 1), (10, 90, 0)] {
        let grant = balances
            .reserve(&key("1"), ask(spent, 0, 1, 1), 0, false)
            .expect("room");
        balances.close(&grant, &key("1"), &usd(spent));
        assert_eq!(balances.fullest(&key("1"), 0), fullest);
        assert_eq!(balances.take_crossings().len(), told, "at {fullest} %");
    }
}

#[test]
fn with_leases_nothing_is_admitted_beyond_them_and_what_is_left_goes_back() {
    let mut balances = Balances::new(true, 10);
    balances.set_caps(&[Cap::of_key(1, Window::Day, PicoUsd(100))], &[], 0);
    let Err(Denied::Short(wants)) = balances.reserve(&key("1"), ask(30, 0, 1, 1), 0, false) else {
        panic!("there is no lease yet");
    };
    assert_eq!((wants.len(), wants[0].need, wants[0].limit), (1, 30, 100));
    balances.leased(&wants[0].counter, wants[0].id, 40, 0);
    let grant = balances
        .reserve(&key("1"), ask(30, 0, 1, 1), 0, false)
        .expect("leased");
    assert!(matches!(
        balances.reserve(&key("1"), ask(30, 0, 1, 1), 0, false),
        Err(Denied::Short(_))
    ));
    assert!(full(balances.reserve(&key("1"), ask(30, 0, 1, 1), 0, true)).only_reserved());
    let postings = balances.close(&grant, &key("1"), &usd(25));
    let own = postings
        .iter()
        .find(|p| &*p.counter == "key=1|usd|day|UTC")
        .expect("posted");
    assert_eq!((own.posted, own.unleased), (25, 25));
    let back = balances.idle_leases(true, 0);
    assert_eq!((back.len(), back[0].unleased), (1, 15));
    assert!(matches!(
        balances.reserve(&key("1"), ask(1, 0, 1, 1), 0, false),
        Err(Denied::Short(_))
    ));
}

#[test]
fn a_lease_of_a_window_that_has_passed_goes_back_whole() {
    let mut balances = Balances::new(true, 10);
    balances.set_caps(&[Cap::of_key(1, Window::Day, PicoUsd(100))], &[], 0);
    let name: Arc<str> = "key=1|usd|day|UTC".into();
    balances.leased(&name, 0, 50, 0);
    let grant = balances
        .reserve(&key("1"), ask(30, 0, 1, 1), 0, false)
        .expect("leased");
    assert!(
        matches!(
            balances.reserve(&key("1"), ask(1, 0, 1, 1), 86_400, false),
            Err(Denied::Short(_))
        ),
        "the new day has none"
    );
    let back = balances.take_returns();
    assert_eq!((back[0].id, back[0].unleased), (0, 20));
    let postings = balances.close(&grant, &key("1"), &usd(10));
    let own = postings.iter().find(|p| p.counter == name).expect("posted");
    assert_eq!((own.id, own.posted, own.unleased), (0, 10, 30));
    balances.leased(&name, 0, 7, 0);
    assert_eq!(
        balances.take_returns()[0].unleased,
        7,
        "a lease that comes too late goes back at once"
    );
}

/// The plainest possible book-keeping: a list of attempts, summed afresh each time.
#[derive(Default)]
struct Naive {
    caps: Vec<(Scope, Measure, i128)>,
    open: Vec<(Dims<'static>, Requirement, u64)>,
    closed: Vec<(Dims<'static>, Spend)>,
}

impl Naive {
    fn used(&self, scope: &Scope, measure: Measure) -> (i128, i128) {
        let posted = self
            .closed
            .iter()
            .filter(|(d, _)| scope.holds(d))
            .map(|(_, s)| s.of(measure))
            .sum();
        let held = self
            .open
            .iter()
            .filter(|(d, ..)| scope.holds(d))
            .map(|(_, a, t)| a.amount(measure, *t))
            .sum();
        (posted, held)
    }

    fn fits(&self, dims: &Dims<'_>, ask: &Requirement, tokens: u64) -> bool {
        self.caps
            .iter()
            .filter(|(s, ..)| s.holds(dims))
            .all(|(scope, measure, limit)| {
                let (posted, held) = self.used(scope, *measure);
                *limit > 0 && ask.amount(*measure, tokens) <= (limit - posted - held).max(0)
            })
    }
}

const KEYS: [&str; 3] = ["1", "2", "3"];
const MODELS: [&str; 2] = ["gpt-5", "claude"];
const TEAMS: [&str; 3] = ["red", "red", "blue"];

#[derive(Clone, Debug)]
enum Step {
    Reserve {
        who: usize,
        model: usize,
        fixed: i128,
        per: i128,
        tokens: u64,
        min: u64,
    },
    Close {
        pick: usize,
        share: i128,
        tokens: u64,
    },
    Limit {
        cap: usize,
        limit: i128,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..3, 0_usize..2, 0_i128..60, 0_i128..4, 0_u64..30, 0_u64..30)
            .prop_map(|(who, model, fixed, per, tokens, min)| Step::Reserve { who, model, fixed, per, tokens, min }),
        3 => (any::<usize>(), 0_i128..=110, 0_u64..40).prop_map(|(pick, share, tokens)| Step::Close { pick, share, tokens }),
        1 => (0_usize..6, 0_i128..500).prop_map(|(cap, limit)| Step::Limit { cap, limit }),
    ]
}

fn naive_caps(limits: &[i128; 6]) -> Vec<(Scope, Measure, i128)> {
    let only = |dim, value: &str| Scope::all().with(dim, Pick::Only(value.into()));
    vec![
        (Scope::all(), Measure::Usd, limits[0]),
        (only(Dim::Team, "red"), Measure::Usd, limits[1]),
        (Scope::key(1), Measure::Usd, limits[2]),
        (only(Dim::Model, "gpt-*"), Measure::Tokens, limits[3]),
        (Scope::key(2), Measure::Requests, limits[4] / 20),
        (
            only(Dim::Team, "red").with(Dim::Model, Pick::Only("claude".into())),
            Measure::Usd,
            limits[5],
        ),
    ]
}

fn real_caps(caps: &[(Scope, Measure, i128)]) -> Vec<Cap> {
    let cap = |(scope, measure, limit): &(Scope, Measure, i128)| {
        Cap::new(
            Counter {
                scope: scope.clone(),
                measure: *measure,
                window: Window::Total,
                zone: Default::default(),
            },
            *limit,
        )
    };
    caps.iter().map(cap).collect()
}

/// 10^5 operations in CI, 10^6 with FLYBALL_MONEY=long.
fn cases() -> u32 {
    let long = std::env::var("FLYBALL_MONEY").is_ok_and(|m| m == "long");
    if long { 10_000 } else { 1_000 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]
    #[test]
    fn balances_agree_with_a_naive_book(mut limits in prop::array::uniform6(0_i128..500), steps in prop::collection::vec(step(), 100)) {
        let mut balances = Balances::new(false, 10);
        let mut naive = Naive { caps: naive_caps(&limits), ..Naive::default() };
        balances.set_caps(&real_caps(&naive.caps), &[], 0);
        let mut grants: Vec<Grant> = Vec::new();
        for step in steps {
            match step {
                Step::Reserve { who, model, fixed, per, tokens, min } => {
                    let dims = Dims { team: TEAMS[who], model: MODELS[model], ..key(KEYS[who]) };
                    let ask = ask(fixed, per, tokens, min);
                    let least = min.min(tokens);
                    match balances.reserve(&dims, ask, 0, false) {
                        Ok(grant) => {
                            prop_assert!(naive.fits(&dims, &ask, grant.tokens), "overspent: {grant:?}");
                            prop_assert!(grant.tokens == tokens || !naive.fits(&dims, &ask, grant.tokens + 1), "lowered too far");
                            naive.open.push((dims, ask, grant.tokens));
                            grants.push(grant);
                        }
                        Err(_) => prop_assert!(!naive.fits(&dims, &ask, least), "a phantom refusal"),
                    }
                }
                Step::Close { pick, share, tokens } if !grants.is_empty() => {
                    let at = pick % grants.len();
                    let (grant, (dims, ..)) = (grants.swap_remove(at), naive.open.swap_remove(at));
                    // Up to 110 % of the bound: an overrun is booked as it is.
                    let spend = Spend { usd: PicoUsd(grant.amount.0 * share / 100), tokens, requests: u64::from(share > 0) };
                    balances.close(&grant, &dims, &spend);
                    naive.closed.push((dims, spend));
                }
                Step::Limit { cap, limit } => {
                    limits[cap] = limit;
                    naive.caps = naive_caps(&limits);
                    balances.set_caps(&real_caps(&naive.caps), &[], 0);
                }
                Step::Close { .. } => {}
            }
        }
        for (scope, measure, _) in &naive.caps {
            let standing = balances.standings(0).into_iter().find(|s| s.counter.scope == *scope && s.counter.measure == *measure && s.counter.window == Window::Total);
            let standing = standing.map_or((0, 0), |s| (s.posted, s.reserved));
            prop_assert_eq!(standing, naive.used(scope, *measure), "{}", scope);
        }
    }
}

#[test]
fn a_rough_bound_is_taken_where_what_is_left_would_do_for_many_such_inputs_and_one_answer() {
    // 40 of input and 600 of an answer, and 31 more inputs: a count could change nothing about the answer.
    let rough = Requirement {
        times: 32,
        ..ask(40, 6, 100, 100)
    };
    for (limit, granted) in [(1_879, false), (1_880, true)] {
        let got = with_cap(limit).reserve(&key("1"), rough, 0, false);
        assert_eq!(got.is_ok(), granted, "limit {limit}");
    }
}
