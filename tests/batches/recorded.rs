//! Every recorded batch exchange goes through the batches that flyball keeps: a scripted provider answers with the recorded bytes, in which only
//! the names of lines are those that flyball has sent, and what its client is told is compared with what was recorded: the answers with their
//! bytes, everything around them with its fields.
//!
//! Needs the recordings (`FLYBALL_SHARED=… cargo test batches::recorded`).

use super::{over, start};
use crate::client::{Answer, get, post, raw};
use crate::dialects::recording::{folder, shared};
use crate::flyball::Flyball;
use crate::scripted::read_request;
use crate::until::found;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// One exchange as it was recorded.
#[derive(Clone)]
struct Exchange {
    method: String,
    /// The path with its query.
    path: String,
    headers: Value,
    asked: String,
    status: u16,
    told: String,
}

/// The exchanges of one recorded batch, in their order.
struct Story {
    name: String,
    provider: String,
    exchanges: Vec<Exchange>,
}

fn exchange(json: &Value) -> Exchange {
    let (request, response) = (&json["request"], &json["response"]);
    let url = request["url"].as_str().expect("an address");
    let path = url.splitn(4, '/').nth(3).expect("a path");
    Exchange {
        method: request["method"].as_str().expect("a method").to_owned(),
        path: format!("/{path}"),
        headers: request["headers"].clone(),
        asked: request["body"].as_str().unwrap_or_default().to_owned(),
        status: u16::try_from(response["status"].as_u64().expect("a status")).expect("a status"),
        told: response["body"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Every recorded batch. Files that were made for one are among the provider's files.
fn stories(root: &Path) -> Vec<Story> {
    let mut all: BTreeMap<(String, String), Vec<(String, Exchange)>> = BTreeMap::new();
    for (provider, endpoint) in [
        ("anthropic", "message_batches"),
        ("gemini", "batches"),
        ("mistral", "batches"),
        ("openai", "batches"),
        ("openai", "files"),
        ("xai", "batches"),
    ] {
        for file in folder(&root.join(provider).join(endpoint)) {
            let name = file
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let mut parts = name.rsplitn(3, '.').skip(1);
            let (number, story) = (
                parts.next().expect("a number"),
                parts.next().expect("a name"),
            );
            // Embeddings that are asked at once are filed under batches, too.
            if !story.starts_with("batch-with-") {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("a readable recording");
            let json: Value = serde_json::from_str(&text).expect("a recording is JSON");
            let exchanges = all
                .entry((provider.to_owned(), story.to_owned()))
                .or_default();
            exchanges.push((number.to_owned(), exchange(&json)));
        }
    }
    let story = |((provider, name), mut exchanges): ((String, String), Vec<(String, Exchange)>)| {
        exchanges.sort_by(|a, b| a.0.cmp(&b.0));
        Story {
            name,
            provider,
            exchanges: exchanges.into_iter().map(|(_, e)| e).collect(),
        }
    };
    all.into_iter().map(story).collect()
}

/// What the provider does.
struct Playing {
    exchanges: Vec<Exchange>,
    /// How often each exchange was asked for.
    played: Vec<usize>,
    /// What flyball calls the recorded lines, in their order.
    names: Vec<String>,
    /// Calls that were not recorded.
    others: Vec<String>,
}

#[derive(Clone)]
struct Vendor {
    at: SocketAddr,
    playing: Arc<Mutex<Playing>>,
}

impl Vendor {
    async fn start(exchanges: &[Exchange]) -> Vendor {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let playing = Playing {
            played: vec![0; exchanges.len()],
            exchanges: exchanges.to_vec(),
            names: Vec::new(),
            others: Vec::new(),
        };
        let vendor = Vendor {
            at,
            playing: Arc::new(Mutex::new(playing)),
        };
        let serving = vendor.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        vendor
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(seen) = read_request(&mut stream, &mut buffer).await {
            let first = seen.head.lines().next().unwrap_or_default().to_owned();
            let mut words = first.split(' ');
            let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let (status, body) = self
                .playing
                .lock()
                .unwrap()
                .answer(method, path, &seen.body);
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            if stream.write_all((head + &body).as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// The names of lines in what is sent, in their order.
fn names_in(text: &str) -> Vec<String> {
    let fields = ["\"custom_id\":\"", "\"batch_request_id\":\"", "\"key\":\""];
    let mut found = Vec::new();
    for field in fields {
        for (at, _) in text.match_indices(field) {
            let rest = &text[at + field.len()..];
            found.push((at, rest[..rest.find('"').expect("it ends")].to_owned()));
        }
    }
    found.sort();
    found.into_iter().map(|(_, name)| name).collect()
}

impl Playing {
    fn answer(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        let names = names_in(body);
        if !names.is_empty() {
            self.names = names;
        }
        // Each is told once, in its order; the last of its kind again and again.
        let own: Vec<usize> = (0..self.exchanges.len())
            .filter(|n| {
                let own = &self.exchanges[*n];
                let bare = |path: &str| path.split('?').next().unwrap_or_default().to_owned();
                own.method == method && bare(&own.path) == bare(path)
            })
            .collect();
        let next = own.iter().copied().find(|n| self.played[*n] == 0);
        if let Some(n) = next.or(own.last().copied()) {
            self.played[n] += 1;
            return (
                self.exchanges[n].status,
                self.named(&self.exchanges[n].told),
            );
        }
        self.others.push(format!("{method} {path}"));
        (200, self.unrecorded(method, path))
    }

    /// The recorded lines bear the names that flyball has sent.
    fn named(&self, told: &str) -> String {
        let mut told = told.to_owned();
        for (n, name) in self.names.iter().enumerate() {
            for field in ["custom_id", "batch_request_id"] {
                for space in ["", " "] {
                    let (old, new) = (
                        format!("\"{field}\":{space}\"{n}\""),
                        format!("\"{field}\":{space}\"{name}\""),
                    );
                    told = told.replace(&old, &new);
                }
            }
        }
        told
    }

    /// What the recorded client did not ask: Mistral's file of answers, which its job also tells, the lines as a file, and how a cancelled batch
    /// ended.
    fn unrecorded(&self, method: &str, path: &str) -> String {
        if (method, path) == ("POST", "/v1/files") {
            return json!({"id": "file-lines", "object": "file"}).to_string();
        }
        if path.ends_with("/content") {
            let told = self.exchanges.iter().rev().find_map(|e| {
                let read: Value = serde_json::from_str(&e.told).ok()?;
                read["outputs"].as_array().cloned()
            });
            let lines = told.unwrap_or_default();
            let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
            return self
                .named(&lines)
                .replace("\"custom_id\":", "\"custom_id\": ");
        }
        if path.ends_with("/results") {
            let lines = self
                .names
                .iter()
                .map(|name| json!({"custom_id": name, "result": {"type": "canceled"}}));
            return lines.map(|line| format!("{line}\n")).collect();
        }
        // The cancelled batch, looked at again.
        let last = &self.exchanges.last().expect("an exchange").told;
        last.replace("canceling", "ended")
    }
}

fn config(story: &Story, vendor: &Vendor) -> String {
    let models = match story.provider.as_str() {
        "anthropic" => ["claude-haiku-4-5"],
        "gemini" => ["gemini-2.5-flash"],
        "mistral" => ["mistral-small-latest"],
        "openai" => ["gpt-5-nano"],
        _ => ["grok-4.3"],
    };
    let models = models.map(|model| {
        format!("\n[[model]]\nname = \"{model}\"\nprovider = \"up\"\ntier = \"small\"\n")
    });
    format!(
        "[batch]\npoll = \"10ms\"\n\n[[provider]]\nname = \"up\"\nkind = \"{}\"\nbase_url = \"http://{}\"\napi_key = \"file:key\"\n{}",
        story.provider,
        vendor.at,
        models.concat()
    )
}

/// Every field that was recorded is told, with a value of the same kind where both have one.
fn has_fields(recorded: &Value, told: &Value, at: &str) {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    if recorded.is_null() || told.is_null() {
        return;
    }
    assert_eq!(kind(recorded), kind(told), "{at}");
    if let (Value::Object(recorded), Value::Object(told)) = (recorded, told) {
        for (name, value) in recorded {
            let found = told
                .get(name)
                .unwrap_or_else(|| panic!("{at}.{name} is missing"));
            has_fields(value, found, &format!("{at}.{name}"));
        }
    }
}

/// The recorded answers by the names of their lines: the words, and what was used.
fn recorded_answers(story: &Story) -> HashMap<String, Value> {
    let mut all = HashMap::new();
    let mut note = |name: &Value, body: &Value| {
        if let (Some(name), false) = (name.as_str(), body.is_null()) {
            all.insert(name.to_owned(), body.clone());
        }
    };
    for exchange in &story.exchanges {
        for line in exchange.told.lines() {
            let Ok(read) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            note(&read["custom_id"], &read["response"]["body"]);
            note(&read["custom_id"], &read["result"]["message"]);
        }
        let read: Value = serde_json::from_str(&exchange.told).unwrap_or_default();
        for one in read["outputs"].as_array().into_iter().flatten() {
            note(&one["custom_id"], &one["response"]["body"]);
        }
        for one in read["results"].as_array().into_iter().flatten() {
            let answer = &one["batch_result"]["response"]["chat_get_completion"];
            note(&one["batch_request_id"], answer);
        }
        let inlined = &read["response"]["inlinedResponses"]["inlinedResponses"];
        for one in inlined.as_array().into_iter().flatten() {
            note(&one["metadata"]["custom_id"], &one["response"]);
        }
    }
    all
}

fn words(body: &Value) -> String {
    let parts = |list: &Value, field: &str| -> String {
        let all = list.as_array().into_iter().flatten();
        all.filter(|part| part["thought"] != true)
            .filter_map(|part| part[field].as_str())
            .collect()
    };
    if let Some(text) = body["choices"][0]["message"]["content"].as_str() {
        return text.to_owned();
    }
    if body["candidates"].is_array() {
        return parts(&body["candidates"][0]["content"]["parts"], "text");
    }
    if body["output"].is_array() {
        let all = body["output"].as_array().into_iter().flatten();
        return all
            .filter(|item| item["type"] == "message")
            .map(|item| parts(&item["content"], "text"))
            .collect();
    }
    parts(&body["content"], "text")
}

/// The client hands the recorded batch in at flyball in its own dialect, or its requests as a file of OpenAI's where it has none there, and
/// gives what it was told, by the recorded names.
async fn handed_in(flyball: &Flyball, story: &Story) -> (Answer, HashMap<String, Value>) {
    let at = flyball.at();
    match story.provider.as_str() {
        "anthropic" => by_messages(at, story).await,
        "openai" => by_file(at, story).await,
        _ => {
            let lines = lines_of(story);
            let made = super::hand_in(at, "x", &lines).await;
            let batch = super::over(at, "x", &super::id_of(&made)).await;
            let told = super::results(at, "x", &batch).await;
            let told = told
                .into_iter()
                .map(|(name, line)| (name, line["response"]["body"].clone()));
            (made, told.collect())
        }
    }
}

/// The recorded requests as lines of OpenAI's.
fn lines_of(story: &Story) -> String {
    let mut lines = Vec::new();
    for exchange in &story.exchanges {
        let asked: Value = serde_json::from_str(&exchange.asked).unwrap_or_default();
        for one in asked["requests"].as_array().into_iter().flatten() {
            let mut body = one["body"].clone();
            body["model"] = asked["model"].clone();
            lines.push((one["custom_id"].clone(), body));
        }
        for one in asked["batch_requests"].as_array().into_iter().flatten() {
            let request = &one["batch_request"]["responses"];
            let body = json!({"model": request["model"], "messages": request["input"]});
            lines.push((one["batch_request_id"].clone(), body));
        }
        let inlined = &asked["batch"]["inputConfig"]["requests"]["requests"];
        for one in inlined.as_array().into_iter().flatten() {
            let text = &one["request"]["contents"][0]["parts"][0]["text"];
            let body = json!({"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": text}]});
            lines.push((one["metadata"]["custom_id"].clone(), body));
        }
    }
    let line = |(name, body): (Value, Value)| {
        json!({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body})
            .to_string()
    };
    let lines: Vec<String> = lines.into_iter().map(line).collect();
    assert!(!lines.is_empty(), "{}: no request was recorded", story.name);
    lines.join("\n")
}

async fn by_messages(at: SocketAddr, story: &Story) -> (Answer, HashMap<String, Value>) {
    let version = [("anthropic-version", "2023-06-01")];
    let made = post(
        at,
        "/v1/messages/batches",
        &version,
        &story.exchanges[0].asked,
    )
    .await;
    assert_eq!(made.status, 200, "{}", made.body);
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/messages/batches/{id}");
    if story.exchanges.iter().any(|e| e.path.ends_with("/cancel")) {
        let cancelled = post(at, &format!("{path}/cancel"), &version, "{}").await;
        assert_eq!(cancelled.status, 200, "{}", cancelled.body);
        let recorded = serde_json::from_str(&story.exchanges[1].told).expect("JSON");
        has_fields(&recorded, &cancelled.json(), "cancelled");
    }
    let batch = found("the batch has ended", async || {
        let looked = get(at, &path, &version).await.json();
        (looked["processing_status"] == "ended").then_some(looked)
    })
    .await;
    for exchange in story
        .exchanges
        .iter()
        .filter(|e| e.method == "GET" && !e.path.ends_with("/results"))
    {
        let recorded = serde_json::from_str(&exchange.told).expect("JSON");
        has_fields(&recorded, &batch, "batch");
    }
    let results = get(at, &format!("{path}/results"), &version).await;
    let told = results.body.lines().map(|line| {
        let read: Value = serde_json::from_str(line).expect("a line is JSON");
        (
            read["custom_id"].as_str().expect("a name").to_owned(),
            read["result"]["message"].clone(),
        )
    });
    (made, told.collect())
}

/// The recorded form with the file goes in as it was sent.
async fn by_file(at: SocketAddr, story: &Story) -> (Answer, HashMap<String, Value>) {
    let upload = &story.exchanges[0];
    let kind = upload.headers["content-type"].as_str().expect("a type");
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        upload.asked.len()
    );
    let file = raw(at, (head + &upload.asked).as_bytes())
        .await
        .answer()
        .await;
    assert_eq!(file.status, 200, "{}", file.body);
    has_fields(
        &serde_json::from_str(&upload.told).expect("JSON"),
        &file.json(),
        "file",
    );
    let mut asked: Value = serde_json::from_str(&story.exchanges[1].asked).expect("JSON");
    asked["input_file_id"] = file.json()["id"].clone();
    let made = post(at, "/v1/batches", &[], &asked.to_string()).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let batch = over(at, "x", &super::id_of(&made)).await;
    for exchange in story
        .exchanges
        .iter()
        .filter(|e| e.path.starts_with("/v1/batches"))
    {
        let recorded = serde_json::from_str(&exchange.told).expect("JSON");
        has_fields(&recorded, &batch, "batch");
    }
    let told = super::results(at, "x", &batch).await;
    let told = told
        .into_iter()
        .map(|(name, line)| (name, line["response"]["body"].clone()));
    (made, told.collect())
}

#[tokio::test]
async fn every_recorded_batch_goes_through_those_that_are_kept_as_it_was() {
    let Some(shared) = shared() else { return };
    let stories = stories(&shared.join("recordings/open"));
    let (mut all, mut played, mut lines) = (0, 0, 0);
    for story in &stories {
        let vendor = Vendor::start(&story.exchanges).await;
        let flyball = start(&config(story, &vendor), |_| {}).await;
        let (made, told) = handed_in(&flyball, story).await;
        let recorded = recorded_answers(story);
        let makes = |e: &&Exchange| {
            e.method == "POST" && e.told.contains("\"id\"") && !e.path.contains("/files")
        };
        if let Some(first) = story.exchanges.iter().find(makes)
            && ["anthropic", "openai"].contains(&story.provider.as_str())
        {
            has_fields(
                &serde_json::from_str(&first.told).expect("JSON"),
                &made.json(),
                "made",
            );
        }
        for (name, body) in &recorded {
            let got = told
                .get(name)
                .unwrap_or_else(|| panic!("{}: no answer to {name}", story.name));
            match story.provider.as_str() {
                // The same dialect: the answer is what was recorded.
                "anthropic" | "openai" => assert_eq!(got, body, "{}", story.name),
                _ => assert_eq!(words(got), words(body), "{}", story.name),
            }
            lines += 1;
        }
        let rows = flyball.rows().await;
        let ended: Vec<&Value> = rows.iter().filter(|row| row["outcome"] == "ok").collect();
        assert_eq!(ended.len(), recorded.len(), "{}: {rows:?}", story.name);
        assert!(
            ended.iter().all(|row| row["service_tier"] == "batch"),
            "{rows:?}"
        );
        let playing = vendor.playing.lock().unwrap();
        all += story.exchanges.len();
        for (exchange, times) in story.exchanges.iter().zip(&playing.played) {
            // A recorded client has asked again for what was over.
            let mut others = story.exchanges.iter().zip(&playing.played);
            let once = *times > 0
                || others.any(|(other, times)| *times > 0 && other.told == exchange.told);
            played += usize::from(once);
            assert!(
                once,
                "{}: {} {} was not asked for; others: {:?}",
                story.name, exchange.method, exchange.path, playing.others
            );
        }
    }
    println!(
        "{played} of {all} recorded batch exchanges of {} batches replayed through the batches that are kept, with {lines} answers",
        stories.len()
    );
    assert_eq!(stories.len(), 6, "the recordings have six batches");
}
