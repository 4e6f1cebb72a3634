//! `[[webhook]]`: who is told that a request has come to its end which was to be answered later.

use super::names::NamedKey;
use super::{Reading, secret};
use crate::reader::Table;
use crate::route::{HookOf, Webhook};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

/// How a secret begins by which posts are signed (<https://www.standardwebhooks.com>).
const BEGINS: &str = "whsec_";
/// A shorter secret could be guessed; the standard asks for as many bytes.
const BYTES_MIN: usize = 24;
/// How to have one.
const HOW: &str = "make one with: printf 'whsec_%s' \"$(openssl rand -base64 32)\"";

/// Every webhook.
pub(super) fn webhooks(reading: &Reading<'_>, top: &Table<'_>) -> Vec<Webhook> {
    let mut all: Vec<Webhook> = Vec::new();
    for mut table in top.tables("webhook") {
        table.call("[[webhook]]".to_owned());
        let whose = whose(&table);
        if let Some(HookOf::Key(name)) = &whose {
            let place = format!("{}: webhook", table.place("key"));
            let name = name.clone();
            reading
                .keys_named
                .borrow_mut()
                .push(NamedKey { name, place });
        }
        for key in ["url", "secret"] {
            if !table.has(key) {
                let help = format!("write {key} = \"env:NAME\" or \"file:PATH\"");
                table.complain(key, format!("webhook: {key} is missing"), Some(help));
            }
        }
        let url = secret::read(reading, &table, "url").filter(|url| is_address(&table, url));
        let secret = secret::read(reading, &table, "secret");
        let secret = secret.and_then(|written| bytes(&table, &written));
        if all.iter().any(|other| Some(&other.whose) == whose.as_ref()) {
            let text = "webhook: another one is told of the same requests";
            let help = "give each a key or a team of its own".to_owned();
            table.complain("url", text, Some(help));
        }
        table.finish();
        if let (Some(whose), Some(url), Some(secret)) = (whose, url, secret) {
            all.push(Webhook { whose, url, secret });
        }
    }
    all
}

fn whose(table: &Table<'_>) -> Option<HookOf> {
    match (table.text("key"), table.text("team")) {
        (Some(_), Some(_)) => {
            let text = "webhook: key and team exclude each other";
            let help = "write two webhooks".to_owned();
            table.complain("team", text, Some(help));
            None
        }
        (Some(key), None) => Some(HookOf::Key(key.to_owned())),
        (None, Some(team)) => Some(HookOf::Team(team.to_owned())),
        (None, None) => Some(HookOf::Everybody),
    }
}

fn is_address(table: &Table<'_>, url: &SecretString) -> bool {
    let url = url.expose_secret();
    let fits = ["http://", "https://"].iter().any(|s| url.starts_with(s));
    if !fits {
        let text = "webhook: url is no address of http or https";
        table.complain("url", text, None);
    }
    fits
}

fn bytes(table: &Table<'_>, written: &SecretString) -> Option<SecretSlice<u8>> {
    let read = written.expose_secret().strip_prefix(BEGINS);
    let read = read.and_then(|text| STANDARD.decode(text).ok());
    let long = read.filter(|bytes| bytes.len() >= BYTES_MIN);
    if long.is_none() {
        let text =
            format!("webhook: secret is not \"{BEGINS}\" and at least {BYTES_MIN} bytes in base64");
        table.complain("secret", text, Some(HOW.to_owned()));
    }
    long.map(SecretSlice::from)
}
