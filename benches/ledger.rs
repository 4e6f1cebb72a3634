//! What a reservation costs: durable by itself with 64 callers at once, and out of a lease on one thread; beside one measured fdatasync.
//!
//! `cargo bench --bench ledger`; `FLYBALL_ROWS=10000000` fills the ledger first, to see whether admission stays as quick.

use flyball::ledger::balance::Requirement;
use flyball::ledger::cap::Cap;
use flyball::ledger::record::{Basis, Closing, Opening, Outcome};
use flyball::ledger::store::Key;
use flyball::ledger::{Ledger, Settings, books};
use flyball::money::PicoUsd;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() {
    let dir = tempfile::tempdir().expect("a folder");
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
