//! `flyball key`: virtual keys. A secret is shown once, when it is made, and kept nowhere.

use super::{Common, books_at, configured_at, reading, who};
use crate::caller::hash;
use crate::config::draft::{self, Draft};
use crate::config::names::KnownNames;
use crate::config::{self, Needs};
use crate::ledger::cap::Cap;
use crate::ledger::keyring::{self, KeyAct, KeyChange};
use crate::ledger::store::{Key, Store};
use crate::ledger::window::Window;
use crate::ledger::{books, now, now_ms};
use crate::money::PicoUsd;
use clap::{Args, Subcommand};
use serde_json::json;
use std::io::Read;

#[derive(Subcommand, Debug)]
pub(super) enum KeyCommand {
    /// Make a key and print it: this is the only time that it can be seen
    #[command(
        after_help = "Example:\n  flyball key create app --team red --cap 5usd/day --cap \"60requests/minute model=gpt-*\" --models \"gpt-*,claude-*\""
    )]
    Create(Box<CreateArgs>),
    /// Print the hash of a secret, and the [[key]] to write into flyball.toml
    #[command(
        after_help = "The secret is read from standard input, so that it stands in no list of processes and no shell's history; --new makes one and prints it on standard error, so that >> flyball.toml takes the lines alone.\n\nExamples:\n  flyball key hash --new --name app\n  pass show flyball/app | flyball key hash --name app"
    )]
    Hash {
        /// The key's name in the lines to write
        #[arg(long, default_value = "app")]
        name: String,
        /// Make a new secret and print it: this is the only time that it can be seen
        #[arg(long)]
        new: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List the keys, with what each has spent
    #[command(after_help = "Example:\n  flyball key list --json")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Change a key: its team, caps, models, tags, until when it works, or pause it
    #[command(
        after_help = "What is not named stays; an empty text takes away: --cap \"\" leaves no cap of its own, --models \"\" allows all, --team \"\" is none. A running flyball follows within a second.\n\nExamples:\n  flyball key set app --cap 10usd/day --cap 100usd/month\n  flyball key set app --pause"
    )]
    Set(Box<SetArgs>),
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
    /// Revoke a key; a running flyball refuses it within a second. A key made again under its name goes on in its books
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

#[derive(Args, Debug)]
pub(super) struct SetArgs {
    /// The key's name
    name: String,
    /// All of its caps from now on, e.g. 5usd/day; may be given several times
    #[arg(long, value_name = "CAP")]
    cap: Option<Vec<String>>,
    /// The team it belongs to
    #[arg(long, value_name = "TEAM")]
    team: Option<String>,
    /// Models it may use, with *; several by comma
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Keep all its traffic on local models, or not
    #[arg(long, value_name = "TRUE|FALSE")]
    private: Option<bool>,
    /// Stop working after so many days from now; 0: never
    #[arg(long, value_name = "DAYS")]
    expires_days: Option<u32>,
    /// Tags fixed on it, k=v; several by comma
    #[arg(long, value_name = "K=V", value_delimiter = ',')]
    tags: Option<Vec<String>>,
    /// A tag that each of its requests must bear, with the values allowed: k=a|b|c; several by comma
    #[arg(long, value_name = "K=A|B", value_delimiter = ',')]
    require_tags: Option<Vec<String>>,
    /// Refuse it until it is resumed
    #[arg(long, conflicts_with = "resume")]
    pause: bool,
    /// Answer it again
    #[arg(long)]
    resume: bool,
    /// Change it although it names a model, provider or team that nobody has
    #[arg(long)]
    force: bool,
}

pub(super) fn run(common: &Common, command: &KeyCommand) -> Result<(), String> {
    match command {
        KeyCommand::Create(args) => create(common, args),
        KeyCommand::Set(args) => set(common, args),
        KeyCommand::Hash { name, new, json } => hashed(name, *new, *json),
        KeyCommand::List { json } => {
            let configured = configured_at(common)?;
            let mut books = books::make(&books_at(common)?).map_err(|e| e.detail)?;
            list(books.as_mut(), &configured, *json)
        }
        KeyCommand::Rotate { name, grace, json } => {
            let secret = draft::new_secret()?;
            let act = KeyAct::Rotate {
                name: name.clone(),
                hash: hash(secret.as_bytes()),
                old_until: now() + i64::from(*grace),
            };
            done(common, &act)?;
            let text = "This is its new secret; it is not kept and cannot be shown again. A running flyball takes it within a second.";
            tell(*json, name, &secret, text);
            Ok(())
        }
        KeyCommand::Revoke { name } => {
            done(common, &KeyAct::Revoke { name: name.clone() })?;
            println!("revoked \"{name}\"; a running flyball refuses it within a second");
            Ok(())
        }
    }
}

/// The shortest secret that is taken, in bytes: SHA-256 is fast, so what can be guessed can be found from its hash.
const SECRET_MIN: usize = 20;
/// The longest, as long as a header may be.
const SECRET_MAX: usize = 4_096;

/// Prints the hash of a secret from standard input, or of a new one, and what to write.
fn hashed(name: &str, new: bool, as_json: bool) -> Result<(), String> {
    if !draft::is_name(name) {
        return Err("--name: a key's name is 1 to 64 visible characters".into());
    }
    let secret = match new {
        true => draft::new_secret()?,
        false => secret_from(&mut std::io::stdin().lock())?,
    };
    let hash = config::keys::hash_text(&hash(secret.as_bytes()));
    let shown = new.then_some(&secret);
    if as_json {
        println!("{}", json!({"name": name, "hash": hash, "key": shown}));
        return Ok(());
    }
    if let Some(secret) = shown {
        // Not on the stream of the lines, which may be going into the file.
        eprintln!("{secret}");
        eprintln!(
            "This is the secret; it is not kept and cannot be shown again. Into flyball.toml:"
        );
    }
    let name = toml::Value::from(name);
    println!("[[key]]\nname = {name}\nhash = \"{hash}\"");
    Ok(())
}

/// A secret from a file or a terminal, without the line's end.
fn secret_from(input: &mut impl Read) -> Result<String, String> {
    let mut text = String::new();
    let most = u64::try_from(SECRET_MAX + 2).unwrap_or(u64::MAX);
    let read = input.take(most).read_to_string(&mut text);
    read.map_err(|e| format!("standard input cannot be read: {e}"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err("there is no secret on standard input; --new makes one".into());
    }
    if !(SECRET_MIN..=SECRET_MAX).contains(&secret.len())
        || !secret.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(format!(
            "a secret is {SECRET_MIN} to {SECRET_MAX} visible ASCII characters without spaces, on one line: from the hash of a shorter one it could be guessed; --new makes one"
        ));
    }
    Ok(secret.to_owned())
}

fn done(common: &Common, act: &KeyAct) -> Result<(), String> {
    let configured = configured_at(common)?;
    if configured.iter().any(|key| key.name == act.name()) {
        return Err(keyring::in_configuration(act.name()));
    }
    let mut books = books::make(&books_at(common)?).map_err(|e| e.detail)?;
    let before = books.keys().map_err(|e| e.detail)?;
    books
        .act(&who(), now_ms(), act)
        .map(drop)
        .map_err(|e| e.detail)?;
    let named = before.iter().find(|k| k.name == act.name() && !k.revoked);
    if named.is_some_and(|key| keyring::is_stand_in(&key.hash)) {
        eprintln!(
            "warning: \"{}\" is a [[key]] of a configuration, or was one: where a running flyball has it in its own still, this holds only until that is read again; take it out there",
            act.name()
        );
    }
    Ok(())
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
    let config = reading(common, Needs::Models)?;
    let draft = Draft {
        name: args.name.clone(),
        team: Some(args.team.clone()),
        caps: Some(caps(args)?),
        models: Some(args.models.clone()),
        private: Some(args.private),
        tags: Some(args.tags.clone()),
        required_tags: Some(args.require_tags.clone()),
        expires: args.expires_days.map(in_days),
        paused: None,
    };
    let (key, secret) = draft.key(&config.zone, now())?;
    check_names(&config.known(), &KeyChange::all_of(&key), args.force)?;
    done(common, &KeyAct::Create(Box::new(key)))?;
    let text = format!(
        "This is the key of \"{}\"; it is not kept and cannot be shown again. From now on flyball answers only to keys.",
        args.name
    );
    tell(args.json, &args.name, &secret, &text);
    Ok(())
}

fn set(common: &Common, args: &SetArgs) -> Result<(), String> {
    let config = reading(common, Needs::Models)?;
    let some = |list: &Option<Vec<String>>| {
        let list = list.as_ref()?.iter();
        Some(list.filter(|text| !text.is_empty()).cloned().collect())
    };
    let draft = Draft {
        name: args.name.clone(),
        team: args.team.clone(),
        caps: some(&args.cap),
        models: some(&args.models),
        private: args.private,
        tags: some(&args.tags),
        required_tags: some(&args.require_tags),
        expires: args
            .expires_days
            .map(|days| if days == 0 { 0 } else { in_days(days) }),
        paused: (args.pause || args.resume).then_some(args.pause),
    };
    let change = draft.change(&config.zone)?;
    if change == KeyChange::default() {
        return Err(
            "nothing was named that should be another; see `flyball key set --help`".into(),
        );
    }
    check_names(&config.known(), &change, args.force)?;
    let act = KeyAct::Change {
        name: args.name.clone(),
        change: Box::new(change),
    };
    done(common, &act)?;
    println!(
        "{}: \"{}\"; a running flyball follows within a second",
        act.what(),
        args.name
    );
    Ok(())
}

/// So many days from now, in seconds since 1970.
fn in_days(days: u32) -> i64 {
    now() + i64::from(days) * 86_400
}

/// A key that names what nobody has would be refused everything, or a cap of it would guard nothing.
///
/// # Errors
/// It names something that is certainly wrong; everything else is told and no hindrance.
fn check_names(known: &KnownNames<'_>, change: &KeyChange, force: bool) -> Result<(), String> {
    let doubts = known.doubts_about(change);
    let certain: Vec<String> = doubts
        .iter()
        .filter(|d| d.certain)
        .map(ToString::to_string)
        .collect();
    if !certain.is_empty() && !force {
        let all = certain.join("\n");
        return Err(format!(
            "{all}\nno key was made or changed; --force does it all the same"
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

/// The caps as they are written.
fn caps(args: &CreateArgs) -> Result<Vec<String>, String> {
    let plain = [
        ("day", args.cap_usd_day),
        ("month", args.cap_usd_month),
        ("total", args.cap_usd_total),
    ];
    if plain
        .iter()
        .any(|(_, a)| a.is_some_and(|a| a < PicoUsd::ZERO))
    {
        return Err("a cap is not negative; 0 blocks everything".into());
    }
    let plain = plain.into_iter().filter_map(|(window, amount)| {
        amount.map(|amount| format!("{}usd/{window}", amount.usd_text()))
    });
    Ok(plain.chain(args.cap.iter().cloned()).collect())
}

fn list(books: &mut dyn Store, configured: &[Key], as_json: bool) -> Result<(), String> {
    let all = books.keys().map_err(|e| e.detail)?;
    let all = keyring::with_configured(all, configured);
    let sums = books.sums().map_err(|e| e.detail)?;
    let columns = [
        "key", "state", "team", "day", "month", "total", "caps", "models",
    ];
    let mut table = super::shown::table(&columns);
    for key in &all {
        if as_json {
            let mut told = keyring::told(key, &sums, now());
            told["configured"] = json!(configured.iter().any(|own| own.name == key.name));
            println!("{told}");
            continue;
        }
        let usd = |window| {
            let (counter, _) = keyring::dollars_of(key, window);
            PicoUsd(keyring::spent(&sums, &counter, now()))
        };
        let models = if key.private {
            "local only".into()
        } else if key.models.is_empty() {
            "all".into()
        } else {
            key.models.join(", ")
        };
        let caps: Vec<String> = key.caps.iter().map(Cap::text).collect();
        let cell = |window| super::shown::dollars(usd(window));
        table.add_row([
            key.name.clone(),
            keyring::state(key, now()).into(),
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
