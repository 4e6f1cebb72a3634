//! Who may ask the admin listener at all: the page or host that a request comes from, and the token.

use super::Admin;
use super::answer::say;
use crate::exchange::names_loopback;
use crate::relay::AnswerBody;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

/// Names by which containers call the machine that they run on. Nobody can own them: `.internal` is set aside.
const FROM_CONTAINERS: [&str; 2] = ["host.docker.internal", "host.containers.internal"];

/// The refusal of a request that may not be answered.
pub(super) fn refusal<B>(admin: &Admin, request: &Request<B>) -> Option<Response<AnswerBody>> {
    let headers = request.headers();
    if headers.contains_key(ORIGIN) || is_foreign(headers) {
        return Some(say(
            StatusCode::FORBIDDEN,
            "requests from web pages are refused",
        ));
    }
    let authorised = authorised(admin, headers);
    if admin.loopback && !authorised && !is_named_loopback(request) {
        return Some(say(
            StatusCode::FORBIDDEN,
            "without the admin token this answers only to a loopback host name: ask for http://127.0.0.1 or http://localhost, or set admin_token in flyball.toml and send it as Authorization: Bearer …",
        ));
    }
    let write = request.method() != Method::GET;
    // The page itself holds no data: it asks for the token.
    let open = request.uri().path() == "/" && !write;
    if (write || !admin.local) && !authorised && !open {
        return Some(say(
            StatusCode::UNAUTHORIZED,
            "this needs the admin token: set admin_token in flyball.toml and send it as Authorization: Bearer …",
        ));
    }
    None
}

/// Another site's page asks, which tells no origin where it loads a picture or a script. Whoever follows a link may come from anywhere.
fn is_foreign(headers: &HeaderMap) -> bool {
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|v| v == value);
    says("sec-fetch-site", "cross-site") && !says("sec-fetch-mode", "navigate")
}

/// It was this machine that was asked for, and no name that somebody lets point here. Who tells no host is no browser.
fn is_named_loopback<B>(request: &Request<B>) -> bool {
    let told = request.headers().get(HOST).map(|host| host.to_str().ok());
    let name = match (request.uri().authority(), told) {
        (Some(authority), _) => Some(authority.clone()),
        (None, Some(host)) => host.and_then(|h| h.parse().ok()),
        (None, None) => return true,
    };
    name.is_some_and(|name| {
        let host = name.host();
        names_loopback(host) || FROM_CONTAINERS.contains(&host)
    })
}

fn authorised(admin: &Admin, headers: &HeaderMap) -> bool {
    let Some(token) = &admin.token else {
        return false;
    };
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
    given.is_some_and(|g| g.ct_eq(token.expose_secret().as_bytes()).into())
}
