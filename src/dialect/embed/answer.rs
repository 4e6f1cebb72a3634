//! An answer with embeddings: what it used, and its vectors for a client of another shape.

use super::{Call, EmbeddingAsk, Shape};
use crate::chat::Usage;
use crate::dialect::openai_chat::OpenAiChat;
use crate::dialect::{Answer, Dialect, Finish, UsageRule};
use crate::json;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The vectors of an answer, in the order of the texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    /// One a text.
    pub all: Vec<Vec<f32>>,
    /// The model, as the upstream says it.
    pub model: Option<String>,
    /// What they used.
    pub usage: Option<Usage>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct EmbedAnswer<'a> {
    model: Option<String>,
    #[serde(borrow)]
    data: Option<Vec<Datum<'a>>>,
    #[serde(borrow)]
    embeddings: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Datum<'a> {
    #[serde(default)]
    index: Option<usize>,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f32>,
}

/// One vector: bare, as Gemini's object, or packed.
fn floats(raw: &RawValue) -> Option<Vec<f32>> {
    let raw = raw.get();
    match raw.as_bytes().first()? {
        b'[' => serde_json::from_str(raw).ok(),
        b'{' => serde_json::from_str(raw).ok().map(|v: Values| v.values),
        _ => unpacked(&json::text(raw)?),
    }
}

#[derive(Deserialize)]
struct Total {
    total_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "promptTokenCount")]
    prompt: Option<u64>,
}

/// Only what an answer used: its vectors are passed over.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Spent {
    usage: Option<Total>,
    prompt_eval_count: Option<u64>,
    #[serde(rename = "usageMetadata")]
    usage_metadata: Option<Metadata>,
    data: Option<serde::de::IgnoredAny>,
    embeddings: Option<serde::de::IgnoredAny>,
    embedding: Option<serde::de::IgnoredAny>,
}

/// What an answer used, for the bill. One with vectors and without usage is complete: its tokens are counted.
#[must_use]
pub fn meter(call: Call, body: &[u8], rule: UsageRule) -> Answer {
    let mut answer = match call.shape() {
        Shape::OpenAi => OpenAiChat.answer(body, rule),
        Shape::Ollama | Shape::Gemini => Answer::default(),
    };
    let Ok(spent) = json::from_slice::<Spent>(body) else {
        return answer;
    };
    if answer.usage.is_none() {
        let total = spent.usage.and_then(|u| u.total_tokens);
        let prompt = spent.usage_metadata.and_then(|u| u.prompt);
        let input = total.or(spent.prompt_eval_count).or(prompt);
        answer.usage = input.map(|input| Usage {
            input,
            ..Usage::default()
        });
    }
    if spent.data.is_some() || spent.embeddings.is_some() || spent.embedding.is_some() {
        answer.first.finish = Some(Finish::Stop);
    }
    answer
}

/// The vectors of an answer; `None` where it holds none that can be read.
#[must_use]
pub fn vectors(call: Call, body: &[u8]) -> Option<Vectors> {
    let wire: EmbedAnswer<'_> = json::from_slice(body).ok()?;
    let all: Option<Vec<_>> = match (wire.data, wire.embeddings, wire.embedding) {
        (Some(mut data), ..) => {
            data.sort_by_key(|datum| datum.index);
            data.iter().map(|datum| floats(datum.embedding)).collect()
        }
        (None, Some(all), _) => all.into_iter().map(floats).collect(),
        (None, None, Some(one)) => Some(vec![floats(one)?]),
        (None, None, None) => None,
    };
    Some(Vectors {
        all: all?,
        model: wire.model,
        usage: meter(call, body, UsageRule::Dialect).usage,
    })
}

/// 32-bit floats, the least byte first, as OpenAI packs them.
fn unpacked(text: &str) -> Option<Vec<f32>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (floats, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| {
        floats
            .iter()
            .map(|four| f32::from_le_bytes(*four))
            .collect()
    })
}

impl Vectors {
    /// The answer for a client that made this call.
    #[must_use]
    pub fn body(&self, call: Call, said: &EmbeddingAsk, model: &str) -> String {
        let model = self.model.as_deref().unwrap_or(model);
        let tokens = self.usage.map_or(0, |usage| usage.input_total());
        let first = self.all.first().map_or(&[][..], Vec::as_slice);
        match call {
            Call::OpenAi => self.open_ai(said, model, tokens),
            Call::Ollama => written(&ToOllama {
                model,
                embeddings: &self.all,
                total_duration: 0,
                load_duration: 0,
                prompt_eval_count: tokens,
            }),
            Call::OllamaOld => written(&ToOllamaOne { embedding: first }),
            Call::Gemini => written(&ToOllamaOne {
                embedding: ToGemini { values: first },
            }),
            Call::GeminiBatch => {
                let all = self.all.iter().map(|values| ToGemini { values });
                written(&ToGeminiBatch {
                    embeddings: all.collect(),
                })
            }
        }
    }

    fn open_ai(&self, said: &EmbeddingAsk, model: &str, tokens: u64) -> String {
        let data = self.all.iter().enumerate().map(|(index, floats)| ToOpenAi {
            object: "embedding",
            index,
            embedding: match said.base64 {
                true => Wanted::Base64(packed(floats)),
                false => Wanted::Floats(floats),
            },
        });
        written(&ToOpenAiList {
            object: "list",
            data: data.collect(),
            model,
            usage: ToUsage {
                prompt_tokens: tokens,
                total_tokens: tokens,
            },
        })
    }
}

fn written(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("texts and numbers are JSON")
}

fn packed(floats: &[f32]) -> String {
    let bytes: Vec<u8> = floats.iter().flat_map(|f| f.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

#[derive(Serialize)]
#[serde(untagged)]
enum Wanted<'a> {
    Floats(&'a [f32]),
    Base64(String),
}

#[derive(Serialize)]
struct ToOpenAi<'a> {
    object: &'static str,
    index: usize,
    embedding: Wanted<'a>,
}

#[derive(Serialize)]
struct ToUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

#[derive(Serialize)]
struct ToOpenAiList<'a> {
    object: &'static str,
    data: Vec<ToOpenAi<'a>>,
    model: &'a str,
    usage: ToUsage,
}

#[derive(Serialize)]
struct ToOllama<'a> {
    model: &'a str,
    embeddings: &'a [Vec<f32>],
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: u64,
}

#[derive(Serialize)]
struct ToGemini<'a> {
    values: &'a [f32],
}

#[derive(Serialize)]
struct ToOllamaOne<T> {
    embedding: T,
}

#[derive(Serialize)]
struct ToGeminiBatch<'a> {
    embeddings: Vec<ToGemini<'a>>,
}
