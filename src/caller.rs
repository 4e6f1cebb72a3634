//! Who calls: a credential becomes a caller, whose caps count and whose models may be used.
//!
//! Keys are compared by the SHA-256 of the whole secret, so that no prefix tells anything; a secret is never kept.

pub mod end_user;

pub use end_user::{EndUser, EndUsers, UserNames};

use crate::error::{Error, Kind, Retry};
use crate::ledger::cap::{Counter, Dim, Pick};
use crate::ledger::keyring;
use crate::ledger::stopped::StoppedSession;
use crate::ledger::store::Key;
use crate::pattern::like;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// The code of a refusal because its session was stopped by hand.
pub const SESSION_STOPPED: &str = "session_stopped";

/// Whoever sent a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The virtual key; `None` is the one caller `local` of open mode.
    pub key: Option<Arc<Key>>,
}

impl Caller {
    /// The name in logs and in the ledger.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.as_ref().map_or("local", |k| &k.name)
    }

    /// What the operator calls a counter: as the ledger does, with this caller's key by its name.
    #[must_use]
    pub fn called(&self, counter: &Counter) -> String {
        called(counter, self.key.as_deref())
    }

    /// The key's team, or nothing.
    #[must_use]
    pub fn team(&self) -> &str {
        self.key.as_ref().map_or("", |k| &k.team)
    }

    /// The tags of a request that caps count: those fixed on the key, and those that it demands. `given` are the request's
    /// own; what nobody demands counts nowhere, or a caller could spend from whatever cap it names.
    ///
    /// # Errors
    /// A demanded tag is missing or has a value that is not allowed.
    pub fn counted_tags(&self, given: &[(String, String)]) -> Result<Vec<(String, String)>, Error> {
        let Some(key) = &self.key else {
            return Ok(Vec::new());
        };
        let mut tags = key.tags.clone();
        for (name, allowed) in &key.required_tags {
            let value = given.iter().find(|(k, _)| k == name).map(|(_, v)| v);
            match value.filter(|v| allowed.contains(v)) {
                Some(value) => tags.push((name.clone(), value.clone())),
                None => {
                    return Err(Error::bad_field(
                        "x-flyball-tags",
                        format!(
                            "This key's requests must bear the tag {name} with one of these values: {}. Send x-flyball-tags: {name}={}.",
                            allowed.join(", "),
                            allowed.first().map_or("", String::as_str)
                        ),
                    ));
                }
            }
        }
        Ok(tags)
    }

    /// The caller may use some models only.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.key.as_ref().is_some_and(|k| !k.models.is_empty())
    }

    /// The caller may use a model of this name.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        self.key
            .as_ref()
            .is_none_or(|k| k.models.is_empty() || k.models.iter().any(|p| like(p, model)))
    }
}

/// A counter's name as the ledger writes it, `key=7|usd|day|UTC`, with the key by the name that `flyball key list` shows.
fn called(counter: &Counter, key: Option<&Key>) -> String {
    let text = counter.to_string();
    let id = match counter.scope.pick(Dim::Key) {
        Pick::Only(id) => id,
        Pick::Any | Pick::Each => return text,
    };
    match key.filter(|key| key.id.to_string() == *id) {
        Some(key) => text.replacen(&format!("key={id}"), &format!("key={:?}", key.name), 1),
        None => text,
    }
}

/// Everybody who may call.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    by_hash: HashMap<[u8; 32], Arc<Key>>,
    /// Secrets from before a rotation, each with the second until which it works.
    by_old: HashMap<[u8; 32], (Arc<Key>, i64)>,
    /// Rows of keys whose caps do not hold yet.
    waiting: HashSet<i64>,
    /// Caps have changed and do not hold yet; those of before do.
    settling: bool,
    /// Sessions that are stopped, each with the row of its key, or of every key.
    stopped: HashMap<String, Vec<Option<i64>>>,
    /// The names of the keys that stand in the configuration.
    configured: HashSet<String>,
}

impl Callers {
    /// The callers with these keys. As long as there has never been a key, anybody on this machine may call.
    #[must_use]
    pub fn new(mut keys: Vec<Key>) -> Callers {
        // Of two with one secret, a revoked one and one of the configuration, the one that works is found.
        keys.sort_by_key(|key| !key.revoked);
        let keys: Vec<Arc<Key>> = keys.into_iter().map(Arc::new).collect();
        let old = |k: &Arc<Key>| {
            let key = k.clone();
            let all = k.old.clone().into_iter();
            all.map(move |(hash, until)| (hash, (key.clone(), until)))
        };
        Callers {
            by_old: keys.iter().flat_map(old).collect(),
            by_hash: keys.into_iter().map(|k| (k.hash, k)).collect(),
            waiting: HashSet::new(),
            settling: false,
            stopped: HashMap::new(),
            configured: HashSet::new(),
        }
    }

    /// The same, but the keys of these rows are not answered yet: their caps do not hold.
    #[must_use]
    pub fn waiting(self, waiting: HashSet<i64>) -> Callers {
        Callers { waiting, ..self }
    }

    /// The same, while caps that have changed do not hold yet.
    #[must_use]
    pub fn settling(self, settling: bool) -> Callers {
        Callers { settling, ..self }
    }

    /// The same, but these sessions are stopped.
    #[must_use]
    pub fn stopped(mut self, stopped: &[StoppedSession]) -> Callers {
        for StoppedSession { session, key, .. } in stopped {
            self.stopped.entry(session.clone()).or_default().push(*key);
        }
        self
    }

    /// The same, but the keys of these names stand in the configuration.
    #[must_use]
    pub fn configured(self, names: impl Iterator<Item = String>) -> Callers {
        let configured = names.collect();
        Callers { configured, ..self }
    }

    /// Whether the key of this name stands in the configuration, so that it is changed there and nowhere else.
    #[must_use]
    pub fn is_configured(&self, name: &str) -> bool {
        self.configured.contains(name)
    }

    /// The keys by their rows, as they are answered: those of the configuration with their own hashes.
    #[must_use]
    pub fn by_row(&self) -> HashMap<i64, &Key> {
        let keys = self.by_hash.values();
        keys.map(|key| (key.id, &**key)).collect()
    }

    /// Whether requests of a session are refused.
    #[must_use]
    pub fn is_stopped(&self, session: &str, key: i64) -> bool {
        let of = self.stopped.get(session);
        of.is_some_and(|keys| keys.iter().any(|k| k.is_none_or(|k| k == key)))
    }

    /// Refuses a session that is stopped.
    fn check_session(&self, headers: &HeaderMap, key: i64) -> Result<(), Error> {
        if self.stopped.is_empty() {
            return Ok(());
        }
        let named = headers.get_all("x-flyball-session").iter();
        let mut named = named.filter_map(|value| value.to_str().ok()).map(str::trim);
        if !named.any(|session| self.is_stopped(session, key)) {
            return Ok(());
        }
        let public = "This session was stopped by whoever runs this flyball. Go on in another one.";
        Err(Error::new(Kind::Forbidden, public)
            .code(SESSION_STOPPED)
            .retry(Retry::Never))
    }

    /// This key is answered, or refused, as it is now.
    #[must_use]
    pub fn follow(&self, key: &Key) -> bool {
        let known = self.by_hash.get(&key.hash);
        let known = known.is_some_and(|known| **known == *key);
        known && !self.settling && !self.waiting.contains(&key.id)
    }

    /// No virtual key exists: any or no credential is caller `local`.
    #[must_use]
    pub fn open(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// The key of this row, if it may be used still.
    #[must_use]
    pub fn of_row(&self, row: i64) -> Option<Arc<Key>> {
        let mut keys = self.by_hash.values();
        // One that the configuration names no more has no secret.
        let works = |key: &Key| !key.revoked && !keyring::is_stand_in(&key.hash);
        keys.find(|key| key.id == row && works(key)).cloned()
    }

    /// The key in this row, whether it may still ask or not.
    #[must_use]
    pub fn ever_of_row(&self, row: i64) -> Option<Arc<Key>> {
        self.by_hash.values().find(|key| key.id == row).cloned()
    }

    /// The names of the tags that count for some key.
    #[must_use]
    pub fn tags(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        for key in self.by_hash.values() {
            names.extend(key.tags.iter().map(|(name, _)| name.as_str()));
            names.extend(key.required_tags.iter().map(|(name, _)| name.as_str()));
        }
        names
    }

    /// The name of the key whose counter this is.
    #[must_use]
    pub fn key_of(&self, counter: &Counter) -> Option<&str> {
        self.owner(counter).map(|key| key.name.as_str())
    }

    /// What the operator calls a counter: as the ledger does, with its key by the key's name.
    #[must_use]
    pub fn called(&self, counter: &Counter) -> String {
        called(counter, self.owner(counter))
    }

    fn owner(&self, counter: &Counter) -> Option<&Key> {
        let Pick::Only(id) = counter.scope.pick(Dim::Key) else {
            return None;
        };
        let id: i64 = id.parse().ok()?;
        let mut keys = self.by_hash.values();
        keys.find(|key| key.id == id).map(Arc::as_ref)
    }

    /// Finds who calls. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// A 401 that does not tell a wrong key from a revoked or expired one; a 403 for one that is paused, or a session that is stopped; a 503 for a key whose caps do not
    /// hold yet.
    pub fn identify(&self, headers: &HeaderMap, now: i64) -> Result<Caller, Error> {
        if self.open() {
            self.check_session(headers, 0)?;
            return Ok(Caller { key: None });
        }
        let refused = || {
            Error::new(
                Kind::Unauthorized,
                "This flyball needs a valid key. Send one made by `flyball key create` as API key.",
            )
            .code("invalid_api_key")
        };
        let secret = credential(headers).ok_or_else(refused)?;
        // Looked up by the hash of the whole secret: how long that takes tells nothing about any prefix of it.
        let hash = hash(secret);
        let old = || self.by_old.get(&hash).filter(|(_, until)| now < *until);
        let key = self
            .by_hash
            .get(&hash)
            .or_else(|| old().map(|(key, _)| key))
            .ok_or_else(refused)?;
        if key.revoked || key.expires.is_some_and(|end| end <= now) {
            return Err(refused());
        }
        if key.paused {
            return Err(Error::new(
                Kind::Forbidden,
                "This key is paused. Whoever runs this flyball can resume it.",
            )
            .code("key_paused"));
        }
        if self.waiting.contains(&key.id) {
            return Err(Error::new(
                Kind::Overloaded,
                "This key is new and its caps are not in force yet. Try again in a moment.",
            ));
        }
        self.check_session(headers, key.id)?;
        Ok(Caller {
            key: Some(key.clone()),
        })
    }
}

/// The SHA-256 under which a secret is kept.
#[must_use]
pub fn hash(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// The one credential of a request, wherever its dialect keeps it. Two different ones are none.
fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    let mut found: Option<&[u8]> = None;
    for name in [
        AUTHORIZATION.as_str(),
        "x-api-key",
        "api-key",
        "x-goog-api-key",
    ] {
        for value in headers.get_all(name) {
            let bytes = value.as_bytes();
            let secret = match bytes.split_at_checked(7) {
                Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer ") => {
                    rest.trim_ascii()
                }
                _ => bytes.trim_ascii(),
            };
            if found.is_some_and(|f| f != secret) {
                return None;
            }
            found = Some(secret);
        }
    }
    found.filter(|secret| !secret.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> Key {
        Key {
            id: 1,
            name: "app".into(),
            hash: hash(secret.as_bytes()),
            expires: Some(100),
            models: vec!["gpt-*".into()],
            ..Key::default()
        }
    }

    #[test]
    fn a_counter_of_a_key_is_called_by_the_keys_name() {
        let callers = Callers::new(vec![key("fb_secret")]);
        let own = Caller {
            key: Some(Arc::new(key("fb_secret"))),
        };
        for (name, called) in [
            ("key=1|usd|day|UTC", "key=\"app\"|usd|day|UTC"),
            (
                "key=1&model=gpt-*|requests|hour|UTC",
                "key=\"app\"&model=gpt-*|requests|hour|UTC",
            ),
            ("key=12|usd|day|UTC", "key=12|usd|day|UTC"),
            ("team=red|usd|day|UTC", "team=red|usd|day|UTC"),
            ("|usd|day|UTC", "|usd|day|UTC"),
        ] {
            let counter = Counter::read(name).expect("a counter");
            assert_eq!(callers.called(&counter), called);
            assert_eq!(own.called(&counter), called);
        }
    }

    #[test]
    fn a_rotated_keys_old_secret_works_until_its_time_is_over() {
        let rotated = Key {
            old: vec![(hash(b"fb_older"), 60), (hash(b"fb_old"), 50)],
            ..key("fb_secret")
        };
        let callers = Callers::new(vec![rotated]);
        for (secret, now, ok) in [
            ("fb_old", 49, true),
            ("fb_old", 50, false),
            ("fb_older", 59, true),
            ("fb_older", 60, false),
            ("fb_secret", 50, true),
        ] {
            let got = callers.identify(&headers(&[("x-api-key", secret)]), now);
            assert_eq!(got.is_ok(), ok, "{secret} at {now}");
        }
    }

    #[test]
    fn a_key_that_the_configuration_names_no_more_goes_on_in_no_batch() {
        let left = Key {
            hash: keyring::stand_in("app"),
            ..key("fb_secret")
        };
        assert!(Callers::new(vec![key("fb_secret")]).of_row(1).is_some());
        assert!(Callers::new(vec![left]).of_row(1).is_none());
    }

    #[test]
    fn only_tags_of_the_key_or_demanded_by_it_count_and_leaving_them_out_is_refused() {
        let caller = Caller {
            key: Some(Arc::new(Key {
                tags: vec![("team".into(), "red".into())],
                required_tags: vec![("project".into(), vec!["x".into(), "y".into()])],
                ..key("fb_secret")
            })),
        };
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let counted = caller.counted_tags(&[pair("project", "y"), pair("colour", "blue")]);
        assert_eq!(
            counted.expect("all there"),
            [pair("team", "red"), pair("project", "y")]
        );
        for given in [
            vec![],
            vec![pair("project", "z")],
            vec![pair("colour", "blue")],
        ] {
            assert!(caller.counted_tags(&given).is_err(), "{given:?}");
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().expect("a value"));
        }
        map
    }

    #[test]
    fn a_key_is_found_wherever_a_dialect_keeps_it_and_nowhere_else() {
        let callers = Callers::new(vec![key("fb_secret")]);
        for (pairs, ok) in [
            (vec![("authorization", "Bearer fb_secret")], true),
            (vec![("authorization", "bearer fb_secret")], true),
            (vec![("x-api-key", "fb_secret")], true),
            (vec![("x-goog-api-key", "fb_secret")], true),
            (
                vec![
                    ("authorization", "Bearer fb_secret"),
                    ("x-api-key", "fb_secret"),
                ],
                true,
            ),
            (
                vec![
                    ("authorization", "Bearer fb_secret"),
                    ("x-api-key", "other"),
                ],
                false,
            ),
            (vec![("authorization", "Bearer fb_secre")], false),
            (vec![("authorization", "Bearer ")], false),
            (vec![], false),
        ] {
            assert_eq!(
                callers.identify(&headers(&pairs), 0).is_ok(),
                ok,
                "{pairs:?}"
            );
        }
        assert!(
            callers
                .identify(&headers(&[("x-api-key", "fb_secret")]), 100)
                .is_err(),
            "expired"
        );
        let revoked = Key {
            revoked: true,
            ..key("fb_secret")
        };
        assert!(
            Callers::new(vec![revoked])
                .identify(&headers(&[("x-api-key", "fb_secret")]), 0)
                .is_err()
        );
    }
}
