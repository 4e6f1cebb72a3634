//! A price that the operator writes into a `[[model]]`, in dollars a million tokens. Exact or refused.

use crate::ledger::price::{Price, Rates};
use crate::money::PicoUsd;
use crate::provider::Kind;
use crate::reader::Table;
use crate::route::effort::Family;

/// Tokens in the unit of published prices.
const MTOK: i128 = 1_000_000;

/// The price in a model's entry, if there is one. It is a whole price: what it leaves out is never taken from the
/// catalogue, whose model may cost less, but from the dearer of its own rates.
pub(super) fn own(table: &Table<'_>, kind: Option<&'static Kind>) -> Option<Price> {
    let per_second = per_second(table);
    let tokens = of_tokens(table, kind);
    if per_second == PicoUsd::ZERO {
        return tokens;
    }
    Some(Price {
        per_second,
        ..tokens.unwrap_or(Price::free())
    })
}

/// A second of a machine's work: what it costs to have it (`usd_per_hour`), and the electricity of `watts` at `usd_per_kwh`. Rounded up.
fn per_second(table: &Table<'_>) -> PicoUsd {
    let up = |amount: i128, by: i128| amount.saturating_add(by - 1) / by;
    let hour = table.money("usd_per_hour").unwrap_or_default();
    let (watts, kwh) = (table.count("watts"), table.money("usd_per_kwh"));
    if table.has("watts") != table.has("usd_per_kwh") {
        let key = if table.has("watts") {
            "watts"
        } else {
            "usd_per_kwh"
        };
        table.complain(key, "electricity needs both watts and usd_per_kwh", None);
    }
    let power = kwh.unwrap_or_default().times(watts.unwrap_or(0));
    PicoUsd(up(hour.0, 3_600) + up(power.0, 3_600_000))
}

fn of_tokens(table: &Table<'_>, kind: Option<&'static Kind>) -> Option<Price> {
    let free = table.flag("free").unwrap_or(false);
    let input = rate(table, "input_usd_per_mtok");
    let output = rate(table, "output_usd_per_mtok");
    let cached = rate(table, "cached_usd_per_mtok");
    let cache_write = rate(table, "cache_write_usd_per_mtok");
    let reasoning = rate(table, "reasoning_usd_per_mtok");
    let keys = ["input", "output", "cached", "cache_write", "reasoning"];
    let written = keys.iter().any(|k| table.has(&format!("{k}_usd_per_mtok")));
    if free && written {
        table.complain("free", "it is free and yet has a price", None);
    }
    if free {
        return Some(Price::free());
    }
    let (Some(input), Some(output)) = (input, output) else {
        for key in ["input_usd_per_mtok", "output_usd_per_mtok"] {
            if written && !table.has(key) {
                table.complain(key, format_args!("its price lacks {key}"), None);
            }
        }
        return None;
    };
    let plain = Rates::plain(input, output);
    // Anthropic charges 1.25 times the input rate to keep a prompt for 5 minutes and twice for an hour
    // (https://platform.claude.com/docs/en/build-with-claude/prompt-caching).
    let anthropic = kind.is_some_and(|k| k.family == Family::Anthropic);
    let (write, write_long) = match anthropic {
        true => (PicoUsd((input.0 * 5 + 3) / 4), input.times(2)),
        false => (plain.cache_write, plain.cache_write_long),
    };
    let rates = Rates {
        cached: cached.unwrap_or(plain.cached),
        cache_write: cache_write.unwrap_or(write),
        cache_write_long: cache_write.unwrap_or(write_long).max(write_long),
        reasoning: reasoning.unwrap_or(plain.reasoning),
        ..plain
    };
    Some(Price {
        rates,
        ..Price::default()
    })
}

/// The operator's price with what the catalogue knows of the model besides money.
pub(super) fn with_facts(own: Price, known: Option<Price>) -> Price {
    Price {
        input_tokens_max: known.and_then(|k| k.input_tokens_max),
        output_tokens_max: known.and_then(|k| k.output_tokens_max),
        // Sound and pictures may cost more than text here too; free is free.
        media_input: known
            .and_then(|k| k.media_input)
            .filter(|_| own != Price::free()),
        ..own
    }
}

/// Pico-dollars a token from dollars a million tokens.
fn rate(table: &Table<'_>, key: &'static str) -> Option<PicoUsd> {
    let usd = table.money(key)?;
    if usd.0 % MTOK != 0 {
        let text = format!("{key} is finer than a pico-dollar (1e-12) a token");
        table.complain(key, text, None);
        return None;
    }
    Some(PicoUsd(usd.0 / MTOK))
}
