//! Who may ask at all: the caller's credential, wherever it stands, and the page or host that a request comes from.

use crate::error::{Error, Kind};
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Uri, Version};
use std::net::{IpAddr, Ipv6Addr};

/// From where in a page a request comes.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

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

/// What a head says of its own address and of the length of its body, where that may be read in two ways: by flyball in one, by a proxy
/// before it in another, so that the two would see two requests where there is one.
///
/// RFC 9112, 3.2: no `Host` in HTTP/1.1, more than one, or a wrong one is a 400. RFC 9112, 6.1: `chunked` is the only coding that is
/// taken; one that is not understood should be a 501, and `chunked` twice or beside a length is wrong. All of it is a 400 here: no
/// client of these APIs sends any of it, so that it is a fault and not a wish.
///
/// # Errors
/// The sentence for the client.
pub fn check_head(version: Version, headers: &HeaderMap) -> Result<(), Error> {
    let wrong = |public: &str| Err(Error::new(Kind::BadRequest, public));
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version < Version::HTTP_11 => {}
        (Some(host), None) if is_host(host.as_bytes()) => {}
        (None, _) => return wrong("The request has no Host header."),
        (Some(_), Some(_)) => return wrong("The request has more than one Host header."),
        (Some(_), None) => return wrong("The Host header is not the name of a host."),
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    let chunked = coding.as_bytes().trim_ascii();
    if codings.next().is_some() || !chunked.eq_ignore_ascii_case(b"chunked") {
        return wrong("Of transfer codings only \"chunked\" is taken, alone and once.");
    }
    match headers.contains_key(header::CONTENT_LENGTH) {
        true => wrong("Content-Length and Transfer-Encoding exclude each other."),
        false => Ok(()),
    }
}

/// A name or an address, and perhaps a port (RFC 3986, 3.2.2). Of the marks that the grammar allows in names those are taken that names
/// have; a comma would be two hosts in one.
fn is_host(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let (name, port) = match (text.strip_prefix('['), text.split_once(':')) {
        (Some(rest), _) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => {
                return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            }
            _ => return false,
        },
        (None, Some((name, port))) => (name, port),
        (None, None) => (text, ""),
    };
    let mark = |b: u8| b.is_ascii_alphanumeric() || b"-._~%".contains(&b);
    !name.is_empty() && name.bytes().all(mark) && is_port(port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && (text.is_empty() || text.parse::<u16>().is_ok())
}

/// A page of another origin must not use a reader's flyball; in open mode neither must a name that only resolves to this machine.
pub(super) fn check_origin(head: &Parts, open: bool, loopback: bool) -> Result<(), Error> {
    let foreign = match head.headers.get(header::ORIGIN) {
        Some(origin) => !origin
            .to_str()
            .ok()
            .and_then(|o| o.parse::<Uri>().ok())
            .is_some_and(|uri| uri.host().is_some_and(names_loopback)),
        // A picture or a link of a page tells no origin, but that it is of another site. What a request cost may be linked to.
        None => {
            let site = head.headers.get(SITE);
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
        let plain = head.headers.get(header::HOST);
        let plain = plain.filter(|_| head.uri.host().is_none());
        if plain.is_some_and(is_plainly_loopback) {
            return Ok(());
        }
        let host = head.uri.host().map(str::to_owned).or_else(|| {
            let host = head.headers.get(header::HOST)?.to_str().ok()?;
            host.parse::<http::uri::Authority>()
                .ok()
                .map(|a| a.host().to_owned())
        });
        if !host.is_some_and(|h| names_loopback(&h)) {
            return Err(Error::new(
                Kind::Forbidden,
                "Without keys flyball answers only to a loopback host name; make one with `flyball key create`.",
            ));
        }
    }
    Ok(())
}

/// It is `localhost` or `127.0.0.1`, with a port or without one, as nearly every client says it here.
fn is_plainly_loopback(host: &HeaderValue) -> bool {
    let text = host.to_str().unwrap_or_default();
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    ["localhost", "127.0.0.1"].contains(&name) && is_port(port)
}

/// This name of a host, as it stands in an address, is this machine's own wherever it is asked.
#[must_use]
pub fn names_loopback(host: &str) -> bool {
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
    fn a_host_that_is_plainly_this_machines_is_so_when_it_is_read_in_full() {
        for text in [
            "localhost",
            "localhost:",
            "localhost:8484",
            "localhost:99999",
            "localhost:8484:1",
            "localhost.example",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.0.0.10",
            "a@localhost",
            ":8484",
            "",
        ] {
            let plain = is_plainly_loopback(&HeaderValue::from_static(text));
            let whole = text.parse::<http::uri::Authority>();
            let own = whole.is_ok_and(|whole| names_loopback(whole.host()));
            assert!(own || !plain, "{text}");
        }
        let usual = HeaderValue::from_static("127.0.0.1:8484");
        assert!(is_plainly_loopback(&usual));
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for (text, right) in [
            ("localhost", true),
            ("localhost:8484", true),
            ("localhost:", true),
            ("127.0.0.1", true),
            ("my_service.internal-1:80", true),
            ("[::1]", true),
            ("[::1]:8484", true),
            ("xn--bcher-kva.example", true),
            ("", false),
            (":80", false),
            ("a b", false),
            ("a/b", false),
            ("a@b", false),
            ("a,b", false),
            ("a?b", false),
            ("a#b", false),
            ("[::1", false),
            ("[::1]8484", false),
            ("[nothing]", false),
            ("::1", false),
            ("a:80:80", false),
            ("a:x", false),
            ("a:99999", false),
            ("b\u{fc}cher", false),
        ] {
            assert_eq!(is_host(text.as_bytes()), right, "{text:?}");
        }
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
