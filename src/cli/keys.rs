//! `flyball key`: virtual keys. A secret is shown once, when it is made, and kept nowhere.

use super::{Common, data_dir};
use crate::caller::hash;
use crate::ledger::now;
use crate::ledger::store::sqlite::{self, keys};
use crate::ledger::window::Window;
use crate::money::PicoUsd;
use clap::{Args, Subcommand};
use serde_json::json;
use std::fmt::Write;

#[derive(Subcommand, Debug)]
pub(super) enum KeyCommand {
    /// Make a key and print it: this is the only time that it can be seen
    Create(CreateArgs),
    /// List the keys, with what each has spent
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key; a running flyball refuses it within 5 seconds
    Revoke {
        /// The key's name
        name: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// A name for it, e.g. the app or the person
    name: String,
    /// Most it may spend in a UTC day, in dollars
    #[arg(long, value_name = "USD", value_parser = PicoUsd::from_usd_text)]
    cap_usd_day: Option<PicoUsd>,
    /// Most it may spend in a UTC calendar month, in dollars
    #[arg(long, value_name = "USD", value_parser = PicoUsd::from_usd_text)]
    cap_usd_month: Option<PicoUsd>,
    /// Most it may ever spend, in dollars
    #[arg(long, value_name = "USD", value_parser = PicoUsd::from_usd_text)]
    cap_usd_total: Option<PicoUsd>,
    /// Models it may use, with *; several by comma [default: all]
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    models: Vec<String>,
    /// Keep all its traffic on local models
    #[arg(long)]
    private: bool,
    /// Stop working after so many days
    #[arg(long, value_name = "DAYS")]
    expires_days: Option<u32>,
    /// Tags fixed on it, k=v; several by comma
    #[arg(long, value_name = "K=V", value_delimiter = ',')]
    tags: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(common: &Common, command: &KeyCommand) -> Result<(), String> {
    let dir = data_dir(common)?;
    let db = sqlite::open(&dir).map_err(|e| e.detail)?;
    match command {
        KeyCommand::Create(args) => create(&db, args),
        KeyCommand::List { json } => list(&db, *json),
        KeyCommand::Revoke { name } => {
            keys::revoke(&db, name).map_err(|e| e.detail)?;
            println!("revoked \"{name}\"; a running flyball refuses it within 5 seconds");
            Ok(())
        }
    }
}

fn create(db: &rusqlite::Connection, args: &CreateArgs) -> Result<(), String> {
    let printable =
        |text: &str| !text.is_empty() && text.len() <= 64 && text.chars().all(|c| !c.is_control());
    if !printable(&args.name) {
        return Err("a key's name is 1 to 64 visible characters".into());
    }
    let caps = [
        (Window::Day, args.cap_usd_day),
        (Window::Month, args.cap_usd_month),
        (Window::Total, args.cap_usd_total),
    ];
    let caps: Vec<_> = caps
        .into_iter()
        .filter_map(|(w, a)| a.map(|a| (w, a)))
        .collect();
    if caps.iter().any(|(_, a)| *a < PicoUsd::ZERO) {
        return Err("a cap is not negative; 0 blocks everything".into());
    }
    let tag = |pair: &String| {
        pair.split_once('=')
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .ok_or_else(|| format!("the tag \"{pair}\" is not k=v"))
    };
    let tags = args.tags.iter().map(tag).collect::<Result<_, _>>()?;
    let secret = new_secret()?;
    let key = keys::NewKey {
        name: args.name.clone(),
        hash: hash(secret.as_bytes()),
        created: now(),
        expires: args
            .expires_days
            .map(|days| now() + i64::from(days) * 86_400),
        private: args.private,
        caps,
        models: args.models.clone(),
        tags,
    };
    keys::create(db, &key).map_err(|e| e.detail)?;
    if args.json {
        println!("{}", json!({"name": args.name, "key": secret}));
    } else {
        println!("{secret}");
        eprintln!(
            "This is the key of \"{}\"; it is not kept and cannot be shown again. From now on flyball answers only to keys.",
            args.name
        );
    }
    Ok(())
}

fn new_secret() -> Result<String, String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|e| format!("this machine gives no random numbers: {e}"))?;
    let mut secret = String::from("fb_");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(secret, "{byte:02x}");
    }
    Ok(secret)
}

fn list(db: &rusqlite::Connection, as_json: bool) -> Result<(), String> {
    let all = keys::all(db).map_err(|e| e.detail)?;
    let spent = sqlite::spent(db).map_err(|e| e.detail)?;
    let spent_of = |id: i64, window: Window| -> PicoUsd {
        let here = |p: &crate::ledger::balance::Place| {
            p.node == crate::ledger::balance::Node::Key(id)
                && p.window == window
                && p.id == window.id(now())
        };
        spent.iter().filter(|(p, _)| here(p)).map(|(_, a)| *a).sum()
    };
    let mut table = super::books::table(&["key", "state", "day", "month", "total", "models"]);
    for key in &all {
        let state = if key.revoked {
            "revoked"
        } else if key.expires.is_some_and(|e| e <= now()) {
            "expired"
        } else {
            "works"
        };
        let cap = |window| key.caps.iter().find(|(w, _)| *w == window).map(|(_, a)| *a);
        if as_json {
            let window = |w| json!({"spent_usd": spent_of(key.id, w).usd_text(), "cap_usd": cap(w).map(PicoUsd::usd_text)});
            println!(
                "{}",
                json!({"name": key.name, "state": state, "private": key.private, "models": key.models, "day": window(Window::Day), "month": window(Window::Month), "total": window(Window::Total)})
            );
            continue;
        }
        let cell = |w| match cap(w) {
            Some(cap) => format!("{} of {cap}", super::books::dollars(spent_of(key.id, w))),
            None => super::books::dollars(spent_of(key.id, w)),
        };
        let models = if key.private {
            "local only".into()
        } else if key.models.is_empty() {
            "all".into()
        } else {
            key.models.join(", ")
        };
        table.add_row([
            key.name.clone(),
            state.into(),
            cell(Window::Day),
            cell(Window::Month),
            cell(Window::Total),
            models,
        ]);
    }
    if !as_json {
        println!(
            "{}",
            if all.is_empty() {
                "no keys; make one with `flyball key create NAME`".to_owned()
            } else {
                table.to_string()
            }
        );
    }
    Ok(())
}
