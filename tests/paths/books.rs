//! What the ledger and the metrics say of a case.

use crate::scripted::Upstream;
use flyball::money::PicoUsd;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What is written of one row of the ledger.
pub struct Row {
    pub did: String,
    /// Who answered, and why.
    pub who: String,
}

pub fn usd(pico: &Value) -> String {
    let text = |pico| PicoUsd(i128::from(pico)).usd_text();
    pico.as_i64().map_or_else(|| "none".into(), text)
}

pub fn row(row: &Value) -> Row {
    let text = |name: &str| row[name].as_str().unwrap_or("none").to_owned();
    let tokens = |class: &str| row["tokens"][class].as_u64().unwrap_or_default();
    let (cost, baseline) = (&row["cost_pico_usd"], &row["baseline_pico_usd"]);
    let mut did = format!(
        "{} {} bound={} cost={}",
        text("outcome"),
        text("basis"),
        usd(&row["bound_pico_usd"]),
        usd(cost)
    );
    if row["excess_pico_usd"].as_i64() != Some(0) {
        let _ = write!(did, " excess={}", usd(&row["excess_pico_usd"]));
    }
    if baseline != cost {
        let _ = write!(did, " baseline={}", usd(baseline));
    }
    for (short, class) in [
        ("in", "input"),
        ("cached", "cached"),
        ("written", "cache_write"),
        ("out", "output"),
        ("thought", "reasoning"),
    ] {
        if tokens(class) > 0 {
            let _ = write!(did, " {short}={}", tokens(class));
        }
    }
    let who = [
        "provider", "model", "effort", "tier", "task", "rule", "dialect",
    ];
    Row {
        did,
        who: who.map(text).join("/"),
    }
}

/// Every counter, and of histograms how often they were told something; by name, labels in their order.
pub fn counters(text: &str) -> BTreeMap<String, f64> {
    let counted = |name: &str| {
        name.ends_with("_total") || name.ends_with("_count") || name.ends_with("_open")
    };
    let lines = text.lines().filter(|l| l.starts_with("flyball_"));
    lines
        .filter_map(|l| l.rsplit_once(' '))
        .filter(|(series, _)| counted(series.split('{').next().unwrap_or_default()))
        .map(|(series, value)| (series.to_owned(), value.parse().expect("a number")))
        .collect()
}

pub fn moved(
    before: &BTreeMap<String, f64>,
    after: &BTreeMap<String, f64>,
) -> BTreeMap<String, f64> {
    let gone: Vec<_> = before.keys().filter(|k| !after.contains_key(*k)).collect();
    assert!(gone.is_empty(), "{gone:?}");
    let by = |(series, value): (&String, &f64)| {
        (
            series.clone(),
            value - before.get(series).copied().unwrap_or_default(),
        )
    };
    after.iter().map(by).filter(|(_, by)| *by != 0.0).collect()
}

/// One label of a series.
fn label<'a>(series: &'a str, name: &str) -> &'a str {
    let start = format!("{name}=\"");
    let at = series.find(&start).map(|at| at + start.len());
    at.and_then(|at| series[at..].split('"').next())
        .unwrap_or_default()
}

/// The counters that say what no row says; and those that repeat the rows, where they do not agree with them.
pub fn told(moved: &BTreeMap<String, f64>, rows: &[Value], upstream: &Upstream) -> String {
    let mut words = vec![format!("sent={}", upstream.count())];
    let mut own = BTreeMap::new();
    let mut repeated: BTreeMap<String, f64> = BTreeMap::new();
    for (series, by) in moved {
        let name = series.split('{').next().unwrap_or_default();
        let short = name
            .trim_start_matches("flyball_")
            .trim_end_matches("_total");
        let of = |labels: &[&str]| {
            let labels = labels.iter().map(|l| label(series, l));
            std::iter::once(short)
                .chain(labels)
                .collect::<Vec<_>>()
                .join(".")
        };
        let repeats = match short {
            "requests" => of(&["tier", "effort", "outcome"]),
            "cost_basis" => of(&["basis"]),
            "tokens" => of(&["class"]),
            "cost_usd" | "baseline_usd" | "rule_cost_usd" | "bound_excess_usd" | "spend_usd"
            | "spend_baseline_usd" => of(&[]),
            "model_attempts" => of(&["outcome"]),
            "task_cost_usd" => of(&["task"]),
            "request_duration_seconds_count" => of(&["tier"]),
            "added_latency_seconds_count" if label(series, "phase") == "total" => of(&[]),
            // How long it took, by phase; each is told once an attempt, and the last only of what was held.
            "added_latency_seconds_count" => continue,
            // Rule, task and tier are those of the row.
            "decisions" => {
                *own.entry("decided".to_owned()).or_default() += by;
                continue;
            }
            // Who serves is the model of the row.
            "served" => {
                *own.entry("served".to_owned()).or_default() += by;
                continue;
            }
            "ttft_seconds_count" => {
                *own.entry("ttft".to_owned()).or_default() += by;
                continue;
            }
            // Whether there is a rate depends on time.
            "decode_tokens_per_second_count" => continue,
            _ => {
                let labels = series.split('"').skip(1).step_by(2);
                let named = std::iter::once(short).chain(labels);
                own.insert(named.collect::<Vec<_>>().join("."), *by);
                continue;
            }
        };
        *repeated.entry(repeats).or_default() += by;
    }
    words.extend(own.iter().map(|(name, by)| format!("{name}={by}")));
    let of_rows = repeated_by(rows);
    let names: BTreeSet<_> = repeated.keys().chain(of_rows.keys()).collect();
    for name in names {
        let [told, is] =
            [&repeated, &of_rows].map(|all| all.get(name).copied().unwrap_or_default());
        // Dollars are floats there.
        if (told - is).abs() > 1e-12 {
            words.push(format!("{name}={told}, rows say {is}"));
        }
    }
    words.join(" ")
}

/// What the counters that repeat the rows must say.
fn repeated_by(rows: &[Value]) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<String, f64> = BTreeMap::new();
    let dollars = |row: &Value, name: &str| {
        let text = usd(&row[name]);
        text.parse::<f64>().unwrap_or_default()
    };
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default();
        let tokens = |class: &str| row["tokens"][class].as_f64().unwrap_or_default();
        let thought = tokens("reasoning").min(tokens("output"));
        let (tier, effort, outcome) = (text("tier"), text("effort"), text("outcome"));
        for (name, by) in [
            (format!("requests.{tier}.{effort}.{outcome}"), 1.0),
            (format!("model_attempts.{outcome}"), 1.0),
            (format!("cost_basis.{}", text("basis")), 1.0),
            (format!("request_duration_seconds_count.{tier}"), 1.0),
            ("added_latency_seconds_count".into(), 1.0),
            ("tokens.input".into(), tokens("input")),
            ("tokens.cached".into(), tokens("cached")),
            ("tokens.cache_write".into(), tokens("cache_write")),
            ("tokens.output".into(), tokens("output") - thought),
            ("tokens.reasoning".into(), thought),
            ("cost_usd".into(), dollars(row, "cost_pico_usd")),
            ("baseline_usd".into(), dollars(row, "baseline_pico_usd")),
            ("rule_cost_usd".into(), dollars(row, "cost_pico_usd")),
            ("spend_usd".into(), dollars(row, "cost_pico_usd")),
            (
                "spend_baseline_usd".into(),
                dollars(row, "baseline_pico_usd"),
            ),
            (
                format!("task_cost_usd.{}", text("task")),
                dollars(row, "cost_pico_usd"),
            ),
            ("bound_excess_usd".into(), dollars(row, "excess_pico_usd")),
        ] {
            *all.entry(name).or_default() += by;
        }
    }
    all
}
