//! Stops and deaths: nothing is sent twice, nothing is lost, and what it has cost is booked to the pico-dollar.

use super::{Vendor, Ways, batch_price, config, hand_in, id_of, line, over, results};
use crate::flyball::{Flyball, make_key};
use crate::until::{heard, killed, within, worked};
use flyball::ledger::store::EVER;
use flyball::ledger::{Address, Settings, books};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

#[tokio::test]
async fn a_batch_goes_on_after_a_restart_and_costs_what_it_cost() {
    let vendor = Vendor::start(Ways {
        hangs: true,
        ..Ways::default()
    })
    .await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    make_key(&dir, "app", Some("1"), |_| {});
    let toml = config(&vendor, "");
    let flyball = Flyball::start_in(dir, &toml).await;
    let lines: Vec<String> = (0..5)
        .map(|n| line(&format!("c{n}"), "gpt-4o-mini", "q"))
        .collect();
    let id = id_of(&hand_in(flyball.at(), "fb_app", &lines.join("\n")).await);
    crate::until::until("the vendor has it", || vendor.batches().len() == 1).await;
    let dir = flyball.stop().await;
    vendor.change(|ways| ways.hangs = false);
    let flyball = Flyball::start_in(dir, &toml).await;
    let batch = over(flyball.at(), "fb_app", &id).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    assert_eq!(results(flyball.at(), "fb_app", &batch).await.len(), 5);
    assert_eq!(vendor.batches().len(), 1);
    assert_eq!(super::posted(&flyball), 5 * batch_price());
    flyball.books_are_right().await;
}

pub fn serve(dir: &Path) -> (Child, SocketAddr) {
    served(dir, Stdio::null())
}

/// The same, whose log is in a file there.
pub(super) fn serve_logged(dir: &Path) -> (Child, SocketAddr) {
    let log = std::fs::File::create(dir.join("log")).expect("a file");
    served(dir, Stdio::from(log))
}

fn served(dir: &Path, log: Stdio) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flyball"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .arg("--config")
        .arg(dir.join("flyball.toml"))
        .arg("--data-dir")
        .arg(dir.join("data"))
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("it runs");
    let place = |line: &str| {
        let at = line.split("listens on http://").nth(1)?;
        at.split(' ').next()?.parse().ok()
    };
    let last = move |line: &str| place(line).is_some();
    let said = heard("flyball listens", &mut child, last);
    let at = said
        .last()
        .and_then(|line| place(line))
        .expect("it listens");
    (child, at)
}

/// What every attempt is booked at.
pub fn booked(settings: &Settings) -> i128 {
    let mut store = books::open(settings).expect("the ledger");
    let mut sum = 0;
    store
        .attempts(EVER, &mut |attempt| {
            sum += attempt.booked().expect("it has ended").0;
            true
        })
        .expect("it can be read");
    sum
}

pub fn rounds() -> u64 {
    match std::env::var("FLYBALL_MONEY").as_deref() {
        Ok("long") => 100,
        Ok(_) => 30,
        Err(_) => 4,
    }
}

/// One batch whose flyball dies three times, at another place each round. A line for which no room was in the books when it died waits;
/// one that had gone out is found.
async fn dies(round: u64, dir: &TempDir, settings: &Settings, above: &str) {
    let ways = Ways {
        looks: 3,
        loses_creates: usize::try_from(round % 2).expect("small"),
        ..Ways::default()
    };
    let vendor = Vendor::start(ways).await;
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    let toml = format!("{above}\n{}", config(&vendor, ""));
    std::fs::write(dir.path().join("flyball.toml"), toml).expect("a file");
    let (mut child, at) = serve(dir.path());
    let lines: Vec<String> = (0..40)
        .map(|n| line(&format!("c{n}"), "gpt-4o-mini", "q"))
        .collect();
    let id = id_of(&hand_in(at, "fb_app", &lines.join("\n")).await);
    for death in 0..3_u64 {
        // Somewhere within the second that a batch takes; whatever it meets, the outcome is the same.
        let pause = Duration::from_millis((round * 37 + death * 113) % 400);
        tokio::time::sleep(pause).await;
        killed(&mut child);
        let (next, _) = serve(dir.path());
        child = next;
    }
    killed(&mut child);
    let (mut child, at) = serve(dir.path());
    let batch = within("the batch is over", over(at, "fb_app", &id)).await;
    assert_eq!(batch["status"], "completed", "round {round}: {batch}");
    let told = results(at, "fb_app", &batch).await;
    assert_eq!(told.len(), 40, "round {round}");
    assert!(
        told.values()
            .all(|line| line["response"]["status_code"] == 200)
    );
    let asked = vendor.asked();
    let once: HashSet<&(String, String)> = asked.iter().collect();
    assert_eq!(asked.len(), once.len(), "round {round}: sent twice");
    assert_eq!(asked.len(), 40, "round {round}");
    killed(&mut child);
    let settings = settings.clone();
    let booked = worked("the books are read", move || booked(&settings)).await;
    assert_eq!(booked, 40 * batch_price(), "round {round}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_twice_or_lost_whenever_it_dies() {
    for round in 0..rounds() {
        let dir = tempfile::tempdir().expect("a folder");
        make_key(&dir, "app", Some("1"), |_| {});
        let settings = Settings::embedded(&dir.path().join("data"));
        dies(round, &dir, &settings, "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_on_a_shared_ledger() {
    for round in 0..rounds().div_ceil(4) {
        let Some(url) = worked("a database", crate::stores::database).await else {
            return;
        };
        let dir = tempfile::tempdir().expect("a folder");
        let address = dir.path().join("ledger");
        std::fs::write(&address, &url).expect("a file");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&address, private).expect("private");
        }
        let settings = Settings {
            shared: Some(Address(url.into())),
            ..Settings::embedded(&dir.path().join("data"))
        };
        let above = format!(
            "replica_timeout = \"1s\"\nshared_ledger = \"file:{}\"",
            address.display()
        );
        dies(round, &dir, &settings, &above).await;
    }
}
