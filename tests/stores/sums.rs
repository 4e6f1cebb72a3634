//! The sums by group that are kept beside the attempts, what reports read of them, and what stays when attempts are deleted.

use super::{Open, commit, database, each_store, is_whole, start};
use flyball::arm::{Effort, Tier};
use flyball::chat::{ServiceTier, Usage};
use flyball::ledger::balance::Posting;
use flyball::ledger::cap::{Counter, Dim, Measure, Pick, Scope};
use flyball::ledger::pace::spent_since;
use flyball::ledger::record::{
    Attempt, Basis, Cause, Closing, Correction, Opening, Outcome, Shown, TrueUp,
};
use flyball::ledger::replay::counts;
use flyball::ledger::report::{Dimension, Query, Report, read};
use flyball::ledger::rollup::{DAY_MS, HOUR_MS};
use flyball::ledger::store::postgres::Postgres;
use flyball::ledger::store::sqlite::Sqlite;
use flyball::ledger::store::{EVER, Key, Store, StoreAnswer, StoreWork};
use flyball::ledger::window::{Window, Zone};
use flyball::money::PicoUsd;
use flyball::probe::evidence::Sign;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Three days before the clocks are set back in Europe, and ten before that in America.
const FROM: i64 = 1_792_627_200_000;
const SPAN: i64 = 12 * DAY_MS;

/// Random numbers that come again with their seed.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        let n = u64::try_from(all.len()).expect("few");
        all[usize::try_from(self.throw(n)).expect("few")]
    }

    fn amount(&mut self) -> i128 {
        i128::from(self.throw(1_000_000))
    }
}

/// One request: attempts of which each comes after the one before.
fn request(dice: &mut Dice, n: u64, at_ms: i64) -> Vec<(Arc<Opening>, Box<Closing>)> {
    let count = 1 + dice.throw(3);
    let team = dice.of(&["", "red", "blue"]);
    let shared = Opening {
        request: format!("r{n}"),
        key: dice.of(&[None, Some(1), Some(2)]),
        organisation: if team == "red" { "org" } else { "" }.into(),
        team: team.into(),
        session: dice.of(&["", "s1", "s2", "s3"]).into(),
        tags: match dice.throw(3) {
            0 => vec![("app".into(), "search".into())],
            1 => vec![("app".into(), "chat".into()), ("env".into(), "live".into())],
            _ => Vec::new(),
        },
        task: dice.of(&["code", "summarise"]).into(),
        rule: dice.of(&["plain", "asked", "check"]).into(),
        simulated: dice.throw(4) == 0,
        ..Opening::default()
    };
    let mut last = String::new();
    (0..count)
        .map(|step| {
            let attempt = format!("r{n}-{step}");
            let at_ms = at_ms + i64::try_from(step).expect("few") * 40_000;
            let opening = Opening {
                attempt: attempt.clone(),
                at_ms,
                counted_ms: at_ms,
                provider: dice.of(&["openai", "ollama"]).into(),
                model: dice.of(&["small", "large"]).into(),
                effort: dice.of(&[Effort::None, Effort::High]),
                tier: dice.of(&[Tier::Local, Tier::Small]),
                escalated_from: std::mem::replace(&mut last, attempt.clone()),
                bound: PicoUsd(dice.amount()),
                bound_tokens: dice.throw(1_000),
                ..shared.clone()
            };
            let closing = closing(dice, &opening, step + 1 == count);
            (Arc::new(opening), Box::new(closing))
        })
        .collect()
}

fn closing(dice: &mut Dice, opening: &Opening, last: bool) -> Closing {
    let outcome = match last {
        true => dice.of(&[
            Outcome::Ok,
            Outcome::Length,
            Outcome::ClientGone,
            Outcome::UpstreamError,
        ]),
        false => dice.of(&[
            Outcome::Escalated,
            Outcome::UpstreamError,
            Outcome::NotSent,
            Outcome::UpstreamTimeout,
        ]),
    };
    let basis = match outcome {
        Outcome::NotSent => Basis::Void,
        Outcome::Ok => Basis::Reported,
        _ => dice.of(&[Basis::Bound, Basis::Counted]),
    };
    if basis == Basis::Void {
        return Closing::void(&opening.attempt, outcome);
    }
    let mut closing = Closing {
        cost: PicoUsd(dice.amount()),
        baseline: PicoUsd(if outcome == Outcome::Escalated {
            0
        } else {
            dice.amount()
        }),
        baseline_extra: PicoUsd(dice.amount()),
        baseline_model: dice.of(&["small", "large"]).into(),
        baseline_effort: Effort::High,
        cache_discount: PicoUsd(dice.amount() - 400_000),
        usage: Usage {
            input: dice.throw(1_000),
            cached: dice.throw(1_000),
            cache_write: dice.throw(100),
            cache_write_long: dice.throw(100),
            output: dice.throw(1_000),
            reasoning: dice.throw(100),
            ..Usage::default()
        },
        basis,
        service_tier: Some(dice.of(&[ServiceTier::Standard, ServiceTier::Flex])),
        tokens: dice.throw(3_000),
        ..Closing::void(&opening.attempt, outcome)
    };
    let saved = closing.baseline - closing.cost;
    closing.cause = Cause::told(opening, &closing, opening.effort, saved);
    if opening.rule == "check" {
        closing.cause = Some(Cause::Check);
    }
    closing
}

/// Writes a history of so many requests: in batches of any size, some of it twice, with crashes and bills in between.
fn history(open: &Open, dice: &mut Dice, requests: u64) -> Box<dyn Store> {
    let mut store = start(open);
    let two = Key {
        name: "two".into(),
        hash: [2; 32],
        ..Key::default()
    };
    store.create_key(&two).expect("made");
    let mut works: Vec<StoreWork> = Vec::new();
    for n in 0..requests {
        let at_ms =
            FROM + i64::try_from(dice.throw(u64::try_from(SPAN).expect("ahead"))).expect("ahead");
        let mut closes = Vec::new();
        for (opening, closing) in request(dice, n, at_ms) {
            works.push(StoreWork::Open(opening.clone()));
            if dice.throw(20) > 0 {
                closes.push((opening, closing));
            }
        }
        // Whoever came first need not end first.
        if dice.throw(4) == 0 {
            closes.reverse();
        }
        for (opening, closing) in closes {
            let again = (dice.throw(10) == 0).then(|| closing.clone());
            let spent = postings(&opening, &closing);
            works.push(StoreWork::Close(opening.clone(), closing, spent.clone()));
            works.extend(again.map(|closing| StoreWork::Close(opening, closing, spent)));
            if dice.throw(5) == 0 {
                commit(store.as_mut(), std::mem::take(&mut works));
            }
        }
        match dice.throw(25) {
            0 => {
                commit(store.as_mut(), std::mem::take(&mut works));
                drop(store);
                store = open();
                store.begin(FROM + SPAN).expect("swept");
            }
            1 => bill(store.as_mut(), dice, n),
            _ => {}
        }
    }
    commit(store.as_mut(), works);
    store
}

/// What an attempt adds to the counters that are always kept.
fn postings(opening: &Opening, closing: &Closing) -> Vec<Posting> {
    let all = counts(&Counter::always(), opening, closing);
    let posting = |(name, id, posted): (String, i64, i128)| Posting {
        counter: name.into(),
        id,
        posted,
        unleased: 0,
        leased: false,
        epoch: 0,
    };
    all.into_iter().map(posting).collect()
}

/// A bill for some attempt, which may be one whose cost is known.
fn bill(store: &mut dyn Store, dice: &mut Dice, before: u64) {
    let attempt = format!("r{}-{}", dice.throw(before + 1), dice.throw(3));
    let correction = Correction {
        attempt,
        cost: PicoUsd(dice.amount()),
        at_ms: FROM + SPAN,
        source: "a bill".into(),
    };
    store.true_up(&correction).expect("booked or not");
}

fn all(store: &mut dyn Store) -> Vec<Attempt> {
    let mut all = Vec::new();
    let mut keep = |a| {
        all.push(a);
        true
    };
    store.attempts(EVER, &mut keep).expect("read");
    all
}

/// What an attempt has of a dimension, told without the code under test.
fn value(attempt: &Attempt, by: &Dimension, zone: &jiff::tz::TimeZone) -> String {
    let (o, c) = (&attempt.opening, attempt.closing.as_ref().expect("closed"));
    let local = zone.to_datetime(jiff::Timestamp::from_millisecond(o.at_ms).expect("a time"));
    match by {
        Dimension::Key => attempt.key_name.clone(),
        Dimension::Team => o.team.clone(),
        Dimension::Organisation => o.organisation.clone(),
        Dimension::Session => o.session.clone(),
        Dimension::User => o.user.clone(),
        Dimension::Rule => o.rule.clone(),
        Dimension::Task => o.task.clone(),
        Dimension::Tier => o.tier.name().into(),
        Dimension::Effort => o.effort.name().into(),
        Dimension::Model => o.model.clone(),
        Dimension::Provider => o.provider.clone(),
        Dimension::Tag(tag) => {
            let found = o.tags.iter().find(|(name, _)| name == tag);
            found.map(|(_, v)| v.clone()).unwrap_or_default()
        }
        Dimension::Outcome => c.outcome.name().into(),
        Dimension::ServiceTier => c.service_tier.map_or("", ServiceTier::name).into(),
        Dimension::Day => local.date().to_string(),
        Dimension::Month => local.strftime("%Y-%m").to_string(),
        Dimension::Hour => {
            let at = jiff::Timestamp::from_millisecond(o.at_ms).expect("a time");
            let offset = zone.to_offset(at);
            let hour = offset
                .to_datetime(at)
                .strftime("%Y-%m-%dT%H:00")
                .to_string();
            let minutes = offset.seconds() / 60;
            let sign = if minutes < 0 { '-' } else { '+' };
            format!(
                "{hour}{sign}{:02}:{:02}",
                minutes.abs() / 60,
                minutes.abs() % 60
            )
        }
        Dimension::Simulated => o.simulated.to_string(),
    }
}

/// Requests, attempts, tokens, cost, baseline.
type Told = [i128; 6];

/// Its answer went to nobody.
fn is_aside(attempt: &Attempt) -> bool {
    let closing = attempt.closing.as_ref().expect("closed");
    let of_another = matches!(closing.cause, Some(Cause::Check | Cause::Escalated));
    of_another || closing.outcome == Outcome::Escalated
}

/// What attempts add up to by some dimensions, one by one.
fn added_up(attempts: &[Attempt], query: &Query, tz: &str) -> BTreeMap<Vec<String>, Told> {
    let zone = jiff::tz::TimeZone::get(tz).expect("a zone");
    let closed = attempts.iter().filter(|a| a.closing.is_some());
    let took_its_place = closed.clone().filter(|a| !is_aside(a));
    let before: HashSet<&str> = took_its_place.map(|a| &*a.opening.escalated_from).collect();
    let mut sums: BTreeMap<Vec<String>, Told> = BTreeMap::new();
    for attempt in closed {
        let (o, c) = (&attempt.opening, attempt.closing.as_ref().expect("closed"));
        if o.at_ms < query.from_ms || o.at_ms >= query.to_ms {
            continue;
        }
        let last = !is_aside(attempt) && !before.contains(&*o.attempt);
        let values = query
            .by
            .iter()
            .map(|by| value(attempt, by, &zone))
            .collect();
        let cost = attempt.trued_up.unwrap_or(c.cost);
        let unknown = c.usage == Usage::default() && c.baseline == c.cost;
        let baseline = match attempt.trued_up {
            Some(billed) if unknown => billed,
            _ => c.baseline,
        };
        let told: Told = [
            i128::from(last),
            1,
            c.usage.input_total().into(),
            c.usage.output.into(),
            cost.0,
            baseline.0,
        ];
        for (sum, one) in sums.entry(values).or_default().iter_mut().zip(told) {
            *sum += one;
        }
    }
    sums
}

fn reported(report: &Report) -> BTreeMap<Vec<String>, Told> {
    let rows = report.rows.iter().map(|row| {
        let s = &row.figures.sums;
        let input = s.input + s.cached + s.cache_write;
        let told = [s.requests, s.attempts, input, s.output, s.cost, s.baseline];
        let net: i128 = row.figures.saved_by.iter().map(|p| p.0).sum::<i128>()
            - row.figures.lost_by.iter().map(|p| p.0).sum::<i128>();
        assert_eq!(net, s.baseline - s.cost, "causes add up: {row:?}");
        (row.values.clone(), told)
    });
    rows.collect()
}

fn dimensions() -> Vec<Vec<Dimension>> {
    let names = [
        "",
        "key",
        "team",
        "organisation",
        "session",
        "rule",
        "task",
        "tier",
        "effort",
        "model",
        "provider",
        "tag:app",
        "tag:none",
        "outcome",
        "service_tier",
        "day",
        "hour",
        "month",
        "simulated",
        "team,key,day",
        "session,model",
        "day,hour,tag:env",
    ];
    let list = |names| Dimension::parse_list(names).expect("they are known");
    names.map(list).to_vec()
}

/// Every report says what the attempts add up to, whatever it is split by and wherever it begins and ends.
fn reports_are_right(store: &mut dyn Store, dice: &mut Dice, which: &str) {
    let attempts = all(store);
    for by in dimensions() {
        for tz in ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"] {
            let edge = |dice: &mut Dice| {
                let at = FROM - DAY_MS
                    + i64::try_from(dice.throw(u64::try_from(SPAN + 2 * DAY_MS).expect("ahead")))
                        .expect("ahead");
                dice.of(&[at, at - at.rem_euclid(HOUR_MS), at - at.rem_euclid(DAY_MS)])
            };
            let (a, b) = (edge(dice), edge(dice));
            let query = Query {
                zone: Zone::named(tz).expect("a zone"),
                ..Query::between(a.min(b), a.max(b) + 1, by.clone())
            };
            let report = read(store, &query).expect("read");
            let expected = added_up(&attempts, &query, tz);
            assert_eq!(reported(&report), expected, "{which} {tz}: {query:?}");
            let mut total = Told::default();
            for row in expected.values() {
                for (sum, one) in total.iter_mut().zip(row) {
                    *sum += one;
                }
            }
            let s = report.total.sums;
            assert_eq!(
                [s.requests, s.attempts, s.cost, s.baseline],
                [total[0], total[1], total[4], total[5]]
            );
        }
    }
}

#[test]
fn reports_say_what_the_attempts_add_up_to_by_every_dimension() {
    each_store(|which, open| {
        let mut dice = Dice(7);
        let mut store = history(open, &mut dice, 150);
        is_whole(store.as_mut(), which);
        reports_are_right(store.as_mut(), &mut dice, which);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn whatever_happened_reports_say_what_the_attempts_add_up_to(seed in any::<u64>()) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().to_owned();
        let open: Open = Box::new(move || Box::new(Sqlite::open(&path).expect("a store")));
        let mut dice = Dice(seed);
        let mut store = history(&open, &mut dice, 60);
        is_whole(store.as_mut(), "sqlite");
        reports_are_right(store.as_mut(), &mut dice, "sqlite");
    }
}

#[test]
fn only_some_attempts_are_reported_and_the_rows_that_cost_least_are_one() {
    each_store(|which, open| {
        let mut store = history(open, &mut Dice(9), 80);
        let by = vec![Dimension::Model, Dimension::Effort, Dimension::Outcome];
        let whole = Query::between(FROM - DAY_MS, FROM + 2 * SPAN, by);
        let of = |team: &str| Query {
            only: vec![(Dimension::Team, team.into())],
            ..whole.clone()
        };
        let cost =
            |store: &mut dyn Store, query: &Query| read(store, query).expect("read").total.sums;
        let mut sum = cost(store.as_mut(), &of("red"));
        sum.add(&cost(store.as_mut(), &of("blue")));
        sum.add(&cost(store.as_mut(), &of("")));
        let all = read(store.as_mut(), &whole).expect("read");
        assert_eq!(all.total.sums, sum, "{which}");
        let few = Query {
            rows_max: 3,
            ..whole
        };
        let few = read(store.as_mut(), &few).expect("read");
        assert_eq!(few.rows.len(), 4, "{which}");
        assert_eq!(few.rows[..3], all.rows[..3], "{which}");
        assert_eq!(
            (few.rows[3].values[0].as_str(), few.total),
            ("other", all.total),
            "{which}"
        );
        assert!(
            few.notes[0].contains("more than 3 rows"),
            "{which}: {:?}",
            few.notes
        );
    });
}

#[test]
fn a_request_counts_once_with_its_last_attempt_whichever_ends_first() {
    each_store(|which, open| {
        for reversed in [false, true] {
            let mut store = start(open);
            let name = |step: &str| format!("{which}{reversed}-{step}");
            let opening = |step: &str, from: &str| {
                Arc::new(Opening {
                    request: name(""),
                    attempt: name(step),
                    at_ms: FROM,
                    counted_ms: FROM,
                    model: step.into(),
                    escalated_from: if from.is_empty() {
                        String::new()
                    } else {
                        name(from)
                    },
                    ..Opening::default()
                })
            };
            let ended = |step: &str, outcome| Box::new(Closing::void(&name(step), outcome));
            let (a, b) = (opening("a", ""), opening("b", "a"));
            let mut closes = vec![
                (a.clone(), ended("a", Outcome::UpstreamError)),
                (b.clone(), ended("b", Outcome::Ok)),
            ];
            if reversed {
                closes.reverse();
            }
            commit(store.as_mut(), vec![StoreWork::Open(a), StoreWork::Open(b)]);
            let requests = |store: &mut dyn Store| {
                let by = Query::between(FROM, FROM + 1, vec![Dimension::Model]);
                let report = read(store, &by).expect("read");
                let rows = report
                    .rows
                    .iter()
                    .map(|r| (r.values[0].clone(), r.figures.sums.requests));
                rows.collect::<BTreeMap<_, _>>()
            };
            for (opening, closing) in closes {
                commit(
                    store.as_mut(),
                    vec![StoreWork::Close(opening, closing, Vec::new())],
                );
            }
            let count = if reversed { 2 } else { 1 };
            let expected = [("a".to_owned(), 0), ("b".to_owned(), count)];
            assert_eq!(requests(store.as_mut()), expected.into(), "{which}");
            is_whole(store.as_mut(), which);
        }
    });
}

#[test]
fn an_answer_that_is_only_held_against_another_ones_takes_no_request_from_it() {
    each_store(|which, open| {
        let mut store = start(open);
        let cases = [
            // The better arm's answer is for a comparison.
            (Outcome::Escalated, Some(Cause::Escalated), [1, 0]),
            (Outcome::UpstreamError, Some(Cause::Escalated), [1, 0]),
            // The better arm was to answer and failed, so that the first answer was delivered.
            (Outcome::UpstreamError, None, [0, 1]),
            (Outcome::Ok, None, [0, 1]),
        ];
        let mut expected = [0, 0];
        for (n, (outcome, cause, counts)) in cases.into_iter().enumerate() {
            for reversed in [false, true] {
                let opening = |step: &str, from: &str| {
                    let name = |step: &str| format!("{which}{reversed}{n}{step}");
                    Arc::new(Opening {
                        request: name("r"),
                        attempt: name(step),
                        at_ms: FROM,
                        counted_ms: FROM,
                        model: step.into(),
                        escalated_from: if from.is_empty() {
                            String::new()
                        } else {
                            name(from)
                        },
                        ..Opening::default()
                    })
                };
                let (a, b) = (opening("a", ""), opening("b", "a"));
                let first = Closing {
                    shown: Some(Shown::of(Sign::Answer)),
                    ..Closing::void(&a.attempt, Outcome::Ok)
                };
                let second = Closing {
                    cause,
                    ..Closing::void(&b.attempt, outcome)
                };
                let mut closes = vec![(a.clone(), first), (b.clone(), second)];
                if reversed {
                    closes.reverse();
                }
                commit(store.as_mut(), vec![StoreWork::Open(a), StoreWork::Open(b)]);
                for (opening, closing) in closes {
                    let closed = StoreWork::Close(opening, Box::new(closing), Vec::new());
                    commit(store.as_mut(), vec![closed]);
                }
                is_whole(store.as_mut(), which);
                for (sum, count) in expected.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
        }
        let by = Query::between(FROM, FROM + 1, vec![Dimension::Model]);
        let report = read(store.as_mut(), &by).expect("read");
        let told = |model: &str| {
            let row = report.rows.iter().find(|r| r.values[0] == model);
            row.map(|r| r.figures.sums.requests)
        };
        assert_eq!([told("a"), told("b")], expected.map(Some), "{which}");
    });
}

fn expire(store: &mut dyn Store, before_ms: i64, most: i64) {
    commit(store, vec![StoreWork::Expire { before_ms, most }]);
}

/// Counters of every window and measure, of everybody and of each key and team, without those of minutes and hours.
fn counters() -> Vec<Counter> {
    let each = |dim| Scope::all().with(dim, Pick::Each);
    let scopes = [
        Scope::all(),
        each(Dim::Team),
        Scope::all().tagged("app", "chat"),
    ];
    let windows = [Window::Day, Window::Month, Window::Total];
    let all = scopes.iter().flat_map(|scope| {
        windows.iter().flat_map(move |window| {
            Measure::ALL.map(|measure| Counter {
                measure,
                ..Counter::usd(scope.clone(), *window)
            })
        })
    });
    Counter::always().into_iter().chain(all).collect()
}

fn define(store: &mut dyn Store, counters: Vec<Counter>) -> BTreeMap<(String, i64), i128> {
    let now = (FROM + SPAN) / 1_000;
    match commit(store, vec![StoreWork::Define { counters, now }]).pop() {
        Some(StoreAnswer::Sums(sums)) => sums
            .into_iter()
            .map(|s| ((s.counter, s.id), s.posted))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_deleted_leaves_its_days_its_counters_and_books_that_are_whole() {
    each_store(|which, open| {
        let mut store = history(open, &mut Dice(11), 120);
        let before = define(store.as_mut(), counters());
        let by = |names| {
            Query::between(
                FROM - DAY_MS,
                FROM + 2 * SPAN,
                Dimension::parse_list(names).expect("known"),
            )
        };
        let reports = |store: &mut dyn Store| {
            let of = |store: &mut dyn Store, names| read(store, &by(names)).expect("read");
            [of(store, "team,model"), of(store, "key,day"), of(store, "")]
                .map(|report| (report.rows, report.total))
        };
        let told = reports(store.as_mut());
        let count = all(store.as_mut()).len();
        let cutoff = FROM - FROM.rem_euclid(DAY_MS) + 6 * DAY_MS;
        let mut left = count;
        loop {
            expire(store.as_mut(), cutoff, 7);
            let now = all(store.as_mut()).len();
            assert!(now + 7 >= left, "{which}: no more than seven at a time");
            is_whole(store.as_mut(), which);
            if now == left {
                break;
            }
            left = now;
        }
        let rest = all(store.as_mut());
        let young = |a: &&Attempt| a.opening.at_ms >= cutoff || a.closing.is_none();
        assert_eq!(rest.iter().filter(young).count(), rest.len(), "{which}");
        assert!(rest.len() < count && !rest.is_empty(), "{which}");
        assert_eq!(reports(store.as_mut()), told, "{which}");
        let kept = store.kept().expect("read");
        assert_eq!(kept.from_ms, cutoff, "{which}");
        // Counters of all time that begin anew know what was deleted.
        define(store.as_mut(), Counter::always());
        let again = define(store.as_mut(), counters());
        assert_eq!(again, before, "{which}");
        is_whole(store.as_mut(), which);
        expire(store.as_mut(), cutoff + DAY_MS, 1_000);
        is_whole(store.as_mut(), which);
        let sessions = read(store.as_mut(), &by("session")).expect("read");
        assert_eq!(sessions.total, told[2].1, "{which}");
        assert!(
            sessions.notes.iter().any(|n| n.contains("sessions")),
            "{which}"
        );
    });
}

#[test]
fn what_a_counter_has_counted_since_an_instant_is_known_from_the_books() {
    each_store(|which, open| {
        let mut store = history(open, &mut Dice(13), 80);
        let attempts = all(store.as_mut());
        let red = Counter::usd(
            Scope::all().with(Dim::Team, Pick::Only("red".into())),
            Window::Day,
        );
        let requests = Counter {
            measure: Measure::Requests,
            ..Counter::usd(
                Scope::all().with(Dim::Key, Pick::Only("1".into())),
                Window::Hour,
            )
        };
        let session = Counter::usd(
            Scope::all().with(Dim::Session, Pick::Only("s1".into())),
            Window::Day,
        );
        let counters = [red, requests, session];
        let since = [
            FROM + SPAN - 3 * DAY_MS,
            FROM + SPAN - 90 * 60_000,
            FROM - DAY_MS,
        ];
        let told = spent_since(store.as_mut(), &counters, &since).expect("read");
        for (since, told) in since.iter().zip(told) {
            let young = attempts
                .iter()
                .filter(|a| a.closing.is_some() && a.opening.at_ms >= *since);
            let red = young.clone().filter(|a| a.opening.team == "red");
            let red: i128 = red.filter_map(|a| a.booked()).map(|p| p.0).sum();
            let sent = |a: &&Attempt| a.closing.as_ref().is_some_and(|c| c.basis != Basis::Void);
            let ones = young
                .filter(|a| a.opening.key == Some(1))
                .filter(sent)
                .count();
            let ones = i128::try_from(ones).expect("few");
            assert_eq!(told, [Some(red), Some(ones), None], "{which}");
        }
    });
}

#[test]
fn a_bill_moves_an_attempt_from_one_cause_to_another_and_out_of_what_is_provisional() {
    each_store(|which, open| {
        let mut store = start(open);
        let opening = Arc::new(Opening {
            attempt: "a".into(),
            request: "r".into(),
            at_ms: FROM,
            counted_ms: FROM,
            model: "small".into(),
            bound: PicoUsd(100),
            ..Opening::default()
        });
        let closing = Closing {
            cost: PicoUsd(100),
            baseline: PicoUsd(60),
            baseline_model: "large".into(),
            cause: Some(Cause::ClientGone),
            usage: Usage {
                output: 1,
                ..Usage::default()
            },
            basis: Basis::Bound,
            ..Closing::void("a", Outcome::ClientGone)
        };
        commit(
            store.as_mut(),
            vec![
                StoreWork::Open(opening.clone()),
                StoreWork::Close(
                    opening.clone(),
                    Box::new(closing.clone()),
                    postings(&opening, &closing),
                ),
            ],
        );
        let figures = |store: &mut dyn Store| {
            let report = read(store, &Query::between(FROM, FROM + 1, Vec::new())).expect("read");
            let f = report.total;
            (f.saved_by[0].0, f.lost_by[4].0, f.sums.provisional)
        };
        assert_eq!(figures(store.as_mut()), (0, 40, 100), "{which}");
        let correction = Correction {
            attempt: "a".into(),
            cost: PicoUsd(10),
            at_ms: FROM,
            source: "a bill".into(),
        };
        let outcome = store.true_up(&correction).expect("booked");
        assert_eq!(outcome, TrueUp::Corrected(PicoUsd(-90)), "{which}");
        assert_eq!(figures(store.as_mut()), (50, 0, 0), "{which}");
        is_whole(store.as_mut(), which);
    });
}

/// What a flyball of before would have made of this shared ledger.
const OLDER: &str = "DROP TABLE fb_audit;
    ALTER TABLE fb_key DROP COLUMN paused, DROP COLUMN old;
    DROP TABLE fb_stopped;
    ALTER TABLE fb_attempt DROP COLUMN end_user;
    DROP TABLE fb_rollup_group, fb_rollup_hour, fb_rollup_day, fb_kept, fb_carried, fb_outcome, fb_ask;
    DROP INDEX fb_attempt_from;
    ALTER TABLE fb_attempt DROP COLUMN baseline_model, DROP COLUMN baseline_effort, DROP COLUMN cause, DROP COLUMN cache_discount, DROP COLUMN baseline_extra;
    UPDATE fb_schema SET version = 4;";

#[test]
fn a_shared_ledger_from_before_sums_were_kept_is_added_up_when_it_is_migrated() {
    let Some(url) = database() else { return };
    let place = url.clone();
    let open: Open = Box::new(move || {
        let url = secrecy::SecretString::from(place.clone());
        Box::new(Postgres::open(&url, Duration::ZERO).expect("a store"))
    });
    let mut dice = Dice(17);
    drop(history(&open, &mut dice, 60));
    let mut client = postgres::Client::connect(&url, postgres::NoTls).expect("connected");
    client.batch_execute(OLDER).expect("an older schema");
    let mut store = open();
    is_whole(store.as_mut(), "postgres");
    reports_are_right(store.as_mut(), &mut dice, "postgres");
}
