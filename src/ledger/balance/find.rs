//! Which counters an attempt counts in, and under which limit.

use super::Balances;
use super::slot::{Slot, SpentKnown};
use crate::ledger::cap::{AtCap, Cap, Counter, Dim, Dims, Pick};
use foldhash::HashMap;
use std::sync::Arc;

/// A cap, or a counter that is kept without one, with the names of its counters found so far.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) counter: Counter,
    pub(super) cap: Option<Arc<Cap>>,
    pub(super) names: HashMap<String, Arc<str>>,
    /// Sessions seen by key, in the window of this number.
    pub(super) sessions: HashMap<String, (i64, u32)>,
}

/// One counter that an attempt counts in.
#[derive(Clone, Debug)]
pub(super) struct Match {
    pub(super) counter: Arc<str>,
    pub(super) limit: Option<i128>,
    pub(super) at_cap: AtCap,
    definition: usize,
}

impl Balances {
    pub(super) fn places(&self, dims: &Dims<'_>) -> impl Iterator<Item = usize> + use<'_> {
        let own = self.by_key.get(&*dims.key);
        let own = own.into_iter().flatten();
        self.general.iter().chain(own).copied()
    }

    /// The counters of an attempt, each once, with the lowest limit that holds; their windows are rolled to `now`.
    pub(super) fn matches(&mut self, dims: &Dims<'_>, now: i64) -> Vec<Match> {
        let mut found: Vec<Match> = Vec::with_capacity(8);
        let places: Vec<usize> = self.places(dims).collect();
        for place in places {
            if !self.definitions[place].counter.scope.holds(dims) {
                continue;
            }
            let counter = self.counter_of(place, dims, now);
            let cap = self.definitions[place].cap.as_ref();
            let cap = cap.filter(|cap| cap.limits(dims));
            let (limit, at_cap) = (
                cap.map(|c| c.limit),
                cap.map_or(AtCap::Refuse, |c| c.at_cap),
            );
            match found.iter_mut().find(|m| m.counter == counter) {
                Some(same) => {
                    let other = self.definitions[same.definition].cap.as_ref();
                    let other = other.filter(|_| same.limit.is_some());
                    let goes_before = |cap: &Arc<Cap>| other.is_none_or(|o| cap.goes_before(o));
                    if cap.is_some_and(goes_before) {
                        (same.limit, same.at_cap, same.definition) = (limit, at_cap, place);
                    }
                }
                None => found.push(Match {
                    counter,
                    limit,
                    at_cap,
                    definition: place,
                }),
            }
        }
        for found in &found {
            let slot = self
                .slots
                .get_mut(&found.counter)
                .expect("counter_of makes it");
            slot.needed_in = self.users.round;
            if let Some(left_over) = slot.roll(&found.counter, now, self.epoch) {
                self.returns.push(left_over);
            }
        }
        found
    }

    /// The name of the definition's counter for such an attempt; its slot is made if it is the first.
    fn counter_of(&mut self, place: usize, dims: &Dims<'_>, now: i64) -> Arc<str> {
        let definition = &mut self.definitions[place];
        definition.counter.scope.subject(dims, &mut self.subject);
        if let Some(name) = definition.names.get(&self.subject) {
            return name.clone();
        }
        let counter = definition.counter.instance(dims);
        let name: Arc<str> = counter.to_string().into();
        let name = match self.slots.get_key_value(&name) {
            Some((known, _)) => known.clone(),
            None => {
                let mut slot = Slot::new(counter, now);
                if self.leasing {
                    // With its first lease the store says what is posted.
                    slot.known = slot.known.map(|_| SpentKnown::All);
                }
                self.users.kept += usize::from(slot.known.is_some());
                self.slots.insert(name.clone(), slot);
                name
            }
        };
        if let Some(cap) = definition.cap.as_ref().filter(|cap| cap.limits(dims)) {
            self.slots.get_mut(&name).expect("just made").cap(cap);
        }
        definition.names.insert(self.subject.clone(), name.clone());
        name
    }

    pub(super) fn too_many_sessions(&self, found: &Match, dims: &Dims<'_>) -> bool {
        let definition = &self.definitions[found.definition];
        let slot = &self.slots[&found.counter];
        if *definition.counter.scope.pick(Dim::Session) != Pick::Each
            || slot.session_counted == Some(slot.id)
        {
            return false;
        }
        let known = definition
            .sessions
            .get(&*dims.key)
            .filter(|(id, _)| *id == slot.id);
        known.is_some_and(|(_, count)| *count >= self.sessions_max)
    }

    pub(super) fn count_session(&mut self, found: &Match, dims: &Dims<'_>) {
        let definition = &mut self.definitions[found.definition];
        if *definition.counter.scope.pick(Dim::Session) != Pick::Each {
            return;
        }
        let slot = self
            .slots
            .get_mut(&found.counter)
            .expect("matches makes it");
        if slot.session_counted == Some(slot.id) {
            return;
        }
        slot.session_counted = Some(slot.id);
        let seen = definition
            .sessions
            .entry(dims.key.to_string())
            .or_insert((slot.id, 0));
        if seen.0 != slot.id {
            *seen = (slot.id, 0);
        }
        seen.1 += 1;
    }
}
