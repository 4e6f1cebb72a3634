//! Batches that flyball keeps itself: OpenAI's Batch API in, a vendor's batches or single requests out, caps exact, deaths survived.

mod accounts;
mod astray;
mod confidential;
mod death;
mod fence;
mod kept;
mod later;
mod own;
mod passed;
mod recorded;
mod vendor;

use crate::client::{Answer, get, post, raw};
use crate::flyball::{Flyball, make_key};
use crate::until::found;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use vendor::{TOKENS, Vendor, Ways};

/// Models with a batch API, at the price of the catalogue, and one without.
fn config(vendor: &Vendor, more: &str) -> String {
    format!(
        r#"
[batch]
poll = "20ms"
{more}

[[provider]]
name = "o"
kind = "openai"
base_url = "http://{at}"
api_key = "file:key"

[[provider]]
name = "up"
kind = "openai-compatible"
base_url = "http://{at}"

[[provider]]
name = "a"
kind = "anthropic"
base_url = "http://{at}"
api_key = "file:key"

[[model]]
name = "claude-haiku-4-5"
provider = "a"
tier = "small"

[[model]]
name = "gpt-4o-mini"
provider = "o"
tier = "small"

[[model]]
name = "m-alone"
provider = "up"
tier = "small"
efforts = []
context_tokens = 100000
answer_tokens_max = 4000
input_usd_per_mtok = 1
output_usd_per_mtok = 10
"#,
        at = vendor.at
    )
}

/// What one answer of each costs, in pico-dollars: a batch's at half price.
fn batch_price() -> i128 {
    let (input, output) = (i128::from(TOKENS.0), i128::from(TOKENS.1));
    input * 75_000 + output * 300_000
}

fn alone_price() -> i128 {
    let (input, output) = (i128::from(TOKENS.0), i128::from(TOKENS.1));
    input * 1_000_000 + output * 10_000_000
}

async fn start(config: &str, keys: impl FnOnce(&tempfile::TempDir)) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    keys(&dir);
    Flyball::start_in(dir, config).await
}

fn line(id: &str, model: &str, text: &str) -> String {
    let body =
        json!({"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": text}]});
    json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body})
        .to_string()
}

/// So many lines, of which every third goes to the model without a batch API.
fn mixed(many: usize) -> String {
    let model = |n| if n % 3 == 2 { "m-alone" } else { "gpt-4o-mini" };
    let lines: Vec<String> = (0..many)
        .map(|n| line(&format!("c{n}"), model(n), &format!("q{n}")))
        .collect();
    lines.join("\n")
}

fn form(purpose: &str, file: &str) -> String {
    format!(
        "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\nContent-Type: application/octet-stream\r\n\r\n{file}\r\n--b--\r\n"
    )
}

async fn upload(at: SocketAddr, key: &str, file: &str) -> Answer {
    let body = form("batch", file);
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer {key}\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    raw(at, (head + &body).as_bytes()).await.answer().await
}

async fn hand_in(at: SocketAddr, key: &str, file: &str) -> Answer {
    let answer = upload(at, key, file).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    create(at, key, &id).await
}

async fn create(at: SocketAddr, key: &str, file: &str) -> Answer {
    let body = json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"job": "nightly"}});
    post(
        at,
        "/v1/batches",
        &[("authorization", &bearer(key))],
        &body.to_string(),
    )
    .await
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

async fn fetched(at: SocketAddr, key: &str, path: &str) -> Answer {
    get(at, path, &[("authorization", &bearer(key))]).await
}

/// The batch once it is over.
async fn over(at: SocketAddr, key: &str, id: &str) -> Value {
    found("the batch is over", async || {
        let batch = fetched(at, key, &format!("/v1/batches/{id}")).await.json();
        let open = ["validating", "in_progress", "finalizing", "cancelling"];
        (!open.contains(&batch["status"].as_str()?)).then_some(batch)
    })
    .await
}

/// Every line of both result files, by the client's own id.
async fn results(at: SocketAddr, key: &str, batch: &Value) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for file in ["output_file_id", "error_file_id"] {
        let Some(id) = batch[file].as_str() else {
            continue;
        };
        let content = fetched(at, key, &format!("/v1/files/{id}/content")).await;
        assert_eq!(content.status, 200, "{}", content.body);
        for line in content.body.lines() {
            let read: Value = serde_json::from_str(line).expect("a line is JSON");
            let id = read["custom_id"].as_str().expect("an id").to_owned();
            let twice = all.insert(id.clone(), read);
            assert!(twice.is_none(), "{id} twice");
        }
    }
    all
}

fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["id"].as_str().expect("an id").to_owned()
}

fn costs(rows: &[Value]) -> Vec<(String, i128, String)> {
    let read = |row: &Value| {
        let cost = row["cost_pico_usd"].to_string();
        let cost = cost.trim_matches('"').parse().expect("a number");
        let tier = row["service_tier"].as_str().unwrap_or("").to_owned();
        (row["model"].as_str().unwrap_or("").to_owned(), cost, tier)
    };
    rows.iter().map(read).collect()
}

fn posted(flyball: &Flyball) -> i128 {
    let all = flyball.running.state.ledger.standings();
    let cap = all.into_iter().find(|s| s.limit.is_some());
    cap.expect("a cap").posted
}

#[tokio::test]
async fn every_line_is_answered_once_and_those_of_a_vendors_batch_at_half_price() {
    let vendor = Vendor::start(Ways {
        looks: 2,
        ..Ways::default()
    })
    .await;
    let flyball = start(&config(&vendor, ""), |dir| {
        make_key(dir, "app", Some("1"), |_| {})
    })
    .await;
    let at = flyball.at();
    let made = hand_in(at, "fb_app", &mixed(30)).await;
    let batch = over(at, "fb_app", &id_of(&made)).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    assert_eq!(batch["metadata"], json!({"job": "nightly"}));
    assert_eq!(
        batch["request_counts"],
        json!({"total": 30, "completed": 30, "failed": 0})
    );
    assert_eq!(batch["usage"]["input_tokens"], 30 * TOKENS.0);
    assert_eq!(batch["usage"]["output_tokens"], 30 * TOKENS.1);
    let results = results(at, "fb_app", &batch).await;
    assert_eq!(results.len(), 30);
    for n in 0..30 {
        let told = &results[&format!("c{n}")];
        assert_eq!(told["response"]["status_code"], 200);
        let said = &told["response"]["body"]["choices"][0]["message"]["content"];
        assert_eq!(*said, format!("echo q{n}"));
    }
    assert_eq!(vendor.batches().len(), 1);
    assert_eq!(vendor.asked().len(), 20);
    assert_eq!(vendor.completions().len(), 10);
    let rows = costs(&flyball.rows().await);
    let of = |model: &str| {
        rows.iter()
            .filter(|row| row.0 == model)
            .cloned()
            .collect::<Vec<_>>()
    };
    let batched = of("gpt-4o-mini");
    assert_eq!(batched.len(), 20);
    assert!(
        batched
            .iter()
            .all(|row| row.1 == batch_price() && row.2 == "batch"),
        "{batched:?}"
    );
    let alone = of("m-alone");
    assert_eq!(alone.len(), 10);
    assert!(
        alone
            .iter()
            .all(|row| row.1 == alone_price() && row.2 == "standard"),
        "{alone:?}"
    );
    assert_eq!(posted(&flyball), 20 * batch_price() + 10 * alone_price());
    let keys = vendor.heads();
    assert!(keys.iter().all(|head| !head.contains("fb_app")));
    let metrics = flyball.metrics().await;
    assert!(
        metrics.contains("flyball_batch_lines_total{end=\"done\"} 30"),
        "{metrics}"
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_batch_for_which_there_is_no_room_is_refused_whole_and_nothing_of_it_goes_out() {
    let vendor = Vendor::start(Ways::default()).await;
    let flyball = start(&config(&vendor, ""), |dir| {
        make_key(dir, "app", Some("0.0001"), |_| {})
    })
    .await;
    let refused = hand_in(flyball.at(), "fb_app", &mixed(30)).await;
    assert_eq!(refused.status, 402, "{}", refused.body);
    assert_eq!(refused.json()["error"]["code"], "flyball_cap");
    let list = fetched(flyball.at(), "fb_app", "/v1/batches").await.json();
    assert_eq!(list["data"], json!([]));
    assert!(vendor.asked().is_empty() && vendor.completions().is_empty());
    assert!(flyball.rows().await.is_empty());
    flyball.books_are_right().await;
}

#[tokio::test]
async fn each_line_counts_for_the_end_user_whom_it_names() {
    let vendor = Vendor::start(Ways::default()).await;
    let cap = "[[cap]]\neach = \"user\"\nrequests = 1\nwindow = \"day\"\n";
    let flyball = start(&config(&vendor, cap), |dir| {
        make_key(dir, "app", Some("1"), |_| {})
    })
    .await;
    let of = |user: &str| {
        let said = format!("\"body\":{{\"user\":\"{user}\",");
        line(user, "gpt-4o-mini", "q").replacen("\"body\":{", &said, 1)
    };
    let both = [of("alice"), of("bob")].join("\n");
    let taken = hand_in(flyball.at(), "fb_app", &both).await;
    assert_eq!(taken.status, 200, "{}", taken.body);
    let batch = over(flyball.at(), "fb_app", &id_of(&taken)).await;
    assert_eq!(batch["request_counts"]["completed"], 2, "{batch}");
    let again = hand_in(flyball.at(), "fb_app", &of("alice")).await;
    assert_eq!(again.status, 402, "{}", again.body);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn the_header_that_names_an_end_user_holds_for_each_line_and_no_paid_result_is_lost_for_want_of_a_name()
 {
    let ways = Ways {
        hangs: true,
        ..Ways::default()
    };
    let vendor = Vendor::start(ways).await;
    let cap = "[[cap]]\neach = \"user\"\nrequests = 1\nwindow = \"day\"\n";
    let toml = format!("end_user_header = \"x-user-id\"\n{}", config(&vendor, cap));
    let flyball = start(&toml, |_| {}).await;
    let file = id_of(&upload(flyball.at(), "x", &line("a", "gpt-4o-mini", "q")).await);
    let by = async |user: Option<&str>| {
        let named = user.map(|user| ("x-user-id", user));
        let headers: Vec<(&str, &str)> = named.into_iter().collect();
        let body = json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"});
        post(flyball.at(), "/v1/batches", &headers, &body.to_string()).await
    };
    let mut taken = Vec::new();
    for user in [Some("alice"), Some("böb"), None] {
        taken.push(id_of(&by(user).await));
    }
    let mut states = Vec::new();
    for (n, user) in [Some("alice"), Some("böb"), None].into_iter().enumerate() {
        // What was handed in has its room as soon as it is under way.
        let at_work = async || {
            let path = format!("/v1/batches/{}", taken[n]);
            let batch = fetched(flyball.at(), "x", &path).await.json();
            (batch["status"] == "in_progress").then_some(())
        };
        found("the batch is under way", at_work).await;
        states.push(by(user).await.status);
    }
    assert_eq!(states, [402, 402, 402]);
    // From now on everybody must name somebody; what is under way was let in before.
    let path = flyball.dir.path().join("flyball.toml");
    std::fs::write(path, format!("require_user = true\n{toml}")).expect("written");
    flyball.running.reload().expect("reloaded");
    let nameless = id_of(&by(None).await);
    let batch = over(flyball.at(), "x", &nameless).await;
    let refused = results(flyball.at(), "x", &batch).await;
    assert_eq!(refused["a"]["response"]["status_code"], 400, "{refused:?}");
    vendor.change(|ways| ways.hangs = false);
    for id in &taken {
        let batch = over(flyball.at(), "x", id).await;
        assert_eq!(batch["request_counts"]["completed"], 1, "{batch}");
        let results = results(flyball.at(), "x", &batch).await;
        assert_eq!(results["a"]["response"]["status_code"], 200, "{results:?}");
    }
    let rows = flyball.rows().await;
    let cost: i128 = costs(&rows).iter().map(|(_, cost, _)| cost).sum();
    assert_eq!(cost, 3 * batch_price());
    flyball.books_are_right().await;
}

#[tokio::test]
async fn lines_that_fail_or_expire_at_the_vendor_cost_nothing_and_are_told() {
    let ways = Ways {
        fails_every: Some(4),
        expires_after: Some(6),
        ..Ways::default()
    };
    let vendor = Vendor::start(ways).await;
    let flyball = start(&config(&vendor, ""), |dir| {
        make_key(dir, "app", Some("1"), |_| {})
    })
    .await;
    let lines: Vec<String> = (0..8)
        .map(|n| line(&format!("c{n}"), "gpt-4o-mini", "q"))
        .collect();
    let made = hand_in(flyball.at(), "fb_app", &lines.join("\n")).await;
    let batch = over(flyball.at(), "fb_app", &id_of(&made)).await;
    assert_eq!(batch["status"], "expired", "{batch}");
    assert_eq!(
        batch["request_counts"],
        json!({"total": 8, "completed": 5, "failed": 3})
    );
    let results = results(flyball.at(), "fb_app", &batch).await;
    assert_eq!(results.len(), 8);
    assert_eq!(results["c3"]["response"]["status_code"], 400);
    assert_eq!(results["c6"]["error"]["code"], "batch_expired");
    assert_eq!(posted(&flyball), 5 * batch_price());
    flyball.books_are_right().await;
}

#[tokio::test]
async fn late_lines_are_run_by_themselves_where_the_operator_says_so() {
    let vendor = Vendor::start(Ways {
        expires_after: Some(1),
        ..Ways::default()
    })
    .await;
    let flyball = start(&config(&vendor, "late = \"run\""), |_| {}).await;
    let lines: Vec<String> = (0..3)
        .map(|n| line(&format!("c{n}"), "gpt-4o-mini", "q"))
        .collect();
    let made = hand_in(flyball.at(), "x", &lines.join("\n")).await;
    let batch = over(flyball.at(), "x", &id_of(&made)).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    assert_eq!(results(flyball.at(), "x", &batch).await.len(), 3);
    assert_eq!(vendor.completions().len(), 2);
}

#[tokio::test]
async fn a_batch_whose_time_is_over_is_cancelled_at_its_vendor_and_its_lines_have_expired() {
    let vendor = Vendor::start(Ways {
        hangs: true,
        ..Ways::default()
    })
    .await;
    let flyball = start(&config(&vendor, "window = \"1s\""), |dir| {
        make_key(dir, "app", Some("1"), |_| {})
    })
    .await;
    let made = hand_in(flyball.at(), "fb_app", &line("c0", "gpt-4o-mini", "q")).await;
    let batch = over(flyball.at(), "fb_app", &id_of(&made)).await;
    assert_eq!(batch["status"], "expired", "{batch}");
    let results = results(flyball.at(), "fb_app", &batch).await;
    assert_eq!(results["c0"]["error"]["code"], "batch_expired");
    assert_eq!(posted(&flyball), 0);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_batch_can_be_cancelled_and_what_was_not_done_costs_nothing() {
    let vendor = Vendor::start(Ways {
        hangs: true,
        ..Ways::default()
    })
    .await;
    let flyball = start(&config(&vendor, ""), |dir| {
        make_key(dir, "app", Some("1"), |_| {})
    })
    .await;
    let at = flyball.at();
    let id = id_of(&hand_in(at, "fb_app", &line("c0", "gpt-4o-mini", "q")).await);
    found("the vendor has it", async || {
        (vendor.batches().len() == 1).then_some(())
    })
    .await;
    let auth = bearer("fb_app");
    let cancelled = post(
        at,
        &format!("/v1/batches/{id}/cancel"),
        &[("authorization", &auth)],
        "",
    )
    .await;
    assert_eq!(
        cancelled.json()["status"],
        "cancelling",
        "{}",
        cancelled.body
    );
    let batch = over(at, "fb_app", &id).await;
    assert_eq!(batch["status"], "cancelled");
    assert_eq!(
        results(at, "fb_app", &batch).await["c0"]["error"]["code"],
        "batch_cancelled"
    );
    assert_eq!(posted(&flyball), 0);
    let again = post(
        at,
        &format!("/v1/batches/{id}/cancel"),
        &[("authorization", &auth)],
        "",
    )
    .await;
    assert_eq!(again.status, 400);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_batch_whose_making_nobody_has_heard_of_is_found_and_not_made_again() {
    let vendor = Vendor::start(Ways {
        loses_creates: 1,
        ..Ways::default()
    })
    .await;
    let flyball = start(&config(&vendor, ""), |_| {}).await;
    let made = hand_in(flyball.at(), "x", &line("c0", "gpt-4o-mini", "q")).await;
    let batch = over(flyball.at(), "x", &id_of(&made)).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    assert_eq!(vendor.batches().len(), 1);
    vendor.change(|ways| ways.breaks_creates = 1);
    let made = hand_in(flyball.at(), "x", &line("c0", "gpt-4o-mini", "q")).await;
    let batch = over(flyball.at(), "x", &id_of(&made)).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    assert_eq!(vendor.batches().len(), 2);
}

/// A flyball whose admin API takes a token.
async fn administered(vendor: &Vendor, more: &str) -> Flyball {
    let toml = format!("admin_token = \"file:token\"\n{}", config(vendor, more));
    start(&toml, |dir| {
        std::fs::write(dir.path().join("token"), "open-sesame\n").expect("a file");
        make_key(dir, "app", Some("5"), |_| {});
        make_key(dir, "other", Some("5"), |_| {});
    })
    .await
}

#[tokio::test]
async fn a_key_that_is_revoked_begins_nothing_more_and_what_is_at_the_vendor_is_booked() {
    for change in [("DELETE", ""), ("PATCH", r#"{"expires":1577836800}"#)] {
        let vendor = Vendor::start(Ways {
            hangs: true,
            ..Ways::default()
        })
        .await;
        let flyball = administered(&vendor, "").await;
        let at = flyball.at();
        hand_in(at, "fb_app", &line("there", "gpt-4o-mini", "q")).await;
        found("it is at the vendor", async || {
            (vendor.batches().len() == 1).then_some(())
        })
        .await;
        vendor.change(|ways| ways.busy_creates = usize::MAX);
        let calls = vendor.heads().len();
        hand_in(at, "fb_app", &line("waits", "gpt-4o-mini", "q")).await;
        found("the vendor does not take the other one", async || {
            let heads = vendor.heads();
            let made = |head: &String| head.starts_with("POST /v1/batches ");
            heads[calls..].iter().any(made).then_some(())
        })
        .await;
        let (method, body) = change;
        let changed = crate::admin::keys::call(&flyball, method, "/keys/app", body).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        vendor.change(|ways| (ways.busy_creates, ways.hangs) = (0, false));
        // Another key's batch goes on meanwhile.
        let other = hand_in(at, "fb_other", &line("x", "gpt-4o-mini", "q")).await;
        over(at, "fb_other", &id_of(&other)).await;
        found("both batches of the key are over", async || {
            let open = flyball.running.state.batches.live().await.expect("read");
            open.is_empty().then_some(())
        })
        .await;
        assert_eq!(vendor.batches().len(), 2, "{body}");
        let rows = flyball.rows().await;
        // A key that was revoked bears that beside its name.
        let of = |row: &Value| row["key"].as_str().unwrap_or("").starts_with("app");
        let of_app: Vec<Value> = rows.into_iter().filter(of).collect();
        let sum: i128 = costs(&of_app).iter().map(|(_, cost, _)| *cost).sum();
        assert_eq!(sum, batch_price(), "{of_app:?}");
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn lines_of_a_key_that_is_paused_wait_until_it_is_resumed() {
    let vendor = Vendor::start(Ways {
        busy_creates: usize::MAX,
        ..Ways::default()
    })
    .await;
    let flyball = administered(&vendor, "concurrency = 1").await;
    let at = flyball.at();
    let made = hand_in(at, "fb_app", &line("c0", "gpt-4o-mini", "q")).await;
    found("the vendor does not take it", async || {
        let heads = vendor.heads();
        let made = |head: &String| head.starts_with("POST /v1/batches ");
        heads.iter().any(made).then_some(())
    })
    .await;
    let paused = |paused: bool| {
        let body = json!({"paused": paused}).to_string();
        let flyball = &flyball;
        async move {
            let changed = crate::admin::keys::call(flyball, "PATCH", "/keys/app", &body).await;
            assert_eq!(changed.status, 200, "{}", changed.body);
        }
    };
    paused(true).await;
    vendor.change(|ways| ways.busy_creates = 0);
    let other = hand_in(at, "fb_other", &line("x", "gpt-4o-mini", "q")).await;
    over(at, "fb_other", &id_of(&other)).await;
    assert_eq!(vendor.batches().len(), 1, "that of the other key");
    paused(false).await;
    let batch = over(at, "fb_app", &id_of(&made)).await;
    assert_eq!(batch["request_counts"]["completed"], 1, "{batch}");
    assert_eq!(vendor.batches().len(), 2);
    flyball.books_are_right().await;
}

/// `shared_ledger` of an own database, where there is a server for one.
async fn shared_ledger(dir: &tempfile::TempDir) -> Option<String> {
    let url = crate::until::worked("a database", crate::stores::database).await?;
    let address = dir.path().join("ledger");
    std::fs::write(&address, &url).expect("a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&address, private).expect("private");
    }
    let address = address.display();
    Some(format!("shared_ledger = \"file:{address}\"\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_a_character_that_no_database_keeps_is_refused_with_its_line_by_every_store() {
    for shared in [false, true] {
        let vendor = Vendor::start(Ways::default()).await;
        let dir = tempfile::tempdir().expect("a folder");
        let above = match shared {
            true => match shared_ledger(&dir).await {
                Some(above) => above,
                None => return,
            },
            false => String::new(),
        };
        std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
        let toml = format!("{above}{}", config(&vendor, ""));
        let flyball = Flyball::start_in(dir, &toml).await;
        let at = flyball.at();
        let file = [
            line("c0", "gpt-4o-mini", "q"),
            line("c\0", "gpt-4o-mini", "q"),
        ]
        .join("\n");
        let made = hand_in(at, "x", &file).await;
        let batch = over(at, "x", &id_of(&made)).await;
        assert_eq!(batch["status"], "failed", "{shared}: {batch}");
        let error = &batch["errors"]["data"][0];
        assert_eq!(
            (&error["code"], &error["param"], &error["line"]),
            (&json!("invalid_custom_id"), &json!("custom_id"), &json!(2)),
            "{batch}"
        );
        let params = json!({"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "q"}]});
        let body = json!({"requests": [{"custom_id": "a\0", "params": params}]}).to_string();
        let headers = [("anthropic-version", "2023-06-01"), ("x-api-key", "x")];
        let refused = post(at, "/v1/messages/batches", &headers, &body).await;
        assert_eq!(refused.status, 400, "{shared}: {}", refused.body);
        let told = refused.json();
        assert_eq!(told["error"]["type"], "invalid_request_error", "{told}");
        assert!(told["error"]["message"].to_string().contains("custom_id"));
        // Nothing of it is anywhere, and the next one goes on.
        assert!(vendor.asked().is_empty() && vendor.messages().is_empty());
        // A file's name is its client's own, too.
        let form = form("batch", &line("c0", "gpt-4o-mini", "q")).replace("in.jsonl", "i\0n.jsonl");
        let head = format!(
            "POST /v1/files HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer x\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: {}\r\n\r\n",
            form.len()
        );
        let named = raw(at, (head + &form).as_bytes()).await.answer().await;
        assert_eq!(named.status, 400, "{shared}: {}", named.body);
        let made = hand_in(at, "x", &line("c0", "gpt-4o-mini", "q")).await;
        let batch = over(at, "x", &id_of(&made)).await;
        assert_eq!(batch["status"], "completed", "{batch}");
        if !shared {
            flyball.books_are_right().await;
        }
    }
}

#[tokio::test]
async fn wrong_lines_fail_the_batch_and_say_which_and_why() {
    let vendor = Vendor::start(Ways::default()).await;
    let flyball = start(&config(&vendor, ""), |_| {}).await;
    let good: Vec<String> = (0..6)
        .map(|n| line(&format!("c{n}"), "gpt-4o-mini", "q"))
        .collect();
    let elsewhere = line("c7", "gpt-4o-mini", "q").replace("/v1/chat/completions", "/v1/responses");
    for (bad, code) in [
        ("{\"custom_id\": ".to_owned(), "invalid_json_line"),
        (line("c0", "gpt-4o-mini", "q"), "duplicate_custom_id"),
        (elsewhere, "mismatched_endpoint"),
        (
            r#"{"method":"POST","url":"/v1/chat/completions","body":{}}"#.to_owned(),
            "missing_required_parameter",
        ),
    ] {
        let file = format!("{}\n{bad}\n", good.join("\n"));
        let made = hand_in(flyball.at(), "x", &file).await;
        let batch = over(flyball.at(), "x", &id_of(&made)).await;
        assert_eq!(batch["status"], "failed", "{batch}");
        let error = &batch["errors"]["data"][0];
        assert_eq!(
            (error["code"].as_str(), error["line"].as_i64()),
            (Some(code), Some(7)),
            "{batch}"
        );
    }
    let empty = hand_in(flyball.at(), "x", "\n\n").await;
    assert_eq!(
        over(flyball.at(), "x", &id_of(&empty)).await["errors"]["data"][0]["code"],
        "empty_batch"
    );
    assert!(vendor.asked().is_empty());
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_line_that_no_model_may_answer_has_an_error_of_its_own() {
    let vendor = Vendor::start(Ways::default()).await;
    let limited = |dir: &tempfile::TempDir| {
        make_key(dir, "app", None, |key| {
            key.models = vec!["gpt-4o-mini".into()]
        });
    };
    let flyball = start(&config(&vendor, ""), limited).await;
    let lines = [line("a", "gpt-4o-mini", "q"), line("b", "m-alone", "q")].join("\n");
    let made = hand_in(flyball.at(), "fb_app", &lines).await;
    let batch = over(flyball.at(), "fb_app", &id_of(&made)).await;
    let results = results(flyball.at(), "fb_app", &batch).await;
    assert_eq!(results["a"]["response"]["status_code"], 200);
    assert_eq!(results["b"]["response"]["status_code"], 403);
    assert_eq!(
        results["b"]["response"]["body"]["error"]["code"],
        "model_not_allowed"
    );
    assert!(vendor.completions().is_empty());
}

#[tokio::test]
async fn nobody_sees_or_touches_what_another_key_has_handed_in() {
    let vendor = Vendor::start(Ways::default()).await;
    let two = |dir: &tempfile::TempDir| {
        make_key(dir, "app", None, |_| {});
        make_key(dir, "other", None, |_| {});
    };
    let flyball = start(&config(&vendor, ""), two).await;
    let at = flyball.at();
    let made = hand_in(at, "fb_app", &line("c0", "gpt-4o-mini", "q")).await;
    let batch = over(at, "fb_app", &id_of(&made)).await;
    let id = batch["id"].as_str().expect("an id");
    let (input, output) = (
        batch["input_file_id"].as_str().unwrap(),
        batch["output_file_id"].as_str().unwrap(),
    );
    for path in [
        format!("/v1/batches/{id}"),
        format!("/v1/files/{input}"),
        format!("/v1/files/{input}/content"),
        format!("/v1/files/{output}/content"),
        "/v1/batches/batch_fb0123".to_owned(),
        "/v1/files/file-fb0123".to_owned(),
    ] {
        let answer = fetched(at, "fb_other", &path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
        let said = answer.json()["error"]["message"].to_string();
        assert!(
            said.contains(path.split('/').nth(3).unwrap()),
            "{path}: {said}"
        );
    }
    assert_eq!(create(at, "fb_other", input).await.status, 404);
    assert_eq!(
        fetched(at, "fb_other", "/v1/batches").await.json()["data"],
        json!([])
    );
    assert_eq!(
        fetched(at, "fb_other", "/v1/files").await.json()["data"],
        json!([])
    );
    assert_eq!(
        fetched(at, "fb_app", "/v1/files").await.json()["data"][0]["id"],
        input
    );
    assert_eq!(
        fetched(at, "fb_app", "/v1/batches").await.json()["data"][0]["id"],
        id
    );
    let content = fetched(at, "fb_app", &format!("/v1/files/{input}/content")).await;
    assert_eq!(content.body.trim(), line("c0", "gpt-4o-mini", "q"));
}

#[tokio::test]
async fn a_file_is_no_longer_than_its_limit_and_what_is_for_something_else_goes_on() {
    let vendor = Vendor::start(Ways::default()).await;
    let flyball = start(&config(&vendor, "file_bytes_max = 2000"), |_| {}).await;
    let long = upload(flyball.at(), "x", &mixed(30)).await;
    assert_eq!(long.status, 413, "{}", long.body);
    let body = form("assistants", "text");
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let passed = raw(flyball.at(), (head + &body).as_bytes())
        .await
        .answer()
        .await;
    assert_eq!(passed.json()["id"], "file-v0", "{}", passed.body);
    let of_provider = [("x-flyball-provider", "o")];
    let listed = get(flyball.at(), "/v1/batches", &of_provider).await;
    assert_eq!(listed.header("x-flyball-provider"), Some("o"));
}
