//! Pictures, sound and documents between the dialects' ways to send them.

use super::body::wrong;
use crate::chat::conversation::{Conversation, Item, Media, MediaKind, Place};
use crate::error::Error;

/// A medium from an address, which may be a `data:` one.
pub(super) fn from_url(field: &str, url: String, kind: MediaKind) -> Result<Media, Error> {
    let media = |mime: &str, at| Media {
        kind,
        mime: mime.to_owned(),
        at,
        name: None,
        detail: None,
    };
    let Some(data) = url.strip_prefix("data:") else {
        return Ok(media("", Place::Url(url)));
    };
    let Some((mime, bytes)) = data.split_once(";base64,") else {
        let expected = "an address, or data:TYPE;base64,BYTES";
        return Err(wrong(field, expected, "a data: address without base64"));
    };
    inline(field, bytes.to_owned()).map(|at| media(mime, at))
}

/// Bytes in base64; what is not base64 is refused here, where the field can still be named.
pub(super) fn inline(field: &str, bytes: String) -> Result<Place, Error> {
    let digits = bytes.trim_end_matches('=');
    let valid = digits
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_'));
    match valid && digits.len() % 4 != 1 {
        true => Ok(Place::Inline(bytes)),
        false => Err(wrong(field, "base64", "bytes that are not")),
    }
}

/// A medium as an address, `data:` where its bytes are here.
pub(super) fn to_url(media: &Media) -> Option<String> {
    match &media.at {
        Place::Url(url) => Some(url.clone()),
        Place::Inline(bytes) => Some(format!("data:{};base64,{bytes}", media.mime)),
        Place::Text(_) => None,
    }
}

/// How closely a picture is to be looked at; `auto` says nothing.
pub(super) fn detail(word: Option<String>) -> Option<String> {
    word.filter(|word| word != "auto")
}

/// Names the wish for detail where a dialect has no word for it.
pub(super) fn lose_detail(said: &Conversation, lost: &mut Vec<String>) {
    let detailed = |item: &Item| matches!(item, Item::Media(media) if media.detail.is_some());
    let inside = |item: &Item| match item {
        Item::Result(result) => result.items.iter().any(detailed),
        item => detailed(item),
    };
    if said.messages.iter().flat_map(|m| &m.items).any(inside) {
        lost.push("detail".into());
    }
}

/// The type that an address ends in, for a dialect that must name one.
pub(super) fn mime_of_url(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        _ => return None,
    })
}
