//! Conversations from a seed.

use serde_json::{Value, json};
use std::time::Duration;

/// A small generator of numbers (splitmix64), so that a seed gives the same conversations everywhere.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, 1.
    pub fn share(&mut self) -> f64 {
        f64::from(u32::try_from(self.draw() >> 32).expect("32 bits")) / 4_294_967_296.0
    }

    /// Both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.draw() % (most - least + 1)
    }
}

/// One request of a conversation.
pub struct Step {
    pub body: Value,
    /// Since the traces began.
    pub at: Duration,
    /// Tokens of the visible answer.
    pub visible: u64,
    pub marked: bool,
    pub begins_turn: bool,
}

/// A conversation that goes on step by step.
pub struct Talk {
    system: String,
    tools: bool,
    marked: bool,
    messages: Vec<Value>,
    /// Calls of tools that are left in this turn.
    calls: u64,
    turns: u64,
    at: Duration,
    answer: u64,
    serial: u64,
    begun: bool,
}

const WORDS: [&str; 16] = [
    "river", "ledger", "window", "copper", "meadow", "signal", "harbour", "lantern", "gravel",
    "orchard", "station", "velvet", "timber", "canvas", "furnace", "pepper",
];

/// So many tokens of words without a meaning; four bytes count as one.
fn filler(dice: &mut Dice, tokens: u64) -> String {
    let mut text = String::new();
    while text.len() < usize::try_from(tokens * 4).expect("small") {
        let at = usize::try_from(dice.between(0, 15)).expect("small");
        text.push_str(WORDS[at]);
        text.push(' ');
    }
    text
}

/// An ask that somebody has judged, in English.
fn ask(dice: &mut Dice) -> String {
    static ASKS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    let asks = ASKS.get_or_init(|| {
        let lines = include_str!("../../src/data/asks.jsonl").lines();
        let rows = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let english = rows.filter(|row| row["lang"] == "en");
        english
            .filter_map(|row| row["prompt"].as_str().map(str::to_owned))
            .collect()
    });
    let last = u64::try_from(asks.len() - 1).expect("small");
    asks[usize::try_from(dice.between(0, last)).expect("small")].clone()
}

impl Talk {
    /// A third each: a chat, questions about a document, an agent with tools.
    pub fn new(dice: &mut Dice, number: usize) -> Talk {
        let (system, tools, document, turns) = match dice.between(0, 2) {
            0 => (60, false, 0, dice.between(1, 6)),
            1 => (120, false, dice.between(8_000, 20_000), dice.between(2, 6)),
            _ => (dice.between(4_000, 9_000), true, 0, dice.between(1, 4)),
        };
        let mut system = format!(
            "You are the assistant of team {number}.\n{}",
            filler(dice, system)
        );
        if document > 0 {
            system = format!("{system}\nThe document:\n{}", filler(dice, document));
        }
        Talk {
            marked: tools || document > 0,
            system,
            tools,
            messages: Vec::new(),
            calls: 0,
            turns,
            at: Duration::from_secs(u64::try_from(number).expect("small") * 7),
            answer: 0,
            serial: 0,
            begun: false,
        }
    }

    /// The next request, after the answer to the one before it.
    pub fn next(&mut self, dice: &mut Dice) -> Option<Step> {
        let begins_turn = self.calls == 0;
        if begins_turn {
            if self.turns == 0 {
                return None;
            }
            self.turns -= 1;
            if self.begun {
                let text = filler(dice, self.answer);
                self.messages
                    .push(json!({"role": "assistant", "content": text}));
                // Most people answer within minutes; one of seven comes back later than any cache lives.
                let pause = if dice.between(0, 6) == 0 {
                    dice.between(700, 3_000)
                } else {
                    dice.between(15, 240)
                };
                self.at += Duration::from_secs(pause);
            }
            self.calls = if self.tools { dice.between(2, 12) } else { 0 };
            self.messages
                .push(json!({"role": "user", "content": ask(dice)}));
        } else {
            self.calls -= 1;
            self.serial += 1;
            self.at += Duration::from_secs(dice.between(3, 25));
            let id = format!("toolu_{}", self.serial);
            let called = json!({"type": "tool_use", "id": id, "name": "shell", "input": {"command": filler(dice, 15)}});
            let tokens = dice.between(50, 1_500);
            let result =
                json!({"type": "tool_result", "tool_use_id": id, "content": filler(dice, tokens)});
            self.messages
                .push(json!({"role": "assistant", "content": [called]}));
            self.messages
                .push(json!({"role": "user", "content": [result]}));
        }
        self.begun = true;
        self.answer = match self.calls {
            0 => dice.between(60, 600),
            _ => dice.between(30, 150),
        };
        Some(Step {
            body: self.body(),
            at: self.at,
            visible: self.answer,
            marked: self.marked,
            begins_turn,
        })
    }

    fn body(&self) -> Value {
        let mut system = json!({"type": "text", "text": self.system});
        if self.marked {
            system["cache_control"] = json!({"type": "ephemeral"});
        }
        let mut body = json!({"model": "auto", "max_tokens": 16_000, "system": [system], "messages": self.messages});
        if self.tools {
            body["tools"] = json!([{"name": "shell", "description": "Runs a command.", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}]);
        }
        body
    }
}
