//! A request that waits long is sent a second time: who is heard, what it costs, and when it is not done.

use crate::client::Answer;
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Step, Upstream, answer, chat, chat_stream, piece, stream_head};
use crate::until::until_asked;
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
    // However busy the machine is, no answer of the practice takes ten minutes.
    let not_before = |line: &str| match line.starts_with("not_before") {
        true => "not_before = \"10m\"".to_owned(),
        false => line.to_owned(),
    };
    let patient: Vec<String> = toml.lines().map(not_before).collect();
    let flyball = Flyball::start_in(dir, &patient.join("\n")).await;
    let mut own = None;
    for n in 0..30 {
        let before = slow.count();
        let got = flyball.chat(&[KEY], &conversation(n, stream)).await;
        assert_eq!(got.status, 200, "{}", got.body);
        if slow.count() > before {
            own = Some(n);
        }
    }
    reloads(&flyball, toml);
    (flyball, own.expect("some conversation is there"))
}

fn reloads(flyball: &Flyball, toml: &str) {
    std::fs::write(flyball.dir.path().join("flyball.toml"), toml).expect("a file");
    flyball.running.reload().expect("a good file");
}

/// An answer that comes once the gate is open.
fn gated() -> Vec<Step> {
    let mut steps = vec![Step::Gate];
    steps.extend(answer(200, &chat(10, 5)));
    steps
}

/// Asks, and lets the slow one answer once metrics say that a second request has come to this end.
async fn asked_until(flyball: &Flyball, slow: &Upstream, n: usize, end: &str) -> Answer {
    let (at, body) = (flyball.at(), conversation(n, false));
    let call = tokio::spawn(async move {
        crate::client::post(at, "/v1/chat/completions", &[KEY], &body).await
    });
    let counted = format!("flyball_hedges_total{{result=\"{end}\"}} 1");
    until_asked(
        "it is known what becomes of the second request",
        async || flyball.metrics().await.contains(&counted),
    )
    .await;
    slow.open_gate();
    call.await.expect("no panic")
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
    slow.next(gated());
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
    // 30 requests have had room, and one more has.
    for (cap, sent, end) in [
        ("32requests/day", 1, "won"),
        ("31requests/day", 0, "failed"),
        ("0.035usd/day", 0, "failed"),
    ] {
        let (slow, quick) = (
            Upstream::start(answer(200, &chat(10, 5))).await,
            Upstream::start(answer(200, &chat(10, 5))).await,
        );
        let toml = config(&slow, &quick, HEDGE);
        let (flyball, n) = practised(folder(&[cap]), &toml, &slow).await;
        let before = quick.count();
        let got = match sent {
            0 => {
                slow.next(gated());
                asked_until(&flyball, &slow, n, end).await
            }
            _ => {
                slow.next(hangs());
                flyball.chat(&[KEY], &conversation(n, false)).await
            }
        };
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
    slow.next(hangs());
    let got = flyball.chat(&[KEY], &conversation(n, false)).await;
    assert_eq!(got.header("x-flyball-hedge"), Some("won"), "{}", got.body);
    slow.next(gated());
    let got = asked_until(&flyball, &slow, n, "over_budget").await;
    assert_eq!((got.status, got.header("x-flyball-hedge")), (200, None));
}

#[tokio::test]
async fn a_request_that_tries_two_arms_earns_its_share_once() {
    let (slow, quick) = (
        Upstream::start(answer(200, &chat(10, 5))).await,
        Upstream::start(answer(200, &chat(10, 5))).await,
    );
    for up in [&slow, &quick] {
        let busy = r#"{"error":{"message":"busy","type":"rate_limit_error","code":"busy"}}"#;
        up.answers("m-big", answer(429, busy));
    }
    let toml = config(&slow, &quick, "");
    let flyball = Flyball::start_in(folder(&["50usd/day"]), &toml).await;
    let small = |n: usize| conversation(n, false).replace("m-big", "m-small");
    let mut own = None;
    for n in 0..30 {
        let before = slow.count();
        let got = flyball.chat(&[KEY], &small(n)).await;
        assert_eq!(got.status, 200, "{}", got.body);
        if slow.count() > before {
            own = Some(n);
        }
    }
    let own = own.expect("some conversation is there");
    // Nothing is earned yet. No answer takes ten minutes, so nothing is sent twice until the setting is another one.
    let hedge = HEDGE.replace("50ms", "10m");
    reloads(&flyball, &config(&slow, &quick, &hedge));
    let puzzle = json!({"model": "auto", "max_tokens": 3000, "messages": [{"role": "user", "content": "How many ways are there to seat eight people around a round table so that no two of three sworn enemies are neighbours? Show your steps."}]});
    // Three requests of two arms each have earned three fifths of one, and the next one a fifth.
    for _ in 0..3 {
        let health = &flyball.running.state.channels.health;
        health.pretend_to_wait(std::time::Duration::from_secs(60));
        let got = flyball.chat(&[KEY], &puzzle.to_string()).await;
        assert_eq!(got.status, 200, "{}", got.body);
        let barred = got.header("x-flyball-barred");
        assert_eq!(barred, Some("m-big: failed"), "two arms were tried");
    }
    reloads(&flyball, &config(&slow, &quick, HEDGE));
    slow.next(gated());
    let before = quick.count();
    let (at, body) = (flyball.at(), small(own));
    let call = tokio::spawn(async move {
        crate::client::post(at, "/v1/chat/completions", &[KEY], &body).await
    });
    until_asked(
        "it is known what becomes of the second request",
        async || {
            let metrics = flyball.metrics().await;
            let over = metrics.contains("flyball_hedges_total{result=\"over_budget\"} 1");
            over || quick.count() > before
        },
    )
    .await;
    slow.open_gate();
    let got = call.await.expect("no panic");
    assert_eq!((got.status, got.header("x-flyball-hedge")), (200, None));
    assert_eq!(quick.count(), before);
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
    slow.next(gated());
    quick.next(answer(500, r#"{"error":{"message":"no"}}"#));
    let got = asked_until(&flyball, &slow, n, "failed").await;
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

#[test]
fn settings_without_effect_are_told_with_line_and_advice() {
    let provider = "[[provider]]\nname = \"up\"\nkind = \"openai-compatible\"\nbase_url = \"http://127.0.0.1:9\"\n";
    let model = |name: &str| {
        format!(
            "[[model]]\nname = \"{name}\"\nprovider = \"up\"\ntier = \"small\"\nefforts = []\ncontext_tokens = 1000\nanswer_tokens_max = 100\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 1\n"
        )
    };
    let deployment = |name: &str, more: &str| {
        format!(
            "[[provider.deployment]]\nname = \"{name}\"\nbase_url = \"http://127.0.0.1:9\"\n{more}"
        )
    };
    let (one, two) = (model("m-one"), model("m-one") + &model("m-two"));
    let bare = provider.replace("base_url = \"http://127.0.0.1:9\"\n", "");
    let both = format!("{bare}{}{}", deployment("a", ""), deployment("b", ""));
    let warned = |text: &str| {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("flyball.toml");
        std::fs::write(&file, text).expect("a file");
        std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
        let overrides = Overrides {
            config: Some(file),
            ..Overrides::default()
        };
        let config = config::load(&overrides).unwrap_or_else(|all| panic!("{text}: {all:?}"));
        config.warnings
    };
    for (text, expected) in [
        (
            format!("[hedge]\nto = \"channel\"\n{provider}{two}"),
            "flyball.toml:2: [hedge]: to = \"channel\" sends nothing twice",
        ),
        (
            format!("[hedge]\nto = \"arm\"\n{both}{one}"),
            "flyball.toml:2: [hedge]: to = \"arm\" sends nothing twice",
        ),
        (
            format!("[hedge]\n{provider}{one}"),
            "flyball.toml:1: [hedge]: nothing is sent twice, since there is one model alone",
        ),
        (
            format!("[hedge]\nmodels = [\"m-*\", \"n-*\"]\n{provider}{two}"),
            "flyball.toml:2: [hedge]: the pattern \"n-*\" matches no model",
        ),
        (
            format!("[hedge]\nnot_before = \"5m\"\n[limits]\ntotal = \"2m\"\n{provider}{two}"),
            "flyball.toml:2: [hedge]: nothing is sent twice, since an answer that takes 120s",
        ),
        (
            format!(
                "{bare}{}[[provider.credential]]\nname = \"c\"\napi_key = \"file:key\"\n{one}",
                deployment("a", "api_key = \"file:key\"\n")
            ),
            "flyball.toml:8: provider \"up\": no [[provider.credential]] is used",
        ),
        (
            format!(
                "{bare}{}{one}",
                deployment("a", "models = { \"m-onne\" = \"prod\" }\n")
            ),
            "flyball.toml:7: provider \"up\": models: it has no model \"m-onne\"; did you mean \"m-one\"",
        ),
    ] {
        let told = warned(&text);
        let found = told.iter().filter(|told| told.contains(expected)).count();
        assert_eq!((found, told.len()), (1, 1), "{text}: {told:?}");
    }
    for text in [
        format!("[hedge]\n{provider}{two}"),
        format!("[hedge]\nto = \"channel\"\n{both}{one}"),
        format!("[hedge]\nto = \"arm\"\nmodels = [\"m-one\"]\n{provider}{two}"),
        // It takes every name.
        "[hedge]\nto = \"arm\"\n[[provider]]\nname = \"openai\"\nkind = \"openai\"\napi_key = \"file:key\"\n".to_owned(),
    ] {
        let told = warned(&text);
        assert!(told.iter().all(|told| !told.contains("hedge")), "{told:?}");
    }
}
