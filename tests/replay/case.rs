//! One recorded exchange, and how a client would have sent it to flyball.

use crate::dialects::recording::folder;
use serde_json::{Value, json};
use std::path::Path;

/// Headers that belong to a connection, hold a credential, or are flyball's own.
const OWNED: [&str; 19] = [
    "accept-encoding",
    "alt-svc",
    "api-key",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "host",
    "http-referer",
    "keep-alive",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-api-key",
    "x-goog-api-key",
];

/// A recorded exchange.
pub struct Case {
    /// provider/endpoint/file
    pub name: String,
    pub provider: String,
    pub endpoint: String,
    pub method: String,
    /// Where a client asks flyball for it.
    pub path: String,
    pub headers: Vec<(String, String)>,
    /// What was sent; none where only the answer was recorded.
    pub asked: Option<String>,
    /// What is sent now.
    pub body: String,
    pub model: String,
    /// The kind of provider that is configured for it.
    pub kind: &'static str,
    pub status: u16,
    pub told: Vec<(String, String)>,
    pub answer: String,
}

impl Case {
    /// The answer is a stream of events, or of lines.
    pub fn is_stream(&self) -> bool {
        let start = self.answer.trim_start();
        let events = ["data:", "event:", ":"]
            .iter()
            .any(|s| start.starts_with(s));
        events || (self.endpoint.starts_with("ollama") && start.lines().count() > 1)
    }
}

/// Every recorded exchange, in the order of their names.
pub fn all(root: &Path) -> Vec<Case> {
    let providers = folder(root).into_iter().filter(|p| p.is_dir());
    let endpoints = providers.flat_map(|provider| folder(&provider));
    let files = endpoints.flat_map(|endpoint| folder(&endpoint));
    files.map(|file| case(&file)).collect()
}

fn case(file: &Path) -> Case {
    let text = std::fs::read_to_string(file).expect("a readable recording");
    let json: Value = serde_json::from_str(&text).expect("a recording is JSON");
    let tail: Vec<_> = file.iter().rev().take(3).collect();
    let part = |n: usize| tail[n].to_string_lossy().into_owned();
    let (provider, endpoint) = (part(2), part(1));
    let asked = json["request"]["body"].as_str().filter(|b| !b.is_empty());
    let method = json["request"]["method"].as_str().unwrap_or("POST");
    let answer = json["response"]["body"].as_str().unwrap_or_default();
    let url = json["request"]["url"].as_str().unwrap_or_default();
    let recorded = !url.is_empty() && (asked.is_some() || method != "POST");
    let endpoint_said = said(&endpoint, asked, answer);
    let stream = ["data:", "event:", ":"]
        .iter()
        .any(|s| answer.trim_start().starts_with(s));
    let path = way(&provider, &endpoint_said, url, stream);
    let body = match (asked, recorded) {
        (Some(body), _) => body.to_owned(),
        (None, true) => String::new(),
        (None, false) => least(&endpoint_said, stream).to_string(),
    };
    Case {
        name: format!("{provider}/{endpoint}/{}", part(0)),
        model: model(&path, &body),
        kind: kind(&provider, &endpoint_said),
        headers: headers(&json["request"]["headers"]),
        told: headers(&json["response"]["headers"]),
        status: json["response"]["status"]
            .as_u64()
            .and_then(|s| s.try_into().ok())
            .expect("a status"),
        answer: answer.to_owned(),
        method: method.to_owned(),
        asked: recorded.then(|| body.clone()),
        endpoint,
        provider,
        path,
        body,
    }
}

/// Two exchanges are filed under responses and are Chat Completions.
fn said(endpoint: &str, asked: Option<&str>, answer: &str) -> String {
    let chat = match asked {
        Some(body) => body.contains("\"messages\"") && !body.contains("\"input\""),
        None => answer.contains("\"choices\"") && !answer.contains("\"response.created\""),
    };
    match endpoint == "responses" && chat {
        true => "chat_completions".into(),
        false => endpoint.into(),
    }
}

fn headers(recorded: &Value) -> Vec<(String, String)> {
    let pairs = recorded.as_object().into_iter().flatten();
    let pairs = pairs.filter_map(|(name, value)| Some((name.to_lowercase(), value.as_str()?)));
    pairs
        .filter(|(name, value)| {
            let plain = value.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
            !OWNED.contains(&name.as_str()) && plain
        })
        .map(|(name, value)| (name, value.trim().to_owned()))
        .collect()
}

/// Where a client of flyball sends it. What flyball does not serve itself goes through `/p/`.
fn way(provider: &str, endpoint: &str, url: &str, stream: bool) -> String {
    let whole = url.split_once("://").map_or(url, |(_, rest)| rest);
    let whole = whole.find('/').map_or("", |at| &whole[at..]);
    let (path, query) = whole.split_once('?').unwrap_or((whole, ""));
    let from = |mark: &str| path.find(mark).map(|at| path[at..].to_owned());
    let deployment = || from("/openai/deployments/");
    let passed = || format!("/p/up{}", whole.replace(['<', '>'], "_"));
    match endpoint {
        "chat_completions" => deployment().unwrap_or("/v1/chat/completions".into()),
        "responses" => "/v1/responses".into(),
        "messages" => "/v1/messages".into(),
        "generate_content" => {
            let call = from("/models/").unwrap_or(format!(
                "/models/m:{}",
                match stream {
                    true => "streamGenerateContent",
                    false => "generateContent",
                }
            ));
            let sse = if stream { "?alt=sse" } else { "" };
            format!("/v1beta{call}{sse}")
        }
        "completions" => "/v1/completions".into(),
        "ollama_chat" => "/api/chat".into(),
        "ollama_generate" => "/api/generate".into(),
        "embeddings" if path == "/api/embeddings" => path.into(),
        "embeddings" if path.ends_with("/embeddings") => {
            deployment().unwrap_or("/v1/embeddings".into())
        }
        "count_tokens" if path.ends_with("/count_tokens") => "/v1/messages/count_tokens".into(),
        "count_tokens" => format!("/v1beta{}", from("/models/").expect("a model")),
        "files" | "batches" | "message_batches"
            if ["openai", "anthropic"].contains(&provider) && !path.contains("vector_stores") =>
        {
            let query = if query.is_empty() {
                ""
            } else {
                &whole[path.len()..]
            };
            format!("{path}{query}")
        }
        _ => passed(),
    }
}

/// The least request of an exchange of which only the answer was recorded.
fn least(endpoint: &str, stream: bool) -> Value {
    let turns = json!([{"role": "user", "content": "hi"}]);
    match endpoint {
        "responses" => json!({"model": "m", "input": "hi", "stream": stream}),
        "completions" => json!({"model": "m", "prompt": "hi", "stream": stream}),
        "messages" => json!({"model": "m", "max_tokens": 99, "messages": turns, "stream": stream}),
        "generate_content" => json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        // As a client that wants the usage which it was told.
        _ => match stream {
            true => {
                json!({"model": "m", "messages": turns, "stream": true, "stream_options": {"include_usage": true}})
            }
            false => json!({"model": "m", "messages": turns}),
        },
    }
}

/// The model that the request names, in its path or its body.
fn model(path: &str, body: &str) -> String {
    let under = |mark: &str| path.split_once(mark).map(|(_, rest)| rest);
    let own = under("/models/").or(under("/deployments/"));
    let in_path = own.and_then(|rest| rest.split(['/', ':', '?']).next());
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let named = in_path
        .filter(|name| *name != "chat")
        .or(json["model"].as_str());
    named.unwrap_or_default().to_owned()
}

/// The kind of provider: its own where flyball has one that speaks this, else one that does.
fn kind(provider: &str, endpoint: &str) -> &'static str {
    let own = match provider {
        "vertex" => "gemini",
        "vercel-gateway" => "vercel",
        "ollama-cloud" => "openai-compatible",
        name => name,
    };
    let dialect = match endpoint {
        "responses" => "openai_responses",
        "messages" => "anthropic_messages",
        "generate_content" => "gemini",
        "ollama_chat" => "ollama_chat",
        "ollama_generate" => "ollama_generate",
        _ => "openai_chat",
    };
    let fits = |kind: &&&flyball::provider::Kind| kind.speaks.iter().any(|(d, _)| *d == dialect);
    let known = flyball::provider::kind(own);
    if endpoint == "count_tokens" && own == "gemini" {
        return "gemini";
    }
    let whole = [
        "chat_completions",
        "responses",
        "messages",
        "generate_content",
    ]
    .contains(&endpoint);
    match known {
        Some(kind) if !whole || fits(&&kind) => kind.name,
        _ => match dialect {
            "openai_responses" => "openai",
            "anthropic_messages" => "anthropic",
            "gemini" => "gemini",
            _ => "openai-compatible",
        },
    }
}
