//! `flyball batches`: the batches that flyball keeps, for whoever operates it.

use super::shown::table;
use super::{Common, books_at, noted};
use crate::batch::BatchRow;
use crate::dialect::batch::{BatchState, Counts};
use crate::ledger::store::batches::Batches;
use crate::ledger::{books, now};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

#[derive(Subcommand, Debug)]
pub(super) enum BatchesCommand {
    /// List batches, the latest first
    #[command(after_help = "Example:\n  flyball batches list --json")]
    List {
        /// So many at most
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        limit: i64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one batch with its parts at providers
    #[command(after_help = "Example:\n  flyball batches show batch_fb019…")]
    Show {
        /// Its id
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Cancel a batch; a flyball that runs does so at its next look, within `poll`
    #[command(after_help = "Example:\n  flyball batches cancel batch_fb019…")]
    Cancel {
        /// Its id
        id: String,
    },
}

pub(super) fn run(common: &Common, command: &BatchesCommand) -> Result<(), String> {
    let settings = books_at(common)?;
    // Where there are no books there are no batches either, and none are made by looking.
    let mut ledger = books::open(&settings).map_err(|e| e.detail)?;
    let mut kept = books::batches(&settings).map_err(|e| e.detail)?;
    match command {
        BatchesCommand::List { limit, json } => list(&mut kept, *limit, *json),
        BatchesCommand::Show { id, json } => show(&mut kept, id, *json),
        BatchesCommand::Cancel { id } => {
            cancel(&mut kept, id)?;
            noted(ledger.as_mut(), "batch cancelled", id, json!({}))
        }
    }
}

fn found(kept: &mut Batches, id: &str) -> Result<BatchRow, String> {
    let batch = kept.batch(id).map_err(|e| e.detail)?;
    batch.ok_or_else(|| format!("there is no batch {id}; `flyball batches list` shows them"))
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .unwrap_or_default()
        .to_string()
}

fn one(batch: &BatchRow, counts: &Counts) -> Value {
    let doc = &batch.doc;
    json!({
        "id": batch.id,
        "state": batch.state.name(),
        "key": batch.key,
        "endpoint": doc.endpoint,
        "created": batch.created,
        "expires": doc.expires,
        "ended": doc.ended,
        "lines": {"total": counts.total, "done": counts.done, "failed": counts.failed, "expired": counts.expired, "cancelled": counts.cancelled, "open": counts.open()},
        "errors": doc.errors,
    })
}

fn list(kept: &mut Batches, limit: i64, as_json: bool) -> Result<(), String> {
    let batches = kept
        .batches(None, "", limit.clamp(1, 10_000))
        .map_err(|e| e.detail)?;
    let mut all = Vec::with_capacity(batches.len());
    for batch in batches {
        let counts = kept.counts(&batch.id).map_err(|e| e.detail)?;
        all.push((batch, counts));
    }
    if as_json {
        let all = all.iter().map(|(batch, counts)| one(batch, counts));
        println!("{}", Value::Array(all.collect()));
        return Ok(());
    }
    if all.is_empty() {
        println!("There is no batch.");
        return Ok(());
    }
    let mut shown = table(&[
        "batch", "state", "created", "lines", "done", "failed", "open",
    ]);
    for (batch, counts) in &all {
        let failed = counts.failed + counts.expired + counts.cancelled;
        shown.add_row([
            batch.id.clone(),
            batch.state.name().to_owned(),
            time(batch.created),
            counts.total.to_string(),
            counts.done.to_string(),
            failed.to_string(),
            counts.open().to_string(),
        ]);
    }
    println!("{shown}");
    Ok(())
}

fn show(kept: &mut Batches, id: &str, as_json: bool) -> Result<(), String> {
    let batch = found(kept, id)?;
    let counts = kept.counts(id).map_err(|e| e.detail)?;
    let parts = kept.parts(id).map_err(|e| e.detail)?;
    if as_json {
        let mut told = one(&batch, &counts);
        told["parts"] = serde_json::to_value(&parts).unwrap_or_default();
        println!("{told}");
        return Ok(());
    }
    println!(
        "{id}: {}, made {}, its time ends {}",
        batch.state.name(),
        time(batch.created),
        time(batch.doc.expires)
    );
    println!(
        "{} requests: {} answered, {} failed, {} expired, {} cancelled, {} open",
        counts.total,
        counts.done,
        counts.failed,
        counts.expired,
        counts.cancelled,
        counts.open()
    );
    for error in &batch.doc.errors {
        println!(
            "line {}: {}",
            error["line"],
            error["message"].as_str().unwrap_or_default()
        );
    }
    if parts.is_empty() {
        return Ok(());
    }
    let mut shown = table(&["part", "provider", "model", "requests", "at the provider"]);
    for part in parts {
        let state = serde_json::to_value(part.state).unwrap_or_default();
        let state = state.as_str().unwrap_or_default().to_owned();
        shown.add_row([
            part.n.to_string(),
            part.provider,
            part.model,
            part.lines.to_string(),
            match part.vendor_id.is_empty() {
                true => state,
                false => format!("{state}: {}", part.vendor_id),
            },
        ]);
    }
    println!("{shown}");
    Ok(())
}

fn cancel(kept: &mut Batches, id: &str) -> Result<(), String> {
    let mut batch = found(kept, id)?;
    let was = batch.state;
    if was.is_over() || was == BatchState::Cancelling {
        return Err(format!("{id} is {} already", was.name()));
    }
    batch.state = BatchState::Cancelling;
    batch.doc.cancelling = Some(now());
    match kept.change(None, &batch, was).map_err(|e| e.detail)? {
        true => {
            println!("{id} is being cancelled");
            Ok(())
        }
        false => Err(format!("{id} has changed meanwhile; try again")),
    }
}
