//! Every recorded exchange through a running flyball: a scripted provider answers with the recorded bytes, and what the client gets,
//! and what the provider got, is compared with what was recorded.
//!
//! `FLYBALL_SHARED=… cargo test replay::` checks the table in docs/dialects.md; with `FLYBALL_WRITE=1` it writes it.

mod case;
mod table;

use crate::client::{self, Answer};
use crate::dialects;
use crate::dialects::recording::{self, Recording, shared};
use crate::flyball::Flyball;
use crate::scripted::{Seen, Step, Upstream};
use case::Case;
use flyball::chat::Usage;
use flyball::ledger::record::{Attempt, Basis};
use flyball::ledger::store::EVER;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How what arrived compares with what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte.
    Same,
    /// Every byte but those that flyball owns.
    Owned,
    /// Nothing to compare with.
    NotRecorded,
    /// It differs, for this reason.
    Differs(String),
}

/// What became of one exchange.
pub struct Outcome {
    pub provider: String,
    pub name: String,
    pub stream: bool,
    /// What flyball does not serve itself.
    pub passed: bool,
    /// flyball's own id of it.
    pub id: String,
    /// What was booked.
    pub usage: Verdict,
    pub answer: Verdict,
    pub request: Verdict,
}

#[tokio::test]
async fn every_recorded_exchange_passes_through_a_running_flyball_as_it_was() {
    let Some(shared) = shared() else { return };
    let cases = case::all(&shared.join("recordings/open"));
    assert!(cases.len() > 1_000, "FLYBALL_SHARED holds no recordings");
    let mut by_kind: BTreeMap<&str, Vec<Case>> = BTreeMap::new();
    for case in cases {
        by_kind.entry(case.kind).or_default().push(case);
    }
    let recordings = recording::all().into_iter();
    let recordings = recordings.map(|r| (r.name.clone(), r)).collect();
    let mut outcomes = Vec::new();
    for (kind, cases) in by_kind {
        let upstream = Upstream::start(Vec::new()).await;
        // What is recorded is for what is replayed, and not for flyball's own looks at what was made.
        upstream.tells_only_clients();
        let flyball = started(kind, &cases, &upstream).await;
        let from = outcomes.len();
        for case in cases {
            outcomes.push(replayed(&flyball, &upstream, &case).await);
        }
        compare_books(&flyball, &recordings, &mut outcomes[from..]).await;
    }
    table::check(&outcomes);
}

/// A flyball with one provider of this kind and every model that the exchanges name.
async fn started(kind: &str, cases: &[Case], upstream: &Upstream) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    let mut toml = format!(
        "[[provider]]\nname = \"up\"\nkind = \"{kind}\"\nbase_url = \"{}\"\napi_key = \"file:key\"\n",
        upstream.url()
    );
    let fit = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
    let models: BTreeSet<&str> = cases.iter().map(|c| c.model.as_str()).filter(fit).collect();
    for model in models.into_iter().chain(["m-other"]) {
        toml += &format!("\n[[model]]\nname = {model:?}\nprovider = \"up\"\ntier = \"standard\"\n");
    }
    toml += "\n[batch]\nkeep = false\n";
    Flyball::start_in(dir, &toml).await
}

/// Compares what was booked with what the recorded answer says that it used.
async fn compare_books(
    flyball: &Flyball,
    recordings: &BTreeMap<String, Recording>,
    outcomes: &mut [Outcome],
) {
    flyball.rows().await;
    let mut booked = BTreeMap::new();
    let mut keep = |attempt: Attempt| {
        let usage = attempt.closing.map(|c| (c.basis, c.usage));
        booked.insert(attempt.opening.request, usage);
        true
    };
    let read = flyball.books().attempts(EVER, &mut keep);
    read.expect("the ledger can be read");
    for outcome in outcomes {
        let recording = recordings.get(&outcome.name);
        let row = booked.get(&outcome.id).cloned().flatten();
        let (Some(recording), Some((basis, usage))) = (recording, row) else {
            continue;
        };
        // The ledger does not keep that numbers contradict each other.
        let flagged = Usage {
            anomaly: true,
            ..usage
        };
        let plain = dialects::booked(recording, &usage);
        let contradicts = matches!(plain, Some(Err(_)));
        let agrees = plain.map(|plain| {
            plain.or_else(|_| dialects::booked(recording, &flagged).unwrap_or(Ok(())))
        });
        // Numbers that contradict each other are held against the words, and stand where those are no more.
        let told = basis == Basis::Reported || (contradicts && basis == Basis::Counted);
        outcome.usage = match agrees {
            None => Verdict::NotRecorded,
            Some(Ok(())) if told => Verdict::Same,
            Some(Ok(())) => Verdict::Differs(format!("the usage is booked as {}", basis.name())),
            Some(Err(why)) => Verdict::Differs(format!("the usage is booked wrong: {why}")),
        };
    }
}

async fn replayed(flyball: &Flyball, upstream: &Upstream, case: &Case) -> Outcome {
    let before = upstream.count();
    upstream.only(scripted(case));
    let got = client::raw(flyball.at(), &request(case))
        .await
        .answer()
        .await;
    let seen = upstream.seen().get(before).cloned();
    let (answer, request) = match &seen {
        None => {
            let json: Value = serde_json::from_str(&got.body).unwrap_or_default();
            let said = json.pointer("/error/message").or(json.get("error"));
            let why = said.and_then(Value::as_str).unwrap_or(&got.body);
            let refused = Verdict::Differs(format!("flyball refuses it: {why}"));
            (refused.clone(), refused)
        }
        Some(seen) => (answered(case, &got), asked(case, seen)),
    };
    Outcome {
        provider: case.provider.clone(),
        name: case.name.clone(),
        stream: case.is_stream(),
        passed: case.path.starts_with("/p/"),
        id: got
            .header("x-flyball-request-id")
            .unwrap_or_default()
            .to_owned(),
        usage: Verdict::NotRecorded,
        answer,
        request,
    }
}

fn request(case: &Case) -> Vec<u8> {
    let mut head = format!(
        "{} {} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer app-key\r\n",
        case.method, case.path
    );
    for (name, value) in &case.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let told = |name: &str| case.headers.iter().any(|(n, _)| n == name);
    if case.provider == "anthropic" && !told("anthropic-version") {
        head += "anthropic-version: 2023-06-01\r\n";
    }
    if !case.body.is_empty() {
        head += &format!("content-length: {}\r\n", case.body.len());
    }
    if !case.body.is_empty() && !told("content-type") {
        head += "content-type: application/json\r\n";
    }
    format!("{head}\r\n{}", case.body).into_bytes()
}

/// The recorded answer: a JSON text whole, a stream cut at places that are always the same and mean nothing.
fn scripted(case: &Case) -> Vec<Step> {
    let mut head = format!("HTTP/1.1 {} X\r\n", case.status);
    for (name, value) in &case.told {
        head += &format!("{name}: {value}\r\n");
    }
    if !case.told.iter().any(|(name, _)| name == "content-type") {
        let kind = if case.is_stream() {
            "text/event-stream"
        } else {
            "application/json"
        };
        head += &format!("content-type: {kind}\r\n");
    }
    if !case.is_stream() {
        let length = case.answer.len();
        return vec![Step::Send(
            format!("{head}content-length: {length}\r\n\r\n{}", case.answer).into_bytes(),
        )];
    }
    let mut steps = vec![Step::Send(
        format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes(),
    )];
    let (mut rest, mut state) = (case.answer.as_bytes(), 1_u64);
    while !rest.is_empty() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let wanted =
            usize::try_from(state >> 33).expect("31 bits") % (case.answer.len() / 4 + 1) + 1;
        let (piece, more) = rest.split_at(wanted.min(rest.len()));
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        steps.push(Step::Send(chunk));
        rest = more;
    }
    steps.push(Step::Send(b"0\r\n\r\n".to_vec()));
    steps
}

/// What the client got.
fn answered(case: &Case, got: &Answer) -> Verdict {
    if got.status != case.status {
        return Verdict::Differs(format!("status {} and not {}", got.status, case.status));
    }
    for (name, value) in &case.told {
        if got.header(name) != Some(value) && !value.is_empty() {
            return Verdict::Differs(format!("the answer's header {name}"));
        }
    }
    if got.body == case.answer {
        return Verdict::Same;
    }
    let wanted: Value = serde_json::from_str(&case.body).unwrap_or_default();
    let unasked = wanted["stream_options"]["include_usage"] != true;
    if unasked && outside_usage(&got.body) == outside_usage(&case.answer) {
        return Verdict::Owned;
    }
    let told = got.body.strip_prefix(case.answer.as_str());
    if told.is_some_and(|more| more.contains("error")) {
        return Verdict::Differs("the recording breaks off, and the client is told so".into());
    }
    if case.path.starts_with("/v1/messages/batches") && got.body.len() < case.answer.len() {
        let here = |text: &str| text.replace("https://api.anthropic.com", "");
        if here(&case.answer) == got.body {
            return Verdict::Owned;
        }
    }
    Verdict::Differs("the answer's bytes".into())
}

/// The lines of a stream, without the usage that flyball asks for and this client did not.
fn outside_usage(stream: &str) -> Vec<String> {
    let line = |line: &str| {
        let data = line.strip_prefix("data:").map(str::trim);
        let Some(mut json) = data.and_then(|d| serde_json::from_str::<Value>(d).ok()) else {
            return Some(line.to_owned());
        };
        let object = json.as_object_mut()?;
        let had = object.remove("usage").is_some();
        let empty = object
            .get("choices")
            .is_some_and(|c| *c == Value::Array(Vec::new()));
        (!(had && empty)).then(|| json.to_string())
    };
    let lines = stream.lines().filter_map(line);
    lines.filter(|line| !line.is_empty()).collect()
}

/// What the provider got.
fn asked(case: &Case, seen: &Seen) -> Verdict {
    if seen.head.contains("app-key") || !seen.head.contains("up-secret") {
        return Verdict::Differs("the credential".into());
    }
    let Some(sent) = &case.asked else {
        return Verdict::NotRecorded;
    };
    for (name, value) in &case.headers {
        if seen.header(name).as_ref() != Some(value) {
            return Verdict::Differs(format!("the request's header {name}"));
        }
    }
    if *sent == seen.body {
        return Verdict::Same;
    }
    // The stream's usage, and the model where Azure's path names it.
    let owned = |text: &str| {
        let mut json: Value = serde_json::from_str(text).ok()?;
        let object = json.as_object_mut()?;
        let options = object
            .get_mut("stream_options")
            .and_then(Value::as_object_mut);
        if options.is_some_and(|o| o.remove("include_usage").is_some() && o.is_empty()) {
            object.remove("stream_options");
        }
        if case.path.starts_with("/openai/deployments/") {
            object.remove("model");
        }
        Some(json)
    };
    match owned(sent) == owned(&seen.body) && owned(sent).is_some() {
        true => Verdict::Owned,
        false => Verdict::Differs("the request's body".into()),
    }
}
