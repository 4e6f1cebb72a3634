//! Jobs in the background: reserved at their bound while they are under way, and booked by what they have used once that is told.

use crate::client::{Answer, get, post, raw};
use crate::flyball::{Flyball, make_key};
use crate::scripted::{Step, Upstream, answer, end, piece, stream_head};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ASK: &str = r#"{"model":"m-o","input":"Prove it all","background":true}"#;
const APP: [(&str, &str); 1] = [("authorization", "Bearer fb_app")];
/// What a job costs that has used 100 and 200 tokens, at $10 and $100 a million.
const USED: i64 = 21_000_000_000;

fn config(upstream: &Upstream) -> String {
    format!(
        "[[provider]]\nname = \"o\"\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:key\"\n\n[[model]]\nname = \"m-o\"\nprovider = \"o\"\ntier = \"small\"\nefforts = []\ncontext_tokens = 100000\nanswer_tokens_max = 1000\ninput_usd_per_mtok = 10\noutput_usd_per_mtok = 100\n",
        upstream.url()
    )
}

/// A response in this state.
fn response(id: &str, status: &str, usage: &Value) -> String {
    json!({"id": id, "object": "response", "status": status, "background": true, "model": "m-o", "output": [], "usage": usage, "error": null}).to_string()
}

fn used() -> Value {
    json!({"input_tokens": 100, "output_tokens": 200, "total_tokens": 300})
}

fn folder(cap: Option<&str>) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    make_key(&dir, "app", cap, |_| {});
    dir
}

async fn started(upstream: &Upstream, cap: Option<&str>) -> Flyball {
    Flyball::start_in(folder(cap), &config(upstream)).await
}

/// What is reserved and what is spent under the key's own cap of a day.
fn standing(flyball: &Flyball) -> (i128, i128) {
    let standings = flyball.running.state.ledger.standings();
    let own = standings
        .iter()
        .find(|s| s.counter.to_string() == "key=1|usd|day|UTC");
    let own = own.expect("the key's own day");
    (own.reserved, own.posted)
}

async fn cancel(flyball: &Flyball, id: &str) -> Answer {
    let call = format!(
        "POST /v1/responses/{id}/cancel HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer fb_app\r\ncontent-length: 0\r\n\r\n"
    );
    raw(flyball.at(), call.as_bytes()).await.answer().await
}

/// The rows of jobs, without those of the calls that ask for them.
async fn jobs(flyball: &Flyball) -> Vec<Value> {
    let rows = flyball.rows().await;
    rows.into_iter()
        .filter(|row| row["model"] == "m-o")
        .collect()
}

#[tokio::test]
async fn a_job_is_reserved_at_its_bound_until_its_answer_is_fetched() {
    for cap in [Some("1"), None] {
        let upstream = Upstream::start(answer(200, &response("r1", "completed", &used()))).await;
        let flyball = started(&upstream, cap).await;
        upstream.next(answer(200, &response("r1", "queued", &Value::Null)));
        let got = post(flyball.at(), "/v1/responses", &APP, ASK).await;
        assert_eq!(got.status, 200, "{}", got.body);
        let limited = upstream.seen()[0]
            .body
            .contains("\"max_output_tokens\":1000");
        assert_eq!(limited, cap.is_some(), "only a cap forces a limit");
        let (reserved, spent) = standing(&flyball);
        assert!(
            reserved >= 100_000_000_000 && spent == 0,
            "{reserved} {spent}"
        );
        upstream.next(answer(200, &response("r1", "in_progress", &Value::Null)));
        get(flyball.at(), "/v1/responses/r1", &APP).await;
        assert_eq!(standing(&flyball), (reserved, 0), "it is not over");
        get(flyball.at(), "/v1/responses/other", &APP).await;
        assert_eq!(standing(&flyball), (reserved, 0), "another one");
        get(flyball.at(), "/v1/responses/r1/input_items", &APP).await;
        assert_eq!(standing(&flyball), (reserved, 0), "not the answer");
        for _ in 0..3 {
            let got = get(flyball.at(), "/v1/responses/r1", &APP).await;
            assert!(got.body.contains("completed"), "{}", got.body);
        }
        let rows = jobs(&flyball).await;
        assert_eq!(rows.len(), 1, "{rows:#?}");
        assert_eq!(
            (
                &rows[0]["cost_pico_usd"],
                &rows[0]["basis"],
                &rows[0]["outcome"]
            ),
            (&json!(USED), &json!("reported"), &json!("ok"))
        );
        assert_eq!(standing(&flyball), (0, i128::from(USED)));
        let metrics = flyball.metrics().await;
        for (event, times) in [("begun", 1), ("settled", 1), ("at_bound", 0)] {
            let line = format!(
                "flyball_background_jobs_total{{event=\"{event}\",provider=\"o\"}} {times}"
            );
            assert!(metrics.contains(&line), "{line}: {metrics}");
        }
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn a_job_that_is_cancelled_or_fails_is_booked_by_what_it_tells_and_else_at_its_bound() {
    let failed = json!({"id": "r1", "object": "response", "status": "failed", "model": "m-o", "output": [], "usage": null, "error": {"code": "server_error", "message": "boom"}});
    for (ends, told) in [
        (response("r1", "cancelled", &used()), true),
        (response("r1", "cancelled", &Value::Null), false),
        (response("r1", "incomplete", &used()), true),
        (response("r1", "completed", &Value::Null), false),
        (failed.to_string(), false),
    ] {
        let upstream = Upstream::start(answer(200, &ends)).await;
        let flyball = started(&upstream, Some("1")).await;
        upstream.next(answer(200, &response("r1", "queued", &Value::Null)));
        post(flyball.at(), "/v1/responses", &APP, ASK).await;
        let (reserved, _) = standing(&flyball);
        for _ in 0..2 {
            assert_eq!(cancel(&flyball, "r1").await.status, 200);
        }
        let rows = jobs(&flyball).await;
        assert_eq!(rows.len(), 1, "{rows:#?}");
        let (cost, basis) = match told {
            true => (i128::from(USED), "reported"),
            false => (reserved, "bound"),
        };
        assert_eq!(rows[0]["basis"], basis, "{ends}: {}", rows[0]);
        assert_eq!(standing(&flyball), (0, cost), "{ends}");
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn a_job_is_fetched_as_a_stream_too() {
    let upstream = Upstream::start(answer(200, &response("r1", "queued", &Value::Null))).await;
    let flyball = started(&upstream, Some("1")).await;
    post(flyball.at(), "/v1/responses", &APP, ASK).await;
    let event = |kind: &str, status: &str, usage: &Value| {
        let body: Value = serde_json::from_str(&response("r1", status, usage)).expect("JSON");
        let event = json!({"type": kind, "response": body});
        piece(&format!("event: {kind}\ndata: {event}\n\n"))
    };
    let begun = event("response.in_progress", "in_progress", &Value::Null);
    upstream.next(vec![stream_head(), begun.clone(), end()]);
    let got = get(flyball.at(), "/v1/responses/r1?stream=true", &APP).await;
    assert!(got.body.contains("in_progress"), "{}", got.body);
    let (reserved, spent) = standing(&flyball);
    assert!(reserved > 0 && spent == 0, "the job goes on");
    let over = event("response.completed", "completed", &used());
    let steps: Vec<Step> = vec![stream_head(), begun, over, end()];
    upstream.next(steps);
    let got = get(
        flyball.at(),
        "/v1/responses/r1?stream=true&starting_after=1",
        &APP,
    )
    .await;
    assert!(got.body.contains("response.completed"), "{}", got.body);
    let rows = flyball.rows().await;
    assert!(rows.iter().all(|row| row["outcome"] == "ok"), "{rows:#?}");
    assert_eq!(standing(&flyball), (0, i128::from(USED)));
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_job_that_nobody_fetches_before_flyball_ends_is_charged_at_its_bound_until_its_end_is_heard_of()
 {
    let upstream = Upstream::start(answer(200, &response("r1", "in_progress", &Value::Null))).await;
    let flyball = started(&upstream, Some("1")).await;
    post(flyball.at(), "/v1/responses", &APP, ASK).await;
    let (reserved, _) = standing(&flyball);
    let dir = flyball.stop().await;
    let flyball = Flyball::start_in(dir, &config(&upstream)).await;
    assert_eq!(standing(&flyball), (0, reserved));
    let rows = jobs(&flyball).await;
    let told = (rows.len(), &rows[0]["basis"], &rows[0]["outcome"]);
    // It was closed before flyball ended, and not found open by the next one.
    assert_eq!(told, (1, &json!("bound"), &json!("ok")));
    let got = get(flyball.at(), "/v1/responses/r1", &APP).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(standing(&flyball), (0, reserved));
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_job_that_nobody_fetches_within_a_day_is_charged_at_its_bound() {
    let upstream = Upstream::start(answer(200, &response("r1", "queued", &Value::Null))).await;
    let flyball = started(&upstream, Some("1")).await;
    post(flyball.at(), "/v1/responses", &APP, ASK).await;
    let (reserved, _) = standing(&flyball);
    let (jobs_open, now) = (&flyball.running.state.jobs, Instant::now());
    jobs_open.tidy(now + Duration::from_secs(23 * 60 * 60));
    assert_eq!(standing(&flyball), (reserved, 0));
    jobs_open.tidy(now + Duration::from_secs(25 * 60 * 60));
    let rows = jobs(&flyball).await;
    assert_eq!((rows.len(), &rows[0]["basis"]), (1, &json!("bound")));
    assert_eq!(standing(&flyball), (0, reserved));
    // It is not booked once more when it is fetched after all.
    upstream.next(answer(200, &response("r1", "completed", &used())));
    get(flyball.at(), "/v1/responses/r1", &APP).await;
    assert_eq!(standing(&flyball), (0, reserved));
    let metrics = flyball.metrics().await;
    let line = "flyball_background_jobs_total{event=\"at_bound\",provider=\"o\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn open_jobs_take_room_under_a_cap_and_give_it_back() {
    let upstream = Upstream::start(answer(200, &response("r1", "queued", &Value::Null))).await;
    let flyball = started(&upstream, Some("0.11")).await;
    let first = post(flyball.at(), "/v1/responses", &APP, ASK).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let full = post(flyball.at(), "/v1/responses", &APP, ASK).await;
    assert_eq!(full.status, 402, "{}", full.body);
    upstream.next(answer(200, &response("r1", "completed", &used())));
    get(flyball.at(), "/v1/responses/r1", &APP).await;
    assert_eq!(standing(&flyball), (0, i128::from(USED)));
    let again = post(flyball.at(), "/v1/responses", &APP, ASK).await;
    assert_eq!(again.status, 200, "{}", again.body);
    let (reserved, spent) = standing(&flyball);
    assert!(reserved > 0 && reserved + spent <= 110_000_000_000);
    upstream.next(answer(200, &response("r1", "completed", &used())));
    get(flyball.at(), "/v1/responses/r1", &APP).await;
    flyball.books_are_right().await;
}

#[tokio::test]
async fn many_jobs_and_many_who_ask_for_them_are_booked_once_each() {
    let upstream = Upstream::start(answer(200, &response("r0", "completed", &used()))).await;
    let flyball = started(&upstream, Some("50")).await;
    let at = flyball.at();
    for n in 0..30 {
        upstream.next(answer(
            200,
            &response(&format!("r{n}"), "queued", &Value::Null),
        ));
        post(at, "/v1/responses", &APP, ASK).await;
    }
    // Whose answer it is says the path alone.
    let polls = (0..120).map(|n| async move {
        let path = format!("/v1/responses/r{}", n % 30);
        get(at, &path, &APP).await.status
    });
    let statuses = futures_util::future::join_all(polls).await;
    assert!(statuses.iter().all(|status| *status == 200));
    let rows = jobs(&flyball).await;
    assert_eq!(rows.len(), 30);
    assert!(
        rows.iter().all(|row| row["cost_pico_usd"] == USED),
        "{rows:#?}"
    );
    assert_eq!(standing(&flyball), (0, 30 * i128::from(USED)));
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_key_that_may_use_some_models_only_fetches_its_own_job() {
    let upstream = Upstream::start(answer(200, &response("r1", "completed", &used()))).await;
    let dir = folder(None);
    make_key(&dir, "some", None, |key| key.models = vec!["m-*".into()]);
    let flyball = Flyball::start_in(dir, &config(&upstream)).await;
    let some = [("authorization", "Bearer fb_some")];
    upstream.next(answer(200, &response("r1", "queued", &Value::Null)));
    assert_eq!(
        post(flyball.at(), "/v1/responses", &some, ASK).await.status,
        200
    );
    let got = get(flyball.at(), "/v1/responses/r1", &some).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(jobs(&flyball).await[0]["cost_pico_usd"], USED);
    flyball.books_are_right().await;
}
