//! Recorded exchanges: the fixtures of this repository, and a larger collection where `FLYBALL_SHARED` names one.

use flyball::dialect::{Dialect, UsageRule, named};
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
    pub answer: String,
    pub status: u64,
}

impl Recording {
    /// The answer is an event stream.
    pub fn is_stream(&self) -> bool {
        let start = self.answer.trim_start();
        ["data:", "event:", ":"]
            .iter()
            .any(|s| start.starts_with(s))
    }

    /// As the provider's entry in the configuration would say.
    pub fn rule(&self) -> UsageRule {
        match (self.provider.as_str(), self.dialect.name()) {
            ("xai", "openai_chat") => UsageRule::ReasoningOnTop,
            ("gemini", _) => UsageRule::TotalMinusPrompt,
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
        let data = lines.filter_map(|line| line.strip_prefix("data:"));
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
fn shared() -> Option<PathBuf> {
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
    pub body: String,
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
        let path = json["path"].as_str().unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let ends = [
            ("/chat/completions", "openai_chat"),
            ("/messages", "anthropic_messages"),
        ];
        if let Some((_, dialect)) = ends.iter().find(|(end, _)| path.ends_with(end)) {
            requests.push(SdkRequest {
                name: file.display().to_string(),
                dialect: named(dialect).expect("the dialect is registered"),
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
        ] {
            let dialect = named(dialect).expect("the dialect is registered");
            for file in folder(&provider.join(endpoint)) {
                found.push(recording(&file, dialect));
            }
        }
    }
    found
}

fn folder(path: &Path) -> Vec<PathBuf> {
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
    Recording {
        name: format!("{}/{}/{}", part(2), part(1), part(0)),
        provider: part(2),
        dialect,
        request: Some(request.to_owned()).filter(|body| !body.is_empty()),
        answer: json["response"]["body"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        status: json["response"]["status"].as_u64().expect("a status"),
    }
}
