//! `flyball ledger` and `flyball report`: reading the books.

use super::local::bill::BillArgs;
use super::shown::{dollars, table};
use super::{Common, books_at, csv, focus, for_books};
use crate::exchange::describe;
use crate::ledger::forecast::{self, Forecast};
use crate::ledger::record::{Attempt, Cause, Forfeit};
use crate::ledger::report::{self, Dimension, Figures, Query, Report};
use crate::ledger::rollup::DAY_MS;
use crate::ledger::store::Store;
use crate::ledger::verify::verify;
use crate::ledger::window::{Window, Zone};
use crate::ledger::{books, now_ms};
use crate::money::PicoUsd;
use clap::{Args, Subcommand};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write};

#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// One JSON a line (what it is where nothing is said)
    #[arg(long)]
    jsonl: bool,
    /// CSV with the columns of FOCUS 1.x
    #[arg(long, conflicts_with = "jsonl")]
    csv: bool,
    #[command(flatten)]
    range: RangeArgs,
    /// In which time zone --from and --to are, where they name none [default: time_zone of the configuration, else UTC]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

#[derive(Subcommand, Debug)]
pub(super) enum LedgerCommand {
    /// Every attempt, one JSON a line or as CSV for finance tools
    #[command(
        after_help = "Examples, with the fields that docs/export.md tells of:\n  flyball ledger export --jsonl --days 7 > attempts.jsonl\n  flyball ledger export --csv --from 2026-11-01 --to 2026-12-01 > november.csv"
    )]
    Export(ExportArgs),
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

/// Over so many days a report goes where nothing else is said.
const DAYS: u32 = 30;

#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    /// By what to split, e.g. team,key: key, team, organisation, session, user, rule, task, tier, effort, model, provider, outcome, service_tier, day, hour, month, simulated or tag:NAME
    #[arg(long, default_value = "tier,effort", value_name = "LIST")]
    by: String,
    /// Only what has this value, e.g. team=research; may stand several times
    #[arg(long, value_name = "NAME=VALUE")]
    only: Vec<String>,
    #[command(flatten)]
    range: RangeArgs,
    /// In which time zone days and hours begin [default: time_zone of the configuration, else UTC]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// What the month will have cost at its end, instead
    #[arg(long, conflicts_with_all = ["by", "only", "days", "from", "to", "csv"])]
    forecast: bool,
    #[command(flatten)]
    local: BillArgs,
    /// As JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As CSV with a head
    #[arg(long)]
    csv: bool,
}

/// Over which time.
#[derive(Args, Debug)]
pub(super) struct RangeArgs {
    /// Over the last so many days
    #[arg(long, value_name = "DAYS", conflicts_with_all = ["from", "to"])]
    days: Option<u32>,
    /// From this date or time on, e.g. 2026-11-01
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Up to this date or time, which does not count any more [default: now; of an export the last attempt]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

impl RangeArgs {
    /// The first instant that counts and the first that does not any more; where nothing is said, the last so many days, or everything
    /// there is: a clock that was wrong may have dated attempts later than now.
    fn read(&self, zone: &Zone, default_days: Option<u32>) -> Result<std::ops::Range<i64>, String> {
        let instant = |name: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => {
                let read = zone.instant(text);
                read.map(Some).map_err(|why| format!("--{name}: {why}"))
            }
        };
        let now = now_ms();
        let end = if default_days.is_some() {
            now + 1
        } else {
            i64::MAX
        };
        let to = instant("to", &self.to)?.unwrap_or(end);
        let days = self.days.or(default_days);
        let from = match (instant("from", &self.from)?, days) {
            (Some(from), _) => from,
            (None, Some(days)) => to.min(now) - i64::from(days) * DAY_MS,
            (None, None) => i64::MIN,
        };
        if from >= to {
            return Err("--from is not before --to".into());
        }
        Ok(from..to)
    }
}

pub(super) fn ledger(common: &Common, command: &LedgerCommand) -> Result<(), String> {
    if let LedgerCommand::TrueUp { bill } = command {
        return super::bill::true_up(common, bill);
    }
    let mut books = books::open(&books_at(common)?).map_err(|e| e.detail)?;
    match command {
        LedgerCommand::TrueUp { .. } => Ok(()),
        LedgerCommand::Export(args) => export(common, books.as_mut(), args),
        LedgerCommand::Verify { json } => {
            // Attempts and sums must be of one moment: a flyball may be serving meanwhile.
            books.hold().map_err(|e| e.detail)?;
            let found = verify(books.as_mut()).map_err(|e| e.detail)?;
            if *json {
                println!(
                    "{}",
                    json!({"attempts": found.attempts, "open": found.open, "leases_charged": found.forfeits, "differences": found.differences.len() + found.groups.len()})
                );
            } else {
                println!(
                    "{} attempts replayed, {} open, {} differences",
                    found.attempts,
                    found.open,
                    found.differences.len() + found.groups.len()
                );
            }
            if found.is_whole() {
                return Ok(());
            }
            let lines = found.differences.into_iter().map(|d| {
                format!(
                    "{} {}: stored {}, attempts add up to {}",
                    d.counter, d.id, d.stored, d.replayed
                )
            });
            Err(lines.chain(found.groups).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// Writes attempts to standard output. A reader that has seen enough (`| head`) is no mistake; a full disk is.
fn export(common: &Common, books: &mut dyn Store, args: &ExportArgs) -> Result<(), String> {
    let zone = zone_of(common, args.zone.as_deref())?;
    let between = args.range.read(&zone, None)?;
    let kept = books.kept().map_err(|e| e.detail)?.from_ms;
    if between.start < kept {
        let day = Zone::utc().name_of(Window::Day, ms_to_s(kept));
        eprintln!(
            "Attempts from before {day} are not kept any more (ledger_keep); `flyball report` still knows their sums."
        );
    }
    let mut out = Lines::of(std::io::stdout().lock());
    if args.csv {
        out.put(&csv::line(&focus::COLUMNS.map(str::to_owned)));
    }
    let each = &mut |attempt: Attempt| match args.csv {
        true => focus::row(&attempt).is_none_or(|row| out.put(&csv::line(&row))),
        false => out.put(&format!("{}\n", describe(&attempt))),
    };
    books
        .attempts(between.clone(), each)
        .map_err(|e| e.detail)?;
    if !args.csv {
        for f in books.forfeits().map_err(|e| e.detail)? {
            if between.contains(&f.at_ms) {
                out.put(&format!("{}\n", forfeit(&f)));
            }
        }
    }
    out.end()
}

/// A lease that was lost in a crash.
fn forfeit(f: &Forfeit) -> serde_json::Value {
    let time = jiff::Timestamp::from_millisecond(f.at_ms).unwrap_or_default();
    json!({"lease": f.counter, "window": f.id, "amount": i64::try_from(f.amount).ok(), "basis": "bound", "outcome": "crash", "time": time.to_string()})
}

/// Lines on their way out, until that fails.
struct Lines<W: Write> {
    out: std::io::BufWriter<W>,
    failed: Option<std::io::Error>,
}

impl<W: Write> Lines<W> {
    fn of(out: W) -> Lines<W> {
        Lines {
            out: std::io::BufWriter::new(out),
            failed: None,
        }
    }

    /// Writes a text; false once that has failed.
    fn put(&mut self, text: &str) -> bool {
        if self.failed.is_none() {
            self.failed = self.out.write_all(text.as_bytes()).err();
        }
        self.failed.is_none()
    }

    /// Everything is written, or whoever reads has seen enough.
    fn end(mut self) -> Result<(), String> {
        let failed = self.failed.take().or_else(|| self.out.flush().err());
        match failed {
            Some(e) if e.kind() != ErrorKind::BrokenPipe => {
                // What is still to be written would fail again.
                let (_, _) = self.out.into_parts();
                Err(format!(
                    "the output is not whole, since it cannot be written: {e}"
                ))
            }
            _ => Ok(()),
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

/// A report as CSV, for spreadsheets.
fn report_csv(report: &Report) -> String {
    let names = report.query.by.iter().map(ToString::to_string);
    let mut head: Vec<String> = names.collect();
    head.extend(
        [
            "requests",
            "attempts",
            "input_tokens",
            "cached_tokens",
            "cache_write_tokens",
            "output_tokens",
            "reasoning_tokens",
            "cost_usd",
            "baseline_usd",
            "saved_usd",
            "cached_usd",
        ]
        .map(str::to_owned),
    );
    head.extend(Cause::SAVINGS.map(|c| format!("saved_by_{}_usd", c.name())));
    head.extend(Cause::LOSSES.map(|c| format!("lost_by_{}_usd", c.name())));
    head.push("saved_most_usd".to_owned());
    let mut text = csv::line(&head);
    for row in &report.rows {
        let f = &row.figures;
        let s = &f.sums;
        let counts = [
            s.requests,
            s.attempts,
            s.input,
            s.cached,
            s.cache_write,
            s.output,
            s.reasoning,
        ];
        let money = [f.cost(), f.baseline(), f.saved(), PicoUsd(s.cache_discount)];
        let money = money.into_iter().chain(f.saved_by).chain(f.lost_by);
        let money = money.chain([f.saved_most()]);
        let cells = row.values.iter().map(|value| csv::words(value));
        let cells = cells.chain(counts.map(|n| n.to_string()));
        let cells: Vec<String> = cells.chain(money.map(PicoUsd::usd_text)).collect();
        text.push_str(&csv::line(&cells));
    }
    text
}

pub(super) fn report(common: &Common, args: &ReportArgs) -> Result<(), String> {
    let zone = zone_of(common, args.zone.as_deref())?;
    if args.forecast {
        let mut books = books::open(&books_at(common)?).map_err(|e| e.detail)?;
        let forecast = forecast::read(books.as_mut(), &zone, now_ms()).map_err(|e| e.detail)?;
        return print(&match args.json {
            true => format!("{}\n", forecast.json()),
            false => forecast_text(&forecast),
        });
    }
    let by = Dimension::parse_list(&args.by).map_err(|why| format!("--by: {why}"))?;
    let only = args.only.iter().map(|text| only(text));
    let only = only.collect::<Result<_, String>>()?;
    let range = args.range.read(&zone, Some(DAYS))?;
    if let Some(bill) = args.local.asked() {
        let query = Query {
            zone,
            only,
            ..Query::between(range.start, range.end, Vec::new())
        };
        return print(&bill.work_out(common, &query, args.json)?);
    }
    let query = Query {
        zone,
        only,
        ..Query::between(range.start, range.end, by)
    };
    let mut books = books::open(&books_at(common)?).map_err(|e| e.detail)?;
    let report = report::read(books.as_mut(), &query).map_err(|e| e.detail)?;
    print(&if args.json {
        format!("{}\n", report.json())
    } else if args.csv {
        report_csv(&report)
    } else {
        report_text(&report, args)
    })
}

fn print(text: &str) -> Result<(), String> {
    let mut out = Lines::of(std::io::stdout().lock());
    out.put(text);
    out.end()
}

fn forecast_text(forecast: &Forecast) -> String {
    let mut text = format!(
        "{} ({}): {} spent so far, {} saved.\n",
        forecast.month,
        forecast.zone.name(),
        dollars(forecast.spent),
        dollars(forecast.saved)
    );
    if let Some(expected) = forecast.expected {
        let _ = write!(text, "At its end {} are to be expected", dollars(expected));
        if let Some((low, high)) = forecast.interval {
            let (low, high) = (dollars(low), dollars(high));
            let _ = write!(text, ", with 80 % confidence between {low} and {high}");
        }
        let _ = writeln!(
            text,
            ": by the last {} days, each weekday for itself where there are 14.",
            forecast.days_seen
        );
    }
    if let Some(note) = forecast.note() {
        let _ = writeln!(text, "{note}");
    }
    text
}

/// The time zone that is named, else that of the configuration where one is read.
fn zone_of(common: &Common, named: Option<&str>) -> Result<Zone, String> {
    match named {
        Some(name) => Zone::named(name).map_err(|why| format!("--zone: {why}")),
        None if common.data_dir.is_some() && common.config.is_none() => Ok(Zone::utc()),
        None => for_books(common).map(|config| config.zone),
    }
}

/// `team=research`.
fn only(text: &str) -> Result<(Dimension, String), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("--only: \"{text}\" is not like team=research"));
    };
    let dimension = Dimension::parse(name).map_err(|why| format!("--only: {why}"))?;
    Ok((dimension, value.to_owned()))
}

/// Says what a report is of, and shows it as a table.
fn report_text(report: &Report, args: &ReportArgs) -> String {
    let names: Vec<String> = report.query.by.iter().map(ToString::to_string).collect();
    let by = match names.is_empty() {
        true => String::new(),
        false => format!(", by {}", names.join(" and ")),
    };
    let range = &args.range;
    let time = match (range.days, &range.from, &range.to) {
        (days, None, None) => format!("The last {} days", days.unwrap_or(DAYS)),
        _ => {
            let time = |ms| report.query.zone.name_of(Window::Minute, ms_to_s(ms));
            format!(
                "From {} to {}",
                time(report.query.from_ms),
                time(report.query.to_ms)
            )
        }
    };
    let mut lines = vec![
        format!(
            "{time}{by} (saved = baseline - cost; see docs/savings.md for what the baseline is):"
        ),
        report_table(report),
        causes(&report.total),
    ];
    lines.extend(at_most(&report.total));
    lines.extend(report.notes.iter().cloned());
    if report.simulated {
        lines.push("Some answers were simulated: no money was spent on them.".into());
    }
    lines.join("\n") + "\n"
}

fn ms_to_s(ms: i64) -> i64 {
    ms.div_euclid(1_000)
}

/// The rows of a report, and a last one for all.
fn report_table(report: &Report) -> String {
    let names: Vec<String> = report.query.by.iter().map(ToString::to_string).collect();
    let figures = ["requests", "input", "output", "cost", "baseline", "saved"];
    let head: Vec<&str> = names.iter().map(String::as_str).chain(figures).collect();
    let mut table = table(&head);
    for row in &report.rows {
        let values = row.values.iter().map(|value| match value.is_empty() {
            true => "-".to_owned(),
            false => shown(value),
        });
        table.add_row(values.chain(figure_cells(&row.figures)));
    }
    let blank = |n| if n == 0 { "all" } else { "" };
    let last = (0..names.len()).map(|n| blank(n).to_owned());
    table.add_row(last.chain(figure_cells(&report.total)));
    table.to_string()
}

/// A value without what would move a terminal's cursor: session ids are the callers' own words.
pub(super) fn shown(value: &str) -> String {
    value
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn figure_cells(figures: &Figures) -> [String; 6] {
    let s = &figures.sums;
    let saved = figures.saved();
    let share = match s.baseline > 0 {
        true => format!(" ({} %)", saved.0.saturating_mul(100) / s.baseline),
        false => String::new(),
    };
    [
        s.requests.to_string(),
        (s.input + s.cached + s.cache_write).to_string(),
        format!("{} ({} hidden)", s.output, s.reasoning),
        dollars(figures.cost()),
        dollars(figures.baseline()),
        dollars(saved) + &share,
    ]
}

/// What may have been saved beyond that.
fn at_most(total: &Figures) -> Option<String> {
    let extra = PicoUsd(total.sums.baseline_extra);
    (extra > PicoUsd::ZERO).then(|| {
        format!(
            "Up to {} were saved if baselines had thought as much as is expected of them, which was not seen.",
            dollars(total.saved_most())
        )
    })
}

/// Why it was saved and lost.
fn causes(total: &Figures) -> String {
    let listed = |causes: &[Cause], sums: &[PicoUsd]| {
        let some = causes
            .iter()
            .zip(sums)
            .filter(|(_, sum)| **sum != PicoUsd::ZERO);
        let some: Vec<String> = some
            .map(|(c, sum)| format!("{} {}", c.name(), dollars(*sum)))
            .collect();
        match some.is_empty() {
            true => "nothing".to_owned(),
            false => some.join(", "),
        }
    };
    format!(
        "Saved by: {}. Lost by: {}. Prompt caches took off {}.",
        listed(&Cause::SAVINGS, &total.saved_by),
        listed(&Cause::LOSSES, &total.lost_by),
        dollars(PicoUsd(total.sums.cache_discount))
    )
}
