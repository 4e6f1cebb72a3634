//! The channels of a provider: its credentials and its deployments, or the one address and the one key of a provider that has no lists of them.

use super::names::KnownNames;
use super::{Needs, Reading, secret};
use crate::provider::Kind;
use crate::provider::channel::{Balance, Channel};
use crate::reader::{Table, suggest};
use crate::unix;
use http::Uri;
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A provider has no more channels than these: each is a label in metrics.
const CHANNELS_MAX: usize = 64;
/// The largest weight.
const WEIGHT_MAX: u64 = 1_000;
/// The highest share of a rate limit, in percent, below which requests may go elsewhere.
const HEADROOM_PERCENT_MAX: u64 = 50;

/// What a provider's entry says of the ways to it.
pub(super) struct Channels {
    pub(super) home: Channel,
    pub(super) more: Vec<Channel>,
    pub(super) balance: Balance,
    pub(super) headroom_min_percent: u32,
    /// Every one of them is on this machine.
    pub(super) loopback: bool,
    /// A key goes to another machine over plain http.
    pub(super) unencrypted: bool,
}

/// A credential that has a name.
struct Credential {
    name: String,
    key: Option<SecretString>,
    weight: u32,
}

/// An address that may have a name, and a key of its own.
struct Deployment {
    name: String,
    base_url: String,
    loopback: bool,
    key: Option<SecretString>,
    has_key: bool,
    weight: u32,
    models: BTreeMap<String, String>,
}

/// The channels of a provider; `None` where they cannot be told, which is complained of.
pub(super) fn read(
    reading: &Reading<'_>,
    table: &mut Table<'_>,
    kind: &'static Kind,
) -> Option<Channels> {
    let balance = table.choice("balance", "balance", &Balance::ALL);
    let headroom_min_percent = headroom_min_percent(table);
    let several = (table.has("credential"), table.has("deployment"));
    let credentials = credentials(reading, table);
    let own_key = match several {
        (false, _) => api_key(reading, table, kind),
        (true, _) => {
            let text = "api_key stands beside [[provider.credential]]";
            let help = "give it a [[provider.credential]] with a name of its own";
            refuse(table, "api_key", text, help);
            None
        }
    };
    let deployments = match several.1 {
        false => base_url(table, kind).map(|(base_url, loopback)| {
            vec![Deployment {
                name: String::new(),
                base_url,
                loopback,
                key: None,
                has_key: false,
                weight: 1,
                models: BTreeMap::new(),
            }]
        }),
        true => {
            let text = "base_url stands beside [[provider.deployment]]";
            let help = "give it a [[provider.deployment]] with a name of its own";
            refuse(table, "base_url", text, help);
            deployments(reading, table, kind)
        }
    }?;
    let places = deployments.iter().filter(|d| d.loopback).count();
    if !matches!(places, 0) && places < deployments.len() && !table.has("local") {
        let text = "some of its deployments are on this machine and some are not";
        let help = "make them two providers, so that what is confidential stays on this machine; or write local = true if all of them are yours";
        table.complain("deployment", text, Some(help.to_owned()));
    }
    let lacks = deployments.iter().any(|d| !d.has_key);
    if own_key.is_none() && !several.0 && lacks && !table.has("api_key") {
        check_key(reading, table, kind, several.1);
    }
    let mut channels = Vec::new();
    for deployment in &deployments {
        let name = &deployment.name;
        let unnamed = |key: &Option<SecretString>| Channel {
            deployment: name.clone(),
            weight: deployment.weight,
            models: deployment.models.clone(),
            name: match name.is_empty() {
                true => crate::provider::channel::ONLY.to_owned(),
                false => name.clone(),
            },
            ..Channel::only(deployment.base_url.clone(), key.clone())
        };
        if deployment.has_key {
            channels.push(unnamed(&deployment.key));
        } else if credentials.is_empty() {
            channels.push(unnamed(&own_key));
        } else {
            channels.extend(credentials.iter().map(|credential| Channel {
                credential: credential.name.clone(),
                name: match name.is_empty() {
                    true => credential.name.clone(),
                    false => format!("{}@{name}", credential.name),
                },
                weight: credential.weight.saturating_mul(deployment.weight),
                ..unnamed(&credential.key)
            }));
        }
    }
    if channels.len() > CHANNELS_MAX {
        let text = format!(
            "its credentials and deployments make {} pairs; {CHANNELS_MAX} are the most",
            channels.len()
        );
        let key = if several.0 {
            "credential"
        } else {
            "deployment"
        };
        let help = "give deployments an api_key of their own, or make two providers of it";
        table.complain(key, text, Some(help.to_owned()));
    }
    let unencrypted = deployments.iter().any(|deployment| {
        let key = deployment.has_key || own_key.is_some() || !credentials.is_empty();
        key && deployment.base_url.starts_with("http://") && !deployment.loopback
    });
    let mut channels = channels.into_iter();
    Some(Channels {
        home: channels.next()?,
        more: channels.collect(),
        balance: balance.unwrap_or_default(),
        headroom_min_percent,
        loopback: places == deployments.len(),
        unencrypted,
    })
}

/// Warns of what providers say of their channels to no effect.
pub(super) fn doubt(reading: &Reading<'_>, top: &Table<'_>, known: &KnownNames<'_>) {
    for table in top.tables("provider") {
        let name = table.text("name").unwrap_or_default();
        let warn = |of: &Table<'_>, key: &str, text: String| {
            reading.warn(format!("{}: provider \"{name}\": {text}", of.place(key)));
        };
        let (credentials, deployments) = (table.tables("credential"), table.tables("deployment"));
        let own = deployments.iter().filter(|one| one.has("api_key")).count();
        if !credentials.is_empty() && own > 0 && own == deployments.len() {
            let text = "no [[provider.credential]] is used, since every [[provider.deployment]] has an api_key of its own; take those keys out, or the credentials";
            warn(&table, "credential", text.to_owned());
        }
        let models = &known.fleet.models;
        let of_provider = || models.iter().filter(|m| m.provider.name == name);
        // Who lists no model takes every name.
        let listed = of_provider().next().is_some();
        for deployment in deployments.iter().filter(|_| listed) {
            for (model, _) in deployment.pairs("models") {
                if of_provider().all(|m| m.name != model) {
                    let near = suggest(&model, of_provider().map(|m| m.name.as_str()));
                    let help =
                        near.unwrap_or_else(|| format!("write [[model]] name = \"{model}\""));
                    let text = format!("models: it has no model \"{model}\"; {help}");
                    warn(deployment, "models", text);
                }
            }
        }
    }
}

/// Two settings say the same.
fn refuse(table: &Table<'_>, key: &'static str, text: &str, help: &str) {
    if table.has(key) {
        table.complain(key, text, Some(help.to_owned()));
    }
    // It has been looked at, so that nobody calls it unknown.
    let _ = table.text(key);
}

fn headroom_min_percent(table: &Table<'_>) -> u32 {
    let usual = crate::provider::HEADROOM_MIN_PERCENT;
    let Some(percent) = table.count("headroom_min_percent") else {
        return usual;
    };
    if percent > HEADROOM_PERCENT_MAX {
        let text = format!("headroom_min_percent {percent} is more than {HEADROOM_PERCENT_MAX}");
        let help = format!(
            "write the share of a rate limit below which requests go elsewhere, from 0 (never) to {HEADROOM_PERCENT_MAX}"
        );
        table.complain("headroom_min_percent", text, Some(help));
    }
    u32::try_from(percent).unwrap_or(usual)
}

fn credentials(reading: &Reading<'_>, table: &Table<'_>) -> Vec<Credential> {
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for mut one in table.tables("credential") {
        let name = named(&mut one, "credential", &mut names);
        let key = match one.has("api_key") {
            true => secret::read(reading, &one, "api_key"),
            false => {
                let help = Some(secret::HOW.to_owned());
                one.complain("api_key", "api_key is missing", help);
                None
            }
        };
        let weight = weight(&one);
        one.finish();
        all.extend(name.map(|name| Credential { name, key, weight }));
    }
    all
}

/// The deployments; `None` where one of them has no address.
fn deployments(
    reading: &Reading<'_>,
    table: &Table<'_>,
    kind: &'static Kind,
) -> Option<Vec<Deployment>> {
    let mut names = BTreeSet::new();
    let mut all = Some(Vec::new());
    for mut one in table.tables("deployment") {
        let name = named(&mut one, "deployment", &mut names);
        let address = match one.has("base_url") {
            true => base_url(&one, kind),
            false => {
                let help = "write base_url = \"https://HOST\"".to_owned();
                one.complain("base_url", "base_url is missing", Some(help));
                None
            }
        };
        let has_key = one.has("api_key");
        let key = match has_key {
            true => secret::read(reading, &one, "api_key"),
            false => None,
        };
        let weight = weight(&one);
        let models = one.pairs("models").into_iter().collect();
        one.finish();
        let made = name
            .zip(address)
            .map(|(name, (base_url, loopback))| Deployment {
                name,
                base_url,
                loopback,
                key,
                has_key,
                weight,
                models,
            });
        all = all.zip(made).map(|(mut all, made)| {
            all.push(made);
            all
        });
    }
    all
}

/// The name of a credential or deployment: a metric label and a piece of a channel's name.
fn named(table: &mut Table<'_>, what: &str, names: &mut BTreeSet<String>) -> Option<String> {
    let name = table.needed("name")?.to_owned();
    table.call(format!("{what} \"{name}\""));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        let help = "use up to 64 letters, digits, '.', '_' and '-'".to_owned();
        table.complain("name", "unfit name", Some(help));
    }
    if !names.insert(name.clone()) {
        let help = format!("give each {what} of a provider a name of its own");
        table.complain("name", "the name is taken", Some(help));
    }
    Some(name)
}

fn weight(table: &Table<'_>) -> u32 {
    let Some(weight) = table.count("weight") else {
        return 1;
    };
    if !(1..=WEIGHT_MAX).contains(&weight) {
        let help = format!(
            "write a whole number from 1 to {WEIGHT_MAX}; one of twice the weight gets twice the requests"
        );
        table.complain(
            "weight",
            format_args!("weight {weight} is out of range"),
            Some(help),
        );
    }
    u32::try_from(weight).unwrap_or(1)
}

/// The address without a trailing slash, and whether it is loopback.
fn base_url(table: &Table<'_>, kind: &Kind) -> Option<(String, bool)> {
    let written = table.text("base_url");
    let Some(url) = written.or(kind.base_url.filter(|_| !table.has("base_url"))) else {
        if !table.has("base_url") {
            let help = Some("write base_url = \"http://HOST:PORT\"".to_owned());
            table.complain(
                "base_url",
                format_args!("{} needs a base_url", kind.name),
                help,
            );
        }
        return None;
    };
    if let Some(path) = unix::path(url) {
        return match path {
            Ok(path) => Some((unix::url(&path), true)),
            Err(help) => {
                table.complain("base_url", "base_url is not an address", Some(help));
                None
            }
        };
    }
    let url = url.trim_end_matches('/');
    let uri = url.parse::<Uri>().ok();
    let authority = uri.as_ref().and_then(Uri::authority);
    // The address shows in logs, so it must not hold a password; nor is it repeated here.
    if authority.is_some_and(|a| a.as_str().contains('@')) {
        let text = "base_url must not hold a user or password";
        table.complain(
            "base_url",
            text,
            Some("write api_key = \"env:NAME\"".to_owned()),
        );
        return None;
    }
    let fit = uri
        .as_ref()
        .is_some_and(|u| matches!(u.scheme_str(), Some("http" | "https")) && u.query().is_none());
    let Some(authority) = authority.filter(|_| fit) else {
        let help = Some("write http://HOST:PORT or https://HOST, without a query".to_owned());
        table.complain("base_url", "base_url is not an address", help);
        return None;
    };
    let url = without_endpoint(url, authority.as_str(), kind);
    Some((url.to_owned(), is_loopback(authority.host())))
}

/// SDKs are given `https://host/v1`, and some people paste the whole endpoint: what flyball itself puts behind the address goes.
fn without_endpoint<'u>(url: &'u str, authority: &str, kind: &Kind) -> &'u str {
    let host_end = url.find("://").map_or(0, |at| at + 3) + authority.len();
    let (host, path) = url.split_at(host_end);
    let mut pieces = kind.speaks.iter().flat_map(|(_, endpoint)| {
        let ends = endpoint.match_indices('/').map(|(at, _)| at).skip(1);
        ends.chain([endpoint.len()]).map(|end| &endpoint[..end])
    });
    let kept = pieces.find_map(|piece| path.strip_suffix(piece));
    kept.map_or(url, |kept| &url[..host.len() + kept.len()])
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The key: as written, or the vendor's own variable, which only ever goes to the vendor's own address.
fn api_key(reading: &Reading<'_>, table: &Table<'_>, kind: &Kind) -> Option<SecretString> {
    if table.has("api_key") {
        return secret::read(reading, table, "api_key");
    }
    let _ = table.text("api_key");
    let elsewhere = table.has("base_url") || table.has("deployment");
    let variable = kind.key_env.filter(|_| !elsewhere)?;
    let value = (reading.around.env)(variable).map(|v| v.trim().to_owned());
    let value = value.filter(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_graphic()));
    value.map(SecretString::from)
}

/// Complains of a provider without a key whose kind needs one.
fn check_key(reading: &Reading<'_>, table: &Table<'_>, kind: &Kind, deployed: bool) {
    let elsewhere = table.has("base_url") || deployed;
    if let Some(variable) = kind.key_env.filter(|_| !elsewhere)
        && !kind.free
        && reading.overrides.needs == Needs::All
    {
        let help = Some(format!("set {variable}, or write api_key = \"env:NAME\""));
        table.complain("api_key", "there is no key", help);
    }
}
