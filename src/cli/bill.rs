//! `flyball ledger true-up`: a provider's bill, booked over what was charged at the bound.

use super::{Common, books_at};
use crate::json::{self, Object};
use crate::ledger::record::TrueUp;
use crate::ledger::true_up::{Billed, book};
use crate::money::PicoUsd;
use std::path::Path;

/// A larger file is no bill for this: it is read as a whole.
const BYTES_MAX: u64 = 256 * 1024 * 1024;

pub(super) fn true_up(common: &Common, file: &Path) -> Result<(), String> {
    let said = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
    let size = std::fs::metadata(file).map_err(|e| said(&e))?.len();
    if size > BYTES_MAX {
        return Err(said(&"larger than 256 MiB; split it"));
    }
    let text = std::fs::read_to_string(file).map_err(|e| said(&e))?;
    let bill = read(&text).map_err(|e| said(&e))?;
    let source = file.file_name().unwrap_or(file.as_os_str());
    let told = book(&books_at(common)?, &bill, &source.to_string_lossy()).map_err(|e| e.detail)?;
    let (mut corrected, mut change, mut others) = (0_u64, PicoUsd::ZERO, 0_u64);
    for (line, outcome) in &told {
        let why = match outcome {
            TrueUp::Corrected(by) => {
                corrected += 1;
                change += *by;
                continue;
            }
            TrueUp::Again => "was corrected before",
            TrueUp::Known => "was not charged at its bound: its own answer told its cost",
            TrueUp::Open => "has not ended yet",
            TrueUp::Unclear => {
                "is no attempt, and no request with one attempt charged at its bound"
            }
        };
        others += 1;
        eprintln!("  {} {why}; nothing was changed", line.id);
    }
    println!("{corrected} attempts corrected by {change}, {others} left as they were");
    Ok(())
}

/// One JSON a line, or CSV with a head: `attempt` or `request`, and `cost_usd`.
fn read(text: &str) -> Result<Vec<Billed>, String> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty())
        .peekable();
    if lines.peek().is_some_and(|(_, line)| line.starts_with('{')) {
        return lines
            .map(|(n, line)| of_json(line).map_err(|e| format!("line {n}: {e}")))
            .collect();
    }
    let (_, head) = lines.next().ok_or("it is empty")?;
    let names: Vec<&str> = head.split(',').map(plain).collect();
    let place = |name: &str| names.iter().position(|n| *n == name);
    let (Some(id), Some(cost)) = (place("attempt").or(place("request")), place("cost_usd")) else {
        return Err(
            "its first line must name the columns: attempt or request, and cost_usd".into(),
        );
    };
    lines
        .map(|(n, line)| {
            let cells: Vec<&str> = line.split(',').map(plain).collect();
            match (cells.len() == names.len(), cells.get(id), cells.get(cost)) {
                (true, Some(id), Some(cost)) => billed(id, cost),
                _ => Err(format!(
                    "{} columns instead of {}",
                    cells.len(),
                    names.len()
                )),
            }
            .map_err(|e| format!("line {n}: {e}"))
        })
        .collect()
}

fn plain(cell: &str) -> &str {
    cell.trim().trim_matches('"')
}

fn of_json(line: &str) -> Result<Billed, String> {
    let fields = Object::read_str(line).map_err(|flaw| flaw.to_string())?;
    let id = ["attempt", "request"]
        .iter()
        .find_map(|name| json::text(fields.some(name)?))
        .ok_or("it names no attempt or request")?;
    let cost = fields.some("cost_usd").ok_or("it has no cost_usd")?;
    billed(&id, plain(cost))
}

fn billed(id: &str, cost: &str) -> Result<Billed, String> {
    let cost = PicoUsd::from_usd_text(cost)?;
    if cost < PicoUsd::ZERO {
        return Err("a cost below zero".into());
    }
    Ok(Billed {
        id: id.to_owned(),
        cost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_is_json_lines_or_csv_with_a_head() {
        let one = |id: &str, pico| Billed {
            id: id.into(),
            cost: PicoUsd(pico),
        };
        for text in [
            "{\"attempt\":\"a\",\"cost_usd\":0.25}\n\n{\"request\":\"b\",\"cost_usd\":\"1e-7\",\"more\":1}\n",
            "when,attempt,cost_usd\n1,a,0.25\n2,\"b\",1e-7\n",
            "cost_usd,request\r\n0.25,a\r\n1e-7,b\r\n",
        ] {
            let bill = read(text);
            assert_eq!(
                bill,
                Ok(vec![one("a", 250_000_000_000), one("b", 100_000)]),
                "{text}"
            );
        }
        for (text, why) in [
            ("", "empty"),
            ("a,b\n1,2\n", "cost_usd"),
            ("attempt,cost_usd\nx\n", "line 2: 1 columns"),
            ("attempt,cost_usd\nx,-1\n", "line 2: a cost below zero"),
            ("attempt,cost_usd\nx,1e-13\n", "line 2"),
            ("{\"attempt\":\"a\"}", "line 1: it has no cost_usd"),
            ("{\"cost_usd\":1}", "names no attempt"),
        ] {
            let error = read(text).expect_err(why);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
