//! What a token costs: the embedded price catalogue, exact integers only.
//!
//! A model that is not in the catalogue has no price, never a price of zero. Rates are pico-dollars a
//! token, so a cost is a sum of products and needs no rounding. Tiers (batch, flex, priority, fast),
//! per-call fees (web search) and off-peak hours are not priced here: a request that asks for one of
//! them has no bound.
#![deny(clippy::float_arithmetic)]

mod refresh;

pub use refresh::refresh;

use crate::chat::Usage;
use crate::money::PicoUsd;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

/// The rate of each class of token, in pico-dollars a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input that no prompt cache was involved in.
    pub input: PicoUsd,
    /// Input read from a prompt cache. Where the source gives none: the input rate.
    pub cached: PicoUsd,
    /// Input written to a prompt cache. Where the source gives none: the input rate.
    pub cache_write: PicoUsd,
    /// Input written to a prompt cache for an hour or longer. Where the source gives none: the cache-write rate.
    pub cache_write_long: PicoUsd,
    /// Visible output.
    pub output: PicoUsd,
    /// Hidden reasoning. Where the source gives none: the output rate.
    pub reasoning: PicoUsd,
}

impl Rates {
    /// Rates that know no cache and no reasoning apart: every input class at `input`, every output class at `output`.
    #[must_use]
    pub fn plain(input: PicoUsd, output: PicoUsd) -> Rates {
        Rates {
            input,
            cached: input,
            cache_write: input,
            cache_write_long: input,
            output,
            reasoning: output,
        }
    }

    fn cost(&self, usage: &Usage) -> PicoUsd {
        let reasoning = usage.reasoning.min(usage.output);
        self.input.times(usage.input)
            + self.cached.times(usage.cached)
            + self.cache_write.times(usage.cache_write)
            + self.cache_write_long.times(usage.cache_write_long)
            + self.output.times(usage.output - reasoning)
            + self.reasoning.times(reasoning)
    }

    fn dearest_input(&self) -> PicoUsd {
        self.input
            .max(self.cached)
            .max(self.cache_write)
            .max(self.cache_write_long)
    }

    fn dearest_output(&self) -> PicoUsd {
        self.output.max(self.reasoning)
    }
}

/// Other rates for a long request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Long {
    /// They apply to the **whole** request, output included, when its total input has more tokens than this.
    pub above_tokens: u64,
    /// The rates then.
    pub rates: Rates,
}

/// What one model costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// The rates of an ordinary request.
    pub rates: Rates,
    /// The rates of a long one, where they differ.
    pub long: Option<Long>,
    /// The dearest rate of an input token that is sound, picture or film, where it is above the text rate.
    /// Usage does not tell such tokens apart, so [`Price::cost`] does not know it: a request that carries
    /// them to this model has no bound.
    pub media_input: Option<PicoUsd>,
    /// What a second of its machine's work costs, where the operator pays for electricity and hardware and not for tokens.
    pub per_second: PicoUsd,
    /// The most input tokens that the model takes, where known.
    pub input_tokens_max: Option<u64>,
    /// The most output tokens that the model gives, where known.
    pub output_tokens_max: Option<u64>,
}

impl Price {
    /// The price of a model that runs on the operator's own machines: nothing per token.
    #[must_use]
    pub fn free() -> Price {
        Price::default()
    }

    /// Nothing it does costs anything.
    #[must_use]
    pub fn is_free(&self) -> bool {
        let dearest = |rates: &Rates| rates.dearest_input().max(rates.dearest_output());
        self.per_second == PicoUsd::ZERO
            && self.media_input.is_none_or(|m| m == PicoUsd::ZERO)
            && dearest(&self.rates).max(
                self.long
                    .as_ref()
                    .map(|l| dearest(&l.rates))
                    .unwrap_or_default(),
            ) == PicoUsd::ZERO
    }

    /// What this usage costs, exactly. Reasoning is a part of output and priced at its own rate.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> PicoUsd {
        match &self.long {
            Some(long) if usage.input_total() > long.above_tokens => long.rates.cost(usage),
            _ => self.rates.cost(usage),
        }
    }

    /// What so much of its machine's time costs, to the millisecond, rounded up.
    #[must_use]
    pub fn time_cost(&self, took: Duration) -> PicoUsd {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let thousandfold = self.per_second.times(ms.saturating_add(1));
        match self.per_second {
            PicoUsd::ZERO => PicoUsd::ZERO,
            _ => PicoUsd(thousandfold.0.saturating_add(999) / 1_000),
        }
    }

    /// The dearest rate at which any input token of a request with at most `input_tokens_max` input tokens may be billed.
    #[must_use]
    pub fn bound_input(&self, input_tokens_max: u64) -> PicoUsd {
        self.dearest(input_tokens_max, Rates::dearest_input)
    }

    /// The dearest rate at which any output token of such a request may be billed.
    #[must_use]
    pub fn bound_per_output_token(&self, input_tokens_max: u64) -> PicoUsd {
        self.dearest(input_tokens_max, Rates::dearest_output)
    }

    /// Long rates count beside the ordinary ones and not instead of them: the request may turn out shorter.
    fn dearest(&self, input_tokens_max: u64, of: fn(&Rates) -> PicoUsd) -> PicoUsd {
        match &self.long {
            Some(long) if input_tokens_max > long.above_tokens => {
                of(&self.rates).max(of(&long.rates))
            }
            _ => of(&self.rates),
        }
    }
}

/// Prices by provider and model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// Names the data exactly, e.g. `litellm-1.109.1/181da349`; written into every ledger row.
    pub version: String,
    models: BTreeMap<String, BTreeMap<String, Price>>,
}

/// The catalogue that ships with flyball; made by [`refresh`].
const EMBEDDED: &str = include_str!("../data/prices.json");
/// The prices that the simulated models pretend to have.
const SIMULATED: &str = include_str!("../data/prices_simulated.json");

impl Catalogue {
    /// The catalogue that ships with flyball, simulated models included. Read at the first call.
    #[must_use]
    pub fn embedded() -> &'static Catalogue {
        static EMBEDDED_ONCE: OnceLock<Catalogue> = OnceLock::new();
        EMBEDDED_ONCE
            .get_or_init(|| Catalogue::read(EMBEDDED).expect("a test reads the embedded catalogue"))
    }

    /// Reads a catalogue's JSON; the simulated models' prices are always added.
    ///
    /// # Errors
    /// Says what is wrong and where: not JSON, an unknown or missing field, a negative or broken number, a model twice.
    pub fn read(text: &str) -> Result<Catalogue, String> {
        let file = File::read(text)?;
        let mut catalogue = Catalogue {
            version: file.version,
            models: BTreeMap::new(),
        };
        let simulated = File::read(SIMULATED)?;
        for row in file.models.into_iter().chain(simulated.models) {
            let price = row.price();
            let models = catalogue.models.entry(row.provider).or_default();
            if models.insert(row.model.clone(), price).is_some() {
                return Err(format!("the catalogue has \"{}\" twice", row.model));
            }
        }
        Ok(catalogue)
    }

    /// The price of this provider's model: the exact name or, for a name that ends in a date (`-YYYY-MM-DD`
    /// or `-YYYYMMDD`), the name without it. `None` is "unknown", never "free".
    #[must_use]
    pub fn find(&self, provider: &str, model: &str) -> Option<&Price> {
        let models = self.models.get(provider)?;
        models
            .get(model)
            .or_else(|| models.get(without_date(model)?))
    }

    /// The same catalogue with the operator's own prices (provider, model, price) on top. The version then
    /// ends in `+` and eight digits that depend on those prices alone.
    #[must_use]
    pub fn with(&self, overrides: impl IntoIterator<Item = (String, String, Price)>) -> Catalogue {
        let mut sorted = BTreeMap::new();
        for (provider, model, price) in overrides {
            sorted.insert((provider, model), price);
        }
        let mut catalogue = self.clone();
        if sorted.is_empty() {
            return catalogue;
        }
        let digest = sha256_hex(format!("{sorted:?}").as_bytes());
        let _ = write!(catalogue.version, "+{}", &digest[..8]);
        for ((provider, model), price) in sorted {
            let models = catalogue.models.entry(provider).or_default();
            models.insert(model, price);
        }
        catalogue
    }

    /// Every provider, model and price, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Price)> {
        self.models.iter().flat_map(|(provider, models)| {
            models
                .iter()
                .map(move |(model, price)| (provider.as_str(), model.as_str(), price))
        })
    }
}

/// The name without a date at its end, if it has one.
fn without_date(model: &str) -> Option<&str> {
    for shape in ["-dddd-dd-dd", "-dddddddd"] {
        let Some(cut) = model.len().checked_sub(shape.len()) else {
            continue;
        };
        let tail = &model.as_bytes()[cut..];
        let fits = tail.iter().zip(shape.bytes()).all(|(&b, s)| match s {
            b'd' => b.is_ascii_digit(),
            _ => b == s,
        });
        if fits && tail.starts_with(b"-20") && cut > 0 {
            return model.get(..cut);
        }
    }
    None
}

fn sha256_hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// A catalogue file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "source_sha256", default)]
    _source_sha256: String,
    #[serde(rename = "made", default)]
    _made: String,
    #[serde(rename = "unit")]
    _unit: Unit,
    #[serde(rename = "notes", default)]
    _notes: Vec<String>,
    models: Vec<Row>,
}

impl File {
    fn read(text: &str) -> Result<File, String> {
        serde_json::from_str(text).map_err(|e| format!("the price catalogue cannot be read: {e}"))
    }
}

/// The only unit there is; a file in another one must not be read as this one.
#[derive(Deserialize)]
enum Unit {
    #[serde(rename = "pico-USD a token")]
    PicoUsd,
}

/// One model in a catalogue file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Row {
    provider: String,
    model: String,
    rates: RatesRow,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    long: Option<LongRow>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    media_input: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    input_tokens_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    output_tokens_max: Option<u64>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LongRow {
    above_tokens: u64,
    rates: RatesRow,
}

/// Rates in a file: what equals its fallback (see [`Rates`]) may be left out.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RatesRow {
    input: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cached: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cache_write: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cache_write_long: Option<u64>,
    output: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reasoning: Option<u64>,
}

impl RatesRow {
    fn rates(&self) -> Rates {
        let pico = |n: u64| PicoUsd(i128::from(n));
        let cache_write = self.cache_write.unwrap_or(self.input);
        Rates {
            input: pico(self.input),
            cached: pico(self.cached.unwrap_or(self.input)),
            cache_write: pico(cache_write),
            cache_write_long: pico(self.cache_write_long.unwrap_or(cache_write)),
            output: pico(self.output),
            reasoning: pico(self.reasoning.unwrap_or(self.output)),
        }
    }
}

impl Row {
    fn price(&self) -> Price {
        Price {
            rates: self.rates.rates(),
            long: self.long.as_ref().map(|long| Long {
                above_tokens: long.above_tokens,
                rates: long.rates.rates(),
            }),
            media_input: self.media_input.map(|n| PicoUsd(i128::from(n))),
            per_second: PicoUsd::ZERO,
            input_tokens_max: self.input_tokens_max,
            output_tokens_max: self.output_tokens_max,
        }
    }
}

#[cfg(test)]
mod tests;
