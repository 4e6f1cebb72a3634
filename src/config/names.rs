//! Names that caps, keys and rules mention: a name that nobody has guards nothing. One that can be known to be wrong is a mistake; one
//! that may come into being later (a key, a model of a server that is down) is a warning.

use super::Config;
use crate::arm::Tier;
use crate::fleet::Fleet;
use crate::ledger::cap::{Dim, Pick, Scope};
use crate::ledger::keyring::{self, KeyChange};
use crate::ledger::now;
use crate::ledger::store::Key;
use crate::pattern::like;
use crate::price::Catalogue;
use crate::provider;
use crate::reader::suggest;
use crate::route::Policy;
use std::collections::BTreeMap;

/// What there is to be named.
pub struct KnownNames<'a> {
    /// The models and providers.
    pub(super) fleet: &'a Fleet,
    /// Models that the providers are known to have.
    pub(super) catalogue: &'a Catalogue,
    /// The teams, each with its organisation.
    pub(super) teams: &'a BTreeMap<String, String>,
    /// The providers were looked for and not written down: another one may be up at the next start.
    pub(super) found: bool,
}

/// A name that nobody has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// What is wrong.
    pub text: String,
    /// What to do about it.
    pub help: Option<String>,
    /// It is certain; else it is told and nothing more.
    pub certain: bool,
}

/// `unknown tier "smal"; did you mean "small"?`
impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)?;
        self.help.iter().try_for_each(|help| write!(f, "; {help}"))
    }
}

impl Doubt {
    fn unknown<'n>(what: &str, name: &str, names: impl Iterator<Item = &'n str>) -> Doubt {
        Doubt {
            text: format!("unknown {what} \"{name}\""),
            help: suggest(name, names),
            certain: true,
        }
    }

    fn if_certain(self, certain: bool) -> Doubt {
        Doubt { certain, ..self }
    }
}

impl<'a> KnownNames<'a> {
    /// What there is by the policy in force. `found`: the providers were looked for and not written down.
    #[must_use]
    pub fn by(policy: &'a Policy, found: bool) -> KnownNames<'a> {
        KnownNames {
            fleet: &policy.fleet,
            catalogue: &policy.catalogue,
            teams: &policy.teams,
            found,
        }
    }

    /// What a key, or what is to be another of it, names that nobody has.
    #[must_use]
    pub fn doubts_about(&self, change: &KeyChange) -> Vec<Doubt> {
        // Without any [[team]] the teams are whatever the keys say.
        let team = change.team.as_ref().filter(|team| !team.is_empty());
        let team = team.filter(|_| !self.teams.is_empty());
        let mut doubts: Vec<Doubt> = team.and_then(|team| self.team(team)).into_iter().collect();
        let models = change.models.iter().flatten();
        doubts.extend(models.filter_map(|model| self.model(model)));
        for cap in change.caps.iter().flatten() {
            let found = self.doubts(&cap.counter.scope);
            doubts.extend(found.into_iter().map(|(_, doubt)| doubt));
        }
        doubts
    }
    /// What a cap's scope names that nobody has, each with the dimension. Keys are not looked at: see [`Config::doubts_about_keys`].
    #[must_use]
    pub fn doubts(&self, scope: &Scope) -> Vec<(Dim, Doubt)> {
        let doubt = |dim: Dim| {
            let Pick::Only(name) = scope.pick(dim) else {
                return None;
            };
            let doubt = match dim {
                Dim::Organisation => self.organisation(name),
                Dim::Team => self.team(name),
                Dim::Provider => self.provider(name),
                Dim::Model => self.model(name),
                Dim::Tier => tier(name),
                Dim::Key | Dim::Session | Dim::User => None,
            };
            doubt.map(|doubt| (dim, doubt))
        };
        Dim::ALL.into_iter().filter_map(doubt).collect()
    }

    /// A team is one that the configuration has.
    #[must_use]
    pub fn team(&self, name: &str) -> Option<Doubt> {
        let names = self.teams.keys().map(String::as_str);
        (!self.teams.contains_key(name)).then(|| {
            let Doubt { text, help, .. } = Doubt::unknown("team", name, names);
            let declare = format!("write [[team]] name = \"{name}\" if it is one");
            Doubt {
                text,
                help: Some(help.map_or(declare.clone(), |help| format!("{help} Or {declare}"))),
                certain: true,
            }
        })
    }

    fn organisation(&self, name: &str) -> Option<Doubt> {
        let mut names: Vec<&str> = self.teams.values().map(String::as_str).collect();
        names.retain(|name| !name.is_empty());
        names.sort_unstable();
        names.dedup();
        (!names.contains(&name)).then(|| {
            let Doubt { text, help, .. } = Doubt::unknown("organisation", name, names.into_iter());
            let declare = format!("write organisation = \"{name}\" in a [[team]] if it is one");
            Doubt {
                text,
                help: Some(help.map_or(declare.clone(), |help| format!("{help} Or {declare}"))),
                certain: true,
            }
        })
    }

    fn provider(&self, name: &str) -> Option<Doubt> {
        let names = || self.fleet.providers.iter().map(|p| p.name.as_str());
        if names().any(|n| n == name) {
            return None;
        }
        // A local server that is not up now may be found at the next start.
        let may_come = self.found && provider::kind(name).is_some();
        Some(Doubt::unknown("provider", name, names()).if_certain(!may_come))
    }

    /// A model's name, or a pattern of some. A name that no provider has is certainly wrong where the providers and their models are written
    /// down; a pattern may be meant for models to come.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<Doubt> {
        if self.has_model(name) {
            return None;
        }
        if name.contains('*') {
            return Some(Doubt {
                text: format!("the pattern \"{name}\" matches no model"),
                help: self.near(name),
                certain: false,
            });
        }
        let doubt = Doubt {
            text: format!("unknown model \"{name}\""),
            help: self.near(name),
            certain: !self.found,
        };
        Some(doubt)
    }

    /// Whether a provider has a model like this, or takes every name.
    fn has_model(&self, pattern: &str) -> bool {
        let Fleet { models, providers } = self.fleet;
        let lists = |provider: &str| models.iter().any(|m| m.provider.name == provider);
        let takes_all = |p: &std::sync::Arc<provider::Provider>| !lists(&p.name);
        // Where providers are looked for, any may be there at the next start.
        let of_kind = |kind: &str| self.found || providers.iter().any(|p| p.kind.name == kind);
        models.iter().any(|m| like(pattern, &m.name))
            || providers.iter().any(takes_all)
            || (self.catalogue.iter()).any(|(kind, model, _)| of_kind(kind) && like(pattern, model))
    }

    fn near(&self, name: &str) -> Option<String> {
        let has = |kind: &str| self.fleet.providers.iter().any(|p| p.kind.name == kind);
        let known = self
            .catalogue
            .iter()
            .filter(|(kind, ..)| self.found || has(kind));
        let listed = self.fleet.models.iter().map(|m| m.name.as_str());
        near(name, listed.chain(known.map(|(_, model, _)| model)))
    }

    /// A name or pattern of models that are routed when they are asked for. Any name may be an app's own, so a plain one is doubted only where
    /// it looks like a slip.
    pub(super) fn intercepted(&self, name: &str) -> Option<Doubt> {
        let listed = self.fleet.models.iter().map(|m| m.name.as_str());
        // An app names models of vendors that are not configured here, too.
        let mut known = listed
            .clone()
            .chain(self.catalogue.iter().map(|(_, m, _)| m));
        if name.is_empty() || known.any(|model| like(name, model)) || name.starts_with("auto") {
            return None;
        }
        let help = near(name, listed.chain(self.catalogue.iter().map(|(_, m, _)| m)));
        let help = help.filter(|help| help.starts_with("did you mean"));
        let pattern = name.contains('*');
        (pattern || help.is_some()).then(|| Doubt {
            text: match pattern {
                true => format!("the pattern \"{name}\" matches no model"),
                false => format!("unknown model \"{name}\""),
            },
            help,
            certain: false,
        })
    }
}

/// The model, or the pattern of models, that was most likely meant: `gpt-*` for `gtp-*`.
fn near<'m>(name: &str, models: impl Iterator<Item = &'m str>) -> Option<String> {
    let Some((begin, end)) = name.split_once('*') else {
        return suggest(name, models);
    };
    let letters = begin.chars().count();
    let alike = models.map(|m| m.chars().take(letters).collect::<String>() + "*" + end);
    let alike: std::collections::BTreeSet<String> = alike.collect();
    suggest(name, alike.iter().map(String::as_str))
}

fn tier(name: &str) -> Option<Doubt> {
    let unknown = || Doubt::unknown("tier", name, Tier::ALL.iter().map(|t| t.name()));
    Tier::parse(name).is_none().then(unknown)
}

/// A virtual key that the configuration names, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKey {
    /// The key's name.
    pub name: String,
    /// `flyball.toml:12: cap`, say.
    pub place: String,
}

/// A tag that a cap counts by, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTag {
    /// The tag's name and value.
    pub tag: (String, String),
    /// Where.
    pub place: String,
}

impl Config {
    /// What there is to be named.
    #[must_use]
    pub fn known(&self) -> KnownNames<'_> {
        KnownNames {
            fleet: &self.fleet,
            catalogue: &self.catalogue,
            teams: &self.teams,
            found: self.found,
        }
    }

    /// What the configuration says of keys that nobody has, and what keys say that fits nothing in the configuration: caps and models
    /// that guard nothing. They are no mistakes, since a key may be made after the file is written, and a file changed after the key.
    #[must_use]
    pub fn doubts_about_keys(&self, keys: &[Key]) -> Vec<String> {
        let mut doubts = Vec::new();
        for NamedKey { name, place } in &self.keys_named {
            if keys.iter().chain(&self.keys).all(|k| k.name != *name) {
                let names = keys.iter().chain(&self.keys).map(|k| k.name.as_str());
                let near = suggest(name, names).unwrap_or_else(|| {
                    format!("it counts for nobody until `flyball key create {name}` makes it")
                });
                doubts.push(format!("{place}: there is no key \"{name}\"; {near}"));
            }
        }
        for NamedTag { tag, place } in &self.tags_named {
            let mut keys = keys.iter().chain(&self.keys);
            if !keys.any(|key| may_bear(key, tag)) {
                let (name, value) = tag;
                doubts.push(format!(
                    "{place}: no key bears or demands the tag {name}={value}, so this cap counts nothing; make one with `flyball key create NAME --tags {name}={value}`"
                ));
            }
        }
        for own in &self.keys {
            if let Some(other) = keyring::same_secret(keys, own, now()) {
                let (own, other) = (&own.name, &other.name);
                doubts.push(format!(
                    "[[key]] \"{own}\": its secret is that of the key \"{other}\" of the ledger, whose caps would hold for nobody; `flyball key revoke {other}`, or write name = \"{other}\" here to go on in its books"
                ));
            }
        }
        let known = self.known();
        for key in keys.iter().filter(|k| !k.revoked) {
            let told = |doubt: Doubt| format!("key \"{}\": {doubt}", key.name);
            let all = known.doubts_about(&KeyChange::all_of(key));
            doubts.extend(all.into_iter().map(told));
        }
        doubts
    }
}

/// Whether requests of this key may count by this tag.
fn may_bear(key: &Key, (name, value): &(String, String)) -> bool {
    let fixed = key.tags.iter().any(|(k, v)| k == name && v == value);
    let demanded = key.required_tags.iter();
    let demanded = demanded.filter(|(k, _)| k == name);
    fixed
        || demanded
            .flat_map(|(_, allowed)| allowed)
            .any(|v| v == value)
}
