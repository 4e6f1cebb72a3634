//! What grading costs: measure and grade, one core, medians. `cargo bench --bench grade`; `-- --json` for machines.
//!
//! The bars: 15 µs for 1 KB, 150 µs for 100 KB, and no text, however odd, above five times that.

use flyball::chat::{Part, Prompt, Role, Turn};
use flyball::classify;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 400;

fn prompt(text: &str) -> Prompt<'_> {
    Prompt {
        turns: vec![Turn {
            role: Role::User,
            parts: vec![Part::Text(text.into())],
        }],
        ..Prompt::default()
    }
}

/// The median microseconds of each step.
fn cost(text: &str) -> (f64, f64) {
    let prompt = prompt(text);
    let (mut measured, mut graded) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let features = black_box(classify::measure(black_box(&prompt)));
        let between = Instant::now();
        black_box(classify::grade(black_box(&features), None));
        measured.push((between - began).as_secs_f64() * 1e6);
        graded.push(between.elapsed().as_secs_f64() * 1e6);
    }
    let median = |mut v: Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    (median(measured), median(graded))
}

fn main() {
    let json = std::env::args().any(|a| a == "--json");
    let prose = "The committee met on Tuesday to discuss the budget of 2024, which grew by 3.5 percent. Who was surprised, and why?\n";
    let code = "fn add(a: u32, b: u32) -> u32 { a + b } // error: expected `;`, found `}` at src/lib.rs:12:5\n";
    let cases: Vec<(&str, String, f64)> = vec![
        ("1 KB of prose", prose.repeat(9)[..1_000].to_owned(), 15.0),
        ("1 KB of code", code.repeat(11)[..1_000].to_owned(), 15.0),
        (
            "1 KB of Chinese",
            "我们计划明年把旧系统迁移到云上，请比较三种方案。".repeat(14),
            15.0,
        ),
        ("100 KB of prose", prose.repeat(900), 150.0),
        ("100 KB of code", code.repeat(1_050), 150.0),
        ("a million spaces", " ".repeat(1_000_000), 750.0),
        ("one word of 4 MB", "a".repeat(4_000_000), 750.0),
        ("random bytes, 1 MB", noise(1_000_000), 750.0),
        ("10,000 nested quotes", "\"'".repeat(10_000), 750.0),
        ("a million tags", "<x>".repeat(333_333), 750.0),
        ("a million empty lines", "\n\n".repeat(500_000), 750.0),
    ];
    let mut over = 0;
    for (name, text, bar) in &cases {
        let (measure, grade) = cost(text);
        let all = measure + grade;
        over += usize::from(all > *bar);
        if json {
            println!(
                "{{\"case\": \"{name}\", \"measure_us\": {measure:.2}, \"grade_us\": {grade:.2}, \"bar_us\": {bar}}}"
            );
        } else {
            println!(
                "{name:<24} measure {measure:>8.2} µs  grade {grade:>6.2} µs  together {all:>8.2} µs  (bar {bar})"
            );
        }
    }
    if !json {
        println!("{over} over the bar");
    }
}

/// Letters and signs of all kinds in no order.
fn noise(bytes: usize) -> String {
    let mut chance = flyball::learn::chance::Chance::new(1);
    let mut text = String::new();
    while text.len() < bytes {
        let code = u32::try_from(chance.draw() % 0x3000).unwrap_or(65);
        text.extend(char::from_u32(code));
    }
    text
}
