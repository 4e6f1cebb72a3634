//! Metrics at the boundary: requests in, `/metrics` out, held against the ledger.

mod books;
mod headroom;
mod named;
mod notices;

use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Upstream, answer, chat};
use flyball::ledger::record::Attempt;
use flyball::money::PICO_PER_USD;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tempfile::TempDir;

/// Every sample of the exposition by its name and labels, as they are written.
pub fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    lines.map(sample).collect()
}

/// The sum of all samples of a metric whose labels hold all of these.
pub fn sum(samples: &BTreeMap<String, f64>, metric: &str, labels: &[&str]) -> f64 {
    let wanted = |name: &str| {
        let of = name
            .strip_prefix(metric)
            .filter(|rest| rest.is_empty() || rest.starts_with('{'));
        of.is_some_and(|rest| labels.iter().all(|label| rest.contains(label)))
    };
    samples
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(_, value)| value)
        .sum()
}

/// Every attempt in the books, once nothing is open.
pub async fn attempts(flyball: &Flyball) -> Vec<Attempt> {
    flyball.rows().await;
    let mut all = Vec::new();
    let mut keep = |attempt: &Attempt| {
        all.push(attempt.clone());
        true
    };
    let mut books = flyball.books();
    books
        .attempts(i64::MIN..i64::MAX, &mut |attempt| keep(&attempt))
        .expect("the ledger can be read");
    all
}

/// An answer that has thought, and found some of its prompt in a cache.
fn thoughtful() -> String {
    let mut body: Value = serde_json::from_str(&chat(4_000, 700)).expect("JSON");
    body["usage"]["prompt_tokens_details"] = json!({"cached_tokens": 1_000});
    body["usage"]["completion_tokens_details"] = json!({"reasoning_tokens": 600});
    body.to_string()
}

fn of_team(dir: &TempDir, name: &str, team: &str) {
    make_key(dir, name, None, |key| key.team = team.into());
}

fn ask(model: &str, words: &str) -> String {
    json!({"model": model, "messages": [{"role": "user", "content": words}]}).to_string()
}

/// Three teams, five keys, one of them without a team; each sends something else.
#[tokio::test]
async fn what_each_key_and_team_spends_is_what_the_ledger_says() {
    let upstream = Upstream::start(answer(200, &thoughtful())).await;
    let dir = tempfile::tempdir().expect("a folder");
    for (name, team) in [("app", "red"), ("bot", "red"), ("web", "blue"), ("ci", "")] {
        of_team(&dir, name, team);
    }
    make_key(&dir, "lab", None, |key| {
        key.team = "green".into();
        key.tags = vec![("project".into(), "x".into())];
    });
    let toml = format!("intercept = [\"gpt-4o\"]\n{}", compatible(&upstream));
    let flyball = Flyball::start_in(dir, &toml).await;
    let keys = ["app", "bot", "web", "lab", "ci"];
    for (n, key) in keys.iter().enumerate() {
        let secret = format!("Bearer fb_{key}");
        for model in ["auto", "gpt-4o", "m-big", "m-small"]
            .iter()
            .cycle()
            .take(4 + 3 * n)
        {
            let asked = ask(
                model,
                "Why does this Rust function deadlock? fn f() { lock(); lock(); }",
            );
            let answer = flyball.chat(&[("authorization", &secret)], &asked).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    }
    let rows = attempts(&flyball).await;
    let now = samples(&flyball.metrics().await);
    let usd = |of: &dyn Fn(&Attempt) -> bool, base: bool| -> f64 {
        let closings = rows
            .iter()
            .filter(|a| of(a))
            .filter_map(|a| a.closing.as_ref());
        let pico: i128 = closings
            .map(|c| if base { c.baseline.0 } else { c.cost.0 })
            .sum();
        pico as f64 / PICO_PER_USD as f64
    };
    let same = |got: f64, expected: f64, what: &str| {
        assert!(expected > 0.0, "{what}: the scenario spends something");
        assert!(
            (got - expected).abs() < 1e-12 * expected.max(1.0),
            "{what}: {got} {expected}"
        );
    };
    for key in keys {
        let (label, of) = (format!("key=\"{key}\""), |a: &Attempt| a.key_name == key);
        same(
            sum(&now, "flyball_spend_usd_total", &[&label]),
            usd(&of, false),
            key,
        );
        same(
            sum(&now, "flyball_spend_baseline_usd_total", &[&label]),
            usd(&of, true),
            key,
        );
    }
    for (team, shown) in [
        ("red", "red"),
        ("blue", "blue"),
        ("green", "green"),
        ("", "-"),
    ] {
        let of = |a: &Attempt| a.opening.team == team;
        let label = format!("team=\"{shown}\"");
        same(
            sum(&now, "flyball_spend_usd_total", &[&label]),
            usd(&of, false),
            team,
        );
    }
    let all = |_: &Attempt| true;
    for metric in [
        "flyball_spend_usd_total",
        "flyball_cost_usd_total",
        "flyball_task_cost_usd_total",
        "flyball_rule_cost_usd_total",
    ] {
        same(sum(&now, metric, &[]), usd(&all, false), metric);
    }
    let of_tag = |a: &Attempt| a.key_name == "lab";
    let tag = ["tag=\"project\"", "value=\"x\""];
    same(
        sum(&now, "flyball_tag_spend_usd_total", &tag),
        usd(&of_tag, false),
        "tag",
    );
    let (mut saved, mut lost) = (0_i128, 0_i128);
    for closing in rows.iter().filter_map(|a| a.closing.as_ref()) {
        let more = (closing.baseline - closing.cost).0;
        saved += more.max(0);
        lost += (-more).max(0);
    }
    let net =
        sum(&now, "flyball_savings_usd_total", &[]) - sum(&now, "flyball_losses_usd_total", &[]);
    let expected = (saved - lost) as f64 / PICO_PER_USD as f64;
    assert!((net - expected).abs() < 1e-9, "{net} {expected}");
    let reasoning: u64 = rows
        .iter()
        .filter_map(|a| a.closing.as_ref())
        .map(|c| c.usage.reasoning)
        .sum();
    let told = sum(&now, "flyball_reasoning_tokens_total", &[]);
    assert!((told - reasoning as f64).abs() < 0.5, "{told} {reasoning}");
    // 600 of 700 output tokens each, at the output rates of either model.
    let of_model = |name: &str| rows.iter().filter(|a| a.opening.model == name).count() as f64;
    let expected = of_model("m-small") * 0.006 + of_model("m-big") * 0.06;
    same(
        sum(&now, "flyball_reasoning_usd_total", &[]),
        expected,
        "reasoning",
    );
    let requests = rows.len() as f64;
    for metric in ["flyball_served_total", "flyball_model_attempts_total"] {
        let count = sum(&now, metric, &[]);
        assert!((count - requests).abs() < 0.5, "{metric}: {count}");
    }
    for asked in ["auto", "gpt-4o", "m-big"] {
        let label = format!("asked=\"{asked}\"");
        assert!(
            sum(&now, "flyball_served_total", &[&label]) > 4.0,
            "{asked}"
        );
    }
    flyball.books_are_right().await;
}

/// The model and the effort that an answer tells.
type Told = (Option<String>, Option<String>);

#[tokio::test]
async fn later_turns_of_a_conversation_are_counted_by_what_changes_in_them() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let talk = |said: &[&str], objective: &str| {
        let roles = ["user", "assistant"].iter().cycle();
        let turns: Vec<Value> = said
            .iter()
            .zip(roles)
            .map(|(words, role)| json!({"role": role, "content": words}))
            .collect();
        (
            json!({"model": "auto", "messages": turns}).to_string(),
            objective.to_owned(),
        )
    };
    let turns = [
        talk(&["Translate \"bread\" into French."], "cheap"),
        talk(
            &["Translate \"bread\" into French.", "pain", "And \"salt\"?"],
            "cheap",
        ),
        talk(
            &[
                "Translate \"bread\" into French.",
                "pain",
                "And \"salt\"?",
                "sel",
                "Prove the Riemann hypothesis for function fields, step by step.",
            ],
            "best",
        ),
        talk(
            &[
                "Translate \"bread\" into French.",
                "pain",
                "And \"salt\"?",
                "sel",
                "Prove the Riemann hypothesis for function fields, step by step.",
                "First, let C be a curve.",
                "Go on with the proof, step by step.",
            ],
            "best",
        ),
    ];
    let mut arms = Vec::new();
    for (body, objective) in &turns {
        let answer = flyball
            .chat(&[("x-flyball-objective", objective)], body)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let told = |name: &str| answer.header(name).map(str::to_owned);
        arms.push((told("x-flyball-model"), told("x-flyball-effort")));
    }
    let changes = |of: fn(&Told, &Told) -> bool| {
        let pairs = arms.windows(2).filter(|pair| of(&pair[0], &pair[1]));
        pairs.count() as f64
    };
    let model = changes(|a, b| a.0 != b.0);
    let effort = changes(|a, b| a.0 == b.0 && a.1 != b.1);
    let none = changes(|a, b| a == b);
    assert!(model > 0.0 && none > 0.0, "the scenario has both: {arms:?}");
    let now = samples(&flyball.metrics().await);
    let of = |change: &str| {
        sum(
            &now,
            "flyball_conversation_turns_total",
            &[&format!("\"{change}\"")],
        )
    };
    let told = [of("none"), of("model"), of("effort")];
    assert_eq!(told, [none, model, effort], "{arms:?}");
}

#[tokio::test]
async fn a_refused_configuration_is_shown_until_a_good_one() {
    let upstream = Upstream::start(answer(200, &chat(40, 8))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let failed = async || {
        sum(
            &samples(&flyball.metrics().await),
            "flyball_reload_failed",
            &[],
        ) > 0.5
    };
    assert!(!failed().await);
    let file = flyball.dir.path().join("flyball.toml");
    std::fs::write(&file, "nonsense = 1\n").expect("a file");
    assert!(flyball.running.reload().is_err());
    assert!(failed().await);
    std::fs::write(&file, compatible(&upstream)).expect("a file");
    assert!(flyball.running.reload().is_ok());
    assert!(!failed().await);
}
