//! One search through one text: which classes are wanted, how many different values were found, and what is near.

use crate::private::near::Near;
use crate::private::{Class, Classes, Settings};
use foldhash::fast::FixedState;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};

/// What is looked for in a text, and what was found so far.
pub(super) struct Search<'t> {
    pub(super) text: &'t [u8],
    settings: &'t Settings,
    /// The different values of each class, as far as they have to be counted, by their hashes.
    seen: [HashSet<u64, FixedState>; 8],
    near: Near,
    hasher: FixedState,
    /// Letters that were looked at.
    pub(super) work: u64,
}

impl<'t> Search<'t> {
    pub(super) fn new(text: &'t [u8], settings: &'t Settings) -> Search<'t> {
        Search {
            text,
            settings,
            seen: Default::default(),
            near: Near::default(),
            hasher: FixedState::default(),
            work: 0,
        }
    }

    /// So many different values of a class make it found.
    fn needed(&self, class: Class) -> usize {
        match class {
            Class::Emails | Class::Phones => self.settings.many,
            _ => self.settings.at_least,
        }
        .max(1)
    }

    /// Whether there is any use in looking for more of it.
    pub(super) fn wants(&self, class: Class) -> bool {
        self.settings.detect.has(class) && self.seen[class.place()].len() < self.needed(class)
    }

    /// A value was found. The same one twice is one.
    pub(super) fn note(&mut self, class: Class, value: impl Hash, example: bool) {
        if !self.wants(class) || (example && !self.settings.examples) {
            return;
        }
        let hash = self.hasher.hash_one(value);
        self.seen[class.place()].insert(hash);
    }

    /// Whether a word stands near that says what a number is.
    pub(super) fn is_near(&mut self, what: u64, from: usize, to: usize) -> bool {
        self.near.has(self.text, what, from, to, &mut self.work)
    }

    /// So many letters were looked at.
    pub(super) fn worked(&mut self, letters: usize) {
        self.work += u64::try_from(letters).unwrap_or(u64::MAX);
    }

    /// The letter at a place; nothing before the text and behind it.
    pub(super) fn at(&self, place: usize) -> u8 {
        self.text.get(place).copied().unwrap_or(b'\n')
    }

    /// The letter before a place.
    pub(super) fn before(&self, place: usize) -> u8 {
        place.checked_sub(1).map_or(b'\n', |place| self.at(place))
    }

    /// Every class of which enough was found.
    pub(super) fn classes(&self) -> Classes {
        let found = |class: &Class| {
            self.settings.detect.has(*class)
                && self.seen[class.place()].len() >= self.needed(*class)
        };
        Class::ALL.into_iter().filter(found).collect()
    }
}
