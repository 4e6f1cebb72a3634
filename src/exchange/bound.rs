//! The most input that one attempt can be billed for: its words, and the pictures, sound and documents beside them.

use crate::chat::Medium;
use crate::dialect::Request;
use crate::error::{Error, Kind};
use crate::fleet::Model;
use crate::fleet::media::{self, setting};
use crate::ledger::balance::{Capped, Full, Reason, Requirement};
use crate::money::PicoUsd;
use crate::price::Price;
use crate::tokens;
use bytes::Bytes;
use http::HeaderMap;

/// Tokens that a provider adds around a request (tool and system scaffolding), at most.
const FRAME_TOKENS: u64 = 512;
/// Tokens that a chat template adds around one message, at most.
const TURN_TOKENS: u64 = 16;

/// The most input tokens of an attempt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InputBound {
    /// That may be billed as text.
    pub(super) words: u64,
    /// That may be billed as pictures or sound.
    pub(super) media: u64,
    /// The part of `words` that a provider puts around the request.
    around: u64,
    /// Its words may be counted exactly: nothing but they and the media's own maxima bound it.
    pub(super) countable: bool,
}

/// Tokens of an entry that says an effort within a conversation, at most one a byte.
const ENTRY_TOKENS: u64 = 120;

impl InputBound {
    /// The same with so many entries more that flyball itself puts into the conversation.
    pub(super) fn with_entries(self, entries: usize) -> InputBound {
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        let more = entries.saturating_mul(TURN_TOKENS + ENTRY_TOKENS);
        match self.countable {
            true => InputBound {
                words: self.words.saturating_add(more),
                around: self.around.saturating_add(more),
                ..self
            },
            // A window bounds it.
            false => self,
        }
    }

    /// One token a byte of the body (its JSON is never shorter than its text), what is put around it, and the media.
    pub(super) fn of(
        body: &Bytes,
        request: &Request<'_>,
        attached: media::MediaBound,
    ) -> InputBound {
        let turns = u64::try_from(request.prompt.turns.len()).unwrap_or(u64::MAX);
        let around = turns
            .saturating_mul(TURN_TOKENS)
            .saturating_add(FRAME_TOKENS);
        let bytes = tokens::bound(body.len()).saturating_sub(attached.bytes);
        let words = bytes.saturating_add(around);
        match attached.window {
            None => InputBound {
                words,
                media: attached.tokens,
                around,
                countable: true,
            },
            // A window that is smaller than what the bytes say was not meant for this request.
            Some(window) => InputBound {
                words: 0,
                media: window.max(words.saturating_add(attached.tokens)),
                around,
                countable: false,
            },
        }
    }

    /// The same with its words counted.
    pub(super) fn counted(self, words: u64) -> InputBound {
        let words = words.saturating_add(self.around);
        InputBound { words, ..self }
    }

    fn total(self) -> u64 {
        self.words.saturating_add(self.media)
    }
}

/// What so much input, and each token of an answer, cost at most.
pub(super) fn input_and_answer(
    price: Option<&Price>,
    input: InputBound,
    choices: u64,
) -> Requirement {
    let zero = PicoUsd::ZERO;
    let total = input.total();
    let (fixed, output) = price.map_or((zero, zero), |p| {
        let words = p.bound_input(total).times(input.words);
        let media = p.bound_media_input(total).times(input.media);
        (words + media, p.bound_per_output_token(total))
    });
    Requirement {
        fixed,
        per_token: output.times(choices),
        input_tokens: total,
        choices,
        ..Requirement::default()
    }
}

/// The most that an attempt may cost: roughly, which is known at once, and exactly, where somebody can count it.
pub(super) struct Bound {
    /// At least what the exact one says.
    pub(super) rough: Requirement,
    /// Finds it exactly, slowly. It is asked before the rough one refuses a request or lowers its limit.
    pub(super) exact: Option<Exact>,
    /// At most what the exact one says, and quickly found, each closer than the one before it and slower: where even one of them has
    /// no room, no count can change the refusal.
    pub(super) least: Vec<Exact>,
    /// Why a refusal has to say that it is so much, and what makes it less.
    pub(super) why_much: Option<&'static str>,
}

/// Counts an attempt's input.
pub(super) type Exact = Box<dyn FnOnce() -> Requirement + Send>;

impl From<Requirement> for Bound {
    fn from(rough: Requirement) -> Bound {
        Bound {
            rough,
            exact: None,
            least: Vec::new(),
            why_much: None,
        }
    }
}

/// Whether a cap that has no room for an attempt as it is known roughly has none either for `least`, the least that a count could make
/// of it, and will have none when what is open ends: then no count changes the refusal or its advice.
pub(super) fn is_hopeless(full: &Full, least: Requirement) -> bool {
    let needed = least.amount(full.counter.measure, least.tokens_min.min(least.tokens));
    full.reason == Reason::Sessions || full.limit <= 0 || full.posted + needed > full.limit
}

/// The refusal with what such a request needs, as far as it is known without a count.
pub(super) fn as_known(mut full: Box<Full>, rough: Requirement) -> Box<Full> {
    full.needed = rough.amount(full.counter.measure, rough.tokens_min.min(rough.tokens));
    full
}

/// What is asked for under the caller's own `x-flyball-max-cost-usd`, with a limit that fits it.
///
/// # Errors
/// Even the least answer may cost more.
pub(super) fn held_to_cost(ask: Requirement, most: Option<PicoUsd>) -> Result<Requirement, Error> {
    let Some(most) = most else { return Ok(ask) };
    let room = most - ask.fixed;
    let tokens = if ask.per_token > PicoUsd::ZERO {
        u64::try_from(room.0.max(0) / ask.per_token.0).unwrap_or(u64::MAX)
    } else {
        ask.tokens
    };
    if room < PicoUsd::ZERO || tokens < ask.tokens_min {
        let needed = ask.fixed + ask.per_token.times(ask.tokens_min);
        return Err(Error::new(Kind::CapReached, format!("This request may cost up to {needed}, more than its x-flyball-max-cost-usd of {most}.")).code("flyball_cap"));
    }
    Ok(Requirement {
        tokens: ask.tokens.min(tokens),
        ..ask
    })
}

/// On a capped key everything must have a price and a bound, or the cap would be a guess.
///
/// # Errors
/// The model has no price, or the first of the `unbounded` fields has no bound.
pub(super) fn check_bounded(
    unbounded: &[String],
    model: &Model,
    capped: Capped,
) -> Result<(), Error> {
    let (name, price) = (&model.name, model.price.as_ref());
    if capped.usd && price.is_none() {
        return Err(Error::bad_field(
            "model",
            format!("The price of \"{name}\" is not known, so a spend cap cannot count it. Set input_usd_per_mtok and output_usd_per_mtok for it."),
        )
        .code("flyball_no_price"));
    }
    if !must_be_bounded(capped, price) {
        return Ok(());
    }
    match unbounded.first() {
        None => Ok(()),
        Some(field) => Err(Error::bad_field(
            field.clone(),
            format!("The cost of \"{field}\" has no bound that flyball knows, so it cannot be used under a spend cap."),
        )
        .code("flyball_unbounded")),
    }
}

/// Whether a field is a list of models that may answer in the named one's place, as routers take it.
pub(super) fn names_others(field: &str) -> bool {
    ["models", "fallbacks"]
        .iter()
        .any(|other| field.eq_ignore_ascii_case(other))
}

/// Where a key may use some models only, or some models have a cap of their own, no other may answer in the named one's place.
///
/// # Errors
/// One of the fields lets others answer.
pub(super) fn check_others<'f>(mut fields: impl Iterator<Item = &'f str>) -> Result<(), Error> {
    match fields.find(|field| names_others(field)) {
        Some(field) => Err(Error::bad_field(
            field,
            format!("\"{field}\" lets other models answer than the one that is named, which this key's models or caps do not allow."),
        )
        .code("flyball_unbounded")),
        None => Ok(()),
    }
}

/// A cap counts something that this attempt has to have a bound for.
pub(super) fn must_be_bounded(capped: Capped, price: Option<&Price>) -> bool {
    capped.tokens || (capped.usd && !price.is_some_and(Price::is_free))
}

/// What the request's media are at most. Where nothing has to be bounded, what has no bound counts by its bytes.
///
/// # Errors
/// A 400 that names the first medium without a bound and the setting that gives it one. `asked` are the media as the client's own
/// dialect calls them.
pub(super) fn attached(
    media: &[Medium<'_>],
    asked: &[Medium<'_>],
    model: &Model,
    headers: &HeaderMap,
    must: bool,
) -> Result<media::MediaBound, Error> {
    // Anthropic opens a longer window than the model's usual one to who asks for it so.
    let mut betas = headers.get_all("anthropic-beta").iter();
    let longer = betas.any(|b| b.to_str().is_ok_and(|b| b.contains("context-")));
    // What the vendor refuses is by its own window; the operator's may be larger, and a smaller one makes it refuse nothing.
    let vendors = model.price.and_then(|p| p.input_tokens_max);
    let window = vendors.max(model.context_tokens.filter(|_| vendors.is_some()));
    let window = window.filter(|_| !longer);
    let medium = match model.media.bound(media, window) {
        Ok(bound) => return Ok(bound),
        Err(_) if !must => return Ok(media::MediaBound::default()),
        Err(medium) => medium,
    };
    let at = asked
        .iter()
        .find(|m| (m.kind, m.stored) == (medium.kind, medium.stored));
    let at = at.unwrap_or(medium).at.as_str();
    let way_out = match medium.stored {
        true => "Send what it holds with it (reasoning: include \"reasoning.encrypted_content\"), or use another model.".to_owned(),
        false => {
            let (setting, what) = setting(medium);
            format!("Set {setting} for that [[model]], the most tokens that one {what} can be, or use another model.")
        }
    };
    let sentence = format!(
        "What \"{at}\" costs at most on \"{}\" is not known, so it cannot be used under a cap. {way_out}",
        model.name
    );
    Err(Error::bad_field(at, sentence).code("flyball_unbounded"))
}

/// Whether the body may ask Anthropic to keep its prompt: `cache_control` stands in it, or letters that are escaped and might spell it.
pub(super) fn may_ask_for_cache(body: &[u8]) -> bool {
    let asked: [&[u8]; 4] = [b"cache_control", br"\u005", br"\u006", br"\u007"];
    asked
        .iter()
        .any(|word| memchr::memmem::find(body, word).is_some())
}

/// Why a request is reserved at a whole context window, where it is, and what makes it less.
pub(super) fn why_much(
    media: &[Medium<'_>],
    model: &Model,
    input: InputBound,
) -> Option<&'static str> {
    if input.countable {
        return None;
    }
    let medium = model.media.bound(media, None).err()?;
    Some(match (medium.stored, setting(medium).0) {
        (true, _) => {
            "A turn that it only names is reserved at the model's whole context window; send it with what it holds (reasoning: its encrypted_content)."
        }
        (false, "image_tokens_max") => {
            "A picture in it is reserved at the model's whole context window; image_tokens_max in the [[model]] says how many tokens one is at most."
        }
        (false, "audio_tokens_max") => {
            "A piece of sound in it is reserved at the model's whole context window; audio_tokens_max in the [[model]] says how many tokens one is at most."
        }
        (false, _) => {
            "A document in it is reserved at the model's whole context window; document_tokens_max in the [[model]] says how many tokens one is at most."
        }
    })
}

/// The pieces of the body that are not a medium's bytes.
pub(super) fn words(body: &Bytes, media: &[Medium<'_>]) -> Vec<Bytes> {
    let start = body.as_ptr().addr();
    let spans = media.iter().filter_map(|medium| {
        let data = medium.data?;
        let from = data.as_ptr().addr().checked_sub(start)?;
        Some(from..from + data.len())
    });
    let mut spans: Vec<_> = spans.filter(|s| s.end <= body.len()).collect();
    spans.sort_unstable_by_key(|span| span.start);
    let mut pieces = Vec::with_capacity(spans.len() + 1);
    let mut at = 0;
    for span in spans {
        pieces.push(body.slice(at.min(span.start)..span.start));
        at = at.max(span.end);
    }
    pieces.push(body.slice(at..));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::cap::{AtCap, Counter, Measure, Scope};
    use crate::ledger::window::Window;

    #[test]
    fn a_refusal_is_hopeless_only_where_no_count_can_change_it_or_its_advice() {
        let ask = |input: u64| Requirement {
            fixed: PicoUsd(i128::from(input)),
            per_token: PicoUsd(2),
            tokens: 50,
            tokens_min: 10,
            input_tokens: input,
            choices: 1,
            ..Requirement::default()
        };
        // A cap of 100 of which this is spent and this is reserved; what the request costs in the end, as far as is known.
        for (measure, limit, posted, reserved, input, hopeless) in [
            (Measure::Usd, 100, 0, 0, 80, false),
            (Measure::Usd, 100, 0, 0, 81, true),
            (Measure::Usd, 100, 20, 0, 60, false),
            (Measure::Usd, 100, 20, 0, 61, true),
            // Room may come back: whether it will be enough is for a count to say.
            (Measure::Usd, 100, 0, 100, 80, false),
            (Measure::Usd, 100, 0, 100, 81, true),
            (Measure::Tokens, 100, 0, 0, 90, false),
            (Measure::Tokens, 100, 0, 0, 91, true),
            (Measure::Requests, 100, 99, 0, 1_000, false),
            (Measure::Requests, 100, 100, 0, 0, true),
            (Measure::Usd, 0, 0, 0, 0, true),
        ] {
            let counter = Counter {
                measure,
                ..Counter::usd(Scope::default(), Window::Day)
            };
            let full = Full {
                counter,
                ends_at: None,
                limit,
                posted,
                reserved,
                needed: 0,
                at_cap: AtCap::default(),
                reason: Reason::Room,
                cap: None,
            };
            let said = is_hopeless(&full, ask(input));
            assert_eq!(said, hopeless, "{measure:?} {posted} {reserved} {input}");
            let sessions = Full {
                reason: Reason::Sessions,
                ..full
            };
            assert!(is_hopeless(&sessions, ask(0)), "no count makes a session");
        }
    }
}
