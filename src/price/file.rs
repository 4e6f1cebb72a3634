//! The form of a catalogue file: one model a line, integers only.

use super::hours::{Hours, OffPeak};
use super::{Long, Multiples, Price, Rates, TierRates, Tiers};
use crate::money::PicoUsd;
use serde::{Deserialize, Serialize};

/// A catalogue file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) version: String,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "source_sha256", default)]
    _source_sha256: String,
    /// The day of its making, `2026-11-23`, or nothing.
    #[serde(default)]
    pub(super) made: String,
    #[serde(rename = "unit")]
    _unit: Unit,
    #[serde(rename = "notes", default)]
    _notes: Vec<String>,
    pub(super) models: Vec<PriceRow>,
}

impl File {
    pub(super) fn read(text: &str) -> Result<File, String> {
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
pub(super) struct PriceRow {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) rates: RatesRow,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) long: Option<LongRow>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) batch: Option<TierRow>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) flex: Option<TierRow>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) priority: Option<TierRow>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) off_peak: Option<OffPeakRow>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) media_input: Option<u64>,
    /// Thousandths of the rates.
    #[serde(skip_serializing_if = "Multiples::is_empty", default)]
    pub(super) multiples: Multiples,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) input_tokens_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) output_tokens_max: Option<u64>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LongRow {
    pub(super) above_tokens: u64,
    pub(super) rates: RatesRow,
}

/// The rates of a service tier.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TierRow {
    pub(super) rates: RatesRow,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) long: Option<RatesRow>,
}

impl TierRow {
    fn rates(&self) -> TierRates {
        TierRates {
            rates: self.rates.rates(),
            long: self.long.as_ref().map(RatesRow::rates),
        }
    }
}

/// Cheaper rates and when they hold.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OffPeakRow {
    pub(super) rates: RatesRow,
    pub(super) utc: Hours,
}

/// Rates in a file: what equals its fallback (see [`Rates`]) may be left out.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RatesRow {
    pub(super) input: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) cached: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) cached_audio: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) cache_write: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) cache_write_long: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) audio_input: Option<u64>,
    pub(super) output: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) reasoning: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) audio_output: Option<u64>,
}

impl RatesRow {
    pub(super) fn rates(&self) -> Rates {
        let pico = |n: u64| PicoUsd(i128::from(n));
        let cached = self.cached.unwrap_or(self.input);
        let cache_write = self.cache_write.unwrap_or(self.input);
        Rates {
            input: pico(self.input),
            cached: pico(cached),
            cached_audio: pico(self.cached_audio.unwrap_or(cached)),
            cache_write: pico(cache_write),
            cache_write_long: pico(self.cache_write_long.unwrap_or(cache_write)),
            audio_input: pico(self.audio_input.unwrap_or(self.input)),
            output: pico(self.output),
            reasoning: pico(self.reasoning.unwrap_or(self.output)),
            audio_output: pico(self.audio_output.unwrap_or(self.output)),
        }
    }
}

/// Providers all of whose models cost so many thousandths of their rates in a batch by the provider's own word, where the source has no batch
/// rates of theirs: Mistral (<https://docs.mistral.ai/studio-api/batch-processing>).
const BATCH_THOUSANDTHS: [(&str, u64); 1] = [("mistral", 500)];

impl PriceRow {
    /// Its rates in a batch, by its provider's word for all of its models.
    fn batch_of_provider(&self) -> Option<TierRates> {
        let mut all = BATCH_THOUSANDTHS.iter();
        let (_, part) = all.find(|(provider, _)| *provider == self.provider)?;
        let part = |rates: &RatesRow| rates.rates().thousandths(*part);
        Some(TierRates {
            rates: part(&self.rates),
            long: self.long.as_ref().map(|long| part(&long.rates)),
        })
    }

    pub(super) fn price(&self) -> Price {
        Price {
            rates: self.rates.rates(),
            long: self.long.as_ref().map(|long| Long {
                above_tokens: long.above_tokens,
                rates: long.rates.rates(),
            }),
            tiers: Tiers {
                batch: self
                    .batch
                    .as_ref()
                    .map(TierRow::rates)
                    .or_else(|| self.batch_of_provider()),
                flex: self.flex.as_ref().map(TierRow::rates),
                priority: self.priority.as_ref().map(TierRow::rates),
            },
            off_peak: self.off_peak.as_ref().map(|o| OffPeak {
                rates: o.rates.rates(),
                hours: o.utc,
            }),
            media_input: self.media_input.map(|n| PicoUsd(i128::from(n))),
            multiples: self.multiples,
            per_second: PicoUsd::ZERO,
            input_tokens_max: self.input_tokens_max,
            output_tokens_max: self.output_tokens_max,
        }
    }
}
