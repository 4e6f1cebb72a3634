//! The house's order: `use` lines point down only, and each outside door has one keeper.

use std::fs;
use std::path::{Path, PathBuf};

/// Lower first. A module may use its own layer and those below it.
const LAYERS: [&[&str]; 5] = [
    &["chat", "money", "error", "json", "limits", "reader"],
    &[
        "dialect",
        "provider",
        "caller",
        "classify",
        "learn",
        "route",
        "tokens",
        "ledger::price",
        "ledger::cap",
        "ledger::replay",
        "ledger::tree",
        "ledger::true_up",
        "ledger::balance",
        "ledger::window",
        "ledger::store",
    ],
    &[
        "upstream",
        "relay",
        "affinity",
        "ledger",
        "telemetry",
        "settle",
        "simulate",
    ],
    &["exchange"],
    &["admin", "server", "process", "config", "cli", "main", "lib"],
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            into.push(path);
        }
    }
}

fn all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    let name = |p: &PathBuf| {
        p.strip_prefix(&root)
            .expect("under src")
            .with_extension("")
            .to_string_lossy()
            .replace('/', "::")
    };
    paths
        .iter()
        .map(|p| (name(p), fs::read_to_string(p).expect("text")))
        .collect()
}

fn layer(module: &str) -> usize {
    let longest = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(n, names)| names.iter().map(move |name| (n, *name)));
    let fits =
        longest.filter(|(_, name)| module == *name || module.starts_with(&format!("{name}::")));
    fits.max_by_key(|(_, name)| name.len())
        .unwrap_or_else(|| panic!("{module} is in no layer"))
        .0
}

#[test]
fn use_lines_point_down_only() {
    let mut wrong = Vec::new();
    for (module, text) in all() {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|l| l.starts_with("use crate::")) {
            let used = line
                .trim_start_matches("use crate::")
                .split([';', '{', ' '])
                .next()
                .unwrap_or_default()
                .trim_end_matches(':');
            if layer(used) > layer(&module) {
                wrong.push(format!("{module} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_outside_door_has_one_keeper() {
    for (door, keepers) in [
        (
            "hyper_util::client",
            &["upstream", "upstream::tls", "cli::client"][..],
        ),
        (
            "rustls::",
            &["upstream::tls", "ledger::store::postgres::tls"],
        ),
        ("tiktoken_rs", &["tokens"]),
        ("prometheus::", &["telemetry::metrics"]),
        (
            "rusqlite",
            &[
                "ledger::store::sqlite",
                "ledger::store::sqlite::keys",
                "ledger::store::sqlite::read",
                "ledger::store::sqlite::schema",
                "ledger::store::sqlite::write",
            ],
        ),
    ] {
        for (module, text) in all() {
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            assert!(
                !code.contains(door) || keepers.contains(&module.as_str()),
                "{module} opens {door}"
            );
        }
    }
}

/// Files in which a dialect's name is a provider's, whose kinds of requests these are not.
const VENDORS: [&str; 2] = ["route::effort", "ledger::price::refresh"];

#[test]
fn only_dialects_and_who_speaks_them_name_a_dialect() {
    let rooms = ["dialect", "provider", "simulate"];
    let own = |module: &str| {
        let mut rooms = rooms.iter();
        rooms.any(|room| module == *room || module.starts_with(&format!("{room}::")))
    };
    let kinds: Vec<&str> = flyball::provider::ALL.iter().map(|k| k.name).collect();
    let mut wrong = Vec::new();
    for (module, text) in all().into_iter().filter(|(module, _)| !own(module)) {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for name in flyball::dialect::ALL.iter().map(|d| d.name()) {
            let vendor = kinds.contains(&name) && VENDORS.contains(&module.as_str());
            let quoted = code.contains(&format!("\"{name}\"")) && !vendor;
            // A name that is no word of English or of a vendor stands for nothing else, in whatever context.
            if quoted || (name.contains('_') && code.contains(name)) {
                wrong.push(format!("{module} names {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
