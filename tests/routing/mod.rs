//! Which arm answers, and with which effort.

mod aliases;
mod arms;
mod conversation;
mod deadline;
mod effort;
mod gates;
mod saved;

use crate::client::{get, post};
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Upstream, answer, chat};

fn ask(model: &str, prompt: &str) -> String {
    serde_json::json!({"model": model, "temperature": 0.5, "messages": [{"role": "user", "content": prompt}]}).to_string()
}

const PUZZLE: &str = "How many ways are there to seat eight people around a round table so that no two of three sworn enemies are neighbours? Show your steps.";
const CAPITAL: &str = "What is the capital of France?";

async fn started() -> (Upstream, Flyball) {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    (upstream, flyball)
}

#[tokio::test]
async fn easy_prompts_go_to_the_small_model_and_hard_ones_to_the_reasoning_model() {
    let (upstream, flyball) = started().await;
    for (prompt, tier, model) in [
        (CAPITAL, "small", "m-small"),
        (PUZZLE, "reasoning", "m-big"),
        ("Translate into German: Good evening.", "small", "m-small"),
    ] {
        let got = flyball.chat(&[], &ask("auto", prompt)).await;
        assert_eq!(
            (got.header("x-flyball-tier"), got.header("x-flyball-model")),
            (Some(tier), Some(model)),
            "{prompt}"
        );
    }
    let sent = &upstream.seen()[1].body;
    assert!(
        sent.contains("\"reasoning_effort\":\"") && sent.contains("\"model\":\"m-big\""),
        "{sent}"
    );
    assert!(!upstream.seen()[0].body.contains("reasoning_effort"));
}

#[tokio::test]
async fn an_intercepted_prompt_never_goes_to_an_arm_that_is_dearer_than_what_was_asked_for() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "sk-test").expect("a file");
    let toml = format!(
        "intercept = [\"gpt-*\"]\n[[provider]]\nname = \"openai\"\nkind = \"openai\"\nbase_url = \"{}\"\napi_key = \"file:{}\"\n[[model]]\nname = \"gpt-5-nano\"\ntier = \"small\"\n[[model]]\nname = \"gpt-5.2\"\ntier = \"reasoning\"\n",
        upstream.url(),
        dir.path().join("key").display()
    );
    let flyball = Flyball::start(&toml).await;
    // gpt-5.2 does not think unless it is told to, and it was not: with thinking it would be dearer. The small one may think for less.
    for (prompt, thinks) in [(CAPITAL, false), (PUZZLE, true)] {
        let got = flyball.chat(&[], &ask("gpt-5.2", prompt)).await;
        let effort = got.header("x-flyball-effort").expect("an effort");
        match got.header("x-flyball-model") {
            Some("gpt-5.2") => assert_eq!(effort, "none", "{prompt}"),
            model => assert_eq!(
                (model, effort != "minimal"),
                (Some("gpt-5-nano"), thinks),
                "{prompt}: {effort}"
            ),
        }
    }
}

#[tokio::test]
async fn variants_headers_and_objectives_move_the_choice() {
    let (_upstream, flyball) = started().await;
    for (model, headers, tier) in [
        ("auto:best", &[][..], "reasoning"),
        ("auto", &[("x-flyball-objective", "best")], "reasoning"),
        ("auto:cheap", &[], "small"),
        ("auto", &[("x-flyball-objective", "fast")], "small"),
    ] {
        let prompt = if tier == "small" { PUZZLE } else { CAPITAL };
        let got = flyball.chat(headers, &ask(model, prompt)).await;
        let expected = if model == "auto:cheap" || headers.iter().any(|(_, v)| *v == "fast") {
            "small"
        } else {
            tier
        };
        assert_eq!(
            got.header("x-flyball-tier"),
            Some(expected),
            "{model} {headers:?} {}",
            got.body
        );
    }
    let got = flyball
        .chat(&[("x-flyball-effort", "high")], &ask("auto", PUZZLE))
        .await;
    assert_eq!(got.header("x-flyball-effort"), Some("high"));
    assert_eq!(
        flyball
            .chat(&[], &ask("auto:cheapest", PUZZLE))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_private_request_never_leaves_the_local_models() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    // The scripted upstream is on loopback, which would be local if configuration did not say that it forwards elsewhere.
    let remote = compatible(&upstream).replace("base_url", "local = false\nbase_url");
    let flyball = Flyball::start(&remote).await;
    let got = flyball
        .chat(&[("x-flyball-privacy", "local")], &ask("auto", CAPITAL))
        .await;
    assert_eq!(
        (got.status, got.json()["error"]["code"].as_str()),
        (403, Some("flyball_private"))
    );
    let got = flyball
        .chat(&[("x-flyball-privacy", "local")], &ask("m-big", CAPITAL))
        .await;
    assert_eq!(got.status, 403);
    assert_eq!(upstream.count(), 0);

    let local = Upstream::start(answer(200, &chat(1, 1))).await;
    let toml = format!(
        "{}\n[[provider]]\nname = \"llama\"\nkind = \"llamacpp\"\nbase_url = \"{}\"\n[[model]]\nname = \"own\"\nprovider = \"llama\"\ntier = \"local\"\n[simulate]\n",
        remote,
        local.url()
    );
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "clinic", None, |k| k.private = true);
    let flyball = Flyball::start_in(dir, &toml).await;
    let got = flyball
        .chat(
            &[("authorization", "Bearer fb_clinic")],
            &ask("auto", PUZZLE),
        )
        .await;
    assert_eq!(
        (
            got.status,
            got.header("x-flyball-model"),
            got.header("x-flyball-rule")
        ),
        (200, Some("own"), Some("private stays local"))
    );
    assert_eq!(
        flyball
            .chat(
                &[("authorization", "Bearer fb_clinic")],
                &ask("sim-small", PUZZLE)
            )
            .await
            .status,
        403,
        "a simulated model is never local"
    );
    assert_eq!((upstream.count(), local.count()), (0, 1));
}

#[tokio::test]
async fn a_turn_keeps_its_arm_through_its_tool_calls() {
    let (_upstream, flyball) = started().await;
    let user = serde_json::json!({"role": "user", "content": PUZZLE});
    let first = serde_json::json!({"model": "auto", "messages": [user]}).to_string();
    assert_eq!(
        flyball.chat(&[], &first).await.header("x-flyball-model"),
        Some("m-big")
    );
    let call = serde_json::json!({"role": "assistant", "content": null, "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let result = serde_json::json!({"role": "tool", "tool_call_id": "t1", "content": "ok"});
    let on =
        serde_json::json!({"model": "auto:cheap", "messages": [user, call, result]}).to_string();
    let got = flyball.chat(&[], &on).await;
    assert_eq!(
        (got.header("x-flyball-model"), got.header("x-flyball-rule")),
        (Some("m-big"), Some("default"))
    );
}

#[tokio::test]
async fn a_fallback_happens_only_where_a_rule_names_it() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    let rules = dir.path().join("rules/own.toml");
    std::fs::write(&rules, "[[rule]]\nname = \"own\"\nwhy = \"a test\"\nroute = { arm = \"m-small\", fallback = [\"reasoning\"] }\n").expect("a file");
    let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
    upstream.next(answer(503, "{\"error\":{\"message\":\"busy\"}}"));
    let got = flyball.chat(&[], &ask("auto", CAPITAL)).await;
    assert_eq!(
        (got.status, got.header("x-flyball-model")),
        (200, Some("m-big"))
    );
    let rows = flyball.rows().await;
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["request"], rows[1]["request"]);
    assert_eq!(rows[0]["basis"], "void", "it said itself that it was busy");
    upstream.next(answer(400, "{\"error\":{\"message\":\"wrong\"}}"));
    assert_eq!(
        flyball.chat(&[], &ask("auto", CAPITAL)).await.status,
        400,
        "a wrong request is wrong everywhere"
    );
    flyball.books_are_right().await;
}

#[tokio::test]
async fn models_lists_the_routed_names_and_what_the_key_may_use() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", None, |k| k.models = vec!["*-small".into()]);
    let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
    let key = ("authorization", "Bearer fb_app");
    let list = get(flyball.at(), "/v1/models", &[key]).await.json();
    let names: Vec<&str> = list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|m| m["id"].as_str())
        .collect();
    assert!(
        names.contains(&"auto") && names.contains(&"m-small") && !names.contains(&"m-big"),
        "{names:?}"
    );
    assert_eq!(
        flyball
            .chat(&[key], &ask("auto", PUZZLE))
            .await
            .header("x-flyball-model"),
        Some("m-small")
    );
    assert_eq!(
        flyball.chat(&[key], &ask("m-big", PUZZLE)).await.status,
        403
    );
}

#[tokio::test]
async fn simulated_answers_are_marked_in_text_header_and_ledger() {
    let flyball = Flyball::start("[simulate]\nspeed = 100.0\n").await;
    let got = flyball.chat(&[], &ask("gpt-5", CAPITAL)).await;
    assert_eq!(
        (
            got.status,
            got.header("x-flyball-simulated"),
            got.header("x-flyball-model")
        ),
        (200, Some("1"), Some("sim-small"))
    );
    assert!(
        got.json()["choices"][0]["message"]["content"]
            .as_str()
            .is_some_and(|t| t.starts_with("[simulated]"))
    );
    assert_eq!(flyball.rows().await[0]["simulated"], true);
    let got = post(flyball.at(), "/v1/messages", &[("anthropic-version", "2023-06-01")], r#"{"model":"auto","max_tokens":500,"messages":[{"role":"user","content":"What is the capital of France?"}]}"#).await;
    assert_eq!(
        (got.status, got.header("x-flyball-simulated")),
        (200, Some("1")),
        "{}",
        got.body
    );
}

#[tokio::test]
async fn a_changed_rule_file_is_in_force_after_a_reload_and_a_broken_one_is_not() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    let rules = dir.path().join("rules/own.toml");
    let rule = |tier: &str| {
        format!("[[rule]]\nname = \"own\"\nwhy = \"a test\"\nroute = {{ tier = \"{tier}\" }}\n")
    };
    std::fs::write(&rules, rule("small")).expect("a file");
    let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
    assert_eq!(
        flyball
            .chat(&[], &ask("auto", PUZZLE))
            .await
            .header("x-flyball-tier"),
        Some("small")
    );
    std::fs::write(&rules, rule("reasoning")).expect("a file");
    flyball.running.reload().expect("a good file");
    assert_eq!(
        flyball
            .chat(&[], &ask("auto", PUZZLE))
            .await
            .header("x-flyball-tier"),
        Some("reasoning")
    );
    std::fs::write(&rules, rule("resoning")).expect("a file");
    let complaints = flyball.running.reload().expect_err("a broken file");
    assert!(
        complaints[0].to_string().contains("own.toml:4")
            && complaints[0].to_string().contains("reasoning"),
        "{}",
        complaints[0]
    );
    assert_eq!(
        flyball
            .chat(&[], &ask("auto", PUZZLE))
            .await
            .header("x-flyball-tier"),
        Some("reasoning")
    );
    assert!(
        flyball
            .metrics()
            .await
            .contains("flyball_config_reloads_total{result=\"refused\"} 1")
    );
}

#[test]
fn the_examples_of_the_starter_rules_are_caught_by_their_rules() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_flyball"));
    command
        .args(["check", "--data-dir", "/nonexistent"])
        .env_clear()
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let out = crate::until::ran("check ends", &mut command, "");
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

#[tokio::test]
async fn in_simulation_a_simulated_model_answers_to_its_own_name() {
    for intercept in ["", "intercept = [\"*\"]\n"] {
        let flyball = Flyball::start(&format!("{intercept}[simulate]\nspeed = 1000\n")).await;
        for name in ["sim-small", "sim-standard", "sim-reasoning"] {
            for (path, body) in [
                ("/v1/chat/completions", ask(name, PUZZLE)),
                ("/v1/messages", serde_json::json!({"model": name, "max_tokens": 50, "messages": [{"role": "user", "content": CAPITAL}]}).to_string()),
                ("/api/chat", serde_json::json!({"model": name, "stream": false, "messages": [{"role": "user", "content": CAPITAL}]}).to_string()),
                ("/v1/responses", serde_json::json!({"model": name, "input": CAPITAL, "stream": true}).to_string()),
            ] {
                let got = post(flyball.at(), path, &[], &body).await;
                let told = (got.header("x-flyball-model"), got.header("x-flyball-rule"));
                assert_eq!(told, (Some(name), Some("asked")), "{path} {}", got.body);
                assert_eq!(got.header("x-flyball-simulated"), Some("1"), "{path}");
                assert_eq!(got.header("x-flyball-model-unknown"), None, "{path}");
            }
        }
        flyball.stop().await;
    }
}

#[tokio::test]
async fn a_routed_name_that_nobody_has_is_told_with_what_may_have_been_meant() {
    let simulated = Flyball::start("[simulate]\nspeed = 1000\n").await;
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let toml = format!("intercept = [\"*\"]\n{}", compatible(&upstream));
    let real = Flyball::start(&toml).await;
    for flyball in [&simulated, &real] {
        for (name, told) in [
            ("gtp-4o", Some("gtp-4o; did you mean \"gpt-4o\"?")),
            ("gpt-4o", None),
            ("gpt-4o-2031-01-01", Some("gpt-4o-2031-01-01; did you mean")),
            ("auto", None),
            ("auto:cheap", None),
            (
                "zz\u{e9} \"q\" zzzzzzzzzzzzzzzz",
                Some("zz\"q\"zzzzzzzzzzzzzzzz"),
            ),
        ] {
            let got = flyball.chat(&[], &ask(name, CAPITAL)).await;
            assert_eq!(got.status, 200, "{}", got.body);
            let word = got.header("x-flyball-model-unknown");
            match told {
                Some(told) => assert!(
                    word.is_some_and(|w| w.starts_with(told)),
                    "{name}: {word:?}"
                ),
                None => assert_eq!(word, None, "{name}"),
            }
        }
        // A stream says it, too, in any dialect.
        let body = serde_json::json!({"model": "cluade-haiku-4-5", "stream": true, "max_tokens": 50, "messages": [{"role": "user", "content": CAPITAL}]});
        let got = post(flyball.at(), "/v1/messages", &[], &body.to_string()).await;
        let word = got.header("x-flyball-model-unknown");
        assert_eq!(
            word,
            Some("cluade-haiku-4-5; did you mean \"claude-haiku-4-5\"?"),
            "{}",
            got.body
        );
    }
    // A name that is passed on as it is is the provider's to know.
    let plain = Flyball::start(&compatible(&upstream)).await;
    let got = plain.chat(&[], &ask("m-small", CAPITAL)).await;
    assert_eq!(got.header("x-flyball-model-unknown"), None);
}
