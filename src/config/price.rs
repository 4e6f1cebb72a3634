//! A price that the operator writes into a `[[model]]`, in dollars a million tokens. Exact or refused.

use crate::ledger::price::{Price, Rates, TierRates, Tiers};
use crate::money::PicoUsd;
use crate::provider::Kind;
use crate::reader::Table;
use crate::route::effort::Family;

/// The rates of a price, those first without which there is none.
const RATES: [&str; 7] = [
    "input_usd_per_mtok",
    "output_usd_per_mtok",
    "cached_usd_per_mtok",
    "cache_write_usd_per_mtok",
    "reasoning_usd_per_mtok",
    "audio_input_usd_per_mtok",
    "audio_output_usd_per_mtok",
];
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
    let media_input = rate(table, "image_input_usd_per_mtok");
    let (written, standard) = rates(table, kind, "its price");
    let tiers = Tiers {
        batch: tier(table, kind, "batch"),
        flex: tier(table, kind, "flex"),
        priority: tier(table, kind, "priority"),
    };
    let more = ["batch", "flex", "priority", "image_input_usd_per_mtok"];
    let more = more.into_iter().find(|key| table.has(key));
    if free {
        if written || more.is_some() {
            table.complain("free", "it is free and yet has a price", None);
        }
        return Some(Price::free());
    }
    if let (Some(key), false) = (more, written) {
        let text = format!(
            "{key} needs the rest of the price beside it: input_usd_per_mtok and output_usd_per_mtok"
        );
        table.complain(key, text, None);
    }
    Some(Price {
        rates: standard?,
        tiers,
        media_input,
        ..Price::default()
    })
}

/// The rates of a service tier: a table of its own, `[model.flex]`, which like the standard ones takes what it leaves out from its own.
fn tier(table: &Table<'_>, kind: Option<&'static Kind>, name: &'static str) -> Option<TierRates> {
    let own = table.table(name)?;
    let (written, rates) = rates(&own, kind, &format!("its {name} price"));
    if !written {
        let text = format!("its {name} price lacks input_usd_per_mtok and output_usd_per_mtok");
        table.complain(name, text, None);
    }
    own.finish();
    rates.map(|rates| TierRates { rates, long: None })
}

/// Whether any rate is written, and the rates if they are whole.
fn rates(table: &Table<'_>, kind: Option<&'static Kind>, what: &str) -> (bool, Option<Rates>) {
    let [
        input,
        output,
        cached,
        cache_write,
        reasoning,
        audio_input,
        audio_output,
    ] = RATES.map(|key| rate(table, key));
    let written = RATES.iter().any(|key| table.has(key));
    let (Some(input), Some(output)) = (input, output) else {
        for key in &RATES[..2] {
            if written && !table.has(key) {
                table.complain(key, format_args!("{what} lacks {key}"), None);
            }
        }
        return (written, None);
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
        audio_input: audio_input.unwrap_or(plain.audio_input),
        audio_output: audio_output.unwrap_or(plain.audio_output),
        ..plain
    };
    (written, Some(rates))
}

/// The operator's price with what the catalogue knows of the model besides money.
pub(super) fn with_facts(own: Price, known: Option<Price>) -> Price {
    Price {
        input_tokens_max: known.and_then(|k| k.input_tokens_max),
        output_tokens_max: known.and_then(|k| k.output_tokens_max),
        // Sound and pictures may cost more than text here too; free is free.
        media_input: own
            .media_input
            .or(known.and_then(|k| k.media_input))
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
