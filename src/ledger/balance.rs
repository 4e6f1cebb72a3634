//! What is posted, reserved and left in every counter. Pure and synchronous: no IO, no clock.
//!
//! The rule that everything rests on: posted + reserved never passes a limit, because admission looks at every counter and
//! reserves in all of them in one step. Where the store is shared or slow, a counter spends from a *lease*: a part of the cap
//! that the store has set aside for this process; then reserved never passes what is left of the lease.

mod find;
mod lease;
mod slot;
mod terms;
mod users;

use super::cap::{Cap, Counter, Dim, Dims, Measure, Pick, Scope, covered};
use crate::money::PicoUsd;
use find::{Definition, Match};
use foldhash::{HashMap, HashMapExt};
use slot::Slot;
use std::sync::Arc;
use users::Users;

use terms::Held;
pub use terms::{
    Capped, CounterStanding, Crossing, Denied, Full, Grant, Posting, Reason, Requirement, Spend,
    Want,
};
pub use users::USERS_KEPT_MAX;

/// Every counter's standing.
#[derive(Debug, Default)]
pub struct Balances {
    definitions: Vec<Definition>,
    /// Those that hold for one key only, by the key's row as text.
    by_key: HashMap<String, Vec<usize>>,
    /// The others.
    general: Vec<usize>,
    slots: HashMap<Arc<str>, Slot>,
    /// Counts changes of the definitions.
    version: u64,
    leasing: bool,
    /// The life of this process, as the store counts them. In a new one there are no leases.
    epoch: u32,
    sessions_max: u32,
    subject: String,
    returns: Vec<Posting>,
    crossings: Vec<Crossing>,
    tidy_at: usize,
    users: Users,
}

/// Slots kept before those of past windows are looked for.
const TIDY_AT: usize = 4_096;

impl Balances {
    /// Balances with these counters and caps; `leasing` says that capped counters spend from leases.
    #[must_use]
    pub fn new(leasing: bool, sessions_max: u32) -> Balances {
        let mut balances = Balances {
            leasing,
            sessions_max,
            tidy_at: TIDY_AT,
            ..Balances::default()
        };
        balances.set_caps(&[], &[], 0);
        balances
    }

    /// Takes over the caps. What is posted and reserved stays; a cap lowered below it blocks new reservations and changes
    /// nothing else. The `new` counters begin at nothing and have no cap yet.
    pub fn set_caps(&mut self, caps: &[Cap], new: &[Counter], now: i64) {
        self.version += 1;
        self.definitions.clear();
        self.by_key.clear();
        self.general.clear();
        for slot in self.slots.values_mut() {
            slot.uncap();
        }
        for (name, slot) in &mut self.slots {
            if covered(name, new) && !covered(name, &Counter::always()) {
                slot.posted = 0;
                if !self.leasing {
                    slot.forget();
                }
            }
        }
        self.users.capped = caps.iter().any(|cap| slot::tells(&cap.counter));
        let kept = Counter::always().into_iter().chain(new.iter().cloned());
        let caps = caps.iter().map(|c| (c.counter.clone(), Some(c.clone())));
        for (counter, cap) in kept.map(|c| (c, None)).chain(caps) {
            self.define(counter, cap, now);
        }
    }

    fn define(&mut self, counter: Counter, cap: Option<Cap>, now: i64) {
        let place = self.definitions.len();
        let cap = cap.map(Arc::new);
        match counter.scope.pick(Dim::Key) {
            Pick::Only(key) => self.by_key.entry(key.clone()).or_default().push(place),
            Pick::Any | Pick::Each => self.general.push(place),
        }
        let single = Dim::ALL
            .iter()
            .all(|d| *counter.scope.pick(*d) != Pick::Each);
        if let (true, Some(cap)) = (single, &cap) {
            let name: Arc<str> = counter.to_string().into();
            let slot = self
                .slots
                .entry(name)
                .or_insert_with(|| Slot::new(counter.clone(), now));
            slot.cap(cap);
        }
        self.definitions.push(Definition {
            counter,
            cap,
            names: HashMap::new(),
            sessions: HashMap::new(),
        });
    }

    /// Takes over what the store says was posted in a window, at start or when a counter is new. Windows that have passed are
    /// left out.
    pub fn restore(&mut self, name: &str, id: i64, posted: i128, now: i64) {
        let Some(counter) = Counter::read(name) else {
            return;
        };
        if slot::tells(&counter) || id < counter.window.id(&counter.zone, now) {
            // What users have spent comes from the store when they ask.
            return;
        }
        let slot = self
            .slots
            .entry(name.into())
            .or_insert_with(|| Slot::new(counter, now));
        slot.roll_to(id);
        if slot.id == id {
            slot.posted += posted;
        }
    }

    /// The caps that count such an attempt, by measure. Before the arm is chosen: those that do not depend on it.
    #[must_use]
    pub fn capped(&self, dims: &Dims<'_>) -> Capped {
        self.capped_where(dims, |scope| scope.holds(dims))
    }

    /// The caps that may count an attempt whose model nobody has read, beside those that count it anyhow.
    #[must_use]
    pub fn perhaps_capped(&self, dims: &Dims<'_>) -> Capped {
        self.capped_where(dims, |scope| scope.may_hold(dims) && !scope.holds(dims))
    }

    fn capped_where(&self, dims: &Dims<'_>, counts: impl Fn(&Scope) -> bool) -> Capped {
        let mut capped = Capped::default();
        for place in self.places(dims) {
            let definition = &self.definitions[place];
            let limits = definition.cap.as_ref().is_some_and(|cap| cap.limits(dims));
            if limits && counts(&definition.counter.scope) {
                match definition.counter.measure {
                    Measure::Usd => capped.usd = true,
                    Measure::Tokens => capped.tokens = true,
                    Measure::Requests => capped.requests = true,
                }
            }
        }
        capped
    }

    /// Looks and reserves in one step, root first, in all counters or in none. With `last` it makes do with the leases that
    /// there are; else it says which are too small.
    ///
    /// # Errors
    /// The first cap that has no room for even the least that is asked, or the leases that are needed.
    pub fn reserve(
        &mut self,
        dims: &Dims<'_>,
        ask: Requirement,
        now: i64,
        last: bool,
    ) -> Result<Grant, Denied> {
        self.tidy(now);
        let matches = self.matches(dims, now);
        if !self.leasing && self.must_recall(&matches) {
            return Err(Denied::Unknown);
        }
        let mut tokens = ask.tokens;
        let mut wants = Vec::new();
        for found in &matches {
            let Some(limit) = found.limit else { continue };
            let slot = self.slots.get(&found.counter).expect("matches makes it");
            if self.too_many_sessions(found, dims) {
                return Err(slot.full(found.at_cap, limit, 0, Reason::Sessions));
            }
            let measure = slot.counter.measure;
            let least = ask.amount(measure, ask.tokens_min.min(ask.tokens));
            let others = i128::from(ask.times.max(1)) - 1;
            let needed = least.saturating_add(ask.input(measure).saturating_mul(others));
            if limit <= 0 || needed > slot.room(limit).max(0) {
                return Err(slot.full(found.at_cap, limit, least, Reason::Room));
            }
            let whole = ask.amount(measure, ask.tokens).min(slot.room(limit));
            let short = self.leasing && slot.leased_room() < whole;
            let room = match short {
                true => slot.leased_room(),
                false if self.leasing => slot.room(limit).min(slot.leased_room()),
                false => slot.room(limit),
            };
            if short && !last {
                wants.push(slot.want(&found.counter, limit, least, whole, self.epoch));
            } else if least > room.max(0) {
                return Err(slot.full(found.at_cap, limit, least, Reason::Room));
            } else {
                tokens = tokens.min(ask.tokens_for(measure, room));
            }
        }
        if !wants.is_empty() {
            return Err(Denied::Short(wants));
        }
        Ok(self.hold(&matches, dims, ask, tokens, now))
    }

    fn hold(
        &mut self,
        matches: &[Match],
        dims: &Dims<'_>,
        ask: Requirement,
        tokens: u64,
        now: i64,
    ) -> Grant {
        let mut held = Vec::with_capacity(matches.len());
        for found in matches {
            self.count_session(found, dims);
            let slot = self
                .slots
                .get_mut(&found.counter)
                .expect("matches makes it");
            let measure = slot.counter.measure;
            let amount = ask.amount(measure, tokens);
            let leased = self.leasing && found.limit.is_some();
            slot.hold(amount, leased);
            held.push(Held {
                counter: found.counter.clone(),
                id: slot.id,
                amount,
                measure,
                leased,
                epoch: self.epoch,
            });
        }
        Grant {
            amount: PicoUsd(ask.amount(Measure::Usd, tokens)),
            tokens,
            tokens_bound: u64::try_from(ask.amount(Measure::Tokens, tokens)).unwrap_or(u64::MAX),
            at: now,
            capped: matches.iter().any(|m| m.limit.is_some()),
            version: self.version,
            held,
        }
    }

    /// Ends a reservation: what it held is free again and `spend` is spent. It is booked as it is, also above the bound.
    /// Gives what has to change in the store.
    pub fn close(&mut self, grant: &Grant, dims: &Dims<'_>, spend: &Spend) -> Vec<Posting> {
        let mut postings = Vec::with_capacity(grant.held.len());
        for held in &grant.held {
            let spent = spend.of(held.measure);
            let mut slot = self.slots.get_mut(&held.counter);
            let unleased = match &mut slot {
                Some(slot) if slot.id == held.id => slot.close(held, spent, self.epoch),
                // A window that has passed is closed in the store only: its room is nobody's any more.
                _ if held.leased => held.amount,
                _ => 0,
            };
            // There may be as many users as they like to name: nobody is told of each.
            if let Some(slot) = slot.filter(|slot| slot.known.is_none()) {
                note_crossing(slot, &held.counter, &mut self.crossings);
            }
            postings.push(Posting {
                counter: held.counter.clone(),
                id: held.id,
                posted: spent,
                unleased,
                leased: held.leased,
                epoch: held.epoch,
            });
        }
        if grant.version != self.version {
            self.post_to_new(grant, dims, spend, &mut postings);
        }
        postings.retain(|p| p.posted != 0 || p.unleased != 0);
        postings
    }

    /// An attempt that counted at this second (the first of these; the second is now) has cost so much more, or less, than was booked.
    pub fn correct(&mut self, dims: &Dims<'_>, (at, now): (i64, i64), change: PicoUsd) {
        for found in self.matches(dims, now) {
            let slot = self
                .slots
                .get_mut(&found.counter)
                .expect("matches makes it");
            let id = slot.counter.window.id(&slot.counter.zone, at);
            if slot.counter.measure == Measure::Usd && slot.id == id {
                slot.posted += change.0;
            }
        }
    }

    /// Counters that came into being while the reservation was open count it too.
    fn post_to_new(
        &mut self,
        grant: &Grant,
        dims: &Dims<'_>,
        spend: &Spend,
        postings: &mut Vec<Posting>,
    ) {
        for found in self.matches(dims, grant.at) {
            if grant.held.iter().any(|h| h.counter == found.counter) {
                continue;
            }
            let slot = self
                .slots
                .get_mut(&found.counter)
                .expect("matches makes it");
            let id = slot.counter.window.id(&slot.counter.zone, grant.at);
            let posted = spend.of(slot.counter.measure);
            if slot.id == id {
                slot.post(posted);
            }
            postings.push(Posting {
                counter: found.counter,
                id,
                posted,
                unleased: 0,
                leased: false,
                epoch: self.epoch,
            });
        }
    }

    /// The caps that have just passed a share at which they are told.
    pub fn take_crossings(&mut self) -> Vec<Crossing> {
        std::mem::take(&mut self.crossings)
    }

    /// The share, in percent, of the fullest cap that counts such a request whatever arm it goes to.
    pub fn fullest(&mut self, dims: &Dims<'_>, now: i64) -> u64 {
        let matches = self.matches(dims, now);
        let shares = matches.iter().filter_map(|m| {
            let slot = &self.slots[&m.counter];
            let limit = m.limit.filter(|_| !slot.counter.scope.by_arm())?;
            Some(slot::percent(slot.posted + slot.reserved, limit))
        });
        shares.max().unwrap_or(0)
    }

    /// Every counter, with windows rolled to `now`.
    pub fn standings(&mut self, now: i64) -> Vec<CounterStanding> {
        let mut all: Vec<CounterStanding> = Vec::with_capacity(self.slots.len());
        for (name, slot) in &mut self.slots {
            self.returns.extend(slot.roll(name, now, self.epoch));
            all.push(slot.standing());
        }
        all.sort_by_cached_key(|s| s.counter.to_string());
        all
    }

    /// Forgets counters of past windows once there are many.
    fn tidy(&mut self, now: i64) {
        self.forget_idle_users();
        if self.slots.len() < self.tidy_at {
            return;
        }
        self.slots
            .retain(|_, slot| slot.ends_at > now || slot.in_use() || slot.is_awaited());
        for definition in &mut self.definitions {
            definition.names.clear();
        }
        self.count_users();
        self.tidy_at = (self.slots.len() * 2).max(TIDY_AT);
    }
}

/// Notes the shares at which a cap is told that it has just passed.
fn note_crossing(slot: &mut Slot, counter: &Arc<str>, crossings: &mut Vec<Crossing>) {
    for percent in slot.crossed() {
        crossings.push(Crossing {
            counter: counter.clone(),
            standing: slot.standing(),
            percent,
        });
    }
}

#[cfg(test)]
mod tests;
