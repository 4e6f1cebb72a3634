//! kill -9: at random points, and at every durable write. What the provider billed is in the books, and the cap holds.

use super::oracle::{Oracle, fleet};
use super::{body, rounds, spent_in};
use crate::flyball::make_key;
use crate::until::{ended, heard, killed, reaped, until, within};
use flyball::ledger::verify::verify;
use flyball::ledger::window::Window;
use flyball::ledger::{Settings, books};
use futures_util::future::join_all;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Victim {
    child: Child,
    at: Option<SocketAddr>,
    started: Duration,
}

impl Victim {
    /// Starts one, under this command if there is one; it may die before it listens.
    fn start(dir: &Path, under: &[&str]) -> Victim {
        let began = Instant::now();
        let program = env!("CARGO_BIN_EXE_flyball");
        let mut command = match under {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command
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
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("it runs");
        let place = |line: &str| {
            let at = line.split("listens on http://").nth(1)?;
            at.split(' ').next()?.parse().ok()
        };
        let last = move |line: &str| place(line).is_some();
        let said = heard("flyball listens, or dies", &mut child, last);
        Victim {
            child,
            at: said.last().and_then(|line| place(line)),
            started: began.elapsed(),
        }
    }

    fn kill(mut self) {
        killed(&mut self.child);
    }
}

/// A place to die in: a cap, a provider, a configuration.
async fn place(lease: u32) -> (TempDir, Oracle) {
    let dir = tempfile::tempdir().expect("a folder");
    let oracle = Oracle::start(&dir.path().join("bill")).await;
    make_key(&dir, "app", Some("0.2"), |_| {});
    let toml = format!(
        "answer_tokens_max = 300\nlease_permille = {lease}\n{}",
        fleet(&oracle)
    );
    std::fs::write(dir.path().join("flyball.toml"), toml).expect("a file");
    (dir, oracle)
}

/// Sends requests until the server is gone, or its cap has been full for a while. Tells whether it is gone.
async fn bother(at: SocketAddr, seed: usize) -> bool {
    let mut refused = 0;
    for n in 0.. {
        let model = ["o-some", "o-exact", "o-silent", "o-cut"][(seed + n) % 4];
        let limit = (model == "o-exact").then_some(150);
        let asked = body(model, limit, n % 2 == 0, 5);
        let Ok(mut stream) = tokio::net::TcpStream::connect(at).await else {
            return true;
        };
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer fb_app\r\ncontent-length: {}\r\n\r\n{asked}",
            asked.len()
        );
        let mut answer = Vec::new();
        let asked = async {
            stream.write_all(request.as_bytes()).await?;
            stream.read_to_end(&mut answer).await
        };
        if within("an answer, or a death", asked).await.is_err() {
            return true;
        }
        refused += usize::from(answer.starts_with(b"HTTP/1.1 402"));
        if refused > 200 {
            return false;
        }
    }
    false
}

/// The books after a death, as the next start leaves them.
fn check(dir: &Path, oracle: &Oracle) {
    let mut books = books::open(&Settings::embedded(&dir.join("data"))).expect("the ledger");
    let found = verify(books.as_mut()).expect("it can be replayed");
    assert!(found.is_whole(), "{found:?}");
    // In the cap's own window: what was left of a lease is charged to the cap that it came from, and to nothing else.
    let booked = spent_in(books.as_mut(), 1, Window::Day);
    let cap = 200_000_000_000;
    assert!(
        booked >= oracle.billed(),
        "billed {}, booked {booked}",
        oracle.billed()
    );
    assert!(booked <= cap && oracle.billed() <= cap, "booked {booked}");
}

async fn quiet(oracle: &Oracle) {
    until("nobody is connected to the provider", || oracle.quiet()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_the_books_cover_the_bill_and_the_cap_holds() {
    let deaths = rounds(4, 100, 1_000);
    let mut longest = Duration::ZERO;
    let mut home = place(0).await;
    for death in 0..deaths {
        if death % 8 == 0 {
            home = place(if death % 16 == 0 { 0 } else { 20 }).await;
        }
        let (dir, oracle) = &home;
        let victim = Victim::start(dir.path(), &[]);
        longest = longest.max(victim.started);
        // The start has settled what the last death left.
        check(dir.path(), oracle);
        let at = victim.at.expect("it listens");
        let callers: Vec<_> = (0..8)
            .map(|seed| tokio::spawn(bother(at, seed + death)))
            .collect();
        // Any moment will do; that it is not always the same one is what counts.
        tokio::time::sleep(Duration::from_micros(
            u64::try_from(death * 7_919 % 60_000).expect("small"),
        ))
        .await;
        victim.kill();
        for caller in within("every caller sees the death", join_all(callers)).await {
            caller.expect("no panic");
        }
        quiet(oracle).await;
    }
    println!("{deaths} deaths, the longest start took {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_durable_write_the_books_cover_the_bill() {
    if std::env::var_os("FLYBALL_MONEY").is_none() {
        println!("SKIPPED: FLYBALL_MONEY is not set");
        return;
    }
    let mut strace = Command::new("strace");
    strace.stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(strace) = strace.arg("-V").spawn() else {
        println!("SKIPPED: there is no strace");
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "CI has strace"
        );
        return;
    };
    ended("strace says its version", strace);
    for lease in [0, 20] {
        let wanted = rounds(3, 30, 200);
        let (mut died, mut tries) = (0, 0);
        let mut home = place(lease).await;
        while died < wanted {
            tries += 1;
            assert!(
                tries <= 2 * wanted + 8,
                "of {tries} runs only {died} died at a sync"
            );
            let (dir, oracle) = &home;
            let at_sync = 1 + died % 40;
            let died_there = killed_at_sync(dir.path(), at_sync).await;
            died += usize::from(died_there);
            quiet(oracle).await;
            let healthy = Victim::start(dir.path(), &[]);
            assert!(
                healthy.at.is_some(),
                "it starts after a death at sync {at_sync}"
            );
            healthy.kill();
            check(dir.path(), oracle);
            // Each death leaves something for the next start. What ran until its cap was full would do so again, so a whole cap is
            // there then, and now and then.
            if !died_there || tries % 4 == 0 {
                home = place(lease).await;
            }
        }
        println!("lease {lease}: {died} deaths at a sync, in {tries} runs");
    }
}

/// Runs a flyball that is killed as it asks for its Nth sync, whichever of the two calls it uses for that. Tells whether it died so:
/// it may also have run until its cap was full.
async fn killed_at_sync(dir: &Path, nth: usize) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let inject = format!("inject=fsync,fdatasync:signal=SIGKILL:when={nth}");
    let under = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync,fdatasync",
        "-e",
        &inject,
    ];
    let mut victim = Victim::start(dir, &under);
    let mut gone = victim.at.is_none();
    if let Some(at) = victim.at {
        let callers: Vec<_> = (0..4)
            .map(|seed| tokio::spawn(bother(at, seed + nth)))
            .collect();
        let enough = async {
            for caller in callers {
                gone |= caller.await.expect("no panic");
            }
        };
        // Long enough for a busy machine: it ends as soon as the server is gone or refuses everybody.
        tokio::time::timeout(Duration::from_secs(60), enough)
            .await
            .expect("the server dies, or its cap is full");
    }
    // Nobody else sends this signal: `kill` is for one that lives.
    let died = gone && reaped(&mut victim.child).is_some_and(|status| status.signal() == Some(9));
    victim.kill();
    died
}
