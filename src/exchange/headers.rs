//! Headers: what a request wishes, what goes on to the provider, what comes back to the client.

use super::{Call, Exchange, ask, keep, pass};
use crate::arm::{Effort, Objective};
use crate::caller::Caller;
use crate::chat::{Part, Prompt, ServiceTier};
use crate::dialect::{self, Dialect, Work, envelope, legacy};
use crate::error::{Error, Kind};
use crate::fleet::Arm;
use crate::fleet::Model;
use crate::money::PicoUsd;
use crate::provider::Provider;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Uri};
use std::net::IpAddr;

/// Most tags in one request; each is a string of at most 64 bytes.
const TAGS_MAX: usize = 16;
const TAG_BYTES_MAX: usize = 64;
const SESSION_BYTES_MAX: usize = 256;

const PROVIDER: HeaderName = HeaderName::from_static("x-flyball-provider");

/// What `x-flyball-*` headers and the key ask for. A header may tighten what the key says, never loosen it.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) objective: Option<Objective>,
    pub(super) effort: Option<Effort>,
    pub(super) max_cost: Option<PicoUsd>,
    pub(super) private: bool,
    pub(super) session: Option<String>,
    pub(super) tags: Vec<(String, String)>,
}

pub(super) fn wishes(head: &Parts, caller: &Caller) -> Result<Wishes, Error> {
    match wishes_of_provider(head, caller)? {
        (wishes, None) => Ok(wishes),
        (_, Some(_)) => Err(wrong(
            &PROVIDER,
            "nothing here: it chooses who keeps files and batches",
        )),
    }
}

/// As [`wishes`], where a provider may be asked for too.
pub(super) fn wishes_of_provider(
    head: &Parts,
    caller: &Caller,
) -> Result<(Wishes, Option<String>), Error> {
    let mut provider = None;
    let mut wishes = Wishes {
        private: caller.key.as_ref().is_some_and(|k| k.private),
        ..Wishes::default()
    };
    wishes.tags = caller
        .key
        .as_ref()
        .map(|k| k.tags.clone())
        .unwrap_or_default();
    for (name, value) in &head.headers {
        let Some(wish) = name.as_str().strip_prefix("x-flyball-") else {
            continue;
        };
        let text = value
            .to_str()
            .map_err(|_| wrong(name, "visible ASCII"))?
            .trim();
        match wish {
            "objective" => {
                wishes.objective = Some(
                    Objective::parse(text)
                        .ok_or_else(|| wrong(name, "cheap, balanced, best or fast"))?,
                )
            }
            "effort" => {
                wishes.effort =
                    Some(Effort::parse(text).ok_or_else(|| {
                        wrong(name, "none, minimal, low, medium, high, xhigh or max")
                    })?)
            }
            "max-cost-usd" => {
                let most = PicoUsd::from_usd_text(text)
                    .ok()
                    .filter(|m| *m >= PicoUsd::ZERO);
                wishes.max_cost =
                    Some(most.ok_or_else(|| wrong(name, "an amount of dollars like 0.05"))?);
            }
            "privacy" if text == "local" => wishes.private = true,
            "privacy" => return Err(wrong(name, "\"local\"")),
            "session" if text.len() > SESSION_BYTES_MAX => {
                return Err(wrong(name, "at most 256 bytes"));
            }
            "session" => wishes.session = Some(text.to_owned()),
            "provider" => provider = Some(text.to_owned()),
            "tags" => add_tags(&mut wishes.tags, text)
                .ok_or_else(|| wrong(name, "at most 16 pairs k=v,k=v of at most 64 bytes each"))?,
            "deadline" => {
                return Err(wrong(
                    name,
                    "nothing yet: this flyball answers at once and sends no batches",
                ));
            }
            _ => {
                return Err(wrong(
                    name,
                    "one of objective, effort, max-cost-usd, privacy, session, tags",
                ));
            }
        }
    }
    Ok((wishes, provider))
}

fn wrong(name: &HeaderName, expected: &str) -> Error {
    Error::bad_field(
        name.as_str(),
        format!("The header {name} takes {expected}."),
    )
}

/// A tag that is fixed on the key cannot be replaced.
fn add_tags(tags: &mut Vec<(String, String)>, text: &str) -> Option<()> {
    for pair in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=')?;
        if key.is_empty() || key.len() > TAG_BYTES_MAX || value.len() > TAG_BYTES_MAX {
            return None;
        }
        if !tags.iter().any(|(k, _)| k == key) {
            tags.push((key.to_owned(), value.to_owned()));
        }
    }
    (tags.len() <= TAGS_MAX).then_some(())
}

/// What a path asks for, and in whose words it is answered. Of a path that several dialects share, or that none has, the
/// client's own headers tell.
pub(super) fn asked(head: &Parts) -> (&'static dyn Dialect, Call<'_>) {
    let (path, query) = (head.uri.path(), head.uri.query());
    if let Some((provider, rest)) = pass::split(path) {
        let at = dialect::at(rest, query).map(|(dialect, _)| dialect);
        let dialect = at.unwrap_or_else(|| envelope::client(rest, query, &head.headers));
        return (dialect, Call::Pass(provider, rest));
    }
    if let Some((dialect, place)) = dialect::at(path, query) {
        let call = match place.work {
            Work::Complete => Call::Complete(place),
            Work::CountTokens => Call::Count(place),
        };
        return (dialect, call);
    }
    if let Some(place) = dialect::embed::at(path) {
        return (place.call.dialect(), Call::Embed(place));
    }
    let client = envelope::client(path, query, &head.headers);
    let call = match (legacy::at(path), keep::at(path, client)) {
        (Some(model), _) => Call::Legacy(model),
        (None, Some(place)) => Call::Keep(place),
        (None, None) => Call::Other,
    };
    (client, call)
}

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

pub(super) fn has_images(prompt: &Prompt<'_>) -> bool {
    prompt
        .turns
        .iter()
        .any(|t| t.parts.iter().any(|p| matches!(p, Part::Image)))
}

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
pub(super) struct Words {
    /// The dialect of a request that was translated: of the client's headers none goes on, as they speak of another API.
    pub(super) translated: Option<&'static dyn Dialect>,
    /// There is no body whose type must be told.
    pub(super) bodiless: bool,
}

/// The headers that go to this address of the provider, with its own key.
pub(super) fn outgoing(head: &Parts, provider: &Provider, url: &str, words: Words) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(head.headers.len() + 2);
    for (name, value) in head.headers.iter().filter(|_| words.translated.is_none()) {
        if !NOT_SENT.contains(&name.as_str())
            && !name.as_str().starts_with("x-flyball-")
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
    if let Some((name, text)) = provider.credential(url)
        && let Ok(mut value) = HeaderValue::from_str(&text)
    {
        value.set_sensitive(true);
        out.insert(HeaderName::from_static(name), value);
    }
    out
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

/// Takes out of an answer's head what belongs to the provider's connection, or could pass for flyball's own.
pub(super) fn returned(headers: &mut HeaderMap) {
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

/// Says what was decided.
pub(super) fn decided(
    headers: &mut HeaderMap,
    exchange: &Exchange<'_>,
    arm: &Arm,
    plan: &ask::Plan,
    limit: Option<u64>,
) {
    let mut set = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    set(
        "x-flyball-difficulty",
        &format!("{:.2}", exchange.difficulty.difficulty),
    );
    if let Some(limit) = limit {
        set("x-flyball-limit-tokens", &limit.to_string());
    }
    if !plan.removed().is_empty() {
        set("x-flyball-removed", &plan.removed().join(", "));
    }
    let task = exchange.difficulty.task.name();
    served(
        headers,
        &arm.model,
        plan.effort,
        task,
        &exchange.decision.rule,
    );
    dropped(headers, &plan.lost);
}

/// Says who serves the request, and why.
pub(super) fn served(
    headers: &mut HeaderMap,
    model: &Model,
    effort: Effort,
    task: &str,
    rule: &str,
) {
    for (name, text) in [
        ("x-flyball-model", model.name.as_str()),
        ("x-flyball-provider", &model.provider.name),
        ("x-flyball-effort", effort.name()),
        ("x-flyball-tier", model.tier.name()),
        ("x-flyball-task", task),
        ("x-flyball-rule", rule),
    ] {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
    if model.simulated {
        headers.insert("x-flyball-simulated", HeaderValue::from_static("1"));
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

    #[test]
    fn a_header_may_tighten_what_the_key_says_and_never_loosen_it() {
        let mut tags = vec![("team".to_owned(), "a".to_owned())];
        assert!(add_tags(&mut tags, "team=b, job=x").is_some());
        assert_eq!(
            tags,
            [("team".into(), "a".into()), ("job".into(), "x".into())]
        );
        for bad in ["novalue", "=x"] {
            assert!(add_tags(&mut tags, bad).is_none(), "{bad}");
        }
    }
}
