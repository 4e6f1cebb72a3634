//! Recorded exchanges: the fixtures of this repository, and a larger collection where `FLYBALL_SHARED` names one.

use flyball::dialect::{Dialect, Place, Request, UsageRule, named};
use flyball::error::Error;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One recorded HTTP exchange of a dialect that flyball speaks.
pub struct Recording {
    /// provider/endpoint/file
    pub name: String,
    pub provider: String,
    pub dialect: &'static dyn Dialect,
    pub request: Option<String>,
    pub url: String,
    pub answer: String,
    pub status: u64,
}

/// What a path asks for, whatever stands before it on the recorded server.
fn place<'u>(dialect: &dyn Dialect, url: &'u str) -> Place<'u> {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let models = path.rfind("/models/").map(|at| &path[at..]);
    models
        .and_then(|path| dialect.place(path, Some(query)))
        .unwrap_or_default()
}

impl Recording {
    /// Reads the request.
    pub fn decode<'r>(&'r self, body: &'r str) -> Result<Request<'r>, Error> {
        let place = place(self.dialect, &self.url);
        self.dialect.decode_at(body.as_bytes(), &place)
    }

    /// It is one of Ollama's own.
    pub fn is_ollama(&self) -> bool {
        self.dialect.name().starts_with("ollama")
    }

    /// The answer is a stream.
    pub fn is_stream(&self) -> bool {
        if self.is_ollama() {
            return self.answer.trim().lines().count() > 1;
        }
        let start = self.answer.trim_start();
        ["data:", "event:", ":"]
            .iter()
            .any(|s| start.starts_with(s))
    }

    /// As the provider's entry in the configuration would say.
    pub fn rule(&self) -> UsageRule {
        match (self.provider.as_str(), self.dialect.name()) {
            ("xai", "openai_chat") => UsageRule::ReasoningOnTop,
            ("gemini", "openai_chat") => UsageRule::TotalMinusPrompt,
            ("vercel-gateway", _) => UsageRule::ReasoningMayExceed,
            _ => UsageRule::Dialect,
        }
    }

    /// Every JSON object of the answer, read without flyball: the events of a stream, or the one body.
    pub fn objects(&self) -> Vec<Value> {
        if !self.is_stream() {
            return serde_json::from_str(&self.answer).into_iter().collect();
        }
        let lines = self.answer.lines();
        let data = lines.filter_map(|line| match self.is_ollama() {
            true => Some(line),
            false => line.strip_prefix("data:"),
        });
        data.filter_map(|data| serde_json::from_str(data).ok())
            .collect()
    }
}

/// Every recording there is, each once.
pub fn all() -> Vec<Recording> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recordings");
    let mut all = read(&fixtures);
    assert!(all.len() > 100, "the fixtures are missing");
    if let Some(shared) = shared() {
        let more = read(&shared.join("recordings/open"));
        assert!(more.len() > all.len(), "FLYBALL_SHARED holds no recordings");
        let known: BTreeSet<String> = all.iter().map(|r| r.name.clone()).collect();
        all.extend(more.into_iter().filter(|r| !known.contains(&r.name)));
    }
    all
}

/// The folder of the larger collection.
pub fn shared() -> Option<PathBuf> {
    let shared = std::env::var_os("FLYBALL_SHARED").map(PathBuf::from);
    if shared.is_none() {
        let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!in_ci, "FLYBALL_SHARED must name the recordings in CI");
        println!("skipped: the recordings outside the repository (FLYBALL_SHARED is unset)");
    }
    shared
}

/// What an official SDK sent.
pub struct SdkRequest {
    pub name: String,
    pub dialect: &'static dyn Dialect,
    pub path: String,
    pub body: String,
}

impl SdkRequest {
    /// Reads it.
    pub fn decode(&self) -> Result<Request<'_>, Error> {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let place = self.dialect.place(path, Some(query)).expect("its own path");
        self.dialect.decode_at(self.body.as_bytes(), &place)
    }
}

/// Every request of an official SDK in a dialect that flyball speaks.
pub fn sdk_requests() -> Vec<SdkRequest> {
    let Some(shared) = shared() else {
        return Vec::new();
    };
    let mut requests = Vec::new();
    for file in folder(&shared.join("recordings/client_requests")) {
        let text = std::fs::read_to_string(&file).expect("a readable recording");
        let json: Value = serde_json::from_str(&text).expect("a recording is JSON");
        let path = json["path"].as_str().unwrap_or_default().to_owned();
        let (bare, query) = path.split_once('?').unwrap_or((&path, ""));
        if let Some((dialect, _)) = flyball::dialect::at(bare, Some(query)) {
            requests.push(SdkRequest {
                name: file.display().to_string(),
                dialect,
                path: path.clone(),
                body: json["body"].as_str().expect("a body").to_owned(),
            });
        }
    }
    assert!(!requests.is_empty(), "FLYBALL_SHARED holds no requests");
    requests
}

fn read(root: &Path) -> Vec<Recording> {
    let mut found = Vec::new();
    for provider in folder(root) {
        for (endpoint, dialect) in [
            ("chat_completions", "openai_chat"),
            ("messages", "anthropic_messages"),
            ("generate_content", "gemini"),
            ("responses", "openai_responses"),
            ("ollama_chat", "ollama_chat"),
            ("ollama_generate", "ollama_generate"),
        ] {
            let dialect = named(dialect).expect("the dialect is registered");
            for file in folder(&provider.join(endpoint)) {
                found.push(recording(&file, dialect));
            }
        }
    }
    found
}

/// What a folder holds, sorted.
pub fn folder(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    paths
}

fn recording(file: &Path, dialect: &'static dyn Dialect) -> Recording {
    let text = std::fs::read_to_string(file).expect("a readable recording");
    let json: Value = serde_json::from_str(&text).expect("a recording is JSON");
    let tail: Vec<_> = file.iter().rev().take(3).collect();
    let part = |n: usize| tail[n].to_string_lossy().into_owned();
    let request = json["request"]["body"].as_str().unwrap_or_default();
    let answer = json["response"]["body"].as_str().unwrap_or_default();
    // Two exchanges are filed under responses and are Chat Completions.
    let has_choices = answer.contains("\"choices\"") && !answer.contains("\"response.created\"");
    let dialect = match dialect.name() == "openai_responses" && has_choices {
        true => named("openai_chat").expect("the dialect is registered"),
        false => dialect,
    };
    Recording {
        name: format!("{}/{}/{}", part(2), part(1), part(0)),
        provider: part(2),
        dialect,
        request: Some(request.to_owned()).filter(|body| !body.is_empty()),
        url: json["request"]["url"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        answer: answer.to_owned(),
        status: json["response"]["status"].as_u64().expect("a status"),
    }
}
