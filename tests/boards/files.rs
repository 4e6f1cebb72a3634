//! Docs, rules, provisioning and compose: names that exist, and nothing that works only on the author's machine.
//! Textual, since no YAML reader is among the dependencies; `tests/e2e/boards.sh` parses the files.

use super::{Families, families, family, names, read, top};
use std::collections::{BTreeMap, BTreeSet};

const DOCS: &str = "docs/metrics.md";
const RULES: &str = "dashboards/prometheus/rules/flyball.yml";
const RULE_TESTS: &str = "dashboards/prometheus/rules/flyball_test.yml";
const BOARD: &str = "dashboards/grafana/flyball.json";
const COMPOSE: &str = "dashboards/compose.yaml";

/// Error codes in answers; spelled like metrics, but none.
const CODES: [&str; 4] = [
    "flyball_cap",
    "flyball_no_price",
    "flyball_private",
    "flyball_unbounded",
];

/// One row of the table in the docs: kind, unit, labels.
fn documented() -> BTreeMap<String, (String, String, BTreeSet<String>)> {
    let text = read(DOCS);
    let rows = text.lines().filter(|l| l.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" |").map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        let labels = cells[3].split(", ").filter(|l| !l.is_empty());
        let row = (
            cells[1].to_owned(),
            cells[2].to_owned(),
            labels.map(str::to_owned).collect(),
        );
        (cells[0].trim_matches('`').to_owned(), row)
    })
    .collect()
}

/// On other systems than Linux the crate has no figures of the process.
fn told_here(name: &str) -> bool {
    cfg!(target_os = "linux") || !name.starts_with("process_")
}

#[test]
fn the_docs_tell_every_metric_with_its_kind_and_labels() {
    let (families, documented) = (families(), documented());
    for (name, family) in &families {
        let (kind, unit, labels) = documented
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in {DOCS}"));
        assert_eq!((kind, labels), (&family.kind, &family.labels), "{name}");
        let dollars = unit == "US dollars";
        assert_eq!(name.contains("_usd"), dollars, "{name}: {unit}");
        assert!(!unit.is_empty(), "{name}");
    }
    for name in documented.keys().filter(|n| told_here(n)) {
        assert!(families.contains_key(name), "{DOCS}: no {name} any more");
    }
}

#[test]
fn every_name_on_the_board_in_rules_and_in_docs_is_a_metric() {
    let families = families();
    let recorded = recorded();
    for file in [BOARD, RULES, RULE_TESTS, DOCS, "README.md", "CHANGELOG.md"] {
        if !top().join(file).exists() {
            continue;
        }
        let text = without_comments_and_titles(&read(file));
        for name in names(&text) {
            // "flyball_cap_…" stands for all that begin so.
            let known = (name.ends_with('_') && families.keys().any(|f| f.starts_with(name)))
                || families.contains_key(family(&families, name))
                || recorded.contains(name)
                || (file.ends_with(".md") && CODES.contains(&name))
                || !told_here(name);
            assert!(known, "{file}: there is no metric {name}");
        }
    }
}

#[test]
fn every_metric_that_can_trouble_somebody_is_on_the_board() {
    let text = read(BOARD);
    let shown: BTreeSet<String> = {
        let families: Families = families();
        names(&text)
            .into_iter()
            .map(|n| family(&families, n).to_owned())
            .collect()
    };
    let hidden: Vec<String> = families()
        .into_keys()
        .filter(|n| n.starts_with("flyball_") && !shown.contains(n))
        .collect();
    // The docs have these; the board shows the attempts in the place of the streams, and does not have the others yet.
    assert_eq!(
        hidden,
        [
            "flyball_books_cost_usd",
            "flyball_books_saved_usd",
            "flyball_cached_usd_total",
            "flyball_cap_exhausted_timestamp_seconds",
            "flyball_conversation_turns_total",
            "flyball_folded_total",
            "flyball_forecast_usd",
            "flyball_ledger_attempts",
            "flyball_ledger_bytes",
            "flyball_ledger_lag_seconds",
            "flyball_model_attempts_total",
            "flyball_prices_timestamp_seconds",
            "flyball_private_requests_total",
            "flyball_probe_usd_total",
            "flyball_provider_headroom_ratio",
            "flyball_provisional_usd",
            "flyball_reasoning_tokens_total",
            "flyball_reasoning_usd_total",
            "flyball_reload_failed",
            "flyball_savings_usd_total",
            "flyball_served_total",
            "flyball_spend_baseline_usd_total",
            "flyball_spend_usd_total",
            "flyball_streams_open",
            "flyball_tag_spend_usd_total",
        ]
    );
}

fn recorded() -> BTreeSet<String> {
    let rules = read(RULES);
    values(&rules, "- record: ").map(str::to_owned).collect()
}

fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines()
        .filter_map(move |l| l.trim().strip_prefix(key))
        .map(str::trim)
}

fn without_comments_and_titles(text: &str) -> String {
    let kept = text
        .lines()
        .filter(|l| !l.trim().starts_with("# ") && !l.trim().starts_with("- name: "));
    kept.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_alert_says_what_it_means_and_has_a_test_and_a_line_in_the_docs() {
    let (rules, tests, docs) = (read(RULES), read(RULE_TESTS), read(DOCS));
    let alerts: Vec<&str> = values(&rules, "- alert: ").collect();
    assert!(alerts.len() > 3, "{alerts:?}");
    for alert in &alerts {
        assert!(
            values(&tests, "- alertname: ").any(|a| a == *alert),
            "{alert} has no test"
        );
        assert!(
            docs.contains(&format!("| {alert} |")),
            "{alert} is not in {DOCS}"
        );
    }
    for key in ["severity: ", "summary: ", "description: "] {
        assert_eq!(values(&rules, key).count(), alerts.len(), "{key}");
    }
    for recorded in recorded() {
        assert!(
            rules.matches(&recorded).count() > 1,
            "nobody uses {recorded}"
        );
    }
}

#[test]
fn provisioned_files_need_nobody_to_import_them_by_hand() {
    let source = read("dashboards/grafana/provisioning/datasources/prometheus.yml");
    assert!(values(&source, "uid: ").eq(["prometheus"]));
    let board = read(BOARD);
    assert!(
        board.contains(r#""value": "prometheus""#),
        "the variable's first value is that source"
    );
    for text in [&board, &source] {
        assert!(!text.contains("__inputs") && !text.contains("${DS_"));
    }
    let provider = read("dashboards/grafana/provisioning/dashboards/flyball.yml");
    let path = values(&provider, "path: ").next().expect("a path");
    let mounted = format!("- ./grafana/flyball.json:{path}/flyball.json:ro");
    assert!(values(&read(COMPOSE), &mounted).count() == 1, "{mounted}");
}

#[test]
fn the_compose_file_pins_images_and_publishes_on_loopback_only() {
    let text = read(COMPOSE);
    let images: Vec<&str> = values(&text, "image: ").collect();
    assert!(!images.is_empty());
    for image in images {
        let tag = image
            .rsplit_once(':')
            .expect("a tag")
            .1
            .trim_start_matches('v');
        assert_eq!(
            tag.split('.').filter(|n| n.parse::<u32>().is_ok()).count(),
            3,
            "{image}"
        );
    }
    let ports: Vec<&str> = values(&text, "- \"127").collect();
    assert_eq!(
        ports.len(),
        text.lines().filter(|l| l.trim() == "ports:").count(),
        "one loopback port each"
    );
    for (port, inside) in [
        ("FLYBALL_GRAFANA_PORT:-8486", 3000),
        ("FLYBALL_PROMETHEUS_PORT:-8487", 9090),
    ] {
        let published = format!(".0.0.1:${{{port}}}:{inside}\"");
        assert!(
            ports.contains(&published.as_str()),
            "{published} in {ports:?}"
        );
    }
    assert!(!text.contains("0.0.0.0"));
}

#[test]
fn mounted_files_are_there() {
    let compose = read(COMPOSE);
    let mounts: Vec<&str> = values(&compose, "- ./").collect();
    assert!(mounts.len() > 5, "{mounts:?}");
    for mount in mounts {
        let file = mount.split(':').next().expect("a path");
        assert!(top().join("dashboards").join(file).exists(), "{file}");
    }
}
