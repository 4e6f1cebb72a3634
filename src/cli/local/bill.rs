//! `flyball report --local`: what the traffic in the books would have cost on a machine of one's own.

use super::asking::Measured;
use super::speeds;
use crate::cli::shown::{dollars, table};
use crate::cli::{Common, books_at};
use crate::hardware::{DAY_MS, Figures, Hours, Load, Machine, Share, Speed, Trial};
use crate::ledger::record::Closed;
use crate::ledger::report::{self, Query};
use crate::ledger::window::{Window, Zone};
use crate::ledger::{books, now_ms};
use crate::money::PicoUsd;
use crate::reader::parse_duration;
use clap::Args;
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// A kilowatt-hour, where nothing is said.
const KWH_USD: &str = "0.30";
/// So many requests whose last attempt has not come yet are remembered.
const WAITING_MAX: usize = 100_000;

/// The machine of which it is asked what traffic would cost on it.
#[derive(Args, Debug)]
pub(in crate::cli) struct BillArgs {
    /// What the traffic would have cost on a machine of your own with this model, instead; its speed was measured by `flyball local --measure`, or is told below
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["by", "csv", "forecast"], requires_all = ["price_usd", "watts"])]
    local: Option<String>,
    /// What the machine costs, 0 where you have it
    #[arg(long, value_name = "USD", requires = "local")]
    price_usd: Option<String>,
    /// What it draws while it answers
    #[arg(long, value_name = "WATTS", requires = "local")]
    watts: Option<u32>,
    /// What it draws while it waits [default: a tenth of --watts]
    #[arg(long, value_name = "WATTS", requires = "local")]
    idle_watts: Option<u32>,
    /// What a kilowatt-hour costs [default: 0.30]
    #[arg(long, value_name = "USD", requires = "local")]
    kwh_usd: Option<String>,
    /// The hours of the day in which it is on, e.g. 8-20 [default: 0-24]
    #[arg(long, value_name = "FROM-TO", requires = "local")]
    hours: Option<String>,
    /// An answer that takes longer is late [default: 60s]
    #[arg(long, value_name = "TIME", requires = "local")]
    deadline: Option<String>,
    /// Tokens of a prompt that each request at once reads a second, instead of what was measured
    #[arg(long, value_name = "TOKENS", requires = "local")]
    reads: Option<f64>,
    /// Tokens of an answer that each request at once writes a second, instead of what was measured
    #[arg(long, value_name = "TOKENS", requires = "local")]
    writes: Option<f64>,
    /// So many requests at once, with --reads and --writes
    #[arg(long, value_name = "N", requires_all = ["local", "reads", "writes"], value_parser = clap::value_parser!(u32).range(1..=1024))]
    at_once: Option<u32>,
    /// Tokens that fit into the model, instead of what its server tells
    #[arg(long, value_name = "TOKENS", requires = "local")]
    context: Option<u64>,
    /// What providers have read from their prompt caches is not read anew
    #[arg(long, requires = "local")]
    reuse: bool,
    /// The model thinks as much as the models have that answered
    #[arg(long, requires = "local")]
    thinking: bool,
}

/// A model of one's own that is asked about.
pub(in crate::cli) struct Bill<'a> {
    model: &'a str,
    args: &'a BillArgs,
}

impl BillArgs {
    /// The question, where it is asked.
    pub(in crate::cli) fn asked(&self) -> Option<Bill<'_>> {
        let model = self.local.as_deref()?;
        Some(Bill { model, args: self })
    }
}

/// The requests of the books as loads of a machine.
struct Loads<'b, 'm> {
    args: &'b BillArgs,
    zone: &'b Zone,
    trial: Trial<'m>,
    /// What earlier attempts of a request have cost whose last one has not come yet.
    before: HashMap<String, PicoUsd>,
    requests: u64,
    cost: PicoUsd,
    simulated: bool,
}

impl Loads<'_, '_> {
    fn add(&mut self, closed: &Closed<'_>) {
        let (opening, cost) = (closed.opening, closed.booked());
        self.cost += cost;
        self.simulated |= opening.simulated;
        if !closed.is_final() {
            // What no last attempt comes for is only told as a cost that stays.
            if self.before.len() < WAITING_MAX {
                *self.before.entry(opening.request.clone()).or_default() += cost;
            }
            return;
        }
        self.requests += 1;
        let before = self.before.remove(&opening.request).unwrap_or_default();
        let usage = &closed.closing.usage;
        let written = usage.cache_write + usage.cache_write_long;
        let cached = if self.args.reuse { 0 } else { usage.cached };
        let thought = if self.args.thinking {
            0
        } else {
            usage.reasoning
        };
        self.trial.add(&Load {
            at_ms: opening.at_ms,
            hour: self.zone.hour(opening.at_ms.div_euclid(1_000)),
            input: usage.input + written + cached,
            output: usage.output.saturating_sub(thought),
            cost: cost + before,
            task: &opening.task,
        });
    }
}

impl Bill<'_> {
    /// Reads the books, and says what it comes to.
    pub(in crate::cli) fn work_out(
        &self,
        common: &Common,
        query: &Query,
        as_json: bool,
    ) -> Result<String, String> {
        let settings = books_at(common)?;
        let machine = self.machine(&settings.data_dir)?;
        let mut books = books::open(&settings).map_err(|e| e.detail)?;
        let mut loads = Loads {
            args: self.args,
            zone: &query.zone,
            trial: Trial::of(&machine),
            before: HashMap::new(),
            requests: 0,
            cost: PicoUsd::ZERO,
            simulated: false,
        };
        let cut = report::attempts(books.as_mut(), query, &mut |closed| loads.add(closed));
        let cut = cut.map_err(|e| e.detail)?;
        let told = LocalBill {
            model: self.model,
            machine: &machine,
            query,
            requests: loads.requests,
            cost: loads.cost,
            simulated: loads.simulated,
            cut,
            figures: loads.trial.ends(query.to_ms.min(now_ms())),
        };
        Ok(match as_json {
            true => told.json() + "\n",
            false => told.text(),
        })
    }

    fn machine(&self, data_dir: &Path) -> Result<Machine, String> {
        let args = self.args;
        let money = |name: &str, text: &str| {
            let amount = PicoUsd::from_usd_text(text).map_err(|why| format!("--{name}: {why}"))?;
            match amount < PicoUsd::ZERO {
                true => Err(format!("--{name}: below zero")),
                false => Ok(amount),
            }
        };
        let deadline = args.deadline.as_deref().unwrap_or("60s");
        let deadline = parse_duration(deadline).ok_or_else(|| {
            format!("--deadline: \"{deadline}\" is no time; write it like 30s, 10m or 24h")
        })?;
        let hours = args.hours.as_deref().map(Hours::parse).transpose();
        let watts = args.watts.unwrap_or_default();
        Ok(Machine {
            price: money("price-usd", args.price_usd.as_deref().unwrap_or_default())?,
            watts,
            idle_watts: args.idle_watts.unwrap_or(watts.div_ceil(10)),
            kwh: money("kwh-usd", args.kwh_usd.as_deref().unwrap_or(KWH_USD))?,
            hours: hours
                .map_err(|why| format!("--hours: {why}"))?
                .unwrap_or(Hours::ALL),
            speed: self.speed(data_dir)?,
            deadline_ms: i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX),
        })
    }

    fn speed(&self, data_dir: &Path) -> Result<Speed, String> {
        let args = self.args;
        let kept = speeds::read(data_dir)?;
        let measured = kept.into_iter().find(|speed| speed.model == self.model);
        let told = |name: &str, told: Option<f64>, of: fn(&Measured) -> u64| match (told, &measured)
        {
            (Some(told), _) => milli(told).ok_or_else(|| {
                format!("--{name}: {told} is no speed; write tokens a second, above zero")
            }),
            (None, Some(measured)) => Ok(of(measured)),
            (None, None) => Err(format!(
                "the speed of \"{}\" was not measured: run flyball local --measure --model {}, or tell it with --reads and --writes (tokens a second)",
                self.model, self.model
            )),
        };
        Ok(Speed {
            prefill_milli: told("reads", args.reads, |m| m.prefill_milli)?,
            decode_milli: told("writes", args.writes, |m| m.decode_milli)?,
            slots: args
                .at_once
                .or(measured.as_ref().map(|m| m.at_once))
                .unwrap_or(1),
            context: args
                .context
                .or(measured.as_ref().and_then(|m| m.context_tokens)),
        })
    }
}

/// Tokens a second in thousandths.
fn milli(rate: f64) -> Option<u64> {
    let duration = Duration::try_from_secs_f64(rate).ok()?;
    u64::try_from(duration.as_millis()).ok().filter(|m| *m > 0)
}

/// What is said.
struct LocalBill<'a> {
    model: &'a str,
    machine: &'a Machine,
    query: &'a Query,
    requests: u64,
    cost: PicoUsd,
    simulated: bool,
    /// From when on attempts are kept, where older ones were asked for.
    cut: Option<i64>,
    figures: Figures,
}

/// So many thousandths of a whole as a percentage with one digit.
fn percent(part: u64, whole: u64) -> String {
    let milli = u128::from(part) * 1_000 / u128::from(whole.max(1));
    format!("{}.{} %", milli / 10, milli % 10)
}

fn seconds(ms: Option<i64>) -> String {
    ms.map_or_else(
        || "-".into(),
        |ms| format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
    )
}

impl LocalBill<'_> {
    fn json(&self) -> String {
        let mut fields = self.figures.json();
        let speed = &self.machine.speed;
        let machine = json!({
            "model": self.model,
            "price_usd": self.machine.price.usd_text(),
            "watts": self.machine.watts,
            "idle_watts": self.machine.idle_watts,
            "kwh_usd": self.machine.kwh.usd_text(),
            "prefill_milli": speed.prefill_milli,
            "decode_milli": speed.decode_milli,
            "at_once": speed.slots,
            "context_tokens": speed.context,
            "deadline_ms": self.machine.deadline_ms,
        });
        fields.insert("machine".into(), machine);
        fields.insert("requests".into(), json!(self.requests));
        fields.insert("api_cost_usd".into(), json!(self.cost.usd_text()));
        fields.insert("simulated".into(), json!(self.simulated));
        fields.insert("attempts_kept_from_ms".into(), json!(self.cut));
        serde_json::Value::Object(fields).to_string()
    }

    fn text(&self) -> String {
        let figures = &self.figures;
        let mut text = String::new();
        let time = |ms: i64| {
            let zone = &self.query.zone;
            zone.name_of(Window::Minute, ms.div_euclid(1_000))
        };
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            text,
            "{} requests from {} on have cost {}.",
            self.requests,
            time(self.query.from_ms),
            dollars(self.cost)
        );
        if self.requests == 0 {
            return text;
        }
        self.put_machine(&mut text);
        let rest = [
            ("do not fit into its context", &figures.too_long),
            ("come while it is off", &figures.outside),
        ];
        for (why, share) in rest.iter().filter(|(_, share)| share.requests > 0) {
            let (requests, cost) = (share.requests, dollars(share.cost));
            let _ = writeln!(
                text,
                "{requests} requests, {cost} of it, stay where they are: they {why}."
            );
        }
        text.push_str(&tasks(figures));
        text.push('\n');
        self.put_verdict(&mut text);
        if let Some(from) = self.cut {
            let _ = writeln!(
                text,
                "Attempts from before {} are not kept any more and do not count.",
                time(from)
            );
        }
        if self.simulated {
            text.push_str("Some answers were simulated: no money was spent on them.\n");
        }
        text.push_str("Whether its answers are good enough is another question, which flyball compare and flyball calibrate answer.\n");
        text
    }

    fn put_machine(&self, text: &mut String) {
        let (figures, speed) = (&self.figures, &self.machine.speed);
        let _ = writeln!(
            text,
            "{}, which reads {} and writes {} tokens a second, {} at once, would answer {} of them ({}), {} of that cost:",
            self.model,
            speeds::rate(speed.prefill_milli),
            speeds::rate(speed.decode_milli),
            speed.slots,
            figures.here.requests,
            percent(figures.here.requests, self.requests),
            dollars(figures.here.cost)
        );
        let _ = writeln!(
            text,
            "half of them within {}, 95 % within {}; {} ({}) would take longer than {}.",
            seconds(figures.median_ms),
            seconds(figures.p95_ms),
            figures.here.late,
            percent(figures.here.late, figures.here.requests),
            seconds(Some(self.machine.deadline_ms)),
        );
    }

    fn put_verdict(&self, text: &mut String) {
        let figures = &self.figures;
        let share = |part: i64, whole: i64| {
            let number = |n: i64| u64::try_from(n).unwrap_or(0);
            percent(number(part), number(whole))
        };
        let _ = writeln!(
            text,
            "It would be busy for {} of its time and draw {} kWh, which cost {}.",
            share(figures.busy_ms, figures.on_ms),
            figures.kwh_text(),
            dollars(figures.electricity)
        );
        let net = figures.here.cost - figures.electricity;
        let monthly = PicoUsd(net.0 * i128::from(30 * DAY_MS) / i128::from(figures.span_ms.max(1)));
        let price = dollars(self.machine.price);
        let _ = match figures.pays_after_days {
            Some(0) => writeln!(text, "It saves {} a month.", dollars(monthly)),
            Some(days) => writeln!(
                text,
                "It saves {} a month and has paid its {price} after {days} days{}.",
                dollars(monthly),
                self.day(days)
            ),
            None => writeln!(
                text,
                "It never pays: its electricity costs as much as these answers, or more."
            ),
        };
    }

    /// The date so many days from now, where calendars go so far.
    fn day(&self, days: u64) -> String {
        let ms = i64::try_from(days).ok().and_then(|days| {
            let ms = days.checked_mul(DAY_MS)?;
            now_ms().checked_add(ms)
        });
        // A hundred years are no plan.
        let ms = ms.filter(|_| days < 36_500);
        ms.map_or_else(String::new, |ms| {
            let day = self.query.zone.name_of(Window::Day, ms / 1_000);
            format!(", on {day}")
        })
    }
}

/// What it would answer, by task.
fn tasks(figures: &Figures) -> String {
    let mut table = table(&["task", "requests", "late", "cost"]);
    let row = |name: &str, share: &Share| {
        let (requests, late) = (share.requests.to_string(), share.late.to_string());
        [name.to_owned(), requests, late, dollars(share.cost)]
    };
    for (task, share) in &figures.tasks {
        table.add_row(row(task, share));
    }
    table.add_row(row("all", &figures.here));
    table.to_string()
}
