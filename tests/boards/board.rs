//! The boards' habits: every panel says how to read it and what to do, every query uses what exists, in the way that it must be used.

use super::{Families, families, family, read, top};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// The boards, the home board first.
pub(super) const BOARDS: [&str; 5] = ["cost", "caps", "routing", "latency", "trust"];
const TYPES: [&str; 6] = ["timeseries", "stat", "bargauge", "table", "text", "row"];
const SOURCE: &str = "${datasource}";
const VARIABLES: [&str; 5] = ["job", "instance", "team", "key", "model"];
/// Without `by`, these leave no label.
const AGGREGATED: [&str; 5] = ["sum", "min", "max", "rate", "increase"];
/// What a legend may have at most.
const ENTRIES_MAX: usize = 8;

/// The file of a board.
pub(super) fn file(name: &str) -> String {
    format!("dashboards/grafana/{name}.json")
}

fn board(name: &str) -> Value {
    serde_json::from_str(&read(file(name))).expect("a board is JSON")
}

/// Every panel of every board that shows data, with the place to look for it.
fn all_panels() -> Vec<(String, Value)> {
    let of = |name: &&str| -> Vec<(String, Value)> {
        let named = |p: &Value| (format!("{name}: {}", text(p, "title")), p.clone());
        panels(&board(name)).into_iter().map(named).collect()
    };
    BOARDS.iter().flat_map(of).collect()
}

/// Every query of every panel, each with its panel.
fn all_targets() -> Vec<(String, Value, Value)> {
    let of = |(at, panel): (String, Value)| {
        let targets = list(&panel, "targets").to_vec();
        targets
            .into_iter()
            .map(move |t| (at.clone(), panel.clone(), t))
    };
    all_panels().into_iter().flat_map(of).collect()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Panels that show data.
fn panels(board: &Value) -> Vec<&Value> {
    let drawn = |p: &&Value| !["row", "text"].contains(&text(p, "type"));
    list(board, "panels").iter().filter(drawn).collect()
}

/// One use of a metric in a query.
#[derive(Debug)]
struct Used {
    name: String,
    matchers: String,
    range: Option<String>,
    /// The function or aggregation directly around it.
    inside: String,
}

/// Every use of a metric. Reads only the queries of this board: no strings with braces, no comments.
fn uses(expr: &str) -> Vec<Used> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = expr[at..].find(|c: char| word(c)).map(|n| at + n) {
        let end = expr[start..]
            .find(|c: char| !word(c))
            .map_or(expr.len(), |n| start + n);
        at = end;
        let name = &expr[start..end];
        if !(name.starts_with("flyball_") || name.starts_with("process_")) {
            continue;
        }
        let rest = &expr[end..];
        let matchers = between(rest, '{', '}').unwrap_or_default();
        let after = rest
            .get(matchers.len() + 2..)
            .filter(|_| !matchers.is_empty());
        found.push(Used {
            name: name.to_owned(),
            range: between(after.unwrap_or(rest), '[', ']').map(str::to_owned),
            matchers: matchers.to_owned(),
            inside: around(&expr[..start]),
        });
        at += matchers.len();
    }
    found
}

fn between(text: &str, open: char, close: char) -> Option<&str> {
    let rest = text.strip_prefix(open)?;
    rest.find(close).map(|end| &rest[..end])
}

/// The word before the innermost parenthesis that is still open.
fn around(before: &str) -> String {
    let mut open = Vec::new();
    for (at, c) in before.char_indices() {
        match c {
            '(' => open.push(at),
            ')' => drop(open.pop()),
            _ => {}
        }
    }
    let Some(at) = open.last() else {
        return String::new();
    };
    let words = before[..*at]
        .trim_end()
        .rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.into_iter().next().unwrap_or_default().to_owned()
}

/// The labels that are left of a query: those of its first `by`, or all of the metric's own, and what is put in by hand.
fn labels_left(families: &Families, expr: &str) -> BTreeSet<String> {
    let mut left = BTreeSet::new();
    if let Some((_, rest)) = expr.split_once(" by (") {
        let by = rest.split(')').next().unwrap_or_default();
        left.extend(by.split(", ").filter(|l| *l != "le").map(str::to_owned));
    } else if !uses(expr)
        .iter()
        .any(|u| AGGREGATED.contains(&u.inside.as_str()))
    {
        left.extend(["job", "instance"].map(str::to_owned));
        for used in uses(expr) {
            left.extend(families[family(families, &used.name)].labels.clone());
        }
    }
    left
}

fn legend_labels(legend: &str) -> Vec<&str> {
    let parts = legend.split("{{").skip(1);
    parts
        .map(|p| p.split("}}").next().unwrap_or_default().trim())
        .collect()
}

#[test]
fn they_are_boards_for_grafana_13_that_nobody_edits_by_hand() {
    for name in BOARDS {
        let board = board(name);
        assert_eq!(board["schemaVersion"], 42);
        assert_eq!(board["uid"], format!("flyball-{name}"));
        assert_eq!(board["editable"], false);
        // Relative to now: a fixed range would show the same day for ever.
        assert!(text(&board["time"], "from").starts_with("now-"), "{name}");
        assert_eq!(board["time"]["to"], "now");
    }
}

#[test]
fn the_files_are_what_their_source_makes() {
    let made = Command::new("python3")
        .arg(top().join("dashboards/boards.py"))
        .arg("--check")
        .output();
    let Ok(made) = made else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let told = [made.stdout, made.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    assert!(made.status.success(), "{}", told.concat());
}

#[test]
fn variables_follow_the_time_shown_and_are_seen_where_a_panel_follows_them() {
    for name in BOARDS {
        let board = board(name);
        let variables = list(&board["templating"], "list");
        let names: Vec<&str> = variables.iter().map(|v| text(v, "name")).collect();
        assert_eq!(names[0], "datasource");
        assert_eq!(names[1..], VARIABLES);
        assert_eq!(
            (text(&variables[0], "type"), text(&variables[0], "query")),
            ("datasource", "prometheus")
        );
        for variable in &variables[1..] {
            assert_eq!(variable["refresh"], 2, "{variable}");
            assert_eq!(
                (&variable["multi"], &variable["includeAll"]),
                (&true.into(), &true.into()),
                "{variable}"
            );
            assert_eq!(variable["datasource"]["uid"], SOURCE);
            let followed = board["panels"]
                .to_string()
                .contains(&format!("\\\"${}\\\"", text(variable, "name")));
            // One that is hidden is handed on by the links.
            assert_eq!(
                variable["hide"],
                if followed { 0 } else { 2 },
                "{name}: {variable}"
            );
        }
    }
}

#[test]
fn links_lead_to_the_other_boards_and_keep_time_and_variables() {
    for name in BOARDS {
        let board = board(name);
        let links = list(&board, "links");
        let urls: Vec<&str> = links.iter().map(|l| text(l, "url")).collect();
        let others = BOARDS.iter().filter(|other| **other != name);
        let wanted: Vec<String> = others.map(|other| format!("/d/flyball-{other}")).collect();
        assert_eq!(urls, wanted, "{name}");
        for link in links {
            assert_eq!(
                (&link["keepTime"], &link["includeVars"]),
                (&true.into(), &true.into()),
                "{link}"
            );
        }
    }
}

#[test]
fn every_board_says_whether_money_is_real_and_whether_alerts_fire() {
    for name in BOARDS {
        let board = board(name);
        let panels = panels(&board);
        let banner = panels[0].to_string();
        for said in [
            "flyball_build_info",
            "simulated!=",
            "Simulated money: nobody was paid",
            "Real money",
        ] {
            assert!(
                banner.contains(said),
                "{name}: the first panel does not say {said}"
            );
        }
        assert!(panels[1].to_string().contains("ALERTS"), "{name}");
        assert_eq!(panels[1]["gridPos"]["y"], 0, "{name}");
    }
}

#[test]
fn every_panel_says_how_to_read_it_and_what_to_do_in_which_unit_from_which_source() {
    for name in BOARDS {
        let board = board(name);
        for panel in list(&board, "panels") {
            assert!(TYPES.contains(&text(panel, "type")), "{panel}");
            let width = panel["gridPos"]["w"].as_u64().expect("a width");
            let title = text(panel, "title").chars().count();
            assert!(
                (1..7 * width).contains(&(title as u64)),
                "{name}: a title that is cut: {}",
                text(panel, "title")
            );
        }
    }
    for (at, panel) in all_panels() {
        let description = text(&panel, "description");
        let (says, to_do) = description
            .split_once(" **What to do:** ")
            .unwrap_or_else(|| panic!("{at} does not say what to do"));
        assert!(
            says.ends_with(['.', '?', ')']) && says.len() > 10,
            "{at}: {says}"
        );
        assert!(
            to_do.ends_with(['.', ')']) && to_do.len() > 10,
            "{at}: {to_do}"
        );
        assert!(
            !text(&panel["fieldConfig"]["defaults"], "unit").is_empty(),
            "{at} has no unit"
        );
        assert_eq!(panel["datasource"]["uid"], SOURCE, "{at}");
        assert!(!list(&panel, "targets").is_empty(), "{at} has no query");
        for target in list(&panel, "targets") {
            assert_eq!(target["datasource"]["uid"], SOURCE, "{at}");
        }
    }
}

#[test]
fn panels_have_a_place_of_their_own() {
    for name in BOARDS {
        let board = board(name);
        let (mut ids, mut taken, mut titles) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for panel in list(&board, "panels") {
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
            if text(panel, "type") != "row" {
                titles.insert((
                    text(panel, "type").to_owned(),
                    text(panel, "title").to_owned(),
                ));
            }
            let at = |name: &str| panel["gridPos"][name].as_u64().expect("a place");
            assert!(at("x") + at("w") <= 24, "{panel}");
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(
                        taken.insert((x, y)),
                        "{name}: {} overlaps",
                        text(panel, "title")
                    );
                }
            }
        }
        assert_eq!(
            titles.len(),
            panels(&board).len(),
            "{name}: two panels of one name"
        );
    }
}

#[test]
fn counters_are_read_by_rate_or_increase_and_gauges_never() {
    let families = families();
    for (at, _, target) in all_targets() {
        let expr = text(&target, "expr");
        let uses = uses(expr);
        assert!(!uses.is_empty() || expr.contains("ALERTS"), "{at}: {expr}");
        for used in uses {
            let window = used.range.as_deref();
            let of_the_end = expr.contains("[$__range] @ end()");
            match (
                families[family(&families, &used.name)].kind.as_str(),
                used.inside.as_str(),
            ) {
                ("counter" | "histogram", "rate") => {
                    assert_eq!(window, Some("$__rate_interval"), "{at}: {expr}")
                }
                ("counter" | "histogram", "increase") => {
                    assert_eq!(window, Some("$__range"), "{at}: {expr}");
                    assert!(
                        target["instant"] == true || of_the_end,
                        "{at}: an increase over the range is one number: {expr}"
                    );
                }
                ("gauge", "rate" | "increase") => panic!("{at}: the rate of a gauge: {expr}"),
                ("gauge", _) => assert_eq!(window, None, "{at}: {expr}"),
                (kind, inside) => panic!("{at}: {kind} {} inside {inside:?}: {expr}", used.name),
            }
        }
    }
}

#[test]
fn queries_follow_the_variables_and_their_labels_exist() {
    let families = families();
    for (at, _, target) in all_targets() {
        let expr = text(&target, "expr");
        let mut own: BTreeSet<String> = ["le", "job", "instance"].map(str::to_owned).into();
        for used in uses(expr) {
            let labels = &families[family(&families, &used.name)].labels;
            own.extend(labels.clone());
            let followed = VARIABLES
                .iter()
                .filter(|v| own_to_all(v) || labels.contains(**v));
            let wanted: Vec<String> = followed.map(|v| format!("{v}=~\"${v}\"")).collect();
            let matchers: Vec<&str> = used.matchers.split(", ").collect();
            assert!(
                matchers.starts_with(&wanted.iter().map(String::as_str).collect::<Vec<_>>()),
                "{at}: {} does not follow {wanted:?}",
                used.name
            );
            for matcher in &matchers[wanted.len()..] {
                let label = matcher.split(['=', '!']).next().unwrap_or_default();
                assert!(
                    labels.contains(label),
                    "{at}: {} has no {label}: {expr}",
                    used.name
                );
            }
        }
        for by in expr
            .split(" by (")
            .skip(1)
            .filter(|_| !expr.contains("ALERTS"))
        {
            for label in by.split(')').next().unwrap_or_default().split(", ") {
                assert!(
                    own.contains(label),
                    "{at}: no metric here has {label}: {expr}"
                );
            }
        }
        let left = labels_left(&families, expr);
        for label in legend_labels(text(&target, "legendFormat")) {
            assert!(
                left.contains(label),
                "{at}: {{{{{label}}}}} is empty: {expr}"
            );
        }
    }
}

/// Every metric has it, put there by Prometheus.
fn own_to_all(variable: &str) -> bool {
    ["job", "instance"].contains(&variable)
}

#[test]
fn percentiles_are_taken_of_buckets_over_le() {
    let families = families();
    for (at, _, target) in all_targets() {
        let expr = text(&target, "expr");
        let buckets = uses(expr).iter().any(|u| u.name.ends_with("_bucket"));
        assert_eq!(
            expr.contains("histogram_quantile("),
            buckets,
            "{at}: {expr}"
        );
        assert!(!buckets || expr.contains("sum by (le"), "{at}: {expr}");
        for used in uses(expr).iter().filter(|u| !u.name.ends_with("_count")) {
            let kind = &families[family(&families, &used.name)].kind;
            assert_eq!(
                kind == "histogram",
                used.name.ends_with("_bucket"),
                "{at}: {expr}"
            );
        }
    }
}

#[test]
fn no_legend_has_more_than_eight_entries() {
    let docs = read("docs/metrics.md");
    for (at, panel) in all_panels()
        .iter()
        .filter(|(_, p)| text(p, "type") == "timeseries")
    {
        let entries: usize = list(panel, "targets")
            .iter()
            .map(|t| entries_at_most(&docs, t))
            .sum();
        assert!(entries <= ENTRIES_MAX, "{at} may have {entries}");
    }
}

/// By construction: so many as `topk` and `the rest` let through, or as the closed set of a label has.
fn entries_at_most(docs: &str, target: &Value) -> usize {
    let expr = text(target, "expr");
    if let Some((_, rest)) = expr.split_once("topk(") {
        let size = rest
            .split(',')
            .next()
            .and_then(|n| n.parse::<usize>().ok())
            .expect("topk of a number");
        return size + usize::from(expr.contains("\"the rest\""));
    }
    let metric = uses(expr)
        .first()
        .map(|u| u.name.clone())
        .unwrap_or_default();
    let labels = legend_labels(text(target, "legendFormat"));
    labels
        .iter()
        .map(|label| values(docs, label, &metric))
        .product()
}

/// How many values a label has by the docs; `kind (refusals)` is that of metrics with that word in their name.
fn values(docs: &str, label: &str, metric: &str) -> usize {
    let rows = docs
        .lines()
        .filter_map(|l| l.strip_prefix("| ")?.split_once(" | "));
    let mut found = rows.filter(|(names, _)| {
        names.split(", ").any(|name| match name.split_once(" (") {
            Some((name, word)) => name == label && metric.contains(word.trim_end_matches(')')),
            None => name == label,
        })
    });
    let closed = |values: &str| values.matches('`').count() / 2;
    found
        .next_back()
        .map(|(_, row)| closed(row))
        .filter(|n| *n > 0)
        .unwrap_or_else(|| panic!("{metric}: {label} is not a closed set: use topk"))
}

#[test]
fn units_are_those_of_the_queries() {
    for (at, panel, target) in all_targets() {
        let (expr, unit) = (
            text(&target, "expr"),
            text(&panel["fieldConfig"]["defaults"], "unit"),
        );
        assert_eq!(
            unit == "suffix: $/h",
            expr.starts_with("3600 * ("),
            "{at}: {expr}"
        );
        assert_eq!(
            unit == "suffix: /min",
            expr.starts_with("60 * ("),
            "{at}: {expr}"
        );
        if text(&panel, "type") == "timeseries" {
            // A rate of dollars is a second's; per request or per token it is dollars again.
            let rate_of_dollars = expr.contains("_usd_total") && expr.contains("rate(");
            assert!(
                !rate_of_dollars || unit != "currencyUSD" || expr.contains(" / ("),
                "{at}: {expr}"
            );
            // $5 and $100 on one axis: the small one is a line at the bottom.
            let caps_in_dollars = expr.contains("flyball_cap_") && unit == "currencyUSD";
            assert!(!caps_in_dollars, "{at}: shares of caps, not dollars");
        }
    }
}

#[test]
fn the_reader_of_queries_sees_functions_matchers_and_ranges() {
    let expr = "sum by (le) (rate(flyball_a_bucket{x=\"1\"}[5m])) / (max(flyball_b) - clamp_min(flyball_c{y=\"2\"}, 0))";
    let seen: Vec<_> = uses(expr)
        .into_iter()
        .map(|u| (u.name, u.matchers, u.range, u.inside))
        .collect();
    let used = |name: &str, matchers: &str, range: Option<&str>, inside: &str| {
        (
            name.to_owned(),
            matchers.to_owned(),
            range.map(str::to_owned),
            inside.to_owned(),
        )
    };
    assert_eq!(
        seen,
        [
            used("flyball_a_bucket", "x=\"1\"", Some("5m"), "rate"),
            used("flyball_b", "", None, "max"),
            used("flyball_c", "y=\"2\"", None, "clamp_min"),
        ]
    );
}
