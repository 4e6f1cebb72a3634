//! Answers that flyball makes in the background for models whose vendors do not: followed, fetched, cancelled, kept for their own key alone; and
//! jobs of vendors that are booked although nobody comes back for them.

use crate::client::{Answer, get, post, raw, send};
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{
    Step, Upstream, answer, chat_stream, delta, end, finish, piece, stream_head,
};
use crate::until::found;
use serde_json::{Value, json};
use std::net::SocketAddr;

const APP: [(&str, &str); 1] = [("authorization", "Bearer fb_app")];
const OTHER: [(&str, &str); 1] = [("authorization", "Bearer fb_other")];
const ASK: &str = r#"{"model":"m-small","input":"Say hello","background":true}"#;
/// 100 tokens at $1 and 20 at $10 a million.
const COST: i128 = 300_000_000;

/// "hello", of which the second half comes when the gate opens.
fn halves() -> Vec<Step> {
    let [stop, usage, done] = finish(100, 20);
    vec![
        stream_head(),
        piece(&delta("hel")),
        Step::Gate,
        piece(&delta("lo")),
        piece(&stop),
        piece(&usage),
        piece(&done),
        end(),
    ]
}

async fn started(steps: Vec<Step>, more: &str) -> (Upstream, Flyball) {
    let upstream = Upstream::start(steps).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", Some("1"), |_| {});
    make_key(&dir, "other", Some("1"), |_| {});
    let toml = format!("{}\n{more}", compatible(&upstream));
    let flyball = Flyball::start_in(dir, &toml).await;
    (upstream, flyball)
}

/// The answer that a call has begun.
fn begun(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let told = answer.json();
    assert_eq!(told["background"], true, "{told}");
    let open = ["queued", "in_progress"].map(|status| json!(status));
    assert!(open.contains(&told["status"]), "{told}");
    told["id"].as_str().expect("an id").to_owned()
}

async fn ended(at: SocketAddr, id: &str) -> Value {
    found("the answer has come to its end", async || {
        let told = get(at, &format!("/v1/responses/{id}"), &APP).await.json();
        let open = ["queued", "in_progress"].map(|status| json!(status));
        (!open.contains(&told["status"])).then_some(told)
    })
    .await
}

fn said(response: &Value) -> String {
    let items = response["output"].as_array().expect("a list");
    let message = items.iter().find(|item| item["type"] == "message");
    let text = &message.expect("a message")["content"][0]["text"];
    text.as_str().unwrap_or_default().to_owned()
}

/// The events of a stream: their numbers and types.
fn events(body: &str) -> Vec<(u64, String)> {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let read = |data: &str| {
        let event: Value = serde_json::from_str(data).expect("JSON");
        let number = event["sequence_number"].as_u64().expect("a number");
        (
            number,
            event["type"].as_str().unwrap_or_default().to_owned(),
        )
    };
    data.map(read).collect()
}

async fn call(at: SocketAddr, method: &str, path: &str, key: &str) -> Answer {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer {key}\r\ncontent-length: 0\r\n\r\n"
    );
    raw(at, request.as_bytes()).await.answer().await
}

fn posted(flyball: &Flyball) -> i128 {
    let all = flyball.running.state.ledger.standings();
    let own = all
        .iter()
        .find(|s| s.counter.to_string() == "key=1|usd|day|UTC");
    own.expect("the key's own day").posted
}

#[tokio::test]
async fn a_model_without_background_answers_in_it_and_is_fetched_followed_and_deleted_by_its_own_key()
 {
    let (upstream, flyball) = started(halves(), "").await;
    let at = flyball.at();
    let answer = post(at, "/v1/responses", &APP, ASK).await;
    let id = begun(&answer);
    let request = answer
        .header("x-flyball-request-id")
        .expect("an id")
        .to_owned();
    let path = format!("/v1/responses/{id}");
    let early = get(at, &path, &APP).await.json();
    assert_ne!(early["status"], "completed", "{early}");
    upstream.open_gate();
    let told = ended(at, &id).await;
    assert_eq!(told["status"], "completed", "{told}");
    assert_eq!(said(&told), "hello");
    assert_eq!(told["usage"]["output_tokens"], 20);
    assert_eq!(told["id"], id);
    let whole = get(at, &format!("{path}?stream=true"), &APP).await;
    let whole = events(&whole.body);
    assert_eq!(whole[0], (0, "response.created".to_owned()));
    let last = whole.last().expect("an end");
    assert_eq!(last.1, "response.completed");
    let later = get(at, &format!("{path}?stream=true&starting_after=3"), &APP).await;
    assert_eq!(events(&later.body), whole[4..]);
    for (method, path) in [
        ("GET", path.clone()),
        ("POST", format!("{path}/cancel")),
        ("DELETE", path.clone()),
    ] {
        let answer = call(at, method, &path, "fb_other").await;
        assert_eq!(answer.status, 404, "{method}: {}", answer.body);
        assert!(!answer.body.contains("hello"));
    }
    let sent: Value = serde_json::from_str(&upstream.seen()[0].body).expect("JSON");
    assert_eq!(
        sent.get("background"),
        None,
        "the model knows nothing of it"
    );
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(rows[0]["request"], request);
    assert_eq!(rows[0]["outcome"], "ok");
    assert_eq!(posted(&flyball), COST);
    let gone = call(at, "DELETE", &path, "fb_app").await;
    assert_eq!(gone.json()["deleted"], true, "{}", gone.body);
    assert_eq!(get(at, &path, &APP).await.status, 404);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_client_that_leaves_its_stream_comes_back_to_it_where_it_was() {
    let (upstream, flyball) = started(halves(), "").await;
    let at = flyball.at();
    let streamed = ASK.replacen('{', "{\"stream\":true,", 1);
    let mut first = send(at, "/v1/responses", &APP, &streamed).await;
    let seen = first.until("\"hel\"").await;
    drop(first);
    let id = seen.split("\"id\":\"resp_").nth(1).expect("an id");
    let id = format!("resp_{}", id.split('"').next().expect("its end"));
    let path = format!("/v1/responses/{id}?stream=true&starting_after=1");
    let rest = async {
        let rest = get(at, &path, &APP).await;
        events(&rest.body)
    };
    let opened = async {
        upstream.open_gate();
    };
    let (rest, ()) = tokio::join!(rest, opened);
    assert_eq!(rest[0].0, 2);
    assert_eq!(rest.last().expect("an end").1, "response.completed");
    assert_eq!(said(&ended(at, &id).await), "hello");
    assert_eq!(posted(&flyball), COST);
    assert_eq!(upstream.count(), 1);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_is_cancelled_stops_at_its_model_and_stays_cancelled() {
    let stalls = vec![stream_head(), piece(&delta("hel")), Step::Stall];
    let (upstream, flyball) = started(stalls, "").await;
    let at = flyball.at();
    let id = begun(&post(at, "/v1/responses", &APP, ASK).await);
    upstream.stalling().await;
    let path = format!("/v1/responses/{id}/cancel");
    for _ in 0..2 {
        let told = call(at, "POST", &path, "fb_app").await;
        assert_eq!(told.json()["status"], "cancelled", "{}", told.body);
    }
    upstream.peer_closed().await;
    assert_eq!(ended(at, &id).await["status"], "cancelled");
    found("it is booked", async || {
        let rows = flyball.rows().await;
        (rows.len() == 1 && rows[0]["outcome"] != "open").then_some(())
    })
    .await;
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_refusal_is_told_at_once_and_a_model_that_fails_is_told_by_the_answer() {
    let (upstream, flyball) = started(halves(), "").await;
    let at = flyball.at();
    let dear = [APP[0], ("x-flyball-max-cost-usd", "0.0000001")];
    let refused = post(at, "/v1/responses", &dear, ASK).await;
    assert_eq!(refused.status, 402, "{}", refused.body);
    assert_eq!(upstream.count(), 0);
    let broken = vec![stream_head(), piece(&delta("hel")), Step::Reset];
    upstream.next(broken);
    let answer = post(at, "/v1/responses", &APP, ASK).await;
    let id = answer.json()["id"].as_str().expect("an id").to_owned();
    let told = ended(at, &id).await;
    assert_eq!(told["status"], "failed", "{told}");
    assert!(told["error"]["message"].is_string(), "{told}");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn an_answer_is_kept_across_restarts_and_one_that_was_being_made_has_failed() {
    let (upstream, flyball) = started(chat_stream(&["hello"], 100, 20), "").await;
    let whole = begun_or_over(&post(flyball.at(), "/v1/responses", &APP, ASK).await);
    assert_eq!(said(&ended(flyball.at(), &whole).await), "hello");
    upstream.next(halves());
    let open = begun(&post(flyball.at(), "/v1/responses", &APP, ASK).await);
    upstream.reached(2).await;
    let dir = flyball.stop().await;
    let toml = std::fs::read_to_string(dir.path().join("flyball.toml")).expect("its file");
    let flyball = Flyball::start_in(dir, &toml).await;
    assert_eq!(said(&ended(flyball.at(), &whole).await), "hello");
    let told = ended(flyball.at(), &open).await;
    assert_eq!(told["status"], "failed", "{told}");
    let path = format!("/v1/responses/{open}?stream=true");
    let stream = get(flyball.at(), &path, &APP).await;
    assert!(stream.body.contains("response.failed"), "{}", stream.body);
    flyball.books_are_right().await;
}

fn begun_or_over(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn nothing_of_a_confidential_answer_is_written_anywhere() {
    let (_upstream, flyball) = started(chat_stream(&["wombat"], 100, 20), "").await;
    let local = [APP[0], ("x-flyball-privacy", "local")];
    let ask = ASK.replace("Say hello", "Say quokka");
    let id = begun_or_over(&post(flyball.at(), "/v1/responses", &local, &ask).await);
    assert_eq!(said(&ended(flyball.at(), &id).await), "wombat");
    let path = format!("/v1/responses/{id}");
    assert_eq!(get(flyball.at(), &path, &OTHER).await.status, 404);
    flyball.flush().await;
    let mut looked = 0;
    for file in std::fs::read_dir(flyball.data_dir()).expect("a folder") {
        let bytes = std::fs::read(file.expect("a file").path()).unwrap_or_default();
        looked += usize::from(!bytes.is_empty());
        for word in ["wombat", "quokka"] {
            let held = bytes
                .windows(word.len())
                .any(|part| part == word.as_bytes());
            assert!(!held, "{word}");
        }
    }
    assert!(looked > 0);
}

#[tokio::test]
async fn the_oldest_answers_of_a_key_go_when_they_are_too_many_bytes() {
    let more = "[background]\nbytes_max = 6000\n";
    let (_upstream, flyball) = started(chat_stream(&["hello"], 100, 20), more).await;
    let at = flyball.at();
    let mut ids = Vec::new();
    for _ in 0..4 {
        let id = begun_or_over(&post(at, "/v1/responses", &APP, ASK).await);
        ended(at, &id).await;
        ids.push(id);
    }
    let last = format!("/v1/responses/{}", ids[3]);
    found("the first is forgotten", async || {
        let first = format!("/v1/responses/{}", ids[0]);
        (get(at, &first, &APP).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(get(at, &last, &APP).await.status, 200);
}

/// A vendor that makes answers in the background itself.
fn vendors(upstream: &Upstream) -> String {
    format!(
        "[background]\npoll = \"50ms\"\n[[provider]]\nname = \"o\"\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:key\"\n\n[[model]]\nname = \"m-o\"\nprovider = \"o\"\ntier = \"small\"\nefforts = []\ncontext_tokens = 100000\nanswer_tokens_max = 1000\ninput_usd_per_mtok = 10\noutput_usd_per_mtok = 100\n",
        upstream.url()
    )
}

fn vendors_answer(status: &str) -> Vec<Step> {
    let usage = match status {
        "completed" => json!({"input_tokens": 100, "output_tokens": 200, "total_tokens": 300}),
        _ => Value::Null,
    };
    answer(200, &json!({"id": "resp_v", "object": "response", "status": status, "background": true, "model": "m-o", "output": [], "usage": usage, "error": null}).to_string())
}

/// 100 tokens at $10 and 200 at $100 a million.
const USED: i128 = 21_000_000_000;

#[tokio::test]
async fn a_vendors_job_is_booked_by_what_it_used_also_where_nobody_comes_back_for_it() {
    for restarts in [false, true] {
        let upstream = Upstream::start(vendors_answer("in_progress")).await;
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
        make_key(&dir, "app", Some("1"), |_| {});
        make_key(&dir, "other", Some("1"), |_| {});
        let toml = vendors(&upstream);
        let mut flyball = Flyball::start_in(dir, &toml).await;
        let ask = ASK.replace("m-small", "m-o");
        let answer = post(flyball.at(), "/v1/responses", &APP, &ask).await;
        assert_eq!(answer.json()["id"], "resp_v", "{}", answer.body);
        let others = get(flyball.at(), "/v1/responses/resp_v", &OTHER).await;
        assert_eq!(others.status, 404, "{}", others.body);
        // Somebody asks for it, who is no client.
        upstream.reached(2).await;
        if restarts {
            let dir = flyball.stop().await;
            flyball = Flyball::start_in(dir, &toml).await;
            assert_ne!(posted(&flyball), USED, "it is charged at its bound");
        }
        upstream.only(vendors_answer("completed"));
        found("it is booked", async || {
            (posted(&flyball) == USED).then_some(())
        })
        .await;
        let asked = upstream.seen();
        assert!(asked[1].head.starts_with("GET /v1/responses/resp_v "));
        assert!(asked.iter().all(|seen| !seen.head.contains("fb_app")));
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn an_answer_that_may_have_been_paid_for_is_not_asked_for_again() {
    let (upstream, flyball) = started(crate::scripted::answer(500, "{}"), "").await;
    let told = post(flyball.at(), "/v1/responses", &APP, ASK).await;
    assert!(told.status >= 500, "{}", told.body);
    assert_eq!(told.header("x-should-retry"), Some("false"));
    assert_eq!(upstream.count(), 1);
}
