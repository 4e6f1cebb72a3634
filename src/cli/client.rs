//! A small HTTP client for the commands that talk to a flyball.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// An answer, read whole.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The status, flyball's own headers and the body, for a person.
    pub(super) fn excerpt(&self) -> String {
        let mut text = format!("  HTTP {}\n", self.status);
        for (name, value) in self
            .headers
            .iter()
            .filter(|(n, _)| n.as_str().starts_with("x-flyball-"))
        {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name}: {}", value.to_str().unwrap_or_default());
        }
        let body = String::from_utf8_lossy(&self.body);
        let short: String = body.chars().take(600).collect();
        text + "  " + short.trim()
    }
}

pub(super) async fn post(
    base: &str,
    path: &str,
    key: Option<&str>,
    headers: &[(&str, &str)],
    body: &Value,
) -> Result<Answer, String> {
    let mut request =
        Request::post(format!("{base}{path}")).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request, key, Bytes::from(body.to_string())).await
}

pub(super) async fn get(base: &str, path: &str, key: Option<&str>) -> Result<Answer, String> {
    send(Request::get(format!("{base}{path}")), key, Bytes::new()).await
}

async fn send(
    mut request: http::request::Builder,
    key: Option<&str>,
    body: Bytes,
) -> Result<Answer, String> {
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let request = request.body(Full::new(body)).map_err(|e| e.to_string())?;
    let uri = request.uri().clone();
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let exchange = async {
        let answer = client
            .request(request)
            .await
            .map_err(|e| format!("{uri} cannot be reached: {e}"))?;
        let (head, body) = answer.into_parts();
        let body = body
            .collect()
            .await
            .map_err(|e| format!("{uri} broke off: {e}"))?
            .to_bytes();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    };
    tokio::time::timeout(Duration::from_secs(120), exchange)
        .await
        .unwrap_or_else(|_| Err("no answer within 2 minutes".into()))
}

/// An answer that came as a stream.
pub(super) struct Streamed {
    pub(super) status: u16,
    /// The request's id, where it has one.
    pub(super) request: Option<String>,
    pub(super) text: String,
    /// From sending to the first bytes that hold words.
    pub(super) first: Option<Duration>,
    /// From sending to the end.
    pub(super) total: Duration,
}

/// The first event of many a stream tells a role, and no words yet.
fn has_words(data: &[u8]) -> bool {
    [
        "\"content\":\"",
        "\"reasoning_content\":\"",
        "\"reasoning\":\"",
    ]
    .iter()
    .any(|name| {
        let mut places = memchr::memmem::find_iter(data, name.as_bytes());
        places.any(|at| data.get(at + name.len()).is_some_and(|b| *b != b'"'))
    })
}

/// Sends a request whose answer is a stream, and takes the times of it.
pub(super) async fn stream(
    base: &str,
    path: &str,
    key: Option<&str>,
    headers: &[(&str, &str)],
    body: &Value,
) -> Result<Streamed, String> {
    let mut request =
        Request::post(format!("{base}{path}")).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let body = Full::new(Bytes::from(body.to_string()));
    let request = request.body(body).map_err(|e| e.to_string())?;
    let uri = request.uri().clone();
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let sent = Instant::now();
    let answer = client
        .request(request)
        .await
        .map_err(|e| format!("{uri} cannot be reached: {e}"))?;
    let (head, mut body) = answer.into_parts();
    let (mut bytes, mut first) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| format!("{uri} broke off: {e}"))?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
            if first.is_none() && has_words(data) {
                first = Some(sent.elapsed());
            }
        }
    }
    let id = head.headers.get("x-flyball-request-id");
    Ok(Streamed {
        status: head.status.as_u16(),
        request: id.and_then(|v| v.to_str().ok()).map(str::to_owned),
        text: String::from_utf8_lossy(&bytes).into_owned(),
        first,
        total: sent.elapsed(),
    })
}
