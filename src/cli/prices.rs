//! `flyball prices`: the catalogue.

use super::Common;
use crate::ledger::price::{Catalogue, refresh};
use crate::money::PicoUsd;
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;

#[derive(Subcommand, Debug)]
pub(super) enum PricesCommand {
    /// Show what flyball knows, in dollars per million tokens
    Show {
        /// Only models whose name or provider contains this
        filter: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a catalogue from litellm's price file (PyPI litellm, model_prices_and_context_window_backup.json)
    Refresh {
        /// litellm's file
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// What to call the source, e.g. "litellm 1.109.1"
        #[arg(long, default_value = "litellm")]
        source: String,
        /// The catalogue to write; name it as `catalogue = "…"` in flyball.toml
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

pub(super) fn run(_common: &Common, command: &PricesCommand) -> Result<(), String> {
    match command {
        PricesCommand::Show { filter, json } => show(filter.as_deref().unwrap_or_default(), *json),
        PricesCommand::Refresh { from, source, out } => {
            let text =
                std::fs::read_to_string(from).map_err(|e| format!("{}: {e}", from.display()))?;
            let today = jiff::Timestamp::now().to_string();
            let (catalogue, left_out) = refresh(&text, source, today.get(..10).unwrap_or(&today))?;
            Catalogue::read(&catalogue)?;
            let partial = out.with_extension("partial");
            std::fs::write(&partial, &catalogue)
                .and_then(|()| std::fs::rename(&partial, out))
                .map_err(|e| format!("{}: {e}", out.display()))?;
            println!(
                "wrote {}; {} models were left out",
                out.display(),
                left_out.len()
            );
            for why in left_out {
                eprintln!("  {why}");
            }
            Ok(())
        }
    }
}

fn show(filter: &str, as_json: bool) -> Result<(), String> {
    let catalogue = Catalogue::embedded();
    let per_million = |rate: PicoUsd| rate.times(1_000_000).usd_text();
    let mut table = super::books::table(&[
        "provider",
        "model",
        "input",
        "cached",
        "cache write",
        "output",
        "reasoning",
    ]);
    let mut rows = Vec::new();
    for (provider, model, price) in catalogue
        .iter()
        .filter(|(p, m, _)| p.contains(filter) || m.contains(filter))
    {
        let r = &price.rates;
        let cells = [r.input, r.cached, r.cache_write, r.output, r.reasoning].map(per_million);
        if as_json {
            rows.push(json!({"provider": provider, "model": model, "input": cells[0], "cached": cells[1], "cache_write": cells[2], "output": cells[3], "reasoning": cells[4]}));
        } else {
            table.add_row(
                [provider, model]
                    .map(str::to_owned)
                    .into_iter()
                    .chain(cells),
            );
        }
    }
    if as_json {
        println!(
            "{}",
            json!({"catalogue": catalogue.version, "usd_per_million_tokens": rows})
        );
    } else {
        println!(
            "{table}\n$ per million tokens; catalogue {}",
            catalogue.version
        );
    }
    Ok(())
}
