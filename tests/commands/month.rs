//! `flyball demo --days`: a month that was made up, in the books and in the history of metrics.

use super::{Serving, out};
use crate::client;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

const UNTIL: &str = "2026-11-27T12:00:00Z";

fn flyball(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    command.env_clear().current_dir(dir);
    command
}

fn demo(dir: &Path, args: &str) -> (bool, String, String) {
    let args = args.split(' ');
    out(flyball(dir)
        .args(["demo", "--until", UNTIL, "--json"])
        .args(args))
}

/// Makes a month in `month`, and gives what it was told to be.
fn made(dir: &Path, args: &str) -> Value {
    let (ok, told, err) = demo(dir, args);
    assert!(ok, "{err}");
    serde_json::from_str(&told).expect("JSON")
}

fn report(dir: &Path, by: &str) -> Value {
    let (ok, told, err) = out(flyball(dir).args([
        "report",
        "--config",
        "month/flyball.toml",
        "--from",
        "2026-11-20",
        "--to",
        "2026-11-28",
        "--json",
        "--by",
        by,
    ]));
    assert!(ok, "{err}");
    serde_json::from_str(&told).expect("JSON")
}

/// What the history of metrics holds: each series with its times and values.
struct Metrics(BTreeMap<String, Vec<(f64, f64)>>);

impl Metrics {
    /// Reads it, and holds it to what OpenMetrics demands.
    fn read(path: &Path) -> Metrics {
        let text = std::fs::read_to_string(path).expect("the metrics");
        assert!(text.ends_with("\n# EOF\n"));
        let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        let (mut family, mut kind, mut last) = (String::new(), String::new(), String::new());
        let mut families = BTreeSet::new();
        for line in text.lines() {
            if let Some(told) = line.strip_prefix("# TYPE ") {
                let (name, its) = told.split_once(' ').expect("a kind");
                assert!(families.insert(name.to_owned()), "{name} comes twice");
                (family, kind) = (name.to_owned(), its.to_owned());
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            let (rest, at) = line.rsplit_once(' ').expect("a time");
            let (name, value) = rest.rsplit_once(' ').expect("a value");
            let ending = match kind.as_str() {
                "counter" => vec!["_total"],
                "histogram" => vec!["_bucket", "_sum", "_count"],
                _ => vec![""],
            };
            let bare = name.split('{').next().expect("a name");
            assert!(
                ending.iter().any(|e| bare == format!("{family}{e}")),
                "{bare} in {family}"
            );
            let known = series.entry(name.to_owned()).or_default();
            assert!(
                known.is_empty() || last == name,
                "{name} is not in one piece"
            );
            let sample: (f64, f64) = (at.parse().expect("a time"), value.parse().expect("a value"));
            if let Some((before, was)) = known.last() {
                assert!(sample.0 > *before, "{line}");
                assert!(
                    kind == "gauge" || sample.1 >= *was,
                    "{line} falls from {was}"
                );
            }
            known.push(sample);
            last = name.to_owned();
        }
        Metrics(series)
    }

    /// The last value of each series of this name, by one label, in pico-dollars.
    fn dollars(&self, name: &str, label: &str) -> BTreeMap<String, i128> {
        let mut sums = BTreeMap::new();
        for (series, samples) in &self.0 {
            if series.split('{').next() != Some(name) {
                continue;
            }
            let start = format!("{label}=\"");
            let value = series
                .split(&start)
                .nth(1)
                .and_then(|s| s.split('"').next());
            let last = samples.last().expect("a sample").1;
            *sums
                .entry(value.expect("the label").to_owned())
                .or_default() += pico(last);
        }
        sums.retain(|_, sum| *sum != 0);
        sums
    }
}

/// The nearest pico-dollar.
fn pico(dollars: f64) -> i128 {
    format!("{:.0}", dollars * 1e12).parse().expect("a number")
}

fn pico_of(text: &Value) -> i128 {
    let text = text.as_str().expect("dollars");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let whole: i128 = whole.parse().expect("dollars");
    let digits = format!("{part:0<12}");
    whole * 1_000_000_000_000 + digits.parse::<i128>().expect("a part of a dollar")
}

/// The report's rows, by one dimension.
fn rows(report: &Value, by: &str, field: &str) -> BTreeMap<String, i128> {
    let rows = report["rows"].as_array().expect("rows").iter();
    let mut sums = BTreeMap::new();
    for row in rows {
        let amount = pico_of(&row[field]);
        if amount != 0 {
            sums.insert(row[by].as_str().expect("a value").to_owned(), amount);
        }
    }
    sums
}

#[test]
fn the_books_of_a_made_up_month_and_its_metrics_tell_the_same_dollars() {
    let dir = tempfile::tempdir().expect("a folder");
    let told = made(dir.path(), "--days 3 --requests-a-day 200 --out month");
    assert_eq!(told["simulated"], true);
    let (ok, verified, err) =
        out(flyball(dir.path()).args(["ledger", "verify", "--config", "month/flyball.toml"]));
    assert!(ok && verified.contains("0 differences"), "{verified}{err}");
    let metrics = Metrics::read(&dir.path().join("month/metrics.om"));
    for (by, spent) in [
        ("team", "flyball_spend_usd_total"),
        ("key", "flyball_spend_usd_total"),
        ("model", "flyball_cost_usd_total"),
        ("task", "flyball_task_cost_usd_total"),
        ("rule", "flyball_rule_cost_usd_total"),
    ] {
        let report = report(dir.path(), by);
        let booked = rows(&report, by, "cost_usd");
        assert!(booked.len() >= 3, "{booked:?}");
        assert_eq!(metrics.dollars(spent, by), booked, "{spent} by {by}");
        assert_eq!(report["total"]["cost_usd"], told["cost_usd"]);
        assert_eq!(report["simulated"], true);
    }
    let all = report(dir.path(), "team")["total"].clone();
    for (field, name) in [
        ("saved_by", "flyball_savings_usd_total"),
        ("lost_by", "flyball_losses_usd_total"),
    ] {
        let booked = all[field].as_object().expect("causes").iter();
        let mut booked: BTreeMap<String, i128> =
            booked.map(|(c, usd)| (c.clone(), pico_of(usd))).collect();
        booked.retain(|_, usd| *usd != 0);
        assert!(booked.len() > 3, "{booked:?}");
        assert_eq!(metrics.dollars(name, "cause"), booked, "{name}");
    }
}

#[test]
fn a_made_up_month_has_all_that_boards_ask_for_and_all_that_was_promised() {
    let dir = tempfile::tempdir().expect("a folder");
    let told = made(dir.path(), "--days 5 --requests-a-day 250 --out month");
    let metrics = Metrics::read(&dir.path().join("month/metrics.om"));
    let there: BTreeSet<&str> = metrics
        .0
        .keys()
        .filter_map(|series| series.split('{').next())
        .collect();
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/grafana");
    let mut asked = 0;
    for entry in std::fs::read_dir(boards).expect("boards").flatten() {
        let Ok(board) = std::fs::read_to_string(entry.path()) else {
            continue;
        };
        let exprs = board.split("\"expr\": \"").skip(1);
        let exprs = exprs.map(|rest| rest.split("\", \"legendFormat\"").next().unwrap_or(rest));
        for word in exprs.flat_map(|e| e.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')) {
            if word.starts_with("flyball_") || word.starts_with("process_") {
                asked += 1;
                assert!(there.contains(word), "{word} is not in the metrics");
            }
        }
    }
    assert!(asked > 100, "{asked}");
    // A cap that refuses, a team that is nearly at its own, money that is not settled.
    assert!(told["refused_by_cap"].as_u64().expect("a number") > 0);
    let last = |part: &str| {
        let fits = metrics.0.iter().filter(|(series, _)| series.contains(part));
        fits.map(|(_, samples)| samples.last().expect("a sample").1)
            .sum::<f64>()
    };
    let budget = "cap=\"research, its budget\"";
    let share = last(&format!(
        "spent_usd{{job=\"flyball\",instance=\"127.0.0.1:8485\",{budget}"
    )) / last(&format!(
        "limit_usd{{job=\"flyball\",instance=\"127.0.0.1:8485\",{budget}"
    ));
    assert!((0.9..=1.0).contains(&share), "{share}");
    // One provider was down: others answered in its place, each after the attempt that had failed.
    let exported = |args: &[&str]| {
        let (ok, told, err) = out(flyball(dir.path())
            .args([
                "ledger",
                "export",
                "--jsonl",
                "--config",
                "month/flyball.toml",
            ])
            .args(args));
        assert!(ok, "{err}");
        let lines: Vec<Value> = told
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        lines
    };
    let attempts = exported(&["--from", "2026-11-20"]);
    assert_eq!(
        attempts.len() as u64,
        told["attempts"].as_u64().unwrap_or(0)
    );
    let of: BTreeMap<&str, &Value> = attempts
        .iter()
        .map(|a| (a["attempt"].as_str().expect("an id"), a))
        .collect();
    let instead = attempts.iter().filter(|a| {
        let before = a["escalated_from"].as_str().and_then(|id| of.get(id));
        before.is_some_and(|before| {
            before["provider"] == "sim-cloud"
                && before["outcome"] != "ok"
                && a["request"] == before["request"]
                && a["model"] == "sim-reasoning"
        })
    });
    assert!(instead.count() > 5, "no fallback");
    assert!(attempts.iter().all(|a| a["simulated"] == true));
}

#[test]
fn the_same_seed_makes_the_same_month_and_another_seed_another() {
    let months = ["7", "7", "8"].map(|seed| {
        let dir = tempfile::tempdir().expect("a folder");
        let args = format!("--days 1 --requests-a-day 120 --out month --seed {seed}");
        made(dir.path(), &args);
        let metrics = std::fs::read(dir.path().join("month/metrics.om")).expect("metrics");
        (metrics, report(dir.path(), "key,model,outcome"))
    });
    assert!(
        months[0] == months[1],
        "the same seed has made another month"
    );
    assert!(months[0].0 != months[2].0 && months[0].1 != months[2].1);
}

#[tokio::test]
async fn serve_goes_on_with_a_made_up_month_its_caps_and_its_keys() {
    let dir = tempfile::tempdir().expect("a folder");
    made(dir.path(), "--days 1 --requests-a-day 100 --out month");
    let metrics = Metrics::read(&dir.path().join("month/metrics.om"));
    let mut command = flyball(dir.path());
    command.args(["--config", "month/flyball.toml"]);
    let serving = Serving::of(command);
    let admin = serving.said.join("\n");
    let admin = admin
        .split("health on http://")
        .nth(1)
        .expect("the address");
    let admin = admin.split_whitespace().next().expect("an address");
    let admin = admin.trim_end_matches(|c: char| !c.is_ascii_digit());
    let admin: std::net::SocketAddr = admin.parse().expect("an address");
    let scraped = client::get(admin, "/metrics", &[]).await.body;
    let labels = "cap=\"research, its budget\",scope=\"other\",window=\"total\"";
    let here = format!("flyball_cap_spent_usd{{{labels}}} ");
    let here = scraped.lines().find_map(|line| line.strip_prefix(&here));
    let then =
        format!("flyball_cap_spent_usd{{job=\"flyball\",instance=\"127.0.0.1:8485\",{labels}}}");
    let then = metrics.0[&then].last().expect("a sample").1;
    assert_eq!(here.map(str::parse), Some(Ok(then)), "{scraped}");
    // Without a key nobody is answered; with those of the month the traffic goes on.
    let body = r#"{"model":"auto","messages":[{"role":"user","content":"What is a governor?"}]}"#;
    let refused = client::post(serving.at, "/v1/chat/completions", &[], body).await;
    assert_eq!(refused.status, 401);
    let against = format!("http://{}", serving.at);
    let (ok, told, err) = out(flyball(dir.path()).args([
        "demo",
        "--requests",
        "16",
        "--against",
        &against,
        "--keys",
        "month/keys",
        "--json",
    ]));
    assert!(ok, "{err}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert!(
        told["rows"].as_array().is_some_and(|rows| !rows.is_empty()),
        "{told}"
    );
}

#[test]
fn a_month_that_cannot_be_made_says_why_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("full")).expect("a folder");
    std::fs::write(dir.path().join("full/mine"), "mine").expect("a file");
    std::fs::write(dir.path().join("file"), "a file").expect("a file");
    for (args, said) in [
        ("--days 3 --out full", "the folder is not empty"),
        ("--days 3 --out file", "file"),
        ("--days 0 --out month", "0 is not in 1..=366"),
        ("--days 400 --out month", "400 is not in 1..=366"),
        (
            "--days 300 --requests-a-day 20000 --out month",
            "at most 3000000",
        ),
        ("--days 3", "--out"),
        ("--out month", "--days"),
        ("--days 3 --out month --forever", "cannot be used with"),
    ] {
        let (ok, told, err) = demo(dir.path(), args);
        assert!(
            !ok && told.is_empty() && err.contains(said),
            "{args}: {err}"
        );
    }
    let (ok, _, err) =
        out(flyball(dir.path()).args(["demo", "--days", "2", "--out", "month", "--until", "soon"]));
    assert!(!ok && err.contains("--until: \"soon\" is no time"), "{err}");
    assert!(!dir.path().join("month").exists());
    assert_eq!(
        std::fs::read(dir.path().join("full/mine")).expect("mine"),
        b"mine"
    );
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_is_told_and_nothing_half_made_stays() {
    // Files may not grow beyond so many blocks of 512 bytes, which a program sees as it sees a full disk.
    for (blocks, what) in [
        ("400", "the books cannot be written: "),
        ("3000", "month/metrics.om: "),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command
            .env_clear()
            .current_dir(dir.path())
            .args(["-c", &script, env!("CARGO_BIN_EXE_flyball")])
            .args([
                "demo",
                "--days",
                "2",
                "--requests-a-day",
                "300",
                "--out",
                "month",
            ]);
        let (ok, _, err) = out(&mut command);
        assert!(!ok && err.contains(what), "{blocks}: {err}");
        assert!(!dir.path().join("month").exists(), "{blocks}");
    }
}

#[test]
fn keep_leaves_a_month_that_is_there_and_nothing_less() {
    let dir = tempfile::tempdir().expect("a folder");
    let args = "--days 1 --requests-a-day 20 --out month --keep";
    made(dir.path(), args);
    let metrics = dir.path().join("month/metrics.om");
    let before = std::fs::read(&metrics).expect("metrics");
    let (ok, told, err) = demo(dir.path(), &format!("{args} --seed 9"));
    assert!(ok && told.is_empty() && err.contains("it stays"), "{err}");
    assert_eq!(std::fs::read(&metrics).expect("metrics"), before);
    // One that was broken off has no metrics.
    std::fs::remove_file(&metrics).expect("it is there");
    let (ok, _, err) = demo(dir.path(), args);
    assert!(!ok && err.contains("the folder is not empty"), "{err}");
}
