//! Who has lost a batch writes nothing of it any more: not into its tables, whatever it was about to write when it was stopped.

use super::death::serve_logged;
use super::{Vendor, Ways, batch_price, config, hand_in, id_of, line, over, results};
use crate::until::{found, killed, until, worked};
use flyball::batch::{BatchDoc, BatchRow, LineDoc, LineRow, LineState, PartRow};
use flyball::dialect::batch::BatchState;
use flyball::ledger::store::batches::{Batches, Claim, Of, TAKEN_OVER};
use flyball::ledger::store::waiting::WaitingRow;
use flyball::ledger::{Address, Settings, books};
use std::path::Path;
use std::process::Command;

fn claim(worker: &str) -> Claim {
    Claim {
        batch: "b".into(),
        worker: worker.into(),
    }
}

fn some_line(result: &str) -> LineRow {
    LineRow {
        n: 0,
        custom_id: "c".into(),
        part: 0,
        state: LineState::Sent,
        body: "{}".into(),
        out: "{}".into(),
        result: result.into(),
        doc: LineDoc::default(),
    }
}

/// Every write of a worker, by one whose batch another has taken over.
fn writes_nothing(store: &mut Batches) {
    let batch = BatchRow {
        id: "b".into(),
        state: BatchState::InProgress,
        doc: BatchDoc::default(),
        ..BatchRow::default()
    };
    store.put(&batch).expect("kept");
    let (old, new) = (claim("old"), claim("new"));
    assert!(store.claim(&old, 100, 110).expect("claimed"));
    assert!(
        !store.claim(&new, 105, 200).expect("looked"),
        "it is the other's still"
    );
    store
        .save(&old, &[some_line("before")], &[PartRow::default()])
        .expect("saved");
    assert!(
        store.claim(&new, 111, 200).expect("claimed"),
        "its time is over"
    );
    let lost = |outcome: Result<(), flyball::error::Error>| {
        assert_eq!(outcome.expect_err("refused").code, Some(TAKEN_OVER));
    };
    lost(store.save(&old, &[some_line("after")], &[]));
    lost(store.send(
        &old,
        &PartRow {
            lines: 9,
            ..PartRow::default()
        },
    ));
    lost(store.clear(&old));
    let over = BatchRow {
        state: BatchState::Completed,
        ..batch
    };
    lost(
        store
            .change(Some(&old), &over, BatchState::InProgress)
            .map(drop),
    );
    assert!(!store.claim(&old, i64::MIN, 300).expect("looked"));
    let lines = store
        .lines("b", Of::Part(0, LineState::Sent), -1)
        .expect("read");
    assert_eq!(lines, [some_line("before")]);
    assert_eq!(store.parts("b").expect("read"), [PartRow::default()]);
    let found = store.batch("b").expect("read").expect("there");
    assert_eq!(found.state, BatchState::InProgress);
    store.save(&new, &[some_line("after")], &[]).expect("saved");
    let lines = store
        .lines("b", Of::Part(0, LineState::Sent), -1)
        .expect("read");
    assert_eq!(lines[0].result, "after", "the other writes");
}

/// A batch that collects requests is its worker's from its first moment, and nobody joins it for another one.
fn collects_for_one(store: &mut Batches) {
    let batch = BatchRow {
        id: "w".into(),
        state: BatchState::Validating,
        doc: BatchDoc {
            collects_until: Some(200),
            ..BatchDoc::default()
        },
        ..BatchRow::default()
    };
    let of = |worker: &str| Claim {
        batch: "w".into(),
        worker: worker.into(),
    };
    let part = PartRow::default();
    store
        .begin(&of("own"), 110, (&batch, &part))
        .expect("begun");
    assert!(
        !store.claim(&of("other"), 105, 200).expect("looked"),
        "nobody takes up what was begun just now"
    );
    assert!(store.claim(&of("own"), i64::MIN, 110).expect("looked"));
    let waits = |n: i64| WaitingRow {
        request: format!("r{n}"),
        key: 0,
        batch: "w".into(),
        n,
        created: 1,
        expires: 2,
        gone: false,
        tries: 0,
    };
    let line = |n: i64| LineRow {
        n,
        state: LineState::Waiting,
        ..some_line("")
    };
    assert!(store.join("own", &line(0), &waits(0)).expect("joined"));
    assert!(!store.join("other", &line(1), &waits(1)).expect("looked"));
    // Its worker has said nothing for too long, and another process goes on with it.
    assert!(store.claim(&of("other"), 111, 200).expect("claimed"));
    assert!(!store.join("own", &line(1), &waits(1)).expect("looked"));
    let lines = store
        .lines("w", Of::State(LineState::Waiting), -1)
        .expect("read");
    assert_eq!(lines, [line(0)]);
    assert_eq!(store.parts("w").expect("read"), [part]);
    assert_eq!(store.waiting(0, "r1").expect("read"), None);
}

#[test]
fn a_worker_whose_batch_was_taken_over_writes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = Settings::embedded(dir.path());
    let mut store = books::batches(&settings).expect("a store");
    writes_nothing(&mut store);
    collects_for_one(&mut store);
}

#[test]
fn nor_on_a_shared_ledger() {
    let Some(url) = crate::stores::database() else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let settings = Settings {
        shared: Some(Address(url.into())),
        ..Settings::embedded(dir.path())
    };
    let mut store = books::batches(&settings).expect("a store");
    writes_nothing(&mut store);
    collects_for_one(&mut store);
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

/// What two replicas have in common, in a folder of each.
fn configured(dir: &Path, url: &str, toml: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(dir.join("key"), "up-secret").expect("a file");
    let address = dir.join("ledger");
    std::fs::write(&address, url).expect("a file");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&address, private).expect("private");
    let above = format!(
        "replica_timeout = \"1s\"\nshared_ledger = \"file:{}\"",
        address.display()
    );
    std::fs::write(dir.join("flyball.toml"), format!("{above}\n{toml}")).expect("a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_stopped_while_results_came_changes_nothing_when_it_wakes() {
    let Some(url) = worked("a database", crate::stores::database).await else {
        return;
    };
    let vendor = Vendor::start(Ways {
        holds_results: true,
        ..Ways::default()
    })
    .await;
    let toml = config(&vendor, "");
    let (one, two) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    configured(one.path(), &url, &toml);
    configured(two.path(), &url, &toml);
    let settings = Settings {
        shared: Some(Address(url.clone().into())),
        ..Settings::embedded(&one.path().join("data"))
    };
    let (mut first, at) = serve_logged(one.path());
    let lines: Vec<String> = (0..5)
        .map(|n| line(&format!("c{n}"), "gpt-4o-mini", "q"))
        .collect();
    let id = id_of(&hand_in(at, "x", &lines.join("\n")).await);
    until("the first replica asks for the results", || {
        vendor.held() > 0
    })
    .await;
    signal("-STOP", first.id());
    vendor.change(|ways| ways.holds_results = false);
    let (mut second, at) = serve_logged(two.path());
    let batch = over(at, "x", &id).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    let told = results(at, "x", &batch).await;
    assert_eq!(told.len(), 5);
    // The answer that it waits for is there now: it would book and keep it.
    vendor.release();
    signal("-CONT", first.id());
    let log = one.path().join("log");
    found(
        "the first replica hears that the batch is another's",
        async || {
            let said = std::fs::read_to_string(&log).ok()?;
            said.contains("taken over by another process").then_some(())
        },
    )
    .await;
    assert_eq!(results(at, "x", &batch).await, told);
    assert_eq!(vendor.batches().len(), 1, "nothing is sent again");
    killed(&mut first);
    killed(&mut second);
    let booked = worked("the books are read", move || {
        super::death::booked(&settings)
    })
    .await;
    assert_eq!(booked, 5 * batch_price());
}
