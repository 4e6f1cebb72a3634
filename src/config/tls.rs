//! `[tls]`: the certificate that clients are shown, and whom one is demanded of.

use super::{Needs, Reading};
use crate::reader::Table;
use crate::tls::server::{Identity, Wrong};
use std::path::PathBuf;

/// What the table says.
#[derive(Default)]
pub(super) struct Front {
    /// The identity; nothing where there is no table, or where nobody serves.
    pub(super) identity: Option<Identity>,
    /// The file of its certificate.
    pub(super) certificate: Option<PathBuf>,
    /// The admin listener has it too.
    pub(super) admin: bool,
}

pub(super) fn tls(reading: &Reading<'_>, top: &Table<'_>) -> Front {
    let Some(table) = top.table("tls") else {
        return Front::default();
    };
    let front = Front {
        identity: identity(reading, &table),
        certificate: table.text("certificate").map(|path| reading.path(path)),
        admin: table.flag("admin").unwrap_or(false),
    };
    table.finish();
    front
}

fn identity(reading: &Reading<'_>, table: &Table<'_>) -> Option<Identity> {
    let known = ["certificate", "key", "clients"].map(|name| (name, table.text(name)));
    let [certificate, key, clients] = known;
    for (name, value) in [certificate, key] {
        if value.is_none() {
            let text = format!("tls needs {name}");
            let help = format!("write {name} = \"PATH\", a file in PEM");
            table.complain(name, text, Some(help));
        }
    }
    // The key is for nobody but who serves.
    if reading.overrides.needs != Needs::All {
        return None;
    }
    let read = |(name, path): (&'static str, Option<&str>)| {
        let text = reading.file(table, name, &reading.path(path?))?;
        Some((name, text))
    };
    let authorities = read(clients);
    if clients.1.is_some() && authorities.is_none() {
        return None;
    }
    let ((_, chain), (_, secret)) = (read(certificate)?, read(key)?);
    let authorities = authorities.as_ref().map(|(_, text)| text.as_str());
    match Identity::read(&chain, &secret, authorities) {
        Ok(identity) => Some(identity),
        Err(wrong) => {
            let ((name, path), why) = match wrong {
                Wrong::Certificate(why) => (certificate, why),
                Wrong::Key(why) => (key, why),
                Wrong::Clients(why) => (clients, why),
            };
            let text = format!("{name}: {} {why}", path.unwrap_or_default());
            table.complain(name, text, None);
            None
        }
    }
}
