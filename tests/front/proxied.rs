//! The PROXY protocol: whose connection it is, who may say so, and what becomes of everybody else.

use super::ASK;
use crate::client;
use crate::flyball::{Flyball, compatible, make_key};
use crate::otel::Collector;
use crate::scripted::{Upstream, answer, chat};
use crate::until::within;

fn request() -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer fb_app\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ASK}",
        ASK.len()
    )
}

fn version_2() -> Vec<u8> {
    let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    let addresses = [192, 0, 2, 8, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];
    [&head[..], &addresses].concat()
}

/// One that a balancer may pass on callers to: those need keys.
async fn started(toml: &str) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", None, |_| {});
    Flyball::start_in(dir, toml).await
}

async fn said(flyball: &Flyball, head: &[u8]) -> String {
    let bytes = [head, request().as_bytes()].concat();
    let answer = client::raw(flyball.at(), &bytes).await.bytes().await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_client_is_whom_a_trusted_balancer_names() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let collector = Collector::start().await;
    let on = "proxy_protocol = true\nproxy_trusted = [\"127.0.0.0/8\"]\n";
    let toml = format!("{on}{}{}", compatible(&upstream), collector.table(""));
    let flyball = started(&toml).await;
    for head in [
        b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 80\r\n".to_vec(),
        version_2(),
        b"PROXY UNKNOWN\r\n".to_vec(),
    ] {
        let text = said(&flyball, &head).await;
        assert!(text.starts_with("HTTP/1.1 200"), "{head:?}: {text}");
    }
    flyball.stop().await;
    let spans = collector.spans();
    let servers = spans.iter().filter(|span| span.kind == "server");
    let mut clients: Vec<String> = servers
        .map(|span| {
            span.attributes["client.address"]
                .as_str()
                .expect("a text")
                .to_owned()
        })
        .collect();
    clients.sort();
    assert_eq!(clients, ["127.0.0.1", "192.0.2.7", "192.0.2.8"]);
}

#[tokio::test]
async fn who_says_nothing_or_nonsense_or_is_not_trusted_is_not_answered() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let on =
        "proxy_protocol = true\nproxy_trusted = [\"127.0.0.1\"]\n[limits]\nclient_head = \"1s\"\n";
    let flyball = started(&format!("{on}{}", compatible(&upstream))).await;
    for head in [
        &b""[..],
        b"PROXY TCP4 nobody 10.0.0.1 8080 80\r\n",
        b"PROXY\r\n",
        // It is waited for no longer than for a head.
        b"",
    ] {
        let text = said(&flyball, head).await;
        assert!(!text.starts_with("HTTP"), "{head:?}: {text}");
    }
    let silent = client::raw(flyball.at(), b"PROXY TCP4 ").await;
    let bytes = within("it is closed", silent.bytes()).await;
    assert!(bytes.is_empty());

    let elsewhere = "proxy_protocol = true\nproxy_trusted = [\"10.0.0.0/8\"]\n";
    let flyball = started(&format!("{elsewhere}{}", compatible(&upstream))).await;
    let text = said(&flyball, &version_2()).await;
    assert!(!text.starts_with("HTTP"), "{text}");
    // The admin listener is asked as ever.
    assert!(flyball.metrics().await.contains("flyball_build_info"));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn whoever_a_balancer_passes_on_needs_a_key() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let on = "proxy_protocol = true\nproxy_trusted = [\"127.0.0.1\"]\n";
    let toml = format!("{on}{}", compatible(&upstream));
    let dir = tempfile::tempdir().expect("a folder");
    let why = Flyball::try_start(dir, &toml).await.err();
    let why = why.expect("without keys it is refused");
    assert!(
        why.contains("proxy_protocol") && why.contains("flyball key create"),
        "{why}"
    );
}
