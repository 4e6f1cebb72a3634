//! Makes the catalogue file from litellm's price list. Numbers go from text to integers, never through a float.
//!
//! What cannot be priced exactly is left out and named: no price is safer than a wrong one.
#![deny(clippy::float_arithmetic)]

use super::Multiples;
use super::file::{LongRow, OffPeakRow, PriceRow, RatesRow, TierRow};
use super::hours::Hours;
use super::sha256_hex;
use crate::json::{self, Object};
use crate::money::PicoUsd;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Providers whose prices are kept; litellm's names are flyball's.
const PROVIDERS: [&str; 7] = [
    "anthropic",
    "deepseek",
    "gemini",
    "groq",
    "mistral",
    "openai",
    "xai",
];

/// What the head of every catalogue says about its numbers.
const NOTES: [&str; 8] = [
    "Rates of the standard tier at its peak; batch, flex and priority beside them where the source has them. Surcharges by the host that is called (regional endpoints) and fees per call (web search) are not in here.",
    "A rate that is left out falls back: cached, cache_write and audio_input to input, cached_audio to cached, cache_write_long to cache_write, reasoning and audio_output to output. A cache rate of 0 in the source counts as left out.",
    "long: these rates apply to the whole request, output included, when its total input has more tokens than above_tokens.",
    "batch, flex, priority: a class that the source has for the standard tier and not for this one is in the proportion of the input rates, rounded up.",
    "cache_write_long: Anthropic 1 hour, OpenAI 12 hours. media_input: dearest rate of pictures or film in the input where above the text rate.",
    "multiples: thousandths of every rate where the answer says that it was made in the United States alone (usage.inference_geo \"us\") or fast (usage.speed \"fast\"); both multiply each other.",
    "off_peak: cheaper rates in these hours of UTC, Monday first.",
    "Left out: other providers, models that are free at the source, fine-tuned models, models that bill each search or dearer picture or film output.",
];

/// What is read out of the same source grows: a catalogue that says more than an earlier one of the same source has another version.
const READING: u32 = 2;

/// Makes a catalogue from the text of litellm's `model_prices_and_context_window` JSON (whole or a part of it).
/// `source` names it with its version (`litellm 1.109.1`), `made` is the day of making (`2026-11-23`).
///
/// Returns the catalogue's JSON, one model a line, sorted; and what was left out or rounded, with the reason.
/// A number that is not a whole number of pico-dollars is rounded to the nearest if it is at
/// most a thousandth of one away (never a tie), which is how a float artefact such as `9.999999999999999e-08` looks;
/// otherwise its model is left out.
///
/// # Errors
/// The text is not a JSON object, or no model of a known provider is in it.
pub fn refresh(
    litellm_json: &str,
    source: &str,
    made: &str,
) -> Result<(String, Vec<String>), String> {
    let list = Object::read_str(litellm_json).map_err(|flaw| flaw.to_string())?;
    let mut rows: BTreeMap<(String, String), PriceRow> = BTreeMap::new();
    let mut notes = Vec::new();
    let mut others: BTreeMap<String, u64> = BTreeMap::new();
    for (name, raw) in list.iter().filter(|(name, _)| *name != "sample_spec") {
        let provider = Object::read_str(raw)
            .ok()
            .and_then(|fields| text_of(&fields, "litellm_provider"))
            .unwrap_or_default();
        if !PROVIDERS.contains(&provider.as_str()) {
            *others.entry(provider).or_default() += 1;
            continue;
        }
        match row(&provider, name, raw) {
            Ok((new, about)) => {
                notes.extend(about);
                let kept = rows.entry((new.provider.clone(), new.model.clone()));
                notes.extend(keep_dearer(kept, new));
            }
            Err(why) => notes.push(format!("{provider} {name}: left out, {why}")),
        }
    }
    for (provider, count) in others {
        notes.push(format!(
            "{provider}: {count} rows left out, not a provider whose prices are kept"
        ));
    }
    if rows.is_empty() {
        return Err("no model of a known provider is in this list".to_owned());
    }
    Ok((file(litellm_json, source, made, rows.values()), notes))
}

/// The same model under two names (`deepseek-chat`, `deepseek/deepseek-chat`): the dearer row stays.
fn keep_dearer(
    kept: std::collections::btree_map::Entry<'_, (String, String), PriceRow>,
    new: PriceRow,
) -> Option<String> {
    use std::collections::btree_map::Entry;
    match kept {
        Entry::Vacant(place) => {
            place.insert(new);
            None
        }
        Entry::Occupied(mut place) => {
            let old = place.get();
            let dear = |row: &PriceRow| (row.rates.output, row.rates.input);
            let same = old.price() == new.price();
            let note = format!(
                "{} {}: twice with different rates, the dearer kept",
                new.provider, new.model
            );
            if dear(&new) > dear(old) {
                place.insert(new);
            }
            (!same).then_some(note)
        }
    }
}

fn file<'a>(
    litellm_json: &str,
    source: &str,
    made: &str,
    rows: impl Iterator<Item = &'a PriceRow>,
) -> String {
    let digest = sha256_hex(litellm_json.as_bytes());
    let version = format!("{}/{}.{READING}", source.replace(' ', "-"), &digest[..8]);
    let quoted = |text: &str| serde_json::to_string(text).expect("a string is JSON");
    let mut out = format!(
        "{{\n\"version\": {},\n\"source\": {},\n\"source_sha256\": {},\n\"made\": {},\n\"unit\": \"pico-USD a token\",\n\"notes\": [\n",
        quoted(&version),
        quoted(source),
        quoted(&digest),
        quoted(made),
    );
    out.push_str(&NOTES.map(quoted).join(",\n"));
    out.push_str("\n],\n\"models\": [\n");
    for (index, row) in rows.enumerate() {
        let comma = if index == 0 { "" } else { ",\n" };
        let line = serde_json::to_string(row).expect("a row is plain data");
        let _ = write!(out, "{comma}{line}");
    }
    out.push_str("\n]\n}\n");
    out
}

/// Reads one model, or says why it is left out. Beside it, what of it was rounded or left out.
fn row(provider: &str, name: &str, raw: &str) -> Result<(PriceRow, Vec<String>), String> {
    let fields = Object::read_str(raw).map_err(|flaw| flaw.to_string())?;
    let mode = text_of(&fields, "mode").unwrap_or_default();
    if !["chat", "responses", "embedding"].contains(&mode.as_str()) {
        return Err(format!("its mode is \"{mode}\""));
    }
    let model = name
        .strip_prefix(provider)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(name);
    if model.starts_with("ft:") {
        return Err("a fine-tuned model's own name carries its owner".to_owned());
    }
    if model.contains("-search-") || model.contains("deep-research") {
        return Err("it bills each search beside its tokens".to_owned());
    }
    let mut read = ListReader {
        fields: &fields,
        rounded: Vec::new(),
    };
    let embedding = mode == "embedding";
    let rates = read.rates("", embedding)?;
    let long = match threshold(&fields)? {
        None => None,
        Some(thousands) => Some(LongRow {
            above_tokens: thousands * 1_000,
            rates: read.rates(&above(thousands * 1_000), embedding)?,
        }),
    };
    let picture_or_film = ["output_cost_per_image_token", "output_cost_per_video_token"];
    if read.dearest(&picture_or_film)? > Some(rates.output) {
        return Err("it may answer in pictures or film at another rate".to_owned());
    }
    let media = read.dearest(&["input_cost_per_image_token", "input_cost_per_video_token"])?;
    let mut notes = Vec::new();
    let mut tier = |name: &str, suffix: &str| {
        let row = read.tier(suffix, &rates, long.as_ref(), embedding);
        row.unwrap_or_else(|why| {
            notes.push(format!("{name} left out, {why}"));
            None
        })
    };
    let (batch, flex) = (tier("batch", "_batches"), tier("flex", "_flex"));
    let priority = tier("priority", "_priority");
    let off_peak = off_peak(&fields, &rates).unwrap_or_else(|why| {
        notes.push(format!("off-peak hours left out, {why}"));
        None
    });
    let multiples = multiples(&fields).unwrap_or_else(|why| {
        notes.push(format!("multiples left out, {why}"));
        Multiples::default()
    });
    let row = PriceRow {
        provider: provider.to_owned(),
        model: model.to_owned(),
        media_input: media.filter(|rate| *rate > rates.input),
        multiples,
        rates,
        long,
        batch,
        flex,
        priority,
        off_peak,
        input_tokens_max: count_of(&fields, "max_input_tokens"),
        output_tokens_max: count_of(&fields, "max_output_tokens"),
    };
    let rounded = read
        .rounded
        .into_iter()
        .map(|what| format!("rounded {what}"));
    let notes = notes.into_iter().chain(rounded);
    let notes = notes.map(|what| format!("{provider} {model}: {what}"));
    Ok((row, notes.collect()))
}

/// What multiplies every rate of an answer that was made so: litellm's `provider_specific_entry`, which holds other things elsewhere.
fn multiples(fields: &Object<'_>) -> Result<Multiples, String> {
    let Some(raw) = fields.some("provider_specific_entry") else {
        return Ok(Multiples::default());
    };
    let entry = Object::read_str(raw).map_err(|flaw| flaw.to_string())?;
    let read = |name: &str| {
        let Some(text) = entry.some(name) else {
            return Ok(None);
        };
        // A factor with at most three decimals, read like an amount of money: never through a float.
        let factor = PicoUsd::from_usd_text(text)
            .map_err(|why| format!("{name}: {why}"))?
            .0;
        let (whole, rest) = (factor / 1_000_000_000, factor % 1_000_000_000);
        match u64::try_from(whole) {
            Ok(count) if count >= 1_000 && rest == 0 => Ok(Some(count)),
            _ => Err(format!("{name}: {text} is no multiple")),
        }
    };
    Ok(Multiples {
        us_only: read("us")?,
        fast: read("fast")?,
    })
}

fn text_of(fields: &Object<'_>, key: &str) -> Option<String> {
    fields
        .some(key)
        .and_then(json::text)
        .map(std::borrow::Cow::into_owned)
}

fn count_of(fields: &Object<'_>, key: &str) -> Option<u64> {
    fields.some(key)?.parse().ok().filter(|n| *n > 0)
}

/// The N of `input_cost_per_token_above_<N>k_tokens`.
fn threshold(fields: &Object<'_>) -> Result<Option<u64>, String> {
    let mut found: Vec<u64> = fields
        .iter()
        .filter_map(|(key, _)| {
            key.strip_prefix("input_cost_per_token_above_")?
                .strip_suffix("k_tokens")?
                .parse()
                .ok()
        })
        .collect();
    match (found.pop(), found.is_empty()) {
        (one, true) => Ok(one),
        _ => Err("it has more than one long-context threshold".to_owned()),
    }
}

/// All of `rates` times `by` / `of`, rounded up.
fn scaled(rates: &RatesRow, by: u64, of: u64) -> RatesRow {
    let scale = |rate: u64| {
        let pico = u128::from(rate) * u128::from(by);
        u64::try_from(pico.div_ceil(u128::from(of).max(1))).unwrap_or(u64::MAX)
    };
    RatesRow {
        input: scale(rates.input),
        cached: rates.cached.map(scale),
        cached_audio: rates.cached_audio.map(scale),
        cache_write: rates.cache_write.map(scale),
        cache_write_long: rates.cache_write_long.map(scale),
        audio_input: rates.audio_input.map(scale),
        output: scale(rates.output),
        reasoning: rates.reasoning.map(scale),
        audio_output: rates.audio_output.map(scale),
    }
}

/// How the source's name of a rate of a long request ends.
fn above(tokens: u64) -> String {
    format!("_above_{}k_tokens", tokens / 1_000)
}

/// The cheaper hours (DeepSeek): rates, and windows of hours on days that are numbered from Monday, 1.
fn off_peak(fields: &Object<'_>, peak: &RatesRow) -> Result<Option<OffPeakRow>, String> {
    #[derive(Deserialize)]
    struct PriceWindow {
        hours_utc: Spans,
        weekdays: Vec<usize>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Spans {
        One(String),
        Many(Vec<String>),
    }
    let Some(raw) = fields.some("off_peak_pricing") else {
        return Ok(None);
    };
    let fields = Object::read_str(raw).map_err(|flaw| flaw.to_string())?;
    let windows = fields.some("windows").unwrap_or("[]");
    let windows: Vec<PriceWindow> = serde_json::from_str(windows).map_err(|e| e.to_string())?;
    let mut utc = Hours::default();
    for window in windows {
        let spans = match window.hours_utc {
            Spans::One(span) => vec![span],
            Spans::Many(spans) => spans,
        };
        for (span, day) in spans
            .iter()
            .flat_map(|s| window.weekdays.iter().map(move |d| (s, *d)))
        {
            let hour = |text: &str| text.strip_suffix(":00")?.parse::<u32>().ok();
            let ends = span
                .split_once('-')
                .and_then(|(from, to)| Some((hour(from)?, hour(to)?)));
            let added = ends.is_some_and(|(from, to)| {
                let to = if to == 0 { 24 } else { to };
                day > 0 && utc.add(day - 1, from, to)
            });
            if !added {
                return Err(format!(
                    "\"{span}\" on day {day} is not whole hours of a day"
                ));
            }
        }
    }
    let mut read = ListReader {
        fields: &fields,
        rounded: Vec::new(),
    };
    let rates = read.rates("", false)?.completed(peak);
    Ok(Some(OffPeakRow { rates, utc }))
}

impl RatesRow {
    /// These rates of another tier, with what they lack in the proportion of the input rates, rounded up.
    fn completed(self, standard: &RatesRow) -> RatesRow {
        let other = scaled(standard, self.input, standard.input);
        RatesRow {
            cached: self.cached.or(other.cached),
            cached_audio: self.cached_audio.or(other.cached_audio),
            cache_write: self.cache_write.or(other.cache_write),
            cache_write_long: self.cache_write_long.or(other.cache_write_long),
            audio_input: self.audio_input.or(other.audio_input),
            reasoning: self.reasoning.or(other.reasoning),
            audio_output: self.audio_output.or(other.audio_output),
            ..self
        }
    }
}

struct ListReader<'a, 'b> {
    fields: &'a Object<'b>,
    rounded: Vec<String>,
}

impl ListReader<'_, '_> {
    /// The rates of a service tier, if there are any.
    fn tier(
        &mut self,
        suffix: &str,
        standard: &RatesRow,
        long: Option<&LongRow>,
        embedding: bool,
    ) -> Result<Option<TierRow>, String> {
        if self
            .fields
            .some(&format!("input_cost_per_token{suffix}"))
            .is_none()
        {
            return Ok(None);
        }
        let rates = self.rates(suffix, embedding)?.completed(standard);
        let long = match long {
            None => None,
            Some(long) => {
                let suffix = format!("{}{suffix}", above(long.above_tokens));
                let given = self
                    .fields
                    .some(&format!("input_cost_per_token{suffix}"))
                    .is_some();
                Some(match given {
                    true => self.rates(&suffix, embedding)?.completed(&long.rates),
                    // The standard tier's long rates, in the proportion of the ordinary ones.
                    false => scaled(&long.rates, rates.input, standard.input),
                })
            }
        };
        Ok(Some(TierRow { rates, long }))
    }

    /// The rates whose names end in `suffix`. A cache rate that only the ordinary request has falls back to the long input rate.
    fn rates(&mut self, suffix: &str, embedding: bool) -> Result<RatesRow, String> {
        let missing = |what: &str| format!("it has no {what} rate a token");
        let input = self.rate(&format!("input_cost_per_token{suffix}"))?;
        let output = self.rate(&format!("output_cost_per_token{suffix}"))?;
        let input = input.ok_or_else(|| missing("input"))?;
        let output = match output {
            Some(output) => output,
            None if embedding => 0,
            None => return Err(missing("output")),
        };
        if input == 0 || (output == 0 && !embedding) {
            return Err("a price of zero would let it past every cap".to_owned());
        }
        let cached = match self.rate(&format!("cache_read_input_token_cost{suffix}"))? {
            None if suffix.is_empty() => self.rate("input_cost_per_token_cache_hit")?,
            found => found,
        };
        let cached_audio = self.rate(&format!("cache_read_input_audio_token_cost{suffix}"))?;
        let write = self.rate(&format!("cache_creation_input_token_cost{suffix}"))?;
        let mut write_long = None;
        for hours in ["_above_1hr", "_above_12hr"] {
            let name = format!("cache_creation_input_token_cost{hours}{suffix}");
            write_long = write_long.max(self.rate(&name)?);
        }
        let reasoning = self.rate(&format!("output_cost_per_reasoning_token{suffix}"))?;
        let audio_input = self.rate(&format!("input_cost_per_audio_token{suffix}"))?;
        let audio_output = self.rate(&format!("output_cost_per_audio_token{suffix}"))?;
        // A free cache is how a source says "not applicable"; the input rate is the upper bound.
        let paid = |rate: Option<u64>, unless: u64| rate.filter(|r| *r != 0 && *r != unless);
        let cache_write = paid(write, input);
        let cached = paid(cached, input);
        Ok(RatesRow {
            input,
            cached,
            cached_audio: paid(cached_audio, cached.unwrap_or(input)),
            cache_write,
            cache_write_long: paid(write_long, cache_write.unwrap_or(input)),
            audio_input: paid(audio_input, input),
            output,
            reasoning: paid(reasoning, output),
            audio_output: paid(audio_output, output),
        })
    }

    fn dearest(&mut self, names: &[&str]) -> Result<Option<u64>, String> {
        let mut dearest = None;
        for name in names {
            dearest = dearest.max(self.rate(name)?);
        }
        Ok(dearest)
    }

    /// One rate in pico-dollars a token; `None` where the field is missing.
    fn rate(&mut self, name: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.fields.some(name) else {
            return Ok(None);
        };
        let (pico, rounded) = whole_pico(text).map_err(|why| format!("{name}: {why}"))?;
        if rounded {
            self.rounded
                .push(format!("{name} {text} to {pico} pico-USD"));
        }
        Ok(Some(pico))
    }
}

/// Dollars in text as whole pico-dollars, and whether a float artefact was rounded away.
fn whole_pico(text: &str) -> Result<(u64, bool), String> {
    let (pico, rounded) = match PicoUsd::from_usd_text(text) {
        Ok(exact) => (exact, false),
        Err(why) => (without_artefact(text).ok_or(why)?, true),
    };
    let pico = u64::try_from(pico.0).map_err(|_| format!("{text} is negative or absurd"))?;
    Ok((pico, rounded))
}

/// The nearest whole number of pico-dollars, if it is at most a thousandth away.
fn without_artefact(text: &str) -> Option<PicoUsd> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()? - exponent.parse::<i32>().ok()? - 12;
    let unit = 10_i128.checked_pow(u32::try_from(places).ok()?)?;
    let (down, rest) = (digits.div_euclid(unit), digits.rem_euclid(unit));
    let near = unit / 1_000;
    match rest {
        _ if rest <= near => Some(PicoUsd(down)),
        _ if unit - rest <= near => Some(PicoUsd(down + 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Catalogue;
    use super::*;

    const LIST: &str = r#"{
        "sample_spec": {"litellm_provider": "one of ..."},
        "gpt-x": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1.5e-05,
            "cache_read_input_token_cost": 2.5e-07, "input_cost_per_token_above_272k_tokens": 5e-06,
            "output_cost_per_token_above_272k_tokens": 2.25e-05, "cache_creation_input_token_cost": 0.0,
            "input_cost_per_token_batches": 1.25e-06, "output_cost_per_token_batches": 7.5e-06, "cache_read_input_token_cost_batches": 2.5e-07,
            "input_cost_per_token_priority": 5e-06, "output_cost_per_token_priority": 3e-05, "input_cost_per_token_flex": 1e-06,
            "input_cost_per_token_above_272k_tokens_batches": 2.5e-06, "output_cost_per_token_above_272k_tokens_batches": 1e-05, "max_input_tokens": 1000, "max_output_tokens": null},
        "gemini/g": {"litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 9.999999999999999e-08,
            "output_cost_per_token": 4e-07, "output_cost_per_reasoning_token": 5e-07, "input_cost_per_audio_token": 1e-06},
        "claude-y": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 5e-06,
            "cache_creation_input_token_cost": 1.25e-06, "cache_creation_input_token_cost_above_1hr": 2e-06},
        "d": {"litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
        "h": {"litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 2e-06, "output_cost_per_token": 4e-06, "cache_read_input_token_cost": 2e-07,
            "off_peak_pricing": {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "windows": [
                {"hours_utc": ["00:00-01:00", "10:00-00:00"], "weekdays": [1, 2]}, {"hours_utc": "00:00-00:00", "weekdays": [7]}]}},
        "i": {"litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 2e-06, "output_cost_per_token": 4e-06,
            "off_peak_pricing": {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "windows": [{"hours_utc": "00:30-01:00", "weekdays": [1]}]}},
        "deepseek/d": {"litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 3e-06},
        "mistral/e": {"litellm_provider": "mistral", "mode": "embedding", "input_cost_per_token": 1e-07},
        "free": {"litellm_provider": "xai", "mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
        "fine": {"litellm_provider": "groq", "mode": "chat", "input_cost_per_token": 1.5e-12, "output_cost_per_token": 1e-06},
        "minus": {"litellm_provider": "groq", "mode": "chat", "input_cost_per_token": -1e-06, "output_cost_per_token": 1e-06},
        "half": {"litellm_provider": "groq", "mode": "chat", "input_cost_per_token": 1e-06},
        "ft:gpt-x": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06},
        "gpt-search-api": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06},
        "gpt-voice": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06,
            "output_cost_per_audio_token": 2e-06},
        "gpt-painter": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06,
            "output_cost_per_image_token": 2e-06},
        "dall": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06},
        "azure/gpt-x": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06},
        "azure/gpt-y": {"litellm_provider": "azure", "mode": "chat"}
    }"#;

    #[test]
    fn a_list_becomes_a_sorted_catalogue_with_one_model_a_line() {
        let (json, _) = refresh(LIST, "litellm 1.2.3", "2026-11-23").expect("it has models");
        let rows: Vec<&str> = json.lines().filter(|l| l.starts_with("{\"")).collect();
        assert_eq!(
            rows,
            [
                r#"{"provider":"anthropic","model":"claude-y","rates":{"input":1000000,"cache_write":1250000,"cache_write_long":2000000,"output":5000000}},"#,
                r#"{"provider":"deepseek","model":"d","rates":{"input":1000000,"output":3000000}},"#,
                r#"{"provider":"deepseek","model":"h","rates":{"input":2000000,"cached":200000,"output":4000000},"off_peak":{"rates":{"input":1000000,"cached":100000,"output":2000000},"utc":["0-1 10-24","0-1 10-24","","","","","0-24"]}},"#,
                r#"{"provider":"deepseek","model":"i","rates":{"input":2000000,"output":4000000}},"#,
                r#"{"provider":"gemini","model":"g","rates":{"input":100000,"audio_input":1000000,"output":400000,"reasoning":500000}},"#,
                r#"{"provider":"mistral","model":"e","rates":{"input":100000,"output":0}},"#,
                r#"{"provider":"openai","model":"gpt-voice","rates":{"input":1000000,"output":1000000,"audio_output":2000000}},"#,
                r#"{"provider":"openai","model":"gpt-x","rates":{"input":2500000,"cached":250000,"output":15000000},"long":{"above_tokens":272000,"rates":{"input":5000000,"output":22500000}},"batch":{"rates":{"input":1250000,"cached":250000,"output":7500000},"long":{"input":2500000,"output":10000000}},"priority":{"rates":{"input":5000000,"cached":500000,"output":30000000},"long":{"input":10000000,"output":45000000}},"input_tokens_max":1000}"#,
            ]
        );
        let digest = sha256_hex(LIST.as_bytes());
        let catalogue = Catalogue::read(&json).expect("it reads what it wrote");
        assert_eq!(
            catalogue.version,
            format!("litellm-1.2.3/{}.{READING}", &digest[..8])
        );
        assert!(json.contains(&digest) && json.contains("\"made\": \"2026-11-23\""));
        assert!(catalogue.find("simulated", "sim-small").is_some());
    }

    #[test]
    fn what_is_left_out_or_rounded_is_named_with_its_reason() {
        let (_, notes) = refresh(LIST, "litellm 1.2.3", "2026-11-23").expect("it has models");
        for (model, why) in [
            ("xai free", "past every cap"),
            ("groq fine", "finer than a pico-dollar"),
            ("groq minus", "negative"),
            ("groq half", "no output rate"),
            ("openai ft:gpt-x", "fine-tuned"),
            ("openai gpt-search-api", "each search"),
            ("openai gpt-painter", "pictures"),
            ("openai gpt-x", "flex left out, it has no output rate"),
            ("deepseek i", "not whole hours"),
            ("openai dall", "image_generation"),
            ("azure", "2 rows"),
            (
                "gemini g",
                "rounded input_cost_per_token 9.999999999999999e-08 to 100000",
            ),
            ("deepseek d", "the dearer kept"),
        ] {
            let said = |n: &&String| n.starts_with(model) && n.contains(why);
            assert_eq!(notes.iter().filter(said).count(), 1, "{model}: {notes:#?}");
        }
        assert_eq!(notes.len(), 13, "{notes:#?}");
    }

    #[test]
    fn a_list_without_a_known_model_is_refused() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"a": {"litellm_provider": "azure"}, "b": 3}"#,
        ] {
            assert!(refresh(text, "s", "d").is_err(), "{text}");
        }
    }
}
