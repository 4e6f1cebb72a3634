//! Plain sense: what people would call easy and hard, in ten languages, with conversations and agents' requests; an operator's
//! overlay from outcomes to decision; and weights that are the same for the same inputs.
//!
//! The prompts under `tests/fixtures/sense` were written for this test alone; nothing was trained on them.

mod everyday;
mod fitting;
mod forms;

use crate::flyball::{Flyball, compatible};
use crate::scripted::{Upstream, answer, chat};
use flyball::arm::Tier;
use flyball::classify::{self, Difficulty, Features, model};
use flyball::dialect;
use flyball::learn::outcome::measured;
use flyball::route::starter_tier;
use serde_json::Value;
use std::io::Read;

fn rows(text: &str) -> Vec<Value> {
    text.lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect()
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().expect("a text")
}

fn tier(features: &Features) -> (Tier, Difficulty) {
    let difficulty = classify::grade(features, None);
    (starter_tier(&difficulty, features), difficulty)
}

/// What is easy must not think at a reasoning model's price; what is hard must not go to the smallest model.
fn wrong_side(side: &str, tier: Tier) -> bool {
    matches!(
        (side, tier),
        ("easy", Tier::Reasoning) | ("hard", Tier::Small)
    )
}

/// How many of the judged rows are on the right side, and how many of them without doubt.
fn tell(judged: &[(String, String, Tier, Difficulty)]) -> (f64, f64) {
    let sided: Vec<_> = judged.iter().filter(|j| j.1 != "middle").collect();
    let wrong = sided.iter().filter(|j| wrong_side(&j.1, j.2));
    for (id, side, tier, d) in wrong.clone() {
        println!(
            "{id}: {side} goes to {tier} ({} {:.2}, confidence {:.2})",
            d.task.name(),
            d.difficulty,
            d.confidence
        );
    }
    let firm = sided.iter().filter(|j| {
        matches!(
            (j.1.as_str(), j.2),
            ("easy", Tier::Small) | ("hard", Tier::Reasoning)
        )
    });
    let all = sided.len() as f64;
    (1.0 - wrong.count() as f64 / all, firm.count() as f64 / all)
}

#[test]
fn nineteen_of_twenty_prompts_in_ten_languages_go_to_the_right_side() {
    let judged: Vec<_> = rows(include_str!("../fixtures/sense/sense.jsonl"))
        .iter()
        .map(|row| {
            let (tier, d) = tier(&measured(text(row, "prompt")));
            (
                text(row, "id").to_owned(),
                text(row, "side").to_owned(),
                tier,
                d,
            )
        })
        .collect();
    let (right, firm) = tell(&judged);
    println!("right side {right:.3}, without doubt {firm:.3}");
    assert!(right >= 0.95, "{right:.3}");
    // Everything in the middle would be right too, and useless.
    assert!(firm >= 0.55, "{firm:.3}");
}

#[test]
fn nothing_hard_is_graded_easy_with_high_confidence() {
    for row in rows(include_str!("../fixtures/sense/sense.jsonl")) {
        let d = classify::grade(&measured(text(&row, "prompt")), None);
        let surely_easy = d.difficulty < 0.3 && d.confidence > 0.8;
        assert!(text(&row, "side") != "hard" || !surely_easy, "{row} {d:?}");
    }
}

/// The share of pairs whose two askings get the same tier, and the share on opposite sides.
fn agreement(pairs: &[Value]) -> (f64, f64) {
    let (mut same, mut opposite) = (0, 0);
    for row in pairs {
        let [a, b] = ["a", "b"].map(|key| tier(&measured(text(row, key))).0);
        same += usize::from(a == b);
        opposite += usize::from([a, b].contains(&Tier::Small) && [a, b].contains(&Tier::Reasoning));
        if a != b {
            println!("{} ({}): {a} and {b}", text(row, "id"), text(row, "why"));
        }
    }
    let all = pairs.len();
    println!("the same tier for {same} of {all}, {opposite} on opposite sides");
    (same as f64 / all as f64, opposite as f64 / all as f64)
}

#[test]
fn the_same_ask_in_two_languages_gets_the_same_tier_five_times_in_six() {
    let pairs = rows(include_str!("../fixtures/sense/sense_pairs.jsonl"));
    let (same, opposite) = agreement(&pairs);
    assert!(same >= 5.0 / 6.0, "{same:.3}");
    assert!(opposite <= 0.02, "{opposite:.3}");
}

#[test]
fn the_same_ask_in_other_words_gets_the_same_tier_three_times_in_four() {
    let pairs = rows(include_str!("../fixtures/sense/paraphrases.jsonl"));
    let (same, opposite) = agreement(&pairs);
    assert!(same >= 0.75, "{same:.3}");
    assert!(opposite <= 0.04, "{opposite:.3}");
}

#[test]
fn conversations_and_agents_requests_are_graded_by_what_the_user_asks_now() {
    let packed = include_bytes!("../fixtures/sense/requests.jsonl.gz");
    let mut text_of = String::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_string(&mut text_of)
        .expect("a packed text");
    let judged: Vec<_> = rows(&text_of)
        .iter()
        .map(|row| {
            let mut body = row["body"].clone();
            if text(row, "dialect") == "anthropic_messages" {
                body["max_tokens"] = 1_000.into();
            }
            let body = body.to_string();
            let dialect = dialect::named(text(row, "dialect")).expect("a dialect");
            let request = dialect
                .decode(body.as_bytes())
                .unwrap_or_else(|e| panic!("{}: {}", text(row, "id"), e.public));
            let (tier, d) = tier(&classify::measure(&request.prompt));
            (
                text(row, "id").to_owned(),
                text(row, "side").to_owned(),
                tier,
                d,
            )
        })
        .collect();
    let (right, firm) = tell(&judged);
    println!("right side {right:.3}, without doubt {firm:.3}");
    assert!(right >= 0.95, "{right:.3}");
}

#[test]
fn adversarial_texts_are_graded_within_bounds() {
    let texts = [
        " ".repeat(1_000_000),
        "a".repeat(4_000_000),
        "\"".repeat(10_000),
        "(".repeat(100_000),
        "<".repeat(300_000),
        "<system-reminder>".repeat(50_000),
        "\n\n".repeat(200_000),
        "\u{0301}".repeat(100_000),
        "是".repeat(500_000),
        "٣".repeat(100_000),
        "\0\u{FFFF}\u{10FFFF}".repeat(10_000),
        "1.".repeat(100_000),
        String::new(),
    ];
    for text in texts {
        let d = classify::grade(&measured(&text), None);
        let sound = (0.0..=1.0).contains(&d.difficulty)
            && (0.0..=1.0).contains(&d.confidence)
            && d.gain.abs() <= 1.0;
        assert!(sound, "{d:?} for {} bytes", text.len());
    }
}

#[test]
fn the_embedded_weights_are_read_and_written_alike() {
    let grader = model::embedded();
    let again = model::Grader::read(&grader.bytes()).expect("its own file");
    assert_eq!(*grader, again);
    let bytes = grader.bytes();
    for cut in [0, 7, 8, 11, 100, 5_000, bytes.len() - 1] {
        assert!(model::Grader::read(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

#[tokio::test]
async fn what_a_grade_would_not_decide_is_not_graded_unless_the_operator_wants_to_see_it() {
    let body = r#"{"model":"m-small","messages":[{"role":"user","content":"Translate \"good morning\" into French."}]}"#;
    for (setting, task, graded) in [
        ("", "ungraded", false),
        ("grade_asked = true\n", "translate", true),
    ] {
        let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
        let flyball = Flyball::start(&format!("{setting}{}", compatible(&upstream))).await;
        let got = flyball.chat(&[], body).await;
        assert_eq!(got.header("x-flyball-task"), Some(task));
        assert_eq!(
            got.header("x-flyball-difficulty") != Some("ungraded"),
            graded,
            "{task}"
        );
        assert_eq!(flyball.rows().await[0]["task"], task);
        let spent = format!("flyball_task_cost_usd_total{{task=\"{task}\"}} 0.");
        assert!(flyball.metrics().await.contains(&spent), "{task}");
        // What is routed is graded either way.
        let got = flyball.chat(&[], &body.replace("m-small", "auto")).await;
        assert_eq!(got.header("x-flyball-task"), Some("translate"));
        assert!(got.header("x-flyball-difficulty").is_some());
    }
}
