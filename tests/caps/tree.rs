//! Caps as a tree, crossed with models, tags and sessions; keys that change while flyball runs.

use super::{KEY, body, bound_pico, capped};
use crate::client::post;
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Step, Upstream, answer, chat};
use crate::until::{until_asked, within};
use flyball::ledger::cap::Cap;
use flyball::ledger::{Settings, books};
use flyball::money::PicoUsd;
use futures_util::future::join_all;
use serde_json::json;

const BLUE: (&str, &str) = ("authorization", "Bearer fb_blue");

fn usd(pico: u64) -> String {
    PicoUsd(i128::from(pico)).usd_text()
}

fn message(got: &crate::client::Answer) -> String {
    got.json()["error"]["message"]
        .as_str()
        .expect("a message")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_cap_takes_the_place_of_another_one_of_them_always_holds() {
    let upstream = Upstream::start(answer(200, &chat(400 + 528, 100))).await;
    let dir = tempfile::tempdir().expect("a folder");
    let one = usd(bound_pico(400, 100));
    let cap = |window: &str| format!("[[cap]]\nusd = {one}\nwindow = \"{window}\"\n");
    let toml = format!("{}\n{}", compatible(&upstream), cap("week"));
    let flyball = Flyball::start_in(dir, &toml).await;
    let asked = body(400, Some(100), false);
    assert_eq!(flyball.chat(&[], &asked).await.status, 200);
    assert_eq!(flyball.chat(&[], &asked).await.status, 402);
    flyball.rows().await;
    // Somebody else writes, so that the ledger cannot add up what the new window has spent.
    let file = flyball::ledger::store::sqlite::file(&flyball.data_dir());
    let other = rusqlite::Connection::open(file).expect("the ledger");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let ledger = flyball.running.state.ledger.clone();
    let hour = Cap::parse(&format!("{one}usd/hour")).expect("a cap");
    let mut change = Box::pin(ledger.set_caps(|| vec![hour]));
    assert!(
        futures_util::poll!(&mut change).is_pending(),
        "it waits for the ledger"
    );
    for _ in 0..5 {
        assert_eq!(flyball.chat(&[], &asked).await.status, 402);
    }
    other.execute_batch("COMMIT").expect("unlocked");
    // It may have given up meanwhile, which the process tries again.
    let _ = change.await;
    assert_eq!(flyball.chat(&[], &asked).await.status, 402);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_team_and_its_organisation_have_one_room_for_all_their_keys() {
    let upstream = Upstream::start(answer(200, &chat(400 + 528, 100))).await;
    let dir = tempfile::tempdir().expect("a folder");
    for (name, team) in [("app", "red"), ("blue", "blue"), ("other", "red")] {
        make_key(&dir, name, None, |key| key.team = team.into());
    }
    let one = bound_pico(400, 100);
    let toml = format!(
        "{}\n[[team]]\nname = \"red\"\norganisation = \"acme\"\n[[team]]\nname = \"blue\"\norganisation = \"acme\"\n\
         [[cap]]\nteam = \"red\"\nusd = {}\nwindow = \"week\"\n[[cap]]\norganisation = \"acme\"\nusd = {}\nwindow = \"month\"\ntime_zone = \"Europe/Berlin\"\n",
        compatible(&upstream),
        usd(one * 2),
        usd(one * 3)
    );
    let flyball = Flyball::start_in(dir, &toml).await;
    let asked = body(400, Some(100), false);
    let other = ("authorization", "Bearer fb_other");
    for (key, status) in [
        (KEY, 200),
        (other, 200),
        (KEY, 402),
        (other, 402),
        (BLUE, 200),
        (BLUE, 402),
    ] {
        assert_eq!(flyball.chat(&[key], &asked).await.status, status, "{key:?}");
    }
    let (red, blue) = (
        flyball.chat(&[KEY], &asked).await,
        flyball.chat(&[BLUE], &asked).await,
    );
    assert!(
        message(&red).contains("week spend cap of organisation")
            || message(&red).contains("month spend cap of organisation \"acme\""),
        "{}",
        red.body
    );
    assert!(
        message(&blue).contains("organisation \"acme\"") && !message(&blue).contains('$'),
        "{}",
        blue.body
    );
    flyball.books_are_right().await;
    let row = &flyball.rows().await[0];
    assert_eq!(
        (&row["team"], &row["organisation"]),
        (&json!("red"), &json!("acme"))
    );
}

#[tokio::test]
async fn tokens_and_requests_are_capped_and_a_refusal_says_which() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", None, |key| {
        key.caps = vec![Cap::parse("2requests/total").expect("a cap")]
    });
    make_key(&dir, "blue", None, |key| {
        key.caps = vec![Cap::parse("1500tokens/day@Asia/Tokyo").expect("a cap")]
    });
    let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
    let asked = body(400, None, false);
    for status in [200, 200, 402] {
        let got = flyball.chat(&[KEY], &asked).await;
        assert_eq!(got.status, status);
        if status == 402 {
            assert!(
                message(&got).contains("total request cap of this key (2 requests)")
                    && message(&got).contains("none is left; it does not reset"),
                "{}",
                got.body
            );
        }
    }
    // Room for the input's bound and 1500 - 928 answer tokens; 15 were used, so the next has 557.
    let first = flyball.chat(&[BLUE], &asked).await;
    assert_eq!(
        (first.status, first.header("x-flyball-limit-tokens")),
        (200, Some("572"))
    );
    let second = flyball.chat(&[BLUE], &asked).await;
    assert_eq!(second.header("x-flyball-limit-tokens"), Some("557"));
    let third = flyball.chat(&[BLUE], &body(1_200, None, false)).await;
    assert!(
        message(&third).contains("1470 tokens are left") && message(&third).contains("T15:00:00Z"),
        "{}",
        third.body
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_cap_on_a_model_leaves_the_others_alone() {
    let upstream = Upstream::start(answer(200, &chat(400 + 528, 100))).await;
    let one = bound_pico(400, 100);
    let toml = format!(
        "{}\n[[cap]]\nmodel = \"m-sm*\"\nusd = {}\nwindow = \"day\"\n",
        compatible(&upstream),
        usd(one)
    );
    let flyball = Flyball::start(&toml).await;
    let asked = body(400, Some(100), false);
    assert_eq!(flyball.chat(&[], &asked).await.status, 200);
    let refused = flyball.chat(&[], &asked).await;
    assert!(
        refused.status == 402 && message(&refused).contains("on model \"m-sm*\""),
        "{}",
        refused.body
    );
    assert_eq!(
        flyball
            .chat(&[], &asked.replace("m-small", "m-big"))
            .await
            .status,
        200
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn sessions_have_a_cap_each_that_leaving_them_out_does_not_dodge() {
    let upstream = Upstream::start(answer(200, &chat(400 + 528, 100))).await;
    let one = bound_pico(400, 100);
    let toml = format!(
        "sessions_max = 2\n{}\n[[cap]]\neach = \"session\"\nusd = {}\nwindow = \"day\"\n",
        compatible(&upstream),
        usd(one)
    );
    let flyball = Flyball::start(&toml).await;
    let asked = body(400, Some(100), false);
    let session = |s: &'static str| ("x-flyball-session", s);
    assert_eq!(flyball.chat(&[session("a")], &asked).await.status, 200);
    assert_eq!(flyball.chat(&[session("a")], &asked).await.status, 402);
    assert_eq!(flyball.chat(&[], &asked).await.status, 200);
    assert_eq!(flyball.chat(&[], &asked).await.status, 402);
    let third = flyball.chat(&[session("b")], &asked).await;
    assert!(
        third.status == 402 && message(&third).contains("as many of them as it may have"),
        "{}",
        third.body
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_tag_that_a_key_demands_is_counted_and_cannot_be_left_out() {
    let upstream = Upstream::start(answer(200, &chat(400 + 528, 100))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", None, |key| {
        key.required_tags = vec![("project".into(), vec!["x".into(), "y".into()])]
    });
    make_key(&dir, "blue", None, |_| {});
    let one = bound_pico(400, 100);
    let toml = format!(
        "{}\n[[cap]]\ntag = {{ project = \"x\" }}\nusd = {}\nwindow = \"day\"\n",
        compatible(&upstream),
        usd(one)
    );
    let flyball = Flyball::start_in(dir, &toml).await;
    let asked = body(400, Some(100), false);
    let (x, y) = (
        ("x-flyball-tags", "project=x"),
        ("x-flyball-tags", "project=y"),
    );
    let missing = flyball.chat(&[KEY], &asked).await;
    assert!(
        missing.status == 400 && message(&missing).contains("project=x"),
        "{}",
        missing.body
    );
    // Another key names the tag freely: it takes nothing from that cap.
    assert_eq!(flyball.chat(&[BLUE, x], &asked).await.status, 200);
    for (tag, status) in [(x, 200), (x, 402), (y, 200), (y, 200)] {
        assert_eq!(
            flyball.chat(&[KEY, tag], &asked).await.status,
            status,
            "{tag:?}"
        );
    }
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_full_cap_may_send_to_a_local_model_instead() {
    let (cloud, local) = (
        Upstream::start(answer(200, &chat(400 + 528, 100))).await,
        Upstream::start(answer(200, &chat(10, 5))).await,
    );
    let one = bound_pico(400, 100);
    let toml = format!(
        "{}\n[[provider]]\nname = \"here\"\nkind = \"openai-compatible\"\nbase_url = \"{}\"\n[[model]]\nname = \"m-here\"\nprovider = \"here\"\ntier = \"local\"\nfree = true\nefforts = []\n\
         [[cap]]\nusd = {}\nwindow = \"day\"\nat_cap = \"local\"\n",
        compatible(&cloud).replace(
            "kind = \"openai-compatible\"",
            "kind = \"openai-compatible\"\nlocal = false"
        ),
        local.url(),
        usd(one)
    );
    let flyball = Flyball::start(&toml).await;
    let named = body(400, Some(100), false);
    assert_eq!(flyball.chat(&[], &named).await.status, 200);
    let routed = flyball.chat(&[], &named.replace("m-small", "auto")).await;
    assert_eq!(
        (routed.status, routed.header("x-flyball-model")),
        (200, Some("m-here"))
    );
    assert!(local.seen()[0].body.contains("\"model\":\"m-here\""));
    // A model that was asked for by name has no stand-in: the refusal stays.
    assert_eq!(flyball.chat(&[], &named).await.status, 402);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_rule_may_answer_to_a_cap_that_fills_up() {
    let upstream = Upstream::start(answer(200, &chat(400 + 528, 100))).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    let rules = "[[rule]]\nname = \"saving\"\nwhy = \"The cap fills up.\"\nwhen = { cap_used = \"50..\" }\nroute = { tier = \"small\", strict = true }\nexamples = []\n\
                 [[rule]]\nname = \"usual\"\nwhy = \"Usual.\"\nroute = { tier = \"reasoning\", strict = true }\nexamples = []\n";
    std::fs::write(dir.path().join("rules/a.toml"), rules).expect("a file");
    let toml = format!(
        "{}\n[[cap]]\nusd = 0.045\nwindow = \"day\"\n",
        compatible(&upstream)
    );
    let flyball = Flyball::start_in(dir, &toml).await;
    let asked = body(400, Some(100), false).replace("m-small", "auto");
    let mut rules = Vec::new();
    for _ in 0..3 {
        let got = flyball.chat(&[], &asked).await;
        rules.push(got.header("x-flyball-rule").unwrap_or("none").to_owned());
    }
    // The big model's answers cost $0.01928 each: after two the cap is 85 % full.
    assert_eq!(rules, ["usual", "usual", "saving"]);
}

#[tokio::test]
async fn a_request_that_only_reservations_block_may_wait_for_its_room() {
    let mut steps = vec![Step::Gate];
    steps.extend(answer(200, &chat(10, 5)));
    let upstream = Upstream::start(steps).await;
    let cap = usd(bound_pico(400, 500) + 4 * 60_000_000);
    let flyball = capped(&upstream, &cap, "lower_limits = false\ncap_wait = \"60s\"").await;
    let (at, asked) = (flyball.at(), body(400, Some(500), false));
    let calls = (0..4).map(|_| {
        let asked = asked.clone();
        tokio::spawn(async move { post(at, "/v1/chat/completions", &[KEY], &asked).await })
    });
    let calls: Vec<_> = calls.collect();
    upstream.reached(1).await;
    upstream.open_gate();
    for call in within("every answer", join_all(calls)).await {
        assert_eq!(
            call.expect("no panic").status,
            200,
            "room came back while it waited"
        );
    }
    flyball.books_are_right().await;
}

#[tokio::test]
async fn keys_made_rotated_and_revoked_by_another_process_count_in_a_running_flyball() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", Some("10"), |_| {});
    let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
    let asked = body(400, Some(100), false);
    let settles = async |key: (&str, &str), status: u16| {
        until_asked(&format!("{status} for {}", key.1), async || {
            flyball.chat(&[key], &asked).await.status == status
        })
        .await;
    };
    let hash = |secret: &str| flyball::caller::hash(secret.as_bytes());
    let (new, newer) = (("x-api-key", "fb_new"), ("x-api-key", "fb_newer"));
    flyball
        .books()
        .rotate_key("app", &hash("fb_new"), i64::MAX)
        .expect("rotated");
    settles(new, 200).await;
    assert_eq!(
        flyball.chat(&[KEY], &asked).await.status,
        200,
        "the old secret has its grace"
    );
    flyball
        .books()
        .rotate_key("app", &hash("fb_newer"), 0)
        .expect("rotated");
    settles(newer, 200).await;
    assert_eq!(flyball.chat(&[new], &asked).await.status, 401, "no grace");
    assert!(
        flyball.rows().await.iter().all(|r| r["key"] == "app"),
        "its books go on"
    );
    flyball.books().revoke_key("app").expect("revoked");
    settles(newer, 401).await;
}

#[tokio::test]
async fn a_cap_that_comes_later_counts_what_its_window_has_spent_before() {
    let upstream = Upstream::start(answer(200, &chat(400 + 528, 100))).await;
    let dir = tempfile::tempdir().expect("a folder");
    let one = bound_pico(400, 100);
    let (asked, file) = (body(400, Some(100), false), dir.path().join("flyball.toml"));
    let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
    for _ in 0..2 {
        assert_eq!(flyball.chat(&[], &asked).await.status, 200);
    }
    let cap = format!(
        "{}\n[[cap]]\nmodel = \"m-*\"\nusd = {}\nwindow = \"week\"\n",
        compatible(&upstream),
        usd(one * 3)
    );
    for _ in 0..2 {
        // Taken away and set again, it counts the same.
        std::fs::write(&file, &cap).expect("a file");
        flyball.running.reload().expect("a good file");
        let limit = |m: &str| m.contains("flyball_cap_limit_usd{cap=\"model m-* week\",");
        until_asked("the cap is set", async || limit(&flyball.metrics().await)).await;
        let caps = crate::client::get(flyball.running.admin, "/admin/v1/caps", &[]).await;
        let caps = caps.json();
        let rows = caps["caps"].as_array().expect("rows");
        let row = rows
            .iter()
            .find(|r| r["window"] == "week")
            .expect("the cap");
        assert_eq!(row["spent_usd"], json!(usd(one * 2)), "{caps}");
        std::fs::write(&file, compatible(&upstream)).expect("a file");
        flyball.running.reload().expect("a good file");
        until_asked("the cap is gone", async || !limit(&flyball.metrics().await)).await;
    }
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_model_that_costs_more_than_its_bound_is_booked_in_full_and_frozen_until_allowed_again() {
    let upstream = Upstream::start(answer(200, &chat(400 + 528, 1_000))).await;
    let flyball = capped(&upstream, "10", "").await;
    let asked = body(400, Some(100), false);
    assert_eq!(flyball.chat(&[KEY], &asked).await.status, 200);
    let row = &flyball.rows().await[0];
    assert_eq!(
        row["cost_pico_usd"],
        json!(bound_pico(400, 1_000)),
        "the truth, not the bound"
    );
    let frozen = flyball.chat(&[KEY], &asked).await;
    assert_eq!(
        (frozen.status, &frozen.json()["error"]["code"]),
        (402, &json!("flyball_frozen"))
    );
    assert_eq!(
        flyball
            .chat(&[KEY], &asked.replace("m-small", "m-big"))
            .await
            .status,
        200,
        "another model is not"
    );
    assert!(flyball.metrics().await.contains("flyball_overruns_total 2"));
    flyball.flush().await;
    let list = flyball.books().frozen().expect("read");
    assert!(
        list.len() == 2
            && list[0].model == "m-small"
            && list[0].why.contains("more than its bound"),
        "{list:?}"
    );
    assert!(flyball.books().unfreeze("up", "m-small").expect("written"));
    until_asked("the model is allowed again", async || {
        flyball.chat(&[KEY], &asked).await.status != 402
    })
    .await;
    flyball.books_are_right().await;
}

#[tokio::test]
async fn from_a_lease_nobody_waits_for_the_disk_and_the_cap_still_holds_to_the_last_pico() {
    for permille in [1, 100, 1_000] {
        let upstream = Upstream::start(answer(200, &chat(1_000 + 528, 100))).await;
        let cap = usd(bound_pico(1_000, 100) * 10 + 5);
        let flyball = capped(
            &upstream,
            &cap,
            &format!("lower_limits = false\nlease_permille = {permille}"),
        )
        .await;
        let (asked, at) = (body(1_000, Some(100), false), flyball.at());
        let calls = (0..60).map(|_| {
            let asked = asked.clone();
            tokio::spawn(async move { post(at, "/v1/chat/completions", &[KEY], &asked).await })
        });
        let answers = within("every answer", join_all(calls.collect::<Vec<_>>())).await;
        let fine = answers
            .into_iter()
            .filter(|a| a.as_ref().expect("no panic").status == 200)
            .count();
        assert_eq!((fine, upstream.count()), (10, 10), "{permille}");
        flyball.books_are_right().await;
        // A clean stop gives the leases back: the next start knows exactly what was spent.
        let dir = flyball.stop().await;
        let mut books =
            books::open(&Settings::embedded(&dir.path().join("data"))).expect("the ledger");
        let sums = books.sums().expect("read");
        assert!(sums.iter().all(|s| s.leased == 0), "{sums:?}");
        let spent = sums
            .iter()
            .find(|s| s.counter == "key=1|usd|day|UTC")
            .expect("a sum")
            .posted;
        assert_eq!(spent, i128::from(bound_pico(1_000, 100) * 10));
    }
}

#[tokio::test]
async fn the_operator_is_told_once_that_a_cap_fills_up_and_again_where_that_failed() {
    let (upstream, hook) = (
        Upstream::start(answer(200, &chat(400 + 528, 100))).await,
        Upstream::start(answer(200, "{}")).await,
    );
    let dir = tempfile::tempdir().expect("a folder");
    let one = bound_pico(400, 100);
    let address = dir.path().join("hook");
    std::fs::write(&address, format!("{}/caps?token=t", hook.url())).expect("a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&address, private).expect("private");
    }
    let toml = format!(
        "cap_webhook = \"file:{}\"\n{}\n[[cap]]\nusd = {}\nwindow = \"day\"\nsoft_percent = 50\n",
        address.display(),
        compatible(&upstream),
        usd(one * 4)
    );
    hook.next(answer(503, "{}"));
    let flyball = Flyball::start_in(dir, &toml).await;
    let asked = body(400, Some(100), false);
    for _ in 0..4 {
        assert_eq!(flyball.chat(&[], &asked).await.status, 200);
    }
    hook.reached(2).await;
    let seen = &hook.seen()[1];
    assert_eq!(
        hook.seen()[0].body,
        seen.body,
        "what was refused is told again"
    );
    let told: serde_json::Value = serde_json::from_str(&seen.body).expect("JSON");
    assert!(
        seen.head.starts_with("POST /caps?token=t "),
        "{}",
        seen.head
    );
    assert_eq!(
        (
            &told["event"],
            &told["percent"],
            &told["cap"],
            &told["limit"]
        ),
        (
            &json!("cap_fills_up"),
            &json!(50),
            &json!("|usd|day|UTC"),
            &json!(usd(one * 4))
        )
    );
    flyball.stop().await;
    assert_eq!(
        hook.count(),
        2,
        "once a window, and once more for the refusal"
    );
}

#[tokio::test]
async fn a_model_of_ones_own_costs_the_time_of_its_machine() {
    let mut steps = vec![Step::Gap(std::time::Duration::from_millis(50))];
    steps.extend(answer(200, &chat(10, 5)));
    let upstream = Upstream::start(steps).await;
    // $36 an hour and 1 kW at $0.36: a cent and a hundredth of a cent a second.
    let model = format!(
        "\n[[model]]\nname = \"m-here\"\nprovider = \"up\"\ntier = \"local\"\nefforts = []\nusd_per_hour = 36\nwatts = 1000\nusd_per_kwh = 0.36\n{}",
        "[limits]\ntotal = \"10s\"\nfirst_byte = \"10s\"\nconnect = \"1s\"\n"
    );
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", Some("0.5"), |_| {});
    let flyball = Flyball::start_in(dir, &format!("{}{model}", compatible(&upstream))).await;
    let asked = body(400, Some(100), false).replace("m-small", "m-here");
    assert_eq!(flyball.chat(&[KEY], &asked).await.status, 200);
    let row = &flyball.rows().await[0];
    let (cost, bound) = (
        row["cost_pico_usd"].as_i64(),
        row["bound_pico_usd"].as_i64(),
    );
    assert!(cost >= Some(505_000_000), "{row}");
    assert_eq!(
        bound,
        Some(21_001 * 10_100_000),
        "21 s, the longest that it may take"
    );
    assert!(cost <= bound, "{row}");
    flyball.books_are_right().await;
}
