//! Batch APIs that vendors have of their own, Mistral's jobs and xAI's batches: scripted in the shapes of their recordings, with faults on demand.

use super::{Flyball, bearer, hand_in, id_of, line, over, posted, results, start};
use crate::client::post;
use crate::flyball::make_key;
use crate::scripted::read_request;
use crate::until::found;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// Lines in a page of xAI's results.
const PAGE: usize = 3;

#[derive(Default)]
struct Job {
    /// Mistral's metadata, or the name at xAI.
    mark: String,
    /// The name of each line and what it asks.
    lines: Vec<(String, Value)>,
    looked: usize,
    cancelled: bool,
}

#[derive(Default)]
struct Books {
    files: HashMap<String, Vec<(String, Value)>>,
    jobs: Vec<Job>,
    /// Calls by method and path.
    calls: Vec<String>,
    /// So many calls that hand lines over are taken, and their answers are lost.
    loses: usize,
    /// A job never ends by itself.
    hangs: bool,
    /// Every so manieth line fails.
    fails_every: usize,
    /// The last line has no result when the time is over.
    expires: bool,
}

#[derive(Clone)]
struct Vendor {
    at: SocketAddr,
    books: Arc<Mutex<Books>>,
}

fn completion(body: &Value, reasoning: u64) -> Value {
    let said = format!(
        "echo {}",
        body["messages"][0]["content"].as_str().unwrap_or("")
    );
    json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140 + reasoning, "completion_tokens_details": {"reasoning_tokens": reasoning}},
    })
}

impl Vendor {
    async fn start(books: Books) -> Vendor {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let vendor = Vendor {
            at,
            books: Arc::new(Mutex::new(books)),
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
            let answered = self.books.lock().unwrap().answer(method, path, &seen.body);
            let Some((status, body)) = answered else {
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

    fn calls(&self, start: &str) -> usize {
        let books = self.books.lock().unwrap();
        books
            .calls
            .iter()
            .filter(|call| call.starts_with(start))
            .count()
    }

    /// How many lines each job has.
    fn jobs(&self) -> Vec<usize> {
        let books = self.books.lock().unwrap();
        books.jobs.iter().map(|job| job.lines.len()).collect()
    }
}

impl Books {
    /// `None`: the connection is cut.
    fn answer(&mut self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        self.calls.push(format!("{method} {path}"));
        if let Some(path) = path.strip_prefix("/mistral") {
            return self.mistral(method, path, body);
        }
        self.xai(method, path.strip_prefix("/xai")?, body)
    }

    fn take(&mut self) -> bool {
        let lost = self.loses > 0;
        self.loses = self.loses.saturating_sub(1);
        lost
    }

    fn fails(&self, n: usize) -> bool {
        self.fails_every > 0 && n % self.fails_every == self.fails_every - 1
    }

    fn mistral(&mut self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if (method, path) == ("POST", "/v1/files") {
            let lines = body.lines().filter(|line| line.starts_with('{'));
            let lines = lines.map(|line| {
                let read: Value = serde_json::from_str(line).expect("a line is JSON");
                (
                    read["custom_id"].as_str().unwrap().to_owned(),
                    read["body"].clone(),
                )
            });
            let id = format!("f{}", self.files.len());
            self.files.insert(id.clone(), lines.collect());
            return Some((
                200,
                json!({"id": id, "object": "file", "purpose": "batch"}).to_string(),
            ));
        }
        if let Some(file) = path.strip_prefix("/v1/files/") {
            let (kind, job) = file.trim_end_matches("/content").split_at(3);
            return Some((200, self.mistral_results(job.parse().ok()?, kind == "out")));
        }
        if (method, path) == ("POST", "/v1/batch/jobs") {
            let asked: Value = serde_json::from_str(body).expect("JSON");
            let file = asked["input_files"][0].as_str().expect("a file");
            assert_eq!(asked["endpoint"], "/v1/chat/completions");
            assert_eq!(asked["model"], "mistral-small-latest");
            self.jobs.push(Job {
                mark: asked["metadata"]["flyball"].as_str().unwrap().to_owned(),
                lines: self.files[file].clone(),
                ..Job::default()
            });
            let n = self.jobs.len() - 1;
            let lost = self.take();
            return (!lost).then(|| (200, self.job(n).to_string()));
        }
        if path == "/v1/batch/jobs" {
            assert!(query.contains("order_by=-created"), "{query}");
            let all: Vec<Value> = (0..self.jobs.len()).rev().map(|n| self.job(n)).collect();
            return Some((
                200,
                json!({"object": "list", "total": all.len(), "data": all}).to_string(),
            ));
        }
        let rest = path.strip_prefix("/v1/batch/jobs/j")?;
        let (id, cancel) = match rest.strip_suffix("/cancel") {
            Some(id) => (id, true),
            None => (rest, false),
        };
        let n: usize = id.parse().ok()?;
        self.jobs[n].cancelled |= cancel;
        self.jobs[n].looked += 1;
        Some((200, self.job(n).to_string()))
    }

    fn is_over(&self, n: usize) -> bool {
        self.jobs[n].cancelled || (!self.hangs && self.jobs[n].looked > 2)
    }

    fn job(&self, n: usize) -> Value {
        let job = &self.jobs[n];
        let over = self.is_over(n);
        let status = match () {
            () if job.cancelled => "CANCELLED",
            () if over && self.expires => "TIMEOUT_EXCEEDED",
            () if over => "SUCCESS",
            () if job.looked == 0 => "QUEUED",
            () => "RUNNING",
        };
        let file = |kind: &str| over.then(|| format!("{kind}{n}"));
        json!({
            "id": format!("j{n}"), "object": "batch", "input_files": [], "metadata": {"flyball": job.mark}, "endpoint": "/v1/chat/completions",
            "output_file": file("out"), "error_file": file("err"), "errors": [], "outputs": null, "status": status, "created_at": flyball::ledger::now(),
            "total_requests": job.lines.len(), "completed_requests": 0, "succeeded_requests": 0, "failed_requests": 0,
        })
    }

    /// The last line first.
    fn mistral_results(&self, n: usize, good: bool) -> String {
        let job = &self.jobs[n];
        if job.cancelled {
            return String::new();
        }
        let done = job.lines.len() - usize::from(self.expires);
        let all = job.lines[..done].iter().enumerate().rev();
        let own = all.filter(|(n, _)| self.fails(*n) != good);
        let told = own.map(|(_, (id, body))| match good {
            true => json!({"id": format!("batch-{id}"), "custom_id": id, "response": {"status_code": 200, "body": completion(body, 0)}, "error": null}),
            false => json!({"id": format!("batch-{id}"), "custom_id": id, "response": {"status_code": 422, "body": {"detail": "no"}}, "error": null}),
        });
        told.map(|line| format!("{line}\n")).collect()
    }

    fn xai(&mut self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let rest = path.strip_prefix("/v1/batches")?.trim_start_matches('/');
        if rest.is_empty() && method == "POST" {
            let asked: Value = serde_json::from_str(body).expect("JSON");
            self.jobs.push(Job {
                mark: asked["name"].as_str().expect("a name").to_owned(),
                ..Job::default()
            });
            let n = self.jobs.len() - 1;
            return Some((200, self.container(n).to_string()));
        }
        if rest.is_empty() {
            let all: Vec<Value> = (0..self.jobs.len())
                .rev()
                .map(|n| self.container(n))
                .collect();
            return Some((
                200,
                json!({"batches": all, "pagination_token": null}).to_string(),
            ));
        }
        let id = rest.trim_start_matches('b');
        let end = id.find(|c: char| !c.is_ascii_digit()).unwrap_or(id.len());
        let n: usize = id[..end].parse().ok()?;
        match &id[end..] {
            "/requests" => {
                let asked: Value = serde_json::from_str(body).expect("JSON");
                let requests = asked["batch_requests"].as_array().expect("requests");
                for one in requests {
                    let id = one["batch_request_id"].as_str().unwrap().to_owned();
                    let request = one["batch_request"]["chat_get_completion"].clone();
                    assert_eq!(request["model"], "grok-4.3");
                    self.jobs[n].lines.push((id, request));
                }
                let lost = self.take();
                (!lost).then(|| (200, "null".to_owned()))
            }
            "/results" => Some((200, self.results_page(n, query))),
            verb => {
                self.jobs[n].cancelled |= verb == ":cancel";
                self.jobs[n].looked += 1;
                Some((200, self.container(n).to_string()))
            }
        }
    }

    fn container(&self, n: usize) -> Value {
        let job = &self.jobs[n];
        let many = job.lines.len();
        let pending = if self.is_over(n) { 0 } else { many };
        json!({
            "batch_id": format!("b{n}"), "name": job.mark, "create_time": "2026-08-10", "expire_time": "2026-09-09", "create_api_key_id": "k",
            "cancel_time": job.cancelled.then_some("2026-08-11"), "cancel_by_xai_message": null,
            "state": {"num_requests": many, "num_pending": pending, "num_success": many - pending, "num_error": 0, "num_cancelled": 0},
        })
    }

    fn results_page(&self, n: usize, query: &str) -> String {
        let job = &self.jobs[n];
        let from = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("pagination_token="));
        let from: usize = from.map_or(0, |from| from.parse().expect("our own token"));
        let done = if job.cancelled { 0 } else { job.lines.len() };
        let to = (from + PAGE).min(done);
        let all: Vec<Value> = (from..to).map(|at| {
            let (id, body) = &job.lines[done - 1 - at];
            match self.fails(done - 1 - at) {
                false => json!({"batch_request_id": id, "batch_result": {"response": {"chat_get_completion": completion(body, 7)}}}),
                true => json!({"batch_request_id": id, "batch_result": {"error": {"message": "no"}}}),
            }
        }).collect();
        let next = (to < done).then(|| to.to_string());
        json!({"results": all, "pagination_token": next}).to_string()
    }
}

fn config(vendor: &Vendor, more: &str) -> String {
    let at = vendor.at;
    format!(
        r#"
[batch]
poll = "20ms"
{more}

[[provider]]
name = "mi"
kind = "mistral"
base_url = "http://{at}/mistral"
api_key = "file:key"

[[provider]]
name = "xa"
kind = "xai"
base_url = "http://{at}/xai"
api_key = "file:key"

[[model]]
name = "mistral-small-latest"
provider = "mi"
tier = "small"

[[model]]
name = "grok-4.3"
provider = "xa"
tier = "standard"
"#
    )
}

/// What an answer costs in a batch: half of Mistral's rates, four fifths of xAI's, whose reasoning comes on top.
fn price(model: &str) -> i128 {
    match model {
        "mistral-small-latest" => 100 * 75_000 + 40 * 300_000,
        _ => 100 * 1_000_000 + 47 * 2_000_000,
    }
}

async fn started(vendor: &Vendor, more: &str) -> Flyball {
    start(&config(vendor, more), |dir| {
        make_key(dir, "app", Some("5"), |_| {});
    })
    .await
}

fn both(many: usize) -> String {
    let model = |n| {
        if n % 2 == 0 {
            "mistral-small-latest"
        } else {
            "grok-4.3"
        }
    };
    let lines: Vec<String> = (0..many)
        .map(|n| line(&format!("c{n}"), model(n), &format!("q{n}")))
        .collect();
    lines.join("\n")
}

async fn of(flyball: &Flyball, file: &str) -> (Value, BTreeMap<String, Value>) {
    let made = hand_in(flyball.at(), "fb_app", file).await;
    let batch = over(flyball.at(), "fb_app", &id_of(&made)).await;
    let told = results(flyball.at(), "fb_app", &batch).await;
    (batch, told)
}

#[tokio::test]
async fn lines_of_mistral_and_xai_go_out_in_their_own_batches_and_cost_what_those_do() {
    let vendor = Vendor::start(Books {
        fails_every: 4,
        ..Books::default()
    })
    .await;
    let flyball = started(&vendor, "").await;
    let (batch, told) = of(&flyball, &both(20)).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    let counts = json!({"total": 20, "completed": 16, "failed": 4});
    assert_eq!(batch["request_counts"], counts);
    for n in 0..20 {
        let got = &told[&format!("c{n}")]["response"];
        // Of each model's ten lines the fourth and the eighth fail.
        if (n / 2) % 4 == 3 {
            assert!(got["status_code"].as_u64() >= Some(400), "c{n}: {got}");
        } else {
            let said = &got["body"]["choices"][0]["message"]["content"];
            assert_eq!(*said, format!("echo q{n}"), "c{n}: {got}");
        }
    }
    assert_eq!(vendor.jobs(), [10, 10], "one batch at each");
    let page = vendor.calls("GET /xai/v1/batches/b1/results")
        + vendor.calls("GET /xai/v1/batches/b0/results");
    assert_eq!(page, 4, "ten results come in four pages");
    let expected = 8 * price("mistral-small-latest") + 8 * price("grok-4.3");
    assert_eq!(posted(&flyball), expected);
    let tiers: Vec<Value> = flyball.rows().await;
    assert!(
        tiers
            .iter()
            .filter(|row| row["outcome"] == "ok")
            .all(|row| row["service_tier"] == "batch")
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn one_whose_making_nobody_has_heard_of_is_found_by_its_mark_at_either() {
    let vendor = Vendor::start(Books {
        loses: 2,
        ..Books::default()
    })
    .await;
    let flyball = started(&vendor, "").await;
    let (batch, told) = of(&flyball, &both(6)).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    assert_eq!(told.len(), 6);
    assert_eq!(vendor.jobs(), [3, 3], "neither is made again");
    assert!(vendor.calls("GET /mistral/v1/batch/jobs?") > 0);
    assert!(vendor.calls("GET /xai/v1/batches?") > 0);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_was_not_done_in_time_or_was_cancelled_costs_nothing_at_either() {
    let vendor = Vendor::start(Books {
        hangs: true,
        ..Books::default()
    })
    .await;
    let flyball = started(&vendor, "window = \"1s\"").await;
    let (batch, told) = of(&flyball, &both(4)).await;
    assert_eq!(batch["status"], "expired", "{batch}");
    assert!(
        told.values()
            .all(|line| line["error"]["code"] == "batch_expired")
    );
    assert_eq!(
        vendor.calls("POST /mistral/v1/batch/jobs/j"),
        1,
        "cancelled there"
    );
    let at_xai = |call: &&String| call.starts_with("POST /xai") && call.ends_with(":cancel");
    let cancelled = vendor
        .books
        .lock()
        .unwrap()
        .calls
        .iter()
        .filter(at_xai)
        .count();
    assert_eq!(cancelled, 1, "cancelled there, too");
    assert_eq!(posted(&flyball), 0);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_job_that_ran_out_of_time_at_mistral_keeps_the_answers_that_it_has() {
    let vendor = Vendor::start(Books {
        expires: true,
        ..Books::default()
    })
    .await;
    let flyball = started(&vendor, "").await;
    let lines: Vec<String> = (0..3)
        .map(|n| line(&format!("c{n}"), "mistral-small-latest", "q"))
        .collect();
    let (batch, told) = of(&flyball, &lines.join("\n")).await;
    assert_eq!(batch["status"], "expired", "{batch}");
    assert_eq!(told["c1"]["response"]["status_code"], 200);
    assert_eq!(told["c2"]["error"]["code"], "batch_expired");
    assert_eq!(posted(&flyball), 2 * price("mistral-small-latest"));
    flyball.books_are_right().await;
}

#[tokio::test]
async fn requests_that_are_added_to_a_batch_of_xais_in_several_calls_are_all_booked() {
    let vendor = Vendor::start(Books::default()).await;
    let flyball = start(&config(&vendor, ""), |dir| {
        make_key(dir, "app", None, |_| {});
        make_key(dir, "capped", Some("5"), |_| {});
    })
    .await;
    let at = flyball.at();
    let call = async |key: &str, path: &str, body: Value| {
        let auth = bearer(key);
        let headers = [("authorization", auth.as_str())];
        post(
            at,
            &format!("/p/xa/v1/batches{path}"),
            &headers,
            &body.to_string(),
        )
        .await
    };
    let add = |id: &str| {
        let body = json!({"model": "grok-4.3", "messages": [{"role": "user", "content": "q"}]});
        json!({"batch_requests": [{"batch_request_id": id, "batch_request": {"chat_get_completion": body}}]})
    };
    let booked = async |many: usize| {
        found("each request is booked once", async || {
            let rows = flyball.rows().await;
            let rows: Vec<Value> = rows
                .into_iter()
                .filter(|row| row["service_tier"] == "batch")
                .collect();
            (rows.len() >= many).then_some(rows)
        })
        .await
    };
    let made = call("fb_app", "", json!({"name": "mine"})).await;
    assert_eq!(made.status, 200, "{}", made.body);
    for n in 0..3 {
        // The ones before are done when the next one comes.
        let added = call("fb_app", "/b0/requests", add(&format!("r{n}"))).await;
        assert_eq!(added.status, 200, "{}", added.body);
        booked(n + 1).await;
    }
    // One that somebody has made elsewhere.
    vendor.books.lock().unwrap().jobs.push(Job {
        mark: "theirs".into(),
        ..Job::default()
    });
    let refused = call("fb_capped", "/b1/requests", add("r0")).await;
    assert_eq!(refused.status, 400, "no cap bounds it: {}", refused.body);
    let added = call("fb_app", "/b1/requests", add("r0")).await;
    assert_eq!(added.status, 200, "{}", added.body);
    let rows = booked(4).await;
    assert_eq!(rows.len(), 4, "{rows:?}");
    for row in &rows {
        assert_eq!(
            row["cost_pico_usd"].to_string(),
            price("grok-4.3").to_string()
        );
        assert_eq!(row["key"], "app");
    }
    flyball.books_are_right().await;
}
