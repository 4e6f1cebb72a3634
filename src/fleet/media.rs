//! How many tokens the pictures, sound and documents of a request are at most. Pure.
//!
//! The maxima are data (`src/data/media.json`); the operator's own go before them. A picture's bound is its family's
//! maximum whatever its head says of its size: a provider may read another size than that head tells.

mod mp3;
mod sound;

use crate::chat::Medium;
use crate::chat::conversation::MediaKind;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::OnceLock;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MediaTable {
    #[serde(rename = "_source")]
    _source: String,
    kinds: BTreeMap<String, Kind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    whole_window: bool,
    models: Vec<MediaRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MediaRow {
    prefix: Vec<String>,
    image_tokens_max: Option<u64>,
    audio_tokens_per_second: Option<u64>,
    #[serde(rename = "source")]
    _source: String,
}

fn table() -> &'static MediaTable {
    static TABLE: OnceLock<MediaTable> = OnceLock::new();
    TABLE.get_or_init(|| {
        serde_json::from_str(include_str!("../data/media.json"))
            .expect("a test reads the embedded table")
    })
}

/// The most input tokens of what is no text, for one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maxima {
    /// Of one picture.
    pub image: Option<u64>,
    /// Of one piece of sound.
    pub audio: Option<u64>,
    /// Of one document, film or other file.
    pub document: Option<u64>,
    /// Of a second of sound.
    pub audio_per_second: Option<u64>,
    /// What has no maximum of its own is bounded by the context window.
    pub whole_window: bool,
}

/// What is known of a model of this name at this kind of provider.
#[must_use]
pub fn maxima(kind: &str, model: &str) -> Maxima {
    let Some(kind) = table().kinds.get(kind) else {
        return Maxima::default();
    };
    let model = model.to_ascii_lowercase();
    let fits = |row: &&MediaRow| row.prefix.iter().any(|p| model.starts_with(p));
    let row = kind.models.iter().find(fits);
    Maxima {
        image: row.and_then(|r| r.image_tokens_max),
        audio_per_second: row.and_then(|r| r.audio_tokens_per_second),
        whole_window: kind.whole_window,
        ..Maxima::default()
    }
}

/// What the media of one request are at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaBound {
    /// Tokens of those that have a maximum of their own.
    pub tokens: u64,
    /// The whole request has at most so many input tokens: one of its media is bounded by nothing else.
    pub window: Option<u64>,
    /// Bytes of the body that are media and no words.
    pub bytes: u64,
}

impl Maxima {
    /// These, and where they are silent the others.
    #[must_use]
    pub fn or(self, other: Maxima) -> Maxima {
        Maxima {
            image: self.image.or(other.image),
            audio: self.audio.or(other.audio),
            document: self.document.or(other.document),
            audio_per_second: self.audio_per_second.or(other.audio_per_second),
            whole_window: self.whole_window || other.whole_window,
        }
    }

    /// The bound of these media, for a model whose context window is known or not.
    ///
    /// # Errors
    /// The first of them that has no bound.
    pub fn bound<'m, 'a>(
        &self,
        media: &'m [Medium<'a>],
        window: Option<u64>,
    ) -> Result<MediaBound, &'m Medium<'a>> {
        let window = window.filter(|_| self.whole_window);
        let mut bound = MediaBound::default();
        for medium in media {
            let bytes = medium.data.map_or(0, str::len);
            bound.bytes = bound
                .bytes
                .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            match (self.one(medium), window) {
                (Some(tokens), _) => bound.tokens = bound.tokens.saturating_add(tokens),
                (None, Some(window)) => bound.window = Some(window),
                (None, None) => return Err(medium),
            }
        }
        Ok(bound)
    }

    fn one(&self, medium: &Medium<'_>) -> Option<u64> {
        match taken_for(medium) {
            _ if medium.stored => None,
            MediaKind::Image => self.image,
            MediaKind::Audio => self.audio.or_else(|| {
                let seconds = sound::seconds_max(payload(medium.data?))?;
                Some(seconds.saturating_mul(self.audio_per_second?))
            }),
            MediaKind::File => self.document,
        }
    }
}

/// What it has to be taken for: bytes that are no picture may cost more than one.
fn taken_for(medium: &Medium<'_>) -> MediaKind {
    match medium.kind {
        MediaKind::Image if medium.data.is_some_and(|d| !is_picture(d)) => MediaKind::File,
        kind => kind,
    }
}

/// The name of the setting that bounds this medium, and what it is called.
#[must_use]
pub fn setting(medium: &Medium<'_>) -> (&'static str, &'static str) {
    match taken_for(medium) {
        MediaKind::Image => ("image_tokens_max", "picture"),
        MediaKind::Audio => ("audio_tokens_max", "piece of sound"),
        MediaKind::File => ("document_tokens_max", "document"),
    }
}

/// The base64 in a JSON string, which may be a `data:` address.
fn payload(json: &str) -> &str {
    let inner = json.trim_matches('"');
    if inner.starts_with("data:") {
        return inner.split_once(',').map_or("", |(_, bytes)| bytes);
    }
    inner
}

/// The first bytes, at most 48. Slashes may be escaped.
fn head(base64: &str) -> Vec<u8> {
    let mut digits: Vec<u8> = base64.bytes().filter(|b| *b != b'\\').take(64).collect();
    digits.truncate(digits.len() / 4 * 4);
    STANDARD.decode(&digits).unwrap_or_default()
}

/// Whether these bytes are a picture by their beginning: PNG, JPEG, GIF, WebP, HEIF or AVIF.
fn is_picture(json: &str) -> bool {
    let head = head(payload(json));
    let still = head.starts_with(b"\x89PNG\r\n\x1a\n")
        || head.starts_with(b"\xff\xd8\xff")
        || head.starts_with(b"GIF8");
    let inside = |at: usize, word: &[u8]| head.get(at..at + word.len()) == Some(word);
    let brands: [&[u8]; 5] = [b"heic", b"heix", b"mif1", b"heim", b"avif"];
    still
        || (head.starts_with(b"RIFF") && inside(8, b"WEBP"))
        || (inside(4, b"ftyp") && brands.iter().any(|brand| inside(8, brand)))
}

#[cfg(test)]
mod tests;
