//! The house's order: nobody reaches up, no two rooms lean on each other, each outside door has one keeper, and nothing is kept
//! that nobody uses.

mod dead;
mod house;

use house::{House, circles, folder, one_room};
use std::collections::BTreeSet;

/// Lower first. A module may use its own layer and those below it.
const LAYERS: [&[&str]; 5] = [
    &[
        "arm",
        "capability",
        "chat",
        "effort",
        "error",
        "json",
        "limits",
        "money",
        "pattern",
        "price",
        "reader",
        "takes",
        "tls",
        "unix",
    ],
    &[
        "batch",
        "dialect",
        "provider",
        "fleet",
        "caller",
        "classify",
        "judge",
        "learn",
        "hardware",
        "private",
        "probe",
        "route",
        "tokens",
        "ledger::audit",
        "ledger::cap",
        "ledger::exhaustion",
        "ledger::forecast",
        "ledger::keyring",
        "ledger::stopped",
        "ledger::judged",
        "ledger::pace",
        "ledger::prune",
        "ledger::record",
        "ledger::replay",
        "ledger::report",
        "ledger::rollup",
        "ledger::tree",
        "ledger::balance",
        "ledger::window",
        "ledger::store",
    ],
    &[
        "upstream",
        "relay",
        "response_cache",
        "affinity",
        "ledger",
        "telemetry",
        "settle",
        "counting",
        "simulate",
    ],
    &["exchange"],
    &["admin", "server", "process", "config", "cli", "main", ""],
];

fn all() -> Vec<(String, String)> {
    House::here().files.into_iter().collect()
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
fn nobody_reaches_up() {
    let arrows = House::here().arrows();
    let up = arrows
        .iter()
        .filter(|((from, to), _)| !one_room(from, to) && layer(to) > layer(from));
    let wrong: Vec<String> = up
        .map(|((from, to), names)| format!("{from} uses {names:?} of {to}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What ties these modules to each other, for whoever has to open a circle.
fn ties(house: &House, circle: &[String], place: impl Fn(&str) -> String) -> Vec<String> {
    let within = |module: &str| circle.contains(&place(module));
    let arrows = house.arrows();
    let ties = arrows
        .iter()
        .filter(|((a, b), _)| place(a) != place(b) && within(a) && within(b) && !one_room(a, b));
    ties.map(|((from, to), names)| format!("{from} -> {to}: {names:?}"))
        .collect()
}

#[test]
fn no_folders_lean_on_each_other() {
    let house = House::here();
    let between = house.arrows().into_keys().filter(|(a, b)| {
        let ends = [folder(a), folder(b)];
        ends[0] != ends[1] && !ends.contains(&"") && !ends.contains(&"main")
    });
    let arrows: BTreeSet<_> = between
        .map(|(a, b)| (folder(&a).to_owned(), folder(&b).to_owned()))
        .collect();
    let found = circles(&arrows);
    let shown: Vec<_> = found
        .iter()
        .map(|circle| (circle, ties(&house, circle, |m| folder(m).to_owned())))
        .collect();
    assert!(found.is_empty(), "these lean on each other: {shown:#?}");
}

#[test]
fn no_files_lean_on_each_other() {
    let house = House::here();
    let arrows: BTreeSet<_> = house
        .arrows()
        .into_keys()
        .filter(|(a, b)| !one_room(a, b))
        .collect();
    let found = circles(&arrows);
    let shown: Vec<_> = found
        .iter()
        .map(|circle| (circle, ties(&house, circle, str::to_owned)))
        .collect();
    assert!(found.is_empty(), "these lean on each other: {shown:#?}");
}

/// The checks above find what is put in on purpose: a circle of two files by an inline path, and one through a name that is handed on.
#[test]
fn a_circle_that_is_put_in_is_found() {
    let files = [
        ("", "pub mod a; pub mod b; pub mod c;"),
        ("a", "use crate::b::{Kind, deep::{self, Thing}};"),
        ("b", "pub use self::deep::Thing as Kind; mod deep;"),
        (
            "b::deep",
            "pub struct Thing; fn f() { super::super::c::g(); }",
        ),
        ("c", "fn g() { crate::a::h() }"),
    ];
    let house = House {
        files: files
            .iter()
            .map(|(name, code)| ((*name).to_owned(), (*code).to_owned()))
            .collect(),
    };
    let arrows: BTreeSet<_> = house
        .arrows()
        .into_keys()
        .filter(|(a, b)| !one_room(a, b))
        .collect();
    assert_eq!(circles(&arrows), [["a", "b::deep", "c"].map(str::to_owned)]);
}

#[test]
fn each_outside_door_has_one_keeper() {
    for (door, keepers) in [
        (
            "hyper_util::client",
            &["upstream::socket", "upstream::tls", "cli::client"][..],
        ),
        ("h2::", &["server::http2", "upstream::http2"]),
        (
            "rustls::",
            &[
                "tls",
                "tls::client",
                "tls::server",
                "upstream::pool",
                "upstream::socket",
                "upstream::tls",
                "ledger::store::postgres::tls",
            ],
        ),
        ("tiktoken_rs", &["tokens"]),
        (
            "prometheus::",
            &[
                "telemetry::metrics",
                "telemetry::metrics::books",
                "telemetry::metrics::cache",
                "telemetry::metrics::caps",
                "telemetry::metrics::channels",
                "telemetry::metrics::dollars",
                "telemetry::metrics::make",
                "telemetry::metrics::series",
                "telemetry::metrics::who",
            ],
        ),
        ("opentelemetry_sdk", &["telemetry::otlp::meters"]),
        (
            "rusqlite",
            &[
                "ledger::store::sqlite",
                "ledger::store::sqlite::audit",
                "ledger::store::sqlite::batches",
                "ledger::store::sqlite::keys",
                "ledger::store::sqlite::learning",
                "ledger::store::sqlite::stopped",
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
const VENDORS: [&str; 2] = ["effort", "price::refresh"];

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
