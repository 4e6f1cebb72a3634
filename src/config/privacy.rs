//! `[privacy]`: what makes a request confidential by what is in it, and what then becomes of it.

use super::Reading;
use crate::fleet::Fleet;
use crate::private::{self, Action, Class, Classes, Detector, Privacy, Settings};
use crate::reader::Table;
use crate::route::policy::Rule;
use std::sync::Arc;

/// What can be asked for by name.
const CLASSES: [(&str, Class); 7] = [
    ("cards", Class::Cards),
    ("ibans", Class::Ibans),
    ("ids", Class::Ids),
    ("secrets", Class::Secrets),
    ("emails", Class::Emails),
    ("phones", Class::Phones),
    ("own", Class::Own),
];
/// So many addresses or numbers are a list of people.
const MANY: u64 = 10;
/// More need not be counted.
const COUNTED_MAX: u64 = 1_000;

/// What is looked for; nothing where neither the file nor a rule asks for anything.
pub(super) fn privacy(
    reading: &Reading<'_>,
    top: &Table<'_>,
    rules: &[Rule],
    fleet: Option<&Fleet>,
) -> Option<Arc<Privacy>> {
    let for_rules = rules
        .iter()
        .fold(Classes::default(), |all, rule| all.and(rule.when.detected));
    let Some(mut table) = top.table("privacy") else {
        return in_rules_alone(reading, for_rules);
    };
    table.call("[privacy]".to_owned());
    let asked: Classes = table
        .choices("detect", "class", &CLASSES)
        .into_iter()
        .collect();
    let words = words(reading, &table);
    let patterns = patterns(&table);
    let action = action(&table);
    let examples = table.flag("examples").unwrap_or(true);
    let at_least = counted(&table, "at_least", 1);
    let many = counted(&table, "many", MANY);
    let unread = table.choice("unread", "way", &[("private", true), ("pass", false)]);
    check_own(
        &table,
        asked.and(for_rules),
        words.is_empty() && patterns.is_empty(),
    );
    if asked.and(for_rules).is_empty() {
        let help = Some("write detect = [\"cards\", \"ibans\", \"ids\", \"secrets\"]".to_owned());
        table.complain("detect", "nothing is to be detected", help);
    }
    let confidential = match unread.unwrap_or(true) && !asked.is_empty() {
        true => asked.with(Class::Unread),
        false => asked,
    };
    let settings = Settings {
        detect: confidential.and(for_rules),
        words,
        patterns,
        at_least,
        many,
        examples,
    };
    let detector = Detector::new(settings);
    let detector = detector.map_err(|why| table.complain("words", why, None));
    if action == Action::Local && !asked.is_empty() {
        doubt_local(reading, &table, fleet);
    }
    table.finish();
    Some(Arc::new(Privacy {
        detector: detector.ok()?,
        confidential,
        action,
    }))
}

/// Rules alone ask what is in a request.
fn in_rules_alone(reading: &Reading<'_>, classes: Classes) -> Option<Arc<Privacy>> {
    if classes.has(Class::Own) {
        reading.warn(
            "a rule asks for detected = \"own\", and no [privacy] says which words are".to_owned(),
        );
    }
    let settings = Settings {
        detect: classes,
        at_least: 1,
        many: usize::try_from(MANY).unwrap_or(usize::MAX),
        examples: true,
        ..Settings::default()
    };
    let found = (!classes.is_empty())
        .then(|| Detector::new(settings).ok())
        .flatten()?;
    Some(Arc::new(Privacy {
        detector: found,
        confidential: Classes::default(),
        action: Action::default(),
    }))
}

fn action(table: &Table<'_>) -> Action {
    let ways = [("local", Action::Local), ("refuse", Action::Refuse)];
    table.choice("action", "action", &ways).unwrap_or_default()
}

/// The operator's words, from the file and from the one that it names.
fn words(reading: &Reading<'_>, table: &Table<'_>) -> Vec<String> {
    let written = table.words("words").unwrap_or_default();
    let mut words: Vec<String> = written.into_iter().map(|word| word.text).collect();
    let path = table.text("words_file").map(|path| reading.path(path));
    let text = path.and_then(|path| reading.file(table, "words_file", &path));
    let lines = text.iter().flat_map(|text| text.lines()).map(str::trim);
    words.extend(
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned),
    );
    words
}

/// The operator's patterns. What is wrong with one is told, never the pattern.
fn patterns(table: &Table<'_>) -> Vec<String> {
    let mut patterns = Vec::new();
    for word in table.words("patterns").unwrap_or_default() {
        match private::flaw(&word.text) {
            None => patterns.push(word.text),
            Some(why) => {
                let help =
                    Some("write a regular expression like 'KD-\\d{6}' in single quotes".to_owned());
                table.complain_at(word.line, format_args!("patterns: {why}"), help);
            }
        }
    }
    patterns
}

fn counted(table: &Table<'_>, key: &'static str, usual: u64) -> usize {
    let count = table.count_from_1(key).unwrap_or(usual);
    if count > COUNTED_MAX {
        table.complain(key, format_args!("{key} is at most {COUNTED_MAX}"), None);
    }
    usize::try_from(count.min(COUNTED_MAX)).unwrap_or(1)
}

/// Words that nobody looks for, and looking for words that nobody has said.
fn check_own(table: &Table<'_>, detect: Classes, none: bool) {
    let help = |text: &str| Some(text.to_owned());
    match (detect.has(Class::Own), none) {
        (true, true) => {
            let help = help("add words, words_file or patterns");
            table.complain(
                "detect",
                "\"own\" is to be detected, and there are no words of your own",
                help,
            );
        }
        (false, false) => {
            let help = help("add \"own\" to detect");
            table.complain(
                "detect",
                "words of your own are given, and nothing looks for them",
                help,
            );
        }
        _ => {}
    }
}

/// Where no model is local, whatever is confidential is refused.
fn doubt_local(reading: &Reading<'_>, table: &Table<'_>, fleet: Option<&Fleet>) {
    let none = |fleet: &Fleet| !fleet.models.iter().any(|m| m.local && !m.simulated);
    if fleet.is_some_and(none) {
        reading.warn(format!(
            "{}: [privacy]: no model is local, so that every request in which something is found is refused",
            table.place("action")
        ));
    }
}
