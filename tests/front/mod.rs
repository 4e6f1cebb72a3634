//! TLS in front: what clients are shown, whom a certificate is demanded of, and what changes while flyball serves.

#[cfg(unix)]
mod following;
mod http2;
mod proxied;
#[cfg(unix)]
mod unix;

use crate::flyball::{Flyball, compatible, overrides};
use crate::scripted::{Upstream, answer, chat, chat_stream};
use crate::until::until_asked;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const ASK: &str = r#"{"model":"m-small","messages":[{"role":"user","content":"hello"}]}"#;
const STREAM: &str =
    r#"{"model":"m-small","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tls")
        .join(name)
}

/// A folder with this server's certificate and key as `cert.pem` and `key.pem`.
fn folder(name: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    put(&dir, name);
    std::fs::copy(fixture("front-ca.pem"), dir.path().join("ca.pem")).expect("copied");
    dir
}

fn put(dir: &TempDir, name: &str) {
    for (from, to) in [("pem", "cert.pem"), ("key", "key.pem")] {
        let from = fixture(&format!("{name}.{from}"));
        std::fs::copy(from, dir.path().join(to)).expect("copied");
    }
}

const TLS: &str = "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";

async fn started(upstream: &Upstream, more: &str) -> Flyball {
    let toml = format!("{TLS}{more}{}", compatible(upstream));
    Flyball::start_in(folder("front-a"), &toml).await
}

/// A client that believes the tests' authority, and shows a certificate if it has one.
fn client(
    shows: Option<&str>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(fixture("front-ca.pem")).expect("a certificate");
    roots.add(ca).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots);
    Arc::new(match shows {
        None => config.with_no_client_auth(),
        Some(name) => {
            let chain = CertificateDer::from_pem_file(fixture(&format!("{name}.pem")));
            let key = PrivateKeyDer::from_pem_file(fixture(&format!("{name}.key")));
            config
                .with_client_auth_cert(vec![chain.expect("a chain")], key.expect("a key"))
                .expect("they fit")
        }
    })
}

fn usual() -> Arc<ClientConfig> {
    client(None, rustls::ALL_VERSIONS)
}

async fn connected(
    flyball: &Flyball,
    config: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(flyball.at()).await?;
    let name = ServerName::try_from("front.test").expect("a name");
    TlsConnector::from(config).connect(name, socket).await
}

/// Sends one request on a connection of its own and gives all that comes back.
async fn asked(
    flyball: &Flyball,
    config: Arc<ClientConfig>,
    body: &str,
) -> io::Result<(String, TlsStream<TcpStream>)> {
    let mut stream = connected(flyball, config).await?;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await?;
    Ok((String::from_utf8_lossy(&text).into_owned(), stream))
}

/// The certificate that a client is shown.
async fn shown(flyball: &Flyball) -> CertificateDer<'static> {
    let stream = connected(flyball, usual()).await.expect("a connection");
    let chain = stream.get_ref().1.peer_certificates().expect("a chain");
    chain[0].clone().into_owned()
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(fixture(name)).expect("a certificate")
}

#[tokio::test]
async fn clients_speak_tls_in_both_versions_whole_and_in_streams() {
    let upstream = Upstream::start(answer(200, &chat(1_000, 100))).await;
    let flyball = started(&upstream, "").await;
    for version in [&version::TLS12, &version::TLS13] {
        let (text, stream) = asked(&flyball, client(None, &[version]), ASK)
            .await
            .expect("an answer");
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        let spoken = stream.get_ref().1.protocol_version();
        assert_eq!(spoken, Some(version.version));
    }
    upstream.next(chat_stream(&["one ", "two"], 3, 2));
    let (text, _) = asked(&flyball, usual(), STREAM).await.expect("an answer");
    assert!(text.contains("one ") && text.contains("[DONE]"), "{text}");
    assert_eq!(flyball.rows().await.len(), 3);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn who_speaks_plain_http_or_nothing_holds_nobody_up() {
    let upstream = Upstream::start(answer(200, &chat(1_000, 100))).await;
    let flyball = started(&upstream, "[limits]\nclient_head = \"1s\"\n").await;
    let mut silent = TcpStream::connect(flyball.at())
        .await
        .expect("a connection");
    let mut plain = TcpStream::connect(flyball.at())
        .await
        .expect("a connection");
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .expect("sent");
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said).await;
    assert!(!said.starts_with(b"HTTP"), "no request was read");
    assert!(asked(&flyball, usual(), ASK).await.is_ok());
    // Whoever says nothing is left after the time that a head may take.
    let closed = crate::until::within("it is closed", silent.read(&mut [0; 64])).await;
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
}

#[tokio::test]
async fn where_certificates_are_demanded_nobody_is_answered_without_one() {
    let upstream = Upstream::start(answer(200, &chat(1_000, 100))).await;
    let toml = format!("{TLS}clients = \"ca.pem\"\n{}", compatible(&upstream));
    let flyball = Flyball::start_in(folder("front-a"), &toml).await;
    let shows = |name| client(Some(name), rustls::ALL_VERSIONS);
    let (text, _) = asked(&flyball, shows("client"), ASK)
        .await
        .expect("an answer");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    // One that is a server's, and none at all.
    for stranger in [shows("front-b"), usual()] {
        let told = asked(&flyball, stranger, ASK).await;
        assert!(told.is_err(), "{:?}", told.map(|(text, _)| text));
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn another_certificate_takes_its_place_while_it_serves_and_a_wrong_one_does_not() {
    let upstream = Upstream::start(answer(200, &chat(1_000, 100))).await;
    let flyball = started(&upstream, "").await;
    assert_eq!(shown(&flyball).await, certificate("front-a.pem"));
    let mut old = connected(&flyball, usual()).await.expect("a connection");

    put(&flyball.dir, "front-b");
    flyball.running.reload().expect("it is a good one");
    until_asked("the new one is shown", async || {
        shown(&flyball).await == certificate("front-b.pem")
    })
    .await;
    // A connection that was there goes on.
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ASK}",
        ASK.len()
    );
    old.write_all(request.as_bytes()).await.expect("sent");
    let mut head = [0; 12];
    old.read_exact(&mut head).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200");

    let key = fixture("front-a.key");
    std::fs::copy(key, flyball.dir.path().join("key.pem")).expect("copied");
    let told = flyball.running.reload().expect_err("it is not its key");
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert!(told[0].contains("flyball.toml:3"), "{told:?}");
    assert!(
        told[0].contains("key: key.pem is not that of the certificate"),
        "{told:?}"
    );
    assert_eq!(shown(&flyball).await, certificate("front-b.pem"));
}

#[tokio::test]
async fn the_admin_listener_speaks_tls_too_where_that_is_said() {
    let upstream = Upstream::start(answer(200, &chat(1_000, 100))).await;
    let flyball = started(&upstream, "admin = true\n").await;
    let get = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let asked = async |config| {
        let socket = TcpStream::connect(flyball.running.admin).await?;
        let name = ServerName::try_from("front.test").expect("a name");
        let mut stream = TlsConnector::from(config).connect(name, socket).await?;
        stream.write_all(get.as_bytes()).await?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await?;
        io::Result::Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = asked(usual()).await.expect("an answer");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains("flyball_build_info"), "{text}");
    let plain = crate::client::raw(flyball.running.admin, get.as_bytes()).await;
    assert!(!plain.bytes().await.starts_with(b"HTTP"));
    assert!(flyball.running.admin_url.starts_with("https://"));
    // The same files, read again for both.
    put(&flyball.dir, "front-b");
    flyball.running.reload().expect("it is a good one");
    assert_eq!(shown(&flyball).await, certificate("front-b.pem"));
}

#[test]
fn mistakes_of_the_table_are_told_with_their_line() {
    for (toml, says) in [
        (
            "[tls]\ncertificate = \"cert.pem\"\n",
            "flyball.toml:1: tls needs key",
        ),
        (
            "[tls]\nkey = \"key.pem\"\n",
            "flyball.toml:1: tls needs certificate",
        ),
        (
            "[tls]\ncertificate = \"none.pem\"\nkey = \"key.pem\"\n",
            "flyball.toml:2: certificate: ",
        ),
        (
            "[tls]\ncertificate = \"key.pem\"\nkey = \"key.pem\"\n",
            "holds no certificate",
        ),
        (
            "[tls]\ncertificate = \"cert.pem\"\nkey = \"cert.pem\"\n",
            "flyball.toml:3: key: cert.pem holds no private key",
        ),
        (
            "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\nclients = \"key.pem\"\n",
            "flyball.toml:4: clients: key.pem",
        ),
        (
            "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\ncrt = \"x\"\n",
            "crt",
        ),
    ] {
        let dir = folder("front-a");
        std::fs::write(
            dir.path().join("flyball.toml"),
            format!("{toml}[simulate]\n"),
        )
        .expect("written");
        let Err(all) = flyball::config::load(&overrides(&dir)) else {
            panic!("{toml} is taken");
        };
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert!(all.iter().any(|one| one.contains(says)), "{toml}: {all:?}");
        assert!(!all.join("\n").contains("PRIVATE"), "{all:?}");
    }
}

/// What `flyball top --json` says, and whether it could.
async fn top(dir: &TempDir, arguments: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.env_clear().env("HOME", dir.path());
    command.current_dir(dir.path());
    command.args(["top", "--json"]).args(arguments);
    let work = move || crate::until::ran("the command ends", &mut command, "");
    let out = crate::until::worked("flyball top", work).await;
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (out.status.success(), said)
}

#[tokio::test]
async fn top_asks_an_admin_listener_with_tls_and_believes_only_what_it_is_told_to() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = folder("front-a");
    let toml = format!("{TLS}admin = true\n{}", compatible(&upstream));
    let flyball = Flyball::start_in(dir, &toml).await;
    let url = format!("https://{}", flyball.running.admin);
    let asked = ["--admin-url", url.as_str()];
    // The very certificate, although its name is another than the address.
    let (ok, said) = top(
        &flyball.dir,
        &[&asked[..], &["--admin-ca", "cert.pem"]].concat(),
    )
    .await;
    assert!(ok && said.contains("\"version\""), "{said}");
    // Or the authority that has signed it; by itself this machine knows neither, and another authority is none.
    let (ok, said) = top(
        &flyball.dir,
        &[&asked[..], &["--admin-ca", "ca.pem"]].concat(),
    )
    .await;
    assert!(ok, "{said}");
    let other = fixture("ca.pem").display().to_string();
    for ca in [&["--admin-ca", other.as_str()][..], &[]] {
        let (ok, said) = top(&flyball.dir, &[&asked[..], ca].concat()).await;
        assert!(!ok && said.contains("--admin-ca names a file"), "{said}");
    }
    let plain = format!("http://{}", flyball.running.admin);
    let (ok, said) = top(&flyball.dir, &["--admin-url", &plain]).await;
    assert!(!ok && said.contains("nothing answers"), "{said}");
    let (ok, said) = top(
        &flyball.dir,
        &[&asked[..], &["--admin-ca", "key.pem"]].concat(),
    )
    .await;
    assert!(!ok && said.contains("holds no certificate"), "{said}");

    // Of the configuration the address and the certificate are known.
    let listen = format!("admin_listen = \"{}\"\n", flyball.running.admin);
    let file = flyball.dir.path().join("own.toml");
    std::fs::write(&file, format!("{listen}{toml}")).expect("a file");
    let (ok, said) = top(&flyball.dir, &["--config", "own.toml"]).await;
    assert!(ok && said.contains("\"version\""), "{said}");
}

#[cfg(unix)]
#[tokio::test]
async fn top_asks_an_admin_listener_at_a_unix_socket() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    let socket = format!("unix:{}", dir.path().join("a").display());
    let at = socket.clone();
    let toml = compatible(&upstream);
    let started = Flyball::try_start_with(dir, &toml, |overrides| {
        overrides.admin_listen = Some(at);
    });
    let flyball = started.await.expect("it starts");
    let (ok, said) = top(&flyball.dir, &["--admin-url", &socket]).await;
    assert!(ok && said.contains("\"version\""), "{said}");
    let file = flyball.dir.path().join("own.toml");
    let toml = format!("admin_listen = \"{socket}\"\n{}", compatible(&upstream));
    std::fs::write(&file, toml).expect("a file");
    let (ok, said) = top(&flyball.dir, &["--config", "own.toml"]).await;
    assert!(ok && said.contains("\"version\""), "{said}");
}
