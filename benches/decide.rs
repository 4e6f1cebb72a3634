//! What a decision costs on top of the grade: one core, medians of many. `cargo bench --bench decide`; `-- --json` for machines.
//!
//! The bars: 3 µs for 10 arms and 20 rules, 15 µs for 40 arms and 100 rules.

use flyball::chat::{Part, Prompt, Role, Turn};
use flyball::classify::{self, Graded};
use flyball::config::{self, Needs, Overrides};
use flyball::fleet::Arm;
use flyball::fleet::senses::Carried;
use flyball::process::policy_of;
use flyball::route::standing::{ConversationStanding, Habit};
use flyball::route::{Asked, Policy, decide};
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

/// A fleet of so many models with five efforts each, and so many rules of which none holds.
fn policy(models: usize, rules: usize) -> Policy {
    let dir = tempfile::tempdir().expect("a folder");
    let mut toml = "[[provider]]\nname = \"up\"\nkind = \"openai-compatible\"\nbase_url = \"https://example.com\"\n".to_owned();
    for n in 0..models {
        let tier = ["small", "standard", "reasoning"][n % 3];
        let _ = write!(
            toml,
            "[[model]]\nname = \"m-{n}\"\nprovider = \"up\"\ntier = \"{tier}\"\nefforts = [\"none\", \"low\", \"medium\", \"high\", \"max\"]\ninput_usd_per_mtok = {}\ncached_usd_per_mtok = 0.1\noutput_usd_per_mtok = {}\n",
            n + 1,
            5 * (n + 1)
        );
    }
    let mut text = String::new();
    for n in 0..rules {
        let _ = write!(
            text,
            "[[rule]]\nname = \"rule {n}\"\nwhy = \"a bench\"\nwhen = {{ task = [\"maths\"], tokens = \"90000..\", model = [\"x-{n}*\"], header = {{ x-app = \"{n}\" }} }}\nroute = {{ tier = \"small\" }}\n"
        );
    }
    std::fs::create_dir(dir.path().join("rules")).expect("a folder");
    std::fs::write(dir.path().join("rules/own.toml"), text).expect("a file");
    std::fs::write(dir.path().join("flyball.toml"), toml).expect("a file");
    let overrides = Overrides {
        config: Some(dir.path().join("flyball.toml")),
        data_dir: Some(dir.path().join("data")),
        needs: Needs::Models,
        ..Overrides::default()
    };
    policy_of(&config::load(&overrides).unwrap_or_else(|all| panic!("{all:?}")))
}

fn once(policy: &Policy, graded: &Graded) {
    let habit = |_: &Arm| {
        Some(Habit {
            weight: 0.5,
            answer: 1.1,
            reasoning: 0.8,
            first_token: None,
        })
    };
    let asked = Asked {
        dialect: "openai_chat",
        sayable: &|_| Ok(()),
        asks: Default::default(),
        doubted: &|_| Default::default(),
        model: "auto",
        effort: None,
        body_effort: None,
        objective: None,
        private: false,
        detected: Default::default(),
        may_use: &|_| true,
        limit: None,
        tools: false,
        structured: false,
        carried: Carried::default(),
        turns: 5,
        cap_used: 0,
        tags: &[],
        header: &|_| None,
        key: None,
        shows: &|_| None,
        standing: ConversationStanding {
            serving: None,
            before: Some(("m-1", flyball::arm::Effort::Low)),
            warm: &|arm| if arm.model.name == "m-1" { 9_000 } else { 0 },
            keeps: &|| false,
            ahead: 3,
            stuck: false,
            habit: &habit,
            late: &|_| None,
        },
    };
    black_box(decide(policy, black_box(&asked), || graded).expect("an arm"));
}

fn main() {
    let json = std::env::args().any(|arg| arg == "--json");
    let prompt = Prompt {
        turns: vec![Turn {
            role: Role::User,
            parts: vec![Part::Text(
                "Prove that the square root of 2 is irrational.".into(),
            )],
        }],
        ..Prompt::default()
    };
    let features = classify::measure(&prompt);
    let graded = Graded {
        difficulty: classify::grade(&features, None),
        features,
    };
    // A model at five efforts is five arms.
    for (models, rules, bar) in [(2, 20, 3.0), (8, 100, 15.0), (40, 100, f64::INFINITY)] {
        let policy = policy(models, rules);
        let mut rounds: Vec<f64> = (0..200)
            .map(|_| {
                let began = Instant::now();
                (0..50).for_each(|_| once(&policy, &graded));
                began.elapsed().as_secs_f64() * 1e6 / 50.0
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        let (arms, median) = (models * 5, rounds[rounds.len() / 2]);
        match json {
            true => println!(
                "{{\"arms\":{arms},\"rules\":{rules},\"us\":{median:.2},\"bar_us\":{}}}",
                if bar.is_finite() {
                    bar.to_string()
                } else {
                    "null".into()
                }
            ),
            false => println!("{arms:4} arms, {rules:4} rules: {median:7.2} µs (bar {bar} µs)"),
        }
    }
}
