//! What a reservation costs: durable by itself with 64 callers at once, and out of a lease on one thread; beside one measured fdatasync.
//!
//! `cargo bench --bench ledger`; `FLYBALL_ROWS=10000000` fills the ledger first, to see whether admission stays as quick.
//! `FLYBALL_REPORT_ROWS=10000000` writes a month of so many attempts, through the store's own code, and reads reports of it instead; into
//! PostgreSQL where `FLYBALL_POSTGRES` holds the address of an empty database.

use flyball::arm::{Effort, Tier};
use flyball::ledger::balance::Posting;
use flyball::ledger::balance::Requirement;
use flyball::ledger::cap::Cap;
use flyball::ledger::cap::Counter;
use flyball::ledger::record::{Basis, Cause, Closing, Opening, Outcome};
use flyball::ledger::replay::counts;
use flyball::ledger::report::{Dimension, Query, read};
use flyball::ledger::store::{Key, Store, StoreWork};
use flyball::ledger::window::Zone;
use flyball::ledger::{Address, Ledger, Settings, books};
use flyball::money::PicoUsd;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() {
    let dir = tempfile::tempdir().expect("a folder");
    if let Some(rows) = std::env::var("FLYBALL_REPORT_ROWS")
        .ok()
        .and_then(|n| n.parse().ok())
    {
        return reports(dir.path(), rows);
    }
    let sync = fdatasync(dir.path());
    println!("one fdatasync of 4 KiB: {sync:?} (median of 200)");
    durable(dir.path(), sync);
    leased(&dir.path().join("leased"));
}

fn fdatasync(dir: &Path) -> Duration {
    let mut file = std::fs::File::create(dir.join("sync")).expect("a file");
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let began = Instant::now();
            file.write_all(&[7; 4_096]).expect("written");
            file.sync_data().expect("synced");
            began.elapsed()
        })
        .collect();
    times.sort();
    times[100]
}

fn open(dir: &Path, lease_permille: u32, runtime: &tokio::runtime::Runtime) -> Arc<Ledger> {
    let settings = Settings {
        lease_permille,
        ..Settings::embedded(dir)
    };
    // Attempts refer to their keys: 1 is capped, 2 is not.
    let mut books = books::make(&settings).expect("books");
    for n in [1, 2] {
        let key = Key {
            name: n.to_string(),
            hash: [n; 32],
            ..Key::default()
        };
        books.create_key(&key).expect("a key");
    }
    drop(books);
    let ledger = Ledger::open(settings).expect("a ledger");
    let cap = Cap::parse("1000000usd/day").expect("a cap").for_key(1);
    runtime
        .block_on(ledger.set_caps(|| vec![cap]))
        .expect("set");
    ledger
}

fn ask() -> Requirement {
    Requirement {
        fixed: PicoUsd(1_000_000),
        per_token: PicoUsd(1_000),
        tokens: 100,
        tokens_min: 100,
        input_tokens: 10,
        choices: 1,
        ..Requirement::default()
    }
}

fn opening() -> Opening {
    Opening {
        attempt: uuid::Uuid::now_v7().to_string(),
        request: uuid::Uuid::now_v7().to_string(),
        at_ms: flyball::ledger::now_ms(),
        provider: "openai".into(),
        model: "gpt-5-mini".into(),
        ..Opening::default()
    }
}

fn closing() -> Closing {
    Closing {
        cost: PicoUsd(500_000),
        baseline: PicoUsd(500_000),
        basis: Basis::Reported,
        service_tier: Some(flyball::chat::ServiceTier::Standard),
        tokens: 50,
        ..Closing::void("", Outcome::Ok)
    }
}

/// 64 callers, each one reservation after the other.
fn durable(dir: &Path, sync: Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let dir = dir.join("durable");
    let ledger = open(&dir, 0, &runtime);
    if let Some(rows) = std::env::var("FLYBALL_ROWS")
        .ok()
        .and_then(|n| n.parse::<u64>().ok())
    {
        fill(&ledger, &dir, rows, &runtime);
    }
    let began = Instant::now();
    let mut times: Vec<Duration> = runtime.block_on(async {
        let calls = (0..64).map(|_| {
            let ledger = ledger.clone();
            tokio::task::spawn(async move {
                let mut times = Vec::new();
                while began.elapsed() < Duration::from_secs(5) {
                    let from = Instant::now();
                    let held = ledger
                        .reserve(
                            ask(),
                            Opening {
                                key: Some(1),
                                ..opening()
                            },
                            Duration::ZERO,
                        )
                        .await
                        .expect("room");
                    times.push(from.elapsed());
                    held.post(closing());
                }
                times
            })
        });
        let mut all = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            all.extend(call.await.expect("no panic"));
        }
        all
    });
    let seconds = began.elapsed().as_secs_f64();
    times.sort();
    let count = u32::try_from(times.len()).expect("fewer");
    let (half, most) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!(
        "durable, 64 callers: {:.0} reserve + close a second; reserve takes {half:?} (median), {most:?} (99 %), {:.1} fdatasyncs; {:.0} % of 64 / fdatasync",
        f64::from(count) / seconds,
        half.as_secs_f64() / sync.as_secs_f64(),
        100.0 * f64::from(count) / seconds * sync.as_secs_f64() / 64.0
    );
    runtime.block_on(ledger.drain());
}

fn fill(ledger: &Arc<Ledger>, _dir: &Path, rows: u64, runtime: &tokio::runtime::Runtime) {
    let began = Instant::now();
    runtime.block_on(async {
        for n in 0..rows {
            // Not capped, so nothing waits; the queue is emptied now and then.
            let uncapped = Opening {
                key: Some(2),
                ..opening()
            };
            ledger
                .reserve(ask(), uncapped, Duration::ZERO)
                .await
                .expect("room")
                .post(closing());
            if n % 10_000 == 0 {
                ledger.flush().await;
            }
        }
        ledger.flush().await;
    });
    println!("{rows} rows before, written in {:?}", began.elapsed());
}

/// On one thread, by the processor time of that thread.
fn leased(dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let ledger = open(dir, 100, &runtime);
    const ROUNDS: u32 = 200_000;
    let all: Vec<Opening> = (0..ROUNDS)
        .map(|_| Opening {
            key: Some(1),
            ..opening()
        })
        .collect();
    let (took, cpu) = runtime.block_on(async {
        let (began, before) = (Instant::now(), cpu_time());
        let mut waited = Duration::ZERO;
        for (n, opening) in all.into_iter().enumerate() {
            let held = ledger
                .reserve(ask(), opening, Duration::ZERO)
                .await
                .expect("room");
            held.post(closing());
            if n % 10_000 == 9_999 {
                // The queue is bounded; emptying it is the other thread's work.
                let from = cpu_time();
                ledger.flush().await;
                waited += cpu_time() - from;
            }
        }
        (began.elapsed(), cpu_time() - before - waited)
    });
    println!(
        "from a lease, one thread: {:?} of processor time for reserve + close ({:?} with the writer's waits)",
        cpu / ROUNDS,
        took / ROUNDS
    );
    runtime.block_on(ledger.drain());
}

/// This thread's processor time, as Linux counts it.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// November 2026.
const MONTH_FROM: i64 = 1_793_491_200_000;
const MONTH_MS: i64 = 30 * 86_400_000;

/// A month of three teams and five keys on eight models.
fn reports(dir: &Path, rows: u32) {
    let shared = std::env::var("FLYBALL_POSTGRES").ok();
    let settings = Settings {
        shared: shared.map(|url| Address(url.into())),
        ..Settings::embedded(dir)
    };
    let mut store = books::make(&settings).expect("books");
    store.begin(MONTH_FROM).expect("begun");
    for n in 1..=5_u8 {
        let key = Key {
            name: n.to_string(),
            hash: [n; 32],
            ..Key::default()
        };
        store.create_key(&key).expect("a key");
    }
    let define = StoreWork::Define {
        counters: Counter::always(),
        now: MONTH_FROM / 1_000,
    };
    store.commit(&[&define]).expect("defined");
    let began = Instant::now();
    let mut works = Vec::new();
    for n in 0..rows {
        works.extend(attempt(n, rows));
        if works.len() >= 10_000 {
            store
                .commit(&works.iter().collect::<Vec<_>>())
                .expect("written");
            works.clear();
        }
    }
    store
        .commit(&works.iter().collect::<Vec<_>>())
        .expect("written");
    println!("{rows} attempts, written in {:?}", began.elapsed());
    let kept = store.kept().expect("read");
    println!("{} bytes, {} attempts", kept.bytes, kept.attempts);
    for (by, zone, odd) in [
        ("team", "UTC", 0),
        ("team", "UTC", 1_234_567),
        ("team", "Europe/Berlin", 0),
        ("team,key", "Europe/Berlin", 0),
        ("day,model", "UTC", 0),
        ("day,team", "Europe/Berlin", 0),
        ("hour", "UTC", 0),
    ] {
        let query = Query {
            zone: Zone::named(zone).expect("a zone"),
            ..Query::between(
                MONTH_FROM + odd,
                MONTH_FROM + MONTH_MS - odd,
                Dimension::parse_list(by).expect("known"),
            )
        };
        let mut times: Vec<Duration> = (0..5).map(|_| time(store.as_mut(), &query)).collect();
        times.sort();
        println!(
            "a month by {by} in {zone}, from {odd} ms on: {:?} (median of 5)",
            times[2]
        );
    }
}

fn time(store: &mut dyn Store, query: &Query) -> Duration {
    let began = Instant::now();
    let report = read(store, query).expect("read");
    assert!(report.total.sums.attempts > 0);
    began.elapsed()
}

/// One attempt of the month, the earlier ones first. What it is like changes in many ways at once, so that groups are many.
fn attempt(n: u32, rows: u32) -> [StoreWork; 2] {
    let mixed = u64::from(n)
        .wrapping_mul(6_364_136_223_846_793_005)
        .rotate_left(29);
    let of = |shift: u32, count: u64| usize::try_from((mixed >> shift) % count).expect("few");
    let at_ms = MONTH_FROM + i64::from(n) * MONTH_MS / i64::from(rows);
    let key = of(0, 5);
    let opening = Opening {
        attempt: format!("{n:032}"),
        request: format!("r{n:031}"),
        at_ms,
        counted_ms: at_ms,
        key: i64::try_from(key + 1).ok(),
        organisation: "house".into(),
        team: ["red", "blue", "green"][key % 3].into(),
        provider: ["openai", "anthropic"][of(8, 2)].into(),
        model: format!("model-{}", of(8, 8)),
        effort: [Effort::None, Effort::Low, Effort::High][of(16, 3)],
        tier: [Tier::Small, Tier::Standard][of(8, 2)],
        task: ["code", "summarise", "translate", "logic"][of(24, 4)].into(),
        rule: ["plain", "asked"][of(32, 2)].into(),
        ..Opening::default()
    };
    let closing = Closing {
        cost: PicoUsd(500_000),
        baseline: PicoUsd(700_000),
        baseline_model: "model-9".into(),
        cause: Some(Cause::Route),
        basis: Basis::Reported,
        service_tier: Some(flyball::chat::ServiceTier::Standard),
        tokens: 50,
        ..Closing::void(&opening.attempt, [Outcome::Ok, Outcome::Length][of(40, 2)])
    };
    let posting = |(name, id, posted): (String, i64, i128)| Posting {
        counter: name.into(),
        id,
        posted,
        unleased: 0,
        leased: false,
        epoch: 0,
    };
    let spent = counts(&Counter::always(), &opening, &closing);
    let spent = spent.into_iter().map(posting).collect();
    let opening = Arc::new(opening);
    [
        StoreWork::Open(opening.clone()),
        StoreWork::Close(opening, Box::new(closing), spent),
    ]
}
