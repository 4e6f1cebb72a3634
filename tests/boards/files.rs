//! Docs, rules, provisioning and compose: names that exist, and nothing that works only on the author's machine.
//! Textual, since no YAML reader is among the dependencies; `tests/e2e/boards.sh` parses the files.

use super::board::{BOARDS, file};
use super::{Families, families, family, names, read, top};
use std::collections::{BTreeMap, BTreeSet};

const DOCS: &str = "docs/metrics.md";
const RULES: &str = "dashboards/prometheus/rules/flyball.yml";
const RULE_TESTS: [&str; 2] = [
    "dashboards/prometheus/rules/flyball_test.yml",
    "dashboards/prometheus/rules/flyball_week_test.yml",
];
const COMPOSE: &str = "dashboards/compose.yaml";

/// Metrics that no board shows, and why.
const UNLISTED: [(&str, &str); 17] = [
    (
        "flyball_arms_passed_over_total",
        "an alert tells of it, and the attempts that answer instead are on the boards",
    ),
    (
        "flyball_baseline_usd_total",
        "by the arm that answered; the boards show the baseline by team and key",
    ),
    (
        "flyball_batch_lines_total",
        "batches are rare; `flyball batches list` tells how each stands",
    ),
    ("flyball_batches_total", "the same"),
    (
        "flyball_channel_failed_ratio",
        "`/admin/v1/health` tells it beside the failures' kinds, for whoever has several channels",
    ),
    (
        "flyball_channel_first_byte_seconds",
        "the boards show the histogram of the time to the first token, which adds up over replicas",
    ),
    (
        "flyball_channel_headroom_ratio",
        "the boards show the provider's",
    ),
    (
        "flyball_channel_in_flight",
        "a figure of the moment, for whoever balances channels",
    ),
    (
        "flyball_channel_moves_total",
        "few have several channels; each move is an attempt with its outcome, which the boards show",
    ),
    (
        "flyball_channel_up",
        "few have several channels, and `down` in `/admin/v1/health` tells which is left alone",
    ),
    (
        "flyball_crashed_attempts_total",
        "the Trust board shows what they were charged",
    ),
    (
        "flyball_guard_stops_total",
        "off by default; the log names each conversation and session that was stopped",
    ),
    (
        "flyball_hedges_total",
        "off by default; what it costs stands among the losses",
    ),
    (
        "flyball_otlp_dropped_total",
        "there only for those who watch it in another place",
    ),
    (
        "flyball_response_cache_entries",
        "the boards show what they take up, which is what is limited",
    ),
    (
        "flyball_shadows_total",
        "what shadows cost stands among the losses; how they end is for whoever looks into them",
    ),
    (
        "flyball_webhook_posts_total",
        "whoever has a webhook hears what it was not told from its own side",
    ),
];

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
fn every_name_on_the_boards_in_rules_and_in_docs_is_a_metric() {
    let families = families();
    let texts = [
        RULES,
        RULE_TESTS[0],
        RULE_TESTS[1],
        DOCS,
        "docs/boards.md",
        "README.md",
        "CHANGELOG.md",
    ];
    let mut missing = Vec::new();
    for file in BOARDS.map(file).into_iter().chain(texts.map(str::to_owned)) {
        let text = without_comments_and_titles(&read(&file));
        let codes = |name: &&str| !(file.ends_with(".md") && CODES.contains(name));
        for name in unknown(&text, &families).into_iter().filter(codes) {
            missing.push(format!(
                "{file}: there is no metric {name}{}",
                where_in(&text, name)
            ));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// What is spelled like a metric, and is none; "flyball_cap_…" stands for all that begin so.
fn unknown<'t>(text: &'t str, families: &Families) -> BTreeSet<&'t str> {
    let recorded = recorded();
    let known = |name: &str| {
        (name.ends_with('_') && families.keys().any(|f| f.starts_with(name)))
            || families.contains_key(family(families, name))
            || recorded.contains(name)
            || !told_here(name)
    };
    names(text)
        .into_iter()
        .filter(|name| !known(name))
        .collect()
}

/// The panels that use a name, where the text is a board: each is a line.
fn where_in(text: &str, name: &str) -> String {
    let using = text.lines().filter(|line| names(line).contains(name));
    let titles: Vec<&str> = using
        .filter_map(|line| line.split_once("\"title\": \"")?.1.split('"').next())
        .collect();
    match titles.is_empty() {
        true => String::new(),
        false => format!(", which is used by: {}", titles.join(", ")),
    }
}

#[test]
fn a_metric_that_was_renamed_is_told_with_the_panels_that_use_it() {
    let renamed = read(file("caps")).replace("flyball_cap_reserved_usd", "flyball_cap_held_usd");
    let missing: Vec<&str> = unknown(&renamed, &families()).into_iter().collect();
    assert_eq!(missing, ["flyball_cap_held_usd"]);
    let told = where_in(&renamed, missing[0]);
    assert!(
        told.contains("Reserved share") && told.contains("Largest reservation"),
        "{told}"
    );
    assert!(!told.contains("All refusals"), "{told}");
}

#[test]
fn every_metric_is_on_a_board_or_listed_as_unlisted() {
    let families = families();
    let texts: String = BOARDS.map(|name| read(file(name))).concat();
    let shown: BTreeSet<&str> = names(&texts)
        .into_iter()
        .map(|n| family(&families, n))
        .collect();
    let ours = families
        .keys()
        .map(String::as_str)
        .filter(|n| n.starts_with("flyball_"));
    let hidden: Vec<&str> = ours.filter(|n| !shown.contains(n)).collect();
    assert_eq!(hidden, UNLISTED.map(|(name, _)| name));
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
    let tests = RULE_TESTS.map(read).concat();
    let (rules, docs) = (read(RULES), read(DOCS));
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
    let expected = |alert: &str, what: &str| {
        let begins = format!("- alertname: {alert}\n");
        let mut after = tests.split(begins.as_str()).skip(1);
        after.any(|t| t.lines().take(2).any(|line| line.trim() == what))
    };
    for alert in &alerts {
        assert!(expected(alert, "exp_alerts:"), "{alert} is not seen firing");
        assert!(
            expected(alert, "exp_alerts: []"),
            "{alert} is not seen silent"
        );
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
    for name in BOARDS {
        let board = read(file(name));
        assert!(
            board.contains(r#""value": "prometheus""#),
            "{name}: the variable's first value is that source"
        );
        for text in [&board, &source] {
            assert!(!text.contains("__inputs") && !text.contains("${DS_"));
        }
    }
    let provider = read("dashboards/grafana/provisioning/dashboards/flyball.yml");
    let path = values(&provider, "path: ").next().expect("a path");
    let compose = read(COMPOSE);
    for name in BOARDS {
        let mounted = format!("- ./grafana/{name}.json:{path}/{name}.json:ro");
        assert_eq!(values(&compose, &mounted).count(), 1, "{mounted}");
    }
    let home = format!(
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: {path}/{}.json",
        BOARDS[0]
    );
    assert!(compose.contains(&home), "{home}");
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
    assert_eq!(ports.len(), 4);
    for (port, inside) in [
        ("FLYBALL_GRAFANA_PORT:-8486", 3000),
        ("FLYBALL_PROMETHEUS_PORT:-8487", 9090),
        ("FLYBALL_ALERTMANAGER_PORT:-8488", 8488),
        ("FLYBALL_PAGE_PORT:-8489", 8489),
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
