//! `flyball caps`: every cap with what is spent and left, and the models that are frozen.

use super::{Common, books_at, for_books};
use crate::caller::EndUsers;
use crate::ledger::books;
use crate::ledger::cap::covered;
use crate::ledger::cap::{Cap, Counter, Dim, Pick};
use crate::ledger::now;
use crate::ledger::record::Sum;
use crate::ledger::store::{Frozen, Key, Store};
use crate::ledger::tree;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Args, Debug)]
pub(super) struct CapsArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<CapsCommand>,
}

#[derive(Subcommand, Debug)]
enum CapsCommand {
    /// Let capped keys use a model again that cost more than was reserved for it; within 5 seconds on all replicas
    #[command(after_help = "Example:\n  flyball caps unfreeze openai/gpt-5-mini")]
    Unfreeze {
        /// The model, as `flyball caps` shows it: NAME or PROVIDER/NAME
        model: String,
    },
}

pub(super) fn run(common: &Common, args: &CapsArgs) -> Result<(), String> {
    let mut books = books::open(&books_at(common)?).map_err(|e| e.detail)?;
    match &args.command {
        Some(CapsCommand::Unfreeze { model }) => unfreeze(books.as_mut(), model),
        None => {
            let config = for_books(common)?;
            let shared = config.caps;
            let keys = books.keys().map_err(|e| e.detail)?;
            let sums = books.sums().map_err(|e| e.detail)?;
            let frozen = books.frozen().map_err(|e| e.detail)?;
            let (caps, _) = tree::in_force(&shared, &keys);
            let of = |cap| rows(cap, &sums, &config.end_users);
            let rows: Vec<CapRow> = caps.iter().flat_map(of).collect();
            if args.json {
                println!("{}", as_json(&rows, &keys, &frozen));
            } else {
                show(&rows, &keys, &frozen);
            }
            Ok(())
        }
    }
}

fn unfreeze(books: &mut dyn Store, model: &str) -> Result<(), String> {
    let frozen = books.frozen().map_err(|e| e.detail)?;
    let named = |f: &&Frozen| f.model == model || format!("{}/{}", f.provider, f.model) == model;
    let found: Vec<&Frozen> = frozen.iter().filter(named).collect();
    if found.is_empty() {
        return Err(format!(
            "\"{model}\" is not frozen; `flyball caps` shows what is"
        ));
    }
    for f in found {
        books
            .unfreeze(&f.provider, &f.model)
            .map_err(|e| e.detail)?;
        let name = format!("{}/{}", f.provider, f.model);
        super::noted(
            books,
            "model unfrozen",
            &name,
            json!({"frozen_since": f.since, "why": f.why}),
        )?;
        println!(
            "{}/{} may be used on capped keys again",
            f.provider, f.model
        );
    }
    Ok(())
}

/// One counter of a cap in its running window.
struct CapRow<'a> {
    cap: &'a Cap,
    counter: String,
    /// Nothing of the users of a pattern, whose names the books do not know.
    spent: Option<i128>,
    leased: i128,
    ends_at: Option<i64>,
}

impl CapRow<'_> {
    fn left(&self) -> Option<i128> {
        Some((self.cap.limit - self.spent? - self.leased).max(0))
    }
}

/// So many end users of a cap are shown: those who have spent most.
const USERS_SHOWN_MAX: usize = 20;

fn rows<'a>(cap: &'a Cap, sums: &[Sum], users: &EndUsers) -> Vec<CapRow<'a>> {
    let c = &cap.counter;
    let id = c.window.id(&c.zone, now());
    let ends_at = c.window.ends_at(&c.zone, id);
    let row = |counter: String, spent, leased| CapRow {
        cap,
        counter,
        spent,
        leased,
        ends_at,
    };
    let here = |s: &&Sum| s.id == id && covered(&s.counter, std::slice::from_ref(c));
    if let Some(name) = &cap.users {
        let booked = Pick::Only(users.booked(name));
        let own = |s: &&Sum| {
            let read = Counter::read(&s.counter);
            read.is_some_and(|c| *c.scope.pick(Dim::User) == booked)
        };
        let own = sums.iter().filter(here).find(own);
        let spent = own.map(|s| s.posted).or((!name.contains('*')).then_some(0));
        let leased = own.map_or(0, |s| s.leased);
        return vec![row(c.to_string(), spent, leased)];
    }
    let mut rows: Vec<CapRow<'_>> = sums
        .iter()
        .filter(here)
        .map(|s| row(s.counter.clone(), Some(s.posted), s.leased))
        .collect();
    let single = Dim::ALL.iter().all(|d| *c.scope.pick(*d) != Pick::Each);
    if rows.is_empty() && single {
        rows.push(row(c.to_string(), Some(0), 0));
    }
    if *c.scope.pick(Dim::User) != Pick::Any {
        rows.sort_by_key(|row| std::cmp::Reverse(row.spent));
        rows.truncate(USERS_SHOWN_MAX);
    }
    rows
}

/// Whose cap it is, with the key's name in place of its row.
fn whose(row: &CapRow<'_>, keys: &[Key]) -> String {
    let scope = row.counter.split('|').next().unwrap_or_default();
    if scope.is_empty() {
        return "everybody".into();
    }
    let part = |part: &str| match part.split_once('=') {
        Some(("key", id)) => match keys.iter().find(|k| k.id.to_string() == id) {
            Some(key) => format!("key \"{}\"", key.name),
            None => "callers without a key".into(),
        },
        Some((dim, value)) => format!("{dim} {value}"),
        None => part.to_owned(),
    };
    if let Some(name) = &row.cap.users {
        return format!("user {name}");
    }
    scope.split('&').map(part).collect::<Vec<_>>().join(", ")
}

fn ends(at: Option<i64>) -> String {
    at.map_or_else(
        || "never".into(),
        |at| {
            jiff::Timestamp::from_second(at)
                .unwrap_or_default()
                .to_string()
        },
    )
}

fn show(rows: &[CapRow<'_>], keys: &[Key], frozen: &[Frozen]) {
    let mut table = super::shown::table(&["cap of", "limit", "window", "spent", "left", "resets"]);
    for row in rows {
        let c = &row.cap.counter;
        table.add_row([
            whose(row, keys),
            c.measure.show(row.cap.limit),
            format!("{} ({})", c.window.name(), c.zone),
            row.spent
                .map_or_else(String::new, |spent| c.measure.show(spent)),
            row.left()
                .map_or_else(String::new, |left| c.measure.show(left)),
            ends(row.ends_at),
        ]);
    }
    if rows.is_empty() {
        println!(
            "no caps; set one with [[cap]] in flyball.toml or `flyball key create NAME --cap 5usd/day`"
        );
    } else {
        println!("{table}");
    }
    for f in frozen {
        println!(
            "frozen on capped keys: {}/{} ({}); allow it again with `flyball caps unfreeze {}`",
            f.provider, f.model, f.why, f.model
        );
    }
}

fn as_json(rows: &[CapRow<'_>], keys: &[Key], frozen: &[Frozen]) -> Value {
    let caps = rows.iter().map(|row| {
        let c = &row.cap.counter;
        let plain = |amount| c.measure.plain(amount);
        json!({
            "cap_of": whose(row, keys), "counter": row.counter, "measure": c.measure.name(), "window": c.window.name(), "time_zone": c.zone.name(),
            "limit": plain(row.cap.limit), "spent": row.spent.map(plain), "leased": plain(row.leased), "left": row.left().map(plain), "resets_at": row.ends_at.map(|at| ends(Some(at))),
        })
    });
    let frozen = frozen.iter().map(|f| json!({"provider": f.provider, "model": f.model, "since": ends(Some(f.since)), "why": f.why}));
    json!({"caps": caps.collect::<Vec<_>>(), "frozen": frozen.collect::<Vec<_>>()})
}
