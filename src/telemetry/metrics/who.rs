//! Who spends: by team and key, and by the tags that caps count. All of them are the operator's own words, and there are no more series
//! than the limits say.

use super::dollars::Dollars;
use super::make::{Folded, Make, Table, value};
use crate::ledger::record::{Closing, Opening};
use foldhash::{HashMap, HashSet};
use prometheus::IntCounterVec;
use std::sync::{PoisonError, RwLock};

/// Pairs of team and key that have series of their own.
pub(super) const PAIRS_MAX: usize = 100;
/// Pairs of tag and value that have series of their own.
pub(super) const TAGS_MAX: usize = 100;
/// The value of what has none of its own.
const OTHER: &str = "other";
/// The key of a caller in open mode, as the books call it.
const LOCAL: &str = "local";

/// A key that may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey<'a> {
    /// Its row.
    pub id: i64,
    /// Its team, or nothing.
    pub team: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// What one pair of team and key spends.
#[derive(Clone, Debug)]
struct Purse {
    spend: Dollars,
    baseline: Dollars,
}

impl Purse {
    fn take(&self, closing: &Closing) {
        self.spend.add(closing.cost);
        self.baseline.add(closing.baseline);
    }
}

/// The series of everybody.
#[derive(Debug)]
pub(super) struct Who {
    spend: Table<Dollars>,
    baseline: Table<Dollars>,
    tag_spend: Table<Dollars>,
    folded_keys: Folded,
    folded_tags: Folded,
    known: RwLock<KnownWho>,
}

#[derive(Debug)]
struct KnownWho {
    keys: HashMap<i64, Purse>,
    local: Purse,
    other: Purse,
    tags: HashMap<String, HashMap<String, Dollars>>,
    other_tag: Dollars,
}

impl Who {
    pub(super) fn new(m: &Make, folded: &IntCounterVec) -> Who {
        let spend = m.dollars(
            "flyball_spend_usd_total",
            "Money spent, by team and key, in US dollars.",
            &["team", "key"],
        );
        let baseline = m.dollars(
            "flyball_spend_baseline_usd_total",
            "What the baseline would have cost, by team and key, in US dollars.",
            &["team", "key"],
        );
        let tag_spend = m.dollars(
            "flyball_tag_spend_usd_total",
            "Money spent by tag, of those that caps or keys name, in US dollars.",
            &["tag", "value"],
        );
        let purse = |team: &str, key: &str| Purse {
            spend: spend.of(&[team, key]),
            baseline: baseline.of(&[team, key]),
        };
        let known = KnownWho {
            keys: HashMap::default(),
            local: purse("-", LOCAL),
            other: purse(OTHER, OTHER),
            tags: HashMap::default(),
            other_tag: tag_spend.of(&[OTHER, OTHER]),
        };
        Who {
            spend,
            baseline,
            tag_spend,
            folded_keys: Folded::of(folded, "key"),
            folded_tags: Folded::of(folded, "tag"),
            known: RwLock::new(known),
        }
    }

    /// Takes over the keys, the most important ones first: those beyond the limit are counted together.
    pub(super) fn keys(&self, keys: &[KnownKey<'_>]) {
        let mut pairs: HashMap<(&str, &str), Purse> = HashMap::default();
        let (mut purses, mut beyond) = (HashMap::default(), HashSet::default());
        for key in keys {
            let pair = (value(key.team), value(key.name));
            if pairs.len() >= PAIRS_MAX && !pairs.contains_key(&pair) {
                beyond.insert(pair);
                continue;
            }
            let purse = pairs.entry(pair).or_insert_with(|| Purse {
                spend: self.spend.of(&[pair.0, pair.1]),
                baseline: self.baseline.of(&[pair.0, pair.1]),
            });
            purses.insert(key.id, purse.clone());
        }
        self.folded_keys.now(beyond.len());
        self.write().keys = purses;
        let keeps = |labels: &[String]| match labels {
            [team, key] => {
                let own = [("-", LOCAL), (OTHER, OTHER)].contains(&(team, key));
                own || pairs.contains_key(&(team.as_str(), key.as_str()))
            }
            _ => false,
        };
        self.spend.retain(keeps);
        self.baseline.retain(keeps);
    }

    /// Takes over the tags that caps or keys name, with each value.
    pub(super) fn tags<'t>(&self, named: impl IntoIterator<Item = (&'t str, &'t str)>) {
        let mut tags: HashMap<String, HashMap<String, Dollars>> = HashMap::default();
        let (mut count, mut beyond) = (0, HashSet::default());
        for (tag, of) in named {
            let has = tags.get(tag).is_some_and(|values| values.contains_key(of));
            if has {
                continue;
            }
            if count >= TAGS_MAX {
                beyond.insert((tag, of));
                continue;
            }
            count += 1;
            let spend = self.tag_spend.of(&[value(tag), value(of)]);
            let values = tags.entry(tag.to_owned()).or_default();
            values.insert(of.to_owned(), spend);
        }
        self.folded_tags.now(beyond.len());
        self.write().tags = tags;
    }

    /// Books an attempt.
    pub(super) fn take(&self, opening: &Opening, closing: &Closing) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let purse = match opening.key {
            None => &known.local,
            Some(id) => known.keys.get(&id).unwrap_or(&known.other),
        };
        purse.take(closing);
        for (tag, value) in &opening.tags {
            let values = known.tags.get(tag);
            let spend = values.and_then(|values| values.get(value));
            spend.unwrap_or(&known.other_tag).add(closing.cost);
        }
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, KnownWho> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}
