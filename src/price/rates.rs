//! Rates of one model in one service tier, and what a usage costs at them.

use crate::chat::Usage;
use crate::money::PicoUsd;

/// The rate of each class of token, in pico-dollars a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input that no prompt cache was involved in.
    pub input: PicoUsd,
    /// Input read from a prompt cache. Where the source gives none: the input rate.
    pub cached: PicoUsd,
    /// Sound read from a prompt cache. Where the source gives none: the rate of other cached input.
    pub cached_audio: PicoUsd,
    /// Input written to a prompt cache. Where the source gives none: the input rate.
    pub cache_write: PicoUsd,
    /// Input written to a prompt cache for an hour or longer. Where the source gives none: the cache-write rate.
    pub cache_write_long: PicoUsd,
    /// Input that is sound. Where the source gives none: the input rate.
    pub audio_input: PicoUsd,
    /// Visible output.
    pub output: PicoUsd,
    /// Hidden reasoning. Where the source gives none: the output rate.
    pub reasoning: PicoUsd,
    /// Output that is sound. Where the source gives none: the output rate.
    pub audio_output: PicoUsd,
}

impl Rates {
    /// Rates that know no cache, no sound and no reasoning apart: every input class at `input`, every output class at `output`.
    #[must_use]
    pub fn plain(input: PicoUsd, output: PicoUsd) -> Rates {
        Rates {
            input,
            cached: input,
            cached_audio: input,
            cache_write: input,
            cache_write_long: input,
            audio_input: input,
            output,
            reasoning: output,
            audio_output: output,
        }
    }

    /// A part can be no more than its whole, whatever the provider says; nothing is billed twice.
    pub(super) fn cost(&self, usage: &Usage) -> PicoUsd {
        let sound_in = usage.audio_input.min(usage.input);
        let sound_cached = usage.cached_audio.min(usage.cached);
        let reasoning = usage.reasoning.min(usage.output);
        let sound_out = usage.audio_output.min(usage.output - reasoning);
        self.input.times(usage.input - sound_in)
            + self.audio_input.times(sound_in)
            + self.cached.times(usage.cached - sound_cached)
            + self.cached_audio.times(sound_cached)
            + self.cache_write.times(usage.cache_write)
            + self.cache_write_long.times(usage.cache_write_long)
            + self.output.times(usage.output - reasoning - sound_out)
            + self.reasoning.times(reasoning)
            + self.audio_output.times(sound_out)
    }

    pub(super) fn without_cache_writes(&self) -> Rates {
        Rates {
            cache_write: self.input,
            cache_write_long: self.input,
            ..*self
        }
    }

    /// The dearest rate of an input token that is text.
    pub(super) fn dearest_input(&self) -> PicoUsd {
        self.input
            .max(self.cached)
            .max(self.cache_write)
            .max(self.cache_write_long)
    }

    /// The dearest rate of any input token that usage tells apart.
    pub(super) fn dearest_media(&self) -> PicoUsd {
        self.dearest_input()
            .max(self.audio_input)
            .max(self.cached_audio)
    }

    /// The dearest rate of an output token that is text: sound has to be asked for, and then there is no bound.
    pub(super) fn dearest_output(&self) -> PicoUsd {
        self.output.max(self.reasoning)
    }

    /// These rates as far above or below as `own` is to `known`, class by class, rounded up. A class that is free in `known` has no
    /// proportion: the dearer of both.
    #[must_use]
    pub fn in_proportion(&self, own: &Rates, known: &Rates) -> Rates {
        let scaled = |of: fn(&Rates) -> PicoUsd| match (of(self), of(own), of(known)) {
            (rate, own, PicoUsd::ZERO) => rate.max(own),
            (rate, own, known) => {
                let product = rate.0.saturating_mul(own.0);
                PicoUsd(product.saturating_add(known.0 - 1) / known.0)
            }
        };
        Rates {
            input: scaled(|r| r.input),
            cached: scaled(|r| r.cached),
            cached_audio: scaled(|r| r.cached_audio),
            cache_write: scaled(|r| r.cache_write),
            cache_write_long: scaled(|r| r.cache_write_long),
            audio_input: scaled(|r| r.audio_input),
            output: scaled(|r| r.output),
            reasoning: scaled(|r| r.reasoning),
            audio_output: scaled(|r| r.audio_output),
        }
    }

    /// So many thousandths of these rates, rounded up.
    pub(super) fn thousandths(&self, count: u64) -> Rates {
        let part = |rate: PicoUsd| rate.thousandths(count);
        Rates {
            input: part(self.input),
            cached: part(self.cached),
            cached_audio: part(self.cached_audio),
            cache_write: part(self.cache_write),
            cache_write_long: part(self.cache_write_long),
            audio_input: part(self.audio_input),
            output: part(self.output),
            reasoning: part(self.reasoning),
            audio_output: part(self.audio_output),
        }
    }

    /// The dearer of both, class by class.
    pub(super) fn dearer(&self, other: &Rates) -> Rates {
        Rates {
            input: self.input.max(other.input),
            cached: self.cached.max(other.cached),
            cached_audio: self.cached_audio.max(other.cached_audio),
            cache_write: self.cache_write.max(other.cache_write),
            cache_write_long: self.cache_write_long.max(other.cache_write_long),
            audio_input: self.audio_input.max(other.audio_input),
            output: self.output.max(other.output),
            reasoning: self.reasoning.max(other.reasoning),
            audio_output: self.audio_output.max(other.audio_output),
        }
    }
}
