//! What is around a dialect's bodies: the paths and headers that are its own. Data only.

use super::{ALL, Dialect};
use crate::pattern::like;
use bytes::Bytes;
use http::HeaderMap;

/// What a provider allows so much of in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// Requests.
    Requests,
    /// Tokens.
    Tokens,
}

impl Allowance {
    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Allowance::Requests => "requests",
            Allowance::Tokens => "tokens",
        }
    }
}

/// The headers in which an answer tells how much its provider allows, and how much of that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowanceHeaders {
    /// Of what.
    pub of: Allowance,
    /// The header with the limit.
    pub limit: &'static str,
    /// The header with what is left.
    pub remaining: &'static str,
    /// The header with the time at which, or after which, all of it is there again.
    pub reset: &'static str,
}

/// Of OpenAI (<https://developers.openai.com/api/docs/guides/rate-limits>), and of the vendors that speak as it does.
pub(super) const OPENAI_ALLOWANCES: &[AllowanceHeaders] = &[
    AllowanceHeaders {
        of: Allowance::Requests,
        limit: "x-ratelimit-limit-requests",
        remaining: "x-ratelimit-remaining-requests",
        reset: "x-ratelimit-reset-requests",
    },
    AllowanceHeaders {
        of: Allowance::Tokens,
        limit: "x-ratelimit-limit-tokens",
        remaining: "x-ratelimit-remaining-tokens",
        reset: "x-ratelimit-reset-tokens",
    },
];

/// What paths and headers tell of a dialect, and what they must tell.
#[derive(Debug)]
pub struct Envelope {
    /// Paths that are its own, whatever is asked there. A `*` at the end stands for anything.
    pub paths: &'static [&'static str],
    /// Who sends one of these headers speaks it; an empty value stands for any.
    pub signs: &'static [(&'static str, &'static str)],
    /// The parameter of the query in which its clients may put their key.
    pub query_key: Option<&'static str>,
    /// The header that says the version of the API, and the version in which a translated request is written.
    pub version: Option<(&'static str, &'static str)>,
    /// Other headers of a request by which the API answers differently.
    pub features: &'static [&'static str],
    /// The header of an answer that tells in which service tier it was made.
    pub tier: Option<&'static str>,
    /// The headers of an answer that tell how much its provider allows.
    pub allowances: &'static [AllowanceHeaders],
    /// Where its vendors keep files.
    pub files: &'static [&'static str],
    /// Where its vendors keep batches.
    pub batches: &'static [&'static str],
    /// Where its vendors keep answers, each below by its id.
    pub answers: &'static [&'static str],
    /// Turns the addresses at the vendor that an answer about batches tells into addresses here.
    pub here: Option<fn(Bytes) -> Bytes>,
}

impl Envelope {
    /// Nothing is told but by the paths of its calls.
    pub const PLAIN: Envelope = Envelope {
        paths: &[],
        signs: &[],
        query_key: None,
        version: None,
        features: &[],
        tier: None,
        allowances: &[],
        files: &[],
        batches: &[],
        answers: &[],
        here: None,
    };

    fn owns(&self, path: &str) -> bool {
        self.paths.iter().any(|own| like(own, path))
    }

    fn is_sent(&self, query: &str, headers: &HeaderMap) -> bool {
        let signed = |(name, value): &(&str, &str)| {
            let found = headers.get(*name);
            found.is_some_and(|found| value.is_empty() || found == *value)
        };
        let in_query = |key: &str| query.split('&').any(|pair| pair_of(pair, key).is_some());
        self.signs.iter().any(signed) || self.query_key.is_some_and(in_query)
    }
}

fn pair_of<'q>(pair: &'q str, key: &str) -> Option<&'q str> {
    pair.strip_prefix(key)?.strip_prefix('=')
}

/// The dialect of a client where its path asks for no call of one: a path that is a dialect's own tells, else what the client
/// sends with it; the first of all dialects is the one of those who tell nothing.
#[must_use]
pub fn client(path: &str, query: Option<&str>, headers: &HeaderMap) -> &'static dyn Dialect {
    let mut all = ALL.iter().copied();
    let by_path = all.find(|d| d.envelope().owns(path));
    let query = query.unwrap_or_default();
    let mut all = ALL.iter().copied();
    by_path
        .or_else(|| all.find(|d| d.envelope().is_sent(query, headers)))
        .unwrap_or(ALL[0])
}

/// How answers about batches are changed that are asked for at this path.
#[must_use]
pub fn here(path: &str) -> Option<fn(Bytes) -> Bytes> {
    let keeps = |d: &&&dyn Dialect| {
        let mut batches = d.envelope().batches.iter();
        batches.any(|start| path.starts_with(start))
    };
    ALL.iter().find(keeps)?.envelope().here
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_path_of_its_own_tells_a_clients_dialect_else_its_headers_do() {
        for (path, query, header, expected) in [
            ("/v1/models", None, None, "openai_chat"),
            (
                "/v1/models",
                None,
                Some("anthropic-version"),
                "anthropic_messages",
            ),
            ("/v1/models", None, Some("x-goog-api-key"), "gemini"),
            ("/v1/models", Some("a=b&key=k"), None, "gemini"),
            ("/v1/models", Some("monkey=k"), None, "openai_chat"),
            ("/v1beta/models", None, None, "gemini"),
            ("/api/tags", None, Some("anthropic-version"), "ollama_chat"),
            ("/", None, None, "ollama_chat"),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(header.map(|name| {
                let name = http::HeaderName::from_static(name);
                (name, HeaderValue::from_static("x"))
            }));
            let found = client(path, query, &headers).name();
            assert_eq!(found, expected, "{path} {query:?} {header:?}");
        }
    }
}
