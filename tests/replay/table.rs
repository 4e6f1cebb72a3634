//! The outcomes as the table in docs/dialects.md.

use super::{Outcome, Verdict};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const BEGIN: &str =
    "<!-- replayed: written by FLYBALL_SHARED=… FLYBALL_WRITE=1 cargo test replay:: -->\n";
const END: &str = "<!-- end of replayed -->";

#[derive(Default)]
struct Row {
    all: usize,
    streams: usize,
    /// Asked at `/p/…`.
    passed: usize,
    /// The same byte for byte; but for what flyball owns.
    answers: [usize; 2],
    requests: [usize; 2],
    recorded: usize,
    /// Answers that tell their usage, and how many of them are booked so.
    told: usize,
    booked: usize,
}

/// Compares the docs with the outcomes, or writes them.
pub fn check(outcomes: &[Outcome]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dialects.md");
    let docs = std::fs::read_to_string(&path).expect("the docs");
    let (before, rest) = docs.split_once(BEGIN).expect("a place for the table");
    let (told, after) = rest.split_once(END).expect("an end of the table");
    let table = table(outcomes);
    if std::env::var_os("FLYBALL_WRITE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}"))
            .expect("writable docs");
        return;
    }
    for outcome in outcomes {
        for verdict in [&outcome.answer, &outcome.request, &outcome.usage] {
            if let Verdict::Differs(why) = verdict {
                println!("{}: {why}", outcome.name);
            }
        }
    }
    assert_eq!(
        told, table,
        "docs/dialects.md is not what this test found; FLYBALL_WRITE=1 writes it"
    );
}

fn table(outcomes: &[Outcome]) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let mut whys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for outcome in outcomes {
        let row = rows.entry(&outcome.provider).or_default();
        row.all += 1;
        row.streams += usize::from(outcome.stream);
        row.passed += usize::from(outcome.passed);
        note(&outcome.answer, &mut row.answers);
        note(&outcome.request, &mut row.requests);
        row.told += usize::from(outcome.usage != Verdict::NotRecorded);
        row.booked += usize::from(outcome.usage == Verdict::Same);
        row.recorded += usize::from(outcome.request != Verdict::NotRecorded);
        let mut reasons: Vec<&str> = [&outcome.answer, &outcome.request, &outcome.usage]
            .into_iter()
            .filter_map(|v| match v {
                Verdict::Differs(why) => Some(why.as_str()),
                _ => None,
            })
            .collect();
        reasons.dedup();
        for why in reasons {
            whys.entry(why).or_default().push(&outcome.name);
        }
    }
    written(&rows, &whys)
}

fn note(verdict: &Verdict, counts: &mut [usize; 2]) {
    match verdict {
        Verdict::Same => counts[0] += 1,
        Verdict::Owned => counts[1] += 1,
        Verdict::NotRecorded | Verdict::Differs(_) => {}
    }
}

fn written(rows: &BTreeMap<&str, Row>, whys: &BTreeMap<&str, Vec<&str>>) -> String {
    let mut text = String::from(
        "| provider | exchanges | streams | through `/p/` | answers the same | but for what flyball owns | requests recorded | the same | but for what flyball owns | usage told | booked so |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut sum = Row::default();
    for (provider, row) in rows {
        line(&mut text, provider, row);
        sum.all += row.all;
        sum.streams += row.streams;
        sum.passed += row.passed;
        sum.recorded += row.recorded;
        sum.told += row.told;
        sum.booked += row.booked;
        for n in 0..2 {
            sum.answers[n] += row.answers[n];
            sum.requests[n] += row.requests[n];
        }
    }
    line(&mut text, "**all**", &sum);
    text.push_str("\nExceptions:\n");
    for (why, names) in whys {
        let shown: Vec<&str> = names.iter().take(3).copied().collect();
        let more = names.len().saturating_sub(3);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "- {}: {why} ({}{more})",
            names.len(),
            shown.join(", ")
        );
    }
    text
}

fn line(text: &mut String, name: &str, row: &Row) {
    let counts = [
        row.all,
        row.streams,
        row.passed,
        row.answers[0],
        row.answers[1],
        row.recorded,
        row.requests[0],
        row.requests[1],
        row.told,
        row.booked,
    ];
    let shown = counts.map(|n| if n == 0 { String::new() } else { n.to_string() });
    let _ = writeln!(text, "| {name} | {} |", shown.join(" | "));
}
