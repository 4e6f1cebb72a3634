//! `flyball prices`: the catalogue.

use super::{Common, reading};
use crate::config::Needs;
use crate::money::PicoUsd;
use crate::price::{Catalogue, refresh};
use clap::Subcommand;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Subcommand, Debug)]
pub(super) enum PricesCommand {
    /// Show the catalogue in force, in dollars per million tokens, with the prices of your own [[model]]s
    #[command(after_help = "Example:\n  flyball prices show gpt-5")]
    Show {
        /// Only models whose name or provider contains this
        filter: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a catalogue from litellm's price file (PyPI litellm, model_prices_and_context_window_backup.json)
    #[command(
        after_help = "Example:\n  flyball prices refresh --from model_prices_and_context_window_backup.json --source \"litellm 1.109.1\" --out prices.json"
    )]
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
        /// Take prices that have changed more than tenfold since the file (or the embedded catalogue) was made
        #[arg(long)]
        accept_jumps: bool,
    },
}

pub(super) fn run(common: &Common, command: &PricesCommand) -> Result<(), String> {
    match command {
        PricesCommand::Show { filter, json } => {
            let config = reading(common, Needs::File)?;
            show(
                &config.catalogue,
                filter.as_deref().unwrap_or_default(),
                *json,
            );
            Ok(())
        }
        PricesCommand::Refresh {
            from,
            source,
            out,
            accept_jumps,
        } => {
            let text =
                std::fs::read_to_string(from).map_err(|e| format!("{}: {e}", from.display()))?;
            let today = jiff::Timestamp::now().to_string();
            let (catalogue, left_out) = refresh(&text, source, today.get(..10).unwrap_or(&today))?;
            let jumps = jumps(&before(out)?, &Catalogue::read(&catalogue)?);
            if !jumps.is_empty() && !accept_jumps {
                return Err(format!(
                    "nothing was written: these prices changed more than tenfold; if that is right, say --accept-jumps\n{}",
                    jumps.join("\n")
                ));
            }
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

/// The catalogue that is to be replaced.
fn before(out: &Path) -> Result<Catalogue, String> {
    match std::fs::read_to_string(out) {
        Ok(text) => Catalogue::read(&text).map_err(|e| format!("{}: {e}", out.display())),
        Err(_) => Ok(Catalogue::embedded().clone()),
    }
}

/// Prices that changed more than tenfold, as lines for people: a slip in the source is likelier than such a change.
fn jumps(before: &Catalogue, after: &Catalogue) -> Vec<String> {
    let far = |a: PicoUsd, b: PicoUsd| a.max(b) > a.min(b).times(10);
    let mut found = Vec::new();
    for (provider, model, old) in before.iter() {
        let Some(new) = after.find(provider, model) else {
            continue;
        };
        let pairs = [
            ("input", old.rates.input, new.rates.input),
            ("output", old.rates.output, new.rates.output),
            ("cached", old.rates.cached, new.rates.cached),
        ];
        for (what, a, b) in pairs.into_iter().filter(|(_, a, b)| far(*a, *b)) {
            let show = |rate: PicoUsd| rate.times(1_000_000).usd_text();
            found.push(format!(
                "  {provider} {model}: {what} {} before, {} now, in $ per million",
                show(a),
                show(b)
            ));
        }
    }
    found
}

fn show(catalogue: &Catalogue, filter: &str, as_json: bool) {
    let per_million = |rate: PicoUsd| rate.times(1_000_000).usd_text();
    let mut table = super::shown::table(&[
        "provider",
        "model",
        "input",
        "cached",
        "cache write",
        "output",
        "reasoning",
    ]);
    let mut rows = Vec::new();
    // The operator's own prices are those of one provider and not of its kind: they stand under its name, first.
    for (provider, model, price) in catalogue
        .own()
        .chain(catalogue.iter())
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_that_jumps_is_told_and_one_that_moves_is_not() {
        let with = |input: i128| {
            let row = format!(
                r#"{{"provider":"openai","model":"gpt-5-mini","rates":{{"input":{input},"cached":1000,"output":1000}}}}"#
            );
            let file = format!(
                r#"{{"version":"v","source":"s","unit":"pico-USD a token","models":[{row}]}}"#
            );
            Catalogue::read(&file).expect("a catalogue")
        };
        assert!(jumps(&with(1_000), &with(10_000)).is_empty());
        for (a, b) in [(1_000, 10_001), (10_001, 1_000), (0, 1)] {
            assert_eq!(jumps(&with(a), &with(b)).len(), 1, "{a} {b}");
        }
    }
}
