//! After ten thousand requests with faults, whoever tells what teams and keys have spent tells the same, to the pico-dollar: the rows of
//! the ledger, its export in both forms, the report of the program and of the page, the counters, the caps, and what a key is told of itself.

use super::rounds;
use crate::client::get;
use crate::flyball::{Flyball, make_key};
use crate::metrics::samples;
use crate::probing::faults::{Cast, call, case, provider};
use crate::until::ran;
use flyball::affinity::Manner;
use flyball::money::{PICO_PER_USD, PicoUsd};
use futures_util::stream::{self, StreamExt};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// Every key, its team, and its cap for the day in thousandths of a dollar for each hundred requests of all.
const KEYS: [(&str, &str, Option<usize>); 5] = [
    ("app", "red", Some(20_000)),
    ("bot", "red", None),
    ("web", "blue", Some(4)),
    ("lab", "green", None),
    ("ci", "", None),
];

/// Cost and baseline in pico-dollars.
type Money = (i128, i128);
/// What somebody says, by team and key.
type ByTeamAndKey = BTreeMap<(String, String), Money>;

/// Adds what somebody says of one team and key.
fn add(told: &mut ByTeamAndKey, team: &str, key: &str, (cost, baseline): Money) {
    let sum = told.entry((team.to_owned(), key.to_owned())).or_default();
    sum.0 += cost;
    sum.1 += baseline;
}

/// Dollars as they are written, in pico-dollars.
fn pico(dollars: &str) -> i128 {
    let (sign, digits) = match dollars.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, dollars),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    assert!(part.len() <= 12, "{dollars}");
    let number = |text: &str| text.parse::<i128>().expect("digits");
    sign * (number(whole) * PICO_PER_USD + number(&format!("{part:0<12}")))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The shape that the report of the program and that of the page share.
fn reported(report: &Value) -> ByTeamAndKey {
    let mut told = ByTeamAndKey::new();
    for row in report["rows"].as_array().expect("rows") {
        let money = |of: &str| pico(text(&row[of]));
        let money = (money("cost_usd"), money("baseline_usd"));
        add(&mut told, text(&row["team"]), text(&row["key"]), money);
    }
    told
}

/// The lines of `export --jsonl`.
fn exported(lines: &str) -> ByTeamAndKey {
    let mut told = ByTeamAndKey::new();
    for line in lines.lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let whole = |of: &str| i128::from(row[of].as_i64().unwrap_or_default());
        let money = (whole("cost_pico_usd"), whole("baseline_pico_usd"));
        add(&mut told, text(&row["team"]), text(&row["key"]), money);
    }
    told
}

/// The lines of `export --csv`, none of whose cells that are looked at is quoted.
fn focus(csv: &str) -> ByTeamAndKey {
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next().expect("a head").split(',').collect();
    let at = |name: &str| head.iter().position(|c| *c == name).expect(name);
    let (cost, baseline) = (at("BilledCost"), at("x_BaselineCost"));
    let (team, key) = (at("SubAccountName"), at("x_Key"));
    let mut told = ByTeamAndKey::new();
    for line in lines {
        let cells = cells(line);
        let money = (pico(&cells[cost]), pico(&cells[baseline]));
        add(&mut told, &cells[team], &cells[key], money);
    }
    told
}

/// The cells of a line, quoted or not.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    cells.push(cell);
    cells
}

/// The whole number of pico-dollars nearest to an amount that the exposition shows.
#[expect(
    clippy::cast_possible_truncation,
    reason = "no test spends more than fits"
)]
fn exact(dollars: f64) -> i128 {
    (dollars * PICO_PER_USD as f64).round() as i128
}

/// What the counters say; they are floats in the exposition, and each stands for a whole number of pico-dollars.
fn counted(metrics: &str) -> ByTeamAndKey {
    let mut told = ByTeamAndKey::new();
    for (sample, value) in samples(metrics) {
        let (spend, baseline) = (
            sample.strip_prefix("flyball_spend_usd_total{"),
            sample.strip_prefix("flyball_spend_baseline_usd_total{"),
        );
        let Some(labels) = spend.or(baseline) else {
            continue;
        };
        let of = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\"")).expect(name);
            let value = rest.split('"').next().unwrap_or_default();
            if value == "-" { "" } else { value }.to_owned()
        };
        let money = match spend.is_some() {
            true => (exact(value), 0),
            false => (0, exact(value)),
        };
        // Open mode and what is folded have series from the start.
        if value != 0.0 {
            add(&mut told, &of("team"), &of("key"), money);
        }
    }
    told
}

/// What the program says on its standard output about these books.
fn said(flyball: &Flyball, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball"));
    let dir = flyball.dir.path();
    command.env_clear().current_dir(dir);
    command.arg("--data-dir").arg(flyball.data_dir()).args(args);
    let out = ran("the command ends", &mut command, "");
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{args:?}: {err}");
    String::from_utf8(out.stdout).expect("text")
}

/// What each key is told of itself: cost of this month, and what its own cap counts, which is nothing where it has none.
async fn of_itself(flyball: &Flyball, key: &str) -> (i128, Option<i128>) {
    let bearer = format!("Bearer fb_{key}");
    let headers = [("authorization", bearer.as_str())];
    let me = get(flyball.at(), "/flyball/me", &headers).await.json();
    let cap = me["caps"].as_array().expect("a list").first();
    (
        pico(text(&me["month"]["cost_usd"])),
        cap.map(|cap| pico(text(&cap["spent"]))),
    )
}

/// Sums that leave one of the two out.
fn by(told: &ByTeamAndKey, of: fn(&(String, String)) -> &String) -> BTreeMap<String, i128> {
    let mut sums: BTreeMap<String, i128> = BTreeMap::new();
    for (who, (cost, _)) in told {
        *sums.entry(of(who).clone()).or_default() += cost;
    }
    sums
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_reports_exports_caps_and_the_ledger_tell_the_same_dollars_by_team_and_key() {
    let calls = rounds(1_000, 10_000, 10_000);
    let seed = 77;
    let cast = Cast::start(seed).await;
    let dir = tempfile::tempdir().expect("a folder");
    for (name, team, cap) in KEYS {
        let cap = cap.map(|milli| milli * calls / 100);
        let cap = cap.map(|milli| format!("{}.{:03}", milli / 1_000, milli % 1_000));
        make_key(&dir, name, cap.as_deref(), |key| key.team = team.into());
    }
    let mut toml =
        "probe = \"pays\"\nprobe_explore = 0.1\nprobe_hold = \"10m\"\nanswer_tokens_min = 32\n"
            .to_owned();
    for team in ["red", "blue", "green"] {
        toml += &format!(
            "[[team]]\nname = \"{team}\"\n[[cap]]\nname = \"{team} for the month\"\nteam = \"{team}\"\nusd = 100000\nwindow = \"month\"\n"
        );
    }
    toml += &provider(&cast, "up", false);
    let flyball = Flyball::start_in(dir, &toml).await;
    let day = || flyball::ledger::now().div_euclid(86_400);
    let began = day();
    let evidence = flyball.running.state.affinity.habits().evidence();
    let (at, cast) = (flyball.at(), &cast);
    let statuses: Vec<Option<u16>> = stream::iter(0..calls)
        .map(|number| async move {
            let case = case(seed, number);
            // What hides its probabilities thrice is left alone for an hour; here it goes on.
            for stream in [false, true] {
                let tools = false;
                evidence.told("up-small", Manner { tools, stream });
            }
            let key = format!("Bearer fb_{}", KEYS[(number * 7 + number / 5) % 5].0);
            let headers = [("authorization", key.as_str())];
            Some(call(at, cast, &case, &headers).await?.status)
        })
        .buffer_unordered(16)
        .collect()
        .await;
    for wanted in [Some(200), Some(402), Some(502), None] {
        let met = statuses.iter().filter(|status| **status == wanted).count();
        assert!(met > 0, "{wanted:?} was never met");
    }

    flyball.books_are_right().await;
    let mut ledger = ByTeamAndKey::new();
    let mut spread = 0;
    for row in flyball.rows().await {
        let whole = |of: &str| i128::from(row[of].as_i64().unwrap_or_default());
        let money = (whole("cost_pico_usd"), whole("baseline_pico_usd"));
        spread += usize::from(money.0 > 0);
        add(&mut ledger, text(&row["team"]), text(&row["key"]), money);
    }
    assert_eq!(ledger.len(), KEYS.len());
    assert!(ledger.values().all(|money| money.0 > 0 && money.1 > 0));
    assert!(spread > calls / 2, "{spread} attempts cost something");

    let page = "/admin/v1/report?by=team,key&days=2";
    let page = get(flyball.running.admin, page, &[]).await.json();
    assert_eq!(reported(&page), ledger, "the page's report");
    let report = said(&flyball, &["report", "--by", "team,key", "--json"]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(reported(&report), ledger, "flyball report");
    let lines = said(&flyball, &["ledger", "export", "--jsonl"]);
    assert_eq!(exported(&lines), ledger, "flyball ledger export --jsonl");
    let csv = said(&flyball, &["ledger", "export", "--csv"]);
    assert_eq!(focus(&csv), ledger, "flyball ledger export --csv");
    flyball.running.account().await;
    let metrics = flyball.metrics().await;
    assert_eq!(counted(&metrics), ledger, "the counters");

    let keys = by(&ledger, |(_, key)| key);
    let gauges = samples(&metrics);
    let all: i128 = keys.values().sum();
    let month = gauges["flyball_books_cost_usd{period=\"month\"}"];
    let last = gauges["flyball_books_cost_usd{period=\"last_month\"}"];
    let sum = exact(month + last);
    assert_eq!(sum, all, "the gauges of both months");
    assert_eq!(pico(text(&page["total"]["cost_usd"])), all);
    println!("{calls} requests: all say ${}", PicoUsd(all).usd_text());
    if day() != began {
        // What follows counts days and months, and a new one has begun.
        return;
    }
    for (name, _, cap) in KEYS {
        let (month, counted) = of_itself(&flyball, name).await;
        assert_eq!(month, keys[name], "what {name} is told of its month");
        let expected = cap.map(|_| keys[name]);
        assert_eq!(counted, expected, "what the cap of {name} counts");
    }
    for (team, cost) in by(&ledger, |(team, _)| team) {
        if team.is_empty() {
            continue;
        }
        let labels = format!("cap=\"{team} for the month\",scope=\"other\",window=\"month\"");
        let spent = gauges[&format!("flyball_cap_spent_usd{{{labels}}}")];
        let spent = exact(spent);
        assert_eq!(spent, cost, "the cap of team {team}");
    }
}
