//! Unix sockets, in front and to providers: who may use them, whose file they are, and what counts as local.

use super::ASK;
use crate::flyball::{Flyball, compatible, compatible_at};
use crate::scripted::{Upstream, answer, chat};
use crate::until::within;
use flyball::config::Overrides;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as Blocking;
use std::path::Path;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixSocket, UnixStream};

/// Listens on `t` and `a` of its folder.
fn on_sockets(dir: &TempDir) -> impl FnOnce(&mut Overrides) + use<> {
    let place = |name: &str| Some(format!("unix:{}", dir.path().join(name).display()));
    let (traffic, admin) = (place("t"), place("a"));
    move |overrides| (overrides.listen, overrides.admin_listen) = (traffic, admin)
}

async fn started(dir: TempDir, toml: &str) -> Result<Flyball, String> {
    let change = on_sockets(&dir);
    Flyball::try_start_with(dir, toml, change).await
}

/// All that comes back for a request with these lines.
async fn asked(path: &Path, first: &str, lines: &str, body: &str) -> String {
    let asking = async {
        let mut stream = UnixStream::connect(path).await.expect("it listens");
        let head = format!(
            "{first} HTTP/1.1\r\n{lines}connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.expect("read");
        String::from_utf8_lossy(&text).into_owned()
    };
    within("an answer over the socket", asking).await
}

const CHAT: &str = "POST /v1/chat/completions";

#[tokio::test]
async fn traffic_and_administration_come_over_sockets_that_are_local_whatever_they_are_called() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    let toml = format!("socket_mode = \"0660\"\n{}", compatible(&upstream));
    let flyball = started(dir, &toml).await.expect("it starts");
    let (traffic, admin) = (flyball.dir.path().join("t"), flyball.dir.path().join("a"));
    for socket in [&traffic, &admin] {
        let mode = std::fs::metadata(socket)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o660);
    }
    // No page can make a browser ask here under a name of its own.
    for (lines, status) in [
        ("host: localhost\r\n", 200),
        ("host: anything\r\n", 200),
        ("host: localhost\r\norigin: https://evil.example\r\n", 403),
    ] {
        let text = asked(&traffic, CHAT, lines, ASK).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status}")),
            "{lines}: {text}"
        );
    }
    let text = asked(&admin, "GET /metrics", "host: anything\r\n", "").await;
    assert!(text.contains("flyball_build_info"), "{text}");
    assert_eq!(flyball.rows().await.len(), 2);
    assert_eq!(flyball.running.url, format!("unix:{}", traffic.display()));
    let dir = flyball.stop().await;
    assert!(!traffic.exists() && !admin.exists());
    drop(dir);
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_is_replaced_and_nothing_else_is() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let toml = compatible(&upstream);
    // Left by one that was killed.
    let dir = tempfile::tempdir().expect("a folder");
    drop(Blocking::bind(dir.path().join("t")).expect("bound"));
    let flyball = started(dir, &toml).await.expect("it starts");
    let path = flyball.dir.path().join("t");
    assert!(
        asked(&path, CHAT, "host: a\r\n", ASK)
            .await
            .starts_with("HTTP/1.1 200")
    );
    flyball.stop().await;
    // Somebody's, even one who has no time for anybody more, and also where flyballs follow each other.
    for more in ["", "reuse_port = true\n"] {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("t");
        let other = UnixSocket::new_stream().expect("a socket");
        other.bind(&path).expect("bound");
        let other = other.listen(0).expect("it listens");
        let mut waiting = Vec::new();
        while let Ok(stream) = UnixSocket::new_stream()
            .expect("a socket")
            .connect(&path)
            .await
        {
            waiting.push(stream);
        }
        let why = started(dir, &format!("{more}{toml}")).await.err();
        let why = why.expect("it is refused");
        assert!(
            why.contains("another program uses unix:") && why.contains("--listen"),
            "{why}"
        );
        drop(other);
    }
    // No socket at all.
    let dir = tempfile::tempdir().expect("a folder");
    let (path, kept) = (dir.path().join("t"), dir.path().to_owned());
    std::fs::write(&path, "precious").expect("written");
    let change = on_sockets(&dir);
    let file = dir.path().join("flyball.toml");
    std::fs::write(&file, &toml).expect("written");
    let mut overrides = crate::flyball::overrides(&dir);
    change(&mut overrides);
    let config = flyball::config::load(&overrides).expect("a good file");
    let why = flyball::process::start(config, overrides)
        .await
        .err()
        .expect("refused");
    assert!(why.detail.contains("no socket"), "{}", why.detail);
    assert_eq!(
        std::fs::read_to_string(kept.join("t")).expect("there"),
        "precious"
    );
}

#[tokio::test]
async fn a_provider_at_a_socket_is_local() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    let behind = started(dir, &compatible(&upstream))
        .await
        .expect("it starts");
    let path = behind.dir.path().join("t");
    for more in ["", "http2 = \"always\""] {
        let toml = compatible_at(&format!("unix:{}", path.display()), more);
        let flyball = Flyball::start(&toml).await;
        let local = [("x-flyball-privacy", "local")];
        let answer = flyball.chat(&local, ASK).await;
        assert_eq!(answer.status, 200, "{more}: {}", answer.body);
        assert_eq!(flyball.rows().await.len(), 1);
        flyball.stop().await;
    }
    assert_eq!(upstream.seen()[0].body, ASK);
    let toml = compatible_at(&format!("unix:{}", path.display()), "");
    let flyball = Flyball::start(&toml).await;
    behind.stop().await;
    let answer = flyball.chat(&[], ASK).await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert!(answer.body.contains("cannot be reached"), "{}", answer.body);
}

#[test]
fn mistakes_of_addresses_are_told_with_their_line() {
    let long = "x".repeat(120);
    for (toml, says) in [
        (
            "listen = \"unix:here.sock\"\n".to_owned(),
            "flyball.toml:1: listen: \"unix:here.sock\" is not an address",
        ),
        (format!("listen = \"unix:/{long}\"\n"), "at most"),
        (
            "listen = \"unix:/a\"\nadmin_listen = \"unix:/a\"\n".to_owned(),
            "give each its own path",
        ),
        (
            "socket_mode = \"0999\"\n".to_owned(),
            "flyball.toml:1: socket_mode: \"0999\" is not the mode of a socket",
        ),
        ("socket_mode = \"0066\"\n".to_owned(), "octal"),
        (
            "proxy_protocol = true\n".to_owned(),
            "flyball.toml:1: proxy_protocol needs proxy_trusted",
        ),
        (
            "proxy_trusted = [\"10.0.0.0/8\"]\n".to_owned(),
            "says nothing without proxy_protocol",
        ),
        (
            "proxy_protocol = true\nproxy_trusted = [\"10.0.0.0/99\"]\n".to_owned(),
            "flyball.toml:2: proxy_trusted: \"10.0.0.0/99\"",
        ),
        (
            "[[provider]]\nname = \"x\"\nkind = \"vllm\"\nbase_url = \"unix:x\"\n".to_owned(),
            "absolute path",
        ),
        (
            "[limits]\nstreams_max = 5000\n".to_owned(),
            "streams_max is at most 1000",
        ),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("flyball.toml");
        std::fs::write(&file, format!("{toml}[simulate]\n")).expect("written");
        let overrides = Overrides {
            listen: None,
            admin_listen: None,
            ..crate::flyball::overrides(&dir)
        };
        let Err(all) = flyball::config::load(&overrides) else {
            panic!("{toml} is taken");
        };
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert!(all.iter().any(|one| one.contains(says)), "{toml}: {all:?}");
    }
}
