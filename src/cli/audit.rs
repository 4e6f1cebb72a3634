//! `flyball audit`: who did what to keys and configuration, and whether that was changed afterwards.

use super::{Common, books_at};
use crate::ledger::audit::{Entry, Verifier, shown};
use crate::ledger::books;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;

#[derive(Subcommand, Debug)]
pub(super) enum AuditCommand {
    /// Write the audit log, one JSON a line with its seal, oldest first
    #[command(after_help = "Example:\n  flyball audit export > audit.jsonl")]
    Export {
        /// Only entries after the one with this number
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: i64,
    },
    /// Follow the chain of seals from its beginning: an entry that was changed, moved or taken out is found
    #[command(
        after_help = "The chain cannot tell that its newest entries were cut off: keep the seal that this prints, and hold the next one against it with --seal.\n\nExample:\n  flyball audit verify --seal 412:9f3c…"
    )]
    Verify {
        /// The number and seal of an entry, as an earlier run printed them, which must still be there
        #[arg(long, value_name = "NUMBER:SEAL")]
        seal: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(common: &Common, command: &AuditCommand) -> Result<(), String> {
    let mut books = books::open(&books_at(common)?).map_err(|e| e.detail)?;
    match command {
        AuditCommand::Export { after } => {
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            let mut written = Ok(());
            let each = &mut |entry: Entry| {
                written = writeln!(out, "{}", line(&entry));
                written.is_ok()
            };
            books.audit(*after, each).map_err(|e| e.detail)?;
            match written.and_then(|()| out.flush()) {
                Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                    Err(format!("the audit log cannot be written: {e}"))
                }
                _ => Ok(()),
            }
        }
        AuditCommand::Verify { seal, json } => {
            let kept = seal.as_deref().map(read_seal).transpose()?;
            let (mut verifier, mut broken, mut met) = (Verifier::default(), None, kept.is_none());
            let each = &mut |entry: Entry| {
                if let Err(why) = verifier.take(&entry) {
                    broken = Some(why);
                    return false;
                }
                let own = (entry.number, shown(&entry.seal));
                met |= kept.as_ref().is_some_and(|kept| *kept == own);
                true
            };
            books.audit(0, each).map_err(|e| e.detail)?;
            if let Some(why) = broken {
                return Err(why);
            }
            if let (Some((number, _)), false) = (&kept, met) {
                return Err(format!(
                    "entry {number} does not have the seal that was kept of it: entries were taken from the end, or all were written anew"
                ));
            }
            let (entries, seal) = verifier.end();
            match *json {
                true => println!("{}", json!({"entries": entries, "seal": seal})),
                false => println!("{entries} entries, nothing was changed; keep {entries}:{seal}"),
            }
            Ok(())
        }
    }
}

fn line(entry: &Entry) -> Value {
    let mut line: Value = serde_json::from_str(&entry.line).unwrap_or_default();
    line["seal"] = json!(shown(&entry.seal));
    line
}

fn read_seal(text: &str) -> Result<(i64, String), String> {
    text.split_once(':')
        .and_then(|(number, seal)| Some((number.parse().ok()?, seal.to_ascii_lowercase())))
        .ok_or_else(|| {
            format!("\"{text}\" is not NUMBER:SEAL, as `flyball audit verify` prints it")
        })
}
