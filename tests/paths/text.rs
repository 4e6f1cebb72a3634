//! The table as text, and how two of them differ.

use super::table::{KINDS, Kind};
use super::{Case, Line};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const HEAD: &str = "\
# Every kind of call and what may happen to it, as flyball does it. What the words mean: tests/paths/mod.rs.
# This file is written by FLYBALL_WRITE_TABLE=1 cargo test --test main -- paths::
";

/// The table as text.
pub fn written(cases: &[Case], lines: &[Line]) -> String {
    let mut text = HEAD.to_owned();
    let of = |kind: &Kind| {
        let both = cases.iter().zip(lines);
        let same = |(case, _): &(&Case, &Line)| std::ptr::eq(case.kind, kind);
        both.filter(same).collect::<Vec<_>>()
    };
    for kind in KINDS {
        let both = of(kind);
        let who = both
            .iter()
            .find_map(|(_, line)| Some(line.rows.first()?.who.clone()));
        let who = who.unwrap_or_else(|| "no rows".into());
        let (provider, method, path) = (kind.provider, kind.method, kind.path);
        let _ = write!(
            text,
            "\n# {}: {method} {path} of {provider}; {who}\n",
            kind.name
        );
        let cells = both.iter().map(|(case, line)| {
            let left = [kind.name.into(), case.money.name.into(), case.what.name()];
            let right = [&line.client, &booked(line, &who), &line.counters];
            (case, left, right.map(String::clone))
        });
        let cells: Vec<_> = cells.collect();
        let left = widths(cells.iter().map(|(_, left, _)| left));
        let right = widths(cells.iter().map(|(_, _, right)| right));
        for (case, [a, b, c], [x, y, z]) in &cells {
            if !case.money.note.is_empty() {
                let _ = writeln!(text, "# {}", case.money.note);
            }
            let _ = writeln!(
                text,
                "{a:0$} | {b:1$} | {c:2$} => {x:3$} | {y:4$} | {z}",
                left[0], left[1], left[2], right[0], right[1]
            );
        }
    }
    text
}

/// The rows of a case, and who answered where it is not `who`.
fn booked(line: &Line, who: &str) -> String {
    let rows = line.rows.iter().map(|row| match row.who == who {
        true => row.did.clone(),
        false => format!("{} {}", row.did, row.who),
    });
    let rows = rows.collect::<Vec<_>>().join(" + ");
    format!("{rows} rows={}", line.rows.len()).trim().to_owned()
}

/// How wide each column is.
fn widths<'a>(rows: impl Iterator<Item = &'a [String; 3]>) -> [usize; 3] {
    rows.fold([0; 3], |most, row| {
        std::array::from_fn(|n| most[n].max(row[n].chars().count()))
    })
}

/// The lines that differ, by what they are about: spaces alone are no difference.
pub fn differences(expected: &str, got: &str) -> String {
    let lines = |text: &str| -> BTreeMap<String, (usize, String)> {
        let all = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.is_empty());
        let keyed = all.map(|(at, line)| {
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            let key = match line.starts_with('#') {
                true => line.split(';').next().unwrap_or_default().to_owned(),
                false => line.split(" => ").next().unwrap_or_default().to_owned(),
            };
            (key, (at + 1, line))
        });
        keyed.collect()
    };
    let (expected, got) = (lines(expected), lines(got));
    let keys: BTreeSet<_> = expected.keys().chain(got.keys()).collect();
    let mut text = String::new();
    for key in keys {
        let rest = |line: &str| line.strip_prefix(key.as_str()).unwrap_or(line).to_owned();
        let [old, new] = [expected.get(key), got.get(key)];
        if old.map(|(_, line)| line) == new.map(|(_, line)| line) {
            continue;
        }
        let at = old.map_or_else(
            || "not in the table".into(),
            |(at, _)| format!("table.txt:{at}"),
        );
        let _ = writeln!(text, "{key}  ({at})");
        if let Some((_, line)) = old {
            let _ = writeln!(text, "  - {}", rest(line));
        }
        if let Some((_, line)) = new {
            let _ = writeln!(text, "  + {}", rest(line));
        }
    }
    text
}
