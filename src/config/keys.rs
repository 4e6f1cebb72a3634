//! `[[key]]`: virtual keys that stand in the configuration, each by the SHA-256 of its secret.

use super::Reading;
use super::draft::{Draft, is_name};
use super::names::KnownNames;
use crate::ledger::keyring::{self, KeyChange};
use crate::ledger::store::Key;
use crate::ledger::window::Zone;
use crate::reader::Table;

/// More belong into the ledger, where one can be changed without all of them being read again.
const KEYS_MAX: usize = 1_000;
/// What a hash begins with.
const ALGORITHM: &str = "sha256:";

/// Every `[[key]]`. What they name must be among what is `known`; that is nothing where providers or models are wrong themselves.
pub(super) fn keys(
    reading: &Reading<'_>,
    top: &Table<'_>,
    zone: &Zone,
    known: Option<&KnownNames<'_>>,
) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for mut table in top.tables("key") {
        table.call("[[key]]".to_owned());
        if let Some(key) = key(reading, &table, zone, known) {
            if keys.iter().any(|k| k.name == key.name) {
                let text = format!("there is one named \"{}\" already", key.name);
                table.complain("name", text, Some("give each a name of its own".into()));
            } else if let Some(same) = keys.iter().find(|k| k.hash == key.hash) {
                let text = format!("key \"{}\" has the same hash", same.name);
                let help =
                    "a secret belongs to one key: make another with `flyball key hash --new`";
                table.complain("hash", text, Some(help.into()));
            } else if keys.len() == KEYS_MAX {
                let text = format!("there are more than {KEYS_MAX}");
                let help = "make the others with `flyball key create` or over the admin API";
                table.complain("name", text, Some(help.into()));
            } else {
                keys.push(key);
            }
        }
        table.finish();
    }
    keys
}

fn key(
    reading: &Reading<'_>,
    table: &Table<'_>,
    zone: &Zone,
    known: Option<&KnownNames<'_>>,
) -> Option<Key> {
    let name = table.needed("name").unwrap_or_default();
    let hash = hash(table);
    let list = |key: &'static str| {
        let words = table.words(key)?.into_iter();
        Some(words.map(|word| word.text).collect())
    };
    let draft = Draft {
        name: name.to_owned(),
        team: table.text("team").map(str::to_owned),
        caps: list("caps"),
        models: list("models"),
        private: table.flag("private"),
        tags: list("tags"),
        required_tags: list("required_tags"),
        expires: expires(table),
        paused: table.flag("paused"),
    };
    if !is_name(name) {
        // That there is none is told already.
        if table.has("name") {
            let text = "a key's name is 1 to 64 visible characters";
            table.complain("name", text, None);
        }
        return None;
    }
    // What else is wrong is told beside a wrong hash.
    let key = match draft.with_hash(zone, hash.unwrap_or_default()) {
        Ok(key) => key,
        Err(why) => {
            table.complain("name", format_args!("key \"{name}\": {why}"), None);
            return None;
        }
    };
    let doubts = known.map(|known| known.doubts_about(&KeyChange::all_of(&key)));
    for doubt in doubts.into_iter().flatten() {
        match doubt.certain {
            true => table.complain("name", doubt.text, doubt.help),
            false => reading.warn(format!("{}: key: {doubt}", table.place("name"))),
        }
    }
    hash.map(|_| key)
}

/// The hash; a secret that stands there by mistake is not repeated.
fn hash(table: &Table<'_>) -> Option<[u8; 32]> {
    let text = table.needed("hash")?;
    let digits = text.strip_prefix(ALGORITHM);
    let bytes = digits.and_then(read_hex);
    // What the ledger puts in the place of a hash is none.
    let bytes = bytes.filter(|bytes| !keyring::is_stand_in(bytes));
    if bytes.is_none() {
        let wrong = match digits {
            _ if text.starts_with("fb_") => "hash: this is a key's secret and not its hash",
            None => "hash: this does not begin with \"sha256:\"",
            Some(_) => "hash: this is not a SHA-256 in 64 hexadecimal digits",
        };
        let help = "`flyball key hash` reads a secret from standard input and prints the line to write here; a secret that has stood in a file should be used no more";
        table.complain("hash", wrong, Some(help.to_owned()));
    }
    bytes
}

fn read_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// A hash as it is written in the configuration.
#[must_use]
pub fn hash_text(hash: &[u8; 32]) -> String {
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{ALGORITHM}{digits}")
}

/// Until when it works, in seconds since 1970.
fn expires(table: &Table<'_>) -> Option<i64> {
    let text = table.text("expires")?;
    let at = Zone::default().instant(text).ok().map(|ms| ms / 1_000);
    if at.is_none_or(|at| at <= 0) {
        let wrong = format!("expires: \"{text}\" is neither a date nor a time");
        let help = "write expires = \"2027-01-01\", whose first second in UTC it is, or \"2027-01-01T12:00:00+01:00\"";
        table.complain("expires", wrong, Some(help.to_owned()));
    }
    at
}
