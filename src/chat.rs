//! A conversation in no vendor's words: prompt, turns, parts, and what an answer used.
//!
//! A [`Prompt`] is what every request is graded by: its texts borrow from the client's body. A whole
//! [`conversation::Conversation`] is made only where a request must be said in another wire language.
//! Nothing here knows a wire format or a price.

pub mod answer;
pub mod conversation;

use crate::money::PicoUsd;
use conversation::MediaKind;
use std::borrow::Cow;

/// What the client sent, in the order it was sent.
#[derive(Clone, Debug, Default)]
pub struct Prompt<'a> {
    /// System or developer instructions, wherever the dialect keeps them.
    pub system: Vec<Cow<'a, str>>,
    /// The turns, oldest first, without the system instructions.
    pub turns: Vec<Turn<'a>>,
    /// How many tools the model may call.
    pub tools: usize,
    /// A structured answer (JSON schema or JSON mode) is demanded.
    pub structured: bool,
    /// A JSON schema says which.
    pub schema: bool,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Turn<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part<'a>>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The person (or the app on their behalf).
    User,
    /// The model.
    Assistant,
    /// A tool's result in a message of its own (OpenAI). Anthropic sends results inside user turns.
    Tool,
}

/// One piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Words.
    Text(Cow<'a, str>),
    /// A picture, inline or by address.
    Image,
    /// Sound.
    Audio,
    /// A document, inline or by reference.
    File,
    /// The model asks for a tool.
    ToolCall,
    /// A tool answered; its text.
    ToolResult(Cow<'a, str>),
    /// The model's own reasoning, sent back.
    Reasoning,
}

/// A picture, sound or document of a request, as far as it bears on what the request costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium<'a> {
    /// What it is, as the client says.
    pub kind: MediaKind,
    /// The field that holds it.
    pub at: String,
    /// Its bytes, where they are in the request: the JSON string just as it stands there.
    pub data: Option<&'a str>,
    /// An earlier turn that the provider keeps and the request only names: no medium's maximum bounds it.
    pub stored: bool,
}

/// How urgently a provider works on a request; each tier has its own rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceTier {
    /// Nothing special.
    Standard,
    /// Within a day.
    Batch,
    /// When there is room.
    Flex,
    /// Before others.
    Priority,
    /// One that flyball does not know.
    Other,
}

impl ServiceTier {
    /// Every service tier.
    pub const ALL: [ServiceTier; 5] = [
        ServiceTier::Standard,
        ServiceTier::Batch,
        ServiceTier::Flex,
        ServiceTier::Priority,
        ServiceTier::Other,
    ];

    /// The name in ledger and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ServiceTier::Standard => "standard",
            ServiceTier::Batch => "batch",
            ServiceTier::Flex => "flex",
            ServiceTier::Priority => "priority",
            ServiceTier::Other => "other",
        }
    }

    /// The service tier of this name; a provider's words are for [`ServiceTier::read`].
    #[must_use]
    pub fn parse(name: &str) -> Option<ServiceTier> {
        ServiceTier::ALL.into_iter().find(|t| t.name() == name)
    }

    /// A tier in a provider's words, in a request or an answer. `None` where the words leave it to the provider.
    ///
    /// Sources: OpenAI `service_tier` (fast is priority), Anthropic `usage.service_tier`, Groq's `on_demand`, Gemini's
    /// `serviceTier` and `x-gemini-service-tier`, also as an enum's name (`SERVICE_TIER_FLEX`).
    #[must_use]
    pub fn read(words: &str) -> Option<ServiceTier> {
        let words = words.to_ascii_lowercase();
        Some(
            match words.strip_prefix("service_tier_").unwrap_or(&words) {
                "" | "auto" | "unspecified" => return None,
                "default" | "standard" | "standard_only" | "on_demand" => ServiceTier::Standard,
                "batch" => ServiceTier::Batch,
                "flex" => ServiceTier::Flex,
                "priority" | "fast" => ServiceTier::Priority,
                _ => ServiceTier::Other,
            },
        )
    }
}

/// Where and how fast an answer is made, in a request or an answer: some vendors take a multiple of their rates for it.
/// `None` where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// In the United States alone, or anywhere.
    pub us_only: Option<bool>,
    /// At a higher speed, or at the usual one.
    pub fast: Option<bool>,
    /// A place or a speed that flyball does not know.
    pub unknown: bool,
}

impl Manner {
    /// What is said here, and of what is not said what `other` says.
    #[must_use]
    pub fn or(self, other: Manner) -> Manner {
        Manner {
            us_only: self.us_only.or(other.us_only),
            fast: self.fast.or(other.fast),
            unknown: self.unknown || other.unknown,
        }
    }
}

/// Tokens of one answer, split into the classes that are priced apart. Counts never overlap,
/// except that `reasoning` and `audio_output` are parts of `output`, `audio_input` is one of `input` and `cached_audio` one of `cached`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input that was neither read from nor written to a prompt cache.
    pub input: u64,
    /// Input read from a prompt cache.
    pub cached: u64,
    /// Input written to a prompt cache (Anthropic: for 5 minutes).
    pub cache_write: u64,
    /// Input written to a prompt cache for an hour or longer.
    pub cache_write_long: u64,
    /// Everything billed as output, hidden reasoning included.
    pub output: u64,
    /// The part of `output` that was reasoning, as far as the provider tells.
    pub reasoning: u64,
    /// The part of `input` that was sound, as far as the provider tells.
    pub audio_input: u64,
    /// The part of `cached` that was sound, as far as the provider tells.
    pub cached_audio: u64,
    /// The part of `output` that was sound, as far as the provider tells.
    pub audio_output: u64,
    /// The service tier in which the provider says that it was made.
    pub tier: Option<ServiceTier>,
    /// Where and how fast the provider says that it was made.
    pub manner: Manner,
    /// What the provider itself says it cost.
    pub reported_cost: Option<PicoUsd>,
    /// The provider's numbers contradict each other (a difference had to be clamped).
    pub anomaly: bool,
    /// It was told before the answer was complete, and is not the last word.
    pub partial: bool,
}

impl Usage {
    /// All input tokens, whatever class they were billed in.
    #[must_use]
    pub fn input_total(&self) -> u64 {
        self.input
            .saturating_add(self.cached)
            .saturating_add(self.cache_write)
            .saturating_add(self.cache_write_long)
    }
}
