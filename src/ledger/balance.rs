//! What is posted, reserved and left in every counter. Pure and synchronous: no IO, no clock.
//!
//! The rule that everything rests on: posted + reserved never passes a limit, because admission looks at every counter and
//! reserves in all of them in one step. Where the store is shared or slow, a counter spends from a *lease*: a part of the cap
//! that the store has set aside for this process; then reserved never passes what is left of the lease.

mod slot;

use super::cap::{AtCap, Cap, Counter, Dim, Dims, Measure, Pick, Scope};
use super::replay::covered;
use crate::money::PicoUsd;
use slot::Slot;
use std::collections::HashMap;
use std::sync::Arc;

pub use slot::Standing;

/// What an attempt needs: a fixed part (its input at the bound) and so much per answer token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    /// Upper bound of what the input costs.
    pub fixed: PicoUsd,
    /// Upper bound of one answer token, times the number of answers.
    pub per_token: PicoUsd,
    /// Answer tokens wanted.
    pub tokens: u64,
    /// The least number of answer tokens that is still worth an answer; equal to `tokens` where the limit must not be lowered.
    pub tokens_min: u64,
    /// Upper bound of the input's tokens.
    pub input_tokens: u64,
    /// Answers asked for, each of so many tokens.
    pub choices: u64,
}

impl Ask {
    /// What an answer of so many tokens needs in this measure, at most.
    fn amount(&self, measure: Measure, tokens: u64) -> i128 {
        match measure {
            Measure::Usd => (self.fixed + self.per_token.times(tokens)).0,
            Measure::Tokens => {
                i128::from(self.input_tokens) + i128::from(tokens) * i128::from(self.choices)
            }
            Measure::Requests => 1,
        }
    }

    /// The most answer tokens for which `left` is enough.
    fn tokens_for(&self, measure: Measure, left: i128) -> u64 {
        let (room, each) = match measure {
            Measure::Usd => (left - self.fixed.0, self.per_token.0),
            Measure::Tokens => (
                left - i128::from(self.input_tokens),
                i128::from(self.choices),
            ),
            Measure::Requests => return u64::MAX,
        };
        if each <= 0 {
            return u64::MAX;
        }
        u64::try_from(room.max(0) / each).unwrap_or(u64::MAX)
    }
}

/// What an attempt used in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spend {
    /// Its cost.
    pub usd: PicoUsd,
    /// Its tokens, in and out.
    pub tokens: u64,
    /// 1, or 0 where no work was done.
    pub requests: u64,
}

impl Spend {
    /// So much of this measure.
    #[must_use]
    pub fn of(&self, measure: Measure) -> i128 {
        match measure {
            Measure::Usd => self.usd.0,
            Measure::Tokens => i128::from(self.tokens),
            Measure::Requests => i128::from(self.requests),
        }
    }
}

/// What was reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The bound of the attempt's cost.
    pub amount: PicoUsd,
    /// Answer tokens that the bound covers.
    pub tokens: u64,
    /// The bound of its tokens, in and out.
    pub tokens_bound: u64,
    /// The instant whose windows it counts in, seconds since 1970.
    pub at: i64,
    /// A cap counts it.
    pub capped: bool,
    version: u64,
    held: Vec<Held>,
}

/// One counter's part of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    counter: Arc<str>,
    id: i64,
    amount: i128,
    measure: Measure,
    leased: bool,
    epoch: u32,
}

/// A change of one counter in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The counter's name.
    pub counter: Arc<str>,
    /// Which window of it.
    pub id: i64,
    /// So much is spent for good.
    pub posted: i128,
    /// So much of this process's lease is used up or given back.
    pub unleased: i128,
    /// A lease stands behind it, of this epoch.
    pub leased: bool,
    /// The life of this process, as the store counts them, in which the lease was taken.
    pub epoch: u32,
}

/// A lease that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The counter's name.
    pub counter: Arc<str>,
    /// Which window of it.
    pub id: i64,
    /// The least that helps.
    pub need: i128,
    /// What this attempt would take.
    pub want: i128,
    /// The cap.
    pub limit: i128,
    /// The life of this process for which it is asked.
    pub epoch: u32,
}

/// Why a cap does not admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is too little room.
    Room,
    /// The key has as many sessions in this window as it may have.
    Sessions,
}

/// A cap that has no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full {
    /// The counter.
    pub counter: Counter,
    /// When its window ends; never for `Total`.
    pub ends_at: Option<i64>,
    /// The limit.
    pub limit: i128,
    /// What is spent for good.
    pub posted: i128,
    /// What open reservations hold.
    pub reserved: i128,
    /// The least that this attempt would have needed.
    pub needed: i128,
    /// What the cap says of such requests.
    pub at_cap: AtCap,
    /// Why.
    pub reason: Reason,
}

impl Full {
    /// There would be room if no reservation were open: trying again soon can help.
    #[must_use]
    pub fn only_reserved(&self) -> bool {
        self.reason == Reason::Room && self.limit > 0 && self.posted + self.needed <= self.limit
    }

    /// What is neither spent nor reserved.
    #[must_use]
    pub fn left(&self) -> i128 {
        (self.limit - self.posted - self.reserved).max(0)
    }
}

/// Why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A cap has no room.
    Full(Box<Full>),
    /// Leases are too small; the store may have more.
    Short(Vec<Want>),
}

/// A cap that has just passed the share at which it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The counter's name.
    pub counter: Arc<str>,
    /// Its standing.
    pub standing: Standing,
    /// The share in percent that was passed.
    pub percent: u8,
}

/// A cap, or a counter that is kept without one, with the names of its counters found so far.
#[derive(Debug)]
struct Definition {
    counter: Counter,
    cap: Option<Cap>,
    names: HashMap<String, Arc<str>>,
    /// Sessions seen by key, in the window of this number.
    sessions: HashMap<String, (i64, u32)>,
}

/// One counter that an attempt counts in.
#[derive(Clone, Debug)]
struct Match {
    counter: Arc<str>,
    limit: Option<i128>,
    at_cap: AtCap,
    definition: usize,
}

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
            slot.limit = None;
        }
        for (name, slot) in &mut self.slots {
            if covered(name, new) && !covered(name, &Counter::always()) {
                slot.posted = 0;
            }
        }
        let kept = Counter::always().into_iter().chain(new.iter().cloned());
        let caps = caps.iter().map(|c| (c.counter.clone(), Some(c.clone())));
        for (counter, cap) in kept.map(|c| (c, None)).chain(caps) {
            self.define(counter, cap, now);
        }
    }

    fn define(&mut self, counter: Counter, cap: Option<Cap>, now: i64) {
        let place = self.definitions.len();
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
        if id < counter.window.id(&counter.zone, now) {
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
            if definition.cap.is_some() && counts(&definition.counter.scope) {
                match definition.counter.measure {
                    Measure::Usd => capped.usd = true,
                    Measure::Tokens => capped.tokens = true,
                    Measure::Requests => capped.requests = true,
                }
            }
        }
        capped
    }

    fn places(&self, dims: &Dims<'_>) -> impl Iterator<Item = usize> + use<> {
        let own = self.by_key.get(&dims.key).cloned().unwrap_or_default();
        let general = self.general.clone();
        general.into_iter().chain(own)
    }

    /// Looks and reserves in one step, root first, in all counters or in none. With `last` it makes do with the leases that
    /// there are; else it says which are too small.
    ///
    /// # Errors
    /// The first cap that has no room for even the least that is asked, or the leases that are needed.
    pub fn reserve(
        &mut self,
        dims: &Dims<'_>,
        ask: Ask,
        now: i64,
        last: bool,
    ) -> Result<Grant, Denied> {
        self.tidy(now);
        let matches = self.matches(dims, now);
        let mut tokens = ask.tokens;
        let mut wants = Vec::new();
        for found in &matches {
            let slot = self.slots.get(&found.counter).expect("matches makes it");
            let Some(limit) = found.limit else { continue };
            if self.too_many_sessions(found, dims) {
                return Err(slot.full(found, limit, 0, Reason::Sessions));
            }
            let measure = slot.counter.measure;
            let least = ask.amount(measure, ask.tokens_min.min(ask.tokens));
            if limit <= 0 || least > slot.room(limit).max(0) {
                return Err(slot.full(found, limit, least, Reason::Room));
            }
            let whole = ask.amount(measure, ask.tokens).min(slot.room(limit));
            let short = self.leasing && slot.leased_room() < whole;
            let room = match short {
                true => slot.leased_room(),
                false if self.leasing => slot.room(limit).min(slot.leased_room()),
                false => slot.room(limit),
            };
            if short && !last {
                wants.push(slot.want(found, limit, least, whole, self.epoch));
            } else if least > room.max(0) {
                return Err(slot.full(found, limit, least, Reason::Room));
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
        ask: Ask,
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
            let slot = self.slots.get_mut(&held.counter);
            let unleased = match slot {
                Some(slot) if slot.id == held.id => slot.close(held, spent, self.epoch),
                // A window that has passed is closed in the store only: its room is nobody's any more.
                _ if held.leased => held.amount,
                _ => 0,
            };
            self.note_crossing(&held.counter);
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
                slot.posted += posted;
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

    /// The counters of an attempt, each once, with the lowest limit that holds; their windows are rolled to `now`.
    fn matches(&mut self, dims: &Dims<'_>, now: i64) -> Vec<Match> {
        let mut found: Vec<Match> = Vec::with_capacity(8);
        for place in self.places(dims) {
            if !self.definitions[place].counter.scope.holds(dims) {
                continue;
            }
            let counter = self.counter_of(place, dims, now);
            let cap = self.definitions[place].cap.as_ref();
            let (limit, at_cap) = (
                cap.map(|c| c.limit),
                cap.map_or(AtCap::Refuse, |c| c.at_cap),
            );
            match found.iter_mut().find(|m| m.counter == counter) {
                Some(same) => {
                    let lower = same.limit.is_none()
                        || limit.is_some_and(|l| same.limit.is_some_and(|s| l < s));
                    if limit.is_some() && lower {
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
                self.slots.insert(name.clone(), Slot::new(counter, now));
                name
            }
        };
        if let Some(cap) = &definition.cap {
            self.slots.get_mut(&name).expect("just made").cap(cap);
        }
        definition.names.insert(self.subject.clone(), name.clone());
        name
    }

    fn too_many_sessions(&self, found: &Match, dims: &Dims<'_>) -> bool {
        let definition = &self.definitions[found.definition];
        let slot = &self.slots[&found.counter];
        if *definition.counter.scope.pick(Dim::Session) != Pick::Each
            || slot.session_counted == Some(slot.id)
        {
            return false;
        }
        let known = definition
            .sessions
            .get(&dims.key)
            .filter(|(id, _)| *id == slot.id);
        known.is_some_and(|(_, count)| *count >= self.sessions_max)
    }

    fn count_session(&mut self, found: &Match, dims: &Dims<'_>) {
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
            .entry(dims.key.clone())
            .or_insert((slot.id, 0));
        if seen.0 != slot.id {
            *seen = (slot.id, 0);
        }
        seen.1 += 1;
    }

    fn note_crossing(&mut self, counter: &Arc<str>) {
        let Some(slot) = self.slots.get_mut(counter) else {
            return;
        };
        if let Some(percent) = slot.crossed() {
            self.crossings.push(Crossing {
                counter: counter.clone(),
                standing: slot.standing(),
                percent,
            });
        }
    }

    /// Takes over a lease from the store: so much was given, and so much is posted by everybody.
    pub fn leased(&mut self, counter: &Arc<str>, id: i64, given: i128, posted: i128) {
        match self.slots.get_mut(counter) {
            Some(slot) if slot.id == id => slot.take_lease(given, posted),
            // The window has passed meanwhile.
            _ => self.returns.push(Posting {
                counter: counter.clone(),
                id,
                posted: 0,
                unleased: given,
                leased: true,
                epoch: self.epoch,
            }),
        }
    }

    /// The life of this process, as the store counts them.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The store has taken this process for dead and charged its leases: it goes on without any.
    pub fn begin_epoch(&mut self, epoch: u32) {
        if epoch <= self.epoch {
            return;
        }
        self.epoch = epoch;
        self.returns.clear();
        for slot in self.slots.values_mut() {
            slot.lose_lease();
        }
    }

    /// What others look for of these counters, as far as nothing here holds it.
    pub fn give_up(&mut self, counters: &[String]) -> Vec<Posting> {
        let mut back = Vec::new();
        for (name, slot) in &mut self.slots {
            if counters.iter().any(|c| **c == **name) {
                back.extend(slot.give_back(name, true, self.epoch));
            }
        }
        back
    }

    /// What of the leases is not needed. `all` for a drain, else what was idle since the last call.
    pub fn idle_leases(&mut self, all: bool, now: i64) -> Vec<Posting> {
        for (name, slot) in &mut self.slots {
            self.returns.extend(slot.roll(name, now, self.epoch));
            self.returns.extend(slot.give_back(name, all, self.epoch));
        }
        std::mem::take(&mut self.returns)
    }

    /// Leases of windows that have passed, to be given back.
    pub fn take_returns(&mut self) -> Vec<Posting> {
        std::mem::take(&mut self.returns)
    }

    /// The caps that have just passed their soft share.
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
    pub fn standings(&mut self, now: i64) -> Vec<Standing> {
        let mut all: Vec<Standing> = Vec::with_capacity(self.slots.len());
        for (name, slot) in &mut self.slots {
            self.returns.extend(slot.roll(name, now, self.epoch));
            all.push(slot.standing());
        }
        all.sort_by_cached_key(|s| s.counter.to_string());
        all
    }

    /// Forgets counters of past windows once there are many.
    fn tidy(&mut self, now: i64) {
        if self.slots.len() < self.tidy_at {
            return;
        }
        self.slots
            .retain(|_, slot| slot.ends_at > now || slot.in_use());
        for definition in &mut self.definitions {
            definition.names.clear();
        }
        self.tidy_at = (self.slots.len() * 2).max(TIDY_AT);
    }
}

/// Which measures of an attempt are capped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capped {
    /// Its dollars.
    pub usd: bool,
    /// Its tokens.
    pub tokens: bool,
    /// Its number.
    pub requests: bool,
}

impl Capped {
    /// A cap counts it.
    #[must_use]
    pub fn any(&self) -> bool {
        self.usd || self.tokens || self.requests
    }
}

#[cfg(test)]
mod tests;
