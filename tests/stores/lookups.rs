//! Looking up what became of a request, again and again, beside the thread that writes.

use super::database;
use flyball::ledger::balance::Requirement;
use flyball::ledger::record::{Opening, Outcome};
use flyball::ledger::store::sqlite;
use flyball::ledger::{Address, Ledger, Settings};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// A ledger with an attempt of the request "r".
async fn ledger(settings: Settings) -> Arc<Ledger> {
    let ledger = blocking(move || Ledger::open(settings).expect("a ledger")).await;
    let opening = Opening {
        request: "r".into(),
        attempt: "a".into(),
        at_ms: flyball::ledger::now_ms(),
        ..Opening::default()
    };
    let held = ledger.reserve(Requirement::default(), opening, Duration::ZERO);
    held.await.expect("room").void(Outcome::NotSent);
    ledger
}

/// How many attempts it finds of this request that have ended.
async fn found(ledger: &Ledger, request: &str) -> Result<usize, String> {
    let found = ledger.request(request).await.map_err(|e| e.detail)?;
    Ok(found.iter().filter(|a| a.closing.is_some()).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_looks_open_the_embedded_books_once_and_again_after_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = ledger(Settings::embedded(dir.path())).await;
    assert_eq!(found(&ledger, "r").await, Ok(1));
    let (file, away) = (sqlite::file(dir.path()), dir.path().join("away"));
    // Whoever opens the file by its name finds none any more; what is open stays.
    std::fs::rename(&file, &away).expect("moved");
    for (request, attempts) in [("r", 1), ("nobody's", 0), ("r", 1)] {
        assert_eq!(found(&ledger, request).await, Ok(attempts), "{request}");
    }
    std::fs::rename(&away, &file).expect("moved back");
    let other = sqlite::open(dir.path()).expect("the ledger");
    let rename = |from, to| {
        let text = format!("ALTER TABLE {from} RENAME TO {to}");
        other.execute_batch(&text).expect("renamed");
    };
    rename("correction", "gone");
    let why = found(&ledger, "r").await.expect_err("half of it is gone");
    assert!(why.contains("correction"), "{why}");
    rename("gone", "correction");
    assert_eq!(found(&ledger, "r").await, Ok(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_looks_take_one_connection_to_the_shared_books_and_a_new_one_where_it_broke() {
    let Some(url) = blocking(database).await else {
        return;
    };
    let settings = Settings {
        shared: Some(Address(secrecy::SecretString::from(url.clone()))),
        ..Settings::embedded(Path::new(""))
    };
    let ledger = ledger(settings).await;
    assert_eq!(found(&ledger, "r").await, Ok(1));
    // By when they began: the writer's comes first, the one for looks last.
    let connections = move |end_last: bool| {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).expect("connected");
        let text = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY backend_start";
        let rows = client.query(text, &[]).expect("told");
        let all: Vec<i32> = rows.iter().map(|r| r.get(0)).collect();
        if end_last {
            let end = "SELECT pg_terminate_backend($1, 5000)";
            client
                .query(end, &[all.last().expect("one")])
                .expect("ended");
        }
        all
    };
    let told = connections.clone();
    let before = blocking(move || told(false)).await;
    for _ in 0..5 {
        assert_eq!(found(&ledger, "r").await, Ok(1));
    }
    let told = connections.clone();
    let after = blocking(move || told(true)).await;
    assert_eq!(before, after);
    assert_eq!(found(&ledger, "r").await, Ok(1), "it broke in between");
    let last = blocking(move || connections(false)).await;
    assert_eq!((last[0], last.len()), (before[0], before.len()));
    ledger.drain().await;
}
