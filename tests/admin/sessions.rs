//! Sessions are stopped and resumed, over HTTP and on the command line.

use super::keys::{TOKEN, call, comes_to_session, made, started};
use crate::client::get;
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Step, Upstream, answer, chat, delta, end, finish, piece, stream_head};
use crate::until::{ran, within};
use serde_json::{Value, json};
use std::process::Command;

fn ask(stream: bool) -> String {
    json!({"model": "m-small", "stream": stream, "messages": [{"role": "user", "content": "hello"}]})
        .to_string()
}

async fn status(flyball: &Flyball, secret: &str, session: &str) -> u16 {
    let bearer = format!("Bearer {secret}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-flyball-session", session),
    ];
    flyball.chat(&headers, &ask(false)).await.status
}

#[tokio::test]
async fn a_stopped_session_is_refused_from_the_answer_on_and_what_is_under_way_is_answered_to_its_end()
 {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = started(&compatible(&upstream)).await;
    let app = made(&flyball, &json!({"name": "app"})).await;
    let bot = made(&flyball, &json!({"name": "bot"})).await;
    let mut steps = vec![
        stream_head(),
        piece(&delta("one ")),
        Step::Gate,
        piece(&delta("two")),
    ];
    steps.extend(finish(10, 5).iter().map(|event| piece(event)));
    steps.push(end());
    upstream.next(steps);
    let bearer = format!("Bearer {app}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-flyball-session", "night"),
    ];
    let mut open =
        crate::client::send(flyball.at(), "/v1/chat/completions", &headers, &ask(true)).await;
    within("the first word", open.until("one ")).await;
    let got = call(&flyball, "POST", "/sessions/night/stop?key=app", "").await;
    assert_eq!(
        (got.status, got.json()["in_force"].clone()),
        (200, json!(true)),
        "{}",
        got.body
    );
    let refused = flyball.chat(&headers, &ask(false)).await;
    let metrics = flyball.metrics().await;
    let counted = "flyball_guard_stops_total{reason=\"session\"} 1";
    assert!(metrics.contains(counted), "{counted}");
    assert_eq!(
        (
            refused.status,
            refused.header("x-should-retry"),
            refused.json()["error"]["code"].clone()
        ),
        (403, Some("false"), json!("session_stopped")),
        "{}",
        refused.body
    );
    assert_eq!(status(&flyball, &app, "day").await, 200, "another session");
    assert_eq!(status(&flyball, &bot, "night").await, 200, "another key's");
    for (first, second, status) in [
        ("day", "night", 403),
        ("night", "day", 403),
        ("day", "noon", 400),
    ] {
        let both = [
            headers[0],
            ("x-flyball-session", first),
            ("x-flyball-session", second),
        ];
        let got = flyball.chat(&both, &ask(false)).await;
        assert_eq!(got.status, status, "{first}, {second}: {}", got.body);
    }
    upstream.open_gate();
    let whole = within("the open stream", open.answer()).await;
    assert!(
        whole.body.contains("two") && whole.body.contains("[DONE]"),
        "{}",
        whole.body
    );
    flyball.books_are_right().await;
    let list = get(flyball.running.admin, "/admin/v1/sessions", &[TOKEN])
        .await
        .json();
    let rows = list["sessions"].as_array().expect("a list");
    let row = |session: &str, key: &str| {
        let own = |row: &&Value| row["session"] == session && row["key"] == key;
        rows.iter().find(own).unwrap_or_else(|| panic!("{list}"))
    };
    assert_eq!(row("night", "app")["stopped"], true);
    assert_eq!(row("night", "app")["requests"], 1);
    assert_eq!(
        row("night", "app")["cost_usd"],
        row("day", "app")["cost_usd"]
    );
    assert_eq!(
        (
            &row("day", "app")["stopped"],
            &row("night", "bot")["stopped"]
        ),
        (&json!(false), &json!(false))
    );
    let got = call(&flyball, "POST", "/sessions/night/resume?key=app", "").await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(status(&flyball, &app, "night").await, 200);
    let got = call(&flyball, "POST", "/sessions/night/resume?key=app", "").await;
    assert_eq!(got.status, 404, "it is not stopped any more");
    let audit = get(flyball.running.admin, "/admin/v1/audit", &[TOKEN])
        .await
        .json();
    let entries = audit["entries"].as_array().expect("a list").iter();
    let own = entries.filter(|e| e["of"] == "night");
    let told: Vec<(Value, Value)> = own.map(|e| (e["what"].clone(), e["who"].clone())).collect();
    let alice = json!("admin API, for alice");
    assert_eq!(
        told,
        [
            (json!("session stopped"), alice.clone()),
            (json!("session resumed"), alice)
        ]
    );
}

#[tokio::test]
async fn a_session_that_the_command_line_stops_is_refused_within_a_second_and_after_a_restart() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let toml = compatible(&upstream);
    let flyball = Flyball::start(&toml).await;
    assert_eq!(status(&flyball, "any", "night").await, 200);
    let session = |flyball: &Flyball, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
        command.arg("session").args(arguments);
        command.arg("--data-dir").arg(flyball.data_dir());
        command
            .arg("--config")
            .arg(flyball.dir.path().join("flyball.toml"));
        let output = ran("flyball session", &mut command, "");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.success(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    flyball.flush().await;
    let (fine, told) = session(&flyball, &["list", "--json"]);
    assert!(
        fine && told.contains("\"session\":\"night\"") && told.contains("\"stopped\":false"),
        "{told}"
    );
    let (fine, told) = session(&flyball, &["stop", "night"]);
    assert!(fine, "{told}");
    comes_to_session(async || status(&flyball, "any", "night").await == 403).await;
    let (fine, told) = session(&flyball, &["stop", "night", "--key", "nobody"]);
    assert!(!fine && told.contains("no key named \"nobody\""), "{told}");
    let dir = flyball.stop().await;
    let flyball = Flyball::start_in(dir, &toml).await;
    assert_eq!(status(&flyball, "any", "night").await, 403);
    let (fine, told) = session(&flyball, &["resume", "night"]);
    assert!(fine, "{told}");
    comes_to_session(async || status(&flyball, "any", "night").await == 200).await;
    let (fine, told) = session(&flyball, &["resume", "night"]);
    assert!(!fine && told.contains("is not stopped"), "{told}");
}
