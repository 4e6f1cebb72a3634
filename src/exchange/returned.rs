//! The head of an answer on its way back: what of the provider's goes on, and what flyball says of its own.

use crate::arm::Effort;
use crate::chat::ServiceTier;
use crate::dialect;
use crate::fleet::Model;
use crate::upstream::Coding;
use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;

/// Takes out of an answer's head what belongs to the provider's connection, or could pass for flyball's own.
pub(super) fn clean(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers.keys().cloned().collect();
    for name in names {
        let text = name.as_str();
        let own = text.starts_with("x-flyball-");
        let hop = matches!(
            text,
            "connection"
                | "keep-alive"
                | "proxy-authenticate"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "content-length"
                | "set-cookie"
                | "alt-svc"
        );
        if own || hop {
            headers.remove(&name);
        }
    }
}

/// Who serves a request, and why.
pub(super) struct ServedBy<'a> {
    pub(super) model: &'a Model,
    pub(super) effort: Effort,
    pub(super) task: &'a str,
    pub(super) rule: &'a str,
}

/// Says who serves the request, and why.
pub(super) fn served(headers: &mut HeaderMap, by: &ServedBy<'_>) {
    for (name, text) in [
        ("x-flyball-model", by.model.name.as_str()),
        ("x-flyball-provider", &by.model.provider.name),
        ("x-flyball-effort", by.effort.name()),
        ("x-flyball-tier", by.model.tier.name()),
        ("x-flyball-task", by.task),
        ("x-flyball-rule", by.rule),
    ] {
        set(headers, name, text);
    }
    if by.model.simulated {
        headers.insert("x-flyball-simulated", HeaderValue::from_static("1"));
    }
}

/// Sets one header; what cannot stand in one is left out.
pub(super) fn set(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// Names the client's fields that were let go.
pub(super) fn dropped(headers: &mut HeaderMap, fields: &[String]) {
    let mut text = fields.join(", ");
    text.retain(|c| c.is_ascii_graphic() || c == ' ');
    text.truncate(DROPPED_BYTES_MAX);
    if let (false, Ok(value)) = (text.is_empty(), HeaderValue::from_str(&text)) {
        headers.insert("x-flyball-dropped", value);
    }
}

/// As much of the list of dropped fields as one header holds.
const DROPPED_BYTES_MAX: usize = 1_024;

/// The service tier that an answer's head names.
pub(super) fn service_tier(headers: &HeaderMap) -> Option<ServiceTier> {
    let mut names = dialect::ALL.iter().filter_map(|d| d.envelope().tier);
    let told = names.find_map(|name| headers.get(name))?;
    ServiceTier::read(told.to_str().ok()?)
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    kind.is_some_and(|v| {
        let v = v.trim_start();
        v.starts_with("text/event-stream") || v.starts_with("application/x-ndjson")
    })
}

/// The body is one JSON text.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.trim_start().starts_with("application/json"))
}

/// How the body is compressed, where it is, and can be read all the same.
pub(super) fn coding(headers: &HeaderMap) -> Option<Coding> {
    let mut named = headers.get_all(header::CONTENT_ENCODING).iter();
    let only = named.next().filter(|_| named.next().is_none())?;
    Coding::named(only.to_str().ok()?.trim())
}

/// The client takes an answer that is compressed so: it says so by name, and not that it is the last thing that it wants.
pub(super) fn accepts(headers: &HeaderMap, coding: Coding) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut wishes = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    wishes.any(|wish| {
        let (name, weight) = wish.split_once(';').unwrap_or((wish, ""));
        let refused = weight
            .trim()
            .strip_prefix("q=")
            .is_some_and(|q| q.trim_matches(['0', '.']).is_empty());
        Coding::named(name.trim()) == Some(coding) && !refused
    })
}

/// Says what the body is now.
pub(super) fn set_type(headers: &mut HeaderMap, kind: &'static str) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
}

pub(super) fn wants_trailers(head: &Parts) -> bool {
    head.headers.get_all(header::TE).iter().any(|v| {
        v.to_str().is_ok_and(|v| {
            v.split(',')
                .any(|t| t.trim().eq_ignore_ascii_case("trailers"))
        })
    })
}

/// hyper sends only trailers that were announced.
pub(super) fn announce_trailers(headers: &mut HeaderMap) {
    headers.insert(
        header::TRAILER,
        HeaderValue::from_static("x-flyball-cost-usd, x-flyball-baseline-usd"),
    );
}
