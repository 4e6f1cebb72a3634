//! Vendors: which dialects each one speaks, how it wants its key, what it does with a stream that
//! nobody reads. Data only; opens no sockets.
//!
//! A new vendor is one file beside these and one line in [`ALL`]; a new OpenAI-compatible one is
//! configuration alone (`kind = "openai-compatible"`).

pub mod anthropic;
pub mod azure;
pub mod channel;
pub mod cohere;
pub mod compatible;
pub mod deepseek;
pub mod gemini;
pub mod groq;
pub mod llamacpp;
pub mod lmstudio;
pub mod mistral;
pub mod ollama;
pub mod openai;
pub mod openrouter;
pub mod simulated;
pub mod vercel;
pub mod vllm;
pub mod xai;

use crate::arm::Tier;
use crate::chat::ServiceTier;
use crate::dialect::UsageRule;
use crate::dialect::embed::Shape;
use crate::effort::Family;
use channel::{Balance, Channel};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use std::fmt;

/// Every kind of provider, in the order in which they are looked for.
pub static ALL: &[&Kind] = &[
    &openai::KIND,
    &azure::KIND,
    &anthropic::KIND,
    &gemini::KIND,
    &deepseek::KIND,
    &mistral::KIND,
    &groq::KIND,
    &cohere::KIND,
    &xai::KIND,
    &openrouter::KIND,
    &vercel::KIND,
    &ollama::KIND,
    &lmstudio::KIND,
    &llamacpp::KIND,
    &vllm::KIND,
    &compatible::KIND,
    &simulated::KIND,
];

/// What is known about one vendor's servers.
#[derive(Debug)]
pub struct Kind {
    /// The name used in configuration.
    pub name: &'static str,
    /// The name in OpenTelemetry's GenAI conventions (`gen_ai.provider.name`), or the same again where they have none
    /// (<https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/>).
    pub gen_ai: &'static str,
    /// The environment variable that holds a key, as the vendor's own SDK reads it.
    pub key_env: Option<&'static str>,
    /// Where its servers are, without a trailing slash; `None` when configuration must say.
    pub base_url: Option<&'static str>,
    /// How it wants the key.
    pub auth: Auth,
    /// Dialects it speaks (names of `dialect`) and the path of each under the base URL, the one first in which it
    /// tells most. A path may hold `{model}` and `{call}` (Gemini's verb).
    pub speaks: &'static [(&'static str, &'static str)],
    /// What else it serves besides completions, each with its path under the base URL.
    pub sides: &'static [(Side, &'static str)],
    /// How effort is written for it.
    pub family: Family,
    /// Where its usage differs from the dialect.
    pub usage: UsageRule,
    /// What it does when the connection is closed in mid-answer.
    pub on_cancel: OnCancel,
    /// Where a request names no service tier, the customer's own settings at the vendor may choose a dearer one.
    pub tier_by_project: bool,
    /// Its models run on the operator's machines and cost nothing per token.
    pub free: bool,
    /// Its server closes connections that look reusable, so each request gets one of its own.
    pub closes_early: bool,
    /// Models to start with when there is no configuration, cheapest first.
    pub starters: &'static [(&'static str, Tier)],
    /// How a local server of this kind is recognised.
    pub signature: Option<Signature>,
}

/// How a vendor wants its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer …`; left out where there is no key.
    Bearer,
    /// `x-api-key: …` (Anthropic).
    XApiKey,
    /// `api-key: …` (Azure).
    ApiKey,
    /// `x-goog-api-key: …` at Gemini's own endpoints, Bearer at its OpenAI-compatible one.
    Google,
}

/// What a vendor may serve besides completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Embeddings, in this shape. A path may hold `{model}` and `{call}` (Gemini's verb).
    Embed(Shape),
    /// Counting a prompt's tokens, in this dialect. A path may hold `{model}`.
    Count(&'static str),
    /// Files, as clients of this dialect keep them.
    Files(&'static str),
    /// Batches, as clients of this dialect keep them.
    Batches(&'static str),
    /// Batches in an API of its own, which clients do not speak: flyball alone calls it.
    OwnBatches(&'static str),
    /// Answers that it keeps, as clients of this dialect fetch them.
    Answers(&'static str),
}

/// What happens to generation, and to the bill, when the connection is closed in mid-answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCancel {
    /// It stops: charge what arrived plus a margin for what was in flight.
    Stops,
    /// Not known: charge the bound.
    Unknown,
}

/// Whether HTTP/2 is spoken with a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Http2 {
    /// Where both agree on it over TLS (ALPN); without TLS never.
    Auto,
    /// Never.
    Never,
    /// Always, without TLS too ("prior knowledge"); a server that does not speak it fails.
    Always,
}

impl Http2 {
    /// All of them, by the names that configuration uses.
    pub const ALL: [(&'static str, Http2); 3] = [
        ("auto", Http2::Auto),
        ("never", Http2::Never),
        ("always", Http2::Always),
    ];
}

/// How a local server is recognised: an HTTP GET that sends no prompt.
#[derive(Debug)]
pub struct Signature {
    /// The vendor's default address.
    pub base_url: &'static str,
    /// The path that only this vendor answers in this way.
    pub path: &'static str,
    /// A piece of the JSON answer that proves it.
    pub proof: &'static str,
    /// The path that lists the models; read in OpenAI's shape (`data[].id`) or Ollama's (`models[].name`).
    pub models: &'static str,
}

/// Where nothing else is said, requests go elsewhere below this share of a rate limit, in percent.
pub const HEADROOM_MIN_PERCENT: u32 = 5;

/// One configured vendor.
#[derive(Clone)]
pub struct Provider {
    /// The operator's name for it; a metric label.
    pub name: String,
    /// What is known about it.
    pub kind: &'static Kind,
    /// The first way to it.
    pub home: Channel,
    /// The other ways to it.
    pub more: Vec<Channel>,
    /// How requests are spread over them.
    pub balance: Balance,
    /// Below this share of a rate limit, in percent, requests go elsewhere before it is used up; 0 never.
    pub headroom_min_percent: u32,
    /// It runs on the operator's own machines: all its addresses are loopback, or configuration says so.
    pub local: bool,
    /// The service tiers in which the vendor may serve a request that names none, as the operator says.
    pub service_tiers: Option<Vec<ServiceTier>>,
    /// Whether changes of effort are said within a conversation, where the model takes them; `None` where configuration says nothing.
    pub effort_in_band: Option<bool>,
    /// Whether HTTP/2 is spoken with it; `None` where configuration says nothing.
    pub http2: Option<Http2>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Provider({} {} at {})",
            self.name, self.kind.name, self.home.base_url
        )
    }
}

impl Provider {
    /// A vendor that is reached in this one way, of which nothing else is said.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: &'static Kind, home: Channel) -> Provider {
        Provider {
            name: name.into(),
            kind,
            home,
            more: Vec::new(),
            balance: Balance::default(),
            headroom_min_percent: HEADROOM_MIN_PERCENT,
            local: false,
            service_tiers: None,
            effort_in_band: None,
            http2: None,
        }
    }

    /// Whether HTTP/2 is spoken with it. Where many requests are on their way at once it saves a handshake for each, and a request that is
    /// cancelled leaves its connection whole. A server that wants a connection for each request has no use for it.
    #[must_use]
    pub fn http2(&self) -> Http2 {
        self.http2.unwrap_or(match self.kind.closes_early {
            true => Http2::Never,
            false => Http2::Auto,
        })
    }

    /// Whether changes of effort are said within a conversation, where the model takes them, so that its prompt cache is kept. Newer
    /// Claude models refuse a conversation whose earlier changes are missing, and they are remembered by this process alone: where
    /// nobody says so, it is not done there.
    #[must_use]
    pub fn says_effort_in_band(&self) -> bool {
        self.effort_in_band
            .unwrap_or(self.kind.family != Family::Anthropic)
    }

    /// Whether the vendor speaks this dialect itself.
    #[must_use]
    pub fn speaks(&self, dialect: &str) -> bool {
        self.kind.speaks.iter().any(|(name, _)| *name == dialect)
    }

    /// Every way to it, the first one first.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        std::iter::once(&self.home).chain(&self.more)
    }

    /// The channel of this name.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        self.channels().find(|channel| channel.name == name)
    }

    /// Whether it is reached at the same addresses with the same keys.
    #[must_use]
    pub fn is_reached_like(&self, other: &Provider) -> bool {
        let same = |(a, b): (&Channel, &Channel)| a.name == b.name && a.is_reached_like(b);
        self.more.len() == other.more.len() && self.channels().zip(other.channels()).all(same)
    }

    /// Whether there are several ways to it.
    #[must_use]
    pub fn has_several_channels(&self) -> bool {
        !self.more.is_empty()
    }

    /// The header in which it wants our key at this address of a channel's, and what it says.
    #[must_use]
    pub fn credential(&self, channel: &Channel, url: &str) -> Option<(&'static str, String)> {
        let key = channel.api_key.as_ref()?.expose_secret();
        let path = url.strip_prefix(&channel.base_url).unwrap_or(url);
        Some(match self.kind.auth {
            Auth::XApiKey => ("x-api-key", key.to_owned()),
            Auth::ApiKey => ("api-key", key.to_owned()),
            Auth::Google if !path.starts_with(gemini::OPENAI) => ("x-goog-api-key", key.to_owned()),
            Auth::Bearer | Auth::Google => ("authorization", format!("Bearer {key}")),
        })
    }

    /// The service tiers in which a request may be served that names this one or none: what is named and the standard one always
    /// (a vendor that has no room falls back to it); without a name those of the customer's settings at the vendor, which are not
    /// known unless the operator tells them.
    #[must_use]
    pub fn may_serve(&self, named: Option<ServiceTier>) -> Vec<ServiceTier> {
        let mut tiers = vec![ServiceTier::Standard];
        match (named, &self.service_tiers) {
            (Some(named), _) => tiers.push(named),
            (None, Some(own)) => tiers.extend(own),
            (None, None) if self.kind.tier_by_project => tiers.push(ServiceTier::Priority),
            (None, None) => {}
        }
        tiers
    }

    /// Whether its flex tier may be asked for in this dialect. Of Gemini's OpenAI-compatible endpoint nobody says so.
    #[must_use]
    pub fn takes_flex_in(&self, dialect: &str) -> bool {
        self.kind.family != Family::Gemini || dialect == "gemini"
    }

    /// The address of this dialect's endpoint, if the vendor speaks it.
    #[must_use]
    pub fn endpoint(
        &self,
        channel: &Channel,
        dialect: &str,
        model: &str,
        stream: bool,
    ) -> Option<String> {
        let (_, path) = self.kind.speaks.iter().find(|(name, _)| *name == dialect)?;
        if !path.contains('{') {
            return Some([channel.base_url.as_str(), *path].concat());
        }
        let call = match stream {
            true => "streamGenerateContent?alt=sse",
            false => "generateContent",
        };
        // A model's name may come from a client: it must stay one segment of the path.
        let path = path
            .replace("{model}", &segment(channel.called(model)))
            .replace("{call}", call);
        Some(format!("{}{path}", channel.base_url))
    }

    /// The address at which it serves this besides completions, if it does.
    #[must_use]
    pub fn side(&self, channel: &Channel, side: Side, model: &str, call: &str) -> Option<String> {
        let (_, path) = self.kind.sides.iter().find(|(s, _)| *s == side)?;
        let path = path
            .replace("{model}", &segment(channel.called(model)))
            .replace("{call}", call);
        Some(format!("{}{path}", channel.base_url))
    }

    /// The shapes in which it answers embeddings, the one first that others are translated to.
    pub fn embeds(&self) -> impl Iterator<Item = Shape> {
        self.kind.sides.iter().filter_map(|(side, _)| match side {
            Side::Embed(shape) => Some(*shape),
            _ => None,
        })
    }
}

/// What a segment of a path may not hold as it is.
const OUTSIDE_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b':')
    .remove(b'@');

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    // A name of dots alone would be another folder.
    match name.trim_matches('.').is_empty() {
        true => name.replace('.', "%2E"),
        false => utf8_percent_encode(name, OUTSIDE_SEGMENT).to_string(),
    }
}

/// The kind of this name.
#[must_use]
pub fn kind(name: &str) -> Option<&'static Kind> {
    ALL.iter().copied().find(|k| k.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_speaks_a_known_dialect_and_has_a_name_of_its_own() {
        for kind in ALL {
            assert_eq!(
                ALL.iter().filter(|k| k.name == kind.name).count(),
                1,
                "{}",
                kind.name
            );
            for (dialect, path) in kind.speaks {
                assert!(
                    crate::dialect::named(dialect).is_some(),
                    "{}: {dialect}",
                    kind.name
                );
                assert!(path.starts_with('/'));
            }
            assert!(kind.base_url.is_none_or(|url| !url.ends_with('/')));
        }
    }
}
