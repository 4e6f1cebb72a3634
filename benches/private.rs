//! What looking for personal data and secrets costs: one core, medians. `cargo bench --bench private`; `-- --json` for machines.
//!
//! The bar: 10 µs a KB of what people write, and no text, be it a table of numbers or made to be slow, above five times that.

use flyball::private::{Class, Detector, Settings};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 60;

/// A request whose only message is this text.
fn request(text: &str) -> String {
    serde_json::json!({"model": "auto", "messages": [{"role": "user", "content": text}]})
        .to_string()
}

/// The median microseconds of one search.
fn cost(detector: &Detector, body: &str) -> f64 {
    let rounds = (4_000_000 / body.len().max(1)).clamp(5, ROUNDS);
    let mut all: Vec<f64> = (0..rounds)
        .map(|_| {
            let began = Instant::now();
            black_box(detector.find(black_box(body.as_bytes()), None));
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() {
    let json = std::env::args().any(|a| a == "--json");
    let mut settings = Settings {
        detect: Class::ALL.into_iter().collect(),
        words: (0..200).map(|n| format!("project word{n}")).collect(),
        patterns: vec![r"KD-\d{6}".into(), r"\bcase no\. \d+".into()],
        at_least: 1,
        many: 10,
        examples: true,
    };
    let all = Detector::new(settings.clone()).expect("good settings");
    let usual = [Class::Cards, Class::Ibans, Class::Ids, Class::Secrets];
    settings.detect = usual.into_iter().collect();
    let usual = Detector::new(settings).expect("good settings");
    let prose = "The committee met on Tuesday to discuss the budget of 2024, which grew by 3.5 percent. Who was surprised, and why?\n";
    let code = "fn add(a: u32, b: u32) -> u32 { a + b } // error: expected `;`, found `}` at src/lib.rs:12:5\n";
    let table = "2024-03-01;12345678;4532.10;81736451;Berlin;+49 30 123456;order 778812\n";
    let chinese = "我们计划明年把旧系统迁移到云上，请比较三种方案。";
    let cases: Vec<(&str, String, f64)> = vec![
        ("1 KB of prose", request(&prose.repeat(9)), 10.0),
        ("1 KB of code", request(&code.repeat(11)), 10.0),
        ("1 KB of Chinese", request(&chinese.repeat(14)), 10.0),
        ("1 KB of a table", request(&table.repeat(14)), 50.0),
        ("100 KB of prose", request(&prose.repeat(900)), 10.0),
        ("100 KB of code", request(&code.repeat(1_050)), 10.0),
        ("100 KB of a table", request(&table.repeat(1_400)), 50.0),
        (
            "1 MB of base64",
            request(&"iVBORw0KGgoAAAANSUhEUgAA".repeat(43_690)),
            10.0,
        ),
        ("10 MB of digits", request(&"4".repeat(10_000_000)), 50.0),
        ("10 MB of dashes", request(&"-".repeat(10_000_000)), 50.0),
        ("10 MB of sk-", request(&"sk-".repeat(3_333_333)), 50.0),
        (
            "10 MB of 4111 4111",
            request(&"4111 ".repeat(2_000_000)),
            50.0,
        ),
        ("10 MB of backslashes", "\\".repeat(10_000_000), 50.0),
    ];
    for (name, body, bar) in &cases {
        let kilobytes = f64::from(u32::try_from(body.len()).unwrap_or(u32::MAX)) / 1024.0;
        let (usual, all) = (cost(&usual, body) / kilobytes, cost(&all, body) / kilobytes);
        match json {
            true => println!(
                "{}",
                serde_json::json!({"case": name, "us_a_kb": usual, "us_a_kb_with_all": all, "bar": bar})
            ),
            false => println!(
                "{name:<22} {usual:>7.2} µs a KB, {all:>7.2} with words, patterns and contacts (bar {bar})"
            ),
        }
    }
}
