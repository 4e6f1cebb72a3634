//! Virtual keys, and what may be done with them: decided without a store, so that both stores do the same.

use super::audit::Deed;
use super::cap::{Cap, Counter, Scope};
use super::record::Sum;
use super::window::Window;
use crate::money::PicoUsd;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};

/// Secrets from before rotations that a key may have; of more, those that end first are forgotten.
pub const OLD_MAX: usize = 32;

/// A virtual key as the ledger keeps it. The secret itself is nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Its row.
    pub id: i64,
    /// Its name; unique.
    pub name: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// SHA-256 of each secret from before a rotation, and until when it works, seconds since 1970; the latest last.
    pub old: Vec<([u8; 32], i64)>,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// When it stops working, seconds since 1970.
    pub expires: Option<i64>,
    /// It was revoked.
    pub revoked: bool,
    /// It is refused until it is resumed.
    pub paused: bool,
    /// Its traffic stays on local models.
    pub private: bool,
    /// The team it belongs to, or nothing.
    pub team: String,
    /// Its own caps.
    pub caps: Vec<Cap>,
    /// Models it may use, with `*`; empty means all.
    pub models: Vec<String>,
    /// Tags fixed on it.
    pub tags: Vec<(String, String)>,
    /// Tags that each of its requests must bear, with the values allowed.
    pub required_tags: Vec<(String, Vec<String>)>,
}

/// In the place of the hash of a secret, in the row of a key whose hash stands in the configuration: so many zeros, and a mark of the
/// key's name. Nobody knows a secret with such a SHA-256, so where the configuration does not name the key, nothing opens it.
const STAND_IN_ZEROS: usize = 16;

/// What stands in the ledger for the hash of a key of the configuration.
#[must_use]
pub fn stand_in(name: &str) -> [u8; 32] {
    let mut bytes: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    bytes[..STAND_IN_ZEROS].fill(0);
    bytes
}

/// This is no hash of a secret: the key's own stands in the configuration.
#[must_use]
pub fn is_stand_in(hash: &[u8; 32]) -> bool {
    hash[..STAND_IN_ZEROS].iter().all(|byte| *byte == 0)
}

/// The keys of the ledger, those of the configuration with the hash that stands there. One that the configuration names no more keeps
/// its stand-in, which nothing opens; so does one whose secret is that of another key which works, or that one's caps would hold for
/// nobody.
#[must_use]
pub fn with_configured(mut keys: Vec<Key>, configured: &[Key]) -> Vec<Key> {
    let working = keys.iter().filter(|key| !key.revoked);
    let taken: HashSet<[u8; 32]> = working.map(|key| key.hash).collect();
    let own: HashMap<&str, &Key> = configured.iter().map(|k| (k.name.as_str(), k)).collect();
    for key in &mut keys {
        let own = own.get(key.name.as_str());
        let own = own.filter(|own| !key.revoked && !taken.contains(&own.hash));
        if let Some(own) = own.filter(|_| is_stand_in(&key.hash)) {
            key.hash = own.hash;
        }
    }
    keys
}

/// The key that works, and is another one, with the secret of this key of the configuration; also one whose old secret it is, which
/// still works at `now` (seconds since 1970).
#[must_use]
pub fn same_secret<'k>(keys: &'k [Key], own: &Key, now: i64) -> Option<&'k Key> {
    let old = |key: &Key| {
        let mut old = key.old.iter();
        old.any(|(hash, until)| *hash == own.hash && now < *until)
    };
    let mut others = keys.iter().filter(|k| !k.revoked && k.name != own.name);
    others.find(|key| key.hash == own.hash || old(key))
}

/// What has to be done at `now` (seconds since 1970) so that the ledger has these keys of the configuration, as they stand there.
#[must_use]
pub fn configuring(keys: &[Key], configured: &[Key], now: i64) -> Vec<KeyAct> {
    let acts = configured.iter().map(|own| {
        let created = now;
        KeyAct::Configure(Box::new(Key {
            created,
            ..own.clone()
        }))
    });
    let wanted = |act: &KeyAct| {
        let acted = act.applied(keys);
        acted.is_ok_and(|Acted { before, after }| before.as_ref() != Some(&after))
    };
    acts.filter(wanted).collect()
}

/// What is to be done with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyAct {
    /// A new one. Made again under the name of one that was revoked, it goes on in the books of that one.
    Create(Box<Key>),
    /// One of the configuration, as it stands there: made, or changed, or taken over from the ledger with its books. Its hash is that of
    /// its secret; the ledger gets a stand-in.
    Configure(Box<Key>),
    /// Another team, other caps and so on; what is not named stays.
    Change {
        /// Its name.
        name: String,
        /// What is another.
        change: Box<KeyChange>,
    },
    /// A new secret.
    Rotate {
        /// Its name.
        name: String,
        /// SHA-256 of the new secret.
        hash: [u8; 32],
        /// Until when the old one works, seconds since 1970.
        old_until: i64,
    },
    /// It never works again. It stays in the books, and its name is free.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// What is to be another of a key; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// The team it belongs to.
    pub team: Option<String>,
    /// Its own caps.
    pub caps: Option<Vec<Cap>>,
    /// Models it may use.
    pub models: Option<Vec<String>>,
    /// Its traffic stays on local models.
    pub private: Option<bool>,
    /// Tags fixed on it.
    pub tags: Option<Vec<(String, String)>>,
    /// Tags that each of its requests must bear.
    pub required_tags: Option<Vec<(String, Vec<String>)>>,
    /// When it stops working, seconds since 1970; `Some(None)`: never.
    pub expires: Option<Option<i64>>,
    /// It is refused until it is resumed.
    pub paused: Option<bool>,
}

impl KeyChange {
    /// Everything that can be another, as it is of this key.
    #[must_use]
    pub fn all_of(key: &Key) -> KeyChange {
        KeyChange {
            team: Some(key.team.clone()),
            caps: Some(key.caps.clone()),
            models: Some(key.models.clone()),
            private: Some(key.private),
            tags: Some(key.tags.clone()),
            required_tags: Some(key.required_tags.clone()),
            expires: Some(key.expires),
            paused: Some(key.paused),
        }
    }

    fn of(&self, before: &Key) -> Key {
        fn or<T: Clone>(new: Option<&T>, old: &T) -> T {
            new.unwrap_or(old).clone()
        }
        let caps = self.caps.as_ref().map(|caps| {
            let own = caps.iter().map(|cap| cap.clone().for_key(before.id));
            own.collect()
        });
        Key {
            team: or(self.team.as_ref(), &before.team),
            caps: or(caps.as_ref(), &before.caps),
            models: or(self.models.as_ref(), &before.models),
            private: self.private.unwrap_or(before.private),
            tags: or(self.tags.as_ref(), &before.tags),
            required_tags: or(self.required_tags.as_ref(), &before.required_tags),
            expires: self.expires.unwrap_or(before.expires),
            paused: self.paused.unwrap_or(before.paused),
            ..before.clone()
        }
    }
}

/// A key as it was and as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acted {
    /// Nothing where it is new.
    pub before: Option<Key>,
    /// To be written; its `id` is 0 where it is a new row.
    pub after: Key,
}

impl KeyAct {
    /// What audit logs call it.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            KeyAct::Create(_) => "key created",
            KeyAct::Configure(_) => "key configured",
            KeyAct::Change { change, .. } => match change.paused {
                Some(true) => "key paused",
                Some(false) => "key resumed",
                None => "key changed",
            },
            KeyAct::Rotate { .. } => "key rotated",
            KeyAct::Revoke { .. } => "key revoked",
        }
    }

    /// The name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            KeyAct::Create(key) | KeyAct::Configure(key) => &key.name,
            KeyAct::Change { name, .. } | KeyAct::Rotate { name, .. } | KeyAct::Revoke { name } => {
                name
            }
        }
    }

    /// The configuration has done it already, as another replica's start does that has the same one.
    #[must_use]
    pub fn is_done(&self, before: Option<&Key>, after: &Key) -> bool {
        matches!(self, KeyAct::Configure(_)) && before == Some(after)
    }

    /// What the audit log says of it: who has done it, when, and how the key was and is.
    #[must_use]
    pub fn deed(&self, who: &str, at_ms: i64, (before, after): (Option<&Key>, &Key)) -> Deed {
        Deed {
            at_ms,
            who: who.to_owned(),
            what: self.what().to_owned(),
            of: self.name().to_owned(),
            before: before.map(described).unwrap_or_default(),
            after: described(after),
        }
    }

    /// What becomes of these keys.
    ///
    /// # Errors
    /// There is no such key, or one of this name already, or it is one of the configuration, which nothing else changes.
    pub fn applied(&self, keys: &[Key]) -> Result<Acted, String> {
        let works = |name: &str| keys.iter().find(|key| key.name == name && !key.revoked);
        let known = |name: &str| match works(name) {
            Some(key) if is_stand_in(&key.hash) => Err(once_configured(name)),
            Some(key) => Ok(key.clone()),
            None => Err(format!(
                "there is no key named \"{name}\"; `flyball key list` shows them"
            )),
        };
        let revoked = |name: &str| {
            let mut all = keys.iter().rev();
            all.find(|key| key.revoked && key.name == revoked_name(name, key.id))
        };
        let changed = |before: Key, after: Key| {
            Ok(Acted {
                before: Some(before),
                after,
            })
        };
        match self {
            KeyAct::Create(new) => {
                // One that the configuration has named once and names no more goes on in its books, as a revoked one does.
                let left = works(&new.name).filter(|key| is_stand_in(&key.hash));
                if left.is_none() && works(&new.name).is_some() {
                    return Err(format!(
                        "there is a key named \"{}\" already; choose another name, or revoke it first",
                        new.name
                    ));
                }
                Ok(new.going_on(left.or_else(|| revoked(&new.name))))
            }
            KeyAct::Configure(own) => {
                let before = works(&own.name).or_else(|| revoked(&own.name));
                let stands = Key {
                    hash: stand_in(&own.name),
                    created: before.map_or(own.created, |key| key.created),
                    ..(**own).clone()
                };
                Ok(stands.going_on(before))
            }
            KeyAct::Change { name, change } => {
                let before = known(name)?;
                let after = change.of(&before);
                changed(before, after)
            }
            KeyAct::Rotate {
                name,
                hash,
                old_until,
            } => {
                let before = known(name)?;
                let mut old = before.old.clone();
                old.push((before.hash, *old_until));
                while old.len() > OLD_MAX {
                    // Those that work no more are the first to go.
                    let first = (0..old.len()).min_by_key(|at| old[*at].1);
                    first.map(|at| old.remove(at));
                }
                let after = Key {
                    old,
                    hash: *hash,
                    ..before.clone()
                };
                changed(before, after)
            }
            KeyAct::Revoke { name } => {
                let before = match works(name) {
                    Some(left) if is_stand_in(&left.hash) => left.clone(),
                    _ => known(name)?,
                };
                let after = Key {
                    revoked: true,
                    name: revoked_name(name, before.id),
                    ..before.clone()
                };
                changed(before, after)
            }
        }
    }
}

impl Key {
    /// This key in the row, and so in the books, of one of before, or in a row of its own.
    fn going_on(&self, before: Option<&Key>) -> Acted {
        let id = before.map_or(0, |key| key.id);
        let caps = self.caps.iter().map(|cap| cap.clone().for_key(id));
        let after = Key {
            id,
            old: Vec::new(),
            revoked: false,
            caps: caps.collect(),
            ..self.clone()
        };
        Acted {
            before: before.cloned(),
            after,
        }
    }
}

/// Why a key of the configuration cannot be changed elsewhere.
#[must_use]
pub fn in_configuration(name: &str) -> String {
    format!(
        "the key \"{name}\" is a [[key]] of the configuration (flyball.toml): change it or take it out there; a running flyball reads it again by itself"
    )
}

/// Why a key that stands in a configuration, or did once, cannot be changed elsewhere.
fn once_configured(name: &str) -> String {
    format!(
        "the key \"{name}\" is a [[key]] of a configuration, or was one: change it there. Where none names it any more, write it in again, or make it with `flyball key create`; it goes on in its books"
    )
}

/// The name of a key that was revoked, which leaves its own free.
fn revoked_name(name: &str, id: i64) -> String {
    format!("{name} (revoked {id})")
}

/// A key as audit logs have it: everything but its secret, of which nothing but a short mark is told, so that one can see when it became another.
fn described(key: &Key) -> Value {
    let mark = |hash: &[u8; 32]| {
        let bytes = hash.iter().take(4);
        bytes.map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    json!({
        "id": key.id, "name": key.name, "secret": mark(&key.hash), "old_secrets": key.old.iter().map(|(hash, until)| json!({"secret": mark(hash), "until": until})).collect::<Vec<_>>(),
        "created": key.created, "expires": key.expires, "revoked": key.revoked, "paused": key.paused, "private": key.private, "team": key.team,
        "caps": key.caps.iter().map(Cap::text).collect::<Vec<_>>(), "models": key.models,
        "tags": key.tags.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        "required_tags": key.required_tags.iter().map(|(k, v)| format!("{k}={}", v.join("|"))).collect::<Vec<_>>(),
    })
}

/// Whether it works: `works`, `paused`, `expired`, `revoked`, or `not configured` for one that the configuration has named once and names
/// no more. `now` is in seconds since 1970.
#[must_use]
pub fn state(key: &Key, now: i64) -> &'static str {
    if key.revoked {
        "revoked"
    } else if is_stand_in(&key.hash) {
        "not configured"
    } else if key.paused {
        "paused"
    } else if key.expires.is_some_and(|end| end <= now) {
        "expired"
    } else {
        "works"
    }
}

/// What is posted in the running window of a counter.
#[must_use]
pub fn spent(sums: &[Sum], counter: &Counter, now: i64) -> i128 {
    let (name, id) = (counter.to_string(), counter.window.id(&counter.zone, now));
    let here = sums.iter().filter(|s| s.counter == name && s.id == id);
    here.map(|s| s.posted).sum()
}

/// The counter of all that a key spends in such a window, with its cap: of the days by which the cap counts, where there is one.
#[must_use]
pub fn dollars_of(key: &Key, window: Window) -> (Counter, Option<&Cap>) {
    let utc = Counter::usd(Scope::key(key.id), window);
    let same = |c: &&Cap| {
        (&c.counter.scope, c.counter.measure, c.counter.window)
            == (&utc.scope, utc.measure, utc.window)
    };
    let cap = key.caps.iter().find(same);
    (cap.map_or(utc, |c| c.counter.clone()), cap)
}

/// A key with what it has spent, as `flyball key list --json` and the admin API tell it.
#[must_use]
pub fn told(key: &Key, sums: &[Sum], now: i64) -> Value {
    let plain = |window: Window| {
        let (counter, cap) = dollars_of(key, window);
        let spent = PicoUsd(spent(sums, &counter, now));
        json!({"spent_usd": spent.usd_text(), "cap_usd": cap.map(|c| PicoUsd(c.limit).usd_text())})
    };
    let caps = key.caps.iter().map(|c| {
        let spent = c.counter.measure.plain(spent(sums, &c.counter, now));
        json!({"cap": c.text(), "spent": spent})
    });
    let required = key.required_tags.iter();
    json!({
        "name": key.name, "state": state(key, now), "team": key.team, "private": key.private, "models": key.models,
        "tags": key.tags.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        "required_tags": required.map(|(k, v)| format!("{k}={}", v.join("|"))).collect::<Vec<_>>(),
        "created": key.created, "expires": key.expires, "caps": caps.collect::<Vec<_>>(),
        "day": plain(Window::Day), "month": plain(Window::Month), "total": plain(Window::Total),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: i64, name: &str) -> Key {
        Key {
            id,
            name: name.into(),
            hash: [7; 32],
            team: "red".into(),
            caps: vec![Cap::parse("5usd/day").expect("a cap").for_key(id)],
            ..Key::default()
        }
    }

    #[test]
    fn a_key_made_again_under_the_name_of_a_revoked_one_goes_on_in_its_books() {
        let act = KeyAct::Revoke { name: "app".into() };
        let revoked = act.applied(&[key(3, "app")]).expect("it is there").after;
        assert!(revoked.revoked && revoked.name == "app (revoked 3)");
        let new = KeyAct::Create(Box::new(key(0, "app")));
        let acted = new
            .applied(&[key(2, "app2"), revoked])
            .expect("the name is free");
        assert_eq!((acted.after.id, acted.after.name.as_str()), (3, "app"));
        assert!(!acted.after.revoked && acted.before.is_some());
        // Its caps count in the same counters as before.
        assert_eq!(acted.after.caps, key(3, "app").caps);
    }

    #[test]
    fn a_name_that_works_is_taken_and_one_that_nobody_has_cannot_be_changed() {
        let new = KeyAct::Create(Box::new(key(0, "app")));
        let why = new.applied(&[key(1, "app")]).expect_err("taken");
        assert!(why.contains("already"), "{why}");
        let act = KeyAct::Revoke { name: "bot".into() };
        let why = act.applied(&[key(1, "app")]).expect_err("nobody");
        assert!(why.contains("no key named \"bot\""), "{why}");
    }

    #[test]
    fn every_secret_from_before_a_rotation_keeps_its_own_time_and_there_are_not_too_many() {
        let mut now = key(1, "app");
        for n in 0..40_u8 {
            let act = KeyAct::Rotate {
                name: "app".into(),
                hash: [100 + n; 32],
                // Every other one ends early.
                old_until: if n % 2 == 0 { 10_000 } else { i64::from(n) },
            };
            now = act.applied(&[now]).expect("it is there").after;
        }
        assert_eq!((now.hash, now.old.len()), ([139; 32], OLD_MAX));
        let late = now.old.iter().filter(|(_, until)| *until == 10_000);
        assert_eq!(late.count(), 20, "those that end first have gone");
        assert!(
            now.old.contains(&([7; 32], 10_000)),
            "the first of all still works"
        );
    }

    #[test]
    fn what_a_change_does_not_name_stays() {
        let change = KeyChange {
            paused: Some(true),
            ..KeyChange::default()
        };
        let act = KeyAct::Change {
            name: "app".into(),
            change: Box::new(change),
        };
        let acted = act.applied(&[key(1, "app")]).expect("it is there");
        let expected = Key {
            paused: true,
            ..key(1, "app")
        };
        assert_eq!((act.what(), acted.after), ("key paused", expected));
    }

    #[test]
    fn a_description_holds_no_more_of_a_secret_than_a_short_mark() {
        let text = described(&key(1, "app")).to_string();
        assert!(
            text.contains("07070707") && !text.contains("0707070707"),
            "{text}"
        );
    }
}
