//! What metrics cost a request and a scrape: one core, medians. `cargo bench --bench metrics`; `-- --json` for machines.
//!
//! The bars: 3 µs a request, 10 ms a scrape with as many series as the limits let there be.

use flyball::arm::{Effort, Tier};
use flyball::chat::Usage;
use flyball::ledger::record::{Basis, Cause, Closing, Opening, Outcome};
use flyball::money::{PICO_PER_USD, PicoUsd};
use flyball::telemetry::{
    AttemptClosed, CapFigures, CapMoney, Decided, KnownArm, KnownKey, Telemetry, TurnChange,
};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Models, each at five efforts.
const MODELS: usize = 40;
/// Keys with a team each, as many as have series of their own.
const KEYS: usize = 100;
/// Rules.
const RULES: usize = 100;
/// Caps.
const CAPS: usize = 200;
/// Tags with a value each, as many as have series of their own.
const TAGS: usize = 100;
const EFFORTS: [Effort; 5] = [
    Effort::None,
    Effort::Low,
    Effort::Medium,
    Effort::High,
    Effort::Max,
];
const TASKS: [&str; 5] = ["code", "maths", "summary", "translation", "chat"];

fn main() {
    let json = std::env::args().any(|arg| arg == "--json");
    let telemetry = telemetry();
    let requests: Vec<(Opening, Closing)> = (0..1_000).map(request).collect();
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let began = Instant::now();
            for (number, (opening, closing)) in requests.iter().enumerate() {
                count(&telemetry, number, opening, closing);
            }
            began.elapsed()
        })
        .collect();
    times.sort();
    let request_us = times[100].as_secs_f64() * 1e6 / 1_000.0;
    let mut scrapes: Vec<Duration> = (0..50)
        .map(|_| {
            let began = Instant::now();
            black_box(telemetry.encode());
            began.elapsed()
        })
        .collect();
    scrapes.sort();
    let scrape_ms = scrapes[25].as_secs_f64() * 1e3;
    let text = telemetry.encode();
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    if json {
        println!(
            "{}",
            serde_json::json!({"request_us": request_us, "scrape_ms": scrape_ms, "samples": series, "bytes": text.len()})
        );
        return;
    }
    println!("metrics of one request: {request_us:.2} us (bar 3)");
    println!(
        "a scrape of {series} samples, {} KB: {scrape_ms:.2} ms (bar 10)",
        text.len() / 1_000
    );
}

fn telemetry() -> Telemetry {
    let telemetry = Telemetry::new("2026-12-01");
    let names = |what: &str, count| (0..count).map(|n| format!("{what}-{n}")).collect();
    let (models, rules): (Vec<String>, Vec<String>) =
        (names("model", MODELS), names("rule", RULES));
    telemetry.known(models.clone(), rules, vec!["up".into()]);
    telemetry.known_arms(models.iter().flat_map(|model| {
        EFFORTS.map(|effort| KnownArm {
            provider: "up",
            model,
            tier: Tier::Small,
            effort,
        })
    }));
    let keys: Vec<String> = names("key", KEYS);
    let keys: Vec<KnownKey<'_>> = (1..)
        .zip(&keys)
        .map(|(id, name)| KnownKey {
            id,
            team: name,
            name,
        })
        .collect();
    telemetry.keys(&keys);
    let values: Vec<String> = names("value", TAGS);
    telemetry.tags(values.iter().map(|value| ("app", value.as_str())));
    let cap = |n: usize| CapFigures {
        cap: format!("cap {n}"),
        scope: "keys",
        window: "day",
        money: Some(CapMoney {
            limit: PicoUsd(PICO_PER_USD),
            spent: PicoUsd(PICO_PER_USD / 3),
            reserved: PicoUsd::ZERO,
        }),
        reset_unix: Some(1_800_000_000),
        exhausted_unix: [Some(1_790_000_000); 3],
    };
    telemetry.caps(&(0..CAPS).map(cap).collect::<Vec<_>>());
    telemetry
}

/// A routed request of some key, with a tag.
fn request(number: usize) -> (Opening, Closing) {
    let opening = Opening {
        provider: "up".into(),
        model: format!("model-{}", number % MODELS),
        tier: Tier::Small,
        task: TASKS[number % TASKS.len()].into(),
        rule: format!("rule-{}", number % RULES),
        key: i64::try_from(number % KEYS + 1).ok(),
        tags: vec![("app".into(), format!("value-{}", number % TAGS))],
        difficulty_milli: 370,
        ..Opening::default()
    };
    let closing = Closing {
        usage: Usage {
            input: 900,
            cached: 300,
            output: 400,
            reasoning: 100,
            ..Usage::default()
        },
        basis: Basis::Reported,
        cost: PicoUsd(1_234_567_890),
        baseline: PicoUsd(9_876_543_210),
        cause: Some(Cause::Route),
        ..Closing::void("a", Outcome::Ok)
    };
    (opening, closing)
}

/// All that a routed, streamed, capped request tells.
fn count(telemetry: &Telemetry, number: usize, opening: &Opening, closing: &Closing) {
    telemetry.decided(&Decided {
        asked: "auto",
        rule: &opening.rule,
        task: TASKS[number % TASKS.len()],
        tier: opening.tier,
        unknown: None,
        noted: None,
    });
    telemetry.served("auto", &opening.model, || false);
    telemetry.turn(Some(TurnChange::Model));
    telemetry.attempt_opened();
    telemetry.stream_opened();
    telemetry.headroom(("up", None), "tokens", 0.5);
    telemetry.headroom(("up", None), "requests", 0.5);
    telemetry.attempt(&AttemptClosed {
        opening,
        closing,
        effort: EFFORTS[number % EFFORTS.len()],
        reasoning_cost: PicoUsd(1_000_000),
        graded: true,
        probe: None,
        capped: true,
        stream: true,
        status: 200,
        ttft: Some(Duration::from_millis(310)),
        decode_tokens_per_second: Some(82.0),
        total: Duration::from_secs(3),
        added: Duration::from_micros(90),
        phases: &[
            ("read", Duration::from_micros(20)),
            ("decide", Duration::from_micros(20)),
            ("reserve", Duration::from_micros(40)),
        ],
        traced: None,
    });
    telemetry.stream_closed();
}
