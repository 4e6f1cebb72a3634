//! A price that the operator writes into a `[[model]]`, in dollars a million tokens. Exact or refused.

use crate::effort::Family;
use crate::money::PicoUsd;
use crate::price::{Long, Price, Rates, TierRates, Tiers};
use crate::provider::Kind;
use crate::reader::Table;

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

/// The price in a model's entry, if there is one. What its rates leave out is never taken from the catalogue, whose model may cost
/// less, but from the dearer of its own; service tiers and long requests that it leaves out: see [`with_facts`].
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
    let long = long(table, kind);
    let more = [
        "batch",
        "flex",
        "priority",
        "long",
        "image_input_usd_per_mtok",
    ];
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
        long,
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

/// The rates of a long request: a table of its own, `[model.long]`, and from how many input tokens on.
fn long(table: &Table<'_>, kind: Option<&'static Kind>) -> Option<Long> {
    let own = table.table("long")?;
    let (written, rates) = rates(&own, kind, "its long price");
    let above_tokens = own.count_from_1("above_tokens");
    if !written || !own.has("above_tokens") {
        let text = "its long price lacks above_tokens, input_usd_per_mtok and output_usd_per_mtok";
        table.complain("long", text, None);
    }
    own.finish();
    Some(Long {
        above_tokens: above_tokens?,
        rates: rates?,
    })
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
        cached_audio: cached.unwrap_or(plain.cached),
        cache_write: cache_write.unwrap_or(write),
        cache_write_long: cache_write.unwrap_or(write_long).max(write_long),
        reasoning: reasoning.unwrap_or(plain.reasoning),
        audio_input: audio_input.unwrap_or(plain.audio_input),
        audio_output: audio_output.unwrap_or(plain.audio_output),
        ..plain
    };
    (written, Some(rates))
}

/// The operator's price with what the catalogue knows of the model: its limits, and the dearer and cheaper rates that the operator says
/// nothing of, in the proportion of the operator's rates to the catalogue's.
pub(super) fn with_facts(own: Price, known: Option<Price>) -> Price {
    let Some(known) = known else { return own };
    let limited = Price {
        multiples: known.multiples,
        input_tokens_max: known.input_tokens_max,
        output_tokens_max: known.output_tokens_max,
        ..own
    };
    // Free is free, by the token too where only its machine's time costs.
    if own
        == (Price {
            per_second: own.per_second,
            ..Price::free()
        })
    {
        return limited;
    }
    let scaled = |rates: &Rates| rates.in_proportion(&own.rates, &known.rates);
    let long = known.long.map(|long| Long {
        rates: scaled(&long.rates),
        ..long
    });
    let tier = |own: Option<TierRates>, known: Option<TierRates>| {
        let known = known.map(|tier| TierRates {
            rates: scaled(&tier.rates),
            long: tier.long.as_ref().map(scaled),
        });
        own.or(known)
    };
    Price {
        long: own.long.or(long),
        tiers: Tiers {
            batch: tier(own.tiers.batch, known.tiers.batch),
            flex: tier(own.tiers.flex, known.tiers.flex),
            priority: tier(own.tiers.priority, known.tiers.priority),
        },
        // Sound and pictures may cost more than text here too.
        media_input: own.media_input.or(known.media_input),
        ..limited
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
