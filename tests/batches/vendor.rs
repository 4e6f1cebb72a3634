//! A scripted vendor: OpenAI's Batch API, Anthropic's, and completions of another one, each with faults on demand. What it was asked, and what it bills,
//! is counted here.

use crate::scripted::read_request;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// Tokens of every answer.
pub const TOKENS: (u64, u64) = (100, 40);

/// How the vendor behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ways {
    /// A batch is over after it was looked at so often.
    pub looks: usize,
    /// Every so manieth line fails.
    pub fails_every: Option<usize>,
    /// The batch expires with so many lines done.
    pub expires_after: Option<usize>,
    /// The answer to so many calls that make a batch is lost, although it is made.
    pub loses_creates: usize,
    /// So many calls that make a batch are answered with 500, and nothing is made.
    pub breaks_creates: usize,
    /// So many calls that make a batch are answered with 429, and nothing is made.
    pub busy_creates: usize,
    /// A batch with a line that holds this is refused as a whole.
    pub refuses: Option<&'static str>,
    /// A batch never ends by itself.
    pub hangs: bool,
    /// Who asks for results waits until they are released.
    pub holds_results: bool,
    /// Who makes a batch hears of it, or of its loss, once it is released.
    pub holds_creates: bool,
    /// Only whose key has made a batch knows it.
    pub has_accounts: bool,
    /// A batch is in the list only after this time.
    pub lists_after: Duration,
    /// Of a call that makes a batch of Anthropic's nothing comes, and somebody else makes one of the same size.
    pub swaps_creates: usize,
    /// What is asked one by one is answered on many lines.
    pub pretty: bool,
    /// What is asked one by one is answered well, and with no JSON.
    pub garbles: bool,
}

#[derive(Default)]
struct Batch {
    tag: String,
    /// Our ids, in their order.
    lines: Vec<String>,
    looked: usize,
    cancelled: bool,
    created: i64,
    made: Option<Instant>,
    /// The key of whoever has made it.
    account: String,
}

/// A batch of Anthropic's: what its lines are called, in their order.
struct Messages {
    id: String,
    lines: Vec<String>,
    created: i64,
}

#[derive(Default)]
struct Books {
    ways: Ways,
    files: HashMap<String, String>,
    batches: Vec<(String, Batch)>,
    messages: Vec<Messages>,
    /// Every line that was handed in, as often as it was.
    asked: Vec<(String, String)>,
    completions: Vec<String>,
    heads: Vec<String>,
    bodies: Vec<String>,
    /// Calls that were made to wait.
    held: usize,
}

/// The vendor.
#[derive(Clone)]
pub struct Vendor {
    pub at: SocketAddr,
    books: Arc<Mutex<Books>>,
    /// Those who were made to wait for results may have them.
    released: tokio::sync::watch::Sender<bool>,
}

impl Vendor {
    pub async fn start(ways: Ways) -> Vendor {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let books = Arc::new(Mutex::new(Books {
            ways,
            ..Books::default()
        }));
        let vendor = Vendor {
            at,
            books,
            released: tokio::sync::watch::channel(false).0,
        };
        let serving = vendor.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        vendor
    }

    /// Batches that were made, each with its lines.
    pub fn batches(&self) -> Vec<(String, usize)> {
        let books = self.books.lock().unwrap();
        let all = books.batches.iter();
        all.map(|(_, b)| (b.tag.clone(), b.lines.len())).collect()
    }

    /// Every line that is in a batch, by that batch's mark and ours for the line.
    pub fn asked(&self) -> Vec<(String, String)> {
        self.books.lock().unwrap().asked.clone()
    }

    /// Bodies that were asked one by one.
    pub fn completions(&self) -> Vec<String> {
        self.books.lock().unwrap().completions.clone()
    }

    /// What the lines of Anthropic's batches are called, by batch.
    pub fn messages(&self) -> Vec<Vec<String>> {
        let books = self.books.lock().unwrap();
        books.messages.iter().map(|b| b.lines.clone()).collect()
    }

    /// All that it was ever told, whatever for.
    pub fn bodies(&self) -> Vec<String> {
        self.books.lock().unwrap().bodies.clone()
    }

    /// How many calls were made to wait.
    pub fn held(&self) -> usize {
        self.books.lock().unwrap().held
    }

    /// They have their answer now.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    pub fn heads(&self) -> Vec<String> {
        self.books.lock().unwrap().heads.clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut Ways)) {
        change(&mut self.books.lock().unwrap().ways);
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(seen) = read_request(&mut stream, &mut buffer).await {
            let line = seen.head.lines().next().unwrap_or_default().to_owned();
            let mut words = line.split(' ');
            let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let holds = {
                let mut books = self.books.lock().unwrap();
                let holds = books.ways.holds_results && path.ends_with("/content");
                books.held += usize::from(holds);
                holds
            };
            if holds {
                let mut released = self.released.subscribe();
                if released.wait_for(|released| *released).await.is_err() {
                    return;
                }
            }
            let told = self.answer(method, path, &seen.head, &seen.body);
            let holds = {
                let mut books = self.books.lock().unwrap();
                let holds = books.ways.holds_creates && (method, path) == ("POST", "/v1/batches");
                books.held += usize::from(holds);
                holds
            };
            if holds {
                let mut released = self.released.subscribe();
                if released.wait_for(|released| *released).await.is_err() {
                    return;
                }
            }
            let Some((status, body)) = told else {
                return;
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            if stream.write_all((head + &body).as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// `None`: the connection is cut.
    fn answer(&self, method: &str, path: &str, head: &str, body: &str) -> Option<(u16, String)> {
        let mut books = self.books.lock().unwrap();
        books.heads.push(head.to_owned());
        books.bodies.push(body.to_owned());
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let account = match books.ways.has_accounts {
            true => key_of(head),
            false => String::new(),
        };
        let told = match (method, path) {
            ("POST", "/v1/files") => {
                let id = format!("file-v{}", books.files.len());
                books.files.insert(id.clone(), lines_of(body));
                json!({"id": id, "object": "file"})
            }
            ("POST", "/v1/batches") => return books.make(body, account),
            (_, path) if path.starts_with("/v1/messages/batches") => {
                return books.anthropic(method, path, body);
            }
            ("GET", "/v1/batches") => {
                let all: Vec<Value> = books
                    .batches
                    .iter()
                    .rev()
                    .filter(|(_, b)| b.account == account)
                    .filter(|(_, b)| {
                        b.made
                            .is_none_or(|at| at.elapsed() >= books.ways.lists_after)
                    })
                    .map(|(id, b)| b.shown(id, &books.ways))
                    .collect();
                let _ = query;
                json!({"object": "list", "data": all, "has_more": false})
            }
            ("POST", "/v1/chat/completions") => {
                books.completions.push(body.to_owned());
                let told = completion(body);
                match () {
                    () if books.ways.garbles => return Some((200, "<html>\nwell".to_owned())),
                    () if books.ways.pretty => {
                        let told = serde_json::to_string_pretty(&told).expect("JSON");
                        return Some((200, told.replace("\"created\": 1,", "\"created\": 1.50,")));
                    }
                    () => told,
                }
            }
            _ => {
                let rest = path.trim_start_matches("/v1/batches/");
                if let Some(file) = path.strip_prefix("/v1/files/") {
                    let id = file.trim_end_matches("/content");
                    return Some((200, books.content(id)));
                }
                let (id, cancel) = match rest.strip_suffix("/cancel") {
                    Some(id) => (id, true),
                    None => (rest, false),
                };
                let ways = books.ways;
                let mut all = books.batches.iter_mut();
                let found = all.find(|(known, b)| known == id && b.account == account);
                let Some((id, batch)) = found else {
                    return Some((
                        404,
                        json!({"error": {"message": "no such batch"}}).to_string(),
                    ));
                };
                batch.cancelled |= cancel;
                batch.looked += 1;
                batch.shown(id, &ways)
            }
        };
        Some((200, told.to_string()))
    }
}

/// The line of a head that says whose it is.
pub fn key_of(head: &str) -> String {
    let mut lines = head.lines();
    let line = lines.find(|line| line.to_lowercase().starts_with("authorization:"));
    line.unwrap_or_default().to_owned()
}

/// Seconds since 1970 as Anthropic writes a time.
fn when(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).expect("a time");
    time.to_string()
}

/// The lines of a form's file.
fn lines_of(form: &str) -> String {
    let lines = form.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| format!("{line}\n")).collect()
}

fn completion(body: &str) -> Value {
    let asked: Value = serde_json::from_str(body).unwrap_or_default();
    if let Some(text) = asked["input"].as_str() {
        // The vector tells which text it is of.
        let first = text.split(' ').next().unwrap_or_default();
        let n: u64 = first.trim_start_matches('t').parse().unwrap_or(0);
        return json!({
            "object": "list", "model": asked["model"], "data": [{"object": "embedding", "index": 0, "embedding": [0.5, n]}],
            "usage": {"prompt_tokens": TOKENS.0, "total_tokens": TOKENS.0},
        });
    }
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": format!("echo {}", asked["messages"][0]["content"].as_str().unwrap_or(""))}}],
        "usage": {"prompt_tokens": TOKENS.0, "completion_tokens": TOKENS.1, "total_tokens": TOKENS.0 + TOKENS.1},
        "service_tier": "default",
    })
}

impl Batch {
    fn is_over(&self, ways: &Ways) -> bool {
        self.cancelled || (!ways.hangs && self.looked > ways.looks)
    }

    fn done(&self, ways: &Ways) -> usize {
        match (self.cancelled, ways.expires_after) {
            (true, _) => 0,
            (false, Some(most)) => most.min(self.lines.len()),
            (false, None) => self.lines.len(),
        }
    }

    fn shown(&self, id: &str, ways: &Ways) -> Value {
        let over = self.is_over(ways);
        let status = match () {
            () if self.cancelled => "cancelled",
            () if !over => "in_progress",
            () if ways.expires_after.is_some() => "expired",
            () => "completed",
        };
        let file = |kind: &str| over.then(|| format!("file-{kind}-{id}"));
        json!({
            "id": id, "object": "batch", "status": status, "metadata": {"flyball": self.tag}, "created_at": self.created,
            "output_file_id": file("out"), "error_file_id": file("err"),
            "request_counts": {"total": self.lines.len(), "completed": 0, "failed": 0},
        })
    }
}

impl Books {
    fn make(&mut self, body: &str, account: String) -> Option<(u16, String)> {
        if self.ways.breaks_creates > 0 {
            self.ways.breaks_creates -= 1;
            return Some((500, json!({"error": {"message": "broken"}}).to_string()));
        }
        let asked: Value = serde_json::from_str(body).expect("JSON");
        let file = asked["input_file_id"].as_str().expect("a file");
        let lines = self.files.get(file).expect("it was handed in").clone();
        if self.ways.busy_creates > 0 {
            self.ways.busy_creates -= 1;
            return Some((429, json!({"error": {"message": "busy"}}).to_string()));
        }
        if self.ways.refuses.is_some_and(|word| lines.contains(word)) {
            let why = "requests[1] of org-secret is wrong";
            return Some((400, json!({"error": {"message": why}}).to_string()));
        }
        let tag = asked["metadata"]["flyball"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let id = format!("batch_v{}", self.batches.len());
        let mut batch = Batch {
            tag: tag.clone(),
            created: flyball::ledger::now(),
            made: Some(Instant::now()),
            account,
            ..Batch::default()
        };
        for line in lines.lines() {
            let read: Value = serde_json::from_str(line).expect("a line is JSON");
            assert_eq!(read["url"], asked["endpoint"]);
            let ours = read["custom_id"].as_str().expect("an id").to_owned();
            self.asked.push((tag.clone(), ours));
            batch.lines.push(line.to_owned());
        }
        let shown = batch
            .shown(
                &id,
                &Ways {
                    looks: 1,
                    ..self.ways
                },
            )
            .to_string();
        self.batches.push((id, batch));
        if self.ways.loses_creates > 0 {
            self.ways.loses_creates -= 1;
            return None;
        }
        Some((200, shown))
    }

    /// Anthropic's Message Batches.
    fn anthropic(&mut self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let rest = path.trim_start_matches("/v1/messages/batches");
        let rest = rest.trim_start_matches('/');
        if (method, rest) == ("POST", "") {
            return self.make_messages(body);
        }
        let shown = |b: &Messages| json!({"id": b.id, "type": "message_batch", "processing_status": "ended", "created_at": when(b.created), "request_counts": {"processing": 0, "succeeded": b.lines.len(), "errored": 0, "canceled": 0, "expired": 0}});
        if rest.is_empty() {
            let all: Vec<Value> = self.messages.iter().rev().map(shown).collect();
            return Some((200, json!({"data": all, "has_more": false}).to_string()));
        }
        let id = rest.split('/').next().unwrap_or_default();
        let batch = self.messages.iter().find(|b| b.id == id)?;
        if !rest.ends_with("/results") {
            return Some((200, shown(batch).to_string()));
        }
        let told = batch.lines.iter().map(|name| {
            let message = json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
                "content": [{"type": "text", "text": format!("answer of {id}")}], "stop_reason": "end_turn", "stop_sequence": null,
                "usage": {"input_tokens": TOKENS.0, "output_tokens": TOKENS.1},
            });
            json!({"custom_id": name, "result": {"type": "succeeded", "message": message}})
        });
        Some((200, told.map(|line| format!("{line}\n")).collect()))
    }

    fn make_messages(&mut self, body: &str) -> Option<(u16, String)> {
        let asked: Value = serde_json::from_str(body).expect("JSON");
        let requests = asked["requests"].as_array().expect("requests");
        let names = requests.iter().map(|one| one["custom_id"].as_str());
        let mut lines: Vec<String> = names.map(|name| name.expect("a name").to_owned()).collect();
        let swapped = self.ways.swaps_creates > 0;
        if swapped {
            self.ways.swaps_creates -= 1;
            lines = (0..lines.len()).map(|n| n.to_string()).collect();
        }
        let id = format!("msgbatch_v{}", self.messages.len());
        let (many, created) = (lines.len(), flyball::ledger::now());
        self.messages.push(Messages {
            id: id.clone(),
            lines,
            created,
        });
        if swapped || self.ways.loses_creates > 0 {
            self.ways.loses_creates = self.ways.loses_creates.saturating_sub(1);
            return None;
        }
        let told = json!({"id": id, "processing_status": "in_progress", "created_at": when(created), "request_counts": {"processing": many}});
        Some((200, told.to_string()))
    }

    /// Results, the last line first.
    fn content(&self, id: &str) -> String {
        if let Some(lines) = self.files.get(id) {
            return lines.clone();
        }
        let errors = id.starts_with("file-err-");
        let id = id
            .trim_start_matches("file-out-")
            .trim_start_matches("file-err-");
        let found = self.batches.iter().find(|(known, _)| known == id);
        let Some((_, batch)) = found else {
            return String::new();
        };
        let done = batch.done(&self.ways);
        let mut out = String::new();
        for (n, line) in batch.lines.iter().enumerate().rev() {
            let read: Value = serde_json::from_str(line).expect("JSON");
            let failed = self
                .ways
                .fails_every
                .is_some_and(|every| n % every == every - 1);
            let told = match () {
                () if n >= done => {
                    json!({"custom_id": read["custom_id"], "response": null, "error": {"code": "batch_expired", "message": "expired"}})
                }
                () if failed => {
                    json!({"custom_id": read["custom_id"], "response": {"status_code": 400, "request_id": "r", "body": {"error": {"message": "bad request", "type": "invalid_request_error", "param": null, "code": null}}}, "error": null})
                }
                () => {
                    json!({"custom_id": read["custom_id"], "response": {"status_code": 200, "request_id": "r", "body": completion(&read["body"].to_string())}, "error": null})
                }
            };
            if errors == (n >= done || failed) {
                out.push_str(&told.to_string());
                out.push('\n');
            }
        }
        out
    }
}
