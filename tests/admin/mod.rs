//! The admin listener as those meet it who ask it: the page, what it is made of, and who is refused.

mod configured;
pub mod keys;
mod sessions;

use crate::client::{Answer, get, post, raw};
use crate::flyball::{Flyball, make_key, overrides};
use crate::probing::{ASK, config, folder, unsure};
use crate::scripted::{Upstream, answer, chat};
use flyball::money::PicoUsd;
use flyball::{config as configuration, process};
use serde_json::Value;

const SIMULATED: &str = "[simulate]\nspeed = 1000\n[[cap]]\nusd = 5\nwindow = \"day\"\n";

async fn ask(flyball: &Flyball, path: &str, headers: &[(&str, &str)]) -> Answer {
    get(flyball.running.admin, path, headers).await
}

/// Asks under another name than the machine's own.
async fn ask_as(flyball: &Flyball, path: &str, host: &str, more: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n");
    raw(flyball.running.admin, head.as_bytes())
        .await
        .answer()
        .await
}

/// A flyball whose admin listener can be reached from elsewhere, with the token `open-sesame`.
async fn exposed() -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("token"), "open-sesame\n").expect("a file");
    let toml = format!("admin_token = \"file:token\"\n{SIMULATED}");
    std::fs::write(dir.path().join("flyball.toml"), toml).expect("a file");
    let mut overrides = overrides(&dir);
    overrides.admin_listen = Some("0.0.0.0:0".into());
    let config = configuration::load(&overrides).expect("a configuration");
    let started = process::start(config, overrides).await;
    let mut running = started.unwrap_or_else(|e| panic!("{}", e.detail));
    running.admin.set_ip([127, 0, 0, 1].into());
    Flyball { running, dir }
}

#[tokio::test]
async fn the_page_may_run_its_own_script_and_ask_its_own_listener_and_nothing_else() {
    let flyball = Flyball::start(SIMULATED).await;
    let page = ask(&flyball, "/", &[]).await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").expect("a policy");
    for part in [
        "default-src 'none'",
        "script-src 'sha256-",
        "style-src 'sha256-",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.body.matches("<script").count(), 1);
    assert_eq!(page.body.matches("<style").count(), 1);
    for never in [
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        " style=\"",
        "http://",
        "https://",
    ] {
        let found = page.body.matches(never).count();
        // The namespace of SVG is a name and no address.
        let names = page.body.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(found, if never == "http://" { names } else { 0 }, "{never}");
    }
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
}

#[tokio::test]
async fn other_pages_and_names_that_only_point_here_are_refused() {
    let flyball = Flyball::start(SIMULATED).await;
    let caps = "/admin/v1/caps";
    for origin in ["https://evil.example", "http://127.0.0.1:8485", "null"] {
        let got = ask(&flyball, caps, &[("origin", origin)]).await;
        assert_eq!(got.status, 403, "{origin}");
    }
    for (host, status) in [
        ("127.0.0.1:8485", 200),
        ("localhost:8485", 200),
        ("[::1]:8485", 200),
        ("host.docker.internal:8485", 200),
        ("evil.example:8485", 403),
        ("127.0.0.1.evil.example", 403),
        ("10.0.0.1", 403),
    ] {
        for path in [caps, "/metrics", "/", "/admin/v1/health"] {
            let got = ask_as(&flyball, path, host, "").await;
            assert_eq!(got.status, status, "{host} {path}: {}", got.body);
        }
    }
    let foreign = "sec-fetch-site: cross-site\r\nsec-fetch-mode: no-cors\r\n";
    assert_eq!(
        ask_as(&flyball, caps, "localhost", foreign).await.status,
        403
    );
    let link = "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\n";
    assert_eq!(ask_as(&flyball, "/", "localhost", link).await.status, 200);
}

#[tokio::test]
async fn from_elsewhere_the_page_loads_and_everything_it_shows_needs_the_token() {
    let flyball = exposed().await;
    let page = ask_as(&flyball, "/", "flyball.example", "").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("<title>flyball"));
    for path in [
        "/admin/v1/caps",
        "/admin/v1/health",
        "/admin/v1/decisions",
        "/admin/v1/requests/0199f3a2-6f5e-7c11-9d55-2a1be3c0a7d4",
        "/metrics",
    ] {
        let refused = ask_as(&flyball, path, "flyball.example", "").await;
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.body.contains("admin_token"), "{}", refused.body);
        let wrong = "authorization: Bearer open\r\n";
        let refused = ask_as(&flyball, path, "flyball.example", wrong).await;
        assert_eq!(refused.status, 401, "{path}");
        let right = "authorization: Bearer open-sesame\r\n";
        let got = ask_as(&flyball, path, "flyball.example", right).await;
        assert_ne!(got.status, 401, "{path}");
        let foreign = "authorization: Bearer open-sesame\r\norigin: https://evil.example\r\n";
        let refused = ask_as(&flyball, path, "flyball.example", foreign).await;
        assert_eq!(refused.status, 403, "{path}");
    }
    let posted = post(flyball.running.admin, "/", &[], "").await;
    assert_eq!(posted.status, 401);
}

#[tokio::test]
async fn both_attempts_of_an_escalation_are_found_by_the_requests_id_with_the_arms_that_were_weighed()
 {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    upstream.next(answer(200, &unsure()));
    upstream.next(answer(200, &chat(40, 8)));
    let flyball = Flyball::start_in(folder(), &config(&upstream)).await;
    let got = flyball.chat(&[], ASK).await;
    assert_eq!(
        got.header("x-flyball-probe"),
        Some("escalated"),
        "{}",
        got.head
    );
    let id = got.header("x-flyball-request-id").expect("an id");
    flyball.rows().await;
    let told = ask(&flyball, &format!("/admin/v1/requests/{id}"), &[])
        .await
        .json();
    let attempts = told["attempts"].as_array().expect("a list");
    assert_eq!(attempts.len(), 2, "{told}");
    assert_eq!(attempts[0]["outcome"], "escalated");
    assert_eq!(attempts[1]["escalated_from"], attempts[0]["attempt"]);
    let dollars = |of: &Value, name: &str| of[name].as_str().and_then(|t| t.parse::<f64>().ok());
    let (cost, baseline) = (dollars(&told, "cost_usd"), dollars(&told, "baseline_usd"));
    assert!(cost > Some(0.0) && baseline > Some(0.0), "{told}");
    assert_eq!(told["decision"]["rule"], "strong");
    assert!(
        !told["decision"]["considered"]
            .as_array()
            .expect("a list")
            .is_empty()
    );
    let decisions = ask(&flyball, "/admin/v1/decisions?limit=1&outcomes=true", &[])
        .await
        .json();
    assert_eq!(decisions["decisions"][0]["request"], id);
    assert_eq!(
        decisions["decisions"][0]["outcome"]["attempts"][1]["model"],
        "m-big"
    );
    assert_eq!(
        decisions["decisions"][0]["outcome"]["cost_usd"],
        told["cost_usd"]
    );
    assert!(decisions["ledger"].is_null());
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told_what_to_ask() {
    let flyball = Flyball::start(SIMULATED).await;
    for (path, status, says) in [
        ("/admin/v1/requests/7", 400, "x-flyball-request-id"),
        (
            "/admin/v1/requests/0199f3a2-6f5e-7c11-9d55-2a1be3c0a7d4",
            404,
            "the books know of no such request",
        ),
        ("/admin/v1/decisions?limit=0", 400, "from 1 to 200"),
        (
            "/admin/v1/decisions?outcome=true",
            400,
            "it may say: limit outcomes",
        ),
        ("/nothing", 404, "/admin/v1/health"),
    ] {
        let got = ask(&flyball, path, &[]).await;
        assert_eq!(got.status, status, "{path}: {}", got.body);
        assert!(got.body.contains(says), "{path}: {}", got.body);
    }
}

#[tokio::test]
async fn health_tells_what_runs_and_what_was_refused() {
    let flyball = Flyball::start(SIMULATED).await;
    let before = ask(&flyball, "/admin/v1/health", &[]).await.json();
    assert_eq!(before["simulated"], "true");
    assert_eq!(before["admits"], true);
    assert_eq!(before["version"], env!("CARGO_PKG_VERSION"));
    assert!(before["configuration"]["refused_at"].is_null());
    let file = flyball.dir.path().join("flyball.toml");
    std::fs::write(&file, format!("{SIMULATED}nothing = 1\n")).expect("a file");
    flyball.running.reload().expect_err("a mistake");
    let refused = ask(&flyball, "/admin/v1/health", &[]).await.json();
    let complaint = refused["configuration"]["complaints"][0].as_str();
    assert!(
        complaint.is_some_and(|c| c.contains("nothing")),
        "{refused}"
    );
    std::fs::write(&file, SIMULATED).expect("a file");
    flyball.running.reload().expect("no mistake");
    let after = ask(&flyball, "/admin/v1/health", &[]).await.json();
    assert!(after["configuration"]["refused_at"].is_null(), "{after}");
}

#[tokio::test]
async fn health_counts_what_providers_failed_at() {
    let upstream = Upstream::start(answer(500, "{}")).await;
    let flyball = Flyball::start(&crate::flyball::compatible(&upstream)).await;
    let got = flyball
        .chat(
            &[],
            r#"{"model":"m-small","messages":[{"role":"user","content":"Hi"}]}"#,
        )
        .await;
    assert_eq!(got.status, 500);
    let told = ask(&flyball, "/admin/v1/health", &[]).await.json();
    assert_eq!(told["providers"][0]["provider"], "up");
    assert_eq!(told["providers"][0]["errors"]["5xx"], 1, "{told}");
    assert_eq!(told["simulated"], "false");
}

#[tokio::test]
async fn the_report_and_the_forecast_tell_what_the_books_do() {
    let flyball = Flyball::start(SIMULATED).await;
    for _ in 0..3 {
        assert_eq!(flyball.chat(&[], ASK).await.status, 200);
    }
    let rows = flyball.rows().await;
    let pico = |row: &Value| row["cost_pico_usd"].as_i64();
    let cost: i64 = rows.iter().filter_map(pico).sum();
    let dollars = PicoUsd(cost.into()).usd_text();
    let report = ask(
        &flyball,
        "/admin/v1/report?by=key,model&days=1&zone=Europe/Berlin&only=key=local",
        &[],
    );
    let told = report.await.json();
    assert_eq!(told["total"]["cost_usd"], dollars, "{told}");
    assert_eq!(told["total"]["requests"], 3);
    assert_eq!(told["rows"][0]["key"], "local");
    assert_eq!(told["zone"], "Europe/Berlin");
    assert_eq!(told["simulated"], true);
    let none = ask(&flyball, "/admin/v1/report?only=key=nobody", &[]).await;
    assert_eq!(none.json()["total"]["cost_usd"], "0");
    let forecast = ask(&flyball, "/admin/v1/forecast", &[]).await.json();
    assert_eq!(forecast["spent_usd"], dollars, "{forecast}");
    assert!(
        forecast["expected_usd"].is_null() && forecast["note"].is_string(),
        "{forecast}"
    );
    flyball.running.account().await;
    let caps = ask(&flyball, "/admin/v1/caps", &[]).await.json();
    let rows_of_caps = caps["caps"].as_array().expect("a list");
    let capped = rows_of_caps.iter().find(|cap| !cap["limit"].is_null());
    let capped = capped.expect("the cap");
    assert_eq!(capped["name"], "all day");
    let exhausted = &capped["exhausted_at"];
    let now = flyball::ledger::now();
    for pace in ["1h", "6h", "3d"] {
        assert!(exhausted[pace].as_i64() > Some(now), "{pace}: {caps}");
    }
    let health = ask(&flyball, "/admin/v1/health", &[]).await.json();
    assert_eq!(health["ledger"]["attempts"], rows.len(), "{health}");
    assert!(health["ledger"]["bytes"].as_u64() > Some(0), "{health}");
    for (path, says) in [
        ("report?by=colour", "by: \"colour\" is nothing that"),
        ("report?only=team", "is not like team=research"),
        ("report?from=yesterday", "from: \"yesterday\" is no time"),
        (
            "report?from=2026-12-01&to=2026-11-01",
            "from is not before to",
        ),
        (
            "report?days=3&from=2026-11-01",
            "days goes neither with from",
        ),
        ("report?days=0", "from 1 to"),
        ("report?limit=10001", "from 1 to 10000"),
        ("report?zone=Mars", "zone: "),
        ("forecast?zone=Mars", "zone: "),
        ("forecast?by=team", "it may say: zone"),
    ] {
        let got = ask(&flyball, &format!("/admin/v1/{path}"), &[]).await;
        assert_eq!(got.status, 400, "{path}: {}", got.body);
        assert!(got.body.contains(says), "{path}: {}", got.body);
    }
}

#[tokio::test]
async fn the_owner_of_a_key_is_told_its_own_and_nothing_of_others() {
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "one", Some("2"), |key| key.team = "red".into());
    make_key(&dir, "other", Some("3"), |_| {});
    let teams = "[[team]]\nname = \"red\"\norganisation = \"house\"\n";
    let flyball = Flyball::start_in(dir, &format!("{SIMULATED}{teams}")).await;
    let (one, other) = ("fb_one", "fb_other");
    let me = async |key: &str| {
        let bearer = format!("Bearer {key}");
        get(flyball.at(), "/flyball/me", &[("authorization", &bearer)]).await
    };
    let bearer = format!("Bearer {one}");
    let got = flyball.chat(&[("authorization", &bearer)], ASK).await;
    assert_eq!(got.status, 200, "{}", got.body);
    let rows = flyball.rows().await;
    let cost: i64 = rows
        .iter()
        .filter_map(|r| r["cost_pico_usd"].as_i64())
        .sum();
    let dollars = PicoUsd(cost.into()).usd_text();
    let told = me(one).await.json();
    assert_eq!(told["key"], "one", "{told}");
    assert_eq!(told["team"], "red");
    assert_eq!(told["organisation"], "house");
    assert_eq!(told["month"]["cost_usd"], dollars, "{told}");
    assert_eq!(told["today"]["requests"], 1);
    let caps = told["caps"].as_array().expect("a list");
    assert_eq!(caps.len(), 1, "{told}");
    assert_eq!(caps[0]["limit"], "2");
    assert_eq!(caps[0]["spent"], dollars);
    let told = me(other).await.json();
    assert_eq!(told["month"]["requests"], 0, "{told}");
    assert_eq!(told["caps"][0]["limit"], "3");
    assert_eq!(told["caps"][0]["spent"], "0");
    assert_eq!(me("fb_nobody").await.status, 401);
}
