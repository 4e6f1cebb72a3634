//! One flyball takes over from another, as real processes: nobody is turned away, and nobody cut.

use super::STREAM;
use crate::flyball::{compatible, overrides};
use crate::scripted::{Step, Upstream, delta, end, finish, piece, stream_head};
use crate::until::{ended, found_here, heard, within, worked};
use flyball::ledger::store::EVER;
use flyball::ledger::{Settings, books};
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

const RESTARTS: usize = 10;
const CLIENTS: usize = 8;

/// How the processes come by their socket.
#[derive(Clone, Debug)]
enum Way {
    /// It is handed over, as systemd does.
    Handed(Arc<OwnedFd>, SocketAddr),
    /// Each makes its own at this path.
    Path(PathBuf),
    /// Each makes its own at this address, which all of them share.
    Shared(SocketAddr),
}

struct Process {
    child: Child,
    said: PathBuf,
}

impl Process {
    fn start(dir: &Path, nth: usize, way: &Way) -> Process {
        let program = env!("CARGO_BIN_EXE_flyball");
        let said = dir.join(format!("said-{nth}"));
        let mut command = match way {
            // The socket comes as the standard input, which may be passed on without further ado, and becomes what systemd makes it.
            Way::Handed(socket, _) => {
                let mut command = Command::new("sh");
                let script = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
                command.args(["-c", script, program]);
                command.stdin(socket.try_clone().expect("a copy"));
                command
            }
            Way::Path(_) | Way::Shared(_) => Command::new(program),
        };
        command.args(["serve", "--admin-listen", "127.0.0.1:0"]);
        match way {
            Way::Handed(..) => {}
            Way::Path(path) => drop(
                command
                    .arg("--listen")
                    .arg(format!("unix:{}", path.display())),
            ),
            Way::Shared(at) => drop(command.arg("--listen").arg(at.to_string())),
        }
        command
            .arg("--config")
            .arg(dir.join("flyball.toml"))
            .arg("--data-dir")
            .arg(dir.join("data"))
            .stdout(Stdio::piped())
            .stderr(File::create(&said).expect("a file"));
        let child = command.spawn().expect("it runs");
        Process { child, said }
    }

    /// Waits until it serves.
    fn serves(&mut self) {
        let lines = heard("flyball listens, or dies", &mut self.child, |line| {
            line.starts_with("flyball listens on")
        });
        let said = std::fs::read_to_string(&self.said).unwrap_or_default();
        let last = lines.last().cloned().unwrap_or_default();
        assert!(last.starts_with("flyball listens on"), "{lines:?} {said}");
    }

    /// Waits until it waits for the one before it.
    fn waits(&self) {
        found_here("it waits for its turn", || {
            let said = std::fs::read_to_string(&self.said).ok()?;
            said.contains("takes over when that stops").then_some(())
        });
    }

    fn stops(self) {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status();
        assert!(told.expect("it runs").success());
        let output = ended("the old one ends", self.child);
        assert!(output.status.success(), "{output:?}");
    }
}

/// What the clients have seen.
#[derive(Default)]
struct Tally {
    served: AtomicUsize,
    refused: AtomicUsize,
    cut: AtomicUsize,
    over: AtomicBool,
}

async fn exchanged(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> bool {
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{STREAM}",
        STREAM.len()
    );
    let mut text = Vec::new();
    let done = stream.write_all(head.as_bytes()).await.is_ok()
        && stream.read_to_end(&mut text).await.is_ok();
    let text = String::from_utf8_lossy(&text);
    done && text.starts_with("HTTP/1.1 200")
        && text.contains("[DONE]")
        && text.ends_with("0\r\n\r\n")
}

async fn asks_on_and_on(way: Way, tally: Arc<Tally>) {
    while !tally.over.load(Relaxed) {
        let whole = match &way {
            Way::Handed(_, at) | Way::Shared(at) => match TcpStream::connect(at).await {
                Ok(stream) => exchanged(stream).await,
                Err(_) => {
                    tally.refused.fetch_add(1, Relaxed);
                    continue;
                }
            },
            Way::Path(path) => match UnixStream::connect(path).await {
                Ok(stream) => exchanged(stream).await,
                Err(_) => {
                    tally.refused.fetch_add(1, Relaxed);
                    continue;
                }
            },
        };
        let count = if whole { &tally.served } else { &tally.cut };
        count.fetch_add(1, Relaxed);
    }
}

/// A provider whose streams take a while, so that some are open at any moment.
async fn provider() -> Upstream {
    let gap = || Step::Gap(Duration::from_millis(40));
    let steps = vec![
        stream_head(),
        piece(&delta("one")),
        gap(),
        piece(&delta("two")),
        gap(),
        piece(&finish(10, 5).concat()),
        end(),
    ];
    Upstream::start(steps).await
}

fn folder(upstream: &Upstream, more: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("flyball.toml");
    std::fs::write(file, format!("{more}{}", compatible(upstream))).expect("written");
    dir
}

/// Ten restarts in a row, under load.
async fn rolled(dir: TempDir, way: Way, clients: usize) {
    let tally = Arc::new(Tally::default());
    let (path, rolling, counts) = (dir.path().to_owned(), way.clone(), Arc::clone(&tally));
    let load = tokio::runtime::Handle::current();
    let work = move || {
        let mut old = Process::start(&path, 0, &rolling);
        old.serves();
        for _ in 0..clients {
            load.spawn(asks_on_and_on(rolling.clone(), Arc::clone(&counts)));
        }
        for nth in 1..=RESTARTS {
            let before = counts.served.load(Relaxed);
            found_here("it serves", || {
                (counts.served.load(Relaxed) > before + clients).then_some(())
            });
            let mut new = Process::start(&path, nth, &rolling);
            new.waits();
            old.stops();
            new.serves();
            old = new;
        }
        counts.over.store(true, Relaxed);
        let all = || counts.served.load(Relaxed) + counts.cut.load(Relaxed);
        let mut last = all();
        // The clients end with the requests that they are at.
        for _ in 0..3 {
            std::thread::park_timeout(Duration::from_millis(200));
            last = last.max(all());
        }
        old.stops();
    };
    worked("ten restarts", work).await;
    let (served, refused, cut) = (
        tally.served.load(Relaxed),
        tally.refused.load(Relaxed),
        tally.cut.load(Relaxed),
    );
    println!("{RESTARTS} restarts, {served} served, {refused} refused, {cut} cut");
    assert_eq!((refused, cut), (0, 0), "{way:?}: of {served}");
    let settings = Settings::embedded(&dir.path().join("data"));
    let mut books = books::open(&settings).expect("the ledger");
    let mut outcomes = Vec::new();
    let mut look = |attempt| {
        outcomes.push(flyball::exchange::describe(&attempt)["outcome"].clone());
        true
    };
    books.attempts(EVER, &mut look).expect("it can be read");
    assert_eq!(outcomes.len(), served);
    assert!(
        outcomes.iter().all(|outcome| outcome == "ok"),
        "{outcomes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_restarts_on_a_socket_that_is_handed_over_turn_nobody_away_and_cut_nobody() {
    let upstream = provider().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    let dir = folder(&upstream, "");
    rolled(dir, Way::Handed(Arc::new(listener.into()), at), CLIENTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_restarts_on_a_path_that_changes_hands_turn_nobody_away_and_cut_nobody() {
    let upstream = provider().await;
    let dir = folder(&upstream, "reuse_port = true\n");
    let path = dir.path().join("t");
    rolled(dir, Way::Path(path), CLIENTS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_shared_port_the_new_one_listens_before_the_old_one_ends() {
    let upstream = provider().await;
    // Kept for as long as the test takes, without listening.
    let kept = TcpSocket::new_v4().expect("a socket");
    kept.set_reuseport(true).expect("it may be shared");
    kept.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let at = kept.local_addr().expect("an address");
    let dir = folder(&upstream, "reuse_port = true\n");
    let (path, way) = (dir.path().to_owned(), Way::Shared(at));
    let work = move || {
        let mut old = Process::start(&path, 0, &way);
        old.serves();
        for nth in 1..=3 {
            let mut new = Process::start(&path, nth, &way);
            new.waits();
            // Two at a time wait for nobody's place.
            let third = Process::start(&path, 100 + nth, &way);
            let refused = ended("the third gives up", third.child);
            assert!(!refused.status.success());
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            let said = said + &std::fs::read_to_string(&third.said).unwrap_or_default();
            assert!(said.contains("waits already to take over"), "{said}");
            old.stops();
            new.serves();
            old = new;
        }
        old.stops();
    };
    // Whoever connects between two of them waits in the backlog of the next one.
    let (over, asking) = (Arc::new(AtomicBool::new(false)), at);
    let done = Arc::clone(&over);
    let load = tokio::spawn(async move {
        let mut served = 0;
        while !done.load(Relaxed) {
            if let Ok(stream) = TcpStream::connect(asking).await {
                served += usize::from(exchanged(stream).await);
            }
        }
        served
    });
    worked("three restarts", work).await;
    over.store(true, Relaxed);
    let served = within("the load ends", load).await.expect("no panic");
    assert!(served > 3, "{served}");
    drop(kept);
}

#[tokio::test]
async fn without_any_of_it_a_second_one_is_refused_at_once() {
    let upstream = provider().await;
    let dir = folder(&upstream, "");
    let config = flyball::config::load(&overrides(&dir)).expect("a good file");
    let running = flyball::process::start(config, overrides(&dir)).await;
    let running = running.map_err(|e| e.detail).expect("it starts");
    let config = flyball::config::load(&overrides(&dir)).expect("a good file");
    let second = flyball::process::start(config, overrides(&dir)).await;
    let why = second.err().expect("it is refused").detail;
    assert!(why.contains("another flyball owns"), "{why}");
    running.stop().await;
}
