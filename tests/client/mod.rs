//! A client that sees bytes as they are: HTTP/1.1 over one socket.

use crate::until::within;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    /// The body with its chunks joined.
    pub body: String,
    /// Trailers, as sent.
    pub trailers: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.head.lines().find(|l| {
            l.split_once(':')
                .is_some_and(|(n, _)| n.eq_ignore_ascii_case(name))
        })?;
        found.split_once(':').map(|(_, v)| v.trim())
    }

    /// The connection ended before the answer did.
    pub fn is_cut(&self) -> bool {
        let told = self.header("content-length").map(str::parse::<usize>);
        let short = told.is_some_and(|told| told.is_ok_and(|told| self.body.len() < told));
        short || self.trailers == CUT
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.body))
    }
}

/// What stands for the trailers of a stream without an end.
const CUT: &str = "(the stream was cut)";

/// A request on a connection of its own.
pub struct Call {
    stream: TcpStream,
    /// What was read so far.
    bytes: Vec<u8>,
}

/// Sends raw bytes.
pub async fn raw(to: SocketAddr, bytes: &[u8]) -> Call {
    let sent = async {
        let mut stream = TcpStream::connect(to).await.expect("flyball listens");
        stream.write_all(bytes).await.expect("flyball reads");
        stream
    };
    Call {
        stream: within("flyball takes the request", sent).await,
        bytes: Vec::new(),
    }
}

/// Sends a POST with these headers.
pub async fn send(to: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> Call {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    raw(to, format!("{head}\r\n{body}").as_bytes()).await
}

pub async fn post(to: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    send(to, path, headers, body).await.answer().await
}

pub async fn get(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let extra: String = headers
        .iter()
        .map(|(n, v)| format!("{n}: {v}\r\n"))
        .collect();
    raw(
        to,
        format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{extra}\r\n")
            .as_bytes(),
    )
    .await
    .answer()
    .await
}

impl Call {
    /// Reads to the end of the connection, as it came. What [`Call::until`] has read is a part of it.
    pub async fn bytes(mut self) -> Vec<u8> {
        // A connection that is cut after a part of the answer still has that part.
        let read = self.stream.read_to_end(&mut self.bytes);
        let _ = within("the end of flyball's answer", read).await;
        self.bytes
    }

    /// Reads to the end of the connection.
    pub async fn answer(self) -> Answer {
        parse(&self.bytes().await)
    }

    /// Reads until the bytes so far contain `text`.
    pub async fn until(&mut self, text: &str) -> String {
        let reading = async {
            while !String::from_utf8_lossy(&self.bytes).contains(text) {
                let read = self.stream.read_buf(&mut self.bytes).await;
                assert!(
                    read.expect("flyball answers") > 0,
                    "the answer ended without {text:?}: {}",
                    String::from_utf8_lossy(&self.bytes)
                );
            }
        };
        within(&format!("{text:?} in flyball's answer"), reading).await;
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let at = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .expect("a status");
    let rest = &bytes[at + 4..];
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let (body, trailers) = if chunked {
        unchunked(rest)
    } else {
        (rest.to_vec(), String::new())
    };
    Answer {
        status,
        head,
        body: String::from_utf8_lossy(&body).into_owned(),
        trailers,
    }
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, String) {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..line]), 16).unwrap_or(0);
        rest = &rest[line + 2..];
        if size == 0 {
            return (body, String::from_utf8_lossy(rest).into_owned());
        }
        let end = size.min(rest.len());
        body.extend_from_slice(&rest[..end]);
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    (body, CUT.to_owned())
}
