//! Heads that could be read in two ways, and bodies that are refused unread.

use super::started;
use crate::client::raw;
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Upstream, answer, chat};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn status(at: std::net::SocketAddr, request: &str) -> (u16, String) {
    let got = raw(at, request.as_bytes()).await.answer();
    let got = tokio::time::timeout(Duration::from_secs(30), got).await;
    let got = got.expect("an answer in time");
    (got.status, format!("{}\r\n\r\n{}", got.head, got.body))
}

#[tokio::test]
async fn a_host_that_is_missing_double_or_wrong_is_a_400_with_keys_and_without_on_both_listeners() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    for keys in [true, false] {
        let dir = tempfile::tempdir().expect("a folder");
        if keys {
            make_key(&dir, "app", None, |_| {});
        }
        let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
        for (at, path) in [
            (flyball.at(), "/v1/models"),
            (flyball.running.admin, "/healthz"),
        ] {
            for hosts in [
                "",
                "host: localhost\r\nhost: localhost\r\n",
                "host: a b\r\n",
                "host: a/b\r\n",
                "host: a@b\r\n",
                "host: a,b\r\n",
                "host: [::1\r\n",
                "host: a:b\r\n",
                "host:\r\n",
            ] {
                let head =
                    format!("GET {path} HTTP/1.1\r\n{hosts}authorization: Bearer fb_app\r\n\r\n");
                let (status, said) = status(at, &head).await;
                assert_eq!(status, 400, "{path} {hosts:?}");
                assert!(said.to_lowercase().contains("connection: close"), "{said}");
            }
            // HTTP/1.0 knows no Host; without keys only a loopback name is answered.
            let head = format!("GET {path} HTTP/1.0\r\nauthorization: Bearer fb_app\r\n\r\n");
            let open = !keys && path == "/v1/models";
            let expected = if open { 403 } else { 200 };
            assert_eq!(status(at, &head).await.0, expected, "{path}");
        }
    }
}

#[tokio::test]
async fn a_transfer_coding_other_than_chunked_alone_is_refused_and_ends_the_connection() {
    let (upstream, flyball) = started().await;
    let body = r#"{"model":"m-small","messages":[{"role":"user","content":"x"}]}"#;
    for coding in [
        "gzip, chunked",
        "identity, chunked",
        "cow, chunked",
        "chunked, chunked",
        "chunked\r\ntransfer-encoding: chunked",
        "chunked;q=1",
        "identity",
    ] {
        for path in [
            "/v1/chat/completions",
            "/v1/files",
            "/p/up/v1/x",
            "/nothing",
        ] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: {coding}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n",
                body.len()
            );
            let (status, said) = status(flyball.at(), &request).await;
            assert_eq!(status, 400, "{path} {coding:?}: {said}");
            assert!(
                !said.contains("m-small"),
                "the hidden request is answered: {said}"
            );
        }
    }
    assert_eq!(upstream.count(), 0);
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: Chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert_eq!(status(flyball.at(), &request).await.0, 200);
}

#[tokio::test]
async fn who_is_still_sending_a_body_that_is_refused_reads_why() {
    let (upstream, flyball) = started().await;
    let body = vec![b'x'; 8 * 1024 * 1024];
    let head = |path: &str, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\n{more}content-length: {}\r\n\r\n",
            body.len()
        )
    };
    for (request, expected) in [
        (head("/v1/chat/completions", ""), "413"),
        (head("/v1/messages", ""), "413"),
        (head("/v1/embeddings", ""), "413"),
        (head("/p/up/v1/x", ""), "413"),
        (head("/v1/nothing", ""), "404"),
        (
            head("/v1/chat/completions", "origin: https://evil.example\r\n"),
            "403",
        ),
        (
            head("/v1/chat/completions", "content-encoding: gzip\r\n"),
            "400",
        ),
    ] {
        for _ in 0..5 {
            let mut stream = TcpStream::connect(flyball.at()).await.expect("it listens");
            let whole = async {
                stream.write_all(request.as_bytes()).await?;
                // Only then does it look for an answer, as simple clients do.
                stream.write_all(&body).await?;
                let mut got = Vec::new();
                stream.read_to_end(&mut got).await?;
                std::io::Result::Ok(String::from_utf8_lossy(&got).into_owned())
            };
            let got = tokio::time::timeout(Duration::from_secs(30), whole).await;
            let got = got.expect("in time").expect("no reset");
            assert_eq!(got.split(' ').nth(1), Some(expected), "{request}: {got}");
        }
    }
    assert_eq!(upstream.count(), 0);
}
