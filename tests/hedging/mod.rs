//! A request that waits long is sent a second time: who is heard, what it costs, and when it is not done.

use crate::client::Answer;
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Step, Upstream, answer, chat, chat_stream, piece, stream_head};
use flyball::config::{self, Overrides};
use flyball::ledger::cap::Cap;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Input and output tokens of every answer cost this much on `m-big`.
const COST: u64 = 10 * 10_000_000 + 5 * 100_000_000;

/// One model at two deployments; the first one is `slow`.
fn config(slow: &Upstream, quick: &Upstream, more: &str) -> String {
    let place = |name: &str, up: &Upstream| {
        format!(
            "[[provider.deployment]]\nname = \"{name}\"\nbase_url = \"{}\"\n",
            up.url()
        )
    };
    let models = compatible(slow);
    let (_, models) = models.split_once("[[model]]").expect("models");
    format!(
        "{more}\n[[provider]]\nname = \"up\"\nkind = \"openai-compatible\"\n{}{}\n[[model]]{models}",
        place("slow", slow),
        place("quick", quick),
    )
}

const HEDGE: &str =
    "[hedge]\nnot_before = \"50ms\"\nshare_percent = 20\nafter_percent = 50\nto = \"channel\"\n";

fn conversation(n: usize, stream: bool) -> String {
    json!({"model": "m-big", "max_tokens": 50, "stream": stream, "messages": [{"role": "user", "content": format!("Tell me about the town number {n}.")}]}).to_string()
}

/// A flyball that knows how long answers take, and a conversation that belongs on the slow deployment.
async fn practised(dir: TempDir, toml: &str, slow: &Upstream) -> (Flyball, usize) {
    practised_in(dir, toml, slow, false).await
}

async fn practised_in(dir: TempDir, toml: &str, slow: &Upstream, stream: bool) -> (Flyball, usize) {
    let flyball = Flyball::start_in(dir, toml).await;
    let mut own = None;
    for n in 0..30 {
        let before = slow.count();
        let got = flyball.chat(&[KEY], &conversation(n, stream)).await;
        assert_eq!(got.status, 200, "{}", got.body);
        if slow.count() > before {
            own = Some(n);
        }
    }
    (flyball, own.expect("some conversation is there"))
}

const KEY: (&str, &str) = ("authorization", "Bearer fb_app");

fn folder(caps: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", None, |key| {
        key.caps = caps
            .iter()
            .map(|cap| Cap::parse(cap).expect("a cap"))
            .collect();
    });
    dir
}

/// Nothing comes until the client is gone.
fn hangs() -> Vec<Step> {
    vec![Step::Stall]
}

async fn last_rows(flyball: &Flyball, many: usize) -> Vec<Value> {
    let rows = flyball.rows().await;
    rows[rows.len() - many..].to_vec()
}

#[tokio::test]
async fn whoever_answers_first_is_heard_and_the_other_is_cancelled_and_booked() {
    for stream in [false, true] {
        let said = match stream {
            true => chat_stream(&["hi", " there"], 10, 5),
            false => answer(200, &chat(10, 5)),
        };
        let (slow, quick) = (
            Upstream::start(said.clone()).await,
            Upstream::start(said).await,
        );
        let toml = config(&slow, &quick, HEDGE);
        let dir = folder(&["5usd/day"]);
        let (flyball, n) = practised_in(dir, &toml, &slow, stream).await;
        slow.next(hangs());
        let before = (slow.count(), quick.count());
        let got = flyball.chat(&[KEY], &conversation(n, stream)).await;
        assert_eq!(got.status, 200, "{}", got.body);
        assert_eq!(got.header("x-flyball-hedge"), Some("won"), "{stream}");
        assert_eq!(got.header("x-flyball-channel"), Some("quick"));
        assert!(got.body.contains("there") && !got.is_cut(), "{}", got.body);
        assert_eq!((slow.count(), quick.count()), (before.0 + 1, before.1 + 1));
        slow.peer_closed().await;
        let rows = last_rows(&flyball, 2).await;
        let (lost, won): (Vec<&Value>, Vec<&Value>) =
            rows.iter().partition(|row| row["outcome"] == "escalated");
        assert_eq!((lost.len(), won.len()), (1, 1), "{rows:?}");
        assert_eq!(lost[0]["cause"], "hedge", "{rows:?}");
        assert_eq!(lost[0]["baseline_pico_usd"], 0);
        assert_eq!(won[0]["outcome"], "ok");
        assert_eq!(won[0]["cost_pico_usd"], COST);
        assert_ne!(lost[0]["cost_pico_usd"], 0, "it may have been billed");
        flyball.books_are_right().await;
        let metrics = flyball.metrics().await;
        assert!(metrics.contains("flyball_hedges_total{result=\"won\"} 1"));
    }
}

#[tokio::test]
async fn a_first_request_that_answers_after_all_is_heard_and_the_second_is_cancelled() {
    let (slow, quick) = (
        Upstream::start(answer(200, &chat(10, 5))).await,
        Upstream::start(answer(200, &chat(10, 5))).await,
    );
    let toml = config(&slow, &quick, HEDGE);
    let (flyball, n) = practised(folder(&["5usd/day"]), &toml, &slow).await;
    let mut waits = vec![Step::Gate];
    waits.extend(answer(200, &chat(10, 5)));
    slow.next(waits);
    quick.next(hangs());
    let before = quick.count();
    let at = flyball.at();
    let body = conversation(n, false);
    let call = tokio::spawn(async move {
        crate::client::post(at, "/v1/chat/completions", &[KEY], &body).await
    });
    quick.reached(before + 1).await;
    slow.open_gate();
    let got: Answer = call.await.expect("no panic");
    assert_eq!(got.header("x-flyball-hedge"), Some("lost"), "{}", got.body);
    assert_eq!(got.header("x-flyball-channel"), Some("slow"));
    quick.peer_closed().await;
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_second_request_for_which_a_cap_has_no_room_is_not_sent() {
    let (slow, quick) = (
        Upstream::start(answer(200, &chat(10, 5))).await,
        Upstream::start(answer(200, &chat(10, 5))).await,
    );
    // 30 requests have had room, and one more has.
    for (cap, sent, end) in [
        ("32requests/day", 1, "won"),
        ("31requests/day", 0, "failed"),
        ("0.035usd/day", 0, "failed"),
    ] {
        let toml = config(&slow, &quick, HEDGE);
        let (flyball, n) = practised(folder(&[cap]), &toml, &slow).await;
        let before = quick.count();
        match sent {
            0 => {
                let mut waits = vec![Step::Gap(std::time::Duration::from_millis(1_500))];
                waits.extend(answer(200, &chat(10, 5)));
                slow.next(waits);
            }
            _ => slow.next(hangs()),
        }
        let got = flyball.chat(&[KEY], &conversation(n, false)).await;
        assert_eq!(got.status, 200, "{cap}: {}", got.body);
        assert_eq!(got.header("x-flyball-hedge"), Some(end), "{cap}");
        assert_eq!(quick.count() - before, sent, "{cap}");
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn no_more_than_a_share_of_requests_is_sent_twice() {
    let (slow, quick) = (
        Upstream::start(answer(200, &chat(10, 5))).await,
        Upstream::start(answer(200, &chat(10, 5))).await,
    );
    let more = HEDGE.replace("share_percent = 20", "share_percent = 5");
    let toml = config(&slow, &quick, &more);
    let (flyball, n) = practised(folder(&["50usd/day"]), &toml, &slow).await;
    // Thirty requests have earned one.
    for (turn, twice) in [(0, true), (1, false)] {
        let mut waits = vec![Step::Gap(std::time::Duration::from_millis(1_500))];
        waits.extend(answer(200, &chat(10, 5)));
        slow.next(waits);
        let got = flyball.chat(&[KEY], &conversation(n, false)).await;
        assert_eq!(got.status, 200);
        assert_eq!(got.header("x-flyball-hedge").is_some(), twice, "{turn}");
    }
    let metrics = flyball.metrics().await;
    assert!(metrics.contains("flyball_hedges_total{result=\"over_budget\"} 1"));
}

#[tokio::test]
async fn without_the_setting_and_for_other_models_nothing_is_sent_twice() {
    let (slow, quick) = (
        Upstream::start(answer(200, &chat(10, 5))).await,
        Upstream::start(answer(200, &chat(10, 5))).await,
    );
    for more in ["", &format!("{HEDGE}models = [\"gpt-*\"]\n")] {
        let toml = config(&slow, &quick, more);
        let (flyball, n) = practised(folder(&["50usd/day"]), &toml, &slow).await;
        let before = quick.count();
        let mut waits = vec![Step::Gap(std::time::Duration::from_millis(200))];
        waits.extend(answer(200, &chat(10, 5)));
        slow.next(waits);
        let got = flyball.chat(&[KEY], &conversation(n, false)).await;
        assert_eq!((got.status, got.header("x-flyball-hedge")), (200, None));
        assert_eq!(quick.count(), before);
    }
}

#[test]
fn wrong_settings_are_told_with_line_and_advice() {
    for (setting, says, advises) in [
        (
            "after_percent = 20",
            "after_percent 20 is not from 50 to 99",
            "after_percent = 95",
        ),
        (
            "not_before = \"2h\"",
            "not_before 7200s is more than 600s",
            "not_before = \"1s\"",
        ),
        (
            "share_percent = 50",
            "share_percent 50 is not from 0.1 to 20",
            "share_percent = 5",
        ),
        (
            "share_percent = 0",
            "share_percent 0 is not from 0.1 to 20",
            "leave [hedge] out",
        ),
        (
            "to = \"chanel\"",
            "unknown place \"chanel\"",
            "did you mean \"channel\"",
        ),
        (
            "afte_percent = 90",
            "unknown key \"afte_percent\"",
            "did you mean \"after_percent\"",
        ),
        ("models = [7]", "models must be a list of words", ""),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("flyball.toml");
        std::fs::write(&file, format!("[simulate]\n[hedge]\n{setting}\n")).expect("a file");
        let overrides = Overrides {
            config: Some(file),
            ..Overrides::default()
        };
        let all = config::load(&overrides).expect_err(setting);
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        let found = all.iter().any(|told| {
            told.contains("flyball.toml:3: ") && told.contains(says) && told.contains(advises)
        });
        assert!(found, "{setting}: {all:?}");
    }
}

#[tokio::test]
async fn a_stream_that_hangs_before_its_first_word_is_sent_twice_whatever_came_before_it() {
    let said = chat_stream(&["hi", " there"], 10, 5);
    let (slow, quick) = (
        Upstream::start(said.clone()).await,
        Upstream::start(said).await,
    );
    // Longer than what is looked at is held back, which once ended the race.
    let toml = config(&slow, &quick, &HEDGE.replace("50ms", "2s"));
    let (flyball, n) = practised_in(folder(&["5usd/day"]), &toml, &slow, true).await;
    let role = "data: {\"id\":\"c1\",\"model\":\"m-up\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"},\"finish_reason\":null}],\"usage\":null}\n\n";
    slow.next(vec![stream_head(), piece(role), Step::Stall]);
    let before = quick.count();
    let got = flyball.chat(&[KEY], &conversation(n, true)).await;
    assert_eq!(got.header("x-flyball-hedge"), Some("won"), "{}", got.body);
    assert_eq!(quick.count(), before + 1);
    assert!(got.body.contains("there") && !got.is_cut(), "{}", got.body);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_second_request_that_fails_leaves_the_request_to_the_first_in_the_books() {
    let (slow, quick) = (
        Upstream::start(answer(200, &chat(10, 5))).await,
        Upstream::start(answer(200, &chat(10, 5))).await,
    );
    let toml = config(&slow, &quick, HEDGE);
    let (flyball, n) = practised(folder(&["5usd/day"]), &toml, &slow).await;
    let mut waits = vec![Step::Gap(std::time::Duration::from_millis(1_500))];
    waits.extend(answer(200, &chat(10, 5)));
    slow.next(waits);
    quick.next(answer(500, r#"{"error":{"message":"no"}}"#));
    let got = flyball.chat(&[KEY], &conversation(n, false)).await;
    assert_eq!(got.status, 200, "{}", got.body);
    assert_eq!(got.header("x-flyball-hedge"), Some("failed"));
    assert_eq!(got.header("x-flyball-channel"), Some("slow"));
    let rows = last_rows(&flyball, 2).await;
    let (aside, own): (Vec<&Value>, Vec<&Value>) =
        rows.iter().partition(|row| row["cause"] == "hedge");
    assert_eq!((aside.len(), own.len()), (1, 1), "{rows:?}");
    assert_eq!(aside[0]["outcome"], "upstream_error", "{rows:?}");
    assert_eq!(own[0]["outcome"], "ok", "{rows:?}");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_its_vendor_stores_is_never_sent_twice() {
    let said = r#"{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"m-big","output":[{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"hi","annotations":[]}]}],"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":0},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":15}}"#;
    let (slow, quick) = (
        Upstream::start(answer(200, said)).await,
        Upstream::start(answer(200, said)).await,
    );
    let any = HEDGE.replace("\"channel\"", "\"any\"");
    let toml = config(&slow, &quick, &any).replace("\"openai-compatible\"", "\"openai\"");
    let toml = toml.replacen(
        "kind = \"openai\"",
        "kind = \"openai\"\napi_key = \"file:key\"",
        1,
    );
    let dir = folder(&["5usd/day"]);
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    let flyball = Flyball::start_in(dir, &toml).await;
    let ask = |n: usize| {
        json!({"model": "m-big", "max_output_tokens": 50, "input": format!("Town {n}.")})
            .to_string()
    };
    for n in 0..30 {
        let got = crate::client::post(flyball.at(), "/v1/responses", &[KEY], &ask(n)).await;
        assert_eq!(got.status, 200, "{}", got.body);
    }
    let before = slow.count() + quick.count();
    for up in [&slow, &quick] {
        let mut waits = vec![Step::Gap(std::time::Duration::from_millis(500))];
        waits.extend(answer(200, said));
        up.next(waits);
    }
    let got = crate::client::post(flyball.at(), "/v1/responses", &[KEY], &ask(31)).await;
    assert_eq!((got.status, got.header("x-flyball-hedge")), (200, None));
    assert_eq!(slow.count() + quick.count(), before + 1);
}
