//! How much of what is confidential is found, and how much of what only looks so, in 2,000 lines that a script made
//! (`tests/fixtures/private/make.py`). The figures stand in docs/privacy.md.

use flyball::private::{Class, Detector, Settings};
use serde_json::Value;
use std::collections::BTreeMap;

/// What was found of one class, in one language or all.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    right: usize,
    wrong: usize,
    missed: usize,
}

impl Tally {
    fn note(&mut self, there: bool, found: bool) {
        self.right += usize::from(there && found);
        self.wrong += usize::from(!there && found);
        self.missed += usize::from(there && !found);
    }
}

const CLASSES: [Class; 4] = [Class::Cards, Class::Ibans, Class::Ids, Class::Secrets];

fn lines() -> Vec<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/private/lines.jsonl"
    );
    let text = std::fs::read_to_string(path).expect("the lines");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn what_is_found_in_two_thousand_lines_is_what_the_docs_say() {
    let detector = Detector::new(Settings {
        detect: CLASSES.into_iter().collect(),
        at_least: 1,
        many: 10,
        examples: true,
        ..Settings::default()
    });
    let detector = detector.expect("good settings");
    let mut classes: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut languages: BTreeMap<String, Tally> = BTreeMap::new();
    let mut odd = Vec::new();
    let lines = lines();
    assert_eq!(lines.len(), 2_000);
    for line in &lines {
        let text = line["t"].as_str().expect("a text");
        let body = serde_json::json!({"messages": [{"role": "user", "content": text}]});
        let found = detector.find(body.to_string().as_bytes(), None).classes;
        for class in CLASSES {
            let there = line["c"]
                .as_array()
                .is_some_and(|c| c.contains(&class.name().into()));
            classes
                .entry(class.name())
                .or_default()
                .note(there, found.has(class));
            let language = line["l"].as_str().expect("a language").to_owned();
            languages
                .entry(language)
                .or_default()
                .note(there, found.has(class));
            if there != found.has(class) {
                odd.push(format!("{} {there} {text:?}", class.name()));
            }
        }
    }
    let row = |(name, t): (&str, &Tally)| format!("{name} {} {} {}", t.right, t.wrong, t.missed);
    let told: Vec<String> = classes.iter().map(|(name, t)| row((name, t))).collect();
    let by_language: Vec<String> = languages.iter().map(|(name, t)| row((name, t))).collect();
    if std::env::var("FLYBALL_SHOW_ODD").is_ok() {
        println!("{}", odd.join("\n"));
    }
    // Found, found wrongly, missed.
    assert_eq!(told, FIGURES, "{by_language:?}");
    assert_eq!(by_language, FIGURES_BY_LANGUAGE);
}

const FIGURES: [&str; 4] = [
    "cards 228 1 22",
    "ibans 200 0 0",
    "ids 287 1 13",
    "secrets 233 0 17",
];
const FIGURES_BY_LANGUAGE: [&str; 10] = [
    "de 95 0 5",
    "en 95 1 5",
    "es 94 0 6",
    "fr 95 0 5",
    "it 98 1 2",
    "ja 94 0 6",
    "nl 92 0 8",
    "pl 94 0 6",
    "pt 93 0 7",
    "zh 98 0 2",
];
