//! What a request's `x-flyball-*` headers and its key ask for.

use crate::arm::{Effort, Objective};
use crate::caller::Caller;
use crate::error::Error;
use crate::money::PicoUsd;
use crate::reader::parse_duration;
use crate::response_cache::Wish;
use http::header::HeaderName;
use http::request::Parts;
use std::time::Duration;

/// Most tags in one request; each is a string of at most 64 bytes.
const TAGS_MAX: usize = 16;
const TAG_BYTES_MAX: usize = 64;
const SESSION_BYTES_MAX: usize = 256;
/// Nobody holds a connection open for longer, and no vendor's batch takes longer.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3_600);

const PROVIDER: HeaderName = HeaderName::from_static("x-flyball-provider");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// What `x-flyball-*` headers and the key ask for. A header may tighten what the key says, never loosen it.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) objective: Option<Objective>,
    pub(super) effort: Option<Effort>,
    pub(super) max_cost: Option<PicoUsd>,
    pub(super) private: bool,
    pub(super) session: Option<String>,
    /// Its answer may take so long.
    pub(super) deadline: Option<Duration>,
    /// Its client comes back for its answer, where that comes late (`prefer: respond-async`, RFC 7240).
    pub(super) comes_back: bool,
    pub(super) tags: Vec<(String, String)>,
    /// What it wants of the response cache; nothing where it says nothing.
    pub(super) cache: Option<CacheWish>,
    /// Who is to keep files and batches.
    provider: Option<String>,
}

/// What a request says of the response cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheWish {
    /// It wants this of it.
    Share(Wish),
    /// Whatever rules say, it is answered anew and its answer is not kept.
    Off,
}

impl CacheWish {
    fn parse(text: &str) -> Option<CacheWish> {
        let (way, rest) = match text.split_once(',') {
            Some((way, rest)) => (way.trim(), Some(rest.trim())),
            None => (text, None),
        };
        match (way, rest) {
            ("off", None) => Some(CacheWish::Off),
            ("refresh", None) => Some(CacheWish::Share(Wish::Refresh)),
            ("use", None) => Some(CacheWish::Share(Wish::Use(None))),
            ("use", Some(rest)) => {
                let age = rest.strip_prefix("max-age=")?.parse().ok()?;
                let age = Some(Duration::from_secs(age));
                Some(CacheWish::Share(Wish::Use(age)))
            }
            _ => None,
        }
    }
}

impl Wishes {
    /// The provider that is asked for by name, where one may be.
    pub(super) fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    /// # Errors
    /// A provider is asked for where nobody can choose one.
    pub(super) fn name_no_provider(&self) -> Result<(), Error> {
        match &self.provider {
            None => Ok(()),
            Some(_) => Err(wrong(
                &PROVIDER,
                "nothing here: it chooses who keeps files and batches",
            )),
        }
    }
}

/// What the headers and the key of a request ask for.
///
/// # Errors
/// A 400 that names the header and says what it takes.
pub(super) fn read(head: &Parts, caller: &Caller) -> Result<Wishes, Error> {
    let mut wishes = Wishes {
        comes_back: comes_back(head),
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
            "session" if wishes.session.as_ref().is_some_and(|other| other != text) => {
                return Err(wrong(name, "one session, and names two here"));
            }
            "session" => wishes.session = Some(text.to_owned()),
            "provider" => wishes.provider = Some(text.to_owned()),
            "tags" => add_tags(&mut wishes.tags, text)
                .ok_or_else(|| wrong(name, "at most 16 pairs k=v,k=v of at most 64 bytes each"))?,
            "cache" => {
                let wish = CacheWish::parse(text);
                wishes.cache = Some(wish.ok_or_else(|| {
                    wrong(
                        name,
                        "use, refresh or off, and with use an age in seconds: \"use, max-age=60\"",
                    )
                })?);
            }
            "deadline" => {
                let time = parse_duration(text).filter(|time| *time <= DEADLINE_MAX);
                wishes.deadline = Some(time.ok_or_else(|| {
                    wrong(
                        name,
                        "a time like 30s, 10m or 24h, above zero and at most 24h",
                    )
                })?);
            }
            _ => {
                return Err(wrong(
                    name,
                    "one of objective, effort, max-cost-usd, privacy, deadline, session, tags, cache",
                ));
            }
        }
    }
    Ok(wishes)
}

/// Whether the client prefers to come back for its answer. Words of others in the same header are not ours to read.
fn comes_back(head: &Parts) -> bool {
    let all = head.headers.get_all(PREFER).iter();
    let mut words = all
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']));
    words.any(|word| word.trim().eq_ignore_ascii_case("respond-async"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_cache_is_asked_in_a_few_words() {
        let using = |seconds: Option<u64>| {
            let age = seconds.map(Duration::from_secs);
            Some(CacheWish::Share(Wish::Use(age)))
        };
        for (text, wish) in [
            ("use", using(None)),
            ("use, max-age=60", using(Some(60))),
            ("use,max-age=0", using(Some(0))),
            ("refresh", Some(CacheWish::Share(Wish::Refresh))),
            ("off", Some(CacheWish::Off)),
            ("off, max-age=1", None),
            ("use, max-age=-1", None),
            ("use, ttl=1", None),
            ("use,", None),
            ("on", None),
            ("", None),
        ] {
            assert_eq!(CacheWish::parse(text), wish, "{text}");
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
