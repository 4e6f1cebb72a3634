//! The headers of a request on its way to a provider.

use super::admission::Admission;
use crate::dialect::Dialect;
use crate::json::{Edit, Object};
use crate::provider::Provider;
use crate::provider::channel::Channel;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

/// Never forwarded to a provider: the caller's credentials, what belongs to one connection, and what flyball owns.
const NOT_SENT: [&str; 22] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "cookie",
    "openai-organization",
    "openai-project",
    "host",
    "content-length",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "accept-encoding",
    "expect",
    "origin",
    "referer",
];

/// In which words a provider is spoken to.
#[derive(Clone, Copy, Default)]
pub(super) struct Addressing {
    /// The dialect of a request that was translated: of the client's headers none goes on, as they speak of another API.
    pub(super) translated: Option<&'static dyn Dialect>,
    /// There is no body whose type must be told.
    pub(super) bodiless: bool,
}

/// The headers that go to this address of a channel of the provider, with our key there.
pub(super) fn headers(
    admission: &Admission<'_>,
    (provider, channel): (&Provider, &Channel),
    url: &str,
    words: Addressing,
) -> HeaderMap {
    let head = admission.head;
    let user = admission.policy.end_users.header.as_ref();
    let mut out = HeaderMap::with_capacity(head.headers.len() + 2);
    for (name, value) in head.headers.iter().filter(|_| words.translated.is_none()) {
        if !NOT_SENT.contains(&name.as_str())
            && !name.as_str().starts_with("x-flyball-")
            && Some(name) != user
            && !named_by_connection(&head.headers, name)
        {
            out.append(name.clone(), value.clone());
        }
    }
    if let Some((name, ours)) = words.translated.and_then(|d| d.envelope().version) {
        out.insert(name, HeaderValue::from_static(ours));
    }
    out.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    if !words.bodiless {
        out.entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/json"));
    }
    if provider.kind.closes_early {
        out.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    credential(&mut out, (provider, channel), url);
    out
}

/// Puts our key for this address into the headers.
pub(super) fn credential(
    headers: &mut HeaderMap,
    (provider, channel): (&Provider, &Channel),
    url: &str,
) {
    if let Some((name, text)) = provider.credential(channel, url)
        && let Ok(mut value) = HeaderValue::from_str(&text)
    {
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// A body that names the model as it is called at this deployment, where that is another name.
pub(super) fn naming(body: Bytes, model: &str, channel: &Channel) -> Bytes {
    let called = channel.called(model);
    if called == model {
        return body;
    }
    let Ok(fields) = Object::read(&body) else {
        return body;
    };
    let names = fields.some("model").is_some();
    let edited = names.then(|| fields.edited(&[Edit::set_text(&["model"], called)]));
    match edited.flatten() {
        Some(text) => Bytes::from(text),
        None => body,
    }
}

/// `Connection: close, x-thing` makes x-thing a matter of one connection.
fn named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|v| {
        v.to_str().is_ok_and(|v| {
            v.split(',')
                .any(|n| n.trim().eq_ignore_ascii_case(name.as_str()))
        })
    })
}
