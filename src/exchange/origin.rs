//! Who may ask at all: the caller's credential, wherever it stands, and the page or host that a request comes from.

use crate::error::{Error, Kind};
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Uri};
use std::net::IpAddr;

/// The headers with the caller's credential: Gemini's clients may put it into the query.
pub(super) fn with_credential(head: &Parts) -> std::borrow::Cow<'_, HeaderMap> {
    let pairs = head.uri.query().unwrap_or_default().split('&');
    let key = pairs.into_iter().find_map(|pair| pair.strip_prefix("key="));
    let value = key.and_then(|key| HeaderValue::from_str(key).ok());
    match value {
        Some(mut value) if !head.headers.contains_key("x-goog-api-key") => {
            value.set_sensitive(true);
            let mut headers = head.headers.clone();
            headers.insert("x-goog-api-key", value);
            std::borrow::Cow::Owned(headers)
        }
        _ => std::borrow::Cow::Borrowed(&head.headers),
    }
}

/// A page of another origin must not use a reader's flyball; in open mode neither must a name that only resolves to this machine.
pub(super) fn check_origin(head: &Parts, open: bool, loopback: bool) -> Result<(), Error> {
    let foreign = match head.headers.get(header::ORIGIN) {
        Some(origin) => !origin
            .to_str()
            .ok()
            .and_then(|o| o.parse::<Uri>().ok())
            .is_some_and(|uri| uri.host().is_some_and(is_loopback)),
        // A picture or a link of a page tells no origin, but that it is of another site. What a request cost may be linked to.
        None => {
            let site = head.headers.get("sec-fetch-site");
            site.is_some_and(|site| site == "cross-site")
                && !head.uri.path().starts_with("/flyball/")
        }
    };
    if foreign {
        return Err(Error::new(
            Kind::Forbidden,
            "Requests from web pages of another origin are refused.",
        ));
    }
    if open && loopback {
        let host = head.uri.host().map(str::to_owned).or_else(|| {
            let host = head.headers.get(header::HOST)?.to_str().ok()?;
            host.parse::<http::uri::Authority>()
                .ok()
                .map(|a| a.host().to_owned())
        });
        if !host.is_some_and(|h| is_loopback(&h)) {
            return Err(Error::new(
                Kind::Forbidden,
                "Without keys flyball answers only to a loopback host name; make one with `flyball key create`.",
            ));
        }
    }
    Ok(())
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::post("/v1/chat/completions");
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn foreign_origins_and_in_open_mode_foreign_hosts_are_refused() {
        for (pairs, open, ok) in [
            (vec![("host", "127.0.0.1:8484")], true, true),
            (vec![("host", "localhost")], true, true),
            (vec![("host", "[::1]:8484")], true, true),
            (vec![("host", "evil.example")], true, false),
            (vec![], true, false),
            (vec![("host", "proxy.example")], false, true),
            (
                vec![("host", "localhost"), ("origin", "http://localhost:3000")],
                true,
                true,
            ),
            (
                vec![("host", "localhost"), ("origin", "https://evil.example")],
                true,
                false,
            ),
            (vec![("host", "localhost"), ("origin", "null")], true, false),
            (
                vec![
                    ("host", "proxy.example"),
                    ("origin", "https://evil.example"),
                ],
                false,
                false,
            ),
            (
                vec![("host", "localhost"), ("sec-fetch-site", "cross-site")],
                true,
                false,
            ),
            (
                vec![("host", "localhost"), ("sec-fetch-site", "none")],
                true,
                true,
            ),
        ] {
            assert_eq!(
                check_origin(&head(&pairs), open, true).is_ok(),
                ok,
                "{pairs:?}"
            );
        }
    }
}
