//! Secrets, always by reference (`env:NAME`, `file:PATH`) and never in a complaint.

use super::{Needs, Reading};
use crate::reader::Table;
use secrecy::SecretString;

/// How to refer to one.
pub(super) const HOW: &str =
    "write \"env:NAME\" for a variable or \"file:PATH\" for a file that holds it";

/// The key of the secret without which the books cannot be read.
pub(super) const LEDGER: &str = "shared_ledger";

/// The secret that `key` refers to. `None` where the key is absent or, with a complaint, unusable.
pub(super) fn read(
    reading: &Reading<'_>,
    table: &Table<'_>,
    key: &'static str,
) -> Option<SecretString> {
    let written = table.text(key)?;
    referred(reading, table, key, written, &|b| b.is_ascii_graphic())
}

/// The secret that `written`, in or below `key`, refers to. `fit`: every one of its bytes is.
pub(super) fn referred(
    reading: &Reading<'_>,
    table: &Table<'_>,
    key: &'static str,
    written: &str,
    fit: &dyn Fn(u8) -> bool,
) -> Option<SecretString> {
    // Who only looks at the books or the models sends nothing, so a secret that is not there is no mistake.
    let needed = match reading.overrides.needs {
        Needs::All => true,
        Needs::Books => key == LEDGER,
        Needs::Models | Needs::File => false,
    };
    match written.split_once(':') {
        Some(("env", name)) if is_variable(name) => {
            let value = (reading.around.env)(name);
            if !needed && value.is_none() {
                return None;
            }
            checked(table, key, &format!("the variable {name}"), value, fit)
        }
        Some(("file", path)) if !path.is_empty() => {
            let path = reading.path(path);
            if !needed && !path.exists() {
                return None;
            }
            let value = reading.file(table, key, &path)?;
            let place = path.display().to_string();
            checked(table, key, &place, Some(value), fit)
        }
        // Not even the part before the colon is repeated: it may be the secret.
        _ => {
            let text = format!("{key} must not hold the secret itself");
            table.complain(key, text, Some(HOW.to_owned()));
            None
        }
    }
}

/// A name of a variable; anything else after `env:` may be a secret put there by mistake.
fn is_variable(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.starts_with(|c: char| !c.is_ascii_digit()) && name.bytes().all(plain)
}

/// Trimmed (files end in a newline), not empty, and fit for an HTTP header.
fn checked(
    table: &Table<'_>,
    key: &str,
    place: &str,
    value: Option<String>,
    fit: &dyn Fn(u8) -> bool,
) -> Option<SecretString> {
    let value = value.unwrap_or_default();
    let value = value.trim();
    let wrong = if value.is_empty() {
        "is not set or empty"
    } else if !value.bytes().all(fit) {
        "holds a character that cannot be in a header"
    } else {
        return Some(SecretString::from(value));
    };
    table.complain(key, format_args!("{key}: {place} {wrong}"), None);
    None
}
