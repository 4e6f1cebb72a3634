//! The board's habits: every panel says what it shows, every query uses what exists, in the way that it must be used.

use super::{Families, families, family, read};
use serde_json::Value;
use std::collections::BTreeSet;

const TYPES: [&str; 6] = ["timeseries", "stat", "bargauge", "table", "text", "row"];
const SOURCE: &str = "${datasource}";

fn board() -> Value {
    serde_json::from_str(&read("dashboards/grafana/flyball.json")).expect("the board is JSON")
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

/// The labels that are left of a query: those of its outermost `by`, or all of the metric's own.
fn labels_left(families: &Families, expr: &str) -> BTreeSet<String> {
    let Some((_, rest)) = expr.split_once(" by (") else {
        let mut own: BTreeSet<String> = ["job", "instance"].map(str::to_owned).into();
        for used in uses(expr) {
            own.extend(families[family(families, &used.name)].labels.clone());
        }
        // Aggregated without `by`: nothing is left.
        return if uses(expr)
            .iter()
            .any(|u| ["sum", "min", "max", "rate", "increase"].contains(&u.inside.as_str()))
        {
            BTreeSet::new()
        } else {
            own
        };
    };
    let by = rest.split(')').next().unwrap_or_default();
    let quantile = expr.starts_with("histogram_quantile(");
    let labels = by.split(',').map(|l| l.trim().to_owned());
    labels.filter(|l| !(quantile && l == "le")).collect()
}

fn legend_labels(legend: &str) -> Vec<&str> {
    let parts = legend.split("{{").skip(1);
    parts
        .map(|p| p.split("}}").next().unwrap_or_default().trim())
        .collect()
}

#[test]
fn it_is_a_board_for_grafana_13_that_nobody_edits_by_hand() {
    let board = board();
    assert_eq!(board["schemaVersion"], 42);
    assert_eq!(board["uid"], "flyball");
    assert_eq!(board["editable"], false);
    let variables = list(&board["templating"], "list");
    let names: Vec<&str> = variables.iter().map(|v| text(v, "name")).collect();
    assert_eq!(names, ["datasource", "job", "instance"]);
    assert_eq!(
        (text(&variables[0], "type"), text(&variables[0], "query")),
        ("datasource", "prometheus")
    );
    for variable in &variables[1..] {
        assert_eq!(
            variable["refresh"], 2,
            "values follow the time range: {variable}"
        );
        assert_eq!(variable["datasource"]["uid"], SOURCE);
    }
}

#[test]
fn every_panel_says_what_it_shows_in_which_unit_from_which_source() {
    let board = board();
    for panel in list(&board, "panels") {
        assert!(TYPES.contains(&text(panel, "type")), "{panel}");
        assert!(!text(panel, "title").is_empty(), "{panel}");
    }
    for panel in panels(&board) {
        let title = text(panel, "title");
        assert!(
            text(panel, "description").ends_with(['.', ')']),
            "{title} has no description"
        );
        assert!(
            !text(&panel["fieldConfig"]["defaults"], "unit").is_empty(),
            "{title} has no unit"
        );
        assert_eq!(panel["datasource"]["uid"], SOURCE, "{title}");
        assert!(!list(panel, "targets").is_empty(), "{title} has no query");
        for target in list(panel, "targets") {
            assert_eq!(target["datasource"]["uid"], SOURCE, "{title}");
        }
    }
}

#[test]
fn panels_have_a_place_of_their_own() {
    let board = board();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in list(&board, "panels") {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
        let at = |name: &str| panel["gridPos"][name].as_u64().expect("a place");
        assert!(at("x") + at("w") <= 24, "{panel}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} overlaps", text(panel, "title"));
            }
        }
    }
}

#[test]
fn counters_are_read_by_rate_or_increase_and_gauges_never() {
    let (board, families) = (board(), families());
    for panel in panels(&board) {
        for target in list(panel, "targets") {
            let expr = text(target, "expr");
            let uses = uses(expr);
            assert!(!uses.is_empty(), "{expr}");
            for used in uses {
                let window = used.range.as_deref();
                match (
                    families[family(&families, &used.name)].kind.as_str(),
                    used.inside.as_str(),
                ) {
                    ("counter" | "histogram", "rate") => {
                        assert_eq!(window, Some("$__rate_interval"), "{expr}")
                    }
                    ("counter" | "histogram", "increase") => {
                        assert_eq!(window, Some("$__range"), "{expr}");
                        assert_eq!(
                            target["instant"], true,
                            "an increase over the range is one number: {expr}"
                        );
                    }
                    ("gauge", "deriv") => assert!(window.is_some(), "{expr}"),
                    ("gauge", "rate" | "increase") => panic!("the rate of a gauge: {expr}"),
                    ("gauge", _) => assert_eq!(window, None, "{expr}"),
                    (kind, inside) => panic!("{kind} {} inside {inside:?}: {expr}", used.name),
                }
            }
        }
    }
}

#[test]
fn queries_follow_the_variables_and_their_labels_exist() {
    let (board, families) = (board(), families());
    for panel in panels(&board) {
        for target in list(panel, "targets") {
            let expr = text(target, "expr");
            let mut own: BTreeSet<String> = ["le", "job", "instance"].map(str::to_owned).into();
            for used in uses(expr) {
                let own_labels = &families[family(&families, &used.name)].labels;
                let matchers: Vec<&str> = used.matchers.split(", ").collect();
                assert!(
                    matchers.starts_with(&["job=~\"$job\"", "instance=~\"$instance\""]),
                    "{expr}"
                );
                for matcher in &matchers[2..] {
                    let label = matcher.split(['=', '!']).next().unwrap_or_default();
                    assert!(
                        own_labels.contains(label),
                        "{} has no {label}: {expr}",
                        used.name
                    );
                }
                own.extend(own_labels.clone());
            }
            for by in expr.split(" by (").skip(1) {
                for label in by.split(')').next().unwrap_or_default().split(", ") {
                    assert!(own.contains(label), "no metric here has {label}: {expr}");
                }
            }
            let left = labels_left(&families, expr);
            for label in legend_labels(text(target, "legendFormat")) {
                assert!(left.contains(label), "{{{{{label}}}}} is empty: {expr}");
            }
        }
    }
}

#[test]
fn percentiles_are_taken_of_buckets_over_le() {
    let (board, families) = (board(), families());
    for panel in panels(&board) {
        for target in list(panel, "targets") {
            let expr = text(target, "expr");
            let buckets = uses(expr).iter().all(|u| u.name.ends_with("_bucket"));
            assert_eq!(expr.contains("histogram_quantile("), buckets, "{expr}");
            assert!(!buckets || expr.contains("sum by (le, "), "{expr}");
            for used in uses(expr) {
                let kind = &families[family(&families, &used.name)].kind;
                assert_eq!(
                    kind == "histogram",
                    used.name.ends_with("_bucket"),
                    "{expr}"
                );
            }
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
