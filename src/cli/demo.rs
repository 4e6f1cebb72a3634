//! `flyball demo`: a mixed stream of prompts through a running proxy, and what came of it; with `--days`, a month that was made up.

mod apps;
mod booking;
mod calendar;
mod figures;
mod folder;
mod month;
mod openmetrics;
mod pricing;
mod scenery;
mod traffic;
mod world;

use super::books::{BookSum, sums_json, sums_table};
use super::shown::dollars;
use super::{Common, client, runtime};
use crate::config::{self, Overrides};
use crate::money::PicoUsd;
use crate::process;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// Prompts of the kind that apps send, written for this demo.
const PROMPTS: &str = include_str!("../data/demo_prompts.jsonl");

#[derive(Args, Clone, Debug)]
pub(super) struct DemoArgs {
    /// The flyball to send to, e.g. http://127.0.0.1:8484 [default: one of its own, with simulated models]
    #[arg(long, value_name = "URL")]
    against: Option<String>,
    /// Its admin address, for the latency that it adds
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8485")]
    admin: String,
    /// A virtual key to send with
    #[arg(long, env = "FLYBALL_KEY", hide_env_values = true)]
    key: Option<String>,
    /// How many requests
    #[arg(long, default_value_t = 120)]
    requests: usize,
    /// How many at once
    #[arg(long, default_value_t = 8)]
    parallel: usize,
    /// Go on until stopped
    #[arg(long)]
    forever: bool,
    /// Send with each key of this file in turn: a name and a secret a line, as --days writes them
    #[arg(
        long,
        value_name = "FILE",
        requires = "against",
        conflicts_with = "key"
    )]
    keys: Option<PathBuf>,
    /// Send nothing: make up so many days of traffic and write their books and metrics into --out
    #[arg(long, value_name = "DAYS", requires = "out", conflicts_with_all = ["against", "forever", "requests", "parallel", "key"], value_parser = clap::value_parser!(u32).range(1..=366))]
    days: Option<u32>,
    /// The folder for them, which must be empty or not be there
    #[arg(long, value_name = "DIR", requires = "days")]
    out: Option<PathBuf>,
    /// What is made up follows from this number
    #[arg(long, default_value_t = 1, requires = "days")]
    seed: u64,
    /// How many requests an ordinary working day has at the middle of that time
    #[arg(long, value_name = "COUNT", default_value_t = 2_000, requires = "days", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    requests_a_day: u64,
    /// When the days end, like 2026-11-30 or 2026-11-30T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", requires = "days")]
    until: Option<String>,
    /// Leave a month that is in --out already as it is
    #[arg(long, requires = "days")]
    keep: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Where the demo sends, and what it knows of it.
struct Target {
    url: String,
    admin: String,
    key: Option<String>,
    /// A key with a small cap, on a flyball of our own.
    capped: Option<String>,
    /// Keys to send with in turn.
    keys: Vec<String>,
}

pub(super) fn run(_common: &Common, args: &DemoArgs) -> Result<(), String> {
    if let (Some(days), Some(out)) = (args.days, &args.out) {
        return month::run(&month::MonthAsked {
            days,
            out,
            seed: args.seed,
            requests_a_day: args.requests_a_day,
            until: args.until.as_deref(),
            keep: args.keep,
            json: args.json,
        });
    }
    let keys = match &args.keys {
        Some(file) => secrets(file)?,
        None => Vec::new(),
    };
    runtime()?.block_on(async {
        match &args.against {
            Some(url) => {
                let target = Target {
                    url: url.trim_end_matches('/').to_owned(),
                    admin: args.admin.clone(),
                    key: args.key.clone(),
                    capped: None,
                    keys,
                };
                go(args, &Arc::new(target)).await
            }
            None => alone(args).await,
        }
    })
}

/// The secrets of a file with a name and a secret a line.
fn secrets(file: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let secret = |(number, line): (usize, &str)| match line.split_once(' ') {
        Some((_, secret)) => Ok(secret.trim().to_owned()),
        None => Err(format!(
            "{}:{}: a line is a key's name, a space and its secret",
            file.display(),
            number + 1
        )),
    };
    let secrets: Result<Vec<String>, String> = lines.enumerate().map(secret).collect();
    match secrets {
        Ok(none) if none.is_empty() => Err(format!("{}: there is no key in it", file.display())),
        secrets => secrets,
    }
}

/// A flyball of our own, in a folder that is gone afterwards.
async fn alone(args: &DemoArgs) -> Result<(), String> {
    let dir = std::env::temp_dir().join(format!("flyball-demo-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let done = in_folder(args, &dir).await;
    std::fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    done
}

async fn in_folder(args: &DemoArgs, dir: &Path) -> Result<(), String> {
    let file = dir.join("flyball.toml");
    std::fs::write(&file, "[simulate]\nspeed = 20.0\n")
        .map_err(|e| format!("{}: {e}", file.display()))?;
    let overrides = Overrides {
        config: Some(file),
        listen: Some("127.0.0.1:0".into()),
        admin_listen: Some("127.0.0.1:0".into()),
        data_dir: Some(PathBuf::from(dir).join("data")),
        ..Overrides::default()
    };
    let config = config::load(&overrides).map_err(|all| super::joined(&all))?;
    let (key, capped) = make_keys(&config.data_dir)?;
    let running = process::start(config, overrides)
        .await
        .map_err(|e| e.detail)?;
    let target = Target {
        url: format!("http://{}", running.listen),
        admin: format!("http://{}", running.admin),
        key: Some(key),
        capped: Some(capped),
        keys: Vec::new(),
    };
    let done = go(args, &Arc::new(target)).await;
    running.stop().await;
    done
}

/// One key without a cap, and one whose cap is used up after a few requests.
fn make_keys(data_dir: &Path) -> Result<(String, String), String> {
    use crate::ledger::cap::Cap;
    use crate::ledger::store::Key;
    let mut books = crate::ledger::books::make(&crate::ledger::Settings::embedded(data_dir))
        .map_err(|e| e.detail)?;
    let mut make = |name: &str, caps| {
        let secret = format!("fb_demo_{}", uuid::Uuid::now_v7());
        let key = Key {
            name: name.into(),
            hash: crate::caller::hash(secret.as_bytes()),
            created: crate::ledger::now(),
            caps,
            ..Key::default()
        };
        books.create_key(&key).map(|_| secret).map_err(|e| e.detail)
    };
    let cap = Cap::parse("0.05usd/day").expect("a cap");
    Ok((
        make("demo", Vec::new())?,
        make("demo with a cap of $0.05", vec![cap])?,
    ))
}

/// What came of the requests.
#[derive(Default)]
struct Tally {
    sums: BTreeMap<(String, String), BookSum>,
    refused: u64,
    failed: Vec<String>,
}

async fn go(args: &DemoArgs, target: &Arc<Target>) -> Result<(), String> {
    let prompts: Arc<Vec<String>> = Arc::new(
        PROMPTS
            .lines()
            .filter_map(|l| {
                serde_json::from_str::<Value>(l).ok()?["prompt"]
                    .as_str()
                    .map(str::to_owned)
            })
            .collect(),
    );
    let tally = Arc::new(Mutex::new(Tally::default()));
    let total = u64::try_from(args.requests).unwrap_or(u64::MAX);
    let bar = if args.forever {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::new(total)
    };
    bar.set_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} requests  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut sending = JoinSet::new();
    let mut number = 0;
    while args.forever || number < args.requests {
        while sending.len() >= args.parallel.max(1) {
            sending.join_next().await;
        }
        let (target, prompts, tally, bar) =
            (target.clone(), prompts.clone(), tally.clone(), bar.clone());
        sending.spawn(async move {
            let outcome = one(&target, &prompts, number).await;
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.take(outcome);
            bar.inc(1);
            bar.set_message(tally.so_far());
        });
        number += 1;
        if args.forever {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
    while sending.join_next().await.is_some() {}
    bar.finish_and_clear();
    let added = added_latency(&target.admin).await;
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    tally.print(args.json, added, target.capped.is_some());
    match tally.failed.first() {
        None => Ok(()),
        Some(why) => Err(format!(
            "{} requests failed; the first: {why}",
            tally.failed.len()
        )),
    }
}

enum DemoOutcome {
    Answered(Vec<Value>),
    Refused,
    Failed(String),
}

/// One request: every third is streamed, every tenth goes out with the capped key, every second speaks Anthropic's dialect.
async fn one(target: &Target, prompts: &[String], number: usize) -> DemoOutcome {
    // 37 is coprime to any length of the list that is not its multiple, so that tasks mix.
    let prompt = &prompts[(number * 37) % prompts.len().max(1)];
    let capped = target.capped.as_deref().filter(|_| number % 10 == 9);
    let turn = number.checked_rem(target.keys.len());
    let own = turn.map(|turn| &*target.keys[turn]);
    let key = capped.or(own).or(target.key.as_deref());
    let messages = json!([{"role": "user", "content": prompt}]);
    let stream = number % 3 == 2;
    let answer = if number.is_multiple_of(2) {
        client::post(
            &target.url,
            "/v1/chat/completions",
            key,
            &[],
            &json!({"model": "auto", "messages": messages, "stream": stream}),
        )
        .await
    } else {
        let headers = [("anthropic-version", "2023-06-01")];
        client::post(
            &target.url,
            "/v1/messages",
            key,
            &headers,
            &json!({"model": "auto", "max_tokens": 4096, "messages": messages, "stream": stream}),
        )
        .await
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return DemoOutcome::Failed(why),
    };
    match answer.status {
        402 => return DemoOutcome::Refused,
        200 => {}
        status => {
            return DemoOutcome::Failed(format!(
                "HTTP {status}: {}",
                String::from_utf8_lossy(&answer.body)
                    .chars()
                    .take(200)
                    .collect::<String>()
            ));
        }
    }
    let Some(id) = answer.header("x-flyball-request-id") else {
        return DemoOutcome::Failed(
            "the answer has no x-flyball-request-id: is that a flyball?".into(),
        );
    };
    match client::get(&target.url, &format!("/flyball/requests/{id}"), key).await {
        Ok(found) if found.status == 200 => DemoOutcome::Answered(
            found.json()["attempts"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        ),
        Ok(found) => {
            DemoOutcome::Failed(format!("GET /flyball/requests/{id}: HTTP {}", found.status))
        }
        Err(why) => DemoOutcome::Failed(why),
    }
}

impl Tally {
    fn take(&mut self, outcome: DemoOutcome) {
        match outcome {
            DemoOutcome::Refused => self.refused += 1,
            DemoOutcome::Failed(why) => self.failed.push(why),
            DemoOutcome::Answered(attempts) => {
                for attempt in attempts {
                    let text = |name: &str| attempt[name].as_str().unwrap_or("?").to_owned();
                    let count = |name: &str| attempt["tokens"][name].as_u64().unwrap_or(0);
                    let money =
                        |name: &str| PicoUsd(i128::from(attempt[name].as_i64().unwrap_or(0)));
                    let sum = BookSum {
                        requests: 1,
                        input: count("input") + count("cached") + count("cache_write"),
                        output: count("output"),
                        reasoning: count("reasoning"),
                        cost: money("cost_pico_usd"),
                        baseline: money("baseline_pico_usd"),
                        simulated: attempt["simulated"].as_bool().unwrap_or(false),
                    };
                    self.sums
                        .entry((text("tier"), text("effort")))
                        .or_default()
                        .add(&sum);
                }
            }
        }
    }

    fn all(&self) -> BookSum {
        self.sums.values().fold(BookSum::default(), |mut all, s| {
            all.add(s);
            all
        })
    }

    fn so_far(&self) -> String {
        let all = self.all();
        format!(
            "{} spent, {} saved, {} refused by a cap",
            dollars(all.cost),
            dollars(all.baseline - all.cost),
            self.refused
        )
    }

    fn print(&self, as_json: bool, added: Option<Added>, own: bool) {
        if as_json {
            println!(
                "{}",
                json!({"rows": sums_json(&self.sums), "refused_by_cap": self.refused, "failed": self.failed.len(), "added_latency_us": added.map(|a| json!({"p50_at_most": a.p50, "p99_at_most": a.p99})), "simulated": self.all().simulated})
            );
            return;
        }
        println!("{}", sums_table(&self.sums));
        if let Some(Added { p50, p99 }) = added {
            println!("added latency: half of the requests at most {p50} µs, 99 % at most {p99} µs");
        }
        if own {
            println!(
                "refused by the cap of $0.05 on one of the two keys: {} of the requests sent with it",
                self.refused
            );
        } else {
            println!("refused by caps: {}", self.refused);
        }
        if self.all().simulated {
            println!(
                "All of this is simulated: no model was called and no money was spent. The baseline is sim-reasoning at its default effort, for the same tokens."
            );
        }
    }
}

/// Upper ends of the histogram's buckets, in microseconds.
#[derive(Clone, Copy)]
struct Added {
    p50: u64,
    p99: u64,
}

/// What flyball itself added, from its own histogram.
async fn added_latency(admin: &str) -> Option<Added> {
    let answer = client::get(admin, "/metrics", None).await.ok()?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for line in text.lines().filter(|l| {
        l.starts_with("flyball_added_latency_seconds_bucket{") && l.contains("phase=\"total\"")
    }) {
        let end = line
            .split("le=\"")
            .nth(1)?
            .split('"')
            .next()?
            .parse()
            .unwrap_or(f64::INFINITY);
        buckets.push((end, line.rsplit(' ').next()?.parse().ok()?));
    }
    let all = buckets.last()?.1;
    let at = |share: f64| {
        buckets
            .iter()
            .find(|(_, n)| *n >= all * share)
            .map(|(end, _)| micros(*end))
    };
    Some(Added {
        p50: at(0.5)?,
        p99: at(0.99)?,
    })
}

fn micros(seconds: f64) -> u64 {
    u64::try_from(
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(Duration::from_secs(1))
            .as_micros(),
    )
    .unwrap_or(u64::MAX)
}
