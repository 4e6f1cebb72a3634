//! Pictures, sound and documents between the dialects' ways to send them.

use super::body::wrong;
use crate::chat::conversation::{Media, MediaKind, Place};
use crate::error::Error;

/// A medium from an address, which may be a `data:` one.
pub(super) fn from_url(field: &str, url: String, kind: MediaKind) -> Result<Media, Error> {
    let media = |mime: &str, at| Media {
        kind,
        mime: mime.to_owned(),
        at,
        name: None,
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
