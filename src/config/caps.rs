//! Caps in the configuration: `[[cap]]`, `[[team]]` and `[key_defaults]`.

use super::Reading;
use super::names::{Doubt, Known, NamedKey, NamedTag};
use crate::ledger::cap::{AtCap, Cap, Counter, Dim, Measure, Pick, SOFT_PERCENT, Scope};
use crate::ledger::window::{Window, Zone};
use crate::money::PicoUsd;
use crate::reader::Table;
use crate::route::EXPLORING;
use std::collections::BTreeMap;

/// The time zone of windows that name none.
pub(super) fn zone(top: &Table<'_>) -> Zone {
    zone_of(top, "time_zone").unwrap_or_default()
}

fn zone_of(table: &Table<'_>, key: &'static str) -> Option<Zone> {
    let name = table.text(key)?;
    match Zone::named(name) {
        Ok(zone) => Some(zone),
        Err(why) => {
            table.complain(key, format_args!("{key}: {why}"), None);
            None
        }
    }
}

/// The teams, each with its organisation.
pub(super) fn teams(top: &Table<'_>) -> BTreeMap<String, String> {
    let mut teams = BTreeMap::new();
    for table in top.tables("team") {
        let name = table.needed("name").unwrap_or_default().to_owned();
        let organisation = table.text("organisation").unwrap_or_default().to_owned();
        if teams.insert(name.clone(), organisation).is_some() {
            table.complain(
                "name",
                format_args!("team \"{name}\" is there already"),
                None,
            );
        }
        table.finish();
    }
    teams
}

/// Every `[[cap]]`. Where one names a key, the scope holds the key's name. What else it names must be among what is `known`; that is
/// nothing where providers or models are wrong themselves.
pub(super) fn caps(
    reading: &Reading<'_>,
    top: &Table<'_>,
    zone: &Zone,
    known: Option<&Known<'_>>,
) -> Vec<Cap> {
    let mut caps: Vec<Cap> = Vec::new();
    for table in top.tables("cap") {
        if let Some(cap) = cap(&table, zone) {
            check_names(reading, &table, &cap.counter.scope, known);
            if caps.iter().any(|c| c.counter == cap.counter) {
                table.complain("window", "cap: there is one for this window already", None);
            }
            caps.push(cap);
        }
        table.finish();
    }
    caps
}

/// The most that exploring may cost a day, where the operator says one.
pub(super) fn of_exploring(top: &Table<'_>, zone: &Zone) -> Option<Cap> {
    let most = money(top, "probe_explore_usd")?;
    let (tag, value) = EXPLORING;
    let counter = Counter {
        scope: Scope::all().tagged(tag, value),
        measure: Measure::Usd,
        window: Window::Day,
        zone: zone.clone(),
    };
    Some(Cap::new(counter, most.0))
}

/// Complains of names that nobody has, and notes the keys and tags that only the ledger knows.
fn check_names(reading: &Reading<'_>, table: &Table<'_>, scope: &Scope, known: Option<&Known<'_>>) {
    for (dim, doubt) in known.into_iter().flat_map(|k| k.doubts(scope)) {
        match doubt.certain {
            true => table.complain(dim.name(), format_args!("cap: {}", doubt.text), doubt.help),
            false => reading.warn(format!("{}: cap: {doubt}", table.place(dim.name()))),
        }
    }
    if let Pick::Only(name) = scope.pick(Dim::Key) {
        let place = format!("{}: cap", table.place("key"));
        let name = name.clone();
        reading
            .keys_named
            .borrow_mut()
            .push(NamedKey { name, place });
    }
    for (name, value) in scope.tags() {
        reading.tags_named.borrow_mut().push(NamedTag {
            tag: (name.to_owned(), value.to_owned()),
            place: format!("{}: cap", table.place("tag")),
        });
    }
}

fn cap(table: &Table<'_>, zone: &Zone) -> Option<Cap> {
    let windows = Window::ALL.map(|w| (w.name(), w));
    let window = table.choice("window", "window", &windows);
    let zone = zone_of(table, "time_zone").unwrap_or_else(|| zone.clone());
    let limit = limit(table);
    let scope = scope(table);
    let at_cap = table.choice(
        "at_cap",
        "answer to a full cap",
        &[("refuse", AtCap::Refuse), ("local", AtCap::Local)],
    );
    let soft = table.count_from_1("soft_percent");
    let soft_percent = soft.map_or(Some(SOFT_PERCENT), |n| {
        u8::try_from(n).ok().filter(|n| *n <= 100)
    });
    if soft_percent.is_none() {
        table.complain("soft_percent", "soft_percent is 1 to 100", None);
    }
    if !table.has("window") {
        table.complain("window", "cap: window is missing", None);
    }
    let (measure, limit) = limit?;
    let counter = Counter {
        scope,
        measure,
        window: window?,
        zone,
    };
    Some(Cap {
        at_cap: at_cap.unwrap_or_default(),
        soft_percent: soft_percent?,
        ..Cap::new(counter, limit)
    })
}

fn limit(table: &Table<'_>) -> Option<(Measure, i128)> {
    let written: Vec<Measure> = Measure::ALL
        .into_iter()
        .filter(|m| table.has(m.name()))
        .collect();
    let (usd, tokens, requests) = (
        money(table, "usd"),
        table.count("tokens"),
        table.count("requests"),
    );
    match written.as_slice() {
        [Measure::Usd] => usd.map(|u| (Measure::Usd, u.0)),
        [Measure::Tokens] => tokens.map(|n| (Measure::Tokens, i128::from(n))),
        [Measure::Requests] => requests.map(|n| (Measure::Requests, i128::from(n))),
        [] => {
            table.complain("usd", "cap: usd is missing (or tokens, or requests)", None);
            None
        }
        _ => {
            let help = "write a [[cap]] for each".to_owned();
            table.complain(
                "usd",
                "cap: it has more than one of usd, tokens and requests",
                Some(help),
            );
            None
        }
    }
}

fn scope(table: &Table<'_>) -> Scope {
    let mut scope = Scope::all();
    for dim in Dim::ALL.into_iter().filter(|d| *d != Dim::Session) {
        if let Some(value) = table.text(dim.name()) {
            scope = scope.with(dim, Pick::Only(value.to_owned()));
        }
    }
    let dims = Dim::ALL.map(|d| (d.name(), d));
    if let Some(each) = table.choice("each", "each", &dims) {
        if *scope.pick(each) != Pick::Any {
            let text = format!("cap: it is for one {0} and for each {0}", each.name());
            table.complain("each", text, None);
        }
        scope = scope.with(each, Pick::Each);
    }
    for (tag, value) in table.pairs("tag") {
        scope = scope.tagged(&tag, &value);
    }
    scope
}

/// Caps of every key that has none of its own.
pub(super) fn of_each_key(
    reading: &Reading<'_>,
    top: &Table<'_>,
    zone: &Zone,
    known: Option<&Known<'_>>,
) -> Vec<Cap> {
    let Some(table) = top.table("key_defaults") else {
        return Vec::new();
    };
    let plain = [
        (Window::Day, "cap_usd_day"),
        (Window::Month, "cap_usd_month"),
        (Window::Total, "cap_usd_total"),
    ];
    let mut caps: Vec<Cap> = Vec::new();
    for (window, key) in plain {
        if let Some(usd) = money(&table, key) {
            let counter = Counter {
                zone: zone.clone(),
                ..Counter::usd(Scope::all(), window)
            };
            caps.push(Cap::new(counter, usd.0));
        }
    }
    for word in table.words("caps").unwrap_or_default() {
        match read_cap(&word.text, zone) {
            Ok(cap) => {
                let doubts = known.into_iter().flat_map(|k| k.doubts(&cap.counter.scope));
                for (
                    _,
                    Doubt {
                        text,
                        help,
                        certain,
                    },
                ) in doubts
                {
                    let text = format!("caps: {text}");
                    match certain {
                        true => table.complain_at(word.line, text, help),
                        false => reading.warn(table.complaint(word.line, text, help).to_string()),
                    }
                }
                caps.push(cap);
            }
            Err(why) => table.complain_at(word.line, format_args!("caps: {why}"), None),
        }
    }
    table.finish();
    caps
}

/// A cap as it is written on a command line; its days begin in `zone` where it names none of its own.
///
/// # Errors
/// As [`Cap::parse`].
pub fn read_cap(text: &str, zone: &Zone) -> Result<Cap, String> {
    let mut cap = Cap::parse(text)?;
    let amount = text.split_whitespace().next().unwrap_or_default();
    if !amount.contains('@') {
        cap.counter.zone = zone.clone();
    }
    Ok(cap)
}

fn money(table: &Table<'_>, key: &'static str) -> Option<PicoUsd> {
    let usd = table.money(key)?;
    if usd.to_i64().is_none() {
        let text = format!("{key} is above the 9.2 million dollars that the ledger can hold");
        table.complain(key, text, None);
        return None;
    }
    Some(usd)
}
