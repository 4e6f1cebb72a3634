//! The cheap model is asked first, its answer is looked at, and the dearer one is asked where that speaks against it.

mod day;
mod exploring;
pub mod faults;
mod forms;
mod holding;

use crate::client::post;
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Step, Upstream, answer, chat, end, piece, stream_head};
use crate::until::until;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const ASK: &str = r#"{"model":"auto","messages":[{"role":"user","content":"Which river flows through the capital of Moldova?"}]}"#;

/// Two models of one provider; the small one tells how likely its tokens are, and is asked first wherever that pays.
pub fn config(upstream: &Upstream) -> String {
    let models = compatible(upstream)
        .replacen("efforts = []", "efforts = []\nlogprobs = true", 1)
        .replace("input_usd_per_mtok = 10\n", "input_usd_per_mtok = 100\n")
        .replace(
            "output_usd_per_mtok = 100\n",
            "output_usd_per_mtok = 1000\n",
        );
    format!("probe = \"pays\"\n{models}")
}

/// A folder with a rule that sends everything to the big model.
pub fn folder() -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let rule = "[[rule]]\nname = \"strong\"\nwhy = \"A test.\"\nroute = { tier = \"reasoning\", effort = \"low\" }\n";
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    std::fs::write(dir.path().join("rules/strong.toml"), rule).expect("a file");
    dir
}

/// A chat answer of these words, each with this log-probability.
fn likely(words: &[&str], logprob: f64) -> String {
    let mut body: Value = serde_json::from_str(&chat(40, 8)).expect("JSON");
    let tokens: Vec<Value> = words
        .iter()
        .map(|word| json!({"token": word, "logprob": logprob, "bytes": null, "top_logprobs": []}))
        .collect();
    body["choices"][0]["message"]["content"] = words.concat().into();
    body["choices"][0]["logprobs"] = json!({"content": tokens, "refusal": null});
    body.to_string()
}

fn sure() -> String {
    likely(&["The ", "Byk"], -0.001)
}

pub fn unsure() -> String {
    likely(&["The ", "Prut"], -1.6)
}

/// One event of a stream: a word with its log-probability.
fn token(word: &str, logprob: f64) -> Step {
    let logprobs = json!({"content": [{"token": word, "logprob": logprob, "bytes": null, "top_logprobs": []}]});
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": word}, "logprobs": logprobs, "finish_reason": null}]});
    piece(&format!("data: {chunk}\n\n"))
}

fn stream_of(words: &[(&str, f64)]) -> Vec<Step> {
    let mut steps = vec![stream_head()];
    steps.extend(words.iter().map(|(word, logprob)| token(word, *logprob)));
    steps.extend(crate::scripted::finish(40, 8).iter().map(|e| piece(e)));
    steps.push(end());
    steps
}

fn streamed() -> String {
    ASK.replacen('{', r#"{"stream":true,"#, 1)
}

fn models(upstream: &Upstream) -> Vec<String> {
    let model = |seen: crate::scripted::Seen| {
        let body: Value = serde_json::from_str(&seen.body).expect("JSON");
        body["model"].as_str().expect("a name").to_owned()
    };
    upstream.seen().into_iter().map(model).collect()
}

async fn started(first: Vec<Step>, then: Vec<Step>) -> (Upstream, Flyball) {
    let upstream = Upstream::start(then).await;
    upstream.next(first);
    let flyball = Flyball::start_in(folder(), &config(&upstream)).await;
    (upstream, flyball)
}

#[tokio::test]
async fn a_sure_answer_of_the_cheap_model_stands_and_the_client_sees_nothing_of_the_probe() {
    let (upstream, flyball) = started(answer(200, &sure()), answer(500, "{}")).await;
    let got = flyball.chat(&[], ASK).await;
    assert_eq!(
        (got.status, models(&upstream)),
        (200, vec!["m-small".to_owned()]),
        "{}",
        got.body
    );
    assert!(upstream.seen()[0].body.contains("\"logprobs\":true"));
    let told = got.json();
    assert_eq!(told["choices"][0]["message"]["content"], "The Byk");
    assert_eq!(told["choices"][0]["logprobs"], Value::Null);
    assert_eq!(got.header("x-flyball-probe"), Some("stands"));
    assert_eq!(got.header("x-flyball-evidence"), Some("answer 0.998002"));
    assert_eq!(got.header("x-flyball-model"), Some("m-small"));
    assert!(got.header("x-flyball-cost-usd").is_some());
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(
        (&rows[0]["outcome"], &rows[0]["evidence"]),
        (&json!("ok"), &json!("answer"))
    );
    assert_eq!(rows[0]["evidence_probability"], 0.998_002);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn an_unsure_answer_is_gone_on_from_and_both_attempts_are_told() {
    let (upstream, flyball) = started(answer(200, &unsure()), answer(200, &chat(40, 8))).await;
    let got = flyball.chat(&[], ASK).await;
    assert_eq!(models(&upstream), ["m-small", "m-big"], "{}", got.body);
    assert!(!upstream.seen()[1].body.contains("logprobs"));
    assert_eq!(got.header("x-flyball-probe"), Some("escalated"));
    assert_eq!(got.header("x-flyball-escalated-from"), Some("m-small@none"));
    assert_eq!(got.header("x-flyball-model"), Some("m-big"));
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 2, "{rows:#?}");
    assert_eq!(rows[0]["outcome"], "escalated");
    assert_eq!(
        (&rows[0]["basis"], &rows[0]["baseline_pico_usd"]),
        (&json!("reported"), &json!(0))
    );
    assert!(
        flyball
            .metrics()
            .await
            .contains("flyball_losses_usd_total{cause=\"escalated\"} 0.00012"),
        "all of the first attempt is lost"
    );
    assert!(
        rows[0]["cost_pico_usd"].as_i64() > Some(0),
        "it is paid, for nothing"
    );
    assert_eq!(rows[1]["escalated_from"], rows[0]["attempt"]);
    assert_eq!(rows[1]["outcome"], "ok");
    let metrics = flyball.metrics().await;
    assert!(
        metrics.contains("flyball_probes_total{model=\"m-small\",outcome=\"escalated\"} 1"),
        "{metrics}"
    );
    let bought = "flyball_probe_usd_total{model=\"m-small\",part=\"escalated\"} 0.00012";
    assert!(metrics.contains(bought), "{metrics}");
    for (served, requests) in [("m-small", 0), ("m-big", 1)] {
        let told =
            format!("flyball_served_total{{asked=\"auto\",served=\"{served}\"}} {requests}\n");
        assert!(
            metrics.contains(&told),
            "one request, one answer: {metrics}"
        );
    }
    flyball.books_are_right().await;
}

#[tokio::test]
async fn what_is_plainly_wrong_with_an_answer_speaks_against_it() {
    let call = |arguments: &str| {
        let mut body: Value = serde_json::from_str(&sure()).expect("JSON");
        body["choices"][0]["message"]["content"] = Value::Null;
        body["choices"][0]["message"]["tool_calls"] = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}]);
        body["choices"][0]["finish_reason"] = "tool_calls".into();
        body.to_string()
    };
    for (small, probe) in [
        (likely(&[""], -0.001), "escalated"),
        (likely(&["again and again. "; 12], -0.001), "escalated"),
        (call("{\"a\":"), "escalated"),
        (call("{\"a\":1}"), "stands"),
    ] {
        let (_upstream, flyball) = started(answer(200, &small), answer(200, &chat(40, 8))).await;
        let got = flyball.chat(&[], ASK).await;
        assert_eq!(got.header("x-flyball-probe"), Some(probe), "{small}");
    }
}

#[tokio::test]
async fn the_small_answer_is_delivered_where_the_better_arm_fails() {
    for stream in [false, true] {
        let first = match stream {
            false => answer(200, &unsure()),
            true => stream_of(&[("The ", -1.6), ("Prut", -1.6)]),
        };
        let (upstream, flyball) =
            started(first, answer(503, r#"{"error":{"message":"busy"}}"#)).await;
        let ask = if stream { streamed() } else { ASK.to_owned() };
        let got = flyball.chat(&[], &ask).await;
        assert_eq!(models(&upstream), ["m-small", "m-big"]);
        assert_eq!(
            (got.status, got.header("x-flyball-probe")),
            (200, Some("strong_failed")),
            "{}",
            got.body
        );
        assert!(
            got.body.contains("Prut") && !got.body.contains("-1.6"),
            "{}",
            got.body
        );
        let rows = flyball.rows().await;
        assert_eq!(
            rows.iter().filter(|row| row["outcome"] == "ok").count(),
            1,
            "{rows:#?}"
        );
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn a_better_arm_that_comes_back_is_tried_by_one_of_those_that_have_looked_first() {
    let mut looked = vec![Step::Gate];
    looked.extend(answer(200, &unsure()));
    let upstream = Upstream::start(looked).await;
    upstream.answers("m-big", vec![Step::Stall]);
    let flyball = Flyball::start_in(folder(), &config(&upstream)).await;
    for _ in 0..3 {
        upstream.next(answer(500, "{}"));
        let got = flyball.chat(&[], &ASK.replace("auto", "m-big")).await;
        assert_eq!(got.status, 500, "{}", got.body);
    }
    let health = &flyball.running.state.channels.health;
    health.pretend_to_wait(std::time::Duration::from_secs(2));
    let at = flyball.at();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..2 {
        asking.spawn(async move { post(at, "/v1/chat/completions", &[], ASK).await });
    }
    upstream.reached(5).await;
    assert_eq!(models(&upstream)[3..], ["m-small", "m-small"]);
    upstream.open_gate();
    let tries = || models(&upstream).iter().filter(|m| *m == "m-big").count() - 3;
    let got = tokio::select! {
        got = asking.join_next() => got.expect("one of them").expect("no panic"),
        () = until("both of them try it", || tries() > 1) => panic!("both of them try it"),
    };
    assert_eq!(got.header("x-flyball-probe"), Some("strong_failed"));
    assert!(got.body.contains("Prut"), "{}", got.body);
    until("the other one tries it", || tries() == 1).await;
}

#[tokio::test]
async fn a_client_that_asks_for_probabilities_gets_them() {
    let (_upstream, flyball) = started(answer(200, &sure()), answer(500, "{}")).await;
    let got = flyball
        .chat(&[], &ASK.replacen('{', r#"{"logprobs":true,"#, 1))
        .await;
    assert_eq!(got.header("x-flyball-probe"), Some("stands"));
    assert_eq!(
        got.json()["choices"][0]["logprobs"]["content"][0]["token"],
        "The "
    );
}

#[tokio::test]
async fn a_sure_stream_is_released_and_an_unsure_one_is_replaced() {
    let sure = stream_of(&[("The ", -0.001), ("Byk", -0.001)]);
    let (upstream, flyball) = started(sure, answer(500, "{}")).await;
    let got = flyball.chat(&[], &streamed()).await;
    assert_eq!(models(&upstream), ["m-small"]);
    assert_eq!(got.header("x-flyball-probe"), Some("stands"));
    assert!(
        got.body.contains("Byk") && got.body.contains("[DONE]"),
        "{}",
        got.body
    );
    assert!(!got.body.contains("\"logprob\""), "{}", got.body);

    let unsure = stream_of(&[("The ", -1.6), ("Prut", -1.6)]);
    let better = stream_of(&[("The Byk", -0.1)]);
    let (upstream, flyball) = started(unsure, better).await;
    let got = flyball.chat(&[], &streamed()).await;
    assert_eq!(models(&upstream), ["m-small", "m-big"]);
    assert_eq!(got.header("x-flyball-probe"), Some("escalated"));
    assert!(
        got.body.contains("The Byk") && !got.body.contains("Prut"),
        "{}",
        got.body
    );
    let rows = flyball.rows().await;
    assert_eq!(rows[0]["outcome"], "escalated", "{rows:#?}");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_long_stream_is_released_when_enough_of_it_is_here() {
    let mut steps = vec![stream_head()];
    steps.extend((0..30).map(|n| token(&format!("word {n}, "), -0.001)));
    steps.push(Step::Gate);
    steps.extend(crate::scripted::finish(40, 8).iter().map(|e| piece(e)));
    steps.push(end());
    let upstream = Upstream::start(steps).await;
    let toml = format!("probe_hold = \"10m\"\n{}", config(&upstream));
    let flyball = Flyball::start_in(folder(), &toml).await;
    let mut call =
        crate::client::send(flyball.at(), "/v1/chat/completions", &[], &streamed()).await;
    // The upstream waits for the client, which must have seen something before.
    call.until("word 0").await;
    upstream.open_gate();
    let got = call.answer().await;
    assert_eq!(got.header("x-flyball-probe"), Some("stands"));
    assert!(got.body.ends_with("data: [DONE]\n\n"), "{}", got.body);
}

#[tokio::test]
async fn an_unsure_stream_is_cancelled_as_soon_as_the_better_arm_answers() {
    let mut steps = vec![stream_head()];
    steps.extend((0..30).map(|n| token(&format!("word {n}, "), -2.5)));
    steps.push(Step::Stall);
    let (upstream, flyball) = started(steps, stream_of(&[("The Byk", -0.1)])).await;
    let got = flyball.chat(&[], &streamed()).await;
    assert_eq!(got.header("x-flyball-probe"), Some("escalated"));
    upstream.peer_closed().await;
    let rows = flyball.rows().await;
    assert_eq!(rows[0]["outcome"], "escalated", "{rows:#?}");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_the_answer_is_held_back_stops_it() {
    let mut steps = vec![stream_head(), token("word ", -0.001)];
    steps.push(Step::Stall);
    let upstream = Upstream::start(steps).await;
    let toml = format!("probe_hold = \"10m\"\n{}", config(&upstream));
    let flyball = Flyball::start_in(folder(), &toml).await;
    let call = crate::client::send(flyball.at(), "/v1/chat/completions", &[], &streamed()).await;
    upstream.stalling().await;
    drop(call);
    upstream.peer_closed().await;
    let rows = flyball.rows().await;
    assert_eq!(
        (rows.len(), &rows[0]["outcome"]),
        (1, &json!("client_gone")),
        "{rows:#?}"
    );
    flyball.books_are_right().await;
}

/// A chat answer of these words that tells no probabilities.
fn plain(words: &str) -> String {
    let mut body: Value = serde_json::from_str(&chat(40, 8)).expect("JSON");
    body["choices"][0]["message"]["content"] = words.into();
    body.to_string()
}

#[tokio::test]
async fn a_model_that_refuses_to_tell_probabilities_is_asked_whether_its_answer_is_right() {
    let refused =
        r#"{"error":{"message":"logprobs is not supported","type":"invalid_request_error"}}"#;
    let (upstream, flyball) = started(answer(400, refused), answer(200, &chat(40, 8))).await;
    let got = flyball.chat(&[], ASK).await;
    assert_eq!(
        (got.status, got.header("x-flyball-model")),
        (200, Some("m-big")),
        "{}",
        got.body
    );
    assert_eq!(models(&upstream), ["m-small", "m-big"]);
    upstream.next(answer(200, &plain("The Byk")));
    upstream.next(answer(200, &plain("Yes.")));
    let got = flyball.chat(&[], ASK).await;
    assert_eq!(
        (
            got.header("x-flyball-probe"),
            got.header("x-flyball-evidence")
        ),
        (Some("stands"), Some("asked 0.950000")),
        "{}",
        got.body
    );
    assert_eq!(got.json()["choices"][0]["message"]["content"], "The Byk");
    let seen = upstream.seen();
    assert_eq!(seen.len(), 4);
    assert!(!seen[2].body.contains("logprobs"), "{}", seen[2].body);
    let asked: Value = serde_json::from_str(&seen[3].body).expect("JSON");
    assert_eq!(
        asked["messages"][1],
        json!({"role": "assistant", "content": "The Byk"})
    );
    assert!(
        asked["messages"][2]["content"]
            .as_str()
            .is_some_and(|q| q.contains("yes or no"))
    );
    let rows = flyball.rows().await;
    assert_eq!(
        rows.iter().filter(|row| row["rule"] == "check").count(),
        1,
        "{rows:#?}"
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn an_answer_that_its_own_model_takes_for_wrong_is_gone_on_from() {
    for (reply, probe) in [("No", "escalated"), ("I cannot tell.", "stands")] {
        let upstream = Upstream::start(answer(200, &plain("The better answer"))).await;
        upstream.next(answer(200, &plain("The Prut")));
        upstream.next(answer(200, &plain(reply)));
        let toml = config(&upstream).replace("\nlogprobs = true", "");
        let flyball = Flyball::start_in(folder(), &toml).await;
        let got = flyball.chat(&[], ASK).await;
        assert_eq!(got.header("x-flyball-probe"), Some(probe), "{}", got.body);
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn a_verifier_that_tells_probabilities_may_be_asked_instead() {
    let upstream = Upstream::start(answer(200, &plain("The better answer"))).await;
    upstream.next(answer(200, &plain("The Byk")));
    upstream.next(answer(200, &likely(&["Yes"], -0.01)));
    let third = "[[model]]\nname = \"m-check\"\nprovider = \"up\"\ntier = \"small\"\nefforts = []\nlogprobs = true\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 40\n";
    let toml = format!(
        "verifier = \"m-check\"\n{}{third}",
        config(&upstream).replace("\nlogprobs = true", "")
    );
    let flyball = Flyball::start_in(folder(), &toml).await;
    let got = flyball.chat(&[], ASK).await;
    assert_eq!(
        got.header("x-flyball-probe"),
        Some("stands"),
        "{}",
        got.body
    );
    assert_eq!(got.header("x-flyball-evidence"), Some("asked 0.990050"));
    assert_eq!(models(&upstream), ["m-small", "m-check"]);
}

#[tokio::test]
async fn a_stream_of_a_model_that_tells_no_probabilities_is_not_probed() {
    let upstream = Upstream::start(stream_of(&[("The Byk", -0.1)])).await;
    let toml = config(&upstream).replace("\nlogprobs = true", "");
    let flyball = Flyball::start_in(folder(), &toml).await;
    flyball.chat(&[], &streamed()).await;
    assert_eq!(models(&upstream), ["m-big"]);
}

#[tokio::test]
async fn probabilities_that_are_none_are_no_evidence_and_the_answer_stands() {
    for logprobs in [
        json!(null),
        json!({"content": [{"token": "x", "logprob": 3.5}]}),
        json!({"content": "x"}),
        json!([]),
    ] {
        let mut body: Value = serde_json::from_str(&sure()).expect("JSON");
        body["choices"][0]["logprobs"] = logprobs;
        let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
        upstream.next(answer(200, &body.to_string()));
        let toml = format!("probe_check = false\n{}", config(&upstream));
        let flyball = Flyball::start_in(folder(), &toml).await;
        let got = flyball.chat(&[], ASK).await;
        assert_eq!(
            (
                got.header("x-flyball-probe"),
                got.header("x-flyball-evidence")
            ),
            (Some("stands"), Some("silent"))
        );
        flyball.chat(&[], ASK).await;
        assert_eq!(
            models(&upstream),
            ["m-small", "m-big"],
            "what tells nothing is not probed again"
        );
    }
}

#[tokio::test]
async fn clients_of_other_dialects_see_one_clean_answer() {
    let messages = r#"{"model":"auto","max_tokens":3000,"messages":[{"role":"user","content":"Which river flows through the capital of Moldova?"}]}"#;
    let gemini = r#"{"contents":[{"role":"user","parts":[{"text":"Which river flows through the capital of Moldova?"}]}]}"#;
    for (path, body) in [
        ("/v1/messages", messages),
        ("/v1beta/models/auto:generateContent", gemini),
    ] {
        let (upstream, flyball) = started(answer(200, &sure()), answer(500, "{}")).await;
        let got = post(flyball.at(), path, &[], body).await;
        assert_eq!(
            (got.status, got.header("x-flyball-probe")),
            (200, Some("stands")),
            "{}",
            got.body
        );
        assert!(upstream.seen()[0].body.contains("\"logprobs\":true"));
        assert!(
            got.body.contains("The Byk") && !got.body.contains("ogprob"),
            "{}",
            got.body
        );
        let streams = [body.replacen('{', r#"{"stream":true,"#, 1), body.to_owned()];
        let path = path.replace(":generateContent", ":streamGenerateContent?alt=sse");
        let ask = if path.contains("v1beta") {
            &streams[1]
        } else {
            &streams[0]
        };
        upstream.next(stream_of(&[("The ", -0.001), ("Byk", -0.001)]));
        let got = post(flyball.at(), &path, &[], ask).await;
        assert_eq!(
            (got.status, got.header("x-flyball-probe")),
            (200, Some("stands")),
            "{}",
            got.body
        );
        assert!(
            got.body.contains("Byk") && !got.body.contains("ogprob"),
            "{}",
            got.body
        );
    }
}

#[tokio::test]
async fn no_probe_is_made_where_a_cap_has_no_room_for_both() {
    let (upstream, flyball) = started(answer(200, &chat(40, 8)), answer(200, &chat(40, 8))).await;
    drop(flyball);
    let dir = folder();
    // Beside the small one the big one has no room for as many answer tokens as are worth a request.
    crate::flyball::make_key(&dir, "app", Some("1.36"), |_| {});
    let flyball = Flyball::start_in(dir, &config(&upstream)).await;
    let key = [("authorization", "Bearer fb_app")];
    let got = flyball.chat(&key, ASK).await;
    assert_eq!(
        (got.status, got.header("x-flyball-probe")),
        (200, Some("no_room")),
        "{}",
        got.body
    );
    assert_eq!(models(&upstream), ["m-big"]);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn nothing_is_probed_where_nobody_asks_for_it() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let flyball = Flyball::start_in(
        folder(),
        &config(&upstream).replace("probe = \"pays\"\n", ""),
    )
    .await;
    let got = flyball.chat(&[], ASK).await;
    assert_eq!(
        (models(&upstream), got.header("x-flyball-probe")),
        (vec!["m-big".to_owned()], None)
    );
}

#[tokio::test]
async fn what_was_learned_is_there_after_a_new_start() {
    let (_upstream, flyball) = started(answer(200, &sure()), answer(200, &sure())).await;
    for _ in 0..3 {
        flyball.chat(&[], ASK).await;
    }
    let before = flyball
        .running
        .state
        .affinity
        .habits()
        .evidence()
        .learned(false);
    let toml = std::fs::read_to_string(flyball.dir.path().join("flyball.toml")).expect("a file");
    let dir = flyball.stop().await;
    let flyball = Flyball::start_in(dir, &toml).await;
    let after = flyball
        .running
        .state
        .affinity
        .habits()
        .evidence()
        .learned(false);
    assert_eq!(before.len(), 1);
    assert!((before[0].calibration.answers() - 3.0).abs() < 1e-6);
    assert_eq!(after[0].calibration, before[0].calibration);
}

#[tokio::test]
async fn an_explored_answer_stands_and_is_held_against_the_better_arms_which_is_booked_as_lost() {
    let upstream = Upstream::start(answer(200, &sure())).await;
    let toml = format!("probe_explore = 0.1\n{}", config(&upstream));
    let flyball = Flyball::start_in(folder(), &toml).await;
    for _ in 0..100 {
        let got = flyball.chat(&[], ASK).await;
        assert_eq!(
            (got.header("x-flyball-probe"), got.header("x-flyball-model")),
            (Some("stands"), Some("m-small"))
        );
    }
    let rows = flyball.rows().await;
    let explored: Vec<&Value> = rows.iter().filter(|row| row["model"] == "m-big").collect();
    assert!((1..=35).contains(&explored.len()), "{}", explored.len());
    for row in &explored {
        assert_eq!(
            (&row["outcome"], &row["baseline_pico_usd"]),
            (&json!("escalated"), &json!(0))
        );
        let mut all = rows.iter();
        let from = all.find(|from| from["attempt"] == row["escalated_from"]);
        assert_eq!(from.expect("it names one")["outcome"], "ok");
    }
    let evidence = flyball.running.state.affinity.habits().evidence();
    let labels = evidence.learned(false)[0].calibration.labels();
    assert_eq!(labels, explored.len() as u64);
    flyball.books_are_right().await;
}

#[tokio::test]
async fn the_key_that_asked_may_judge_an_answer_that_stood_and_its_last_word_is_the_label() {
    let upstream = Upstream::start(answer(200, &sure())).await;
    let dir = folder();
    for name in ["app", "other"] {
        crate::flyball::make_key(&dir, name, None, |_| {});
    }
    let flyball = Flyball::start_in(dir, &config(&upstream)).await;
    let (app, other) = (
        [("authorization", "Bearer fb_app")],
        [("authorization", "Bearer fb_other")],
    );
    let got = flyball.chat(&app, ASK).await;
    let id = got
        .header("x-flyball-request-id")
        .expect("an id")
        .to_owned();
    let path = format!("/flyball/requests/{id}/feedback");
    let labels = || {
        let evidence = flyball.running.state.affinity.habits().evidence();
        evidence.learned(false)[0].calibration.labels()
    };
    for (key, body, status, labelled) in [
        (&app, "{}", 400, 0),
        (&app, "nonsense", 400, 0),
        (&other, r#"{"good":false}"#, 404, 0),
        (&app, r#"{"good":false}"#, 200, 1),
        (&app, r#"{"good":false}"#, 200, 1),
        (&app, r#"{"good":true}"#, 200, 1),
    ] {
        let got = post(flyball.at(), &path, key, body).await;
        assert_eq!((got.status, labels()), (status, labelled), "{}", got.body);
    }
    let nobody = post(flyball.at(), &path, &[], r#"{"good":true}"#).await;
    assert_eq!(nobody.status, 401);
}
