//! `flyball ledger` and `flyball report`: reading the books.

use super::{Common, books_at};
use crate::exchange::describe;
use crate::ledger::record::Attempt;
use crate::ledger::verify::verify;
use crate::ledger::{books, now_ms};
use crate::money::PicoUsd;
use clap::{Args, Subcommand};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;

#[derive(Subcommand, Debug)]
pub(super) enum LedgerCommand {
    /// Every attempt, one JSON a line
    #[command(
        after_help = "Example, with the fields that docs/export.md tells of:\n  flyball ledger export --jsonl --days 7 > attempts.jsonl"
    )]
    Export {
        /// One JSON a line (the only form there is)
        #[arg(long)]
        jsonl: bool,
        /// Only the last so many days
        #[arg(long, value_name = "DAYS")]
        days: Option<u32>,
    },
    /// Replay every attempt from nothing and compare with the stored sums
    #[command(after_help = "Example:\n  flyball ledger verify")]
    Verify {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Book what a provider's bill says of attempts that were charged at their bound
    #[command(after_help = "Example:\n  flyball ledger true-up bill.csv")]
    TrueUp {
        /// One JSON a line, or CSV with a head: attempt or request, and cost_usd
        bill: std::path::PathBuf,
    },
}

#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    /// Over the last so many days
    #[arg(long, default_value_t = 30, value_name = "DAYS")]
    days: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn since(days: u32) -> i64 {
    now_ms() - i64::from(days) * 86_400_000
}

pub(super) fn ledger(common: &Common, command: &LedgerCommand) -> Result<(), String> {
    if let LedgerCommand::TrueUp { bill } = command {
        return super::bill::true_up(common, bill);
    }
    let mut books = books::open(&books_at(common)?).map_err(|e| e.detail)?;
    match command {
        LedgerCommand::TrueUp { .. } => Ok(()),
        LedgerCommand::Export { days, .. } => {
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            // A reader that has seen enough (`| head`) is no mistake.
            let each = &mut |attempt: Attempt| writeln!(out, "{}", describe(&attempt)).is_ok();
            let since = days.map_or(i64::MIN, since);
            books.attempts(since, each).map_err(|e| e.detail)?;
            for f in books
                .forfeits()
                .map_err(|e| e.detail)?
                .iter()
                .filter(|f| f.at_ms >= since)
            {
                let time = jiff::Timestamp::from_millisecond(f.at_ms).unwrap_or_default();
                let line = json!({"lease": f.counter, "window": f.id, "amount": i64::try_from(f.amount).ok(), "basis": "bound", "outcome": "crash", "time": time.to_string()});
                if writeln!(out, "{line}").is_err() {
                    break;
                }
            }
            Ok(())
        }
        LedgerCommand::Verify { json } => {
            // Attempts and sums must be of one moment: a flyball may be serving meanwhile.
            books.hold().map_err(|e| e.detail)?;
            let found = verify(books.as_mut()).map_err(|e| e.detail)?;
            if *json {
                println!(
                    "{}",
                    json!({"attempts": found.attempts, "open": found.open, "leases_charged": found.forfeits, "differences": found.differences.len()})
                );
            } else {
                println!(
                    "{} attempts replayed, {} open, {} differences",
                    found.attempts,
                    found.open,
                    found.differences.len()
                );
            }
            if found.differences.is_empty() {
                return Ok(());
            }
            let lines = found.differences.iter().map(|d| {
                format!(
                    "{} {}: stored {}, attempts add up to {}",
                    d.counter, d.id, d.stored, d.replayed
                )
            });
            Err(lines.collect::<Vec<_>>().join("\n"))
        }
    }
}

/// What a group of attempts did.
#[derive(Clone, Debug, Default)]
pub(super) struct BookSum {
    pub(super) requests: u64,
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) reasoning: u64,
    pub(super) cost: PicoUsd,
    pub(super) baseline: PicoUsd,
    pub(super) simulated: bool,
}

impl BookSum {
    pub(super) fn add(&mut self, other: &BookSum) {
        self.requests += other.requests;
        self.input += other.input;
        self.output += other.output;
        self.reasoning += other.reasoning;
        self.cost += other.cost;
        self.baseline += other.baseline;
        self.simulated |= other.simulated;
    }

    fn row(&self, name: [&str; 2]) -> [String; 8] {
        let saved = self.baseline - self.cost;
        let share = if self.baseline > PicoUsd::ZERO {
            format!(" ({} %)", saved.0 * 100 / self.baseline.0)
        } else {
            String::new()
        };
        let [tier, effort] = name.map(str::to_owned);
        [
            tier,
            effort,
            self.requests.to_string(),
            self.input.to_string(),
            format!("{} ({} hidden)", self.output, self.reasoning),
            dollars(self.cost),
            dollars(self.baseline),
            dollars(saved) + &share,
        ]
    }
}

/// Sums by tier and effort as a table with a last line for all.
pub(super) fn sums_table(sums: &BTreeMap<(String, String), BookSum>) -> String {
    let mut table = table(&[
        "tier", "effort", "requests", "input", "output", "cost", "baseline", "saved",
    ]);
    let mut all = BookSum::default();
    for ((tier, effort), sum) in sums {
        all.add(sum);
        table.add_row(sum.row([tier, effort]));
    }
    table.add_row(all.row(["all", ""]));
    table.to_string()
}

/// The same as JSON.
pub(super) fn sums_json(sums: &BTreeMap<(String, String), BookSum>) -> serde_json::Value {
    let rows = sums.iter().map(|((tier, effort), s)| {
        json!({"tier": tier, "effort": effort, "requests": s.requests, "input": s.input, "output": s.output, "reasoning": s.reasoning, "cost_usd": s.cost.usd_text(), "baseline_usd": s.baseline.usd_text(), "saved_usd": (s.baseline - s.cost).usd_text()})
    });
    rows.collect()
}

/// An empty table with these columns.
pub(super) fn table(columns: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY)
        .set_header(columns);
    table
}

/// Dollars to a hundredth of a cent, rounded up: for people, not for the books.
pub(super) fn dollars(amount: PicoUsd) -> String {
    const STEP: i128 = 100_000_000;
    let sign = amount.0.signum();
    let steps = (amount.0.abs() + STEP - 1) / STEP;
    PicoUsd(steps * STEP * sign).to_string()
}

pub(super) fn report(common: &Common, args: &ReportArgs) -> Result<(), String> {
    let mut books = books::open(&books_at(common)?).map_err(|e| e.detail)?;
    let mut sums: BTreeMap<(String, String), BookSum> = BTreeMap::new();
    books
        .attempts(since(args.days), &mut |attempt| {
            let (Some(cost), Some(closing)) = (attempt.booked(), attempt.closing) else {
                return true;
            };
            let one = BookSum {
                requests: 1,
                input: closing.usage.input_total(),
                output: closing.usage.output,
                reasoning: closing.usage.reasoning,
                cost,
                baseline: closing.baseline,
                simulated: attempt.opening.simulated,
            };
            let opening = &attempt.opening;
            let (tier, effort) = (opening.tier.name(), opening.effort.name());
            sums.entry((tier.into(), effort.into()))
                .or_default()
                .add(&one);
            true
        })
        .map_err(|e| e.detail)?;
    if args.json {
        println!("{}", json!({"days": args.days, "rows": sums_json(&sums)}));
    } else {
        println!(
            "The last {} days, by tier and effort (saved = baseline - cost; see docs/savings.md for what the baseline is):",
            args.days
        );
        println!("{}", sums_table(&sums));
        if sums.values().any(|s| s.simulated) {
            println!("Some answers were simulated: no money was spent on them.");
        }
    }
    Ok(())
}
