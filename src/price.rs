//! What a token costs: the embedded price catalogue, exact integers only.
//!
//! A model that is not in the catalogue has no price, never a price of zero. Rates are pico-dollars a
//! token, so a cost is a sum of products and needs no rounding. A price is asked for the service tier and the hour
//! in which an answer was made, and in the manner: see [`Multiples`]. Fees per call (web search) are not priced here: a
//! request that asks for one has no bound.
#![deny(clippy::float_arithmetic)]

mod file;
mod hours;
mod rates;
mod refresh;

pub use hours::{Hours, OffPeak};
pub use rates::Rates;
pub use refresh::refresh;

use crate::chat::{Manner, ServiceTier, Usage};
use crate::money::PicoUsd;
use file::File;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

/// Other rates for a long request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Long {
    /// They apply to the **whole** request, output included, when its total input has more tokens than this.
    pub above_tokens: u64,
    /// The rates then.
    pub rates: Rates,
}

/// The rates of a service tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierRates {
    /// Those of an ordinary request.
    pub rates: Rates,
    /// Those of a long one; there are some wherever the standard tier has some.
    pub long: Option<Rates>,
}

/// The rates of the service tiers that have their own and are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tiers {
    /// Work that may take a day.
    pub batch: Option<TierRates>,
    /// Slower work.
    pub flex: Option<TierRates>,
    /// Faster work.
    pub priority: Option<TierRates>,
}

/// What multiplies every rate of a model, in thousandths, where an answer says that it was made so; both multiply each other. `None`
/// where no multiple is known.
///
/// Anthropic alone tells such things, in `usage.inference_geo` and `usage.speed`. Sources of the rule:
/// <https://platform.claude.com/docs/en/manage-claude/data-residency> (1.1 times every token rate, from Claude Opus 4.6 on, on its own
/// platform), <https://platform.claude.com/docs/en/build-with-claude/fast-mode> (stacks with the other multiples). The figures of each
/// model are litellm's `provider_specific_entry`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Multiples {
    /// In the United States alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub us_only: Option<u64>,
    /// At a higher speed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fast: Option<u64>,
}

impl Multiples {
    fn is_empty(&self) -> bool {
        *self == Multiples::default()
    }
}

/// What one model costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// The rates of an ordinary request.
    pub rates: Rates,
    /// The rates of a long one, where they differ.
    pub long: Option<Long>,
    /// Other service tiers.
    pub tiers: Tiers,
    /// Cheaper hours of the standard tier, whose own rates are those of the peak.
    pub off_peak: Option<OffPeak>,
    /// The dearest rate of an input token that is a picture or film, where it is above the text rate. Usage does not tell such
    /// tokens apart, so [`Price::cost`] does not know it; a bound of a request that carries them does, and [`Price::media_surcharge`].
    pub media_input: Option<PicoUsd>,
    /// What multiplies the rates, and is known from the answer alone.
    pub multiples: Multiples,
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
        let free = |rates: &Rates| {
            rates.dearest_media().max(rates.dearest_output()) == PicoUsd::ZERO
                && rates.audio_output == PicoUsd::ZERO
        };
        let Tiers {
            batch,
            flex,
            priority,
        } = &self.tiers;
        let mut tiers = [batch, flex, priority].into_iter().flatten();
        self.per_second == PicoUsd::ZERO
            && self.media_input.is_none_or(|m| m == PicoUsd::ZERO)
            && free(&self.rates)
            && self.long.as_ref().is_none_or(|l| free(&l.rates))
            && tiers.all(|t| free(&t.rates) && t.long.as_ref().is_none_or(free))
    }

    /// The price of an answer that was made in this service tier at this second since 1970. `None` where the tier's is not known.
    #[must_use]
    pub fn served(&self, tier: ServiceTier, at: i64) -> Option<Price> {
        let special = match tier {
            _ if self.is_free() => return Some(*self),
            ServiceTier::Standard => {
                let cheaper = self.off_peak.filter(|o| o.hours.cover(at));
                let rates = cheaper.map_or(self.rates, |o| o.rates);
                return Some(Price { rates, ..*self });
            }
            ServiceTier::Batch => self.tiers.batch,
            ServiceTier::Flex => self.tiers.flex,
            ServiceTier::Priority => self.tiers.priority,
            ServiceTier::Other => None,
        }?;
        let long = self.long.map(|standard| Long {
            rates: special
                .long
                .unwrap_or(standard.rates.dearer(&special.rates)),
            ..standard
        });
        let rates = special.rates;
        Some(Price {
            rates,
            long,
            media_input: self.media_input.map(|media| {
                let (tier, standard) = (rates.input, self.rates.input);
                if standard == PicoUsd::ZERO {
                    return media.max(tier);
                }
                let product = media.0.saturating_mul(tier.0);
                PicoUsd(product.saturating_add(standard.0 - 1) / standard.0)
            }),
            ..*self
        })
    }

    /// The price of an answer that was made in this service tier at this second since 1970, and in this manner: as a rule this one itself.
    /// `None` where the tier's is not known, or the multiple is not.
    #[must_use]
    pub fn served_so(&self, tier: ServiceTier, at: i64, manner: Manner) -> Option<Cow<'_, Price>> {
        match self.holds_as_it_is(tier, manner) {
            true => Some(Cow::Borrowed(self)),
            false => Some(Cow::Owned(self.served(tier, at)?.made(manner)?)),
        }
    }

    /// Neither the service tier, nor the hour, nor the manner changes anything about it.
    #[must_use]
    pub fn holds_as_it_is(&self, tier: ServiceTier, manner: Manner) -> bool {
        let plain = !manner.unknown && manner.us_only != Some(true) && manner.fast != Some(true);
        plain && tier == ServiceTier::Standard && self.off_peak.is_none()
    }

    /// The price of an answer that was made in this manner. `None` where the multiple is not known.
    #[must_use]
    pub fn made(&self, manner: Manner) -> Option<Price> {
        if self.is_free() {
            return Some(*self);
        }
        if manner.unknown {
            return None;
        }
        let mut price = *self;
        for (is_so, multiple) in [
            (manner.us_only, self.multiples.us_only),
            (manner.fast, self.multiples.fast),
        ] {
            if is_so == Some(true) {
                price = price.thousandths(multiple?);
            }
        }
        Some(price)
    }

    /// The dearest manner in which a request may be served that says this. What it says nothing of is up to the workspace of the
    /// provider's key, whose default may be the United States; a higher speed has to be asked for.
    #[must_use]
    pub fn dearest_manner(&self, asked: Manner) -> Manner {
        asked.or(Manner {
            us_only: self.multiples.us_only.map(|_| true),
            ..Manner::default()
        })
    }

    fn thousandths(&self, count: u64) -> Price {
        let tier = |tier: TierRates| TierRates {
            rates: tier.rates.thousandths(count),
            long: tier.long.map(|long| long.thousandths(count)),
        };
        Price {
            rates: self.rates.thousandths(count),
            long: self.long.map(|long| Long {
                rates: long.rates.thousandths(count),
                ..long
            }),
            tiers: Tiers {
                batch: self.tiers.batch.map(tier),
                flex: self.tiers.flex.map(tier),
                priority: self.tiers.priority.map(tier),
            },
            off_peak: self.off_peak.map(|off_peak| OffPeak {
                rates: off_peak.rates.thousandths(count),
                ..off_peak
            }),
            media_input: self.media_input.map(|rate| rate.thousandths(count)),
            ..*self
        }
    }

    /// The dearer rate of each class among these tiers, at any hour: what bounds a request that may be served in any of them. A tier
    /// without a price adds nothing.
    #[must_use]
    pub fn dearest_of(&self, tiers: &[ServiceTier]) -> Price {
        let mut dearest = *self;
        if let Some(off_peak) = self.off_peak {
            dearest.rates = dearest.rates.dearer(&off_peak.rates);
        }
        // The standard tier is this price itself.
        let others = tiers.iter().filter(|tier| **tier != ServiceTier::Standard);
        for served in others.filter_map(|tier| self.served(*tier, 0)) {
            dearest.rates = dearest.rates.dearer(&served.rates);
            dearest.media_input = dearest.media_input.max(served.media_input);
            if let (Some(mine), Some(theirs)) = (&mut dearest.long, served.long) {
                mine.rates = mine.rates.dearer(&theirs.rates);
            }
        }
        dearest
    }

    /// What bounds a request that may be served in any of these tiers, in this manner: as a rule this price itself. A manner whose multiple
    /// is not known adds nothing.
    #[must_use]
    pub fn dearest_so(&self, tiers: &[ServiceTier], manner: Manner) -> Cow<'_, Price> {
        match tiers.iter().all(|tier| self.holds_as_it_is(*tier, manner)) {
            true => Cow::Borrowed(self),
            false => Cow::Owned(self.made(manner).unwrap_or(*self).dearest_of(tiers)),
        }
    }

    /// The same price for a request that does not have its prompt kept.
    #[must_use]
    pub fn without_cache_writes(&self) -> Price {
        Price {
            rates: self.rates.without_cache_writes(),
            long: self.long.map(|long| Long {
                rates: long.rates.without_cache_writes(),
                ..long
            }),
            ..*self
        }
    }

    /// What this usage costs, exactly, at the peak of the standard tier. Reasoning is a part of output and priced at its own rate.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> PicoUsd {
        match &self.long {
            Some(long) if usage.input_total() > long.above_tokens => long.rates.cost(usage),
            _ => self.rates.cost(usage),
        }
    }

    /// What this usage costs more because up to so many of its input tokens are pictures or film, which it does not tell apart: at
    /// most what it really is.
    #[must_use]
    pub fn media_surcharge(&self, usage: &Usage, media_tokens_max: u64) -> PicoUsd {
        let Some(media) = self.media_input else {
            return PicoUsd::ZERO;
        };
        let dearer = (media - self.rates.input).max(PicoUsd::ZERO);
        dearer.times(usage.input_total().min(media_tokens_max))
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

    /// As [`Price::bound_input`], of a request that carries sound, pictures or film.
    #[must_use]
    pub fn bound_media_input(&self, input_tokens_max: u64) -> PicoUsd {
        let told_apart = self.dearest(input_tokens_max, Rates::dearest_media);
        told_apart.max(self.media_input.unwrap_or_default())
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
    /// The day of its making, or nothing: `2026-11-23`.
    pub made: String,
    /// By the kind of the provider.
    models: BTreeMap<String, BTreeMap<String, Price>>,
    /// The operator's own, by the provider's name: what one provider is paid says nothing of another of its kind.
    own: BTreeMap<(String, String), Price>,
}

/// The catalogue that ships with flyball; made by [`refresh`].
const EMBEDDED: &str = include_str!("data/prices.json");
/// The prices that the simulated models pretend to have.
const SIMULATED: &str = include_str!("data/prices_simulated.json");

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
            made: file.made,
            models: BTreeMap::new(),
            own: BTreeMap::new(),
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

    /// When it was made, in seconds since 1970, as far as it says so.
    #[must_use]
    pub fn made_unix(&self) -> Option<i64> {
        let day: jiff::civil::Date = self.made.parse().ok()?;
        let begins = jiff::tz::TimeZone::UTC
            .to_timestamp(day.at(0, 0, 0, 0))
            .ok()?;
        Some(begins.as_second())
    }

    /// The price of a model at providers of this kind, by its exact name: `gpt-4o-2024-05-13` costs twice what `gpt-4o` does, so a name
    /// with a date has a row of its own or no price. `None` is "unknown", never "free".
    #[must_use]
    pub fn find(&self, kind: &str, model: &str) -> Option<&Price> {
        self.models.get(kind)?.get(model)
    }

    /// Whether a vendor, whichever, is known to have a model of this name.
    #[must_use]
    pub fn knows(&self, model: &str) -> bool {
        self.models
            .values()
            .any(|models| models.contains_key(model))
    }

    /// The same catalogue with the operator's own prices (provider, model, price) beside it. The version then
    /// ends in `+` and eight digits that depend on those prices alone.
    #[must_use]
    pub fn with_own(&self, own: impl IntoIterator<Item = (String, String, Price)>) -> Catalogue {
        let mut catalogue = self.clone();
        let rows = own
            .into_iter()
            .map(|(provider, model, price)| ((provider, model), price));
        catalogue.own.extend(rows);
        if !catalogue.own.is_empty() {
            let digest = sha256_hex(format!("{:?}", catalogue.own).as_bytes());
            let _ = write!(catalogue.version, "+{}", &digest[..8]);
        }
        catalogue
    }

    /// The operator's own prices, sorted: provider by name, model, price.
    pub fn own(&self) -> impl Iterator<Item = (&str, &str, &Price)> {
        let rows = self.own.iter();
        rows.map(|((provider, model), price)| (provider.as_str(), model.as_str(), price))
    }

    /// Every kind of provider, model and price, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Price)> {
        self.models.iter().flat_map(|(provider, models)| {
            models
                .iter()
                .map(move |(model, price)| (provider.as_str(), model.as_str(), price))
        })
    }
}

/// The name without a date at its end, if it has one.
#[must_use]
pub fn without_date(model: &str) -> Option<&str> {
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

#[cfg(test)]
mod tests;
