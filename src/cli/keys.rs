//! `flyball key`: virtual keys. A secret is shown once, when it is made, and kept nowhere.

use super::{Common, books_at, reading};
use crate::caller::hash;
use crate::config::{Config, Needs, read_cap};
use crate::ledger::books;
use crate::ledger::cap::{Cap, Counter, Scope};
use crate::ledger::now;
use crate::ledger::record::Sum;
use crate::ledger::store::{Key, Store};
use crate::ledger::window::{Window, Zone};
use crate::money::PicoUsd;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::fmt::Write;

#[derive(Subcommand, Debug)]
pub(super) enum KeyCommand {
    /// Make a key and print it: this is the only time that it can be seen
    #[command(
        after_help = "Example:\n  flyball key create app --team red --cap 5usd/day --cap \"60requests/minute model=gpt-*\" --models \"gpt-*,claude-*\""
    )]
    Create(Box<CreateArgs>),
    /// List the keys, with what each has spent
    #[command(after_help = "Example:\n  flyball key list --json")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a key a new secret; caps, models and spending stay
    #[command(after_help = "Example:\n  flyball key rotate app --grace 3600")]
    Rotate {
        /// The key's name
        name: String,
        /// How many seconds the old secret goes on working
        #[arg(long, default_value_t = 0, value_name = "SECONDS")]
        grace: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key; a running flyball refuses it within 5 seconds
    #[command(after_help = "Example:\n  flyball key revoke app")]
    Revoke {
        /// The key's name
        name: String,
    },
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// A name for it, e.g. the app or the person
    name: String,
    /// A cap, e.g. 5usd/day, 100000tokens/hour, "60requests/minute@Europe/Berlin model=gpt-*"; may be given several times. Its days begin where the configuration's time_zone says, if it names no zone
    #[arg(long, value_name = "CAP", value_parser = cap_text)]
    cap: Vec<String>,
    /// Most it may spend in a day, in dollars
    #[arg(long, value_name = "USD", value_parser = PicoUsd::from_usd_text)]
    cap_usd_day: Option<PicoUsd>,
    /// Most it may spend in a calendar month, in dollars
    #[arg(long, value_name = "USD", value_parser = PicoUsd::from_usd_text)]
    cap_usd_month: Option<PicoUsd>,
    /// Most it may ever spend, in dollars
    #[arg(long, value_name = "USD", value_parser = PicoUsd::from_usd_text)]
    cap_usd_total: Option<PicoUsd>,
    /// The team it belongs to, whose caps count too
    #[arg(long, value_name = "TEAM", default_value = "")]
    team: String,
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
    /// A tag that each of its requests must bear, with the values allowed: k=a|b|c; several by comma
    #[arg(long, value_name = "K=A|B", value_delimiter = ',')]
    require_tags: Vec<String>,
    /// Make it although it names a model, provider or team that nobody has
    #[arg(long)]
    force: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(common: &Common, command: &KeyCommand) -> Result<(), String> {
    if let KeyCommand::Create(args) = command {
        return create(common, args);
    }
    let mut books = books::make(&books_at(common)?).map_err(|e| e.detail)?;
    match command {
        KeyCommand::Create(_) => Ok(()),
        KeyCommand::List { json } => list(books.as_mut(), *json),
        KeyCommand::Rotate { name, grace, json } => {
            let secret = new_secret()?;
            let until = now() + i64::from(*grace);
            books
                .rotate_key(name, &hash(secret.as_bytes()), until)
                .map_err(|e| e.detail)?;
            tell(
                *json,
                name,
                &secret,
                "This is its new secret; it is not kept and cannot be shown again. A running flyball takes it within 5 seconds.",
            );
            Ok(())
        }
        KeyCommand::Revoke { name } => {
            books.revoke_key(name).map_err(|e| e.detail)?;
            println!("revoked \"{name}\"; a running flyball refuses it within 5 seconds");
            Ok(())
        }
    }
}

fn tell(as_json: bool, name: &str, secret: &str, text: &str) {
    if as_json {
        println!("{}", json!({"name": name, "key": secret}));
    } else {
        println!("{secret}");
        eprintln!("{text}");
    }
}

fn create(common: &Common, args: &CreateArgs) -> Result<(), String> {
    let printable =
        |text: &str| !text.is_empty() && text.len() <= 64 && text.chars().all(|c| !c.is_control());
    if !printable(&args.name) {
        return Err("a key's name is 1 to 64 visible characters".into());
    }
    if !args.team.is_empty() && !printable(&args.team) {
        return Err("a team's name is 1 to 64 visible characters".into());
    }
    let config = reading(common, Needs::Models)?;
    let secret = new_secret()?;
    let key = Key {
        name: args.name.clone(),
        hash: hash(secret.as_bytes()),
        created: now(),
        expires: args
            .expires_days
            .map(|days| now() + i64::from(days) * 86_400),
        private: args.private,
        team: args.team.clone(),
        caps: caps(args, &config.zone)?,
        models: args.models.clone(),
        tags: args.tags.iter().map(|t| tag(t)).collect::<Result<_, _>>()?,
        required_tags: args
            .require_tags
            .iter()
            .map(|t| tag(t).map(|(k, v)| (k, v.split('|').map(str::to_owned).collect())))
            .collect::<Result<_, _>>()?,
        ..Key::default()
    };
    check_names(&config, &key, args.force)?;
    let mut books = books::make(&books_at(common)?).map_err(|e| e.detail)?;
    books.create_key(&key).map_err(|e| e.detail)?;
    let text = format!(
        "This is the key of \"{}\"; it is not kept and cannot be shown again. From now on flyball answers only to keys.",
        args.name
    );
    tell(args.json, &args.name, &secret, &text);
    Ok(())
}

/// A key that names what nobody has would be refused everything, or a cap of it would guard nothing.
///
/// # Errors
/// It names something that is certainly wrong; everything else is told and no hindrance.
fn check_names(config: &Config, key: &Key, force: bool) -> Result<(), String> {
    let known = config.known();
    let mut doubts: Vec<_> = key.models.iter().filter_map(|m| known.model(m)).collect();
    // Without any [[team]] the teams are whatever the keys say.
    if !key.team.is_empty() && !config.teams.is_empty() {
        doubts.extend(known.team(&key.team));
    }
    for cap in &key.caps {
        let found = known.doubts(&cap.counter.scope);
        doubts.extend(found.into_iter().map(|(_, doubt)| doubt));
    }
    let certain: Vec<String> = doubts
        .iter()
        .filter(|d| d.certain)
        .map(ToString::to_string)
        .collect();
    if !certain.is_empty() && !force {
        let all = certain.join("\n");
        return Err(format!(
            "{all}\nno key was made; --force makes it all the same"
        ));
    }
    doubts
        .iter()
        .for_each(|doubt| eprintln!("warning: {doubt}"));
    Ok(())
}

/// A cap as it is written, once it can be read.
fn cap_text(text: &str) -> Result<String, String> {
    Cap::parse(text).map(|_| text.to_owned())
}

fn caps(args: &CreateArgs, zone: &Zone) -> Result<Vec<Cap>, String> {
    let plain = [
        (Window::Day, args.cap_usd_day),
        (Window::Month, args.cap_usd_month),
        (Window::Total, args.cap_usd_total),
    ];
    if plain
        .iter()
        .any(|(_, a)| a.is_some_and(|a| a < PicoUsd::ZERO))
    {
        return Err("a cap is not negative; 0 blocks everything".into());
    }
    let plain = plain.into_iter().filter_map(|(window, amount)| {
        let counter = Counter {
            zone: zone.clone(),
            ..Counter::usd(Scope::all(), window)
        };
        amount.map(|a| Ok(Cap::new(counter, a.0)))
    });
    let written = args.cap.iter().map(|text| read_cap(text, zone));
    let caps: Vec<Cap> = plain.chain(written).collect::<Result<_, String>>()?;
    if caps.iter().any(|c| i64::try_from(c.limit).is_err()) {
        return Err("a cap is at most 9.2 million dollars".into());
    }
    for (n, cap) in caps.iter().enumerate() {
        if caps[..n].iter().any(|c| c.counter == cap.counter) {
            return Err(format!(
                "there are two caps like \"{}\"; keep one",
                cap.text()
            ));
        }
    }
    Ok(caps)
}

fn tag(pair: &str) -> Result<(String, String), String> {
    pair.split_once('=')
        .filter(|(k, v)| !k.is_empty() && !v.is_empty())
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .ok_or_else(|| format!("the tag \"{pair}\" is not k=v"))
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

fn state_of(key: &Key) -> &'static str {
    if key.revoked {
        "revoked"
    } else if key.expires.is_some_and(|e| e <= now()) {
        "expired"
    } else {
        "works"
    }
}

/// What is posted in the running window of a counter.
pub(super) fn spent(sums: &[Sum], counter: &Counter) -> i128 {
    let (name, id) = (counter.to_string(), counter.window.id(&counter.zone, now()));
    let here = sums.iter().filter(|s| s.counter == name && s.id == id);
    here.map(|s| s.posted).sum()
}

fn list(books: &mut dyn Store, as_json: bool) -> Result<(), String> {
    let all = books.keys().map_err(|e| e.detail)?;
    let sums = books.sums().map_err(|e| e.detail)?;
    let columns = [
        "key", "state", "team", "day", "month", "total", "caps", "models",
    ];
    let mut table = super::books::table(&columns);
    for key in &all {
        let usd = |window| PicoUsd(spent(&sums, &dollars_of(key, window).0));
        if as_json {
            println!("{}", as_line(key, &usd, &sums));
            continue;
        }
        let models = if key.private {
            "local only".into()
        } else if key.models.is_empty() {
            "all".into()
        } else {
            key.models.join(", ")
        };
        let caps: Vec<String> = key.caps.iter().map(Cap::text).collect();
        let cell = |window| super::books::dollars(usd(window));
        table.add_row([
            key.name.clone(),
            state_of(key).into(),
            key.team.clone(),
            cell(Window::Day),
            cell(Window::Month),
            cell(Window::Total),
            caps.join("\n"),
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

/// The counter of all that a key spends in such a window, with its cap: of the days by which the cap counts, where there is one.
fn dollars_of(key: &Key, window: Window) -> (Counter, Option<&Cap>) {
    let utc = Counter::usd(Scope::key(key.id), window);
    let same = |c: &&Cap| {
        (&c.counter.scope, c.counter.measure, c.counter.window)
            == (&utc.scope, utc.measure, utc.window)
    };
    let cap = key.caps.iter().find(same);
    (cap.map_or(utc, |c| c.counter.clone()), cap)
}

fn as_line(key: &Key, usd: &dyn Fn(Window) -> PicoUsd, sums: &[Sum]) -> Value {
    let plain = |window: Window| {
        let (_, cap) = dollars_of(key, window);
        json!({"spent_usd": usd(window).usd_text(), "cap_usd": cap.map(|c| PicoUsd(c.limit).usd_text())})
    };
    let caps = key.caps.iter().map(|c| {
        let spent = c.counter.measure.plain(spent(sums, &c.counter));
        json!({"cap": c.text(), "spent": spent})
    });
    json!({
        "name": key.name, "state": state_of(key), "team": key.team, "private": key.private, "models": key.models,
        "tags": key.tags.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        "expires": key.expires, "caps": caps.collect::<Vec<_>>(),
        "day": plain(Window::Day), "month": plain(Window::Month), "total": plain(Window::Total),
    })
}
