//! Whatever is done to the configuration is in the audit log: at each start and each time that it is read again, if it is another than before.

use crate::config::picture::{differing, picture};
use crate::error::Error;
use crate::ledger::audit::{Deed, shown};
use crate::ledger::store::Store;
use crate::ledger::{Settings, books, now_ms};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Mutex;

/// What it is called in the log.
const CHANGED: &str = "configuration changed";

/// Changes of the configuration come into the log one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Notes what these files say, on a thread of its own, since a store may take its time. What fails is logged.
pub(super) fn note_aside(settings: Settings, sources: Vec<PathBuf>, who: &'static str) {
    let note = move || {
        let _one = ONE_AT_A_TIME.lock();
        let noted = books::open(&settings).and_then(|mut books| {
            let now = picture(&sources);
            note(books.as_mut(), now, who)
        });
        if let Err(error) = noted {
            tracing::error!(why = %error.detail, "a change of the configuration is not in the audit log");
        }
    };
    let thread = std::thread::Builder::new().name("audit".into());
    if let Err(error) = thread.spawn(note) {
        tracing::error!(%error, "a change of the configuration is not in the audit log");
    }
}

fn note(books: &mut dyn Store, now: Value, who: &str) -> Result<(), Error> {
    let last = books.last_deed(CHANGED)?;
    let last = last.and_then(|entry| serde_json::from_str::<Value>(&entry.line).ok());
    // Each entry has the whole of what was so after it, and what was so before it as far as that is another.
    let before = last.map_or(Value::Null, |line| line["after"].clone());
    // Where there is no file there is nothing that somebody has changed.
    let nothing = before.is_null() && now["files"].as_object().is_none_or(Map::is_empty);
    if nothing || before == now {
        return Ok(());
    }
    let changed = match &before {
        Value::Null => Value::Null,
        before => differing(before, &now),
    };
    let deed = Deed {
        at_ms: now_ms(),
        who: who.to_owned(),
        what: CHANGED.to_owned(),
        of: "configuration".to_owned(),
        before: changed,
        after: now,
    };
    let (number, seal) = books.note(&deed)?;
    tracing::info!(number, seal = shown(&seal), what = CHANGED, "audit");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_configuration_is_noted_when_it_is_another_with_what_was_so_before() {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = Settings::embedded(dir.path());
        let mut books = books::make(&settings).expect("books");
        let of = |cap: &str| json!({"files": {"f": cap}, "settings": {"cap": cap, "x": "1"}});
        let none = json!({"files": {}, "settings": {}});
        note(books.as_mut(), none, "a test").expect("nothing to note");
        for cap in ["5", "5", "6"] {
            note(books.as_mut(), of(cap), "a test").expect("noted");
        }
        let mut lines = Vec::new();
        let mut each = |entry: crate::ledger::audit::Entry| {
            lines.push(serde_json::from_str::<Value>(&entry.line).expect("JSON"));
            true
        };
        books.audit(0, &mut each).expect("read");
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[1]["before"]["settings"], json!({"cap": "5"}));
        assert_eq!(lines[1]["after"]["settings"]["cap"], "6");
        assert_eq!(lines[1]["number"], 2);
    }
}
