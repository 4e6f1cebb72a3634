//! A virtual key as an operator describes it, on the command line, over the admin API or in the configuration: read and checked here,
//! once for all of them.

use super::caps::read_cap;
use crate::caller::hash;
use crate::ledger::cap::Cap;
use crate::ledger::keyring::KeyChange;
use crate::ledger::store::Key;
use crate::ledger::window::Zone;
use serde::Deserialize;
use std::fmt::Write;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Caps, models and tags of one key.
const LIST_MAX: usize = 100;

/// What is said of a key; what is not said stays as it is, or is what a new key has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The team it belongs to; nothing for none.
    pub team: Option<String>,
    /// Its own caps, like `5usd/day`.
    pub caps: Option<Vec<String>>,
    /// Models it may use, with `*`; none for all.
    pub models: Option<Vec<String>>,
    /// Its traffic stays on local models.
    pub private: Option<bool>,
    /// Tags fixed on it, like `app=search`.
    pub tags: Option<Vec<String>>,
    /// Tags that each of its requests must bear, with the values allowed, like `env=dev|test`.
    pub required_tags: Option<Vec<String>>,
    /// Until when it works, seconds since 1970; 0 for ever.
    pub expires: Option<i64>,
    /// It is refused until it is resumed.
    pub paused: Option<bool>,
}

impl Draft {
    /// What is to be another of a key. Days of caps begin in this zone where they name none.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn change(&self, zone: &Zone) -> Result<KeyChange, String> {
        let team = self.team.as_deref().unwrap_or_default();
        if !team.is_empty() && !is_name(team) {
            return Err("a team's name is 1 to 64 visible characters".into());
        }
        let lists = [&self.caps, &self.models, &self.tags, &self.required_tags];
        if lists.into_iter().flatten().any(|l| l.len() > LIST_MAX) {
            return Err(format!(
                "a key has {LIST_MAX} caps, models and tags at most"
            ));
        }
        let caps = self.caps.as_ref().map(|texts| caps(texts, zone));
        let tags = |texts: &Vec<String>| texts.iter().map(|t| tag(t)).collect::<Result<_, _>>();
        let required = |texts: &Vec<String>| {
            let read = texts.iter().map(|t| demanded(t));
            read.collect::<Result<_, _>>()
        };
        Ok(KeyChange {
            team: self.team.clone(),
            caps: caps.transpose()?,
            models: self.models.clone(),
            private: self.private,
            tags: self.tags.as_ref().map(tags).transpose()?,
            required_tags: self.required_tags.as_ref().map(required).transpose()?,
            expires: self.expires.map(|at| (at > 0).then_some(at)),
            paused: self.paused,
        })
    }

    /// A new key with a new secret, made at `now` (seconds since 1970), and the secret.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn key(&self, zone: &Zone, now: i64) -> Result<(Key, String), String> {
        if !is_name(&self.name) {
            return Err("a key's name is 1 to 64 visible characters".into());
        }
        let secret = new_secret()?;
        let key = self.with_hash(zone, hash(secret.as_bytes()))?;
        let created = now;
        Ok((Key { created, ..key }, secret))
    }

    /// A key whose secret has this SHA-256, made nobody knows when.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn with_hash(&self, zone: &Zone, hash: [u8; 32]) -> Result<Key, String> {
        let change = self.change(zone)?;
        Ok(Key {
            name: self.name.clone(),
            hash,
            expires: change.expires.flatten(),
            paused: change.paused.unwrap_or_default(),
            private: change.private.unwrap_or_default(),
            team: change.team.unwrap_or_default(),
            caps: change.caps.unwrap_or_default(),
            models: change.models.unwrap_or_default(),
            tags: change.tags.unwrap_or_default(),
            required_tags: change.required_tags.unwrap_or_default(),
            ..Key::default()
        })
    }
}

/// A new secret for a key.
///
/// # Errors
/// The machine gives no random numbers.
pub fn new_secret() -> Result<String, String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|e| format!("this machine gives no random numbers: {e}"))?;
    let mut secret = String::from("fb_");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(secret, "{byte:02x}");
    }
    Ok(secret)
}

/// It may be the name of a key or a team.
#[must_use]
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.chars().all(|c| !c.is_control())
}

fn caps(texts: &[String], zone: &Zone) -> Result<Vec<Cap>, String> {
    let caps: Vec<Cap> = texts
        .iter()
        .map(|text| read_cap(text, zone))
        .collect::<Result<_, String>>()?;
    if caps.iter().any(|c| i64::try_from(c.limit).is_err()) {
        return Err("a cap is at most 9.2 million dollars".into());
    }
    for (n, cap) in caps.iter().enumerate() {
        if caps[..n].iter().any(|c| c.counter == cap.counter) {
            return Err(format!(
                "there are two caps like \"{}\"; keep one",
                cap.text()
            ));
        }
    }
    Ok(caps)
}

fn tag(pair: &str) -> Result<(String, String), String> {
    pair.split_once('=')
        .filter(|(k, v)| !k.is_empty() && !v.is_empty())
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .ok_or_else(|| format!("the tag \"{pair}\" is not k=v"))
}

fn demanded(pair: &str) -> Result<(String, Vec<String>), String> {
    tag(pair).map(|(k, v)| (k, v.split('|').map(str::to_owned).collect()))
}
