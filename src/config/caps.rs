//! Caps in the configuration: `[[cap]]`, `[[team]]` and `[key_defaults]`.

use super::names::{Doubt, KnownNames, NamedKey, NamedTag};
use super::{Reading, secret};
use crate::ledger::cap::{self, AtCap, Cap, Counter, Dim, Measure, NAME_MAX, Pick, SHARES, Scope};
use crate::ledger::window::{Window, Zone};
use crate::money::PicoUsd;
use crate::reader::Table;
use crate::route::{CapWebhook, EXPLORING, HookFormat};
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
    known: Option<&KnownNames<'_>>,
) -> Vec<Cap> {
    let mut caps: Vec<Cap> = Vec::new();
    for table in top.tables("cap") {
        if let Some(cap) = cap(&table, zone) {
            check_names(reading, &table, &cap.counter.scope, known);
            let same = |c: &Cap| (&c.counter, &c.users) == (&cap.counter, &cap.users);
            if caps.iter().any(same) {
                table.complain("window", "cap: there is one for this window already", None);
            }
            if !cap.name.is_empty() && caps.iter().any(|c| c.name == cap.name) {
                let text = format!("cap: there is one of the name \"{}\" already", cap.name);
                let help = "give each a name of its own, or none".to_owned();
                table.complain("name", text, Some(help));
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
    Some(own_cap(EXPLORING, Window::Day, zone, most))
}

/// The cap on what flyball spends of its own accord, and marks with a tag.
pub(super) fn own_cap(
    (tag, value): (&str, &str),
    window: Window,
    zone: &Zone,
    most: PicoUsd,
) -> Cap {
    let counter = Counter {
        scope: Scope::all().tagged(tag, value),
        measure: Measure::Usd,
        window,
        zone: zone.clone(),
    };
    Cap::new(counter, most.0)
}

/// Complains of names that nobody has, and notes the keys and tags that only the ledger knows.
fn check_names(
    reading: &Reading<'_>,
    table: &Table<'_>,
    scope: &Scope,
    known: Option<&KnownNames<'_>>,
) {
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
    let (scope, users) = scope(table);
    let at_cap = table.choice(
        "at_cap",
        "answer to a full cap",
        &[("refuse", AtCap::Refuse), ("local", AtCap::Local)],
    );
    let notify_percent = told_at(table);
    if *scope.pick(Dim::User) != Pick::Any && notify_percent.as_ref().is_some_and(|n| !n.is_empty())
    {
        let text = "cap: nobody is told of a cap on end users, as there may be any number of them";
        let help = "leave notify_percent out, or put it on a cap on the key or the team".to_owned();
        table.complain("notify_percent", text, Some(help));
    }
    let name = name(table);
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
        notify_percent: notify_percent?,
        name: name?,
        users,
        ..Cap::new(counter, limit)
    })
}

/// Where caps that fill up are told: `cap_webhook`, an address or a table with one.
pub(super) fn webhook(reading: &Reading<'_>, top: &Table<'_>) -> Option<CapWebhook> {
    let plain = |url| CapWebhook {
        url,
        format: HookFormat::default(),
        secret: None,
    };
    if !top.is_table("cap_webhook") {
        return secret::read(reading, top, "cap_webhook").map(plain);
    }
    let table = top.table("cap_webhook")?;
    if !table.has("url") {
        let help = "for example cap_webhook = { url = \"env:HOOK_URL\", format = \"slack\" }";
        table.complain("url", "cap_webhook: url is missing", Some(help.to_owned()));
    }
    let forms = [("json", HookFormat::Json), ("slack", HookFormat::Slack)];
    let format = table.choice("format", "format of a webhook", &forms);
    let url = secret::read(reading, &table, "url");
    let secret = secret::read(reading, &table, "secret");
    table.finish();
    Some(CapWebhook {
        format: format.unwrap_or_default(),
        secret,
        ..plain(url?)
    })
}

/// The name in metrics, notices and refusals; empty where there is none.
fn name(table: &Table<'_>) -> Option<String> {
    let Some(name) = table.text("name") else {
        return Some(String::new());
    };
    let letters = name.chars().count();
    if letters == 0
        || letters > NAME_MAX
        || name.chars().any(char::is_control)
        || ["other", "any"].contains(&name)
    {
        let text = format!(
            "name: the name of a cap is 1 to {NAME_MAX} visible characters, and not \"other\" or \"any\""
        );
        table.complain("name", text, None);
        return None;
    }
    Some(name.to_owned())
}

/// The shares at which a cap is told: `notify_percent`, or `soft_percent` for a single one; nothing where neither is there.
fn told_at(table: &Table<'_>) -> Option<Vec<u8>> {
    let soft = table.count_from_1("soft_percent");
    let several = notify_percent(table)?;
    if table.has("soft_percent") && table.has("notify_percent") {
        let text = "cap: soft_percent and notify_percent say the same";
        let help = "write notify_percent alone, e.g. notify_percent = [50, 80, 95, 100]".to_owned();
        table.complain("soft_percent", text, Some(help));
        return None;
    }
    match (soft, table.has("soft_percent")) {
        (Some(one), _) => {
            let share = cap::shares(&[one]);
            if share.is_none() {
                table.complain("soft_percent", "soft_percent is 1 to 100", None);
            }
            share
        }
        (None, true) => None,
        (None, false) => Some(several),
    }
}

/// `notify_percent`: a list of shares; nothing where there is none.
pub(super) fn notify_percent(table: &Table<'_>) -> Option<Vec<u8>> {
    if !table.has("notify_percent") {
        return Some(Vec::new());
    }
    let shares = table.counts("notify_percent").and_then(|n| cap::shares(&n));
    if shares.is_none() {
        let help = "for example notify_percent = [50, 80, 95, 100]".to_owned();
        table.complain(
            "notify_percent",
            format_args!("notify_percent {SHARES}"),
            Some(help),
        );
    }
    shares
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

/// What counts; and which end users the cap is an exception for, where it is one.
fn scope(table: &Table<'_>) -> (Scope, Option<String>) {
    let mut scope = Scope::all();
    let plain = |dim: &Dim| !matches!(dim, Dim::Session | Dim::User);
    for dim in Dim::ALL.into_iter().filter(plain) {
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
    let users = table.text("user").map(str::to_owned);
    if users.is_some() {
        // Every user's room is counted, so that it is known when an exception comes or goes.
        scope = scope.with(Dim::User, Pick::Each);
    }
    for (tag, value) in table.pairs("tag") {
        scope = scope.tagged(&tag, &value);
    }
    (scope, users)
}

/// Caps of every key that has none of its own.
pub(super) fn of_each_key(
    reading: &Reading<'_>,
    top: &Table<'_>,
    zone: &Zone,
    known: Option<&KnownNames<'_>>,
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
