//! What is public and used by nobody. The compiler cannot tell: whatever a library makes public might be used by somebody else.

use super::house::House;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Public for tests alone, each with its reason.
const FOR_TESTS: [(&str, &str); 4] = [
    (
        "listeners",
        "nobody but a test has to know when all have come that are to share an answer",
    ),
    (
        "pretend_full_disk",
        "a full disk cannot be had on every machine",
    ),
    (
        "pretend_to_wait",
        "an outage of a minute is not waited for, and the clock of nobody else is turned",
    ),
    (
        "account",
        "nobody waits half a minute for the books to be read again",
    ),
];

/// One public item or field.
struct Public {
    module: String,
    name: String,
    field: bool,
}

#[test]
fn nothing_is_public_that_nobody_uses() {
    let house = House::here();
    let mut others = String::new();
    for folder in ["benches", "fuzz/src"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            others.push_str(&fs::read_to_string(entry.path()).unwrap_or_default());
        }
    }
    let code: Vec<&str> = house
        .files
        .values()
        .map(String::as_str)
        .chain([others.as_str()])
        .collect();
    let uses = counted(&code);
    let mut dead = Vec::new();
    for (module, text) in &house.files {
        for public in publics(module, text) {
            let told = uses.get(&public.name).copied().unwrap_or_default();
            let used = if public.field {
                told.read > 0
            } else {
                told.all > 1
            };
            let kept = FOR_TESTS.iter().any(|(name, _)| *name == public.name);
            if !used && !kept {
                dead.push(format!("{}: {}", public.module, public.name));
            }
        }
    }
    assert!(
        dead.is_empty(),
        "public, and used nowhere outside tests: {dead:#?}"
    );
}

/// How often a word stands in the code.
#[derive(Clone, Copy, Default)]
struct Count {
    all: usize,
    /// Where it is not merely given a value (`name: value`).
    read: usize,
}

fn counted(code: &[&str]) -> BTreeMap<String, Count> {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for text in code {
        let mut rest = *text;
        while let Some(start) = rest.find(letter) {
            let tail = &rest[start..];
            let end = tail.find(|c| !letter(c)).unwrap_or(tail.len());
            let count = counts.entry(tail[..end].to_owned()).or_default();
            count.all += 1;
            let after = &tail[end..];
            let given = after.starts_with(':') && !after.starts_with("::");
            count.read += usize::from(!given);
            rest = after;
        }
    }
    counts
}

fn publics(module: &str, text: &str) -> Vec<Public> {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim_start().strip_prefix("pub ") else {
            continue;
        };
        let rest = rest.trim_start_matches("async ");
        let rest = rest.strip_prefix("const fn ").map_or(rest, |r| r);
        let mut words = rest.split_whitespace();
        let first = words.next().unwrap_or_default();
        let kinds = ["fn", "struct", "enum", "trait", "const", "static", "type"];
        let (word, field) = match first {
            kind if kinds.contains(&kind) => (words.next().unwrap_or_default(), false),
            "use" | "mod" => continue,
            field if field.ends_with(':') => (field, true),
            other => (other, false),
        };
        let letter = |c: char| c.is_alphanumeric() || c == '_';
        let end = word.find(|c| !letter(c)).unwrap_or(word.len());
        found.push(Public {
            module: module.to_owned(),
            name: word[..end].to_owned(),
            field,
        });
    }
    found
}
