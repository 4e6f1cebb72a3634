//! The head of an answer on its way back: what of the provider's goes on, and what flyball says of its own.

use crate::arm::Effort;
use crate::chat::ServiceTier;
use crate::dialect::envelope::{Allowance, AllowanceHeaders};
use crate::dialect::{self, Dialect};
use crate::fleet::Model;
use crate::upstream::Coding;
use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use jiff::Timestamp;
use std::time::Duration;

/// Takes out of an answer's head what belongs to the provider's connection, or could pass for flyball's own.
pub(super) fn clean(headers: &mut HeaderMap) {
    let leaves = |name: &HeaderName| {
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
        own || hop
    };
    let leaving: Vec<HeaderName> = headers.keys().filter(|n| leaves(n)).cloned().collect();
    for name in leaving {
        headers.remove(&name);
    }
}

/// Who serves a request, and why.
pub(super) struct ServedBy<'a> {
    pub(super) model: &'a Model,
    pub(super) effort: Effort,
    pub(super) task: &'a str,
    pub(super) rule: &'a str,
}

/// The names of what nearly every answer says, so that they are not read anew for each.
pub(super) mod name {
    use http::header::HeaderName;

    pub(in crate::exchange) const MODEL: HeaderName = HeaderName::from_static("x-flyball-model");
    pub(in crate::exchange) const PROVIDER: HeaderName =
        HeaderName::from_static("x-flyball-provider");
    pub(in crate::exchange) const EFFORT: HeaderName = HeaderName::from_static("x-flyball-effort");
    pub(in crate::exchange) const TIER: HeaderName = HeaderName::from_static("x-flyball-tier");
    pub(in crate::exchange) const TASK: HeaderName = HeaderName::from_static("x-flyball-task");
    pub(in crate::exchange) const RULE: HeaderName = HeaderName::from_static("x-flyball-rule");
    pub(in crate::exchange) const REQUEST: HeaderName =
        HeaderName::from_static("x-flyball-request-id");
    pub(in crate::exchange) const DIFFICULTY: HeaderName =
        HeaderName::from_static("x-flyball-difficulty");
    pub(in crate::exchange) const CHANCE: HeaderName = HeaderName::from_static("x-flyball-chance");
    pub(in crate::exchange) const EXPECTED: HeaderName =
        HeaderName::from_static("x-flyball-expected-usd");
}

/// How many headers flyball adds to an answer, about.
const OWN: usize = 16;

/// Says who serves the request, and why.
pub(super) fn served(headers: &mut HeaderMap, by: &ServedBy<'_>) {
    for (name, text) in [
        (name::MODEL, by.model.name.as_str()),
        (name::PROVIDER, &by.model.provider.name),
        (name::EFFORT, by.effort.name()),
        (name::TIER, by.model.tier.name()),
        (name::TASK, by.task),
        (name::RULE, by.rule),
    ] {
        say(headers, name, text);
    }
    if by.model.simulated {
        headers.insert("x-flyball-simulated", HeaderValue::from_static("1"));
    }
}

/// Makes room for all that will be said.
pub(super) fn make_room(headers: &mut HeaderMap) {
    headers.reserve(OWN);
}

/// Sets one header of those that nearly every answer has; what cannot stand in one is left out.
pub(super) fn say(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// Sets one header; what cannot stand in one is left out.
pub(super) fn set(headers: &mut HeaderMap, name: &'static str, text: &str) {
    say(headers, HeaderName::from_static(name), text);
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

/// What an answer's head says under this name, which most heads do not have: its few names are compared, where a look-up would read this
/// one anew as the name of a header.
fn told<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h HeaderValue> {
    let mut all = headers.iter();
    all.find(|(own, _)| own.as_str() == name)
        .map(|(_, value)| value)
}

/// The service tier that an answer's head names.
pub(super) fn service_tier(headers: &HeaderMap) -> Option<ServiceTier> {
    let mut names = dialect::ALL.iter().filter_map(|d| d.envelope().tier);
    let told = names.find_map(|name| told(headers, name))?;
    ServiceTier::read(told.to_str().ok()?)
}

/// How much an answer's provider allows still, from 0 to 1, as far as its head tells.
pub(super) fn headroom(
    headers: &HeaderMap,
    dialect: &dyn Dialect,
) -> impl Iterator<Item = (Allowance, f64)> {
    let number = |name: &str| {
        told(headers, name)?
            .to_str()
            .ok()?
            .trim()
            .parse::<u32>()
            .ok()
    };
    let ratio = move |told: &AllowanceHeaders| {
        let limit = number(told.limit).filter(|limit| *limit > 0)?;
        let left = number(told.remaining)?.min(limit);
        Some((told.of, f64::from(left) / f64::from(limit)))
    };
    dialect.envelope().allowances.iter().filter_map(ratio)
}

/// The rate limit of which the least is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tightest {
    /// The share that is left, in thousandths.
    pub(super) permille: u32,
    /// All of it is there again after this, where that is told.
    pub(super) reset: Option<Duration>,
}

/// The rate limit of which an answer's head says that the least is left; `None` where it says nothing.
pub(super) fn tightest(headers: &HeaderMap, dialect: &dyn Dialect) -> Option<Tightest> {
    let text = |name: &str| told(headers, name)?.to_str().ok();
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
    let left = |told: &AllowanceHeaders| {
        let limit = number(told.limit).filter(|limit| *limit > 0)?;
        let left = number(told.remaining)?.min(limit);
        let permille = left.saturating_mul(1_000) / limit;
        Some(Tightest {
            permille: u32::try_from(permille).unwrap_or(1_000),
            reset: text(told.reset).and_then(|text| until(text, Timestamp::now())),
        })
    };
    let allowances = dialect.envelope().allowances.iter();
    allowances.filter_map(left).min_by_key(|left| left.permille)
}

/// After which time a rate limit that is used up is whole again, where an answer's head tells that.
pub(super) fn whole_again(headers: &HeaderMap, dialect: &dyn Dialect) -> Option<Duration> {
    tightest(headers, dialect)
        .filter(|left| left.permille == 0)?
        .reset
}

/// How long until a rate limit is whole again: OpenAI and those who speak as it does write `6m0s` or `17ms`, some of them seconds alone;
/// Anthropic a time (RFC 3339).
fn until(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(Duration::try_from(at.duration_since(now)).unwrap_or_default());
    }
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number = rest[..digits].parse::<f64>().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        sum += number
            * match &rest[..letters] {
                "d" => 86_400.0,
                "h" => 3_600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                "us" | "µs" => 0.000_001,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    Duration::try_from_secs_f64(sum)
        .ok()
        .filter(|_| !text.is_empty())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_until_a_rate_limit_is_whole_again_is_read_as_each_vendor_writes_it() {
        let now: Timestamp = "2026-03-01T10:00:00Z".parse().expect("a time");
        for (text, millis) in [
            ("1s", Some(1_000)),
            ("6m0s", Some(360_000)),
            ("17ms", Some(17)),
            ("1h2m3.5s", Some(3_723_500)),
            ("7", Some(7_000)),
            ("0.25", Some(250)),
            ("2026-03-01T10:00:42Z", Some(42_000)),
            ("2026-03-01T09:00:00Z", Some(0)),
            ("", None),
            ("soon", None),
            ("5 parsecs", None),
            ("-3", None),
            ("1e400", None),
            ("9999999999999999999999h", None),
        ] {
            let told = until(text, now).map(|time| time.as_millis());
            assert_eq!(told, millis, "{text}");
        }
    }

    #[test]
    fn the_rate_limit_of_which_the_least_is_left_decides() {
        let dialect = dialect::named("openai_chat").expect("a dialect");
        let of = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            tightest(&headers, dialect)
        };
        let both = [
            ("x-ratelimit-limit-requests", "100"),
            ("x-ratelimit-remaining-requests", "50"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-limit-tokens", "40000"),
            ("x-ratelimit-remaining-tokens", "400"),
            ("x-ratelimit-reset-tokens", "20s"),
        ];
        let tokens = Tightest {
            permille: 10,
            reset: Some(Duration::from_secs(20)),
        };
        assert_eq!(of(&both), Some(tokens));
        assert_eq!(of(&both[..2]).map(|left| left.permille), Some(500));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("x-ratelimit-remaining-requests", "5")]), None);
    }
}
