//! `flyball session`: the sessions of the last hours with what they have spent; stop and resume one.

use super::{Common, books_at};
use crate::ledger::books;
use crate::ledger::report::{self, Dimension, Query};
use crate::ledger::stopped::StoppedSession;
use crate::ledger::store::Store;
use crate::ledger::{now, now_ms};
use clap::Subcommand;
use serde_json::{Value, json};

/// Over more than a month of attempts nobody looks for a session.
const HOURS_MAX: i64 = 31 * 24;

#[derive(Subcommand, Debug)]
pub(super) enum SessionCommand {
    /// Show the sessions of the last hours, the dearest first, and which are stopped
    #[command(after_help = "Example:\n  flyball session list --hours 2")]
    List {
        /// So many hours back
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(i64).range(1..=HOURS_MAX))]
        hours: i64,
        /// So many sessions at most
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// As JSON, one session a line
        #[arg(long)]
        json: bool,
    },
    /// Refuse every request of a session, within a second on all replicas; what is under way is answered to its end
    #[command(after_help = "Example:\n  flyball session stop nightly-agent --key app")]
    Stop {
        /// What its requests name in x-flyball-session
        session: String,
        /// Only where this key names it; "local" for callers without a key
        #[arg(long)]
        key: Option<String>,
    },
    /// Answer a session again that was stopped
    #[command(after_help = "Example:\n  flyball session resume nightly-agent --key app")]
    Resume {
        /// What its requests name in x-flyball-session
        session: String,
        /// The key for which it was stopped, if it was for one
        #[arg(long)]
        key: Option<String>,
    },
}

pub(super) fn run(common: &Common, command: &SessionCommand) -> Result<(), String> {
    let mut books = books::open(&books_at(common)?).map_err(|e| e.detail)?;
    match command {
        SessionCommand::List { hours, limit, json } => {
            list(books.as_mut(), (*hours, *limit), *json)
        }
        SessionCommand::Stop { session, key } => set(books.as_mut(), session, key.as_deref(), true),
        SessionCommand::Resume { session, key } => {
            set(books.as_mut(), session, key.as_deref(), false)
        }
    }
}

fn set(books: &mut dyn Store, session: &str, key: Option<&str>, stops: bool) -> Result<(), String> {
    if session.is_empty() {
        return Err(
            "the unnamed session cannot be stopped; `flyball key set NAME --pause` pauses a key"
                .into(),
        );
    }
    let key = match key {
        None => None,
        Some("local") => Some(0),
        Some(name) => {
            let keys = books.keys().map_err(|e| e.detail)?;
            let found = keys.iter().find(|k| k.name == name).map(|k| k.id);
            let missing =
                || format!("there is no key named \"{name}\"; `flyball key list` shows them");
            Some(found.ok_or_else(missing)?)
        }
    };
    let session = StoppedSession {
        session: session.to_owned(),
        key,
        since: now(),
    };
    let done = books.stop_session(&super::who(), now_ms(), &session, stops);
    match (done.map_err(|e| e.detail)?, stops) {
        (true, true) => println!("stopped; a running flyball refuses it within a second"),
        (false, true) => println!("it is stopped already"),
        (true, false) => println!("resumed; a running flyball answers it within a second"),
        (false, false) => {
            return Err("it is not stopped; `flyball session list` shows which are".into());
        }
    }
    Ok(())
}

fn list(books: &mut dyn Store, (hours, limit): (i64, usize), as_json: bool) -> Result<(), String> {
    let to_ms = now_ms() + 1;
    let query = Query {
        rows_max: limit,
        ..Query::between(
            to_ms - hours * 3_600_000,
            to_ms,
            vec![Dimension::Session, Dimension::Key],
        )
    };
    let report = report::read(books, &query).map_err(|e| e.detail)?;
    let keys = books.keys().map_err(|e| e.detail)?;
    let stopped = books.stopped().map_err(|e| e.detail)?;
    let mut table = super::shown::table(&["session", "key", "requests", "spent", "state"]);
    for row in &report.rows {
        let [session, key] = row.values.as_slice() else {
            continue;
        };
        let id = keys.iter().find(|k| k.name == *key).map_or(0, |k| k.id);
        let is_stopped = stopped
            .iter()
            .any(|s| s.session == *session && s.key.is_none_or(|k| k == id));
        if as_json {
            let mut told = Value::Object(row.figures.json());
            told["session"] = json!(session);
            told["key"] = json!(key);
            told["stopped"] = json!(is_stopped);
            println!("{told}");
            continue;
        }
        table.add_row([
            super::books::shown(session),
            super::books::shown(key),
            row.figures.sums.requests.to_string(),
            super::shown::dollars(row.figures.cost()),
            if is_stopped { "stopped" } else { "" }.to_owned(),
        ]);
    }
    if !as_json {
        println!("{table}");
        report.notes.iter().for_each(|note| println!("{note}"));
    }
    Ok(())
}
