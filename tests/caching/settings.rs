//! How the cache is set up: by a section, by rules, and anew on a reload.

use super::{ON, USE, body, config, good, had, start};
use crate::flyball::Flyball;
use crate::metrics::{samples, sum};
use crate::scripted::{Upstream, answer, chat};
use crate::until::until_asked;
use serde_json::json;

#[tokio::test]
async fn a_wrong_setting_is_told_with_its_file_its_line_and_what_to_write() {
    let upstream = Upstream::start(good(false)).await;
    let lines = config(&upstream, "").lines().count() + 1;
    for (written, told) in [
        ("ttl = 5", "ttl must be a time above 0 like \"150ms\""),
        ("ttl = \"0s\"", "ttl must be a time above 0"),
        (
            "share = \"everybody\"",
            "unknown share \"everybody\"; use one of: key, team, all",
        ),
        ("share = \"teams\"", "did you mean \"team\"?"),
        ("bytes_max = \"64MiB\"", "bytes_max must be a whole number"),
        (
            "bytes_max = -1",
            "bytes_max must be a whole number, 0 or more",
        ),
        (
            "answer_bytes_max = 0",
            "answer_bytes_max must be at least 1",
        ),
        (
            "bytes_max = 20000\nanswer_bytes_max = 5001",
            "write 5000 at most, or make bytes_max larger",
        ),
        ("bytes_max = 3", "write 16384 or more, or 0 for no cache"),
        ("sise = 4", "unknown key \"sise\""),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let toml = config(&upstream, &format!("[response_cache]\n{written}\n"));
        let Err(why) = Flyball::try_start(dir, &toml).await else {
            panic!("{written} is taken");
        };
        let line = lines + written.lines().count();
        assert!(
            why.contains("[response_cache]") || why.contains("response_cache"),
            "{why}"
        );
        assert!(why.contains(told), "{written}: {why}");
        assert!(
            why.contains(&format!("flyball.toml:{line}:")),
            "{written}: {why} {line}"
        );
    }
}

#[tokio::test]
async fn a_rule_asks_for_it_and_the_request_has_the_last_word() {
    let upstream = Upstream::start(good(false)).await;
    let dir = tempfile::tempdir().expect("a folder");
    let rules = dir.path().join("rules");
    std::fs::create_dir(&rules).expect("a folder");
    std::fs::write(
        rules.join("1.toml"),
        "[[rule]]\nname = \"evals\"\nwhy = \"They are run again and again.\"\nwhen = { tag = { job = \"eval\" } }\nroute = { cache = true }\n",
    )
    .expect("a file");
    let flyball = Flyball::start_in(dir, &config(&upstream, ON)).await;
    let auto = body(false).replace("m-small", "auto");
    let eval = ("x-flyball-tags", "job=eval");
    for (headers, body, result) in [
        (&[eval][..], &auto, "miss"),
        (&[eval], &auto, "hit"),
        (&[eval, ("x-flyball-cache", "off")], &auto, "nothing"),
        (&[eval, ("x-flyball-cache", "refresh")], &auto, "refresh"),
        (&[("x-flyball-tags", "job=chat")], &auto, "nothing"),
        // It is routed by no rule.
        (&[eval], &body(false), "nothing"),
        (&[eval, ("x-flyball-privacy", "local")], &auto, "nothing"),
    ] {
        let got = flyball.chat(headers, body).await;
        assert_eq!(had(&got), result, "{headers:?} {}", got.body);
    }
    let rows = flyball.rows().await;
    let hit = rows.iter().find(|row| row["cause"] == "response_cache");
    assert_eq!(hit.expect("a hit")["rule"], "evals");
}

#[tokio::test]
async fn a_rule_that_asks_for_a_cache_that_is_not_there_is_told() {
    let upstream = Upstream::start(good(false)).await;
    let dir = tempfile::tempdir().expect("a folder");
    let rules = dir.path().join("rules");
    std::fs::create_dir(&rules).expect("a folder");
    let rule = "[[rule]]\nname = \"a\"\nwhy = \"w\"\nroute = { cache = true }\n";
    std::fs::write(rules.join("1.toml"), rule).expect("a file");
    std::fs::write(dir.path().join("flyball.toml"), config(&upstream, "")).expect("a file");
    let read = flyball::config::load(&crate::flyball::overrides(&dir)).expect("no mistake");
    let told = read.warnings.join("\n");
    assert!(
        told.contains("1.toml:1: rule \"a\"") && told.contains("[response_cache]"),
        "{told}"
    );
}

#[tokio::test]
async fn an_answer_is_given_no_longer_than_its_time() {
    let upstream = Upstream::start(good(false)).await;
    let flyball = start(&upstream, &format!("{ON}ttl = \"1s\"\n")).await;
    assert_eq!(had(&flyball.chat(&[USE], &body(false)).await), "miss");
    until_asked("the answer is too old", async || {
        had(&flyball.chat(&[USE], &body(false)).await) == "miss"
    })
    .await;
    assert!(upstream.count() >= 2);
}

#[tokio::test]
async fn no_more_is_kept_than_there_is_room_for() {
    let long = chat(10, 5).replace("hi there", &"x".repeat(5_000));
    let upstream = Upstream::start(answer(200, &long)).await;
    let flyball = start(
        &upstream,
        &format!("{ON}bytes_max = 40000\nanswer_bytes_max = 8000\n"),
    )
    .await;
    for n in 0..12 {
        let body = json!({"model": "m-small", "messages": [{"role": "user", "content": format!("River {n}?")}]});
        let got = flyball.chat(&[USE], &body.to_string()).await;
        assert_eq!((got.status, had(&got)), (200, "miss"));
        let cache = flyball.running.state.response_cache.load();
        let figures = cache.as_ref().expect("a cache").figures();
        assert!(figures.bytes <= 40_000, "{figures:?}");
    }
    flyball.running.account().await;
    let metrics = samples(&flyball.metrics().await);
    assert!(sum(&metrics, "flyball_response_cache_bytes", &[]) <= 40_000.0);
    let entries = sum(&metrics, "flyball_response_cache_entries", &[]);
    assert!((4.0..=6.0).contains(&entries), "{entries}");
}

#[tokio::test]
async fn what_had_to_go_is_counted() {
    let long = chat(10, 5).replace("hi there", &"x".repeat(5_000));
    let upstream = Upstream::start(answer(200, &long)).await;
    let flyball = start(
        &upstream,
        &format!("{ON}bytes_max = 40000\nanswer_bytes_max = 8000\n"),
    )
    .await;
    for n in 0..12 {
        let body = json!({"model": "m-small", "messages": [{"role": "user", "content": format!("River {n}?")}]});
        assert_eq!(had(&flyball.chat(&[USE], &body.to_string()).await), "miss");
    }
    until_asked("it is counted", async || {
        flyball.running.account().await;
        let metrics = samples(&flyball.metrics().await);
        let gone = sum(&metrics, "flyball_response_cache_evictions_total", &[]);
        let kept = sum(&metrics, "flyball_response_cache_entries", &[]);
        gone + kept > 11.5
    })
    .await;
}

#[tokio::test]
async fn a_reload_sets_it_up_anew_and_keeps_it_where_nothing_of_it_changes() {
    let upstream = Upstream::start(good(false)).await;
    let flyball = start(&upstream, "").await;
    let ask = async || had(&flyball.chat(&[USE], &body(false)).await).to_owned();
    let reload = |cache: &str| {
        let toml = config(&upstream, cache);
        std::fs::write(flyball.dir.path().join("flyball.toml"), toml).expect("a file");
        flyball.running.reload().expect("a good file");
    };
    assert_eq!(ask().await, "bypass");
    reload(ON);
    assert_eq!([ask().await, ask().await], ["miss", "hit"]);
    reload(&format!("{ON}[limits]\nidle = \"9m\"\n"));
    assert_eq!(ask().await, "hit", "what is kept stays");
    reload(&format!("{ON}ttl = \"1h\"\n"));
    assert_eq!([ask().await, ask().await], ["miss", "hit"]);
    reload("");
    assert_eq!(ask().await, "bypass");
    flyball.running.account().await;
    let metrics = samples(&flyball.metrics().await);
    assert!(sum(&metrics, "flyball_response_cache_bytes", &[]) < 0.5);
}
