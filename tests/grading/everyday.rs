//! What stands around the asks: second turns as people type them, and the calls that eleven known apps and agents make on their own.

use super::forms::{graded, read, talk};
use super::{rows, text, tier};
use flyball::arm::Tier;
use flyball::classify::{Features, Plain};
use serde_json::{Value, json};

/// The share of these rows for which something holds; those for which it does not are told.
fn share<'a>(rows: impl Iterator<Item = &'a Value>, holds: impl Fn(&Value) -> bool) -> f64 {
    let (mut good, mut all) = (0, 0);
    for row in rows {
        all += 1;
        match holds(row) {
            true => good += 1,
            false => println!("not so: {row}"),
        }
    }
    println!("{good} of {all}");
    f64::from(good) / f64::from(all)
}

/// The tiers of the first turn and of the second.
fn tiers(row: &Value) -> (Tier, Tier) {
    let [first, answer, second] = ["first", "answer", "second"].map(|key| text(row, key));
    let at = |turns: &[&str]| graded("openai_chat", &talk(turns)).0;
    (at(&[first]), at(&[first, answer, second]))
}

#[test]
fn nine_of_ten_second_turns_in_six_languages_keep_the_tier_of_the_first() {
    let turns = rows(include_str!("../fixtures/sense/second_turns.jsonl"));
    assert!(turns.len() >= 60);
    let is_easier = |row: &&Value| row["easier"] == json!(true);
    let kept = share(turns.iter().filter(|row| !is_easier(row)), |row| {
        let (first, second) = tiers(row);
        second >= first
    });
    assert!(kept >= 0.9, "{kept:.3}");
    let no_dearer = share(turns.iter().filter(is_easier), |row| {
        let (first, second) = tiers(row);
        second <= first
    });
    assert!(no_dearer >= 0.9, "{no_dearer:.3}");
}

/// What is measured of a conversation with these system prompts and so many tools.
fn of_row(row: &Value) -> Features {
    let texts = |key: &str| -> Vec<&str> {
        let texts = row[key].as_array().into_iter().flatten();
        texts.map(|t| t.as_str().expect("a text")).collect()
    };
    let mut body = talk(&texts("turns"));
    let messages = body["messages"].as_array_mut().expect("messages");
    let system = texts("system");
    messages.splice(
        0..0,
        system
            .iter()
            .map(|t| json!({"role": "system", "content": t})),
    );
    let tool = |n: u64| json!({"type": "function", "function": {"name": format!("tool_{n}"), "parameters": {"type": "object"}}});
    let tools: Vec<Value> = (0..row["tools"].as_u64().unwrap_or(0)).map(tool).collect();
    if !tools.is_empty() {
        body["tools"] = tools.into();
    }
    read("openai_chat", &body)
}

#[test]
fn nineteen_of_twenty_calls_that_apps_make_on_their_own_are_cheap_and_set_nothing() {
    let calls = rows(include_str!("../fixtures/sense/housekeeping.jsonl"));
    let apps: std::collections::BTreeSet<&str> = calls.iter().map(|row| text(row, "app")).collect();
    assert!(apps.len() >= 8, "{apps:?}");
    let known = share(calls.iter(), |row| {
        let features = of_row(row);
        features.plain == Some(Plain::Chore) && tier(&features).0 == Tier::Small
    });
    assert!(known >= 0.95, "{known:.3}");
}

#[test]
fn what_people_ask_in_words_of_housekeeping_is_no_housekeeping() {
    let asks = rows(include_str!("../fixtures/sense/lookalikes.jsonl"));
    assert!(asks.len() >= 20);
    for row in asks {
        assert_ne!(of_row(&row).plain, Some(Plain::Chore), "{row}");
    }
}

#[test]
fn an_agent_that_shortens_its_history_beside_a_tools_result_asks_for_a_summary() {
    let compact = "Your task is to create a detailed summary of the conversation so far: what the user wants, which files were read and changed, which mistakes were made and mended, what was decided and why, what is left to be done, and the step that comes next, so that the work goes on without losing its thread. Call no tool and answer with words alone.";
    let tool =
        |name: &str| json!({"name": name, "input_schema": {"type": "object", "properties": {}}});
    let turn = |last: &str| {
        json!({"model": "auto", "max_tokens": 500, "tools": [tool("read"), tool("write")], "messages": [
            {"role": "user", "content": "Find the deadlock in the pool."},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "read", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "fn flush(&self) {}"},
                {"type": "text", "text": last},
            ]},
        ]})
    };
    let plain = |last: &str| read("anthropic_messages", &turn(last)).plain;
    assert_eq!(plain(compact), Some(Plain::Chore));
    assert_ne!(plain("Go on."), Some(Plain::Chore));
}
