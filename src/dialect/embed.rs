//! Embeddings in every dialect's shape: what is asked, how it is said in another shape, what an answer used.
//!
//! Opens no sockets and routes nothing: vectors of two models cannot be compared, so the model that is named decides.

mod answer;
mod said;

pub use answer::{Vectors, meter, vectors};
pub use said::{EmbeddingAsk, write};

use super::body::{self, found, wrong};
use super::gemini::Gemini;
use super::ollama::Ollama;
use super::openai_chat::OpenAiChat;
use super::{Dialect, Place as Spot, unescaped};
use crate::error::Error;
use crate::json::{self, Object};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A shape in which a vendor answers embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// OpenAI's `/v1/embeddings`, and the many vendors that followed it.
    OpenAi,
    /// Ollama's own.
    Ollama,
    /// Gemini's own.
    Gemini,
}

/// Which call of a shape it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `/v1/embeddings`.
    OpenAi,
    /// `/api/embed`.
    Ollama,
    /// `/api/embeddings`: one text, in its own field, one vector.
    OllamaOld,
    /// `:embedContent`: one text.
    Gemini,
    /// `:batchEmbedContents`.
    GeminiBatch,
}

impl Call {
    /// Its shape.
    #[must_use]
    pub fn shape(self) -> Shape {
        match self {
            Call::OpenAi => Shape::OpenAi,
            Call::Ollama | Call::OllamaOld => Shape::Ollama,
            Call::Gemini | Call::GeminiBatch => Shape::Gemini,
        }
    }

    /// The verb in a vendor's path.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Call::OpenAi => "",
            Call::Ollama => "embed",
            Call::OllamaOld => "embeddings",
            Call::Gemini => "embedContent",
            Call::GeminiBatch => "batchEmbedContents",
        }
    }

    /// The dialect in whose words its errors are told.
    #[must_use]
    pub fn dialect(self) -> &'static dyn Dialect {
        match self.shape() {
            Shape::OpenAi => &OpenAiChat,
            Shape::Ollama => &Ollama::Chat,
            Shape::Gemini => &Gemini,
        }
    }

    /// The field that holds the texts.
    fn field(self) -> &'static str {
        match self {
            Call::OpenAi | Call::Ollama => "input",
            Call::OllamaOld => "prompt",
            Call::Gemini => "content",
            Call::GeminiBatch => "requests",
        }
    }
}

/// What a client's path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'p> {
    /// The call.
    pub call: Call,
    /// The model, where the path names it.
    pub model: Option<Cow<'p, str>>,
}

/// The call at this path; `None` where the path is of something else.
#[must_use]
pub fn at(path: &str) -> Option<Place<'_>> {
    let place = |call, model| Some(Place { call, model });
    match path {
        "/v1/embeddings" | "/openai/v1/embeddings" => return place(Call::OpenAi, None),
        "/api/embed" => return place(Call::Ollama, None),
        "/api/embeddings" => return place(Call::OllamaOld, None),
        _ => {}
    }
    if let Some(rest) = path.strip_prefix("/openai/deployments/") {
        let model = rest.strip_suffix("/embeddings")?;
        return (!model.contains('/'))
            .then_some(())
            .and_then(|()| place(Call::OpenAi, Some(unescaped(model))));
    }
    let rest = super::gemini::under_models(path)?;
    let (model, verb) = rest.rsplit_once(':')?;
    let call = [Call::Gemini, Call::GeminiBatch];
    let call = call.into_iter().find(|c| c.verb() == verb)?;
    place(call, Some(unescaped(model)))
}

/// A request, as far as flyball itself needs it. Everything borrows from the body.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The client's own fields.
    pub fields: Object<'a>,
    /// The call.
    pub call: Call,
    /// The model asked for.
    pub model: Cow<'a, str>,
    /// The model that the body names; none where the path alone does.
    pub model_in_body: Option<Cow<'a, str>>,
    /// Fields whose cost has no bound; named in the 400 on a capped key.
    pub unbounded: Vec<String>,
}

/// Reads a request.
///
/// # Errors
/// A 400 that names the field: invalid JSON, no model, nothing to embed, a key that occurs twice.
pub fn read<'a>(body: &'a [u8], place: &Place<'a>) -> Result<Request<'a>, Error> {
    let fields = body::object(body, &[])?;
    let spot = Spot {
        model: place.model.clone(),
        ..Spot::default()
    };
    let model = body::model_at(&fields, &spot)?;
    let field = place.call.field();
    let raw = fields.some(field).unwrap_or_default();
    let fits = match place.call {
        Call::OpenAi | Call::Ollama => raw.starts_with(['"', '[']),
        Call::OllamaOld => raw.starts_with('"'),
        Call::Gemini => raw.starts_with('{'),
        Call::GeminiBatch => raw.starts_with('['),
    };
    if !fits {
        return Err(wrong(field, expected(place.call), found(raw)));
    }
    // Only texts and numbers of tokens are never longer in tokens than in bytes.
    let bounded = match place.call {
        Call::Gemini => said::words(raw).is_some(),
        Call::GeminiBatch => holds_words(raw),
        Call::OpenAi | Call::Ollama | Call::OllamaOld => !holds_objects(raw),
    };
    let unbounded = match bounded {
        true => Vec::new(),
        false => vec![field.to_owned()],
    };
    let model_in_body = match place.call.shape() {
        Shape::Gemini => None,
        Shape::OpenAi | Shape::Ollama => body::model_in(&fields),
    };
    Ok(Request {
        call: place.call,
        model,
        model_in_body,
        unbounded,
        fields,
    })
}

/// The tokens of all that a body has to be embedded, by this count of one text; `None` where it cannot be read.
pub fn texts(call: Call, body: &[u8], count: fn(&str) -> u64) -> Option<u64> {
    let model = Some("?".into());
    let request = read(body, &Place { call, model }).ok()?;
    // A vendor may put a mark before each.
    Some(request.texts().iter().map(|t| count(t) + 1).sum())
}

/// Whether it asks for embeddings of texts alone, all of which can be read.
#[must_use]
pub fn is_of_words(call: Call, body: &[u8]) -> bool {
    let model = Some("?".into());
    read(body, &Place { call, model }).is_ok_and(|request| said::read(&request, usize::MAX).is_ok())
}

fn expected(call: Call) -> &'static str {
    match call {
        Call::OpenAi => "a text, a list of texts, or tokens",
        Call::Ollama => "a text or a list of texts",
        Call::OllamaOld => "a text",
        Call::Gemini => "a content with parts",
        Call::GeminiBatch => "a list of requests",
    }
}

/// A list with an element that is neither a text nor tokens.
fn holds_objects(raw: &str) -> bool {
    let list: Result<Vec<&RawValue>, _> = serde_json::from_str(raw);
    let odd = |one: &&RawValue| match one.get().as_bytes().first() {
        Some(b'"' | b'0'..=b'9') => false,
        Some(b'[') => one.get().contains(['{', '"']),
        _ => true,
    };
    raw.starts_with('[') && list.map_or(true, |list| list.iter().any(odd))
}

/// A list of requests of Gemini's that embed texts and nothing else.
fn holds_words(raw: &str) -> bool {
    let words = |one: &&RawValue| {
        Object::read_str(one.get()).is_ok_and(|one| {
            let mut contents = one.iter().filter(|(key, _)| *key == "content");
            contents.all(|(_, raw)| said::words(raw).is_some())
        })
    };
    let list: Result<Vec<&RawValue>, _> = serde_json::from_str(raw);
    list.is_ok_and(|list| list.iter().all(words))
}

impl Request<'_> {
    /// What is embedded, for counting its tokens where nobody reports them; what is no text stands for itself.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        match said::read(self, usize::MAX) {
            Ok(said) => said.texts,
            Err(_) => self
                .fields
                .some(self.call.field())
                .map(str::to_owned)
                .into_iter()
                .collect(),
        }
    }

    /// The whole of it, for a model whose vendor answers another shape.
    ///
    /// # Errors
    /// A 400 that names the first field which no other shape can express, or that holds more texts than are translated.
    pub fn said(&self) -> Result<EmbeddingAsk, Error> {
        said::read(self, said::TEXTS_MAX)
    }
}

/// A text of JSON, or a 400.
fn text(raw: &str, field: &str) -> Result<String, Error> {
    json::text(raw)
        .map(Cow::into_owned)
        .ok_or_else(|| wrong(field, "a text", found(raw)))
}

#[cfg(test)]
mod tests;
